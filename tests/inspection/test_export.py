import copy
import importlib
import logging

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from gradbook import MLP, Classifier, Module, SoftmaxRegressionScratch
from gradbook.errors import (
    CheckpointError,
    ConfigError,
    CorruptFileError,
    MissingExtraError,
    ModelError,
    StorageError,
)
from gradbook.inspection import export as exporting
from gradbook.inspection.export import TOLERANCE, export, load_safetensors

FORMATS = ["safetensors", "onnx", "torch-export"]


@pytest.fixture
def X():
    return torch.rand(5, 1, 6, 5)


@pytest.fixture
def model(X):
    model = MLP(num_outputs=3, num_hiddens=8)
    model(X)
    return model


class Shifted(Classifier):
    """Its outputs depend on an example's place in the batch."""

    def forward(self, X):
        return X.flatten(1) + torch.arange(len(X)).unsqueeze(1)


class Choosy(Classifier):
    """Its path depends on the values of a batch."""

    def forward(self, X):
        return X if X.sum() > 0 else -X


# Every format


@pytest.mark.slow
@pytest.mark.parametrize("to", FORMATS)
def test_an_export_is_verified(model, X, tmp_path, to):
    exported = export(model, tmp_path / "new" / "model", to, [X])
    assert exported.path.stat().st_size == exported.num_bytes
    assert exported.difference <= exported.allowed
    assert exported.allowed == pytest.approx(TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("to", FORMATS)
def test_the_console_stays_clean(X, tmp_path, to, capfd, monkeypatch):
    records, handle = [], logging.Logger.handle

    def noted(logger, record):
        records.append(record)
        handle(logger, record)

    monkeypatch.setattr(logging.Logger, "handle", noted)
    export(SoftmaxRegressionScratch(num_inputs=30), tmp_path / "model", to, [X])
    assert capfd.readouterr() == ("", "")
    assert [record for record in records if record.levelno >= logging.WARNING] == []


@pytest.mark.slow
@pytest.mark.parametrize("to", FORMATS)
def test_the_model_is_left_as_it_was(model, X, tmp_path, to):
    before = copy.deepcopy(model.state_dict())
    export(model.train(), tmp_path / "model", to, [X])
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("to", FORMATS)
def test_an_export_that_computes_something_else_is_not_kept(model, X, tmp_path, monkeypatch, to):
    make = exporting._FORMATS[to]

    def spoiled(model, inputs):
        content, run = make(model, inputs)
        return content, lambda batch: run(batch) + 0.01

    monkeypatch.setitem(exporting._FORMATS, to, spoiled)
    with pytest.raises(ModelError, match=r"differ from those of MLP by up to 0\.01"):
        export(model, tmp_path / "model", to, [X])
    assert not (tmp_path / "model").exists()


@pytest.mark.slow
def test_outputs_of_another_shape_are_not_kept(model, X, tmp_path, monkeypatch):
    def spoiled(model, inputs):
        return b"", lambda batch: model(*batch)[:, :2]

    monkeypatch.setitem(exporting._FORMATS, "onnx", spoiled)
    with pytest.raises(ModelError, match=r"shape \(5, 2\) where MLP gives \(5, 3\)"):
        export(model, tmp_path / "model", "onnx", [X])


@pytest.mark.parametrize(
    ("to", "package"),
    [
        ("safetensors", "safetensors"),
        ("onnx", "onnx"),
        ("onnx", "onnxscript"),
        ("onnx", "onnxruntime"),
    ],
)
def test_a_package_that_is_missing(model, X, tmp_path, monkeypatch, to, package):
    real = importlib.import_module

    def import_module(name, *args):
        if name == package:
            raise ModuleNotFoundError(name=name)
        return real(name, *args)

    monkeypatch.setattr(importlib, "import_module", import_module)
    with pytest.raises(MissingExtraError, match=rf"{package}.*pip install {to}"):
        export(model, tmp_path / "model", to, [X])


def test_a_format_that_is_not_known(model, X, tmp_path):
    with pytest.raises(ConfigError, match=r"no format 'onyx'\. Did you mean 'onnx'"):
        export(model, tmp_path / "model", "onyx", [X])


@pytest.mark.parametrize("inputs", [[], [torch.empty(0, 1, 6, 5)]])
def test_no_example(model, tmp_path, inputs):
    with pytest.raises(ConfigError, match="no example"):
        export(model, tmp_path / "model", "safetensors", inputs)


def test_several_outputs(X, tmp_path):
    class Two(Module):
        def forward(self, X):
            return X, X

    with pytest.raises(ModelError, match="must be one tensor"):
        export(Two(), tmp_path / "model", "safetensors", [X])


def test_a_file_that_cannot_be_written(model, X, tmp_path):
    with pytest.raises(StorageError, match="cannot be written"):
        export(model, tmp_path, "safetensors", [X])


def test_outputs_that_are_no_numbers(model, X, tmp_path):
    nn.init.constant_(model.net[1].weight, torch.nan)
    with pytest.raises(ModelError, match="Nothing was written"):
        export(model, tmp_path / "model", "safetensors", [X])


# safetensors


def test_safetensors_into_a_lazy_model(model, X, tmp_path):
    path = export(model, tmp_path / "model", "safetensors", [X]).path
    fresh = MLP(num_outputs=3, num_hiddens=8)
    metadata = load_safetensors(fresh, path)
    assert torch.equal(fresh(X), model(X))
    assert metadata == {"format": "pt", "model": "gradbook.models.mlp.MLP"}


def test_tensors_that_share_memory_or_are_transposed(X, tmp_path):
    class Tied(Module):
        def __init__(self):
            super().__init__()
            self.W = torch.rand(30, 30).t().requires_grad_()
            self.V = self.W

        def forward(self, X):
            return X.flatten(1) @ self.W @ self.V

    model, fresh = Tied(), Tied()
    load_safetensors(fresh, export(model, tmp_path / "model", "safetensors", [X]).path)
    assert torch.equal(fresh(X), model(X))


def test_the_parameters_of_another_model(model, X, tmp_path):
    path = export(model, tmp_path / "model", "safetensors", [X]).path
    with pytest.raises(CheckpointError, match=r"parameters of gradbook\.models\.mlp\.MLP"):
        load_safetensors(nn.Linear(2, 3), path)


def test_a_damaged_file(model, X, tmp_path):
    path = export(model, tmp_path / "model", "safetensors", [X]).path
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CorruptFileError, match="damaged or no safetensors file"):
        load_safetensors(model, path)


def test_a_file_that_is_not_there(model):
    with pytest.raises(ConfigError, match="no file 'nothing'"):
        load_safetensors(model, "nothing")


# onnx


@pytest.mark.slow
def test_onnx_takes_batches_of_any_size(model, X, tmp_path):
    path = export(model, tmp_path / "model.onnx", "onnx", [X]).path
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for n in (1, 2, 17):
        batch = torch.rand(n, 1, 6, 5)
        (y_hat,) = session.run(["y_hat"], {"X": batch.numpy()})
        assert np.allclose(y_hat, model(batch).detach(), atol=1e-5)


@pytest.mark.slow
def test_onnx_from_a_single_example(model, X, tmp_path):
    path = export(model, tmp_path / "model.onnx", "onnx", [X[:1]]).path
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert session.run(None, {"X": X.numpy()})[0].shape == (5, 3)


@pytest.mark.slow
def test_onnx_with_several_inputs(tmp_path):
    class Sum(Module):
        def forward(self, a, b):
            return a + 2 * b

    a, b = torch.rand(3, 2), torch.rand(3, 2)
    path = export(Sum(), tmp_path / "model.onnx", "onnx", [a, b]).path
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert np.allclose(session.run(None, {"X0": a.numpy(), "X1": b.numpy()})[0], a + 2 * b)


# torch.export


@pytest.mark.slow
def test_torch_export_takes_batches_of_any_size(model, X, tmp_path):
    path = export(model, tmp_path / "model.pt2", "torch-export", [X]).path
    loaded = torch.export.load(path).module()
    for n in (1, 17):
        batch = torch.rand(n, 1, 6, 5)
        assert torch.allclose(loaded(batch), model(batch), atol=1e-6)


@pytest.mark.parametrize("to", ["onnx", "torch-export"])
@pytest.mark.parametrize("Net", [Choosy, Shifted])
def test_a_network_that_depends_on_the_batch(X, tmp_path, capfd, Net, to):
    with pytest.raises(ModelError, match=r"cannot be exported to .*\n.*X\.shape\[0\] instead of"):
        export(Net(), tmp_path / "model", to, [X])
    assert capfd.readouterr() == ("", "")
    assert not (tmp_path / "model").exists()


@pytest.mark.slow
def test_the_examples_do_not_fill_the_file(model, tmp_path):
    few, many = torch.rand(2, 1, 6, 5), torch.rand(5000, 1, 6, 5)
    small = export(model, tmp_path / "few.pt2", "torch-export", [few]).num_bytes
    assert export(model, tmp_path / "many.pt2", "torch-export", [many]).num_bytes == small


@pytest.mark.slow
def test_dropout_is_off(X, tmp_path):
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5))
    path = export(model, tmp_path / "model.pt2", "torch-export", [X]).path
    assert torch.equal(torch.export.load(path).module()(X), X.flatten(1))


# Example inputs in other forms


@pytest.mark.parametrize("convert", [lambda X: X, lambda X: X.numpy(), lambda X: [X.numpy()]])
def test_a_single_input_needs_no_list(model, X, tmp_path, convert):
    export(model, tmp_path / "model", "safetensors", convert(X))
    twin = MLP(num_outputs=3, num_hiddens=8)
    load_safetensors(twin, tmp_path / "model")
    assert torch.equal(twin(X), model(X))


@pytest.mark.slow
def test_an_export_to_onnx_takes_a_single_input(model, X, tmp_path):
    assert export(model, tmp_path / "model.onnx", "onnx", X).difference < TOLERANCE


def test_labels_among_the_inputs_are_told(model, X, tmp_path):
    with pytest.raises(ConfigError, match=r"holds 2 inputs, which MLP.*without the labels"):
        export(model, tmp_path / "model", "safetensors", (X, torch.zeros(5)))


def test_an_example_without_its_batch_dimension_is_told(tmp_path):
    model = Classifier()
    model.net = nn.Linear(3, 2)
    with pytest.raises(ConfigError, match=r"shape \(3,\), which is no batch.*X\[None\]"):
        export(model, tmp_path / "model", "safetensors", torch.ones(3))
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"model": "mlp-1"}, r"needs a trained model first.*got 'mlp-1'.*`export\(model, path"),
        ({"model": torch.nn.Linear}, "got the class Linear"),
        ({"path": None}, "path must be a text or a path, such as 'mlp.onnx', but it is None"),
        ({"path": ""}, "path must be a text or a path, such as 'mlp.onnx', but it is ''"),
        ({"example_inputs": {"x": torch.zeros(1, 2)}}, "one tensor X or several.*of type dict"),
        ({"example_inputs": "mlp.pt2"}, "one tensor X or several.*of type str"),
    ],
)
def test_an_argument_in_the_place_of_another_is_told(change, told):
    given = {
        **{"model": torch.nn.Linear(2, 1), "path": "linear.pt2", "to": "torch-export"},
        **{"example_inputs": torch.zeros(1, 2), **change},
    }
    with pytest.raises((ConfigError, ModelError), match=told):
        export(**given)
