"""A world of its own for each test: no caches, no system folder, no network but 127.0.0.1."""

import contextlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.patience import LONGEST

from gradbook.datasets import fashion_mnist, files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder."""
    folder = tmp_path / "folder"
    folder.mkdir()
    return folder


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("GRADBOOK_CACHE", str(folder / "cache"))
    monkeypatch.setenv("GRADBOOK_OFFLINE", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(fashion_mnist, "SYSTEM_FOLDER", folder / "system")
    monkeypatch.setattr(fashion_mnist, "_kept", {})
    monkeypatch.setattr(fashion_mnist, "_last_failure", None)
    monkeypatch.setattr(files, "_silent", {})


class Server:
    """Files over HTTP, with faults on request.

    Attributes:
        files: The content by path.
        break_off: How many bytes to send before the connection is closed, one number a request.
        status: The status by path, where it is not 200.
        requested: The paths that were asked for.
        together: How many requests must have arrived before one is answered in full.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.break_off: list[int] = []
        self.status: dict[str, int] = {}
        self.requested: list[str] = []
        self.together = threading.Barrier(1)
        self.url = ""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.delenv("GRADBOOK_OFFLINE")
    monkeypatch.setattr(files, "TIMEOUT_SECONDS", (LONGEST, LONGEST))
    served = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.requested.append(self.path)
            body = served.files.get(self.path)
            status = served.status.get(self.path, 404 if body is None else 200)
            body = b"no" if body is None else body
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if served.break_off:
                self.wfile.write(body[: served.break_off.pop(0)])
                return
            half = len(body) // 2
            with contextlib.suppress(ConnectionError):  # a client may have heard enough
                self.wfile.write(body[:half])
                served.together.wait(LONGEST)
                self.wfile.write(body[half:])

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        served.url = f"http://127.0.0.1:{httpd.server_port}/"
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield served
        httpd.shutdown()
        thread.join()
