"""A training is killed: at random moments, and at each change that it makes of the disk."""

import os
import random
import shutil
import signal
import time
from itertools import count
from pathlib import Path

import pytest
import torch
from tests.runs.forked import (
    RUN,
    Blobs,
    Net,
    await_reports,
    can_go_on,
    check_same,
    reported,
    serving,
)

from gradbook import checkpoint
from gradbook.record import Sink
from gradbook.runs import load
from gradbook.runs.format import CHECKPOINT_FILES
from gradbook.runs.stored import is_being_trained
from gradbook.seeds import seed_everything
from gradbook.trainer import Trainer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork()"),
]

COMMAND = "train linear-regression --max-epochs 6 --name net --seed 1"

#: How to train, and how to go on.
TRAININGS = {
    "a script": (["fit"], {}),
    "a checkpoint after some steps": (["fit"], {"every_n_steps": 3}),
    "long epochs": (["fit"], {"max_epochs": 2, "num_train": 3200, "every_n_steps": 50}),
    "the command": (["command", *COMMAND.split()], {}),
}


@pytest.fixture(scope="module")
def server(request):
    with serving(request.config.rootpath / ".pytest_cache" / "matplotlib") as server:
        yield server


def resume(server, place, task, arguments):
    """Begins to go on with a run."""
    if task[0] == "command":
        return server.start(place, "command", "resume", "net-1")
    return server.start(place, "fit", **arguments, resume=str(RUN))


def check_what_is_left(place):
    """Nothing is half written, and nothing that was recorded has gone."""
    folder, said = place / RUN, reported(place)
    last, best = (folder / CHECKPOINT_FILES[name] for name in ("last", "best"))
    if not (folder / "run.json").exists():
        assert not said
        assert not last.exists()
        return
    assert not is_being_trained(folder)
    stored = load(folder)
    assert stored.status in ("killed", "finished")
    if stored.status == "finished":
        assert checkpoint.load(last)["position"]["epoch"] == stored.epochs
    # One value may have been written, and not yet said to be.
    written = stored._metrics
    assert said in (written[len(written) - len(said) :], written[-len(said) - 1 : -1])
    # An epoch's checkpoint is being written while the next epoch is trained.
    epoch = checkpoint.load(last)["position"]["epoch"] if last.exists() else 0
    assert epoch <= stored.epochs <= epoch + 2
    if best.exists():
        assert 1 <= checkpoint.load(best)["best"]["epoch"] <= stored.epochs


@pytest.mark.parametrize("training", TRAININGS)
def test_a_kill_at_any_moment_loses_nothing(server, training):
    task, arguments = TRAININGS[training]
    draw, whole = random.Random(training), Path("whole")
    assert server.do(whole, *task, **arguments) == 0
    num_values = len(reported(whole))
    for attempt in range(5):
        place = Path(f"killed-{attempt}")
        process = server.start(place, *task, **arguments)
        await_reports(place, draw.randint(0, num_values))
        time.sleep(draw.uniform(0, 0.03))
        assert server.kill(process) in (-signal.SIGKILL, 0)
        check_what_is_left(place)
        if can_go_on(place):
            server.wait(resume(server, place, task, arguments))
            check_same(place, whole)


@pytest.mark.parametrize("training", TRAININGS)
def test_a_run_that_is_killed_again_and_again_ends_as_if_it_never_was(server, training):
    task, arguments = TRAININGS[training]
    draw, whole, place = random.Random(training), Path("whole"), Path("killed")
    assert server.do(whole, *task, **arguments) == 0
    process = server.start(place, *task, **arguments)
    await_reports(place, 1)
    for _ in range(10):
        time.sleep(draw.uniform(0, 0.05))
        has_ended = server.kill(process) == 0
        check_what_is_left(place)
        if has_ended:
            break
        process = resume(server, place, task, arguments)
    else:
        assert server.wait(process) == 0
    check_same(place, whole)


def test_a_kill_at_any_change_of_the_disk_loses_nothing(server):
    arguments, whole = {"max_epochs": 2, "every_n_steps": 4}, Path("whole")
    assert server.do(whole, "fit", **arguments) == 0
    for change in count():
        place = Path(f"killed-{change}")
        code = server.do(place, "fit_and_fall", change, **arguments)
        check_what_is_left(place)
        if code == 0:
            break
        assert code == -signal.SIGKILL
        if can_go_on(place):
            server.do(place, "fit", **arguments, resume=str(RUN))
            check_same(place, whole)
    assert change > 50


def test_a_kill_at_any_change_that_a_resumed_training_makes_loses_nothing(server):
    arguments, whole, before = {"max_epochs": 2, "every_n_steps": 3}, Path("whole"), Path("before")
    assert server.do(whole, "fit", **arguments) == 0
    # A value is recorded after the fourth step: later than the last checkpoint.
    server.do(before, "fit_and_fall_within", 5, **arguments)
    assert (
        len(reported(before))
        > checkpoint.load(before / RUN / CHECKPOINT_FILES["last"])["recorded_lines"]
    )
    for change in count():
        place = Path(f"killed-{change}")
        shutil.copytree(before, place)
        code = server.do(place, "fit_and_fall", change, **arguments, resume=str(RUN))
        check_what_is_left(place)
        if code == 0:
            break
        assert code == -signal.SIGKILL
        if can_go_on(place):
            server.do(place, "fit", **arguments, resume=str(RUN))
            check_same(place, whole)
    assert change > 40


def test_a_run_that_was_killed_after_its_last_epoch_can_still_be_finished(server):
    whole, place = Path("whole"), Path("killed")
    assert server.do(whole, "fit", max_epochs=2) == 0
    server.do(place, "fit_and_fall_at_the_end", max_epochs=2)
    server.do(place, "fit", max_epochs=2, resume=str(RUN))
    check_same(place, whole)


def test_a_run_that_was_killed_after_it_stopped_early_trains_no_further(server):
    arguments = {"max_epochs": 9, "patience": 1, "min_delta": 10.0}
    whole, place = Path("whole"), Path("killed")
    assert server.do(whole, "fit", **arguments) == 0
    server.do(place, "fit_and_fall_at_the_end", **arguments)
    server.do(place, "fit", **arguments, resume=str(RUN))
    check_same(place, whole)


@pytest.mark.filterwarnings("ignore:.*is not kept there")
def test_a_checkpoint_that_is_taken_before_a_resumed_pass_goes_on_holds_what_it_resumes(server):
    class Saving(Sink):
        def open(self, board, trainer=None):
            trainer.save_checkpoint("again.pt")

    server.do("killed", "fit_and_fall_within", 5, max_epochs=2, every_n_steps=3)
    seed_everything(1)
    last = Path("killed") / RUN / CHECKPOINT_FILES["last"]
    Trainer(2, sinks=[Saving()]).fit(Net(), Blobs(), resume=str(last))
    before, again = checkpoint.load(last), checkpoint.load("again.pt")
    assert before["position"]["batches"] > 0
    places = [
        bytes(checkpoint.encode({"position": state["position"]})) for state in (again, before)
    ]
    assert places[0] == places[1]
    assert torch.equal(again["sources"]["torch"], before["sources"]["torch"])
