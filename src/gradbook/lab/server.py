"""The server: a port of this machine that no other machine reaches, from start to Ctrl-C."""

import errno
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from platformdirs import user_state_path

from gradbook.errors import ConfigError
from gradbook.lab.app import application
from gradbook.lab.guard import secret_of
from gradbook.lab.state import Lab

#: The port that is taken if it is free, or one of the next ones.
PORT, _NUM_PORTS = 8517, 20

#: So many seconds a stream to a page may go on when the server is told to stop.
_GRACE_SECONDS = 1


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
        ConfigError: If the port is taken, or may not be opened.
        StorageError: If the secret cannot be kept.
    """
    import uvicorn

    secret = secret_of(user_state_path("gradbook") / "lab-secret")
    opened = _opened(port)
    with opened:
        lab = Lab(Path(root), classes)
        config = uvicorn.Config(
            application(lab, secret),
            log_level="critical",  # a learner's terminal is no server's log
            lifespan="on",
            server_header=False,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=_GRACE_SECONDS,
            h11_max_incomplete_event_size=1 << 16,
            backlog=64,
        )
        server = uvicorn.Server(config)
        told(f"http://127.0.0.1:{opened.getsockname()[1]}/?token={secret}")
        server.run(sockets=[opened])


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
