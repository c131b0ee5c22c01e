"use strict";
/* The player: a sample step by step, of one run or of two in step. */
HL.Player = class {
  /**
   * @param index what data/index.js holds
   * @param changed called with the player's state when the user changed it: ({ sample, step }, push)
   * @param neighbour the sample so many places further in the gallery's order, or null
   */
  constructor(index, changed, neighbour) {
    this.index = index;
    this.changed = changed;
    this.neighbour = neighbour;
    this.hidden = new Set();
    this.#build();
  }

  /** Open a sample, by its number, at a step, for the runs of these numbers. A failure is told in place. */
  async open(sample, step, runs) {
    this.#clear(sample);
    if (!this.dialog.open) {
      this.dialog.showModal();
      this.dialog.focus();
    }
    const shard = String(Math.floor(sample / this.index.shard)).padStart(3, "0");
    try {
      const episodes = await HL.get(`data/shard-${shard}.js`, `s${sample}`);
      if (this.sample === sample) this.#start(runs.map((run) => episodes[run]), runs, step);
    } catch (error) {
      if (this.sample === sample) this.#fail(error.message);
    }
  }

  /** Nothing of the sample before is left to be seen or to be stepped through. */
  #clear(sample) {
    this.sample = sample;
    this.episodes = null;
    this.title.textContent = this.index.expressions[sample];
    this.about.textContent = this.index.ids[sample];
    this.status.textContent = this.place.textContent = "";
    this.failure.hidden = true;
    this.bodies.replaceChildren();
    this.strip.replaceChildren();
    this.back.disabled = this.neighbour(sample, -1) == null;
    this.forth.disabled = this.neighbour(sample, 1) == null;
  }

  #start(episodes, runs, step) {
    this.episodes = episodes;
    this.last = Math.max(...episodes.map((episode) => episode.steps.length));
    this.answers = runs.map((run) => this.index.runs[run].answer[this.sample]);
    this.divergence = episodes.length > 1 ? HL.Player.divergence(episodes) : null;
    this.#panes(runs);
    this.#strip();
    this.go(step ?? this.answers[0], { quiet: true });
  }

  #fail(message) {
    this.#clear(this.sample);
    this.failure.textContent = message;
    this.failure.hidden = false;
  }

  close() {
    if (this.dialog.open) this.dialog.close();
  }

  /** The first step at which two episodes do something else, or null. */
  static divergence([first, second]) {
    for (let t = 1; t <= Math.max(first.steps.length, second.steps.length); t++) {
      const [a, b] = [first.steps[t - 1], second.steps[t - 1]];
      if (!a || !b || HL.Player.told(a.action) !== HL.Player.told(b.action)) return t;
    }
    return null;
  }

  /** An action in words. */
  static told(action) {
    const place = action.box ? ` box ${action.box.join(", ")}` : "";
    switch (action.kind) {
      case "click": return `${action.positive ? "positive" : "negative"} click at ${action.x}, ${action.y}${place && " with" + place}`;
      case "box": return place.trim();
      case "stop": return "stop";
      case "none": return "no such object";
      case "predict": return "predicted the IoU of this mask";
      default: return `invalid reply (${HL.visible(String(action.reason ?? action.kind)).replaceAll("_", " ")})`;
    }
  }

  /** Go to a step. */
  go(step, { quiet = false } = {}) {
    if (!this.episodes) return;
    this.step = Math.min(Math.max(Math.trunc(step) || 0, 0), this.last);
    const heard = this.panes.map((pane) => this.#show(pane, this.step));
    [...this.strip.querySelectorAll("button")].forEach((button, t) => {
      if (t === this.step) {
        button.setAttribute("aria-current", "step");
        const hiddenRight = button.offsetLeft + button.offsetWidth - this.strip.clientWidth;
        this.strip.scrollLeft = Math.min(Math.max(this.strip.scrollLeft, hiddenRight), button.offsetLeft);
      }
      else button.removeAttribute("aria-current");
    });
    const focused = document.activeElement;
    this.first.disabled = this.previous.disabled = this.step === 0;
    this.next.disabled = this.end.disabled = this.step === this.last;
    if (focused?.disabled) this.dialog.focus();
    this.place.textContent = `Step ${this.step} of ${this.last}`;
    const apart = this.step === this.divergence ? " First difference." : "";
    this.status.textContent = `Step ${this.step} of ${this.last}.${apart} ${heard.join(" ")}`;
    if (!quiet) this.changed({ sample: this.sample, step: this.step }, false);
  }

  #show(pane, t) {
    const { episode, stage, facts } = pane;
    const own = Math.min(t, episode.steps.length);
    const iou = stage.show(own, this.hidden);
    const step = own ? episode.steps[own - 1] : null;
    const before = own > 1 ? episode.steps[own - 2].iou : episode.initial.iou;
    const rows = [["IoU", HL.el("output", { class: "iou", "data-iou": iou }, HL.number(iou, 4)), own ? `${iou >= before ? "+" : "−"}${Math.abs(iou - before).toFixed(3)}` : "before the first step"]];
    const recorded = own ? step.iou : episode.initial.iou;
    if (Math.abs(recorded - iou) > 1e-6) rows.push(["Recorded IoU", HL.number(recorded, 6), "differs from the masks"]);
    if (stage.noTarget) rows.push(["Ground truth", "no such object", "an empty mask is right"]);
    if (step) rows.push(...HL.Player.#rows(step, before));
    if (own < t) rows.push(["Ended", `after step ${episode.steps.length}`, HL.visible(episode.stop)]);
    if (episode.error && own === episode.steps.length) rows.push(["Error", HL.visible(episode.error), ""]);
    facts.replaceChildren(...rows.map(HL.Player.#row));
    const raw = step ? step.raw ?? "no reply" : episode.initial.raw ?? "No reply yet.";
    pane.reply.textContent = HL.visible(raw) || "empty reply";
    pane.candidates.replaceChildren(...this.#candidates(pane, step));
    const action = step ? HL.Player.told(step.action) : `initial mask ${episode.initial.kind}`;
    return `${this.panes.length > 1 ? pane.name + ": " : ""}${action}; IoU ${HL.number(iou)}.`;
  }

  static #rows(step, before) {
    const seconds = Object.entries(step.seconds ?? {}).map(([part, value]) => `${part} ${value.toFixed(2)} s`).join(", ");
    const tokens = step.tokens?.out == null ? "" : `${step.tokens.in ?? "?"} in, ${step.tokens.out} out`;
    const rows = [["Action", HL.Player.told(step.action), ""]];
    const judged = step.action.kind === "predict" ? "of this mask" : `of the mask before, whose IoU is ${HL.number(before)}`;
    if (step.predicted_iou != null) rows.push(["Predicted IoU", HL.number(step.predicted_iou), judged]);
    if (step.finish) rows.push(["Reply ended by", HL.visible(String(step.finish)), ""]);
    if (seconds) rows.push(["Time", seconds, tokens && `tokens: ${tokens}`]);
    return rows;
  }

  static #row([name, value, note]) {
    return HL.el("div", {}, HL.el("dt", {}, name), HL.el("dd", {}, value, note ? HL.el("span", { class: "note" }, ` ${note}`) : ""));
  }

  /** What a tree search tried at this step. */
  #candidates(pane, step) {
    if (!step?.candidates?.length) return [];
    const rows = step.candidates.map((one) => {
      const show = () => {
        const iou = pane.stage.show(step.t, this.hidden, one);
        this.status.textContent = `Candidate: ${HL.Player.told(one.action)}; IoU ${HL.number(iou)}.`;
      };
      return HL.el("tr", {},
        HL.el("th", { scope: "row" }, HL.el("button", { type: "button", class: "link", onclick: show }, HL.Player.told(one.action))),
        HL.el("td", {}, HL.number(one.predicted_iou)), HL.el("td", {}, HL.number(one.iou)), HL.el("td", {}, one.chosen ? "chosen" : ""));
    });
    const heads = ["Candidate (shows its mask)", "predicted IoU", "IoU", ""].map((text) => HL.el("th", { scope: "col" }, text));
    return [HL.el("table", { class: "numbers plain" }, HL.el("thead", {}, HL.el("tr", {}, ...heads)), HL.el("tbody", {}, ...rows))];
  }

  #panes(runs) {
    const image = this.index.images[this.sample];
    const picture = image == null ? null : `img/full/${String(image).padStart(5, "0")}.jpg`;
    this.panes = this.episodes.map((episode, n) => {
      const pane = { episode, name: this.index.runs[runs[n]].name, stage: new HL.Stage() };
      pane.facts = HL.el("dl", { class: "facts" });
      pane.reply = HL.el("pre", { class: "reply", tabindex: "0", "aria-label": "Raw reply" });
      pane.candidates = HL.el("div", { class: "scroll" });
      pane.element = HL.el("section", { class: "pane", "aria-label": pane.name },
        runs.length > 1 ? HL.el("h3", {}, pane.name) : "", pane.stage.element,
        HL.el("div", { class: "told" }, pane.facts, HL.el("h4", {}, "Raw reply"), pane.reply, pane.candidates));
      return pane;
    });
    this.bodies.classList.toggle("two", runs.length > 1);
    this.bodies.replaceChildren(...this.panes.map((pane) => pane.element));
    this.panes.forEach((pane) => {
      pane.stage.open(pane.episode, picture);
      pane.stage.setZoom(Number(this.zoom.value));
    });
  }

  /** A button for each step, with the IoU after it. */
  #strip() {
    this.strip.replaceChildren(...Array.from({ length: this.last + 1 }, (_, t) => {
      const apart = t === this.divergence;
      const lines = this.episodes.map((episode) => this.#chip(episode, t));
      const label = apart ? [HL.el("span", { class: "apart" }, "≠ first difference")] : [];
      if (this.answers.includes(t)) label.push(HL.el("span", { class: "apart" }, "answer"));
      return HL.el("li", {}, HL.el("button", { type: "button", class: `chip${apart ? " diverges" : ""}`, onclick: () => this.go(t) },
        HL.el("span", { class: "t" }, t ? `${t}` : "start"), ...lines, ...label));
    }));
  }

  #chip(episode, t) {
    if (t > episode.steps.length) return HL.el("span", { class: "sign" }, "ended");
    const action = t ? episode.steps[t - 1].action : null;
    const sign = !action ? "" : action.kind === "click" ? (action.positive ? "⊕" : "⊖") : { box: "▭", stop: "■", none: "∅", predict: "?" }[action.kind] ?? "!";
    const iou = t ? episode.steps[t - 1].iou : episode.initial.iou;
    return HL.el("span", { class: "sign" }, `${sign} ${HL.number(iou, 2)}`.trim());
  }

  #leave(places) {
    const sample = this.neighbour(this.sample, places);
    if (sample != null) this.changed({ sample, step: null }, true);
  }

  #build() {
    const button = (text, action, label, more = "") => HL.el("button", { type: "button", onclick: action, "aria-label": label },
      text, more && HL.el("span", { class: "wide" }, more));
    this.title = HL.el("h2", { id: "player-title", dir: "auto" });
    this.about = HL.el("p", { class: "note mono" });
    this.back = button("Previous", () => this.#leave(-1), "Previous sample", " sample");
    this.forth = button("Next", () => this.#leave(1), "Next sample", " sample");
    this.first = button("«", () => this.go(0), "First step");
    this.previous = button("‹", () => this.go(this.step - 1), "Previous step");
    this.next = button("›", () => this.go(this.step + 1), "Next step");
    this.end = button("»", () => this.go(this.last), "Last step");
    this.place = HL.el("span", { class: "place" });
    this.strip = HL.el("ol", { class: "strip", "aria-label": "Steps" });
    this.bodies = HL.el("div", { class: "bodies" });
    this.failure = HL.el("p", { class: "error", role: "alert", hidden: true });
    this.status = HL.el("p", { class: "hidden-label", role: "status" });
    this.zoom = HL.el("select", { "aria-label": "Zoom", onchange: () => this.panes?.forEach((pane) => pane.stage.setZoom(Number(this.zoom.value))) },
      ...[1, 2, 4].map((zoom) => HL.el("option", { value: zoom }, zoom === 1 ? "fit" : `${zoom} ×`)));
    const toggles = [["mask", "mask"], ["outline", "ground truth"], ["clicks", "clicks"]].map(([name, text]) => this.#toggle(name, text));
    this.dialog = HL.el("dialog", { class: "player", "aria-labelledby": "player-title", tabindex: "-1" },
      HL.el("header", { class: "controls" }, HL.el("div", { class: "names" }, this.title, this.about),
        HL.el("fieldset", { class: "toggles" }, HL.el("legend", { class: "hidden-label" }, "Shown"), ...toggles),
        HL.el("label", { class: "zoom" }, HL.el("span", { class: "wide" }, "Zoom"), this.zoom),
        this.back, this.forth, button("Close", () => this.changed({ sample: null }, true), "Close")),
      this.failure, this.bodies,
      HL.el("div", { class: "dock" },
        HL.el("div", { class: "controls steps" }, this.first, this.previous, this.place, this.next, this.end), this.strip),
      HL.el("p", { class: "note keys" }, "Keys: ← and → go a step, Shift with ← or → (or Home and End) to the first and last, Esc closes."),
      this.status);
    this.dialog.addEventListener("keydown", (event) => this.#key(event));
    this.dialog.addEventListener("cancel", (event) => {
      event.preventDefault();
      this.changed({ sample: null }, true);
    });
    document.body.append(this.dialog);
  }

  #toggle(name, text) {
    const box = HL.el("input", { type: "checkbox", checked: true, onchange: () => {
      this.hidden[box.checked ? "delete" : "add"](name);
      this.go(this.step, { quiet: true });
    } });
    return HL.el("label", {}, box, ` ${text}`);
  }

  #key(event) {
    if (event.target.matches("select, .stage, pre") && !event.shiftKey && event.target !== this.dialog && this.#scrolls(event.target)) return;
    const far = event.shiftKey;
    const moves = {
      ArrowLeft: far ? 0 : this.step - 1,
      ArrowRight: far ? this.last : this.step + 1,
      Home: 0,
      End: this.last,
    };
    if (!(event.key in moves) || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.go(moves[event.key]);
  }

  /** Whether the arrow keys already mean something there. */
  #scrolls(element) {
    return element.matches("select") || element.scrollWidth > element.clientWidth + 1;
  }
};
