"""Secrets in environment variables. They are taken out of the environment at the start, so that no child has them."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Final

from overbook.artifacts.secrets.parsing import parse_secret
from overbook.artifacts.secrets.remote import RemoteSecret

PREFIX: Final = "OVERBOOK_SECRET_"
_TO_VARIABLE: Final = str.maketrans({"-": "_", ".": "_"})


def variable(name: str) -> str:
    """The variable that holds the secret of this name."""
    return PREFIX + name.upper().translate(_TO_VARIABLE)


def names(variables: Mapping[str, str]) -> list[str]:
    """What secrets in these variables are called, as far as a variable's name tells."""
    return [each.removeprefix(PREFIX).lower().replace("_", "-") for each in variables]


def taken(environ: MutableMapping[str, str]) -> dict[str, str]:
    """All variables that hold secrets, which are not in ``environ`` any more."""
    return {each: environ.pop(each) for each in list(environ) if each.startswith(PREFIX)}


def find(name: str, variables: Mapping[str, str]) -> RemoteSecret | None:
    """None where no variable is meant for it. Raises SecretError."""
    text = variables.get(variable(name))
    return None if text is None else parse_secret(name, text)
