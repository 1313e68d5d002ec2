"""The playground: a network trained in the browser's sight, in a process of its own."""

from starlette.routing import Route

from gradbook.lab.state import Lab


def routes(lab: Lab) -> list[Route]:
    """The addresses of the playground."""
    return []
