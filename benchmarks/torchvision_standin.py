"""What the original `d2l` needs of torchvision, so that it runs where torchvision does not.

The data set and the two transforms take the steps that torchvision takes for one image: the
bytes become a PIL image, a resize to the size that it has is left out, and the image becomes a
float32 tensor divided by 255. So the time that `d2l` spends per example is its own.
"""

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np


def install(arrays: Callable[[], tuple]) -> None:
    """Puts a module `torchvision` in place, whose Fashion-MNIST is what `arrays()` returns."""
    import torch
    from PIL import Image

    class FashionMNIST(torch.utils.data.Dataset):
        def __init__(
            self, root: str, train: bool = True, transform: Any = None, download: bool = False
        ) -> None:
            images, labels, val_images, val_labels = arrays()
            self.data = torch.from_numpy(images if train else val_images)
            self.targets = torch.from_numpy(labels if train else val_labels)
            self.transform = transform

        def __len__(self) -> int:
            return len(self.data)

        def __getitem__(self, index: int) -> tuple[Any, int]:
            image = Image.fromarray(self.data[index].numpy())
            return self.transform(image), int(self.targets[index])

    class Compose:
        def __init__(self, steps: list) -> None:
            self.steps = steps

        def __call__(self, image: Any) -> Any:
            for step in self.steps:
                image = step(image)
            return image

    class Resize:
        def __init__(self, size: tuple[int, int]) -> None:
            self.size = tuple(size)

        def __call__(self, image: Any) -> Any:
            height, width = self.size
            if image.size == (width, height):
                return image
            return image.resize((width, height), Image.Resampling.BILINEAR)

    class ToTensor:
        def __call__(self, image: Any) -> Any:
            pixels = torch.from_numpy(np.array(image, copy=True))
            height, width = pixels.shape
            channels_first = pixels.view(height, width, 1).permute(2, 0, 1).contiguous()
            return channels_first.to(torch.float32).div(255)

    torchvision = ModuleType("torchvision")
    torchvision.datasets = ModuleType("torchvision.datasets")
    torchvision.datasets.FashionMNIST = FashionMNIST
    torchvision.transforms = ModuleType("torchvision.transforms")
    torchvision.transforms.Compose = Compose
    torchvision.transforms.Resize = Resize
    torchvision.transforms.ToTensor = ToTensor
    for module in (torchvision, torchvision.datasets, torchvision.transforms):
        sys.modules[module.__name__] = module
