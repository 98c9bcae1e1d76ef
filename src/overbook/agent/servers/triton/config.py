"""From an artifact's files to what Triton loads: the full configuration, and its folder in a model repository.

A user's own config.pbtxt is respected and completed where it is silent, so that Triton needs no backend to
complete it: that costs a second process per load. What could never be loaded is refused here, in one line,
when the model is registered. Talks to no server. One name has one version, in folder 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from overbook.agent.servers.formats.errors import FormatError
from overbook.agent.servers.formats.reading import read_whole
from overbook.agent.servers.protocol import ModelRejected, PreparedModel
from overbook.agent.servers.triton import repository as folders
from overbook.agent.servers.triton.backends import (
    ANY,
    FOREIGN_PLATFORMS,
    PYTHON,
    Backend,
    Backends,
    backend_of,
)
from overbook.agent.servers.triton.ensembles import callees, is_ensemble
from overbook.agent.servers.triton.layout import CONFIG, Layout, find_layout
from overbook.agent.servers.triton.pbtxt import ModelConfig, data_type_name, print_config
from overbook.agent.servers.triton.tensors import complete_tensors

VERSION: Final = "1"
# Bytes of one file of a model's own code that are looked through.
_MOST_CODE: Final = 4 << 20


def validate(model: PreparedModel, offer: Backends = ANY) -> None:
    """Raises ModelRejected with one line."""
    describe(model, offer)


def describe(model: PreparedModel, offer: Backends = ANY) -> ModelConfig:
    """The configuration that Triton is given. Raises ModelRejected with one line."""
    return _described(model, offer)[1]


def publish(
    model: PreparedModel, repository: Path, *, copy: bool = False, offer: Backends = ANY
) -> None:
    """Put the model into the repository, in place of what had its name there; Triton sees old or new, never half.

    ``copy``: for a server that does not see the artifact's folder. Raises ModelRejected.
    """
    layout, config = _described(model, offer)
    # A folder that is itself the model goes into the version's folder as one entry.
    is_model = layout.backend is not None and not layout.filename
    contents = folders.Contents(
        config=print_config(config),
        version=VERSION,
        folder=layout.folder,
        name_in_version=layout.backend.filename if layout.backend and is_model else "",
        beside=layout.beside,
    )
    try:
        folders.publish(repository, model.name, contents, copy=copy)
    except OSError as error:
        raise ModelRejected(
            f"model {model.name}: cannot write it into {repository}: {error}"
        ) from error


def published_callees(name: str, repository: Path) -> tuple[str, ...]:
    """Names of the models that what was published calls; none when it is no ensemble."""
    return callees(repository / name)


def withdraw(name: str, repository: Path) -> None:
    """Take the model out of the repository; one that is not there is fine."""
    folders.withdraw(repository, name)


def finalizes(folder: Path) -> bool:
    """Whether a model's own code has something to do at its end; also where that cannot be told from its files."""
    try:
        return any(_mentions(path, b"finalize") for path in folder.rglob("*.py"))
    except (OSError, FormatError):
        return True


def _mentions(path: Path, word: bytes) -> bool:
    return path.is_file() and word in read_whole(path, _MOST_CODE)


def static_metadata(model: PreparedModel, offer: Backends = ANY) -> Mapping[str, object]:
    """OIP metadata in the shape of Triton's own answer. Raises ModelRejected."""
    config = describe(model, offer)
    batch = [-1] if config.max_batch_size > 0 else []
    return {
        "name": model.name,
        "versions": [VERSION],
        "platform": config.platform or config.backend,
        **{
            kind: [
                {
                    "name": each.name,
                    "datatype": data_type_name(each.data_type)
                    .removeprefix("TYPE_")
                    .replace("STRING", "BYTES"),
                    "shape": [*batch, *each.dims],
                }
                for each in tensors
            ]
            for kind, tensors in (("inputs", config.input), ("outputs", config.output))
        },
    }


def _described(model: PreparedModel, offer: Backends) -> tuple[Layout, ModelConfig]:
    layout = find_layout(model)
    config = layout.config
    where = f"model {model.name}: {CONFIG}"
    # Whatever name the file says: its owner was free to register it under another.
    config.name = model.name
    for name, value in model.parameters:
        config.parameters[name].string_value = value
    if is_ensemble(config):
        config.version_policy.latest.num_versions = 1
        return layout, config
    _check_backend(where, layout, config, offer)
    if layout.backend is not None:
        _complete_backend(where, layout.backend, config)
        if layout.filename and layout.filename != layout.backend.filename:
            config.default_model_filename = layout.filename
        complete_tensors(model.name, layout, config, offer)
    # One name, one version: what the folder was called in the artifact does not matter any more.
    config.version_policy.latest.num_versions = 1
    if offer.is_pip:
        _fit_instances(config)
        config.ClearField("runtime")
    return layout, config


def _check_backend(where: str, layout: Layout, config: ModelConfig, offer: Backends) -> None:
    if offer.backends is None:
        return
    backend = layout.backend
    foreign = FOREIGN_PLATFORMS.get(config.platform)
    if foreign is not None or backend is None:
        asked = f"platform {config.platform}" if foreign else f"backend {config.backend}"
        raise ModelRejected(
            f"{where}: {asked} is not in the Triton of this runtime, which has "
            f"{', '.join(sorted(offer.backends))}; use a Server with the address of an NVIDIA Triton for it"
        )
    if backend.name not in offer.backends:
        raise ModelRejected(
            f"{where.partition(':')[0]}: backend {backend.name} is not installed; "
            f"run: overbook runtime install triton --with {backend.word}"
        )


def _complete_backend(where: str, backend: Backend, config: ModelConfig) -> None:
    if config.platform and config.platform not in (*backend.platforms, *FOREIGN_PLATFORMS):
        named = backend_of("", config.platform)
        expected = backend.platforms[0] or "no platform"
        owner = f", which is for backend {named.name}" if named else ""
        raise ModelRejected(
            f"{where}: platform is {config.platform!r}{owner}, expected {expected} with backend {backend.name!r}"
        )
    config.backend = backend.name
    if not config.platform and backend is not PYTHON:
        config.platform = backend.platforms[0]


def _fit_instances(config: ModelConfig) -> None:
    """Every instance is a process: one where nothing is said, Triton would make two. There is no GPU for any."""
    if not config.instance_group:
        config.instance_group.add(count=1)
    for group in config.instance_group:
        group.kind = group.Kind.Value("KIND_CPU")
        group.count = max(1, group.count)
        group.ClearField("gpus")
