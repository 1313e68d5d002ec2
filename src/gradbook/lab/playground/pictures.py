"""What the page draws of a model while it trains: what it makes of places, a line or samples.

Each picture is a `Picture`: what stays the same is told once, and a frame again and again. The
model is looked at by way of a copy at rest, so that the training is not changed by a bit.
"""

import base64
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from gradbook.data import inmost
from gradbook.errors import DataError, GradbookError
from gradbook.inspection.boundaries import Answers, resting_copy
from gradbook.inspection.classification import class_names
from gradbook.models.mlp import ACTIVATIONS
from gradbook.no_trace import untouched
from gradbook.rehearsal import begins_again
from gradbook.resume.loader import always_the_same, parts_of
from gradbook.seeds import generators_in, untouched_generators

#: So many examples of each set are drawn, and so many samples shown.
_MAX_DRAWN, _NUM_SAMPLES = 500, 12
#: How far beyond the examples is looked, as a part of their range.
_MARGIN = 0.15
#: The places along each axis: the first is where it begins, and then what the time allows.
_SIDES = (50, 24, 36, 72, 100)
#: A frame may take so long; it is drawn with fewer places where it takes longer.
_MOST_SECONDS = 0.012
#: Hidden units are drawn with so many places along each axis, of so many layers and units.
_TILE, _MOST_LAYERS, _MOST_UNITS = 24, 6, 8
_NUM_ON_LINE = 200

_ACTIVATIONS = tuple(ACTIVATIONS.values())


class Picture:
    """The base of pictures.

    Attributes:
        fixed: What stays the same, for JSON.
        generators: The random generators that the model's layers hold.
    """

    fixed: dict[str, Any]
    generators: Sequence[Any] | None = None

    def frame(self, model: Any) -> dict[str, Any] | None:
        """What the model gives now, for JSON; None where it gives no finite numbers."""
        try:
            with resting_copy(model, self.generators) as copied:
                return self._frame(copied)
        except GradbookError:
            return None

    def _frame(self, model: Any) -> dict[str, Any]:
        raise NotImplementedError


def picture_of(trainer: Any) -> Picture | None:
    """The picture that suits the data of a training; None if they have none."""
    sets = {}
    for name, loader in (("train", trainer.train_dataloader), ("val", trainer.val_dataloader)):
        loader = inmost(loader)
        if loader is None or not begins_again(loader):
            continue
        with untouched_generators(), untouched(parts_of(loader)):
            size = max(getattr(loader, "batch_size", 1) or 1, 1)
            batches = list(always_the_same(loader, -(-_MAX_DRAWN // size)))
        for batch in batches:
            is_pair = isinstance(batch, list | tuple) and len(batch) == 2
            if not is_pair or not all(isinstance(part, torch.Tensor) for part in batch):
                return None
        if not batches:
            continue
        sets[name] = tuple(torch.cat(parts)[:_MAX_DRAWN] for parts in zip(*batches, strict=True))
    if "train" not in sets:
        return None
    X, y = sets["train"]
    kinds: list[type[Any]] = []
    if X.dim() == 2 and X.shape[1] == 2 and X.is_floating_point():
        kinds = [Plane]
    elif X.dim() == 2 and X.shape[1] == 1 and y.numel() == len(X):
        kinds = [Line]
    elif X.dim() == 4 and y.dim() == 1 and not y.is_floating_point():
        kinds = [Samples]
    generators = generators_in(trainer.model.modules()) if kinds else []
    for Kind in kinds:
        try:
            with resting_copy(trainer.model, generators) as copied:
                made: Picture = Kind(copied, trainer.data, sets)
            made.generators = generators
            return made
        except GradbookError:
            continue
    return None


_Sets = dict[str, tuple[torch.Tensor, ...]]


class Plane(Picture):
    """Regions of classes, or colors of values, in the plane of two inputs."""

    def __init__(self, model: Any, data: Any, sets: _Sets) -> None:
        X, y = sets["train"]
        run = Answers(model, (X, y))
        self._example = X, y
        self.is_classifier = run.is_classifier
        every = torch.cat([X for X, _ in sets.values()])
        low, high = every.min(dim=0).values, every.max(dim=0).values
        margin = (_MARGIN * (high - low)).clamp_min(1e-3)
        self._low, self._high, self._dtype = low - margin, high + margin, X.dtype
        self._sides, self._place = sorted(_SIDES), sorted(_SIDES).index(_SIDES[0])
        self._places: dict[int, torch.Tensor] = {}
        labels = {name: run.label(y) for name, (_, y) in sets.items()}
        values = torch.cat(list(labels.values())).float()
        self._values = float(values.min()), float(values.max())
        names = []
        if self.is_classifier:
            num_classes = max(int(values.max()) + 1, 2)
            names = class_names(data, num_classes)
        self.fixed = {
            "kind": "plane",
            "low": self._low.tolist(),
            "high": self._high.tolist(),
            "classes": names,
            "values": None if self.is_classifier else self._values,
            "sets": {
                name: {"X": _rounded(X), "y": _rounded(labels[name])}
                for name, (X, _) in sets.items()
            },
        }

    def _frame(self, model: Any) -> dict[str, Any]:
        begin = time.perf_counter()
        side = self._sides[self._place]
        run = Answers(model, self._example)
        answers, certainty = run.with_certainty(self._grid(side))
        told: dict[str, Any] = {"side": side}
        if self.is_classifier:
            told["classes"] = _bytes(answers.clamp(0, 255))
            told["certainty"] = _bytes((certainty * 255).round())
        else:
            low, high = self._values
            told["values"] = _bytes(((answers - low) / ((high - low) or 1) * 255).round())
        told["units"] = self._units(model)
        self._adapt(time.perf_counter() - begin)
        return told

    def _grid(self, side: int) -> torch.Tensor:
        """The places, row by row from the lowest."""
        if side not in self._places:
            axes = [
                torch.linspace(float(low), float(high), side, dtype=self._dtype)
                for low, high in zip(self._low, self._high, strict=True)
            ]
            x1, x2 = torch.meshgrid(*axes, indexing="xy")
            self._places[side] = torch.stack([x1.reshape(-1), x2.reshape(-1)], dim=1)
        return self._places[side]

    def _adapt(self, seconds: float) -> None:
        """Looks at fewer places when it takes too long, at more when there is time to spare."""
        if seconds > _MOST_SECONDS:
            self._place = max(self._place - 1, 0)
        elif seconds < _MOST_SECONDS / 4:
            self._place = min(self._place + 1, len(self._sides) - 1)

    def _units(self, model: Any) -> list[dict[str, Any]]:
        """Each hidden unit's output over the plane, layer by layer; 128 is 0, 255 its largest."""
        with _outputs_of(model, _ACTIVATIONS) as outputs:
            model(self._grid(_TILE))
        layers = []
        for output in outputs[:_MOST_LAYERS]:
            if output.dim() != 2 or len(output) != _TILE**2:
                continue
            shown = output[:, :_MOST_UNITS]
            size = shown.abs().amax(dim=0).clamp_min(1e-6)
            tiles = (shown / size * 127 + 128).round().T
            layers.append({"num": output.shape[1], "side": _TILE, "tiles": _bytes(tiles)})
        return layers


class Line(Picture):
    """The fitted line or curve of one input."""

    def __init__(self, model: Any, data: Any, sets: _Sets) -> None:
        X, y = sets["train"]
        self._example = X, y
        if Answers(model, self._example).is_classifier:
            raise DataError("A line is fitted to values, and these are classes.")
        every = torch.cat([X for X, _ in sets.values()])
        low, high = float(every.min()), float(every.max())
        margin = _MARGIN * (high - low) or 1.0
        self._x = torch.linspace(low - margin, high + margin, _NUM_ON_LINE, dtype=X.dtype)
        self.fixed = {
            "kind": "line",
            "x": _rounded(self._x),
            "sets": {
                name: {"X": _rounded(X.reshape(-1)), "y": _rounded(y.reshape(-1))}
                for name, (X, y) in sets.items()
            },
        }

    def _frame(self, model: Any) -> dict[str, Any]:
        run = Answers(model, self._example)
        return {"y": _rounded(run(self._x[:, None]))}


class Samples(Picture):
    """Some images with the class that the model gives each."""

    def __init__(self, model: Any, data: Any, sets: _Sets) -> None:
        X, y = (part[:_NUM_SAMPLES] for part in sets.get("val", sets["train"]))
        self._example = X, y
        Answers(model, self._example)
        gray = X.float().mean(dim=1).cpu()
        low, high = gray.amin(dim=(1, 2), keepdim=True), gray.amax(dim=(1, 2), keepdim=True)
        gray = (gray - low) / (high - low).clamp_min(1e-12) * 255
        labels = torch.cat([y for _, y in sets.values()])
        self.fixed = {
            "kind": "samples",
            "height": gray.shape[1],
            "width": gray.shape[2],
            "images": [_bytes(image) for image in gray],
            "labels": y.tolist(),
            "classes": class_names(data, int(labels.max()) + 1),
        }

    def _frame(self, model: Any) -> dict[str, Any]:
        run = Answers(model, self._example)
        classes, certainty = run.with_certainty(self._example[0])
        return {"predicted": classes.tolist(), "certainty": _rounded(certainty)}


@contextmanager
def _outputs_of(model: nn.Module, kinds: tuple[type[nn.Module], ...]) -> Iterator[list[Any]]:
    """The outputs of all layers of some kinds, in the order in which they are called."""
    outputs: list[torch.Tensor] = []

    def keep(layer: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor):
            outputs.append(output.detach().float().cpu())

    hooks = [
        layer.register_forward_hook(keep) for layer in model.modules() if isinstance(layer, kinds)
    ]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def _bytes(values: torch.Tensor) -> str:
    """Numbers from 0 to 255, as base64."""
    content = values.clamp(0, 255).to(torch.uint8).contiguous().numpy().tobytes()
    return base64.b64encode(content).decode()


def _rounded(values: torch.Tensor) -> Any:
    """Numbers as JSON with as many digits as a picture shows."""
    return [
        [round(item, 4) for item in value] if isinstance(value, list) else round(value, 4)
        for value in values.tolist()
    ]
