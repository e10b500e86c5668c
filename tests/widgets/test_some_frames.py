"""A few frames of a movie, looked at as the movie would be."""

import dask.array as da
import numpy as np
import pytest
import zarr

pytest.importorskip("napari")

from napari.layers import Image

from napari_rvae import DetectConfig, Frames
from napari_rvae._napari.detection import in_view
from napari_rvae._napari.some_frames import (
    Part,
    measure_ahead,
    middle_part,
    pick_frames,
    pick_region,
    with_scale,
)
from napari_rvae.detect import atoms
from napari_rvae.detect.search import AtomScale
from napari_rvae.tables import make_sites


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


def test_what_was_measured_ahead_is_there_already(measured):
    measured.append(AtomScale(2.0, 12.0))
    image = Image(np.zeros((2, 9, 8)))
    frames = Frames(image.data)
    measure_ahead(image, frames, DetectConfig(min_quality=0.2), 1)  # a look at the whole movie
    assert len(measured) == 1
    measure_ahead(image, frames, DetectConfig(), 1)
    assert with_scale(image, frames, DetectConfig()).sigma == 2.0
    assert not measured


@pytest.mark.usefixtures("measured")  # which knows no scale
def test_what_fails_ahead_is_left_to_those_who_ask():
    image = Image(np.zeros((2, 9, 8)))
    measure_ahead(image, Frames(image.data), DetectConfig(), 1)
    with pytest.raises(IndexError):
        with_scale(image, Frames(image.data), DetectConfig())


@pytest.mark.parametrize(
    ("view", "shape", "spacing", "expected"),
    [
        (Part(0, 0, 512, 512), (512, 512), 12.0, None),  # the whole frame
        (Part(0, 0, 2048, 2048), (2048, 2048), 12.0, Part(754, 754, 1294, 1294)),
        (Part(0, 0, 2048, 2048), (2048, 2048), None, Part(768, 768, 1280, 1280)),
        (Part(100, 1900, 300, 2048), (2048, 2048), 12.0, Part(100, 1900, 300, 2048)),  # as seen
        (Part(0, 0, 10, 10), (2048, 2048), 12.0, Part(0, 0, 135, 135)),  # zoomed far in
        (Part(0, 0, 90, 4000), (90, 4000), 12.0, Part(0, 1730, 90, 2270)),
    ],
)
def test_as_much_of_a_large_frame_is_looked_at_as_half_a_second_takes(
    view, shape, spacing, expected
):
    assert middle_part(view, shape, spacing) == expected


@pytest.mark.parametrize("kind", ["numpy", "zarr"])
def test_a_part_of_a_movie_knows_where_it_is(kind):
    data = np.arange(5 * 29 * 28).reshape(5, 29, 28)
    movie = Frames(data if kind == "numpy" else zarr.array(data), scale=(2.0, 0.1, 0.1))
    part = Part(2, 3, 16, 18)
    cut = part.of_movie(movie)
    np.testing.assert_array_equal(cut.frame(4), data[4, 2:16, 3:18])
    assert (cut.scale, part.shape) == (movie.scale, (14, 15))
    moved = part.in_frame(make_sites(frame=0, y=[1.0], x=[2.0]))
    assert moved[["y", "x"]].to_numpy().tolist() == [[3.0, 5.0]]


def test_what_is_in_view_is_counted_in_pixels_of_the_image():
    image = Image(np.zeros((3, 90, 80)))
    assert in_view(image) == Part(0, 0, 90, 80)  # nothing is drawn yet
    image.corner_pixels = np.array([[0, 10, 20], [0, 29, 59]])
    assert in_view(image) == Part(10, 20, 30, 60)
    levels = Image([np.zeros((90, 80)), np.zeros((45, 40))], multiscale=True)
    levels._data_level = 1
    levels.corner_pixels = np.array([[5, 10], [14, 29]])
    assert in_view(levels).top == 10
