"""Cards of units whose pictures, neighbours and shares are known."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest

from napari_rvae import Crops, InputError, Units, find_units, simulate_graphene, unit_cards
from napari_rvae.analysis.baselines import CropPCA
from napari_rvae.analysis.order import order_parameters
from napari_rvae.analysis.poses import align_crops, find_turns, place_pictures
from napari_rvae.analysis.shares import count_units
from napari_rvae.analysis.stands import site_rings
from napari_rvae.analysis.starts import Starts
from napari_rvae.render import render_gaussians
from napari_rvae.tables import make_sites

SIDE, SPACING = 32, 32 / 3.5
TURN = 0.7  # the gauge of the stand-in model
THREE = np.radians([90.0, 210.0, 330.0])


def _picture(directions, amplitude):
    offset = np.concatenate([[[0, 0]], np.stack([-np.sin(directions), np.cos(directions)], 1)])
    places = offset * SPACING + (SIDE - 1) / 2
    return render_gaussians(*places.T, np.asarray(amplitude, float), 2.0, (SIDE, SIDE))


#: Host, dopant, and a site with two neighbours; the picture of z0 = 0, 1, 2.
PICTURES = place_pictures(
    np.stack(
        [
            # one neighbour is the brightest, so that the direction of the host is known
            _picture(THREE, [1, 1.15, 1, 1]),
            _picture(THREE, [3, 1, 1, 1]),
            _picture(THREE[:2], [1, 1, 1]),
        ]
    )[:, None],
    TURN,
)


class StandIn:
    """A model that has learned the three pictures by heart."""

    def transform(self, crops):
        raise NotImplementedError

    def inverse_transform(self, z, *, angle=0.0, shift=(0.0, 0.0)):
        number = np.rint(np.atleast_2d(z)[:, 0]).astype(int)
        return place_pictures(PICTURES[number], angle, shift)


@pytest.fixture(scope="module")
def material():
    """Sites of three units in four frames, with latents, angles and crops."""
    rng = np.random.default_rng(0)
    y, x = (10.0 * axis.ravel() for axis in np.indices((10, 10)))
    unit = np.zeros(100, int)
    unit[[33, 36, 63, 66]] = 1
    unit[44] = 2
    frame = np.repeat(np.arange(4), 100)
    unit = np.tile(unit, 4)
    unit[frame >= 2] = np.where(unit[frame >= 2] == 2, 0, unit[frame >= 2])  # it heals
    angle = rng.uniform(-np.pi, np.pi, 400)
    sites = make_sites(
        frame=frame,
        y=np.tile(y, 4),
        x=np.tile(x, 4),
        lattice_track_id=np.tile(np.arange(100), 4),
        angle=angle,
        angle_sd=0.01,
        shift_y=0.0,
        shift_x=0.0,
        z0=unit + rng.normal(0, 0.05, 400),
        z1=rng.normal(0, 1, 400),
    )
    images = place_pictures(PICTURES[unit], angle) + rng.normal(0, 0.1, (400, 1, SIDE, SIDE))
    crops = Crops(
        images=images.astype(np.float32),
        site_id=sites["site_id"].to_numpy(),
        window_nd=3.5,
        window_px=35.0,
    )
    probability = np.where(np.arange(400) == 7, 0.4, rng.uniform(0.9, 1.0, 400))
    table = sites[["site_id"]].assign(unit=unit, unit_probability=probability)
    counts = np.bincount(unit)
    summary = pd.DataFrame(
        {
            "unit": range(3),
            "name": ["host", "bright", "two"],
            "count": counts,
            "share": counts / 400,
        }
    )
    return Units(table, summary), sites, crops


@pytest.fixture(scope="module")
def cards(material):
    units, sites, crops = material
    return unit_cards(
        units, sites, model=StandIn(), crops=crops, elements={"A": "C", "A+": "Si"}, n_examples=3
    )


def test_atoms_of_the_decoded_picture_are_named(cards):
    assert [card.motif.text for card in cards] == [
        "C with three C",
        "Si with three C",
        "C with two C",
    ]
    assert cards[1].caption.startswith("Si with three C")


def test_all_cards_are_turned_alike_and_the_host_looks_to_the_right(cards):
    brightest = cards[0].motif.offset[cards[0].motif.neighbours]
    assert np.abs(np.arctan2(-brightest[:, 0], brightest[:, 1])).min() < 0.05
    host, dopant = (np.sort(np.arctan2(*card.motif.offset[1:4].T)) for card in cards[:2])
    assert np.abs(host - dopant).max() < 0.05


def test_the_mean_crop_is_the_decoded_picture_without_the_noise(cards):
    for card in cards:
        both = np.isfinite(card.decoded) & np.isfinite(card.mean_crop)
        assert np.corrcoef(card.decoded[both], card.mean_crop[both])[0, 1] > (
            0.98 if card.count > 2 else 0.9
        )
        assert card.n_crops == min(card.count, 300)
        assert np.isnan(card.decoded[0, 0])  # beyond the disc nobody knows


def test_neighbours_are_counted(cards):
    dopant = cards[1].beside
    assert dopant["name"].tolist() == ["host"]
    assert dopant["per_site"].tolist() == [4.0]
    assert cards[2].beside["unit"].tolist() == [0]
    assert cards[0].beside["share"].sum() == pytest.approx(1)


def test_shares_over_the_frames_are_right_and_the_trend_is_said(material, cards):
    units, sites, _ = material
    assert cards[2].shares["count"].tolist() == [1, 1, 0, 0]
    assert cards[1].shares["share"].tolist() == [0.04] * 4
    frames = pd.DataFrame({"frame": range(4), "time": np.arange(4) * 0.5})
    shares = count_units(units, sites, frames)
    assert shares["time"].tolist() == [0.0, 0.5, 1.0, 1.5] * 3
    assert (shares.groupby("frame")["share"].sum() == 1).all()
    assert (shares["share_sd"] > 0).all()
    bands = order_parameters(sites, [], units=units)
    mine = bands[(bands["name"] == "unit 2") & (bands["frame"] == 2)]
    row = shares[(shares["unit"] == 2) & (shares["frame"] == 2)]
    assert row[["low", "high"]].to_numpy().tolist() == mine[["low", "high"]].to_numpy().tolist()


def test_examples_are_of_different_places_and_the_unsure_one_is_found(material, cards):
    _, sites, _ = material
    typical = sites.set_index("site_id").loc[cards[1].typical]
    assert typical["lattice_track_id"].nunique() == 3
    assert cards[0].unsure[0] == sites["site_id"][7]


def test_without_angles_the_crops_are_laid_on_one_another(material):
    units, sites, crops = material
    plain = sites.drop(columns=["angle", "angle_sd", "z0", "z1"])
    cards = unit_cards(units, plain, crops=crops)
    assert [card.decoded for card in cards] == [None] * 3
    assert [card.motif.text for card in cards] == [
        "A with three A",
        "A+ with three A",
        "A with two A",
    ]


def test_a_baseline_has_cards_too(material):
    units, sites, crops = material
    pca = CropPCA(2).fit(crops)
    plain = sites[["site_id", "source", "frame", "y", "x", "kind"]].merge(pca.transform(crops))
    cards = unit_cards(units, plain, model=pca, crops=crops)
    assert cards[1].motif.text == "A+ with three A"
    assert cards[0].decoded.shape == (SIDE, SIDE)


def test_tables_alone_give_counts_shares_and_neighbours(material):
    units, sites, _ = material
    card = unit_cards(units, sites.drop(columns=["z0", "z1", "angle"]))[1]
    assert card.mean_crop is None
    assert card.motif is None
    assert card.beside["per_site"].tolist() == [4.0]
    assert "16 sites (4\N{NO-BREAK SPACE}%)" in card.caption


def test_nan_latents_and_nan_crops_are_left_out(material):
    units, sites, crops = material
    images = crops.images.copy()
    images[::2] = np.nan
    holes = sites.assign(z0=np.where(units.table["unit"] == 1, np.nan, sites["z0"]))
    broken = Crops(images=images, site_id=crops.site_id, window_nd=3.5, window_px=35.0)
    cards = unit_cards(units, holes, model=StandIn(), crops=broken)
    assert cards[1].decoded is None
    assert cards[1].motif.text == "A+ with three A"  # from its crops
    assert cards[0].decoded is not None


def test_one_unit_and_no_units_at_all(material):
    _, sites, _ = material
    table = sites[["site_id"]].assign(unit=0, unit_probability=1.0)
    summary = pd.DataFrame({"unit": [0], "name": ["host"], "count": [400]})
    (card,) = unit_cards(Units(table, summary), sites)
    assert card.share == 1
    empty = Units(table.assign(unit=-1), summary.iloc[:0])
    assert unit_cards(empty, sites) == []
    assert len(count_units(empty, sites)) == 0


def test_units_of_other_sites_are_refused(material):
    units, sites, _ = material
    with pytest.raises(InputError, match="do not belong together"):
        unit_cards(units, sites.assign(site_id=sites["site_id"] + 10_000))


def test_an_edge_is_called_one():
    y, x = (10.0 * axis.ravel() for axis in np.indices((12, 12)))
    inside = ~((y > 25) & (y < 85) & (x > 55) & (x < 95))  # a hole
    y, x = y[inside], x[inside]
    unit = ((x == 50) & (y > 35) & (y < 75)).astype(int)
    sites = make_sites(frame=0, y=y, x=x)
    table = sites[["site_id"]].assign(unit=unit, unit_probability=1.0)
    counts = np.bincount(unit)
    summary = pd.DataFrame({"unit": [0, 1], "name": ["host", "rim"], "count": counts})
    host, rim = unit_cards(Units(table, summary), sites)
    assert rim.caption.startswith("At an edge")
    assert "edge" not in host.caption
    assert rim.open_side > math.radians(120)


def test_turns_are_found_up_to_one_common_zero(rng):
    angle = rng.uniform(-np.pi, np.pi, 30)
    images = place_pictures(PICTURES[[2] * 30], angle) + rng.normal(0, 0.1, (30, 1, SIDE, SIDE))
    images[4] = np.nan
    found = find_turns(images)
    assert np.isnan(found[4])
    off = np.delete(np.exp(1j * (found - angle)), 4)
    assert np.abs(np.angle(off / off[0])).max() < math.radians(6)
    assert np.isfinite(align_crops(images[:2], found[:2])).any()


def test_a_pair_of_a_five_and_a_seven_ring_is_called_one():
    pair = simulate_graphene(n_frames=1, size=256, stone_wales=1, si3=0, si4=0, vacancies=0, seed=1)
    sites = pair.sites[pair.sites["kind"] == "atom"].reset_index(drop=True)
    rings = site_rings(sites)
    unit = ((rings["ring5"] == 1) & (rings["ring7"] == 1) & (rings["ring6"] == 1)).astype("int64")
    assert unit.sum() >= 2
    table = sites[["site_id"]].assign(unit=unit, unit_probability=1.0)
    names = ["host", "defect"]
    summary = pd.DataFrame({"unit": [0, 1], "name": names, "count": np.bincount(unit)})
    host, defect = unit_cards(Units(table, summary), sites)
    assert host.rings == (6, 6, 6)
    assert defect.rings == (5, 6, 7)
    assert defect.caption.startswith("5-7 pair (rings 5, 6, 7)")
    assert "ring" not in host.caption


def _captions(material, *, names=("host", "bright", "two"), sites_kind=None, **columns):
    """Words of the three cards, whose summary says more than names."""
    units, sites, crops = material
    summary = units.summary.assign(name=list(names), is_host=[True, False, False])
    kind = sites["kind"] if sites_kind is None else sites_kind
    told = Units(units.table, summary.assign(**columns))
    cards = unit_cards(told, sites.assign(kind=kind), model=StandIn(), crops=crops)
    return [card.caption.partition(". ")[0] for card in cards]


def test_words_say_what_is_read_from_the_picture_and_what_from_the_sites(material):
    same = _captions(material, coordination=[3.2, 2.8, 2.1])
    assert same == ["A with three A", "A+ with three A", "A with two A, beside a gap"]
    told = _captions(material, coordination=[2.4, 3.0, 3.7])
    assert told[0] == "A with three A in its picture, 2.4 neighbours by distance"
    assert told[1] == "A+ with three A"
    assert told[2] == ("A with two A in its picture, 3.7 neighbours by distance (the host has 2.4)")
    # fewer by distance only: the picture shows no gap
    assert "gap" not in _captions(material, coordination=[3.0, 2.0, 3.0])[1]


def test_the_host_that_others_are_compared_with_is_named_where_there_are_several(material):
    bright = {"relative_amplitude": [1.0, 3.0, 1.0]}
    assert _captions(material, **bright)[1].endswith("3.0 times as bright as the host")
    two = {**bright, "is_host": [True, True, False]}
    told = _captions(material, names=("dim host", "bright host", "two"), **two)
    # each host is a class of brightness of its own, however faint beside the other
    assert told[0] == "B with three B"
    assert told[1] == "A with three B, 3.0 times as bright as 'dim host'"


def test_an_atom_is_no_empty_site_though_its_picture_shows_none(material):
    units, sites, crops = material
    gone = sites.assign(z0=np.where(units.table["unit"] == 2, 3.0, sites["z0"]))

    class WithGap(StandIn):
        def inverse_transform(self, z, *, angle=0.0, shift=(0.0, 0.0)):
            number = np.rint(np.atleast_2d(z)[:, 0]).astype(int)
            gap = place_pictures(_picture(THREE, [0, 1, 1, 1])[None, None], TURN)
            return place_pictures(np.concatenate([PICTURES, gap])[number], angle, shift)

    atom = unit_cards(units, gone, model=WithGap(), crops=crops)[2]
    assert atom.caption.startswith("No atom in the middle of its picture, three A around.")
    empty = gone.assign(kind=np.where(units.table["unit"] == 2, "vacancy", "atom"))
    card = unit_cards(units, empty, model=WithGap(), crops=crops)[2]
    assert card.caption.startswith("Empty site with three A, ring 8")
    blurred = sites.assign(kind=empty["kind"])
    card = unit_cards(units, blurred, model=StandIn(), crops=crops)[2]
    assert card.caption.startswith("Empty site, A with two A in its picture, ring 8")


def test_in_how_many_starts_a_unit_was_found_is_said_in_words(material):
    units, sites, _ = material
    found = find_units(sites[["site_id", "source", "frame", "y", "x", "kind", "z0"]])
    n = len(found.environments)
    groups = np.zeros((n, 5, 2))
    groups[:, :, 0] = 100.0  # all are one group in every start
    told = dataclasses.replace(found, model=dataclasses.replace(found.model, starts=groups))
    cards = unit_cards(told, sites)
    assert n > 1
    assert {card.starts for card in cards} <= {(0, 5), (5, 5)}
    few = next(card for card in cards if card.starts.found == 0)
    assert few.is_doubtful
    assert "Doubtful: found again in none of 5 other starts" in few.caption
    assert Starts(3, 10).text == "found again in 3 of 10 other starts"
    assert Starts(3, 10).are_few
    assert Starts(4, 4).text == "found again in all 4 other starts"
    assert not Starts(2, 4).are_few
    assert Starts(0, 1).text == "not in the other start"
    plain = Units(units.table, units.summary.assign(stability=[0.9, 0.3, 0.6]))
    old = unit_cards(plain, sites)
    assert [card.is_doubtful for card in old] == [False, True, False]
    assert "30\N{NO-BREAK SPACE}% agreement with other starts" in old[1].caption
