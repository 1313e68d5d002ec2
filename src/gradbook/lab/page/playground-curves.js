// The curves of the playground's training, for the charts that runs have. They are thinned here: nothing
// of a training that is not kept lies in a file.

import { curvesOfRun } from "./curves.js";

const MOST_POINTS = 1200;

/** Fewer points that look the same: of each part the lowest and the highest. */
export function thinned({ x, y }) {
  if (x.length <= MOST_POINTS) return { x, y, num: x.length };
  const size = Math.ceil((2 * x.length) / MOST_POINTS);
  const [xs, ys] = [[], []];
  for (let begin = 0; begin < x.length; begin += size) {
    let [low, high] = [begin, begin];
    for (let index = begin; index < Math.min(begin + size, x.length); index += 1) {
      if (y[index] < y[low]) low = index;
      if (y[index] > y[high]) high = index;
    }
    for (const index of low === high ? [low] : [Math.min(low, high), Math.max(low, high)]) {
      xs.push(x[index]);
      ys.push(y[index]);
    }
  }
  return { x: xs, y: ys, num: x.length };
}

function between({ x, y }, from, to) {
  const begin = x.findIndex((place) => place >= from);
  const end = x.findLastIndex((place) => place <= to) + 1;
  return begin < 0 ? { x: [], y: [] } : { x: x.slice(begin, end), y: y.slice(begin, end) };
}

/** What a chart draws of a training; `curves` are those of its session. */
export function curvesOfTraining(curves) {
  const all = (lines) => Object.fromEntries(Object.entries(lines).map(([label, line]) => [label, thinned(line)]));
  const piece = (kind, label) => async (from, to) => thinned(between(curves[kind][label], from, to));
  return curvesOfRun({ point: all(curves.point), epoch: all(curves.epoch) }, piece);
}
