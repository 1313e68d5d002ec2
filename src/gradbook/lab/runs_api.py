"""What the page asks about runs and sweeps."""

from starlette.routing import Route

from gradbook.lab.state import Lab


def routes(lab: Lab) -> list[Route]:
    """The addresses for runs and sweeps."""
    return []
