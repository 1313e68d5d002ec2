"""Whatever the library hands to a learner's code may be written into without harm."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import gradbook
from gradbook import Classifier, DataModule, Trainer
from gradbook.inspection import inspect, predictions
from gradbook.inspection.export import export

pytestmark = pytest.mark.slow


class Writer(Classifier):
    """Writes into the inputs and labels that it is given."""

    def __init__(self, lr=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 2))

    def forward(self, X):
        X -= 0.1
        return self.net(X)

    def loss(self, Y_hat, Y):
        loss = super().loss(Y_hat, Y.clone())
        Y += 5
        return loss

    def accuracy(self, Y_hat, Y):
        return super().accuracy(Y_hat, Y - 5)


class Reader(Writer):
    """Computes the same, and writes into nothing."""

    def forward(self, X):
        return self.net((X - 0.1).clone())

    def loss(self, Y_hat, Y):
        return Classifier.loss(self, Y_hat, Y)

    def accuracy(self, Y_hat, Y):
        return Classifier.accuracy(self, Y_hat, Y)


class Views(Dataset):
    """Gives parts of its tensors."""

    def __init__(self, batches):
        self.given = batches

    def __len__(self):
        return len(self.given)

    def __getitem__(self, index):
        return self.given[index]


class Given:
    """A loader that a learner wrote."""

    def __init__(self, batches):
        self.given = batches

    def __len__(self):
        return len(self.given)

    def __iter__(self):
        return iter(self.given)


class Points(DataModule):
    def __init__(self, kind, batch_size=8):
        super().__init__()
        self.save_hyperparameters()
        generator = torch.Generator().manual_seed(3)
        self.X = torch.randn(40, 3, generator=generator)
        self.y = (self.X[:, 0] > 0).long()

    def get_dataloader(self, train):
        if self.kind == "tensors":
            return self.get_tensorloader((self.X, self.y), False)
        if self.kind == "views":
            return DataLoader(Views(self.batches()), batch_size=None)
        if self.kind == "collated":
            views = Views([(self.X[i : i + 8], self.y[i : i + 8]) for i in range(0, 40, 8)])
            return DataLoader(views, batch_size=1, collate_fn=lambda items: items[0])
        return Given(self.batches()) if self.kind == "class" else self.batches()

    def batches(self):
        return list(zip(self.X.split(8), self.y.split(8), strict=True))


def trained(model, data, **options):
    trainer = Trainer(3, display="off", **options)
    trainer.fit(model, data)
    return trainer.history.rows


USES = {
    "fit": trained,
    "fit on few batches": lambda m, d: trained(m, d, overfit_batches=2),
    "fit watched": lambda m, d: trained(m, d, watch="gradients"),
    "validate": lambda m, d: [Trainer(1).validate(m, d) for _ in range(2)],
    "predict": lambda m, d: Trainer(1).predict(m, d),
    "predict a tensor": lambda m, d: Trainer(1).predict(m, d.X),
    "predict batches": lambda m, d: Trainer(1).predict(m, d.batches()),
    "predictions": lambda m, d: predictions(m, d).outputs,
    "inspect": lambda m, d: str(inspect(m, d)),
    "lr_range": lambda m, d: gradbook.lr_range(m, d, num_steps=12).losses,
    "lr_range of one batch": lambda m, d: gradbook.lr_range(m, (d.X, d.y), num_steps=12).losses,
    "sharpness": lambda m, d: gradbook.sharpness(m, d, max_products=5).facts(),
    "edge_of_stability": lambda m, d: (
        gradbook.edge_of_stability(m, d, lr=0.1, num_steps=4, every=2, display=False).losses
    ),
    "graph": lambda m, d: gradbook.graph(m, d).loss,
    "graph of a batch": lambda m, d: gradbook.graph(m, (d.X, d.y)).loss,
    "memory": lambda m, d: gradbook.memory(m, d).parameter_bytes,
    "memory of a batch": lambda m, d: gradbook.memory(m, (d.X, d.y)).parameter_bytes,
    "compare_models": lambda m, d: gradbook.compare_models(m, copy.deepcopy(m), d).same,
    "compare_models of a batch": lambda m, d: (
        gradbook.compare_models(m, copy.deepcopy(m), (d.X, d.y)).same
    ),
}


@pytest.mark.parametrize("kind", ["tensors", "list", "views", "collated", "class"])
@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_data_stay_as_they_are_and_the_numbers_are_the_right_ones(use, kind):
    found = []
    for Model in (Writer, Reader):
        torch.manual_seed(0)
        data = Points(kind)
        X, y = data.X.clone(), data.y.clone()
        found.append(use(Model(), data))
        assert torch.equal(data.X, X)
        assert torch.equal(data.y, y)
    if isinstance(found[0], torch.Tensor):
        assert torch.equal(*found)
    else:
        assert found[0] == found[1]


def test_an_export_leaves_its_example_as_it_is(tmp_path):
    X = torch.randn(4, 3)
    before = X.clone()
    export(Writer(), tmp_path / "net.safetensors", "safetensors", [X])
    assert torch.equal(X, before)


def test_the_mistakes_that_are_shown_are_the_data_s_own_images():
    data = Points("tensors")
    mistakes = inspect(Writer(), data).mistakes
    assert mistakes
    for mistake in mistakes:
        assert torch.equal(mistake.input, data.X[mistake.example])
