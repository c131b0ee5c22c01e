"use strict";
/* One episode on its image: the mask of a step, the clicks so far, and the outline of the ground truth. */
HL.Stage = class {
  static #SVG = "http://www.w3.org/2000/svg";
  static #SHARE = 0.52; // of the window's height
  static #MASK = [0, 220, 60, 255];
  // Right, missing, too much: the colours of the error maps that are made with the page.
  static #ERRORS = [[255, 255, 255, 255], [75, 60, 200, 255], [230, 97, 0, 255]];
  static #WHEEL = 1.2;
  static #MOST = 16; // times

  constructor() {
    this.canvas = HL.el("canvas", { class: "mask", role: "img" });
    this.svg = this.#shape("svg", { class: "marks", "aria-hidden": "true", preserveAspectRatio: "none" });
    this.absent = HL.el("p", { class: "absent" }, "Ground truth: no such object");
    this.frame = HL.el("div", { class: "frame" }, this.canvas, this.svg);
    this.element = HL.el("div", { class: "stage", tabindex: "0", role: "group" }, this.frame);
    this.zoom = 1;
    this.element.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    new ResizeObserver(() => this.#fit()).observe(this.element);
  }

  /** Show another episode. `picture` is the address of its image, or null. */
  open(episode, picture) {
    [this.height, this.width] = episode.size;
    this.episode = episode;
    this.truth = HL.masks.decode(episode.gt);
    this.ignore = episode.ignore && HL.masks.decode(episode.ignore);
    this.noTarget = !this.truth.pixels.some((inside, place) => inside && !this.ignore?.pixels[place]);
    this.element.setAttribute("aria-label", `The image with the mask: ${HL.visible(episode.expression)}`);
    this.frame.querySelector("img")?.remove();
    if (this.noTarget) this.frame.append(this.absent);
    if (picture) this.frame.prepend(this.#picture(picture));
    this.svg.setAttribute("viewBox", `0 0 ${this.width} ${this.height}`);
    const path = HL.masks.outline(this.truth);
    this.outline = this.#shape("g", { class: "outline" });
    this.outline.append(this.#shape("path", { class: "halo", d: path }), this.#shape("path", { class: "edge", d: path }));
    this.marks = this.#shape("g", {});
    this.svg.replaceChildren(this.outline, this.marks);
    this.#fit();
  }

  /**
   * Show the state after t steps, or what a candidate of that step led to; gives back the IoU, computed from the masks.
   * @param look { view: "mask", "map" or "none"; opacity: 0 to 100; hidden: a set of "outline" and "clicks" }
   */
  show(t, look, candidate = null) {
    const { steps, initial, size } = this.episode;
    const rle = candidate?.mask ?? (t ? steps[t - 1].mask : initial.mask);
    const mask = rle ? HL.masks.decode(rle) : HL.masks.empty(size);
    const map = look.view === "map";
    if (map) HL.masks.paintErrors(this.canvas, this.truth, mask, this.ignore, HL.Stage.#ERRORS);
    else HL.masks.paint(this.canvas, mask, HL.Stage.#MASK);
    const iou = HL.masks.iou(this.truth, mask, this.ignore);
    this.frame.classList.toggle("map", map);
    this.canvas.style.opacity = (map ? Math.max(look.opacity, 1) + 30 : look.opacity) / 100;
    this.canvas.setAttribute("aria-label", `${map ? "Error map" : "Mask"} after step ${t}, IoU ${HL.number(100 * iou, 1)} %`);
    this.canvas.hidden = look.view === "none";
    this.outline.toggleAttribute("hidden", look.hidden.has("outline"));
    this.absent.hidden = look.hidden.has("outline");
    this.marks.toggleAttribute("hidden", look.hidden.has("clicks"));
    const done = steps.slice(0, t).map((step) => (candidate && step.t === t ? { ...step, action: candidate.action } : step));
    this.marks.replaceChildren(...this.#box(initial.box), ...done.flatMap((step) => this.#marksOf(step, step.t === t)));
    this.#scaleMarks();
    return iou;
  }

  /** Zoom to a number of times, or to the object. */
  setZoom(zoom) {
    const object = zoom === "object" && this.truth ? HL.masks.bounds(this.truth) : null;
    if (!object) {
      this.zoom = Number(zoom) || 1;
      this.#fit();
      return;
    }
    this.zoom = 1;
    this.#fit();
    const [wide, high] = [object.width * this.scale, object.height * this.scale];
    const room = Math.min(this.element.clientWidth / wide, parseFloat(this.frame.style.height) / high);
    this.zoom = Math.min(Math.max(room / 1.5, 1), HL.Stage.#MOST);
    this.#fit();
    this.element.scrollLeft = (object.x + object.width / 2) * this.scale - this.element.clientWidth / 2;
    this.element.scrollTop = (object.y + object.height / 2) * this.scale - this.element.clientHeight / 2;
  }

  /** Zoom about the pixel under the pointer. */
  #wheel(event) {
    if (!this.width || event.shiftKey || event.altKey) return;
    event.preventDefault();
    const before = this.scale;
    const box = this.frame.getBoundingClientRect();
    const [x, y] = [(event.clientX - box.left) / before, (event.clientY - box.top) / before];
    this.zoom = Math.min(Math.max(this.zoom * (event.deltaY < 0 ? HL.Stage.#WHEEL : 1 / HL.Stage.#WHEEL), 1), HL.Stage.#MOST);
    this.#fit();
    this.element.scrollLeft += x * (this.scale - before);
    this.element.scrollTop += y * (this.scale - before);
  }

  #picture(address) {
    const image = HL.el("img", { src: address, alt: "", decoding: "async" });
    image.addEventListener("error", () => {
      image.replaceWith(HL.el("p", { class: "error" }, `The image ${address} is missing.`));
    });
    return image;
  }

  /** A click as a sign in a circle, with its number; a box as a rectangle. */
  #marksOf(step, latest) {
    const { kind, positive, x, y, box } = step.action;
    const made = this.#box(box);
    if (kind === "click") {
      const name = `click ${positive ? "positive" : "negative"}${latest ? " latest" : ""}`;
      const mark = this.#shape("g", { class: name, "data-x": x, "data-y": y, "data-t": step.t });
      const sign = positive ? "M-4 0h8M0 -4v8" : "M-4 0h8";
      mark.append(this.#shape("circle", { r: latest ? 9 : 7 }), this.#shape("path", { d: sign }));
      const label = this.#shape("text", { x: 11, y: -6 });
      label.textContent = step.t;
      mark.append(label);
      made.push(mark);
    }
    return made;
  }

  #box(box) {
    if (!box) return [];
    const [x0, y0, x1, y1] = box;
    return [this.#shape("rect", { class: "box", x: x0, y: y0, width: x1 - x0, height: y1 - y0 })];
  }

  /** The frame is as large as fits, times the zoom. */
  #fit() {
    if (!this.width) return;
    const room = this.element.clientWidth;
    const most = Math.max(220, HL.Stage.#SHARE * innerHeight);
    const width = Math.min(room, (most * this.width) / this.height) * this.zoom;
    this.frame.style.width = `${width}px`;
    this.frame.style.height = `${(width * this.height) / this.width}px`;
    this.scale = width / this.width;
    this.#scaleMarks();
  }

  /** Marks lie in the middle of their pixel and keep their size on the screen. */
  #scaleMarks() {
    for (const mark of this.marks?.querySelectorAll(".click") ?? []) {
      const [x, y] = [Number(mark.dataset.x) + 0.5, Number(mark.dataset.y) + 0.5];
      mark.setAttribute("transform", `translate(${x} ${y}) scale(${1 / (this.scale || 1)})`);
    }
  }

  #shape(tag, attributes) {
    const element = document.createElementNS(HL.Stage.#SVG, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  }
};
