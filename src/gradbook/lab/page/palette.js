// The colors of curves: those of the figures, as style.css has them.

const NUM_COLORS = 8;

// More curves than there are colors take theirs from dark blue over green to yellow.
const RAMP = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [190, 215, 60]];

/** The value of a variable of style.css, such as "--text", in the theme that is shown now. */
export function cssColor(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** The color of curve number `index` of `count`. */
export function seriesColor(index, count = 1) {
  if (count > NUM_COLORS) return ramp(index / (count - 1));
  return cssColor(`--series-${index % NUM_COLORS}`);
}

/** A color for a place from 0 to 1 between low and high. */
export function ramp(part) {
  const isDark = document.documentElement.dataset.theme === "dark";
  const [red, green, blue] = rampParts(isDark ? 0.25 + 0.75 * part : 0.85 * part);
  return `rgb(${red}, ${green}, ${blue})`;
}

/** The color of a cell whose value is at a place from 0 to 1, and of the text on it. */
export function cellColors(part) {
  const [red, green, blue] = rampParts(part);
  const linear = [red, green, blue].map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  const light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  return { background: `rgb(${red}, ${green}, ${blue})`, text: light > 0.18 ? "#000000" : "#ffffff" };
}

function rampParts(part) {
  const place = Math.min(Math.max(part, 0), 1) * (RAMP.length - 1);
  const index = Math.min(Math.floor(place), RAMP.length - 2);
  return RAMP[index].map((low, i) => Math.round(low + (RAMP[index + 1][i] - low) * (place - index)));
}
