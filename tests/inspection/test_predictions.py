import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from gradbook import DataModule, MLPScratch, Module, SyntheticRegressionData
from gradbook.errors import BatchError, DataError, ModelError
from gradbook.inspection import predictions
from gradbook.inspection.predictions import batches_and_outputs


def test_outputs_and_labels_of_all_validation_batches(images, linear):
    outputs, labels = predictions(linear, images)
    assert torch.allclose(outputs, linear(images.X[10:]), atol=1e-6)
    assert torch.equal(labels, images.y[10:])
    assert not outputs.requires_grad


def test_the_training_set_comes_in_its_own_order(images, linear):
    before = torch.get_rng_state()
    assert torch.equal(predictions(linear, images, train=True).labels, images.y[:10])
    assert torch.equal(torch.get_rng_state(), before)


def test_the_data_go_on_shuffling(images, linear):
    loader = images.train_dataloader()
    images.get_dataloader = lambda train: loader
    predictions(linear, images, train=True)
    assert loader.shuffle


@pytest.mark.parametrize("training", [True, False])
def test_dropout_is_off_and_the_mode_is_restored(points, training):
    model = nn.Sequential(nn.Dropout(0.5)).train(training)
    data = points(torch.ones(50, 2), torch.zeros(50))
    assert predictions(model, data).outputs.eq(1).all()
    assert model.training is training
    assert model[0].training is training


def test_a_loop_that_is_left_leaves_gradients_on(images, linear):
    for _ in batches_and_outputs(linear, images):
        assert torch.is_grad_enabled()
        assert linear.training
        break


def test_several_inputs():
    class Sum(Module):
        def forward(self, a, b):
            return a + b

    class Pairs(DataModule):
        def val_dataloader(self):
            return [(torch.ones(2), torch.ones(2), torch.zeros(2))] * 3

    outputs, labels = predictions(Sum(), Pairs())
    assert outputs.tolist() == [2] * 6
    assert labels.tolist() == [0] * 6


def test_a_data_loader_of_pytorch(images, linear):
    examples = list(zip(images.X, images.y, strict=True))
    images.get_dataloader = lambda train: DataLoader(examples, batch_size=7)
    assert torch.equal(predictions(linear, images).labels, images.y)


def test_no_validation_set():
    data = SyntheticRegressionData(num_val=0)
    with pytest.raises(DataError, match=r"has no validation set.*train=True"):
        predictions(nn.Linear(2, 1), data)


def test_an_empty_set(linear, images):
    images.get_dataloader = lambda train: []
    with pytest.raises(DataError, match="training set of Points is empty"):
        predictions(linear, images, train=True)


def test_a_batch_without_labels(linear, images):
    images.get_dataloader = lambda train: [images.X]
    with pytest.raises(BatchError, match="Points gave a Tensor"):
        predictions(linear, images)


def test_several_outputs(images):
    class Two(Module):
        def forward(self, X):
            return X, X

    with pytest.raises(
        ModelError, match=r"Two\.forward must be one tensor here, but it is a tuple"
    ):
        predictions(Two(), images)


def test_a_class_is_no_model(images):
    with pytest.raises(ModelError, match="the class MLPScratch itself"):
        predictions(MLPScratch, images)


def test_a_class_is_no_data(linear, images):
    with pytest.raises(DataError, match="class Points itself"):
        predictions(linear, type(images))


@pytest.mark.parametrize("make", [list, lambda loader: loader, lambda loader: loader.dataset])
def test_batches_and_data_sets_are_taken_as_they_are(images, linear, make):
    loader = images.val_dataloader()
    given = predictions(linear, make(loader))
    torch.testing.assert_close(given.outputs, predictions(linear, images).outputs)


def test_labels_may_be_an_array(images, linear):
    X, y = next(iter(images.val_dataloader()))
    assert predictions(linear, [(X, y.numpy())]).labels.tolist() == y.tolist()


def test_a_tensor_has_no_labels_to_compare_with(linear):
    with pytest.raises(DataError, match=r"inspect\(\) needs data, but got a tensor \(2, 30\)"):
        predictions(linear, torch.ones(2, 30))
