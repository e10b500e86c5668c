"""Sites edited by hand in a viewer: the table stays true, the layer remembers."""

import time

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("napari")

from napari.components import ViewerModel
from napari.layers import Points
from napari.layers.base import ActionType

from napari_rvae import add_layers, color_points, points_layer
from napari_rvae._napari.editing import history_of, redo, undo, watch_edits
from napari_rvae.layers import METADATA_KEY
from napari_rvae.layers.undo import layer_state
from napari_rvae.tables import make_sites


@pytest.fixture
def sites():
    return make_sites(
        frame=[0, 0, 1, 1], y=[5.0, 9.0, 5.0, 9.0], x=[6.0, 6.0, 7.0, 7.0], z0=[1.0, 2.0, 3.0, 4.0]
    )


@pytest.fixture
def viewer():
    model = ViewerModel()
    watch_edits(model)
    return model


@pytest.fixture
def layer(viewer, sites):
    return add_layers(viewer, points_layer(sites))[0]


def _edited(layer):
    return layer.metadata[METADATA_KEY].get("edited", False)


def _true(layer):
    place = layer.features[["frame", "y", "x"]].to_numpy(float)
    return np.allclose(place, layer.data) and layer.features["site_id"].is_unique


def test_nothing_is_marked_until_something_happens(layer, sites):
    assert not _edited(layer)
    pd.testing.assert_frame_equal(layer.features, sites, check_dtype=False)


def test_an_added_point_is_a_site_of_its_own(layer):
    layer.selected_data = {1}  # napari gives its features to the next point
    layer.add([1, 20.0, 21.0])
    assert _true(layer)
    assert _edited(layer)
    new = layer.features.iloc[-1]
    assert (new["site_id"], new["frame"], new["kind"]) == (4, 1, "atom")
    assert np.isnan(new["z0"])


def test_a_deleted_point_is_gone_and_its_number_is_not_used_again(layer):
    layer.selected_data = {0, 3}
    layer.remove_selected()
    layer.add([0, 1.0, 1.0])
    assert _true(layer)
    assert _edited(layer)
    assert layer.features["site_id"].tolist() == [1, 2, 4]


def test_a_moved_point_keeps_its_number_and_loses_what_was_measured(layer):
    layer.selected_data = {2}
    layer._move(layer.selected_data, [1, 5.0, 7.0])  # what a drag of the mouse calls
    layer._move(layer.selected_data, [1, 8.0, 9.0])
    assert _true(layer)
    assert layer.features["site_id"].tolist() == [0, 1, 2, 3]
    assert layer.features["z0"].isna().tolist() == [False, False, True, False]


def test_pasted_points_are_sites_too(viewer, sites):
    # (y, x) only: napari 0.9.2 cannot paste points that have a frame
    (layer,) = add_layers(viewer, points_layer(sites[:2]))
    layer.selected_data = {0, 1}
    layer._copy_data()
    layer._paste_data()  # tells nobody
    assert len(layer.data) == 4
    assert layer.features["site_id"].is_unique
    assert _edited(layer)


def test_data_set_from_the_console_count_as_an_edit(layer):
    layer.data = layer.data + 1.0
    assert _true(layer)
    assert _edited(layer)


def test_all_points_deleted_and_one_added(layer):
    layer.selected_data = set(range(4))
    layer.remove_selected()
    layer.add([0, 3.0, 4.0])
    assert _true(layer)


def test_colours_follow(viewer, sites):
    (layer,) = add_layers(viewer, points_layer(sites, color_by="z0"))
    before = layer.face_color[2].copy()
    layer.selected_data = {2}
    layer._move(layer.selected_data, [1, 5.0, 7.0])
    layer._move(layer.selected_data, [1, 8.0, 9.0])
    assert not np.allclose(layer.face_color[2], before)
    layer.add([0, 1.0, 1.0])
    np.testing.assert_allclose(layer.face_color[4], layer.face_color[2])


def test_points_of_the_users_own_are_left_alone(viewer):
    mine = viewer.add_points([[0.0, 1.0, 2.0]])
    mine.add([0.0, 3.0, 4.0])
    assert METADATA_KEY not in mine.metadata
    assert mine.features.empty


def test_layers_that_are_there_already_are_watched_and_settled(sites):
    model = ViewerModel()
    (layer,) = add_layers(model, points_layer(sites))
    layer.add([0, 1.0, 2.0])
    assert not _true(layer)
    watch_edits(model)
    assert _true(layer)
    assert _edited(layer)
    watch_edits(model)  # once more does no harm
    layer.add([0, 3.0, 4.0])
    assert _true(layer)


def test_two_viewers_do_not_mix(sites):
    first, second = ViewerModel(), ViewerModel()
    for model in (first, second):
        watch_edits(model)
        add_layers(model, points_layer(sites))
    first.layers[0].add([0, 1.0, 2.0])
    assert _edited(first.layers[0])
    assert not _edited(second.layers[0])


def test_a_layer_that_lost_its_columns_says_so_and_no_more(layer, monkeypatch):
    from napari_rvae._napari import editing

    heard = []
    monkeypatch.setattr(editing, "show_warning", heard.append)
    layer.features = layer.features.assign(y="nowhere")
    layer.add([0, 1.0, 2.0])
    assert len(layer.data) == 5
    assert len(heard) <= 1


def test_an_edit_among_a_hundred_thousand_points_is_quick(viewer):
    rng = np.random.default_rng(0)
    n = 100_000
    many = make_sites(
        frame=np.repeat(np.arange(100), n // 100),
        y=rng.random(n),
        x=rng.random(n),
        z0=rng.random(n),
    )
    (layer,) = add_layers(viewer, points_layer(many))
    assert isinstance(layer, Points)
    alone = Points(layer.data.copy(), features=layer.features)

    def seconds(points):
        start = time.perf_counter()
        points.add([0, 0.5, 0.5])
        return time.perf_counter() - start

    seconds(layer), seconds(alone)
    ours = min(seconds(layer) for _ in range(3))
    napari = min(seconds(alone) for _ in range(3))
    assert _true(layer)
    assert ours - napari < 0.2


def test_a_duplicate_has_a_record_of_its_own(viewer, layer):
    # as napari duplicates a layer: only the data are copied
    copy = Points(layer.data.copy(), features=layer.features, metadata=dict(layer.metadata))
    viewer.add_layer(copy)
    copy.metadata[METADATA_KEY]["column"] = "z0"
    assert "column" not in layer.metadata[METADATA_KEY]


# ---------------------------------------------------------------------- undo
def _now(layer):
    return layer_state(layer)


def _same(one, other):
    np.testing.assert_array_equal(one.data, other.data)
    pd.testing.assert_frame_equal(one.features, other.features, check_exact=True)
    assert one.marks == other.marks
    for name, values in one.looks.items():
        np.testing.assert_array_equal(values, other.looks[name])


def _delete(layer, *rows):
    layer.selected_data = set(rows)
    layer.remove_selected()


@pytest.mark.parametrize("column", [None, "z0", "kind"])
def test_every_edit_can_be_undone_and_done_again(viewer, sites, column):
    sites.loc[1, "kind"] = "vacancy"
    (layer,) = add_layers(viewer, points_layer(sites, color_by=column))
    layer.size = [4.0, 5.0, 6.0, 7.0]
    states = [_now(layer)]
    for edit in (
        lambda: layer.add([1, 20.0, 21.0]),
        lambda: _delete(layer, 1),
        lambda: setattr(layer, "data", layer.data + 0.5),
        lambda: _delete(layer, *range(len(layer.data))),
        lambda: layer.add([[0, 1.0, 1.0], [1, 2.0, 2.0]]),
    ):
        edit()
        states.append(_now(layer))
    for state in states[-2::-1]:
        assert undo(layer)
        _same(_now(layer), state)
        assert _edited(layer) == (state is not states[0])
    assert undo(layer) == ""
    for state in states[1:]:
        assert redo(layer)
        _same(_now(layer), state)
    assert redo(layer) == ""
    assert layer.features["site_id"].tolist() == [5, 6]
    undo(layer)
    layer.add([0, 9.0, 9.0])
    assert layer.features["site_id"].tolist() == [7]  # numbers are never given twice
    assert history_of(layer).redo_text == ""


def test_a_drag_is_one_edit(layer):
    layer.selected_data = {2}
    before = _now(layer)
    # as napari's mouse does it
    layer.events.data(value=layer.data, action=ActionType.CHANGING, data_indices=(2,))
    with layer.events.data.blocker():
        layer._move({2}, [1, 5.0, 7.0])
        layer._move({2}, [1, 6.0, 8.0])
    layer._move({2}, [1, 8.0, 9.0])
    assert history_of(layer).undo_text == "1 site changed"
    undo(layer)
    _same(_now(layer), before)
    assert undo(layer) == ""


def test_undo_after_other_colours_keeps_these(viewer, sites):
    (layer,) = add_layers(viewer, points_layer(sites))
    layer.add([0, 1.0, 1.0])
    _delete(layer, 0)
    color_points(layer, "z0")
    undo(layer)
    assert layer.features["site_id"].tolist() == [0, 1, 2, 3, 4]
    assert layer.face_color_mode == "colormap"
    assert not np.allclose(layer.face_color[0], layer.face_color[3])
    assert _true(layer)


def test_columns_that_a_model_adds_outlive_an_undo(viewer, sites):
    (layer,) = add_layers(viewer, points_layer(sites[:2]))
    layer.features = layer.features.assign(z1=[0.25, 0.5])
    layer.selected_data = {0}
    layer._copy_data()
    layer._paste_data()  # of which napari tells nothing before it is done
    assert undo(layer) == "1 site added"
    assert layer.features["z1"].tolist() == [0.25, 0.5]


def test_keys_undo_and_redo(layer):
    layer.add([1, 20.0, 21.0])
    keymap = {str(key): action for key, action in layer.keymap.items()}
    keymap["Ctrl+Z"](layer)
    assert len(layer.data) == 4
    keymap["Ctrl+Shift+Z"](layer)
    assert len(layer.data) == 5


def test_points_of_the_users_own_have_no_history(viewer):
    mine = viewer.add_points([[0.0, 1.0, 2.0]])
    mine.add([0.0, 3.0, 4.0])
    assert undo(mine) == ""
    assert len(mine.data) == 2


def test_deleted_places_are_noted_until_undone(layer):
    _delete(layer, 0, 3)
    assert layer.metadata[METADATA_KEY]["deleted"] == [[0.0, 5.0, 6.0], [1.0, 9.0, 7.0]]
    undo(layer)
    assert "deleted" not in layer.metadata[METADATA_KEY]
