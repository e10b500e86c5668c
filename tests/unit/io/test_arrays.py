import builtins
import json
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from napari_rvae.errors import InputError, ReadError
from napari_rvae.io import read_frames
from napari_rvae.io.arrays import _refuse_pickle


class _Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code ran')",))


def test_npy_is_mapped_not_read(tmp_path, movie):
    np.save(tmp_path / "a.npy", movie)
    frames = read_frames(tmp_path / "a.npy")
    assert isinstance(frames.data, np.memmap)
    assert frames.axis_labels == ("t", "y", "x")
    assert frames.metadata == {"path_name": "a.npy", "format": "npy"}
    np.testing.assert_array_equal(frames.data, movie)


def test_a_movie_larger_than_the_memory_opens(tmp_path):
    path = tmp_path / "a.npy"
    shape = (100_000, 2048, 2048)
    with path.open("wb") as file:  # a sparse file of 800 GB
        np.lib.format.write_array_header_1_0(
            file, {"descr": "<u2", "fortran_order": False, "shape": shape}
        )
        try:
            file.truncate(file.tell() + 2 * int(np.prod(shape)))
        except OSError:
            pytest.skip("no sparse files here")
    frames = read_frames(path)
    assert frames.shape == shape
    assert frames.frame(99_999).max() == 0


@settings(max_examples=25, deadline=None)
@given(
    array=npst.arrays(
        st.sampled_from(["<u2", ">i4", "<f4", ">f8", "?", "u1", "f2"]),
        st.sampled_from([(9, 11), (2, 9, 11), (2, 3, 9, 11)]),
    ),
    fortran=st.booleans(),
    packed=st.sampled_from(["npy", "npz", "npz compressed"]),
)
def test_numpy_files_are_exact(tmp_path_factory, array, fortran, packed):
    stored = np.asfortranarray(array) if fortran else array
    path = tmp_path_factory.mktemp("a") / f"a.{packed[:3]}"
    if packed == "npy":
        np.save(path, stored)
    else:
        (np.savez if packed == "npz" else np.savez_compressed)(path, frames=stored, other=[1, 2])
    np.testing.assert_array_equal(read_frames(path).data, array)


def test_npz_arrays_are_chosen_by_name(tmp_path, movie, one_line):
    path = tmp_path / "a.npz"
    np.savez(path, only=movie)
    assert isinstance(read_frames(path).data, np.memmap)
    np.savez(path, a=movie, b=movie[:, :20])
    with pytest.raises(ReadError, match="arrays a, b") as caught:
        read_frames(path)
    one_line(caught, "a.npz")
    assert read_frames(path, channel="b").shape == (6, 20, 50)
    np.savez(path, frames=movie.reshape(3, 2, 40, 50), b=movie)
    np.testing.assert_array_equal(read_frames(path, channel=1).frame(0), movie[1])
    assert read_frames(path, channel="b").metadata["array"] == "b"
    np.savez(path)
    with pytest.raises(ReadError, match="no array"):
        read_frames(path)


def test_pickles_are_refused(tmp_path, one_line):
    bombs = np.array([_Bomb()], dtype=object)
    np.save(tmp_path / "a.npy", bombs)
    np.savez(tmp_path / "a.npz", bombs)
    np.savez_compressed(tmp_path / "b.npz", bombs)
    for name in ("a.npy", "a.npz", "b.npz"):
        with pytest.raises(ReadError, match="pickled") as caught:
            read_frames(tmp_path / name)
        one_line(caught, name)


@pytest.mark.parametrize("share", [0.001, 0.01, 0.5, 0.999])
@pytest.mark.parametrize("name", ["a.npy", "a.npz", "b.npz"])
def test_cut_numpy_files_are_one_line(tmp_path, movie, one_line, name, share):
    np.save(tmp_path / "a.npy", movie)
    np.savez(tmp_path / "a.npz", movie)
    np.savez_compressed(tmp_path / "b.npz", movie)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ReadError) as caught:
        read_frames(path)
    one_line(caught, name)


def test_damaged_compressed_npz_is_one_line(tmp_path, movie, one_line):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, movie)
    raw = bytearray(path.read_bytes())
    raw[5000:5010] = b"0123456789"
    path.write_bytes(raw)
    with pytest.raises(ReadError) as caught:
        read_frames(path)
    one_line(caught, "a.npz")


def test_npz_that_promises_more_than_it_has(tmp_path, one_line):
    header = {"descr": "<f8", "fortran_order": False, "shape": (10**6, 512, 512)}
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive, archive.open("a.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, header)
    with pytest.raises(ReadError, match="cut") as caught:
        read_frames(tmp_path / "a.npz")
    one_line(caught, "a.npz")


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((20, 20), complex), "complex"),
        (np.full((20, 20), "text"), "no numbers"),
        (np.zeros((20, 20, 3)), "RGB"),
        (np.zeros((0, 20, 20)), "empty"),
        (np.zeros(20), "1 axes"),
        (np.zeros((2, 2, 2, 20, 20)), "5 axes"),
        (np.zeros((20, 2)), "too small"),
        (np.zeros((20, 20), [("a", "f4")]), "no numbers"),
    ],
)
def test_arrays_that_are_no_frames_name_the_file(tmp_path, one_line, array, reason):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(InputError, match=reason) as caught:
        read_frames(tmp_path / "a.npy")
    one_line(caught, "a.npy")


zarr = pytest.importorskip("zarr")


@pytest.mark.parametrize("version", [2, 3])
def test_zarr_arrays(tmp_path, movie, version):
    store = zarr.create_array(
        tmp_path / "a.zarr", data=movie, chunks=(2, 40, 50), zarr_format=version
    )
    frames = read_frames(tmp_path / "a.zarr")
    assert store.shape == frames.shape
    assert frames.axis_labels == ("t", "y", "x")
    assert frames.data.chunks == ((1,) * 6, (40,), (50,))
    assert frames.metadata == {"path_name": "a.zarr", "format": "zarr"}
    np.testing.assert_array_equal(frames.data, movie)
    (tmp_path / "a.zarr").rename(tmp_path / "renamed")
    assert read_frames(tmp_path / "renamed").shape == movie.shape


def test_zarr_reads_only_the_chunk_asked_for(tmp_path, movie):
    zarr.create_array(tmp_path / "a.zarr", data=movie, chunks=(1, 40, 50))
    frames = read_frames(tmp_path / "a.zarr")
    for chunk in ("c/0/0/0", "c/5/0/0"):
        (tmp_path / "a.zarr" / chunk).write_bytes(b"damage")
    np.testing.assert_array_equal(frames.frame(3), movie[3])
    with pytest.raises(ReadError, match=r"a\.zarr, frame 5,"):
        frames.frame(5)


@pytest.mark.parametrize("version", [2, 3])
def test_zarr_groups(tmp_path, movie, one_line, version):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=version)
    with pytest.raises(ReadError, match="no array"):
        read_frames(tmp_path / "a.zarr")
    group.create_array("x", data=movie)
    assert read_frames(tmp_path / "a.zarr").shape == movie.shape
    group.create_array("y", data=movie[:, :20])
    with pytest.raises(ReadError, match="x, y") as caught:
        read_frames(tmp_path / "a.zarr")
    one_line(caught, "a.zarr")
    assert read_frames(tmp_path / "a.zarr", channel="y").shape == (6, 20, 50)


@pytest.mark.parametrize("version", [2, 3])
def test_ome_zarr(tmp_path, movie, version):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=version)
    group.create_array("0", data=movie.reshape(3, 2, 1, 40, 50))
    group.create_array("1", data=movie.reshape(3, 2, 1, 40, 50)[..., ::2, ::2])
    axes = [
        {"name": "t", "type": "time", "unit": "second"},
        {"name": "c", "type": "channel"},
        {"name": "z", "type": "space", "unit": "nanometer"},
        {"name": "y", "type": "space", "unit": "nanometer"},
        {"name": "x", "type": "space", "unit": "nanometer"},
    ]
    scale = [{"type": "scale", "scale": [0.1, 1, 1, 0.02, 0.03]}]
    levels = [{"path": "0", "coordinateTransformations": scale}, {"path": "1"}]
    image = [{"axes": axes, "datasets": levels}]
    if version == 2:
        group.attrs["multiscales"] = image
    else:
        group.attrs["ome"] = {"version": "0.5", "multiscales": image}
    frames = read_frames(tmp_path / "a.zarr")
    assert frames.shape == (3, 2, 40, 50)
    assert frames.scale == pytest.approx((0.1, 1, 0.02, 0.03))
    assert frames.units == ("s", "pixel", "nm", "nm")
    np.testing.assert_array_equal(frames.frame(1, 1), movie[3])


def test_zarr_with_named_axes(tmp_path, movie):
    zarr.create_array(tmp_path / "a.zarr", data=movie.T, dimension_names=["x", "y", "time"])
    frames = read_frames(tmp_path / "a.zarr")
    assert frames.axis_labels == ("t", "y", "x")
    np.testing.assert_array_equal(frames.data, movie)


@pytest.mark.parametrize("place", ["filters", "compressor"])
def test_zarr_pickle_codec_is_refused(tmp_path, one_line, place):
    folder = tmp_path / "a.zarr"
    folder.mkdir()
    meta = {
        "zarr_format": 2,
        "shape": [16, 16],
        "chunks": [16, 16],
        "dtype": "<f8",
        "order": "C",
        "fill_value": 0,
        "compressor": None,
        "filters": None,
    }
    codec = {"id": "pickle", "protocol": 4}
    meta[place] = [codec] if place == "filters" else codec
    (folder / ".zarray").write_text(json.dumps(meta))
    (folder / "0.0").write_bytes(pickle.dumps(_Bomb()))
    with pytest.raises(ReadError, match="pickle") as caught:
        read_frames(folder)
    one_line(caught, "a.zarr")


def test_pickle_codec_is_refused_whatever_zarr_thinks_of_it(tmp_path):
    class Stored:
        class metadata:  # noqa: N801  (as zarr calls it)
            def to_dict():
                return {"attributes": {"note": "not a pickle"}, "filters": [{"id": codec}]}

    codec = "delta"
    _refuse_pickle(Stored, tmp_path)
    codec = "pickle"
    with pytest.raises(ReadError, match="pickled"):
        _refuse_pickle(Stored, tmp_path)


@pytest.mark.parametrize(
    ("name", "text"),
    [("zarr.json", "{"), ("zarr.json", "{}"), (".zarray", "[]"), (".zarray", '{"zarr_format": 2}')],
)
def test_damaged_zarr_is_one_line(tmp_path, one_line, name, text):
    folder = tmp_path / "a.zarr"
    folder.mkdir()
    (folder / name).write_text(text)
    with pytest.raises(ReadError) as caught:
        read_frames(folder)
    one_line(caught, "a.zarr")


def test_ome_zarr_cannot_point_outside(tmp_path, movie, one_line):
    zarr.create_array(tmp_path / "secret.zarr", data=movie)
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    axes = [{"name": name} for name in "tyx"]
    group.attrs["multiscales"] = [{"axes": axes, "datasets": [{"path": "../secret.zarr"}]}]
    with pytest.raises(ReadError) as caught:
        read_frames(tmp_path / "a.zarr")
    one_line(caught, "a.zarr")


def test_zarr_of_text_or_complex_names_the_file(tmp_path, one_line):
    zarr.create_array(tmp_path / "a.zarr", data=np.zeros((20, 20), complex))
    with pytest.raises(InputError, match="complex") as caught:
        read_frames(tmp_path / "a.zarr")
    one_line(caught, "a.zarr")


@pytest.mark.parametrize(("module", "name"), [("zarr", "a.zarr"), ("h5py", "a.h5")])
def test_missing_extra_says_what_to_install(tmp_path, one_line, monkeypatch, module, name):
    zarr.create_array(tmp_path / "a.zarr", data=np.zeros((20, 20)))
    (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    load = builtins.__import__

    def without(wanted, *args, **kwargs):
        if wanted == module:
            raise ImportError(wanted)
        return load(wanted, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ReadError, match=r'pip install "napari-rvae\[io\]"') as caught:
        read_frames(tmp_path / name)
    one_line(caught, name)
