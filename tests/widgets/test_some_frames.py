"""A few frames of a movie, looked at as the movie would be."""

import dask.array as da
import numpy as np
import pytest
import zarr

pytest.importorskip("napari")

from napari.layers import Image

from napari_rvae import DetectConfig, Frames
from napari_rvae._napari.some_frames import pick_frames, pick_region, with_scale
from napari_rvae.detect import atoms
from napari_rvae.detect.search import AtomScale


@pytest.mark.parametrize("kind", ["numpy", "dask", "zarr"])
def test_frames_are_picked_lazily(kind):
    data = np.arange(5 * 9 * 8).reshape(5, 9, 8)
    stored = {"numpy": data, "dask": da.from_array(data), "zarr": zarr.array(data)}[kind]
    movie = Frames(stored, scale=(2.0, 0.1, 0.1), units=("s", "nm", "nm"), name="movie")
    movie.table["time"] = np.arange(5) * 2.0
    some = pick_frames(movie, (0, 3))
    assert some.shape == (2, 9, 8)
    assert kind == "numpy" or hasattr(some.data, "dask")
    np.testing.assert_array_equal(some.frame(1), data[3])
    assert some.table["time"].tolist() == [0.0, 6.0]
    assert some.table["frame"].tolist() == [0, 1]
    assert (some.scale, some.units, some.name) == (movie.scale, movie.units, "movie")


def test_one_image_is_its_only_frame():
    image = Frames(np.zeros((9, 8)))
    assert pick_frames(image, (0,)) is image


def test_regions_of_frames_are_picked_too():
    moving = np.arange(5)[:, None, None] + np.zeros((5, 9, 8)) == 3
    assert pick_region(moving, (0, 3)).any(axis=(1, 2)).tolist() == [False, True]
    assert pick_region(moving[3], (0, 3)) is not None
    assert pick_region(None, (0,)) is None


@pytest.fixture
def measured(monkeypatch):
    """Scales that are measured one after the other."""
    scales = []
    monkeypatch.setattr(atoms, "measure_scale", lambda *_: scales.pop(0))
    return scales


def test_the_scale_is_measured_again_when_the_data_are_others(measured):
    measured += [AtomScale(2.0, 12.0), AtomScale(3.0, 15.0)]
    image = Image(np.zeros((2, 9, 8)))
    for data, sigma in ((image.data, 2.0), (image.data, 2.0), (image.data + 1, 3.0)):
        config = with_scale(image, Frames(data), DetectConfig(min_snr=6.0))
        assert (config.sigma, config.min_snr) == (sigma, 6.0)


@pytest.mark.parametrize("option", [{"average_frames": 3}, {"min_quality": 0.2}])
def test_the_scale_is_measured_again_on_other_images(measured, option):
    measured += [AtomScale(2.0, 12.0), AtomScale(3.0, 15.0)]
    image = Image(np.zeros((2, 9, 8)))
    for options, sigma in (({}, 2.0), (option, 3.0)):
        assert with_scale(image, Frames(image.data), DetectConfig(**options)).sigma == sigma


def test_what_was_not_measured_is_left_open(measured):
    measured += [AtomScale(np.nan, np.nan), AtomScale(0.35, 1.5)]
    for _ in range(2):
        image = Image(np.zeros((2, 9, 8)))
        config = with_scale(image, Frames(image.data), DetectConfig())
        assert (config.sigma, config.neighbour_distance) == (None, None)
