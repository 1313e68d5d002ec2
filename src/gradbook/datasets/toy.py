"""Small data whose whole world fits into a picture: points in a plane, and a noisy sine.

`gradbook.inspection.boundary` draws what a model makes of them.
"""

import math
from typing import Any

import torch

from gradbook.checks import check_rate, check_whole_number, enough_memory
from gradbook.data import DataModule


class ToyData(DataModule):
    """The base of toy data: a subclass says in `draw` where its examples lie.

    The random numbers come from PyTorch's default generator, as `seed_everything` sets it.

    Args:
        num_train: Examples for training, the first ones.
        num_val: Examples for validation, the others. With 0, there is no validation set.
        noise: The standard deviation of the normal noise, which is added to the inputs of points
            and to the labels of the sine.
        batch_size: Examples in a batch.

    Attributes:
        X: Inputs, a tensor (num_train + num_val, 2) of PyTorch's default dtype, float32; those of
            the sine are (num_train + num_val, 1).
        y: Labels, an int64 tensor (num_train + num_val,); those of the sine are as its inputs.

    Raises:
        ConfigError: If an argument cannot be used.
    """

    num_train: int
    num_val: int
    noise: float

    def __init__(
        self, num_train: int = 200, num_val: int = 100, noise: float = 0.1, batch_size: int = 32
    ) -> None:
        super().__init__()
        check_whole_number(num_train, "num_train", at_least=1)
        check_whole_number(num_val, "num_val", at_least=0)
        check_whole_number(batch_size, "batch_size", at_least=1)
        check_rate(noise, "noise")
        self.save_hyperparameters()
        with enough_memory(self):
            self.X, self.y = self.draw(num_train + num_val)

    def draw(self, num_examples: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and labels of so many examples, with the noise."""
        raise NotImplementedError(f"Write a method draw(num_examples) in {type(self).__name__}.")

    def get_dataloader(self, train: bool) -> Any:
        """Minibatches of (X, y), shuffled for training; None if `num_val` is 0."""
        if not train and self.num_val == 0:
            return None
        indices = slice(0, self.num_train) if train else slice(self.num_train, None)
        return self.get_tensorloader((self.X, self.y), train, indices)

    def with_noise(self, values: torch.Tensor) -> torch.Tensor:
        """Values, each with noise of its own."""
        return values + torch.randn(values.shape) * float(self.noise)


class Moons(ToyData):
    """Two half circles of radius 1 that reach into each other: no line parts them.

    Arguments and attributes are those of `ToyData`.

    >>> data = Moons(num_train=6, num_val=2)
    >>> data.X.shape, data.y
    (torch.Size([8, 2]), tensor([0, 1, 0, 1, 0, 1, 0, 1]))
    """

    def draw(self, num_examples: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Classes 0, above, and 1 in turn; the one is the other turned about the origin."""
        y = torch.arange(num_examples) % 2
        upper = _on_circle(math.pi * torch.rand(num_examples)) - torch.tensor([0.5, 0.25])
        return self.with_noise(upper * (1 - 2 * y[:, None])), y


class Circles(ToyData):
    """A circle of radius 1/2, class 1, within one of radius 1, class 0.

    Arguments and attributes are those of `ToyData`.

    >>> Circles(noise=0).X.norm(dim=1)[:4]
    tensor([1.0000, 0.5000, 1.0000, 0.5000])
    """

    def draw(self, num_examples: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Classes 0, outside, and 1 in turn."""
        y = torch.arange(num_examples) % 2
        on_circle = _on_circle(2 * math.pi * torch.rand(num_examples))
        return self.with_noise(on_circle / (1 + y[:, None])), y


class _Several(ToyData):
    """The base of those with any number of classes."""

    num_classes: int

    def __init__(
        self,
        num_train: int = 200,
        num_val: int = 100,
        noise: float = 0.1,
        batch_size: int = 32,
        num_classes: int = 2,
    ) -> None:
        self.num_classes = check_whole_number(num_classes, "num_classes", at_least=2)
        super().__init__(num_train, num_val, noise, batch_size)
        self.save_hyperparameters()


class Spirals(_Several):
    """Arms that wind about the origin out to a radius of 2, a class each.

    Other arguments, and the attributes, are those of `ToyData`.

    Args:
        num_classes: The number of arms.

    >>> Spirals(num_classes=3).y[:5]
    tensor([0, 1, 2, 0, 1])
    """

    def draw(self, num_examples: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The classes in turn, along one and a quarter windings."""
        y = torch.arange(num_examples) % self.num_classes
        way = torch.rand(num_examples).sqrt()  # as many points on the long outer part as it needs
        angle = 2 * math.pi * (1.25 * way + y / self.num_classes)
        return self.with_noise(2 * way[:, None] * _on_circle(angle)), y


class Xor(ToyData):
    """A square with sides of 2 about the origin: class 1 where the inputs have opposite signs.

    Arguments and attributes are those of `ToyData`. The signs are those before the noise.

    >>> data = Xor(noise=0)
    >>> bool(((data.X.prod(dim=1) < 0) == data.y).all())
    True
    """

    def draw(self, num_examples: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Classes 0 and 1 in turn."""
        y = torch.arange(num_examples) % 2
        X = 2 * torch.rand(num_examples, 2) - 1
        X[:, 1] = X[:, 1].abs() * X[:, 0].sign() * (1 - 2 * y)
        return self.with_noise(X), y


class Blobs(_Several):
    """Clouds about points that lie evenly on the circle of radius 1, a class each.

    Other arguments, and the attributes, are those of `ToyData`.

    Args:
        num_classes: The number of clouds.

    >>> Blobs(num_train=3, num_val=0, noise=0).X[0]
    tensor([1., 0.])
    """

    def __init__(
        self,
        num_train: int = 200,
        num_val: int = 100,
        noise: float = 0.3,
        batch_size: int = 32,
        num_classes: int = 3,
    ) -> None:
        super().__init__(num_train, num_val, noise, batch_size, num_classes)

    def draw(self, num_examples: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The classes in turn."""
        y = torch.arange(num_examples) % self.num_classes
        return self.with_noise(_on_circle(2 * math.pi * y / self.num_classes)), y


class Sine(ToyData):
    """One period of a sine for regression: y = sin(x) + noise, x even between -pi and pi.

    Arguments are those of `ToyData`. `X` and `y` are (num_train + num_val, 1), both of PyTorch's
    default dtype.

    >>> data = Sine(num_train=50, num_val=50, noise=0)
    >>> bool((data.y == data.X.sin()).all())
    True
    """

    def draw(self, num_examples: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs from the uniform distribution."""
        X = math.pi * (2 * torch.rand(num_examples, 1) - 1)
        return X, self.with_noise(X.sin())


def _on_circle(angle: torch.Tensor) -> torch.Tensor:
    """Points (n, 2) of the circle of radius 1 at angles (n,)."""
    return torch.stack([angle.cos(), angle.sin()], dim=1)
