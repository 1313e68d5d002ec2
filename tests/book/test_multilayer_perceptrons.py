"""Chapter 5: the cells that use the library."""

import pytest
import torch
from torch import nn

from d2l import torch as d2l


@pytest.mark.parametrize(
    ("function", "name"),
    [(torch.relu, "relu"), (torch.sigmoid, "sigmoid"), (torch.tanh, "tanh")],
)
def test_5_1_activations_and_their_gradients(function, name):
    x = torch.arange(-8.0, 8.0, 0.1, requires_grad=True)
    y = function(x)
    d2l.plot(x.detach(), y.detach(), "x", f"{name}(x)", figsize=(5, 2.5))
    y.backward(torch.ones_like(x), retain_graph=True)
    d2l.plot(x.detach(), x.grad, "x", f"grad of {name}", figsize=(5, 2.5))
    axes = d2l.plt.gca()
    assert axes.get_ylabel() == f"grad of {name}"
    assert len(axes.lines) == 1


@pytest.mark.slow
def test_5_2_perceptrons_of_the_library(data_256):
    trainer = d2l.Trainer(max_epochs=1)
    for model in (
        d2l.MLPScratch(num_inputs=784, num_outputs=10, num_hiddens=64, lr=0.1),
        d2l.MLP(num_outputs=10, num_hiddens=64, lr=0.1),
    ):
        trainer.fit(model, data_256)
        assert model.board.data["val_acc"][-1].y > 0.2


def test_5_4_vanishing_gradients():
    x = torch.arange(-8.0, 8.0, 0.1, requires_grad=True)
    y = torch.sigmoid(x)
    y.backward(torch.ones_like(x))
    d2l.plot(
        x.detach().numpy(),
        [y.detach().numpy(), x.grad.numpy()],
        legend=["sigmoid", "gradient"],
        figsize=(4.5, 2.5),
    )
    assert x.grad.max().item() == pytest.approx(0.25, abs=1e-3)
    assert x.grad[0] < 1e-3


def test_5_4_exploding_products():
    M = torch.normal(0, 1, size=(4, 4))
    for _ in range(100):
        M = M @ torch.normal(0, 1, size=(4, 4))
    assert M.abs().max() > 1e10


def test_5_4_xavier_keeps_the_variance():
    layer = nn.Linear(500, 500)
    nn.init.xavier_normal_(layer.weight)
    assert layer(torch.randn(200, 500)).var().item() == pytest.approx(1, rel=0.1)


# 5.6


def dropout_layer(X, dropout):
    assert 0 <= dropout <= 1
    if dropout == 1:
        return torch.zeros_like(X)
    mask = (torch.rand(X.shape) > dropout).float()
    return mask * X / (1.0 - dropout)


class DropoutMLPScratch(d2l.Classifier):
    def __init__(self, num_outputs, num_hiddens_1, num_hiddens_2, dropout_1, dropout_2, lr):
        super().__init__()
        self.save_hyperparameters()
        self.lin1 = nn.LazyLinear(num_hiddens_1)
        self.lin2 = nn.LazyLinear(num_hiddens_2)
        self.lin3 = nn.LazyLinear(num_outputs)
        self.relu = nn.ReLU()

    def forward(self, X):
        H1 = self.relu(self.lin1(X.reshape((X.shape[0], -1))))
        if self.training:
            H1 = dropout_layer(H1, self.dropout_1)
        H2 = self.relu(self.lin2(H1))
        if self.training:
            H2 = dropout_layer(H2, self.dropout_2)
        return self.lin3(H2)


class DropoutMLP(d2l.Classifier):
    def __init__(self, num_outputs, num_hiddens_1, num_hiddens_2, dropout_1, dropout_2, lr):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(
            nn.Flatten(),
            nn.LazyLinear(num_hiddens_1),
            nn.ReLU(),
            nn.Dropout(dropout_1),
            nn.LazyLinear(num_hiddens_2),
            nn.ReLU(),
            nn.Dropout(dropout_2),
            nn.LazyLinear(num_outputs),
        )


def test_5_6_dropout_layer():
    X = torch.arange(16, dtype=torch.float32).reshape((2, 8))
    assert torch.equal(dropout_layer(X, 0), X)
    half = dropout_layer(X, 0.5)
    assert torch.equal(half[half > 0], 2 * X[half > 0])
    assert not dropout_layer(X, 1).any()


@pytest.mark.slow
@pytest.mark.parametrize("model", [DropoutMLPScratch, DropoutMLP])
def test_5_6_networks_with_dropout(model, data_256):
    hparams = {
        "num_outputs": 10,
        "num_hiddens_1": 64,
        "num_hiddens_2": 64,
        "dropout_1": 0.2,
        "dropout_2": 0.2,
        "lr": 0.3,
    }
    model = model(**hparams)
    d2l.Trainer(max_epochs=1).fit(model, data_256)
    assert model.board.data["val_acc"][-1].y > 0.2
    assert {key: model.hparams[key] for key in hparams} == hparams
    model.eval()
    X = next(iter(data_256.val_dataloader()))[0]
    assert torch.equal(model(X), model(X))
