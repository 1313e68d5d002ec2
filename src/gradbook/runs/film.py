"""The weights of a model's first layer, epoch by epoch, in one file of a run: weights.json.

Written by `watch="weights"` (`gradbook.inspection.weight_film`), and read without PyTorch.
"""

import base64
import binascii
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradbook.errors import ConfigError, CorruptFileError
from gradbook.untrusted import inside, parsed, read_file

FILM_FILE = "weights.json"

#: What a film may have, so that whoever reads a stranger's is not drowned: units, frames, and
#: numbers in a frame.
MOST_UNITS, MOST_FRAMES, MOST_NUMBERS = 64, 60, 1 << 16

#: A frame has a byte for each weight: 1 to 255 stand for -limit to limit, and 0 for what is NaN or
#: infinite.
MIDDLE, REACH = 128, 127

#: As base64 text, with room for what else is said.
_MAX_BYTES = MOST_FRAMES * MOST_NUMBERS * 4 // 3 + (1 << 16)


@dataclass(frozen=True)
class Film:
    """What a model's first layer looked like, epoch by epoch.

    Attributes:
        layer: The name of the weights in the model, as "net.1.weight".
        has_units: Whether each image is that of one unit; otherwise there is one image, of the
            whole matrix.
        num_units: The units that the layer has, of which the first ones are shown.
        full_shape: The height and width of a unit's weights before they were made smaller, in
            weights. Channels stand side by side.
        shape: The number of images, and their height and width in pixels.
        epochs: When each frame was taken, in epochs gone by; 0 is before the training.
        limits: For each frame, the largest size of a weight in it.
        frames: For each frame, a byte for each pixel of each image: see `MIDDLE` and `REACH`.
        names: What the units are called, where they are the classes.
    """

    layer: str
    has_units: bool
    num_units: int
    full_shape: tuple[int, int]
    shape: tuple[int, int, int]
    epochs: tuple[int, ...]
    limits: tuple[float, ...]
    frames: tuple[bytes, ...]
    names: tuple[str, ...] = ()

    def values(self, frame: int) -> list[float]:
        """The weights of a frame, image by image and row by row, each exact to limit / 254."""
        limit = self.limits[frame]
        return [
            (byte - MIDDLE) / REACH * limit if byte else math.nan for byte in self.frames[frame]
        ]

    def facts(self) -> dict[str, Any]:
        """All of it as plain values, for JSON."""
        return {
            "layer": self.layer,
            "has_units": self.has_units,
            "num_units": self.num_units,
            "full_shape": list(self.full_shape),
            "shape": list(self.shape),
            "epochs": list(self.epochs),
            "limits": list(self.limits),
            "names": list(self.names),
            "frames": [base64.b64encode(frame).decode() for frame in self.frames],
        }

    @classmethod
    def read(cls, folder: Path | str) -> "Film":
        """The film of a run.

        Raises:
            ConfigError: If it has none.
            CorruptFileError: If the file is damaged.
        """
        path = inside(folder, FILM_FILE)
        try:
            content = read_file(path, _MAX_BYTES)
        except FileNotFoundError:
            raise ConfigError(f"There is no {path}. Train with watch='weights'.") from None
        try:
            return _film(parsed(content))
        except (ValueError, TypeError, KeyError, RecursionError, binascii.Error) as error:
            raise CorruptFileError(
                f"{path} cannot be read: {error!r:.200}. It is damaged; a training that is watched "
                f"again writes it anew."
            ) from error


def _film(facts: Mapping[str, Any]) -> Film:
    full_shape, shape = facts["full_shape"], facts["shape"]
    sizes = [*full_shape, *shape, facts["num_units"]]
    if len(full_shape) != 2 or len(shape) != 3 or not all(map(_is_count, sizes)):
        raise ValueError(f"{sizes!r:.60} are no sizes")
    num_numbers = math.prod(shape)
    if shape[0] > MOST_UNITS or num_numbers > MOST_NUMBERS:
        raise ValueError(f"images of {shape} are more than a film has")
    epochs, limits, frames = facts["epochs"], facts["limits"], facts["frames"]
    if not 1 <= len(epochs) == len(limits) == len(frames) <= MOST_FRAMES:
        raise ValueError("the numbers of epochs, limits and frames differ, or are none of a film")
    if not all(type(each) is int and each >= 0 for each in epochs):
        raise ValueError("an epoch is no whole number")
    if not all(isinstance(each, float | int) and 0 <= each < math.inf for each in limits):
        raise ValueError("a limit is no number")
    bytes_of = tuple(base64.b64decode(frame, validate=True) for frame in frames)
    if any(len(frame) != num_numbers for frame in bytes_of):
        raise ValueError(f"a frame has not {num_numbers} numbers")
    layer, has_units = facts["layer"], facts["has_units"]
    if not isinstance(layer, str) or not isinstance(has_units, bool):
        raise TypeError("the layer has no name")
    names = facts["names"]
    if len(names) not in (0, shape[0]) or not all(isinstance(name, str) for name in names):
        raise ValueError("the names are not those of the units")
    return Film(
        layer,
        has_units,
        facts["num_units"],
        (full_shape[0], full_shape[1]),
        (shape[0], shape[1], shape[2]),
        tuple(epochs),
        tuple(map(float, limits)),
        bytes_of,
        tuple(names),
    )


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 1
