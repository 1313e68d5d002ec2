"""What stands in for NASA's airfoil measurements: their quantities, made by formula.

The noise of an airfoil's trailing edge follows, in outline, Brooks, Pope and Marcolini, "Airfoil
Self-Noise and Prediction" (NASA Reference Publication 1218, 1989), which is what the true
measurements were made for.
"""

import math
import random
from pathlib import Path

_NUM_ROWS = 1503
_SOUND = 340.0  # meters in a second
_VISCOSITY = 1.4529e-5  # of air, kinematic
_CHORDS = (0.3048, 0.2286, 0.1524, 0.1016, 0.0508, 0.0254)
_VELOCITIES = (71.3, 55.5, 39.6, 31.7)
#: One-third octave bands, from 200 to 20,000 Hz.
_FREQUENCIES = (
    *(200, 250, 315, 400, 500, 630, 800, 1000, 1250, 1600, 2000),
    *(2500, 3150, 4000, 5000, 6300, 8000, 10000, 12500, 16000, 20000),
)


def write_airfoil(path: Path) -> None:
    """Writes the table: frequency, angle, chord, velocity, thickness and sound pressure level."""
    rng = random.Random(0)
    rows: list[str] = []
    while len(rows) < _NUM_ROWS:
        i = rng.randrange(len(_CHORDS))
        chord, velocity = _CHORDS[i], rng.choice(_VELOCITIES)
        # A short chord was measured at steeper angles.
        angle = round(rng.choice((0.0, rng.uniform(1, 5 + 2.4 * i))), 1)
        thickness = _thickness(angle, chord, velocity)
        first = rng.randrange(7)
        for frequency in _FREQUENCIES[first : first + rng.randint(12, 16)]:
            level = _level(frequency, thickness, velocity) + rng.gauss(0, 3)
            rows.append(
                f"{frequency}\t{angle:g}\t{chord}\t{velocity}\t{thickness:.6g}\t{level:.3f}\n"
            )
    path.write_text("".join(rows[:_NUM_ROWS]), encoding="ascii", newline="\n")


def _thickness(angle: float, chord: float, velocity: float) -> float:
    """The displacement thickness of the boundary layer on the suction side, in meters."""
    reynolds = math.log10(velocity * chord / _VISCOSITY)
    at_rest = chord * math.pow(10, 3.411 - 1.5397 * reynolds + 0.1059 * reynolds**2)
    if angle <= 7.5:
        return at_rest * math.pow(10, 0.0679 * angle)
    if angle <= 12.5:
        return at_rest * 0.0162 * math.pow(10, 0.3066 * angle)
    return at_rest * 52.42 * math.pow(10, 0.0258 * angle)


def _level(frequency: float, thickness: float, velocity: float) -> float:
    """The sound pressure level in decibels: a hump around a frequency that falls as it thickens."""
    mach = velocity / _SOUND
    peak = 0.02 * math.pow(mach, -0.6) * velocity / thickness
    hump = -16.0 * math.pow(abs(math.log10(frequency / peak)), 1.5)
    return 201 + 10 * math.log10(thickness * mach**5) + hump
