import json
import math
import subprocess
import sys

import pytest
import torch
from tests.small import Always, Blobs, Data, Given, Net, Scratch, fit
from torch import nn

import gradbook
from gradbook import checkpoint, registry
from gradbook.errors import ConfigError, CorruptFileError, GradbookWarning, ModelError
from gradbook.inspection.weight_film import (
    MOST_KEPT,
    LayerImages,
    WeightReport,
    WeightWatcher,
    film_of,
    first_layer_images,
    input_shape_of,
)
from gradbook.runs.film import MOST_NUMBERS, Film


def images(num_units=2, side=3, scale=1.0):
    values = torch.arange(num_units * side * side).float().reshape(num_units, side, side)
    return LayerImages("net.0.weight", True, num_units, (side, side), scale * values)


def pictures(num_examples=12, channels=1, side=4):
    generator = torch.Generator().manual_seed(0)
    X = torch.rand(num_examples, channels, side, side, generator=generator)
    return Data(X, torch.arange(num_examples) % 3, num_train=8)


def mlp(num_pixels=16):
    return Net(nn.Flatten(), nn.Linear(num_pixels, 5), nn.ReLU(), nn.Linear(5, 3))


# Which weights


def test_a_unit_of_a_linear_layer_has_an_image_of_what_it_looks_for_in_each_pixel():
    model = mlp()
    found = first_layer_images(model, (1, 4, 4))

    assert (found.layer, found.has_units, found.num_units) == ("net.1.weight", True, 5)
    assert torch.equal(found.images, model.net[1].weight.detach().reshape(5, 4, 4))


def test_a_matrix_that_was_written_out_has_its_units_in_columns():
    model = gradbook.MLPScratch(16, 3, 5, 0.1)
    found = first_layer_images(model, (1, 4, 4))

    assert torch.equal(found.images, model.W1.detach().t().reshape(5, 4, 4))


def test_a_unit_of_a_convolution_has_its_kernel_and_channels_side_by_side():
    model = Net(nn.Conv2d(3, 4, 5))
    found = first_layer_images(model, (3, 8, 8))

    assert found.images.shape == (4, 5, 15)
    assert torch.equal(found.images[1, :, 5:10], model.net[0].weight.detach()[1, 1])


def test_a_matrix_that_takes_no_image_is_one_image():
    model = Scratch()
    found = first_layer_images(model, (2,))

    assert not found.has_units
    assert torch.equal(found.images[0], model.w.detach())


def test_units_that_are_the_classes_have_their_names():
    class Named(Data):
        def text_labels(self, indices):
            return [("cat", "dog", "emu")[int(i)] for i in indices]

    data = Named(torch.rand(8, 1, 4, 4), torch.arange(8) % 3)
    report = fit(gradbook.SoftmaxRegression(3, 0.1), data, 1, watch="weights").reports["weights"]
    assert report.film.names == ("cat", "dog", "emu")
    report = fit(gradbook.MLP(3, 4), data, 1, watch="weights").reports["weights"]
    assert report.film.names == ()


def test_large_images_are_made_smaller_and_fewer():
    found = first_layer_images(Net(nn.Flatten(), nn.Linear(96 * 96, 70)), (1, 96, 96))

    assert found.full_shape == (96, 96)
    assert found.images.shape[1:] == (64, 64)
    assert found.images.numel() <= MOST_NUMBERS
    assert found.num_units == 70


def test_a_model_without_matrices_is_told_that_it_has_none():
    with pytest.raises(ModelError, match="two or more dimensions"):
        first_layer_images(Net(nn.BatchNorm1d(4)), (4,))


def test_the_input_s_shape_is_not_known_of_what_is_no_tensor():
    assert input_shape_of([torch.zeros(2, 3, 4), torch.zeros(2)]) == (3, 4)
    assert input_shape_of([None, torch.zeros(2)]) is None


# How they are kept


def test_a_weight_comes_back_to_a_254th_of_the_largest():
    found = images(scale=0.01)
    film = film_of(found, [(0, found.images)])

    error = torch.tensor(film.values(0)) - found.images.reshape(-1)
    assert film.limits == (pytest.approx(0.17),)
    assert error.abs().max() <= 0.17 / 254 + 1e-8
    assert film.values(0)[0] == 0  # exactly


def test_nan_and_infinity_are_no_numbers_in_an_image():
    found = images()
    found.images[0, 0, 1], found.images[1, 2, 2] = math.nan, math.inf
    values = film_of(found, [(0, found.images)]).values(0)

    assert math.isnan(values[1])
    assert math.isnan(values[-1])
    assert max(v for v in values if not math.isnan(v)) == 16


def test_weights_that_are_all_zero_stay_zero():
    film = film_of(images(scale=0), [(0, images(scale=0).images)])
    assert {*film.values(0)} == {0.0}


def test_when_there_are_too_many_frames_every_second_one_goes():
    report = WeightReport()
    for epoch in range(131):
        report.add(epoch, images())

    assert report.every == 4
    assert report.epochs == [*range(0, 129, 4), 130]
    assert len(report.epochs) == len(report.frames) == len(report.limits) <= MOST_KEPT


def test_an_epoch_that_is_trained_again_takes_the_place_of_what_was_seen():
    report = WeightReport()
    for epoch in (0, 1, 2, 3, 2):
        report.add(epoch, images(scale=epoch))

    assert report.epochs == [0, 1, 2]
    assert report.limits[-1] == 34


# The watcher


def test_a_film_has_the_weights_before_the_training_and_after_each_epoch():
    gradbook.seed_everything(1)
    model = mlp()
    before = model.net[1].weight.detach().clone()
    trainer = fit(model, pictures(), 2, watch="weights", display="off")

    film = trainer.reports["weights"].film
    after = model.net[1].weight.detach()
    assert film.epochs == (0, 1, 2)
    for place, weight in ((0, before), (-1, after)):
        error = torch.tensor(film.values(place)) - weight.reshape(-1)
        assert error.abs().max() <= film.limits[place] / 200


def test_watching_changes_no_bit_of_the_training():
    weights = []
    for watch in ((), ("weights",)):
        gradbook.seed_everything(1)
        model = mlp()
        fit(model, pictures(), 2, watch=watch, display="off")
        weights.append(model.net[3].weight.detach().clone())
    assert torch.equal(*weights)


def test_a_loader_that_gives_its_batches_once_loses_none():
    X, y = torch.rand(8, 1, 4, 4), torch.arange(8) % 3

    class Once:
        batches = iter([(X[:4], y[:4]), (X[4:], y[4:])])

        def __iter__(self):
            return self.batches

        def __len__(self):
            return 2

    batches = Once()
    trainer = fit(mlp(), Given(batches), 1, watch="weights", display="off")

    assert trainer.num_steps == 2
    assert not trainer.reports["weights"].has_units  # what the inputs look like is not known


def test_a_model_that_has_no_such_weights_is_trained_all_the_same():
    class Shift(Scratch):
        def __init__(self):
            super().__init__()
            self.w = torch.zeros(2, requires_grad=True)

        def forward(self, X):
            return (X + self.w).sum(dim=1, keepdim=True) + self.b

    data = Data(torch.rand(8, 2), torch.rand(8, 1), num_train=None)
    with pytest.warns(GradbookWarning, match="watch='weights' keeps nothing more"):
        trainer = fit(Shift(), data, 1, watch="weights", display="off")
    assert trainer.status == "finished"
    assert not trainer.reports["weights"]


def test_a_watcher_needs_a_training():
    with pytest.raises(ConfigError, match="watch='weights'"):
        WeightWatcher().open(None)


def test_it_tells_what_it_saw():
    report = fit(mlp(), pictures(), 2, watch="weights", display="off").reports["weights"]

    assert "weights net.1.weight: 5 of 5 units as images of 4 x 4" in report.words
    assert "3 frames, epochs 0 to 2, one in 1" in report.words
    assert report.summary() == "net.1.weight in epochs 0 to 2"
    assert len(report.figure().axes) == 3 * 5 + 1
    with pytest.raises(ConfigError, match="nothing to draw"):
        WeightReport().figure()


def test_it_tells_of_a_matrix_as_one_image():
    report = fit(Scratch(), Data(torch.rand(8, 2), torch.rand(8, 1)), 1, watch="weights").reports
    assert "the matrix of 2 x 1 as an image" in report["weights"].words
    assert len(report["weights"].figure().axes) == 2 + 1


# The file


@pytest.fixture
def folder(tmp_path):
    fit(mlp(), pictures(), 2, watch="weights", display="off").reports["weights"].keep(tmp_path)
    return tmp_path


def test_what_a_run_keeps_is_read_as_it_was(tmp_path):
    report = fit(mlp(), pictures(), 2, watch="weights", display="off").reports["weights"]
    report.keep(tmp_path)

    assert Film.read(tmp_path) == report.film


@pytest.mark.slow
def test_a_film_is_read_without_pytorch(folder):
    program = (
        "import sys; from gradbook.runs.film import Film; film = Film.read(sys.argv[1]);"
        "print(len(film.frames), 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["3", "False"]


def test_a_run_without_a_film_says_how_to_get_one(tmp_path):
    with pytest.raises(ConfigError, match="Train with watch='weights'"):
        Film.read(tmp_path)


@pytest.mark.parametrize(
    "harm",
    [
        {"shape": [10**6, 10**6, 10**6]},
        {"shape": [1, 2]},
        {"shape": [1, 2.5, 3]},
        {"num_units": True},
        {"epochs": [0]},
        {"epochs": [0, -1, 2]},
        {"limits": [1, None, 2]},
        {"frames": ["AAAA"] * 3},
        {"frames": ["<script>"] * 3},
        {"layer": 5},
        {"has_units": 1},
        {"frames": None},
        {"names": ["a"]},
        {"names": [1, 2, 3, 4, 5]},
    ],
    ids=lambda harm: next(iter(harm)),
)
def test_a_film_that_is_damaged_is_told(folder, harm):
    path = folder / "weights.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **harm}))

    with pytest.raises(CorruptFileError, match=r"weights\.json cannot be read"):
        Film.read(folder)


def test_what_a_checkpoint_keeps_of_it_can_be_read_back(tmp_path):
    trainer = fit(gradbook.MLP(3, 4), Always(), 2, watch="weights", display="off")
    trainer.save_checkpoint(tmp_path / "two.pt")
    kept = checkpoint.load(tmp_path / "two.pt")["reports"]["weights"]

    report = WeightReport()
    report.load_state_dict(kept)
    assert report.film == trainer.reports["weights"].film


def test_the_registry_names_it():
    assert registry.WATCHERS["weights"].load() is WeightWatcher
    assert fit(Net(nn.Linear(4, 3)), Blobs(), watch="weights").reports["weights"].epochs == [0, 1]
