"""A metrics.jsonl that is followed: nothing lost, nothing twice, whatever happens to the file."""

import os
import random
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.runs.folders import make_run

from gradbook.record import Metric
from gradbook.runs import tail as tail_module
from gradbook.runs.format import MetricsLog, read_metrics, read_run
from gradbook.runs.lines import with_crc
from gradbook.runs.tail import Tail

NOTHING_CLOSED = None


def metric(step, y=None):
    return Metric("train_loss", float(step), 1 / (1 + step) if y is None else y, "point")


def line_of(number, before=""):
    entry = {"kind": "point", "label": "loss", "x": number, "y": 0.5}
    return with_crc(before, entry)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mlp-1").mkdir()
    return tmp_path / "mlp-1"


@pytest.fixture
def log(folder):
    log = MetricsLog(folder)
    yield log
    log.close()


def test_what_is_added_is_news_once(folder, log):
    tail = Tail(folder)
    tail.read()
    first = tail.since()
    assert list(first.values) == []
    log.append(metric(1))
    assert tail.read()
    second = tail.since(first.position)
    assert list(second.values) == [metric(1)]
    log.append(metric(2))
    tail.read()
    third = tail.since(second.position)
    assert (third.starts_anew, list(third.values)) == (False, [metric(2)])
    assert not tail.read()
    assert list(tail.since(third.position).values) == []


def test_a_reader_that_has_nothing_gets_all(folder, log):
    for step in range(5):
        log.append(metric(step))
    tail = Tail(folder)
    tail.read()
    news = tail.since("")
    assert news.starts_anew
    assert list(news.values) == [metric(step) for step in range(5)]


def test_a_position_holds_for_whoever_follows_anew(folder, log):
    log.append(metric(1))
    tail = Tail(folder)
    tail.read()
    position = tail.since().position
    log.append(metric(2))
    other = Tail(folder)
    other.read()
    news = other.since(position)
    assert (news.starts_anew, list(news.values)) == (False, [metric(2)])


@pytest.mark.parametrize(
    "position", ["1.00000000", "0.", "9.00000000", "x", "-1.0", "1", ".", "1" * 20, "\u0661.0"]
)
def test_a_position_that_is_none_of_this_file_starts_anew(folder, log, position):
    log.append(metric(1))
    log.append(metric(2))
    tail = Tail(folder)
    tail.read()
    news = tail.since(position)
    assert news.starts_anew
    assert len(news.values) == 2


def test_what_a_resumed_training_records_anew_takes_the_place_of_what_was(folder, log):
    for step in range(4):
        log.append(metric(step))
    tail = Tail(folder)
    tail.read()
    position = tail.since().position
    log.close()
    resumed = MetricsLog(folder, resume_at=2)
    resumed.append(metric(2, 7.0))
    resumed.close()
    assert tail.read()
    news = tail.since(position)
    assert news.starts_anew
    assert list(news.values) == [metric(0), metric(1), metric(2, 7.0)]


def test_a_reader_who_has_heard_of_the_resume_goes_on(folder, log):
    for step in range(4):
        log.append(metric(step))
    log.close()
    resumed = MetricsLog(folder, resume_at=2)
    tail = Tail(folder)
    tail.read()
    position = tail.since().position
    resumed.append(metric(2, 7.0))
    resumed.close()
    tail.read()
    news = tail.since(position)
    assert (news.starts_anew, list(news.values)) == (False, [metric(2, 7.0)])


def test_a_line_without_its_end_waits_for_it(folder):
    _, line = line_of(1)
    path = folder / "metrics.jsonl"
    path.write_bytes(line[:-5])
    tail = Tail(folder)
    tail.read()
    assert len(tail.since().values) == 0
    assert tail.damage is None
    with open(path, "ab") as stream:
        stream.write(line[-5:])
    assert tail.read()
    assert len(tail.since().values) == 1


def test_a_long_file_is_read_in_parts(folder, monkeypatch):
    monkeypatch.setattr(tail_module, "_READ_BYTES", 1000)
    log = MetricsLog(folder)
    for step in range(100):
        log.append(metric(step))
    log.close()
    tail, seen, position, parts = Tail(folder), [], "", 0
    while tail.read() or tail.is_behind:
        news = tail.since(position)
        assert news.starts_anew is (parts == 0)
        seen += news.values
        position, parts = news.position, parts + 1
    assert seen == [metric(step) for step in range(100)]
    assert parts > 5


def test_a_file_that_vanishes_takes_its_values_along(folder, log):
    log.append(metric(1))
    tail = Tail(folder)
    tail.read()
    log.close()
    position = tail.since().position
    (folder / "metrics.jsonl").unlink()
    assert tail.read()
    news = tail.since(position)
    assert (news.starts_anew, len(news.values), tail.damage) == (True, 0, None)
    assert not tail.read()


@pytest.mark.parametrize("how", ["another file", "the same file", "a longer one over it"])
def test_another_content_starts_anew(folder, how):
    path = folder / "metrics.jsonl"
    log = MetricsLog(folder)
    for step in range(3):
        log.append(metric(step))
    log.close()
    tail = Tail(folder)
    tail.read()
    position = tail.since().position
    num = {"another file": 3, "the same file": 2, "a longer one over it": 9}[how]
    (folder.parent / "other").mkdir()
    log = MetricsLog(folder.parent / "other")
    for step in range(num):
        log.append(metric(step, 9.0))
    log.close()
    other = folder.parent / "other" / "metrics.jsonl"
    if how == "another file":
        os.replace(other, path)
    else:
        path.write_bytes(other.read_bytes())
    assert tail.read()
    news = tail.since(position)
    assert news.starts_anew
    assert list(news.values) == [metric(step, 9.0) for step in range(num)]
    assert tail.damage is None


def test_an_empty_file_in_its_place_is_a_change(folder, log):
    log.append(metric(1))
    tail = Tail(folder)
    tail.read()
    log.close()
    (folder / "other").touch()
    os.replace(folder / "other", folder / "metrics.jsonl")
    assert tail.read()
    assert len(tail.since().values) == 0


def test_damage_is_told_with_what_came_before_it(folder):
    crc, first = line_of(1)
    _, second = line_of(2, crc)
    (folder / "metrics.jsonl").write_bytes(first + second.replace(b"0.5", b"0.6"))
    tail = Tail(folder)
    assert tail.read()
    assert "line 2 is damaged" in tail.damage
    assert len(tail.since().values) == 1
    assert not tail.read()


def test_a_copy_in_its_place_repairs_it(folder):
    path = folder / "metrics.jsonl"
    path.write_bytes(b"no line\n")
    tail = Tail(folder)
    tail.read()
    assert tail.damage
    (folder / "copy").write_bytes(line_of(1)[1])
    os.replace(folder / "copy", path)
    assert tail.read()
    assert tail.damage is None
    assert len(tail.since().values) == 1


def test_a_line_that_does_not_end_is_damage(folder, monkeypatch):
    monkeypatch.setattr(tail_module, "_READ_BYTES", 1000)
    (folder / "metrics.jsonl").write_bytes(b"x" * 2000)
    tail = Tail(folder)
    assert tail.read()
    assert "a line of more than 1,000 bytes" in tail.damage
    assert not tail.is_behind


def test_a_gigantic_file_is_not_read(folder):
    with open(folder / "metrics.jsonl", "wb") as stream:
        stream.truncate(1 << 40)
    tail = Tail(folder)
    assert tail.read()
    assert "bytes" in tail.damage


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "link out", "link to itself"])
def test_what_is_no_file_is_damage_and_not_waited_for(folder, tmp_path, kind):
    path = folder / "metrics.jsonl"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "link out":
        (tmp_path / "secret").write_bytes(line_of(1)[1])
        path.symlink_to(tmp_path / "secret")
    else:
        path.symlink_to(path)
    tail = Tail(folder)
    assert tail.read()
    assert tail.damage
    assert len(tail.since().values) == 0
    assert not tail.read()


def test_labels_of_any_kind_are_followed(folder, log):
    told = ["<script>", "a\nb", "\u202e", "x" * 10_000, "\ud800", ""]
    for step, label in enumerate(told):
        log.append(Metric(label, float(step), 0.5))
    tail = Tail(folder)
    tail.read()
    assert [value.label for value in tail.since().values] == told


class TestClosed:
    """A run whose training has ended: run.json says how its values end."""

    @pytest.fixture
    def run(self):
        folder = make_run()
        return folder, read_run(folder)["metrics"]

    def test_a_whole_file_has_no_fault(self, run):
        tail = Tail(run[0])
        tail.read()
        assert tail.fault(run[1]) is None
        assert list(tail.since().values) == list(read_metrics(run[0], read_run(run[0])))

    def test_one_that_lacks_lines_is_told(self, run):
        path = run[0] / "metrics.jsonl"
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-2]))
        tail = Tail(run[0])
        tail.read()
        assert "ends after" in tail.fault(run[1])

    def test_one_that_is_another_runs_is_told(self, run):
        other = make_run("mlp-2", hyperparameters={"lr": 0.5}, metrics=[metric(1)] * 18)
        os.replace(other / "metrics.jsonl", run[0] / "metrics.jsonl")
        tail = Tail(run[0])
        tail.read()
        assert tail.fault(run[1])

    def test_one_that_is_missing_is_told(self, run):
        (run[0] / "metrics.jsonl").unlink()
        tail = Tail(run[0])
        tail.read()
        assert "is missing" in tail.fault(run[1])
        assert tail.fault(NOTHING_CLOSED) is None


def test_values_can_be_asked_for_while_a_disk_is_waited_for(folder, log, monkeypatch):
    log.append(metric(1))
    tail = Tail(folder)
    tail.read()
    log.append(metric(2))
    reached, release = threading.Event(), threading.Event()

    def slow(*arguments):
        reached.set()
        release.wait()
        return open(*arguments, "rb")

    monkeypatch.setattr(tail_module, "open_file", slow)
    reader = threading.Thread(target=tail.read)
    reader.start()
    reached.wait()
    assert list(tail.since().values) == [metric(1)]
    release.set()
    reader.join()
    assert len(tail.since().values) == 2


@pytest.mark.slow
@given(
    st.lists(
        st.sampled_from(["append", "append", "append", "read", "read", "restart", "resume"]),
        max_size=40,
    ),
    st.integers(0, 2**32),
)
def test_what_a_reader_has_gathered_is_what_the_file_says(tmp_path_factory, acts, seed):
    draw = random.Random(seed)
    folder = tmp_path_factory.mktemp("run")
    log, tail, position, gathered = MetricsLog(folder), Tail(folder), "", []

    def read():
        nonlocal position
        tail.read()
        news = tail.since(position)
        if news.starts_anew:
            gathered.clear()
        gathered.extend(news.values)
        position = news.position

    for step, act in enumerate(acts):
        if act == "append":
            log.append(metric(step, draw.random()))
        elif act == "resume":
            log.close()
            log = MetricsLog(folder, resume_at=draw.randint(0, log.lines))
        elif act == "restart":
            tail = Tail(folder)
        else:
            read()
    log.close()
    read()
    assert gathered == list(read_metrics(folder, {"status": "running", "metrics": None}))
