"""Selected points, classes, and colours of a plot; undo and redo of all of it."""

import numpy as np
import pytest

pytest.importorskip("napari")

from napari.components import ViewerModel
from napari.layers import Points

from napari_rvae import (
    InputError,
    add_layers,
    color_points,
    load_run,
    name_selection,
    points_layer,
    save_run,
    select_points,
    selected_sites,
    sites_from_layer,
)
from napari_rvae.layers import colour_bar, density_colours, plotted_colours
from napari_rvae.layers.undo import LayerHistory
from napari_rvae.tables import make_sites


@pytest.fixture
def layer():
    n = np.arange(6)
    sites = make_sites(
        frame=n // 3, y=5.0 * n, x=4.0 * n, z0=n / 5, unit=n % 2, angle=np.linspace(-3, 3, 6)
    )
    return add_layers(ViewerModel(), points_layer(sites))[0]


def _ids(layer):
    return selected_sites(layer).tolist()


def test_replace_add_remove(layer):
    told = []
    layer.selected_data.events.items_changed.connect(lambda *change: told.append(change))
    assert select_points(layer, [1, 4, 99]) == 2
    assert select_points(layer, np.array([2]), how="add") == 3
    assert select_points(layer, [4], how="remove") == 2
    assert _ids(layer) == [1, 2]
    assert sorted(layer.selected_data) == [1, 2]
    assert [tuple(map(set, change)) for change in told] == [
        ({1, 4}, set()),
        ({2}, set()),
        (set(), {4}),
    ]
    with pytest.raises(InputError, match="how"):
        select_points(layer, [1], how="toggle")
    with pytest.raises(InputError, match="no sites"):
        select_points(Points([[1, 2]]), [1])


def test_a_class_is_a_column_like_any_other(layer, tmp_path):
    with pytest.raises(InputError, match="No site is selected"):
        name_selection(layer, "edge")
    select_points(layer, [1, 4])
    assert name_selection(layer, "edge") == 2
    assert name_selection(layer, "rim", site_id=[0]) == 1
    color_points(layer, "class")
    layer.add([1, 7.0, 7.0])
    sites = sites_from_layer(layer)
    assert sites["class"].tolist() == ["rim", "edge", "", "", "edge", "", ""]
    save_run(tmp_path / "run", sites=sites)
    assert load_run(tmp_path / "run").sites["class"].fillna("").tolist() == sites["class"].tolist()


def test_selections_classes_and_edits_are_undone_together(layer):
    history = LayerHistory(layer)
    assert history.select([1, 4])
    assert not history.select([4, 1])
    assert history.name_selection("edge") == 2
    history.select([0], how="add")
    history.name_selection("rim")
    layer.selected_data = {5}
    layer.remove_selected()
    history.settle()
    assert len(layer.data) == 5
    texts = [history.undo() for _ in range(3)]
    assert texts == ["1 site deleted", "3 sites named 'rim'", "3 sites selected"]
    assert (len(layer.data), _ids(layer)) == (6, [1, 4])
    assert layer.features["class"].tolist() == ["", "edge", "", "", "edge", ""]
    assert history.undo() == "2 sites named 'edge'"
    assert "class" not in layer.features
    assert history.undo() == "2 sites selected"
    assert (_ids(layer), history.undo_text) == ([], "")
    redone = [history.redo() for _ in range(5)]
    assert redone[1:] == ["2 sites named 'edge'", *reversed(texts)]
    assert layer.features["class"].tolist() == ["rim", "rim", "", "", "rim"]


def test_a_selection_is_no_edit_of_the_table(layer):
    history = LayerHistory(layer)
    features = layer.features
    history.select([1, 2])
    history.undo()
    assert layer.features is features
    layer.selected_data = {3}
    assert not history.settle()  # other points are selected, but no site was edited
    assert history.undo_text == ""


def test_colours_of_a_plot(layer):
    color_points(layer, "z0")
    shown, own = (plotted_colours(layer, column).astype(int) for column in (None, "z0"))
    assert np.abs(shown - own).max() <= 2  # napari looks colours up in single precision
    color_points(layer, "unit")
    assert plotted_colours(layer).tolist() == plotted_colours(layer, "unit").tolist()
    turned = plotted_colours(layer, "angle")
    assert len(np.unique(turned, axis=0)) == 6
    table, ends = colour_bar(layer, "angle")
    assert (table.shape, ends) == ((256, 4), (-180.0, 180.0))
    assert colour_bar(layer, "kind") is None
    assert density_colours().shape == (256, 4)


def test_what_has_no_value_is_grey(layer):
    layer.features = layer.features.assign(z0=[np.nan, *range(5)], unit=[-1, 0, 0, 1, 1, 1])
    for column in ("z0", "unit"):
        assert plotted_colours(layer, column)[0].tolist() == [0x60, 0x60, 0x60, 255]
