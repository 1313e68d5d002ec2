// The list of all runs, live.

import { get } from "./api.js";
import { announce, clear, element } from "./dom.js";
import { setQuery } from "./curves.js";
import { feed } from "./feed.js";
import { duration, short, when } from "./numbers.js";
import { badge, paced } from "./run-parts.js";
import { t } from "./words.js";

const CHUNK = 100; // rows that are made at a time
const MOST_SETTINGS = 6; // columns for settings that differ
const OTHERS = 1000; // how wide the other columns are together, in pixels
const COLUMN = 115; // how wide a column for a setting is
const PROMINENT = ["lr", "num_hiddens", "batch_size"];
const MOST_COMPARED = 64;
const COLLATOR = new Intl.Collator(undefined, { numeric: true });

export function show(container, { query }) {
  return new List(container, query).end;
}

class List {
  constructor(container, query) {
    this.text = query.get("filter") ?? "";
    this.sort = query.get("sort") ?? "started";
    this.isDown = query.has("sort") ? query.get("order") === "down" : true;
    this.admitted = null; // the ids that meet the filter; null for all
    this.chosen = new Set();
    this.opened = new Set();
    this.numRows = CHUNK;
    this.rows = new Map(); // what was drawn of each run, to be used again

    this.input = element("input", {
      type: "search", value: this.text, placeholder: t("runs.filter_example"), "aria-describedby": "filter-problem",
      spellcheck: "false", autocomplete: "off", oninput: () => this.changeFilter(),
    });
    this.problem = element("p", { class: "problem", id: "filter-problem", role: "status" });
    this.count = element("p", { class: "muted count", role: "status" });
    this.compare = element("a", { class: "button primary", href: "#/compare" });
    this.unchoose = element("button", { type: "button", onclick: () => this.chooseNone() }, t("runs.unchoose"));
    this.bar = element("div", { class: "row chosen" }, this.compare, this.unchoose);
    this.bar.hidden = true;
    this.error = element("p", { class: "problem" });
    this.head = element("thead");
    this.body = element("tbody");
    this.table = element("table", { class: "runs" }, element("caption", { class: "hidden" }, t("nav.runs")), this.head, this.body);
    this.more = element("button", { type: "button", class: "more", onclick: () => this.showMore() });
    this.empty = element("div", { class: "panel empty" });
    this.scroll = element("div", { class: "scroll" }, this.table);
    container.append(
      element("h1", {}, t("nav.runs")),
      element("div", { class: "row filter" },
        element("label", { class: "grow" }, element("span", {}, t("runs.filter")), this.input), this.count),
      element("details", { class: "muted help" }, element("summary", {}, t("runs.filter_help")), element("p", {}, t("runs.filter_words"))),
      this.problem, this.error, this.bar, this.scroll, this.more, this.empty);

    this.draw = paced(() => this.drawNow(), 100);
    this.askFilter = paced(() => this.ask(), 200);
    this.observer = new IntersectionObserver(([entry]) => entry.isIntersecting && this.showMore());
    this.observer.observe(this.more);
    this.onResize = () => this.draw();
    window.addEventListener("resize", this.onResize);
    const endRuns = feed.watchRuns(() => {
      if (this.text.trim()) this.askFilter();
      else this.draw();
    });
    this.end = () => {
      this.isEnded = true;
      this.draw.end();
      this.askFilter.end();
      this.observer.disconnect();
      window.removeEventListener("resize", this.onResize);
      endRuns();
    };
  }

  // Filter

  changeFilter() {
    this.text = this.input.value;
    setQuery({ filter: this.text.trim() || null });
    this.numRows = CHUNK;
    this.askFilter();
  }

  async ask() {
    const text = this.text;
    if (!text.trim()) {
      this.admitted = null;
      this.problem.textContent = "";
      this.draw();
      return;
    }
    try {
      const { ids } = await get("/api/runs", { filter: text });
      if (text !== this.text || this.isEnded) return;
      this.admitted = new Set(ids);
      this.problem.textContent = "";
    } catch (error) {
      if (text !== this.text || this.isEnded) return;
      this.problem.textContent = error.message; // the list stays as it was
    }
    this.draw();
  }

  // What is listed

  /** Runs that stand alone and sweeps, each with the members that are shown, in order. */
  groups() {
    const members = new Map();
    const found = [];
    for (const run of feed.runs.values()) {
      if (run.kind === "run" && this.admitted && !this.admitted.has(run.id)) continue;
      if (run.sweep) {
        if (!members.has(run.sweep)) members.set(run.sweep, []);
        members.get(run.sweep).push(run);
      } else found.push({ item: run, members: [] });
    }
    const kept = [];
    for (const group of found) {
      if (group.item.kind === "sweep") {
        group.members = members.get(group.item.id) ?? [];
        members.delete(group.item.id);
        if (this.admitted && !group.members.length) continue;
      }
      kept.push(group);
    }
    const order = (a, b) => this.compareItems(a, b);
    for (const group of kept) group.members.sort(order);
    return kept.sort((a, b) => this.compareItems(this.judged(a), this.judged(b)));
  }

  /** What a group is sorted by: a sweep by its first member in the same order. */
  judged(group) {
    if (group.item.kind !== "sweep" || this.sort === "name") return group.item;
    return group.members[0] ?? group.item;
  }

  compareItems(a, b) {
    const [one, other] = [this.sortValue(a), this.sortValue(b)];
    const isNothing = (value) => value === null || value === undefined;
    // Whichever way round, what has no value comes last.
    if (isNothing(one) || isNothing(other)) return Number(isNothing(one)) - Number(isNothing(other));
    const sign = this.isDown ? -1 : 1;
    if (typeof one === "number" && typeof other === "number") return sign * (one - other);
    if (typeof one !== typeof other) return typeof one === "number" ? -1 : 1;
    return sign * COLLATOR.compare(String(one), String(other));
  }

  sortValue(run) {
    if (this.sort.startsWith("setting ")) return run.hyperparameters?.[this.sort.slice(8)];
    if (this.sort === "best") return run.best?.[run.headline]?.value;
    return run[this.sort];
  }

  /** The settings that differ among the runs that are listed, the most telling first. */
  settings(groups) {
    const seen = new Map();
    let numRuns = 0;
    for (const { item, members } of groups) {
      for (const run of item.kind === "sweep" ? members : [item]) {
        if (!run.hyperparameters) continue;
        numRuns += 1;
        for (const [name, value] of Object.entries(run.hyperparameters)) {
          if (!seen.has(name)) seen.set(name, { first: value, differs: false, num: 0 });
          const one = seen.get(name);
          one.num += 1;
          one.differs ||= value !== one.first && JSON.stringify(value) !== JSON.stringify(one.first);
        }
      }
    }
    // A seed that was drawn always differs, and says least.
    const order = [...PROMINENT, "", "seed"];
    const rank = (name) => (order.includes(name) ? order.indexOf(name) : PROMINENT.length);
    return [...seen].filter(([name, { differs, num }]) => name !== "max_epochs" && (differs || num < numRuns))
      .sort(([a, one], [b, other]) => rank(a) - rank(b) || other.num - one.num)
      .slice(0, this.numSettings()).map(([name]) => name);
  }

  /** For how many settings there is room. */
  numSettings() {
    const room = this.scroll.parentElement.clientWidth - OTHERS;
    return Math.min(Math.max(Math.floor(room / COLUMN), 0), MOST_SETTINGS);
  }

  columns(settings) {
    return [
      { key: "name", title: t("runs.name") },
      { key: "status", title: t("runs.status") },
      { key: "model", title: t("runs.model"), isMinor: true },
      { key: "data", title: t("runs.data"), isMinor: true },
      ...settings.map((name) => ({ key: `setting ${name}`, title: name, isNumber: true, isName: true })),
      { key: "epochs", title: t("runs.epochs"), isNumber: true },
      { key: "best", title: t("runs.best"), isNumber: true },
      { key: "seconds", title: t("runs.seconds"), isNumber: true, isMinor: true },
      { key: "started", title: t("runs.started"), isMinor: true },
    ];
  }

  // Drawing

  drawNow() {
    if (this.isEnded) return;
    for (const id of this.chosen) if (!feed.runs.has(id)) this.chosen.delete(id);
    this.error.textContent = feed.error ?? "";
    const groups = this.groups();
    const settings = this.settings(groups);
    this.drawHead(this.columns(settings));
    const listed = [];
    let numRuns = 0;
    for (const group of groups) {
      listed.push({ item: group.item, members: group.members, isMember: false });
      numRuns += group.item.kind === "sweep" ? group.members.length : 1;
      // A filter looks for runs: the groups with what it has found are open.
      if (this.isOpen(group)) listed.push(...group.members.map((item) => ({ item, isMember: true })));
    }
    const shown = listed.slice(0, this.numRows);
    const version = JSON.stringify([settings, document.documentElement.lang]);
    const drawn = shown.map((row) => this.row(row, settings, version));
    this.place(drawn);
    this.more.hidden = shown.length === listed.length;
    this.more.textContent = t("runs.more", { count: listed.length - shown.length });
    const total = [...feed.runs.values()].filter((run) => run.kind === "run").length;
    this.count.textContent = this.admitted ? t("runs.some", { shown: numRuns, count: total }) : t("runs.count", { count: total });
    this.scroll.hidden = !listed.length;
    this.drawEmpty(listed.length === 0, total);
    this.drawBar();
  }

  /** Puts rows into the table, unless they are there. */
  place(drawn) {
    const before = [...this.body.children];
    if (before.length === drawn.length && before.every((row, i) => row === drawn[i])) return;
    const focused = this.body.contains(document.activeElement) ? document.activeElement : null;
    this.body.replaceChildren(...drawn);
    if (focused?.isConnected) focused.focus({ preventScroll: true });
  }

  isOpen({ item }) {
    return item.kind === "sweep" && (this.opened.has(item.id) !== (this.admitted !== null));
  }

  drawHead(columns) {
    const key = JSON.stringify([columns, this.sort, this.isDown]);
    if (key === this.headKey) return;
    this.headKey = key;
    const focused = this.head.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    clear(this.head);
    this.head.append(element("tr", {},
      element("th", { scope: "col" }, element("span", { class: "hidden" }, t("runs.choose"))),
      ...columns.map(({ key: name, title, isNumber, isName, isMinor }) => {
        const isSorted = name === this.sort;
        const button = element("button", { type: "button", class: "sort", "data-key": name, onclick: () => this.sortBy(name) },
          element("span", { class: isName ? "name" : undefined }, title),
          element("span", { class: "arrow", "aria-hidden": "true" }, isSorted ? (this.isDown ? "▼" : "▲") : ""));
        return element("th", {
          scope: "col", class: `${isNumber ? "number" : ""} ${isMinor ? "minor" : ""}`,
          "aria-sort": isSorted ? (this.isDown ? "descending" : "ascending") : undefined,
        }, button);
      })));
    if (focused) this.head.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  }

  sortBy(name) {
    this.isDown = name === this.sort ? !this.isDown : ["best", "started"].includes(name);
    this.sort = name;
    this.numRows = CHUNK;
    setQuery({ sort: name, order: this.isDown ? "down" : "up" });
    this.drawNow();
    const title = this.head.querySelector(`[data-key="${CSS.escape(name)}"] span`).textContent;
    announce(t(this.isDown ? "runs.sorted_down" : "runs.sorted_up", { name: title }));
  }

  row({ item, members, isMember }, settings, version) {
    const isSweep = item.kind === "sweep";
    const isOpen = isSweep && this.isOpen({ item });
    const known = this.rows.get(item.id);
    const isSame = known && known.item === item && known.version === version && known.isOpen === isOpen
      && (!isSweep || known.members.length === members.length && members.every((member, i) => member === known.members[i]));
    if (isSame) {
      this.mark(known.row, item, members);
      return known.row;
    }
    const row = isSweep ? this.sweepRow(item, members, settings, isOpen) : this.runRow(item, settings, isMember);
    if (known && known.row.contains(document.activeElement)) {
      const place = [...known.row.querySelectorAll("a, button, input")].indexOf(document.activeElement);
      queueMicrotask(() => row.querySelectorAll("a, button, input")[place]?.focus());
    }
    this.rows.set(item.id, { item, members, version, isOpen, row });
    this.mark(row, item, members);
    return row;
  }

  mark(row, item, members) {
    const box = row.querySelector("input[type=checkbox]");
    if (!box) return;
    const ids = item.kind === "sweep" ? choosable(members) : [item.id];
    box.checked = ids.length > 0 && ids.every((id) => this.chosen.has(id));
    box.indeterminate = !box.checked && ids.some((id) => this.chosen.has(id));
  }

  checkbox(item, ids) {
    return element("td", { class: "choose" }, element("input", {
      type: "checkbox", "aria-label": t("runs.choose_one", { name: item.name }),
      onchange: (event) => this.choose(ids(), event.target.checked),
    }));
  }

  runRow(run, settings, isMember) {
    const name = element("td", { class: `name${isMember ? " member" : ""}` }, element("a", { href: `#/run/${run.id}` }, run.name));
    if (run.status === "damaged") {
      return element("tr", { class: "damaged" }, element("td"), name, element("td", {}, badge(run.status)),
        element("td", { colspan: settings.length + 6, class: "problem reason" }, run.reason));
    }
    const value = run.headline ? run.best?.[run.headline]?.value : undefined;
    return element("tr", {}, this.checkbox(run, () => [run.id]), name,
      element("td", {}, badge(run.status)), element("td", { class: "minor" }, run.model), element("td", { class: "minor" }, run.data),
      ...settings.map((setting) => element("td", { class: "number" }, settingText(run.hyperparameters?.[setting]))),
      element("td", { class: "number epochs" }, `${run.epochs}/${run.max_epochs}`,
        run.status === "running" ? element("progress", { max: Math.max(run.max_epochs, 1), value: run.epochs, "aria-label": t("runs.epochs") }) : null),
      element("td", { class: "number" }, value === undefined ? "–" : short(value), value === undefined ? null : element("span", { class: "what" }, run.headline)),
      element("td", { class: "number minor" }, duration(run.seconds)),
      element("td", { class: "minor" }, when(run.started)));
  }

  sweepRow(sweep, members, settings, isOpen) {
    const toggle = element("button", {
      type: "button", class: "toggle", "aria-expanded": String(isOpen), "aria-label": t("runs.open", { name: sweep.name }),
      onclick: () => {
        if (this.opened.has(sweep.id)) this.opened.delete(sweep.id);
        else this.opened.add(sweep.id);
        this.drawNow();
      },
    }, isOpen ? "▾" : "▸");
    const name = element("td", { class: "name" }, toggle, " ", element("a", { href: `#/sweep/${sweep.id}` }, sweep.name),
      element("span", { class: "what" }, t("runs.sweep")));
    if (sweep.status === "damaged") {
      return element("tr", { class: "damaged" }, element("td"), name, element("td", {}, badge("damaged")),
        element("td", { colspan: settings.length + 6, class: "problem reason" }, sweep.reason));
    }
    const counts = new Map();
    for (const { status } of members) counts.set(status, (counts.get(status) ?? 0) + 1);
    const started = members.map((member) => member.started).filter(Boolean).sort()[0];
    return element("tr", { class: "sweep" },
      choosable(members).length ? this.checkbox(sweep, () => choosable(members)) : element("td"), name,
      element("td", { colspan: settings.length + 6 }, element("span", { class: "row tight" },
        element("span", {}, t("runs.members", { count: sweep.num_members })),
        sweep.swept?.length ? element("span", { class: "muted" }, t("runs.swept", { names: sweep.swept.join(", ") })) : null,
        ...[...counts].map(([status, count]) => element("span", {}, badge(status), ` ${count}`)))),
      element("td", { class: "minor" }, started ? when(started) : "–"));
  }

  showMore() {
    if (this.more.hidden) return;
    this.numRows += CHUNK;
    this.draw();
  }

  // Choosing

  choose(ids, isChosen) {
    for (const id of ids) {
      if (isChosen) this.chosen.add(id);
      else this.chosen.delete(id);
    }
    this.drawNow();
  }

  chooseNone() {
    this.chosen.clear();
    this.drawNow();
    this.input.focus();
  }

  drawBar() {
    const ids = [...this.chosen];
    this.bar.hidden = ids.length === 0;
    const isMany = ids.length > MOST_COMPARED;
    this.compare.textContent = isMany ? t("runs.too_many", { count: MOST_COMPARED }) : t("runs.compare", { count: ids.length });
    this.compare.href = isMany ? "#/runs" : `#/compare?${new URLSearchParams({ runs: ids.join(",") })}`;
    this.compare.toggleAttribute("aria-disabled", isMany);
  }

  drawEmpty(isEmpty, total) {
    this.empty.hidden = !isEmpty || feed.error !== null;
    const key = `${total > 0} ${document.documentElement.lang}`;
    if (this.empty.hidden || key === this.emptyKey) return;
    this.emptyKey = key;
    clear(this.empty);
    if (total > 0) this.empty.append(element("p", {}, t("runs.none_meets")));
    else {
      this.empty.append(element("p", {}, t("runs.none")), element("p", {}, element("code", {}, "gradbook train mlp --max-epochs 5")),
        element("p", {}, t("runs.none_playground"), " ", element("a", { href: "#/playground" }, t("nav.playground"))));
    }
  }
}

function choosable(members) {
  return members.filter((member) => member.status !== "damaged").map((member) => member.id);
}

function settingText(value) {
  if (value === undefined) return "–";
  const text = Array.isArray(value) ? value.join(", ") : String(value);
  return text.length > 20 ? `${text.slice(0, 19)}…` : text;
}
