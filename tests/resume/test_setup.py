"""What a training depends on besides its state, told and compared."""

import copy
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from gradbook import (
    DataModule,
    LinearRegression,
    LinearRegressionScratch,
    Module,
    Trainer,
    add_to_class,
    seed_everything,
)
from gradbook.checkpoint import is_plain
from gradbook.data import TensorLoader
from gradbook.errors import CheckpointError, GradbookWarning
from gradbook.hparams import qualified_name
from gradbook.resume.setup import (
    begun_from,
    check_setup,
    code_of,
    content_of,
    form_of,
    model_tensors,
)


class Data(DataModule):
    def __init__(self, X, batch_size=4, root="data"):
        super().__init__(root)
        self.save_hyperparameters()

    def get_dataloader(self, train):
        return self.get_tensorloader((self.X, self.X[:, :1]), train)


def setup_of(model=None, data=None, **settings):
    """The setup of a training that has ended."""
    trainer = Trainer(1, **settings)
    trainer.fit(model or LinearRegression(), data or Data(torch.ones(8, 2)))
    return trainer.training.setup


def setup_with(**values):
    """A setup with these values, and nothing that could differ beside them."""
    return {"code": {"python": "3", "classes": {}}, "place": {}, **values}


def code(Class):
    """The checksum of a class's methods."""
    return code_of([Class])["classes"][qualified_name(Class)]


def define(code, base=Module):
    """A class with the methods of `code`, as a learner writes one in a notebook."""
    names = {}
    exec(code, names)
    return type("Mine", (base,), {name: names[name] for name in names if name != "__builtins__"})


# What is told


def test_it_tells_classes_settings_and_shapes():
    setup = setup_of(data=Data(torch.ones(10, 2)), gradient_clip_val=1.5)
    assert setup["model"]["class"] == "gradbook.models.linear_regression.LinearRegression"
    assert setup["model"]["parameters"] == {
        "net.weight": "(1, 2) float32",
        "net.bias": "(1,) float32",
    }
    assert setup["data"]["hyperparameters"]["batch_size"] == 4
    assert setup["data"]["num_train_batches"] == 3
    assert setup["optimizer"] == {
        "class": "gradbook.optim.SGD",
        "groups": [{"lr": 0.03}],
        "schedulers": [],
    }
    assert setup["trainer"]["gradient_clip_val"] == 1.5


def test_it_can_be_kept_in_a_checkpoint():
    assert is_plain(setup_of())


def test_the_number_of_epochs_is_no_part_of_it():
    assert "max_epochs" not in setup_of()["trainer"]


# What is compared


def test_the_same_training_is_the_same():
    check_setup(setup_of(), setup_of())


def test_where_the_data_lie_does_not_count():
    X = torch.ones(8, 2)
    check_setup(setup_of(data=Data(X)), setup_of(data=Data(X, root="elsewhere")))


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"gradient_clip_val": 1}, r"  trainer\.gradient_clip_val: 0 in the checkpoint, 1 now"),
        ({"patience": 3}, r"  trainer\.patience: None in the checkpoint, 3 now"),
        ({"model": LinearRegression(lr=0.5)}, r"  model\.hyperparameters\.lr: 0\.03 .* 0\.5 now"),
        (
            {"model": LinearRegressionScratch(2)},
            r"  model\.parameters\.w: None in the checkpoint, '\(2, 1\) float32' now",
        ),
        ({"data": Data(torch.ones(8, 2), 2)}, r"  data\.num_train_batches: 2 .* 4 now"),
        ({"data": Data(torch.zeros(8, 2))}, r"  data\.train: .*checksum.*checksum"),
    ],
)
def test_what_differs_is_listed_with_both_sides(changes, line):
    with pytest.raises(CheckpointError, match=rf"(?m)^{line}"):
        check_setup(setup_of(), setup_of(**changes))


def test_what_a_training_begins_with_is_known_by_its_parameters_and_every_generator():
    def begin(draw=lambda: None, change=lambda net: None):
        seed_everything(1)
        net = torch.nn.Linear(3, 2)
        draw(), change(net)
        return begun_from(net)

    draws = [lambda: torch.rand(1), lambda: np.random.rand(), lambda: random.random()]
    changes = [lambda net: torch.nn.init.ones_(net.weight), lambda net: net.bias.data.zero_()]
    others = [begin(draw) for draw in draws] + [begin(change=change) for change in changes]
    assert begin() == begin()
    assert len({begin(), *others}) == 6


def test_a_layer_without_a_shape_has_no_part_in_what_a_training_begins_with():
    assert begun_from(torch.nn.LazyLinear(2)) == begun_from(torch.nn.LazyLinear(3))


def test_the_way_to_the_parameters_alone_is_shown():
    with pytest.raises(
        CheckpointError, match=r"Only max_epochs, .*watch, .*may change.*load_state_dict"
    ):
        check_setup(setup_with(a=1), setup_with(a=2))


def test_a_long_value_is_cut_short():
    with pytest.raises(CheckpointError) as caught:
        check_setup(setup_with(a="x" * 500), setup_with(a=1))
    assert len(str(caught.value)) < 600


def test_numbers_of_another_type_differ():
    with pytest.raises(CheckpointError, match=r"a: 1 in the checkpoint, 1\.0 now"):
        check_setup(setup_with(a=1), setup_with(a=1.0))


# Parameters


def test_parameters_and_buffers_are_listed():
    assert list(model_tensors(nn.BatchNorm1d(2))) == [
        "weight", "bias", "running_mean", "running_var", "num_batches_tracked",
    ]  # fmt: skip


def test_plain_tensors_of_a_model_of_the_learner_s_own_are_listed():
    class Own:
        def __init__(self):
            self.w = torch.ones(2, requires_grad=True)
            self.data = torch.ones(2)
            self.loss = self.w.sum()

    own = Own()
    tensors = model_tensors(own)
    assert list(tensors) == ["w"]
    assert tensors["w"].data_ptr() == own.w.data_ptr()
    assert not tensors["w"].requires_grad


def test_a_layer_without_a_shape_has_no_tensors_yet():
    assert model_tensors(nn.LazyLinear(3)) == {}


def test_a_form_is_shape_and_dtype():
    assert form_of(torch.zeros(784, 10, dtype=torch.float16)) == "(784, 10) float16"


# Code

FORWARD = "def forward(self, X):\n    return X * {0}\n"


def test_the_library_s_own_classes_have_no_code_to_compare():
    assert code(LinearRegression) == code(Module)


def test_a_changed_method_is_noticed():
    first, second = (code_of([define(FORWARD.format(k))]) for k in (2, 3))
    with pytest.raises(CheckpointError, match=r"Mine: the methods of the class have changed"):
        check_setup(setup_with(code=first), setup_with(code=second))


def test_a_call_of_another_function_is_noticed():
    first, second = (f"def forward(self, X):\n    return X.{name}()\n" for name in ("sin", "cos"))
    assert code(define(first)) != code(define(second))


def test_comments_line_breaks_and_names_of_variables_do_not_count():
    first = "def forward(self, X):\n    y = X * 2\n    return y\n"
    second = "# better\n\n\ndef forward(self, X):\n    out = (  # doubled\n        X * 2\n    )\n    return out\n"  # noqa: E501
    assert code(define(first)) == code(define(second))


def test_a_function_within_a_method_counts():
    text = "def forward(self, X):\n    return (lambda x: x * {0})(X)\n"
    assert code(define(text.format(2))) != code(define(text.format(3)))


@pytest.mark.parametrize("decorator", ["property", "staticmethod", "classmethod"])
def test_every_kind_of_method_counts(decorator):
    text = "@{1}\ndef size(*args):\n    return {0}\n"
    first, second = (code(define(text.format(k, decorator))) for k in (2, 3))
    assert first != second


def test_a_base_class_of_the_learner_s_own_counts():
    first, second = (define(FORWARD.format(k)) for k in (2, 3))
    assert code(type("Sub", (first,), {})) != code(type("Sub", (second,), {}))


@pytest.mark.usefixtures("undo_patches")
def test_a_method_replaced_on_one_of_our_classes_counts():
    before = code(LinearRegression)

    @add_to_class(LinearRegression)
    def loss(self, y_hat, y):
        return (y_hat - y).abs().mean()

    assert code(LinearRegression) != before


def test_a_method_that_has_run_often_is_the_same():
    Mine = define("def double(self, n):\n    for i in range(n):\n        n = n + i\n    return n\n")
    before = code(Mine)
    Mine().double(10_000)
    assert code(Mine) == before


def test_a_variable_of_the_function_around_counts():
    def make(scale):
        class Mine(Module):
            def forward(self, X):
                return X * scale

        return Mine

    assert code(make(2)) != code(make(3))


def test_a_changed_default_is_noticed():
    text = "def forward(self, X, rate={0}):\n    return X * rate\n"
    assert code(define(text.format(2))) != code(define(text.format(3)))


def test_a_changed_method_behind_a_decorator_is_noticed():
    text = "import torch\n\n@torch.no_grad()\n" + FORWARD
    assert code(define(text.format(2))) != code(define(text.format(3)))


def test_another_python_s_code_is_not_compared():
    old, new = ({"python": v, "classes": {"Net": v}} for v in ("3.11", "3.12"))
    check_setup(setup_with(code=old), setup_with(code=new))


def test_the_code_of_layers_data_and_trainers_is_told_too():
    class Layer(nn.Module):
        def forward(self, X):
            return X

    class Net(LinearRegression):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(Layer(), nn.LazyLinear(1))

    class Mine(Trainer):
        pass

    trainer = Mine(1)
    trainer.fit(Net(), Data(torch.ones(8, 2)))
    told = trainer.training.setup["code"]["classes"]
    assert {qualified_name(Class) for Class in (Layer, Net, Mine, Data)} <= set(told)


def test_a_hyperparameter_may_be_called_code():
    with pytest.raises(CheckpointError, match=r"model\.code: 1 in the checkpoint, 2 now"):
        check_setup(setup_with(model={"code": 1}), setup_with(model={"code": 2}))


def test_another_device_is_told_but_not_refused():
    cpu, gpu = (setup_with(place={"device": device}) for device in ("cpu", "cuda"))
    with pytest.warns(GradbookWarning, match="another device, cpu, .* resumes with cuda"):
        check_setup(cpu, gpu)


def test_a_rate_that_a_scheduler_changed_is_told_as_it_was_set():
    class Net(LinearRegression):
        def configure_optimizers(self):
            optim = torch.optim.SGD(self.parameters(), lr=0.1)
            return [optim], [torch.optim.lr_scheduler.StepLR(optim, 1)]

    setup = setup_of(Net())
    assert setup["optimizer"]["groups"][0]["lr"] == 0.1
    (scheduler,) = setup["optimizer"]["schedulers"]
    assert scheduler["class"] == "torch.optim.lr_scheduler.StepLR"
    assert scheduler["settings"]["last_epoch"] == 0


# Content


def test_other_values_have_another_checksum():
    first, second = (
        content_of(TensorLoader([torch.full((4, 2), v), torch.ones(4)], 2)) for v in (1.0, 2.0)
    )
    assert first[0] != second[0]
    assert first[1] == second[1]
    assert first[0].startswith("(4, 2) float32, checksum ")


def test_batches_that_were_left_out_count_as_well():
    X = torch.ones(8, 2)
    setup = setup_of(data=Data(X), overfit_batches=1)
    assert setup["data"]["train"] == content_of(TensorLoader([X, X[:, :1]], 4))


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.bfloat16, torch.complex64])
def test_values_of_every_dtype_have_a_checksum(dtype):
    assert len(content_of(TensorLoader([torch.ones(3, 2).to(dtype)], 2))) == 1


@pytest.mark.parametrize("shape", [(3,), (3, 0), (5000, 2)])
def test_values_of_every_shape_have_a_checksum(shape):
    assert content_of(TensorLoader([torch.ones(shape)], 2))[0].startswith(str(shape))


def test_a_view_has_the_checksum_of_its_values():
    X = torch.rand(2, 6)
    loaders = [TensorLoader([part], 2) for part in (X.T, copy.deepcopy(X).T.contiguous())]
    assert content_of(loaders[0]) == content_of(loaders[1])


def test_what_is_not_in_memory_is_not_looked_at():
    assert content_of(DataLoader([1, 2])) is None
    assert content_of(None) is None
