"""What a report says of one run: compared with what the run's files hold."""

import json
from pathlib import Path

import pytest
from tests.reports.reading import assert_harmless
from tests.runs.folders import make_run
from tests.watching.watched import Deep, fit

import gradbook
from gradbook.record import Metric
from gradbook.reports.run import section_of_run
from gradbook.runs import StoredRun, load

pytestmark = pytest.mark.usefixtures("blank_figures")


def written(name="mlp-1"):
    return assert_harmless(gradbook.report(name, inspect=False).read_text(encoding="utf-8"))


def recorded(kind):
    """The values in metrics.jsonl, as they stand there."""
    lines = map(json.loads, Path("runs/mlp-1/metrics.jsonl").read_text().splitlines())
    return [(line["label"], line["x"], line["y"]) for line in lines if line["kind"] == kind]


def test_the_epochs_are_those_of_the_file():
    make_run()
    heading, *rows = written().tables["The means of each epoch"]
    for label, x, y in recorded("epoch"):
        row = rows[int(x) - 1]
        assert row[0] == str(x)
        assert float(row[heading.index(label)]) == pytest.approx(y, rel=1e-5)


def test_the_points_are_those_of_the_file():
    make_run()
    _, *rows = written().tables["The points of the curves"]
    found = {(label, float(x)): float(y) for label, x, y in rows}
    values = {(label, x): y for label, x, y in recorded("point")}
    assert len(rows) == len(values)
    assert found == pytest.approx(values, rel=1e-5)


def test_the_last_and_the_best_are_those_of_the_run():
    make_run()
    run = load("mlp-1")
    _, *rows = written().tables["The means of the last epoch, and of the best"]
    assert [row[0] for row in rows] == list(run.final)
    for label, last, best, epoch in rows:
        assert float(last) == pytest.approx(run.final[label], rel=1e-5)
        assert float(best) == pytest.approx(run.best[label]["value"], rel=1e-5)
        assert int(epoch) == run.best[label]["epoch"]


def test_a_value_that_was_nan_says_so():
    metrics = [Metric("train_loss", n, y, "epoch") for n, y in ((1, 1.0), (2, float("nan")))]
    make_run(metrics=metrics, status="diverged", diverged="train_loss in epoch 2")
    page = written()
    assert page.tables["The means of each epoch"][2] == ["2", "NaN"]
    assert "Verdict: diverged" in page.text


def test_the_curves_are_drawn_and_told():
    make_run()
    alternative = next(iter(written().images))
    assert alternative.startswith("Curves against the epoch: train_loss from 1.16 to 0.585, ")


def test_the_verdict_is_that_of_the_curve():
    make_run()
    assert f"Verdict: {gradbook.verdict(load('mlp-1')).sentence}" in written().text


def test_a_post_mortem_is_called_one():
    told = "train_loss became NaN or infinite in step 3; likely cause: the learning rate."
    make_run(findings=[told, "The gradients vanish."], status="diverged", diverged="train_loss")
    text = written().text
    assert f"Post-mortem: {told}" in text
    assert "Noticed: The gradients vanish." in text


def test_the_configuration_is_that_of_the_run():
    make_run(git={"commit": "1a2b3c4", "dirty": True})
    pairs = written().pairs
    assert pairs["its settings"] == ["num_outputs 10, num_hiddens 256, lr 0.1"]
    assert pairs["their settings"] == ["batch_size 256, resize 28, 28"]
    assert pairs["optimizer"] == ["gradbook.optim.SGD, lr 0.1"]
    assert pairs["git"] == ["1a2b3c4, with changes that were not committed"]
    assert pairs["to repeat it"] == ["gradbook train mlp --lr 0.1 --seed 1"]


def test_a_run_of_a_script_says_how_it_is_repeated():
    make_run(command=None, optimizer=None, git=None, seed=None)
    pairs = written().pairs
    assert pairs["to repeat it"][0].endswith("gradbook rerun mlp-1")
    assert "optimizer" not in pairs


def test_no_path_of_the_machine_is_told():
    make_run()
    assert str(Path.cwd()) not in Path(gradbook.report("mlp-1", inspect=False)).read_text()


def test_a_run_without_an_epoch_says_so():
    make_run(metrics=[], status="failed", error="ValueError: no")
    page = written()
    assert "Nothing was recorded" in page.text
    assert "It ended in an error: ValueError: no" in page.text


def test_of_many_epochs_some_are_listed():
    make_run(metrics=[Metric("val_loss", n, 1 / n, "epoch") for n in range(1, 1001)])
    _, *rows = written().tables["The means of each epoch (200 of 1,000, evenly spaced)"]
    assert len(rows) == 200
    assert [rows[0][0], rows[-1][0]] == ["1", "1000"]


def test_notes_are_shown_as_they_were_written():
    folder = make_run()
    folder.joinpath("notes.md").write_text("# Why\n\n<b>I</b> think\n", encoding="utf-8")
    page = written()
    assert "# Why\n\n<b>I</b> think" in page.text
    assert "Notes" in page.headings


def test_notes_elsewhere_are_not_read(tmp_path):
    folder = make_run()
    tmp_path.joinpath("secret").write_text("a secret")
    folder.joinpath("notes.md").symlink_to(tmp_path / "secret")
    page = written()
    assert "a secret" not in page.text
    assert "leads out of the run's folder" in page.text


@pytest.mark.slow
def test_gradients_that_were_watched_are_shown():
    report = fit(Deep(num_layers=4), max_epochs=2).gradients
    report.keep(make_run())
    page = written()
    heading, *rows = page.tables["What was seen of each layer"]
    assert len(rows) == 2 * 4
    for row, seen in zip(rows, report.rows, strict=True):
        assert row[:2] == [str(seen.epoch), seen.title]
        assert float(row[heading.index("gradient norm")]) == pytest.approx(seen.grad_norm, rel=1e-3)
    assert any(told.startswith("Gradients, updates") for told in page.images)


def test_damaged_gradients_are_told():
    make_run().joinpath("gradients.json").write_text("{}")
    assert "They cannot be shown" in written().text


def test_a_run_that_is_trained_says_so():
    make_run(status="running")
    run = StoredRun("runs/mlp-1")
    run.status = "running"
    told = section_of_run(run, "mlp-1", None).blocks[0].text
    assert told.endswith("still being trained when this report was made")
