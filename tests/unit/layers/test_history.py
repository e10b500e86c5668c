"""Undo and redo bring back exactly what was there."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_rvae import InputError
from napari_rvae.layers import settle_edits
from napari_rvae.layers.history import EditHistory, SitesState
from napari_rvae.tables import make_sites


def _start(n=5):
    rng = np.random.default_rng(n)
    place = np.round(rng.random((n, 2)) * 60, 3)
    sites = make_sites(
        frame=np.arange(n) % 3, y=place[:, 0], x=place[:, 1], source="a", z0=rng.random(n),
        unit=np.arange(n) % 2, species=np.where(np.arange(n) % 2, "C", "Si"),
        is_edge=np.arange(n) % 2 == 0,
    )  # fmt: skip
    sites.loc[::2, "z0"] = np.nan
    sites["grain"] = pd.Categorical(["left", "right"][i % 2] for i in range(n))
    return SitesState(
        sites[["frame", "y", "x"]].to_numpy(float), sites, {"size": np.arange(n) + 1.0}, {"n": 0}
    )


def _edit(state, edit, next_id):
    """State after an edit by hand, as napari and settle_edits make it."""
    what, which, values = edit
    data, features, sizes = state.data.copy(), state.features, state.looks["size"].copy()
    if what == "add":
        data = np.vstack([data, values])
        copied = features.iloc[[which % len(features)]] if len(features) else None
        if copied is None:
            return state
        features = pd.concat([features, copied], ignore_index=True)
        sizes = np.append(sizes, 3.5)
    elif not len(data):
        return state
    else:
        rows = sorted({which % len(data), (which // 7) % len(data)})
        if what == "delete":
            data, sizes = np.delete(data, rows, axis=0), np.delete(sizes, rows)
            features = features.drop(index=rows).reset_index(drop=True)
        elif what == "move":
            data[rows] += [0, 1.25, -0.5]
        else:
            sizes[rows] += 1
    features = settle_edits(data, features, next_id=next_id)
    return SitesState(data, features, {"size": sizes}, {"n": state.marks["n"] + 1})


def _same(one, other):
    np.testing.assert_array_equal(one.data, other.data)
    pd.testing.assert_frame_equal(one.features, other.features, check_exact=True)
    np.testing.assert_array_equal(one.looks["size"], other.looks["size"])
    assert one.marks == other.marks


_edits = st.tuples(
    st.sampled_from(["add", "delete", "move", "resize"]),
    st.integers(0, 10**6),
    st.tuples(st.integers(0, 2), st.integers(-9, 70), st.integers(-9, 70)),
)
_steps = st.lists(st.one_of(_edits, st.sampled_from(["undo", "redo"])), max_size=25)


@given(_steps, st.integers(1, 6))
def test_any_edits_and_undos_lead_back_exactly(steps, n):
    history, now = EditHistory(), _start(n)
    past, future, used = [], [], set(now.features["site_id"])
    for step in steps:
        if step == "undo":
            if past:
                future.append(now)
                now = history.undo(now)
                _same(now, past.pop())
        elif step == "redo":
            if future:
                past.append(now)
                now = history.redo(now)
                _same(now, future.pop())
        else:
            after = _edit(now, step, max(used) + 1)
            if after is now:
                continue
            assert history.record(now, after)
            new = set(after.features["site_id"]) - set(now.features["site_id"])
            assert not new & used
            used |= new
            past, future, now = [*past, now], [], after
        assert bool(history.undo_text) == bool(past)
        assert bool(history.redo_text) == bool(future)
    while past:
        now = history.undo(now)
        _same(now, past.pop())


def test_what_is_the_same_is_no_edit():
    history, start = EditHistory(), _start()
    assert not history.record(start, _start())
    assert history.undo_text == ""


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (("add", 0, (1, 2, 3)), "1 site added"),
        (("delete", 15, ()), "2 sites deleted"),
        (("move", 0, ()), "1 site changed"),
    ],
)
def test_edits_in_words(edit, text):
    history, start = EditHistory(), _start()
    history.record(start, _edit(start, edit, 99))
    assert history.undo_text == text


def test_the_oldest_edits_are_forgotten():
    history, now = EditHistory(limit=2), _start()
    for _ in range(3):
        after = _edit(now, ("move", 0, ()), 99)
        history.record(now, after)
        now = after
    now = history.undo(history.undo(now))
    assert now.marks == {"n": 1}
    with pytest.raises(InputError, match="no edit to undo"):
        history.undo(now)


def test_columns_that_came_since_stay():
    """A site that comes back has no value in a column to colour by that was made meanwhile."""
    history, start = EditHistory(), _start()
    after = _edit(start, ("delete", 0, ()), 99)
    history.record(start, after)
    coloured = after.features.assign(degrees=1.5, label="x").drop(columns="grain")
    back = history.undo(SitesState(after.data, coloured, after.looks, after.marks))
    assert "grain" not in back.features
    assert back.features["degrees"].isna().tolist() == [True, False, False, False, False]
    assert back.features["label"].tolist() == ["", "x", "x", "x", "x"]
    assert back.features["site_id"].tolist() == [0, 1, 2, 3, 4]


def test_rows_in_another_order_are_brought_back():
    history, start = EditHistory(), _start()
    turned = start.take(np.arange(5)[::-1])
    turned = SitesState(turned.data, turned.features.reset_index(drop=True), turned.looks, {"n": 9})
    assert history.record(start, turned)
    _same(history.undo(turned), start)
    _same(history.redo(start), turned)


def test_what_was_changed_by_other_means_is_not_undone():
    history, start = EditHistory(), _start()
    after = _edit(start, ("add", 0, (1, 2, 3)), 99)
    history.record(start, after)
    with pytest.raises(InputError, match="changed by other means"):
        history.undo(start)
    assert history.undo_text == "1 site added"


def test_a_history_is_small():
    """Only what an edit has changed is kept."""
    history, start = EditHistory(), _start(2000)
    now = start
    for row in range(50):
        after = _edit(now, ("move", row, ()), 10_000)
        history.record(now, after)
        now = after
    kept = [side for edit in history._done for side in (edit.before, edit.after)]
    assert sum(len(side.state) for side in kept) < 250
    # the column of marks comes with the first edit, and is kept once
    assert sum(side.columns.size for side in kept) == 2000
