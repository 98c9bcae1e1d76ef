"""Completes the inputs and outputs of a Triton configuration from what the model's file says, and compares them.

Types and names must agree; dimensions are the user's to narrow, as Triton has them without the batch. A tensor
without dimensions is written [1]: Triton knows none without, and the backends turn one into the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from overbook.agent.servers.formats import onnx, saved_model
from overbook.agent.servers.formats.errors import FormatError
from overbook.agent.servers.formats.tensors import TensorSpec
from overbook.agent.servers.protocol import ModelRejected
from overbook.agent.servers.triton.backends import ONNXRUNTIME, TENSORFLOW, Backends
from overbook.agent.servers.triton.layout import CONFIG, Layout
from overbook.agent.servers.triton.pbtxt import ModelConfig, data_type_name, data_type_number

_SIGNATURE_KEY = "TF_SIGNATURE_DEF"
_TAG_KEY = "TF_GRAPH_TAG"
_INVALID = "TYPE_INVALID"
_UNSUPPORTED = "TYPE_BF16"


@dataclass(frozen=True, slots=True)
class _Signature:
    """What the file says. ``spare``: inputs that a configuration may list and need not."""

    inputs: Sequence[TensorSpec]
    outputs: Sequence[TensorSpec]
    spare: Sequence[TensorSpec] = ()


def complete_tensors(name: str, layout: Layout, config: ModelConfig, offer: Backends) -> None:
    """Fill what is silent. Raises ModelRejected for what disagrees or what nobody says."""
    _fill(name, layout, config, offer)
    for kind, tensors in (("input", config.input), ("output", config.output)):
        for tensor in tensors:
            if offer.is_pip and data_type_name(tensor.data_type) == _UNSUPPORTED:
                raise ModelRejected(
                    f"model {name}: {kind} {tensor.name} is {_UNSUPPORTED}, which Triton's Python backend does not "
                    "carry; convert it to TYPE_FP16 or TYPE_FP32 in the model"
                )


def _fill(name: str, layout: Layout, config: ModelConfig, offer: Backends) -> None:
    try:
        signature = _read(name, layout, config, offer)
    except (FormatError, OSError) as error:
        what = "a SavedModel" if layout.backend is TENSORFLOW else "an ONNX model"
        raise ModelRejected(
            f"model {name}: {layout.model_path.name} cannot be read as {what}: {error}"
        ) from error
    if signature is None:
        _check_written_out(name, layout, config)
        return
    where = f"model {name}: {CONFIG}"
    for kind, tensors, found, spare in (
        ("input", config.input, signature.inputs, signature.spare),
        ("output", config.output, signature.outputs, ()),
    ):
        _compare(where, kind, tensors, (*found, *spare))
        if not tensors:
            for spec in found:
                tensors.add(name=spec.name)
        elif kind == "input" and not _has_inputs_of_its_own(config):
            _check_all_there(where, tensors, found)
        specs = {spec.name: spec for spec in (*found, *spare)}
        for tensor in tensors:
            _complete(name, kind, tensor, specs.get(tensor.name), config.max_batch_size)


def _read(name: str, layout: Layout, config: ModelConfig, offer: Backends) -> _Signature | None:
    if layout.backend is ONNXRUNTIME:
        return _read_onnx(name, layout, offer)
    if layout.backend is TENSORFLOW:
        return _read_saved_model(name, layout, config)
    return None


def _read_onnx(name: str, layout: Layout, offer: Backends) -> _Signature:
    path = layout.model_path
    found = onnx.read_onnx(path / ONNXRUNTIME.filename if path.is_dir() else path)
    limits = offer.onnx
    if limits is not None:
        opset = found.opsets.get(onnx.DEFAULT_DOMAIN, 0)
        for what, value, most in (
            ("opset", opset, limits.opset),
            ("ir_version", found.ir_version, limits.ir_version),
        ):
            if value > most:
                raise ModelRejected(
                    f"model {name}: {layout.filename}: {what} is {value}, expected at most {most}, the newest that "
                    f"the installed ONNX Runtime {limits.onnxruntime} loads; export it for an older one"
                )
    return _Signature(found.inputs, found.outputs, spare=found.defaults)


def _read_saved_model(name: str, layout: Layout, config: ModelConfig) -> _Signature:
    graphs = saved_model.read_saved_model(layout.model_path)
    tag = config.parameters[_TAG_KEY].string_value if _TAG_KEY in config.parameters else ""
    tagged = [each for each in graphs if (tag or saved_model.SERVE_TAG) in each.tags]
    if not tagged:
        tags = ", ".join(sorted({one for each in graphs for one in each.tags})) or "none"
        raise ModelRejected(
            f"model {name}: its SavedModel has no graph with the tag {tag or saved_model.SERVE_TAG!r}; "
            f"found {tags}; set parameters {_TAG_KEY} in a {CONFIG}"
        )
    signatures = tagged[0].signatures
    wanted = (
        config.parameters[_SIGNATURE_KEY].string_value
        if _SIGNATURE_KEY in config.parameters
        else ""
    )
    known = ", ".join(sorted(signatures))
    if not signatures:
        raise ModelRejected(
            f"model {name}: its SavedModel has no signature; save it with "
            "tf.saved_model.save(model, folder, signatures=...)"
        )
    if wanted and wanted not in signatures:
        raise ModelRejected(
            f"model {name}: {CONFIG}: parameters {_SIGNATURE_KEY} is {wanted!r}, expected one of {known}"
        )
    if not wanted and saved_model.DEFAULT_SIGNATURE not in signatures:
        if len(signatures) > 1:
            raise ModelRejected(
                f"model {name}: its SavedModel has the signatures {known} and no "
                f"{saved_model.DEFAULT_SIGNATURE}; set parameters {_SIGNATURE_KEY} in a {CONFIG}"
            )
        wanted = known
        config.parameters[_SIGNATURE_KEY].string_value = wanted
    chosen = signatures[wanted or saved_model.DEFAULT_SIGNATURE]
    return _Signature(chosen.inputs, chosen.outputs)


def _check_written_out(name: str, layout: Layout, config: ModelConfig) -> None:
    """The file does not say, so the configuration must."""
    backend = layout.backend
    assert backend is not None
    for kind, tensors in (("input", config.input), ("output", config.output)):
        if not tensors:
            raise ModelRejected(
                f"model {name}: {CONFIG}: {kind} is missing; {layout.filename} does not tell what the model takes "
                f"and gives, so a {CONFIG} beside it must list input and output with name, data_type and dims"
            )
        for tensor in tensors:
            for field, missing in (
                ("name", not tensor.name),
                ("data_type", data_type_name(tensor.data_type) == _INVALID),
                ("dims", not tensor.dims),
            ):
                if missing:
                    raise ModelRejected(
                        f"model {name}: {CONFIG}: {kind} {tensor.name or '?'} has no {field}"
                    )


def _compare(where: str, kind: str, tensors: Any, specs: Sequence[TensorSpec]) -> None:
    known = {spec.name: spec for spec in specs}
    for tensor in tensors:
        spec = known.get(tensor.name)
        if spec is None:
            raise ModelRejected(
                f"{where}: {kind} is {tensor.name!r}, expected one of the model's own: "
                f"{', '.join(sorted(known)) or 'it has none'}"
            )
        given = data_type_name(tensor.data_type)
        if given != _INVALID and spec.data_type and given != spec.data_type:
            raise ModelRejected(
                f"{where}: {kind} {tensor.name}: data_type is {given}, expected {spec.data_type} as in the model"
            )


def _check_all_there(where: str, tensors: Any, found: Iterable[TensorSpec]) -> None:
    missing = {spec.name for spec in found} - {tensor.name for tensor in tensors}
    if missing:
        raise ModelRejected(
            f"{where}: input {', '.join(sorted(missing))} is missing: the model needs it; list all inputs or none"
        )


def _has_inputs_of_its_own(config: ModelConfig) -> bool:
    """Whether Triton itself gives some of the inputs."""
    return config.HasField("sequence_batching") or bool(config.batch_input)


def _complete(
    model: str, kind: str, tensor: Any, spec: TensorSpec | None, max_batch_size: int
) -> None:
    if spec is None:
        return
    if spec.trouble:
        raise ModelRejected(f"model {model}: {kind} {spec.name}: {spec.trouble}")
    if data_type_name(tensor.data_type) == _INVALID:
        tensor.data_type = data_type_number(spec.data_type)
    if not tensor.dims:
        tensor.dims.extend(_dims(model, kind, spec, max_batch_size))


def _dims(model: str, kind: str, spec: TensorSpec, max_batch_size: int) -> Sequence[int]:
    if spec.dims is None:
        if kind == "output":
            # Nobody compares what comes out with this.
            return (-1,)
        raise ModelRejected(
            f"model {model}: input {spec.name}: the model does not say how many dimensions it has; "
            f"write its dims in a {CONFIG}"
        )
    if max_batch_size == 0:
        return spec.dims or (1,)
    if not spec.dims or spec.dims[0] != -1:
        raise ModelRejected(
            f"model {model}: {CONFIG}: max_batch_size is {max_batch_size}, but {kind} {spec.name} has the shape "
            f"{list(spec.dims)} in the model, expected a first dimension of any size; set max_batch_size: 0"
        )
    return spec.dims[1:] or (1,)
