"""`gradbook inspect`: what a trained model gets right and wrong."""

import contextlib
from itertools import product
from pathlib import Path
from typing import Any

from gradbook.cli.options import Parser
from gradbook.cli.outcome import Outcome
from gradbook.cli.restored import add_run_options, checkpoint_facts, restore
from gradbook.cli.texts import checkpoint_text
from gradbook.display.file import PICTURE_KINDS, save_figure
from gradbook.runs.format import INSPECT_FOLDER, INSPECT_PICTURES
from gradbook.runs.restored import Restored
from gradbook.storage import unwritable
from gradbook.untrusted import inside
from gradbook.wrapping import page


def run(arguments: list[str]) -> Outcome:
    """Measures a run's model, and draws what was measured."""
    parser = Parser("inspect", "What a trained model gets right and wrong.")
    add_run_options(parser)
    parser.add_argument(
        "--train", action="store_true", help="use the training set instead of the validation set"
    )
    asked = parser.read_all(arguments)
    restored = restore(asked)

    from gradbook.inspection import inspect

    report = inspect(restored.model, restored.data, asked.train)
    folder = inside(restored.run.folder, INSPECT_FOLDER)
    files = draw(report, restored, folder, "-train" if asked.train else "")
    facts = {
        **checkpoint_facts(restored),
        "split": "train" if asked.train else "val",
        **report.facts(),
        "pictures": files,
    }
    model, data = type(restored.model).__name__, type(restored.data).__name__
    which = "training" if asked.train else "validation"
    lines = [
        f"{restored.run.name}: {model} on {data}, {which} set",
        checkpoint_text(restored.run, restored.checkpoint.stem),
        "",
        page(repr(report)),
        "",
    ]
    lines += [f"{'' if index else 'pictures':<10}{file}" for index, file in enumerate(files)]
    return Outcome(facts, "\n".join(lines))


def draw(report: Any, restored: Restored, folder: Path, suffix: str = "") -> list[Path]:
    """Writes the pictures of a report into `folder`, in place of those of an earlier one."""
    from gradbook.errors import DataError, ModelError
    from gradbook.inspection import boundary

    figures = report.figures()
    with contextlib.suppress(ModelError, DataError):  # most data have more than two inputs
        figures["boundary"] = boundary(restored.model, restored.data).figure()
    _clear(folder, suffix)
    files = []
    for name, figure in figures.items():
        paths = [folder / f"{name}{suffix}.{kind}" for kind in PICTURE_KINDS]
        save_figure(figure, paths)
        files += paths
    return files


def _clear(folder: Path, suffix: str) -> None:
    """Removes earlier pictures, of which the next report may have no successors."""
    for name, kind in product(INSPECT_PICTURES, PICTURE_KINDS):
        path = folder / f"{name}{suffix}.{kind}"
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise unwritable(path, error) from error
