// The playground: a network that trains in sight, with everything that can be set beside it.
//
// What is set stands in the address, so that a link to it gives the same training to the last bit.

import { element, clear, announce } from "./dom.js";
import { t } from "./words.js";
import { session } from "./playground-session.js";
import { Controls } from "./playground-controls.js";
import { Picture } from "./playground-picture.js";
import { CurvePanels } from "./curves.js";
import { curvesOfTraining } from "./playground-curves.js";

// Steps a second; null takes as many as there can be.
const SPEEDS = { slow: 5, normal: 100, fast: null };
const NOT_SETTINGS = ["model", "data", "lr_at"];
const SECONDS_BETWEEN_WORDS = 2;
const AXES = { xscale: "linear", yscale: "linear", smoothing: 0, height: 190 };

/** What an address asks for. */
export function read(query) {
  const settings = {};
  for (const [name, text] of query) if (!NOT_SETTINGS.includes(name)) settings[name] = text;
  const changes = (query.get("lr_at") ?? "").split(",").filter(Boolean).map((part) => part.split(":").map(Number));
  return {
    model: query.get("model") ?? "",
    data: query.get("data") ?? "",
    settings,
    lr_at: changes.filter((change) => change.length === 2 && change.every(Number.isFinite)),
  };
}

/** The address of a training. */
export function written({ model, data, settings, lr_at: changes }) {
  const query = new URLSearchParams({ model, data, ...settings });
  if (changes.length) query.set("lr_at", changes.map((change) => change.join(":")).join(","));
  return `#/playground?${query.toString().replaceAll("%2C", ",").replaceAll("%3A", ":")}`;
}

const number = (value, digits = 4) => {
  if (value === null || value === undefined) return "NaN";
  return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(digits)));
};

export function show(container, { query }) {
  const view = new View(container);
  view.begin(read(query), query.size > 0); // what is wrong is told in the view
  return () => view.end();
}

class View {
  constructor(container) {
    this._wanted = { model: "", data: "", settings: {}, lr_at: [] };
    this._isRunning = false;
    this._lr = null; // the rate by now, where it was changed while the training went on
    this._saidAt = 0;
    this._draw(container);
  }

  // The parts of the page

  _draw(container) {
    const button = (name, action, attributes = {}) =>
      element("button", { type: "button", onclick: action, ...attributes }, t(`playground.${name}`));
    this._run = button("start", () => this._toggle(), { class: "primary big" });
    this._step = button("step", () => this._takeStep());
    this._reset = button("reset", () => this._resetAll());
    this._seed = button("new_seed", () => this._newSeed());
    this._keep = button("keep", () => this._order("keep"));
    this._speed = element("select", { id: "speed" }, ...Object.keys(SPEEDS).map((name) =>
      element("option", { value: name, selected: name === "normal" }, t(`playground.speed.${name}`))));
    this._speed.addEventListener("change", () => this._order("speed", SPEEDS[this._speed.value]));
    this._state = element("p", { class: "state number", "aria-live": "off" });
    this._kept = element("p", { class: "kept" });
    this._problem = element("div", { class: "problem told", role: "alert" });
    this._notes = element("ul", { class: "muted notes" });
    const bar = element("div", { class: "bar panel" },
      element("div", { class: "row" }, this._run, this._step, this._reset, this._seed,
        element("label", { for: "speed" }, t("playground.speed"), " ", this._speed), this._keep),
      this._state, this._kept);

    this._model = element("select", { id: "playground-model" });
    this._data = element("select", { id: "playground-data" });
    this._model.addEventListener("change", () => this._choose("model", this._model.value));
    this._data.addEventListener("change", () => this._choose("data", this._data.value));
    const settings = element("div", {});
    const choices = element("div", { class: "subject" },
      element("div", { class: "control" }, element("label", { for: "playground-model" }, t("playground.model")), this._model),
      element("div", { class: "control" }, element("label", { for: "playground-data" }, t("playground.data")), this._data));
    const controls = element("section", { class: "panel settings", "aria-label": t("playground.settings") }, choices, settings);

    const picture = element("section", { class: "panel sight", "aria-label": t("playground.picture") });
    const curves = element("section", { class: "panel lines", "aria-label": t("playground.curves") });
    container.append(
      element("h1", {}, t("nav.playground")),
      element("div", { class: "playground" },
        element("div", { class: "top" }, bar, this._problem, this._notes), controls, picture, curves),
      element("p", { class: "muted help" }, t("playground.keys")));

    this._controls = new Controls(settings, (name, text) => this._set(name, text));
    this._picture = new Picture(picture);
    this._panels = new CurvePanels(AXES);
    this._repeat = element("p", { class: "muted repeat" });
    this._changed = element("p", { class: "muted repeat" }, t("playground.changed"));
    this._changed.hidden = true;
    curves.append(element("p", { class: "muted help" }, t("curves.key")), this._panels.node, this._repeat, this._changed);
    this._onKey = (event) => this._key(event);
    document.addEventListener("keydown", this._onKey);
    this._container = container;
  }

  end() {
    document.removeEventListener("keydown", this._onKey);
    this._unwatch();
    this._isEnded = true;
    this._picture.end();
    this._panels.destroy();
  }

  // From begin to end

  async begin(wanted, isAsked) {
    this._unwatch = session.watch((news) => this._take(news), () => this._lost());
    this._showState({ name: "preparing" });
    const isSame = session.training >= 0 && session.parts.chosen
      && (!isAsked || written(this._chosen()) === written(wanted));
    try {
      await session.open();
    } catch (error) {
      this._tellProblem(error.message);
      return;
    }
    if (this._isEnded) return;
    if (isSame) {
      this._take({ ...session.parts, starts_anew: true });
    } else {
      this._wanted = wanted;
      await this._restart(false, wanted.lr_at);
    }
  }

  _chosen() {
    const { model, data, settings } = session.parts.chosen;
    return { model, data, settings, lr_at: session.parts.lr_at ?? [] };
  }

  async _lost() {
    this._tellProblem(t("playground.lost"));
    await this._restart(false, this._wanted.lr_at, t("playground.lost"));
  }

  /** Begins the training anew, with what the controls say. */
  async _restart(isRunning = this._isRunning, changes = [], problem = "") {
    this._wanted.lr_at = changes;
    this._isRunning = isRunning;
    const { model, data, settings, lr_at } = this._wanted;
    try {
      const speed = SPEEDS[this._speed.value];
      const begun = await session.start({ model, data, settings, lr_at, running: isRunning, speed });
      if (begun === session.training && session.parts.chosen) this._takeChosen(session.parts);
    } catch (error) {
      this._tellProblem(error.message);
      return;
    }
    if (problem) this._tellProblem(problem);
  }

  async _order(command, value = null) {
    try {
      await session.order(command, value);
    } catch (error) {
      this._tellProblem(error.message);
    }
  }

  // What a person does

  _isOver() {
    return ["finished", "diverged", "failed", "dead", "interrupted"].includes(session.parts.state?.name);
  }

  _toggle() {
    if (this._isOver()) {
      this._restart(true, this._wanted.lr_at);
      return;
    }
    this._isRunning = !this._isRunning;
    this._order(this._isRunning ? "run" : "pause");
    this._showState(session.parts.state);
  }

  _takeStep() {
    if (this._isOver()) return;
    this._isRunning = false;
    this._order("step", 1);
  }

  _newSeed() {
    const seed = Number(this._wanted.settings.seed ?? 1);
    this._set("seed", String((Number.isInteger(seed) ? seed : 0) + 1));
    this._controls.set("seed", this._wanted.settings.seed);
  }

  _choose(kind, name) {
    const settings = {};
    for (const control of session.parts.chosen?.controls ?? []) {
      // What belongs to the part that stays is kept, and so are the trainer's settings.
      const isKept = control.group !== kind && control.name in this._wanted.settings && control.name !== "max_epochs";
      if (isKept) settings[control.name] = this._wanted.settings[control.name];
    }
    this._wanted.settings = settings;
    this._wanted[kind] = name;
    this._restart(false);
  }

  _set(name, text) {
    const state = session.parts.state;
    if (name === "lr" && state?.step > 0 && !this._isOver() && this._canSetRate()) {
      this._setRate(text);
      return;
    }
    this._wanted.settings = { ...this._wanted.settings, [name]: text };
    if (this._lr !== null && name !== "lr") this._wanted.settings.lr = this._lr;
    this._lr = null;
    this._restart(this._isRunning && !this._isOver());
  }

  /** Whether the rate can be set while the training goes on. */
  _canSetRate() {
    return (this._wanted.settings.scheduler ?? "none") === "none";
  }

  _setRate(text) {
    const rate = Number(text);
    if (!Number.isFinite(rate) || rate < 0 || text === "") {
      this._tellProblem(t("playground.no_rate", { text }));
      return;
    }
    this._lr = text;
    this._order("lr", rate);
  }

  _key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const target = event.target;
    if (target.closest?.("input:not([type=range]), select, textarea")) return;
    if (event.key === " ") {
      if (target.closest?.("button, summary, a")) return;
      event.preventDefault();
      this._toggle();
    } else if (event.key === "s") {
      this._takeStep();
    } else if (event.key === "r") {
      this._resetAll();
    }
  }

  // What the process tells

  _take(news) {
    const parts = session.parts;
    if (news.starts_anew) {
      this._lr = null;
      clear(this._notes);
      clear(this._kept);
      clear(this._repeat);
      this._keep.hidden = false;
      this._tellProblem("");
    }
    if ("own" in news || "chosen" in news) this._takeChosen(parts);
    if ("lr_at" in news) {
      this._wanted.lr_at = news.lr_at;
      this._writeAddress();
    }
    if ("problem" in news || "postmortem" in news || "refused" in news || "unloaded" in news) {
      // The post-mortem says all that the first word of a divergence does.
      this._tellProblem(parts.postmortem ?? parts.problem, parts.refused, ...(parts.unloaded ?? []));
    }
    if ("notes" in news) {
      clear(this._notes);
      this._notes.append(...news.notes.map((note) => element("li", {}, note)));
    }
    if ("kept" in news && news.kept) this._tellKept(news.kept);
    if ("repeat" in news) {
      clear(this._repeat);
      this._repeat.append(t("playground.repeat"), " ", element("code", {}, news.repeat));
    }
    this._changed.hidden = !parts.lr_at?.length;
    if ("state" in news) this._showState(news.state);
    if (news.points?.length || news.starts_anew) this._panels.show(curvesOfTraining(session.curves), "");
    // Until the next picture is there, the last one stays.
    if ("picture" in parts) this._picture.show(parts.picture, parts.frame ?? null, session.training);
    this._describe();
  }

  _takeChosen(parts) {
    if (!parts.chosen) return;
    const { model, data, settings } = parts.chosen;
    const own = parts.own ?? { model: [], data: [] };
    this._fill(this._model, own.model, session.models, model);
    this._fill(this._data, own.data, session.data, data);
    // While a further training is on its way, what a person has set since is not of this one.
    if (session.isBusy) return;
    this._wanted = { ...this._wanted, model, data, settings: { ...settings } };
    this._controls.show(parts.chosen, { model: own.model.includes(model), data: own.data.includes(data) });
    this._writeAddress();
  }

  _fill(select, own, finished, chosen) {
    const names = JSON.stringify([own, Object.keys(finished)]);
    if (select.dataset.names !== names) {
      select.dataset.names = names;
      clear(select);
      select.append(...own.map((name) => element("option", { value: name }, name)),
        ...Object.entries(finished).map(([name, text]) => element("option", { value: name, title: text }, name)));
    }
    select.value = chosen;
  }

  _writeAddress() {
    const address = written(this._wanted);
    if (location.hash.startsWith("#/playground") && location.hash !== address) history.replaceState(null, "", address);
  }

  _tellProblem(...texts) {
    const told = texts.filter(Boolean);
    const text = told.join("\n");
    if (this._problem.dataset.text === text) return;
    this._problem.dataset.text = text;
    clear(this._problem);
    this._problem.append(...told.map((one) => element("p", {}, one)));
  }

  _tellKept(kept) {
    this._keep.hidden = true;
    clear(this._kept);
    this._kept.append(`${t("playground.kept")} `, element("a", { href: `#/run/${kept.id}` }, kept.name),
      element("span", { class: "muted" }, ` ${t("playground.kept_on")}`));
    announce(`${t("playground.kept")} ${kept.name}`);
  }

  _showState(state) {
    if (!state) return;
    this._isRunning = state.name === "running" || (state.name === "preparing" && this._isRunning);
    const isOver = this._isOver();
    this._run.textContent = t(isOver ? "playground.again" : this._isRunning ? "playground.pause" : "playground.start");
    this._step.disabled = isOver || state.name === "preparing";
    this._keep.disabled = !(state.step > 0);
    const parts = [t(`playground.state.${state.name}`)];
    if (state.step !== undefined) {
      parts.push(t("playground.at", { step: state.step, epoch: state.epoch.toFixed(1), max: state.max_epochs }));
      if (state.lr !== null) parts.push(t("playground.rate", { rate: number(state.lr) }));
      parts.push(t("playground.parameters", { count: state.num_parameters }));
    }
    this._state.textContent = parts.join(" · ");
    if (state.lr !== undefined && state.lr !== null && session.parts.lr_at?.length) {
      this._lr = number(state.lr, 12);
      this._controls.set("lr", this._lr);
    }
    if (this._saidState !== state.name) {
      this._saidState = state.name;
      announce(t(`playground.state.${state.name}`));
    }
  }

  /** The picture in words, not more often than can be listened to. */
  _describe() {
    const now = performance.now();
    if (now - this._saidAt < SECONDS_BETWEEN_WORDS * 1000 && this._isRunning) return;
    this._saidAt = now;
    const { chosen, state } = session.parts;
    if (!chosen || !state) return;
    const last = Object.entries(session.curves.point)
      .map(([label, line]) => `${label} ${number(line.y.at(-1))}`).join(", ");
    this._picture.describe(t("playground.described", {
      model: chosen.model, data: chosen.data, step: state.step ?? 0, values: last,
    }));
  }

  _resetAll() {
    if (this._lr) this._wanted.settings = { ...this._wanted.settings, lr: this._lr };
    this._restart(this._isRunning && !this._isOver());
  }
}
