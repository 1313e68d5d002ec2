"""The copy of a model to try, and its batches: what was given stays as it is."""

import signal

import pytest
import torch
from tests.small import Net
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from gradbook import (
    DataModule,
    LinearRegression,
    LinearRegressionScratch,
    SyntheticRegressionData,
    Trainer,
)
from gradbook.board import ProgressBoard
from gradbook.errors import BatchError, DataError
from gradbook.experiments.graphs import graph
from gradbook.experiments.hessian import sharpness
from gradbook.experiments.rate_range import lr_range
from gradbook.experiments.trial import (
    batch_size_of,
    copy_of,
    copy_to_try,
    is_interrupted,
    measuring,
    one_batch,
    trial_of,
)
from gradbook.interrupts import Interrupts
from gradbook.lookalikes import parameters_of


@pytest.fixture
def images():
    return torch.rand(8, 1, 4, 4), torch.arange(8) % 3


@pytest.fixture
def features():
    return torch.randn(8, 4), torch.arange(8) % 3


def test_layers_without_a_shape_stay_without(images):
    model = Net(nn.Flatten(), nn.LazyLinear(5), nn.LazyBatchNorm1d(), nn.LazyLinear(3))
    state = torch.get_rng_state()
    found = graph(model, images)
    assert {v.name: v.shape for v in found.parameters}["net.1.weight"] == (5, 16)
    assert isinstance(model.net[1].weight, nn.UninitializedParameter)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_trained_model_that_keeps_a_result_is_looked_at():
    class Keeping(LinearRegressionScratch):
        def forward(self, X):
            self.last = super().forward(X)
            return self.last

    model, data = Keeping(), SyntheticRegressionData(num_train=32, num_val=0)
    Trainer(max_epochs=1).fit(model, data)
    last, trainer = model.last, model.trainer
    assert len(graph(model, data).operations) == 6
    assert model.last is last
    assert model.trainer is trainer


def test_an_iterable_gives_its_first_batch(features):
    found = graph(Net(nn.Linear(4, 3)), iter([features]))
    assert found.batch_size == 8


def test_data_without_a_batch_are_refused():
    class Empty(DataModule):
        def get_dataloader(self, train):
            return iter(())

    with pytest.raises(DataError, match="Empty gives no batch"):
        graph(LinearRegressionScratch(), Empty())
    with pytest.raises(DataError, match="but got 3"):
        graph(LinearRegressionScratch(), 3)


def test_a_batch_without_labels_is_refused():
    with pytest.raises(BatchError, match="inputs and then the labels"):
        graph(LinearRegressionScratch(), torch.randn(5, 2))


def test_a_model_whose_trainer_is_none_keeps_its_own_nones():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.trainer = self.extra = None
            self.net = nn.Linear(2, 1)

    trial = copy_of(Own(), Trainer(1))
    assert trial.extra is None


def test_lazy_statistics_can_be_copied():
    model = Net(nn.LazyLinear(5), nn.LazyBatchNorm1d(), nn.Linear(5, 3))
    trial = copy_to_try(model, [(torch.randn(8, 4), torch.arange(8) % 3)])
    assert trial.net[1].running_mean.shape == (5,)
    assert isinstance(model.net[1].running_mean, nn.parameter.UninitializedBuffer)


def test_what_only_looks_like_a_model_is_copied_without_its_trainer():
    class Lookalike:
        def __init__(self):
            self.w = torch.zeros(2, requires_grad=True)
            self.kept = self.w * 2
            self.board, self.trainer = ProgressBoard(display=False), object()

    model = Lookalike()
    copied = copy_of(model)
    assert copied.trainer is None
    assert copied.board is not model.board
    assert copied.w is not model.w
    assert list(parameters_of(copied)) == ["w"]
    assert torch.equal(copied.kept, model.kept)


def test_a_loss_that_plots_can_be_tried(features):
    class Plotting(Net):
        def loss(self, y_hat, y):
            loss = super().loss(y_hat, y)
            self.plot("own", loss, train=True)
            return loss

    model = Plotting(nn.Linear(4, 3))
    with trial_of(model, features) as (trial, [X, y]):
        trial.loss(trial(X), y)
        assert trial.training
    assert not model.board.data


def test_a_batch_has_storage_of_its_own():
    data = torch.randn(1000, 4), torch.arange(1000) % 3
    with trial_of(Net(nn.Linear(4, 3)), [part[:8] for part in data]) as (_, [X, y]):
        assert X.untyped_storage().nbytes() == 8 * 4 * 4
        assert batch_size_of([X, y]) == 8


def test_random_numbers_are_those_of_before():
    generator = torch.Generator().manual_seed(3)
    loader = DataLoader(TensorDataset(torch.arange(6)), 2, shuffle=True, generator=generator)
    before, state = torch.get_rng_state(), generator.get_state()
    with measuring(loader, "sharpness") as batches:
        list(batches)
        torch.rand(1)
        assert not torch.equal(generator.get_state(), state)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(generator.get_state(), state)


def test_only_ctrl_c_ends_an_experiment_with_what_it_has():
    with Interrupts() as interrupts:
        assert not is_interrupted(interrupts)
        signal.raise_signal(signal.SIGINT)
        assert is_interrupted(interrupts)


def test_a_model_in_the_place_of_the_data_is_told_where_it_stands():
    with pytest.raises(DataError, match="The model comes first, and then the data"):
        one_batch(LinearRegression(0.1))
    for call in (lr_range, sharpness):
        with pytest.raises(DataError, match=rf"(?s)^{call.__name__}\(\) needs data.* The model"):
            call(LinearRegression(0.1), LinearRegression(0.1))


def test_data_whose_loader_is_none_are_told_what_it_gave():
    class Without(DataModule):
        def get_dataloader(self, train):
            return None

    with pytest.raises(DataError, match=r"train_dataloader\(\) gave a NoneType, which gives no"):
        lr_range(LinearRegression(0.1), Without())
