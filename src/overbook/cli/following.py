"""Logs of several server replicas as one output: which replicas are meant, and their lines as they come."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from overbook.cli.failures import Failed
from overbook.cli.reading import name_of, number, replicas, text
from overbook.client.control import ControlClient
from overbook.client.errors import ClientError, NotFound
from overbook.client.http import JsonObject


@dataclass(slots=True)
class Followed:
    """One replica's log. `after`: where it goes on; `path`: of the file, as its agent says."""

    server: str
    replica: int
    after: str = ""
    path: str = ""
    failed: str = field(default="", repr=False)

    @property
    def name(self) -> str:
        return f"{self.server}/{self.replica}"


def meant(client: ControlClient, target: str) -> tuple[list[Followed], str]:
    """The replicas that a name stands for, and the model when it is one: SERVER, SERVER/0 or model/NAME.

    Raises Failed, and what the client raises.
    """
    kind, slash, rest = target.partition("/")
    if kind in ("model", "models") and slash:
        model = client.get("model", rest)
        return [Followed(*place) for place in sorted(_places(model))], rest
    if slash and not rest.isdecimal():
        raise Failed(
            f"Error: {target!r} is not a server; expected SERVER, SERVER/NUMBER or model/NAME"
        )
    try:
        server = client.get("server", kind)
    except NotFound:
        if not slash and any(name_of(each) == kind for each in client.list("model")):
            raise Failed(
                f"Error: {kind!r} is a model, not a server; try `overbook logs model/{kind}`"
            ) from None
        raise
    if slash:
        return [Followed(kind, int(rest))], ""
    numbers = [
        each for part in replicas(server) if (each := number(part.get("replica"))) is not None
    ]
    return [Followed(kind, each) for each in numbers], ""


def _places(model: JsonObject) -> Iterator[tuple[str, int]]:
    for part in replicas(model):
        replica = number(part.get("replica"))
        if replica is not None:
            yield text(part.get("server")), replica


def read(
    client: ControlClient, log: Followed, *, lines: int, model: str, wait: float
) -> tuple[tuple[str, ...], bool]:
    """The next lines, and whether some before them are lost. What cannot be read now may be later; see `failed`."""
    try:
        page = client.log(
            log.server, log.replica, after=log.after, lines=lines, model=model, wait=wait
        )
    except ClientError as error:
        log.failed = str(error)
        return (), False
    log.failed = ""
    log.after, log.path = page.next, page.path
    return page.lines, page.missed
