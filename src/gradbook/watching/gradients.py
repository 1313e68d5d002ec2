"""Watching the gradients, weights and activations of each layer while a model trains.

A few steps of each epoch are looked at. Nothing hangs on the model in the others, so they cost
what they cost without a watcher. Book: 5.4.1 (sec_numerical_stability).
"""

from typing import TYPE_CHECKING

from gradbook.checks import check_whole_number
from gradbook.errors import ConfigError, GradbookWarning, IgnoredSettingWarning, warn
from gradbook.record import Sink
from gradbook.resume.loader import batch_sizes
from gradbook.watching.gradient_means import summarize
from gradbook.watching.gradient_report import GradientReport
from gradbook.watching.layers import layers_of, modules_held
from gradbook.watching.sampled_step import SampledStep

if TYPE_CHECKING:
    from gradbook.board import ProgressBoard
    from gradbook.trainer import Trainer

#: At most so many steps of an epoch are sampled, and at most one in so many; but always one at its
#: end.
MOST_SAMPLES, DENSEST = 8, 24


class GradientWatcher(Sink):
    """Samples a training, and leaves a `GradientReport` in `trainer.reports["gradients"]`.

    `Trainer(watch="gradients")` makes one. What is wrong is said in a warning when the training
    is over, and added to `trainer.findings`. The training itself is not changed by a bit.

    Args:
        every_n_steps: Sample each epoch's first step, and then one in so many. None takes up to
            8 steps spread over the epoch, at most one in 24; its last step is always one, unless
            its batch is less than half as large as the others, and the first of the training.

    Attributes:
        report: What was seen, epoch by epoch.
    """

    def __init__(self, every_n_steps: int | None = None) -> None:
        if every_n_steps is not None:
            check_whole_number(every_n_steps, "every_n_steps", at_least=1)
        self.every_n_steps = every_n_steps
        self.report = GradientReport()
        self._trainer: Trainer | None = None
        self._due: list[int] = []
        self._step: SampledStep | None = None
        self._steps: list[SampledStep] = []
        self._modules: set[int] | None = None

    def open(self, board: "ProgressBoard", trainer: "Trainer | None" = None) -> None:
        """Begins with a new report."""
        if trainer is None:
            raise ConfigError(
                "A GradientWatcher looks at a training. Use Trainer(watch='gradients')."
            )
        self._trainer = trainer
        self.report = trainer.reports["gradients"] = GradientReport(
            clip=trainer.gradient_clip_val, lr=getattr(trainer.model, "lr", None)
        )
        modules = [each for _, held in modules_held(trainer.model) for each in held.modules()]
        self._modules = {id(module) for module in modules}
        if any(each._compiled_call_impl or hasattr(each, "_orig_mod") for each in modules):
            self._modules = None
            warn(
                "The network is compiled, so that the outputs of its layers cannot be seen: dead "
                "and saturated units are not looked for. Gradients and weights are.",
                IgnoredSettingWarning,
            )
        self._begin_epoch(trainer)

    def end_step(self, trainer: "Trainer") -> None:
        """Reads a sampled step, and prepares the next if it is to be one."""
        if self._step is not None:
            self._step.finish()
            self._steps.append(self._step)
            self._step = None
        self._prepare_if_due(trainer)

    def end_epoch(self, trainer: "Trainer") -> None:
        """Reads what was sampled: the one synchronization."""
        self._read(trainer.position.epoch)
        if trainer.position.epoch < trainer.max_epochs:
            self._begin_epoch(trainer)

    def close(self, status: str) -> None:
        """Says what is wrong."""
        trainer, self._trainer = self._trainer, None
        if trainer is None:  # it was not opened
            return
        self._read(trainer.position.epoch + 1)  # the part of an epoch that was not finished
        texts = [symptom.text for symptom in self.report.findings]
        trainer.findings = [*trainer.findings, *texts]
        for text in texts if status != "failed" else ():
            warn(text, GradbookWarning)

    def _begin_epoch(self, trainer: "Trainer") -> None:
        every = self.every_n_steps
        if every is not None:
            every *= trainer.accumulate_grad_batches
        num_batches = trainer.num_train_batches
        sizes = batch_sizes(trainer.train_dataloader)
        if every is None and len(sizes) > 1 and 2 * sizes[-1] < sizes[0]:
            num_batches -= 1  # a few examples tell little about what is dead
        places = _places(num_batches, every, is_first=trainer.position.epoch == 0)
        done = trainer.position.batches  # not 0 where an epoch is gone on with
        self._due = [place for place in places if place >= done]
        self._prepare_if_due(trainer)

    def _prepare_if_due(self, trainer: "Trainer") -> None:
        """Prepares for the step that comes next if a batch of it is to be sampled."""
        done = trainer.position.batches
        following = done + trainer.accumulate_grad_batches
        if not self._due or self._due[0] >= following:
            return
        while self._due and self._due[0] < following:
            self._due.pop(0)
        place = trainer.position.epoch + done / trainer.num_train_batches
        layers = layers_of(trainer.model, trainer.optim)
        self._step = SampledStep(trainer, place, layers, self._modules)

    def _read(self, epoch: int) -> None:
        """Makes rows of the steps that were sampled, and lets go of all that was prepared."""
        if self._step is not None:
            self._step.release()
            self._step = None
        steps, self._steps = self._steps, []
        if steps:
            rows, totals = summarize(steps, epoch)
            report = self.report
            # In the place of what was seen of this epoch before it was interrupted.
            report.rows = [row for row in report.rows if row.epoch < epoch] + rows
            report.totals = [total for total in report.totals if total[0] < epoch - 1] + totals


def _places(num_batches: int, every: int | None, is_first: bool) -> list[int]:
    """Which batches of an epoch are sampled; the first epoch is the one that begins a training."""
    if every is not None:
        return list(range(0, num_batches, every))
    last = num_batches - 1
    most = max(min(MOST_SAMPLES, num_batches // DENSEST), 2 if is_first else 1)
    if most == 1:
        return [last]
    return sorted({round(i * last / (most - 1)) for i in range(most)})
