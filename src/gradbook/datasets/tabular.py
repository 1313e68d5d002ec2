"""From a table with gaps and words to tensors. pandas is loaded when it is first needed.

Book: 2.2 (sec_pandas), 5.7 (sec_kaggle_house).
"""

import datetime
import math
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from numbers import Complex
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import torch

from gradbook.checks import check_whole_number
from gradbook.errors import ConfigError, DataError, GradbookWarning, did_you_mean, warn

if TYPE_CHECKING:
    import pandas as pd

#: A standard deviation below this part of the largest number is one of rounding only.
_ROUNDING = 1e-12

#: Texts that mean "no value" among numbers, in small letters.
_MARKS = frozenset(("", "?", "-", "--", ".", "na", "n/a", "#n/a", "nan", "none", "null", "missing"))

#: A column of texts of which so many are numbers was meant to hold numbers.
_NEARLY_ALL = 0.9

_TIMES = (datetime.date, datetime.time, datetime.timedelta)


class TabularEncoder:
    """Turns the rows of a table into vectors, by what it learned from the training rows.

    Numbers (and truth values, as 0 and 1) come first, in the table's order; a gap is filled with
    the mean of the training rows. Texts and categories become one column of 0 and 1 per category,
    in alphabetical order, and one more for a missing value, called "COLUMN_nan". Times, and what
    else is neither a number nor a text, are refused.

    A column of numbers stays one if a few texts in it only mark a missing value, such as "?" or
    "n/a", with a warning; other texts among numbers are refused. Texts that are all digits are
    categories, and so is every column of pandas' type "category".

    A category that no training row had becomes zeros, with a warning: the model has learned
    nothing about it, whereas "missing" may mean something in the training rows.

    Args:
        target: The column to predict; it is kept out of the features.
        ignore: Columns that are left out, such as a row's number.
        standardize: Whether numbers are shifted and scaled to mean 0 and standard deviation 1 over
            the training rows. A column that is constant becomes 0.
        max_categories: The most categories that a column may have; more are refused, because each
            becomes a column.

    Attributes:
        columns: The names of the features, one for each column of the result.

    Book: 2.2.2, 5.7.3.
    """

    columns: list[str]

    def __init__(
        self,
        target: str | None = None,
        *,
        ignore: Sequence[str] = (),
        standardize: bool = False,
        max_categories: int = 1000,
    ) -> None:
        if isinstance(ignore, str):
            raise ConfigError(f"ignore must be a list of columns, not the text {ignore!r}.")
        self.target = target
        self.ignore = list(ignore)
        self.standardize = standardize
        self.max_categories = check_whole_number(max_categories, "max_categories", at_least=1)
        # By column: mean and scale of numbers; categories of the others.
        self._numbers: dict[Any, tuple[float, float]] | None = None
        self._categories: dict[Any, list[str]] = {}
        #: The columns of numbers that came with texts among them, of which `fit` has told.
        self._as_texts: set[Any] = set()

    def fit(self, frame: "pd.DataFrame") -> "TabularEncoder":
        """Learns means, scales and categories from the training rows, and returns itself.

        Raises:
            ConfigError: If `target` or a column in `ignore` is not in the table.
            DataError: If the table is empty, a column cannot be turned into numbers or has more
                than `max_categories` categories, or two features would have one name.
        """
        import pandas as pd

        _check_frame(frame)
        for role, name in [("target", self.target), *(("ignore", name) for name in self.ignore)]:
            if name is not None and name not in frame.columns:
                raise ConfigError(
                    f"{role} names the column {name!r}, which the table does not have."
                    f"{_near(name, frame)}"
                )
        left_out = {self.target, *self.ignore}
        numbers: dict[Any, tuple[float, float]] = {}
        categories: dict[Any, list[str]] = {}
        for name in frame.columns:
            if name in left_out:
                continue
            column = frame[name]
            if column.isna().all():
                raise DataError(
                    f"The column {name!r} has no value in any of the {len(frame)} training rows, "
                    f"so that there is nothing to learn from it. Leave it out: "
                    f"ignore=[{name!r}]."
                )
            if _holds_numbers(name, column):
                values = _as_numbers(name, column)
                known = values[~values.isnan()]
                # Rounding gives equal numbers a deviation too: that of [0.1] * 9 is 1e-17.
                if known.std(correction=0) <= _ROUNDING * known.abs().max():
                    numbers[name] = (known[0].item(), 1.0)
                else:
                    numbers[name] = (known.mean().item(), known.std().item())
                continue
            categories[name] = sorted(set(map(_text, column.dropna())))
            count = len(categories[name])
            if count > self.max_categories:
                raise DataError(
                    f"The column {name!r} has {count:,} categories in {len(frame):,} rows, of "
                    f"which each would become a column. Leave it out (ignore=[{name!r}]), put rare "
                    f"values together, or allow as many with max_categories={count}."
                )
        columns = [str(name) for name in numbers]
        for name, values_of in categories.items():
            columns += [f"{name}_{value}" for value in (*values_of, "nan")]
        twice, count = Counter(columns).most_common(1)[0] if columns else ("", 0)
        if count > 1:
            raise DataError(
                f"{count} features would be called {twice!r}, from the names of columns and "
                f"categories. Rename a column, or a category; a text 'nan' is better a missing "
                f"value."
            )
        self._numbers, self._categories, self.columns = numbers, categories, columns
        numeric = pd.api.types.is_numeric_dtype
        self._as_texts = {name for name in numbers if not numeric(frame[name])}
        return self

    def transform(self, frame: "pd.DataFrame") -> torch.Tensor:
        """The features of rows, by the statistics of the training rows.

        Args:
            frame: A table with the columns of the training rows; others are ignored, and the
                target is not needed.

        Returns:
            A float32 tensor (number of rows, number of features). It has no missing value.

        Raises:
            ConfigError: If `fit` has not been called.
            DataError: If the table is empty or lacks a column, or a number is not one.
        """
        if self._numbers is None:
            raise ConfigError(
                "This encoder has learned nothing yet: call fit(training_rows) first."
            )
        _check_frame(frame)
        for name in (*self._numbers, *self._categories):
            if name not in frame.columns:
                raise DataError(
                    f"The table lacks the column {name!r}, which the training rows had."
                    f"{_near(name, frame)}"
                )
        X = torch.zeros(len(frame), len(self.columns))
        for j, (name, (mean, scale)) in enumerate(self._numbers.items()):
            values = _as_numbers(name, frame[name], tell_marks=name not in self._as_texts)
            values = torch.where(values.isnan(), mean, values)
            # In float64 up to here: large numbers lose their differences in float32.
            X[:, j] = ((values - mean) / scale if self.standardize else values).float()
            if not X[:, j].isfinite().all():
                row = int((~X[:, j].isfinite()).nonzero()[0])
                raise DataError(
                    f"The column {name!r} holds {values[row].item():g} in row {row}, which is too "
                    f"far from the training rows to be standardized: their standard deviation is "
                    f"{scale:g}."
                )
        begin = len(self._numbers)
        for name, categories in self._categories.items():
            end = begin + len(categories) + 1
            _encode(name, frame[name], categories, X[:, begin:end])
            begin = end
        return X

    def fit_transform(self, frame: "pd.DataFrame") -> torch.Tensor:
        """`fit` and `transform` of the same rows."""
        return self.fit(frame).transform(frame)

    def targets(self, frame: "pd.DataFrame") -> torch.Tensor:
        """The target column as a float32 tensor (number of rows, 1).

        Raises:
            ConfigError: If the encoder has no target.
            DataError: If the table lacks it, or a value is missing or not a number.
        """
        if self.target is None:
            raise ConfigError("This encoder has no target: name a column with target=...")
        _check_frame(frame)
        if self.target not in frame.columns:
            raise DataError(
                f"The table lacks the target {self.target!r}.{_near(self.target, frame)}"
            )
        y = _as_numbers(self.target, frame[self.target])
        gaps = int(y.isnan().sum())
        if gaps:
            raise DataError(
                f"The target {self.target!r} is missing in {gaps} of {len(y)} rows. Drop them: "
                f"frame.dropna(subset=[{self.target!r}])."
            )
        return y.float().reshape(-1, 1)


def _encode(name: Any, column: "pd.Series[Any]", categories: list[str], X: torch.Tensor) -> None:
    """Sets the ones of a column of categories in X, whose last column is for missing values."""
    place = {value: j for j, value in enumerate(categories)}
    unseen = set()
    for i, (value, gap) in enumerate(zip(column, column.isna(), strict=True)):
        j = len(categories) if gap else place.get(_text(value))
        if j is None:
            unseen.add(_text(value))
        else:
            X[i, j] = 1
    if unseen:
        shown = ", ".join(map(repr, sorted(unseen)[:5]))
        warn(
            f"The column {name!r} has {len(unseen)} categories that no training row had "
            f"({shown}); they become zeros.",
            GradbookWarning,
        )


def _check_frame(frame: Any) -> None:
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        raise ConfigError(f"A pandas DataFrame is needed, not {type(frame).__name__}.")
    if frame.empty:
        raise DataError(
            f"The table is empty: it has {frame.shape[0]} rows, {frame.shape[1]} columns."
        )
    if frame.columns.nlevels > 1:
        raise DataError(
            "The columns of the table have names of several levels. Give them plain ones: "
            "frame.columns = ['_'.join(map(str, name)) for name in frame.columns]."
        )
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        raise DataError(f"The table has more than one column named {twice[0]!r}.")


def _near(name: Any, frame: "pd.DataFrame") -> str:
    return did_you_mean(str(name), map(str, frame.columns))


def _holds_numbers(name: Any, column: "pd.Series[Any]") -> bool:
    """Whether a column of the training rows holds numbers, or categories; else a DataError."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column):
        return True
    if isinstance(column.dtype, pd.CategoricalDtype):
        return False
    dtype = str(column.dtype)
    if getattr(column.dtype, "kind", "O") in "mM" or dtype.startswith(("period", "date", "time")):
        _refuse_times(name, dtype)
    known = column.dropna()
    for value in known:
        if isinstance(value, _TIMES) or type(value).__name__ == "Period":
            _refuse_times(name, type(value).__name__)
        if not isinstance(value, str) and not _is_number(value):
            raise DataError(
                f"The column {name!r} holds {type(value).__name__} {value!r:.60}, which is neither "
                f"a number nor a text. Turn the column into one of these, such as with "
                f".astype(str), or leave it out: ignore=[{name!r}]."
            )
    texts = [value for value in known if isinstance(value, str)]
    odd = [text for text in texts if not _reads_as_number(text)]
    others = [text for text in odd if not _is_mark(text)]
    num_numbers = len(known) - len(odd)
    are_mixed = len(texts) < len(known)
    if not others:  # numbers, if some are no texts, or some texts only mark a missing value
        return are_mixed or 0 < num_numbers < len(known)
    if are_mixed or num_numbers >= _NEARLY_ALL * len(known):
        raise DataError(
            f"The column {name!r} holds numbers and {len(others)} other texts, such as "
            f"{others[0]!r}. If these are missing values: "
            f"frame[{name!r}] = pd.to_numeric(frame[{name!r}], errors='coerce'); if all values are "
            f"categories: .astype('category')."
        )
    return False


def _refuse_times(name: Any, kind: str) -> NoReturn:
    raise DataError(
        f"The column {name!r} holds times ({kind}). Turn it into numbers first, such as the year "
        f"or the days since a day, or leave it out: ignore=[{name!r}]."
    )


def _is_number(value: Any) -> bool:
    # NumPy's truth values and decimal.Decimal are registered as no kind of number.
    return isinstance(value, Complex | Decimal | np.bool_)


def _is_mark(text: str) -> bool:
    return text.strip().lower() in _MARKS


def _reads_as_number(text: str) -> bool:
    try:
        return not _is_mark(text) and "_" not in text and not math.isnan(float(text))
    except ValueError:
        return False


def _text(value: Any) -> str:
    """A category's name. Whole numbers have one, however they are stored."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def _as_numbers(name: Any, column: "pd.Series[Any]", tell_marks: bool = True) -> torch.Tensor:
    """A column as float64 (n,), with NaN for a gap; `tell_marks` warns of texts taken for one."""
    import pandas as pd

    is_numeric = pd.api.types.is_numeric_dtype(column)
    if pd.api.types.is_complex_dtype(column) or (
        not is_numeric and any(isinstance(v, complex | np.complexfloating) for v in column)
    ):
        raise DataError(
            f"The column {name!r} holds complex numbers. Turn them into real ones first, such as "
            f"their absolute values, or leave it out: ignore=[{name!r}]."
        )
    if is_numeric:
        # Through pandas' own conversion, because its nullable types do not give in to NumPy's.
        array = column.to_numpy(dtype="float64", na_value=float("nan"))
    else:
        gaps = column.isna()
        pairs = zip(column, gaps, strict=True)
        array = np.array([math.nan if gap else _as_number(name, value) for value, gap in pairs])
        marks = sorted({value for value in column if isinstance(value, str) and _is_mark(value)})
        if marks and tell_marks:
            warn(
                f"The column {name!r} holds numbers, and {', '.join(map(repr, marks))}, which is "
                f"taken for a missing value. If the column holds categories: "
                f".astype('category').",
                GradbookWarning,
            )
    values = torch.tensor(array)  # a copy: pandas may hand out memory that cannot be written
    infinite = values.abs() > torch.finfo(torch.float32).max
    if infinite.any():
        row = int(infinite.nonzero()[0])
        raise DataError(
            f"The column {name!r} holds an infinite number in row {row}, or one too large for "
            f"float32: {values[row].item()}."
        )
    return values


def _as_number(name: Any, value: Any) -> float:
    """A number in any form, or a text that is one; NaN for a mark of a missing value."""
    if isinstance(value, str) and _is_mark(value):
        return math.nan
    if not (_reads_as_number(value) if isinstance(value, str) else _is_number(value)):
        raise DataError(f"The column {name!r} must hold numbers, but there is {value!r} in it.")
    try:
        return float(value)
    except OverflowError:  # a whole number beyond float64
        return math.inf if value > 0 else -math.inf
