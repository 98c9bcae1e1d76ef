"""The examples of docs/storage.md can be pasted: each secret is one, each model names it, and no kind is missing."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from overbook.artifacts.address import scheme_of
from overbook.artifacts.secrets.advice import PARAMETERS, advice
from overbook.artifacts.secrets.parsing import parse_secret
from overbook.manifests.specs import ModelManifest
from overbook.manifests.validate import validate_object

PAGE = Path(__file__).parents[2] / "docs" / "storage.md"
COMMAND = re.compile(
    r"\$ overbook (secret set (\S+) --from -|apply --wait -f -) <<'END'\n(.*?)\nEND\n", re.DOTALL
)


def test_each_kind_of_store_has_a_secret_and_a_model_that_names_it() -> None:
    found = COMMAND.findall(PAGE.read_text())
    kinds = []
    for (_, name, secret), (_, _, manifest) in zip(found[::2], found[1::2], strict=True):
        remote = parse_secret(name, secret)
        assert advice(remote) == []
        assert set(remote.parameters) <= set(PARAMETERS[remote.type])
        model = validate_object(yaml.safe_load(manifest)).manifest
        assert isinstance(model, ModelManifest)
        assert model.spec.secret_name == name
        assert scheme_of(model.spec.storage_uri)[0] == remote.name
        assert ("mlflow" in model.spec.requirements) == (remote.type == "mlflow")
        kinds.append(remote.type)
    assert sorted(kinds) == sorted(PARAMETERS)
