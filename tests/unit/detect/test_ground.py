import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from napari_rvae.detect.ground import shared_ground

SIDE, SPACING, SD = 40, 12.0, 0.3


@pytest.fixture(scope="module")
def atoms():
    """Places (N, 2) that are a little off a square lattice, and the 14 nearest of each."""
    places = np.indices((SIDE, SIDE)).reshape(2, -1).T * SPACING
    points = places + np.random.default_rng(1).normal(0, 1.0, places.shape)
    return points, cKDTree(points).query(points, 15)[1][:, 1:]


def noisy(truth, seed=2):
    return truth + np.random.default_rng(seed).normal(0, SD, truth.shape)


def told(atoms, value):
    points, mates = atoms
    return shared_ground(points, value, np.full(len(points), SD**2), mates)


def test_where_neighbours_agree_the_noise_of_each_goes(atoms):
    points, _ = atoms
    truth = 2.0 + 0.004 * points[:, 0] - 0.002 * points[:, 1]
    ground = told(atoms, noisy(truth))
    assert np.std(ground.level - truth) < 0.25 * SD
    assert np.std(ground.slope - [0.004, -0.002]) < 2e-3
    # and how well it is known is no secret
    assert np.sqrt(np.mean(ground.variance)) == pytest.approx(np.std(ground.level - truth), rel=0.5)


def test_a_bump_is_followed_and_the_rest_stays_quiet(atoms):
    points, _ = atoms
    away = np.hypot(*(points - [300.0, 180.0]).T)
    truth = 4.0 * np.exp(-(away**2) / (2 * 30.0**2))
    ground = told(atoms, noisy(truth))
    top, flank, far = away < 15, (away > 20) & (away < 45), away > 120
    assert ground.level[top].mean() == pytest.approx(truth[top].mean(), rel=0.15)
    assert np.std((ground.level - truth)[far]) < 0.25 * SD
    towards = ((points - [300.0, 180.0]) * ground.slope).sum(axis=1)[flank] / away[flank]
    steep = -truth[flank] * away[flank] / 30.0**2
    assert np.mean(towards) == pytest.approx(np.mean(steep), rel=0.25)
    # there, an atom's own background may be elsewhere
    assert ground.variance[top].mean() > 5 * ground.variance[far].mean()


def test_single_backgrounds_that_are_far_off_hardly_count(atoms):
    points, _ = atoms
    value = noisy(np.zeros(len(points)))
    plain = told(atoms, value).level
    value[np.random.default_rng(5).choice(len(points), 16, replace=False)] += 20.0
    assert np.abs(told(atoms, value).level - plain).max() < SD


def test_backgrounds_without_any_noise_are_the_ground(atoms):
    points, _ = atoms
    plane = 1.0 + points @ [0.01, 0.03]
    ground = told(atoms, plane)
    assert ground.level == pytest.approx(plane, abs=5e-3)
    assert ground.slope == pytest.approx(np.tile([0.01, 0.03], (len(points), 1)), abs=1e-3)


@given(st.floats(0.01, 100), st.floats(-50, 50), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_units_and_zero_of_the_backgrounds_do_not_matter(atoms, gain, offset, seed):
    points, mates = atoms
    value, variance = noisy(np.sin(points[:, 0] / 50), seed), np.full(len(points), SD**2)
    one = shared_ground(points, value, variance, mates)
    other = shared_ground(points, gain * value + offset, gain**2 * variance, mates)
    assert other.level == pytest.approx(gain * one.level + offset, abs=1e-6 * (gain + abs(offset)))
    assert other.variance == pytest.approx(gain**2 * one.variance, rel=1e-6)
