"""The forward pass in 16 bits, where the device can."""

import pytest
import torch
from torch import nn

from gradbook import execution
from gradbook.devices import cpu
from gradbook.errors import IgnoredSettingWarning
from gradbook.execution import Precision


def test_32_bits_change_nothing():
    exact = Precision("32", cpu())
    assert (exact.dtype, exact.scaler) == (None, None)
    with exact.autocast():
        assert not torch.is_autocast_enabled("cpu")


def test_bfloat16_is_used_where_it_suffices():
    mixed, layer = Precision("bf16-mixed", cpu()), nn.Linear(2, 1)
    with mixed.autocast():
        y_hat = layer(torch.ones(3, 2))
        loss = nn.functional.mse_loss(y_hat, torch.ones(3, 1))
    assert y_hat.dtype == mixed.dtype == torch.bfloat16
    assert loss.dtype == torch.float32


def test_after_the_forward_pass_it_is_off():
    with Precision("bf16-mixed", cpu()).autocast():
        assert torch.is_autocast_enabled("cpu")
    assert not torch.is_autocast_enabled("cpu")


def test_bfloat16_needs_no_scaler():
    assert Precision("bf16-mixed", cpu()).scaler is None


def test_float16_on_the_cpu_warns_and_uses_32_bits():
    with pytest.warns(
        IgnoredSettingWarning,
        match='precision="16-mixed" cannot be used on cpu, which lacks float16.* in 32 bits',
    ):
        exact = Precision("16-mixed", cpu())
    assert (exact.dtype, exact.scaler) == (None, None)


def test_bfloat16_on_a_gpu_without_it_warns_and_uses_32_bits(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    with pytest.warns(IgnoredSettingWarning, match="cannot be used on cuda, which lacks bfloat16"):
        assert Precision("bf16-mixed", torch.device("cuda")).dtype is None


def test_a_step_is_the_optimizer_s():
    w = nn.Parameter(torch.ones(2))
    exact, optimizer = Precision("32", cpu()), torch.optim.SGD([w], lr=0.5)
    exact.backward((w * 3).sum())
    exact.unscale(optimizer)
    assert w.grad.tolist() == [3, 3]
    exact.step(optimizer)
    assert w.tolist() == [-0.5, -0.5]


@pytest.fixture
def scaled(monkeypatch):
    """float16 with its scaler, as on an accelerator."""
    monkeypatch.setattr(execution, "_is_offered", lambda dtype, device: True)
    mixed = Precision("16-mixed", cpu())
    assert mixed.scaler is not None
    return mixed


def test_float16_scales_the_gradients_up(scaled):
    w = nn.Parameter(torch.ones(2))
    scaled.backward((w * 3).sum())
    assert torch.equal(w.grad, torch.full((2,), 3 * scaled.scaler.get_scale()))


def test_float16_brings_gradients_to_their_size_before_they_are_clipped(scaled):
    w = nn.Parameter(torch.ones(2))
    scaled.backward((w * 3).sum())
    scaled.unscale(torch.optim.SGD([w], lr=0.5))
    assert w.grad.tolist() == [3, 3]


@pytest.mark.parametrize("unscaled_before", [False, True])
def test_a_step_in_float16_is_as_large_as_one_in_32_bits(scaled, unscaled_before):
    w = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([w], lr=0.5)
    scaled.backward((w * 3).sum())
    if unscaled_before:
        scaled.unscale(optimizer)
    scaled.step(optimizer)
    assert w.tolist() == [-0.5, -0.5]


def test_gradients_that_overflow_are_left_out_and_the_scale_falls(scaled):
    w = nn.Parameter(torch.ones(2))
    before = scaled.scaler.get_scale()
    scaled.backward((w * float("inf")).sum())
    scaled.step(torch.optim.SGD([w], lr=0.5))
    assert w.tolist() == [1, 1]
    assert scaled.scaler.get_scale() == before / 2
