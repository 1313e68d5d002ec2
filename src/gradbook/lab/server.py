"""The server: a port of this machine that no other machine reaches, from start to Ctrl-C."""

import errno
import os
import signal
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import uvicorn
from platformdirs import user_state_path

from gradbook.errors import ConfigError
from gradbook.interrupts import Terminated, handled
from gradbook.lab.app import application
from gradbook.lab.connections import Connection
from gradbook.lab.secret import secret_of
from gradbook.lab.state import Lab
from gradbook.storage import check_path

#: The port that is taken if it is free, or one of the next ones.
PORT, _NUM_PORTS = 8517, 20

#: So many seconds a stream to a page may go on when the server is told to stop.
_GRACE_SECONDS = 1

#: So many connections may wait to be taken up.
_BACKLOG = 128

#: The longest head of a request: the address may name many runs with long names.
_MAX_HEAD_BYTES = 1 << 18


def serve(
    root: Path | str,
    classes: Sequence[str] = (),
    port: int | None = None,
    told: Callable[[str], None] = print,
) -> None:
    """Serves the page until Ctrl-C or SIGTERM.

    Args:
        root: The folder of the runs. It may not exist yet.
        classes: The learner's own models and data sets, such as "my_file.py:MyNet".
        port: The port; None takes 8517, or the next one that is free.
        told: Is given the address once it can be opened.

    Raises:
        ConfigError: If the folder is none, or the port is taken or may not be opened.
        KeyboardInterrupt: When it was stopped; `Terminated` where by another signal than Ctrl-C's.
    """
    check_path(root, "The folder of the runs", "runs")
    if os.path.exists(root) and not os.path.isdir(root):
        raise ConfigError(f"{str(root)!r} is not a folder. Name the one that holds the runs.")
    secret = secret_of(user_state_path("gradbook") / "lab-secret")
    with _opened(port) as opened:
        config = uvicorn.Config(
            application(Lab(Path(root), classes), secret),
            http=Connection,
            ws="none",
            loop="asyncio",
            lifespan="on",
            log_config=None,
            log_level="critical",  # a learner's terminal is no server's log
            access_log=False,
            proxy_headers=False,  # who asks is who is connected
            server_header=False,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=_GRACE_SECONDS,
            h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
            backlog=_BACKLOG,
        )
        server = uvicorn.Server(config)
        hung_up: list[int] = []

        def hang_up(number: int, frame: object) -> None:
            hung_up.append(number)
            server.should_exit = True

        told(f"http://127.0.0.1:{opened.getsockname()[1]}/?token={secret}")
        with handled(_hang_ups(), hang_up):  # the other signals are uvicorn's
            server.run(sockets=[opened])
        if hung_up:
            raise Terminated(hung_up[0])


def _hang_ups() -> list[int]:
    """The signal of a terminal that is closed, where there is one and it is not ignored."""
    number = getattr(signal, "SIGHUP", None)
    return [] if number is None or signal.getsignal(number) == signal.SIG_IGN else [number]


def _opened(port: int | None) -> socket.socket:
    """A socket that listens on this machine only."""
    ports = range(PORT, PORT + _NUM_PORTS) if port is None else [port]
    for number in ports:
        opened = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):  # Windows: nobody else may take it, too
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            opened.bind(("127.0.0.1", number))
            opened.listen(_BACKLOG)  # from now on who connects waits, and is not refused
            return opened
        except OSError as error:
            opened.close()
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise ConfigError(f"Port {number} cannot be opened: {error.strerror}.") from error
            last = error
    which = f"Port {port} is" if port is not None else f"The ports {PORT} to {ports[-1]} are all"
    raise ConfigError(
        f"{which} not free ({last.strerror}). Is there another lab? `--port 0` takes any that is."
    ) from last
