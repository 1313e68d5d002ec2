// The curves of the playground's training, for the charts that runs have. They are thinned here: nothing
// of a training that is not kept lies in a file.

import { curvesOfRun } from "./curves.js";

const MOST_POINTS = 1200;

/**
 * Fewer points that look the same: the first, the last, and of each part the lowest, the highest and the
 * first that is no number.
 */
export function thinned({ x, y }) {
  if (x.length <= MOST_POINTS) return { x, y, num: x.length };
  const size = Math.ceil((2 * x.length) / MOST_POINTS);
  const kept = new Set([0, x.length - 1]);
  for (let begin = 0; begin < x.length; begin += size) {
    let low, high, gap;
    for (let index = begin; index < Math.min(begin + size, x.length); index += 1) {
      if (!Number.isFinite(y[index])) gap ??= index;
      else {
        if (low === undefined || y[index] < y[low]) low = index;
        if (high === undefined || y[index] > y[high]) high = index;
      }
    }
    for (const index of [low, high, gap]) if (index !== undefined) kept.add(index);
  }
  const places = [...kept].sort((one, other) => one - other);
  return { x: places.map((index) => x[index]), y: places.map((index) => y[index]), num: x.length };
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
