"use strict";
/* The list of samples: only the rows in sight are in the page, however many samples there are. */
HL.Gallery = class {
  static #AHEAD = 4; // rows kept above and below those in sight
  static #WIN = 1e-9;

  constructor(place, index) {
    this.index = index;
    this.count = index.ids.length;
    this.absent = new Set(index.no_target ?? []);
    this.pair = index.runs.length > 1 ? [0, 1] : [0];
    this.haystack = index.ids.map((id, n) => `${id}\n${index.expressions[n]}`.toLowerCase());
    this.sorting = { key: "number", down: false };
    this.#build(place);
    this.player = new HL.Player(index, (change, push) => this.#played(change, push), (sample, places) => this.#neighbour(sample, places));
    addEventListener("popstate", () => this.#restore());
    addEventListener("hashchange", () => this.#restore());
    this.#restore();
  }

  /* What is shown */

  /** Filter and sort, and draw the rows in sight. */
  update() {
    const words = this.search.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = this.#wanted();
    const found = [];
    for (let n = 0; n < this.count; n++) {
      if (words.every((word) => this.haystack[n].includes(word)) && wanted(n)) found.push(n);
    }
    const value = this.#columns().find((column) => column.key === this.sorting.key)?.value;
    if (value) {
      const keys = new Map(found.map((n) => [n, value(n)]));
      found.sort((a, b) => HL.Gallery.#order(keys.get(a), keys.get(b), this.sorting.down) || a - b);
    } else if (this.sorting.down) {
      found.reverse();
    }
    this.order = found;
    this.tally.textContent = `${found.length.toLocaleString("en")} of ${this.count.toLocaleString("en")} samples`;
    this.table.setAttribute("aria-rowcount", found.length + 1);
    this.view.scrollTop = 0;
    this.drawn = null;
    this.draw();
  }

  /** Draw the rows in sight. One that stays in sight stays in its place: it may be about to be clicked. */
  draw() {
    const height = parseFloat(getComputedStyle(this.table).getPropertyValue("--row"));
    this.head.style.paddingRight = `calc(1rem + ${this.view.offsetWidth - this.view.clientWidth}px)`; // the scroll bar's width
    this.space.style.height = `${height * this.order.length}px`;
    const first = Math.max(0, Math.floor(this.view.scrollTop / height) - HL.Gallery.#AHEAD);
    const last = Math.min(this.order.length, Math.ceil((this.view.scrollTop + this.view.clientHeight) / height) + HL.Gallery.#AHEAD);
    const focused = document.activeElement?.dataset?.sample;
    if (height !== this.drawn) {
      this.space.replaceChildren();
      this.rows = new Map();
      this.drawn = height;
    }
    for (const [place, row] of this.rows) {
      if (place >= first && place < last) continue;
      row.remove();
      this.rows.delete(place);
    }
    for (let place = last - 1, next = null; place >= first; place--) {
      if (!this.rows.has(place)) {
        this.rows.set(place, this.#row(this.order[place], place, place * height));
        this.space.insertBefore(this.rows.get(place), next);
      }
      next = this.rows.get(place);
    }
    if (focused != null) this.space.querySelector(`[data-sample="${focused}"]`)?.focus({ preventScroll: true });
  }

  static #order(a, b, down) {
    if (a == null || b == null) return (a == null) - (b == null); // empty ones last
    const order = a < b ? -1 : a > b ? 1 : 0;
    return down ? -order : order;
  }

  #wanted() {
    const { runs, outcomes, slicings } = this.index;
    const [kind, name] = HL.Gallery.#split(this.outcome.value);
    const [slicing, part] = this.slice.value ? this.slice.value.split(":").map(Number) : [];
    const code = outcomes.indexOf(name);
    const tests = [];
    if (kind === "outcome") tests.push((n) => this.pair.some((run) => runs[run].outcome[n] === code));
    if (kind === "missed") tests.push((n) => this.pair.some((run) => runs[run].clicks[n] == null));
    if (kind === "first") tests.push((n) => this.#gap(n) > HL.Gallery.#WIN);
    if (kind === "second") tests.push((n) => this.#gap(n) < -HL.Gallery.#WIN);
    if (slicing != null) tests.push((n) => slicings[slicing].codes[n] === part);
    return (n) => tests.every((test) => test(n));
  }

  static #split(value) {
    const at = value.indexOf(":");
    return at < 0 ? [value, ""] : [value.slice(0, at), value.slice(at + 1)];
  }

  #gap(n) {
    const [a, b] = this.pair;
    return this.index.runs[a].final[n] - this.index.runs[b].final[n];
  }

  #columns() {
    const { runs, outcomes } = this.index;
    const several = this.pair.length > 1;
    const named = (text, run) => (several ? `${text} ${runs[run].name}` : text);
    return [
      { key: "number", name: "" },
      { key: "expression", name: "Sample", value: (n) => this.index.expressions[n].toLowerCase() },
      ...this.pair.map((run, side) => ({ key: `iou${side}`, name: named("IoU", run), number: true, value: (n) => runs[run].final[n] })),
      ...(several ? [{ key: "gap", name: "Difference", number: true, value: (n) => this.#gap(n) }] : []),
      ...this.pair.map((run, side) => ({ key: `clicks${side}`, name: named("Clicks to .80", run), number: true, value: (n) => runs[run].clicks[n] ?? Infinity })),
      ...(several ? [] : [{ key: "outcome", name: "Outcome", value: (n) => outcomes[runs[this.pair[0]].outcome[n]] }]),
    ];
  }

  #row(n, place, top) {
    const { runs, outcomes, images, expressions, ids } = this.index;
    const cell = (name, ...content) => HL.el("div", { role: "cell", class: name }, ...content);
    const picture = images[n] == null ? [] : [HL.el("img", { src: `img/thumb/${String(images[n]).padStart(5, "0")}.webp`, alt: "", decoding: "async" })];
    const link = HL.el("a", { href: this.#address(n), "data-sample": n, dir: "auto" }, expressions[n] || "(no expression)");
    const clicks = (run) => (runs[run].clicks[n] == null ? [HL.el("span", { class: "missed", title: "missed" }, `> ${runs[run].budget}`)] : [`${runs[run].clicks[n]}`]);
    const absent = this.absent.has(n) ? [HL.el("span", { class: "absent" }, "no such object"), " "] : [];
    const row = HL.el("div", { role: "row", class: "row", "aria-rowindex": place + 2 },
      cell("thumb", ...picture),
      cell("name", link, HL.el("span", { class: "note mono" }, ...absent, ids[n])),
      ...this.pair.map((run, side) => cell(`iou s${side}`, HL.number(runs[run].final[n]), this.#spark(runs[run].curves[n], side))),
      ...(this.pair.length > 1 ? [cell("gap", this.#gap(n) > HL.Gallery.#WIN ? "+" : "", HL.number(this.#gap(n)))] : []),
      ...this.pair.map((run) => cell("clicks", ...clicks(run))),
      ...(this.pair.length > 1 ? [] : [cell("outcome", outcomes[runs[this.pair[0]].outcome[n]])]));
    row.style.top = `${top}px`;
    return row;
  }

  /** The IoU after each step as a small line. */
  #spark(curve, side) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
    svg.setAttribute("viewBox", "0 0 64 24");
    svg.setAttribute("class", `drawing spark hue s${side}`);
    svg.setAttribute("aria-hidden", "true");
    const apart = 60 / Math.max(1, curve.length - 1);
    line.setAttribute("points", curve.map((iou, t) => `${(2 + t * apart).toFixed(1)},${(22 - iou / 50).toFixed(1)}`).join(" "));
    line.setAttribute("class", "line");
    line.setAttribute("fill", "none");
    svg.append(line);
    return svg;
  }

  /* The state in the address */

  #state(change = {}) {
    const runs = this.index.runs.length > 2 || (this.pair.length > 1 && this.pair.join() !== "0,1") ? this.pair.join() : null;
    const sorted = this.sorting.key === "number" ? null : `${this.sorting.key}${this.sorting.down ? "" : ",up"}`;
    return {
      runs, q: this.search.value.trim(), outcome: this.#outcomeWord(), slice: this.#sliceWord(), sort: sorted, ...change,
    };
  }

  #outcomeWord() {
    const [kind, name] = HL.Gallery.#split(this.outcome.value);
    return kind === "outcome" ? name : kind;
  }

  #sliceWord() {
    return this.slice.value ? this.slice.selectedOptions[0].dataset.word : null;
  }

  #address(n) {
    const pairs = Object.entries(this.#state({ sample: this.index.ids[n] })).filter(([, value]) => value != null && value !== "");
    return `#${new URLSearchParams(pairs)}`;
  }

  /** Take the state from the address; an address of a section holds none. */
  #restore() {
    if (location.hash.length > 1 && !location.hash.includes("=")) return;
    const given = HL.state.read();
    if (this.restored === location.hash) return;
    const before = this.restored;
    this.restored = location.hash;
    const pair = (given.get("runs") ?? "").split(",").map(Number).filter((run) => run < this.index.runs.length && Number.isInteger(run));
    if (this.index.runs.length > 1) this.#choose(pair.length === 2 ? pair : [0, 1]);
    this.search.value = given.get("q") ?? "";
    HL.Gallery.#pick(this.outcome, given.get("outcome"), (option) => option.dataset.word);
    HL.Gallery.#pick(this.slice, given.get("slice"), (option) => option.dataset.word);
    const [key, up] = (given.get("sort") ?? "number,up").split(",");
    this.sorting = { key, down: up !== "up" };
    const filters = JSON.stringify(this.#state());
    if (filters !== this.filters) {
      this.filters = filters;
      this.#head();
      this.update();
      if (before !== undefined && !given.has("sample")) document.getElementById("samples").scrollIntoView();
    }
    const sample = this.index.ids.indexOf(given.get("sample"));
    if (sample < 0) this.player.close();
    else this.player.open(sample, given.has("step") ? Number(given.get("step")) : null, this.pair);
  }

  static #pick(select, word, wordOf) {
    select.selectedIndex = Math.max(0, [...select.options].findIndex((option) => word && wordOf(option) === word));
  }

  /** The player went to another step or sample. */
  #played({ sample, step }, push) {
    const id = sample == null ? null : this.index.ids[sample];
    HL.state.write(this.#state({ sample: id, step }), push);
    if (push) this.#restore();
    else this.restored = location.hash;
    if (sample == null) this.space.querySelector(`[data-sample="${this.player.sample}"]`)?.focus();
  }

  #neighbour(sample, places) {
    const at = this.order.indexOf(sample);
    return at < 0 ? null : this.order[at + places] ?? null;
  }

  /** A filter or the order was changed by the user. */
  #filtered() {
    HL.state.write(this.#state(), false);
    this.restored = location.hash;
    this.filters = JSON.stringify(this.#state());
    this.update();
  }

  #sort(key, number) {
    const same = this.sorting.key === key;
    this.sorting = { key, down: same ? !this.sorting.down : number };
    this.#head();
    this.#filtered();
    this.head.querySelector(`[data-key="${key}"]`).focus();
  }

  #choose(pair) {
    this.pair = pair;
    this.runSelects?.forEach((select, side) => { select.selectedIndex = pair[side]; });
  }

  /* The page */

  #head() {
    this.head.replaceChildren(...this.#columns().map(({ key, name, number }) => {
      if (!name) return HL.el("div", { role: "columnheader", class: "thumb" }, HL.el("span", { class: "hidden-label" }, "Image"));
      const now = this.sorting.key === key ? (this.sorting.down ? "descending" : "ascending") : "none";
      const button = HL.el("button", { type: "button", class: "sort", "data-key": key, onclick: () => this.#sort(key, Boolean(number)) }, name);
      return HL.el("div", { role: "columnheader", "aria-sort": now, class: key.replace(/\d$/, "") }, button);
    }));
    this.table.className = `samples columns-${this.pair.length > 1 ? "pair" : "one"}${this.index.images.length ? "" : " bare"}`;
  }

  #build(place) {
    const { outcomes, slicings, runs } = this.index;
    const option = (value, text, word) => HL.el("option", { value, "data-word": word ?? value }, text);
    const used = outcomes.filter((_, code) => runs.some((run) => run.outcome.includes(code)));
    this.search = HL.el("input", { type: "search", autocomplete: "off", oninput: () => this.#filtered() });
    this.outcome = HL.el("select", { onchange: () => this.#filtered() }, option("", "all"), option("missed", "missed IoU .80"),
      ...(runs.length > 1 ? [option("first", "first run better"), option("second", "second run better")] : []),
      ...used.map((name) => option(`outcome:${name}`, name, name)));
    this.slice = HL.el("select", { onchange: () => this.#filtered() }, option("", "all"),
      ...slicings.map((way, w) => HL.el("optgroup", { label: way.name },
        ...way.values.map((name, part) => option(`${w}:${part}`, name, `${way.name}: ${name}`)))));
    this.tally = HL.el("p", { class: "note", role: "status" });
    const label = (text, control) => HL.el("label", {}, text, control);
    const pickers = runs.length > 2 ? [0, 1].map((side) => label(side ? "Second run" : "First run", this.#runSelect(side))) : [];
    this.head = HL.el("div", { role: "row", class: "row head", "aria-rowindex": 1 });
    this.space = HL.el("div", { class: "space", role: "presentation" });
    this.view = HL.el("div", { class: "view", role: "rowgroup", tabindex: "0", "aria-label": "Samples" }, this.space);
    this.table = HL.el("div", { role: "table", "aria-label": "Samples" }, HL.el("div", { role: "rowgroup" }, this.head), this.view);
    this.view.addEventListener("scroll", () => requestAnimationFrame(() => this.draw()), { passive: true });
    addEventListener("resize", () => requestAnimationFrame(() => this.draw()));
    place.replaceChildren(
      HL.el("div", { class: "controls" }, label("Search", this.search), label("Outcome", this.outcome), label("Slice", this.slice), ...pickers),
      this.tally, this.table);
    this.#head();
  }

  #runSelect(side) {
    const change = () => {
      this.pair = this.runSelects.map((select) => select.selectedIndex);
      HL.state.write(this.#state(), true);
      this.restored = location.hash;
      this.#head();
      this.update();
    };
    const select = HL.el("select", { onchange: change }, ...this.index.runs.map((run, n) => HL.el("option", { value: n }, run.name)));
    this.runSelects = [...(this.runSelects ?? []), select];
    return select;
  }
};

addEventListener("DOMContentLoaded", async () => {
  const place = document.getElementById("gallery");
  try {
    HL.gallery = new HL.Gallery(place, await HL.get("data/index.js", "index"));
  } catch (error) {
    place.replaceChildren(HL.el("p", { class: "error", role: "alert" }, error.message));
  }
});
