"""A training is begun and ended by itself, and keeps what ended it."""

import pytest
from tests.sweeps.stacking import assert_same_training, member, trained_alone

from gradbook.errors import ConfigError
from gradbook.interrupts import Interrupts


@pytest.fixture
def training():
    training = member()()
    assert training.begin(Interrupts())
    yield training
    training.end(None)


def test_alone_it_is_trained_as_by_its_trainer(training):
    training.train_alone("nobody is like it")
    [alone] = trained_alone([member()])
    assert_same_training(training, alone)
    assert (training.alone, training.error) == ("nobody is like it", None)


def test_it_runs_until_it_is_ended(training):
    assert training.is_running
    training.end(None)
    assert not training.is_running


def test_a_second_end_changes_nothing(training):
    training.end(ValueError("first"))
    training.end(ValueError("second"))
    assert str(training.error) == "first"


def test_what_cannot_be_begun_keeps_why():
    training = member(lr=-1.0)()
    assert not training.begin(Interrupts())
    assert isinstance(training.error, ConfigError)
    assert not training.is_running


def test_an_error_ends_it_and_is_kept(training):
    with training.ending_with():
        raise OSError("the disk is full")
    assert str(training.error) == "the disk is full"
    assert training.trainer.status == "failed"
    assert not training.is_running


def test_ctrl_c_ends_it_and_is_passed_on(training):
    with pytest.raises(KeyboardInterrupt), training.ending_with():
        raise KeyboardInterrupt
    assert training.trainer.status == "interrupted"


def test_its_loaders_are_those_of_the_data(training):
    train, val = training.loaders
    assert (len(train.tensors[1]), len(val.tensors[1])) == (24, 8)
    assert (train.shuffle, val.shuffle) == (True, False)
