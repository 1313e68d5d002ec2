"""The stream of events: a page that listens, and one that is cut off and listens again."""

import asyncio
import json
import math
import os
import random
import shutil
import threading
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st
from tests.lab.streams import Page, curves_in
from tests.patience import LONGEST, await_true
from tests.runs.folders import facts_of, make_run, metrics_of

from gradbook.lab import feed as feed_module
from gradbook.lab import looking
from gradbook.lab.catalogue import Catalogue
from gradbook.lab.feed import MAX_LABELS, Feed, curves_of
from gradbook.record import Metric
from gradbook.runs.format import MetricsLog, read_metrics, write_run
from gradbook.runs.lines import Values


@pytest.fixture(autouse=True)
def often(monkeypatch):
    """Looks follow each other quickly, however long they take."""
    monkeypatch.setattr(looking, "FOLDER_SECONDS", 0.02)
    monkeypatch.setattr(looking, "OPEN_SECONDS", 0.01)
    monkeypatch.setattr(looking, "_SHARE", 1.0)


@pytest.fixture(autouse=True)
def no_thread_left():
    yield
    await_true(lambda: not [t for t in threading.enumerate() if t.name == "lab-looking"])


async def listen(feed, page, until, curves=()):
    """Has a page listen until a condition holds."""
    async with asyncio.timeout(LONGEST), aclosing(feed.events(list(curves), page.last)) as stream:
        async for data in stream:
            page.take(data)
            if until():
                return


def listened(feed, page, until, curves=()):
    asyncio.run(listen(feed, page, until, curves))


@pytest.fixture
def feed():
    return Feed(Catalogue(Path("runs")))


@pytest.fixture
def page():
    return Page()


def test_the_list_is_told_first(feed, page):
    make_run("mlp-1")
    make_run("mlp-2")
    listened(feed, page, lambda: page.events)
    assert list(page.runs) == ["mlp-1", "mlp-2"]


def test_a_folder_without_runs_is_told_to_have_none(feed, page):
    listened(feed, page, lambda: page.events)
    assert (page.events, page.runs) == (["runs"], {})


def test_a_page_that_comes_later_gets_a_list_that_is_new(feed, page):
    make_run("mlp-1")
    listened(feed, Page(), lambda: True)
    make_run("mlp-2")
    listened(feed, page, lambda: page.events)
    assert list(page.runs) == ["mlp-1", "mlp-2"]


def test_what_appears_changes_and_vanishes_is_told(feed, page):
    async def check():
        make_run("mlp-1")
        listening = asyncio.create_task(listen(feed, page, lambda: "end" in page.runs))
        while "mlp-1" not in page.runs:
            await asyncio.sleep(0.01)
        make_run("mlp-2")
        while "mlp-2" not in page.runs:
            await asyncio.sleep(0.01)
        Path("runs/mlp-1/run.json").write_text("{")
        while page.runs["mlp-1"]["status"] != "damaged":
            await asyncio.sleep(0.01)
        shutil.rmtree("runs/mlp-1")
        while "mlp-1" in page.runs:
            await asyncio.sleep(0.01)
        make_run("mlp-1", seed=7)
        while "mlp-1" not in page.runs:
            await asyncio.sleep(0.01)
        assert page.runs["mlp-1"]["hyperparameters"]["seed"] == 7
        make_run("end")
        await listening

    asyncio.run(check())


def test_a_list_is_sent_in_parts(feed, page, monkeypatch):
    monkeypatch.setattr(feed_module, "_PART_BYTES", 1000)
    for number in range(5):
        make_run(f"mlp-{number}")
    listened(feed, page, lambda: len(page.runs) == 5)
    assert len(page.events) > 1
    assert list(page.runs) == [f"mlp-{number}" for number in range(5)]


def test_a_page_that_was_cut_off_within_a_list_gets_all_of_it(feed, page, monkeypatch):
    monkeypatch.setattr(feed_module, "_PART_BYTES", 1)
    for number in range(5):
        make_run(f"mlp-{number}")
    listened(feed, page, lambda: len(page.events) == 2)
    assert len(page.runs) == 2
    listened(feed, page, lambda: len(page.runs) == 5)


def test_a_page_that_knows_the_list_is_told_changes_alone(feed, page):
    make_run("mlp-1")
    listened(feed, page, lambda: page.events)
    page.runs.clear()
    make_run("mlp-2")
    listened(feed, page, lambda: page.runs)
    assert list(page.runs) == ["mlp-2"]


def test_a_server_that_was_started_anew_tells_the_list_anew(feed, page):
    make_run("mlp-1")
    listened(feed, page, lambda: page.events)
    shutil.rmtree("runs/mlp-1")
    make_run("mlp-2")
    listened(Feed(Catalogue(Path("runs"))), page, lambda: len(page.events) == 2)
    assert list(page.runs) == ["mlp-2"]


def test_the_values_of_a_run_are_those_of_its_file(feed, page):
    make_run()
    listened(feed, page, lambda: page.curves, ["mlp-1"])
    assert page.curves == {"mlp-1": curves_in(metrics_of())}
    assert page.damages == {"mlp-1": None}


def test_only_runs_that_are_asked_for_have_their_values_told(feed, page):
    make_run("mlp-1")
    make_run("mlp-2")
    listened(feed, page, lambda: page.curves, ["mlp-2", "mlp-3", "../mlp-1"])
    assert list(page.curves) == ["mlp-2"]


def test_values_that_are_added_are_told_once(feed, page):
    make_run("mlp-1", status="running")
    log = MetricsLog("runs/mlp-1")

    async def check():
        def is_over():
            return len(page.curves.get("mlp-1", {}).get(("point", "x"), ([],))[0]) == 20

        listening = asyncio.create_task(listen(feed, page, is_over, ["mlp-1"]))
        for number in range(20):
            log.append(Metric("x", float(number), 0.5))
            await asyncio.sleep(random.random() / 50)
        await listening

    asyncio.run(check())
    log.close()
    assert page.curves["mlp-1"]["point", "x"][0] == list(range(20))


def test_an_event_says_what_a_page_knows_by_then(feed, page):
    # The list comes first. Who is cut off after it has no values yet, and must not claim any.
    make_run()
    listened(feed, page, lambda: page.events == ["runs"], ["mlp-1"])
    assert json.loads(page.last)["curves"] == {}
    listened(feed, page, lambda: page.curves, ["mlp-1"])
    assert page.curves == {"mlp-1": curves_in(metrics_of())}


def test_a_run_that_is_replaced_has_only_the_new_ones_values(feed, page):
    async def check():
        make_run("mlp-1")
        run = []
        listening = asyncio.create_task(
            listen(feed, page, lambda: page.curves.get("mlp-1") == run, ["mlp-1"])
        )
        while not page.curves:
            await asyncio.sleep(0.01)
        shutil.rmtree("runs/mlp-1")
        metrics = metrics_of(2, rate=0.7)
        run = curves_in(metrics)
        make_run("mlp-1", metrics)
        await listening
        assert page.curves["mlp-1"] == curves_in(metrics)

    asyncio.run(check())


def test_damage_is_told_and_repair_is(feed, page):
    async def check():
        path = make_run("mlp-1") / "metrics.jsonl"
        whole = path.read_bytes()
        path.write_bytes(b"no line\n")
        listening = asyncio.create_task(
            listen(
                feed,
                page,
                lambda: page.curves.get("mlp-1") and not page.damages["mlp-1"],
                ["mlp-1"],
            )
        )
        while not page.damages.get("mlp-1"):
            await asyncio.sleep(0.01)
        assert "line 1 is damaged" in page.damages["mlp-1"]
        Path("copy").write_bytes(whole)
        os.replace("copy", path)
        await listening
        assert page.curves["mlp-1"] == curves_in(metrics_of())

    asyncio.run(check())


@pytest.mark.parametrize(
    "last",
    [
        *("x", "{}", "[]", "null", '{"server": 1}', "[" * 100_000, '{"curves": []}'),
        *('{"server": "%s", "version": 1e999}', '{"server": "%s", "version": "1"}'),
        '{"server": "%s", "version": -5, "curves": {"mlp-1": 5}}',
        '{"server": "%s", "version": -5, "curves": {"mlp-1": "999.00000000", "x": "1.0"}}',
    ],
)  # fmt: skip
def test_of_an_id_that_cannot_be_read_nothing_is_known(feed, page, last):
    make_run()
    page.last = last.replace("%s", feed._server)
    listened(feed, page, lambda: page.curves, ["mlp-1"])
    assert page.curves == {"mlp-1": curves_in(metrics_of())}
    assert list(page.runs) == ["mlp-1"]
    assert list(json.loads(page.last)["curves"]) == ["mlp-1"]


def test_numbers_that_json_lacks_are_told_in_words(feed, page):
    values = [(math.nan, 0.5), (1.0, math.nan), (math.inf, -math.inf), (1e300, 5e-324)]
    make_run("mlp-1", [Metric("loss", x, y) for x, y in values])
    listened(feed, page, lambda: page.curves, ["mlp-1"])
    assert page.curves["mlp-1"]["point", "loss"] == (
        ["NaN", 1.0, "Infinity", 1e300],
        [0.5, "NaN", "-Infinity", 5e-324],
    )


def test_when_nothing_happens_a_line_tells_that_the_server_is_there(feed, monkeypatch):
    monkeypatch.setattr(feed_module, "_SILENCE_SECONDS", 0.05)
    told = []

    async def check():
        async with asyncio.timeout(LONGEST), aclosing(feed.events([], "")) as stream:
            async for data in stream:
                told.append(data)
                if data == b": still here\n\n":
                    return

    asyncio.run(check())
    assert len(told) == 3


def test_two_pages_listen_at_once(feed):
    async def check():
        make_run("mlp-1")
        pages = [Page(), Page()]

        tasks = [
            asyncio.create_task(
                listen(
                    feed, page, lambda page=page: "mlp-2" in page.runs and page.curves, ["mlp-1"]
                )
            )
            for page in pages
        ]
        while not all(page.curves for page in pages):
            await asyncio.sleep(0.01)
        make_run("mlp-2")
        await asyncio.gather(*tasks)
        assert pages[0].runs == pages[1].runs
        assert pages[0].curves == pages[1].curves

    asyncio.run(check())


def test_while_nobody_listens_nothing_is_looked_at(feed, page, monkeypatch):
    listened(feed, page, lambda: page.events)
    await_true(lambda: not [t for t in threading.enumerate() if t.name == "lab-looking"])
    monkeypatch.setattr(feed.catalogue, "refresh", lambda *_: pytest.fail("a look"))
    assert feed._num_listeners == 0
    assert not feed.catalogue.is_live


def test_a_disk_that_answers_late_keeps_no_other_page_waiting(feed, page, monkeypatch):
    make_run("mlp-1")
    listened(feed, Page(), lambda: True)
    release, scandir = threading.Event(), os.scandir

    def slow(path):
        release.wait()
        return scandir(path)

    monkeypatch.setattr(os, "scandir", slow)
    monkeypatch.setattr(feed_module, "_SILENCE_SECONDS", 0.02)

    async def check():
        told = []
        async with aclosing(feed.events([], "")) as stream:
            async for data in stream:
                told.append(data)
                if len(told) == 4:
                    break
        assert told[1:] == [b": still here\n\n"] * 3
        # A thread that waits for the disk keeps none of those that work for others.
        assert await asyncio.gather(*[asyncio.to_thread(int, "5") for _ in range(50)]) == [5] * 50

    asyncio.run(check())
    release.set()


def test_a_fault_within_a_look_ends_no_stream(feed, page, monkeypatch, capsys):
    make_run("mlp-1")
    refresh, failed = feed.catalogue.refresh, []

    def fail_once(*arguments):
        if not failed:
            failed.append(True)
            raise ZeroDivisionError("by nothing")
        return refresh(*arguments)

    monkeypatch.setattr(feed.catalogue, "refresh", fail_once)
    listened(feed, page, lambda: page.runs)
    assert "by nothing" in capsys.readouterr().err


def test_a_reader_who_takes_nothing_is_not_written_for(feed):
    folder = make_run("mlp-1", status="running")
    lock = FileLock(folder / "lock")
    lock.acquire()
    made = []
    events = feed._curve_events

    def counted(known):
        for event in events(known):
            made.append(event)
            yield event

    feed._curve_events = counted

    async def check():
        log = MetricsLog(folder)
        async with aclosing(feed.events(["mlp-1"], "")) as stream:
            async for data in stream:
                if b"event: curve" in data:
                    break
            for number in range(50):  # meanwhile much happens
                log.append(Metric("x", float(number), 0.5))
                await asyncio.sleep(0.005)
            assert len(made) == 1
            log.close()

    asyncio.run(check())
    lock.release()


# Property: cut off at any place, a page ends with exactly what the file says


@pytest.mark.slow
@given(
    st.lists(
        st.sampled_from(["values", "values", "resume", "restart", "listen", "listen", "cut"]),
        max_size=15,
    ),
    st.integers(0, 2**32),
)
def test_cut_off_at_any_place_a_page_has_what_the_file_says(tmp_path_factory, acts, seed):
    draw = random.Random(seed)
    root = tmp_path_factory.mktemp("runs")
    folder = root / "mlp-1"
    folder.mkdir()
    write_run(folder, facts_of("mlp-1", status="running"))
    log = MetricsLog(folder)
    page, feed = Page(), Feed(Catalogue(root))

    def expected():
        return curves_in(read_metrics(folder, {"status": "running", "metrics": None}))

    async def listen_for(num_bytes):
        """Until so many bytes have come, or all is there."""
        async with asyncio.timeout(LONGEST), aclosing(feed.events(["mlp-1"], page.last)) as stream:
            async for data in stream:
                if num_bytes is not None and len(data) >= num_bytes:
                    page.take(data[:num_bytes])
                    break
                page.take(data)
                if num_bytes is not None:
                    num_bytes -= len(data)
                if page.runs and page.curves.get("mlp-1", {}) == expected():
                    break
        page.cut()

    for number, act in enumerate(acts):
        if act == "values":
            for index in range(draw.randint(1, 9)):
                label = draw.choice(["train_loss", "val_acc", "</script>"])
                kind = draw.choice(["point", "epoch"])
                log.append(Metric(label, number + index / 10, draw.random(), kind))
        elif act == "resume":
            log.close()
            log = MetricsLog(folder, resume_at=draw.randint(0, log.lines))
        elif act == "restart":
            feed = Feed(Catalogue(root))
        else:
            asyncio.run(listen_for(draw.randint(1, 3000) if act == "cut" else None))
    log.close()
    asyncio.run(listen_for(None))
    assert page.curves.get("mlp-1", {}) == expected()


# Curves as JSON


def values_of(*curves):
    """Values of these names, each with its y."""
    values = Values([name for name, _ in curves])
    for number, (_, ys) in enumerate(curves):
        for x, y in enumerate(ys):
            values.name.append(number)
            values.x.append(x)
            values.y.append(y)
    return values


def test_curves_are_told_by_kind_and_label():
    told = curves_of(values_of((("point", "loss"), [1.0, 0.5]), (("epoch", "acc"), [0.9])))
    assert told["point"] == {"loss": {"x": [0.0, 1.0], "y": [1.0, 0.5], "num": 2}}
    assert told["epoch"] == {"acc": {"x": [0.0], "y": [0.9], "num": 1}}
    assert told["omitted"] == 0


def test_a_curve_of_many_points_is_thinned_and_says_how_many_there_are():
    told = curves_of(values_of((("point", "loss"), np.arange(50_000.0))))["point"]["loss"]
    assert told["num"] == 50_000
    assert 1000 < len(told["x"]) == len(told["y"]) < 2100


def test_what_one_event_says_has_a_bound():
    names = [(("point", f"label-{number}"), np.arange(1500.0)) for number in range(200)]
    told = curves_of(values_of(*names))
    assert len(told["point"]) == MAX_LABELS
    assert told["omitted"] == 200 - MAX_LABELS
    assert sum(len(curve["x"]) for curve in told["point"].values()) < 110_000


def test_a_label_that_is_very_long_is_left_out():
    told = curves_of(values_of((("point", "x" * 1000), [1.0]), (("point", "loss"), [1.0])))
    assert list(told["point"]) == ["loss"]
    assert told["omitted"] == 1


def test_the_same_labels_are_left_out_of_what_is_added():
    names = [("point", f"label-{number}") for number in range(MAX_LABELS + 1)]
    values = Values(names)
    for number in (MAX_LABELS, 3):
        values.name.append(number)
        values.x.append(1)
        values.y.append(1)
    told = curves_of(values)
    assert list(told["point"]) == ["label-3"]
    assert told["omitted"] == 1
