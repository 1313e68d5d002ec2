"""The weights of the first layer as images, epoch by epoch, while a model trains.

Book: 4.4 (sec_softmax_scratch), 5.2; what a first layer of a convolutional network looks for: 7.1.
"""

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.parameter import is_lazy

from gradbook.data import inmost
from gradbook.display.file import new_figure
from gradbook.display.finding import Report
from gradbook.errors import ConfigError, GradbookWarning, ModelError, told, warn
from gradbook.inspection.classification import class_names
from gradbook.lookalikes import parameters_of
from gradbook.record import Sink
from gradbook.rehearsal import begins_again, first_batch
from gradbook.runs.film import MIDDLE, MOST_NUMBERS, MOST_UNITS, REACH, Film

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from gradbook.board import ProgressBoard
    from gradbook.trainer import Trainer

#: When there are more frames than this, every second one goes.
MOST_KEPT = 50
#: The largest side of a unit's image, and of the image of a whole matrix, in pixels.
_UNIT_SIDE, _MATRIX_SIDE = 64, 256
#: The most frames and units of the figure.
_ROWS, _COLUMNS = 5, 10


class LayerImages(NamedTuple):
    """The weights of a model's first layer as images.

    Attributes:
        layer: The name of the weights in the model.
        has_units: Whether each image is that of one unit.
        num_units: The units that the layer has, of which the first ones are here.
        full_shape: The height and width of the weights of a unit before they were made smaller.
        images: The images, float32 (n, height, width) on the CPU. Channels stand side by side.
        names: What the units are called, where they are the classes.
    """

    layer: str
    has_units: bool
    num_units: int
    full_shape: tuple[int, int]
    images: torch.Tensor
    names: tuple[str, ...] = ()


def first_layer_images(
    model: Any, input_shape: tuple[int, ...] | None = None, data: Any = None
) -> LayerImages:
    """The weights of a model's first layer as images, at most 64 of them.

    Of a convolution, each unit has its kernel. Of a matrix that takes all pixels of an image, each
    unit has what it looks for in each pixel. Any other matrix is one image, a row for each row.
    What is larger than 64 x 64 pixels, or 256 x 256 as a whole matrix, is made smaller.

    Args:
        model: The model.
        input_shape: The shape of one input, without the batch; None if it is not known.
        data: The data, whose `text_labels` name the units where these are the classes.

    Raises:
        ModelError: If the model has no weights of two or more dimensions.
    """
    named = parameters_of(model).items()
    matrices = [(name, W) for name, W in named if not is_lazy(W) and W.dim() >= 2 and W.numel()]
    if not matrices:
        raise ModelError(
            f"{type(model).__name__} has no weights that could be shown as images: none of its "
            f"parameters has two or more dimensions."
        )
    name, W = matrices[0][0], matrices[0][1].detach()
    channels = _channels(input_shape)
    if W.dim() == 4:
        return _of_units(name, W)
    if W.dim() == 2 and channels is not None and math.prod(channels) in W.shape:
        num_pixels = math.prod(channels)
        is_rows = W.shape[1] == num_pixels and (W.shape[0] != num_pixels or _is_linear(model, name))
        rows = W if is_rows else W.t()
        found = _of_units(name, rows.reshape(-1, *channels))
        if len(matrices) == 1 and hasattr(data, "text_labels"):
            names = class_names(data, found.num_units)
            found = found._replace(names=tuple(names[: len(found.images)]))
        return found
    rows = W.reshape(len(W), -1)[None].float()
    full_shape = (rows.shape[1], rows.shape[2])
    return LayerImages(name, False, len(W), full_shape, _shrunk(rows, _MATRIX_SIDE))


def _of_units(name: str, W: torch.Tensor) -> LayerImages:
    """The images of weights (units, channels, height, width)."""
    num_units, num_channels, height, width = W.shape
    shape = (height, num_channels * width)
    images = W[:MOST_UNITS].float().permute(0, 2, 1, 3).reshape(-1, *shape)
    images = _shrunk(images, _UNIT_SIDE)
    most = max(1, MOST_NUMBERS // images[0].numel())
    return LayerImages(name, True, num_units, shape, images[:most].cpu())


def _shrunk(images: torch.Tensor, side: int) -> torch.Tensor:
    """Images (n, height, width), each pixel the mean of its weights where there are too many."""
    height, width = images.shape[1:]
    if max(height, width) <= side:
        return images.cpu()
    smaller = (min(height, side), min(width, side))
    return F.adaptive_avg_pool2d(images[:, None], smaller)[:, 0].cpu()


def _channels(shape: tuple[int, ...] | None) -> tuple[int, int, int] | None:
    """The channels, height and width of an input, if it is an image."""
    if shape is None or len(shape) not in (2, 3) or min(shape[-2:]) < 2:
        return None
    return (1, *shape) if len(shape) == 2 else (shape[0], shape[1], shape[2])


def _is_linear(model: Any, name: str) -> bool:
    """Whether a parameter is that of an `nn.Linear`, whose rows are the units."""
    owner = name.rpartition(".")[0]
    return isinstance(model, nn.Module) and isinstance(model.get_submodule(owner), nn.Linear)


def film_of(found: LayerImages, frames: list[tuple[int, torch.Tensor]]) -> Film:
    """The film of a layer, from the epoch and the images of each frame."""
    num_images, height, width = found.images.shape
    bytes_of, limits = [], []
    for _, images in frames:
        coded, limit = _coded(images)
        bytes_of.append(coded.numpy().tobytes())
        limits.append(limit)
    return Film(
        found.layer,
        found.has_units,
        found.num_units,
        found.full_shape,
        (num_images, height, width),
        tuple(epoch for epoch, _ in frames),
        tuple(limits),
        tuple(bytes_of),
        found.names,
    )


def _coded(images: torch.Tensor) -> tuple[torch.Tensor, float]:
    """A byte for each weight, and the largest size of one."""
    is_number = images.isfinite()
    limit = float(torch.where(is_number, images, 0).abs().max())
    coded = MIDDLE + (images / (limit or 1.0) * REACH).nan_to_num(0).clamp(-REACH, REACH).round()
    return torch.where(is_number, coded, 0).to(torch.uint8), limit


class WeightReport(Report):
    """What the first layer looked like: before the training, and after each epoch.

    When there are more than 50 frames, every second one goes, and from then on half as many are
    taken. The last epoch always has one.
    """

    name = "weights"

    def __init__(self) -> None:
        self.layer, self.has_units, self.num_units = "", False, 0
        self.full_shape, self.every = [0, 0], 1
        self.epochs: list[int] = []
        self.limits: list[float] = []
        self.frames = torch.zeros(0, 0, 0, 0, dtype=torch.uint8)
        self.names: list[str] = []

    def __bool__(self) -> bool:
        return bool(self.epochs)

    def add(self, epoch: int, found: LayerImages) -> None:
        """Adds a frame after so many epochs, or puts it in the place of one from then on."""
        coded, limit = _coded(found.images)
        if self.frames.shape[1:] != coded.shape:  # the first, or of another layer
            self.epochs, self.limits, self.every = [], [], 1
            self.frames = torch.zeros(0, *coded.shape, dtype=torch.uint8)
        self.layer, self.has_units = found.layer, found.has_units
        self.num_units, self.full_shape = found.num_units, list(found.full_shape)
        self.names = list(found.names)
        self._keep([e < epoch and e % self.every == 0 for e in self.epochs])
        self.epochs, self.limits = [*self.epochs, epoch], [*self.limits, limit]
        self.frames = torch.cat([self.frames, coded[None]])
        if len(self.epochs) > MOST_KEPT:
            self.every *= 2
            self._keep([e == epoch or e % self.every == 0 for e in self.epochs])

    def _keep(self, which: list[bool]) -> None:
        self.frames = self.frames[torch.tensor(which, dtype=torch.bool)]
        pairs = [pair for pair, kept in zip(self._pairs(), which, strict=True) if kept]
        self.epochs, self.limits = [e for e, _ in pairs], [limit for _, limit in pairs]

    def _pairs(self) -> list[tuple[int, float]]:
        return list(zip(self.epochs, self.limits, strict=True))

    @property
    def film(self) -> Film:
        """All frames, as a run keeps them."""
        _, num_images, height, width = self.frames.shape
        return Film(
            self.layer,
            self.has_units,
            self.num_units,
            (self.full_shape[0], self.full_shape[1]),
            (num_images, height, width),
            tuple(self.epochs),
            tuple(self.limits),
            tuple(frame.numpy().tobytes() for frame in self.frames),
            tuple(self.names),
        )

    def facts(self) -> dict[str, Any]:
        """All frames as plain values, for JSON: see `gradbook.runs.film.Film`."""
        return self.film.facts() if self.epochs else {}

    def _words(self) -> str:
        if not self.epochs:
            return "Weights: no epoch was seen."
        _, num_images, height, width = self.frames.shape
        full = f"{self.full_shape[0]} x {self.full_shape[1]}"
        what = f"the matrix of {full} as an image"
        if self.has_units:
            what = f"{num_images} of {self.num_units} units as images of {full}"
        smaller = "" if [height, width] == self.full_shape else f", shown as {height} x {width}"
        sizes = [f"{self.limits[place]:.3g} in epoch {self.epochs[place]}" for place in (0, -1)]
        return (
            f"weights {self.layer}: {what}{smaller}\n"
            f"{len(self.epochs)} frames, epochs {self.epochs[0]} to {self.epochs[-1]}, one in "
            f"{self.every}\n"
            f"the largest weight shown: {', '.join(dict.fromkeys(sizes))}"
        )

    def summary(self) -> str:
        """What was seen, in a few words."""
        return f"{self.layer} in epochs {self.epochs[0]} to {self.epochs[-1]}"

    def figure(self) -> "Figure":
        """Draws the first units, a row for each of five epochs, with one scale of colors."""
        if not self.epochs:
            raise ConfigError("There is nothing to draw: no epoch was seen.")
        num_rows, num_columns = min(_ROWS, len(self.epochs)), min(_COLUMNS, self.frames.shape[1])
        last = len(self.epochs) - 1
        places = [round(row * last / max(1, num_rows - 1)) for row in range(num_rows)]
        figure = new_figure(1.1 * num_columns + 1.4, 1.15 * num_rows + 0.6)
        axes = figure.subplots(num_rows, num_columns, squeeze=False)
        limit = max(self.limits[place] for place in places) or 1.0
        look: dict[str, Any] = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit, "aspect": "equal"}
        look["interpolation"] = "nearest"
        if not self.has_units:
            look["aspect"] = "auto"
        for row, place in zip(axes, places, strict=True):
            coded = self.frames[place, :num_columns].float()
            images = (coded - MIDDLE) / REACH * self.limits[place]
            images = torch.where(coded == 0, math.nan, images)
            for ax, image in zip(row, images, strict=True):
                drawn = ax.imshow(image.numpy(), **look)
                ax.set(xticks=[], yticks=[])
            row[0].set_ylabel(f"epoch {self.epochs[place]}", fontsize=8)
        bar = figure.colorbar(drawn, ax=list(axes.flat), shrink=0.9, label="weight")
        bar.ax.tick_params(labelsize="small")
        figure.suptitle(self.layer, fontsize="small", parse_math=False)
        return figure


class WeightWatcher(Sink):
    """Keeps the first layer's weights as images, and leaves them in `trainer.reports["weights"]`.

    `Trainer(watch="weights")` makes one. The training is not changed by a bit. A run keeps the
    images in weights.json, which the lab replays and `gradbook.runs.film.Film` reads.
    """

    def __init__(self) -> None:
        self.report = WeightReport()
        self._trainer: Trainer | None = None
        self._input_shape: tuple[int, ...] | None = None

    def open(self, board: "ProgressBoard", trainer: "Trainer | None" = None) -> None:
        """Looks once before the training."""
        if trainer is None:
            raise ConfigError("A WeightWatcher looks at a training. Use Trainer(watch='weights').")
        self._trainer = trainer
        self.report = trainer.reports["weights"] = WeightReport()
        self._input_shape = _input_shape(trainer)
        self._look(trainer, trainer.position.epoch)

    def end_epoch(self, trainer: "Trainer") -> None:
        """Adds a frame."""
        if self._trainer is not None:
            self._look(trainer, trainer.position.epoch)

    def close(self, status: str) -> None:
        """Lets go of the training."""
        self._trainer = None

    def _look(self, trainer: "Trainer", epoch: int) -> None:
        try:
            self.report.add(
                epoch, first_layer_images(trainer.model, self._input_shape, trainer.data)
            )
        except Exception as error:
            # Hours of training are worth more than images.
            self._trainer = None
            warn(f"watch='weights' keeps nothing more: {told(error)}", GradbookWarning)


def _input_shape(trainer: "Trainer") -> tuple[int, ...] | None:
    """The shape of one input, where a look at the data takes nothing from the training."""
    loader = inmost(trainer.train_dataloader)
    if not begins_again(loader):
        return None
    batch = first_batch(loader, [trainer.data])
    return input_shape_of(batch)


def input_shape_of(batch: Any) -> tuple[int, ...] | None:
    """The shape of one input of a batch, where it is a tensor."""
    if not isinstance(batch, list | tuple) or not batch or not isinstance(batch[0], torch.Tensor):
        return None
    return tuple(batch[0].shape[1:])
