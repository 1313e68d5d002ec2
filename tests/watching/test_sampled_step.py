"""One sampled step: what is measured in it, and that nothing is left of it."""

import copy
import io
import math

import numpy as np
import pytest
import torch
from tests.watching.watched import Deep, Images, fit, hooks_left, row_of
from torch import nn
from torch.overrides import _get_current_function_mode_stack as function_modes

from gradbook import MLP, Classifier, seed_everything


def test_norms_are_those_of_a_step_by_hand():
    seed_everything(3)
    data = Images(num_train=32)
    model = Deep(num_layers=3)
    twin = copy.deepcopy(model)
    trainer = fit(model, data, every_n_steps=1)
    X, y = data.X[:32], data.y[:32]
    twin.loss(twin(X), y).backward()
    with torch.no_grad():
        H = torch.sigmoid(twin.net[0](X))
    layer = twin.net[0]
    grads = torch.cat([layer.weight.grad.reshape(-1), layer.bias.grad]).numpy()
    weights = torch.cat([layer.weight.data.reshape(-1), layer.bias.data]).numpy()
    row = row_of(trainer, "net.0")
    assert row.kind == "Linear"
    assert row.num_weights == grads.size
    assert row.grad_norm == pytest.approx(np.linalg.norm(grads), rel=1e-5)
    assert row.grad_rms == pytest.approx(np.sqrt(np.mean(grads**2)), rel=1e-5)
    assert row.weight_norm == pytest.approx(np.linalg.norm(weights), rel=1e-5)
    ratio = 0.1 * np.linalg.norm(grads) / np.linalg.norm(weights)
    assert row.update_ratio == pytest.approx(ratio, rel=1e-3)
    assert row.activation_rms == pytest.approx(np.sqrt(np.mean(H.numpy() ** 2)), rel=1e-5)
    assert row.num_examples == 32
    everything = np.concatenate([p.grad.reshape(-1).numpy() for p in twin.parameters()])
    ((place, total),) = trainer.gradients.totals
    assert place == 0
    assert total == pytest.approx(np.linalg.norm(everything), rel=1e-5)


def test_the_gradient_is_seen_before_it_is_clipped():
    seed_everything(0)
    free = Deep(num_layers=3)
    clipped = copy.deepcopy(free)
    data = Images(num_train=32)
    rows = [
        row_of(fit(model, data, every_n_steps=1, gradient_clip_val=clip), "net.0")
        for model, clip in ((free, 0), (clipped, 1e-3))
    ]
    assert rows[1].grad_norm == pytest.approx(rows[0].grad_norm)
    assert rows[1].update_ratio < rows[0].update_ratio / 10


def test_accumulated_gradients_are_those_of_the_whole_group():
    seed_everything(0)
    model = Deep(num_layers=3)
    twin = copy.deepcopy(model)
    data = Images(num_train=64)
    trainer = fit(model, data, every_n_steps=1, accumulate_grad_batches=2)
    twin.loss(twin(data.X[:64]), data.y[:64]).backward()
    expected = math.hypot(twin.net[4].weight.grad.norm(), twin.net[4].bias.grad.norm())
    assert row_of(trainer, "net.4").grad_norm == pytest.approx(expected, rel=1e-5)
    assert row_of(trainer, "net.4").num_steps == 1


def test_a_frozen_layer_has_no_gradient():
    model = Deep(num_layers=3)
    model.net[0].requires_grad_(False)
    row = row_of(fit(model), "net.0")
    assert math.isnan(row.grad_norm)
    assert row.update_ratio == 0
    assert row.activation_rms > 0


def test_several_groups_and_adam_are_watched():
    class Groups(Deep):
        def configure_optimizers(self):
            groups = [{"params": self.net[0].parameters()}, {"params": self.net[2].parameters()}]
            return torch.optim.Adam(groups, lr=0.01)

    rows = fit(Groups(nn.ReLU, num_layers=2)).gradients.rows
    assert all(row.update_ratio > 0 for row in rows)


@pytest.mark.parametrize(
    "relu",
    [
        torch.relu,
        nn.functional.relu,
        lambda X: torch.max(X, torch.zeros_like(X)),
        lambda X: torch.maximum(X, torch.tensor(0.0)),
        lambda X: X.clamp(min=0),
        lambda X: torch.clamp(X, 0),
        lambda X: torch.relu_(X),
    ],
)
def test_a_relu_is_known_however_it_is_written(relu):
    class Scratch(Classifier):
        def __init__(self):
            super().__init__()
            self.lr = 0.001
            self.W1 = (torch.randn(48, 8) * 0.01).requires_grad_()
            self.b1 = torch.tensor([1.0] * 6 + [-10.0] * 2, requires_grad=True)
            self.W2 = torch.randn(8, 10).requires_grad_()
            self.b2 = torch.zeros(10, requires_grad=True)

        def forward(self, X):
            return relu(X @ self.W1 + self.b1) @ self.W2 + self.b2

    row = row_of(fit(Scratch()), "W1")
    assert (row.function, row.dead, row.num_units) == ("relu", 0.25, 8)


@pytest.mark.parametrize(
    ("function", "flat"), [(torch.sigmoid, 4.5), (torch.tanh, 2.3), (nn.Tanh(), 2.3)]
)
def test_saturated_units_are_counted(function, flat):
    class Flat(Classifier):
        def __init__(self):
            super().__init__()
            self.lr = 1e-6
            self.hidden, self.out = nn.Linear(48, 4), nn.Linear(4, 10)
            nn.init.zeros_(self.hidden.weight)
            self.hidden.bias.data = torch.tensor([flat, -flat, 0.8 * flat, 0.0])

        def forward(self, X):
            return self.out(function(self.hidden(X)))

    assert row_of(fit(Flat()), "hidden").saturated == 0.5


@pytest.mark.parametrize(
    ("function", "biases", "lost"),
    [
        (nn.ReLU6(), [-1.0, 7.0, 3.0, 0.1], 0.5),
        (lambda X: nn.functional.relu6(X), [-1.0, 7.0, 3.0, 0.1], 0.5),
        (lambda X: X.clamp(0, 6), [-1.0, 7.0, 3.0, 0.1], 0.5),
        (nn.Hardtanh(), [-1.5, 1.5, 0.9, 0.0], 0.5),
        (nn.Hardtanh(-2, 2), [-1.5, 1.5, 2.5, 0.0], 0.25),
        (nn.Hardtanh(0, 2), [-1.5, 1.5, 2.5, 0.5], 0.5),
        (nn.SiLU(), [-100.0, -9.0, -3.0, 0.0], 0.5),
        (nn.GELU(), [-100.0, -4.0, -1.0, 0.0], 0.5),
        (nn.GELU("tanh"), [-100.0, -4.0, -1.0, 0.0], 0.5),
        (nn.Mish(), [-100.0, -9.0, -3.0, 0.0], 0.5),
    ],
)
def test_units_are_flat_where_their_function_is(function, biases, lost):
    class Flat(Classifier):
        def __init__(self):
            super().__init__()
            self.lr = 1e-6
            self.hidden, self.out = nn.Linear(48, 4), nn.Linear(4, 10)
            nn.init.zeros_(self.hidden.weight)
            self.hidden.bias.data = torch.tensor(biases)

        def forward(self, X):
            return self.out(function(self.hidden(X)))

    row = row_of(fit(Flat()), "hidden")
    assert [part for part in (row.dead, row.saturated) if not math.isnan(part)] == [lost]


def test_the_units_of_a_convolution_are_its_channels():
    class Net(Classifier):
        def __init__(self):
            super().__init__()
            self.lr = 1e-6
            self.net = nn.Sequential(
                nn.Unflatten(1, (3, 4, 4)), nn.Conv2d(3, 5, 3), nn.ReLU(inplace=True),
                nn.Flatten(), nn.Linear(20, 10),
            )  # fmt: skip
            self.net[1].bias.data[0] = -100

    row = row_of(fit(Net()), "net.1")
    assert (row.num_units, row.dead) == (5, 0.2)


def test_a_network_that_is_called_past_the_model_is_seen():
    class Direct(Deep):
        def training_step(self, batch):
            loss = self.loss(self.net(batch[0]), batch[1])
            self.plot("loss", loss, train=True)
            return loss

    assert row_of(fit(Direct(nn.ReLU, num_layers=2)), "net.0").function == "relu"


@pytest.mark.slow
def test_validation_is_not_sampled():
    class Counted(MLP):
        modes = ()

        def forward(self, X):
            self.modes = [*self.modes, (torch.is_grad_enabled(), len(function_modes()))]
            return super().forward(X)

    model = Counted()
    fit(model, every_n_steps=1, max_epochs=2)
    assert {modes for has_grad, modes in model.modes if not has_grad} == {0}
    assert {modes for has_grad, modes in model.modes if has_grad} == {1}


def test_nothing_is_left_on_the_model():
    model = MLP()
    fit(model, max_epochs=2)
    assert hooks_left(model) == []


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("place", ["forward", "loss"])
def test_nothing_is_left_when_a_sampled_step_fails(error, place):
    class Failing(MLP):
        num_calls = 0

        def fail(self):
            self.num_calls += self.training and torch.is_grad_enabled()
            if self.num_calls == 3:
                raise error

        def forward(self, X):
            if place == "forward":
                self.fail()
            return super().forward(X)

        def loss(self, y_hat, y):
            if place == "loss":
                self.fail()
            return super().loss(y_hat, y)

    model = Failing()
    with pytest.raises(error):
        fit(model, every_n_steps=1)
    assert hooks_left(model) == []


def test_a_model_can_be_copied_and_saved_in_the_middle_of_a_sampled_step():
    class Copied(MLP):
        copies = ()

        def loss(self, y_hat, y):
            if torch.is_grad_enabled():
                buffer = io.BytesIO()
                torch.save(self.net, buffer)
                self.copies = [*self.copies, copy.deepcopy(self.net)]
            return super().loss(y_hat, y)

    model = Copied()
    fit(model, Images(num_train=64), every_n_steps=1)
    assert model.copies
    assert all(hooks_left(net) == [] for net in model.copies)
