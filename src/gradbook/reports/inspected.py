"""What a report says of a trained model: what it gets right and wrong, or why that is not known."""

import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from gradbook.errors import (
    CorruptFileError,
    DataError,
    GradbookError,
    GradbookWarning,
    ModelError,
    text_of,
    told,
)
from gradbook.reports import texts
from gradbook.reports.blocks import Block, Figure, Rows, Section, Text
from gradbook.reports.images import image_of, kept_image
from gradbook.runs.format import INSPECT_FOLDER, INSPECT_PICTURES
from gradbook.runs.restored import Restored
from gradbook.runs.stored import StoredRun
from gradbook.table import Table

if TYPE_CHECKING:
    from gradbook.inspection import Boundary, ClassifierReport, RegressionReport

_TITLE = "What the model gets right and wrong"

#: Of so many mistakes, the most confident ones, a report has pictures.
_NUM_MISTAKES = 16

#: A confusion matrix of more classes is drawn, and not written as a table.
_MOST_CLASSES = 25

#: What a figure of an inspection shows.
_CAPTIONS = {
    "confusion": "Confusion matrix: how many examples of each true class were put into each class.",
    "calibration": "Calibration: how often predictions are right that are made with about the same "
    "probability, and how many there are of each.",
    "mistakes": "The mistakes made with the highest probability: the true class above the "
    "predicted one, with its probability.",
    "weights": "The weights of each class as an image.",
    "predicted": "Predictions against the true values.",
    "residuals": "What is missing from each prediction (true - predicted), and how often.",
    "boundary": "What the model gives for each place of its input.",
}


def inspected(run: StoredRun, rebuild: Callable[[StoredRun], Restored] | None) -> Section:
    """A model measured on its validation data; where it cannot be, the pictures that were kept."""
    if rebuild is None:
        return _kept(
            run, "The model was not looked at for this report, which was asked to leave that out."
        )
    try:
        with warnings.catch_warnings(record=True) as noted:
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", GradbookWarning)
            section = _measured(rebuild(run))
    except GradbookError as error:
        return _kept(run, f"The model could not be looked at for this report: {text_of(error)}")
    except Exception as error:  # a learner's own code may raise anything
        return _kept(run, f"The model could not be looked at for this report: {told(error)}")
    noticed = dict.fromkeys(str(warning.message) for warning in noted)
    section.blocks[1:1] = [Text(f"Beware: {text}", "note") for text in noticed]
    return section


def _kept(run: StoredRun, reason: str) -> Section:
    """The pictures of an earlier `gradbook inspect`, and why there is nothing newer."""
    section = Section(_TITLE, [Text(reason, "note")])
    for name in INSPECT_PICTURES:
        for file in (f"{INSPECT_FOLDER}/{name}.png", *(["boundary.png"] * (name == "boundary"))):
            try:
                image = kept_image(run.folder, file)
            except CorruptFileError as error:
                section.blocks.append(Text(f"A picture cannot be shown: {error}", "problem"))
                continue
            if image is not None:
                caption = f"{_CAPTIONS[name]} Kept in the run's folder, as {file}."
                section.blocks.append(Figure(image, caption, caption))
                break
    if len(section.blocks) == 1:
        section.blocks.append(
            Text("Nor has `gradbook inspect` kept a picture in the run's folder.", "note")
        )
    return section


def _measured(restored: Restored) -> Section:
    from gradbook.inspection import ClassifierReport, boundary, inspect

    report = inspect(restored.model, restored.data)
    epoch = restored.run.checkpoint_epoch(restored.checkpoint.stem)
    after = "" if epoch is None else f" after epoch {epoch}"
    which = f"Measured on the validation data, with the {restored.checkpoint.stem} state{after}."
    if isinstance(report, ClassifierReport):
        blocks = _of_classifier(report)
    else:
        blocks = _of_regression(report)
    with suppress(ModelError, DataError):  # most data have more than two inputs
        blocks.append(_of_boundary(boundary(restored.model, restored.data)))
    return Section(_TITLE, [Text(which), *blocks])


def _figures(report: Any, tables: dict[str, list[Rows]], told: dict[str, str]) -> list[Block]:
    """The figures of a report, each with its tables, and what it shows in words."""
    return [
        Figure(
            image_of(figure),
            _CAPTIONS[name],
            f"{_CAPTIONS[name]} {told.get(name, '')}".strip(),
            tables.get(name, ()),
        )
        for name, figure in report.figures().items()
    ]


def _of_classifier(report: "ClassifierReport") -> list[Block]:
    calibration = report.calibration()
    measures = [["accuracy", report.accuracy], ["loss", report.loss]]
    measures += [["expected calibration error", calibration.error]]
    measures += [["examples", f"{len(report.labels):,}"]]
    confusions = report.confusions()
    blocks: list[Block] = [
        Rows("Measures", texts.columns(["measure", "value"], measures)),
        Rows("Each class", report.table(), is_folded=len(report.names) > _MOST_CLASSES),
    ]
    if confusions.rows:
        blocks.append(Rows("Most often confused", confusions))
    tables: dict[str, list[Rows]] = {"calibration": [_calibration_table(calibration)]}
    if len(report.names) <= _MOST_CLASSES:
        counts = zip(report.names, report.confusion.tolist(), strict=True)
        matrix = Table(
            ["true \\ predicted", *report.names],
            [[name, *(f"{count:,}" for count in row)] for name, row in counts],
        )
        tables["confusion"] = [Rows("The counts", matrix, is_folded=True)]
    mistakes = [
        [report.names[m.true], report.names[m.predicted], f"{m.probability:.3f}", str(m.example)]
        for m in report.mistakes[:_NUM_MISTAKES]
    ]
    table = Table(["true", "predicted", "probability", "example"], mistakes)
    if report.has_images:
        tables["mistakes"] = [Rows("The same mistakes", table, is_folded=True)]
    told = {
        "confusion": f"{report.accuracy:.1%} are right.",
        "calibration": f"The expected calibration error is {calibration.error:.3f}.",
    }
    blocks += _figures(report, tables, told)
    if mistakes and not report.has_images:
        blocks.append(Rows("The mistakes made with the highest probability", table))
    return blocks


def _calibration_table(calibration: Any) -> Rows:
    edges = calibration.edges.tolist()
    bins = zip(
        edges[:-1],
        edges[1:],
        calibration.counts.tolist(),
        calibration.confidence.tolist(),
        calibration.accuracy.tolist(),
        strict=True,
    )
    rows = [
        [f"{low:.2g} to {high:.2g}", f"{count:,}", *([sure, right] if count else ["-", "-"])]
        for low, high, count, sure, right in bins
    ]
    heading = ["probability", "predictions", "mean probability", "accuracy"]
    return Rows("The values", texts.columns(heading, rows), is_folded=True)


def _of_regression(report: "RegressionReport") -> list[Block]:
    measures = [["mean squared error", report.mse], ["mean absolute error", report.mae]]
    measures += [["R2", report.r2], ["examples", f"{len(report.labels):,}"]]
    blocks: list[Block] = [Rows("Measures", texts.columns(["measure", "value"], measures))]
    if report.parameters:
        blocks.append(Rows("Beside the true parameters", report.parameter_table()))
    pairs = list(
        zip(report.labels.reshape(-1).tolist(), report.predicted.reshape(-1).tolist(), strict=True)
    )
    shown, more = texts.some_of(pairs)
    rows = [[true, predicted, true - predicted] for true, predicted in shown]
    table = texts.columns(["true", "predicted", "true - predicted"], rows)
    tables = {"predicted": [Rows(f"The values{more}", table, is_folded=True)]}
    told = {
        "predicted": f"R2 is {report.r2:.4f}.",
        "residuals": f"Their mean size is {report.mae:.4g}.",
    }
    return blocks + _figures(report, tables, told)


def _of_boundary(found: "Boundary") -> Figure:
    measures = [[name, each] for name, each in found.measures().items()]
    rows = Rows("Measures", texts.columns(["measure", "value"], measures), is_folded=True)
    caption = _CAPTIONS["boundary"]
    return Figure(image_of(found.figure()), caption, f"{caption} {found.summary()}", [rows])
