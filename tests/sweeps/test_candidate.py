"""A training is begun and ended by itself, and keeps what ended it."""

import pytest
from tests.sweeps.stacking import assert_same_training, member, trained_alone

from gradbook.errors import ConfigError
from gradbook.interrupts import Interrupts


@pytest.fixture
def candidate():
    candidate = member()()
    assert candidate.begin(Interrupts())
    yield candidate
    candidate.end(None)


def test_alone_it_is_trained_as_by_its_trainer(candidate):
    candidate.train_alone("nobody is like it")
    [alone] = trained_alone([member()])
    assert_same_training(candidate, alone)
    assert (candidate.alone, candidate.error) == ("nobody is like it", None)


def test_it_runs_until_it_is_ended(candidate):
    assert candidate.live is not None
    candidate.end(None)
    assert candidate.live is None


def test_a_second_end_changes_nothing(candidate):
    candidate.end(ValueError("first"))
    candidate.end(ValueError("second"))
    assert str(candidate.error) == "first"


def test_what_cannot_be_begun_keeps_why():
    candidate = member(lr=-1.0)()
    assert not candidate.begin(Interrupts())
    assert isinstance(candidate.error, ConfigError)
    assert candidate.live is None


def test_an_error_ends_it_and_is_kept(candidate):
    with candidate.ending_with():
        raise OSError("the disk is full")
    assert str(candidate.error) == "the disk is full"
    assert candidate.trainer.status == "failed"
    assert candidate.live is None


def test_ctrl_c_ends_it_and_is_passed_on(candidate):
    with pytest.raises(KeyboardInterrupt), candidate.ending_with():
        raise KeyboardInterrupt
    assert candidate.trainer.status == "interrupted"


def test_its_loaders_are_those_of_the_data(candidate):
    train, val = candidate.loaders
    assert (len(train.tensors[1]), len(val.tensors[1])) == (24, 8)
    assert (train.shuffle, val.shuffle) == (True, False)
