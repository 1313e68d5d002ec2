"""The base classes of models.

Book: 3.2.2 (oo-design-models) for `Module`, 4.3 (sec_classification) for `Classifier`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from gradbook import checks
from gradbook.board import ProgressBoard
from gradbook.data import Batch
from gradbook.errors import BatchError, ModelError
from gradbook.hparams import HyperParameters
from gradbook.leaf_parameters import LeafParameters
from gradbook.optim import as_set
from gradbook.record import counts_elsewhere

if TYPE_CHECKING:
    from gradbook.trainer import Trainer


class Module(LeafParameters, HyperParameters):
    """The base class of models: a network, its loss, how it steps, and how it is optimized.

    A subclass defines `forward` (or `self.net`) and `loss`, and sets `self.lr` or defines
    `configure_optimizers`. The last item of a batch is the label, the others are the inputs.

    A leaf tensor that requires a gradient is a parameter as soon as it is set as an attribute,
    as in `self.w = torch.normal(0, 0.01, (2, 1), requires_grad=True)`: it is saved, moved,
    clipped and listed like an `nn.Parameter`, and it remains the same object. So is one that is
    told to require a gradient later, with `self.w.requires_grad_()`, when the parameters are next
    asked for. What is set within `forward`, a loss or a step is none, whatever it requires.

    Args:
        plot_train_per_epoch: Points of the training curves in an epoch.
        plot_valid_per_epoch: Points of the validation curves in an epoch.
    """

    board: ProgressBoard
    trainer: "Trainer"
    _set_by_class: Mapping[str, str | None] = {
        **{"hparams": None, "board": "draw", "trainer": "fit", "training": None}
    }
    # Where a subclass has them, and does not define the method that reads them.
    net: Any
    lr: float
    plot_train_per_epoch: float
    plot_valid_per_epoch: float

    def __init__(self, plot_train_per_epoch: float = 2, plot_valid_per_epoch: float = 1) -> None:
        super().__init__()
        self.__dict__.setdefault("_may_be_trained", {})  # by name; as an ordered set
        self.save_hyperparameters()
        checks.check_positive(plot_train_per_epoch, "plot_train_per_epoch")
        checks.check_positive(plot_valid_per_epoch, "plot_valid_per_epoch")
        self.board = ProgressBoard(yscale="auto")

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or a saved model keeps: all but the trainer, which holds the data."""
        return {name: value for name, value in self.__dict__.items() if name != "trainer"}

    def __call__(self, *inputs: Any, **kwargs: Any) -> Any:
        """Calls `forward`; an input that does not fit a layer is explained layer by layer."""
        try:
            return super().__call__(*inputs, **kwargs)
        except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
            explained = checks.explain_forward(self, inputs, kwargs, error)
            if explained is None:
                raise
            raise explained from error

    def forward(self, X: Any) -> Any:
        """The network's output for the inputs X; by default that of `self.net`."""
        try:
            net = self.net
        except AttributeError:
            if hasattr(type(self), "net"):  # a property of the learner's, with an error of its own
                raise
            name = type(self).__name__
            raise ModelError(
                f"{name} has no network. Set `self.net` in __init__ (for example an "
                f"nn.Sequential), or write a method `forward(self, X)` in {name}."
            ) from None
        return net(X)

    def loss(self, y_hat: Any, y: Any) -> torch.Tensor:
        """The loss of predictions `y_hat` for the labels `y`, a tensor with one element."""
        raise ModelError(checks.missing_loss(self))

    def loss_weight(self, batch: Any) -> float | torch.Tensor | None:
        """How much a batch counts, where several processes each train on a part of one.

        The loss of a batch has to be the mean of the parts' losses with these weights. Override it
        where `loss` is the mean over something else than examples, as over the tokens that are no
        padding.

        Args:
            batch: A batch, or a part of one, as the data give it.

        Returns:
            A number that adds up over the parts of a batch; None counts examples. A tensor of
            shape () is not waited for where it is on an accelerator.
        """
        return None

    def plot(self, key: str, value: torch.Tensor | float, train: bool) -> None:
        """Adds a value to the curve "train_KEY" or "val_KEY"; x counts epochs.

        Args:
            key: What it is, such as "loss".
            value: A number or a tensor with one element.
            train: Whether it was measured on a training batch (x is then the fraction of
                epochs gone by) or in validation (x is the number of the epoch, from 1).
        """
        trainer = getattr(self, "trainer", None)
        if trainer is None:
            name = type(self).__name__
            raise ModelError(
                f"{name}.plot() draws against the trainer's epochs, but {name} has no trainer "
                f"yet. Call it while Trainer.fit(model, data) runs, or set `model.trainer`."
            )
        self.board.xlabel = "epoch"
        if train:
            x = trainer.train_batch_idx / trainer.num_train_batches
            batches, points = trainer.num_train_batches, self.plot_train_per_epoch
        else:
            x = trainer.epoch + 1
            batches, points = trainer.num_val_batches, self.plot_valid_per_epoch
        label = ("train_" if train else "val_") + key
        self.board.draw(x, value, label, every_n=int(batches / points))

    def training_step(self, batch: Batch) -> torch.Tensor:
        """The loss of one training batch, which is also drawn."""
        loss = self.loss(self(*batch[:-1]), batch[-1])
        self.plot("loss", loss, train=True)
        return loss

    def validation_step(self, batch: Batch) -> None:
        """Draws the loss of one validation batch."""
        self.plot("loss", self.loss(self(*batch[:-1]), batch[-1]), train=False)

    def configure_optimizers(self) -> Any:
        """The optimizer, over `parameters()` with the learning rate `self.lr`.

        It is minibatch SGD, unless the trainer's settings name another, or a scheduler.
        """
        if not hasattr(self, "lr"):
            raise ModelError(checks.missing_optimizer(self))
        params = list(self.parameters())
        if not params:
            raise ModelError(
                f"{type(self).__name__} has no parameters to train. Set layers, or tensors that "
                f"require a gradient, as attributes in its __init__."
            )
        return as_set(params, self.lr, self.__dict__.get("trainer"))

    def apply_init(
        self, inputs: Iterable[Any], init: Callable[[nn.Module], Any] | None = None
    ) -> None:
        """Runs the network once, so that lazy layers get their shapes, then initializes it.

        Args:
            inputs: The inputs of one batch, as a list; a single tensor needs none.
            init: Called with every layer of the network, as `nn.Module.apply` does.
                Book: 6.3 (sec_lazy_init).
        """
        self(*([inputs] if isinstance(inputs, torch.Tensor) else inputs))
        if init is not None:
            self.net.apply(init)


class Classifier(Module):
    """The base class of classification models: their output is a logit for each class.

    Book: 4.3 (sec_classification).
    """

    def validation_step(self, batch: Batch) -> None:
        """Draws the loss and the accuracy of one validation batch."""
        Y_hat = self(*batch[:-1])
        self.plot("loss", self.loss(Y_hat, batch[-1]), train=False)
        accuracy = self.accuracy(Y_hat, batch[-1])
        # No label of the batch counts where it is not itself.
        if accuracy == accuracy or counts_elsewhere():
            self.plot("acc", accuracy, train=False)

    def loss_weight(self, batch: Batch) -> torch.Tensor | None:
        """The number of labels that count, over which loss and accuracy are means."""
        Y = batch[-1] if isinstance(batch, Sequence) else None
        if not isinstance(Y, torch.Tensor) or Y.is_floating_point():
            return None
        return (~checks.is_one_of(Y, self.ignored_labels())).sum()

    def accuracy(self, Y_hat: torch.Tensor, Y: torch.Tensor, averaged: bool = True) -> torch.Tensor:
        """How many predictions are right, of the labels that count: see `ignored_labels`.

        Args:
            Y_hat: Scores of shape (..., num_classes); the largest is the prediction. Or one for
                each label, of shape (..., 1) or (n,): a logit, which predicts class 1 where it is
                above 0; where `net` ends with an nn.Sigmoid, a probability, and above 0.5.
            Y: Labels of shape (...), integers from 0. For one score each, 0 and 1 or -1 and 1, of
                any dtype, and also of the scores' shape.
            averaged: Whether to give the fraction of right ones; otherwise 1.0 or 0.0 for each.

        Returns:
            A float32 tensor: of one element if averaged, NaN if no label counts; else of shape
            (number of labels that count,).

        Raises:
            BatchError: If the labels do not fit the scores.
        """
        if checks.is_one_column(Y_hat, Y):
            Y_hat, Y = Y_hat.reshape(-1), Y.reshape(-1)
            left_out = checks.is_one_of(Y, self.ignored_labels())
            checks.check_two_classes(Y[~left_out], self)
            threshold = 0.5 if checks.gives_probability(self) else 0
            correct = (Y_hat > threshold) == (Y > 0)
        else:
            try:
                checks.check_labels(Y_hat, Y)
            except BatchError as error:
                if checks.is_ours(self.loss):
                    raise
                raise BatchError(f"{error} {checks.write_accuracy(self)}") from None
            correct, Y = (Y_hat.argmax(dim=-1) == Y).reshape(-1), Y.reshape(-1)
            left_out = checks.is_one_of(Y, self.ignored_labels())
        if not averaged:
            return correct[~left_out].float()
        return (correct & ~left_out).sum().float() / (~left_out).sum()

    def ignored_labels(self) -> set[int]:
        """The labels that do not count in the accuracy.

        They are -100, as in PyTorch's cross-entropy, and the `ignore_index` of this model and of
        a loss that is one of its attributes, as `nn.CrossEntropyLoss` has it.
        """
        found = (getattr(part, "ignore_index", None) for part in (self, *self.children()))
        return {-100, *(label for label in found if isinstance(label, int))}

    def loss(self, Y_hat: torch.Tensor, Y: torch.Tensor, averaged: bool = True) -> torch.Tensor:
        """The cross-entropy of logits. Book: 4.5.2.

        Args:
            Y_hat: Logits of shape (..., num_classes), floating point.
            Y: Labels of shape (...), integers from 0 to num_classes - 1.
            averaged: Whether to give the mean; otherwise the loss of each label.

        Returns:
            A tensor: of one element if averaged, else of shape (number of labels,).

        Raises:
            BatchError: If the labels do not fit the logits.
        """
        checks.check_labels(Y_hat, Y)
        if Y_hat.dim() != 2:
            Y_hat, Y = Y_hat.reshape(-1, Y_hat.shape[-1]), Y.reshape(-1)
        if Y.dtype != torch.int64:
            Y = Y.long()
        try:
            return F.cross_entropy(Y_hat, Y, reduction="mean" if averaged else "none")
        except IndexError as error:  # on the CPU, PyTorch itself looks at every label
            checks.check_label_range(Y, Y_hat.shape[-1])
            raise error

    def layer_summary(self, X_shape: tuple[int, ...]) -> None:
        """Prints the output shape of each layer of `self.net` for an input of shape X_shape.

        Book: 7.6 (sec_lenet).
        """
        X = torch.randn(*X_shape)
        for layer in self.net:
            X = layer(X)
            print(type(layer).__name__, "output shape:\t", X.shape)
