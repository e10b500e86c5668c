"""Points that are coloured anew in place, and their legends."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest
from napari.layers import Points

from napari_rvae import InputError, add_layers, color_points, points_layer
from napari_rvae.analysis.appearance import UNIT_COLOURS
from napari_rvae.layers import METADATA_KEY, LegendEntry, legend, legend_of
from napari_rvae.layers.colours import colour_table
from napari_rvae.layers.styles import CYCLIC_COLOURS, MISSING_COLOUR
from napari_rvae.tables import make_sites

_COLUMNS = {
    None: {},
    "z0": {},
    "angle": {},
    "angle_sd": {},
    "unit": {"categories": {0: "host"}},
    "species": {},
    "is_edge": {},
    "frame": {},
}


def _record(layer):
    return layer.metadata[METADATA_KEY]


@pytest.mark.parametrize("first", _COLUMNS)
@pytest.mark.parametrize("second", _COLUMNS)
def test_any_colours_follow_any_others(viewer, movie, sites, first, second):
    (layer,) = add_layers(viewer, points_layer(sites, movie, color_by=first))
    color_points(layer, second, **_COLUMNS[second])
    (fresh,) = add_layers(viewer, points_layer(sites, movie, color_by=second, **_COLUMNS[second]))
    assert np.array_equal(layer.face_color, fresh.face_color)
    assert np.array_equal(layer.border_color, fresh.border_color)
    assert layer.face_color_mode == fresh.face_color_mode
    assert layer.face_colorbar.visible == fresh.face_colorbar.visible
    assert layer.face_colorbar.visible == (second in ("z0", "angle", "angle_sd"))
    assert layer.features.columns.tolist() == fresh.features.columns.tolist()
    assert _record(layer) == _record(fresh)
    json.dumps(_record(layer), allow_nan=False)


def test_angles_are_shown_in_degrees(viewer, sites):
    (layer,) = add_layers(viewer, points_layer(sites, color_by="angle"))
    assert np.allclose(layer.features["angle (deg)"], np.degrees(sites["angle"]), equal_nan=True)
    assert layer.face_contrast_limits == (-180, 180)
    color_points(layer, "angle", symmetry=3)
    folded = layer.features["angle mod 120 deg (deg)"]
    assert folded.abs().max() <= 60
    assert "angle (deg)" not in layer.features
    assert layer.face_contrast_limits == (-60, 60)
    assert _record(layer)["symmetry"] == 3
    color_points(layer, "angle_sd")
    assert layer.features.columns[-1] == "angle_sd (deg)"
    color_points(layer, "z0")
    assert layer.features.columns.tolist() == sites.columns.tolist()
    with pytest.raises(InputError, match="order of a symmetry"):
        color_points(layer, "angle", symmetry=0)


def test_points_without_any_value_can_be_coloured(viewer, movie, sites):
    nothing = sites.assign(z0=np.nan, unit=-1, species="")
    (layer,) = add_layers(viewer, points_layer(nothing, movie))
    grey = [0x60 / 255] * 3
    for column in ("z0", "unit", "species"):
        color_points(layer, column)
        assert np.allclose(layer.face_color[:, :3], grey)
    (empty,) = add_layers(viewer, points_layer(sites.iloc[:0], movie))
    for column in _COLUMNS:
        color_points(empty, column)
        assert not empty.face_colorbar.visible


def test_words_may_be_missing(viewer, sites):
    sites["species"] = sites["species"].where(sites["species"] == "C")
    sites["grain"] = pd.Categorical(np.where(sites["frame"] > 0, "a", None))
    (layer,) = add_layers(viewer, points_layer(sites, color_by="species"))
    assert [entry.name for entry in legend(layer)] == ["C", "none"]
    color_points(layer, "grain")
    assert [entry.name for entry in legend(layer)] == ["a", "none"]


def test_points_of_the_user_can_be_coloured(viewer):
    features = {"kind": ["a", "b", "b"], "value": [0.1, 0.2, 0.3]}
    layer = viewer.add_points([[1, 2], [3, 4], [5, 6]], features=features, name="mine")
    color_points(layer, "value")
    assert layer.face_colorbar.visible
    color_points(layer, "kind")
    color_points(layer, None)
    assert layer.name == "mine"
    assert layer.face_color_mode == "direct"
    assert _record(layer)["kind"] == "sites"


def test_a_name_follows_only_where_it_is_the_columns(viewer, sites):
    one, other = add_layers(
        viewer, points_layer(sites, color_by="z0"), points_layer(sites, name="atoms")
    )
    for layer, names in ((one, ["unit", "sites", "angle"]), (other, ["atoms"] * 3)):
        for column, name in zip(("unit", None, "angle"), names, strict=True):
            color_points(layer, column)
            assert layer.name == name


def test_new_points_look_like_those_inside(viewer, movie, sites):
    (layer,) = add_layers(viewer, points_layer(sites, movie))
    inside = layer.current_face_color
    assert layer.metadata[METADATA_KEY]["n_border"] > 0
    layer.add([0, 30.0, 24.0])
    assert not np.allclose(layer.face_color[-1, :3], layer.face_color[0, :3])
    layer.selected_data = {0}
    color_points(layer, "unit")
    color_points(layer, None)
    assert layer.current_face_color == inside
    assert np.allclose(layer.face_color[0, :3], 0x60 / 255)  # the one selected stays grey


def test_what_cannot_be_coloured_is_said(viewer, sites):
    (layer,) = add_layers(viewer, points_layer(sites))
    with pytest.raises(InputError, match="lacks the column z9"):
        color_points(layer, "z9")
    assert layer.face_color_mode == "direct"
    with pytest.raises(InputError, match="choose a Points layer"):
        color_points(viewer.add_image(np.zeros((8, 8))), "z0")


def test_a_legend_has_an_entry_for_each_value(sites):
    entries = legend_of(sites, "unit", {0: "host", 7: "not there"})
    assert [entry.name for entry in entries] == ["host", "unit 1", "unit 2", "none"]
    assert [entry.value for entry in entries] == [0, 1, 2, None]
    assert [entry.colour for entry in entries] == [*UNIT_COLOURS[:3], MISSING_COLOUR]
    assert [entry.count for entry in entries] == [36, 36, 36, 36]
    assert legend_of(sites, "species")[1] == LegendEntry("Si", "Si", UNIT_COLOURS[1], 16)
    assert [entry.name for entry in legend_of(sites, "is_edge")] == ["no", "yes"]
    assert legend_of(sites, "z0") == []
    assert [entry.name for entry in legend_of(sites[:0], "unit")] == []
    with pytest.raises(InputError, match="lacks the column"):
        legend_of(sites, "species 2")


def test_the_legend_of_a_layer_follows_its_colours(viewer, sites):
    names = {0: "host", 1: "bright"}
    (layer,) = add_layers(viewer, points_layer(sites, color_by="unit", categories=names))
    assert [entry.name for entry in legend(layer)] == ["host", "bright", "unit 2", "none"]
    kept = _record(layer)["legend"]
    assert [LegendEntry(**entry) for entry in kept] == legend(layer)
    layer.remove([3])
    assert sum(entry.count for entry in legend(layer)) == len(sites) - 1
    color_points(layer, "z0")
    assert legend(layer) == []
    color_points(layer, "unit")  # the names are known from before
    assert legend(layer)[1].name == "bright"
    for entry, colour in zip(legend(layer), layer.face_color[[1, 2, 6]], strict=False):
        assert np.allclose(colour[:3], [int(entry.colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])


def test_a_very_long_legend_is_not_kept(viewer, sites):
    sites["track_id"] = sites["site_id"]
    (layer,) = add_layers(viewer, points_layer(sites, color_by="track_id"))
    assert "legend" not in _record(layer)
    assert len(legend(layer)) == len(sites)


def test_colours_of_angles_close_and_differ():
    table = colour_table(CYCLIC_COLOURS)
    assert np.allclose(table[0], table[-1])
    steps = np.abs(np.diff(table[:, :3], axis=0)).max(axis=1)
    assert steps.max() < 0.04  # no edge
    for one, other in itertools.combinations(range(0, 256, 43), 2):  # 60 degrees apart or more
        assert np.abs(table[one] - table[other]).max() > 0.2


def test_a_new_point_is_a_site_of_its_own_after_new_features():
    sites = make_sites(frame=0, y=[1.0, 9.0, 5.0], x=[1.0, 1.0, 5.0], z0=[0.0, 1.0, 2.0])
    data, options, _ = points_layer(sites)
    layer = Points(data, **options)
    layer.features = sites.assign(z0=[3.0, 4.0, 5.0])
    color_points(layer, "z0")
    layer.add([7.0, 7.0])
    assert layer.features["site_id"].iloc[-1] == -1
