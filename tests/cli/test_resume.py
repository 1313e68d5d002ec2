"""`gradbook resume`, `gradbook rerun`, and what rebuilds a run for them."""

import json
import shlex
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from filelock import FileLock

import gradbook
from gradbook import checkpoint, runs
from gradbook.cli import classes, main
from gradbook.cli.restored import restore, run_command
from gradbook.errors import (
    CheckpointError,
    ConfigError,
    CorruptFileError,
    GradbookWarning,
)
from gradbook.runs.format import read_run, write_run
from gradbook.settings import FREE, SETTINGS

pytestmark = pytest.mark.usefixtures("blank_figures")

FAST = ["linear-regression", "--num-train", "64", "--num-val", "32", "--seed", "1"]

OWN = """
import torch
import gradbook

open("was_loaded", "a").close()

class MyNet(gradbook.Module):
    def __init__(self, lr=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.net = torch.nn.Linear(2, 1)

    def loss(self, y_hat, y):
        return ((y_hat - y) ** 2).mean()
"""


@pytest.fixture
def told(capsys):
    """Runs a command with --json and returns the exit code and the result."""

    def run(*arguments):
        code = main([*arguments, "--json"])
        return code, json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def failed(capsys):
    """Runs a command that must fail and returns the exit code and the message."""

    def run(*arguments):
        code = main(list(arguments))
        err = capsys.readouterr().err
        assert "Traceback" not in err
        return code, err

    return run


def train(*arguments):
    assert main(["train", *arguments, "--quiet"]) == 0


def parameters(name, which="last"):
    return checkpoint.load(Path("runs", name, "checkpoints", f"{which}.pt"))["model"]


def assert_same(a, b):
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


# resume


def test_a_run_goes_on_as_if_it_had_not_stopped(told):
    train(*FAST, "--max-epochs", "4", "--name", "whole")
    train(*FAST, "--max-epochs", "2", "--name", "half")
    code, result = told("resume", "half-1", "--max-epochs", "4")
    assert (code, result["status"], result["epochs"]) == (0, "finished", 4)
    assert_same(parameters("half-1"), parameters("whole-1"))
    assert runs.load("half-1").history.rows == runs.load("whole-1").history.rows


@pytest.mark.slow
def test_a_run_may_be_named_by_its_path(told):
    train(*FAST, "--max-epochs", "1", "--runs", "elsewhere")
    code, result = told("resume", "elsewhere/linear-regression-1", "--max-epochs", "2")
    assert (code, result["folder"]) == (0, "elsewhere/linear-regression-1")


@pytest.mark.slow
def test_the_command_of_a_resumed_run_repeats_the_whole(told):
    train(*FAST, "--max-epochs", "1")
    _, result = told("resume", "linear-regression-1", "--max-epochs", "3")
    assert "--max-epochs 3" in result["repeat"]
    _, again = told(*shlex.split(result["repeat"])[1:])
    assert again["final"] == result["final"]


def test_a_finished_run_has_nothing_left(failed):
    train(*FAST, "--max-epochs", "1")
    code, message = failed("resume", "linear-regression-1")
    assert code == 2
    assert "There is nothing left to do: the checkpoint has 1 finished epochs" in message


def test_of_a_run_that_another_process_trains_nothing_else_is_said(capsys):
    train(*FAST, "--max-epochs", "1")
    with FileLock("runs/linear-regression-1/lock"):
        assert main(["resume", "linear-regression-1", "--max-epochs", "2"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "is being trained by another process" in told.err
    assert "press Reset or close the page" in told.err


def test_a_run_that_does_not_exist_is_told(failed):
    train(*FAST, "--max-epochs", "1")
    code, message = failed("resume", "linear-regresion-1")
    assert code == 2
    assert "Did you mean 'linear-regression-1'?" in message


def test_data_that_have_changed_are_refused(failed, monkeypatch):
    train(*FAST, "--max-epochs", "1")
    randn = torch.randn
    monkeypatch.setattr(torch, "randn", lambda *sizes: randn(*sizes) + 1)
    code, message = failed("resume", "linear-regression-1", "--max-epochs", "2")
    assert code == 1
    assert "data.train:" in message
    assert read_run("runs/linear-regression-1")["status"] == "finished"


def test_a_damaged_checkpoint_is_told(failed):
    train(*FAST, "--max-epochs", "1")
    path = Path("runs/linear-regression-1/checkpoints/last.pt")
    path.write_bytes(path.read_bytes()[:-1])
    code, message = failed("resume", "linear-regression-1", "--max-epochs", "2")
    assert code == 1
    assert str(path) in message


def test_a_run_of_a_script_goes_on_with_the_finished_classes(told):
    gradbook.seed_everything(3)
    data = gradbook.SyntheticRegressionData(num_train=64, num_val=32)
    model = gradbook.LinearRegression(lr=0.05)
    gradbook.Trainer(1, run="runs").fit(model, data)
    code, result = told("resume", "linear-regression-1", "--max-epochs", "2")
    assert (code, result["epochs"], result["repeat"]) == (0, 2, None)


HANDS_ON = (
    OWN
    + """
class Wide(MyNet):
    def __init__(self, scale=1.0, **kwargs):
        super().__init__(**kwargs)
        self.save_hyperparameters()

class Unkept(MyNet):
    def __init__(self, scale=1.0, **kwargs):
        super().__init__(**kwargs)

class Lost(MyNet):
    def __init__(self, scale, **kwargs):
        super().__init__(**kwargs)
"""
)


def fit_by_script(write, name, **arguments):
    """Trains a class of a learner's file as a script does; returns how it is named."""
    place = f"{write(HANDS_ON)}:{name}"
    gradbook.seed_everything(3)
    data = gradbook.SyntheticRegressionData(num_train=64, num_val=32)
    model = classes.find(place, classes.MODEL).Class(**arguments)
    gradbook.Trainer(1, run="runs").fit(model, data)
    return place


def test_arguments_that_a_script_s_model_hands_on_to_its_base_are_given_again(write, told):
    place = fit_by_script(write, "Wide", scale=2.0, lr=0.03)
    code, result = told("resume", "wide-1", "--max-epochs", "2", "--model", place)
    assert (code, result["epochs"]) == (0, 2)
    assert result["settings"]["model"] == {"scale": 2.0, "lr": 0.03}


@pytest.mark.slow
def test_arguments_that_are_handed_on_are_options_and_kept(write, told):
    place = f"{write(HANDS_ON)}:Wide"
    train(place, "--max-epochs", "1", "--seed", "2", "--lr", "0.03", "--scale", "3")
    code, result = told("resume", "wide-1", "--max-epochs", "2", "--model", place)
    assert (code, result["settings"]["model"]) == (0, {"scale": 3.0, "lr": 0.03})


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_an_argument_that_a_run_does_not_keep_is_told(write, capsys):
    place = fit_by_script(write, "Unkept", scale=2.0)
    assert main(["resume", "unkept-1", "--max-epochs", "2", "--model", place]) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert "does not keep scale of Unkept: the default is taken" in told


def test_a_model_that_cannot_be_made_again_is_told(write, failed):
    place = fit_by_script(write, "Lost", scale=2.0)
    code, message = failed("resume", "lost-1", "--max-epochs", "2", "--model", place)
    assert code == 2
    assert "Lost cannot be made again" in message
    assert "does not keep its scale" in message


@pytest.mark.parametrize("name", FREE)
def test_every_setting_that_a_resumed_training_may_have_otherwise_is_an_option(name, capsys):
    assert main(["resume", "--help"]) == 0
    assert f"--{name.replace('_', '-')}" in capsys.readouterr().out


def test_no_other_setting_is_an_option(capsys, failed):
    assert main(["resume", "--help"]) == 0
    said = capsys.readouterr().out
    others = {name for name, known in SETTINGS.items() if known.changes_result}
    assert not [name for name in others if f"--{name.replace('_', '-')} " in said]
    train(*FAST, "--max-epochs", "1")
    assert failed("resume", "linear-regression-1", "--patience", "2")[0] == 2


def test_a_setting_declared_harmless_is_an_option_at_once(capsys, monkeypatch):
    monkeypatch.setattr("gradbook.settings.FREE", ("max_epochs", "precision"))
    assert main(["resume", "--help"]) == 0
    assert "--precision" in capsys.readouterr().out


def by_command():
    train(*FAST, "--max-epochs", "1")


def by_script(seed=1):
    if seed is not None:
        gradbook.seed_everything(seed)
    data = gradbook.SyntheticRegressionData(num_train=64, num_val=32)
    gradbook.Trainer(1, run="runs", display="off").fit(gradbook.LinearRegression(), data)


@pytest.mark.parametrize("make", [by_command, by_script])
def test_a_setting_that_is_changed_holds_from_there_on(make, told):
    make()
    words = ["--max-epochs", "2", "--watch", "gradients"]
    code, result = told("resume", "linear-regression-1", *words)
    assert (code, result["epochs"]) == (0, 2)
    assert Path("runs/linear-regression-1/gradients.json").exists()
    assert read_run("runs/linear-regression-1")["trainer"]["hyperparameters"]["max_epochs"] == 2


def test_what_a_run_was_watched_with_can_be_left_out_and_is_not_by_itself():
    train(*FAST, "--max-epochs", "1", "--watch", "gradients")
    kept = Path("runs/linear-regression-1/gradients.json")
    before = kept.read_text()
    assert main(["resume", "linear-regression-1", "--max-epochs=2", "--watch", "[]"]) == 0
    assert kept.read_text() == before
    assert main(["resume", "linear-regression-1", "--max-epochs=3", "--watch=gradients"]) == 0
    assert {row["epoch"] for row in json.loads(kept.read_text())["rows"]} == {1, 3}


@pytest.mark.filterwarnings("always::gradbook.GradbookWarning")
def test_a_switch_that_is_changed_is_noted_in_the_run(capsys):
    train(*FAST, "--max-epochs", "1")
    assert main(["resume", "linear-regression-1", "--max-epochs=2", "--deterministic"]) == 0
    assert "numbers may differ in their last digits" in capsys.readouterr().err
    facts = read_run("runs/linear-regression-1")
    assert facts["trainer"]["hyperparameters"]["deterministic"] is True
    assert "--deterministic" in facts["command"]


# rerun


def test_a_run_can_be_repeated(told):
    train(*FAST, "--max-epochs", "2")
    code, result = told("rerun", "linear-regression-1")
    assert (code, result["folder"]) == (0, "runs/linear-regression-2")
    assert_same(parameters("linear-regression-1"), parameters("linear-regression-2"))


@pytest.mark.slow
def test_a_run_can_be_repeated_with_a_change(told):
    train(*FAST, "--max-epochs", "1")
    _, result = told("rerun", "linear-regression-1", "--lr", "0.2", "--max-epochs=2")
    assert result["settings"]["model"]["lr"] == 0.2
    assert result["epochs"] == 2


def test_a_rerun_says_that_its_figures_are_those_of_the_first_to_the_last_bit(capsys):
    train(*FAST, "--max-epochs", "2")
    assert main(["rerun", "linear-regression-1", "--display", "off"]) == 0
    said = capsys.readouterr()
    assert said.out.endswith("equal to linear-regression-1 to the last bit in 2 epochs\n")
    assert "cannot be repeated" not in said.err


def test_a_rerun_with_a_change_says_where_the_figures_differ_first_and_what_else_does(told):
    train(*FAST, "--max-epochs", "3", "--lr", "0.1")
    _, result = told("rerun", "linear-regression-1", "--max-epochs", "2", "--lr", "0.2")
    compared, rows = result["compared"], runs.load("linear-regression-1").history.rows
    assert (compared["equal"], compared["epoch"], compared["num_epochs"]) == (False, 1, 2)
    assert compared["values"]["val_loss"][0] == rows[0]["val_loss"]
    assert compared["others"] == ["lr", "max_epochs"]
    _, result = told("rerun", "linear-regression-1", "--max-epochs", "2")
    assert (result["compared"]["equal"], result["compared"]["num_epochs"]) == (True, 2)


@pytest.mark.filterwarnings("always::gradbook.GradbookWarning")
def test_a_rerun_of_a_script_s_second_training_says_that_it_cannot_repeat_it(capsys):
    gradbook.seed_everything(1)
    by_script(seed=None)
    by_script(seed=None)
    for number, is_same in ((1, True), (2, False)):
        assert main(["rerun", f"linear-regression-{number}", "--display", "off"]) == 0
        said = capsys.readouterr()
        told = f"linear-regression-{number} cannot be repeated from its settings" in said.err
        assert (told, f"equal to linear-regression-{number}" in said.out) == (not is_same, is_same)


@pytest.mark.filterwarnings("always::gradbook.GradbookWarning")
def test_a_rerun_of_what_began_from_a_checkpoint_says_so(capsys):
    by_script()
    trainer = gradbook.Trainer(2, run="others", display="off")
    gradbook.seed_everything(1)
    data = gradbook.SyntheticRegressionData(num_train=64, num_val=32)
    state = checkpoint.load("runs/linear-regression-1/checkpoints/last.pt")
    trainer.fit(gradbook.LinearRegression(), data, resume=state)
    assert main(["rerun", "others/linear-regression-1", "--display", "off"]) == 0
    assert "it began from a checkpoint" in capsys.readouterr().err


@pytest.mark.slow
def test_a_member_of_a_sweep_can_be_repeated(capsys):
    words = "sweep linear-regression --lr 0.03,0.1 --seeds 2 --num-train 64 --max-epochs 2 --quiet"
    assert main(words.split()) == 0
    for run in sorted(Path("runs").rglob("run.json")):
        assert main(["rerun", str(run.parent), "--display", "off"]) == 0
        said = capsys.readouterr()
        assert "cannot be repeated" not in said.err
        assert "to the last bit" in said.out


def test_a_rerun_of_a_script_takes_how_it_is_shown_and_kept(capsys, told):
    by_script()
    code, result = told("rerun", "linear-regression-1", "--display", "off", "--name", "again")
    assert (code, result["folder"]) == (0, "runs/again-1")
    capsys.readouterr()
    assert main(["rerun", "linear-regression-1", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_a_rerun_of_a_script_takes_no_other_settings(failed):
    by_script()
    code, message = failed("rerun", "linear-regression-1", "--quiet", "--lr", "0.3")
    assert code == 2
    assert "no command whose options could be changed: --lr 0.3." in message


def test_an_option_that_does_not_exist_is_told(failed):
    train(*FAST, "--max-epochs", "1")
    code, message = failed("rerun", "linear-regression-1", "--lrr", "0.2")
    assert code == 2
    assert "Did you mean '--lr'?" in message


@pytest.mark.parametrize("command", ["resume", "rerun"])
def test_help_needs_no_run(command, capsys):
    assert main([command, "--help"]) == 0
    assert f"usage: gradbook {command}" in capsys.readouterr().out


# No code because a folder names it


@pytest.mark.parametrize("command", ["resume", "rerun"])
def test_a_learner_s_class_is_loaded_only_if_the_command_line_names_it(command, write, failed):
    train(write(OWN), "--max-epochs", "1")
    Path("was_loaded").unlink()
    code, message = failed(command, "my-net-1")
    assert code == 2
    assert "needs you to name code" in message
    assert "add: --model my_file.py:MyNet" in message
    assert not Path("was_loaded").exists()


@pytest.mark.parametrize("command", ["resume", "rerun", "inspect"])
def test_data_that_fit_was_given_as_tensors_need_a_class(command, failed):
    examples = torch.randn(16, 2), torch.randn(16, 1)
    gradbook.Trainer(1, run="runs").fit(gradbook.LinearRegression(), examples)
    code, message = failed(command, "linear-regression-1")
    assert code == 2
    assert "was trained on tensors, arrays or loaders, which a run does not keep" in message
    assert message.rstrip().endswith("and add: --data my_file.py:MyData")
    assert "a class of your own" not in message


def test_a_class_of_one_s_own_beside_such_data_is_named_too(failed):
    class Own(gradbook.LinearRegression):
        pass

    examples = torch.randn(16, 2), torch.randn(16, 1)
    gradbook.Trainer(1, run="runs").fit(Own(), examples)
    _, message = failed("rerun", "own-1")
    assert "which a run does not keep" in message
    assert "its model is" in message
    assert message.rstrip().endswith("add: --model my_file.py:Own --data my_file.py:MyData")


def test_the_next_command_names_a_class_as_this_one_did():
    class Own(gradbook.LinearRegression):
        pass

    data = gradbook.SyntheticRegressionData(num_train=64, num_val=32)
    gradbook.Trainer(1, run="runs").fit(Own(), data)
    command = run_command(
        "inspect", runs.load("own-1"), {"model": "net.py:Own", "data": "synthetic"}
    )
    assert command == "gradbook inspect runs/own-1 --model net.py:Own"


@pytest.mark.filterwarnings("always::gradbook.GradbookWarning")
def test_a_rerun_without_a_seed_says_that_its_figures_will_differ(capsys, monkeypatch):
    monkeypatch.setattr("gradbook.seeds._last_seed", None)  # other tests have seeded
    data = gradbook.SyntheticRegressionData(num_train=64, num_val=32)
    gradbook.Trainer(1, run="runs").fit(gradbook.LinearRegression(), data)
    assert main(["rerun", "linear-regression-1"]) == 0
    assert "linear-regression-1 was trained without a seed" in capsys.readouterr().err


@pytest.mark.slow
def test_a_learner_s_class_that_is_named_is_used(write, told):
    train(write(OWN), "--max-epochs", "1", "--seed", "2", "--lr", "0.03")
    code, result = told("resume", "my-net-1", "--max-epochs", "2", "--model", "my_file.py:MyNet")
    assert (code, result["epochs"], result["settings"]["model"]["lr"]) == (0, 2, 0.03)


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["train", "evil.py:Net", "--seed", "1"],
        ["train", "linear-regression", "--data", "evil.py:Data", "--seed", "1"],
        ["train", "linear-regression", "--data=evil.py:Data", "--seed", "1"],
        ["train", "linear-regression", "--seed", "1", "--data", "evil"],
    ],
)
def test_a_stranger_s_folder_cannot_name_code(words, write, capsys):
    write("open('was_loaded', 'a').close()\n" + OWN, "evil.py")
    train(*FAST, "--max-epochs", "1")
    facts = read_run("runs/linear-regression-1")
    write_run("runs/linear-regression-1", {**facts, "command": words})
    main(["rerun", "linear-regression-1", "--max-epochs", "1", "--quiet"])
    capsys.readouterr()
    assert not Path("was_loaded").exists()


@pytest.mark.slow
def test_a_stranger_s_folder_cannot_say_where_to_write(told):
    train(*FAST, "--max-epochs", "1")
    facts = read_run("runs/linear-regression-1")
    words = [*facts["command"], "--runs", "../outside"]
    write_run("runs/linear-regression-1", {**facts, "command": words})
    _, result = told("rerun", "linear-regression-1")
    assert result["folder"] == "runs/linear-regression-2"
    assert not Path("../outside").exists()


@pytest.mark.parametrize(
    "words", [["rm", "-r"], [], ["train"], ["train", "mlp", "--help"], ["train", "mlp", "--odd"]]
)
def test_a_command_that_makes_no_sense_is_told_with_its_file(words, failed):
    train(*FAST, "--max-epochs", "1")
    facts = read_run("runs/linear-regression-1")
    write_run("runs/linear-regression-1", {**facts, "command": words})
    code, message = failed("rerun", "linear-regression-1")
    assert code == 1
    assert str(Path("runs/linear-regression-1/run.json")) in message


# What other commands get


def asked(**options):
    return Namespace(
        **{"run": "linear-regression-1", "runs": "runs", "model": None, "data": None}
        | {"checkpoint": None, "set": []}
        | options
    )


def test_a_run_is_rebuilt_with_its_parameters_and_data():
    train(*FAST, "--max-epochs", "2")
    restored = restore(asked())
    assert_same(dict(restored.model.state_dict()), dict(parameters("linear-regression-1", "best")))
    assert not restored.model.training
    told = gradbook.Trainer(1).validate(restored.model, restored.data)
    assert told["val_loss"] == runs.load("linear-regression-1").best["val_loss"]["value"]


def test_the_last_checkpoint_can_be_asked_for():
    train(*FAST, "--max-epochs", "3", "--mode", "max")
    restored = restore(asked(checkpoint="last"))
    assert_same(dict(restored.model.state_dict()), dict(parameters("linear-regression-1")))


def test_without_a_best_checkpoint_the_last_one_is_taken():
    train(*FAST, "--max-epochs", "1")
    Path("runs/linear-regression-1/checkpoints/best.pt").unlink()
    assert restore(asked()).checkpoint.name == "last.pt"


def test_data_that_are_not_needed_are_not_made():
    train(*FAST, "--max-epochs", "1")
    assert runs.restore("linear-regression-1", need_data=False).data is None


def test_other_data_than_those_of_the_training_are_told(monkeypatch):
    train(*FAST, "--max-epochs", "1")
    randn = torch.randn
    monkeypatch.setattr(torch, "randn", lambda *sizes: randn(*sizes) + 1)
    with pytest.warns(GradbookWarning, match="training data here are not those"):
        restore(asked())


def test_a_checkpoint_of_another_model_is_refused(write):
    train(*FAST, "--max-epochs", "1")
    write(OWN.replace("Linear(2, 1)", "Linear(3, 1)"))
    with pytest.raises(CheckpointError, match=r"net.weight: \(1, 2\) float32 in the checkpoint"):
        restore(asked(model="my_file.py:MyNet"))


def test_a_checkpoint_without_parameters_is_refused():
    train(*FAST, "--max-epochs", "1")
    run = read_run("runs/linear-regression-1")["id"]
    path = "runs/linear-regression-1/checkpoints/best.pt"
    checkpoint.save(path, {"model": None, "run": run})
    with pytest.raises(CorruptFileError, match="no parameters"):
        restore(asked())


def test_a_checkpoint_that_is_not_there_is_told():
    train(*FAST, "--max-epochs", "1")
    with pytest.raises(ConfigError, match=r"failed\.pt does not exist"):
        restore(asked(checkpoint="failed"))
