// The loss along its sharpest direction, and where a step of gradient descent would land there.

import { element } from "./dom.js";
import { t } from "./words.js";
import { ask, warningsOf } from "./look-ask.js";
import { choice, dataTable, figure, number, rangeOf, slider } from "./look-draw.js";

const NUM_STEPS = 8;

export function show(panel, context) {
  const place = element("div");
  let numExamples = context.query.get("examples") ?? "1000";
  if (!["1000", "5000", "auto"].includes(numExamples)) numExamples = "1000";
  const load = async () => {
    const num_examples = numExamples === "auto" ? null : Number(numExamples);
    const found = await ask(place, context, "sharpness", { num_examples }, load);
    if (found) draw(place, found);
  };
  panel.append(element("p", {}, t("look.sharpness.intro")), choice({
    label: t("look.sharpness.examples"), value: numExamples,
    options: [["1000", "1,000"], ["5000", "5,000"], ["auto", t("look.sharpness.auto")]],
    changed(value) {
      numExamples = value;
      context.setQuery({ examples: value });
      context.abort();
      load();
    },
  }), place);
  load();
  return undefined;
}

/** The places of gradient descent on the parabola of this slope and curvature, from a place on. */
export function stepsOn(slope, curvature, begin, lr, count) {
  const places = [begin];
  for (let step = 0; step < count; step += 1) {
    const at = places.at(-1);
    places.push(at - lr * (slope + curvature * at));
  }
  return places;
}

function draw(place, found) {
  const { eigenvalue, slope, loss, distances, losses } = found;
  const hasEdge = found.critical_lr !== null;
  const parabola = (at) => loss + slope * at + (eigenvalue / 2) * at * at;
  const reach = distances.at(-1);
  const curve = distances.map((at, index) => [at, losses[index]]);
  const fine = Array.from({ length: 121 }, (_, index) => -reach + (2 * reach * index) / 120);
  const range = rangeOf([...losses, ...fine.map(parabola)].filter((value) => value !== null), 0.12);
  const critical = found.optimizer_critical_lr ?? found.critical_lr;
  place.append(...warningsOf(found), element("dl", { class: "look-facts" },
    ...fact(t("look.sharpness.value"), number(eigenvalue)),
    ...fact(t("look.sharpness.critical"), hasEdge ? number(found.critical_lr) : t("look.sharpness.no_edge")),
    ...(found.optimizer_critical_lr !== null && hasEdge && Math.abs(critical / found.critical_lr - 1) > 1e-9
      ? fact(t("look.sharpness.own_critical", { optimizer: found.optimizer }), number(critical)) : []),
    ...fact(t("look.sharpness.lr"), found.lr === null ? t("look.sharpness.no_lr") : number(found.lr)),
    ...fact(t("look.sharpness.ratio"), found.lr === null || !hasEdge ? "–" : t("look.sharpness.times", { ratio: number(found.lr / critical, 3) })),
    ...(found.lr === null ? [] : fact(t("look.sharpness.actual"), t("look.sharpness.actual_text", { distance: number(-found.lr * slope, 3) })))));
  const picture = figure({
    label: t("look.sharpness.label", { sharpness: number(eigenvalue) }), height: 320,
    xLabel: t("look.sharpness.distance"), yLabel: t("look.sharpness.loss"), xRange: [-reach, reach], yRange: range, series: [] });
  const verdict = element("p", { class: "look-summary", role: "status" });
  const steps = element("div");
  const lowest = eigenvalue > 0 ? -slope / eigenvalue : 0;
  // From the weights themselves a step is often too small to be seen: a place on the curve can be chosen.
  const state = { ratio: found.lr !== null && hasEdge ? Math.max(0.01, Math.min(3, found.lr / found.critical_lr)) : 0.5, begin: 0.6 * reach };
  const update = () => {
    const lr = state.ratio * (found.critical_lr ?? 1);
    const places = stepsOn(slope, eigenvalue, state.begin, lr, NUM_STEPS);
    const path = places.map((at) => [at, parabola(at)]);
    picture.update({ series: [
      { name: t("look.sharpness.measured"), kind: "line", points: curve.map(([at, value]) => [at, value ?? NaN]) },
      { name: t("look.sharpness.parabola"), kind: "line", color: 2, dash: "7 4", points: fine.map((at) => [at, parabola(at)]) },
      { name: t("look.sharpness.weights"), kind: "dots", color: 4, radius: 5, points: [[0, loss]] },
      ...(hasEdge ? [{ name: t("look.sharpness.steps"), kind: "line", color: 3, points: path },
        { kind: "dots", color: 3, points: path.slice(0, 1), radius: 6 }, { kind: "dots", color: 3, points: path.slice(1) }] : []),
    ] });
    if (!hasEdge) return;
    const factor = 1 - lr * eigenvalue;
    verdict.textContent = t(Math.abs(factor) < 1e-6 ? "look.sharpness.jumps" : factor > 0 ? "look.sharpness.creeps"
      : Math.abs(factor + 1) < 1e-6 ? "look.sharpness.stays" : factor > -1 ? "look.sharpness.swings" : "look.sharpness.grows",
    { lr: number(lr, 3), ratio: number(state.ratio, 3), factor: number(factor, 3), lands: number(places[1], 3), loss: number(parabola(places[1]), 4) });
    const isOpen = steps.querySelector("details")?.open ?? false;
    steps.replaceChildren(dataTable(t("look.sharpness.step_table"), [
      { title: t("look.sharpness.step"), isNumber: true, cell: (row) => row.step },
      { title: t("look.sharpness.distance"), isNumber: true, cell: (row) => number(row.at) },
      { title: t("look.sharpness.from_lowest"), isNumber: true, cell: (row) => number(row.at - lowest) },
      { title: t("look.sharpness.loss"), isNumber: true, cell: (row) => number(parabola(row.at)) },
    ], places.map((at, step) => ({ step, at }))));
    steps.querySelector("details").open = isOpen;
  };
  const controls = hasEdge ? [element("div", { class: "look-controls look-sliders" },
    slider({ label: t("look.sharpness.lr_slider"), min: 0.01, max: 3, step: 0.01, value: state.ratio,
      text: (ratio) => t("look.sharpness.lr_text", { lr: number(ratio * found.critical_lr, 3), ratio: number(ratio, 3) }),
      changed(ratio) {
        state.ratio = ratio;
        update();
      } }).node,
    slider({ label: t("look.sharpness.begin"), min: -reach, max: reach, step: reach / 100, value: state.begin, text: (at) => number(at, 3),
      changed(at) {
        state.begin = at;
        update();
      } }).node)] : [element("p", { class: "look-note" }, t("look.sharpness.flat"))];
  place.append(picture.node, ...controls, verdict, steps,
    dataTable(t("look.sharpness.table"), [
      { title: t("look.sharpness.distance"), isNumber: true, cell: ([at]) => number(at) },
      { title: t("look.sharpness.measured"), isNumber: true, cell: ([, value]) => number(value, 5) },
      { title: t("look.sharpness.parabola"), isNumber: true, cell: ([at]) => number(parabola(at), 5) },
    ], curve),
    element("h2", {}, t("look.sharpness.words")), element("pre", { class: "look-words", lang: "en" }, found.words));
  update();
}

function fact(term, text) {
  return [element("dt", {}, term), element("dd", { class: "number" }, text)];
}
