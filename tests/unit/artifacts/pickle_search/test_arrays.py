"""Arrays are plain where their type is one that is known to be; NumPy unpickles more than it writes."""

from __future__ import annotations

import contextlib
import io
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import DTypeLike

from overbook.artifacts.pickle_search.arrays import holds_objects

_REST = b", 'fortran_order': False, 'shape': (1,)}"


def npy(header: bytes, version: int = 2) -> bytes:
    header += b"   \n"
    length = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes((version, 0)) + length + header


OBJECTS = {
    "a dict": b"{'descr': {('f','|O'): 1}" + _REST,
    "a set": b"{'descr': {('f','|O')}" + _REST,
    "a pair of letters": b"{'descr': ['aO']" + _REST,
    "a field that is a list": b"{'descr': [['f', '|O']]" + _REST,
    "an escape": b"{'descr': '|\\x4f'" + _REST,
    "another escape": b"{'descr': '\\117'" + _REST,
    "a word": b"{'descr': 'object'" + _REST,
    "an escape and a length of Python 2": b"{'descr': '|\\x4f', 'fortran_order': False, 'shape': (1L,)}",
    "many blanks": b"{" + b" " * 70_000 + b"'descr': '|O'" + _REST,
    "many blanks and an escape": b"{" + b" " * 12_000 + b"'descr': '|\\x4f'" + _REST,
    "many blanks and a word": b"{" + b" " * 12_000 + b"'descr': 'object'" + _REST,
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("header", OBJECTS.values(), ids=OBJECTS)
def test_headers_behind_which_numpy_unpickles(tmp_path: Path, header: bytes) -> None:
    made = tmp_path / "made"
    data = npy(header) + b"\x80\x02cposix\nmkdir\n(S'%s'\ntR." % str(made).encode()
    (tmp_path / "a.npy").write_bytes(data)
    # What was unpickled is no array.
    with contextlib.suppress(Exception):
        np.load(tmp_path / "a.npy", allow_pickle=True)
    assert made.exists()
    assert holds_objects(data[: 64 << 10])


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': ('<f4', 'O')" + _REST,
        b"{'descr': [('a', '<f4', 'O')]" + _REST,
        b"{'descr': None" + _REST,
        b"{'descr': 'T'" + _REST,
        b"['descr']",
        b"{'descr': " + b"-" * 5000 + b"1" + _REST,
        b"{'descr': " + b"(" * 5000,
        b"",
        b"\xff",
    ],
)
@pytest.mark.parametrize("version", [1, 2, 3])
def test_headers_that_nobody_can_tell(header: bytes, version: int) -> None:
    assert holds_objects(npy(header, version))


def test_versions_that_nobody_knows() -> None:
    assert not holds_objects(npy(b"{'descr': '<f4'" + _REST))
    assert holds_objects(npy(b"{'descr': '<f4'" + _REST, 4))
    assert holds_objects(b"\x93NUMPY")


@pytest.mark.filterwarnings("ignore:Stored array in format")
@pytest.mark.parametrize(
    "dtype",
    [
        *("?", "i1", ">i8", "<u2", "<f2", ">f4", "f8", "c8", "c16", "S5", "U3", "V8"),
        *("<M8[ns]", "<M8[25us]", ">m8[D]", "M8", "m8[generic]"),
        [("O", "<f4"), ("object", "<i8", (2, 3)), (("title", "n"), "U3"), ("m", "f8", 2)],
        [("ä", "f4"), ("漢", [("b", "f4"), ("c", "S3")])],
        {"names": ["a", "b"], "formats": ["f4", "i1"], "offsets": [4, 9], "itemsize": 16},
        [(f"column {number}", "<f8") for number in range(200)],
    ],
    ids=str,
)
def test_arrays_that_numpy_writes_without_pickles(dtype: DTypeLike) -> None:
    written = io.BytesIO()
    np.save(written, np.zeros(3, dtype), allow_pickle=False)
    assert not holds_objects(written.getvalue())


def test_arrays_that_numpy_wrote_with_python_2() -> None:
    assert not holds_objects(
        npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (10L, 2L), }", 1)
    )


_LEAVES = st.sampled_from(
    ["|O", "O", "<f4", "object", "f4,O", "2O", "(2,)O", "aO", "V8", "<M8[ns]", "f", "", "names", 2]
)
_DESCRIBED = st.recursive(
    _LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.tuples(inner, inner, inner)
        | st.lists(st.tuples(st.sampled_from("abc"), inner), max_size=3)
        | st.dictionaries(st.sampled_from("abc"), inner, max_size=2)
        | st.lists(st.tuples(st.sampled_from("abc"), _LEAVES), max_size=2).map(frozenset)
    ),
    max_leaves=6,
)
_EDITS = st.sampled_from(
    [("", ""), ("frozenset", ""), ("'O'", "'\\x4f'"), ("1", "1L"), (" ", "\n")]
)


@pytest.mark.filterwarnings("ignore")
@given(_DESCRIBED, _EDITS)
def test_whatever_numpy_takes_for_objects_counts(described: object, edit: tuple[str, str]) -> None:
    header = f"{{'descr': {described!r}, 'fortran_order': False, 'shape': (1,)}}".replace(*edit)
    data = npy(header.encode())
    read = io.BytesIO(data[8:])
    try:
        _, _, dtype = np.lib.format.read_array_header_2_0(read)
    except Exception:
        return
    assert holds_objects(data) or not dtype.hasobject
