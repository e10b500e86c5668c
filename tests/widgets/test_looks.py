"""The Site inspector and the Time strip in a viewer's model: what they show, and when they go."""

import numpy as np
import pytest

pytest.importorskip("napari")

from napari.components import ViewerModel
from qtpy.compat import isalive
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_rvae import CropConfig, add_layers, image_layer, link_sites, points_layer, select_points
from napari_rvae._napari import inspect_widget, time_widget
from napari_rvae._napari.inspect_widget import InspectWidget
from napari_rvae._napari.time_widget import TimeWidget
from napari_rvae._napari.words import NO_SITES
from napari_rvae._napari.workspace import Model
from napari_rvae.tables import make_sites

LONG = 60_000  # milliseconds: the first look loads torch and Matplotlib

LEFT, NONE = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier


@pytest.fixture
def viewer():
    return ViewerModel()


@pytest.fixture
def opened(qtbot, viewer):
    """Open a widget as large as in the dock."""

    def open_(kind):
        made = kind(viewer)
        qtbot.addWidget(made)
        made.resize(560, 320)
        made.show()
        qtbot.waitExposed(made)
        return made

    return open_


@pytest.fixture
def sites(viewer, movie, encoded):
    add_layers(viewer, image_layer(movie))
    unit = np.where(encoded["z0"].isna(), -1, np.arange(len(encoded)) % 3)
    table = link_sites(encoded.assign(unit=unit))
    return add_layers(viewer, points_layer(table, movie, name="atoms"))[0]


def _idle(qtbot, widget):
    QApplication.processEvents()
    qtbot.waitUntil(lambda: not widget._soon.isActive() and not widget.view.is_busy, timeout=LONG)


# ---------------------------------------------------------------------- inspector
def test_it_says_what_is_missing_to_inspect(qtbot, viewer, opened, movie, encoded, model):
    widget = opened(InspectWidget)
    assert widget.view._text == NO_SITES
    (layer,) = add_layers(viewer, points_layer(encoded, movie))
    _idle(qtbot, widget)
    assert widget.view._text == inspect_widget.NO_IMAGE
    add_layers(viewer, image_layer(movie))
    _idle(qtbot, widget)
    assert widget.view._text == inspect_widget.NO_MODEL
    widget.workspace.use_model(Model(model, CropConfig(), "graphene"))
    assert widget.view._text == inspect_widget.NO_SITE
    viewer.layers.remove(layer)
    _idle(qtbot, widget)
    assert widget.view._text == NO_SITES


def test_a_selected_site_is_shown(qtbot, viewer, opened, sites, model):
    widget = opened(InspectWidget)
    widget.workspace.use_model(Model(model, CropConfig(), "graphene"))
    known = sites.features.loc[sites.features["z0"].notna(), "site_id"].tolist()
    for site_id in (known[3], known[40]):
        select_points(sites, [site_id])
        _idle(qtbot, widget)
        assert widget.inspection.site["site_id"] == site_id
        assert widget.status.plain_text.startswith(f"Site {site_id} in frame")
    assert len(widget.inspection.track) == 2
    shown = widget.view.drawing
    widget.resize(700, 330)
    _idle(qtbot, widget)
    assert widget.view.drawing is not shown  # drawn anew in the new size
    select_points(sites, [])
    _idle(qtbot, widget)
    assert widget.inspection is None


def test_a_site_at_the_border_has_no_crop(qtbot, viewer, opened, sites, model):
    widget = opened(InspectWidget)
    widget.workspace.use_model(Model(model, CropConfig(), "graphene"))
    border = sites.features.loc[sites.features["z0"].isna(), "site_id"].iloc[0]
    select_points(sites, [border])
    _idle(qtbot, widget)
    assert "has no crop" in widget.status.plain_text


# ---------------------------------------------------------------------- time
def test_it_says_what_is_missing_over_time(qtbot, viewer, opened):
    widget = opened(TimeWidget)
    assert widget.view._text == NO_SITES
    add_layers(viewer, points_layer(make_sites(frame=0, y=[1.0], x=[2.0], z0=[0.5])))
    _idle(qtbot, widget)
    assert widget.view._text == time_widget.NO_MOVIE


def test_the_marker_follows_and_sets_the_slider(qtbot, viewer, opened, sites):
    widget = opened(TimeWidget)
    _idle(qtbot, widget)
    assert (widget.column.column(), widget.groups.column()) == ("z0", "unit")
    view, marks = widget.view, widget.view.drawing.marks
    assert list(marks) == [0, 1]
    viewer.dims.set_current_step(0, 1)
    assert view._mark == 1
    spots = {
        frame: QPoint(round(x * view.width()), view.height() // 2) for frame, x in marks.items()
    }
    QTest.mouseClick(view, LEFT, NONE, spots[0])
    assert viewer.dims.current_step[0] == 0
    QTest.mousePress(view, LEFT, NONE, spots[0])
    QTest.mouseMove(view, spots[1])
    QTest.mouseRelease(view, LEFT, NONE, spots[1])
    assert viewer.dims.current_step[0] == 1
    widget.show_columns("amplitude", None)
    _idle(qtbot, widget)
    assert len(view.drawing.figure.axes) == 1
    widget.show_columns(None, None)
    assert view.drawing is None


# ---------------------------------------------------------------------- going away
@pytest.mark.parametrize("kind", [InspectWidget, TimeWidget])
def test_they_go_in_the_middle_of_their_work(qtbot, viewer, sites, model, kind):
    gone = kind(viewer)
    gone.workspace.use_model(Model(model, CropConfig(), "graphene"))
    gone.resize(500, 300)
    gone.show()
    select_points(sites, [int(sites.features["site_id"].iloc[50])])
    gone.refresh()
    gone.close()
    gone.deleteLater()
    qtbot.waitUntil(lambda: not isalive(gone))
    select_points(sites, [])
    sites.features = sites.features.assign(z0=0.0)
    viewer.dims.set_current_step(0, 1)
    QTest.qWait(300)
