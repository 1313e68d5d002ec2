"""Damaged and hostile folders against every command that reads them.

Damage gets a message, and no wrong figure. No text of a run reaches the terminal as a command.
"""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from tests.runs.folders import facts_of, make_run, metrics_of

from gradbook import checkpoint
from gradbook.cli.entry import main
from gradbook.errors import ConfigError, CorruptFileError, GradbookWarning, warn
from gradbook.inspection.images import read_as_input
from gradbook.record import Metric
from gradbook.runs.stored import load
from gradbook.sweeps.format import write_sweep
from gradbook.sweeps.results import load as load_sweep
from gradbook.table import Table


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def replace_by_folder(path):
    path.unlink()
    path.mkdir()


def link_to_itself(path):
    # Cannot be read by anybody; a file without permissions can, by the superuser.
    path.unlink()
    path.symlink_to(path.name)


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def link_to_a_device(path):
    path.unlink()
    path.symlink_to("/dev/zero")


def link_out(path):
    path.replace("outside")
    path.symlink_to(Path("outside").absolute())


def enlarge(path):
    os.truncate(path, 1 << 41)  # takes no room on the disk


#: What would be waited for, would never end, is somebody else's, or fills the memory.
TRAPS = [pipe, link_to_a_device, link_out, enlarge] if hasattr(os, "mkfifo") else [link_out]
DAMAGES = [truncate, empty, flip, replace_by_folder, link_to_itself, *TRAPS]
COMMANDS = {
    "runs": ["runs"],
    "show": ["show", "mlp-1"],
    "compare": ["compare", "mlp-1", "mlp-2"],
}


@pytest.fixture
def run_command(capsys, monkeypatch):
    """Runs a command line, and returns its exit code and all that it said, in lines of any length.

    The paths of the folders of tests are long, and longer on some machines.
    """
    monkeypatch.setattr("gradbook.wrapping.USUAL_WIDTH", 10_000)

    def run(*arguments):
        capsys.readouterr()
        code = main(arguments)
        told = capsys.readouterr()
        assert "Traceback" not in told.err
        return code, told.out + told.err

    return run


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_to_run_json_is_named_by_every_command(run_command, command, damage):
    folder = make_run("mlp-1")
    make_run("mlp-2", hyperparameters={"lr": 0.3})
    damage(folder / "run.json")
    code, told = run_command(*COMMANDS[command])
    assert code == 1
    assert "mlp-1/run.json" in told
    assert "fashion-mnist" not in told  # nothing of what the file says


@pytest.mark.parametrize("command", ["show", "compare"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_to_the_values_is_named_where_they_are_shown(run_command, command, damage):
    folder = make_run("mlp-1")
    make_run("mlp-2", hyperparameters={"lr": 0.3})
    damage(folder / "metrics.jsonl")
    code, told = run_command(*COMMANDS[command])
    assert code == 1
    assert "mlp-1/metrics.jsonl" in told


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_list_shows_the_figures_of_run_json_though_the_values_are_damaged(run_command, damage):
    folder = make_run("mlp-1")
    before = run_command("runs")
    damage(folder / "metrics.jsonl")
    assert run_command("runs") == before


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("damage", [flip, replace_by_folder, link_to_itself, *TRAPS])
def test_damage_to_the_values_of_a_killed_run_is_named(run_command, command, damage):
    folder = make_run("mlp-1", status="running")
    make_run("mlp-2")
    damage(folder / "metrics.jsonl")
    code, told = run_command(*COMMANDS[command])
    assert code == 1
    assert "mlp-1/metrics.jsonl" in told
    assert "3/3" not in re.findall(r"mlp-1.*", told)[0]


def test_what_is_left_of_a_killed_run_is_what_is_shown(run_command):
    folder = make_run("mlp-1", status="running")
    truncate(folder / "metrics.jsonl")  # as far as anybody can know, it was killed here
    code, told = run_command("runs", "--json")
    assert code == 0
    assert json.loads(told)["runs"][0]["epochs"] == 2


@pytest.mark.parametrize("name", ["curve.svg", "curve.png", "checkpoints/last.pt"])
@pytest.mark.parametrize("damage", [empty, replace_by_folder, link_to_itself, pipe, link_out])
def test_a_picture_or_checkpoint_that_can_be_none_is_named(run_command, name, damage):
    folder = make_run("mlp-1")
    damage(folder / name)
    code, told = run_command("show", "mlp-1")
    assert code == 1
    assert f"mlp-1/{name}" in told
    assert "val_acc" in told  # the figures do not depend on it


@pytest.mark.parametrize("name", ["run.json", "metrics.jsonl", "curve.svg", "lock"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_run_can_be_removed_unless_a_file_has_become_a_folder(run_command, name, damage):
    folder = make_run("mlp-1")
    (folder / "lock").write_bytes(b"0")
    damage(folder / name)
    code, told = run_command("rm", "mlp-1", "--yes")
    if damage is replace_by_folder:
        assert code == 1
        assert name in told
        assert len(list(folder.rglob("*"))) == 8
    else:
        assert (code, told) == (0, "removed runs/mlp-1\n")
        assert not folder.exists()


@pytest.mark.parametrize("name", ["run.json", "metrics.jsonl"])
@pytest.mark.parametrize("command", ["show", "compare"])
def test_a_file_that_may_not_be_read_is_named(run_command, monkeypatch, command, name):
    make_run("mlp-1")
    make_run("mlp-2")
    open_file = os.open

    def refuse(path, *arguments, **options):
        if Path(path).name == name:
            raise PermissionError(13, "Permission denied", str(path))
        return open_file(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    code, told = run_command(*COMMANDS[command])
    assert code == 1
    assert f"mlp-1/{name} cannot be read: Permission denied" in told


@pytest.mark.parametrize("command", COMMANDS)
def test_a_missing_file_is_named(run_command, command):
    folder = make_run("mlp-1")
    make_run("mlp-2")
    (folder / "run.json").unlink()
    code, told = run_command(*COMMANDS[command])
    assert (code, "mlp-1/run.json is damaged: it is missing" in told) == (1, True)


def test_a_checkpoint_folder_that_leads_out_is_named(run_command):
    folder = make_run("mlp-1")
    shutil.move(folder / "checkpoints", "elsewhere")
    (folder / "checkpoints").symlink_to(Path("elsewhere").absolute())
    code, told = run_command("show", "mlp-1")
    assert (code, "leads out of the run's folder" in told) == (1, True)


# Commands that open a run's files to go on with it

LINE = ("linear-regression", "--num-train", "32", "--num-val", "16", "--max-epochs", "1")
OUTSIDE = b"nothing of a run"


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory):
    """A run whose gradients were watched, and a sweep."""
    folder = tmp_path_factory.mktemp("trained")
    where = ["--runs", str(folder), "--quiet"]
    assert main(["train", *LINE, "--watch", "gradients", *where]) == 0
    assert main(["sweep", *LINE, "--lr", "0.1,0.2", "--on", "here", *where]) == 0
    return folder


@pytest.fixture
def trained(trained_once):
    """The same in the folder "runs" of the test."""
    shutil.copytree(trained_once, "runs")


@pytest.mark.slow
@pytest.mark.parametrize("damage", TRAPS)
@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("metrics.jsonl", ["resume", "--max-epochs", "2"]),
        ("checkpoints/last.pt", ["resume", "--max-epochs", "2"]),
        ("checkpoints/best.pt", ["inspect"]),
        ("checkpoints/best.pt", ["export", "--to", "safetensors"]),
        ("checkpoints/best.pt", ["predict", "image.png"]),
        ("run.json", ["rerun"]),
    ],
)
def test_a_trap_in_a_run_is_named_and_nothing_is_written_through_it(
    run_command, trained, damage, name, command
):
    path = Path("runs/linear-regression-1", name)
    damage(path)
    if damage is link_out:
        Path("outside").write_bytes(OUTSIDE)
    verb, *options = command
    code, told = run_command(verb, "linear-regression-1", *options)
    assert code == 1
    assert f"linear-regression-1/{name}" in told
    assert damage is not link_out or Path("outside").read_bytes() == OUTSIDE


@pytest.mark.slow
@pytest.mark.filterwarnings("always::gradbook.errors.GradbookWarning")
@pytest.mark.parametrize("damage", TRAPS)
def test_a_trap_in_the_place_of_the_gradients_is_told_or_replaced(run_command, trained, damage):
    path = Path("runs/linear-regression-1/gradients.json")
    damage(path)
    if damage is link_out:
        Path("outside").write_bytes(OUTSIDE)
    code, told = run_command("resume", "linear-regression-1", "--max-epochs", "2")
    if damage in (link_out, link_to_a_device):
        assert (code, "gradients.json" in told) == (1, True)
        assert damage is not link_out or Path("outside").read_bytes() == OUTSIDE
    else:
        assert code == 0
        assert json.loads(path.read_text())["rows"]


@pytest.mark.slow
@pytest.mark.parametrize("damage", TRAPS)
@pytest.mark.parametrize("name", ["sweep.json", "member-1/run.json", "member-1/metrics.jsonl"])
def test_a_trap_in_a_sweep_is_not_sprung_by_going_on_with_it(run_command, trained, damage, name):
    folder = Path("runs/linear-regression-sweep-1")
    damage(folder / name)
    if damage is link_out:
        Path("outside").write_bytes(OUTSIDE)
    code, told = run_command(
        "sweep", "linear-regression", "--resume", str(folder), "--on", "here", "--quiet"
    )
    assert code in (0, 1)
    assert name != "sweep.json" or "sweep.json" in told
    assert damage is not link_out or Path("outside").read_bytes() == OUTSIDE


@pytest.mark.slow
def test_a_member_s_folder_that_leads_out_is_refused(run_command, trained):
    folder = Path("runs/linear-regression-sweep-1")
    (folder / "member-2").rename("elsewhere")
    (folder / "member-2").symlink_to(Path("elsewhere").absolute())
    (Path("elsewhere") / "run.json").unlink()
    before = sorted(Path("elsewhere").rglob("*"))
    code, told = run_command("sweep", "linear-regression", "--resume", str(folder), "--quiet")
    assert (code, "member-2 is a link that leads out" in told) == (1, True)
    assert sorted(Path("elsewhere").rglob("*")) == before


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
def test_a_pipe_in_the_place_of_an_image_is_not_waited_for():
    os.mkfifo("image.png")
    with pytest.raises(CorruptFileError, match=r"image\.png is not a file, but a pipe"):
        read_as_input("image.png", (1, 28, 28))


# Hostile texts

EVIL = "evil\x1b[2J\x1b]0;title\x07\r\x9b"


@pytest.fixture
def hostile_run():
    """A run whose every text is an attack on the terminal."""
    facts = facts_of("mlp-1")
    for part in ("model", "data"):
        facts[part] |= {"name": EVIL, "class": EVIL, "hyperparameters": {EVIL: EVIL, "lr": 0.1}}
    label = f"val_{EVIL}"
    make_run(
        "mlp-1",
        [*metrics_of(), Metric(label, 1, 0.5, "epoch"), Metric(label, 1.0, 0.5)],
        **{name: facts[name] for name in ("model", "data")},
        status="failed",
        error=f"{EVIL}\n{EVIL}",
        diverged=EVIL,
        platform=EVIL,
        device=EVIL,
        started=EVIL,
        command=["train", EVIL],
        git={"commit": EVIL, "dirty": False},
        best_checkpoint={"label": label, "epoch": 1, "value": 0.5},
    )
    make_run("mlp-2")


def assert_harmless(told):
    assert r"evil\x1b[2J\x1b]0;title\x07\r\x9b" in told
    assert all(char.isprintable() or char == "\n" for char in told)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_no_text_of_run_json_is_obeyed_by_the_terminal(run_command, hostile_run, command):
    _, told = run_command(*COMMANDS[command])
    assert_harmless(told)


@pytest.mark.parametrize(
    "arguments",
    [
        ["resume", "mlp-1"],
        ["rerun", "mlp-1"],
        ["inspect", "mlp-1"],
        ["export", "mlp-1", "--to", "onnx"],
        ["predict", "mlp-1", "a.png"],
    ],
)
def test_no_text_of_an_error_about_a_run_is_obeyed(
    run_command, hostile_run, monkeypatch, arguments
):
    monkeypatch.setattr(checkpoint, "load", lambda path: {})
    _, told = run_command(*arguments)
    assert_harmless(told)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_json_escapes_what_a_terminal_would_obey(run_command, hostile_run, command):
    _, told = run_command(*COMMANDS[command], "--json")
    assert r"evil\u001b[2J" in told
    assert "\x1b" not in told


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["inspect"], ["export", "--to", "onnx"], ["resume"]])
def test_no_name_of_a_parameter_is_obeyed_by_the_terminal(run_command, arguments):
    training = ["train", "linear-regression", "--max-epochs", "1", "--num-train", "32", "--quiet"]
    assert run_command(*training)[0] == 0
    command, *options = arguments
    for path in Path("runs/linear-regression-1/checkpoints").iterdir():
        state = checkpoint.load(path)
        state["model"] = {f"{name}.{EVIL}": value for name, value in state["model"].items()}
        checkpoint.save(path, state)
    more = ["--max-epochs", "2"] if command == "resume" else []
    code, told = run_command(command, "linear-regression-1", *options, *more)
    assert code == 1
    assert_harmless(told)


def test_no_name_of_a_file_is_obeyed_by_the_terminal(run_command):
    folder = make_run()
    (folder / EVIL).touch()
    assert_harmless(run_command("rm", "mlp-1", "--yes")[1])


# The same through Python


def test_nothing_that_shows_a_run_obeys_its_texts(hostile_run):
    run = load("mlp-1")
    for shown in (run, run.history, Table([EVIL], [[EVIL]]), ConfigError(EVIL)):
        assert all(char.isprintable() or char == "\n" for char in f"{shown}{shown!r}")
    assert_harmless(str(run.history))
    assert "\x1b" not in run.history._repr_html_()
    with pytest.raises(ConfigError) as raised:
        run.plot("nothing")
    assert_harmless(str(raised.value))


def test_nothing_that_shows_a_sweep_obeys_its_texts(hostile_run):
    folder = Path("runs/mlp-sweep-1")
    folder.mkdir()
    Path("runs/mlp-1").rename(folder / "member-1")
    member = {
        "folder": "member-1",
        "values": {EVIL: EVIL, "seed": 0},
        "setting": 0,
        "error": EVIL,
        "alone": EVIL,
        "seconds": None,
    }
    facts = {"model": EVIL, "data": EVIL, "swept": {EVIL: [EVIL]}, "fixed": {}}
    write_sweep(folder, facts | {"level": None, "seconds": 1.0, "members": [member]})
    sweep = load_sweep("mlp-sweep-1")
    for shown in (sweep, sweep.table(), sweep.settings[0], sweep.members[0], sweep.runs[0]):
        assert all(char.isprintable() or char == "\n" for char in f"{shown}{shown!r}")
    assert_harmless(str(sweep.table()))
    assert "\x1b" not in sweep.table()._repr_html_()


def test_no_text_of_a_warning_is_obeyed():
    with pytest.warns(GradbookWarning) as caught:
        warn(f"{EVIL} is wrong", GradbookWarning)
    assert_harmless(str(caught[0].message))


def test_a_text_of_run_json_makes_no_row_of_its_own(run_command):
    make_run("mlp-1", model=facts_of("a")["model"] | {"name": "mlp\nmlp-9  finished"})
    _, told = run_command("runs")
    assert len(told.splitlines()) == 2
