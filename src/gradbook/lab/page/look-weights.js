// The first layer's weights as images, epoch by epoch.

import { element } from "./dom.js";
import { t } from "./words.js";
import { ask, warningsOf } from "./look-ask.js";
import { bytesOf, dataTable, divergingColor, number, slider } from "./look-draw.js";

const MIDDLE = 128, REACH = 127;

// The seconds that a frame is shown while it plays.
const FRAME_SECONDS = 0.25;

const COLORS = Array.from({ length: 256 }, (_, byte) => divergingColor((byte - MIDDLE) / REACH));

export function show(panel, context) {
  const place = element("div");
  panel.append(element("p", {}, t("look.weights.intro")), place);
  let stop = null;
  const load = async () => {
    const film = await ask(place, context, "weights", {}, load);
    if (film) stop = player(place, film);
  };
  load();
  return () => stop?.();
}

function player(place, film) {
  const [numImages, height, width] = film.shape;
  const frames = film.frames.map(bytesOf);
  const limit = Math.max(...film.limits) || 1;
  const images = Array.from({ length: numImages }, (_, unit) => {
    const canvas = element("canvas", { width, height, class: "look-weight", role: "img" });
    const name = film.names[unit] ?? (film.has_units ? t("look.unit", { unit: unit + 1 }) : film.layer);
    if (!film.has_units) canvas.classList.add("look-matrix");
    return { canvas, name, data: new ImageData(width, height), node: element("li", {}, canvas, element("span", {}, name)) };
  });
  const label = (frame) => {
    const epoch = t("look.epoch", { epoch: film.epochs[frame] });
    return film.labels[frame] ? `${epoch} (${t(`look.checkpoint.${film.labels[frame]}`)})` : epoch;
  };
  let current = film.epochs.length - 1, timer = null;
  const draw = (frame) => {
    current = frame;
    const bytes = frames[frame], size = height * width;
    const factor = film.limits[frame] / limit; // one scale for all epochs
    const lookup = COLORS.map((_, byte) => COLORS[Math.round(MIDDLE + (byte - MIDDLE) * factor)]);
    for (const [unit, { canvas, data, name }] of images.entries()) {
      let largest = 0;
      for (let pixel = 0; pixel < size; pixel += 1) {
        const byte = bytes[unit * size + pixel];
        const [r, g, b] = byte === 0 ? [0, 0, 0] : lookup[byte];
        data.data.set([r, g, b, 255], 4 * pixel);
        if (byte) largest = Math.max(largest, Math.abs(byte - MIDDLE));
      }
      canvas.getContext("2d").putImageData(data, 0, 0);
      const text = number((largest / REACH) * film.limits[frame], 3);
      canvas.setAttribute("aria-label", t("look.unit_label", { unit: name, largest: text }));
    }
  };
  const control = slider({ label: t("look.weights.frame"), min: 0, max: frames.length - 1, step: 1, value: current,
    text: label, changed: (frame) => {
      pause();
      draw(frame);
    } });
  const go = (frame) => {
    control.refresh(frame);
    draw(frame);
  };
  const playButton = element("button", { type: "button", class: "primary", onclick: () => (timer ? pause() : play()) }, t("look.play"));
  const pause = () => {
    clearInterval(timer);
    timer = null;
    playButton.textContent = t("look.play");
  };
  const play = () => {
    if (current === frames.length - 1) go(0);
    playButton.textContent = t("look.pause");
    timer = setInterval(() => {
      if (current === frames.length - 1) pause();
      else go(current + 1);
    }, 1000 * FRAME_SECONDS);
  };
  const step = (by) => () => {
    pause();
    go(Math.max(0, Math.min(frames.length - 1, current + by)));
  };
  draw(current);
  const full = film.full_shape.join(" × ");
  const about = film.has_units ? t("look.weights.units", { layer: film.layer, shown: numImages, count: film.num_units, shape: full })
    : t("look.weights.matrix", { layer: film.layer, shape: full });
  const isSmaller = full !== `${height} × ${width}`;
  place.append(...warningsOf(film),
    element("p", {}, about, isSmaller ? ` ${t("look.weights.smaller", { shape: `${height} × ${width}` })}` : ""),
    film.source === "checkpoints" ? element("p", { class: "look-note" }, t("look.weights.no_film")) : "",
    element("div", { class: "row look-controls" }, playButton,
      element("button", { type: "button", onclick: step(-1) }, t("look.previous")),
      element("button", { type: "button", onclick: step(1) }, t("look.next")), control.node),
    scaleOf(limit),
    element("ul", { class: film.has_units ? "look-weights" : "look-weights look-single" }, ...images.map(({ node }) => node)),
    dataTable(t("look.as_table"), [
      { title: t("look.weights.frame"), cell: (row) => label(row.frame) },
      { title: t("look.weights.largest"), isNumber: true, cell: (row) => number(film.limits[row.frame]) },
      { title: t("look.weights.rms"), isNumber: true, cell: (row) => number(row.rms) },
      { title: t("look.weights.moved"), isNumber: true, cell: (row) => number(row.moved) },
    ], statistics(frames, film.limits)));
  return pause;
}

// The root mean square of the weights shown, and of how far they are from those of the first frame.
function statistics(frames, limits) {
  const value = (frame, place) => (frames[frame][place] ? ((frames[frame][place] - MIDDLE) / REACH) * limits[frame] : NaN);
  return frames.map((bytes, frame) => {
    let squares = 0, moves = 0;
    for (let place = 0; place < bytes.length; place += 1) {
      squares += value(frame, place) ** 2;
      moves += (value(frame, place) - value(0, place)) ** 2;
    }
    return { frame, rms: Math.sqrt(squares / bytes.length), moved: Math.sqrt(moves / bytes.length) };
  });
}

function scaleOf(limit) {
  const canvas = element("canvas", { width: 255, height: 1, class: "look-scale", "aria-hidden": "true" });
  const data = new ImageData(255, 1);
  for (let byte = 1; byte < 256; byte += 1) data.data.set([...COLORS[byte], 255], 4 * (byte - 1));
  canvas.getContext("2d").putImageData(data, 0, 0);
  return element("p", { class: "row look-scale-row" }, element("span", { class: "number" }, number(-limit, 3)), canvas,
    element("span", { class: "number" }, number(limit, 3)), element("span", { class: "muted" }, t("look.weights.scale")));
}
