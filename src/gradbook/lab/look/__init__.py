"""Looks at trained models, for the page: computed in a process of its own."""

from typing import TYPE_CHECKING

from starlette.routing import Route

if TYPE_CHECKING:
    from gradbook.lab.app import Lab


def routes(lab: "Lab") -> list[Route]:
    """The addresses of looks."""
    return []
