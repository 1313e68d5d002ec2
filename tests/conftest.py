"""What every test finds: no network, no display, an own folder, seeded generators."""

import gc
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from importlib.metadata import version

import hypothesis
import numpy as np
import pytest
import torch
from tests import processes
from tests.patience import LONGEST

# Tests run side by side. The programs that they start have as many threads as they have: a training
# that goes on in another process warns of another number, and warnings are errors here.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"

# Until all tests are collected, which makes half a million objects and hardly any garbage.
gc.disable()

# An example takes as long as it takes where other programs have the processors.
hypothesis.settings.register_profile(
    "patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("patient")

# A shell that starts the tests in the background has them ignore Ctrl-C, and all that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def font_folder(config):
    """Where Matplotlib keeps its cache of fonts: one for all tests, as making it takes seconds."""
    return config.rootpath / ".pytest_cache" / "matplotlib"


def pytest_configure(config):
    """Has `processes` look at every test, and makes that cache before anything needs it.

    Otherwise programs that run side by side would wait for each other's, and say so on stderr.
    """
    config.pluginmanager.register(processes)
    fonts = font_folder(config)
    made = fonts / f"made-by-{version('matplotlib')}"  # which reads no other version's
    if not made.exists():
        environment = {**os.environ, "MPLCONFIGDIR": str(fonts), "MPLBACKEND": "Agg"}
        code = [sys.executable, "-c", "import matplotlib.font_manager"]
        subprocess.run(code, env=environment, capture_output=True, check=True)
        made.touch()


def pytest_collection_finish():
    """Nothing that is there by now is garbage: it is not searched again and again for some."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path, request):
    """An own home and working folder; nothing from the user's environment, nothing left over.

    The working folder is `tmp_path / "work"`, so that the book's `../data` is the test's own.
    """
    for name in [n for n in os.environ if n.startswith(("GRADBOOK_", "XDG_")) or n == "COLUMNS"]:
        monkeypatch.delenv(name)
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.setenv("GRADBOOK_OFFLINE", "1")
    monkeypatch.setenv("GRADBOOK_DISPLAY", "off")
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setenv("MPLCONFIGDIR", str(font_folder(request.config)))
    monkeypatch.chdir(work)
    random.seed(0)
    np.random.seed(0)
    torch.default_generator.manual_seed(0)
    if "gradbook.datasets.stand_ins" in sys.modules:  # as in a program of its own
        sys.modules["gradbook.datasets.stand_ins"]._told.clear()
    before = set(threading.enumerate())
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
    deadline = time.monotonic() + LONGEST
    # The progress bars of other libraries keep a thread until the program ends.
    left = {t for t in threading.enumerate() if type(t).__name__ != "TMonitor"} - before
    while left and time.monotonic() < deadline:
        time.sleep(0.02)
        left = {thread for thread in left if thread.is_alive()}
    assert not left, f"threads left running: {left}"
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not multiprocessing.active_children(), "processes left running"


@pytest.fixture
def blank_figures(monkeypatch):
    """Figures are saved with nothing in them: for tests of runs that are not about their figures.

    Two thirds of the time of a small training that keeps a run is the drawing of its curves.
    """
    from matplotlib.figure import Figure

    monkeypatch.setattr(Figure, "draw", lambda figure, renderer: None)


@pytest.fixture
def hang_ups():
    """Programs that are started hear SIGHUP, even where `nohup` has started the tests."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def undo_patches():
    """Puts the classes of the library back as they were, after methods were replaced."""
    from gradbook import board, data, datasets, hparams, models, module, optim, trainer

    places = (board, data, datasets, hparams, models, module, optim, trainer)
    classes = {
        value
        for place in places
        for value in (getattr(place, name) for name in dir(place))  # also what is not loaded yet
        if isinstance(value, type) and value.__module__.startswith("gradbook.")
    }
    before = {cls: dict(vars(cls)) for cls in classes}
    yield
    for cls, attributes in before.items():
        for name in set(vars(cls)) - set(attributes):
            delattr(cls, name)
        for name, value in attributes.items():
            if vars(cls).get(name) is not value:
                setattr(cls, name, value)


@pytest.fixture
def outputs(monkeypatch):
    """What is shown in a notebook's cell, output by output, by kind of content."""
    shown = []
    monkeypatch.setattr("gradbook.display.images.in_kernel", lambda: True)
    monkeypatch.setattr(
        "IPython.display.display", lambda bundle, raw, metadata=None: shown.append(bundle)
    )
    return shown
