"""The playground: a network trained in the browser's sight, in a process of its own.

`sessions.py` is the server's half, which loads no PyTorch. In the process, `training.py` trains
between the page's orders, `controls.py` says what can be set, `pictures.py` what is drawn, and
`keeping.py` writes a run when it is wanted.
"""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from gradbook.errors import ConfigError
from gradbook.lab.playground.sessions import Order, Sessions, finished_ones
from gradbook.lab.state import Lab


def routes(lab: Lab) -> list[Route]:
    """The addresses of the playground."""
    sessions = Sessions(lab)

    async def begin(request: Request) -> Response:
        """POST: begins a session."""
        await _object(request)
        await sessions.wait_for_room()
        return JSONResponse({"session": sessions.new().id, **finished_ones()})

    async def order(request: Request) -> Response:
        """POST: {"command": "start", ...} begins a training, another command is for it."""
        told = await _object(request)
        try:
            session = sessions.find(request.path_params["session"])
        except LookupError:
            return _gone()
        command = told.get("command")
        if not isinstance(command, str):
            raise ConfigError("A request has a command, which is a text.")
        if command == "start":
            return JSONResponse({"training": session.start(Order.of(told))})
        session.order(command, told.get("value"))
        return JSONResponse({})

    async def events(request: Request) -> Response:
        """GET: what is new in a session, as server-sent events."""
        try:
            session = sessions.find(request.path_params["session"])
        except LookupError:
            return _gone()
        after = request.headers.get("last-event-id") or request.query_params.get("after", "")
        return StreamingResponse(session.events(after), media_type="text/event-stream")

    return [
        Route("/api/playground", begin, methods=["POST"]),
        Route("/api/playground/{session}", order, methods=["POST"]),
        Route("/api/playground/{session}/events", events),
    ]


async def _object(request: Request) -> dict[str, Any]:
    try:
        told = await request.json()
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise ConfigError("A request is a JSON object.")
    return told


def _gone() -> Response:
    return JSONResponse({"error": "This playground has ended: its page was away."}, 404)
