"""`import gradbook`: its names, and what it does not load."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import gradbook


def declared() -> set[str]:
    """The names that a type checker and an editor see."""
    tree = ast.parse(Path(gradbook.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    return {alias.asname for node in block.body for alias in node.names}


def test_every_name_can_be_used():
    assert all(getattr(gradbook, name) is not None for name in gradbook.__all__)


def test_editors_see_the_names_that_there_are():
    assert declared() == set(gradbook.__all__) - {"__version__"}


def test_every_name_is_listed():
    assert set(gradbook.__all__) <= set(dir(gradbook))


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'gradbook' has no attribute 'Nothing'"):
        gradbook.Nothing  # noqa: B018


def test_the_import_loads_no_large_package():
    code = (
        "import sys, gradbook; "
        "sys.exit(bool({'torch', 'numpy', 'matplotlib', 'pandas', 'IPython'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
