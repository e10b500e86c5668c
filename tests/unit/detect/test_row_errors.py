"""Shifts and offsets of rows, told together with the atoms that they move."""

import numpy as np
import pytest
from scipy import ndimage

from napari_rvae.detect.drawing import draw_atoms
from napari_rvae.detect.fit import fit_atoms
from napari_rvae.detect.row_errors import measure_rows, trusted
from napari_rvae.preprocess.background import slow_background
from napari_rvae.preprocess.rows import destripe
from napari_rvae.render import render_gaussians
from scenes import SIDE, SIGMA, lattice

#: One direction in which rows of a honeycomb lie along the scan, and one in which they do not.
ALONG, ACROSS = np.pi / 6, 0.2

#: Rows that show no atoms from outside.
INNER = slice(12, SIDE - 12)


def scene(rng, *, angle=ACROSS, noise=5.0, jitter=0.0, offset=0.0, form=None):
    """Places (2, n) of atoms 100 high, shifts and offsets of the rows, and the frame."""
    places = lattice(angle=angle)[0].T
    shift, level = rng.normal(0, jitter, SIDE), rng.normal(0, offset, SIDE)
    size = (SIDE, SIDE)
    if form is None:
        frame = render_gaussians(*places, 100.0, SIGMA, size, row_shift=shift)
    else:
        frame = draw_atoms(*places, np.full(places.shape[1], 100.0), SIGMA, size, form=form)
    return places, shift, level, frame + level[:, None] + rng.normal(0, noise, size)


def told(frame, places, noise, **options):
    """What the atoms, fitted, tell of the rows; and the fit."""
    variance = np.full(frame.shape, noise**2)
    inside = ((places > -0.5) & (places < SIDE - 0.5)).all(axis=0)
    start = np.clip(places[:, inside], 0, SIDE - 1)
    fit = fit_atoms(frame, variance, *start, SIGMA, rounds=3)
    atoms = draw_atoms(fit.y, fit.x, fit.amplitude, SIGMA, frame.shape)
    rest = frame - atoms
    rest -= slow_background(rest, 35)
    return measure_rows(frame, variance, rest, atoms, fit, SIGMA, **options), fit, atoms


def errors(fit, places):
    """Errors (2, n) of the atoms away from the rim."""
    gap = np.hypot(*(places[:, :, None] - np.stack([fit.y, fit.x])[:, None])).argmin(axis=0)
    true = places[:, gap]
    inner = ((true > 20) & (true < SIDE - 21)).all(axis=0)
    return (np.stack([fit.y, fit.x]) - true)[:, inner]


def refitted(frame, places, noise, rows, atoms):
    change = rows.offset[:, None] - rows.shift[:, None] * np.gradient(atoms, axis=1)
    return told(frame - change, places, noise)[1]


@pytest.mark.parametrize("angle", [ALONG, ACROSS])
@pytest.mark.parametrize("noise", [1.0, 5.0, 15.0])
def test_shifts_leave_smaller_errors_and_say_which(angle, noise, rng):
    places, shift, _, frame = scene(rng, angle=angle, noise=noise, jitter=0.15)
    rows, first, atoms = told(frame, places, noise)
    assert np.corrcoef(rows.shift[INNER], shift[INNER])[0, 1] > 0.6
    second = refitted(frame, places, noise, rows, atoms)
    before, after = errors(first, places)[1], errors(second, places)[1]
    # atoms in line hide what is alike over their height
    assert after.std() < (1 if angle == ACROSS else 1.2) * before.std()
    sd = np.hypot(np.median(second.x_sd), rows.x_sd)
    assert 0.75 < after.std() / sd < 1.3


@pytest.mark.parametrize("angle", [ALONG, ACROSS])
def test_offsets_are_told_better_than_without_atoms(angle, rng):
    places, _, level, frame = scene(rng, angle=angle, noise=5.0, offset=4.0)
    plain = destripe(frame)
    taken = (frame - plain).mean(axis=1)
    rows, first, atoms = told(plain, places, 5.0, taken=taken)
    assert rows.trust == 1
    fine = (
        part - ndimage.gaussian_filter1d(part, 6.0) for part in (level - taken, rows.offset)
    )  # what varies slowly is ground, and moves no atom
    missing, added = (part[INNER] for part in fine)
    assert np.std(added - missing) < 0.8 * np.std(missing)
    second = refitted(plain, places, 5.0, rows, atoms)
    before, after = errors(first, places)[0], errors(second, places)[0]
    assert after.std() < 0.9 * before.std()
    sd = np.hypot(np.median(second.y_sd), rows.y_sd / 100)
    assert 0.75 < after.std() / sd < 1.3


def test_without_offsets_taken_off_none_are_looked_for(rng):
    places, _, _, frame = scene(rng, offset=4.0)
    for taken in (None, np.zeros(SIDE)):
        rows = told(frame, places, 5.0, taken=taken)[0]
        assert not rows.offset.any()
        assert rows.y_sd == 0


def test_offsets_far_beyond_those_taken_off_are_none(rng):
    places, _, level, frame = scene(rng, offset=20.0)
    taken = 0.05 * level
    assert not told(frame - taken[:, None], places, 5.0, taken=taken)[0].offset.any()


def test_slanted_atoms_in_line_are_no_shifts_of_rows(rng):
    form = np.array([[1.0009, 0.03], [0.03, 1.0]])
    places, _, _, frame = scene(rng, angle=ALONG, noise=2.0, form=form)
    rows = told(frame, places, 2.0)[0]
    assert rows.shift.std() < 0.01  # by the slant alone they are shifted by up to 0.1 px


def test_correlated_noise_is_no_shift_once_its_size_is_told(rng):
    places = lattice()[0].T
    frame = render_gaussians(*places, 100.0, SIGMA, (SIDE, SIDE))
    noise = ndimage.gaussian_filter(rng.normal(0, 1, frame.shape), 1.5)
    frame += 10 * noise / noise.std()
    inflation = 1.5 * np.sqrt(4 * np.pi)  # of white noise with the same power over an atom
    assert told(frame, places, 10.0)[0].shift.any()
    assert not told(frame, places, 10.0, inflation=inflation)[0].shift.any()


def test_without_atoms_nothing_is_told(rng):
    frame = rng.normal(0, 1, (SIDE, SIDE))
    fit = fit_atoms(frame, np.ones_like(frame), np.array([50.0]), np.array([50.0]), SIGMA)
    none = fit.select(np.zeros(1, bool))
    for some in (fit, none):
        atoms = draw_atoms(some.y, some.x, some.amplitude, SIGMA, frame.shape)
        rows = measure_rows(frame, np.ones_like(frame), frame - atoms, atoms, some, SIGMA)
        assert not rows.shift.any()
        assert rows.trust == rows.x_sd == 0


def test_what_is_doubtful_is_believed_in_part():
    assert trusted(-1.0, 1.0) == trusted(3.9, 1.0) == 0
    assert trusted(5.0, 1.0) == pytest.approx(0.5)
    assert trusted(7.0, 1.0) == 1
