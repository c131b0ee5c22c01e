"use strict";
/* The page of a task group: filters, sorting within each ranking, and the curves of chosen rows. State is in the URL. */
addEventListener("DOMContentLoaded", () => {
  const table = document.getElementById("board");
  if (!table) return;
  const filters = document.getElementById("filters");
  const selects = [...filters.querySelectorAll("select")];
  const shown = document.getElementById("shown");
  const overlay = document.getElementById("overlay");
  const most = Number(overlay.dataset.most);
  const boxes = [...table.querySelectorAll("input[name=curve]")];
  const lines = new Map(); // key -> its lines in the wide and in the narrow drawing
  for (const line of overlay.querySelectorAll("svg [data-key]")) {
    lines.set(line.dataset.key, [...(lines.get(line.dataset.key) ?? []), line]);
  }
  // Lines are drawn from the last to the first; the legend lists them from the first to the last.
  const legend = new Map([...lines.keys()].reverse().map((key, n) => [key, overlay.querySelectorAll(".legend li")[n]]));
  const headers = [...table.querySelectorAll("th[data-sort]")];
  const rankings = [...table.tBodies].filter((body) => body.dataset.task !== undefined);
  const standard = boxes.slice(0, most).map((box) => box.value);
  let chosen = standard;
  let sorting = { by: "", down: false };

  headers.forEach((header) => {
    const button = HL.el("button", { type: "button", class: "sort" }, ...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const again = sorting.by === header.dataset.sort;
      sorting = { by: header.dataset.sort, down: again ? !sorting.down : header.dataset.first !== "ascending" };
      save();
      sort();
    });
  });

  /** Rows keep to their ranking; without a choice they stand as they were built. */
  function sort() {
    headers.forEach((header) => {
      const direction = sorting.down ? "descending" : "ascending";
      header.setAttribute("aria-sort", header.dataset.sort === sorting.by ? direction : "none");
    });
    const column = headers.find((header) => header.dataset.sort === sorting.by)?.cellIndex ?? 0;
    const numeric = sorting.by !== "model";
    const value = (row) => {
      const text = row.cells[column].dataset.value;
      return text === "" ? null : numeric ? Number(text) : text;
    };
    for (const ranking of rankings) {
      const rows = [...ranking.rows].slice(1);
      const direction = sorting.by && sorting.down ? -1 : 1;
      rows.sort((a, b) => HL.compare(value(a), value(b), direction) || a.dataset.index - b.dataset.index);
      ranking.append(...rows);
    }
  }

  /** Hide what does not fit, and say how much that is. */
  function filter() {
    let visible = 0;
    for (const ranking of rankings) {
      let left = 0;
      for (const row of [...ranking.rows].slice(1)) {
        const fits = selects.every(({ name, value }) => {
          const own = row.dataset[name] ?? ranking.dataset[name];
          return !value || own === value || own === "any"; // reference policies go with all
        });
        row.hidden = !fits;
        left += fits;
      }
      ranking.hidden = left === 0;
      visible += left;
    }
    const all = Number(shown.dataset.rows);
    shown.textContent = visible === all
      ? `${all} rows; none is hidden.`
      : `${visible} of ${all} rows; ${all - visible} hidden by the filters. Ranks stay those among all rows.`;
  }

  /** Show the curves of the chosen rows, each with a colour, dashes and a place in the legend. */
  function draw() {
    for (const [key, both] of lines) {
      const place = chosen.indexOf(key);
      const kind = `hue ${place < 0 ? "spare" : `s${place}`}`;
      both.forEach((line) => line.setAttribute("class", kind));
      legend.get(key).hidden = place < 0;
      legend.get(key).querySelector("svg").setAttribute("class", `drawing swatch ${kind}`);
    }
    boxes.forEach((box) => {
      box.checked = chosen.includes(box.value);
      box.disabled = !box.checked && chosen.length >= most;
    });
    document.getElementById("chosen").textContent = `${chosen.length} of ${most} chosen.`;
  }

  function save() {
    const pairs = selects.map((select) => [select.name, select.value]);
    if (sorting.by) pairs.push(["sort", `${sorting.by}-${sorting.down ? "descending" : "ascending"}`]);
    if (chosen.join() !== standard.join()) pairs.push(["curves", chosen.join() || "none"]);
    HL.state.write(Object.fromEntries(pairs), true);
  }

  /** Bring the page to the state in the address; what is unknown there is left out. */
  function restore() {
    const state = HL.state.read();
    selects.forEach((select) => {
      const wanted = state.get(select.name) ?? "";
      select.value = [...select.options].some((option) => option.value === wanted) ? wanted : "";
    });
    const [by, direction] = (state.get("sort") ?? "").split("-");
    sorting = { by: headers.some((header) => header.dataset.sort === by) ? by : "", down: direction === "descending" };
    const curves = state.get("curves");
    chosen = curves === null ? standard : curves.split(",").filter((key) => lines.has(key)).slice(0, most);
    filter();
    sort();
    draw();
  }

  filters.addEventListener("submit", (event) => event.preventDefault());
  filters.addEventListener("change", () => {
    filter();
    save();
  });
  document.getElementById("show-all").addEventListener("click", () => {
    selects.forEach((select) => { select.value = ""; });
    filter();
    save();
  });
  table.addEventListener("change", (event) => {
    const box = event.target;
    if (box.name !== "curve") return;
    chosen = box.checked ? [...chosen, box.value] : chosen.filter((key) => key !== box.value);
    draw();
    save();
  });
  addEventListener("popstate", restore);
  restore();
});
