"""What a learner is told when a model and a batch do not fit together."""

import re

import numpy as np
import pytest
import torch
from tests.small import Net
from torch import nn

from gradbook import (
    MLP,
    Classifier,
    LinearRegression,
    MLPScratch,
    Module,
    SoftmaxRegressionScratch,
    Trainer,
    checks,
    sharpness,
)
from gradbook.errors import BatchError, ConfigError, ModelError, ShapeError
from gradbook.experiments.graphs import graph

IMAGES = torch.zeros(4, 1, 6, 6)


def misfit(model, X):
    with pytest.raises(ShapeError) as caught:
        model(X)
    return str(caught.value)


# Every message: the layer, what it expected, what it received, and what to change


@pytest.mark.parametrize(
    ("layers", "X", "layer", "expected", "received", "repair"),
    [
        (
            [nn.ReLU(), nn.Linear(36, 3)],
            IMAGES,
            "Layer 'net.1' (Linear(in_features=36",
            "expected shape (..., 36)",
            "received (4, 1, 6, 6) float32",
            "Put nn.Flatten() before it (1*6*6 = 36)",
        ),
        (
            [nn.Linear(10, 3)],
            IMAGES,
            "Layer 'net.0' (Linear",
            "expected shape (..., 10)",
            "received (4, 1, 6, 6) float32",
            "Put nn.Flatten() before it and set in_features=36",
        ),
        (
            [nn.Flatten(), nn.Linear(10, 3)],
            IMAGES,
            "Layer 'net.1' (Linear",
            "expected shape (..., 10)",
            "received (4, 36) float32",
            "Set in_features=36, or use nn.LazyLinear",
        ),
        (
            [nn.Flatten(), nn.Linear(36, 3)],
            IMAGES.to(torch.uint8),
            "Layer 'net.1' (Linear",
            "expected dtype float32",
            "received (4, 36) uint8",
            "X.to(torch.float32)",
        ),
        (
            [nn.Flatten(), nn.Linear(36, 3)],
            IMAGES.double(),
            "Layer 'net.1' (Linear",
            "expected dtype float32",
            "received (4, 36) float64",
            "X.to(torch.float32)",
        ),
        (
            [nn.Conv2d(1, 2, 3)],
            IMAGES.to(torch.uint8),
            "Layer 'net.0' (Conv2d",
            "expected dtype float32",
            "received (4, 1, 6, 6) uint8",
            "X.to(torch.float32)",
        ),
        (
            [nn.Conv2d(1, 2, 3)],
            IMAGES[:, 0],
            "Layer 'net.0' (Conv2d",
            "expected shape (batch, 1, height, width)",
            "received (4, 6, 6) float32",
            "X.unsqueeze(1)",
        ),
        (
            [nn.Flatten(), nn.Conv2d(1, 2, 3)],
            IMAGES,
            "Layer 'net.1' (Conv2d",
            "expected shape (batch, 1, height, width)",
            "received (4, 36) float32",
            "Give it images",
        ),
        (
            [nn.Conv2d(3, 2, 3)],
            IMAGES,
            "Layer 'net.0' (Conv2d",
            "expected shape (batch, 3, height, width)",
            "received (4, 1, 6, 6) float32",
            "Set in_channels=1",
        ),
        (
            [nn.Conv2d(1, 2, 7)],
            IMAGES,
            "Layer 'net.0' (Conv2d",
            "kernel of (7, 7) fits in",
            "received (4, 1, 6, 6) float32",
            "larger images",
        ),
        (
            [nn.MaxPool2d(4), nn.MaxPool2d(2)],
            IMAGES,
            "Layer 'net.1' (MaxPool2d",
            "kernel of 2 fits in",
            "received (4, 1, 1, 1) float32",
            "larger images",
        ),
        (
            [nn.BatchNorm2d(3)],
            IMAGES,
            "Layer 'net.0' (BatchNorm2d",
            "expected shape (batch, 3, height, width)",
            "received (4, 1, 6, 6) float32",
            "Set num_features=1",
        ),
        (
            [nn.Flatten(), nn.BatchNorm1d(5)],
            IMAGES,
            "Layer 'net.1' (BatchNorm1d",
            "expected shape (batch, 5)",
            "received (4, 36) float32",
            "Set num_features=36",
        ),
        (
            [nn.BatchNorm1d(1)],
            IMAGES,
            "Layer 'net.0' (BatchNorm1d",
            "expected shape (batch, 1)",
            "received (4, 1, 6, 6) float32",
            "Use nn.BatchNorm2d",
        ),
        (
            [nn.Flatten(), nn.BatchNorm2d(36)],
            IMAGES,
            "Layer 'net.1' (BatchNorm2d",
            "expected shape (batch, 36, height, width)",
            "received (4, 36) float32",
            "Use nn.BatchNorm1d",
        ),
        (
            [nn.Flatten(), nn.BatchNorm1d(36)],
            IMAGES[:1],
            "Layer 'net.1' (BatchNorm1d",
            "expected more than one example",
            "received (1, 36) float32",
            "One example has no spread",
        ),
        (
            [nn.Flatten(), nn.LayerNorm(5)],
            IMAGES,
            "Layer 'net.1' (LayerNorm",
            "expected another shape or dtype",
            "received (4, 36) float32",
            "Compare its settings",
        ),
        (
            [nn.Embedding(5, 3)],
            torch.zeros(4, 2),
            "Layer 'net.0' (Embedding",
            "expected integers",
            "received (4, 2) float32",
            "X.long()",
        ),
        (
            [nn.Embedding(5, 3)],
            torch.tensor([[0, 7]]),
            "Layer 'net.0' (Embedding",
            "expected numbers from 0 to 4",
            "received (1, 2) int64",
            "These go from 0 to 7. Make the model with the vocabulary of its data",
        ),
        (
            [nn.GRU(5, 3)],
            torch.zeros(2, 4, 6),
            "Layer 'net.0' (GRU",
            "expected shape (num_steps, batch, 5)",
            "received (2, 4, 6) float32",
            "num_inputs=6",
        ),
        (
            [nn.Linear(1, 3)],
            torch.zeros(4),
            "Layer 'net.0' (Linear",
            "expected shape (..., 1)",
            "received (4,) float32",
            "X.reshape((-1, 1))",
        ),
        (
            [nn.Conv2d(3, 4, 3)],
            torch.zeros(2, 9, 9, 3),
            "Layer 'net.0' (Conv2d",
            "expected shape (batch, 3, height, width)",
            "received (2, 9, 9, 3) float32",
            "X.permute(0, 3, 1, 2)",
        ),
    ],
    ids=lambda value: None if isinstance(value, list | torch.Tensor) else str(value)[:30],
)
def test_a_layer_that_does_not_fit(layers, X, layer, expected, received, repair):
    message = misfit(Net(*layers), X)
    head, _, trail = message.partition("\nShapes on the way:\n")
    for part in (layer, expected, received, repair):
        assert part in head
    assert "<- does not fit" in trail


def test_the_trail_holds_every_shape_on_the_way():
    model = Net(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(7, 3))
    lines = misfit(model, IMAGES).partition("Shapes on the way:\n")[2].splitlines()
    assert lines[0] == "  input: (4, 1, 6, 6) float32"
    assert lines[1].startswith("  net.0 Conv2d(")
    assert lines[1].endswith(": (4, 2, 4, 4) float32")
    assert lines[2].endswith(": (4, 32) float32")
    assert lines[3].endswith("received (4, 32) float32  <- does not fit")
    assert lines[4].startswith("PyTorch says: ")


def test_pytorch_s_own_error_is_the_cause():
    with pytest.raises(ShapeError) as caught:
        Net(nn.Linear(2, 3))(torch.zeros(4, 5))
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert str(caught.value.__cause__) in str(caught.value)


@pytest.mark.slow
def test_looking_for_the_reason_leaves_no_hooks():
    model = Net(nn.Linear(2, 3))
    misfit(model, torch.zeros(4, 5))
    assert not model.net[0]._forward_hooks
    assert not model.net[0]._forward_pre_hooks


def test_a_scratch_model_lists_its_parameters():
    message = misfit(SoftmaxRegressionScratch(11, 3), IMAGES[:, :, 1:])
    assert "does not fit in SoftmaxRegressionScratch.forward" in message
    assert "W (11, 3), b (3,)" in message
    assert "input: (4, 1, 5, 6) float32" in message


def test_a_scratch_model_that_does_not_flatten_is_told_how():
    class Mine(Module):
        def __init__(self):
            super().__init__()
            self.W = torch.zeros(36, 3, requires_grad=True)

        def forward(self, X):
            return X @ self.W

    assert "X.reshape((-1, self.W.shape[0]))" in misfit(Mine(), IMAGES)


@pytest.mark.parametrize("make", [SoftmaxRegressionScratch, MLPScratch])
def test_uint8_images_in_a_scratch_model_are_named(make):
    message = misfit(make(36, 3), IMAGES.to(torch.uint8))
    assert "The input is torch.uint8" in message
    assert "X.to(torch.float32)" in message


def test_several_inputs_are_all_shown():
    class Mine(Module):
        def forward(self, X, Z):
            return X @ Z

    message = misfit_two(Mine(), torch.zeros(2, 3), torch.zeros(2, 3))
    assert "inputs: (2, 3) float32, (2, 3) float32" in message


def misfit_two(model, *inputs):
    with pytest.raises(ShapeError) as caught:
        model(*inputs)
    return str(caught.value)


def test_a_forward_that_gives_a_layer_no_tensor_is_told_so():
    class Listed(nn.Module):
        def forward(self, Xs):
            return torch.cat(Xs) @ torch.zeros(5, 1)

    class Mine(Module):
        def __init__(self):
            super().__init__()
            self.layer = Listed()

        def forward(self, X):
            return self.layer([X, X])

    message = misfit(Mine(), torch.zeros(2, 3))
    assert "expected a tensor, but received list of 2" in message


def test_an_input_that_is_no_tensor_lists_the_parameters_all_the_same():
    class Mine(Module):
        def __init__(self):
            super().__init__()
            self.w = torch.zeros(5, 1, requires_grad=True)

        def forward(self, Xs):
            return torch.cat(Xs) @ self.w

    assert "w (5, 1)" in misfit(Mine(), [torch.zeros(2, 3)])


def test_an_error_that_does_not_come_again_is_not_explained():
    class Once(Module):
        failed = False

        def forward(self, X):
            if not self.failed:
                self.failed = True
                raise RuntimeError("The size of tensor a must match")

    with pytest.raises(RuntimeError, match="must match") as caught:
        Once()(torch.zeros(1))
    assert not isinstance(caught.value, ShapeError)


# Settings


@pytest.mark.parametrize("value", [0, 0.1, 3, np.float32(0.1), np.int64(2), torch.tensor(0.5)])
def test_a_rate_may_be_any_finite_number_of_at_least_0(value):
    checks.check_rate(value)


@pytest.mark.parametrize(
    "value",
    [-0.1, float("nan"), float("inf"), "0.1", None, True, [0.1], torch.ones(2), torch.tensor(-1.0)],
)
def test_any_other_rate_is_refused_with_its_name_and_value(value):
    with pytest.raises(ConfigError, match=r"rate must be a finite number of at least 0, but"):
        checks.check_rate(value, "rate")


@pytest.mark.parametrize("value", [1, 5, np.int64(2)])
def test_a_whole_number_may_be_of_any_integer_type(value):
    checks.check_whole_number(value, "n", at_least=1)


@pytest.mark.parametrize("value", [0, -1, 1.0, 1.5, "3", None, True])
def test_what_is_no_whole_number_is_refused_with_its_name_and_value(value):
    with pytest.raises(
        ConfigError, match=rf"n must be a whole number of at least 1, but it is {value!r}"
    ):
        checks.check_whole_number(value, "n", at_least=1)


@pytest.mark.parametrize("value", [0.1, 3, torch.tensor(0.5)])
def test_a_positive_number_is_above_0(value):
    checks.check_positive(value, "limit")


@pytest.mark.parametrize("value", [0, 0.0, -1, float("nan"), "1", None, True])
def test_what_is_not_above_0_is_refused_with_its_name_and_value(value):
    with pytest.raises(ConfigError, match=rf"limit must be .*0, but it is {value!r}"):
        checks.check_positive(value, "limit")


def test_one_of_the_choices_is_accepted():
    checks.check_choice("norm", "algorithm", ("norm", "value"))


@pytest.mark.parametrize("value", ["other", 3, None, ["norm"]])
def test_what_is_no_choice_is_refused_beside_those_there_are(value):
    message = f"algorithm is one of norm, value, but it is {value!r}"
    with pytest.raises(ConfigError, match=re.escape(message)):
        checks.check_choice(value, "algorithm", ("norm", "value"))


def test_a_misspelled_choice_is_corrected():
    with pytest.raises(ConfigError, match=r"'nrom'\. Did you mean 'norm'\?"):
        checks.check_choice("nrom", "algorithm", ("norm", "value"))


# Targets of a regression


def test_targets_of_the_predictions_shape_fit():
    checks.check_targets(torch.zeros(4, 1), torch.zeros(4, 1))


@pytest.mark.parametrize(("shape", "advice"), [((4,), "y.reshape(-1, 1)"), ((5, 1), "one target")])
def test_targets_of_another_shape_are_refused_with_both_shapes(shape, advice):
    with pytest.raises(BatchError, match=re.escape(advice)) as caught:
        checks.check_targets(torch.zeros(4, 1), torch.zeros(shape))
    assert "(4, 1)" in str(caught.value)
    assert f"{shape} float32" in str(caught.value)


@pytest.mark.parametrize("value", [1e308, 10**400, 1e39])
def test_a_rate_beyond_float32_is_too_large(value):
    with pytest.raises(ConfigError, match=r"lr is .* too large: .* float32 .* is 3\.4e\+38"):
        checks.check_rate(value)


def test_a_number_that_is_no_rate_may_be_as_large_as_python_has_it():
    checks.check_number(1e308, "gradient_clip_val")


@pytest.mark.parametrize("value", [float("inf"), -float("inf"), float("nan"), -1, -(10**400)])
def test_a_number_is_finite_and_not_negative(value):
    with pytest.raises(ConfigError, match="a finite number of at least 0"):
        checks.check_number(value, "n")


@pytest.mark.parametrize("value", [2**63, 2**64, pytest.param(10**5000, id="digits")])
def test_a_size_that_cannot_be_counted_to_is_too_large(value):
    with pytest.raises(ConfigError, match=r"num_hiddens is .* too large: PyTorch counts up to 9"):
        checks.check_whole_number(value, "num_hiddens", at_least=1)


# What is no tensor where one is needed

X, Y = torch.zeros(8, 4), torch.arange(8) % 3

#: Whatever sends a batch through a model and its loss.
USES = {
    "fit": lambda model, batches: Trainer(1, display=False).fit(model, Given(batches)),
    "validate": lambda model, batches: Trainer(1).validate(model, Given(batches)),
    "sharpness": lambda model, batches: sharpness(model, Given(batches)),
    "graph": lambda model, batches: graph(model, Given(batches)),
}


class Given:
    def __init__(self, batches):
        self.batches = batches

    def train_dataloader(self):
        return self.batches

    val_dataloader = train_dataloader


def three_classes():
    return MLP(num_outputs=3, num_hiddens=4)


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("output", [lambda o: (o, o), lambda o: {"logits": o}, lambda o: [o]])
def test_an_output_that_is_no_tensor_is_named(output, use):
    class Several(Classifier):
        def __init__(self):
            super().__init__()
            self.layer, self.lr = nn.Linear(4, 3), 0.1

        def forward(self, X):
            return output(self.layer(X))

    with pytest.raises(ModelError, match=r"must be one tensor here, but it is a .*`loss\(self"):
        USES[use](Several(), [(X, Y)])


def test_an_accuracy_of_no_tensor_is_to_be_written():
    with pytest.raises(ModelError, match=r"it is a tuple.*`accuracy\(self"):
        Classifier().accuracy((X, X), Y)
    with pytest.raises(ModelError, match=r"returned nothing"):
        Classifier().accuracy(None, Y)


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(
    ("batch", "told"),
    [
        ((X.numpy(), Y.numpy()), r"input of MLP must be a tensor, but it is ndarray.*as_tensor"),
        ((X.tolist(), Y), r"input of MLP must be a tensor, but it is list of 8.*as_tensor"),
        ((X, Y.numpy()), r"labels .* must be a tensor, but got ndarray.*as_tensor"),
        ((X, ["cat"] * 8), r"labels .* must be a tensor, but got list.*np.unique"),
        ((X, None), r"labels .* must be a tensor, but got None\. Give each batch its labels"),
        ((X, Y * 1j), r"complex64.*`Y.real.long\(\)`"),
        ((X, Y, Y), r"MLP.forward cannot take .* \(8,\) int64.*such as \(X, y\)"),
    ],
    ids=["arrays", "lists", "array of labels", "texts", "None", "complex", "three"],
)
def test_a_batch_that_is_not_of_tensors_is_told_what_to_write(batch, told, use):
    with pytest.raises(BatchError, match=told):
        USES[use](three_classes(), [batch])


def test_targets_that_are_an_array_are_told_so():
    with pytest.raises(BatchError, match=r"labels .* must be a tensor, but got ndarray"):
        LinearRegression().loss(X, X.numpy())


def test_an_error_of_the_learner_s_own_is_left_to_speak():
    class Own(Classifier):
        def forward(self, X, names):
            return X.no_such_thing

    with pytest.raises(AttributeError, match="no_such_thing"):
        Own()(X, ["a"])
