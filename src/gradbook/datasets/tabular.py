"""From a table with gaps and words to tensors.

Book: 2.2 (sec_pandas), 5.7 (sec_kaggle_house).
"""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from gradbook.errors import (
    ConfigError,
    DataError,
    GradbookWarning,
    MissingExtraError,
    did_you_mean,
)

if TYPE_CHECKING:
    import pandas as pd

#: A standard deviation below this part of the largest number is one of rounding only.
_ROUNDING = 1e-12


class TabularEncoder:
    """Turns the rows of a table into vectors, by what it learned from the training rows.

    Numbers (and truth values, as 0 and 1) come first, in the table's order; a gap is filled with
    the mean of the training rows. Every other column becomes one column of 0 and 1 per category,
    in alphabetical order, and one more for a missing value, called "COLUMN_nan".

    A category that no training row had becomes zeros, with a warning: the model has learned
    nothing about it, whereas "missing" may mean something in the training rows.

    Args:
        target: The column to predict; it is kept out of the features.
        ignore: Columns that are left out, such as a row's number.
        standardize: Whether numbers are shifted and scaled to mean 0 and standard deviation 1 over
            the training rows. A column that is constant becomes 0.

    Attributes:
        columns: The names of the features, one for each column of the result.

    Raises:
        MissingExtraError: If pandas is not installed.

    Book: 2.2.2, 5.7.3.
    """

    columns: list[str]

    def __init__(
        self,
        target: str | None = None,
        *,
        ignore: Sequence[str] = (),
        standardize: bool = False,
    ) -> None:
        _import_pandas()
        if isinstance(ignore, str):
            raise ConfigError(f"ignore must be a list of columns, not the text {ignore!r}.")
        self.target = target
        self.ignore = list(ignore)
        self.standardize = standardize
        # By column: mean and scale of numbers; categories of the others.
        self._numbers: dict[Any, tuple[float, float]] | None = None
        self._categories: dict[Any, list[str]] = {}

    def fit(self, frame: "pd.DataFrame") -> "TabularEncoder":
        """Learns means, scales and categories from the training rows, and returns itself.

        Raises:
            ConfigError: If `target` or a column in `ignore` is not in the table.
            DataError: If the table is empty, or a column cannot be turned into numbers.
        """
        pd = _import_pandas()
        _check_frame(frame)
        names = [str(name) for name in frame.columns]
        for role, name in [("target", self.target), *(("ignore", name) for name in self.ignore)]:
            if name is not None and name not in frame.columns:
                raise ConfigError(
                    f"{role} names the column {name!r}, which the table does not have."
                    f"{did_you_mean(str(name), names)}"
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
            if pd.api.types.is_numeric_dtype(column):
                values = _as_numbers(name, column)
                known = values[~values.isnan()]
                mean, deviation = known.mean().item(), known.std(correction=0).item()
                # Rounding gives equal numbers a deviation too: that of [0.1] * 9 is 1e-17.
                if deviation <= _ROUNDING * known.abs().max().item():
                    numbers[name] = (known[0].item(), 1.0)
                else:
                    numbers[name] = (mean, known.std().item())
            elif _is_time(column):
                raise DataError(
                    f"The column {name!r} holds times ({column.dtype}). Turn it into numbers "
                    f"first, such as the year, or leave it out: ignore=[{name!r}]."
                )
            else:
                categories[name] = sorted({str(value) for value in column.dropna()})
        self._numbers, self._categories = numbers, categories
        self.columns = [str(name) for name in numbers]
        for name, values_of in categories.items():
            self.columns += [f"{name}_{value}" for value in (*values_of, "nan")]
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
        names = [str(name) for name in frame.columns]
        for name in (*self._numbers, *self._categories):
            if name not in frame.columns:
                raise DataError(
                    f"The table lacks the column {name!r}, which the training rows had."
                    f"{did_you_mean(str(name), names)}"
                )
        X = torch.zeros(len(frame), len(self.columns))
        j = 0
        for name, (mean, scale) in self._numbers.items():
            values = _as_numbers(name, frame[name])
            values = torch.where(values.isnan(), mean, values)
            # In float64 up to here: large numbers lose their differences in float32.
            X[:, j] = ((values - mean) / scale if self.standardize else values).float()
            j += 1
        for name, categories in self._categories.items():
            place = {value: j + i for i, value in enumerate(categories)}
            self._encode(name, frame[name], place, X, missing=j + len(categories))
            j += len(categories) + 1
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
                f"The table lacks the target {self.target!r}."
                f"{did_you_mean(self.target, [str(name) for name in frame.columns])}"
            )
        y = _as_numbers(self.target, frame[self.target])
        gaps = int(y.isnan().sum())
        if gaps:
            raise DataError(
                f"The target {self.target!r} is missing in {gaps} of {len(y)} rows. Drop them: "
                f"frame.dropna(subset=[{self.target!r}])."
            )
        return y.float().reshape(-1, 1)

    def _encode(
        self,
        name: Any,
        column: "pd.Series[Any]",
        place: dict[str, int],
        X: torch.Tensor,
        missing: int,
    ) -> None:
        """Sets the ones of a column of categories."""
        unseen = set()
        for i, (value, gap) in enumerate(zip(column, column.isna(), strict=True)):
            j = missing if gap else place.get(str(value))
            if j is None:
                unseen.add(str(value))
            else:
                X[i, j] = 1
        if unseen:
            shown = ", ".join(map(repr, sorted(unseen)[:5]))
            warnings.warn(
                f"The column {name!r} has {len(unseen)} categories that no training row had "
                f"({shown}); they become zeros.",
                GradbookWarning,
                stacklevel=3,
            )


def _import_pandas() -> Any:
    try:
        import pandas as pd
    except ImportError as error:
        raise MissingExtraError.of("pandas", "A table", "tabular") from error
    return pd


def _check_frame(frame: Any) -> None:
    pd = _import_pandas()
    if not isinstance(frame, pd.DataFrame):
        raise ConfigError(f"A pandas DataFrame is needed, not {type(frame).__name__}.")
    if frame.empty:
        raise DataError(
            f"The table is empty: it has {frame.shape[0]} rows, {frame.shape[1]} columns."
        )
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        raise DataError(f"The table has more than one column named {twice[0]!r}.")


def _is_time(column: "pd.Series[Any]") -> bool:
    return column.dtype.kind in "mM" if hasattr(column.dtype, "kind") else False


def _as_numbers(name: Any, column: "pd.Series[Any]") -> torch.Tensor:
    """A column as float64 (n,), with NaN for a gap."""
    pd = _import_pandas()
    objects = column if pd.api.types.is_object_dtype(column) else ()
    if pd.api.types.is_complex_dtype(column) or any(isinstance(v, complex) for v in objects):
        raise DataError(
            f"The column {name!r} holds complex numbers. Turn them into real ones first, such as "
            f"their absolute values, or leave it out: ignore=[{name!r}]."
        )
    try:
        numbers = pd.to_numeric(column, errors="raise")
        # Through pandas' own conversion, because its nullable types do not give in to NumPy's.
        array = numbers.to_numpy(dtype="float64", na_value=float("nan"))
    except (TypeError, ValueError):
        array = pd.to_numeric(column.astype("object"), errors="coerce").to_numpy(dtype="float64")
        odd = column[pd.isna(array) & column.notna().to_numpy()]
        first = odd.iloc[0] if len(odd) else column.dtype
        raise DataError(
            f"The column {name!r} must hold numbers, but there is {first!r} in it."
        ) from None
    values = torch.tensor(array)  # a copy: pandas may hand out memory that cannot be written
    infinite = values.abs() > torch.finfo(torch.float32).max
    if infinite.any():
        row = int(infinite.nonzero()[0])
        raise DataError(
            f"The column {name!r} holds an infinite number in row {row}, or one too large for "
            f"float32: {values[row].item()}."
        )
    return values
