"""Requests to an application, message by message, without a server."""

import asyncio

HOST = "127.0.0.1:8517"


def scope_of(path="/", method="GET", query="", headers=(), host=HOST):
    """The scope of a request. Headers are pairs; a host of None is left out."""
    given = [] if host is None else [("host", host)]
    given += headers.items() if isinstance(headers, dict) else headers
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in given],
        "client": None,
        "server": None,
        "state": {},
    }


class Answer:
    """An answer: its status, headers by name, and body."""

    def __init__(self, messages):
        start, *rest = messages
        self.status = start["status"]
        self.headers = {name.decode(): value.decode() for name, value in start["headers"]}
        self.body = b"".join(message.get("body", b"") for message in rest)


def asked(app, *parts, **scope):
    """The answer to one request whose body comes in these parts; after them, the client waits."""
    return asyncio.run(asking(app, *parts, **scope))


async def asking(app, *parts, **scope):
    left = [
        {"type": "http.request", "body": part, "more_body": number < len(parts)}
        for number, part in enumerate(parts, 1)
    ] or [{"type": "http.request", "body": b"", "more_body": False}]
    sent = []

    async def receive():
        if left:
            return left.pop(0)
        await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    await app(scope_of(**scope), receive, send)
    return Answer(sent)
