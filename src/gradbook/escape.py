"""Texts that a terminal shows, and never obeys."""

#: Line ends and tabs, spaces that do not break or are wide, and the two joiners.
_HARMLESS = "\n\t\u00a0\u202f\u3000\u200c\u200d"


def printable(text: str) -> str:
    """A text without control characters: what is shown may come from anywhere.

    Lines stay lines, and spaces and joiners that scripts need stay what they are.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in _HARMLESS else ascii(char)[1:-1] for char in text
    )


def on_one_line(text: str) -> str:
    """The same for a name, which must not look like a line or a row of its own."""
    return printable(text).replace("\n", r"\n").replace("\t", r"\t")
