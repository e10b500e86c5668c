"""Units of sites along domain walls have names that say what they are."""

import math

import numpy as np
import pandas as pd
import pytest

from napari_rvae import Units, find_units, unit_cards
from napari_rvae.analysis.units.wall_names import are_walls, wall_unit_names
from napari_rvae.tables import make_sites


def _wall(y, x, kind="180", bend=0.0, number=0):
    y = np.asarray(y, float)
    return make_sites(
        frame=0,
        y=y,
        x=np.broadcast_to(x, y.shape).astype(float),
        kind="wall",
        normal_angle=np.zeros(y.size),
        wall_type=np.full(y.size, kind),
        wall_id=np.full(y.size, number),
        curvature=np.full(y.size, bend),
        wall_position=4.0 * np.arange(y.size),
    )


@pytest.fixture
def sites():
    """A straight wall, a bent one each way, and a ferroelastic one across the first."""
    along, turn = 4.0 * np.arange(30), np.linspace(0, 2 * math.pi, 30, endpoint=False)
    walls = [
        _wall(along, 100.0),
        _wall(60 + 20 * np.sin(turn), 200 + 20 * np.cos(turn), bend=1 / 20, number=1),
        _wall(60 + 20 * np.sin(turn), 300 + 20 * np.cos(turn), bend=-1 / 20, number=2),
        _wall(np.full(30, 60.0), 42.0 + along, "ferroelastic", number=3),
    ]
    table = pd.concat(walls, ignore_index=True)
    return table.assign(site_id=np.arange(len(table)))


def _units(sites, unit):
    unit = np.asarray(unit, np.int64)
    table = pd.DataFrame({"site_id": sites["site_id"], "unit": unit, "unit_probability": 1.0})
    numbers = np.unique(unit)
    summary = pd.DataFrame({"unit": numbers, "name": [f"unit {n}" for n in numbers], "count": 1})
    return Units(table, summary)


def test_units_are_named_by_what_most_of_their_sites_are(sites):
    wall = sites["wall_id"].to_numpy()
    junction = np.hypot(sites["y"] - 60, sites["x"] - 100) < 6
    end = (wall == 0) & ((sites["y"] < 5) | (sites["y"] > 111))
    unit = np.where(end, 5, np.where(junction, 4, wall))
    assert are_walls(sites)
    assert wall_unit_names(_units(sites, unit), sites) == {
        0: "straight 180-degree wall",
        1: "180-degree wall, bent to +",
        2: "180-degree wall, bent to -",
        3: "ferroelastic wall",
        4: "junction of walls",
        5: "end of a wall",
    }


def test_known_names_stay_and_no_name_is_given_twice(sites):
    unit = np.where(sites["wall_id"] == 0, sites["y"] > 60, 2)
    names = wall_unit_names(_units(sites, unit), sites, {0: "straight 180-degree wall"})
    assert names[0] == "straight 180-degree wall"
    assert names[1].startswith("straight 180-degree wall")
    assert len(set(names.values())) == 3


def test_atoms_and_walls_of_unknown_type_keep_their_names(sites):
    assert not are_walls(sites.drop(columns="wall_type"))
    assert not are_walls(make_sites(frame=0, y=[1.0], x=[1.0]))


def test_cards_of_walls_speak_of_walls_and_not_of_atoms(sites):
    units = _units(sites, sites["wall_id"])
    strong = sites["wall_id"] == 1
    cards = unit_cards(units, sites.assign(strength=np.where(strong, 5e-10, 2e-10)))
    assert cards[1].caption.startswith(
        "Radius of curvature 20 px, 2.5 times the median strength of all sites. "
    )
    assert cards[0].caption.startswith("Straight, of the median strength of all")
    assert not any("neighbour" in card.caption or "edge" in card.caption for card in cards)


def test_units_that_are_found_along_walls_have_such_names(sites):
    noise = 0.1 * np.random.default_rng(0).normal(size=(2, len(sites)))
    found = sites.assign(
        z0=100 * sites["curvature"] + noise[0],
        z1=8.0 * (sites["wall_type"] == "ferroelastic") + noise[1],
    )
    units = find_units(found)
    assert not any(name.startswith(("host", "unit")) for name in units.names.values())
    assert find_units(found, like=units).names == units.names
