"""Versions are read: those that lock files pin for this machine, and those that an environment has."""

from __future__ import annotations

from pathlib import Path

from overbook.runtimes.installed import installed, pinned


def test_what_another_machine_would_get_is_not_pinned_here(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text(
        "# made by a tool\n"
        "numpy==2.4.6 ; python_full_version >= '3' \\\n"
        "    --hash=sha256:00 \\\n"
        "    --hash=sha256:01\n"
        "numpy==1.0 ; python_full_version < '3' \\\n"
        "    --hash=sha256:02\n"
        "Scikit_Learn==1.9.1\n"
        "loose>=3\n"
        "== what is this\n"
    )
    assert pinned([lock]) == {"numpy": "2.4.6", "scikit-learn": "1.9.1"}


def test_what_an_environment_has_is_read_from_its_packages(tmp_path: Path) -> None:
    assert installed(tmp_path) == {}
    for name in ("Scikit_Learn", ""):
        folder = tmp_path / "lib" / "python3.12" / "site-packages" / f"x{name}-1.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Name: {name}\nVersion: 1.6.1\n" if name else "\n")
    assert installed(tmp_path) == {"scikit-learn": "1.6.1"}
