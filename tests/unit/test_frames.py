import json

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from hypothesis import given

from napari_rvae.errors import InputError
from napari_rvae.frames import FRAME_COLUMNS, Frames, as_frames, as_region, set_scale
from napari_rvae.tables import make_sites
from strategies import movies


@pytest.mark.parametrize(
    ("shape", "labels"),
    [((9, 8), "yx"), ((2, 9, 8), "tyx"), ((2, 1, 9, 8), "tcyx")],
)
def test_axes_of_bare_arrays(shape, labels):
    frames = as_frames(np.zeros(shape))
    assert "".join(frames.axis_labels) == labels
    assert frames.scale == (1.0,) * len(shape)
    assert frames.units == ("pixel",) * len(shape)


def test_channels_of_one_image():
    data = np.arange(2 * 9 * 8).reshape(2, 9, 8)
    frames = Frames(data, axis_labels=("c", "y", "x"), channels=("amplitude", "phase"))
    assert (frames.n_frames, frames.n_channels) == (1, 2)
    np.testing.assert_array_equal(frames.frame(0, "phase"), data[1])


@given(movies())
def test_frames_read_what_the_array_holds(frames):
    assert len(frames.table) == frames.n_frames
    assert tuple(frames.table.columns) == FRAME_COLUMNS
    data = frames.data.reshape(frames.n_frames, frames.n_channels, *frames.frame_shape)
    for t in range(frames.n_frames):
        for c in range(frames.n_channels):
            read = frames.frame(t, c)
            assert read.dtype == np.float64
            values = data[t, c].astype(float)
            np.testing.assert_array_equal(read, np.where(np.isfinite(values), values, np.nan))


@given(movies())
def test_selecting_a_channel_keeps_everything_else(frames):
    last = frames.n_channels - 1
    one = frames.select_channel(last)
    assert "c" not in one.axis_labels
    assert one.pixel_size == frames.pixel_size
    assert one.channels == (frames.channels[last],)
    for t in range(frames.n_frames):
        np.testing.assert_array_equal(one.frame(t), frames.frame(t, last))


def test_reading_does_not_change_the_data():
    data = np.full((2, 9, 8), np.inf)
    assert np.isnan(as_frames(data).frame(0)).all()
    assert np.isinf(data).all()


def test_lazy_data_stay_lazy():
    def fail(block):
        raise AssertionError("read too early")

    data = da.zeros((3, 2, 16, 16), chunks=(1, 1, 16, 16)).map_blocks(
        fail, dtype=float, meta=np.empty((0,) * 4)
    )
    frames = as_frames(data).select_channel(1)
    assert frames.frame_shape == (16, 16)
    assert isinstance(frames.data, da.Array)


def test_one_block_is_read_for_one_frame():
    read = []

    def note(block, block_info=None):
        read.append(block_info[0]["chunk-location"])
        return block

    data = da.zeros((5, 16, 16), chunks=(1, 16, 16)).map_blocks(note, meta=np.empty((0, 0, 0)))
    as_frames(data).frame(3)
    assert read == [(3, 0, 0)]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros(9), "have 1 axes"),
        (np.zeros((1, 1, 1, 9, 9)), "have 5 axes"),
        (np.zeros((0, 9, 9)), "empty"),
        (np.zeros((7, 9)), "too small"),
        (np.zeros((64, 64, 3)), "RGB"),
        (np.zeros((9, 64, 64, 4), np.uint8), "RGB"),
        (np.zeros((9, 9), complex), "complex"),
        (np.full((9, 9), "a"), "hold no numbers"),
        (np.full((9, 9), None), "hold no numbers"),
        ([[1, 2], [3]], "differ in shape"),
        (None, "is no array"),
        ("movie.tif", "give"),
    ],
)
def test_bad_data_are_one_clear_line(data, message):
    with pytest.raises(InputError, match=message):
        as_frames(data)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"axis_labels": ("y", "x", "t")}, "axes"),
        ({"axis_labels": ("y", "x")}, "axes"),
        ({"scale": (1.0, 2.0)}, "one entry"),
        ({"scale": (1.0, 0.0, 1.0)}, "positive"),
        ({"scale": (1.0, np.nan, 1.0)}, "positive"),
        ({"units": ("s",)}, "one entry"),
        ({"channels": ("a", "b")}, "channel names"),
        ({"table": pd.DataFrame({"frame": [0, 1]})}, "columns"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        Frames(np.zeros((2, 9, 8)), **options)


def test_frames_outside_the_movie():
    frames = as_frames(np.zeros((2, 9, 8)))
    for index in (-1, 2):
        with pytest.raises(InputError, match="no frame"):
            frames.frame(index)
    for channel in (1, "phase"):
        with pytest.raises(InputError, match="no channel"):
            frames.frame(0, channel)


def test_lists_of_images_are_stacked_and_frames_pass_through():
    frames = as_frames([np.zeros((9, 8))] * 3)
    assert frames.shape == (3, 9, 8)
    assert as_frames(frames) is frames


def test_a_name_is_given_and_an_old_one_kept():
    assert as_frames(np.zeros((9, 8)), name="a").name == "a"
    assert as_frames(Frames(np.zeros((9, 8)), name="b"), name="a").name == "b"


def test_pixel_size_and_aspect():
    frames = Frames(np.zeros((2, 9, 8)), scale=(1.0, 0.2, 0.1))
    assert frames.pixel_size == (0.2, 0.1)
    assert frames.pixel_aspect == pytest.approx(2.0)


def test_a_copy_is_made_of_the_metadata():
    metadata = {"a": 1}
    frames = Frames(np.zeros((9, 8)), metadata=metadata)
    metadata["a"] = 2
    assert json.dumps(frames.metadata) == '{"a": 1}'


@pytest.mark.parametrize("shape", [(9, 8), (2, 9, 8)])
def test_regions_that_fit(shape):
    frames = as_frames(np.zeros((2, 9, 8)))
    assert as_region(np.ones(shape, bool), frames).shape == shape


@pytest.mark.parametrize("region", [np.ones((9, 8)), np.ones((8, 9), bool), [True]])
def test_regions_that_do_not_fit(region):
    with pytest.raises(InputError, match="region"):
        as_region(region, as_frames(np.zeros((2, 9, 8))))


def test_no_region_is_no_region():
    assert as_region(None, as_frames(np.zeros((9, 8)))) is None


def test_repr_is_one_short_line():
    movie = Frames(np.zeros((5, 64, 48), np.float32), name="graphene", scale=(1, 0.01, 0.01))
    text = repr(movie)
    assert text == "Frames('graphene', t 5, y 64, x 48, float32, pixels of 0.01 x 0.01 pixel)"


def _lattice(step_y, step_x, shape=(6, 5)):
    y, x = (index.ravel().astype(float) for index in np.indices(shape))
    return make_sites(frame=0, y=y * step_y, x=x * step_x)


@pytest.mark.parametrize("unit", ["pm", "angstrom", "nm", "um"])
def test_a_known_distance_sets_the_scale(unit):
    movie = Frames(np.zeros((2, 64, 48)), scale=(0.5, 3.0, 3.0), units=("s", "nm", "nm"), name="m")
    frames = set_scale(movie, _lattice(8, 8), neighbour_distance=2.0, unit=unit)
    assert frames.scale == (0.5, 0.25, 0.25)
    assert frames.units == ("s", unit, unit)
    assert (frames.name, frames.data is movie.data) == ("m", True)
    assert movie.scale == (0.5, 3.0, 3.0)


def test_the_shape_of_pixels_is_kept():
    movie = Frames(np.zeros((64, 48)), scale=(2.0, 1.0))
    frames = set_scale(movie, _lattice(4, 8), neighbour_distance=4.0)  # 8 widths apart either way
    assert frames.pixel_size == (1.0, 0.5)


def test_the_shift_of_frames_from_a_layer_is_in_the_new_unit():
    affine = np.eye(3)
    affine[:2, 2] = [6.0, -3.0]
    movie = Frames(np.zeros((64, 48)), metadata={"affine": affine.tolist()})
    frames = set_scale(movie, _lattice(8, 8), neighbour_distance=0.8)
    np.testing.assert_allclose(np.array(frames.metadata["affine"])[:2, 2], [0.6, -0.3])


@pytest.mark.parametrize(
    ("sites", "options", "said"),
    [
        (_lattice(8, 8), {"neighbour_distance": 0.0}, "is no length"),
        (_lattice(8, 8), {"neighbour_distance": -1.0}, "is no length"),
        (_lattice(8, 8), {"neighbour_distance": np.nan}, "is no length"),
        (_lattice(8, 8), {"neighbour_distance": 1.0, "unit": "pixel"}, "'pixel' is unknown"),
        (_lattice(8, 8)[:2], {"neighbour_distance": 1.0}, "No frame has three sites"),
        (_lattice(8, 8)[:0], {"neighbour_distance": 1.0}, "No frame has three sites"),
    ],
)
def test_what_cannot_set_the_scale_is_one_line(sites, options, said):
    with pytest.raises(InputError, match=said):
        set_scale(np.zeros((64, 48)), sites, **options)


def test_sites_at_random_cannot_set_the_scale():
    y, x = np.random.default_rng(0).random((2, 200)) * 100
    with pytest.raises(InputError, match=r"scatter by \d\d%: there is no lattice"):
        set_scale(np.zeros((100, 100)), make_sites(frame=0, y=y, x=x), neighbour_distance=0.142)
