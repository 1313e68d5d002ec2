// Asking the server for a look, with what is seen meanwhile: that it computes, for how long, Cancel.

import { post } from "./api.js";
import { element, clear, announce } from "./dom.js";
import { t } from "./words.js";

// Each page has a process of its own on the server.
const PAGE = `page-${Math.random().toString(36).slice(2, 14)}`;

/**
 * The answer; null where there is none, and `place` then says why.
 * @param {Element} place Where it is shown that it is computed, or what is wrong. It is emptied.
 * @param {object} context That of the look.
 * @param {string} what
 * @param {object} options
 * @param {function} again Asks once more.
 */
export async function ask(place, context, what, options, again) {
  const controller = new AbortController();
  const leave = () => controller.abort();
  const outer = context.signal;
  outer.addEventListener("abort", leave);
  const seconds = element("span", { class: "number" });
  const begin = performance.now();
  const tick = () => {
    seconds.textContent = t("look.seconds", { seconds: Math.round((performance.now() - begin) / 1000) });
  };
  const timer = setInterval(tick, 500);
  tick();
  let isCanceled = false;
  place.replaceChildren(element("div", { class: "look-waiting row", role: "status" },
    element("span", { class: "look-spinner", "aria-hidden": "true" }),
    element("span", {}, t(what === "sharpness" ? "look.computing_long" : "look.computing")), seconds,
    element("button", { type: "button", onclick: () => {
      isCanceled = true;
      controller.abort();
    } }, t("look.cancel"))));
  try {
    const body = await post("/api/look", { run: context.id, what, page: PAGE, options: {
      ...(context.checkpoint ? { checkpoint: context.checkpoint } : {}), ...options } }, controller.signal);
    clear(place);
    announce(t("look.ready"));
    return body;
  } catch (error) {
    if (controller.signal.aborted && !isCanceled) return null; // another look is shown by now
    const text = isCanceled ? t("look.canceled")
      : error instanceof TypeError ? t("look.no_answer") : error.message;
    place.replaceChildren(
      element("p", { class: isCanceled ? "muted" : "problem", role: "alert" }, text),
      element("button", { type: "button", onclick: again }, t("look.again")));
    return null;
  } finally {
    clearInterval(timer);
    outer.removeEventListener("abort", leave);
  }
}

/** What the library has warned of meanwhile. */
export function warningsOf(answer) {
  return (answer.warnings ?? []).map((text) => element("p", { class: "look-note" }, text));
}
