// The controls: what can be set, made from what the process says of the model's and the data's classes.

import { element, clear } from "./dom.js";
import { t } from "./words.js";

// What stands in sight for the library's own classes; other settings are folded away.
const IN_SIGHT = new Set([
  "num_hiddens", "activation", "dropout", "lr", "optimizer", "batch_size", "noise", "num_classes",
  "seed", "num_train",
]);
const STEPS = 1000;
const MOST_LAYERS = 8;

/** The place of a value on its slider, from 0 to STEPS. */
export function placeOf(value, slider) {
  const { low, high, scale } = slider;
  const clamped = Math.min(Math.max(value, low), high);
  const part = scale === "log"
    ? Math.log(clamped / low) / Math.log(high / low)
    : (clamped - low) / (high - low);
  return Math.round(part * STEPS);
}

/** The value of a place on a slider, as text: two digits of a number, or a whole number. */
export function valueAt(place, slider, isWhole) {
  const { low, high, scale } = slider;
  const part = place / STEPS;
  const value = scale === "log" ? low * (high / low) ** part : low + (high - low) * part;
  return String(isWhole ? Math.round(value) : Number(value.toPrecision(2)));
}

function labelOf(name) {
  const key = `playground.setting.${name}`;
  const text = t(key);
  return text === key ? name : text;
}

function field(control, id, ...inputs) {
  const help = control.help ? element("span", { id: `${id}-help`, class: "hidden" }, control.help) : null;
  return element("div", { class: "control", title: control.help || null },
    element("label", { for: id }, labelOf(control.name)), ...inputs, help);
}

const describedBy = (control, id) => (control.help ? `${id}-help` : null);

function numberField(control, id, value, change) {
  const isWhole = control.kind === "int";
  const number = element("input", {
    id, type: "text", inputmode: "decimal", autocomplete: "off", class: "exact", value,
    "aria-describedby": describedBy(control, id),
  });
  const slider = control.slider && element("input", {
    type: "range", min: 0, max: STEPS, step: 1, value: placeOf(Number(value) || 0, control.slider),
    "aria-label": labelOf(control.name), "aria-valuetext": value, id: `${id}-slider`,
  });
  number.addEventListener("change", () => {
    if (slider) slider.value = placeOf(Number(number.value) || 0, control.slider);
    change(number.value.trim());
  });
  slider?.addEventListener("input", () => {
    number.value = valueAt(Number(slider.value), control.slider, isWhole);
    slider.setAttribute("aria-valuetext", number.value);
    change(number.value);
  });
  const set = (text) => {
    number.value = text;
    if (slider) slider.value = placeOf(Number(text) || 0, control.slider);
  };
  return { node: field(control, id, element("span", { class: "pair" }, slider, number)), set };
}

function choiceField(control, id, value, change) {
  const key = control.name === "optimizer" ? "playground.none.optimizer" : "playground.none";
  const shown = (choice) => (choice === "none" ? t(key) : choice);
  const select = element("select", { id, "aria-describedby": describedBy(control, id) },
    ...control.choices.map((choice) =>
      element("option", { value: choice, selected: choice === value }, shown(choice))));
  select.addEventListener("change", () => change(select.value));
  return { node: field(control, id, select), set: (text) => { select.value = text; } };
}

function switchField(control, id, value, change) {
  const box = element("input", {
    id, type: "checkbox", checked: value === "true", "aria-describedby": describedBy(control, id),
  });
  box.addEventListener("change", () => change(String(box.checked)));
  return { node: field(control, id, box), set: (text) => { box.checked = text === "true"; } };
}

function textField(control, id, value, change) {
  const input = element("input", {
    id, type: "text", autocomplete: "off", value, "aria-describedby": describedBy(control, id),
  });
  input.addEventListener("change", () => change(input.value.trim()));
  return { node: field(control, id, input), set: (text) => { input.value = text; } };
}

/** The widths of the hidden layers: a slider for each layer, and how many layers there are. */
function widthsField(control, id, value, change) {
  const list = element("div", { class: "layers" });
  const read = (text) => text.split(",").map(Number).filter((width) => width >= 1);
  let widths = read(value);

  function draw() {
    clear(list);
    widths.forEach((width, index) => {
      const name = t("playground.layer", { number: index + 1 });
      const single = { ...control, kind: "int", name, help: "" };
      const made = numberField(single, `${id}-${index}`, String(width), (text) => {
        widths[index] = Number(text) || widths[index];
        change(widths.join(","));
      });
      list.append(made.node);
    });
    fewer.disabled = widths.length <= 1;
    more.disabled = widths.length >= MOST_LAYERS;
    count.textContent = t("playground.layers", { count: widths.length });
  }
  function resize(by) {
    widths = by > 0 ? [...widths, widths.at(-1) ?? 8] : widths.slice(0, -1);
    draw();
    change(widths.join(","));
  }
  const fewer = element("button", { type: "button", "aria-label": t("playground.fewer_layers"), onclick: () => resize(-1) }, "−");
  const more = element("button", { type: "button", "aria-label": t("playground.more_layers"), onclick: () => resize(1) }, "+");
  const count = element("span", { "aria-live": "polite" });
  const node = element("fieldset", { class: "widths", id, title: control.help || null },
    element("legend", {}, labelOf(control.name)),
    element("div", { class: "pair" }, fewer, count, more), list);
  draw();
  const set = (text) => {
    const wanted = read(text);
    if (wanted.join() === widths.join()) return;
    widths = wanted;
    draw();
  };
  return { node, set };
}

const FIELDS = {
  int: numberField, float: numberField, choice: choiceField, bool: switchField, text: textField,
  widths: widthsField,
};

/**
 * Shows the controls of a training, and keeps the ones that are there when they are the same.
 * `change(name, text)` is called for what a person sets.
 */
export class Controls {
  constructor(container, change) {
    this._container = container;
    this._change = change;
    this._drawn = "";
    this._fields = {};
  }

  show(chosen, isOwn) {
    const drawn = JSON.stringify([chosen.controls, chosen.model, chosen.data, document.documentElement.lang]);
    const valueOf = (control) => chosen.settings[control.name] ?? control.begin ?? control.default ?? "";
    if (drawn === this._drawn) {
      for (const control of chosen.controls) {
        const one = this._fields[control.name];
        if (!one.node.contains(document.activeElement)) one.set(valueOf(control));
      }
      return;
    }
    this._drawn = drawn;
    this._fields = {};
    clear(this._container);
    const sections = { data: t("playground.data"), model: t("playground.model"), trainer: t("playground.training") };
    const sectionOf = (control) => (control.name === "lr" || control.group === "run" ? "trainer" : control.group);
    const order = ["lr", "optimizer"];
    const placeIn = (control) => (order.includes(control.name) ? order.indexOf(control.name) : order.length);
    const folded = [];
    for (const [group, title] of Object.entries(sections)) {
      const members = chosen.controls.filter((control) => sectionOf(control) === group)
        .sort((one, other) => placeIn(one) - placeIn(other));
      const nodes = [];
      for (const control of members) {
        const id = `setting-${control.name}`;
        const made = FIELDS[control.kind](control, id, valueOf(control), (text) => this._change(control.name, text));
        this._fields[control.name] = made;
        const isInSight = IN_SIGHT.has(control.name) || (isOwn[group] ?? false);
        (isInSight ? nodes : folded).push(made.node);
      }
      if (nodes.length) this._container.append(element("h2", {}, title), ...nodes);
    }
    if (folded.length) {
      this._container.append(element("details", {}, element("summary", {}, t("playground.more")), ...folded));
    }
  }

  /** Shows another value of a setting, if its field has not the focus. */
  set(name, text) {
    const one = this._fields[name];
    if (one && !one.node.contains(document.activeElement)) one.set(text);
  }
}
