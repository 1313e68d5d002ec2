"""Checkpoint files: what comes back, what is refused, and what never runs."""

import hashlib
import io
import math
import os
import pickle
import random
import re
import warnings
import zipfile
from collections import Counter, OrderedDict, defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim import lr_scheduler

from gradbook import checkpoint
from gradbook.errors import CheckpointError, ConfigError, CorruptFileError, StorageError

STATE = {
    "model": OrderedDict(w=torch.arange(6.0).reshape(2, 3), b=torch.tensor([1, 2])),
    "position": {"epoch": 3, 0: "a key may be a number"},
    "values": [1, 2.5, None, True, "text", math.inf, (1, ("a",)), []],
}


@pytest.fixture(scope="module")
def content():
    """A checkpoint as bytes."""
    return bytes(checkpoint.encode(STATE))


def refused(path, content):
    """What is said of a file with this content."""
    path.write_bytes(content)
    with pytest.raises(CorruptFileError) as caught:
        checkpoint.load(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def signed(content):
    """A zip archive with the checksum that a checkpoint of ours has."""
    mark = b"gradbook sha256 "
    content = content[:-2] + (len(mark) + 64).to_bytes(2, "little")
    return content + mark + hashlib.sha256(content).hexdigest().encode()


def stranger(value):
    """What `torch.save` makes of a value."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


class Bomb:
    """What makes a folder when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


# What comes back


def test_what_is_saved_is_loaded(tmp_path):
    checkpoint.save(tmp_path / "a.pt", STATE)
    loaded = checkpoint.load(tmp_path / "a.pt")
    assert (loaded.pop("format"), loaded.pop("version")) == ("gradbook checkpoint", 1)
    model, expected = loaded.pop("model"), STATE["model"]
    assert list(model) == list(expected)
    for name in expected:
        torch.testing.assert_close(model[name], expected[name], rtol=0, atol=0)
    assert loaded == {name: value for name, value in STATE.items() if name != "model"}


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**200), 2**200) | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text() | st.integers(), inner)
    ),
    max_leaves=10,
)


@pytest.mark.slow
@given(plain_values)
def test_every_plain_value_comes_back(value):
    path = Path("a.pt")
    checkpoint.save(path, {"value": value})
    loaded = checkpoint.load(path)["value"]
    assert repr(loaded) == repr(value)  # NaN is not equal to itself, but to its repr


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.bool, torch.uint8]
)
def test_tensors_keep_their_dtype(dtype, tmp_path):
    tensor = torch.ones(3).to(dtype)
    checkpoint.save(tmp_path / "a.pt", {"x": tensor})
    loaded = checkpoint.load(tmp_path / "a.pt")["x"]
    assert loaded.dtype == dtype
    assert torch.equal(loaded, tensor)


@pytest.mark.parametrize(
    "make",
    [
        lambda o: lr_scheduler.StepLR(o, 1),
        lambda o: lr_scheduler.MultiStepLR(o, [1, 2]),
        lambda o: lr_scheduler.LambdaLR(o, lambda epoch: 0.5),
        lambda o: lr_scheduler.CosineAnnealingLR(o, 5),
        lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=5),
        lambda o: lr_scheduler.CyclicLR(o, 0.1, 0.2, cycle_momentum=False),
        lambda o: lr_scheduler.ReduceLROnPlateau(o),
        lambda o: lr_scheduler.SequentialLR(
            o, [lr_scheduler.ConstantLR(o), lr_scheduler.StepLR(o, 1)], [1]
        ),
    ],
)
def test_the_state_of_torch_s_schedulers_comes_back(make, tmp_path):
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    state = {"scheduler": make(optimizer).state_dict(), "optimizer": optimizer.state_dict()}
    checkpoint.save(tmp_path / "a.pt", state)
    assert checkpoint.load(tmp_path / "a.pt")["scheduler"] == state["scheduler"]


def test_torch_itself_reads_it(tmp_path):
    checkpoint.save(tmp_path / "a.pt", STATE)
    loaded = torch.load(tmp_path / "a.pt", weights_only=True)
    assert torch.equal(loaded["model"]["w"], STATE["model"]["w"])


def test_what_was_loaded_can_be_saved_again(tmp_path):
    checkpoint.save(tmp_path / "a.pt", STATE)
    checkpoint.save(tmp_path / "b.pt", checkpoint.load(tmp_path / "a.pt"))
    assert checkpoint.load(tmp_path / "b.pt").keys() == checkpoint.load(tmp_path / "a.pt").keys()


def test_a_failed_write_leaves_the_checkpoint_that_was_there(tmp_path):
    path = tmp_path / "a.pt"
    checkpoint.save(path, STATE)
    with pytest.raises(CheckpointError):
        checkpoint.save(path, {"x": object()})
    assert checkpoint.load(path)["position"] == STATE["position"]


def test_a_folder_that_cannot_be_written_to_is_explained(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"a\.pt cannot be written"):
        checkpoint.save(tmp_path / "file" / "a.pt", STATE)


# What cannot be kept


@pytest.mark.parametrize(
    ("state", "where"),
    [
        ({"a": {"b": [0, object()]}}, r"a\.b\[1\] is object <object object"),
        ({"lr": np.float64(0.1)}, r"lr is float64 (np\.float64\()?0\.1"),
        ({"a": ({1, 2},)}, r"a\[0\] is set \{1, 2\}"),
        ({"a": {1.5: 2}}, r"a has the key 1\.5"),
        ({True: 2}, "it has the key True"),
        ({"f": len}, "f is builtin_function_or_method"),
        ({"shape": torch.ones(2).shape}, r"shape is Size torch\.Size\(\[2\]\)"),
        ({"a": defaultdict(list)}, "a is defaultdict"),
        ({"a": torch.nn.ParameterDict()}, "a is ParameterDict"),
        ({"w": torch.ones(1).as_subclass(type("Mine", (torch.Tensor,), {}))}, "w is Mine"),
    ],
)
def test_what_is_not_plain_is_refused_with_the_path_to_it(state, where):
    with pytest.raises(CheckpointError, match=rf"only tensors.*, but {where}.*Keep it out"):
        checkpoint.encode(state)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": [1, torch.ones(1)]}, True),
        (Counter([1]), True),
        (torch.nn.Parameter(torch.ones(1)), True),
        ([object()], False),
        (defaultdict(dict), False),
    ],
)
def test_whether_a_value_is_plain(value, expected):
    assert checkpoint.is_plain(value) is expected


# Damage


@pytest.mark.slow
def test_a_flipped_bit_is_refused_wherever_it_is(content, tmp_path):
    chance = random.Random(0)
    for place in chance.sample(range(len(content)), 200):
        damaged = bytearray(content)
        damaged[place] ^= 1 << chance.randrange(8)
        refused(tmp_path / "a.pt", bytes(damaged))


def test_a_truncated_file_is_refused_wherever_it_ends(content, tmp_path):
    for size in random.Random(0).sample(range(len(content)), 50):
        assert "is truncated" in refused(tmp_path / "a.pt", content[:size]) or size == 0


def test_a_file_with_something_after_its_end_is_refused(content, tmp_path):
    refused(tmp_path / "a.pt", content + b"\n")


def test_damage_is_told_from_truncation(content, tmp_path):
    damaged = content[:100] + bytes([content[100] ^ 1]) + content[101:]
    assert "is damaged: its checksum does not match" in refused(tmp_path / "a.pt", damaged)


def test_an_empty_file_is_refused(tmp_path):
    assert "is empty" in refused(tmp_path / "a.pt", b"")


def test_a_folder_is_no_checkpoint(tmp_path):
    with pytest.raises(CorruptFileError, match="cannot be read"):
        checkpoint.load(tmp_path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"There is no checkpoint .*missing\.pt"):
        checkpoint.load(tmp_path / "missing.pt")


@pytest.mark.parametrize("given", [5, None, b"a.pt", ["a.pt"]])
def test_what_is_no_path_is_refused_with_an_example(given):
    with pytest.raises(ConfigError, match=r"must be a text or a path, such as 'runs/mlp-1/check"):
        checkpoint.load(given)


# What others wrote


@pytest.mark.parametrize("make", [pickle.dumps, stranger], ids=["pickle", "torch.save"])
def test_a_stranger_s_file_is_refused_and_its_code_does_not_run(make, tmp_path):
    assert "no checkpoint of gradbook's" in refused(tmp_path / "a.pt", make(Bomb()))
    assert not Path("ran").exists()


def test_code_in_a_file_with_a_valid_checksum_does_not_run(tmp_path):
    state = {"format": "gradbook checkpoint", "version": 1, "x": Bomb()}
    message = refused(tmp_path / "a.pt", signed(stranger(state)))
    assert re.search(r"holds more than tensors and plain values.* It asks for \w+\.mkdir", message)
    assert not Path("ran").exists()


def test_the_bomb_of_these_tests_would_go_off():
    pickle.loads(pickle.dumps(Bomb()))
    assert Path("ran").exists()


@pytest.mark.filterwarnings("ignore:.*(TorchScript|torch.jit)")
def test_a_compiled_program_is_no_checkpoint(tmp_path):
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 1)), buffer)
    assert "no readable checkpoint" in refused(tmp_path / "a.pt", signed(buffer.getvalue()))


@pytest.mark.parametrize("value", [[1, 2], {"model": {}}, {"format": "another"}])
def test_another_program_s_tensors_are_no_checkpoint(value, tmp_path):
    message = refused(tmp_path / "a.pt", signed(stranger(value)))
    assert "not a checkpoint that gradbook has written" in message


def test_an_archive_of_something_else_is_no_checkpoint(tmp_path):
    empty = b"PK\x05\x06" + bytes(18)
    assert "no readable checkpoint" in refused(tmp_path / "a.pt", signed(b"another" * 9 + empty))


def test_a_newer_version_is_named_beside_the_one_that_is_read(tmp_path):
    state = {"format": "gradbook checkpoint", "version": 2}
    message = refused(tmp_path / "a.pt", signed(stranger(state)))
    assert "has version 2 of the format, and this gradbook reads version 1" in message


def test_a_tensor_that_claims_more_values_than_the_file_holds_is_refused(tmp_path):
    forged = {"format": checkpoint.FORMAT, "version": 1, "model": torch.zeros(1).expand(10**9)}
    message = refused(tmp_path / "a.pt", signed(stranger(forged)))
    assert "has tensors that claim more values" in message


def test_a_sparse_tensor_that_claims_more_values_is_refused(tmp_path):
    values = torch.zeros(1).expand(10**6)
    rows = torch.arange(10**6).reshape(1, -1)
    sparse = torch.sparse_coo_tensor(rows, values, (10**6,), is_coalesced=True)
    forged = {"format": checkpoint.FORMAT, "version": 1, "model": sparse}
    assert "claim more values" in refused(tmp_path / "a.pt", signed(stranger(forged)))


def test_what_pytorch_remarks_while_it_reads_is_not_passed_on(tmp_path, monkeypatch):
    def load(*args, **kwargs):
        warnings.warn("Validating sparse tensor invariants", UserWarning, stacklevel=2)
        return read(*args, **kwargs)

    read = torch.load
    checkpoint.save(tmp_path / "a.pt", {"x": 1})
    monkeypatch.setattr(torch, "load", load)
    assert checkpoint.load(tmp_path / "a.pt")["x"] == 1


def test_a_content_is_no_view_of_a_buffer_that_python_could_not_free():
    assert type(checkpoint.encode({})) is bytes


@pytest.mark.filterwarnings("ignore:Sparse CSR:UserWarning")
@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr])
def test_a_sparse_tensor_whose_indices_lead_out_of_it_is_refused(layout, tmp_path):
    one, far = torch.ones(1), torch.tensor([10**12])
    if layout is torch.sparse_coo:
        sparse = torch.sparse_coo_tensor(far.reshape(1, 1), one, (3,), check_invariants=False)
    else:
        rows = torch.tensor([0, 1, 1])
        sparse = torch.sparse_csr_tensor(rows, far, one, (2, 3), check_invariants=False)
    forged = {"format": checkpoint.FORMAT, "version": 1, "model": sparse}
    assert "no readable checkpoint" in refused(tmp_path / "a.pt", signed(stranger(forged)))


@pytest.mark.parametrize(
    "value", [torch.empty(3, device="meta"), torch.Size([2]), torch.float32, {1.5: 1}]
)
def test_what_gradbook_would_not_have_written_is_not_read(value, tmp_path):
    forged = {"format": checkpoint.FORMAT, "version": 1, "x": value}
    assert refused(tmp_path / "a.pt", signed(stranger(forged)))


# What is written can be read


def same(a, b):
    """Whether two tensors have the same values, layouts and dtypes."""
    if (a.layout, a.dtype, a.shape) != (b.layout, b.dtype, b.shape):
        return False
    if a.is_quantized:
        return torch.equal(a.dequantize(), b.dequantize())
    if a.layout is not torch.strided:
        return torch.equal(a.to_dense(), b.to_dense())
    return torch.equal(a, b)


def with_an_attribute():
    tensor = nn.Parameter(torch.ones(2), requires_grad=False)
    tensor.made_by = Bomb()
    return tensor


@pytest.mark.filterwarnings("ignore::UserWarning")  # PyTorch's, of kinds that are new or old
@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.zeros(1, 1, 1).expand(1, 6, 6),
        lambda: torch.arange(3.0).expand(2, 3),
        lambda: torch.arange(10.0).as_strided((5, 4), (1, 1)),
        lambda: torch.arange(10.0).as_strided((5, 2), (1, 1)),
        lambda: torch.arange(12.0).reshape(3, 4).t(),
        lambda: torch.arange(96.0).reshape(2, 3, 4, 4).to(memory_format=torch.channels_last),
        lambda: torch.zeros(0, 3),
        lambda: torch.arange(10.0)[:0],
        lambda: torch.tensor([1 + 2j]).conj(),
        lambda: torch.tensor([1 + 2j, 2 - 1j]).conj()[:1],
        lambda: torch.tensor([1 + 2j]).conj().imag,
        lambda: torch.ones(6).to(torch.float8_e4m3fn)[:3],
        lambda: torch.quantize_per_tensor(torch.arange(12.0).reshape(3, 4), 0.1, 0, torch.qint8),
        lambda: torch.quantize_per_tensor(torch.arange(12.0), 0.1, 0, torch.qint8)[:2],
        lambda: torch.eye(3).to_sparse(),
        lambda: torch.eye(3).to_sparse(1),
        lambda: torch.zeros(3, 3).to_sparse(),
        lambda: torch.sparse_coo_tensor([[0, 0], [0, 0]], [1.0, 2.0], (3, 3)),
        lambda: torch.sparse_coo_tensor([[0, 1]], torch.ones(1).expand(2), (3,)),
        lambda: torch.eye(3).to_sparse_csr(),
        lambda: torch.sparse_csr_tensor([0, 1, 2], [0, 1], torch.ones(1).expand(2), (2, 2)),
        lambda: torch.eye(3).to_sparse_csc(),
        lambda: torch.eye(4).to_sparse_bsr((2, 2)),
        lambda: torch.eye(4).to_sparse_bsc((2, 2)),
        with_an_attribute,
    ],
)
def test_a_tensor_of_any_form_comes_back(make, tmp_path):
    tensor = make()
    checkpoint.save(tmp_path / "a.pt", {"x": tensor})
    assert same(checkpoint.load(tmp_path / "a.pt")["x"], tensor)


@pytest.mark.parametrize("part", [slice(None), slice(0, 50_000)])
def test_tensors_that_share_values_are_written_once(part, tmp_path):
    tensor = torch.randn(100_000)[part]
    sizes = [
        len(checkpoint.encode({"a": tensor} | more)) for more in ({}, {"b": tensor, "c": tensor})
    ]
    assert sizes[1] < sizes[0] + 1000


@pytest.mark.parametrize("value", [2**2039 - 1, -(2**2039) + 1, "a\ud800b", {"\ud800": 1}])
def test_an_odd_value_comes_back(value, tmp_path):
    checkpoint.save(tmp_path / "a.pt", {"x": value})
    assert checkpoint.load(tmp_path / "a.pt")["x"] == value


def nested(value=1, times=2000):
    for _ in range(times):
        value = [value]
    return value


def in_a_circle():
    value = []
    value.append(value)
    return value


class Speechless:
    """What cannot be shown."""

    def __repr__(self):
        raise RuntimeError("no")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: torch.empty(3, device="meta"), "device meta, which has no values"),
        (lambda: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]), "a nested tensor"),
        (lambda: 2**2039, "an integer of 2040 bits"),
        (lambda: {2**3000: 1}, "the key"),
        (lambda: {True: 1}, "the key True"),
        (lambda: {1.5: 1}, r"the key 1\.5"),
        (lambda: {(1,): 1}, r"the key \(1,\)"),
        (nested, "is nested more than 100 times"),
        (in_a_circle, "is nested more than 100 times"),
        (Speechless, "Speechless <Speechless, whose text cannot be made"),
        (lambda: {Speechless(): 1}, "the key <Speechless"),
    ],
)
def test_what_could_not_be_read_back_is_not_written(make, what, tmp_path):
    with pytest.raises(CheckpointError, match=f"(?s)model.x.*{what}"):
        checkpoint.save(tmp_path / "a.pt", {"model": {"x": make()}})
    assert not (tmp_path / "a.pt").exists()


def test_a_packed_archive_is_not_unpacked(tmp_path):
    plain, packed = io.BytesIO(stranger({"W": torch.zeros(10**6)})), io.BytesIO()
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(packed, "w", 8) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    message = refused(tmp_path / "a.pt", signed(packed.getvalue()))
    assert "claims more content than the file holds" in message


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.pt")
    with pytest.raises(CorruptFileError, match="is not a file, but a pipe"):
        checkpoint.load(tmp_path / "a.pt")
    assert checkpoint.digest_of(tmp_path / "a.pt") == b""


def test_of_an_enormous_file_only_the_end_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "read_file", None)
    (tmp_path / "a.pt").touch()
    os.truncate(tmp_path / "a.pt", 1 << 32)
    with pytest.raises(CorruptFileError, match="it does not end in a checksum"):
        checkpoint.load(tmp_path / "a.pt")
