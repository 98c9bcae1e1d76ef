"""One call for each of several objects: each stands alone, and what failed is told when all are done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import click

from overbook.cli.failures import Failed
from overbook.cli.terminal import warn
from overbook.client.errors import NotFound, Refused

# Answers with what people should know of what it did, a line each.
Call: TypeAlias = Callable[[], Sequence[str]]


def one_by_one(calls: Iterable[tuple[str, Call]], done: str) -> None:
    """Makes the calls in order, each with what it is about, such as `model/iris`; ``done``: what then became of that.

    Raises Failed with a line for each that was refused.
    """
    failed = []
    for about, call in calls:
        try:
            warnings = call()
        except (NotFound, Refused) as error:
            failed.append(f"Error: {about}: {error}")
        else:
            click.echo(f"{about} {done}")
            for warning in warnings:
                warn(warning)
    if failed:
        raise Failed(*failed)
