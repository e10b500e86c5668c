"""The workspace: laid out once, one for each viewer, and nothing is lost when parts of it close."""

import pytest

pytest.importorskip("napari")

import numpy as np
from napari._app_model import get_app_model
from napari.components import ViewerModel
from napari.utils.key_bindings import coerce_keybinding
from napari.utils.shortcuts import default_shortcuts
from npe2 import plugin_manager
from qtpy.QtCore import QRect, Qt
from qtpy.QtWidgets import QScrollArea

from napari_rvae import (
    DetectConfig,
    add_layers,
    color_points,
    image_layer,
    map_layer,
    points_layer,
    save_run,
)
from napari_rvae._napari.bar_names import BAR_NAMES
from napari_rvae._napari.commands import open_workspace
from napari_rvae._napari.exporting import start_open
from napari_rvae._napari.layout import STEP_NAMES, show_step
from napari_rvae._napari.settings import PLUGIN
from napari_rvae._napari.way import next_step
from napari_rvae._napari.window import main_window
from napari_rvae._napari.workspace import Workspace
from napari_rvae.tables import make_sites


@pytest.fixture
def viewer(plugin, make_napari_viewer):
    return make_napari_viewer(show=True)


def _steps(viewer):
    return {w.step: w for w in viewer.window.dock_widgets.values() if hasattr(w, "step")}


def _area(viewer, dock):
    return viewer.window._qt_window.dockWidgetArea(dock)


def _dock(viewer, widget):
    docks = viewer.window._wrapped_dock_widgets.values()
    return next(dock for dock in docks if dock.inner_widget() is widget)


def _sites(**columns):
    return make_sites(frame=[0, 0, 1], y=[5.0, 9.0, 5.0], x=[5.0, 9.0, 5.0], **columns)


# ---------------------------------------------------------------- the layout


def test_steps_lie_on_the_right_and_all_else_below(viewer):
    open_workspace(viewer)
    names = {w.display_name for w in plugin_manager.get_manifest(PLUGIN).contributions.widgets}
    assert set(STEP_NAMES.values()) <= names
    for name in names:
        dock, _ = viewer.window.add_plugin_dock_widget(PLUGIN, name)
        right = name in STEP_NAMES.values()
        area = Qt.DockWidgetArea.RightDockWidgetArea
        assert _area(viewer, dock) == (area if right else Qt.DockWidgetArea.BottomDockWidgetArea)
    assert viewer.window._qt_window.corner(Qt.Corner.BottomRightCorner) == area


def test_on_a_narrow_screen_all_below_are_tabs(viewer, monkeypatch):
    monkeypatch.setattr("napari_rvae._napari.window._room", lambda _window: QRect(0, 0, 1100, 800))
    open_workspace(viewer)
    window, docks = viewer.window._qt_window, viewer.window._wrapped_dock_widgets
    plot = next(dock for name, dock in docks.items() if "Latent plot" in name)
    tabs = {dock.windowTitle() for dock in window.tabifiedDockWidgets(plot)}
    assert tabs == {"Site inspector", "Time strip"}


def test_laid_out_twice_it_is_the_same(viewer):
    open_workspace(viewer)
    before = dict(viewer.window.dock_widgets)
    open_workspace(viewer, front=1)
    assert dict(viewer.window.dock_widgets) == before
    assert not _steps(viewer)["train"].visibleRegion().isEmpty()


def test_two_viewers_have_a_workspace_each(viewer, make_napari_viewer, movie, qtbot):
    other = make_napari_viewer(show=True)
    for each in (viewer, other):
        open_workspace(each)
    add_layers(viewer, image_layer(movie))
    assert Workspace.of(viewer) is not Workspace.of(other)
    assert _steps(viewer)["detect"].image.layer() is viewer.layers[0]
    assert _steps(other)["detect"].image.layer() is None
    Workspace.of(viewer).say("detect", "said in one")
    assert _steps(other)["detect"].status.plain_text != "said in one"
    other.close()
    qtbot.wait(10)
    assert _steps(viewer)["detect"].status.plain_text == "said in one"


# ---------------------------------------------------------------- what comes next


@pytest.mark.parametrize(
    ("step", "columns", "due"),
    [
        ("detect", None, None),
        ("train", None, "detect"),
        ("detect", {}, "train"),
        ("train", {}, None),
        ("units", {}, "train"),
        ("train", {"z0": [0.1, 0.2, 0.3]}, "latents"),
        ("latents", {"z0": [0.1, 0.2, 0.3]}, "units"),
        ("units", {"z0": [0.1, 0.2, 0.3]}, None),
        ("pathways", {"z0": [0.1, 0.2, 0.3]}, "units"),
        ("units", {"z0": [0.1, 0.2, 0.3], "unit": [0, 0, 1]}, "pathways"),
        ("pathways", {"z0": [0.1, 0.2, 0.3], "unit": [0, 0, 1]}, None),
        ("pathways", {"z0": [0.1, 0.2, 0.3], "unit": [-1, -1, -1]}, "units"),
        ("latents", {"z0": [np.nan] * 3}, "train"),
    ],
)
def test_every_widget_knows_what_comes_next(step, columns, due):
    layer = None
    if columns is not None:
        (layer,) = add_layers(ViewerModel(), points_layer(_sites(**columns)))
    assert next_step(step, layer) == due


def test_the_button_leads_there(viewer, qtbot):
    open_workspace(viewer)
    latents = _steps(viewer)["latents"]
    show_step(viewer, "latents")
    qtbot.waitUntil(latents.next.isVisible)
    assert latents.next.text() == "First: Detect ▸"
    qtbot.mouseClick(latents.next, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not _steps(viewer)["detect"].visibleRegion().isEmpty())
    add_layers(viewer, points_layer(_sites()))
    detect = _steps(viewer)["detect"]
    qtbot.waitUntil(detect.next.isVisible)
    assert detect.next.text() == "Next: Train ▸"


def test_keys_show_the_steps(viewer, qtbot):
    open_workspace(viewer)
    keys = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.AltModifier
    qtbot.keyClick(viewer.window._qt_window, Qt.Key.Key_4, keys)
    qtbot.waitUntil(lambda: not _steps(viewer)["units"].visibleRegion().isEmpty())


def test_the_keys_are_nobody_elses(viewer):
    taken = {str(coerce_keybinding(key)) for keys in default_shortcuts.values() for key in keys}
    app = get_app_model()
    taken |= {str(binding.keybinding) for binding in app.keybindings}
    before = {str(key) for key in viewer.keymap}
    open_workspace(viewer)
    ours = {str(key) for key in viewer.keymap} - before
    assert len(ours) == len(STEP_NAMES)
    assert not ours & taken


def test_the_whole_image_is_in_view_with_a_scale_bar(viewer, movie, qtbot):
    add_layers(viewer, image_layer(movie))
    viewer.scene.camera.zoom *= 20
    far = viewer.scene.camera.zoom
    open_workspace(viewer)
    qtbot.waitUntil(lambda: viewer.scene.camera.zoom < far / 2)
    assert viewer.canvas.overlays.scale_bar.visible


def test_a_window_that_outgrows_the_screen_fills_it(viewer, qtbot):
    window = viewer.window._qt_window
    room = window.screen().availableGeometry()
    window.resize(room.width() - 200, room.height() - 100)
    window.move(room.left() + 190, room.top() + 90)
    open_workspace(viewer)
    qtbot.waitUntil(window.isMaximized)


# ---------------------------------------------------------------- nothing is lost


def test_a_widget_that_is_closed_opens_with_the_same_options(viewer, qtbot):
    train = show_step(viewer, "train")
    train.show_options(epochs=17, window_nd=5.5)
    viewer.window.remove_dock_widget(_dock(viewer, train))
    qtbot.wait(10)
    again = show_step(viewer, "train")
    assert again is not train
    assert again.model_config().epochs == 17
    assert again.crop_config().window_nd == 5.5


def test_a_run_brings_its_options(viewer, tmp_path, qtbot):
    save_run(tmp_path / "run", sites=_sites(), configs=[DetectConfig(min_snr=7.5)])
    detect = show_step(viewer, "detect")
    with qtbot.waitSignal(start_open(Workspace.of(viewer), tmp_path / "run").finished):
        pass
    assert detect.plain.values()["min_snr"] == 7.5


_REMOVING = """
import napari
import numpy as np
from qtpy.QtTest import QTest
from napari_rvae import add_layers, image_layer, map_layer, points_layer
from napari_rvae._napari.workspace import Workspace
from napari_rvae.tables import make_sites

viewer = napari.Viewer(show=True)
Workspace.of(viewer)
rng = np.random.default_rng(0)
movie = rng.random((3, 64, 64))
y, x = rng.uniform(2, 60, (2, 120))
sites = make_sites(frame=np.repeat([0, 1, 2], 40), y=y, x=x, z0=y)
made = image_layer(movie), points_layer(sites, movie, color_by="z0"), map_layer(sites, "z0", movie)
_, points, seen = add_layers(viewer, *made)
QTest.qWait(500)
for layer in (seen, points):
    viewer.layers.remove(layer)
    QTest.qWait(300)
viewer.add_layer(points)
assert points.face_colorbar.visible
viewer.close()
"""


def test_a_layer_with_a_colour_bar_can_be_removed(run_alone):
    # in a process of its own, which napari would end
    run_alone(_REMOVING)


def test_everything_fits_on_the_screen_of_a_laptop(viewer):
    open_workspace(viewer)
    least = main_window(viewer).minimumSizeHint()
    assert least.width() <= 1280
    assert least.height() <= 700  # of 768, less the bars of the window and of the desktop


def test_the_sides_of_the_plot_are_wide_enough_for_what_is_in_them(viewer):
    open_workspace(viewer)
    plot = _steps(viewer)["plot"]
    sides = [side for side in plot.findChildren(QScrollArea) if side.minimumWidth()]
    assert len(sides) == 2
    for side in sides:
        bar = side.verticalScrollBar().sizeHint().width()
        assert side.widget().minimumSizeHint().width() + bar <= side.minimumWidth()


def test_colour_bars_are_named_after_what_they_show(qtbot):
    viewer = ViewerModel()
    Workspace.of(viewer)
    text = viewer.canvas.overlays[BAR_NAMES]
    sites = make_sites(frame=0, y=[2.0, 9.0, 9.0], x=[2.0, 9.0, 2.0], z0=[0.0, 1.0, 2.0])
    sites, frames = sites.assign(lattice_angle=sites["z0"], snr=sites["z0"]), np.zeros((16, 16))
    made = points_layer(sites, frames, color_by="z0"), map_layer(sites, "lattice_angle", frames)
    points, seen = add_layers(viewer, *made)

    def shown(words):
        qtbot.waitUntil(lambda: (text.text, text.visible) == (words, bool(words)))

    shown("lattice_angle (deg), z0")
    color_points(points, "lattice_angle")
    shown("lattice_angle (deg)")
    seen.visible = False
    color_points(points, "snr")
    shown("snr")
    color_points(points, None)
    shown("")
    seen.visible = True
    shown("lattice_angle (deg)")
    viewer.layers.remove(seen)
    shown("")
