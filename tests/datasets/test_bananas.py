"""The banana detection data set, from files of the original's format."""

import pytest
import torch
from torch.utils.data import DataLoader

from gradbook.datasets import bananas, stand_ins
from gradbook.datasets.makers import drawn_images
from gradbook.errors import DataError, SampleDataWarning


@pytest.fixture(autouse=True)
def _few(monkeypatch):
    monkeypatch.setattr(drawn_images, "NUM_BANANAS", {"train": 5, "val": 2})
    monkeypatch.setattr(stand_ins, "_told", {"banana-detection"})


def test_images_come_with_the_class_and_the_box_in_fractions():
    images, targets = bananas.read_data_bananas()
    assert [(tuple(image.shape), image.dtype) for image in images] == [
        ((3, 256, 256), torch.uint8)
    ] * 5
    assert (targets.shape, targets.dtype) == ((5, 1, 5), torch.float32)
    assert not targets[:, 0, 0].any()
    left, top, right, bottom = (targets[0, 0, 1:] * 256).round().long().tolist()
    inside = images[0][:, top:bottom, left:right].float()
    assert inside[2].min() < 75 < 90 <= images[0][2, :, :left].min()  # the crescent has no blue


def test_a_stand_in_is_told(monkeypatch):
    monkeypatch.setattr(stand_ins, "_told", set())
    with pytest.warns(SampleDataWarning, match="drawings of yellow crescents, 256 for training"):
        bananas.read_data_bananas(is_train=False)


def test_minibatches_are_those_that_a_loader_of_pytorch_makes(capsys):
    train, val = bananas.load_data_bananas(batch_size=3)
    assert capsys.readouterr().out == "read 5 training examples\nread 2 validation examples\n"
    assert [len(X) for X, _ in train] == [3, 2]
    expected = list(DataLoader(bananas.BananasDataset(is_train=False), 3))
    for batch, other in zip(val, expected, strict=True):
        assert [part.dtype for part in batch] == [torch.float32] * 2
        assert all(a.equal(b) for a, b in zip(batch, other, strict=True))


def test_a_table_that_is_none_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(bananas, "download_extract", lambda name: str(tmp_path))
    (tmp_path / "bananas_train").mkdir()
    for content in ("img_name,label\n0.png,banana\n", "img_name,label\n0.png,0\n"):
        (tmp_path / "bananas_train" / "label.csv").write_text(content)
        with pytest.raises(DataError, match=r"label\.csv"):
            bananas.read_data_bananas()
