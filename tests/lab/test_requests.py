"""What a page asks for: read, and worked at only while the page waits."""

import asyncio

import pytest
from starlette.requests import Request
from tests.lab.asking import scope_of

from gradbook.errors import ConfigError
from gradbook.lab.requests import object_of, while_awaited


def request_of(body=b"", has_left=False):
    """A request whose body is there, and whose client has left after it or waits."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]
    messages += [{"type": "http.disconnect"}] * has_left

    async def receive():
        if messages:
            return messages.pop(0)
        return await asyncio.Event().wait()

    return Request(scope_of(method="POST"), receive)


def test_a_json_object_is_read():
    assert asyncio.run(object_of(request_of(b'{"a": [1, null]}'))) == {"a": [1, None]}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "it is empty"),
        (b"[]", "must be a JSON object"),
        (b"{", "it is not JSON"),
        (b'"\xff"', "it is not UTF-8"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_json_object_is_refused(body, told):
    with pytest.raises(ConfigError, match=told):
        asyncio.run(object_of(request_of(body)))


def test_work_that_is_waited_for_is_done():
    async def work():
        await asyncio.sleep(0)
        return "done"

    async def answer():
        request = request_of(b"{}")
        await object_of(request)
        return await while_awaited(request, work())

    assert asyncio.run(answer()) == "done"


def test_work_that_nobody_waits_for_any_longer_is_cancelled():
    ended = []

    async def work():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def answer():
        request = request_of(b"{}", has_left=True)
        await object_of(request)
        answered = await while_awaited(request, work())
        await asyncio.sleep(0)
        return answered

    assert asyncio.run(answer()) is None
    assert ended == [True]
