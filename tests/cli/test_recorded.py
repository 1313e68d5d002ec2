"""What a stranger's run.json or sweep.json can make a command do: nothing but train."""

import json
from pathlib import Path

import pytest
from tests.runs.folders import facts_of, make_run

from gradbook.cli import main
from gradbook.runs.format import read_run, write_run
from gradbook.runs.stored import load
from gradbook.untrusted import is_a_place

pytestmark = pytest.mark.slow

LINE = ("linear-regression", "--num-train", "32", "--num-val", "16", "--max-epochs", "1")
SWEEP = "runs/linear-regression-sweep-1"

#: Code, places, addresses and engines, however they are written.
ATTACKS = [
    ["--data=evil.py"],
    ["--data", "evil.py"],
    ["--data", "synthetic-regression", "--data", "evil.py"],
    ["--data=synthetic-regression", "--data=evil.py"],
    ["--dat=evil.py"],
    ["--d", "evil.py"],
    ["--", "--data", "evil.py"],
    ["evil.py"],
    ["--model", "evil.py"],
    ["--storage=sqlite:///made.db", "--search", "optuna"],
    ["--stor=sqlite:///made.db"],
    ["--on=dask:tcp://127.0.0.1:9"],
    ["--on", "ray:127.0.0.1:9"],
    ["--workers", "99"],
    ["--runs=made"],
    ["--name", "made"],
    ["--resume", "made"],
    ["--resume=made"],
    ["--display", "terminal"],
    ["--sinks", "made"],
    ["--run=made"],
    ["--help"],
    ["--seed", "nothing"],
]


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A run and a sweep of the command."""
    folder = tmp_path_factory.mktemp("begun")
    where = ["--runs", str(folder), "--quiet"]
    assert main(["train", *LINE, *where]) == 0
    assert main(["sweep", *LINE, "--lr", "0.1,0.2", "--on", "here", *where]) == 0
    return folder


@pytest.fixture
def runs(begun):
    """The same in the folder "runs", beside a file that leaves a trace when it is run."""
    import shutil

    shutil.copytree(begun, "runs")
    Path("evil.py").write_text("open('made', 'w').close()")


def made():
    return [name for name in ("made", "made.db") if Path(name).exists()]


def said(capsys):
    """What went to standard error, on one line."""
    return " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("words", ATTACKS, ids=" ".join)
def test_a_sweep_s_file_gives_settings_only(runs, words, capsys):
    file = Path(SWEEP, "sweep.json")
    facts = json.loads(file.read_text())
    facts["command"] += words
    file.write_text(json.dumps(facts))
    code = main(["sweep", "linear-regression", "--resume", SWEEP, "--on", "here", "--quiet"])
    assert made() == []
    if not {word.partition("=")[0] for word in words[:1]} & {"--data", "--runs", "--name"}:
        assert code == 1
        assert f"{file} holds a command that cannot be used" in said(capsys)


@pytest.mark.parametrize("words", ATTACKS, ids=" ".join)
@pytest.mark.parametrize("command", ["resume", "rerun", "inspect"])
def test_a_run_s_file_gives_settings_only(runs, command, words, capsys):
    folder = Path("runs/linear-regression-1")
    facts = read_run(folder)
    write_run(folder, facts | {"command": [*facts["command"], *words]})
    more = ["--max-epochs", "2"] if command == "resume" else []
    code = main([command, "linear-regression-1", *more])
    assert made() == []
    if not {word.partition("=")[0] for word in words[:1]} & {"--data", "--runs", "--name"}:
        assert code == 1
        assert "run.json holds a command that cannot be used" in said(capsys)


@pytest.mark.parametrize("command", [["sweep"], ["train", "mlp"], []])
def test_a_sweep_s_file_with_another_command_is_damaged(runs, command, capsys):
    file = Path(SWEEP, "sweep.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"command": command}))
    assert main(["sweep", "linear-regression", "--resume", SWEEP, "--quiet"]) in (1, 2)
    assert "sweep" in said(capsys)


def test_a_class_of_one_s_own_is_named_anew_for_a_sweep(runs, capsys):
    file = Path(SWEEP, "sweep.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"data": "evil.Data"}))
    assert main(["sweep", "linear-regression", "--resume", SWEEP, "--quiet"]) == 2
    assert "its data is evil.Data, a class of your own" in said(capsys)
    assert made() == []


@pytest.mark.parametrize("command", ["rerun", "resume"])
def test_a_place_in_a_command_is_refused_until_it_is_given(command, capsys):
    make_run(command=["train", "mlp", "--root", "/elsewhere", "--seed", "1"])
    assert main([command, "mlp-1"]) == 2
    assert "root is '/elsewhere'" in (told := said(capsys))
    assert "add: --set root=/elsewhere" in told


def test_a_place_in_the_settings_of_a_script_s_run_is_refused(capsys):
    data = facts_of("mlp-1")["data"]
    make_run(command=None, data=data | {"hyperparameters": {"root": "/elsewhere"}})
    assert main(["rerun", "mlp-1"]) == 2
    assert "add: --set root=/elsewhere" in said(capsys)


def test_a_place_in_a_sweep_s_command_is_given_as_an_option(runs, capsys):
    file = Path(SWEEP, "sweep.json")
    facts = json.loads(file.read_text())
    facts["command"] = ["sweep", "mlp", "--root", "/elsewhere", "--lr", "0.1,0.2"]
    facts["data"] = "gradbook.datasets.fashion_mnist.FashionMNIST"
    file.write_text(json.dumps(facts))
    assert main(["sweep", "mlp", "--resume", SWEEP, "--quiet"]) == 2
    assert "add: --root /elsewhere" in said(capsys)


def test_a_run_with_a_file_of_its_own_goes_on_when_the_file_is_named(write, capsys):
    write(
        "import gradbook\n"
        "from gradbook.datasets import SyntheticRegressionData\n\n"
        "class Data(SyntheticRegressionData):\n"
        "    def __init__(self, path, num_train: int = 32):\n"
        "        super().__init__(num_train=num_train, num_val=16)\n"
        "        self.save_hyperparameters()\n"
    )
    arguments = ["linear-regression", "--data", "my_file.py:Data", "--path", "data/x.csv"]
    assert main(["train", *arguments, "--max-epochs", "1", "--quiet"]) == 0
    asked = ["linear-regression-1", "--data", "my_file.py:Data", "--quiet", "--max-epochs", "2"]
    assert main(["resume", *asked]) == 2
    assert "add: --set path=data/x.csv" in said(capsys)
    assert main(["resume", *asked, "--set", "path=data/x.csv"]) == 0
    assert load("linear-regression-1").epochs == 2


def test_set_takes_a_name_and_a_value(capsys):
    make_run()
    assert main(["rerun", "mlp-1", "--set", "root"]) == 2
    assert "--set: expected NAME=VALUE, but got 'root'" in said(capsys)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("root", "data", True),
        ("data_path", "x", True),
        ("kind", "a/b", True),
        ("kind", "sqlite:x", True),
        ("kind", "~", True),
        ("kind", ["a", "b\\c"], True),
        ("kind", Path("x"), True),
        ("options", {"a": {"root": "data"}}, True),
        ("options", {"where": ["/x"]}, True),
        ("options", {"/x": 1}, True),
        ("kinds", {"a/b"}, True),
        ("options", {"kind": "relu", "root": 3}, False),
        ("activation", "relu", False),
        ("root", 3, False),
        ("lr", 0.1, False),
        ("resize", [28, 28], False),
    ],
)
def test_what_may_be_a_place(name, value, expected):
    assert is_a_place(name, value) is expected
