"""Which documents are manifests of Overbook's, and which are somebody else's. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Final

from overbook.manifests.problems import shown
from overbook.manifests.specs import GROUP, SELDON_GROUP

KINDS: Final = ("Model", "Server")
# Said of all others.
ONLY: Final = "Overbook has Models and Servers"
# In Seldon's group beside those two; whatever else is written there may be one of them, misspelt.
_SELDON: Final = frozenset({"Experiment", "Pipeline", "SeldonConfig", "SeldonRuntime"})


def of_others(document: object) -> str | None:
    """What the document is, for people, where it is of a kind that others handle; None where it is for us to judge.

    A folder of manifests has Pipelines, Deployments and Secrets beside the Models.
    """
    if not isinstance(document, Mapping):
        return None
    group, kind = document.get("apiVersion"), document.get("kind")
    if not (isinstance(group, str) and group and isinstance(kind, str) and kind):
        return None
    if group == GROUP or kind in KINDS:
        return None
    if group == SELDON_GROUP and kind not in _SELDON and difflib.get_close_matches(kind, KINDS):
        return None
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    called = f" {shown(name)}" if isinstance(name, str) else ""
    return f"{_plain(kind)}{called} of {_plain(group)}"


def _plain(word: str) -> str:
    return word if word.isprintable() and len(word) <= 80 else shown(word)
