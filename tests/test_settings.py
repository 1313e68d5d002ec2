"""What is known of a trainer's settings, and what of those that nobody declared."""

import inspect

import pytest
import torch

from gradbook import DataModule, LinearRegression, Trainer
from gradbook.checks import check_number
from gradbook.cli.options import options_of
from gradbook.errors import CheckpointError, ConfigError, IgnoredSettingWarning
from gradbook.settings import (
    SETTINGS,
    compared_settings,
    declares_settings,
    setting,
    settings_of,
    unstackable_setting,
    warn_of_ignored,
)


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


@declares_settings
class DeclaringTrainer(Trainer):
    """As if a setting had been declared in settings.py with the least that it takes.

    Args:
        gradient_noise: The standard deviation of the noise.
    """

    gradient_noise: float = setting(default=0.0, check=check_number, read_by=("fit_epoch",))


class UnsavedTrainer(Trainer):
    def __init__(self, max_epochs, gradient_noise=0.0):
        super().__init__(max_epochs, display="off")
        self.gradient_noise = gradient_noise


def test_every_setting_of_the_trainer_is_declared_and_nothing_else():
    parameters = list(inspect.signature(Trainer).parameters)
    assert list(SETTINGS) == parameters


def test_defaults_can_be_stacked():
    assert unstackable_setting(Trainer(1)) is None


def test_every_setting_has_its_line_in_the_docstring_of_the_trainer():
    """From which the command takes the help of its option."""
    undocumented = [o.name for o in options_of(Trainer, "trainer") if not o.help]
    documented = [f"\n    {name}: " in inspect.getdoc(Trainer) for name in SETTINGS]
    assert undocumented == []
    assert all(documented)


def test_a_declared_setting_is_in_the_signature_with_its_default_and_its_type():
    parameter = inspect.signature(DeclaringTrainer).parameters["gradient_noise"]
    assert (parameter.default, parameter.annotation) == (0.0, float)
    assert parameter.kind is parameter.KEYWORD_ONLY
    assert list(inspect.signature(DeclaringTrainer).parameters)[:-1] == list(SETTINGS)


def test_a_declared_setting_has_its_default_where_init_was_replaced():
    assert object.__new__(DeclaringTrainer).gradient_noise == 0.0


def test_a_declared_setting_is_checked_and_kept():
    with pytest.raises(ConfigError, match="gradient_noise must be a finite number"):
        DeclaringTrainer(1, gradient_noise=-1)
    trainer = DeclaringTrainer(1, gradient_noise=0.5)
    assert trainer.gradient_noise == trainer.hparams["gradient_noise"] == 0.5
    assert "gradient_noise" not in Trainer(1).hparams


def test_a_declared_setting_is_an_option_of_the_command():
    option = options_of(DeclaringTrainer, "trainer")[-1]
    assert (option.plain, option.help) == (
        "--gradient-noise",
        "The standard deviation of the noise.",
    )


def test_a_declared_setting_that_a_replaced_method_does_not_read_is_told():
    with pytest.warns(IgnoredSettingWarning, match=r"gradient_noise=0\.5 has no effect, because"):
        warn_of_ignored(DeclaringTrainer(1, gradient_noise=0.5), "fit_epoch")


@pytest.mark.parametrize("forgotten", ["check", "read_by"])
def test_a_setting_cannot_be_declared_without_saying_how_it_is_checked_and_read(forgotten):
    known = {"check": check_number, "read_by": ()}
    del known[forgotten]
    with pytest.raises(TypeError, match=forgotten):
        setting(**known)


@pytest.mark.parametrize("Class", [NoisyTrainer, UnsavedTrainer, DeclaringTrainer])
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


def test_a_setting_hides_no_method_of_a_derived_trainer():
    class Watching(Trainer):
        def watch(self):
            return "by a method"

    with pytest.raises(ConfigError, match=r"Watching\.watch"):
        Watching(1, watch="gradients")
