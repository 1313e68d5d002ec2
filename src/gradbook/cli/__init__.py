"""The command `gradbook`: train, data, doctor."""

from gradbook.cli.entry import main

__all__ = ["main"]
