import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_rvae.analysis.bonds import RING_COLUMNS, bonded_pairs, find_faces, ring_counts
from napari_rvae.synthetic import simulate_graphene


def _counts(points, is_atom=None):
    is_atom = np.ones(len(points), bool) if is_atom is None else is_atom
    return dict(zip(RING_COLUMNS, ring_counts(points, is_atom).T.tolist(), strict=True))


def _polygon(n):
    turn = 2 * np.pi * np.arange(n) / n
    return np.column_stack([np.sin(turn), np.cos(turn)]) / (2 * np.sin(np.pi / n))


@pytest.mark.parametrize("n", [3, 4, 5, 6, 7, 8])
def test_a_polygon_is_one_ring_at_each_corner(n):
    found = _counts(_polygon(n))
    assert found[f"ring{n}"] == [1.0] * n
    assert found["bonds"] == [2.0] * n
    assert found["ring_large"] == [0.0] * n
    assert found["ring_open"] == [1.0] * n


def test_a_larger_polygon_is_a_hole():
    found = _counts(_polygon(12))
    assert found["ring_large"] == [1.0] * 12
    assert found["ring8"] == [0.0] * 12


def test_a_chain_has_no_rings_and_lies_at_the_edge():
    wave = np.column_stack([0.3 * (np.arange(8) % 2), 0.95 * np.arange(8)])
    found = _counts(wave)
    assert found["bonds"] == [1, 2, 2, 2, 2, 2, 2, 1]
    assert sum(found["ring3"] + found["ring4"] + found["ring_large"]) == 0
    assert set(found["ring_open"]) == {1.0}


def test_atoms_on_a_line_and_lone_atoms_have_no_faces():
    line = np.column_stack([np.zeros(5), np.arange(5.0)])
    assert find_faces(line, bonded_pairs(line, np.ones(5, bool))).size.tolist() == [0]
    assert ring_counts(np.array([[0.0, 0.0], [9.0, 9.0]]), np.ones(2, bool)).sum() == 0
    assert ring_counts(np.zeros((0, 2)), np.zeros(0, bool)).shape == (0, len(RING_COLUMNS))


def test_a_vacancy_lies_in_the_ring_around_it(honeycomb):
    points = honeycomb(12.0, 1.0)
    middle = int(np.hypot(*(points - 6.0).T).argmin())
    is_atom = np.arange(len(points)) != middle
    counts = ring_counts(points, is_atom)
    column = dict(zip(RING_COLUMNS, counts.T, strict=True))
    around = np.hypot(*(points - points[middle]).T) < 1.1
    around[middle] = False
    assert column["bonds"][around].tolist() == [2.0] * 3
    assert column["ring6"][around].tolist() == [1.0] * 3
    assert column["ring_large"][around].tolist() == [1.0] * 3
    assert column["bonds"][middle] == column["ring6"][middle] == 0
    assert column["ring_large"][middle] == 1


def test_an_atom_that_hangs_in_a_ring_does_not_change_its_size():
    points = np.concatenate([_polygon(8), [[0.1, 0.3]]])
    around = np.column_stack([np.arange(8), (np.arange(8) + 1) % 8])
    faces = find_faces(points, np.sort(np.concatenate([around, [[0, 8]]]), axis=1))
    assert faces.size.tolist() == [0, 8]
    assert faces.site[faces.face == 1].tolist() == list(range(8))


def test_an_atom_that_was_found_twice_changes_no_ring():
    points = np.concatenate([_polygon(6), _polygon(6)[:1] + 0.02])
    assert _counts(points)["ring6"][1:6] == [1.0] * 5


@pytest.mark.parametrize("seed", [0, 1])
def test_rings_are_those_planted_in_graphene_with_defects_and_a_hole(seed):
    sites = simulate_graphene(n_frames=1, size=384, seed=seed, stone_wales=6, grains=1).sites
    counts = ring_counts(sites[["y", "x"]].to_numpy() / 14.0, (sites["kind"] == "atom").to_numpy())
    column = dict(zip(RING_COLUMNS, counts.T, strict=True))
    inside = (column["ring_open"] == 0) & (sites["kind"] == "atom").to_numpy()
    assert inside.sum() > 300
    for size in (4, 5, 6, 7, 8):
        assert column[f"ring{size}"][inside].tolist() == sites[f"rings{size}"][inside].tolist()
    assert sites["rings5"].sum() > 20


@given(
    seed=st.integers(0, 10**6),
    turn=st.floats(0, 6.2),
    shift=st.tuples(st.floats(-9, 9), st.floats(-9, 9)),
)
@settings(max_examples=20, deadline=None)
def test_rings_do_not_change_when_the_sites_are_turned_and_shuffled(seed, turn, shift):
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(np.arange(7.0), np.arange(7.0)), -1).reshape(-1, 2)
    points = grid[rng.random(49) > 0.15] + rng.normal(0, 0.02, (1, 2))
    points += rng.normal(0, 0.01, points.shape)
    before = ring_counts(points, np.ones(len(points), bool))
    order = rng.permutation(len(points))
    c, s = np.cos(turn), np.sin(turn)
    moved = points[order] @ np.array([[c, s], [-s, c]]) + shift
    assert np.array_equal(ring_counts(moved, np.ones(len(points), bool)), before[order])
