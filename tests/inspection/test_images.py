import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from gradbook.errors import CorruptFileError, DataError
from gradbook.inspection.images import (
    border_brightness,
    first_images,
    image_shape,
    looks_inverted,
    read_as_input,
)


def save(array, name="image.png", **kwargs):
    Image.fromarray(np.asarray(array, np.uint8)).save(name, **kwargs)
    return name


# Files


def test_gray_pixels_as_they_are():
    pixels = np.arange(30).reshape(6, 5)
    X = read_as_input(save(pixels), (1, 6, 5))
    assert X.dtype == torch.float32
    assert torch.equal(X, torch.from_numpy(pixels).float().unsqueeze(0) / 255)


def test_dark_and_bright_exchanged():
    assert read_as_input(save([[0, 255]]), (1, 1, 2), invert=True).tolist() == [[[1, 0]]]


def test_colors_become_gray():
    X = read_as_input(save([[[255, 0, 0], [255, 255, 255]]]), (1, 1, 2))
    assert X.reshape(-1).tolist() == pytest.approx([0.299, 1], abs=0.005)


def test_colors_are_kept_for_a_model_that_knows_them():
    X = read_as_input(save([[[255, 0, 51], [0, 0, 0]]]), (3, 1, 2))
    assert X[:, 0, 0].tolist() == pytest.approx([1, 0, 0.2])


def test_what_is_transparent_is_white():
    X = read_as_input(save([[[0, 0, 0, 0], [0, 0, 0, 255]]]), (1, 1, 2))
    assert X.tolist() == [[[1, 0]]]


def test_a_transparent_color_of_a_palette():
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, 0, 0, 0])
    image.putdata([0, 1])
    image.save("palette.png", transparency=0)
    assert read_as_input("palette.png", (1, 1, 2)).tolist() == [[[1, 0]]]


def test_the_orientation_of_a_photo():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    pixels = np.zeros((16, 32))
    pixels[:, :16] = 255
    X = read_as_input(save(pixels, "photo.jpg", exif=exif), (1, 32, 16))
    assert X[0, :14].min() > 0.9  # the left half has come up
    assert X[0, 18:].max() < 0.1


def test_sixteen_bits():
    Image.fromarray(np.array([[0, 32768, 65535]], np.uint16)).save("deep.png")
    assert read_as_input("deep.png", (1, 1, 3)).reshape(-1).tolist() == pytest.approx(
        [0, 0.5, 1], abs=0.005
    )


def test_a_large_image_is_made_smaller():
    pixels = np.zeros((60, 60))
    pixels[:, 30:] = 255
    X = read_as_input(save(pixels), (1, 6, 6))
    assert X[0, :, :2].max() < 0.05
    assert X[0, :, 4:].min() > 0.95


@pytest.mark.parametrize("size", [(60, 20), (20, 60)])
def test_proportions_are_kept_and_the_border_goes_on(size):
    pixels = np.full(size, 51)
    pixels[size[0] // 2 - 8 : size[0] // 2 + 8, size[1] // 2 - 8 : size[1] // 2 + 8] = 255
    X = read_as_input(save(pixels), (1, 60, 60))
    assert X[0, 0].allclose(torch.tensor(0.2))
    assert X[0, :, 0].allclose(torch.tensor(0.2))
    bright = (X[0] > 0.6).nonzero()
    height, width = (bright.amax(0) - bright.amin(0)).tolist()
    assert height == width


def test_an_extremely_narrow_image():
    assert read_as_input(save(np.zeros((1, 500))), (1, 6, 6)).shape == (1, 6, 6)


def test_a_file_that_is_not_there():
    with pytest.raises(DataError, match=r"no file 'nothing\.png'"):
        read_as_input("nothing.png", (1, 6, 5))


def test_a_folder(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_as_input(tmp_path, (1, 6, 5))


def test_a_file_that_is_no_image(tmp_path):
    path = tmp_path / "text.png"
    path.write_text("no image at all")
    with pytest.raises(DataError, match=r"text\.png is not a PNG or JPEG image"):
        read_as_input(path, (1, 6, 5))


def test_an_image_of_another_format():
    with pytest.raises(DataError, match="not a PNG or JPEG"):
        read_as_input(save(np.zeros((4, 4)), "image.gif"), (1, 6, 5))


@pytest.mark.parametrize("part", [0.5, 0.9])
@pytest.mark.parametrize("name", ["image.png", "image.jpg"])
def test_a_truncated_image(tmp_path, name, part):
    path = tmp_path / name
    save(np.random.default_rng(0).integers(0, 255, (40, 40)), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(CorruptFileError, match=f"{name} is a damaged image"):
        read_as_input(path, (1, 6, 5))


@pytest.mark.parametrize(
    ("name", "block"), [(b"tRNS", b""), (b"zTXt", b"x\0\x01")], ids=["too short", "unknown"]
)
def test_an_image_with_a_block_that_cannot_be_right(tmp_path, name, block):
    path = tmp_path / "image.png"
    save(np.zeros((4, 4)), path)
    content = path.read_bytes()
    checksum = zlib.crc32(name + block).to_bytes(4)
    added = len(block).to_bytes(4) + name + block + checksum
    path.write_bytes(content[:-12] + added + content[-12:])
    with pytest.raises(CorruptFileError, match=r"image\.png is a damaged image"):
        read_as_input(path, (1, 6, 5))


def test_a_photo_whose_exif_block_is_damaged(tmp_path):
    exif = Image.Exif()
    exif[0x010E] = "a text that is longer than four bytes"
    path = tmp_path / "photo.jpg"
    save(np.full((8, 8), 255), path, exif=exif)
    content = path.read_bytes()
    path.write_bytes(
        content.replace(b"\x01\x0e\x00\x02\x00\x00\x00", b"\x01\x0e\x00\x02\x00\xff\x00")
    )
    assert path.read_bytes() != content
    assert read_as_input(path, (1, 8, 8)).min() > 0.9


@pytest.mark.parametrize("factor", [1, 3])
def test_an_image_with_too_many_pixels(monkeypatch, factor):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match="more than 100 pixels"):
        read_as_input(save(np.zeros((11 * factor, 10))), (1, 6, 5))


# What the data are like


def test_the_shape_of_the_datas_images(images):
    assert image_shape(images) == (1, 6, 5)


def test_images_without_a_channel(points):
    data = points(torch.rand(4, 6, 5), torch.zeros(4), num_train=4)
    assert image_shape(data) == (1, 6, 5)


def test_images_with_other_values(points):
    data = points(torch.rand(4, 1, 6, 5) - 2, torch.zeros(4), num_train=4)
    with pytest.raises(DataError, match="values from -2 to"):
        first_images(data)


def test_a_loader_that_has_no_first_batch(images):
    batches = list(images.train_dataloader())
    images.train_dataloader = lambda: iter(batches)
    assert torch.equal(first_images(images), batches[0][0])


def test_the_border_is_counted_once_all_around():
    X = torch.zeros(1, 4, 5)
    X[0, 1:3, 1:4] = 1
    assert border_brightness(X) == 0
    X[0, 0, 0] = 1
    assert border_brightness(X) == pytest.approx(1 / 14)


@pytest.mark.parametrize(
    ("brightness", "expected", "inverted"),
    [(1.0, 0.0, True), (0.0, 0.0, False), (0.5, 0.0, False), (0.0, 1.0, True), (0.9, 0.5, False)],
)
def test_an_inverted_image(brightness, expected, inverted):
    assert looks_inverted(torch.full((1, 4, 4), brightness), expected) is inverted
