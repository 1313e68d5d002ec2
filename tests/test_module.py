import copy

import pytest
import torch
from tests.small import Net, Scratch
from torch import nn
from torch.nn import functional as F

from gradbook import SGD, Classifier, Module, ProgressBoard
from gradbook.errors import (
    BatchError,
    ConfigError,
    GradbookError,
    ModelError,
    ShapeError,
)


def quiet(model):
    model.board.display = False
    return model


# Arguments and defaults


def test_the_defaults_are_the_book_s():
    model = Module()
    assert (model.plot_train_per_epoch, model.plot_valid_per_epoch) == (2, 1)


def test_hyperparameters_of_the_base_are_kept():
    assert Scratch(lr=0.5).hparams == {
        "plot_train_per_epoch": 2,
        "plot_valid_per_epoch": 1,
        "lr": 0.5,
    }


def test_each_model_has_a_board_of_its_own():
    assert Module().board is not Module().board


def test_forward_calls_the_net():
    model = Net(nn.Linear(2, 3))
    X = torch.randn(4, 2)
    assert torch.equal(model(X), model.net(X))


def test_the_default_optimizer_is_sgd_over_all_parameters():
    model = Scratch(lr=0.25)
    optim = model.configure_optimizers()
    assert isinstance(optim, SGD)
    assert optim.lr == 0.25
    assert [id(param) for param in optim.params] == [id(param) for param in model.parameters()]


# What is missing is named


def test_a_model_without_a_network_says_what_to_write():
    class Mine(Module):
        pass

    with pytest.raises(ModelError, match=r"Mine has no network.*self\.net.*forward\(self, X\)"):
        Mine()(torch.ones(1))


def test_a_model_without_a_loss_says_what_to_write():
    class Mine(Module):
        pass

    with pytest.raises(ModelError, match=r"Mine does not define a loss.*loss\(self, y_hat, y\)"):
        Mine().loss(0, 0)


def test_a_model_without_an_optimizer_says_what_to_write():
    class Mine(Module):
        pass

    with pytest.raises(ModelError, match=r"Mine has no optimizer.*self\.lr.*configure_optimizers"):
        Mine().configure_optimizers()


def test_plotting_without_a_trainer_says_who_is_missing():
    with pytest.raises(ModelError, match=r"Scratch has no trainer"):
        Scratch().plot("loss", 1.0, train=True)


# Steps and plots


class Position:
    """What `plot` needs to know of a trainer."""

    def __init__(self, train_batch_idx=0, epoch=0, num_train_batches=10, num_val_batches=4):
        self.train_batch_idx, self.epoch = train_batch_idx, epoch
        self.num_train_batches, self.num_val_batches = num_train_batches, num_val_batches


def test_training_is_plotted_at_the_fraction_of_epochs_gone_by():
    model = quiet(Module(plot_train_per_epoch=10))
    model.trainer = Position(train_batch_idx=15)
    model.plot("loss", 3.0, train=True)
    (point,) = model.board.data["train_loss"]
    assert (point.x, point.y) == (1.5, 3.0)


def test_validation_is_plotted_at_the_number_of_the_epoch():
    model = quiet(Module(plot_valid_per_epoch=4))
    model.trainer = Position(epoch=2)
    model.plot("acc", 0.5, train=False)
    (point,) = model.board.data["val_acc"]
    assert (point.x, point.y) == (3, 0.5)


@pytest.mark.parametrize(("per_epoch", "points"), [(1, 1), (2, 2), (5, 5), (10, 10), (100, 10)])
def test_an_epoch_gives_so_many_points_of_training(per_epoch, points):
    model = quiet(Module(plot_train_per_epoch=per_epoch))
    for i in range(10):
        model.trainer = Position(train_batch_idx=i)
        model.plot("loss", 0.0, train=True)
    assert len(model.board.data["train_loss"]) == points


def test_the_axis_counts_epochs():
    model = quiet(Module())
    model.trainer = Position()
    model.plot("loss", 0.0, train=True)
    assert model.board.xlabel == "epoch"


class Criterion(Module):
    """Linear regression whose loss is a hyperparameter."""

    def __init__(self, loss, lr=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Linear(1, 1)


@pytest.mark.parametrize("loss", [F.l1_loss, nn.L1Loss(), lambda y_hat, y: F.l1_loss(y_hat, y)])
def test_a_loss_that_is_a_hyperparameter_is_the_loss(loss):
    model = Criterion(loss)
    X, y = torch.ones(2, 1), torch.full((2, 1), 5.0)
    assert torch.equal(model.loss(model(X), y), F.l1_loss(model(X), y))


def test_a_loss_that_is_a_layer_is_used_in_the_place_of_the_cross_entropy():
    class Squares(Classifier):
        def __init__(self):
            super().__init__()
            self.net, self.loss = nn.Linear(1, 2), nn.MSELoss()

    model = copy.deepcopy(Squares())
    Y_hat, Y = torch.ones(3, 2), torch.zeros(3, 2)
    assert model.loss(Y_hat, Y) == 1
    assert dict(model.named_children())["loss"] is model.loss


def test_a_layer_leaves_a_method_of_the_learner_s_own_in_place():
    class Own(Module):
        def __init__(self):
            super().__init__()
            self.loss = nn.MSELoss()

        def loss(self, y_hat, y):
            return "own"

    assert Own().loss(0, 0) == "own"


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("loss", "mse", r"it would hide the method Named\.loss.*'loss_name'"),
        ("forward", 2, r"it would hide the method Named\.forward.*'forward_value'"),
        ("parameters", 5, r"it would hide the method Named\.parameters"),
        ("parameters", len, r"it would hide the method Named\.parameters"),
        ("train", True, r"it would hide the method Named\.train"),
        ("plot", False, r"it would hide the method Named\.plot"),
        ("board", 5, r"Named\.board is set by the library itself"),
        ("trainer", None, r"Named\.trainer is set by the library itself"),
        ("training", True, r"Named\.training is set by the library itself"),
        ("loss", nn.L1Loss, r"L1Loss is a class.*`loss=L1Loss\(\)`"),
    ],
)
def test_a_hyperparameter_with_the_name_of_a_method_is_refused(name, value, why):
    space = {}
    exec(
        f"class Named(Module):\n    def __init__(self, {name}):\n"
        f"        super().__init__()\n        self.save_hyperparameters()",
        {"Module": Module},
        space,
    )
    with pytest.raises(ConfigError, match=rf"{name}=.*{why}"):
        space["Named"](value)


def test_a_board_of_one_s_own_may_be_a_hyperparameter():
    class Drawn(Module):
        def __init__(self, board):
            super().__init__()
            self.save_hyperparameters()

    board = ProgressBoard()
    assert Drawn(board).board is board


def test_a_training_step_is_the_loss_of_the_batch_and_draws_it():
    model = quiet(Scratch())
    model.plot_train_per_epoch = 10
    model.trainer = Position()
    X, y = torch.randn(4, 2), torch.randn(4, 1)
    loss = model.training_step((X, y))
    torch.testing.assert_close(loss, F.mse_loss(model(X), y))
    assert model.board.data["train_loss"][0].y == pytest.approx(loss.item())


def test_all_but_the_last_item_of_a_batch_are_inputs():
    class Two(Module):
        def forward(self, X, Z):
            return X + Z

        def loss(self, y_hat, y):
            return (y_hat - y).sum()

    model = quiet(Two())
    model.trainer = Position()
    assert model.training_step((torch.ones(1), torch.ones(1), torch.ones(1))).item() == 1


def test_a_classifier_draws_loss_and_accuracy_in_validation():
    model = quiet(Net(nn.Linear(2, 3)))
    model.trainer = Position(num_val_batches=1)
    model.validation_step((torch.randn(4, 2), torch.tensor([0, 1, 2, 0])))
    assert list(model.board.data) == ["val_loss", "val_acc"]


def test_apply_init_shapes_lazy_layers_and_initializes_them():
    model = Net(nn.LazyLinear(3), nn.ReLU(), nn.LazyLinear(2))

    def ones(layer):
        if isinstance(layer, nn.Linear):
            nn.init.ones_(layer.weight)

    model.apply_init([torch.zeros(1, 4)], ones)
    assert torch.equal(model.net[0].weight, torch.ones(3, 4))
    assert torch.equal(model.net[2].weight, torch.ones(2, 3))


def test_apply_init_takes_a_single_tensor_without_a_list():
    model = Classifier()
    model.net = nn.Sequential(nn.Flatten(), nn.LazyLinear(2))
    model.apply_init(torch.zeros(3, 2, 2))
    assert model.net[1].in_features == 4


def test_an_example_without_its_batch_dimension_is_told_at_a_flatten():
    model = Classifier()
    model.net = nn.Sequential(nn.Flatten(), nn.Linear(3, 2))
    with pytest.raises(ShapeError, match=r"Flatten.* expected a batch.*`X\[None\]`"):
        model(torch.zeros(3))


def test_an_index_error_of_another_kind_is_left_as_it_is():
    class Picks(nn.Module):
        def forward(self, X):
            return [X][1]

    model = Classifier()
    model.net = Picks()
    with pytest.raises(IndexError, match="list index out of range"):
        model(torch.tensor([5]))


def test_apply_init_without_an_init_only_shapes():
    model = Net(nn.LazyLinear(3))
    model.apply_init([torch.zeros(1, 4)])
    assert model.net[0].weight.shape == (3, 4)


# Classifiers against PyTorch's functions


@pytest.mark.parametrize("shape", [(6,), (2, 3)])
@pytest.mark.parametrize("averaged", [True, False])
def test_the_loss_is_torch_s_cross_entropy(shape, averaged):
    Y_hat, Y = torch.randn(*shape, 5), torch.randint(0, 5, shape)
    expected = F.cross_entropy(
        Y_hat.reshape(-1, 5), Y.reshape(-1), reduction="mean" if averaged else "none"
    )
    torch.testing.assert_close(Classifier().loss(Y_hat, Y, averaged), expected)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64])
def test_labels_may_be_integers_of_any_size(dtype):
    Y_hat, Y = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    model = Classifier()
    assert torch.equal(model.loss(Y_hat, Y.to(dtype)), model.loss(Y_hat, Y))
    assert torch.equal(model.accuracy(Y_hat, Y.to(dtype)), model.accuracy(Y_hat, Y))


def test_labels_of_minus_100_are_left_out_as_in_torch():
    Y_hat, Y = torch.randn(3, 4), torch.tensor([1, -100, 2])
    torch.testing.assert_close(Classifier().loss(Y_hat, Y), F.cross_entropy(Y_hat, Y))


def test_accuracy_is_the_fraction_of_right_predictions():
    Y_hat = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.2, 0.1], [0.0, 3.0]])
    Y = torch.tensor([1, 0, 1, 1])
    assert Classifier().accuracy(Y_hat, Y).item() == 0.75
    assert Classifier().accuracy(Y_hat, Y, averaged=False).tolist() == [1, 1, 0, 1]


def test_accuracy_of_a_sequence_counts_every_label():
    Y_hat = F.one_hot(torch.tensor([[0, 1], [2, 2]]), 3).float()
    assert Classifier().accuracy(Y_hat, torch.tensor([[0, 1], [2, 0]])).item() == 0.75


@pytest.mark.parametrize("method", ["loss", "accuracy"])
@pytest.mark.parametrize(
    ("Y", "advice"),
    [
        (torch.zeros(4, 3), "one-hot"),
        (torch.zeros(4), r"Y\.long\(\)"),
        (torch.zeros(4, 1, dtype=torch.int64), r"Y\.reshape\(-1\)"),
        (torch.zeros(5, dtype=torch.int64), "one label"),
    ],
    ids=["one-hot", "floats", "column", "too many"],
)
def test_labels_that_do_not_fit_are_shown_with_what_fits(method, Y, advice):
    with pytest.raises(BatchError, match=rf"Expected integer labels of shape \(4,\).*{advice}"):
        getattr(Classifier(), method)(torch.randn(4, 3), Y)


def test_scores_for_every_row_of_an_image_name_the_missing_flatten():
    with pytest.raises(BatchError, match=r"nn\.Flatten"):
        Classifier().loss(torch.randn(4, 1, 8, 3), torch.zeros(4, dtype=torch.int64))


@pytest.mark.parametrize("label", [3, -1])
def test_a_label_out_of_range_is_shown_with_the_range(label):
    with pytest.raises(BatchError, match=rf"from 0 to 2, but a label is {label}"):
        Classifier().loss(torch.randn(2, 3), torch.tensor([0, label]))


def test_a_layer_summary_has_a_line_for_each_layer(capsys):
    Net(nn.Flatten(), nn.LazyLinear(5), nn.ReLU()).layer_summary((2, 1, 3, 3))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["Flatten", "Linear", "ReLU"]
    assert lines[1] == "Linear output shape:\t torch.Size([2, 5])"


# Errors in the forward pass


def test_an_input_that_does_not_fit_is_explained():
    with pytest.raises(ShapeError, match=r"net\.0.*expected shape \(\.\.\., 2\)"):
        Net(nn.Linear(2, 3))(torch.zeros(4, 5))


def test_the_explanation_is_given_once_by_nested_models():
    class Outer(Classifier):
        def __init__(self):
            super().__init__()
            self.net = Net(nn.Linear(2, 3))

    with pytest.raises(ShapeError) as caught:
        Outer()(torch.zeros(4, 5))
    assert str(caught.value).count("Shapes on the way") == 1


@pytest.mark.parametrize("kind", [RuntimeError, ValueError, TypeError, KeyError])
def test_a_learner_s_own_error_passes_unchanged(kind):
    class Mine(Module):
        def forward(self, X):
            raise kind("mine")

    with pytest.raises(kind, match="mine") as caught:
        Mine()(torch.zeros(1))
    assert not isinstance(caught.value, GradbookError)


def test_keyword_arguments_take_part_in_the_explanation():
    class Mine(Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 3)

        def forward(self, X, *, scale):
            return self.layer(X) * scale

    with pytest.raises(ShapeError, match="Layer 'layer'"):
        Mine()(torch.zeros(4, 5), scale=2)


@pytest.mark.parametrize("points", [0, -1, float("nan"), "2"])
def test_a_number_of_points_that_is_not_positive_is_refused(points):
    with pytest.raises(ConfigError, match="plot_train_per_epoch"):
        Module(plot_train_per_epoch=points)


# Accuracy of one score for each label, and of labels that do not count


@pytest.mark.parametrize("dtype", [torch.int64, torch.float32, torch.bool, torch.uint8])
@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_one_score_is_a_logit(shape, dtype):
    Y_hat = torch.tensor([-2.0, 0.3, 0.3, -1.0]).reshape(shape)
    Y = torch.tensor([0, 1, 0, 1]).to(dtype)
    assert Classifier().accuracy(Y_hat, Y).item() == 0.5
    assert Classifier().accuracy(Y_hat, Y.reshape(shape), averaged=False).tolist() == [1, 1, 0, 0]


def test_labels_of_plus_and_minus_1_go_with_the_sign():
    Y_hat = torch.tensor([[-2.0], [0.3], [0.3], [-1.0]])
    assert Classifier().accuracy(Y_hat, torch.tensor([-1, 1, -1, -1])).item() == 0.75


@pytest.mark.parametrize("labels", [[0, 1, 2], [-1, 0, 1], [0.5, 0, 1]])
def test_one_score_is_not_compared_with_other_labels_than_two(labels):
    with pytest.raises(
        BatchError, match=r"0 and 1 or -1 and 1.*`accuracy\(self, Y_hat, Y, averaged"
    ):
        Classifier().accuracy(torch.zeros(3, 1), torch.tensor(labels))


@pytest.mark.parametrize("dtype", [torch.int64, torch.int8])
def test_labels_that_the_loss_leaves_out_do_not_count(dtype):
    Y_hat = torch.eye(3)[[0, 1, 1, 2]]
    Y = torch.tensor([0, -100, 2, -100], dtype=dtype)
    assert Classifier().accuracy(Y_hat, Y).item() == 0.5
    assert Classifier().accuracy(Y_hat, Y, averaged=False).tolist() == [1, 0]


def test_the_ignore_index_of_a_loss_does_not_count():
    model = Classifier()
    model.loss_function = nn.CrossEntropyLoss(ignore_index=0)
    Y_hat = torch.eye(3)[[0, 1, 1, 2]]
    assert model.accuracy(Y_hat, torch.tensor([0, 0, 1, 1])).item() == 0.5


def test_a_batch_without_a_label_that_counts_has_no_accuracy_and_draws_none():
    class Mine(Classifier):
        def forward(self, X):
            return X

        def loss(self, Y_hat, Y):
            return Y_hat.sum()

    model, drawn = Mine(), []
    model.plot = lambda key, value, train: drawn.append(key)
    Y = torch.full((2,), -100)
    assert model.accuracy(torch.zeros(2, 3), Y).isnan()
    model.validation_step((torch.zeros(2, 3), Y))
    assert drawn == ["loss"]


@pytest.mark.parametrize("value", [torch.zeros(1, requires_grad=True), nn.Linear(2, 1)])
def test_a_forgotten_super_init_is_named(value):
    class Mine(Module):
        def __init__(self):
            self.w = value

    with pytest.raises(ModelError, match=r"Mine\.w cannot be set yet: write `super\(\).__init__"):
        Mine()
