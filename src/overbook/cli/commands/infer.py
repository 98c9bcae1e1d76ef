"""`overbook infer`: ask a model once, or many times and say how long it took."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

import click

from overbook.cli.failures import Failed
from overbook.cli.options import parse_duration, url_option

if TYPE_CHECKING:
    from overbook.client.http import Json, JsonObject
    from overbook.client.inference import InferenceClient


def _request(given: str) -> JsonObject:
    """An Open Inference Protocol request: JSON, @FILE or - for stdin."""
    text = given
    if given == "-":
        text = sys.stdin.read()
    elif given.startswith("@"):
        try:
            with open(given[1:], encoding="utf-8") as file:
                text = file.read()
        except (OSError, UnicodeDecodeError) as error:
            raise click.BadParameter(f"{given[1:]!r} cannot be read: {error}") from None
    try:
        request: Json = json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"not JSON: {error}; expected JSON, @FILE or -") from None
    if not isinstance(request, dict) or not isinstance(request.get("inputs"), list):
        raise click.BadParameter('expected an Open Inference Protocol request: {"inputs": [...]}')
    return request


@click.command()
@click.argument("model")
@click.argument("request_", metavar="JSON|@FILE|-", type=_request)
@click.option("--grpc", "use_grpc", is_flag=True, help="Ask over gRPC instead of REST.")
@click.option(
    "-n",
    "count",
    type=click.IntRange(1),
    help="Ask this many times, one after another, and print times instead of answers.",
)
@click.option(
    "--timeout",
    type=parse_duration,
    metavar="DURATION",
    default="60s",
    show_default=True,
    help="Of one request.",
)
@url_option
def infer(
    model: str,
    request_: JsonObject,
    use_grpc: bool,
    count: int | None,
    timeout: float,
    url: str,
) -> None:
    """Ask a model. The request is Open Inference Protocol JSON; so is the answer.

    \b
    overbook infer iris '{"inputs": [{"name": "x", "datatype": "FP32",
                          "shape": [1, 4], "data": [5.1, 3.5, 1.4, 0.2]}]}'
    overbook infer iris @request.json --grpc
    overbook infer iris @request.json -n 100
    """
    client = _client(url, use_grpc)
    try:
        if count is None:
            click.echo(_answer(_ask(client, model, request_, timeout)))
        else:
            _repeat(client, model, request_, count=count, timeout=timeout)
    finally:
        client.close()


def _client(url: str, use_grpc: bool) -> InferenceClient:
    if use_grpc:
        from overbook.client.inference_grpc import GrpcInference

        return GrpcInference(url)
    from overbook.client.inference import RestInference

    return RestInference(url)


def _ask(client: InferenceClient, model: str, request: JsonObject, timeout: float) -> JsonObject:
    from overbook.client.errors import BadTensor

    try:
        return client.infer(model, request, timeout=timeout)
    except BadTensor as error:
        raise Failed(f"Error: {error}") from None


def _answer(answer: JsonObject) -> str:
    """JSON with a line for each field and each output: readable, and tensors stay on one line."""
    lines = []
    for name, value in answer.items():
        if isinstance(value, list) and value:
            items = ",\n".join(f"    {json.dumps(each, ensure_ascii=False)}" for each in value)
            lines.append(f"  {json.dumps(name)}: [\n{items}\n  ]")
        else:
            lines.append(f"  {json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}")
    return "{\n" + ",\n".join(lines) + "\n}"


def _repeat(
    client: InferenceClient, model: str, request: JsonObject, *, count: int, timeout: float
) -> None:
    from overbook.cli.words import milliseconds, plural
    from overbook.client.errors import ClientError

    took: list[float] = []
    errors: list[str] = []
    began = time.perf_counter()
    for _ in range(count):
        start = time.perf_counter()
        try:
            _ask(client, model, request, timeout)
        except ClientError as error:
            errors.append(str(error))
        else:
            took.append(time.perf_counter() - start)
    elapsed = time.perf_counter() - began
    click.echo(
        f"{plural(count, 'request')} in {elapsed:.2f} s ({count / elapsed:.0f}/s), "
        f"{plural(len(errors), 'error')}"
    )
    if took:
        figures = (
            ("first", took[0]),
            ("p50", _percentile(took, 0.5)),
            ("p99", _percentile(took, 0.99)),
            ("max", max(took)),
        )
        click.echo(", ".join(f"{name} {milliseconds(value)}" for name, value in figures))
    if errors:
        raise Failed(f"Error: {errors[0]}")


def _percentile(values: list[float], share: float) -> float:
    """The smallest value that at least this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]
