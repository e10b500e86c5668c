import numpy as np
import pytest

from napari_rvae import Frames, analyse_frames
from napari_rvae.errors import InputError
from napari_rvae.render import render_gaussians

COLUMNS = ["frame", "noise_sd", "gain", "row_noise_sd", "blur", "missing"]


@pytest.fixture
def movie(rng):
    """Three frames of counts; the last is blurred more and lacks a quarter."""
    y, x = (grid.ravel() * 14.0 for grid in np.mgrid[:12, :12])
    frames = [
        rng.poisson(5 + render_gaussians(y, x, 80.0, sigma, (160, 160))) for sigma in (2.5, 2.5, 4)
    ]
    frames[2] = frames[2].astype(float)
    frames[2][:80, :80] = np.nan
    return np.stack(frames)


def test_a_row_for_every_frame(movie):
    table = analyse_frames(movie)
    assert table.columns.tolist() == COLUMNS
    assert table["frame"].tolist() == [0, 1, 2]
    assert table["gain"].iloc[:2].to_numpy() == pytest.approx(1, rel=0.2)
    assert table["blur"].iloc[:2].to_numpy() == pytest.approx(2.5, rel=0.15)
    assert table["blur"].iloc[2] > 1.2 * table["blur"].iloc[1]
    assert table["missing"].tolist() == [0, 0, 0.25]
    assert (table["row_noise_sd"] < 1).all()


def test_a_channel_is_chosen_by_number_or_name(movie):
    both = Frames(np.stack([movie[:1] * 0, movie[:1]], axis=1), channels=("dark", "adf"))
    named, numbered = analyse_frames(both, channel="adf"), analyse_frames(both, channel=1)
    assert named.equals(numbered)
    assert named["noise_sd"].iloc[0] > 0
    assert analyse_frames(both)["noise_sd"].iloc[0] == 0
    with pytest.raises(InputError, match="no channel"):
        analyse_frames(both, channel="bf")


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 1e30, -3.0])
def test_a_flat_frame_is_measured_without_a_word(value):
    table = analyse_frames(np.full((32, 32), value))
    assert table["noise_sd"].tolist() == [0]
    assert table["missing"].iloc[0] == (0.0 if np.isfinite(value) else 1.0)
    assert np.isnan(table["blur"].iloc[0])


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float16])
@pytest.mark.parametrize("shape", [(8, 8), (8, 300), (2, 33, 57)])
def test_any_type_and_shape(dtype, shape, rng):
    table = analyse_frames(rng.integers(0, 2, shape).astype(dtype))
    assert len(table) == (shape[0] if len(shape) == 3 else 1)
