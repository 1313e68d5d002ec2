"""A training whose disk is full, or whose folder is no longer there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from tests.runs.forked import OUTPUT, RUN, can_go_on, check_same, serving

from gradbook import checkpoint
from gradbook.runs import find_runs, load
from gradbook.runs.format import CHECKPOINT_FILES, LOCK_FILE

resource = pytest.importorskip("resource")

pytestmark = pytest.mark.slow

#: What happens to it is in a file of its own, because a run knows the code of its classes.
LEARNER = """
from pathlib import Path
import happens
from gradbook import LinearRegression

class Net(LinearRegression):
    def training_step(self, batch):
        if self.trainer.epoch == happens.epoch:
            happens.now(Path("runs/net-1"))
        return super().training_step(batch)
"""

HAPPENS = """
import os, resource, shutil, time
from pathlib import Path
from gradbook import checkpoint
epoch = {epoch}
def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
def now(run):
    global epoch
    done, epoch = epoch, None  # once is enough
    # The checkpoint of the epoch before is being written.
    while checkpoint.load(run / "checkpoints/last.pt")["position"]["epoch"] < done:
        time.sleep(0.01)
    {now}
{at_once}
"""

TRAIN = "train learner.py:Net --data synthetic-regression --max-epochs 4 --lr 0.03 --seed 1"
RESUME = "resume net-1 --model learner.py:Net"


@pytest.fixture(scope="module")
def server(request):
    with serving(request.config.rootpath / ".pytest_cache" / "matplotlib") as server:
        yield server


def prepare(place, now="pass", epoch=2, at_once=""):
    """Writes a learner's files."""
    place.mkdir(exist_ok=True)
    (place / "learner.py").write_text(LEARNER)
    (place / "happens.py").write_text(HAPPENS.format(epoch=epoch, now=now, at_once=at_once))


@pytest.fixture
def whole(server):
    """A training to which nothing happens."""
    prepare(Path("whole"))
    assert server.do("whole", "command", *TRAIN.split()) == 0
    return Path("whole")


def train(place, *words):
    """Trains in a process of its own, and returns what it says of its failure."""
    command = [sys.executable, "-m", "gradbook", *TRAIN.split(), *words, "--display", "off"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


def check_goes_on(server, place, whole):
    """With room again, a run goes on from its last checkpoint."""
    prepare(place)
    for name in ("last", "best"):
        assert checkpoint.load(place / RUN / CHECKPOINT_FILES[name])["position"]["epoch"] >= 1
    assert server.do(place, "command", *RESUME.split()) == 0, (place / OUTPUT).read_text()
    check_same(place, whole)


def test_metrics_that_cannot_grow_end_the_training(server, whole):
    place = Path("full")
    prepare(place, "limit((run / 'metrics.jsonl').stat().st_size + 10)")
    told = train(place)
    assert told.startswith("error: runs/net-1/metrics.jsonl cannot be written: ")
    assert load(place / RUN).epochs == 2
    check_goes_on(server, place, whole)


def test_a_checkpoint_that_cannot_be_written_ends_the_training(server, whole):
    place = Path("full")
    prepare(place, "limit(10_000)")
    told = train(place)
    assert re.match(r"error: runs/net-1/checkpoints/\w+.pt cannot be written: File too", told)
    assert load(place / RUN).status == "failed"
    assert load(place / RUN).facts["error"].startswith("StorageError: runs/net-1/checkpoints/")
    check_goes_on(server, place, whole)


def test_a_run_is_not_finished_if_its_last_checkpoint_cannot_be_written(server, whole):
    place = Path("full")
    prepare(place, "limit(10_000)", epoch=3)
    assert re.search(r"checkpoints/\w+.pt cannot be written", train(place))
    assert load(place / RUN).status == "failed"
    assert can_go_on(place)
    check_goes_on(server, place, whole)


def test_a_disk_that_is_full_from_the_start_costs_no_training():
    prepare(Path("full"), at_once="limit(100)")
    told = train(Path("full"))
    assert told.startswith("error: runs/net-1/run.json cannot be written: File too large.")


def test_without_room_for_a_checkpoint_the_training_does_not_begin():
    prepare(Path("full"), at_once="limit(10_000)")
    told = train(Path("full"))
    assert told.startswith("error: runs/net-1/checkpoints/last.pt cannot be written: File too")
    assert load(Path("full") / RUN).status == "failed"
    assert load(Path("full") / RUN).epochs == 0


@pytest.fixture
def small_disk():
    """A disk of its own, of a megabyte."""
    disk = Path("disk")
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_ends_the_training_and_room_lets_it_go_on(server, whole, small_disk):
    fill = "(run / '../../filler').write_bytes(b'0' * (os.statvfs(run).f_bavail * 4096))"
    prepare(small_disk, fill)
    told = train(small_disk)
    assert "cannot be written: No space left on device." in told
    (small_disk / "filler").unlink()
    check_goes_on(server, small_disk, whole)


# The folder


def train_here(server, place):
    """Trains, and returns the exit code and what was said."""
    code = server.do(place, "command", *TRAIN.split(), "--display", "off")
    return code, (place / OUTPUT).read_text()


def test_a_folder_that_may_no_longer_be_written_to_ends_the_training(server, whole):
    place = Path("closed")
    folder = place / RUN / "checkpoints"
    is_root = os.geteuid() == 0  # who may write everywhere but to a disk that is read only
    close, open_again = "chmod 500 {0}", "chmod 700 {0}"
    if is_root:
        close, open_again = "mount --bind {0} {0} && mount -o remount,bind,ro {0}", "umount -l {0}"
    command = f"{close!r}.format(run / 'checkpoints')"
    prepare(place, f"os.system({command}) or Path('is_closed').touch()")
    try:
        code, said = train_here(server, place)
    finally:  # also if only the first of the two mounts could be made
        subprocess.run(open_again.format(folder).split(), check=False, capture_output=True)
    if not (place / "is_closed").exists():
        pytest.skip("this root cannot mount")
    assert code == 1
    assert re.search(r"error: \S+.pt cannot be written: (Permission|Read-only)", said)
    check_goes_on(server, place, whole)


@pytest.mark.parametrize(
    "then",
    [
        pytest.param("", id="removed"),
        pytest.param("; run.touch()", id="replaced by a file"),
    ],
)
def test_a_folder_that_is_no_longer_there_ends_the_training(server, then):
    place = Path("removed")
    prepare(place, f"os.rename(run, 'elsewhere'){then}; shutil.rmtree('elsewhere')")
    code, said = train_here(server, place)
    assert code == 1
    assert re.search(r"error: elsewhere/\S+ cannot be written: it or its folder was removed", said)
    assert "Traceback" not in said


def test_a_run_that_another_process_trains_is_not_gone_on_with(server, whole):
    with FileLock(whole / RUN / LOCK_FILE):
        words = [*RESUME.split(), "--max-epochs", "6"]
        assert server.do(whole, "command", *words) == 2
    said = (whole / OUTPUT).read_text()
    assert "error: runs/net-1 is being trained by another process." in said
    assert load(whole / RUN).status == "finished"


def test_trainings_that_begin_at_the_same_moment_have_folders_of_their_own(server):
    processes = [server.start("together", "fit", max_epochs=2) for _ in range(8)]
    assert [server.wait(process) for process in processes] == [0] * 8
    found = find_runs(Path("together", "runs"))
    assert [run.name for run in found] == [f"net-{number}" for number in range(1, 9)]
    assert {run.status for run in found} == {"finished"}
    assert len({run.facts["process"]["pid"] for run in found}) == 8
    assert all(run.history.rows == found[0].history.rows for run in found)
