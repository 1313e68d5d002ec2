"""The application: which address has what, and how errors are answered."""

import sys
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route

from gradbook.errors import ConfigError, GradbookError, text_of, told
from gradbook.lab import look, playground, report_api, runs_api
from gradbook.lab.answers import EventStream, as_json
from gradbook.lab.feed import MAX_CURVES
from gradbook.lab.guard import App, Guard, TooLarge, TooSlow
from gradbook.lab.state import Lab

#: The files of the page, and how a browser is to take each.
PAGE = Path(__file__).with_name("page")
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}


def application(lab: Lab, secret: str) -> App:
    """The application for a server, behind its guard."""
    routes: list[BaseRoute] = [
        Route("/", _page, methods=["GET"]),
        Route("/page/{name:path}", _page, methods=["GET"]),
        Route("/api/events", _events, methods=["GET"]),
        *runs_api.routes(lab),
        *playground.routes(lab),
        *look.routes(lab),
        *report_api.routes(lab),
    ]

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            for end in lab.at_end:
                await end()

    handlers: Any = {
        GradbookError: _tell_error,
        TooLarge: _tell_too_large,
        TooSlow: _tell_too_slow,
        ClientDisconnect: _tell_too_slow,
        Exception: _tell_fault,
    }
    app = Starlette(routes=routes, exception_handlers=handlers, lifespan=lifespan)
    app.router.redirect_slashes = False
    app.state.lab = lab
    return Guard(app, secret)


async def _page(request: Request) -> Response:
    name = request.path_params.get("name", "index.html")
    path = _files().get(name)
    if path is None:
        return as_json({"error": "There is no such page."}, 404)
    return FileResponse(path, media_type=_TYPES[path.suffix], headers={"cache-control": "no-cache"})


@cache
def _files() -> dict[str, Path]:
    """The page's files by the names that addresses have for them: nothing else can be asked for."""
    return {
        path.relative_to(PAGE).as_posix(): path
        for path in PAGE.rglob("*")
        if path.suffix in _TYPES and path.is_file()
    }


async def _events(request: Request) -> Response:
    curves = dict.fromkeys(run for run in request.query_params.get("curves", "").split(",") if run)
    if len(curves) > MAX_CURVES:
        raise ConfigError(f"A page can follow {MAX_CURVES} runs at a time, not {len(curves)}.")
    after = request.headers.get("last-event-id") or request.query_params.get("after", "")
    lab: Lab = request.app.state.lab
    return EventStream(lab.feed.events(list(curves), after))


async def _tell_error(request: Request, error: Exception) -> Response:
    return as_json({"error": text_of(error)}, 400 if isinstance(error, ConfigError) else 422)


async def _tell_too_large(request: Request, error: Exception) -> Response:
    return as_json({"error": "The request is too large."}, 413)


async def _tell_too_slow(request: Request, error: Exception) -> Response:
    return as_json({"error": "The request did not come to its end."}, 408)


async def _tell_fault(request: Request, error: Exception) -> Response:
    """Answers a fault of the server's own, and has the terminal show where it is."""
    print("".join(traceback.format_exception(error)), file=sys.stderr, flush=True)
    what = f"The lab has failed at this: {told(error)}. The terminal shows where."
    return as_json({"error": what}, 500)
