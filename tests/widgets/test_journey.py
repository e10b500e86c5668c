"""The whole way with mouse and keyboard, from the sample movie to a script that agrees."""

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("napari")

from napari._app_model import get_app_model
from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QFileDialog

from napari_rvae import add_layers, analysis_script, load_run, run_layers, simulate_graphene
from napari_rvae._napari import exporting
from napari_rvae._napari.layer_kinds import is_sites, kind_of
from napari_rvae._napari.samples import _simulated
from napari_rvae._napari.settings import PLUGIN

LONG = 120_000
LEFT = Qt.MouseButton.LeftButton


def _click(qtbot, made):
    qtbot.waitUntil(made.isEnabled, timeout=LONG)
    qtbot.mouseClick(made, LEFT)


def _idle(qtbot, widget):
    qtbot.waitUntil(lambda: widget.workspace.job(widget.step) is None, timeout=LONG)


def _next(qtbot, widget, name):
    """Follow the button that leads on."""
    qtbot.waitUntil(lambda: widget.next.text() == f"Next: {name} ▸", timeout=LONG)
    _click(qtbot, widget.next)


def _lasso(qtbot, plot, corners):
    """Draw round some values of the plot with the mouse."""
    canvas = plot.canvas
    path = [canvas.view.on_screen(x, y).toPoint() for x, y in [*corners, corners[0]]]
    qtbot.mousePress(canvas, LEFT, pos=path[0])
    for place in path[1:]:
        qtbot.mouseMove(canvas, place)
    qtbot.mouseRelease(canvas, LEFT, pos=path[-1])


def _choose(qtbot, box, name):
    """Choose an entry of a list with the keyboard."""
    number = next(n for n in range(box.count()) if box.itemData(n) == name)
    box.setFocus()
    qtbot.keyClick(box, Qt.Key.Key_Home)
    while box.currentIndex() < number:
        qtbot.keyClick(box, Qt.Key.Key_Down)
    assert box.currentIndex() == number


@pytest.mark.slow
def test_journey(qtbot, plugin, make_napari_viewer, monkeypatch, tmp_path):
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1400, 1000)
    movie = _simulated(simulate_graphene, {"n_frames": 2, "size": 192, "seed": 2})
    add_layers(viewer, movie)
    get_app_model().commands.execute_command(f"{PLUGIN}.open_workspace")
    widgets = {w.step: w for w in viewer.window.dock_widgets.values() if hasattr(w, "step")}
    detect, train, latents = (widgets[step] for step in ("detect", "train", "latents"))
    units, pathways, plot = (widgets[step] for step in ("units", "pathways", "plot"))

    # find the atoms, learn, and follow the way
    _click(qtbot, detect.detect)
    _idle(qtbot, detect)
    (points,) = (layer for layer in viewer.layers if is_sites(layer))
    _next(qtbot, detect, "Train")
    train.show_options(epochs=3, n_latents=2)
    _click(qtbot, train.train_button)
    _idle(qtbot, train)
    assert points.features["z0"].notna().any()
    _next(qtbot, train, "Latents")
    _next(qtbot, latents, "Units")
    _click(qtbot, units.find_button)
    _idle(qtbot, units)
    assert (points.features["unit"] >= 0).any()
    _next(qtbot, units, "Pathways")
    _click(qtbot, pathways.find_button)
    _idle(qtbot, pathways)
    assert "state" in points.features, pathways.status.plain_text

    # a lasso in the plot selects points in the viewer; they are given a class
    qtbot.waitUntil(lambda: plot.canvas.plotted is not None, timeout=LONG)
    z0, z1 = (points.features[name].dropna() for name in ("z0", "z1"))
    middle, low, high = z0.median(), z1.min() - 0.01, z1.max() + 0.01
    corners = [(z0.min() - 0.01, low), (middle, low), (middle, high), (z0.min() - 0.01, high)]
    _lasso(qtbot, plot, corners)
    qtbot.waitUntil(lambda: len(points.selected_data) > 0, timeout=LONG)
    chosen = np.sort(list(points.selected_data))
    inside = np.flatnonzero((points.features["z0"] < middle).to_numpy())
    assert len(np.setxor1d(chosen, inside)) <= 0.1 * len(inside)
    qtbot.keyClicks(plot.classes.name, "left half")
    qtbot.keyClick(plot.classes.name, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: "class" in points.features, timeout=LONG)
    assert (points.features["class"] == "left half").sum() == len(chosen)

    # colour by the class, switch it off and on, draw a map of a latent
    qtbot.keyClick(viewer.window._qt_window, Qt.Key.Key_3, Qt.KeyboardModifier(0x0C000000))
    qtbot.waitUntil(lambda: not latents.visibleRegion().isEmpty(), timeout=LONG)
    qtbot.waitUntil(lambda: latents.colours.column.findData("class") > 0, timeout=LONG)
    _choose(qtbot, latents.colours.column, "class")
    qtbot.waitUntil(lambda: "left half" in dict(_names(latents)), timeout=LONG)
    latents.legend.switch("left half", on=False)
    assert points.shown.sum() == len(points.data) - len(chosen)
    latents.legend.switch("left half", on=True)
    assert points.shown.all()
    _choose(qtbot, latents.colours.column, "z0")
    _click(qtbot, latents.map)
    qtbot.waitUntil(lambda: any(kind_of(layer) == "map" for layer in viewer.layers), timeout=LONG)

    # take it away: table, figure, script
    answers = iter(
        [(str(tmp_path / "now.csv"), "CSV (*.csv)"), (str(tmp_path / "f.png"), "(*.png)")]
    )
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_args, **_more: next(answers))
    _click(qtbot, latents.export)
    _idle(qtbot, latents)
    _click(qtbot, latents.take_away.figure)
    assert (tmp_path / "f.png").stat().st_size > 10_000
    QApplication.clipboard().clear()
    _click(qtbot, latents.take_away.script)
    script = QApplication.clipboard().text()
    assert script, latents.status.plain_text

    # the run, opened another day, leads to the same script
    exporting.start_save(latents.workspace, points, latents.image.layer(), tmp_path / "run")
    _idle(qtbot, latents)
    (opened,) = (
        layer
        for layer in add_layers(ViewerModel(), *run_layers(load_run(tmp_path / "run")))
        if is_sites(layer)
    )
    begin, end = "def analyse():", "if __name__"
    there, here = (
        text[text.index(begin) : text.index(end)]
        for text in (analysis_script(opened, latents.image.layer()), script)
    )
    assert there == here

    (tmp_path / "analysis.py").write_text(script, encoding="utf-8")
    files = ("analysis.py", "again.csv", "pathways")
    done = subprocess.run(
        [sys.executable, *(str(tmp_path / name) for name in files)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    now, again = (pd.read_csv(tmp_path / name) for name in ("now.csv", "again.csv"))
    assert set(now) == set(again)
    pd.testing.assert_frame_equal(again[now.columns], now, rtol=1e-3, atol=1e-4)
    assert (tmp_path / "pathways" / "pathways_notes.csv").exists()


def _names(latents):
    return [(name, counts) for name, *counts in latents.legend.rows()]
