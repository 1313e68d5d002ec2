"""Two models with the same weights: the first tensor that differs, and what it means."""

import math
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gradbook import (
    MLP,
    Classifier,
    DataModule,
    LinearRegression,
    LinearRegressionScratch,
    MLPScratch,
    Module,
    SoftmaxRegression,
    SoftmaxRegressionScratch,
    SyntheticRegressionData,
)
from gradbook.errors import BatchError, ConfigError, ModelError
from gradbook.experiments.model_comparison import compare_models


def regression():
    return SyntheticRegressionData(torch.tensor([2, -3.4]), 4.2, num_train=64, num_val=32)


def batch(num_features=4):
    return torch.randn(12, num_features), torch.arange(12) % 3


def rows_of(comparison, stage):
    return [row for row in comparison.rows if row.stage == stage]


def test_the_book_s_regressions_differ_by_the_half_in_the_loss():
    comparison = compare_models(LinearRegressionScratch(2), LinearRegression(), regression())
    first = comparison.first_difference
    assert (first.stage, first.ratio) == ("loss", pytest.approx(2))
    gradients = rows_of(comparison, "gradient")
    assert [(row.name_a, row.name_b) for row in gradients] == [
        ("w", "net.weight"),
        ("b", "net.bias"),
    ]
    assert [row.ratio for row in gradients] == pytest.approx([2, 2])
    assert "one of them halves the squared error" in comparison.findings[0]
    assert (
        "The gradient of w in the first model is 0.5 times that of net.weight in the second "
        "everywhere" in comparison.findings[1]
    )


def test_the_other_way_round_the_ratio_is_the_inverse():
    comparison = compare_models(LinearRegression(), LinearRegressionScratch(2), regression())
    assert comparison.first_difference.ratio == pytest.approx(0.5)
    assert "the loss of LinearRegressionScratch is 0.5 times" in comparison.findings[0]


def test_the_gradients_are_those_of_the_formula():
    model, (X, y) = LinearRegressionScratch(2), (torch.randn(8, 2), torch.randn(8, 1))

    class Shifted(LinearRegressionScratch):
        def loss(self, y_hat, y):
            return super().loss(y_hat + 1, y)

    comparison = compare_models(model, Shifted(2), (X, y))
    error = (X @ model.w + model.b - y).detach().numpy()
    inputs = X.numpy()
    ours, theirs = inputs.T @ error / 8, inputs.T @ (error + 1) / 8
    gap = np.abs(ours - theirs).max() / max(np.abs(ours).max(), np.abs(theirs).max())
    assert rows_of(comparison, "gradient")[0].difference == pytest.approx(gap, rel=1e-5)


@pytest.mark.parametrize("num_features", [4, 8])
def test_scratch_and_concise_mlp_do_the_same_even_with_square_weights(num_features):
    comparison = compare_models(MLPScratch(num_features, 3, 8), MLP(3, 8), batch(num_features))
    assert comparison.same
    assert comparison.first_difference is None
    assert comparison.findings == [
        f"MLPScratch and MLP do the same: all {len(comparison.rows)} tensors are equal."
    ]
    assert len(rows_of(comparison, "gradient")) == len(rows_of(comparison, "update")) == 4


def test_probabilities_and_logits_with_their_losses_train_alike():
    comparison = compare_models(SoftmaxRegressionScratch(4, 3), SoftmaxRegression(3), batch())
    assert comparison.first_difference.stage == "output"
    assert comparison.first_difference.relation == "A is the softmax of B"
    assert "Nevertheless the gradients are equal." in comparison.findings
    assert all(row.same for row in rows_of(comparison, "update"))


# Planted faults


class Summed(MLP):
    def loss(self, y_hat, y):
        return F.cross_entropy(y_hat, y, reduction="sum")


def test_a_loss_that_is_not_averaged():
    comparison = compare_models(MLP(3, 8), Summed(3, 8), batch())
    assert comparison.first_difference.stage == "loss"
    assert comparison.first_difference.ratio == pytest.approx(12)
    assert "one of them adds up the 12 examples" in comparison.findings[0]
    assert "is 0.08333 times" in comparison.findings[1]


class PerExample(MLP):
    def loss(self, y_hat, y):
        return F.cross_entropy(y_hat, y, reduction="none")


def test_a_loss_of_each_example():
    first = compare_models(MLP(3, 8), PerExample(3, 8), batch()).first_difference
    assert (first.stage, first.relation) == ("loss", "A has shape (), and B (12,)")


class NoBias(MLP):
    def __init__(self):
        super().__init__(3, 8)
        layers = [nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(3, bias=False)]
        self.net = nn.Sequential(nn.Flatten(), *layers)


@pytest.mark.parametrize("is_first", [True, False])
def test_a_missing_bias(is_first):
    models = (MLP(3, 8), NoBias())
    comparison = compare_models(*(models if is_first else models[::-1]), batch())
    first = comparison.first_difference
    assert (first.stage, first.shape) == ("parameter", (3,))
    assert (first.name_a, first.name_b) == (
        ("net.3.bias", None) if is_first else (None, "net.3.bias")
    )
    assert (
        "NoBias has no counterpart of the parameter net.3.bias (3,) of MLP"
        in comparison.findings[0]
    )
    assert "all rows differ by the same row, as by a bias" in comparison.findings[1]


class TwiceInNet(MLP):
    def __init__(self):
        super().__init__(3, 8)
        self.net = nn.Sequential(*self.net, nn.Softmax(dim=1))


class TwiceInForward(SoftmaxRegression):
    def forward(self, X):
        return self.net(X).softmax(dim=1)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [(lambda: MLP(3, 8), TwiceInNet), (lambda: SoftmaxRegression(3), lambda: TwiceInForward(3))],
)
def test_a_double_softmax(right, wrong):
    comparison = compare_models(right(), wrong(), batch())
    assert comparison.first_difference.relation == "B is the softmax of A"
    assert "takes the softmax twice" in comparison.findings[-1]
    assert comparison.findings[-1].startswith("Twice")


def test_a_healthy_softmax_is_no_double_one():
    comparison = compare_models(SoftmaxRegressionScratch(4, 3), SoftmaxRegression(3), batch())
    assert not any("twice" in finding for finding in comparison.findings)


def test_the_first_layer_that_differs():
    class Leaky(MLP):
        def __init__(self):
            super().__init__(3, 8)
            self.net[2] = nn.LeakyReLU(0.5)

    comparison = compare_models(MLP(3, 8), Leaky(), batch())
    first = comparison.first_difference
    assert (first.stage, first.name_a, first.name_b) == ("activation", "net.3", "net.3")
    assert [row.name_a for row in rows_of(comparison, "activation") if row.same] == [
        "net.0",
        "net.1",
    ]


def test_another_learning_rate():
    comparison = compare_models(MLP(3, 8, lr=0.1), MLP(3, 8, lr=0.3), batch())
    first = comparison.first_difference
    assert (first.stage, first.ratio) == ("update", pytest.approx(3, rel=1e-4))
    assert "the second model are 3 times" in comparison.findings[1]
    assert "the first MLP" in comparison.findings[0]
    assert comparison.findings[2] == (
        "Their optimizers differ: the first MLP is trained with SGD(lr=0.1), and the second MLP "
        "with SGD(lr=0.3)."
    )


class Stepping(LinearRegression):
    """A regression with an optimizer of its own."""

    def __init__(self, make):
        super().__init__(lr=0.1)
        self.make = make

    def configure_optimizers(self):
        return self.make(self.parameters())


class OwnSGD:
    def __init__(self, params, lr):
        self.params, self.lr = list(params), lr

    def step(self):
        for param in self.params:
            param -= self.lr * param.grad

    def zero_grad(self):
        pass


OwnSGD.__name__ = "SGD"  # as the homework calls it


def with_schedule(params):
    optimizer = torch.optim.SGD(params, lr=0.1)
    return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 3)]


@pytest.mark.parametrize(
    ("first", "second", "texts"),
    [
        (
            lambda params: torch.optim.SGD(params, lr=0.1),
            lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9),
            ["with SGD(lr=0.1), and", "with SGD(lr=0.1, momentum=0.9)"],
        ),
        (
            lambda params: torch.optim.Adam(params, lr=0.1, betas=(0.5, 0.9)),
            lambda params: torch.optim.Adam(params, lr=torch.tensor(0.1)),
            ["betas=(0.5, 0.9)", "betas=(0.9, 0.999)"],
        ),
        (
            lambda params: torch.optim.SGD(params, lr=0.1),
            with_schedule,
            ["SGD(lr=0.1) with StepLR"],
        ),
    ],
)
def test_what_the_first_step_hides_of_the_optimizers_is_told(first, second, texts):
    comparison = compare_models(Stepping(first), Stepping(second), regression())
    assert comparison.first_difference is None
    assert not comparison.same
    (finding,) = comparison.findings
    assert "do the same in a first step" in finding
    assert "Later steps will show it" in finding
    assert all(text in finding for text in texts)


@pytest.mark.parametrize(
    "make", [lambda params: torch.optim.SGD(params, lr=0.1), lambda params: OwnSGD(params, 0.1)]
)
def test_plain_gradient_descent_is_the_same_whoever_has_written_it(make):
    comparison = compare_models(LinearRegression(lr=0.1), Stepping(make), regression())
    assert comparison.same
    assert comparison.optimizers == ("SGD(lr=0.1)", "SGD(lr=0.1)")
    assert "optimizers" not in comparison.findings[0]


def test_of_a_network_with_one_output_no_softmax_is_spoken_of():
    class Net(MLP):
        def __init__(self, function):
            super().__init__(1, 8)
            self.net[2] = function

        def loss(self, y_hat, y):
            return (y_hat.reshape(-1) - y).square().mean()

    comparison = compare_models(Net(nn.ReLU()), Net(nn.Tanh()), batch())
    assert not comparison.same
    assert "softmax" not in str(comparison)


@pytest.mark.parametrize(
    ("X", "y", "text"),
    [
        (
            torch.full((8, 2), math.nan),
            torch.randn(8, 1),
            "Nothing can be compared: the outputs of the first LinearRegression and the second "
            "LinearRegression are NaN or infinite throughout. So are 16 of the batch's 16 inputs",
        ),
        (
            torch.randn(8, 2),
            torch.full((8, 1), math.nan),
            "No more can be compared: the loss of the first LinearRegression and the loss of the "
            "second LinearRegression are NaN or infinite throughout. So are 8 of the batch's 8 "
            "labels",
        ),
    ],
)
def test_where_all_is_nan_nothing_is_said_to_be_the_same(X, y, text):
    comparison = compare_models(LinearRegression(), LinearRegression(), (X, y))
    assert not comparison.same
    assert len(comparison.findings) == 1
    assert text in comparison.findings[0]


def test_weights_that_are_nan_are_named_as_the_reason():
    model = LinearRegressionScratch(2)
    model.w.data.fill_(math.nan)
    comparison = compare_models(model, LinearRegression(), regression())
    assert "So are weights of both models before the step: w." in comparison.findings[0]


@pytest.mark.parametrize(
    ("change", "relation"),
    [
        (torch.tanh, "B is the tanh of A"),
        (lambda y: y + 3, "B is A plus 3 everywhere"),
        (lambda y: y + torch.tensor([1.0, 5.0, 2.0]), "all rows differ by the same row"),
        (lambda y: y + y[:, :1].detach(), "each row differs by a constant of its own"),
        (lambda y: y.T, "they are each other's transpose"),
        (lambda y: torch.where(y > 0, y, y * y), ""),
    ],
)
def test_relations_between_outputs(change, relation):
    class Changed(MLP):
        def forward(self, X):
            return change(super().forward(X))

        def loss(self, y_hat, y):
            return y_hat.square().mean()

    row = compare_models(MLP(3, 8), Changed(3, 8), batch()).first_difference
    assert row.stage == "output"
    assert relation in row.relation
    assert (row.relation == "") == (relation == "")
    assert row.ratio is None


def test_an_output_that_is_a_multiple():
    class Halved(MLP):
        def forward(self, X):
            return -super().forward(X) / 2

    comparison = compare_models(MLP(3, 8), Halved(3, 8), batch())
    assert comparison.first_difference.ratio == pytest.approx(-0.5)


# Both stay as they are


class Noisy(MLP):
    def __init__(self):
        super().__init__(3, 8)
        self.net.insert(1, nn.BatchNorm1d(4))
        self.net.insert(2, nn.Dropout())


def test_both_models_and_the_generators_stay_as_they_are():
    a, b, (X, y) = Noisy(), Noisy(), batch()
    for model in (a, b):
        model.eval()
        model.loss(model(X), y).backward()

    def state():
        return [
            [t.detach().clone() for t in (*m.parameters(), *m.buffers())]
            + [p.grad.clone() for p in m.parameters()]
            + [torch.tensor([m.training, len(m._forward_hooks), hasattr(m, "trainer")])]
            for m in (a, b)
        ], (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())

    before = state()
    comparison = compare_models(a, b, (X, y))
    after = state()
    for ours, theirs in zip(before[0], after[0], strict=True):
        assert all(map(torch.equal, ours, theirs))
    assert before[1] == after[1]
    assert comparison.same  # with the same random numbers for both, too


def test_lazy_layers_stay_lazy():
    a, b = MLP(3, 8), MLP(3, 8)
    assert compare_models(a, b, batch()).same
    assert isinstance(a.net[1].weight, nn.UninitializedParameter)


# What it takes


class Lookalike:
    """A regression that is no nn.Module."""

    def __init__(self):
        self.weights = torch.zeros(2, 1, requires_grad=True)
        self.offset = torch.zeros(1, requires_grad=True)

    def __call__(self, X):
        return X @ self.weights + self.offset

    def loss(self, y_hat, y):
        return ((y_hat - y) ** 2).mean()


def test_a_model_that_only_looks_like_one():
    comparison = compare_models(LinearRegression(), Lookalike(), regression())
    assert comparison.same
    assert [row.name_b for row in rows_of(comparison, "gradient")] == ["weights", "offset"]
    assert not rows_of(comparison, "update")


def test_a_loss_for_both():
    a, b = LinearRegressionScratch(2), LinearRegression()
    assert rows_of(compare_models(a, b, regression(), loss=F.mse_loss), "gradient")[0].same
    net = nn.Linear(2, 1)
    assert compare_models(net, nn.Linear(2, 1), regression(), loss=F.mse_loss).same


def test_a_loader_without_a_first_batch():
    class Data(DataModule):
        def train_dataloader(self):
            return iter([batch()])

    assert compare_models(MLP(3, 8), MLP(3, 8), Data()).same


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_tolerance_is_that_of_the_dtype(dtype):
    X, y = batch()
    a, b = nn.Linear(4, 3).to(dtype), nn.Linear(4, 3).to(dtype)
    assert compare_models(a, b, (X.to(dtype), y), loss=F.cross_entropy).same

    def nearly(y_hat, y):
        return F.cross_entropy(y_hat, y) * (1 + 1e-9)

    a.loss, b.loss = F.cross_entropy, nearly
    assert compare_models(a, b, (X.to(dtype), y)).same == (dtype == torch.bfloat16)


def test_a_class_is_no_model():
    with pytest.raises(ConfigError, match=r"got the class MLP itself.*`MLP\(\.\.\.\)`"):
        compare_models(MLP, MLP(3), batch())


@pytest.mark.parametrize("wrong", [None, 3, "MLP"])
def test_what_is_no_model_is_refused(wrong):
    for models in ((wrong, MLP(3)), (MLP(3), wrong)):
        with pytest.raises(ConfigError, match=f"two models and then a batch, but got {wrong!r}"):
            compare_models(*models, batch())


@pytest.mark.parametrize("wrong", [torch.ones(3), [torch.ones(3)], 5])
def test_a_batch_holds_inputs_and_labels(wrong):
    with pytest.raises(BatchError, match="inputs and then the labels"):
        compare_models(MLP(3), MLP(3), wrong)


def test_a_model_without_a_loss():
    with pytest.raises(ModelError, match="Linear does not define a loss"):
        compare_models(nn.Linear(4, 3), nn.Linear(4, 3), batch())


def test_a_loss_without_a_gradient():
    class Detached(MLP):
        def loss(self, y_hat, y):
            return super().loss(y_hat.detach(), y)

    with pytest.raises(ModelError, match="Detached does not depend on a parameter"):
        compare_models(MLP(3, 8), Detached(3, 8), batch())


# Words and tables


def test_the_words_come_before_the_table():
    text = str(compare_models(LinearRegressionScratch(2), LinearRegression(), regression()))
    findings, table = text.split("\n\n")
    assert findings.startswith("The first difference: the loss of LinearRegressionScratch is 0.5")
    lines = table.splitlines()
    assert lines[0].split() == [
        *("stage", "LinearRegressionScratch", "LinearRegression", "shape", "difference", "ratio")
    ]
    assert lines[1].split() == ["output", "output", "output", "(32,", "1)", "same", "1"]
    assert lines[3].split() == ["gradient", "w", "net.weight", "(2,", "1)", "0.5", "2"]


def test_the_table_as_a_data_frame():
    frame = compare_models(MLP(3, 8), NoBias(), batch()).to_pandas()
    assert list(frame.columns[:4]) == ["stage", "name_a", "name_b", "shape"]
    assert frame["stage"][0] == "parameter"
    assert math.isnan(frame["difference"][0])
    assert frame["same"].sum() == 3


def test_a_parameter_that_gets_no_gradient_is_no_row():
    class Unused(Module):
        def __init__(self):
            super().__init__()
            self.lr = 0.1
            self.used, self.unused = nn.Linear(4, 3), nn.Linear(4, 3)

        def forward(self, X):
            return self.used(X)

        def loss(self, y_hat, y):
            return F.cross_entropy(y_hat, y)

    comparison = compare_models(Unused(), Unused(), batch())
    assert comparison.same
    assert len(rows_of(comparison, "gradient")) == 2


def test_a_layer_that_one_model_has_more_does_not_shift_the_others():
    class Three(Classifier):
        def __init__(self, has_more=False):
            super().__init__()
            self.l1, self.l2, self.l3 = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)
            self.more = nn.Linear(6, 6) if has_more else None
            self.lr = 0.1

        def forward(self, X):
            H = self.l2(self.l1(X))
            return self.l3(H if self.more is None else self.more(H))

    batch = torch.randn(8, 4), torch.arange(8) % 3
    rows = compare_models(Three(), Three(True), batch).rows
    outputs = {row.name_a: row.name_b for row in rows if row.stage == "activation"}
    assert outputs == {"l1": "l1", "l2": "l2", "l3": "l3"}
