"""What the book uses of torchvision, but for its models, for machines without torchvision.

The data sets, and `transforms.Compose`, `Resize` and `ToTensor`, with torchvision's signatures and
results; `torchvision_parts` has what chapter 14 adds. `gradbook_standin` says when they are given
out.

Book: 4.2.1 (sec_fashion_mnist), chapter 14, 22.9 (sec_naive_bayes).
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

import gradbook_standin
from gradbook import torchvision_parts as parts
from gradbook.datasets import FashionMNIST as Images
from gradbook.datasets import labeled_images, text_labels
from gradbook.errors import GradbookWarning

_ADVICE = (
    "torchvision is not installed; this is gradbook's stand-in for it, which has only what "
    "the book uses of it: the data sets FashionMNIST, MNIST, CIFAR10 and ImageFolder, "
    "io.read_image, ops.roi_pool and the transforms, but no models. For the real one: "
    "pip install torchvision, from the same index as torch."
)


class _Images(Dataset[tuple[Any, Any]]):
    """Images and classes in memory, as pairs of a PIL image and an int, each transformed."""

    data: Any
    targets: Any

    def __init__(
        self,
        root: str = "../data",
        train: bool = True,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        download: bool = False,
    ) -> None:
        self.root, self.train = root, train
        self.transform, self.target_transform = transform, target_transform
        self.data, self.targets = self._found()

    def _found(self) -> tuple[Any, Any]:
        """What `data` and `targets` are."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image: Any = Image.fromarray(np.asarray(self.data[index]))
        target: Any = int(self.targets[index])
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            target = self.target_transform(target)
        return image, target


class FashionMNIST(_Images):
    """Fashion-MNIST as torchvision gives it: pairs of a gray PIL image, 28 x 28, and an int.

    Args:
        root: The folder for data; see `gradbook.datasets.FashionMNIST`.
        train: Whether to take the training images.
        transform: Called with each image.
        target_transform: Called with each label.
        download: Kept for the signature: gradbook fetches the files whenever they are nowhere.

    Attributes:
        data: uint8 tensor (N, 28, 28).
        targets: int64 tensor (N,).
        classes: The names of the ten classes.
    """

    classes = ("T-shirt/top", *(name.capitalize() for name in text_labels(range(1, 10))))

    def _found(self) -> tuple[Any, Any]:
        images = Images(root=self.root)
        source = images.train if self.train else images.val
        return source.data, source.targets


class MNIST(_Images):
    """MNIST as torchvision gives it: pairs of a gray PIL image, 28 x 28, and an int.

    Args:
        root: The folder for data; see `gradbook.datasets.labeled_images.mnist`.
        train: Whether to take the training images.
        transform: Called with each image.
        target_transform: Called with each label.
        download: Kept for the signature: gradbook fetches the files whenever they are nowhere.

    Attributes:
        data: uint8 tensor (N, 28, 28).
        targets: int64 tensor (N,).
        classes: The names of the ten classes.

    Book: 22.9.
    """

    classes = (
        *("0 - zero", "1 - one", "2 - two", "3 - three", "4 - four"),
        *("5 - five", "6 - six", "7 - seven", "8 - eight", "9 - nine"),
    )

    def _found(self) -> tuple[Any, Any]:
        return labeled_images.mnist(self.root, self.train)


class CIFAR10(_Images):
    """CIFAR-10 as torchvision gives it: pairs of a colored PIL image, 32 x 32, and an int.

    Args:
        root: The folder for data; see `gradbook.datasets.labeled_images.cifar10`.
        train: Whether to take the training images.
        transform: Called with each image.
        target_transform: Called with each label.
        download: Kept for the signature: gradbook fetches the files whenever they are nowhere.

    Attributes:
        data: uint8 array (N, 32, 32, 3).
        targets: A list of N ints.
        classes: The names of the ten classes.

    Book: 14.1.
    """

    classes = (
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    )

    def _found(self) -> tuple[Any, Any]:
        images = labeled_images.cifar10(self.root, self.train)
        return images.data.numpy(), images.targets.tolist()


class Compose:
    """Several transforms, one after the other.

    Args:
        transforms: The transforms, each a function of the image.
    """

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self.transforms = transforms

    def __call__(self, image: Any) -> Any:
        """The image after all transforms."""
        for transform in self.transforms:
            image = transform(image)
        return image


class Resize:
    """A PIL image in another size, interpolated bilinearly, with antialiasing.

    Args:
        size: Height and width in pixels; or one number for the shorter side, the other
            following in proportion.
    """

    def __init__(self, size: int | Sequence[int]) -> None:
        self.size = parts.side_lengths(size)

    def __call__(self, image: Any) -> Any:
        """The image in the new size."""
        width, height = _pil(image, "Resize").size
        if len(self.size) == 2:
            height, width = self.size
        else:
            short, (length,) = min(width, height), self.size
            width, height = int(length * width / short), int(length * height / short)
        return image.resize((width, height), Image.Resampling.BILINEAR)


class ToTensor:
    """A PIL image as a float32 tensor (channels, height, width) with values from 0 to 1."""

    def __call__(self, image: Any) -> torch.Tensor:
        """The tensor."""
        pixels = torch.from_numpy(np.array(_pil(image, "ToTensor"), dtype=np.uint8))
        pixels = pixels.unsqueeze(-1) if pixels.dim() == 2 else pixels
        return pixels.permute(2, 0, 1).contiguous().to(torch.float32).div_(255)


def _pil(image: Any, name: str) -> Any:
    if not isinstance(image, Image.Image):
        raise TypeError(f"{name} takes a PIL image, but it got {type(image).__name__}. {_ADVICE}")
    return image


class StandIn(ModuleType):
    """A module that has little, and says so."""

    __standin__ = True

    def __getattr__(self, name: str) -> Any:
        text = f"{self.__name__} has no {name!r} here: {_ADVICE}"
        raise AttributeError(text, name=name, obj=self)


class _Loader:
    """Hands out the modules below; there is nothing to execute."""

    @staticmethod
    def create_module(spec: ModuleSpec) -> ModuleType:
        return _MODULES[spec.name]

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        gradbook_standin.leave_soon()


def spec(name: str) -> ModuleSpec:
    """Where the stand-in for the module `name` comes from.

    Raises:
        ImportError: If there is none.
    """
    if name not in _MODULES:
        raise ImportError(f"There is no {name} here: {_ADVICE}", name=name)
    if name == "torchvision":
        # Before the module is handed out: giving a warning may import other modules.
        warnings.warn(_ADVICE, GradbookWarning, stacklevel=3)
    is_package = any(other.startswith(f"{name}.") for other in _MODULES)
    return ModuleSpec(name, _Loader, origin=__file__, is_package=is_package)  # type: ignore[arg-type]


def _module(name: str, doc: str, **parts: Any) -> ModuleType:
    module = StandIn(name, doc)
    module.__dict__.update(parts)
    return module


def _parts() -> Iterator[ModuleType]:
    """The modules, each with its parts in it."""
    functional = _module("torchvision.transforms.functional", _ADVICE, crop=parts.crop)
    transforms = _module(
        "torchvision.transforms",
        _ADVICE,
        functional=functional,
        Compose=Compose,
        Resize=Resize,
        ToTensor=ToTensor,
        **{
            name: getattr(parts, name)
            for name in (
                *("Normalize", "RandomHorizontalFlip", "RandomVerticalFlip", "CenterCrop"),
                *("RandomCrop", "RandomResizedCrop", "ColorJitter"),
            )
        },
    )
    reading = {"ImageReadMode": parts.ImageReadMode, "read_image": parts.read_image}
    image = _module("torchvision.io.image", _ADVICE, **reading)
    io = _module("torchvision.io", _ADVICE, image=image, **reading)
    datasets = _module(
        "torchvision.datasets",
        _ADVICE,
        FashionMNIST=FashionMNIST,
        MNIST=MNIST,
        CIFAR10=CIFAR10,
        ImageFolder=parts.ImageFolder,
    )
    ops = _module("torchvision.ops", _ADVICE, roi_pool=parts.roi_pool)
    yield from (functional, transforms, image, io, datasets, ops)
    yield _module("torchvision", _ADVICE, datasets=datasets, transforms=transforms, io=io, ops=ops)


_MODULES = {module.__name__: module for module in _parts()}
