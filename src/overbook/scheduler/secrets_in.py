"""Secrets that people set and delete, into the state. No I/O: `vault` seals them, the actor writes them."""

from __future__ import annotations

from typing import Final

from overbook.artifacts.secrets.remote import RemoteSecret
from overbook.scheduler.errors import Conflict, NotFound
from overbook.scheduler.records import StoredSecret
from overbook.scheduler.state import State

# All of them go to agents in one message.
MOST: Final = 1000
MOST_BYTES: Final = 4 * 1024 * 1024
_NAMED: Final = 5


def refuse_too_many(state: State, remote: RemoteSecret) -> None:
    """Raises Conflict when there is no room for one more."""
    others = [each for name, each in state.secrets.items() if name != remote.secret]
    if len(others) >= MOST:
        raise Conflict(f"there are {MOST} secrets already, the most that can be; delete some first")
    taken = sum(len(each.sealed) for each in others)
    if taken + _bytes(remote) > MOST_BYTES:
        raise Conflict(
            f"all secrets together have more than {MOST_BYTES} bytes with this one; delete some first"
        )


def _bytes(remote: RemoteSecret) -> int:
    return sum(len(key.encode()) + len(text.encode()) for key, text in remote.parameters.items())


def put(state: State, name: str, stored: StoredSecret) -> None:
    """The secret is this one from now on."""
    state.secrets[name] = stored
    state.seats.changes.secrets.add(name)
    state.seats.changes.gone_secrets.discard(name)


def remove(state: State, name: str) -> list[str]:
    """The secret is gone; what people should know of that, a line each. Raises NotFound."""
    if name not in state.secrets:
        raise NotFound(f"secret {name!r} is not stored; see `overbook secret list`")
    del state.secrets[name]
    state.seats.changes.gone_secrets.add(name)
    state.seats.changes.secrets.discard(name)
    users = users_of(state, name)
    if not users:
        return []
    more = f" and {len(users) - _NAMED} more" if len(users) > _NAMED else ""
    return [
        f"secret {name!r} is named by {'models' if len(users) > 1 else 'model'} {', '.join(users[:_NAMED])}{more}: "
        "what is to be fetched for them needs it from --secrets or the environment now"
    ]


def users_of(state: State, name: str) -> list[str]:
    """Names of the models that name it."""
    models = state.seats.models.values()
    return sorted(each.name for each in models if each.needs.secret == name and not each.deleting)


def users(state: State) -> dict[str, list[str]]:
    """The same for all secrets that models name."""
    found: dict[str, list[str]] = {}
    for name in sorted(state.seats.models):
        model = state.seats.models[name]
        if model.needs.secret and not model.deleting:
            found.setdefault(model.needs.secret, []).append(name)
    return found
