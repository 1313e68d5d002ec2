// The computational graph of one batch: what is computed, with values, and the gradients that come back.

import { element, table } from "./dom.js";
import { t } from "./words.js";
import { ask, warningsOf } from "./look-ask.js";
import { number, shapeText, svg } from "./look-draw.js";

const MARGIN = 12, LINE = 17, MOST_LETTERS = 28;

export function show(panel, context) {
  const place = element("div");
  panel.append(element("p", {}, t("look.graph.intro")), place);
  const load = async () => {
    const graph = await ask(place, context, "graph", {}, load);
    if (graph) draw(place, graph);
  };
  load();
  return undefined;
}

function draw(place, graph) {
  const details = element("section", { class: "panel look-node-details", "aria-live": "polite" });
  const byName = new Map(graph.nodes.map((node) => [node.name, node]));
  const usersOf = new Map(graph.nodes.map(({ name }) => [name, []]));
  for (const node of graph.nodes) for (const name of node.inputs) usersOf.get(name)?.push(node.name);
  const shapes = new Map();
  const root = svg("svg", {
    width: graph.width + 2 * MARGIN, height: graph.height + 2 * MARGIN, class: "look-graph", role: "group",
    viewBox: `${-MARGIN} ${-MARGIN} ${graph.width + 2 * MARGIN} ${graph.height + 2 * MARGIN}`,
    "aria-label": t("look.graph.label", { model: graph.model, count: graph.nodes.length }),
  });
  root.append(svg("defs", {}, svg("marker", { id: "look-arrow", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" },
    svg("path", { d: "M0 0L8 4L0 8z", class: "look-arrow" }))));
  for (const edge of graph.edges) root.append(svg("path", { d: pathOf(edge, byName), class: "look-edge", "marker-end": "url(#look-arrow)" }));
  let selected = graph.nodes.at(-1).name;
  const select = (name, focus) => {
    shapes.get(selected).setAttribute("tabindex", "-1");
    shapes.get(selected).classList.remove("look-selected");
    selected = name;
    shapes.get(name).setAttribute("tabindex", "0");
    shapes.get(name).classList.add("look-selected");
    if (focus) shapes.get(name).focus();
    details.replaceChildren(...detailsOf(byName.get(name), usersOf.get(name), byName));
  };
  const move = (event) => {
    const node = byName.get(selected);
    const inRow = graph.nodes.filter(({ row }) => row === node.row).sort((a, b) => a.x - b.x).map(({ name }) => name);
    const nearest = (names) => [...names].sort((a, b) => Math.abs(byName.get(a).x - node.x) - Math.abs(byName.get(b).x - node.x))[0];
    const at = inRow.indexOf(selected);
    const next = {
      ArrowUp: () => nearest(node.inputs), ArrowDown: () => nearest(usersOf.get(selected)),
      ArrowLeft: () => inRow[at - 1], ArrowRight: () => inRow[at + 1],
      Home: () => graph.nodes[0].name, End: () => graph.nodes.at(-1).name,
    }[event.key];
    if (!next) return;
    event.preventDefault();
    const name = next();
    if (name !== undefined) select(name, true);
  };
  for (const node of graph.nodes) {
    const shape = svg("g", {
      class: `look-node look-node-${node.kind}`, tabindex: -1, role: "button", "aria-label": sentenceOf(node),
      transform: `translate(${node.x - node.width / 2} ${node.y - node.height / 2})`,
      onclick: () => select(node.name, true), onfocus: () => selected !== node.name && select(node.name, false),
      onkeydown: (event) => {
        if (event.key === "Enter" || event.key === " ") {
          event.preventDefault();
          select(node.name, true);
        }
      },
    }, svg("rect", { width: node.width, height: node.height, rx: ["operation", "module", "loss"].includes(node.kind) ? 7 : 0 }),
    ...node.lines.map((line, place) => svg("text", {
      x: node.width / 2, y: (node.height - node.lines.length * LINE) / 2 + LINE * (place + 0.75), "text-anchor": "middle",
      class: place ? undefined : "look-node-title" }, shortened(line))));
    shapes.set(node.name, shape);
    root.append(shape);
  }
  root.addEventListener("keydown", move);
  select(selected, false);
  place.append(...warningsOf(graph),
    element("p", { class: "look-summary" }, t("look.graph.summary", { model: graph.model, batch: graph.batch_size, loss: number(graph.loss) })),
    legendOf(graph),
    element("p", { class: "muted" }, t("look.graph.how")),
    element("div", { class: "look-graph-columns" },
      element("div", { class: "scroll look-graph-scroll", tabindex: 0, role: "group", "aria-label": t("look.graph") }, root), details),
    element("h2", {}, t("look.graph.table")), tableOf(graph));
}

function pathOf(edge, byName) {
  const points = edge.points.map(([x, y]) => [x, y]);
  const from = byName.get(edge.from), to = byName.get(edge.to);
  points[0][1] = from.y + from.height / 2;
  points.at(-1)[1] = to.y - to.height / 2;
  let path = `M${points[0][0]} ${points[0][1]}`;
  for (let place = 1; place < points.length; place += 1) {
    const [x0, y0] = points[place - 1], [x1, y1] = points[place];
    const middle = (y0 + y1) / 2;
    path += `C${x0} ${middle} ${x1} ${middle} ${x1} ${y1}`;
  }
  return path;
}

function shortened(text) {
  return text.length <= MOST_LETTERS ? text : `${text.slice(0, MOST_LETTERS - 1)}…`;
}

function summaryText(values) {
  if (!values) return "–";
  return t("look.graph.values", { min: number(values.min, 3), mean: number(values.mean, 3), max: number(values.max, 3), norm: number(values.norm, 3) });
}

function sentenceOf(node) {
  return `${node.title}, ${t(`look.kind.${node.kind}`)}, ${shapeText(node.shape)}. ${t("look.graph.value")}: ${summaryText(node.values)}. `
    + `${t("look.graph.gradient")}: ${summaryText(node.gradient)}`;
}

function detailsOf(node, users, byName) {
  const rows = [
    [t("look.kind"), t(`look.kind.${node.kind}`)], [t("look.graph.detail"), node.detail || "–"],
    [t("look.shape"), `${shapeText(node.shape)}, ${node.dtype}`],
    ...["min", "mean", "max", "norm"].map((name) => [
      t(`look.graph.${name}`), t("look.graph.both", { value: number(node.values?.[name]), gradient: number(node.gradient?.[name]) })]),
    [t("look.graph.takes"), node.inputs.map((name) => byName.get(name)?.title ?? name).join(", ") || "–"],
    [t("look.graph.goes_to"), users.map((name) => byName.get(name).title).join(", ") || "–"],
    [t("look.graph.backward"), node.backward.join(", ") || "–"],
  ];
  return [element("h2", {}, node.title),
    element("dl", {}, ...rows.flatMap(([term, text]) => [element("dt", {}, term), element("dd", {}, text)]))];
}

function legendOf(graph) {
  const kinds = [...new Set(graph.nodes.map(({ kind }) => kind))];
  return element("ul", { class: "look-legend" }, ...kinds.map((kind) => element("li", {},
    svg("svg", { width: 22, height: 14, "aria-hidden": "true", class: `look-node-${kind}` }, svg("rect", { x: 1, y: 1, width: 20, height: 12, rx: 3 })),
    ` ${t(`look.kind.${kind}`)}`)));
}

function tableOf(graph) {
  const value = (group, name) => ({ title: t(`look.graph.${group}_${name}`), isNumber: true, cell: (node) => number(node[group]?.[name], 3) });
  return element("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": t("look.graph.table") }, table([
    { title: t("look.graph.node"), cell: (node) => node.title },
    { title: t("look.kind"), cell: (node) => t(`look.kind.${node.kind}`) },
    { title: t("look.shape"), cell: (node) => shapeText(node.shape) },
    value("values", "min"), value("values", "mean"), value("values", "max"), value("values", "norm"),
    value("gradient", "min"), value("gradient", "mean"), value("gradient", "max"), value("gradient", "norm"),
  ], graph.nodes, { "aria-label": t("look.graph.table") }));
}
