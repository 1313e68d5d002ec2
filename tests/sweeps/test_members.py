"""One training of a sweep: what it is made with, and whether it is done."""

import pickle
import random
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from gradbook import LinearRegressionScratch, SyntheticRegressionData, Trainer
from gradbook.errors import GradbookWarning
from gradbook.seeds import seed_everything
from gradbook.sweeps.members import MadeData, Member, reason_alone, train_members

pytestmark = pytest.mark.usefixtures("blank_figures")


class Refusing(LinearRegressionScratch):
    def __init__(self, lr=0.1):
        if lr > 1:
            raise ValueError("no such rate")
        super().__init__(lr=lr)


class Still(SyntheticRegressionData):
    """The same for every seed."""

    made = 0

    def __init__(self, num_train=40):
        with torch.random.fork_rng():
            super().__init__(num_train=num_train, num_val=8, batch_size=8)
        type(self).made += 1


def member(index=0, lr=0.1, seed=0, data=SyntheticRegressionData, Model=Refusing, **data_arguments):
    if data is SyntheticRegressionData:
        data_arguments = {"num_train": 40, "num_val": 8, "batch_size": 8, **data_arguments}
    return Member(
        index,
        {"lr": lr, "seed": seed},
        Model,
        data,
        {"lr": lr},
        data_arguments,
        {"max_epochs": 2},
        seed,
        Path(f"member-{index + 1}").absolute(),
    )


def test_it_is_trained_as_a_script_with_that_seed_trains_it():
    train_members([member(seed=3)])
    seed_everything(3)
    data = SyntheticRegressionData(num_train=40, num_val=8, batch_size=8)
    model = Refusing(0.1)
    trainer = Trainer(2, display="off")
    trainer.fit(model, data)
    saved = torch.load("member-1/checkpoints/last.pt")["model"]
    assert torch.equal(saved["w"], model.w)


def test_it_is_done_when_its_run_has_come_to_its_end():
    one = member()
    assert not one.is_done
    assert one.resume is None
    assert train_members([one]) == [{"index": 0, "error": None, "alone": None, "seconds": None}]
    assert one.is_done


def test_an_error_is_told_in_words():
    (result,) = train_members([member(lr=2.0)])
    assert result["error"] == "ValueError: no such rate"


@pytest.mark.slow
def test_of_several_each_has_its_own_result():
    results = train_members([member(0), member(1, lr=2.0), member(2, lr=0.3)])
    assert [result["error"] for result in results] == [None, "ValueError: no such rate", None]
    assert [member(k, lr=lr).is_done for k, lr in enumerate((0.1, 2.0, 0.3))] == [True, False, True]


def test_what_was_killed_before_its_first_checkpoint_begins_anew():
    one = member()
    one.folder.mkdir()
    (one.folder / "run.json").write_text("{")
    train_members([one])
    assert one.is_done


def test_it_travels_to_another_process():
    assert pickle.loads(pickle.dumps(member())) == member()


def test_data_that_draw_nothing_are_made_once():
    Still.made = 0
    made = MadeData()
    one, other, third = (
        made.of(member(data=Still, seed=0)),
        made.of(member(data=Still, seed=1)),
        made.of(member(data=Still, seed=1, num_train=16)),
    )
    assert torch.equal(one.X, other.X)
    assert len(third.X) < len(one.X)
    assert Still.made == 2


def test_data_that_draw_are_made_for_each_seed_and_leave_the_generators_alike():
    made, states = MadeData(), []
    sets = []
    for seed in (0, 1, 0):
        seed_everything(seed)
        sets.append(made.of(member(seed=seed)))
        states.append(torch.get_rng_state())
    assert torch.equal(sets[0].X, sets[2].X)
    assert not torch.equal(sets[0].X, sets[1].X)
    assert torch.equal(states[0], states[2])
    assert not torch.equal(states[0], states[1])


class Lively(SyntheticRegressionData):
    """Counts, and draws from generators of its own."""

    def __init__(self):
        super().__init__(num_train=40, num_val=8, batch_size=8)
        self.torch, self.numpy = torch.Generator().manual_seed(1), np.random.default_rng(1)
        self.python, self.count, self.tally = random.Random(1), 0, {"calls": [0]}
        self.counted, self.images = torch.zeros(2), torch.zeros(30_000)

    def get_dataloader(self, train):
        self.count += 1
        self.tally["calls"][0] += 1
        self.counted += 1
        noise = torch.rand(len(self.X), generator=self.torch).reshape(-1, 1)
        noise = noise + self.numpy.random() + self.python.random()
        i = slice(0, self.num_train) if train else slice(self.num_train, None)
        return self.get_tensorloader((self.X, self.y + noise), train, i)

    def state(self):
        drawn = [self.python.random(), self.numpy.random()]
        drawn += torch.rand(1, generator=self.torch).tolist()
        return [self.count, self.tally["calls"][0], self.counted.tolist(), drawn]


def test_each_member_gets_the_data_as_they_were_given():
    data, made = Lively(), MadeData()
    first = made.of(member(data=data))
    first.get_dataloader(True)
    used = first.state()
    second = made.of(member(1, data=data))
    assert second.state() == made.of(member(2, data=data)).state() == data.state() != used


def test_copies_of_data_share_what_is_large():
    data, made = Lively(), MadeData()
    copies = [made.of(member(k, data=data)) for k in range(2)]
    assert {copy.images.data_ptr() for copy in copies} == {data.images.data_ptr()}
    assert copies[0].counted.data_ptr() != copies[1].counted.data_ptr()


def test_data_made_of_a_class_come_to_each_member_as_they_were_made():
    made = MadeData()
    first = made.of(member(data=Lively))
    first.get_dataloader(True)
    assert made.of(member(1, data=Lively)).count == 0


class Locked(Lively):
    """Cannot be copied."""

    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()


def test_data_that_cannot_be_copied_are_shared_set_back_and_told_of():
    data, made = Locked(), MadeData()
    with pytest.warns(GradbookWarning, match="Locked cannot be copied for each member"):
        first = made.of(member(data=data))
    assert first is data
    data.get_dataloader(True)
    drawn = [data.python.random(), data.numpy.random()]
    made.of(member(1, data=data)).get_dataloader(True)
    assert data.count == 1
    assert [data.python.random(), data.numpy.random()] == drawn
    made.close()
    assert data.count == 0


@pytest.mark.slow
@pytest.mark.parametrize("rates", [(0.1, 0.2), (2.0, 0.1)])
def test_a_member_that_cannot_be_made_does_not_keep_the_others_from_being_stacked(rates):
    members = [member(k, lr=lr) for k, lr in enumerate(rates)]
    assert reason_alone(members, MadeData()) is None
    assert not list(Path().iterdir())  # nothing was kept


def test_what_a_member_did_not_write_is_kept_where_it_is_trained():
    one = member()
    (one.folder / "checkpoints").mkdir(parents=True)
    theirs = ("NOTES.txt", "checkpoints/mine.pt", "run.json.old")
    for name in theirs:
        (one.folder / name).write_text("mine")
    for name in ("metrics.jsonl", "run.json.123.part"):  # what a killed process leaves
        (one.folder / name).write_text("{")
    [result] = train_members([one])
    assert result["error"] is None
    assert [(one.folder / name).read_text() for name in theirs] == ["mine"] * 3
    assert not (one.folder / "run.json.123.part").exists()
    assert one.is_done
