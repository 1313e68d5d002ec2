"""A table that a terminal and a notebook show alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True, repr=False)
class Table:
    """Rows of text under a heading.

    Attributes:
        heading: The names of the columns.
        rows: The rows, each with a cell for every column.
        num_texts: How many columns, from the left, are words; the others are numbers.
    """

    heading: Sequence[str]
    rows: Sequence[Sequence[str]]
    num_texts: int = 1

    def __repr__(self) -> str:
        lines = [self.heading, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join(
                cell.ljust(width) if column < self.num_texts else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        )

    def _repr_html_(self) -> str:
        body = "\n".join(self._html_row("td", row) for row in self.rows)
        head = self._html_row("th", self.heading)
        return f"<table><thead>{head}</thead>\n<tbody>{body}</tbody></table>"

    def _html_row(self, tag: str, cells: Sequence[str]) -> str:
        sides = ["left"] * self.num_texts + ["right"] * (len(cells) - self.num_texts)
        return (
            "<tr>"
            + "".join(
                f'<{tag} style="text-align: {side}">{escape(cell)}</{tag}>'
                for cell, side in zip(cells, sides, strict=True)
            )
            + "</tr>"
        )
