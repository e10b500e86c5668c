"""Cancelled or closed at any moment, everything stays valid."""

import gc
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("napari")

from napari.utils.notifications import notification_manager
from qtpy.QtCore import QThreadPool

from napari_rvae import add_layers, image_layer, sites_from_layer
from napari_rvae._napari.jobs import _RUNNING
from napari_rvae._napari.layer_kinds import is_sites
from napari_rvae._napari.layout import show_step
from napari_rvae._napari.workspace import Workspace

#: Longest wait before a moment, in milliseconds; a detection of the movie takes some three seconds.
LONGEST = 1500

LONG = 60_000

#: Opens one widget, and closes everything at once, while the libraries are still being loaded.
_AT_ONCE = """
import sys
import napari
from qtpy.QtTest import QTest
viewer = napari.Viewer(show=False)
viewer.window.add_plugin_dock_widget("napari-rvae", sys.argv[1])
QTest.qWait(int(sys.argv[2]))
viewer.close()
print("closed")
"""


def _check(viewer):
    """Sites layers are true tables, and nothing is at work."""
    assert not Workspace.of(viewer).jobs
    for layer in viewer.layers:
        if is_sites(layer):
            sites = sites_from_layer(layer)
            assert len(sites) == len(layer.data) > 0
            assert sites["site_id"].is_unique
            assert np.isfinite(np.asarray(layer.face_color)).all()


def _begin(viewer, movie):
    """Start what can be started: the training where there are atoms, or their detection."""
    workspace = Workspace.of(viewer)
    detect, train = show_step(viewer, "detect"), show_step(viewer, "train")
    if any(is_sites(layer) for layer in viewer.layers):
        train.show_options(epochs=2000, n_latents=2)
        train.train_button.click()
        return workspace.job("train")
    detect.detect.click()
    return workspace.job("detect")


@pytest.fixture
def viewer(plugin, make_napari_viewer, movie):
    viewer = make_napari_viewer()
    add_layers(viewer, image_layer(movie))
    return viewer


@pytest.mark.slow
def test_cancelled_at_ten_random_moments(qtbot, viewer, movie, found):
    from napari_rvae import points_layer

    moments = np.random.default_rng(7).integers(0, LONGEST, 10)
    for number, moment in enumerate(moments):
        if number == 5:  # from here on there are atoms to train on
            add_layers(viewer, points_layer(found, movie))
        job = _begin(viewer, movie)
        assert job is not None
        qtbot.wait(int(moment))
        job.stop()
        qtbot.waitUntil(lambda: not Workspace.of(viewer).jobs, timeout=LONG)
        _check(viewer)
        if number < 5:
            for layer in [layer for layer in viewer.layers if is_sites(layer)]:
                viewer.layers.remove(layer)


@pytest.mark.slow
def test_widgets_closed_and_layers_removed_at_five_random_moments(qtbot, viewer, movie, found):
    from napari_rvae import points_layer

    moments = np.random.default_rng(8).integers(0, LONGEST, 5)
    for number, moment in enumerate(moments):
        (points,) = add_layers(viewer, points_layer(found, movie))
        job = _begin(viewer, movie)
        qtbot.wait(int(moment))
        for name in list(viewer.window.dock_widgets):
            viewer.window.remove_dock_widget(viewer.window._wrapped_dock_widgets[name])
        if number % 2:
            viewer.layers.remove(points)
        qtbot.wait(50)
        job.stop()
        qtbot.waitUntil(lambda: not Workspace.of(viewer).jobs, timeout=LONG)
        _check(viewer)
        for layer in [layer for layer in viewer.layers if is_sites(layer)]:
            viewer.layers.remove(layer)


@pytest.mark.slow
def test_viewers_closed_at_five_random_moments(qtbot, plugin, make_napari_viewer, movie, found):
    from napari_rvae import points_layer

    before = len(notification_manager.records)
    for moment in np.random.default_rng(9).integers(0, LONGEST, 5):
        viewer = make_napari_viewer()
        add_layers(viewer, image_layer(movie), points_layer(found, movie))
        job = _begin(viewer, movie)
        qtbot.wait(int(moment))
        viewer.close()
        qtbot.waitUntil(lambda job=job: not job.running, timeout=LONG)
        del viewer
        gc.collect()
        qtbot.wait(20)
    assert QThreadPool.globalInstance().waitForDone(LONG)
    assert not [job for job in _RUNNING if job.running]
    said = [record.message for record in notification_manager.records[before:]]
    assert not [text for text in said if "deleted" in text or "C++" in text]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "moment"), [("Train", 0), ("Detect", 300)])
def test_a_viewer_that_closes_while_the_libraries_are_loaded_says_nothing(name, moment):
    done = subprocess.run(
        [sys.executable, "-c", _AT_ONCE, name, str(moment)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "closed\n", "")
