import numpy as np
import pandas as pd
import pytest
from hypothesis import given

from napari_rvae import Cancelled, InputError, describe_sites
from napari_rvae.analysis.descriptors import DESCRIPTOR_COLUMNS, site_descriptors
from napari_rvae.tables import make_sites
from strategies import sites_tables


def _middle(table, described, side):
    inside = table[["y", "x"]].sub(side / 2).abs().max(axis=1) < side / 4
    return described[inside.to_numpy()]


def test_honeycomb_atoms_have_three_neighbours_at_120_degrees(honeycomb):
    y, x = honeycomb(200, 10.0).T
    table = make_sites(frame=0, y=y, x=x)
    found = _middle(table, site_descriptors(table), 200)
    assert found["coordination"].round().eq(3).all()
    assert found["psi3"].between(0.999, 1.0 + 1e-12).all()
    assert found[["psi1", "psi2", "psi4", "psi5"]].lt(1e-9).all(axis=None)
    assert np.allclose(found["bond_length"], 1.0, atol=0.01)


def test_square_lattice_counts_four_not_the_diagonals():
    y, x = 8.0 * np.indices((12, 12)).reshape(2, -1)
    table = make_sites(frame=0, y=y, x=x)
    found = _middle(table, site_descriptors(table), 96)
    assert found["coordination"].round().eq(4).all()
    assert found["psi4"].gt(0.9).all()


def test_a_large_dopant_keeps_its_neighbours():
    corners = np.array([[0, 13], [0, -13], [13, 0], [-13, 0.0]]) + 50
    rest = np.array([[0, 23], [0, -23], [23, 0], [-23, 0.0]]) + 50
    y, x = np.concatenate([[[50, 50]], corners, rest]).T
    table = make_sites(frame=0, y=y, x=x)
    found = site_descriptors(table, neighbour_distance=10.0)
    centre = table.index[(table["y"] == 50) & (table["x"] == 50)][0]
    assert round(found.loc[centre, "coordination"]) == 4
    assert found.loc[centre, "bond_length"] == pytest.approx(1.3, abs=0.01)


def test_vacancies_are_described_but_are_no_neighbours():
    y, x = np.array([[5.0, 5.0], [5.0, 15.0], [5.0, 25.0], [5.0, 35.0]]).T
    table = make_sites(frame=0, y=y, x=x)
    table.loc[1, "kind"] = "vacancy"
    found = site_descriptors(table, neighbour_distance=10.0)
    assert found["coordination"].round().tolist() == [0, 2, 1, 1]
    assert np.isnan(found["bond_length"][0])


def test_amplitude_is_relative_to_the_frame_and_to_the_atoms():
    table = make_sites(
        frame=[0, 0, 0, 1, 1, 1],
        y=[0.0] * 6,
        x=[0.0, 10.0, 20.0] * 2,
        amplitude=[1, 1, 3, 20, 20, 60],
    )
    found = site_descriptors(table)
    assert found["relative_amplitude"].tolist() == [1, 1, 3, 1, 1, 3]
    assert found["neighbour_amplitude"].round(6).tolist() == [1, 2, 1, 1, 2, 1]


def test_two_sublattices_keep_their_brightness_when_one_more_atom_is_seen(rng):
    """A frame's median amplitude is that of whichever sublattice has one atom more."""
    bright, dim = rng.normal(10, 0.3, 61), rng.normal(4, 0.3, 61)
    frames = [np.concatenate([bright, dim[:-1]]), np.concatenate([bright[:-1], dim])]
    y, x = np.divmod(np.arange(121), 11)
    table = make_sites(
        frame=np.repeat([0, 1], 121),
        y=np.tile(10.0 * y, 2),
        x=np.tile(10.0 * x, 2),
        amplitude=np.concatenate(frames),
    )
    first, second = site_descriptors(table)["relative_amplitude"].to_numpy().reshape(2, -1)
    assert np.sort(first)[-60:] == pytest.approx(np.sort(second)[-60:], rel=0.1)
    assert np.sort(first)[:60] == pytest.approx(np.sort(second)[:60], rel=0.1)


def test_sources_have_their_own_neighbour_distance_and_frame():
    near = make_sites(frame=0, y=[0.0] * 4, x=[0, 5, 10, 15.0], source="near")
    far = make_sites(frame=0, y=[0.0] * 4, x=[0, 50, 100, 150.0], source="far")
    table = pd.concat([near, far], ignore_index=True).assign(site_id=range(8))
    found = site_descriptors(table)
    assert found["coordination"].round().tolist() == [1, 2, 2, 1] * 2
    assert np.allclose(found["bond_length"], 1)


def test_positions_found_twice_are_no_neighbours():
    table = make_sites(frame=0, y=[0.0] * 4, x=[0.0, 0.0, 10.0, 20.0])
    found = site_descriptors(table, neighbour_distance=10.0)
    assert found["bond_length"].round(6).tolist() == [1, 1, 1, 1]


def test_a_site_without_a_position_has_no_surroundings():
    table = make_sites(frame=0, y=[0.0, 0, 0, np.nan], x=[0.0, 10, 20, 30], amplitude=[1, 1, 1, 2])
    found = site_descriptors(table).set_index("site_id")
    lost = found.loc[table.loc[table["y"].isna(), "site_id"].iloc[0]]
    assert lost[["coordination", "psi3", "bond_length"]].isna().all()
    assert lost["relative_amplitude"] == 2


def test_a_distance_that_is_none_is_refused():
    table = make_sites(frame=0, y=[0.0], x=[0.0])
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="must be positive"):
            site_descriptors(table, neighbour_distance=wrong)


@given(sites_tables())
def test_any_table_gives_one_row_a_site_in_order(table):
    found = site_descriptors(table)
    assert found["site_id"].tolist() == table["site_id"].tolist()
    assert list(found.columns) == ["site_id", *DESCRIPTOR_COLUMNS]
    assert (found.dtypes[1:] == "float64").all()
    order = found[[f"psi{m}" for m in range(1, 7)]].to_numpy()
    assert ((order >= 0) & (order <= 1 + 1e-9) | np.isnan(order)).all()


def test_an_amplitude_of_next_to_nothing_is_no_size_to_measure_by():
    table = make_sites(frame=0, y=np.zeros(3), x=np.zeros(3), amplitude=[0.0, 1.0, 5e-324])
    assert site_descriptors(table)["relative_amplitude"].isna().all()


@given(sites_tables())
def test_any_table_can_be_described_in_full(table):
    found = describe_sites(table)
    assert found["site_id"].tolist() == table["site_id"].tolist()
    assert (found.dtypes[1:] == "float64").all()
    assert site_descriptors(table).equals(found[["site_id", *DESCRIPTOR_COLUMNS]])


def test_the_description_can_be_stopped():
    table = make_sites(frame=[0, 1], y=[0.0, 0.0], x=[0.0, 0.0])
    with pytest.raises(Cancelled, match="was stopped"):
        describe_sites(table, progress=lambda done, total: False)
