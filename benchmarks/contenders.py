"""The contenders of training.py, and the process that each of them runs in.

Every contender trains one of three models on Fashion-MNIST, batch size 256, plain SGD with a
learning rate of 0.1, and after each epoch measures loss and accuracy on the validation set:

- "softmax": softmax regression from scratch, 784-10, exp over sum, mean of -log.
- "concise": softmax regression concisely, a linear layer 784-10 and cross-entropy.
- "mlp": a perceptron 784-256-10 with ReLU and cross-entropy.

A contender is a function `contender(task, end_epoch)` that starts one long training and calls
`end_epoch(accuracy)` whenever an epoch, validation included, is over. That call holds the
training until the coordinator wants the next epoch. So nobody pays for setting up inside the
measured time, everybody runs in the loop that his library offers, and only one contender runs
at any moment.

This file needs nothing of gradbook: it also runs under the interpreters of the peers.
"""

import functools
import itertools
import json
import os
import socket
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

BATCH_SIZE = 256
LR = 0.1
SIGMA = 0.01
NUM_HIDDENS = 256
#: The numbers of inputs, of hidden units if there are any, and of outputs.
SIZES = {"softmax": [784, 10], "concise": [784, 10], "mlp": [784, NUM_HIDDENS, 10]}
#: More epochs than anybody waits for: the coordinator ends a training, not a count.
ENDLESS = 100_000

EndEpoch = Callable[[float], None]


class Finished(BaseException):
    """The coordinator wants no further epoch. Not an Exception, so that no library keeps it."""


@dataclass
class Task:
    """What to train and on what.

    Attributes:
        contender: A key of CONTENDERS.
        model: "softmax", "concise" or "mlp".
        folder: Where the coordinator has put the images, as NumPy files.
        limit: The most images of each split to use; None uses all.
        threads: Threads for the arithmetic, and processors to run on.
        seed: The seed of the random numbers.
        address: Host and port of the coordinator.
    """

    contender: str
    model: str
    folder: str
    limit: int | None
    threads: int
    seed: int
    address: tuple[str, int]

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Training images (n, 28, 28) uint8 and labels int64, then the same for validation."""
        names = ("train_images", "train_labels", "val_images", "val_labels")
        images, labels, val_images, val_labels = (
            np.load(Path(self.folder, f"{name}.npy")) for name in names
        )
        return images, labels, val_images, val_labels

    def float_arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The same with images (n, 784) float32 from 0 to 1."""
        images, labels, val_images, val_labels = self.arrays()
        return _floats(images), labels, _floats(val_images), val_labels

    def float_tensors(self) -> Any:
        """`float_arrays` as PyTorch tensors."""
        import torch

        return [torch.from_numpy(array) for array in self.float_arrays()]


def _floats(images: np.ndarray) -> np.ndarray:
    flat = images.reshape(len(images), -1).astype(np.float32)
    flat /= 255
    return flat


# PyTorch without a library


def _softmax_network() -> Any:
    """Parameters, the forward function and the loss of softmax regression, by hand."""
    import torch

    W = torch.normal(0, SIGMA, (784, 10), requires_grad=True)
    b = torch.zeros(10, requires_grad=True)

    def forward(X: Any) -> Any:
        X_exp = torch.exp(X @ W + b)
        return X_exp / X_exp.sum(1, keepdim=True)

    def loss(p: Any, y: Any) -> Any:
        return -torch.log(p[torch.arange(len(p)), y]).mean()

    return [W, b], forward, loss


def _concise_network() -> Any:
    """The same with PyTorch's layer and loss."""
    from torch import nn

    net = nn.Linear(784, 10)
    return list(net.parameters()), net, nn.functional.cross_entropy


def _mlp_network() -> Any:
    """The same for the perceptron, with PyTorch's layers."""
    from torch import nn

    net = nn.Sequential(nn.Linear(784, NUM_HIDDENS), nn.ReLU(), nn.Linear(NUM_HIDDENS, 10))
    return list(net.parameters()), net, nn.functional.cross_entropy


def _network(model: str) -> Any:
    networks = {"softmax": _softmax_network, "concise": _concise_network, "mlp": _mlp_network}
    return networks[model]()


def _own_network(model: str) -> Any:
    """The same for the class that a reader of the book writes, on a bare nn.Module."""
    import torch

    class Classifier(torch.nn.Module):
        num_inputs = 784
        loss = staticmethod(torch.nn.functional.cross_entropy)

        def save_hyperparameters(self) -> None:
            pass

    net = _own_model(SimpleNamespace(Classifier=Classifier), model)
    return list(net.parameters()), net, net.loss


def _module(model: str) -> Any:
    """An nn.Module for libraries that ask for one, and its loss."""
    import torch
    from torch import nn

    params, forward, loss_of = _network(model)
    if isinstance(forward, nn.Module):
        return forward, loss_of

    class Scratch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.W, self.b = (nn.Parameter(param.detach()) for param in params)

        def forward(self, X: Any) -> Any:
            X_exp = torch.exp(X @ self.W + self.b)
            return X_exp / X_exp.sum(1, keepdim=True)

    return Scratch(), loss_of


def _torch_training(
    task: Task,
    end_epoch: EndEpoch,
    train_batches: Callable,
    val_batches: Callable,
    network: Callable[[str], Any] = _network,
) -> None:
    """The loop that everybody writes by hand, over any source of batches."""
    import torch

    params, forward, loss_of = network(task.model)
    optimizer = torch.optim.SGD(params, lr=LR)
    for _ in itertools.count():
        for X, y in train_batches():
            loss = loss_of(forward(X), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        total_loss = total_correct = total = 0
        with torch.no_grad():
            for X, y in val_batches():
                y_hat = forward(X)
                total_loss += loss_of(y_hat, y) * len(y)
                total_correct += (y_hat.argmax(1) == y).sum()
                total += len(y)
        # Reading both is part of the epoch: who validates wants to see the result.
        _, accuracy = float(total_loss) / total, float(total_correct) / total
        end_epoch(accuracy)


def plain(task: Task, end_epoch: EndEpoch, network: Callable[[str], Any] = _network) -> None:
    """The plain loop: float32 tensors in memory, a batch is `X[indices], y[indices]`."""
    import torch

    X, y, X_val, y_val = task.float_tensors()

    def train_batches() -> Any:
        for indices in torch.randperm(len(X)).split(BATCH_SIZE):
            yield X[indices], y[indices]

    def val_batches() -> Any:
        return zip(X_val.split(BATCH_SIZE), y_val.split(BATCH_SIZE), strict=True)

    _torch_training(task, end_epoch, train_batches, val_batches, network)


def plain_uint8(task: Task, end_epoch: EndEpoch) -> None:
    """The plain loop over bytes in memory: each batch is converted when it is used."""
    import torch

    arrays = [torch.from_numpy(array) for array in task.arrays()]
    X, y, X_val, y_val = arrays
    X, X_val = X.reshape(len(X), -1), X_val.reshape(len(X_val), -1)

    def train_batches() -> Any:
        for indices in torch.randperm(len(X)).split(BATCH_SIZE):
            yield X[indices].float().div_(255), y[indices]

    def val_batches() -> Any:
        for images, labels in zip(X_val.split(BATCH_SIZE), y_val.split(BATCH_SIZE), strict=True):
            yield images.float().div_(255), labels

    _torch_training(task, end_epoch, train_batches, val_batches)


def dataloader(task: Task, end_epoch: EndEpoch) -> None:
    """The plain loop over `DataLoader(TensorDataset(X, y), shuffle=True)`.

    No worker processes: PyTorch's documentation prefers loading in the process itself when the
    data set is small and fits in memory.
    """
    from torch.utils.data import DataLoader, TensorDataset

    X, y, X_val, y_val = task.float_tensors()
    train = DataLoader(TensorDataset(X, y), BATCH_SIZE, shuffle=True)
    val = DataLoader(TensorDataset(X_val, y_val), BATCH_SIZE)
    _torch_training(task, end_epoch, lambda: train, lambda: val)


def _bulk_loaders(task: Task) -> Any:
    """Loaders that fetch a batch by one index, not example by example.

    This is what PyTorch's documentation describes under "Disable automatic batching", for
    sources that can be read in bulk. A data set in memory can.
    """
    from torch.utils.data import (
        BatchSampler,
        DataLoader,
        RandomSampler,
        SequentialSampler,
        TensorDataset,
    )

    X, y, X_val, y_val = task.float_tensors()
    loaders = []
    for dataset, order in (
        (TensorDataset(X, y), RandomSampler),
        (TensorDataset(X_val, y_val), SequentialSampler),
    ):
        sampler = BatchSampler(order(dataset), BATCH_SIZE, drop_last=False)
        loaders.append(DataLoader(dataset, sampler=sampler, batch_size=None))
    return loaders


def dataloader_bulk(task: Task, end_epoch: EndEpoch) -> None:
    """The plain loop over a DataLoader that fetches whole batches."""
    train, val = _bulk_loaders(task)
    _torch_training(task, end_epoch, lambda: train, lambda: val)


# Floors: what no training loop can avoid


def _gemms(task: Task, end_epoch: EndEpoch, gather: str | None) -> None:
    """The matrix products of one epoch, with nothing between them.

    With `gather` None the batches are taken as they lie in memory; "float" collects shuffled
    float32 rows first, "uint8" shuffled bytes that are then converted.
    """
    import torch

    if gather == "uint8":
        X, _, X_val, _ = (torch.from_numpy(array) for array in task.arrays())
        X, X_val = X.reshape(len(X), -1), X_val.reshape(len(X_val), -1)
    else:
        X, _, X_val, _ = task.float_tensors()
    sizes = SIZES[task.model]
    weights = [torch.randn(n, m) for n, m in itertools.pairwise(sizes)]
    activations = [torch.randn(BATCH_SIZE, n) for n in sizes]

    def forward(batch: Any) -> None:
        for i, W in enumerate(weights):
            (batch if i == 0 else activations[i][: len(batch)]) @ W

    def backward(batch: Any) -> None:
        for i in reversed(range(len(weights))):
            inputs = batch if i == 0 else activations[i][: len(batch)]
            upstream = activations[i + 1][: len(batch)]
            # The transposed product: the quicker one of the two for few outputs.
            upstream.t() @ inputs
            if i > 0:
                upstream @ weights[i].t()

    def batches() -> Any:
        if gather is None:
            yield from X.split(BATCH_SIZE)
            return
        for indices in torch.randperm(len(X)).split(BATCH_SIZE):
            batch = X.index_select(0, indices)
            yield batch if gather == "float" else batch.float().div_(255)

    for _ in itertools.count():
        for batch in batches():
            forward(batch)
            backward(batch)
        for batch in X_val.split(BATCH_SIZE):
            forward(batch if gather != "uint8" else batch.float().div_(255))
        end_epoch(float("nan"))


# gradbook


def _gradbook(
    task: Task, end_epoch: EndEpoch, display: str = "off", own_class: bool = False
) -> None:
    """The Trainer and the FashionMNIST of gradbook, held after each epoch by a sink."""
    import gradbook

    class Gate(gradbook.Sink):
        def write(self, metric: Any) -> None:
            # An epoch's means come one by one; the validation accuracy is the last of them.
            if metric.kind == "epoch" and metric.label == "val_acc":
                end_epoch(metric.y)

    data = gradbook_data(task.limit)
    if own_class:
        model = _own_model(gradbook, task.model)
    elif task.model == "softmax":
        model = gradbook.SoftmaxRegressionScratch(num_inputs=784, num_outputs=10, lr=LR)
    elif task.model == "concise":
        model = gradbook.SoftmaxRegression(num_outputs=10, lr=LR)
    else:
        model = gradbook.MLP(num_outputs=10, num_hiddens=NUM_HIDDENS, lr=LR)
    # The gate closes in the middle of what the sinks do at the end of an epoch. The epoch that
    # follows pays for the rest, so that nothing is left out. Ten epochs at a time, as the book
    # trains, over and over: the board has then no more to draw than a learner's.
    trainer = gradbook.Trainer(max_epochs=10, display=display, sinks=[Gate()])
    while True:
        trainer.fit(model, data)


def gradbook_data(limit: int | None) -> Any:
    """The data set of gradbook, found as the learner's program would find it.

    Args:
        limit: Take no more than this many images of each split.
    """
    from gradbook.datasets import FashionMNIST
    from gradbook.datasets.fashion_mnist import ImageDataset

    data = FashionMNIST(batch_size=BATCH_SIZE)
    if limit is not None:
        data.train, data.val = (
            ImageDataset(split.data[:limit], split.targets[:limit])
            for split in (data.train, data.val)
        )
    return data


def export(folder: str, limit: int | None) -> dict[str, Any]:
    """Writes the images for all contenders as NumPy files, and says what they are."""
    data = gradbook_data(limit)
    for name, split in (("train", data.train), ("val", data.val)):
        np.save(Path(folder, f"{name}_images.npy"), split.data.numpy())
        np.save(Path(folder, f"{name}_labels.npy"), split.targets.numpy())
    return {"train": len(data.train), "val": len(data.val), "is_sample": data.is_sample}


def _own_model(library: Any, model: str) -> Any:
    """The model that a reader of the book writes, on `library`'s Classifier."""
    if model == "softmax":
        return own_softmax_class(library)(num_inputs=784, num_outputs=10, lr=LR)
    if model == "concise":
        return own_concise_class(library)(num_outputs=10, lr=LR)
    return own_mlp_class(library)(num_inputs=784, num_outputs=10, num_hiddens=NUM_HIDDENS, lr=LR)


def own_softmax_class(library: Any) -> type:
    """The class that a reader of the book writes, on `library`'s Classifier."""
    import torch

    def softmax(X: Any) -> Any:
        X_exp = torch.exp(X)
        partition = X_exp.sum(1, keepdims=True)
        return X_exp / partition

    def cross_entropy(y_hat: Any, y: Any) -> Any:
        return -torch.log(y_hat[list(range(len(y_hat))), y]).mean()

    class SoftmaxRegressionScratch(library.Classifier):
        def __init__(
            self, num_inputs: int, num_outputs: int, lr: float, sigma: float = SIGMA
        ) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.W = torch.normal(0, sigma, size=(num_inputs, num_outputs), requires_grad=True)
            self.b = torch.zeros(num_outputs, requires_grad=True)

        def parameters(self) -> list:
            return [self.W, self.b]

        def forward(self, X: Any) -> Any:
            X = X.reshape((-1, self.W.shape[0]))
            return softmax(torch.matmul(X, self.W) + self.b)

        def loss(self, y_hat: Any, y: Any) -> Any:
            return cross_entropy(y_hat, y)

    return SoftmaxRegressionScratch


def own_concise_class(library: Any) -> type:
    """The softmax regression with PyTorch's layers that a reader of the book writes."""
    from torch import nn

    class SoftmaxRegression(library.Classifier):
        def __init__(self, num_outputs: int, lr: float) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.net = nn.Sequential(nn.Flatten(), nn.Linear(784, num_outputs))

        def forward(self, X: Any) -> Any:
            return self.net(X)

    return SoftmaxRegression


def own_mlp_class(library: Any) -> type:
    """The perceptron from scratch that a reader of the book writes."""
    import torch
    from torch import nn

    def relu(X: Any) -> Any:
        return torch.max(X, torch.zeros_like(X))

    class MLPScratch(library.Classifier):
        def __init__(
            self,
            num_inputs: int,
            num_outputs: int,
            num_hiddens: int,
            lr: float,
            sigma: float = SIGMA,
        ) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.W1 = nn.Parameter(torch.randn(num_inputs, num_hiddens) * sigma)
            self.b1 = nn.Parameter(torch.zeros(num_hiddens))
            self.W2 = nn.Parameter(torch.randn(num_hiddens, num_outputs) * sigma)
            self.b2 = nn.Parameter(torch.zeros(num_outputs))

        def forward(self, X: Any) -> Any:
            X = X.reshape((-1, self.num_inputs))
            H = relu(torch.matmul(X, self.W1) + self.b1)
            return torch.matmul(H, self.W2) + self.b2

    return MLPScratch


# The original library of the book


def _original_d2l(task: Task, end_epoch: EndEpoch, display: bool = False) -> None:
    """The original `d2l`, with its own FashionMNIST, loaders and trainer, as released.

    Its FashionMNIST starts four worker processes and decodes image by image; that is the code
    that the book's reader runs. Only torchvision, which it imports, is replaced: see
    torchvision_standin.py.
    """
    import torchvision_standin

    torchvision_standin.install(task.arrays)
    from d2l import torch as d2l

    class Trainer(d2l.Trainer):
        def fit_epoch(self) -> None:
            super().fit_epoch()
            end_epoch(float(self.model.board.data["val_acc"][-1].y))

    model = _own_model(d2l, task.model)
    model.board.display = display
    data = d2l.FashionMNIST(batch_size=BATCH_SIZE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on fewer than four processors the loader warns
        Trainer(max_epochs=ENDLESS).fit(model, data)


# Peers


def lightning_ai(task: Task, end_epoch: EndEpoch) -> None:
    """Lightning, without logger, checkpoints, progress bar and summary.

    Its guide on speed leaves the data to PyTorch's DataLoader, so it gets the quicker of the
    two measured here, which fetches whole batches.
    """
    import logging

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    import lightning
    import torch

    class Model(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network, self.loss_of = _module(task.model)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            X, y = batch
            return self.loss_of(self.network(X), y)

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            X, y = batch
            y_hat = self.network(X)
            self.log("val_loss", self.loss_of(y_hat, y), batch_size=len(y))
            accuracy = (y_hat.argmax(1) == y).float().mean()
            self.log("val_acc", accuracy, batch_size=len(y))

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=LR)

    class Gate(lightning.Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            end_epoch(float(trainer.callback_metrics["val_acc"]))

    warnings.filterwarnings("ignore", module="lightning")
    train, val = _bulk_loaders(task)
    trainer = lightning.Trainer(
        max_epochs=ENDLESS,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[Gate()],
    )
    trainer.fit(Model(), train, val)


def _keras(task: Task, end_epoch: EndEpoch, backend: str) -> None:
    """Keras: `fit` over NumPy arrays, which is its advice for data that fit in memory.

    `steps_per_execution` is its advice for small models. The accuracy that it is asked for in
    validation it also computes in training; there is no switch for that.
    """
    os.environ["KERAS_BACKEND"] = backend
    import keras

    _limit_torch_threads(task.threads)
    keras.utils.set_random_seed(task.seed)
    if task.model == "softmax":
        init = keras.initializers.RandomNormal(stddev=SIGMA)
        layers = [keras.layers.Dense(10, activation="softmax", kernel_initializer=init)]
        loss = keras.losses.SparseCategoricalCrossentropy()
    else:
        hidden = [keras.layers.Dense(n, activation="relu") for n in SIZES[task.model][1:-1]]
        layers = [*hidden, keras.layers.Dense(10)]
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model = keras.Sequential([keras.Input((784,)), *layers])
    model.compile(
        optimizer=keras.optimizers.SGD(LR),
        loss=loss,
        metrics=["accuracy"],
        # The PyTorch backend allows only one step at a time.
        steps_per_execution=1 if backend == "torch" else 16,
    )

    class Gate(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            end_epoch(float(logs["val_accuracy"]))

    X, y, X_val, y_val = task.float_arrays()
    model.fit(
        X,
        y,
        batch_size=BATCH_SIZE,
        epochs=ENDLESS,
        verbose=0,
        validation_data=(X_val, y_val),
        callbacks=[Gate()],
    )


def skorch(task: Task, end_epoch: EndEpoch) -> None:
    """A NeuralNetClassifier of skorch over float32 tensors, without its printed log."""
    import torch
    from skorch import NeuralNetClassifier
    from skorch.callbacks import Callback
    from skorch.dataset import Dataset
    from skorch.helper import predefined_split

    class Gate(Callback):
        def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
            end_epoch(float(net.history[-1, "valid_acc"]))

    X, y, X_val, y_val = task.float_tensors()
    # Its classifier takes the logarithm of probabilities by itself unless told that the
    # network gives logits.
    criterion = torch.nn.NLLLoss if task.model == "softmax" else torch.nn.CrossEntropyLoss
    network, _ = _module(task.model)
    net = NeuralNetClassifier(
        network,
        criterion=criterion,
        optimizer=torch.optim.SGD,
        lr=LR,
        batch_size=BATCH_SIZE,
        max_epochs=ENDLESS,
        iterator_train__shuffle=True,
        train_split=predefined_split(Dataset(X_val, y_val)),
        callbacks=[("gate", Gate())],
        callbacks__print_log=None,
        classes=list(range(10)),
    )
    net.fit(X, y)


def scikit_learn(task: Task, end_epoch: EndEpoch) -> None:
    """scikit-learn's MLPClassifier: one `partial_fit` is one epoch of minibatches.

    Without a hidden layer it is softmax regression.
    """
    from sklearn.metrics import accuracy_score, log_loss
    from sklearn.neural_network import MLPClassifier

    X, y, X_val, y_val = task.float_arrays()
    model = MLPClassifier(
        hidden_layer_sizes=SIZES[task.model][1:-1],
        solver="sgd",
        learning_rate_init=LR,
        momentum=0,
        alpha=0,
        batch_size=BATCH_SIZE,
        random_state=task.seed,
    )
    classes = np.arange(10)
    for _ in itertools.count():
        model.partial_fit(X, y, classes=classes)
        probabilities = model.predict_proba(X_val)
        log_loss(y_val, probabilities, labels=classes)
        end_epoch(accuracy_score(y_val, probabilities.argmax(1)))


@dataclass(frozen=True)
class Contender:
    """How a contender is run.

    Attributes:
        run: The function.
        title: What the table calls it.
        needs: Distributions that must be installed, by the names that pip knows.
        peer: The library that `--python` names.
        place: "process", "terminal" (a process under a pseudo-terminal) or "notebook" (a
            Jupyter kernel).
    """

    run: Callable[[Task, EndEpoch], None]
    title: str
    needs: tuple[str, ...] = ("torch",)
    peer: str = "torch"
    place: str = "process"


_part = functools.partial
_GRADBOOK = {"needs": ("torch", "gradbook"), "peer": "gradbook"}
_NOTEBOOK = ("ipykernel", "matplotlib")

CONTENDERS = {
    "plain": Contender(plain, "plain loop, float32 in memory"),
    "plain-own": Contender(
        _part(plain, network=_own_network), "plain loop, learner's own class, float32 in memory"
    ),
    "plain-uint8": Contender(plain_uint8, "plain loop, uint8 in memory"),
    "gemms": Contender(_part(_gemms, gather=None), "floor: matrix products alone"),
    "gemms-gather": Contender(
        _part(_gemms, gather="float"), "floor: products + shuffled gather, float32"
    ),
    "gemms-gather-uint8": Contender(
        _part(_gemms, gather="uint8"), "floor: products + shuffled gather, uint8"
    ),
    "dataloader": Contender(dataloader, "plain loop, DataLoader"),
    "dataloader-bulk": Contender(dataloader_bulk, "plain loop, DataLoader fetching in bulk"),
    "gradbook": Contender(_gradbook, "gradbook, display off", **_GRADBOOK),
    "gradbook-terminal": Contender(
        _part(_gradbook, display="terminal"),
        "gradbook, terminal board",
        place="terminal",
        **_GRADBOOK,
    ),
    "gradbook-notebook": Contender(
        _part(_gradbook, display="notebook"),
        "gradbook, live figure in a notebook",
        place="notebook",
        needs=("torch", "gradbook", *_NOTEBOOK),
        peer="gradbook",
    ),
    "gradbook-own": Contender(
        _part(_gradbook, own_class=True), "gradbook, learner's own class", **_GRADBOOK
    ),
    "gradbook-own-terminal": Contender(
        _part(_gradbook, own_class=True, display="terminal"),
        "gradbook, own class, terminal board",
        place="terminal",
        **_GRADBOOK,
    ),
    "d2l": Contender(
        _original_d2l, "d2l, display off", needs=("d2l", "torch", "pillow"), peer="d2l"
    ),
    "d2l-notebook": Contender(
        _part(_original_d2l, display=True),
        "d2l, live figure in a notebook",
        needs=("d2l", "torch", "pillow", *_NOTEBOOK),
        peer="d2l",
        place="notebook",
    ),
    "lightning": Contender(lightning_ai, "Lightning", needs=("lightning",), peer="lightning"),
    "keras-torch": Contender(
        _part(_keras, backend="torch"), "Keras on PyTorch", ("keras", "torch"), "keras"
    ),
    "keras-jax": Contender(_part(_keras, backend="jax"), "Keras on JAX", ("keras", "jax"), "keras"),
    "keras-tensorflow": Contender(
        _part(_keras, backend="tensorflow"),
        "Keras on TensorFlow",
        ("keras", "tensorflow"),
        "keras",
    ),
    "skorch": Contender(skorch, "skorch", ("skorch", "torch"), "skorch"),
    "scikit-learn": Contender(
        scikit_learn, "scikit-learn MLPClassifier", ("scikit-learn",), "scikit-learn"
    ),
}


# The process of a contender


def installed() -> dict[str, str]:
    """Versions of the distributions that contenders need and this interpreter has."""
    versions = {"python": ".".join(map(str, sys.version_info[:3])), "numpy": np.__version__}
    for name in sorted({name for entry in CONTENDERS.values() for name in entry.needs}):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def peak_bytes() -> int | None:
    """The most memory that this process has had resident so far; None if not known."""
    try:
        # Not getrusage: what that says of a young process can be its parent's.
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return None
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None


def cpu_seconds() -> float:
    """Processor time of this process and of those that it has started and seen end."""
    return sum(os.times()[:4])


def _limit_torch_threads(threads: int) -> None:
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


def serve(task: Task) -> None:
    """Connects to the coordinator, waits, then runs the contender epoch by epoch."""
    started = started_cpu = 0.0
    if hasattr(os, "sched_setaffinity"):
        # The same processors for everybody, also for libraries that ask for no thread count.
        allowed = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, allowed[: task.threads])
    connection = socket.create_connection(task.address)
    wire = connection.makefile("rw", encoding="utf-8")

    def send(**message: Any) -> None:
        wire.write(json.dumps(message) + "\n")
        wire.flush()

    def wait() -> None:
        if wire.readline().strip() != "go":
            raise Finished

    def end_epoch(accuracy: float) -> None:
        nonlocal started, started_cpu
        seconds = time.perf_counter() - started
        send(
            seconds=seconds,
            cpu_seconds=cpu_seconds() - started_cpu,
            accuracy=accuracy,
            peak_bytes=peak_bytes(),
        )
        wait()
        started_cpu, started = cpu_seconds(), time.perf_counter()

    try:
        send(ready=True)
        wait()
        started_cpu, started = cpu_seconds(), time.perf_counter()
        entry = CONTENDERS[task.contender]
        np.random.seed(task.seed)
        if "torch" in entry.needs or task.contender == "lightning":
            import torch

            torch.set_num_threads(task.threads)
            torch.manual_seed(task.seed)
        entry.run(task, end_epoch)
    except Finished:
        pass
    except Exception:
        send(error=traceback.format_exc())
    finally:
        connection.close()


def serve_json(text: str) -> None:
    """`serve` for a task written as JSON, in a process or in a notebook's cell."""
    fields = json.loads(text)
    serve(Task(**{**fields, "address": tuple(fields["address"])}))


def main() -> None:
    command, *arguments = sys.argv[1:]
    if command == "installed":
        print(json.dumps(installed()))
    elif command == "export":
        folder, limit = arguments
        print(json.dumps(export(folder, json.loads(limit))))
    else:
        serve_json(arguments[0])


if __name__ == "__main__":
    main()
