"""Reports on runs and sweeps: one page each, which a learner hands in and a teacher reads.

`run.py`, `sweep.py`, `comparison.py` and `inspected.py` say what there is to say, as the blocks of
`blocks.py`; `writing.py` makes a page of them with `page.html`, and writes it.
"""

from gradbook.lazy import listing
from gradbook.reports.writing import report

__all__ = ["report"]

__dir__ = listing(__all__)
