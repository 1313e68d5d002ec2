"""Measuring how long things take.

Book: 3.1.2; the class: 13.2.
"""

import time
from itertools import accumulate

from gradbook.errors import ConfigError


class Timer:
    """A stopwatch that remembers several runs. It starts when it is made.

    On a GPU, work is queued and not awaited: call `torch.accelerator.synchronize()` before
    `stop()` to measure the work and not the queueing.

    Attributes:
        times: The length of every run, in seconds.
    """

    def __init__(self) -> None:
        self.times: list[float] = []
        self.start()

    def __repr__(self) -> str:
        runs = f"{len(self.times)} run{'' if len(self.times) == 1 else 's'}"
        return f"Timer: {runs}, {self.sum():.3g} seconds"

    def start(self) -> None:
        """Begins a run."""
        self._began = time.perf_counter()

    def stop(self) -> float:
        """Ends the run, and returns its length in seconds."""
        self.times.append(time.perf_counter() - self._began)
        return self.times[-1]

    def avg(self) -> float:
        """The mean length of the runs, in seconds."""
        if not self.times:
            raise ConfigError("There is no run to average yet: call stop() before avg().")
        return self.sum() / len(self.times)

    def sum(self) -> float:
        """The total length of the runs, in seconds."""
        return sum(self.times)

    def cumsum(self) -> list[float]:
        """The total length after each run, in seconds."""
        return list(accumulate(self.times))
