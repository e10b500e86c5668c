import numpy as np
import pytest

from napari_rvae import InputError, describe_sites, simulate_perovskite
from napari_rvae.analysis.strain import STRAIN_COLUMNS, bond_symmetry, misorientations
from napari_rvae.tables import make_sites


def _lattice(gradient, motif=((0.0, 0.0),), cell=((12.0, 0.0), (0.0, 12.0)), n=10):
    grid = np.stack(np.meshgrid(np.arange(n), np.arange(n)), -1).reshape(-1, 2)
    points = ((grid @ np.array(cell))[:, None] + np.array(motif)).reshape(-1, 2)
    return points @ np.asarray(gradient).T + 50.0


def _strains(points, reference):
    found = describe_sites(make_sites(frame=0, y=points[:, 0], x=points[:, 1]), reference=reference)
    return found[list(STRAIN_COLUMNS)].dropna()


@pytest.mark.parametrize("turn", [-0.3, 0.0, 0.2])
def test_a_homogeneous_strain_is_found_in_the_axes_of_the_frame(turn):
    strain = np.array([[0.02, 0.005], [0.005, -0.01]])
    c, s = np.cos(turn), np.sin(turn)
    gradient = (np.eye(2) + strain) @ np.array([[c, -s], [s, c]])
    found = _strains(_lattice(gradient), 12.0 * np.eye(2))
    assert len(found) >= 64
    expected = [0.02, -0.01, 0.005, 0.01, np.hypot(0.015, 0.005), turn]
    assert np.allclose(found, expected, atol=1e-9)


def test_a_turn_by_a_symmetry_of_the_lattice_is_none():
    c, s = np.cos(np.pi / 2 + 0.1), np.sin(np.pi / 2 + 0.1)
    found = _strains(_lattice([[c, -s], [s, c]]), 12.0 * np.eye(2))
    assert np.allclose(found["lattice_rotation"], 0.1)
    assert np.allclose(found["dilatation"], 0.0)


def test_the_reference_is_the_lattice_itself_if_none_is_given():
    found = _strains(_lattice(1.1 * np.eye(2)), None)
    assert np.allclose(found, 0.0, atol=1e-9)


def test_both_places_of_a_honeycomb_have_the_strain_of_their_lattice(honeycomb):
    points = honeycomb(160.0, 10.0) * [1.03, 1.0]
    reference = [[0.0, 10 * np.sqrt(3)], [15.0, 5 * np.sqrt(3)]]
    found = _strains(points, reference)
    assert len(found) > 100
    spread = np.abs(found[["strain_yy", "strain_xx"]] - [0.03, 0.0]).to_numpy().max()
    turned = np.abs(found[["strain_yy", "strain_xx"]] - [0.0, 0.03]).to_numpy().max()
    assert min(spread, turned) < 1e-9
    assert np.allclose(found["shear_strain"], 0.015)


@pytest.mark.parametrize("turn", [0.0, 0.1, 0.7, 2.0])
def test_a_lattice_is_nowhere_misoriented_however_it_lies(turn, honeycomb):
    c, s = np.cos(turn), np.sin(turn)
    square = _lattice([[c, -s], [s, c]])
    for points in (square, honeycomb(160.0, 10.0) @ np.array([[c, -s], [s, c]])):
        found = describe_sites(make_sites(frame=0, y=points[:, 0], x=points[:, 1]))
        assert np.allclose(found["misorientation"], 0.0, atol=1e-9)


def test_misorientation_is_where_two_grains_meet():
    c, s = np.cos(0.2), np.sin(0.2)
    grid = 10.0 * np.stack(np.meshgrid(np.arange(-9, 10), np.arange(-9, 10)), -1).reshape(-1, 2)
    other = grid @ np.array([[c, -s], [s, c]])
    points = np.concatenate([grid[grid[:, 0] >= 0], other[other[:, 0] < -7]])
    points = points[(np.abs(points) < 85).all(axis=1)]
    table = make_sites(frame=0, y=points[:, 0], x=points[:, 1])
    turned = describe_sites(table, 10.0)["misorientation"].to_numpy()
    away, inside = table["y"].abs(), (table[["y", "x"]].abs() < 65).all(axis=1)
    assert np.allclose(turned[inside & (away > 27)], 0.0, atol=1e-9)
    assert np.median(turned[inside & (away < 10)]) > 0.03


def test_misorientations_are_means_over_neighbours():
    # one atom whose bonds are turned by 0.2 against those of its three neighbours
    base = np.array([0.0, 1.0, 2.0, 3.0]) * np.pi / 2
    star = np.stack([np.cos(base), np.sin(base)], axis=1)
    turned = np.stack([np.cos(base[:3] + 0.2), np.sin(base[:3] + 0.2)], axis=1)
    points = np.concatenate([[[0.0, 0.0]], turned, (turned[:, None] + star[None]).reshape(-1, 2)])
    leaves = 4 + np.arange(12).reshape(3, 4)
    bonds = [[0, k] for k in (1, 2, 3)] + [[k + 1, leaf] for k in range(3) for leaf in leaves[k]]
    found = misorientations(points, np.array(bonds), 4)
    total = 4 + np.exp(0.8j)  # the four bonds of a neighbour, and the one to the middle
    assert np.isclose(found[0], (0.8 - np.angle(total)) / 4)
    assert np.isnan(misorientations(points, np.zeros((0, 2), np.int64), 4)).all()


def test_the_symmetry_of_bonds_is_that_of_most_atoms():
    order = np.zeros((5, 6))
    order[:3, 3], order[3:, 5] = 0.9, 1.0
    assert bond_symmetry(order) == 4
    order[0] = np.nan
    assert bond_symmetry(order[[0]]) == 6


def test_moving_one_sublattice_against_the_other_is_no_strain_but_off_centring():
    grid = np.stack(np.meshgrid(np.arange(12), np.arange(12)), -1).reshape(-1, 2)
    is_b = grid.sum(axis=1) % 2 == 1
    points = 10.0 * grid + np.where(is_b[:, None], [0.3, -0.4], 0.0)
    table = make_sites(frame=0, y=points[:, 0], x=points[:, 1], is_b=is_b, y_sd=0.1, x_sd=0.1)
    found = describe_sites(table, 10.0).assign(is_b=table["is_b"])
    known = found.dropna(subset=["strain_yy", "off_centre"])
    assert np.abs(known[["strain_yy", "strain_xx", "strain_xy"]]).to_numpy().max() < 0.002
    b = known[known["is_b"].astype(bool)]
    assert np.allclose(b[["off_centre_y", "off_centre_x", "off_centre"]], [0.3, -0.4, 0.5])
    assert np.allclose(b["off_centre_sd"], 0.1 * np.sqrt(1 + 1 / 4))


def test_an_incomplete_cage_has_no_middle():
    grid = np.stack(np.meshgrid(np.arange(8), np.arange(8)), -1).reshape(-1, 2)
    points = 10.0 * np.delete(grid, 27, axis=0)
    found = describe_sites(make_sites(frame=0, y=points[:, 0], x=points[:, 1]))
    beside = np.hypot(*(points - 10.0 * grid[27]).T) < 11
    assert found.loc[beside, "off_centre"].isna().all()
    assert found["off_centre"].notna().sum() == 36 - 1 - 4


def test_only_other_sublattices_form_the_cage():
    grid = np.stack(np.meshgrid(np.arange(8), np.arange(8)), -1).reshape(-1, 2)
    table = make_sites(frame=0, y=10.0 * grid[:, 0], x=10.0 * grid[:, 1], sublattice=grid[:, 0] % 2)
    table["sublattice"] = ((table["y"] / 10) % 2).astype("int64")
    found = describe_sites(table)
    inside = table["y"].between(5, 65)
    assert found.loc[inside, "off_centre"].notna().all()
    assert found.loc[~inside, "off_centre"].isna().all()


def test_a_reference_that_spans_no_lattice_is_refused():
    table = make_sites(frame=0, y=[0.0], x=[0.0])
    for wrong in ([[1.0, 0.0], [2.0, 0.0]], [1.0, 2.0], [[np.nan, 0], [0, 1]]):
        with pytest.raises(InputError, match="not parallel"):
            describe_sites(table, reference=wrong)


def test_planted_waves_of_strain_are_found():
    sites = simulate_perovskite(size=384, seed=2, strain=0.02, disorder=0.0, polarization=0.0).sites
    found = describe_sites(sites)
    for name in ("strain_yy", "strain_xx", "strain_xy"):
        known = found[name].notna().to_numpy()
        assert np.corrcoef(found[name][known], sites[name][known])[0, 1] > 0.98
    known = found["lattice_rotation"].notna().to_numpy()
    assert np.corrcoef(found["lattice_rotation"][known], sites["turn"][known])[0, 1] > 0.98
