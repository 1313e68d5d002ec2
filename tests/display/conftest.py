from types import SimpleNamespace

import pytest

from gradbook.board import ProgressBoard
from gradbook.record import Metric


class Clock:
    """A time that passes only when a test says so."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class MLPScratch:
    pass


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def trainer():
    return SimpleNamespace(
        max_epochs=4,
        epoch=0,
        num_train_batches=10,
        num_val_batches=2,
        train_batch_idx=0,
        val_batch_idx=0,
        model=MLPScratch(),
        history=[],
        keeps_curves=False,
    )


@pytest.fixture
def board():
    """A board that tells nobody, for displays that are opened by hand."""
    board = ProgressBoard(xlabel="epoch", xlim=[0, 4])
    board.sinks = []
    return board


@pytest.fixture
def point(board):
    """Adds a point to the board, and returns it."""

    def add(x, y, label="train_loss"):
        metric = Metric(label, x, y)
        board.data.setdefault(label, []).append(metric)
        return metric

    return add


@pytest.fixture
def shell(monkeypatch):
    """IPython as code sees it: a shell with cells, and with a kernel unless it is removed."""
    callbacks = []
    events = SimpleNamespace(
        callbacks=callbacks,
        register=lambda event, callback: callbacks.append(callback),
        unregister=lambda event, callback: callbacks.remove(callback),
    )
    shell = SimpleNamespace(kernel=object(), events=events)

    def end_cell():
        for callback in callbacks[:]:
            callback(None)

    shell.end_cell = end_cell
    module = SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(__import__("sys").modules, "IPython", module)
    return shell
