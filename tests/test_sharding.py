"""Each of several processes holds a part of the model: see `tests/sharded.py` for what they do."""

import hashlib
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from tests import sharded, together
from tests.launching import environment, launched
from tests.small import Blobs, Net, fit
from tests.test_distributed import assert_close
from torch import nn

import gradbook
from gradbook import checkpoint
from gradbook.errors import ConfigError, CorruptFileError, ModelError
from gradbook.sharding import check_offered, units_of
from gradbook.shards import new_folder, remove_unused

TESTS = Path(__file__).parent


def ranks_of(num_processes, folder, *words):
    """What so many processes come to, each."""
    action, *more = words
    done = launched(num_processes, TESTS / "sharded.py", action, folder, *more)
    assert done.returncode == 0, done.stderr
    name = "-".join(words)
    paths = [folder / f"{name}-of-{num_processes}-{rank}.pt" for rank in range(num_processes)]
    return [torch.load(path, weights_only=False) for path in paths]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return ranks_of(2, tmp_path_factory.mktemp("cases"), "cases")


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    """What four processes come to, and the folder in which they have kept it."""
    folder = tmp_path_factory.mktemp("kept")
    return ranks_of(4, folder, "keep"), folder


@pytest.fixture
def kept(four, tmp_path):
    """A copy of what they have kept."""
    shutil.copytree(four[1], tmp_path / "kept")
    return tmp_path / "kept"


def alone(function, *args, **settings):
    """What a single process comes to, which has the whole model."""
    with warnings.catch_warnings(action="ignore"):
        return function(*args, **settings)


@pytest.mark.slow
@pytest.mark.parametrize("name", together.CASES)
def test_parts_come_to_what_the_whole_comes_to(two, name):
    one = alone(together.train, together.CASES[name], watch=())
    for rank in two:
        ours = rank[name]
        assert ours["status"] == one["status"]
        if name != "diverging":
            for what in ("parameters", "rows", "points"):
                assert_close(ours[what], one[what])
            assert ours["best"] == one["best"]


@pytest.mark.slow
@pytest.mark.parametrize("name", sharded.MIXED)
def test_parts_in_16_bits_come_near_what_the_whole_comes_to(two, name):
    one = alone(together.train, sharded.MIXED[name])
    for rank in two:
        torch.testing.assert_close(
            rank[name]["parameters"], one["parameters"], rtol=0.02, atol=0.01
        )


def assert_same_end(ours, one):
    assert_close(ours["tensors"], one["tensors"])
    assert_close(ours["rows"], one["rows"])
    assert ours["best"] == one["best"]
    if one["best_tensors"] is not None:
        assert_close(ours["best_tensors"], one["best_tensors"])


@pytest.mark.slow
def test_clipped_and_accumulated_gradients_are_those_of_the_whole(two):
    settings = {"gradient_clip_val": 0.1, "keep_best": True, "accumulate_grad_batches": 2}
    for rank in two:
        assert_same_end(rank["clipped"], alone(sharded.go_on, **settings))


@pytest.mark.slow
def test_a_model_is_whole_afterwards_and_can_be_trained_again(two):
    for rank in two:
        assert_same_end(rank["again"], alone(sharded.twice))


@pytest.mark.slow
def test_each_process_holds_its_part_only(two):
    for rank in two:
        assert 0.45 < rank["held"] < 0.55


@pytest.mark.slow
@pytest.mark.parametrize("name", sharded.ODD)
def test_what_is_whole_for_one_process_gives_the_same_in_parts(two, name):
    gradbook.seed_everything(1)
    one = alone(sharded.go_on, model=sharded.ODD[name](), max_epochs=2)
    for rank in two:
        assert_same_end(rank[name], one)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Mixing", "Mixing, or its optimizer, uses a parameter where it is in parts"),
        ("InitializedLate", "configure_optimizers changes parameters"),
    ],
)
def test_what_parts_cannot_do_is_refused(two, name, told):
    for rank in two:
        assert told in rank[name]


@pytest.mark.slow
def test_a_run_goes_on_to_the_last_bit_in_as_many_processes(four, kept):
    for rank, before in zip(ranks_of(4, kept, "resume"), four[0], strict=True):
        assert rank["random"]["rows"] == before["whole"]["rows"]
        for name, tensor in before["whole"]["tensors"].items():
            assert torch.equal(rank["random"]["tensors"][name], tensor), name
        assert rank["optimizers"]["rows"] == before["optimizers"]["rows"]


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["fsdp", "ddp"])
def test_another_number_of_processes_goes_on_with_a_run_in_parts(strategy, kept):
    one = alone(sharded.go_on, max_epochs=5, keep_best=True)
    for rank in ranks_of(2, kept, "resume", strategy):
        assert_same_end(rank["plain"], one)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The training resumes from")
def test_a_single_process_goes_on_with_a_run_in_parts(kept):
    with pytest.warns(UserWarning, match=r"number of processes, 4, .* with 1"):
        resumed = sharded.go_on(resume=kept / "plain" / "deep-1", max_epochs=5, keep_best=True)
    assert_same_end(resumed, alone(sharded.go_on, max_epochs=5, keep_best=True))


@pytest.mark.slow
def test_parts_go_on_with_a_run_of_a_single_process(tmp_path):
    for name, dropout in (("plain", 0.0), ("random", 0.5)):
        settings = {"dropout": dropout, "keep_best": not dropout}
        alone(sharded.go_on, run=tmp_path / name, **settings)
    one = alone(sharded.go_on, max_epochs=5, keep_best=True)
    for rank in ranks_of(2, tmp_path, "resume"):
        assert_same_end(rank["plain"], one)


@pytest.mark.slow
def test_what_was_kept_in_parts_is_read_as_a_whole(four, kept):
    state = checkpoint.load(kept / "plain" / "deep-1" / "checkpoints" / "last.pt")
    end = four[0][0]["plain"]
    assert state["model"].keys() == end["tensors"].keys()
    assert_close(state["best_model"], end["best_tensors"])
    assert "shards" not in state


@pytest.mark.slow
def test_a_run_whose_folder_is_not_the_same_for_all_ends_before_the_first_step(tmp_path):
    for told in ranks_of(2, tmp_path, "apart"):
        assert "shard-00002-" in told
        assert told.endswith("Keep the run in a folder that all see.")
    assert not list(tmp_path.glob("runs/*/checkpoints/*.pt"))


@pytest.mark.slow
def test_the_command_shards_and_exports_one_file(tmp_path, monkeypatch):
    pytest.importorskip("safetensors")
    from safetensors.torch import load_file

    from gradbook.cli import main

    monkeypatch.chdir(tmp_path)
    words = "train mlp --data moons --max-epochs 1 --num-processes 2 --strategy fsdp --seed 1"
    command = [sys.executable, "-m", "gradbook", *words.split()]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert main(["export", "mlp-1", "--to", "safetensors"]) == 0
    exported = load_file("runs/mlp-1/model.safetensors")
    assert list(Path("runs/mlp-1/checkpoints").glob("shards-*/shard-00002-*"))
    tensors = checkpoint.load("runs/mlp-1/checkpoints/best.pt")["model"]
    assert exported.keys() == tensors.keys()
    assert all(torch.equal(exported[name], tensors[name]) for name in tensors)


def needed(checkpoints):
    """The folders of parts to which a run's checkpoints refer."""
    states = [checkpoint.load(path, is_whole=False) for path in checkpoints.glob("*.pt")]
    return {Path(state["shards"]["folder"]).name for state in states}


@pytest.mark.slow
def test_parts_that_no_checkpoint_needs_are_removed(kept):
    for name in ("plain", "random"):
        checkpoints = kept / name / "deep-1" / "checkpoints"
        assert {path.name for path in checkpoints.glob("shards-*")} == needed(checkpoints)


@pytest.mark.slow
def test_a_run_is_removed_with_its_parts(kept):
    from gradbook.cli import main

    folder = kept / "plain" / "deep-1"
    assert main(["rm", str(folder), "--yes"]) == 0
    assert not folder.exists()


@pytest.mark.slow
def test_parts_that_are_damaged_or_missing_are_named(kept):
    checkpoints = kept / "random" / "deep-1" / "checkpoints"
    last = checkpoint.load(checkpoints / "last.pt", is_whole=False)["shards"]["folder"]
    path = Path(last, "shard-00002-model-00001-of-00001.safetensors")
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"shard-00002.* is damaged"):
        checkpoint.load(checkpoints / "last.pt")
    path.unlink()
    with pytest.raises(CorruptFileError, match=r"shard-00002.* is missing"):
        checkpoint.load(checkpoints / "last.pt")


# Parts of it, in this process


@pytest.fixture
def in_parts(tmp_path):
    """A checkpoint whose one tensor is in a file of its own, and that file."""
    from safetensors.torch import save_file

    file = tmp_path / "shards-1" / "shard-00001-model.safetensors"
    file.parent.mkdir()

    def write(metadata=None):
        save_file({"model.w": torch.arange(3.0)}, file, metadata)
        files = {file.name: hashlib.sha256(file.read_bytes()).hexdigest()}
        parts = {"folder": "shards-1", "files": files}
        state = {"shards": parts, "model": {"w": {"sharded tensor": "model.w"}}}
        checkpoint.save(tmp_path / "last.pt", state)
        return tmp_path / "last.pt"

    return write, file


def test_a_file_that_the_checkpoint_does_not_know_is_not_read(in_parts):
    write, file = in_parts
    path = write()
    assert checkpoint.load(path)["model"]["w"].tolist() == [0, 1, 2]
    os.mkfifo(file.parent / "more.safetensors")  # which PyTorch would wait for
    with pytest.raises(CorruptFileError, match=r"more\.safetensors is no part"):
        checkpoint.load(path)


def test_a_pipe_or_a_link_in_the_place_of_a_part_is_not_read(in_parts, tmp_path_factory):
    write, file = in_parts
    path = write()
    file.rename(elsewhere := tmp_path_factory.mktemp("elsewhere") / "part")
    file.symlink_to(elsewhere)
    with pytest.raises(CorruptFileError, match="leads out of the run's folder"):
        checkpoint.load(path)
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(CorruptFileError, match="a pipe"):
        checkpoint.load(path)


@pytest.mark.parametrize(
    ("offsets", "told"),
    [("[9000000000]", "more values than"), ('"a"', "no readable"), ("", "no r")],
)
def test_parts_that_lie_about_themselves_are_refused(in_parts, offsets, told):
    path = in_parts[0]({"DCP_SHARDING_INFO": f'{{"model.w": {{"saved_offsets": {offsets}}}}}'})
    with pytest.raises(CorruptFileError, match=told):
        checkpoint.load(path)


@pytest.mark.parametrize("folder", ["../elsewhere", "shards-", "shards-1/..", "", 3, None])
def test_parts_are_looked_for_beside_the_checkpoint_only(folder, tmp_path):
    state = {"shards": {"folder": folder, "files": {}}}
    checkpoint.save(tmp_path / "last.pt", state)
    with pytest.raises(CorruptFileError, match="does not say where its tensors are"):
        checkpoint.load(tmp_path / "last.pt")


def test_a_checkpoint_that_names_a_tensor_in_no_file_is_damaged(tmp_path):
    state = {"shards": {"folder": "shards-1", "files": {}}, "w": {"sharded tensor": "model.w"}}
    (tmp_path / "shards-1").mkdir()
    checkpoint.save(tmp_path / "last.pt", state)
    with pytest.raises(CorruptFileError, match=r"model\.w"):
        checkpoint.load(tmp_path / "last.pt")


def names_of(layers, model):
    """What layers are called in a model."""
    names = {layer: name for name, layer in model.named_modules()}
    return [names[layer] for layer in layers]


def test_the_repeated_layers_of_a_deep_model_are_gathered_one_by_one():
    model = nn.Sequential(
        nn.Embedding(50, 32),
        nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 2, 64, batch_first=True), 10),
        nn.Linear(32, 50),
    )
    layers = [f"1.layers.{i}" for i in range(10)]
    assert names_of(units_of(model), model) == ["0", *layers, "2"]


def test_a_layer_of_pytorch_s_that_uses_the_weights_of_another_is_not_taken_apart():
    model = nn.ModuleList([nn.MultiheadAttention(16, 2), nn.Linear(16, 8)])
    assert names_of(units_of(model), model) == ["0", "1"]


def test_what_shares_a_parameter_with_the_rest_is_gathered_with_the_model():
    model = nn.ModuleList([nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)])
    model[2].weight = model[0].weight
    assert names_of(units_of(model), model) == ["1"]


def test_what_is_small_is_gathered_with_the_model():
    model = nn.ModuleList([nn.Linear(100, 100), nn.LayerNorm(1)])
    assert names_of(units_of(model), model) == ["0"]


@pytest.fixture
def offered(monkeypatch):
    """Looks whether a trainer may shard a model, as in one of several processes."""

    def look(model=None, **settings):
        trainer = gradbook.Trainer(1, strategy="fsdp", **settings)
        trainer.model = model or Net(nn.Linear(4, 3))
        check_offered(trainer)

    return look


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"compile": True}, "compile=True"),
        ({"precision": "16-mixed"}, "16-mixed.*bf16-mixed"),
        ({"watch": "gradients"}, "watch.*gradients"),
    ],
)
def test_what_does_not_go_together_with_parts_is_refused(offered, settings, told):
    offered()
    with pytest.raises(ConfigError, match=rf'strategy="fsdp" .*{told}'):
        offered(**settings)


def test_a_model_that_is_no_module_cannot_be_parted(offered):
    with pytest.raises(ModelError, match=r"shards a torch\.nn\.Module"):
        offered(object())


def test_one_process_has_the_whole_model():
    trainer = fit(Net(nn.Linear(4, 3)), Blobs(), strategy="fsdp")
    assert not trainer.shards
    assert trainer.status == "finished"


def test_a_strategy_that_there_is_not_is_refused():
    with pytest.raises(ConfigError, match=r"strategy.*ddp.*fsdp"):
        gradbook.Trainer(1, strategy="deepspeed")


def test_new_parts_come_after_all_others_and_older_ones_go(tmp_path):
    tmp_path /= "checkpoints"
    folders = [new_folder(tmp_path).name for _ in range(4)]
    assert folders == ["shards-1", "shards-2", "shards-3", "shards-4"]
    remove_unused(tmp_path, ["shards-1", "shards-3"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shards-1", "shards-3", "shards-4"]
    assert new_folder(tmp_path).name == "shards-5"
    remove_unused(tmp_path, ["shards-3"], is_written=False)
    assert [path.name for path in tmp_path.iterdir()] == ["shards-3"]
