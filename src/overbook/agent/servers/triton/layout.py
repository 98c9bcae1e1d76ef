"""Where the files of a model for Triton lie in its artifact, told by their names.

An artifact is Triton's own layout (config.pbtxt beside version folders), the same without version folders, or
just a model: a single .onnx file, a SavedModel, a model.pt. Reads names, and the config.pbtxt for its backend.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from overbook.agent.servers.formats.errors import FormatError
from overbook.agent.servers.formats.reading import read_whole
from overbook.agent.servers.protocol import ModelRejected, PreparedModel
from overbook.agent.servers.triton.backends import BACKENDS, Backend, backend_of
from overbook.agent.servers.triton.ensembles import ENSEMBLE, MOST_CONFIG, is_ensemble, steps
from overbook.agent.servers.triton.pbtxt import ModelConfig, new_config, parse_config
from overbook.manifests.problems import shown
from overbook.manifests.requirements import plain_word

CONFIG: Final = "config.pbtxt"
_SHOWN_FILES: Final = 8
# Bytes of a file's name, as file systems have it.
_LONGEST_NAME: Final = 255


@dataclass(frozen=True, slots=True)
class Layout:
    """``config``: the user's own, empty when there is none. ``folder``: of the version; the model in it is
    ``filename``, or the folder itself when that is empty. ``beside``: what belongs to all versions (labels, warmup).

    ``backend``: None when it is one that Overbook knows nothing of, and of an ensemble, which has none.
    """

    config: ModelConfig
    backend: Backend | None
    folder: Path
    filename: str
    beside: tuple[Path, ...]

    @property
    def model_path(self) -> Path:
        return self.folder / self.filename


def find_layout(model: PreparedModel) -> Layout:
    """Raises ModelRejected naming what was found and what was expected."""
    root = model.artifact
    if not root.is_dir():
        raise ModelRejected(
            f"model {model.name}: its artifact folder {root} does not exist", passing=True
        )
    config = _own_config(model)
    if is_ensemble(config):
        return _ensemble(model, config)
    wanted = backend_of(config.backend, config.platform)
    is_foreign = wanted is None and bool(config.backend or config.platform)
    tried = _folders(model, config)
    for folder in tried:
        if is_foreign:
            if folder != root:
                return Layout(config, None, folder, config.default_model_filename, _beside(root))
            continue
        found = _model(model, folder, config, wanted)
        if found is not None:
            backend, filename = found
            beside = _beside(root, without=filename if folder == root else "")
            if folder == root and not filename:
                beside = ()
            return Layout(config, backend, folder, filename, beside)
    raise ModelRejected(_nothing_found(model, config, wanted, tried))


def word(model: PreparedModel) -> str:
    """The requirement that names what the files are, "" where they have a configuration. Raises ModelRejected."""
    layout = find_layout(model)
    has_config = (model.artifact / CONFIG).is_file()
    return "" if has_config or layout.backend is None else layout.backend.word


def _ensemble(model: PreparedModel, config: ModelConfig) -> Layout:
    """It calls others by the names that they are registered by, whatever versions their artifacts had."""
    where = f"model {model.name}: {CONFIG}"
    if config.platform not in ("", ENSEMBLE) or config.backend:
        raise ModelRejected(
            f"{where}: it has ensemble_scheduling, but is for {shown(config.backend or config.platform)}; "
            f"expected platform {ENSEMBLE!r} and no backend"
        )
    called = steps(config)
    if not called or not all(called):
        raise ModelRejected(
            f"{where}: ensemble_scheduling: expected a model_name in each of its steps"
        )
    if model.name in called:
        raise ModelRejected(
            f"{where}: ensemble_scheduling calls {model.name!r} itself; expected others"
        )
    if not config.input or not config.output:
        raise ModelRejected(f"{where}: an ensemble has to name its input and output")
    config.platform = ENSEMBLE
    for step in config.ensemble_scheduling.step:
        step.model_version = -1
        step.model_namespace = ""
    root = model.artifact
    folder = next((each for each in _folders(model, config) if each != root), root)
    return Layout(config, None, folder, "", _beside(root))


def _own_config(model: PreparedModel) -> ModelConfig:
    path = model.artifact / CONFIG
    if not path.is_file():
        return new_config()
    try:
        return parse_config(read_whole(path, MOST_CONFIG))
    except (FormatError, OSError) as error:
        raise ModelRejected(f"model {model.name}: {CONFIG}: {error}") from error


def _folders(model: PreparedModel, config: ModelConfig) -> list[Path]:
    """Where the model may be, the likeliest first."""
    numbered = sorted(
        (path for path in model.artifact.iterdir() if path.name.isdecimal() and path.is_dir()),
        key=lambda path: int(path.name),
        reverse=True,
    )
    if model.version:
        chosen = [path for path in numbered if int(path.name) == int(model.version)]
        if not chosen:
            raise ModelRejected(
                f"model {model.name}: artifactVersion is {model.version}, but its artifact has no such folder; "
                f"found {_listing(model.artifact)}"
            )
        return chosen
    specific = list(config.version_policy.specific.versions)
    if specific:
        chosen = [path for path in numbered if int(path.name) in specific]
        if not chosen:
            raise ModelRejected(
                f"model {model.name}: {CONFIG}: version_policy names {', '.join(map(str, specific))}, but its "
                f"artifact has no such folder; found {_listing(model.artifact)}"
            )
        return chosen
    return [*numbered, model.artifact]


def _model(
    model: PreparedModel, folder: Path, config: ModelConfig, wanted: Backend | None
) -> tuple[Backend, str] | None:
    """The backend that loads what is in the folder, and the model's file name."""
    named = config.default_model_filename
    if wanted is not None:
        if named:
            _check_filename(model, named)
            return (wanted, named) if wanted.is_model(folder / named) else None
        filename = wanted.find(folder)
        return None if filename is None else (wanted, filename)
    found = [(each, filename) for each in BACKENDS if (filename := each.find(folder)) is not None]
    words = set(map(plain_word, model.requirements))
    required = [each for each in found if each[0].word in words]
    fitting = required or found
    if len(fitting) > 1:
        kinds = ", ".join(each.word for each, _ in fitting)
        raise ModelRejected(
            f"model {model.name}: its files could be {kinds}; say which with requirements, or with backend "
            f"in a {CONFIG}"
        )
    return fitting[0] if fitting else None


def _check_filename(model: PreparedModel, named: str) -> None:
    if len(named.encode()) > _LONGEST_NAME or "\0" in named or ".." in named.split("/"):
        raise ModelRejected(
            f"model {model.name}: {CONFIG}: default_model_filename is {shown(named)}, expected the name of a file in "
            "the version's folder"
        )


def _beside(root: Path, without: str = "") -> tuple[Path, ...]:
    return tuple(
        path
        for path in sorted(root.iterdir())
        if path.name not in (CONFIG, without) and not (path.name.isdecimal() and path.is_dir())
    )


def _nothing_found(
    model: PreparedModel, config: ModelConfig, wanted: Backend | None, tried: list[Path]
) -> str:
    root = model.artifact
    where = f"in its folder {tried[0].name}" if model.version else "in a version folder such as 1"
    if config.default_model_filename:
        expected = config.default_model_filename
    elif wanted is not None:
        expected = wanted.filename
    elif config.backend or config.platform:
        expected = f"the files of backend {config.backend or config.platform}"
    else:
        expected = f"one of {', '.join(each.filename for each in BACKENDS)}"
    listed = _listing(tried[0] if tried else root)
    return f"model {model.name}: expected {expected} {where}, found {listed}"


def _listing(folder: Path) -> str:
    names = sorted(path.name + ("/" if path.is_dir() else "") for path in folder.iterdir())
    if not names:
        return "nothing"
    more = f" and {len(names) - _SHOWN_FILES} more" if len(names) > _SHOWN_FILES else ""
    return ", ".join(names[:_SHOWN_FILES]) + more
