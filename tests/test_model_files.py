import pickle

import pytest
import torch
from tests.small import Always, Net, Trainer
from torch import nn

import gradbook
from gradbook import Classifier, FashionMNIST, Module, checkpoint, load_model, save_model
from gradbook.errors import (
    CheckpointError,
    ConfigError,
    CorruptFileError,
    GradbookWarning,
    ModelError,
)
from gradbook.models import MLP, LinearRegressionScratch, MLPScratch, SoftmaxRegression


class Own(Classifier):
    """A classifier of six numbers."""

    def __init__(self, width=5, activation=nn.ReLU, lr=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(6, width), activation(), nn.Linear(width, 3))
        self.net[0].weight.requires_grad_(False)


class Other(Own):
    """Another class."""


def trained(model, **settings):
    trainer = Trainer(max_epochs=3, display="off", **settings)
    trainer.fit(model, Always())
    return trainer


def assert_same(model, other):
    state, others = model.state_dict(), other.state_dict()
    assert state.keys() == others.keys()
    assert all(torch.equal(value, others[name]) for name, value in state.items())


@pytest.mark.parametrize(
    "model",
    [
        *(MLP(num_outputs=3, num_hiddens=[5, 4], dropout=0.1), MLPScratch(6, 3, 5)),
        SoftmaxRegression(3, lr=0.05),
    ],
    ids=lambda model: type(model).__name__,
)
def test_one_of_our_own_models_is_loaded_by_the_name_of_its_class(model, tmp_path):
    trained(model).save_model(tmp_path / "model.pt")
    loaded = load_model(tmp_path / "model.pt")
    assert type(loaded) is type(model)
    assert loaded.hparams == model.hparams
    assert_same(loaded, model)
    X = torch.rand(4, 6)
    model.eval()
    assert torch.equal(loaded(X), model(X))


def test_the_loaded_model_is_in_evaluation_mode_and_can_be_trained_further(tmp_path):
    trained(MLP(num_outputs=3, num_hiddens=5)).save_model(tmp_path / "mlp.pt")
    state = torch.get_rng_state()
    model = load_model(tmp_path / "mlp.pt")
    assert torch.equal(torch.get_rng_state(), state)
    assert not model.training
    trained(model)


def test_a_class_of_a_learner_s_own_is_given_and_frozen_parameters_stay_so(tmp_path):
    path = tmp_path / "own.pt"
    trained(Own(width=4)).save_model(path)
    loaded = load_model(path, Own, activation=nn.ReLU)
    assert loaded.width == 4
    assert not loaded.net[0].weight.requires_grad
    assert loaded.net[2].weight.requires_grad
    with pytest.raises(ConfigError, match=r"Own, which is none of .* `load_model\('.*', Own\)`"):
        load_model(path)
    with pytest.raises(CheckpointError, match=r"of the class Own .*, and not of Other"):
        load_model(path, Other)
    with pytest.raises(ConfigError, match="needs the class of the model, such as Own"):
        load_model(path, Own())


def test_what_a_file_cannot_hold_is_asked_for(tmp_path):
    save_model(Own(activation=nn.Tanh), tmp_path / "own.pt")
    with pytest.raises(ConfigError, match=r"activation was torch\..*Tanh, .* activation=\.\.\."):
        load_model(tmp_path / "own.pt", Own)
    assert isinstance(load_model(tmp_path / "own.pt", Own, activation=nn.Tanh).net[1], nn.Tanh)
    with pytest.raises(ConfigError, match=r"no argument 'activaton'.*Did you mean 'activation'"):
        load_model(tmp_path / "own.pt", Own, activaton=nn.Tanh)


def test_layers_that_were_given_are_given_again(tmp_path):
    trained(Net(nn.Linear(6, 3))).save_model(tmp_path / "net.pt")
    assert load_model(tmp_path / "net.pt", Net, layers=[nn.Linear(6, 3)]).lr == 0.1
    with pytest.raises(CheckpointError, match=r"net\.pt does not fit.*\n.*net\.0\.weight"):
        load_model(tmp_path / "net.pt", Net, layers=[nn.Linear(5, 3)])


def test_a_setting_that_is_given_takes_precedence_and_must_fit(tmp_path):
    save_model(Own(width=4), tmp_path / "own.pt")
    assert load_model(tmp_path / "own.pt", Own, activation=nn.ReLU, lr=3.0).lr == 3.0
    with pytest.raises(CheckpointError, match=r"net\.0\.weight: .*\(4, 6\)"):
        load_model(tmp_path / "own.pt", Own, activation=nn.ReLU, width=7)


def test_a_model_of_plain_tensors_is_kept_too(tmp_path):
    class Like:
        def __init__(self, width=2):
            self.hparams = {"width": width}
            self.w = torch.rand(3, width, requires_grad=True)

    model = Like(4)
    save_model(model, tmp_path / "like.pt")
    assert torch.equal(load_model(tmp_path / "like.pt", Like).w, model.w)


# Which parameters


def test_the_best_epoch_s_parameters_and_the_last_one_s_are_told_apart(tmp_path):
    trainer = trained(MLP(num_outputs=3, num_hiddens=5, lr=3.0), keep_best=True, monitor="val_loss")
    assert trainer.best.epoch < 3
    for which in ("best", "last", None):
        trainer.save_model(tmp_path / f"{which}.pt", which)
    best, last, now = (load_model(tmp_path / f"{w}.pt") for w in ("best", "last", None))
    assert_same(best, now)
    assert not torch.equal(best.net[1].weight, last.net[1].weight)


def test_a_run_keeps_the_best_epoch_s_parameters_too(tmp_path, blank_figures):
    trainer = trained(MLP(num_outputs=3, num_hiddens=5), run=tmp_path / "runs")
    trainer.save_model(tmp_path / "best.pt", "best")
    assert_same(
        load_model(tmp_path / "best.pt"),
        gradbook.runs.restore(
            trainer.run.folder if hasattr(trainer.run, "folder") else tmp_path / "runs/mlp-1",
            data=Always,
        ).model,
    )


def test_the_best_epoch_s_parameters_that_nothing_kept_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="keep_best=True"):
        trained(MLP(num_outputs=3, num_hiddens=5)).save_model(tmp_path / "best.pt", "best")
    with pytest.raises(ConfigError, match="which"):
        trained(MLP(num_outputs=3, num_hiddens=5)).save_model(tmp_path / "best.pt", "bset")
    with pytest.raises(ConfigError, match="nothing to save yet"):
        Trainer(max_epochs=1).save_model(tmp_path / "best.pt")


# Labels


def test_the_names_of_the_classes_go_along(tmp_path):
    model = SoftmaxRegression(10, lr=0.1)
    model(torch.rand(1, 784))
    save_model(model, tmp_path / "softmax.pt", data=FashionMNIST.__new__(FashionMNIST))
    loaded = load_model(tmp_path / "softmax.pt")
    assert loaded.labels[:2] == ["t-shirt", "trouser"]
    save_model(loaded, tmp_path / "again.pt")
    assert load_model(tmp_path / "again.pt").labels == loaded.labels


# What cannot be saved, or must not be loaded


def test_what_would_be_lost_is_said(tmp_path):
    class Hiding(Module):
        def __init__(self):
            super().__init__()
            self.parts = [nn.Linear(2, 2)]

    with pytest.warns(GradbookWarning, match=r"will not hold parts\[0\]\.weight"):
        save_model(Hiding(), tmp_path / "hiding.pt")
    with pytest.raises(ModelError, match="no values yet for net"):
        save_model(MLP(), tmp_path / "mlp.pt")
    with pytest.raises(ModelError, match="needs a model"):
        save_model(MLP, tmp_path / "mlp.pt")


def test_a_checkpoint_a_folder_and_no_file_are_refused_with_what_to_do(tmp_path):
    trained(MLP(num_outputs=3, num_hiddens=5)).save_checkpoint(tmp_path / "checkpoint.pt")
    with pytest.raises(CorruptFileError, match=r"is a checkpoint.*restore\(run\)\.model"):
        load_model(tmp_path / "checkpoint.pt")
    with pytest.raises(ConfigError, match=r"is a folder.*runs\.restore"):
        load_model(tmp_path)
    with pytest.raises(ConfigError, match="There is no file"):
        load_model(tmp_path / "no.pt")


def test_a_file_that_holds_code_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    torch.save({"holds": "model", "model": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(CorruptFileError):
        load_model(tmp_path / "evil.pt")
    (tmp_path / "pickled.pt").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(CorruptFileError):
        load_model(tmp_path / "pickled.pt")
    assert not (tmp_path / "owned").exists()


def changed(path, **values):
    state = checkpoint.load(path)
    checkpoint.save(path, {**state, **values})
    return path


def test_a_file_that_names_a_class_of_python_s_loads_none(tmp_path):
    save_model(Own(), tmp_path / "own.pt")
    path = changed(tmp_path / "own.pt", **{"class": "os.system"})
    with pytest.raises(ConfigError, match=r"none of gradbook's own"):
        load_model(path)


def test_a_place_that_a_file_names_is_not_trusted(tmp_path):
    class Reading(Own):
        def __init__(self, root="data"):
            super().__init__()
            self.save_hyperparameters()

    save_model(Reading(), tmp_path / "own.pt")
    assert load_model(tmp_path / "own.pt", Reading).root == "data"
    path = changed(tmp_path / "own.pt", hyperparameters={"root": "/etc"})
    with pytest.raises(ConfigError, match=r"names a place: root is '/etc'"):
        load_model(path, Reading)
    assert load_model(path, Reading, root="/etc").root == "/etc"


@pytest.mark.parametrize("name", ["class", "hyperparameters", "model", "frozen", "code"])
def test_a_file_that_lacks_something_is_no_model_s(name, tmp_path):
    save_model(LinearRegressionScratch(2, lr=0.1), tmp_path / "model.pt")
    with pytest.raises(CorruptFileError, match=f"its {name} is missing"):
        load_model(changed(tmp_path / "model.pt", **{name: 5}))


def test_a_file_of_a_later_version_is_refused(tmp_path):
    save_model(LinearRegressionScratch(2, lr=0.1), tmp_path / "model.pt")
    with pytest.raises(CorruptFileError, match="version 2 of a model's file"):
        load_model(changed(tmp_path / "model.pt", holds_version=2))
