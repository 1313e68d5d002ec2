"""The process of the playground, here in this one: what it tells, and what it trains."""

import itertools
import json
import threading
import time

import pytest
import torch

from gradbook import interrupts
from gradbook.cli.fit import fit
from gradbook.cli.plan import read_plan
from gradbook.errors import StorageError
from gradbook.lab.playground import training
from gradbook.runs import recorder
from gradbook.runs.format import read_metrics
from gradbook.runs.stored import StoredRun
from gradbook.storage import write_atomically

SMALL = {"num_hiddens": "4", "num_train": "32", "num_val": "16", "max_epochs": "3"}


class Talk:
    """A channel whose other end is a test: `script` gives the orders, and can wait for answers."""

    def __init__(self, script):
        self._script, self.told, self.error = script, [], None
        self._news = threading.Condition()

    def messages(self):
        try:
            yield from self._script(self)
        except BaseException as error:  # in the thread that reads: told in that of the test
            self.error = error

    def send(self, message):
        json.dumps(message, allow_nan=False)
        with self._news:
            self.told.append(message)
            self._news.notify_all()

    def wait(self, training=1, **parts):
        """Waits until parts were told of a training; a function is asked of the value."""

        def fits(message):
            return message["training"] == training and all(
                name in message
                and (want(message[name]) if callable(want) else message[name] == want)
                for name, want in parts.items()
            )

        with self._news:
            there = self._news.wait_for(lambda: any(map(fits, self.told)), timeout=20)
        assert there, f"{parts} was not told, but {self.told[-3:]!r:.2000}"

    def all_of(self, name, training=1):
        return [m[name] for m in self.told if name in m and m["training"] == training]

    def points(self, training=1, kind="point"):
        told = itertools.chain.from_iterable(self.all_of("points", training))
        return [(label, x, y) for label, of_kind, x, y in told if of_kind == kind]


def values_of(run):
    return read_metrics(run.folder, run.facts)


def is_state(name):
    return lambda state: state["name"] == name


@pytest.fixture
def talked(tmp_path, monkeypatch):
    """Runs the process with a script of orders: `talked(script)`; `start(...)` makes an order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(interrupts, "is_announced", False)

    def run(script):
        talk = Talk(script)
        training.Player(talk).play()
        if talk.error is not None:
            raise talk.error
        return talk

    yield run
    torch.set_num_threads(threads)


@pytest.fixture
def start(tmp_path):
    def order(number=1, model="mlp", data="moons", settings=SMALL, **more):
        return {
            **{"command": "start", "training": number, "model": model, "data": data},
            **{"settings": dict(settings), "lr_at": [], "running": True, "speed": None},
            **{"classes": [], "root": str(tmp_path / "runs")},
            **more,
        }

    return order


def ended(talk, number=1):
    talk.wait(number, state=lambda state: state["name"] in ("finished", "diverged", "failed"))


def to_the_end(order):
    def script(talk):
        yield order
        ended(talk, order["training"])

    return script


@pytest.mark.slow
def test_it_tells_controls_picture_and_points_and_comes_to_an_end(talked, start):
    talk = talked(to_the_end(start()))
    chosen = talk.all_of("chosen")[-1]
    controls = {control["name"]: control for control in chosen["controls"]}
    assert chosen["model"], chosen["data"] == ("mlp", "moons")
    assert controls["activation"]["kind"] == "choice"
    assert controls["num_hiddens"]["kind"] == "widths"
    assert controls["lr"]["slider"] == {"low": 1e-4, "high": 10, "scale": "log"}
    assert "num_outputs" not in controls  # it follows from the data
    assert talk.all_of("picture")[0]["kind"] == "plane"
    assert talk.all_of("frame")[0]["step"] == 0
    assert talk.all_of("state")[-1]["step"] == 3
    assert {label for label, _, _ in talk.points()} == {"train_loss", "val_loss", "val_acc"}
    assert talk.all_of("repeat")[0].startswith("gradbook train mlp --data moons")


@pytest.mark.slow
def test_it_trains_what_the_command_trains_to_the_last_bit(talked, start, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "_FRAME_SECONDS", 0.0)  # a look after every step
    talk = talked(to_the_end(start(settings={**SMALL, "activation": "tanh", "dropout": "0.5"})))
    words = talk.all_of("repeat")[0].split()[2:]
    plan = read_plan([*words, "--quiet", "--runs", str(tmp_path / "command")])
    fit(plan)
    run = StoredRun(tmp_path / "command" / "mlp-1")
    kept = [(m.label, m.x, m.y) for m in values_of(run) if m.kind == "point"]
    assert talk.points() == kept
    assert len(talk.all_of("frame")) > 3


def test_the_same_settings_give_the_same_and_another_seed_another(talked, start):
    def script(talk):
        for number, seed in ((1, "1"), (2, "1"), (3, "2")):
            yield start(number, settings={**SMALL, "seed": seed})
            ended(talk, number)

    talk = talked(script)
    assert talk.points(1) == talk.points(2) != talk.points(3)


def test_a_changed_rate_is_repeated_by_what_is_told_of_it(talked, start):
    def script(talk):
        yield start(running=False, settings={**SMALL, "max_epochs": "6"})
        talk.wait(state=is_state("paused"))
        yield {"command": "step", "value": 4}
        talk.wait(state=lambda state: state["name"] == "paused" and state["step"] == 4)
        yield {"command": "lr", "value": 0.01}
        talk.wait(lr_at=[[4, 0.01]])
        yield {"command": "run"}
        ended(talk)
        yield start(2, settings={**SMALL, "max_epochs": "6"}, lr_at=[[4, 0.01]])
        ended(talk, 2)
        yield start(3, settings={**SMALL, "max_epochs": "6"})
        ended(talk, 3)

    talk = talked(script)
    assert talk.points(1) == talk.points(2)
    losses = [[p for p in talk.points(n) if p[0] == "train_loss"] for n in (1, 3)]
    assert losses[0][:4] == losses[1][:4]
    assert losses[0] != losses[1]
    assert [y for label, _, y in talk.points(1) if label == "lr"] == [0.01, 0.01]


@pytest.mark.parametrize(
    ("model", "data"),
    [
        ("linear-regression-scratch", "synthetic-regression"),
        ("linear-regression-scratch", "sine"),
        ("softmax-regression-scratch", "xor"),
        ("softmax-regression", "blobs"),
        ("mlp-scratch", "spirals"),
        ("mlp", "circles"),
    ],
)
def test_the_book_s_models_train_on_toy_data_as_they_come(talked, start, model, data):
    small = {"num_train": "32", "num_val": "16", "max_epochs": "1"}
    talk = talked(to_the_end(start(model=model, data=data, settings=small)))
    assert talk.all_of("problem") == []
    assert talk.all_of("state")[-1]["name"] == "finished"
    assert talk.all_of("frame")


def test_what_follows_from_the_data_follows_when_these_change(talked, start):
    def script(talk):
        for number, num_classes in ((1, "2"), (2, "5")):
            settings = {**SMALL, "num_classes": num_classes}
            yield start(number, data="spirals", settings=settings)
            ended(talk, number)

    talk = talked(script)
    assert "--num-outputs 2" in talk.all_of("repeat", 1)[0]
    assert "--num-outputs 5" in talk.all_of("repeat", 2)[0]


def test_steps_are_taken_one_by_one(talked, start):
    def script(talk):
        yield start(running=False)
        talk.wait(state=is_state("paused"))
        for step in (1, 2):
            yield {"command": "step", "value": 1}
            talk.wait(frame=lambda frame, step=step: frame["step"] == step)

    talk = talked(script)
    assert [frame["step"] for frame in talk.all_of("frame")] == [0, 1, 2]


def test_a_training_is_replaced_in_the_middle(talked, start):
    def script(talk):
        yield start(settings={**SMALL, "max_epochs": "10000"})
        talk.wait(state=lambda state: state.get("step", 0) > 0)
        yield start(2)
        ended(talk, 2)

    talk = talked(script)
    assert talk.all_of("state", 2)[-1]["name"] == "finished"
    assert "problem" not in talk.told[-1]


@pytest.mark.slow
def test_a_slow_training_takes_no_more_steps_than_it_may(talked, start):
    def script(talk):
        yield start(speed=5.0)
        talk.wait(state=lambda state: state.get("step", 0) == 1)
        yield {"command": "speed", "value": None}
        ended(talk)

    talk = talked(script)
    frames = [frame["step"] for frame in talk.all_of("frame")]
    assert frames[:2] == [0, 1]


def test_of_nothing_kept_nothing_is_written(talked, start, tmp_path):
    talked(to_the_end(start()))
    assert not (tmp_path / "runs").exists()


def test_a_training_is_kept_while_it_goes_on(talked, start, tmp_path):
    def script(talk):
        yield start(running=False)
        talk.wait(state=is_state("paused"))
        yield {"command": "keep"}
        talk.wait(refused=lambda text: "before the first step" in text)
        yield {"command": "step", "value": 2}
        talk.wait(state=lambda state: state["name"] == "paused" and state["step"] == 2)
        yield {"command": "keep"}
        talk.wait(kept={"name": "mlp-1", "id": "mlp-1"})
        yield {"command": "keep"}
        talk.wait(refused="This training is kept already.")
        yield {"command": "run"}
        ended(talk)

    talk = talked(script)
    run = StoredRun(tmp_path / "runs" / "mlp-1")
    assert run.facts["status"] == "finished"
    assert run.facts["seed"] == 1
    assert [(m.label, m.x, m.y) for m in values_of(run) if m.kind == "point"] == talk.points()
    assert [(m.label, m.x, m.y) for m in values_of(run) if m.kind == "epoch"] == talk.points(
        kind="epoch"
    )
    assert (run.folder / "checkpoints" / "last.pt").exists()
    assert (run.folder / "checkpoints" / "best.pt").exists()


@pytest.mark.parametrize("is_over", [False, True])
def test_a_run_that_cannot_be_kept_leaves_nothing_and_can_be_kept_later(
    talked, start, tmp_path, monkeypatch, is_over
):
    def fail(path, content):
        if path.name == "last.pt":
            raise StorageError("No space left.")
        write_atomically(path, content)

    def script(talk):
        yield start(running=is_over)
        if is_over:
            ended(talk)
        else:
            yield {"command": "step"}
            talk.wait(state=lambda state: state["name"] == "paused" and state["step"] == 1)
        with monkeypatch.context() as full:
            full.setattr(recorder, "write_atomically", fail)
            yield {"command": "keep"}
            talk.wait(refused="No space left.")
        assert list((tmp_path / "runs").iterdir()) == []
        yield {"command": "keep"}
        talk.wait(kept={"name": "mlp-1", "id": "mlp-1"})
        yield {"command": "run"}
        ended(talk)

    talk = talked(script)
    run = StoredRun(tmp_path / "runs" / "mlp-1")
    assert run.status == "finished"
    assert [(m.label, m.x, m.y) for m in values_of(run) if m.kind == "point"] == talk.points()
    run.check_results()


@pytest.mark.slow
def test_a_training_that_is_over_is_kept_as_the_command_would_have(talked, start, tmp_path):
    def script(talk):
        yield start()
        ended(talk)
        yield {"command": "keep"}
        talk.wait(kept=lambda kept: True)

    talk = talked(script)
    run = StoredRun(tmp_path / "runs" / "mlp-1")
    words = talk.all_of("repeat")[0].split()[2:]
    fit(read_plan([*words, "--quiet", "--runs", str(tmp_path / "command")]))
    other = StoredRun(tmp_path / "command" / "mlp-1")
    assert list(values_of(run)) == list(values_of(other))
    same = (
        *("status", "model", "data", "trainer", "optimizer", "begun_from", "final", "best"),
        *("epochs", "steps", "best_checkpoint", "findings"),
    )
    assert {name: run.facts[name] for name in same} == {name: other.facts[name] for name in same}


@pytest.mark.slow
def test_a_kept_training_that_was_left_is_resumed_to_the_same_end(talked, start, tmp_path):
    def script(talk):
        yield start(running=False)
        talk.wait(state=is_state("paused"))
        yield {"command": "step", "value": 2}
        talk.wait(state=lambda state: state["name"] == "paused" and state["step"] == 2)
        yield {"command": "keep"}
        talk.wait(kept=lambda kept: True)
        yield start(2)  # another one: the first is left
        ended(talk, 2)

    from gradbook.cli import resume

    talk = talked(script)
    folder = tmp_path / "runs" / "mlp-1"
    assert StoredRun(folder).facts["status"] == "interrupted"
    resume.run([str(folder), "--quiet"])
    run = StoredRun(folder)
    assert run.facts["status"] == "finished"
    assert [(m.label, m.x, m.y) for m in values_of(run) if m.kind == "point"] == talk.points(2)


def test_a_kept_run_tells_that_its_rate_was_changed(talked, start, tmp_path):
    def script(talk):
        yield start(lr_at=[[2, 0.5]])
        ended(talk)
        yield {"command": "keep"}
        talk.wait(kept=lambda kept: True)

    talked(script)
    run = StoredRun(tmp_path / "runs" / "mlp-1")
    assert "the learning rate was set to 0.5 after step 2" in run.facts["findings"][0]
    assert [m.y for m in values_of(run) if m.label == "lr" and m.kind == "point"] == [0.5]
    assert run.facts["model"]["hyperparameters"]["lr"] == 0.1


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"num_hidden": "4"}, "There is no setting 'num_hidden'"),
        ({"num_hiddens": "1000000"}, "at most 4096 is taken"),
        ({"num_hiddens": "4," * 20 + "4"}, "may have 8"),
        ({"num_hiddens": "four"}, "a whole number"),
        ({"lr": "nan"}, "at most 1e+06"),
        ({"lr": "much"}, "a number"),
        ({"activation": "rely"}, "one of relu, sigmoid"),
        ({"activation": "/etc/passwd"}, "no file or address"),
        ({"num_train": "99999999"}, "at most 20000"),
        ({"max_epochs": "0"}, "max_epochs"),
        ({"seed": "-1"}, "seed"),
        ({"optimizer": "adam", "momentum": "0.5"}, "momentum"),
    ],
)
def test_bad_settings_are_told(talked, start, settings, told):
    talk = talked(to_the_end(start(settings={**SMALL, **settings})))
    assert told in talk.all_of("problem")[-1]
    assert talk.all_of("state")[-1]["name"] == "failed"
    assert talk.all_of("chosen")  # so that the controls are there to set it right


def test_only_classes_that_were_named_are_loaded(talked, start, tmp_path):
    (tmp_path / "mine.py").write_text("raise SystemExit")
    talk = talked(to_the_end(start(model=f"{tmp_path / 'mine.py'}:Net")))
    assert "There is no model" in talk.all_of("problem")[-1]


def test_a_divergence_is_told_with_its_cause(talked, start):
    def script(talk):
        yield start(settings={**SMALL, "lr": "1e5", "max_epochs": "20"})
        talk.wait(postmortem=lambda text: True)

    talk = talked(script)
    assert talk.all_of("state")[-1]["name"] == "diverged"
    assert "NaN or infinity" in talk.all_of("problem")[0]
    assert "the learning rate is too high" in talk.all_of("postmortem")[0]


def test_a_rate_that_follows_a_schedule_cannot_be_set(talked, start):
    def script(talk):
        yield start(running=False, settings={**SMALL, "scheduler": "cosine"})
        talk.wait(state=is_state("paused"))
        yield {"command": "lr", "value": 0.01}
        talk.wait(refused=lambda text: "follows a schedule" in text)

    talked(script)


def test_a_fitted_line_and_values_in_a_plane_are_drawn(talked, start):
    def script(talk):
        small = {"num_train": "20", "num_val": "10", "max_epochs": "1"}
        yield start(1, "linear-regression", "sine", small)
        ended(talk, 1)
        yield start(2, "linear-regression", "synthetic-regression", small)
        ended(talk, 2)

    talk = talked(script)
    assert talk.all_of("picture", 1)[0]["kind"] == "line"
    assert len(talk.all_of("frame", 1)[0]["y"]) == 200
    assert talk.all_of("picture", 2)[0]["values"] is not None
    assert "values" in talk.all_of("frame", 2)[0]


OWN = """
import torch
from torch import nn
from gradbook import Classifier, DataModule

class Net(Classifier):
    def __init__(self, width: int = 3, slope: float = 0.2, is_deep: bool = False, path: str = "x",
                 lr=0.1):
        super().__init__()
        self.save_hyperparameters()
        {in_init}
        self.net = nn.Sequential(nn.Linear(2, width), nn.Tanh(), nn.Linear(width, 2))

    def forward(self, X):
        {in_forward}
        return self.net(X)

class Images(DataModule):
    def __init__(self, batch_size=4):
        super().__init__()
        self.save_hyperparameters()
        self.X, self.y = torch.rand(16, 1, 5, 6), torch.arange(16) % 2

    def get_dataloader(self, train):
        return self.get_tensorloader((self.X, self.y), train)
"""


@pytest.fixture
def own(tmp_path):
    """A learner's file: `own(in_init, in_forward)` is how the command line names its model."""
    numbers = itertools.count()

    def write(in_init="pass", in_forward="pass"):
        file = tmp_path / f"mine{next(numbers)}_{tmp_path.name}.py"
        file.write_text(OWN.format(in_init=in_init, in_forward=in_forward))
        return f"{file}:Net"

    return write


def test_a_learner_s_class_has_controls_of_its_own(talked, start, own):
    name = own()
    talk = talked(to_the_end(start(model="", settings={"max_epochs": "1"}, classes=[name])))
    chosen = talk.all_of("chosen")[-1]
    assert chosen["model"] == name
    kinds = {c["name"]: c["kind"] for c in chosen["controls"] if c["group"] == "model"}
    assert kinds == {"width": "int", "slope": "float", "is_deep": "bool", "lr": "float"}
    assert talk.all_of("state")[-1]["name"] == "finished"
    assert talk.all_of("frame")[0]["units"][0]["num"] == 3


@pytest.mark.parametrize(
    ("where", "code", "told"),
    [
        ("in_init", "raise RuntimeError('not today')", "RuntimeError: not today"),
        ("in_forward", "raise KeyError('weights')", "KeyError: 'weights'"),
        ("in_init", "import sys; sys.exit(3)", "sys.exit(3)"),
    ],
)
def test_an_error_of_a_learner_s_class_is_told_with_its_line(talked, start, own, where, code, told):
    def script(talk):
        yield start(model=name, settings={}, classes=[name])
        ended(talk)
        yield start(2, classes=[name])  # and the next training is none the worse
        ended(talk, 2)

    name = own(**{where: code})
    talk = talked(script)
    problem = talk.all_of("problem")[-1]
    assert told in problem
    assert "mine0" in problem
    assert talk.all_of("state", 2)[-1]["name"] == "finished"


def test_a_file_that_cannot_be_loaded_is_told_and_the_rest_works(talked, start, tmp_path):
    file = tmp_path / f"broken_{tmp_path.name}.py"
    file.write_text("1 / 0")
    talk = talked(to_the_end(start(classes=[str(file)])))
    assert "ZeroDivisionError" in talk.all_of("unloaded")[-1][0]
    assert talk.all_of("state")[-1]["name"] == "finished"


def test_samples_of_images_are_shown(talked, start, own):
    name = own().replace(":Net", ":Images")
    order = start(
        model="softmax-regression", data=name, settings={"max_epochs": "1"}, classes=[name]
    )
    talk = talked(to_the_end(order))
    picture = talk.all_of("picture")[0]
    assert (picture["kind"], picture["height"], picture["width"]) == ("samples", 5, 6)
    assert len(picture["images"]) == len(talk.all_of("frame")[0]["predicted"]) == 12


def test_what_a_file_draws_when_it_is_loaded_belongs_to_the_seed(talked, start, own, tmp_path):
    name = own()
    file = tmp_path / name.rpartition("/")[2].partition(":")[0]
    file.write_text(file.read_text() + "\nDRAWN = torch.rand(1)\n")

    def script(talk):
        yield start(1, settings={"seed": "1", "max_epochs": "1"}, classes=[name])
        ended(talk, 1)
        yield start(2, settings={"seed": "1", "max_epochs": "1"}, classes=[name])
        ended(talk, 2)
        yield start(3, settings={"seed": "2", "max_epochs": "1"}, classes=[name])
        talk.wait(3, again=True)

    talked(script)


def test_an_unused_pause_ends_with_the_process(talked, start):
    def script(talk):
        yield start(running=False)
        talk.wait(state=is_state("paused"))

    begin = time.monotonic()
    talked(script)
    assert time.monotonic() - begin < 60
