"""Manifests from files, folders and stdin: which files count, where relative paths lead, what cannot be read."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from overbook.cli.sources import Manifests, load_manifests
from overbook.client.http import JsonObject
from overbook.manifests.problems import ManifestError

MODEL = """\
apiVersion: overbook.dev/v1alpha1
kind: Model
metadata: {name: NAME}
spec: {storageUri: URI}
"""


def write(path: Path, name: str, uri: str = "/") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(MODEL.replace("NAME", name).replace("URI", uri))


def load(*paths: Path | str, stdin: bytes = b"") -> Manifests:
    return load_manifests([str(path) for path in paths], stdin=io.BytesIO(stdin))


def uris(manifests: Manifests) -> list[object]:
    return [each["storageUri"] for each in specs(manifests)]


def specs(manifests: Manifests) -> list[JsonObject]:
    found = [each.body["spec"] for each in manifests.loaded]
    return [each for each in found if isinstance(each, dict)]


def problems(*paths: Path | str, stdin: bytes = b"") -> list[str]:
    with pytest.raises(ManifestError) as refused:
        load(*paths, stdin=stdin)
    return [str(problem) for problem in refused.value.problems]


def test_folders_are_read_in_order_and_deep(tmp_path: Path) -> None:
    write(tmp_path / "b.yml", "b")
    write(tmp_path / "a.yaml", "a")
    write(tmp_path / "deep" / "c.json", "c")
    (tmp_path / "notes.txt").write_text("not a manifest")
    write(tmp_path / ".hidden" / "x.yaml", "x")
    write(tmp_path / ".y.yaml", "y")
    assert [each.label for each in load(tmp_path).loaded] == ["model/a", "model/b", "model/c"]


def test_mlservers_own_settings_are_no_manifests(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "a")
    (tmp_path / "model-settings.json").write_text('{"name": "a"}')
    assert len(load(tmp_path).loaded) == 1


def test_relative_paths_start_at_their_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "here" / "m.yaml", "a", "./models/../models/a")
    monkeypatch.chdir(tmp_path)
    assert uris(load("here")) == [str(tmp_path / "here" / "models" / "a")]
    assert uris(load("here/m.yaml")) == [str(tmp_path / "here" / "models" / "a")]
    stdin = MODEL.replace("NAME", "a").replace("URI", "models/a").encode()
    assert uris(load("-", stdin=stdin)) == [str(tmp_path / "models" / "a")]


@pytest.mark.parametrize("uri", ["/models/a", "s3://bucket/a", "s3:bucket/a"])
def test_other_paths_stay(tmp_path: Path, uri: str) -> None:
    write(tmp_path / "m.yaml", "a", uri)
    assert uris(load(tmp_path)) == [uri]


def test_a_problem_found_later_has_its_line(tmp_path: Path) -> None:
    write(tmp_path / "m.yaml", "a", "gone")
    (loaded,) = load(tmp_path).loaded
    where = f"{tmp_path}/m.yaml"
    assert str(loaded.problem("no", ("spec", "storageUri"))) == f"{where}:4: spec.storageUri: no"
    assert str(loaded.problem("no", ())) == f"{where}:3: no"


def test_names_are_unique_over_all_files(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "a")
    write(tmp_path / "b.yaml", "a")
    assert problems(tmp_path) == [
        f"{tmp_path}/b.yaml:3: metadata.name: Model 'a' appears twice, first at {tmp_path}/a.yaml:3; "
        "expected each name once"
    ]


def test_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"a: b\nc: \xe4\n")
    (tmp_path / "empty").mkdir()
    assert problems(tmp_path / "gone.yaml", tmp_path / "latin.yaml", tmp_path / "empty") == [
        f"{tmp_path}/gone.yaml: cannot be read: No such file or directory; expected a manifest file",
        f"{tmp_path}/latin.yaml:2: not UTF-8 text; save the file as UTF-8",
        f"{tmp_path}/empty: no manifests here; expected *.yaml, *.yml or *.json",
    ]


def test_a_folder_with_documents_of_others(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "a")
    pipeline = "apiVersion: mlops.seldon.io/v1alpha1\nkind: Pipeline\nmetadata: {name: p}\n"
    (tmp_path / "p.yaml").write_text(pipeline)
    found = load(tmp_path)
    assert [each.label for each in found.loaded] == ["model/a"]
    (warning,) = map(str, found.warnings)
    assert warning.startswith(f"{tmp_path}/p.yaml:1: Pipeline 'p' of mlops.seldon.io/v1alpha1")
    alone = load(tmp_path / "p.yaml")
    assert (alone.loaded, len(alone.warnings)) == ((), 1)


def test_nothing_at_all_is_a_problem() -> None:
    assert problems("-", stdin=b"---\n# nothing\n") == [
        "no manifests in -; expected a Model or Server"
    ]


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    write(tmp_path / "m.yaml", "a")
    file = tmp_path / "m.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert len(load(file).loaded) == 1


def test_files_of_an_environment_start_at_their_manifest(tmp_path: Path) -> None:
    spec = "spec: {serverConfig: mlserver, environment: {requirements: mine.txt}}"
    text = f"apiVersion: overbook.dev/v1alpha1\nkind: Server\nmetadata: {{name: own}}\n{spec}\n"
    (tmp_path / "m.yaml").write_text(text)
    found = load(tmp_path)
    assert specs(found)[0]["environment"] == {"requirements": f"{tmp_path}/mine.txt"}
    (tmp_path / "m.yaml").write_text(text.replace("requirements: mine.txt", "packages: [a==1]"))
    assert specs(load(tmp_path))[0]["environment"] == {"packages": ["a==1"]}
