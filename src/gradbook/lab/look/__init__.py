"""Looks at trained models, for the page: computed in a process of its own.

`desk.py` has the processes, and `looking.py` is what they run; `subject.py` rebuilds a run there,
and each further file computes one thing to look at. The server itself loads none of them.
"""

import asyncio
from collections import OrderedDict
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gradbook.lab.answers import as_json
from gradbook.lab.look.asked import about, read_asked
from gradbook.lab.look.desk import Desks
from gradbook.lab.requests import object_of, while_awaited
from gradbook.lab.state import Lab

#: How many bytes of answers are kept, to be given again while nothing of the run has changed.
_KEPT_BYTES = 1 << 26


def routes(lab: Lab) -> list[Route]:
    """The addresses of looks."""
    looks = _Looks(lab)
    lab.at_end.append(looks.desks.end)
    return [
        Route("/api/look", looks.answer, methods=["POST"]),
        Route("/api/look/about", looks.about),
    ]


class _Looks:
    """Answers what a page asks of a run's model."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.desks = Desks(lab.classes)
        self._kept: OrderedDict[tuple[Any, ...], bytes] = OrderedDict()

    def about(self, request: Request) -> Response:
        """What there is to look at of a run; needs no model."""
        run = request.query_params.get("run", "")
        return as_json(about(self._lab.catalogue.folder_now(run)))

    async def answer(self, request: Request) -> Response:
        """What was asked for, from memory or from a process; nothing where nobody waits longer."""
        asked = read_asked(await object_of(request))
        asked.folder = await asyncio.to_thread(self._lab.catalogue.folder_now, asked.run)
        key = await asyncio.to_thread(asked.key, self._lab.classes)
        if key in self._kept:
            self._kept.move_to_end(key)
            return Response(self._kept[key], media_type="application/json")
        content = await while_awaited(request, self.desks.compute(asked))
        if content is None:
            return Response(status_code=204)
        self._keep(key, content)
        return Response(content, media_type="application/json")

    def _keep(self, key: tuple[Any, ...], content: bytes) -> None:
        self._kept[key] = content
        while sum(map(len, self._kept.values())) > _KEPT_BYTES:
            self._kept.popitem(last=False)
