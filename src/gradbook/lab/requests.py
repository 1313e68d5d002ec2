"""What a page asks for, read, and whether it still waits for the answer."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

from gradbook.errors import ConfigError
from gradbook.untrusted import parsed, reason_of

T = TypeVar("T")

#: So often is looked whether the page still waits, in seconds.
_WAITING_SECONDS = 0.25


async def object_of(request: Request) -> dict[str, Any]:
    """The JSON object that a request brings.

    Raises:
        ConfigError: If it brings none.
    """
    try:
        told = parsed(await request.body(), "a request")
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"The request cannot be read: {reason_of(error)}.") from error
    if not isinstance(told, dict):
        raise ConfigError("The request must be a JSON object.")
    return told


async def while_awaited(request: Request, work: Coroutine[Any, Any, T]) -> T | None:
    """What work comes to. It is cancelled, and None is returned, when the page has gone.

    Args:
        request: The page's, whose body was read.
        work: What is done for it.
    """
    working = asyncio.ensure_future(work)
    try:
        while not working.done():
            await asyncio.wait({working}, timeout=_WAITING_SECONDS)
            if not working.done() and await request.is_disconnected():
                return None
        return working.result()
    finally:
        working.cancel()
