"""Hand edits on napari's own Points layer, and the table after them."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from napari.layers import Points

from napari_rvae import InputError, add_layers, points_layer
from napari_rvae.layers import METADATA_KEY, color_points, settle_edits, settle_layer
from napari_rvae.tables import make_sites, validate_sites


def _layer(sites, frames=None, **options):
    data, options, _ = points_layer(sites, frames, **options)
    return Points(data, **options)


def _settled(layer):
    return settle_edits(layer.data, layer.features)


def test_nothing_is_done_where_nothing_has_changed(sites):
    layer = _layer(sites)
    assert _settled(layer) is layer.features
    assert not settle_layer(layer)
    empty = sites.iloc[:0]
    assert settle_edits(np.zeros((0, 3)), empty) is empty


@pytest.mark.parametrize("select", [False, True])
def test_an_added_point_is_a_new_site_of_which_nothing_is_known(sites, select):
    layer = _layer(sites)
    if select:  # napari copies the features of the point that was selected last
        layer.selected_data = {3}
    layer.add([1.2, 5.5, 6.5])
    table = _settled(layer)
    new = table.iloc[-1]
    assert new[["site_id", "frame", "y", "x"]].tolist() == [len(sites), 1, 5.5, 6.5]
    assert new[["source", "kind", "unit", "species", "is_edge"]].tolist() == [
        "movie", "atom", -1, "", False,
    ]  # fmt: skip
    assert new[["z0", "angle", "amplitude"]].isna().all()
    assert table["edited"].tolist() == [0.0] * len(sites) + [1.0]
    assert table[sites.columns].dtypes.equals(sites.dtypes)
    pd.testing.assert_frame_equal(table.iloc[:-1][sites.columns], sites)


def test_a_moved_point_keeps_its_number_and_what_it_is(sites):
    sites.loc[5, "kind"] = "vacancy"
    layer = _layer(sites)
    layer.data[5] += [1, 0.5, 0]
    table = _settled(layer)
    moved = table.iloc[5]
    expected = [5, 1, sites["y"].iloc[5] + 0.5, "movie", "vacancy"]
    assert moved[["site_id", "frame", "y", "source", "kind"]].tolist() == expected
    assert moved[["z0", "amplitude"]].isna().all()
    assert moved["unit"] == -1
    assert np.flatnonzero(table["edited"]).tolist() == [5]
    others = table[sites.columns].drop(index=5)
    pd.testing.assert_frame_equal(others, sites.drop(index=5))


def test_the_original_of_a_copy_may_have_been_moved(sites):
    layer = _layer(sites)
    layer.selected_data = {3}
    layer.add([0, 50.0, 40.0])
    layer.data[3] += [0, 1, 1]
    table = _settled(layer)
    assert table["site_id"].iloc[[3, -1]].tolist() == [3, len(sites)]


def test_a_point_that_is_pasted_in_another_frame_is_a_new_site(sites):
    data = sites[["frame", "y", "x"]].to_numpy(float)
    pasted = [2, *data[0, 1:]]
    table = settle_edits(np.vstack([data, pasted]), pd.concat([sites, sites.iloc[[0]]]))
    assert table[["site_id", "frame"]].iloc[[0, -1]].to_numpy().tolist() == [
        [0, 0],
        [len(sites), 2],
    ]
    assert table["y"].iloc[-1] == table["y"].iloc[0]


def test_one_image_has_points_of_two_coordinates(sites):
    still = sites[sites["frame"] == 0]
    layer = _layer(still)
    layer.add([5.5, 6.5])
    layer.data[2] += 0.25
    table = _settled(layer)
    assert table["frame"].unique().tolist() == [0]
    assert table["site_id"].tolist() == list(range(len(still) + 1))


def test_points_of_single_precision_do_not_look_moved(sites):
    sites["y"] += 0.1
    data = sites[["frame", "y", "x"]].to_numpy(np.float32)
    assert settle_edits(data, sites) is sites


def test_the_numbers_of_deleted_sites_are_not_used_again(sites):
    layer = _layer(sites)
    last = len(sites) - 1
    for expected in (last + 1, last + 2):
        layer.remove([len(layer.data) - 1])
        layer.selected_data = set()
        layer.feature_defaults = layer.feature_defaults.assign(site_id=-1)
        layer.add([0, 5.0, 5.0])
        assert settle_layer(layer)
        assert layer.features["site_id"].iloc[-1] == expected
    assert layer.metadata[METADATA_KEY]["next_site_id"] == last + 3


def test_an_empty_layer_takes_its_first_points(movie):
    layer = _layer(make_sites(frame=np.zeros(0, int), y=[], x=[], z0=[]), movie, color_by="z0")
    layer.add([[0, 5.0, 5.0], [2, 6.0, 5.0]])
    assert settle_layer(layer)
    assert layer.features["site_id"].is_unique
    assert layer.features["frame"].tolist() == [0, 2]


def test_all_points_may_be_deleted(sites):
    layer = _layer(sites, color_by="unit")
    layer.remove(list(range(len(sites))))
    assert not settle_layer(layer)
    assert len(_settled(layer)) == 0


@pytest.mark.parametrize("column", [None, "z0", "angle", "unit", "species"])
def test_settled_points_are_coloured_anew(viewer, movie, sites, column):
    (layer,) = add_layers(viewer, points_layer(sites, movie, color_by=column))
    layer.selected_data = {4}
    layer.add([0, 5.0, 5.0])
    layer.data[9] += [0, 1, 0]
    settle_layer(layer)
    assert len(layer.face_color) == len(layer.data)
    if column is not None:
        grey = np.array([0x60, 0x60, 0x60, 255]) / 255
        assert np.allclose(layer.face_color[[9, -1]], grey)
    color_points(layer, "z0")
    color_points(layer, "species")


def test_points_that_are_not_ours_are_left_alone(viewer):
    layer = viewer.add_points([[1, 2]], features={"site_id": [4]})
    assert not settle_layer(layer)
    assert not settle_layer(viewer.add_image(np.zeros((8, 8))))


def test_what_cannot_be_settled_is_said(sites):
    with pytest.raises(InputError, match="lack the column frame"):
        settle_edits(np.zeros((1, 2)), sites.iloc[:1].drop(columns="frame"))
    with pytest.raises(InputError, match="2 points but 1 rows"):
        settle_edits(np.zeros((2, 2)), sites.iloc[:1])
    with pytest.raises(InputError, match="Points of shape"):
        settle_edits(np.zeros((1, 4)), sites.iloc[:1])


_distance = st.floats(0.5, 50).map(lambda value: round(value, 3))
_which = st.integers(0, 10**6)
_edits = st.one_of(
    st.tuples(st.just("add"), st.integers(0, 2), _distance, _distance),
    st.tuples(st.just("move"), _which, _distance),
    st.tuples(st.sampled_from(["delete", "select", "paste", "settle"]), _which),
)


@given(st.lists(_edits, max_size=8), st.sampled_from([None, "z0", "angle", "unit"]), st.booleans())
def test_any_edits_leave_a_table_that_is_true(edits, column, moving):
    y, x = (index.ravel() * 8.0 for index in np.indices((2, 3)))
    count = y.size
    sites = make_sites(
        frame=np.arange(count) % 2 if moving else 0,
        y=y, x=x, source="a", z0=np.arange(count) + 0.5, angle=0.1, unit=np.arange(count) % 2,
    )  # fmt: skip
    layer = _layer(sites, color_by=column)
    untouched = list(range(count))  # row of `sites` of each point that was left alone, or None
    for what, *values in edits:
        chosen = values[0] % len(layer.data) if len(layer.data) else None
        if what == "add":
            layer.add(values if layer.ndim == 3 else values[1:])
            untouched.append(None)
        elif what == "settle":
            settle_layer(layer)
        elif chosen is None:
            continue
        elif what == "delete":
            layer.remove([chosen])
            del untouched[chosen]
        elif what == "move":
            data = layer.data.copy()
            data[chosen, -2:] += values[1]
            layer.data = data
            untouched[chosen] = None
        else:
            layer.selected_data = {chosen}
            if what == "paste" and layer.ndim == 2:  # napari 0.9 cannot paste into a movie
                layer._copy_data()
                layer._paste_data()
                untouched.append(None)
    table = validate_sites(_settled(layer))
    assert np.array_equal(table[["y", "x"]], layer.data[:, -2:])
    if layer.ndim == 3:
        assert np.array_equal(table["frame"], layer.data[:, 0])
    same = [i for i, row in enumerate(untouched) if row is not None]
    kept = sites.iloc[[untouched[i] for i in same]].reset_index(drop=True)
    found = table.iloc[same][sites.columns].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, kept, check_dtype=bool(len(kept)))
