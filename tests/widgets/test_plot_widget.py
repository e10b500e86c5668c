"""The Latent plot in a real viewer: mouse, selections both ways, classes, frames, pictures."""

import numpy as np
import pytest

pytest.importorskip("napari")

from napari.components import ViewerModel
from qtpy.compat import isalive
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QFileDialog

from napari_rvae import (
    CropConfig,
    add_layers,
    color_points,
    hide_categories,
    image_layer,
    points_layer,
    select_sites,
    selected_sites,
)
from napari_rvae._napari import plot_widget as texts
from napari_rvae._napari.plot_widget import PlotWidget
from napari_rvae._napari.words import NO_SITES
from napari_rvae._napari.workspace import Model
from napari_rvae.analysis.scatter import MAX_POINTS
from napari_rvae.tables import make_sites

LEFT, NONE = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
SHIFT, CONTROL = Qt.KeyboardModifier.ShiftModifier, Qt.KeyboardModifier.ControlModifier


@pytest.fixture
def viewer():
    return ViewerModel()


@pytest.fixture
def widget(qtbot, viewer):
    made = PlotWidget(viewer)
    qtbot.addWidget(made)
    made.resize(940, 300)
    made.show()
    qtbot.waitExposed(made)
    return made


@pytest.fixture
def sites(viewer, movie, encoded):
    add_layers(viewer, image_layer(movie))
    return add_layers(viewer, points_layer(encoded, movie, name="atoms"))[0]


@pytest.fixture
def trained(widget, model):
    made = Model(model, CropConfig(), "graphene")
    widget.workspace.use_model(made)
    return made


def _settle(qtbot, widget):
    QApplication.processEvents()
    qtbot.waitUntil(lambda: not widget._soon.isActive() and not widget._decode.isActive())


def _at(canvas, along, up):
    """Place in the plot, in shares of its box from the lower left."""
    box = canvas.view.box
    return QPoint(round(box.left() + along * box.width()), round(box.bottom() - up * box.height()))


def _drag(canvas, places, key=NONE, mouse=LEFT):
    start, *middle = [_at(canvas, *place) for place in places]
    QTest.mousePress(canvas, mouse, key, start)
    for place in middle:
        QTest.mouseMove(canvas, place)
        QApplication.processEvents()
    QTest.mouseRelease(canvas, mouse, key, middle[-1])


def _box(canvas, along, up):
    """Corners in values of a box in shares."""
    corners = zip(along, up, strict=True)
    return [canvas.view.value_at(QPointF(_at(canvas, *corner))) for corner in corners]


HALF = [(0.02, 0.02), (0.5, 0.02), (0.5, 0.98), (0.02, 0.98)]


# ---------------------------------------------------------------------- what is missing
def test_it_says_what_is_missing(qtbot, widget, viewer):
    assert widget.canvas.text == NO_SITES
    assert not widget.tools["lasso"].isEnabled()
    viewer.add_points([[1, 2], [3, 4]])
    _settle(qtbot, widget)
    assert widget.canvas.text == texts.NO_COLUMNS
    table = make_sites(frame=0, y=[1.0], x=[1.0], z0=[np.nan], z1=[0.0])
    add_layers(viewer, points_layer(table))
    _settle(qtbot, widget)
    assert widget.canvas.text == texts.NO_VALUES
    viewer.layers.clear()
    _settle(qtbot, widget)
    assert widget.canvas.text == NO_SITES


# ---------------------------------------------------------------------- choose in the plot
def test_a_lasso_selects_in_the_viewer(qtbot, widget, sites):
    _settle(qtbot, widget)
    canvas = widget.canvas
    _drag(canvas, HALF)
    corners = [canvas.view.value_at(QPointF(_at(canvas, *place))) for place in HALF]
    wanted = select_sites(sites.features, "z0", "z1", polygon=corners)
    assert selected_sites(sites).tolist() == wanted.tolist()
    assert 0 < len(wanted) < len(sites.data)
    assert f"{len(wanted):,} sites selected." in widget.status.plain_text


def test_a_rectangle_adds_and_takes_out(qtbot, widget, sites):
    _settle(qtbot, widget)
    canvas = widget.canvas
    widget.tools["box"].click()
    first, second = ((0.05, 0.5), (0.05, 0.95)), ((0.3, 0.95), (0.05, 0.95))
    a, b = (
        set(select_sites(sites.features, "z0", "z1", box=_box(canvas, *part)))
        for part in (first, second)
    )
    _drag(canvas, list(zip(*first, strict=True)))
    assert set(selected_sites(sites)) == a
    _drag(canvas, list(zip(*second, strict=True)), SHIFT)
    assert set(selected_sites(sites)) == a | b
    _drag(canvas, list(zip(*first, strict=True)), CONTROL)
    assert set(selected_sites(sites)) == b - a
    assert a
    assert b - a


def test_a_click_takes_the_nearest_or_nothing(qtbot, widget, sites):
    _settle(qtbot, widget)
    canvas, plotted = widget.canvas, widget.canvas.plotted
    spot = canvas.view.on_screen(plotted.points.x[5], plotted.points.y[5]).toPoint()
    QTest.mouseClick(canvas, LEFT, NONE, spot)
    width, height = canvas.view.pixel_size()
    near = np.hypot(
        (plotted.points.x - canvas.view.value_at(QPointF(spot))[0]) / width,
        (plotted.points.y - canvas.view.value_at(QPointF(spot))[1]) / height,
    )
    wanted = sites.features["site_id"].iloc[plotted.points.row[near.argmin()]]
    assert selected_sites(sites).tolist() == [wanted]
    canvas.go_home()
    QTest.mouseClick(canvas, LEFT, NONE, _at(canvas, 0.005, 0.995))
    assert not sites.selected_data


def test_what_is_selected_in_the_viewer_is_ringed(qtbot, widget, sites):
    _settle(qtbot, widget)
    rows = widget.canvas.plotted.points.row
    sites.selected_data = {int(rows[3]), int(rows[8])}
    assert widget.canvas._selected.tolist() == [3, 8]
    sites.selected_data = set()
    assert widget.canvas._selected.size == 0


def test_the_view_moves_zooms_and_comes_back(qtbot, widget, sites):
    _settle(qtbot, widget)
    canvas = widget.canvas
    home = canvas.view.x_ends, canvas.view.y_ends
    widget.tools["move"].click()
    _drag(canvas, [(0.5, 0.5), (0.75, 0.5)])
    assert canvas.view.x_ends[0] == pytest.approx(
        home[0][0] - (home[0][1] - home[0][0]) / 4, rel=0.02
    )
    assert canvas.view.y_ends == pytest.approx(home[1])
    assert not sites.selected_data
    place = QPointF(_at(canvas, 0.25, 0.25))
    before = canvas.view.value_at(place)
    wheel = QWheelEvent(
        place,
        canvas.mapToGlobal(place),
        QPoint(),
        QPoint(0, 240),
        Qt.NoButton,
        NONE,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(canvas, wheel)
    assert canvas.view.value_at(place) == pytest.approx(before)
    assert np.ptp(canvas.view.x_ends) == pytest.approx(np.ptp(home[0]) / 1.44)
    QTest.mouseDClick(canvas, LEFT, NONE, _at(canvas, 0.5, 0.5))
    assert (canvas.view.x_ends, canvas.view.y_ends) == home


def test_escape_gives_up_a_lasso(qtbot, widget, sites):
    _settle(qtbot, widget)
    canvas = widget.canvas
    QTest.mousePress(canvas, LEFT, NONE, _at(canvas, 0, 0))
    QTest.mouseMove(canvas, _at(canvas, 1, 1))
    QTest.keyClick(canvas, Qt.Key.Key_Escape)
    QTest.mouseRelease(canvas, LEFT, NONE, _at(canvas, 1, 0))
    assert not sites.selected_data


# ---------------------------------------------------------------------- frames and colours
def test_only_this_frame_follows_the_slider(qtbot, widget, sites, viewer):
    widget.only_frame.setChecked(True)
    for frame in (0, 1):
        viewer.dims.set_current_step(0, frame)
        _settle(qtbot, widget)
        plotted = widget.canvas.plotted
        assert (sites.features["frame"].to_numpy()[plotted.points.row][plotted.here] == frame).all()
        assert 0 < plotted.here.sum() < len(plotted.points)
        _drag(widget.canvas, [(0, 0), (1, 0), (1, 1), (0, 1)])
        assert set(sites.features["frame"].iloc[sorted(sites.selected_data)]) == {frame}
    widget.only_frame.setChecked(False)
    assert widget.canvas.plotted.here.all()


def test_colours_follow_the_viewer_or_a_column_of_their_own(qtbot, widget, sites):
    color_points(sites, "z1")
    _settle(qtbot, widget)
    first = widget.canvas.plotted.colours
    color_points(sites, "amplitude")
    _settle(qtbot, widget)
    assert (widget.canvas.plotted.colours != first).any()
    widget.color.choose("z1")
    assert np.abs(widget.canvas.plotted.colours.astype(int) - first).max() <= 2


def test_columns_are_remembered_by_the_layer(qtbot, widget, sites, viewer):
    widget.show_columns("amplitude", "lattice_angle", "z0")
    again = PlotWidget(viewer)
    qtbot.addWidget(again)
    shown = [box.column() for box in (again.across, again.up, again.color)]
    assert shown == ["amplitude", "lattice_angle", "z0"]
    assert again.canvas.plotted.y_label == "lattice_angle (deg)"
    assert np.ptp(again.canvas.plotted.points.y) > 10  # degrees
    sites.features = sites.features.drop(columns="lattice_angle")
    _settle(qtbot, again)
    assert again.up.column() == "z1"


def test_many_points_are_shown_as_a_density(qtbot, widget, viewer):
    n = MAX_POINTS + 50
    rng = np.random.default_rng(0)
    named = {name: rng.normal(size=n) for name in ("z0", "z1")}
    table = make_sites(frame=0, y=rng.uniform(0, 99, n), x=rng.uniform(0, 99, n), **named)
    (layer,) = add_layers(viewer, points_layer(table))
    _settle(qtbot, widget)
    painted = widget.canvas._paint_here()
    assert painted.shape[0] < widget.canvas.view.box.height()  # cells, and no discs
    _drag(widget.canvas, HALF)
    assert 0 < len(layer.selected_data) < n


# ---------------------------------------------------------------------- classes and undo
def test_a_selection_is_named_recalled_and_undone(qtbot, widget, sites):
    _settle(qtbot, widget)
    _drag(widget.canvas, HALF)
    chosen = selected_sites(sites).tolist()
    widget.classes.name.setText("half")
    QTest.keyClick(widget.classes.name, Qt.Key.Key_Return)
    _settle(qtbot, widget)
    assert widget.classes.rows() == [("half", len(chosen))]
    QTest.mouseClick(widget.canvas, LEFT, NONE, _at(widget.canvas, 0.005, 0.995))
    assert not sites.selected_data
    table = widget.classes.table
    QTest.mouseClick(table.viewport(), LEFT, NONE, table.visualItemRect(table.item(0, 0)).center())
    assert selected_sites(sites).tolist() == chosen
    for text in (
        f"{len(chosen)} sites selected",
        "0 sites selected",
        f"{len(chosen)} sites named 'half'",
    ):
        assert widget.back.toolTip() == f"Undo: {text}"
        widget.back.click()
        _settle(qtbot, widget)
    assert widget.classes.rows() == []
    assert "class" not in sites.features
    QTest.keyClick(widget.canvas, Qt.Key.Key_Z, CONTROL | SHIFT)
    _settle(qtbot, widget)
    assert widget.classes.rows() == [("half", len(chosen))]


def test_nothing_selected_cannot_be_named(qtbot, widget, sites):
    widget.name_selection("edge")
    assert widget.status.plain_text.startswith("No site is selected")


# ---------------------------------------------------------------------- pictures
def test_the_model_shows_what_is_under_the_mouse(qtbot, widget, sites, trained):
    _settle(qtbot, widget)
    assert widget.place.caption.text() == texts.HOVER
    QTest.mouseMove(widget.canvas, _at(widget.canvas, 0.4, 0.6))
    qtbot.waitUntil(lambda: widget.place.upright.values is not None)
    assert widget.place.turned.values.shape == (32, 32)
    assert "angle" in widget.place.caption.text()
    widget.show_columns("amplitude", "z0")
    assert widget.place.caption.text() == texts.NO_PLANE


def test_without_a_model_it_says_so(qtbot, widget, sites):
    _settle(qtbot, widget)
    assert widget.place.caption.text() == texts.NO_MODEL
    assert not widget.place.ground.isEnabled()


def test_a_click_on_the_grid_takes_the_sites_that_look_like_it(qtbot, widget, sites, trained):
    _settle(qtbot, widget)
    for kind in (1, 2):
        widget.place.ground.setCurrentIndex(kind)
        assert widget.canvas._ground is not None
    QTest.mouseClick(widget.canvas, LEFT, NONE, _at(widget.canvas, 0.5, 0.5))
    assert len(sites.selected_data) == 30
    widget.place.ground.setCurrentIndex(0)
    assert widget.canvas._ground is None


# ---------------------------------------------------------------------- going away
def test_it_leaves_nothing_behind(qtbot, viewer, sites):
    gone = PlotWidget(viewer)
    gone.show()
    QTest.mousePress(gone.canvas, LEFT, NONE, QPoint(100, 100))
    listeners = len(sites.events.features.callbacks)
    gone.close()
    gone.deleteLater()
    qtbot.waitUntil(lambda: not isalive(gone))
    assert len(sites.events.features.callbacks) == listeners - 1
    sites.selected_data = {0}
    sites.features = sites.features.assign(z0=0.0)
    viewer.dims.set_current_step(0, 1)
    QApplication.processEvents()


# ---------------------------------------------------------------------- what the colours mean
def test_the_key_says_what_the_colours_mean(qtbot, widget, sites):
    color_points(sites, "z0")
    _settle(qtbot, widget)
    key = widget.canvas.plotted.key
    assert (key.title, key.bar.shape) == ("z0", (256, 4))
    whole = widget.canvas.view.box.width()
    widget.show_columns("z0", "z1", "kind")
    _settle(qtbot, widget)
    key = widget.canvas.plotted.key
    assert [entry.count for entry in key.entries] == [len(widget.canvas.plotted.points)]
    assert widget.canvas.view.box.width() != whole  # names need another room than numbers
    widget.grab()
    widget.canvas.resize(150, 200)
    assert widget.canvas._key() is None


def test_hidden_categories_vanish_and_cannot_be_selected(qtbot, widget, sites):
    sites.features = sites.features.assign(unit=np.arange(len(sites.data)) % 2)
    color_points(sites, "unit")
    _settle(qtbot, widget)
    before = len(widget.canvas.plotted.points)
    hide_categories(sites, [0])
    _settle(qtbot, widget)
    plotted = widget.canvas.plotted
    assert (sites.features["unit"].to_numpy()[plotted.points.row] == 1).all()
    assert 0 < len(plotted.points) < before
    assert [entry.value for entry in plotted.key.entries] == [1]
    widget.select(box=[(-99, -99), (99, 99)])
    assert set(sites.features["unit"].to_numpy()[list(sites.selected_data)]) == {1}
    hide_categories(sites, [])
    _settle(qtbot, widget)
    assert len(widget.canvas.plotted.points) == before


def test_the_plot_is_written_as_it_is_shown(qtbot, widget, sites, monkeypatch, tmp_path):
    _settle(qtbot, widget)
    answer = str(tmp_path / "plot"), "Drawing (*.svg)"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: answer)
    widget.figure.click()
    assert (tmp_path / "plot.svg").stat().st_size > 1000
    assert widget.status.plain_text.startswith("Figure of the plot, 85 mm wide")
    widget.figure.click()
    assert "already there" in widget.status.plain_text


def test_a_new_theme_is_followed_at_once(qtbot, widget, sites):
    _settle(qtbot, widget)
    for colour in ("white", "black"):
        widget.setStyleSheet(f"QWidget {{ background: {colour}; }}")
        QApplication.processEvents()
        corner = widget.canvas.grab().toImage().pixelColor(1, 1)
        assert corner.name() == {"white": "#ffffff", "black": "#000000"}[colour]
