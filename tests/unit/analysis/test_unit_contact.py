"""Distorted atoms of a host beside a unit of distorted atoms, with known truth."""

from __future__ import annotations

import numpy as np
import pytest

from napari_rvae.analysis.appearance import SURELY_ALIKE, TOLERANCE
from napari_rvae.analysis.units.contact import with_contacts
from napari_rvae.analysis.units.model import UnitModel
from napari_rvae.analysis.units.sites import Evidence
from napari_rvae.analysis.units.space import FeatureSpace

#: Row of the order parameter that is changed, and by how much two atoms may differ in it.
PSI4, ALIKE = 4, SURELY_ALIKE * TOLERANCE[4]


def chain(psi, group, *, n_frames=1, bright=1.0):
    """A chain of bonded atoms; each is of the host (0), a unit (1), or of none (-1)."""
    n_atoms = len(psi)
    central = np.zeros((n_atoms * n_frames, 10))
    central[:, 0], central[:, 7:] = 3.0, 1.0
    central[:, PSI4] = np.tile(psi, n_frames)
    tall = np.tile(group, n_frames)
    central[tall == 1, -1] = bright
    membership = np.where(np.stack([tall == 0, tall == 1], axis=1), 0.9, 0.1)
    membership[tall < 0] = np.nan
    sites = Evidence(
        central=central,
        place=np.tile(np.arange(n_atoms), n_frames),
        frame=np.repeat(np.arange(n_frames), n_atoms),
        kind=np.ones(n_atoms * n_frames, np.int64),
        membership=np.zeros((n_atoms * n_frames, 0)),
    )
    first = (n_atoms * np.arange(n_frames)[:, None] + np.arange(n_atoms - 1)).ravel()
    return membership, sites, np.stack([first, first + 1], axis=1)


def model_of(ring=0):
    empty = np.zeros(0)
    return UnitModel(
        space=FeatureSpace((), np.zeros(0, bool), empty, empty, empty, np.zeros((0, 0))),
        mean=np.zeros((2, 0)),
        covariance=np.zeros((2, 0, 0)),
        weight=np.full(2, 0.5),
        environment=np.arange(2),
        host=np.zeros(1, np.int64),
        noise=1.0,
        starts=np.zeros((2, 0, 0)),
        ring=np.array([0, ring]),
        ring_error=np.full(2, 0.5),
        bonded=True,
    )


GROUPS = [np.array([0]), np.array([1])]


def joined(membership, sites, bonds, *, turn=None, ring=0):
    turn = np.zeros(len(membership)) if turn is None else turn
    return with_contacts(membership, GROUPS, model_of(ring), sites, bonds, turn)


def units_of(found):
    return np.where(np.isfinite(found).all(axis=1), np.nan_to_num(found).argmax(axis=1), -1)


def test_a_distorted_atom_beside_a_distorted_unit_belongs_to_it():
    psi = np.array([0.0] * 8 + [1.5 * ALIKE, 3 * ALIKE, 3 * ALIKE])
    group = np.array([0] * 9 + [1, 1])
    membership, sites, bonds = chain(psi, group, n_frames=3)
    found = joined(membership, sites, bonds)
    assert units_of(found).reshape(3, -1).tolist() == [[0] * 8 + [1] * 3] * 3
    np.testing.assert_allclose(found.sum(axis=1), 1)
    # odds of 1.5 squared over 1.8, of what the host had
    np.testing.assert_allclose(found[8, 1], 0.1 + 0.9 * 1.25 / 2.25)


def test_an_atom_like_the_hosts_in_a_distorted_unit_belongs_to_the_host():
    psi = np.array([0.0] * 8 + [ALIKE] + [3 * ALIKE] * 4)
    membership, sites, bonds = chain(psi, np.array([0] * 8 + [1] * 5), n_frames=3)
    found = joined(membership, sites, bonds)
    assert units_of(found).reshape(3, -1).tolist() == [[0] * 9 + [1] * 4] * 3
    np.testing.assert_allclose(found.sum(axis=1), 1)
    # odds of 1 squared over 1.8, of what the unit had
    np.testing.assert_allclose(found[8, 0], 0.1 + 0.9 * 1.8 / 2.8)


def test_an_atom_among_distorted_ones_stays_with_them():
    psi = np.array([0.0] * 8 + [3 * ALIKE, 1.2 * ALIKE] + [3 * ALIKE] * 3)
    membership, sites, bonds = chain(psi, np.array([0] * 8 + [1] * 5))
    found = joined(membership, sites, bonds)  # with two neighbours the odds are 1.6
    np.testing.assert_array_equal(found, membership)


def test_a_unit_of_hardly_distorted_atoms_keeps_them():
    psi = np.array([0.0] * 8 + [1.1 * ALIKE] * 4 + [3 * ALIKE])
    membership, sites, bonds = chain(psi, np.array([0] * 8 + [1] * 5))
    np.testing.assert_array_equal(joined(membership, sites, bonds), membership)


@pytest.mark.parametrize(("degrees", "beside", "expected"), [(4, 1, 1), (4, 9, 0), (2, 1, 0)])
def test_an_atom_turned_against_its_neighbours_belongs_to_the_unit_beside_it(
    degrees, beside, expected
):
    psi = np.zeros(12)
    psi[-1] = 3 * ALIKE
    membership, sites, bonds = chain(psi, np.array([0] * 11 + [1]), n_frames=3)
    turn = np.zeros((3, 12))
    turn[:, -1 - beside] = np.deg2rad(degrees)
    found = units_of(joined(membership, sites, bonds, turn=turn.ravel())).reshape(3, -1)
    assert found[:, -1 - beside].tolist() == [expected] * 3
    assert (found[:, :-2] == 0).all()


def test_shape_and_turn_add_up():
    psi = np.array([0.0] * 8 + [1.1 * ALIKE, 3 * ALIKE])
    membership, sites, bonds = chain(psi, np.array([0] * 9 + [1]))
    turn = np.zeros(10)
    turn[8] = 1.1 * SURELY_ALIKE * 0.08
    found = joined(membership, sites, bonds, turn=turn)
    np.testing.assert_allclose(found[8, 1], 0.1 + 0.9 * 2.42 / 4.22)
    turn[8] = np.nan
    np.testing.assert_array_equal(joined(membership, sites, bonds, turn=turn), membership)


@pytest.mark.parametrize(
    ("off", "beside", "ring", "bright"),
    [(0.5, True, 0, 1.0), (1.5, False, 0, 1.0), (1.5, True, 7, 1.0), (1.5, True, 0, 3.0)],
    ids=["looks like the host", "not bonded", "known by its rings", "another element"],
)
def test_other_atoms_stay_in_the_host(off, beside, ring, bright):
    psi = np.array([0.0] * 8 + [off * ALIKE, 3 * ALIKE])
    psi = psi if beside else psi[[0, 1, 2, 3, 8, 4, 5, 6, 7, 9]]
    membership, sites, bonds = chain(psi, np.array([0] * 9 + [1]), bright=bright)
    found = joined(membership, sites, bonds, ring=ring)
    np.testing.assert_array_equal(found, membership)


def test_units_grow_by_two_bonds_at_most():
    psi = np.array([0.0] * 20 + [2 * ALIKE] * 6 + [3 * ALIKE])
    membership, sites, bonds = chain(psi, np.array([0] * 26 + [1]))
    found = joined(membership, sites, bonds)
    assert units_of(found).tolist() == [0] * 24 + [1] * 3


def test_noise_of_few_sightings_is_no_distortion():
    rng = np.random.default_rng(0)
    group = np.array([0] * 59 + [1])
    psi = np.append(np.zeros(59), 10 * ALIKE)
    membership, sites, bonds = chain(psi, group, n_frames=4)
    sites.central[:, PSI4] += rng.normal(0, ALIKE, len(sites.central))
    found = joined(membership, sites, bonds)
    np.testing.assert_array_equal(units_of(found), units_of(membership))


def test_sites_of_no_unit_and_tables_without_bonds_are_left_alone():
    membership, sites, bonds = chain(np.array([0.0, 0.0, 0.0, 2 * ALIKE]), np.array([0, 0, 1, -1]))
    found = joined(membership, sites, bonds)
    assert np.isnan(found[3]).all()
    none = np.zeros((0, 2), np.int64)
    np.testing.assert_array_equal(joined(membership, sites, none), membership)
