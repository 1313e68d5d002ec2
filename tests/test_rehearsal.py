"""What is tried out before a training: a look, shapes, a step; and no trace of them."""

import copy
import multiprocessing
import warnings

import numpy as np
import pytest
import torch
from tests.small import Given, Net, fit
from torch import nn
from torch.nn import functional as F
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
    TensorDataset,
)

import gradbook
from gradbook import Classifier, Module, Trainer
from gradbook.data import TensorLoader
from gradbook.errors import BatchError, GradbookWarning, ModelError, ShapeError
from gradbook.rehearsal import Begun, begins_again, first_batch, rehearse_loss

IMAGES = torch.zeros(4, 1, 6, 6)


def points(n=40):
    X = torch.randn(n, 3, generator=torch.Generator().manual_seed(3))
    return X, (X[:, 0] > 0).long()


# A look at the first batch


@pytest.mark.parametrize("size", [3, 100])
def test_the_first_batch_of_a_data_loader_is_that_of_the_next_pass(size):
    data = torch.utils.data.TensorDataset(torch.arange(5), torch.arange(5))
    loader = torch.utils.data.DataLoader(data, size, shuffle=True)
    state = torch.get_rng_state()
    X, _ = first_batch(loader)
    assert torch.equal(torch.get_rng_state(), state)
    assert X.tolist() == next(iter(loader))[0].tolist()


@pytest.mark.parametrize("loader", [None, [], iter([])])
def test_there_is_no_first_batch_of_what_gives_none(loader):
    assert first_batch(loader) is None


def test_a_data_set_without_whole_number_indices_is_asked_for_what_its_sampler_names():
    class Named(torch.utils.data.Dataset):
        def __len__(self):
            return 2

        def __getitem__(self, name):
            return {"a": 1, "b": 2}[name]

    loader = torch.utils.data.DataLoader(Named(), batch_size=2, sampler=["a", "b"])
    assert first_batch(loader).tolist() == [1, 2]


# A rehearsal


def test_a_rehearsal_gives_the_output_of_the_network():
    model = Net(nn.Flatten(), nn.Linear(36, 3))
    batch = [IMAGES, torch.zeros(4, dtype=torch.int64)]
    assert torch.equal(rehearse_loss(model, batch), model(IMAGES))


@pytest.mark.parametrize("batch", [[torch.zeros(2)], torch.zeros(2), {"X": 1, "y": 2}, 3])
def test_a_batch_that_is_not_inputs_and_labels_is_refused(batch):
    with pytest.raises(BatchError, match=r"inputs and then the labels"):
        rehearse_loss(Net(), batch)


@pytest.mark.parametrize(
    ("loss", "shown"),
    [
        (torch.zeros(4), r"\(4,\) float32"),
        (None, "NoneType None"),
        (0.5, "float 0.5"),
        ((1, 2), "tuple of 2"),
    ],
)
def test_a_loss_that_is_not_one_number_is_refused(loss, shown):
    class Mine(Net):
        def loss(self, Y_hat, Y):
            return loss

    with pytest.raises(ModelError, match=rf"Mine\.loss must return .* returned {shown}.*mean\(\)"):
        rehearse_loss(Mine(), [torch.zeros(4, 3), torch.zeros(4)])


def test_a_rehearsal_builds_no_graph():
    model = Net(nn.Flatten(), nn.Linear(36, 3))
    batch = [IMAGES, torch.zeros(4, dtype=torch.int64)]
    assert not rehearse_loss(model, batch).requires_grad


@pytest.mark.parametrize("training", [True, False])
def test_a_rehearsal_leaves_the_mode_as_it_was(training):
    model = Net(nn.Flatten(), nn.Linear(36, 3), nn.Dropout()).train(training)
    rehearse_loss(model, [IMAGES, torch.zeros(4, dtype=torch.int64)])
    assert {module.training for module in model.modules()} == {training}


def test_a_rehearsal_that_fails_leaves_the_mode_as_it_was():
    model = Net(nn.Linear(2, 3))
    with pytest.raises(ShapeError):
        rehearse_loss(model, [IMAGES, torch.zeros(4)])
    assert model.training


# What the loader gives, and no more


class Partial(Dataset):
    """Examples of which number 0 cannot be read, and which knows what was asked for."""

    def __init__(self):
        self.X, self.y = points()
        self.asked = []

    def __len__(self):
        return 40

    def __getitem__(self, i):
        self.asked.append(i)
        if i == 0:
            raise ValueError("broken")
        return self.X[i], self.y[i]


@pytest.mark.parametrize("overfit", [None, 2])
def test_an_example_that_the_sampler_leaves_out_is_never_asked_for(overfit):
    data = Partial()
    loader = DataLoader(data, 8, sampler=SubsetRandomSampler(range(1, 40)))
    fit(Net(nn.LazyLinear(2)), Given(lambda: loader, lambda: loader), overfit_batches=overfit)
    assert 0 not in data.asked


def test_a_random_sampler_of_fewer_examples_leaves_out_the_others():
    data = Partial()
    data.y[20:] = 7  # which are no classes
    sampler = BatchSampler(SubsetRandomSampler(range(1, 20)), 8, drop_last=False)
    loader = DataLoader(data, batch_sampler=sampler)
    fit(Net(nn.LazyLinear(2)), Given(lambda: loader), overfit_batches=2)
    assert max(data.asked) < 20


def test_a_data_set_that_does_not_begin_at_0_trains():
    class Years(Dataset):
        def __len__(self):
            return 16

        def __getitem__(self, year):
            assert year >= 2000
            return torch.ones(3), year % 2

    loader = DataLoader(Years(), 4, sampler=range(2000, 2016))
    assert fit(Net(nn.LazyLinear(2)), Given(lambda: loader)).train_batch_idx == 4


def test_an_example_that_fails_speaks_for_itself_in_the_training():
    class Broken(Dataset):
        def __len__(self):
            return 8

        def __getitem__(self, i):
            raise ValueError("broken")

    class Look(Trainer):
        def fit_epoch(self):
            self.has_begun = True
            super().fit_epoch()

    trainer = Look(1)
    with pytest.raises(ValueError, match=r"^broken$"):
        trainer.fit(Net(nn.Linear(3, 2)), Given(lambda: DataLoader(Broken(), 4)))
    assert trainer.has_begun


class Augmented(Dataset):
    """Adds noise from all generators, and a number that it counts on."""

    def __init__(self):
        self.X, self.y = points()
        self.rng = np.random.default_rng(0)
        self.count, self.counts, self.late = 0, [0], None

    def __len__(self):
        return 40

    def __getitem__(self, i):
        if self.late is None:
            self.late = np.random.default_rng(1)
        self.count += 1
        self.counts[0] += 1
        noise = torch.randn(3) + np.random.rand() + self.rng.normal() + self.late.normal()
        return self.X[i] + 0.1 * noise + 0.01 * self.count + 0.01 * self.counts[0], self.y[i]


@pytest.mark.parametrize("own", [False, True])
def test_a_seeded_fit_draws_what_the_same_loop_by_hand_draws(own):
    def parts():
        torch.manual_seed(1)
        np.random.seed(1)
        generator = torch.Generator().manual_seed(5) if own else None
        loader = DataLoader(Augmented(), 8, shuffle=True, generator=generator)
        return Net(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2)), loader

    model, loader = parts()
    fit(model, Given(lambda: loader), max_epochs=2)
    by_hand, loader = parts()
    optimizer = torch.optim.SGD(by_hand.parameters(), lr=0.1)
    for _ in range(2):
        for X, y in loader:
            loss = F.cross_entropy(by_hand.net(X), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    for mine, expected in zip(model.parameters(), by_hand.parameters(), strict=True):
        assert torch.equal(mine, expected)


# Loaders that cannot begin again


class Stream(IterableDataset):
    """Examples that come once, as the lines of an open file."""

    def __init__(self):
        X, y = points()
        self.examples = zip(X, y, strict=True)

    def __len__(self):
        return 40

    def __iter__(self):
        return self.examples


class Once:
    """Batches of which each is given once."""

    def __init__(self):
        X, y = points()
        self.batches = zip(X.split(8), y.split(8), strict=True)

    def __len__(self):
        return 5

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.batches)


@pytest.mark.parametrize("layer", [nn.Linear(3, 2), nn.LazyLinear(2)])
@pytest.mark.parametrize("make", [lambda: DataLoader(Stream(), 8), Once])
def test_a_stream_loses_no_batch_to_a_look(make, layer):
    seen = []

    class Mine(Net):
        def loss(self, Y_hat, Y):
            if self.training:
                seen.extend(Y.tolist())
            return super().loss(Y_hat, Y)

    fit(Mine(layer), Given(make))
    assert seen == points()[1].tolist()


def test_a_pass_that_a_look_has_begun_is_gone_on_with_and_the_next_begins_anew():
    loader = [torch.ones(2), torch.zeros(2)]
    begun = Begun(loader)
    begun.batch.add_(5)
    for _ in range(2):
        assert [batch.tolist() for batch in begun] == [[1, 1], [0, 0]]
    assert (len(begun), begun.index(loader[0])) == (2, 0)
    assert len(list(copy.copy(begun))) == 2


def test_what_can_begin_again():
    data = TensorDataset(*points())
    assert begins_again(TensorLoader(points(), 8))
    assert begins_again([1, 2])
    assert begins_again(DataLoader(data))
    assert not begins_again(DataLoader(Stream(), 8))
    assert not begins_again(DataLoader(data, batch_sampler=iter([[1, 2]])))
    assert not begins_again(iter([]))


@pytest.mark.slow
def test_a_look_leaves_no_process_behind():
    loader = DataLoader(
        TensorDataset(*points()), 8, num_workers=2, persistent_workers=True, shuffle=True
    )
    state = torch.get_rng_state()
    batch = first_batch(loader)
    assert not multiprocessing.active_children()
    assert torch.equal(state, torch.get_rng_state())
    again = DataLoader(TensorDataset(*points()), 8, shuffle=True)
    assert torch.equal(batch[0], next(iter(again))[0])


@pytest.mark.slow
def test_data_that_workers_fetch_are_not_looked_at_without_need():
    data = Partial()
    fit(
        Net(nn.Linear(3, 2)), Given(lambda: DataLoader(data, 8, sampler=range(1, 9), num_workers=1))
    )
    assert data.asked == []  # in this process


# No trace


class Counting(Net):
    """Counts its calls in every way that a learner might think of."""

    late = 0

    def __init__(self):
        super().__init__(nn.Linear(3, 2))
        self.number, self.scalar = 0, np.float64(0)
        self.listed, self.named, self.seen = [0], {"calls": 0}, set()
        self.array, self.plain = np.zeros(1), torch.zeros(1)
        self.register_buffer("buffer", torch.zeros(1))
        self.object = Thing()

    def loss(self, Y_hat, Y):
        self.late += 1
        self.number += 1
        self.scalar += 1
        self.listed[0] += 1
        self.listed.append(1)
        self.named["calls"] += 1
        self.seen.add(self.number)
        self.array += 1
        self.plain += 1
        self.buffer += 1
        self.object.calls += 1
        torch.rand(1)
        return super().loss(Y_hat, Y)

    def state(self):
        numbers = (self.late, self.number, float(self.scalar), self.object.calls)
        kept = (list(self.listed), dict(self.named), set(self.seen))
        return numbers, kept, self.array.item(), self.plain.item(), self.buffer.item()


class Thing:
    calls = 0


def test_a_rehearsal_leaves_no_count_in_a_model():
    states = []

    class Look(Trainer):
        def fit_epoch(self):
            states.append((self.model.state(), torch.get_rng_state().tolist()))

    model, loader = Counting(), TensorLoader(points(), 8)
    before = model.state(), torch.get_rng_state().tolist()
    Look(1).fit(model, Given(lambda: loader, lambda: loader))
    assert states == [before]
    assert "late" not in vars(model)


def test_what_a_look_leaves_in_a_data_set_is_put_back():
    data = Augmented()
    first_batch(DataLoader(data, 8))
    assert (data.count, data.counts, data.late) == (0, [0], None)


def test_a_trainer_is_not_changed_by_a_rehearsal():
    class Mine(Net):
        def loss(self, Y_hat, Y):
            self.trainer.calls = getattr(self.trainer, "calls", 0) + 1
            return super().loss(Y_hat, Y)

    trainer = fit(Mine(nn.Linear(3, 2)), Given(lambda: TensorLoader(points(), 8)))
    assert trainer.calls == 5


def test_a_layer_that_forward_makes_stays_and_is_trained():
    class Mine(Net):
        built = False

        def forward(self, X):
            if not self.built:
                self.built, self.layer = True, nn.Linear(X.shape[1], 2)
            return self.layer(X)

    model = Mine()
    trainer = fit(model, Given(lambda: TensorLoader(points(), 8)))
    assert model.layer.weight is trainer.optim.param_groups[0]["params"][0]


def test_a_batch_of_a_list_is_not_written_into_by_a_rehearsal():
    X, y = points()
    before = X.clone()
    fit(Net(nn.ReLU(inplace=True), nn.Linear(3, 2)), Given(lambda: [(X, y)], lambda: [(X, y)]))
    assert torch.equal(X, before)


# Layers without a shape


class Own(Net):
    """Steps of the learner's own, which take other inputs than all of the batch."""

    def training_step(self, batch):
        loss = F.cross_entropy(self(batch[0][:, :2]), batch[1])
        self.plot("loss", loss, train=True)
        return loss

    def validation_step(self, batch):
        self.plot("loss", F.cross_entropy(self(batch[0][:, :2]), batch[1]), train=False)


class Adagrad:
    def configure_optimizers(self):
        return torch.optim.Adagrad(self.parameters(), lr=0.1)


def batched():
    X, y = points()
    return TensorDataset(X.reshape(5, 8, 3), y.reshape(5, 8))


class Again(IterableDataset):
    def __len__(self):
        return 40

    def __iter__(self):
        return zip(*points(), strict=True)


LOADERS = {
    "tensors": lambda: TensorLoader(points(), 8, shuffle=True),
    "list": lambda: [(X, y) for X, y in zip(*(t.split(8) for t in points()), strict=True)],
    "DataLoader": lambda: DataLoader(TensorDataset(*points()), 8, shuffle=True),
    "workers": lambda: DataLoader(TensorDataset(*points()), 8, num_workers=1),
    "batch_sampler": lambda: DataLoader(
        TensorDataset(*points()),
        batch_sampler=BatchSampler(RandomSampler(range(40)), 8, drop_last=False),
    ),
    "no batch_size": lambda: DataLoader(batched(), batch_size=None),
    "iterable": lambda: DataLoader(Again(), 8),
}


@pytest.mark.slow
@pytest.mark.parametrize("base", [Net, Own])
@pytest.mark.parametrize("make", LOADERS.values(), ids=LOADERS)
def test_lazy_layers_have_a_shape_before_a_run_and_an_optimizer_need_it(make, base, tmp_path):
    Lazy = type("Lazy", (Adagrad, base), {})
    model = Lazy(nn.Flatten(), nn.LazyLinear(4), nn.LazyBatchNorm1d(), nn.LazyLinear(2))
    trainer = fit(model, Given(make, make), max_epochs=2, run=tmp_path)
    assert trainer.train_batch_idx == 10
    assert model.net[1].in_features == (2 if base is Own else 3)
    assert set(trainer.history[1]) >= {"train_loss", "val_loss"}


@pytest.mark.slow
@pytest.mark.parametrize("make", LOADERS.values(), ids=LOADERS)
def test_an_optimizer_that_reads_shapes_needs_no_run(make):
    Lazy = type("Lazy", (Adagrad, Own), {})
    trainer = fit(Lazy(nn.LazyLinear(2)), Given(make))
    assert trainer.train_batch_idx == 5


def test_statistics_of_lazy_layers_begin_as_ever(tmp_path):
    states = []

    class Look(Trainer):
        def fit_epoch(self):
            norm = self.model.net[1]
            states.append((norm.running_mean.tolist(), int(norm.num_batches_tracked)))

    model = Own(nn.LazyLinear(4), nn.LazyBatchNorm1d(), nn.Linear(4, 2))
    Look(1, run=tmp_path).fit(model, Given(LOADERS["DataLoader"]))
    assert states == [([0.0] * 4, 0)]
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_layer_that_only_training_uses_gets_its_shape(tmp_path):
    class Mine(Net):
        def forward(self, X):
            X = self.net(X)
            return X + self.extra(X) if self.training else X

    model = Mine(nn.LazyLinear(2))
    model.extra = nn.LazyLinear(2)
    fit(model, Given(LOADERS["DataLoader"]), run=tmp_path)
    assert model.extra.in_features == 2


def test_a_layer_that_no_batch_reaches_is_named_before_there_is_a_folder(tmp_path):
    model = Net(nn.Linear(3, 2))
    model.unused = nn.LazyLinear(2)
    with pytest.raises(
        ModelError, match=r"Layer 'unused' of Net has no shape.*apply_init\(\[X\]\)"
    ):
        fit(model, Given(LOADERS["DataLoader"]), run=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
    assert fit(model, Given(LOADERS["DataLoader"])).status == "finished"


@pytest.mark.slow
def test_a_resumed_training_with_lazy_layers_gives_the_same_numbers(tmp_path):
    def train(max_epochs, **options):
        torch.manual_seed(2)
        model = Own(nn.LazyLinear(4), nn.ReLU(), nn.LazyLinear(2))
        trainer = Trainer(max_epochs, run=tmp_path)
        trainer.fit(model, Given(LOADERS["DataLoader"]), **options)
        return trainer

    whole = train(4)
    part = train(2)
    folder = next(path for path in sorted(tmp_path.iterdir()) if path.name.endswith("-2"))
    resumed = train(4, resume=folder)
    assert part.history[1] == whole.history[1]
    assert resumed.history[3] == whole.history[3]


# Labels


SIGNS = 2 * points()[1] - 1


class Binary(Net):
    """One logit, and an accuracy that goes with it."""

    def __init__(self):
        super().__init__(nn.Linear(3, 1))

    def loss(self, Y_hat, Y):
        return F.binary_cross_entropy_with_logits(Y_hat.reshape(-1), Y.float())

    def accuracy(self, Y_hat, Y):
        return ((Y_hat.reshape(-1) > 0) == (Y > 0)).float().mean()


class Margin(Binary):
    def loss(self, Y_hat, Y):
        return F.soft_margin_loss(Y_hat.reshape(-1), Y)


class Ordinal(Binary):
    """Two thresholds between three classes."""

    def __init__(self):
        Net.__init__(self, nn.Linear(3, 2))

    def loss(self, Y_hat, Y):
        passed = (Y[:, None] > torch.arange(2)).float()
        return F.binary_cross_entropy_with_logits(Y_hat, passed)

    def accuracy(self, Y_hat, Y):
        return ((Y_hat > 0).sum(dim=1) == Y).float().mean()


class Several(Binary):
    def __init__(self):
        Net.__init__(self, nn.Linear(3, 2))

    def loss(self, Y_hat, Y):
        return F.binary_cross_entropy_with_logits(Y_hat, Y)

    def accuracy(self, Y_hat, Y):
        return ((Y_hat > 0) == (Y > 0)).float().mean()


@pytest.mark.parametrize(
    ("Mine", "y"),
    [
        (Binary, points()[1]),
        (Margin, SIGNS),
        (Ordinal, torch.arange(40) % 3),
        (Several, torch.stack([points()[1], 1 - points()[1]], 1).float()),
    ],
)
def test_labels_of_a_loss_of_the_learner_s_own_are_the_learner_s_to_choose(Mine, y):
    def make():
        return TensorLoader((points()[0], y), 8)

    trainer = fit(Mine(), Given(make, make), max_epochs=3)
    assert 0 <= trainer.history[2]["val_acc"] <= 1


def test_labels_that_a_transform_makes_are_those_that_count():
    X, y = points()

    def make():
        return TensorLoader((X, y + 1), 8, transform=lambda batch: [batch[0], batch[1] - 1])

    assert fit(Net(nn.Linear(3, 2)), Given(make, make)).status == "finished"


class OneLogit(Net):
    """One logit, and the library's accuracy."""

    def __init__(self, *more):
        super().__init__(nn.Linear(3, 1), *more, lr=1.0)

    def loss(self, Y_hat, Y):
        return F.binary_cross_entropy_with_logits(Y_hat.reshape(-1), Y.reshape(-1).float())


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(40,), (40, 1)])
@pytest.mark.parametrize("dtype", [torch.int64, torch.float32])
def test_the_accuracy_of_one_logit_is_that_of_its_sign(shape, dtype):
    X, y = points()

    def make():
        return TensorLoader((X, y.reshape(shape).to(dtype)), 8)

    model = OneLogit()
    accuracy = fit(model, Given(make, make), max_epochs=20).history[19]["val_acc"]
    with torch.no_grad():
        expected = ((model.net(X)[:, 0] > 0) == (y == 1)).float().mean().item()
    assert accuracy == pytest.approx(expected)
    assert accuracy > 0.9


class Squared(OneLogit):
    def loss(self, Y_hat, Y):
        return F.mse_loss(Y_hat.reshape(-1), Y.float())


class Probability(OneLogit):
    def loss(self, Y_hat, Y):
        return F.binary_cross_entropy(Y_hat.reshape(-1), Y.float())


class Hidden(Probability):
    def forward(self, X):
        return self.net(X).sigmoid()


@pytest.mark.parametrize("Mine", [Squared, Hidden])
def test_one_score_that_its_loss_takes_for_no_logit_is_refused_before_training(Mine):
    def make():
        return TensorLoader(points(), 8)

    with pytest.raises(BatchError, match=r"takes the score for a logit.*`accuracy\(self"):
        fit(Mine(), Given(make, make))


def test_one_probability_of_a_sigmoid_predicts_above_a_half():
    def make():
        return TensorLoader(points(), 8)

    model = Probability(nn.Sigmoid())
    accuracy = fit(model, Given(make, make), max_epochs=20).history[19]["val_acc"]
    X, y = points()
    with torch.no_grad():
        expected = ((model.net(X)[:, 0] > 0.5) == (y == 1)).float().mean().item()
    assert accuracy == pytest.approx(expected)
    assert accuracy > 0.9


def test_labels_beyond_the_scores_are_refused_where_the_accuracy_is_the_library_s():
    class Mine(Ordinal):
        accuracy = Classifier.accuracy

    def make():
        return TensorLoader((points()[0], torch.arange(40) % 3), 8)

    with pytest.raises(BatchError, match=r"a label is 2.*write a method `accuracy"):
        fit(Mine(), Given(make, make))


def test_several_labels_for_an_example_need_an_accuracy_and_that_is_said_before_training():
    class Mine(Several):
        accuracy = Classifier.accuracy

    def make():
        return TensorLoader((points()[0], torch.ones(40, 2)), 8)

    with pytest.raises(BatchError, match="write a method `accuracy"):
        fit(Mine(), Given(make, make))


def test_a_label_that_only_the_loss_leaves_out_is_named():
    class Mine(Net):
        def loss(self, Y_hat, Y):
            return F.cross_entropy(Y_hat, Y, ignore_index=0, label_smoothing=0.1)

    def make():
        return TensorLoader(points(), 40)

    with pytest.warns(GradbookWarning, match=r"leaves out the label 0.*self\.ignore_index = 0"):
        fit(Mine(nn.Linear(3, 2)), Given(make, make))
    model = Mine(nn.Linear(3, 2))
    model.ignore_index = 0
    trainer = fit(model, Given(make, make))
    X, y = points()
    expected = (model.net(X).argmax(1) == 1)[y == 1].float().mean().item()
    assert trainer.history[0]["val_acc"] == pytest.approx(expected)


# Shapes that PyTorch stretches


class Regression(Module):
    def __init__(self, loss):
        super().__init__()
        self.lr, self.net, self.given = 0.01, nn.Linear(3, 1), loss

    def loss(self, y_hat, y):
        return self.given(y_hat, y)


@pytest.mark.parametrize(
    "loss",
    [
        lambda y_hat, y: ((y_hat - y) ** 2).mean(),
        lambda y_hat, y: (y - y_hat).abs().mean(),
        lambda y_hat, y: ((2 * y.float() - 1 - y_hat.clone()) ** 2).mean(),
        lambda y_hat, y: torch.sub(y_hat, other=y).pow(2).mean(),
        lambda y_hat, y: F.poisson_nll_loss(y_hat, y),
    ],
)
def test_a_loss_that_stretches_predictions_and_labels_is_named_with_both_shapes(loss):
    X, y = points()
    data = Given(lambda: TensorLoader((X, y.float()), 8))
    message = (
        r"Regression\.loss compares predictions of shape \(8, 1\) with labels of shape \(8,\)\. "
    )
    message += r"PyTorch stretches both to \(8, 8\).*`y\.reshape\(-1, 1\)`"
    with pytest.warns(GradbookWarning, match=message) as caught:
        fit(Regression(loss), data)
    assert len(caught) == 1


@pytest.mark.parametrize(
    ("columns", "loss"),
    [
        (1, lambda y_hat, y: ((y_hat.reshape(-1) - y) ** 2).mean()),
        (1, lambda y_hat, y: ((y_hat - y.reshape(y_hat.shape)) ** 2).mean()),
        (1, lambda y_hat, y: (y_hat - y.mean()).abs().mean()),
        (1, lambda y_hat, y: F.softplus(-y_hat[:, 0] * (2 * y - 1)).mean()),
        (1, lambda y_hat, y: F.relu(1 - (y_hat - y_hat.T) * (y[:, None] - y)).mean()),
        (1, lambda y_hat, y: F.binary_cross_entropy_with_logits(y_hat[:, 0], y)),
        (3, lambda y_hat, y: F.cross_entropy(y_hat, y.long())),
        (3, lambda y_hat, y: F.nll_loss(y_hat.log_softmax(1), y.long())),
        (3, lambda y_hat, y: F.multi_margin_loss(y_hat, y.long())),
        (3, lambda y_hat, y: -y_hat.log_softmax(1)[range(8), y.long()].mean()),
        (3, lambda y_hat, y: ((y_hat - y[:, None]) ** 2).mean()),
        (3, lambda y_hat, y: ((y_hat - F.one_hot(y.long(), 3)) ** 2).mean()),
        (8, lambda y_hat, y: ((y_hat - y) ** 2).mean()),
    ],
)
def test_a_loss_that_means_what_it_computes_is_not_warned_of(columns, loss):
    X, y = points()
    model = Regression(loss)
    model.net = nn.Linear(3, columns)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fit(model, Given(lambda: TensorLoader((X, y.float()), 8))).status == "finished"


@pytest.mark.parametrize("of", [lambda model: model.optimizer, lambda model: model.trainer.optim])
def test_a_loss_that_reads_what_comes_with_the_optimizer_is_trained_with_it(of):
    class Own(Net):
        def configure_optimizers(self):
            self.optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
            return self.optimizer

        def loss(self, y_hat, y):
            return super().loss(y_hat, y) * (1 + of(self).param_groups[0]["lr"])

    fitted = fit(Own(nn.Linear(3, 2)), Given(lambda: TensorLoader(points(), 8)))
    assert fitted.status == "finished"


def test_what_a_model_never_has_is_an_error_of_the_training():
    class Lacking(Net):
        def loss(self, y_hat, y):
            return self.nothing

    with pytest.raises(AttributeError, match="nothing"):
        fit(Lacking(nn.Linear(3, 2)), Given(lambda: TensorLoader(points(), 8)))


# A batch of one example, which a BatchNorm cannot normalize over


def normalized(*layers):
    return Net(nn.Linear(3, 4), *layers, nn.BatchNorm1d(4), nn.Linear(4, 2))


@pytest.mark.parametrize(
    "make",
    [
        lambda data, size: TensorLoader(data, size, shuffle=True),
        lambda data, size: DataLoader(TensorDataset(*data), size, shuffle=True),
    ],
)
def test_a_last_batch_of_one_is_told_before_the_training_with_drop_last(make):
    model = normalized()
    before = copy.deepcopy(model.state_dict())
    message = r"last training batch has one example \(41 in batches of 8\).*batch_size=9, or .*"
    with pytest.raises(BatchError, match=message + r"`DataLoader\(dataset, 8, drop_last=True\)`"):
        fit(model, Given(lambda: make(points(41), 8)))
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


@pytest.mark.parametrize(("n", "size", "better"), [(9, 4, 5), (9, 2, 3), (13, 3, 5), (3, 1, 3)])
def test_the_batch_size_that_is_proposed_trains(n, size, better):
    with pytest.raises(BatchError, match=f"batch_size={better}"):
        fit(normalized(), Given(lambda: TensorLoader(points(n), size)))
    fit(normalized(), Given(lambda: TensorLoader(points(n), better)))


def test_of_one_example_alone_no_batch_size_trains():
    with pytest.raises(BatchError, match="Train on at least two"):
        fit(normalized(), Given(lambda: TensorLoader(points(1), 4)))


def test_a_lazy_layer_is_asked_once_it_has_its_shape():
    model = Net(nn.LazyLinear(4), nn.LazyBatchNorm1d(), nn.Linear(4, 2))
    with pytest.raises(BatchError, match="drop_last=True"):
        fit(model, Given(lambda: TensorLoader(points(9), 4)))


@pytest.mark.parametrize(
    ("layers", "loader"),
    [
        ([nn.Linear(3, 2)], lambda: TensorLoader(points(9), 4)),  # no BatchNorm
        (
            [nn.Unflatten(1, (1, 3)), nn.BatchNorm1d(1), nn.Flatten(), nn.Linear(3, 2)],
            lambda: TensorLoader(points(9), 4),
        ),  # three numbers in each example
        (
            [nn.BatchNorm1d(3), nn.Linear(3, 2)],
            lambda: DataLoader(TensorDataset(*points(9)), 4, drop_last=True),
        ),
        ([nn.BatchNorm1d(3), nn.Linear(3, 2)], lambda: TensorLoader(points(10), 4)),
    ],
)
def test_where_a_batch_of_one_does_no_harm_or_does_not_come_nothing_is_said(layers, loader):
    assert fit(Net(*layers), Given(loader)).status == "finished"


def test_batches_that_are_left_out_do_no_harm():
    data = Given(lambda: TensorLoader(points(9), 4))
    assert fit(normalized(), data, limit_batches=2).status == "finished"


def test_a_validation_batch_of_one_does_no_harm():
    data = Given(lambda: TensorLoader(points(8), 4), lambda: TensorLoader(points(9), 4))
    assert fit(normalized(), data).status == "finished"


def test_a_step_of_one_s_own_may_pass_a_batch_of_one_over():
    class Mine(Net):
        def training_step(self, batch):
            if len(batch[-1]) == 1:
                return sum(p.sum() for p in self.parameters()) * 0
            return super().training_step(batch)

    model = Mine(nn.BatchNorm1d(3), nn.Linear(3, 2))
    assert fit(model, Given(lambda: TensorLoader(points(9), 4))).status == "finished"


def test_dropout_draws_the_same_numbers_where_a_batch_of_one_was_tried():
    def trained(n):
        torch.manual_seed(0)
        model = Net(nn.BatchNorm1d(1), nn.Dropout(0.5), nn.Flatten(), nn.Linear(3, 2))
        data = [tensor[:n] for tensor in points(9)]
        data[0] = data[0].reshape(n, 1, 3)
        fit(model, Given(lambda: TensorLoader(data, 4)), limit_batches=2)
        return model.net[-1].weight

    torch.testing.assert_close(trained(9), trained(8), rtol=0, atol=0)


def test_lazy_layers_with_loaded_parameters_can_be_trained():
    data = gradbook.SyntheticRegressionData(num_train=64, num_val=32)
    trained, loaded = gradbook.LinearRegression(), gradbook.LinearRegression()
    gradbook.Trainer(1, display="off").fit(trained, data)
    loaded.load_state_dict(trained.state_dict())
    gradbook.Trainer(1, display="off").fit(loaded, data)
    assert not torch.equal(loaded.net.weight, trained.net.weight)
