"""`gradbook inspect`: what a trained model gets right and wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gradbook.cli.options import Parser, add_common_options
from gradbook.cli.report import Outcome
from gradbook.cli.restored import Restored, add_run_options, restore
from gradbook.runs.format import INSPECT_FOLDER, inside


def run(arguments: list[str]) -> Outcome:
    """Measures a run's model, and draws what was measured."""
    parser = Parser("inspect", "What a trained model gets right and wrong.")
    add_run_options(parser)
    parser.add_argument(
        "--train", action="store_true", help="look at the training set, not the validation set"
    )
    add_common_options(parser)
    if {"-h", "--help"} & set(arguments):
        return Outcome(text=parser.format_help().rstrip())
    asked = parser.read(arguments)
    restored = restore(asked)

    from gradbook.inspection import inspect

    report = inspect(restored.model, restored.data, asked.train)
    folder = inside(restored.run.folder, INSPECT_FOLDER)
    files = [str(file) for file in draw(report, restored, folder)]
    facts = {
        "run": restored.run.name,
        "checkpoint": restored.checkpoint.stem,
        "split": "train" if asked.train else "val",
        **report.facts(),
        "pictures": files,
    }
    model, data = type(restored.model).__name__, type(restored.data).__name__
    which = "training" if asked.train else "validation"
    lines = [f"{restored.run.name}: {model} on {data}, {which} set", "", repr(report), ""]
    lines += [f"pictures  {file}" for file in files[:1]]
    lines += [f"          {file}" for file in files[1:]]
    return Outcome(facts, "\n".join(lines))


def draw(report: Any, restored: Restored, folder: Path) -> list[Path]:
    """Writes the pictures of a report into `folder`, as SVG and PNG.

    Returns:
        The files.
    """
    from matplotlib.figure import Figure

    from gradbook.errors import DataError, ModelError
    from gradbook.inspection import ClassifierReport, show_weights
    from gradbook.inspection.pictures import save

    drawings: dict[str, Callable[[Figure], Any]]
    if isinstance(report, ClassifierReport):
        drawings = {
            "confusion": report.plot_confusion,
            "calibration": lambda figure: report.plot_calibration(figure=figure),
        }
        if report.has_images:
            drawings["mistakes"] = lambda figure: report.show_mistakes(figure=figure)
    else:
        drawings = {"predicted": report.plot_predicted, "residuals": report.plot_residuals}
    files = []
    for name, drawing in drawings.items():
        figure = Figure()
        drawing(figure)
        files += save(figure, folder, name)
    if isinstance(report, ClassifierReport):
        figure = Figure()
        try:
            show_weights(restored.model, restored.data, figure)
        except (ModelError, DataError):  # most models have no weights that are images
            return files
        files += save(figure, folder, "weights")
    return files
