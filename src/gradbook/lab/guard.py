"""Who may ask the server: the user's own browser, once it was given the token, and nobody else.

The server listens on this machine only, but every page that the user's browser shows, every program
and every other user of the machine can reach it there. So each request must name this machine as
its host (against names that are made to lead here), come from the page itself where it changes
something (against other sites' pages), and carry the secret (against everybody else).
"""

import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from gradbook.storage import write_atomically
from gradbook.untrusted import read_file

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

#: The names of this machine, from itself.
_HOSTS = {"127.0.0.1", "localhost", "[::1]"}

#: The longest body of a request, in bytes.
MAX_BODY_BYTES = 1 << 16

#: The most requests that are answered at a time, streams included.
MAX_REQUESTS = 64

#: What a browser may do with an answer: nothing but show what this server itself sends.
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}

_REFUSED = {
    400: "This request cannot be read.",
    401: "Open the address that `gradbook lab` has printed in the terminal: it has the token.",
    403: "This request does not come from the lab's own page.",
    413: f"A request may have at most {MAX_BODY_BYTES:,} bytes.",
    421: "The lab answers under the names localhost and 127.0.0.1 only.",
    503: "Too many requests at a time. Close some of the lab's pages.",
}


def secret_of(path: Path) -> str:
    """The secret in a file that only its owner can read; made there if there is none.

    It stays the same from one start of the server to the next, so that a page finds the server
    again when this was started anew.
    """
    try:
        secret = read_file(path, 1 << 10).decode("ascii").strip()
        if len(secret) >= 32 and path.stat().st_mode & 0o077 == 0:
            return secret
    except (FileNotFoundError, UnicodeDecodeError):
        pass
    secret = secrets.token_urlsafe(32)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_atomically(path, secret.encode())
    path.chmod(0o600)
    return secret


class Guard:
    """Passes on to an application what its own user asks, and answers everything else itself.

    Args:
        app: The application.
        secret: What a request must know.
    """

    def __init__(self, app: App, secret: str) -> None:
        self._app, self._secret = app, secret
        # Cookies are shared by all servers of this machine: each lab has a name of its own.
        self.cookie = f"gradbook-lab-{_digest(secret)[:12]}"
        self._value = _digest("cookie" + secret)
        self._num_requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # a web socket, which the lab has not
            return
        headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))
        code = self._refusal(scope, headers)
        if code == 401 and scope["method"] == "GET" and scope["path"] == "/":
            query = parse_qs(scope["query_string"].decode("latin-1"))
            if _same(query.get("token", [""])[0], self._secret):
                await self._admit(send)
                return
        if code is None and self._num_requests >= MAX_REQUESTS:
            code = 503
        if code is not None:
            await _answer(send, code, _REFUSED[code].encode(), {})
            return
        self._num_requests += 1
        try:
            await self._app(scope, _bounded(receive), _with_headers(send))
        finally:
            self._num_requests -= 1

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> int | None:
        """The status of a request that is refused; None if it is not."""
        names = [name.lower() for name, _ in scope["headers"]]
        if names.count(b"host") != 1 or names.count(b"origin") > 1:
            return 400
        host = headers["host"].lower()
        name, colon, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
        if (name if colon else host) not in _HOSTS or (colon and not port.isdecimal()):
            return 421
        origin = headers.get("origin")
        changes = scope["method"] not in ("GET", "HEAD")
        if origin is not None and origin.lower() != f"http://{host}":
            return 403
        site = headers.get("sec-fetch-site", "same-origin" if origin else "none")
        if changes and (origin is None or site != "same-origin"):
            return 403
        is_navigation = headers.get("sec-fetch-mode") == "navigate"
        if site not in ("same-origin", "none") and not (is_navigation and scope["path"] == "/"):
            return 403
        length = headers.get("content-length", "0")
        if not length.isdecimal():
            return 400
        if len(length) > 9 or int(length) > MAX_BODY_BYTES:
            return 413
        return None if _same(self._given(headers), self._value) else 401

    def _given(self, headers: dict[str, str]) -> str:
        try:
            cookies = SimpleCookie(headers.get("cookie", ""))
        except CookieError:
            return ""
        return cookies[self.cookie].value if self.cookie in cookies else ""

    async def _admit(self, send: Send) -> None:
        """Exchanges the token in the address for a cookie, and takes it out of the address."""
        cookie = f"{self.cookie}={self._value}; HttpOnly; SameSite=Lax; Path=/"
        await _answer(send, 303, b"", {"location": "/", "set-cookie": cookie})


class TooLarge(Exception):  # noqa: N818 - no error of ours: it ends one request
    """A body goes on beyond what is taken."""


def _bounded(receive: Receive) -> Receive:
    """The same, but a body of any length that was not announced ends in an error."""
    left = MAX_BODY_BYTES

    async def received() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise TooLarge
        return message

    return received


def _with_headers(send: Send) -> Send:
    """The same, but each answer has the headers that it does not set itself."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = _completed(message.get("headers", []))
        await send(message)

    return sent


def _completed(headers: Any) -> list[tuple[bytes, bytes]]:
    given = [(name.lower(), value) for name, value in headers]
    names = {name for name, _ in given}
    usual = {**HEADERS, "cache-control": "no-store"}
    return given + [
        (name.encode(), value.encode())
        for name, value in usual.items()
        if name.encode() not in names
    ]


async def _answer(send: Send, code: int, body: bytes, headers: dict[str, str]) -> None:
    told = {
        "content-type": "text/plain; charset=utf-8",
        "content-length": str(len(body)),
        **headers,
    }
    pairs = [(name.encode(), value.encode()) for name, value in told.items()]
    await send({"type": "http.response.start", "status": code, "headers": _completed(pairs)})
    await send({"type": "http.response.body", "body": body})


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _same(given: str, right: str) -> bool:
    return hmac.compare_digest(given.encode(), right.encode())
