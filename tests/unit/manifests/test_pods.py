"""What of a Seldon Server's podSpec counts: a budget, an overcommit, and nothing else."""

from __future__ import annotations

import pytest

from overbook.manifests.problems import Json, ManifestError
from overbook.manifests.specs import ServerManifest, ServerSpec
from overbook.manifests.validate import Validated, validate_object

SELDON = "mlops.seldon.io/v1alpha1"
GIB = 1 << 30


def _checked(pod: Json) -> Validated:
    return validate_object(
        {
            "apiVersion": SELDON,
            "kind": "Server",
            "metadata": {"name": "mlserver"},
            "spec": {"serverConfig": "mlserver", "podSpec": pod},
        }
    )


def _spec(*containers: Json) -> ServerSpec:
    manifest = _checked({"containers": [*containers]}).manifest
    assert isinstance(manifest, ServerManifest)
    return manifest.spec


def _env(name: str, value: Json) -> Json:
    return {"name": name, "value": value}


def _agent(*variables: Json) -> Json:
    return {"name": "agent", "env": [*variables]}


def _requests(name: str, **resources: Json) -> Json:
    return {"name": name, "resources": {**resources}}


def test_the_overcommit_of_the_agent() -> None:
    spec = _spec(_agent(_env("SELDON_OVERCOMMIT_PERCENTAGE", "25"), _env("OTHER", "x")))
    assert (spec.overcommit, spec.memory_bytes) == (25, None)


def test_the_budget_is_the_request_of_the_inference_servers_container() -> None:
    rclone = _requests("rclone", requests={"memory": "128Mi"})
    server = _requests("mlserver", requests={"cpu": "1", "memory": "1Gi"}, limits={"memory": "2Gi"})
    assert _spec(rclone, server).memory_bytes == GIB
    assert _spec(_requests("mlserver", limits={"memory": 5_000})).memory_bytes == 5_000


def test_a_variable_goes_before_requests() -> None:
    server = _requests("mlserver", requests={"memory": "1Gi"})
    assert _spec(server, _agent(_env("MEMORY_REQUEST", "2000000"))).memory_bytes == 2_000_000


def test_a_variable_that_refers_to_a_container() -> None:
    def refer(container: Json) -> Json:
        field: Json = {"containerName": container, "resource": "requests.memory"}
        return {"name": "MEMORY_REQUEST", "valueFrom": {"resourceFieldRef": field}}

    first = _requests("first", requests={"memory": "1Gi"})
    second = _requests("second", requests={"memory": "3Gi"})
    assert _spec(first, second, _agent(refer("second"))).memory_bytes == 3 * GIB
    assert _spec(first, second, _agent(refer("third"))).memory_bytes == GIB
    assert _spec(first, second, _agent(refer(7))).memory_bytes == GIB


@pytest.mark.parametrize(
    "containers",
    [
        None,
        {},
        [],
        ["mlserver"],
        [{"name": 7}],
        [{"name": "agent", "env": {}}],
        [{"name": "agent", "env": [{"name": "MEMORY_REQUEST"}]}],
        [{"name": "agent", "env": [{"name": "MEMORY_REQUEST", "valueFrom": {}}]}],
        [{"name": "agent", "env": [{"name": "SELDON_OVERCOMMIT_PERCENTAGE"}]}],
        [{"name": "mlserver", "resources": {"requests": 7}}],
        [{"name": "rclone", "resources": {"requests": {"memory": "1Gi"}}}],
    ],
)
def test_what_says_nothing_of_memory(containers: Json) -> None:
    validated = _checked({"containers": containers, "nodeName": "n"})
    assert isinstance(validated.manifest, ServerManifest)
    spec = validated.manifest.spec
    assert (spec.memory_bytes, spec.overcommit) == (None, None)
    assert [str(each) for each in validated.warnings] == ["spec.podSpec: has no effect in Overbook"]


def test_it_is_told_what_was_taken() -> None:
    server = _requests("mlserver", requests={"memory": "1Gi"})
    agent = _agent(_env("SELDON_OVERCOMMIT_PERCENTAGE", 0))
    (warning,) = _checked({"containers": [server, agent]}).warnings
    assert str(warning) == (
        "spec.podSpec: Overbook takes memory 1GiB (1073741824 bytes) and overcommitPercentage 0 "
        "from it, and nothing else"
    )


@pytest.mark.parametrize(
    ("container", "told"),
    [
        (
            _agent(_env("SELDON_OVERCOMMIT_PERCENTAGE", "ten")),
            "spec.podSpec.containers[0].env[0].value: 'ten' is not a percentage; "
            "expected a whole number such as 10",
        ),
        (
            _agent(_env("MEMORY_REQUEST", "much")),
            "spec.podSpec.containers[0].env[0].value: 'much' is not a quantity; "
            "expected bytes such as 100Ki, 1.5Gi or 2e9",
        ),
        (
            _requests("mlserver", requests={"memory": ["1Gi"]}),
            "spec.podSpec.containers[0].resources.requests.memory: a list is not a quantity; "
            "expected bytes such as 1.5Gi",
        ),
        (
            _requests("mlserver", requests={"memory": 0}),
            "spec.podSpec.containers[0].resources.requests.memory: 0 is no memory at all; "
            "expected more than 0 bytes",
        ),
    ],
)
def test_values_that_mean_nothing(container: Json, told: str) -> None:
    with pytest.raises(ManifestError) as refused:
        _checked({"containers": [container]})
    assert [str(each) for each in refused.value.problems] == [told]
