"""Servers with an address: what they must say, and every mistake with its field."""

from __future__ import annotations

import pytest

from overbook.manifests.problems import Json, ManifestError
from overbook.manifests.specs import ServerManifest
from overbook.manifests.validate import validate_object

ADDRESS: dict[str, Json] = {"rest": "127.0.0.1:8000", "grpc": "triton.example:8001"}
REPOSITORY: dict[str, Json] = {"path": "/srv/models", "serverPath": "/models"}


def server(**spec: Json) -> dict[str, object]:
    values: dict[str, Json] = {
        "serverConfig": "triton",
        "memory": "2Gi",
        "address": ADDRESS,
        "modelRepository": REPOSITORY,
    }
    given = {key: value for key, value in (values | spec).items() if value is not None}
    return {
        "apiVersion": "overbook.dev/v1alpha1",
        "kind": "Server",
        "metadata": {"name": "theirs"},
        "spec": given,
    }


def problems(**spec: Json) -> list[str]:
    with pytest.raises(ManifestError) as refused:
        validate_object(server(**spec))
    return [str(each) for each in refused.value.problems]


def test_a_server_of_somebody_else() -> None:
    manifest = validate_object(server()).manifest
    assert isinstance(manifest, ServerManifest)
    found = manifest.spec.attachment
    assert found is not None
    assert (found.address.rest, found.address.grpc) == ("127.0.0.1:8000", "triton.example:8001")
    assert (found.repository.path, found.repository.server_path) == ("/srv/models", "/models")
    assert manifest.to_json()["spec"] == server()["spec"]
    validate_object(server(address={"rest": "[::1]:8000", "grpc": "[::1]:8001"}, replicas=0))


def test_a_server_without_an_address_is_started() -> None:
    manifest = validate_object(server(address=None, modelRepository=None)).manifest
    assert isinstance(manifest, ServerManifest)
    assert manifest.spec.attachment is None


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("http://127.0.0.1:8001", "is not an address; expected host:port"),
        ("127.0.0.1", "is not an address; expected host:port"),
        (":8001", "is not an address; expected host:port"),
        ("::1:8001", "is not an address; expected host:port"),
        ("[nowhere]:8001", "is not an address; expected host:port"),
        ("host:0", "has no such port; expected one from 1 to 65535"),
        ("host:65536", "has no such port; expected one from 1 to 65535"),
    ],
)
def test_what_is_no_address(value: str, told: str) -> None:
    (line,) = problems(address={**ADDRESS, "grpc": value})
    assert line.startswith(f"spec.address.grpc: {value!r} {told}")


def test_both_protocols_are_needed_and_nothing_else() -> None:
    assert problems(address={"rest": "h:1"}) == [
        "spec.address.grpc: is required; expected host:port where the inference server answers gRPC"
    ]
    assert problems(address={**ADDRESS, "http": "h:1"}) == [
        "spec.address.http: unknown field in spec.address"
    ]
    assert problems(address={"rest": "h:1", "grpc": "h:1"}) == [
        "spec.address: rest and grpc are both h:1; expected two ports"
    ]


def test_everything_that_an_address_makes_necessary_is_told_at_once() -> None:
    assert problems(serverConfig="ours", memory=None, modelRepository=None, replicas=2) == [
        "spec.serverConfig: 'ours' cannot be attached; expected mlserver or triton",
        "spec.modelRepository: is required with address; expected path, the folder that the "
        "inference server reads its models from",
        "spec.memory: is required with address; expected how many bytes models may fill there, "
        "such as 2Gi",
        "spec.replicas: 2 with one address; expected 1, or a Server for each",
    ]


def test_a_folder_is_absolute_and_of_an_attached_server() -> None:
    assert problems(modelRepository={"path": "models"}) == [
        "spec.modelRepository.path: 'models' is relative; expected an absolute path"
    ]
    assert problems(modelRepository={"serverPath": "/models"}) == [
        "spec.modelRepository.path: is required; expected the folder that the inference server "
        "reads its models from"
    ]
    assert problems(address=None) == [
        "spec.modelRepository: has an effect with address only; expected both or neither"
    ]


def test_seldons_group_does_not_know_it() -> None:
    warned = validate_object(server() | {"apiVersion": "mlops.seldon.io/v1alpha1"}).warnings
    assert "spec.address" in [each.field for each in warned]
