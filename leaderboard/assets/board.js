"use strict";
/* The page of a ranking: search, filters, sorting, and the curves of chosen rows. State is in the URL. */
addEventListener("DOMContentLoaded", () => {
  const table = document.getElementById("board");
  if (!table) return;
  const filters = document.getElementById("filters");
  const search = filters.elements.q;
  const weights = filters.elements.weights;
  const shown = document.getElementById("shown");
  const standing = shown.textContent;
  const body = table.tBodies[0];
  const pages = document.querySelector("nav.pages");
  const more = document.getElementById("more");
  const headers = [...table.querySelectorAll("th[data-sort]")];
  const built = [...body.rows];
  const FIRST = 30; // rows that a search shows at once: laying out more would be felt while typing
  let rows = built; // all rows, once they are loaded
  let complete = !table.dataset.rows;
  let most = FIRST;
  let sorting = { by: "", down: false };

  /** A row from the data of the page: a copy of the first row with other contents. */
  function made([id, kind, rank, title, sub, own, [miou, interval, value], ends, cells], index) {
    const row = built[0].cloneNode(true);
    row.className = kind;
    row.dataset.id = id;
    row.dataset.weights = own;
    const [place, model, score, strip, ...others] = row.cells;
    fill(place, rank, "", index + 1);
    fill(model, "", sub, title);
    model.prepend(HL.el("a", { href: `entries/${id}.html` }, title));
    fill(score, miou, interval, value);
    const [low, middle, high] = ends.map((end) => `${end}%`);
    strip.querySelector(".whisker").setAttribute("x1", low);
    strip.querySelector(".whisker").setAttribute("x2", high);
    strip.querySelector("circle").setAttribute("cx", middle);
    others.forEach((cell, n) => fill(cell, ...cells[n]));
    return row;
  }

  function fill(cell, text, small, value) {
    cell.replaceChildren(text, ...(small ? [HL.el("span", { class: "range" }, small)] : []));
    cell.dataset.value = value;
  }

  /** Load the rows of all pages; those that are on this page stay what they are. */
  async function load() {
    if (complete) return;
    const data = await HL.get(table.dataset.rows, table.dataset.key);
    const here = new Map(built.map((row) => [row.dataset.id, row]));
    rows = data.map((values, n) => here.get(values[0]) ?? made(values, n));
    complete = true;
  }

  const texts = new WeakMap(); // row -> what is searched
  function text(row) {
    if (!texts.has(row)) texts.set(row, `${row.textContent} ${row.dataset.id}`.toLowerCase());
    return texts.get(row);
  }

  function chosenRows() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (row) => (!weights.value || row.dataset.weights === weights.value)
      && words.every((word) => text(row).includes(word));
    const found = rows.filter(fits);
    const header = headers.find((each) => each.dataset.sort === sorting.by);
    if (!header) return found;
    const textual = header.dataset.text !== undefined;
    const value = (row) => {
      const own = row.cells[header.cellIndex].dataset.value;
      return own === "" ? null : textual ? own : Number(own);
    };
    const place = (row) => Number(row.cells[0].dataset.value);
    const keyed = found.map((row) => [value(row), place(row), row]);
    keyed.sort(([a, m], [b, n]) => HL.compare(a, b, sorting.down ? -1 : 1) || m - n);
    return keyed.map(([, , row]) => row);
  }

  const idle = () => !search.value.trim() && !weights.value && !sorting.by;

  /** Show the rows that fit, and say how many do not. */
  async function show() {
    headers.forEach((header) => {
      const direction = sorting.down ? "descending" : "ascending";
      header.setAttribute("aria-sort", header.dataset.sort === sorting.by ? direction : "none");
    });
    if (pages) pages.hidden = !idle();
    if (idle()) {
      body.replaceChildren(...built);
      shown.textContent = standing;
      if (more) more.hidden = true;
      return;
    }
    try {
      await load();
    } catch (error) {
      shown.textContent = error.message;
      return;
    }
    const found = chosenRows();
    body.replaceChildren(...(complete && !pages ? found : found.slice(0, most)));
    const all = Number(shown.dataset.rows);
    const hidden = all - found.length;
    const number = (n) => n.toLocaleString("en");
    shown.textContent = hidden
      ? `${number(found.length)} of ${number(all)} entries; ${number(hidden)} hidden. Ranks stay those among all.`
      : `${number(all)} entries`;
    if (more) more.hidden = found.length <= most;
  }

  headers.forEach((header) => {
    const words = [...header.childNodes].filter((node) => !node.classList?.contains("define"));
    header.prepend(HL.el("button", { type: "button", class: "sort", onclick: () => sortBy(header) }, ...words));
  });

  function sortBy(header) {
    const again = sorting.by === header.dataset.sort;
    sorting = { by: header.dataset.sort, down: again ? !sorting.down : header.dataset.first !== "ascending" };
    changed(true);
  }

  function changed(push) {
    most = FIRST;
    save(push);
    return show();
  }

  // The curves: lines by entry, in the wide and in the narrow drawing, and the boxes that choose them.
  const overlay = document.getElementById("overlay");
  const boxes = overlay ? [...overlay.querySelectorAll("input[name=curve]")] : [];
  const limit = Number(overlay?.dataset.most);
  const standard = boxes.filter((box) => box.dataset.hue !== "spare").map((box) => box.value);
  const isModel = new Map(boxes.map((box) => [box.value, !["ceiling", "floor"].includes(box.dataset.hue)]));
  let chosen = standard;

  /** Show the curves of the chosen rows, each with a colour and dashes of its own. */
  function draw() {
    const models = chosen.filter((key) => isModel.get(key));
    boxes.forEach((box) => {
      box.checked = chosen.includes(box.value);
      const own = isModel.get(box.value) ? `s${models.indexOf(box.value)}` : box.dataset.hue;
      const kind = `hue ${box.checked ? own : "spare"}`;
      overlay.querySelectorAll(`.drawing [data-key="${CSS.escape(box.value)}"]`).forEach((line) => line.setAttribute("class", kind));
      const swatch = box.parentElement.querySelector("svg");
      swatch.setAttribute("class", `drawing swatch ${kind}`);
      swatch.classList.toggle("blank", !box.checked);
    });
  }

  /** Keep the models that were chosen last, as many as a reader can tell apart, and all references. */
  function fitting(keys) {
    const models = keys.filter((key) => isModel.get(key)).slice(-limit);
    return keys.filter((key) => !isModel.get(key) || models.includes(key));
  }

  function save(push) {
    const pairs = { q: search.value.trim(), weights: weights.value };
    if (sorting.by) pairs.sort = `${sorting.by}-${sorting.down ? "descending" : "ascending"}`;
    if (chosen.join() !== standard.join()) pairs.curves = chosen.join() || "none";
    HL.state.write(pairs, push);
  }

  /** Bring the page to the state in the address; what is unknown there is left out. */
  function restore() {
    const state = HL.state.read();
    search.value = state.get("q") ?? "";
    const wanted = state.get("weights") ?? "";
    weights.value = [...weights.options].some((option) => option.value === wanted) ? wanted : "";
    const [by, direction] = (state.get("sort") ?? "").split("-");
    sorting = { by: headers.some((header) => header.dataset.sort === by) ? by : "", down: direction === "descending" };
    const keys = state.get("curves");
    const known = new Set(boxes.map((box) => box.value));
    chosen = keys ? fitting(keys.split(",").filter((key) => known.has(key))) : standard;
    show();
    draw();
  }

  filters.addEventListener("submit", (event) => event.preventDefault());
  search.addEventListener("input", () => changed(false));
  search.addEventListener("focus", () => load().catch(() => {}), { once: true });
  weights.addEventListener("change", () => changed(true));
  document.getElementById("show-all").addEventListener("click", () => {
    search.value = weights.value = "";
    changed(true);
  });
  more?.addEventListener("click", () => {
    most += 100;
    show();
  });
  overlay?.addEventListener("change", ({ target: box }) => {
    if (box.name !== "curve") return;
    chosen = box.checked ? fitting([...chosen, box.value]) : chosen.filter((key) => key !== box.value);
    draw();
    save(true);
  });
  addEventListener("popstate", restore);
  restore();
});
