"""The trainer: the training loop that everything but `train_ch6` of the old chapters uses.

Book: 3.2.4 (oo-design-training), 3.4.4; clipping: 9.5; early stopping: 5.5.
"""

import math
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial, wraps
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar, cast

import torch

from gradbook import (
    checkpoint,
    checks,
    devices,
    double_softmax,
    evaluation,
    execution,
    rehearsal,
    snapshot,
    untrained,
)
from gradbook.board import ProgressBoard
from gradbook.data import Batch, TensorLoader, giving_copies, inmost, to_device
from gradbook.errors import (
    ConfigError,
    GradbookError,
    GradbookWarning,
    IgnoredSettingWarning,
    ModelError,
    NotTrainedError,
    warn,
)
from gradbook.execution import NAMES, Precision
from gradbook.execution import Name as PrecisionName
from gradbook.fingerprint import describe_beginning, describe_setup, model_tensors
from gradbook.hparams import HyperParameters
from gradbook.interrupts import Interrupts
from gradbook.module import adopt_late
from gradbook.near_misses import check_signatures, warn_of_near_misses
from gradbook.record import History, Sink, is_loss
from gradbook.resumable_loader import (
    Position,
    ResumableLoader,
    Split,
    always_the_same,
    check_begins_anew,
    limited,
    parts_of,
    weights_of,
)
from gradbook.resumption import Resumption
from gradbook.schedules import (
    Length,
    check_schedules,
    learning_rate,
    needs_closure,
    read_optimizers,
)
from gradbook.stopping import BestSoFar, Mode
from gradbook.storage import check_path

#: What `watch` may name.
WATCHED = ("gradients",)


_Init = TypeVar("_Init", bound=Callable[..., None])


def _telling_unknown(init: _Init) -> _Init:
    """Has an `__init__` say of arguments that it does not take what they are called instead."""
    parameters = list(signature(init).parameters.values())[1:]
    known = [parameter.name for parameter in parameters]
    num_places = sum(parameter.kind is not parameter.KEYWORD_ONLY for parameter in parameters)

    @wraps(init)
    def telling(self: Any, *args: Any, **kwargs: Any) -> None:
        unknown = [name for name in kwargs if name not in known]
        if unknown:
            raise ConfigError(checks.unknown_settings(unknown, known))
        if len(args) > num_places or (args and checks.is_model(args[0])):
            raise ConfigError(
                f"Trainer takes {', '.join(known[:num_places])} in this order, and everything else "
                f"by name. Model and data belong to fit, as in "
                f"`Trainer(max_epochs=10).fit(model, data)`."
            )
        if not args and "max_epochs" not in kwargs:
            raise ConfigError("Trainer needs max_epochs, as in `Trainer(max_epochs=10)`.")
        init(self, *args, **kwargs)

    return cast(_Init, telling)


_Fit = TypeVar("_Fit", bound=Callable[..., None])


def _telling_foreign(fit: _Fit) -> _Fit:
    """Has a `fit` say where settings belong that it was given."""

    @wraps(fit)
    def telling(self: Any, *args: Any, **kwargs: Any) -> None:
        if foreign := [name for name in kwargs if name not in ("model", "data", "resume")]:
            raise ConfigError(checks.foreign_to_fit(foreign[0]))
        fit(self, *args, **kwargs)

    return cast(_Fit, telling)


class Trainer(HyperParameters):
    """Trains models on data. One trainer may fit several models in turn.

    Any method may be replaced, in a subclass or with `add_to_class`, and is then what runs.

    Args:
        max_epochs: Passes over the training set, at least 1.
        num_gpus: Whether to use the accelerator (1) or the CPU (0). Book: 6.7.
        gradient_clip_val: The largest norm of all gradients together, or, with the algorithm
            "value", the largest size of each element; 0 does not clip. Book: 5.3, 9.5.
        gradient_clip_algorithm: What is clipped: "norm" or "value".
        accumulate_grad_batches: The number of batches whose gradients are averaged for one update.
        precision: "32"; "16-mixed" or "bf16-mixed" compute the forward pass in 16 bits where the
            device can.
        deterministic: Whether to use only algorithms that give the same numbers every time.
            On the CPU a seed is enough.
        compile: Whether to compile the network with `torch.compile`, which pays in long runs.
        limit_batches: The number of batches in an epoch, such as 10, or the fraction of them, such
            as 0.1, for a quick look; None takes all.
        overfit_batches: The number of batches of the training set to train and validate on, the
            same in each epoch. A network that cannot overfit a few batches has a fault. None
            takes the whole training and validation sets.
        monitor: The recorded value by which epochs are compared, such as "val_loss", to find the
            best one. None takes "val_acc" where it is recorded, otherwise "val_loss" or what
            there is.
        mode: Whether the lowest ("min") or the highest ("max") value is the best; "auto" decides
            by its name.
        patience: The number of epochs without an improvement after which training stops; None
            never stops early.
        min_delta: The smallest change of the monitored value that counts as an improvement.
        keep_best: Whether the model ends with the parameters of its best epoch, not of its last.
        display: Where the curves are drawn: "auto", "notebook", "terminal", "lines" or "off".
            None leaves the choice to the model's board.
        sinks: Further places that are told every recorded value.
        run: A folder for runs, such as "runs", or a `gradbook.runs.Run`: keeps settings, values,
            checkpoints and curves in a new folder there. None writes nothing.
        watch: "gradients" also samples the gradients, weights and activations of each layer, and
            warns when gradients vanish or explode, or units die or saturate. Without it only the
            curves are recorded.

    Attributes:
        model, optim: What is being trained, and its optimizer.
        epoch: The number of the running epoch, from 0.
        train_batch_idx, val_batch_idx: Batches done since the training began. Where a loader gives
            now more and now fewer, each epoch counts as many as the last.
        train_dataloader, val_dataloader: The minibatches; there may be no validation set.
        num_train_batches, num_val_batches: Batches in an epoch: at first what the loaders' len()
            says, then what they gave.
        history: The exact means of every finished epoch.
        best: The best epoch so far: `best.epoch`, `best.value`.
        status: "finished", "interrupted", "diverged" or "failed", once a training is over.
        stopped_early: Whether patience, or `stop`, ended the training before `max_epochs`.
        findings: What was noticed about the training, in words.
        gradients: With `watch="gradients"`, a `gradbook.watching.GradientReport`.
        postmortem: If the training diverged, or a validation loss was NaN or infinite, a
            `gradbook.watching.PostMortem`, or None.
    """

    # Defaults of the class, because the book replaces `__init__` by one that knows only its own.
    gradient_clip_algorithm: Literal["norm", "value"] = "norm"
    accumulate_grad_batches: int = 1
    precision: PrecisionName = "32"
    deterministic: bool = False
    compile: bool = False
    limit_batches: int | float | None = None
    overfit_batches: int | None = None
    monitor: str | None = None
    mode: Mode = "auto"
    patience: int | None = None
    min_delta: float = 0.0
    keep_best: bool = False
    display: bool | str | None = None
    sinks: Sequence[Sink] = ()
    run: Any = None
    watch: str | Sequence[str] = ()
    gpus: Sequence[torch.device] = ()
    status: str | None = None
    stopped_early: bool = False
    is_stopping: bool = False
    findings: Sequence[str] = ()
    gradients: Any = None
    postmortem: Any = None
    # And because it replaces `fit` by one that prepares only what its own loop needs.
    arithmetic: Precision = Precision("32", devices.cpu())
    resumption: Resumption | None = None
    position: Position = Position()
    _setup: dict[str, Any] | None = None
    _is_own_loop: bool | None = None
    _waiting: int = 0  # batches whose gradients wait for the rest of their group
    _group: int = 1
    _last_loss: torch.Tensor | None = None
    _begun: Any = None  # the training set's first pass, where a look has begun it

    #: What `fit` sets when it begins.
    _set_by_fit = (
        *("history", "best", "model", "data", "optim", "schedules", "epoch"),
        *("train_batch_idx", "val_batch_idx", "train_dataloader", "val_dataloader"),
        *("num_train_batches", "num_val_batches"),
    )

    max_epochs: int
    gradient_clip_val: float
    epoch: int
    train_batch_idx: int
    val_batch_idx: int
    best: BestSoFar

    @_telling_unknown
    def __init__(
        self,
        max_epochs: int,
        num_gpus: int = 0,
        gradient_clip_val: float = 0,
        *,
        gradient_clip_algorithm: Literal["norm", "value"] = "norm",
        accumulate_grad_batches: int = 1,
        precision: PrecisionName = "32",
        deterministic: bool = False,
        compile: bool = False,
        limit_batches: int | float | None = None,
        overfit_batches: int | None = None,
        monitor: str | None = None,
        mode: Mode = "auto",
        patience: int | None = None,
        min_delta: float = 0.0,
        keep_best: bool = False,
        display: bool | str | None = None,
        sinks: Sequence[Sink] = (),
        run: "str | os.PathLike[str] | Sink | None" = None,
        watch: str | Sequence[str] = (),
    ) -> None:
        # What is no list is looked at below, as one value.
        sinks = list(sinks) if isinstance(sinks, Iterable) else [sinks]
        is_one = isinstance(watch, str) or not isinstance(watch, Iterable)
        watch = [cast(str, watch)] if is_one else list(watch)
        self.save_hyperparameters()
        checks.check_whole_number(max_epochs, "max_epochs", at_least=1)
        checks.check_whole_number(num_gpus, "num_gpus", at_least=0)
        checks.check_number(gradient_clip_val, "gradient_clip_val")
        checks.check_choice(gradient_clip_algorithm, "gradient_clip_algorithm", ("norm", "value"))
        checks.check_whole_number(accumulate_grad_batches, "accumulate_grad_batches", at_least=1)
        checks.check_choice(precision, "precision", NAMES)
        checks.check_choice(mode, "mode", ("auto", "min", "max"))
        checks.check_number(min_delta, "min_delta")
        if run is not None and not isinstance(run, Sink):
            check_path(run, "run", "runs")
        for name in watch:
            checks.check_choice(name, "watch", WATCHED)
        if patience is not None:
            checks.check_whole_number(patience, "patience", at_least=1)
        BestSoFar(monitor, mode, min_delta, patience)  # which knows what goes together
        if overfit_batches is not None:
            checks.check_whole_number(overfit_batches, "overfit_batches", at_least=1)
        if limit_batches is not None:
            checks.check_positive(limit_batches, "limit_batches")
            if limit_batches >= 1:
                checks.check_whole_number(limit_batches, "limit_batches", at_least=1)
        self.gpus = [devices.gpu()] if num_gpus and devices.num_gpus() else []
        if num_gpus > len(self.gpus):
            offered = f"this machine offers {devices.num_gpus()} to PyTorch"
            limit = "a Trainer uses one" if self.gpus else offered
            instead = self.gpus[0] if self.gpus else "the CPU"
            warn(
                f"num_gpus={num_gpus}, but {limit}. Training on {instead}.",
                IgnoredSettingWarning,
            )
        if gradient_clip_algorithm == "value" and not gradient_clip_val:
            warn(
                'gradient_clip_algorithm="value" clips nothing while gradient_clip_val is 0. '
                "Set gradient_clip_val to the largest size that an element may have.",
                IgnoredSettingWarning,
            )
        if min_delta and patience is None and not keep_best and run is None:
            warn(
                f"min_delta={min_delta:g} changes nothing without patience, keep_best or run.",
                IgnoredSettingWarning,
            )
        for sink in sinks:
            if not isinstance(sink, Sink):
                raise ConfigError(f"sinks must be a list of Sink objects, but holds {sink!r}.")
        if Trainer.fit is not _OWN_FIT:
            self._warn_of_ignored(_SETTINGS_OF_FIT, "fit")

    if not TYPE_CHECKING:  # or no misspelled attribute would be found

        def __getattr__(self, name: str) -> Any:
            Class = type(self).__name__
            if name not in Trainer._set_by_fit:
                raise AttributeError(
                    f"{Class!r} object has no attribute {name!r}", name=name, obj=self
                )
            raise NotTrainedError(
                f"{Class}.{name} is not known yet, because this trainer has trained nothing. Call "
                f"`trainer.fit(model, data)` first.",
                name=name,
                obj=self,
            )

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
        moved: Batch = to_device(batch, self.gpus[0])
        return moved

    @_telling_foreign
    def fit(self, model: Any, data: Any, resume: Any = None) -> None:
        """Trains `model` on `data` until `max_epochs` passes are done.

        Whatever ends the training early, the model keeps what it has learned, and `history` and
        the board keep what was recorded. Ctrl-C finishes the running step and is then passed on;
        a second one stops at once.

        Args:
            model: The model.
            data: The data.
            resume: A run's folder, a checkpoint's file, or what `checkpoint.load` read: the
                training goes on from there to the last bit as if it had never been stopped. A
                trainer that keeps a run goes on in the run's own folder.

        Raises:
            ModelError: If the model lacks a method, or its loss is not one number.
            DataError: If the data are empty.
            BatchError: If the data do not fit the model.
            ConfigError: If the learning rate is no usable number, there is no such display, or
                there is nothing left to do.
            CheckpointError: If model, data or settings are not those of the checkpoint.
            CorruptFileError: If the checkpoint is damaged.
        """
        with self.fitting(model, data, resume):
            self.run_epochs()

    @contextmanager
    def fitting(
        self, model: Any, data: Any, resume: Any = None, interrupts: Interrupts | None = None
    ) -> Iterator[None]:
        """All of `fit` but its epochs: prepares them on entry, and ends them however they end.

        Args:
            model: As for `fit`.
            data: As for `fit`.
            resume: As for `fit`.
            interrupts: What keeps Ctrl-C waiting, if several trainings share it.
        """
        process = os.getpid()
        with _alone(self, model):
            try:
                yield from self._fitting(model, data, resume, interrupts)
            except BaseException as error:
                if os.getpid() != process:
                    _end_fork(error)
                raise

    def _fitting(
        self, model: Any, data: Any, resume: Any, interrupts: Interrupts | None
    ) -> Iterator[None]:
        self.history = History()
        self.status = "failed"  # until it has ended in another way
        self.stopped_early = self.is_stopping = False
        self.findings, self.gradients, self.postmortem = [], None, None
        self._last_loss = None
        try:
            checks.check_model(model, data)
            check_signatures(model, data, self)
            warn_of_near_misses(model, data, self)
            display = model.board.choose_display(self.display) if _draws(model) else Sink()
            recorder = self._recorder()
            runs = None if self.run is None else Path(getattr(self.run, "root", self.run))
            self.resumption = None if resume is None else Resumption.of(resume, runs)
            if _draws(model) and model.board.trained:
                model.board.clear()  # a new curve, not a line back to zero
            self._prepare(model, data)
            self._warn_of_unkept(recorder)
            with self._passing():
                if self.resumption is not None:
                    snapshot.put_back(self.resumption.state, self)
                    self._check_left_to_do()
                    self._warn_of_counters()
                if recorder:
                    snapshot.warn_of_unkept(self.position)
                if self.max_epochs - self.position.epoch > 1:
                    for passes in (self.train_dataloader, self.val_dataloader):
                        check_begins_anew(inmost(passes))
                self._check_schedules()
                with ExitStack() as stack:
                    stack.enter_context(self._as_set())
                    stack.enter_context(untrained.told(model, self.optim, double_softmax.tell))
                    if interrupts is None:
                        interrupts = Interrupts(terminations=bool(recorder))
                        stack.enter_context(interrupts)
                    self._interrupts = interrupts
                    listeners = [*recorder, *self._watchers(), display]
                    stack.enter_context(self._recording(listeners))
                    yield
        except KeyboardInterrupt:
            if self.status == "failed":  # and had not come to its end just before
                self.status = "interrupted"
            raise

    def run_epochs(self) -> None:
        """The epochs that are left, while `fitting` lasts."""
        for epoch in range(self.position.epoch, self.max_epochs):
            if self.best.is_spent or self.is_stopping:
                self.stopped_early = True
                break
            self.epoch = epoch
            self.position.begin_epoch()
            self.fit_epoch()
            self.end_epoch()
        self.take_best()

    def stop(self) -> None:
        """Ends the training after the running epoch, as patience does. A sink may ask for it."""
        self.is_stopping = True

    def fit_epoch(self) -> None:
        """One pass over the training set, then one over the validation set."""
        self.model.train()
        self._waiting, loss = 0, None
        for batch in self.train_dataloader:
            with self.arithmetic.autocast():
                loss = self.model.training_step(self.prepare_batch(batch))
            if not (isinstance(loss, torch.Tensor) and loss.requires_grad and loss.numel() == 1):
                raise ModelError(checks.useless_loss(self.model, loss))
            self._update(loss)
            self.train_batch_idx += 1
        if loss is not None:
            self._last_loss = loss.detach()
        self._finish_group()
        if self.val_dataloader is None:
            return
        self.model.eval()
        with torch.no_grad(), self.arithmetic.autocast():
            for batch in self.val_dataloader:
                self.model.validation_step(self.prepare_batch(batch))
                self.val_batch_idx += 1

    def clip_gradients(self, grad_clip_val: float, model: Any) -> None:
        """Clips the gradients: their global norm, or each element, to at most `grad_clip_val`.

        Book: 9.5.3 (sec_rnn-scratch).
        """
        if self.gradient_clip_algorithm == "value":
            torch.nn.utils.clip_grad_value_(model.parameters(), grad_clip_val)
        else:
            torch.nn.utils.clip_grad_norm_(model.parameters(), grad_clip_val)

    # Without training

    def validate(self, model: Any, data: Any) -> dict[str, float]:
        """The exact means over the validation set of what `validation_step` plots.

        Nothing is drawn or recorded, and the model stays as it is.

        Args:
            model: The model.
            data: A DataModule, whose validation set is used; a data set of PyTorch; or batches.

        Returns:
            A dictionary such as {"val_loss": 0.41, "val_acc": 0.85}.

        Raises:
            DataError: If there is no validation set.
            BatchError: If the data do not fit the model.
        """
        return evaluation.validate(self, model, data)

    def predict(self, model: Any, data: Any) -> torch.Tensor:
        """The network's outputs, without gradients and with the model as it is.

        Args:
            model: The model.
            data: A DataModule, whose validation set is used; a data set of PyTorch; batches, in
                each of which the labels come last, or which are inputs alone; or all inputs as
                one tensor, array, table or list of numbers (n, ...).

        Returns:
            The outputs for all examples, in their order: a tensor (n, ...) on the CPU.

        Raises:
            DataError: If there is nothing to predict.
            BatchError: If the data do not fit the model, or are one example that is no batch.
            ModelError: If the model is none, or its output is not one tensor.
        """
        return evaluation.predict(self, model, data)

    # Going on

    def save_checkpoint(self, path: "str | os.PathLike[str]") -> None:
        """Writes all that the training needs to go on: see `fit(..., resume=path)`.

        It can be called between two steps, as by a sink in `end_step` and `end_epoch`, and after
        a training has ended.

        Raises:
            ConfigError: If nothing was trained yet.
            StorageError: If the file cannot be written.
        """
        if not hasattr(self, "best"):
            raise ConfigError("There is nothing to save yet. Call fit(model, data) first.")
        if not self.position.between_steps:
            raise ConfigError(
                "A checkpoint can be saved between two steps, as in a sink's end_step or "
                "end_epoch, but this training is within one, or was ended there."
            )
        snapshot.warn_of_unkept(self.position)
        checkpoint.save(Path(path), snapshot.take(self))

    def _check_left_to_do(self) -> None:
        done, resumed = self.position.epoch, self.resumption
        if done < self.max_epochs and not self.best.is_spent:
            return
        if resumed is not None and resumed.folder is not None:
            read_run = import_module("gradbook.runs.format").read_run
            with suppress(GradbookError):
                if read_run(resumed.folder)["status"] not in ("finished", "diverged"):
                    return  # it was stopped after its last step, and is still to be closed
        if self.best.is_spent:
            reason = f"its patience of {self.patience} was at an end. Start a new training"
        else:
            reason = f"max_epochs is {self.max_epochs}. Set it (--max-epochs) to more than {done}"
        raise ConfigError(
            f"There is nothing left to do: the checkpoint has {done} finished epochs, and {reason}."
        )

    def _recorder(self) -> list[Sink]:
        """The sink that keeps a run, if one is wanted."""
        if self.run is None or isinstance(self.run, Sink):
            return [] if self.run is None else [self.run]
        # Imported late and by name: what writes folders stands above what trains.
        recorder: Sink = import_module("gradbook.runs.recorder").Run(self.run)
        return [recorder]

    def _watchers(self) -> list[Sink]:
        """The sinks that look for what goes wrong."""
        # Imported late and by name: they stand above what they watch.
        watchers: list[Sink] = import_module("gradbook.watching").watchers(self.watch)
        return watchers

    @property
    def keeps_curves(self) -> bool:
        """Whether one of the sinks leaves the curves in files."""
        return any(sink.keeps_curves for sink in getattr(self, "_listeners", ()))

    @property
    def num_steps(self) -> int:
        """The updates of the optimizer since the training began."""
        return self.position.steps

    @property
    def device(self) -> torch.device:
        """Where the training runs."""
        return self.gpus[0] if self.gpus else devices.cpu()

    @property
    def setup(self) -> dict[str, Any]:
        """What the result depends on besides the state: classes, settings, a look at the data."""
        if self._setup is None:
            self._setup = describe_setup(self, self._whole, self._beginning)
        return self._setup

    # Before the first step

    def _prepare(self, model: Any, data: Any) -> None:
        self.data = data
        self.prepare_data(data)
        self.prepare_model(model)
        self._whole = self.train_dataloader, self.val_dataloader
        if self.overfit_batches is not None:
            same = always_the_same(self.train_dataloader, self.overfit_batches)
            self.train_dataloader = same
            self.val_dataloader = same if self.val_dataloader is not None else None
        self.num_train_batches = limited(self.train_dataloader, self.limit_batches)
        self.num_val_batches = limited(self.val_dataloader, self.limit_batches)
        self.epoch = self.train_batch_idx = self.val_batch_idx = 0
        self.optim, self.schedules = read_optimizers(self._configured(), model)
        if type(self).fit_epoch is _OWN_FIT_EPOCH and needs_closure(self.optim.step):
            raise ModelError(
                f"{type(self.optim).__name__} computes the loss several times in a step, with a "
                f"closure that Trainer.fit_epoch does not give it. Take another optimizer, or "
                f"write a fit_epoch of your own that calls optim.step(closure)."
            )
        self.arithmetic = Precision(self.precision, self.device)
        if self.arithmetic.scaler is not None and not hasattr(self.optim, "param_groups"):
            warn(
                f'precision="{self.precision}" needs an optimizer of PyTorch, and '
                f"{type(self.optim).__name__} is none. Training in 32 bits.",
                IgnoredSettingWarning,
            )
            self.arithmetic = Precision("32", self.device)
        # As they are before the first step, which changes rates and counts.
        self._beginning = describe_beginning(model, self.optim, self.schedules)
        self.best = BestSoFar(self.monitor, self.mode, self.min_delta, self.patience)
        self.best_model: dict[str, torch.Tensor] | None = None
        self.last_model: dict[str, torch.Tensor] | None = None
        self._setup = None
        self._is_own_loop = None  # until a batch was used

    def _check_schedules(self) -> None:
        """Says which schedules cannot do what they were meant to in the steps to come."""
        is_own = type(self).fit_epoch is _OWN_FIT_EPOCH
        together = self.accumulate_grad_batches if is_own else 1
        length = Length(
            self.max_epochs,
            -(-self.num_train_batches // together),
            is_cut=self.limit_batches is not None or self.overfit_batches is not None,
            has_validation=self.val_dataloader is not None,
            is_resumed=self.resumption is not None,
        )
        check_schedules(self.optim, self.schedules, length)

    @contextmanager
    def _passing(self) -> Iterator[None]:
        """While training, the loaders know where they are, and can be stopped and gone on with."""
        loaders = self.train_dataloader, self.val_dataloader
        owners, model = self._owners(), self.model
        owners += model.modules() if isinstance(model, torch.nn.Module) else [model]
        steppers = self.optim, *(schedule.scheduler for schedule in self.schedules)
        # Running until the first epoch begins.
        self.position = Position(owners, running=self, elsewhere=steppers)
        self.position.counted = {"train": self.num_train_batches, "val": self.num_val_batches}
        train, val = loaders
        begun, self._begun = self._begun, None
        first = train if begun is None else begun
        self.train_dataloader = self._pass(first, "train", self.num_train_batches)
        if val is not None:
            self.val_dataloader = self._pass(val, "val", self.num_val_batches)
        try:
            yield
        finally:
            self.train_dataloader, self.val_dataloader = loaders

    def _pass(self, loader: Any, split: Split, num_batches: int) -> ResumableLoader:
        limit = self.limit_batches
        if limit is not None:  # also where the loader says that it has fewer
            limit = num_batches if limit < 1 else int(limit)
        loader = giving_copies(loader)
        return ResumableLoader(loader, split, self.position, limit, self._after_batch)

    def _configured(self) -> Any:
        """What `configure_optimizers` gives, after a rehearsal before any long work.

        A run needs layers that have a shape, and so do some optimizers, as Adagrad.
        """
        model: Any = self.model
        needs_shapes = self.run is not None or self.compile
        self._begun = rehearsal.rehearse(self, self._owners(), needs_shapes)
        unshaped = rehearsal.unshaped_layers(model)
        if unshaped and self.run is not None:
            raise ModelError(checks.missing_shapes(model, unshaped))
        if isinstance(model, torch.nn.Module):
            adopt_late(model)
        try:
            return model.configure_optimizers()
        except ValueError as error:
            if not unshaped:
                raise
            if self._begun is None:
                self._begun = rehearsal.rehearse(self, self._owners(), needs_shapes=True)
            if unshaped := rehearsal.unshaped_layers(model):
                raise ModelError(checks.missing_shapes(model, unshaped)) from error
            return model.configure_optimizers()

    def _owners(self) -> list[Any]:
        """On whose state batches may depend."""
        loaders = self.train_dataloader, self.val_dataloader
        return [self.data, *(part for loader in loaders for part in parts_of(loader))]

    @contextmanager
    def _as_set(self) -> Iterator[None]:
        """While it lasts, steps are computed as the settings say."""
        with ExitStack() as stack:
            if self.compile:
                loader = inmost(self.train_dataloader)  # not its counted passes
                attempt = partial(rehearsal.try_step, self, loader, self._owners())
                stack.enter_context(execution.compiled(self.model, attempt))
            if self.deterministic:
                stack.enter_context(execution.deterministic())
            yield

    # Steps and epochs

    def _update(self, loss: torch.Tensor) -> None:
        """Adds a batch's gradients; when a group of batches is complete, takes a step."""
        if not self._waiting:
            self._is_own_loop = True
            in_fit = isinstance(self.train_dataloader, ResumableLoader)  # and not the book's fit
            n = self.num_train_batches
            left = n - (self.position.batches if in_fit else self.train_batch_idx % n)
            together = self.accumulate_grad_batches
            # A loader that gives more than it said gives nobody knows how many.
            self._group = min(together, left) if left > 0 else together
            self.optim.zero_grad()
        self.arithmetic.backward(loss if self._group == 1 else loss / self._group)
        self._waiting += 1
        if self._waiting == self._group:
            self._step()

    def _finish_group(self) -> None:
        """Takes the last step of a pass that gave fewer batches than its group was to have."""
        if not self._waiting:
            return
        too_small = self._group / self._waiting  # the gradient, which was divided by the group
        for parameter in _trained(self.model, self.optim):
            if parameter.grad is not None:
                parameter.grad.mul_(too_small)
        self._step()
        if isinstance(self.train_dataloader, ResumableLoader):
            self._after_step()

    def _step(self) -> None:
        """Updates the parameters with the gradients of a group."""
        self._waiting = 0
        with torch.no_grad():
            if self.gradient_clip_val > 0:
                self.arithmetic.unscale(self.optim)
                self.clip_gradients(self.gradient_clip_val, self.model)
            self.arithmetic.step(self.optim)

    def _after_batch(self, split: Split) -> None:
        """A batch was used, by whatever loop. Training may end here, and be gone on with."""
        if split == "val":
            self._between_steps()
            return
        if self._is_own_loop is None:
            self._is_own_loop = False
            self._warn_of_ignored(_SETTINGS_OF_FIT_EPOCH, "fit_epoch")
        if self.position.batches > self.num_train_batches:
            self._count("train", self.position.batches)
        if not self._waiting:  # otherwise gradients are waiting for more
            self._after_step()

    def _after_step(self) -> None:
        self.position.steps += 1
        for schedule in self.schedules:
            schedule.end("step", self.num_steps)
        self._between_steps(self._steppers)

    def _between_steps(self, told: Sequence[Sink] = ()) -> None:
        self.position.between_steps = True
        for sink in told:
            sink.end_step(self)
        self._interrupts.raise_pending()
        self.position.between_steps = False

    def _count(self, split: Split, num_batches: int) -> None:
        """Takes the batches that a pass has given so far for those of every epoch.

        What has been counted is counted anew, so that x is the epoch and no more than its end.
        """
        _ = self.setup  # which tells of the loaders by what they said
        epoch, before = self.position.epoch, getattr(self, f"num_{split}_batches")
        setattr(self, f"num_{split}_batches", num_batches)
        if split == "train":
            self.history.steps_per_epoch = num_batches
        # A loop of the learner's own may count in its own way, or not at all.
        if getattr(self, f"{split}_batch_idx") == epoch * before + num_batches:
            setattr(self, f"{split}_batch_idx", (epoch + 1) * num_batches)

    def _recount(self) -> None:
        """At the end of an epoch, goes by the batches that its loaders gave, not by their len()."""
        texts, position = [], self.position
        for split, given in position.given.items():
            before = position.counted[split]
            if given == before == getattr(self, f"num_{split}_batches"):
                continue
            self._count(split, given)
            position.counted[split] = given
            if _draws(self.model):
                self.model.board.close_windows(f"{split}_")
            if given == before or position.told.count(split) > 1:
                continue
            loader = self.train_dataloader if split == "train" else self.val_dataloader
            name = {"train": "training", "val": "validation"}[split]
            told = f"The {name} set gave {given} batches in epoch {position.epoch + 1}"
            if split in position.told:
                texts.append(f"{told}, after {before} in the one before: it varies.")
            else:
                texts.append(f"{told}, but its len() is {len(loader)}.")
                if given > before and getattr(loader, "num_workers", 0) > 1:
                    texts.append(
                        "Each of its workers may give all examples: see get_worker_info() in "
                        "torch.utils.data."
                    )
            position.told.append(split)
        if texts:
            texts.append("From here on, an epoch is as many batches as came in the last.")
            warn(" ".join(texts), GradbookWarning)

    def end_epoch(self) -> None:
        """Closes an epoch whose batches are done: exact means, schedules, the best, the sinks."""
        self._recount()
        sizes, meters = self.position.sizes, self.history.meters
        weights = {
            "train": weights_of(self.train_dataloader, sizes["train"], meters, "train_"),
            "val": weights_of(self.val_dataloader, sizes["val"], meters, "val_"),
        }
        metrics = self.history.close_epoch(self.epoch + 1, weights)
        rate = learning_rate(self.optim) if self.schedules else None
        if rate is not None:
            metrics.append(self.history.note(self.epoch + 1, "lr", rate))
        row = self.history[-1] if metrics else {}
        is_broken = False
        if self.history.diverged is None:
            self.history.diverged = self._what_broke(row)
            is_broken = self.history.diverged is not None
        for schedule in self.schedules:
            schedule.end("epoch", self.epoch + 1, row)
        # Parameters that are no numbers are not the best, whatever was measured before they broke.
        seen = dict.fromkeys(row, math.nan) if is_broken else row
        if self.best.update(seen) and self.keep_best:
            self.best_model = _copied(model_tensors(self.model))
        for metric in metrics:
            for sink in self._listeners:
                sink.write(metric)
        self.position.end_epoch()
        for sink in self._listeners:
            sink.end_epoch(self)
        if self.epoch + 1 < self.max_epochs:  # otherwise it finishes, and then passes it on
            self._interrupts.raise_pending()

    def _what_broke(self, row: Mapping[str, float]) -> str | None:
        """What is NaN or infinite at the end of an epoch of finite training losses, or None."""
        # Imported late and by name: what looks at a training stands above it.
        parameters_of = import_module("gradbook.watching.repetition").parameters_of
        where = f"at the end of epoch {self.epoch + 1}"
        for name, parameter in parameters_of(self).items():
            if parameter.layout == torch.strided and not parameter.isfinite().all():
                return f"the parameter {name} {where}"
        loss = self._last_loss
        is_plotted = any(is_loss(label) and not label.startswith("val_") for label in row)
        if loss is not None and not is_plotted and not loss.isfinite().all():
            return f"the training loss {where}"
        return None

    def _warn_of_ignored(self, settings: Sequence[str], method: str) -> None:
        """Says which settings a replaced method leaves without effect."""
        for name in settings:
            value = getattr(self, name)
            if value and value != getattr(Trainer, name):
                warn(
                    f"{name}={value!r} has no effect, because {method} has been replaced by a "
                    f"method that does not know it. Bring back the library's own, or do without.",
                    IgnoredSettingWarning,
                )

    def _warn_of_counters(self) -> None:
        """Says what the rest of an epoch cannot know of its beginning."""
        code = getattr(type(self).fit_epoch, "__code__", None)
        if self.position.resumed is not None and "enumerate" in getattr(code, "co_names", ()):
            warn(
                f"{type(self).__name__}.fit_epoch counts with enumerate, and this training resumes "
                f"in the middle of an epoch, whose rest is counted from 0. If what it does depends "
                f"on that number, count with self.train_batch_idx, or resume from the end of an "
                f"epoch.",
                GradbookWarning,
            )

    def _warn_of_unkept(self, recorder: Sequence[Sink]) -> None:
        folder = self.resumption.folder if self.resumption is not None else None
        if folder is not None and not any(s.keeps_curves for s in (*self.sinks, *recorder)):
            warn(
                f"The training resumes from {folder}, but is not kept there. Give the Trainer "
                f"run={str(folder.parent)!r} to keep it in that folder.",
                GradbookWarning,
            )

    def take_best(self) -> None:
        """Gives the model the parameters of its best epoch, where that is wanted."""
        if not self.keep_best:
            return
        if self.best_model is None:
            warn(
                "keep_best=True, but no epoch has a finite value to know the best one by. The "
                "model keeps the parameters of the last.",
                IgnoredSettingWarning,
            )
            return
        # A checkpoint that is saved later goes on from these.
        self.last_model = _copied(model_tensors(self.model))
        snapshot.load_parameters(self.model, self.best_model)

    # What records it

    @contextmanager
    def _recording(self, listeners: Sequence[Sink]) -> Iterator[None]:
        """Opens every place that is told what happens, and closes it whatever happens."""
        board = self.model.board
        self._listeners, self._process = [*self.sinks, *listeners], os.getpid()
        self._steppers = [
            sink for sink in self._listeners if type(sink).end_step is not Sink.end_step
        ]
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
                del self._listeners, self._steppers
                if _draws(self.model):
                    try:
                        if self.status in ("interrupted", "failed"):
                            board.flush()  # what came since the last point is not lost
                    finally:
                        board.history = board.sinks = None

    def _close(self, sink: Sink) -> None:
        if os.getpid() == self._process:  # in one that was forked, all belongs to its parent
            sink.close(self.status or "failed")

    def leave_to_parent(self) -> None:
        """Tells nothing more to anybody, in a process that was forked while this trains."""
        for sinks in (getattr(self, "_listeners", []), getattr(self, "_steppers", [])):
            sinks.clear()


#: The trainers that train, and the models and runs with which they do, by their id.
_busy: dict[int, Any] = {}
_lock = threading.Lock()


@contextmanager
def _alone(trainer: Trainer, model: Any) -> Iterator[None]:
    """While it lasts, no other training takes this trainer or this model."""
    with _lock:
        if id(trainer) in _busy:
            raise ConfigError("This trainer is training already. Make another for a second fit().")
        if id(model) in _busy:
            raise ConfigError(
                f"This {type(model).__name__} is being trained already, and two trainings of one "
                f"model at once would spoil it. Make another, such as copy.deepcopy(model)."
            )
        own = [trainer, model]
        if isinstance(trainer.run, Sink):
            if id(trainer.run) in _busy:
                raise ConfigError("This Run keeps a training already. Make another for this one.")
            own.append(trainer.run)
        _busy.update((id(each), each) for each in own)
    try:
        yield
    finally:
        for each in own:
            _busy.pop(id(each), None)


def _leave_to_parent() -> None:
    global _lock
    _lock = threading.Lock()  # another thread may have held it
    for each in _busy.values():
        if isinstance(each, Trainer):
            each.leave_to_parent()
    _busy.clear()


def _end_fork(error: BaseException) -> NoReturn:
    """Ends a process that was forked within a training, where an error would leave the training.

    All that would be closed, written or gone on with from there belongs to its parent.
    """
    code = error.code if isinstance(error, SystemExit) else 1
    if not isinstance(error, SystemExit):
        traceback.print_exception(error)
    elif not isinstance(code, int | None):
        print(code, file=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # there may be none, or a closed one
            stream.flush()
    os._exit((code or 0) & 0xFF if isinstance(code, int | None) else 1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)

#: The library's own, which `add_to_class` may have replaced since.
_OWN_FIT, _OWN_FIT_EPOCH = Trainer.fit, Trainer.fit_epoch
_SETTINGS_OF_FIT = (
    *("precision", "compile", "deterministic", "limit_batches", "overfit_batches"),
    *("monitor", "mode", "patience", "min_delta", "keep_best", "sinks", "run", "watch"),
)
_SETTINGS_OF_FIT_EPOCH = ("accumulate_grad_batches", "precision")


def _copied(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in tensors.items()}


def _trained(model: Any, optimizer: Any) -> list[torch.Tensor]:
    """The tensors that have gradients, each once."""
    groups = getattr(optimizer, "param_groups", None)
    held = [p for g in groups for p in g["params"]] if groups else getattr(optimizer, "params", ())
    return list({id(p): p for p in (*model.parameters(), *held)}.values())


def _draws(model: Any) -> bool:
    """Whether what `model` plots comes to a board of ours; a learner may have made another."""
    return isinstance(model.board, ProgressBoard)


def _on(device: torch.device, loader: Any) -> Any:
    return loader.to(device) if isinstance(loader, TensorLoader) else loader
