import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_rvae import Frames, sample_grid
from napari_rvae.errors import InputError
from napari_rvae.tables import validate_sites


@given(st.integers(8, 60), st.integers(8, 60), st.floats(1, 8))
def test_the_grid_is_regular_and_centred(rows, columns, step):
    if columns in {3, 4}:
        return
    sites = validate_sites(sample_grid(np.zeros((rows, columns)), step=step))
    for name, size in (("y", rows), ("x", columns)):
        line = np.unique(sites[name].round(9))
        assert np.allclose(np.diff(line), step)
        assert 0 <= line[0] < step / 2 + 1e-9
        assert line[0] == pytest.approx(size - 1 - line[-1])
    assert set(sites["kind"]) == {"grid"}


def test_every_frame_has_the_same_grid():
    sites = sample_grid(Frames(np.zeros((3, 40, 60)), name="movie"), step=10)
    assert sites["frame"].value_counts().to_dict() == {0: 24, 1: 24, 2: 24}
    assert set(sites["source"]) == {"movie"}
    assert set(sample_grid(np.zeros((40, 40)), step=10, source="b")["source"]) == {"b"}


def test_a_region_for_all_frames_or_for_each():
    region = np.zeros((40, 40), bool)
    region[:, 20:] = True
    sites = sample_grid(np.zeros((2, 40, 40)), step=5, region=region)
    assert sites["x"].min() >= 19.5
    each = np.stack([region, ~region])
    sites = sample_grid(np.zeros((2, 40, 40)), step=5, region=each)
    assert sites[sites["frame"] == 0]["x"].min() >= 19.5
    assert sites[sites["frame"] == 1]["x"].max() <= 19.5
    assert len(sample_grid(np.zeros((40, 40)), step=5, region=np.zeros((40, 40), bool))) == 0


@pytest.mark.parametrize("step", [0, 0.5, -3, 41, np.nan])
def test_impossible_steps(step):
    with pytest.raises(InputError, match="step"):
        sample_grid(np.zeros((40, 50)), step=step)
