"""Files of a learner's own."""

import sys
from pathlib import Path

import pytest

from gradbook.cli import classes


@pytest.fixture
def write():
    """Writes a file into the working folder and returns its name."""

    def write_file(text: str, name: str = "my_file.py") -> str:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return name

    return write_file


@pytest.fixture(autouse=True)
def modules_as_before():
    """Forgets what was loaded from a test's folder."""
    paths, names = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = paths
    classes._loaded.clear()
    for name in set(sys.modules) - names:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(Path.cwd())):
            del sys.modules[name]
