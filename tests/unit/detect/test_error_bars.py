"""Standard deviations of positions where a frame is not alike everywhere."""

import numpy as np
import pytest

from napari_rvae import detect_atoms
from napari_rvae.render import render_gaussians
from scenes import SIGMA, SPACING, lattice

SIDE = 288


def square(*, angle=0.4, side=SIDE, spacing=SPACING):
    """Square lattice (N, 2) that fills a frame and its surroundings."""
    step = np.stack(np.meshgrid(*2 * [np.arange(-60, 61)], indexing="ij"), -1).reshape(-1, 2)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    points = spacing * step @ turn + side / 2
    return points[((points > -4 * SIGMA) & (points < side + 4 * SIGMA)).all(axis=1)]


def counted(points, counts, *, ground, seed=3, side=SIDE):
    """Poisson counts of atoms on a ground, with some readout noise."""
    rng = np.random.default_rng(seed)
    expected = render_gaussians(*points.T, counts, SIGMA, (side, side)) + ground
    return rng.poisson(expected) + rng.normal(0, 0.3, expected.shape)


def errors(table, points):
    """Errors (n, 2) of the points that were found, their standard deviations, which they are."""
    found, sd = table[["y", "x"]].to_numpy(), table[["y_sd", "x_sd"]].to_numpy()
    gap = np.hypot(*(points[:, None] - found[None]).T).T
    near, here = gap.argmin(axis=1), gap.min(axis=1) < 0.3 * SPACING
    return found[near[here]] - points[here], sd[near[here]], here


@pytest.mark.parametrize("counts", [100.0, 15.0])
def test_a_particle_in_vacuum_has_honest_errors(counts):
    """The noise of the gaps between atoms is that of their mean, not that of the whole frame's."""
    points = square()
    points = points[np.hypot(*(points - SIDE / 2).T) < 85]
    error, sd, here = errors(detect_atoms(counted(points, counts, ground=0.02 * counts)), points)
    assert here.mean() > 0.98
    assert 0.8 < np.std(error / sd) < 1.25  # 3.5 where the filter's zero was taken for no noise
    assert np.sqrt(np.mean(error**2)) < 0.65 / np.sqrt(counts)  # 0.07 px at 100 counts


def test_equal_atoms_are_equal_on_a_bump_of_the_ground():
    """A bump as high as the atoms, over which planes would level the background."""
    points, _ = lattice(side=SIDE, angle=0.3)
    here = np.array([0.75, 0.25]) * SIDE
    row, column = np.indices((SIDE, SIDE))
    bump = 40.0 * np.exp(-((row - here[0]) ** 2 + (column - here[1]) ** 2) / (2 * 80**2))
    table = detect_atoms(counted(points, 40.0, ground=4.0 + bump))
    away = np.hypot(*(table[["y", "x"]].to_numpy() - here).T)
    top, far = (table["amplitude"][chosen].median() for chosen in (away < 60, away > 120))
    assert top == pytest.approx(40, rel=0.06)  # 45 where they are levelled
    assert far == pytest.approx(40, rel=0.04)


@pytest.mark.parametrize(
    ("kind", "share"), [("honeycomb", 0.1), ("honeycomb", 0.3), ("square", 0.3)]
)
def test_offsets_of_rows_far_above_the_noise_leave_honest_errors(kind, share):
    """One frequency of them that is strong by chance is no lattice once the atoms are known."""
    points = square(side=384, angle=0.2) if kind == "square" else lattice(side=384, angle=0.1)[0]
    frame = counted(points, 100.0, ground=10.0, seed=7, side=384)
    frame += np.random.default_rng(8).normal(0, 100 * share, (384, 1))
    error, sd, here = errors(detect_atoms(frame), points)
    inner = ((points > 15) & (points < 368)).all(axis=1)
    assert here[inner].all()
    z = (error / sd)[inner[here]]
    assert 0.85 < np.std(z[:, 1]) < 1.15
    assert 0.85 < np.std(z[:, 0]) < 1.15  # along y


@pytest.mark.parametrize("seed", [3, 4])
def test_atoms_beyond_the_rim_are_in_the_errors(seed):
    """They pull those inside: nobody fits them, but a lattice hardly ends there."""
    points = square(angle=0.2)
    error, sd, here = errors(detect_atoms(counted(points, 100.0, ground=10.0, seed=seed)), points)
    away = np.minimum(points, SIDE - 1 - points).min(axis=1)[here]
    rim, inner = (away > 3) & (away < 9), away > 1.5 * SPACING
    assert np.std((error / sd)[rim]) < 1.4  # 2.7 where nothing is known of them
    assert np.std((error / sd)[inner]) < 1.2
