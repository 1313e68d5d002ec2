// What a model gets right and wrong: examples, confusion, calibration; a regression's residuals.

import { element, clear, table, announce } from "./dom.js";
import { t } from "./words.js";
import { ask, warningsOf } from "./look-ask.js";
import { choice, dataTable, figure, number, percent, pictureCanvas, rangeOf } from "./look-draw.js";

export function show(panel, context) {
  const place = element("div");
  const load = async () => {
    const split = context.query.get("split") === "train" ? "train" : "val";
    const answer = await ask(place, context, "mistakes", { split }, load);
    if (!answer) return;
    place.append(...warningsOf(answer), ...(answer.kind === "regression"
      ? regression(answer) : classification(answer, context, split)));
  };
  panel.append(element("p", {}, t("look.mistakes.intro")), choice({
    label: t("look.split"),
    options: [["val", t("look.split.val")], ["train", t("look.split.train")]],
    value: context.query.get("split") === "train" ? "train" : "val",
    changed(value) {
      context.setQuery({ split: value });
      context.abort();
      load();
    },
  }), place);
  load();
  return undefined;
}

// Classifiers

function classification(answer, context, split) {
  const gallery = element("section", { class: "look-gallery-section", "aria-label": t("look.examples") });
  const showMost = () => showExamples(gallery, t("look.surest", { count: answer.mistakes.length, total: answer.num_mistakes.toLocaleString() }),
    answer.mistakes, answer.names);
  const openCell = async (row, column) => {
    const again = () => openCell(row, column);
    gallery.scrollIntoView({ block: "nearest" });
    const cell = await ask(gallery, context, "cell", { split, true: row, predicted: column }, again);
    if (!cell) return;
    const values = { true: nameOf(answer, row), predicted: nameOf(answer, column), count: cell.examples.length, total: cell.num_examples };
    const title = t(row === column ? "look.cell_right" : "look.cell", values);
    showExamples(gallery, title, cell.examples, answer.names);
    gallery.prepend(element("button", { type: "button", onclick: showMost }, t("look.all_mistakes")));
    announce(title);
  };
  showMost();
  return [
    element("p", { class: "look-summary" }, t("look.accuracy", {
      accuracy: percent(answer.accuracy), count: answer.num_examples.toLocaleString(),
      loss: number(answer.loss), epoch: answer.epoch ?? "–" })),
    element("div", { class: "columns" },
      element("section", {}, element("h2", {}, t("look.confusion")), confusionOf(answer, openCell)),
      gallery),
    element("div", { class: "columns" },
      element("section", {}, element("h2", {}, t("look.calibration")), ...calibrationOf(answer.calibration)),
      element("section", {}, element("h2", {}, t("look.per_class")), classesOf(answer))),
  ];
}

function nameOf(answer, index) {
  return answer.names[index] ?? String(index);
}

function confusionOf(answer, openCell) {
  if (!answer.classes.length) return element("p", { class: "look-note" }, t("look.too_many_classes", { count: answer.num_classes }));
  const pairs = pairsOf(answer, openCell);
  if (!answer.confusion) return element("div", {}, element("p", { class: "look-note" }, t("look.no_matrix", { count: answer.num_classes })), pairs);
  const cells = [];
  const rows = answer.confusion.map((counts, row) => {
    const total = counts.reduce((sum, count) => sum + count, 0);
    return element("tr", {}, element("th", { scope: "row" }, nameOf(answer, row)),
      ...counts.map((count, column) => {
        const button = element("button", {
          type: "button", tabindex: row || column ? -1 : 0, disabled: count === 0 ? true : undefined,
          "aria-label": t("look.cell_label", { true: nameOf(answer, row), predicted: nameOf(answer, column), count }),
          title: t("look.cell_label", { true: nameOf(answer, row), predicted: nameOf(answer, column), count }),
          onclick: () => openCell(row, column),
        }, count);
        button.disabled = false; // an empty cell can be reached, and has nothing to open
        if (!count) button.setAttribute("aria-disabled", "true");
        cells.push({ button, row, column, share: total ? count / total : 0 });
        return element("td", {}, button);
      }));
  });
  const paint = () => {
    const isDark = document.documentElement.dataset.theme === "dark";
    for (const { button, share } of cells) {
      const [from, to] = isDark ? [[18, 22, 28], [125, 180, 240]] : [[255, 255, 255], [20, 80, 150]];
      const color = from.map((value, channel) => Math.round(value + share * (to[channel] - value)));
      const brightness = luminance(color);
      button.style.backgroundColor = `rgb(${color.join(" ")})`;
      button.style.color = (brightness + 0.05) ** 2 > 0.05 * 1.05 ? "#000000" : "#ffffff";
    }
  };
  paint();
  window.addEventListener("themechange", paint);
  const move = (event) => {
    const steps = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
    const now = cells.find(({ button }) => button === document.activeElement);
    if (!steps || !now) return;
    event.preventDefault();
    const next = cells.find(({ row, column }) => row === now.row + steps[0] && column === now.column + steps[1]);
    if (!next) return;
    now.button.tabIndex = -1;
    next.button.tabIndex = 0;
    next.button.focus();
  };
  return element("div", {},
    element("p", { class: "muted" }, t("look.confusion_how")),
    element("div", { class: "scroll" }, element("table", { class: "look-confusion", onkeydown: move },
      element("caption", { class: "hidden" }, t("look.confusion_caption")),
      element("thead", {}, element("tr", {}, element("td", { class: "muted" }, t("look.true_predicted")),
        ...answer.names.map((name) => element("th", { scope: "col" }, element("span", {}, name))))),
      element("tbody", {}, ...rows))),
    pairs);
}

function luminance(color) {
  const [r, g, b] = color.map((value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function pairsOf(answer, openCell) {
  return dataTable(t("look.pairs"), [
    { title: t("look.true"), cell: (pair) => nameOf(answer, pair.true) },
    { title: t("look.predicted"), cell: (pair) => nameOf(answer, pair.predicted) },
    { title: t("look.count"), isNumber: true, cell: (pair) => element("button", { type: "button",
      "aria-label": t("look.cell_label", { true: nameOf(answer, pair.true), predicted: nameOf(answer, pair.predicted), count: pair.count }),
      onclick: () => openCell(pair.true, pair.predicted) }, pair.count) },
  ], answer.pairs);
}

function showExamples(place, title, examples, names) {
  clear(place);
  place.append(element("h2", {}, title));
  if (!examples.length) {
    place.append(element("p", { class: "muted" }, t("look.no_examples")));
    return;
  }
  const name = (index) => names[index] ?? String(index);
  if (examples.some(({ image }) => image)) {
    const pictures = element("ul", { class: "look-gallery" }, ...examples.map((one) => {
      const values = { true: name(one.true), predicted: name(one.predicted), probability: number(one.probability, 3), example: one.example };
      return element("li", {}, one.image ? pictureCanvas(one.image, t("look.example_label", values)) : null,
        element("span", { class: "look-true" }, values.true),
        element("span", { class: one.true === one.predicted ? "look-right" : "look-wrong" },
          `${one.true === one.predicted ? "✓" : "→"} ${values.predicted} `,
          element("span", { class: "number" }, Number(one.probability).toFixed(2))));
    }));
    place.append(element("div", { class: "look-gallery-scroll", tabindex: 0, role: "group", "aria-label": title }, pictures));
  }
  const tableOf = [
    { title: t("look.true"), cell: (one) => name(one.true) },
    { title: t("look.predicted"), cell: (one) => name(one.predicted) },
    { title: t("look.probability"), isNumber: true, cell: (one) => Number(one.probability).toFixed(4) },
    { title: t("look.example"), isNumber: true, cell: (one) => one.example },
    { title: t("look.input"), cell: (one) => one.excerpt ?? (one.image ? `${one.image.width} × ${one.image.height}` : "–") },
  ];
  const data = dataTable(t("look.as_table"), tableOf, examples);
  data.open = !examples.some(({ image }) => image);
  place.append(data);
}

function calibrationOf({ error, edges, counts, confidence, accuracy }) {
  const bins = counts.map((count, place) => ({ low: edges[place], high: edges[place + 1], count,
    confidence: confidence[place], accuracy: accuracy[place] }));
  const known = bins.filter(({ count }) => count);
  const chart = figure({
    label: t("look.calibration_label", { error: number(error, 3) }),
    xLabel: t("look.probability"), yLabel: t("look.share_right"), xRange: [0, 1], yRange: [0, 1.02],
    series: [
      { name: t("look.right"), kind: "bars", width: edges[1] - edges[0], points: bins.map((bin) => [bin.low, bin.accuracy ?? NaN]) },
      { name: t("look.perfect"), kind: "line", color: 4, dash: "5 4", points: [[0, 0], [1, 1]] },
      { name: t("look.bin_mean"), kind: "dots", color: 2, points: known.map((bin) => [bin.confidence, bin.accuracy]) },
    ],
  });
  return [element("p", {}, t("look.calibration_error", { error: number(error, 3) })), chart.node,
    dataTable(t("look.as_table"), [
      { title: t("look.probability"), cell: (bin) => `${number(bin.low, 2)} – ${number(bin.high, 2)}` },
      { title: t("look.predictions"), isNumber: true, cell: (bin) => bin.count },
      { title: t("look.mean_probability"), isNumber: true, cell: (bin) => number(bin.confidence) },
      { title: t("look.share_right"), isNumber: true, cell: (bin) => number(bin.accuracy) },
    ], bins)];
}

function classesOf(answer) {
  const rows = answer.classes.map((one, place) => ({ ...one, name: nameOf(answer, place) }));
  const column = (key) => ({ title: t(`look.${key}`), isNumber: true, cell: (one) => (one[key] === null ? "–" : one[key].toFixed(3)) });
  return element("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": t("look.per_class") }, table([
    { title: t("look.class"), cell: (one) => one.name }, column("precision"), column("recall"), column("f1"),
    { title: t("look.support"), isNumber: true, cell: (one) => one.support.toLocaleString() },
  ], rows, { "aria-label": t("look.per_class") }));
}

// Regressions

function regression(answer) {
  const { points, histogram } = answer;
  const all = points.flat();
  const ends = rangeOf(all);
  const residuals = points.map(([truth, predicted]) => [predicted, truth - predicted]);
  const some = answer.every > 1 ? t("look.some_points", { count: points.length, total: answer.num_points }) : t("look.all_points", { count: points.length });
  const predicted = figure({
    label: t("look.predicted_label", { r2: number(answer.r2) }), xLabel: t("look.true"), yLabel: t("look.predicted"),
    xRange: ends, yRange: ends,
    series: [{ name: t("look.examples"), kind: "dots", radius: 2.5, points },
      { name: t("look.same"), kind: "line", color: 4, dash: "5 4", points: [[ends[0], ends[0]], [ends[1], ends[1]]] }],
  });
  const residual = figure({
    label: t("look.residual_label", { mae: number(answer.mae) }), xLabel: t("look.predicted"), yLabel: t("look.residual"),
    xRange: rangeOf(residuals.map(([x]) => x)), yRange: rangeOf(residuals.map(([, y]) => y)),
    series: [{ kind: "dots", radius: 2.5, points: residuals },
      { kind: "line", color: 4, dash: "5 4", points: rangeOf(residuals.map(([x]) => x)).map((x) => [x, 0]) }],
  });
  const bars = histogram.counts.map((count, place) => [histogram.edges[place], count]);
  const spread = figure({
    label: t("look.histogram_label"), xLabel: t("look.residual"), yLabel: t("look.count"),
    xRange: [histogram.edges[0], histogram.edges.at(-1)], yRange: [0, 1.05 * Math.max(...histogram.counts)],
    series: [{ kind: "bars", width: histogram.edges[1] - histogram.edges[0], points: bars }],
  });
  const worst = dataTable(t("look.worst"), [
    { title: t("look.example"), isNumber: true, cell: (one) => one.example },
    { title: t("look.true"), isNumber: true, cell: (one) => number(one.true) },
    { title: t("look.predicted"), isNumber: true, cell: (one) => number(one.predicted) },
    { title: t("look.residual"), isNumber: true, cell: (one) => number(one.true - one.predicted) },
  ], answer.worst);
  const histogramTable = dataTable(t("look.as_table"), [
    { title: t("look.residual"), cell: (one) => `${number(one.low)} – ${number(one.high)}` },
    { title: t("look.count"), isNumber: true, cell: (one) => one.count },
  ], histogram.counts.map((count, place) => ({ count, low: histogram.edges[place], high: histogram.edges[place + 1] })));
  return [
    element("p", { class: "look-summary" }, t("look.regression", { mse: number(answer.mse), mae: number(answer.mae),
      r2: number(answer.r2, 6), count: answer.num_examples.toLocaleString() })),
    element("p", { class: "muted" }, some),
    element("div", { class: "columns" },
      element("section", {}, element("h2", {}, t("look.predicted_true")), predicted.node, worst),
      element("section", {}, element("h2", {}, t("look.residuals")), residual.node, spread.node, histogramTable)),
    ...parametersOf(answer),
  ];
}

function parametersOf(answer) {
  if (!answer.parameters.length) return [];
  return [element("section", {}, element("h2", {}, t("look.parameters")),
    element("p", {}, t("look.distance", { distance: number(answer.distance) })),
    element("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": t("look.parameters") }, table([
      { title: t("look.parameter"), cell: (one) => one.name },
      { title: t("look.true"), isNumber: true, cell: (one) => number(one.true) },
      { title: t("look.learned"), isNumber: true, cell: (one) => number(one.learned) },
      { title: t("look.error"), isNumber: true, cell: (one) => number(one.error) },
    ], answer.parameters, { "aria-label": t("look.parameters") })))];
}
