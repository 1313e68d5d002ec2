import gzip
import hashlib
import struct

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradbook.datasets.idx import read_idx, write_idx
from gradbook.errors import ConfigError, CorruptFileError

IMAGES = torch.randint(
    0, 256, (20, 5, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)
properties = settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(params=["x", "x.gz"])
def path(request, folder):
    path = folder / request.param
    write_idx(path, IMAGES)
    return path


def header(*shape, code=8):
    return struct.pack(f">HBB{len(shape)}I", 0, code, len(shape), *shape)


def test_reading_gives_what_was_written(path):
    assert torch.equal(read_idx(path), IMAGES)


def test_the_format_is_the_published_one(folder):
    (folder / "x").write_bytes(bytes([0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 3, 7, 8, 9]))
    assert read_idx(folder / "x").tolist() == [[7, 8, 9]]


def test_the_tensor_can_be_written_without_a_warning(path):
    tensor = read_idx(path)
    assert tensor.dtype == torch.uint8
    assert tensor.is_contiguous()
    tensor[0] = 1


def test_the_content_and_not_the_name_tells_whether_it_is_compressed(folder):
    write_idx(folder / "x.gz", IMAGES)
    (folder / "x.gz").rename(folder / "x")
    assert torch.equal(read_idx(folder / "x"), IMAGES)


def test_writing_twice_gives_the_same_bytes(folder):
    for name in ("a.gz", "b.gz"):
        write_idx(folder / name, IMAGES)
    assert (folder / "a.gz").read_bytes() == (folder / "b.gz").read_bytes()


def test_only_bytes_can_be_written(folder):
    with pytest.raises(ConfigError, match=r"torch\.float32"):
        write_idx(folder / "x", torch.zeros(3))


@pytest.mark.slow
@given(
    shape=st.lists(st.integers(0, 6), min_size=1, max_size=4),
    seed=st.integers(0, 999),
    name=st.sampled_from(["x", "x.gz"]),
)
@properties
def test_any_array_survives_the_round_trip(folder, shape, seed, name):
    generator = torch.Generator().manual_seed(seed)
    array = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    write_idx(folder / name, array)
    assert torch.equal(read_idx(folder / name, num_dims=len(shape)), array)


@pytest.mark.slow
@given(data=st.data(), name=st.sampled_from(["x", "x.gz"]))
@properties
def test_any_truncation_is_refused(folder, data, name):
    write_idx(folder / name, IMAGES)
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(CorruptFileError, match="Delete it and run again"):
        read_idx(folder / name)


@pytest.mark.slow
@given(data=st.data())
@properties
def test_any_flipped_bit_in_gzip_data_is_refused_or_harmless(folder, data):
    write_idx(folder / "x.gz", IMAGES)
    content = bytearray((folder / "x.gz").read_bytes())
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    content[bit // 8] ^= 1 << bit % 8
    (folder / "x.gz").write_bytes(content)
    try:
        tensor = read_idx(folder / "x.gz")
    except CorruptFileError:
        return
    assert torch.equal(tensor, IMAGES)  # the date or the system in the gzip header


@pytest.mark.slow
@given(content=st.binary(max_size=60))
@properties
def test_noise_is_refused_as_corrupt(folder, content):
    (folder / "x").write_bytes(content)
    try:
        tensor = read_idx(folder / "x")
    except CorruptFileError:
        return
    assert content.startswith(b"\0\0\x08")
    assert content.endswith(tensor.numpy().tobytes())


def test_a_flipped_bit_in_a_plain_file_is_found_by_its_checksum(folder):
    write_idx(folder / "x", IMAGES)
    content = bytearray((folder / "x").read_bytes())
    sha256 = hashlib.sha256(content).hexdigest()
    assert torch.equal(read_idx(folder / "x", sha256=sha256), IMAGES)
    content[100] ^= 1
    (folder / "x").write_bytes(content)
    with pytest.raises(CorruptFileError, match=f"expected .*{sha256}; found"):
        read_idx(folder / "x", sha256=sha256)


def test_trailing_bytes_are_refused(path):
    path.write_bytes(path.read_bytes() + b"!")
    with pytest.raises(CorruptFileError, match="more bytes"):
        read_idx(path)


def test_trailing_bytes_inside_the_compression_are_refused(folder):
    (folder / "x.gz").write_bytes(gzip.compress(header(2) + b"abc"))
    with pytest.raises(CorruptFileError, match=r"expected 2 = 2 values.*found more bytes"):
        read_idx(folder / "x.gz")


def test_labels_in_the_place_of_images_are_refused(folder):
    write_idx(folder / "labels", torch.arange(9).to(torch.uint8))
    with pytest.raises(CorruptFileError, match=r"expected images.*found labels.*exchanged"):
        read_idx(folder / "labels", num_dims=3)


@pytest.mark.parametrize(
    "content",
    [b"\x89PNG....", header(1, code=0x0D) + bytes(4), b"\0\0\x08\0", b"<html></html>"],
    ids=["png", "floats", "no dimensions", "web page"],
)
def test_another_format_is_refused_with_its_first_bytes(folder, content):
    (folder / "x").write_bytes(content)
    with pytest.raises(CorruptFileError, match=content[:4].hex(" ")):
        read_idx(folder / "x")


def test_a_header_that_promises_terabytes_takes_no_memory(folder):
    (folder / "x").write_bytes(header(2**31, 2**10, 2**10))
    with pytest.raises(CorruptFileError, match="a file of only 16 bytes"):
        read_idx(folder / "x")


def test_an_empty_shape_that_no_tensor_can_have_is_refused(folder):
    (folder / "x").write_bytes(header(0, 2**32 - 1, 2**32 - 1))
    with pytest.raises(CorruptFileError, match="dimensions that a tensor can have"):
        read_idx(folder / "x")


def test_the_message_names_the_file(path):
    path.write_bytes(b"")
    with pytest.raises(CorruptFileError) as error:
        read_idx(path)
    assert str(error.value).startswith(str(path))
