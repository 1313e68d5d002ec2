// A sweep: what each setting reached, against the setting; a click leads to the training.

import { get } from "./api.js";
import { element } from "./dom.js";
import { feed } from "./feed.js";
import { plain, short } from "./numbers.js";
import { seriesColor } from "./palette.js";
import { reportButton } from "./report-button.js";
import { badge, heatTable, nameFrom, paced, section, whenChanged } from "./run-parts.js";
import { setQuery } from "./curves.js";
import { t } from "./words.js";

const MOST_COMPARED = 64;
const MANY_TIMES = 8; // axes are logarithmic where values differ by more
const CEILING = 10; // losses are drawn up to so many times that with which training began

export function show(container, { id, query }) {
  const title = element("h1", {}, nameFrom(id));
  const places = Object.fromEntries(["head", "figure", "words", "table"].map((name) => [name, element("div", { class: `part ${name}` })]));
  const compare = element("span");
  const actions = element("div", { class: "row actions" }, compare, reportButton(() => [id]));
  container.append(element("div", { class: "row heading" }, title, actions), ...Object.values(places));
  let asked = query.get("value");
  let latest = null;
  const choose = (label) => {
    asked = label;
    setQuery({ value: label });
    drawAll();
  };
  const draw = {
    head: whenChanged(places.head, showHead),
    compare: whenChanged(compare, showCompare),
    figure: whenChanged(places.figure, ({ sweep, label, width }) => showFigures(sweep, label, width, choose)),
    words: whenChanged(places.words, (findings) => (findings.length
      ? section(t("sweep.findings"), ...findings.map((text) => element("p", {}, text))) : [])),
    table: whenChanged(places.table, showTable),
  };
  function drawAll() {
    const sweep = latest;
    title.textContent = sweep.name;
    draw.head({ settings: sweep.settings });
    draw.compare({ settings: sweep.settings });
    const width = Math.min(Math.max(container.clientWidth - 32, 280), WIDEST);
    draw.figure({ width, theme: document.documentElement.dataset.theme, sweep, label: sweep.labels.includes(asked) ? asked : sweep.loss_label ?? sweep.label });
    draw.words(sweep.findings);
    draw.table({ table: sweep.table, settings: sweep.settings });
  }
  let isEnded = false;
  const refresh = paced(async () => {
    try {
      const found = await get("/api/sweep", { id });
      if (isEnded) return;
      latest = found;
      drawAll();
    } catch (error) {
      if (!isEnded) places.head.replaceChildren(element("p", { class: "panel problem", role: "alert" }, error.message));
    }
  }, 2000);
  let summaries = null;
  const endRuns = feed.watchRuns(() => {
    const now = JSON.stringify([...feed.runs.values()].filter((run) => run.id === id || run.sweep === id));
    if (now !== summaries) refresh();
    summaries = now;
  });
  refresh();
  const redraw = paced(() => latest && drawAll(), 100);
  window.addEventListener("resize", redraw);
  window.addEventListener("themechange", redraw);
  return () => {
    isEnded = true;
    redraw.end();
    window.removeEventListener("resize", redraw);
    window.removeEventListener("themechange", redraw);
    refresh.end();
    endRuns();
  };
}

function showHead({ settings }) {
  const members = settings.flatMap((setting) => setting.members);
  const counts = new Map();
  for (const { status } of members) counts.set(status, (counts.get(status) ?? 0) + 1);
  return element("div", { class: "row head-row" },
    element("span", {}, t("sweep.members", { count: members.length })),
    ...[...counts].map(([status, count]) => element("span", { class: "row" }, badge(status), String(count))));
}

function showCompare({ settings }) {
  const ids = settings.flatMap((setting) => setting.members).map((member) => member.id).filter(Boolean);
  if (ids.length < 2 || ids.length > MOST_COMPARED) return [];
  return element("a", { class: "button", href: `#/compare?${new URLSearchParams({ runs: ids.join(",") })}` }, t("sweep.compare"));
}

function showFigures(sweep, label, width, choose) {
  if (!label) return element("p", { class: "muted" }, t("sweep.nothing"));
  const choice = sweep.labels.length > 1 ? element("label", { class: "row" }, t("sweep.value"), element("select", {
    onchange: (event) => choose(event.target.value),
  }, ...sweep.labels.map((name) => element("option", { value: name, selected: name === label }, name)))) : null;
  const axis = sweep.axis ?? sweep.swept[0];
  const parts = [section(t("sweep.figure", { label }), choice, axis ? finals(sweep, label, axis, width) : null)];
  if (sweep.swept.length === 2) parts.push(heat(sweep, label));
  return parts;
}

/** Two swept settings as a table of means, each cell with a way to its trainings. */
function heat(sweep, label) {
  const [across, down] = sweep.axis && sweep.axis === sweep.swept[1] ? [sweep.swept[1], sweep.swept[0]] : sweep.swept;
  const distinct = (name) => [...new Set(sweep.settings.map((setting) => setting.values[name]))]
    .sort((a, b) => (typeof a === "number" && typeof b === "number" ? a - b : 0));
  const columns = distinct(across);
  const rows = distinct(down);
  const at = (row, column) => sweep.settings.find((setting) => setting.values[across] === columns[column] && setting.values[down] === rows[row]);
  const values = rows.map((_, row) => columns.map((__, column) => at(row, column)?.means[label] ?? null));
  const known = values.flat().filter((value) => typeof value === "number");
  const isLog = known.length > 1 && Math.min(...known) > 0 && Math.max(...known) > MANY_TIMES * Math.min(...known);
  return section(t("sweep.heat"), heatTable({
    caption: t("sweep.heat_caption", { label, across, down }), corner: `${down} \\ ${across}`,
    columns: columns.map(plain), rows: rows.map(plain), values, isLog,
    cell: (row, column) => {
      const setting = at(row, column);
      if (!setting) return "";
      const text = typeof values[row][column] === "number" ? short(values[row][column]) : setting.verdict;
      const ids = setting.members.map((member) => member.id).filter(Boolean);
      if (!ids.length) return text;
      const address = ids.length === 1 ? `#/run/${ids[0]}` : `#/compare?${new URLSearchParams({ runs: ids.join(",") })}`;
      return element("a", { href: address }, text);
    },
  }));
}

// The figure

const SIZE = { height: 360, left: 64, right: 16, top: 26, bottom: 44 };
const WIDEST = 900;

function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null && value !== undefined) node.setAttribute(name, value);
  node.append(...children.filter(Boolean));
  return node;
}

/** The final value of each training against a swept setting: seeds as points, their means as a line. */
function finals(sweep, label, axis, width) {
  const isNumber = sweep.settings.every((setting) => typeof setting.values[axis] === "number");
  const kinds = new Map();
  for (const setting of sweep.settings) {
    const others = Object.entries(setting.values).filter(([name]) => name !== axis);
    const key = JSON.stringify(others);
    if (!kinds.has(key)) kinds.set(key, { name: others.map(([name, value]) => `${name} ${plain(value)}`).join(", "), settings: [] });
    kinds.get(key).settings.push(setting);
  }
  const groups = [...kinds.values()];
  const isLoss = /(^|_)(loss|error|err|mse|mae|rmse|nll|perplexity|ppl)$/i.test(label);
  const ceiling = isLoss && sweep.start > 0 ? CEILING * sweep.start : Infinity;
  const isShown = (value) => typeof value === "number" && value <= ceiling;

  const places = [...new Set(sweep.settings.map((setting) => setting.values[axis]))];
  if (isNumber) places.sort((a, b) => a - b);
  const isXLog = isNumber && places[0] > 0 && places[places.length - 1] >= MANY_TIMES * places[0];
  const position = (value) => (!isNumber ? places.indexOf(value) : isXLog ? Math.log(value) : value);
  const [first, last] = [position(places[0]), position(places[places.length - 1])];
  const inner = { width: width - SIZE.left - SIZE.right, height: SIZE.height - SIZE.top - SIZE.bottom };
  const inset = 18;
  const x = (value) => SIZE.left + inset + (last > first ? (position(value) - first) / (last - first) : 0.5) * (inner.width - 2 * inset);

  const values = sweep.settings.flatMap((setting) => setting.members.map((member) => member.finals[label])).filter(isShown);
  if (!values.length) return element("p", { class: "muted" }, t("sweep.nothing"));
  let [low, high] = [Math.min(...values), Math.max(...values)];
  const isYLog = isLoss && low > 0 && high > MANY_TIMES * low;
  const scale = (value) => (isYLog ? Math.log(value) : value);
  const margin = (scale(high) - scale(low)) * 0.08 || Math.abs(scale(high)) * 0.1 || 0.5;
  [low, high] = [scale(low) - margin, scale(high) + margin];
  const y = (value) => SIZE.top + (1 - (scale(value) - low) / (high - low)) * inner.height;

  const bottom = SIZE.height - SIZE.bottom;
  const image = svg("svg", { width, height: SIZE.height, viewBox: `0 0 ${width} ${SIZE.height}`, class: "finals", role: "group", "aria-label": t("sweep.figure", { label }) });
  const usable = sweep.usable_range;
  if (usable && axis === sweep.axis && label === sweep.loss_label && usable[0] < usable[1]) {
    image.append(svg("rect", { x: x(usable[0]), y: SIZE.top, width: x(usable[1]) - x(usable[0]), height: inner.height, class: "usable" }));
  }
  for (const tick of ticksOf(low, high, isYLog)) {
    image.append(svg("line", { x1: SIZE.left, x2: width - SIZE.right, y1: y(tick), y2: y(tick), class: "grid" }),
      svg("text", { x: SIZE.left - 8, y: y(tick) + 4, "text-anchor": "end" }, plain(tick)));
  }
  let lastAt = -Infinity;
  for (const value of places) {
    if (x(value) - lastAt < (isNumber ? 52 : 80)) continue;
    lastAt = x(value);
    image.append(svg("line", { x1: lastAt, x2: lastAt, y1: bottom, y2: bottom + 5, class: "grid" }),
      svg("text", { x: lastAt, y: bottom + 18, "text-anchor": "middle" }, plain(value)));
  }
  image.append(svg("line", { x1: SIZE.left, x2: width - SIZE.right, y1: bottom, y2: bottom, class: "axis" }),
    svg("text", { x: SIZE.left + inner.width / 2, y: SIZE.height - 6, "text-anchor": "middle", class: "label" }, axis),
    svg("text", { x: 14, y: SIZE.top + inner.height / 2, "text-anchor": "middle", class: "label", transform: `rotate(-90 14 ${SIZE.top + inner.height / 2})` }, label));
  if (label === sweep.loss_label && isShown(sweep.usable_loss) && scale(sweep.usable_loss) > low && scale(sweep.usable_loss) < high) {
    image.append(svg("line", { x1: SIZE.left, x2: width - SIZE.right, y1: y(sweep.usable_loss), y2: y(sweep.usable_loss), class: "limit" }));
  }
  const listed = [];
  groups.forEach((group, number) => {
    const color = seriesColor(number, groups.length);
    const means = group.settings.filter((setting) => !setting.is_pruned && isShown(setting.means[label]))
      .map((setting) => [x(setting.values[axis]), y(setting.means[label])]).sort((a, b) => a[0] - b[0]);
    if (isNumber && means.length > 1) {
      image.append(svg("polyline", { points: means.map((point) => point.join(",")).join(" "), class: "mean", stroke: color }));
    }
    for (const setting of group.settings) {
      for (const member of setting.members) listed.push({ setting, member, color });
    }
  });
  const numHigh = new Map(); // crosses at one place stand beside each other
  for (const { setting, member, color } of listed) {
    const value = member.finals[label];
    let at = x(setting.values[axis]);
    const seed = member.seed === null || member.seed === undefined ? "" : `, seed ${member.seed}`;
    const name = `${setting.name}${seed}: ${label} ${short(value)}, ${member.told}`;
    const isHigh = !isShown(value);
    if (isHigh && ["waiting", "running"].includes(member.status)) continue; // it has no value yet
    if (isHigh) {
      const before = numHigh.get(at) ?? 0;
      numHigh.set(at, before + 1);
      at -= 13 * before; // to the left: the last place is at the right edge
    }
    const mark = isHigh ? svg("path", { d: `M${at - 5},${SIZE.top - 14} l10,10 m0,-10 l-10,10`, stroke: color, class: "cross" })
      : svg("circle", { cx: at, cy: y(value), r: 5, stroke: color, fill: setting.is_pruned ? "var(--page)" : color });
    const hit = svg("circle", { cx: at, cy: isHigh ? SIZE.top - 9 : y(value), r: 12, class: "hit" });
    const point = svg("a", { href: member.id ? `#/run/${member.id}` : null, "aria-label": name, class: "point" }, svg("title", {}, name), hit, mark);
    image.append(point);
  }
  const notes = [];
  if (listed.some(({ member }) => !isShown(member.finals[label]) && !["waiting", "running"].includes(member.status))) notes.push(t("sweep.crosses"));
  if (sweep.settings.some((setting) => setting.is_pruned)) notes.push(t("sweep.hollow"));
  if (image.querySelector(".limit")) notes.push(t("sweep.limit", { value: short(sweep.usable_loss) }));
  if (image.querySelector(".usable")) notes.push(t("sweep.usable"));
  return element("figure", { class: "chart" }, image,
    groups.length > 1 && groups.length <= 24 ? element("div", { class: "legend plain" }, ...groups.map((group, number) => {
      const dot = svg("svg", { width: 14, height: 12, "aria-hidden": "true" }, svg("circle", { cx: 7, cy: 6, r: 5, fill: seriesColor(number, groups.length) }));
      return element("span", {}, dot, " ", group.name);
    })) : null,
    element("figcaption", { class: "status" }, [t("sweep.points"), ...notes].join(" ")));
}

/** Some round places between the ends of an axis. */
function ticksOf(low, high, isLog) {
  if (isLog) {
    const found = [];
    for (let power = Math.floor(low / Math.LN10) - 1; power <= Math.ceil(high / Math.LN10); power++) {
      for (const digit of [1, 2, 5]) found.push(digit * 10 ** power);
    }
    const within = found.filter((value) => Math.log(value) >= low && Math.log(value) <= high);
    return within.length > 8 ? within.filter((value) => Number.isInteger(Number(Math.log10(value).toFixed(9)))) : within;
  }
  const rough = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((digit) => digit * power).find((size) => size >= rough);
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high; value += step) found.push(Number(value.toPrecision(12)));
  return found;
}

function showTable({ table, settings }) {
  // The rows of the table stand in the order of the settings.
  return section(t("sweep.table"), element("div", { class: "scroll" }, element("table", {},
    element("thead", {}, element("tr", {}, ...table.heading.map((title) => element("th", { scope: "col" }, title)),
      element("th", { scope: "col" }, t("sweep.trainings")))),
    element("tbody", {}, ...table.rows.map((row, i) => element("tr", { class: settings[i].is_best || settings[i].is_tied ? "best" : undefined },
      ...row.map((cell) => element("td", {}, cell)),
      element("td", {}, ...settings[i].members.flatMap((member, number) => {
        const name = member.seed === null || member.seed === undefined ? String(number + 1) : `seed ${member.seed}`;
        return [number ? ", " : null, member.id ? element("a", { href: `#/run/${member.id}` }, name) : name];
      }))))))));
}
