"""A fake Overbook, and the command run against it as a user would."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from click.testing import CliRunner, Result

from overbook.cli.main import main
from tests.unit.client.fake_overbook import FakeOverbook, running

Overbook = Callable[..., Result]


@pytest.fixture
def fake() -> Iterator[FakeOverbook]:
    with running() as found:
        yield found


@pytest.fixture
def overbook(fake: FakeOverbook) -> Overbook:
    """Runs `overbook ARGUMENTS` against the fake. Errors that no user should see are raised."""

    def run(*arguments: str, stdin: str = "") -> Result:
        environment = {"OVERBOOK_API_URL": fake.url, "OVERBOOK_URL": fake.url}
        result = CliRunner().invoke(main, arguments, input=stdin, env=environment)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run
