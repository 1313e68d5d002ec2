// Shows the view that the address names, and keeps what all views share: language, theme, feed.

import { element, clear, announce } from "./dom.js";
import { loadWords, languages, t } from "./words.js";
import { feed } from "./feed.js";

// Each view is a module with `show(container, context)`, which may return a function that ends it.
const VIEWS = {
  runs: () => import("./runs.js"),
  run: () => import("./run.js"),
  compare: () => import("./compare.js"),
  sweep: () => import("./sweep.js"),
  playground: () => import("./playground.js"),
  look: () => import("./look.js"),
};

// The views that the header leads to, and under which of them the others stand.
const IN_HEADER = ["runs", "playground", "look"];
const UNDER = { run: "runs", compare: "runs", sweep: "runs" };

let endView = null;
let numShown = 0;
let isFocusDue = false; // whether the heading of the view that is coming is to have the focus

/** The view and what it is of: "#/run/mlp-1?tab=x" gives {view, id, query}. */
export function parseAddress(hash) {
  const [path, search = ""] = hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const [view, ...rest] = path.split("/");
  return { view: view || "runs", id: rest.join("/"), query: new URLSearchParams(search) };
}

async function showView() {
  const number = ++numShown;
  const { view, id, query } = parseAddress(location.hash);
  const container = document.getElementById("view");
  if (endView) endView();
  endView = null;
  clear(container);
  const isOfRun = view === "look" && id !== ""; // without a run it has the activations alone
  for (const link of document.querySelectorAll("#nav a")) {
    if (link.dataset.view === view && !isOfRun) link.setAttribute("aria-current", "page");
    else if (link.dataset.view === (isOfRun ? "runs" : UNDER[view])) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
  const load = Object.hasOwn(VIEWS, view) ? VIEWS[view] : null;
  if (!load) {
    container.append(element("h1", {}, t("no_view")));
    return;
  }
  try {
    const module = await load();
    if (number !== numShown) return; // another was asked for meanwhile
    const end = await module.show(container, { id, query });
    if (number === numShown) endView = end || null;
    else if (end) end();
  } catch (error) {
    container.append(element("p", { class: "problem", role: "alert" }, String(error.message || error)));
  }
}

/** Names the page as its view is headed; whoever has followed a link is led there. */
function nameView() {
  const heading = document.querySelector("#view h1");
  document.title = [heading?.textContent, "gradbook lab"].filter(Boolean).join(" – ");
  if (!heading || !isFocusDue) return;
  isFocusDue = false;
  window.scrollTo(0, 0);
  heading.tabIndex = -1;
  heading.focus({ preventScroll: true });
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  localStorage.setItem("theme", theme);
  const button = document.getElementById("theme");
  button.textContent = theme === "dark" ? t("theme.light") : t("theme.dark");
  window.dispatchEvent(new Event("themechange"));
}

function setUpHeader() {
  const nav = document.getElementById("nav");
  clear(nav);
  nav.append(...IN_HEADER.map((view) =>
    element("a", { href: `#/${view}`, "data-view": view }, t(`nav.${view}`))));
  for (const node of document.querySelectorAll("[data-words]")) node.textContent = t(node.dataset.words);
  for (const node of document.querySelectorAll("[data-words-label]")) {
    node.setAttribute("aria-label", t(node.dataset.wordsLabel));
  }
}

async function setLanguage(language) {
  await loadWords(language);
  localStorage.setItem("language", language);
  document.documentElement.lang = language;
  setUpHeader();
  setTheme(document.documentElement.dataset.theme);
  await showView();
}

async function begin() {
  // The token has been exchanged for a cookie: it need not stay in the history.
  if (location.search) history.replaceState(null, "", location.pathname + location.hash);
  const wantsDark = matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = localStorage.getItem("theme") || (wantsDark ? "dark" : "light");
  const select = document.getElementById("language");
  select.append(...Object.entries(languages).map(([code, name]) => element("option", { value: code }, name)));
  const known = (code) => Object.hasOwn(languages, code);
  const wanted = [localStorage.getItem("language"), navigator.language.slice(0, 2), "en"].find(known);
  select.value = wanted;
  select.addEventListener("change", () => setLanguage(select.value));
  document.getElementById("theme").addEventListener("click", () =>
    setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
  window.addEventListener("hashchange", () => {
    isFocusDue = true;
    showView();
  });
  document.getElementById("skip").addEventListener("click", (event) => {
    event.preventDefault(); // the address is that of the view
    document.getElementById("view").focus();
  });
  // A view may learn later what it is headed.
  new MutationObserver(nameView).observe(document.getElementById("view"), {
    childList: true, subtree: true, characterData: true,
  });
  feed.onConnection((isConnected) => {
    const text = isConnected ? "" : t("disconnected");
    document.getElementById("connection").textContent = text;
    if (text) announce(text);
  });
  feed.start();
  await setLanguage(wanted);
}

begin();
