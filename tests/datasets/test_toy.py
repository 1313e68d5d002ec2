import pytest
import torch

from gradbook import seed_everything
from gradbook.datasets import Blobs, Circles, Moons, Sine, Spirals, ToyData, Xor
from gradbook.errors import ConfigError

POINTS = [Moons, Circles, Spirals, Xor, Blobs]


@pytest.mark.parametrize("Class", POINTS)
def test_points_are_in_the_plane_and_have_a_class_each(Class):
    data = Class(num_train=60, num_val=30)
    assert (data.X.shape, data.X.dtype) == ((90, 2), torch.float32)
    assert (data.y.shape, data.y.dtype) == ((90,), torch.int64)


@pytest.mark.parametrize("Class", POINTS)
def test_both_sets_have_as_many_examples_of_each_class(Class):
    data = Class(num_train=60, num_val=30)
    for rows in (data.y[:60], data.y[60:]):
        assert len(rows.bincount().unique()) == 1


def test_a_sine_is_a_regression_with_one_input():
    data = Sine(num_train=5, num_val=3, noise=0)
    assert data.X.shape == data.y.shape == (8, 1)
    assert torch.equal(data.y, data.X.sin())
    assert data.X.abs().max() <= torch.pi


@pytest.mark.parametrize("Class", [*POINTS, Sine])
def test_noise_has_the_standard_deviation_that_was_asked_for(Class):
    made = []
    for noise in (0, 0.5):
        seed_everything(1)
        made.append(Class(num_train=20_000, num_val=0, noise=noise))
    name = "y" if Class is Sine else "X"
    difference = getattr(made[1], name) - getattr(made[0], name)
    assert difference.std() == pytest.approx(0.5, rel=0.02)


@pytest.mark.parametrize("Class", [*POINTS, Sine])
def test_a_seed_gives_the_same_examples(Class):
    made = []
    for _ in range(2):
        seed_everything(3)
        made.append(Class())
    assert torch.equal(made[0].X, made[1].X)
    assert torch.equal(made[0].y, made[1].y)


@pytest.mark.parametrize("Class", [*POINTS, Sine])
def test_the_first_examples_are_for_training_and_the_others_for_validation(Class):
    data = Class(num_train=20, num_val=10, batch_size=8)
    X, y = data.val_dataloader().tensors
    assert torch.equal(X, data.X[20:])
    assert torch.equal(y, data.y[20:])
    assert len(data.train_dataloader().tensors[0]) == 20
    assert len(next(iter(data.train_dataloader()))[0]) == 8
    assert Class(num_val=0).val_dataloader() is None


def test_the_shapes_are_the_known_ones():
    radius = Circles(noise=0).X.norm(dim=1)
    torch.testing.assert_close(radius, 1 / (1 + Circles().y.float()))
    moons = Moons(noise=0)
    centers = torch.tensor([-0.5, -0.25]) * (1 - 2 * moons.y[:, None])
    torch.testing.assert_close((moons.X - centers).norm(dim=1), torch.ones(300))
    xor = Xor(noise=0)
    assert torch.equal(xor.X.prod(dim=1) < 0, xor.y == 1)
    spirals = Spirals(noise=0, num_classes=4)
    angle = torch.atan2(spirals.X[:, 1], spirals.X[:, 0]) / (2 * torch.pi)
    turned = angle - 1.25 * spirals.X.norm(dim=1) / 2 - spirals.y / 4
    torch.testing.assert_close(turned, turned.round(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("Class", [Spirals, Blobs])
def test_the_number_of_classes_can_be_chosen(Class):
    assert Class(num_classes=5).y.max() == 4
    assert Class(num_classes=5).hparams["num_classes"] == 5


@pytest.mark.parametrize(
    "arguments", [{"num_train": 0}, {"num_val": -1}, {"noise": -1}, {"batch_size": 0}]
)
@pytest.mark.parametrize("Class", [Moons, Blobs, Sine])
def test_an_argument_that_cannot_be_used_is_an_error(Class, arguments):
    with pytest.raises(ConfigError, match=next(iter(arguments))):
        Class(**arguments)


def test_fewer_classes_than_two_are_an_error():
    with pytest.raises(ConfigError, match="num_classes"):
        Blobs(num_classes=1)


def test_toy_data_of_ones_own_only_say_where_examples_lie():
    class Line(ToyData):
        def draw(self, num_examples):
            X = torch.rand(num_examples, 1)
            return X, self.with_noise(X)

    assert Line(num_train=3, num_val=0).train_dataloader().tensors[0].shape == (3, 1)
