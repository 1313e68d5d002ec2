"""Several processes train as one: see `tests/together.py` for what they train."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests import together
from tests.launching import ROOT, assert_close, environment, launched, torchrun
from tests.patience import LONGEST
from tests.small import Blobs, Net, fit
from torch import nn

import gradbook
from gradbook import checkpoint, devices, errors, rows
from gradbook.data import TensorLoader
from gradbook.distributed import Group, Ranks, _check_changes_nothing
from gradbook.errors import ConfigError, ModelError
from gradbook.resume.loader import Position, ResumableLoader


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What two processes come to, each, and what they have said and left."""
    folder = tmp_path_factory.mktemp("two")
    done = launched(2, ROOT / "tests" / "together.py", folder)
    assert done.returncode == 0, done.stderr
    ranks = [torch.load(folder / f"rank-{rank}.pt", weights_only=False) for rank in range(2)]
    return ranks, done, folder


def assert_near(ours, theirs):
    """Numbers that are the same but for what 16 bits leave out."""
    for what in ("parameters", "rows"):
        torch.testing.assert_close(ours[what], theirs[what], rtol=0.02, atol=0.01)


def told(result):
    """The post-mortem's words, whose lines end where the process's terminal has it."""
    return " ".join(str(result["postmortem"]).split())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::gradbook.errors.GradbookWarning")
@pytest.mark.parametrize("name", together.CASES)
def test_two_processes_come_to_what_one_comes_to(two, name):
    one, (ours, other) = together.train(together.CASES[name]), (r["cases"][name] for r in two[0])
    for mine, others in zip(ours["parameters"], other["parameters"], strict=True):
        assert torch.equal(mine, others) or mine.isnan().any()
    if name != "diverging":
        assert_close(ours["parameters"], one["parameters"])
        assert_close(ours["rows"], one["rows"])
        assert_close(ours["points"], one["points"])
        assert_close(other["points"], one["points"])
    for what in ("status", "best", "reports", "num_findings"):
        assert ours[what] == one[what]
    assert told(ours) == told(one)
    assert other["status"] == one["status"]


@pytest.mark.slow
@pytest.mark.parametrize("name", together.MIXED)
def test_two_processes_come_near_to_one_in_16_bits(two, name):
    with together.float16_is_offered():
        one = together.train(together.MIXED[name])
    ours, other = (rank["mixed"][name] for rank in two[0])
    for mine, others in zip(ours["parameters"], other["parameters"], strict=True):
        assert torch.equal(mine, others)
    assert_near(ours, one)


@pytest.mark.slow
def test_a_step_that_overflows_on_one_rank_is_left_out_by_all(two):
    ours, other = (rank["overflowing"] for rank in two[0])
    assert ours["scale"] == other["scale"] < 2**16
    for mine, others in zip(ours["parameters"], other["parameters"], strict=True):
        assert torch.equal(mine, others)
        assert mine.isfinite().all()


@pytest.mark.slow
@pytest.mark.skipif(not together.COMPILER, reason="torch.compile needs a C++ compiler")
def test_two_processes_compile_what_one_compiles(two):
    script, path = ROOT / "tests" / "together.py", two[2] / "alone.pt"
    alone = subprocess.run(
        [sys.executable, script, path],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )
    assert alone.returncode == 0, alone.stderr
    assert "cannot be compiled here" not in alone.stderr + two[1].stderr
    ours, other, one = (
        torch.load(two[2] / name, weights_only=False)
        for name in ("compiled-0-of-2.pt", "compiled-1-of-2.pt", path.name)
    )
    for name, mine in ours.items():
        for a, b in zip(mine["parameters"], other[name]["parameters"], strict=True):
            assert torch.equal(a, b)
    name, in_16_bits = together.COMPILED
    assert_close(ours[name]["parameters"], one[name]["parameters"])
    assert_close(ours[name]["rows"], one[name]["rows"])
    assert_near(ours[in_16_bits], one[in_16_bits])


@pytest.mark.slow
def test_a_training_goes_on_to_the_last_bit_in_as_many_processes(two):
    for rank in two[0]:
        whole, resumed = rank["whole"], rank["resumed"]
        assert resumed["rows"] == whole["rows"]
        assert resumed["points"] == whole["points"]
        for name, tensor in whole["tensors"].items():
            assert torch.equal(resumed["tensors"][name], tensor), name


@pytest.mark.slow
def test_another_number_of_processes_goes_on_and_says_that_digits_may_differ(two, tmp_path):
    path = two[2] / "steps-of-a-plain-model.ckpt"
    with pytest.warns(UserWarning, match=r"number of processes.*2.*1"):
        resumed = together.go_on_plainly(resume=path)
    assert_close(resumed["rows"], two[0][0]["plain"]["rows"])
    assert_close(resumed["points"], two[0][0]["plain"]["points"])


PLAIN = """
import json, os, sys, warnings
from pathlib import Path
from tests import together

warnings.filterwarnings("always")
checkpoint, resume = Path(sys.argv[1]), (sys.argv[2:] or [None])[0]
out = together.go_on_plainly([] if resume else [together.Keeps(8, checkpoint)], resume)
if os.environ["RANK"] == "0":
    print(json.dumps(out))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(2, 3), (3, 2)])
def test_as_many_processes_as_one_likes_go_on_and_say_that_digits_may_differ(
    before, after, tmp_path
):
    script, checkpoint = tmp_path / "script.py", tmp_path / "step-8.ckpt"
    script.write_text(PLAIN)
    first = launched(before, script, checkpoint)
    assert first.returncode == 0, first.stderr
    whole = json.loads(first.stdout)
    resumed = launched(after, script, checkpoint, checkpoint)
    assert resumed.returncode == 0, resumed.stderr
    said = " ".join(resumed.stderr.split())
    assert (
        len(
            re.findall(
                f"number of processes, {before}, and the training resumes with {after}", said
            )
        )
        == 1
    ), said
    assert_close(json.loads(resumed.stdout), whole)
    if before == 3:
        with pytest.warns(UserWarning, match=r"number of processes.*3.*1"):
            alone = together.go_on_plainly(resume=checkpoint)
        assert_close(alone["rows"], whole["rows"])


@pytest.mark.slow
def test_one_run_is_kept_and_says_how_many_trained_it(two):
    from gradbook.runs import load

    (folder,) = (two[2] / "runs").iterdir()
    run = load(folder)
    assert run.facts["num_processes"] == 2
    assert run.facts["status"] == "finished"
    assert list(run.history) == two[0][0]["whole"]["rows"]


@pytest.mark.slow
def test_what_is_to_be_said_is_said_once(two):
    said = " ".join(two[1].stderr.split())  # lines end where the terminal's do
    for text, count in (
        ("has BatchNorm layers, and each of the 2 processes normalizes its own rows", 3),
        ("3 examples are not two for each", 1),
        ("DivergenceWarning", 1),
    ):
        assert said.count(text) == count, said


@pytest.mark.slow
def test_a_sink_cuts_the_epoch_one_step_later_for_all(two):
    for rank in two[0]:
        rows, num_points = rank["cut"]
        assert len(rows) == 1
        assert num_points == two[0][0]["cut"][1]
    state = torch.load(two[2] / "cut.ckpt", weights_only=False)
    assert state["position"]["steps"] == 2


@pytest.mark.slow
def test_an_optimizer_that_draws_numbers_draws_the_same_on_all_ranks(two):
    ours, other = (rank["noise"] for rank in two[0])
    assert torch.equal(ours, other)


def test_weights_that_a_layer_changes_by_the_rows_it_sees_are_refused():
    model = Net(nn.Embedding(4, 3, max_norm=1.0))
    with pytest.raises(ModelError, match=r"net\.0 is an Embedding with max_norm=1"):
        _check_changes_nothing(model)


@pytest.mark.slow
def test_what_a_layer_of_a_learner_s_own_averages_is_the_same_on_all_ranks(two):
    ours, other = (rank["moving_mean"] for rank in two[0])
    assert torch.equal(ours, other)
    assert ours.abs().sum() > 0


@pytest.mark.slow
def test_data_that_differ_between_the_ranks_are_refused(two):
    for rank in two[0]:
        assert "do not train the same: data.train is ['(25, 4) float32" in rank["other data"]
        assert "do not train the same: max_epochs is" in rank["other epochs"]


@pytest.mark.slow
def test_weights_that_do_not_add_up_are_refused(two):
    for rank in two[0]:
        assert "parts of a batch count 2 times as much as the whole batch" in rank["weights"]


@pytest.mark.slow
def test_rows_cannot_be_normalized_together_on_the_cpu(two):
    for rank in two[0]:
        assert "sync_batchnorm=True needs an accelerator" in rank["sync_batchnorm"]


# Parts of it, in this process


def test_one_process_needs_nothing_to_normalize_its_rows_together():
    net = Net(nn.Linear(4, 3), nn.BatchNorm1d(3))
    assert fit(net, Blobs(), sync_batchnorm=True).status == "finished"


@pytest.fixture
def first_of_four(monkeypatch):
    names = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "4"}
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("gradbook.trainer.group", Group)


def test_more_processes_than_gpus_are_refused(first_of_four, monkeypatch):
    monkeypatch.setattr("gradbook.devices.num_gpus", lambda: 2)
    with pytest.raises(ConfigError, match=r"4 processes were started on this machine.* offers 2"):
        gradbook.Trainer(1, num_gpus=4)


def test_as_many_gpus_as_processes_are_what_was_asked_for(first_of_four, monkeypatch):
    monkeypatch.setattr("gradbook.devices.num_gpus", lambda: 4)
    assert len(gradbook.Trainer(1, num_gpus=4).gpus) == 1


def test_only_the_first_process_warns(first_of_four, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    errors.warn("nothing", errors.GradbookWarning)


@pytest.fixture
def second_of_two():
    """The second of two processes, which have not met."""
    ranks = Ranks.__new__(Ranks)
    ranks.rank, ranks.size, ranks.seed = 1, 2, 0
    ranks._settle_down([])
    return ranks


def test_each_process_gathers_its_own_rows_alone(second_of_two, monkeypatch):
    loader = TensorLoader((torch.arange(26).reshape(13, 2), torch.arange(13)), 6, shuffle=True)
    torch.manual_seed(1)
    wholes, state = list(loader), torch.get_rng_state()
    num_gathered, gathered = [], rows.gathered

    def noting(tensor, numbers):
        num_gathered.append(len(numbers))
        return gathered(tensor, numbers)

    monkeypatch.setattr(rows, "gathered", noting)
    torch.manual_seed(1)
    passes = ResumableLoader(loader, "train", Position(group=second_of_two), None, lambda _: None)
    parts = list(passes)
    assert num_gathered == [3, 3, 3, 3, 1, 1]  # both have all of the last
    assert torch.equal(torch.get_rng_state(), state)
    for part, whole in zip(parts, wholes, strict=True):
        first = 3 if len(whole[1]) == 6 else 0
        assert all(torch.equal(a, b[first:]) for a, b in zip(part, whole, strict=True))


def test_a_transform_gets_the_whole_batch_and_its_rows_are_cut(second_of_two):
    sizes = []
    loader = TensorLoader((torch.zeros(8, 2), torch.zeros(8)), 4, transform=lambda batch: batch)
    loader.transform = lambda batch: [sizes.append(len(batch[0])), *batch][1:]
    passes = ResumableLoader(loader, "train", Position(group=second_of_two), None, lambda _: None)
    assert [len(X) for X, _ in passes] == [2, 2]
    assert sizes == [4, 4]


def test_an_accelerator_is_not_waited_for_when_a_step_begins(second_of_two, monkeypatch):
    waited = []

    def arriving(values):
        return lambda: waited.append(values) or [3, 4]

    monkeypatch.setattr(devices, "arriving", arriving)
    labels = torch.zeros(8, dtype=torch.int64, device="meta")  # whose values nobody can read
    weigh = gradbook.Classifier().loss_weight
    with second_of_two.stepping([labels], 8, weigh, (0,)) as part:
        assert len(part[0]) == 4
        assert not waited
        assert second_of_two.share == 3 / 4
    assert len(waited) == 1
    assert second_of_two.share == 1 / 2


@pytest.mark.parametrize("kind", [float, torch.tensor])
def test_a_rank_s_share_is_what_its_rows_count(second_of_two, kind):
    counts = torch.tensor([1.0, 2.0, 3.0, 4.0])
    with second_of_two.stepping([counts], 4, lambda batch: kind(float(batch[0].sum())), (0,)):
        assert second_of_two.share == 7 / 10


@pytest.mark.parametrize("kind", [float, torch.tensor])
def test_in_a_batch_that_counts_for_nothing_all_have_the_same_share(second_of_two, kind):
    with second_of_two.stepping([torch.zeros(4)], 4, lambda batch: kind(0.0), (0,)):
        assert second_of_two.share == 1 / 2


def test_gradients_are_added_up_also_after_a_backward_pass_that_failed(second_of_two, monkeypatch):
    monkeypatch.setattr(second_of_two, "_sum", lambda sent: sent.mul_(2))  # the other has the same
    w = torch.ones(2, requires_grad=True)
    fails = torch.ones(2, requires_grad=True)
    fails.register_hook(lambda _: 1 / 0)
    with second_of_two.training([w], None):
        # The gradient of what was computed last is there first.
        step = second_of_two.stepping([torch.zeros(4)], 4, None, (0,))
        with pytest.raises(ZeroDivisionError), step:
            (fails.sin() + w * 3).sum().backward()
        assert w.grad.tolist() == [3, 3]
        w.grad = None
        seen = []
        monkeypatch.setattr(second_of_two, "_sum", lambda sent: seen.append(sent.mul_(2)))
        with second_of_two.stepping([torch.zeros(4)], 4, None, (1,)):
            (w * 3).sum().backward()
        assert seen
        assert w.grad.tolist() == [3, 3]


@pytest.fixture
def accelerator(monkeypatch):
    """Makes this a machine with two accelerators of a kind, and its second process."""

    def pretend(kind, backends):
        device, chosen = torch.device(kind), []
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: device)
        monkeypatch.setattr(torch.accelerator, "set_device_index", chosen.append)
        monkeypatch.setattr(torch.distributed, "is_backend_available", backends.__contains__)
        for name, value in (("RANK", "1"), ("LOCAL_RANK", "1"), ("WORLD_SIZE", "2")):
            monkeypatch.setenv(name, value)
        return chosen

    return pretend


@pytest.mark.parametrize(("kind", "backend"), [("cuda", "nccl"), ("xpu", "xccl")])
def test_a_process_chooses_its_own_accelerator(second_of_two, accelerator, kind, backend):
    chosen = accelerator(kind, ["gloo", backend])
    assert second_of_two.device() == torch.device(kind, 1)
    assert chosen == [1]  # random numbers are drawn there


@pytest.mark.parametrize(("kind", "backends"), [("mps", ["gloo"]), ("xpu", ["gloo"])])
def test_an_accelerator_that_cannot_send_gradients_is_refused(
    second_of_two, accelerator, kind, backends
):
    accelerator(kind, backends)
    with pytest.raises(ConfigError, match=f"2 processes cannot train together on {kind}"):
        second_of_two.device()


# Faults

SCRIPT = """
import os, sys, time
import torch, gradbook
from tests.small import Blobs
from torch import nn

rank, restarts = os.environ.get("RANK", "0"), os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
fault = sys.argv[1]

class Net(gradbook.Classifier):
    def __init__(self, lr=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.Dropout(0.5), nn.LazyLinear(3))

    def training_step(self, batch):
        steps = self.trainer.num_steps
        if steps == 3 and rank == "0":
            print("in the middle", flush=True)
        if fault == "waits":
            time.sleep(0.05)
        if fault == "raises" and steps == 7 and rank != restarts:  # first on rank 1, then on 0
            raise ValueError(f"odd on {rank}")
        if fault == "is killed" and steps == 8 and (rank, restarts) == ("1", "0"):
            os.kill(os.getpid(), 9)
        return super().training_step(batch)

gradbook.seed_everything(1)
data, model = Blobs(42, 9), Net()
run = gradbook.runs.Run("runs", every_n_steps=2)
trainer = gradbook.Trainer(40 if fault == "waits" else 3, run=run, strategy=sys.argv[2])
trainer.fit(model, data)
if rank == "0":
    print("at the end", trainer.history.rows[-1], [p.sum().item() for p in model.parameters()])
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return path


def only_run():
    from gradbook.runs import load

    (folder,) = Path("runs").iterdir()
    return load(folder)


BOTH = pytest.mark.parametrize("strategy", ["ddp", "fsdp"])


@pytest.mark.slow
@BOTH
def test_a_rank_that_is_killed_costs_nothing_where_all_are_started_again(script, strategy):
    whole = launched(2, script, "goes well", strategy)
    assert whole.returncode == 0, whole.stderr
    history = list(only_run().history)
    Path("runs").rename("before")
    again = launched(2, "--max-restarts", "1", script, "is killed", strategy)
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[-1] == whole.stdout.splitlines()[-1]  # to the last bit
    ours = only_run()
    assert ours.facts["status"] == "finished"
    assert len(ours.facts["sessions"]) == 2
    assert list(ours.history) == history


@pytest.mark.slow
@BOTH
def test_a_rank_that_raises_is_told_once_and_nobody_hangs(script, strategy):
    done = launched(2, "--max-restarts", "1", script, "raises", strategy)
    assert done.returncode == 1
    for rank in (0, 1):
        assert done.stderr.count(f"Rank {rank} has failed:") == 1, done.stderr
        assert done.stderr.count(f"ValueError: odd on {rank}") == 1, done.stderr
    assert only_run().facts["status"] == "failed"


@pytest.mark.slow
@BOTH
def test_sigterm_ends_all_ranks_after_the_same_step_with_a_checkpoint(script, strategy):
    with subprocess.Popen(
        torchrun(2, script, "waits", strategy),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "in the middle\n"
        process.terminate()
        process.communicate(timeout=LONGEST)
    run = only_run()
    assert run.facts["status"] == "interrupted"
    state = checkpoint.load(run.folder / "checkpoints" / "last.pt")
    assert state["position"]["steps"] == run.facts["steps"] > 3
    assert state["is_exact"]
