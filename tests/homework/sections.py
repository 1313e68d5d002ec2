"""A learner's notebook, section by section, as cells; and four ways of running cells.

The cells stand in `cells/sN_M.ipy`, each after a line `# %%`, in the form in which a notebook has
them. Two things are changed before they run: `max_epochs=10` becomes `max_epochs=1`, and a first
cell seeds the generators and hides the system's copy of Fashion-MNIST, so that the bundled
sample is used.
"""

import ast
import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

from tests.patience import LONGEST

HERE = Path(__file__).parent
SOURCE = HERE.parent.parent / "src"
SECTIONS = tuple(
    path.stem.removeprefix("s").replace("_", ".") for path in sorted((HERE / "cells").iterdir())
)

SMALL_DATA = """\
import pathlib
import gradbook.datasets.fashion_mnist
gradbook.datasets.fashion_mnist.SYSTEM_FOLDER = pathlib.Path("nowhere")
gradbook.seed_everything(0)
"""

#: What must hold after a section; run as its last cell.
CHECKS = {
    "3.2": "assert list(board.data) == ['sin', 'cos'] and len(board.data['cos']) == 10",
    "3.4": """\
assert (data.w - model.w.detach().reshape(data.w.shape)).abs().max() < 0.4
assert [len(curve) for curve in model.board.data.values()] == [6, 3]
assert trainer.model is model2 and trainer.train_batch_idx == 3 * 32
""",
    "4.2": "assert X.shape[1:] == (1, 32, 32) and len(X) == len(data.train) % 64",
    "4.4": """\
assert list(model.board.data) == ['train_loss', 'val_loss', 'val_acc']
assert 0.5 < model.board.data['val_acc'][-1].y < 0.95, model.board.data
assert 0.3 < trainer.history[-1]['val_acc'] < 0.95, trainer.history
""",
    "5.2": "assert trainer.model is model and model.board.data['val_acc'][-1].y > 0.15",
}


def cells(*sections: str) -> list[str]:
    """The cells of sections, shortened, with the first cell and the checks."""
    found = [SMALL_DATA]
    for section in sections:
        text = (HERE / "cells" / f"s{section.replace('.', '_')}.ipy").read_text()
        parts = text.split("# %%\n")[1:]
        found += [re.sub(r"\bmax_epochs=10\b", "max_epochs=1", part).rstrip() for part in parts]
        if section in CHECKS:
            found.append(CHECKS[section])
    return found


def plain(cell: str) -> str:
    """A cell without what only a notebook understands."""
    return "\n".join(line for line in cell.splitlines() if not line.startswith(("%", "!")))


def as_typed(cell: str) -> str:
    """A cell as one would type it at the prompt: no blank line within a statement, one after."""
    lines = plain(cell).splitlines()
    typed = []
    for node in ast.parse("\n".join(lines)).body:
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
        own = lines[first - 1 : node.end_lineno]
        typed += [line for line in own if line.strip()]
        if len(own) > 1 or hasattr(node, "body"):
            typed.append("")
    return "\n".join(typed)


# The four ways. Each takes cells, and gives what they printed and drew, or fails.


def in_kernel(source: list[str]) -> str:
    """In a Jupyter kernel, through nbclient."""
    return _python("-c", _KERNEL, given=json.dumps(source))


def in_ipython(source: list[str]) -> str:
    """In IPython's shell for the terminal."""
    return _python("-c", _IPYTHON, given=json.dumps(source))


def in_script(source: list[str]) -> str:
    """As a script."""
    Path("homework.py").write_text("\n\n".join(map(plain, source)))
    return _python("homework.py")


def in_prompt(source: list[str]) -> str:
    """At Python's own prompt."""
    return _python("-q", "-i", given="\n".join(map(as_typed, source)) + "\n")


WAYS = (in_kernel, in_ipython, in_script, in_prompt)

_KERNEL = f"""
import json, sys
import nbformat
from nbclient import NotebookClient
cells = [nbformat.v4.new_code_cell(cell) for cell in json.load(sys.stdin)]
notebook = nbformat.v4.new_notebook(cells=cells)
seconds = dict.fromkeys(("timeout", "startup_timeout", "iopub_timeout"), {LONGEST})
NotebookClient(notebook, kernel_name="python3", **seconds).execute()
for cell in notebook.cells:
    for output in cell.outputs:
        print(output.get("text", ""))
        for kind, content in output.get("data", dict()).items():
            print(content if kind == "text/plain" else "<" + kind + ">")
"""

_IPYTHON = """
import json, sys
from IPython.terminal.interactiveshell import TerminalInteractiveShell
shell = TerminalInteractiveShell.instance(simple_prompt=True)
for cell in json.load(sys.stdin):
    shell.run_cell(cell, store_history=True).raise_error()
"""


def _python(*args: str, given: str | None = None) -> str:
    start = Path("start")
    start.mkdir(exist_ok=True)
    # What pip does with src/gradbook_torchvision.pth: 4.2 imports torchvision before d2l.
    (start / "sitecustomize.py").write_text(f"import site; site.addsitedir({str(SOURCE)!r})")
    environment = {
        # The display chooses for itself, as it does for a learner; `!pip` finds no registry.
        **{name: value for name, value in os.environ.items() if name != "GRADBOOK_DISPLAY"},
        "PYTHONPATH": str(start.resolve()),
        "PIP_NO_INDEX": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PYTHONWARNINGS": "default",
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": "1",  # threads that wait for each other are slow on a busy machine
    }
    done = subprocess.run(
        [sys.executable, *args],
        input=given or "",
        capture_output=True,
        text=True,
        timeout=LONGEST,
        env=environment,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, _end(output)
    assert "Traceback (most recent call last)" not in output, _end(output)
    return output


def _end(output: str) -> str:
    return textwrap.indent(output[-6000:], "    ")
