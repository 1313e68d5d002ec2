// The picture of a model: regions in a plane, a line through points, or samples with what they are
// taken for; and what each hidden unit makes of the plane.

import { element, clear } from "./dom.js";
import { t } from "./words.js";

// Colors that color-blind people tell apart (Okabe and Ito), as in the library's figures.
const COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999", "#f0e442"];
const PAD = 26;

function rgb(color) {
  return [1, 3, 5].map((place) => parseInt(color.slice(place, place + 2), 16));
}

const RGB = COLORS.map(rgb);
const WHITE = [255, 255, 255];
const VIRIDIS = ["#440154", "#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#a0da39", "#fde725"].map(rgb);

function decode(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

function styleOf(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** The color of a class for lines and markers: lighter on a dark page. */
function markColor(index) {
  const isDark = document.documentElement.dataset.theme === "dark";
  return `rgb(${mixed(RGB[index % RGB.length], WHITE, isDark ? 0.35 : 0).map(Math.round).join()})`;
}

const mixed = (one, other, part) => one.map((value, index) => value + (other[index] - value) * part);

function viridis(part) {
  const place = part * (VIRIDIS.length - 1);
  const low = Math.min(Math.floor(place), VIRIDIS.length - 2);
  return mixed(VIRIDIS[low], VIRIDIS[low + 1], place - low);
}

/** A canvas of side x side points, rows from the lowest, colored by `color(index)`. */
function raster(side, color) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = side;
  const context = canvas.getContext("2d");
  const image = context.createImageData(side, side);
  for (let index = 0; index < side * side; index += 1) {
    const row = side - 1 - Math.floor(index / side);
    const place = 4 * (row * side + (index % side));
    const [r, g, b] = color(index);
    image.data[place] = r;
    image.data[place + 1] = g;
    image.data[place + 2] = b;
    image.data[place + 3] = 255;
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

/** Sets a canvas to the size that it has on the screen, and gives its context in CSS pixels. */
function fitted(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return context;
}

// A marker for each class besides its color.
const MARKERS = [
  (c, x, y, r) => c.arc(x, y, r, 0, 2 * Math.PI),
  (c, x, y, r) => c.rect(x - r * 0.9, y - r * 0.9, r * 1.8, r * 1.8),
  (c, x, y, r) => polygon(c, x, y, r * 1.25, 3, -Math.PI / 2),
  (c, x, y, r) => polygon(c, x, y, r * 1.2, 4, 0),
  (c, x, y, r) => polygon(c, x, y, r * 1.25, 3, Math.PI / 2),
  (c, x, y, r) => polygon(c, x, y, r * 1.1, 5, -Math.PI / 2),
  (c, x, y, r) => polygon(c, x, y, r * 1.1, 6, 0),
  (c, x, y, r) => polygon(c, x, y, r * 1.1, 8, 0),
];

function polygon(c, x, y, r, corners, begin) {
  for (let index = 0; index < corners; index += 1) {
    const angle = begin + (2 * Math.PI * index) / corners;
    c.lineTo(x + r * Math.cos(angle), y + r * Math.sin(angle));
  }
  c.closePath();
}

/** Draws what the process says of a model. `show(fixed, frame)` may be called at any rate. */
export class Picture {
  constructor(container) {
    this._canvas = element("canvas", { class: "plane", role: "img", "aria-label": t("playground.picture") });
    this._samples = element("div", { class: "samples" });
    this._units = element("div", { class: "units" });
    this._legend = element("p", { class: "legend muted" });
    this._empty = element("p", { class: "muted" }, t("playground.no_picture"));
    for (const part of [this._canvas, this._samples, this._units, this._empty]) part.hidden = true;
    container.append(this._canvas, this._samples, this._legend, this._units, this._empty);
    this._container = container;
    this._fixed = this._frame = undefined;
    this._layer = null;
    this._isWanted = false;
    this._observer = new ResizeObserver(() => this.redraw());
    this._observer.observe(container);
    this._redraw = () => this.redraw();
    window.addEventListener("themechange", this._redraw);
  }

  end() {
    this._observer.disconnect();
    window.removeEventListener("themechange", this._redraw);
  }

  /** What a screen reader says of the picture. */
  describe(text) {
    this._canvas.setAttribute("aria-label", text);
  }

  show(fixed, frame, training) {
    if (fixed !== this._fixed) this._layer = null;
    this._fixed = fixed;
    this._frame = frame;
    this._training = training;
    if (this._isWanted) return;
    this._isWanted = true;
    requestAnimationFrame(() => {
      this._isWanted = false;
      this._draw();
    });
  }

  redraw() {
    this._layer = null;
    this._samplesOf = null;
    if (this._container.isConnected && this._fixed !== undefined) this.show(this._fixed, this._frame, this._training);
  }

  _draw() {
    const kind = this._fixed?.kind;
    this._canvas.hidden = kind !== "plane" && kind !== "line";
    this._samples.hidden = kind !== "samples";
    this._units.hidden = kind !== "plane" || !this._frame?.units?.length;
    this._empty.hidden = kind !== undefined;
    if (kind === "plane") this._drawPlane();
    else if (kind === "line") this._drawLine();
    else if (kind === "samples") this._drawSamples();
    if (kind === undefined || kind === "samples") this._legend.textContent = "";
    // For who asks which training is on the screen.
    this._container.dataset.training = this._training ?? "";
    this._container.dataset.step = this._frame?.step ?? "";
  }

  _sized() {
    const width = Math.max(this._container.clientWidth, 100);
    const side = Math.min(width, Math.max(window.innerHeight * 0.62, 260));
    this._canvas.style.width = this._canvas.style.height = `${side}px`;
    return side;
  }

  _drawPlane() {
    const side = this._sized();
    const context = fitted(this._canvas, side, side);
    const { classes, low, high } = this._fixed;
    context.clearRect(0, 0, side, side);
    const inner = { left: PAD, top: 8, size: side - PAD - 8 };
    if (this._frame) {
      context.imageSmoothingEnabled = true;
      context.drawImage(this._regions(), inner.left, inner.top, inner.size, inner.size);
    }
    if (!this._layer) {
      this._layer = document.createElement("canvas");
      const over = fitted(this._layer, side, side);
      const place = ([x, y]) => [
        inner.left + ((x - low[0]) / (high[0] - low[0])) * inner.size,
        inner.top + inner.size - ((y - low[1]) / (high[1] - low[1])) * inner.size,
      ];
      this._drawExamples(over, place, classes, side);
      this._drawAxes(over, inner, low, high);
      this._tellLegend(classes);
    }
    context.drawImage(this._layer, 0, 0, side, side);
    this._drawUnits();
  }

  _regions() {
    const page = rgb(styleOf("--page"));
    const { side } = this._frame;
    if (this._frame.values) {
      const values = decode(this._frame.values);
      return raster(side, (index) => viridis(values[index] / 255));
    }
    const classes = decode(this._frame.classes);
    const certainty = decode(this._frame.certainty);
    const least = 1 / Math.max(this._fixed.classes.length, 2);
    return raster(side, (index) => {
      const sure = Math.max((certainty[index] / 255 - least) / (1 - least), 0);
      return mixed(page, RGB[classes[index] % RGB.length], 0.12 + 0.5 * sure);
    });
  }

  _drawExamples(context, place, classes, side) {
    const radius = Math.max(Math.min(side / 130, 6), 3);
    const [page, text] = [styleOf("--page"), styleOf("--text")];
    for (const name of ["train", "val"]) {
      const set = this._fixed.sets[name];
      if (!set) continue;
      set.X.forEach((point, index) => {
        const [x, y] = place(point);
        const label = set.y[index];
        const color = classes.length
          ? markColor(label)
          : `rgb(${viridis(this._share(label)).map(Math.round).join()})`;
        context.beginPath();
        MARKERS[classes.length ? label % MARKERS.length : 0](context, x, y, radius);
        context.lineWidth = name === "train" ? 1 : 1.6;
        if (name === "train") {
          context.fillStyle = color;
          context.fill();
          context.strokeStyle = classes.length ? page : text;
        } else {
          context.fillStyle = page;
          context.fill();
          context.strokeStyle = color;
        }
        context.stroke();
      });
    }
  }

  _share(value) {
    const [low, high] = this._fixed.values;
    return Math.min(Math.max((value - low) / (high - low || 1), 0), 1);
  }

  _drawAxes(context, inner, low, high) {
    context.font = `12px ${getComputedStyle(document.body).fontFamily}`;
    context.fillStyle = styleOf("--muted");
    context.strokeStyle = styleOf("--line");
    context.lineWidth = 1;
    context.strokeRect(inner.left + 0.5, inner.top + 0.5, inner.size - 1, inner.size - 1);
    const marks = (from, to) => {
      const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100].find((size) => (to - from) / size <= 6) ?? (to - from) / 4;
      const found = [];
      for (let mark = Math.ceil(from / step) * step; mark <= to; mark += step) found.push(Number(mark.toPrecision(6)));
      return found;
    };
    context.textAlign = "center";
    context.textBaseline = "top";
    for (const mark of marks(low[0], high[0])) {
      context.fillText(String(mark), inner.left + ((mark - low[0]) / (high[0] - low[0])) * inner.size, inner.top + inner.size + 4);
    }
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (const mark of marks(low[1], high[1])) {
      context.fillText(String(mark), inner.left - 4, inner.top + inner.size - ((mark - low[1]) / (high[1] - low[1])) * inner.size);
    }
  }

  _tellLegend(classes) {
    const signs = ["●", "■", "▲", "◆", "▼", "⬟", "⬢", "⯃"];
    clear(this._legend);
    classes.slice(0, 12).forEach((name, index) => {
      const sign = element("span", { "aria-hidden": "true" }, signs[index % signs.length]);
      sign.style.color = markColor(index);
      this._legend.append(element("span", { class: "key" }, sign, ` ${t("playground.class", { name })}`));
    });
    this._legend.append(element("span", { class: "key" }, t("playground.filled")));
  }

  _drawUnits() {
    const layers = this._frame?.units ?? [];
    while (this._units.children.length > layers.length) this._units.lastChild.remove();
    const [page, low, high] = [rgb(styleOf("--page")), RGB[1], RGB[0]];
    layers.forEach((layer, place) => {
      let row = this._units.children[place];
      if (!row) {
        row = element("div", { class: "unit-layer" }, element("span", { class: "muted" }), element("canvas", { "aria-hidden": "true" }));
        this._units.append(row);
      }
      const [text, canvas] = row.children;
      const tiles = decode(layer.tiles);
      const size = layer.side;
      const shown = tiles.length / (size * size);
      const key = shown < layer.num ? "playground.some_units" : "playground.units";
      text.textContent = t(key, { number: place + 1, count: layer.num, shown });
      const box = Math.min(44, Math.floor((this._container.clientWidth - 4 * shown) / Math.max(shown, 1)));
      canvas.style.width = `${shown * (box + 4)}px`;
      canvas.style.height = `${box}px`;
      const context = fitted(canvas, shown * (box + 4), box);
      context.clearRect(0, 0, shown * (box + 4), box);
      for (let unit = 0; unit < shown; unit += 1) {
        const begin = unit * size * size;
        const tile = raster(size, (index) => {
          const value = (tiles[begin + index] - 128) / 127;
          return mixed(page, value > 0 ? high : low, Math.min(Math.abs(value), 1) * 0.9);
        });
        context.drawImage(tile, unit * (box + 4), 0, box, box);
        context.strokeStyle = styleOf("--line");
        context.strokeRect(unit * (box + 4) + 0.5, 0.5, box - 1, box - 1);
      }
    });
  }

  _drawLine() {
    const side = this._sized();
    const context = fitted(this._canvas, side, side);
    const { x, sets } = this._fixed;
    const ys = Object.values(sets).flatMap((set) => set.y);
    const [least, most] = [Math.min(...ys), Math.max(...ys)];
    const margin = 0.15 * (most - least) || 1;
    const low = [x[0], least - margin];
    const high = [x.at(-1), most + margin];
    const inner = { left: PAD + 6, top: 8, size: side - PAD - 14 };
    const place = ([a, b]) => [
      inner.left + ((a - low[0]) / (high[0] - low[0])) * inner.size,
      inner.top + inner.size - ((b - low[1]) / (high[1] - low[1])) * inner.size,
    ];
    context.clearRect(0, 0, side, side);
    this._drawAxes(context, inner, low, high);
    context.save();
    context.beginPath();
    context.rect(inner.left, inner.top, inner.size, inner.size);
    context.clip();
    for (const name of ["train", "val"]) {
      sets[name]?.X.forEach((a, index) => {
        context.beginPath();
        MARKERS[0](context, ...place([a, sets[name].y[index]]), 3.5);
        context.globalAlpha = 0.75;
        context.strokeStyle = context.fillStyle = markColor(0);
        if (name === "train") context.fill();
        else context.stroke();
        context.globalAlpha = 1;
      });
    }
    if (this._frame) {
      context.beginPath();
      this._frame.y.forEach((b, index) => context.lineTo(...place([x[index], b])));
      context.strokeStyle = markColor(1);
      context.lineWidth = 3;
      context.stroke();
    }
    context.restore();
    this._legend.textContent = t("playground.line_legend");
  }

  _drawSamples() {
    const { height, width, images, labels, classes } = this._fixed;
    if (this._samplesOf !== this._fixed) {
      this._samplesOf = this._fixed;
      clear(this._samples);
      for (const [index, text] of images.entries()) {
        const canvas = element("canvas", { width, height, role: "img", "aria-label": classes[labels[index]] });
        const context = canvas.getContext("2d");
        const image = context.createImageData(width, height);
        decode(text).forEach((value, place) => image.data.set([value, value, value, 255], 4 * place));
        context.putImageData(image, 0, 0);
        this._samples.append(element("figure", {}, canvas, element("figcaption", {})));
      }
    }
    [...this._samples.children].forEach((figure, index) => {
      const caption = figure.lastChild;
      const truth = classes[labels[index]] ?? labels[index];
      if (!this._frame) {
        caption.textContent = truth;
        return;
      }
      const predicted = this._frame.predicted[index];
      const name = classes[predicted] ?? predicted;
      const percent = Math.round(100 * this._frame.certainty[index]);
      const isRight = predicted === labels[index];
      figure.classList.toggle("wrong", !isRight);
      caption.textContent = isRight
        ? t("playground.right", { name, percent })
        : t("playground.wrong", { name, percent, truth });
    });
  }
}
