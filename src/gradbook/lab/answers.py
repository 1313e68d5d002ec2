"""Answers that are safe to give, whatever the names, values and files in them are."""

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path, PurePath
from typing import Any

from starlette.responses import Response, StreamingResponse

from gradbook.errors import ConfigError
from gradbook.lab.guard import Send
from gradbook.storage import finite
from gradbook.untrusted import inside, read_file

#: A picture that is larger is not shown, in bytes.
MAX_PICTURE_BYTES = 1 << 24

# Made once, because json.dumps() would make one for each value.
_encoded = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode

_PICTURES = {".svg": "image/svg+xml", ".png": "image/png"}

#: A picture that is opened by itself may do nothing. Matplotlib's have styles and images within.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"


def written(value: Any) -> str:
    """A value as JSON in ASCII, which has no name that cannot be written, on one line.

    NaN and infinities become null.
    """
    try:
        return _encoded(value)
    except ValueError:
        return _encoded(finite(value))


def as_json(value: Any, code: int = 200) -> Response:
    """An answer of JSON, with a status."""
    return Response(written(value), code, media_type="application/json")


class EventStream(StreamingResponse):
    """A stream of server-sent events, which is closed at once when nobody listens any more."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[bytes]) -> None:
        super().__init__(events)

    async def stream_response(self, send: Send) -> None:
        """Sends what there is until there is no more."""
        async with aclosing(self.body_iterator):  # type: ignore[type-var]
            await super().stream_response(send)


def picture(folder: Path | str, name: str) -> Response:
    """A picture of a run, as an answer. It is read here and now: call this in a thread.

    Args:
        folder: The run's folder, as the catalogue gives it.
        name: The file, one of those that a run may have: the caller chooses it from a list.

    Raises:
        ConfigError: If there is no such picture.
        CorruptFileError: If it is a link that leads out of the folder, no file, or too large.
    """
    kind = _PICTURES.get(PurePath(name).suffix)
    if kind is None:
        raise ConfigError(f"{name!r:.200} is no picture: its name ends in none of .svg and .png.")
    try:
        content = read_file(inside(folder, name), MAX_PICTURE_BYTES)
    except FileNotFoundError:
        raise ConfigError(f"There is no picture {name!r:.200} of this run.") from None
    return Response(content, media_type=kind, headers={"content-security-policy": _POLICY})
