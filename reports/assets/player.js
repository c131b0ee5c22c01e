"use strict";
/* The player: a sample step by step, of one run or of two in step. */
HL.Player = class {
  /**
   * @param index what data/index.js holds
   * @param changed called with the player's state when the user changed it: ({ sample, step }, push)
   * @param neighbour the sample at a number of places further in the order of the gallery, or null
   */
  constructor(index, changed, neighbour) {
    this.index = index;
    this.changed = changed;
    this.neighbour = neighbour;
    this.look = { view: "mask", opacity: 50, hidden: new Set() };
    this.#build();
  }

  /** Open a sample, by its number, at a step, for the runs of these numbers. A failure is told in place. */
  async open(sample, step, runs) {
    this.#clear(sample);
    if (!this.dialog.open) {
      this.dialog.showModal();
      this.dialog.focus();
    } else if (!this.dialog.contains(document.activeElement)) {
      this.dialog.focus(); // what had it belonged to the sample before
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

  /** What is shown, in words for the address; null where it is the usual. */
  state() {
    const { view, opacity, hidden } = this.look;
    return { view: view === "mask" ? null : view, opacity: opacity === 50 ? null : opacity, hide: [...hidden].join() || null, zoom: this.zoom.value === "1" ? null : this.zoom.value };
  }

  /** Take what is shown from the words of an address. */
  restore(given) {
    const words = given.has("sample") ? given : new URLSearchParams();
    const view = words.get("view");
    this.look.view = ["map", "none"].includes(view) ? view : "mask";
    const opacity = Number(words.get("opacity") ?? 50);
    this.look.opacity = opacity >= 0 && opacity <= 100 ? opacity : 50;
    this.look.hidden = new Set((words.get("hide") ?? "").split(",").filter((name) => ["outline", "clicks"].includes(name)));
    this.zoom.value = [...this.zoom.options].some((option) => option.value === words.get("zoom")) ? words.get("zoom") : "1";
    this.view.value = this.look.view;
    this.opacity.value = this.look.opacity;
    for (const [name, box] of Object.entries(this.boxes)) box.checked = !this.look.hidden.has(name);
  }

  /** The first step at which two episodes do something else, or null. */
  static divergence([first, second]) {
    for (let t = 1; t <= Math.max(first.steps.length, second.steps.length); t++) {
      const [a, b] = [first.steps[t - 1], second.steps[t - 1]];
      if (!a || !b || HL.told.action(a.action) !== HL.told.action(b.action)) return t;
    }
    return null;
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
    if (!quiet) this.#tell();
  }

  /** Keep what is shown in the address. */
  #tell() {
    this.changed({ sample: this.sample, step: this.step, ...this.state() }, false);
  }

  #show(pane, t) {
    const { episode, stage, facts } = pane;
    const own = Math.min(t, episode.steps.length);
    const iou = stage.show(own, this.look);
    const step = own ? episode.steps[own - 1] : null;
    facts.replaceChildren(...HL.told.rows(episode, t, iou, stage.noTarget, this.#did(pane.run, own)));
    const raw = step ? step.raw ?? "no reply" : episode.initial.raw ?? "No reply yet.";
    pane.reply.textContent = HL.visible(raw) || "empty reply";
    pane.candidates.replaceChildren(...HL.told.candidates(step, (one) => {
      const found = pane.stage.show(step.t, this.look, one);
      this.status.textContent = `Candidate: ${HL.told.action(one.action)}; IoU ${HL.told.percent(found)}.`;
    }));
    const action = step ? HL.told.action(step.action) : `initial mask ${episode.initial.kind}`;
    const did = this.#did(pane.run, own);
    return `${this.panes.length > 1 ? pane.name + ": " : ""}${action}${did ? `, ${did}` : ""}; IoU ${HL.told.percent(iou)}.`;
  }

  /** What a step did, in a word; null where that is not said of it. */
  #did(run, t) {
    const digit = t && this.index.runs[run].kinds?.[this.sample]?.[t - 1];
    return digit ? this.index.kinds[Number(digit)] : null;
  }

  #panes(runs) {
    const image = this.index.images[this.sample];
    const picture = image == null ? null : `img/full/${String(image).padStart(5, "0")}.jpg`;
    this.panes = this.episodes.map((episode, n) => this.#pane(episode, runs[n], runs.length > 1));
    const several = runs.length > 1;
    this.bodies.classList.toggle("two", several);
    this.tabs.hidden = !several;
    this.tabs.replaceChildren(...this.panes.map((pane, n) => HL.el("button", { type: "button", "aria-pressed": String(n === 0), onclick: () => this.#face(n) }, pane.name)));
    this.bodies.replaceChildren(...this.panes.map((pane) => pane.element));
    this.#face(0);
    this.panes.forEach((pane) => {
      pane.stage.open(pane.episode, picture);
      pane.stage.setZoom(this.zoom.value);
    });
  }

  #pane(episode, run, several) {
    const pane = { episode, run, name: this.index.runs[run].name, stage: new HL.Stage() };
    pane.facts = HL.el("dl", { class: "facts" });
    pane.reply = HL.el("pre", { class: "reply", tabindex: "0", "aria-label": "Raw reply" });
    pane.candidates = HL.el("div", { class: "scroll" });
    const asked = HL.visible((this.index.prompts?.[run] ?? "").replaceAll("{expression}", episode.expression));
    const prompt = asked ? [HL.el("details", { class: "asked" }, HL.el("summary", {}, "Prompt"), HL.el("pre", { class: "reply", tabindex: "0", "aria-label": "Prompt" }, asked))] : [];
    pane.element = HL.el("section", { class: "pane", "aria-label": pane.name },
      several ? HL.el("h3", {}, pane.name) : "", pane.stage.element,
      HL.el("div", { class: "told" }, HL.el("h3", { class: "small" }, "Raw reply"), pane.reply, pane.facts, pane.candidates, ...prompt));
    return pane;
  }

  /** Of two runs, show this one on a narrow screen; a wide one shows both. */
  #face(chosen) {
    this.panes.forEach((pane, n) => pane.element.classList.toggle("behind", n !== chosen));
    [...this.tabs.children].forEach((tab, n) => tab.setAttribute("aria-pressed", String(n === chosen)));
  }

  /** A button for each step, with the IoU after it. */
  #strip() {
    this.strip.replaceChildren(...Array.from({ length: this.last + 1 }, (_, t) => {
      const apart = t === this.divergence;
      const lines = this.panes.map((pane) => this.#chip(pane.episode, t, pane.run));
      const label = apart ? [HL.el("span", { class: "apart" }, "≠ first difference")] : [];
      if (this.answers.includes(t)) label.push(HL.el("span", { class: "apart" }, "answer"));
      return HL.el("li", {}, HL.el("button", { type: "button", class: `chip${apart ? " diverges" : ""}`, onclick: () => this.go(t) },
        HL.el("span", { class: "t" }, t ? `${t}` : "start"), ...lines, ...label));
    }));
  }

  #chip(episode, t, run) {
    if (t > episode.steps.length) return HL.el("span", { class: "sign" }, "ended");
    const iou = t ? episode.steps[t - 1].iou : episode.initial.iou;
    const sign = HL.told.sign(t ? episode.steps[t - 1].action : null);
    const did = this.#did(run, t);
    return HL.el("span", { class: "sign" }, `${sign} ${HL.number(100 * iou, 0)}`.trim(), did ? HL.el("span", { class: `did ${did.replaceAll(" ", "-")}` }, did) : "");
  }

  #leave(places) {
    const sample = this.neighbour(this.sample, places);
    if (sample != null) this.changed({ sample, step: null, ...this.state() }, true);
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
    this.zoom = HL.el("select", { "aria-label": "Zoom", onchange: () => {
      this.panes?.forEach((pane) => pane.stage.setZoom(this.zoom.value));
      if (this.episodes) this.#tell();
    } }, ...[["1", "fit"], ["object", "object"], ["2", "2 ×"], ["4", "4 ×"]].map(([value, text]) => HL.el("option", { value }, text)));
    this.view = HL.el("select", { "aria-label": "Painted", onchange: () => this.#paint({ view: this.view.value }) },
      ...[["mask", "mask"], ["map", "error map"], ["none", "nothing"]].map(([value, text]) => HL.el("option", { value }, text)));
    this.opacity = HL.el("input", { type: "range", min: 0, max: 100, step: 10, value: 50, "aria-label": "Opacity", oninput: () => this.#paint({ opacity: Number(this.opacity.value) }) });
    this.boxes = {};
    const toggles = [["outline", "ground truth"], ["clicks", "clicks"]].map(([name, text]) => this.#toggle(name, text));
    this.tabs = HL.el("div", { class: "tabs", role: "group", "aria-label": "Run that is shown", hidden: true });
    this.dialog = HL.el("dialog", { class: "player", "aria-labelledby": "player-title", tabindex: "-1" },
      HL.el("header", { class: "controls" }, HL.el("div", { class: "names" }, this.title, this.about),
        HL.el("fieldset", { class: "toggles" }, HL.el("legend", { class: "hidden-label" }, "Shown"), this.view, this.opacity, ...toggles),
        HL.el("label", { class: "zoom" }, HL.el("span", { class: "wide" }, "Zoom"), this.zoom),
        this.back, this.forth, button("Close", () => this.changed({ sample: null }, true), "Close")),
      this.failure, this.tabs, this.bodies,
      HL.el("div", { class: "dock" },
        HL.el("div", { class: "controls steps" }, this.first, this.previous, this.place, this.next, this.end), this.strip),
      HL.el("p", { class: "note keys" }, "Keys: ← → step, Shift with them (or Home, End) first and last step, n next and p previous sample, e error map, Esc closes. The wheel zooms."),
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
      this.look.hidden[box.checked ? "delete" : "add"](name);
      this.#paint({});
    } });
    this.boxes[name] = box;
    return HL.el("label", {}, box, ` ${text}`);
  }

  #paint(change) {
    Object.assign(this.look, change);
    this.view.value = this.look.view;
    if (!this.episodes) return;
    this.go(this.step, { quiet: true });
    this.#tell();
  }

  #key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const letters = { n: () => this.#leave(1), p: () => this.#leave(-1), e: () => this.#paint({ view: this.look.view === "map" ? "mask" : "map" }) };
    if (event.key in letters && !event.target.matches("select, input[type=range]")) {
      event.preventDefault();
      letters[event.key]();
      return;
    }
    if (event.target.matches("input[type=range]")) return;
    if (event.target.matches("select, .stage, pre") && !event.shiftKey && event.target !== this.dialog && this.#scrolls(event.target)) return;
    const far = event.shiftKey;
    const moves = {
      ArrowLeft: far ? 0 : this.step - 1,
      ArrowRight: far ? this.last : this.step + 1,
      Home: 0,
      End: this.last,
    };
    if (!(event.key in moves)) return;
    event.preventDefault();
    this.go(moves[event.key]);
  }

  /** Whether the arrow keys already mean something there. */
  #scrolls(element) {
    return element.matches("select") || element.scrollWidth > element.clientWidth + 1;
  }
};
