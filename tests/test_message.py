"""What processes tell each other, and the recorded values that they make whole with it."""

import math

import pytest
import torch

from gradbook import record
from gradbook.message import MOST_VALUES, Message
from gradbook.record import Meter, Meters


class Two:
    """Stands for two processes that record the same, of which the other has 3/4 of each batch."""

    share = 0.25

    def __init__(self, others):
        self.others = others  # the other's values, in the order in which they are joined

    def note(self, meter):
        pass

    def join(self, meters):
        for meter in meters:
            mine = torch.tensor([float(part) for part in meter.parts], dtype=torch.float64)
            theirs = [self.others.pop(0) for _ in meter.parts]
            meter.take_whole(mine + torch.tensor(theirs, dtype=torch.float64))


def test_the_parts_of_a_value_become_its_mean(monkeypatch):
    meter = Meter()
    meter.add(0, 4.0)
    monkeypatch.setattr(record, "joining", Two([0.75 * 8]))
    meter.add(1, torch.tensor(4.0))
    assert meter.read().tolist() == [4, 7]
    assert meter.read().tolist() == [4, 7]  # once more, without the other


def test_a_perplexity_is_that_of_the_mean_loss(monkeypatch):
    monkeypatch.setattr(record, "joining", Two([0.75 * 2.0]))
    meter = Meters()["train_ppl"]
    meter.add(0, torch.tensor(1.0).exp())
    assert meter.read().item() == pytest.approx(math.exp(0.25 * 1 + 0.75 * 2))


def test_a_part_that_counts_for_nothing_may_be_no_number(monkeypatch):
    joining = Two([5.0])
    joining.share = 0
    monkeypatch.setattr(record, "joining", joining)
    meter = Meter()
    meter.add(0, torch.tensor(math.nan))
    assert meter.read().item() == 5


def parameters_with_gradients(*gradients, dtype=torch.float32):
    made = [torch.zeros(2, dtype=dtype, requires_grad=True) for _ in gradients]
    for parameter, gradient in zip(made, gradients, strict=True):
        if gradient is not None:
            parameter.grad = torch.tensor(gradient, dtype=dtype)
    return made


def exchanged(parameters, share, asked, meters=()):
    """Exchanges with another process that has the same."""
    message = Message(parameters, [], len(asked))
    return message.exchange(share, asked, meters, lambda sent: sent.mul_(2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_become_the_sum_of_the_shares(dtype):
    ours = parameters_with_gradients([2.0, 4.0], None, dtype=dtype)
    shares, asked = exchanged(ours, 0.5, [True, False])
    assert ours[0].grad.tolist() == [2, 4]
    assert ours[1].grad is None  # on no rank
    assert shares == 1
    assert asked == [2, 0]


@pytest.mark.parametrize("num_values", [3, MOST_VALUES + 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_exchange_reads_nothing_of_an_accelerator(num_values, dtype):
    """Of the meta device nothing can be read; it stands for one that would be waited for."""
    parameter = torch.zeros(2, device="meta", dtype=dtype, requires_grad=True)
    parameter.grad = torch.zeros_like(parameter)
    mean, meter = torch.zeros(3, device="meta"), Meter()
    values = [torch.zeros((), device="meta"), 0.5, torch.tensor(2.0)]
    values += [0.5] * (num_values - len(values))
    meter.xs, meter.values = [0.0] * num_values, values
    message = Message([parameter], [mean], 1)
    shares, asked = message.exchange(0.5, [True], [meter], lambda sent: sent.mul_(2))
    assert (shares, asked) == (1, [2])
    assert {value.device.type for value in meter.values} == {"meta"}
    assert len(meter) == num_values


def test_a_gradient_that_counts_for_nothing_may_be_no_number():
    (ours,) = parameters_with_gradients([math.nan, 1.0])
    exchanged([ours], 0.0, [False])
    assert ours.grad.tolist() == [0, 0]


def test_means_that_nobody_changes_stay_as_they_are():
    (ours,) = parameters_with_gradients([1.0, 1.0])
    mean = torch.tensor([0.1, 0.7])
    before = mean.clone()
    message = Message([ours], [mean], 1)
    for _ in range(3):
        message.exchange(1 / 3, [False], [], lambda sent: sent.mul_(3))
    assert torch.equal(mean, before)
    mean += 1
    message.exchange(1 / 3, [False], [], lambda sent: sent.mul_(3))
    torch.testing.assert_close(mean, before + 1)


@pytest.mark.parametrize("num_values", [1, MOST_VALUES, MOST_VALUES + 5])
def test_however_many_values_go_with_the_gradients(num_values, monkeypatch):
    (ours,) = parameters_with_gradients([1.0, 1.0])
    monkeypatch.setattr(record, "joining", joining := Two([]))
    joining.share = 0.5
    meter = Meter()
    for i in range(num_values):
        meter.add(i, torch.tensor(float(i)))
    exchanged([ours], 0.5, [False], [meter])
    assert meter.parts == []
    assert meter.read().tolist() == list(range(num_values))
