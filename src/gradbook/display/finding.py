"""What an experiment found: words, and a figure that shows why."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from gradbook.display.file import PICTURE_KINDS, check_picture_names, save_figure
from gradbook.display.images import show
from gradbook.errors import ConfigError
from gradbook.escape import printable
from gradbook.storage import finite, write_atomically
from gradbook.untrusted import inside
from gradbook.wrapping import columns, html_text, wrapped

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Finding(ABC):
    """The base of results that are told in words and drawn.

    As the last line of a notebook's cell, a finding shows its figure and its words; printed, its
    words.
    """

    @abstractmethod
    def _words(self) -> str:
        """The findings in a few lines, plain numbers with their units."""

    @abstractmethod
    def figure(self) -> "Figure":
        """Draws it: a new figure, which pyplot does not know of."""

    def _plain(self, *names: str) -> dict[str, Any]:
        """Attributes by name, as plain values for JSON: tuples as lists."""
        values = {name: getattr(self, name) for name in names}
        return {n: list(v) if isinstance(v, tuple) else v for n, v in values.items()}

    @property
    def words(self) -> str:
        """The findings in words, with lines of any length; printed, they are broken at words."""
        return printable(self._words())

    def __str__(self) -> str:
        return wrapped(self.words, columns())

    def __repr__(self) -> str:
        return str(self)

    def save(self, *paths: Path | str) -> None:
        """Saves the figure in files.

        Args:
            paths: The files; their names end in .svg or .png.

        Raises:
            ConfigError: If a name ends in something else.
            StorageError: If a file cannot be written.
        """
        files = [Path(path) for path in paths]
        check_picture_names(files)
        save_figure(self.figure(), files)

    def _repr_html_(self) -> str:
        return html_text(self.words)

    def _ipython_display_(self) -> None:
        figures = []
        with suppress(ConfigError):  # there is nothing to draw yet
            figures.append(self.figure())
        show(self, figures)


class Report(Finding):
    """What a watcher saw of a training. It is false while there is nothing to tell.

    Attributes:
        name: That of the watcher, and so of the files that a run keeps.
    """

    name: ClassVar[str]

    @abstractmethod
    def __bool__(self) -> bool: ...

    @abstractmethod
    def summary(self) -> str:
        """What is wrong, in a few words."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What was seen as plain values, for JSON; NaN stays NaN."""

    @property
    def has_figure(self) -> bool:
        """Whether there is anything to draw."""
        return True

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of it: all attributes, which are plain values or tensors.

        A report that has others says here and in `load_state_dict` what stands for them.
        """
        return vars(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what was seen of the epochs before a training was resumed.

        It is called when the watcher has been opened. `state` is a copy of the report's own.
        """
        vars(self).update({name: state[name] for name in vars(self)})

    def keep(self, folder: Path) -> None:
        """Writes what was seen into the folder of a run: NAME.svg, .png and .json.

        Raises:
            StorageError: If a file cannot be written.
        """
        if self.has_figure:
            self.save(*(inside(folder, f"{self.name}.{kind}") for kind in PICTURE_KINDS))
        text = json.dumps(finite(self.facts()), allow_nan=False, indent=1) + "\n"
        write_atomically(inside(folder, f"{self.name}.json"), text.encode())
