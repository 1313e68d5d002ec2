"""What is new for a page: the one stream of events that it listens to.

Each event has an id that says all that the page knows by then. A page that was cut off sends the
last one, and gets what it lacks: nothing twice, nothing lost, also from a server that was started
anew, because ids speak of the files' contents.
"""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import numpy as np

from gradbook.errors import ConfigError
from gradbook.lab.answers import written
from gradbook.lab.catalogue import Catalogue
from gradbook.lab.looking import Looking
from gradbook.lab.thinning import thinned
from gradbook.runs.format import json_number
from gradbook.runs.lines import Values

#: After so many seconds without news a line is sent, which tells that the server is there.
_SILENCE_SECONDS = 10.0

#: The most curves that one page may follow.
MAX_CURVES = 64

#: A list of runs is sent in parts of about so many bytes.
_PART_BYTES = 1 << 18

#: Of a run that has recorded more labels, or longer ones, only these are sent.
MAX_LABELS, _MAX_LABEL = 100, 200

#: The most points that one event has, of all curves together, and of one of few curves.
_MAX_POINTS, _CURVE_POINTS = 100_000, 2000


class Feed:
    """Looks at the folder while anybody listens, and tells each listener what it lacks.

    Args:
        catalogue: The runs.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self._server = secrets.token_hex(4)
        self._num_listeners = 0
        self._looking: Looking | None = None
        self._looked = asyncio.Event()
        self._num_looks = self._num_changes = 0

    async def events(self, curves: Sequence[str], after: str) -> AsyncIterator[bytes]:
        """The events for a page, as the bytes of a stream of server-sent events.

        Args:
            curves: The ids of the runs whose values it wants, at most `MAX_CURVES`.
            after: The id of the last event that it has; empty for none.
        """
        known = _Known.read(after, self._server, curves)
        looking = self._begin(curves)
        try:
            yield b"retry: 1000\n\n"
            # What was known before may be old, unless this look takes long.
            number, changes = looking.ask(), self._num_changes
            while not await self._wait_for(number, changes):
                yield b": still here\n\n"
            while True:
                changes = self._num_changes
                for make in (self._list_events, self._curve_events):
                    events = make(known)
                    while (event := await asyncio.to_thread(next, events, None)) is not None:
                        yield event
                while not await self._wait_for(None, changes):
                    yield b": still here\n\n"
        finally:
            self._end(curves)

    async def _wait_for(self, number: int | None, changes: int) -> bool:
        """Waits until a look has ended, or has changed something. Returns whether it has."""

        def is_there() -> bool:
            is_over = number is not None and self._num_looks >= number
            return is_over or self._num_changes != changes

        try:
            async with asyncio.timeout(_SILENCE_SECONDS):
                while not is_there():
                    await self._looked.wait()
        except TimeoutError:
            return False
        return True

    def _list_events(self, known: "_Known") -> Iterator[bytes]:
        """The list of the runs, as far as it is news, in parts.

        A page that has not got all of them has got none: it is sent them again.
        """
        catalogue = self.catalogue
        version = catalogue.version
        if known.version == version:
            return
        starts_anew = known.version < catalogue.oldest
        changed, gone = catalogue.changed_since(-1 if starts_anew else known.version)
        runs = [written(summary) for summary in changed]
        while True:
            size, num = 0, 0
            while num < len(runs) and size < _PART_BYTES:
                size, num = size + len(runs[num]), num + 1
            part, runs = runs[:num], runs[num:]
            if not runs:
                known.version = version
            told = written({"starts_anew": starts_anew, "gone": gone, "error": catalogue.error})
            yield known.event("runs", f'{told[:-1]},"runs":[{",".join(part)}]}}')
            if not runs:
                return
            starts_anew, gone = False, []

    def _curve_events(self, known: "_Known") -> Iterator[bytes]:
        """The values of each run that the page follows, as far as they are news."""
        for run in known.curves:
            position = known.positions.get(run, "")
            try:
                found = self.catalogue.news(run, position, reads=False)
            except ConfigError:  # it is gone, which the list says
                known.positions.pop(run, None)
                continue
            if found is None:
                continue
            news, damage = found
            if news.position == position and damage == known.damages.get(run):
                continue
            known.positions[run], known.damages[run] = news.position, damage
            curve = {"run": run, "starts_anew": news.starts_anew, "damage": damage}
            yield known.event("curve", written({**curve, **curves_of(news.values)}))

    def _begin(self, curves: Sequence[str]) -> Looking:
        self.catalogue.follow(curves)
        self._num_listeners += 1
        if self._looking is None:
            self._looking = Looking(self.catalogue, self._tell)
        return self._looking

    def _end(self, curves: Sequence[str]) -> None:
        self.catalogue.forget(curves)
        self._num_listeners -= 1
        if self._num_listeners == 0 and self._looking is not None:
            self._looking.end()
            self._looking = None

    def _tell(self, number: int, has_changed: bool) -> None:
        self._num_looks = max(self._num_looks, number)
        self._num_changes += has_changed
        self._looked.set()
        self._looked = asyncio.Event()


class _Known:
    """What a page knows: the list's version, and where it stands in each run's values."""

    def __init__(self, server: str, curves: Sequence[str]) -> None:
        self.server, self.curves = server, curves
        self.version = -1
        self.positions: dict[str, str] = {}
        self.damages: dict[str, str | None] = {}

    @classmethod
    def read(cls, after: str, server: str, curves: Sequence[str]) -> "_Known":
        """From the id of an event; of one that cannot be read, nothing is known."""
        known = cls(server, curves)
        try:
            told = json.loads(after)
        except (ValueError, RecursionError):
            return known
        told = told if isinstance(told, dict) else {}
        positions, version = told.get("curves"), told.get("version")
        if isinstance(positions, dict):
            pairs = ((run, positions.get(run)) for run in curves)
            known.positions = {run: at for run, at in pairs if isinstance(at, str)}
        if told.get("server") == server and isinstance(version, int):
            known.version = version
        return known

    def event(self, name: str, data: str) -> bytes:
        """An event after which the page knows what this says now."""
        told = {"server": self.server, "version": self.version, "curves": self.positions}
        return f"id: {written(told)}\nevent: {name}\ndata: {data}\n\n".encode()


def curves_of(values: Values) -> dict[str, Any]:
    """Recorded values as JSON: under "point" and "epoch" for each label its x and its y.

    A curve of very many points is thinned; its "num" tells how many there are. "omitted" is the
    number of labels that are left out because there are too many, or because they are too long.
    """
    told: dict[str, Any] = {"point": {}, "epoch": {}, "omitted": 0}
    name, x, y = (np.asarray(part) for part in (values.name, values.x, values.y))
    present = np.unique(name).tolist()
    num_points = min(_CURVE_POINTS, _MAX_POINTS // max(min(len(present), MAX_LABELS), 1))
    for number in present:
        kind, label = values.names[number]
        if number >= MAX_LABELS or len(label) > _MAX_LABEL:
            told["omitted"] += 1
            continue
        chosen = name == number
        xs, ys = x[chosen], y[chosen]
        kept = thinned(xs, ys, num_points)
        told[kind][label] = {
            "x": [json_number(value) for value in xs[kept].tolist()],
            "y": [json_number(value) for value in ys[kept].tolist()],
            "num": len(ys),
        }
    return told
