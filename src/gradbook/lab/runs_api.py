"""What the page asks about runs and sweeps, and where each answer is made."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gradbook.errors import ConfigError
from gradbook.lab.compare_view import compare_view
from gradbook.lab.curve_view import MAX_POINTS, curve_view
from gradbook.lab.feed import MAX_CURVES
from gradbook.lab.filtering import Filtering
from gradbook.lab.run_view import picture, run_view
from gradbook.lab.state import Lab
from gradbook.lab.sweep_view import sweep_view

#: To so many points a curve is thinned if the page does not say to how many.
_NUM_POINTS = 2000

#: A picture may do nothing: an SVG file is a document, and comes from a stranger's folder.
_PICTURE_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    "x-content-type-options": "nosniff",
    "content-disposition": "inline",
}


def routes(lab: Lab) -> list[Route]:
    """The addresses for runs and sweeps."""
    filtering = Filtering(lab.catalogue)

    # Each is a plain function, which Starlette calls in a thread: a slow disk keeps nobody waiting.

    def runs(request: Request) -> Response:
        return _json({"ids": filtering.admitted(_asked(request, "filter"))})

    def run(request: Request) -> Response:
        return _json(run_view(lab.catalogue, _asked(request, "id")))

    def curve(request: Request) -> Response:
        limits = _number(request, "from"), _number(request, "to")
        asked = _number(request, "points")
        num_points = _NUM_POINTS if asked is None else int(asked)
        if not 1 <= num_points <= MAX_POINTS:
            raise ConfigError(f"points must be from 1 to {MAX_POINTS:,}, but it is {num_points:,}.")
        weight = _number(request, "smooth") or 0
        if not 0 <= weight < 1:
            raise ConfigError(f"smooth must be at least 0 and below 1, but it is {weight:g}.")
        run, kind, label = (_asked(request, name) for name in ("run", "kind", "label"))
        return _json(curve_view(lab.catalogue, run, kind, label, limits, num_points, weight))

    def compare(request: Request) -> Response:
        ids = list(filter(None, _asked(request, "runs").split(",")))
        if len(ids) > MAX_CURVES:
            raise ConfigError(f"At most {MAX_CURVES} runs can be compared, not {len(ids)}.")
        return _json(compare_view(lab.catalogue, ids))

    def sweep(request: Request) -> Response:
        return _json(sweep_view(lab.catalogue, _asked(request, "id")))

    def one_picture(request: Request) -> Response:
        kind, content = picture(lab.catalogue, _asked(request, "id"), _asked(request, "name"))
        return Response(content, media_type=kind, headers=_PICTURE_HEADERS)

    return [
        Route("/api/runs", runs),
        Route("/api/run", run),
        Route("/api/curve", curve),
        Route("/api/compare", compare),
        Route("/api/sweep", sweep),
        Route("/api/picture", one_picture),
    ]


def _json(value: dict[str, Any]) -> Response:
    return JSONResponse(value)


def _asked(request: Request, name: str) -> str:
    """A parameter of the request; empty if it has none."""
    return str(request.query_params.get(name, ""))


def _number(request: Request, name: str) -> float | None:
    """A parameter that is a finite number; None if the request has none."""
    text = _asked(request, name)
    try:
        number = float(text) if text else None
    except ValueError:
        number = float("nan")
    if number is not None and not abs(number) < float("inf"):
        raise ConfigError(f"{name} must be a finite number, but it is {text!r:.60}.")
    return number
