"""What Models, Servers and secrets may be called, and what Kubernetes can carry of that. Pure."""

from __future__ import annotations

import re
from typing import Final

# What Kubernetes, and the file systems that models' folders lie on, take as one name.
MAX_NAME: Final = 253
_MAX_SERVER_NAME: Final = 63

# What clients of the Open Inference Protocol and of Triton write into paths and messages. A leading dot hides a folder
# from servers, a leading dash is an option to the command line.
_MODEL: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", re.ASCII)
_SERVER: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", re.ASCII)
_LABEL: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_KUBERNETES: Final = re.compile(rf"{_LABEL}(\.{_LABEL})*", re.ASCII)


def is_model_name(text: str) -> bool:
    """Whether a Model may be called so. Names are told apart by case."""
    return len(text) <= MAX_NAME and _MODEL.fullmatch(text) is not None


def is_server_name(text: str) -> bool:
    """Whether a Server may be called so. No client ever names one."""
    return len(text) <= _MAX_SERVER_NAME and _SERVER.fullmatch(text) is not None


def is_kubernetes_name(text: str) -> bool:
    """Whether an object in Kubernetes can have this name."""
    return len(text) <= MAX_NAME and _KUBERNETES.fullmatch(text) is not None


def checked_model_name(text: str) -> str:
    """The same text. Raises ValueError with what is expected instead."""
    if not is_model_name(text):
        raise ValueError(
            f"{_shown(text)} is not a name; expected at most {MAX_NAME} letters, digits, '-', '_' and '.', beginning "
            "with a letter, a digit or '_'"
        )
    return text


def checked_server_name(text: str) -> str:
    """The same text. Raises ValueError with what is expected instead."""
    if not is_server_name(text):
        raise ValueError(
            f"{_shown(text)} is not a name; expected at most {_MAX_SERVER_NAME} lower-case letters, digits and '-', "
            "beginning and ending with a letter or digit"
        )
    return text


def checked_secret_name(text: str) -> str:
    """The same text, where Kubernetes takes it as a name. Raises ValueError with what is expected instead."""
    if not is_kubernetes_name(text):
        raise ValueError(
            f"{_shown(text)} is not the name of a secret; expected at most {MAX_NAME} lower-case letters, digits, '-' "
            "and '.', beginning and ending with a letter or digit"
        )
    return text


def _shown(text: str) -> str:
    return repr(text) if len(text) <= MAX_NAME else f"{text[:20]!r}... ({len(text)} characters)"
