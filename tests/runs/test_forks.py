"""A process that is forked within a training: all that the training has belongs to its parent."""

import os
from pathlib import Path

import pytest
from tests.runs.forked import OUTPUT, serving

from gradbook.runs import load
from gradbook.sweeps.results import load as load_sweep

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="processes of POSIX"),
]

LEARNER = """
import os, sys
from pathlib import Path
from gradbook import LinearRegression, Trainer, SyntheticRegressionData, seed_everything

class Net(LinearRegression):
    def training_step(self, batch):
        if self.trainer.train_batch_idx == 3 and not Path("forked").exists():
            Path("forked").touch()
            child = os.fork()
            if child == 0:
                {child}
            told = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            Path("code").write_text(str(told))
        return super().training_step(batch)
"""

PLAIN = "train learner.py:Net --data synthetic-regression --num-train 64 --max-epochs 3 --seed 1"
TRAIN = f"{PLAIN} --display off --checkpoint-steps 1"

ENDS = [
    ("sys.exit()", 0),
    ("sys.exit(7)", 7),
    ("sys.exit('words')", 1),
    ("raise ValueError('odd')", 1),
    ("raise KeyboardInterrupt", 1),
    ("os._exit(5)", 5),
]


@pytest.fixture(scope="module")
def server(request):
    with serving(request.config.rootpath / ".pytest_cache" / "matplotlib") as server:
        yield server


def prepare(name, child):
    place = Path(name)
    place.mkdir()
    (place / "learner.py").write_text(LEARNER.format(child=child))
    return place


@pytest.mark.parametrize(("child", "code"), ENDS)
def test_a_child_that_ends_leaves_the_run_to_its_parent(server, child, code):
    whole = prepare("whole", "os._exit(0)")
    (whole / "forked").touch()  # so that it forks no more
    assert server.do(whole, "command", *TRAIN.split()) == 0
    place = prepare("forking", child)
    assert server.do(place, "command", *TRAIN.split()) == 0, (place / OUTPUT).read_text()
    assert (place / "code").read_text() == str(code)
    expected, found = load(whole / "runs/net-1"), load(place / "runs/net-1")
    assert found.status == "finished"
    assert found.history.rows == expected.history.rows
    assert found.points == expected.points
    said = (place / OUTPUT).read_text()
    assert said.count("synthetic-regression: finished") == 1
    assert ("odd" in said) == ("odd" in child)


def test_a_child_that_lives_on_records_nothing_and_closes_nothing(server):
    # It comes to the end of the training itself, before its parent does.
    place = prepare("going_on", "return super().training_step(batch)")
    assert server.do(place, "command", *TRAIN.split()) == 0, (place / OUTPUT).read_text()
    found = load(place / "runs/net-1")
    assert (found.status, found.epochs) == ("finished", 3)
    assert [row["epoch"] for row in found.history.rows] == [1, 2, 3]


def test_a_child_does_not_hold_the_folder_s_lock_when_its_parent_has_ended(server):
    wait = "import time; os.close(1); os.close(2); time.sleep(600)"
    place = prepare("staying", f"Path('child').write_text(str(os.getpid())); {wait}")
    text = (place / "learner.py").read_text()
    (place / "learner.py").write_text(text.replace("os.waitpid(child, 0)[1]", "0"))
    try:
        assert server.do(place, "command", *TRAIN.split()) == 0, (place / OUTPUT).read_text()
        again = "resume net-1 --model learner.py:Net --max-epochs 4"
        assert server.do(place, "command", *again.split()) == 0, (place / OUTPUT).read_text()
    finally:
        os.kill(int((place / "child").read_text()), 9)
    assert load(place / "runs/net-1").epochs == 4


@pytest.mark.parametrize("child", ["sys.exit(3)", "raise ValueError('odd')"])
@pytest.mark.parametrize("more", ["--no-stack --on here", ""])
def test_a_child_does_not_go_on_with_a_sweep(server, child, more):
    place = prepare("sweeping", child)
    words = f"sweep learner.py:Net {PLAIN.split(maxsplit=2)[2]} --lr 0.01,0.02 {more}"
    assert server.do(place, "command", *words.split()) == 0, (place / OUTPUT).read_text()
    found = load_sweep(place / "runs/net-sweep-1")
    assert [run.status for run in found.runs] == ["finished"] * 2
    assert (place / OUTPUT).read_text().count("best val_loss") <= 2
