"""What the words of a command are about."""

import pytest
import torch

from gradbook.cli.outcome import HelpRequest, UsageError
from gradbook.cli.subject import read_subject
from gradbook.errors import ConfigError


def add_depth(group):
    group.add_argument("--depth", type=int, default=3)


def read(*words, **options):
    return read_subject("look", list(words), add_depth, title="Look", summary="Looks.", **options)


def test_words_name_model_data_and_settings():
    subject = read("linear-regression", "--lr", "0.5", "--noise", "0.2", "--seed", "7")
    assert subject.model.Class.__name__ == "LinearRegression"
    assert subject.arguments["model"] == {"lr": 0.5}
    assert subject.arguments["data"] == {"noise": 0.2}
    assert subject.settings["data"]["batch_size"] == 32
    assert (subject.seed, subject.is_seed_given, subject.own.depth) == (7, True, 3)


def test_the_command_that_repeats_it_has_what_differs_from_the_defaults():
    subject = read("linear-regression", "--lr", "0.5", "--noise", "0.01", "--depth", "9")
    assert subject.words == ["look", "linear-regression", "--lr", "0.5"]


def test_a_seed_is_drawn_if_none_is_given():
    subject = read("linear-regression")
    assert not subject.is_seed_given
    assert 0 <= subject.seed < 2**32


def test_the_same_seed_builds_the_same_model_and_data():
    first, again = (
        read("linear-regression-scratch", "--seed", "4").recipe.make() for _ in range(2)
    )
    assert torch.equal(first[0].w, again[0].w)
    assert torch.equal(first[1].X, again[1].X)


def test_without_the_trainer_its_settings_are_no_options():
    with pytest.raises(UsageError, match="max-epochs"):
        read("linear-regression", "--max-epochs", "3", with_trainer=False)


def test_help_is_asked_for():
    with pytest.raises(HelpRequest):
        read("--help")
    with pytest.raises(HelpRequest, match="--depth"):
        read("linear-regression", "--help")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ([], UsageError),
        (["--lr", "1"], UsageError),
        (["linear-regresion"], ConfigError),
        (["linear-regression", "--seed", "-1"], UsageError),
        (["linear-regression", "--seed", "4294967296"], UsageError),
        (["linear-regression", "--data", "nothing"], ConfigError),
    ],
)
def test_words_that_cannot_be_understood_are_refused(words, error):
    with pytest.raises(error):
        read(*words)


def test_options_may_be_read_as_several_values():
    def read_swept(option, text):
        return [option.read(item).value for item in text.split(",")]

    subject = read("linear-regression", "--lr", "0.1,0.2", read=read_swept)
    assert subject.arguments["model"]["lr"] == [0.1, 0.2]
