"""The processes that look: kept, replaced when they die, ended when nobody waits or they idle."""

import asyncio
import json
import os
import time
from pathlib import Path

import pytest

from gradbook.errors import ConfigError
from gradbook.lab.look import desk as desk_module
from gradbook.lab.look.asked import SECONDS, Asked
from gradbook.lab.look.desk import Desks, LookError

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def only_pretends(monkeypatch):
    monkeypatch.setattr(desk_module, "_MODULE", "tests.lab.looking_stub")


def asked(what="mistakes", page="one", **options):
    return Asked("run", what, options, page, Path("runs/run"))


def trying(attempt, classes=()):
    """Runs a coroutine that is given desks; these are ended afterwards."""

    async def run():
        desks = Desks(classes)
        try:
            return await attempt(desks)
        finally:
            await desks.end()

    return asyncio.run(run())


def process_of(content):
    return json.loads(content)["process"]


def is_running(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


async def wait_until_gone(process):
    for _ in range(200):
        if not is_running(process):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{process} still runs")


def test_one_process_answers_all_questions_of_a_page():
    async def attempt(desks):
        return [process_of(await desks.compute(asked())) for _ in range(2)]

    first, second = trying(attempt)
    assert first == second
    assert not is_running(first)


def test_each_page_has_a_process_of_its_own():
    async def attempt(desks):
        answers = await asyncio.gather(*(desks.compute(asked(page=page)) for page in "ab"))
        return {process_of(content) for content in answers}

    assert len(trying(attempt)) == 2


def test_a_page_that_asks_twice_while_another_makes_room_for_it_has_one_process():
    async def attempt(desks):
        for page in "abc":
            await desks.compute(asked(page=page))
        answers = await asyncio.gather(*(desks.compute(asked(page="d")) for _ in range(2)))
        return {process_of(content) for content in answers}

    assert len(trying(attempt)) == 1


def test_questions_of_a_page_are_answered_in_turn():
    async def attempt(desks):
        answers = await asyncio.gather(*(desks.compute(asked()) for _ in range(5)))
        return {process_of(content) for content in answers}

    assert len(trying(attempt)) == 1


def test_a_process_that_dies_is_told_of_and_replaced():
    async def attempt(desks):
        before = process_of(await desks.compute(asked()))
        with pytest.raises(LookError, match="has died"):
            await desks.compute(asked("graph"))
        return before, process_of(await desks.compute(asked()))

    before, after = trying(attempt)
    assert before != after


def test_a_process_that_is_killed_while_it_idles_is_replaced():
    async def attempt(desks):
        before = process_of(await desks.compute(asked()))
        os.kill(before, 9)
        await asyncio.sleep(0.3)
        return before, process_of(await desks.compute(asked()))

    before, after = trying(attempt)
    assert before != after


def test_a_question_that_is_canceled_ends_the_process_and_the_next_is_answered():
    async def attempt(desks):
        before = process_of(await desks.compute(asked()))
        waiting = asyncio.ensure_future(desks.compute(asked("sharpness")))
        await asyncio.sleep(0.2)
        waiting.cancel()
        after = process_of(await desks.compute(asked()))
        await wait_until_gone(before)
        return before, after

    before, after = trying(attempt)
    assert before != after


def test_a_question_that_is_canceled_in_the_queue_ends_nothing():
    async def attempt(desks):
        before = process_of(await desks.compute(asked()))
        first = asyncio.ensure_future(desks.compute(asked()))
        second = asyncio.ensure_future(desks.compute(asked("sharpness")))
        second.cancel()
        return before, process_of(await first)

    before, after = trying(attempt)
    assert before == after


def test_what_takes_too_long_is_given_up_with_a_word(monkeypatch):
    monkeypatch.setitem(SECONDS, "sharpness", 0.2)

    async def attempt(desks):
        with pytest.raises(LookError, match="was stopped"):
            await desks.compute(asked("sharpness"))
        return process_of(await desks.compute(asked()))

    assert trying(attempt)


def test_an_answer_that_is_too_long_is_refused():
    async def attempt(desks):
        with pytest.raises(LookError, match="more than a page can show"):
            await desks.compute(asked("cell", true=1 << 25))
        assert len(await desks.compute(asked("cell", true=1000))) > 1000

    trying(attempt)


def test_an_error_of_the_process_is_passed_on():
    async def attempt(desks):
        with pytest.raises(ConfigError, match="cannot be shown"):
            await desks.compute(asked("weights"))

    trying(attempt)


def test_a_process_ends_when_it_has_had_nothing_to_do(monkeypatch):
    monkeypatch.setattr(desk_module, "IDLE_SECONDS", 0.2)

    async def attempt(desks):
        await wait_until_gone(process_of(await desks.compute(asked())))

    trying(attempt)


def test_a_further_page_takes_the_place_of_the_one_that_has_idled_longest():
    async def attempt(desks):
        first = process_of(await desks.compute(asked(page="a")))
        others = [process_of(await desks.compute(asked(page=page))) for page in "bcd"]
        await wait_until_gone(first)
        return all(map(is_running, others))

    assert trying(attempt)


def test_pages_that_ask_at_once_have_no_more_processes_than_there_may_be():
    async def attempt(desks):
        for page in ("one", "two", "three"):
            await desks.compute(asked(page=page))
        await asyncio.gather(
            *(desks.compute(asked(page=f"new-{number}")) for number in range(6)),
            return_exceptions=True,
        )
        return len(desks._desks)

    assert trying(attempt) == desk_module.MOST_DESKS


def test_too_many_pages_at_work_are_refused():
    async def attempt(desks):
        waiting = [asyncio.ensure_future(desks.compute(asked("sharpness", page=p))) for p in "abc"]
        await asyncio.sleep(0.2)
        with pytest.raises(ConfigError, match="3 pages look at models"):
            await desks.compute(asked(page="d"))
        for each in waiting:
            each.cancel()

    trying(attempt)


def test_a_learner_s_file_that_was_changed_is_loaded_anew(tmp_path):
    path = tmp_path / "my_file.py"
    path.write_text("a = 1")

    async def attempt(desks):
        before = process_of(await desks.compute(asked()))
        path.write_text("a = 22")
        os.utime(path, (time.time(), time.time() + 5))
        return before, process_of(await desks.compute(asked()))

    before, after = trying(attempt, [f"{path}:MyNet"])
    assert before != after
