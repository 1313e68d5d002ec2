// The button that asks for a report on runs, and saves it as a file.

import { postForFile } from "./api.js";
import { announce, element } from "./dom.js";
import { t } from "./words.js";

/**
 * A button with its dialog.
 * @param {function(): string[]} getIds Gives the ids of the runs and sweeps, when it is pressed.
 * @returns {Node} To be put anywhere on the page.
 */
export function reportButton(getIds) {
  const title = element("input", { type: "text", name: "title", maxlength: 200 });
  const author = element("input", { type: "text", name: "author", maxlength: 200, autocomplete: "name" });
  const status = element("p", { role: "status" });
  const make = element("button", { type: "submit", class: "primary" }, t("report.make"));
  const cancel = element("button", { type: "button", onclick: () => dialog.close() }, t("report.cancel"));
  const form = element("form", { onsubmit: submit },
    element("h2", { id: "report-heading" }, t("report.heading")),
    element("p", { class: "muted" }, t("report.about")),
    element("label", { class: "field" }, t("report.title"), title),
    element("label", { class: "field" }, t("report.author"), author),
    element("div", { class: "row" }, make, cancel),
    status);
  const dialog = element("dialog", { "aria-labelledby": "report-heading" }, form);
  const button = element("button", { type: "button", onclick: open }, t("report.button"));

  function open() {
    author.value = localStorage.getItem("author") ?? "";
    say("");
    dialog.showModal();
  }

  function say(text, isProblem = false) {
    status.textContent = text;
    status.className = isProblem ? "problem" : "muted";
  }

  async function submit(event) {
    event.preventDefault();
    localStorage.setItem("author", author.value);
    make.disabled = true;
    say(t("report.making"));
    try {
      save(await postForFile("/api/report", { runs: getIds(), title: title.value, author: author.value }));
      dialog.close();
      announce(t("report.done"));
    } catch (error) {
      say(String(error.message || error), true);
    } finally {
      make.disabled = false;
    }
  }

  return element("span", { class: "report" }, button, dialog);
}

function save(blob) {
  const address = URL.createObjectURL(blob);
  element("a", { href: address, download: "report.html" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
