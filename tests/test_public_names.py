import importlib
import inspect
import re

import pytest

import gradbook
import gradbook.datasets
import gradbook.models
from gradbook.registry import DATA, MODELS, homes

NAMES = {
    "Classifier", "DataModule", "FashionMNIST", "GradbookError", "GradbookWarning", "History",
    "HyperParameters", "LinearRegression", "LinearRegressionScratch", "MLP", "MLPScratch",
    "Metric", "Module", "ProgressBoard", "SGD", "Sink", "SoftmaxRegression",
    "SoftmaxRegressionScratch", "SyntheticRegressionData", "TensorLoader", "Trainer",
    "__version__", "add_to_class", "checkpoint", "cpu", "errors", "gpu", "inspection", "load_model",
    "num_gpus",
    "report", "runs", "save_model", "seed_everything", "trackers", "try_all_gpus", "try_gpu",
    "activation", "compare_models", "compare_settings", "edge_of_stability", "graph", "lr_range",
    "memory", "sharpness", "summary", "sweep", "sweeps", "vectorization", "verdict", "verdicts",
    "watching",
}  # fmt: skip
CODE = sorted(NAMES - {"__version__"})


def test_the_public_names_are_these():
    assert set(gradbook.__all__) == NAMES | set(homes())
    assert len(gradbook.__all__) == len(set(gradbook.__all__))


@pytest.mark.parametrize("name", CODE)
def test_a_public_name_is_documented(name):
    doc = inspect.getdoc(getattr(gradbook, name))
    assert doc
    assert not doc.startswith(f"{name}(")  # what a dataclass writes of itself


@pytest.mark.parametrize(
    "name", [name for name in CODE if not inspect.ismodule(getattr(gradbook, name))]
)
def test_a_public_name_comes_from_the_library(name):
    value = getattr(gradbook, name)
    assert value.__module__.startswith("gradbook.")
    assert getattr(importlib.import_module(value.__module__), name) is value


@pytest.mark.parametrize("name", [n for n in CODE if inspect.isclass(getattr(gradbook, n))])
def test_the_public_methods_of_a_class_are_documented(name):
    for attribute, value in vars(getattr(gradbook, name)).items():
        method = inspect.isfunction(value) or isinstance(value, property)
        if method and not attribute.startswith("_"):
            assert inspect.getdoc(value), f"{name}.{attribute}"


def test_names_are_listed_for_completion():
    assert set(dir(gradbook)) >= NAMES


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'gradbook' has no attribute 'Trianer'"):
        gradbook.Trianer  # noqa: B018


def test_the_type_checker_is_told_the_same_names():
    models, datasets = gradbook.models, gradbook.datasets
    assert "    from gradbook.models import *" in inspect.getsource(gradbook)
    told_by = {name: [gradbook] for name in NAMES - {"__version__"}}
    told_by |= {name: [models] for name in homes(MODELS)}
    told_by |= {name: [datasets, gradbook] for name in homes(DATA)}
    for name, modules in told_by.items():
        for module in modules:
            line = rf"(import|^ {{8}}) ?{name} as {name}\b"
            told = re.search(line, inspect.getsource(module), re.MULTILINE)
            assert told, f"{module.__file__} must import {name} for type checkers and editors"


def test_the_package_says_that_it_is_typed():
    assert (importlib.resources.files("gradbook") / "py.typed").is_file()
