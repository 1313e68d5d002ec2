"""A page's side of the stream of events."""

import json


class Page:
    """What a page knows: the runs by id, and of each run its values, as `feed.js` keeps them.

    Attributes:
        last: The id of the last event.
        runs: The summaries by id.
        curves: Of each run its values: of each (kind, label) the x and the y.
        damages: What is wrong with each run's values.
        events: The names of the events that came.
    """

    def __init__(self):
        self.last = ""
        self.runs, self.curves, self.damages, self.events = {}, {}, {}, []
        self._rest = b""

    def take(self, data):
        """Takes bytes of a stream; an event counts once it is whole."""
        *whole, self._rest = (self._rest + data).split(b"\n\n")
        for text in whole:
            fields = dict(line.split(b": ", 1) for line in text.split(b"\n") if b": " in line)
            if b"event" in fields:
                self.last = fields[b"id"].decode()
                self._take(fields[b"event"].decode(), json.loads(fields[b"data"]))

    def cut(self):
        """The stream ends, in the midst of an event perhaps."""
        self._rest = b""

    def _take(self, name, news):
        self.events.append(name)
        if name == "runs":
            if news["starts_anew"]:
                self.runs.clear()
            self.runs.update({run["id"]: run for run in news["runs"]})
            for gone in news["gone"]:
                del self.runs[gone]
            return
        run = news["run"]
        if news["starts_anew"]:
            self.curves[run] = {}
        self.damages[run] = news["damage"]
        for kind in ("point", "epoch"):
            for label, added in news[kind].items():
                curve = self.curves.setdefault(run, {}).setdefault((kind, label), ([], []))
                curve[0].extend(added["x"])
                curve[1].extend(added["y"])


def curves_in(values):
    """Recorded values as a page has them."""
    found = {}
    for label, x, y, kind in values:
        curve = found.setdefault((kind, label), ([], []))
        curve[0].append(x)
        curve[1].append(y)
    return found
