// One run: its curves, live, and everything that is known of it.

import { get } from "./api.js";
import { clear, element } from "./dom.js";
import { CurveControls, CurvePanels, countsOf, curvesOfRun, pieceOf } from "./curves.js";
import { feed } from "./feed.js";
import { duration, plain, short, when } from "./numbers.js";
import { reportButton } from "./report-button.js";
import { badge, command, fileList, heatTable, nameFrom, pairs, paced, section, whenChanged } from "./run-parts.js";
import { t } from "./words.js";

export function show(container, { id, query }) {
  const title = element("h1", {}, nameFrom(id));
  const places = Object.fromEntries(
    ["head", "problems", "verdict", "curves", "results", "gradients", "pictures", "settings", "commands", "files"]
      .map((name) => [name, element("div", { class: `part ${name}` })]));
  const actions = element("div", { class: "row actions" },
    element("a", { class: "button", href: `#/look/${id}` }, t("run.look")), reportButton(() => [id]));
  container.append(element("div", { class: "run" },
    element("div", { class: "row heading" }, title, actions), ...Object.values(places)));

  // Curves come with the stream, all else with an answer.
  const controls = new CurveControls(query, (state) => panels.set(state));
  const panels = new CurvePanels(controls.state);
  const damage = element("p", { class: "problem" });
  const waiting = element("p", { class: "muted" }, t("run.no_curve"));
  places.curves.append(section(t("run.curves"), controls.node, damage, waiting, panels.node));
  const endCurves = feed.watchCurve(id, (curve) => {
    const curves = curvesOfRun(curve, (kind, label) => pieceOf(id, kind, label));
    waiting.hidden = curves.length > 0;
    damage.textContent = curve.damage ?? "";
    panels.show(curves, countsOf(curve));
  });

  const parts = {
    head: whenChanged(places.head, showHead),
    problems: whenChanged(places.problems, showProblems),
    verdict: whenChanged(places.verdict, showVerdict),
    results: whenChanged(places.results, showResults),
    gradients: whenChanged(places.gradients, (run) => showGradients(run.gradients, run.findings)),
    pictures: whenChanged(places.pictures, (run) => showPictures(run)),
    settings: whenChanged(places.settings, showSettings),
    commands: whenChanged(places.commands, showCommands),
    files: whenChanged(places.files, showFiles),
  };
  const pick = (run, ...names) => Object.fromEntries(names.map((name) => [name, run[name]]));
  let isEnded = false;
  const refresh = paced(async () => {
    let run;
    try {
      run = await get("/api/run", { id });
    } catch (error) {
      if (!isEnded) showFailure(places.problems, error);
      return;
    }
    if (isEnded) return;
    title.textContent = run.name;
    parts.head(pick(run, "id", "status", "epochs", "max_epochs", "seconds", "started", "sweep"));
    parts.problems(pick(run, "error", "damage", "diverged", "findings", "verdict"));
    parts.verdict(pick(run, "verdict", "status"));
    parts.results(pick(run, "final", "best"));
    parts.gradients(pick(run, "gradients", "findings"));
    parts.pictures({ ...pick(run, "id", "pictures"), version: run.files.map((file) => file.bytes).join() });
    parts.settings(pick(run, "settings"));
    parts.commands(pick(run, "command", "resume"));
    parts.files(pick(run, "files", "num_files", "folder"));
  }, 1500);
  let summary = null;
  const endRuns = feed.watchRuns(() => {
    const now = JSON.stringify(feed.runs.get(id));
    if (now !== summary) refresh();
    summary = now;
  });
  refresh();
  return () => {
    isEnded = true;
    refresh.end();
    endRuns();
    endCurves();
    panels.destroy();
  };
}

function showFailure(place, error) {
  clear(place);
  place.append(element("p", { class: "problem panel", role: "alert" }, error.message));
}

function showHead(run) {
  const epochs = run.epochs === null || run.epochs === undefined ? null
    : t("run.epochs", { epochs: run.epochs, max: run.max_epochs });
  return element("div", { class: "row head-row" },
    badge(run.status),
    epochs && element("span", {}, epochs),
    run.status === "running"
      ? element("progress", { max: run.max_epochs, value: run.epochs ?? 0, "aria-label": t("runs.epochs") }) : null,
    run.seconds === null ? null : element("span", {}, duration(run.seconds)),
    element("span", { class: "muted" }, t("run.started", { when: when(run.started) })),
    run.sweep ? element("a", { href: `#/sweep/${run.sweep}` }, t("run.of_sweep")) : null);
}

function showProblems(run) {
  const told = [];
  if (run.error) told.push(element("p", { class: "panel problem" }, run.error));
  if (run.damage) told.push(element("p", { class: "panel problem" }, run.damage));
  // Of a training that diverged, what was found is its post-mortem.
  const title = run.diverged ? t("run.postmortem") : t("run.noticed");
  if (run.findings.length) {
    told.push(element("div", { class: `panel ${run.diverged ? "bad" : "warn"}` },
      element("h2", {}, title), ...run.findings.map((finding) => element("p", {}, finding))));
  } else if (run.diverged && !run.verdict) told.push(element("p", { class: "panel problem" }, run.diverged));
  return told;
}

function showVerdict({ verdict }) {
  if (!verdict) return [];
  return element("p", { class: "panel verdict" }, element("strong", {}, t("run.verdict")), " ", verdict.text);
}

function showResults({ final, best }) {
  const labels = Object.keys(final);
  if (!labels.length) return [];
  return section(t("run.results"), element("div", { class: "scroll" }, element("table", {},
    element("thead", {}, element("tr", {}, element("td"),
      ...[t("run.final"), t("run.best"), t("run.best_epoch")].map((title) =>
        element("th", { scope: "col", class: "number" }, title)))),
    element("tbody", {}, ...labels.map((label) => element("tr", {},
      element("th", { scope: "row" }, label),
      element("td", { class: "number" }, short(final[label])),
      element("td", { class: "number" }, Object.hasOwn(best, label) ? short(best[label].value) : "–"),
      element("td", { class: "number" }, Object.hasOwn(best, label) ? String(best[label].epoch) : "–")))))));
}

/** A number in two digits. */
function brief(value) {
  return value === 0 || Math.abs(value) >= 1e-3 ? plain(Number(value.toPrecision(2))) : value.toExponential(0);
}

const MEASURES = ["gradient", "update", "activation", "dead", "saturated"];

function showGradients(gradients, noticed) {
  if (!gradients) return [];
  if (gradients.damage) return section(t("run.gradients"), element("p", { class: "problem" }, gradients.damage));
  const place = element("div");
  const has = (name) => gradients.measures[name].flat().some((value) => typeof value === "number");
  const draw = (name) => place.replaceChildren(heatTable({
    caption: t("gradients.rows", { measure: t(`gradients.${name}`) }), corner: t("gradients.layer"),
    columns: gradients.epochs.map(String), rows: gradients.layers, values: gradients.measures[name],
    isLog: !["dead", "saturated"].includes(name),
    told: (value) => {
      const isShare = ["dead", "saturated"].includes(name);
      if (typeof value !== "number") return isShare ? "–" : value; // a layer without such units
      return isShare ? `${Math.round(100 * value)}%` : brief(value);
    },
  }));
  const names = MEASURES.filter(has);
  if (names.length) draw(names[0]);
  const few = gradients.epochs.length < gradients.num_epochs
    ? element("p", { class: "muted" }, t("gradients.some", { shown: gradients.epochs.length, count: gradients.num_epochs })) : null;
  return section(t("run.gradients"),
    // What was noticed of the run stands above already.
    ...gradients.findings.filter((text) => !noticed.includes(text)).map((text) => element("p", { class: "panel warn" }, text)),
    gradients.findings.length ? null : element("p", {}, t("gradients.fine")),
    element("label", { class: "row" }, t("gradients.measure"), element("select", {
      onchange: (event) => draw(event.target.value),
    }, ...names.map((name) => element("option", { value: name }, t(`gradients.${name}`))))),
    place, few);
}

function showPictures({ id, pictures, version }) {
  if (!pictures.length) return [];
  return section(t("run.pictures"), element("div", { class: "pictures" }, ...pictures.map((name) => {
    // A figure that is drawn anew has another address, so that the browser asks for it.
    const address = `/api/picture?${new URLSearchParams({ id, name, version: hash(version) })}`;
    const title = name.replace(/\.\w+$/, "").replace("inspect/", "").replace("-train", ` (${t("run.on_training")})`);
    const image = element("img", { src: address, alt: t("run.picture_of", { what: title }), loading: "lazy" });
    return element("figure", {}, element("figcaption", {}, title), element("a", { href: address, target: "_blank", rel: "noopener" }, image));
  })));
}

function hash(text) {
  let value = 0;
  for (const letter of text) value = (31 * value + letter.codePointAt(0)) >>> 0;
  return value.toString(36);
}

function showSettings({ settings }) {
  return section(t("run.settings"), element("div", { class: "columns" }, ...settings.map((group) =>
    element("div", { class: "panel" }, element("h3", {}, t(`settings.${group.kind}`)),
      group.name ? element("p", {}, group.name) : null, pairs(group.pairs)))));
}

function showCommands({ command: repeat, resume }) {
  return section(t("run.again"),
    element("p", {}, repeat ? t("run.repeat") : t("run.no_command")), repeat ? command(repeat) : null,
    ...(resume === null ? [] : resume.command
      ? [element("p", {}, t("run.resume")), command(resume.command)]
      : [element("p", { class: "muted" }, t("run.no_resume"))]));
}

function showFiles({ files, num_files: count, folder }) {
  return section(t("run.files"), element("p", { class: "muted" }, folder), fileList(files, count));
}
