"""Environments: published whole or not at all, one installer at a time, one clear line when it fails.

uv is a little program here; the real one is used in tests/integration.
"""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import uv

from overbook.runtimes import install as module
from overbook.runtimes.catalogue import RUNTIMES, UnknownExtra, UnknownRuntime, runtime
from overbook.runtimes.in_use import held
from overbook.runtimes.install import (
    RuntimeInstallError,
    environment,
    install,
    list_runtimes,
    remove,
    runtimes_dir,
)
from overbook.runtimes.installer import locked
from overbook.runtimes.recipe import Recipe

Said = list[tuple[str, float | None]]

_WORKS = """
if [ "$1" = venv ]; then
  for last; do :; done; mkdir -p "$last/bin"; printf 12345 > "$last/bin/python"; exit 0
fi
echo "Resolved 3 packages in 1ms" >&2
echo "Downloading numpy (15.9MiB)" >&2
echo " Downloaded numpy" >&2
echo "Prepared 3 packages in 1ms" >&2
echo "Installed 3 packages in 1ms" >&2
echo "Bytecode compiled 7 files in 1ms" >&2
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OVERBOOK_RUNTIMES_DIR", str(tmp_path / "runtimes"))
    return tmp_path / "runtimes"


def fake_uv(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    program = folder / "uv"
    program.write_text("#!/bin/sh\n" + textwrap.dedent(script))
    program.chmod(0o755)
    monkeypatch.setattr(uv, "find_uv_bin", lambda: str(program))


def nobody(_message: str, _fraction: float | None) -> None:
    return None


def test_install_publishes_and_reports(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_uv(tmp_path, monkeypatch, _WORKS)
    said: Said = []
    root = install("mlserver", lambda message, fraction: said.append((message, fraction)))
    assert root.parent == home
    assert environment("mlserver").python == root / "bin" / "python"
    assert ("resolved 3 packages", 0.1) in said
    assert ("downloading numpy (15.9MiB)", None) in said
    assert said[-1] == ("mlserver is ready", 1.0)
    fractions = [fraction for _, fraction in said if fraction is not None]
    assert fractions == sorted(fractions)
    assert [p for p in home.iterdir() if p.is_dir()] == [root]


def test_a_second_install_does_nothing_unless_told(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_uv(tmp_path, monkeypatch, _WORKS)
    root = install("mlserver", nobody)
    (root / "mine").touch()
    fake_uv(tmp_path, monkeypatch, "exit 1")
    assert install("mlserver", nobody) == root
    fake_uv(tmp_path, monkeypatch, _WORKS)
    install("mlserver", nobody, reinstall=True)
    assert not (root / "mine").exists()


def test_what_was_cut_short_is_no_environment(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = home / runtime("mlserver").folder_name({"onnx"})
    (half / "bin").mkdir(parents=True)
    (half / "bin" / "python").touch()
    partial = home / ".partial-mlserver-abc"
    partial.mkdir()
    with pytest.raises(RuntimeInstallError, match="overbook runtime install mlserver"):
        environment("mlserver")
    fake_uv(tmp_path, monkeypatch, _WORKS)
    assert install("mlserver", nobody) == half
    assert environment("mlserver").root == half
    assert not partial.exists()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'error: Failed to fetch: dns error' >&2; exit 2", "index cannot be reached"),
        ("echo 'error: No space left on device (os error 28)' >&2; exit 2", "no disk space"),
        (
            "echo '  × No solution found' >&2; exit 1",
            "are not compatible with each other (No solution found)",
        ),
        (
            "printf 'error: No solution found\\n  cause: Because a needs b<7 and b is 7, no.\\n    And because a, no.' "
            ">&2; exit 1",
            "compatible with each other (Because a needs b<7 and b is 7, no. And because a, no.)",
        ),
        ('echo "error: $COLUMNS" >&2; exit 1', "(10000)"),
        ("exit 1", "uv said nothing"),
    ],
)
def test_failures_are_one_line_and_leave_nothing(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, reason: str
) -> None:
    fake_uv(tmp_path, monkeypatch, script)
    with pytest.raises(RuntimeInstallError) as raised:
        install("mlserver", nobody)
    assert reason in str(raised.value)
    assert "\n" not in str(raised.value)
    assert [p for p in home.iterdir() if p.is_dir()] == []


def test_a_failed_reinstall_keeps_the_old(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_uv(tmp_path, monkeypatch, _WORKS)
    root = install("mlserver", nobody)
    fake_uv(tmp_path, monkeypatch, "exit 1")
    with pytest.raises(RuntimeInstallError):
        install("mlserver", nobody, reinstall=True)
    assert environment("mlserver").root == root


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("OVERBOOK_RUNTIMES_DIR", str(tmp_path / "file" / "runtimes"))
    with pytest.raises(RuntimeInstallError, match="OVERBOOK_RUNTIMES_DIR"):
        install("mlserver", nobody)


def test_two_installers_at_once_build_one(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = _WORKS + f'\necho built >> "{tmp_path}/count"\n'
    fake_uv(tmp_path, monkeypatch, counted)
    home.mkdir()
    code = (
        "import sys, uv; uv.find_uv_bin = lambda: sys.argv[1];"
        "from overbook.runtimes.install import install;"
        "install('mlserver', lambda message, _: print(message, flush=True))"
    )
    said: list[str] = []
    # The other process is started while this one holds the lock, and waits for it.
    with locked(home / ".mlserver.lock", nobody):
        other = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "uv")], stdout=subprocess.PIPE, text=True
        )
        assert other.stdout is not None
        said.append(other.stdout.readline().strip())
        module._build(Recipe(runtime("mlserver"), frozenset({"onnx"})), nobody)
    rest, _ = other.communicate(timeout=20)
    assert said == ["waiting for another installation to end"]
    assert rest.strip() == "mlserver is ready"
    assert (tmp_path / "count").read_text() == "built\n"


def test_list_and_remove(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert remove("mlserver") is False
    before = list_runtimes()[0]
    assert (before.installed, before.size_bytes) == (False, None)
    assert "mlserver==1.7.1" in before.packages
    fake_uv(tmp_path, monkeypatch, _WORKS)
    root = install("mlserver", nobody)
    older = home / "mlserver-0000-py3.10"
    older.mkdir()
    metadata = root / "lib" / "python3.11" / "site-packages" / "Scikit_Learn-9.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Name: Scikit_Learn\nVersion: 9.0\n")
    after = list_runtimes()[0]
    assert (after.installed, after.size_bytes, after.path) == (True, 5, root)
    assert after.packages == ("scikit-learn==9.0",), "what is there, not what should be"
    assert after.extras == ("onnx",)
    assert after.more["catboost"] == ("mlserver-catboost==1.7.1", "catboost==1.2.10")
    assert remove("mlserver") is True
    assert [p for p in home.iterdir() if p.is_dir()] == []


def test_what_a_process_runs_from_is_not_removed(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_uv(tmp_path, monkeypatch, _WORKS)
    python = install("mlserver", nobody) / "bin" / "python"
    python.unlink()
    python.symlink_to(sys.executable)
    (home / "mlserver-0000-py3.10").mkdir()
    with (
        subprocess.Popen([python, "-c", "input()"], stdin=subprocess.PIPE) as server,
        pytest.raises(RuntimeInstallError, match=f"in use by process {server.pid}: stop"),
    ):
        remove("mlserver")
    assert len([p for p in home.iterdir() if p.is_dir()]) == 2, "all or nothing"
    assert remove("mlserver") is True


def test_where_environments_live(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("OVERBOOK_RUNTIMES_DIR", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert runtimes_dir() == tmp_path / "overbook" / "runtimes"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert runtimes_dir() == tmp_path / ".local" / "share" / "overbook" / "runtimes"


def test_an_extra_makes_another_environment_and_leaves_the_first(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_uv(tmp_path, monkeypatch, f'echo "$@" >> "{tmp_path}/said"\n' + _WORKS)
    first = install("mlserver", nobody)
    second = install("mlserver", nobody, extras=frozenset({"xgboost"}))
    assert second != first
    assert (first / "bin" / "python").exists()
    found = environment("mlserver")
    assert found.root == second
    assert found.extras == {"onnx", "xgboost"}
    offered = runtime("mlserver").offers(found.extras)
    assert offered == ("mlserver", "sklearn", "python", "onnx", "xgboost")
    locks = [Path(word).name for word in (tmp_path / "said").read_text().split() if "lock" in word]
    once = ["requirements.lock", "onnx.lock"]
    assert locks == [*once, *once, "xgboost.lock"]


def test_extras_stay_when_others_come_and_after_an_upgrade(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_uv(tmp_path, monkeypatch, _WORKS)
    install("mlserver", nobody, extras=frozenset({"xgboost"}))
    root = install("mlserver", nobody, extras=frozenset({"lightgbm"}))
    assert environment("mlserver").extras == {"onnx", "xgboost", "lightgbm"}
    assert install("mlserver", nobody, extras=frozenset({"xgboost"})) == root
    # Another version of Overbook has other pins, and may know fewer extras.
    for folder in home.glob("mlserver-*"):
        said = json.loads((folder / ".overbook-complete").read_text())
        said["extras"].append("gone")
        (folder / ".overbook-complete").write_text(json.dumps(said))
        folder.rename(folder.with_name(folder.name.replace("-py", "0-py")))
    with pytest.raises(RuntimeInstallError, match="not installed"):
        environment("mlserver")
    install("mlserver", nobody)
    assert {"onnx", "lightgbm"} <= environment("mlserver").extras
    assert "gone" not in environment("mlserver").extras


def test_an_unknown_extra(home: Path) -> None:
    with pytest.raises(UnknownExtra, match=r"no extra 'xgbost'; expected one of: onnx, xgboost"):
        install("mlserver", nobody, extras=frozenset({"xgbost"}))
    with pytest.raises(UnknownExtra, match=r"no extra 'huggingface': .* export the model to ONNX"):
        install("mlserver", nobody, extras=frozenset({"xgboost", "huggingface"}))
    assert not home.exists()


@pytest.mark.parametrize("marker", ["12345", "", '{"extras": 3}', "[]"])
def test_an_environment_of_a_version_without_extras_is_not_taken_for_a_new_one(
    home: Path, marker: str
) -> None:
    root = home / runtime("mlserver").folder_name()
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "python").touch()
    (root / ".overbook-complete").write_text(marker)
    with pytest.raises(RuntimeInstallError, match="not installed"):
        environment("mlserver")


def test_the_catalogue() -> None:
    mlserver = runtime("mlserver")
    assert mlserver.offers(()) == ("mlserver", "sklearn", "python")
    assert mlserver.extras_for(["fraud", "xgboost", "onnx"]) == {"xgboost", "onnx"}
    with pytest.raises(UnknownRuntime, match=r"'nope' is unknown; expected one of: mlserver"):
        runtime("nope")
    for known in RUNTIMES:
        assert known.plugin.is_dir()
        assert len(known.pinned()) == len(known.packages)
        for extra in known.extras:
            assert extra.lock.with_suffix(".in").is_file()
            locked = extra.lock.read_text()
            assert all(f"\n{name}==" in f"\n{locked}" for name in extra.packages)


def test_locks_of_one_runtime_fit_together() -> None:
    for known in RUNTIMES:
        pins: dict[str, set[str]] = {}
        for lock in known.locks(extra.name for extra in known.extras):
            found: dict[str, set[str]] = {}
            for line in lock.read_text().splitlines():
                assert "://" not in line, f"{lock}: no addresses"
                name, separator, rest = line.partition("==")
                if separator:
                    found.setdefault(name, set()).add(rest.rstrip(" \\"))
            for name, versions in found.items():
                assert pins.setdefault(name, versions) == versions, (lock, name)


_CHOOSES = """
if [ "$1 $2" = "pip compile" ]; then for last; do :; done; cat "$last" >&2; exit 0; fi
"""


def test_chosen_versions_make_another_environment_and_stay(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = f'echo "$@" >> "{tmp_path}/said"\n' + _CHOOSES + _WORKS
    fake_uv(tmp_path, monkeypatch, script.replace("printf 12345 >", "ln -s /bin/true"))
    pinned = install("mlserver", nobody)
    older = install("mlserver", nobody, packages=("scikit-learn==1.6.1",))
    assert older != pinned
    assert environment("mlserver").root == older
    assert "--require-hashes" not in (tmp_path / "said").read_text().splitlines()[-1]
    both = install("mlserver", nobody, extras=frozenset({"xgboost"}))
    assert both not in (older, pinned)
    assert (
        environment("mlserver").identity
        == Recipe(runtime("mlserver"), frozenset(), ("scikit-learn==1.6.1",)).folder_name
    )
    # The pin itself chooses nothing; one that is there is not made anew, and is the one in use.
    pin = runtime("mlserver").pins()["scikit-learn"]
    last = install("mlserver", nobody, packages=(f"scikit-learn=={pin}",))
    assert environment("mlserver").root == last
    (tmp_path / "said").unlink()
    assert install("mlserver", nobody, packages=("scikit-learn==1.6.1",)) == both
    assert environment("mlserver").root == both
    assert not (tmp_path / "said").exists()


def test_what_an_agent_holds_is_not_removed_even_while_no_process_runs_from_it(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_uv(tmp_path, monkeypatch, _WORKS)
    root = install("mlserver", nobody)
    with held(root), pytest.raises(RuntimeInstallError, match="in use by an agent: stop"):
        remove("mlserver")
    assert remove("mlserver") is True


def test_without_a_home_folder_it_is_said_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("OVERBOOK_RUNTIMES_DIR", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setattr(Path, "home", nowhere)
    with pytest.raises(RuntimeInstallError, match="set OVERBOOK_RUNTIMES_DIR to a folder, or HOME"):
        list_runtimes()
