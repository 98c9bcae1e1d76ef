"""What a manifest says: which of its layers are files, and which are tars that files are in. Pure.

Four ways to keep a model in a registry are understood. An artifact of ORAS has a layer per file, with its name in an
annotation; a folder is a layer of its own, which is unpacked. An image has tars, one laid over the other; KServe's
have the model below `/models`. KitOps and ModelPack have tars as well, or files with names in annotations of theirs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.sources.protocol import RemoteFile
from overbook.artifacts.sources.web.registry.address import DIGEST
from overbook.manifests.problems import Json, shown

MANIFESTS: Final = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
INDEXES: Final = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
# Where images keep a model, by KServe's convention.
MODELS: Final = "models"

_TITLE: Final = "org.opencontainers.image.title"
_UNPACK: Final = "io.deis.oras.content.unpack"
_FILE_PATHS: Final = ("org.cncf.model.filepath", "org.cnai.model.filepath")
_EMPTY: Final = "application/vnd.oci.empty.v1+json"
_OCI_TAR_GZIP: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
_IMAGE_LAYERS: Final = ("application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs.")
_TAR: Final = re.compile(r"\.tar(?:[+.]gzip|[+.]gz)?$")
_ZSTD: Final = re.compile(r"\.tar[+.]zstd?$")
_ARCHIVE_NAME: Final = re.compile(r"\.(?:tar|tgz|gz|zip)$", re.IGNORECASE)
_MOST_LAYERS: Final = 20_000
# Platforms that a message names.
_TOLD: Final = 10
_WORD: Final = re.compile(r"[\w.-]{1,40}")


@dataclass(frozen=True, slots=True)
class Layers:
    """``files``: all that is to be brought, a tar that is there twice once. ``tars``: the digests of those among them
    that files are in, the lowest first. ``image``: they are the layers of an image.
    """

    files: tuple[RemoteFile, ...]
    tars: tuple[str, ...] = ()
    image: bool = False


def is_index(manifest: Mapping[str, Json], media_type: str) -> bool:
    """Whether it lists manifests, one a platform. ``media_type``: what the registry says that it is."""
    return (manifest.get("mediaType") or media_type) in INDEXES or "manifests" in manifest


def choose(address: str, index: Mapping[str, Json], architecture: str) -> str:
    """The digest of the manifest for Linux on ``architecture`` (as Go names it), or of the only one.

    Raises SourceError.
    """
    offered: list[tuple[str, str]] = []
    for each in _mappings(index.get("manifests")):
        platform = each.get("platform")
        platform = platform if isinstance(platform, dict) else {}
        name = f"{_word(platform.get('os'))}/{_word(platform.get('architecture'))}"
        # Builders lay their attestations beside what they are about.
        if name != "unknown/unknown":
            offered.append((name, _digest(address, each)))
    if len(offered) == 1:
        return offered[0][1]
    wanted = f"linux/{architecture}"
    for name, digest in offered:
        if name == wanted:
            return digest
    names = sorted({name for name, _ in offered})
    there = ", ".join(names[:_TOLD]) + (", …" if len(names) > _TOLD else "") or "no platform"
    raise SourceError(
        Trouble.NOT_FOUND, f"{address} is there for {there}; expected it for {wanted}, or one alone"
    )


def _word(value: Json) -> str:
    """As it is where it is a word."""
    if value is None:
        return "any"
    return value if isinstance(value, str) and _WORD.fullmatch(value) else shown(value)


def layers_of(address: str, manifest: Mapping[str, Json], origin: str) -> Layers:
    """``origin``: by what the manifest is found again. Raises SourceError."""
    layers = _mappings(manifest.get("layers"))
    if not isinstance(manifest.get("layers"), list) or len(layers) > _MOST_LAYERS:
        raise SourceError(
            Trouble.REFUSED,
            f"{address} is {shown(manifest.get('mediaType') or manifest.get('schemaVersion'))} and has no list of "
            f"layers, or more than {_MOST_LAYERS}; expected a manifest of OCI or of Docker, version 2",
        )
    files: dict[str, RemoteFile] = {}
    tars: list[str] = []
    images = 0
    for number, layer in enumerate(layers):
        media_type = str(layer.get("mediaType") or "")
        if media_type == _EMPTY:
            continue
        digest = _digest(address, layer)
        size = layer.get("size")
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise SourceError(
                Trouble.REFUSED,
                f"{address}: layer {number} has size {shown(size)}; expected bytes, 0 or more",
            )
        name = _name(address, number, media_type, _annotations(layer))
        if not name:
            name = f"{digest.removeprefix('sha256:')}.tar"
            tars.append(digest)
            images += media_type.startswith(_IMAGE_LAYERS) and _TITLE not in _annotations(layer)
        elif name in files:
            raise SourceError(
                Trouble.REFUSED,
                f"{address} has two layers that are named {shown(name)}; expected one",
            )
        files[name] = RemoteFile(name, size, digest, digest.removeprefix("sha256:"), origin)
    if not files:
        raise SourceError(Trouble.NOT_FOUND, f"{address} holds no file; expected a model's files")
    image = bool(tars) and images == len(tars) == len(layers)
    return Layers(tuple(files.values()), tuple(tars), image)


def _name(address: str, number: int, media_type: str, annotations: Mapping[str, Json]) -> str:
    """What the file is called that the layer is; "" where it is a tar that files are in. Raises SourceError."""
    title = annotations.get(_TITLE)
    unpack = annotations.get(_UNPACK)
    if isinstance(title, str) and title and unpack != "true":
        # Where ORAS's client for Python pushes a folder, nothing but the name tells it from an archive.
        folder = media_type == _OCI_TAR_GZIP and not _ARCHIVE_NAME.search(title) and unpack is None
        return "" if folder else title
    if _ZSTD.search(media_type):
        raise SourceError(
            Trouble.REFUSED,
            f"{address}: layer {number} is {shown(media_type)}, and zstd is not unpacked; push it with gzip",
        )
    if unpack == "true" or _TAR.search(media_type):
        return ""
    for key in _FILE_PATHS:
        if isinstance(path := annotations.get(key), str) and path:
            return path
    raise SourceError(
        Trouble.REFUSED,
        f"{address}: layer {number} is {shown(media_type)} without a name; expected a tar, "
        f"or a file with the annotation {_TITLE}",
    )


def _digest(address: str, descriptor: Mapping[str, Json]) -> str:
    digest = descriptor.get("digest")
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        raise SourceError(
            Trouble.REFUSED,
            f"{address} names the digest {shown(digest)}; expected sha256: and 64 hex digits",
        )
    return digest


def _annotations(layer: Mapping[str, Json]) -> Mapping[str, Json]:
    found = layer.get("annotations")
    return found if isinstance(found, dict) else {}


def _mappings(value: Json) -> list[dict[str, Json]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
