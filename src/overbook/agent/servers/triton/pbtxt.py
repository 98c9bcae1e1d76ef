"""Reads and writes Triton's config.pbtxt, with Triton's own messages.

`tritonclient.grpc` (with gRPC and NumPy) is imported when the first one is looked at: most agents never do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf import text_format

from overbook.agent.servers.formats.errors import FormatError

if TYPE_CHECKING:
    # The package has no types; the alias says what is meant.
    ModelConfig = Any
else:
    ModelConfig = object


def new_config() -> ModelConfig:
    """An empty ModelConfig."""
    from tritonclient.grpc import model_config_pb2

    return model_config_pb2.ModelConfig()


def parse_config(content: bytes) -> ModelConfig:
    """Raises FormatError with line and column."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise FormatError(f"line {line}: not UTF-8 text") from error
    config = new_config()
    try:
        text_format.Parse(text, config)
        _check_types(config)
    except text_format.ParseError as error:
        raise FormatError(_reason(error)) from error
    except RecursionError as error:
        raise FormatError("it is nested deeper than any configuration") from error
    return config


def _check_types(config: ModelConfig) -> None:
    """Numbers that stand for no type are legal in a message, and nobody could name them later."""
    from tritonclient.grpc import model_config_pb2

    for kind, tensors in (("input", config.input), ("output", config.output)):
        for tensor in tensors:
            if tensor.data_type not in model_config_pb2.DataType.values():
                raise FormatError(
                    f"{kind} {tensor.name or '?'}: data_type is {tensor.data_type}, expected a name such as TYPE_FP32"
                )


def print_config(config: ModelConfig) -> str:
    """The text of a config.pbtxt."""
    return text_format.MessageToString(config)


def data_type_number(name: str) -> int:
    """Of a name such as TYPE_FP32."""
    from tritonclient.grpc import model_config_pb2

    return int(model_config_pb2.DataType.Value(name))


def data_type_name(number: int) -> str:
    """Such as TYPE_FP32."""
    from tritonclient.grpc import model_config_pb2

    return str(model_config_pb2.DataType.Name(number))


def _reason(error: text_format.ParseError) -> str:
    line, column = error.GetLine(), error.GetColumn()
    words = str(error)
    if line is None:
        return " ".join(words.split())
    # The message repeats the place in a form that looks like part of it.
    words = words.removeprefix(f"{line}:{column} :").strip()
    return f"line {line}, column {column}: {' '.join(words.split())}"
