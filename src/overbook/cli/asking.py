"""Requests of people to models: what they may be written in, the client that sends them, and times in words."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from overbook.cli.failures import Failed
from overbook.cli.words import milliseconds, plural

if TYPE_CHECKING:
    from overbook.client.http import Json, JsonObject
    from overbook.client.inference import InferenceClient


class BadRequest(ValueError):
    """It is not a request; the text says what was expected."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, and where it stands: `requests.jsonl:7`, or nothing when there is one only."""

    request: JsonObject
    place: str = ""


def parse_request(text: str) -> JsonObject:
    """An Open Inference Protocol request. Raises BadRequest."""
    try:
        request: Json = json.loads(text)
    except ValueError as error:
        raise BadRequest(f"not JSON: {error}") from None
    if not isinstance(request, dict) or not isinstance(request.get("inputs"), list):
        raise BadRequest('expected an Open Inference Protocol request: {"inputs": [...]}')
    return request


def read_requests(path: str) -> list[Asked]:
    """Those of a file of JSON lines, `-` for stdin; empty lines are passed over. Raises Failed."""
    try:
        if path == "-":
            lines = sys.stdin.read().splitlines()
        else:
            with open(path, encoding="utf-8-sig") as file:
                lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Failed(f"Error: {path}: cannot be read: {error}") from None
    found, wrong = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        try:
            found.append(Asked(parse_request(line), place))
        except BadRequest as error:
            wrong.append(f"{place}: {error}")
    if wrong:
        raise Failed(*wrong)
    if not found:
        raise Failed(f"Error: {path}: no requests in it; expected a JSON object on each line")
    return found


def inference_client(url: str, use_grpc: bool) -> InferenceClient:
    """The data plane over REST or gRPC."""
    if use_grpc:
        # What went wrong is told by us, in a line of its own.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        from overbook.client.inference_grpc import GrpcInference

        return GrpcInference(url)
    from overbook.client.inference import RestInference

    return RestInference(url)


@dataclass(slots=True)
class Tally:
    """How long requests took, in seconds, and what went wrong, in order."""

    took: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def summary(self, elapsed: float) -> Iterator[str]:
        count = len(self.took) + len(self.errors)
        yield (
            f"{plural(count, 'request')} in {elapsed:.2f} s ({count / elapsed:.0f}/s), "
            f"{plural(len(self.errors), 'error')}"
        )
        if self.took:
            figures = (
                ("first", self.took[0]),
                ("p50", percentile(self.took, 0.5)),
                ("p99", percentile(self.took, 0.99)),
                ("max", max(self.took)),
            )
            yield ", ".join(f"{name} {milliseconds(value)}" for name, value in figures)


def percentile(values: list[float], share: float) -> float:
    """The smallest value that at least this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]
