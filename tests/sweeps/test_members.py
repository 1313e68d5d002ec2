"""One training of a sweep: what it is made with, and whether it is done."""

import pickle
from pathlib import Path

import pytest
import torch

from gradbook import LinearRegressionScratch, SyntheticRegressionData, Trainer
from gradbook.seeds import seed_everything
from gradbook.sweeps.members import MadeData, Member, reason_alone, train_members


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
    assert one is other is not third
    assert Still.made == 2


def test_data_that_draw_are_made_for_each_seed_and_leave_the_generators_alike():
    made, states = MadeData(), []
    sets = []
    for seed in (0, 1, 0):
        seed_everything(seed)
        sets.append(made.of(member(seed=seed)))
        states.append(torch.get_rng_state())
    assert sets[0] is sets[2] is not sets[1]
    assert torch.equal(states[0], states[2])
    assert not torch.equal(states[0], states[1])


def test_data_that_exist_are_taken_as_they_are():
    data = Still()
    assert MadeData().of(member(data=data)) is data


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
