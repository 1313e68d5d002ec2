"""The pages of docs/ and the README: their code is code, and their links lead somewhere."""

import ast
import re
import runpy
from pathlib import Path
from typing import get_args

import pytest

import gradbook
from gradbook.verdicts.rules import Label

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
CODE = re.compile(r"```python\n(.*?)```", re.DOTALL)
LINK = re.compile(r"\]\((?!https?://)([^)#]+)(?:#[^)]*)?\)")


def name_of(page):
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_to_a_file(page):
    for target in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_name_of_the_library_in_an_example_exists(page):
    for code in CODE.findall(page.read_text()):
        for node in ast.walk(ast.parse(code)):
            if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
                continue
            if node.value.id == "gradbook":
                assert hasattr(gradbook, node.attr), node.attr


SNIPPETS = [
    pytest.param(code, id=f"{name_of(page)}-{number}")
    for page in PAGES
    for number, code in enumerate(CODE.findall(page.read_text()), 1)
]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::gradbook.GradbookWarning")
@pytest.mark.parametrize("code", SNIPPETS)
def test_every_snippet_runs_alone(code, tmp_path, monkeypatch):
    """As pasted into an empty file, but for fewer epochs, steps and trials, and the sample."""
    monkeypatch.setattr("gradbook.datasets.fashion_mnist.SYSTEM_FOLDER", tmp_path / "nowhere")
    code = re.sub(r"\b(max_epochs|num_steps)=\d+", r"\1=1", code)
    code = re.sub(r"\bnum_trials=\d+", "num_trials=2", code)
    file = tmp_path / "work" / "snippet.py"
    file.write_text(code)
    runpy.run_path(str(file), run_name="__main__")


def test_every_verdict_and_status_stands_in_the_glossary():
    glossary = (ROOT / "docs" / "glossary.md").read_text()
    for word in [*get_args(Label), "finished", "interrupted", "failed"]:
        assert f"| {word} |" in glossary, word


def test_the_index_leads_to_every_page():
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / target).resolve() for target in LINK.findall(index.read_text())}
    assert {page.resolve() for page in (ROOT / "docs").rglob("*.md")} - {index} <= linked


def test_pictures_of_the_docs_are_shown_somewhere():
    shown = {
        (page.parent / target).resolve()
        for page in PAGES
        for target in LINK.findall(page.read_text())
    }
    pictures = {path.resolve() for path in (ROOT / "docs" / "images").iterdir()}
    assert pictures <= shown


def test_version_changelog_and_citation_agree():
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.search(r"^version: (.+)$", citation, re.MULTILINE)[1] == gradbook.__version__
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    released = [heading for heading in headings if heading != "Unreleased"]
    # Before the first release there is nothing but "Unreleased".
    assert released[:1] in ([], [gradbook.__version__])
