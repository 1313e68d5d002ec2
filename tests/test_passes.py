"""A training's passes over its sets: within each other, of unforeseen length, or only once."""

import warnings
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import gradbook
from gradbook import Classifier, DataModule, Sink, Trainer
from gradbook.errors import DataError, GradbookWarning

pytestmark = pytest.mark.usefixtures("undo_patches", "blank_figures")

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(44, 3, generator=GENERATOR)
y = (X[:, 0] > 0).long()


class Data(DataModule):
    """Forty examples in batches of 8 and 12 in batches of 8; or what it is given."""

    def __init__(self, train=None, val=None):
        super().__init__()
        self.batch_size = 8
        self.loaders = {True: train, False: val}

    def get_dataloader(self, train):
        if self.loaders[train] is not None:
            return self.loaders[train]
        rows = slice(0, 36) if train else slice(32, None)
        return self.get_tensorloader((X, y), train, rows)


class TorchData(Data):
    def get_dataloader(self, train):
        rows = slice(0, 36) if train else slice(32, None)
        return DataLoader(TensorDataset(X[rows], y[rows]), 8, shuffle=train)


class Net(Classifier):
    """A linear classifier, with a step that does something beside."""

    def __init__(self, aside=None, lr=0.5):
        super().__init__()
        self.save_hyperparameters(ignore=["aside"])
        self.aside = aside
        self.net = nn.Linear(3, 2)
        self.schedule_steps = 0

    def training_step(self, batch):
        if self.aside is not None:
            self.aside(self.trainer)
        return super().training_step(batch)


def fit(model=None, data=None, max_epochs=2, resume=None, **settings):
    gradbook.seed_everything(1)
    model = model or Net()
    nn.init.normal_(model.net.weight, generator=torch.Generator().manual_seed(2))
    nn.init.zeros_(model.net.bias)
    trainer = Trainer(max_epochs, display=False, **settings)
    trainer.fit(model, data or Data(), resume=resume)
    return trainer


def replace(loop):
    Trainer.fit_epoch = loop


def step(trainer, batch):
    """A step as in the book."""
    trainer.model.train()
    loss = trainer.model.training_step(trainer.prepare_batch(batch))
    trainer.optim.zero_grad()
    with torch.no_grad():
        loss.backward()
        trainer.optim.step()
    trainer.train_batch_idx += 1


def validate(trainer):
    trainer.model.eval()
    for batch in trainer.val_dataloader:
        with torch.no_grad():
            trainer.model.validation_step(trainer.prepare_batch(batch))
        trainer.val_batch_idx += 1


def weight(trainer):
    return trainer.model.net.weight.detach().clone()


def mean_loss(trainer, rows):
    with torch.no_grad():
        return F.cross_entropy(trainer.model(X[rows]), y[rows]).item()


# A pass within a pass


def look_at_validation(trainer):
    next(iter(trainer.val_dataloader))


def look_at_training(trainer):
    next(iter(trainer.train_dataloader))


def go_through_validation(trainer):
    assert len(list(trainer.val_dataloader)) == 2


def go_through_training(trainer):
    assert len(list(trainer.train_dataloader)) == 5


def leave_validation(trainer):
    for _, _ in enumerate(trainer.val_dataloader):
        break


def keep_an_iterator(trainer):
    if not hasattr(trainer, "kept") or next(trainer.kept, None) is None:
        trainer.kept = iter(trainer.val_dataloader)
        next(trainer.kept)


def validate_within(trainer):
    trainer.validate(trainer.model, trainer.data)


ASIDES = [
    look_at_validation,
    look_at_training,
    go_through_validation,
    go_through_training,
    leave_validation,
    keep_an_iterator,
    validate_within,
]


def by_hand(aside, together, max_epochs=2):
    """The same with loaders of the data's own, which know nothing of each other."""
    model, data = Net(), Data()
    gradbook.seed_everything(1)
    Net()  # draws what the model in fit() has drawn
    gradbook.seed_everything(1)
    nn.init.normal_(model.net.weight, generator=torch.Generator().manual_seed(2))
    nn.init.zeros_(model.net.bias)
    model.trainer = trainer = Trainer(max_epochs)
    trainer.train_dataloader, trainer.val_dataloader = (
        data.train_dataloader(),
        data.val_dataloader(),
    )
    trainer.model, trainer.data, trainer.epoch = model, data, 0
    optim = model.configure_optimizers()
    for _ in range(max_epochs):
        waiting = []
        for i, batch in enumerate(trainer.train_dataloader):
            if aside is not None:
                aside(trainer)
            waiting.append(F.cross_entropy(model(batch[0]), batch[1]))
            if len(waiting) == together or i == 4:
                optim.zero_grad()
                (sum(waiting) / len(waiting)).backward()
                optim.step()
                waiting = []
    return model.net.weight.detach()


@pytest.mark.parametrize("together", [1, 2])
@pytest.mark.parametrize("aside", ASIDES)
def test_a_step_may_look_at_other_batches(aside, together):
    trainer = fit(Net(aside), accumulate_grad_batches=together)
    torch.testing.assert_close(weight(trainer), by_hand(aside, together))
    assert trainer.num_steps == 2 * (5 if together == 1 else 3)
    assert (trainer.train_batch_idx, trainer.val_batch_idx) == (10, 4)
    assert trainer.history[-1]["val_loss"] == pytest.approx(mean_loss(trainer, slice(32, None)))


class Stop(Sink):
    """Ends the training after some steps, as Ctrl-C does, and keeps a checkpoint."""

    def __init__(self, path, after):
        self.path, self.after = path, after

    def end_step(self, trainer):
        if trainer.num_steps == self.after:
            trainer.save_checkpoint(self.path)
            raise KeyboardInterrupt


def assert_resumes(tmp_path, after, aside=None, data=Data, stop=Stop, warning=None, **settings):
    """Holds a training that was stopped and resumed against one that was not."""
    whole = fit(Net(aside), data(), 3, **settings)
    path = tmp_path / "middle.pt"
    with pytest.raises(KeyboardInterrupt):
        fit(Net(aside), data(), 3, sinks=[stop(path, after)], **settings)
    if warning is None:
        resumed = fit(Net(aside), data(), 3, resume=path, **settings)
    else:
        with pytest.warns(GradbookWarning, match=warning):
            resumed = fit(Net(aside), data(), 3, resume=path, **settings)
    assert torch.equal(weight(whole), weight(resumed))
    assert whole.history.rows == resumed.history.rows
    assert whole.model.board.data == resumed.model.board.data
    assert whole.num_steps == resumed.num_steps


@pytest.mark.slow
@pytest.mark.parametrize("data", [Data, TorchData])
@pytest.mark.parametrize("together", [1, 2])
@pytest.mark.parametrize("aside", [a for a in ASIDES if a is not keep_an_iterator])
def test_a_training_whose_steps_look_at_other_batches_resumes(aside, together, data, tmp_path):
    assert_resumes(tmp_path, 4, aside, data, accumulate_grad_batches=together)


def test_an_iterator_that_is_kept_open_is_told_on_resume(tmp_path):
    path = tmp_path / "middle.pt"
    with pytest.raises(KeyboardInterrupt):
        fit(Net(keep_an_iterator), sinks=[Stop(path, 3)])
    with pytest.warns(GradbookWarning, match="an iterator over a set was open beside the pass"):
        fit(Net(keep_an_iterator), resume=path)


class Look(Sink):
    """Looks at batches wherever a sink is called."""

    def open(self, board, trainer=None):
        look_at_validation(trainer)
        self.kept = iter(trainer.train_dataloader)
        next(self.kept)

    def end_step(self, trainer):
        look_at_validation(trainer)
        look_at_training(trainer)

    def end_epoch(self, trainer):
        look_at_validation(trainer)
        go_through_training(trainer)


@pytest.mark.slow
def test_a_sink_may_look_at_batches(tmp_path):
    trainer = fit(sinks=[Look()], run=tmp_path, accumulate_grad_batches=2)
    assert (trainer.num_steps, trainer.train_batch_idx, trainer.val_batch_idx) == (6, 10, 4)
    assert [p.x for p in trainer.model.board.data["val_loss"]] == [1, 2]
    run = next(path for path in tmp_path.iterdir() if (path / "run.json").exists())
    with pytest.warns(GradbookWarning, match="an iterator over a set was open"):
        fit(max_epochs=3, run=tmp_path, resume=run, accumulate_grad_batches=2)


# Loops of the learner's own


def looks_first(trainer):
    next(iter(trainer.train_dataloader))
    next(iter(trainer.val_dataloader))
    for batch in trainer.train_dataloader:
        step(trainer, batch)
    validate(trainer)


def leaves_a_loop(trainer):
    for batch in trainer.train_dataloader:
        if trainer.train_batch_idx % 7 == 2:
            break
        step(trainer, batch)
    for batch in trainer.train_dataloader:
        step(trainer, batch)
    validate(trainer)


def trains_twice(trainer):
    for batch in trainer.train_dataloader:
        step(trainer, batch)
    validate(trainer)
    for batch in trainer.train_dataloader:
        step(trainer, batch)


def validates_within(trainer):
    for batch in trainer.train_dataloader:
        step(trainer, batch)
        if trainer.train_batch_idx % 2:
            validate(trainer)


@pytest.mark.slow
@pytest.mark.parametrize("data", [Data, TorchData])
@pytest.mark.parametrize("after", [1, 3, 6, 8, 12, 13])
@pytest.mark.parametrize("loop", [leaves_a_loop, trains_twice, validates_within])
def test_loops_of_many_forms_resume(loop, after, data, tmp_path):
    replace(loop)
    assert_resumes(tmp_path, after, data=data)


@pytest.mark.parametrize("after", [1, 3, 6])
def test_a_loop_that_looks_at_a_batch_first_resumes_with_a_word(after, tmp_path):
    replace(looks_first)
    assert_resumes(
        tmp_path, after, warning="had taken only the first batch of a pass over the (train|val) set"
    )


def test_a_loop_that_counts_for_itself_resumes_with_a_word(tmp_path):
    def fit_epoch(self):
        for _, batch in enumerate(self.train_dataloader):
            step(self, batch)

    replace(fit_epoch)
    assert_resumes(tmp_path, 3, warning="fit_epoch counts with enumerate")


def test_validation_within_an_epoch_is_weighted_by_examples():
    replace(validates_within)
    trainer = fit(Net(lr=0.0), max_epochs=1)
    assert trainer.history[0]["val_loss"] == pytest.approx(mean_loss(trainer, slice(32, None)))
    assert trainer.history[0]["train_loss"] == pytest.approx(mean_loss(trainer, slice(0, 36)))


def test_two_sets_side_by_side_resume_with_a_word(tmp_path):
    def fit_epoch(self):
        for batch, _ in zip(self.train_dataloader, self.val_dataloader, strict=False):
            step(self, batch)

    replace(fit_epoch)
    whole = fit()
    assert (whole.num_steps, whole.train_batch_idx) == (4, 4)
    path = tmp_path / "middle.pt"
    with pytest.raises(KeyboardInterrupt):
        fit(sinks=[Stop(path, 1)])
    with pytest.warns(GradbookWarning, match="was open beside the pass"):
        fit(resume=path)


def test_a_training_set_within_another_iterator_is_told():
    def fit_epoch(self):
        kept = iter(self.val_dataloader)
        next(kept)
        for batch in self.train_dataloader:
            step(self, batch)

    replace(fit_epoch)
    with pytest.warns(GradbookWarning, match="another iterator over a set was still open"):
        trainer = fit()
    assert trainer.train_batch_idx == 10


def test_an_epoch_that_goes_on_in_another_order_is_refused(tmp_path):
    replace(trains_twice)
    path = tmp_path / "middle.pt"
    with pytest.raises(KeyboardInterrupt):
        fit(sinks=[Stop(path, 7)])
    state = gradbook.checkpoint.load(path)
    state["position"]["earlier"] = [["val", 2], ["train", 5]]
    with pytest.raises(
        DataError, match="iterates over the train set where it iterated over the val"
    ):
        fit(resume=state)


# Lengths that are wrong


class Rows(IterableDataset):
    """Says that it has so many rows, and gives others; of several numbers, one after the other."""

    def __init__(self, says, *gives, start=0):
        self.says, self.gives, self.start, self.passes = says, gives, start, 0

    def __len__(self):
        return self.says

    def __iter__(self):
        n = self.gives[min(self.passes, len(self.gives) - 1)]
        self.passes += 1
        for i in range(n):
            yield X[(self.start + i) % 44], y[(self.start + i) % 44]


class WrongSampler:
    def __init__(self, says, gives):
        self.says, self.gives = says, gives

    def __len__(self):
        return self.says

    def __iter__(self):
        return (i % 44 for i in range(self.gives))


def stream(says, *gives):
    return DataLoader(Rows(says, *gives), 8)


def sampled(says, gives):
    return DataLoader(TensorDataset(X, y), 8, sampler=WrongSampler(says, gives))


def workers(says, gives):
    return DataLoader(Rows(says, gives // 2), 8, num_workers=2)


def expected_weight(batches, epochs, together, sizes):
    """Training by hand: in each epoch, groups of batches as `sizes` has them."""
    model = Net()
    nn.init.normal_(model.net.weight, generator=torch.Generator().manual_seed(2))
    nn.init.zeros_(model.net.bias)
    optim = torch.optim.SGD(model.parameters(), lr=0.5)
    for groups in sizes:
        rest = iter(batches)
        for size in groups:
            optim.zero_grad()
            losses = [F.cross_entropy(model(X), y) for X, y in (next(rest) for _ in range(size))]
            (sum(losses) / size).backward()
            optim.step()
    return model.net.weight.detach()


@pytest.mark.parametrize(
    ("make", "says", "gives", "groups"),
    [
        (stream, 40, 20, [[2, 1], [2, 1], [2, 1]]),
        (sampled, 40, 20, [[2, 1], [2, 1], [2, 1]]),
        (stream, 40, 60, [[2, 2, 1, 2, 1], [2, 2, 2, 2], [2, 2, 2, 2]]),
        (sampled, 40, 72, [[2, 2, 1, 2, 2], [2, 2, 2, 2, 1], [2, 2, 2, 2, 1]]),
        (stream, 24, 8, [[1], [1], [1]]),
    ],
)
def test_epochs_go_by_the_batches_that_came(make, says, gives, groups):
    num = sum(groups[1])
    with pytest.warns(GradbookWarning) as told:
        trainer = fit(data=Data(make(says, gives)), max_epochs=3, accumulate_grad_batches=2)
    assert [str(w.message) for w in told] == [
        f"The training set gave {num} batches in epoch 1, but its len() is {-(-says // 8)}. From "
        f"here on, an epoch is as many batches as came in the last."
    ]
    assert (trainer.num_train_batches, trainer.train_batch_idx) == (num, 3 * num)
    assert trainer.num_steps == sum(map(len, groups))
    xs = [point.x for point in trainer.model.board.data["train_loss"]]
    assert xs == sorted(xs)
    assert xs[-1] <= 3
    batches = list(make(says, gives))
    torch.testing.assert_close(weight(trainer), expected_weight(batches, 3, 2, groups))


@pytest.mark.slow
def test_workers_that_each_give_all_are_told():
    with pytest.warns(GradbookWarning, match=r"gave 10 batches .* len\(\) is 5.*get_worker_info"):
        trainer = fit(data=Data(workers(40, 80)), accumulate_grad_batches=3)
    assert trainer.num_train_batches == 10
    assert trainer.train_batch_idx == 20
    assert max(point.x for point in trainer.model.board.data["train_loss"]) < 2


def test_a_validation_set_of_another_length_is_counted_too():
    with pytest.warns(GradbookWarning, match=r"The validation set gave 2 batches .* is 5"):
        trainer = fit(data=Data(val=stream(40, 12)), max_epochs=3)
    assert (trainer.num_val_batches, trainer.val_batch_idx) == (2, 6)
    assert [point.x for point in trainer.model.board.data["val_loss"]] == [1, 2, 3]


def test_means_are_weighted_by_the_examples_that_came():
    data = Data(sampled(40, 20), stream(16, 44))
    with pytest.warns(GradbookWarning, match="training set gave 3 .* validation set gave 6"):
        trainer = fit(Net(lr=0.0), data, max_epochs=2)
    for row in trainer.history:
        assert row["train_loss"] == pytest.approx(mean_loss(trainer, slice(0, 20)))
        assert row["val_loss"] == pytest.approx(mean_loss(trainer, slice(0, 44)))


def test_a_set_that_varies_is_told_once_and_x_stays_in_its_epoch():
    with pytest.warns(GradbookWarning) as told:
        trainer = fit(data=Data(stream(40, 40, 24, 56, 16, 40)), max_epochs=5)
    assert [str(w.message).split(":")[0].split(".")[0] for w in told] == [
        "The training set gave 3 batches in epoch 2, but its len() is 5",
        "The training set gave 7 batches in epoch 3, after 3 in the one before",
    ]
    model = Net()
    model.plot_train_per_epoch = 1000
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GradbookWarning)
        trainer = fit(model, Data(stream(40, 40, 24, 56, 16, 40)), max_epochs=5)
    xs = [point.x for point in trainer.model.board.data["train_loss"]]
    ends = [0, 5, 8, 15, 17, 22]
    assert len(xs) == 22
    for epoch, (begin, end) in enumerate(pairwise(ends)):
        assert all(epoch <= x <= epoch + 1 for x in xs[begin:end])
        assert xs[begin] == epoch
    assert trainer.num_steps == 22


@pytest.mark.slow
@pytest.mark.parametrize("after", [1, 2, 4, 5, 7, 9])
@pytest.mark.parametrize(("says", "gives"), [(40, 20), (40, 60)])
@pytest.mark.filterwarnings("ignore:The training set gave:gradbook.errors.GradbookWarning")
def test_a_set_of_another_length_resumes(says, gives, after, tmp_path):
    def data():
        return Data(stream(says, gives))

    if says > gives and after > 6:
        pytest.skip("it has no more steps")
    assert_resumes(tmp_path, after, data=data, accumulate_grad_batches=2)


def test_schedules_step_with_each_step_that_was_taken():
    class Scheduled(Net):
        def configure_optimizers(self):
            optim = torch.optim.SGD(self.parameters(), lr=1.0)
            scheduler = torch.optim.lr_scheduler.ExponentialLR(optim, 0.5)
            settings = {"scheduler": scheduler, "interval": "step"}
            return {"optimizer": optim, "lr_scheduler": settings}

    with pytest.warns(GradbookWarning, match="gave 3 batches"):
        trainer = fit(Scheduled(), Data(stream(40, 24)), accumulate_grad_batches=2)
    assert trainer.num_steps == 4
    assert trainer.optim.param_groups[0]["lr"] == 0.5**4


def test_a_limit_holds_for_a_set_that_gives_more_than_it_says():
    with pytest.warns(GradbookWarning, match="gave 7 batches"):
        trainer = fit(data=Data(stream(40, 80)), limit_batches=7)
    assert trainer.num_train_batches == 7


def test_a_loop_of_the_learner_s_own_counts_so_too():
    def fit_epoch(self):
        for batch in self.train_dataloader:
            step(self, batch)
        validate(self)

    replace(fit_epoch)
    with pytest.warns(GradbookWarning, match="gave 8 batches"):
        trainer = fit(data=Data(stream(40, 60)), max_epochs=3)
    xs = [point.x for point in trainer.model.board.data["train_loss"]]
    assert (trainer.num_train_batches, trainer.train_batch_idx) == (8, 24)
    assert xs == sorted(xs)
    assert xs[-1] < 3


# Sets that give their batches once


class Once:
    """Batches with a length, which come once."""

    def __init__(self):
        self.left = 3

    def __len__(self):
        return 3

    def __iter__(self):
        return self

    def __next__(self):
        self.left -= 1
        if self.left < 0:
            raise StopIteration
        return X[:8], y[:8]


class BeginsAnew(Once):
    """The same, written as many tutorials do, but going back to its beginning."""

    def __iter__(self):
        self.left = 3
        return self


class OnceStream(IterableDataset):
    """A data set around a generator."""

    def __init__(self, n=24):
        self.n, self.rows = n, ((X[i], y[i]) for i in range(n))

    def __len__(self):
        return self.n

    def __iter__(self):
        return self.rows


class IteratorSet(OnceStream):
    def __iter__(self):
        return self

    def __next__(self):
        return next(self.rows)


@pytest.mark.parametrize("train", [True, False], ids=["training", "validation"])
@pytest.mark.parametrize("make", [Once, lambda: DataLoader(IteratorSet(), 8)])
def test_an_iterator_is_refused_before_any_training(make, train):
    model = Net()
    before = model.net.weight.clone()
    with pytest.raises(DataError, match="only once"):
        Trainer(2, display=False).fit(model, Data(make()) if train else Data(val=make()))
    assert torch.equal(model.net.weight, before)


def test_an_iterator_is_enough_for_one_epoch():
    trainer = fit(data=Data(Once(), Once()), max_epochs=1)
    assert (trainer.train_batch_idx, trainer.val_batch_idx) == (3, 3)


def test_an_iterator_that_goes_back_to_its_beginning_is_no_stream():
    trainer = fit(data=Data(BeginsAnew(), BeginsAnew()), max_epochs=3)
    assert (trainer.train_batch_idx, trainer.val_batch_idx) == (9, 9)


@pytest.mark.parametrize("replaced", [False, True], ids=["ours", "the book's fit_epoch"])
@pytest.mark.parametrize("train", [True, False], ids=["training", "validation"])
def test_a_set_that_gives_nothing_in_its_second_pass_ends_the_training(train, replaced):
    if replaced:

        def fit_epoch(self):
            for batch in self.train_dataloader:
                step(self, batch)
            validate(self)

        replace(fit_epoch)
    loader = DataLoader(OnceStream(), 8)
    model = Net()
    trainer = Trainer(3, display=False)
    name = "training" if train else "validation"
    with pytest.raises(
        DataError, match=f"The {name} set gave no batch in epoch 2.*all its batches each time"
    ):
        trainer.fit(model, Data(loader) if train else Data(val=loader))
    assert trainer.status == "failed"
    assert len(trainer.history) == 1
    assert trainer.train_batch_idx == (3 if train else 10)


def test_batches_that_become_fewer_are_told_and_then_refused():
    class Fewer(OnceStream):
        def __iter__(self):
            for _ in range(16):
                row = next(self.rows, None)
                if row is None:
                    return
                yield row

    with pytest.warns(GradbookWarning) as told, pytest.raises(DataError, match="in epoch 3"):
        fit(data=Data(val=DataLoader(Fewer(), 8)), max_epochs=4)
    assert "gave 2 batches in epoch 1" in str(told[0].message)
    assert "gave 1 batches in epoch 2, after 2" in str(told[1].message)
