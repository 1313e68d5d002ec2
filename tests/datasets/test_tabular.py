import datetime
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import torch

from gradbook.datasets import TabularEncoder
from gradbook.errors import ConfigError, DataError, GradbookWarning


@pytest.fixture
def houses():
    return pd.DataFrame(
        {
            "Id": [1, 2, 3, 4],
            "RoofType": [None, "Slate", None, "Tile"],
            "NumRooms": [None, 2.0, 4.0, None],
            "Price": [127500, 106000, 178100, 140000],
        }
    )


def test_gaps_get_the_mean_and_words_get_columns(houses):
    encoder = TabularEncoder("Price", ignore=["Id"])
    X = encoder.fit_transform(houses)
    assert encoder.columns == ["NumRooms", "RoofType_Slate", "RoofType_Tile", "RoofType_nan"]
    assert X.tolist() == [[3, 0, 0, 1], [2, 1, 0, 0], [4, 0, 0, 1], [3, 0, 1, 0]]
    assert X.dtype == torch.float32


def test_targets_are_a_column(houses):
    y = TabularEncoder("Price").targets(houses)
    assert y.shape == (4, 1)
    assert y.dtype == torch.float32
    assert y[2].item() == 178100


def test_without_a_target_all_columns_are_features(houses):
    assert "Price" in TabularEncoder().fit(houses).columns


def test_new_rows_use_the_statistics_of_the_training_rows(houses):
    encoder = TabularEncoder("Price", ignore=["Id"]).fit(houses)
    new = pd.DataFrame({"NumRooms": [None, 10.0], "RoofType": ["Tile", None], "More": [1, 2]})
    assert encoder.transform(new).tolist() == [[3, 0, 1, 0], [10, 0, 0, 1]]


def test_standardized_numbers_have_mean_0_and_deviation_1():
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0, None], "b": [5, 5, 5, 5], "c": list("xyxy")})
    X = TabularEncoder(standardize=True).fit_transform(frame)
    assert X[:, 0].tolist() == [-1, 0, 1, 0]  # the gap becomes the mean
    assert X[:, 1].tolist() == [0, 0, 0, 0]  # constant
    assert X[:, 2].tolist() == [1, 0, 1, 0]  # ones stay ones


def test_large_numbers_keep_their_differences_when_standardized():
    frame = pd.DataFrame({"a": [1e9, 1e9 + 1, 1e9 + 2]})
    assert TabularEncoder(standardize=True).fit_transform(frame).flatten().tolist() == [-1, 0, 1]


@pytest.mark.parametrize("values", [[0.1] * 9, [0.1 + 0.2, 0.3], [7]])
def test_a_column_that_is_constant_but_for_rounding_is_not_blown_up(values):
    encoder = TabularEncoder(standardize=True)
    X = encoder.fit_transform(pd.DataFrame({"a": values}))
    assert X.abs().max() < 1e-15
    new = encoder.transform(pd.DataFrame({"a": [values[0] + 1]}))
    assert new.item() == pytest.approx(1)


@pytest.mark.parametrize("kind", ["complex128", "object"])
def test_complex_numbers_are_refused(kind):
    encoder = TabularEncoder().fit(pd.DataFrame({"a": [1, 2]}))
    with pytest.raises(DataError, match="'a' holds complex numbers"):
        encoder.transform(pd.DataFrame({"a": pd.Series([1, 2j], dtype=kind)}))


def test_numbers_too_large_for_float32_are_refused():
    with pytest.raises(DataError, match=r"'a' holds .* in row 1, or one too large.*1e\+39"):
        TabularEncoder("a").targets(pd.DataFrame({"a": [1.0, 1e39]}))


def test_an_unseen_category_becomes_zeros_with_a_warning(houses):
    encoder = TabularEncoder("Price", ignore=["Id"]).fit(houses)
    new = pd.DataFrame({"NumRooms": [1.0], "RoofType": ["Straw"]})
    with pytest.warns(GradbookWarning, match=r"'RoofType' has 1 categories.*'Straw'"):
        X = encoder.transform(new)
    assert X.tolist() == [[1, 0, 0, 0]]


def test_a_category_column_that_is_all_missing_in_new_rows(houses):
    encoder = TabularEncoder("Price", ignore=["Id"]).fit(houses)
    new = pd.DataFrame({"NumRooms": [1.0, 2.0], "RoofType": [float("nan")] * 2})
    assert encoder.transform(new)[:, 3].tolist() == [1, 1]


@pytest.mark.parametrize("dtype", ["object", "string", "category", "str"])
def test_every_kind_of_text_column(dtype):
    frame = pd.DataFrame({"a": pd.Series(["x", "y", "x"], dtype="object").astype(dtype)})
    encoder = TabularEncoder()
    assert encoder.fit_transform(frame).tolist() == [[1, 0, 0], [0, 1, 0], [1, 0, 0]]
    assert encoder.columns == ["a_x", "a_y", "a_nan"]


@pytest.mark.parametrize("dtype", ["int8", "float32", "Int64", "Float64", "bool", "boolean"])
def test_every_kind_of_number_column(dtype):
    frame = pd.DataFrame({"a": pd.Series([1, 0, 1]).astype(dtype)})
    assert TabularEncoder().fit_transform(frame).flatten().tolist() == [1, 0, 1]


@pytest.mark.parametrize("dtype", ["Int64", "Float64", "boolean"])
def test_gaps_of_the_nullable_kinds(dtype):
    frame = pd.DataFrame({"a": pd.array([1, None, 0, None], dtype=dtype)})
    assert TabularEncoder().fit_transform(frame).flatten().tolist() == [1, 0.5, 0, 0.5]


def test_categories_of_numbers_are_categories():
    frame = pd.DataFrame({"a": pd.Series([20, 60, 20]).astype("category")})
    encoder = TabularEncoder().fit(frame)
    assert encoder.columns == ["a_20", "a_60", "a_nan"]
    assert encoder.transform(pd.DataFrame({"a": [60]})).tolist() == [[0, 1, 0]]


def test_a_target_that_is_not_there_gets_a_suggestion(houses):
    with pytest.raises(ConfigError, match="Did you mean 'Price'"):
        TabularEncoder("Prize").fit(houses)


def test_an_ignored_column_that_is_not_there_gets_a_suggestion(houses):
    with pytest.raises(ConfigError, match="Did you mean 'Id'"):
        TabularEncoder(ignore=["Idd"]).fit(houses)


def test_a_column_that_new_rows_lack_gets_a_suggestion(houses):
    encoder = TabularEncoder("Price", ignore=["Id"]).fit(houses)
    with pytest.raises(DataError, match=r"lacks the column 'NumRooms'.*Did you mean 'NumRoom'"):
        encoder.transform(pd.DataFrame({"NumRoom": [1], "RoofType": ["Tile"]}))


@pytest.mark.parametrize("values", [[None, None], [float("nan")] * 2])
def test_a_column_without_any_value_is_refused(values):
    with pytest.raises(DataError, match=r"ignore=\['a'\]"):
        TabularEncoder().fit(pd.DataFrame({"a": values, "b": [1, 2]}))


@pytest.mark.parametrize("frame", [pd.DataFrame(), pd.DataFrame({"a": []})], ids=["none", "rows"])
def test_an_empty_table_is_refused(frame):
    with pytest.raises(DataError, match="The table is empty"):
        TabularEncoder().fit(frame)


def test_what_is_no_table_is_refused():
    with pytest.raises(ConfigError, match="DataFrame is needed, not dict"):
        TabularEncoder().fit({"a": [1]})


def test_two_columns_of_one_name_are_refused():
    frame = pd.DataFrame([[1, 2]], columns=["a", "a"])
    with pytest.raises(DataError, match="more than one column named 'a'"):
        TabularEncoder().fit(frame)


def test_times_are_refused():
    frame = pd.DataFrame({"when": pd.to_datetime(["2020-01-01", "2021-01-01"])})
    with pytest.raises(DataError, match="holds times"):
        TabularEncoder().fit(frame)


def test_infinite_numbers_are_refused():
    with pytest.raises(DataError, match="'a' holds an infinite number in row 1"):
        TabularEncoder().fit(pd.DataFrame({"a": [1.0, float("inf")]}))


def test_words_in_a_column_of_numbers_are_refused(houses):
    encoder = TabularEncoder(ignore=["RoofType"]).fit(houses)
    new = houses.assign(NumRooms=["1", "two", None, "4"])
    with pytest.raises(DataError, match="'NumRooms' must hold numbers, but there is 'two'"):
        encoder.transform(new)


def test_missing_targets_are_counted(houses):
    with pytest.raises(DataError, match="missing in 2 of 4 rows"):
        TabularEncoder("NumRooms").targets(houses)


def test_targets_need_a_target(houses):
    with pytest.raises(ConfigError, match="no target"):
        TabularEncoder().targets(houses)


def test_targets_need_their_column(houses):
    with pytest.raises(DataError, match="lacks the target 'Price'"):
        TabularEncoder("Price").targets(houses.drop(columns="Price"))


def test_transform_comes_after_fit(houses):
    with pytest.raises(ConfigError, match="call fit"):
        TabularEncoder().transform(houses)


def test_ignore_is_a_list():
    with pytest.raises(ConfigError, match="must be a list"):
        TabularEncoder(ignore="Id")


@pytest.mark.parametrize(
    "values",
    [
        [Decimal("1.5"), Decimal(0), None],
        [Fraction(3, 2), 0, None],
        [np.float32(1.5), np.int8(0), None],
        [1.5, False, None],
        ["1.5", 0, None],
    ],
)
def test_numbers_in_any_form_are_numbers(values):
    frame = pd.DataFrame({"a": pd.Series(values, dtype="object")})
    encoder = TabularEncoder()
    assert encoder.fit_transform(frame).flatten().tolist() == [1.5, 0, 0.75]
    assert encoder.columns == ["a"]


def test_whole_numbers_beyond_64_bits_are_numbers():
    X = TabularEncoder().fit_transform(pd.DataFrame({"a": [2**70, 0]}))
    assert X.flatten().tolist() == [2**70, 0]


def test_whole_numbers_beyond_a_float_are_refused():
    with pytest.raises(DataError, match="'a' holds an infinite number in row 0, or one too large"):
        TabularEncoder().fit(pd.DataFrame({"a": pd.Series([10**400, 0], dtype="object")}))


@pytest.mark.parametrize(
    "values",
    [
        [datetime.date(2020, 1, 1), None],
        [datetime.datetime(2020, 1, 1), None],
        [datetime.time(12), None],
        pd.period_range("2020", periods=2, freq="M"),
        pd.to_timedelta([1, 2], unit="s"),
        pd.to_datetime(["2020-01-01", "2021-01-01"], utc=True),
        pd.Series(pd.period_range("2020", periods=2, freq="M"), dtype="object"),
    ],
)
def test_times_of_every_kind_are_refused(values):
    with pytest.raises(DataError, match="'when' holds times"):
        TabularEncoder().fit(pd.DataFrame({"when": values}))


@pytest.mark.parametrize("value", [[1, 2], {"a": 1}, b"x", object(), torch.ones(2)])
def test_what_is_neither_number_nor_text_is_refused(value):
    frame = pd.DataFrame({"a": pd.Series([value, value], dtype="object")})
    with pytest.raises(DataError, match="neither a number nor a text"):
        TabularEncoder().fit(frame)


@pytest.mark.parametrize("mark", ["?", "n/a", "NA", "-", " ", "None"])
def test_a_mark_of_a_missing_value_among_numbers_is_a_gap(mark):
    frame = pd.DataFrame({"a": ["1", mark, "3"], "b": [0, 0, 1]})
    encoder = TabularEncoder()
    with pytest.warns(GradbookWarning, match=r"'a' holds numbers, and .* a missing value") as told:
        X = encoder.fit_transform(frame)
    assert len(told) == 1
    assert X.tolist() == [[1, 0], [2, 0], [3, 1]]


def test_a_mark_that_comes_in_new_rows_only_is_a_gap():
    encoder = TabularEncoder().fit(pd.DataFrame({"a": [1.0, 3.0]}))
    with pytest.warns(GradbookWarning, match=r"'a' holds numbers, and '\?'"):
        X = encoder.transform(pd.DataFrame({"a": ["?", "7"]}))
    assert X.flatten().tolist() == [2, 7]


def test_numbers_with_a_few_other_texts_are_refused():
    frame = pd.DataFrame({"a": [*map(str, range(20)), "two"]})
    with pytest.raises(DataError, match=r"1 other texts, such as 'two'.*errors='coerce'"):
        TabularEncoder().fit(frame)


def test_real_numbers_and_texts_in_one_column_are_refused():
    with pytest.raises(DataError, match=r"holds numbers and 1 other texts, such as 'x'"):
        TabularEncoder().fit(pd.DataFrame({"a": [1, "x"]}))


def test_texts_of_digits_are_categories():
    encoder = TabularEncoder().fit(pd.DataFrame({"zip": ["01234", "10115"]}))
    assert encoder.columns == ["zip_01234", "zip_10115", "zip_nan"]


def test_codes_of_letters_and_digits_are_categories():
    encoder = TabularEncoder().fit(pd.DataFrame({"a": ["1", "2", "A", "B"]}))
    assert encoder.columns == ["a_1", "a_2", "a_A", "a_B", "a_nan"]


def test_a_category_that_is_a_whole_number_is_the_same_as_a_float():
    encoder = TabularEncoder().fit(pd.DataFrame({"a": pd.Series([20, 60]).astype("category")}))
    new = pd.DataFrame({"a": pd.Series([60.0, None]).astype("category")})
    assert encoder.transform(new).tolist() == [[0, 1, 0], [0, 0, 1]]


def test_very_many_categories_are_refused_unless_they_are_wanted():
    frame = pd.DataFrame({"name": [f"n{i}" for i in range(1001)]})
    with pytest.raises(DataError, match=r"'name' has 1,001 categories.*max_categories=1001"):
        TabularEncoder().fit(frame)
    assert len(TabularEncoder(max_categories=1001).fit(frame).columns) == 1002


def test_standardized_numbers_that_overflow_are_refused():
    encoder = TabularEncoder(standardize=True).fit(pd.DataFrame({"a": [1e-30, 2e-30]}))
    with pytest.raises(DataError, match=r"'a' holds 1e\+30 in row 1.*too far"):
        encoder.transform(pd.DataFrame({"a": [1e-30, 1e30]}))


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame([[1, 2]], columns=[1, "1"]),
        pd.DataFrame({"a": ["nan", "x"]}),
        pd.DataFrame({"a": ["b_c", "x"], "a_b": ["c", "y"]}),
    ],
    ids=["number", "nan", "joined"],
)
def test_two_features_of_one_name_are_refused(frame):
    with pytest.raises(DataError, match="2 features would be called"):
        TabularEncoder().fit(frame)


def test_names_of_several_levels_are_refused():
    frame = pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", "x"), ("a", "y")]))
    with pytest.raises(DataError, match="names of several levels"):
        TabularEncoder("a").fit(frame)


def test_the_order_of_the_columns_in_new_rows_does_not_matter():
    encoder = TabularEncoder().fit(pd.DataFrame({"a": [1, 2], "b": [3, 4]}))
    assert encoder.transform(pd.DataFrame({"b": [30], "a": [10]})).tolist() == [[10, 30]]


def test_an_encoder_that_failed_to_learn_keeps_what_it_knew():
    encoder = TabularEncoder().fit(pd.DataFrame({"a": [1, 2]}))
    with pytest.raises(DataError):
        encoder.fit(pd.DataFrame({"a": [datetime.date(2020, 1, 1)]}))
    assert encoder.transform(pd.DataFrame({"a": [3]})).item() == 3
