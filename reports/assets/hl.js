"use strict";
/* What all pages share. Classic scripts only: a page opened from a file can neither fetch nor import modules. */
const HL = (() => {
  const texts = new Map(); // key -> JSON text, from data scripts
  const loading = new Map(); // address -> promise

  /** Called by the data scripts. */
  function put(key, text) {
    texts.set(String(key), text);
  }

  /** Load a data script once; the promise fails with a sentence when it is not there. */
  function load(address) {
    if (!loading.has(address)) {
      loading.set(address, new Promise((resolve, reject) => {
        const script = document.createElement("script");
        script.onload = resolve;
        script.onerror = () => {
          loading.delete(address);
          script.remove();
          reject(new Error(`The file ${address} is missing or cannot be read. Build the pages again.`));
        };
        script.src = address;
        document.head.append(script);
      }));
    }
    return loading.get(address);
  }

  /** The value under a key of a data script. */
  async function get(address, key) {
    await load(address);
    try {
      return JSON.parse(texts.get(key));
    } catch {
      throw new Error(`The file ${address} is damaged. Build the pages again.`);
    }
  }

  /** An element with attributes and children; texts are only ever texts. */
  function el(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (value === true) element.setAttribute(name, "");
      else if (value !== false && value != null) element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  }

  // Controls, directional marks and overrides, and invisible characters.
  const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;

  /** A text in which characters that hide or turn others are written by their numbers. */
  function visible(text) {
    return text.replace(HIDDEN, (c) => `⟨U+${c.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
  }

  /** A number with a fixed count of digits; a dash where there is none. */
  function number(value, digits = 3) {
    return value == null ? "–" : value.toFixed(digits).replace("-", "−");
  }

  /** The state in the address: what stands after #, as key=value pairs. */
  const state = {
    /** A hash without "=" is the name of a section, not a state. */
    read: () => new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : ""),
    /** Keep a state; `push` makes it one that the back button returns to. */
    write(pairs, push) {
      const words = new URLSearchParams(Object.entries(pairs).filter(([, value]) => value != null && value !== ""));
      const address = `#${words}`;
      if (address === (location.hash || "#")) return;
      history[push ? "pushState" : "replaceState"](null, "", address);
    },
  };

  /** Compare two cells: numbers by value, texts by letters, empty ones last in either direction. */
  function compare(a, b, direction) {
    const empty = (value) => value == null || value === "" || Number.isNaN(value);
    if (empty(a) || empty(b)) return empty(a) - empty(b);
    return direction * (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
  }

  /** What a cell is sorted by: `data-value`, or the number its text begins with, or the text. */
  function cellValue(row, column) {
    const cell = row.cells[column];
    const text = cell.dataset.value ?? cell.textContent.trim().replace("−", "-").replaceAll(",", "");
    const value = parseFloat(text);
    return text === "–" || text === "" ? null : Number.isNaN(value) ? text : value;
  }

  /** Make the headers of a table buttons that sort it. */
  function sortable(table) {
    const headers = [...table.tHead.rows[0].cells];
    headers.forEach((header, column) => {
      if (header.dataset.sort === "no" || !header.textContent.trim()) return;
      const words = [...header.childNodes].filter((node) => !node.classList?.contains("define"));
      const button = el("button", { type: "button", class: "sort" }, ...words);
      header.prepend(button);
      header.setAttribute("aria-sort", header.getAttribute("aria-sort") ?? "none");
      button.addEventListener("click", () => {
        const down = header.getAttribute("aria-sort") !== "descending";
        headers.forEach((other) => other.hasAttribute("aria-sort") && other.setAttribute("aria-sort", "none"));
        header.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = [...table.tBodies[0].rows].map((row) => [cellValue(row, column), row]);
        rows.sort(([a], [b]) => compare(a, b, down ? -1 : 1));
        table.tBodies[0].append(...rows.map(([, row]) => row));
      });
    });
  }

  // The way from the page to the folder of the site, as the address of this script has it.
  const root = document.currentScript.getAttribute("src").replace(/assets\/hl\.js$/, "");
  addEventListener("DOMContentLoaded", () => document.querySelectorAll("table.sortable").forEach(sortable));
  return { put, load, get, el, visible, number, root, state, compare, sortable };
})();
