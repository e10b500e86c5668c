"""A window closes at once, unless a model was trained in it and is nowhere else."""

import pytest

pytest.importorskip("napari")

from qtpy.compat import isalive
from qtpy.QtCore import QTimer
from qtpy.QtGui import QCloseEvent
from qtpy.QtWidgets import QApplication, QFileDialog, QMessageBox

from napari_rvae import CropConfig, add_layers, image_layer, load_run, points_layer
from napari_rvae._napari.layer_kinds import record_of
from napari_rvae._napari.workspace import Model, Workspace

LONG = 60_000


@pytest.fixture
def viewer(plugin, make_napari_viewer):
    return make_napari_viewer(show=True)


@pytest.fixture
def trained(viewer, movie, encoded, model):
    """Workspace of a viewer in which a model was trained; and its sites."""
    add_layers(viewer, image_layer(movie))
    (sites,) = add_layers(viewer, points_layer(encoded, movie))
    workspace = Workspace.of(viewer)
    workspace.use_model(Model(model, CropConfig(), "graphene"))
    record_of(sites)["model"] = workspace.model.key
    return workspace


@pytest.fixture
def asked(monkeypatch):
    """Answer the question by the name of a button; what was asked is collected."""
    said, answer = [], ["Cancel"]

    def exec_(box):
        said.append(box.text())
        button = next(b for b in box.buttons() if b.text().startswith(answer[0]))
        QTimer.singleShot(0, button.click)
        return QMessageBox.__base__.exec(box)

    monkeypatch.setattr(QMessageBox, "exec", exec_)
    return said, answer


def _close(viewer):
    """Ask the window to close, as the button in its frame does; whether it would."""
    event = QCloseEvent()
    QApplication.sendEvent(viewer.window._qt_window, event)
    return event.isAccepted()


def test_cancel_keeps_everything_as_it_is(viewer, trained, asked):
    said, _ = asked
    assert not _close(viewer)
    assert said == ["The model trained on 'graphene' has not been saved."]
    assert viewer.window._qt_window.isVisible()
    assert trained.model.unsaved
    assert len(viewer.layers) == 2


def test_discard_closes(viewer, trained, asked):
    asked[1][0] = "Discard"
    assert _close(viewer)
    assert len(asked[0]) == 1


@pytest.mark.parametrize("folder", ["run", ""])
def test_save_writes_a_run_and_closes(
    qtbot, viewer, trained, asked, monkeypatch, tmp_path, encoded, folder
):
    asked[1][0] = "Save run"
    chosen = str(tmp_path / folder) if folder else ""
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: chosen)
    window = viewer.window._qt_window
    assert not _close(viewer)
    if not folder:  # no folder was chosen after all
        assert window.isVisible()
        return
    qtbot.waitUntil(lambda: not isalive(window) or not window.isVisible(), timeout=LONG)
    run = load_run(tmp_path / "run")
    assert run.has_model
    assert len(run.sites) == len(encoded)
    assert len(asked[0]) == 1


def test_a_model_without_sites_is_saved_by_itself(
    qtbot, viewer, trained, asked, monkeypatch, tmp_path
):
    asked[1][0] = "Save run"
    viewer.layers.clear()
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "m"), ""))
    window = viewer.window._qt_window
    _close(viewer)
    qtbot.waitUntil(lambda: not isalive(window) or not window.isVisible(), timeout=LONG)
    assert (tmp_path / "m").is_dir()


def test_what_is_saved_loaded_or_closed_by_a_program_is_not_asked_about(
    viewer, trained, asked, tmp_path
):
    trained.save_model(tmp_path / "model")
    assert not trained.model.unsaved
    assert _close(viewer)
    assert not asked[0]


def test_a_program_that_closes_its_viewer_is_not_asked(viewer, trained, asked):
    viewer.close()
    assert not asked[0]
