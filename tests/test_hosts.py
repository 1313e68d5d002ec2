"""Two machines train as one: two network namespaces of this one, with a link that can be cut."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.launching import environment, launched
from tests.patience import LONGEST, await_true

from gradbook.runs import load

pytestmark = pytest.mark.slow

SCRIPT = """
import os, sys, time
import gradbook
from pathlib import Path
from tests.small import Blobs, Net
from torch import nn

rank, fault, resume = os.environ["RANK"], sys.argv[1], (sys.argv[2:] or [None])[0]

class Step(gradbook.record.Sink):
    def end_step(self, trainer):
        print("step", trainer.num_steps, flush=True)
        time.sleep(0.05)

class Faulty(Net):
    def training_step(self, batch):
        is_killed = fault == "is killed" and rank == "1" and not Path("killed").exists()
        if is_killed and self.trainer.num_steps == 8:
            Path("killed").touch()
            os.kill(os.getpid(), 9)
        return super().training_step(batch)

gradbook.seed_everything(1)
model = Faulty(nn.LazyLinear(8), nn.ReLU(), nn.Dropout(0.5), nn.LazyLinear(3))
run, sinks = gradbook.runs.Run("runs", every_n_steps=2), [Step()] if fault == "is cut off" else []
trainer = gradbook.Trainer(12, run=run, sinks=sinks)
trainer.fit(model, Blobs(42, 9), resume=resume)
print([trainer.history.rows, [p.sum().item() for p in model.parameters()]])
"""

ENTER = """
hostname "$0" && mount --bind "$1" /etc/hosts || exit
mount --bind /dev/null /etc/resolv.conf  # no look-up of a name waits for a server
shift
exec "$@"
"""


def ip(*words):
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=True).stdout


class Hosts:
    """Machines node0 and node1, which reach each other by these names."""

    def __init__(self, folder):
        self.folder, self.started = folder, []
        self.names = [f"gb{os.getpid()}-{i}" for i in range(2)]
        self.links = [f"gb{os.getpid()}v{i}" for i in range(2)]
        ip("netns", "add", self.names[0])  # fails where that is not permitted
        ip("netns", "add", self.names[1])
        more = ["type", "veth", "peer", "name", self.links[1], "netns", self.names[1]]
        ip("-n", self.names[0], "link", "add", self.links[0], *more)
        for i, (name, link) in enumerate(zip(self.names, self.links, strict=True)):
            ip("-n", name, "addr", "add", f"10.77.0.{i + 1}/24", "dev", link)
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "link", "set", link, "up")
            (folder / f"host{i}").mkdir()
        (folder / "hosts").write_text("127.0.0.1 localhost\n10.77.0.1 node0\n10.77.0.2 node1\n")
        (folder / "script.py").write_text(SCRIPT)

    def start(self, *words, agent=(), by="static", timeout_seconds=60):
        """Starts the script on both, each in a folder of its own."""
        self.started = []
        for i, name in enumerate(self.names):
            meeting = ["--node-rank", str(i), "--master-addr", "node0", "--master-port", "29400"]
            if by == "c10d":
                meeting = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "node0:29400"]
                meeting += ["--rdzv-id", "mine"]
            run = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2"]
            run += ["--nproc-per-node", "1", *meeting, *agent]
            enter = ["ip", "netns", "exec", name, "unshare", "--uts", "--mount"]
            enter += ["sh", "-c", ENTER, f"node{i}", self.folder / "hosts"]
            told = self.folder / f"host{i}"
            with open(told / "out", "w") as out, open(told / "err", "w") as err:
                process = subprocess.Popen(
                    [*enter, *run, self.folder / "script.py", *words],
                    env=environment(GRADBOOK_TIMEOUT_SECONDS=str(timeout_seconds)),
                    cwd=told,
                    stdout=out,
                    stderr=err,
                )
            self.started.append(process)

    def ended(self):
        """The exit codes, when both have ended."""
        return [process.wait(LONGEST) for process in self.started]

    def told(self, i, where="out"):
        return (self.folder / f"host{i}" / where).read_text()

    def outcome(self):
        """What both have come to, which is the same."""
        assert self.ended() == [0, 0], self.told(0, "err") + self.told(1, "err")
        ours, others = (self.told(i).splitlines()[-1] for i in range(2))
        assert ours == others
        return ours

    def cut(self):
        ip("-n", self.names[0], "link", "set", self.links[0], "down")

    def mend(self):
        ip("-n", self.names[0], "link", "set", self.links[0], "up")

    def cut_in_the_middle(self):
        await_true(lambda: "step 9\n" in self.told(0))
        self.cut()

    def run(self):
        assert not (self.folder / "host1" / "runs").exists()
        (folder,) = (self.folder / "host0" / "runs").iterdir()
        return load(folder)

    def remove(self):
        for name in self.names:
            for process in ip("netns", "pids", name).split():
                os.kill(int(process), signal.SIGKILL)
        for process in self.started:
            process.wait(LONGEST)
        for name in self.names:
            ip("netns", "delete", name)


@pytest.fixture
def hosts(tmp_path):
    if shutil.which("ip") is None:
        pytest.skip("the command ip of iproute2 is not installed")
    try:
        made = Hosts(tmp_path)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"network namespaces cannot be made here: {error.stderr.strip()}")
    yield made
    made.remove()


def test_two_hosts_come_to_what_two_processes_of_one_come_to(hosts, tmp_path):
    hosts.start("goes well")
    outcome = hosts.outcome()
    alone = launched(2, tmp_path / "script.py", "goes well")
    assert alone.stdout.splitlines()[-1] == outcome
    assert hosts.run().facts["num_processes"] == 2


def test_a_host_that_is_cut_off_ends_both_and_its_run_goes_on_to_the_last_bit(hosts):
    hosts.start("goes well")
    whole = hosts.outcome()
    Path(hosts.run().folder.parent).rename(hosts.folder / "before")

    hosts.start("is cut off", timeout_seconds=5)
    hosts.cut_in_the_middle()
    assert hosts.ended() == [1, 1]
    for i in range(2):
        assert hosts.told(i, "err").count(f"Rank {i} stops: Another process") == 1
        assert hosts.told(i, "err").count("cannot be reached") == 1
    run = hosts.run()
    assert run.facts["status"] == "failed"
    state = torch.load(run.folder / "checkpoints" / "last.pt", weights_only=False)
    assert state["is_exact"]
    assert 0 < state["position"]["steps"] <= run.facts["steps"]

    hosts.mend()
    hosts.start("goes well", f"runs/{run.name}")
    assert hosts.outcome() == whole


def test_a_link_that_is_mended_in_time_is_no_fault_and_later_a_restart(hosts):
    hosts.start("is cut off")
    hosts.cut_in_the_middle()
    hosts.mend()
    whole = hosts.outcome()
    assert len(hosts.run().facts["sessions"]) == 1
    Path(hosts.run().folder.parent).rename(hosts.folder / "before")

    hosts.start("is cut off", agent=["--max-restarts", "3"], timeout_seconds=5)
    hosts.cut_in_the_middle()
    await_true(lambda: all("stops: Another process" in hosts.told(i, "err") for i in range(2)))
    hosts.mend()
    assert hosts.outcome() == whole
    assert len(hosts.run().facts["sessions"]) > 1


def test_a_rank_that_is_killed_on_a_host_whose_agent_alone_counts_that_costs_nothing(hosts):
    hosts.start("goes well", by="c10d")
    whole = hosts.outcome()
    Path(hosts.run().folder.parent).rename(hosts.folder / "before")
    hosts.start("is killed", agent=["--max-restarts", "1"], by="c10d")
    assert hosts.outcome() == whole
    assert len(hosts.run().facts["sessions"]) == 2
