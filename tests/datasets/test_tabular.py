import sys

import pytest
import torch

from gradbook.datasets import TabularEncoder
from gradbook.errors import ConfigError, DataError, GradbookWarning, MissingExtraError

pd = pytest.importorskip("pandas")


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


def test_without_pandas_the_message_holds_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match=r"gradbook\[tabular\]"):
        TabularEncoder()
