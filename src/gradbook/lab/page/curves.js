// The panels of curves of one run or of several, and the controls that they share.

import { get } from "./api.js";
import { Chart } from "./chart.js";
import { element } from "./dom.js";
import { seriesColor } from "./palette.js";
import { t } from "./words.js";

const SPLITS = ["train", "val"];

/** "val_acc" is {split: "val", quantity: "acc"}; a label without a split is its own quantity. */
export function parseLabel(label) {
  const [split, ...rest] = label.split("_");
  return SPLITS.includes(split) && rest.length ? { split, quantity: rest.join("_") } : { split: "", quantity: label };
}

/** What is measured, the loss and the accuracy first. */
export function quantities(labels) {
  const rank = (name) => ["loss", "acc", name].indexOf(name);
  return [...new Set(labels.map((label) => parseLabel(label).quantity))].sort((a, b) => rank(a) - rank(b));
}

function nameOf(quantity) {
  const known = new Map([["loss", t("quantity.loss")], ["acc", t("quantity.acc")]]);
  return known.get(quantity) ?? quantity;
}

/** What a chart asks the server for: a piece of a curve, as finely as it can be drawn. */
export function pieceOf(run, kind, label) {
  return (from, to, smooth) => {
    const query = { run, kind, label, points: 3000 };
    if (from !== undefined) Object.assign(query, { from, to });
    if (smooth) query.smooth = smooth;
    return get("/api/curve", query);
  };
}

/**
 * Controls for smoothing and axes, which keep their state in the address.
 * @param {URLSearchParams} query What the address says.
 * @param {function} changed Called with {smoothing, xscale, yscale}.
 */
export class CurveControls {
  constructor(query, changed) {
    const weight = Number(query.get("smoothing"));
    this.state = {
      smoothing: weight > 0 && weight <= 0.99 ? weight : 0,
      xscale: query.get("x") === "log" ? "log" : "linear",
      yscale: ["linear", "log"].includes(query.get("y")) ? query.get("y") : "auto",
    };
    const told = element("output", {}, this.state.smoothing.toFixed(2));
    const tell = () => {
      told.textContent = this.state.smoothing.toFixed(2);
      setQuery({
        smoothing: this.state.smoothing || null,
        x: this.state.xscale === "log" ? "log" : null,
        y: this.state.yscale === "auto" ? null : this.state.yscale,
      });
      changed(this.state);
    };
    const choice = (name, values) => element("select", {
      onchange: (event) => {
        this.state[name] = event.target.value;
        tell();
      },
    }, ...values.map((value) => element("option", { value, selected: this.state[name] === value }, t(`scale.${value}`))));
    this.node = element("div", { class: "row controls" },
      element("label", {}, t("curves.smoothing"), element("input", {
        type: "range", min: 0, max: 0.99, step: 0.01, value: this.state.smoothing,
        oninput: (event) => {
          this.state.smoothing = Number(event.target.value);
          tell();
        },
      }), told),
      element("label", {}, t("curves.yscale"), choice("yscale", ["auto", "linear", "log"])),
      element("label", {}, t("curves.xscale"), choice("xscale", ["linear", "log"])),
      element("span", { class: "muted key" }, t("curves.key")));
  }
}

/** Changes what stands behind the "?" of the address; null removes. No view is shown anew. */
export function setQuery(changes) {
  const [path, search = ""] = location.hash.split(/\?(.*)/s);
  const query = new URLSearchParams(search);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === "") query.delete(name);
    else query.set(name, value);
  }
  const text = query.toString();
  history.replaceState(null, "", text ? `${path}?${text}` : path);
}

/** Panels that come and go with the quantities that are recorded. */
export class CurvePanels {
  /** @param {object} state {smoothing, xscale, yscale} */
  constructor(state) {
    this.node = element("div", { class: "columns panels" });
    this.charts = new Map();
    this._state = { ...state };
  }

  /** Draws the curves: `curves` are those of chart.js with a `quantity` besides. */
  show(curves, status) {
    const names = quantities(curves.map(({ recorded }) => recorded));
    for (const [name, chart] of this.charts) {
      if (names.includes(name)) continue;
      chart.destroy();
      chart.node.remove();
      this.charts.delete(name);
    }
    names.forEach((name) => {
      if (!this.charts.has(name)) {
        const chart = new Chart({ caption: nameOf(name), xLabel: t("curves.epoch"), ...this._state });
        this.charts.set(name, chart);
        this.node.append(chart.node);
      }
      const chart = this.charts.get(name);
      chart.setCurves(curves.filter(({ recorded }) => parseLabel(recorded).quantity === name));
      chart.setStatus(status);
    });
  }

  set(state) {
    this._state = { ...state };
    for (const chart of this.charts.values()) chart.set(this._state);
  }

  destroy() {
    for (const chart of this.charts.values()) chart.destroy();
  }
}

/**
 * The curves of one run: the points of the board as lines, the means of epochs as dots.
 * `piece(kind, label)` is what a chart asks for a part of a curve.
 */
export function curvesOfRun(curve, piece) {
  const labels = [...new Set([...Object.keys(curve.point), ...Object.keys(curve.epoch)])];
  const made = [];
  labels.forEach((label, i) => {
    const color = () => seriesColor(i, labels.length);
    const isDashed = parseLabel(label).split === "train";
    for (const kind of ["point", "epoch"]) {
      const line = curve[kind][label];
      if (!line) continue;
      const isDots = kind === "epoch";
      made.push({
        key: `${kind} ${label}`, recorded: label, color, isDashed, isDots,
        label: isDots ? t("curves.means", { label }) : label,
        x: line.x, y: line.y, num: line.num, piece: piece(kind, label),
      });
    }
  });
  return made;
}

/** How much is drawn, in words. */
export function countsOf(curve) {
  const sum = (lines) => Object.values(lines).reduce((total, line) => total + line.num, 0);
  const epochs = Math.max(0, ...Object.values(curve.epoch).map((line) => line.num));
  return t("curves.counts", { epochs, points: sum(curve.point) });
}
