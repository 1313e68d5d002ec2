"""The command `gradbook`."""

from gradbook.cli.entry import main

__all__ = ["main"]
