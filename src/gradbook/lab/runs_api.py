"""What the page asks about runs and sweeps, and where each answer is made."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gradbook.errors import ConfigError
from gradbook.lab.answers import as_json, picture
from gradbook.lab.compare_view import compare_view
from gradbook.lab.curve_view import MAX_POINTS, curve_view
from gradbook.lab.feed import MAX_CURVES
from gradbook.lab.filtering import Filtering
from gradbook.lab.run_view import folder_of_picture, run_view
from gradbook.lab.state import Lab
from gradbook.lab.sweep_view import sweep_view

#: To so many points a curve is thinned if the page does not say to how many.
_NUM_POINTS = 2000


def routes(lab: Lab) -> list[Route]:
    """The addresses for runs and sweeps."""
    filtering = Filtering(lab.catalogue)

    # Each is a plain function, which Starlette calls in a thread: a slow disk keeps nobody waiting.

    def runs(request: Request) -> Response:
        return as_json({"ids": filtering.admitted(_asked(request, "filter"))})

    def run(request: Request) -> Response:
        return as_json(run_view(lab.catalogue, _asked(request, "id")))

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
        return as_json(curve_view(lab.catalogue, run, kind, label, limits, num_points, weight))

    def compare(request: Request) -> Response:
        ids = list(filter(None, _asked(request, "runs").split(",")))
        if len(ids) > MAX_CURVES:
            raise ConfigError(f"At most {MAX_CURVES} runs can be compared, not {len(ids)}.")
        return as_json(compare_view(lab.catalogue, ids))

    def sweep(request: Request) -> Response:
        return as_json(sweep_view(lab.catalogue, _asked(request, "id")))

    def one_picture(request: Request) -> Response:
        name = _asked(request, "name")
        return picture(folder_of_picture(lab.catalogue, _asked(request, "id"), name), name)

    return [
        Route("/api/runs", runs),
        Route("/api/run", run),
        Route("/api/curve", curve),
        Route("/api/compare", compare),
        Route("/api/sweep", sweep),
        Route("/api/picture", one_picture),
    ]


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
