"""NVML through a fake of its module: per device, per process tree, and none at all."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest

from overbook.agent.memory.attribution import Attribution
from overbook.agent.memory.gpu import DeviceMemory, NoGpus, NvmlGpus, find_gpus

GIB = 1 << 30


class FakeNvml(ModuleType):
    """Two devices; ``processes`` by device: (pid, bytes)."""

    class NVMLError(Exception):
        pass

    def __init__(self) -> None:
        super().__init__("pynvml")
        self.processes: dict[int, list[tuple[int, int | None]]] = {0: [], 1: []}
        self.broken = False

    def nvmlInit(self) -> None:  # noqa: N802 - the module's names
        if self.broken:
            raise self.NVMLError

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        if self.broken:
            raise self.NVMLError
        return 2

    def nvmlDeviceGetHandleByIndex(self, number: int) -> int:  # noqa: N802
        return number

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:  # noqa: N802
        used = sum(size or 0 for _, size in self.processes[handle])
        return SimpleNamespace(total=16 * GIB, used=used)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[SimpleNamespace]:  # noqa: N802
        return [SimpleNamespace(pid=p, usedGpuMemory=size) for p, size in self.processes[handle]]


def test_each_device_with_what_the_tree_holds() -> None:
    nvml = FakeNvml()
    nvml.processes = {0: [(10, GIB), (11, GIB), (99, 4 * GIB)], 1: [(99, GIB)]}
    assert NvmlGpus(nvml).read((10, 11)) == (
        DeviceMemory(0, 16 * GIB, 6 * GIB, 2 * GIB),
        DeviceMemory(1, 16 * GIB, GIB, 0),
    )


def test_in_a_container_the_driver_does_not_say_who_holds_it() -> None:
    nvml = FakeNvml()
    nvml.processes[0] = [(10, None), (11, GIB)]
    assert NvmlGpus(nvml).read((10, 11))[0].held is None


def test_a_driver_that_went_away() -> None:
    nvml = FakeNvml()
    gpus = NvmlGpus(nvml)
    nvml.broken = True
    assert gpus.read((1,)) == ()


def test_a_load_is_measured_on_a_device_as_in_main_memory() -> None:
    nvml = FakeNvml()
    gpus, windows = NvmlGpus(nvml), Attribution()

    def held() -> int:
        return sum(device.held or 0 for device in gpus.read((10,)))

    window = windows.open(held())
    nvml.processes[1] = [(10, 3 * GIB)]
    assert window.change(held()) == 3 * GIB


def test_machines_with_and_without(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    assert isinstance(find_gpus(), NvmlGpus)
    nvml.broken = True
    assert isinstance(find_gpus(), NoGpus)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert isinstance(find_gpus(), NoGpus)
    assert find_gpus().read((1,)) == ()
