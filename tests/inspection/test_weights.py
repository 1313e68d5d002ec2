import numpy as np
import pytest
import torch
from torch import nn

from gradbook import SoftmaxRegression, SoftmaxRegressionScratch
from gradbook.errors import DataError, ModelError
from gradbook.inspection import show_weights, weight_images


def test_the_weights_of_a_layer(images, linear):
    weights = weight_images(linear, images)
    assert torch.equal(weights, linear.net[1].weight.detach().reshape(3, 6, 5))


def test_the_weights_of_a_scratch_model(images):
    model = SoftmaxRegressionScratch(num_inputs=30, num_outputs=3)
    weights = weight_images(model, images)
    assert torch.equal(weights[2].reshape(-1), model.W[:, 2])


def test_one_scale_of_colors_for_all_classes(images, linear):
    axes = show_weights(linear, images)
    weights = linear.net[1].weight.detach()
    limit = float(weights.abs().max())
    for label, ax in enumerate(axes):
        assert ax.images[0].get_clim() == pytest.approx((-limit, limit))
        assert ax.get_title() == str(label)
        assert np.allclose(ax.images[0].get_array(), weights[label].reshape(6, 5))


def test_weights_that_are_all_zero(images, linear):
    nn.init.zeros_(linear.net[1].weight)
    assert show_weights(linear, images)[0].images[0].get_clim() == (-1, 1)


def test_a_model_with_a_hidden_layer(images):
    model = nn.Sequential(nn.Flatten(), nn.Linear(30, 4), nn.Linear(4, 3))
    with pytest.raises(
        ModelError, match=r"straight to the classes.*1\.weight \(4, 30\), 2\.weight"
    ):
        weight_images(model, images)


def test_a_model_without_weights(images, given):
    with pytest.raises(ModelError, match="but Given has no weights"):
        weight_images(given, images)


def test_a_model_that_was_not_trained_yet(images):
    with pytest.raises(ModelError, match="Train it first"):
        weight_images(SoftmaxRegression(), images)


def test_colored_images(points):
    data = points(torch.rand(4, 3, 2, 2), torch.zeros(4), num_train=4)
    with pytest.raises(ModelError, match="images of 3 channels"):
        weight_images(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), data)


def test_inputs_that_are_no_images(points):
    data = points(torch.rand(4, 2), torch.zeros(4), num_train=4)
    with pytest.raises(DataError, match="no images"):
        weight_images(nn.Linear(2, 3), data)
