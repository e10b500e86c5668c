import math

import numpy as np
import pytest
from scipy.spatial import cKDTree

from napari_rvae.synthetic.lattice import grown_points, honeycomb
from napari_rvae.synthetic.sheet import (
    BRIDGE,
    ROTATED,
    bonded_sheet,
    bridge_bonds,
    distorted_places,
    relaxed,
    rotate_bonds,
)

DISTANCE = 10.0


@pytest.fixture
def sheet(rng):
    return bonded_sheet(grown_points(honeycomb(DISTANCE), (0.3,), (120, 120), 30.0, rng), DISTANCE)


@pytest.fixture
def middle_bond(sheet):
    place = int(np.argmin(np.hypot(*(sheet.position - 60).T)))
    return np.array([[place, sheet.neighbours(place)[0]]])


def rings_of(sheet, place):
    """Lengths of the shortest rings through a place, one for each pair of its bonds."""
    lengths = []
    near = sheet.neighbours(place).tolist()
    for k, start in enumerate(near):
        for end in near[k + 1 :]:
            front, steps, seen = {start}, 0, {place, start}
            while end not in front:
                front = {int(n) for p in front for n in sheet.neighbours(p)} - seen
                seen |= front
                steps += 1
            lengths.append(steps + 2)
    return sorted(lengths)


def inner(sheet):
    return (np.abs(sheet.position - 60) < 60).all(axis=1)


def test_every_inner_atom_has_three_bonds_in_hexagons(sheet, middle_bond):
    degree = sheet.degree(np.ones(len(sheet.grain), bool))
    assert (degree[inner(sheet)] == 3).all()
    assert rings_of(sheet, middle_bond[0, 0]) == [6, 6, 6]


def test_a_rotated_bond_makes_two_pentagons_and_two_heptagons(sheet, middle_bond):
    turned = rotate_bonds(sheet, middle_bond)
    for place in middle_bond[0]:
        assert rings_of(turned, place) == [5, 7, 7]
    assert (turned.degree(np.ones(len(sheet.grain), bool))[inner(sheet)] == 3).all()
    assert turned.five_seven.sum() == 16
    assert (turned.sublattice == ROTATED).sum() == 2
    old, new = (
        s.position[middle_bond[0, 1]] - s.position[middle_bond[0, 0]] for s in (sheet, turned)
    )
    assert old @ new == pytest.approx(0.0, abs=1e-9)
    assert np.hypot(*new) == pytest.approx(DISTANCE)


def test_rotating_leaves_the_given_sheet_alone(sheet, middle_bond):
    before = sheet.bonds.copy(), sheet.position.copy()
    rotate_bonds(sheet, middle_bond)
    np.testing.assert_array_equal(sheet.bonds, before[0])
    np.testing.assert_array_equal(sheet.position, before[1])


def test_a_bridge_sits_in_the_middle_of_four_atoms(sheet, middle_bond):
    larger, (bridge,) = bridge_bonds(sheet, middle_bond)
    assert larger.sublattice[bridge] == BRIDGE
    np.testing.assert_allclose(larger.position[bridge], sheet.position[middle_bond[0]].mean(0))
    offset = larger.position[larger.neighbours(bridge)] - larger.position[bridge]
    assert len(offset) == 4
    np.testing.assert_allclose(np.hypot(*offset.T), math.sqrt(7) / 2 * DISTANCE)


def test_a_perfect_sheet_is_at_rest(sheet):
    rest = np.full(len(sheet.bonds), DISTANCE)
    still = relaxed(sheet.position, sheet.position, sheet.bonds, rest)
    np.testing.assert_allclose(still, sheet.position, atol=1e-6)


def test_longer_bonds_push_the_neighbours_out(sheet, middle_bond):
    place = middle_bond[0, 0]
    rest = np.where((sheet.bonds == place).any(1), 1.12, 1.0) * DISTANCE
    moved = relaxed(sheet.position, sheet.position, sheet.bonds, rest)
    length = np.hypot(*(moved[sheet.neighbours(place)] - moved[place]).T)
    assert (length > 1.04 * DISTANCE).all()
    assert (length < 1.12 * DISTANCE).all()
    assert np.ptp(length) < 0.01 * DISTANCE


def test_relaxing_undoes_a_disturbance(sheet, rng):
    rest = np.full(len(sheet.bonds), DISTANCE)
    shaken = sheet.position + rng.normal(0, 0.5, sheet.position.shape)
    back = relaxed(shaken, sheet.position, sheet.bonds, rest, max_steps=300)
    assert np.abs(back - sheet.position).max() < 0.1


def test_a_boundary_is_bonded_and_marked(rng):
    points = grown_points(honeycomb(DISTANCE), (0.1, 0.4), (200, 200), 40.0, rng)
    sheet = bonded_sheet(points, DISTANCE)
    first, second = sheet.bonds.T
    across = sheet.grain[first] != sheet.grain[second]
    assert across.sum() > 5
    degree = sheet.degree(np.ones(len(sheet.grain), bool))
    inside = (np.abs(sheet.position - 100) < 110).all(axis=1)
    assert set(degree[inside].tolist()) <= {2, 3}
    rest = np.full(len(sheet.bonds), DISTANCE)
    settled = relaxed(sheet.position, sheet.position, sheet.bonds, rest, max_steps=300)
    near = cKDTree(settled).query(settled, 2)[0][:, 1]
    assert near.min() > 0.8 * DISTANCE
    marked = distorted_places(sheet, settled)
    assert marked[sheet.bonds[across].ravel()].all()
    assert sheet.boundary_distance[marked & inside].max() < 4 * DISTANCE


def test_a_perfect_sheet_has_no_boundary(sheet):
    assert not distorted_places(sheet, sheet.position).any()
