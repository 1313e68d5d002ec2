"""What a sweep is to train, and what is wrong with it, before anything is done."""

from pathlib import Path

import pytest
import torch

from gradbook import LinearRegression, Module, SyntheticRegressionData
from gradbook.errors import ConfigError, DataError, GradbookWarning, ModelError
from gradbook.sweeps.plan import Plan
from gradbook.sweeps.values import log_range


class Shaped(LinearRegression):
    def __init__(self, width=4, act="relu", **rest):
        super().__init__(**rest)


def plan(Model=LinearRegression, data=SyntheticRegressionData, num_samples=None, **settings):
    return Plan(Model, data, settings, num_samples)


def test_lists_are_swept_and_the_rest_is_fixed():
    made = plan(lr=[0.1, 0.2], seed=range(2), batch_size=8)
    assert made.swept == {"lr": [0.1, 0.2], "seed": [0, 1]}
    assert made.fixed == {"max_epochs": 10, "batch_size": 8}
    assert len(made.combinations()) == 4


def test_each_setting_goes_to_its_owner():
    made = plan(Shaped, lr=[0.1], width=8, batch_size=4, max_epochs=2, gradient_clip_val=1.0)
    member = made.member(0, {"lr": 0.1}, Path("x"))
    assert member.model_arguments == {"lr": 0.1, "width": 8}
    assert member.data_arguments == {"batch_size": 4}
    assert member.trainer_arguments == {"max_epochs": 2, "gradient_clip_val": 1.0}
    assert (member.seed, member.values) == (0, {"lr": 0.1, "seed": 0})


def test_what_was_given_is_found_again_in_the_facts_of_a_run():
    made = plan(Shaped, lr=[0.1, 0.2], batch_size=[4, 8], width=[2, 3], seed=range(2))
    facts = {
        "model": {"hyperparameters": {"lr": 0.2, "act": "relu"}},  # not every model keeps all
        "data": {"hyperparameters": {"batch_size": 8, "noise": 0.1}},
    }
    assert made.values_in(facts) == {"lr": 0.2, "batch_size": 8}


def test_samples_are_of_everything_but_the_seeds():
    made = plan(lr=log_range(0.01, 1.0), seed=[1, 2], num_samples=3)
    combinations = made.combinations()
    assert len(combinations) == 6
    assert [c["seed"] for c in combinations] == [1, 2] * 3
    assert len({c["lr"] for c in combinations}) == 3


def test_without_several_values_there_is_nothing_to_sweep():
    with pytest.raises(ConfigError, match=r"nothing to sweep.*--lr 0\.03,0\.1"):
        plan(lr=0.1)


@pytest.mark.parametrize("data", [SyntheticRegressionData, SyntheticRegressionData(num_val=8)])
def test_model_and_data_the_other_way_round_are_told_their_order(data):
    with pytest.raises(
        ModelError, match=r"the class LinearRegression as the data.*`sweep\(model, da"
    ):
        plan(data, LinearRegression, lr=[0.1, 0.2])


def test_the_class_of_a_network_is_told_to_become_a_model():
    with pytest.raises(ConfigError, match="Linear is a network without a loss and an optimizer"):
        plan(torch.nn.Linear, out_features=[1, 2])


def test_a_function_is_no_class_of_models():
    with pytest.raises(ConfigError, match="give the class, such as MLP, instead of <function"):
        plan(lambda lr: LinearRegression(lr), lr=[0.1, 0.2])


def test_the_learning_rate_is_lr():
    with pytest.raises(ConfigError, match=r"'learning_rate'.*Did you mean 'lr'\?"):
        plan(learning_rate=[0.1, 0.2])


def test_a_trainers_setting_that_cannot_be_one_is_refused_at_once():
    with pytest.raises(ConfigError, match="max_epochs must be"):
        plan(max_epochs=[1, 0])
    with pytest.raises(ConfigError, match="max_epochs must be"):
        plan(lr=[0.1, 0.2], max_epochs="a")


def test_a_model_that_takes_a_seed_is_given_it():
    class Seeded(LinearRegression):
        def __init__(self, seed=0, lr=0.1):
            super().__init__(lr)

    made = plan(Seeded, seed=[3, 4])
    assert made.member(0, {"seed": 4}, Path("x")).model_arguments["seed"] == 4


class Shared(LinearRegression):
    def __init__(self, max_epochs=7, batch_size=3, seed=5, level=1, lr=0.1):
        super().__init__(lr)


def arguments(made, **values):
    member = made.member(0, {"seed": 4, **values}, Path("x"))
    return member.model_arguments, member.trainer_arguments, member.data_arguments


def test_what_several_have_is_told_apart_by_its_owner():
    made = plan(
        Shared, lr=[0.1], model_max_epochs=2, trainer_max_epochs=3, data_batch_size=8, model_level=9
    )
    model = {"max_epochs": 2, "seed": 4, "level": 9, "lr": 0.1}
    assert arguments(made, lr=0.1) == (model, {"max_epochs": 3}, {"batch_size": 8})


def test_what_several_have_is_the_model_s_without_a_prefix_and_that_is_said():
    said = r"max_epochs was given to the model \(model_max_epochs\). Write trainer_max_epochs for"
    with pytest.warns(GradbookWarning, match=said):
        made = plan(Shared, max_epochs=[2, 3])
    assert made.swept == {"model_max_epochs": [2, 3]}
    assert made.fixed["trainer_max_epochs"] == 10


def test_a_model_s_own_seed_can_be_given_apart_from_the_sweep_s():
    made = plan(Shared, lr=[0.1], model_seed=1)
    assert arguments(made, lr=0.1)[0]["seed"] == 1


def test_a_setting_that_may_be_hidden_in_kwargs_is_refused():
    class Hidden(LinearRegression):
        def __init__(self, **options):
            super().__init__(options.get("lr", 0.1))

    with pytest.raises(ConfigError, match="Whether Hidden has a setting 'lr' cannot be known"):
        plan(Hidden, lr=[0.1])


def test_a_class_whose_arguments_cannot_be_known_is_refused():
    class Made(LinearRegression):
        def __new__(cls, lr):
            return super().__new__(cls)

    with pytest.raises(ConfigError, match="What Made is made from cannot be known"):
        plan(Made, lr=[0.1])


def test_what_can_be_iterated_over_may_be_one_value():
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1))

    class Wrapping(LinearRegression):
        def __init__(self, net=None, lr=0.1):
            super().__init__(lr)

    assert plan(Wrapping, net=net, lr=[0.1, 0.2]).fixed["net"] is net


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"lr": []}, "lr has no values"),
        ({"lrs": [0.1]}, "Did you mean 'lr'"),
        ({"num_hidden": [1]}, "no setting 'num_hidden'"),
        ({"lr": ["fast"]}, "fast"),
        ({"lr": [0.1, float("nan")]}, "nan"),
        ({"lr": [-0.1]}, "-0.1"),
        ({"lr": True}, "True"),
        ({"seed": [-1]}, "seed"),
        ({"seed": [0.5]}, "seed"),
        ({"seed": [2**32]}, "4294967296"),
        ({"batch_size": ["big"]}, "batch_size must be a number"),
        ({"keep_best": [True, "no"]}, "keep_best must be True or False"),
        ({"lr": [0.1, 0.2], "compile": "no"}, "compile must be True or False"),
        ({"display": "off"}, "is a setting of the sweep as a whole"),
        ({"run": "runs"}, "is a setting of the sweep as a whole"),
        ({"lr": [0.1], "num_samples": 0}, "num_samples"),
        ({"num_samples": 3}, "no setting has several values"),
    ],
)
def test_what_cannot_be_tried_is_refused_at_once(settings, words):
    with pytest.raises(ConfigError, match=words):
        plan(**settings)


def test_a_model_in_the_place_of_its_class_is_refused():
    with pytest.raises(ConfigError, match="give the class, such as LinearRegression"):
        plan(LinearRegression(), lr=[0.1])


@pytest.mark.parametrize("data", [None, 3, "fashion"])
def test_what_is_no_data_set_is_refused(data):
    with pytest.raises(DataError, match=r"sweep\(\) needs data, but got"):
        plan(data=data, lr=[0.1])


def test_a_setting_of_data_that_exist_asks_for_their_class():
    with pytest.raises(ConfigError, match="give the class SyntheticRegressionData"):
        plan(data=SyntheticRegressionData(), batch_size=[4, 8])


def test_a_word_is_a_value_where_the_default_is_one():
    assert plan(Shaped, act=["relu", "tanh"]).swept["act"] == ["relu", "tanh"]


class Bare(Module):
    def __init__(self):
        super().__init__()


def test_a_model_without_a_rate_has_no_rate_to_sweep():
    with pytest.raises(ConfigError, match="Bare has no setting 'lr'"):
        plan(Bare, lr=[0.1])


def test_the_facts_are_json():
    import json

    facts = plan(lr=log_range(0.1, 1.0, 3), seed=[0]).facts()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["swept"]["lr"]["high"] == 1.0


def test_whole_numbers_are_rates_where_rates_are_meant():
    made = plan(Shaped, lr=[1, 2], width=[2])
    assert list(map(type, made.swept["lr"])) == [float, float]
    assert list(map(type, made.swept["width"])) == [int]


@pytest.mark.parametrize(
    ("settings", "further", "counts"),
    [
        ({"lr": log_range(0.1, 1, 5000), "seed": range(3)}, {}, r"5,000 \(lr\) x 3 \(seed\)"),
        (
            {"lr": log_range(0.1, 1), "seed": range(3)},
            {"num_samples": 5000},
            r"5,000 \(num_samples\) x 3 \(seed\) = 15,000",
        ),
        ({"lr": log_range(0.1, 1)}, {"search": "optuna", "num_trials": 10**6}, "have 1,000,000"),
    ],
)
def test_more_trainings_than_can_be_begun_are_counted(settings, further, counts):
    with pytest.raises(ConfigError, match=counts):
        Plan(LinearRegression, SyntheticRegressionData, settings, **further)


def test_a_range_is_counted_by_its_samples_alone():
    settings = {"lr": log_range(0.1, 1, 9000), "noise": [0.1, 0.2]}
    assert Plan(LinearRegression, SyntheticRegressionData, settings, 5).num_samples == 5
