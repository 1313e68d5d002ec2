// The list of all runs.

import { clear, element, table } from "./dom.js";
import { feed } from "./feed.js";
import { t } from "./words.js";

export function show(container) {
  const list = element("div", { class: "scroll" });
  container.append(element("h1", {}, t("nav.runs")), list);
  return feed.watchRuns(() => {
    clear(list);
    const columns = [
      { title: t("runs.name"), cell: (run) => element("a", { href: `#/${run.kind}/${run.id}` }, run.name) },
      { title: t("runs.status"), cell: (run) => t(`status.${run.status}`) },
    ];
    list.append(table(columns, [...feed.runs.values()].filter((run) => !run.sweep)));
  });
}
