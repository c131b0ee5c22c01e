"use strict";
/* What the list of samples shows: its controls, the words of their state in the address, and the test of a sample. */
HL.Filters = class {
  static #WIN = 1e-9;
  static #SLICES = ["slice", "slice2", "slice3", "slice4", "slice5"];

  /**
   * @param index what data/index.js holds
   * @param pair () => the numbers of the runs that are shown
   * @param changed called when the user changed a filter
   */
  constructor(index, pair, changed) {
    this.index = index;
    this.pair = pair;
    this.changed = changed;
    this.slices = []; // words of the chosen slices, such as "object size: small"
    this.haystack = index.ids.map((id, n) => `${id}\n${index.expressions[n]}`.toLowerCase());
    this.words = new Map();
    index.slicings.forEach((way, w) => way.values.forEach((name, part) => this.words.set(`${way.name}: ${name}`, [w, part])));
    this.#build();
  }

  /** The state in words for the address; null where a filter is not used. */
  state() {
    const slices = Object.fromEntries(HL.Filters.#SLICES.map((key, n) => [key, this.slices[n] ?? null]));
    const range = this.low.value || this.high.value ? `${this.low.value || 0}-${this.high.value || 100}` : null;
    return { q: this.search.value.trim(), outcome: this.outcome.value, kind: this.kind?.value, click: this.kind?.value ? this.at.value : null, iou: range, ...slices };
  }

  /** Take the state from the words of an address. */
  restore(given) {
    this.search.value = given.get("q") ?? "";
    HL.Filters.#pick(this.outcome, given.get("outcome"));
    if (this.kind) {
      HL.Filters.#pick(this.kind, given.get("kind"));
      HL.Filters.#pick(this.at, given.get("click"));
    }
    const range = /^(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)$/.exec(given.get("iou") ?? "");
    this.low.value = range && Number(range[1]) > 0 ? range[1] : "";
    this.high.value = range && Number(range[2]) < 100 ? range[2] : "";
    this.slices = HL.Filters.#SLICES.map((key) => given.get(key)).filter((word) => this.words.has(word));
    this.#chips();
  }

  /** A function that tells whether the sample of a number is shown. */
  test() {
    const tests = [this.#searched(), this.#ranged(), this.#came(), this.#clicked(), ...this.#parted()].filter(Boolean);
    return (n) => tests.every((test) => test(n));
  }

  /** The mean error of a run's predicted IoUs in a sample; what could not be read counts as 0.5. */
  error(run, n) {
    const { predicted, curves } = this.index.runs[run];
    const errors = predicted[n].map((said, t) => Math.abs((said ?? 0.5) - curves[n][t + 1] / 1000));
    return errors.reduce((sum, each) => sum + each, 0) / Math.max(1, errors.length);
  }

  /** How much better the first run is than the second: the difference of IoU, or of errors. */
  gap(n) {
    const [a, b] = this.pair();
    if (this.index.kind === "filtering") return this.error(b, n) - this.error(a, n);
    return this.index.runs[a].final[n] - this.index.runs[b].final[n];
  }

  #searched() {
    const words = this.search.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    return words.length && ((n) => words.every((word) => this.haystack[n].includes(word)));
  }

  #ranged() {
    const low = this.low.value === "" ? 0 : Number(this.low.value);
    const high = this.high.value === "" ? 100 : Number(this.high.value);
    const inside = (run) => (n) => {
      const iou = 100 * this.index.runs[run].final[n];
      return iou >= low - HL.Filters.#WIN && iou <= high + HL.Filters.#WIN;
    };
    const tests = this.pair().map(inside);
    return (low > 0 || high < 100) && ((n) => tests.some((test) => test(n)));
  }

  #came() {
    const { runs, outcomes } = this.index;
    const name = this.outcome.value;
    if (name === "never") return (n) => this.pair().some((run) => runs[run].clicks[n] == null);
    if (name === "first") return (n) => this.gap(n) > HL.Filters.#WIN;
    if (name === "second") return (n) => this.gap(n) < -HL.Filters.#WIN;
    const code = outcomes.indexOf(name);
    return name && ((n) => this.pair().some((run) => runs[run].outcome[n] === code));
  }

  #clicked() {
    const { runs, kinds } = this.index;
    if (!this.kind?.value) return null;
    const code = String(kinds.indexOf(this.kind.value));
    const at = this.at.value ? Number(this.at.value) - 1 : null;
    const did = (steps) => (at == null ? steps.includes(code) : steps[at] === code);
    return (n) => this.pair().some((run) => did(runs[run].kinds[n]));
  }

  /** Slices of one grouping are alternatives; those of different groupings must all hold. */
  #parted() {
    const chosen = new Map();
    for (const word of this.slices) {
      const [way, part] = this.words.get(word);
      chosen.set(way, [...(chosen.get(way) ?? []), part]);
    }
    return [...chosen].map(([way, parts]) => (n) => parts.includes(this.index.slicings[way].codes[n]));
  }

  /* The controls */

  #build() {
    const { outcomes, slicings, runs, kinds } = this.index;
    const option = (value, text = value) => HL.el("option", { value }, text);
    const select = (...options) => HL.el("select", { onchange: () => this.changed() }, option("", "all"), ...options);
    const used = outcomes.filter((_, code) => runs.some((run) => run.outcome.includes(code)));
    const label = (text, ...controls) => HL.el("label", {}, text, ...controls);
    this.search = HL.el("input", { type: "search", autocomplete: "off", oninput: () => this.changed() });
    const rated = this.index.kind === "filtering";
    this.outcome = select(...(rated ? [] : [option("never", "never reached 80 % IoU")]),
      ...(runs.length > 1 ? [option("first", "first run better"), option("second", "second run better")] : []),
      ...(rated ? [] : used.map((name) => option(name))));
    [this.low, this.high] = ["from", "to"].map((end) => HL.el("input", { type: "number", min: 0, max: 100, step: "any", "aria-label": `IoU ${end}, in per cent`, placeholder: end === "from" ? "0" : "100", oninput: () => this.changed() }));
    const range = HL.el("div", { class: "range-of", role: "group", "aria-label": "IoU in per cent" }, HL.el("span", {}, "IoU (%)"), HL.el("div", {}, this.low, "–", this.high));
    const parts = [label("Search", this.search), range];
    if (!rated) parts.push(label("Outcome", this.outcome));
    if (runs[0].kinds) {
      const seen = kinds.filter((_, code) => runs.some((run) => run.kinds.some((steps) => steps.includes(String(code)))));
      this.kind = select(...seen.map((name) => option(name)));
      this.at = HL.el("select", { onchange: () => this.changed() }, option("", "any click"),
        ...Array.from({ length: Math.max(...runs.map((run) => run.budget)) }, (_, t) => option(String(t + 1), `click ${t + 1}`)));
      parts.push(label("What a click did", this.kind), label("At", this.at));
    }
    this.slice = HL.el("select", { onchange: () => this.#add() }, option("", "add a slice"),
      ...slicings.map((way) => HL.el("optgroup", { label: way.name }, ...way.values.map((name) => option(`${way.name}: ${name}`, name)))));
    if (slicings.length) parts.push(label("Slices", this.slice));
    this.chosen = HL.el("ul", { class: "chosen", "aria-label": "Chosen slices" });
    this.controls = HL.el("div", { class: "controls" }, ...parts);
  }

  #add() {
    const word = this.slice.value;
    this.slice.value = "";
    if (!word || this.slices.includes(word)) return;
    this.slices = [...this.slices.slice(0, HL.Filters.#SLICES.length - 1), word];
    this.#chips();
    this.changed();
  }

  #chips() {
    this.chosen.hidden = !this.slices.length;
    this.chosen.replaceChildren(...this.slices.map((word) => HL.el("li", {}, HL.el("button", { type: "button", "aria-label": `Remove the slice ${word}`, onclick: () => {
      this.slices = this.slices.filter((other) => other !== word);
      this.#chips();
      this.changed();
    } }, word, HL.el("span", { "aria-hidden": "true" }, " ×")))));
  }

  static #pick(select, word) {
    select.selectedIndex = Math.max(0, [...select.options].findIndex((option) => word && option.value === word));
  }
};
