"""Who may ask the server: the user's own browser, once it was given the token, and nobody else.

The server listens on this machine only, but every page that the user's browser shows, every program
and every other user of the machine can reach it there. So each request must name this machine as
its host (against names that are made to lead here), come from the page itself where it changes
something (against other sites' pages), and carry the secret (against everybody else).
"""

import asyncio
import hashlib
import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from gradbook.lab.peers import is_of_another_user

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

#: The names of this machine, from itself.
_HOSTS = {"127.0.0.1", "localhost"}

#: What a request has once or not at all, as two could be read in two ways.
_ONCE = {"host", "origin", "cookie", "content-length", "transfer-encoding"}
_ONCE |= {"sec-fetch-site", "sec-fetch-mode"}

#: The longest body of a request, in bytes, and the seconds that any part of it may take to come.
MAX_BODY_BYTES = 1 << 16
BODY_SECONDS = 10.0

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
    "cache-control": "no-store",
}

_REFUSED = {
    400: "This request cannot be read.",
    401: "Open the address that `gradbook lab` has printed in the terminal: it has the token.",
    403: "This request does not come from the lab's own page.",
    405: "The lab is asked by GET and POST only.",
    413: f"A request may have at most {MAX_BODY_BYTES:,} bytes.",
    421: "The lab answers under the names localhost and 127.0.0.1 only.",
    503: "Too many requests at a time. Close some of the lab's pages.",
}


class TooLarge(Exception):  # noqa: N818 - no error of ours: it ends one request
    """A body goes on beyond what is taken."""


class TooSlow(Exception):  # noqa: N818 - the same
    """A body does not come."""


class Guard:
    """Passes on to an application what its own user asks, and answers everything else itself.

    Args:
        app: The application.
        secret: What a request must know.
    """

    def __init__(self, app: App, secret: str) -> None:
        self._app, self._secret = app, secret
        # Cookies are shared by all servers of this machine: each user's lab has a name of its own.
        self.cookie = f"gradbook-lab-{_digest(secret)[:12]}"
        self._value = _digest("cookie" + secret)
        self._num_requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # a web socket, which the lab has not
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = _headers(scope)
        code = 400 if headers is None else _refusal(scope, headers)
        if headers is not None and code is None:
            if self._has_token(scope):
                await self._admit(send)
                return
            if not self._has_cookie(headers):
                code = 401
            elif self._num_requests >= MAX_REQUESTS:
                code = 503
        if code is not None:
            # A stranger gets one answer for each connection, and keeps none open.
            await _answer(send, code, _REFUSED[code].encode(), {"connection": "close"})
            return
        self._num_requests += 1
        try:
            body = _Body(receive, is_whole=scope["method"] == "GET")
            await self._app(scope, body.receive, _with_headers(send, body))
        finally:
            self._num_requests -= 1

    def _has_token(self, scope: Scope) -> bool:
        """Whether this is the first visit, by the address that the terminal shows."""
        if scope["method"] != "GET" or scope["path"] != "/":
            return False
        try:
            query = parse_qs(scope["query_string"].decode("latin-1"), max_num_fields=9)
        except ValueError:
            return False
        return _same(query.get("token", [""])[0], self._secret)

    def _has_cookie(self, headers: dict[str, str]) -> bool:
        """Whether one of the cookies is ours. Others, of any form, are of other servers here."""
        pairs = (pair.strip().partition("=") for pair in headers.get("cookie", "").split(";"))
        return any(name == self.cookie and _same(value, self._value) for name, _, value in pairs)

    async def _admit(self, send: Send) -> None:
        """Exchanges the token in the address for a cookie, and takes it out of the address.

        A cookie that is `Strict` would not be sent on the way back when the address was followed
        from another page, as a terminal in a browser is one.
        """
        cookie = f"{self.cookie}={self._value}; HttpOnly; SameSite=Lax; Path=/"
        await _answer(send, 303, b"", {"location": "/", "set-cookie": cookie})


def _headers(scope: Scope) -> dict[str, str] | None:
    """The headers by name; None if one is there twice that must not be."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        text = name.decode("latin-1").lower()
        if text in found and text in _ONCE:
            return None
        found.setdefault(text, value.decode("latin-1"))
    return found


def _refusal(scope: Scope, headers: dict[str, str]) -> int | None:
    """The status of a request that is refused whoever has sent it; None if it is not."""
    if "host" not in headers:
        return 400
    host = headers["host"].lower()
    name, colon, port = host.partition(":")
    if name not in _HOSTS or (colon and not port.isdecimal()):
        return 421
    if is_of_another_user(scope.get("client"), scope.get("server")):
        return 403
    if scope["method"] not in ("GET", "POST"):
        return 405
    changes = scope["method"] == "POST"
    origin = headers.get("origin")
    if origin is not None and origin.lower() != f"http://{host}":
        return 403
    # Old browsers do not tell the site. Then the origin decides, which each sends with a POST.
    site = headers.get("sec-fetch-site", "none" if origin is None else "same-origin")
    if changes and (origin is None or site != "same-origin"):
        return 403
    # A link on another page may lead to the front door, and no further.
    is_link = headers.get("sec-fetch-mode") == "navigate" and scope["path"] == "/"
    if site not in ("same-origin", "none") and not is_link:
        return 403
    length = headers.get("content-length", "0")
    if not length.isdecimal() or not (changes or _has_no_body(headers)):
        return 400
    return 413 if len(length) > 9 or int(length) > MAX_BODY_BYTES else None


def _has_no_body(headers: dict[str, str]) -> bool:
    return headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers


class _Body:
    """The body of a request. One that is too long, or does not come, ends in an error.

    Args:
        receive: Gives the next part of it.
        is_whole: Whether there is no more of it. What is received then is that the client goes.
    """

    def __init__(self, receive: Receive, is_whole: bool) -> None:
        self._receive, self._left = receive, MAX_BODY_BYTES
        self.is_whole = is_whole

    async def receive(self) -> Message:
        """The next message."""
        if self.is_whole:
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), BODY_SECONDS)
        except TimeoutError:
            raise TooSlow from None
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise TooLarge
        self.is_whole = not message.get("more_body", False)
        return message


def _with_headers(send: Send, body: _Body) -> Send:
    """The same, but each answer has the headers that it does not set itself."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = _completed(message.get("headers", []))
            if not body.is_whole:  # what still comes of it is not waited for
                headers.append((b"connection", b"close"))
            message = {**message, "headers": headers}
        await send(message)

    return sent


def _completed(headers: Any) -> list[tuple[bytes, bytes]]:
    given = [(bytes(name).lower(), bytes(value)) for name, value in headers]
    names = {name for name, _ in given}
    usual = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
    return given + [(name, value) for name, value in usual if name not in names]


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
