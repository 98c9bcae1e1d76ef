"""SavedModels and ONNX files of messages written by hand: no framework is needed to test a reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.unit.wire.writing import block, number

Shape = Sequence[int] | None

INT32, STRING, FLOAT = 3, 7, 1


def tensor_info(name: str, data_type: int, shape: Shape, extra: bytes = b"") -> bytes:
    dims = b"".join(block(2, number(1, size)) for size in shape or ())
    described = number(3, 1) if shape is None else dims
    return block(1, f"{name}:0") + number(2, data_type) + block(3, described) + extra


def signature(inputs: Mapping[str, bytes], outputs: Mapping[str, bytes]) -> bytes:
    return b"".join(
        block(field, block(1, name) + block(2, info))
        for field, tensors in ((1, inputs), (2, outputs))
        for name, info in tensors.items()
    )


def meta_graph(signatures: Mapping[str, bytes], tags: Sequence[str] = ("serve",)) -> bytes:
    info = b"".join(block(4, tag) for tag in tags)
    entries = (block(5, block(1, name) + block(2, each)) for name, each in signatures.items())
    return block(1, info) + block(2, b"\x0a\x02\x08\x01") + b"".join(entries)


def saved_model(folder: Path, *graphs: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    content = number(1, 1) + b"".join(block(2, each) for each in graphs)
    (folder / "saved_model.pb").write_bytes(content)
    return folder


def add_sub(*, batch: bool = False) -> bytes:
    """The signature of the mission's example."""
    shape = (-1, 16) if batch else (16,)
    return signature(
        {name: tensor_info(name, INT32, shape) for name in ("INPUT0", "INPUT1")},
        {name: tensor_info(name, INT32, shape) for name in ("OUTPUT0", "OUTPUT1")},
    )


def onnx_tensor(name: str, element: int, shape: Shape) -> bytes:
    dims = b"".join(
        block(1, number(1, size) if size >= 0 else block(2, "some")) for size in shape or ()
    )
    typed = number(1, element) + (b"" if shape is None else block(2, dims))
    return block(1, name) + block(2, block(1, typed))


def onnx_model(
    path: Path,
    inputs: Sequence[bytes],
    outputs: Sequence[bytes],
    *,
    opset: int = 17,
    ir_version: int = 8,
    graph: bytes = b"",
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = graph + b"".join(block(11, each) for each in inputs)
    content += b"".join(block(12, each) for each in outputs)
    path.write_bytes(
        number(1, ir_version) + block(7, content) + block(8, number(2, opset) + block(1, ""))
    )
    return path
