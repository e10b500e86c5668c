import json
import math

import numpy as np
import pandas as pd
import pytest
from scipy.spatial import cKDTree

from napari_rvae.errors import InputError
from napari_rvae.synthetic import GrapheneConfig, simulate_graphene
from napari_rvae.synthetic.lattice import rotated
from napari_rvae.synthetic.simulation import TRUTH_COLUMNS
from napari_rvae.tables import fold_angle, neighbour_distance, validate_sites

PERFECT = {
    "grains": 1, "si3": 0.0, "si4": 0.0, "vacancies": 0.0, "stone_wales": 0,
    "hole_end": 0.0, "disorder": 0.0, "drift": 0.0,
}  # fmt: skip
CLEAN = {
    "background": 0.0, "contamination": 0.0, "jitter": 0.0, "row_noise": 0.0,
    "readout_noise": 0.0,
}  # fmt: skip
ENVIRONMENTS = {
    "bulk", "si3", "si4", "beside_si", "beside_vacancy", "edge", "five_seven", "boundary",
    "vacancy",
}  # fmt: skip


def inner(sites, shape, margin):
    return sites[
        sites["y"].between(margin, shape[0] - 1 - margin)
        & sites["x"].between(margin, shape[1] - 1 - margin)
    ]


def ahead(sites, distance):
    """Points (N, 2) one `distance` from the sites, in the direction of their angle."""
    steps = [rotated(np.array([0.0, distance]), angle) for angle in sites["angle"]]
    return sites[["y", "x"]].to_numpy() + np.array(steps)


def points_of(sites, kind="atom"):
    return sites.loc[sites["kind"] == kind, ["y", "x"]].to_numpy()


def test_the_table_is_a_sites_table_with_the_truth(graphene):
    sites = validate_sites(graphene.sites, need=TRUTH_COLUMNS)
    assert {name: str(sites[name].dtype) for name in TRUTH_COLUMNS} == TRUTH_COLUMNS
    assert set(sites["environment"]) == ENVIRONMENTS
    assert set(sites["species"]) == {"C", "Si", ""}
    assert (sites["kind"].eq("vacancy") == sites["environment"].eq("vacancy")).all()
    assert (sites["kind"].eq("vacancy") == sites["species"].eq("")).all()
    assert (sites["species"].eq("Si") == sites["environment"].isin(["si3", "si4"])).all()
    order = sites.sort_values(["source", "frame", "y", "x"]).index
    assert order.tolist() == list(range(len(sites)))


def test_sites_are_inside_and_as_many_as_the_lattice_holds():
    simulation = simulate_graphene(n_frames=1, size=(200, 300), **PERFECT)
    sites = simulation.sites
    assert sites["y"].between(0, 199).all()
    assert sites["x"].between(0, 299).all()
    assert len(sites) == pytest.approx(200 * 300 * 4 / (3 * math.sqrt(3) * 14**2), rel=0.05)


def test_most_sites_of_the_default_movie_are_bulk():
    sites = simulate_graphene(n_frames=2, size=512).sites
    share = sites["environment"].value_counts(normalize=True)
    assert 0.8 < share["bulk"] < 0.9
    assert share[["si3", "si4"]].sum() == pytest.approx(0.01, abs=0.003)
    assert len(sites) / 2 == pytest.approx(1000, rel=0.1)


def test_the_sense_of_the_angle_in_explicit_numbers():
    g = 0.2
    simulation = simulate_graphene(n_frames=1, size=128, rotation=g, **PERFECT, **CLEAN)
    sites = inner(simulation.sites, (128, 128), 20)
    tree = cKDTree(points_of(simulation.sites))
    first, second = (sites[sites["sublattice"] == k] for k in (0, 1))
    np.testing.assert_allclose(first["angle"], g)
    np.testing.assert_allclose(second["angle"], g - math.pi)
    # sublattice 0 has a neighbour to its right, 0.2 rad higher up on the screen
    for sublattice, sign in ((first, 1), (second, -1)):
        place = sublattice[["y", "x"]].to_numpy()
        right_and_up = np.array([-2.7813709, 13.7209321])  # 14 (-sin 0.2, cos 0.2)
        assert tree.query(place + sign * right_and_up)[0].max() < 1e-4
        right_and_down = np.array([2.7813709, 13.7209321])
        assert tree.query(place + sign * right_and_down)[0].min() > 2.0


def test_the_picture_has_the_angle_of_the_table():
    simulation = simulate_graphene(
        n_frames=1, size=128, rotation=0.2, neighbour_distance=20.0, **PERFECT, **CLEAN
    )
    image = simulation.fields["expected"][0]
    for row in inner(simulation.sites, (128, 128), 30).itertuples():
        for k in range(3):
            towards, away = (
                rotated(np.array([0.0, 20.0]), row.angle + turn + k * 2 * math.pi / 3)
                for turn in (0.0, math.pi)
            )
            place = np.array([row.y, row.x])
            bright, dark = (tuple(np.rint(place + step).astype(int)) for step in (towards, away))
            assert image[bright] > 10 * image[dark]


@pytest.mark.parametrize("environment", ["bulk", "si3", "vacancy"])
def test_three_fold_sites_have_neighbours_at_their_angle(graphene, environment):
    sites = graphene.sites[graphene.sites["environment"] == environment]
    sites = inner(sites, graphene.frames.frame_shape, 20)
    assert (sites["symmetry"] == 3).all()
    assert len(sites)
    for frame, group in sites.groupby("frame"):
        tree = cKDTree(points_of(graphene.sites[graphene.sites["frame"] == frame]))
        assert tree.query(ahead(group, 14.0))[0].max() < 0.25 * 14


def test_the_angle_is_that_of_the_grain(graphene):
    sites = graphene.sites[graphene.sites["symmetry"] > 0]
    config = GrapheneConfig()
    lattice = config.rotation + config.misorientation * sites["grain"]
    assert set(sites["grain"]) == {0, 1}
    six_fold = fold_angle(sites["angle"] - lattice, 6)
    np.testing.assert_allclose(six_fold[sites["environment"] != "si4"], 0.0, atol=1e-9)
    two_fold = sites["environment"] == "si4"
    np.testing.assert_allclose(
        fold_angle(2 * (sites["angle"] - lattice), 3)[two_fold], 0.0, atol=1e-9
    )
    assert sites["angle"].between(-math.pi, math.pi, inclusive="right").all()


@pytest.mark.parametrize(
    ("environment", "species", "reach"),
    [("beside_si", "Si", 0.6), ("beside_vacancy", "", 0.3)],
)
def test_sites_beside_something_point_at_it(graphene, environment, species, reach):
    sites = graphene.sites
    some = inner(sites[sites["environment"] == environment], graphene.frames.frame_shape, 16)
    assert (some["symmetry"] == 1).all()
    for frame, group in some.groupby("frame"):
        there = sites[(sites["frame"] == frame) & (sites["species"] == species)]
        gap = cKDTree(there[["y", "x"]].to_numpy()).query(ahead(group, 14.0))[0]
        assert gap.max() < reach * 14


def test_edge_sites_point_into_the_hole(graphene):
    sites = graphene.sites
    rim = sites[sites["environment"] == "edge"]
    assert (rim["symmetry"] == 1).all()
    for frame, group in rim.groupby("frame"):
        tree = cKDTree(points_of(sites[sites["frame"] == frame]))
        assert tree.query(ahead(group, 14.0))[0].min() > 0.6 * 14
        centre = group[["y", "x"]].mean().to_numpy()
        inward = (ahead(group, 14.0) - group[["y", "x"]].to_numpy()) @ np.ones(2)
        assert inward.size
        distance = np.hypot(*(ahead(group, 14.0) - centre).T)
        assert (distance < np.hypot(*(group[["y", "x"]].to_numpy() - centre).T)).mean() > 0.8


def test_four_fold_silicon_has_four_neighbours_along_its_angle(graphene):
    sites = graphene.sites[graphene.sites["frame"] == 0]
    silicon = sites[sites["environment"] == "si4"]
    assert len(silicon)
    assert (silicon["symmetry"] == 2).all()
    assert (silicon["sublattice"] == -1).all()
    tree = cKDTree(points_of(sites))
    for row in silicon.itertuples():
        for dy in (-0.866, 0.866):
            for dx in (-1.0, 1.0):
                step = rotated(14.0 * np.array([dy, dx]), row.angle)
                assert tree.query(np.array([row.y, row.x]) + step)[0] < 0.25 * 14
        assert len(tree.query_ball_point([row.y, row.x], 1.6 * 14)) == 5


def test_sites_without_an_angle_say_so(graphene):
    sites = graphene.sites
    none = sites["symmetry"] == 0
    assert (none == sites["environment"].isin(["five_seven", "boundary"])).all()
    assert (none == sites["angle"].isna()).all()


def test_silicon_has_longer_bonds(graphene):
    sites = graphene.sites[graphene.sites["frame"] == 0]
    carbon = points_of(sites[sites["species"] == "C"])
    for environment, low, high in (("si3", 1.05, 1.15), ("si4", 1.25, 1.4)):
        silicon = sites.loc[sites["environment"] == environment, ["y", "x"]].to_numpy()
        near = cKDTree(carbon).query(silicon)[0] / 14
        assert near.min() > low - 0.04
        assert near.max() < high


def test_vacancies_are_empty(graphene):
    for _, sites in graphene.sites.groupby("frame"):
        gap = cKDTree(points_of(sites)).query(points_of(sites, "vacancy"))[0]
        assert gap.min() > 0.9 * 14


def test_amplitudes(graphene):
    config = GrapheneConfig()
    by_species = graphene.sites.groupby("species")["amplitude"]
    assert by_species.unique().map(list).to_dict() == {
        "": [0.0], "C": [config.host_peak], "Si": [3.5 * config.host_peak]
    }  # fmt: skip
    assert (graphene.sites["sigma"] == config.probe_sigma).all()


def test_each_column_holds_its_dose():
    simulation = simulate_graphene(
        n_frames=1, size=256, neighbour_distance=40.0, sigma=4.0, dose=800, hole_end=0, **CLEAN
    )
    image, counts = simulation.fields["expected"][0], simulation.frames.data[0]
    sites = inner(simulation.sites, (256, 256), 20)
    totals = []
    for row in sites[sites["species"] == "C"].itertuples():
        y, x = round(row.y), round(row.x)
        window = np.s_[y - 15 : y + 16, x - 15 : x + 16]
        assert image[window].sum() == pytest.approx(800, rel=0.01)
        totals.append(counts[window].sum())
    mean = np.mean(totals)
    assert mean == pytest.approx(800, abs=4 * math.sqrt(800 / len(totals)) + 1)


@pytest.mark.parametrize("options", [{}, {"shear": 0.1}, {"drift": 3.0}])
def test_centroids_of_the_noise_free_picture_are_the_true_positions(options):
    simulation = simulate_graphene(
        n_frames=3, size=256, neighbour_distance=40.0, sigma=3.0, hole_end=0, **CLEAN, **options
    )
    sites = inner(simulation.sites, (256, 256), 20)
    for row in sites[sites["kind"] == "atom"].itertuples():
        y, x = (slice(round(c) - 13, round(c) + 14) for c in (row.y, row.x))
        part = simulation.fields["expected"][row.frame][y, x].astype(float)
        yy, xx = np.mgrid[y, x]
        assert (part * yy).sum() / part.sum() == pytest.approx(row.y, abs=0.05)
        assert (part * xx).sum() / part.sum() == pytest.approx(row.x, abs=0.05)


def test_the_specimen_moves_by_the_drift():
    options = {**PERFECT, "drift": 2.0}
    simulation = simulate_graphene(n_frames=5, size=128, **options)
    drift = simulation.fields["drift"]
    assert drift.shape == (5, 2)
    assert np.hypot(*drift[-1]) > 1
    still = simulation.sites[["y", "x"]].to_numpy() - drift[simulation.sites["frame"]]
    spread = pd.DataFrame(still).groupby(simulation.sites["track_id"]).agg(np.ptp)
    assert spread.to_numpy().max() < 1e-3


def test_a_track_is_one_atom(graphene):
    tracks = graphene.sites.groupby("track_id")
    assert not graphene.sites.duplicated(["frame", "track_id"]).any()
    assert (graphene.sites["track_id"] >= 0).all()
    assert (tracks["species"].first() == tracks["species"].last()).all()
    assert (tracks["grain"].first() == tracks["grain"].last()).all()


def test_silicon_hops_to_a_neighbour_and_carbon_takes_its_place():
    options = {**PERFECT, "si3": 0.02}
    simulation = simulate_graphene(n_frames=6, size=256, hop_rate=0.5, **options)
    sites = simulation.sites
    steps = []
    for number, track in sites[sites["species"] == "Si"].groupby("track_id"):
        path = track[["y", "x"]].to_numpy()
        steps.extend(np.hypot(*np.diff(path, axis=0).T) / 14)
        assert len(track) == 6, number
    steps = np.array(steps)
    hopped = steps > 0.5
    assert 0.2 < hopped.mean() < 0.7
    assert np.abs(steps[hopped] - 1).max() < 0.15
    frames = [points_of(group) for _, group in sites.groupby("frame")]
    for number, track in sites[sites["species"] == "Si"].groupby("frame"):
        if number < 5:
            left = track[["y", "x"]].to_numpy()
            assert cKDTree(frames[number + 1]).query(left)[0].max() < 0.15 * 14
    still = simulate_graphene(n_frames=6, size=256, hop_rate=0.0, **options).sites
    frozen = still[still["species"] == "Si"].groupby("track_id")[["y", "x"]].agg(np.ptp)
    assert frozen.to_numpy().max() < 0.5


def test_the_hole_only_grows():
    simulation = simulate_graphene(n_frames=6, size=300, drift=0.0, vacancies=0.0, seed=2)
    sites = simulation.sites
    tracks = [set(g["track_id"]) for _, g in inner(sites, (300, 300), 5).groupby("frame")]
    seen = [set(g["track_id"]) for _, g in sites.groupby("frame")]
    for before, after in zip(seen[:-1], tracks[1:], strict=True):
        assert after <= before
    assert len(tracks[-1]) < len(tracks[0]) - 20


def test_atoms_are_lost_on_the_way():
    options = {**PERFECT, "vacancies": 0.02}
    sites = simulate_graphene(n_frames=8, size=300, **options).sites
    number = sites[sites["kind"] == "vacancy"].groupby("frame").size()
    assert number.is_monotonic_increasing
    assert 0 < number.iloc[0] < number.iloc[-1]
    assert len(set(inner(sites, (300, 300), 5).groupby("frame").size())) == 1


def test_the_same_seed_gives_the_same_movie():
    first, again, other = (simulate_graphene(n_frames=2, size=128, seed=s) for s in (3, 3, 4))
    np.testing.assert_array_equal(first.frames.data, again.frames.data)
    pd.testing.assert_frame_equal(first.sites, again.sites)
    assert not np.array_equal(first.frames.data, other.frames.data)


def test_the_specimen_does_not_depend_on_the_scan():
    options = {"n_frames": 2, "size": 160, "seed": 5}
    first = simulate_graphene(**options).sites
    second = simulate_graphene(**options, dose=50, background=40, row_noise=3.0).sites
    columns = ["y", "x", "environment", "angle", "track_id"]
    pd.testing.assert_frame_equal(first[columns], second[columns])


def test_the_frames_know_their_scale(graphene):
    frames = graphene.frames
    assert frames.shape == (4, 384, 384)
    assert frames.dtype == np.float32
    assert frames.axis_labels == ("t", "y", "x")
    assert frames.units == ("s", "nm", "nm")
    measured = neighbour_distance(graphene.sites[graphene.sites["environment"] == "bulk"])
    assert measured * frames.pixel_size[0] == pytest.approx(0.142, rel=0.02)
    assert frames.table["dose"].gt(0).all()


def test_the_metadata_hold_every_option_as_json(graphene):
    metadata = json.loads(json.dumps(graphene.frames.metadata))
    assert set(GrapheneConfig().to_dict()) <= set(metadata)
    assert metadata["readout_noise"] == 0.5
    assert metadata["sigma"] == pytest.approx(0.24 * 14)
    assert metadata["seed"] == 1


def test_fields_agree_with_the_frames(graphene):
    expected, background = (graphene.fields[name] for name in ("expected", "background"))
    assert expected.shape == background.shape == graphene.frames.shape
    assert expected.dtype == np.float32
    assert (expected >= background - 1e-4).all()
    noise = graphene.frames.data - expected
    variance = expected.mean() + 0.5**2 + 0.5**2
    assert noise.var() == pytest.approx(variance, rel=0.02)


def test_a_config_and_overrides_say_the_same():
    first = simulate_graphene(GrapheneConfig(dose=300.0), n_frames=1, size=96)
    second = simulate_graphene(n_frames=1, size=96, dose=300.0)
    np.testing.assert_array_equal(first.frames.data, second.frames.data)


def test_bad_options_are_refused():
    with pytest.raises(TypeError, match="doze"):
        simulate_graphene(doze=3)
    with pytest.raises(InputError, match="dose"):
        simulate_graphene(dose=-3)
    with pytest.raises(InputError, match="size"):
        simulate_graphene(size=4)


@pytest.mark.parametrize(
    "options",
    [
        {"size": 8},
        {"size": (8, 100)},
        {"dose": 0.0},
        {"neighbour_distance": 60.0, "size": 100},
        {"hole_end": 50.0},
        {"hole_start": 9.0, "hole_end": 0.5},
        {"stone_wales": 500},
        {"si3": 0.05, "si4": 0.05, "vacancies": 0.05},
        {"shear": -0.5},
    ],
)
def test_extreme_options_still_give_a_movie(options):
    simulation = simulate_graphene(**{"n_frames": 2, "size": 128, **options})
    assert np.isfinite(simulation.frames.data).all()
    assert np.isfinite(simulation.sites[["y", "x", "amplitude"]]).all(axis=None)
