"""`gradbook show`."""

import json
import math
import re

import pytest
from tests.runs.folders import STARTED, facts_of, make_run, metrics_of

from gradbook.cli import main
from gradbook.record import Metric


@pytest.fixture
def shown(capsys):
    """Runs `gradbook show` and returns what it printed."""

    def show(*arguments, code=0):
        assert main(["show", *(arguments or ["mlp-1"])]) == code
        return capsys.readouterr().out

    return show


def test_the_first_line_says_how_it_ended(shown):
    make_run()
    assert shown().splitlines()[0] == "mlp-1: finished, 3 of 3 epochs, 12.5 seconds"


def test_the_configuration_is_shown(shown):
    make_run(git={"commit": "1a2b3c4", "dirty": True})
    told = shown()
    for text in (
        "repeat     gradbook train mlp --lr 0.1 --seed 1\n",
        "model      mlp (gradbook.models.mlp.MLP), 203,530 parameters\n",
        "num_hiddens 256, lr 0.1",
        "10,000 validation examples, from system",
        "trainer    max_epochs 3",
        "optimizer  gradbook.optim.SGD, lr 0.1",
        "seed       1\n",
        "device     cpu\n",
        "git        1a2b3c4, with changes that were not committed",
        "torch 2.6.0",
    ):
        assert text in told


def test_it_is_told_how_many_processes_began_it(shown):
    make_run(num_processes=2)
    assert "\ndevice     cpu, 2 processes when it began\n" in shown()


def test_the_curve_has_a_verdict_and_the_findings_are_told(shown):
    make_run(findings=["Vanishing gradients in epoch 1."])
    told = shown()
    assert "\nverdict    cannot tell from 3 epochs" in told
    assert "\nnoticed    Vanishing gradients in epoch 1.\n" in told


def test_it_is_said_why_the_chart_and_the_table_end_with_other_values(shown):
    make_run()
    said = "\nThe chart shows means over parts of an epoch, the table over whole epochs.\n"
    told = shown()
    assert said in told
    assert told.index(said) < told.index("epoch  train_loss")


def test_what_is_not_known_is_left_out(shown):
    data = facts_of("a")["data"] | {"source": None, "num_train": None, "num_val": None}
    make_run(git=None, optimizer=None, command=None, data=data)
    told = shown()
    for name in ("git ", "optimizer", "repeat", "examples", "\n           from "):
        assert name not in told


def test_a_sample_is_told(shown):
    make_run(data=facts_of("a")["data"] | {"is_sample": True})
    assert "a sample only" in shown().replace("\n           ", " ")


@pytest.mark.parametrize("status", ["running", "interrupted", "failed"])
def test_a_run_that_was_stopped_says_how_to_go_on(shown, status):
    make_run(status=status)
    assert "resume     gradbook resume runs/mlp-1\n" in shown()


def test_a_run_that_was_stopped_before_its_first_checkpoint_cannot_go_on(shown):
    folder = make_run(status="running")
    (folder / "checkpoints/last.pt").unlink()
    assert "resume     not possible: it was stopped before" in shown()


@pytest.mark.parametrize("status", ["finished", "diverged"])
def test_a_run_that_ended_has_nothing_to_go_on_with(shown, status):
    make_run(status=status)
    assert "gradbook resume" not in shown()


def test_a_command_that_is_too_long_goes_on_after_a_backslash(shown, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    make_run(
        command=["train", "mlp", "--name", "a name; of many words", "--num-hiddens", "256,128"]
    )
    assert (
        "repeat     gradbook train mlp \\\n           --name 'a name; of many words' \\\n"
        "           --num-hiddens 256,128\n" in shown()
    )


def test_which_epoch_the_best_checkpoint_is_of_is_shown(shown):
    make_run(best_checkpoint={"label": "val_acc", "epoch": 3, "value": 0.80833})
    assert "best.pt    of epoch 3, by val_acc 0.8083\n" in shown()


def test_why_it_failed_is_shown(shown):
    make_run(status="failed", error="ValueError: no")
    assert "error      ValueError: no\n" in shown()


def test_where_it_diverged_is_shown(shown):
    metrics = [Metric("val_loss", 1.0, math.nan), Metric("val_loss", 1, math.nan, "epoch")]
    make_run(metrics=metrics, status="diverged", diverged="val_loss in the validation of epoch 1")
    told = " ".join(shown().split())
    where = "val_loss in the validation of epoch 1"
    assert f"verdict diverged: A value became NaN or infinite: {where}. " in told
    assert told.count(where) == 1
    assert "NaN from epoch 1" in told


def test_what_a_post_mortem_says_is_not_said_twice(shown):
    found = "train_loss became NaN or infinite at step 2 (epoch 1), in the forward pass."
    make_run(status="diverged", diverged="train_loss at step 2 (epoch 1)", findings=[found])
    told = shown()
    assert "verdict    diverged\n" in told
    assert told.count("at step 2") == 1


def test_each_time_it_was_resumed_is_shown(shown):
    first = {"started": STARTED, "ended": None, "status": "running", "first_epoch": 0}
    make_run(sessions=[first, first | {"first_epoch": 2}])
    assert "again after epoch 2 on 2025-03-01" in shown()


def test_the_curve_is_drawn(shown):
    make_run()
    told = shown()
    assert "● train_loss 0.5850   ◆ val_loss 0.6850   ▲ val_acc 0.8183" in told
    assert "⠁" in told


def test_a_terminal_without_unicode_gets_ascii(capsys, monkeypatch):
    class Stream:
        encoding = "ascii"

        def write(self, text):
            text.encode("ascii")
            written.append(text)

        def flush(self): ...

        def isatty(self):
            return False

    written = []
    make_run()
    monkeypatch.setattr("sys.stdout", Stream())
    assert main(["show", "mlp-1"]) == 0
    assert "* train_loss" in "".join(written)


def test_the_epochs_are_a_table(shown):
    make_run()
    told = shown()
    assert "epoch  train_loss  val_loss  val_acc\n    1" in told
    assert "more epochs" not in told


def test_many_epochs_are_shortened_in_the_middle(shown):
    make_run(metrics=metrics_of(epochs=40))
    numbers = [line.split()[0] for line in shown().split("epoch  train_loss")[1].splitlines()[1:13]]
    assert numbers == ["1", "2", "3", "4", "5", "...", "35", "36", "37", "38", "39", "40"]


def test_the_best_are_shown(shown):
    make_run()
    assert "val_acc     0.8083      3\n" in shown()


def test_the_files_are_shown(shown):
    make_run()
    told = shown().replace("\n           ", " ")
    assert "checkpoints/best.pt 7 bytes" in told
    assert "run.json 2." in told
    assert " kB" in told


def test_large_files_are_shown_in_megabytes(shown):
    folder = make_run()
    (folder / "checkpoints/best.pt").write_bytes(bytes(2_500_000))
    assert "checkpoints/best.pt 2.5 MB" in shown()


def test_a_run_without_values_is_shown(shown):
    make_run(metrics=[])
    told = shown()
    assert "History: no finished epoch" in told
    assert "best " not in told.split("files")[0].replace("best.pt", "")


def test_settings_are_shown_where_the_values_are_damaged(shown):
    folder = make_run()
    (folder / "metrics.jsonl").write_text("damaged\n")
    told = shown(code=1)
    assert told.startswith("mlp-1: finished, 12.5 seconds\n")
    assert "seed       1\n" in told
    assert "val_acc" not in told


def test_the_facts_are_there_as_json(shown):
    make_run(status="running")
    told = json.loads(shown("mlp-1", "--json"))
    assert (told["status"], told["epochs"], len(told["history"])) == ("killed", 3, 3)
    assert told["model"]["hyperparameters"]["lr"] == 0.1
    assert told["files"]["lock"] == 0


def test_the_lines_of_an_error_stand_below_each_other(shown):
    make_run(status="failed", error="ValueError: no\nstatus     finished")
    assert "error      ValueError: no\n           status     finished\n" in shown()


def test_a_run_must_be_named(capsys):
    assert main(["show"]) == 2
    assert "Name a run, such as mlp-1." in capsys.readouterr().err


def test_a_run_that_does_not_exist_is_bad_usage(capsys):
    make_run()
    assert main(["show", "mlp-2"]) == 2
    assert "Did you mean 'mlp-1'?" in capsys.readouterr().err


@pytest.mark.slow
def test_another_folder_can_be_named(shown):
    make_run().parent.rename("others")
    assert shown("mlp-1", "--runs", "others").startswith("mlp-1: finished")


def test_the_help_is_there(shown):
    assert "usage: gradbook show" in shown("--help")


@pytest.mark.parametrize(
    ("options", "is_log"),
    [([], True), (["--yscale", "log"], True), (["--yscale", "linear"], False)],
)
def test_the_chart_of_values_that_span_decades_is_logarithmic(shown, options, is_log):
    points = ((1.0, 10.0), (2.0, 0.1), (3.0, 1e-3))
    make_run(metrics=[Metric("train_loss", x, y) for x, y in points])
    is_tick = re.search(r"^ *0\.0?1[┤+]", shown("mlp-1", *options), re.MULTILINE)
    assert bool(is_tick) == is_log
