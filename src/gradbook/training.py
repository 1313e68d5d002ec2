"""A training: the live object between the begin of `Trainer.fit` and its end.

The trainer says how, with its settings and with what the book's readers replace; what a training
has come to, who is told of it, and how it is begun, stopped and ended is here.
"""

import copy
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gradbook import checkpoint, checks, counting, double_softmax, preparation, untrained
from gradbook.alone import alone
from gradbook.board import ProgressBoard, draws_on_ours
from gradbook.data import as_data, giving_copies, inmost
from gradbook.distributed import Group, group
from gradbook.errors import ConfigError, IgnoredSettingWarning, warn
from gradbook.escape import printable
from gradbook.execution import Precision
from gradbook.history import History
from gradbook.interrupts import Interrupts, interruptible
from gradbook.labels import is_loss
from gradbook.lookalikes import copied_model, layers_of, model_tensors, trained_tensors
from gradbook.near_misses import check_signatures, warn_of_near_misses
from gradbook.parts import whole
from gradbook.record import Sink, tell
from gradbook.resume import snapshot
from gradbook.resume.loader import Position, ResumableLoader, Split, check_begins_anew, weights_of
from gradbook.resume.setup import begun_from, describe_beginning, describe_setup, form_of
from gradbook.resume.start import Resumption
from gradbook.schedules import Schedule, learning_rate, note_a_step, read_optimizers
from gradbook.seeds import random_state, restore_random_state
from gradbook.settings import warn_of_ignored
from gradbook.sharding import Sharding, check_offered, wholes
from gradbook.stopping import BestSoFar
from gradbook.untrusted import inside
from gradbook.upward import above

if TYPE_CHECKING:
    from gradbook.trainer import Trainer


class Training:
    """One training of a model, from its begin to its end.

    It is a context: entered, all is prepared; left, in whatever way, all is closed.

        with Training(trainer, model, data) as training:
            training.run()

    Args:
        trainer: How it is done.
        model, data, resume: As for `Trainer.fit`.
        interrupts: What keeps Ctrl-C waiting, if several trainings share it.

    Attributes:
        history, best, status, stopped_early, findings, reports, postmortem: See `Trainer`, which
            asks for them here.
        kept_reports: The state of each report in the checkpoint that it is resumed from.
        stop_reason: Why it is to end after the running epoch; empty while it is not.
        position: How far it has come.
        schedules: The learning-rate schedules.
        stepper: What takes the steps of the library's own loop.
        resumption: Where it goes on from, if it does.
        group: The processes that train together.
        sharding: What has each of them hold a part of the model; None if each has all of it.
        launch: What tells it from all others, also when all of these are started again.
        begun_from: A checksum of what it began with, where a run is kept; or "a checkpoint".
        listeners: The sinks that are told what happens, while it runs.
        recorder: That of them which keeps a run, if any, also afterwards.
        told_of_steps: Those of them that are told of every step.
        best_model, last_model: The parameters of the best epoch, and those of the last where the
            model ends with the best.
        interrupts: What keeps Ctrl-C waiting.
    """

    best: BestSoFar
    schedules: list[Schedule]

    def __init__(
        self,
        trainer: "Trainer",
        model: Any,
        data: Any,
        resume: Any = None,
        interrupts: Interrupts | None = None,
    ) -> None:
        self.trainer, self.model, self.data = trainer, model, data
        self._resume, self._has_own_interrupts = resume, interrupts is None
        self.group: Group = group()
        self.sharding: Sharding | None = None
        self.interrupts = interrupts or Interrupts(
            terminations=trainer.run is not None, is_patient=self.group.size > 1
        )
        self.history = History()
        self.status: str | None = "failed"  # until it has ended in another way
        self.stopped_early = False
        self.is_stopping = False
        self.stop_reason = ""
        self.findings: Sequence[str] = []
        self.reports: dict[str, Any] = {}
        self.kept_reports: Mapping[str, Any] = {}
        self.postmortem: Any = None
        self.resumption: Resumption | None = None
        self.launch: str | None = None
        self.begun_from: str | None = None
        self.position = Position()
        self.stepper = trainer.stepper_class(trainer, Precision("32", trainer.device))
        self.listeners: list[Sink] = []
        self.recorder: Sequence[Sink] = ()
        self.told_of_steps: list[Sink] = []
        self.best_model: dict[str, torch.Tensor] | None = None
        self.last_model: dict[str, torch.Tensor] | None = None
        # Set by `_prepare`: the loaders with all their batches, and what steps will change.
        self._whole: tuple[Any, Any] = (None, None)
        self._beginning: dict[str, Any] = {}
        self._process = os.getpid()  # others, forked from it, leave the sinks alone
        self._is_loop_known = False  # until a batch was used
        self._setup: dict[str, Any] | None = None
        self._begun: Any = None  # the training set's first pass, where a look has begun it
        self._context: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """A copy of a model that trains has a copy of this, and no part in how it ends."""
        return {**vars(self), "_context": None, "recorder": ()}

    # Begin and end

    def __enter__(self) -> "Training":
        context = self._opened()
        context.__enter__()
        self._context = context
        return self

    def __exit__(self, *raised: Any) -> None:
        context, self._context = self._context, None
        context.__exit__(*raised)

    @contextmanager
    def _opened(self) -> Iterator[None]:
        trainer, model = self.trainer, self.model
        early = interruptible("Interrupted before the first step.")
        with early, alone(trainer, model, self._leave_to_parent):
            trainer.training = self
            try:
                checks.check_model(model, self.data)
                check_signatures(model, self.data, trainer)
                warn_of_near_misses(model, self.data, trainer)
                is_drawn = draws_on_ours(model)
                is_shown = is_drawn and self.group.speaks
                display = model.board.choose_display(trainer.display) if is_shown else Sink()
                recorder = self._recorder()
                self.launch = self.group.next_launch()
                self.resumption = self._resumed(recorder)
                if is_drawn and model.board.trained:
                    model.board.clear()  # a new curve, not a line back to zero
                if is_drawn and trainer.yscale is not None:
                    model.board.yscale = trainer.yscale
                if recorder:
                    is_new = self.resumption is None
                    self.begun_from = begun_from(model) if is_new else "a checkpoint"
                if self.group.size > 1:
                    restore_random_state(self.group.shared(random_state()))
                with ExitStack() as stack:
                    self._prepare(partial(self._shard, stack))
                    preparation.warn_of_unkept(self, [*trainer.sinks, *recorder])
                    stack.enter_context(self._passing())
                    self._align()
                    self._take_up(recorder)
                    if self.sharding is None:
                        stack.enter_context(self._normalizing())
                    stack.enter_context(preparation.computed_as_set(trainer))
                    if self.sharding is None:  # whose losses depend on what was gathered
                        told = untrained.told(model, trainer.optim, double_softmax.tell)
                        stack.enter_context(told)
                    if self._has_own_interrupts:
                        stack.enter_context(self.interrupts)
                    # What ends first has told all when the last sums the training up.
                    ending = above("runs.ending").Ending(display, [*trainer.sinks, *recorder])
                    watchers: list[Sink] = above("watching").watchers(trainer.watch)
                    opened = [*trainer.sinks, ending, *recorder, *watchers, display]
                    if self.sharding is not None:  # no rank can look at, or copy, the model alone
                        opened = [each for each in opened if each not in watchers]
                        watchers = []
                    if not self.group.speaks:
                        opened, watchers = [], []
                    # A checkpoint has what the watchers saw: they come before who takes one. The
                    # first, which looks for a divergence, sees what the sinks have done.
                    heard = [*watchers[1:], *trainer.sinks, *watchers[:1]]
                    self.listeners = [*heard, ending, display, *recorder] if opened else []
                    self.recorder = recorder
                    self._keep_parts_of(recorder)
                    stack.enter_context(self._recording(opened))
                    parameters = list(trained_tensors(model, trainer.optim).values())
                    stack.enter_context(self.group.training(parameters, model))
                    yield
            except KeyboardInterrupt:
                if self.status == "failed":  # and had not come to its end just before
                    self.status = "interrupted"
                raise

    def _prepare(self, shard: Callable[[], None]) -> None:
        trainer = self.trainer
        trainer.data = self.data = as_data(self.data)
        trainer.prepare_data(self.data)
        trainer.prepare_model(self.model)
        self._whole = trainer.train_dataloader, trainer.val_dataloader
        preparation.limit_batches(trainer)
        trainer.epoch = trainer.train_batch_idx = trainer.val_batch_idx = 0
        returned, self._begun = preparation.configured(trainer, shard)
        trainer.optim, self.schedules = read_optimizers(returned, self.model)
        preparation.check_needs_no_closure(trainer)
        self.stepper.arithmetic = preparation.arithmetic_of(trainer)
        # As they are before the first step, which changes rates and counts.
        self._beginning = describe_beginning(self.model, trainer.optim, self.schedules)
        if self.sharding is not None:
            self.sharding.check_optimizer(trainer.optim)
        self.best = BestSoFar(trainer.monitor, trainer.mode, trainer.min_delta, trainer.patience)

    @contextmanager
    def _passing(self) -> Iterator[None]:
        """While training, the loaders know where they are, and can be stopped and gone on with."""
        trainer, model = self.trainer, self.trainer.model
        loaders = train, val = trainer.train_dataloader, trainer.val_dataloader
        owners = [*preparation.owners_of(trainer), *layers_of(model)]
        steppers = trainer.optim, *(schedule.scheduler for schedule in self.schedules)
        # Running until the first epoch begins.
        self.position = Position(owners, running=self, elsewhere=steppers)
        self.position.group = self.group
        self.position.weigh = getattr(trainer.model, "loss_weight", None)
        self.position.counted = {"train": trainer.num_train_batches, "val": trainer.num_val_batches}
        begun, self._begun = self._begun, None
        first = train if begun is None else begun
        trainer.train_dataloader = self._pass(first, "train", trainer.num_train_batches)
        if val is not None:
            trainer.val_dataloader = self._pass(val, "val", trainer.num_val_batches)
        try:
            yield
        finally:
            trainer.train_dataloader, trainer.val_dataloader = loaders

    def _pass(self, loader: Any, split: Split, num_batches: int) -> ResumableLoader:
        limit = self.trainer.limit_batches
        if limit is not None:  # also where the loader says that it has fewer
            limit = num_batches if limit < 1 else int(limit)
        return ResumableLoader(giving_copies(loader), split, self.position, limit, self.end_batch)

    def _resumed(self, recorder: Sequence[Sink]) -> Resumption | None:
        """Where it goes on from, if it does: the first rank reads it for all.

        All ranks start anew when one was lost, and go on with the run that they had begun.
        """
        resume, found = self._resume, None
        if self.group.num_restarts and recorder:
            begun = above("runs.recorder").begun_by(recorder[0], self.launch)
            resume = resume if begun is None else begun
        if resume is not None and self.group.speaks:
            place: Any = getattr(self.trainer.run, "root", self.trainer.run)
            place = None if place is None else Path(place)
            found = Resumption.of(resume, place, is_whole=not self.trainer.shards)
        state = self.group.shared(None if found is None else found.state)
        return Resumption(state) if found is None and state is not None else found

    def _align(self) -> None:
        """Gives all ranks the first one's beginning, where they have the same model and data."""
        if self.group.size > 1:
            described = {n: v for n, v in self.setup.items() if n != "place"}
            # Of which a training that is resumed may have more.
            self.group.check_same({**described, "max_epochs": self.trainer.max_epochs})
            if self.sharding is None:
                self.group.align(model_tensors(self.trainer.model).values())
            self.group.seed = self.group.shared(torch.initial_seed())

    # Sharded models

    def _shard(self, stack: ExitStack) -> None:
        """Has each rank hold a part of every parameter until the stack ends, if that is wanted."""
        trainer, model = self.trainer, self.trainer.model
        if not trainer.shards:
            return
        check_offered(trainer)
        tensors = model_tensors(model)
        self.group.check_same({"the model": {name: form_of(t) for name, t in tensors.items()}})
        self.group.align(tensors.values())
        stack.enter_context(self._normalizing())
        stack.enter_context(self._sharded())

    @contextmanager
    def _sharded(self) -> Iterator[None]:
        model, device = self.trainer.model, self.trainer.device
        with self.group.sharding(model, device, self._make_kept_whole) as self.sharding:
            yield
        self.sharding = None

    def _make_kept_whole(self) -> None:
        self.best_model, self.last_model = wholes(self.best_model), wholes(self.last_model)

    def _normalizing(self) -> AbstractContextManager[None]:
        trainer = self.trainer
        return self.group.normalizing(trainer.model, trainer.sync_batchnorm, trainer.device)

    def _keep_parts_of(self, recorder: Sequence[Sink]) -> None:
        """From now on, checkpoints of a sharded model have the parts of all ranks."""
        if self.sharding is None or self.trainer.run is None:
            return
        kept: list[Any] = [run for run in recorder if hasattr(run, "prepare")]
        for run in kept:  # on the first rank
            run.prepare(self.trainer)
        if self.group.shared(bool(kept)):
            self.sharding.keep_in((lambda: kept[0].folder / "checkpoints") if kept else None)
        self._keep_parts()

    def _keep_parts(self) -> None:
        """Writes what each rank holds of a sharded model, for the checkpoint that follows."""
        if self.sharding is not None and self.sharding.is_kept:
            # An attribute, too, may have tensors in parts, as a second optimizer has.
            state = {**snapshot.tensors_of(self), **snapshot.sources_of(self.position)}
            self.sharding.keep(state)

    def check_whole(self) -> None:
        """Raises ConfigError while this process has only a part of the model."""
        if self.sharding is not None:
            raise ConfigError(
                'With strategy="fsdp", a process has only its part of the model while it trains. '
                "Save it after `fit`, or keep a run: Trainer(run='runs') writes checkpoints "
                "meanwhile, and Run('runs', every_n_steps=100) also within an epoch."
            )

    def settle(self) -> None:
        """Makes whole what the ranks have in parts, or writes the parts; all have to be here."""
        if self.group.size == 1:
            return
        self.group.settle()
        self._keep_parts()
        meters = [self.history.meters]
        if draws_on_ours(self.trainer.model):
            meters.append(self.trainer.model.board.windows)
        for meter in chain.from_iterable(kept.values() for kept in meters):
            meter.read()

    def _take_up(self, recorder: Sequence[Sink]) -> None:
        """Goes on from where it is to be resumed, and looks at what is to come."""
        trainer = self.trainer
        if self.resumption is not None:
            snapshot.put_back(self.resumption.state, self)
            preparation.check_left_to_do(self)
            preparation.warn_of_counters(self)
        if recorder:
            snapshot.warn_of_unkept(self.position)
        if trainer.max_epochs - self.position.epoch > 1:
            for passes in (trainer.train_dataloader, trainer.val_dataloader):
                check_begins_anew(inmost(passes))
        preparation.check_planned(self)

    # Epochs and steps

    def __repr__(self) -> str:
        model, data = (type(getattr(self.trainer, n, None)).__name__ for n in ("model", "data"))
        status = "running" if self.listeners else self.status
        epochs = f"{len(self.history)} of {self.trainer.max_epochs} epochs"
        text = f"{model} on {data}, {status}, {epochs}"
        if getattr(self, "best", None) is not None and self.best.value is not None:
            text += f", best {self.best.label} {self.best.value:.4g} in epoch {self.best.epoch}"
        return printable(text)

    def run(self) -> None:
        """The epochs that are left, while it is open."""
        for epoch in range(self.position.epoch, self.trainer.max_epochs):
            if self.is_over:
                self.stopped_early = True
                break
            self.begin_epoch(epoch)
            self.trainer.fit_epoch()
            self.end_epoch()
        self.take_best()

    def stop(self, reason: str, within_epoch: bool = False) -> None:
        """Ends it after the running epoch.

        Args:
            reason: Why it is over for good, for one who resumes it, as "max_steps is 100".
            within_epoch: Whether no further batch is trained on; the validation is still done.
        """
        self.is_stopping, self.stop_reason = True, reason
        if within_epoch:
            self.group.ask_to_cut(self.position)

    @property
    def is_over(self) -> bool:
        """Whether it ends before `max_epochs` here, between two epochs."""
        is_within = self.position.resumed is not None  # an epoch that is to be finished
        return self.best.is_spent or (self.is_stopping and not is_within)

    def begin_epoch(self, epoch: int) -> None:
        """The next epoch begins; `epoch` counts from 0."""
        self.trainer.epoch = epoch
        self.position.begin_epoch()

    def end_batch(self, split: Split) -> None:
        """A batch was used, by whatever loop. Training may end here, and be gone on with."""
        if split == "val":
            self._between_steps()
            return
        if not self._is_loop_known:
            self._is_loop_known = True
            if not self.stepper.is_used:
                warn_of_ignored(self.trainer, "fit_epoch")
        if self.position.batches > self.trainer.num_train_batches:
            counting.count(self, "train", self.position.batches)
        if not self.stepper.waiting:  # otherwise gradients are waiting for more
            self.end_step()

    def end_step(self) -> None:
        """An update was taken: schedules, and the sinks that are told of every step."""
        self.position.steps += 1
        for schedule in self.schedules:
            schedule.end("step", self.position.steps)
        self._between_steps(self.told_of_steps)

    def _between_steps(self, told: Sequence[Sink] = ()) -> None:
        if self.position.split == "train":  # others go on to the end of their pass
            self.group.complete()
        if self.sharding is not None:
            self.sharding.kept = None  # the parts are others by now
        self.position.between_steps = True
        every_n = getattr(self.trainer.run, "every_n_steps", None)
        if every_n and self.position.split == "train" and self.position.steps % every_n == 0:
            self._keep_parts()
        if told:
            with self.group.aside():
                for sink in told:
                    sink.end_step(self.trainer)
        self.group.heed(self.interrupts, self)
        self.position.between_steps = False

    def end_epoch(self) -> None:
        """Closes an epoch whose batches are done: exact means, schedules, the best, the sinks."""
        trainer, history = self.trainer, self.history
        counting.recount(self)
        sizes, epoch = self.position.sizes, trainer.epoch + 1
        weights = {
            "train": weights_of(trainer.train_dataloader, sizes["train"], history.meters, "train_"),
            "val": weights_of(trainer.val_dataloader, sizes["val"], history.meters, "val_"),
        }
        metrics = history.close_epoch(epoch, weights)
        rate = learning_rate(trainer.optim) if self.schedules else None
        if rate is not None:
            metrics.append(history.note(epoch, "lr", rate))
        row = history[-1] if metrics else {}
        is_broken = False
        if history.diverged is None:
            history.diverged = self._what_broke(row)
            is_broken = history.diverged is not None
        for schedule in self.schedules:
            schedule.end("epoch", epoch, row)
        # Parameters that are no numbers are not the best, whatever was measured before they broke.
        seen = dict.fromkeys(row, math.nan) if is_broken else row
        if self.best.update(seen) and trainer.keep_best:
            self.best_model = _copied(model_tensors(trainer.model))
        for metric in metrics:
            tell(self.listeners, metric)
        self.position.end_epoch()
        self.settle()
        with self.group.aside():
            for sink in self.listeners:
                sink.end_epoch(trainer)
        reason = self.group.first_of(self.stop_reason if self.is_stopping else None)
        self.is_stopping, self.stop_reason = reason is not None, reason or ""
        if epoch < trainer.max_epochs:  # otherwise it finishes, and then passes it on
            self.group.heed(self.interrupts, self, is_epoch_over=True)

    def _what_broke(self, row: Mapping[str, float]) -> str | None:
        """What is NaN or infinite at the end of an epoch of finite training losses, or None."""
        where = f"at the end of epoch {self.trainer.epoch + 1}"
        for name, parameter in trained_tensors(self.trainer.model, self.trainer.optim).items():
            if parameter.layout == torch.strided and not whole(parameter.isfinite().all()):
                return f"the parameter {name} {where}"
        loss = self.stepper.last_loss
        is_plotted = any(is_loss(label) and not label.startswith("val_") for label in row)
        if loss is not None and not is_plotted and not loss.isfinite().all():
            return f"the training loss {where}"
        return None

    def take_best(self) -> None:
        """Gives the model the parameters of its best epoch, where that is wanted."""
        model = self.trainer.model
        if not self.trainer.keep_best:
            return
        if self.best_model is None:
            warn(
                "keep_best=True, but no epoch has a finite value to know the best one by. The "
                "model keeps the parameters of the last.",
                IgnoredSettingWarning,
            )
            return
        # A checkpoint that is saved later goes on from these.
        self.last_model = _copied(model_tensors(model))
        snapshot.load_parameters(model, self.best_model)

    def best_tensors(self) -> Mapping[str, torch.Tensor]:
        """The parameters and buffers of the best epoch; raises ConfigError if none are kept."""
        if self.best_model is not None:
            return self.best_model
        for folder in (getattr(sink, "folder", None) for sink in self.recorder):
            path = None if folder is None else inside(folder, "checkpoints/best.pt")
            if path is not None and path.exists():
                tensors: Mapping[str, torch.Tensor] = checkpoint.load(path)["model"]
                return tensors
        raise ConfigError(
            "The parameters of the best epoch were not kept. Train with Trainer(keep_best=True), "
            "or with run='runs'; or save those that the model has now: save_model(path)."
        )

    # An epoch elsewhere, and a copy

    def lend_epoch(self, epoch: int) -> None:
        """The next epoch begins, and somebody else computes it; until `record_epoch` has it."""
        self.trainer.epoch = epoch
        self.position.between_steps = False

    def record_epoch(
        self, losses: Sequence[float], validated: Mapping[str, Sequence[float]]
    ) -> None:
        """Takes an epoch that somebody else computed as if its steps had been taken here.

        Args:
            losses: The training loss of each batch.
            validated: What the validation gave of each batch, by label, such as "val_loss".
        """
        trainer, model = self.trainer, self.trainer.model
        begin, n = trainer.train_batch_idx, trainer.num_train_batches
        model.board.xlabel = "epoch"
        xs = [(begin + i) / n for i in range(len(losses))]
        model.board.draw_many(xs, losses, "train_loss", int(n / model.plot_train_per_epoch))
        trainer.train_batch_idx += len(losses)
        self.position.steps += len(losses)
        for label, ys in validated.items():
            every_n = int(trainer.num_val_batches / model.plot_valid_per_epoch)
            xs = [float(trainer.epoch + 1)] * len(ys)
            model.board.draw_many(xs, ys, label, every_n)
        trainer.val_batch_idx += max(map(len, validated.values()), default=0)
        self._is_loop_known = True
        if self.schedules:
            note_a_step(trainer.optim)
        self.end_epoch()

    def fork(self) -> "Training":
        """A copy that can go on from here as this one will, and tells nobody.

        Its model is a copy; the data are the same. Its history is empty, and its optimizer is as
        new: `snapshot.put_back` gives it a state.

        Raises:
            TypeError: If a method was replaced on the trainer itself, which has no copy.
        """
        trainer = self.trainer
        if any(getattr(value, "__self__", None) is trainer for value in vars(trainer).values()):
            raise TypeError("a method was replaced on the trainer itself, and not on its class")
        model, board = trainer.model, ProgressBoard(display=False)
        fork, copied = copy.copy(self), copy.copy(trainer)
        known: dict[int, Any] = {id(trainer): copied, id(model.board): board, id(self): fork}
        known |= {id(value): value for value in (trainer.data, *self.position.generators)}
        copied.training, copied.keep_best = fork, False
        copied.model = fork.model = again = copied_model(model, known)
        again.trainer, again.board = copied, board
        copied.optim, fork.schedules = read_optimizers(again.configure_optimizers(), again)
        owners = [known.get(id(owner), owner) for owner in self.position.owners]
        fork.trainer, fork.position = copied, Position(owners)
        fork.history, fork.best = History(), copy.deepcopy(self.best)
        fork.listeners = fork.told_of_steps = []
        fork.group, fork.sharding = Group(), None
        arithmetic = self.stepper.arithmetic
        if arithmetic.scaler is not None:
            arithmetic = Precision(trainer.precision, trainer.device)
        fork.stepper = type(self.stepper)(copied, arithmetic)
        for split in ("train", "val"):
            loader = getattr(trainer, f"{split}_dataloader")
            if loader is not None:
                passes = ResumableLoader(
                    loader.loader, split, fork.position, loader.limit, fork.end_batch
                )
                setattr(copied, f"{split}_dataloader", passes)
        board.history, board.sinks, board.trained = fork.history, [], True
        return fork

    # Who is told

    def _recorder(self) -> list[Sink]:
        """The sink that keeps a run, if one is wanted."""
        run = self.trainer.run
        if run is None or not self.group.speaks:
            return []
        return [run if isinstance(run, Sink) else above("runs.recorder").Run(run)]

    @contextmanager
    def _recording(self, opened: Sequence[Sink]) -> Iterator[None]:
        """Opens every sink in this order, and closes all in the opposite, whatever happens."""
        trainer, model = self.trainer, self.trainer.model
        board = model.board
        self._process = os.getpid()
        self.told_of_steps = [s for s in self.listeners if type(s).end_step is not Sink.end_step]
        self.history.open(board, trainer)
        if draws_on_ours(model):
            board.history, board.sinks, board.trained = self.history, self.listeners, True
        with ExitStack() as closing:
            try:
                for sink in opened:
                    # Unwound from the last: every sink is closed, even when the one before it
                    # fails, or Ctrl-C comes while it opens.
                    closing.callback(self._close, sink)
                    with self.group.aside():
                        sink.open(board, trainer)
                snapshot.put_reports_back(self)
                yield
                self.status = "diverged" if self.history.diverged else "finished"
            except KeyboardInterrupt:
                self.status = "interrupted"
                raise
            finally:
                # A display may hold a thread, which could not be copied with the model.
                self.listeners = self.told_of_steps = []
                if draws_on_ours(model):
                    try:
                        if self.status in ("interrupted", "failed") and not self.group.is_broken:
                            board.flush()  # what came since the last point is not lost
                    finally:
                        board.history = board.sinks = None

    def _close(self, sink: Sink) -> None:
        if os.getpid() == self._process:  # in one that was forked, all belongs to its parent
            sink.close(self.status or "failed")

    def _leave_to_parent(self) -> None:
        """Tells nothing more to anybody, in a process that was forked while this trains."""
        self.listeners.clear()
        self.told_of_steps.clear()

    # Its state

    @property
    def setup(self) -> dict[str, Any]:
        """What the result depends on besides the state: classes, settings, a look at the data."""
        if self._setup is None:
            self._setup = describe_setup(self.trainer, self._whole, self._beginning)
        return self._setup


def _copied(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in tensors.items()}
