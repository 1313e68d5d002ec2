"""The playground: a network trained in the browser's sight, in a process of its own.

`sessions.py` is the server's half, which loads no PyTorch. In the process, `training.py` trains
between the page's orders, `controls.py` says what can be set, `pictures.py` what is drawn, and
`keeping.py` writes a run when it is wanted.
"""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gradbook.errors import ConfigError
from gradbook.lab.answers import EventStream, as_json
from gradbook.lab.playground.sessions import Order, Sessions, finished_ones
from gradbook.lab.requests import object_of
from gradbook.lab.state import Lab


def routes(lab: Lab) -> list[Route]:
    """The addresses of the playground."""
    sessions = Sessions(lab)

    async def begin(request: Request) -> Response:
        """POST: begins a session."""
        await object_of(request)
        await sessions.wait_for_room()
        return as_json({"session": sessions.new().id, **finished_ones()})

    async def order(request: Request) -> Response:
        """POST: {"command": "start", ...} begins a training, another command is for it."""
        told = await object_of(request)
        try:
            session = sessions.find(request.path_params["session"])
        except LookupError:
            return _gone()
        command = told.get("command")
        if not isinstance(command, str):
            raise ConfigError("A request has a command, which is a text.")
        if command == "start":
            return as_json({"training": session.start(Order.of(told))})
        session.order(command, told.get("value"))
        return as_json({})

    async def events(request: Request) -> Response:
        """GET: what is new in a session, as server-sent events."""
        try:
            session = sessions.find(request.path_params["session"])
        except LookupError:
            return _gone()
        after = request.headers.get("last-event-id") or request.query_params.get("after", "")
        return EventStream(session.events(after))

    return [
        Route("/api/playground", begin, methods=["POST"]),
        Route("/api/playground/{session}", order, methods=["POST"]),
        Route("/api/playground/{session}/events", events),
    ]


def _gone() -> Response:
    return as_json({"error": "This playground has ended: its page was away."}, 404)
