"""What a training says when it ends, in Python."""

import pickle
import re

import pytest
import torch
from tests.small import Always
from torch import nn

import gradbook
from gradbook import Classifier, LinearRegression, SyntheticRegressionData, Trainer
from gradbook.data import GivenData
from gradbook.errors import DivergenceWarning, GradbookWarning
from gradbook.interrupts import show_instead
from gradbook.runs import ending

pytestmark = pytest.mark.usefixtures("blank_figures")


class Net(Classifier):
    """Does in its third epoch what it is told."""

    def __init__(self, lr=0.1, at_third=None):
        super().__init__()
        self.save_hyperparameters(ignore=["at_third"])
        self.at_third = at_third
        self.net = nn.Linear(6, 3)

    def training_step(self, batch):
        if self.trainer.epoch == 2 and self.at_third is not None:
            self.at_third(self.trainer)
        return super().training_step(batch)


def press(trainer):
    """Ctrl-C, which waits for the step's end."""
    trainer.training.interrupts._pending = 2


def stop_at_once(trainer):
    raise KeyboardInterrupt


def fail(trainer):
    raise ZeroDivisionError("by hand")


@pytest.fixture
def said(capsys):
    """Trains, and returns what is said after the epochs, and what ended the training early."""

    def train(model=None, data=None, epochs=3, display="lines", resume=None, **settings):
        stop, trainer = None, Trainer(epochs, display=display, **settings)
        try:
            trainer.fit(model or Net(), data or Always(), resume=resume)
        except (KeyboardInterrupt, ZeroDivisionError) as error:
            stop = error
        text = capsys.readouterr().out
        return re.sub(r"^(epoch|curves:) .*\n", "", text, flags=re.MULTILINE), stop, trainer

    return train


def test_it_says_how_far_it_came_and_what_it_reached(said):
    text, _, trainer = said()
    last, best = trainer.history[-1], trainer.history.best("val_acc")
    assert "\nNet on Always: finished, 3 of 3 epochs\n" in text
    row = re.search(r"val_acc +(\S+) +(\S+) \(epoch (\d)\)", text)
    assert row.groups() == (
        f"{last['val_acc']:.4g}",
        f"{best['val_acc']:.4g}",
        str(best["epoch"]),
    )


def test_it_says_the_verdict_and_what_can_be_looked_at(said):
    text, _, trainer = said()
    flat = re.sub(r"\n {12}", " ", text)
    assert f"\n  verdict   {gradbook.verdict(trainer).sentence}\n" in flat
    assert "\n  next      trainer.history, gradbook.inspection.inspect(model, data)\n" in text


def test_its_lines_fit_into_a_terminal_of_80_columns(said):
    assert max(map(len, said()[0].splitlines())) <= 80


def test_a_run_is_named_with_its_curve(said):
    text, _, _ = said(run="runs")
    assert text.endswith("\n  run       runs/net-1\n  curve     runs/net-1/curve.png\n")


@pytest.mark.parametrize("run", [None, "runs"])
def test_without_a_display_it_says_nothing(said, run):
    assert said(display="off", run=run)[0] == ""


@pytest.mark.slow
def test_below_a_chart_it_says_why_the_last_values_differ(said):
    assert ending.CHART_AND_TABLE in re.sub(r"\n +", " ", said(display="terminal")[0])
    assert ending.CHART_AND_TABLE not in re.sub(r"\n +", " ", said()[0])


def test_data_without_a_class_of_their_own_have_no_name(said):
    data = Always()
    assert "\nNet: finished" in said(data=GivenData((data.X, data.y)))[0]


def test_a_training_that_is_resumed_sums_up_all_of_it(said):
    said(Net(at_third=press), epochs=4, run="runs")
    text, _, trainer = said(epochs=4, run="runs", resume="runs/net-1")
    assert "finished, 4 of 4 epochs" in text
    assert len(trainer.history) == 4
    assert "runs/net-1\n" in text


# Diverged


def regression():
    """Data on which a linear regression with a rate of 1e30 diverges."""
    return SyntheticRegressionData(torch.tensor([2.0, -3.4]), 4.2, num_train=64, num_val=32)


def test_a_divergence_shows_its_post_mortem_and_the_warning_only_names_it(said):
    with pytest.warns(DivergenceWarning) as seen:
        text, _, trainer = said(LinearRegression(lr=1e30), regression())
    flat = " ".join(text.split())
    assert "diverged, 3 of 3 epochs" in flat
    assert " ".join(trainer.postmortem.words.split()) in flat
    assert "next trainer.history, trainer.postmortem" in flat
    assert flat.count("became NaN or infinite at step") == 1
    assert "verdict diverged noticed" in flat
    assert str(seen[0].message).endswith("The post-mortem says why.")


def test_without_a_display_the_warning_tells_the_post_mortem():
    trainer = Trainer(3)
    with pytest.warns(DivergenceWarning) as seen:
        trainer.fit(LinearRegression(lr=1e30), regression())
    assert str(seen[0].message) == trainer.postmortem.sentence


# Interrupted and failed


def test_an_interrupted_training_says_how_it_is_resumed(said):
    text, stop, _ = said(Net(at_third=press), epochs=4, run="runs")
    assert type(stop) is KeyboardInterrupt
    assert "interrupted, 2 of 4 epochs and 1 of 3 batches of the next" in text
    assert text.endswith("\n  resume    trainer.fit(model, data, resume='runs/net-1')\n")


def test_without_a_run_it_says_how_the_training_can_be_kept_and_that_works(said):
    model = Net(at_third=press)
    text, _, trainer = said(model, epochs=4)
    kept, resumed = [line[12:] for line in text.splitlines()[-2:]]
    assert "  next      " not in text
    model.at_third = None
    exec(kept, {"trainer": trainer})
    exec(resumed, {"trainer": trainer, "model": model, "data": Always()})
    assert len(trainer.history) == 4


def test_what_cannot_be_resumed_to_the_bit_is_not_said_to_be(said):
    text, stop, _ = said(Net(at_third=stop_at_once), epochs=4)
    assert "interrupted, 2 of 4 epochs\n" in text
    assert "resume" not in text
    assert stop._render_traceback_() == [
        "Training was interrupted. The model keeps what it has learned."
    ]


@pytest.mark.parametrize("display", ["lines", "off"])
@pytest.mark.parametrize("interrupt", [press, stop_at_once])
def test_a_notebook_gets_the_same_in_place_of_a_traceback(said, display, interrupt):
    _, stop, _ = said(Net(at_third=interrupt), epochs=4, run="runs", display=display)
    assert stop._render_traceback_() == [
        "Training was interrupted. The model keeps what it has learned, and runs/net-1 keeps the "
        "run.",
        "To resume it:",
        "trainer.fit(model, data, resume='runs/net-1')",
    ]


def test_an_interrupt_with_its_words_goes_from_process_to_process():
    stop = KeyboardInterrupt()
    show_instead(stop, "a", "b")
    assert pickle.loads(pickle.dumps(stop))._render_traceback_() == ["a", "b"]


def test_a_training_that_fails_says_what_is_kept(said):
    text, stop, _ = said(Net(at_third=fail), run="runs")
    assert type(stop) is ZeroDivisionError
    assert not hasattr(stop, "_render_traceback_")
    assert "\nNet on Always: failed, 2 of 3 epochs\n" in text
    assert text.endswith("\n  resume    trainer.fit(model, data, resume='runs/net-1')\n")


def test_what_fails_before_anything_was_recorded_has_no_summary(said):
    class Early(Net):
        def training_step(self, batch):
            raise ZeroDivisionError("by hand")

    assert said(Early())[0] == ""


def test_a_fault_in_the_summary_does_not_lose_the_model(said, monkeypatch):
    def broken(training):
        raise RuntimeError("odd")

    monkeypatch.setattr(ending, "verdict", broken)
    with pytest.warns(GradbookWarning, match="cannot be summed up.*RuntimeError: odd"):
        _, _, trainer = said()
    assert trainer.status == "finished"


# In a notebook


def test_in_a_notebook_it_is_html_whose_lines_the_page_breaks(said):
    summary = ending.Summary.of(said()[2], "<b>", "finished", beside_chart=True)
    html = summary._repr_html_()
    assert "&lt;b&gt;: finished, 3 of 3 epochs" in html
    assert "<table>" in html
    assert "white-space: pre-wrap" in html
    assert dict(summary.rows)["verdict"] in html
