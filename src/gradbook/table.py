"""A table that a terminal and a notebook show alike, and rows as a DataFrame."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gradbook.escape import on_one_line

if TYPE_CHECKING:
    import pandas

#: How the cell of a number begins, or the whole cell where there is none.
_NUMBER = re.compile(r"[-+]?(\.?\d|(nan|inf)\b)|[-?]$", re.IGNORECASE)


@dataclass(frozen=True, repr=False)
class Table:
    """Rows of text under a heading. Numbers stand on the right, words on the left.

    Attributes:
        heading: The names of the columns.
        rows: The rows, each with a cell for every column.
    """

    heading: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __repr__(self) -> str:
        lines = [list(map(on_one_line, line)) for line in (self.heading, *self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        signs = [">" if side == "right" else "<" for side in self._sides()]
        forms = [f"{sign}{width}" for sign, width in zip(signs, widths, strict=True)]
        return "\n".join("  ".join(map(format, line, forms)).rstrip() for line in lines)

    def _repr_html_(self) -> str:
        from html import escape  # only in a notebook: importing gradbook stays light

        sides = self._sides()

        def line(tag: str, cells: Sequence[str]) -> str:
            shown = (
                f'<{tag} style="text-align: {side}">{escape(on_one_line(cell))}</{tag}>'
                for cell, side in zip(cells, sides, strict=True)
            )
            return f"<tr>{''.join(shown)}</tr>"

        body = "\n".join(line("td", row) for row in self.rows)
        return f"<table><thead>{line('th', self.heading)}</thead>\n<tbody>{body}</tbody></table>"

    def is_numeric(self, column: int) -> bool:
        """Whether all cells of a column, given by its place, are numbers."""
        return all(_NUMBER.match(row[column]) for row in self.rows)

    def _sides(self) -> list[str]:
        places = range(len(self.heading))
        return ["right" if self.is_numeric(place) else "left" for place in places]


def data_frame(
    rows: Sequence[Mapping[str, Any]],
    index: str | None = None,
    columns: list[str] | None = None,
) -> "pandas.DataFrame":
    """Rows as a DataFrame.

    Args:
        rows: The rows, by the names of their columns.
        index: The column that becomes the index, if any.
        columns: The columns and their order; None takes those of the rows.
    """
    import pandas as pd

    frame = pd.DataFrame(rows, columns=columns)
    return frame if index is None else frame.set_index(index)
