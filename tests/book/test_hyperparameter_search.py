import math
import random

import numpy as np
import pytest
import torch

from gradbook.book.hyperparameter_search import (
    BasicScheduler,
    HPOScheduler,
    HPOSearcher,
    HPOTrainer,
    HPOTuner,
    RandomSearcher,
    SuccessiveHalvingScheduler,
    hpo_objective_lenet,
)
from gradbook.data import DataModule
from gradbook.errors import ConfigError, DataError, ModelError, NotTrainedError, SampleDataWarning
from gradbook.models import SoftmaxRegression


class Uniform:
    """A distribution as SciPy has them, which is not installed everywhere."""

    def __init__(self, low, high, seed=0):
        self.low, self.high, self.random = low, high, random.Random(seed)

    def rvs(self):
        return self.random.uniform(self.low, self.high)


class Points(DataModule):
    def __init__(self, num_val=10, batch_size=4):
        super().__init__()
        self.save_hyperparameters()
        self.X = torch.randn(20 + num_val, 2)
        self.y = (self.X[:, 0] > 0).long()

    def get_dataloader(self, train):
        rows = slice(0, 20) if train else slice(20, None)
        return self.get_tensorloader([self.X, self.y], train, rows)


def square(x, max_epochs=1):
    return torch.tensor((x - 3) ** 2)


# HPOTrainer


def test_the_validation_error_is_the_fraction_of_wrong_predictions():
    model, data = SoftmaxRegression(num_outputs=2, lr=0.1), Points()
    trainer = HPOTrainer(max_epochs=1)
    trainer.fit(model, data)
    model.train()
    error = trainer.validation_error()

    with torch.no_grad():
        wrong = (model(data.X[20:]).argmax(1) != data.y[20:]).float().mean()
    assert (error.shape, error.device.type) == ((), "cpu")
    assert error == pytest.approx(float(wrong))  # 10 examples in batches of 4, 4 and 2
    assert model.training


def test_without_a_validation_set_there_is_no_error_to_tell():
    class NoVal(Points):
        def val_dataloader(self):
            return None

    trainer = HPOTrainer(max_epochs=1)
    with pytest.raises(NotTrainedError):
        trainer.validation_error()
    trainer.fit(SoftmaxRegression(num_outputs=2, lr=0.1), NoVal())
    with pytest.raises(DataError, match="no validation set"):
        trainer.validation_error()


# Searchers and schedulers


def test_a_random_searcher_begins_with_the_initial_configuration_and_leaves_it_alone():
    initial = {"x": 5}
    searcher = RandomSearcher({"x": Uniform(0, 1)}, initial_config=initial)
    first, second = searcher.sample_configuration(), searcher.sample_configuration()
    first["max_epochs"] = 2
    assert first["x"] == 5
    assert 0 <= second["x"] <= 1
    assert initial == {"x": 5}


def test_a_domain_that_cannot_be_drawn_from_is_refused():
    with pytest.raises(ConfigError, match=r"config_space\['x'\] is \(0, 1\).*rvs"):
        RandomSearcher({"x": (0, 1)})


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: HPOSearcher().sample_configuration(), "sample_configuration"),
        (lambda: HPOScheduler().suggest(), "suggest"),
        (lambda: HPOScheduler().update({}, 0.5), "update"),
    ],
)
def test_a_base_class_says_what_it_lacks(call, told):
    with pytest.raises(ModelError, match=told):
        call()


def test_a_basic_scheduler_asks_its_searcher_and_tells_it_what_came_out():
    class Searcher(HPOSearcher):
        def sample_configuration(self):
            return {"x": 1}

        def update(self, config, error, additional_info=None):
            self.told = (config, error, additional_info)

    scheduler = BasicScheduler(searcher=Searcher())
    assert scheduler.suggest() == {"x": 1}
    scheduler.update({"x": 1}, 0.25, info="i")
    assert scheduler.searcher.told == ({"x": 1}, 0.25, "i")


# HPOTuner


def test_a_tuner_keeps_the_books(capsys):
    searcher = RandomSearcher({"x": Uniform(0, 10)}, initial_config={"x": 8})
    tuner = HPOTuner(BasicScheduler(searcher), objective=square)
    tuner.run(number_of_trials=6)

    errors = [record["error"] for record in tuner.records]
    assert errors[0] == 25
    assert tuner.incumbent_trajectory == list(np.minimum.accumulate(errors))
    assert tuner.incumbent_error == min(errors)
    assert tuner.records[errors.index(min(errors))]["config"] == tuner.incumbent
    runtimes = [record["runtime"] for record in tuner.records]
    assert tuner.cumulative_runtime == pytest.approx(np.cumsum(runtimes))
    assert tuner.current_runtime == tuner.cumulative_runtime[-1]
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "Trial 0: config = {'x': 8}"
    assert printed[1].startswith("    error = 25.0, runtime = ")


def test_an_error_that_is_no_number_is_worse_than_any():
    tuner = HPOTuner(HPOScheduler(), objective=square)
    for error in (math.nan, 0.5, math.nan, 0.25):
        tuner.bookkeeping({"error": error}, error, 1.0)
    assert math.isnan(tuner.incumbent_trajectory[0])
    assert tuner.incumbent_trajectory[1:] == [0.5, 0.5, 0.25]


# Successive halving


@pytest.mark.parametrize(
    ("settings", "levels"),
    [
        ({"eta": 2, "r_min": 2, "r_max": 10}, [2, 4, 8, 10]),
        ({"eta": 2, "r_min": 1, "r_max": 8}, [1, 2, 4, 8]),
        ({"eta": 3, "r_min": 1, "r_max": 243}, [1, 3, 9, 27, 81, 243]),
        ({"eta": 3, "r_min": 5, "r_max": 5}, [5]),
    ],
)
def test_the_rungs(settings, levels):
    scheduler = SuccessiveHalvingScheduler(HPOSearcher(), **settings)
    assert scheduler.rung_levels == levels
    assert len(levels) == scheduler.K + 1


def test_each_rung_is_reached_by_the_better_half():
    searcher = RandomSearcher({"x": Uniform(0, 10)}, initial_config={"x": 3.5})
    scheduler = SuccessiveHalvingScheduler(searcher, eta=2, r_min=2, r_max=10)
    tuner = HPOTuner(scheduler, objective=square)
    tuner.run(number_of_trials=30)  # two rounds of 8 + 4 + 2 + 1

    rungs = scheduler.all_observed_error_at_rungs
    assert {level: len(rung) for level, rung in rungs.items()} == {2: 16, 4: 8, 8: 4, 10: 2}
    errors = {level: [error for _, error in rung] for level, rung in rungs.items()}
    first_round = sorted(errors[2][:8])
    assert errors[4][:4] == first_round[:4]
    assert errors[10][0] == first_round[0]
    assert tuner.records[0]["config"] == {"x": 3.5, "max_epochs": 2}
    assert not scheduler.queue


def test_what_goes_on_comes_before_a_round_that_has_begun_meanwhile():
    searcher = RandomSearcher({"x": Uniform(0, 1)})
    scheduler = SuccessiveHalvingScheduler(searcher, eta=2, r_min=1, r_max=4)
    first = [scheduler.suggest() for _ in range(4)]
    assert scheduler.suggest()["max_epochs"] == 1  # a worker is free before all have answered
    for config in first:
        scheduler.update(config, config["x"])
    assert [scheduler.suggest()["max_epochs"] for _ in range(3)] == [2, 2, 1]


def test_configurations_without_a_number_are_the_last_to_go_on():
    scheduler = SuccessiveHalvingScheduler(HPOSearcher(), eta=2, r_min=1, r_max=2)
    scheduler.observed_error_at_rungs[1] = [("a", math.nan), ("b", 0.5), ("c", 0.1)]
    assert scheduler.get_top_n_configurations(rung_level=1, n=2) == ["c", "b"]


@pytest.mark.parametrize(
    "settings", [(1, 1, 8), (2, 0, 8), (2, 4, 2), (2, 1, 8, 0), (2, 1, 8, 0.5), (2, 1, 8, "1")]
)
def test_halving_that_cannot_be_is_refused(settings):
    with pytest.raises(ConfigError):
        SuccessiveHalvingScheduler(HPOSearcher(), *settings)


@pytest.mark.slow
def test_the_objective_of_the_book_trains_lenet():
    with pytest.warns(SampleDataWarning):
        error = hpo_objective_lenet(np.float64(0.1), np.int64(128), max_epochs=1)
    assert 0 < error < 1
