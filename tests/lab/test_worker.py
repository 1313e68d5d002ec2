"""Processes that work for the page, and what the server hears of them."""

import asyncio
import os
import signal
import subprocess
import sys
from copy import copy
from pathlib import Path

import psutil
import pytest
from tests.patience import LONGEST, await_true

from gradbook.lab import worker as worker_module
from gradbook.lab.worker import Worker

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parent), *sys.path])


def working(act, **options):
    """What `act(worker, told)` returns; told is the list of the messages that have come."""

    async def work():
        told = []
        worker = Worker("echoing", told.append, **options)
        try:
            async with asyncio.timeout(LONGEST):
                return copy(await act(worker, told))  # its end will be told, too
        finally:
            await worker.end()

    return asyncio.run(work())


async def until(condition):
    while not condition():
        await asyncio.sleep(0.01)


def test_messages_go_both_ways():
    async def act(worker, told):
        for value in ("<script>", 0.5, [1, None], {"a": "\u202e"}):
            worker.send({"what": "echo", "value": value})
        await until(lambda: len(told) == 4)
        return told

    values = [message["echo"] for message in working(act)]
    assert values == ["<script>", 0.5, [1, None], {"a": "\u202e"}]


def test_what_a_learners_code_prints_is_no_message_and_it_gets_no_input(capfd):
    async def act(worker, told):
        worker.send({"what": "print"})
        await until(lambda: told)
        return told

    assert working(act) == [{"read": ""}]
    assert "printed by a learner" in capfd.readouterr().err


def test_a_worker_that_fails_is_told_to_have_ended(capfd):
    async def act(worker, told):
        worker.send({"what": "fail"})
        await until(lambda: told)
        assert not worker.is_alive
        worker.send({"what": "echo", "value": 1})  # nobody hears it
        return told

    assert working(act) == [None]
    assert "by nothing" in capfd.readouterr().err


def test_a_worker_that_is_killed_is_told_to_have_ended():
    async def act(worker, told):
        os.kill(worker._process.pid, signal.SIGKILL)
        await until(lambda: told)
        return told

    assert working(act) == [None]


def test_a_worker_that_does_not_end_is_killed(monkeypatch):
    monkeypatch.setattr(worker_module, "_GRACE_SECONDS", 0.1)

    async def act(worker, told):
        worker.send({"what": "sleep"})
        await until(lambda: told)
        await worker.end()
        await until(lambda: told[-1] is None)
        return worker.is_alive

    assert working(act) is False


def test_what_a_worker_has_started_is_killed_with_it(monkeypatch):
    monkeypatch.setattr(worker_module, "_GRACE_SECONDS", 0.1)

    async def act(worker, told):
        worker.send({"what": "child"})
        worker.send({"what": "sleep"})
        await until(lambda: len(told) == 2)
        return told[0]["child"]

    child = working(act)
    await_true(lambda: has_ended(child))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes are forked here")
def test_what_a_worker_has_forked_hides_its_end_from_nobody_and_ends_with_it():
    async def act(worker, told):
        worker.send({"what": "fork"})
        await until(lambda: told and told[-1] is None)
        return told[0]["child"]

    child = working(act)
    await_true(lambda: has_ended(child))


def has_ended(process):
    try:
        return psutil.Process(process).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_worker_that_takes_no_messages_is_never_waited_for():
    async def act(worker, told):
        worker.send({"what": "sleep"})
        await until(lambda: told)
        while told[-1] is not None:
            worker.send({"what": "echo", "value": 1})
            await asyncio.sleep(0)
        return worker.is_alive

    assert working(act) is False


def test_a_worker_that_sends_too_fast_has_to_wait():
    async def act(worker, told):
        taken, worker._told = [], None

        def take(message):
            taken.append(message)

        worker._told = take
        worker.send({"what": "many", "num": 5000})
        await until(lambda: taken)
        # While the loop is busy, nothing piles up in it: one message waits, the rest in the pipe.
        ready = len(asyncio.get_running_loop()._ready)
        await until(lambda: len(taken) == 5000)
        return ready, list(taken)

    ready, taken = working(act)
    assert ready < 10
    assert [message["number"] for message in taken] == list(range(5000))


def test_a_message_that_is_no_json_is_refused_where_it_is_sent():
    async def act(worker, told):
        with pytest.raises(ValueError, match="JSON"):
            worker.send({"what": float("nan")})
        worker.send({"what": "echo", "value": 1})
        await until(lambda: told)
        return told

    assert working(act) == [{"echo": 1}]


def test_a_worker_has_so_many_threads_and_a_group_of_its_own():
    async def act(worker, told):
        worker.send({"what": "threads"})
        await until(lambda: told)
        return told[0]

    told = working(act, threads=3)
    assert told["threads"] == "3"
    assert told["group"] != os.getpgrp()


def test_pytorch_is_loaded_only_where_it_is_used():
    async def act(worker, told):
        worker.send({"what": "torch"})
        await until(lambda: told)
        return told[0]["loaded"]

    assert working(act) is False


@pytest.mark.parametrize("doing", ["nothing", "sleep"])
def test_workers_end_when_the_server_is_killed_whatever_they_do(doing):
    code = (
        "import asyncio\n"
        "from gradbook.lab.worker import Worker\n"
        "async def go():\n"
        "    is_asleep = asyncio.Event()\n"
        "    worker = Worker('echoing', lambda message: is_asleep.set())\n"
        "    worker.send({'what': 'hurry'})\n"
        f"    worker.send({{'what': {doing!r}}})\n"
        f"    if {doing!r} == 'sleep':\n"
        "        await is_asleep.wait()\n"
        "    print(worker._process.pid, flush=True)\n"
        "    await asyncio.sleep(1000)\n"
        "asyncio.run(go())\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    server = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment
    )
    worker = psutil.Process(int(server.stdout.readline()))
    server.kill()
    server.communicate()
    await_true(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)
