"""Holds the promise of `make quick`: a test that starts a process is marked as slow."""

import os
import platform
import sys

import numpy.testing  # noqa: F401  # NumPy 1 starts a program when it is loaded
import pytest

#: What Python says of itself when it starts a process (`sys.audit`).
EVENTS = frozenset(
    ["subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system"]
)

#: What the test that runs has started, the fixtures that it was the first to need included.
started = []


def note(event, details):
    if event in EVENTS:
        started.append(event)


def pytest_configure():
    """Looks from now on."""
    platform.processor()  # starts a program, once, and keeps its answer for whoever asks
    sys.addaudithook(note)
    if os.name != "posix":
        return
    # multiprocessing and loky go this way, of which Python says nothing.
    import _posixsubprocess

    fork_exec = _posixsubprocess.fork_exec

    def noted(*arguments):
        started.append("multiprocessing")
        return fork_exec(*arguments)

    _posixsubprocess.fork_exec = noted


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    started.clear()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    done = yield
    if started and item.get_closest_marker("slow") is None:
        ways = ", ".join(sorted(set(started)))
        pytest.fail(f"starts a process ({ways}): mark it with @pytest.mark.slow", pytrace=False)
    return done
