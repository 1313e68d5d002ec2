"""What the server knows, for all that answer requests."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gradbook.lab.catalogue import Catalogue
from gradbook.lab.feed import Feed


@dataclass
class Lab:
    """What the server knows.

    Attributes:
        root: The folder of the runs.
        classes: The learner's own models and data sets as the command line named them, such as
            "my_file.py:MyNet". Only these are ever loaded; no request names code.
        catalogue: The runs.
        feed: What is new for each page.
        at_end: What is awaited when the server ends, as the end of its workers.
    """

    root: Path
    classes: Sequence[str] = ()
    catalogue: Catalogue = field(init=False)
    feed: Feed = field(init=False)
    at_end: list[Callable[[], Awaitable[None]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.catalogue = Catalogue(self.root)
        self.feed = Feed(self.catalogue)
