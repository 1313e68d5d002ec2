"""Looks at trained models, for the page: computed in a process of its own."""

from starlette.routing import Route

from gradbook.lab.state import Lab


def routes(lab: Lab) -> list[Route]:
    """The addresses of looks."""
    return []
