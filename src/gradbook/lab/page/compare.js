// Several runs beside each other: their curves in one figure, and what differs.

import { get } from "./api.js";
import { element } from "./dom.js";
import { CurveControls, CurvePanels, parseLabel, pieceOf, setQuery } from "./curves.js";
import { feed } from "./feed.js";
import { short } from "./numbers.js";
import { seriesColor } from "./palette.js";
import { reportButton } from "./report-button.js";
import { badge, nameFrom, paced, section, whenChanged } from "./run-parts.js";
import { swatch } from "./chart.js";
import { t } from "./words.js";

const MOST = 64;

export function show(container, { query }) {
  let ids = [...new Set((query.get("runs") ?? "").split(",").filter(Boolean))];
  const heading = element("div", { class: "row heading" }, element("h1", {}, t("compare.title")));
  container.append(heading);
  if (!ids.length) {
    container.append(element("p", {}, t("compare.none")), element("a", { href: "#/runs" }, t("compare.choose")));
    return null;
  }
  const tooMany = ids.length > MOST;
  ids = ids.slice(0, MOST);
  if (tooMany) container.append(element("p", { class: "panel warn" }, t("compare.many", { count: MOST })));
  const controls = new CurveControls(query, (state) => panels.set(state));
  const panels = new CurvePanels(controls.state);
  const waiting = element("p", { class: "muted" }, t("compare.no_curve"));
  const reached = element("div");
  const differing = element("div");
  heading.append(element("div", { class: "row actions" }, reportButton(() => ids)));
  container.append(controls.node, waiting, panels.node, reached, differing);

  const curves = new Map();
  const names = new Map(ids.map((id) => [id, nameFrom(id)]));
  const colorOf = (id) => () => seriesColor(ids.indexOf(id), ids.length);
  const draw = paced(() => {
    const made = ids.flatMap((id) => Object.entries(curves.get(id)?.epoch ?? {}).map(([label, line]) => ({
      key: `${id} ${label}`, recorded: label, color: colorOf(id), isDashed: parseLabel(label).split === "train",
      label: `${names.get(id)} ${parseLabel(label).split}`.trim(),
      x: line.x, y: line.y, num: line.num, piece: pieceOf(id, "epoch", label),
    })));
    waiting.hidden = made.length > 0;
    panels.show(made, t("compare.means"));
  }, 100);
  const ends = ids.map((id) => feed.watchCurve(id, (curve) => {
    curves.set(id, curve);
    draw();
  }));

  const showReached = whenChanged(reached, ({ runs }) => reachedTable(runs, colorOf, remove));
  const showDiffering = whenChanged(differing, (found) => differingTable(found, names));
  let isEnded = false;

  function remove(id) {
    setQuery({ runs: ids.filter((other) => other !== id).join(",") });
    window.dispatchEvent(new HashChangeEvent("hashchange"));
  }

  const refresh = paced(async () => {
    let found;
    try {
      found = await get("/api/compare", { runs: ids.join(",") });
    } catch (error) {
      if (!isEnded) reached.replaceChildren(element("p", { class: "problem" }, error.message));
      return;
    }
    if (isEnded) return;
    const counts = new Map();
    for (const { name } of found.runs) counts.set(name, (counts.get(name) ?? 0) + 1);
    for (const { id, name } of found.runs) if (name && counts.get(name) === 1) names.set(id, name);
    draw();
    showReached(found);
    showDiffering(found);
  }, 1500);
  let summaries = null;
  const endRuns = feed.watchRuns(() => {
    const now = JSON.stringify(ids.map((id) => feed.runs.get(id)));
    if (now !== summaries) refresh();
    summaries = now;
  });
  refresh();
  return () => {
    isEnded = true;
    draw.end();
    refresh.end();
    endRuns();
    for (const end of ends) end();
    panels.destroy();
  };
}

function reachedTable(runs, colorOf, remove) {
  const labels = [...new Set(runs.flatMap((run) => Object.keys(run.final ?? {})))];
  const head = [t("runs.name"), t("runs.status"), t("runs.epochs"),
    ...labels.flatMap((label) => [t("compare.final", { label }), t("compare.best", { label })]), t("run.verdict"), ""];
  const value = (number) => element("td", { class: "number" }, number === undefined ? "–" : short(number));
  const found = (values, label) => (Object.hasOwn(values, label) ? values[label] : undefined);
  return section(t("compare.reached"), element("div", { class: "scroll" }, element("table", {},
    element("thead", {}, element("tr", {}, ...head.map((title, i) =>
      element("th", { scope: "col", class: i > 1 && i < head.length - 2 ? "number" : undefined },
        title || element("span", { class: "hidden" }, t("compare.remove")))))),
    element("tbody", {}, ...runs.map((run) => {
      const name = element("th", { scope: "row" }, swatch({ color: colorOf(run.id) }), " ",
        element("a", { href: `#/run/${run.id}` }, run.name ?? nameFrom(run.id)));
      const drop = element("td", {}, element("button", {
        type: "button", onclick: () => remove(run.id), "aria-label": t("compare.remove_one", { name: run.name ?? nameFrom(run.id) }),
      }, "×"));
      if (run.reason) return element("tr", {}, name, element("td", { class: "problem", colspan: head.length - 2 }, run.reason), drop);
      return element("tr", {}, name, element("td", {}, badge(run.status)),
        element("td", { class: "number" }, run.epochs === null ? "–" : `${run.epochs}/${run.max_epochs}`),
        ...labels.flatMap((label) => [value(found(run.final, label)), value(found(run.best, label)?.value)]),
        element("td", { class: "sentence" }, run.damage ?? run.verdict?.text ?? ""), drop);
    })))));
}

function differingTable({ runs, differing }, names) {
  const readable = runs.filter((run) => !run.reason);
  if (readable.length < 2) return [];
  if (!differing.length) return section(t("compare.differing"), element("p", {}, t("compare.same")));
  return section(t("compare.differing"), element("div", { class: "scroll" }, element("table", {},
    element("thead", {}, element("tr", {}, element("th", { scope: "col" }, t("compare.setting")),
      ...readable.map((run) => element("th", { scope: "col" }, names.get(run.id))))),
    element("tbody", {}, ...differing.map((row) => element("tr", {},
      element("th", { scope: "row" }, row.name),
      ...readable.map((run) => element("td", {}, row.values[run.id] ?? "–"))))))));
}
