"""What stands in for the Pokémon sprites of section 20.2: small pictures of made-up creatures."""

import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gradbook.datasets.makers.drawn_images import encoded
from gradbook.datasets.stand_ins import write_zip

_SIDE = 56  # pixels, as the sprites have
_NUM_KINDS, _NUM_PICTURES = 128, 8
_SYLLABLES = str.split("ba chi dro fe gla ki lu mo nu pi ro sha tu vi")


def write_creatures(path: Path) -> None:
    """Writes an archive with a folder for each kind, and in it pictures of it in several poses."""
    write_zip(path, _members())


def _members() -> Iterator[tuple[str, bytes]]:
    import numpy as np
    from PIL import Image

    rng = random.Random(0)
    known: set[str] = set()
    while len(known) < _NUM_KINDS:
        name = "".join(rng.sample(_SYLLABLES, 3)).capitalize()
        if name in known:
            continue
        known.add(name)
        kind = _kind(rng)
        for i in range(_NUM_PICTURES):
            pixels = _picture(kind, turn=rng.uniform(-0.25, 0.25), shift=rng.uniform(-2, 2))
            image = Image.fromarray((pixels * 255).round().astype(np.uint8))
            yield f"pokemon/{name}/{i}.png", encoded(image)


def _kind(rng: random.Random) -> dict[str, Any]:
    """The proportions and colors that the pictures of a kind share."""
    hue = rng.random()
    return {
        "body": (rng.uniform(9, 14), rng.uniform(9, 14)),
        "head": (rng.uniform(8, 12), rng.uniform(7, 10)),
        "ears": (rng.uniform(1.5, 3.5), rng.uniform(4, 8), rng.uniform(0.2, 0.9)),
        "tail": rng.uniform(0, 9),
        "colors": [
            _color(hue, 0.75),
            _color(hue, 0.3),
            _color(hue + rng.choice((0, 0.5)), 0.9),
        ],
    }


def _color(hue: float, strength: float) -> Any:
    """A color from its place on the circle of colors and its strength, both from 0 to 1."""
    import numpy as np

    waves = [0.5 + 0.5 * math.cos(2 * math.pi * (hue - third / 3)) for third in range(3)]
    return 1 - strength * (1 - np.array(waves))


def _picture(kind: dict[str, Any], turn: float, shift: float) -> Any:
    """A picture (56, 56, 3) from 0 to 1: parts from the back to the front, each an ellipse."""
    import numpy as np

    y, x = np.mgrid[:_SIDE, :_SIDE] - _SIDE / 2 + 0.5
    x = x - shift
    x, y = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
    pixels = np.ones((_SIDE, _SIDE, 3))

    def ellipse(
        at: tuple[float, float], radii: tuple[float, float], color: Any, lean: float = 0
    ) -> None:
        u, v = x - at[0], y - at[1]
        u, v = u * math.cos(lean) + v * math.sin(lean), v * math.cos(lean) - u * math.sin(lean)
        distance = np.hypot(u / radii[0], v / radii[1])
        inside = np.clip((1 - distance) * min(radii) + 0.5, 0, 1)[..., None]  # with a soft edge
        rim = np.clip((distance - 1) * min(radii) + 1.5, 0, 1)[..., None]
        pixels[:] = pixels * (1 - inside) + inside * np.asarray(color) * (1 - 0.75 * rim)

    strong, pale, accent = kind["colors"]
    (width, height), (wide, high) = kind["body"], kind["head"]
    ear_width, ear_height, lean = kind["ears"]
    if kind["tail"] > 3:
        ellipse((width + 2, 14), (kind["tail"], 2.5), accent, -0.7)
    for side in (-1, 1):
        ellipse((side * wide * 0.7, -9 - high), (ear_width, ear_height), accent, side * lean)
        ellipse((side * width * 0.6, 10 + height * 0.8), (4, 3), strong)
        ellipse((side * width, 9), (2.5, 5), strong, -side * 0.5)
    ellipse((0, 10), (width, height), strong)
    ellipse((0, 12), (width * 0.6, height * 0.65), pale)
    ellipse((0, -7), (wide, high), strong)
    for side in (-1, 1):
        ellipse((side * wide * 0.4, -8), (2.4, 3), (1, 1, 1))
        ellipse((side * wide * 0.4, -7.5), (1.1, 1.6), (0.1, 0.1, 0.1))
    return pixels
