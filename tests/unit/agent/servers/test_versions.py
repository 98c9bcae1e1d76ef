"""What saved a model and what is here are named together, and only where they differ."""

from __future__ import annotations

import pickle
from pathlib import Path

from overbook.agent.servers.versions import Versions


def environment(folder: Path, version: str) -> Path:
    if version:
        info = folder / "lib" / "python3.11" / "site-packages" / "scikit_learn.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Name: scikit-learn\nVersion: {version}\n")
    return folder


def saved(folder: Path, version: str) -> Path:
    folder.mkdir()
    (folder / "model.pkl").write_bytes(pickle.dumps({"_sklearn_version": version}))
    return folder


def test_another_version_is_named_with_the_way_to_it(tmp_path: Path) -> None:
    here = Versions(environment(tmp_path / "here", "1.9.1"))
    assert here.difference(saved(tmp_path / "same", "1.9.1")) == ""
    assert here.difference(saved(tmp_path / "older", "1.6.1")) == (
        "saved with scikit-learn 1.6.1, but 1.9.1 is installed here; save it again with that version, "
        "or run it on a Server with environment: {packages: [scikit-learn==1.6.1]}"
    )
    none = Versions(environment(tmp_path / "none", ""))
    assert "1.6.1, but none is installed here;" in none.difference(tmp_path / "older")


def test_what_cannot_be_read_explains_nothing(tmp_path: Path) -> None:
    here = Versions(environment(tmp_path / "here", "1.9.1"))
    assert here.difference(tmp_path / "nowhere") == ""
    (tmp_path / "plain").mkdir()
    assert here.difference(tmp_path / "plain") == ""
