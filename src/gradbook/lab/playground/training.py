"""The process in which the playground trains: one training after the other, as the page wants.

Between two steps, and between two batches of a validation, it does what the page has asked for
meanwhile: waits, takes a step, changes the learning rate, keeps the run, or begins anew.
"""

import queue
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import torch

from gradbook import interrupts
from gradbook.cli import classes
from gradbook.cli.outcome import UsageError
from gradbook.cli.plan import Plan, read_plan
from gradbook.constructors import make
from gradbook.errors import ConfigError, GradbookError, GradbookWarning, told
from gradbook.lab.playground.controls import (
    FITTED,
    Control,
    completed,
    controls_of,
    fitted,
    words_of,
)
from gradbook.lab.playground.keeping import KeepableRun
from gradbook.lab.playground.pictures import Picture, picture_of
from gradbook.lab.worker import Channel
from gradbook.record import Metric, Sink
from gradbook.schedules import learning_rate
from gradbook.seeds import (
    random_state,
    same_random_state,
    seed_everything,
    untouched_generators,
)
from gradbook.storage import finite
from gradbook.trainer import Trainer

#: The seconds between two frames.
_FRAME_SECONDS = 1 / 20

#: A warning or an error that is longer is cut off.
_LONGEST_TEXT = 4000


class Replaced(KeyboardInterrupt):
    """The page wants another training, or none any more."""


def main(channel: Channel) -> None:
    """Trains what the server's messages ask for, until there are no more."""
    torch.set_num_threads(1)  # whatever else the machine does, the same bits
    interrupts.is_announced = False  # nobody reads what this process writes
    Player(channel).play()


class Player:
    """Does what the messages say, one training at a time.

    Args:
        channel: The connection with the server.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.orders: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._waiting: dict[str, Any] | None = None
        self._number = 0
        self._own: dict[str, list[classes.Found]] | None = None
        self._unloaded: list[str] = []
        self._drawn_with: int | None = None  # the seed with which a learner's file drew numbers
        self._last: Played | None = None
        # What the trainings before have found out: a slider that is moved asks for many.
        self._controls: dict[tuple[classes.Found, classes.Found], list[Control]] = {}
        self._fitted: dict[str, dict[str, int]] = {}

    def play(self) -> None:
        """Takes order after order."""
        threading.Thread(target=self._listen, daemon=True).start()
        while True:
            order, self._waiting = self._waiting or self.orders.get(), None
            if order is None:
                return
            if order["command"] == "start":
                self._start(order)
            elif order["command"] == "keep" and self._last is not None:
                self._last.keep()

    def _listen(self) -> None:
        for message in self._channel.messages():
            self.orders.put(message)
        self.orders.put(None)

    def tell(self, **parts: Any) -> None:
        """Tells the server something about the present training."""
        self._channel.send({"training": self._number, **finite(parts)})

    def leave_for(self, order: dict[str, Any] | None) -> None:
        """Ends the present training, and then does this."""
        self._waiting = order
        if order is None:
            self.orders.put(None)
        raise Replaced

    def _start(self, order: dict[str, Any]) -> None:
        self._number, self._last = order["training"], None
        self.tell(state={"name": "preparing"})
        notes: list[str] = []

        def show(message: Any, category: type[Warning], *_: Any, **__: Any) -> None:
            if issubclass(category, GradbookWarning):
                notes.append(str(message)[:_LONGEST_TEXT])
                self.tell(notes=notes)

        with warnings.catch_warnings():
            warnings.simplefilter("always", GradbookWarning)
            warnings.showwarning = show
            try:
                self._load_own(order)
                self._train(order)
            except Replaced:
                return
            except BaseException as error:
                self.tell(problem=_text_of(error), state={"name": "failed", **self._reached()})

    def _reached(self) -> dict[str, Any]:
        return {} if self._last is None else self._last.reached()

    def _load_own(self, order: dict[str, Any]) -> None:
        """Loads the learner's own classes, as the command line named them."""
        seed = _seed(order["settings"].get("seed", "1"))
        if self._own is not None:
            if self._drawn_with not in (None, seed):
                self.tell(again=True)  # what it drew is of another seed: only a new process helps
                raise Replaced
            self.tell(own=self._told_own(), unloaded=self._unloaded)
            return
        self._own = {"model": [], "data": []}
        for text in order["classes"]:
            errors = []
            # What a file draws while it is loaded is repeated, as in `gradbook train`.
            seed_everything(seed)
            before = random_state()
            for group, kind in (("model", classes.MODEL), ("data", classes.DATA_SET)):
                try:
                    self._own[group].append(classes.find(text, kind))
                except BaseException as error:
                    errors.append(error)
            if not same_random_state(before, random_state()):
                self._drawn_with = seed
            if len(errors) == 2:
                self._unloaded.append(f"{text} cannot be used. {_text_of(errors[0])}")
        self.tell(own=self._told_own(), unloaded=self._unloaded)

    def _told_own(self) -> dict[str, list[str]]:
        assert self._own is not None
        return {group: [found.name for found in every] for group, every in self._own.items()}

    def _found(self, name: str, kind: classes.Kind, group: str) -> classes.Found:
        """A finished class, or one of the learner's own that the command line named."""
        assert self._own is not None
        for found in self._own[group]:
            if found.name == name:
                return found
        if name in kind.known:
            return classes.find(name, kind)
        raise ConfigError(f"There is no {kind.noun} {name!r:.80} here.")

    def _train(self, order: dict[str, Any]) -> None:
        own = self._told_own()
        names = {
            "model": order["model"] or next(iter(own["model"]), "mlp"),
            "data": order["data"] or next(iter(own["data"]), ""),
        }
        model = self._found(names["model"], classes.MODEL, "model")
        names["data"] = names["data"] or _USUAL_DATA.get(model.name, "moons")
        data = self._found(names["data"], classes.DATA_SET, "data")
        controls = self._controls.get((model, data)) or controls_of(model, data)
        self._controls[model, data] = controls
        taken = {name: names[name] for name in ("model", "data")}
        taken |= {"controls": [c.plain for c in controls if c.name not in FITTED]}
        self.tell(chosen={**taken, "settings": order["settings"]})
        settings = completed(controls, order["settings"])
        plan, made = _planned(model, data, controls, settings, self._fitted.get(data.name, {}))
        self._fitted[data.name] = made.arguments
        missing = [name for name in FITTED if name not in made.arguments]
        taken["controls"] = [c.plain for c in controls if c.name not in FITTED or c.name in missing]
        self.tell(chosen={**taken, "settings": settings}, repeat=plan.repeat)
        played = self._last = Played(self, order, plan)
        played.train(made.data)


#: The data with which a model is first shown; others take the moons.
_USUAL_DATA = {
    "lenet": "fashion-mnist",
    "rnn": "time-machine",
    "linear-regression": "synthetic-regression",
    "linear-regression-scratch": "synthetic-regression",
}


class _Made:
    """The data of a training, and what follows from them for the model."""

    def __init__(self, data: Any, arguments: dict[str, int]) -> None:
        self.data, self.arguments = data, arguments


def _planned(
    model: classes.Found,
    data: classes.Found,
    controls: list[Control],
    settings: dict[str, str],
    guessed: dict[str, int],
) -> tuple[Plan, _Made]:
    """The plan of a training, and its data; the random generators are as after making these.

    What follows from the data may be `guessed`: a right guess saves reading the plan twice.
    """
    of_model = {c.option.name: c for c in controls if c.group == "model" and c.option is not None}
    names = [name for name in FITTED if name in of_model and of_model[name].name not in settings]

    def plan_with(found: dict[str, int]) -> Plan:
        more = {of_model[name].name: str(found[name]) for name in names if name in found}
        words = words_of(model.name, data.name, controls, {**settings, **more})
        return read_plan([*words, "--quiet"])

    required = {name: 1 for name in names if of_model[name].default is None}
    guessed = required | {name: guessed[name] for name in names if name in guessed}
    plan = plan_with(guessed)
    seed_everything(plan.seed)
    made = make(plan.data.Class, plan.arguments["data"])
    with untouched_generators():
        found = fitted(made, names)
        if found != guessed:
            plan = plan_with(found)
    return plan, _Made(made, found)


class Played(Sink):
    """One training, which the page's orders can reach between two steps.

    Args:
        player: Who takes the orders.
        order: The order to start.
        plan: What is to be trained.
    """

    tells_divergence = True  # the page does

    def __init__(self, player: Player, order: dict[str, Any], plan: Plan) -> None:
        self._player, self._plan = player, plan
        self._root = order["root"]
        self._is_running: bool = order["running"]
        self._rate_per_second: float | None = order["speed"]
        #: The changes of the learning rate, each after so many steps; those to come stand last.
        self._changes = [(int(step), float(lr)) for step, lr in order["lr_at"]]
        self._num_changed = 0
        self._num_wanted = 0
        self._points: list[list[Any]] = []
        self._picture: Picture | None = None
        self._shown_at, self._shown_step = 0.0, -1
        self._next_step_at = 0.0
        self._is_told_diverged = False
        self._trainer: Any = None
        self._run: KeepableRun | None = None
        self._status: str | None = None

    def train(self, data: Any) -> None:
        """Trains to the end, or until another training is wanted."""
        plan = self._plan
        model = make(plan.model.Class, plan.arguments["model"])
        self._run = KeepableRun(
            self._root,
            plan.name,
            command=plan.words,
            model_name=plan.model.name,
            data_name=plan.data.name,
            pictures=False,
        )
        sinks: dict[str, Any] = {"display": "off", "sinks": [self], "run": self._run}
        trainer = Trainer(**plan.arguments["trainer"], **sinks)
        trainer.fit(model, data)
        self._status = trainer.status
        found = trainer.postmortem
        if found is not None:
            self._player.tell(postmortem=found.sentence)
        self._show()

    # What the training tells

    def open(self, board: Any, trainer: Any = None) -> None:
        """The first look, before the first step."""
        self._trainer = trainer
        trainer.training.interrupts = _Between(self, trainer.training.interrupts)
        self._picture = picture_of(trainer)
        self._player.tell(picture=None if self._picture is None else self._picture.fixed)
        self._change_rate_if_due()
        self._obey()

    def write(self, metric: Metric) -> None:
        """A value was recorded."""
        self._points.append([metric.label, metric.kind, metric.x, metric.y])

    def end_step(self, trainer: Any) -> None:
        """A step was taken; `_Between` does the rest."""
        if self._num_wanted:
            self._num_wanted -= 1
            self._is_running = self._num_wanted > 0
        if self._num_changed:
            self._plot_rate()
        self._change_rate_if_due()
        if self._rate_per_second:
            now = time.perf_counter()
            self._next_step_at = max(self._next_step_at, now - 0.1) + 1 / self._rate_per_second
        self._stop_if_diverged()

    def end_epoch(self, trainer: Any) -> None:
        """An epoch is over."""
        self._stop_if_diverged()

    def _stop_if_diverged(self) -> None:
        """What has become NaN stays so: it is told at once, and its cause is looked for."""
        diverged = self._trainer.history.diverged
        if diverged and not self._is_told_diverged:
            self._is_told_diverged, self._status = True, "diverged"
            self._player.tell(
                problem=f"NaN or infinity: {diverged}. Its cause is being looked for.",
                state=self._state(),
            )
            self._trainer.stop(within_epoch=True)

    # What the page asks for

    def between(self) -> None:
        """Does what was asked for meanwhile; called where the training's state is whole."""
        if not self._player.orders.empty() or not self._is_running or self._rate_per_second:
            self._obey()
        elif time.perf_counter() - self._shown_at >= _FRAME_SECONDS:
            self._show()

    def _obey(self) -> None:
        while True:
            wait = self._wait_seconds()
            now = time.perf_counter()
            if wait is None or now - self._shown_at >= _FRAME_SECONDS or wait > _FRAME_SECONDS:
                self._show()
            try:
                orders = self._player.orders
                order = orders.get_nowait() if wait == 0 else orders.get(timeout=wait)
            except queue.Empty:
                if self._wait_seconds() == 0:
                    return
                continue
            self._follow(order)

    def _wait_seconds(self) -> float | None:
        """How long until the next step; None if it is not to be taken yet."""
        if not self._is_running:
            return None
        if not self._rate_per_second or self._num_wanted:
            return 0
        return max(self._next_step_at - time.perf_counter(), 0)

    def _follow(self, order: dict[str, Any] | None) -> None:
        if order is None or order["command"] == "start":
            self._player.leave_for(order)
            return
        command, value = order["command"], order.get("value")
        if command == "run":
            self._is_running, self._num_wanted = True, 0
        elif command == "pause":
            self._is_running = False
        elif command == "step":
            self._is_running, self._num_wanted = True, int(value or 1)
        elif command == "speed":
            self._rate_per_second, self._next_step_at = value, 0.0
        elif command == "lr":
            self._told(lambda: self._ask_for_rate(float(order["value"])))
        elif command == "keep":
            self.keep()
        self._shown_at = 0.0

    def _told(self, action: Callable[[], None]) -> None:
        """Does it, or tells why it cannot be done; the training goes on."""
        try:
            action()
        except (GradbookError, OSError) as error:
            self._player.tell(refused=_text_of(error))

    def keep(self) -> None:
        """Writes the training into the folder of the runs."""

        def kept() -> None:
            if self._run is None or self._trainer is None:
                raise ConfigError("There is nothing to keep.")
            folder = self._run.keep()
            self._player.tell(kept={"name": folder.name, "id": quote(folder.name)}, refused=None)

        self._told(kept)

    # The learning rate

    @property
    def _step(self) -> int:
        return int(self._trainer.position.steps)

    def _ask_for_rate(self, lr: float) -> None:
        self._check_rate(lr)
        del self._changes[self._num_changed :]  # what an address had planned for later
        if self._changes and self._changes[-1][0] == self._step:
            del self._changes[-1]
            self._num_changed -= 1
        self._changes.append((self._step, lr))
        self._change_rate_if_due()

    def _check_rate(self, lr: float) -> None:
        if not 0 <= lr <= 1e6:
            raise ConfigError(f"A learning rate is from 0 to 1e6, but it is {lr:g}.")
        if self._trainer.training.schedules:
            raise ConfigError(
                "The learning rate follows a schedule here. Choose scheduler none to set it."
            )
        if learning_rate(self._trainer.optim) is None:
            raise ConfigError("The optimizer of this model has no learning rate to be set.")

    def _change_rate_if_due(self) -> None:
        while self._num_changed < len(self._changes):
            step, lr = self._changes[self._num_changed]
            if step > self._step:
                return
            self._check_rate(lr)
            before = learning_rate(self._trainer.optim)
            groups = getattr(self._trainer.optim, "param_groups", ())
            for group in groups:
                # Where groups have rates of their own, these keep their proportions.
                group["lr"] = lr * (group["lr"] / before) if before and len(groups) > 1 else lr
            if not groups:
                self._trainer.optim.lr = lr
            self._num_changed += 1
            assert self._run is not None
            self._run.note(
                f"In the playground the learning rate was set to {lr:g} after step {step}. The "
                f"settings name the one before, so that a repetition from them does not do that."
            )
            self._player.tell(lr_at=[list(change) for change in self._changes])

    def _plot_rate(self) -> None:
        """From its first change on, the learning rate is a curve."""
        trainer, model = self._trainer, self._trainer.model
        rate = learning_rate(trainer.optim)
        num = trainer.num_train_batches
        x = trainer.train_batch_idx / num
        board = getattr(model, "board", None)
        if rate is not None and board is not None:
            board.draw(x, rate, "lr", every_n=int(num / model.plot_train_per_epoch))

    # What the page sees

    def _show(self) -> None:
        """Sends the points since the last time, and a frame if a step was taken since."""
        self._shown_at = time.perf_counter()
        parts: dict[str, Any] = {"state": self._state()}
        if self._points:
            parts["points"], self._points = self._points, []
        if self._picture is not None and self._step != self._shown_step:
            self._shown_step = self._step
            frame = self._picture.frame(self._trainer.model)
            if frame is not None:
                parts["frame"] = {**frame, "step": self._step}
        self._player.tell(**parts)

    def _state(self) -> dict[str, Any]:
        name = self._status or ("running" if self._is_running else "paused")
        return {"name": name, **self.reached()}

    def reached(self) -> dict[str, Any]:
        """How far the training has come."""
        trainer = self._trainer
        if trainer is None:
            return {}
        return {
            "step": self._step,
            "epoch": trainer.train_batch_idx / (trainer.num_train_batches or 1),
            "max_epochs": trainer.max_epochs,
            "lr": learning_rate(trainer.optim),
            "num_parameters": sum(p.numel() for p in trainer.model.parameters()),
        }


class _Between(interrupts.Interrupts):
    """What a training asks between two steps and two batches: here, for the page's orders."""

    def __init__(self, played: Played, before: interrupts.Interrupts) -> None:
        super().__init__()
        self._played, self._before_it = played, before

    def raise_pending(self, number: int | None = None) -> None:
        """Lets a signal act that came meanwhile, and then the page's orders."""
        self._before_it.raise_pending(number)
        self._played.between()


def _seed(text: str) -> int:
    is_one = text.isdecimal() and len(text) <= 10 and int(text) < 2**32
    return int(text) if is_one else 1  # what is wrong with it is said later


def _text_of(error: BaseException) -> str:
    """An error as the page tells it: ours in its own words, another with the line it came from."""
    if isinstance(error, SystemExit):
        return _shortened(f"The code called sys.exit({error.code!r:.80}).{_line_of(error)}")
    if isinstance(error, GradbookError | UsageError) or type(error).__module__.startswith(
        "gradbook."
    ):
        return _shortened(str(error) + ("" if error.__cause__ is None else _line_of(error)))
    return _shortened(told(error) + _line_of(error))


def _line_of(error: BaseException) -> str:
    """Where in a learner's own file it happened; nothing where it was in none."""
    found, trace = "", error.__traceback__
    library = str(Path(torch.__file__).parent), str(Path(interrupts.__file__).parent)
    while trace is not None:
        code = trace.tb_frame.f_code
        is_file = not code.co_filename.startswith((*library, sys.base_prefix, "<"))
        if is_file:
            found = f" ({Path(code.co_filename).name}, line {trace.tb_lineno}, in {code.co_name})"
        trace = trace.tb_next
    return found


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + "..."
