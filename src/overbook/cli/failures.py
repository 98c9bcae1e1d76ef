"""How a command fails: its reasons on stderr, one a line, and exit code 1; or 2 for wrong usage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import click

from overbook.cli.terminal import safe, told
from overbook.client.errors import BadUrl, ClientError
from overbook.machine.folders import StateUnusable
from overbook.manifests.problems import ManifestError


class Failed(click.ClickException):
    """Ends the command with exit code 1 after printing every line as it is."""

    exit_code = 1

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))

    # Any is click's own signature.
    def show(self, file: IO[Any] | None = None) -> None:
        for line in safe(self.message).splitlines():
            told(line, "Error:", "red")


@contextmanager
def reported() -> Iterator[None]:
    """Turns the errors of client, manifests and state folder into click's, which end with the right exit code."""
    try:
        yield
    except ManifestError as error:
        raise Failed(*(str(problem) for problem in error.problems)) from None
    except ClientError as error:
        raise Failed(f"Error: {error}") from None
    except StateUnusable as error:
        raise Failed(f"Error: {error}") from None
    except BadUrl as error:
        raise click.UsageError(str(error)) from None
