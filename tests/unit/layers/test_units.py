"""Units in the features, legend and colours of a layer, and back."""

import json

import numpy as np
import pandas as pd
import pytest
from napari.components import ViewerModel
from napari.layers import Image

from napari_rvae import (
    InputError,
    Units,
    add_layers,
    color_points,
    load_run,
    map_layer,
    points_layer,
    rename_unit,
    run_layers,
    save_run,
    show_units,
    units_from_layer,
)
from napari_rvae.layers import METADATA_KEY, legend
from napari_rvae.layers.units import points_of
from napari_rvae.tables import make_sites


@pytest.fixture
def sites():
    y, x = 10.0 * np.indices((4, 4)).reshape(2, -1)
    return make_sites(frame=np.arange(16) % 2, y=y, x=x)


@pytest.fixture
def units(sites):
    unit = np.where(np.arange(16) % 5 == 0, 7, 0)
    table = sites[["site_id"]].assign(unit=unit, unit_probability=0.9).iloc[:-1]
    summary = pd.DataFrame(
        {
            "unit": [0, 7],
            "name": ["host", "edge"],
            "color": ["#123456", "#abcdef"],
            "count": np.bincount(unit[:-1])[[0, 7]],
        }
    )
    return Units(table, summary)


@pytest.fixture
def layer(sites):
    return add_layers(ViewerModel(), points_layer(sites))[0]


def test_units_are_shown_with_their_own_names_and_colours(layer, units):
    show_units(layer, units)
    assert [(e.name, e.colour, e.count) for e in legend(layer)] == [
        ("host", "#123456", 12),
        ("edge", "#abcdef", 3),
        ("none", legend(layer)[-1].colour, 1),
    ]
    edge = np.flatnonzero(layer.features["unit"] == 7)
    assert np.allclose(layer.face_color[edge[0]][:3], np.array([0xAB, 0xCD, 0xEF]) / 255)
    json.dumps(layer.metadata[METADATA_KEY])  # as files keep it


def test_an_edit_recolours_and_renames_and_other_colours_stay(layer, units):
    show_units(layer, units)
    color_points(layer, "unit_probability")
    show_units(layer, rename_unit(units, 7, "Si"), color=False)
    assert layer.metadata[METADATA_KEY]["column"] == "unit_probability"
    color_points(layer, "unit")
    assert [entry.name for entry in legend(layer)][:2] == ["host", "Si"]


def test_units_come_back_from_a_layer(layer, units):
    show_units(layer, units)
    back = units_from_layer(layer)
    assert back.names == units.names
    assert back.colors == units.colors
    assert back.summary["count"].tolist() == units.summary["count"].tolist()


def test_units_and_their_colours_come_back_from_a_run(sites, units, tmp_path):
    run = load_run(save_run(tmp_path / "run", sites=sites, units=units))
    layer = add_layers(ViewerModel(), *run_layers(run))[0]
    assert units_from_layer(layer).colors == units.colors


def test_a_map_has_the_units_colours(sites, units):
    table = sites.merge(units.table, on="site_id", how="left").fillna({"unit": -1})
    table = table.astype({"unit": "int64"})
    made = map_layer(table, "unit", np.zeros((2, 40, 40)), colors=units.colors)
    labels = add_layers(ViewerModel(), made)[0]
    assert np.allclose(labels.get_color(8)[:3], np.array([0xAB, 0xCD, 0xEF]) / 255, atol=0.01)


def test_a_layer_without_units_has_none(layer):
    assert units_from_layer(layer) is None
    assert points_of(layer, [0]).tolist() == []


def test_points_of_units_in_a_frame_or_in_all(layer, units):
    show_units(layer, units)
    assert points_of(layer, [7]).size == 3
    assert points_of(layer, [0, 7], frame=0).size == 8


def test_other_layers_are_refused(units):
    with pytest.raises(InputError, match="Points"):
        show_units(Image(np.zeros((4, 4))), units)
    from napari.layers import Points

    with pytest.raises(InputError, match="no sites"):
        units_from_layer(Points([[1, 2]]))
