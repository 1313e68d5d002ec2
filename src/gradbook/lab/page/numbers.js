// How values are written: numbers as the figures and the terminal write them, times as people do here.

import { t } from "./words.js";

/** A loss or accuracy: four decimals where these say something. Null is what was not finite. */
export function short(value) {
  if (value === null) return "NaN";
  if (typeof value !== "number") return String(value ?? "–");
  const size = Math.abs(value);
  if (value === 0 || (size >= 1e-3 && size < 1e4)) return value.toFixed(4);
  const text = size < 1e-4 ? value.toExponential(2) : value.toPrecision(3);
  const [digits, power] = text.split("e");
  const shortest = digits.includes(".") ? digits.replace(/\.?0+$/, "") : digits;
  return power === undefined ? shortest : `${shortest}e${power}`;
}

/** A number with as few digits as tell it from others: 0.1, 300, 1e6. */
export function plain(value) {
  if (typeof value !== "number") return String(value);
  const size = Math.abs(value);
  const rounded = Number(value.toPrecision(6));
  return size >= 1e6 || (size > 0 && size < 1e-4) ? rounded.toExponential().replace("e+", "e") : String(rounded);
}

/** A number exactly, as it was recorded. */
export function exact(value) {
  return String(value);
}

/** Seconds; a dash if they are not known. */
export function duration(seconds) {
  if (typeof seconds !== "number") return "–";
  if (seconds < 60) return t("time.seconds", { seconds: Number(seconds.toPrecision(seconds < 10 ? 2 : 3)) });
  const whole = Math.round(seconds);
  if (whole < 3600) return t("time.minutes", { minutes: Math.floor(whole / 60), seconds: whole % 60 });
  return t("time.hours", { hours: Math.floor(whole / 3600), minutes: Math.floor((whole % 3600) / 60) });
}

let clock = null; // kept: making one takes longer than using it
let clockLanguage = "";

/** A time of run.json as the clock here showed it. */
export function when(text) {
  const time = new Date(text);
  if (Number.isNaN(time.getTime())) return String(text ?? "–");
  const { lang } = document.documentElement;
  if (lang !== clockLanguage) {
    clockLanguage = lang;
    clock = new Intl.DateTimeFormat(lang, { year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  }
  return clock.format(time);
}

/** A number of bytes, such as "803 kB". */
export function bytes(count) {
  for (const [unit, size] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) {
    if (count >= size) return `${Number((count / size).toPrecision(3))} ${unit}`;
  }
  return t("bytes", { count });
}
