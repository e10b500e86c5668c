import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_rvae.errors import ReadError
from napari_rvae.io import SUFFIXES, images, read_frames
from napari_rvae.io.scales import pixel_scale, seconds


@pytest.fixture
def folder(tmp_path, movie):
    """A folder of twelve PNG frames, and things that are none."""
    place = tmp_path / "scan"
    place.mkdir()
    for i in range(12):
        Image.fromarray(movie[i % 6] + np.uint16(i)).save(place / f"frame{i}.png")
    (place / "notes.txt").write_text("none")
    (place / "._frame1.png").write_bytes(b"none")
    return place


def test_folder_in_natural_order(folder, movie):
    frames = read_frames(folder)
    assert frames.name == "scan"
    assert frames.axis_labels == ("t", "y", "x")
    assert frames.metadata == {
        "path_name": "scan",
        "format": "png",
        "n_files": 12,
        "first_file": "frame0.png",
    }
    assert frames.data.chunks == ((1,) * 12, (40,), (50,))
    np.testing.assert_array_equal(frames.frame(10), movie[4] + np.uint16(10))


def test_no_frame_is_read_before_it_is_asked_for(folder, monkeypatch):
    decoded, decode = [], images._decode
    monkeypatch.setattr(images, "_decode", lambda p: (decoded.append(p.name), decode(p))[1])
    frames = read_frames(folder)
    assert decoded == []
    frames.frame(3)
    assert decoded == ["frame3.png"]


def test_list_is_taken_as_given(folder, movie):
    frames = read_frames([folder / "frame5.png", str(folder / "frame2.png")])
    assert frames.n_frames == 2
    np.testing.assert_array_equal(frames.frame(1), movie[2] + np.uint16(2))
    assert read_frames([folder / "frame5.png"]).shape == (1, 40, 50)


def test_folders_of_other_formats(tmp_path, movie):
    for i in range(3):
        for kind in ("npy", "tif"):
            (tmp_path / kind).mkdir(exist_ok=True)
        np.save(tmp_path / "npy" / f"{i}.npy", movie[i])
        tifffile.imwrite(tmp_path / "tif" / f"{i}.tif", movie[i : i + 1], imagej=True)
    for kind in ("npy", "tif"):
        np.testing.assert_array_equal(read_frames(tmp_path / kind).data, movie[:3])


def test_many_files_leave_none_open(tmp_path):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for i in range(150):
        np.save(tmp_path / f"{i}.npy", np.full((9, 9), i))
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 100), hard))
    try:
        frames = read_frames(tmp_path)
        assert frames.frame(149)[0, 0] == 149
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_current_folder_has_a_name(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert read_frames(".").name == "scan"


def test_frames_travel_between_processes(folder):
    frames = read_frames(folder)
    again = pickle.loads(pickle.dumps(frames.data))  # noqa: S301  (our own bytes)
    np.testing.assert_array_equal(again[3], frames.data[3])


def test_metadata_is_json_without_folders(folder):
    for path in (folder, folder / "frame0.png"):
        text = json.dumps(dict(read_frames(path).metadata))
        assert str(folder.parent) not in text


def test_reopened_file_is_not_taken_from_a_cache(folder):
    first, second = read_frames(folder), read_frames(folder)
    assert first.data.name != second.data.name


def test_missing_and_unknown_and_empty_files(tmp_path, one_line):
    with pytest.raises(ReadError, match="is not there") as caught:
        read_frames(tmp_path / "none.tif")
    one_line(caught, "none.tif")
    (tmp_path / "a.doc").write_bytes(b"x")
    with pytest.raises(ReadError, match="known kind") as caught:
        read_frames(tmp_path / "a.doc")
    one_line(caught, "a.doc")
    assert all(suffix in str(caught.value) for suffix in SUFFIXES)
    for suffix in SUFFIXES:
        path = tmp_path / f"empty{suffix}"
        path.write_bytes(b"")
        with pytest.raises(ReadError) as caught:
            read_frames(str(path))
        one_line(caught, path.name)


@pytest.mark.parametrize("suffix", [s for s in SUFFIXES if s != ".zarr"])
def test_junk_is_one_line_in_every_format(tmp_path, one_line, suffix):
    path = tmp_path / f"junk{suffix}"
    path.write_bytes(np.random.default_rng(1).bytes(5000))
    with pytest.raises(ReadError) as caught:
        read_frames(path)
    one_line(caught, path.name)


def test_folders_that_are_no_movie(tmp_path, folder, one_line):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ReadError, match="no images") as caught:
        read_frames(tmp_path / "empty")
    one_line(caught, "empty")
    with pytest.raises(ReadError, match="list of files is empty"):
        read_frames([])
    np.save(folder / "a.npy", np.zeros((40, 50)))
    with pytest.raises(ReadError, match=r"holds \.npy, \.png files") as caught:
        read_frames(folder)
    one_line(caught, "scan")


def test_files_that_do_not_fit_together(folder, tmp_path, movie, one_line):
    Image.fromarray(movie[0, :30]).save(folder / "frame7.png")
    with pytest.raises(ReadError, match=r"frame7\.png is uint16 \(30, 50\)") as caught:
        read_frames(folder)
    one_line(caught, "frame0.png")
    Image.fromarray((movie[0] >> 8).astype(np.uint8)).save(folder / "frame7.png")
    with pytest.raises(ReadError, match="uint8"):
        read_frames(folder)
    for i in (1, 2):
        tifffile.imwrite(
            tmp_path / f"{i}.tif", movie[0], resolution=(i * 1e8, 1e8), resolutionunit="CENTIMETER"
        )
    with pytest.raises(ReadError, match="another pixel size"):
        read_frames([tmp_path / "1.tif", tmp_path / "2.tif"])
    np.save(tmp_path / "a.npy", movie)
    with pytest.raises(ReadError, match="holds 6 frames"):
        read_frames([tmp_path / "a.npy"])


def test_damage_in_the_middle_of_a_folder(folder, one_line):
    frames = read_frames(folder)
    path = folder / "frame3.png"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ReadError) as caught:
        frames.frame(3)
    one_line(caught, "frame3.png")
    with pytest.raises(ReadError) as caught:  # seen at once when opened anew
        read_frames(folder)
    one_line(caught, "frame3.png")
    Image.new("L", (20, 20)).save(path)
    with pytest.raises(ReadError, match="changed"):
        frames.frame(3)


def test_rights_are_respected(tmp_path, one_line, monkeypatch):
    np.save(tmp_path / "a.npy", np.zeros((20, 20)))
    opened, listed = Path.open, Path.iterdir

    def refuse(path, *args, **kwargs):  # the tests may run as root, who may read everything
        if path.name.startswith("a.") or path == tmp_path:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *args, **kwargs) if args or kwargs else listed(path)

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(ReadError, match="rights") as caught:
        read_frames(tmp_path / "a.npy")
    one_line(caught, "a.npy")
    with pytest.raises(ReadError, match="rights") as caught:
        read_frames(tmp_path)
    one_line(caught, tmp_path.name)


@pytest.mark.skipif(os.name != "posix", reason="file names as POSIX has them")
def test_odd_file_names(tmp_path, movie):
    path = tmp_path / "Ä b%20#1.npy"
    np.save(path, movie)
    assert read_frames(path).name == path.name


@pytest.mark.parametrize(
    ("steps", "units", "expected"),
    [
        ((0.02, 0.02), ("micron", "um"), (0.02, 0.02, "um")),
        ((0.02, 0.03), ("\\u00B5m", "µm"), (0.02, 0.03, "um")),
        ((0.2, 0.02), ("Å", "nm"), (0.02, 0.02, "nm")),
        ((4e-9, 8e-9), ("m", "m"), (4, 8, "nm")),
        ((4e-7, 8e-7), ("m", "m"), (0.4, 0.8, "um")),
        ((1.5, 1.5), ("A", "angstrom"), (1.5, 1.5, "angstrom")),
        ((1 / 300, 1 / 300), ("inch", "inch"), None),
        ((1, 1), ("pixel", "pixel"), None),
        ((1, 1), ("deg", "nm"), None),
        ((1, 1), ("1/nm", "1/nm"), None),
        ((0, 1), ("nm", "nm"), None),
        ((-1, 1), ("nm", "nm"), None),
        ((float("nan"), 1), ("nm", "nm"), None),
        ((1, 1), ("", ""), None),
    ],
)
def test_pixel_scale(steps, units, expected):
    found = pixel_scale(*steps, *units)
    if expected is None:
        assert found is None
    else:
        assert found[:2] == pytest.approx(expected[:2])
        assert found[2] == expected[2]


def test_seconds():
    assert seconds(200, "ms") == pytest.approx(0.2)
    assert seconds(2, "min") == 120
    assert seconds(0, "s") is None
    assert seconds(1, "furlong") is None


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("10_dso_8nm_none_none.png", (1024, 1024)),
        ("Grain_boundry_gold_512px.png", (512, 512)),
        ("Si110_5nmX25us_03_none_none.png", (512, 512)),
        ("03_afterimage_8nm_crp.png", (730, 730)),
    ],
)
def test_real_images(data_folder, name, shape):
    frames = read_frames(data_folder / "stem" / name)
    assert frames.shape == shape
    assert frames.dtype == np.uint8
    assert frames.frame(0).std() > 10
