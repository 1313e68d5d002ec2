"""Drawings that stand in for photographs: always the same, in the originals' files."""

import csv
import io
import random
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from gradbook import Trainer
from gradbook.book import boxes
from gradbook.data import GivenData
from gradbook.datasets.makers import drawn_images
from gradbook.datasets.voc import VOC_COLORMAP
from gradbook.module import Module


@pytest.fixture
def few(monkeypatch):
    """Only a few images of each kind."""
    monkeypatch.setattr(drawn_images, "NUM_BANANAS", {"train": 3, "val": 2})
    monkeypatch.setattr(drawn_images, "NUM_VOC", {"train": 2, "val": 1})
    monkeypatch.setattr(drawn_images, "NUM_HOTDOGS", {"train": 2, "test": 1})
    monkeypatch.setattr(drawn_images, "NUM_DOGS", {"train": 2, "test": 1})


def written(folder, write):
    """The files of the zip archive that a function writes, by name."""
    write(folder / "a.zip")
    with zipfile.ZipFile(folder / "a.zip") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def image(content):
    return Image.open(io.BytesIO(content))


def test_drawings_do_not_depend_on_seeds_nor_change_them(folder, few):
    random.seed(1)
    torch.manual_seed(1)
    first = written(folder, drawn_images.write_banana_detection)
    random.seed(2)
    drawn = random.random()
    random.seed(2)
    assert written(folder, drawn_images.write_banana_detection) == first
    assert random.random() == drawn


def test_bananas_have_a_table_of_boxes_that_lie_within_the_images(folder, few):
    files = written(folder, drawn_images.write_banana_detection)
    for split, num_images in (("train", 3), ("val", 2)):
        part = f"banana-detection/bananas_{split}"
        header, *rows = csv.reader(io.StringIO(files[f"{part}/label.csv"].decode()))
        assert header == ["img_name", "label", "xmin", "ymin", "xmax", "ymax"]
        assert len(rows) == num_images
        for name, label, *ends in rows:
            picture = image(files[f"{part}/images/{name}"])
            assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (256, 256))
            left, top, right, bottom = map(int, ends)
            assert label == "0"
            assert 0 <= left < right <= 256
            assert 0 <= top < bottom <= 256


def test_a_bananas_box_holds_all_that_is_yellow_and_no_more():
    for seed in range(10):
        picture, (left, top, right, bottom) = drawn_images.banana(random.Random(seed))
        red, green, blue = np.moveaxis(picture.pixels, -1, 0)
        yellow = (red > 200) & (green > 150) & (blue < 75)
        rows, columns = np.flatnonzero(yellow.any(1)), np.flatnonzero(yellow.any(0))
        assert abs(left - columns[0]) <= 2, seed
        assert abs(right - 1 - columns[-1]) <= 2, seed
        assert abs(top - rows[0]) <= 2, seed
        assert abs(bottom - 1 - rows[-1]) <= 2, seed


def test_outlines_are_photographs_and_palettes_as_in_pascal_voc(folder, few):
    drawn_images.write_voc2012(folder / "a.tar")
    with tarfile.open(folder / "a.tar") as archive:
        files = {name: archive.extractfile(name).read() for name in archive.getnames()}
    base = "VOCdevkit/VOC2012"
    names = files[f"{base}/ImageSets/Segmentation/train.txt"].decode().split()
    assert len(names) == 2
    assert len(files) == 2 + 2 * 3
    picture = image(files[f"{base}/JPEGImages/{names[0]}.jpg"])
    label = image(files[f"{base}/SegmentationClass/{names[0]}.png"])
    assert (picture.format, picture.size) == ("JPEG", (500, 375))
    assert (label.format, label.mode, label.size) == ("PNG", "P", (500, 375))
    assert label.getpalette()[3:6] == VOC_COLORMAP[1]
    assert label.getpalette()[-3:] == [224, 224, 192]  # the border's, as the original has it
    # Section 14.9 looks at these pixels: the background, a border, an aeroplane.
    assert set(np.array(label)[105:115, 130:140].flat) == {0, 1, 255}


def test_hot_dogs_lie_in_a_folder_for_each_class(folder, few):
    files = written(folder, drawn_images.write_hotdog)
    assert sorted(files) == [
        "hotdog/test/hotdog/0.png",
        "hotdog/test/not-hotdog/0.png",
        *(f"hotdog/train/hotdog/{i}.png" for i in (0, 1)),
        *(f"hotdog/train/not-hotdog/{i}.png" for i in (0, 1)),
    ]
    assert image(files["hotdog/test/hotdog/0.png"]).mode == "RGB"


def test_dogs_have_a_table_of_breeds(folder, few):
    files = written(folder, drawn_images.write_dog_tiny)
    header, *rows = csv.reader(io.StringIO(files["kaggle_dog_tiny/labels.csv"].decode()))
    assert header == ["id", "breed"]
    assert [breed for _, breed in rows] == ["affenpinscher", "afghan_hound"]
    assert all(f"kaggle_dog_tiny/train/{name}.jpg" in files for name, _ in rows)
    assert sum(name.startswith("kaggle_dog_tiny/test/") for name in files) == 1


def test_every_breed_has_a_coat_of_its_own():
    assert len({drawn_images._coat(breed) for breed in range(120)}) == 120


@pytest.mark.slow
def test_the_small_cifar10_has_a_thousand_images_of_ten_classes(folder):
    files = written(folder, drawn_images.write_cifar10_tiny)
    _, *rows = csv.reader(io.StringIO(files["kaggle_cifar10_tiny/trainLabels.csv"].decode()))
    assert [name for name, _ in rows] == [str(i) for i in range(1, 1001)]
    assert len({label for _, label in rows}) == 10
    assert image(files["kaggle_cifar10_tiny/test/5.png"]).size == (32, 32)


class SmallSSD(Module):
    """Section 14.7's detector with one scale, for images of 32 x 32 pixels."""

    def __init__(self):
        super().__init__()
        self.lr = 0.01
        layers = []
        for inputs, outputs in ((3, 16), (16, 32)):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
            layers.append(nn.MaxPool2d(2))
        self.base = nn.Sequential(*layers)
        self.classes = nn.Conv2d(32, 2 * 2, kernel_size=5, padding=2)
        self.offsets = nn.Conv2d(32, 2 * 4, kernel_size=5, padding=2)

    def forward(self, X):
        Y = self.base(X)
        anchors = boxes.multibox_prior(Y, sizes=[0.3, 0.42], ratios=[1])
        classes = self.classes(Y).permute(0, 2, 3, 1).reshape(len(X), -1, 2)
        return anchors, classes, self.offsets(Y).permute(0, 2, 3, 1).flatten(1)

    def loss(self, y_hat, y):
        anchors, classes, offsets = y_hat
        true_offsets, mask, labels = boxes.multibox_target(anchors, y)
        wrong = nn.functional.cross_entropy(classes.flatten(0, 1), labels.flatten())
        return wrong + nn.functional.l1_loss(offsets * mask, true_offsets * mask)

    def found(self, X):
        """The most probable box of each image."""
        anchors, classes, offsets = self(X)
        rows = boxes.multibox_detection(classes.softmax(2).transpose(1, 2), offsets, anchors)
        return rows[:, 0, 2:]


def test_things_in_memory_are_those_of_their_classes_and_always_the_same():
    images, targets = drawn_images.things(0, 6)
    again, same = drawn_images.things(0, 6)
    assert (images.shape, images.dtype, targets.dtype) == ((6, 32, 32, 3), np.uint8, np.int64)
    assert np.array_equal(images, again)
    assert np.array_equal(targets, same)
    assert not np.array_equal(images, drawn_images.things(1, 6)[0])
    assert set(targets) <= set(range(10))


@pytest.mark.slow
def test_a_detector_finds_the_bananas():
    source, edge = random.Random(0), 32
    drawn = [drawn_images.banana(source, edge) for _ in range(320)]
    X = torch.tensor(np.stack([picture.pixels for picture, _ in drawn])).permute(0, 3, 1, 2) / 255
    ends = torch.tensor([ends for _, ends in drawn]) / edge
    y = torch.cat([torch.zeros(320, 1), ends], 1).unsqueeze(1)
    model = SmallSSD()
    trainer = Trainer(max_epochs=5, optimizer="adam")
    trainer.fit(model, GivenData((X[:256], y[:256]), (X[256:], y[256:]), batch_size=16))
    with torch.no_grad():
        found = model.eval().found(X[256:])
    overlap = boxes.box_iou(found, ends[256:]).diagonal()
    always = boxes.box_iou(ends[:256].mean(0, keepdim=True), ends[256:])  # whatever is to be seen
    assert overlap.mean() > 0.4 > 2 * always.mean()


@pytest.mark.slow
def test_a_fully_convolutional_network_learns_the_outlines():
    source = random.Random(0)
    drawn = [drawn_images.outlines(source, 32, 48) for _ in range(24)]
    X = torch.tensor(np.stack([picture.pixels for picture, _ in drawn])).permute(0, 3, 1, 2) / 255
    y = torch.tensor(np.stack([classes for _, classes in drawn])).long()
    y[y == 255] = 0  # as section 14.9 has the borders
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, stride=2),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1, stride=2),
        nn.ReLU(),
        nn.Conv2d(32, 21, 1),
        nn.ConvTranspose2d(21, 21, kernel_size=8, padding=2, stride=4),
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(X - 0.5), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    guess = nn.functional.one_hot(y, 21).float().mean((0, 1, 2))
    assert losses[-1] < 0.6 * -(guess[guess > 0] * guess[guess > 0].log()).sum()
