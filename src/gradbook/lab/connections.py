"""Connections of which not too many wait, nor for long: else anybody could keep others out.

A browser asks as soon as it is connected. Who connects and does not ask is let go after some
seconds, and earlier where many do so: the one that has waited longest first. Who asks and is not
the user gets an answer, with which the connection ends.
"""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

#: So many seconds a connection may take until its first request is there.
PATIENCE_SECONDS = 10.0

#: So many connections may be open without having asked for anything.
MAX_WAITING = 64


class Connection(H11Protocol):
    """A connection to the server."""

    #: The connections that have not yet asked, the oldest first.
    _waiting: "dict[Connection, asyncio.TimerHandle]" = {}  # noqa: RUF012 - shared on purpose

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """It is opened."""
        super().connection_made(transport)
        self._waiting[self] = self.loop.call_later(PATIENCE_SECONDS, self._give_up)
        if len(self._waiting) > MAX_WAITING:
            next(iter(self._waiting))._give_up()

    def data_received(self, data: bytes) -> None:
        """Something came."""
        super().data_received(data)
        if self.cycle is not None:  # a request is there
            self._has_asked()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed."""
        self._has_asked()
        super().connection_lost(exc)

    def _has_asked(self) -> None:
        timer = self._waiting.pop(self, None)
        if timer is not None:
            timer.cancel()

    def _give_up(self) -> None:
        self._has_asked()
        self.transport.abort()
