"""One object checked: every problem at once, with its field; Seldon's manifests taken as they are."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overbook.manifests.located import more_than
from overbook.manifests.problems import Json, ManifestError
from overbook.manifests.specs import ModelManifest, ServerManifest
from overbook.manifests.validate import Validated, validate_object

OURS = "overbook.dev/v1alpha1"
SELDON = "mlops.seldon.io/v1alpha1"


def model(group: str = OURS, **spec: Json) -> dict[str, object]:
    return {
        "apiVersion": group,
        "kind": "Model",
        "metadata": {"name": "iris"},
        "spec": {"storageUri": "/models/iris", **spec},
    }


def server(group: str = OURS, **spec: Json) -> dict[str, object]:
    return {
        "apiVersion": group,
        "kind": "Server",
        "metadata": {"name": "mlserver"},
        "spec": {"serverConfig": "mlserver", **spec},
    }


def said(document: object) -> list[str] | None:
    """The problems' lines, or None when there is none."""
    try:
        validate_object(document)
    except ManifestError as refused:
        return [str(problem) for problem in refused.problems]
    return None


def problems(document: object) -> list[str]:
    lines = said(document)
    assert lines is not None, "it was accepted"
    return lines


def warnings(validated: Validated) -> list[str]:
    return [str(problem) for problem in validated.warnings]


def test_a_full_model() -> None:
    manifest = validate_object(
        model(
            requirements=["sklearn"],
            memory="100Ki",
            replicas=2,
            minReplicas=1,
            server="mlserver",
            pinned=True,
            priority=3,
            keepAlive="10m",
            activationTimeout="90s",
            artifactVersion=7,
            refresh="1h",
        )
    ).manifest
    assert isinstance(manifest, ModelManifest)
    spec = manifest.spec
    assert manifest.name == "iris"
    assert (spec.storage_uri, spec.requirements, spec.memory_bytes) == (
        "/models/iris",
        ("sklearn",),
        102_400,
    )
    assert (spec.replicas, spec.min_replicas, spec.server, spec.artifact_version) == (
        2,
        1,
        "mlserver",
        7,
    )
    assert (spec.pinned, spec.priority, spec.keep_alive_seconds) == (True, 3, 600.0)
    assert (spec.activation_timeout_seconds, spec.refresh_seconds) == (90.0, 3600.0)


def test_defaults_of_a_model() -> None:
    manifest = validate_object(model()).manifest
    assert isinstance(manifest, ModelManifest)
    spec = manifest.spec
    assert (spec.requirements, spec.memory_bytes, spec.replicas, spec.min_replicas) == (
        (),
        None,
        1,
        None,
    )
    assert (spec.pinned, spec.priority, spec.server) == (False, 0, None)
    assert spec.keep_alive_seconds == 0.0
    assert spec.activation_timeout_seconds is None


@pytest.mark.parametrize("group", [OURS, SELDON])
def test_how_long_requests_wait_is_said_in_both_groups(group: str) -> None:
    document = model(activationTimeout=90) | {"apiVersion": group}
    found = validate_object(document)
    assert isinstance(found.manifest, ModelManifest)
    assert found.manifest.spec.activation_timeout_seconds == 90.0
    assert warnings(found) == []
    assert problems(model(activationTimeout="2h") | {"apiVersion": group}) == [
        "spec.activationTimeout: '2h' is out of range; expected more than 0 seconds and at most 1h, "
        "such as 90s or 10m"
    ]


@pytest.mark.parametrize("group", [OURS, SELDON])
def test_a_secret_is_named_in_both_groups(group: str) -> None:
    found = validate_object(model(group, secretName="team.minio-1"))
    assert isinstance(found.manifest, ModelManifest)
    assert found.manifest.spec.secret_name == "team.minio-1"
    assert warnings(found) == []
    expected = (
        "is not the name of a secret; expected at most 253 lower-case letters, digits, '-' and '.', beginning and "
        "ending with a letter or digit"
    )
    for wrong in ("Minio", "a_b", "../up", "-a", "a.", "a..b", ""):
        told = [f"spec.secretName: {wrong!r} {expected}"]
        assert problems(model(group, secretName=wrong)) == told
    assert "(254 characters) is not the name" in problems(model(group, secretName="x" * 254))[0]
    assert problems(model(group, secretName=7)) == [
        "spec.secretName: 7 is not text (put it in quotes)"
    ]


def test_a_full_server() -> None:
    manifest = validate_object(
        server(
            replicas=2,
            memory="2Gi",
            overcommitPercentage=0,
            capabilities=["a"],
            extraCapabilities=["b"],
        )
    ).manifest
    assert isinstance(manifest, ServerManifest)
    spec = manifest.spec
    assert (spec.server_config, spec.replicas, spec.memory_bytes) == ("mlserver", 2, 2 * 2**30)
    assert (spec.overcommit_percentage, spec.capabilities, spec.extra_capabilities) == (
        0,
        ("a",),
        ("b",),
    )


@pytest.mark.parametrize(
    "document",
    [
        model(memory="100Ki", requirements=["sklearn"]),
        model(memory=2e9, priority=0, pinned=False),
        server(memory=1024),
        {
            **model(),
            "metadata": {
                "name": "iris",
                "namespace": "n",
                "labels": {"a": "b"},
                "annotations": {"c": "d"},
            },
        },
        model(
            SELDON, explainer={"type": "anchor", "modelRef": "x"}, maxReplicas=3, modelType="iris"
        ),
        server(SELDON, podSpec={"containers": [{"name": "server"}]}),
    ],
)
def test_json_is_what_the_user_wrote(document: dict[str, object]) -> None:
    assert validate_object(document).manifest.to_json() == document


def test_values_are_frozen() -> None:
    manifest = validate_object(model()).manifest
    with pytest.raises(ValueError, match="frozen"):
        manifest.spec = manifest.spec


@pytest.mark.parametrize("given", [0, "0s", 10, "10s"])
def test_how_often_an_address_may_be_asked(given: str | int) -> None:
    manifest = validate_object(model(refresh=given)).manifest
    assert isinstance(manifest, ModelManifest)
    assert manifest.spec.refresh_seconds in (0.0, 10.0)


@pytest.mark.parametrize("given", ["9s", 0.5])
def test_an_address_is_not_asked_all_the_time(given: str | float) -> None:
    assert problems(model(refresh=given)) == [
        f"spec.refresh: {given!r} asks too often; expected at least 10 s, or 0 for never"
    ]


def test_every_problem_is_said_at_once() -> None:
    found = problems(
        model(
            memory="100Qi",
            replicas=-1,
            pinnd=True,
            requirements="sklearn",
            priority="high",
            keepAlive="soon",
            server="Big",
        )
    )
    assert found == [
        "spec.pinnd: unknown field in overbook.dev/v1alpha1; did you mean pinned?",
        "spec.requirements: 'sklearn' is not a list",
        "spec.memory: '100Qi' is not a quantity; expected bytes such as 100Ki, 1.5Gi or 2e9",
        "spec.replicas: -1 is out of range; expected at least 0",
        "spec.server: 'Big' is not a name; expected at most 63 lower-case letters, digits and '-', "
        "beginning and ending with a letter or digit",
        "spec.priority: 'high' is not a whole number",
        "spec.keepAlive: 'soon' is not a duration; expected a duration such as 90s, 10m or 1h30m, or seconds",
    ]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (None, "null is not a manifest"),
        ([], "a list is not a manifest"),
        ({}, "apiVersion: is required; expected overbook.dev/v1alpha1 or mlops.seldon.io/v1alpha1"),
        (
            {"apiVersion": OURS, "kind": "Pipeline"},
            "kind: 'Pipeline' is not known; expected Model or Server",
        ),
        ({"apiVersion": "v1", "kind": "Model"}, "apiVersion: 'v1' is not known"),
        ({"apiVersion": OURS, "kind": ["Model"]}, "kind: a list is not known"),
        ({"apiVersion": ["x"], "kind": "Model"}, "apiVersion: a list is not known"),
        ({"apiVersion": OURS, "kind": {"of": "Model"}}, "kind: a mapping is not known"),
        ({"apiVersion": OURS, "kind": "Model"}, "metadata: is required; expected a mapping"),
        ({**model(), "metadata": "iris"}, "metadata: 'iris' is not a mapping"),
        (
            {**model(), "metadata": {}},
            "metadata.name: is required; expected the name clients will use",
        ),
        ({**model(), "metadata": {"name": 7}}, "metadata.name: 7 is not text (put it in quotes)"),
        (
            {**model(), "metadata": {"name": "a", "labels": {"x": 1}}},
            "metadata.labels.x: 1 is not text",
        ),
        ({**model(), "metadata": {"name": "a", "nam": 1}}, "metadata.nam: unknown field"),
        ({**model(), "spec": []}, "spec: a list is not a mapping"),
        (
            {**model(), "spec": {}},
            "spec.storageUri: is required; expected a path or URI of the model's artifact",
        ),
        ({**server(), "spec": {}}, "spec.serverConfig: is required; expected the runtime to run"),
        (
            model(storageUri="./iris"),
            "spec.storageUri: './iris' is relative; expected an absolute path",
        ),
        (model(storageUri=" "), "spec.storageUri: ' ' is not a plain word"),
        (model(storageUri="/a\nb"), "spec.storageUri: '/a\\nb' is not a plain word"),
        (model(requirements=["a", 3]), "spec.requirements[1]: 3 is not text (put it in quotes)"),
        (model(memory=0), "spec.memory: 0 is no memory at all"),
        (model(memory=True), "spec.memory: true is not a quantity"),
        (model(memory=["1Gi"]), "spec.memory: a list is not a quantity"),
        (model(replicas=True), "spec.replicas: true is not a whole number"),
        (model(replicas=1.5), "spec.replicas: 1.5 is not a whole number"),
        (model(minReplicas=2), "spec.minReplicas: 2 is more than replicas; expected at most 1"),
        (model(pinned="yes"), "spec.pinned: 'yes' is not true or false"),
        (model(maxReplicas=2), "spec.maxReplicas: unknown field in overbook.dev/v1alpha1"),
        (
            server(overcommitPercentage=-1),
            "spec.overcommitPercentage: -1 is out of range; expected at least 0",
        ),
        (
            server(evictionPolicy="fifo"),
            "spec.evictionPolicy: 'fifo' is not a policy; expected worth or lru",
        ),
        (
            server(allow=["log", "shm"]),
            "spec.allow[1]: 'shm' is nothing that can be allowed; expected log, repository, sharedMemory or trace",
        ),
        (server(allow="log"), "spec.allow: 'log' is not a list"),
        (
            server(allow=["repository", "trace"]),
            "spec.allow[1]: 'trace' is a call that mlserver does not have; expected repository, or leave it out",
        ),
        ({**model(), "data": 1}, "data: unknown field in overbook.dev/v1alpha1"),
    ],
)
def test_one_clear_line(document: object, expected: str) -> None:
    found = problems(document)
    assert any(line.startswith(expected) for line in found), found
    assert all("\n" not in line for line in found)


def named(name: str, document: dict[str, object]) -> dict[str, object]:
    return {**document, "metadata": {"name": name}}


@pytest.mark.parametrize(
    "name", ["a", "iris-2", "MyModel", "densenet_onnx", "a.b-c_D.9", "x" * 253]
)
def test_models_are_called_as_clients_call_them(name: str) -> None:
    assert validate_object(named(name, model())).manifest.name == name


@pytest.mark.parametrize("name", ["", "-a", ".a", "..", "a/b", "a b", "ä", "a\n", "a~b", "x" * 254])
def test_names_that_are_refused(name: str) -> None:
    (line,) = problems(named(name, model()))
    assert line.startswith("metadata.name: '")
    assert "is not a name; expected at most 253 letters, digits, '-', '_' and '.'" in line
    assert len(line) < 200


@pytest.mark.parametrize("name", ["MyModel", "densenet_onnx", "a..b", "a.-b", "a-", "a" * 254])
def test_in_seldons_group_names_are_those_of_kubernetes(name: str) -> None:
    (line,) = problems(named(name, model(SELDON)))
    assert line.startswith("metadata.name: '")
    if len(name) < 254:
        assert line == (
            f"metadata.name: {name!r} is not a name in Kubernetes; expected at most 253 lower-case letters, digits, "
            f"'-' and '.', or apiVersion {OURS}, where models are called as clients call them"
        )


@pytest.mark.parametrize("policy", ["worth", "lru"])
def test_a_server_chooses_who_leaves_first(policy: str) -> None:
    manifest = validate_object(server(evictionPolicy=policy)).manifest
    assert isinstance(manifest, ServerManifest)
    assert manifest.spec.eviction_policy == policy


def test_a_server_allows_what_touches_its_machine() -> None:
    words = ("sharedMemory", "trace", "log", "repository")
    manifest = validate_object(server(serverConfig="triton", allow=list(words))).manifest
    assert isinstance(manifest, ServerManifest)
    assert manifest.spec.allow == words


def test_a_server_that_nobody_here_can_run_is_refused() -> None:
    with pytest.raises(ManifestError) as raised:
        validate_object(server(serverConfig="mlserver-custom", allow=["log"]))
    assert "spec.serverConfig: 'mlserver-custom' is no server that Overbook runs" in str(
        raised.value
    )
    assert "expected mlserver or triton" in str(raised.value)


def test_dots_are_fine_in_kubernetes() -> None:
    assert validate_object(named("a.b-c.9", model(SELDON))).manifest.name == "a.b-c.9"


@pytest.mark.parametrize("group", [OURS, SELDON])
def test_a_second_name_is_refused_with_what_to_write_instead(group: str) -> None:
    (line,) = problems(model(group, modelName="MyModel"))
    assert line == (
        "spec.modelName: there is one name for each model here, the one that clients use; expected metadata.name: "
        f"MyModel with apiVersion {OURS}, and no modelName"
    )
    same = validate_object(model(group, modelName="iris"))
    assert (same.manifest.name, same.warnings) == ("iris", ())


@pytest.mark.parametrize("group", [OURS, SELDON])
def test_parameters_are_the_models_own(group: str) -> None:
    given: Json = [{"name": "threshold", "value": "0.5"}, {"name": "task", "value": ""}]
    validated = validate_object(model(group, parameters=given))
    assert isinstance(validated.manifest, ModelManifest)
    assert [(each.name, each.value) for each in validated.manifest.spec.parameters] == [
        ("threshold", "0.5"),
        ("task", ""),
    ]
    assert validated.warnings == ()
    assert validated.manifest.to_json() == model(group, parameters=given)


def test_parameters_that_say_nothing_clear() -> None:
    assert problems(
        model(
            parameters=[
                {"name": "a", "value": 5},
                {"name": "b"},
                {"value": "x"},
                {"name": "c", "value": "1", "valeu": "2"},
            ]
        )
    ) == [
        "spec.parameters[0].value: 5 is not text (put it in quotes)",
        "spec.parameters[1].value: is required; expected text, in quotes where it looks like a number",
        "spec.parameters[2].name: is required; expected what it is called",
        "spec.parameters[3].valeu: unknown field in spec.parameters[3]",
    ]
    twice: Json = [{"name": "a", "value": "1"}, {"name": "a", "value": "2"}]
    assert problems(model(parameters=twice)) == [
        "spec.parameters[1].name: 'a' appears twice; expected each name once"
    ]


@pytest.mark.parametrize("name", ["A", "a_b", "a.b", "a" * 64])
def test_no_client_names_servers_so_theirs_are_plain(name: str) -> None:
    (line,) = problems(named(name, server()))
    assert "expected at most 63 lower-case letters, digits and '-'" in line


def test_seldon_fields_are_taken_and_unknown_ones_ignored_with_a_warning() -> None:
    validated = validate_object(
        model(SELDON, explainer={"type": "x"}, foo=1, pinned=True, storageUrl="x")
    )
    assert warnings(validated) == [
        "spec.foo: unknown field in mlops.seldon.io/v1alpha1; ignored",
        "spec.pinned: unknown field in mlops.seldon.io/v1alpha1; ignored, it is a field of overbook.dev/v1alpha1",
        "spec.storageUrl: unknown field in mlops.seldon.io/v1alpha1; ignored (did you mean storageUri?)",
        "spec.explainer: has no effect in Overbook",
    ]
    manifest = validated.manifest
    assert isinstance(manifest, ModelManifest)
    assert manifest.spec.pinned is False


def test_seldon_model_type_is_one_more_requirement() -> None:
    manifest = validate_object(
        model(SELDON, modelType="xgboost", requirements=["a", "xgboost"])
    ).manifest
    assert isinstance(manifest, ModelManifest)
    assert manifest.spec.all_requirements == ("a", "xgboost")


def test_what_get_adds_can_be_applied_again() -> None:
    document = {**model(), "status": {"conditions": []}}
    document["metadata"] = {"name": "iris", "generation": 4, "uid": "x", "creationTimestamp": None}
    validated = validate_object(document)
    assert validated.warnings == ()
    assert validated.manifest.to_json() == model()


def test_null_is_the_same_as_absent() -> None:
    manifest = validate_object(model(memory=None, replicas=None)).manifest
    assert manifest.to_json() == model()


def test_relative_paths_where_their_reader_resolves_them() -> None:
    manifest = validate_object(model(storageUri="iris"), allow_relative=True).manifest
    assert isinstance(manifest, ModelManifest)
    assert manifest.spec.storage_uri == "iris"


@pytest.mark.parametrize(
    "uri", ["s3://bucket/iris", "gs://b/x", "s3:bucket/iris", "file:///x", "/abs"]
)
def test_uris_that_need_no_resolving(uri: str) -> None:
    assert validate_object(model(storageUri=uri)).warnings == ()


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
_FIELDS = st.sampled_from(
    [
        "storageUri",
        "requirements",
        "memory",
        "replicas",
        "minReplicas",
        "server",
        "pinned",
        "priority",
        "keepAlive",
        "activationTimeout",
        "podSpec",
    ]
)


@settings(max_examples=50, deadline=None)
@given(
    st.sampled_from([OURS, SELDON]),
    st.sampled_from(["Model", "Server"]),
    st.dictionaries(_FIELDS, _JSON),
    _JSON,
)
def test_whatever_is_sent_is_accepted_or_refused_in_single_lines(
    group: str, kind: str, spec: dict[str, object], metadata: object
) -> None:
    lines = said({"apiVersion": group, "kind": kind, "metadata": metadata, "spec": spec})
    assert lines is None or (lines and all(len(line.splitlines()) == 1 for line in lines))


def test_an_environment_of_a_servers_own() -> None:
    manifest = validate_object(server(environment={"packages": ["scikit-learn==1.6.1"]})).manifest
    assert isinstance(manifest, ServerManifest)
    assert manifest.spec.environment is not None
    assert manifest.spec.environment.packages == ("scikit-learn==1.6.1",)
    assert said(server(environment={"archive": "/env.tar.gz"})) is None
    relative = server(environment={"requirements": "mine.txt"})
    assert problems(relative) == [
        "spec.environment.requirements: 'mine.txt' is relative; expected an absolute path"
    ]
    assert isinstance(validate_object(relative, allow_relative=True), Validated)


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        (
            {},
            "spec.environment: names no packages; expected one of packages, requirements, archive",
        ),
        (
            {"packages": []},
            "spec.environment: names no packages; expected one of packages, requirements, archive",
        ),
        (
            {"packages": ["a==1"], "archive": "/a"},
            "spec.environment: has packages and archive; expected one of packages, requirements, archive",
        ),
        (
            {"packages": ["a=1"]},
            "spec.environment.packages[0]: 'a=1' is not a requirement; expected NAME and versions, such as "
            "scikit-learn==1.6.1",
        ),
        ({"file": "/a"}, "spec.environment.file: unknown field in spec.environment"),
    ],
)
def test_an_environment_that_cannot_be(environment: dict[str, Json], line: str) -> None:
    assert problems(server(environment=environment))[0] == line


def test_a_server_of_somebody_else_has_packages_of_its_own() -> None:
    attached = server(
        memory="1Gi",
        address={"rest": "h:1", "grpc": "h:2"},
        modelRepository={"path": "/m"},
        environment={"packages": ["a==1"]},
    )
    assert problems(attached) == [
        "spec.environment: has no effect with address: that server has packages of its own; expected one of the two"
    ]


def test_requirements_with_versions() -> None:
    assert said(model(requirements=["sklearn", "scikit-learn==1.6.*"])) is None
    assert problems(model(requirements=["scikit-learn=1.6"])) == [
        "spec.requirements[0]: 'scikit-learn=1.6' is not a requirement; expected NAME and versions, such as "
        "scikit-learn==1.6.1"
    ]


def test_unknown_fields_are_named_while_they_are_few() -> None:
    found = problems({**model(), **{f"field{number}": 1 for number in range(7)}})
    assert [each.partition(":")[0] for each in found[:5]] == [f"field{each}" for each in range(5)]
    assert found[5:] == [f"2 more unknown fields in {OURS}"]


def test_what_nobody_could_read_is_not_read() -> None:
    assert problems(model(keepAlive="9" * 101)) == [
        f"spec.keepAlive: '{'9' * 75}...' has 101 characters; expected at most 100"
    ]
    (found,) = problems(model(requirements=["x" * 4097]))
    assert found.endswith("has 4097 characters; expected at most 4096")


@pytest.mark.parametrize(
    ("value", "count"),
    [(1, 1), ([], 1), ([1, "a"], 3), ({"a": [1, 2], "b": {"c": None}}, 6)],
)
def test_values_are_counted_until_there_are_too_many(value: Json, count: int) -> None:
    assert not more_than(count, value)
    assert more_than(count - 1, value)


@pytest.mark.parametrize(
    ("spec", "where", "text"),
    [
        ({"podSpec": {"x": "a\ud800"}}, "podSpec.x", "'a\\ud800'"),
        ({"podSpec": {"x": {"\ud800": 1}}}, "podSpec.x", "'\\ud800'"),
        ({"imageOverrides": {"x": [1, {"y": "\udfff"}]}}, "imageOverrides.x[1].y", "'\\udfff'"),
        ({"serverConfig": "\udbff"}, "serverConfig", "'\\udbff'"),
    ],
)
def test_half_a_character_in_a_spec_is_refused(
    spec: dict[str, Json], where: str, text: str
) -> None:
    """JSON can say it, and it could be neither stored nor sent to an agent."""
    assert problems(server(SELDON, **spec)) == [
        f"spec.{where}: {text} has half of a surrogate pair in it; expected text in Unicode"
    ]


def test_pairs_of_halves_are_characters() -> None:
    assert said(server(SELDON, podSpec={"x": "\U0001f600"})) is None
