"""The lines of a metrics.jsonl: each verified, all of them kept as columns of numbers.

A long training records some hundred thousand lines. Those that are written as gradbook writes them
are verified many at a time; any other line is looked at alone, and says what is wrong with it.
"""

import json
import re
import zlib
from array import array
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, NoReturn, overload

from gradbook.errors import CorruptFileError
from gradbook.record import Metric
from gradbook.untrusted import parsed, reason_of

Kind = Literal["point", "epoch"]

#: So many bytes are verified at a time.
_CHUNK_BYTES = 1 << 18

#: What comes before and after a line's CRC.
_BEFORE_CRC, _AFTER_CRC = ',"crc":"', '"}'
_CRC_BYTES = len(_BEFORE_CRC) + 8 + len(_AFTER_CRC)

# Numbers of fewer digits than may be refused, and labels without what JSON would escape.
_NUMBER = r'(-?(?:0|[1-9]\d{0,16})(?:\.\d+)?(?:e[+-]\d+)?|"NaN"|"-?Infinity")'
_PLAIN = re.compile(
    rf'^(\{{"kind":"(?:point|epoch)","label":"[ !#-\[\]-~]*"),"x":{_NUMBER},"y":{_NUMBER}'
    rf"{_BEFORE_CRC}([0-9a-f]{{8}}){_AFTER_CRC}$".encode(),
    re.MULTILINE,
)

# Made once, because json.dumps() would make one for each line.
canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode


class Values(Sequence[Metric]):
    """Recorded values, oldest first: as a list of `Metric`, but in little memory.

    Attributes:
        names: Which kinds and labels there are.
        name: The place of each value's kind and label among them.
        x, y: Where each value stands, and the value itself.
    """

    def __init__(self, names: Sequence[tuple[Kind, str]] = ()) -> None:
        self.names = names
        self.name, self.x, self.y = array("l"), array("d"), array("d")

    def __len__(self) -> int:
        return len(self.name)

    @overload
    def __getitem__(self, index: int) -> Metric: ...
    @overload
    def __getitem__(self, index: slice) -> list[Metric]: ...
    def __getitem__(self, index: int | slice) -> Metric | list[Metric]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        kind, label = self.names[self.name[index]]
        return Metric(label, self.x[index], self.y[index], kind)

    def __eq__(self, other: object) -> bool:
        return list(self) == (list(other) if isinstance(other, Values) else other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(list(self))

    def rows(self) -> list[dict[str, float]]:
        """The means of each epoch, as a history has them."""
        labels = [label if kind == "epoch" else None for kind, label in self.names]
        rows: dict[float, dict[str, float]] = {}
        for name, x, y in zip(self.name, self.x, self.y, strict=True):
            label = labels[name]
            if label is not None:
                if x not in rows:
                    rows[x] = {"epoch": int(x) if x.is_integer() else x}
                rows[x][label] = y
        return list(rows.values())

    def points(self) -> dict[str, "Values"]:
        """The points of the board, by label."""
        found: dict[str, Values] = {}
        for name, x, y in zip(self.name, self.x, self.y, strict=True):
            kind, label = self.names[name]
            if kind == "point":
                if label not in found:
                    found[label] = Values([(kind, label)])
                one = found[label]
                one.name.append(0)
                one.x.append(x)
                one.y.append(y)
        return found


class Lines:
    """The lines of a metrics.jsonl that have an end, after each was verified.

    Args:
        path: The file, for messages.
        content: Its first lines, as `add` takes them.
    """

    def __init__(self, path: Path, content: bytes = b"") -> None:
        self._path = path
        # Of each line: what is recorded, as its number in a list; the values; and its CRC.
        self._names: dict[tuple[Kind, str], int] = {}
        self._heads: dict[bytes, int] = {}
        self._name, self._x, self._y = array("l"), array("d"), array("d")
        self._crc = array("L")
        self._events: dict[int, int] = {}
        self.add(content)

    def add(self, content: bytes) -> None:
        """Verifies and adds the lines that follow, each with its end.

        Raises:
            CorruptFileError: If one is damaged; the message names the first. Those before it are
                added.
        """
        start = 0
        while start < len(content):
            end = content.rfind(b"\n", start, start + _CHUNK_BYTES) + 1
            end = end or content.index(b"\n", start) + 1
            chunk = content[start:end].split(b"\n")[:-1]
            if not self._add_plain(content[start:end], chunk):
                for line in chunk:
                    self._add(line)
            start = end

    def __len__(self) -> int:
        return len(self._crc)

    def crc(self, num_lines: int) -> str:
        """The CRC of the last of so many lines; an empty text for none."""
        return f"{self._crc[num_lines - 1]:08x}" if num_lines else ""

    def is_superseded(self, num_lines: int) -> bool:
        """Whether a later line says that a resumed training records some of these anew."""
        return any(line >= num_lines for line in self._events)

    def values(self, num_lines: int, first: int = 0) -> "Values":
        """The values that count after so many lines.

        Args:
            num_lines: The number of lines.
            first: Without so many first lines; no later one may supersede any.
        """
        values = Values(list(self._names))
        for part in self._kept(num_lines) if first == 0 else [slice(first, num_lines)]:
            values.name += self._name[part]
            values.x += self._x[part]
            values.y += self._y[part]
        return values

    def _kept(self, num_lines: int) -> list[slice]:
        """The lines that count: from the last backward, each "resume" is a leap."""
        parts = []
        events = sorted(line for line in self._events if line < num_lines)
        end = num_lines
        while end > 0:
            while events and events[-1] >= end:
                events.pop()
            begin = events[-1] + 1 if events else 0
            parts.append(slice(begin, end))
            end = self._events[events[-1]] if events else 0
        return parts[::-1]

    def _add_plain(self, content: bytes, lines: list[bytes]) -> bool:
        """Adds lines if all are written as gradbook writes values, and whole."""
        found = _PLAIN.findall(content)
        if len(found) != len(lines):
            return False
        heads, xs, ys, crcs = zip(*found, strict=True)
        texts = b"[%b,%b]" % (b",".join(xs), b",".join(ys))
        values = json.loads(texts)
        try:
            if canonical(values).encode() != texts:
                return False  # a number that Python would write in another way
        except ValueError:  # or one that is too large
            return False
        before = (self.crc(len(self)).encode(), *crcs)
        told = [int(crc, 16) for crc in crcs]
        pairs = zip(before, lines, strict=False)
        if told != [zlib.crc32(b"%b%b}" % (crc, line[:-_CRC_BYTES])) for crc, line in pairs]:
            return False
        for head in dict.fromkeys(heads):
            if head not in self._heads:
                entry = json.loads(head + b"}")
                self._heads[head] = self._number_of(entry["kind"], entry["label"])
        self._name.extend(map(self._heads.__getitem__, heads))
        self._x.extend(map(float, values[: len(lines)]))
        self._y.extend(map(float, values[len(lines) :]))
        self._crc.extend(told)
        return True

    def _add(self, line: bytes) -> None:
        """Adds one line, whatever it is, or says what is wrong with it."""
        index = len(self)
        try:
            entry = parsed(line)
            validate("metric.schema.json", entry)
            body = canonical({key: value for key, value in entry.items() if key != "crc"})
            crc = crc_of(self.crc(index), body)
            if entry["crc"] != crc:
                raise ValueError("the line, or one before it, was changed, removed or inserted")
            if entry.get("lines", 0) > index:
                raise ValueError("it resumes after a line that comes later")
        except (ValueError, RecursionError) as error:
            report_line(self._path, index + 1, reason_of(error))
        if "event" in entry:
            self._events[index] = entry["lines"]
            name, x, y = 0, 0.0, 0.0
        else:
            name = self._number_of(entry["kind"], entry["label"])
            x, y = float(entry["x"]), float(entry["y"])
        self._name.append(name)
        self._x.append(x)
        self._y.append(y)
        self._crc.append(int(crc, 16))

    def _number_of(self, kind: Kind, label: str) -> int:
        return self._names.setdefault((kind, label), len(self._names))


def with_crc(before: str, entry: dict[str, Any]) -> tuple[str, bytes]:
    """The CRC of a line that follows one with the CRC `before`, and the line."""
    body = canonical(entry)
    crc = crc_of(before, body)
    return crc, f"{body[:-1]}{_BEFORE_CRC}{crc}{_AFTER_CRC}\n".encode()


def crc_of(before: str, body: str) -> str:
    """The CRC of a line: of that of the line before, and of the line without its own."""
    return f"{zlib.crc32((before + body).encode()):08x}"


def report_line(path: Path, line: int | None, reason: str) -> NoReturn:
    """Raises the error for damage to a metrics.jsonl."""
    where = f", line {line}" if line is not None else ""
    raise CorruptFileError(
        f"{path}{where} is damaged: {reason}. The run's settings in run.json, its pictures and "
        f"its checkpoints can still be used; its curve cannot, unless you have a copy of the file."
    )


def validate(schema: str, value: Any) -> None:
    """Raises ValueError, which says where, if a value does not fit a schema."""
    import fastjsonschema

    try:
        _validator(schema)(value)
    except fastjsonschema.JsonSchemaValueException as error:
        raise ValueError(f"{error.message.removeprefix('data.')}, by the format") from None


@cache
def _validator(schema: str) -> Callable[[Any], Any]:
    import fastjsonschema

    text = Path(__file__).with_name(schema).read_text(encoding="utf-8")
    compiled: Callable[[Any], Any] = fastjsonschema.compile(json.loads(text))
    return compiled
