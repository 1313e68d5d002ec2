import math

import pytest
import torch
from torch.nn import functional as F

from gradbook import DataModule, SoftmaxRegression, SoftmaxRegressionScratch, Trainer
from gradbook.models.softmax_regression import cross_entropy, softmax


def scratch(num_inputs=6, num_outputs=3, **options):
    return SoftmaxRegressionScratch(num_inputs, num_outputs, **options)


def book_loss(X, y, W, b):
    """The book's formulas as they are written there, without a shift."""
    X_exp = torch.exp(X @ W + b)
    y_hat = X_exp / X_exp.sum(1, keepdims=True)
    return -torch.log(y_hat[range(len(y_hat)), y]).mean()


def test_the_parameters_have_the_book_s_shapes_and_names():
    shapes = {name: tuple(param.shape) for name, param in scratch().named_parameters()}
    assert shapes == {"W": (6, 3), "b": (3,)}


def test_the_defaults_are_fashion_mnist_s():
    model = SoftmaxRegressionScratch()
    assert (model.num_inputs, model.num_outputs, model.lr, model.sigma) == (784, 10, 0.1, 0.01)


def test_the_weights_are_the_numbers_drawn_by_the_book_s_call():
    torch.manual_seed(1)
    model = scratch(sigma=0.2)
    torch.manual_seed(1)
    assert torch.equal(model.W, torch.normal(0, 0.2, size=(6, 3)))


@pytest.mark.parametrize("scale", [1, 100, 10_000])
def test_softmax_is_torch_s(scale):
    X = torch.randn(5, 4) * scale
    torch.testing.assert_close(softmax(X), torch.softmax(X, dim=1))


def test_softmax_has_the_gradients_of_torch_s():
    X = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(softmax, X)


def test_cross_entropy_is_torch_s_in_the_safe_range():
    logits, y = torch.randn(5, 4), torch.randint(0, 4, (5,))
    torch.testing.assert_close(
        cross_entropy(torch.softmax(logits, 1), y), F.cross_entropy(logits, y)
    )


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32])
def test_labels_may_be_integers_of_any_size(dtype):
    y_hat, y = torch.softmax(torch.randn(5, 4), 1), torch.randint(0, 4, (5,))
    assert torch.equal(cross_entropy(y_hat, y.to(dtype)), cross_entropy(y_hat, y))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_probability_of_0_costs_much_but_not_infinitely_much(dtype):
    y_hat = torch.tensor([[1.0, 0.0]], dtype=dtype)
    loss = cross_entropy(y_hat, torch.tensor([1]))
    assert loss.item() == pytest.approx(-math.log(torch.finfo(dtype).tiny))


def test_the_output_is_probabilities():
    y_hat = scratch()(torch.randn(5, 1, 2, 3))
    assert y_hat.shape == (5, 3)
    torch.testing.assert_close(y_hat.sum(1), torch.ones(5))


def test_the_output_and_the_gradients_are_the_book_s():
    model, X, y = scratch(sigma=1.0), torch.randn(8, 6), torch.randint(0, 3, (8,))
    W, b = (param.detach().clone().requires_grad_() for param in (model.W, model.b))
    expected = book_loss(X, y, W, b)
    expected.backward()
    loss = model.loss(model(X), y)
    loss.backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(model.W.grad, W.grad)
    torch.testing.assert_close(model.b.grad, b.grad)


def test_it_equals_the_concise_model_with_the_same_weights():
    ours, concise = scratch(sigma=1.0), SoftmaxRegression(3)
    X, y = torch.randn(8, 2, 3), torch.randint(0, 3, (8,))
    concise.apply_init([X])
    linear = concise.net[1]
    with torch.no_grad():
        linear.weight.copy_(ours.W.T)
        linear.bias.copy_(ours.b)
    losses = [model.loss(model(X), y) for model in (ours, concise)]
    torch.testing.assert_close(*losses)
    for loss in losses:
        loss.backward()
    torch.testing.assert_close(ours.W.grad, linear.weight.grad.T)
    torch.testing.assert_close(ours.b.grad, linear.bias.grad)
    assert ours.accuracy(ours(X), y) == concise.accuracy(concise(X), y)


def test_gradients_stay_finite_when_a_probability_underflows():
    model = scratch(2, 2)
    with torch.no_grad():
        model.W.copy_(torch.tensor([[1000.0, -1000.0], [0.0, 0.0]]))
    loss = model.loss(model(torch.tensor([[1.0, 0.0], [0.0, 1.0]])), torch.tensor([1, 0]))
    loss.backward()
    assert math.isfinite(loss.item())
    assert torch.isfinite(model.W.grad).all()
    assert model.W.grad[1].any(), "the other example still teaches"


class Blobs(DataModule):
    """Bright, overlapping images of ten classes."""

    def __init__(self):
        super().__init__()
        self.batch_size = 16
        self.y = torch.arange(160) % 10
        self.X = (torch.rand(10, 30)[self.y] + 0.3 * torch.rand(160, 30)).clamp(max=1)

    def get_dataloader(self, train):
        return self.get_tensorloader((self.X, self.y), train)


@pytest.mark.parametrize("lr", [0.1, 1, 3, 10, 100])
def test_no_learning_rate_of_the_exercises_gives_nan(lr):
    model = SoftmaxRegressionScratch(30, 10, lr=lr)
    trainer = Trainer(max_epochs=5)
    trainer.fit(model, Blobs())
    assert trainer.status == "finished"
    assert all(torch.isfinite(param).all() for param in model.parameters())


def test_parameters_overridden_as_in_the_homework_serve_training():
    class Mine(SoftmaxRegressionScratch):
        def parameters(self):
            return [self.W, self.b]

    model = Mine(30, 10, lr=0.5)
    trainer = Trainer(max_epochs=3, gradient_clip_val=1)
    trainer.fit(model, Blobs())
    assert trainer.history[-1]["train_loss"] < trainer.history[0]["train_loss"]


def test_the_concise_model_gives_logits_for_images():
    model, X = SoftmaxRegression(3), torch.randn(5, 1, 2, 3)
    torch.testing.assert_close(model(X), model.net[1](X.reshape(5, 6)))


def test_a_state_goes_round():
    first, second = scratch(), scratch()
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.W, second.W)
