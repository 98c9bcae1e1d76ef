"""`overbook infer`: ask a model once, or many times and say how long it took."""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from overbook.cli.failures import Failed
from overbook.cli.options import header_option, parse_duration, url_option

if TYPE_CHECKING:
    from overbook.cli.asking import Asked, Tally
    from overbook.client.http import JsonObject
    from overbook.client.inference import InferenceClient


def _request(given: str) -> JsonObject:
    """An Open Inference Protocol request: JSON, @FILE or - for stdin."""
    from overbook.cli.asking import BadRequest, parse_request

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
        return parse_request(text)
    except BadRequest as error:
        raise click.BadParameter(f"{error}; expected JSON, @FILE or -") from None


@click.command()
@click.argument("model")
@click.argument("request_", metavar="[JSON|@FILE|-]", type=_request, required=False)
@click.option(
    "-f",
    "--file",
    "path",
    metavar="FILE",
    help="Many requests, one JSON object a line; - for stdin. Answers come a line each.",
)
@click.option("--grpc", "use_grpc", is_flag=True, help="Ask over gRPC instead of REST.")
@click.option(
    "-n",
    "count",
    type=click.IntRange(1),
    help="Ask this many times, one after another, and print times instead of answers.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, min_open=True),
    help="Ask for this long, and print times instead of answers.",
)
@click.option(
    "--timeout",
    type=parse_duration,
    metavar="DURATION",
    default="60s",
    show_default=True,
    help="For one request.",
)
@header_option
@url_option
def infer(
    model: str,
    request_: JsonObject | None,
    path: str | None,
    use_grpc: bool,
    count: int | None,
    seconds: float | None,
    timeout: float,
    headers: dict[str, str],
    url: str,
) -> None:
    """Ask a model. The request is Open Inference Protocol JSON; so is the answer.

    \b
    overbook infer iris '{"inputs": [{"name": "x", "datatype": "FP32",
                          "shape": [1, 4], "data": [5.1, 3.5, 1.4, 0.2]}]}'
    overbook infer iris @request.json --grpc -H 'x-request-id: 7'
    overbook infer iris @request.json --seconds 10
    overbook infer iris -f requests.jsonl > answers.jsonl
    """
    from overbook.cli.asking import Asked, inference_client, read_requests

    if (request_ is None) == (path is None):
        raise click.UsageError("expected either a request (JSON, @FILE or -), or -f FILE")
    requests = [Asked(request_)] if request_ is not None else read_requests(path or "")
    client = inference_client(url, use_grpc)
    asking = _Asking(client, model, timeout, headers)
    try:
        if count is not None or seconds is not None:
            asking.repeat(requests, count=count, seconds=seconds)
        elif path is not None:
            asking.each(requests)
        else:
            _print(_answer(asking.one(requests[0])))
    finally:
        client.close()


class _Asking:
    """One model, asked in one way."""

    def __init__(
        self, client: InferenceClient, model: str, timeout: float, headers: dict[str, str]
    ) -> None:
        self._client = client
        self._model = model
        self._timeout = timeout
        self._headers = headers

    def one(self, asked: Asked) -> JsonObject:
        from overbook.client.errors import BadTensor, Refused

        try:
            return self._client.infer(
                self._model, asked.request, timeout=self._timeout, headers=self._headers
            )
        except BadTensor as error:
            raise Refused(str(error)) from None

    def repeat(
        self, requests: Sequence[Asked], *, count: int | None, seconds: float | None
    ) -> None:
        """One request after another, from the beginning again after the last; times at the end."""
        from overbook.cli.asking import Tally

        tally, began = Tally(), time.perf_counter()
        try:
            for asked in itertools.islice(itertools.cycle(requests), count):
                if seconds is not None and time.perf_counter() - began >= seconds:
                    break
                self._timed(asked, tally)
        except KeyboardInterrupt:
            click.echo("stopped", err=True)
        self._sum_up(tally, began, err=False)
        if tally.errors:
            raise Failed(f"Error: {tally.errors[0]}")

    def each(self, requests: Sequence[Asked]) -> None:
        """Every request once: answers on stdout, a line each; errors and times on stderr."""
        from overbook.cli.asking import Tally

        tally, began = Tally(), time.perf_counter()
        for asked in requests:
            answer = self._timed(asked, tally)
            if answer is not None:
                _print(json.dumps(answer, ensure_ascii=False))
            else:
                click.echo(tally.errors[-1], err=True)
        self._sum_up(tally, began, err=True)
        if tally.errors:
            raise Failed(f"Error: {len(tally.errors)} of {len(requests)} requests failed")

    def _timed(self, asked: Asked, tally: Tally) -> JsonObject | None:
        from overbook.cli.terminal import safe
        from overbook.client.errors import ClientError

        start = time.perf_counter()
        try:
            answer = self.one(asked)
        except ClientError as error:
            place = f"{asked.place}: " if asked.place else ""
            tally.errors.append(f"{place}{safe(str(error))}")
            return None
        tally.took.append(time.perf_counter() - start)
        return answer

    def _sum_up(self, tally: Tally, began: float, *, err: bool) -> None:
        if tally.took or tally.errors:
            for line in tally.summary(time.perf_counter() - began):
                click.echo(line, err=err)


def _print(text: str) -> None:
    from overbook.cli.terminal import safe_json

    click.echo(safe_json(text))


def _answer(answer: JsonObject) -> str:
    """JSON with a line for each field and each output: readable, and tensors stay on one line."""
    return "{\n" + ",\n".join(_fields(answer)) + "\n}"


def _fields(answer: JsonObject) -> Iterator[str]:
    for name, value in answer.items():
        if isinstance(value, list) and value:
            items = ",\n".join(f"    {json.dumps(each, ensure_ascii=False)}" for each in value)
            yield f"  {json.dumps(name)}: [\n{items}\n  ]"
        else:
            yield f"  {json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}"
