"use strict";
/* What the frame of every page does: theme, copying, PNG files, links to places, definitions. */
(() => {
  const THEMES = ["auto", "light", "dark"];

  /** Show a word on a button for two seconds; screen readers hear it. */
  function say(button, word) {
    const before = button.dataset.label ?? button.textContent;
    button.dataset.label = before;
    button.setAttribute("aria-live", "polite");
    button.textContent = word;
    setTimeout(() => { button.textContent = before; }, 2000);
  }

  /** Put a text on the clipboard, also where the page is not trusted with it: from a file or over http. */
  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      const field = HL.el("textarea", { class: "hidden-label", readonly: true });
      field.value = text;
      document.body.append(field);
      field.select();
      const done = document.execCommand("copy");
      field.remove();
      return done;
    }
  }

  async function copyFrom(button, text) {
    say(button, (await copy(text)) ? "Copied" : "Not allowed by the browser");
  }

  function setTheme(button, theme) {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.textContent = `Theme: ${theme}`;
    try {
      localStorage.setItem("hlmat-theme", theme);
    } catch {
      // Storage can be forbidden: the theme then holds for this page alone.
    }
  }

  /** Save a figure as PNG, three pixels for one, from the text of its SVG file. */
  async function savePng(button) {
    const name = button.dataset.png;
    try {
      const text = await HL.get(`${HL.root}figures/${name}.js`, `figure ${name}`);
      const picture = new Image();
      picture.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
      await picture.decode();
      const canvas = HL.el("canvas", { width: picture.width * 3, height: picture.height * 3 });
      canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
      const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
      const address = URL.createObjectURL(blob);
      HL.el("a", { href: address, download: `${name}.png` }).click();
      setTimeout(() => URL.revokeObjectURL(address), 10000);
    } catch (error) {
      say(button, error.message);
    }
  }

  async function copyTable(button) {
    const { name, ending } = button.dataset;
    try {
      const texts = await HL.get(`${HL.root}tables/${name}.js`, `table ${name}`);
      await copyFrom(button, texts[ending]);
    } catch (error) {
      say(button, error.message);
    }
  }

  /** Bring the reader to the place that the address speaks of: `at`, or the section whose state is in it. */
  function place() {
    const state = HL.state.read();
    const at = state.get("at");
    const target = (at && document.getElementById(at)) || [...document.querySelectorAll("[data-state]")].find(
      (section) => section.dataset.state.split(" ").some((key) => state.has(key)),
    );
    target?.scrollIntoView();
  }

  const ROLES = { THEAD: "rowgroup", TBODY: "rowgroup", TR: "row", TD: "cell", TH: "rowheader" };

  /** Turn a table into a list of its rows; roles keep it a table for screen readers. */
  function stack(table) {
    const labels = [...table.tHead.rows[0].cells].map((cell) => {
      const words = cell.cloneNode(true);
      words.querySelectorAll(".define, .hidden-label").forEach((part) => part.remove());
      return words.textContent.trim();
    });
    table.setAttribute("role", "table");
    for (const part of table.querySelectorAll("thead, tbody, tr, td, th")) {
      part.setAttribute("role", part.scope === "col" ? "columnheader" : ROLES[part.tagName]);
      if (part.tagName === "TD") part.dataset.label = labels[part.cellIndex] ?? "";
    }
    table.classList.add("stack");
  }

  /** On narrow pages and below plots, no table is cut: one that is too wide becomes a list. `data-stack="no"` forbids it. */
  function fitTables() {
    for (const table of document.querySelectorAll('.scroll > table:not([data-stack="no"])')) {
      table.classList.remove("stack");
      const place = table.parentElement;
      const narrow = innerWidth <= 760 || table.closest(".plot");
      if (narrow && table.tHead && place.scrollWidth > place.clientWidth + 1) stack(table);
    }
  }

  const ACTIONS = {
    "[data-copy-link]": (button) => copyFrom(button, location.href),
    "[data-copy]": (button) => copyFrom(button, document.getElementById(button.dataset.copy).textContent),
    "[data-copy-table]": copyTable,
    "[data-png]": savePng,
    "[data-theme-toggle]": (button) => {
      const now = document.documentElement.dataset.theme ?? "auto";
      setTheme(button, THEMES[(THEMES.indexOf(now) + 1) % THEMES.length]);
    },
  };

  document.addEventListener("click", (event) => {
    for (const [selector, act] of Object.entries(ACTIONS)) {
      const button = event.target.closest(selector);
      if (button) act(button);
    }
    // A link to a section keeps the state of the page, so that a copied link still has it.
    const link = event.target.closest('a[href^="#"]');
    const id = link?.getAttribute("href").slice(1);
    const section = id && !id.includes("=") && document.getElementById(id);
    if (section && [...HL.state.read()].length) {
      event.preventDefault();
      HL.state.write({ ...Object.fromEntries(HL.state.read()), at: id }, true);
      section.scrollIntoView();
    }
  });

  addEventListener("DOMContentLoaded", () => {
    const button = document.querySelector("[data-theme-toggle]");
    fitTables();
    if (button) button.textContent = `Theme: ${document.documentElement.dataset.theme ?? "auto"}`;
  });
  let width = innerWidth; // heights change on phones whenever the address bar hides
  addEventListener("resize", () => {
    if (innerWidth !== width) fitTables();
    width = innerWidth;
  });
  document.addEventListener("toggle", fitTables, true); // a table in closed details has no width
  // After the scripts of the page have restored their state, which can change its height.
  addEventListener("load", () => requestAnimationFrame(place));
})();
