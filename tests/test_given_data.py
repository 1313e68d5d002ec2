"""What may stand for a DataModule: examples, data sets of PyTorch, minibatches, or two of them."""

import numpy as np
import pytest
import torch
from tests.small import Blobs
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import gradbook
from gradbook.data import GivenData, as_data
from gradbook.errors import DataError, ModelError

pytestmark = pytest.mark.usefixtures("blank_figures")

BLOBS = Blobs(num_train=60, num_val=40, content=0)
X, y = BLOBS.X[:60], BLOBS.y[:60]
X_VAL, Y_VAL = BLOBS.X[60:], BLOBS.y[60:]


class Stream(IterableDataset):
    def __iter__(self):
        return iter(zip(X, y, strict=True))

    def __len__(self):
        return len(X)


def loader(shuffle=False):
    return DataLoader(TensorDataset(X, y), 10, shuffle=shuffle)


ONE_SET = {
    "tensors": lambda: (X, y),
    "a list of tensors": lambda: [X, y],
    "arrays": lambda: (X.numpy(), y.numpy()),
    "a data set": lambda: TensorDataset(X, y),
    "a stream": lambda: Stream(),
    "a loader": loader,
    "a list of batches": lambda: list(loader()),
}


def train(data):
    gradbook.seed_everything(0)
    model = gradbook.SoftmaxRegression(3, 0.1)
    trainer = gradbook.Trainer(5, display="off")
    trainer.fit(model, data)
    return model, trainer


@pytest.mark.parametrize("kind", ONE_SET)
def test_a_model_is_trained_on_it_without_validation(kind):
    _, trainer = train(ONE_SET[kind]())

    losses = trainer.history["train_loss"]
    assert losses[-1] < losses[0]
    assert trainer.history.labels == ["train_loss"]


@pytest.mark.parametrize("kind", ONE_SET)
def test_the_second_of_two_is_for_validation(kind):
    _, trainer = train((ONE_SET[kind](), (X_VAL, Y_VAL)))

    assert trainer.history["val_acc"][-1] > 0.7


def test_the_second_may_be_none():
    _, trainer = train(((X, y), None))

    assert trainer.val_dataloader is None


def test_examples_are_cut_into_batches_of_32_in_random_order():
    model, trainer = train((X, y))
    again, _ = train(GivenData((X, y)))

    assert trainer.num_train_batches == 2
    assert all(map(torch.equal, model.parameters(), again.parameters()))
    first = next(iter(as_data((X, y)).train_dataloader()))[0]
    assert not torch.equal(first, X[:32])


def test_the_size_of_a_batch_can_be_chosen():
    data = GivenData((X, y), (X_VAL, Y_VAL), batch_size=7)

    assert [len(batch[-1]) for batch in data.val_dataloader()] == [7, 7, 7, 7, 7, 5]
    assert data.hparams["batch_size"] == 7
    assert "train" not in data.hparams


@pytest.mark.parametrize("kind", ONE_SET)
def test_one_set_is_validated_as_it_is(kind):
    model, trainer = train((X, y))

    found = trainer.validate(model, ONE_SET[kind]())
    assert found["val_loss"] == pytest.approx(model.loss(model(X), y).item(), rel=1e-6)


def test_of_two_sets_the_second_is_validated():
    model, trainer = train((X, y))

    found = trainer.validate(model, ((X, y), (X_VAL, Y_VAL)))
    assert found["val_loss"] == pytest.approx(model.loss(model(X_VAL), Y_VAL).item(), rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "given", [(X, y), TensorDataset(X, y), loader(), ((X, y), (X_VAL, Y_VAL))], ids=lambda _: ""
)
def test_experiments_and_inspection_take_it_too(given):
    model, _ = train((X, y))

    assert gradbook.inspection.inspect(model, given).accuracy > 0.5
    assert "largest" in str(gradbook.sharpness(model, given))
    assert gradbook.lr_range(model, given)


@pytest.mark.slow
def test_a_sweep_takes_examples(tmp_path):
    found = gradbook.sweep(
        *(gradbook.SoftmaxRegression, ((X, y), (X_VAL, Y_VAL))),
        **{"num_outputs": 3, "lr": [0.01, 0.1], "max_epochs": 2, "display": "off"},
        runs=tmp_path,
    )

    assert len(found.runs) == 2


def test_a_resumed_training_is_that_of_the_same_examples():
    whole, _ = train((X, y))
    gradbook.seed_everything(0)
    model = gradbook.SoftmaxRegression(3, 0.1)
    gradbook.Trainer(2, display="off", run="runs").fit(model, (X, y))
    again = gradbook.SoftmaxRegression(3, 0.1)
    trainer = gradbook.Trainer(5, display="off", run="runs")
    trainer.fit(again, (X, y), resume="runs/softmax-regression-1")

    assert all(map(torch.equal, whole.parameters(), again.parameters()))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (X, r"a tensor \(60, 4\) float32"),
        (np.ones(3), "array"),
        ([1, 2, 3], "list"),
        ({"X": X}, "dict"),
        ("data.csv", "data.csv"),
        (None, "None"),
        (3, "3"),
        (Blobs, "got the class Blobs itself. Make an instance: `Blobs"),
        ((X, y[:5]), r"same length, one entry for each example, but these have \[60, 5\]"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_data_is_refused_with_what_can_be_given(given, told):
    with pytest.raises(DataError, match=told) as caught:
        train(given)
    assert "DataModule" in str(caught.value) or "instance" in told or "length" in told


def test_model_and_data_in_the_wrong_order_are_named():
    with pytest.raises(ModelError, match=r"Write `fit\(model, data\)`"):
        gradbook.Trainer(1).fit((X, y), gradbook.SoftmaxRegression(3, 0.1))
