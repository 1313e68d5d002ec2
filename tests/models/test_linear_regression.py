import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gradbook import SGD, LinearRegression, LinearRegressionScratch
from gradbook.errors import BatchError, ShapeError


def test_the_parameters_have_the_book_s_shapes_and_names():
    model = LinearRegressionScratch(3)
    assert {name: tuple(param.shape) for name, param in model.named_parameters()} == {
        "w": (3, 1),
        "b": (1,),
    }


def test_the_weights_begin_small_and_the_bias_at_0():
    model = LinearRegressionScratch(10_000, sigma=0.3)
    assert model.w.std().item() == pytest.approx(0.3, rel=0.05)
    assert model.w.mean().item() == pytest.approx(0, abs=0.02)
    assert model.b.item() == 0


def test_arguments_are_hyperparameters():
    model = LinearRegressionScratch(3, lr=0.5, sigma=1)
    assert (model.num_inputs, model.lr, model.sigma) == (3, 0.5, 1)
    assert LinearRegression(0.5).lr == 0.5


def test_predictions_are_torch_s_linear():
    model, X = LinearRegressionScratch(3), torch.randn(5, 3)
    torch.testing.assert_close(model(X), F.linear(X, model.w.T, model.b))


def test_the_loss_from_scratch_is_half_the_squared_error():
    y_hat, y = torch.randn(5, 1), torch.randn(5, 1)
    loss = LinearRegressionScratch(2).loss(y_hat, y)
    torch.testing.assert_close(loss, F.mse_loss(y_hat, y) / 2)


def test_the_concise_loss_is_torch_s():
    y_hat, y = torch.randn(5, 1), torch.randn(5, 1)
    torch.testing.assert_close(LinearRegression().loss(y_hat, y), nn.MSELoss()(y_hat, y))


@pytest.mark.parametrize("model", [LinearRegressionScratch(2), LinearRegression()])
def test_targets_that_would_be_stretched_are_refused(model):
    with pytest.raises(BatchError, match=r"y\.reshape\(-1, 1\)"):
        model.loss(torch.zeros(5, 1), torch.zeros(5))


def test_gradients_are_those_of_the_closed_form():
    model = LinearRegressionScratch(3)
    X, y = torch.randn(6, 3), torch.randn(6, 1)
    model.loss(model(X), y).backward()
    error = (X @ model.w + model.b - y).detach()
    torch.testing.assert_close(model.w.grad, X.T @ error / 6)
    torch.testing.assert_close(model.b.grad, error.mean(0))


def test_the_optimizer_holds_the_parameters_themselves():
    model = LinearRegressionScratch(2, lr=0.7)
    optim = model.configure_optimizers()
    assert isinstance(optim, SGD)
    assert optim.lr == 0.7
    assert optim.params[0] is model.w
    assert optim.params[1] is model.b


def test_the_concise_model_finds_its_number_of_inputs():
    model = LinearRegression()
    assert model(torch.zeros(2, 5)).shape == (2, 1)
    w, b = model.get_w_b()
    assert (w.shape, b.shape) == ((1, 5), (1,))


def test_the_weights_can_be_read_without_a_graph():
    model = LinearRegression()
    model(torch.zeros(2, 5))
    w, b = model.get_w_b()
    assert not w.requires_grad
    assert not b.requires_grad


def test_another_number_of_features_is_explained():
    with pytest.raises(ShapeError, match=r"w \(2, 1\), b \(1,\)"):
        LinearRegressionScratch(2)(torch.zeros(4, 3))
