"""What the page asks about runs and sweeps."""

from typing import TYPE_CHECKING

from starlette.routing import Route

if TYPE_CHECKING:
    from gradbook.lab.app import Lab


def routes(lab: "Lab") -> list[Route]:
    """The addresses for runs and sweeps."""
    return []
