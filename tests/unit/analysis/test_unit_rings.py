import numpy as np
import pandas as pd
import pytest

from napari_rvae import Cancelled, apply_units, find_units, link_sites, simulate_graphene
from napari_rvae.analysis.units import find, search
from napari_rvae.analysis.units.ring_classes import find_ring_classes
from napari_rvae.analysis.units.ring_codes import UNKNOWN, USUAL, RingGroups, ring_words
from napari_rvae.analysis.units.rings import _completed, find_ring_groups
from napari_rvae.analysis.units.surroundings import bonds_of
from napari_rvae.analysis.units.ward import ward_clusters
from napari_rvae.tables import make_sites


@pytest.fixture(scope="module")
def graphene():
    """True atoms of a movie with two turned bonds; columns environment, lattice_track_id."""
    sites = simulate_graphene(n_frames=3, size=512, seed=0).sites
    return link_sites(sites[sites["kind"] == "atom"])


def _classes(sites, **changes):
    options = {"min_places": 4} | changes
    rings = find_ring_groups(sites)
    place = sites["lattice_track_id"].to_numpy()
    return rings, find_ring_classes(rings, place, sites["frame"].to_numpy(), **options)


def _vague(sites, rng):
    """Features that tell silicon from all else, and nothing more."""
    bright = (sites["species"] == "Si").to_numpy(float)[:, None]
    values = pd.DataFrame(3 * bright + rng.normal(0, 0.3, (len(sites), 8)))
    values.columns = [f"f{number}" for number in range(8)]
    return values.assign(site_id=sites["site_id"].to_numpy())


def test_turned_bonds_are_a_group_of_four_rings(graphene):
    rings, classes = _classes(graphene)
    words = np.array([ring_words(code) for code in rings.code.tolist()])
    turned = (graphene["environment"] == "five_seven").to_numpy()
    assert set(words[turned]) == {"5-5-7-7 rings"}
    assert not (words[~turned] == "5-5-7-7 rings").any()
    assert "5-5-7-7 rings" in [ring_words(code) for code in classes.code.tolist()]


def test_units_tell_the_atoms_of_turned_bonds_and_another_table_keeps_them(graphene, rng):
    features = _vague(graphene, rng)
    units = find_units(graphene, features=features)
    turned = (graphene["environment"] == "five_seven").to_numpy()
    unit = units.table["unit"].to_numpy()
    own = np.unique(unit[turned])
    assert len(own) == 1
    assert np.array_equal(unit == own[0], turned)
    assert "5-5-7-7 rings" in units.names[int(own[0])]
    later = (graphene["frame"] == 2).to_numpy()
    again = apply_units(units, graphene[later], features=features[later])
    assert np.array_equal(again.table["unit"].to_numpy() == own[0], turned[later])
    blind = find_units(graphene, features=features, geometry=False)
    assert not blind.model.ring.any()
    assert len(blind) < len(units)


def test_rings_that_no_unit_is_at_are_unknown_and_named(graphene, rng, caplog):
    clean = simulate_graphene(n_frames=3, size=384, seed=1, stone_wales=0, grains=1).sites
    clean = link_sites(clean[clean["kind"] == "atom"])
    units = find_units(clean, features=_vague(clean, rng))
    assert not any("5-5-7-7" in name for name in units.names.values())
    features = _vague(graphene, rng)
    found = apply_units(units, graphene, features=features).table["unit"].to_numpy()
    turned = (graphene["environment"] == "five_seven").to_numpy()
    assert (found[turned] == -1).all()
    assert (found[(graphene["environment"] == "bulk").to_numpy()] == 0).mean() > 0.95
    assert "5-5-7-7 rings" in caplog.text
    blind = find_units(clean, features=_vague(clean, rng), geometry=False)
    assert not (apply_units(blind, graphene, features=features).table["unit"] == -1)[turned].any()


def test_what_is_met_once_or_does_not_last_is_no_class():
    code, place = np.full(12, USUAL), np.arange(12) % 6
    frame, whole = np.arange(12) // 6, np.ones(12, bool)
    group = np.full(12, -1)
    code[:4] = code[6:10] = 1 << 8  # a pentagon at four places, twice seen
    group[:4], group[6:10] = [0, 0, 1, 1], [2, 2, 3, 3]

    def found(code, group, whole=whole):
        rings = RingGroups(code.astype(np.int64), group, whole)
        return find_ring_classes(rings, place, frame, 4).code.tolist()

    assert found(code, group) == [USUAL, 1 << 8]
    assert found(code, np.where(group >= 0, group // 2, -1)) == [USUAL]  # one group
    fleeting = np.where(frame == 1, USUAL, code)
    assert found(fleeting, group) == [USUAL]
    assert found(code, group, whole & (code == USUAL)) == [USUAL]  # the edge cuts them all


def test_a_group_at_the_edge_of_the_frame_is_a_class_if_it_is_met_twice():
    four_rings, one_ring = 0x2020, 0x20 << 4
    place, frame = np.arange(16), np.zeros(16, np.int64)

    def found(code, group):
        rings = RingGroups(np.full(16, code), group, np.zeros(16, bool))
        return find_ring_classes(rings, place, frame, 2).code.tolist()

    assert ring_words(four_rings) == "4-4-6-6 rings"
    assert found(four_rings, place // 8) == [USUAL, four_rings]
    assert found(four_rings, 0 * place) == [USUAL]
    assert found(one_ring, place // 8) == [USUAL]  # it may be a part of anything


@pytest.mark.parametrize(
    ("last_lost", "seen", "told"),
    [(1, "5-7-7 rings", "5-5-7-7 rings"), (6, "5 ring", "5 ring")],
)
def test_a_group_that_the_edge_cuts_is_told_by_a_whole_one(graphene, last_lost, seen, told):
    still = graphene[graphene["frame"] == 0].reset_index(drop=True)
    turned = still[still["environment"] == "five_seven"].sort_values("y")
    upper, lower = turned.iloc[:16], turned.iloc[16:]
    assert upper["y"].max() < lower["y"].min()
    shown = still[still["y"] > upper["y"].iloc[last_lost]]

    def words(sites, atoms):
        codes = find_ring_groups(sites).code[sites.index.isin(atoms.index)]
        return {ring_words(code) for code in codes.tolist()} - {""}

    assert words(shown.drop(lower.index), upper) == {seen}  # no whole one is left
    assert words(shown, upper) == {told}
    assert words(shown, lower) == {"5-5-7-7 rings"}


def test_a_cut_group_that_is_seen_whole_elsewhere_is_what_it_is():
    four, five = 0x2020, 0x12020
    code, group = np.array([four, four, five]), np.arange(3)
    moment = np.array([0, 1, 0])
    cut_first = _completed(code, group, np.array([False, True, True]), moment)
    assert cut_first.tolist() == [four, four, five]
    # one that is cut somewhere, too, still tells its parts
    part, seen = np.array([0x2010, four, four]), np.array([False, True, False])
    assert _completed(part, group, seen, np.zeros(3, np.int64)).tolist() == [four] * 3


@pytest.fixture(scope="module")
def touched():
    """True atoms of a frame where one of two turned bonds touches the grain boundary."""
    sites = simulate_graphene(n_frames=1, size=512, seed=43).sites
    return sites[sites["kind"] == "atom"].reset_index(drop=True)


def test_a_turned_bond_that_touches_a_grain_boundary_is_still_one(touched):
    rings = find_ring_groups(touched)
    words = np.array([ring_words(code) for code in rings.code.tolist()])
    turned = (touched["environment"] == "five_seven").to_numpy()
    assert np.array_equal(words == "5-5-7-7 rings", turned)
    assert len(np.unique(rings.group[turned])) == 2
    assert "5-5-5-7-7-7-8 rings" in set(words[~turned])  # what it was a part of, by its other rings


def test_what_no_group_is_by_itself_is_not_looked_for(touched):
    turned = touched[touched["environment"] == "five_seven"].sort_values("y")
    alone = turned.iloc[:16] if turned["y"].iloc[:16].max() < 256 else turned.iloc[16:]
    without = touched.drop(alone.index)
    words = {ring_words(code) for code in find_ring_groups(without).code.tolist()}
    assert "5-5-5-7-7-7-8 rings" in words
    assert "5-5-7-7 rings" not in words


def test_a_group_that_a_frame_shows_twice_is_what_it_is(touched):
    both = pd.concat([touched, touched.assign(x=touched["x"] + 600)], ignore_index=True)
    rings = find_ring_groups(both.assign(site_id=np.arange(len(both))))
    words = np.array([ring_words(code) for code in rings.code.tolist()])
    turned = (both["environment"] == "five_seven").to_numpy()
    assert set(words[turned]) == {"5-5-7-7 rings", "5-5-5-7-7-7-8 rings"}
    assert (words == "5-5-7-7 rings").sum() == 32


def test_sightings_vote_and_unknown_ones_do_not():
    rings = RingGroups(np.array([0, 256, 256, 256]), np.array([-1, 0, 1, 2]), np.ones(4, bool))
    classes = find_ring_classes(rings, np.arange(4), np.zeros(4, np.int64), 3)
    assert classes.code.tolist() == [0, 256]
    votes = classes.votes(np.array([0, 256, 256, UNKNOWN, 1 << 4]), np.array([0, 0, 0, 1, 2]), 3)
    assert votes.tolist() == [[1, 2], [0, 0], [1, 0]]
    shares = classes.shares(votes, np.array([0.5, 0.5]))
    assert shares[0, 1] > 0.9
    assert np.isnan(shares[1]).all()
    assert shares[2, 0] > 0.9


def test_a_lattice_and_no_lattice_have_no_classes(rng):
    crystal = 10.0 * np.indices((20, 20)).reshape(2, -1)
    for y, x in (rng.uniform(0, 200, (2, 400)), crystal):
        frame = np.repeat([0, 1, 2], 400)
        sites = make_sites(frame=frame, y=np.tile(y, 3), x=np.tile(x, 3))
        sites = sites.assign(lattice_track_id=np.tile(np.arange(400), 3))
        assert _classes(sites)[1].code.tolist() == [USUAL]
    grid = make_sites(frame=0, y=crystal[0], x=crystal[1], kind="grid")
    assert (find_ring_groups(grid).code == UNKNOWN).all()


def test_atoms_beside_missing_ones_are_told_from_those_at_a_hole(honeycomb):
    points = honeycomb(260, 10.0)
    from_middle = np.hypot(*(points - 130).T)
    lone = [np.argmin(np.hypot(*(points - place).T)) for place in ((50, 50), (60, 200))]
    kept = np.setdiff1d(np.flatnonzero(from_middle > 45), lone)
    sites = make_sites(frame=0, y=points[kept, 0], x=points[kept, 1])
    words = np.array([ring_words(code) for code in find_ring_groups(sites).code.tolist()])
    assert (words == "beside vacancy").sum() == 6
    away = np.hypot(sites["y"] - 130, sites["x"] - 130).to_numpy()
    inner = away < 75  # away from where the crystal ends
    assert set(words[inner]) == {"", "edge"}
    assert (words[inner] == "edge").sum() > 5
    assert away[inner & (words == "edge")].max() < 60


def test_words_of_rings():
    assert ring_words(USUAL) == ring_words(UNKNOWN) == ring_words(1 << 24) == ""
    assert ring_words(1 << 8) == "5 ring"
    assert ring_words((1 << 8) | (1 << 16)) == "5-7 pair"
    assert ring_words((2 << 8) | (2 << 16)) == "5-5-7-7 rings"


def test_environments_are_named_by_what_stands_beside_them(rng):
    y, x = 10.0 * np.indices((20, 20)).reshape(2, -1)
    middle = rng.choice(np.flatnonzero((y > 15) & (y < 175) & (x > 15) & (x < 175)), 12)
    is_bright = np.isin(np.arange(400), middle)
    near = np.zeros(400, bool)
    near[(np.flatnonzero(is_bright)[:, None] + [-20, 20, -1, 1]).ravel()] = True
    label = np.select([is_bright, near], [2, 1], 0)
    values = pd.DataFrame(6.0 * label[:, None] + rng.normal(0, 0.5, (400, 6)))
    values.columns = [f"f{number}" for number in range(6)]
    sites = make_sites(frame=0, y=y, x=x, amplitude=1.0 + is_bright)
    features = values.assign(site_id=sites["site_id"])
    plain = find_units(sites, features=features)
    assert "host, next to" in " ".join(plain.environments["name"])
    assert plain.environments["name"].is_unique
    named = find_units(sites.assign(species=np.where(is_bright, "Si", "C")), features=features)
    assert any("C beside Si" in name for name in named.environments["name"])


def test_a_group_that_may_hold_a_class_tells_nothing():
    pair, large = (1 << 8) | (1 << 16), 1 << 24
    rings = RingGroups(np.full(4, pair), np.arange(4), np.ones(4, bool))
    classes = find_ring_classes(rings, np.arange(4), np.zeros(4, np.int64), 3)
    assert classes.code.tolist() == [USUAL, pair]
    larger, other = pair + (2 << 16), 3 << 8
    votes = classes.votes(np.array([pair, larger, large, other]), np.arange(4), 4)
    assert votes.tolist() == [[0, 1], [0, 0], [0, 0], [1, 0]]


@pytest.mark.parametrize("shown", [1 << 24, 1 << 4], ids=["a large group", "other rings"])
def test_a_defect_that_touches_another_goes_with_its_like(graphene, rng, monkeypatch, shown):
    four, three = ((graphene["environment"] == name).to_numpy() for name in ("si4", "si3"))
    places = graphene["lattice_track_id"].to_numpy()
    assert len(np.unique(places[four])) == 4  # just as many as a unit needs
    bright = np.select([four[:, None], three[:, None]], [9.0, 3.0])
    values = pd.DataFrame(bright + rng.normal(0, 0.3, (len(graphene), 8)))
    values.columns = [f"f{number}" for number in range(8)]
    values["site_id"] = graphene["site_id"].to_numpy()

    def one_at_other_rings(table, tick):
        rings = find_ring_groups(table, tick)
        one = (table["lattice_track_id"] == places[four][0]).to_numpy()
        return RingGroups(np.where(one, shown, rings.code), rings.group, rings.whole)

    monkeypatch.setattr(find, "find_ring_groups", one_at_other_rings)
    unit = find_units(graphene, features=values).table["unit"].to_numpy()
    assert len(np.unique(unit[four])) == 1
    assert not np.isin(unit[three], unit[four]).any()


def test_rings_that_other_starts_do_not_find_again_are_no_unit(graphene, rng, monkeypatch):
    turned = (graphene["environment"] == "five_seven").to_numpy()
    repeated = search._repeated

    def cut_otherwise(*args, **options):
        labels = repeated(*args, **options)
        labels[turned] = 1000 + rng.permutation(int(turned.sum()))
        return labels

    monkeypatch.setattr(search, "_repeated", cut_otherwise)
    units = find_units(graphene, features=_vague(graphene, rng))
    assert not any("5-5-7-7" in name for name in units.names.values())
    host = units.table["unit"].to_numpy() == 0
    assert host[turned].mean() > 0.9  # they look like it


def test_long_steps_ask_whether_to_stop(graphene, rng):
    asked = []
    find_ring_groups(graphene, lambda: asked.append("rings"))
    bonds_of(graphene, lambda: asked.append("bonds"))
    n_frames = graphene["frame"].nunique()
    assert asked == ["rings"] * 2 * n_frames + ["bonds"] * n_frames
    points = rng.normal(size=(400, 3))

    def stop():
        raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        ward_clusters(points, np.ones(400), 5, stop)
    assert len(np.unique(ward_clusters(points, np.ones(400), 5, lambda: None))) == 5
