"""Post-mortems: each cause injected into several models, and healthy trainings left alone."""

import math
import random
import warnings

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn
from torch.nn import functional as F

from d2l import torch as d2l
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
    SyntheticRegressionData,
    Trainer,
)
from gradbook.errors import DivergenceWarning
from gradbook.watching import postmortem


def regression(**kwargs):
    torch.manual_seed(0)
    settings = {"num_train": 256, "num_val": 64, **kwargs}
    return SyntheticRegressionData(torch.tensor([2, -3.4]), 4.2, **settings)


@pytest.fixture(autouse=True)
def repeated_from_the_beginning(monkeypatch):
    """No state is kept later, however slow the machine is."""
    monkeypatch.setattr(postmortem, "_INTERVAL_SECONDS", math.inf)


class Blobs(DataModule):
    """Three clouds of points."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.batch_size = 16
        generator = torch.Generator().manual_seed(1)
        self.y = torch.arange(128) % 3
        self.X = scale * (torch.randn(128, 4, generator=generator) + 2 * torch.eye(4)[self.y])

    def get_dataloader(self, train):
        return self.get_tensorloader((self.X, self.y), train)


class BookSoftmax(Classifier):
    """Softmax regression as the book writes it: nothing is taken off before the exponential."""

    def __init__(self, lr=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.W = torch.normal(0, 0.01, (4, 3), requires_grad=True)
        self.b = torch.zeros(3, requires_grad=True)

    def forward(self, X):
        E = torch.exp(X @ self.W + self.b)
        return E / E.sum(1, keepdim=True)

    def loss(self, y_hat, y):
        return -torch.log(y_hat[range(len(y_hat)), y]).mean()


def fit(model, data, max_epochs=4, seed=0, **kwargs):
    torch.manual_seed(seed)
    trainer = Trainer(max_epochs=max_epochs, display="off", **kwargs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DivergenceWarning)
        trainer.fit(model, data)
    return trainer


def examined(model, data, **kwargs):
    found = fit(model, data, **kwargs).postmortem
    assert found is not None
    return found


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
def test_a_rate_too_high_is_recognised_and_the_proposed_one_trains(make, data, times):
    rate = max(times, 1) * 3.0 if data is regression else times * 1e4
    found = examined(make(rate), data(), max_epochs=8)
    assert (found.cause, found.phase, found.lr) == ("rate too high", "forward", rate)
    assert "The gradient norm grew by a factor of" in found.reason
    proposed = float(found.edit.partition("lr=")[2].partition(",")[0])
    assert proposed <= rate / 10
    trainer = fit(make(proposed), data(), max_epochs=8)
    assert trainer.status == "finished"
    assert trainer.postmortem is None


def test_the_proposed_rate_is_a_tenth_where_that_is_enough():
    found = examined(LinearRegression(3.0), regression(), max_epochs=8)
    assert found.edit == "lr=0.3, a tenth of 3."


def test_an_update_that_overflows_is_the_rate_s_fault():
    model = SoftmaxRegressionScratch(4, 3, lr=3e38)
    found = examined(model, Blobs(scale=30), max_epochs=1)
    assert (found.phase, found.cause, found.step) == ("update", "rate too high", 1)
    assert found.what.startswith("the parameter ")


def test_the_step_is_the_one_at_which_the_same_loop_by_hand_meets_it():
    data = regression()
    model = LinearRegressionScratch(2, 3.0)
    w, b = model.w.detach().clone(), model.b.detach().clone()
    trainer = fit(model, data, max_epochs=8)

    torch.manual_seed(0)
    step, norms = 0, []
    while True:
        for X, y in data.train_dataloader():
            step += 1
            error = X @ w + b - y
            norms.append(math.hypot(*(X.T @ error / len(X)).flatten(), error.mean()))
            if not (error**2 / 2).mean().isfinite():
                break
            w, b = w - 3.0 * X.T @ error / len(X), b - 3.0 * error.mean()
        else:
            continue
        break
    found = trainer.postmortem
    assert (found.step, found.epoch) == (step, (step - 1) // 8 + 1)
    assert found.steps[-1].gradient_norm == pytest.approx(norms[-2], rel=1e-4)
    assert found.steps[-1].step == step - 1
    assert f"at step {step} " in trainer.history.diverged


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


class Normed(LinearRegression):
    """A penalty whose derivative is not defined at the beginning."""

    def loss(self, y_hat, y):
        moved = self.net.weight - self.net.weight.detach()
        return F.mse_loss(y_hat, y) + self.length(moved)

    def length(self, moved):
        return torch.sqrt((moved**2).sum())


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


def test_a_mask_of_infinities_is_not_taken_for_the_cause():
    class Attention(Classifier):
        def __init__(self):
            super().__init__()
            self.lr = 0.1
            self.net = nn.LazyLinear(3)

        def forward(self, X):
            mask = torch.zeros(4).masked_fill(torch.arange(4) == 3, -math.inf)
            return self.net(X * (X + mask).softmax(dim=1)) * torch.exp(100 + self.net.bias)

    found = examined(Attention(), Blobs())
    assert (found.cause, found.operation) == ("exp overflow", "exp")


def test_what_is_no_number_is_followed_before_what_is_infinite():
    class Masked(Classifier):
        def __init__(self):
            super().__init__()
            self.lr = 0.1
            self.net = nn.LazyLinear(3)

        def forward(self, X):
            mask = torch.zeros(4).masked_fill(torch.arange(4) == 3, -math.inf)
            return self.net((torch.sqrt(-1 - X**2) + mask).softmax(dim=1))

    found = examined(Masked(), Blobs())
    assert (found.operation, found.phase) == ("sqrt", "forward")
    assert "64 of 64 arguments of `sqrt` are negative" in found.reason


def test_a_step_that_goes_wrong_by_chance_draws_the_same_numbers_again():
    class Chance(SoftmaxRegression):
        def training_step(self, batch):
            loss = super().training_step(batch)
            return loss / (torch.rand(1) > 0.1)

    found = examined(Chance(3), Blobs())
    assert (found.what, found.cause) == ("the loss", "division by zero")


def test_the_layer_is_named():
    class Exp(nn.Module):
        def forward(self, X):
            return torch.exp(X * 1000)

    class Net(Classifier):
        def __init__(self):
            super().__init__()
            self.lr = 0.1
            self.net = nn.Sequential(nn.LazyLinear(8), Exp(), nn.LazyLinear(3))

    found = examined(Net(), Blobs())
    assert (found.layer, found.operation) == ("net.1", "exp")
    assert "`exp` of layer net.1 in line" in str(found)


def test_a_later_epoch_is_repeated_from_its_own_beginning(monkeypatch):
    monkeypatch.setattr(postmortem, "_INTERVAL_SECONDS", 0.0)

    class Late(SoftmaxRegression):
        def training_step(self, batch):
            late = self.trainer.train_batch_idx == 19
            loss = self.loss(self(*batch[:-1]), batch[-1]) / (0.0 if late else 1.0)
            self.plot("loss", loss, train=True)
            return loss

    found = examined(Late(3), Blobs())
    assert (found.step, found.epoch, found.cause) == (20, 3, "division by zero")
    assert [step.step for step in found.steps] == [17, 18, 19]


# No alarm


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("make", "data"),
    [
        (lambda: LinearRegressionScratch(2), regression),
        (lambda: LinearRegression(), regression),
        (lambda: SoftmaxRegressionScratch(4, 3), Blobs),
        (lambda: SoftmaxRegressionScratch(4, 3, lr=1e4), Blobs),
        (lambda: BookSoftmax(), Blobs),
        (lambda: MLPScratch(4, 3, 16), Blobs),
        (lambda: MLP(3, 16), Blobs),
    ],
)
def test_a_healthy_training_gets_none(make, data, seed):
    trainer = Trainer(max_epochs=3, display="off")
    torch.manual_seed(seed)
    trainer.fit(make(), data())  # a warning would be an error
    assert trainer.postmortem is None
    assert not trainer.findings


def test_sixteen_bits_get_none():
    trainer = Trainer(max_epochs=3, display="off", precision="bf16-mixed")
    trainer.fit(MLP(3, 16), Blobs())
    assert trainer.postmortem is None


# What stays as it is


def state_of(model, trainer):
    tensors = [t.detach().clone() for t in (*model.parameters(), *model.buffers())]
    tensors += [p.grad.clone() for p in model.parameters()]
    numbers = (random.random(), np.random.rand(), torch.rand(1).item())
    modes = [layer.training for layer in model.modules()]
    hooks = [len(layer._forward_hooks) for layer in model.modules()]
    return tensors, numbers, modes, hooks, trainer.history.rows, model.board.data


class Noisy(MLP):
    """Draws random numbers and keeps statistics in every step."""

    def __init__(self, lr):
        super().__init__(3, 16, lr)
        self.net = nn.Sequential(nn.LazyLinear(16), nn.BatchNorm1d(16), nn.Dropout(), *self.net)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)


@pytest.mark.parametrize("max_epochs", [1, 3])
@pytest.mark.parametrize("make", [lambda: Noisy(1e9), lambda: MLPScratch(4, 3, 16, lr=1e4)])
def test_a_diverged_training_ends_as_without_the_post_mortem(make, max_epochs, monkeypatch):
    def end(watched):
        if not watched:
            monkeypatch.setattr("gradbook.watching.watchers", lambda watch: [])
        random.seed(3)
        np.random.seed(3)
        torch.manual_seed(3)
        model = make()
        trainer = fit(model, Blobs(), max_epochs, seed=4)
        assert (trainer.postmortem is not None) == watched
        return state_of(model, trainer)

    first, second = end(watched=True), end(watched=False)
    for one, other in zip(first[0], second[0], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
    assert repr(first[1:]) == repr(second[1:])


def test_a_learner_s_hooks_hear_of_the_training_only():
    model, calls = MLPScratch(4, 3, 16, lr=1e4), []
    model.register_forward_hook(lambda *_: calls.append(1))
    fit(model, Blobs(), max_epochs=2)
    rehearsals, batches = 2, 8
    assert len(calls) == rehearsals + 2 * (batches + batches)


def test_what_the_steps_print_is_not_printed_twice(capsys):
    class Talks(LinearRegression):
        def training_step(self, batch):
            print("step")
            return super().training_step(batch)

    found = examined(Talks(3.0), regression(), max_epochs=8)
    assert found.cause == "rate too high"
    assert capsys.readouterr().out == "step\n" * 8 * 8


# Other loops, other models


@pytest.mark.usefixtures("undo_patches")
def test_a_replaced_training_loop_is_repeated_as_it_is():
    @d2l.add_to_class(d2l.Trainer)
    def fit_epoch(self):
        self.model.train()
        for batch in self.train_dataloader:
            loss = self.model.training_step(self.prepare_batch(batch))
            self.optim.zero_grad()
            with torch.no_grad():
                loss.backward()
                self.optim.step()
            self.train_batch_idx += 1

    found = examined(BookSoftmax(), Blobs(scale=1e4))
    assert (found.cause, found.operation) == ("exp overflow", "exp")
    assert examined(Normed(0.01), regression()).operation == "SqrtBackward0"


class Lookalike:
    """A model that knows nothing of this library but what a trainer asks for."""

    def __init__(self, lr=3.0):
        self.lr, self.trainer = lr, None
        self.board = d2l.ProgressBoard(display=False)
        self.w = torch.zeros(2, 1, requires_grad=True)

    def parameters(self):
        return [self.w]

    def train(self):
        pass

    def eval(self):
        pass

    def training_step(self, batch):
        X, y = batch
        loss = ((X @ self.w - y) ** 2).mean()
        self.board.draw(self.trainer.train_batch_idx / 8, loss, "train_loss")
        return loss

    def validation_step(self, batch):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD([self.w], self.lr)


def test_a_model_that_only_looks_like_ours():
    found = examined(Lookalike(), regression(), max_epochs=8)
    assert (found.cause, found.phase) == ("rate too high", "forward")
    assert found.line.text == "loss = ((X @ self.w - y) ** 2).mean()"


def test_data_that_differ_each_time_are_said_to():
    class Once(Blobs):
        bad = [True]  # noqa: RUF012

        def get_dataloader(self, train):
            if not train:
                return super().get_dataloader(train)
            batches, bad = list(super().get_dataloader(train)), self.bad

            class Loader:
                def __len__(self):
                    return len(batches)

                def __iter__(self):
                    for i, (X, y) in enumerate(batches):
                        yield X * (bad.pop() * math.nan if i == 3 and bad else 1), y

            return Loader()

    trainer = fit(SoftmaxRegression(3), Once())
    found = trainer.postmortem
    assert (found.cause, found.step, found.phase) == ("unknown", None, None)
    assert "comes out differently each time" in found.reason
    assert found.what == trainer.history.diverged
    assert found.edit == "lr=0.01, a tenth of 0.1."


def test_an_error_of_the_repetition_is_told_and_not_raised(monkeypatch):
    def fail(*_):
        raise RuntimeError("no copy today")

    monkeypatch.setattr(postmortem, "_copy_of", fail)
    found = examined(LinearRegression(3.0), regression(), max_epochs=8)
    assert found.cause == "unknown"
    assert "RuntimeError: no copy today" in found.reason


def test_layers_without_a_shape_at_the_beginning_are_no_error():
    class Own(SoftmaxRegression):
        def training_step(self, batch):
            return super().training_step(batch) / 0

    found = examined(Own(3), Blobs())
    assert found.cause in ("unknown", "division by zero")


def test_a_repetition_ends_in_time(monkeypatch):
    monkeypatch.setattr(postmortem, "_LIMIT_SECONDS", 0.0)
    found = examined(LinearRegression(3.0), regression(), max_epochs=8)
    assert found.cause == "unknown"
    assert "took more than 0 seconds" in found.reason


def test_ctrl_c_within_it_is_passed_on(monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(postmortem._Repetition, "look", interrupt)
    torch.manual_seed(0)
    trainer = Trainer(max_epochs=8, display="off")
    with pytest.warns(DivergenceWarning), pytest.raises(KeyboardInterrupt):
        trainer.fit(LinearRegression(3.0), regression())
    assert trainer.status == "interrupted"


def test_a_second_training_starts_afresh():
    trainer = fit(LinearRegression(3.0), regression(), max_epochs=8)
    assert trainer.postmortem is not None
    trainer.fit(LinearRegression(0.03), regression())
    assert trainer.postmortem is None
    assert not trainer.findings


# Words and figure


def warned(model, data, **kwargs):
    trainer = Trainer(max_epochs=8, display="off", **kwargs)
    torch.manual_seed(0)
    with pytest.warns(DivergenceWarning) as seen:
        trainer.fit(model, data)
    return trainer, [str(warning.message) for warning in seen]


def test_a_cause_that_was_not_guessed_is_warned_of_once():
    trainer, texts = warned(BookSoftmax(), Blobs(scale=1e4))
    assert len(texts) == 2
    assert texts[1] == trainer.postmortem.sentence
    assert list(trainer.findings) == [texts[1]]


def test_a_rate_too_high_was_warned_of_before():
    trainer, texts = warned(LinearRegression(3.0), regression())
    assert len(texts) == 1
    assert "likely cause: rate too high. To try: lr=0.3" in trainer.findings[0]


def test_parameters_that_overflow_in_the_last_step_are_warned_of():
    class LastStep(Blobs):
        def get_dataloader(self, train):
            return self.get_tensorloader((self.X[:16], self.y[:16]), train) if train else None

    torch.manual_seed(0)
    trainer = Trainer(max_epochs=1, display="off")
    with pytest.warns(DivergenceWarning, match="in the optimizer's update") as seen:
        trainer.fit(SoftmaxRegressionScratch(4, 3, lr=3e38), LastStep(scale=30))
    assert len(seen) == 1
    assert trainer.history.diverged is None


def test_the_findings_stand_before_the_recorder_closes():
    heard = []

    class Listens(Sink):
        def open(self, board, trainer=None):
            self.trainer = trainer

        def close(self, status):
            heard.append((status, list(self.trainer.findings)))

    trainer = fit(LinearRegression(3.0), regression(), max_epochs=8, sinks=[Listens()])
    assert heard == [("diverged", list(trainer.findings))]


def test_the_words_say_what_when_where_why_and_what_to_try():
    lines = str(examined(BookSoftmax(), Blobs(scale=1e4))).splitlines()
    assert lines[0] == "train_loss became NaN or infinite at step 1 (epoch 1), in the forward pass."
    assert lines[1].startswith("Where: `exp` in line ")
    assert lines[1].endswith("test_postmortem.py, `E = torch.exp(X @ self.W + self.b)`.")
    assert lines[2].startswith("Then: the learning rate was 0.1, ")
    assert lines[3].startswith("Likely cause: exp overflow. The argument of `exp` reached ")
    assert lines[4].startswith("To try: take the largest of each row off first")


def test_the_gradient_norm_is_the_last_finite_one():
    found = examined(BookSoftmax(lr=100), Blobs())
    assert not math.isfinite(found.at.gradient_norm) or math.isnan(found.at.loss)
    assert found.gradient_norm == found.steps[-1].gradient_norm


def test_the_figure_shows_losses_and_gradients_up_to_the_step():
    found = examined(LinearRegression(3.0), regression(), max_epochs=8)
    figure = found.figure()
    assert isinstance(figure, Figure)
    loss, norm = figure.axes
    assert loss.lines[0].get_ydata().tolist() == [step.loss for step in found.steps]
    assert norm.lines[0].get_xdata().tolist()[-1] == found.step
    assert loss.lines[1].get_xdata()[0] == found.step
    assert (loss.get_yscale(), norm.get_xlabel()) == ("log", "step")


def test_what_was_not_repeated_is_drawn_empty():
    found = postmortem.PostMortem("train_loss", "unknown", "No reason.", "less.")
    assert len(found.figure().axes) == 2
    assert "Likely cause: not known. No reason." in str(found)
