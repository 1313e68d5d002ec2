"""Models and data that many tests train: small, and known in every detail."""

import torch
from torch import nn

from gradbook import Classifier, DataModule, HyperParameters, Module, Trainer, add_to_class


class Net(Classifier):
    """A classifier of the layers that it is given."""

    def __init__(self, *layers, lr=0.1):
        super().__init__()
        self.save_hyperparameters(ignore=["layers"])
        self.net = nn.Sequential(*layers)


class Scratch(Module):
    """The book's way to write a model: tensors that require a gradient."""

    def __init__(self, lr=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.w = torch.normal(0, 1, (2, 1), requires_grad=True)
        self.b = torch.zeros(1, requires_grad=True)

    def forward(self, X):
        return X @ self.w + self.b

    def loss(self, y_hat, y):
        return ((y_hat - y) ** 2).mean()


class OwnSGD(HyperParameters):
    """The optimizer of section 3.4, which is none of PyTorch's."""

    def __init__(self, params, lr):
        params = list(params)
        self.save_hyperparameters()

    def step(self):
        for param in self.params:
            param -= self.lr * param.grad

    def zero_grad(self):
        for param in self.params:
            if param.grad is not None:
                param.grad.zero_()


class Data(DataModule):
    """Examples in memory; the first `num_train` for training, the rest, if any, for validation.

    Args:
        tensors: As `get_tensorloader` takes them.
        num_train: None for all, which are for validation too.
        batch_size: Examples a batch.
        shuffle: Whether training takes them in random order.
    """

    def __init__(self, *tensors, num_train=8, batch_size=4, shuffle=True):
        super().__init__()
        self.save_hyperparameters()

    def get_dataloader(self, train):
        rows = slice(0, self.num_train) if train else slice(self.num_train, None)
        if self.num_train is None:
            rows = slice(None)
        if not train and len(self.tensors[0][rows]) == 0:
            return None
        return self.get_tensorloader(self.tensors, train and self.shuffle, rows)


class Given(DataModule):
    """Gives what it was given as its minibatches, or what a function makes; perhaps no second."""

    def __init__(self, train, val=None):
        super().__init__()
        self.loaders = {True: train, False: val}

    def get_dataloader(self, train):
        loader = self.loaders[train]
        return loader() if callable(loader) else loader


class Always(DataModule):
    """36 examples of six numbers in three classes, the same ones always; 24 are for training."""

    def __init__(self, batch_size=8):
        super().__init__()
        self.save_hyperparameters()
        generator = torch.Generator().manual_seed(0)
        self.X, self.y = torch.rand(36, 6, generator=generator), torch.arange(36) % 3

    def get_dataloader(self, train):
        rows = slice(0, 24) if train else slice(24, None)
        return self.get_tensorloader((self.X, self.y), train, rows)


class Blobs(DataModule):
    """Three clouds of points in four dimensions, a class each.

    Args:
        num_train: Examples for training.
        num_val: For validation: further ones, or none (0), or those for training (None).
        batch_size: Examples a batch.
        scale: What the numbers are multiplied with.
        content: Which points, the same ones always; None draws them with PyTorch's generator.
        dtype: Of the numbers.
    """

    def __init__(
        self, num_train=24, num_val=8, batch_size=8, scale=1.0, content=None, dtype=torch.float32
    ):
        super().__init__()
        self.save_hyperparameters()
        generator = None if content is None else torch.Generator().manual_seed(content)
        self.y = torch.arange(num_train + (num_val or 0)) % 3
        noise = torch.randn(len(self.y), 4, generator=generator)
        self.X = (scale * (noise + 2 * torch.eye(4)[self.y])).to(dtype)

    def get_dataloader(self, train):
        if not train and self.num_val == 0:
            return None
        others = not train and self.num_val
        rows = slice(self.num_train, None) if others else slice(0, self.num_train)
        return self.get_tensorloader((self.X, self.y), train, rows)


def fit(model, data, max_epochs=1, **settings):
    """Trains, and returns the trainer."""
    trainer = Trainer(max_epochs, **settings)
    trainer.fit(model, data)
    return trainer


def book_s_epoch():
    """Replaces `fit_epoch` by a plain loop, as the book writes one."""

    @add_to_class(Trainer)
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
