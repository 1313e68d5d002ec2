// What the page says. All of it stands in words/, a folder for each language with a file for each part
// of the page. English has every text.

export const languages = { en: "English", ko: "한국어" };

const PARTS = ["common", "runs", "playground", "look"];

let words = {};
let english = {};

/** Loads a language; texts that it lacks are English. */
export async function loadWords(language) {
  const read = async (code, part) => (await fetch(`/page/words/${code}/${part}.json`)).json();
  const load = async (code) =>
    Object.assign({}, ...(await Promise.all(PARTS.map((part) => read(code, part)))));
  if (!Object.keys(english).length) english = await load("en");
  words = language === "en" ? english : await load(language);
}

/**
 * A text, with {names} replaced by values.
 * A text that depends on a number has a variant for one: "runs_one" beside "runs".
 */
export function t(key, values = {}) {
  const find = (name) => words[name] ?? english[name];
  const one = values.count === 1 ? find(`${key}_one`) : undefined;
  const text = one ?? find(key);
  if (text === undefined) return key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}
