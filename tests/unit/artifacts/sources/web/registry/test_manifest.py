"""Manifests: which layers are files, which are tars, which are refused; and which one of an index is meant."""

from __future__ import annotations

from typing import Any

import pytest

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.sources.web.registry.manifest import (
    Layers,
    choose,
    is_index,
    layers_of,
)

ADDRESS = "oci://r.example/a:latest"
ORIGIN = "sha256:" + "f" * 64
TAR = "application/vnd.oci.image.layer.v1.tar"
TITLE = "org.opencontainers.image.title"
UNPACK = "io.deis.oras.content.unpack"


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


def layer(number: int, media_type: str, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest(number), "size": number} | more


def titled(number: int, media_type: str, title: str, **annotations: str) -> dict[str, Any]:
    return layer(number, media_type, annotations={TITLE: title} | annotations)


def read(*layers: dict[str, Any]) -> Layers:
    return layers_of(ADDRESS, {"schemaVersion": 2, "layers": list(layers)}, ORIGIN)


def refused(*layers: dict[str, Any]) -> str:
    with pytest.raises(SourceError) as raised:
        read(*layers)
    assert raised.value.trouble is Trouble.REFUSED
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_layers_with_titles_are_files() -> None:
    # The media type of a tar is what ORAS gives to any file by default.
    found = read(titled(1, TAR, "model.bin"), titled(2, "text/plain", "1/words.txt"))
    assert (found.tars, found.image) == ((), False)
    model, words = found.files
    assert (model.name, model.size, model.mark, model.origin) == ("model.bin", 1, digest(1), ORIGIN)
    assert model.sha256 == f"{1:064x}"
    assert words.name == "1/words.txt"


@pytest.mark.parametrize(
    "folder",
    [
        titled(1, TAR + "+gzip", "model", **{UNPACK: "true"}),
        titled(1, "application/vnd.example.model", "model", **{UNPACK: "true"}),
        # ORAS's client for Python says no more than this.
        titled(1, TAR + "+gzip", "model"),
    ],
)
def test_folders_are_unpacked_and_are_no_images(folder: dict[str, Any]) -> None:
    found = read(folder)
    assert (found.tars, found.image) == ((digest(1),), False)
    assert [each.name for each in found.files] == [f"{1:064x}.tar"]


@pytest.mark.parametrize("title", ["model.tar.gz", "model.TGZ", "model.gz", "model.zip"])
def test_a_file_that_is_an_archive_stays_a_file(title: str) -> None:
    assert read(titled(1, TAR + "+gzip", title)).tars == ()


def test_a_folder_that_is_not_to_be_unpacked_stays_a_file() -> None:
    assert read(titled(1, TAR + "+gzip", "model", **{UNPACK: "false"})).tars == ()


@pytest.mark.parametrize(
    "media_type",
    [
        TAR,
        TAR + "+gzip",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "application/vnd.docker.image.rootfs.diff.tar",
    ],
)
def test_the_layers_of_an_image_are_laid_over_each_other(media_type: str) -> None:
    found = read(layer(1, media_type), layer(2, media_type), layer(1, media_type))
    assert found.tars == (digest(1), digest(2), digest(1))
    assert found.image
    assert [each.mark for each in found.files] == [digest(1), digest(2)]


@pytest.mark.parametrize(
    "media_type",
    [
        "application/vnd.kitops.modelkit.model.v1.tar+gzip",
        "application/vnd.kitops.modelkit.model.v1.tar",
        "application/vnd.cnai.model.layer.v1.tar",
        "application/vnd.cncf.model.weight.v1.tar",
    ],
)
def test_tars_of_other_kinds_are_no_images(media_type: str) -> None:
    found = read(layer(1, media_type))
    assert (found.tars, found.image) == ((digest(1),), False)


@pytest.mark.parametrize("key", ["org.cncf.model.filepath", "org.cnai.model.filepath"])
def test_what_is_raw_is_named_by_its_own_annotation(key: str) -> None:
    raw = layer(1, "application/vnd.cncf.model.weight.v1.raw", annotations={key: "1/model.gguf"})
    assert [each.name for each in read(raw).files] == ["1/model.gguf"]


def test_what_is_neither_named_nor_a_tar_is_refused() -> None:
    assert refused(layer(1, "application/vnd.ollama.image.model")) == (
        f"{ADDRESS}: layer 0 is 'application/vnd.ollama.image.model' without a name; expected a tar, "
        f"or a file with the annotation {TITLE}"
    )


@pytest.mark.parametrize(
    "media_type", [TAR + "+zstd", "application/vnd.docker.image.rootfs.diff.tar.zstd"]
)
def test_zstd_is_refused(media_type: str) -> None:
    assert "zstd is not unpacked; push it with gzip" in refused(layer(1, media_type))


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"digest": "sha256:../../etc"}, "names the digest 'sha256:../../etc'"),
        ({"digest": "md5:00"}, "names the digest 'md5:00'"),
        ({"digest": None}, "names the digest null"),
        ({"size": -1}, "has size -1"),
        ({"size": "1"}, "has size '1'"),
        ({"size": True}, "has size true"),
        ({"size": None}, "has size null"),
    ],
)
def test_numbers_that_are_none_are_refused(wrong: dict[str, Any], why: str) -> None:
    assert why in refused(titled(1, TAR, "a") | wrong)


def test_two_layers_with_one_name_are_refused() -> None:
    assert "two layers that are named 'a'" in refused(titled(1, TAR, "a"), titled(2, TAR, "a"))


def test_an_artifact_without_files_is_not_found() -> None:
    with pytest.raises(SourceError) as raised:
        read(layer(1, "application/vnd.oci.empty.v1+json"))
    assert raised.value.trouble is Trouble.NOT_FOUND


@pytest.mark.parametrize(
    "manifest",
    [{"schemaVersion": 1, "fsLayers": []}, {"layers": {}}, {"layers": None}, {}],
)
def test_manifests_of_other_kinds_are_refused(manifest: dict[str, Any]) -> None:
    with pytest.raises(SourceError, match="expected a manifest of OCI or of Docker") as raised:
        layers_of(ADDRESS, manifest, ORIGIN)
    assert raised.value.trouble is Trouble.REFUSED


def platform(number: int, system: str, architecture: str) -> dict[str, Any]:
    return {
        "digest": digest(number),
        "platform": {"os": system, "architecture": architecture},
    }


def test_of_an_index_this_platform_is_chosen() -> None:
    index: dict[str, Any] = {
        "manifests": [
            platform(1, "windows", "amd64"),
            platform(2, "linux", "arm64"),
            platform(3, "linux", "amd64"),
        ]
    }
    assert choose(ADDRESS, index, "amd64") == digest(3)
    assert choose(ADDRESS, index, "arm64") == digest(2)
    with pytest.raises(SourceError) as raised:
        choose(ADDRESS, index, "s390x")
    assert raised.value.trouble is Trouble.NOT_FOUND
    assert str(raised.value) == (
        f"{ADDRESS} is there for linux/amd64, linux/arm64, windows/amd64; expected it for linux/s390x, or one alone"
    )


def test_the_only_one_is_chosen_whatever_it_is_for() -> None:
    index: dict[str, Any] = {
        "manifests": [platform(1, "linux", "arm64"), platform(2, "unknown", "unknown")]
    }
    assert choose(ADDRESS, index, "amd64") == digest(1)
    assert choose(ADDRESS, {"manifests": [{"digest": digest(1)}]}, "amd64") == digest(1)


def test_an_index_is_told_from_a_manifest() -> None:
    kind = "application/vnd.oci.image.index.v1+json"
    assert is_index({"mediaType": kind}, "")
    assert is_index({}, kind)
    assert is_index({"manifests": []}, "")
    assert not is_index({"layers": []}, "application/vnd.oci.image.manifest.v1+json")
