import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_rvae.errors import InputError
from napari_rvae.render import render_gaussians


def test_a_gaussian_has_its_formula():
    y, x = np.mgrid[:40, :30]
    expected = 3.0 * np.exp(-((y - 17.3) ** 2 + (x - 12.6) ** 2) / (2 * 2.1**2))
    np.testing.assert_allclose(
        render_gaussians([17.3], [12.6], [3.0], 2.1, (40, 30)), expected, atol=3e-6
    )


def test_the_sum_of_a_gaussian_is_two_pi_sigma_squared():
    picture = render_gaussians([32.2], [31.7], [5.0], [3.0], (64, 64))
    assert picture.sum() == pytest.approx(2 * math.pi * 9.0 * 5.0, rel=1e-5)


@given(
    st.integers(-8, 8),
    st.integers(-8, 8),
    st.lists(st.tuples(st.floats(20, 40), st.floats(20, 40)), min_size=1, max_size=5),
)
def test_whole_shifts_of_the_atoms_shift_the_picture(dy, dx, atoms):
    y, x = np.array(atoms).T
    still = render_gaussians(y, x, 1.0, 1.5, (60, 60))
    moved = render_gaussians(y + dy, x + dx, 1.0, 1.5, (60, 60))
    np.testing.assert_allclose(moved, np.roll(still, (dy, dx), (0, 1)), atol=1e-6)


def test_pictures_add_up(rng):
    y, x = rng.uniform(-5, 45, (2, 30))
    heights, widths = rng.uniform(0.5, 2, 30), rng.uniform(1, 3, 30)
    whole = render_gaussians(y, x, heights, widths, (40, 40))
    parts = [render_gaussians(y[k], x[k], heights[k], widths[k], (40, 40)) for k in range(y.size)]
    np.testing.assert_allclose(whole, np.sum(parts, axis=0), atol=1e-5)


def test_more_atoms_than_one_batch(rng):
    y, x = rng.uniform(0, 31, (2, 5000))
    whole = render_gaussians(y, x, 1.0, 1.0, (32, 32))
    halves = [render_gaussians(y[k::2], x[k::2], 1.0, 1.0, (32, 32)) for k in range(2)]
    np.testing.assert_allclose(whole, halves[0] + halves[1], rtol=1e-9)


def test_row_shift_moves_a_row_to_the_right():
    shift = np.zeros(32)
    shift[16] = 3.0
    picture = render_gaussians([16], [10], [1.0], 2.0, (32, 32), row_shift=shift)
    assert picture[16].argmax() == 13
    assert picture[15].argmax() == 10


def test_atoms_outside_leave_only_their_tail():
    picture = render_gaussians([-3.0, 500.0], [10.0, 10.0], 1.0, 2.0, (20, 20))
    assert picture[0, 10] == pytest.approx(math.exp(-9 / 8), rel=1e-6)
    assert picture[-1].max() == 0


def test_no_atoms_give_an_empty_picture():
    assert not render_gaussians([], [], [], 1.0, (9, 8)).any()


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan])
def test_a_width_that_is_not_positive_is_refused(sigma):
    with pytest.raises(InputError, match="sigma"):
        render_gaussians([1], [1], [1], sigma, (8, 8))


def test_wide_gaussians_do_not_fill_the_memory():
    import tracemalloc

    tracemalloc.start()
    render_gaussians(np.full(60, 50.0), np.full(60, 50.0), 1.0, 40.0, (100, 100))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 300e6


@pytest.mark.parametrize("place", [math.nan, math.inf])
def test_atoms_without_a_place_are_left_out(place):
    picture = render_gaussians([place, 5.0], [5.0, 5.0], 1.0, 1.0, (11, 11))
    np.testing.assert_allclose(picture, render_gaussians([5.0], [5.0], 1.0, 1.0, (11, 11)))
