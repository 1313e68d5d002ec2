import math

import pytest
import torch

from gradbook.datasets import SyntheticRegressionData, synthetic_data
from gradbook.errors import ConfigError


def test_shapes_and_types():
    data = SyntheticRegressionData(torch.tensor([2, -3.4]), 4.2)
    assert data.X.shape == (2000, 2)
    assert data.y.shape == (2000, 1)
    assert data.X.dtype == data.y.dtype == torch.float32


def test_without_noise_y_is_the_line():
    data = SyntheticRegressionData([1.0, -2.0, 3.0], b=0.5, noise=0)
    expected = data.X @ torch.tensor([[1.0], [-2.0], [3.0]]) + 0.5
    torch.testing.assert_close(data.y, expected)


def test_the_noise_has_its_standard_deviation():
    torch.manual_seed(0)
    data = SyntheticRegressionData(noise=0.3, num_train=20_000, num_val=0)
    error = data.y - (data.X @ data.w.reshape(-1, 1) + data.b)
    assert error.std().item() == pytest.approx(0.3, rel=0.02)
    assert data.X.std().item() == pytest.approx(1, rel=0.02)


def test_the_defaults_need_no_arguments():
    data = SyntheticRegressionData()
    assert data.w.tolist() == pytest.approx([2.0, -3.4])
    assert data.b == 4.2


def test_a_column_of_weights_is_kept_as_it_is():
    w = torch.ones(200, 1) * 0.01
    data = SyntheticRegressionData(w, 0.05, num_train=20, num_val=100)
    assert data.w.shape == (200, 1)
    assert data.X.shape == (120, 200)


def test_arguments_are_hyperparameters():
    data = SyntheticRegressionData([1.0], 2.0, num_train=7)
    assert data.hparams["num_train"] == data.num_train == 7
    assert data.hparams["w"] == [1.0]
    assert set(data.hparams) == {
        "root", "num_workers", "w", "b", "noise", "num_train", "num_val", "batch_size",
    }  # fmt: skip


def test_training_takes_the_first_examples_shuffled():
    data = SyntheticRegressionData(num_train=50, num_val=30, batch_size=8)
    torch.manual_seed(1)
    X = torch.cat([X for X, _ in data.train_dataloader()])
    assert not torch.equal(X, data.X[:50])
    assert torch.equal(X.sort(0).values, data.X[:50].sort(0).values)
    assert len(data.train_dataloader()) == 7


def test_validation_takes_the_others_in_order():
    data = SyntheticRegressionData(num_train=50, num_val=30, batch_size=8)
    y = torch.cat([y for _, y in data.val_dataloader()])
    assert torch.equal(y, data.y[50:])


def test_without_validation_examples_there_is_no_validation_loader():
    assert SyntheticRegressionData(num_val=0).val_dataloader() is None


def test_one_seed_gives_one_data_set():
    torch.manual_seed(3)
    first = SyntheticRegressionData()
    torch.manual_seed(3)
    assert torch.equal(first.y, SyntheticRegressionData().y)


@pytest.mark.parametrize(
    "arguments",
    [
        {"w": []},
        {"w": 3.0},
        {"w": "ab"},
        {"w": torch.ones(2, 2)},
        {"num_train": 0},
        {"num_train": 2.5},
        {"num_val": -1},
        {"num_val": True},
        {"noise": -0.1},
        {"noise": math.nan},
        {"noise": "much"},
        {"noise": "0.1"},
        {"w": [1.0, math.nan]},
        {"b": "x"},
        {"b": None},
        {"b": torch.ones(3)},
        {"b": math.inf},
        {"batch_size": 0},
    ],
    ids=str,
)
def test_what_cannot_be_used_is_named(arguments):
    with pytest.raises(ConfigError, match=next(iter(arguments))):
        SyntheticRegressionData(**arguments)


def test_all_dtypes_follow_the_default():
    torch.set_default_dtype(torch.float64)
    try:
        data = SyntheticRegressionData(b=torch.tensor([4.2], dtype=torch.float32))
        X, y = synthetic_data([1.0], 0.0, 3)
    finally:
        torch.set_default_dtype(torch.float32)
    assert {tensor.dtype for tensor in (data.X, data.y, data.w, X, y)} == {torch.float64}


def test_the_older_function():
    X, y = synthetic_data(torch.tensor([2, -3.4]), 4.2, 5000)
    assert X.shape == (5000, 2)
    assert y.shape == (5000, 1)
    error = y - (X @ torch.tensor([[2], [-3.4]]) + 4.2)
    assert error.std().item() == pytest.approx(0.01, rel=0.1)


def test_the_older_function_refuses_an_empty_set():
    with pytest.raises(ConfigError, match="num_examples"):
        synthetic_data([1.0], 0.0, 0)
