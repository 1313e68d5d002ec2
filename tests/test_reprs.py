"""What the objects that a learner prints say of themselves, and what completion offers."""

from importlib import import_module
from types import SimpleNamespace

import pytest
import torch

import gradbook
from gradbook import HyperParameters, Moons, Sink, TensorLoader, Trainer
from gradbook.book.classic import Accumulator
from gradbook.data import GivenData
from gradbook.models import MLP
from gradbook.sweeps import MemberResult, SettingResult
from gradbook.timing import Timer

PACKAGES = (
    *("checkpoint", "datasets", "errors", "inspection", "models", "runs", "sweeps", "trackers"),
    *("verdicts", "watching"),
)


def test_a_trainer_says_what_it_has_trained():
    trainer = Trainer(max_epochs=2, display="off")
    assert repr(trainer) == "Trainer: max_epochs=2, has trained nothing yet"
    trainer.fit(MLP(num_outputs=2, num_hiddens=4), Moons())
    best = f"{trainer.best.value:.4g} in epoch {trainer.best.epoch}"
    assert repr(trainer) == f"Trainer: MLP on Moons, finished, 2 of 2 epochs, best val_acc {best}"
    assert repr(trainer.training) == repr(trainer).removeprefix("Trainer: ")
    assert repr(trainer.best) == f"epoch {trainer.best.epoch}: val_acc {trainer.best.value:.4g}"


def test_a_trainer_says_that_it_trains_and_how_it_ended():
    class Looking(Sink):
        def end_epoch(self, trainer):
            told.append(repr(trainer))
            raise RuntimeError("stop")

    told = []
    trainer = Trainer(max_epochs=2, display="off", sinks=[Looking()])
    with pytest.raises(RuntimeError, match="stop"):
        trainer.fit(MLP(num_outputs=2, num_hiddens=4), Moons())
    assert told[0].startswith("Trainer: MLP on Moons, running, 1 of 2 epochs, best val_acc ")
    assert repr(trainer).startswith("Trainer: MLP on Moons, failed, 1 of 2 epochs")


def test_there_may_be_no_best_epoch():
    best = import_module("gradbook.stopping").BestSoFar(None, "auto", 0.0, None)
    assert repr(best) == "no best epoch yet"


def test_data_say_what_they_are_made_from_and_loaders_what_they_give():
    data = GivenData((torch.rand(10, 2), torch.rand(10, 1)), batch_size=4)
    assert repr(data) == "GivenData(batch_size=4)"
    shown = "TensorLoader: 10 examples of shape (2,), (1,) in 3 batches of 4"
    assert repr(data.train_dataloader()) == f"{shown}, shuffled"
    assert repr(TensorLoader((torch.rand(10, 2), torch.rand(10, 1)), 4)) == shown
    assert repr(Moons(noise=0.2)).startswith("Moons(num_train=200")
    assert "noise=0.2" in repr(Moons(noise=0.2))


def test_hyperparameters_are_shown_short():
    class Settings(HyperParameters):
        def __init__(self, text, a=1):
            self.save_hyperparameters()

    assert repr(Settings("\x1b" * 50)).startswith(r"Settings(text='\x1b")
    assert len(repr(Settings("x" * 500, 2))) < 80


def test_a_board_says_its_curves():
    board = gradbook.ProgressBoard(display=False)
    assert repr(board) == "ProgressBoard: no points yet"
    board.draw(1, 2.0, "train_loss")
    assert repr(board) == "ProgressBoard: train_loss (1)"


def test_timers_and_sums_say_their_numbers():
    timer = Timer()
    timer.times = [1.0, 0.5]
    assert repr(timer) == "Timer: 2 runs, 1.5 seconds"
    assert repr(Accumulator(2)) == "Accumulator: [0.0, 0.0]"


def test_a_setting_of_a_sweep_says_what_it_reached():
    run = SimpleNamespace(final={"val_acc": 0.75}, status="running")
    member = MemberResult({"lr": 0.1, "seed": 3}, run, None, None)
    vars(member)["verdict"] = None
    assert repr(member) == "lr 0.1, seed 3: running"
    assert repr(SettingResult({"lr": 0.1}, [member])).startswith("lr 0.1: val_acc 0.75, ")


@pytest.mark.parametrize("name", PACKAGES)
def test_completion_offers_the_public_names_of_a_package_and_no_others(name):
    module = getattr(gradbook, name) if name in dir(gradbook) else import_module(f"gradbook.{name}")
    assert dir(module) == sorted(module.__all__)
    for each in dir(module):
        assert getattr(module, each).__doc__ is not None or each.isupper()


def test_completion_offers_gradbook_s_public_names_and_no_others():
    assert dir(gradbook) == sorted(gradbook.__all__)
    assert {"Trainer", "summary", "load_model", "Moons"} <= set(dir(gradbook))
    assert not {"lazy", "registry", "homes", "TYPE_CHECKING"} & set(dir(gradbook))
