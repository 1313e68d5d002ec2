import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, TensorDataset

from gradbook.data import DataModule, TensorLoader, giving_copies, resident
from gradbook.errors import ConfigError, DataError, GradbookWarning


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


def free(monkeypatch, num_bytes):
    monkeypatch.setattr("gradbook.data.free_bytes", lambda device: num_bytes)
    return torch.device("meta")


def devices_of(loaders):
    return [each.tensors[0].device.type for each in loaders]


@pytest.mark.parametrize("num_bytes", [320, None])
def test_data_that_fit_half_of_the_free_memory_move_to_the_device(monkeypatch, num_bytes):
    device = free(monkeypatch, num_bytes)  # an example has 12 bytes
    assert devices_of(resident([loader(10), loader(3)], device)) == ["meta", "meta"]


def test_data_that_do_not_fit_stay_where_they_are(monkeypatch):
    device = free(monkeypatch, 300)
    loaders = [loader(3), loader(10), loader(3)]
    with pytest.warns(GradbookWarning, match=r"data need 1.2e-07 GB, and meta has 1.14e-07 GB"):
        assert devices_of(resident(loaders, device)) == ["meta", "cpu", "meta"]


def test_what_is_no_data_in_memory_is_left_as_it_is(monkeypatch):
    given = [DataLoader([1, 2]), None]
    assert resident(given, free(monkeypatch, 0)) == given


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


@pytest.mark.parametrize(
    "tensors", [torch.ones(2, 2), np.ones((3, 2)), pd.DataFrame([1.0]), {}, None]
)
def test_tensors_that_are_no_list_are_refused(tensors):
    with pytest.raises(DataError, match=r"A list of tensors is needed.*\(X, y\)"):
        Numbers().get_tensorloader(tensors, train=False)


def test_a_tensor_dataset_given_as_tensors_is_told_where_they_are():
    with pytest.raises(DataError, match="Give its `tensors`"):
        Numbers().get_tensorloader(TensorDataset(torch.ones(2)), train=False)


def test_tensors_of_other_lengths_are_refused_also_where_the_chosen_part_is_as_long():
    with pytest.raises(DataError, match=r"\[4, 3\]"):
        Numbers().get_tensorloader((torch.ones(4), torch.ones(3)), True, slice(0, 2))
