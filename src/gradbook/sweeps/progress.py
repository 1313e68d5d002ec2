"""A sweep while it is trained: a bar, the time left, and a table that fills."""

import contextvars
import math
import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradbook.display.block import Block
from gradbook.display.choose import place
from gradbook.display.progress import duration
from gradbook.display.words import settings_text, value_text
from gradbook.errors import told
from gradbook.escape import on_one_line, printable
from gradbook.labels import headline, higher_is_better
from gradbook.sweeps.member_results import SettingResult, with_spread
from gradbook.sweeps.members import Member
from gradbook.sweeps.watched import Watched
from gradbook.table import Table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.segment import Segment

#: A notebook's output is updated at most so often, and takes at most this part of the time.
_SECONDS, _PART = 0.5, 0.02

#: A notebook has so many rows at most: the best ones.
_MOST_ROWS = 100

#: Of so many trainings that go on at once it is said which they are.
_MOST_NAMED = 4


class Progress:
    """Shows how a sweep goes on, while it is entered.

    A terminal has a bar, the time left and a table that fills, redrawn in place; a notebook has the
    same in one output. Elsewhere there is a line for each member that has ended.

    Args:
        members: The members, those included that are done.
        settings: For each the place of its setting, which those with other seeds have as well.
        folder: The sweep's folder, for the first line.
        display: Where: "auto", "notebook", "terminal", "lines" or "off".
        names: What is swept, without the seed.
        values_in: Of a search, in which a setting is known only when its training has begun: what
            the facts of a run tell of it.
        is_told_after: Whether the table comes afterwards anyway, so that it need not stay here.
        console, clock: As for a `Block`.

    Attributes:
        lock: Held while what is shown is changed, and while it is read.
        status: How the sweep ended, if it has.
    """

    def __init__(
        self,
        members: Sequence[Member],
        settings: Sequence[int],
        folder: Path,
        display: bool | str,
        names: Sequence[str],
        *,
        values_in: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None,
        is_told_after: bool = False,
        console: "Console | None" = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        # A display that has no progress of its own for sweeps gets their lines.
        where = place(display)
        self._place = where if where in ("notebook", "terminal", "off") else "lines"
        self._folder, self._names = folder, names
        self._is_search, self._is_told_after = values_in is not None, is_told_after
        self._clock, self.lock = clock, threading.Lock()
        self.status: str | None = None
        self._watched: dict[int, Watched] = {}
        self._rows: dict[int, list[Watched]] = {}
        for member, setting in zip(members, settings, strict=True):
            watched = self._watched[member.index] = Watched(member, setting, values_in)
            self._rows.setdefault(setting, []).append(watched)
        self._has_seeds = len(self._rows) < len(self._watched)
        #: What is trained as one.
        self._groups: list[list[Watched]] = []
        #: The mean of the best setting that has come to its end, and its place.
        self._best: tuple[float, int] | None = None
        for setting in self._rows:
            self._rank(setting)
        self._begin = self._begin_of_trainings = self._part_before = 0.0
        self._is_entered = self._is_begun = False
        self._block = _SweepBlock(self, console=console, clock=clock)
        self._stop, self._thread = threading.Event(), threading.Thread()
        self._shown: Any = None

    def __enter__(self) -> "Progress":
        if self._place == "off":
            return self
        self._begin = self._begin_of_trainings = self._clock()
        self._part_before, self._is_entered = self.part(), True
        done = f", {self._num_ended()} of them done" if self._num_ended() else ""
        print(printable(f"{len(self._watched)} runs in {self._folder}{done}"), flush=True)
        if self._place == "terminal":
            self._block.begin()
        elif self._place == "notebook":
            self._show()
            # With the context, by which a kernel knows whose cell a thread's output belongs to.
            keep_showing = partial(contextvars.copy_context().run, self._keep_showing)
            self._thread = threading.Thread(target=keep_showing, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        stopped = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        with self.lock:
            self.status = "finished" if error is None else stopped
        if self._place == "terminal":
            self._block.has_table = not self._is_told_after or self.status == "failed"
            self._block.end()
        elif self._place == "notebook":
            self._stop.set()
            if self._thread.is_alive():
                self._thread.join()
            self._show()

    # What the sweep tells

    def train_together(self, groups: Sequence[Sequence[Member]]) -> None:
        """Members will be trained in these groups, each as one."""
        several = [group for group in groups if len(group) > 1]
        with self.lock:
            self._groups = [[self._watched[one.index] for one in group] for group in several]
        if self._place == "lines":
            for group in several:
                print(f"  {len(group)} of them are trained as one, and end together", flush=True)

    def end(self, results: Sequence[Mapping[str, Any]]) -> None:
        """Members have ended, at the same time; or had ended, before this is entered.

        Args:
            results: For each its "index" and the "error" that ended it, or None; of a search also
                whether it was "pruned", and the "values" that it was given.
        """
        ended = [self._watched[result["index"]] for result in results]
        new = [watched for watched in ended if not watched.is_ended]
        with self.lock:
            for watched, result in zip(ended, results, strict=True):
                watched.end(**{name: value for name, value in result.items() if name != "index"})
            for setting in {watched.setting for watched in ended}:
                self._rank(setting)
        for number, watched in enumerate(new, start=self._num_ended() - len(new) + 1):
            self._print(number, watched, is_last=watched is new[-1])

    def end_setting(self, setting: int, repeats: Mapping[str, Any] | None = None) -> None:
        """What has not begun of a setting will not, as it was pruned before, or `repeats` one."""
        with self.lock:
            rest = [watched for watched in self._rows[setting] if not watched.is_ended]
            for watched in rest:
                watched.drop(repeats)
            self._rank(setting)
        if repeats is not None and rest:
            self._print(self._num_ended(), rest[-1], is_last=True)

    def _print(self, number: int, watched: Watched, is_last: bool) -> None:
        """A line for a member that has ended; for the last of those at once, with the time."""
        if self._place != "lines" or not self._is_entered:
            return
        name = self._name(watched, has_seed=watched.repeats is None)
        text = f"  {number}/{len(self._watched)}  {name}: {watched.told}"
        if self._best is not None and self._best[1] == watched.setting:
            text += ", the best so far"
        if is_last:
            now, left = self._times()
            text += f" ({now}{left and f', about {left} left'})"
        print(printable(text), flush=True)

    # What there is to tell

    def read(self) -> None:
        """Reads what the members have recorded since the last time."""
        for watched in self._watched.values():
            if watched.is_ended:
                continue
            was_through = watched.is_through
            watched.read()
            if watched.is_through and not was_through:
                self._rank(watched.setting)
            if watched.is_begun and not self._is_begun:  # what comes before is no training
                self._begin_of_trainings, self._is_begun = self._clock(), True

    def part(self) -> float:
        """How much of all epochs is behind us, from 0 to 1."""
        wanted = sum(watched.max_epochs for watched in self._watched.values())
        return sum(watched.epochs_behind for watched in self._watched.values()) / max(wanted, 1)

    def texts(self) -> list[str]:
        """How many runs are done, the time gone by and left, and the best setting so far."""
        now, left = self._times()
        num_through = sum(watched.is_through for watched in self._watched.values())
        texts = [f"{num_through}/{len(self._watched)} runs"]
        texts += [self.status] if self.status else []
        texts.append(f"{now} < {left}" if left else now)
        if self._best is not None:
            mean, setting = self._best
            first = self._rows[setting][0]
            name = f"trial {setting + 1}" if self._is_search else self._name(first, has_seed=False)
            texts.append(on_one_line(f"best: {name} ({headline(first.last)} {mean:.4g})"))
        return texts

    def trained(self) -> str:
        """What is trained now, in a line, or nothing."""
        left = [watched for watched in self._watched.values() if not watched.is_through]
        if self.status is not None or not left:
            return ""
        told = []
        running = [watched for watched in left if watched.is_running]
        for group in self._groups:
            ours = [watched for watched in group if watched in running]
            if len(ours) > 1:
                told.append(f"{len(ours)} runs as one, {_least(ours).epoch}")
                running = [watched for watched in running if watched not in ours]
        told += [f"{self._name(watched)}, {watched.epoch}" for watched in running]
        more = [f"{len(told) - _MOST_NAMED} more"] if len(told) > _MOST_NAMED else []
        told = told[:_MOST_NAMED] + more
        return on_one_line(f"training {'; '.join(told)}") if told else "preparing ..."

    def table(self, most: int) -> tuple[Table, int]:
        """The table, of at most so many rows, and how many there are besides.

        They come in the order of the settings, as in the sweep's table, where there is room for
        all; otherwise those with the best values come, the best first.
        """
        label = headline(label for watched in self._watched.values() for label in watched.last)
        # A search has no more to show of what it has not begun than that.
        every = [row for row in self._rows.items() if row[1][0].values or not self._is_search]
        rows = every
        if len(rows) > most:
            rows = sorted(rows, key=lambda row: _rank_of(row[1], label))[: max(most, 0)]
        heading = [*(["trial"] if self._is_search else []), *(self._names or ["setting"])]
        heading += [] if label is None else [f"best {label}", f"last {label}"]
        cells = []
        for setting, members in rows:
            values = members[0].values
            row = [str(setting + 1)] if self._is_search else []
            row += [value_text(values[n]) if n in values else "" for n in self._names]
            row += [] if self._names else ["as it is"]
            if label is not None:
                begun = [watched for watched in members if watched.last]
                for means in ([one.best for one in begun], [one.last for one in begun]):
                    row.append(with_spread([mean.get(label, math.nan) for mean in means]))
            cells.append([*row, self._state(members)])
        heading.append("verdict" if self.status else "state")
        return Table(heading, cells), len(every) - len(rows)

    def table_lines(self, most: int) -> list[str]:
        """The table as at most so many lines."""
        table, others = self.table(most - 1)
        if others:
            table, others = self.table(most - 2)
        return [*repr(table).splitlines(), *[f"... and {others} more"] * bool(others)]

    def _num_ended(self) -> int:
        return sum(watched.is_ended for watched in self._watched.values())

    def _name(self, watched: Watched, has_seed: bool = True) -> str:
        """A member by what it was given, as far as that is known."""
        given = {name: watched.values[name] for name in self._names if name in watched.values}
        if has_seed and self._has_seeds:
            given["seed"] = watched.seed
        trial = [f"trial {watched.setting + 1}"] if self._is_search else []
        return ": ".join(filter(None, [*trial, settings_text(given)])) or "as it is"

    def _times(self) -> tuple[str, str]:
        """The time gone by, and the time left, empty if it is not known."""
        now, part = self._clock(), self.part()
        done = part - self._part_before
        if done <= 0 or part >= 1 or self.status is not None:
            return duration(now - self._begin), ""
        left = (now - self._begin_of_trainings) / done * (1 - part)
        return duration(now - self._begin), duration(left)

    def _rank(self, setting: int) -> None:
        """Looks whether a setting is the best so far, if all its trainings came to their end."""
        members = self._rows[setting]
        label = headline(members[0].last)
        if label is None or not all(watched.is_able for watched in members):
            return
        mean = statistics.fmean(watched.last.get(label, math.nan) for watched in members)
        sign = 1 if higher_is_better(label) else -1
        is_best = self._best is None or sign * mean > sign * self._best[0]
        if math.isfinite(mean) and is_best:
            self._best = mean, setting

    def _state(self, members: Sequence[Watched]) -> str:
        """How far a setting is, or the verdict on it."""
        ended = [watched for watched in members if watched.is_ended]
        if self.status is not None or len(ended) == len(members):
            if members[0].repeats is not None:
                return "tried before"
            return SettingResult({}, [one.result for one in members if not one.is_dropped]).verdict
        running = [watched for watched in members if watched.is_running]
        told = [_least(running).epoch] if running else []
        told += [f"{len(ended)} of {len(members)} done"] if ended else []
        return ", ".join(told) or "waiting"

    # A notebook

    def _keep_showing(self) -> None:
        pause = _SECONDS
        while not self._stop.wait(pause):
            begun = time.thread_time()
            self._show()
            pause = max(_SECONDS, (time.thread_time() - begun) / _PART)

    def _show(self) -> None:
        from IPython.display import display

        try:
            bundle = self._bundle()
        except Exception as error:  # hours of training are worth more than their table
            bundle = {"text/plain": f"the table cannot be shown: {told(error)}"}
        if self._shown is None:
            self._shown = display(bundle, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._shown.update(bundle, raw=True)

    def _bundle(self) -> dict[str, str]:
        """HTML, and words where that cannot be shown."""
        with self.lock:
            self.read()
            table, others = self.table(_MOST_ROWS)
            above = [", ".join(self.texts()), *filter(None, [self.trained()])]
            below = [f"... and {others} more"] * bool(others)
            bar = f'<progress value="{self.part():.3f}" max="1"></progress> '
            html = [bar, "<br>".join(map(escape, above)), table._repr_html_(), *below]
            words = [*above, repr(table), *below]
        return {"text/html": f"<div>{''.join(html)}</div>", "text/plain": "\n".join(words)}


class _SweepBlock(Block):
    """The table, what is trained, and the bar, in a terminal.

    Attributes:
        has_table: Whether the table is drawn.
    """

    def __init__(self, progress: Progress, **options: Any) -> None:
        super().__init__(**options)
        self._progress, self.has_table = progress, True

    def begin(self) -> None:
        """Draws it from now on."""
        self._begin_drawing()

    def end(self) -> None:
        """Draws it for the last time."""
        self._end_drawing()

    def _lines(self, width: int, height: int) -> list[list["Segment"]]:
        from rich.segment import Segment

        shown, color = self._progress, {"failed": "red", "interrupted": "yellow"}
        try:
            with shown.lock:
                shown.read()
                lines = shown.table_lines(height - 1) if self.has_table else []
                lines += filter(None, [shown.trained()])
                drawn = [[Segment(text)] for text in lines]
                style = color.get(shown.status or "", "green")
                drawn.append(self._drawn_bar(shown.texts(), shown.part(), width, style))
        except Exception as error:  # hours of training are worth more than their table
            drawn = [[Segment(on_one_line(f"the table cannot be drawn: {told(error)}"))]]
        return [Segment.adjust_line_length(line, width, pad=False) for line in drawn]


def _least(running: Sequence[Watched]) -> Watched:
    """The one that has come the least far."""
    return min(running, key=lambda watched: watched.epochs)


def _rank_of(members: Sequence[Watched], label: str | None) -> tuple[int, float]:
    """What sorts settings: those with a value by their last one, what diverged behind all."""
    values = [one.last[label] for one in members if label is not None and label in one.last]
    mean = statistics.fmean(values) if values else math.inf
    if not math.isfinite(mean):
        return 2 if values else 1, 0.0
    return 0, -mean if label is not None and higher_is_better(label) else mean
