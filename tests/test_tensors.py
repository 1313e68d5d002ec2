from collections import namedtuple

import numpy as np
import pandas as pd
import pytest
import torch
from tests.small import Data
from torch import nn

from gradbook.errors import DataError
from gradbook.models import SoftmaxRegression
from gradbook.tensors import as_tensor, copy_batch, to_device
from gradbook.trainer import Trainer


def test_a_copy_has_the_form_of_the_batch():
    packed = nn.utils.rnn.pack_sequence([torch.ones(2), torch.ones(1)])
    batch = (torch.zeros(2), [1, "a"], packed, None)
    again = copy_batch(batch)
    assert (type(again), again[1], again[3]) == (tuple, [1, "a"], None)
    assert type(again[2]) is type(packed)
    assert again[2].data.data_ptr() != packed.data.data_ptr()


def test_a_batch_on_another_device_has_its_form():
    Pair = namedtuple("Pair", "X y")
    packed = nn.utils.rnn.pack_sequence([torch.ones(2), torch.ones(1)])
    batch = (Pair(torch.zeros(2), [torch.zeros(1), "a"]), {"X": (torch.zeros(1),)}, packed, None)
    pair, named, again, nothing = moved = to_device(batch, torch.device("meta"))
    assert (type(moved), type(pair), type(pair.y), type(named["X"])) == (tuple, Pair, list, tuple)
    assert {pair.X.device.type, pair.y[0].device.type, named["X"][0].device.type} == {"meta"}
    assert (pair.y[1], nothing) == ("a", None)
    assert (type(again), again.data.device.type) == (type(packed), "meta")


def test_a_copy_passes_gradients_on_to_what_it_is_of():
    X = torch.ones(2, requires_grad=True)
    copy_batch([X])[0].sum().backward()
    assert X.grad.tolist() == [1, 1]


# Data that are no tensors yet


NUMBERS = np.array([[1.5, 2.0], [3.0, 4.0], [5.0, 6.0]])


def only_batch(*tensors):
    return next(iter(Data(*tensors, num_train=None, shuffle=False).train_dataloader()))


@pytest.mark.parametrize(
    "values",
    [
        NUMBERS,
        NUMBERS.astype(">f8"),
        NUMBERS.astype(np.float16),
        NUMBERS.astype(object),
        NUMBERS[::-1][::-1],
        pd.DataFrame(NUMBERS, index=[7, 8, 9]),
        pd.DataFrame({"a": NUMBERS[:, 0], "b": [2, 4, 6]}, dtype=object),
        NUMBERS.tolist(),
        [torch.tensor(row) for row in NUMBERS.tolist()],
    ],
)
def test_floating_point_numbers_of_any_kind_become_float32(values):
    (X,) = only_batch(values)
    assert X.dtype == torch.float32
    assert X.tolist() == NUMBERS.tolist()


def test_floating_point_follows_the_default_dtype():
    torch.set_default_dtype(torch.float64)
    try:
        (X,) = only_batch(NUMBERS.astype(np.float32))
    finally:
        torch.set_default_dtype(torch.float32)
    assert X.dtype == torch.float64


@pytest.mark.parametrize(
    "labels",
    [
        [0, 2, 1],
        np.array([0, 2, 1], dtype=np.int32),
        np.array([0, 2, 1], dtype=np.uint16),
        np.array([0, 2, 1], dtype=np.uint64),
        torch.tensor([0, 2, 1], dtype=torch.uint16),
        pd.Series([0, 2, 1], index=[7, 8, 9]),
        pd.Series([0, 2, 1]).astype("Int64"),
        pd.Series(["a", "c", "b"]).astype("category").cat.codes,
    ],
)
def test_integers_become_int64_as_labels_are(labels):
    _, y = only_batch(NUMBERS, labels)
    assert y.dtype == torch.int64
    assert y.tolist() == [0, 2, 1]


@pytest.mark.parametrize("dtype", [torch.float64, torch.int16, torch.uint8, torch.bool])
def test_a_tensor_keeps_its_dtype(dtype):
    assert only_batch(torch.ones(3, 2, dtype=dtype))[0].dtype == dtype


def test_images_as_bytes_stay_bytes():
    assert only_batch(np.ones((3, 2, 2), dtype=np.uint8))[0].dtype == torch.uint8


def test_an_array_that_cannot_be_written_is_copied():
    (X,) = only_batch(np.broadcast_to(np.ones(2, dtype=np.float32), (3, 2)))
    assert X.tolist() == [[1, 1]] * 3


@pytest.mark.parametrize(
    "labels",
    [
        ["cat", "dog", "cat"],
        np.array(["cat", "dog", "cat"]),
        np.array(["cat", "dog", "cat"], dtype=object),
        pd.Series(["cat", "dog", "cat"]),
        pd.Series(["cat", "dog", "cat"]).astype("category"),
        pd.Series([1, "cat", 2]),
    ],
)
def test_labels_that_are_text_are_refused_with_how_to_number_them(labels):
    with pytest.raises(
        DataError, match=r"tensors\[1\] .* holds 'cat', a text.*np.unique\(.*return_inverse=True"
    ):
        only_batch(NUMBERS, labels)


def test_the_way_to_number_classes_that_the_error_tells_works():
    classes, labels = np.unique(["cat", "dog", "cat"], return_inverse=True)
    _, y = only_batch(NUMBERS, labels)
    assert classes[y[1]] == "dog"


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}), "'x' in the column 'b'.*get_dummies"),
        (pd.date_range("2020", periods=2), "2020-01-01.*days since"),
        ([1.0, None], "None, where a value is missing"),
        (np.array([1, pd.NA], dtype=object), "<NA>, where a value is missing"),
        (None, "None, where a value is missing"),
        ([[1, 2], [3]], "all of the same length"),
        ([torch.ones(2), torch.ones(3)], "all of the same length"),
        (3.5, "a single value, 3.5"),
        (torch.tensor(2.0), "a single value"),
        (torch.eye(2).to_sparse(), r"sparse.*\.to_dense\(\)"),
        (np.array([2**63, 0], dtype=np.uint64), "above 2"),
        ([2**70, 0], "1180591620717411303424, an integer above 2"),
        ([{}, {}], "of type dict"),
    ],
)
def test_what_cannot_become_a_tensor_is_refused_with_the_value(values, reason):
    with pytest.raises(DataError, match=rf"tensors\[0\].*{reason}"):
        only_batch(values, [0, 1])


def test_a_model_trains_on_numpy_arrays():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(64, 2))
    trainer = Trainer(max_epochs=5, display="off")
    trainer.fit(
        SoftmaxRegression(2, lr=0.5), Data(X, (X[:, 0] > 0).astype(np.int32), num_train=None)
    )
    assert trainer.history["val_acc"][-1] > 0.9


@pytest.mark.parametrize("values", [[1.0, 1e300], np.array([[-1e300]]), [3.5e38]])
def test_a_number_too_large_for_the_dtype_of_layers_is_refused(values):
    with pytest.raises(DataError, match=r"which is too large for torch.float32.*3.4e\+38 at most"):
        as_tensor(values, "X")


def test_an_infinite_number_stays_one():
    assert as_tensor([float("inf"), 1.0], "X").tolist() == [float("inf"), 1.0]
