"""How the steps of a training are computed: in mixed precision, compiled, deterministically."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import torch

from gradbook.errors import IgnoredSettingWarning, warn

Name = Literal["32", "16-mixed", "bf16-mixed"]
NAMES: tuple[Name, ...] = ("32", "16-mixed", "bf16-mixed")

_DTYPES = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}


class Precision:
    """How the losses and gradients of a training are computed.

    float16 has few exponents, so that small gradients would vanish: the loss is scaled up before
    the backward pass, and the gradients down before the step, by PyTorch's `GradScaler`.

    Args:
        name: "32", "16-mixed" (float16) or "bf16-mixed" (bfloat16).
        device: Where the training runs. float16 needs an accelerator; a setting that the device
            does not have is left out with a warning.

    Attributes:
        dtype: The type of the forward pass, or None for the usual one.
        scaler: What scales the loss, or None.
    """

    def __init__(self, name: Name, device: torch.device) -> None:
        self._device = device
        self.dtype = _DTYPES.get(name)
        self._usual = nullcontext()
        self.scaler: torch.amp.GradScaler | None = None
        if self.dtype is None:
            return
        if not _is_offered(self.dtype, device):
            warn(
                f'precision="{name}" cannot be used on {device.type}, which lacks '
                f"{str(self.dtype).removeprefix('torch.')} for training. Training in 32 bits.",
                IgnoredSettingWarning,
            )
            self.dtype = None
        elif self.dtype == torch.float16:
            self.scaler = torch.amp.GradScaler(device.type)

    def autocast(self) -> AbstractContextManager[Any]:
        """Within it, operations for which 16 bits suffice use them."""
        if self.dtype is None:
            return self._usual
        return torch.autocast(self._device.type, self.dtype)

    def backward(self, loss: torch.Tensor) -> None:
        """Computes the gradients, scaled where there is a scaler."""
        if self.scaler is not None:
            loss = self.scaler.scale(loss)
        loss.backward()  # type: ignore[no-untyped-call]

    def unscale(self, optimizer: Any) -> None:
        """Brings the gradients to their true size, as clipping needs them."""
        if self.scaler is not None:
            self.scaler.unscale_(optimizer)

    def step(self, optimizer: Any) -> None:
        """Takes a step, unless the scaled gradients have overflowed."""
        if self.scaler is None:
            optimizer.step()
        else:
            self.scaler.step(optimizer)
            self.scaler.update()


def _is_offered(dtype: torch.dtype, device: torch.device) -> bool:
    if dtype == torch.float16:
        return device.type != "cpu"
    return device.type != "cuda" or torch.cuda.is_bf16_supported()


@contextmanager
def compiled(model: torch.nn.Module, attempt: Callable[[], None]) -> Iterator[None]:
    """Compiles the network's call for a while; warns and goes without where that fails.

    Args:
        model: The model.
        attempt: Calls the model, to see whether it compiles.
    """
    try:
        model.compile()
        attempt()
    except Exception as error:
        stop_compiling(model)
        reason = str(error).strip().splitlines()
        warn(
            f"compile=True, but the network cannot be compiled here: {type(error).__name__}"
            f"{': ' + reason[0] if reason else ''}. It trains as it is. torch.compile needs a "
            f"C++ compiler, such as g++.",
            IgnoredSettingWarning,
        )
    try:
        yield
    finally:
        stop_compiling(model)


def stop_compiling(model: Any) -> None:
    """Has the network called as it was before it was compiled."""
    vars(model).pop("_compiled_call_impl", None)  # PyTorch has no public way back


#: How PyTorch was set before the first of the trainings that now ask for determinism.
_before: list[tuple[bool, bool, bool]] = []
_num_asking = 0


@contextmanager
def deterministic() -> Iterator[None]:
    """For a while, PyTorch uses only algorithms that always give the same numbers.

    Trainings that run at once, as those of a stack, end in any order: the last of them puts
    everything back.
    """
    global _num_asking
    if not _num_asking:
        enabled = torch.are_deterministic_algorithms_enabled()
        warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
        _before[:] = [(enabled, warn_only, torch.backends.cudnn.benchmark)]
    _num_asking += 1
    # cuBLAS reads it when it is first used, and refuses to be deterministic without it.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        _num_asking -= 1
        if not _num_asking:
            enabled, warn_only, benchmark = _before[0]
            torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
            torch.backends.cudnn.benchmark = benchmark
