"""`gradbook runs`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.runs.folders import facts_of, make_run, metrics_of

from gradbook.cli import main
from gradbook.cli.runs import Filter
from gradbook.record import Metric


def make(*rates, **changes):
    for number, rate in enumerate(rates, start=1):
        make_run(f"mlp-{number}", metrics_of(rate=rate), {"lr": rate}, seed=number, **changes)


def listed(capsys, *arguments):
    """The names in the table, in order."""
    assert main(["runs", *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    return [line.split()[0] for line in lines[1:] if line]


def regression(**changes):
    model = facts_of("a")["model"] | {"name": "linear-regression", "hyperparameters": {"lr": 0.03}}
    metrics = [m for m in metrics_of() if m.label != "val_acc"]
    return make_run("linear-1", metrics, model=model, **changes)


def test_a_run_is_one_line(capsys):
    make_run()
    assert main(["runs"]) == 0
    head, line = capsys.readouterr().out.splitlines()
    assert head.split("  ")[0] == "name"
    assert line.split()[:6] == ["mlp-1", "mlp", "0.1", "256", "256", "1"]
    assert line.split()[6:11] == ["3/3", "0.8083", "0.8083", "12.5", "finished"]
    assert "best val_acc" in head


def test_hyperparameters_that_differ_come_first(capsys):
    make_run("mlp-1", seed=1)
    make_run("mlp-2", seed=2)
    main(["runs"])
    head = capsys.readouterr().out.splitlines()[0].split()
    assert head[:6] == ["name", "model", "seed", "lr", "num_hiddens", "batch_size"]


def test_a_narrow_terminal_gets_fewer_columns_and_is_told(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "70")
    make(0.1, 0.3)
    main(["runs"])
    told = capsys.readouterr().out
    assert max(map(len, told.splitlines()[:3])) <= 70
    assert told.split()[:4] == ["name", "model", "lr", "seed"]
    assert "No room for num_hiddens, batch_size, last val_acc, started. --filter" in told


def test_a_terminal_too_narrow_for_anything_gets_what_matters(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "10")
    make(0.1)
    main(["runs"])
    head = capsys.readouterr().out.splitlines()[0]
    assert head.split() == ["name", "epochs", "best", "val_acc", "status"]


def test_where_runs_are_judged_differently_each_figure_says_by_what(capsys):
    make_run()
    regression()
    main(["runs"])
    told = capsys.readouterr().out
    assert "0.8083 val_acc" in told
    assert "0.6750 val_loss" in told


def test_a_run_without_validation_is_judged_by_its_training(capsys):
    make_run(metrics=[m for m in metrics_of() if m.label == "train_loss"])
    main(["runs"])
    head, line = capsys.readouterr().out.splitlines()
    assert "best train_loss" in head
    assert line.split()[7:9] == ["0.5750", "0.5750"]


def test_a_run_without_values_has_no_figures(capsys):
    make_run(metrics=[])
    main(["runs"])
    assert capsys.readouterr().out.splitlines()[1].split()[7:9] == ["-", "-"]


def test_a_killed_run_tells_what_it_reached(capsys):
    make_run(status="running", max_epochs=50)
    main(["runs"])
    line = capsys.readouterr().out.splitlines()[1]
    assert "3/50" in line
    assert "killed" in line


def test_the_facts_are_there_as_json(capsys):
    make_run()
    (make_run("mlp-2") / "run.json").write_text("")
    assert main(["runs", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["runs"][0]["best"]["val_acc"]["epoch"] == 3
    assert told["runs"][0]["hyperparameters"]["lr"] == 0.1
    assert told["damaged"][0]["folder"] == str(Path("runs/mlp-2"))


def test_a_damaged_run_is_listed_and_explained(capsys):
    make_run()
    (make_run("mlp-2") / "run.json").write_text("")
    assert main(["runs"]) == 1
    told = capsys.readouterr().out
    assert told.splitlines()[2].split()[0::2][0] == "mlp-2"
    assert "damaged: runs/mlp-2/run.json is damaged: it is empty" in told


def test_no_runs_say_how_to_make_one(capsys):
    assert main(["runs"]) == 0
    told = capsys.readouterr().out
    assert told == "There are no runs in 'runs' yet. Make one: gradbook train mlp\n"


def test_runs_that_lie_a_folder_deeper_are_found_there(capsys):
    make_run("anna/mlp-1")
    make_run("ben/mlp-1")
    assert main(["runs"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "There are no runs in 'runs' itself, but in folders of it:",
        f"  gradbook runs --runs {Path('runs/anna')}",
        f"  gradbook runs --runs {Path('runs/ben')}",
    ]


def test_another_folder_can_be_named(capsys):
    make_run()
    Path("runs").rename("others")
    assert listed(capsys, "--runs", "others") == ["mlp-1"]


# Order


def test_runs_are_sorted_by_any_key(capsys):
    make(0.3, 0.1, 0.2)
    assert listed(capsys, "--sort", "lr") == ["mlp-2", "mlp-3", "mlp-1"]


def test_the_best_run_is_the_first(capsys):
    make(0.3, 0.1, 0.2)
    assert listed(capsys, "--sort", "best") == ["mlp-1", "mlp-3", "mlp-2"]
    assert listed(capsys, "--sort", "best", "--reverse") == ["mlp-2", "mlp-3", "mlp-1"]


def test_the_best_of_runs_that_are_judged_by_a_loss_has_the_lowest(capsys):
    for number, rate in enumerate((0.1, 0.3), start=1):
        losses = [m for m in metrics_of(rate=rate) if m.label == "val_loss"]
        make_run(f"mlp-{number}", losses)
    assert listed(capsys, "--sort", "best") == ["mlp-2", "mlp-1"]


def test_without_a_key_the_names_are_reversed(capsys):
    make(0.3, 0.1)
    assert listed(capsys, "--reverse") == ["mlp-2", "mlp-1"]


@pytest.mark.parametrize("options", [[], ["--reverse"]])
def test_a_run_without_a_value_comes_last(capsys, options):
    regression()
    make_run()
    assert listed(capsys, "--sort", "val_acc", *options) == ["mlp-1", "linear-1"]


def test_an_unknown_key_is_explained(capsys):
    make_run()
    assert main(["runs", "--sort", "num_hidens"]) == 2
    assert "no 'num_hidens'. Did you mean 'num_hiddens'?" in capsys.readouterr().err


# Conditions


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("model=mlp", ["mlp-1", "mlp-2", "mlp-3"]),
        ("model!=mlp", []),
        ("lr<0.3", ["mlp-1", "mlp-2"]),
        ("lr <= 0.2", ["mlp-1", "mlp-2"]),
        ("lr>0.1", ["mlp-2", "mlp-3"]),
        ("lr=1e-1", ["mlp-1"]),
        ("lr!=0.1", ["mlp-2", "mlp-3"]),
        ("val_acc>=0.8", ["mlp-1", "mlp-2", "mlp-3"]),
        ("best_val_loss<0.5", ["mlp-2", "mlp-3"]),
        ("status=finished", ["mlp-1", "mlp-2", "mlp-3"]),
        ("status=killed", []),
        ("started>=2025-03-01", ["mlp-1", "mlp-2", "mlp-3"]),
        ("resize=28,28", ["mlp-1", "mlp-2", "mlp-3"]),
        ("is_sample=false", ["mlp-1", "mlp-2", "mlp-3"]),
    ],
)
def test_a_condition_admits_what_meets_it(capsys, condition, expected):
    make(0.1, 0.2, 0.3)
    main(["runs", "--json", "--filter", condition])
    assert [each["name"] for each in json.loads(capsys.readouterr().out)["runs"]] == expected


def test_all_conditions_must_be_met(capsys):
    make(0.1, 0.2, 0.3)
    assert listed(capsys, "--filter", "lr>0.1", "seed<3") == ["mlp-2"]
    assert listed(capsys, "--filter", "lr>0.1", "--filter", "seed<3") == ["mlp-2"]


def test_a_run_without_the_value_is_only_unequal():
    assert not Filter.of("lr=0.1").admits({})
    assert not Filter.of("lr<0.1").admits({})
    assert Filter.of("lr!=0.1").admits({})
    assert Filter.of("seed=none").admits({"seed": None})


def test_a_setting_comes_before_a_recorded_value_of_its_name(capsys):
    make_run(metrics=[*metrics_of(), Metric("lr", 3, 0.001, "epoch")])
    assert listed(capsys, "--filter", "lr=0.1") == ["mlp-1"]


def test_no_run_that_meets_the_conditions_is_told(capsys):
    make(0.1)
    assert main(["runs", "--filter", "lr>5"]) == 0
    assert capsys.readouterr().out == "None of the runs in 'runs' meets the conditions.\n"


@pytest.mark.parametrize("condition", ["lr", "=5", "lr~5", "<3"])
def test_what_is_no_condition_is_explained(capsys, condition):
    assert main(["runs", "--filter", condition]) == 2
    assert f"expected a condition such as model=mlp or \"lr<0.3\", but got '{condition}'" in (
        capsys.readouterr().err
    )


def test_a_number_is_not_compared_with_a_word(capsys):
    make(0.1)
    assert main(["runs", "--filter", "lr<small"]) == 2
    assert "lr is a number, such as 0.1, but 'small' is none" in capsys.readouterr().err


def test_an_unknown_key_of_a_condition_is_explained(capsys):
    make(0.1)
    assert main(["runs", "--filter", "val_ac>0.5"]) == 2
    assert "Did you mean 'val_acc'?" in capsys.readouterr().err


def test_the_help_documents_the_conditions(capsys):
    assert main(["runs", "--help"]) == 0
    told = capsys.readouterr().out
    assert '--filter model=mlp "lr<0.3"' in told
    assert "--sort KEY" in told


# Imports


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [["runs"], ["show", "mlp-1"], ["compare", "mlp-1", "mlp-2"], ["rm", "mlp-1", "--yes"]],
)
def test_no_command_about_runs_waits_for_torch(arguments):
    make_run("mlp-1")
    make_run("mlp-2")
    code = (
        "import sys; from gradbook.cli import main; code = main(sys.argv[1:]); "
        "sys.exit(code or 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], check=False, stdout=subprocess.DEVNULL
    )
    assert done.returncode == 0


def test_what_most_runs_lack_gives_way_first(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "90")
    make_run("mlp-1", seed=1)
    make_run("mlp-2", seed=2)
    make_run("mlp-3", hyperparameters={"sigma": 0.5}, seed=3)
    main(["runs"])
    listing, told = capsys.readouterr().out.split("\n\n")
    assert "seed" in listing.splitlines()[0]
    assert "sigma" in told
    assert max(map(len, told.splitlines())) <= 90


def test_a_list_may_be_asked_for_where_another_run_has_a_number(capsys):
    make_run("mlp-1")
    make_run("mlp-2", hyperparameters={"num_hiddens": [256, 128]})
    assert listed(capsys, "--filter", "num_hiddens=256,128") == ["mlp-2"]
    assert listed(capsys, "--filter", "num_hiddens!=256,128") == ["mlp-1"]
