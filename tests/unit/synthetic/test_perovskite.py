import math

import numpy as np
import pandas as pd
import pytest
from scipy.spatial import cKDTree

from napari_rvae.synthetic import PerovskiteConfig, simulate_perovskite
from napari_rvae.synthetic.lattice import bearing, rotated
from napari_rvae.synthetic.simulation import TRUTH_COLUMNS
from napari_rvae.tables import fold_angle, validate_sites


def split(sites):
    return (sites[sites["sublattice"] == k] for k in (0, 1))


def inner(sites, side, margin=20):
    return sites[sites[["y", "x"]].apply(lambda c: c.between(margin, side - margin)).all(axis=1)]


def test_the_table_is_a_sites_table_with_the_truth(perovskite):
    sites = validate_sites(perovskite.sites, need=(*TRUTH_COLUMNS, "off_y", "off_x"))
    a, b = split(sites)
    assert set(a["species"]) == set(a["environment"]) == {"A"}
    assert set(b["species"]) == set(b["environment"]) == {"B"}
    assert len(a) == pytest.approx(len(b), rel=0.1)
    assert perovskite.frames.shape == (1, 256, 256)


def test_b_is_dimmer_than_a(perovskite):
    a, b = (part["amplitude"].unique() for part in split(perovskite.sites))
    assert a == PerovskiteConfig().host_peak
    assert b == pytest.approx(0.45 * a)


def test_neighbour_distance_is_that_of_a_and_b():
    sites = simulate_perovskite(size=200, polarization=0.0, disorder=0.0).sites
    a, b = (part[["y", "x"]].to_numpy() for part in split(inner(sites, 200)))
    whole_a, _ = (part[["y", "x"]].to_numpy() for part in split(sites))
    assert cKDTree(whole_a).query(b)[0] == pytest.approx(14.0)
    assert cKDTree(whole_a).query(a, 2)[0][:, 1] == pytest.approx(14.0 * math.sqrt(2))


def test_b_is_off_the_middle_of_its_cage_by_what_was_planted():
    sites = simulate_perovskite(size=256, polarization=0.2, disorder=0.0, shear=0.05).sites
    a, _ = split(sites)
    _, b = split(inner(sites, 256, 30))
    _, near = cKDTree(a[["y", "x"]]).query(b[["y", "x"]], 4)
    middle = a[["y", "x"]].to_numpy()[near].mean(1)
    off = b[["y", "x"]].to_numpy() - middle
    np.testing.assert_allclose(off, b[["off_y", "off_x"]].to_numpy(), atol=1e-9)
    assert np.hypot(*off.T).max() == pytest.approx(0.2 * 14, rel=0.1)


def test_the_field_holds_what_the_sites_got():
    simulation = simulate_perovskite(
        n_frames=2, size=128, polarization=0.2, pattern="vortex", drift=4.0, shear=0.05
    )
    field = simulation.fields["polarization"]
    assert field.shape == (2, 2, 128, 128)
    _, b = split(simulation.sites)
    y, x = (np.rint(b[name] - b[f"off_{name}"]).astype(int).clip(0, 127) for name in "yx")
    got = field[b["frame"], :, y, x]
    np.testing.assert_allclose(got, b[["off_y", "off_x"]].to_numpy(), atol=0.15)


def test_the_angle_is_that_of_the_cell_and_of_the_polarization(perovskite):
    sites = perovskite.sites
    np.testing.assert_allclose(fold_angle(sites["angle"] - 0.1, 4), 0.0, atol=1e-9)
    polar = sites[(sites["symmetry"] == 1) & (sites["species"] == "B")]
    direction = bearing(polar[["off_y", "off_x"]].to_numpy())
    turn = fold_angle(direction - polar["angle"], 1)
    assert np.abs(turn).max() <= math.pi / 4
    assert set(sites["symmetry"]) == {1, 4}


def test_the_sense_of_the_angle_in_explicit_numbers():
    sites = simulate_perovskite(
        size=128, rotation=0.3, pattern="uniform", polarization=0.2, disorder=0.0
    ).sites
    np.testing.assert_allclose(sites["angle"], 0.3)
    _, b = split(sites)
    # to the right and, 0.3 rad counter-clockwise, up on the screen: 2.8 (-sin 0.3, cos 0.3)
    np.testing.assert_allclose(b["off_y"], -0.8274566)
    np.testing.assert_allclose(b["off_x"], 2.6749422)
    a, _ = split(inner(sites, 128, 30))
    step = rotated(np.array([0.0, 14 * math.sqrt(2)]), 0.3)
    whole_a, _ = split(sites)
    assert cKDTree(whole_a[["y", "x"]]).query(a[["y", "x"]] + step)[0].max() < 1e-9


def test_two_domains_point_against_each_other(perovskite):
    _, b = split(perovskite.sites)
    along = b[["off_y", "off_x"]].to_numpy() @ rotated(np.array([0.0, 1.0]), 0.1)
    assert np.mean(along > 1.2) == pytest.approx(0.43, abs=0.1)
    assert np.mean(along < -1.2) == pytest.approx(0.43, abs=0.1)


def test_a_crystal_without_polarization_is_four_fold():
    sites = simulate_perovskite(size=96, polarization=0.0).sites
    assert (sites["symmetry"] == 4).all()
    assert not sites[["off_y", "off_x"]].any(axis=None)


def test_missing_columns_are_vacancies():
    simulation = simulate_perovskite(size=256, vacancies=0.1)
    gaps = simulation.sites[simulation.sites["kind"] == "vacancy"]
    assert len(gaps) / len(simulation.sites) == pytest.approx(0.1, abs=0.04)
    assert set(gaps["environment"]) == {"vacancy"}
    assert not gaps["amplitude"].any()
    image = simulation.fields["expected"][0] - simulation.fields["background"][0]
    y, x = (np.rint(gaps[name]).astype(int) for name in "yx")
    assert image[y, x].max() < 0.3 * PerovskiteConfig().host_peak


def test_two_grains():
    sites = simulate_perovskite(size=256, grains=2, misorientation=0.4, polarization=0.0).sites
    for grain, group in sites.groupby("grain"):
        np.testing.assert_allclose(group["angle"], 0.1 + 0.4 * grain)
    assert sites["grain"].nunique() == 2
    assert cKDTree(sites[["y", "x"]]).query(sites[["y", "x"]], 2)[0][:, 1].min() > 0.6 * 14


def test_tracks_stay_with_their_column():
    simulation = simulate_perovskite(n_frames=4, size=96, drift=1.5, pattern="vortex")
    sites = simulation.sites
    still = sites[["y", "x"]].to_numpy() - simulation.fields["drift"][sites["frame"]]
    spread = pd.DataFrame(still).groupby(sites["track_id"]).agg(np.ptp)
    assert spread.to_numpy().max() < 1e-9


def test_the_same_seed_gives_the_same_image():
    first, again = (simulate_perovskite(size=96, seed=7) for _ in range(2))
    np.testing.assert_array_equal(first.frames.data, again.frames.data)


def test_the_scale_is_that_of_strontium_titanate(perovskite):
    side = perovskite.frames.pixel_size[1] * 14 * math.sqrt(2)
    assert side == pytest.approx(0.3905, rel=1e-3)


def test_a_misspelt_option_is_a_type_error():
    with pytest.raises(TypeError, match="patern"):
        simulate_perovskite(patern="vortex")
