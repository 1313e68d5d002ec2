import numpy as np
import pandas as pd
import pytest

from gradbook.datasets.makers.house_prices import write_test, write_train

pytestmark = pytest.mark.slow  # a second for each file


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("houses")
    write_train(folder / "train.csv")
    write_test(folder / "test.csv")
    return pd.read_csv(folder / "train.csv"), pd.read_csv(folder / "test.csv")


def features_of(train, test):
    """What section 5.7 makes of the tables."""
    features = pd.concat((train.drop(columns=["Id", "SalePrice"]), test.drop(columns=["Id"])))
    numeric = features.dtypes[features.dtypes != "object"].index
    features[numeric] = features[numeric].apply(lambda x: (x - x.mean()) / x.std())
    features[numeric] = features[numeric].fillna(0)
    return pd.get_dummies(features, dummy_na=True).to_numpy(dtype=float)


def test_the_tables_have_the_shape_and_the_columns_of_the_original(tables):
    train, test = tables
    assert (train.shape, test.shape) == ((1460, 81), (1459, 80))
    assert list(train.columns[[0, 1, 2, 3, -3, -2, -1]]) == [
        *("Id", "MSSubClass", "MSZoning", "LotFrontage"),
        *("SaleType", "SaleCondition", "SalePrice"),
    ]
    assert list(test.columns) == list(train.columns[:-1])
    assert test.Id.tolist() == list(range(1461, 2920))


def test_section_5_7_makes_as_many_features_of_them_as_of_the_original(tables):
    assert features_of(*tables).shape == (2919, 330)


def test_what_is_missing_is_missing_together(tables):
    train, _ = tables
    assert 0.1 < train.LotFrontage.isna().mean() < 0.25
    assert train.PoolQC.isna().mean() > 0.98
    no_garage = train.GarageType.isna()
    assert (train.GarageCars[no_garage] == 0).all()
    assert train.GarageYrBlt.isna().equals(no_garage)
    assert (train.TotalBsmtSF[train.BsmtQual.isna()] == 0).all()


def test_a_line_predicts_prices_that_it_has_not_seen(tables):
    train, test = tables
    X = features_of(train, test)[:1460]
    y = np.log(train.SalePrice.to_numpy())
    assert 150_000 < train.SalePrice.mean() < 210_000
    penalty = np.eye(X.shape[1])
    center, fitted = y[:1000].mean(), X[:1000]
    w = np.linalg.solve(fitted.T @ fitted + 10 * penalty, fitted.T @ (y[:1000] - center))
    error = np.sqrt(np.mean((X[1000:] @ w + center - y[1000:]) ** 2))
    assert error < 0.15  # the prices' own spread is 0.38
    assert y.std() > 0.3
