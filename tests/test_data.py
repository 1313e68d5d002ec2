from collections import namedtuple

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.small import Data
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from gradbook.data import DataModule, TensorLoader, as_tensor, copy_batch, giving_copies, to_device
from gradbook.errors import ConfigError, DataError
from gradbook.models import SoftmaxRegression
from gradbook.trainer import Trainer


class Numbers(DataModule):
    def __init__(self, n=10, batch_size=4):
        super().__init__()
        self.save_hyperparameters()
        self.X = torch.arange(n).float().reshape(-1, 1)
        self.y = torch.arange(n)

    def get_dataloader(self, train):
        return self.get_tensorloader(
            (self.X, self.y), train, slice(0, 8) if train else slice(8, 10)
        )


def loader(n=10, batch_size=4, **options):
    return TensorLoader((torch.arange(n).float(), torch.arange(n)), batch_size, **options)


@given(n=st.integers(1, 60), batch_size=st.integers(1, 70), shuffle=st.booleans())
def test_every_example_comes_exactly_once(n, batch_size, shuffle):
    labels = torch.cat([y for _, y in loader(n, batch_size, shuffle=shuffle)])
    assert sorted(labels.tolist()) == list(range(n))


@pytest.mark.slow
@given(n=st.integers(1, 60), batch_size=st.integers(1, 70))
def test_the_number_of_batches_is_the_length(n, batch_size):
    batches = loader(n, batch_size)
    assert len(list(batches)) == len(batches)


@pytest.mark.slow
@given(
    n=st.integers(1, 40),
    batch_size=st.integers(1, 50),
    shuffle=st.booleans(),
    sides=st.lists(st.integers(1, 3), max_size=2),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.uint8, torch.int64]),
)
def test_batches_are_like_those_of_torch(n, batch_size, shuffle, sides, dtype):
    tensors = (torch.zeros(n, *sides, dtype=dtype), torch.zeros(n, dtype=torch.int64))
    ours = list(TensorLoader(tensors, batch_size, shuffle))
    theirs = list(DataLoader(TensorDataset(*tensors), batch_size, shuffle))
    assert [[(t.shape, t.dtype) for t in batch] for batch in ours] == [
        [(t.shape, t.dtype) for t in batch] for batch in theirs
    ]
    assert {type(batch) for batch in ours} == {type(batch) for batch in theirs}


def test_without_shuffling_batches_equal_those_of_torch():
    ours = loader()
    theirs = DataLoader(ours.dataset, batch_size=4)
    for mine, other in zip(ours, theirs, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(mine, other, strict=True))


def test_shuffled_inputs_stay_with_their_labels():
    for X, y in loader(50, 7, shuffle=True):
        assert torch.equal(X.long(), y)


def test_each_pass_takes_a_new_order():
    batches = loader(50, 50, shuffle=True)
    (_, first), (_, second) = next(iter(batches)), next(iter(batches))
    assert not torch.equal(first, second)


def test_a_seed_fixes_the_order():
    orders = []
    for _ in range(2):
        torch.manual_seed(3)
        orders.append(torch.cat([y for _, y in loader(50, 7, shuffle=True)]))
    assert torch.equal(*orders)


def test_two_passes_at_once_do_not_disturb_each_other():
    batches = loader(12, 4)
    pairs = [(a[1].tolist(), b[1].tolist()) for a, b in zip(batches, batches, strict=True)]
    assert all(a == b for a, b in pairs)


def test_without_shuffling_no_random_number_is_drawn():
    state = torch.get_rng_state()
    list(loader())
    assert torch.equal(torch.get_rng_state(), state)


def test_the_transform_gets_the_batch_and_gives_it():
    batches = loader(transform=lambda batch: [batch[0] / 10, batch[1]])
    X, y = next(iter(batches))
    assert torch.equal(X * 10, y.float())


def test_the_first_batch_is_seen_without_drawing_a_random_number():
    batches = loader(shuffle=True, transform=lambda batch: [batch[0] + 1, batch[1]])
    state = torch.get_rng_state()
    X, y = batches.first()
    assert torch.equal(torch.get_rng_state(), state)
    assert y.tolist() == [0, 1, 2, 3]
    assert X.tolist() == [1, 2, 3, 4]


def test_a_loader_moves_as_a_whole():
    moved = loader(shuffle=True, transform=list).to(torch.device("meta"))
    assert {tensor.device.type for tensor in moved.tensors} == {"meta"}
    assert moved.shuffle
    assert moved.transform is list


def test_moving_leaves_the_loader_as_it_was():
    batches = loader()
    batches.to(torch.device("meta"))
    assert batches.tensors[0].device.type == "cpu"


def test_the_data_set_is_the_tensors():
    assert len(loader(10).dataset) == 10
    assert loader(10).dataset[3] == (3.0, 3)


@pytest.mark.parametrize("tensors", [(), (torch.empty(0, 2), torch.empty(0))])
def test_an_empty_data_set_is_refused(tensors):
    with pytest.raises(DataError, match="empty"):
        TensorLoader(tensors, 4)


def test_tensors_of_different_lengths_are_refused_with_their_lengths():
    with pytest.raises(DataError, match=r"\[3, 2\]"):
        TensorLoader((torch.zeros(3), torch.zeros(2)), 4)


@pytest.mark.parametrize("batch_size", [0, -1, 1.5, "3", None, True])
def test_a_batch_size_that_is_no_positive_whole_number_is_refused(batch_size):
    with pytest.raises(ConfigError, match="batch_size must be a whole number of at least 1"):
        loader(batch_size=batch_size)


@pytest.mark.parametrize("batch_size", [3, np.int64(3), torch.tensor(3)])
def test_any_integer_is_a_batch_size(batch_size):
    assert loader(batch_size=batch_size).batch_size == 3


def test_the_defaults_are_the_book_s():
    assert DataModule().hparams == {"root": "../data", "num_workers": 4}


def test_training_batches_are_shuffled_and_validation_batches_are_not():
    data = Numbers()
    assert data.train_dataloader().shuffle
    assert not data.val_dataloader().shuffle


def test_indices_choose_the_examples():
    data = Numbers()
    assert sorted(torch.cat([y for _, y in data.train_dataloader()]).tolist()) == list(range(8))
    assert torch.cat([y for _, y in data.val_dataloader()]).tolist() == [8, 9]


def test_indices_may_be_a_tensor():
    data = Numbers()
    batches = data.get_tensorloader((data.X, data.y), False, torch.tensor([5, 1]))
    assert next(iter(batches))[1].tolist() == [5, 1]


def test_without_indices_every_example_is_taken():
    data = Numbers()
    assert len(data.get_tensorloader((data.X, data.y), train=False).dataset) == 10


def test_data_that_do_not_say_how_to_get_batches_name_the_method():
    class Mine(DataModule):
        pass

    with pytest.raises(DataError, match=r"Mine.*get_dataloader\(self, train\)"):
        Mine().train_dataloader()


# Batches have memory of their own


@pytest.mark.parametrize("shuffle", [False, True])
def test_what_is_written_into_a_batch_does_not_change_the_data(shuffle):
    X, y = torch.ones(5, 2), torch.zeros(5, dtype=torch.int64)
    loader = TensorLoader((X, y), 2, shuffle, transform=lambda batch: [t.add_(1) for t in batch])
    for batch in [*loader, loader.first()]:
        for tensor in batch:
            tensor.fill_(7)
    assert torch.equal(X, torch.ones(5, 2))
    assert torch.equal(y, torch.zeros(5, dtype=torch.int64))


def test_a_batch_that_is_kept_keeps_no_other_alive():
    (X, _), *_ = TensorLoader((torch.zeros(100, 4), torch.zeros(100)), 10)
    assert X.untyped_storage().nbytes() == 10 * 4 * 4


def test_batches_of_a_list_are_given_as_copies_and_other_loaders_as_they_are():
    batches = [(torch.zeros(2), np.zeros(2)), {"X": [torch.zeros(2)]}]
    for _ in range(2):
        (X, array), named = giving_copies(batches)
        assert X.tolist() == array.tolist() == named["X"][0].tolist() == [0, 0]
        X += 1
        array += 1
        named["X"][0] += 1
    loader = TensorLoader((torch.zeros(2),), 1)
    assert giving_copies(loader) is loader


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


@pytest.mark.parametrize("tensors", [torch.ones(2, 2), NUMBERS, pd.DataFrame(NUMBERS), {}, None])
def test_tensors_that_are_no_list_are_refused(tensors):
    with pytest.raises(DataError, match=r"A list of tensors is needed.*\(X, y\)"):
        Numbers().get_tensorloader(tensors, train=False)


def test_a_tensor_dataset_given_as_tensors_is_told_where_they_are():
    with pytest.raises(DataError, match="Give its `tensors`"):
        Numbers().get_tensorloader(TensorDataset(torch.ones(2)), train=False)


def test_tensors_of_other_lengths_are_refused_also_where_the_chosen_part_is_as_long():
    with pytest.raises(DataError, match=r"\[4, 3\]"):
        Numbers().get_tensorloader((torch.ones(4), torch.ones(3)), True, slice(0, 2))


@pytest.mark.parametrize("indices", [3, 99, [99], "a", torch.tensor(0)])
def test_indices_that_choose_no_examples_are_refused(indices):
    with pytest.raises(DataError, match=r"indices=.*the 4 examples.*slice"):
        Numbers().get_tensorloader((torch.ones(4), torch.ones(4)), True, indices)


@pytest.mark.parametrize(
    "indices",
    [slice(1, 3), [1, 2], range(1, 3), np.array([1, 2]), torch.arange(4).remainder(3) > 0],
)
def test_indices_may_be_a_slice_numbers_or_a_mask(indices):
    loader = Numbers().get_tensorloader((torch.arange(4),), False, indices)
    assert next(iter(loader))[0].tolist() == [1, 2]


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
