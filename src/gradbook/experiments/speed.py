"""Vectorization for speed: a Python loop against one call.

Book: 3.1.2 (in sec_linear_regression).
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gradbook.checks import check_positive, check_whole_number
from gradbook.display.file import new_figure
from gradbook.display.finding import Finding
from gradbook.display.palette import COLORS
from gradbook.display.words import bytes_text
from gradbook.errors import ConfigError
from gradbook.interrupts import interruptible
from gradbook.table import data_frame
from gradbook.timing import Timer
from gradbook.untrusted import memory_bytes

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

#: How many lengths there are to a factor of ten, where only the longest is given.
_PER_DECADE = 2
#: A loop is timed over as many elements as allow so many runs; a measurement has at most so many.
_FEWEST, _MOST = 3, 31
#: A loop is timed over at least so many elements of those that there are.
_FEWEST_ELEMENTS = 100
#: What is timed together takes at least so many seconds: far more than reading the clock.
_LONG_ENOUGH = 2e-5


@dataclass(frozen=True, repr=False, eq=False)
class Vectorization(Finding):
    """How long it takes to add two vectors, element by element and in one call.

    Attributes:
        sizes: The lengths n of the vectors.
        loop_seconds: The median time of a loop over the elements, for each length.
        vector_seconds: The median time of one call.
        loop_elements: How many elements the loop was timed over, for each length; where these are
            fewer than all, its time is in proportion.
        loop_runs: How often the loop was timed, for each length.
        vector_runs: How often the call was timed.
    """

    sizes: tuple[int, ...]
    loop_seconds: tuple[float, ...]
    vector_seconds: tuple[float, ...]
    loop_elements: tuple[int, ...]
    loop_runs: tuple[int, ...]
    vector_runs: tuple[int, ...]

    @property
    def ratio(self) -> tuple[float, ...]:
        """How many times as long the loop takes, for each length."""
        pairs = zip(self.loop_seconds, self.vector_seconds, strict=True)
        return tuple(loop / vector for loop, vector in pairs)

    def _words(self) -> str:
        n, loop, vector = self.sizes[-1], self.loop_seconds[-1], self.vector_seconds[-1]
        lines = [
            f"adding two vectors of length {n:,}: {seconds_text(loop)} in a loop, "
            f"{seconds_text(vector)} in one call, {_times(self.ratio[-1])}",
            f"  loop      {seconds_text(loop / n)} per element",
            f"  one call  {seconds_text(vector / n)} per element",
        ]
        if self.loop_elements[-1] < n:
            lines.append(
                f"  the loop was timed over {self.loop_elements[-1]:,} elements and extrapolated"
            )
        if len(self.sizes) > 1:
            lines.append(f"  of length {self.sizes[0]:,}, {_times(self.ratio[0])}")
        return "\n".join(lines)

    def facts(self) -> dict[str, Any]:
        """The figures as plain values, for JSON."""
        return {**vars(self), "ratio": self.ratio}

    def to_pandas(self) -> "pandas.DataFrame":
        """The times as a DataFrame, a row a length, indexed by "n"."""
        columns = zip(self.sizes, self.loop_seconds, self.vector_seconds, self.ratio, strict=True)
        names = ["n", "loop_seconds", "vector_seconds", "ratio"]
        return data_frame([dict(zip(names, row, strict=True)) for row in columns], "n")

    def figure(self) -> "Figure":
        """Draws both times against the length, on logarithmic axes."""
        from gradbook.display.ticks import plain_ticks

        figure = new_figure(5.2, 3.6)
        axes = figure.subplots()
        axes.plot(
            self.sizes, self.loop_seconds, "o-", color=COLORS[0], label="loop: c[i] = a[i] + b[i]"
        )
        pairs = zip(self.sizes, self.loop_elements, self.loop_seconds, strict=True)
        scaled = [(n, seconds) for n, elements, seconds in pairs if elements < n]
        if scaled:
            label = "extrapolated from a part of the elements"
            axes.plot(*zip(*scaled, strict=True), "o", mfc="white", color=COLORS[0], label=label)
        axes.plot(
            self.sizes, self.vector_seconds, "s--", color=COLORS[1], label="one call: c = a + b"
        )
        axes.set(xscale="log", yscale="log", xlabel="length n of the vectors", ylabel="time [s]")
        axes.set_title(f"n = {self.sizes[-1]:,}: {_times(self.ratio[-1])}", fontsize="medium")
        plain_ticks(axes)
        axes.legend(fontsize="small")
        axes.grid(True)
        return figure


@interruptible("Interrupted.")
def vectorization(n: int | Sequence[int] = 10_000, *, max_seconds: float = 1.0) -> Vectorization:
    """Times the sum of two vectors of growing length: in a Python loop, and in one call.

    Both are repeated, and the medians are taken. On the CPU, with vectors of ones as in the book.

    Book: 3.1.2.

    Args:
        n: The longest length, up to which lengths grow from 10 in even steps of the logarithm;
            or the lengths themselves.
        max_seconds: About how long all may be timed together. Where three runs of a loop would
            take longer than its share, it is timed over a part of the elements. A call is timed
            once at least, whatever that takes for more than 100 million elements.

    Returns:
        The times in seconds, with words and a figure.

    Raises:
        ConfigError: If a length or the time cannot be used, or the vectors do not fit in memory.
    """
    check_positive(max_seconds, "max_seconds")
    sizes = _sizes(n)
    longest = _ones(sizes[-1]), _ones(sizes[-1])
    clock = Timer()
    trial = torch.ones(_FEWEST_ELEMENTS)
    an_element = _median_seconds(_add_in_loop, trial, trial, max_seconds / 100)[0] / len(trial)
    elements, loops, vectors = [], [], []
    for index, size in enumerate(sizes):
        a, b = (vector[:size] for vector in longest)
        # What the short lengths leave of their shares is for the long ones.
        share = max(0.0, max_seconds - clock.stop()) / (len(sizes) - index) / 2
        part = min(size, max(_FEWEST_ELEMENTS, int(share / (_FEWEST + 1) / an_element)))
        seconds, runs = _median_seconds(_add_in_loop, a[:part], b[:part], share)
        elements.append(part)
        loops.append((seconds * size / part, runs))
        vectors.append(_median_seconds(torch.add, a, b, share))
    loop_seconds, loop_runs = zip(*loops, strict=True)
    vector_seconds, vector_runs = zip(*vectors, strict=True)
    return Vectorization(
        sizes, loop_seconds, vector_seconds, tuple(elements), loop_runs, vector_runs
    )


def _sizes(n: Any) -> tuple[int, ...]:
    if isinstance(n, Sequence | np.ndarray | torch.Tensor) and not isinstance(n, str):
        sizes = [check_whole_number(size, "n", at_least=1) for size in n]
        check_whole_number(len(sizes), "the number of lengths n", at_least=1)
        return tuple(sorted(set(sizes)))
    longest = check_whole_number(n, "n", at_least=1)
    shortest = min(10, longest)
    steps = 1 + round(_PER_DECADE * np.log10(longest / shortest))
    return tuple(sorted({round(size) for size in np.geomspace(shortest, longest, steps)}))


def _ones(size: int) -> torch.Tensor:
    """A vector of ones, if there is memory for two of them and their sum."""
    needed = 3 * 4 * size
    error = ConfigError(
        f"Two vectors of length {size:,} and their sum take {needed:,} bytes, which is "
        f"{bytes_text(needed)} and does not fit in memory. Give a smaller n."
    )
    if needed > memory_bytes():
        raise error
    try:
        return torch.ones(size)
    except RuntimeError:
        raise error from None


def _add_in_loop(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    c = torch.zeros(len(a))
    for i in range(len(a)):
        c[i] = a[i] + b[i]
    return c


def _median_seconds(
    add: Callable[[torch.Tensor, torch.Tensor], Any],
    a: torch.Tensor,
    b: torch.Tensor,
    max_seconds: float,
) -> tuple[float, int]:
    """The median time of an addition, and how often that was measured, at least once."""
    timer = Timer()
    add(a, b)  # the first time may have to wait for memory
    once = max(timer.stop(), 1e-9)
    if once > max_seconds:
        return once, 1
    together = max(1, round(_LONG_ENOUGH / once))  # a clock's own time counts less
    runs = max(1, min(_MOST, int(max_seconds / (once * together)) - 1))
    timer.times.clear()
    for _ in range(runs):
        timer.start()
        for _ in range(together):
            add(a, b)
        timer.stop()
    return statistics.median(timer.times) / together, runs


def seconds_text(seconds: float) -> str:
    """A time in its unit, such as "1.3 ms"."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def _times(ratio: float) -> str:
    """A ratio in words, with three digits that count."""
    return f"the loop takes {float(f'{ratio:.3g}'):,g} times as long"
