import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_rvae.preprocess.noise import (
    drop_spikes,
    fill_missing,
    noise_curve,
    noise_level,
    robust_sd,
    row_noise,
    some_rows,
)
from napari_rvae.render import render_gaussians


@pytest.fixture
def atoms():
    """A noise-free picture of atoms 12 px apart, 1 high."""
    y, x = (grid.ravel() * 12.0 for grid in np.mgrid[:17, :17])
    return render_gaussians(y, x, 1.0, 2.9, (200, 200))


@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-12, 1.0, 1e6]))
def test_noise_level_of_white_noise(seed, unit):
    noise = np.random.default_rng(seed).normal(7 * unit, unit, (120, 120))
    assert noise_level(noise) == pytest.approx(unit, rel=0.08)


def test_atoms_are_no_noise(atoms, rng):
    noisy = 30 * atoms + rng.normal(0, 3, atoms.shape)
    assert noise_level(noisy) == pytest.approx(3, rel=0.1)


def test_noise_level_leaves_missing_pixels_out(atoms, rng):
    noisy = 30 * atoms + rng.normal(0, 3, atoms.shape)
    noisy[50:90, 20:70] = np.nan
    assert noise_level(noisy) == pytest.approx(3, rel=0.1)


@pytest.mark.parametrize("value", [0.0, 5.0, np.nan])
def test_without_noise_the_level_is_zero(value):
    assert noise_level(np.full((20, 20), value)) == 0


@pytest.mark.parametrize("unit", [1.0, 0.01, 40.0])
def test_the_gain_of_counts_is_one_in_any_unit(atoms, unit, rng):
    counts = rng.poisson(5 + 80 * atoms)
    curve = noise_curve(unit * counts)
    assert curve.gain == pytest.approx(unit, rel=0.15)
    assert curve.variance(np.array(45.0 * unit)) == pytest.approx(45 * unit**2, rel=0.15)


def test_the_floor_holds_the_readout_noise(atoms, rng):
    counts = rng.poisson(5 + 80 * atoms) + rng.normal(0, 6, atoms.shape)
    curve = noise_curve(counts)
    assert curve.gain == pytest.approx(1, rel=0.25)
    assert curve.variance(np.array(45.0)) == pytest.approx(45 + 36, rel=0.15)


def test_noise_that_does_not_grow_has_little_gain(atoms, rng):
    curve = noise_curve(100 * atoms + rng.normal(0, 5, atoms.shape))
    assert 0 <= curve.gain < 0.06
    assert curve.variance(np.array([0.0, 50.0])) == pytest.approx(25, rel=0.2)


def test_the_variance_is_always_positive():
    curve = noise_curve(np.zeros((16, 16)))
    assert curve.gain == 0
    assert (curve.variance(np.array([-1e3, 0.0, 1e3])) > 0).all()


@pytest.mark.parametrize("sd", [0.0, 0.6, 3.0])
def test_row_noise_is_told_from_white_noise(atoms, sd, rng):
    noisy = 30 * atoms + rng.normal(0, 2, atoms.shape) + rng.normal(0, sd, (200, 1))
    assert row_noise(noisy) == pytest.approx(sd, rel=0.3, abs=0.3)


def test_offsets_of_columns_are_no_row_noise(rng):
    noisy = rng.normal(0, 2, (200, 200)) + rng.normal(0, 3, (1, 200))
    assert row_noise(noisy) < 0.4


def test_row_noise_of_nothing_is_zero():
    assert row_noise(np.full((20, 20), np.nan)) == 0
    assert row_noise(np.zeros((20, 20))) == 0


def test_missing_pixels_are_filled_with_the_median():
    image = np.arange(16.0).reshape(4, 4)
    assert fill_missing(image) is image
    image[0, 0] = np.nan
    filled = fill_missing(image)
    assert filled[0, 0] == 8
    assert (filled[1:] == image[1:]).all()
    assert (fill_missing(np.full((3, 3), np.nan)) == 0).all()


def test_spikes_are_dropped_and_atoms_are_not(atoms, rng):
    noisy = 60 * atoms + rng.normal(0, 3, atoms.shape)
    assert drop_spikes(noisy) is noisy
    lone = render_gaussians(20, 20, 1e4, 1.0, (200, 200)) + rng.normal(0, 1, (200, 200))
    assert drop_spikes(lone) is lone
    noisy[30, 40], noisy[199, 0], noisy[80, 80] = 1e5, -1e4, np.nan
    missing = np.argwhere(np.isnan(drop_spikes(noisy)))
    assert missing.tolist() == [[30, 40], [80, 80], [199, 0]]


def test_of_large_pictures_some_rows_tell_the_noise(rng):
    large = rng.normal(0, 2, (1024, 600)) + 5 * rng.integers(0, 2, (1024, 1))
    some = some_rows(large)
    assert 2**16 < some.size <= 2**17
    assert (some[0] == large[0]).all()
    assert (some[-1] == large[-1]).all()
    assert noise_level(rng.normal(0, 2, (1024, 600))) == pytest.approx(2, rel=0.02)
    assert robust_sd(rng.normal(0, 2, (1024, 600))) == pytest.approx(2, rel=0.02)
    assert some_rows(large[:100]) is not None
    assert len(some_rows(large[:100])) == 100
