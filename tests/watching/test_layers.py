"""The layers of a model."""

import copy

import numpy as np
import pytest
import torch
from tests.watching.watched import Images, fit
from torch import nn

from gradbook import MLP, Classifier, MLPScratch, ProgressBoard, SyntheticRegressionData


def test_a_scratch_models_parameters_are_layers_with_their_biases():
    trainer = fit(MLPScratch(48))
    assert [row.layer for row in trainer.gradients.rows] == ["W1", "W2"]
    assert [row.num_weights for row in trainer.gradients.rows] == [48 * 256 + 256, 2560 + 10]


def test_complex_weights_are_watched():
    class Complex(Classifier):
        def __init__(self):
            super().__init__()
            self.lr = 0.01
            self.W1 = (torch.randn(48, 8, dtype=torch.complex64) / 7).requires_grad_()
            self.W2 = torch.randn(8, 10, dtype=torch.complex64).requires_grad_()

        def forward(self, X):
            return (torch.tanh(X.to(torch.complex64) @ self.W1) @ self.W2).abs()

    model, data = Complex(), Images(num_train=32)
    twin = copy.deepcopy(model)
    trainer = fit(model, data)
    loss = twin.loss(twin(data.X[:32]), data.y[:32])
    gradient = torch.autograd.grad(loss, twin.W1)[0].numpy()
    row = trainer.gradients.rows[0]
    assert (row.layer, row.num_weights) == ("W1", 48 * 8)
    assert row.grad_norm == pytest.approx(np.sqrt((np.abs(gradient) ** 2).sum()), rel=1e-4)
    assert row.update_ratio > 0
    assert row.activation_rms > 0


def test_shared_weights_are_one_layer():
    class Shared(Classifier):
        def __init__(self):
            super().__init__()
            self.lr = 0.1
            self.first, self.out = nn.Linear(48, 48), nn.Linear(48, 10)
            self.again = self.first

        def forward(self, X):
            return self.out(torch.relu(self.again(torch.relu(self.first(X)))))

    trainer = fit(Shared())
    assert [row.layer for row in trainer.gradients.rows] == ["first", "out"]


def test_each_matrix_of_a_recurrent_layer_is_seen():
    class Recurrent(Classifier):
        def __init__(self):
            super().__init__()
            self.lr = 0.1
            self.rnn, self.out = nn.LSTM(12, 6, batch_first=True), nn.Linear(6, 10)

        def forward(self, X):
            return self.out(self.rnn(X.reshape(-1, 4, 12))[0][:, -1])

    rows = fit(Recurrent()).gradients.rows
    assert [row.layer for row in rows] == ["rnn.weight_ih_l0", "rnn.weight_hh_l0", "out"]
    assert all(row.grad_norm > 0 for row in rows)


class OwnOptimizer:
    """The homework's: a list of parameters and a rate."""

    def __init__(self, params, lr):
        self.params, self.lr = list(params), lr

    def step(self):
        for param in self.params:
            param -= self.lr * param.grad

    def zero_grad(self):
        for param in self.params:
            if param.grad is not None:
                param.grad.zero_()


class Lookalike:
    """A model that only looks like Module: no PyTorch module, hence no hooks."""

    def __init__(self):
        self.board = ProgressBoard(display=False)
        self.w = torch.zeros(2, 1).normal_().requires_grad_()
        self.inner = nn.Linear(1, 1)
        self.loose = [torch.zeros(1, requires_grad=True)]

    def train(self):
        pass

    eval = train

    def training_step(self, batch):
        return ((self.inner(batch[0] @ self.w) + self.loose[0] - batch[1]) ** 2).mean()

    def validation_step(self, batch):
        pass

    def parameters(self):
        return [self.w, *self.inner.parameters(), *self.loose]

    def configure_optimizers(self):
        return OwnOptimizer(self.parameters(), 0.01)


def test_of_a_model_that_only_looks_like_one_gradients_and_weights_are_reported():
    trainer = fit(Lookalike(), SyntheticRegressionData(num_train=64))
    rows = {row.layer: row for row in trainer.gradients.rows}
    assert set(rows) == {"w", "inner", "parameter 4"}
    assert all(row.grad_norm > 0 for row in rows.values())
    assert rows["w"].update_ratio > 0
    assert rows["inner"].activation_rms > 0


def test_lazy_layers_are_watched_once_they_have_a_shape():
    class Untried(MLP):
        def training_step(self, batch):  # which no rehearsal tries
            loss = self.loss(self(batch[0]), batch[1])
            self.plot("loss", loss, train=True)
            return loss

    trainer = fit(Untried(), max_epochs=2)
    assert [row.layer for row in trainer.gradients.rows if row.epoch == 2] == ["net.1", "net.3"]
