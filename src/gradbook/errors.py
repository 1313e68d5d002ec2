"""What can go wrong, as a tree of classes.

Every error of ours says what happened, with which value, and what to do. Each is a
`GradbookError` and also the builtin that fits, so that `except ValueError` works too.

    GradbookError
    ├── ConfigError        (ValueError)           an argument or option that cannot be used
    ├── ModelError         (NotImplementedError)  a model class lacks or breaks a method
    ├── BatchError         (ValueError)           a batch that does not fit the model
    │   └── ShapeError     (RuntimeError)         one that stops fitting at a layer
    ├── DataError          (ValueError)           a data set that is empty or not what it says
    │   └── CorruptFileError                      a file that is truncated, damaged or mislabeled
    ├── CheckpointError    (ValueError)           a checkpoint that does not fit what is trained
    ├── StorageError       (OSError)              a file that cannot be written
    ├── DownloadError      (OSError)              no source could deliver a file
    ├── MissingExtraError  (ImportError)          an optional package is not installed
    ├── RankLostError      (ConnectionError)      another process of a training has ended
    ├── NotCarriedError    (AttributeError)       a name of an earlier edition of the book
    └── NotTrainedError    (AttributeError)       what is only known once a training has begun

    GradbookWarning        (UserWarning)
    ├── IgnoredSettingWarning                     a setting that cannot apply here
    ├── SampleDataWarning                         the bundled sample stands in for the full data set
    └── DivergenceWarning                         a loss or a parameter became NaN or infinite
"""

import difflib
import math
import re
import sys
import warnings
from collections.abc import Callable, Iterable
from types import FrameType

from gradbook.escape import printable
from gradbook.launched import speaks
from gradbook.lazy import listing
from gradbook.wrapping import columns, wrapped

__all__ = [
    "BatchError",
    "CheckpointError",
    "ConfigError",
    "CorruptFileError",
    "DataError",
    "DivergenceWarning",
    "DownloadError",
    "GradbookError",
    "GradbookWarning",
    "IgnoredSettingWarning",
    "MissingExtraError",
    "ModelError",
    "NotCarriedError",
    "NotTrainedError",
    "RankLostError",
    "SampleDataWarning",
    "ShapeError",
    "StorageError",
]

__dir__ = listing(__all__)


class GradbookError(Exception):
    """The base of every error that gradbook raises on purpose."""

    def __str__(self) -> str:
        return printable(super().__str__())  # a traceback shows it, whatever a message quotes


class ConfigError(GradbookError, ValueError):
    """An argument or option that cannot be used."""


class ModelError(GradbookError, NotImplementedError):
    """A model class lacks a method that training needs, or a method breaks its contract."""


class BatchError(GradbookError, ValueError):
    """A batch whose shape, dtype or labels do not fit the model."""


class ShapeError(BatchError, RuntimeError):
    """A batch that stops fitting at a layer. Also a RuntimeError, which is what PyTorch raises."""


class DataError(GradbookError, ValueError):
    """A data set that is empty or is not what it says it is."""


class CorruptFileError(DataError):
    """A file that is truncated, damaged or mislabeled."""


class CheckpointError(GradbookError, ValueError):
    """A checkpoint that does not fit the model, the data or the settings it is to go on with."""


class StorageError(GradbookError, OSError):
    """A file that cannot be written: the disk is full, or the folder cannot be written to."""


class DownloadError(GradbookError, OSError):
    """No source could deliver a file."""


class MissingExtraError(GradbookError, ImportError):
    """An optional package is not installed; the message holds the command that installs it."""

    @classmethod
    def of(cls, package: str, purpose: str, extra: str) -> "MissingExtraError":
        """The error for `purpose`, which needs `package`, which `extra` brings.

        It names the packages of the extra, because pip may not know gradbook itself.
        """
        from importlib.metadata import PackageNotFoundError, requires

        try:
            needed = requires("gradbook") or []
        except PackageNotFoundError:  # the sources alone, on the path
            needed = []
        is_of_extra = re.compile(rf"""extra == ["']{re.escape(extra)}["']""").search
        names = [re.match(r"[\w.-]+", line) for line in needed if is_of_extra(line)]
        return cls(
            f"{purpose} needs the package {package!r}, which is not installed. "
            f"Install it with: pip install {' '.join(n[0] for n in names if n) or package}"
        )


class RankLostError(GradbookError, ConnectionError):
    """Another process that trains together with this one has ended, or cannot be reached."""


class NotCarriedError(GradbookError, AttributeError):
    """A name of an earlier edition of the book, which this one does not have."""


class NotTrainedError(GradbookError, AttributeError):
    """Something of a trainer that is only known once its `fit` has begun."""


class GradbookWarning(UserWarning):
    """The base of every warning that gradbook gives."""


class IgnoredSettingWarning(GradbookWarning):
    """A setting that cannot apply here and is therefore ignored."""


class SampleDataWarning(GradbookWarning):
    """The bundled sample of a data set stands in for the full one."""


class DivergenceWarning(GradbookWarning):
    """A recorded loss, or a parameter, became NaN or infinite during training."""


# Each time, not once for each place in the code: a cell that is run again has the same fault.
# At the end of the list, so that a filter of the user's own is asked first.
warnings.filterwarnings("always", category=GradbookWarning, append=True)


def _formatted(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    """A warning as Python prints it; one of ours in lines that end at words."""
    text = _FORMAT(message, category, filename, lineno, line)
    return wrapped(text, columns(sys.stderr)) if issubclass(category, GradbookWarning) else text


_FORMAT = warnings.formatwarning
warnings.formatwarning = _formatted


def warn(message: str, category: type[GradbookWarning]) -> None:
    """Warns, and names the line of the user's own code that led to it.

    Of several processes that run the same script, the first does so for all.
    """
    if not speaks():
        return
    frame = sys._getframe()
    while frame.f_back is not None and _is_ours(frame):
        frame = frame.f_back
    warnings.warn_explicit(
        printable(message),
        category,
        frame.f_code.co_filename,
        frame.f_lineno,
        module_of(frame) or "<unknown>",  # Python is silent about code without a module
        frame.f_globals.setdefault("__warningregistry__", {}),
    )


def _is_ours(frame: FrameType) -> bool:
    return module_of(frame).partition(".")[0] in ("gradbook", "torch", "contextlib")


def module_of(frame: FrameType) -> str:
    """The name of the module whose code runs; "" for code that is in none.

    A function that was sent to another process, as a trial of a search is, may have None for it.
    """
    return frame.f_globals.get("__name__") or ""


def text_of(value: object, text: Callable[[object], str] = str) -> str:
    """The text of a value, or what `text` makes of it; what its class cannot give is said."""
    try:
        return text(value)
    except Exception as error:
        return f"<{type(value).__name__}, whose text cannot be made: {type(error).__name__}>"


def told(error: BaseException) -> str:
    """An error as text: "ValueError: the reason"."""
    return f"{type(error).__name__}: {without_frames(text_of(error))}"


def without_frames(text: str) -> str:
    """What PyTorch says, without the calls in its own C++ code: they tell a learner nothing."""
    told, *rest = _CPP_FRAMES.split(text, maxsplit=1)
    return told + '"' if rest and told.count('"') % 2 else told


_CPP_FRAMES = re.compile(
    r"\n(?:Exception raised from .+ at .+ \(most recent call first\):"
    r"|C\+\+ CapturedTraceback:|frame #\d+: .+ \(0x[0-9a-f]+ in )"
)


def shown(value: object) -> str:
    """A value as Python writes it, shortened if it is long: what was given may have any length."""
    try:
        text = repr(value)
    except Exception as error:
        if isinstance(value, int) and isinstance(error, ValueError):  # of thousands of digits
            return f"a whole number of about {round(value.bit_length() * math.log10(2))} digits"
        return text_of(value, repr)
    if len(text) <= _MOST_SHOWN:
        return text
    quote = text[-1] if isinstance(value, str) else ""
    return f"{text[: _MOST_SHOWN // 2]}...{quote} ({len(text) - 2 * len(quote)} characters)"


#: The most characters of a value that a message quotes.
_MOST_SHOWN = 80


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns " Did you mean 'x'?" for the known name nearest to `name`, or an empty string."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
