"""Frames that are looked at again: what the hand has done stays, and so does every other frame."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_rvae import InputError, renew_sites
from napari_rvae.tables import make_sites, validate_sites


def _grid(frame, step=10.0, shift=0.0, **columns):
    y, x = (index.ravel() * step + shift for index in np.indices((3, 3)))
    return make_sites(frame=np.repeat(frame, 9), y=np.tile(y, np.size(frame)),
                      x=np.tile(x, np.size(frame)), source="movie", **columns)  # fmt: skip


@pytest.fixture
def sites():
    table = _grid([0, 1, 2], amplitude=np.arange(27.0))
    return table.assign(z0=0.5, unit=3, species="C", edited=0.0)


def _in(table, frame):
    return table[table["frame"] == frame].reset_index(drop=True)


def test_only_the_frames_that_were_looked_at_change(sites):
    found = _grid([1], shift=0.2, amplitude=np.arange(9.0) + 100)
    new = renew_sites(sites, found, [1], next_id=50)
    for frame in (0, 2):
        pd.testing.assert_frame_equal(_in(new, frame), _in(sites, frame))
    assert _in(new, 1)["site_id"].tolist() == list(range(50, 59))
    np.testing.assert_allclose(_in(new, 1)["y"], found["y"])
    assert _in(new, 1)["amplitude"].min() == 100
    assert _in(new, 1)["z0"].isna().all()
    assert (_in(new, 1)[["unit", "edited"]] == [-1, 0]).all(axis=None)
    assert (_in(new, 1)["species"] == "").all()
    assert new.dtypes[sites.columns].equals(sites.dtypes)
    validate_sites(new)


def test_what_the_hand_did_stays_and_is_not_doubled(sites):
    sites.loc[9:10, "edited"] = 1.0  # two sites of frame 1, one of them moved
    sites.loc[9, ["y", "x"]] = [2.0, 1.0]
    sites = sites.drop(index=17)  # another was deleted
    found = _grid([1])
    new = _in(renew_sites(sites, found, [1], deleted=[[1, 20.0, 20.0], [0, 0.0, 0.0]]), 1)
    assert len(new) == 8
    assert new.loc[new["edited"] == 1, "site_id"].tolist() == [9, 10]
    assert not ((new["y"] == 20) & (new["x"] == 20)).any()


def test_the_hand_can_be_overruled(sites):
    sites.loc[9:10, "edited"] = 1.0
    found = _grid([1])
    new = _in(renew_sites(sites, found, [1], deleted=[[1, 20, 20]], keep_edited=False), 1)
    assert len(new) == 9
    assert (new["edited"] == 0).all()


def test_a_frame_in_which_nothing_is_found_any_more_is_empty(sites):
    new = renew_sites(sites, sites.iloc[:0], [0, 2])
    pd.testing.assert_frame_equal(_in(new, 1), _in(sites, 1))
    assert len(new) == 9


def test_an_empty_table_takes_what_is_found():
    found = _grid([0, 1], amplitude=np.ones(18))
    new = renew_sites(found.iloc[:0], found, [0, 1])
    pd.testing.assert_frame_equal(new, found)


def test_columns_that_only_the_new_ones_have_come_in(sites):
    found = _grid([1], snr=np.ones(9))
    new = renew_sites(sites, found, [1])
    assert _in(new, 0)["snr"].isna().all()
    assert (_in(new, 1)["snr"] == 1).all()


def test_several_movies_are_refused(sites):
    other = sites.assign(source=["a", "b"] * 13 + ["a"])
    with pytest.raises(InputError, match="several movies"):
        renew_sites(other, sites, [0])


@pytest.mark.parametrize("frames", [["a"], [0.5], [None], 3])
def test_frames_that_are_no_numbers_are_refused(sites, frames):
    with pytest.raises(InputError, match="frames are no whole numbers"):
        renew_sites(sites, sites, frames)


@pytest.mark.parametrize("deleted", [[1, 2], [[1, 2]], ["a"], [[1, 2, 3], [1]]])
def test_places_of_another_shape_are_refused(sites, deleted):
    with pytest.raises(InputError, match=r"deleted has another shape than \(N, 3\)"):
        renew_sites(sites, sites, [0], deleted=deleted)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=12),
    st.sets(st.integers(0, 4)),
    st.booleans(),
)
def test_other_frames_and_edited_sites_always_stay(rows, frames, keep):
    n = len(rows)
    frame, edited = (np.array([row[i] for row in rows]) for i in range(2))
    sites = make_sites(frame=frame.astype(int), y=np.arange(n) * 1.0, x=np.zeros(n), source="m")
    sites["edited"] = edited[np.argsort(frame, kind="stable")].astype(float) if n else 0.0
    found = _grid(sorted(frames)) if frames else sites.iloc[:0]
    new = renew_sites(sites, found, frames, keep_edited=keep)
    must = ~sites["frame"].isin(frames) | ((sites["edited"] == 1) & keep)
    kept = new[new["site_id"].isin(sites["site_id"])].set_index("site_id").sort_index()
    expected = sites[must].set_index("site_id").sort_index()
    pd.testing.assert_frame_equal(kept[expected.columns], expected, check_dtype=bool(len(kept)))
    assert new["site_id"].is_unique
    assert len(new) <= must.sum() + len(found)
