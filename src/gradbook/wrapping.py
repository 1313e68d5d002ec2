"""Text whose lines end at words: in a terminal, in a notebook, and in HTML."""

import os
import re
import sys
import textwrap
from typing import Any

#: Longer lines are hard to read, however wide a terminal is.
_MAX_WIDTH = 100

#: The width where nobody tells one: of a layout that needs one, and of what is printed in a
#: notebook, whose kernel cannot know how wide the page is.
USUAL_WIDTH = 80

#: What begins a line, and what the lines that go on with it begin with: spaces, and a name with
#: two spaces or more after it.
_HEAD = re.compile(r" *(\S+(?: \S+)? {2,})?")

#: Where columns meet.
_GAP = re.compile(r"\S {2,}(?=\S)")

#: What a shell is to be given, at the end of a line: a command, or options to add to one.
_COMMAND = re.compile(r"(?:(?:^|: | {2,})(?=gradbook |pip )|(?<=add: )(?=--))((?!.*\.( |$)).+)")

#: Its words, whatever is quoted in them, each option together with its value.
_WORD = r"""(?:'[^']*'|"[^"]*"|[^\s'"])+"""
_WORDS = re.compile(rf"--[\w-]+ (?!--){_WORD}|{_WORD}")

#: What a text quotes.
_QUOTED = re.compile(r"`[^`\n]*`")


def columns(stream: Any = None) -> int | None:
    """How many characters fit on a line, at most 100; None where that is nobody's to say.

    It is what COLUMNS says, or the terminal's width, or 80 in a notebook. What goes into a file
    or another program has no width.

    Args:
        stream: Where the text goes; None is standard output.
    """
    stream = sys.stdout if stream is None else stream
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given):
        return min(int(given), _MAX_WIDTH)
    try:
        if stream.isatty():  # asked first: a kernel's stream has the terminal of its server
            return min(os.get_terminal_size(stream.fileno()).columns, _MAX_WIDTH) or None
    except (AttributeError, OSError, ValueError):  # none, closed, or it only looks like one
        pass
    get_ipython = getattr(sys.modules.get("IPython"), "get_ipython", None)
    shell = get_ipython and get_ipython()
    return USUAL_WIDTH if getattr(shell, "kernel", None) is not None else None


def wrapped(text: str, width: int | None) -> str:
    """A text with lines of at most `width` characters, as far as its words allow.

    A line goes on below its own beginning or, after a name and two spaces, below what follows
    these. A table's row stays whole, because its parts would stand in no column. A command at the
    end of a line stays fit to be copied: it has lines of its own, each continued as a shell does.

    Args:
        text: The text.
        width: In characters; None leaves it as it is.
    """
    if width is None:
        return text
    return "\n".join(part for line in text.split("\n") for part in _broken(line, width))


def _broken(line: str, width: int) -> list[str]:
    head = _HEAD.match(line)
    assert head is not None
    if len(line) <= width:
        return [line]
    margin = " " * (head.end() if head[1] is not None else head.end() + 2)
    if command := _COMMAND.search(line):
        before, parts = line[: command.start(1)], _command_lines(command[1], width - len(margin))
        above = (
            _broken(before.rstrip(), width) if before.strip() and head.end() < len(before) else []
        )
        first = margin if above else before
        return [*above, first + parts[0], *(margin + part for part in parts[1:])]
    if len(_GAP.findall(line)) > (head[1] is not None):
        return [line]
    return broken_at_words(line, width, margin) or [line]


def _command_lines(command: str, width: int) -> list[str]:
    """A command as lines that can be pasted together: a backslash continues each but the last."""
    if os.name == "nt":  # its shells continue lines in ways of their own
        return [command]
    lines = [""]
    for word in _WORDS.findall(command):
        if lines[-1] and len(f"{lines[-1]} {word} \\") > width:
            lines[-1] += " \\"
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return lines


def broken_at_words(text: str, width: int, margin: str = "") -> list[str]:
    """A paragraph in lines of at most `width` characters.

    A longer word or path stays whole, and so does what stands in backquotes.
    """
    lines = textwrap.wrap(
        _QUOTED.sub(lambda quoted: quoted[0].replace(" ", "\0"), text),
        width,
        subsequent_indent=margin,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace("\0", " ") for line in lines]


def page(text: str) -> str:
    """A text for a page of its own, such as what a command says: 80 columns without a terminal."""
    return wrapped(text, columns() or USUAL_WIDTH)


def html_text(text: str) -> str:
    """A text as HTML: its lines stay lines, and long ones end at words where the page ends."""
    from html import escape

    # JupyterLab breaks within words otherwise.
    style = "margin: 0; white-space: pre-wrap; overflow-wrap: break-word; word-break: normal"
    return f'<pre style="{style}">{escape(text)}</pre>'
