import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_rvae import (
    Cancelled,
    InputError,
    Units,
    find_fragments,
    link_sites,
    simulate_graphene,
)
from napari_rvae.tables import make_sites


def _units(sites, is_core):
    return pd.DataFrame({"site_id": sites["site_id"], "unit": np.asarray(is_core).astype(int)})


def _graphene(n_frames=1, **options):
    options = {"grains": 1, "hole_end": 0.0, "hop_rate": 0.0, **options}
    sites = simulate_graphene(n_frames=n_frames, size=256, seed=3, **options).sites
    return sites.drop(columns="track_id")


def _square(si, n_frames=1, side=8):
    """A square lattice of C; `si` holds the places (row, column) of Si in each frame."""
    y, x = np.indices((side, side)).reshape(2, -1)
    frames = []
    for frame in range(n_frames):
        names = ["Si" if place in si[frame] else "C" for place in zip(y, x, strict=True)]
        place = make_sites(frame=frame, y=10.0 * y, x=10.0 * x, species=names)
        frames.append(place.assign(lattice_track_id=np.arange(side * side), track_id=-1))
    sites = pd.concat(frames, ignore_index=True)
    return sites.assign(site_id=np.arange(len(sites)))


def _find(si, n_frames):
    sites = _square(si, n_frames)
    return find_fragments(sites, _units(sites, sites["species"] == "Si"))


def test_planted_defects_of_graphene_have_their_names():
    sites = _graphene(si3=0.01, si4=0.01, vacancies=0.01, stone_wales=1)
    plain = sites["environment"].isin(["bulk", "beside_si", "beside_vacancy"])
    found = find_fragments(sites, _units(sites, ~plain))
    names = found.summary.loc[found.summary["complete"], "name"].value_counts()
    assert {"SiC3", "5-5-7-7"} <= set(names.index) <= {"SiC3", "SiC4, 5-5", "vacancy", "5-5-7-7"}
    assert names["5-5-7-7"] == 1


def test_one_row_a_site_in_order_and_numbers_by_place():
    sites = _graphene(si3=0.01)
    mixed = sites.sample(frac=1, random_state=0)
    units = _units(mixed, mixed["environment"] != "bulk")
    found = find_fragments(mixed, units)
    assert found.table["site_id"].tolist() == mixed["site_id"].tolist()
    assert found.summary["y"].is_monotonic_increasing
    counted = found.table.loc[found.table["fragment_id"] >= 0, "fragment_id"].value_counts()
    assert counted.sort_index().tolist() == found.summary["n_sites"].tolist()
    assert found.counts.sum().sum() == len(found)


@given(seed=st.integers(0, 10**6), turn=st.floats(0, 6.2), mirrored=st.booleans())
@settings(max_examples=10, deadline=None)
def test_names_do_not_change_when_the_sites_are_turned_mirrored_and_shuffled(seed, turn, mirrored):
    sites = _graphene(si3=0.01, si4=0.01, vacancies=0.01)
    core = sites["environment"].isin(["si3", "si4", "vacancy", "five_seven"])
    before = find_fragments(sites, _units(sites, core))
    c, s = np.cos(turn), np.sin(turn)
    points = sites[["y", "x"]].to_numpy() @ np.array([[c, s], [-s, c]])
    points[:, 1] *= -1 if mirrored else 1
    moved = sites.assign(y=points[:, 0], x=points[:, 1])
    order = np.random.default_rng(seed).permutation(len(sites))
    after = find_fragments(moved.iloc[order], _units(moved, core))
    for one in (before, after):
        assert len(one) > 3
    names = [
        one.table.merge(one.summary, on="fragment_id", how="left").set_index("site_id")["name"]
        for one in (before, after)
    ]
    assert names[0].fillna("").equals(names[1].sort_index().fillna(""))


def test_two_atoms_side_by_side_are_one_fragment():
    found = _find([{(3, 3), (3, 4)}], 1)
    assert found.summary[["name", "n_sites"]].to_numpy().tolist() == [["Si2C6", 2]]
    assert found.summary["complete"].all()


def test_fragments_merge_split_and_vanish():
    si = [
        {(2, 1), (2, 5)},
        {(2, 2), (2, 4)},
        {(2, 2), (2, 3)},
        {(2, 1), (2, 4)},
        set(),
        set(),
        set(),
    ]
    found = _find(si, len(si))
    events = found.events.set_index("frame")
    assert events["event"].tolist() == ["merge", "split", "vanish", "vanish"]
    assert events.index.tolist() == [2, 3, 4, 4]
    merged = events.loc[2]
    assert (merged["before"], merged["after"]) == ("SiC4 + SiC4", "Si2C6")
    track = found.summary.set_index("frame")["fragment_track_id"]
    assert track.loc[0].tolist() == track.loc[1].tolist()
    assert track.loc[2] in track.loc[1].tolist()


def test_a_fragment_that_hops_keeps_its_track_and_may_be_missing_for_a_frame():
    found = _find([{(2, 2)}, {(2, 3)}, set(), {(3, 3)}, {(3, 4)}], 5)
    assert set(found.summary["fragment_track_id"]) == {0}
    assert found.events.empty
    late = _find([set(), {(2, 2)}, {(2, 2)}], 3)
    assert late.events[["event", "frame"]].to_numpy().tolist() == [["appear", 1]]


def test_a_change_of_name_is_an_event():
    found = _find([{(2, 2)}, {(2, 2), (2, 3)}], 2)
    assert found.events[["event", "before", "after"]].to_numpy().tolist() == [
        ["change", "SiC4", "Si2C6"]
    ]


def test_without_links_nothing_is_followed():
    sites = _square([{(2, 2)}]).drop(columns="lattice_track_id")
    found = find_fragments(sites, _units(sites, sites["species"] == "Si"))
    assert found.summary["fragment_track_id"].tolist() == [-1]
    assert found.events.empty


def test_brightness_stands_in_for_the_species_and_elements_can_be_named():
    sites = _square([{(3, 3)}]).drop(columns="species")
    middle = (sites["y"] == 30) & (sites["x"] == 30)
    bright = sites.assign(amplitude=np.where(middle, 4.0, 1.0))
    units = _units(sites, middle)
    assert find_fragments(bright, units).summary["name"].tolist() == ["(A+)A4"]
    named = find_fragments(bright, units, elements={"A": "C", "A+": "Si"})
    assert named.summary["name"].tolist() == ["SiC4"]
    alike = find_fragments(sites, units)
    assert alike.summary["name"].tolist() == ["A"]


def test_an_atom_without_a_species_of_its_own_is_named_by_its_brightness():
    sites = _square([{(3, 3)}])
    bright = sites["species"] == "Si"
    table = sites.assign(
        species=np.where(bright, "off lattice", np.where(sites["x"] == 20, "", "A")),
        amplitude=np.where(bright, 4.0, 1.0),
    )
    found = find_fragments(table, _units(sites, bright), elements={"A": "C", "A+": "Si"})
    assert found.summary["name"].tolist() == ["SiC4"]


def test_units_whose_name_says_so_are_host():
    sites = _square([{(3, 3)}])
    unit = np.where(sites["species"] == "Si", 2, sites["site_id"] % 2)
    table = pd.DataFrame({"site_id": sites["site_id"], "unit": unit, "unit_probability": 1.0})
    summary = pd.DataFrame(
        {"unit": [0, 1, 2], "name": ["bright host", "dim host", "bright"], "count": 1}
    )
    assert find_fragments(sites, Units(table, summary)).summary["name"].tolist() == ["SiC4"]
    flagged = summary.assign(name=["a", "b", "c"], is_host=[True, True, False])
    assert find_fragments(sites, Units(table, flagged)).summary["name"].tolist() == ["SiC4"]
    assert len(find_fragments(sites, table, hosts=[0, 1, 2])) == 0


def test_linked_sites_of_a_movie_are_followed():
    sites = link_sites(_graphene(n_frames=4, si3=0.01, hop_rate=0.3, vacancies=0.0))
    core = sites["environment"].isin(["si3", "si4"])
    found = find_fragments(sites, _units(sites, core))
    lengths = found.summary["fragment_track_id"].value_counts()
    assert (lengths == 4).mean() > 0.7


def test_what_does_not_fit_is_said_in_one_line():
    sites = _square([set()])
    with pytest.raises(InputError, match="lack a column"):
        find_fragments(sites, sites[["site_id"]])
    with pytest.raises(Cancelled):
        find_fragments(sites, _units(sites, sites["y"] < 0), progress=lambda done, total: False)
    empty = find_fragments(sites.iloc[:0], _units(sites, sites["y"] < 0))
    assert len(empty) == 0
    assert empty.counts.empty
