"""Runs the Python of a page in docs/, and puts what it prints into the page.

    python tools/run_docs.py docs/experiments.md

Every block of Python is run in turn, each in a fresh namespace, in the folder of the page, so that
`save("images/x.png")` writes a figure that the page shows. A block of text right after it is
replaced by what was printed.
"""

import argparse
import contextlib
import io
import os
import re
import warnings
from pathlib import Path

import matplotlib as mpl

_BLOCK = re.compile(r"```python\n(?P<code>.*?)```\n(?:\n```text\n.*?```\n)?", re.DOTALL)


def main() -> None:
    """Runs the page that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("page", type=Path)
    page = parser.parse_args().page
    mpl.use("Agg")
    text = page.read_text()
    os.chdir(page.parent)

    def run(match: re.Match[str]) -> str:
        code, printed = match["code"], io.StringIO()
        print(code, flush=True)
        with contextlib.redirect_stdout(printed), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(compile(code, page.name, "exec"), {"__name__": "__main__"})
        shown = "\n".join(line.rstrip() for line in printed.getvalue().strip().splitlines())
        print(shown, flush=True)
        return f"```python\n{code}```\n" + (f"\n```text\n{shown}\n```\n" if shown else "")

    result = _BLOCK.sub(run, text)
    Path(page.name).write_text(result)


if __name__ == "__main__":
    main()
