"""A model's own packages: what the shared environment lacks is named, line by line."""

from __future__ import annotations

from pathlib import Path

import pytest

from overbook.agent.servers.mlserver.requirements import unmet


def distribution(folder: Path, name: str, version: str) -> None:
    made = folder / f"{name}-{version}.dist-info"
    made.mkdir(parents=True)
    (made / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """The interpreter of an environment with NumPy 2.4.6 and a package that spells itself differently."""
    packages = tmp_path / "env" / "lib" / "python3.11" / "site-packages"
    distribution(packages, "numpy", "2.4.6")
    distribution(packages, "Scikit_Learn", "1.9.1")
    distribution(packages, "odd", "made-by-hand")
    return tmp_path / "env" / "bin" / "python"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    return tmp_path / "model"


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("", ""),
        ("# just words\n\n  \n", ""),
        ("numpy>=2,<3  # ours\nscikit-learn==1.9.1\nodd>=1", ""),
        ("numpy==2.4.6 \\\n    --hash=sha256:abc \\\n    --hash=sha256:def\n", ""),
        ("--index-url x\n-f wheels\nnumpy", ""),
        ("numpy<2", "numpy<2 (2.4.6 is installed)"),
        ("lifelines>=0.27\nnumpy", "lifelines>=0.27 (not installed)"),
        ("lifelines; python_version < '3'", ""),
        ("a\nb\nc\nd\ne\nf\ng", "a (not installed), b (not installed), c (not installed), d (not "
         "installed), e (not installed) and 2 more"),
        ("-r other.txt", "'-r other.txt' (cannot be followed)"),
        ("--requirement=other.txt", "'--requirement=other.txt' (cannot be followed)"),
        ("./my.whl", "'./my.whl' (expected NAME and versions)"),
        ("numpy \\", ""),
    ],
)  # fmt: skip
def test_what_is_missing(folder: Path, python: Path, lines: str, problem: str) -> None:
    (folder / "requirements.txt").write_text(lines)
    assert unmet(folder, python) == problem


def test_no_file_asks_for_nothing(folder: Path, python: Path) -> None:
    assert unmet(folder, python) == ""


def test_packages_in_the_models_folder_count_first(folder: Path, python: Path) -> None:
    distribution(folder, "lifelines", "0.30")
    distribution(folder, "numpy", "1.26")
    (folder / "requirements.txt").write_text("lifelines\nnumpy<2")
    assert unmet(folder, python) == ""
