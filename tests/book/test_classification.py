"""Chapter 4: the cells that use the library."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from d2l import torch as d2l


@pytest.mark.filterwarnings("ignore::gradbook.errors.SampleDataWarning")
def test_4_2_data_set():
    data = d2l.FashionMNIST(resize=(32, 32))
    assert data.train[0][0].shape == (1, 32, 32)
    X, y = next(iter(data.train_dataloader()))
    assert (X.shape, X.dtype) == ((64, 1, 32, 32), torch.float32)
    assert (y.shape, y.dtype) == ((64,), torch.int64)


def test_4_2_visualize(data_256):
    batch = next(iter(data_256.val_dataloader()))
    data_256.visualize(batch)
    titles = [axes.get_title() for axes in d2l.plt.gcf().axes]
    assert titles == data_256.text_labels(batch[1][:8])


def test_4_4_formulas():
    X = torch.rand((2, 5))
    X_exp = torch.exp(X)
    X_prob = X_exp / X_exp.sum(1, keepdims=True)
    assert X_prob.sum(1).tolist() == pytest.approx([1, 1])
    y_hat = torch.tensor([[0.1, 0.3, 0.6], [0.3, 0.2, 0.5]])
    y = torch.tensor([0, 2])
    assert -torch.log(y_hat[[0, 1], y]).mean().item() == pytest.approx(1.4979, abs=1e-4)
    assert d2l.accuracy(y_hat, y) / len(y) == 0.5


@pytest.mark.slow
def test_4_4_from_scratch(data_256):
    model = d2l.SoftmaxRegressionScratch(num_inputs=784, num_outputs=10, lr=0.1)
    d2l.Trainer(max_epochs=1).fit(model, data_256)
    assert model.board.data["val_acc"][-1].y > 0.5
    X, y = next(iter(data_256.val_dataloader()))
    preds = model(X).argmax(axis=1)
    wrong = preds.type(y.dtype) != y
    X, y, preds = X[wrong], y[wrong], preds[wrong]
    labels = [
        a + "\n" + b
        for a, b in zip(data_256.text_labels(y), data_256.text_labels(preds), strict=True)
    ]
    data_256.visualize([X, y], labels=labels)
    assert "\n" in d2l.plt.gcf().axes[0].get_title()


@pytest.mark.slow
def test_4_5_concise_written_out_in_cells(data_256):
    class SoftmaxRegression(d2l.Classifier):
        def __init__(self, num_outputs, lr):
            super().__init__()
            self.save_hyperparameters()
            self.net = nn.Sequential(nn.Flatten(), nn.LazyLinear(num_outputs))

        def forward(self, X):
            return self.net(X)

    @d2l.add_to_class(d2l.Classifier)
    def loss(self, Y_hat, Y, averaged=True):
        Y_hat = Y_hat.reshape((-1, Y_hat.shape[-1]))
        Y = Y.reshape((-1,))
        return F.cross_entropy(Y_hat, Y, reduction="mean" if averaged else "none")

    model = SoftmaxRegression(num_outputs=10, lr=0.1)
    d2l.Trainer(max_epochs=1).fit(model, data_256)
    assert model.board.data["val_acc"][-1].y > 0.5


def test_4_5_logits_do_not_overflow():
    logits = torch.tensor([[1000.0, 0.0]])
    model = d2l.SoftmaxRegression(num_outputs=2, lr=0.1)
    assert model.loss(logits, torch.tensor([0])).item() == 0
    assert model.loss(logits, torch.tensor([1])).item() == 1000


def test_4_6_error_of_an_estimated_accuracy():
    """A sample of n predictions tells the accuracy to about sqrt(p (1 - p) / n)."""
    correct = (torch.rand(1000, 2500) < 0.9).float()
    spread = correct.mean(dim=1).std().item()
    assert spread == pytest.approx((0.9 * 0.1 / 2500) ** 0.5, rel=0.1)


def test_4_7_weighting_corrects_a_shift_of_labels():
    """Labels become rarer by known factors; weights bring the old risk to the new one."""
    shifted = torch.tensor([0.7, 0.2, 0.1])
    y = torch.multinomial(torch.full((3,), 1 / 3), 20000, replacement=True)
    loss = torch.tensor([1.0, 2.0, 3.0])[y]
    weights = (shifted * 3)[y]
    assert (weights * loss).mean().item() == pytest.approx(1.4, abs=0.05)


def test_7_6_layer_summary(capsys):
    model = d2l.MLP(num_outputs=10, num_hiddens=16, lr=0.1)
    model.layer_summary((2, 1, 28, 28))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["Flatten", "Linear", "ReLU", "Linear"]
    assert lines[-1].endswith("torch.Size([2, 10])")
