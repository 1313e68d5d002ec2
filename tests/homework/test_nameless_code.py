"""Code that is in no module, as that of a function that was sent to another process may be."""

import warnings

import pytest
import torch
from tests.small import Data
from torch import nn

import gradbook
from gradbook import Classifier, Trainer
from gradbook.errors import GradbookWarning, ShapeError, warn

CODE = """
class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.LazyLinear(3)

    def forward(self, X):
        return torch.tanh(self.linear(X))


class Model(Classifier):
    def __init__(self, lr=0.1, ends_in_softmax=False):
        super().__init__()
        self.save_hyperparameters()
        last = [nn.Softmax(dim=1)] if ends_in_softmax else []
        self.net = nn.Sequential(Layer(), nn.Linear(3, 2), *last)
        self.scale = torch.ones(1, requires_grad=True)

    def forward(self, X):
        return self.net(X * self.scale)


def tell(text):
    warn(text, GradbookWarning)


def train(model, data, **settings):
    trainer = Trainer(max_epochs=2, **settings)
    trainer.fit(model, data)
    return trainer
"""
NAMES = {"nn": nn, "torch": torch, "Classifier": Classifier, "Trainer": Trainer}


@pytest.fixture
def code():
    names = {**NAMES, "warn": warn, "GradbookWarning": GradbookWarning, "__name__": None}
    exec(compile(CODE, "<sent>", "exec"), names)
    assert names["Model"].__module__ is None
    return names


@pytest.fixture
def data():
    return Data(torch.rand(12, 4), torch.randint(2, (12,)))


def test_a_warning_names_its_line(code):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        code["tell"]("careful")
    assert [str(warning.filename) for warning in caught] == ["<sent>"]


def test_its_model_trains_with_a_run_and_is_watched(code, data):
    trainer = code["train"](code["Model"](), data, run="runs", watch="gradients")
    assert trainer.status == "finished"
    assert gradbook.runs.load("model-1").status == "finished"


def test_a_softmax_before_the_loss_is_found_in_it(code, data):
    with pytest.warns(GradbookWarning, match="[Ss]oftmax"):
        code["train"](code["Model"](ends_in_softmax=True), data)


def test_its_layers_are_summarized_and_a_wrong_input_is_explained(code):
    model = code["Model"]()
    assert "Layer" in str(gradbook.summary(model, torch.rand(2, 4)))
    model(torch.rand(2, 4))
    with pytest.raises(ShapeError, match=r"Layer|linear"):
        code["train"](model, Data(torch.rand(12, 5), torch.randint(2, (12,))))


@pytest.mark.slow
def test_its_members_are_swept(code, data):
    swept = gradbook.sweep(code["Model"], data, lr=[0.1, 0.2], max_epochs=1)
    assert [member.run.status for member in swept.members] == ["finished"] * 2


def test_its_layers_are_observed_and_hooked(code, data):
    model = code["Model"]()
    calls = []
    hook = eval("lambda *args: None", {"__name__": None})
    model.register_forward_hook(hook)
    model.register_forward_pre_hook(lambda *args: calls.append(1))
    code["train"](model, data, keep_best=True, watch="gradients")
    assert calls
