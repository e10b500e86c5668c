import time

import numpy as np
import pytest
from hypothesis import given

from napari_rvae import Cancelled, InputError, TrackConfig
from napari_rvae.analysis.tracks import link_sites, with_tracks
from napari_rvae.synthetic import simulate_graphene
from napari_rvae.tables import concat_sites, make_sites
from strategies import sites_tables

BOND = 10.0


def _movie(points, shifts, rng, *, noise=0.2, missing=0.0, **columns):
    """Sites of a rigid lattice that moves by `shifts`; column "true" numbers the places."""
    frame, y, x, true = [], [], [], []
    for number, shift in enumerate(shifts):
        seen = np.flatnonzero(rng.random(len(points)) >= missing)
        here = points[seen] + shift + rng.normal(0, noise, (len(seen), 2))
        frame.append(np.full(len(seen), number))
        y.append(here[:, 0])
        x.append(here[:, 1])
        true.append(seen)
    frame, y, x, true = (np.concatenate(part) for part in (frame, y, x, true))
    made = {name: values(frame, true) for name, values in columns.items()}
    return make_sites(frame=frame, y=y, x=x, true=true, **made)


def _is_one_to_one(linked, column):
    known = linked[linked[column] >= 0]
    return not known.duplicated(["frame", column]).any()


@pytest.mark.parametrize("speed", [0.0, 0.4, 0.8])
def test_places_are_followed_through_drift_and_gaps(honeycomb, rng, speed):
    points = honeycomb(250, BOND)
    shifts = np.arange(12)[:, None] * np.array([0.8, -0.6]) * speed * BOND
    linked = link_sites(_movie(points, shifts, rng, missing=0.05), max_gap=3)
    assert linked.groupby("lattice_track_id")["true"].nunique().max() == 1
    broken = linked.groupby("true")["lattice_track_id"].nunique() > 1
    assert broken.mean() < 0.001
    assert _is_one_to_one(linked, "lattice_track_id")
    assert linked["track_id"].equals(linked["lattice_track_id"].rename("track_id"))


def test_a_jump_of_the_first_frame_is_found(honeycomb, rng):
    points = honeycomb(250, BOND)
    shifts = np.array([[0, 0], [7.0, 0], [7.5, 0]])  # 0.7 of a bond, then hardly anything
    linked = link_sites(_movie(points, shifts, rng))
    assert linked.groupby("true")["lattice_track_id"].nunique().eq(1).all()


def test_twenty_thousand_sites_take_about_two_seconds(honeycomb, rng):
    points = honeycomb(480, BOND)
    table = _movie(points, rng.normal(0, 1, (20, 2)).cumsum(axis=0), rng)
    assert len(table) > 20_000
    start = time.process_time()
    link_sites(table)
    assert time.process_time() - start < 4


def test_hopping_dopants_keep_their_track(rng):
    simulation = simulate_graphene(n_frames=8, size=448, seed=3, si3=0.02, hop_rate=0.5)
    truth = simulation.sites.rename(columns={"track_id": "true", "species": "element"})
    noisy = truth.assign(
        y=truth["y"] + rng.normal(0, 0.3, len(truth)),
        amplitude=truth["amplitude"] * rng.normal(1, 0.1, len(truth)),
    )
    linked = link_sites(noisy)
    silicon = linked[linked["element"] == "Si"].sort_values(["true", "frame"])
    following = silicon.groupby("true")[["track_id", "lattice_track_id"]].shift(-1)
    known = following["track_id"].notna()
    hops = known & (following["lattice_track_id"] != silicon["lattice_track_id"])
    kept = following["track_id"] == silicon["track_id"]
    assert hops.sum() >= 5
    assert kept[hops].mean() > 0.9
    assert kept[known].mean() > 0.97
    assert _is_one_to_one(linked, "track_id")
    assert (linked.loc[linked["kind"] == "vacancy", "track_id"] == -1).all()
    assert (linked.loc[linked["kind"] == "vacancy", "lattice_track_id"] >= 0).all()


@pytest.mark.parametrize("column", ["amplitude", "species"])
def test_a_hop_changes_the_place_and_not_the_atom(honeycomb, rng, column):
    points = honeycomb(120, BOND)
    here = np.argmin(np.hypot(*(points - 60).T))
    distance = np.hypot(*(points - points[here]).T)
    there = np.flatnonzero((distance > 1) & (distance < 1.1 * BOND))[0]

    def dopant(frame, true):
        is_dopant = true == np.where(frame < 3, here, there)
        if column == "species":
            return np.where(is_dopant, "Si", "C")
        return np.where(is_dopant, 3.0, 1.0) * rng.normal(1, 0.05, len(frame))

    linked = link_sites(_movie(points, np.zeros((6, 2)), rng, **{column: dopant}))
    where = np.where(linked["frame"] < 3, here, there)
    chosen = linked[linked["true"] == where]
    assert chosen["track_id"].nunique() == 1
    assert chosen["lattice_track_id"].nunique() == 2
    others = linked[linked["true"] != where]
    assert (others["track_id"] == others["lattice_track_id"]).all()


def test_a_dopant_missed_in_one_frame_stays_in_its_track(honeycomb, rng):
    points = honeycomb(120, BOND)
    here = np.argmin(np.hypot(*(points - 60).T))
    there = np.argsort(np.hypot(*(points - points[here]).T))[1]

    def amplitude(frame, true):
        bright = (true == np.where(frame < 5, here, there)) & (frame != 2)
        return np.where(bright, 3.0, 1.0) * rng.normal(1, 0.05, len(frame))

    linked = link_sites(_movie(points, np.zeros((8, 2)), rng, amplitude=amplitude))
    chosen = linked[linked["true"] == np.where(linked["frame"] < 5, here, there)]
    assert chosen["track_id"].nunique() == 1


@pytest.mark.parametrize("brightness", [1.0, 3.0])
def test_atoms_off_the_lattice_are_dopants_if_they_are_bright(honeycomb, rng, brightness):
    points = honeycomb(120, BOND)
    here = np.argmin(np.hypot(*(points - 60).T))
    there = np.argsort(np.hypot(*(points - points[here]).T))[1]

    def is_odd(frame, true):
        return true == np.where(frame < 4, here, there)

    table = _movie(
        points,
        np.zeros((8, 2)),
        rng,
        species=lambda frame, true: np.where(is_odd(frame, true), "off lattice", "A"),
        amplitude=lambda frame, true: (
            np.where(is_odd(frame, true), brightness, 1.0) * rng.normal(1, 0.05, len(frame))
        ),
    )
    linked = link_sites(table)
    odd = linked[linked["true"] == np.where(linked["frame"] < 4, here, there)]
    assert odd["track_id"].nunique() == (1 if brightness > 1 else 2)


def test_single_misread_atoms_stay_in_their_track(honeycomb, rng):
    points = honeycomb(120, BOND)
    table = _movie(
        points,
        np.zeros((10, 2)),
        rng,
        species=lambda frame, true: np.where(rng.random(len(frame)) < 0.01, "Si", "C"),
    )
    linked = link_sites(table)
    assert (table["species"] == "Si").sum() > 5
    assert (linked["track_id"] == linked["lattice_track_id"]).mean() > 0.995


def test_two_bright_sublattices_are_no_dopants(rng):
    y, x = BOND * np.indices((12, 12)).reshape(2, -1)
    bright = ((y + x) / BOND) % 2

    def amplitude(frame, true):
        return (1 + bright[true]) * rng.normal(1, 0.05, len(frame))

    linked = link_sites(_movie(np.stack([y, x], 1), np.zeros((3, 2)), rng, amplitude=amplitude))
    assert (linked["track_id"] == linked["lattice_track_id"]).all()


def test_nameless_species_are_none(honeycomb, rng):
    table = _movie(honeycomb(80, BOND), np.zeros((3, 2)), rng)
    nameless = table.assign(species="")
    assert link_sites(nameless)["track_id"].equals(link_sites(table)["track_id"])


def test_order_index_and_columns_of_the_table_stay(honeycomb, rng):
    table = _movie(honeycomb(80, BOND), np.zeros((3, 2)), rng)
    mixed = table.sample(frac=1, random_state=1)
    linked = link_sites(mixed)
    assert linked["site_id"].tolist() == mixed["site_id"].tolist()
    assert list(linked.columns) == [*mixed.columns, "lattice_track_id", "track_id"]
    ordered = link_sites(table).set_index("site_id")["lattice_track_id"]
    assert linked.set_index("site_id")["lattice_track_id"].sort_index().equals(ordered)


def test_an_emptiness_longer_than_allowed_ends_a_place(honeycomb, rng):
    table = _movie(honeycomb(80, BOND), np.zeros((5, 2)), rng)
    table = table[table["frame"].isin([0, 4])]
    ended = link_sites(table, place_gap=2)
    assert not set(ended.loc[ended["frame"] == 0, "lattice_track_id"]) & set(
        ended.loc[ended["frame"] == 4, "lattice_track_id"]
    )
    bridged = link_sites(table, TrackConfig(place_gap=3))
    assert bridged["lattice_track_id"].nunique() == (bridged["frame"] == 0).sum()


def test_numbers_are_unique_over_sources(honeycomb, rng):
    points = honeycomb(80, BOND)
    tables = [
        _movie(points, np.zeros((2, 2)), rng).assign(source=name, track_id=5) for name in "ab"
    ]
    linked = link_sites(concat_sites(*tables))
    for column in ("lattice_track_id", "track_id"):
        assert linked.groupby(column)["source"].nunique().eq(1).all()


def test_sites_without_a_position_and_lone_sites_have_no_track():
    lost = make_sites(frame=[0, 0, 0, 0], y=[0.0, 0, 0, np.nan], x=[0.0, 10, 20, 30])
    linked = link_sites(lost)
    assert linked.loc[linked["y"].isna(), ["lattice_track_id", "track_id"]].eq(-1).all(axis=None)
    assert linked["lattice_track_id"].max() == 2
    alone = link_sites(make_sites(frame=[0, 1], y=[5.0, 5.0], x=[5.0, 5.0]))
    assert alone["track_id"].tolist() == [-1, -1]


def test_sites_found_twice_get_tracks_of_their_own(honeycomb, rng):
    table = _movie(honeycomb(80, BOND), np.zeros((3, 2)), rng, noise=0)
    double = concat_sites(table, table.assign(source="b")).assign(source="")
    linked = link_sites(double)
    assert _is_one_to_one(linked, "lattice_track_id")
    assert linked["lattice_track_id"].min() == 0


def test_one_frame_makes_a_track_of_each_site(honeycomb, rng):
    linked = link_sites(_movie(honeycomb(80, BOND), np.zeros((1, 2)), rng))
    assert linked["track_id"].is_unique


def test_progress_counts_frames_and_stops(honeycomb, rng):
    table = _movie(honeycomb(60, BOND), np.zeros((4, 2)), rng)
    seen = []
    link_sites(table, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    with pytest.raises(Cancelled):
        link_sites(table, progress=lambda done, _: done < 2)


def test_options_are_checked():
    table = make_sites(frame=0, y=[0.0], x=[0.0])
    with pytest.raises(TypeError):
        link_sites(table, max_jump=3)
    with pytest.raises(InputError):
        link_sites(table, max_gap=-1)
    with pytest.raises(InputError, match="lacks the column"):
        link_sites(table.drop(columns="frame"))


@given(sites_tables())
def test_any_table_is_linked_one_to_one(table):
    linked = link_sites(table)
    assert linked["site_id"].tolist() == table["site_id"].tolist()
    for column in ("lattice_track_id", "track_id"):
        assert linked[column].dtype == "int64"
        known = linked[linked[column] >= 0]
        assert not known.duplicated(["source", "frame", column]).any()
        assert known.groupby(column)["source"].nunique().le(1).all()


def test_places_of_two_grains_are_followed_over_their_boundary(rng):
    movie = simulate_graphene(n_frames=6, size=220, seed=0, grains=2, misorientation=0.4, si3=0.0)
    sites = movie.sites[movie.sites["kind"] == "atom"].reset_index(drop=True)
    assert sites["grain"].nunique() == 2
    table = sites.assign(
        y=sites["y"] + rng.normal(0, 0.3, len(sites)), x=sites["x"] + rng.normal(0, 0.3, len(sites))
    )
    linked = link_sites(table.drop(columns="track_id"))
    places = linked.assign(true=sites["track_id"]).groupby("true")["lattice_track_id"].nunique()
    assert (places == 1).mean() > 0.995


@pytest.mark.parametrize("kind", ["atom", "vacancy", "grid"])
def test_places_of_a_movie_get_tracks(kind, honeycomb, rng):
    movie = _movie(honeycomb(100, BOND), np.zeros((4, 2)), rng).assign(kind=kind)
    assert with_tracks(movie).equals(link_sites(movie))
    seen = []
    with_tracks(movie, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (4, 4)


def test_walls_and_single_frames_get_no_tracks_and_others_keep_theirs(honeycomb, rng):
    movie = _movie(honeycomb(100, BOND), np.zeros((4, 2)), rng)
    for table in (
        movie.assign(kind="wall"),
        movie[movie["frame"] == 2],
        movie.assign(lattice_track_id=7),
        movie.assign(track_id=7),
        movie.iloc[:0],
    ):
        assert list(with_tracks(table)) == list(table)
        assert len(with_tracks(table)) == len(table)
