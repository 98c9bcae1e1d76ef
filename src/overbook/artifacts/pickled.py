"""Finds the files of an artifact that are pickles, or have one in them: for who wants no code to come with models.

A pickle is a program that runs when it is loaded. Found are, by content and whatever their names: pickles of all
protocols, with their number or without; joblib's files, plain and compressed; what torch.save writes, now and formerly,
and TorchScript, whose archives hold pickles beside their code; NumPy's arrays of objects; and all of these within zips,
tars and compressed files, as `.npz`, and in the folders of MLflow's models. What cannot be looked through counts as one
of them: archives that are encrypted, too large, or damaged, compressed files that are damaged or cut off, and arrays of
a type that is not known to be plain. Nothing is unpickled.

Not found is code in other clothes: Python modules, Lambda layers of Keras, text that somebody's own code decodes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from overbook.artifacts.errors import ArtifactError, SourceError, Trouble
from overbook.artifacts.keeping import open_regular
from overbook.artifacts.pickle_search.contents import has_pickle
from overbook.artifacts.stopping import CheckStopped, never
from overbook.artifacts.walk import walk
from overbook.manifests.problems import shown

# More names help nobody.
MOST: Final = 20
_NAMED: Final = 3


def pickles_in(folder: Path, check_stopped: CheckStopped = never) -> list[str]:
    """The names of the files, relative, sorted: the first `MOST` that are found.

    ``check_stopped`` is called now and then; what it raises ends the search. Blocking. Raises ArtifactError where a
    file cannot be read, or there is more than one artifact can have.
    """
    found: list[str] = []
    try:
        for name, entry in walk(folder):
            check_stopped()
            # What links lead to is in the artifact itself.
            if not entry.is_file(follow_symlinks=False):
                continue
            with open_regular(entry.path) as file:
                if has_pickle(file, check_stopped):
                    found.append(name)
            if len(found) == MOST:
                break
    except OSError as error:
        raise ArtifactError(
            f"{folder} cannot be searched for pickles: {error.strerror or error}"
        ) from error
    return sorted(found)


def refuse_pickles(folder: Path, check_stopped: CheckStopped = never) -> None:
    """Raises SourceError (REFUSED), which names the files. Otherwise as `pickles_in`."""
    found = pickles_in(folder, check_stopped)
    if not found:
        return
    named = ", ".join(map(shown, found[:_NAMED]))
    least = "at least " if len(found) == MOST else ""
    others = f" and {least}{len(found) - _NAMED} more" if len(found) > _NAMED else ""
    raise SourceError(
        Trouble.REFUSED,
        f"pickles are code, and denyPickle refuses them: {named}{others}; save the model "
        "in a format without code (ONNX, safetensors, or its library's own), or leave out --deny-pickle and the "
        "Server's denyPickle; whatever cannot be looked through to its end counts as a pickle (damaged, cut off, "
        "encrypted, or too large)",
    )
