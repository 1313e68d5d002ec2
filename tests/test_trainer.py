"""The training loop: what it computes, what it records, and what it says when it cannot."""

import copy
import math
import warnings
from itertools import accumulate

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.small import Data, Given, Net, fit
from torch import nn
from torch.nn import functional as F
from torch.utils.data import (
    DataLoader,
    IterableDataset,
    SubsetRandomSampler,
    TensorDataset,
    default_collate,
)

import gradbook
from gradbook import (
    MLP,
    Classifier,
    DataModule,
    LinearRegression,
    LinearRegressionScratch,
    Module,
    ProgressBoard,
    Sink,
    SoftmaxRegression,
    SyntheticRegressionData,
    Trainer,
    add_to_class,
)
from gradbook.errors import (
    BatchError,
    ConfigError,
    DataError,
    DivergenceWarning,
    GradbookWarning,
    IgnoredSettingWarning,
    ModelError,
    NotTrainedError,
    ShapeError,
)


class Keep(Sink):
    """Remembers everything it is told."""

    def __init__(self):
        self.calls, self.metrics = [], []

    def open(self, board, trainer=None):
        self.calls.append("open")

    def write(self, metric):
        self.metrics.append(metric)

    def close(self, status):
        self.calls.append(status)


def regression(n=12, **options):
    X = torch.randn(n, 2)
    return Data(X, X @ torch.tensor([[2.0], [-3.4]]) + 4.2, **options)


def classification(n=12, **options):
    return Data(torch.rand(n, 1, 3, 3), torch.arange(n) % 3, **options)


# What it computes


def test_training_equals_a_loop_written_out():
    data = regression(n=8)
    model = LinearRegressionScratch(2, lr=0.1)
    w, b = (param.detach().clone().requires_grad_() for param in (model.w, model.b))
    torch.manual_seed(3)
    fit(model, data, max_epochs=3)
    torch.manual_seed(3)
    optim = torch.optim.SGD([w, b], lr=0.1)
    for _ in range(3):
        for X, y in data.train_dataloader():
            optim.zero_grad()
            ((X @ w + b - y) ** 2 / 2).mean().backward()
            optim.step()
    torch.testing.assert_close(model.w, w, rtol=0, atol=0)
    torch.testing.assert_close(model.b, b, rtol=0, atol=0)


def test_a_regression_finds_its_weights():
    data = SyntheticRegressionData(num_train=200, num_val=20, noise=0.0)
    model = LinearRegression(lr=0.1)
    fit(model, data, max_epochs=10)
    w, b = model.get_w_b()
    assert w.reshape(-1).tolist() == pytest.approx([2, -3.4], abs=0.01)
    assert b.item() == pytest.approx(4.2, abs=0.01)


def test_training_is_in_training_mode_and_validation_is_not():
    seen = set()

    class Mine(Net):
        def training_step(self, batch):
            seen.add(("train", self.training, torch.is_grad_enabled()))
            return super().training_step(batch)

        def validation_step(self, batch):
            seen.add(("val", self.training, torch.is_grad_enabled()))
            super().validation_step(batch)

    fit(Mine(nn.Flatten(), nn.LazyLinear(3)).eval(), classification(), max_epochs=2)
    assert seen == {("train", True, True), ("val", False, False)}


def test_the_counters_count_since_the_training_began():
    trainer = fit(LinearRegression(), regression(), max_epochs=3)
    assert (trainer.epoch, trainer.train_batch_idx, trainer.val_batch_idx) == (2, 6, 3)
    assert (trainer.num_train_batches, trainer.num_val_batches) == (2, 1)


def test_the_book_s_attributes_are_there():
    model = LinearRegression()
    trainer = fit(model, regression(), gradient_clip_val=1)
    assert trainer.model is model
    assert model.trainer is trainer
    assert isinstance(trainer.optim, torch.optim.Optimizer)
    assert (trainer.max_epochs, trainer.gradient_clip_val, list(trainer.gpus)) == (1, 1, [])
    assert model.board.xlim == [0, 1]


# Clipping


@pytest.mark.parametrize("norm", [0.01, 1, 1e6])
def test_clipping_is_that_of_torch(norm):
    ours = LinearRegressionScratch(2)
    for param in ours.parameters():
        param.grad = torch.randn_like(param)
    copies = [nn.Parameter(param.detach().clone()) for param in ours.parameters()]
    for param, twin in zip(ours.parameters(), copies, strict=True):
        twin.grad = param.grad.clone()
    Trainer(1).clip_gradients(norm, ours)
    nn.utils.clip_grad_norm_(copies, norm)
    for param, twin in zip(ours.parameters(), copies, strict=True):
        torch.testing.assert_close(param.grad, twin.grad)


def test_clipping_serves_a_model_whose_parameters_are_a_list():
    class Listed(LinearRegressionScratch):
        def parameters(self):
            return [self.w, self.b]

    model = Listed(2)
    model.w.grad, model.b.grad = torch.full((2, 1), 3.0), None
    Trainer(1).clip_gradients(1.0, model)
    assert model.w.grad.norm().item() == pytest.approx(1)


def test_gradients_are_clipped_before_the_step():
    model = LinearRegressionScratch(2, lr=1.0)
    before = [param.detach().clone() for param in model.parameters()]
    fit(model, regression(n=4, num_train=4), gradient_clip_val=0.001)
    moved = [(a - b).norm() for a, b in zip(model.parameters(), before, strict=True)]
    assert torch.stack(moved).norm().item() == pytest.approx(0.001, rel=1e-3)


def test_without_a_limit_nothing_is_clipped():
    class Refuse(Trainer):
        def clip_gradients(self, grad_clip_val, model):
            raise AssertionError

    Refuse(1).fit(LinearRegression(), regression())


# Settings


@pytest.mark.parametrize("max_epochs", [0, -1, 1.5, "3", True, None])
def test_epochs_that_are_no_positive_whole_number_are_refused(max_epochs):
    with pytest.raises(ConfigError, match="max_epochs must be a whole number of at least 1"):
        Trainer(max_epochs)


@pytest.mark.parametrize("num_gpus", [-1, 0.5, "1"])
def test_gpus_that_are_no_whole_number_are_refused(num_gpus):
    with pytest.raises(ConfigError, match="num_gpus"):
        Trainer(1, num_gpus=num_gpus)


@pytest.mark.parametrize("value", [-1, math.nan, "1"])
def test_a_norm_to_clip_at_that_is_no_number_is_refused(value):
    with pytest.raises(ConfigError, match="gradient_clip_val"):
        Trainer(1, gradient_clip_val=value)


def test_epochs_may_be_an_integer_of_numpy():
    assert len(fit(LinearRegression(), regression(), np.int64(2)).history) == 2


def test_gpus_that_are_not_there_are_reported(monkeypatch):
    monkeypatch.setattr(gradbook.devices, "num_gpus", lambda: 0)
    with pytest.warns(IgnoredSettingWarning, match=r"num_gpus=2.*offers 0.*Training on the CPU"):
        assert list(Trainer(1, num_gpus=2).gpus) == []


def test_a_second_gpu_needs_a_second_process_and_that_is_said(monkeypatch):
    monkeypatch.setattr(gradbook.devices, "num_gpus", lambda: 2)
    monkeypatch.setattr("sys.argv", ["mine.py"])
    told = r"a process trains on one. Training on cuda:0. To train on several, start it with "
    told += "`torchrun --standalone --nproc-per-node 2 mine.py`"
    with pytest.warns(IgnoredSettingWarning, match=told):
        assert Trainer(1, num_gpus=2).gpus == [gradbook.gpu(0)]


def test_the_device_gets_the_model_and_the_data():
    trainer = Trainer(1)
    trainer.gpus = [torch.device("meta")]
    trainer.prepare_data(regression())
    trainer.prepare_model(LinearRegressionScratch(2))
    assert trainer.model.w.device.type == "meta"
    assert trainer.train_dataloader.tensors[0].device.type == "meta"
    assert trainer.val_dataloader.tensors[0].device.type == "meta"
    assert {t.device.type for t in trainer.prepare_batch([torch.ones(1)] * 2)} == {"meta"}


@pytest.mark.parametrize("lr", [-0.1, math.nan, math.inf, "0.1", None])
@pytest.mark.parametrize("make", [LinearRegression, MLP, SoftmaxRegression])
def test_a_learning_rate_that_is_no_number_is_refused(make, lr):
    with pytest.raises(ConfigError, match="lr must be a finite number of at least 0"):
        fit(make(lr=lr), regression())


def test_a_learning_rate_of_0_changes_nothing():
    model = LinearRegressionScratch(2, lr=0)
    before = model.w.detach().clone()
    fit(model, regression())
    assert torch.equal(model.w, before)


# Data that cannot be used


@pytest.mark.parametrize("data", [[1, 2], None, "file.csv"])
def test_what_gives_no_minibatches_is_refused(data):
    with pytest.raises(DataError, match=r"gradbook\.DataModule; or inputs and labels, `\(X, y\)`"):
        fit(LinearRegression(), data)


def test_a_class_of_data_is_refused_with_the_way_to_an_instance():
    with pytest.raises(DataError, match=r"SyntheticRegressionData\(\.\.\.\)"):
        fit(LinearRegression(), SyntheticRegressionData)


def test_data_without_get_dataloader_name_the_method():
    with pytest.raises(DataError, match=r"get_dataloader\(self, train\)"):
        fit(LinearRegression(), DataModule())


def test_an_empty_training_set_is_refused():
    with pytest.raises(DataError, match="training set of Given is empty"):
        fit(LinearRegression(), Given([]))


def test_an_empty_validation_set_is_refused():
    batch = [torch.ones(2, 2), torch.ones(2, 1)]
    with pytest.raises(DataError, match="validation set of Given is empty"):
        fit(LinearRegression(), Given([batch], []))


class Stream(IterableDataset):
    def __iter__(self):
        yield torch.ones(2), torch.ones(1)


@pytest.mark.parametrize(
    "loader",
    [iter([]), DataLoader(Stream(), batch_size=1), None],
    ids=["iterator", "stream", "None"],
)
def test_training_batches_that_cannot_be_counted_are_refused(loader):
    with pytest.raises(
        DataError, match=r"Given must give its training batches .* whose length is known"
    ):
        fit(LinearRegression(), Given(loader))


def test_a_batch_of_one_element_is_refused():
    class Mine(Data):
        def get_dataloader(self, train):
            return self.get_tensorloader((self.tensors[0],), train)

    with pytest.raises(BatchError, match=r"inputs and then the labels.*list of 1"):
        fit(LinearRegression(), Mine(torch.ones(4, 2)))


# Models that cannot be used


def test_a_class_of_models_is_refused_with_the_way_to_an_instance():
    with pytest.raises(ModelError, match=r"class MLP itself.*`MLP\(\.\.\.\)`"):
        fit(MLP, regression())


def test_a_forgotten_base_constructor_is_named():
    class Mine(Classifier):
        def __init__(self, lr):
            self.save_hyperparameters()

    with pytest.raises(ModelError, match=r"Mine.*super\(\)\.__init__\(\)"):
        fit(Mine(0.1), regression())


def test_a_module_of_torch_is_told_its_base_class():
    with pytest.raises(ModelError, match=r"Linear has no `board`.*gradbook\.Module"):
        fit(nn.Linear(2, 1), regression())


def test_a_network_alone_is_told_to_become_the_net_of_a_model():
    with pytest.raises(ModelError, match=r"neither a loss nor an optimizer.*`self\.net`"):
        fit(nn.Sequential(nn.Linear(2, 1)), regression())


def test_no_model_is_told_what_may_be_missing():
    with pytest.raises(ModelError, match=r"got None.*`return model`"):
        fit(None, regression())


@pytest.mark.parametrize("call", ["fit", "validate", "predict"])
def test_data_and_model_the_other_way_round_are_told_their_order(call):
    method = getattr(Trainer(1), call)
    found = r"got a Data as the model and a LinearRegression as the data"
    with pytest.raises(ModelError, match=rf"{found}. Write `{call}\(model, data\)`"):
        method(regression(), LinearRegression(0.1))


def test_classes_the_other_way_round_are_told_their_order():
    with pytest.raises(ModelError, match=r"the class Data as .* the class LinearRegression as"):
        fit(Data, LinearRegression)


@pytest.mark.parametrize("call", ["validate", "predict"])
def test_other_calls_refuse_a_class_under_their_own_name(call):
    with pytest.raises(
        ModelError, match=rf"{call}\(\) needs a model, but got the class MLP itself"
    ):
        getattr(Trainer(1), call)(MLP, regression())


LOADER = DataLoader(TensorDataset(torch.zeros(4, 2), torch.zeros(4, 1)), batch_size=2)


def test_a_loader_as_the_third_argument_is_not_taken_for_a_checkpoint():
    with pytest.raises(ConfigError, match=r"third argument.*`fit\(model, \(train, val\)\)`"):
        Trainer(1).fit(LinearRegression(0.1), LOADER, LOADER)


@pytest.mark.parametrize(
    "name", ["history", "best", "model", "optim", "epoch", "train_dataloader", "num_train_batches"]
)
def test_what_fit_sets_is_not_known_before(name):
    trainer = Trainer(1)
    assert not hasattr(trainer, name)
    with pytest.raises(
        NotTrainedError, match=rf"Trainer\.{name} is not known yet.*fit\(model, data\)"
    ):
        getattr(trainer, name)
    trainer.fit(LinearRegression(0.1), regression())
    assert hasattr(trainer, name)


def test_another_attribute_is_missing_in_python_s_own_words():
    with pytest.raises(AttributeError, match="'Trainer' object has no attribute 'histroy'"):
        _ = Trainer(1).histroy


def test_a_trainer_that_has_trained_nothing_can_be_copied():
    assert copy.deepcopy(Trainer(3)).max_epochs == copy.copy(Trainer(3)).max_epochs == 3


def test_an_optimizer_that_was_not_returned_is_named():
    class Mine(LinearRegression):
        def configure_optimizers(self):
            torch.optim.SGD(self.parameters(), lr=0.1)

    with pytest.raises(ModelError, match=r"configure_optimizers\(self\)` in Mine that returns one"):
        fit(Mine(), regression())


def test_a_loss_for_every_example_is_refused():
    class Mine(LinearRegression):
        def loss(self, y_hat, y):
            return (y_hat - y) ** 2

    with pytest.raises(ModelError, match=r"Mine\.loss must return .*\(4, 1\) float32.*mean\(\)"):
        fit(Mine(), regression())


@pytest.mark.parametrize("options", [{}, {"accumulate_grad_batches": 2}])
def test_a_step_of_one_s_own_that_returns_a_loss_for_every_example_is_refused(options):
    class Mine(LinearRegression):
        def training_step(self, batch):
            return (self(batch[0]) - batch[1]) ** 2

    with pytest.raises(
        ModelError, match=r"Mine\.training_step must return .*\(4, 1\).*`return loss\.mean\(\)`"
    ):
        fit(Mine(), regression(), **options)


def test_a_loss_of_shape_1_is_one_number():
    class Mine(LinearRegression):
        def loss(self, y_hat, y):
            return ((y_hat - y) ** 2).mean(0)

    assert math.isfinite(fit(Mine(), regression()).history[0]["train_loss"])


# Batches that do not fit, found before any step


@pytest.mark.parametrize(
    ("layers", "X", "repair"),
    [
        ([nn.Linear(9, 3)], torch.rand(12, 1, 3, 3), r"nn\.Flatten\(\)"),
        ([nn.Flatten(), nn.Linear(8, 3)], torch.rand(12, 1, 3, 3), "in_features=9"),
        ([nn.Conv2d(1, 2, 2)], torch.rand(12, 3, 3), r"X\.unsqueeze\(1\)"),
        ([nn.BatchNorm2d(2)], torch.rand(12, 1, 3, 3), "num_features=1"),
        (
            [nn.Flatten(), nn.Linear(9, 3)],
            torch.zeros(12, 1, 3, 3, dtype=torch.uint8),
            r"X\.to\(torch\.float32\)",
        ),
    ],
    ids=["no Flatten", "in_features", "no channels", "BatchNorm", "uint8"],
)
def test_a_batch_that_does_not_fit_a_layer_is_explained_before_any_step(layers, X, repair):
    model = Net(*layers)
    with pytest.raises(ShapeError, match=rf"(?s)expected.*received.*{repair}.*Shapes on the way"):
        fit(model, Data(X, torch.arange(12) % 3))
    assert model.board.data == {}
    assert model.trainer.train_batch_idx == 0


def test_scores_for_every_row_of_an_image_name_the_missing_flatten():
    with pytest.raises(BatchError, match=r"nn\.Flatten"):
        fit(Net(nn.LazyLinear(3)), classification())


def test_targets_that_would_be_stretched_are_refused():
    with pytest.raises(BatchError, match=r"y\.reshape\(-1, 1\)"):
        fit(LinearRegressionScratch(2), Data(torch.ones(12, 2), torch.ones(12)))


def test_every_label_in_memory_is_looked_at_before_training():
    data = classification()
    data.tensors[1][7] = 3  # in the second batch
    with pytest.raises(BatchError, match="a label is 3"):
        fit(MLP(num_outputs=3), data)


def test_a_misfit_of_the_validation_set_is_found_before_training():
    class Mine(DataModule):
        def get_dataloader(self, train):
            X = torch.rand(4, 9 if train else 8)
            return [(X, torch.zeros(4, dtype=torch.int64))] * 2

    class Loader(list):
        def first(self):
            return self[0]

    data = Mine()
    train, val = (Loader(data.get_dataloader(train)) for train in (True, False))
    model = Net(nn.Linear(9, 3))
    with pytest.raises(ShapeError, match=r"\(4, 8\)"):
        fit(model, Given(train, val))
    assert model.board.data == {}


# The rehearsal leaves no trace


def test_the_rehearsal_draws_no_random_number():
    model = MLP(num_outputs=3, num_hiddens=4)
    data = classification()
    model.apply_init([data.tensors[0][:1]])
    torch.manual_seed(5)
    expected = torch.randperm(8)
    orders = []

    class Look(Trainer):
        def fit_epoch(self):
            orders.append(torch.randperm(8))

    torch.manual_seed(5)
    Look(1).fit(model, data)
    assert torch.equal(orders[0], expected)


def test_the_rehearsal_changes_no_statistics_and_drops_nothing_out():
    model = Net(nn.Flatten(), nn.BatchNorm1d(9), nn.Dropout(0.5), nn.Linear(9, 3))
    states = []

    class Look(Trainer):
        def fit_epoch(self):
            norm = self.model.net[1]
            states.append((norm.running_mean.tolist(), int(norm.num_batches_tracked)))
            states.append({module.training for module in self.model.modules()})

    data, before = classification(), torch.get_rng_state()
    Look(1).fit(model, data)
    assert states == [([0.0] * 9, 0), {True}]
    assert torch.equal(torch.get_rng_state(), before)


def test_what_a_loss_plots_in_the_rehearsal_is_no_point():
    class Mine(LinearRegression):
        def loss(self, y_hat, y):
            loss = super().loss(y_hat, y)
            self.plot("inner", loss, train=self.training)
            return loss

    model = Mine()
    model.plot_train_per_epoch = 100
    trainer = fit(model, regression())
    assert len(model.board.data["train_inner"]) == trainer.num_train_batches
    assert len(model.board.data["val_inner"]) == trainer.num_val_batches


def test_steps_of_the_learner_s_own_may_take_batches_of_any_form():
    class Autoencoder(Module):
        def __init__(self):
            super().__init__()
            self.lr = 0.1
            self.net = nn.Linear(2, 2)

        def training_step(self, batch):
            return F.mse_loss(self(batch["X"]), batch["X"])

        def validation_step(self, batch):
            self.plot("loss", self.training_step(batch), train=False)

    batch = {"X": torch.ones(4, 2)}
    model = Autoencoder()
    fit(model, Given([batch], [batch]))
    assert len(model.board.data["val_loss"]) == 1


def test_a_classifier_may_give_more_than_scores():
    class Mine(Net):
        def forward(self, X):
            return self.net(X), "attention"

        def loss(self, Y_hat, Y):
            return super().loss(Y_hat[0], Y)

        def accuracy(self, Y_hat, Y):
            return super().accuracy(Y_hat[0], Y)

    trainer = fit(Mine(nn.Flatten(), nn.LazyLinear(3)), classification())
    assert "val_acc" in trainer.history[0]


# What it records


def test_the_curves_of_a_regression():
    model = LinearRegression()
    fit(model, regression(), max_epochs=3)
    assert {label: [p.x for p in points] for label, points in model.board.data.items()} == {
        "train_loss": [0, 0.5, 1, 1.5, 2, 2.5],
        "val_loss": [1, 2, 3],
    }


def test_one_batch_an_epoch_still_draws():
    model = LinearRegression()
    fit(model, regression(batch_size=100), max_epochs=2)
    assert [point.x for point in model.board.data["train_loss"]] == [0, 1]
    assert [point.x for point in model.board.data["val_loss"]] == [1, 2]


def test_without_a_validation_set_only_training_is_drawn():
    model = LinearRegression()
    trainer = fit(model, regression(n=8), max_epochs=2)
    assert trainer.val_dataloader is None
    assert trainer.num_val_batches == 0
    assert list(model.board.data) == ["train_loss"]
    assert list(trainer.history[0]) == ["epoch", "train_loss"]


BOOK_EPOCH = """
def fit_epoch(self):
    self.model.train()
    for batch in self.train_dataloader:
        loss = self.model.training_step(self.prepare_batch(batch))
        self.optim.zero_grad()
        with torch.no_grad():
            loss.backward()
            if self.gradient_clip_val > 0:
                self.clip_gradients(self.gradient_clip_val, self.model)
            self.optim.step()
        self.train_batch_idx += 1
    if self.val_dataloader is None:
        return
    self.model.eval()
    for batch in self.val_dataloader:
        with torch.no_grad():
            self.model.validation_step(self.prepare_batch(batch))
        self.val_batch_idx += 1
"""


def replace_fit_epoch():
    names = {"torch": torch}
    exec(BOOK_EPOCH, names)
    add_to_class(Trainer)(names["fit_epoch"])


class Still(Module):
    """A model that does not learn, whose loss is the mean of y."""

    def __init__(self):
        super().__init__()
        self.lr = 0.0
        self.net = nn.Linear(1, 1)

    def loss(self, y_hat, y):
        return y.mean() + 0 * y_hat.sum()


@pytest.mark.slow
@pytest.mark.usefixtures("undo_patches")
@pytest.mark.parametrize("replaced", [False, True], ids=["ours", "the book's fit_epoch"])
@settings(max_examples=20)
@given(num_train=st.integers(1, 12), num_val=st.integers(0, 12), batch_size=st.integers(1, 13))
def test_the_mean_of_an_epoch_counts_every_example_once(replaced, num_train, num_val, batch_size):
    if replaced:
        replace_fit_epoch()
    y = torch.arange(num_train + num_val, dtype=torch.float32).reshape(-1, 1) ** 2
    trainer = fit(Still(), Data(y, y, num_train=num_train, batch_size=batch_size))
    row = trainer.history[0]
    assert row["train_loss"] == pytest.approx(y[:num_train].mean().item(), rel=1e-5)
    if num_val:
        assert row["val_loss"] == pytest.approx(y[num_train:].mean().item(), rel=1e-5)


@pytest.mark.parametrize("drop_last", [False, True])
def test_the_mean_of_an_epoch_is_exact_for_a_data_loader_too(drop_last):
    y = torch.tensor([[1.0], [1.0], [1.0], [1.0], [9.0]])
    loader = DataLoader(TensorDataset(y, y), batch_size=2, drop_last=drop_last)
    trainer = fit(Still(), Given(loader))
    assert trainer.history[0]["train_loss"] == pytest.approx(1.0 if drop_last else 13 / 5)


def test_batches_of_unknown_size_count_equally():
    batches = [(torch.ones(n, 1), torch.full((n + 1, 1), float(n))) for n in (1, 3)]
    assert fit(Still(), Given(batches)).history[0]["train_loss"] == 2.0


def test_sinks_are_opened_told_and_closed():
    sink = Keep()
    model = LinearRegression()
    fit(model, regression(), max_epochs=2, sinks=[sink])
    assert sink.calls == ["open", "finished"]
    points = [metric for metric in sink.metrics if metric.kind == "point"]
    epochs = [metric for metric in sink.metrics if metric.kind == "epoch"]
    assert sorted(points) == sorted(p for curve in model.board.data.values() for p in curve)
    assert [(m.label, m.x) for m in epochs] == [
        ("train_loss", 1), ("val_loss", 1), ("train_loss", 2), ("val_loss", 2),
    ]  # fmt: skip


def test_the_display_asked_for_holds_for_one_training():
    model = LinearRegression()
    fit(model, regression(), display="off")
    assert model.board.display is True


def test_a_failed_start_leaves_no_history_of_another_model():
    trainer = fit(LinearRegression(), regression())
    with pytest.raises(ModelError):
        trainer.fit(Module(), regression())
    assert len(trainer.history) == 0


def test_what_is_no_sink_is_refused():
    with pytest.raises(ConfigError, match="Sink objects"):
        Trainer(1, sinks=[print])


def test_one_sink_need_not_be_a_list():
    sink = Sink()
    assert Trainer(1, sinks=sink).sinks == [sink]


def test_a_display_that_is_not_known_is_refused():
    trainer = Trainer(1, display="hologram")
    with pytest.raises(ConfigError, match="hologram"):
        trainer.fit(LinearRegression(), regression())
    assert trainer.status == "failed"


def test_after_training_the_board_listens_to_nobody():
    model = LinearRegression()
    fit(model, regression())
    assert model.board.sinks is None
    assert model.board.history is None


def test_the_display_follows_a_board_of_the_model_s_own(monkeypatch):
    sinks = []

    class Board(ProgressBoard):
        @staticmethod
        def choose_display(board, trainer=None):
            sinks.append(Keep())
            return sinks[-1]

    model = LinearRegression()
    model.board = Board()
    fit(model, regression())
    assert [sink.calls for sink in sinks] == [["open", "finished"]]


def test_a_board_that_only_looks_like_one_works():
    class Board:
        xlim = xlabel = None

        def draw(self, x, y, label, every_n=1):
            drawn.append(label)

    drawn = []
    model = LinearRegression()
    model.board = Board()
    trainer = fit(model, regression())
    assert drawn == ["train_loss", "train_loss", "val_loss"]
    assert trainer.status == "finished"


# When training ends early


def break_at(step, error):
    """A model whose training fails at a step, counted from 0."""

    class Breaks(LinearRegression):
        def training_step(self, batch):
            if self.trainer.train_batch_idx == step:
                raise error
            return super().training_step(batch)

    return Breaks()


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (KeyboardInterrupt(), "interrupted"),
        (RuntimeError("mine"), "failed"),
        (SystemExit(3), "failed"),
    ],
    ids=["Ctrl-C", "an error", "exit"],
)
def test_what_ends_training_is_passed_on_and_every_sink_is_closed(error, status):
    sinks = [Keep(), Keep()]
    trainer = Trainer(3, sinks=sinks)
    with pytest.raises(type(error)) as caught:
        trainer.fit(break_at(3, error), regression())
    assert caught.value is error
    assert trainer.status == status
    assert [sink.calls for sink in sinks] == [["open", status]] * 2


def test_what_was_recorded_before_ctrl_c_is_kept():
    model = break_at(3, KeyboardInterrupt())
    trainer = Trainer(3)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(model, regression())
    assert len(trainer.history) == 1
    assert [point.x for point in model.board.data["train_loss"]] == [0, 0.5, 1]


def test_after_ctrl_c_the_model_trains_again():
    model = break_at(1, KeyboardInterrupt())
    trainer = Trainer(1)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(model, regression())
    model.training_step = lambda batch: Module.training_step(model, batch)
    trainer.fit(model, regression())
    assert trainer.status == "finished"


class BadClose(Keep):
    def close(self, status):
        super().close(status)
        raise OSError("disk full")


def test_a_sink_that_cannot_close_keeps_no_other_open():
    sinks = [Keep(), BadClose(), Keep()]
    trainer = Trainer(1, sinks=sinks)
    with pytest.raises(OSError, match="disk full"):
        trainer.fit(LinearRegression(), regression())
    assert [sink.calls for sink in sinks] == [["open", "finished"]] * 3


def test_a_sink_that_cannot_close_does_not_hide_what_went_wrong():
    with pytest.raises(OSError, match="disk full") as caught:
        fit(break_at(0, RuntimeError("mine")), regression(), sinks=[BadClose()])
    assert str(caught.value.__context__) == "mine"


def test_a_sink_that_cannot_open_keeps_no_other_open():
    class BadOpen(Keep):
        def open(self, board, trainer=None):
            raise OSError("no such folder")

    first, model = Keep(), LinearRegression()
    trainer = Trainer(1, sinks=[first, BadOpen()])
    with pytest.raises(OSError, match="no such folder"):
        trainer.fit(model, regression())
    assert first.calls == ["open", "failed"]
    assert model.board.sinks is None


def test_a_training_that_cannot_begin_has_failed():
    trainer = fit(LinearRegression(), regression())
    with pytest.raises(DataError):
        trainer.fit(LinearRegression(), None)
    assert trainer.status == "failed"


# Divergence


class Diverges(Module):
    """Its loss becomes infinite at a step, counted from 1."""

    def __init__(self, at, lr=0.5):
        super().__init__(plot_train_per_epoch=100)
        self.save_hyperparameters()
        self.net = nn.Linear(1, 1)

    def loss(self, y_hat, y):
        late = self.training and self.trainer.train_batch_idx >= self.at - 1
        return y_hat.mean() * (math.inf if late else 1)


@pytest.mark.parametrize(("at", "where"), [(1, "step 1 (epoch 1)"), (7, "step 7 (epoch 3)")])
@pytest.mark.parametrize("points", [1, 3, 100])
def test_divergence_is_reported_once_with_its_step_and_training_goes_on(at, where, points):
    y = torch.ones(12, 1)
    model = Diverges(at)
    model.plot_train_per_epoch = points
    with pytest.warns(DivergenceWarning) as seen:
        trainer = fit(model, Data(y, y, num_train=12), max_epochs=4)
    assert [str(warning.message) for warning in seen] == [trainer.postmortem.sentence]
    assert trainer.postmortem.cause == "bad constant"
    assert f"train_loss became NaN or infinite at {where}, " in str(seen[0].message)
    assert trainer.history.diverged == f"train_loss at {where}"
    assert trainer.status == "diverged"
    assert trainer.train_batch_idx == 12


class UndefinedOnce(LinearRegression):
    """Its metric is NaN in one epoch."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def validation_step(self, batch):
        super().validation_step(batch)
        self.plot("f1", math.nan if self.trainer.epoch == self.at else 0.5, train=False)


@pytest.mark.parametrize(("at", "best"), [(0, 2), (2, 1)])
def test_a_metric_that_is_nan_once_harms_nothing(at, best):
    with pytest.warns(GradbookWarning, match=f"val_f1 became NaN .* epoch {at + 1}") as seen:
        trainer = fit(
            UndefinedOnce(at), regression(), max_epochs=3, monitor="val_f1", keep_best=True
        )
    assert len(seen) == 1
    assert (trainer.status, trainer.history.diverged) == ("finished", None)
    assert (trainer.best.epoch, trainer.postmortem) == (best, None)
    assert math.isnan(trainer.history["val_f1"][at])


class BreaksAfter(LinearRegression):
    """Plots no loss, and has a parameter that is no number after an epoch."""

    def training_step(self, batch):
        return self.loss(self(*batch[:-1]), batch[-1])

    def validation_step(self, batch):
        self.plot("size", len(batch[0]), train=False)

    def on_last_step(self):
        with torch.no_grad():
            self.net.weight.fill_(math.nan)


class Breaks(Sink):
    def end_step(self, trainer):
        if trainer.epoch == 1 and trainer.train_batch_idx == 2 * trainer.num_train_batches:
            trainer.model.on_last_step()


def test_a_parameter_that_is_no_number_is_divergence_whatever_was_plotted():
    with pytest.warns(DivergenceWarning):
        trainer = fit(BreaksAfter(), regression(), max_epochs=3, sinks=[Breaks()])
    assert trainer.status == "diverged"
    assert trainer.history.diverged == "the parameter net.weight at the end of epoch 2"


def test_parameters_that_are_no_numbers_are_never_the_best():
    class LastStepBreaks(Diverges):
        def on_last_step(self):
            with torch.no_grad():
                self.net.weight.fill_(math.nan)

    y = torch.ones(12, 1)
    with pytest.warns(DivergenceWarning):
        trainer = fit(
            LastStepBreaks(99, lr=0.01),
            Data(y, y, num_train=12),
            max_epochs=2,
            sinks=[Breaks()],
            keep_best=True,
        )
    assert trainer.best.epoch == 1
    assert trainer.model.net.weight.isfinite().all()


def test_a_training_loss_that_is_not_plotted_counts_as_well():
    class Unplotted(LinearRegression):
        def training_step(self, batch):
            return self.loss(self(*batch[:-1]), batch[-1]) + math.inf

    with pytest.warns(DivergenceWarning):
        trainer = fit(Unplotted(), regression(), max_epochs=1)
    assert trainer.history.diverged == "the training loss at the end of epoch 1"


def test_sinks_hear_that_a_training_diverged():
    sink, y = Keep(), torch.ones(12, 1)
    with pytest.warns(DivergenceWarning):
        fit(Diverges(2), Data(y, y, num_train=12), sinks=[sink])
    assert sink.calls == ["open", "diverged"]


@pytest.mark.slow
def test_a_rate_that_is_too_large_diverges_and_ends_in_time():
    with pytest.warns(DivergenceWarning) as seen:
        trainer = fit(LinearRegression(lr=1e6), regression(), max_epochs=10)
    assert len(seen) == 1
    assert len(trainer.history) == 10


# One trainer, several models; one model, several trainings


def test_one_trainer_fits_several_models_in_turn():
    trainer = Trainer(2)
    models = [LinearRegression(), LinearRegressionScratch(2)]
    for model in models:
        trainer.fit(model, regression())
        assert trainer.model is model
        assert len(trainer.history) == 2
    assert all(len(model.board.data["val_loss"]) == 2 for model in models)


def test_a_model_that_is_fitted_again_starts_a_new_curve():
    model, trainer = LinearRegression(), Trainer(2)
    for _ in range(2):
        trainer.fit(model, regression())
    assert [point.x for point in model.board.data["val_loss"]] == [1, 2]


def test_a_model_that_is_fitted_again_goes_on_from_its_weights():
    model, data = LinearRegression(lr=0.01), regression()
    first = fit(model, data, 5).history
    second = fit(model, data, 5).history
    assert second[0]["train_loss"] < first[0]["train_loss"]


def test_the_history_of_a_finished_training_is_not_changed_by_the_next():
    trainer = Trainer(2)
    trainer.fit(LinearRegression(), regression())
    first = trainer.history
    trainer.fit(LinearRegression(), regression())
    assert trainer.history is not first
    assert len(first) == 2


# Other loaders, optimizers and schedulers


def test_a_data_loader_of_torch_works():
    dataset = TensorDataset(torch.randn(10, 2), torch.randn(10, 1))
    loader = DataLoader(dataset, batch_size=4, shuffle=True, num_workers=0)
    trainer = fit(LinearRegression(), Given(loader, DataLoader(dataset, batch_size=4)))
    assert trainer.num_train_batches == 3
    assert trainer.status == "finished"


@pytest.mark.parametrize("make", [torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD])
def test_optimizers_of_torch_work(make):
    class Mine(LinearRegression):
        def configure_optimizers(self):
            return make(self.parameters(), lr=0.1)

    history = fit(Mine(), regression(), max_epochs=5).history
    assert history[-1]["train_loss"] < history[0]["train_loss"]


def test_a_scheduler_can_be_stepped_after_each_epoch():
    class Mine(LinearRegression):
        def configure_optimizers(self):
            optim = super().configure_optimizers()
            self.schedule = torch.optim.lr_scheduler.StepLR(optim, 1, gamma=0.5)
            return optim

    class Scheduled(Trainer):
        def fit_epoch(self):
            super().fit_epoch()
            rates.append(self.optim.lr)
            self.model.schedule.step()

    rates = []
    Scheduled(3).fit(Mine(lr=0.4), regression())
    assert rates == [0.4, 0.2, 0.1]


# Subclasses, and methods replaced as the book does


def test_a_subclass_may_replace_any_method():
    seen = []

    class Mine(Trainer):
        def prepare_batch(self, batch):
            seen.append("batch")
            return super().prepare_batch(batch)

        def clip_gradients(self, grad_clip_val, model):
            seen.append("clip")
            super().clip_gradients(grad_clip_val, model)

    Mine(1, gradient_clip_val=1).fit(LinearRegression(), regression(n=4, num_train=4))
    assert seen == ["batch", "batch", "clip"]  # the first is the rehearsal's


@pytest.mark.usefixtures("undo_patches")
def test_the_book_s_fit_epoch_gives_the_same_numbers():
    results = []
    for replaced in (False, True):
        if replaced:
            replace_fit_epoch()
        torch.manual_seed(4)
        data, model = regression(), LinearRegressionScratch(2)
        trainer = fit(model, data, max_epochs=2, gradient_clip_val=1)
        results.append((model.w.tolist(), trainer.history.rows, model.board.data))
    assert results[0] == results[1]


@pytest.mark.usefixtures("undo_patches")
def test_the_book_s_methods_for_gpus_can_replace_ours():
    from gradbook import num_gpus

    @add_to_class(Trainer)
    def __init__(self, max_epochs, num_gpus=0, gradient_clip_val=0):
        self.save_hyperparameters()
        self.gpus = [gradbook.gpu(i) for i in range(min(num_gpus, num_gpus_here))]

    @add_to_class(Trainer)
    def prepare_batch(self, batch):
        if self.gpus:
            batch = [a.to(self.gpus[0]) for a in batch]
        return batch

    @add_to_class(Trainer)
    def prepare_model(self, model):
        model.trainer = self
        model.board.xlim = [0, self.max_epochs]
        if self.gpus:
            model.to(self.gpus[0])
        self.model = model

    num_gpus_here = num_gpus()
    trainer = Trainer(max_epochs=2)
    trainer.fit(LinearRegression(), regression())
    assert trainer.status == "finished"
    assert len(trainer.history) == 2


@pytest.mark.usefixtures("undo_patches")
def test_clipping_written_by_the_learner_is_what_runs():
    @add_to_class(Trainer)
    def clip_gradients(self, grad_clip_val, model):
        for param in model.parameters():
            param.grad.zero_()

    model = LinearRegressionScratch(2)
    before = model.w.detach().clone()
    fit(model, regression(), gradient_clip_val=1)
    assert torch.equal(model.w, before)


@pytest.mark.usefixtures("undo_patches")
def test_a_method_replaced_on_the_model_s_class_is_what_runs():
    @add_to_class(LinearRegression)
    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 0.01)

    assert isinstance(fit(LinearRegression(), regression()).optim, torch.optim.Adam)


def test_a_model_that_only_looks_like_ours_trains():
    class Board:
        xlim = None

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.board = Board()
            self.net = nn.Linear(2, 1)

        def training_step(self, batch):
            return F.mse_loss(self.net(batch[0]), batch[1])

        def validation_step(self, batch):
            pass

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    trainer = fit(Own(), regression(), max_epochs=2)
    assert trainer.status == "finished"
    assert trainer.train_batch_idx == 4


# Devices


def test_data_in_memory_move_to_the_device_of_a_training():
    trainer = Trainer(1)
    trainer.gpus = [torch.device("meta")]
    trainer.prepare_data(classification())
    loaders = trainer.train_dataloader, trainer.val_dataloader
    assert {tensor.device.type for each in loaders for tensor in each.tensors} == {"meta"}


# Compiling


def test_compiling_is_left_to_torch(monkeypatch):
    compiled = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, *args, **kwargs: compiled.append(self))
    model = LinearRegression()
    fit(model, regression(), compile=True)
    assert compiled == [model]


def test_without_being_asked_nothing_is_compiled(monkeypatch):
    monkeypatch.setattr(nn.Module, "compile", lambda self: pytest.fail("compiled"))
    fit(LinearRegression(), regression())


def test_a_network_that_cannot_be_compiled_trains_as_it_is(monkeypatch):
    def refuse(self):
        raise RuntimeError("no compiler")

    monkeypatch.setattr(nn.Module, "compile", refuse)
    with pytest.warns(IgnoredSettingWarning, match="compile=True.*no compiler"):
        trainer = fit(LinearRegression(), regression(), compile=True)
    assert trainer.status == "finished"


def test_looking_whether_it_compiles_leaves_no_trace(monkeypatch):
    monkeypatch.setattr(nn.Module, "compile", lambda self: None)
    states = []

    class Look(Trainer):
        def fit_epoch(self):
            states.append(int(self.model.net[1].num_batches_tracked))

    model = Net(nn.Flatten(), nn.BatchNorm1d(9), nn.Dropout(0.5), nn.Linear(9, 3))
    data, before = classification(), torch.get_rng_state()
    Look(1, compile=True).fit(model, data)
    assert states == [0]
    assert torch.equal(torch.get_rng_state(), before)


# A healthy training is quiet


def test_a_healthy_training_prints_and_warns_nothing(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error", GradbookWarning)
        fit(MLP(num_outputs=3, num_hiddens=4), classification(), max_epochs=2)
    assert capsys.readouterr() == ("", "")


# What others found


class NoReturn(LinearRegression):
    def training_step(self, batch):
        super().training_step(batch)


def test_a_training_step_without_return_is_named():
    with pytest.raises(ModelError, match=r"NoReturn\.training_step must return the loss"):
        fit(NoReturn(), regression())


def test_training_without_gradients_is_explained():
    with torch.no_grad(), pytest.raises(ModelError, match="does not depend on a parameter"):
        fit(LinearRegression(), regression())


def test_a_model_without_parameters_is_refused():
    class Empty(LinearRegression):
        def __init__(self):
            super().__init__()
            self.net = nn.Identity()

    with pytest.raises(ModelError, match="Empty has no parameters"):
        fit(Empty(), Data(torch.ones(12, 1), torch.ones(12, 1)))


def test_what_an_interrupted_window_held_is_kept():
    class Interrupted(LinearRegression):
        def training_step(self, batch):
            loss = super().training_step(batch)
            if self.trainer.train_batch_idx == 1:
                raise KeyboardInterrupt
            return loss

    model = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        fit(model, regression(48, batch_size=4, num_train=40))
    assert len(model.board.data["train_loss"]) == 1


def test_a_copy_that_was_trained_draws_a_new_curve():
    model = LinearRegression()
    fit(model, regression())
    twin = copy.deepcopy(model)
    fit(twin, regression())
    assert [point.x for point in twin.board.data["val_loss"]] == [1]


def test_a_model_can_be_copied_while_it_trains():
    class Snapshots(LinearRegression):
        def validation_step(self, batch):
            super().validation_step(batch)
            self.kept = copy.deepcopy({"model": self})

    model = Snapshots()
    fit(model, regression(), display="lines")
    assert torch.equal(model.kept["model"].net.weight, model.net.weight)


def test_a_sampler_s_batches_are_weighted_by_their_true_size():
    class Sizes(LinearRegression):
        def loss(self, y_hat, y):
            return (y_hat - y).mean() * 0 + len(y)

    dataset = TensorDataset(torch.ones(100, 1), torch.ones(100, 1))
    loader = DataLoader(dataset, batch_size=8, sampler=SubsetRandomSampler(range(10)))
    trainer = fit(Sizes(), Given(loader, None))
    assert trainer.history[-1]["train_loss"] == pytest.approx(6.8)  # (8 * 8 + 2 * 2) / 10


class Uneven:
    """Gives the numbers of its examples in batches of these sizes."""

    def __init__(self, *sizes):
        self.sizes = sizes

    def __len__(self):
        return len(self.sizes)

    def __iter__(self):
        ends = list(accumulate(self.sizes))
        return (list(range(end - size, end)) for end, size in zip(ends, self.sizes, strict=True))


def without_thirds(examples):
    return default_collate([example for example in examples if example[0] % 3])


NUMBERS = TensorDataset(torch.arange(16.0)[:, None], torch.arange(16.0)[:, None])
UNEVEN = {
    "batch_sampler": lambda: DataLoader(NUMBERS, batch_sampler=Uneven(1, 9, 2, 4)),
    "no batch_size": lambda: DataLoader(NUMBERS, batch_size=None, sampler=Uneven(1, 9, 2, 4)),
    "list": lambda: [NUMBERS[rows] for rows in Uneven(1, 9, 2, 4)],
    "class": lambda: Forwarding([NUMBERS[rows] for rows in Uneven(1, 9, 6)]),
    "dictionaries": lambda: [
        dict(zip(("X", "y"), NUMBERS[rows], strict=True)) for rows in Uneven(9, 3, 4)
    ],
    "examples left out": lambda: DataLoader(NUMBERS, 6, collate_fn=without_thirds),
    "more left out": lambda: DataLoader(NUMBERS, 7, collate_fn=without_thirds),
    "steps before examples": lambda: DataLoader(
        TensorDataset(torch.arange(7.0), torch.arange(7.0)), 4, collate_fn=in_steps
    ),
}


def in_steps(examples):
    """Five steps of each example."""
    values = torch.stack([value for value, _ in examples])
    return values.expand(5, -1), values.expand(5, -1)


class Forwarding:
    """A loader of which only what a training needs is known."""

    def __init__(self, batches):
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        return iter(self.batches)


@pytest.mark.parametrize("name", UNEVEN)
def test_uneven_batches_are_weighted_by_their_examples(name):
    class Mean(Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(1))

        def training_step(self, batch):
            self.plot("loss", labels(batch).mean(), train=True)
            return self.w.sum()

        def validation_step(self, batch):
            self.plot("loss", labels(batch).mean(), train=False)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    def labels(batch):
        return batch["y"] if isinstance(batch, dict) else batch[-1]

    loader = UNEVEN[name]()
    expected = torch.cat([labels(batch).reshape(-1) for batch in loader]).mean().item()
    model = Mean()
    trainer = fit(model, Given(loader, loader))
    assert trainer.history[-1]["train_loss"] == pytest.approx(expected)
    assert trainer.history[-1]["val_loss"] == pytest.approx(expected)
    assert trainer.validate(model, Given(loader, loader))["val_loss"] == pytest.approx(expected)


def test_batches_that_come_only_once_are_refused_in_the_second_epoch():
    class Once:
        def __init__(self):
            self.batches = iter([(torch.ones(2, 1), torch.ones(2, 1))])

        def __len__(self):
            return 1

        def __iter__(self):
            return self.batches

    with pytest.raises(DataError, match="no batch in epoch 2"):
        fit(LinearRegression(), Given(Once(), None), max_epochs=2)


def test_a_trainer_that_is_training_cannot_begin_another():
    class Nested(LinearRegression):
        def training_step(self, batch):
            self.trainer.fit(LinearRegression(), regression())

    with pytest.raises(ConfigError, match="training already"):
        fit(Nested(), regression())


def test_a_label_s_history_is_a_list():
    trainer = fit(LinearRegression(), regression(), max_epochs=2)
    assert trainer.history["val_loss"] == [row["val_loss"] for row in trainer.history]
    with pytest.raises(KeyError, match=r"val_los.*recorded are epoch, train_loss, val_loss"):
        trainer.history["val_los"]


def test_the_warning_of_divergence_names_the_learner_s_line():
    with pytest.warns(DivergenceWarning) as seen:
        Trainer(max_epochs=3).fit(LinearRegression(lr=1e30), regression())
    assert [warning.filename for warning in seen] == [__file__]
