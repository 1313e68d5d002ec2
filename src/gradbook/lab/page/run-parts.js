// What runs, comparisons and sweeps are told with alike.

import { element } from "./dom.js";
import { bytes, plain } from "./numbers.js";
import { cellColors } from "./palette.js";
import { t } from "./words.js";

/** The folder that an id stands for. A name that is no text stays as addresses have it. */
export function nameFrom(id) {
  try {
    return decodeURIComponent(id);
  } catch {
    return id;
  }
}

/** How a training stands, as a dot and a word. */
export function badge(status) {
  return element("span", { class: `badge ${status}` }, t(`status.${status}`));
}

/** A command with a button that copies it. */
export function command(text) {
  const button = element("button", {
    type: "button",
    onclick: async () => {
      try {
        await navigator.clipboard.writeText(text);
        button.textContent = t("copied");
      } catch {
        getSelection().selectAllChildren(code); // no permission: at least it is chosen
      }
      setTimeout(() => (button.textContent = t("copy")), 1500);
    },
  }, t("copy"));
  const code = element("code", {}, text);
  return element("div", { class: "command" }, code, button);
}

/** A heading and what stands below it. */
export function section(title, ...children) {
  return element("section", {}, element("h2", {}, title), ...children);
}

/** Names and values, side by side. */
export function pairs(rows) {
  return element("dl", { class: "pairs" }, ...rows.flatMap(([name, value]) =>
    [element("dt", {}, name), element("dd", {}, value)]));
}

/**
 * A table whose cells are colored by their values.
 * @param {object} options
 *   caption; corner The heading of the first column; columns, rows Names; values[row][column] Numbers,
 *   "NaN" or null for nothing; isLog Whether colors go by ratio; cell(row, column) What a cell shows;
 *   told(value) A value in words.
 */
export function heatTable({ caption, corner, columns, rows, values, isLog, cell, told = plain }) {
  const shown = (value) => typeof value === "number" && (!isLog || value > 0);
  const scale = (value) => (isLog ? Math.log(value) : value);
  const known = values.flat().filter(shown).map(scale);
  const low = Math.min(...known);
  const high = Math.max(...known);
  const body = rows.map((name, row) => element("tr", {}, element("th", { scope: "row" }, name),
    ...columns.map((_, column) => {
      const value = values[row][column];
      const node = element("td", { class: "number" }, cell?.(row, column) ?? (value === null ? "" : told(value)));
      if (shown(value)) {
        const colors = cellColors(high > low ? (scale(value) - low) / (high - low) : 0.5);
        node.style.backgroundColor = colors.background;
        node.style.color = colors.text;
        node.classList.add("colored");
      }
      return node;
    })));
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    element("p", { class: "status" }, caption),
    element("table", { class: "heat" },
      element("caption", { class: "hidden" }, caption),
      element("thead", {}, element("tr", {}, element("th", { scope: "col" }, corner),
        ...columns.map((name) => element("th", { scope: "col", class: "number" }, name)))),
      element("tbody", {}, ...body)));
}

/** The files of a run with their sizes. */
export function fileList(files, numFiles) {
  const more = numFiles - files.length;
  return element("ul", { class: "file-list" }, ...files.map(({ name, bytes: size }) =>
    element("li", {}, element("span", {}, name), " ", element("span", { class: "muted" }, bytes(size)))),
  more > 0 ? element("li", { class: "muted" }, t("run.more_files", { count: more })) : null);
}

/** The same, only when what it is called with differs from the last time; `render` fills a place. */
export function whenChanged(place, render) {
  let before;
  return (value) => {
    const now = JSON.stringify([value, document.documentElement.lang]);
    if (now === before) return;
    before = now;
    const made = render(value);
    place.replaceChildren(...[made].flat().filter(Boolean));
  };
}

/**
 * Calls a function soon, not more often than every so many milliseconds, and never while an earlier call
 * still waits for its answer.
 */
export function paced(call, milliseconds) {
  let timer = null;
  let isBusy = false;
  let isWanted = false;
  let isOver = false;
  let last = -Infinity;
  const ask = () => {
    if (isOver) return;
    if (timer !== null || isBusy) {
      isWanted = isBusy;
      return;
    }
    timer = setTimeout(async () => {
      timer = null;
      isBusy = true;
      last = performance.now();
      try {
        await call();
      } finally {
        isBusy = false;
      }
      if (isWanted) {
        isWanted = false;
        ask();
      }
    }, Math.max(0, last + milliseconds - performance.now()));
  };
  ask.end = () => {
    isOver = true;
    clearTimeout(timer);
  };
  return ask;
}
