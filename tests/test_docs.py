"""The pages of docs/ and the README: their code is code, and their links lead somewhere."""

import ast
import re
from pathlib import Path

import pytest

import gradbook

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
LINK = re.compile(r"\]\((?!https?://)([^)#]+)(?:#[^)]*)?\)")


def name_of(page):
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_to_a_file(page):
    for target in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_name_of_the_library_in_an_example_exists(page):
    for code in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        for node in ast.walk(ast.parse(code)):
            if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
                continue
            if node.value.id == "gradbook":
                assert hasattr(gradbook, node.attr), node.attr


def test_pictures_of_the_docs_are_shown_somewhere():
    shown = {
        (page.parent / target).resolve()
        for page in PAGES
        for target in LINK.findall(page.read_text())
    }
    pictures = {path.resolve() for path in (ROOT / "docs" / "images").iterdir()}
    assert pictures <= shown
