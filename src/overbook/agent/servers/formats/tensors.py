"""What every format says of an input or output, in the words of Triton's configuration."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """``data_type``: such as TYPE_FP32, empty when no server knows the type. ``dims``: -1 where any size fits,
    None where the file does not even say how many there are. ``trouble``: why it cannot be an input or output
    of a server, empty when it can.
    """

    name: str
    data_type: str
    dims: tuple[int, ...] | None
    trouble: str = ""
