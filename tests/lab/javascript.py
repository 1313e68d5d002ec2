"""The texts that stand in a JavaScript file: enough of the language to find them."""

import re
from typing import NamedTuple

#: After these, a slash begins a regular expression, and is no division.
_BEFORE_REGEX = set("(,=:[!&|?{};+\n") | {""}


class Literal(NamedTuple):
    """A text in the code.

    Attributes:
        text: What it says; of a template, what stands between its parts, which are written `${}`.
        before: The code before it, without comments, on the same line or the one above.
        line: Its line, from 1.
    """

    text: str
    before: str
    line: int


def literals(code):
    """All texts of a file, those within templates too."""
    found = []
    _scan(code, 0, found, "")
    return sorted(found, key=lambda literal: literal.line)


def _scan(code, at, found, end):
    """Reads code up to `end`; returns where that stands."""
    seen = ""
    while at < len(code):
        char = code[at]
        if char == end and end:
            return at
        if code.startswith("//", at):
            at = code.find("\n", at) if "\n" in code[at:] else len(code)
        elif code.startswith("/*", at):
            at = code.index("*/", at) + 2
        elif char == "/" and (seen.rstrip(" ")[-1:] or "") in _BEFORE_REGEX:
            at = re.compile(r"/(?:\\.|\[(?:\\.|[^\]\\])*\]|[^/\\\n])+/\w*").match(code, at).end()
            seen += "/"
        elif char in "\"'":
            match = re.compile(rf"{char}((?:\\.|[^{char}\\])*){char}").match(code, at)
            found.append(Literal(match[1], _before(seen), code.count("\n", 0, at) + 1))
            at, seen = match.end(), seen + '""'
        elif char == "`":
            place, before = at, _before(seen)
            at, text = _template(code, at + 1, found)
            found.append(Literal(text, before, code.count("\n", 0, place) + 1))
            seen += '""'
        elif char == "{":
            at = _scan(code, at + 1, found, "}") + 1 if end else at + 1
            seen += "{}" if end else "{"
        else:
            at, seen = at + 1, seen + char
    return at


def _template(code, at, found):
    text = ""
    while code[at] != "`":
        if code.startswith("${", at):
            at = _scan(code, at + 2, found, "}") + 1
            text += "${}"
        elif code[at] == "\\":
            text, at = text + code[at : at + 2], at + 2
        else:
            text, at = text + code[at], at + 1
    return at + 1, text


def _before(seen):
    return "\n".join(seen.split("\n")[-2:])
