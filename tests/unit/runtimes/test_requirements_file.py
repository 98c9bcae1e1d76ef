"""Requirements files mean the same wherever their lines stand; what cannot be is refused by file and line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from overbook.runtimes.recipe import UnusableRequirement
from overbook.runtimes.requirements_file import content, files_behind, read

WHEEL = "mine-1.0-py3-none-any.whl"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / WHEEL).write_bytes(b"one")
    return tmp_path / "requirements.txt"


def key(file: Path) -> bytes:
    return content(read(file), lambda: None)


def test_lines_names_and_sources(file: Path) -> None:
    file.write_text(
        "\ufeff# all that there is\n"
        "--index-url=https://x/simple  # not PyPI\n-f wheels\n--find-links https://x/all\n--no-index\n"
        'Scikit_Learn[a]==1.6 ; python_version > "3" \\\n    --hash=sha256:00\n'
        f"./wheels/{WHEEL} --hash=sha256:01\n"
        "torch @ https://x/torch-1-py3-none-any.whl\n"
        "https://x/onnx-1%2Bcpu-py3-none-any.whl#sha256=02\n"
        "--pre\n"
    )
    found = read(file)
    folder = file.parent
    assert found.sources == [
        "--index-url https://x/simple",
        f"-f {folder}/wheels",
        "--find-links https://x/all",
        "--no-index",
    ]
    assert found.lines == [
        'Scikit_Learn[a]==1.6 ; python_version > "3"      --hash=sha256:00',
        f"{folder}/wheels/{WHEEL} --hash=sha256:01",
        "torch @ https://x/torch-1-py3-none-any.whl",
        "https://x/onnx-1%2Bcpu-py3-none-any.whl#sha256=02",
        "--pre",
    ]
    assert found.names == {"scikit-learn", "mine", "torch", "onnx"}
    assert found.archives == [folder / "wheels" / WHEEL]


def test_paths_start_at_the_file_that_names_them(file: Path) -> None:
    (file.parent / "sub").mkdir()
    (file.parent / "sub" / "more.txt").write_text(f"mine @ ../wheels/{WHEEL}\n-c least.txt\n")
    (file.parent / "sub" / "least.txt").write_text("numpy<3\n")
    file.write_text("-r sub/more.txt\nsix\n")
    found = read(file)
    assert found.lines == [f"mine @ {file.parent}/wheels/{WHEEL}", "six"]
    assert found.constraints == ["numpy<3"]
    assert found.names == {"mine", "six"}
    assert files_behind(file) == (
        file,
        file.parent / "sub" / "more.txt",
        file.parent / "sub" / "least.txt",
        file.parent / "wheels" / WHEEL,
    )


def test_everything_that_it_is_made_of_counts(file: Path) -> None:
    more = file.parent / "more.txt"
    file.write_text(f"-r more.txt\n./wheels/{WHEEL}\n")
    more.write_text("six==1\n")
    keys = {key(file)}
    file.write_text(f"# a comment\n-r more.txt\n./wheels/{WHEEL}\n")
    assert keys == {key(file)}
    more.write_text("six==2\n")
    keys.add(key(file))
    (file.parent / "wheels" / WHEEL).write_bytes(b"another")
    keys.add(key(file))
    file.write_text(f"-c more.txt\n./wheels/{WHEEL}\n")
    keys.add(key(file))
    assert len(keys) == 4


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"six\nGr\xfc\xdfe", ", line 2: this is not UTF-8; save the file as UTF-8"),
        (b"\x00\x01", ", line 1: this is not text; expected requirements as pip reads them"),
        (b"# " + b"x" * (1 << 20), " is too long; expected requirements files of 1 MiB together"),
        (b"six\n\n-e .\n", ", line 3: '-e .' asks for code that may change later; make a wheel"),
        (b"--editable=x", ", line 1: '--editable=x' asks for code"),
        (b"six\n-r https://x/r.txt", ", line 2: 'https://x/r.txt' is not on this machine"),
        (b"two words", ", line 1: 'two words' is not a requirement; expected NAME and versions"),
        (b"x" * 200, ""),
        (b"=" * 200, f"{'=' * 76!r}... is not a requirement"),
        (b"--", ", line 1: '--' is neither an option nor a requirement"),
        (b"./gone-1-py3-none-any.whl", "/gone-1-py3-none-any.whl does not exist; expected a wheel"),
        (b"./odd.whl", ", line 1: './odd.whl' does not have a wheel's name"),
        (b"-r gone.txt", "/gone.txt cannot be read: No such file or directory"),
        (b"-r requirements.txt", " is one of more than 32 requirements files"),
        (b"-r /dev/zero", "/dev/zero is not a file"),
    ],
)
def test_what_is_refused(file: Path, text: bytes, told: str) -> None:
    file.write_bytes(text)
    if not told:
        assert read(file).lines
        return
    with pytest.raises(UnusableRequirement) as error:
        read(file)
    assert told in str(error.value)
    assert len(str(error.value)) < 600
    if "/dev/zero" not in told:
        assert str(error.value).startswith(str(file.parent))
    assert files_behind(file)[0] == file


def test_what_is_wrong_in_an_included_file_is_told_by_its_own_line(file: Path) -> None:
    (file.parent / "more.txt").write_text("six\n-e .\n")
    file.write_text("-r more.txt\n")
    with pytest.raises(UnusableRequirement) as error:
        read(file)
    assert str(error.value).startswith(f"{file.parent}/more.txt, line 2: '-e .'")


def test_a_pipe_is_not_waited_for(file: Path) -> None:
    os.mkfifo(file)
    with pytest.raises(UnusableRequirement, match="is not a file"):
        read(file)
