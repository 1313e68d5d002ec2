"""Convolutional networks: LeNet, and the blocks of ResNet and ResNeXt.

Book: chapter 7, 8.6 (sec_resnet), 13.6 (sec_multi_gpu_concise).
"""

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.parameter import is_lazy

from gradbook.checks import check_rate, check_tensor, check_whole_number
from gradbook.errors import ConfigError, ShapeError
from gradbook.module import Classifier


def corr2d(X: torch.Tensor, K: torch.Tensor) -> torch.Tensor:
    """The two-dimensional cross-correlation of an input with a kernel.

    Args:
        X: The input, (H, W).
        K: The kernel, (h, w), no larger than the input.

    Returns:
        A floating-point tensor (H - h + 1, W - w + 1).

    Raises:
        ShapeError: If these are no matrices, or the kernel is larger than the input.

    Book: 7.2.1.

    >>> corr2d(torch.arange(9.0).reshape(3, 3), torch.tensor([[0.0, 1.0], [2.0, 3.0]]))
    tensor([[19., 25.],
            [37., 43.]])
    """
    check_tensor(X, "X", "H", "W")
    check_tensor(K, "K", "h", "w")
    if any(k > x for k, x in zip(K.shape, X.shape, strict=True)):
        raise ShapeError(
            f"corr2d needs an input (H, W) and a kernel that is no larger, but the input has the "
            f"shape {tuple(X.shape)} and the kernel {tuple(K.shape)}."
        )
    dtype = torch.promote_types(X.dtype, K.dtype)
    dtype = dtype if dtype.is_floating_point else torch.get_default_dtype()
    return F.conv2d(X[None, None].to(dtype), K[None, None].to(dtype))[0, 0]


def init_cnn(module: nn.Module) -> None:
    """Draws the weights of a linear or convolutional layer from Xavier's uniform distribution.

    Made for `Module.apply_init(inputs, init_cnn)` and `nn.Module.apply`; other layers stay. A lazy
    layer has no weights yet: they are drawn as soon as it knows their shape.

    Args:
        module: Any layer.

    Book: 7.6.1; Xavier's distribution 5.4.2.
    """
    if isinstance(module, nn.Linear | nn.Conv2d):
        if not is_lazy(module.weight):
            nn.init.xavier_uniform_(module.weight)
        elif type(module) in _LAZY:
            # PyTorch itself changes the class, too, once the layer knows its shape.
            module.__class__ = _LAZY[type(module)]


class _LazyConv2d(nn.LazyConv2d):
    """A lazy layer that will begin with Xavier's weights."""

    def reset_parameters(self) -> None:
        super().reset_parameters()
        nn.init.xavier_uniform_(self.weight)


class _LazyLinear(nn.LazyLinear):
    """The same for a linear layer."""

    def reset_parameters(self) -> None:
        super().reset_parameters()
        nn.init.xavier_uniform_(self.weight)


_LAZY: dict[type, type] = {nn.LazyConv2d: _LazyConv2d, nn.LazyLinear: _LazyLinear}


class LeNet(Classifier):
    """LeNet-5 with sigmoids: two convolutions with average pooling, and three linear layers.

    The weights begin as `init_cnn` draws them; from PyTorch's own, sigmoids learn nothing for
    many epochs. `apply_init(inputs, init)` draws others.

    Args:
        lr: The learning rate.
        num_classes: The number of classes.

    Raises:
        ConfigError: If an argument cannot be used.

    Book: 7.6.1 (sec_lenet).

    >>> LeNet()(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """

    lr: float

    def __init__(self, lr: float = 0.1, num_classes: int = 10) -> None:
        super().__init__()
        self.save_hyperparameters()
        check_rate(lr)
        check_whole_number(num_classes, "num_classes", at_least=1)
        self.net = nn.Sequential(
            nn.LazyConv2d(6, kernel_size=5, padding=2),
            nn.Sigmoid(),
            nn.AvgPool2d(kernel_size=2, stride=2),
            nn.LazyConv2d(16, kernel_size=5),
            nn.Sigmoid(),
            nn.AvgPool2d(kernel_size=2, stride=2),
            nn.Flatten(),
            nn.LazyLinear(120),
            nn.Sigmoid(),
            nn.LazyLinear(84),
            nn.Sigmoid(),
            nn.LazyLinear(num_classes),
        )
        self.net.apply(init_cnn)


class Residual(nn.Module):
    """A residual block: two 3 x 3 convolutions, to whose output the input is added.

    Args:
        num_channels: The channels of the output.
        use_1x1conv: Whether a 1 x 1 convolution brings the input into the output's shape. Without
            it, the input must have `num_channels` channels, and `strides` be 1.
        strides: The stride of the first convolution; 2 halves height and width.

    Raises:
        ConfigError: If an argument cannot be used.

    Book: 8.6.2 (sec_resnet).

    >>> Residual(6, use_1x1conv=True, strides=2)(torch.zeros(4, 3, 6, 6)).shape
    torch.Size([4, 6, 3, 3])
    """

    def __init__(self, num_channels: int, use_1x1conv: bool = False, strides: int = 1) -> None:
        super().__init__()
        check_whole_number(num_channels, "num_channels", at_least=1)
        check_whole_number(strides, "strides", at_least=1)
        self.conv1 = nn.LazyConv2d(num_channels, kernel_size=3, padding=1, stride=strides)
        self.conv2 = nn.LazyConv2d(num_channels, kernel_size=3, padding=1)
        self.conv3 = (
            nn.LazyConv2d(num_channels, kernel_size=1, stride=strides) if use_1x1conv else None
        )
        self.bn1 = nn.LazyBatchNorm2d()
        self.bn2 = nn.LazyBatchNorm2d()

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        """The output (B, num_channels, H', W') for X of shape (B, channels, H, W)."""
        Y = F.relu(self.bn1(self.conv1(X)))
        Y = self.bn2(self.conv2(Y))
        _add(Y, X if self.conv3 is None else self.conv3(X), self)
        return F.relu(Y)


class ResNeXtBlock(nn.Module):
    """A ResNeXt block: a grouped 3 x 3 convolution between two 1 x 1, and the input added.

    Args:
        num_channels: The channels of the output.
        groups: The channels in each group of the grouped convolution (not, as the name may
            suggest, how many groups there are).
        bot_mul: The channels between the 1 x 1 convolutions, as a multiple of `num_channels`.
        use_1x1conv: Whether a 1 x 1 convolution brings the input into the output's shape.
        strides: The stride of the grouped convolution.

    Raises:
        ConfigError: If an argument cannot be used, or the channels cannot be divided into such
            groups.

    Book: 8.6.5 (subsec_resnext).

    >>> ResNeXtBlock(32, 16, 1)(torch.zeros(4, 32, 96, 96)).shape
    torch.Size([4, 32, 96, 96])
    """

    def __init__(
        self,
        num_channels: int,
        groups: int,
        bot_mul: float,
        use_1x1conv: bool = False,
        strides: int = 1,
    ) -> None:
        super().__init__()
        check_whole_number(num_channels, "num_channels", at_least=1)
        check_whole_number(strides, "strides", at_least=1)
        check_whole_number(groups, "groups", at_least=1)
        bot_channels = round(num_channels * bot_mul)
        if bot_channels < 1 or bot_channels % groups:
            raise ConfigError(
                f"num_channels={num_channels} and bot_mul={bot_mul} make {bot_channels} channels, "
                f"which are no groups of {groups} channels each. Take `groups` so that it divides "
                f"them."
            )
        self.conv1 = nn.LazyConv2d(bot_channels, kernel_size=1)
        self.conv2 = nn.LazyConv2d(
            bot_channels, kernel_size=3, stride=strides, padding=1, groups=bot_channels // groups
        )
        self.conv3 = nn.LazyConv2d(num_channels, kernel_size=1)
        self.bn1 = nn.LazyBatchNorm2d()
        self.bn2 = nn.LazyBatchNorm2d()
        self.bn3 = nn.LazyBatchNorm2d()
        self.conv4 = self.bn4 = None
        if use_1x1conv:
            self.conv4 = nn.LazyConv2d(num_channels, kernel_size=1, stride=strides)
            self.bn4 = nn.LazyBatchNorm2d()

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        """The output (B, num_channels, H', W') for X of shape (B, channels, H, W)."""
        Y = F.relu(self.bn1(self.conv1(X)))
        Y = F.relu(self.bn2(self.conv2(Y)))
        Y = self.bn3(self.conv3(Y))
        if self.conv4 is not None and self.bn4 is not None:
            X = self.bn4(self.conv4(X))
        _add(Y, X, self)
        return F.relu(Y)


def _add(Y: torch.Tensor, X: torch.Tensor, block: nn.Module) -> None:
    """Adds the input to the output in place."""
    if X.shape[1:] != Y.shape[1:]:  # one of a single channel would be broadcast
        raise ShapeError(
            f"{type(block).__name__} adds its input, of shape {tuple(X.shape)}, to its output, of "
            f"shape {tuple(Y.shape)}. Give `use_1x1conv=True`, which brings it into that shape."
        )
    Y += X


def resnet18(num_classes: int, in_channels: int = 1) -> nn.Sequential:
    """A ResNet-18 for small images: its first convolution has a stride of 1, and no pooling.

    Every layer knows its shape, so that the network can be initialized and copied at once.

    Args:
        num_classes: The number of classes.
        in_channels: The channels of the images.

    Returns:
        A network from images (B, in_channels, H, W) to logits (B, num_classes).

    Book: 13.6.1 (sec_multi_gpu_concise).
    """
    check_whole_number(num_classes, "num_classes", at_least=1)
    check_whole_number(in_channels, "in_channels", at_least=1)
    net = nn.Sequential(
        nn.Conv2d(in_channels, 64, kernel_size=3, padding=1), nn.BatchNorm2d(64), nn.ReLU()
    )
    for number, num_channels in enumerate((64, 128, 256, 512), start=1):
        halves = number > 1
        first = Residual(num_channels, use_1x1conv=halves, strides=2 if halves else 1)
        net.add_module(f"resnet_block{number}", nn.Sequential(first, Residual(num_channels)))
    net.add_module("global_avg_pool", nn.AdaptiveAvgPool2d((1, 1)))
    net.add_module("fc", nn.Sequential(nn.Flatten(), nn.Linear(512, num_classes)))
    with torch.no_grad():
        net.eval()(torch.zeros(1, in_channels, 8, 8))  # lazy layers get their shapes
    return net.train()
