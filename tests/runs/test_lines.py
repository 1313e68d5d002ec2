"""Lines that are verified many at a time: as if each had been looked at alone."""

import contextlib
import json
import math
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradbook.errors import CorruptFileError
from gradbook.record import Metric
from gradbook.runs import lines as lines_module
from gradbook.runs.lines import Lines, canonical, crc_of, with_crc

PATH = Path("metrics.jsonl")


def written(entries):
    """Entries as the lines of a file."""
    crc, content = "", b""
    for entry in entries:
        crc, line = with_crc(crc, entry)
        content += line
    return content


def value(label="train_loss", x=1.5, y=0.25, kind="point"):
    return {"kind": kind, "label": label, "x": x, "y": y}


def entries(number=30):
    draw = random.Random(0)
    found = []
    for index in range(number):
        found.append(value(x=index / 3, y=draw.gauss(0, 1)))
        found.append(value("val_acc", index + 1, draw.random(), "epoch"))
    found[5]["y"], found[9]["y"], found[11]["y"] = "NaN", "Infinity", "-Infinity"
    found[7]["label"] = 'odd "label" \u00e9\n'
    found.insert(20, {"event": "resume", "lines": 12})
    return found


def outcome(content):
    """What is read of a file, or said of it."""
    try:
        read = Lines(PATH, content)
    except CorruptFileError as error:
        return str(error)
    return repr(read.values(len(read))), read.crc(len(read))


@pytest.fixture
def each_alone(monkeypatch):
    """Has the outcome of a file whose lines are all looked at one by one."""

    def look(content):
        with monkeypatch.context() as patch:
            patch.setattr(Lines, "_add_plain", lambda *_: False)
            return outcome(content)

    return look


@pytest.mark.parametrize("size", [1, 100, 1000, 1 << 18])
def test_a_whole_file_gives_the_same_however_many_are_verified_at_a_time(
    size, monkeypatch, each_alone
):
    content = written(entries())
    expected = each_alone(content)
    monkeypatch.setattr(lines_module, "_CHUNK_BYTES", size)
    assert outcome(content) == expected


def test_most_lines_of_a_file_are_not_looked_at_alone(monkeypatch):
    looked = []
    monkeypatch.setattr(lines_module, "_CHUNK_BYTES", 1000)
    add = Lines._add
    monkeypatch.setattr(Lines, "_add", lambda self, line: (looked.append(line), add(self, line)))
    Lines(PATH, written([value(y=1 / (1 + index)) for index in range(500)]))
    assert not looked


@pytest.mark.slow
def test_each_damage_to_a_byte_is_told_as_of_a_line_alone(each_alone):
    content = written(entries(6)[5:11])
    draw = random.Random(0)
    for place in range(len(content)):
        for byte in {draw.randrange(256), ord("0"), ord("\n"), content[place] ^ 1}:
            damaged = content[:place] + bytes([byte]) + content[place + 1 :]
            damaged = damaged[: damaged.rfind(b"\n") + 1]
            assert outcome(damaged) == each_alone(damaged)


def test_a_line_that_is_removed_doubled_or_moved_is_told_as_of_a_line_alone(each_alone):
    whole = written(entries(6)).splitlines(keepends=True)
    for index in range(len(whole) - 1):
        for damaged in (
            [*whole[:index], *whole[index + 1 :]],
            [*whole[: index + 1], *whole[index:]],
            [*whole[:index], whole[index + 1], whole[index], *whole[index + 2 :]],
        ):
            said = outcome(b"".join(damaged))
            assert said == each_alone(b"".join(damaged))


@pytest.mark.parametrize("text", ["1.50", "1.5e0", "15e-1", "-0", "1e999", "01", "1" * 19, "1E5"])
def test_a_number_in_another_form_is_read_as_in_a_line_alone(text, each_alone):
    # The CRC is that of the text as it stands, or of the form that the checksum uses.
    body = canonical(value()).replace('"x":1.5', f'"x":{text}')
    bodies = [body]
    with contextlib.suppress(ValueError):
        bodies.append(canonical(json.loads(body)))
    for summed in bodies:
        line = f'{body[:-1]},"crc":"{crc_of("", summed)}"}}\n'.encode()
        assert outcome(line) == each_alone(line)


numbers = st.floats() | st.integers(-(10**16), 10**16)


@pytest.mark.slow
@given(st.lists(st.tuples(st.text(max_size=5), numbers, numbers, st.booleans()), max_size=8))
def test_whatever_is_written_is_read(values):
    def number(value):
        if math.isfinite(value):
            return value
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"

    kinds = ("point", "epoch")
    content = written([value(a, number(x), number(y), kinds[k]) for a, x, y, k in values])
    expected = [Metric(a, float(x), float(y), kinds[k]) for a, x, y, k in values]
    read = Lines(PATH, content)
    assert repr(read.values(len(read))) == repr(expected)


def test_the_rows_of_epochs_that_go_back_are_those_of_their_epochs():
    told = [("a", 2), ("b", 1), ("c", 2), ("d", 1), ("e", 3)]
    read = Lines(PATH, written([value(label, x, 0.5, "epoch") for label, x in told]))
    assert read.values(5).rows() == [
        {"epoch": 2, "a": 0.5, "c": 0.5},
        {"epoch": 1, "b": 0.5, "d": 0.5},
        {"epoch": 3, "e": 0.5},
    ]
    assert all(type(row["epoch"]) is int for row in read.values(5).rows())


def test_values_are_like_a_list():
    read = Lines(PATH, written([value(), value("val_acc", 1, 0.5, "epoch")]))
    values = read.values(2)
    expected = [Metric("train_loss", 1.5, 0.25), Metric("val_acc", 1, 0.5, "epoch")]
    assert values == expected
    assert (values[1], values[-2], values[:1]) == (expected[1], expected[0], expected[:1])
    assert values.points() == {"train_loss": expected[:1]}
    assert values.points()["train_loss"].y.tolist() == [0.25]
