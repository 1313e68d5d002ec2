"""The server's half of the playground, without a process that trains."""

import asyncio
import json
import os

import pytest

from gradbook.errors import ConfigError
from gradbook.lab.playground import sessions
from gradbook.lab.playground.sessions import Order, Session, Sessions
from gradbook.lab.state import Lab

MADE = []


class Process:
    """What stands for a process: remembers what it is sent, and tells what a test has it tell."""

    def __init__(self, module, told, threads=None):
        self._told, self.threads = told, threads
        self.sent, self.is_alive, self.is_ended = [], True, False
        MADE.append(self)

    def send(self, message):
        self.sent.append(message)

    def tell(self, **parts):
        self._told(parts)

    def die(self):
        self.is_alive = False
        self._told(None)

    async def end(self):
        self.is_alive, self.is_ended = False, True


@pytest.fixture(autouse=True)
def processes(monkeypatch):
    MADE.clear()
    monkeypatch.setattr(sessions, "Worker", Process)
    return MADE


@pytest.fixture
def lab(tmp_path):
    return Lab(tmp_path / "runs")


def order(**told):
    return Order.of(told)


async def next_news(stream):
    async for part in stream:
        lines = dict(line.split(": ", 1) for line in part.decode().splitlines() if ": " in line)
        if lines.get("event") == "news":
            return lines["id"], json.loads(lines["data"])
    return None


def read_once(session, after=""):
    async def read():
        stream = session.events(after)
        try:
            return await asyncio.wait_for(next_news(stream), 5)
        finally:
            await stream.aclose()

    return read()


def test_points_are_never_lost_and_frames_are_skipped(lab, processes):
    async def talk():
        session = Session(lab)
        number = session.start(order())
        stream = session.events("")
        _, first = await next_news(stream)
        for step in range(5):  # told faster than the page reads
            told = {"points": [["train_loss", "point", step, 1.0]], "frame": {"step": step}}
            processes[0].tell(training=number, **told)
        _, second = await next_news(stream)
        await stream.aclose()
        return first, second

    first, second = asyncio.run(talk())
    assert first["state"] == {"name": "preparing"}
    assert [point[2] for point in second["points"]] == [0, 1, 2, 3, 4]
    assert second["frame"] == {"step": 4}


def test_a_page_that_was_cut_off_gets_what_it_lacks(lab, processes):
    async def talk():
        session = Session(lab)
        number = session.start(order())
        processes[0].tell(training=number, points=[["a", "point", 0, 1]], picture={"kind": "x"})
        place, _ = await read_once(session)
        processes[0].tell(training=number, points=[["a", "point", 1, 1]])
        return await read_once(session, place), await read_once(session, "x.1.0.0")

    (_, later), (_, anew) = asyncio.run(talk())
    assert not later["starts_anew"]
    assert later["points"] == [["a", "point", 1, 1]]
    assert "picture" not in later
    assert anew["starts_anew"]
    assert len(anew["points"]) == 2


def test_a_new_training_begins_anew_for_the_page_and_late_words_of_the_last_are_dropped(
    lab, processes
):
    async def talk():
        session = Session(lab)
        session.start(order())
        processes[0].tell(training=1, points=[["a", "point", 0, 1]])
        place, _ = await read_once(session)
        session.start(order())
        processes[0].tell(training=1, points=[["a", "point", 1, 1]])
        return await read_once(session, place)

    _, news = asyncio.run(talk())
    assert news["starts_anew"]
    assert (news["training"], news["points"]) == (2, [])
    assert len(processes) == 1  # the same process, with PyTorch loaded


def test_a_process_that_was_killed_is_told_and_a_reset_brings_another(lab, processes):
    async def talk():
        session = Session(lab)
        session.start(order())
        processes[0].die()
        _, news = await read_once(session)
        with pytest.raises(ConfigError, match="There is no training"):
            session.order("run")
        session.start(order())
        await session.end()
        return news

    news = asyncio.run(talk())
    assert news["state"] == {"name": "dead"}
    assert "killed" in news["problem"]
    assert [one.is_ended for one in processes] == [False, True]


def test_a_process_that_does_not_answer_is_replaced(lab, processes, monkeypatch):
    monkeypatch.setattr(sessions, "_PATIENCE_SECONDS", 0.05)

    async def talk():
        session = Session(lab)
        session.start(order())
        await asyncio.sleep(0.2)
        assert len(processes) == 1  # it has never answered: it may still be loading PyTorch
        processes[0].tell(training=1, state={"name": "running"})
        session.start(order(model="lenet"))
        await asyncio.sleep(0.2)
        await session.end()

    asyncio.run(talk())
    assert len(processes) == 2
    assert processes[0].is_ended
    assert processes[1].sent[0]["model"] == "lenet"


def test_a_process_may_ask_for_another(lab, processes):
    async def talk():
        session = Session(lab)
        session.start(order(settings={"seed": "2"}))
        processes[0].tell(training=1, again=True)
        await session.end()

    asyncio.run(talk())
    assert processes[1].sent[0]["settings"] == {"seed": "2"}


def test_a_learner_s_file_that_was_changed_is_loaded_by_a_new_process(tmp_path, processes):
    file = tmp_path / "mine.py"
    file.write_text("a = 1")
    lab = Lab(tmp_path, [f"{file}:Net"])

    async def talk():
        session = Session(lab)
        session.start(order())
        session.start(order())
        assert len(processes) == 1
        os.utime(file, (1, 1))
        session.start(order())
        await session.end()

    asyncio.run(talk())
    assert len(processes) == 2
    assert processes[1].sent[0]["classes"] == [f"{file}:Net"]


def test_there_are_so_many_sessions_and_one_that_nobody_reads_makes_room(lab):
    async def talk():
        every = Sessions(lab)
        opened = [every.new() for _ in range(sessions.MAX_SESSIONS)]
        for session in opened[1:]:
            session.num_listeners = 1
        last = every.new()
        with pytest.raises(LookupError):
            every.find(opened[0].id)
        last.num_listeners = 1
        with pytest.raises(ConfigError, match="Close one of them"):
            every.new()
        await every.end()

    asyncio.run(talk())


def test_a_session_waits_for_the_end_of_many_others(lab, processes, monkeypatch):
    async def act():
        may_end, every = asyncio.Event(), Sessions(lab)

        async def end(process):
            await may_end.wait()

        monkeypatch.setattr(Process, "end", end)
        for _ in range(2 * sessions.MAX_SESSIONS):
            await every.wait_for_room()
            every.new().start(order())
        waiting = asyncio.create_task(every.wait_for_room())
        for _ in range(10):
            await asyncio.sleep(0)
        is_waiting = not waiting.done()
        may_end.set()
        await waiting
        await every.end()
        return is_waiting

    assert asyncio.run(act())


def test_a_session_that_nobody_reads_ends(lab, processes, monkeypatch):
    monkeypatch.setattr(sessions, "_IDLE_SECONDS", 0.1)

    async def talk():
        every = Sessions(lab)
        session = every.new()
        session.start(order())
        for _ in range(100):
            await asyncio.sleep(0.05)
            if processes[0].is_ended:
                break
        with pytest.raises(LookupError):
            every.find(session.id)
        await every.end()

    asyncio.run(talk())
    assert processes[0].is_ended


def test_a_stream_ends_with_its_session(lab):
    async def talk():
        session = Session(lab)
        session.start(order())
        stream = session.events("")
        await next_news(stream)
        await session.end()
        return await asyncio.wait_for(next_news(stream), 5)

    assert asyncio.run(talk()) is None


@pytest.mark.parametrize(
    "told",
    [
        {"settings": ["lr"]},
        {"settings": {"lr": 0.1}},
        {"settings": {"lr": "1" * 300}},
        {"settings": {str(i): "1" for i in range(100)}},
        {"lr_at": "120:0.1"},
        {"lr_at": [[1]]},
        {"lr_at": [[1, "x"]]},
        {"lr_at": [[1.5, 0.1]]},
        {"lr_at": [[1, float("nan")]]},
        {"lr_at": [[1, 0.1]] * 100},
        {"model": 3},
        {"data": "x" * 2000},
        {"speed": "fast"},
        {"speed": 0},
        {"speed": True},
    ],
)
def test_an_order_of_another_form_is_refused(told):
    with pytest.raises(ConfigError):
        Order.of(told)


@pytest.mark.parametrize(
    ("command", "value"),
    [("dance", None), ("step", 0), ("step", "1"), ("lr", -1), ("lr", "0.1"), ("speed", -2)],
)
def test_a_command_that_is_none_is_refused(lab, command, value):
    async def talk():
        session = Session(lab)
        session.start(order())
        with pytest.raises(ConfigError):
            session.order(command, value)
        await session.end()

    asyncio.run(talk())
