"""How far the members of a sweep have come, wherever they are trained: read from their folders."""

import json
import math
import shutil
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gradbook.display.choose import place
from gradbook.display.words import settings_text
from gradbook.errors import CorruptFileError
from gradbook.escape import printable
from gradbook.labels import headline, higher_is_better, is_loss
from gradbook.runs.format import METRICS_FILE
from gradbook.sweeps.members import Member
from gradbook.untrusted import inside, open_file

#: Reading and drawing may take this long, and this part of the time.
_SECONDS, _PART = 0.5, 0.02

#: Of a record that is larger, nothing is shown.
_MAX_BYTES = 1 << 30


class Progress:
    """Shows how a sweep goes on, while it is entered.

    A terminal has one line that changes, a notebook a table of all members; elsewhere there is a
    line for each member that has ended.

    Args:
        members: The members, those included that are done.
        folder: The sweep's folder, for the first line.
        display: Where: "auto", "notebook", "terminal", "lines" or "off".
    """

    def __init__(self, members: Sequence[Member], folder: Path, display: bool | str) -> None:
        self._place = place(display)
        self._watched = [_Watched(member) for member in members]
        self._folder = folder
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._shown: Any = None
        self._lock = threading.Lock()

    def __enter__(self) -> "Progress":
        if self._place == "off":
            return self
        count, ended = len(self._watched), sum(watched.is_ended for watched in self._watched)
        done = f", {ended} of them done" if ended else ""
        print(printable(f"{count} runs in {self._folder}{done}"), flush=True)
        if self._place == "lines":  # which come with `note`
            return self
        self._show()
        self._thread = threading.Thread(target=self._keep_showing, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread is None:
            return
        self._stop.set()
        self._thread.join()
        self._show()
        if self._place == "terminal":
            sys.stdout.write("\n")
            sys.stdout.flush()

    def note(self, index: int, error: str | None) -> None:
        """A member has ended, with an error or without."""
        watched = self._watched[index]
        with self._lock:
            watched.read()
            watched.is_ended, watched.error = True, error
        if self._place == "lines":
            print(printable(f"  {watched.name}: {watched.told}"), flush=True)

    def settle(self) -> None:
        """All have ended, those included of which there was nothing to note."""
        for watched in self._watched:
            watched.is_ended = True

    def _keep_showing(self) -> None:
        pause = _SECONDS
        while not self._stop.wait(pause):
            begun = time.perf_counter()
            self._show()
            pause = max(_SECONDS, (time.perf_counter() - begun) / _PART)

    def _show(self) -> None:
        with self._lock:
            for watched in self._watched:
                if not watched.is_ended:
                    watched.read()
        if self._place == "terminal":
            width = max(20, shutil.get_terminal_size().columns - 1)
            sys.stdout.write("\r\x1b[K" + printable(self._line())[:width])
            sys.stdout.flush()
        elif self._place == "notebook":
            from IPython.display import HTML, display

            html = HTML(self._html())  # type: ignore[no-untyped-call]
            if self._shown is None:
                self._shown = display(html, display_id=True)  # type: ignore[no-untyped-call]
            else:
                self._shown.update(html)

    def _line(self) -> str:
        done = sum(watched.is_ended for watched in self._watched)
        epochs = sum(watched.epochs for watched in self._watched)
        wanted = sum(watched.max_epochs for watched in self._watched)
        text = f"{done} of {len(self._watched)} runs done, {epochs} of {wanted} epochs"
        known = [each for each in self._watched if each.best is not None and each.label]
        if not known:
            return text
        pick = max if higher_is_better(known[0].label or "") else min
        best = pick(known, key=lambda each: each.best)
        return f"{text}, best so far: {best.label} {best.best:.4g} ({best.name})"

    def _html(self) -> str:
        from html import escape

        rows = [
            f"<tr><td>{escape(watched.name)}</td><td>{watched.epochs}/{watched.max_epochs}</td>"
            f"<td>{escape(printable(watched.told))}</td></tr>"
            for watched in self._watched
        ]
        return (
            f"<p>{escape(printable(self._line()))}</p><table><thead><tr><th>run</th><th>epochs</th>"
            f"<th>last</th></tr></thead><tbody>{''.join(rows)}</tbody></table>"
        )


class _Watched:
    """One member as its folder shows it."""

    def __init__(self, member: Member) -> None:
        self.name = printable(settings_text(member.values))
        self.max_epochs = int(member.trainer_arguments.get("max_epochs", 1))
        self.last: dict[str, Any] = {}
        self.best: Any = None
        self.label: str | None = None
        self.error: str | None = None
        self.is_ended, self._folder = member.is_done, member.folder
        self.epochs = self._offset = 0
        self.read()

    def read(self) -> None:
        """Reads what was added to the member's metrics since the last look."""
        try:
            with open_file(inside(self._folder, METRICS_FILE), _MAX_BYTES) as stream:
                stream.seek(self._offset)
                content = stream.read()
        except (OSError, CorruptFileError):  # not begun, or nothing that can be shown
            return
        lines = content.split(b"\n")
        self._offset += len(content) - len(lines[-1])
        for line in lines[:-1]:
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError):
                continue
            x = entry.get("x") if isinstance(entry, dict) else None
            if isinstance(x, int | float) and math.isfinite(x) and entry.get("kind") == "epoch":
                self.epochs = max(self.epochs, int(x))
                self.last[str(entry.get("label"))] = entry.get("y")
        self.label = headline(self.last)
        value = self.last.get(self.label or "")
        if isinstance(value, int | float):
            pick = max if higher_is_better(self.label or "") else min
            self.best = value if self.best is None else pick(self.best, value)

    @property
    def told(self) -> str:
        """What it has reached, or what ended it."""
        if self.error:
            return f"failed: {self.error}"
        values = [
            f"{label} {value:.4g}"
            if isinstance(value, int | float)
            else f"{label} {'diverged' if is_loss(label) else 'nan'}"
            for label, value in self.last.items()
        ]
        return ", ".join(values) or "waiting"
