"""From a run's folder back to its model, its data and its trainer, in Python."""

import json
import re
from pathlib import Path

import pytest
import torch

import gradbook
from gradbook import checkpoint, runs
from gradbook.errors import ConfigError, GradbookWarning

# What is drawn is not what is restored.
pytestmark = pytest.mark.usefixtures("blank_figures")

DOCS = Path(__file__).parents[2] / "docs" / "runs.md"


class Net(gradbook.LinearRegression):
    def __init__(self, scale, lr=0.03):
        super().__init__(lr)
        self.save_hyperparameters()


class Forgetful(gradbook.LinearRegression):
    def __init__(self, scale, lr=0.03):
        super().__init__(lr)


class Data(gradbook.SyntheticRegressionData):
    def __init__(self, root="here"):
        super().__init__(num_train=64, num_val=32)
        self.save_hyperparameters()


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def synthetic():
    return gradbook.SyntheticRegressionData(num_train=64, num_val=32)


def train(make_model=gradbook.LinearRegression, make_data=synthetic, **settings):
    """Trains two epochs and returns the trainer and the data."""
    gradbook.seed_everything(1)
    data = make_data()
    trainer = gradbook.Trainer(2, run="runs", display="off", **settings)
    trainer.fit(make_model(), data)
    return trainer, data


def test_a_run_of_finished_classes_is_rebuilt_from_its_name():
    trainer, data = train()
    restored = runs.restore("linear-regression-1")
    assert type(restored.model) is gradbook.LinearRegression
    assert not restored.model.training
    assert torch.equal(restored.data.X, data.X)
    kept = checkpoint.load(restored.checkpoint)["model"]
    assert restored.checkpoint.name == "best.pt"
    assert all(torch.equal(kept[name], p) for name, p in restored.model.state_dict().items())
    told = restored.trainer.validate(restored.model, restored.data)
    assert told["val_loss"] == trainer.history.best("val_loss")["val_loss"]


def test_the_trainer_has_the_run_s_settings_and_resumes_it():
    trained, _ = train(gradient_clip_val=0.5)
    restored = runs.restore("runs/linear-regression-1", checkpoint="last")
    trainer = restored.trainer
    assert restored.trainer is trainer
    assert (trainer.max_epochs, trainer.gradient_clip_val) == (2, 0.5)
    assert trainer.run is None
    trainer.max_epochs, trainer.run = 3, "runs"
    trainer.fit(restored.model, restored.data, resume=restored.run.folder)
    assert len(trainer.history) == 3
    assert trainer.history.rows[:2] == trained.history.rows
    assert runs.load("linear-regression-1").epochs == 3


def test_data_that_are_not_needed_are_not_made():
    train()
    assert runs.restore(runs.load("linear-regression-1"), need_data=False).data is None


def test_a_class_of_one_s_own_has_to_be_given():
    train(lambda: Net(2.0), Data)
    with pytest.raises(ConfigError, match=r"its model is .*\.Net, .*restore\('net-1', model=Net\)"):
        runs.restore("net-1")
    with pytest.raises(ConfigError, match=r"restore\('net-1', data=Data\)"):
        runs.restore("net-1", Net)
    assert runs.restore("net-1", Net, Data).model.scale == 2.0


def given():
    return torch.randn(16, 2), torch.randn(16, 1)


def test_data_that_fit_was_given_as_tensors_are_said_not_to_be_kept():
    train(make_data=given)
    with pytest.raises(ConfigError, match=r"on tensors, arrays or loaders, .* data=MyData\)"):
        runs.restore("linear-regression-1")


def test_a_model_is_rebuilt_without_the_data_that_it_was_trained_with():
    trainer, _ = train(make_data=given)
    restored = runs.restore("linear-regression-1", need_data=False)
    assert restored.data is None
    assert torch.equal(restored.model.net.weight, trainer.model.net.weight)


def test_without_data_their_class_need_not_be_given():
    train(make_data=Data)
    assert runs.restore("linear-regression-1", need_data=False).recipe.data is None


def test_a_place_that_only_the_folder_names_is_refused_until_it_is_given():
    train(make_data=lambda: Data("/elsewhere"))
    with pytest.raises(ConfigError, match=r"names a place: root .*settings=\{'root'"):
        runs.restore("linear-regression-1", data=Data)
    settings = {"root": "/mine"}
    assert runs.restore("linear-regression-1", data=Data, settings=settings).data.root == "/mine"


def test_what_was_not_kept_and_has_no_default_is_named():
    train(lambda: Forgetful(2.0))
    with pytest.raises(ConfigError, match=r"Forgetful cannot be made again: .* its scale"):
        runs.restore("forgetful-1", Forgetful)


def test_other_data_than_those_of_the_training_are_told():
    train(make_data=Data)
    file = Path("runs/linear-regression-1/run.json")
    facts = runs.load("linear-regression-1").facts | {"seed": 2}
    runs.format.write_run(file.parent, facts)
    assert json.loads(file.read_text())["seed"] == 2
    with pytest.warns(GradbookWarning, match="training data here are not those"):
        runs.restore("linear-regression-1", data=Data)


def test_the_example_of_the_docs_runs():
    page = DOCS.read_text(encoding="utf-8")
    [code] = [c for c in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "restore(" in c]
    names = {}
    exec(code, names)
    assert isinstance(names["restored"].model, gradbook.LinearRegression)
