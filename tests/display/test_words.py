"""Counts, sizes and settings in words."""

import pytest

from gradbook.display.words import (
    bytes_text,
    bytes_unit,
    counted,
    seconds_text,
    settings_text,
    time_text,
    value_text,
)


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 nodes"), (1, "1 node"), (2, "2 nodes"), (12_345, "12,345 nodes")]
)
def test_a_count_has_its_noun(number, text):
    assert counted(number, "node") == text


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (803_456, "803 kB"),
        (47_040_000, "47 MB"),
        (2.5e9, "2.5 GB"),
    ],
)
def test_a_size_is_written_in_the_unit_that_fits(num_bytes, text):
    assert bytes_text(num_bytes) == text


def test_the_unit_of_a_size_comes_with_its_own():
    assert bytes_unit(1e6) == ("MB", 1e6)
    assert bytes_unit(7) == ("bytes", 1)


def test_settings_are_told_by_name():
    settings = {"lr": 0.1 + 0.2, "num_hiddens": [256, 128], "act": "relu"}
    assert settings_text(settings) == "lr 0.3, num_hiddens [256, 128], act relu"


def test_a_long_value_is_cut():
    assert value_text("x" * 24) == "x" * 24
    assert value_text("x" * 25) == "x" * 21 + "..."


@pytest.mark.parametrize(
    ("seconds", "expected"), [(None, "-"), (1.234, "1.23"), (12345.6, "12346")]
)
def test_seconds_are_short(seconds, expected):
    assert seconds_text(seconds) == expected


def test_a_time_is_shown_as_the_clock_here_shows_it(monkeypatch):
    import time

    monkeypatch.setenv("TZ", "UTC-2")
    time.tzset()
    assert time_text("2025-03-01T12:00:00+00:00") == "2025-03-01 14:00"
    monkeypatch.delenv("TZ")
    time.tzset()


def test_a_text_that_is_no_time_is_shown_as_it_is():
    assert time_text("yesterday") == "yesterday"
