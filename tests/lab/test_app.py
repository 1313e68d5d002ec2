"""What each address answers, behind the guard, without a server."""

import asyncio
import json
import os
from urllib.parse import unquote

import pytest
from starlette.routing import Route
from tests.lab.asking import asked, asking
from tests.runs.folders import make_run

from gradbook.errors import ConfigError, CorruptFileError
from gradbook.lab import app as app_module
from gradbook.lab.answers import as_json
from gradbook.lab.app import PAGE, application
from gradbook.lab.state import Lab

SECRET = "s" * 43


@pytest.fixture
def routes(monkeypatch):
    """Addresses for one test: a list to add to before the application is made."""
    routes = []
    monkeypatch.setattr(app_module.runs_api, "routes", lambda lab: routes)
    return routes


@pytest.fixture
def ask(tmp_path, routes):
    """Asks as the user's page does; `ask.lab` is what is asked about."""
    lab = Lab(tmp_path / "runs")
    apps = []

    def ask(path, *parts, headers=(), **scope):
        if not apps:
            app = application(lab, SECRET)
            cookie = asked(app, query=f"token={SECRET}").headers["set-cookie"].partition(";")[0]
            apps.extend([app, cookie])
        app, cookie = apps
        return asked(app, *parts, path=path, headers={"cookie": cookie, **dict(headers)}, **scope)

    ask.lab = lab
    return ask


def test_the_front_door_is_the_page(ask):
    answer = ask("/")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.body == (PAGE / "index.html").read_bytes()


@pytest.mark.parametrize("name", sorted(app_module._files()))
def test_each_file_of_the_page_can_be_had(ask, name):
    answer = ask(f"/page/{name}")
    assert (answer.status, answer.body) == (200, (PAGE / name).read_bytes())
    assert answer.headers["content-type"].partition(";")[0] in {
        "text/html", "text/css", "text/javascript", "application/json", "image/svg+xml"
    }  # fmt: skip


def test_the_page_asks_no_other_machine_for_anything():
    for path in app_module._files().values():
        if "vendor" in path.parts:
            continue
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text, path
        assert "https://" not in text, path


@pytest.mark.parametrize(
    "path",
    [
        *("/page/../app.py", "/page/../../../pyproject.toml", "/page/./main.js", "/page//main.js"),
        *("/page/%2e%2e/app.py", "/page/..%2fapp.py", "/page/..\\app.py", "/page/main.js\0.css"),
        *("/page/", "/page/main.js/", "/page//etc/passwd", "/page/vendor", "/page/MAIN.JS"),
        *("/page/words/en/../../main.js", "/page/vendor/uPlot-LICENSE.txt", "/page/\ud800"),
        *("/static/main.js", "/api", "/api/", "//", "/..", "/%00", "/api/events/", "*", ""),
        *("http://evil.example/", "/page/C:\\main.js", "/page/~/main.js", "/index.html"),
    ],
)
def test_no_other_path_has_anything(ask, path):
    for one in (path, unquote(path)):  # as a server gives it, and where one decodes twice
        answer = ask(one) if one.isascii() else ask(one.encode("ascii", "ignore").decode())
        assert answer.status == 404, one
        assert b"import" not in answer.body


@pytest.mark.parametrize("path", ["/", "/page/main.js", "/api/events"])
def test_nothing_can_be_posted_where_something_is_shown(ask, path):
    assert ask(path, method="POST", headers={"origin": "http://127.0.0.1:8517"}).status == 405


@pytest.mark.parametrize(
    ("error", "status"), [(ConfigError("no \udcff"), 400), (CorruptFileError("bad"), 422)]
)
def test_an_error_of_ours_is_told_as_json(ask, routes, error, status):
    async def fail(request):
        raise error

    routes.append(Route("/api/x", fail))
    answer = ask("/api/x")
    assert (answer.status, json.loads(answer.body)) == (status, {"error": str(error)})


def test_a_fault_of_ours_is_told_and_shown_in_the_terminal(ask, routes, capsys):
    async def fail(request):
        raise ZeroDivisionError("by nothing")

    routes.append(Route("/api/x", fail))
    with pytest.raises(ZeroDivisionError):  # which the server that is above takes
        ask("/api/x")
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert "by nothing" in shown


@pytest.mark.parametrize("parts", [[b"x" * 70000], [b"x" * 30000] * 3])
def test_a_body_without_a_length_that_is_too_large_is_refused(ask, routes, parts):
    async def take(request):
        return as_json({"size": len(await request.body())})

    routes.append(Route("/api/x", take, methods=["POST"]))
    headers = {"origin": "http://127.0.0.1:8517", "transfer-encoding": "chunked"}
    answer = ask("/api/x", *parts, method="POST", headers=headers)
    assert answer.status == 413
    assert answer.headers["connection"] == "close"
    answer = ask("/api/x", b"x" * 60000, method="POST", headers=headers)
    assert json.loads(answer.body) == {"size": 60000}


def test_a_page_can_follow_only_so_many_runs(ask):
    curves = ",".join(f"mlp-{number}" for number in range(65))
    answer = ask("/api/events", query=f"curves={curves}")
    assert answer.status == 400
    assert b"64 runs" in answer.body


def test_what_works_for_the_page_is_ended_with_the_server(tmp_path):
    lab, ended = Lab(tmp_path), []

    async def end():
        ended.append(True)

    lab.at_end.append(end)
    app = application(lab, SECRET)

    async def live():
        told = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
        sent = []

        async def receive():
            return told.pop(0)

        async def send(message):
            sent.append(message["type"])

        await app({"type": "lifespan", "state": {}}, receive, send)
        return sent

    assert asyncio.run(live())[-1] == "lifespan.shutdown.complete"
    assert ended == [True]


def test_a_stranger_gets_nothing_of_any_address(tmp_path):
    app = application(Lab(tmp_path), SECRET)

    async def check():
        for path in ("/", "/page/main.js", "/page/index.html", "/api/events", "/api/nothing"):
            answer = await asking(app, path=path)
            assert answer.status == 401
            assert answer.body == b"Open the address that `gradbook lab` has printed in the " \
                b"terminal: it has the token."  # fmt: skip

    asyncio.run(check())


def test_a_run_whose_folder_s_name_is_no_text_can_be_asked_about(ask):
    folder = make_run("mlp-1")
    ask.lab.catalogue.root = folder.parent
    folder.rename(folder.with_name(os.fsdecode(b"\xff")))
    answer = ask("/api/look/about", query="run=%25FF")
    assert json.loads(answer.body)["name"] == "\udcff"
