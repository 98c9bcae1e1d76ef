"""Where a model's files are: Triton's own layout, a plain model, and what is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from overbook.agent.servers.protocol import ModelRejected
from overbook.agent.servers.triton.layout import Layout, find_layout
from tests.unit.agent.servers.triton.artifacts import adder, config, linear, prepared


def place(layout: Layout) -> tuple[str, str, str]:
    assert layout.backend is not None
    return layout.backend.name, layout.folder.name, layout.filename


@pytest.mark.parametrize("name", ["model.onnx", "resnet.onnx", "model.onnx/model.onnx"])
def test_a_plain_onnx_file_is_enough(tmp_path: Path, name: str) -> None:
    linear(tmp_path / name)
    (tmp_path / "README.md").touch()
    filename = name.partition("/")[0]
    assert place(find_layout(prepared(tmp_path))) == ("onnxruntime", tmp_path.name, filename)


@pytest.mark.parametrize("where", ["", "model.savedmodel", "exported"])
def test_a_saved_model_itself_or_one_inside_is_enough(tmp_path: Path, where: str) -> None:
    adder(tmp_path / where)
    assert place(find_layout(prepared(tmp_path))) == ("tensorflow", tmp_path.name, where)


def test_torchscript_beside_its_configuration(tmp_path: Path) -> None:
    config(tmp_path, 'backend: "pytorch"')
    (tmp_path / "model.pt").touch()
    assert place(find_layout(prepared(tmp_path))) == ("pytorch", tmp_path.name, "model.pt")


def test_the_newest_version_counts_unless_one_is_asked_for(tmp_path: Path) -> None:
    for version in ("2", "10", "009"):
        linear(tmp_path / version / "model.onnx")
    assert find_layout(prepared(tmp_path)).folder.name == "10"
    assert find_layout(prepared(tmp_path, version="9")).folder.name == "009"
    with pytest.raises(ModelRejected, match=r"artifactVersion is 3, .*; found 009/, 10/, 2/"):
        find_layout(prepared(tmp_path, version="3"))


def test_a_version_folder_may_be_a_saved_model_as_tensorflow_serving_has_it(tmp_path: Path) -> None:
    adder(tmp_path / "7")
    assert place(find_layout(prepared(tmp_path))) == ("tensorflow", "7", "")


def test_the_versions_that_a_configuration_names_count(tmp_path: Path) -> None:
    config(tmp_path, "version_policy { specific { versions: [ 1 ] } }")
    linear(tmp_path / "1" / "model.onnx")
    linear(tmp_path / "2" / "model.onnx")
    assert find_layout(prepared(tmp_path)).folder.name == "1"
    config(tmp_path, "version_policy { specific { versions: [ 3 ] } }")
    with pytest.raises(ModelRejected, match=r"version_policy names 3, .* no such folder; found 1/"):
        find_layout(prepared(tmp_path))


def test_what_lies_beside_the_versions_belongs_to_all(tmp_path: Path) -> None:
    config(tmp_path, 'platform: "onnxruntime_onnx"')
    linear(tmp_path / "1" / "model.onnx")
    (tmp_path / "labels.txt").touch()
    (tmp_path / "warmup").mkdir()
    assert [path.name for path in find_layout(prepared(tmp_path)).beside] == [
        "labels.txt",
        "warmup",
    ]


def test_beside_a_model_without_version_folders_is_everything_else(tmp_path: Path) -> None:
    config(tmp_path, 'platform: "onnxruntime_onnx"')
    linear(tmp_path / "model.onnx")
    (tmp_path / "labels.txt").touch()
    assert [path.name for path in find_layout(prepared(tmp_path)).beside] == ["labels.txt"]


@pytest.mark.parametrize(
    ("text", "backend"),
    [
        ('backend: "onnxruntime"', "onnxruntime"),
        ('platform: "onnxruntime_onnx"', "onnxruntime"),
        ('platform: "tensorflow_savedmodel"', "tensorflow"),
        ('backend: "python"', "python"),
    ],
)
def test_the_configuration_says_which_of_several_files(
    tmp_path: Path, text: str, backend: str
) -> None:
    config(tmp_path, text)
    linear(tmp_path / "1" / "model.onnx")
    adder(tmp_path / "1" / "model.savedmodel")
    (tmp_path / "1" / "model.py").touch()
    assert place(find_layout(prepared(tmp_path)))[0] == backend


def test_else_the_requirements_say_it_and_else_nobody_guesses(tmp_path: Path) -> None:
    linear(tmp_path / "1" / "model.onnx")
    adder(tmp_path / "1" / "model.savedmodel")
    model = prepared(tmp_path, requirements=("triton", "tensorflow"))
    assert place(find_layout(model))[0] == "tensorflow"
    with pytest.raises(ModelRejected, match="could be onnx, tensorflow; say which"):
        find_layout(prepared(tmp_path))


def test_the_default_filename_must_be_there(tmp_path: Path) -> None:
    config(tmp_path, 'backend: "onnxruntime" default_model_filename: "big.onnx"')
    linear(tmp_path / "1" / "model.onnx")
    with pytest.raises(ModelRejected, match=r"expected big\.onnx in a version folder"):
        find_layout(prepared(tmp_path))
    linear(tmp_path / "1" / "big.onnx")
    assert find_layout(prepared(tmp_path)).filename == "big.onnx"


def test_a_missing_version_folder_is_named(tmp_path: Path) -> None:
    config(tmp_path, 'backend: "onnxruntime"')
    with pytest.raises(
        ModelRejected,
        match=r"expected model\.onnx in a version folder such as 1, found config\.pbtxt",
    ):
        find_layout(prepared(tmp_path))
    with pytest.raises(ModelRejected, match="does not exist"):
        find_layout(prepared(tmp_path / "nowhere"))


def test_an_empty_version_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "2").mkdir()
    with pytest.raises(
        ModelRejected, match=r"expected one of model\.onnx, .* folder 2, found nothing"
    ):
        find_layout(prepared(tmp_path, version="2"))


def test_a_backend_that_is_not_ours_is_taken_as_it_is(tmp_path: Path) -> None:
    config(tmp_path, 'platform: "tensorrt_plan"')
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "model.plan").touch()
    found = find_layout(prepared(tmp_path))
    assert found.backend is None
    assert found.folder == tmp_path / "1"


def test_a_configuration_that_does_not_parse_is_named_with_its_line(tmp_path: Path) -> None:
    config(tmp_path, 'name: "m"\nmax_batch_size: many')
    with pytest.raises(ModelRejected, match=r"model m: config\.pbtxt: line 2, column 17"):
        find_layout(prepared(tmp_path))
