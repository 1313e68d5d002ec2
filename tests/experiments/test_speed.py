"""The vectorization experiment: what is timed, and how it is told."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gradbook import timing
from gradbook.errors import ConfigError
from gradbook.experiments import speed
from gradbook.experiments.speed import Vectorization, vectorization


@pytest.fixture
def clock(monkeypatch):
    """A clock that only additions move: 1 ms for an element in a loop, 1 ms for a call."""
    time = SimpleNamespace(now=0.0, elements=0)

    def loop(a, b):
        time.now += 1e-3 * len(a)
        time.elements = max(time.elements, len(a))

    def add(a, b):
        time.now += 1e-3

    monkeypatch.setattr(timing.time, "perf_counter", lambda: time.now)
    monkeypatch.setattr(speed, "_add_in_loop", loop)
    monkeypatch.setattr(torch, "add", add)
    return time


def test_the_loop_adds():
    a, b = torch.randn(7), torch.randn(7)
    assert torch.equal(speed._add_in_loop(a, b), a + b)


def test_times_are_those_of_the_clock(clock):
    found = vectorization([10, 100], max_seconds=1)
    assert found.sizes == (10, 100)
    assert found.loop_seconds == pytest.approx((0.01, 0.1))
    assert found.vector_seconds == pytest.approx((1e-3, 1e-3))
    assert found.ratio == pytest.approx((10, 100))
    assert found.loop_runs[0] > found.loop_runs[1] >= 1


@pytest.mark.parametrize("n", [10, 1000, 100_000, [50, 60, 70, 80]])
def test_all_lengths_together_take_about_the_seconds_that_are_given(clock, n):
    vectorization(n, max_seconds=20)
    assert clock.now <= 21


def test_what_short_lengths_leave_is_for_long_ones(clock):
    found = vectorization([1, 10_000], max_seconds=20)
    assert found.loop_elements[1] > 20 / 2 / 2 / 4 * 1000


@pytest.mark.parametrize("n", [10**12, [10, 10**15]])
def test_what_does_not_fit_in_memory_is_refused_with_its_size(n):
    size = f"{12 * (n if isinstance(n, int) else n[-1]):,} bytes"
    with pytest.raises(ConfigError, match=rf"{size}.* does not fit in memory"):
        vectorization(n)


def test_where_the_system_does_not_tell_its_memory_pytorch_is_asked(monkeypatch):
    monkeypatch.delattr("os.sysconf")
    with pytest.raises(ConfigError, match="does not fit in memory"):
        vectorization(10**17)


def test_a_long_loop_is_timed_over_a_part(clock):
    found = vectorization([10, 10_000], max_seconds=2)
    assert found.loop_elements[0] == 10
    assert found.loop_elements[1] == clock.elements <= 500
    assert found.loop_seconds[1] == pytest.approx(10)
    assert f"the loop was timed over {clock.elements} elements and extrapolated" in str(found)


def test_what_is_shorter_than_the_clock_can_tell_is_timed_together(clock, monkeypatch):
    calls = []
    monkeypatch.setattr(torch, "add", lambda a, b: calls.append(1))
    vectorization([10])
    assert len(calls) > 10_000


def test_lengths_grow_evenly_on_a_logarithmic_axis():
    assert speed._sizes(10_000) == (10, 32, 100, 316, 1000, 3162, 10_000)
    assert speed._sizes(3) == (3,)
    assert speed._sizes(np.array([100, 10, 100])) == (10, 100)


@pytest.mark.parametrize("n", [0, -1, 2.5, True, "ten", [10, 0], []])
def test_lengths_that_there_are_not_are_refused(n):
    with pytest.raises(ConfigError, match="whole number of at least 1"):
        vectorization(n)


def test_a_time_that_cannot_be_used_is_refused():
    with pytest.raises(ConfigError, match="max_seconds must be above 0"):
        vectorization(10, max_seconds=0)


def test_it_runs_on_a_real_clock_and_draws_no_random_number():
    state = torch.get_rng_state()
    found = vectorization(30, max_seconds=0.01)
    assert found.sizes == (10, 30)
    assert all(math.isfinite(ratio) and ratio > 0 for ratio in found.ratio)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.fixture
def found():
    return Vectorization(
        sizes=(10, 10_000, 1_000_000),
        loop_seconds=(5e-5, 0.05, 5.0),
        vector_seconds=(1e-6, 2e-6, 4e-5),
        loop_elements=(10, 10_000, 20_000),
        loop_runs=(31, 7, 3),
        vector_runs=(31, 31, 31),
    )


def test_words(found):
    assert str(found).splitlines() == [
        "adding two vectors of length 1,000,000: 5 s in a loop, 40 µs in one call, the loop takes "
        "125,000 times as long",
        "  loop      5 µs per element",
        "  one call  0.04 ns per element",
        "  the loop was timed over 20,000 elements and extrapolated",
        "  of length 10, the loop takes 50 times as long",
    ]


def test_a_data_frame(found):
    frame = found.to_pandas()
    assert list(frame.index) == [10, 10_000, 1_000_000]
    assert frame.loc[10, "ratio"] == pytest.approx(50)
    assert found.facts()["ratio"] == found.ratio


def test_the_figure_has_logarithmic_axes(found):
    [axes] = found.figure().axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    loop, part, call = axes.lines
    assert list(loop.get_ydata()) == list(found.loop_seconds)
    assert list(part.get_xdata()) == [1_000_000]
    assert list(call.get_ydata()) == list(found.vector_seconds)
    assert "125,000 times" in axes.get_title()
