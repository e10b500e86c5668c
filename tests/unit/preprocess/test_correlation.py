import numpy as np
import pytest
from scipy import ndimage

from napari_rvae.preprocess import noise_correlation
from napari_rvae.preprocess.correlation import MAX_LAG
from napari_rvae.render import render_gaussians


@pytest.fixture(scope="module")
def atoms():
    y, x = (grid.ravel() * 14.0 for grid in np.mgrid[:22, :22])
    return 30 * render_gaussians(y, x, 1.0, 3.0, (300, 300))


def test_white_noise_is_not_correlated(atoms, rng):
    for picture in (0, atoms):
        found = noise_correlation(picture + rng.normal(0, 2, (300, 300)))
        assert np.abs([found.along_y, found.along_x]).max() < 5 * found.error
        assert found.sd == pytest.approx(2, rel=0.03)


def test_the_error_is_the_scatter():
    found = [
        noise_correlation(np.random.default_rng(seed).normal(size=(96, 96))) for seed in range(40)
    ]
    scatter = np.std([one.along_x for one in found], axis=0)
    assert scatter == pytest.approx(np.full(MAX_LAG, found[0].error), rel=0.5)


@pytest.mark.parametrize("axis", [0, 1])
def test_noise_blurred_along_one_axis(axis, atoms, rng):
    """A running mean over two pixels correlates neighbours by one half, the others not at all."""
    noise = ndimage.uniform_filter1d(rng.normal(0, 2, (300, 300)), 2, axis=axis)
    found = noise_correlation(atoms + noise)
    along, across = (found.along_y, found.along_x)[:: 1 if axis == 0 else -1]
    np.testing.assert_allclose(along, [0.5, 0, 0, 0], atol=0.05)
    np.testing.assert_allclose(across, 0, atol=0.05)
    assert found.sd == pytest.approx(noise.std(), rel=0.05)


def test_smoothed_noise(atoms, rng):
    noise = ndimage.gaussian_filter(rng.normal(0, 3, (300, 300)), 0.7)
    found = noise_correlation(atoms + noise)
    expected = np.exp(-(np.arange(1, 5) ** 2) / (4 * 0.7**2))
    np.testing.assert_allclose(found.along_x, expected, atol=0.07)
    np.testing.assert_allclose(found.along_y, expected, atol=0.07)
    assert found.sd == pytest.approx(noise.std(), rel=0.1)


def test_offsets_of_rows_are_no_correlation_along_x(atoms, rng):
    noise = rng.normal(0, 2, (300, 300)) + rng.normal(0, 1, (300, 1))
    assert np.abs(noise_correlation(atoms + noise).along_x).max() < 0.06


def test_the_autocorrelation_on_the_grid(rng):
    noise = ndimage.uniform_filter1d(rng.normal(size=(300, 300)), 2, axis=1)
    found = noise_correlation(noise)
    grid = found.autocorrelation()
    assert grid.shape == (2 * MAX_LAG + 1,) * 2
    assert grid[MAX_LAG, MAX_LAG] == 1
    np.testing.assert_allclose(grid, grid[::-1, ::-1])
    np.testing.assert_allclose(grid[MAX_LAG, MAX_LAG + 1 :], found.along_x)
    np.testing.assert_allclose(grid[MAX_LAG + 1 :, MAX_LAG], found.along_y)


@pytest.mark.parametrize("unit", [1e-30, 1e30])
def test_the_unit_does_not_matter(unit, rng):
    noise = rng.normal(size=(64, 64))
    one, other = noise_correlation(noise), noise_correlation(unit * noise)
    np.testing.assert_allclose(one.along_x, other.along_x, rtol=1e-9)
    assert other.sd == pytest.approx(unit * one.sd)


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((64, 64)),
        np.full((64, 64), np.nan),
        np.full((64, 64), 1e30),
        np.random.default_rng(0).normal(size=(1, 64)),
        np.random.default_rng(0).normal(size=(31, 300)),
    ],
)
def test_without_noise_nothing_is_known(frame):
    found = noise_correlation(frame)
    assert np.isnan([*found.along_y, *found.along_x, found.sd]).all()


def test_a_picture_without_noise_is_no_noise(atoms):
    assert np.isnan(noise_correlation(atoms).sd)


def test_missing_pixels(rng):
    noise = rng.normal(0, 2, (300, 300))
    noise[100:160, 40:200] = np.nan
    found = noise_correlation(noise)
    assert np.abs([found.along_y, found.along_x]).max() < 0.08
