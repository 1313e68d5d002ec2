"""The server itself, in its process: raw bytes on its port, other users, signals, kills."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from tests.lab import connecting
from tests.lab.streams import Page, curves_in
from tests.patience import LONGEST, await_true
from tests.runs.folders import make_run, metrics_of

from gradbook.lab.connections import MAX_WAITING, PATIENCE_SECONDS
from gradbook.record import Metric
from gradbook.runs.format import MetricsLog, read_metrics

pytestmark = pytest.mark.slow

NOBODY = 65534

INSIDE = b"<!doctype html>"


@pytest.fixture
def lab(labs):
    return labs(Path("runs"))


def asked(lab, request, then=b""):
    """What the server answers to these bytes until it closes the connection."""
    with connecting.connected(lab) as client:
        client.sendall(request)
        if then:
            client.sendall(then)
        return connecting.all_of(client)


def get(lab, path="/", *headers, host="127.0.0.1", cookie=True, version="1.1"):
    """A request as bytes, after which the connection is closed."""
    lines = [f"GET {path} HTTP/{version}", f"Host: {host}", *headers, "Connection: close"]
    if cookie:
        lines.append(f"Cookie: {connecting.cookie_of(lab)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def sent_until_cut_off(client, data, pause=0.0):
    """Sends the same again and again. Returns whether the server has ended that."""
    begin = time.monotonic()
    try:
        while time.monotonic() - begin < LONGEST:
            client.sendall(data)
            time.sleep(pause)
    except OSError:
        return True
    return False


def status(answer):
    return int(answer.split(b" ", 2)[1])


# Who is let in


def test_the_address_in_the_terminal_opens_the_page(lab):
    with urllib.request.build_opener(urllib.request.HTTPCookieProcessor()).open(
        lab.opening
    ) as page:
        assert page.read().lower().startswith(INSIDE)
        assert page.url == f"{lab.address}/"


def test_without_the_token_nothing_is_seen(lab):
    make_run("my-secret-run")
    for path in ("/", "/page/main.js", "/api/events", "/api/runs", "/anything", "/?token=x"):
        answer = asked(lab, get(lab, path, cookie=False))
        assert status(answer) == 401
        assert b"secret" not in answer
        assert INSIDE not in answer.lower()


def test_only_this_machine_is_listened_to(lab):
    listening = {
        connection.laddr.ip
        for connection in psutil.Process(lab.process.pid).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


@pytest.mark.parametrize(
    "path",
    [
        *("/page/../../app.py", "/page/%2e%2e/%2e%2e/app.py", "/page/..%2f..%2fapp.py"),
        *("/page/%252e%252e/app.py", "/page/..%5c..%5capp.py", "/page/%00", "/page/main.js%00"),
        *("/page/%2fetc/passwd", "//etc/passwd", "/page/%ff", "/page/%c0%ae%c0%ae/app.py"),
        *("http://127.0.0.1/page/../app.py", "/page/\\..\\..\\app.py", "/page/....//app.py"),
    ],
)
def test_no_path_leads_out(lab, path):
    answer = asked(lab, get(lab, path))
    assert status(answer) == 404
    assert b"def " not in answer


@pytest.mark.parametrize(
    ("host", "expected"),
    [("evil.example", 421), ("localhost:1", 200), ("127.0.0.1:8517.evil.example", 421), ("", 421)],
)
def test_a_name_that_was_made_to_lead_here_is_refused(lab, host, expected):
    assert status(asked(lab, get(lab, host=host))) == expected


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost : x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nx: a\r\n b: c\0\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",  # TLS
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\0" * 100 + b"\r\n\r\n",
        b"hello\r\n\r\n",
    ],
)
def test_what_is_no_proper_request_gets_nothing_and_harms_nothing(lab, request_):
    answer = asked(lab, request_)
    assert status(answer) in (400, 401, 405)
    assert INSIDE not in answer.lower()
    assert status(asked(lab, get(lab))) == 200


def test_a_request_is_not_smuggled_behind_another(lab):
    inner = get(lab)
    outer = (
        f"POST /x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(inner)}\r\n"
        "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    )
    assert INSIDE not in asked(lab, outer.encode() + inner).lower()


def test_a_web_socket_is_refused(lab):
    upgrade = ("Upgrade: websocket", "Sec-WebSocket-Key: eA==", "Sec-WebSocket-Version: 13")
    request = get(lab, "/api/events", *upgrade, cookie=False)
    request = request.replace(b"Connection: close", b"Connection: Upgrade")
    answer = asked(lab, request)
    assert status(answer) == 401


def test_a_head_that_does_not_end_is_cut_off(lab):
    answer = asked(lab, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nx: ", b"x" * (1 << 20))
    assert answer == b"" or status(answer) == 400
    assert status(asked(lab, get(lab))) == 200


def test_a_body_that_does_not_end_is_cut_off(lab):
    head = "POST /api/x HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://127.0.0.1\r\n"
    head += f"Cookie: {connecting.cookie_of(lab)}\r\nTransfer-Encoding: chunked\r\n\r\n"
    with connecting.connected(lab) as client:
        client.sendall(head.encode())
        assert sent_until_cut_off(client, b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
    assert status(asked(lab, get(lab))) == 200


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells whose a connection is")
@pytest.mark.skipif(sys.platform == "linux" and os.getuid() != 0, reason="needs two users")
def test_another_user_sees_nothing_even_with_the_token(labs, tmp_path):
    # The lab is nobody's, and root is the other user.
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(0o755)
    (tmp_path / "state").mkdir()
    os.chown(tmp_path / "state", NOBODY, NOBODY)
    lab = labs("/nothing/runs", user=NOBODY)
    assert status(asked(lab, get(lab, f"/?token={lab.token}", cookie=False))) == 403
    code = "import encodings.idna, http.client, os, sys\n"
    code += f"os.setuid({NOBODY})\n"
    code += f"connection = http.client.HTTPConnection('127.0.0.1', {lab.port})\n"
    code += f"connection.request('GET', '/?token={lab.token}')\n"
    code += "print(connection.getresponse().status)"
    own = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert own.stdout == "303\n"


# Who would keep others out


def test_those_who_connect_and_do_not_ask_keep_nobody_out(lab):
    idle = [connecting.connected(lab) for _ in range(3 * MAX_WAITING)]
    for client in idle[::2]:
        client.sendall(b"GET / HTTP/1.1\r\nHost: 127")
    assert status(asked(lab, get(lab))) == 200
    # The first are let go, and the last as well after some seconds.
    assert connecting.all_of(idle[0]) == b""
    open_ = psutil.Process(lab.process.pid).net_connections("tcp")
    assert len(open_) < MAX_WAITING + 20
    begin = time.monotonic()
    assert connecting.all_of(idle[-1]) == b""
    assert time.monotonic() - begin < PATIENCE_SECONDS + LONGEST
    for client in idle:
        client.close()
    assert status(asked(lab, get(lab))) == 200


def test_a_head_that_comes_a_byte_at_a_time_is_not_waited_for(lab):
    with connecting.connected(lab) as client:
        assert sent_until_cut_off(client, b"x", pause=0.2)
    assert status(asked(lab, get(lab))) == 200


# The stream


class Listening:
    """A page that listens in a thread, and connects again when it is cut off."""

    def __init__(self, lab, curves, again=True):
        self.lab, self.curves, self.page = lab, curves, Page()
        self.wanted, self.client = again, None
        self.cookie = connecting.cookie_of(lab)
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while True:
            try:
                self.listen()
            except OSError:
                time.sleep(0.05)
            self.page.cut()
            if not self.wanted:
                return

    def listen(self):
        lines = [f"GET /api/events?curves={self.curves} HTTP/1.1", "Host: 127.0.0.1"]
        lines += [f"Cookie: {self.cookie}", f"Last-Event-ID: {self.page.last}", "", ""]
        with connecting.connected(self.lab) as self.client:
            self.client.sendall("\r\n".join(lines).encode())
            stream = self.client.makefile("rb")
            while stream.readline().strip():
                pass
            while size := int(stream.readline() or b"0", 16):
                self.page.take(stream.read(size + 2)[:-2])

    def end(self):
        self.wanted = False
        with suppress(OSError):
            self.client.shutdown(socket.SHUT_RDWR)
        self.thread.join()


def test_a_server_that_is_killed_and_started_anew_gives_what_is_lacking(labs):
    make_run("mlp-1", status="running")
    log = MetricsLog("runs/mlp-1")
    lab = labs(Path("runs"))
    listening = Listening(lab, "mlp-1")
    try:
        for number in range(300):
            log.append(Metric("x", float(number), 0.5))
            time.sleep(0.01)
            if number in (60, 140):
                lab.kill()
            if number in (80, 160):
                lab = labs(Path("runs"), port=lab.port)
            if number == 200:
                log.close()
                log = MetricsLog("runs/mlp-1", resume_at=log.lines - 20)
        log.close()
        expected = curves_in(read_metrics("runs/mlp-1", {"status": "running", "metrics": None}))
        await_true(lambda: listening.page.curves.get("mlp-1") == expected)
    finally:
        listening.end()


def test_a_page_that_has_gone_is_noticed(lab):
    make_run("mlp-1")
    listening = Listening(lab, "mlp-1", again=False)
    await_true(lambda: listening.page.curves)
    listening.end()
    process = psutil.Process(lab.process.pid)
    await_true(lambda: all(c.status == psutil.CONN_LISTEN for c in process.net_connections("tcp")))


def test_a_reader_who_takes_nothing_does_not_fill_the_memory(lab):
    metrics = [Metric(f"label-{n % 90}", float(n), 0.5) for n in range(180_000)]
    make_run("mlp-1", metrics)
    process = psutil.Process(lab.process.pid)
    stalled = []
    for _ in range(20):
        client = connecting.connected(lab)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(get(lab, "/api/events?curves=mlp-1"))
        stalled.append(client)
    assert status(asked(lab, get(lab))) == 200
    time.sleep(3)
    before = process.memory_info().rss
    log = MetricsLog("runs/mlp-1")
    for number in range(2000):
        log.append(Metric("label-1", float(number), 0.5))
        if number % 20 == 0:
            time.sleep(0.05)
    log.close()
    assert process.memory_info().rss - before < 64 << 20
    assert process.memory_info().rss < 600 << 20
    for client in stalled:
        client.close()


# Start and end


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (signal.SIGINT, 0, "Stopped."),
        (signal.SIGTERM, 143, "terminated"),
        (signal.SIGHUP, 129, ""),
    ],
)
def test_it_ends_when_it_is_told_to_with_a_page_open(labs, number, code, said, hang_ups):
    lab = labs(Path("runs"))
    listening = Listening(lab, "", again=False)
    await_true(lambda: listening.page.events)
    lab.process.send_signal(number)
    out, err = lab.process.communicate(timeout=LONGEST)
    listening.end()
    assert lab.process.returncode == code
    assert said in out + err
    assert "Traceback" not in err


def test_it_begins_without_pytorch_and_what_draws(lab):
    assert status(asked(lab, get(lab))) == 200
    maps = Path(f"/proc/{lab.process.pid}/maps").read_text()
    for library in ("libtorch", "matplotlib", "pandas"):
        assert library not in maps


def test_a_port_that_is_taken_is_told(labs, lab):
    with pytest.raises(AssertionError, match=rf"Port {lab.port} is not free.*`--port 0`"):
        labs(Path("runs"), port=lab.port)


def test_nothing_is_said_on_the_terminal_of_what_strangers_ask(lab):
    asked(lab, b"hello\r\n\r\n")
    asked(lab, get(lab, cookie=False))
    code, out, err = lab.stop()
    assert (code, err) == (0, "")
    assert "hello" not in out


def test_a_folder_full_of_traps_is_shown_as_far_as_it_goes(labs):
    make_run("good-1")
    for name in ("pipe", "huge", "line", "deep", "device", "script<img src=x>"):
        make_run(name)
    os.unlink("runs/pipe/metrics.jsonl")
    os.mkfifo("runs/pipe/metrics.jsonl")
    with open("runs/huge/run.json", "wb") as stream:
        stream.truncate(60 << 20)
    with open("runs/line/metrics.jsonl", "wb") as stream:
        stream.truncate(1 << 33)
    Path("runs/deep/run.json").write_text("[" * 1_000_000)
    os.unlink("runs/device/run.json")
    os.symlink("/dev/zero", "runs/device/run.json")
    lab = labs(Path("runs"))
    listening = Listening(lab, "pipe,line,good-1")
    await_true(lambda: len(listening.page.curves) == 3)
    statuses = {name: run["status"] for name, run in listening.page.runs.items()}
    assert statuses == {
        **{"good-1": "finished", "pipe": "finished", "huge": "damaged", "line": "finished"},
        **{"deep": "damaged", "device": "damaged", "script%3Cimg%20src%3Dx%3E": "finished"},
    }
    assert listening.page.curves["good-1"] == curves_in(metrics_of())
    assert "pipe" in listening.page.damages["pipe"]
    assert "bytes" in listening.page.damages["line"]
    assert psutil.Process(lab.process.pid).memory_info().rss < 400 << 20
    shutil.rmtree("runs")
    await_true(lambda: not listening.page.runs)
    listening.end()


def test_the_answer_to_the_page_is_json_where_it_goes_wrong(lab):
    many = ",".join(map(str, range(65)))
    answer = asked(lab, get(lab, f"/api/events?curves={many}"))
    assert status(answer) == 400
    assert "64 runs" in json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
