"""Everything that is said of one run."""

from tests.runs.folders import make_run

from gradbook.runs.overview import overview
from gradbook.runs.stored import StoredRun
from gradbook.verdicts import verdict


def test_a_run_is_told_with_its_verdict_and_its_files():
    run = StoredRun(make_run())
    told = overview(run)
    assert told.facts["final"] == run.final
    assert told.facts["history"] == run.history.rows
    assert told.facts["files"]["lock"] == 0
    assert told.verdict == verdict(run)
    assert told.error is None


def test_of_damaged_values_only_the_settings_are_told():
    folder = make_run()
    lines = (folder / "metrics.jsonl").read_bytes()
    (folder / "metrics.jsonl").write_bytes(lines.replace(b"val_acc", b"val_bcc"))
    told = overview(StoredRun(folder))
    assert "metrics.jsonl" in str(told.error)
    assert told.verdict is None
    assert told.facts["model"]["name"] == "mlp"
    assert not {"epochs", "final", "best", "history"} & set(told.facts)


def test_a_post_mortem_that_says_what_became_nan_makes_the_reason_needless():
    diverged = {"status": "diverged", "diverged": "train_loss at step 6 (epoch 1)"}
    told = "train_loss became NaN or infinite at step 6."
    assert overview(StoredRun(make_run("a", **diverged, findings=[told]))).is_told
    assert not overview(StoredRun(make_run("b", **diverged))).is_told
