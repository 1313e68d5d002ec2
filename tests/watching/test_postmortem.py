"""Post-mortems: what they say, and healthy trainings left alone."""

import math
import random

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from tests.watching.trainings import Blobs, BookSoftmax, Passing, examined, fit, regression
from torch import nn

from gradbook import (
    MLP,
    LinearRegression,
    LinearRegressionScratch,
    MLPScratch,
    Sink,
    SoftmaxRegressionScratch,
    Trainer,
)
from gradbook.errors import DivergenceWarning, GradbookWarning
from gradbook.watching import postmortem

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def repeated_from_the_beginning(monkeypatch):
    """No state is kept later, however slow the machine is."""
    monkeypatch.setattr(postmortem, "_INTERVAL_SECONDS", math.inf)


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


@pytest.mark.parametrize(
    ("make", "data"),
    [(BookSoftmax, lambda: Blobs(scale=1e4)), (lambda: LinearRegression(3.0), regression)],
)
def test_a_divergence_is_warned_of_once_with_its_cause_and_its_edit(make, data):
    trainer, texts = warned(make(), data())
    assert texts == [trainer.postmortem.sentence]
    assert list(trainer.findings) == texts


def test_the_warning_comes_at_the_end_of_the_training():
    heard = []

    class Listens(Sink):
        def end_epoch(self, trainer):
            heard.append((trainer.epoch, len(seen)))

    torch.manual_seed(0)
    trainer = Trainer(max_epochs=4, display="off", sinks=[Listens()])
    with pytest.warns(DivergenceWarning) as seen:
        trainer.fit(BookSoftmax(), Blobs(scale=1e4))
    assert heard == [(0, 0), (1, 0), (2, 0), (3, 0)]
    assert len(seen) == 1


def test_a_training_that_is_ended_before_the_cause_is_known_says_where_it_diverged():
    class Ends(Passing):
        """Its data end with an error in the middle of the first epoch."""

        def one_pass(self, batches):
            yield from batches[:6]
            raise KeyboardInterrupt

    model = BookSoftmax()
    model.plot_train_per_epoch = 4
    torch.manual_seed(0)
    trainer = Trainer(max_epochs=2, display="off")
    with pytest.warns(DivergenceWarning) as seen, pytest.raises(KeyboardInterrupt):
        trainer.fit(model, Ends(scale=1e4))
    assert [str(warning.message) for warning in seen] == [
        "train_loss became NaN or infinite at step 1 (epoch 1). The training ended before the "
        "cause was looked for, which is done at the end of an epoch."
    ]


def test_a_rate_too_high_is_proposed_a_smaller_one():
    trainer, _ = warned(LinearRegression(3.0), regression())
    assert "likely cause: the learning rate is too high. To try: lr=0.3" in trainer.findings[0]


def test_parameters_that_overflow_in_the_last_step_are_warned_of():
    class LastStep(Blobs):
        def get_dataloader(self, train):
            return self.get_tensorloader((self.X[:16], self.y[:16]), train) if train else None

    torch.manual_seed(0)
    trainer = Trainer(max_epochs=1, display="off")
    with pytest.warns(DivergenceWarning, match="in the optimizer's update") as seen:
        trainer.fit(SoftmaxRegressionScratch(4, 3, lr=3e38), LastStep(scale=30))
    assert len(seen) == 1
    assert trainer.history.diverged == "the parameter W at the end of epoch 1"
    assert trainer.status == "diverged"


class NoLabels(MLP):
    """In its second epoch a batch of the validation has no valid label."""

    def validation_step(self, batch):
        is_first = self.trainer.val_batch_idx == self.trainer.num_val_batches
        y = torch.full_like(batch[1], -100) if is_first else batch[1]
        self.plot("loss", torch.nn.functional.cross_entropy(self(batch[0]), y), train=False)


def test_a_validation_loss_that_is_not_defined_is_explained_and_the_training_has_finished():
    torch.manual_seed(0)
    trainer = Trainer(max_epochs=4, display="off")
    with pytest.warns(DivergenceWarning) as seen:
        trainer.fit(NoLabels(3, 16), Blobs())
    assert (trainer.status, trainer.history.diverged) == ("finished", None)
    assert [str(warning.message) for warning in seen] == [trainer.postmortem.sentence]
    assert trainer.postmortem.cause == "too few numbers"
    assert "in the validation of epoch 2" in trainer.findings[0]


def test_a_training_that_diverges_later_is_examined_once_more():
    class Both(NoLabels):
        def loss(self, y_hat, y):
            late = self.training and self.trainer.epoch == 3
            return super().loss(y_hat, y) * (math.nan if late else 1)

    torch.manual_seed(0)
    trainer = Trainer(max_epochs=4, display="off")
    with pytest.warns(DivergenceWarning):
        trainer.fit(Both(3, 16), Blobs())
    assert trainer.status == "diverged"
    assert (trainer.postmortem.what, trainer.postmortem.epoch) == ("train_loss", 4)


def test_a_metric_without_a_value_does_not_hide_where_the_loss_went_wrong():
    class Undefined(MLP):
        def training_step(self, batch):
            self.plot("f1", math.nan, train=True)
            return super().training_step(batch) * (math.nan if self.trainer.epoch == 1 else 1)

    torch.manual_seed(0)
    trainer = Trainer(max_epochs=2, display="off")
    with pytest.warns(GradbookWarning):
        trainer.fit(Undefined(3, 16), Blobs())
    assert trainer.postmortem.epoch == 2


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
    assert lines[1].endswith("trainings.py, `E = torch.exp(X @ self.W + self.b)`.")
    assert lines[2].startswith("At that step the learning rate was 0.1 and the largest number in ")
    assert lines[3].startswith(
        "Likely cause: an exponential overflows. The argument of `exp` reached "
    )
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


def test_a_first_step_that_has_no_finite_value_is_drawn_without_a_scale():
    loss, norm = examined(BookSoftmax(), Blobs(scale=1e4)).figure().axes
    for panel in (loss, norm):
        assert [text.get_text() for text in panel.texts] == ["no finite value"]
        assert not panel.get_yticks().size
    assert norm.get_xlim() == (0, 2)


def test_what_was_not_repeated_is_drawn_empty():
    found = postmortem.PostMortem("train_loss", "unknown", "No reason.", "less.")
    assert len(found.figure().axes) == 2
    assert "Likely cause: not known. No reason." in str(found)


def test_without_a_repetition_no_rate_beyond_the_usual_ones_is_proposed(monkeypatch):
    monkeypatch.setattr(postmortem, "state_of", lambda trainer: 1 / 0)
    found = examined(LinearRegression(3e9), regression())
    assert found.cause == "unknown"
    assert found.edit.startswith("lr=0.1, a usual rate for gradient descent; ")
