import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradbook.board import ProgressBoard
from gradbook.errors import ConfigError
from gradbook.history import History
from gradbook.record import Sink


class Keep(Sink):
    def __init__(self):
        self.opened, self.metrics = [], []

    def open(self, board, trainer=None):
        self.opened.append((board, trainer))

    def write(self, metric):
        self.metrics.append(metric)


def quiet(**options):
    return ProgressBoard(display=False, **options)


def points(board, label):
    return [(point.x, point.y) for point in board.data[label]]


def book_points(values, every_n):
    """The book's arithmetic in plain Python: a full window becomes its mean."""
    waiting, drawn = [], []
    for pair in values:
        waiting.append(pair)
        if len(waiting) != every_n:
            continue
        drawn.append(tuple(sum(column) / len(column) for column in zip(*waiting, strict=True)))
        waiting = []
    return drawn


@given(
    values=st.lists(st.tuples(st.floats(0, 10), st.floats(-100, 100)), max_size=30),
    every_n=st.integers(1, 7),
)
def test_every_n_values_become_their_mean(values, every_n):
    board = quiet()
    for x, y in values:
        board.draw(x, y, "loss", every_n=every_n)
    expected = book_points(values, every_n)
    drawn = points(board, "loss") if expected else []
    assert len(drawn) == len(expected)
    for point, reference in zip(drawn, expected, strict=True):
        assert point == pytest.approx(reference, abs=1e-9)


def test_what_is_left_over_is_carried_into_the_next_window():
    board = quiet()
    for x in range(5):
        board.draw(x, 10 * x, "loss", every_n=3)
    board.draw(5, 50, "loss", every_n=3)
    assert points(board, "loss") == [(1, 10), (4, 40)]


@pytest.mark.parametrize("every_n", [0, -3, 1])
def test_fewer_than_one_value_a_point_counts_as_one(every_n):
    board = quiet()
    board.draw(1, 2, "loss", every_n=every_n)
    assert points(board, "loss") == [(1, 2)]


def test_each_label_has_its_own_window():
    board = quiet()
    board.draw(0, 1, "a", every_n=2)
    board.draw(0, 100, "b", every_n=2)
    board.draw(2, 3, "a", every_n=2)
    assert points(board, "a") == [(1, 2)]
    assert "b" not in board.data


def test_labels_stay_in_the_order_in_which_they_came():
    board = quiet()
    for label in ("train_loss", "val_loss", "train_loss", "val_acc"):
        board.draw(0, 1, label)
    assert list(board.data) == ["train_loss", "val_loss", "val_acc"]


@pytest.mark.parametrize("value", [2, 2.0, torch.tensor(2.0), torch.tensor([2.0]), torch.tensor(2)])
def test_a_value_is_a_number_or_a_tensor_with_one_element(value):
    board = quiet()
    board.draw(0, value, "loss")
    assert points(board, "loss") == [(0, 2.0)]


def test_a_tensor_with_several_elements_is_refused():
    with pytest.raises(ConfigError, match=r"one y, but the tensor has shape \(2,\)"):
        quiet().draw(0, torch.ones(2), "loss")


def test_a_value_that_carries_a_graph_is_drawn_without_it():
    board = quiet()
    board.draw(0, torch.ones((), requires_grad=True) * 3, "loss", every_n=2)
    waiting = board.windows["loss"].values[0]
    assert not waiting.requires_grad


def test_a_value_is_not_read_before_its_window_closes():
    quiet().draw(0, torch.ones((), device="meta"), "loss", every_n=2)  # holds no value to read


def test_a_value_that_is_changed_afterwards_was_recorded_as_it_was():
    board, loss = quiet(), torch.ones(())
    board.draw(0, loss, "loss", every_n=2)
    loss /= 4
    board.draw(1, 1.0, "loss", every_n=2)
    assert board.data["loss"][0].y == 1


def test_arguments_are_hyperparameters():
    board = ProgressBoard(xlabel="step", ylim=[0, 1], yscale="log", display="off")
    assert board.xlabel == "step"
    assert board.ylim == [0, 1]
    assert board.hparams["yscale"] == "log"


def test_the_defaults_are_the_book_s():
    board = ProgressBoard()
    assert (board.xscale, board.yscale, board.figsize) == ("linear", "linear", (3.5, 2.5))
    assert list(board.ls) == ["-", "--", "-.", ":"]
    assert list(board.colors) == ["C0", "C1", "C2", "C3"]


def test_a_board_outside_training_opens_its_display_at_the_first_point(monkeypatch):
    sink = Keep()
    monkeypatch.setattr(ProgressBoard, "choose_display", lambda board, trainer=None: sink)
    board = ProgressBoard()
    board.draw(0, 1, "a", every_n=2)
    assert sink.opened == []
    board.draw(0, 1, "a", every_n=2)
    board.draw(1, 1, "a")
    assert sink.opened == [(board, None)]
    assert sink.metrics == board.data["a"]


def test_every_sink_of_the_board_hears_of_a_point():
    board, sinks = quiet(), [Keep(), Keep()]
    board.sinks = sinks
    board.draw(0, 1, "a")
    assert sinks[0].metrics == sinks[1].metrics == board.data["a"]


def test_the_history_of_the_board_hears_of_every_raw_value():
    board = quiet()
    board.sinks, board.history = [], History()
    board.draw(0, 1.0, "train_loss", every_n=10)
    board.draw(0, 3.0, "train_loss", every_n=10)
    board.history.close_epoch(1, {})
    assert board.history[0]["train_loss"] == 2.0
    assert board.data == {}


def test_a_cleared_board_knows_nothing():
    board = quiet()
    board.draw(0, 1, "a")
    board.draw(0, 1, "b", every_n=2)
    board.clear()
    board.draw(4, 5, "b", every_n=2)
    assert board.data == {}


@pytest.mark.parametrize("every_n", [0, 1, 3, 5, 7, 100])
def test_many_values_at_once_give_what_they_give_one_by_one(every_n):
    one_by_one, at_once = ProgressBoard(display=False), ProgressBoard(display=False)
    for board in (one_by_one, at_once):
        board.history = History()
    values = torch.rand(20)
    for start, end in ((0, 4), (4, 5), (5, 20)):
        for i in range(start, end):
            one_by_one.draw(i / 8, values[i], "train_loss", every_n)
        ys = values[start:end].tolist()
        at_once.draw_many([i / 8 for i in range(start, end)], ys, "train_loss", every_n)
    assert at_once.data == one_by_one.data
    for board in (one_by_one, at_once):
        board.flush()
    assert at_once.data == one_by_one.data
    meters = [board.history.meters["train_loss"] for board in (one_by_one, at_once)]
    assert meters[0].xs == meters[1].xs
    assert torch.equal(meters[0].read(), meters[1].read())


@pytest.mark.parametrize(
    "x",
    [math.nan, math.inf, -math.inf, "1", None, 1j, 10**400, torch.ones(2), torch.tensor(math.nan)],
)
def test_a_position_that_is_no_finite_number_is_refused(x):
    board = quiet()
    with pytest.raises(ConfigError, match=r"x must be a finite number, but .* curve 'a' has x="):
        board.draw(x, 1.0, "a")
    assert board.data == {}


def test_a_value_that_is_no_finite_number_is_a_point():
    board = quiet()
    board.draw(1, math.inf, "a")
    assert points(board, "a") == [(1, math.inf)]


def test_a_position_may_be_a_tensor():
    board = quiet()
    board.draw(torch.tensor([2.0]), 1.0, "a")
    assert type(board.data["a"][0].x) is float


@pytest.mark.parametrize("y", ["high", None, [1]])
def test_a_value_that_is_no_number_is_refused(y):
    with pytest.raises(ConfigError, match=r"y must be a number, but .* curve 'a' has y="):
        quiet().draw(1, y, "a")


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        ("a\ud800", r"holds '\\ud800', half of a character"),
        (3, "must be text, .* is 3"),
        (None, "must be text, .* is None"),
    ],
)
def test_a_label_that_no_file_can_hold_is_refused(label, reason):
    board = quiet()
    with pytest.raises(ConfigError, match=reason):
        board.draw(1, 1.0, label)
    assert board.data == {}


@pytest.mark.parametrize("label", ["Verlust β", "\U0001f600", "two\nlines", ""])
def test_any_text_is_a_label(label):
    board = quiet()
    board.draw(1, 1.0, label)
    assert points(board, label) == [(1, 1)]


@pytest.mark.parametrize(
    ("point", "told"),
    [
        ({"y": 10**400}, "y must be a number, .* It is too large for a float"),
        ({"x": 2**2000}, "x must be a finite number, .* It is too large for a float"),
        ({"x": 10**5000}, "a whole number of about 5000 digits"),
        ({"every_n": "3"}, "every_n is how many values make one point, but it is '3'"),
    ],
)
def test_a_point_that_no_float_can_hold_is_refused(point, told):
    with pytest.raises(ConfigError, match=told):
        ProgressBoard(display=False).draw(**{"x": 1, "y": 1, "label": "a", **point})
