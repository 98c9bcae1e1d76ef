"""Memory of GPUs by device, as the driver tells it (NVML): of the whole device, and of one process tree.

`pynvml` (the package ``nvidia-ml-py``, extra ``gpu``) is optional: without it, or without a driver, there are no
devices. What is read here is measured with the same windows as main memory (`attribution` takes plain bytes).
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """Bytes of one device. ``held``: by the processes asked for; None where the driver does not say (containers)."""

    device: int
    total: int
    used: int
    held: int | None


class Gpus(Protocol):
    def read(self, pids: Iterable[int]) -> tuple[DeviceMemory, ...]:
        """All devices; nothing where there are none."""
        ...


class NoGpus:
    """A machine without."""

    def read(self, pids: Iterable[int]) -> tuple[DeviceMemory, ...]:
        return ()


class NvmlGpus:
    """Through the module ``pynvml``, which is initialised."""

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml

    def read(self, pids: Iterable[int]) -> tuple[DeviceMemory, ...]:
        wanted = frozenset(pids)
        try:
            count = int(self._nvml.nvmlDeviceGetCount())
            return tuple(self._device(number, wanted) for number in range(count))
        except self._nvml.NVMLError:
            return ()  # the driver went away: nothing is known any more

    def _device(self, number: int, pids: frozenset[int]) -> DeviceMemory:
        handle = self._nvml.nvmlDeviceGetHandleByIndex(number)
        memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
        held: int | None = 0
        for process in self._nvml.nvmlDeviceGetComputeRunningProcesses(handle):
            if process.pid not in pids:
                continue
            if process.usedGpuMemory is None or held is None:
                held = None
            else:
                held += int(process.usedGpuMemory)
        return DeviceMemory(number, int(memory.total), int(memory.used), held)


def find_gpus() -> Gpus:
    """The machine's devices, or `NoGpus`."""
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return NoGpus()
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return NoGpus()
    return NvmlGpus(nvml)
