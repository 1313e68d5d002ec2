import math
import warnings
from types import SimpleNamespace

import pytest
import torch

from gradbook.errors import ConfigError, DivergenceWarning, GradbookWarning
from gradbook.history import History
from gradbook.record import Metric


def recorded(*epochs, weights=None):
    """A history of epochs, each a dictionary from labels to the values of its batches."""
    history = History()
    for epoch, values in enumerate(epochs, start=1):
        for label, batches in values.items():
            for i, value in enumerate(batches):
                history.add(label, i, value)
        history.close_epoch(epoch, weights or {})
    return history


def test_a_history_is_a_sequence_of_epochs():
    history = recorded({"train_loss": [2.0, 4.0]}, {"train_loss": [1.0]})
    assert len(history) == 2
    assert history[-1] == {"epoch": 2, "train_loss": 1.0}
    assert [row["train_loss"] for row in history] == [3.0, 1.0]


def test_a_ragged_last_batch_counts_by_its_size():
    history = recorded(
        {"train_loss": [1.0, 1.0, 7.0], "val_acc": [0.0, 1.0]},
        weights={"train": [4, 4, 2], "val": [3, 1]},
    )
    assert history[0]["train_loss"] == pytest.approx((4 + 4 + 14) / 10)
    assert history[0]["val_acc"] == pytest.approx(0.25)


def test_the_end_of_an_epoch_gives_its_means_as_metrics():
    history = History()
    history.add("val_loss", 1, torch.tensor(2.0))
    assert history.close_epoch(1, {}) == [Metric("val_loss", 1, 2.0, kind="epoch")]


def test_an_epoch_in_which_nothing_was_recorded_has_no_row():
    assert recorded({}).rows == []


def test_an_epoch_does_not_see_the_values_of_the_one_before():
    history = recorded({"train_loss": [100.0]}, {"val_loss": [1.0]})
    assert history[1] == {"epoch": 2, "val_loss": 1.0}


def test_the_best_loss_is_the_lowest():
    history = recorded({"val_loss": [3.0]}, {"val_loss": [1.0]}, {"val_loss": [2.0]})
    assert history.best("val_loss")["epoch"] == 2


def test_the_best_accuracy_is_the_highest():
    history = recorded({"val_acc": [0.3]}, {"val_acc": [0.9]}, {"val_acc": [0.2]})
    assert history.best("val_acc")["epoch"] == 2


def test_the_best_is_never_a_value_that_is_not_finite():
    with pytest.warns(GradbookWarning):
        history = recorded({"val_acc": [math.nan]}, {"val_acc": [0.1]})
    assert history.best("val_acc")["epoch"] == 2


def test_there_is_no_best_of_what_was_not_recorded():
    assert recorded({"val_loss": [1.0]}).best("val_acc") is None


def test_a_history_prints_as_a_table():
    text = repr(recorded({"train_loss": [2.0]}, {"train_loss": [1.0], "val_acc": [0.5]}))
    header, first, second = text.splitlines()
    assert header.split() == ["epoch", "train_loss", "val_acc"]
    assert first.split() == ["1", "2", "nan"]
    assert second.split() == ["2", "1", "0.5"]
    assert repr(History([{"epoch": 12345, "val_acc": 0.5}])).split()[2:] == ["12345", "0.5"]


def opened(steps=4):
    history = History()
    history.open(None, SimpleNamespace(num_train_batches=steps))
    return history


@pytest.mark.parametrize(("first", "place"), [(2, "step 3 (epoch 1)"), (4, "step 5 (epoch 2)")])
def test_divergence_names_the_step_and_the_epoch_both_counted_from_1(first, place):
    history = opened()
    for step in range(6):
        history.add("train_loss", step / 4, 1.0 if step < first else math.nan)
    history.write(Metric("train_loss", 0.5, math.nan))
    assert history.diverged == f"train_loss at {place}"


def test_divergence_in_validation_names_the_epoch():
    history = opened()
    history.add("val_loss", 2, math.nan)
    history.write(Metric("val_loss", 2, math.nan))
    assert history.undefined == {"val_loss": "in the validation of epoch 2"}


@pytest.mark.parametrize(
    ("other", "where"), [(math.inf, "in the validation of epoch 2"), (1.0, "")]
)
def test_a_validation_loss_that_is_lost_in_every_batch_is_divergence(other, where):
    history = opened()
    history.add("val_loss", 1, 0.5)
    history.close_epoch(1, {})
    for value in (math.nan, other):
        history.add("val_loss", 2, value)
    history.close_epoch(2, {})
    assert history.diverged == (f"val_loss {where}" if where else None)


def test_a_validation_loss_is_judged_when_all_batches_are_known():
    history = History()
    history.open(None, SimpleNamespace(num_train_batches=4, num_val_batches=2))
    history.add("val_loss", 1, math.nan)
    history.write(Metric("val_loss", 1, math.nan))
    assert not history.undefined
    history.add("val_loss", 1, 0.5)
    history.close_epoch(1, {})
    assert history.undefined == {"val_loss": "in the validation of epoch 1"}
    assert history.diverged is None


def test_divergence_of_a_value_that_was_only_written_is_reported_too():
    history = opened()
    history.write(Metric("loss", 0, math.inf))
    assert history.diverged == "loss during training"


@pytest.mark.parametrize("label", ["val_f1", "train_acc", "norm"])
@pytest.mark.parametrize(("value", "told"), [(math.nan, "NaN"), (math.inf, "infinite")])
def test_a_value_that_is_no_loss_is_no_divergence_and_is_told_once(label, value, told):
    history = opened()
    with pytest.warns(GradbookWarning, match=f"{label} became {told} during") as seen:
        history.write(Metric(label, 1, value))
    history.write(Metric(label, 2, value))  # a warning here would be an error
    assert not issubclass(seen[0].category, DivergenceWarning)
    assert history.diverged is None
    assert history.undefined == {label: "during training"}


@pytest.mark.parametrize("label", ["train_loss", "train_nll", "mse", "train_kl_loss"])
def test_a_training_loss_by_any_name_is_divergence(label):
    history = opened()
    history.write(Metric(label, 1, math.nan))
    assert history.diverged == f"{label} during training"


def test_a_validation_loss_alone_is_no_divergence():
    history = opened()
    history.add("val_loss", 2, math.nan)
    history.write(Metric("val_loss", 2, math.nan))
    assert history.diverged is None
    assert history.undefined == {"val_loss": "in the validation of epoch 2"}


def test_the_first_divergence_is_kept_and_nothing_is_said_of_it_yet():
    history = opened()
    history.write(Metric("train_loss", 0, math.nan))  # a warning here would be an error
    history.write(Metric("train_loss", 1, math.nan))
    history.write(Metric("val_loss", 1, math.nan))
    assert history.diverged.startswith("train_loss")


def test_finite_values_are_written_in_silence():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened().write(Metric("train_loss", 0, 1e30))


# Values beside the means


def test_a_value_can_be_noted_for_an_epoch_that_is_closed():
    history = recorded({"train_loss": [2.0]})
    assert history.note(1, "lr", 0.1) == Metric("lr", 1, 0.1, kind="epoch")
    assert history.rows == [{"epoch": 1, "train_loss": 2.0, "lr": 0.1}]


def test_a_value_can_be_noted_for_an_epoch_in_which_nothing_was_recorded():
    history = recorded({"train_loss": [2.0]})
    history.note(2, "lr", 0.1)
    assert history[-1] == {"epoch": 2, "lr": 0.1}


# How a history is looked at

TWO = [{"epoch": 1, "train_loss": 2.0}, {"epoch": 2, "train_loss": 1.0, "val_acc": 0.5}]


def test_epochs_may_be_there_already():
    history = History(TWO)
    history.rows[0]["train_loss"] = 0.0
    assert len(history) == 2
    assert TWO[0]["train_loss"] == 2.0


def test_labels_come_in_the_order_in_which_they_were_recorded():
    assert History(TWO).labels == ["train_loss", "val_acc"]
    assert History().labels == []


def test_a_notebook_shows_the_table_that_is_printed():
    history = History(TWO)
    html = history._repr_html_()
    cells = [line.split() for line in repr(history).splitlines()]
    plain = html.replace(' style="text-align: right"', "")
    assert plain.startswith("<table><thead><tr><th>epoch</th><th>train_loss</th><th>val_acc</th>")
    for line in cells[1:]:
        assert "<tr>" + "".join(f"<td>{cell}</td>" for cell in line) + "</tr>" in plain


def test_a_label_is_no_markup_in_a_notebook():
    assert ">a&lt;b</th>" in History([{"epoch": 1, "a<b": 1.0}])._repr_html_()


def test_a_notebook_is_told_that_no_epoch_is_finished():
    assert History()._repr_html_() == "<p>History: no finished epoch</p>"


def test_a_data_frame_has_a_row_for_each_epoch():
    frame = History(TWO).to_pandas()
    assert frame.index.name == "epoch"
    assert frame.index.tolist() == [1, 2]
    assert frame["train_loss"].tolist() == [2.0, 1.0]
    assert frame["val_acc"].isna().tolist() == [True, False]


def test_a_data_frame_without_an_epoch_is_empty():
    frame = History().to_pandas()
    assert frame.empty
    assert frame.index.name == "epoch"


def test_a_history_draws_everything_unless_told_otherwise():
    history = History(TWO)
    assert [line.get_label() for line in history.plot().lines] == ["train_loss", "val_acc"]
    assert [line.get_label() for line in history.plot("val_acc").lines] == ["val_acc"]


def test_a_history_draws_on_given_axes():
    axes = History(TWO).plot()
    assert History(TWO).plot("val_acc", axes=axes) is axes
    assert len(axes.lines) == 3


@pytest.mark.parametrize(
    ("rows", "known"), [(TWO, "There are train_loss, val_acc"), ([], "There are no values yet")]
)
def test_a_label_that_was_not_recorded_cannot_be_drawn(rows, known):
    with pytest.raises(ConfigError, match=rf"'val_ac' was not recorded\..*{known}"):
        History(rows).plot("val_ac")


def test_a_label_that_was_not_recorded_gets_a_hint():
    with pytest.raises(KeyError, match=r"recorded are epoch, val_acc.*Did you mean 'val_acc'"):
        History([{"epoch": 1, "val_acc": 0.5}])["val_accuracy"]
