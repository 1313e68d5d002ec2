from types import SimpleNamespace

import pytest
import torch

from gradbook import devices
from gradbook.errors import ConfigError


@pytest.fixture
def machine(monkeypatch):
    """Makes this a machine with so many accelerators of a type."""

    def pretend(count, kind="cuda"):
        found = torch.device(kind) if kind else None
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda *_, **__: found)
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.accelerator, "device_count", lambda: count)

    return pretend


@pytest.mark.parametrize("given", ["cpu", torch.device("cpu"), ["cpu"], (torch.device("cpu"),)])
def test_one_device_is_a_list_of_one(given):
    assert devices.as_devices(given) == [torch.device("cpu")]


@pytest.mark.parametrize(("given", "told"), [([], "is empty"), ("gpu", "devices='gpu' cannot")])
def test_what_is_no_device_is_refused(given, told):
    with pytest.raises(ConfigError, match=told):
        devices.as_devices(given)


def test_cpu_is_the_cpu():
    assert devices.cpu() == torch.device("cpu")


def test_a_gpu_need_not_exist_to_be_named(machine):
    machine(0, None)
    assert devices.gpu() == torch.device("cuda", 0)
    assert devices.gpu(3) == torch.device("cuda", 3)


def test_a_pytorch_that_fails_where_there_is_no_gpu_names_one_too(monkeypatch):
    def fail():
        raise RuntimeError("Cannot access accelerator device when none is available.")

    monkeypatch.setattr(torch.accelerator, "current_accelerator", fail)
    assert devices.gpu(1) == torch.device("cuda", 1)


@pytest.mark.parametrize("kind", ["cuda", "mps", "xpu"])
def test_a_gpu_is_whatever_accelerator_there_is(machine, kind):
    machine(1, kind)
    assert devices.gpu() == torch.device(kind, 0)


def test_gpus_are_counted(machine):
    machine(2)
    assert devices.num_gpus() == 2


def test_an_accelerator_that_cannot_be_used_does_not_count(machine, monkeypatch):
    machine(2)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert devices.num_gpus() == 0


def test_try_gpu_falls_back_to_the_cpu(machine):
    machine(1)
    assert devices.try_gpu() == torch.device("cuda", 0)
    assert devices.try_gpu(1) == torch.device("cpu")


def test_all_gpus_are_a_list(machine):
    machine(2)
    assert devices.try_all_gpus() == [torch.device("cuda", 0), torch.device("cuda", 1)]


def test_without_gpus_the_list_holds_the_cpu(machine):
    machine(0)
    assert devices.try_all_gpus() == [devices.cpu()]


@pytest.mark.parametrize(
    ("kind", "functions", "free"),
    [
        # Of 100 bytes, others have 60; of our own 30, tensors that are gone had 10.
        ("cuda", {"mem_get_info": (40, 100), "memory_reserved": 30, "memory_allocated": 20}, 50),
        ("xpu", {"mem_get_info": (40, 100), "memory_reserved": 30, "memory_allocated": 20}, 50),
        ("mps", {"recommended_max_memory": 80, "current_allocated_memory": 20}, 60),
        ("xpu", {}, None),
    ],
)
def test_free_memory_is_what_new_tensors_can_have(monkeypatch, kind, functions, free):
    module = SimpleNamespace(**{name: lambda *_, v=v: v for name, v in functions.items()})
    monkeypatch.setattr(torch, "get_device_module", lambda device: module)
    assert devices.free_bytes(torch.device(kind, 0)) == free


def test_what_is_no_accelerator_does_not_tell_its_free_memory():
    assert devices.free_bytes(torch.device("meta")) is None


def test_values_on_the_cpu_are_there():
    assert devices.arriving(torch.tensor([1, 2]))() == [1, 2]


def test_values_are_waited_for_when_they_are_asked_for(monkeypatch):
    log = []

    class Far:
        device = torch.device("cuda")

        def to(self, where, non_blocking):
            log.append(f"to {where}, {'begun' if non_blocking else 'waited'}")
            return torch.tensor([1, 2])

    class Event:
        def record(self):
            log.append("record")

        def synchronize(self):
            log.append("synchronize")

    monkeypatch.setattr(torch, "get_device_module", lambda device: SimpleNamespace(Event=Event))
    arrived = devices.arriving(Far())
    assert log == ["to cpu, begun", "record"]
    assert arrived() == [1, 2]
    assert log[2:] == ["synchronize"]
