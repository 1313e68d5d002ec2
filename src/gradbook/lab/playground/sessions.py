"""The server's half of the playground: a session for each page, with a process that trains.

What a process tells are parts: the state, the controls, a frame. A page gets each part that is
newer than what it has, and every point that was recorded. So a page that reads slowly misses
frames, and never a point; and one that was cut off goes on where it was.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from gradbook.errors import ConfigError
from gradbook.lab.answers import written
from gradbook.lab.signatures import Signature, code_signature
from gradbook.lab.state import Lab
from gradbook.lab.worker import Worker
from gradbook.registry import DATA, MODELS

#: The most pages that can train at a time; each has a process with PyTorch.
MAX_SESSIONS = 4

#: A session ends when no page has listened for so many seconds.
_IDLE_SECONDS = 30.0

#: A process that does not begin what it is told to within so many seconds is replaced.
_PATIENCE_SECONDS = 3.0

#: After so many seconds without news a line is sent, which tells that the server is there.
_SILENCE_SECONDS = 10.0

#: The most settings, and the longest of them.
_MAX_SETTINGS, _LONGEST_TEXT = 64, 200

#: The most points of one training that are kept for a page that comes back.
_MAX_POINTS = 500_000

_MODULE = "gradbook.lab.playground.training"


@dataclass
class Order:
    """A training as a page asks for it, checked as far as it can be without loading PyTorch.

    Attributes:
        model, data: Names of finished ones or of the learner's own; empty leaves it to the process.
        settings: Texts, as on the command line.
        lr_at: Changes of the learning rate, each as [after so many steps, the rate].
        running: Whether it begins at once.
        speed: The most steps a second; None for as many as there can be.
    """

    model: str
    data: str
    settings: dict[str, str]
    lr_at: list[list[float]]
    running: bool
    speed: float | None

    @classmethod
    def of(cls, told: dict[str, Any]) -> "Order":
        """Reads the JSON of a page.

        Raises:
            ConfigError: If it is of another form.
        """
        settings, changes = told.get("settings", {}), told.get("lr_at", [])
        if not isinstance(settings, dict) or len(settings) > _MAX_SETTINGS:
            raise ConfigError(f"Settings are an object of at most {_MAX_SETTINGS} texts.")
        for name, text in settings.items():
            if not isinstance(text, str) or max(len(name), len(text)) > _LONGEST_TEXT:
                raise ConfigError(f"The setting {name!r:.80} is no text, or is too long.")
        if not isinstance(changes, list) or not all(map(_is_change, changes[:_MAX_SETTINGS])):
            raise ConfigError(
                f"Changes of the learning rate are a list of [step, rate], but these are "
                f"{changes!r:.80}."
            )
        if len(changes) > _MAX_SETTINGS:
            raise ConfigError(f"The learning rate is changed at most {_MAX_SETTINGS} times.")
        model, data = told.get("model", ""), told.get("data", "")
        if not all(isinstance(name, str) and len(name) <= 1000 for name in (model, data)):
            raise ConfigError("The names of a model and of data are texts.")
        is_running = told.get("running") is True
        return cls(model, data, settings, changes, is_running, _speed(told.get("speed")))


def _is_change(value: Any) -> bool:
    """Whether it is [step, rate]."""
    if not isinstance(value, list) or len(value) != 2 or not all(map(_is_number, value)):
        return False
    return isinstance(value[0], int) and 0 <= value[0] <= 1e9 and 0 <= value[1] <= 1e6


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _speed(value: Any) -> float | None:
    if value is None:
        return None
    if not _is_number(value) or not 0.1 <= value <= 10_000:
        raise ConfigError(f"A speed is from 0.1 to 10000 steps a second, but it is {value!r:.80}.")
    return float(value)


@dataclass
class Session:
    """The trainings of one page, one after the other.

    Attributes:
        lab: What the server knows.
        id: What a page calls it.
        num_listeners: How many streams read it.
        left: When the last one has gone.
    """

    lab: Lab
    id: str = field(default_factory=lambda: secrets.token_urlsafe(9))
    num_listeners: int = 0
    left: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._worker: Worker | None = None
        self._loaded: Signature = ()
        self._number = 0  # of the training
        self._has_begun = self._is_ready = self._is_ended = False
        self._order: Order | None = None
        self._version = 0
        self._parts: dict[str, tuple[int, Any]] = {}
        self._points: list[Any] = []
        self._news = asyncio.Event()
        self._waiting: asyncio.Task[None] | None = None

    # Orders

    def start(self, order: Order) -> int:
        """Begins a training, in the place of the one before. Returns its number."""
        self._number, self._order, self._has_begun = self._number + 1, order, False
        self._parts, self._points = {}, []
        if self._worker is not None and (not self._worker.is_alive or self._files_changed()):
            self._replace()
        if self._worker is None:
            self._begin_process()
        self._take({"state": {"name": "preparing"}})
        self._send_start()
        if self._waiting is not None:
            self._waiting.cancel()
        self._waiting = asyncio.create_task(self._see_that_it_begins())
        return self._number

    def _send_start(self) -> None:
        assert self._worker is not None
        assert self._order is not None
        message = {"command": "start", "training": self._number, **vars(self._order)}
        message |= {"classes": list(self.lab.classes), "root": str(self.lab.root)}
        self._worker.send(message)

    def order(self, command: str, value: Any = None) -> None:
        """Tells the process something about the training.

        Raises:
            ConfigError: If there is no such command, or no process.
        """
        if command not in ("run", "pause", "step", "speed", "lr", "keep"):
            raise ConfigError(f"There is no command {command!r:.80}.")
        if command == "speed":
            value = _speed(value)
        elif command == "step":
            value = 1 if value is None else value
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 100_000:
                raise ConfigError(f"From 1 to 100000 steps can be taken, not {value!r:.80}.")
        elif command == "lr" and (not _is_number(value) or not 0 <= value <= 1e6):
            raise ConfigError(f"A learning rate is from 0 to 1e6, but it is {value!r:.80}.")
        if self._worker is None or not self._worker.is_alive:
            raise ConfigError("There is no training. Begin one with Reset.")
        self._worker.send({"command": command, "value": value})

    async def end(self) -> None:
        """Ends the process."""
        if self._waiting is not None:
            self._waiting.cancel()
        worker, self._worker = self._worker, None
        self._is_ended = True
        self._news.set()
        if worker is not None:
            await worker.end()

    # The process

    def _begin_process(self) -> None:
        self._loaded, self._is_ready = code_signature(self.lab.classes), False

        def told(message: dict[str, Any] | None) -> None:
            if self._worker is not worker:  # one that was replaced
                return
            if message is None:
                self._worker = None
                self._take({"problem": _DIED, "state": {"name": "dead"}})
                return
            self._is_ready = True
            if message.pop("training", None) != self._number:
                return  # of the one before
            self._has_begun = True
            if message.pop("again", False):
                self._begin_again()
            else:
                self._take(message)

        # One thread: the same settings give the same bits, and several pages share the machine.
        worker = self._worker = Worker(_MODULE, told, threads=1)

    def _replace(self) -> None:
        """Leaves a process that is of no more use to its end."""
        before, self._worker = self._worker, None
        if before is not None:
            task = asyncio.create_task(before.end())
            _ENDING.add(task)
            task.add_done_callback(_ENDING.discard)

    def _files_changed(self) -> bool:
        """Whether a learner's file is not what the process has loaded."""
        return code_signature(self.lab.classes) != self._loaded

    async def _see_that_it_begins(self) -> None:
        await asyncio.sleep(_PATIENCE_SECONDS)
        # A process that is not ready loads PyTorch, which may take long.
        if self._is_ready and not self._has_begun:
            self._begin_again()

    def _begin_again(self) -> None:
        """Has a new process do what the present one does not, or cannot."""
        self._replace()
        self._begin_process()
        self._send_start()

    # What is told

    def _take(self, parts: dict[str, Any]) -> None:
        self._version += 1
        self._points += parts.pop("points", [])
        del self._points[: max(len(self._points) - _MAX_POINTS, 0)]
        for name, value in parts.items():
            self._parts[name] = self._version, value
        self._news.set()
        self._news = asyncio.Event()

    async def events(self, after: str) -> AsyncIterator[bytes]:
        """The events for a page, as the bytes of a stream of server-sent events.

        Args:
            after: The id of the last event that it has; empty for none.
        """
        number, version, num_points = _known(after, self.id)
        self.num_listeners += 1
        try:
            yield b"retry: 1000\n\n"
            while not self._is_ended:
                news = self._news
                if number != self._number:
                    number, version, num_points = self._number, -1, 0
                if version < self._version:
                    told: dict[str, Any] = {
                        name: value for name, (when, value) in self._parts.items() if when > version
                    }
                    told |= {"training": number, "starts_anew": version < 0}
                    told["points"] = self._points[num_points:]
                    version, num_points = self._version, len(self._points)
                    place = f"{self.id}.{number}.{version}.{num_points}"
                    yield f"id: {place}\nevent: news\ndata: {written(told)}\n\n".encode()
                    continue
                with suppress(TimeoutError):
                    await asyncio.wait_for(news.wait(), _SILENCE_SECONDS)
                    continue
                yield b": still here\n\n"
        finally:
            self.num_listeners -= 1
            self.left = time.monotonic()


#: What is said when the process is gone.
_DIED = (
    "The process that trained has ended: it was killed, ran out of memory, or the model's code "
    "ended it. Reset begins with a new one."
)

#: Processes that are on their way to their end.
_ENDING: set[asyncio.Task[None]] = set()


def _known(after: str, session: str) -> tuple[int, int, int]:
    """What a page has: the number of the training, the version of its parts, how many points."""
    with suppress(ValueError):
        own, *numbers = after.split(".")
        if own == session:
            number, version, num_points = map(int, numbers)
            return number, version, num_points
    return -1, -1, 0


class Sessions:
    """All sessions of a server.

    Args:
        lab: What the server knows.
    """

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._sessions: dict[str, Session] = {}
        self._tidying: asyncio.Task[None] | None = None
        lab.at_end.append(self.end)

    async def wait_for_room(self) -> None:
        """Waits while too many processes are on their way to their end.

        A page that is loaded again and again would otherwise fill the memory with them.
        """
        while len(_ENDING) >= MAX_SESSIONS:
            await asyncio.wait(_ENDING, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(0)  # what has ended is taken out

    def new(self) -> Session:
        """A new session.

        Raises:
            ConfigError: If there are as many as there may be.
        """
        if len(self._sessions) >= MAX_SESSIONS:
            idle = [one for one in self._sessions.values() if one.num_listeners == 0]
            if not idle:
                raise ConfigError(
                    f"{MAX_SESSIONS} pages have a playground open, which is the most at a time. "
                    f"Close one of them."
                )
            self._forget(min(idle, key=lambda one: one.left))
        session = Session(self.lab)
        self._sessions[session.id] = session
        if self._tidying is None:
            self._tidying = asyncio.create_task(self._tidy())
        return session

    def find(self, name: str) -> Session:
        """The session of an id.

        Raises:
            LookupError: If there is none.
        """
        return self._sessions[name]

    async def end(self) -> None:
        """Ends all of them."""
        if self._tidying is not None:
            self._tidying.cancel()
        sessions, self._sessions = list(self._sessions.values()), {}
        await asyncio.gather(*(one.end() for one in sessions), *_ENDING)

    def _forget(self, session: Session) -> None:
        del self._sessions[session.id]
        task = asyncio.create_task(session.end())
        _ENDING.add(task)
        task.add_done_callback(_ENDING.discard)

    async def _tidy(self) -> None:
        while self._sessions:
            await asyncio.sleep(1)
            for session in list(self._sessions.values()):
                is_idle = session.num_listeners == 0
                if is_idle and time.monotonic() - session.left > _IDLE_SECONDS:
                    self._forget(session)
        self._tidying = None


def finished_ones() -> dict[str, dict[str, str]]:
    """The names of the library's models and data sets, with what each is."""
    return {
        "models": {name: entry.text for name, entry in MODELS.items()},
        "data": {name: entry.text for name, entry in DATA.items()},
    }
