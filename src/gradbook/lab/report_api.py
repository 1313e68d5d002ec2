"""Reports for the page: made in a process of their own, and downloaded."""

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gradbook.errors import ConfigError, GradbookError
from gradbook.lab.requests import object_of, while_awaited
from gradbook.lab.state import Lab
from gradbook.lab.worker import Worker

#: What a report for the page may be on, and how long its title and its author may be.
_MAX_RUNS, _MAX_LENGTH = 32, 200

#: A report that takes longer is given up, as where a learner's own model never comes to its end.
_MAX_SECONDS = 600

_HEADERS = {"content-disposition": 'attachment; filename="report.html"'}


class Reports:
    """Makes one report at a time.

    Args:
        lab: What the server knows.
    """

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._turn = asyncio.Lock()
        self._worker: Worker | None = None
        lab.at_end.append(self.end)

    async def answer(self, request: Request) -> Response:
        """The report that a request asks for: {"runs": [id, ...], "title": ..., "author": ...}.

        Raises:
            ConfigError: If the request is none, or names a run that is not there.
            GradbookError: If the report cannot be made.
        """
        asked = _checked(await object_of(request))
        made = await while_awaited(request, self._made_in_turn(asked))
        if made is None:
            return Response(status_code=204)
        if "error" in made:
            raise GradbookError(made["error"])
        return Response(made["html"], media_type="text/html", headers=_HEADERS)

    async def _made_in_turn(self, asked: dict[str, Any]) -> dict[str, Any]:
        folders = await asyncio.to_thread(self._folders, asked["runs"])
        async with self._turn:
            return await self._made({**asked, "folders": folders})

    def _folders(self, item_ids: list[str]) -> list[str]:
        find = self._lab.catalogue.folder_now
        return [str(find(item_id, ("run", "sweep")).absolute()) for item_id in item_ids]

    async def _made(self, asked: dict[str, Any]) -> dict[str, Any]:
        answered: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

        def told(message: dict[str, Any] | None) -> None:
            if not answered.done():
                ended = {"error": "The report could not be made: its process has ended."}
                answered.set_result(message or ended)

        self._worker = Worker("gradbook.lab.report_worker", told, threads=1)
        try:
            self._worker.send({**asked, "classes": list(self._lab.classes)})
            return await asyncio.wait_for(answered, _MAX_SECONDS)
        except TimeoutError:
            minutes = _MAX_SECONDS // 60
            return {"error": f"The report was not done after {minutes} minutes, and was given up."}
        finally:
            await self.end()

    async def end(self) -> None:
        """Ends the process, if there is one."""
        if self._worker is not None:
            await self._worker.end()


def routes(lab: Lab) -> list[Route]:
    """The address for reports."""
    return [Route("/api/report", Reports(lab).answer, methods=["POST"])]


def _checked(asked: dict[str, Any]) -> dict[str, Any]:
    """What a request asks for.

    Raises:
        ConfigError: If it asks for what there is not.
    """
    runs = asked.get("runs")
    if not isinstance(runs, list) or not all(isinstance(run, str) for run in runs) or not runs:
        raise ConfigError("A report is asked for with a list of runs.")
    if len(runs) > _MAX_RUNS:
        raise ConfigError(f"A report has at most {_MAX_RUNS} runs, but {len(runs)} are asked for.")
    told = {}
    for name in ("title", "author"):
        text = asked.get(name) or None
        if not isinstance(text, str | None) or len(text or "") > _MAX_LENGTH:
            raise ConfigError(f"The {name} of a report is a text of at most {_MAX_LENGTH} letters.")
        told[name] = text
    return {"runs": runs, **told}
