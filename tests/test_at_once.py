"""Several trainings at once: of other models as one likes, of one model never."""

import copy
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import torch
from tests.patience import LONGEST

from gradbook import LinearRegression, SyntheticRegressionData, Trainer, runs
from gradbook.errors import ConfigError
from gradbook.runs import Run


def data_set():
    return SyntheticRegressionData(num_train=64, num_val=32)


class Slow(LinearRegression):
    """Waits within its first step until it may go on."""

    def training_step(self, batch):
        self.trainer.begun.set()
        assert self.trainer.may_go_on.wait(LONGEST)
        return super().training_step(batch)


@contextmanager
def training_in_a_thread(model, trainer, data):
    """A training that is within its first step as long as this lasts."""
    trainer.begun, trainer.may_go_on = threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        training = pool.submit(trainer.fit, model, data)
        try:
            assert trainer.begun.wait(LONGEST)
            yield
        finally:
            trainer.may_go_on.set()
            training.result()


def test_a_model_is_trained_by_one_training_at_a_time():
    model, data = Slow(), data_set()
    with (
        training_in_a_thread(model, Trainer(1), data),
        pytest.raises(ConfigError, match="This Slow is being trained already"),
    ):
        Trainer(1).fit(model, data)
    trainer = Trainer(1)  # one after the other is as ever
    with training_in_a_thread(model, trainer, data):
        pass
    assert len(trainer.history) == 1


@pytest.mark.slow
def test_a_run_keeps_one_training_at_a_time():
    run, data = Run("runs"), data_set()
    with (
        training_in_a_thread(Slow(), Trainer(1, run=run), data),
        pytest.raises(ConfigError, match="This Run keeps a training already"),
    ):
        Trainer(1, run=run).fit(LinearRegression(), data)
    assert runs.load("slow-1").status == "finished"


def test_other_models_are_trained_meanwhile():
    model, data = Slow(), data_set()
    with training_in_a_thread(model, Trainer(1), data):
        for other in (LinearRegression(), copy.deepcopy(LinearRegression())):
            trainer = Trainer(1)
            trainer.fit(other, data)
            assert len(trainer.history) == 1


def test_a_model_that_failed_can_be_trained_again():
    class Failing(LinearRegression):
        def training_step(self, batch):
            raise ZeroDivisionError

    model = Failing()
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            Trainer(1).fit(model, data_set())


def test_a_model_that_is_trained_can_be_copied_and_pickled():
    model = Slow()
    with training_in_a_thread(model, Trainer(1), data_set()):
        assert torch.equal(copy.deepcopy(model).net.weight, model.net.weight)
        assert pickle.dumps(model)
