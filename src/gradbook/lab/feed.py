"""What is new for a page: the one stream of events that it listens to.

Each event has an id that says all that the page knows by then. A page that was cut off sends the
last one, and gets what it lacks: nothing twice, nothing lost, also from a server that was started
anew, because ids speak of the files' contents.
"""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from gradbook.errors import ConfigError
from gradbook.lab.catalogue import Catalogue
from gradbook.lab.thinning import thinned
from gradbook.runs.format import json_number
from gradbook.runs.lines import Values

#: The seconds between two looks at the folder while a page listens.
_INTERVAL_SECONDS = 0.25

#: After so many seconds without news a line is sent, which tells that the server is there.
_SILENCE_SECONDS = 10.0

#: The most curves that one page may follow.
MAX_CURVES = 64


class Feed:
    """Looks at the folder while anybody listens, and tells each listener what it lacks.

    Args:
        catalogue: The runs.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self._server = secrets.token_hex(4)
        self._num_listeners = 0
        self._looking: asyncio.Task[None] | None = None
        self._looked = asyncio.Condition()

    async def events(self, curves: Sequence[str], after: str) -> AsyncIterator[bytes]:
        """The events for a page, as the bytes of a stream of server-sent events.

        Args:
            curves: The ids of the runs whose values it wants, at most `MAX_CURVES`.
            after: The id of the last event that it has; empty for none.
        """
        known = _Known.read(after, self._server)
        silent = 0.0
        self._begin()
        try:
            yield b"retry: 1000\n\n"
            while True:
                is_silent = True
                for name, data in await asyncio.to_thread(self._news, known, curves):
                    is_silent = False
                    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
                    yield f"id: {known.written()}\nevent: {name}\ndata: {text}\n\n".encode()
                silent = silent + _INTERVAL_SECONDS if is_silent else 0.0
                if silent >= _SILENCE_SECONDS:
                    silent = 0.0
                    yield b": still here\n\n"
                async with self._looked:
                    await self._looked.wait()
        finally:
            self._end()

    def _news(self, known: "_Known", curves: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
        """What a page lacks, which it is taken to know from now on."""
        found: list[tuple[str, dict[str, Any]]] = []
        catalogue = self.catalogue
        version = catalogue.version
        if known.version != version:
            changed, gone = catalogue.changed_since(known.version)
            starts_anew = known.version < 0
            told = {"starts_anew": starts_anew, "runs": changed, "gone": gone}
            found.append(("runs", {**told, "error": catalogue.error}))
            known.version = version
        for run in curves:
            position = known.positions.get(run, "")
            try:
                news, damage = catalogue.news(run, position)
            except ConfigError:  # it is gone, which the list says
                known.positions.pop(run, None)
                continue
            if news.position == position and (damage is None or run in known.damaged):
                continue
            known.positions[run] = news.position
            if damage is not None:
                known.damaged.add(run)
            curve = {"run": run, "starts_anew": news.starts_anew, "damage": damage}
            found.append(("curve", {**curve, **curves_of(news.values)}))
        return found

    def _begin(self) -> None:
        self._num_listeners += 1
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())

    def _end(self) -> None:
        self._num_listeners -= 1
        if self._num_listeners == 0 and self._looking is not None:
            self._looking.cancel()
            self._looking = None

    async def _look(self) -> None:
        while True:
            await asyncio.to_thread(self.catalogue.refresh)
            async with self._looked:
                self._looked.notify_all()
            await asyncio.sleep(_INTERVAL_SECONDS)


class _Known:
    """What a page knows: the list's version, and where it stands in each run's values."""

    def __init__(self, server: str) -> None:
        self.server = server
        self.version = -1
        self.positions: dict[str, str] = {}
        self.damaged: set[str] = set()

    @classmethod
    def read(cls, after: str, server: str) -> "_Known":
        """From the id of an event; of one that cannot be read, nothing is known."""
        known = cls(server)
        with suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError):
            told = json.loads(after)
            known.positions = {
                str(run): position
                for run, position in told["curves"].items()
                if isinstance(position, str)
            }
            if told["server"] == server:
                known.version = int(told["version"])
        return known

    def written(self) -> str:
        told = {"server": self.server, "version": self.version, "curves": self.positions}
        return json.dumps(told, separators=(",", ":"))


def curves_of(values: Values, num_points: int = 2000) -> dict[str, Any]:
    """Recorded values as JSON: under "point" and "epoch" for each label its x and its y.

    Args:
        values: The values.
        num_points: A curve of more points is thinned to about so many; its "num" tells how many
            there are.
    """
    told: dict[str, Any] = {"point": {}, "epoch": {}}
    name, x, y = (np.asarray(part) for part in (values.name, values.x, values.y))
    for number, (kind, label) in enumerate(values.names):
        chosen = name == number
        if not chosen.any():
            continue
        xs, ys = x[chosen], y[chosen]
        kept = thinned(xs, ys, num_points)
        told[kind][label] = {
            "x": xs[kept].tolist(),
            "y": [json_number(value) for value in ys[kept].tolist()],
            "num": len(ys),
        }
    return told
