"""Environments of Servers' own: made once for each content, from three sources, and refused in words.

uv is a little program here; the real one is used in tests/integration.
"""

from __future__ import annotations

import os
import shutil
import tarfile
import time
from pathlib import Path

import pytest
import uv

from overbook.runtimes.catalogue import runtime
from overbook.runtimes.in_use import held
from overbook.runtimes.install import RuntimeEnvironment, RuntimeInstallError
from overbook.runtimes.own import Wish, made_at, make_at, place_of, prune, state_of

MLSERVER = runtime("mlserver")
NEEDED = ("mlserver==1.7.1", "mlserver-sklearn==1.7.1", "uvloop==0.21", "psutil==7", "httptools==1")
Said = list[str]

# Writes down what it is called with; what is compiled is what was asked for.
_UV = """#!/bin/sh
echo "$@" >> {log}
case "$1 $2" in
  "venv "*) for last; do :; done; mkdir -p "$last/bin"; ln -s {python} "$last/bin/python" ;;
  "pip compile") for last; do :; done; cat "$last" >> {log}; echo "Resolved 3 packages" >&2 ;;
esac
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What uv was called with. The Python imports whatever it is told to."""
    python, program, found = tmp_path / "python", tmp_path / "uv", tmp_path / "log"
    python.write_text("#!/bin/sh\nexit 0\n")
    program.write_text(_UV.format(log=found, python=python))
    for each in (python, program):
        each.chmod(0o755)
    monkeypatch.setattr(uv, "find_uv_bin", lambda: str(program))
    return found


def made(tmp_path: Path, wish: Wish, *extras: str, said: Said | None = None) -> RuntimeEnvironment:
    heard: Said = [] if said is None else said
    place = place_of(MLSERVER, frozenset(extras), wish, tmp_path / "environments")
    return made_at(place) or make_at(place, lambda message, _: heard.append(message))


def archive(tmp_path: Path, *installed: str, inside: str = "", **files: str) -> Path:
    """A packed environment with these packages."""
    root = tmp_path / "packed" / (inside or ".")
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "python").symlink_to(tmp_path / "python")
    for each in installed:
        name, _, version = each.partition("==")
        info = root / "lib" / "python3.11" / "site-packages" / f"{name}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
    for name, content in files.items():
        (root / "bin" / name.replace("_", "-")).write_text(content)
    path = tmp_path / "packed.tar.gz"
    with tarfile.open(path, "w:gz") as packed:
        packed.add(tmp_path / "packed", arcname=".")
    return path


def test_packages_are_resolved_with_the_pins_preferred_and_made_once(
    tmp_path: Path, log: Path
) -> None:
    said: Said = []
    wish = Wish(packages=("Scikit_Learn==1.6.1", "xgboost==2"))
    first = made(tmp_path, wish, said=said)
    assert first.extras == {"onnx", "xgboost"}, "the package brings what serves it"
    assert first.identity == first.root.name
    assert "resolved 3 packages" in said
    calls = log.read_text()
    assert "scikit-learn==1.6.1\n" in calls
    assert "\nxgboost==2\n" in calls
    assert "\nxgboost-cpu" not in calls
    again = Wish(packages=("xgboost==2", "scikit-learn==1.6.1"))
    assert made(tmp_path, again) == first
    assert log.read_text() == calls
    assert made(tmp_path, Wish(packages=("scikit-learn==1.7",))).root != first.root


def test_a_file_of_requirements_is_followed_by_its_content(tmp_path: Path, log: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text("# mine\n--index-url https://x\nlightgbm==4 # old\n")
    wish = Wish(requirements=file)
    before = state_of(wish)
    first = made(tmp_path, wish)
    assert "lightgbm" in first.extras
    calls = log.read_text()
    assert "\nlightgbm==4\n" in calls
    assert "\n--index-url https://x\n" in calls
    assert calls.splitlines()[-1].endswith("/sources.txt"), "where packages come from, once more"
    file.write_text("lightgbm==4.1\n")
    assert state_of(wish) != before
    second = made(tmp_path, wish)
    assert second.root != first.root
    file.unlink()
    assert state_of(wish) == ()
    assert made(tmp_path, wish) == second, "what was made of it last is there"
    with pytest.raises(RuntimeInstallError, match=r"requirements\.txt cannot be read: No such"):
        made(tmp_path, wish, "xgboost")
    shutil.rmtree(second.root)
    with pytest.raises(RuntimeInstallError, match=r"requirements\.txt cannot be read: No such"):
        made(tmp_path, wish)
    assert len(list((tmp_path / "environments").glob("*.last"))) == 1
    assert prune(tmp_path / "environments") == []
    assert list((tmp_path / "environments").glob("*.last")) == []


def test_what_a_file_includes_makes_another_environment_too(tmp_path: Path, log: Path) -> None:
    roots = set()
    for folder, version in (("a", "1"), ("b", "2")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "req.txt").write_text("-r more.txt\n")
        (tmp_path / folder / "more.txt").write_text(f"lightgbm=={version}\n")
        found = made(tmp_path, Wish(requirements=tmp_path / folder / "req.txt"))
        assert "lightgbm" in found.extras
        roots.add(found.root)
    wish = Wish(requirements=tmp_path / "a" / "req.txt")
    before = state_of(wish)
    assert state_of(wish) == before
    (tmp_path / "a" / "more.txt").write_text("-c least.txt\nlightgbm==1\n")
    without = state_of(wish)
    assert without != before
    (tmp_path / "a" / "least.txt").write_text("numpy<3\n")
    assert state_of(wish) != without, "what was missing is there"
    roots.add(made(tmp_path, wish).root)
    (tmp_path / "a" / "least.txt").write_text("numpy<2.4\n")
    roots.add(made(tmp_path, wish).root)
    assert len(roots) == 4


def test_a_file_that_is_no_text_is_refused(tmp_path: Path, log: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_bytes(b"six==1\n# Gr\xfc\xdfe\n")
    with pytest.raises(RuntimeInstallError) as error:
        made(tmp_path, Wish(requirements=file))
    assert str(error.value) == (
        f"its environment was not made: {file}, line 2: this is not UTF-8; save the file as UTF-8"
    )


def test_a_whole_archive_is_used_as_it_is(tmp_path: Path, log: Path) -> None:
    packed = archive(
        tmp_path, *NEEDED, "scikit-learn==1.6.1", "onnxruntime==1", "mlserver-xgboost==1.7.1",
        "xgboost==2", inside="mine",
    )  # fmt: skip
    found = made(tmp_path, Wish(archive=packed))
    assert (found.root / "bin" / "python").exists(), "what was packed in a folder is lifted out"
    assert found.extras == {"onnx", "xgboost"}
    assert not log.exists(), "without a network"
    packed.unlink()
    assert made(tmp_path, Wish(archive=packed)) == found, "what was made of it is there"


def test_what_an_archive_lacks_is_added_to_what_it_has(tmp_path: Path, log: Path) -> None:
    said: Said = []
    made(tmp_path, Wish(archive=archive(tmp_path, "scikit-learn==1.6.1")), said=said)
    [adding] = [each for each in said if each.startswith("adding what the server needs")]
    assert "mlserver==1.7.1" in adding
    assert "scikit-learn" not in adding
    assert "--constraints" in log.read_text()


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        (Wish(packages=("mlserver==1.6",)), "its environment was not made: .* cannot be chosen"),
        (Wish(archive=Path("/nowhere.tar.gz")), r"/nowhere\.tar\.gz cannot be read: No such file"),
    ],
)
def test_what_cannot_be(tmp_path: Path, log: Path, wish: Wish, reason: str) -> None:
    with pytest.raises(RuntimeInstallError, match=reason):
        made(tmp_path, wish)


def test_archives_that_cannot_be_used_say_why_and_leave_nothing(tmp_path: Path, log: Path) -> None:
    def refused(path: Path) -> str:
        with pytest.raises(RuntimeInstallError) as error:
            made(tmp_path, Wish(archive=path))
        assert [each for each in (tmp_path / "environments").glob("*") if each.is_dir()] == []
        return str(error.value)

    (tmp_path / "no.tar.gz").write_bytes(b"no archive")
    assert f"was not made: {tmp_path}/no.tar.gz is no archive; expected" in refused(
        tmp_path / "no.tar.gz"
    )
    assert "/dev/null is not a file" in refused(Path("/dev/null"))
    other = archive(tmp_path, "mlserver==1.6.0")
    assert "has mlserver 1.6.0, and what Overbook adds to it is made for 1.7.1" in refused(other)
    python = tmp_path / "packed" / "bin" / "python"
    for link, reason in (
        (Path("/opt/gone/python3"), "was made for /opt/gone/python3"),
        (None, "no bin/python"),
    ):
        python.unlink()
        if link is not None:
            python.symlink_to(link)
        with tarfile.open(tmp_path / "new.tar.gz", "w:gz") as packed:
            packed.add(tmp_path / "packed", arcname=".")
        assert reason in refused(tmp_path / "new.tar.gz")


def test_what_conda_packed_is_told_where_it_is(tmp_path: Path, log: Path) -> None:
    (tmp_path / "python").write_text(
        '#!/bin/sh\ncase "$1" in */conda-unpack) echo no >&2; exit 1;; esac\n'
    )
    packed = archive(tmp_path, *NEEDED, "scikit-learn==1", "onnxruntime==1", conda_unpack="")
    with pytest.raises(RuntimeInstallError, match=r"conda-unpack of .* failed: no"):
        made(tmp_path, Wish(archive=packed))


def test_packages_that_do_not_work_together_are_found(tmp_path: Path, log: Path) -> None:
    (tmp_path / "python").write_text("#!/bin/sh\necho 'ValueError: numpy.dtype size' >&2; exit 1\n")
    with pytest.raises(RuntimeInstallError, match=r"do not work together \(ValueError: numpy"):
        made(tmp_path, Wish(packages=("pandas==1.5.3",)))
    (tmp_path / "python").unlink()
    with pytest.raises(RuntimeInstallError, match="do not work together"):
        made(tmp_path, Wish(packages=("pandas==1.5.3",)))


def test_what_nobody_has_used_for_long_is_removed(tmp_path: Path, log: Path) -> None:
    folder = tmp_path / "environments"
    assert prune(folder) == []
    roots = [made(tmp_path, Wish(packages=(f"polars=={each}",))).root for each in range(3)]
    long_ago = time.time() - 30 * 24 * 3600
    for root in roots[:2]:
        os.utime(root / ".overbook-complete", (long_ago, long_ago))
    with held(roots[0]):
        assert prune(folder) == [roots[1]]
    assert made(tmp_path, Wish(packages=("polars==0",))).root == roots[0], "asked for: it stays"
    assert prune(folder) == []


def test_a_folder_that_cannot_be_written(tmp_path: Path, log: Path) -> None:
    (tmp_path / "environments").touch()
    with pytest.raises(RuntimeInstallError, match="give another folder with --state-dir"):
        made(tmp_path, Wish(packages=("polars==1",)))
