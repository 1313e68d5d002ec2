import json

import pytest
import torch
from tests.small import Always, Given, Net, fit
from torch import nn

from gradbook import Blobs, LinearRegression, Module, Moons, Sine, Trainer, seed_everything
from gradbook.errors import DataError, GradbookWarning, ModelError
from gradbook.inspection import boundary
from gradbook.inspection.boundaries import BoundaryWatcher


class Sign(nn.Module):
    """Scores for class 1 right of x1 = 0, and class 0 left of it."""

    def forward(self, X):
        return torch.stack([-X[:, 0], X[:, 0]], dim=1)


SQUARE = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]])


def test_a_classifier_of_two_inputs_has_regions():
    found = boundary(Sign(), [(SQUARE, torch.tensor([0, 1, 0, 0]))])
    x1, x2 = found.axes
    assert (x1[0], x1[-1], x2[0], x2[-1]) == pytest.approx((-1.2, 1.2, -1.2, 1.2))
    assert torch.equal(found.grid, (x1 > 0).long().expand(200, 200))
    assert found.measures() == {"given": 0.75}
    assert "accuracy 0.75 (given)" in str(found)
    assert "x1 from -1.2 to 1.2" in str(found)


def test_one_logit_for_each_example_has_two_regions():
    class Logit(Net):
        def loss(self, y_hat, y):
            return nn.functional.binary_cross_entropy_with_logits(y_hat, y)

    model = Logit(nn.Linear(2, 1))
    nn.init.constant_(model.net[0].weight, 1)
    nn.init.zeros_(model.net[0].bias)
    found = boundary(model, [(SQUARE, torch.tensor([[0.0], [1.0], [0.0], [1.0]]))])
    x1, x2 = found.axes
    assert torch.equal(found.grid, (x1[None] + x2[:, None] > 0).long())
    assert found.measures() == {"given": 0.75}


@pytest.mark.slow
def test_a_regression_of_one_input_has_a_curve():
    model = nn.Linear(1, 1)
    data = Sine(num_train=20, num_val=10)
    found = boundary(model, data)
    torch.testing.assert_close(found.grid, model(found.axes[0][:, None])[:, 0].detach())
    error = (model(data.X[20:]).detach() - data.y[20:]) ** 2
    assert found.measures()["validation"] == pytest.approx(float(error.mean()))
    (axes,) = found.figure().axes
    assert [len(line.get_xdata()) for line in axes.lines] == [20, 10, 400]


def test_a_regression_of_two_inputs_has_colors_of_values():
    found = boundary(LinearRegression(), [(SQUARE, torch.zeros(4, 1))])
    assert found.grid.shape == (200, 200)
    assert len(found.figure().axes) == 2  # the picture and the scale of its colors


@pytest.mark.slow
def test_training_points_are_filled_and_validation_points_hollow():
    found = boundary(Sign(), Moons(num_train=20, num_val=10))
    (axes,) = found.figure().axes
    points = [(len(c.get_offsets()), len(c.get_facecolor()) > 0) for c in axes.collections]
    assert points == [(10, True), (10, True), (5, False), (5, False)]


def test_a_look_changes_nothing_of_the_model():
    called = []
    model = Net(nn.LazyLinear(4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
    model(SQUARE)
    model.net[1].eval()
    model.net[0].register_forward_hook(lambda *_: called.append(1))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    boundary(model, [(SQUARE, torch.tensor([0, 1, 0, 1]))])
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert (model.training, model.net[1].training, model.net[2].training) == (True, False, True)
    assert called == []


def test_a_lazy_model_stays_as_it_was():
    model = Net(nn.LazyLinear(2))
    boundary(model, [(SQUARE, torch.tensor([0, 1, 0, 1]))])
    assert isinstance(model.net[0], nn.LazyLinear)


@pytest.mark.parametrize(
    ("model", "batch", "Problem", "text"),
    [
        (nn.Linear(3, 2), (torch.ones(4, 3), torch.zeros(4).long()), DataError, "one or two inp"),
        (nn.Linear(1, 2), (torch.ones(4, 1), torch.zeros(4).long()), DataError, "two inputs"),
        (nn.Linear(2, 2), (torch.ones(4, 2), torch.zeros(4, 2)), ModelError, "one value, or one"),
        (nn.Linear(2, 1), (torch.full((4, 2), torch.inf), torch.zeros(4, 1)), ModelError, "finite"),
        (Module, (SQUARE, torch.zeros(4, 1)), ModelError, "instance of Module"),
    ],
)
def test_what_cannot_be_drawn_is_said(model, batch, Problem, text):
    with pytest.raises(Problem, match=text):
        boundary(model, [batch])


def watched(watch, run=None):
    seed_everything(0)
    data = Blobs(num_train=24, num_val=12, batch_size=8)
    model = Net(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))
    trainer = fit(model, data, max_epochs=2, watch=watch, display="off", run=run)
    return trainer, model.state_dict()


@pytest.mark.slow
def test_a_watched_training_is_the_same_to_the_last_bit():
    (_, plain), (trainer, seen) = watched([]), watched(["boundary", "gradients"])
    assert all(torch.equal(plain[name], seen[name]) for name in plain)
    assert trainer.reports["boundary"].grid.shape == (200, 200)
    alone, _ = watched(["gradients"])
    assert repr(trainer.reports["gradients"].rows) == repr(alone.reports["gradients"].rows)


@pytest.mark.slow
def test_the_run_keeps_the_picture(tmp_path):
    trainer, _ = watched("boundary", tmp_path)
    (folder,) = tmp_path.glob("net-1")
    assert {path.suffix for path in folder.glob("boundary.*")} == {".svg", ".png", ".json"}
    facts = json.loads((folder / "boundary.json").read_text())
    assert facts["validation"] == trainer.reports["boundary"].measures()["validation"]


def test_data_that_cannot_be_drawn_are_said_once_and_the_training_goes_on():
    with pytest.warns(GradbookWarning, match="one or two inputs") as said:
        trainer = fit(Net(nn.Linear(6, 3)), Always(), watch="boundary", display="off")
    assert len(said) == 1
    assert trainer.status == "finished"
    assert "boundary" not in trainer.reports


def test_batches_that_may_come_only_once_are_not_looked_at():
    class Once:
        def __len__(self):
            return 1

        def __iter__(self):
            yield [SQUARE, torch.tensor([0, 1, 0, 1])]

    with pytest.warns(GradbookWarning, match="take examples from the training"):
        trainer = fit(Net(nn.Linear(2, 2)), Given(Once()), watch="boundary", display="off")
    assert trainer.status == "finished"


@pytest.mark.slow
def test_a_notebook_shows_each_epoch_in_one_place(monkeypatch):
    shown = []

    class Handle:
        def display(self, bundle, **kwargs):
            shown.append(("new", bundle))

        def update(self, bundle, **kwargs):
            shown.append(("again", bundle))

    monkeypatch.setattr("IPython.display.DisplayHandle", Handle)
    monkeypatch.setattr("gradbook.inspection.boundaries.place", lambda display: "notebook")
    watcher = BoundaryWatcher(clock=lambda: 0.0)
    trainer = Trainer(3, display="off", sinks=[watcher])
    trainer.fit(Net(nn.Linear(2, 3)), Blobs(num_train=9, num_val=0))
    assert [how for how, _ in shown] == ["new", *["again"] * 4]
    assert shown[-1][1]["text/plain"] == repr(trainer.reports["boundary"])
    assert set(shown[-1][1]) == {"image/svg+xml", "image/png", "application/pdf", "text/plain"}


def test_of_two_sets_both_are_drawn():
    data = Moons(num_train=20, num_val=10)
    sets = [(data.X[:20], data.y[:20]), (data.X[20:], data.y[20:])]
    found = boundary(Net(nn.Linear(2, 2)), tuple(sets))

    assert {name: len(points.y) for name, points in found.sets.items()} == {
        "training": 20,
        "validation": 10,
    }


@pytest.mark.slow
@pytest.mark.parametrize(("display", "is_shown"), [(None, True), ("off", False)])
def test_it_is_shown_where_the_curves_are(monkeypatch, display, is_shown):
    shown = []

    class Handle:
        def display(self, bundle, **kwargs):
            shown.append(bundle["text/plain"])

        update = display

    monkeypatch.setattr("IPython.display.DisplayHandle", Handle)
    monkeypatch.delenv("GRADBOOK_DISPLAY", raising=False)
    monkeypatch.setattr("gradbook.display.choose.in_kernel", lambda: True)
    trainer = Trainer(2, display=display, watch="boundary")
    trainer.fit(Net(nn.Linear(2, 2)), Moons(num_train=8, num_val=4))

    assert (repr(trainer.reports["boundary"]) in shown) == is_shown
