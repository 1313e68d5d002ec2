"""What the lab answers about runs, comparisons and sweeps."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pytest
from starlette.requests import Request
from tests.runs.folders import make_run, metrics_of
from tests.sweeps.written import losses, make, make_rates, make_seeded

from gradbook.cli import main
from gradbook.errors import ConfigError, CorruptFileError
from gradbook.lab.curve_view import smoothed
from gradbook.lab.runs_api import routes
from gradbook.lab.state import Lab
from gradbook.record import Metric
from gradbook.runs.stored import load
from gradbook.sweeps.results import Sweep
from gradbook.verdicts import verdict
from gradbook.watching.gradient_report import GradientReport
from gradbook.watching.gradient_rows import LayerRow


def answer(path, **query):
    """The response of a lab over the folder "runs"."""
    lab = Lab(Path("runs"))
    lab.catalogue.refresh()
    [endpoint] = [route.endpoint for route in routes(lab) if route.path == f"/api/{path}"]
    text = urlencode(query).encode()
    return endpoint(Request({"type": "http", "method": "GET", "query_string": text, "headers": []}))


def ask(path, **query):
    """The same, as JSON."""
    return json.loads(answer(path, **query).body)


# Curves


def make_long(num_points=9000):
    points = [Metric("train_loss", i / 10, math.sin(i), "point") for i in range(num_points)]
    return make_run("long-1", [*points, *metrics_of()])


def test_a_curve_is_what_was_recorded():
    make_run()
    told = ask("curve", run="mlp-1", kind="epoch", label="val_acc")
    assert told["y"] == load("mlp-1").history["val_acc"]
    assert told["x"] == [1, 2, 3]
    assert told["num"] == 3


def test_a_value_that_is_no_number_is_a_text():
    make_run(metrics=[Metric("train_loss", 1, math.nan), Metric("train_loss", 2, -math.inf)])
    told = ask("curve", run="mlp-1", kind="point", label="train_loss")
    assert told["y"] == ["NaN", "-Infinity"]


def test_a_piece_of_a_curve_has_the_points_within_and_one_on_each_side():
    make_long()
    told = ask("curve", run="long-1", kind="point", label="train_loss", **{"from": 5, "to": 5.25})
    assert told["x"] == [4.9, 5.0, 5.1, 5.2, 5.3]
    assert told["y"] == [math.sin(i) for i in range(49, 54)]


def test_a_long_curve_is_thinned_and_its_pieces_are_finer():
    make_long()
    asked = {"run": "long-1", "kind": "point", "label": "train_loss", "points": 300}
    whole = ask("curve", **asked)
    piece = ask("curve", **asked, **{"from": 100, "to": 110})
    within = [x for x in whole["x"] if 100 <= x <= 110]
    assert whole["num"] == 9003
    assert len(whole["x"]) <= 310
    assert len(piece["x"]) == piece["num"] == 103 > len(within)


def test_a_long_curve_is_smoothed_before_it_is_thinned():
    make_long(3000)
    asked = {"run": "long-1", "kind": "point", "label": "train_loss", "points": 9000}
    told = ask("curve", **asked, smooth=0.9)
    raw = ask("curve", **asked)
    assert told["y"] == smoothed(np.array(raw["y"]), 0.9).tolist()


def test_smoothing_is_right_from_its_beginning():
    assert smoothed(np.full(5, 0.3), 0.99) == pytest.approx(np.full(5, 0.3))


def test_smoothing_passes_over_what_is_not_finite():
    found = smoothed(np.array([1.0, math.nan, 1.0, math.inf]), 0.5)
    assert found[[0, 2]].tolist() == [1, 1]
    assert math.isnan(found[1])
    assert found[3] == math.inf


@pytest.mark.parametrize(
    "changed",
    [
        {"label": "nothing"},
        {"kind": "step"},
        {"run": "mlp-2"},
        {"from": "x"},
        {"to": "inf"},
        {"points": 0},
        {"points": 1e9},
        {"smooth": 1},
        {"smooth": -0.5},
    ],
)
def test_a_curve_that_cannot_be_had_is_explained(changed):
    make_run()
    with pytest.raises(ConfigError):
        ask("curve", **{"run": "mlp-1", "kind": "epoch", "label": "val_acc", **changed})


# The filter


def make_three():
    for number, rate in enumerate((0.1, 0.2, 0.3), start=1):
        metrics = metrics_of(rate=rate)
        make_run(f"mlp-{number}", metrics, {"lr": rate, "activation": "relu"}, seed=number)


@pytest.mark.parametrize(
    "condition",
    [
        *("model=mlp", "lr<0.3", "lr>0.1", "best_val_loss<0.5", "seed!=2", "activation=relu"),
        *("epochs=3", "status=killed", "val_acc>=0.8", "best>0.8", "resize=28,28"),
        "started>=2025-03-01",
    ],
)
def test_a_condition_admits_what_the_command_lists(condition, capsys):
    make_three()
    main(["runs", "--json", "--filter", condition])
    expected = [each["name"] for each in json.loads(capsys.readouterr().out)["runs"]]
    assert ask("runs", filter=condition)["ids"] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["mlp-1", "mlp-2", "mlp-3"]),
        ("lr > 0.1 seed<3", ["mlp-2"]),
        ("MLP-2", ["mlp-2"]),
        ("fashion relu", ["mlp-1", "mlp-2", "mlp-3"]),
        ("fashion sigmoid", []),
        ("'lr 0.2'", ["mlp-2"]),
        ("mlp-3 lr<0.2", []),
    ],
)
def test_a_filter_may_have_several_conditions_and_words(text, expected):
    make_three()
    assert ask("runs", filter=text)["ids"] == expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("val_ac>0.5", "Did you mean 'val_acc'?"),
        ("lr<small", "lr is a number, such as 0.1, but 'small' is none."),
        ("lr<", "'' is none"),
        ("<3", "a condition such as model=mlp"),
        ("name='x", "cannot be read: no closing quotation"),
        ("x" * 1001, "1,000 characters"),
    ],
)
def test_a_filter_that_cannot_be_used_is_explained(text, told):
    make_three()
    with pytest.raises(ConfigError) as caught:
        ask("runs", filter=text)
    assert told in str(caught.value)
    assert "--filter" not in str(caught.value)


def test_members_of_sweeps_are_filtered_too():
    make_rates()
    assert ask("runs", filter="status=diverged")["ids"] == ["net-sweep-1/member-5"]


def test_damaged_runs_are_found_by_that_word():
    make_three()
    Path("runs/mlp-2/run.json").write_text("{")
    assert ask("runs", filter="damaged")["ids"] == ["mlp-2"]
    assert ask("runs", filter="lr<1")["ids"] == ["mlp-1", "mlp-3"]


# One run


def test_a_run_is_told_as_the_command_shows_it(capsys):
    make_run()
    told = ask("run", id="mlp-1")
    main(["show", "mlp-1", "--json"])
    shown = json.loads(capsys.readouterr().out)
    for name in ("status", "epochs", "max_epochs", "seconds", "final", "best"):
        assert told[name] == shown[name]
    assert told["verdict"]["text"] == shown["verdict"]["text"] == verdict(load("mlp-1")).sentence
    assert {each["name"]: each["bytes"] for each in told["files"]} == shown["files"]
    assert told["command"] == "gradbook train mlp --lr 0.1 --seed 1"


def test_settings_are_told_in_groups():
    make_run(hyperparameters={"dropout": None})
    groups = {group["kind"]: group for group in ask("run", id="mlp-1")["settings"]}
    assert list(groups) == ["model", "data", "trainer", "optimizer", "environment"]
    assert groups["model"]["name"] == "mlp (gradbook.models.mlp.MLP)"
    assert ["lr", "0.1"] in groups["model"]["pairs"]
    assert ["dropout", "none"] in groups["model"]["pairs"]
    assert ["num_train", "60000"] in groups["data"]["pairs"]


def test_a_run_that_was_stopped_says_how_it_goes_on():
    make_run("mlp-1", status="interrupted")
    os.remove(make_run("mlp-2", status="interrupted") / "checkpoints/last.pt")
    make_run("mlp-3")
    assert ask("run", id="mlp-1")["resume"] == {"command": "gradbook resume runs/mlp-1"}
    assert ask("run", id="mlp-2")["resume"] == {"command": None}
    assert ask("run", id="mlp-3")["resume"] is None


def test_a_post_mortem_is_told_once():
    told = "train_loss became NaN or infinite at step 6 (epoch 1)."
    make_run(status="diverged", diverged="train_loss at step 6 (epoch 1)", findings=[told])
    found = ask("run", id="mlp-1")
    assert found["findings"] == [told]
    assert found["verdict"]["text"] == "diverged"


def test_of_damaged_values_the_settings_are_told_all_the_same():
    folder = make_run()
    lines = (folder / "metrics.jsonl").read_bytes()
    (folder / "metrics.jsonl").write_bytes(lines.replace(b"val_acc", b"val_bcc"))
    told = ask("run", id="mlp-1")
    assert "metrics.jsonl" in told["damage"]
    assert told["verdict"] is None
    assert told["final"] == {}
    assert told["settings"][0]["name"].startswith("mlp")


def test_a_damaged_run_is_explained():
    (make_run() / "run.json").write_text("{")
    with pytest.raises(CorruptFileError):
        ask("run", id="mlp-1")


@pytest.mark.parametrize("name", ["mlp-2", "..", "../runs/mlp-1", "/etc", "", "mlp-1/checkpoints"])
def test_only_the_folders_runs_can_be_asked_for(name):
    make_run()
    with pytest.raises(ConfigError, match="There is no run"):
        ask("run", id=name)


def gradient_row(epoch, layer, grad_norm):
    numbers = {"weight_norm": 1.0, "update_ratio": 0.01, "activation_rms": 0.5}
    numbers |= {"dead": 0.1, "saturated": math.nan, "num_units": 8, "num_examples": 64}
    return LayerRow(
        epoch, layer, "Linear", 4, True, 2, grad_norm=grad_norm, function="relu", **numbers
    )


def test_gradients_are_told_by_layer_and_epoch():
    folder = make_run()
    rows = [gradient_row(e, layer, g) for e in (1, 2) for layer, g in (("a", 2.0), ("b", math.nan))]
    report = GradientReport(rows, [(0.5, 2.0)], 0, 0.1)
    report.keep(folder)
    told = ask("run", id="mlp-1")["gradients"]
    assert told["layers"] == ["a (Linear)", "b (Linear)"]
    assert told["epochs"] == [1, 2]
    assert told["measures"]["gradient"] == [[1.0, 1.0], ["NaN", "NaN"]]
    assert told["measures"]["dead"] == [[0.1, 0.1]] * 2
    assert told["findings"] == [finding.text for finding in report.findings]


def test_of_many_epochs_some_gradients_are_told():
    rows = [gradient_row(epoch, "a", 1.0) for epoch in range(1, 101)]
    GradientReport(rows).keep(make_run())
    told = ask("run", id="mlp-1")["gradients"]
    assert len(told["epochs"]) == 25
    assert (told["epochs"][0], told["epochs"][-1], told["num_epochs"]) == (1, 100, 100)


def test_damaged_gradients_are_explained():
    folder = make_run()
    assert ask("run", id="mlp-1")["gradients"] is None
    (folder / "gradients.json").write_text("{")
    assert "gradients.json" in ask("run", id="mlp-1")["gradients"]["damage"]


# Pictures


def test_of_each_picture_the_sharper_file_is_offered():
    folder = make_run()
    (folder / "inspect").mkdir()
    (folder / "inspect/confusion.png").write_bytes(b"content")
    (folder / "gradients.svg").touch()  # empty: a write that did not end
    (folder / "picture.svg").write_bytes(b"content")
    assert ask("run", id="mlp-1")["pictures"] == ["curve.svg", "inspect/confusion.png"]


@pytest.mark.parametrize(
    ("name", "kind"), [("curve.svg", "image/svg+xml"), ("curve.png", "image/png")]
)
def test_a_picture_can_do_nothing(name, kind):
    make_run()
    response = answer("picture", id="mlp-1", name=name)
    assert response.body == b"content"
    assert response.headers["content-type"] == kind
    assert "sandbox" in response.headers["content-security-policy"]
    assert "default-src 'none'" in response.headers["content-security-policy"]


@pytest.mark.parametrize(
    "name",
    [
        *("run.json", "../mlp-1/curve.svg", "checkpoints/last.pt", "picture.svg", ""),
        *("/etc/passwd", "gradients.png", "sweep.svg", "lock.svg"),
    ],
)
def test_nothing_but_a_runs_pictures_can_be_had(name):
    (make_run() / "picture.svg").write_bytes(b"content")
    with pytest.raises(ConfigError):
        answer("picture", id="mlp-1", name=name)


def test_a_picture_elsewhere_is_not_shown(tmp_path):
    folder = make_run()
    outside = tmp_path / "outside.svg"
    outside.write_bytes(b"content")
    (folder / "curve.svg").unlink()
    (folder / "curve.svg").symlink_to(outside)
    with pytest.raises(CorruptFileError, match="link"):
        answer("picture", id="mlp-1", name="curve.svg")


# Several


def test_runs_are_compared_by_what_differs_and_what_they_reached():
    make_three()
    told = ask("compare", runs="mlp-1,mlp-3,mlp-1")
    assert [run["name"] for run in told["runs"]] == ["mlp-1", "mlp-3"]
    assert told["differing"] == [
        {"name": "lr", "values": {"mlp-1": "0.1", "mlp-3": "0.3"}},
        {"name": "seed", "values": {"mlp-1": "1", "mlp-3": "3"}},
    ]
    assert told["runs"][1]["final"] == load("mlp-3").final
    assert told["runs"][1]["verdict"]["text"] == verdict(load("mlp-3")).sentence


def test_a_run_that_cannot_be_read_does_not_keep_the_others_from_being_compared():
    make_three()
    Path("runs/mlp-2/run.json").write_text("{")
    told = ask("compare", runs="mlp-1,mlp-2,mlp-9,mlp-3")
    reasons = {run["id"]: run["reason"] for run in told["runs"]}
    assert reasons["mlp-1"] is reasons["mlp-3"] is None
    assert "run.json" in reasons["mlp-2"]
    assert "no run 'mlp-9'" in reasons["mlp-9"]
    assert [row["name"] for row in told["differing"]] == ["lr", "seed"]


def test_too_many_runs_are_refused():
    with pytest.raises(ConfigError, match="At most 64"):
        ask("compare", runs=",".join(f"mlp-{i}" for i in range(65)))


# A sweep


def test_a_sweep_tells_what_each_training_reached():
    make_seeded()
    told = ask("sweep", id="seeded-sweep-1")
    assert told["axis"] == "lr"
    first, second = told["settings"]
    assert first["values"] == {"lr": 0.1}
    assert [m["finals"]["val_loss"] for m in first["members"]] == [0.5, 0.51, 0.52]
    assert [member["seed"] for member in second["members"]] == [0, 1, 2]
    assert first["members"][2]["id"] == "seeded-sweep-1/member-3"
    assert second["is_best"]
    assert not first["is_best"]


def test_a_sweep_draws_its_conclusions():
    make_rates()
    found = Sweep("runs/net-sweep-1")
    told = ask("sweep", id="net-sweep-1")
    assert told["findings"] == found.findings()
    assert told["usable_range"] == [0.01, 1.0]
    assert told["usable_loss"] == found.usable_loss
    assert told["table"]["rows"] == [list(row) for row in found.table().rows]


def test_a_training_that_diverged_has_no_final_value():
    make_rates()
    *_, last = ask("sweep", id="net-sweep-1")["settings"]
    assert last["means"]["val_loss"] is None
    assert last["members"][0]["finals"]["val_loss"] is None
    assert last["members"][0]["status"] == "diverged"


def test_a_training_that_has_not_begun_leads_nowhere():
    make([({"lr": 0.1}, losses(0.5)), ({"lr": 0.2}, None)])
    told = ask("sweep", id="net-sweep-1")
    assert told["settings"][1]["members"][0]["id"] is None
    assert told["settings"][1]["members"][0]["status"] == "waiting"


def test_values_that_are_no_numbers_are_texts():
    make([({"activation": name}, losses(0.5)) for name in ("relu", "tanh")])
    told = ask("sweep", id="net-sweep-1")
    assert told["axis"] is None
    assert told["settings"][1]["values"] == {"activation": "tanh"}


def test_a_run_is_no_sweep():
    make_run()
    with pytest.raises(ConfigError, match="no sweep"):
        ask("sweep", id="mlp-1")


# The server


@pytest.mark.slow
def test_the_server_never_loads_pytorch():
    folder = make_run()
    GradientReport([gradient_row(1, "a", 1.0)]).keep(folder)
    make_rates()
    code = """
import sys
from pathlib import Path
from starlette.requests import Request
from gradbook.lab.app import application
from gradbook.lab.runs_api import routes
from gradbook.lab.state import Lab
lab = Lab(Path("runs"))
application(lab, "secret")
lab.catalogue.refresh()
asked = {"runs": b"filter=lr<1", "run": b"id=mlp-1", "compare": b"runs=mlp-1",
         "curve": b"run=mlp-1&kind=epoch&label=val_acc", "sweep": b"id=net-sweep-1",
         "picture": b"id=mlp-1&name=curve.svg"}
for route in routes(lab):
    query = asked[route.path.removeprefix("/api/")]
    scope = {"type": "http", "method": "GET", "query_string": query, "headers": []}
    assert route.endpoint(Request(scope)).status_code == 200
sys.exit("torch" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# The look of the page


def test_the_page_has_the_colors_of_the_figures():
    import re

    import gradbook.lab
    from gradbook.display.palette import COLORS

    style = Path(gradbook.lab.__file__).with_name("page").joinpath("style.css").read_text()
    found = re.findall(r"--series-(\d+): (#[0-9a-f]{6});", style)
    assert [(int(number), color.upper()) for number, color in found] == list(enumerate(COLORS))


def test_every_text_about_runs_is_translated():
    import gradbook.lab

    words = Path(gradbook.lab.__file__).with_name("page") / "words"
    english, korean = (
        json.loads((words / language / "runs.json").read_text()) for language in ("en", "ko")
    )
    assert list(english) == list(korean)
