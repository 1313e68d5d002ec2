import pytest

from gradbook import timing
from gradbook.errors import ConfigError


@pytest.fixture
def clock(monkeypatch):
    """A clock that shows what is put on it."""
    shown = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: shown[0])
    return shown


def test_timer_runs_from_its_making(clock):
    timer = timing.Timer()
    clock[0] = 2.5
    assert timer.stop() == 2.5


def test_timer_keeps_every_run(clock):
    timer = timing.Timer()
    for end in (1.0, 3.0, 6.0):
        timer.start()
        clock[0] = end
        timer.stop()
    assert timer.times == [1.0, 2.0, 3.0]
    assert (timer.sum(), timer.avg()) == (6.0, 2.0)
    assert timer.cumsum() == [1.0, 3.0, 6.0]


def test_average_of_no_run_is_an_error():
    with pytest.raises(ConfigError, match=r"call stop\(\)"):
        timing.Timer().avg()
