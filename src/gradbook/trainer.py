"""The trainer: the training loop that everything but `train_ch6` of the old chapters uses.

Book: 3.2.4 (oo-design-training), 3.4.4; clipping: 9.5.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from gradbook import checks, devices
from gradbook.board import ProgressBoard
from gradbook.data import Batch, TensorLoader
from gradbook.errors import ConfigError, DataError, IgnoredSettingWarning, ModelError, warn
from gradbook.hparams import HyperParameters
from gradbook.module import Classifier, Module
from gradbook.record import History, Sink

_KNOWN_STEPS = (Module.training_step, Module.validation_step, Classifier.validation_step)


class Trainer(HyperParameters):
    """Trains models on data. One trainer may fit several models in turn.

    Any method may be replaced, in a subclass or with `add_to_class`, and is then what runs.

    Args:
        max_epochs: Passes over the training set, at least 1.
        num_gpus: Whether to use the accelerator (1) or the CPU (0). Book: 6.7.
        gradient_clip_val: The largest norm of all gradients together; 0 does not clip.
            Book: 5.3, 9.5.
        display: Where the curves are drawn: "auto", "notebook", "terminal", "lines" or "off".
            None leaves the choice to the model's board.
        compile: Whether to compile the network with `torch.compile`, which pays in long runs.
        sinks: Further places that are told every recorded value.

    Attributes:
        model, optim: What is being trained, and its optimizer.
        epoch: The number of the running epoch, from 0.
        train_batch_idx, val_batch_idx: Batches done since the training began.
        train_dataloader, val_dataloader: The minibatches; there may be no validation set.
        num_train_batches, num_val_batches: Batches in an epoch.
        history: The exact means of every finished epoch.
        status: "finished", "interrupted", "diverged" or "failed", once a training is over.
    """

    # Defaults of the class, because the book replaces `__init__` by one that knows only its own.
    display: bool | str | None = None
    compile: bool = False
    sinks: Sequence[Sink] = ()
    gpus: Sequence[torch.device] = ()
    status: str | None = None

    max_epochs: int
    gradient_clip_val: float

    def __init__(
        self,
        max_epochs: int,
        num_gpus: int = 0,
        gradient_clip_val: float = 0,
        *,
        display: bool | str | None = None,
        compile: bool = False,
        sinks: Sequence[Sink] = (),
    ) -> None:
        sinks = [sinks] if isinstance(sinks, Sink) else list(sinks)
        self.save_hyperparameters()
        checks.check_whole_number(max_epochs, "max_epochs", at_least=1)
        checks.check_whole_number(num_gpus, "num_gpus", at_least=0)
        checks.check_rate(gradient_clip_val, "gradient_clip_val")
        self.gpus = devices.try_all_gpus()[: min(num_gpus, 1)]
        if num_gpus > len(self.gpus):
            offered = f"this machine offers {devices.num_gpus()} to PyTorch"
            limit = "a Trainer uses one" if self.gpus else offered
            instead = self.gpus[0] if self.gpus else "the CPU"
            warn(
                f"num_gpus={num_gpus}, but {limit}. Training on {instead}.",
                IgnoredSettingWarning,
            )
        for sink in sinks:
            if not isinstance(sink, Sink):
                raise ConfigError(f"sinks must be a list of Sink objects, but holds {sink!r}.")

    # What the book's readers replace

    def prepare_data(self, data: Any) -> None:
        """Asks `data` for the minibatches of both sets and counts them."""
        checks.check_data(data)
        self.train_dataloader = data.train_dataloader()
        self.val_dataloader = data.val_dataloader()
        checks.check_loaders(data, self.train_dataloader, self.val_dataloader)
        if self.gpus:
            # Data in memory move to the device once, not batch by batch.
            self.train_dataloader = _on(self.gpus[0], self.train_dataloader)
            self.val_dataloader = _on(self.gpus[0], self.val_dataloader)
        self.num_train_batches = len(self.train_dataloader)
        self.num_val_batches = len(self.val_dataloader) if self.val_dataloader is not None else 0

    def prepare_model(self, model: Any) -> None:
        """Introduces the model to this trainer and moves it to the device."""
        model.trainer = self
        model.board.xlim = [0, self.max_epochs]
        if self.gpus:
            model.to(self.gpus[0])
        self.model = model

    def prepare_batch(self, batch: Batch) -> Batch:
        """Moves a batch to the device."""
        if not self.gpus:
            return batch
        moved: Batch = _to(self.gpus[0], batch)
        return moved

    def fit(self, model: Any, data: Any) -> None:
        """Trains `model` on `data` for `max_epochs` passes.

        Whatever ends the training early, the model keeps what it has learned, and `history` and
        the board keep what was recorded. Ctrl-C is passed on.

        Raises:
            ModelError: If the model lacks a method, or its loss is not one number.
            DataError: If the data are empty.
            BatchError: If the data do not fit the model.
            ConfigError: If the learning rate is no usable number, or there is no such display.
        """
        if hasattr(self, "_listeners"):
            raise ConfigError("This trainer is training already. Make another for a second fit().")
        self.history = History()
        self.status = "failed"  # until it has ended in another way
        try:
            checks.check_model(model)
            display = model.board.choose_display(self.display) if _draws(model) else Sink()
            if _draws(model) and model.board.trained:
                model.board.clear()  # a new curve, not a line back to zero
            self.prepare_data(data)
            self.prepare_model(model)
            self.epoch = self.train_batch_idx = self.val_batch_idx = 0
            self._rehearse()
            self.optim = model.configure_optimizers()
            if self.optim is None:
                raise ModelError(checks.missing_optimizer(model))
            with self._compiled(), self._recording(display):
                for epoch in range(self.max_epochs):
                    self.epoch = epoch
                    self.fit_epoch()
                    self._end_epoch()
        except KeyboardInterrupt:
            self.status = "interrupted"
            raise

    def fit_epoch(self) -> None:
        """One pass over the training set, then one over the validation set."""
        self.model.train()
        before = self.train_batch_idx
        for batch in self.train_dataloader:
            loss = self.model.training_step(self.prepare_batch(batch))
            if not (isinstance(loss, torch.Tensor) and loss.requires_grad):
                raise ModelError(checks.useless_loss(self.model, loss))
            self.optim.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            with torch.no_grad():
                if self.gradient_clip_val > 0:
                    self.clip_gradients(self.gradient_clip_val, self.model)
                self.optim.step()
            self.train_batch_idx += 1
        if self.train_batch_idx == before:
            raise DataError(
                f"The training set gave no batch in epoch {self.epoch + 1}. What "
                f"`train_dataloader()` returns must begin anew each time it is iterated over."
            )
        if self.val_dataloader is None:
            return
        self.model.eval()
        with torch.no_grad():
            for batch in self.val_dataloader:
                self.model.validation_step(self.prepare_batch(batch))
                self.val_batch_idx += 1

    def clip_gradients(self, grad_clip_val: float, model: Any) -> None:
        """Scales all gradients together so that their global norm is at most `grad_clip_val`.

        Book: 9.5.3 (sec_rnn-scratch).
        """
        torch.nn.utils.clip_grad_norm_(model.parameters(), grad_clip_val)

    # What records it

    def _rehearse(self) -> None:
        """Finds out with one batch of each set what does not fit, before any long work."""
        model = self.model
        if not isinstance(model, Module):
            return
        steps = (
            (self.val_dataloader, type(model).validation_step),
            (self.train_dataloader, type(model).training_step),
        )
        # What a loss plots in a rehearsal is no point of a curve.
        board, model.board = model.board, ProgressBoard(display=False)
        try:
            for loader, step in steps:
                # A step that a learner wrote may use a batch in ways that cannot be foreseen.
                batch = checks.first_batch(loader) if step in _KNOWN_STEPS else None
                if batch is None:
                    continue
                y_hat = checks.rehearse(model, self.prepare_batch(batch))
                scores = isinstance(model, Classifier) and isinstance(y_hat, torch.Tensor)
                if scores and isinstance(loader, TensorLoader):
                    checks.check_label_range(loader.tensors[-1], y_hat.shape[-1])
        finally:
            model.board = board

    @contextmanager
    def _compiled(self) -> Iterator[None]:
        """Compiles the network's call while it trains; warns and goes without where that fails."""
        if not self.compile:
            yield
            return
        batch = checks.first_batch(self.train_dataloader)
        try:
            self.model.compile()
            if batch is not None:  # the compiler itself runs, and may be missing, at the first call
                with checks.at_rest(self.model):
                    self.model(*self.prepare_batch(batch)[:-1])
        except Exception as error:
            self._stop_compiling()
            reason = str(error).strip().splitlines()
            warn(
                f"compile=True, but the network cannot be compiled here: {type(error).__name__}"
                f"{': ' + reason[0] if reason else ''}. It trains as it is. torch.compile needs a "
                f"C++ compiler, such as g++.",
                IgnoredSettingWarning,
            )
        try:
            yield
        finally:
            self._stop_compiling()

    def _stop_compiling(self) -> None:
        if isinstance(self.model, torch.nn.Module):
            self.model._compiled_call_impl = None  # PyTorch has no public way back

    @contextmanager
    def _recording(self, display: Sink) -> Iterator[None]:
        """Opens every place that is told what happens, and closes it whatever happens."""
        board = self.model.board
        self._listeners = [*self.sinks, display]
        self.history.open(board, self)
        if _draws(self.model):
            board.history, board.sinks, board.trained = self.history, self._listeners, True
        with ExitStack() as closing:
            try:
                for sink in self._listeners:
                    # Unwound from the last: every sink is closed, even when the one before it
                    # fails, or Ctrl-C comes while it opens.
                    closing.callback(self._close, sink)
                    sink.open(board, self)
                yield
                self.status = "diverged" if self.history.diverged else "finished"
            except KeyboardInterrupt:
                self.status = "interrupted"
                raise
            finally:
                # A display may hold a thread, which could not be copied with the model.
                del self._listeners
                if _draws(self.model):
                    if self.status in ("interrupted", "failed"):
                        board.flush()  # what came since the last point is not lost
                    board.history = board.sinks = None

    def _close(self, sink: Sink) -> None:
        sink.close(self.status or "failed")

    def _end_epoch(self) -> None:
        weights = {
            "train": _batch_sizes(self.train_dataloader),
            "val": _batch_sizes(self.val_dataloader),
        }
        for metric in self.history.end_epoch(self.epoch + 1, weights):
            for sink in self._listeners:
                sink.write(metric)


def _draws(model: Any) -> bool:
    """Whether what `model` plots comes to a board of ours; a learner may have made another."""
    return isinstance(model.board, ProgressBoard)


def _to(device: torch.device, value: Any) -> Any:
    """A tensor, or tensors in lists, tuples and dictionaries, on `device`."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, list | tuple):
        return [_to(device, item) for item in value]
    if isinstance(value, dict):
        return {key: _to(device, item) for key, item in value.items()}
    return value


def _on(device: torch.device, loader: Any) -> Any:
    return loader.to(device) if isinstance(loader, TensorLoader) else loader


def _batch_sizes(loader: Any) -> list[int]:
    """The number of examples in each batch; empty where it cannot be known."""
    try:
        size, num_batches = loader.batch_size, len(loader)
        # A sampler may leave examples out, or take some twice.
        num_examples = len(loader.sampler if hasattr(loader, "sampler") else loader.dataset)
        last = min(size, num_examples - size * (num_batches - 1))
    except (AttributeError, TypeError):
        return []
    return [size] * (num_batches - 1) + [last]
