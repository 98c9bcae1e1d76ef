"""Pickles are found by content, whatever they are named and packed in, and nothing else is taken for one."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import cloudpickle  # type: ignore[import-untyped]
import joblib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from overbook.artifacts.errors import ArtifactError, SourceError, Trouble
from overbook.artifacts.pickled import MOST, pickles_in, refuse_pickles
from tests.unit.artifacts.hostile import member, tar, zip_of

MODEL = LogisticRegression().fit([[0.0], [1.0]], [0, 1])


class Harm:
    """Unpickled, it would make a folder."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, ("harm",)


def found_in(folder: Path, content: bytes, name: str = "model.onnx") -> bool:
    (folder / name).write_bytes(content)
    found = pickles_in(folder)
    assert found in ([], [name])
    return bool(found)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "value",
    [
        MODEL,
        Harm(),
        {"weights": [1.0, 2.0]},
        [1, 2],
        None,
        "text" * 30_000,
        list(range(30_000)),
        os.system,
    ],
    ids=["sklearn", "harm", "dict", "list", "none", "text", "numbers", "function"],
)
def test_pickles_of_every_protocol(tmp_path: Path, protocol: int, value: object) -> None:
    data = pickle.dumps(value, protocol)
    assert found_in(tmp_path, data)
    # Without the number that says which it is.
    if protocol >= 2:
        assert found_in(tmp_path, data[2:])


@pytest.mark.parametrize(
    "program",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"cos\nsystem\n(S'true'\ntRthen something that is no pickle any more",
        b"(S'true'\nios\nsystem\n.",
        b"(cos\nsystem\nS'true'\no.",
        b"cos\nsystem\np0\n0g0\n(S'true'\ntR",
        # What is looked up does it, by a method of its own.
        b"csys\npath\nV/tmp\na",
        b"cos\nenviron\nVLD_PRELOAD\nV/tmp/evil.so\ns",
        b"cos\nenviron\n}Vpath\nVevil\nsb",
        # Padded with what does nothing, beyond any head that one might look at.
        b"N0" * 40_000 + b"cos\nsystem\n(S'true'\ntR.",
        b"V" + b"x" * 200_000 + b"\n0cos\nsystem\n(S'true'\ntR.",
        b"N0" * 400_000 + b"cos\nsystem\n(S'true'\ntR.",
        # The first says nothing, the second does.
        b"I1\n.cos\nsystem\n(S'true'\ntR.",
        b"\x80\x04\x93garbage"[:2] + b"cos\nsystem\ngarbage",
        b"\x80\x05\x8c\x02os\x8c\x06system\x93 garbage",
        b"X\x02\0\0\0osX\x06\0\0\0system\x93(S'true'\ntR",
    ],
)
def test_programs_that_nobody_pickled(tmp_path: Path, program: bytes) -> None:
    assert found_in(tmp_path, program)


@pytest.mark.parametrize("compress", [0, "zlib", "gzip", "bz2", "xz", "lzma"])
@pytest.mark.parametrize("arrays", [False, True])
def test_joblib(tmp_path: Path, compress: object, arrays: bool) -> None:
    value = {"w": np.arange(50_000)} if arrays else MODEL
    joblib.dump(value, tmp_path / "model.txt", compress=(compress, 3) if compress else 0)
    assert pickles_in(tmp_path) == ["model.txt"]


def test_joblib_that_nothing_here_unpacks(tmp_path: Path) -> None:
    assert found_in(tmp_path, b"\x04\x22\x4d\x18" + os.urandom(100))
    assert found_in(tmp_path, b"ZF0x10                 " + zlib.compress(b"x"))
    # A dictionary of 1 GiB.
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20}]
    data = bytearray(lzma.compress(pickle.dumps(MODEL), filters=filters))
    alone = bytearray(lzma.compress(pickle.dumps(MODEL), lzma.FORMAT_ALONE))
    struct.pack_into("<I", alone, 1, 1 << 30)
    assert found_in(tmp_path, bytes(alone))
    assert found_in(tmp_path, bytes(data))


def torch_zip(path: Path) -> Path:
    """As torch.save has written them since 1.6."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as packed:
        packed.writestr("archive/data.pkl", pickle.dumps({"weight": Harm()}, 2))
        packed.writestr("archive/byteorder", "little")
        packed.writestr("archive/data/0", os.urandom(400))
        packed.writestr("archive/version", "3\n")
    return path


def test_torch(tmp_path: Path) -> None:
    torch_zip(tmp_path / "model.safetensors")
    assert pickles_in(tmp_path) == ["model.safetensors"]
    magic, version = 0x1950A86A20F9469CFC6C, 1001
    former = b"".join(pickle.dumps(each, 2) for each in (magic, version, {"little_endian": True}))
    assert found_in(
        tmp_path, former + pickle.dumps(MODEL, 2) + os.urandom(999), "model.safetensors"
    )
    # The magic number alone: what follows it may come from anywhere.
    assert found_in(tmp_path, pickle.dumps(magic, 2) + os.urandom(999), "model.safetensors")


def npy(array: object, *, allow_pickle: bool = True) -> bytes:
    written = io.BytesIO()
    np.save(written, array, allow_pickle=allow_pickle)  # type: ignore[arg-type]
    return written.getvalue()


RECORDS = np.zeros(3, [("O", "<f4"), ("object", "<i8", (2,)), (("title", "n"), "U3")])


def test_arrays_of_objects(tmp_path: Path) -> None:
    objects = np.array([MODEL, None], dtype=object)
    assert found_in(tmp_path, npy(objects))
    assert found_in(tmp_path, npy(np.zeros(2, [("a", "f4"), ("b", [("c", "O")])])))
    for harmless in (np.arange(1000), np.array(["OO", "O"]), RECORDS, np.zeros((), "<M8[ns]")):
        assert not found_in(tmp_path, npy(harmless, allow_pickle=False))
    # As NumPy would not write it, and reads it all the same.
    for evil in (b"'object'", b"'f4,O'", b"'O8'", b"[('a', '(2,)O')]", b"{'names'O"):
        header = b"{'descr': " + evil + b", 'fortran_order': False, 'shape': (1,), }\n"
        data = b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header
        assert found_in(tmp_path, data + pickle.dumps(MODEL))
    (tmp_path / "model.onnx").unlink()
    np.savez(tmp_path / "a.npz", x=np.arange(3), y=objects)
    np.savez_compressed(tmp_path / "b.npz", x=np.arange(3), y=objects)
    np.savez_compressed(tmp_path / "c.npz", x=np.arange(3), y=np.zeros(9))
    assert pickles_in(tmp_path) == ["a.npz", "b.npz"]


def test_what_is_within(tmp_path: Path) -> None:
    data = pickle.dumps(MODEL)
    inner = zip_of(tmp_path / "inner", [("readme", b"x"), ("deep/weights.bin", data)]).read_bytes()
    (tmp_path / "inner").unlink()
    tar(tmp_path / "a.tar", [member("x", bytes(70_000)), member("y", data)])
    tar(tmp_path / "b.bin", [member("x", bytes(70_000)), member("y", inner)], "w:gz")
    zip_of(tmp_path / "c.keras", [("config.json", b"{}"), ("d", inner)])
    (tmp_path / "d").write_bytes(bz2.compress(gzip.compress(data)))
    (tmp_path / "e").write_bytes(b"#!/bin/sh\nexit\n" + inner)
    for number, packed in enumerate((gzip, bz2, lzma)):
        (tmp_path / f"f{number}").write_bytes(packed.compress(npy(np.array([None]))))
    assert pickles_in(tmp_path) == ["a.tar", "b.bin", "c.keras", "d", "e", "f0", "f1", "f2"]


def test_folders_of_mlflow(tmp_path: Path) -> None:
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "MLmodel").write_text(
        "flavors:\n  python_function:\n    python_model: python_model.pkl\n"
    )
    (tmp_path / "conda.yaml").write_text("channels:\n- conda-forge\ndependencies:\n- python=3.11\n")
    (tmp_path / "python_model.pkl").write_bytes(cloudpickle.dumps(lambda rows: rows))
    (tmp_path / "artifacts" / "state").write_bytes(pickle.dumps({"a": 1}))
    assert pickles_in(tmp_path) == ["artifacts/state", "python_model.pkl"]


def test_archives_that_cannot_be_looked_through(tmp_path: Path) -> None:
    deep = b"nothing"
    for number in range(6):
        deep = zip_of(tmp_path / "deep", [(str(number), deep)]).read_bytes()
    locked = bytearray(zip_of(tmp_path / "locked", [("x", b"x")]).read_bytes())
    locked[locked.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "locked").write_bytes(locked)
    (tmp_path / "cut.gz").write_bytes(gzip.compress(os.urandom(9000))[:4000])
    (tmp_path / "broken").write_bytes(
        zip_of(tmp_path / "broken", [("x", b"x" * 99)]).read_bytes()[:-30]
    )
    with zipfile.ZipFile(tmp_path / "method", "w", zipfile.ZIP_LZMA) as packed:
        packed.writestr("x", b"x" * 99)
    assert pickles_in(tmp_path) == ["broken", "cut.gz", "deep", "locked", "method"]


def test_a_bomb_is_no_reason_to_unpack_it(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("zeros", bytes(64 << 20))
    (tmp_path / "zeros.gz").write_bytes(gzip.compress(bytes(64 << 20), 1))
    assert pickles_in(tmp_path) == []


TEXTS = [
    "",
    ".",
    "N.B. this is a text",
    "cat\ndog\nbird\n",
    "cat\ndog\nVan\nSet\n",
    "car\nbus\nplane\nboat\n",
    "Vienna\nVenice\nbudapest\n",
    "Paris\nVienna\nbudapest\n.",
    "I have a dream\n",
    "I1\nI2\nI3\n",
    "Foo\nBar\n",
    "class Model:\n    pass\n",
    "channels:\n- defaults\ndependencies:\n- python\n",
    "(i.e. something\nelse)\n",
    "]\n)\n}\n",
    "tree\nversion=v4\nnum_class=1\n",
    'name: "iris"\nplatform: "onnxruntime_onnx"\n',
    "MIT License\n\nCopyright (c)\n",
    "Copyright 2020\n",
    "x^2 + 1",
    "BM" + "\0" * 60,
    "[PAD]\n[UNK]\n",
    "<xml/>",
    "#version: 0.2\nĠ t\n",
    json.dumps({"model": {"type": "BPE"}}),
]


@pytest.mark.parametrize("text", TEXTS)
def test_texts(tmp_path: Path, text: str) -> None:
    assert not found_in(tmp_path, text.encode())
    assert not found_in(tmp_path, text.encode() * 50)


def test_tables_whose_lines_look_like_texts_of_a_pickle(tmp_path: Path) -> None:
    assert not found_in(tmp_path, b"".join(b"Patient%d,1.5,2\n" % n for n in range(150_000)))
    assert not found_in(tmp_path, b"".join(b"Vorname%d\n" % n for n in range(20_000)) + b"Zuname\n")


def test_bytes_of_other_formats(tmp_path: Path) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    for name, content in {
        "model.safetensors": struct.pack("<Q", len(header)) + header + bytes(8),
        "model.onnx": b"\x08\x07\x12\x07pytorch:\x88\x01",
        "model.ubj": b"{L\0\0\0\0\0\0\0\x07learner{",
        "model.cbm": b"CBM1" + struct.pack("<I", 9000) + os.urandom(9000),
        "model.h5": b"\x89HDF\r\n\x1a\n" + bytes(900),
        "image.png": b"\x89PNG\r\n\x1a\n" + bytes(900),
        "image.jpg": b"\xff\xd8\xff\xe0\0\x10JFIF",
        "image.gif": b"GIF89a" + bytes(90),
        "zeros.bin": bytes(1 << 20),
        "floats.bin": np.linspace(0, 1, 9000, dtype=np.float32).tobytes(),
        "words.txt.gz": gzip.compress(b"some words\n" * 9000),
        "cut.gz": gzip.compress(os.urandom(9000))[:10],
        "magic.bin": b"\x78\x9c and no zlib",
    }.items():
        (tmp_path / name).write_bytes(content)
    assert pickles_in(tmp_path) == []


def test_random_bytes(tmp_path: Path) -> None:
    """Of any beginning; of what begins with a pickle's number, some are one."""
    chance = random.Random(7)
    found = []
    for first in range(256):
        found.append(found_in(tmp_path, bytes([first]) + chance.randbytes(3000)))
    assert sum(found) == 0
    numbered = [found_in(tmp_path, b"\x80\x04" + chance.randbytes(3000)) for _ in range(300)]
    assert sum(numbered) < 9


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=30), max_size=20))
def test_no_text_has_a_call(lines: list[str]) -> None:
    from overbook.artifacts.pickle_search.programs import is_pickle
    from overbook.artifacts.pickle_search.streams import Budget, Stream

    data = "\n".join(["A title", *lines]).encode()
    assert not is_pickle(Stream(io.BytesIO(data), Budget(1 << 20, lambda: None), len(data)))


def test_the_refusal_names_them(tmp_path: Path) -> None:
    refuse_pickles(tmp_path)
    for number in range(2):
        (tmp_path / f"{number}.pkl").write_bytes(pickle.dumps(MODEL))
    with pytest.raises(SourceError) as raised:
        refuse_pickles(tmp_path)
    assert raised.value.trouble is Trouble.REFUSED
    assert "pickles are code, and denyPickle refuses them: '0.pkl', '1.pkl'; save" in str(
        raised.value
    )
    assert "whatever cannot be looked through to its end counts as a pickle" in str(raised.value)
    for number in range(2, MOST + 5):
        (tmp_path / f"{number}.pkl").write_bytes(pickle.dumps(MODEL))
    with pytest.raises(SourceError, match=r"and at least 17 more; save"):
        refuse_pickles(tmp_path)
    assert len(pickles_in(tmp_path)) == MOST


def test_a_search_can_be_stopped(tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def stop() -> None:
        raise Stopped

    (tmp_path / "x").write_bytes(b"x")
    with pytest.raises(Stopped):
        pickles_in(tmp_path, stop)


def test_links_are_not_followed_and_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "x").symlink_to("/dev/zero")
    assert pickles_in(tmp_path) == []
    with pytest.raises(ArtifactError, match="cannot be searched for pickles"):
        pickles_in(tmp_path / "nothing")
