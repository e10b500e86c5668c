import numpy as np
import pytest

from napari_rvae.detect.fit import TAIL_WIDTH, fit_atoms
from napari_rvae.detect.leftover import common_width, measure_leftover
from napari_rvae.render import render_gaussians
from scenes import SIDE, SIGMA, lattice


def scene(rng, *, noise=1.0, tail=0.0, jitter=0.0, dopant=4.0, ramp=0.0):
    """Honeycomb (places, frame) with some bright atoms, tails, jittering rows, uneven ground."""
    points, _ = lattice()
    y, x = points.T
    height = 100.0 * np.where(rng.random(y.size) < 0.05, dopant, 1.0)
    shift = rng.normal(0, jitter, SIDE)
    size = (SIDE, SIDE)
    frame = render_gaussians(y, x, height, SIGMA, size, row_shift=shift)
    frame += tail * render_gaussians(y, x, height, TAIL_WIDTH * SIGMA, size, row_shift=shift)
    rows, columns = np.indices(size) / SIDE
    frame += ramp * np.sin(2 * np.pi * (rows + 0.7 * columns)) + rng.normal(0, noise, size)
    return y, x, shift, frame


def fitted(frame, y, x, noise=1.0, **options):
    inside = (y > -0.5) & (x > -0.5) & (y < SIDE - 0.5) & (x < SIDE - 0.5)
    variance = np.full_like(frame, noise**2)
    start = np.clip(np.stack([y, x])[:, inside], 0, SIDE - 1)
    return inside, fit_atoms(frame, variance, *start, SIGMA, rounds=3, **options)


def errors(fit, y, x, inside):
    away = (np.minimum(y, x) > 15) & (np.maximum(y, x) < SIDE - 16)
    return np.stack([fit.y - y[inside], fit.x - x[inside]])[:, away[inside]]


def test_where_nothing_is_left_nothing_is_told(rng):
    y, x, _, frame = scene(rng, noise=10.0)
    _, fit = fitted(frame, y, x, noise=10.0)
    rest = measure_leftover(frame, np.full_like(frame, 100.0), fit, SIGMA)
    assert rest.tail == rest.rows.x_sd == rest.rows.y_sd == rest.trust == 0.0
    assert not rest.tails.any()
    assert not rest.moved.any()


def test_tails_are_measured_and_taken_off(rng):
    y, x, _, frame = scene(rng, tail=0.08)
    inside, first = fitted(frame, y, x)
    rest = measure_leftover(frame, np.ones_like(frame), first, SIGMA)
    assert 0.02 < rest.tail < 0.12  # the fits take some of it for background and height
    _, second = fitted(frame - rest.tails, y, x, tail=rest.tail)
    before, after = (np.sqrt(np.mean(errors(f, y, x, inside) ** 2)) for f in (first, second))
    assert after < 0.85 * before
    # heights mean what they meant
    assert np.median(second.amplitude) == pytest.approx(np.median(first.amplitude), rel=0.05)


def test_shifts_of_rows_are_told_and_undone(rng):
    y, x, shift, frame = scene(rng, jitter=0.15)
    inside, first = fitted(frame, y, x)
    rest = measure_leftover(frame, np.ones_like(frame), first, SIGMA)
    assert np.corrcoef(rest.rows.shift, shift)[0, 1] > 0.8
    assert rest.rows.shift.std() == pytest.approx(0.15, rel=0.35)
    _, second = fitted(frame - rest.moved, y, x)
    before, after = errors(first, y, x, inside)[1], errors(second, y, x, inside)[1]
    assert after.std() < before.std()


def test_missing_pixels_do_not_matter(rng):
    y, x, _, frame = scene(rng, jitter=0.15)
    frame[60:70, 40:90] = np.nan
    _, fit = fitted(frame, y, x)
    rest = measure_leftover(frame, np.ones_like(frame), fit, SIGMA)
    assert np.isfinite(rest.moved).all()
    assert rest.rows.shift.std() == pytest.approx(0.15, rel=0.4)


@pytest.mark.parametrize("ramp", [0.0, 20.0])
def test_a_slanted_ground_moves_no_atom(rng, ramp):
    y, x, _, frame = scene(rng, ramp=ramp, dopant=1.0)
    inside, fit = fitted(frame, y, x)
    assert np.sqrt(np.mean(errors(fit, y, x, inside) ** 2)) < 0.06


def test_what_is_doubtful_counts_in_part():
    looks = []
    for jitter in (*np.linspace(0.0, 0.05, 8), *np.linspace(0.1, 0.6, 11)):
        y, x, _, frame = scene(np.random.default_rng(0), noise=10.0, jitter=jitter)
        _, fit = fitted(frame, y, x, noise=10.0)
        looks.append(measure_leftover(frame, np.full_like(frame, 100.0), fit, SIGMA))
    trust = np.array([look.trust for look in looks])
    assert trust[0] == 0
    assert trust.max() == 1
    assert ((trust > 0) & (trust < 1)).any()
    assert np.abs(np.diff([look.rows.shift.std() for look in looks])).max() < 0.15


def test_a_row_of_dirt_is_no_shift(rng):
    y, x, _, frame = scene(rng, noise=10.0)
    frame[50:52] += 400.0 * rng.normal(size=(2, SIDE))
    _, fit = fitted(frame, y, x, noise=10.0)
    assert not measure_leftover(frame, np.full_like(frame, 100.0), fit, SIGMA).rows.shift.any()


def test_rows_that_seem_shifted_by_far_are_not(rng):
    y, x, _, frame = scene(rng, jitter=0.8 * SIGMA)
    _, fit = fitted(frame, y, x)
    assert not measure_leftover(frame, np.ones_like(frame), fit, SIGMA).rows.shift.any()


class TestCommonWidth:
    """One width for all atoms, by least squares."""

    @staticmethod
    def seen(frame, y, x, sigma, noise):
        inside = (y > -0.5) & (x > -0.5) & (y < SIDE - 0.5) & (x < SIDE - 0.5)
        start = np.clip(np.stack([y, x])[:, inside], 0, SIDE - 1)
        variance = np.full_like(frame, noise**2)
        fit = fit_atoms(frame, variance, *start, sigma, rounds=2)
        return common_width(frame, variance, fit, sigma)

    @pytest.mark.parametrize("tail", [0.0, 0.08])
    @pytest.mark.parametrize("factor", [0.94, 1.06])
    def test_a_wrong_width_gets_better(self, tail, factor, rng):
        y, x, _, frame = scene(rng, noise=5.0, tail=tail, ramp=20.0)
        width, error = self.seen(frame, y, x, factor * SIGMA, 5.0)
        assert abs(width / SIGMA - 1) < 0.6 * abs(factor - 1)
        assert error < 0.01 * SIGMA

    def test_the_right_width_stays(self, rng):
        y, x, _, frame = scene(rng, noise=10.0, ramp=20.0)
        width, error = self.seen(frame, y, x, SIGMA, 10.0)
        assert width == pytest.approx(SIGMA, abs=4 * error)

    def test_a_frame_without_atoms_tells_none(self, rng):
        frame = rng.normal(0, 1, (SIDE, SIDE))
        y = x = np.array([SIDE / 2])
        fit = fit_atoms(frame, np.ones_like(frame), y, x, SIGMA)
        fit.amplitude[:] = 0.0
        assert common_width(frame, np.ones_like(frame), fit, SIGMA) == (SIGMA, np.inf)
