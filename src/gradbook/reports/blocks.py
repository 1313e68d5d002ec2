"""What a report consists of, before it is written as a page: sections of texts, tables, figures."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from gradbook.table import Table


@dataclass(frozen=True)
class Text:
    """A paragraph.

    Attributes:
        text: What it says.
        look: "plain"; "verdict" and "problem", which stand out; "note", which is said beside the
            matter; "own", which a learner has written and whose lines stay lines.
    """

    text: str
    look: Literal["plain", "verdict", "problem", "note", "own"] = "plain"
    kind: Literal["text"] = "text"


@dataclass(frozen=True)
class Pairs:
    """Names, and what goes with each."""

    rows: Sequence[tuple[str, str]]
    kind: Literal["pairs"] = "pairs"


@dataclass(frozen=True)
class Rows:
    """A table under its caption; a folded one is seen once a reader opens it."""

    caption: str
    table: Table
    is_folded: bool = False
    kind: Literal["rows"] = "rows"


@dataclass(frozen=True)
class Image:
    """A picture within the page.

    Attributes:
        source: The picture itself, as a data address.
        width: How wide it is at its usual size, in the page's pixels.
        height: How high it is there.
    """

    source: str
    width: int
    height: int


@dataclass(frozen=True)
class Figure:
    """A picture with what it shows in words, and its values as tables that can be opened."""

    image: Image
    caption: str
    alternative: str
    tables: Sequence[Rows] = ()
    kind: Literal["figure"] = "figure"


Block = Text | Pairs | Rows | Figure


@dataclass
class Section:
    """A part of a report under a heading, with further parts in it."""

    title: str
    blocks: list[Block] = field(default_factory=list)
    parts: list["Section"] = field(default_factory=list)
