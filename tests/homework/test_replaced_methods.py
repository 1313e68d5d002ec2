"""Cells of the book replace methods of the library: from then on the library runs those."""

import pytest
import torch
from torch import nn

from d2l import torch as d2l
from gradbook.errors import IgnoredSettingWarning

pytestmark = [
    pytest.mark.usefixtures("undo_patches"),
    pytest.mark.filterwarnings("ignore::gradbook.errors.SampleDataWarning"),
]


def regression_data(**kwargs):
    return d2l.SyntheticRegressionData(torch.tensor([2, -3.4]), 4.2, **kwargs)


def classification_data(num_features=4, num_classes=3):
    class Blobs(d2l.DataModule):
        def __init__(self):
            super().__init__()
            self.batch_size = 16
            self.y = torch.arange(96) % num_classes
            self.X = torch.randn(96, num_features) + 3 * torch.eye(num_features)[self.y]

        def get_dataloader(self, train):
            return self.get_tensorloader((self.X, self.y), train)

    return Blobs()


class Net(d2l.Classifier):
    def __init__(self, lr=0.5):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.LazyLinear(3)


def replace_training_loop(calls):
    @d2l.add_to_class(d2l.Trainer)
    def prepare_batch(self, batch):
        calls.append("batch")
        return batch

    @d2l.add_to_class(d2l.Trainer)
    def fit_epoch(self):
        calls.append("epoch")
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


@pytest.mark.parametrize("model", ["LinearRegression", "LinearRegressionScratch"])
def test_fit_epoch_and_prepare_batch(model):
    calls = []
    replace_training_loop(calls)
    model = getattr(d2l, model)()
    data = regression_data(num_train=64, num_val=32)
    trainer = d2l.Trainer(max_epochs=3)
    trainer.fit(model, data)
    assert calls.count("epoch") == 3
    assert calls[calls.index("epoch") :].count("batch") == 3 * 3
    assert [len(curve) for curve in model.board.data.values()] == [6, 3]
    assert (trainer.train_batch_idx, trainer.val_batch_idx) == (6, 3)
    assert len(trainer.history) == 3


def test_replaced_twice_the_last_one_runs():
    first, second = [], []
    replace_training_loop(first)
    replace_training_loop(second)
    d2l.Trainer(max_epochs=1).fit(d2l.LinearRegression(0.03), regression_data())
    assert not first
    assert "epoch" in second


def test_replaced_loop_trains_as_the_library_does():
    def train():
        torch.manual_seed(3)
        model = d2l.LinearRegressionScratch(2, lr=0.03)
        d2l.Trainer(max_epochs=2, gradient_clip_val=1).fit(model, regression_data())
        return model

    ours = train()
    replace_training_loop([])
    theirs = train()
    assert torch.equal(ours.w, theirs.w)
    assert ours.board.data == theirs.board.data


def test_configure_optimizers_of_module_serves_every_model():
    @d2l.add_to_class(d2l.Module)
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.5)

    trainer = d2l.Trainer(max_epochs=1)
    trainer.fit(Net(), classification_data())
    assert trainer.optim.param_groups[0]["momentum"] == 0.5


def test_loss_and_accuracy_of_classifier():
    calls = []

    @d2l.add_to_class(d2l.Classifier)
    def loss(self, Y_hat, Y, averaged=True):
        calls.append("loss")
        Y_hat = Y_hat.reshape((-1, Y_hat.shape[-1]))
        return d2l.F.cross_entropy(
            Y_hat, Y.reshape((-1,)), reduction="mean" if averaged else "none"
        )

    @d2l.add_to_class(d2l.Classifier)
    def accuracy(self, Y_hat, Y, averaged=True):
        calls.append("accuracy")
        Y_hat = Y_hat.reshape((-1, Y_hat.shape[-1]))
        preds = Y_hat.argmax(axis=1).type(Y.dtype)
        compare = (preds == Y.reshape(-1)).type(torch.float32)
        return compare.mean() if averaged else compare

    model = Net()
    d2l.Trainer(max_epochs=2).fit(model, classification_data())
    assert {"loss", "accuracy"} == set(calls)
    assert model.board.data["val_acc"][-1].y > 0.8


def test_get_tensorloader_of_data_module():
    @d2l.add_to_class(d2l.DataModule)
    def get_tensorloader(self, tensors, train, indices=slice(0, None)):
        tensors = tuple(a[indices] for a in tensors)
        dataset = torch.utils.data.TensorDataset(*tensors)
        return torch.utils.data.DataLoader(dataset, self.batch_size, shuffle=train)

    data = regression_data()
    assert isinstance(data.train_dataloader(), torch.utils.data.DataLoader)
    model = d2l.LinearRegression(0.03)
    trainer = d2l.Trainer(max_epochs=3)
    trainer.fit(model, data)
    w, b = model.get_w_b()
    assert (w.reshape(-1) - data.w).abs().max() < 0.3
    assert abs(b.item() - data.b) < 0.3


def test_get_dataloader_by_hand_then_through_get_tensorloader():
    @d2l.add_to_class(d2l.SyntheticRegressionData)
    def get_dataloader(self, train):
        if train:
            indices = list(range(0, self.num_train))
            d2l.random.shuffle(indices)
        else:
            indices = list(range(self.num_train, self.num_train + self.num_val))
        for i in range(0, len(indices), self.batch_size):
            batch_indices = torch.tensor(indices[i : i + self.batch_size])
            yield self.X[batch_indices], self.y[batch_indices]

    data = regression_data()
    X, y = next(iter(data.train_dataloader()))
    assert (X.shape, y.shape) == ((32, 2), (32, 1))

    @d2l.add_to_class(d2l.SyntheticRegressionData)
    def get_dataloader(self, train):  # noqa: F811 - as in the book, a second definition
        i = slice(0, self.num_train) if train else slice(self.num_train, None)
        return self.get_tensorloader((self.X, self.y), train, i)

    assert len(data.train_dataloader()) == 32
    d2l.Trainer(max_epochs=1).fit(d2l.LinearRegression(0.03), data)


def test_trainer_init_and_preparation_for_gpus():
    """Section 6.7 gives the trainer a new `__init__`, `prepare_batch` and `prepare_model`."""

    @d2l.add_to_class(d2l.Trainer)
    def __init__(self, max_epochs, num_gpus=0, gradient_clip_val=0):
        self.save_hyperparameters()
        self.gpus = [d2l.gpu(i) for i in range(min(num_gpus, d2l.num_gpus()))]

    @d2l.add_to_class(d2l.Trainer)
    def prepare_batch(self, batch):
        if self.gpus:
            batch = [a.to(self.gpus[0]) for a in batch]
        return batch

    @d2l.add_to_class(d2l.Trainer)
    def prepare_model(self, model):
        model.trainer = self
        model.board.xlim = [0, self.max_epochs]
        if self.gpus:
            model.to(self.gpus[0])
        self.model = model

    trainer = d2l.Trainer(max_epochs=2, num_gpus=1)
    model = Net()
    trainer.fit(model, classification_data())
    assert trainer.status == "finished"
    assert len(model.board.data["val_acc"]) == 2


def test_clip_gradients_as_the_book_writes_it():
    norms = []

    @d2l.add_to_class(d2l.Trainer)
    def clip_gradients(self, grad_clip_val, model):
        params = [p for p in model.parameters() if p.requires_grad]
        norm = torch.sqrt(sum(torch.sum(p.grad**2) for p in params))
        norms.append(norm.item())
        if norm > grad_clip_val:
            for param in params:
                param.grad[:] *= grad_clip_val / norm

    d2l.Trainer(max_epochs=1, gradient_clip_val=0.5).fit(
        d2l.LinearRegressionScratch(2, 0.03), regression_data()
    )
    assert max(norms) > 0.5


def test_methods_added_to_a_model_after_it_was_made():
    class Late(d2l.Module):
        def __init__(self):
            super().__init__()
            self.lr = 0.03
            self.w = torch.zeros(2, 1, requires_grad=True)

    model = Late()

    @d2l.add_to_class(Late)
    def forward(self, X):
        return X @ self.w

    @d2l.add_to_class(Late)
    def loss(self, y_hat, y):
        return ((y_hat - y) ** 2).mean()

    d2l.Trainer(max_epochs=1).fit(model, regression_data())
    assert model.w.abs().min() > 0.5


def test_fit_and_prepare_data_as_section_3_2_writes_them():
    @d2l.add_to_class(d2l.Trainer)
    def prepare_data(self, data):
        self.train_dataloader = data.train_dataloader()
        self.val_dataloader = data.val_dataloader()
        self.num_train_batches = len(self.train_dataloader)
        self.num_val_batches = len(self.val_dataloader) if self.val_dataloader is not None else 0

    @d2l.add_to_class(d2l.Trainer)
    def fit(self, model, data):
        self.prepare_data(data)
        self.prepare_model(model)
        self.optim = model.configure_optimizers()
        self.epoch = 0
        self.train_batch_idx = 0
        self.val_batch_idx = 0
        for self.epoch in range(self.max_epochs):  # noqa: B020
            self.fit_epoch()

    for model, data in (
        (d2l.LinearRegressionScratch(2, lr=0.03), regression_data()),
        (Net(), classification_data()),
    ):
        d2l.Trainer(max_epochs=2).fit(model, data)
        assert [len(points) for points in model.board.data.values()][:2] == [4, 2]


def test_settings_that_a_replaced_fit_does_not_know_are_told(undo_patches):
    @d2l.add_to_class(d2l.Trainer)
    def fit(self, model, data):
        pass

    with pytest.warns(IgnoredSettingWarning, match="run='runs' has no effect, because fit has"):
        d2l.Trainer(max_epochs=1, run="runs")


def test_settings_that_a_replaced_fit_epoch_does_not_know_are_told(undo_patches):
    @d2l.add_to_class(d2l.Trainer)
    def fit_epoch(self):
        for batch in self.train_dataloader:
            loss = self.model.training_step(self.prepare_batch(batch))
            self.optim.zero_grad()
            loss.backward()
            self.optim.step()
            self.train_batch_idx += 1

    trainer = d2l.Trainer(max_epochs=2, accumulate_grad_batches=2)
    with pytest.warns(IgnoredSettingWarning, match="accumulate_grad_batches=2 has no eff") as seen:
        trainer.fit(d2l.LinearRegressionScratch(2, lr=0.03), regression_data())
    assert len(seen) == 1
