"""Which devices there are.

Book: 6.7 (sec_use_gpu). "GPU" means whatever accelerator this PyTorch supports: CUDA, ROCm,
Apple's MPS or Intel's XPU.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch

from gradbook.errors import ConfigError, shown


def cpu() -> torch.device:
    """The CPU."""
    return torch.device("cpu")


def gpu(i: int = 0) -> torch.device:
    """The accelerator with index `i`, whether or not it exists."""
    try:
        accelerator = torch.accelerator.current_accelerator()
    except RuntimeError:  # so says PyTorch 2.6 that there is none
        accelerator = None
    return torch.device(accelerator.type if accelerator is not None else "cuda", i)


def described(device: torch.device) -> str:
    """A device with the name of the hardware, where PyTorch knows it: "cuda:0 (NVIDIA H200)"."""
    knows = device.type in ("cuda", "xpu")
    named = torch.get_device_module(device).get_device_name(device) if knows else None
    return f"{device} ({named})" if named else str(device)


def free_bytes(device: torch.device) -> int | None:
    """How much memory of an accelerator new tensors can have; None where it does not tell."""
    try:
        kind: Any = torch.get_device_module(device)
        if device.type == "mps":
            return int(kind.recommended_max_memory() - kind.current_allocated_memory())
        free, _ = kind.mem_get_info(device)
        # What PyTorch holds of tensors that are gone, it gives to new ones.
        return int(free + kind.memory_reserved(device) - kind.memory_allocated(device))
    except (AttributeError, RuntimeError):  # as of some of Intel's
        return None


def arriving(values: torch.Tensor) -> Callable[[], Any]:
    """Begins to fetch values from their device; what is returned waits for them.

    It waits for no more than was begun before: what is begun meanwhile keeps the device busy.

    Args:
        values: A tensor on any device.

    Returns:
        A function that gives them as `values.tolist()` does.
    """
    if values.device.type == "cpu":
        return values.tolist
    here = values.to("cpu", non_blocking=True)
    event: Any = torch.get_device_module(values.device).Event()
    event.record()

    def arrived() -> Any:
        event.synchronize()
        return here.tolist()

    return arrived


def num_gpus() -> int:
    """The number of accelerators that can be used now."""
    return torch.accelerator.device_count() if torch.accelerator.is_available() else 0


def try_gpu(i: int = 0) -> torch.device:
    """The accelerator with index `i` if it exists, otherwise the CPU."""
    return gpu(i) if num_gpus() > i else cpu()


def device_of(model: torch.nn.Module) -> torch.device:
    """Where a model's parameters are; the CPU if it has none."""
    parameter = next(model.parameters(), None)
    return cpu() if parameter is None else parameter.device


def as_devices(devices: torch.device | str | Iterable[torch.device | str]) -> list[torch.device]:
    """One device or several, as a list.

    Raises:
        ConfigError: If there is none, or one is no device that PyTorch knows.
    """
    given = [devices] if isinstance(devices, torch.device | str) else list(devices)
    if not given:
        raise ConfigError("devices is empty: give at least one, such as `d2l.try_all_gpus()`.")
    try:
        return [torch.device(device) for device in given]
    except (RuntimeError, TypeError) as error:
        told = str(error).splitlines()[0]
        raise ConfigError(
            f"devices={shown(devices)} cannot be used: {told}. Give devices such as 'cpu', or "
            f"`d2l.try_all_gpus()`."
        ) from None


def try_all_gpus() -> list[torch.device]:
    """All accelerators, as a list; that of the CPU alone if there is none."""
    return [gpu(i) for i in range(num_gpus())] or [cpu()]
