"""Runs the PyTorch cells of *Dive into Deep Learning* against the installed library.

    python tools/run_book.py BOOK                             every chapter
    python tools/run_book.py BOOK chapter_optimization        what has these words in its path
    python tools/run_book.py BOOK --max-epochs 1 --json > book.json

BOOK is a checkout of the book's public repository, or a folder with markdown files in its form.
The cells are read when they are run; nothing of the book is kept here. A cell is ours if its tab
mark (`%%tab pytorch`, `#@tab mxnet, pytorch`, `%%tab all`) says so; one without a mark belongs to
the first of `tabs` in the checkout's config.ini, and without that file to PyTorch, unless the
file's cells without a mark import MXNet. Magics and shell commands are left out.

Each file runs in a process of its own, in a folder of its own in a temporary one, where ../img is
the book's and ../data is shared; `--keep FOLDER` takes a folder that stays. Figures are drawn on
Agg. A failing cell is reported with what it needs, and the next one runs. The exit code is 0 if
every cell ran.
"""

import argparse
import ast
import configparser
import json
import linecache
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import types
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

_FENCE = re.compile(
    r"^(?P<ticks>```+) *\{\.python \.input[^}\n]*\} *\n(?P<code>.*?)^(?P=ticks) *$",
    re.DOTALL | re.MULTILINE,
)
_TAB = re.compile(r"(?:^%%tab|# *@tab) +(?P<tabs>[\w, ]+)", re.MULTILINE)
_LEFT_OUT = re.compile(r"[%!]|tab\.interact_select|# *@tab ")
_EPOCHS = ("max_epochs", "num_epochs")


# The cells of a file


def cells_of(text: str, default_tab: str | None = None) -> list[str]:
    """The PyTorch cells of a file of the book, as Python.

    Args:
        text: The file in the book's markdown.
        default_tab: What a cell without a tab mark belongs to; None looks at what they import.
    """
    marked = [(_TAB.search(match["code"]), match["code"]) for match in _FENCE.finditer(text)]
    if default_tab is None:
        unmarked = "\n".join(code for mark, code in marked if mark is None)
        is_mxnet = re.search(r"^\s*(?:from|import)\b.*\bmxnet\b", unmarked, re.MULTILINE)
        default_tab = "mxnet" if is_mxnet else "pytorch"
    cells = []
    for mark, code in marked:
        tabs = re.split(r"[, ]+", mark["tabs"].strip()) if mark else [default_tab]
        if {"pytorch", "all"}.isdisjoint(tabs):
            continue
        lines = [line for line in code.splitlines() if not _LEFT_OUT.match(line)]
        if any(line.strip() and not line.lstrip().startswith("#") for line in lines):
            cells.append("\n".join(lines).strip("\n"))
    return cells


def default_tab_of(book: Path) -> str | None:
    """The first of the tabs that the book's config.ini lists, or None without such a file."""
    config = configparser.ConfigParser(interpolation=None, strict=False)
    config.read(book / "config.ini", encoding="utf-8")
    tabs = config.get("build", "tabs", fallback="")
    return tabs.split(",")[0].strip() or None


class _FewerEpochs(ast.NodeTransformer):
    """Cuts whole numbers that are given for a number of epochs."""

    def __init__(self, most: int) -> None:
        self.most = most

    def _cut(self, value: ast.expr) -> None:
        if isinstance(value, ast.Constant) and isinstance(value.value, int):
            value.value = min(value.value, self.most)

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        for target in node.targets:
            pairs = [(target, node.value)]
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = list(zip(target.elts, node.value.elts, strict=False))
            for name, value in pairs:
                if isinstance(name, ast.Name) and name.id in _EPOCHS:
                    self._cut(value)
        return self.generic_visit(node)

    def visit_keyword(self, node: ast.keyword) -> ast.AST:
        if node.arg in _EPOCHS:
            self._cut(node.value)
        return self.generic_visit(node)

    def visit_arguments(self, node: ast.arguments) -> ast.AST:
        args = [*node.posonlyargs, *node.args]
        for arg, value in zip(args[len(args) - len(node.defaults) :], node.defaults, strict=True):
            if arg.arg in _EPOCHS:
                self._cut(value)
        return self.generic_visit(node)


# The process that runs a file


def _run_cells(task: dict[str, Any]) -> None:
    """Runs the cells of one file, and writes a line of JSON for each as soon as it has ended."""
    module = types.ModuleType("__main__")
    names = module.__dict__
    # What the extension d2lbook.tab gives: cells for several frameworks ask it which one runs.
    names["tab"] = types.SimpleNamespace(selected=lambda *tabs: "pytorch" in tabs)
    sys.modules["__main__"] = module
    sys.path.insert(0, os.getcwd())
    has_failed = False
    with open(task["results"], "w", encoding="utf-8") as results:
        for number, code in enumerate(task["cells"], start=1):
            begin, result = time.perf_counter(), {"cell": number, "ok": True}
            try:
                _run_cell(code, f"<cell {number}>", names, task)
            except BaseException as error:  # a cell may also call exit()
                result |= {"ok": False, "needs": _needs(error, has_failed), "error": _first(error)}
                has_failed = True
            result["seconds"] = round(time.perf_counter() - begin, 2)
            print(json.dumps(result), file=results, flush=True)


def _run_cell(code: str, name: str, names: dict[str, Any], task: dict[str, Any]) -> None:
    linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
    tree = ast.parse(code, name)
    if task["max_epochs"]:
        tree = _FewerEpochs(task["max_epochs"]).visit(tree)
    is_shown = bool(tree.body) and isinstance(tree.body[-1], ast.Expr)
    last = ast.Expression(tree.body.pop().value) if is_shown else None

    def too_long(*_: object) -> None:
        raise TimeoutError(f"The cell has run for {task['cell_seconds']} s.")

    has_alarm = hasattr(signal, "setitimer")  # not on Windows: there only the file's limit holds
    if has_alarm:
        signal.signal(signal.SIGALRM, too_long)
        signal.setitimer(signal.ITIMER_REAL, task["cell_seconds"])
    try:
        exec(compile(tree, name, "exec"), names)
        if last is not None:
            repr(eval(compile(last, name, "eval"), names))  # as a notebook shows it
        if pyplot := sys.modules.get("matplotlib.pyplot"):
            for number in pyplot.get_fignums():
                pyplot.figure(number).canvas.draw()
    finally:
        if has_alarm:
            signal.setitimer(signal.ITIMER_REAL, 0)
        if pyplot := sys.modules.get("matplotlib.pyplot"):
            pyplot.close("all")


def _first(error: BaseException) -> str:
    text = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {text}"[:200]


def _needs(error: BaseException, has_failed: bool) -> str:
    """What a cell needs that has failed, in a few words."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    text = str(error)
    if "NotCarriedError" in kinds:
        return f"the name {getattr(error, 'name', None)}"
    if "ImportError" in kinds and getattr(error, "name", None):
        return f"the package {str(error.name).partition('.')[0]}"  # type: ignore[attr-defined]
    if "MissingExtraError" in kinds:
        return "a package"
    module = getattr(error, "obj", None)
    if isinstance(module, types.ModuleType) and getattr(module, "__standin__", False):
        return f"the package {module.__name__.partition('.')[0]}"  # it lacks what was asked of it
    if kinds & {"URLError", "ConnectionError", "DownloadError", "gaierror", "RequestException"}:
        return "the network"
    if text.startswith("Error downloading"):  # a RuntimeError of torchvision
        return "the network"
    if "NameError" in kinds and has_failed:
        return "an earlier cell"
    if re.search(r"cuda|\bGPU|nvidia|accelerator|non cpu device|_scatter", text, re.IGNORECASE):
        return "a GPU"
    if "TimeoutError" in kinds:
        return "more time"
    if "FileNotFoundError" in kinds:
        return f"the file {Path(str(getattr(error, 'filename', None) or text)).name}"
    return "a look"


# All files


def run_file(path: Path, book: Path, root: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Runs the cells of one file in a process of its own.

    Returns:
        The file's path in the book, and for each cell whether it ran, its seconds, and what it
        needs otherwise.
    """
    cells = cells_of(path.read_text("utf-8"), options.default_tab)
    name = path.relative_to(book)
    folder = root / "_".join(name.with_suffix("").parts)
    folder.mkdir(parents=True, exist_ok=True)
    results, task = folder / "results.jsonl", folder / "task.json"
    limits = {"cell_seconds": options.cell_seconds, "max_epochs": options.max_epochs}
    task.write_text(json.dumps({"cells": cells, "results": str(results), **limits}))
    told = "The process ended."
    with open(folder / "log.txt", "w", encoding="utf-8") as log:
        try:
            subprocess.run(
                [sys.executable, __file__, "--cells", str(task)],
                cwd=folder,
                env={**os.environ, "MPLBACKEND": "Agg"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=options.file_seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            told = f"The file has run for {options.file_seconds} s."
    lines = results.read_text("utf-8").splitlines() if results.exists() else []
    done = [json.loads(line) for line in lines]
    lacking = {"needs": "more time" if "has run" in told else "a look", "error": told}
    for number in range(len(done) + 1, len(cells) + 1):
        done.append({"cell": number, "ok": False, "seconds": 0.0, **lacking})
    return {"file": name.as_posix(), "cells": done}


def run_book(book: Path, words: list[str], options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Runs the files whose path has one of the words, all without any; gives the result of each."""
    options.default_tab = options.default_tab or default_tab_of(book)
    paths = [*sorted(book.glob("*.md")), *sorted(book.glob("*/*.md"))]
    if words:
        paths = [path for path in paths if any(w in str(path.relative_to(book)) for w in words)]
    paths = [path for path in paths if cells_of(path.read_text("utf-8"), options.default_tab)]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        root = Path(options.keep or temporary).resolve()
        root.mkdir(parents=True, exist_ok=True)
        if (book / "img").is_dir() and not (root / "img").exists():
            (root / "img").symlink_to((book / "img").resolve(), target_is_directory=True)
        with ThreadPoolExecutor(options.jobs) as pool:
            yield from pool.map(lambda path: run_file(path, book, root, options), paths)


def _row(result: dict[str, Any]) -> str:
    cells = result["cells"]
    num_ok, seconds = sum(cell["ok"] for cell in cells), sum(cell["seconds"] for cell in cells)
    rows = [f"{result['file']:<68} {len(cells):5d} {num_ok:5d} {seconds:7.1f} s"]
    for cell in cells:
        if not cell["ok"]:
            rows.append(f"    cell {cell['cell']} needs {cell['needs']}: {cell['error']}")
    return "\n".join(rows)


def main() -> int:
    """Runs what the command line names, and prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("book", type=Path, help="a checkout of the book")
    parser.add_argument("words", nargs="*", help="run only files with one of these in their path")
    parser.add_argument("--max-epochs", type=int, help="cut max_epochs and num_epochs to this")
    parser.add_argument("--cell-seconds", type=float, default=600, help="limit for a cell")
    parser.add_argument("--file-seconds", type=float, default=3600, help="limit for a file")
    parser.add_argument("--default-tab", help="what cells without a tab mark belong to")
    parser.add_argument("--jobs", type=int, default=1, help="files that run at the same time")
    parser.add_argument("--keep", metavar="FOLDER", help="run here, and keep logs and data")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    options = parser.parse_args()
    if not options.json:
        print(f"{'file':<68} {'cells':>5} {'ok':>5} {'time':>9}")
    results = []
    for result in run_book(options.book.resolve(), options.words, options):
        results.append(result)
        if not options.json:
            print(_row(result), flush=True)
    cells = [cell for result in results for cell in result["cells"]]
    num_ok = sum(cell["ok"] for cell in cells)
    needs = Counter(cell["needs"] for cell in cells if not cell["ok"])
    if options.json:
        totals = {"cells": len(cells), "ok": num_ok, "needs": dict(needs.most_common())}
        print(json.dumps({"files": results, "totals": totals}, indent=1))
    else:
        print(f"{f'{len(results)} files':<68} {len(cells):5d} {num_ok:5d}")
        for need, count in needs.most_common():
            print(f"{count:5d} need {need}")
    return 0 if results and num_ok == len(cells) else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--cells"]:
        _run_cells(json.loads(Path(sys.argv[2]).read_text()))
    else:
        sys.exit(main())
