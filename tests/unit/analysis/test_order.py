"""Order parameters with bands that hold what they say."""

import numpy as np
import pandas as pd
import pytest

from napari_rvae import InputError, Units, order_parameters
from napari_rvae.analysis.order import ENTROPY
from napari_rvae.tables import make_sites


def make_movie(values, side=12):
    """Sites on a square in each frame; `values` (T, side^2)."""
    frames = len(values)
    y, x = 10.0 * np.indices((side, side)).reshape(2, -1)
    return make_sites(
        frame=np.repeat(np.arange(frames), y.size),
        y=np.tile(y, frames),
        x=np.tile(x, frames),
        z0=np.ravel(values),
    )


def test_means_shares_and_entropy_of_each_frame():
    table = make_movie(np.zeros((2, 144))).assign(unit=0)
    rows = table.index[table["frame"] == 1]
    table.loc[rows[:36], "unit"] = 1
    table.loc[rows[:72], "z0"] = 1.0
    table.loc[rows[100:], "z0"] = np.nan
    order = order_parameters(table).set_index(["name", "frame"])
    assert order.loc[("z0", 1), "value"] == pytest.approx(0.72)
    assert order.loc[("z0", 1), "n"] == 100
    assert order.loc[("unit 1", 1), "value"] == pytest.approx(0.25)
    assert order.loc[("unit 1", 0), "value"] == 0
    entropy = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    assert order.loc[(ENTROPY, 1), "value"] == pytest.approx(entropy)
    assert order.loc[(ENTROPY, 0), "value"] == 0
    shares = order.loc[["unit 0", "unit 1"]]
    assert shares["low"].min() >= 0
    assert shares["high"].max() <= 1


def test_bands_hold_the_truth_where_neighbours_are_alike():
    # patches of 3 x 3 sites vary together from frame to frame: 16 patches are worth 16 sites
    rng = np.random.default_rng(0)
    held, frames = [], 40
    for _ in range(30):
        patch = rng.normal(size=(frames, 4, 4)) + 3 * rng.normal(size=(1, 4, 4))
        movie = make_movie(np.kron(patch, np.ones((3, 3))).reshape(frames, -1))
        order = order_parameters(movie)
        level = order["value"].mean()
        # over all places there could be, nothing changes
        held.append(((order["low"] <= level) & (order["high"] >= level)).mean())
    assert 0.92 < np.mean(held) < 0.98


def test_what_differs_from_place_to_place_is_no_change():
    rng = np.random.default_rng(0)
    same = np.repeat(rng.normal(size=(1, 144)), 5, 0)
    order = order_parameters(make_movie(same))
    assert (order["high"] - order["low"]).max() < 1e-9
    one = order_parameters(make_movie(same[:1]))
    assert (one["high"] - one["low"])[0] > 0.1  # of one frame, it is the level


def test_time_and_dose_are_added():
    frames = pd.DataFrame({"frame": [0, 1], "time": [0.0, 0.5], "dose": [10.0, 30.0]})
    order = order_parameters(make_movie(np.zeros((2, 144))), ["z0"], frames_table=frames)
    assert order["time"].tolist() == [0.0, 0.5]
    assert order["dose"].tolist() == [10.0, 40.0]


def test_bad_input_is_told():
    table = make_movie(np.zeros((1, 144)))
    with pytest.raises(InputError, match="z9"):
        order_parameters(table, ["z9"])
    with pytest.raises(InputError, match="neither latents nor units"):
        order_parameters(table.drop(columns="z0"))
    few = table.iloc[:1]
    assert np.isnan(order_parameters(few)["low"][0])
    nowhere = make_movie(np.full((2, 144), np.nan))
    assert order_parameters(nowhere)["value"].isna().all()


def test_units_may_come_from_their_own_table():
    sites = make_sites(frame=0, y=[0.0, 9.0, 18.0, 27.0], x=[0.0] * 4, unit=[7] * 4)
    summary = pd.DataFrame({"unit": range(4), "name": list("abcd"), "count": 1})
    table = sites[["site_id"]].assign(unit=range(4), unit_probability=1.0)
    order = order_parameters(sites, units=Units(table, summary)).set_index("name")
    assert order.loc[ENTROPY, "value"] == pytest.approx(np.log(4))
    assert order.loc["unit 3", "value"] == 0.25
    assert "unit 7" not in order.index


def test_nothing_known_is_nan():
    order = order_parameters(make_sites(frame=[0, 1], y=[0.0, 0.0], x=[0.0, 0.0], z0=[np.nan, 2.0]))
    assert np.isnan(order["value"][0])
    assert order["value"][1] == 2
    assert order[["low", "high"]].isna().all(axis=None)
