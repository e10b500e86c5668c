import dask.array as da
import numpy as np
import pytest
from napari.layers import Image

from napari_rvae import Frames, InputError, frames_from_layers, image_layer


@pytest.fixture
def movie():
    data = np.random.default_rng(0).normal(size=(4, 3, 16, 20))
    return Frames(
        data,
        axis_labels=("t", "c", "y", "x"),
        scale=(2.0, 1.0, 0.5, 0.5),
        units=("s", "pixel", "nm", "nm"),
        channels=("amplitude", "phase", "topography"),
        name="scan",
    )


def _layers(movie, *channels):
    made = []
    for channel in channels:
        data, options, _ = image_layer(movie, channel=channel)
        made.append(Image(data, **options))
    return made


def test_channels_come_back_as_they_were(movie):
    back = frames_from_layers(_layers(movie, "amplitude", "phase", "topography"))
    assert back.axis_labels == movie.axis_labels
    assert back.channels == movie.channels
    assert back.name == "scan"
    assert back.scale == movie.scale
    assert back.units == movie.units
    np.testing.assert_array_equal(np.asarray(back.data), movie.data)
    assert isinstance(back.data, da.Array)


def test_single_frames_and_names_of_ones_own():
    layers = [Image(np.full((8, 9), value), name=f"layer {value}") for value in (0, 1)]
    frames = frames_from_layers(layers, ("amplitude", "phase"))
    assert frames.channels == ("amplitude", "phase")
    assert frames.axis_labels == ("c", "y", "x")
    assert frames_from_layers(layers).channels == ("layer 0", "layer 1")


def test_what_does_not_fit_is_one_line(movie):
    amplitude, phase = _layers(movie, "amplitude", "phase")
    with pytest.raises(InputError, match="No layer"):
        frames_from_layers([])
    with pytest.raises(InputError, match="of its own"):
        frames_from_layers([amplitude, phase], ("a", "a"))
    with pytest.raises(InputError, match="one movie"):
        frames_from_layers([amplitude, Image(np.zeros((4, 16, 21)), scale=(2, 0.5, 0.5))])
