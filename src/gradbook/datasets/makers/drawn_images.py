"""Images that stand in for photographs: shapes before smooth backgrounds, as the book's files.

What a picture shows follows from its label alone, so that a model of the chapter can learn it: a
detector finds the crescents, a segmenter the outlines, a classifier shape and color.

Shapes are drawn from distances: the number of pixels from a point to a shape's outline, negative
within it. An outline is half covered, and so without steps.

Book: chapter 14.
"""

import colorsys
import csv
import functools
import io
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np

from gradbook.datasets.stand_ins import write_tar, write_zip
from gradbook.datasets.voc import VOC_COLORMAP

Array = Any  # a NumPy array: what NumPy's functions give differs between its versions
#: The distance of each point to a shape's outline, for coordinates around the shape's middle.
Shape = Callable[[Array, Array], Array]
#: Red, green and blue, from 0 to 255.
Color = tuple[float, float, float]
Member = tuple[str, bytes]


# Shapes; x to the right, y downwards --------------------------------------------------------------


def disk(x: Array, y: Array, radius: float = 1.0) -> Array:
    """A disk."""
    return np.hypot(x, y) - radius


def ellipse(x: Array, y: Array, width: float = 1.0, height: float = 0.6) -> Array:
    """An ellipse of half that width and height; the distance is exact on its outline only."""
    return (np.hypot(x / width, y / height) - 1) * min(width, height)


def box(x: Array, y: Array, width: float = 1.0, height: float = 1.0) -> Array:
    """A rectangle of half that width and height."""
    return np.maximum(np.abs(x) - width, np.abs(y) - height)


def capsule(x: Array, y: Array, length: float = 0.8, radius: float = 0.25) -> Array:
    """A rod with round ends, along x."""
    return np.hypot(np.maximum(np.abs(x) - length, 0), y) - radius


def crescent(x: Array, y: Array) -> Array:
    """What a second disk leaves of a disk."""
    return np.maximum(disk(x, y), 0.95 - np.hypot(x, y - 0.6))


def triangle(x: Array, y: Array) -> Array:
    """A triangle that stands on one side."""
    return np.maximum(y, 0.866 * np.abs(x) - 0.5 * y) - 0.5


def ring(x: Array, y: Array) -> Array:
    """A ring."""
    return np.abs(np.hypot(x, y) - 0.75) - 0.25


def cross(x: Array, y: Array) -> Array:
    """Two bars across each other."""
    return np.minimum(box(x, y, 1.0, 0.3), box(x, y, 0.3, 1.0))


def star(x: Array, y: Array) -> Array:
    """A star of five points."""
    return (np.hypot(x, y) - 0.7 - 0.3 * np.cos(5 * np.arctan2(x, -y))) * 0.6


def plane(x: Array, y: Array) -> Array:
    """An aeroplane from above: a body, wings and a tail."""
    wings = box(x - 0.1, y, 0.16, 0.8)
    tail = box(x - 0.85, y, 0.1, 0.35)
    return np.minimum(np.minimum(capsule(x, y, 0.86, 0.14), wings), tail)


def bottle(x: Array, y: Array) -> Array:
    """A bottle with its neck."""
    return np.minimum(box(x, y - 0.3, 0.35, 0.7), box(x, y + 0.6, 0.13, 0.4))


def cat(x: Array, y: Array) -> Array:
    """A round head with two ears."""
    ears = np.minimum(
        triangle((x - 0.5) / 0.5, (y + 0.7) / 0.5), triangle((x + 0.5) / 0.5, (y + 0.7) / 0.5)
    )
    return np.minimum(disk(x, y, 0.85), ears * 0.5)


# Pictures -----------------------------------------------------------------------------------------


class Picture:
    """Pixels with a smooth background, on which shapes are painted.

    Args:
        height: In pixels.
        width: In pixels.
        rng: Draws the colors of the background.
        low: The darkest red, green and blue of the background.
        high: The brightest.

    Attributes:
        pixels: float32 (height, width, 3), from 0 to 255.
    """

    def __init__(
        self,
        height: int,
        width: int,
        rng: Random,
        low: Color = (20, 20, 20),
        high: Color = (220, 220, 220),
    ) -> None:
        coarse = [[rng.uniform(*ends) for _ in range(16)] for ends in zip(low, high, strict=True)]
        values = np.array(coarse, dtype=np.float32).reshape(3, 4, 4)
        self.pixels: Array = np.ascontiguousarray(
            np.moveaxis(_between(height) @ values @ _between(width).T, 0, -1)
        )

    def distance(self, shape: Shape, x: float, y: float, size: float, angle: float = 0.0) -> Array:
        """The distance of each pixel to a shape's outline, in pixels.

        Args:
            shape: The shape, which is 2 wide and high.
            x: Where its middle is, in pixels from the left.
            y: And from the top.
            size: Half its width, in pixels.
            angle: By how much it is turned clockwise, in radians.
        """
        rows, columns = np.ogrid[: self.pixels.shape[0], : self.pixels.shape[1]]
        right, down = (columns - x + 0.5).astype(np.float32), (rows - y + 0.5).astype(np.float32)
        c, s = math.cos(angle) / size, math.sin(angle) / size
        return shape(right * c + down * s, down * c - right * s) * np.float32(size)

    def paint(self, distance: Array, color: Color) -> None:
        """Covers what lies within an outline."""
        covered = np.clip(0.5 - distance, 0, 1)[..., None]
        self.pixels += covered * (np.array(color, dtype=np.float32) - self.pixels)

    def add(
        self, shape: Shape, x: float, y: float, size: float, color: Color, angle: float = 0.0
    ) -> Array:
        """Paints a shape, and returns the distance to it."""
        distance = self.distance(shape, x, y, size, angle)
        self.paint(distance, color)
        return distance

    def rounded(self) -> Array:
        """The pixels as whole numbers, uint8 (height, width, 3)."""
        return self.pixels.round().clip(0, 255).astype(np.uint8)

    def encoded(self, kind: str = "png") -> bytes:
        """The picture as a file's content, "png" or "jpeg"."""
        from PIL import Image

        return encoded(Image.fromarray(self.rounded()), kind)


@functools.cache
def _between(length: int) -> Array:
    """A matrix (length, 4) that puts pixels between four values."""
    places = np.linspace(0, 3, length)
    return np.stack([np.interp(places, range(4), row) for row in np.eye(4)], 1).astype(np.float32)


def encoded(image: Any, kind: str = "png") -> bytes:
    """A PIL image as a file's content, "png" or "jpeg"."""
    file = io.BytesIO()
    # Compressing took most of the time that it takes to make an archive.
    image.save(file, format=kind, **({"compress_level": 1} if kind == "png" else {}))
    return file.getvalue()


def _color(hue: float, saturation: float = 0.8, value: float = 0.9) -> Color:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return 255 * red, 255 * green, 255 * blue


def _csv(rows: Sequence[Sequence[Any]]) -> bytes:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue().encode()


# Bananas, for detection ---------------------------------------------------------------------------

NUM_BANANAS = {"train": 256, "val": 64}


def banana(rng: Random, edge: int = 256) -> tuple[Picture, list[int]]:
    """A yellow crescent before other shapes, and its box.

    Args:
        rng: Draws what the picture shows.
        edge: Height and width in pixels.

    Returns:
        The picture, and the box (left, top, right, bottom) in pixels.
    """
    picture = Picture(edge, edge, rng, low=(20, 20, 90), high=(190, 190, 230))
    for _ in range(rng.randrange(4)):
        shapes: list[Shape] = [disk, box, triangle, ring]
        shape = rng.choice(shapes)
        x, y, size = (rng.uniform(0, edge), rng.uniform(0, edge), rng.uniform(0.04, 0.14))
        hue = rng.uniform(0.3, 1.0)  # all but yellow
        picture.add(shape, x, y, size * edge, _color(hue), rng.uniform(0, math.tau))
    size = rng.uniform(0.11, 0.22) * edge
    x, y = rng.uniform(size, edge - size), rng.uniform(size, edge - size)
    color = _color(rng.uniform(0.13, 0.17), 0.75, rng.uniform(0.85, 1.0))
    inside = picture.add(crescent, x, y, size, color, rng.uniform(0, math.tau)) < 0
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    ends = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    return picture, [int(end) for end in ends]


def write_banana_detection(path: Path) -> None:
    """The stand-in for banana-detection.zip."""

    def members() -> Iterator[Member]:
        rng = Random(0)
        for split, num_images in NUM_BANANAS.items():
            rows: list[list[Any]] = [["img_name", "label", "xmin", "ymin", "xmax", "ymax"]]
            folder = f"banana-detection/bananas_{split}"
            for i in range(num_images):
                picture, ends = banana(rng)
                rows.append([f"{i}.png", 0, *ends])
                yield f"{folder}/images/{i}.png", picture.encoded()
            yield f"{folder}/label.csv", _csv(rows)

    write_zip(path, members())


# Outlines, for segmentation -----------------------------------------------------------------------

#: One image in nine is upright, and so narrower than the crops of section 14.9.
NUM_VOC = {"train": 144, "val": 72}
#: Those of the 21 classes that are drawn: the number, the shape and its color.
_VOC_OBJECTS: tuple[tuple[int, Shape, Color], ...] = (
    (1, plane, (228, 230, 236)),
    (3, crescent, (110, 70, 40)),
    (5, bottle, (30, 140, 60)),
    (6, functools.partial(box, height=0.5), (205, 40, 40)),
    (8, cat, (235, 150, 50)),
    (17, star, (250, 245, 225)),
    (20, functools.partial(box, height=0.7), (25, 25, 30)),
)
_BORDER = 255
#: Red, green and blue of the 256 numbers in a picture of labels: the classes and the border.
_VOC_PALETTE = [*chain(*VOC_COLORMAP), *[0] * (3 * 234), *(224, 224, 192)]


def outlines(
    rng: Random, height: int = 375, width: int = 500, first: bool = False
) -> tuple[Picture, Array]:
    """One to three objects of Pascal VOC's classes, and the class of each pixel.

    Args:
        rng: Draws what the picture shows.
        height: In pixels.
        width: In pixels.
        first: Whether it is the picture whose pixels section 14.9 looks at.

    Returns:
        The picture, and a uint8 array (height, width) of classes; 0 is the background, 255 an
        object's border.
    """
    picture = Picture(height, width, rng, low=(40, 60, 60), high=(150, 190, 190))
    classes = np.zeros((height, width), dtype=np.uint8)
    short = min(height, width)
    for number in range(1 if first else rng.randrange(1, 4)):
        label, shape, color = rng.choice(_VOC_OBJECTS)
        size, angle = rng.uniform(0.16, 0.34) * short, rng.uniform(-0.4, 0.4)
        x, y = rng.uniform(0.15, 0.85) * width, rng.uniform(0.2, 0.8) * height
        if first:  # an aeroplane, whose nose lies in rows 105 to 115 and columns 130 to 140
            label, shape, color = _VOC_OBJECTS[number]
            size, angle, x, y = 115.0, 0.0, 250.0, 110.0
        color = tuple(value + rng.uniform(-18, 18) for value in color)  # type: ignore[assignment]
        distance = picture.add(shape, x, y, size, color, angle)
        classes[distance < 2] = _BORDER
        classes[distance < -1] = label
    return picture, classes


def write_voc2012(path: Path) -> None:
    """The stand-in for VOCtrainval_11-May-2012.tar: what segmentation uses of it."""
    from PIL import Image

    def members() -> Iterator[Member]:
        rng = Random(1)
        folder, i = "VOCdevkit/VOC2012", 0
        for split, num_images in NUM_VOC.items():
            names = []
            for number in range(num_images):
                height, width = (500, 375) if number % 9 == 8 else (375, 500)
                picture, classes = outlines(rng, height, width, first=i == 0)
                names.append(f"2012_{i:06}")
                i += 1
                label = Image.fromarray(classes)
                label.putpalette(_VOC_PALETTE)
                yield f"{folder}/JPEGImages/{names[-1]}.jpg", picture.encoded("jpeg")
                yield f"{folder}/SegmentationClass/{names[-1]}.png", encoded(label)
            lines = "".join(f"{name}\n" for name in names)
            yield f"{folder}/ImageSets/Segmentation/{split}.txt", lines.encode()

    write_tar(path, members())


# One thing a picture, for classification ----------------------------------------------------------

NUM_HOTDOGS = {"train": 160, "test": 64}


def hotdog(rng: Random, is_hotdog: bool) -> Picture:
    """A sausage in a bun, or something else of such shapes and colors."""
    height, width = rng.randrange(140, 221), rng.randrange(140, 221)
    picture = Picture(height, width, rng)
    x, y = width * rng.uniform(0.4, 0.6), height * rng.uniform(0.4, 0.6)
    size, angle = min(height, width) * rng.uniform(0.3, 0.45), rng.uniform(0, math.pi)
    bun = _color(rng.uniform(0.08, 0.1), 0.55, rng.uniform(0.75, 0.95))
    sausage = _color(rng.uniform(0.0, 0.03), 0.8, rng.uniform(0.55, 0.75))
    if is_hotdog:
        long = functools.partial(capsule, length=0.75, radius=0.42)
        picture.add(long, x, y, size, bun, angle)
        picture.add(functools.partial(capsule, radius=0.2), x, y, size, sausage, angle)
        picture.add(functools.partial(capsule, radius=0.05), x, y, size, _color(0.14), angle)
    else:
        shapes: list[Shape] = [disk, ring, box, triangle, functools.partial(capsule, radius=0.42)]
        colors = [bun, sausage, _color(rng.random())]
        picture.add(rng.choice(shapes), x, y, size, rng.choice(colors), angle)
        picture.add(disk, x, y, size / 3, rng.choice(colors))
    return picture


def write_hotdog(path: Path) -> None:
    """The stand-in for hotdog.zip."""

    def members() -> Iterator[Member]:
        rng = Random(2)
        for split, num_images in NUM_HOTDOGS.items():
            for kind in ("hotdog", "not-hotdog"):
                for i in range(num_images):
                    picture = hotdog(rng, is_hotdog=kind == "hotdog")
                    yield f"hotdog/{split}/{kind}/{i}.png", picture.encoded()

    write_zip(path, members())


#: The classes of CIFAR-10 in their order, each with its shape.
_CIFAR10: dict[str, Shape] = {
    "airplane": plane,
    "automobile": functools.partial(box, height=0.5),
    "bird": crescent,
    "cat": cat,
    "deer": triangle,
    "dog": disk,
    "frog": ring,
    "horse": star,
    "ship": functools.partial(ellipse, height=0.4),
    "truck": cross,
}


def thing(rng: Random, label: str) -> Picture:
    """A shape of 32 x 32 pixels, whose form and hue tell which of CIFAR-10's classes it is."""
    picture = Picture(32, 32, rng)
    hue = (list(_CIFAR10).index(label) + rng.uniform(-0.4, 0.4)) / 10
    x, y = rng.uniform(12, 20), rng.uniform(12, 20)
    size, angle = rng.uniform(8, 13), rng.uniform(-0.3, 0.3)
    value = rng.uniform(0.6, 1.0)
    picture.add(_CIFAR10[label], x, y, size, _color(hue, rng.uniform(0.6, 1.0), value), angle)
    return picture


def things(seed: int, num_images: int) -> tuple[Array, Array]:
    """Pictures of things in random order, as images in memory.

    Args:
        seed: The same seed gives the same images.
        num_images: How many.

    Returns:
        The images, uint8 (num_images, 32, 32, 3), and their classes, int64 (num_images,).
    """
    rng, labels = Random(f"things {seed}"), list(_CIFAR10)
    targets = [rng.randrange(len(labels)) for _ in range(num_images)]
    images = [thing(rng, labels[target]).rounded() for target in targets]
    return np.stack(images), np.array(targets, dtype=np.int64)


def write_cifar10_tiny(path: Path) -> None:
    """The stand-in for kaggle_cifar10_tiny.zip."""

    def members() -> Iterator[Member]:
        rng = Random(3)
        folder, rows = "kaggle_cifar10_tiny", [["id", "label"]]
        for i in range(1, 1001):
            label = rng.choice(list(_CIFAR10))
            rows.append([str(i), label])
            yield f"{folder}/train/{i}.png", thing(rng, label).encoded()
        yield f"{folder}/trainLabels.csv", _csv(rows)
        for i in range(1, 6):
            yield f"{folder}/test/{i}.png", thing(rng, rng.choice(list(_CIFAR10))).encoded()

    write_zip(path, members())


_BREED_NAMES = """
affenpinscher afghan_hound african_hunting_dog airedale american_staffordshire_terrier appenzeller
australian_terrier basenji basset beagle bedlington_terrier bernese_mountain_dog
black-and-tan_coonhound blenheim_spaniel bloodhound bluetick border_collie border_terrier borzoi
boston_bull bouvier_des_flandres boxer brabancon_griffon briard brittany_spaniel bull_mastiff cairn
cardigan chesapeake_bay_retriever chihuahua chow clumber cocker_spaniel collie
curly-coated_retriever dandie_dinmont dhole dingo doberman english_foxhound english_setter
english_springer entlebucher eskimo_dog flat-coated_retriever french_bulldog german_shepherd
german_short-haired_pointer giant_schnauzer golden_retriever gordon_setter great_dane
great_pyrenees greater_swiss_mountain_dog groenendael ibizan_hound irish_setter irish_terrier
irish_water_spaniel irish_wolfhound italian_greyhound japanese_spaniel keeshond kelpie
kerry_blue_terrier komondor kuvasz labrador_retriever lakeland_terrier leonberg lhasa malamute
malinois maltese_dog mexican_hairless miniature_pinscher miniature_poodle miniature_schnauzer
newfoundland norfolk_terrier norwegian_elkhound norwich_terrier old_english_sheepdog otterhound
papillon pekinese pembroke pomeranian pug redbone rhodesian_ridgeback rottweiler saint_bernard
saluki samoyed schipperke scotch_terrier scottish_deerhound sealyham_terrier shetland_sheepdog
shih-tzu siberian_husky silky_terrier soft-coated_wheaten_terrier staffordshire_bullterrier
standard_poodle standard_schnauzer sussex_spaniel tibetan_mastiff tibetan_terrier toy_poodle
toy_terrier vizsla walker_hound weimaraner welsh_springer_spaniel west_highland_white_terrier
whippet wire-haired_fox_terrier yorkshire_terrier
"""
_BREEDS = tuple(_BREED_NAMES.split())
NUM_DOGS = {"train": 600, "test": 10}


class _Coat(NamedTuple):
    """What tells a breed: one of 10 hues, 3 shades, and 4 markings."""

    hue: float
    value: float
    marking: int


def _coat(breed: int) -> _Coat:
    return _Coat(breed % 10 / 10, 0.4 + 0.25 * (breed // 10 % 3), breed // 30)


def dog(rng: Random, breed: int) -> Picture:
    """A dog's head, whose coat tells the breed.

    Args:
        rng: Draws everything else.
        breed: The breed's number, from 0 to 119.
    """
    height, width = rng.randrange(150, 211), rng.randrange(150, 211)
    picture = Picture(height, width, rng)
    coat = _coat(breed)
    hue, value = coat.hue + rng.uniform(-0.02, 0.02), coat.value + rng.uniform(-0.05, 0.05)
    fur, light = _color(hue, 0.7, value), _color(hue, 0.15, 0.95)
    size = min(height, width) * rng.uniform(0.28, 0.4)
    x, y = width * rng.uniform(0.42, 0.58), height * rng.uniform(0.42, 0.58)

    def part(shape: Shape, right: float, down: float, scale: float, color: Color) -> None:
        picture.add(shape, x + right * size, y + down * size, scale * size, color)

    ears, muzzle = (fur, light) if coat.marking % 2 else (light, fur)
    for side in (-1, 1):
        part(functools.partial(ellipse, width=0.5), side * 0.85, -0.35, 0.5, ears)
    part(disk, 0, 0, 1.0, fur)
    part(ellipse, 0, 0.45, 0.5, muzzle)
    if coat.marking >= 2:
        part(functools.partial(box, width=0.3), 0, -0.5, 0.4, light)
    for side in (-1, 1):
        part(disk, side * 0.4, -0.2, 0.12, (15, 15, 15))
    part(triangle, 0, 0.35, 0.2, (15, 15, 15))
    return picture


def write_dog_tiny(path: Path) -> None:
    """The stand-in for kaggle_dog_tiny.zip."""

    def members() -> Iterator[Member]:
        rng = Random(4)
        folder, rows = "kaggle_dog_tiny", [["id", "breed"]]
        for split, num_images in NUM_DOGS.items():
            for i in range(num_images):
                name, breed = f"{rng.getrandbits(128):032x}", i % len(_BREEDS)
                if split == "train":
                    rows.append([name, _BREEDS[breed]])
                yield f"{folder}/{split}/{name}.jpg", dog(rng, breed).encoded("jpeg")
        yield f"{folder}/labels.csv", _csv(rows)

    write_zip(path, members())
