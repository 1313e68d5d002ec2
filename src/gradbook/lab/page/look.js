// Looking at what a run has learned, in five parts. Without a run there are the activation functions.

import { element, clear } from "./dom.js";
import { get } from "./api.js";
import { t } from "./words.js";
import * as mistakes from "./look-mistakes.js";
import * as weights from "./look-weights.js";
import * as activations from "./look-activations.js";
import * as graph from "./look-graph.js";
import * as sharpness from "./look-sharpness.js";

// Each part is a module with `show(panel, context)`, which may return a function that ends it.
const PARTS = { mistakes, weights, activations, graph, sharpness };

// So long after the last change, the address follows.
const ADDRESS_MILLISECONDS = 300;

export async function show(container, { id, query }) {
  if (!id) {
    container.append(
      element("h1", {}, t("look.activations")), element("p", { class: "muted" }, t("look.no_run")));
    const panel = element("div", { class: "look-panel" });
    container.append(panel);
    const alone = contextOf("", query, null);
    activations.show(panel, alone);
    return alone.end;
  }
  const about = await get("/api/look/about", { run: id });
  const context = contextOf(id, query, about);
  const panel = element("div", { class: "look-panel", role: "tabpanel", id: "look-panel", tabindex: 0 });
  let end = null;
  const select = (part) => {
    context.setQuery({ part });
    for (const tab of tabs) {
      const isSelected = tab.dataset.part === part;
      tab.setAttribute("aria-selected", String(isSelected));
      tab.tabIndex = isSelected ? 0 : -1;
      if (isSelected) panel.setAttribute("aria-labelledby", tab.id);
    }
    context.abort();
    if (end) end();
    clear(panel);
    end = PARTS[part].show(panel, context) ?? null;
  };
  const tabs = Object.keys(PARTS).map((part) => element("button", {
    type: "button", role: "tab", id: `look-tab-${part}`, "data-part": part, "aria-controls": "look-panel",
    onclick: () => select(part),
  }, t(`look.${part}`)));
  const move = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const place = tabs.findIndex((tab) => tab.getAttribute("aria-selected") === "true");
    const next = tabs[(place + step + tabs.length) % tabs.length];
    next.focus();
    select(next.dataset.part);
  };
  const current = () => tabs.find((tab) => tab.getAttribute("aria-selected") === "true").dataset.part;
  container.append(
    element("p", {}, element("a", { href: `#/run/${id}` }, t("look.back", { run: about.name }))),
    element("h1", {}, t("look.title", { run: about.name })),
    element("p", { class: "muted" }, t("look.of", { model: about.model, data: about.data }), " ",
      t(`look.status.${about.status}`)),
    ...stateNotes(about),
    checkpointChoice(about, context, () => select(current())),
    element("div", { role: "tablist", class: "look-tabs", "aria-label": t("look.parts"), onkeydown: move }, ...tabs),
    panel);
  const wanted = query.get("part");
  select(Object.hasOwn(PARTS, wanted ?? "") ? wanted : "mistakes");
  return () => {
    context.end();
    if (end) end();
  };
}

function stateNotes(about) {
  const notes = [];
  if (about.status === "running") notes.push(t("look.note.running"));
  if (about.status === "diverged") notes.push(t("look.note.diverged"));
  if (!about.checkpoints.length) notes.push(t("look.note.no_checkpoint"));
  return notes.map((note) => element("p", { class: "look-note" }, note));
}

function checkpointChoice(about, context, changed) {
  if (about.checkpoints.length < 2) return "";
  const select = element("select", { onchange: () => {
    context.setQuery({ checkpoint: select.value });
    changed();
  } }, ...about.checkpoints.map(({ name, epoch }) => element("option", { value: name },
    epoch === null ? t(`look.checkpoint.${name}`)
      : t("look.checkpoint_epoch", { checkpoint: t(`look.checkpoint.${name}`), epoch }))));
  const names = about.checkpoints.map(({ name }) => name);
  const asked = context.query.get("checkpoint");
  select.value = names.includes(asked) ? asked : names.includes("best") ? "best" : "last";
  return element("p", {}, element("label", { class: "row" }, t("look.checkpoint"), " ", select));
}

/** What all parts share: the run, the address's query, and the requests that are under way. */
function contextOf(id, query, about) {
  let controller = new AbortController(), timer = null;
  return {
    id, about, query,
    get signal() { return controller.signal; },
    abort() {
      controller.abort();
      controller = new AbortController();
    },
    end() {
      clearTimeout(timer); // the address is another view's by now
      controller.abort();
    },
    get checkpoint() {
      const asked = query.get("checkpoint");
      const names = about ? about.checkpoints.map(({ name }) => name) : [];
      return names.includes(asked) ? asked : null;
    },
    /** Keeps settings in the address, so that a link leads to the same look. */
    setQuery(values) {
      for (const [name, value] of Object.entries(values)) {
        if (value === null || value === undefined) query.delete(name);
        else query.set(name, String(value));
      }
      // Not at each move of a slider: browsers refuse to change an address that often.
      clearTimeout(timer);
      timer = setTimeout(() => {
        const search = query.toString();
        history.replaceState(null, "", `#/look${id ? `/${id}` : ""}${search ? `?${search}` : ""}`);
      }, ADDRESS_MILLISECONDS);
    },
  };
}
