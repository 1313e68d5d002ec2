"""Images from files."""

import numpy as np
import pytest
import torch
from PIL import Image

from gradbook.datasets.image_files import read_image
from gradbook.errors import CorruptFileError, DataError


@pytest.mark.parametrize(("mode", "channels"), [("RGB", 3), ("L", 1), ("RGBA", 4), ("LA", 2)])
def test_an_image_has_the_channels_of_its_file(folder, mode, channels):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, channels), dtype=np.uint8)
    Image.fromarray(pixels.squeeze(), mode=None).save(folder / "a.png")
    image = read_image(folder / "a.png")
    assert image.dtype == torch.uint8
    assert image.equal(torch.from_numpy(pixels).permute(2, 0, 1))


def test_a_palette_becomes_its_colors(folder):
    image = Image.fromarray(np.array([[0, 1]], dtype=np.uint8))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.save(folder / "a.png")
    assert read_image(folder / "a.png").tolist() == [[[10, 40]], [[20, 50]], [[30, 60]]]


def test_a_gray_image_can_be_had_in_color(folder):
    Image.fromarray(np.array([[0, 7]], dtype=np.uint8)).save(folder / "a.png")
    assert read_image(folder / "a.png", is_rgb=True).tolist() == [[[0, 7]]] * 3


def test_what_cannot_be_read_is_named(folder):
    with pytest.raises(DataError, match="There is no image"):
        read_image(folder / "none.png")
    (folder / "a.png").write_text("words")
    with pytest.raises(CorruptFileError, match="is no image"):
        read_image(folder / "a.png")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)).save(
        folder / "b.png"
    )
    content = (folder / "b.png").read_bytes()
    (folder / "b.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(CorruptFileError, match=r"b\.png cannot be read"):
        read_image(folder / "b.png")
