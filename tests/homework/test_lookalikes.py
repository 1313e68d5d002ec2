"""Classes that a learner writes beside the library, and the library's own, train each other."""

import pytest
import torch
from torch import nn

from d2l import torch as d2l

pytestmark = pytest.mark.usefixtures("undo_patches")


class OwnModule(nn.Module, d2l.HyperParameters):
    """The book's base class of models, as section 3.2 writes it out."""

    def __init__(self, plot_train_per_epoch=2, plot_valid_per_epoch=1):
        super().__init__()
        self.save_hyperparameters()
        self.board = d2l.ProgressBoard()

    def loss(self, y_hat, y):
        raise NotImplementedError

    def forward(self, X):
        return self.net(X)

    def plot(self, key, value, train):
        self.board.xlabel = "epoch"
        if train:
            x = self.trainer.train_batch_idx / self.trainer.num_train_batches
            n = self.trainer.num_train_batches / self.plot_train_per_epoch
        else:
            x = self.trainer.epoch + 1
            n = self.trainer.num_val_batches / self.plot_valid_per_epoch
        value = value.to(d2l.cpu()).detach().numpy()  # an array without dimensions
        self.board.draw(x, value, ("train_" if train else "val_") + key, every_n=int(n))

    def training_step(self, batch):
        loss = self.loss(self(*batch[:-1]), batch[-1])
        self.plot("loss", loss, train=True)
        return loss

    def validation_step(self, batch):
        self.plot("loss", self.loss(self(*batch[:-1]), batch[-1]), train=False)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)


class OwnClassifier(OwnModule):
    def validation_step(self, batch):
        Y_hat = self(*batch[:-1])
        self.plot("loss", self.loss(Y_hat, batch[-1]), train=False)
        self.plot("acc", (Y_hat.argmax(1) == batch[-1]).float().mean(), train=False)

    def loss(self, Y_hat, Y):
        return d2l.F.cross_entropy(Y_hat, Y)


class OwnTrainer(d2l.HyperParameters):
    def __init__(self, max_epochs, num_gpus=0, gradient_clip_val=0):
        self.save_hyperparameters()

    def prepare_data(self, data):
        self.train_dataloader = data.train_dataloader()
        self.val_dataloader = data.val_dataloader()
        self.num_train_batches = len(self.train_dataloader)
        self.num_val_batches = len(self.val_dataloader) if self.val_dataloader is not None else 0

    def prepare_model(self, model):
        model.trainer = self
        model.board.xlim = [0, self.max_epochs]
        self.model = model

    def fit(self, model, data):
        self.prepare_data(data)
        self.prepare_model(model)
        self.optim = model.configure_optimizers()
        self.epoch = self.train_batch_idx = self.val_batch_idx = 0
        for self.epoch in range(self.max_epochs):  # noqa: B020
            self.fit_epoch()

    def fit_epoch(self):
        self.model.train()
        for batch in self.train_dataloader:
            loss = self.model.training_step(batch)
            self.optim.zero_grad()
            with torch.no_grad():
                loss.backward()
                self.optim.step()
            self.train_batch_idx += 1
        if self.val_dataloader is None:
            return
        self.model.eval()
        for batch in self.val_dataloader:
            with torch.no_grad():
                self.model.validation_step(batch)
            self.val_batch_idx += 1


class OwnSGD(d2l.HyperParameters):
    def __init__(self, params, lr):
        self.save_hyperparameters()

    def step(self):
        for param in self.params:
            param -= self.lr * param.grad

    def zero_grad(self):
        for param in self.params:
            if param.grad is not None:
                param.grad.zero_()


class Blobs(d2l.DataModule):
    def __init__(self, num_examples=90, batch_size=16):
        super().__init__()
        self.save_hyperparameters()
        self.y = torch.arange(num_examples) % 3
        self.X = torch.randn(num_examples, 3) + 3 * torch.eye(3)[self.y]

    def get_dataloader(self, train):
        return self.get_tensorloader((self.X, self.y), train)


def make(base):
    class Net(base):
        def __init__(self, lr=0.3):
            super().__init__()
            self.save_hyperparameters()
            self.net = nn.Linear(3, 3)

    return Net()


@pytest.mark.parametrize("trainer", [OwnTrainer, d2l.Trainer])
@pytest.mark.parametrize("base", [OwnClassifier, d2l.Classifier])
def test_own_and_library_classes_train_each_other(trainer, base):
    model, trainer = make(base), trainer(max_epochs=3)
    trainer.fit(model, Blobs())
    curves = model.board.data
    assert list(curves) == ["train_loss", "val_loss", "val_acc"]
    assert [len(curve) for curve in curves.values()] == [6, 3, 3]
    assert curves["val_acc"][-1].y > 0.85


def test_both_models_draw_the_same_curve():
    curves = []
    for base in (OwnClassifier, d2l.Classifier):
        torch.manual_seed(1)
        model = make(base)
        d2l.Trainer(max_epochs=2).fit(model, Blobs())
        curves.append(model.board.data)
    for label, points in curves[0].items():
        others = curves[1][label]
        assert [p.x for p in points] == pytest.approx([p.x for p in others])
        assert [p.y for p in points] == pytest.approx([p.y for p in others], rel=1e-6)


def test_history_of_an_own_model():
    model, trainer = make(OwnClassifier), d2l.Trainer(max_epochs=2)
    trainer.fit(model, Blobs())
    assert trainer.status == "finished"
    assert trainer.history[-1]["val_acc"] > 0.8


def test_own_model_without_validation_set():
    class Blind(Blobs):
        def val_dataloader(self):
            return None

    model = make(OwnClassifier)
    d2l.Trainer(max_epochs=1).fit(model, Blind())
    assert list(model.board.data) == ["train_loss"]


@pytest.mark.parametrize("clip", [0, 0.1])
def test_own_sgd_with_a_scratch_model(clip):
    class Scratch(d2l.LinearRegressionScratch):
        def configure_optimizers(self):
            return OwnSGD([self.w, self.b], self.lr)

    model = Scratch(2, lr=0.03)
    w = model.w
    data = d2l.SyntheticRegressionData(torch.tensor([2, -3.4]), 4.2)
    d2l.Trainer(max_epochs=3, gradient_clip_val=clip).fit(model, data)
    assert model.w is w
    assert w.abs().sum() > (3 if clip == 0 else 0.1)
    assert model.board.data["val_loss"][-1].y < model.board.data["val_loss"][0].y


class ListedParameters(d2l.Classifier):
    """Softmax regression whose `parameters` is the book's: a list."""

    def __init__(self, num_inputs, num_outputs, lr, sigma=0.01):
        super().__init__()
        self.save_hyperparameters()
        self.W = torch.normal(0, sigma, size=(num_inputs, num_outputs), requires_grad=True)
        self.b = torch.zeros(num_outputs, requires_grad=True)

    def parameters(self):
        return [self.W, self.b]

    def forward(self, X):
        return X.reshape((-1, self.W.shape[0])) @ self.W + self.b


@pytest.mark.parametrize("clip", [0, 0.5])
def test_parameters_as_a_list(clip):
    model, data = ListedParameters(3, 3, lr=0.5), Blobs()
    d2l.Trainer(max_epochs=3, gradient_clip_val=clip).fit(model, data)
    assert model.board.data["val_acc"][-1].y > 0.85
    assert set(model.state_dict()) == {"W", "b"}


def test_clipping_bounds_the_norm_of_a_scratch_model():
    norms = []

    class Watched(ListedParameters):
        def configure_optimizers(self):
            optim = torch.optim.SGD(self.parameters(), lr=self.lr)
            step = optim.step

            def watch():
                norms.append(torch.cat([p.grad.flatten() for p in self.parameters()]).norm())
                step()

            optim.step = watch
            return optim

    d2l.Trainer(max_epochs=1, gradient_clip_val=0.01).fit(Watched(3, 3, lr=0.1), Blobs())
    assert max(norms).item() == pytest.approx(0.01, rel=1e-3)


def test_several_models_with_one_trainer():
    trainer, data = d2l.Trainer(max_epochs=2), Blobs()
    models = [make(d2l.Classifier), make(OwnClassifier), ListedParameters(3, 3, 0.3)]
    for model in models:
        trainer.fit(model, data)
        assert trainer.model is model
        assert trainer.train_batch_idx == 2 * 6
    assert [len(model.board.data["val_acc"]) for model in models] == [2, 2, 2]


def test_one_model_trained_twice_begins_its_curve_anew():
    model, data = make(d2l.Classifier), Blobs()
    for _ in range(2):
        d2l.Trainer(max_epochs=2).fit(model, data)
    assert [p.x for p in model.board.data["val_loss"]] == [1, 2]


def test_data_as_a_class_of_its_own():
    class Plain:
        """Has the two methods that training asks for, and nothing else."""

        def __init__(self):
            y = torch.arange(30) % 3
            self.batches = [(torch.eye(3)[y], y)] * 4

        def train_dataloader(self):
            return self.batches

        def val_dataloader(self):
            return self.batches[:1]

    model = make(d2l.Classifier)
    d2l.Trainer(max_epochs=5).fit(model, Plain())
    assert model.board.data["val_acc"][-1].y > 0.6


def test_steps_of_its_own_may_use_a_batch_without_labels():
    class Autoencoder(d2l.Module):
        def __init__(self, lr=0.1):
            super().__init__()
            self.save_hyperparameters()
            self.net = nn.Linear(3, 3)

        def error(self, batch):
            return ((self.net(batch[0]) - batch[0]) ** 2).mean()

        def training_step(self, batch):
            error = self.error(batch)
            self.plot("error", error, train=True)
            return error

        def validation_step(self, batch):
            self.plot("error", self.error(batch), train=False)

    class Unlabeled(Blobs):
        def get_dataloader(self, train):
            return self.get_tensorloader((self.X,), train)

    model = Autoencoder()
    d2l.Trainer(max_epochs=2).fit(model, Unlabeled())
    assert list(model.board.data) == ["train_error", "val_error"]
