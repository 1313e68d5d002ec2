// Making elements. Text is always text: names and labels come from strangers' folders.

/**
 * An element.
 * @param {string} tag
 * @param {object} attributes Attributes; a function under "onclick" or the like listens to the event;
 *   undefined, null and false leave one out.
 * @param {...(Node|string|number|null)} children
 * What may be too wide for its place can have the focus, so that a keyboard moves it, too.
 */
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === "function") node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  if (node.classList.contains("scroll") && !node.hasAttribute("tabindex")) node.tabIndex = 0;
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

/** Removes all children. */
export function clear(node) {
  node.replaceChildren();
}

/** Has a screen reader say a text. */
export function announce(text) {
  document.getElementById("announcement").textContent = text;
}

/** A table: `columns` are {title, isNumber, cell(row) -> Node|string}. */
export function table(columns, rows, attributes = {}) {
  const sided = (column) => (column.isNumber ? "number" : undefined);
  return element("table", attributes,
    element("thead", {}, element("tr", {}, ...columns.map((column) =>
      column.title // a column of buttons may have none, and then no heading either
        ? element("th", { scope: "col", class: sided(column) }, column.title)
        : element("td", {})))),
    element("tbody", {}, ...rows.map((row) => element("tr", {}, ...columns.map((column) =>
      element("td", { class: sided(column) }, column.cell(row)))))));
}
