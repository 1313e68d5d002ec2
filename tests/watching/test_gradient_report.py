"""What was seen of the gradients of a training: its words, its table and its files."""

import json

import pytest
from tests.watching.watched import Deep, fit

from gradbook.errors import CorruptFileError
from gradbook.watching.gradient_report import GradientReport


@pytest.fixture
def report():
    return fit(Deep(num_layers=4), max_epochs=7).gradients


@pytest.mark.slow
def test_printed_it_is_a_table_of_the_last_epoch(report):
    lines = str(report).splitlines()
    assert lines[0] == "gradients in epoch 7, means of 1 sampled step"
    assert lines[2].split() == [
        *("layer", "gradient", "weight", "update/weight", "activation", "dead", "saturated")
    ]
    assert len(lines) == 7
    assert lines[3].startswith("net.0 (Linear)")


def test_without_a_step_it_says_so():
    assert str(GradientReport()) == "Gradients: no step was sampled."


@pytest.mark.slow
def test_as_a_data_frame_it_has_a_row_for_each_layer_and_epoch(report):
    frame = report.to_pandas()
    assert len(frame) == 7 * 4
    assert frame["grad_norm"].gt(0).all()
    assert {"epoch", "layer", "grad_rms", "update_ratio", "dead"} <= set(frame.columns)


@pytest.mark.slow
def test_it_is_kept_and_read_again(report, tmp_path):
    report.keep(tmp_path)
    assert sorted(path.name for path in tmp_path.glob("gradients.*")) == [
        *("gradients.json", "gradients.png", "gradients.svg")
    ]
    again = GradientReport.read(tmp_path)
    assert str(again) == str(report)
    assert again.totals == report.totals
    json.loads((tmp_path / "gradients.json").read_text(), parse_constant=pytest.fail)


@pytest.mark.parametrize("content", ["", "[]", '{"rows": [{}]}'])
def test_a_damaged_file_is_explained(tmp_path, content):
    (tmp_path / "gradients.json").write_text(content)
    with pytest.raises(CorruptFileError, match="damaged"):
        GradientReport.read(tmp_path)
