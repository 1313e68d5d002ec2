import io
import random
import zipfile

import numpy as np
import pytest
from PIL import Image

from gradbook.datasets.makers import creatures


@pytest.fixture
def archive(tmp_path, monkeypatch):
    monkeypatch.setattr(creatures, "_NUM_KINDS", 3)
    monkeypatch.setattr(creatures, "_NUM_PICTURES", 2)
    random.seed(1)
    creatures.write_creatures(tmp_path / "pokemon.zip")
    return zipfile.ZipFile(tmp_path / "pokemon.zip")


def pictures(archive):
    opened = [Image.open(io.BytesIO(archive.read(name))) for name in archive.namelist()]
    assert {(image.size, image.mode) for image in opened} == {((56, 56), "RGB")}
    return np.array([np.asarray(image, dtype=float) for image in opened])


def test_each_kind_has_a_folder_with_pictures(archive):
    folders = [name.split("/")[1] for name in archive.namelist()]
    assert all(name.startswith("pokemon/") for name in archive.namelist())
    assert len(folders) == 6
    assert len(set(folders)) == 3


def test_pictures_of_a_kind_are_more_alike_than_those_of_two(archive):
    first, second, other, *_ = pictures(archive)
    assert np.abs(first - second).mean() < np.abs(first - other).mean()
    assert np.abs(first - second).mean() > 0


def test_a_creature_stands_before_white(archive):
    images = pictures(archive)
    assert (images[:, 0] == 255).all()
    assert (images[:, 28, 28] < 255).any(axis=-1).all()


def test_they_are_the_same_whatever_seed_is_set(archive, tmp_path):
    first = pictures(archive)
    random.seed(2)
    creatures.write_creatures(tmp_path / "again.zip")
    np.testing.assert_array_equal(first, pictures(zipfile.ZipFile(tmp_path / "again.zip")))
