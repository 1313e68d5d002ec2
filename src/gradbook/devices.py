"""Which devices there are.

Book: 6.7 (sec_use_gpu). "GPU" means whatever accelerator this PyTorch supports: CUDA, ROCm,
Apple's MPS or Intel's XPU.
"""

from collections.abc import Iterable

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
    named = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return f"{device} ({named})" if named else str(device)


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
