"""Gwyddion files: channels, units, pixel sizes."""

import numpy as np
import pytest

from napari_rvae import ReadError, read_frames

gwyfile = pytest.importorskip("gwyfile")
from gwyfile.objects import GwyContainer, GwyDataField, GwySIUnit  # noqa: E402


def field(values, unit="m", width=1.6e-7, height=1.2e-7):
    return GwyDataField(
        np.asarray(values, float),
        xreal=width,
        yreal=height,
        si_unit_xy=GwySIUnit(unitstr="m"),
        si_unit_z=GwySIUnit(unitstr=unit),
    )


@pytest.fixture
def scan():
    return np.random.default_rng(0).normal(size=(2, 12, 16))


def write(path, **entries):
    container = GwyContainer()
    for key, value in entries.items():
        container["/" + key.replace("__", "/")] = value
    container.tofile(str(path))
    return path


def test_a_scan_has_channels_units_and_a_pixel_size(tmp_path, scan):
    path = write(
        tmp_path / "scan.gwy",
        **{"0__data": field(scan[0]), "0__data__title": "Amplitude"},
        **{"1__data": field(scan[1], "deg"), "1__data__title": "Phase"},
        **{"2__data": field(scan[0, :8, :8]), "2__data__title": "a crop"},
    )
    frames = read_frames(path)
    assert frames.channels == ("Amplitude", "Phase")
    assert frames.shape == (1, 2, 12, 16)
    assert frames.pixel_size == pytest.approx((10.0, 10.0))
    assert frames.units[-1] == "nm"
    assert frames.metadata["channel_units"] == {"Amplitude": "m", "Phase": "deg"}
    np.testing.assert_array_equal(frames.data[0], scan)
    np.testing.assert_array_equal(read_frames(path, channel="Phase").data, scan[1:])


def test_titles_that_are_the_same_or_missing_are_numbered(tmp_path, scan):
    twice = write(
        tmp_path / "twice.gwy",
        **{"0__data": field(scan[0]), "0__data__title": "Phase"},
        **{"3__data": field(scan[1]), "3__data__title": "Phase"},
    )
    assert read_frames(twice).channels == ("Phase 0", "Phase 3")
    bare = write(tmp_path / "bare.gwy", **{"0__data": field(scan[0]), "1__data": field(scan[1])})
    assert read_frames(bare).channels == ("channel 0", "channel 1")


def test_what_is_no_scan_is_one_line(tmp_path):
    with pytest.raises(ReadError, match="holds no image"):
        read_frames(write(tmp_path / "empty.gwy", **{"0__select": "a"}))
    broken = tmp_path / "broken.gwy"
    broken.write_bytes(b"GWYPnothing")
    with pytest.raises(ReadError, match=r"broken\.gwy cannot be read"):
        read_frames(broken)
