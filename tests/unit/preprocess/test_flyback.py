import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_rvae import simulate_graphene, simulate_perovskite
from napari_rvae.preprocess import flyback_columns


@pytest.fixture(scope="module", params=["graphene", "perovskite"])
def frame(request):
    """A frame with columns of atoms along y, which differ in brightness from those between."""
    if request.param == "graphene":
        made = simulate_graphene(n_frames=1, size=256, rotation=0.0, grains=1, seed=1)
    else:
        made = simulate_perovskite(size=256, rotation=0.0, seed=1)
    return made.frames.frame(0)


def test_a_lattice_is_no_fly_back(frame):
    for picture in (frame, frame.T, frame[::-1, ::-1]):
        assert flyback_columns(picture) == 0


@pytest.mark.parametrize("columns", [3, 8, 20])
def test_columns_that_are_too_bright_or_too_dark(frame, columns):
    for sign in (1, -1):
        spoilt = frame.copy()
        spoilt[:, :columns] += sign * 4 * np.std(frame)
        assert flyback_columns(spoilt) == columns


def test_columns_that_are_smeared(frame):
    spoilt = frame.copy()
    spoilt[:, :12] = ndimage.uniform_filter1d(frame[:, :12], 12, axis=1)
    assert abs(flyback_columns(spoilt) - 12) <= 2


def test_columns_that_are_missing(frame):
    spoilt = frame.copy()
    spoilt[:, :7] = np.nan
    assert flyback_columns(spoilt) == 7
    assert flyback_columns(np.full_like(frame, np.nan)) == 0


def test_what_is_wider_than_an_eighth_is_the_specimen(frame):
    hole = frame.copy()
    hole[:, :60] = np.random.default_rng(0).poisson(2, (256, 60))
    assert flyback_columns(hole) == 0


def test_ramps_and_the_other_side_are_none(frame):
    ramp = np.linspace(0, 3 * frame.max(), 256)
    assert flyback_columns(frame + ramp) == flyback_columns(frame + ramp[::-1]) == 0
    right = frame.copy()
    right[:, -10:] += frame.max()
    assert flyback_columns(right) == 0


@given(st.integers(0, 2**32 - 1), st.sampled_from([(8, 64), (64, 8), (32, 32), (96, 200)]))
@settings(max_examples=40)
def test_noise_has_none(seed, shape):
    assert flyback_columns(np.random.default_rng(seed).normal(size=shape)) == 0


@pytest.mark.parametrize("value", [0.0, 7.0, 1e30])
def test_constant_frames_have_none(value):
    assert flyback_columns(np.full((64, 64), value)) == 0
