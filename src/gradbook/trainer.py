"""The trainer: the training loop that everything but `train_ch6` of the old chapters uses.

Book: 3.2.4 (oo-design-training), 3.4.4; clipping: 9.5; early stopping: 5.5.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import torch

from gradbook import checkpoint, checks, devices, evaluation, execution, rehearsal, snapshot
from gradbook.board import ProgressBoard
from gradbook.data import Batch, TensorLoader, giving_copies, to_device
from gradbook.errors import (
    ConfigError,
    DataError,
    GradbookError,
    GradbookWarning,
    IgnoredSettingWarning,
    ModelError,
    warn,
)
from gradbook.execution import NAMES, Precision
from gradbook.execution import Name as PrecisionName
from gradbook.fingerprint import describe_beginning, describe_setup, model_tensors
from gradbook.hparams import HyperParameters
from gradbook.interrupts import Interrupts
from gradbook.record import History, Sink
from gradbook.resumable_loader import (
    Position,
    ResumableLoader,
    Split,
    always_the_same,
    batch_sizes,
    limited,
    parts_of,
)
from gradbook.resumption import Resumption
from gradbook.schedules import learning_rate, needs_closure, read_optimizers
from gradbook.stopping import BestSoFar, Mode

#: What `watch` may name.
WATCHED = ("gradients",)


class Trainer(HyperParameters):
    """Trains models on data. One trainer may fit several models in turn.

    Any method may be replaced, in a subclass or with `add_to_class`, and is then what runs.

    Args:
        max_epochs: Passes over the training set, at least 1.
        num_gpus: Whether to use the accelerator (1) or the CPU (0). Book: 6.7.
        gradient_clip_val: The largest norm of all gradients together, or, with the algorithm
            "value", the largest size of each element; 0 does not clip. Book: 5.3, 9.5.
        gradient_clip_algorithm: What is clipped: "norm" or "value".
        accumulate_grad_batches: The batches whose gradients are averaged for one update.
        precision: "32"; "16-mixed" or "bf16-mixed" compute the forward pass in 16 bits where the
            device can.
        deterministic: Whether to use only algorithms that give the same numbers every time.
            On the CPU a seed is enough.
        compile: Whether to compile the network with `torch.compile`, which pays in long runs.
        limit_batches: The batches of an epoch, as a number, or as a fraction below 1, for a quick
            look; None takes all.
        overfit_batches: Train and validate on so many batches of the training set, always the
            same: a network that cannot learn these by heart has a fault. None takes the data.
        monitor: The label of the epoch mean by which the best epoch is known, such as "val_loss";
            None takes "val_acc" where it is recorded, otherwise "val_loss" or what there is.
        mode: Whether the best is the lowest ("min") or the highest ("max"); "auto" goes by the
            name of the label.
        patience: After how many epochs without a better one to stop; None never stops early.
        min_delta: By how much an epoch must be better to count.
        keep_best: Whether the model ends with the parameters of its best epoch, not of its last.
        display: Where the curves are drawn: "auto", "notebook", "terminal", "lines" or "off".
            None leaves the choice to the model's board.
        sinks: Further places that are told every recorded value.
        run: A folder for runs, such as "runs", or a `gradbook.runs.Run`: keeps settings, values,
            checkpoints and curves in a new folder there. None writes nothing.
        watch: What to look at besides the curves: "gradients" samples the gradients, weights and
            activations of each layer, and says when they vanish, explode, die or saturate.

    Attributes:
        model, optim: What is being trained, and its optimizer.
        epoch: The number of the running epoch, from 0.
        train_batch_idx, val_batch_idx: Batches done since the training began.
        train_dataloader, val_dataloader: The minibatches; there may be no validation set.
        num_train_batches, num_val_batches: Batches in an epoch.
        history: The exact means of every finished epoch.
        best: The best epoch so far: `best.epoch`, `best.value`.
        status: "finished", "interrupted", "diverged" or "failed", once a training is over.
        stopped_early: Whether patience, or `stop`, ended the training before `max_epochs`.
        findings: What was noticed about the training, in words.
        gradients: With `watch="gradients"`, a `gradbook.watching.GradientReport`.
        postmortem: If the training diverged, a `gradbook.watching.PostMortem`, or None.
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
    _begun: Any = None  # the training set's first pass, where a look has begun it

    max_epochs: int
    gradient_clip_val: float
    epoch: int
    train_batch_idx: int
    val_batch_idx: int
    best: BestSoFar

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
        sinks = [sinks] if isinstance(sinks, Sink) else list(sinks)
        watch = [watch] if isinstance(watch, str) else list(watch)
        self.save_hyperparameters()
        checks.check_whole_number(max_epochs, "max_epochs", at_least=1)
        checks.check_whole_number(num_gpus, "num_gpus", at_least=0)
        checks.check_rate(gradient_clip_val, "gradient_clip_val")
        checks.check_choice(gradient_clip_algorithm, "gradient_clip_algorithm", ("norm", "value"))
        checks.check_whole_number(accumulate_grad_batches, "accumulate_grad_batches", at_least=1)
        checks.check_choice(precision, "precision", NAMES)
        checks.check_choice(mode, "mode", ("auto", "min", "max"))
        checks.check_rate(min_delta, "min_delta")
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
        self.gpus = devices.try_all_gpus()[: min(num_gpus, 1)]
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
        if hasattr(self, "_listeners"):
            raise ConfigError("This trainer is training already. Make another for a second fit().")
        self.history = History()
        self.status = "failed"  # until it has ended in another way
        self.stopped_early = self.is_stopping = False
        self.findings, self.gradients, self.postmortem = [], None, None
        try:
            checks.check_model(model)
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
                with ExitStack() as stack:
                    stack.enter_context(self._as_set())
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
            self.fit_epoch()
            self.end_epoch()
        self.take_best()

    def stop(self) -> None:
        """Ends the training after the running epoch, as patience does. A sink may ask for it."""
        self.is_stopping = True

    def fit_epoch(self) -> None:
        """One pass over the training set, then one over the validation set."""
        self.model.train()
        before = self.train_batch_idx
        for batch in self.train_dataloader:
            with self.arithmetic.autocast():
                loss = self.model.training_step(self.prepare_batch(batch))
            if not (isinstance(loss, torch.Tensor) and loss.requires_grad):
                raise ModelError(checks.useless_loss(self.model, loss))
            self._update(loss)
            self.train_batch_idx += 1
        resumed_at_its_end = self.position.batches or self.position.split == "val"
        if self.train_batch_idx == before and not resumed_at_its_end:
            raise DataError(
                f"The training set gave no batch in epoch {self.epoch + 1}. What "
                f"`train_dataloader()` returns must begin anew each time it is iterated over."
            )
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
            data: The data, whose validation set is used.

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
            data: The data, whose validation set is used; an iterable of batches, in each of which
                the labels come last; or the inputs themselves, a tensor (n, ...).

        Returns:
            The outputs for all examples, in their order: a tensor (n, ...) on the CPU.

        Raises:
            DataError: If there is nothing to predict.
            BatchError: If the data do not fit the model.
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
        together = self._batches_a_step
        an_epoch = -(-self.num_train_batches // together)
        done = self.position.epoch * an_epoch
        return done + (
            an_epoch if self.position.split == "val" else -(-self.position.batches // together)
        )

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

    @contextmanager
    def _passing(self) -> Iterator[None]:
        """While training, the loaders know where they are, and can be stopped and gone on with."""
        loaders = self.train_dataloader, self.val_dataloader
        owners = self._owners()
        if isinstance(self.model, torch.nn.Module):
            owners += self.model.modules()
        self.position = Position(owners)
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
        limit = num_batches if num_batches < len(loader) else None
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
                loader = getattr(self.train_dataloader, "loader", None)  # not its counted passes
                attempt = partial(rehearsal.try_step, self, loader, self._owners())
                stack.enter_context(execution.compiled(self.model, attempt))
            if self.deterministic:
                stack.enter_context(execution.deterministic())
            yield

    # Steps and epochs

    def _update(self, loss: torch.Tensor) -> None:
        """Adds a batch's gradients; when a group of batches is complete, takes a step."""
        in_fit = isinstance(self.train_dataloader, ResumableLoader)  # and not in the book's fit
        batch_idx = self.position.batches if in_fit else self.train_batch_idx
        batch_idx %= self.num_train_batches
        together = self.accumulate_grad_batches
        place = batch_idx % together
        size = min(together, self.num_train_batches - batch_idx + place)
        self._is_own_loop = True
        if place == 0:
            self.optim.zero_grad()
        self.arithmetic.backward(loss if size == 1 else loss / size)
        if place < size - 1:
            return
        with torch.no_grad():
            if self.gradient_clip_val > 0:
                self.arithmetic.unscale(self.optim)
                self.clip_gradients(self.gradient_clip_val, self.model)
            self.arithmetic.step(self.optim)

    def _after_batch(self, split: Split) -> None:
        """A batch was used, by whatever loop. Training may end here, and be gone on with."""
        if split == "train":
            if self._is_own_loop is None:
                self._is_own_loop = False
                self._warn_of_ignored(_SETTINGS_OF_FIT_EPOCH, "fit_epoch")
            done = self.position.batches
            if done % self._batches_a_step and done < self.num_train_batches:
                return  # gradients are waiting for more
            for schedule in self.schedules:
                schedule.end("step", self.num_steps)
        self.position.between_steps = True
        if split == "train":
            for sink in self._steppers:
                sink.end_step(self)
        self._interrupts.raise_pending()
        self.position.between_steps = False

    @property
    def _batches_a_step(self) -> int:
        return self.accumulate_grad_batches if self._is_own_loop else 1

    def end_epoch(self) -> None:
        """Closes an epoch whose batches are done: exact means, schedules, the best, the sinks."""
        weights = {
            "train": batch_sizes(self.train_dataloader),
            "val": batch_sizes(self.val_dataloader),
        }
        metrics = self.history.close_epoch(self.epoch + 1, weights)
        rate = learning_rate(self.optim) if self.schedules else None
        if rate is not None:
            metrics.append(self.history.note(self.epoch + 1, "lr", rate))
        row = self.history[-1] if metrics else {}
        for schedule in self.schedules:
            schedule.end("epoch", self.epoch + 1, row)
        if self.best.update(row) and self.keep_best:
            self.best_model = _copied(model_tensors(self.model))
        for metric in metrics:
            for sink in self._listeners:
                sink.write(metric)
        self.position.end_epoch()
        for sink in self._listeners:
            sink.end_epoch(self)
        if self.epoch + 1 < self.max_epochs:  # otherwise it finishes, and then passes it on
            self._interrupts.raise_pending()

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

    def _warn_of_unkept(self, recorder: Sequence[Sink]) -> None:
        folder = self.resumption.folder if self.resumption is not None else None
        if folder is not None and not any(s.keeps_curves for s in (*self.sinks, *recorder)):
            warn(
                f"The training goes on from {folder}, but is not kept there. Give the Trainer "
                f"run={str(folder.parent)!r} to go on in that folder.",
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
        self._listeners = [*self.sinks, *listeners]
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
        sink.close(self.status or "failed")


#: The library's own, which `add_to_class` may have replaced since.
_OWN_FIT, _OWN_FIT_EPOCH = Trainer.fit, Trainer.fit_epoch
_SETTINGS_OF_FIT = (
    *("precision", "compile", "deterministic", "limit_batches", "overfit_batches"),
    *("monitor", "mode", "patience", "min_delta", "keep_best", "sinks", "run", "watch"),
)
_SETTINGS_OF_FIT_EPOCH = ("accumulate_grad_batches", "precision")


def _copied(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in tensors.items()}


def _draws(model: Any) -> bool:
    """Whether what `model` plots comes to a board of ours; a learner may have made another."""
    return isinstance(model.board, ProgressBoard)


def _on(device: torch.device, loader: Any) -> Any:
    return loader.to(device) if isinstance(loader, TensorLoader) else loader
