"""How values of a run are written."""

import pytest
from tests.runs.folders import make_run

from gradbook.cli.texts import checkpoint_text, rounded, shortened, table
from gradbook.runs.stored import StoredRun

CHOSEN = {"label": "val_acc", "epoch": 2, "value": 0.8}


def test_numbers_stand_on_the_right_and_words_on_the_left():
    lines = table({"name": ["a", "bc"], "lr": ["0.1", "-"]})
    assert lines == ["name   lr", "a     0.1", "bc      -"]


def test_a_cell_stays_on_its_line():
    assert table({"name": ["a\nb\x1b"]})[1:] == [r"a\nb\x1b"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.5, "0.5000"), (0, "0.0000"), (1e-7, "1e-07"), (123456.0, "1.23e+05"), (None, "NaN")],
)
def test_values_have_four_decimals_where_these_say_something(value, expected):
    assert rounded({"a": value}, "a") == expected


def test_a_value_that_is_not_there_is_a_dash():
    assert rounded({}, "a") == "-"


def test_a_long_value_is_shortened():
    assert shortened([256] * 9) == "256,256,256,256,2..."


def test_the_best_checkpoint_says_its_epoch_and_why_it_is_the_best():
    run = StoredRun(make_run(best_checkpoint=CHOSEN))
    assert (
        checkpoint_text(run, "best") == "checkpoint best, after epoch 2, chosen by val_acc 0.8000"
    )


def test_the_last_checkpoint_says_its_epoch():
    run = StoredRun(make_run(best_checkpoint=CHOSEN))
    assert checkpoint_text(run, "last") == "checkpoint last, after epoch 3"


def test_a_checkpoint_of_an_unknown_epoch_says_its_name():
    assert checkpoint_text(StoredRun(make_run()), "best") == "checkpoint best"
