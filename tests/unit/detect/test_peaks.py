import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_rvae.detect.peaks import blob_filter, highest_near, local_maxima
from napari_rvae.preprocess.noise import noise_level
from napari_rvae.render import render_gaussians

DENSITY = 1 / 12.0**2


@given(st.floats(10, 40), st.floats(10, 40))
def test_a_maximum_is_found_below_a_pixel(y, x):
    y_found, x_found, height = local_maxima(render_gaussians(y, x, 3.0, 2.5, (50, 50)), 3.0)
    assert len(height) == 1  # even where pixels on both sides of the top are equal
    assert np.hypot(y_found - y, x_found - x).max() < 0.1
    assert height.max() == pytest.approx(3, rel=0.05)


def test_maxima_at_the_rim_stay_in_the_frame():
    picture = render_gaussians([0, 0, 39, 20], [0, 25, 39, 39], 1.0, 2.0, (40, 40))
    y, x, _ = local_maxima(picture, 2.4)
    assert sorted(zip(y.round().tolist(), x.round().tolist(), strict=True)) == [
        (0, 0),
        (0, 25),
        (20, 39),
        (39, 39),
    ]


def test_flat_pictures_have_no_maxima():
    assert local_maxima(np.zeros((20, 20)), 3.0)[0].size == 0
    assert local_maxima(np.full((20, 20), -1.0), 3.0)[0].size == 0


def test_the_filter_lowers_noise_as_it_says(rng):
    y, x = (grid.ravel() * 12.0 for grid in np.mgrid[:21, :21])
    atoms = render_gaussians(y, x, 6.0, 2.9, (256, 256))
    (first, left), (second, _) = (
        blob_filter(noisy, 2.9, noise_level(noisy), density=DENSITY)
        for noisy in atoms + rng.normal(0, 2, (2, 256, 256))
    )
    assert first.shape == atoms.shape
    assert first.mean() == pytest.approx(0, abs=0.05)
    assert left < 1
    assert np.std(first - second) / np.sqrt(2) == pytest.approx(left, rel=0.2)


def test_a_vacancy_is_not_filled(rng):
    y, x = (grid.ravel() * 12.0 + 12 for grid in np.mgrid[:15, :15])
    full = np.ones(y.size)
    full[112] = 0  # in the middle
    noisy = render_gaussians(y, x, 20 * full, 2.9, (200, 200)) + rng.normal(0, 4, (200, 200))
    filtered, left = blob_filter(noisy, 2.9, 4.0, density=DENSITY)
    at_atoms = filtered[y.astype(int), x.astype(int)]
    between = filtered[6 + y[:14].astype(int), 6 + x[:14].astype(int)]
    assert at_atoms[112] < np.median(between) + 4 * left
    assert np.delete(at_atoms, 112).min() > at_atoms[112] + 4 * left


@pytest.mark.parametrize("shape", [(8, 8), (8, 300), (33, 57)])
def test_any_shape_is_filtered(shape, rng):
    filtered, left = blob_filter(rng.normal(0, 1, shape), 2.9, 1.0, density=DENSITY)
    assert filtered.shape == shape
    assert np.isfinite(filtered).all()
    assert left >= 0


def test_the_noise_that_is_left_is_that_of_filtered_noise(rng):
    noise = rng.normal(0, 2.0, (301, 256))  # odd and even sides
    filtered, left = blob_filter(noise, 2.5, 2.0, density=0.005)
    assert filtered.std() == pytest.approx(left, rel=0.1)


def test_the_highest_pixel_near_a_place_may_share_a_side_or_a_corner():
    picture = np.arange(12.0).reshape(3, 4)
    row, column = np.array([0, 1, 2]), np.array([0, 1, 3])
    assert highest_near(picture, row, column, corners=True).tolist() == [5, 10, 11]
    assert highest_near(picture, row, column, corners=False).tolist() == [4, 9, 11]
