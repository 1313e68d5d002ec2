"""Pascal VOC2012, from files of the original's format."""

import numpy as np
import pytest
import torch
from PIL import Image

from gradbook.datasets import stand_ins, voc
from gradbook.datasets.makers import drawn_images
from gradbook.errors import ConfigError, DataError


@pytest.fixture
def voc_dir(folder):
    """Three images for training, one of them small, and one for validation."""
    for part in ("ImageSets/Segmentation", "JPEGImages", "SegmentationClass"):
        (folder / part).mkdir(parents=True)
    (folder / "ImageSets/Segmentation/train.txt").write_text("a\nsmall\nb\n")
    (folder / "ImageSets/Segmentation/val.txt").write_text("a\n")
    for name, shape in {"a": (20, 30), "small": (9, 30), "b": (24, 26)}.items():
        classes = np.zeros(shape, dtype=np.uint8)
        classes[2:6, 3:9], classes[2:6, 2] = 20, 255
        label = Image.fromarray(classes)
        label.putpalette(drawn_images._VOC_PALETTE)
        label.save(folder / "SegmentationClass" / f"{name}.png")
        Image.fromarray(np.stack([classes] * 3, -1)).save(folder / "JPEGImages" / f"{name}.jpg")
    return folder


def test_every_image_comes_with_the_picture_of_its_labels(voc_dir):
    features, labels = voc.read_voc_images(voc_dir)
    assert [tuple(feature.shape) for feature in features] == [(3, 20, 30), (3, 9, 30), (3, 24, 26)]
    assert [label.shape for label in labels] == [feature.shape for feature in features]
    assert labels[0][:, 3, 5].tolist() == voc.VOC_COLORMAP[20]
    assert len(voc.read_voc_images(voc_dir, is_train=False)[0]) == 1


def test_colors_become_classes_and_borders_background(voc_dir):
    _, labels = voc.read_voc_images(voc_dir)
    classes = voc.voc_label_indices(labels[0], voc.voc_colormap2label())
    assert classes.dtype == torch.int64
    assert classes[2:6, 3:9].unique().tolist() == [20]
    assert classes.count_nonzero() == 24


def test_every_class_has_a_color_and_a_name():
    colors = torch.tensor(voc.VOC_COLORMAP).T[:, None]
    classes = voc.voc_label_indices(colors, voc.voc_colormap2label())
    assert classes.tolist() == [list(range(21))]
    assert len(voc.VOC_CLASSES) == 21


def test_image_and_label_are_cut_at_the_same_place():
    image = torch.arange(3 * 7 * 9).reshape(3, 7, 9)
    places = set()
    for _ in range(60):
        part, label = voc.voc_rand_crop(image, image[0], 6, 7)
        assert part.shape == (3, 6, 7)
        assert part[0].equal(label)
        places.add(label[0, 0].item())
    assert places == {0, 1, 2, 9, 10, 11}


def test_an_image_that_is_too_small_is_not_cut():
    with pytest.raises(ConfigError, match="An image of 7 x 9 pixels has no part of 8 x 7"):
        voc.voc_rand_crop(torch.zeros(3, 7, 9), torch.zeros(7, 9), 8, 7)


def test_the_dataset_gives_normalized_crops_with_classes(voc_dir, capsys):
    dataset = voc.VOCSegDataset(True, (20, 26), voc_dir)
    assert capsys.readouterr().out == "read 2 examples\n"
    assert len(dataset) == 2
    torch.manual_seed(0)
    X, y = dataset[0]
    assert (X.shape, X.dtype, y.shape, y.dtype) == (
        *((3, 20, 26), torch.float32),
        *((20, 26), torch.int64),
    )
    assert set(y.unique().tolist()) == {0, 20}
    whole = dataset.normalize_image(dataset.features[0])
    windows = [whole[:, :, i : i + 26] for i in range(5)]
    assert any(X.equal(window) for window in windows)
    plain = dataset.features[0].double() / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = (plain - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(whole, expected.float())


def test_minibatches_are_full(monkeypatch):
    monkeypatch.setattr(drawn_images, "NUM_VOC", {"train": 5, "val": 2})
    monkeypatch.setattr(stand_ins, "_told", {"voc2012"})
    train, val = voc.load_data_voc(2, (320, 480))
    assert [tuple(X.shape) for X, _ in train] == [(2, 3, 320, 480)] * 2
    assert [tuple(y.shape) for _, y in val] == [(2, 320, 480)]
    with pytest.raises(DataError, match="batch_size is 3, but only 2 images are as large"):
        voc.load_data_voc(3, (320, 480))


def test_a_folder_without_the_data_set_is_named(folder, voc_dir):
    with pytest.raises(DataError, match="does not hold Pascal VOC2012"):
        voc.read_voc_images(folder / "elsewhere")
    with pytest.raises(DataError, match=r"No image in .* is as large as 50 x 50"):
        voc.VOCSegDataset(True, (50, 50), voc_dir)
