"use strict";
/* The list of samples: only the rows in sight are in the page, however many samples there are. */
HL.Gallery = class {
  static #AHEAD = 4; // rows kept above and below those in sight
  static #WIN = 1e-9;

  constructor(place, index) {
    this.index = index;
    this.count = index.ids.length;
    this.absent = new Set(index.no_target ?? []);
    this.rated = index.kind === "filtering";
    this.pair = index.runs.length > 1 ? [0, 1] : [0];
    this.filters = new HL.Filters(index, () => this.pair, () => this.#filtered());
    this.sorting = this.#usual();
    this.#build(place);
    this.player = new HL.Player(index, (change, push) => this.#played(change, push), (sample, places) => this.#neighbour(sample, places));
    addEventListener("popstate", () => this.#restore());
    addEventListener("hashchange", () => this.#restore());
    this.#restore();
  }

  /* What is shown */

  /** Filter and sort, and draw the rows in sight. */
  update() {
    const wanted = this.filters.test();
    const found = [];
    for (let n = 0; n < this.count; n++) if (wanted(n)) found.push(n);
    const value = this.#orders().find((order) => order.key === this.sorting.key)?.value;
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

  /** The order of a page without another one in its address: of one run the worst first, of two the largest difference. */
  #usual() {
    if (this.rated && this.index.runs.length < 2) return { key: "error", down: true };
    return this.index.runs.length > 1 ? { key: "apart", down: true } : { key: "iou0", down: false };
  }

  /** The largest error of a predicted IoU in a sample, with its step; null without a prediction. */
  #error(n) {
    const { predicted, curves } = this.index.runs[this.pair[0]];
    let found = null;
    predicted[n].forEach((said, t) => {
      if (said == null) return;
      const apart = Math.abs(said - curves[n][t + 1] / 1000);
      if (!found || apart > found.apart) found = { apart, step: t + 1, said, is: curves[n][t + 1] / 1000 };
    });
    return found;
  }

  /** How much the worst click of a sample lowered the IoU. */
  #loss(run, n) {
    const curve = this.index.runs[run].curves[n];
    return Math.max(0, ...curve.slice(1).map((iou, t) => (curve[t] - iou) / 1000));
  }

  /** Orders of the list; those with a name are columns, and those with a title are in the menu. */
  #orders() {
    const { runs, outcomes, expressions, oracle } = this.index;
    const several = this.pair.length > 1;
    const named = (text, run) => (several ? `${text} ${runs[run].name}` : text);
    const gap = (n) => this.filters.gap(n);
    const found = [{ key: "order", name: "", title: "in the task's order" }, { key: "expression", name: "Sample", value: (n) => expressions[n].toLowerCase() }];
    if (this.rated && several) {
      this.pair.forEach((run, side) => found.push({ key: `iou${side}`, name: `Mean error ${runs[run].name}`, number: true, value: (n) => this.filters.error(run, n) }));
      found.push({ key: "gap", name: "Difference", number: true, value: gap });
      found.push({ key: "apart", title: "largest difference first", down: true, value: (n) => Math.abs(gap(n)) });
      return found;
    }
    if (this.rated) {
      found.push({ key: "error", name: "Largest error", title: "largest error first", down: true, value: (n) => this.#error(n)?.apart });
      return found;
    }
    this.pair.forEach((run, side) => found.push({ key: `iou${side}`, name: named("IoU (%)", run), title: several ? null : "lowest IoU first", number: true, value: (n) => runs[run].final[n] }));
    if (several) {
      found.push({ key: "gap", name: "Difference", number: true, value: gap });
      found.push({ key: "apart", title: "largest difference first", down: true, value: (n) => Math.abs(gap(n)) });
    }
    this.pair.forEach((run, side) => found.push({ key: `clicks${side}`, name: named("Clicks to 80 %", run), number: true, value: (n) => runs[run].clicks[n] ?? Infinity }));
    const run = this.pair[0];
    if (!several) {
      found.push({ key: "outcome", name: "Outcome", value: (n) => outcomes[runs[run].outcome[n]] });
      found.push({ key: "lost", title: "click that lost most first", down: true, value: (n) => this.#loss(run, n) });
    }
    if (oracle) found.push({ key: "oracle", title: "largest gap to the oracle first", down: true, value: (n) => oracle[n] - runs[run].final[n] });
    return found;
  }

  #columns() {
    return this.#orders().filter((order) => order.name != null);
  }

  #row(n, place, top) {
    const { images, expressions, ids } = this.index;
    const cell = (name, ...content) => HL.el("div", { role: "cell", class: name }, ...content);
    const picture = images[n] == null ? [] : [HL.el("img", { src: `img/thumb/${String(images[n]).padStart(5, "0")}.webp`, alt: "", decoding: "async" })];
    const link = HL.el("a", { href: this.#address(n), "data-sample": n, dir: "auto" }, expressions[n] || "(no expression)");
    const absent = this.absent.has(n) ? [HL.el("span", { class: "absent" }, "no such object"), " "] : [];
    const row = HL.el("div", { role: "row", class: "row", "aria-rowindex": place + 2 },
      cell("thumb", ...picture),
      cell("name", link, HL.el("span", { class: "note mono" }, ...absent, ids[n])),
      ...(this.rated ? this.#ratedCells(n, cell) : this.#cells(n, cell)));
    row.style.top = `${top}px`;
    return row;
  }

  #cells(n, cell) {
    const { runs, outcomes } = this.index;
    const clicks = (run) => (runs[run].clicks[n] == null ? [HL.el("span", { class: "missed" }, "never")] : [`${runs[run].clicks[n]}`]);
    const gap = this.pair.length > 1 ? this.filters.gap(n) : 0;
    return [
      ...this.pair.map((run, side) => cell(`iou s${side}`, HL.number(100 * runs[run].final[n], 1), this.#spark(runs[run].curves[n], side))),
      ...(this.pair.length > 1 ? [cell("gap", gap > HL.Gallery.#WIN ? "+" : "", HL.number(100 * gap, 1))] : []),
      ...this.pair.map((run) => cell("clicks", ...clicks(run))),
      ...(this.pair.length > 1 ? [] : [cell("outcome", outcomes[runs[this.pair[0]].outcome[n]])]),
    ];
  }

  #ratedCells(n, cell) {
    if (this.pair.length > 1) {
      const gap = this.filters.gap(n);
      return [
        ...this.pair.map((run, side) => cell(`iou s${side}`, HL.number(100 * this.filters.error(run, n), 1))),
        cell("gap", gap > HL.Gallery.#WIN ? "+" : "", HL.number(100 * gap, 1)),
      ];
    }
    const worst = this.#error(n);
    if (!worst) return [cell("off", "nothing was predicted")];
    return [cell("off", HL.el("strong", {}, `${HL.number(100 * worst.apart, 1)} points`), ` said ${HL.number(100 * worst.said, 0)} %, is ${HL.number(100 * worst.is, 0)} %`)];
  }

  /** The IoU after each step as a small line. */
  #spark(curve, side) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
    svg.setAttribute("viewBox", "0 0 64 24");
    svg.setAttribute("class", `spark hue s${side}`);
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
    const usual = this.#usual();
    const sorted = this.sorting.key === usual.key && this.sorting.down === usual.down ? null : `${this.sorting.key}${this.sorting.down ? "" : ",up"}`;
    return { runs, ...this.filters.state(), sort: sorted, ...change };
  }

  #address(n) {
    const step = this.rated && this.pair.length < 2 ? this.#error(n)?.step : null;
    const pairs = Object.entries(this.#state({ sample: this.index.ids[n], step })).filter(([, value]) => value != null && value !== "");
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
    this.filters.restore(given);
    this.#sortBy(given.get("sort"));
    const words = JSON.stringify(this.#state());
    if (words !== this.words) {
      this.words = words;
      this.#head();
      this.update();
    }
    if (!given.has("sample") && !given.has("at") && (before !== undefined || location.hash.length > 1)) this.#reveal();
    this.player.restore(given);
    const sample = this.index.ids.indexOf(given.get("sample"));
    if (sample < 0) this.player.close();
    else this.player.open(sample, given.has("step") ? Number(given.get("step")) : null, this.pair);
  }

  /** Show the list, which is what a link with filters is about; once more when all pictures have their size. */
  #reveal() {
    const section = document.getElementById("samples");
    section.scrollIntoView();
    if (document.readyState !== "complete") addEventListener("load", () => section.scrollIntoView(), { once: true });
  }

  #sortBy(word) {
    const [key, up] = (word ?? "").split(",");
    this.sorting = this.#orders().some((order) => order.key === key) ? { key, down: up !== "up" && key !== "order" } : this.#usual();
  }

  /** The player went to another step or sample, or shows other things. */
  #played(change, push) {
    const { sample, ...more } = change;
    const id = sample == null ? null : this.index.ids[sample];
    HL.state.write(this.#state({ sample: id, ...(id == null ? {} : more) }), push);
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
    this.words = JSON.stringify(this.#state());
    this.update();
  }

  #sort(key, down) {
    this.sorting = { key, down: this.sorting.key === key ? !this.sorting.down : down };
    this.#head();
    this.#filtered();
    this.head.querySelector(`[data-key="${key}"]`)?.focus();
  }

  #choose(pair) {
    this.pair = pair;
    this.runSelects?.forEach((select, side) => { select.selectedIndex = pair[side]; });
  }

  /* The page */

  #head() {
    this.head.replaceChildren(...this.#columns().map(({ key, name, number, down }) => {
      if (!name) return HL.el("div", { role: "columnheader", class: "thumb" }, HL.el("span", { class: "hidden-label" }, "Image"));
      const now = this.sorting.key === key ? (this.sorting.down ? "descending" : "ascending") : "none";
      const button = HL.el("button", { type: "button", class: "sort", "data-key": key, onclick: () => this.#sort(key, Boolean(number || down)) }, name);
      return HL.el("div", { role: "columnheader", "aria-sort": now, class: key === "error" ? "off" : key.replace(/\d$/, "") }, button);
    }));
    this.table.className = `samples columns-${this.pair.length > 1 ? "pair" : this.rated ? "rated" : "one"}${this.rated && this.pair.length > 1 ? " errors" : ""}${this.index.images.length ? "" : " bare"}`;
    this.menu.value = [...this.menu.options].some((option) => option.value === this.sorting.key) ? this.sorting.key : "";
  }

  #build(place) {
    const { runs } = this.index;
    const option = (value, text) => HL.el("option", { value }, text);
    const label = (text, control) => HL.el("label", {}, text, control);
    this.tally = HL.el("p", { class: "note", role: "status" });
    this.menu = HL.el("select", { onchange: () => {
      const order = this.#orders().find(({ key }) => key === this.menu.value);
      if (!order) return;
      this.sorting = { key: order.key, down: Boolean(order.down) };
      this.#head();
      this.#filtered();
    } }, option("", "by a column"), ...this.#orders().filter((order) => order.title).map(({ key, title }) => option(key, title)));
    const pickers = runs.length > 2 ? [0, 1].map((side) => label(side ? "Second run" : "First run", this.#runSelect(side))) : [];
    this.head = HL.el("div", { role: "row", class: "row head", "aria-rowindex": 1 });
    this.space = HL.el("div", { class: "space", role: "presentation" });
    this.view = HL.el("div", { class: "view", role: "rowgroup", tabindex: "0", "aria-label": "Samples" }, this.space);
    this.table = HL.el("div", { role: "table", "aria-label": "Samples" }, HL.el("div", { role: "rowgroup" }, this.head), this.view);
    this.view.addEventListener("scroll", () => requestAnimationFrame(() => this.draw()), { passive: true });
    addEventListener("resize", () => requestAnimationFrame(() => this.draw()));
    this.filters.controls.append(label("Order", this.menu), ...pickers);
    place.replaceChildren(this.filters.controls, this.filters.chosen, this.tally, this.table);
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

/** The page of a run that still plays is written again: load it from time to time, but not while something is in use. */
addEventListener("DOMContentLoaded", () => {
  const seconds = Number(document.querySelector("[data-live]")?.dataset.live);
  if (!seconds) return;
  setInterval(() => {
    if (!document.querySelector("dialog[open], input:focus, select:focus")) location.reload();
  }, 1000 * seconds);
});

addEventListener("DOMContentLoaded", async () => {
  const place = document.getElementById("gallery");
  try {
    HL.gallery = new HL.Gallery(place, await HL.get("data/index.js", "index"));
  } catch (error) {
    place.replaceChildren(HL.el("p", { class: "error", role: "alert" }, error.message));
  }
});
