"""The processes that look at models: one for each page, kept warm, and what happens if one dies."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from gradbook.errors import ConfigError, GradbookError
from gradbook.lab.look.asked import SECONDS, Asked
from gradbook.lab.signatures import code_signature
from gradbook.lab.worker import Worker

#: The most pages that look at models at the same time, each with PyTorch and a data set in memory.
MOST_DESKS = 3

#: A process that has had nothing to do for so many seconds ends.
IDLE_SECONDS = 300.0

#: The longest answer, in bytes.
_MOST_BYTES = 1 << 24

_MODULE = "gradbook.lab.look.looking"


class LookError(GradbookError, RuntimeError):
    """A look that came to no result."""


class Desks:
    """The desks of all pages.

    Args:
        classes: The learner's own classes, as the command line named them.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = tuple(classes)
        self._desks: dict[str, Desk] = {}
        self._choosing = asyncio.Lock()

    async def compute(self, asked: Asked) -> bytes:
        """The answer to a page, as JSON.

        Raises:
            ConfigError: If too many pages look at models, or what was asked for is not there.
            LookError: If it took too long, or the process died.
        """
        async with self._choosing:  # while a desk is ended for another, nobody takes its place
            desk = self._desks.pop(asked.page, None) or await self._new_desk()
            self._desks[asked.page] = desk  # the last that was used stands last
            working = asyncio.ensure_future(desk.compute(asked))
            await asyncio.sleep(0)  # it has begun, and so is busy
        try:
            return await working
        finally:
            working.cancel()

    async def _new_desk(self) -> "Desk":
        if len(self._desks) >= MOST_DESKS:
            free = next((page for page, desk in self._desks.items() if not desk.is_busy), None)
            if free is None:
                raise ConfigError(
                    f"{MOST_DESKS} pages look at models at the moment, and each takes memory. Wait "
                    f"until one of them is done, or close it."
                )
            await self._desks.pop(free).end()
        return Desk(self._classes)

    async def end(self) -> None:
        """Ends all processes."""
        desks, self._desks = [*self._desks.values()], {}
        await asyncio.gather(*(desk.end() for desk in desks))


class Desk:
    """Where one page's questions are answered, one after the other, by one process.

    Args:
        classes: The learner's own classes, as the command line named them.
    """

    def __init__(self, classes: tuple[str, ...]) -> None:
        self._classes = classes
        self._code: tuple[Any, ...] = ()
        self._worker: Worker | None = None
        self._answer: asyncio.Future[dict[str, Any]] | None = None
        self._turn = asyncio.Lock()
        self._num_waiting = 0
        self._idle: asyncio.TimerHandle | None = None
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def is_busy(self) -> bool:
        """Whether something is computed, or waits for it."""
        return self._num_waiting > 0

    async def compute(self, asked: Asked) -> bytes:
        """The answer, as JSON. Whoever cancels this ends the computation."""
        self._num_waiting += 1
        try:
            async with self._turn:
                return await self._computed(asked)
        finally:
            self._num_waiting -= 1
            self._rest()

    async def _computed(self, asked: Asked) -> bytes:
        worker = self._ready()
        self._answer = asyncio.get_running_loop().create_future()
        message = {
            "folder": str(asked.folder),
            "signature": repr(asked.signature),
            "what": asked.what,
            "options": asked.options,
            "classes": self._classes,
        }
        seconds = SECONDS[asked.what]
        try:
            worker.send(message)
            answer = await asyncio.wait_for(self._answer, seconds)
        except TimeoutError:
            self._dismiss()
            raise LookError(
                f"This took more than {seconds // 60} minutes and was stopped. Ask for fewer "
                f"examples, or take the command in a terminal, which waits as long as you do."
            ) from None
        except (asyncio.CancelledError, LookError):
            self._dismiss()  # it cannot be interrupted within PyTorch
            raise
        finally:
            self._answer = None
        if "error" in answer:
            Error = ConfigError if answer.get("is_config") else LookError
            raise Error(answer["error"])
        content = json.dumps(answer["result"], allow_nan=False, separators=(",", ":")).encode()
        if len(content) > _MOST_BYTES:
            raise LookError(
                f"The answer has {len(content):,} bytes, more than a page can show. Take the "
                f"command in a terminal."
            )
        return content

    def _ready(self) -> Worker:
        """The process; a new one if there is none, or the learner's own files have changed."""
        if self._idle is not None:
            self._idle.cancel()
        code = code_signature(self._classes)
        if self._worker is not None and (code != self._code or not self._worker.is_alive):
            self._dismiss()
        if self._worker is None:
            self._code = code
            worker = self._worker = Worker(_MODULE, lambda message: self._told(worker, message))
        return self._worker

    def _told(self, worker: Worker, message: dict[str, Any] | None) -> None:
        if worker is not self._worker or self._answer is None or self._answer.done():
            return
        if message is None:
            self._answer.set_exception(
                LookError(
                    "The process that looks at the model has died: it may have needed more memory "
                    "than there is. Ask again, and a new one starts."
                )
            )
        else:
            self._answer.set_result(message)

    def _rest(self) -> None:
        """Ends the process when it has had nothing to do for a while."""
        if self._idle is not None:
            self._idle.cancel()
        with suppress(RuntimeError):  # the loop is closed: the server ends
            loop = asyncio.get_running_loop()
            self._idle = loop.call_later(IDLE_SECONDS, partial(self._dismiss, if_idle=True))

    def _dismiss(self, if_idle: bool = False) -> None:
        """Has the process end, without waiting for that."""
        if self._worker is None or (if_idle and self.is_busy):
            return
        worker, self._worker = self._worker, None
        task = asyncio.get_running_loop().create_task(worker.end())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def end(self) -> None:
        """Ends the process."""
        if self._idle is not None:
            self._idle.cancel()
        self._dismiss()
        await asyncio.gather(*self._ending, return_exceptions=True)
