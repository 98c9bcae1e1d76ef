"""From files to MLServer's settings, and one clear line when there is no way."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from overbook.agent.servers.mlserver.settings import (
    KnownSettings,
    check_packages,
    server_settings,
    static_metadata,
)
from overbook.agent.servers.protocol import ModelRejected, PreparedModel


def own(folder: Path, settings: object) -> PreparedModel:
    folder.mkdir(exist_ok=True)
    (folder / "model-settings.json").write_text(json.dumps(settings))
    return PreparedModel("iris", 3, folder)


def uri(settings: dict[str, object]) -> object:
    parameters = settings["parameters"]
    assert isinstance(parameters, dict)
    return parameters["uri"]


@pytest.mark.parametrize("name", ["model.joblib", "model.pickle", "model.pkl", "trained.joblib"])
def test_a_plain_artifact_is_a_sklearn_model(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    (tmp_path / "README.md").touch()
    settings = server_settings(PreparedModel("iris", 1, tmp_path))
    assert settings["implementation"] == "mlserver_sklearn.SKLearnModel"
    assert settings["name"] == "iris"
    assert uri(settings) == str(tmp_path / name)


def test_the_newest_version_folder_counts(tmp_path: Path) -> None:
    for version in ("2", "10", "9"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "model.joblib").touch()
    assert uri(server_settings(PreparedModel("m", 1, tmp_path))) == str(
        tmp_path / "10" / "model.joblib"
    )


@pytest.mark.parametrize(("version", "folder"), [("2", "2"), ("9", "009")])
def test_the_version_asked_for_counts(tmp_path: Path, version: str, folder: str) -> None:
    for name in ("2", "10", "009"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.joblib").touch()
    (tmp_path / "model.joblib").touch()
    model = PreparedModel("m", 1, tmp_path, version=version)
    assert uri(server_settings(model)) == str(tmp_path / folder / "model.joblib")


def test_a_version_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "2").mkdir()
    with pytest.raises(ModelRejected, match=r"artifactVersion is 3, .* no such folder; found 2/"):
        server_settings(PreparedModel("m", 1, tmp_path, version="3"))


def test_an_empty_version_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "2").mkdir()
    with pytest.raises(ModelRejected, match=r"can load in its folder 2; found nothing"):
        server_settings(PreparedModel("m", 1, tmp_path, version="2"))


@pytest.mark.parametrize("folder", ["", "2"])
def test_files_of_another_framework_say_which_word_is_missing(tmp_path: Path, folder: str) -> None:
    """MLflow's models are registered with MLflow's own files, whatever library they are of."""
    (tmp_path / folder).mkdir(exist_ok=True)
    for name in ("MLmodel", "model.skops", "requirements.txt"):
        (tmp_path / folder / name).touch()
    with pytest.raises(
        ModelRejected, match=r"; MLmodel is mlflow's: did you mean requirements: \[mlflow\]\?$"
    ):
        server_settings(PreparedModel("iris", 1, tmp_path, requirements=("sklearn",)))


def test_own_settings_lose_name_and_version(tmp_path: Path) -> None:
    (tmp_path / "weights.joblib").touch()
    given = {
        "name": "another",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "max_batch_size": 8,
        "parameters": {
            "uri": "./weights.joblib",
            "version": "v0.1.0",
            "extra": {"predict_fn": "predict_proba"},
        },
    }
    settings = server_settings(own(tmp_path, given))
    assert settings["name"] == "iris"
    assert settings["max_batch_size"] == 8
    assert settings["parameters"] == {
        "uri": str(tmp_path / "weights.joblib"),
        "extra": {"predict_fn": "predict_proba"},
    }
    assert settings["overbook"] == {"folder": str(tmp_path), "load_on_loop": False}


def test_the_manifests_parameters_go_before_those_of_the_file(tmp_path: Path) -> None:
    given = {"implementation": "m.M", "parameters": {"extra": {"a": 1, "b": [2]}}}
    model = replace(own(tmp_path, given), parameters=(("b", "3"), ("c", "")))
    parameters = server_settings(model)["parameters"]
    assert isinstance(parameters, dict)
    assert parameters["extra"] == {"a": 1, "b": "3", "c": ""}
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "model.joblib").touch()
    plain = PreparedModel("m", 1, tmp_path / "plain", parameters=(("a", "b"),))
    assert server_settings(plain)["parameters"] == {
        "uri": str(tmp_path / "plain" / "model.joblib"),
        "extra": {"a": "b"},
    }
    wrong = own(tmp_path, {"implementation": "m.M", "parameters": {"extra": [1]}})
    with pytest.raises(ModelRejected, match=r"parameters\.extra is a list, expected an object"):
        server_settings(replace(wrong, parameters=(("a", "b"),)))


def test_own_settings_without_uri_find_the_file_or_the_folder(tmp_path: Path) -> None:
    prepared = own(tmp_path, {"implementation": "model.Mine"})
    assert uri(server_settings(prepared)) == str(tmp_path)
    (tmp_path / "model.pkl").touch()
    assert uri(server_settings(prepared)) == str(tmp_path / "model.pkl")


def test_an_address_elsewhere_stays_as_it_is(tmp_path: Path) -> None:
    given = {"implementation": "model.Mine", "parameters": {"uri": "s3://bucket/weights"}}
    assert uri(server_settings(own(tmp_path, given))) == "s3://bucket/weights"


def test_the_way_out_of_loading_in_a_thread(tmp_path: Path) -> None:
    given = {
        "implementation": "model.Mine",
        "parameters": {"extra": {"overbook_load_on_loop": True}},
    }
    settings = server_settings(own(tmp_path, given))
    assert settings["overbook"] == {"folder": str(tmp_path), "load_on_loop": True}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ([], "is list, expected an object"),
        ({}, "implementation is null, expected MODULE.CLASS"),
        ({"implementation": "justaname"}, "implementation is 'justaname'"),
        ({"implementation": "a.B", "parameters": 3}, "parameters is 3, expected an object"),
        ({"implementation": "a.B", "parameters": {"uri": 3}}, "uri is 3, expected a string"),
        (
            {"implementation": "a.B", "parameters": {"uri": "./gone.joblib"}},
            "'./gone.joblib', but there is no such file; found model-settings.json",
        ),
        (
            {"implementation": "a.B", "parameters": {"environment_tarball": "env.tar.gz"}},
            "environment_tarball is not supported",
        ),
    ],
)
def test_own_settings_that_cannot_be(tmp_path: Path, given: object, reason: str) -> None:
    with pytest.raises(ModelRejected) as raised:
        server_settings(own(tmp_path, given))
    assert reason in str(raised.value)
    assert str(raised.value).startswith("model iris: ")
    assert "\n" not in str(raised.value)


def test_settings_that_are_no_json(tmp_path: Path) -> None:
    (tmp_path / "model-settings.json").write_text("{")
    with pytest.raises(ModelRejected, match="cannot be read"):
        server_settings(PreparedModel("iris", 1, tmp_path))


def test_wrong_framework_file_names_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()
    (tmp_path / "1").mkdir()
    with pytest.raises(ModelRejected) as raised:
        server_settings(PreparedModel("iris", 1, tmp_path, requirements=("sklearn",)))
    assert "found 1/, model.onnx; expected model-settings.json, or" in str(raised.value)
    assert str(raised.value).endswith(
        "a single *.pkl; model.onnx is onnx's: did you mean requirements: [onnx]?"
    )


def test_two_kinds_of_files_are_none(tmp_path: Path) -> None:
    for name in ("model.joblib", "model.onnx"):
        (tmp_path / name).touch()
    with pytest.raises(ModelRejected, match=r"model iris: it has model\.joblib .* say which"):
        server_settings(PreparedModel("iris", 1, tmp_path))
    # A class that was chosen knows which file it wants.
    model = own(tmp_path, {"implementation": "model.Mine"})
    assert uri(server_settings(model)) == str(tmp_path)


def test_an_extra_that_is_not_installed_is_named_with_the_way_to_it(tmp_path: Path) -> None:
    (tmp_path / "model.cbm").touch()
    model = PreparedModel("risk", 1, tmp_path)
    with pytest.raises(ModelRejected, match=r"needs catboost .* --with catboost$"):
        server_settings(model, extras={"onnx"})
    assert server_settings(model, extras={"catboost"}) == server_settings(model)
    model = own(tmp_path, {"implementation": "mlserver_xgboost.XGBoostModel"})
    with pytest.raises(ModelRejected, match="needs xgboost"):
        server_settings(model, extras=set())


def test_two_candidates_are_none(tmp_path: Path) -> None:
    for name in ("a.joblib", "b.joblib"):
        (tmp_path / name).touch()
    with pytest.raises(ModelRejected, match=r"found a\.joblib, b\.joblib"):
        server_settings(PreparedModel("iris", 1, tmp_path))


def test_static_metadata_has_the_shape_of_the_servers(tmp_path: Path) -> None:
    tensor = {"name": "x", "datatype": "FP64", "shape": [-1, 4]}
    given = {
        "implementation": "a.B",
        "platform": "sklearn",
        "inputs": [tensor],
        "parameters": {"content_type": "pd"},
    }
    assert static_metadata(own(tmp_path, given)) == {
        "name": "iris",
        "versions": [],
        "platform": "sklearn",
        "inputs": [tensor],
        "outputs": [],
        "parameters": {"content_type": "pd"},
    }


def test_packages_that_are_missing_refuse_custom_classes_only(
    tmp_path: Path,
) -> None:
    python = tmp_path / "env" / "bin" / "python"
    model = own(tmp_path / "mine", {"implementation": "model.Mine"})
    assert check_packages(model, python) == ""
    (model.artifact / "requirements.txt").write_text("lifelines>=0.27\n")
    with pytest.raises(
        ModelRejected, match=r"asks for lifelines>=0\.27 \(not installed\); .*--target"
    ):
        check_packages(model, python)
    (model.artifact / "requirements.txt").write_bytes(b"\xff")
    with pytest.raises(ModelRejected, match="something unreadable"):
        check_packages(model, python)
    theirs = own(tmp_path / "theirs", {"implementation": "mlserver_mlflow.MLflowRuntime"})
    (theirs.artifact / "requirements.txt").write_text("lifelines")
    (tmp_path / "plain").mkdir()
    for name in ("MLmodel", "requirements.txt"):
        (tmp_path / "plain" / name).write_text("lifelines")
    for each in (theirs, PreparedModel("plain", 1, tmp_path / "plain")):
        assert "its requirements.txt asks for lifelines" in check_packages(each, python)


def test_static_metadata_of_an_onnx_file_that_cannot_be_read_is_empty(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"nonsense")
    found = static_metadata(PreparedModel("net", 1, tmp_path, requirements=("onnx",)))
    assert (found["name"], found["inputs"], found["outputs"]) == ("net", [], [])


def test_settings_are_known_of_the_very_model_until_it_is_refused() -> None:
    known, model = KnownSettings(), PreparedModel("iris", 3, Path("/a"))
    assert known.find(model) is None
    known.keep(model, {"implementation": "a.Model"})
    assert known.find(model) == {"implementation": "a.Model"}
    for other in (PreparedModel("iris", 4, Path("/a")), PreparedModel("iris", 3, Path("/b"))):
        assert known.find(other) is None
    known.forget(model)
    assert known.find(model) is None


def test_not_all_settings_there_ever_were_are_remembered() -> None:
    known = KnownSettings()
    many = [PreparedModel(f"m{number}", 1, Path("/a")) for number in range(1001)]
    for model in many:
        known.keep(model, {})
        assert known.find(many[0]) is not None, "it was used of late"
    assert known.find(many[1]) is None
    assert known.find(many[-1]) is not None


def test_a_request_may_name_the_version_of_the_settings_or_of_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "002"
    folder.mkdir()
    settings = {"implementation": "a.B", "versions": ["2024"], "parameters": {"version": "v3"}}
    (folder / "model-settings.json").write_text(json.dumps(settings))
    model = PreparedModel("m", 1, tmp_path)
    expected = ["2024", "v3", "2"]
    assert server_settings(model)["versions"] == expected
    assert static_metadata(model)["versions"] == expected
