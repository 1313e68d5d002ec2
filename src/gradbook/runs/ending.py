"""How a training ended, told where its curves are: figures, the verdict, and what comes next."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from gradbook.board import ProgressBoard
from gradbook.data import GivenData
from gradbook.display.lines import LinesDisplay
from gradbook.display.notebook import NotebookDisplay
from gradbook.display.words import CHART_AND_TABLE
from gradbook.errors import GradbookWarning, told, warn
from gradbook.escape import printable
from gradbook.history import History
from gradbook.interrupts import show_instead
from gradbook.record import Sink
from gradbook.runs.format import CHECKPOINT_FILES, CURVE_FILES, results_of
from gradbook.runs.recorder import Run
from gradbook.storage import kebab_case
from gradbook.table import Table
from gradbook.verdicts import verdict
from gradbook.wrapping import html_text, page

if TYPE_CHECKING:
    from gradbook.trainer import Trainer

#: The rows that hold a path or a line of Python, which is copied whole.
_WHOLE = ("curve", "data", "next", "repeat", "resume", "run")

#: The width of the names of rows.
_MARGIN = 10


@dataclass(repr=False)
class Summary:
    """What a training came to: as text, and as HTML in a notebook.

    Attributes:
        title: What was trained, how it ended, and how far it came.
        figures: The last and the best means, or None without a finished epoch.
        note: What is said of the figures, or nothing.
        rows: Names, and what there is to say to each.
    """

    title: str
    figures: Table | None = None
    note: str = ""
    rows: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def of(cls, trainer: "Trainer", what: str, status: str, beside_chart: bool) -> "Summary":
        """Sums a training up.

        Args:
            trainer: What has trained.
            what: The names of the model and the data.
            status: How it ended.
            beside_chart: Whether it stands near a chart, whose last values are others.
        """
        history = trainer.history
        epochs = f"{len(history)} of {trainer.max_epochs} epochs"
        summary = cls(f"{what}: {status}, {epochs}{_part_of_an_epoch(trainer, status)}")
        summary.figures = _figures(history)
        if summary.figures is not None and beside_chart:
            summary.note = CHART_AND_TABLE
        if len(history) or history.diverged:
            judged, found = verdict(trainer if len(history) else history), trainer.postmortem
            is_told = found is not None and history.diverged is not None  # what became NaN, by it
            summary.rows.append(("verdict", judged.label if is_told else judged.sentence))
        if trainer.postmortem is not None:
            summary.rows.append(("noticed", trainer.postmortem.words))
        return summary

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def __repr__(self) -> str:
        return str(self)

    def _lines(self) -> Iterator[str]:
        yield from [page(printable(self.title)), ""]
        if self.figures is not None:
            yield from (f"  {line}" for line in repr(self.figures).split("\n"))
            yield ""
        if self.note:
            yield from [page(f"  {self.note}"), ""]
        for name, text in self.rows:
            for index, part in enumerate(printable(text).split("\n")):
                line = f"  {'' if index else name:<{_MARGIN}}{part}"
                is_whole = name in _WHOLE and not part.startswith("gradbook ")
                yield line if is_whole else page(line)

    def _repr_html_(self) -> str:
        parts = [f"<p><b>{escape(printable(self.title))}</b></p>"]
        parts += [self.figures._repr_html_()] if self.figures is not None else []
        parts += [f"<p>{escape(self.note)}</p>"] if self.note else []
        parts.append(html_text("\n".join(f"{name}: {printable(text)}" for name, text in self.rows)))
        return "\n".join(parts)


class Ending(Sink):
    """Shows a `Summary` below the curves when a training ends, and how to resume it if it can be.

    Args:
        display: Where the curves are drawn. The base class stands for nowhere: then nothing is
            shown.
        sinks: The other sinks, one of which may keep a run.
    """

    def __init__(self, display: Sink, sinks: Sequence[Sink]) -> None:
        self._display = display
        self._run = next((sink for sink in sinks if isinstance(sink, Run)), None)
        self.tells_divergence = type(display) is not Sink

    def open(self, board: ProgressBoard, trainer: "Trainer | None" = None) -> None:
        """Notes what will be summed up."""
        self._trainer = trainer

    def close(self, status: str) -> None:
        """Shows it. What fails here is only said: the model has been trained."""
        trainer, self._trainer = self._trainer, None
        if trainer is None or (status == "failed" and not trainer.model.board.data):
            return
        stop = sys.exception()
        if isinstance(stop, KeyboardInterrupt):
            folder = self._folder()
            where = "" if folder is None else f", and {folder} keeps the run"
            kept = f"Training was interrupted. The model keeps what it has learned{where}."
            resume = _resume(trainer, status, folder)
            show_instead(stop, kept, *(["To resume it:", resume] if resume else []))
        if type(self._display) is Sink:
            return
        try:
            self._show(self._summary(trainer, status))
        except Exception as error:
            warn(f"The training cannot be summed up ({told(error)}).", GradbookWarning)

    def _folder(self) -> Path | None:
        return None if self._run is None else self._run.folder

    def _summary(self, trainer: "Trainer", status: str) -> Summary:
        what = type(trainer.model).__name__
        if not isinstance(trainer.data, GivenData):
            what += f" on {type(trainer.data).__name__}"
        is_chart = not isinstance(self._display, LinesDisplay)
        summary, folder = Summary.of(trainer, what, status, is_chart), self._folder()
        summary.rows += reports_of(trainer, folder)
        looks = {
            "finished": "trainer.history, gradbook.inspection.inspect(model, data)",
            "diverged": "trainer.history, trainer.postmortem",
        }
        if status in looks:
            summary.rows.append(("next", looks[status]))
        if folder is not None:
            summary.rows += [("run", str(folder)), *curve_of(folder)]
        resume = _resume(trainer, status, folder)
        if resume:
            summary.rows.append(("resume", resume))
        return summary

    def _show(self, summary: Summary) -> None:
        if isinstance(self._display, NotebookDisplay):
            from IPython.display import display

            display(summary)  # type: ignore[no-untyped-call]
        else:
            print(f"\n{summary}", flush=True)


def reports_of(trainer: "Trainer", folder: Path | None) -> list[tuple[str, str]]:
    """A row for each watcher that has something to tell; the pictures lie in the run's folder."""
    return [
        (name, report.summary() + ("" if folder is None else f", see {folder / name}.png"))
        for name, report in trainer.reports.items()
        if report
    ]


def curve_of(folder: Path) -> list[tuple[str, str]]:
    """The row with the picture of the curves that a run has kept, if it has."""
    picture = folder / CURVE_FILES[1]
    return [("curve", str(picture))] if picture.exists() else []


def _figures(history: History) -> Table | None:
    """The last means of each curve and, of the validation's, the best."""
    reached = results_of(history)
    rows = []
    for label, value in reached["final"].items():
        best = reached["best"].get(label) if label.startswith("val_") else None
        told_best = f"{best['value']:.4g} (epoch {best['epoch']})" if best else "-"
        rows.append([label, f"{value:.4g}", told_best])
    return Table(["", "final", "best"], rows) if rows else None


def _part_of_an_epoch(trainer: "Trainer", status: str) -> str:
    """How much of the next epoch is kept as well, for one who pressed Ctrl-C."""
    position = trainer.position
    if status != "interrupted" or not position.batches or not position.between_steps:
        return ""
    if position.split == "val":
        return " and the training of the next"
    return f" and {position.batches} of {trainer.num_train_batches} batches of the next"


def _resume(trainer: "Trainer", status: str, folder: Path | None) -> str:
    """How a training is gone on with in Python, if it stopped early and can be."""
    if status not in ("interrupted", "failed"):
        return ""
    if folder is not None:
        can_be = (folder / CHECKPOINT_FILES["last"]).exists()
        return f"trainer.fit(model, data, resume={str(folder)!r})" if can_be else ""
    if status == "failed" or not trainer.position.between_steps:
        return ""
    file = f"{kebab_case(type(trainer.model).__name__)}.pt"
    return f"trainer.save_checkpoint({file!r})\ntrainer.fit(model, data, resume={file!r})"
