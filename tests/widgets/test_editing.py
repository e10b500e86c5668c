"""Sites edited by hand in a viewer: the table stays true, the layer remembers."""

import time

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("napari")

from napari.components import ViewerModel
from napari.layers import Points

from napari_rvae import add_layers, points_layer
from napari_rvae._napari.editing import watch_edits
from napari_rvae.layers import METADATA_KEY
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
