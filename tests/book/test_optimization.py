import pytest
import torch
from matplotlib import pyplot as plt

from gradbook.book.optimization import (
    annotate,
    get_data_ch11,
    show_trace_2d,
    train_2d,
    train_ch11,
    train_concise_ch11,
)
from gradbook.data import TensorLoader
from gradbook.errors import ConfigError, SampleDataWarning


def f_2d(x1, x2):
    return x1**2 + 2 * x2**2


def f_2d_grad(x1, x2):
    return 2 * x1, 4 * x2


def gd_2d(x1, x2, s1, s2, f_grad):
    g1, g2 = f_grad(x1, x2)
    return x1 - 0.1 * g1, x2 - 0.1 * g2, 0, 0


def sgd(params, states, hyperparams):
    for param in params:
        param.data.sub_(hyperparams["lr"] * param.grad)
        param.grad.data.zero_()


def linear_data(batch_size, num_rows=600):
    X = torch.randn(num_rows, 3)
    y = X @ torch.tensor([0.5, -0.3, 0.2]) + 0.6 * torch.randn(num_rows)
    return TensorLoader((X, y), batch_size, shuffle=True)


def test_train_2d_visits_what_the_closed_form_says(capsys):
    results = train_2d(gd_2d, f_grad=f_2d_grad)
    assert len(results) == 21
    assert results[0] == (-5, -2)
    assert results[-1] == pytest.approx((-5 * 0.8**20, -2 * 0.6**20))
    assert capsys.readouterr().out == "epoch 20, x1: -0.057646, x2: -0.000073\n"


def test_train_2d_keeps_the_state_of_a_trainer_that_needs_no_gradient():
    results = train_2d(lambda x1, x2, s1, s2: (s1, s2, s1 + 1, s2 + 2), steps=3)
    assert results == [(-5, -2), (0, 0), (1, 2), (2, 4)]


def test_train_2d_refuses_a_number_of_steps_that_is_none():
    with pytest.raises(ConfigError, match="steps"):
        train_2d(gd_2d, steps=2.5, f_grad=f_2d_grad)


def test_the_trace_is_drawn_over_the_contours():
    show_trace_2d(f_2d, train_2d(gd_2d, f_grad=f_2d_grad))
    axes = plt.gca()
    assert axes.lines[0].get_xydata().shape == (21, 2)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("x1", "x2")
    assert len(axes.collections) > 0


def test_annotate_writes_into_the_current_axes():
    plt.plot([0, 1])
    annotate("min of\nempirical risk", (1.0, -1.2), (0.5, -1.1))
    (text,) = plt.gca().texts
    assert text.get_text() == "min of\nempirical risk"
    assert (text.xy, text.xyann) == ((1.0, -1.2), (0.5, -1.1))


def test_the_airfoil_data_have_mean_0_and_deviation_1():
    with pytest.warns(SampleDataWarning):
        data_iter, feature_dim = get_data_ch11(batch_size=100, n=1503)
    X, y = next(iter(data_iter))
    assert (X.shape, y.shape, X.dtype, feature_dim) == ((100, 5), (100,), torch.float32, 5)
    columns = torch.column_stack(data_iter.tensors)
    assert len(columns) == 1503
    torch.testing.assert_close(columns.mean(0), torch.zeros(6), atol=1e-4, rtol=0)
    torch.testing.assert_close(columns.std(0, correction=0), torch.ones(6))


def test_the_first_examples_alone_are_taken():
    with pytest.warns(SampleDataWarning):
        data_iter, _ = get_data_ch11()
    assert len(data_iter) == 150


@pytest.mark.slow
def test_minibatch_sgd_comes_near_the_least_squares_of_the_airfoil_data():
    with pytest.warns(SampleDataWarning):
        data_iter, feature_dim = get_data_ch11(10)
    X, y = data_iter.tensors
    X = torch.column_stack((X, torch.ones(len(X))))
    best = ((X @ torch.linalg.lstsq(X, y[:, None]).solution)[:, 0] - y).square().mean() / 2
    _, losses = train_ch11(sgd, None, {"lr": 0.05}, data_iter, feature_dim)
    assert 0.2 < best < 0.25  # the book draws losses from 0.22 to 0.35
    assert losses[-1] < 1.1 * best


def test_a_point_is_drawn_about_every_200_examples_and_at_the_end(capsys):
    times, losses = train_ch11(sgd, None, {"lr": 0.1}, linear_data(70), 3, num_epochs=1)
    assert len(times) == len(losses) == 3  # after 210, 420 and 600
    assert times == sorted(times)
    assert f"loss: {losses[-1]:.3f}, " in capsys.readouterr().out


def test_gradient_descent_on_all_examples_draws_a_point_for_each_step():
    _, losses = train_ch11(sgd, None, {"lr": 0.5}, linear_data(600), 3, num_epochs=4)
    assert len(losses) == 4
    assert losses == sorted(losses, reverse=True)


def test_the_optimizer_gets_its_states_and_settings():
    seen = []

    def trainer_fn(params, states, hyperparams):
        seen.append((len(params), states, hyperparams))
        sgd(params, states, hyperparams)

    train_ch11(trainer_fn, ["state"], {"lr": 0.1}, linear_data(300), 3, num_epochs=1)
    assert seen == [(2, ["state"], {"lr": 0.1})] * 2


def test_the_concise_version_trains_with_an_optimizer_of_pytorch(capsys):
    data_iter = linear_data(10)
    train_concise_ch11(torch.optim.SGD, {"lr": 0.01}, data_iter, num_epochs=2)
    loss = float(capsys.readouterr().out.split()[1].rstrip(","))
    assert loss == pytest.approx(0.18, abs=0.03)  # half the variance of the noise


def test_batches_that_are_no_tensors_in_memory_are_evaluated_batch_by_batch():
    batches = list(linear_data(300))
    _, losses = train_ch11(sgd, None, {"lr": 0.1}, batches, 3, num_epochs=1)
    assert len(losses) == 2
