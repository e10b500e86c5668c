"""Igor waves; the writer below makes the smallest file of version 5 that holds a scan."""

import logging
import struct
import sys

import numpy as np
import pytest

from napari_rvae import ReadError, read_frames


def write_wave(path, values, labels=(), step=1e-8, unit=b"m"):
    """Write values (X, Y[, C]) as an Igor binary wave of version 5."""
    shape = [*values.shape, 0, 0][:4]
    data = np.asarray(values, "<f4").tobytes(order="F")
    names = b"".join(name.ljust(32, b"\0") for name in (b"", *labels)) if labels else b""
    header = bytearray(320)
    struct.pack_into("<ih", header, 12, values.size, 2)  # 2: floats of 32 bits
    struct.pack_into("<4i4d", header, 68, *shape, step, step, 1.0, 1.0)
    struct.pack_into("<4s4s4s", header, 148, unit, unit, unit)  # of the values, and of two axes
    sizes = [len(header) + len(data), 0, 0, 0, 0, 0, 0, 0, 0, 0, len(names), 0, 0, 0, 0]
    start = bytearray(struct.pack("<hH15i", 5, 0, *sizes))
    total = int(np.frombuffer(bytes(start + header), "<u2").sum(dtype=np.int64))
    struct.pack_into("<H", start, 2, -total % 65536)  # all words together are 0
    path.write_bytes(bytes(start + header) + data + names)
    return path


@pytest.fixture
def values():
    return np.random.default_rng(0).normal(size=(24, 16, 2)).astype(np.float32)


def test_a_scan_has_channels_units_and_a_pixel_size(tmp_path, values):
    pytest.importorskip("igor2")
    labels = (b"Amplitude1Retrace", b"Phase1Retrace\0ce")  # as a microscope leaves them
    frames = read_frames(write_wave(tmp_path / "scan.ibw", values, labels))
    assert frames.channels == ("Amplitude1Retrace", "Phase1Retrace")
    assert frames.shape == (1, 2, 16, 24)
    assert frames.pixel_size == pytest.approx((10.0, 10.0))
    assert frames.units[-1] == "nm"
    assert frames.metadata["channel_units"] == {
        "Amplitude1Retrace": "m",
        "Phase1Retrace": "deg",
    }
    np.testing.assert_array_equal(frames.frame(0, 1), values[:, :, 1].T)
    one = read_frames(tmp_path / "scan.ibw", channel="Phase1Retrace")
    assert one.n_channels == 1


def test_waves_without_names_are_numbered(tmp_path, values):
    pytest.importorskip("igor2")
    assert read_frames(write_wave(tmp_path / "a.ibw", values)).channels == (
        "channel 0",
        "channel 1",
    )
    assert read_frames(write_wave(tmp_path / "b.ibw", values[:, :, 0])).n_channels == 1


def test_what_is_no_scan_is_one_line(tmp_path):
    pytest.importorskip("igor2")
    (tmp_path / "text.ibw").write_bytes(b"this is no wave at all" * 40)
    with pytest.raises(ReadError, match=r"text\.ibw cannot be read: it is no Igor binary wave"):
        read_frames(tmp_path / "text.ibw")


@pytest.mark.parametrize("size", [2, 10, 64, 100, 384, 500, 2000, 3456, 3512])
def test_a_wave_that_is_cut_off_is_one_line(tmp_path, values, size, capsys, monkeypatch):
    pytest.importorskip("igor2")
    monkeypatch.setattr(logging.getLogger("igor2"), "propagate", False)  # to pytest's handlers
    path = write_wave(tmp_path / "cut.ibw", values, (b"Amplitude", b"Phase"))
    whole = path.read_bytes()
    assert size < len(whole)
    path.write_bytes(whole[:size])
    with pytest.raises(ReadError) as raised:
        read_frames(path)
    line = str(raised.value)
    assert "cut.ibw cannot be read: its header asks for other data than the file holds" in line
    assert f"cut off ({size} bytes) or damaged; copy or export it again." in line
    assert "\n" not in line
    assert capsys.readouterr().err == ""  # igor2 logs the values of the wave


@pytest.mark.parametrize("place", [4, 76, 132])  # size of the wave, rows, places of the labels
def test_a_damaged_header_is_one_line(tmp_path, values, place):
    pytest.importorskip("igor2")
    path = write_wave(tmp_path / "bad.ibw", values, (b"Amplitude", b"Phase"))
    data = bytearray(path.read_bytes())
    data[place] ^= 0x55
    path.write_bytes(bytes(data))
    with pytest.raises(ReadError, match=r"bad\.ibw cannot be read: its header .* or damaged"):
        read_frames(path)


def test_without_igor2_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "igor2", None)
    (tmp_path / "scan.ibw").write_bytes(b"x")
    with pytest.raises(ReadError, match=r"napari-rvae\[spm\]"):
        read_frames(tmp_path / "scan.ibw")
