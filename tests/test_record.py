import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradbook.record import Meter, Metric, Sink

numbers = st.floats(-1e6, 1e6)


def test_a_metric_is_a_point_unless_told_otherwise():
    assert Metric("train_loss", 0.5, 1.0).kind == "point"


def test_a_sink_may_leave_every_method_out():
    sink = Sink()
    sink.open(None)
    sink.write(Metric("a", 0, 1))
    sink.close("finished")


@pytest.mark.slow
@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=20))
def test_the_mean_of_a_meter_is_the_plain_mean(pairs):
    meter = Meter()
    for x, y in pairs:
        meter.add(x, y)
    x, y = meter.mean()
    assert x == pytest.approx(sum(x for x, _ in pairs) / len(pairs), abs=1e-6)
    assert y == pytest.approx(sum(y for _, y in pairs) / len(pairs), abs=1e-6)


@pytest.mark.slow
@given(st.lists(st.tuples(numbers, st.integers(1, 64)), min_size=1, max_size=20))
def test_the_weighted_mean_of_a_meter_weights_its_values(pairs):
    meter = Meter()
    for i, (y, _) in enumerate(pairs):
        meter.add(i, torch.tensor(y, dtype=torch.float64))
    _, mean = meter.mean([weight for _, weight in pairs])
    expected = sum(y * weight for y, weight in pairs) / sum(weight for _, weight in pairs)
    assert mean == pytest.approx(expected, rel=1e-9, abs=1e-6)


def test_weights_of_another_number_are_not_used():
    meter = Meter()
    meter.add(0, 1.0)
    meter.add(1, 3.0)
    assert meter.mean([5, 1, 1]) == (0.5, 2.0)


def test_a_meter_takes_tensors_and_numbers_together():
    meter = Meter()
    for value in (torch.tensor(1.0), 2, torch.tensor(3.0)):
        meter.add(0, value)
    assert meter.mean() == (0, 2.0)


@pytest.mark.parametrize("weights", [None, [3, 1]])
def test_a_meter_takes_tensors_of_one_element_and_one_dimension(weights):
    meter = Meter()
    meter.add(0, torch.tensor([1.0]))
    meter.add(0, torch.tensor([5.0]))
    assert meter.mean(weights) == (0, 3.0 if weights is None else 2.0)


def test_a_meter_adds_up_in_double_precision():
    meter = Meter()
    for value in (1e8, 1.0, -1e8):
        meter.add(0, torch.tensor(value, dtype=torch.float32))
    assert meter.mean()[1] == pytest.approx(1 / 3)


def test_a_meter_does_not_look_at_a_value_before_it_is_read(monkeypatch):
    def refuse(self, *args):
        raise AssertionError("read too early")

    meter = Meter()
    for name in ("item", "__float__", "cpu", "tolist"):
        monkeypatch.setattr(torch.Tensor, name, refuse)
    meter.add(0, torch.tensor(1.0))
    assert len(meter) == 1


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_the_first_value_that_is_not_finite_is_found(wrong):
    meter = Meter()
    for x, value in enumerate([1.0, 2.0, wrong, math.nan]):
        meter.add(x / 10, torch.tensor(value))
    assert meter.first_nonfinite() == 0.2


def test_finite_values_have_no_first_wrong_one():
    meter = Meter()
    meter.add(0, torch.tensor([1.0]))
    assert meter.first_nonfinite() is None
