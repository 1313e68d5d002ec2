"""What the page is told of a run's model, against what the library says itself."""

import base64
import json
import math
import re
import subprocess
import sys

import pytest
import torch
from tests.lab.look_runs import (
    class_of,
    report_of,
    train_pictures,
    train_plane,
    write_file,
)
from tests.small import Always, Blobs, Net
from torch import nn

import gradbook
from gradbook.errors import ConfigError
from gradbook.experiments.graphs import graph
from gradbook.experiments.hessian import sharpness
from gradbook.inspection import RegressionReport
from gradbook.inspection.predictions import predictions
from gradbook.lab.look import examples
from gradbook.lab.look.asked import about, read_asked
from gradbook.lab.look.curvature import sharpness_of
from gradbook.lab.look.encoding import excerpt, picture
from gradbook.lab.look.graphs import laid_out
from gradbook.lab.look.looking import answer
from gradbook.lab.look.subject import Subject
from gradbook.runs.film import Film
from gradbook.runs.format import read_run, write_run


@pytest.fixture
def path(tmp_path):
    return write_file(tmp_path)


@pytest.fixture
def folder(tmp_path, path, blank_figures):
    return train_pictures(tmp_path / "runs", path, watch="weights")


@pytest.fixture
def plane(tmp_path, blank_figures):
    return train_plane(tmp_path / "runs")


def subject_of(folder, *given, checkpoint=None):
    return Subject((str(folder), "", checkpoint), folder, given)


def looked(folder, what, *given, checkpoint=None, **options):
    found = answer(subject_of(folder, *given, checkpoint=checkpoint), what, options)
    assert "error" not in found, found["error"]
    json.dumps(found, allow_nan=False)
    return found["result"]


def refused(folder, what, *given, **options):
    return answer(subject_of(folder, *given), what, options)["error"]


# A classifier


@pytest.mark.parametrize("split", ["val", "train"])
def test_confusion_calibration_and_classes_are_exactly_the_library_s(folder, path, split):
    found = looked(folder, "mistakes", f"{path}:Pictures", split=split)
    report = report_of(folder, path, train=split == "train")

    assert found["confusion"] == report.confusion.tolist()
    assert found["accuracy"] == report.accuracy
    assert found["loss"] == report.loss
    calibration = report.calibration()
    assert found["calibration"]["error"] == calibration.error
    assert found["calibration"]["counts"] == calibration.counts.tolist()
    told = [one["precision"] for one in found["classes"]]
    assert told == [None if math.isnan(v) else v for v in report.precision.tolist()]
    assert found["names"] == ["<b>top</b>", "middle", "bottom"]


def test_the_surest_mistakes_are_the_library_s_with_their_pictures(folder, path):
    found = looked(folder, "mistakes", f"{path}:Pictures")
    mistakes = report_of(folder, path).mistakes

    assert [one["example"] for one in found["mistakes"]] == [m.example for m in mistakes] != []
    first = found["mistakes"][0]
    assert first["probability"] == mistakes[0].probability
    levels = torch.frombuffer(
        bytearray(base64.b64decode(first["image"]["pixels"])), dtype=torch.uint8
    )
    assert torch.equal(levels, (mistakes[0].input * 255).round().to(torch.uint8).reshape(-1))


@pytest.mark.parametrize("split", ["val", "train"])
def test_a_cell_has_exactly_its_examples(folder, path, split):
    given = f"{path}:Pictures"
    restored = gradbook.runs.restore(folder, data=class_of(path, "Pictures"))
    outputs, labels = predictions(restored.model, restored.data, train=split == "train")
    predicted = outputs.argmax(dim=1)
    for true in range(3):
        for column in range(3):
            cell = looked(folder, "cell", given, split=split, true=true, predicted=column)
            expected = ((labels == true) & (predicted == column)).nonzero().reshape(-1)
            assert sorted(one["example"] for one in cell["examples"]) == expected.tolist()
            sure = [one["probability"] for one in cell["examples"]]
            assert sure == sorted(sure, reverse=true != column)


def test_a_class_that_there_is_not_has_no_cell(folder, path):
    assert "3 classes" in refused(folder, "cell", f"{path}:Pictures", true=3, predicted=0)


def test_of_many_classes_there_are_pairs_and_no_matrix(folder, path, monkeypatch):
    monkeypatch.setattr(examples, "MOST_IN_MATRIX", 2)
    found = looked(folder, "mistakes", f"{path}:Pictures")
    assert found["confusion"] is None
    wrong = report_of(folder, path).confusion.fill_diagonal_(0)
    assert sum(pair["count"] for pair in found["pairs"]) == int(wrong.sum())

    monkeypatch.setattr(examples, "MOST_CLASSES", 2)
    found = looked(folder, "mistakes", f"{path}:Pictures")
    assert (found["classes"], found["pairs"], found["num_classes"]) == ([], [], 3)


def test_the_place_of_an_example_counts_those_without_a_label(folder, path):
    subject = subject_of(folder, f"{path}:Pictures")
    data = subject.restored.data
    data.y = data.y.clone()
    data.y[40:45] = -100  # the first of the validation set
    wrong = int(subject.report(False).predicted[0])
    cell = answer(subject, "cell", {"true": int(data.y[45]), "predicted": wrong})["result"]
    assert 5 in [one["example"] for one in cell["examples"]]


# A regression


def test_a_regression_s_figures_are_exactly_the_library_s(plane):
    found, report = looked(plane, "mistakes"), report_of(plane)

    assert found["kind"] == "regression"
    assert (found["mse"], found["mae"], found["r2"]) == (report.mse, report.mae, report.r2)
    assert [one["learned"] for one in found["parameters"]] == [p.learned for p in report.parameters]
    pairs = torch.stack([report.labels, report.predicted], dim=-1).double().reshape(-1, 2)
    assert found["points"] == pairs.tolist()
    assert sum(found["histogram"]["counts"]) == len(report.labels)
    largest = int(report.residuals.abs().reshape(-1).argmax())
    assert found["worst"][0]["example"] == largest
    assert "Only a classifier" in refused(plane, "cell", true=0, predicted=1)


def test_the_worst_of_several_outputs_are_named_by_their_examples():
    labels, predicted = torch.zeros(4, 3), torch.zeros(4, 3)
    predicted[2, 1], predicted[3, 0] = 5.0, -7.0
    found = examples._regression(RegressionReport(labels, predicted, []))
    worst = [(one["example"], one["predicted"]) for one in found["worst"][:2]]
    assert worst == [(3, -7.0), (2, 5.0)]


def test_of_many_points_every_nth_is_shown(plane, monkeypatch):
    monkeypatch.setattr(examples, "MOST_POINTS", 10)
    found = looked(plane, "mistakes")
    assert (len(found["points"]), found["every"], found["num_points"]) == (8, 4, 32)


# The other parts


def test_sharpness_and_critical_rate_are_exactly_the_library_s(folder, path):
    found = looked(folder, "sharpness", f"{path}:Pictures", num_examples=None)
    restored = gradbook.runs.restore(folder, data=class_of(path, "Pictures"))
    expected = sharpness(restored.model, restored.data)

    assert found["eigenvalue"] == expected.eigenvalue
    assert found["critical_lr"] == expected.critical_lr
    assert found["losses"] == list(expected.losses)
    assert found["slope"] == expected.slope
    assert found["lr"] == 0.05


def test_the_critical_rate_is_that_of_the_optimizer_that_the_trainer_named(
    tmp_path, path, blank_figures
):
    folder = train_pictures(tmp_path / "runs", path, optimizer="sgd", momentum=0.9)
    subject = subject_of(folder, f"{path}:Pictures")
    found = sharpness_of(subject, {})
    assert found["optimizer_critical_lr"] == pytest.approx(2 * 1.9 / found["eigenvalue"])
    assert getattr(subject.restored.model, "trainer", None) is None


def test_no_more_examples_are_taken_than_there_are(folder, path):
    assert looked(folder, "sharpness", f"{path}:Pictures", num_examples=1000)["num_examples"] == 40


def test_the_graph_has_the_values_and_gradients_of_the_library_s(folder, path):
    found = looked(folder, "graph", f"{path}:Pictures")
    restored = gradbook.runs.restore(folder, data=class_of(path, "Pictures"))
    expected = graph(restored.model, restored.data, values=True, gradients=True)

    by_title = {node["title"]: node for node in found["nodes"]}
    assert by_title.keys() == {o.name for o in (*expected.operations, *expected.variables)}
    for item in (*expected.operations, *expected.variables):
        node = by_title[item.name]
        assert node["values"] == item.values._asdict()
        assert node["gradient"] == (None if item.gradient is None else item.gradient._asdict())
    assert found["loss"] == expected.loss


def test_no_nodes_of_a_graph_overlap_and_edges_lead_from_node_to_node(folder, path):
    found = looked(folder, "graph", f"{path}:Pictures")
    nodes = {node["name"]: node for node in found["nodes"]}
    boxes = [*nodes.values()]
    for number, a in enumerate(boxes):
        assert a["x"] - a["width"] / 2 > -0.2
        assert a["x"] + a["width"] / 2 <= found["width"] + 0.2
        for b in boxes[:number]:
            apart_x = abs(a["x"] - b["x"]) >= (a["width"] + b["width"]) / 2
            apart_y = abs(a["y"] - b["y"]) >= (a["height"] + b["height"]) / 2
            assert apart_x or apart_y
    edges = {(edge["from"], edge["to"]) for edge in found["edges"]}
    assert edges == {(name, node["name"]) for node in boxes for name in node["inputs"]}
    for edge in found["edges"]:
        ends = [(nodes[edge[end]]["x"], nodes[edge[end]]["y"]) for end in ("from", "to")]
        assert [tuple(edge["points"][place]) for place in (0, -1)] == ends


def test_a_large_graph_has_a_node_for_each_layer():
    layers = [part for _ in range(30) for part in (nn.Linear(4, 4), nn.ReLU())]
    found = laid_out(graph(Net(nn.Sequential(*layers), nn.Linear(4, 3)), Blobs()))

    assert len(found["nodes"]) < 100
    assert "module" in {node["kind"] for node in found["nodes"]}


def test_the_film_of_a_run_is_told_as_it_was_kept(folder):
    found = looked(folder, "weights")  # needs no class
    film = Film.read(folder)

    assert found["source"] == "film"
    assert found["epochs"] == [0, 1, 2, 3]
    assert found["frames"] == film.facts()["frames"]


@pytest.mark.slow
def test_a_film_is_told_without_pytorch(folder):
    program = (
        "import sys; from pathlib import Path; from gradbook.lab.look.looking import answer;"
        "from gradbook.lab.look.subject import Subject; folder = Path(sys.argv[1]);"
        "found = answer(Subject(('', '', None), folder, ()), 'weights', {});"
        "said = answer(Subject(('', '', None), folder, ()), 'graph', {})['error'];"
        "print(found['result']['source'], 'Pictures' in said, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["film", "True", "False"]


def test_a_run_without_a_film_has_the_weights_of_its_checkpoints(tmp_path, path, blank_figures):
    folder = train_pictures(tmp_path / "runs", path)
    found = looked(folder, "weights", f"{path}:Pictures")

    assert found["source"] == "checkpoints"
    assert sorted(found["labels"]) == ["best", "last"]
    assert found["shape"] == [8, 6, 6]
    last = gradbook.runs.restore(folder, data=class_of(path, "Pictures"), checkpoint="last").model
    coded = base64.b64decode(found["frames"][found["labels"].index("last")])
    limit = found["limits"][found["labels"].index("last")]
    values = (torch.tensor([*coded]) - 128) / 127 * limit
    error = values - last.net[1].weight.detach().reshape(-1)
    assert error.abs().max() <= limit / 200


def test_looking_at_checkpoints_leaves_the_model_as_it_was(tmp_path, path, blank_figures):
    folder = train_pictures(tmp_path / "runs", path)
    subject = subject_of(folder, f"{path}:Pictures", checkpoint="last")
    before = answer(subject, "mistakes", {})["result"]["loss"]
    answer(subject, "weights", {})
    subject._reports.clear()
    assert answer(subject, "mistakes", {})["result"]["loss"] == before


def test_weights_are_shown_where_the_data_are_not_to_be_had(tmp_path, path, blank_figures):
    folder = train_pictures(tmp_path / "runs", path)
    found = looked(folder, "weights")  # without Pictures

    assert found["has_units"] is False
    assert found["shape"] == [1, 8, 36]


def test_the_checkpoint_that_is_asked_for_is_looked_at(folder, path):
    given = f"{path}:Pictures"
    epochs = {
        which: looked(folder, "mistakes", given, checkpoint=which)["epoch"]
        for which in ("best", "last")
    }
    assert epochs["last"] == 3


# What cannot be looked at


def test_a_class_that_the_lab_was_not_given_is_named_with_the_command(
    tmp_path, path, blank_figures
):
    folder = train_pictures(tmp_path / "runs", path, model="MyNet")
    said = refused(folder, "mistakes")

    assert re.search(r"its model is \w*pictures\.MyNet and its data is \w*pictures\.Pictures", said)
    assert "gradbook lab my_file.py:MyNet my_file.py:Pictures" in said
    looked(folder, "mistakes", f"{path}:MyNet", f"{path}:Pictures")


def test_a_class_of_another_name_is_not_taken(folder, path):
    assert "my_file.py:Pictures" in refused(folder, "mistakes", f"{path}:MyNet")


def test_data_that_no_run_keeps_are_told(tmp_path, blank_figures):
    X, y = torch.rand(8, 4), torch.arange(8) % 3
    trainer = gradbook.Trainer(1, run=tmp_path / "runs", display="off")
    trainer.fit(gradbook.MLP(3, 4), [(X, y)])
    folder = trainer.training.recorder[0].folder

    said = refused(folder, "mistakes")
    assert "which a run does not keep" in said
    assert "gradbook inspect" in said
    assert looked(folder, "weights")["shape"] == [1, 4, 4]


def test_a_place_that_a_folder_names_is_not_read(tmp_path, folder):
    facts = read_run(folder)
    facts["data"] |= {"class": "gradbook.datasets.fashion_mnist.FashionMNIST"}
    facts["data"]["hyperparameters"] = {"root": "/etc/secrets"}
    write_run(folder, facts)

    said = refused(folder, "mistakes")
    assert "names a place: root is '/etc/secrets'" in said
    assert "--set root=/etc/secrets" in said


def test_a_run_that_has_only_begun_has_no_checkpoint_yet(tmp_path, blank_figures):
    class Looking(gradbook.Sink):
        def end_step(self, trainer):
            (folder,) = (tmp_path / "runs").iterdir()
            (folder / "checkpoints" / "last.pt").unlink(missing_ok=True)
            self.about, self.said = about(folder), refused(folder, "mistakes")

    sink = Looking()
    trainer = gradbook.Trainer(1, run=tmp_path / "runs", display="off", sinks=[sink])
    trainer.fit(gradbook.MLP(3, 4), Always())
    assert sink.about["status"] == "running"
    assert sink.about["checkpoints"] == []
    assert "has no checkpoint yet" in sink.said


def test_what_a_learner_s_class_raises_is_told(folder, path):
    subject = subject_of(folder, f"{path}:Pictures")
    subject.restored.model.forward = lambda X: 1 / 0
    assert "division by zero" in answer(subject, "mistakes", {})["error"]


def test_too_little_memory_is_told(folder, path, monkeypatch):
    subject = subject_of(folder, f"{path}:Pictures")
    monkeypatch.setattr(type(subject), "report", lambda *_: (_ for _ in ()).throw(MemoryError()))
    assert "not enough memory" in answer(subject, "mistakes", {})["error"]


def test_what_the_library_warns_of_is_told_with_every_answer(tmp_path, path, blank_figures):
    folder = train_pictures(tmp_path / "runs", path, model="MyNet")
    given = [f"{path}:MyNet", f"{path}:Pictures"]
    subject = subject_of(folder, *given)
    subject._class("data").text_labels = None  # other code than it was trained with
    subject._class("model").forward = lambda self, X: self.net(X)
    said = [answer(subject, what, {})["result"]["warnings"] for what in ("mistakes", "graph")]
    assert said[0] == said[1]
    assert any("was trained" in text for text in said[0])


def test_a_damaged_film_is_told(folder):
    (folder / "weights.json").write_text("{}")
    assert "weights.json cannot be read" in refused(folder, "weights")


def test_about_a_run_says_what_there_is_without_its_model(folder):
    found = about(folder)
    assert found["has_film"] is True
    assert {each["name"] for each in found["checkpoints"]} == {"best", "last"}
    assert (found["status"], found["data"]) == ("finished", "Pictures")


# What a page may ask


@pytest.mark.parametrize(
    "body",
    [
        '{"run": 5, "what": "graph"}',
        '{"run": "a", "what": "code"}',
        '{"run": "a", "what": ["graph"]}',
        '{"run": "a", "what": "graph", "page": "../x"}',
        '{"run": "a", "what": "graph", "page": 5}',
        '{"run": "a", "what": "graph", "options": []}',
        '{"run": "a", "what": "graph", "options": {"class": "os:system"}}',
        '{"run": "a", "what": "graph", "options": {"checkpoint": "../best"}}',
        '{"run": "a", "what": "graph", "options": {"checkpoint": []}}',
        '{"run": "a", "what": "mistakes", "options": {"split": 1}}',
        '{"run": "a", "what": "sharpness", "options": {"num_examples": 1000000}}',
        '{"run": "a", "what": "sharpness", "options": {"num_examples": 1000.0}}',
        '{"run": "a", "what": "cell", "options": {}}',
        '{"run": "a", "what": "cell", "options": {"true": -1, "predicted": 0}}',
        '{"run": "a", "what": "cell", "options": {"true": true, "predicted": 0}}',
    ],
)
def test_what_cannot_be_asked_for_is_refused(body):
    with pytest.raises(ConfigError):
        read_asked(json.loads(body))


def test_a_question_is_read():
    asked = read_asked(
        json.loads('{"run": "a/b", "what": "cell", "options": {"true": 1, "predicted": 0}}')
    )
    assert (asked.run, asked.what, asked.options) == ("a/b", "cell", {"true": 1, "predicted": 0})


# Inputs


def test_a_color_picture_has_three_bytes_a_pixel():
    X = torch.rand(3, 4, 5)
    found = picture(X)
    assert (found["channels"], found["height"], found["width"]) == (3, 4, 5)
    assert base64.b64decode(found["pixels"])[:3] == bytes(
        (X[:, 0, 0] * 255).round().to(torch.uint8)
    )


def test_a_picture_of_other_values_is_stretched_and_a_large_one_made_smaller():
    assert base64.b64decode(picture(torch.tensor([[-1.0, 0.0], [1.0, 3.0]]))["pixels"]) == bytes(
        [0, 64, 128, 255]
    )
    assert picture(torch.rand(1, 200, 30))["height"] == 64


def test_what_is_no_picture_has_its_first_numbers():
    assert picture(torch.rand(5)) is None
    assert picture(torch.full((4, 4), math.nan)) is None
    assert excerpt(torch.arange(10)) == "0 1 2 3 4 5 6 7 ..."
    assert excerpt(torch.rand(2, 2)) is None
