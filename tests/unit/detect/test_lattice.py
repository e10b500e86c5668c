import numpy as np
import pytest

from napari_rvae.detect.lattice import lattice_view
from scenes import SIDE, SPACING, lattice


def inside(points):
    return points[((points >= 0) & (points <= SIDE - 1)).all(axis=1)]


@pytest.fixture(params=["honeycomb", "perovskite"])
def atoms(request, rng):
    points = inside(lattice(request.param)[0])
    return points + rng.normal(0, 0.3, points.shape)


def view(points, likely, amplitude=None):
    amplitude = np.ones(len(points)) if amplitude is None else amplitude
    return lattice_view(points, amplitude, likely, SPACING, (SIDE, SIDE))


def test_every_lattice_site_is_supported(atoms):
    support = view(atoms, np.ones(len(atoms), bool)).support
    assert support.min() > 0.5
    assert np.median(support) > 0.95


def test_a_weak_atom_is_supported_by_the_others(atoms, rng):
    likely = rng.random(len(atoms)) > 0.1
    assert view(atoms, likely).support[~likely].min() > 0.35


def test_interstitial_places_are_not(atoms):
    middle = atoms[((atoms > 40) & (atoms < SIDE - 40)).all(axis=1)]
    between = middle + 0.5 * SPACING * np.array([np.sin(0.2), np.cos(0.2)])
    points = np.concatenate([atoms, between])
    support = view(points, np.arange(len(points)) < len(atoms)).support[len(atoms) :]
    assert support.max() < 0.35


def test_nor_are_the_middles_of_rings(rng):
    points, sublattice = lattice("honeycomb")
    # opposite the three neighbours of an atom of sublattice 0 lie the middles of its rings
    bond = SPACING * np.array([-np.sin(0.2), -np.cos(0.2)])
    steps = [points[sublattice == 0] + sign * bond for sign in (-1, 1)]
    gaps = [np.hypot(*(s[:, None] - points[None]).T).min(axis=0).mean() for s in steps]
    rings = inside(steps[int(np.argmax(gaps))])
    rings = rings[((rings > 30) & (rings < SIDE - 30)).all(axis=1)]
    atoms = inside(points) + rng.normal(0, 0.3, inside(points).shape)
    both = np.concatenate([atoms, rings])
    support = view(both, np.arange(len(both)) < len(atoms)).support[len(atoms) :]
    assert len(rings) > 20
    assert np.nanmax(support) < 0.35


def test_random_points_make_no_lattice():
    for seed in range(4):
        points = np.random.default_rng(seed).uniform(0, SIDE, (300, 2))
        assert np.isnan(view(points, np.ones(300, bool)).support).mean() > 0.9


def test_few_points_or_no_distance_make_no_lattice(atoms):
    few = atoms[:8]
    assert np.isnan(view(few, np.ones(8, bool)).support).all()
    nothing = lattice_view(
        atoms, np.ones(len(atoms)), np.ones(len(atoms), bool), np.nan, (SIDE, SIDE)
    )
    assert np.isnan(nothing.support).all()
    assert np.isnan(nothing.amplitude).all()


def test_the_expected_height_is_that_of_the_fainter_mates():
    points, sublattice = lattice("perovskite")
    keep = ((points >= 0) & (points <= SIDE - 1)).all(axis=1)
    points, height = points[keep], np.where(sublattice[keep] == 0, 100.0, 45.0)
    seen = view(points, np.ones(len(points), bool), height)
    middle = ((points > 40) & (points < SIDE - 40)).all(axis=1)
    assert (seen.amplitude[middle] >= 0.99 * 45).all()
    assert (seen.amplitude[middle] <= 1.01 * height[middle]).all()


def test_a_second_look_is_taken_only_where_atoms_have_changed(rng):
    points, _ = lattice("honeycomb", side=700)
    points = points[((points >= 0) & (points <= 699)).all(axis=1)]
    height = rng.uniform(0.5, 1.5, len(points))
    first = rng.random(len(points)) > 0.05
    looks = [lattice_view(points, height, first, SPACING, (700, 700))]
    second = first.copy()
    second[:40] = ~second[:40]  # in one corner
    looks += [
        lattice_view(points, height, second, SPACING, (700, 700), before=before)
        for before in (None, (first, looks[0]))
    ]
    for name in ("support", "amplitude"):
        values = [getattr(look, name) for look in looks]
        assert np.array_equal(values[1], values[2], equal_nan=True)
        assert not np.array_equal(values[0], values[1], equal_nan=True)
