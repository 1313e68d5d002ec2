"""What a report says of several runs together."""

import pytest
from tests.reports.reading import assert_harmless
from tests.runs.folders import make_run, metrics_of

import gradbook
from gradbook.record import Metric
from gradbook.runs import load

pytestmark = pytest.mark.usefixtures("blank_figures")


def written(*names):
    path = gradbook.report(list(names), inspect=False)
    return assert_harmless(path.read_text(encoding="utf-8"))


def make(name, lr, seed, acc, **changes):
    """A run that ends with this accuracy, in the third epoch."""
    metrics = [Metric("val_acc", n, acc * n / 3, "epoch") for n in (1, 2, 3)]
    make_run(name, metrics, {"lr": lr}, seed=seed, **changes)


def conclusion(page):
    return page.text.partition("What it shows")[2].partition("mlp-1\n")[0]


def test_only_what_differs_is_shown():
    make_run("mlp-1", metrics_of(rate=0.1))
    make_run("mlp-2", metrics_of(rate=0.3), {"lr": 0.3})
    page = written("mlp-1", "mlp-2")
    assert page.tables["What differs"] == [["setting", "mlp-1", "mlp-2"], ["lr", "0.1", "0.3"]]


def test_runs_that_are_alike_are_told_so():
    make_run("mlp-1")
    make_run("mlp-2")
    assert "Nothing differs in model, data, hyperparameters" in written("mlp-1", "mlp-2").text


def test_the_results_are_those_of_the_runs():
    make_run("mlp-1", metrics_of(rate=0.1))
    make_run("mlp-2", metrics_of(rate=0.3), {"lr": 0.3})
    heading, *rows = written("mlp-1", "mlp-2").tables["What each reached"]
    for row in rows:
        run = load(row[0])
        assert row[1:3] == [run.status, "3/3"]
        for label, last in run.final.items():
            assert float(row[heading.index(f"last {label}")]) == pytest.approx(last, rel=1e-5)


def test_the_overlay_has_a_table_of_what_runs_are_judged_by():
    make_run("mlp-1", metrics_of(rate=0.1))
    make_run("mlp-2", metrics_of(rate=0.3, epochs=2), {"lr": 0.3})
    heading, *rows = written("mlp-1", "mlp-2").tables["val_acc in each epoch"]
    assert heading == ["epoch", "mlp-1", "mlp-2"]
    values = [float(row[1]) for row in rows]
    assert values == pytest.approx(load("mlp-1").history["val_acc"], rel=1e-5)
    assert rows[2][2] == "-"


def test_one_seed_of_each_setting_proves_nothing():
    make("mlp-1", 0.1, 1, 0.8)
    make("mlp-2", 0.3, 1, 0.9)
    told = conclusion(written("mlp-1", "mlp-2"))
    assert "the best first: lr 0.3: 0.9, lr 0.1: 0.8." in told
    assert "with another seed the order may be different" in told


def test_several_seeds_are_compared_as_pairs():
    reached = {0.1: [0.8, 0.81, 0.79], 0.3: [0.9, 0.92, 0.89]}
    for place, (lr, accuracies) in enumerate(reached.items()):
        for seed, acc in enumerate(accuracies, start=1):
            make(f"mlp-{3 * place + seed}", lr, seed, acc)
    told = conclusion(written(*(f"mlp-{n}" for n in range(1, 7))))
    expected = gradbook.compare_settings(
        reached[0.3], reached[0.1], "val_acc", paired=True, names=("lr 0.3", "lr 0.1")
    )
    assert expected.better == "a"
    assert expected.reason in told


def test_one_setting_with_several_seeds_has_a_spread():
    make("mlp-1", 0.1, 1, 0.8)
    make("mlp-2", 0.1, 2, 0.9)
    told = conclusion(written("mlp-1", "mlp-2"))
    assert "one setting with 2 seeds: val_acc is 0.85 ± 0.07 at the end" in told


def test_another_machine_is_no_other_setting():
    make("mlp-1", 0.1, 1, 0.8)
    make("mlp-2", 0.1, 2, 0.9, platform="elsewhere", device="cuda")
    assert "one setting with 2 seeds" in conclusion(written("mlp-1", "mlp-2"))


def test_values_on_other_data_are_not_compared():
    make("mlp-1", 0.1, 1, 0.8)
    data = {**load("mlp-1").facts["data"], "num_val": 5}
    make("mlp-2", 0.3, 1, 0.9, data=data)
    told = conclusion(written("mlp-1", "mlp-2"))
    assert "validated on different data" in told
    assert "the best first" not in told


def test_what_is_not_finished_is_named():
    make("mlp-1", 0.1, 1, 0.8)
    make("mlp-2", 0.3, 1, 0.9, status="interrupted")
    assert "mlp-2 is not finished" in conclusion(written("mlp-1", "mlp-2"))


def test_a_setting_that_was_lost_is_named():
    make("mlp-1", 0.1, 1, 0.8)
    make("mlp-2", 0.3, 1, float("nan"))
    told = conclusion(written("mlp-1", "mlp-2"))
    assert "Of lr 0.3 a training ended with no finite val_acc" in told
    assert "That leaves lr 0.1 alone." in told


def test_runs_with_nothing_in_common_are_told_so():
    make("mlp-1", 0.1, 1, 0.8)
    make_run("mlp-2", [Metric("other", 1, 2.0, "epoch")], {"lr": 0.3})
    assert "no measure in common" in conclusion(written("mlp-1", "mlp-2"))


def test_runs_without_an_epoch_have_no_overlay():
    make_run("mlp-1", metrics=[])
    make_run("mlp-2", metrics=[])
    page = written("mlp-1", "mlp-2")
    assert page.images == {}
