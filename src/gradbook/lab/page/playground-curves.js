// The curves of the playground's training. All that draws them is here, so that another chart can
// take its place.

import { element } from "./dom.js";
import { t } from "./words.js";

/* global uPlot */

// On light and on dark; colors that color-blind people tell apart, as in the library's figures.
const COLORS = {
  train_loss: ["#0072b2", "#5fb0e5"], val_loss: ["#d55e00", "#f0904a"], val_acc: ["#009e73", "#45cfa5"],
};
const OTHERS = [["#a8578a", "#cc79a7"], ["#9a6a00", "#e69f00"], ["#2f7fae", "#56b4e9"]];
const MOST_POINTS = 1200;

/**
 * Fewer points that look the same: the first, the last, and of each part the lowest, the highest and the
 * first that is no number.
 */
export function thinned(x, y) {
  if (x.length <= MOST_POINTS) return [x, y];
  const size = Math.ceil((2 * x.length) / MOST_POINTS);
  const kept = new Set([0, x.length - 1]);
  for (let begin = 0; begin < x.length; begin += size) {
    let low, high, gap;
    for (let index = begin; index < Math.min(begin + size, x.length); index += 1) {
      if (!Number.isFinite(y[index])) gap ??= index;
      else {
        if (low === undefined || y[index] < y[low]) low = index;
        if (high === undefined || y[index] > y[high]) high = index;
      }
    }
    for (const index of [low, high, gap]) if (index !== undefined) kept.add(index);
  }
  const places = [...kept].sort((one, other) => one - other);
  return [places.map((index) => x[index]), places.map((index) => y[index])];
}

/** A chart of the curves whose label `takes`; `show(curves)` may be called at any rate. */
export class Curves {
  constructor(container, title, takes) {
    this._box = element("div", { class: "curves" });
    this._section = element("div", { hidden: true }, element("h2", {}, title), this._box);
    container.append(this._section);
    this._takes = takes;
    this._chart = null;
    this._labels = "";
    this._rebuild = () => {
      this._labels = "";
      if (this._curves) this.show(this._curves);
    };
    this._observer = new ResizeObserver(() => {
      if (this._chart) this._chart.setSize(this._size());
    });
    this._observer.observe(this._box);
    window.addEventListener("themechange", this._rebuild);
  }

  end() {
    this._observer.disconnect();
    window.removeEventListener("themechange", this._rebuild);
    this._chart?.destroy();
  }

  _size() {
    return { width: Math.max(this._box.clientWidth, 120), height: 190 };
  }

  show(curves) {
    this._curves = curves;
    const labels = Object.keys(curves).filter(this._takes);
    if (labels.join() !== this._labels) {
      this._labels = labels.join();
      this._section.hidden = !labels.length;
      this._chart?.destroy();
      this._chart = labels.length ? this._made(labels) : null;
    }
    if (!this._chart) return;
    const tables = labels.map((label) => thinned(curves[label].x, curves[label].y));
    this._chart.setData(uPlot.join(tables));
  }

  _made(labels) {
    const style = getComputedStyle(document.documentElement);
    const [muted, line] = ["--muted", "--line"].map((name) => style.getPropertyValue(name).trim());
    const shade = document.documentElement.dataset.theme === "dark" ? 1 : 0;
    const font = `12px ${getComputedStyle(document.body).fontFamily}`;
    const axis = { stroke: muted, font, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } };
    return new uPlot({
      ...this._size(),
      scales: { x: { time: false } },
      axes: [{ ...axis, label: t("playground.epoch"), labelFont: font, labelSize: 16, size: 34 }, { ...axis, size: 52 }],
      legend: { show: true, live: false },
      cursor: { drag: { x: false, y: false } },
      series: [{}, ...labels.map((label, index) => ({
        label,
        stroke: (COLORS[label] ?? OTHERS[index % OTHERS.length])[shade],
        width: 2,
        dash: label.startsWith("train_") ? [6, 4] : undefined,
        points: { show: false },
      }))],
    }, [[], ...labels.map(() => [])], this._box);
  }
}
