"""Causes: each injected into several models."""

import math
import warnings
from itertools import pairwise

import pytest
import torch
from tests.watching.trainings import Blobs, BookSoftmax, Normed, examined, fit, regression
from torch import nn
from torch.nn import functional as F

from gradbook import (
    MLP,
    Classifier,
    DataModule,
    LinearRegression,
    LinearRegressionScratch,
    MLPScratch,
    Module,
    Sink,
    SoftmaxRegression,
    SoftmaxRegressionScratch,
    Trainer,
)
from gradbook.watching import postmortem
from gradbook.watching.diagnosis import smaller_rate

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def repeated_from_the_beginning(monkeypatch):
    """No state is kept later, however slow the machine is."""
    monkeypatch.setattr(postmortem, "_INTERVAL_SECONDS", math.inf)


# A rate that is too high


@pytest.mark.parametrize(
    ("make", "data"),
    [
        (lambda lr: LinearRegressionScratch(2, lr), regression),
        (LinearRegression, regression),
        (lambda lr: MLP(3, 16, lr), Blobs),
        (lambda lr: MLPScratch(4, 3, 16, lr), Blobs),
    ],
    ids=["linear scratch", "linear", "MLP", "MLP scratch"],
)
@pytest.mark.parametrize("times", [0.01, 1, 10])
def test_a_rate_too_high_is_recognized_and_the_proposed_one_trains(make, data, times):
    rate = max(times, 1) * 3.0 if data is regression else times * 1e4
    found = examined(make(rate), data(), max_epochs=8)
    assert (found.cause, found.phase, found.lr) == ("rate too high", "forward", rate)
    assert "The gradient norm grew by a factor of" in found.reason
    proposed = float(found.edit.partition("lr=")[2].partition(",")[0])
    assert proposed <= rate / 10
    trainer = fit(make(proposed), data(), max_epochs=8)
    assert trainer.status == "finished"
    assert trainer.postmortem is None


class Curve(DataModule):
    """A linear function of four numbers, a few units high."""

    def __init__(self):
        super().__init__()
        self.batch_size = 16
        generator = torch.Generator().manual_seed(1)
        self.X = torch.randn(128, 4, generator=generator)
        self.y = self.X @ torch.tensor([[1.0], [2], [3], [4]])

    def get_dataloader(self, train):
        return self.get_tensorloader((self.X, self.y), train)


class Network(Module):
    def __init__(self, lr, optimizer=torch.optim.SGD, middle=nn.ReLU, bias=0.0):
        super().__init__()
        self.lr, self.optimizer = lr, optimizer
        self.net = nn.Sequential(nn.Linear(4, 32), middle(), nn.Linear(32, 1))
        self.net[-1].bias.data += bias

    def loss(self, y_hat, y):
        return F.mse_loss(y_hat, y)

    def configure_optimizers(self):
        return self.optimizer(self.parameters(), lr=self.lr)


def normed_relu():
    return nn.Sequential(nn.BatchNorm1d(32), nn.ReLU())


def dropped_relu():
    return nn.Sequential(nn.ReLU(), nn.Dropout())


@pytest.mark.parametrize(
    ("make", "lowest", "highest"),
    [
        (lambda: Network(5.0), 0.005, 0.1),
        (lambda: Network(50.0, middle=dropped_relu), 0.05, 0.1),
        (lambda: Network(1e6, middle=normed_relu), 0.1, 0.1),
        (lambda: Network(1.0, bias=-100), 0.001, 0.1),
        (lambda: Network(0.05, bias=-100), 5e-5, 0.005),
        (lambda: Network(1e30, torch.optim.Adam), 0.001, 0.001),
        (lambda: Network(1e12, torch.optim.RMSprop), 0.001, 0.001),
    ],
)
def test_a_network_is_proposed_a_usual_rate_or_a_part_of_its_own(make, lowest, highest):
    found = examined(make(), Curve(), max_epochs=8)
    assert found.cause == "rate too high"
    proposed = float(found.edit.partition("lr=")[2].partition(",")[0])
    assert lowest <= proposed <= highest
    if proposed != found.lr / 10:
        assert "`gradbook.lr_range` or the command `gradbook lr-range`" in found.edit


def test_a_network_trains_at_the_rate_proposed_for_it():
    found = examined(Network(5.0), Curve(), max_epochs=8)
    proposed = float(found.edit.partition("lr=")[2].partition(",")[0])
    assert fit(Network(proposed), Curve(), max_epochs=8).postmortem is None


def test_the_rate_of_a_linear_model_follows_from_the_steady_growth_of_its_gradient():
    data = Curve()
    data.X *= 1000
    found = examined(LinearRegression(0.03), data)
    proposed = float(found.edit.partition("lr=")[2].partition(",")[0])
    # The curvature of the mean squared error is twice that of the features.
    curvature = 2 * torch.linalg.eigvalsh(data.X.T @ data.X / len(data.X)).max().item()
    assert 0.1 < proposed * curvature < 2
    assert "a gradient that grows" in found.edit


@pytest.mark.parametrize("rate", [math.inf, math.nan, 2.0, 1e38])
def test_beyond_the_usual_rates_a_usual_one_is_proposed(rate):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    assert smaller_rate(optimizer, rate).startswith("lr=0.1, a usual rate for gradient descent; ")


@pytest.mark.parametrize("growth", [0.0, 3.0, 99.0, 1e4, 1e19, math.inf])
def test_no_rate_is_made_more_than_a_thousand_times_smaller(growth):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    text = smaller_rate(optimizer, 0.5, growth)
    assert 0.0005 <= float(text.partition("lr=")[2].partition(",")[0]) <= 0.05


def test_the_proposed_rate_is_a_tenth_where_that_is_enough():
    found = examined(LinearRegression(3.0), regression(), max_epochs=8)
    assert found.edit == "lr=0.3, a tenth of 3."


def test_an_update_that_overflows_is_the_rate_s_fault():
    model = SoftmaxRegressionScratch(4, 3, lr=3e38)
    found = examined(model, Blobs(scale=30), max_epochs=1)
    assert (found.phase, found.cause, found.step) == ("update", "rate too high", 1)
    assert found.what.startswith("the parameter ")


# The other causes


@pytest.mark.parametrize("scale", [1e4, 1e5])
def test_an_exponential_that_overflows(scale):
    data = Blobs(scale)
    model = BookSoftmax()
    largest = (data.X @ model.W).max().item()
    found = examined(model, data)
    assert (found.cause, found.phase, found.operation) == ("exp overflow", "forward", "exp")
    assert found.line.text == "E = torch.exp(X @ self.W + self.b)"
    assert "float32 overflows beyond 88.7" in found.reason
    reached = float(found.reason.partition("reached ")[2].partition(",")[0])
    assert 88.7 < reached <= largest * 1.01
    assert "amax" in found.edit


class Poisson(Module):
    """Counts, whose logarithm is linear."""

    def __init__(self):
        super().__init__()
        self.lr = 0.01
        self.w = torch.zeros(2, 1, requires_grad=True)

    def forward(self, X):
        return X @ self.w + 100

    def loss(self, y_hat, y):
        return (torch.exp(y_hat) - y * y_hat).mean()


def test_an_exponential_without_rows_is_to_be_bounded():
    found = examined(Poisson(), regression())
    assert (found.cause, found.step) == ("exp overflow", 1)
    assert "clamp" in found.edit


@pytest.mark.parametrize("kind", ["book", "concise"])
def test_a_logarithm_of_zero(kind):
    class Concise(SoftmaxRegression):
        def loss(self, y_hat, y):
            return F.nll_loss(y_hat.softmax(dim=1).log(), y)

    class Book(BookSoftmax):
        def forward(self, X):
            return torch.softmax(X @ self.W + self.b, dim=1)

    model = Book() if kind == "book" else Concise(3, 0.1)
    found = examined(model, Blobs(scale=1e5))
    assert (found.cause, found.operation) == ("log of zero", "log")
    assert "F.cross_entropy" in found.edit


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "make",
    [
        lambda: SoftmaxRegression(3),
        lambda: BookSoftmax(),
        lambda: MLPScratch(4, 3, 8),
        lambda: MLP(3, 8),
    ],
    ids=["softmax", "book", "MLP scratch", "MLP"],
)
def test_a_bad_input_value_is_found_in_the_batch_and_in_the_data(make, value):
    class InOrder(Blobs):
        def get_dataloader(self, train):
            return self.get_tensorloader((self.X, self.y), train=False)

    data = InOrder()
    data.X[77, 2] = value
    found = examined(make(), data)
    assert (found.cause, found.split, found.step) == ("bad input value", "train", 77 // 16 + 1)
    assert f"X[{77 % 16}, 2] of the batch is {value}; it is in row 77 of the tr" in found.reason


@pytest.mark.parametrize("make", [LinearRegression, LinearRegressionScratch])
def test_an_infinite_target(make):
    data = regression()
    data.y[5] = math.inf
    found = examined(make(lr=0.03), data)
    assert found.cause == "bad input value"
    assert "y[" in found.reason
    assert "row 5 of the training set" in found.reason


def test_a_bad_value_of_the_validation_set():
    class Apart(Blobs):
        def get_dataloader(self, train):
            X = self.X if train else self.X.masked_fill(torch.arange(128)[:, None] == 3, math.nan)
            return self.get_tensorloader((X, self.y), train)

    found = examined(SoftmaxRegression(3), Apart())
    assert (found.split, found.cause) == ("val", "bad input value")
    assert "X[3, 0] of the batch is nan" in found.reason
    assert "row 3 of the validation set" in found.reason
    assert "in the validation of epoch 1" in str(found)


def test_an_extreme_value_of_one_batch():
    data = regression()
    data.X[200] = 1e25
    found = examined(LinearRegression(0.03), data)
    assert found.cause == "bad input value"
    assert "1e+25" in found.reason


class Powered(Normed):
    def length(self, moved):
        return (moved**2).sum() ** 0.5


class Masked(Normed):
    def length(self, moved):
        square = (moved**2).sum()
        return torch.where(square > 0, square.sqrt(), square)


@pytest.mark.parametrize("model", [Normed, Powered, Masked])
def test_the_derivative_of_a_root_at_zero(model):
    found = examined(model(0.01), regression())
    assert (found.cause, found.phase, found.step) == ("root of zero", "backward", 1)
    assert found.what == "the gradient of net.weight"
    assert found.operation == ("PowBackward0" if model is Powered else "SqrtBackward0")
    assert "1 of 1 arguments" in found.reason
    assert "def length" not in found.line.text
    assert "square" in found.line.text or "moved**2" in found.line.text


class Standardized(Classifier):
    """Divides by a deviation that is 0 where a feature is the same for the whole batch."""

    def __init__(self):
        super().__init__()
        self.lr = 0.1
        self.scale = nn.Parameter(torch.ones(4))
        self.net = nn.LazyLinear(3)

    def forward(self, X):
        return self.net(self.scale * (X - X.mean(0)) / X.std(0))


class Relative(LinearRegression):
    def loss(self, y_hat, y):
        return ((y_hat - y).abs() / y).mean()


def test_a_statistic_of_the_batch_that_is_zero():
    data = Blobs()
    data.X[:, 1] = 3.0
    found = examined(Standardized(), data)
    assert (found.cause, found.operation, found.step) == ("division by zero", "/", 1)
    assert found.reason == "1 of 4 divisors are 0."


def test_a_target_of_zero_that_is_divided_by():
    data = regression()
    data.y[9] = 0
    found = examined(Relative(0.001), data)
    assert found.cause == "division by zero"
    assert found.line.text == "return ((y_hat - y).abs() / y).mean()"


def test_a_softmax_whose_exponentials_are_all_zero():
    model = BookSoftmax()
    model.b = torch.full((3,), -200.0, requires_grad=True)
    found = examined(model, Blobs())
    assert (found.cause, found.operation) == ("division by zero", "/")
    assert found.reason == "16 of 16 divisors are 0."
    assert "amax" in found.edit


def test_a_divisor_so_small_that_its_derivative_overflows():
    model = BookSoftmax()
    model.b = torch.full((3,), -100.0, requires_grad=True)
    found = examined(model, Blobs())
    assert (found.cause, found.phase) == ("division by zero", "backward")
    assert "16 of 16 divisors are almost 0, down to 1.0" in found.reason
    assert "e-43" in found.reason


# Arguments and constants


class Lossy(LinearRegression):
    """A loss that goes wrong by itself; `zero` is 0, and depends on the weights."""

    def __init__(self, made):
        super().__init__(0.01)
        self.made = made

    def loss(self, y_hat, y):
        return self.made(0 * y_hat.sum()).mean()


@pytest.mark.parametrize(
    ("name", "values", "interval", "num_outside", "farthest", "bound"),
    [
        ("acos", [0.5, 2, -3.5], "from -1 to 1", 2, "-3.5", ".clamp(-0.999999, 0.999999)"),
        ("asin", [1, -1, 1.5], "from -1 to 1", 1, "1.5", ".clamp(-0.999999, 0.999999)"),
        ("atanh", [0, 1, -0.5], "between -1 and 1", 1, "1", ".clamp(-0.999999, 0.999999)"),
        ("erfinv", [0, 1.25, -1.5], "between -1 and 1", 2, "-1.5", ".clamp(-0.999999, 0.999999)"),
        ("acosh", [1, 2, 0], "from 1 on", 1, "0", ".clamp(min=1.000001)"),
        ("log1p", [-1, 0, -5], "above -1", 2, "-5", ".clamp(min=-0.999999)"),
        ("logit", [1, 0.5, 0], "between 0 and 1", 2, "1", ".clamp(1e-6, 0.999999)"),
        ("rsqrt", [0, 1, 2], "above 0", 1, "0", ".clamp(min=1e-8)"),
    ],
)
def test_an_argument_outside_the_domain(name, values, interval, num_outside, farthest, bound):
    operation, values = getattr(torch, name), torch.tensor(values, dtype=torch.float32)
    found = examined(Lossy(lambda zero: operation(values + zero)), regression())
    assert (found.cause, found.operation, found.step) == ("outside the domain", name, 1)
    assert found.reason == (
        f"`{name}` is defined {interval}, and {num_outside} of 3 arguments are outside; the "
        f"farthest is {farthest}."
    )
    assert f"`{bound}`" in found.edit
    # What is proposed is finite, and so is its derivative.
    argument = values.clone().requires_grad_()
    result = operation(eval(f"argument{bound}"))
    result.sum().backward()
    assert result.isfinite().all()
    assert argument.grad.isfinite().all()


def test_an_operation_of_which_no_domain_is_known():
    points = torch.tensor([-1.0, 2])
    found = examined(Lossy(lambda zero: torch.digamma(points + zero)), regression())
    assert (found.cause, found.operation) == ("outside the domain", "digamma")
    assert "numbers up to 2. `digamma` is not defined for some of them" in found.reason


@pytest.mark.parametrize("name", ["sqrt", "rsqrt"])
def test_a_root_of_negative_numbers(name):
    values = torch.tensor([4.0, -9, -1])
    found = examined(Lossy(lambda zero: getattr(values + zero, name)()), regression())
    assert found.cause == "outside the domain"
    assert found.reason == f"2 of 3 arguments of `{name}` are negative, down to -9."
    assert "`.clamp(min=1e-8)`" in found.edit


def test_arguments_outside_the_domain_whose_results_are_not_used():
    values = torch.tensor([0.5, 2])

    def made(zero):
        x = values + zero
        return torch.where(x < 1, torch.acos(x), x)

    found = examined(Lossy(made), regression())
    assert (found.cause, found.phase) == ("outside the domain", "backward")
    assert "even where the result is not used" in found.reason
    assert "before the operation" in found.edit


def test_the_logarithm_of_negative_numbers_needs_another_layer_before_it():
    values = torch.tensor([2.0, -3, 1])
    found = examined(Lossy(lambda zero: torch.log(values + zero)), regression())
    assert found.reason == "1 of 3 arguments of `log` are negative, down to -3."
    assert "softmax, sigmoid or softplus" in found.edit
    assert ".clamp(min=1e-8)" in found.edit
    assert "add" not in found.edit


def test_the_logarithm_of_logits_needs_the_cross_entropy():
    class LogOfLogits(SoftmaxRegression):
        def loss(self, y_hat, y):
            return F.nll_loss(y_hat.log(), y)

    found = examined(LogOfLogits(3), Blobs())
    assert (found.cause, found.operation) == ("outside the domain", "log")
    assert "F.cross_entropy" in found.edit


@pytest.mark.parametrize(
    "made",
    [
        lambda z: torch.log(torch.exp(z).sum()),
        lambda z: z.exp().sum(0).log(),
        lambda z: torch.log(torch.exp(z.reshape(1, -1)).sum(1)),
        lambda z: torch.exp(z).mean().log(),
    ],
)
def test_the_logarithm_of_a_sum_of_exponentials(made):
    values = torch.tensor([1.0, 200])
    found = examined(Lossy(lambda zero: made(values + zero)), regression())
    assert (found.cause, found.operation) == ("exp overflow", "exp")
    assert "reached 200" in found.reason
    assert "torch.logsumexp" in found.edit


@pytest.mark.parametrize("power", [-1, -0.5, torch.tensor([-2.0, -1, 1])])
def test_zero_to_a_negative_power(power):
    values = torch.tensor([0.0, 0, 1])
    found = examined(Lossy(lambda zero: (values + zero) ** power), regression())
    assert (found.cause, found.operation) == ("division by zero", "**")
    assert found.reason.startswith("2 of 3 bases of `**` are 0")


@pytest.mark.parametrize(
    "made",
    [lambda zero: (zero + torch.tensor([-2.0, 3])) ** 1.5, lambda zero: (-2.0) ** (zero + 0.5)],
)
def test_a_negative_base_with_a_power_that_is_no_whole_number(made):
    found = examined(Lossy(made), regression())
    assert (found.cause, found.operation) == ("outside the domain", "**")
    assert "are negative, down to -2, and the exponent is no whole number" in found.reason


@pytest.mark.parametrize(
    ("made", "name"),
    [
        (lambda zero: F.normalize(zero + torch.zeros(1, 3), eps=0), "normalize"),
        (lambda zero: F.layer_norm(zero + torch.ones(2, 3), (3,), eps=0), "layer_norm"),
    ],
)
def test_a_norm_or_deviation_of_zero_with_no_eps(made, name):
    found = examined(Lossy(made), regression())
    assert (found.cause, found.operation) == ("division by zero", name)
    assert f"`{name}` divides by is 0" in found.reason
    assert "eps" in found.edit


@pytest.mark.parametrize("name", ["mean", "std"])
def test_the_mean_of_nothing(name):
    class Selected(LinearRegression):
        def loss(self, y_hat, y):
            return getattr(y_hat[y_hat > 1e9], name)()

    torch.manual_seed(0)
    trainer = Trainer(max_epochs=1, display="off")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(Selected(0.01), regression())
    found = trainer.postmortem
    assert (found.cause, found.operation) == ("too few numbers", name)
    assert f"`{name}` was given a tensor of shape (0,)" in found.reason


@pytest.mark.parametrize("name", ["std", "var"])
def test_the_deviation_of_a_last_batch_of_one_example(name):
    class Centered(SoftmaxRegression):
        def forward(self, X):
            h = super().forward(X)
            return h / (getattr(h, name)(0) + 1)

    data = Blobs()
    data.X, data.y = data.X[:113], data.y[:113]
    torch.manual_seed(0)
    trainer = Trainer(max_epochs=1, display="off")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(Centered(3), data)
    found = trainer.postmortem
    assert (found.cause, found.operation, found.step) == ("too few numbers", name, 8)
    assert "last batch of one example" in found.edit


def test_a_loss_for_which_no_label_counts():
    class NoneCounts(SoftmaxRegression):
        def loss(self, y_hat, y):
            return F.cross_entropy(y_hat, y * 0 + 9, ignore_index=9)

    found = examined(NoneCounts(3), Blobs())
    assert (found.cause, found.operation) == ("too few numbers", "cross_entropy")
    assert found.reason.startswith("All labels are 9")


@pytest.mark.parametrize(
    ("made", "operation"),
    [
        (lambda zero: (zero + 2).mul(1e40), "*"),
        (lambda zero: 1e40 * (zero + 2), "*"),
        (lambda zero: zero + 1e40, "+"),
    ],
)
def test_a_constant_that_is_too_large(made, operation):
    found = examined(Lossy(made), regression())
    assert (found.cause, found.operation) == ("bad constant", operation)
    assert found.reason.startswith("1e+40, which the code itself gives to the operation, is inf")
    assert "float32, which ends at 3.4e+38" in found.reason
    assert "weights" not in found.edit


def test_a_constant_that_is_too_small():
    found = examined(Lossy(lambda zero: (zero + 2) / 1e-46), regression())
    assert (found.cause, found.operation) == ("bad constant", "/")
    assert "1e-46, which the code itself gives to the operation, is 0 in float32" in found.reason


def test_a_mask_that_is_multiplied_with_infinity():
    ones = torch.ones(3)
    found = examined(Lossy(lambda zero: zero + (1 - ones) * -math.inf), regression())
    assert (found.cause, found.operation) == ("bad constant", "*")
    assert "0 times infinity is NaN" in found.reason
    assert "masked_fill" in found.edit


def test_a_tensor_made_with_nan():
    found = examined(Lossy(lambda zero: zero * torch.tensor(math.nan)), regression())
    assert (found.cause, found.operation) == ("bad constant", "tensor")
    assert "holds nan" in found.reason


# Masks


class Attention(Classifier):
    """Each number attends to the others; in the first example one may attend to none.

    The masked row is what the loss sees, or, with `is_used=False`, a row that it leaves out.
    """

    def __init__(self, mask, is_used=True):
        super().__init__()
        self.lr, self.mask, self.is_used = 0.1, mask, is_used
        self.net = nn.Linear(4, 3)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, X):
        where = torch.zeros(len(X), 4, 4, dtype=torch.bool)
        where[0, 3] = True
        weights = self.mask(self.scale * X[:, :, None] * X[:, None, :], where)
        mixed = (weights @ self.net(X)[:, :1, None].expand(-1, 4, 1))[..., 0]
        return self.net(X) + mixed[:, -3 if self.is_used else 0 : None if self.is_used else 3]


def filled(scores, where):
    return torch.softmax(scores.masked_fill(where, -math.inf), -1)


def set_in_place(scores, where):
    scores = scores.clone()
    scores[where] = -math.inf
    return F.softmax(scores, dim=-1)


def chosen(scores, where):
    return torch.where(where, torch.tensor(-math.inf), scores).softmax(dim=2)


def added(scores, where):
    return (scores + torch.zeros(scores.shape).masked_fill(where, -math.inf)).softmax(-1)


@pytest.mark.parametrize("mask", [filled, set_in_place, chosen, added])
def test_a_row_of_attention_that_is_masked_from_end_to_end(mask):
    found = examined(Attention(mask), Blobs())
    assert (found.cause, found.phase, found.step) == ("fully masked row", "forward", 1)
    assert found.operation == "softmax"
    assert "softmax" in found.line.text
    assert found.reason.startswith("1 of 64 rows that `softmax` was given is -inf")
    assert "a large finite number, such as -1e9, or leave one position of each row open" in (
        found.edit
    )


def test_a_masked_row_that_the_loss_leaves_out_spoils_the_gradient():
    found = examined(Attention(filled, is_used=False), Blobs())
    assert (found.cause, found.phase, found.operation) == (
        "fully masked row",
        "backward",
        "softmax",
    )


@pytest.mark.parametrize("value", [-1e9, -math.inf])
def test_a_mask_that_leaves_a_position_open_is_no_fault(value):
    def open_one(scores, where):
        return torch.softmax(scores.masked_fill(where & (torch.arange(4) > 0), value), -1)

    assert fit(Attention(open_one), Blobs()).postmortem is None


def test_pytorch_s_own_attention_with_a_masked_row():
    class Own(Classifier):
        def __init__(self):
            super().__init__()
            self.lr = 0.1
            self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
            self.net = nn.Linear(4, 3)

        def forward(self, X):
            where = torch.zeros(len(X), 1, dtype=torch.bool)
            where[0] = True
            Q = X[:, None]
            return self.net(self.attention(Q, Q, Q, key_padding_mask=where)[0][:, 0])

    found = examined(Own(), Blobs())
    assert (found.cause, found.layer) == ("fully masked row", "attention")
    assert found.operation == "multi_head_attention_forward"


def test_a_mask_that_hides_the_label_s_class():
    class Hidden(SoftmaxRegression):
        def loss(self, y_hat, y):
            return F.cross_entropy(y_hat.masked_fill(torch.arange(3) == 2, -math.inf), y)

    found = examined(Hidden(3), Blobs())
    assert (found.cause, found.operation) == ("bad constant", "cross_entropy")
    assert found.reason.startswith("`cross_entropy` made inf of the -inf that it was given")


# Sixteen bits


@pytest.mark.parametrize(
    ("made", "cause"),
    [
        (lambda h: h * 6e4, "float16 overflow"),
        (lambda h: (h + 20).exp(), "float16 overflow"),
        (lambda h: h * 1e5, "bad constant"),
        (lambda h: (h - 30).sqrt(), "outside the domain"),
    ],
)
def test_float16_is_blamed_only_for_its_range(made, cause):
    class Half(SoftmaxRegression):
        def forward(self, X):
            return made(super().forward(X).half()).float()

    assert examined(Half(3), Blobs()).cause == cause


# What a smaller rate does not help, though it looks like a rate too high


class Steps:
    """An optimizer of a learner's own, whose step is `update(parameter, gradient, memory)`."""

    def __init__(self, params, update):
        self.params, self.update, self.lr = list(params), update, 0.1
        self.memory = [torch.zeros_like(p) for p in self.params]

    def zero_grad(self):
        for param in self.params:
            param.grad = None

    def step(self):
        for param, memory in zip(self.params, self.memory, strict=True):
            param -= self.lr * self.update(param, param.grad, memory)


class Layers(Classifier):
    """A small network, with an optimizer and a schedule as wanted."""

    def __init__(self, optimizer=lambda params: torch.optim.SGD(params, lr=0.1), schedule=None):
        super().__init__()
        self.lr, self.optimizer, self.schedule = 0.1, optimizer, schedule
        self.net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))

    def configure_optimizers(self):
        optimizer = self.optimizer(self.parameters())
        if self.schedule is None:
            return optimizer
        return [optimizer], [torch.optim.lr_scheduler.LambdaLR(optimizer, self.schedule)]


def quotient(param, grad, memory):
    return grad * 0 / memory


def root(param, grad, memory):
    memory += grad**2
    return grad / (torch.sqrt(memory - 2 * grad**2) + 1e-6)


def unit_norm(param, grad, memory):
    return grad / memory.norm()


@pytest.mark.parametrize(
    ("update", "cause", "operation", "edit"),
    [
        (quotient, "division by zero", "/", "add a small number to the divisor"),
        (unit_norm, "division by zero", "/", "add a small number to the divisor"),
        (root, "outside the domain", "sqrt", "`.clamp(min=1e-8)`"),
    ],
)
def test_an_optimizer_of_one_s_own_that_computes_nan_is_blamed_with_its_line(
    update, cause, operation, edit
):
    found = examined(Layers(lambda params: Steps(params, update)), Blobs())
    assert (found.cause, found.phase, found.operation) == (cause, "update", operation)
    assert found.line.text.startswith("return grad")
    assert edit in found.edit
    assert "lr" not in found.edit
    assert found.tried == ""


def test_an_optimizer_derived_from_pytorch_s_is_looked_at_as_well():
    class Own(torch.optim.Optimizer):
        def __init__(self, params):
            super().__init__(params, {"lr": 0.1})

        @torch.no_grad()
        def step(self, closure=None):
            for param in self.param_groups[0]["params"]:
                param.data.sub_(0.1 * param.grad / (param - param))

    found = examined(Layers(Own), Blobs())
    assert (found.cause, found.operation) == ("division by zero", "/")
    assert "(param - param)" in found.line.text


def test_memory_of_the_optimizer_is_as_it_was_when_its_step_is_looked_at():
    def late(param, grad, memory):
        memory += 1
        return grad / (5 - memory)

    found = examined(Layers(lambda params: Steps(params, late)), Blobs())
    assert (found.step, found.phase, found.cause) == (5, "update", "division by zero")
    assert "are 0." in found.reason


def test_half_by_the_code_itself_is_not_mended_by_the_precision_of_the_trainer():
    class Half(SoftmaxRegression):
        def forward(self, X):
            h = super().forward(X).half()
            return (h * 6e4).float()

    found = examined(Half(3), Blobs())
    assert found.cause == "float16 overflow"
    assert "precision=" not in found.edit
    assert "where `half` makes float16 in line" in found.edit
    assert "`h = super().forward(X).half()`" in found.edit


def test_a_model_in_float16_is_to_be_left_in_float32():
    class Half(Layers):
        def __init__(self):
            super().__init__()
            self.net.half()
            nn.init.constant_(self.net[2].weight, 6e4)

        def forward(self, X):
            return super().forward(X.half()).float()

    found = examined(Half(), Blobs())
    assert found.cause == "float16 overflow"
    assert found.edit == "leave the model's parameters in float32, without `.half()`."


def test_the_logarithm_of_an_input_of_zero_needs_no_other_loss():
    class Logs(SoftmaxRegression):
        def forward(self, X):
            return super().forward(torch.log(X.abs()))

    data = Blobs()
    data.X[37, 2] = 0
    found = examined(Logs(3), data)
    assert (found.cause, found.operation) == ("log of zero", "log")
    assert found.reason == (
        "1 of 64 arguments of `log` are 0. No parameter has a part in them: they come from the "
        "data."
    )
    assert found.edit == "take `torch.log1p` in the place of `log`: it is finite at 0."


def test_the_logarithm_of_a_sigmoid_needs_the_binary_cross_entropy():
    class Binary(SoftmaxRegression):
        def loss(self, y_hat, y):
            p, t = torch.sigmoid(1e5 * y_hat), F.one_hot(y, 3)
            return -(t * torch.log(p) + (1 - t) * torch.log(1 - p)).mean()

    found = examined(Binary(3), Blobs())
    assert found.cause == "log of zero"
    assert "F.binary_cross_entropy_with_logits" in found.edit


@pytest.mark.parametrize("factor", [math.inf, -1000.0])
def test_a_schedule_that_gives_no_rate_is_named(factor):
    model = Layers(schedule=lambda epoch: 1 if epoch < 2 else factor)
    torch.manual_seed(0)
    trainer = Trainer(max_epochs=8, display="off")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(model, Blobs())
    found = trainer.postmortem
    assert (found.cause, found.lr) == ("bad learning rate", 0.1 * factor)
    assert "the scheduler LambdaLR had set it" in found.reason
    assert found.edit == "let the scheduler LambdaLR give finite rates of at least 0 only."
    assert "nothing became NaN or infinite in 64 steps, and the mean loss fell" in found.tried


def test_a_schedule_that_raises_the_rate_is_to_keep_it_lower():
    found = examined(Layers(schedule=lambda epoch: 10.0 ** (3 * epoch)), Blobs(), max_epochs=8)
    assert found.cause == "rate too high"
    assert "The scheduler LambdaLR had raised the learning rate to " in found.reason
    assert found.edit == "let the scheduler LambdaLR give rates up to 0.1 only."


def infinite_bias():
    model = Layers()
    model.net[2].bias.data[1] = math.inf
    return model


def infinite_scratch():
    model = MLPScratch(4, 3, 8)
    model.b1.data[:] = -math.inf
    model.b1.data[0] = math.inf
    return model


class Scaled(Layers):
    def __init__(self, is_buffer):
        super().__init__()
        scale = torch.tensor([1.0, math.nan, 1, 1])
        if is_buffer:
            self.register_buffer("scale", scale)
        else:
            self.scale = scale

    def forward(self, X):
        return super().forward(X * self.scale)


@pytest.mark.parametrize(
    ("make", "what", "place"),
    [
        (infinite_bias, "parameter net.2.bias", "inf at net.2.bias[1], "),
        (infinite_scratch, "parameter b1", "inf at b1[0], the first of 8 such numbers, "),
        (lambda: Scaled(is_buffer=True), "tensor scale", "nan at scale[1], "),
        (lambda: Scaled(is_buffer=False), "tensor scale", "nan at scale[1], "),
    ],
)
def test_a_tensor_of_the_model_that_is_infinite_at_first_is_named(make, what, place):
    found = examined(make(), Blobs())
    assert (found.cause, found.step) == ("bad parameter value", 1)
    assert found.reason == f"The {what} of the model holds {place}and did so before the first step."
    assert found.edit == f"give {what.split()[1]} finite numbers where it is made or initialized."


def test_a_frozen_parameter_is_named_and_not_another_that_may_be_infinite():
    class Masked(Layers):
        def __init__(self):
            super().__init__()
            self.mask = nn.Parameter(torch.tensor([math.inf, 1.0]), requires_grad=False)
            self.scale = nn.Parameter(torch.tensor([1.0, math.nan, 1, 1]), requires_grad=False)

        def forward(self, X):
            return super().forward(X * self.scale) + 0 * self.mask.clamp(max=1).sum()

    found = examined(Masked(), Blobs())
    assert "The tensor scale of the model holds nan at scale[1]" in found.reason


def test_a_parameter_that_a_sink_spoils_between_two_steps_is_named(monkeypatch):
    class Spoils(Sink):
        def end_epoch(self, trainer):
            if trainer.epoch == 0:
                trainer.model.net[0].weight.data[2, 1] = math.nan

    monkeypatch.setattr(postmortem, "_INTERVAL_SECONDS", 0.0)
    found = examined(Layers(), Blobs(), sinks=[Spoils()])
    assert (found.cause, found.step) == ("bad parameter value", 9)
    assert "holds nan at net.0.weight[2, 1], and did so before this step" in found.reason
    assert "between two steps" in found.edit


def test_a_parameter_that_a_step_sets_by_hand_is_found_at_its_line():
    class ByHand(Layers):
        def training_step(self, batch):
            loss = super().training_step(batch)
            if self.trainer.train_batch_idx == 10:
                weight = self.net[2].weight.data.clone()
                self.net[2].weight.data = weight
                weight[0, 3] = math.nan
            return loss

    found = examined(ByHand(), Blobs())
    assert (found.cause, found.phase, found.step) == ("bad constant", "update", 11)
    assert found.line.text == "weight[0, 3] = math.nan"


class Deep(Layers):
    """Thirty layers whose weights have a deviation of 1."""

    def __init__(self):
        super().__init__()
        sizes = [4, *[64] * 30]
        layers = [m for n, k in pairwise(sizes) for m in (nn.Linear(n, k), nn.ReLU())]
        self.net = nn.Sequential(*layers, nn.Linear(64, 3))
        for layer in layers[::2]:
            nn.init.normal_(layer.weight)


def test_initial_weights_with_which_no_rate_helps_are_to_be_smaller():
    found = examined(Deep(), Blobs())
    assert found.cause == "initial weights too large"
    assert "nn.init.xavier_uniform_" in found.edit
    assert "nothing became NaN or infinite in 32 steps" in found.tried


def test_weights_that_overflow_before_the_first_update_are_no_matter_of_the_rate():
    model = Layers()
    for layer in model.net[::2]:
        layer.weight.data *= 1e30
    found = examined(model, Blobs())
    assert (found.cause, found.step) == ("initial weights too large", 1)
    assert "lr" not in found.edit
    assert "and the mean loss fell from " in found.tried


@pytest.mark.parametrize(
    "made", [lambda loss: loss * 1e30, lambda loss: loss / 1e-30], ids=["times", "by"]
)
def test_a_loss_that_the_code_makes_huge_is_no_matter_of_the_rate(made):
    class Huge(Layers):
        def loss(self, y_hat, y):
            return made(super().loss(y_hat, y))

    found = examined(Huge(), Blobs())
    assert found.cause == "bad constant"
    assert "e+30 by the code itself" in found.reason or "1e-30 by the code" in found.reason
    assert found.tried.startswith("Training with lr=0.01, lr=0.001 or lr=0.0001 does not help: ")


@pytest.mark.parametrize("make", [Layers, lambda: SoftmaxRegression(3)])
def test_inputs_that_are_huge_are_to_be_scaled(make):
    found = examined(make(), Blobs(scale=1e20))
    assert found.cause == "inputs too large"
    assert "scale the inputs and targets" in found.edit
    assert "and the mean loss fell" in found.tried


@pytest.mark.parametrize(
    ("settings", "cause", "edit"),
    [
        ({"weight_decay": 1e3}, "weight decay too high", "weight_decay=0.001, a usual value."),
        ({"momentum": 3.0}, "momentum too high", "momentum=0.9, a usual value."),
    ],
)
def test_another_setting_of_the_optimizer_is_blamed_where_changing_it_helps(settings, cause, edit):
    model = Layers(lambda params: torch.optim.SGD(params, lr=0.1, **settings))
    found = examined(model, Blobs(), max_epochs=8)
    assert (found.cause, found.edit) == (cause, edit)
    assert "and the mean loss fell" in found.tried


def test_a_loss_that_falls_without_end_is_no_matter_of_the_rate():
    class Wrong(LinearRegression):
        def loss(self, y_hat, y):
            return -F.mse_loss(y_hat, y)

    found = examined(Wrong(1.0), regression(), max_epochs=8)
    assert found.cause == "loss without a bound"
    assert "look at the sign of the loss" in found.edit


def test_where_nothing_that_is_tried_helps_it_is_said():
    class Grows(LinearRegression):
        def training_step(self, batch):
            big = 10.0**self.trainer.train_batch_idx
            loss = self.loss(self(*batch[:-1]), batch[-1]) * torch.tensor(big)
            self.plot("loss", loss, train=True)
            return loss.sum() + (big * self.net.weight).pow(2).sum()

    found = examined(Grows(0.1), regression(), max_epochs=8)
    assert found.tried.startswith("Training with ")
    assert "does not help" in found.tried
    assert found.edit.startswith(
        "nothing that was tried helps. Look at the numbers that are given to `"
    )
