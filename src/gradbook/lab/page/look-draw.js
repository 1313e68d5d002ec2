// Figures as SVG and images on canvas. Each figure has a table beside it, which its caller makes.

import { element, table } from "./dom.js";
import { t } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";

/** An element of SVG; see `element`. */
export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === "function") node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, String(value));
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

/** A number with so many significant digits; a dash where there is none. */
export function number(value, digits = 4) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  if (value === 0) return "0";
  const size = Math.abs(value);
  const text = size >= 1e6 || size < 1e-4 ? value.toExponential(digits - 1) : String(Number(value.toPrecision(digits)));
  return text.replace("-", "−").replace("e+", "e");
}

/** A part as percents. */
export function percent(value) {
  return value === null || value === undefined ? "–" : `${(100 * value).toFixed(1)}%`;
}

/** Round places between two numbers. */
export function ticks(low, high, count = 6) {
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= raw * 0.999) * power;
  const found = [];
  for (let place = Math.ceil(low / step - 1e-9); place * step <= high + step * 1e-9; place += 1) found.push(place * step);
  return found;
}

function logTicks(low, high) {
  const first = Math.ceil(Math.log10(low) - 1e-9), last = Math.floor(Math.log10(high) + 1e-9);
  const every = Math.max(1, Math.ceil((last - first) / 6));
  const found = [];
  for (let power = first; power <= last; power += every) found.push(10 ** power);
  return found;
}

const MARGIN = { left: 62, right: 14, top: 12, bottom: 42 };

/**
 * A figure with axes, as wide as its place.
 * @param {object} spec {label, xLabel, yLabel, xRange, yRange, isLogX, isLogY, isWholeX, height, series}; each series is
 *   {name, points: [[x, y], ...], kind: "line" | "dots" | "bars", width (of bars), color: 1 to 4, dash}.
 * @returns {{node: Element, update: function, toPlace: function}} `update(spec)` draws again.
 */
export function figure(spec) {
  const node = element("div", { class: "look-figure" });
  let current = spec, width = 0;
  const draw = () => {
    if (width < 40) return;
    node.replaceChildren(...(legendOf(current)), drawn(current, width));
  };
  const observer = new ResizeObserver(([entry]) => {
    const now = Math.floor(entry.contentRect.width);
    if (Math.abs(now - width) < 2) return;
    width = now;
    draw();
  });
  observer.observe(node);
  return {
    node,
    update(next) {
      current = { ...current, ...next };
      draw();
    },
  };
}

function legendOf({ series }) {
  const named = series.filter(({ name }) => name);
  if (named.length < 2) return [];
  return [element("ul", { class: "look-legend" }, ...named.map(({ name, color, dash, kind }) =>
    element("li", {}, svg("svg", { width: 26, height: 12, "aria-hidden": "true" },
      kind === "dots" ? svg("circle", { cx: 13, cy: 6, r: 4, class: `look-dot look-color-${color ?? 1}` })
        : svg("line", { x1: 1, x2: 25, y1: 6, y2: 6, class: `look-line look-color-${color ?? 1}`, "stroke-dasharray": dash })),
    ` ${name}`)))];
}

function drawn(spec, width) {
  const height = spec.height ?? 260;
  const inner = { width: width - MARGIN.left - MARGIN.right, height: height - MARGIN.top - MARGIN.bottom };
  const [xLow, xHigh] = spec.xRange, [yLow, yHigh] = spec.yRange;
  const scale = (value, low, high, isLog) => (isLog
    ? (Math.log(value) - Math.log(low)) / (Math.log(high) - Math.log(low)) : (value - low) / (high - low));
  const x = (value) => MARGIN.left + inner.width * scale(value, xLow, xHigh, spec.isLogX);
  const y = (value) => MARGIN.top + inner.height * (1 - scale(value, yLow, yHigh, spec.isLogY));
  const root = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": spec.label });
  const clip = `clip-${Math.random().toString(36).slice(2)}`;
  root.append(svg("clipPath", { id: clip },
    svg("rect", { x: MARGIN.left, y: MARGIN.top, width: inner.width, height: inner.height })));
  const isWhole = (places) => (spec.isWholeX ? [...new Set(places.map(Math.round))] : places);
  const xTicks = spec.isLogX ? logTicks(xLow, xHigh) : isWhole(ticks(xLow, xHigh, Math.max(2, Math.floor(inner.width / 75))));
  const yTicks = spec.isLogY ? logTicks(yLow, yHigh) : ticks(yLow, yHigh, 5);
  const axes = svg("g", { class: "look-axes" });
  for (const place of xTicks) {
    axes.append(svg("line", { x1: x(place), x2: x(place), y1: MARGIN.top, y2: MARGIN.top + inner.height }),
      svg("text", { x: x(place), y: MARGIN.top + inner.height + 16, "text-anchor": "middle" }, number(clean(place), 3)));
  }
  for (const place of yTicks) {
    axes.append(svg("line", { x1: MARGIN.left, x2: MARGIN.left + inner.width, y1: y(place), y2: y(place) }),
      svg("text", { x: MARGIN.left - 6, y: y(place) + 4, "text-anchor": "end" }, number(clean(place), 3)));
  }
  axes.append(
    svg("text", { x: MARGIN.left + inner.width / 2, y: height - 6, "text-anchor": "middle" }, spec.xLabel),
    svg("text", { transform: `translate(13 ${MARGIN.top + inner.height / 2}) rotate(-90)`, "text-anchor": "middle" }, spec.yLabel));
  root.append(axes);
  const shapes = svg("g", { "clip-path": `url(#${clip})` });
  for (const one of spec.series) shapes.append(...shapesOf(one, x, y, spec));
  root.append(shapes);
  return root;
}

// A tick such as 0.30000000000000004 is meant to be 0.3.
function clean(value) {
  return Number(value.toPrecision(10));
}

function shapesOf(one, x, y, spec) {
  const color = `look-color-${one.color ?? 1}`;
  const visible = (value) => Number.isFinite(value) && (!spec.isLogY || value > 0);
  if (one.kind === "bars") {
    const base = y(spec.isLogY ? spec.yRange[0] : 0);
    return one.points.filter(([, value]) => visible(value)).map(([left, value]) => svg("rect", {
      x: x(left), y: Math.min(y(value), base), width: Math.max(1, x(left + one.width) - x(left) - 1),
      height: Math.abs(base - y(value)), class: `look-bar ${color}` }));
  }
  if (one.kind === "dots") {
    if (one.points.length <= 60) {
      return one.points.filter(([, value]) => visible(value)).map(([a, b]) =>
        svg("circle", { cx: x(a), cy: y(b), r: one.radius ?? 4, class: `look-dot ${color}` }));
    }
    // One path is much faster than thousands of circles.
    const path = one.points.filter(([, value]) => visible(value)).map(([a, b]) => `M${x(a).toFixed(1)} ${y(b).toFixed(1)}h0`).join("");
    return [svg("path", { d: path, class: `look-cloud ${color}` })];
  }
  let path = "", isDown = false;
  for (const [a, b] of one.points) {
    if (!visible(b)) {
      isDown = false;
      continue;
    }
    path += `${isDown ? "L" : "M"}${x(a).toFixed(2)} ${Math.max(-1e4, Math.min(1e4, y(b))).toFixed(2)}`;
    isDown = true;
  }
  return [svg("path", { d: path, class: `look-line ${color}`, "stroke-dasharray": one.dash })];
}

/** A range that holds all numbers, with some room; around a single one as well. */
export function rangeOf(values, room = 0.05) {
  const known = values.filter(Number.isFinite);
  if (!known.length) return [0, 1];
  let low = Math.min(...known), high = Math.max(...known);
  if (low === high) [low, high] = [low - (Math.abs(low) || 1) / 2, high + (Math.abs(high) || 1) / 2];
  return [low - room * (high - low), high + room * (high - low)];
}

/** A table that is shown when it is asked for, beside a figure. */
export function dataTable(title, columns, rows) {
  return element("details", { class: "look-data" }, element("summary", {}, title),
    element("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": title },
      table(columns, rows, { "aria-label": title })));
}

/** The bytes that a text in base64 stands for. */
export function bytesOf(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

/** A canvas with a picture {channels, height, width, pixels} as the server sends one. */
export function pictureCanvas(picture, label) {
  const { channels, height, width } = picture;
  const canvas = element("canvas", { width, height, class: "look-picture", role: "img", "aria-label": label });
  const bytes = bytesOf(picture.pixels);
  const image = new ImageData(width, height);
  for (let place = 0; place < width * height; place += 1) {
    for (let channel = 0; channel < 3; channel += 1) {
      image.data[4 * place + channel] = bytes[channels * place + (channels === 1 ? 0 : channel)];
    }
    image.data[4 * place + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

// From blue over white to red, as Matplotlib's RdBu turned around.
const STOPS = [[5, 48, 97], [67, 147, 195], [247, 247, 247], [214, 96, 77], [103, 0, 31]];

/** The color of a number from -1 to 1, as [red, green, blue]. */
export function divergingColor(value) {
  const place = Math.max(0, Math.min(1, (value + 1) / 2)) * (STOPS.length - 1);
  const lower = Math.min(STOPS.length - 2, Math.floor(place));
  return [0, 1, 2].map((channel) => Math.round(
    STOPS[lower][channel] + (place - lower) * (STOPS[lower + 1][channel] - STOPS[lower][channel])));
}

/** A slider with its label and what it stands at. */
export function slider({ label, min, max, step, value, text, changed }) {
  const output = element("output", { class: "number" }, text(value));
  const input = element("input", { type: "range", min, max, step, "aria-valuetext": text(value), oninput: () => {
    const now = Number(input.value);
    output.textContent = text(now);
    input.setAttribute("aria-valuetext", text(now));
    changed(now);
  } });
  input.value = String(value);
  return { input, node: element("label", { class: "look-slider" }, element("span", {}, label), input, output),
    refresh(now) {
      input.value = String(now);
      output.textContent = text(now);
      input.setAttribute("aria-valuetext", text(now));
    } };
}

/** A choice with its label. */
export function choice({ label, options, value, changed }) {
  const select = element("select", { onchange: () => changed(select.value) },
    ...options.map(([key, text]) => element("option", { value: key }, text)));
  select.value = value;
  return element("label", { class: "row" }, label, " ", select);
}

/** "a × b × c", or that it is one number. */
export function shapeText(shape) {
  return shape.length ? shape.join(" × ") : t("look.one_number");
}
