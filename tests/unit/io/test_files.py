import hashlib
import json
import math
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from napari_rvae.errors import InputError, ReadError
from napari_rvae.io import check_writable, read_json, sha256_of, write_atomic, write_json
from napari_rvae.io.files import _plain


def test_write_atomic_writes_bytes_and_functions(tmp_path):
    path = write_atomic(tmp_path / "a.bin", b"one")
    assert path.read_bytes() == b"one"
    write_atomic(str(path), lambda file: file.write(b"two"))
    assert path.read_bytes() == b"two"
    assert [item.name for item in tmp_path.iterdir()] == ["a.bin"]


@pytest.mark.parametrize("stage", ["content", "replace", "fsync"])
def test_failed_write_leaves_the_old_file_and_no_rest(tmp_path, monkeypatch, stage):
    path = write_atomic(tmp_path / "a.bin", b"old")

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    if stage != "content":
        monkeypatch.setattr(os, stage, fail)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, fail if stage == "content" else b"new")
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["a.bin"]


@pytest.mark.skipif(os.name != "posix", reason="rights as POSIX has them")
def test_written_files_have_the_usual_rights(tmp_path):
    usual = tmp_path / "usual"
    usual.write_bytes(b"")
    path = write_atomic(tmp_path / "a.bin", b"")
    assert path.stat().st_mode == usual.stat().st_mode


def test_json_round_trip_of_numpy_and_nan(tmp_path):
    obj = {"a": np.float32(0.5), "b": np.arange(3), "c": (1, math.nan), "d": math.inf, "é": None}
    path = write_json(tmp_path / "a.json", obj)
    expected = {"a": 0.5, "b": [0, 1, 2], "c": [1, None], "d": None, "é": None}
    assert read_json(path) == expected


_leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()


@given(
    st.recursive(
        _leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=20,
    )
)
def test_plain_json_values_stay(value):
    def finite(item):
        if isinstance(item, dict):
            return {k: finite(v) for k, v in item.items()}
        if isinstance(item, list):
            return [finite(v) for v in item]
        return None if isinstance(item, float) and math.isinf(item) else item

    assert json.loads(json.dumps(_plain(value))) == finite(value)


@given(npst.arrays(np.float64, npst.array_shapes(max_dims=2, max_side=4)))
def test_arrays_become_json_without_nan(array):
    json.dumps(_plain(array), allow_nan=False)


def test_odd_text_survives(tmp_path):
    text = "a\ud800 \x00 \u2028 \U0001f600"
    assert read_json(write_json(tmp_path / "a.json", {text: text})) == {text: text}


@pytest.mark.parametrize("bad", [{1: 2}, {"a": object()}, {"a": {1, 2}}, b"bytes"])
def test_what_json_cannot_hold_is_an_input_error(tmp_path, bad):
    with pytest.raises(InputError, match="JSON cannot hold"):
        write_json(tmp_path / "a.json", bad)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'{"a": 1, "a": 2}', "'a' is there twice"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b'{"a": 1', "delimiter"),
        (b"", "Expecting value"),
        (b"\xff\xfe\xff", "decode"),
        (b"[" * 200_000, "recursion"),
        (b"1" * 5000, "digits"),
    ],
)
def test_bad_json_is_one_line(tmp_path, one_line, text, reason):
    path = tmp_path / "a.json"
    path.write_bytes(text)
    with pytest.raises(ReadError, match=reason) as caught:
        read_json(path)
    one_line(caught, "a.json")


def test_json_size_is_capped(tmp_path, one_line):
    path = tmp_path / "a.json"
    path.write_bytes(b" " * 101)
    with pytest.raises(ReadError, match="larger than 100 bytes") as caught:
        read_json(path, max_bytes=100)
    one_line(caught, "a.json")


def test_missing_json_and_folders_are_one_line(tmp_path, one_line):
    with pytest.raises(ReadError, match="not there") as caught:
        read_json(tmp_path / "none.json")
    one_line(caught, "none.json")
    with pytest.raises(ReadError, match="cannot be read") as caught:
        read_json(tmp_path)
    one_line(caught, str(tmp_path))


@given(content=st.binary(max_size=200))
def test_sha256_is_the_standard_one(tmp_path_factory, content):
    path = write_atomic(tmp_path_factory.getbasetemp() / "hashed", content)
    assert sha256_of(path) == hashlib.sha256(content).hexdigest()


def test_a_folder_is_tried_before_long_work_and_left_as_it_was(tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    check_writable(tmp_path / "there")
    check_writable(tmp_path / "not" / "yet")
    assert [item.name for item in tmp_path.rglob("*")] == ["there"]
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        check_writable(tmp_path / "file" / "run")

    def refuse(*_arguments, **_options):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(InputError, match=r"run cannot be written \(Read-only file system\)"):
        check_writable(tmp_path / "not" / "run")
    assert not (tmp_path / "not").exists()
