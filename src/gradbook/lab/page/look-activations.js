// A function, its derivative, and what is left of a gradient after many layers. It needs no run.

import { element, table } from "./dom.js";
import { t } from "./words.js";
import { FUNCTIONS, chain } from "./look-functions.js";
import { choice, dataTable, figure, number, rangeOf, slider } from "./look-draw.js";

const LOW = -8, HIGH = 8, NUM_POINTS = 801, DEEPEST = 30;
const PLACES = Array.from({ length: NUM_POINTS }, (_, place) => LOW + ((HIGH - LOW) * place) / (NUM_POINTS - 1));

// From here on a gradient counts as vanished, or as exploded.
const VANISHED = 1e-2, EXPLODED = 1e2;

export function show(panel, context) {
  const { query } = context;
  const bounded = (name, standard, low, high) => {
    const value = Number(query.get(name) ?? standard);
    return Number.isFinite(value) ? Math.max(low, Math.min(high, value)) : standard;
  };
  const state = {
    f: Object.hasOwn(FUNCTIONS, query.get("f") ?? "") ? query.get("f") : "sigmoid",
    depth: Math.round(bounded("depth", 3, 1, DEEPEST)),
    weight: bounded("weight", 1, 0.1, 5),
    x: bounded("x", 1, LOW, HIGH),
  };
  const values = figure(emptySpec(t("look.value"))), slopes = figure(emptySpec(t("look.derivative"))), fates = figure(emptySpec(""));
  const verdict = element("p", { class: "look-summary", role: "status" }), tables = element("div");
  const update = () => {
    context.setQuery({ f: state.f, depth: state.depth, weight: state.weight, x: state.x });
    const curves = PLACES.map((x) => chain(state.f, x, state.depth, state.weight));
    const depths = [...new Set([1, Math.ceil(state.depth / 2), state.depth])];
    const largest = Array.from({ length: state.depth }, (_, layer) =>
      Math.max(...curves.map((curve) => Math.abs(curve[layer][1])).filter(Number.isFinite), 0));
    const at = chain(state.f, state.x, state.depth, state.weight);
    const styles = [undefined, "7 4", "2 3"];
    const series = (index) => depths.map((depth, place) => ({
      name: t("look.layers", { count: depth }), color: place + 1, dash: styles[place], kind: "line",
      points: PLACES.map((x, number_) => [x, curves[number_][depth - 1][index]]),
    }));
    const marks = (index) => depths.map((depth, place) => ({ kind: "dots", color: place + 1, points: [[state.x, at[depth - 1][index]]] }));
    const ends = (index) => rangeOf(clipped(depths.flatMap((depth) => curves.map((curve) => curve[depth - 1][index]))));
    values.update({ label: t("look.value_label", { f: state.f, depth: state.depth }), yRange: ends(0), series: [...series(0), ...marks(0)] });
    slopes.update({ label: t("look.derivative_label", { f: state.f, depth: state.depth, largest: number(largest.at(-1)) }),
      yRange: ends(1), series: [...series(1), ...marks(1)] });
    const positive = [...largest, ...at.map(([, slope]) => Math.abs(slope))].filter((value) => value > 0 && Number.isFinite(value));
    const [low, high] = positive.length ? [Math.max(1e-30, Math.min(...positive, 0.5)), Math.max(...positive, 2)] : [0.1, 10];
    fates.update({
      label: t("look.fate_label", { depth: state.depth, largest: number(largest.at(-1)) }),
      xLabel: t("look.depth"), yLabel: t("look.factor"), isLogY: true, isWholeX: true, xRange: [0.8, state.depth + 0.2],
      yRange: [low / 1.5, high * 1.5],
      series: [
        { name: t("look.largest_slope"), kind: "line", points: largest.map((value, layer) => [layer + 1, value]) },
        { name: t("look.slope_at", { x: number(state.x, 3) }), kind: "line", color: 2, dash: "7 4", points: at.map(([, slope], layer) => [layer + 1, Math.abs(slope)]) },
        { kind: "dots", radius: 3, points: largest.map((value, layer) => [layer + 1, value]) },
        { kind: "dots", radius: 3, color: 2, points: at.map(([, slope], layer) => [layer + 1, Math.abs(slope)]) },
      ],
    });
    const last = largest.at(-1);
    verdict.textContent = t(last < VANISHED ? "look.vanishes" : last > EXPLODED ? "look.explodes" : "look.keeps",
      { count: state.depth, f: state.f, weight: number(state.weight, 3), largest: number(last, 3) });
    const isOpen = tables.querySelector("details")?.open ?? false;
    tables.replaceChildren(
      element("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": t("look.by_depth") }, table([
        { title: t("look.depth"), isNumber: true, cell: (row) => row.depth },
        { title: t("look.value_at", { x: number(state.x, 3) }), isNumber: true, cell: (row) => number(row.value) },
        { title: t("look.slope_at", { x: number(state.x, 3) }), isNumber: true, cell: (row) => number(row.slope) },
        { title: t("look.largest_slope"), isNumber: true, cell: (row) => number(row.largest) },
      ], at.map(([value, slope], layer) => ({ depth: layer + 1, value, slope, largest: largest[layer] })), { "aria-label": t("look.by_depth") })),
      dataTable(t("look.curve_table"), [
        { title: "x", isNumber: true, cell: (row) => number(row.x) },
        { title: t("look.value"), isNumber: true, cell: (row) => number(row.value) },
        { title: t("look.derivative"), isNumber: true, cell: (row) => number(row.slope) },
      ], PLACES.filter((_, place) => place % 50 === 0).map((x) => {
        const [value, slope] = chain(state.f, x, state.depth, state.weight).at(-1);
        return { x, value, slope };
      })));
    tables.querySelector("details").open = isOpen;
  };
  const set = (name) => (value) => {
    state[name] = name === "f" ? value : Number(value);
    update();
  };
  panel.append(
    element("p", {}, t("look.activations.intro")),
    element("div", { class: "look-controls look-sliders" },
      choice({ label: t("look.function"), options: Object.keys(FUNCTIONS).map((name) => [name, name]), value: state.f, changed: set("f") }),
      slider({ label: t("look.num_layers"), min: 1, max: DEEPEST, step: 1, value: state.depth, text: String, changed: set("depth") }).node,
      slider({ label: t("look.weight_scale"), min: 0.1, max: 5, step: 0.1, value: state.weight, text: (value) => number(value, 3), changed: set("weight") }).node,
      slider({ label: "x", min: LOW, max: HIGH, step: 0.1, value: state.x, text: (value) => number(value, 3), changed: set("x") }).node),
    verdict,
    element("div", { class: "columns" },
      element("section", {}, element("h2", {}, t("look.value")), values.node),
      element("section", {}, element("h2", {}, t("look.derivative")), slopes.node),
      element("section", {}, element("h2", {}, t("look.fate")), fates.node),
      element("section", {}, element("h2", {}, t("look.by_depth")), tables)));
  update();
  return undefined;
}

function emptySpec(yLabel) {
  return { label: "", xLabel: "x", yLabel, xRange: [LOW, HIGH], yRange: [0, 1], series: [], height: 240 };
}

// Where a curve grows beyond all bounds, the axis ends at a size at which the others can still be seen.
function clipped(numbers) {
  return numbers.filter(Number.isFinite).map((value) => Math.max(-1e6, Math.min(1e6, value)));
}
