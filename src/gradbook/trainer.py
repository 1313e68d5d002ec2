"""The trainer: the training loop that everything but `train_ch6` of the old chapters uses.

Book: 3.2.4 (oo-design-training), 3.4.4; clipping: 9.5; early stopping: 5.5.
"""

import os
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, cast

import torch

from gradbook import checkpoint, checks, devices, evaluation, model_files
from gradbook.asked import AskedOf
from gradbook.data import Batch, resident
from gradbook.distributed import group
from gradbook.errors import ConfigError, IgnoredSettingWarning, NotTrainedError, warn
from gradbook.execution import Precision
from gradbook.history import History
from gradbook.launched import is_launched, local_size, start_command
from gradbook.resume import snapshot
from gradbook.resume.loader import Position
from gradbook.resume.start import Resumption
from gradbook.schedules import Schedule
from gradbook.settings import Settings, warn_of_ignored
from gradbook.sharding import clip_norm
from gradbook.steps import Stepper
from gradbook.stopping import BestSoFar
from gradbook.tensors import to_device
from gradbook.training import Training

_Fit = TypeVar("_Fit", bound=Callable[..., None])


def _telling_foreign(fit: _Fit) -> _Fit:
    """Has a `fit` say where settings belong that it was given."""

    @wraps(fit)
    def telling(self: Any, *args: Any, **kwargs: Any) -> None:
        if foreign := [name for name in kwargs if name not in ("model", "data", "resume")]:
            raise ConfigError(checks.foreign_to_fit(foreign[0]))
        fit(self, *args, **kwargs)

    return cast(_Fit, telling)


class Trainer(Settings):
    """Trains models on data. One trainer may fit several models in turn.

    Any method may be replaced, in a subclass or with `add_to_class`, and is then what runs.

    Args:
        max_epochs: Passes over the training set, at least 1.
        num_gpus: Whether to use accelerators (1 or more) or the CPU (0). A process uses one; to
            use several, start as many with `torchrun`, or with the command, whose option
            `--num-gpus` takes their number. Book: 6.7, 13.5.
        gradient_clip_val: The largest norm of all gradients together, or, with the algorithm
            "value", the largest size of each element; 0 does not clip. Book: 5.3, 9.5.
        gradient_clip_algorithm: What is clipped: "norm" or "value".
        accumulate_grad_batches: The number of batches whose gradients are averaged for one update.
        optimizer: The optimizer of a model that has no `configure_optimizers` of its own: "sgd",
            "adagrad", "rmsprop", "adadelta", "adam" or "adamw", with the model's `lr`. None is
            "sgd". Book: 12.4 to 12.10.
        momentum: That of "sgd" or "rmsprop". Book: 12.6.
        weight_decay: The weight decay of any of them. Book: 3.7.
        scheduler: How the learning rate changes: "cosine" falls to 0 over the epochs, "onecycle"
            rises to `lr` and falls again, step by step, and "plateau" divides it by ten when the
            monitored value, or else the validation loss, has not improved for three epochs. None
            keeps it. Book: 12.11.
        precision: "32"; "16-mixed" or "bf16-mixed" compute the forward pass in 16 bits where the
            device can.
        deterministic: Whether to use only algorithms that give the same numbers every time.
            On the CPU a seed is enough.
        compile: Whether to compile the network with `torch.compile`, which pays in long runs.
        strategy: What each of several processes has of the model: "ddp", all of it; or "fsdp", a
            part of every parameter, for a model that does not fit on a device. One process has all.
        sync_batchnorm: Whether BatchNorm layers normalize the rows of all processes together,
            where several train on a batch. Only accelerators can.
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
        yscale: The vertical axis of the curves: "linear", "log", or "auto", which is "log" where
            losses span decades. None leaves the choice to the model's board, which has "auto".
        sinks: Further places that are told every recorded value.
        run: A folder for runs, such as "runs", or a `gradbook.runs.Run`: keeps settings, values,
            checkpoints and curves in a new folder there. None writes nothing.
        watch: "gradients" also samples the gradients, weights and activations of each layer, and
            warns when gradients vanish or explode, or units die or saturate; "boundary" draws what
            the model makes of every input, where there are one or two; "weights" keeps the first
            layer's weights as images, epoch by epoch. A list asks for several.

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
        reports: What each watcher saw, by its name in `watch`.
        gradients: With `watch="gradients"`, a `gradbook.watching.GradientReport`, or None.
        postmortem: If the training diverged, or a validation loss was NaN or infinite, a
            `gradbook.watching.PostMortem`, or None.
    """

    # Defaults of the class, because the book replaces `__init__` by one that knows only its own.
    gpus: Sequence[torch.device] = ()
    #: The training that runs, or the last one.
    training: Training | None = None
    #: What takes the steps: see `gradbook.steps`.
    stepper_class: ClassVar[type[Stepper]] = Stepper

    history = AskedOf[History]("training")
    best = AskedOf[BestSoFar]("training")
    schedules = AskedOf[list[Schedule]]("training")
    status = AskedOf[str | None]("training", None)
    stopped_early = AskedOf[bool]("training", False)
    is_stopping = AskedOf[bool]("training", False)
    findings = AskedOf[Sequence[str]]("training", ())
    postmortem = AskedOf[Any]("training", None)
    resumption = AskedOf[Resumption | None]("training", None)
    position = AskedOf[Position]("training", Position())

    # What `fit` sets when it begins.
    model: Any
    data: Any
    optim: Any
    epoch: int
    train_batch_idx: int
    val_batch_idx: int
    train_dataloader: Any
    val_dataloader: Any
    num_train_batches: int
    num_val_batches: int

    def _settled(self) -> None:
        super()._settled()
        if is_launched():
            self._check_one_for_each()
        self.gpus = [group().device()] if self.num_gpus and devices.num_gpus() else []
        if not is_launched() and self.num_gpus > len(self.gpus):
            if devices.num_gpus() >= self.num_gpus:
                reason = "a process trains on one"
            else:
                reason = f"this machine offers {devices.num_gpus()} to PyTorch"
            instead = self.gpus[0] if self.gpus else "the CPU"
            command = ""
            if devices.num_gpus() > 1:
                command = f" To train on several, {start_command(devices.num_gpus())}."
            warn(
                f"num_gpus={self.num_gpus}, but {reason}. Training on {instead}.{command}",
                IgnoredSettingWarning,
            )
        if Trainer.fit is not _OWN_FIT:
            warn_of_ignored(self, "fit")

    @property
    def shards(self) -> bool:
        """Whether each process holds a part of every parameter."""
        return self.strategy == "fsdp" and is_launched()

    def _check_one_for_each(self) -> None:
        """Looks, in one of several processes, whether there are as many accelerators."""
        needed, offered = local_size(), devices.num_gpus()
        if self.num_gpus and not offered:
            warn(
                f"num_gpus={self.num_gpus}, but this machine offers 0 to PyTorch. Training on the "
                f"CPU.",
                IgnoredSettingWarning,
            )
        elif self.num_gpus and needed > offered:
            raise ConfigError(
                f"{needed} processes were started on this machine, which offers {offered} GPUs to "
                f"PyTorch, and each needs one of its own. Start as many as there are, or train on "
                f"the CPU with num_gpus=0."
            )

    def __repr__(self) -> str:
        name, training = type(self).__name__, self.training
        if training is None:
            return (
                f"{name}: max_epochs={getattr(self, 'max_epochs', None)}, has trained nothing yet"
            )
        return f"{name}: {training!r}"

    if not TYPE_CHECKING:  # or no misspelled attribute would be found

        def __getattr__(self, name: str) -> Any:
            Class = type(self).__name__
            if name not in (*Trainer.__annotations__, "history", "best", "schedules"):
                raise AttributeError(
                    f"{Class!r} object has no attribute {name!r}", name=name, obj=self
                )
            why = "this trainer has trained nothing"
            if self.training is not None:
                why = "its last training has not come to a first step"
            raise NotTrainedError(
                f"{Class}.{name} is not known yet, because {why}. Call `trainer.fit(model, data)` "
                f"first.",
                name=name,
                obj=self,
            )

    # What the book's readers replace

    def prepare_data(self, data: Any) -> None:
        """Asks `data` for the minibatches of both sets and counts them."""
        self.train_dataloader = data.train_dataloader()
        self.val_dataloader = data.val_dataloader()
        checks.check_loaders(data, self.train_dataloader, self.val_dataloader)
        if self.gpus:
            loaders = self.train_dataloader, self.val_dataloader
            self.train_dataloader, self.val_dataloader = resident(loaders, self.gpus[0])
        self.num_train_batches = len(self.train_dataloader)
        self.num_val_batches = len(self.val_dataloader) if self.val_dataloader is not None else 0

    def prepare_model(self, model: Any) -> None:
        """Introduces the model to this trainer and moves it to the device."""
        model.trainer = self
        model.board.xlim = [0, self.max_epochs]
        if self.gpus and not self.shards:  # each process moves its part
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
            data: A DataModule. Or inputs and labels, `(X, y)`, a data set of PyTorch, or
                minibatches such as a DataLoader, for training alone; or two of these,
                `(train, val)`. See `gradbook.data.GivenData`.
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
        with Training(self, model, data, resume) as training:
            training.run()

    def fit_epoch(self) -> None:
        """One pass over the training set, then one over the validation set."""
        stepper, loss = self.stepper, None
        self.model.train()
        stepper.begin()
        for batch in self.train_dataloader:
            with stepper.autocast():
                loss = self.model.training_step(self.prepare_batch(batch))
            stepper.add(loss)
            self.train_batch_idx += 1
        stepper.finish(loss)
        if self.val_dataloader is None:
            return
        self.model.eval()
        with torch.no_grad(), stepper.autocast():
            for batch in self.val_dataloader:
                self.model.validation_step(self.prepare_batch(batch))
                self.val_batch_idx += 1

    def clip_gradients(self, grad_clip_val: float, model: Any) -> None:
        """Clips the gradients: their global norm, or each element, to at most `grad_clip_val`.

        Book: 9.5.3 (sec_rnn-scratch).
        """
        if self.gradient_clip_algorithm == "value":
            one_by_one = False if self.shards else None  # some may be in parts
            torch.nn.utils.clip_grad_value_(model.parameters(), grad_clip_val, one_by_one)
        elif self.shards:
            clip_norm(model.parameters(), grad_clip_val)
        else:
            torch.nn.utils.clip_grad_norm_(model.parameters(), grad_clip_val)

    def stop(self, reason: str = "", within_epoch: bool = False) -> None:
        """Ends the training after the running epoch, as patience does. A sink may ask for it.

        Args:
            reason: Why it is over for good, which one is told who resumes it. Without a reason it
                can be resumed.
            within_epoch: Whether no further batch is trained on; the epoch's validation is done.
        """
        if self.training is not None:
            self.training.stop(reason, within_epoch)

    # Without training

    def validate(self, model: Any, data: Any) -> dict[str, float]:
        """The exact means over the validation set of what `validation_step` plots.

        Nothing is drawn or recorded, and the model stays as it is.

        Args:
            model: The model.
            data: A DataModule, whose validation set is used, or what `fit` takes; a single set is
                the one that is looked at.

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
        training = self._begun()
        training.check_whole()
        if not training.position.between_steps:
            raise ConfigError(
                "A checkpoint can be saved between two steps, as in a sink's end_step or "
                "end_epoch, but this training is within one, or was ended there."
            )
        snapshot.warn_of_unkept(training.position)
        checkpoint.save(Path(path), snapshot.take(training))

    def save_model(
        self, path: "str | os.PathLike[str]", which: Literal["best", "last"] | None = None
    ) -> None:
        """Writes the model that was trained in one file, for `gradbook.load_model`.

        Args:
            path: The file, such as "mlp.pt".
            which: Whose parameters: those of the "best" epoch, which are known with
                `keep_best=True` and of a training that keeps a run; or of the "last". None takes
                what the model has now: those of its last epoch, or with `keep_best=True` of its
                best.

        Raises:
            ConfigError: If nothing was trained yet, or the best epoch's were not kept.
            StorageError: If the file cannot be written.
        """
        checks.check_choice(which or "best", "which", ("best", "last"))
        training = self._begun()
        training.check_whole()
        tensors = training.best_tensors() if which == "best" else None
        if which == "last":
            tensors = training.last_model
        model_files.save_model(self.model, path, data=self.data, tensors=tensors)

    def _begun(self) -> Training:
        if self.training is None or not hasattr(self.training, "best"):
            raise ConfigError("There is nothing to save yet. Call fit(model, data) first.")
        return self.training

    # Of the training, for those who look at it

    @property
    def stepper(self) -> Stepper:
        """What takes the steps: the training's; without one, as in the book's `fit`, a new one."""
        if self.training is not None:
            return self.training.stepper
        return self.stepper_class(self, Precision("32", self.device))

    @property
    def arithmetic(self) -> Precision:
        """How losses and gradients are computed."""
        return self.stepper.arithmetic

    @property
    def keeps_curves(self) -> bool:
        """Whether one of the sinks leaves the curves in files."""
        sinks = () if self.training is None else self.training.listeners
        return any(sink.keeps_curves for sink in sinks)

    @property
    def reports(self) -> dict[str, Any]:
        """What each watcher saw, by its name in `watch`."""
        return {} if self.training is None else self.training.reports

    @property
    def gradients(self) -> Any:
        """What was seen of the gradients, or None."""
        return self.reports.get("gradients")

    @property
    def num_steps(self) -> int:
        """The updates of the optimizer since the training began."""
        return self.position.steps

    @property
    def device(self) -> torch.device:
        """Where the training runs."""
        return self.gpus[0] if self.gpus else devices.cpu()


#: The library's own, which `add_to_class` may have replaced since.
_OWN_FIT = Trainer.fit
