"""Who is let in, and who is not: each request by itself, without a server."""

import asyncio

import pytest
from tests.lab.asking import asked, asking, scope_of

from gradbook.lab import guard as guard_module
from gradbook.lab.guard import MAX_BODY_BYTES, MAX_REQUESTS, Guard, TooLarge, TooSlow

SECRET = "a-secret-of-the-user-that-nobody-else-knows"
ORIGIN = "http://127.0.0.1:8517"


class App:
    """Answers whatever it is asked, after it has read all; notes which paths it was asked for."""

    def __init__(self):
        self.paths = []

    async def __call__(self, scope, receive, send):
        self.paths.append(scope["path"])
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"runs"})


@pytest.fixture
def app():
    return App()


@pytest.fixture
def guard(app):
    return Guard(app, SECRET)


@pytest.fixture
def cookie(guard):
    """The cookie that the page of the user has."""
    answer = asked(guard, query=f"token={SECRET}")
    return answer.headers["set-cookie"].partition(";")[0]


def test_the_token_is_exchanged_for_a_cookie_and_leaves_the_address(guard, app):
    answer = asked(guard, query=f"token={SECRET}")
    assert (answer.status, answer.headers["location"]) == (303, "/")
    assert "HttpOnly; SameSite=Lax; Path=/" in answer.headers["set-cookie"]
    assert SECRET not in answer.headers["set-cookie"]
    assert app.paths == []


def test_the_token_leaves_the_address_also_of_who_has_the_cookie(guard, cookie):
    answer = asked(guard, query=f"token={SECRET}", headers={"cookie": cookie})
    assert (answer.status, answer.headers["location"]) == (303, "/")


def test_who_has_the_cookie_is_let_in(guard, cookie):
    answer = asked(guard, path="/api/runs", headers={"cookie": cookie})
    assert (answer.status, answer.body) == (200, b"runs")


@pytest.mark.parametrize("other", ['a={"b":1}', "a", "=", "a=b; c", "gradbook-lab-0=x", "a=\xfc"])
def test_cookies_of_other_servers_of_this_machine_are_passed_over(guard, cookie, other):
    for header in (f"{other}; {cookie}", f"{cookie};{other}"):
        assert asked(guard, headers={"cookie": header}).status == 200


@pytest.mark.parametrize(
    "query",
    [
        *("", "token=", "token=wrong", f"token={SECRET}x", f"token={SECRET[:-1]}", SECRET),
        *(f"Token={SECRET}", f"token=x&token={SECRET}", "&" * 99 + f"token={SECRET}"),
        "token=%00%ff",
    ],
)
def test_without_the_right_token_nobody_is_let_in(guard, app, query):
    answer = asked(guard, query=query)
    assert answer.status == 401
    assert app.paths == []


@pytest.mark.parametrize(
    "request_",
    [
        {"path": "/api/events", "query": f"token={SECRET}"},
        {"path": "/page/main.js", "query": f"token={SECRET}"},
        {"headers": {"authorization": f"Bearer {SECRET}"}},
        {"headers": {"cookie": f"token={SECRET}"}},
        {"path": f"/{SECRET}"},
        {"method": "POST", "query": f"token={SECRET}"},
    ],
)
def test_a_token_in_another_place_lets_nobody_in(guard, app, request_):
    assert asked(guard, **request_).status in (401, 403)
    assert app.paths == []


def test_a_cookie_that_is_wrong_lets_nobody_in(guard, app, cookie):
    name, _, value = cookie.partition("=")
    wrong = [f"{name}={value[:-1]}", f"{name}={value}x", f"{name}=", f"{name}x={value}", value]
    wrong += [f"{name}={SECRET}", f"{name}=\xe9", f'{name}="{value}"']
    for one in wrong:
        assert asked(guard, headers={"cookie": one}).status == 401
    assert app.paths == []


def test_another_secret_has_another_cookie(guard, cookie):
    other = Guard(App(), SECRET[::-1])
    assert other.cookie != guard.cookie
    assert asked(other, headers={"cookie": cookie}).status == 401


@pytest.mark.parametrize("host", ["127.0.0.1:8517", "localhost:8517", "LocalHost", "127.0.0.1"])
def test_this_machine_is_known_by_its_names(guard, cookie, host):
    assert asked(guard, host=host, headers={"cookie": cookie}).status == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example:8517", "127.0.0.1.evil.example", "localhost.evil.example:8517", "", ":"),
        *("127.0.0.1:", "127.0.0.1:x", "127.0.0.1:8517:1", "user@127.0.0.1:8517", "127.0.0.1,x"),
        *("127.0.0.2", "0.0.0.0:8517", "[::1]:8517", "192.168.1.2:8517", "2130706433"),
        "localhost.",
    ],
)
def test_a_name_that_was_made_to_lead_here_is_refused(guard, app, cookie, host):
    assert asked(guard, host=host, headers={"cookie": cookie}).status == 421
    assert app.paths == []


def test_a_request_without_a_host_is_refused(guard, cookie):
    assert asked(guard, host=None, headers={"cookie": cookie}).status == 400


@pytest.mark.parametrize("name", sorted(guard_module._ONCE))
def test_a_header_that_is_there_twice_and_could_be_read_in_two_ways_is_refused(
    guard, app, cookie, name
):
    given = {"host": "127.0.0.1:8517", "cookie": cookie, "origin": ORIGIN, "content-length": "0"}
    given |= {"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}
    twice = [*given.items(), (name, given.get(name, "chunked"))]
    if name == "transfer-encoding":
        twice.append((name, "chunked"))
    assert asked(guard, host=None, headers=twice).status == 400
    assert app.paths == []


def post(cookie, **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return {"method": "POST", "path": "/api/x", "headers": {"cookie": cookie, **headers}}


@pytest.mark.parametrize(
    "headers", [{"origin": ORIGIN}, {"origin": ORIGIN, "sec_fetch_site": "same-origin"}]
)
def test_the_page_itself_may_change_something(guard, cookie, headers):
    assert asked(guard, **post(cookie, **headers)).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "null"},
        {"origin": "http://evil.example"},
        {"origin": "https://127.0.0.1:8517"},
        {"origin": "http://127.0.0.1:9999", "sec_fetch_site": "same-site"},
        {"origin": "http://localhost:8517"},
        {"origin": ORIGIN, "sec_fetch_site": "cross-site"},
        {"origin": ORIGIN, "sec_fetch_site": "none"},
        {"origin": ORIGIN, "sec_fetch_site": ""},
        {"sec_fetch_site": "same-origin"},
        {"origin": f"{ORIGIN}/"},
    ],
)
def test_no_other_page_may_change_anything(guard, app, cookie, headers):
    assert asked(guard, **post(cookie, **headers)).status == 403
    assert app.paths == []


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"},
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "script"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "cors", "origin": "http://e.example"},
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
        {"sec-fetch-site": "SAME-ORIGIN"},
        {"origin": "http://127.0.0.1:9999"},
    ],
)
@pytest.mark.parametrize("path", ["/api/events", "/api/picture", "/page/main.js"])
def test_no_other_page_may_take_anything_in(guard, app, cookie, headers, path):
    assert asked(guard, path=path, headers={"cookie": cookie, **headers}).status == 403
    assert app.paths == []


def test_a_link_on_another_page_may_lead_to_the_front_door(guard, cookie):
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert asked(guard, headers={"cookie": cookie, **link}).status == 200
    assert asked(guard, query=f"token={SECRET}", headers=link).status == 303


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "DELETE", "TRACE", "CONNECT", "get"])
def test_other_methods_are_refused(guard, app, cookie, method):
    headers = {"cookie": cookie, "origin": ORIGIN}
    answer = asked(guard, method=method, path="/api/x", headers=headers)
    assert answer.status == 405
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert app.paths == []


@pytest.mark.parametrize("length", ["-1", "x", "", "1e3", "+5", "\xb2"])
def test_a_length_that_is_no_number_is_refused(guard, cookie, length):
    assert asked(guard, **post(cookie, origin=ORIGIN, content_length=length)).status == 400


@pytest.mark.parametrize("length", [MAX_BODY_BYTES + 1, 10**9, 10**30])
def test_a_body_that_is_announced_as_too_large_is_refused(guard, app, cookie, length):
    assert asked(guard, **post(cookie, origin=ORIGIN, content_length=str(length))).status == 413
    assert app.paths == []


def test_a_body_of_the_largest_size_is_taken(guard, cookie):
    request = post(cookie, origin=ORIGIN, content_length=str(MAX_BODY_BYTES))
    assert asked(guard, b"x" * MAX_BODY_BYTES, **request).status == 200


def test_a_body_without_a_length_is_taken_up_to_the_largest_size(guard, cookie):
    request = post(cookie, origin=ORIGIN, transfer_encoding="chunked")
    with pytest.raises(TooLarge):
        asked(guard, *[b"x" * 1000] * 66, **request)


def test_a_body_that_does_not_come_is_not_waited_for(guard, cookie, monkeypatch):
    monkeypatch.setattr(guard_module, "BODY_SECONDS", 0.01)

    async def receive():
        await asyncio.Event().wait()

    async def send(message):
        pytest.fail("an answer")

    request = post(cookie, origin=ORIGIN, content_length="5")
    with pytest.raises(TooSlow):
        asyncio.run(guard(scope_of(**request), receive, send))


@pytest.mark.parametrize("headers", [{"content-length": "5"}, {"transfer-encoding": "chunked"}])
def test_a_get_has_no_body(guard, cookie, headers):
    assert asked(guard, headers={"cookie": cookie, **headers}).status == 400


def test_no_more_requests_than_so_many_are_answered_at_a_time(cookie):
    async def check():
        release = asyncio.Event()

        async def slow(scope, receive, send):
            await release.wait()
            await App()(scope, receive, send)

        guard = Guard(slow, SECRET)
        headers = {"cookie": cookie}
        held = [asyncio.create_task(asking(guard, headers=headers)) for _ in range(MAX_REQUESTS)]
        await asyncio.sleep(0)
        assert (await asking(guard, headers=headers)).status == 503
        # A stranger is still refused as one, and the token still lets in.
        assert (await asking(guard)).status == 401
        release.set()
        assert {answer.status for answer in await asyncio.gather(*held)} == {200}
        assert (await asking(guard, headers=headers)).status == 200

    asyncio.run(check())


def test_a_request_that_fails_is_no_longer_counted(cookie):
    async def failing(scope, receive, send):
        raise ZeroDivisionError

    guard = Guard(failing, SECRET)
    for _ in range(MAX_REQUESTS + 1):
        with pytest.raises(ZeroDivisionError):
            asked(guard, headers={"cookie": cookie})


def test_a_web_socket_is_closed(guard, app):
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(guard({"type": "websocket", "headers": []}, None, send))
    assert [message["type"] for message in sent] == ["websocket.close"]
    assert app.paths == []


@pytest.mark.parametrize("cookies", [True, False])
def test_every_answer_says_what_a_browser_may_do_with_it(guard, cookie, cookies):
    answer = asked(guard, headers={"cookie": cookie} if cookies else {})
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"


def test_a_stranger_gets_one_answer_and_keeps_no_connection(guard):
    assert asked(guard).headers["connection"] == "close"


def test_a_refusal_has_nothing_of_the_request(guard):
    answer = asked(guard, path="/<script>", query="token=<script>", headers={"cookie": "<script>"})
    assert b"<" not in answer.body


def test_another_user_of_the_machine_is_refused_even_with_the_token(guard, cookie, monkeypatch):
    monkeypatch.setattr(guard_module, "is_of_another_user", lambda client, server: True)
    assert asked(guard, query=f"token={SECRET}").status == 403
    assert asked(guard, headers={"cookie": cookie}).status == 403
