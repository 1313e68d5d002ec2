"""Chapter 3: the cells that use the library."""

import pytest
import torch
from torch import nn

from d2l import torch as d2l

W = torch.tensor([2, -3.4])


def close_to(data, w, b, error=0.3):
    return (w.reshape(data.w.shape) - data.w).abs().max() < error and abs(b - data.b) < error


def test_3_1_vectorization():
    a, b = torch.ones(1000), torch.ones(1000)
    timer = d2l.Timer()
    c = torch.zeros(1000)
    for i in range(1000):
        c[i] = a[i] + b[i]
    slow = timer.stop()
    timer.start()
    d = a + b
    assert timer.stop() < slow
    assert torch.equal(c, d)


def test_3_3_data():
    data = d2l.SyntheticRegressionData(w=W, b=4.2)
    assert (data.X.shape, data.y.shape) == ((2000, 2), (2000, 1))
    X, y = next(iter(data.train_dataloader()))
    assert (X.shape, y.shape) == ((32, 2), (32, 1))
    assert len(data.train_dataloader()) == 32


def test_3_4_from_scratch():
    model = d2l.LinearRegressionScratch(2, lr=0.03)
    data = d2l.SyntheticRegressionData(w=W, b=4.2)
    d2l.Trainer(max_epochs=3).fit(model, data)
    assert close_to(data, model.w, model.b.item())


def test_3_5_concise_written_out_in_cells():
    class LinearRegression(d2l.Module):
        def __init__(self, lr):
            super().__init__()
            self.save_hyperparameters()
            self.net = nn.LazyLinear(1)
            self.net.weight.data.normal_(0, 0.01)
            self.net.bias.data.fill_(0)

        def forward(self, X):
            return self.net(X)

    @d2l.add_to_class(LinearRegression)
    def loss(self, y_hat, y):
        return nn.MSELoss()(y_hat, y)

    @d2l.add_to_class(LinearRegression)
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), self.lr)

    @d2l.add_to_class(LinearRegression)
    def get_w_b(self):
        return (self.net.weight.data, self.net.bias.data)

    model = LinearRegression(lr=0.03)
    data = d2l.SyntheticRegressionData(w=W, b=4.2)
    d2l.Trainer(max_epochs=3).fit(model, data)
    assert close_to(data, *model.get_w_b())


def test_3_5_concise_of_the_library():
    model = d2l.LinearRegression(lr=0.03)
    data = d2l.SyntheticRegressionData(w=W, b=4.2)
    d2l.Trainer(max_epochs=3).fit(model, data)
    assert close_to(data, *model.get_w_b())


# 3.7


class Data(d2l.DataModule):
    def __init__(self, num_train, num_val, num_inputs, batch_size):
        self.save_hyperparameters()
        n = num_train + num_val
        self.X = torch.randn(n, num_inputs)
        noise = torch.randn(n, 1) * 0.01
        w, b = torch.ones((num_inputs, 1)) * 0.01, 0.05
        self.y = torch.matmul(self.X, w) + b + noise

    def get_dataloader(self, train):
        i = slice(0, self.num_train) if train else slice(self.num_train, None)
        return self.get_tensorloader([self.X, self.y], train, i)


def l2_penalty(w):
    return (w**2).sum() / 2


class WeightDecayScratch(d2l.LinearRegressionScratch):
    def __init__(self, num_inputs, lambd, lr, sigma=0.01):
        super().__init__(num_inputs, lr, sigma)
        self.save_hyperparameters()

    def loss(self, y_hat, y):
        return super().loss(y_hat, y) + self.lambd * l2_penalty(self.w)


class WeightDecay(d2l.LinearRegression):
    def __init__(self, wd, lr):
        super().__init__(lr)
        self.save_hyperparameters()
        self.wd = wd

    def configure_optimizers(self):
        return torch.optim.SGD(
            [
                {"params": self.net.weight, "weight_decay": self.wd},
                {"params": self.net.bias},
            ],
            lr=self.lr,
        )


def train_scratch(lambd):
    torch.manual_seed(0)
    data = Data(num_train=20, num_val=100, num_inputs=200, batch_size=5)
    model = WeightDecayScratch(num_inputs=200, lambd=lambd, lr=0.01)
    model.board.yscale = "log"
    d2l.Trainer(max_epochs=10).fit(model, data)
    return model, float(l2_penalty(model.w.detach()))


@pytest.mark.slow
def test_3_7_penalty_from_scratch():
    free, long = train_scratch(0)
    _, short = train_scratch(3)
    assert short < long / 2
    losses = {label: points[-1].y for label, points in free.board.data.items()}
    assert losses["train_loss"] < losses["val_loss"]  # 20 examples for 200 weights: overfitting


@pytest.mark.slow
def test_3_7_penalty_of_the_optimizer():
    def train(wd):
        torch.manual_seed(0)
        model = WeightDecay(wd=wd, lr=0.01)
        model.board.yscale = "log"
        data = Data(num_train=20, num_val=100, num_inputs=200, batch_size=5)
        d2l.Trainer(max_epochs=10).fit(model, data)
        return float(l2_penalty(model.get_w_b()[0]))

    assert train(3) < train(0) / 2


def test_a_subclass_keeps_the_hyperparameters_of_its_base():
    model = WeightDecayScratch(num_inputs=2, lambd=3, lr=0.01)
    expected = {"num_inputs": 2, "lr": 0.01, "sigma": 0.01, "lambd": 3}
    assert {key: model.hparams[key] for key in expected} == expected


def test_appendix_training_by_hand():
    """The loop of the earlier editions, with the functions of the appendix."""
    true_w, true_b = torch.tensor([2, -3.4]), 4.2
    features, labels = d2l.synthetic_data(true_w, true_b, 1000)
    w = torch.normal(0, 0.01, size=(2, 1), requires_grad=True)
    b = torch.zeros(1, requires_grad=True)
    for _ in range(3):
        for X, y in d2l.load_array((features, labels), 10):
            d2l.squared_loss(d2l.linreg(X, w, b), y).sum().backward()
            d2l.sgd([w, b], 0.03, 10)
    with torch.no_grad():
        train_l = d2l.squared_loss(d2l.linreg(features, w, b), labels)
    assert train_l.mean().item() < 1e-3
    assert b.item() == pytest.approx(true_b, abs=0.01)
