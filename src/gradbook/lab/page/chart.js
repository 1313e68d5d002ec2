// Curves: drawn by uPlot, read with the mouse, the keyboard, or in a table.
//
// A curve is {key, label, recorded, color, isDashed, isDots, x, y, num, piece}: `recorded` is the label in
// the run, `y` as it was recorded, which may be "NaN"; `num` is how many points there are where the server
// has thinned them; `piece(from, to, smoothing)` asks it for a part of them.

import { announce, clear, element } from "./dom.js";
import { exact, plain, short } from "./numbers.js";
import { cssColor } from "./palette.js";
import { t } from "./words.js";

const HEIGHT = 280;
const TABLE_ROWS = 500;
// Between the ticks of the horizontal axis; epochs are whole numbers, unless the eye is close to them.
const STEPS = [...[-4, -3, -2, -1].flatMap((power) => [1, 2, 5].map((digit) => Number(`${digit}e${power}`))),
  ...[0, 1, 2, 3, 4, 5, 6, 7].flatMap((power) => [1, 2, 5].map((digit) => digit * 10 ** power))];
const MOST_TICKS = 6; // of a logarithmic axis
const FAINT = 0.3;
const MARK_DISTANCE = 8; // pixels between two marks of values that are not finite

/** Exponential smoothing, corrected for its beginning. What is not finite is passed over. */
export function smoothed(y, weight) {
  let sum = 0;
  let share = 0;
  return y.map((value) => {
    if (typeof value !== "number") return value;
    sum = weight * sum + (1 - weight) * value;
    share = weight * share + (1 - weight);
    return sum / share;
  });
}

/**
 * One x for all curves, and for each its y there: null is a gap, and undefined where only others have a
 * point.
 */
export function aligned(curves) {
  if (curves.length === 0) return [[]];
  const [first] = curves;
  if (curves.every(({ x }) => x === first.x || (x.length === first.x.length && x.every((v, i) => v === first.x[i])))) {
    return [first.x, ...curves.map(({ y }) => y)];
  }
  const all = new Float64Array(curves.reduce((sum, { x }) => sum + x.length, 0));
  let filled = 0;
  for (const { x } of curves) {
    all.set(x, filled);
    filled += x.length;
  }
  all.sort();
  const union = [];
  for (const value of all) if (value !== union[union.length - 1]) union.push(value);
  return [union, ...curves.map(({ x, y }) => {
    const column = new Array(union.length).fill(undefined);
    let place = 0;
    for (let i = 0; i < x.length; i++) {
      while (union[place] !== x[i]) place++;
      column[place] = y[i];
    }
    return column;
  })];
}

/** The scale that a figure would take: logarithmic where losses differ by more than a hundred times. */
function automatic(curves) {
  let low = Infinity;
  let high = 0;
  for (const { label, recorded = label, y } of curves) {
    if (!/(^|_)(loss|error|err|mse|mae|rmse|nll|perplexity|ppl)\b/i.test(recorded)) continue;
    for (const value of y) {
      if (typeof value !== "number") continue;
      if (value <= 0) return "linear";
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  return high > 100 * low ? "log" : "linear";
}

export class Chart {
  /**
   * @param {object} options
   *   caption What is drawn; xLabel, yLabel The names of the axes; height In pixels;
   *   xscale "linear" or "log"; yscale "auto", "linear" or "log"; smoothing From 0 to less than 1.
   */
  constructor({ caption, xLabel = "", yLabel = "", height = HEIGHT, xscale = "linear", yscale = "auto", smoothing = 0 }) {
    Object.assign(this, { caption, xLabel, yLabel, height, xscale, yscale, smoothing });
    this.curves = [];
    this.hidden = new Set();
    this._pieces = new Map();
    this._zoom = null;
    this._plot = null;
    this._shape = "";
    this._frame = 0;
    this._row = 0;
    this.drawMilliseconds = 0; // how long the last drawing took

    this._legend = element("div", { class: "legend" });
    this._reset = element("button", { type: "button", class: "reset", onclick: () => this.resetZoom() });
    this._reset.hidden = true;
    this._area = element("div", {
      class: "plot", tabindex: "0", role: "application", "aria-label": caption,
      onkeydown: (event) => this._press(event), onfocus: () => this._reveal(),
    });
    this._status = element("p", { class: "status" });
    this._reading = element("p", { class: "reading" });
    this._table = element("div", { class: "scroll table" });
    this._details = element("details", { ontoggle: () => this._fillTable() },
      element("summary", {}, t("chart.table")), this._table);
    this.node = element("figure", { class: "chart" },
      element("figcaption", {}, element("strong", {}, caption), this._reset),
      this._legend, this._area, this._reading, this._status, this._details);
    this.node.chart = this; // for whoever looks at the page from outside, as its tests

    this._watchSize = new ResizeObserver(() => this._resize());
    this._watchSize.observe(this._area);
    this._onTheme = () => {
      this._fillLegend();
      this._plot?.redraw(false, true);
    };
    window.addEventListener("themechange", this._onTheme);
  }

  /** Ends it: nothing of it is drawn again. */
  destroy() {
    cancelAnimationFrame(this._frame);
    clearTimeout(this._asking);
    this._watchSize.disconnect();
    window.removeEventListener("themechange", this._onTheme);
    this._plot?.destroy();
    this._plot = null;
    this._isGone = true;
  }

  /** Draws these curves from now on, in the next frame. */
  setCurves(curves) {
    this.curves = curves;
    this._change();
    if (this._isThinned()) this._askPieces(this._pieces.size ? 1000 : 0);
  }

  /** Changes the axes or the smoothing: {xscale, yscale, smoothing}. */
  set(options) {
    Object.assign(this, options);
    this._pieces.clear();
    this._change();
    if (this._isThinned()) this._askPieces(0);
  }

  /** What is said below the chart. */
  setStatus(text) {
    this._status.textContent = text;
  }

  resetZoom() {
    this._zoom = null;
    this._pieces.clear();
    this._change();
    if (this.smoothing && this._isThinned()) this._askPieces(0);
  }

  // Drawing

  _change() {
    if (this._frame || this._isGone) return;
    this._frame = requestAnimationFrame(() => {
      this._frame = 0;
      this._draw();
    });
  }

  /** The lines to draw: of each curve itself and, behind it, what it was smoothed from. */
  _lines() {
    const isLog = this.isYLog;
    const place = (y) => (typeof y === "number" && Number.isFinite(y) && !(isLog && y <= 0) ? y : null);
    const lines = [];
    for (const curve of this.curves) {
      const { x, y, smooth } = this._shown(curve);
      // A logarithmic axis has no place for x = 0.
      const keep = this.xscale === "log" && x.length && x[0] <= 0 ? x.findIndex((value) => value > 0) : 0;
      const cut = (values) => (keep > 0 ? values.slice(keep) : keep < 0 ? [] : values);
      const isVisible = !this.hidden.has(curve.key);
      if (smooth) lines.push({ curve, x: cut(x), y: cut(y).map(place), isFaint: true, isVisible });
      const own = smooth ? { x: smooth.x, y: smooth.y } : { x, y };
      const cutOwn = this.xscale === "log" && own.x.length && own.x[0] <= 0 ? own.x.findIndex((v) => v > 0) : 0;
      const cutting = (values) => (cutOwn > 0 ? values.slice(cutOwn) : cutOwn < 0 ? [] : values);
      lines.push({ curve, x: cutting(own.x), y: cutting(own.y).map(place), isFaint: false, isVisible });
    }
    return lines;
  }

  /** The points of a curve that are drawn, and the smoothed ones if it is to be smoothed. */
  _shown(curve) {
    const piece = this._pieces.get(curve.key);
    const { x, y } = piece?.raw ?? curve;
    if (!this.smoothing || curve.isDots) return { x, y, smooth: null };
    if (piece?.smooth) return { x, y, smooth: piece.smooth };
    return { x, y, smooth: { x: curve.x, y: smoothed(curve.y, this.smoothing) } };
  }

  get isYLog() {
    return this._yscale === "log";
  }

  _draw() {
    const begun = performance.now();
    const visible = this.curves.filter(({ key }) => !this.hidden.has(key));
    this._yscale = this.yscale === "auto" ? automatic(visible) : this.yscale;
    const lines = this._lines();
    const shape = JSON.stringify([this.xscale, this._yscale, this.smoothing,
      lines.map(({ curve, isFaint }) => [curve.key, curve.label, curve.isDashed, curve.isDots, isFaint])]);
    this._data = aligned(lines);
    if (shape !== this._shape || !this._plot) this._make(lines, shape);
    else {
      this._drawn = lines;
      lines.forEach(({ isVisible }, i) => {
        if (this._plot.series[i + 1].show !== isVisible) this._plot.setSeries(i + 1, { show: isVisible }, false);
      });
      this._plot.batch(() => {
        this._plot.setData(this._data, this._zoom === null);
        if (this._zoom) this._plot.setScale("x", this._zoom);
      });
    }
    this._reset.hidden = this._zoom === null;
    this._reset.textContent = t("chart.reset");
    this._fillLegend();
    if (this._details.open) this._fillTableSoon();
    this.drawMilliseconds = performance.now() - begun;
  }

  _make(lines, shape) {
    this._plot?.destroy();
    this._shape = shape;
    this._drawn = lines;
    const isYLog = this._yscale === "log";
    const axis = (label, values) => ({
      stroke: () => cssColor("--muted"),
      grid: { stroke: () => cssColor("--grid"), width: 1 },
      ticks: { stroke: () => cssColor("--grid"), width: 1, size: 4 },
      font: "12px system-ui, sans-serif", labelFont: "12px system-ui, sans-serif",
      label: label || undefined, labelSize: 18, values,
    });
    const ticks = (u, places) => places.map((value) => (value === null ? "" : plain(value)));
    // uPlot's own has nine lines for each power of ten: of thirty powers, a gray area.
    const logarithmic = { splits: (u, axisIdx, low, high) => logTicks(low, high), filter: (u, places) => places };
    const options = {
      width: Math.max(this._area.clientWidth, 120),
      height: this.height,
      legend: { show: false },
      scales: {
        x: { time: false, distr: this.xscale === "log" ? 3 : 1, range: (u, low, high) => this._xRange(low, high) },
        y: { distr: isYLog ? 3 : 1, range: (u, low, high) => yRange(low, high, isYLog) },
      },
      axes: [
        { ...axis(this.xLabel, ticks), size: 34, incrs: (u, number, min, max) => STEPS.filter((step) => step >= 1 || max - min < 2) },
        { ...axis(this.yLabel, ticks), ...(isYLog ? logarithmic : {}), size: (u, values) => 14 + 7.2 * Math.max(3, ...(values ?? []).map((v) => v.length)) },
      ],
      cursor: {
        drag: { x: true, y: false, setScale: false },
        bind: { dblclick: () => () => this.resetZoom() },
        dataIdx: (u, number, index) => nearest(this._data[number], index),
        points: { size: 7 },
        focus: { prox: 24 },
      },
      series: [{}, ...lines.map((line) => this._series(line))],
      hooks: {
        setCursor: [() => this._read()],
        setSelect: [(u) => this._select(u)],
        draw: [(u) => this._mark(u)],
      },
    };
    this._plot = new uPlot(options, this._data, this._area);
    // The canvas says nothing to a screen reader; the area around it has a name, and a table below.
    this._area.querySelector("canvas")?.setAttribute("aria-hidden", "true");
    if (this._zoom) this._plot.setScale("x", this._zoom);
  }

  _series({ curve, isFaint, isVisible }) {
    const color = () => withAlpha(curve.color(), isFaint ? FAINT : 1);
    return {
      label: curve.label, show: isVisible, stroke: color,
      width: curve.isDots ? 0 : isFaint ? 1 : curve.isDashed ? 1.5 : 2,
      dash: curve.isDashed && !isFaint ? [6, 4] : undefined,
      paths: curve.isDots ? () => null : undefined,
      points: curve.isDots
        ? { show: true, size: 6, width: 1.5, stroke: color, fill: () => cssColor("--page") }
        : { show: (u, number) => count(this._data[number], 2) < 2, size: 6, fill: color, stroke: color },
    };
  }

  _xRange(low, high) {
    if (this._zoom) return [this._zoom.min, this._zoom.max];
    if (low === null || low === undefined) return this.xscale === "log" ? [1, 10] : [0, 1];
    if (low === high) return this.xscale === "log" ? [low / 2, high * 2] : [low - 0.5, high + 0.5];
    return [low, high];
  }

  /** Marks at the upper edge what is NaN or infinite, and at the lower what has no logarithm. */
  _mark(u) {
    const context = u.ctx;
    const ratio = devicePixelRatio;
    const { left, top, width, height } = u.bbox;
    context.save();
    context.lineWidth = 1.5 * ratio;
    this._drawn.forEach(({ curve, isFaint, isVisible }) => {
      if (isFaint || !isVisible) return;
      const { x, y } = this._shown(curve);
      context.strokeStyle = curve.color();
      let lastHigh = -Infinity;
      let lastLow = -Infinity;
      context.beginPath();
      for (let i = 0; i < x.length; i++) {
        const isLow = y[i] === "-Infinity" || (this.isYLog && typeof y[i] === "number" && y[i] <= 0);
        if (typeof y[i] === "number" && !isLow) continue;
        if (this.xscale === "log" && x[i] <= 0) continue;
        const at = u.valToPos(x[i], "x", true);
        if (at < left || at > left + width) continue;
        if (at - (isLow ? lastLow : lastHigh) < MARK_DISTANCE * ratio) continue;
        if (isLow) lastLow = at;
        else lastHigh = at;
        const edge = isLow ? top + height - 5 * ratio : top + 5 * ratio;
        const half = 3 * ratio;
        context.moveTo(at - half, edge - half);
        context.lineTo(at + half, edge + half);
        context.moveTo(at - half, edge + half);
        context.lineTo(at + half, edge - half);
      }
      context.stroke();
    });
    context.restore();
  }

  _resize() {
    const width = this._area.clientWidth;
    if (this._plot && width > 0 && width !== this._plot.width) {
      this._plot.setSize({ width, height: this.height });
    }
  }

  // Zooming

  _select(u) {
    if (u.select.width < 5) return;
    const min = u.posToVal(u.select.left, "x");
    const max = u.posToVal(u.select.left + u.select.width, "x");
    u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.zoomTo(min, max);
  }

  /** Shows what lies between two places of the x axis, as finely as the server has it. */
  zoomTo(min, max) {
    this._zoom = { min, max };
    this._change();
    if (this._isThinned()) this._askPieces(100);
  }

  _isThinned() {
    const needs = (curve) => curve.piece && (curve.num ?? 0) > curve.x.length;
    return (this._zoom !== null || this.smoothing > 0) && this.curves.some(needs);
  }

  _askPieces(delay) {
    if (this._asking) return; // one is on its way, and takes what holds then
    this._asking = setTimeout(async () => {
      const zoom = this._zoom;
      const weight = this.smoothing;
      await Promise.all(this.curves.map(async (curve) => {
        if (!curve.piece || (curve.num ?? 0) <= curve.x.length || this.hidden.has(curve.key)) return;
        try {
          const raw = zoom ? await curve.piece(zoom.min, zoom.max, 0) : null;
          const smooth = weight && !curve.isDots ? await curve.piece(zoom?.min, zoom?.max, weight) : null;
          if (zoom === this._zoom && weight === this.smoothing) this._pieces.set(curve.key, { raw, smooth });
        } catch {
          // The run is gone, or the server: what is there stays, and the page says what is wrong.
        }
      }));
      this._asking = null;
      if (zoom !== this._zoom || weight !== this.smoothing || this._isIncomplete) {
        this._isIncomplete = false;
        if (this._isThinned()) this._askPieces(0);
      }
      this._change();
    }, delay);
  }

  // Reading values

  /** The legend: a button for each curve, which shows or hides it. */
  _fillLegend() {
    const key = JSON.stringify([document.documentElement.dataset.theme, document.documentElement.lang,
      this.curves.map((curve) => [curve.key, curve.label, curve.color(), this.hidden.has(curve.key)])]);
    if (key === this._legendKey) return;
    this._legendKey = key;
    this._values = new Map();
    const focused = this._legend.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    clear(this._legend);
    for (const curve of this.curves) {
      const value = element("span", { class: "value" });
      this._values.set(curve.key, value);
      const button = element("button", {
        type: "button", "data-key": curve.key, "aria-pressed": String(!this.hidden.has(curve.key)),
        title: t("chart.toggle"), onclick: () => this._toggle(curve.key),
      }, swatch(curve), element("span", {}, curve.label), value);
      this._legend.append(button);
      if (curve.key === focused) button.focus();
    }
    this._read();
  }

  _toggle(key) {
    if (this.hidden.has(key)) this.hidden.delete(key);
    else this.hidden.add(key);
    this._pieces.delete(key); // while it was hidden, none was asked for
    this._change();
    if (!this._isThinned()) return;
    this._isIncomplete = Boolean(this._asking); // what is on its way may have left it out
    this._askPieces(0);
  }

  /** Writes the values at the cursor into the legend; without a cursor, the last ones. */
  _read() {
    const u = this._plot;
    if (!u || !this._values) return;
    const index = u.cursor.idx;
    const isAt = index !== null && index !== undefined;
    this._drawn.forEach(({ curve, isFaint }, i) => {
      const value = this._values.get(curve.key);
      if (isFaint || !value) return;
      const place = isAt ? u.cursor.idxs[i + 1] : this._data[i + 1].length - 1;
      value.textContent = this._valueAt(i + 1, place, isAt);
    });
    this._reading.textContent = isAt ? `${this.xLabel || "x"} ${plain(this._data[0][index])}` : "";
  }

  _valueAt(number, place, isAt) {
    const column = this._data[number];
    if (isAt) return place === null || place === undefined ? "" : this._text(number, place);
    for (let i = column.length - 1; i >= 0; i--) if (column[i] !== undefined) return this._text(number, i);
    return "";
  }

  /** A value in words: also one that has no place on the axis, such as NaN. */
  _text(number, place) {
    const value = this._data[number][place];
    if (value === undefined) return "";
    if (value !== null) return short(value);
    const { x, y } = this._shown(this._drawn[number - 1].curve);
    return short(y[x.indexOf(this._data[0][place])] ?? null);
  }

  _reveal() {
    if (this._plot && this._plot.cursor.idx == null) this._moveTo((this._data[0]?.length ?? 0) - 1, false);
  }

  _press(event) {
    if (event.target !== this._area || event.ctrlKey || event.altKey || event.metaKey || !this._plot) return;
    const last = this._data[0].length - 1;
    const at = this._plot.cursor.idx ?? last;
    const step = event.shiftKey ? 10 : 1;
    const moves = { ArrowRight: at + step, ArrowLeft: at - step, Home: 0, End: last };
    if (event.key in moves) this._moveTo(moves[event.key], true);
    else if (event.key === "+" || event.key === "=") this._zoomBy(0.5, at);
    else if (event.key === "-") this._zoomBy(2, at);
    else if (event.key === "Escape" && this._zoom) this.resetZoom();
    else return;
    event.preventDefault();
  }

  _moveTo(index, isTold) {
    const u = this._plot;
    const x = this._data[0];
    if (!x?.length) return;
    let place = Math.min(Math.max(index, 0), x.length - 1);
    const { min, max } = u.scales.x;
    while (place < x.length - 1 && x[place] < min) place++;
    while (place > 0 && x[place] > max) place--;
    u.setCursor({ left: u.valToPos(x[place], "x"), top: u.bbox.height / devicePixelRatio / 2 });
    if (isTold) {
      const told = this._drawn.map(({ curve, isFaint, isVisible }, i) =>
        (isFaint || !isVisible || this._data[i + 1][place] === undefined
          ? null : `${curve.label} ${this._text(i + 1, place)}`));
      announce([`${this.xLabel || "x"} ${plain(x[place])}`, ...told.filter(Boolean)].join(", "));
    }
  }

  _zoomBy(factor, index) {
    const { min, max } = this._plot.scales.x;
    const middle = this._data[0][index] ?? (min + max) / 2;
    const x = this._data[0];
    const half = ((max - min) / 2) * factor;
    const low = Math.max(middle - half, this.xscale === "log" ? min / 10 : -Infinity);
    const ends = this.curves.map((curve) => [curve.x[0], curve.x[curve.x.length - 1]]).filter(([a]) => a !== undefined);
    const first = Math.min(...ends.map(([a]) => a));
    const final = Math.max(...ends.map(([, b]) => b));
    if (!x.length || (low <= first && middle + half >= final)) this.resetZoom();
    else this.zoomTo(Math.max(low, first), Math.min(middle + half, final));
  }

  // The table

  _fillTableSoon() {
    this._tabling ??= setTimeout(() => {
      this._tabling = null;
      if (!this._isGone) this._fillTable();
    }, 500);
  }

  _fillTable() {
    if (!this._details.open) {
      clear(this._table);
      return;
    }
    const curves = this.curves.map((curve) => {
      const { x, y } = this._shown(curve);
      const num = this._pieces.get(curve.key)?.raw?.num ?? curve.num;
      return { ...curve, x, y, num };
    });
    const inView = (value) => !this._zoom || (value >= this._zoom.min && value <= this._zoom.max);
    const data = aligned(curves);
    const rows = data[0].map((_, i) => i).filter((i) => inView(data[0][i]));
    this._row = Math.min(this._row, Math.max(0, Math.floor((rows.length - 1) / TABLE_ROWS) * TABLE_ROWS));
    const shown = rows.slice(this._row, this._row + TABLE_ROWS);
    const cell = (value) => (value === undefined ? "" : exact(value));
    clear(this._table);
    if (curves.some(({ num, x }) => (num ?? 0) > x.length)) this._table.append(element("p", { class: "muted" }, t("chart.thinned")));
    this._table.append(element("table", {},
      element("caption", { class: "hidden" }, this.caption),
      element("thead", {}, element("tr", {}, ...[this.xLabel || "x", ...curves.map(({ label }) => label)].map((title) =>
        element("th", { scope: "col", class: "number" }, title)))),
      element("tbody", {}, ...shown.map((i) => element("tr", {}, ...data.map((column) =>
        element("td", { class: "number" }, cell(column[i]))))))));
    if (rows.length > TABLE_ROWS) {
      const turn = (by) => () => {
        this._row += by;
        this._fillTable();
      };
      this._table.append(element("div", { class: "row" },
        element("button", { type: "button", onclick: turn(-TABLE_ROWS), disabled: this._row === 0 }, t("chart.before")),
        element("span", {}, t("chart.rows", { from: this._row + 1, to: this._row + shown.length, count: rows.length })),
        element("button", { type: "button", onclick: turn(TABLE_ROWS), disabled: this._row + TABLE_ROWS >= rows.length }, t("chart.after"))));
    }
  }
}

/** Where a logarithmic axis has its lines: at powers of ten, and between them where there are few. */
export function logTicks(low, high) {
  const [first, last] = [Math.ceil(Math.log10(low)), Math.floor(Math.log10(high))];
  const step = Math.max(1, Math.ceil((last - first + 1) / MOST_TICKS));
  const powers = [];
  for (let power = first; power <= last; power += step) powers.push(Number(`1e${power}`));
  if (powers.length > 2) return powers;
  const within = (digits) => {
    const found = [];
    for (let power = first - 1; power <= last; power++) {
      for (const digit of digits) found.push(Number(`${digit}e${power}`));
    }
    return found.filter((value) => value >= low && value <= high);
  };
  const found = [[1, 2, 5], [1, 2, 3, 4, 5, 6, 7, 8, 9]].map(within).find(({ length }) => length > 2);
  if (found) return found;
  const size = STEPS.find((one) => (high - low) / one <= MOST_TICKS) ?? high - low;
  const even = [];
  for (let count = Math.ceil(low / size); count * size <= high; count++) even.push(count * size);
  return even;
}

function yRange(low, high, isLog) {
  if (low === null || low === undefined) return isLog ? [0.1, 1] : [0, 1];
  if (isLog) return [low / 1.15, high * 1.15];
  const margin = (high - low) * 0.06 || Math.abs(high) * 0.1 || 0.5;
  return [low - margin, high + margin];
}

/** The point of a column that is nearest to a place; of the others, the cursor shows none. */
function nearest(column, index) {
  for (let away = 0; away < column.length; away++) {
    if (column[index - away] !== undefined && index - away >= 0) return index - away;
    if (column[index + away] !== undefined) return index + away;
    if (index - away < 0 && index + away >= column.length) break;
  }
  return null;
}

function count(column, most) {
  let found = 0;
  for (const value of column) if (typeof value === "number" && ++found >= most) break;
  return found;
}

function withAlpha(color, alpha) {
  if (alpha === 1) return color;
  return color.startsWith("#") ? color + Math.round(alpha * 255).toString(16).padStart(2, "0")
    : color.replace("rgb(", "rgba(").replace(")", `, ${alpha})`);
}

/** A piece of a curve's line, for the legend. */
export function swatch({ color, isDashed, isDots }) {
  const make = (tag, attributes) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    return node;
  };
  const image = make("svg", { width: 24, height: 10, "aria-hidden": "true", class: "swatch" });
  const look = { stroke: color(), "stroke-width": isDashed ? 1.5 : 2.5, fill: "none" };
  image.append(isDots ? make("circle", { cx: 12, cy: 5, r: 3, ...look, "stroke-width": 1.5 })
    : make("line", { x1: 1, x2: 23, y1: 5, y2: 5, ...look, ...(isDashed ? { "stroke-dasharray": "6 4" } : {}) }));
  return image;
}
