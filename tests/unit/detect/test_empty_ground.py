"""Where hardly any atoms are, noise of whatever kind is no atom."""

import warnings

import numpy as np
import pytest
from scipy import signal

from napari_rvae import detect_atoms
from napari_rvae.errors import NoLatticeWarning
from napari_rvae.render import render_gaussians
from scenes import SIDE, SIGMA, SPACING, lattice


def counted(expected, rng, readout=0.5, correlation=0.5):
    """Counts, with the noise of a detector that is slow along the rows."""
    white = rng.normal(size=(len(expected), expected.shape[1] + 50))
    slow = signal.lfilter([np.sqrt(1 - correlation**2)], [1, -correlation], white, axis=1)
    return rng.poisson(expected) + readout * slow[:, 50:]


def found(frame):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoLatticeWarning)
        return detect_atoms(frame)[["y", "x"]].to_numpy()


def half(counts):
    """Crystal on the left of a frame twice as wide; its places, and the frame's expectation."""
    points, _ = lattice("honeycomb", side=2 * SIDE)
    points = points[points[:, 1] < 0.8 * SIDE]
    drawn = render_gaussians(*points.T, counts, SIGMA, (SIDE, 2 * SIDE))
    return points, drawn + 0.15 * counts


@pytest.mark.parametrize("counts", [15.0, 5.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_there_are_no_atoms_in_the_vacuum_beside_a_crystal(counts, seed):
    points, expected = half(counts)
    atoms = found(counted(expected, np.random.default_rng(seed)))
    assert not (atoms[:, 1] > 0.8 * SIDE + 5).any()
    inner = points[((points > SPACING) & (points < SIDE - SPACING)).all(axis=1)]
    inner = inner[inner[:, 1] < 0.8 * SIDE - SPACING]
    hit = [np.hypot(*(atoms - point).T).min() < 0.3 * SPACING for point in inner]
    assert np.mean(hit) > 0.98


@pytest.mark.parametrize("seed", [0, 1])
def test_an_adatom_in_the_vacuum_is_found(seed):
    _, expected = half(15.0)
    place = np.array([0.5 * SIDE, 1.5 * SIDE])
    expected += render_gaussians(*place, 15.0, SIGMA, expected.shape)
    atoms = found(counted(expected, np.random.default_rng(seed)))
    beyond = atoms[atoms[:, 1] > 0.8 * SIDE + 5]
    assert len(beyond) == 1
    assert np.hypot(*(beyond[0] - place)) < 0.3 * SPACING


def test_few_atoms_in_correlated_noise(rng):
    places = np.array([[60, 50], [170, 70], [50, 180], [140, 160], [200, 200]], float)
    expected = render_gaussians(*places.T, 15.0, SIGMA, (SIDE + 32, SIDE + 32)) + 1.5
    atoms = found(counted(expected, rng))
    gaps = np.hypot(*(atoms[:, None] - places[None]).T)
    assert gaps.min(axis=1).max() < 0.3 * SPACING  # all are found
    assert len(atoms) <= len(places) + 1
