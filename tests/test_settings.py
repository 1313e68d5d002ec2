"""What is known of a trainer's settings, and what of those that nobody declared."""

import inspect

import pytest
import torch

from gradbook import DataModule, LinearRegression, Trainer
from gradbook.errors import CheckpointError
from gradbook.settings import SETTINGS, compared_settings, settings_of, unstackable_setting


class Line(DataModule):
    def __init__(self, batch_size=4):
        super().__init__()
        self.save_hyperparameters()
        self.X = torch.ones(8, 2)

    def get_dataloader(self, train):
        return self.get_tensorloader((self.X, self.X[:, :1]), train)


class NoisyTrainer(Trainer):
    """As if a setting had been added in trainer.py alone."""

    def __init__(self, max_epochs, *, gradient_noise=0.0, **settings):
        super().__init__(max_epochs, **settings)
        self.save_hyperparameters()


class UnsavedTrainer(Trainer):
    def __init__(self, max_epochs, gradient_noise=0.0):
        super().__init__(max_epochs, display="off")
        self.gradient_noise = gradient_noise


def test_every_setting_of_the_trainer_is_declared_and_nothing_else():
    parameters = list(inspect.signature(Trainer).parameters)
    assert list(SETTINGS) == parameters


def test_defaults_can_be_stacked():
    assert unstackable_setting(Trainer(1)) is None


@pytest.mark.parametrize("Class", [NoisyTrainer, UnsavedTrainer])
def test_a_setting_that_is_not_declared_is_compared_and_trained_alone(Class):
    trainer = Class(1, gradient_noise=0.5)
    assert compared_settings(trainer)["gradient_noise"] == 0.5
    assert unstackable_setting(trainer) == (
        "its gradient_noise is 0.5, which works on one model at a time"
    )


def test_what_is_collected_by_stars_is_no_setting_of_its_own():
    assert "settings" not in settings_of(NoisyTrainer(1, display="off"))


def test_a_training_goes_on_only_with_the_settings_of_its_own_trainer(tmp_path):
    first = NoisyTrainer(1, gradient_noise=0.5, display="off")
    first.fit(LinearRegression(), Line())
    first.save_checkpoint(tmp_path / "last.pt")
    other = NoisyTrainer(2, gradient_noise=0.1, display="off")
    with pytest.raises(CheckpointError, match=r"trainer\.gradient_noise: 0\.5 .* 0\.1 now"):
        other.fit(LinearRegression(), Line(), tmp_path / "last.pt")
    same = NoisyTrainer(2, gradient_noise=0.5, display="off")
    same.fit(LinearRegression(), Line(), tmp_path / "last.pt")
    assert len(same.history) == 2


def test_settings_that_change_no_result_are_not_compared():
    compared = compared_settings(Trainer(3, display="off"))
    assert not {"max_epochs", "display", "sinks", "run", "watch"} & set(compared)
    assert {"gradient_clip_val", "precision", "patience", "keep_best"} <= set(compared)
