"""The application: which address has what, and how errors are answered."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from gradbook.errors import ConfigError, GradbookError, text_of
from gradbook.lab import look, playground, report_api, runs_api
from gradbook.lab.feed import MAX_CURVES
from gradbook.lab.guard import App, Guard, TooLarge
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
        Route("/", _page),
        Route("/page/{name:path}", _page),
        Route("/api/events", _events),
        *runs_api.routes(lab),
        *playground.routes(lab),
        *look.routes(lab),
        *report_api.routes(lab),
    ]

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        for end in lab.at_end:
            await end()

    handlers: Any = {
        GradbookError: _tell_error,
        TooLarge: _tell_too_large,
        ClientDisconnect: _tell_error,
    }
    app = Starlette(routes=routes, exception_handlers=handlers, lifespan=lifespan)
    app.state.lab = lab
    return Guard(app, secret)


async def _page(request: Request) -> Response:
    name = request.path_params.get("name", "index.html")
    path = _files().get(name)
    if path is None:
        return JSONResponse({"error": "There is no such page."}, 404)
    return FileResponse(path, media_type=_TYPES[path.suffix], headers={"cache-control": "no-cache"})


def _files() -> dict[str, Path]:
    """The page's files by the names that addresses have for them: nothing else can be asked for."""
    return {
        path.relative_to(PAGE).as_posix(): path
        for path in PAGE.rglob("*")
        if path.suffix in _TYPES and path.is_file()
    }


async def _events(request: Request) -> Response:
    curves = [run for run in request.query_params.get("curves", "").split(",") if run]
    if len(curves) > MAX_CURVES:
        raise ConfigError(f"A page can follow {MAX_CURVES} runs at a time, not {len(curves)}.")
    after = request.headers.get("last-event-id") or request.query_params.get("after", "")
    lab: Lab = request.app.state.lab
    stream = lab.feed.events(curves, after)
    return StreamingResponse(stream, media_type="text/event-stream")


async def _tell_error(request: Request, error: Exception) -> Response:
    code = 400 if isinstance(error, ConfigError) else 422
    return JSONResponse({"error": text_of(error)}, code)


async def _tell_too_large(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "The request is too large."}, 413)
