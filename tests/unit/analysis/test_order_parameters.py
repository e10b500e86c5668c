import numpy as np
import pandas as pd
import pytest

from napari_rvae import InputError, Units, order_parameters, unit_shares
from napari_rvae.tables import make_sites


def _sites(rng, n_frames=3, side=16, **columns):
    y, x = 10.0 * np.indices((side, side)).reshape(2, -1)
    count = n_frames * y.size
    made = {name: values(count) for name, values in columns.items()}
    frame = np.repeat(np.arange(n_frames), y.size)
    return make_sites(frame=frame, y=np.tile(y, n_frames), x=np.tile(x, n_frames), **made)


def test_shares_add_up_and_know_their_clock(rng):
    sites = _sites(rng, unit=lambda n: rng.choice([-1, 0, 0, 2], n))
    clock = pd.DataFrame({"frame": range(3), "time": [0.0, 2.0, 4.0], "dose": [10.0, 10.0, 20.0]})
    shares = unit_shares(sites, frames_table=clock)
    assert shares.groupby("frame")["share"].sum().to_numpy() == pytest.approx(1)
    assert (shares["share_low"] <= shares["share"]).all()
    assert (shares["share"] <= shares["share_high"]).all()
    assert shares.groupby("frame")["total_dose"].first().tolist() == [10, 20, 40]
    assert set(shares["unit"]) == {0, 2}


def test_bands_hold_the_mean_of_independent_sites():
    inside = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        found = order_parameters(_sites(rng, 2, z0=lambda n, rng=rng: rng.normal(1, 2, n)))
        inside += ((found["value_low"] < 1) & (found["value_high"] > 1)).tolist()
    assert 0.85 < np.mean(inside) <= 1


def test_bands_are_wide_where_neighbours_are_alike():
    """Patches of four by four sites: a sixteenth of the sites is all that is known."""
    inside, naive = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        patch = rng.normal(0, 1, (4, 4)).repeat(4, axis=0).repeat(4, axis=1).ravel()
        found = order_parameters(_sites(rng, 1, z0=lambda _, patch=patch: patch))
        inside.append(found["value_low"][0] < 0 < found["value_high"][0])
        naive.append(abs(patch.mean()) < 1.96 * patch.std() / np.sqrt(patch.size))
    assert np.mean(inside) > 0.85
    assert np.mean(naive) < 0.6


def test_entropy_of_equal_shares(rng):
    sites = _sites(rng, 1, unit=lambda n: np.arange(n) % 4)
    names = pd.DataFrame({"unit": range(4), "name": list("abcd"), "count": 64})
    units = Units(sites[["site_id", "unit"]].assign(unit_probability=1.0), names)
    found = order_parameters(sites.drop(columns="unit"), units=units)
    assert found["quantity"].tolist() == ["entropy"]
    assert found["value"].iloc[0] == pytest.approx(np.log(4))


def test_nothing_known_is_nan(rng):
    found = order_parameters(make_sites(frame=[0, 1], y=[0.0, 0.0], x=[0.0, 0.0], z0=[np.nan, 2.0]))
    assert np.isnan(found["value"].iloc[0])
    assert found["value"].iloc[1] == 2
    assert found[["value_low", "value_high"]].isna().all(axis=None)
    assert not len(order_parameters(make_sites(frame=0, y=[], x=[], z0=[])))


def test_columns_are_checked(rng):
    sites = make_sites(frame=0, y=[0.0], x=[0.0])
    with pytest.raises(InputError, match="neither latents nor units"):
        order_parameters(sites)
    with pytest.raises(InputError, match="no numbers in strain"):
        order_parameters(sites, ["strain"])
    with pytest.raises(InputError, match="find_units"):
        unit_shares(sites)
