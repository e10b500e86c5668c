"""Every control of every widget: it says what it does, and Tab reaches it from top to bottom."""

import pytest

pytest.importorskip("napari")

from napari.components import ViewerModel
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QAbstractButton, QAbstractSpinBox, QApplication, QComboBox, QLineEdit

from napari_rvae import add_layers, image_layer, points_layer
from napari_rvae._napari.detect_widget import DetectWidget
from napari_rvae._napari.inspect_widget import InspectWidget
from napari_rvae._napari.latents_widget import LatentsWidget
from napari_rvae._napari.pathways_widget import PathwaysWidget
from napari_rvae._napari.plot_widget import PlotWidget
from napari_rvae._napari.time_widget import TimeWidget
from napari_rvae._napari.train_widget import TrainWidget
from napari_rvae._napari.units_widget import UnitsWidget

WIDGETS = (
    *(DetectWidget, TrainWidget, LatentsWidget, UnitsWidget),
    *(PathwaysWidget, PlotWidget, InspectWidget, TimeWidget),
)

CONTROLS = (QAbstractButton, QAbstractSpinBox, QComboBox, QLineEdit)


@pytest.fixture(params=WIDGETS, ids=lambda kind: kind.__name__)
def widget(qtbot, request, movie, encoded):
    viewer = ViewerModel()
    add_layers(viewer, image_layer(movie), points_layer(encoded, movie, color_by="z0"))
    made = request.param(viewer)
    qtbot.addWidget(made)
    made.resize(700, 900)
    made.show()
    qtbot.waitExposed(made)
    QApplication.processEvents()
    return made


def _controls(widget):
    """Controls that are visible, without those that are parts of another one."""
    found = [part for part in widget.findChildren(CONTROLS[0].__mro__[1]) if _is_control(part)]
    return [part for part in found if not any(_is_control(p) for p in _parents(part, widget))]


def _is_control(part):
    return isinstance(part, CONTROLS) and part.isVisible()


def _parents(part, top):
    while part.parentWidget() is not None and part is not top:
        part = part.parentWidget()
        yield part


def test_every_control_has_a_tooltip(widget):
    lacking = [
        (type(part).__name__, getattr(part, "text", str)())
        for part in _controls(widget)
        if not any(p.toolTip() for p in (part, *_parents(part, widget)))
    ]
    assert lacking == []


def test_tab_goes_from_top_to_bottom_in_each_column(qtbot, widget):
    wanted = {
        part
        for part in _controls(widget)
        if part.isEnabled() and part.focusPolicy() & Qt.FocusPolicy.TabFocus
    }
    order, part = [], widget
    for _ in range(2000):
        part = part.nextInFocusChain()
        if part is widget:
            break
        if part in wanted and part not in order:
            order.append(part)
    assert set(order) == wanted
    places = [part.mapTo(widget, QPoint(0, 0)) for part in order]
    back = [
        (order[n], order[n + 1])
        for n in range(len(order) - 1)
        if places[n + 1].y() < places[n].y() - 6 and places[n + 1].x() <= places[n].x() + 40
    ]
    assert back == []
