"""From files to Triton's configuration, and one clear line when there is no way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from overbook.agent.servers.protocol import ModelRejected
from overbook.agent.servers.triton.backends import ANY, pip_offer
from overbook.agent.servers.triton.config import (
    describe,
    finalizes,
    publish,
    static_metadata,
    withdraw,
)
from overbook.agent.servers.triton.pbtxt import data_type_name, parse_config
from tests.unit.agent.servers.formats.writing import (
    INT32,
    STRING,
    add_sub,
    meta_graph,
    onnx_model,
    onnx_tensor,
    saved_model,
    signature,
    tensor_info,
)
from tests.unit.agent.servers.triton.artifacts import (
    ALL,
    TORCH_TENSORS,
    adder,
    config,
    linear,
    prepared,
)


def tensors(listed: Any) -> dict[str, tuple[str, list[int]]]:
    return {each.name: (data_type_name(each.data_type), list(each.dims)) for each in listed}


def refused(artifact: Path, words: str) -> None:
    with pytest.raises(ModelRejected, match=words) as caught:
        describe(prepared(artifact), ALL)
    assert "\n" not in str(caught.value)


def test_a_plain_onnx_file_gets_a_full_configuration(tmp_path: Path) -> None:
    linear(tmp_path / "resnet.onnx")
    made = describe(prepared(tmp_path), ALL)
    assert (made.name, made.backend, made.platform) == ("m", "onnxruntime", "onnxruntime_onnx")
    assert made.default_model_filename == "resnet.onnx"
    assert made.max_batch_size == 0
    assert tensors(made.input) == {"x": ("TYPE_FP32", [-1, 4])}
    assert tensors(made.output) == {"y": ("TYPE_FP32", [-1, 3])}
    assert made.version_policy.latest.num_versions == 1
    assert [group.count for group in made.instance_group] == [1]


def test_a_plain_saved_model_gets_a_full_configuration(tmp_path: Path) -> None:
    adder(tmp_path)
    made = describe(prepared(tmp_path), ALL)
    assert (made.backend, made.platform) == ("tensorflow", "tensorflow_savedmodel")
    assert made.default_model_filename == ""
    assert tensors(made.input) == {name: ("TYPE_INT32", [16]) for name in ("INPUT0", "INPUT1")}
    assert tensors(made.output) == {name: ("TYPE_INT32", [16]) for name in ("OUTPUT0", "OUTPUT1")}


def test_tensors_without_dimensions_are_written_as_one(tmp_path: Path) -> None:
    info = tensor_info("x", STRING, ())
    saved_model(tmp_path, meta_graph({"serving_default": signature({"x": info}, {"y": info})}))
    made = describe(prepared(tmp_path), ALL)
    assert tensors(made.input) == {"x": ("TYPE_STRING", [1])}
    assert not made.input[0].HasField("reshape")


def test_a_configuration_is_respected_and_completed(tmp_path: Path) -> None:
    linear(tmp_path / "3" / "model.onnx")
    config(
        tmp_path,
        'platform: "onnxruntime_onnx" max_batch_size: 8 dynamic_batching { } '
        'input [ { name: "x" } ] instance_group [ { count: 2 kind: KIND_GPU gpus: [ 0 ] } ] '
        'parameters { key: "intra_op_thread_count" value { string_value: "2" } } '
        "version_policy { specific { versions: [ 3 ] } }",
    )
    made = describe(prepared(tmp_path), ALL)
    assert made.max_batch_size == 8
    assert made.HasField("dynamic_batching")
    assert tensors(made.input) == {"x": ("TYPE_FP32", [4])}
    assert tensors(made.output) == {"y": ("TYPE_FP32", [3])}
    assert made.parameters["intra_op_thread_count"].string_value == "2"
    # What lies in folder 3 is published as version 1.
    assert made.version_policy.HasField("latest")
    (group,) = made.instance_group
    assert (group.count, group.Kind.Name(group.kind), list(group.gpus)) == (2, "KIND_CPU", [])


def test_dimensions_and_outputs_that_were_chosen_stay(tmp_path: Path) -> None:
    onnx_model(
        tmp_path / "model.onnx",
        [onnx_tensor("x", 1, (-1, 4))],
        [onnx_tensor("y", 1, (-1, 3)), onnx_tensor("z", 1, None)],
    )
    config(
        tmp_path,
        'input [ { name: "x" data_type: TYPE_FP32 dims: [ 2, 4 ] } ] output [ { name: "z" } ]',
    )
    made = describe(prepared(tmp_path), ALL)
    assert tensors(made.input) == {"x": ("TYPE_FP32", [2, 4])}
    assert tensors(made.output) == {"z": ("TYPE_FP32", [-1])}


def test_another_server_keeps_what_only_it_can_judge(tmp_path: Path) -> None:
    config(tmp_path, 'platform: "tensorrt_plan" instance_group [ { kind: KIND_GPU } ]')
    (tmp_path / "1").mkdir()
    made = describe(prepared(tmp_path), ANY)
    assert made.platform == "tensorrt_plan"
    assert made.backend == ""
    assert made.instance_group[0].Kind.Name(made.instance_group[0].kind) == "KIND_GPU"
    linear(tmp_path / "2" / "model.onnx", opset=99)
    (tmp_path / "config.pbtxt").unlink()
    assert not describe(prepared(tmp_path), ANY).instance_group


def test_the_only_signature_is_taken_and_the_backend_told(tmp_path: Path) -> None:
    saved_model(tmp_path, meta_graph({"mine": add_sub()}))
    made = describe(prepared(tmp_path), ALL)
    assert made.parameters["TF_SIGNATURE_DEF"].string_value == "mine"


def test_a_signature_and_a_tag_may_be_chosen(tmp_path: Path) -> None:
    info = tensor_info("x", INT32, (2,))
    other = meta_graph({"b": signature({"x": info}, {"y": info}), "a": add_sub()}, ("gpu",))
    saved_model(tmp_path / "1" / "model.savedmodel", meta_graph({"a": add_sub()}), other)
    config(
        tmp_path,
        'parameters { key: "TF_GRAPH_TAG" value { string_value: "gpu" } } '
        'parameters { key: "TF_SIGNATURE_DEF" value { string_value: "b" } }',
    )
    assert set(tensors(describe(prepared(tmp_path), ALL).input)) == {"x"}


def test_saved_models_without_a_signature_to_serve(tmp_path: Path) -> None:
    saved_model(tmp_path, meta_graph({}))
    refused(tmp_path, r"model m: its SavedModel has no signature; save it with .*signatures=")
    saved_model(tmp_path, meta_graph({"one": add_sub(), "two": add_sub()}))
    refused(
        tmp_path, r"signatures one, two and no serving_default; set parameters TF_SIGNATURE_DEF"
    )
    saved_model(tmp_path, meta_graph({"one": add_sub()}, ("train",)))
    refused(tmp_path, r"no graph with the tag 'serve'; found train")
    saved_model(tmp_path / "1", meta_graph({"one": add_sub()}))
    config(tmp_path, 'parameters { key: "TF_SIGNATURE_DEF" value { string_value: "two" } }')
    refused(tmp_path, r"TF_SIGNATURE_DEF is 'two', expected one of one")


def test_onnx_that_is_too_new(tmp_path: Path) -> None:
    linear(tmp_path / "model.onnx", opset=29)
    refused(tmp_path, r"model\.onnx: opset is 29, expected at most 28, .*ONNX Runtime 1\.32\.0")
    linear(tmp_path / "model.onnx", ir_version=15)
    refused(tmp_path, r"model\.onnx: ir_version is 15, expected at most 14")


def test_files_that_are_not_what_their_name_says(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_text("<!DOCTYPE html>")
    refused(tmp_path, r"model\.onnx cannot be read as an ONNX model: ")
    (tmp_path / "model.onnx").unlink()
    (tmp_path / "saved_model.pb").touch()
    refused(tmp_path, r"cannot be read as a SavedModel: the file is empty")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            'platform: "ensemble"',
            r"ensemble_scheduling: expected a model_name in each of its steps",
        ),
        ("ensemble_scheduling { step {} }", r"expected a model_name in each of its steps"),
        ('ensemble_scheduling { step { model_name: "m" } }', r"calls 'm' itself; expected others"),
        ('ensemble_scheduling { step { model_name: "a" } }', r"has to name its input and output"),
        (
            'backend: "python" ensemble_scheduling { step { model_name: "a" } }',
            r"is for 'python'; expected platform 'ensemble' and no backend",
        ),
        (
            'backend: "onnxruntime" platform: "libtorch"',
            r"platform is 'libtorch', which is for backend",
        ),
        ('input [ { name: "q" } ]', r"input is 'q', expected one of the model's own: x"),
        (
            'input [ { name: "x" data_type: TYPE_INT64 } ]',
            r"input x: data_type is TYPE_INT64, expected TYPE_FP32 as in the model",
        ),
        ('output [ { name: "q" } ]', r"output is 'q', expected one of the model's own: y"),
    ],
)
def test_configurations_that_disagree_with_the_model(tmp_path: Path, text: str, words: str) -> None:
    linear(tmp_path / "1" / "model.onnx")
    config(tmp_path, text)
    refused(tmp_path, words)


def test_an_input_that_was_forgotten_is_named(tmp_path: Path) -> None:
    adder(tmp_path / "1" / "model.savedmodel")
    config(tmp_path, 'input [ { name: "INPUT0" } ]')
    refused(tmp_path, r"input INPUT1 is missing")


def test_a_batch_needs_a_first_dimension_of_any_size(tmp_path: Path) -> None:
    linear(tmp_path / "1" / "model.onnx", batch=2)
    config(tmp_path, "max_batch_size: 4")
    refused(tmp_path, r"max_batch_size is 4, but input x has the shape \[2, 4\]")


def test_an_input_of_unknown_rank_must_be_written_out(tmp_path: Path) -> None:
    onnx_model(tmp_path / "model.onnx", [onnx_tensor("x", 1, None)], [onnx_tensor("y", 1, None)])
    refused(tmp_path, r"input x: the model does not say how many dimensions it has; write its dims")
    config(tmp_path, 'input [ { name: "x" dims: [ -1, -1 ] } ]')
    assert tensors(describe(prepared(tmp_path), ALL).input) == {"x": ("TYPE_FP32", [-1, -1])}


def test_types_that_nothing_here_carries(tmp_path: Path) -> None:
    onnx_model(tmp_path / "model.onnx", [onnx_tensor("x", 16, (1,))], [onnx_tensor("y", 14, (1,))])
    refused(tmp_path, r"output y: its element type 14")
    onnx_model(tmp_path / "model.onnx", [onnx_tensor("x", 16, (1,))], [onnx_tensor("y", 1, (1,))])
    refused(tmp_path, r"input x is TYPE_BF16")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", r"config\.pbtxt: input is missing; model\.pt does not tell"),
        (TORCH_TENSORS.replace("TYPE_FP32", "TYPE_INVALID"), r"input INPUT__0 has no data_type"),
        (TORCH_TENSORS.replace("dims: [ 4 ]", ""), r"input INPUT__0 has no dims"),
        (TORCH_TENSORS.replace('name: "OUTPUT__0"', ""), r"output \? has no name"),
    ],
)
def test_torchscript_needs_its_tensors_written_out(tmp_path: Path, text: str, words: str) -> None:
    config(tmp_path, text)
    (tmp_path / "model.pt").touch()
    refused(tmp_path, words)


def test_backends_that_are_not_there_come_with_the_command(tmp_path: Path) -> None:
    config(tmp_path, TORCH_TENSORS)
    (tmp_path / "model.pt").touch()
    with pytest.raises(
        ModelRejected,
        match=r"model m: backend pytorch is not installed; .*runtime install triton --with pytorch",
    ):
        describe(prepared(tmp_path), pip_offer(("onnx", "tensorflow")))


@pytest.mark.parametrize("text", ['platform: "tensorrt_plan"', 'backend: "dali"'])
def test_backends_that_only_nvidia_has(tmp_path: Path, text: str) -> None:
    (tmp_path / "1").mkdir()
    config(tmp_path, text)
    refused(
        tmp_path, r"is not in the Triton of this runtime, which has onnxruntime, python, .*address"
    )


def test_graphdef_is_one_of_them(tmp_path: Path) -> None:
    adder(tmp_path / "1" / "model.savedmodel")
    config(tmp_path, 'backend: "tensorflow" platform: "tensorflow_graphdef"')
    refused(tmp_path, r"platform tensorflow_graphdef is not in the Triton of this runtime")


def test_metadata_is_what_triton_would_say(tmp_path: Path) -> None:
    adder(tmp_path / "1" / "model.savedmodel", batch=True)
    config(tmp_path, "max_batch_size: 8")
    found = static_metadata(prepared(tmp_path), ALL)
    assert found["platform"] == "tensorflow_savedmodel"
    assert found["versions"] == ["1"]
    inputs = found["inputs"]
    assert inputs == [
        {"name": name, "datatype": "INT32", "shape": [-1, 16]} for name in ("INPUT0", "INPUT1")
    ]


def test_metadata_says_bytes_for_strings_and_python_where_there_is_no_platform(
    tmp_path: Path,
) -> None:
    text = TORCH_TENSORS.replace("TYPE_FP32", "TYPE_STRING")
    config(tmp_path, f'backend: "python" {text}')
    (tmp_path / "model.py").touch()
    found = static_metadata(prepared(tmp_path), ALL)
    assert found["platform"] == "python"
    assert found["outputs"] == [{"name": "OUTPUT__0", "datatype": "BYTES", "shape": [4]}]


def test_published_is_what_was_described(tmp_path: Path) -> None:
    repository = tmp_path / "models"
    adder(tmp_path / "artifact")
    model = prepared(tmp_path / "artifact")
    publish(model, repository, offer=ALL)
    written = (repository / "m" / "config.pbtxt").read_bytes()
    assert parse_config(written) == describe(model, ALL)
    link = repository / "m" / "1" / "model.savedmodel"
    assert link.resolve() == tmp_path / "artifact"
    assert sorted(path.name for path in (repository / "m").iterdir()) == ["1", "config.pbtxt"]
    withdraw("m", repository)
    withdraw("m", repository)
    assert list(repository.iterdir()) == []
    assert (tmp_path / "artifact" / "saved_model.pb").exists()


def test_a_repository_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    linear(tmp_path / "artifact" / "model.onnx")
    (tmp_path / "models").touch()
    with pytest.raises(ModelRejected, match="cannot write it into"):
        publish(prepared(tmp_path / "artifact"), tmp_path / "models", offer=ALL)


def test_code_that_has_something_to_do_at_its_end(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "model.py").write_text("class TritonPythonModel: ...")
    assert not finalizes(tmp_path)
    (tmp_path / "1" / "helper.py").mkdir()
    assert not finalizes(tmp_path), "a folder may be called so"
    (tmp_path / "1" / "model.py").write_text("def finalize(self): ...")
    assert finalizes(tmp_path)


def test_code_that_cannot_be_looked_through_may_have_something_to_do(tmp_path: Path) -> None:
    (tmp_path / "large.py").write_bytes(b" " * ((4 << 20) + 1))
    assert finalizes(tmp_path)


def test_whatever_name_the_file_says_the_models_own_counts(tmp_path: Path) -> None:
    linear(tmp_path / "1" / "model.onnx")
    config(tmp_path, 'name: "other"')
    assert describe(prepared(tmp_path), ALL).name == "m"


def test_the_manifests_parameters_go_before_those_of_the_file(tmp_path: Path) -> None:
    linear(tmp_path / "1" / "model.onnx")
    config(tmp_path, 'parameters { key: "a" value { string_value: "1" } }')
    given = replace(prepared(tmp_path), parameters=(("a", "2"), ("b", "")))
    parameters = describe(given, ALL).parameters
    assert {name: each.string_value for name, each in parameters.items()} == {"a": "2", "b": ""}
