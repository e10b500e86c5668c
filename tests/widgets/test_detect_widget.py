"""The Detect widget in a real viewer: preview, movie, stop, edits, and whatever goes wrong."""

import dataclasses
import gc
import json
import os
import re
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("napari")

from napari.components import ViewerModel
from napari.layers import Points
from qtpy.compat import isalive
from qtpy.QtWidgets import QApplication
from scipy.spatial import cKDTree

from napari_rvae import (
    Frames,
    NoLatticeWarning,
    add_layers,
    concat_sites,
    detect,
    image_layer,
)
from napari_rvae._napari import detect_widget, detection, frame_quality, some_frames, words
from napari_rvae._napari.detect_widget import ADVICE, NO_IMAGE, RANGE, SHOWN, DetectWidget
from napari_rvae._napari.editing import watch_edits
from napari_rvae._napari.workspace import Workspace
from napari_rvae.errors import Cancelled
from napari_rvae.layers import METADATA_KEY
from napari_rvae.layers.undo import layer_state
from napari_rvae.tables import ATOM_COLUMNS, make_sites

LONG = 30_000  # milliseconds: the first detection loads torch


@pytest.fixture
def viewer(request):
    """A real viewer for tests that take make_napari_viewer; else its model, which is faster."""
    if "make_napari_viewer" in request.fixturenames:
        return request.getfixturevalue("make_napari_viewer")()
    return ViewerModel()


@pytest.fixture
def widget(qtbot, viewer):
    made = _open(viewer)
    if not hasattr(viewer, "window"):
        qtbot.addWidget(made)
    yield made
    if isalive(made):
        _idle(qtbot, made)


def _open(viewer):
    made = DetectWidget(viewer)
    if hasattr(viewer, "window"):
        viewer.window.add_dock_widget(made, area="right")
    return made


@pytest.fixture
def image(viewer, movie):
    return add_layers(viewer, image_layer(movie))[0]


def _atoms(frame, source="movie"):
    """Four sites of a frame, as detection would give them."""
    place = {"y": [20.0, 20.0, 60.0, 60.0], "x": [20.0, 60.0, 20.0, 60.0]}
    measured = dict.fromkeys(ATOM_COLUMNS, np.ones(4))
    return make_sites(frame=frame, source=source, **place, **measured)


class _Detector:
    """Stands for iter_detect_atoms: waits before each frame until it is let through."""

    def __init__(self):
        self.passes = threading.Semaphore(0)
        self.begun = 0  # frames that were asked for
        self.asked = []
        self.numbers = None
        self.warn = ""
        self.atoms = _atoms

    def __call__(self, frames, config, *, region=None, numbers=None, **_options):
        self.asked.append((frames, config, region))
        self.numbers = numbers
        asked = range(frames.n_frames) if numbers is None else numbers
        for index in asked:
            self.begun += 1
            self.passes.acquire(timeout=20)
            if self.warn and index == asked[-1]:
                warnings.warn(self.warn, NoLatticeWarning, stacklevel=2)
            yield self.atoms(index)


@pytest.fixture
def detector(monkeypatch):
    import napari_rvae.detect

    made = _Detector()
    monkeypatch.setattr(napari_rvae.detect, "iter_detect_atoms", made)
    yield made
    made.passes.release(1000)


@pytest.fixture
def six(viewer):
    """An image of six frames."""
    frames = Frames(np.zeros((6, 80, 80), np.float32), name="six")
    return add_layers(viewer, image_layer(frames))[0]


def _points(viewer):
    return [layer for layer in viewer.layers if isinstance(layer, Points)]


def _idle(qtbot, widget):
    qtbot.waitUntil(lambda: widget.workspace.job("detect") is None, timeout=LONG)


def _run(qtbot, widget, detector, passes=1000):
    detector.passes.release(passes)
    widget.detect.click()
    _idle(qtbot, widget)


def _done(widget):
    last = widget.workspace.job("detect").last
    return 0 if last is None else last.done


def _said(widget):
    return widget.workspace.status("detect")


# ---------------------------------------------------------------------- the way it should go
def test_preview_then_detect(qtbot, viewer, widget, image, movie, found, make_napari_viewer):
    viewer.dims.set_point(0, image.data_to_world((1, 0, 0))[0])
    widget.preview.click()
    assert not widget.detect.isEnabled()
    _idle(qtbot, widget)
    (preview,) = _points(viewer)
    assert preview.name == "preview"
    assert set(preview.data[:, 0]) == {1.0}
    assert viewer.layers.selection.active is image
    said = f"Preview of frame 1: {len(preview.data)} atoms, neighbours "
    assert widget.status.plain_text.startswith(said)

    widget.detect.click()
    _idle(qtbot, widget)
    (layer,) = _points(viewer)
    assert layer.name == f"atoms of {image.name}"
    np.testing.assert_allclose(layer.data, found[["frame", "y", "x"]])
    np.testing.assert_allclose(layer.scale, image.scale)
    assert layer.units == image.units
    assert layer.axis_labels == image.axis_labels
    text = widget.status.plain_text
    assert text.startswith(f"{len(found):,} atoms in 2 frames, neighbours ")
    assert " pm) apart, " in text
    assert text.endswith(" at the border.")
    assert _said(widget).level == "done"
    assert widget.detect.isEnabled()


def test_options_of_both_forms_reach_the_detector(qtbot, widget, six, detector):
    widget.plain.fields["contrast"].widget.value = "dark"
    widget.advanced.fields["min_lattice_support"].widget.value = 0.5
    _run(qtbot, widget, detector)
    config = detector.asked[0][1]
    assert (config.contrast, config.min_lattice_support) == ("dark", 0.5)
    assert _points(widget.viewer)[0].metadata[METADATA_KEY]["config"] == config.to_dict()


def test_vacancies_are_added_if_asked_for(qtbot, widget, six, detector):
    def lattice(frame):
        y, x = (np.delete(g.ravel(), 27) for g in np.mgrid[5:80:10.0, 5:80:10.0])
        measured = {**dict.fromkeys(ATOM_COLUMNS, np.ones(63)), "background": np.zeros(63)}
        return make_sites(
            frame=frame, source="six", y=y, x=x, **measured | {"snr": np.full(63, 30)}
        )

    detector.atoms = lattice
    widget.plain.fields["classify"].widget.value = True
    _run(qtbot, widget, detector)
    assert "378 atoms in 6 frames, 6 vacancies" in _said(widget).text
    (points,) = _points(widget.viewer)
    assert (points.features["species"] == "A").sum() == 378
    assert {str(s) for s in points.symbol[points.features["kind"] == "vacancy"]} == {"ring"}


def test_region_of_shapes_with_another_scale(
    qtbot, viewer, widget, image, detector, make_napari_viewer
):
    corner = image.scale[-1] * 96
    box = [[0, 0], [0, corner], [corner, corner], [corner, 0]]
    shapes = viewer.add_shapes(
        [np.array(box) / 0.5], shape_type="rectangle", scale=(0.5, 0.5), name="mine"
    )
    shapes.units = image.units[-2:]
    widget.region.choose(shapes)
    _run(qtbot, widget, detector)
    region = detector.asked[0][2]
    assert region.shape == (192, 192)
    assert region[:95, :95].all()
    assert not region[98:].any()
    assert not region[:, 98:].any()


def test_layer_lies_where_the_image_lies(qtbot, viewer, widget, detector, make_napari_viewer):
    image = viewer.add_image(
        np.zeros((2, 80, 80)), scale=(1, 0.1, 0.1), translate=(0, 7, -3), rotate=20, name="turned"
    )
    _run(qtbot, widget, detector)
    (layer,) = _points(viewer)
    for point in layer.data:
        np.testing.assert_allclose(layer.data_to_world(point), image.data_to_world(point))


def test_one_image_without_frames(qtbot, viewer, widget, detector):
    viewer.add_image(np.zeros((80, 80)), name="one")
    _run(qtbot, widget, detector)
    (layer,) = _points(viewer)
    assert layer.data.shape == (4, 2)
    assert widget.status.plain_text.startswith("4 atoms in 1 frame, neighbours 40.0 px apart")


def test_frames_without_atoms_are_named(qtbot, viewer, widget, six, detector):
    detector.atoms = lambda frame: _atoms(frame) if frame in (0, 3, 4) else _atoms(frame)[:0]
    _run(qtbot, widget, detector)
    (layer,) = _points(viewer)
    assert len(layer.data) == 12
    assert widget.status.plain_text.endswith("None in frames 1, 2 and 5.")


def test_detecting_again_replaces_in_place(
    qtbot, viewer, widget, six, detector, make_napari_viewer
):
    _run(qtbot, widget, detector)
    (first,) = _points(viewer)
    first.name = "my atoms"
    above = viewer.add_image(np.zeros((80, 80)), name="above")
    widget.image.choose(six)
    _run(qtbot, widget, detector)
    (second,) = _points(viewer)
    assert second is not first
    assert [layer.name for layer in viewer.layers] == ["six", "my atoms", above.name]


def test_atoms_of_another_image_are_left_alone(qtbot, viewer, widget, six, detector):
    _run(qtbot, widget, detector)
    viewer.add_image(np.zeros((6, 80, 80)), name="other")
    _run(qtbot, widget, detector)
    assert [layer.name for layer in _points(viewer)] == ["atoms of six", "atoms of other"]


# ---------------------------------------------------------------------- on trial
def test_three_frames_are_tried(qtbot, viewer, widget, six, detector):
    detector.passes.release(3)
    widget.trial.click()
    _idle(qtbot, widget)
    (layer,) = _points(viewer)
    assert layer.name == "preview"
    assert sorted(set(layer.data[:, 0])) == [0, 3, 5]
    said = "Preview of frames 0, 3 and 5: 4, 4 and 4 atoms, neighbours 40.0 px apart."
    assert widget.status.plain_text == said
    assert detector.asked[0][0].n_frames == 3


def test_a_preview_can_be_stopped_while_the_movie_is_looked_at(qtbot, widget, image, monkeypatch):
    def measure(_frames, _config, *, progress):
        while progress(1, 2) is not False:
            time.sleep(0.01)
        raise Cancelled("stopped")

    monkeypatch.setattr(detect, "measured_config", measure)
    widget.preview.click()
    qtbot.waitUntil(lambda: "whole movie" in getattr(_job(widget).last, "message", ""))
    _job(widget).stop()
    _idle(qtbot, widget)
    assert not widget.viewer.layers[-1].name.startswith("preview")


def _job(widget):
    return widget.workspace.job("detect")


def test_the_scale_of_a_movie_is_measured_once(qtbot, widget, image, monkeypatch):
    measured = []

    def measure(frames, config, **options):
        measured.append(frames.n_frames)
        return true(frames, config, **options)

    true = detect.measured_config
    monkeypatch.setattr(detect, "measured_config", measure)
    widget.preview.click()
    _idle(qtbot, widget)
    assert measured == [2]  # on the whole movie
    widget.plain.fields["min_snr"].widget.value = 8.0
    widget.preview.click()
    _idle(qtbot, widget)
    assert measured == [2]
    widget.plain.fields["neighbour_distance"].widget.value = 14.0
    widget.preview.click()
    _idle(qtbot, widget)
    assert measured == [2, 2]


def test_a_preview_looks_at_a_frame_as_the_movie_would(qtbot, viewer, widget, image, found):
    widget.trial.click()
    _idle(qtbot, widget)
    (layer,) = _points(viewer)
    np.testing.assert_allclose(layer.data, found[["frame", "y", "x"]])


def test_a_preview_of_a_large_frame_looks_at_its_middle(
    qtbot, viewer, widget, image, found, monkeypatch
):
    monkeypatch.setattr(some_frames, "_SIDE", 5)
    widget.preview.click()
    _idle(qtbot, widget)
    (layer,) = _points(viewer)
    said = re.search(r"\((\d+) x \1 px in the middle of the view\)", widget.status.plain_text)
    assert said is not None
    side = int(said[1])
    assert 50 < side < 90
    here = found[found["frame"] == 0]
    away = np.abs(here[["y", "x"]].to_numpy() - (np.array(image.data.shape[1:]) - 1) / 2).max(1)
    inner = here[away < side / 2 - 7]
    gap = cKDTree(layer.data[:, 1:]).query(inner[["y", "x"]])[0]
    assert len(inner) > 4
    assert gap.max() < 1.0


def test_the_scale_is_measured_while_the_widget_is_seen(qtbot, widget, image, monkeypatch):
    asked = []
    monkeypatch.setattr(detect_widget, "measure_ahead", lambda *what: asked.append(what[0]))
    monkeypatch.setattr(detect_widget, "ENGINE", "napari_rvae.detect")
    widget.refresh()
    qtbot.wait(200)
    assert not asked  # nobody looks
    widget.show()
    qtbot.waitUntil(lambda: asked == [image])
    widget.refresh()
    qtbot.wait(200)
    assert asked == [image]  # once


def _none(frame):
    return _atoms(frame).iloc[:0]


@pytest.mark.parametrize("name", ["preview", "detect"])
def test_why_nothing_was_searched_is_said(qtbot, widget, six, detector, name):
    detector.atoms, detector.warn = _none, "six: no frame was searched; lower min_quality."
    detector.passes.release(6)
    getattr(widget, name).click()
    _idle(qtbot, widget)
    assert widget.status.plain_text.startswith("No atoms in ")
    assert widget.status.plain_text.endswith("no frame was searched; lower min_quality.")


def test_a_preview_of_means_takes_the_frames_beside(qtbot, viewer, widget, six, detector):
    widget.advanced.fields["average_frames"].widget.value = 3
    detector.passes.release(3)
    widget.trial.click()
    _idle(qtbot, widget)
    assert detector.asked[0][0].n_frames == 6
    assert detector.numbers == (0, 3, 5)
    (layer,) = [item for item in viewer.layers if item.name == "preview"]
    assert sorted(set(layer.data[:, 0])) == [0, 3, 5]


def test_species_and_vacancies_are_told_where_asked_for(qtbot, viewer, widget, image):
    widget.plain.fields["classify"].widget.value = True
    widget.detect.click()
    _idle(qtbot, widget)
    (layer,) = _points(viewer)
    assert "A" in set(layer.features["species"])
    assert set(layer.features["kind"]) <= {"atom", "vacancy"}
    assert layer.metadata[METADATA_KEY]["column"] == "species"


def test_what_is_found_is_said_in_words():
    two = make_sites(frame=0, y=[5, 5, 10, 10, 15], x=[5, 10, 5, 10, 5])
    two["kind"] = ["atom"] * 4 + ["vacancy"]
    two["species"] = ["A", "B", "A", "A", "B"]
    frames = Frames(np.zeros((20, 20)))
    text = words.describe(two, frames, 1, 0)
    assert text.startswith("4 atoms in 1 frame, 1 vacancy")
    assert text.endswith("Species: A 3, B 1.")
    assert "Species" not in words.describe(two.assign(species="A"), frames, 1, 0)


def test_a_preview_follows_the_options(qtbot, viewer, widget, six, detector):
    detector.passes.release(1000)
    widget.plain.fields["min_snr"].widget.value = 6.0
    qtbot.wait(600)
    assert not detector.asked  # nothing is done unasked
    viewer.dims.set_point(0, 2)
    widget.preview.click()
    _idle(qtbot, widget)
    widget.plain.fields["min_snr"].widget.value = 7.0
    qtbot.waitUntil(lambda: len(detector.asked) == 2, timeout=LONG)
    _idle(qtbot, widget)
    assert [config.min_snr for _, config, _ in detector.asked] == [6.0, 7.0]
    (layer,) = _points(viewer)
    assert set(layer.data[:, 0]) == {2}


def test_another_preview_of_the_image_changes_the_points_of_the_first(
    qtbot, viewer, widget, six, detector
):
    detector.passes.release(1000)
    widget.preview.click()
    _idle(qtbot, widget)
    (layer,) = _points(viewer)
    detector.atoms = lambda index: _atoms(index).iloc[:3]
    viewer.dims.set_point(0, 2)
    widget.preview.click()
    _idle(qtbot, widget)
    assert _points(viewer) == [layer]
    assert layer.data[:, 0].tolist() == [2] * 3
    assert (layer.size > 0).all()
    assert (layer.face_color[:, 3] == 0).all()
    assert layer.features["frame"].tolist() == [2] * 3
    widget.detect.click()
    _idle(qtbot, widget)
    assert [item.name for item in _points(viewer)] == ["atoms of six"]


# ---------------------------------------------------------------------- some frames anew
def _fewer(index):
    """What is found the second time: two sites of the four."""
    return make_sites(
        frame=index, source="movie", y=[20.5, 60.5], x=[20.0, 60.0],
        **dict.fromkeys(ATOM_COLUMNS, np.full(2, 2.0)),
    )  # fmt: skip


def _look_at(widget, which, first=None, last=None):
    widget.which.setCurrentText(which)
    if first is not None:
        widget.first.setValue(first)
        widget.last.setValue(last)


def _click(qtbot, made):
    qtbot.waitUntil(made.isEnabled)
    made.click()


def _counts(layer):
    return [int((layer.features["frame"] == frame).sum()) for frame in range(6)]


def test_one_frame_anew_leaves_the_others(qtbot, viewer, widget, six, detector):
    watch_edits(viewer)
    _run(qtbot, widget, detector)
    (layer,) = _points(viewer)
    layer.add([0, 30.0, 30.0])
    layer.add([3, 40.0, 40.0])  # far from what is found anew
    layer.add([3, 21.0, 20.5])  # and near
    layer.selected_data = {4 * 3 + 3}  # (60, 60) in frame 3
    layer.remove_selected()
    before = layer_state(layer)
    viewer.dims.set_point(0, 3)
    _look_at(widget, SHOWN)
    detector.atoms = _fewer
    _run(qtbot, widget, detector)
    assert _points(viewer) == [layer]
    assert _counts(layer) == [5, 4, 4, 2, 4, 4]
    here = layer.features[layer.features["frame"] == 3]
    assert here[["y", "x"]].to_numpy().tolist() == [[40.0, 40.0], [21.0, 20.5]]
    assert layer.features["site_id"].is_unique
    others = before.features[before.features["frame"] != 3].reset_index(drop=True)
    now = layer.features[layer.features["frame"] != 3]
    now = now.set_index("site_id").loc[others["site_id"]].reset_index()
    pd.testing.assert_frame_equal(now[others.columns], others)
    assert widget.status.plain_text == "Frame 3: 2 atoms, 2 of them set by hand."

    _click(qtbot, widget.undo)
    np.testing.assert_array_equal(layer.data, before.data)
    pd.testing.assert_frame_equal(layer.features, before.features)
    assert layer_state(layer).marks == before.marks
    assert widget.status.plain_text == "Undone: detection in frame 3."
    _click(qtbot, widget.redo)
    assert _counts(layer) == [5, 4, 4, 2, 4, 4]


def _with_a_vacancy(frame):
    return _atoms(frame).assign(kind=["atom", "atom", "atom", "vacancy"])


def test_vacancies_found_anew_are_no_atoms(qtbot, widget, six, detector):
    _run(qtbot, widget, detector)
    _look_at(widget, RANGE, 2, 3)
    detector.atoms = _with_a_vacancy
    _run(qtbot, widget, detector)
    assert widget.status.plain_text == "Frames 2 and 3: 6 atoms and 2 vacancies."


def test_a_range_of_frames_anew(qtbot, viewer, widget, six, detector):
    _run(qtbot, widget, detector)
    (layer,) = _points(viewer)
    _look_at(widget, RANGE, 2, 4)
    detector.atoms = _fewer
    _run(qtbot, widget, detector)
    assert _counts(layer) == [4, 4, 2, 2, 2, 4]
    assert widget.status.plain_text == "Frames 2 to 4: 6 atoms."
    note = layer.metadata[METADATA_KEY]["renewed"]
    assert [part["frames"] for part in note] == [[2, 3, 4]]
    json.dumps(note)
    _look_at(widget, RANGE, 4, 2)
    widget.detect.click()
    assert "The range from 4 to 2 is empty" in widget.status.plain_text


def test_edits_can_be_given_up(qtbot, viewer, widget, six, detector):
    watch_edits(viewer)
    _run(qtbot, widget, detector)
    (layer,) = _points(viewer)
    layer.add([3, 30.0, 30.0])
    _look_at(widget, RANGE, 3, 3)
    widget.keep.setChecked(False)
    _run(qtbot, widget, detector)
    assert _counts(layer) == [4] * 6
    assert "edited" not in layer.metadata[METADATA_KEY]
    _click(qtbot, widget.undo)
    assert _counts(layer) == [4, 4, 4, 5, 4, 4]
    assert layer.metadata[METADATA_KEY]["edited"]


def test_one_frame_first(qtbot, viewer, widget, six, detector):
    viewer.dims.set_point(0, 3)
    _look_at(widget, SHOWN)
    _run(qtbot, widget, detector)
    (layer,) = _points(viewer)
    assert _counts(layer) == [0, 0, 0, 4, 0, 0]
    assert widget.status.plain_text.startswith("4 atoms in 1 frame")
    viewer.dims.set_point(0, 1)
    _run(qtbot, widget, detector)
    assert _counts(layer) == [0, 4, 0, 4, 0, 0]


def test_nothing_found_anew_leaves_what_was_there(qtbot, viewer, widget, six, detector):
    _run(qtbot, widget, detector)
    _look_at(widget, RANGE, 1, 1)
    detector.atoms = lambda index: _atoms(index).iloc[:0]
    _run(qtbot, widget, detector)
    assert _counts(_points(viewer)[0]) == [4] * 6
    assert widget.status.plain_text.startswith("No atoms in frame 1: ")
    assert widget.status.plain_text.endswith("still there.")


def test_all_frames_anew_keep_the_edits(qtbot, viewer, widget, six, detector):
    watch_edits(viewer)
    _run(qtbot, widget, detector)
    (layer,) = _points(viewer)
    layer.add([0, 40.0, 40.0])
    detector.atoms = _fewer
    _run(qtbot, widget, detector)
    assert _points(viewer) == [layer]
    assert _counts(layer) == [3, 2, 2, 2, 2, 2]
    assert widget.status.plain_text == "All frames: 13 atoms, 1 of them set by hand."


def test_one_image_anew_keeps_the_edits(qtbot, viewer, widget, detector):
    viewer.add_image(np.zeros((80, 80)), name="one")
    _run(qtbot, widget, detector)
    (layer,) = _points(viewer)
    layer.add([40.0, 40.0])
    detector.atoms = _fewer
    _run(qtbot, widget, detector)
    assert _points(viewer) == [layer]
    assert layer.data.tolist() == [[40.0, 40.0], [20.5, 20.0], [60.5, 60.0]]
    _click(qtbot, widget.undo)
    assert len(layer.data) == 5


def test_new_atoms_beside_latents_are_said_to_have_none(qtbot, viewer, widget, six, detector):
    _run(qtbot, widget, detector)
    (layer,) = _points(viewer)
    layer.features = layer.features.assign(z0=1.0)
    _look_at(widget, RANGE, 2, 2)
    _run(qtbot, widget, detector)
    assert _points(viewer) == [layer]
    assert layer.features["z0"].isna().sum() == 4
    assert "New ones have no latents yet: use Apply on Train." in widget.status.plain_text


def test_frames_to_look_in_are_offered_for_movies_only(viewer, widget):
    viewer.add_image(np.zeros((80, 80)), name="one")
    assert widget.which.isHidden()
    assert widget.trial.isHidden()
    viewer.add_image(np.zeros((5, 80, 80)), name="five")
    assert not widget.which.isHidden()
    assert widget.first.isHidden()
    widget.which.setCurrentText(RANGE)
    assert not widget.first.isHidden()
    assert (widget.first.value(), widget.last.value()) == (0, 4)


# ---------------------------------------------------------------------- undo
def test_buttons_undo_and_redo_the_edits_of_the_image(qtbot, viewer, widget, six, detector):
    _run(qtbot, widget, detector)
    (layer,) = _points(viewer)
    qtbot.wait(150)
    assert not widget.undo.isEnabled()
    layer.add([0, 30.0, 30.0])
    qtbot.waitUntil(widget.undo.isEnabled)
    assert widget.undo.toolTip().startswith("Undo: 1 site added")
    widget.undo.click()
    assert len(layer.data) == 24
    assert widget.status.plain_text == "Undone: 1 site added."
    assert widget.redo.isEnabled()
    widget.redo.click()
    assert len(layer.data) == 25
    assert widget.status.plain_text == "Done again: 1 site added."
    viewer.layers.remove(layer)
    qtbot.waitUntil(lambda: not widget.undo.isEnabled())


# ---------------------------------------------------------------------- the scale
def test_a_known_distance_scales_all_that_lies_on_the_image(qtbot, viewer, widget, six, detector):
    _run(qtbot, widget, detector)
    (atoms,) = _points(viewer)
    other = viewer.add_image(np.zeros((80, 80)), name="other")
    widget.image.choose(six)
    shape = viewer.add_shapes([np.array([[0, 0], [0, 9], [9, 9], [9, 0]])], shape_type="polygon")
    viewer.scene.camera.zoom, viewer.scene.camera.center = 6.0, (0, 40, 30)
    widget.scale.value.setValue(160.0)
    widget.scale.button.click()
    _idle(qtbot, widget)
    for layer in (six, atoms, shape):
        np.testing.assert_allclose(layer.scale[-2:], 4.0)
        assert {str(unit) for unit in layer.units[-2:]} == {"picometer"}
    assert other.scale.tolist() == [1, 1]
    assert widget.status.plain_text.startswith("Scale set: 4 pm a pixel (160 pm are 40.0 px, ")
    assert "'other' has none yet" in widget.status.plain_text
    assert viewer.canvas.overlays.scale_bar.visible
    assert viewer.scene.camera.zoom == pytest.approx(1.5)
    assert viewer.scene.camera.center[1:] == pytest.approx((160, 120))

    widget.scale.value.setValue(0.2)
    widget.scale.unit.setCurrentText("nm")
    widget.scale.button.click()
    _idle(qtbot, widget)
    np.testing.assert_allclose(atoms.scale[-2:], 0.005)
    assert atoms.units == six.units
    assert "It was 4 pm." in widget.status.plain_text


def test_what_cannot_set_the_scale_is_said(qtbot, viewer, widget, six, detector):
    widget.scale.value.setValue(142.0)
    widget.scale.button.click()
    assert "There are no atoms to set the scale by" in widget.status.plain_text
    _run(qtbot, widget, detector)
    widget.scale.value.setValue(0.0)
    widget.scale.button.click()
    _idle(qtbot, widget)
    assert "Give the distance between neighbours" in widget.status.plain_text
    assert _said(widget).level == "error"


def test_every_option_has_a_tooltip_that_says_when_to_change_it(widget):
    fields = {**widget.plain.fields, **widget.advanced.fields}
    assert set(ADVICE) <= set(fields)
    for name, field in fields.items():
        tip = field.widget.native.toolTip()
        assert ADVICE.get(name, "") in tip
        assert "at first" in tip.lower()


def test_atoms_with_latents_are_kept(qtbot, viewer, widget, six, detector):
    _run(qtbot, widget, detector)
    (trained,) = _points(viewer)
    trained.features = trained.features.assign(z0=1.0)
    _run(qtbot, widget, detector)
    assert len(_points(viewer)) == 2


# ---------------------------------------------------------------------- stopping
def test_cancel_at_once_changes_nothing(qtbot, viewer, widget, six, detector, make_napari_viewer):
    widget.detect.click()
    widget.job_panel.stop.click()
    detector.passes.release(1)  # a frame that is being looked at is finished
    _idle(qtbot, widget)
    assert len(_points(viewer)) <= 1
    assert widget.detect.isEnabled()


def test_cancel_in_the_middle_keeps_the_frames_that_are_done(
    qtbot, viewer, widget, six, detector, make_napari_viewer
):
    widget.detect.click()
    detector.passes.release(2)
    qtbot.waitUntil(lambda: _done(widget) == 2, timeout=LONG)
    assert widget.job_panel.message.text().startswith("frame 2 of 6, ")
    qtbot.waitUntil(lambda: detector.begun == 3, timeout=LONG)  # it is in the third frame
    widget.job_panel.stop.click()
    detector.passes.release(1)
    _idle(qtbot, widget)
    (layer,) = _points(viewer)
    assert layer.features["frame"].unique().tolist() == [0, 1, 2]
    assert widget.status.plain_text.startswith("Stopped: 3 of 6 frames. 12 atoms in 3 frames")


def test_cancel_in_the_middle_leaves_earlier_atoms(qtbot, viewer, widget, six, detector):
    _run(qtbot, widget, detector, passes=6)
    before = _points(viewer)
    widget.detect.click()
    detector.passes.release(1)
    qtbot.waitUntil(lambda: _done(widget) == 1, timeout=LONG)
    widget.job_panel.stop.click()
    detector.passes.release(1)
    _idle(qtbot, widget)
    assert _points(viewer) == before
    assert len(before[0].data) == 24
    assert "still there" in widget.status.plain_text


# ---------------------------------------------------------------------- what goes wrong
def test_no_image(viewer, widget, make_napari_viewer):
    assert widget.status.plain_text == NO_IMAGE
    assert not widget.detect.isEnabled()
    assert not widget.preview.isEnabled()


def test_the_hint_follows_the_image(qtbot, viewer, widget, movie):
    (image,) = add_layers(viewer, image_layer(movie))
    assert widget.status.plain_text.startswith("Ready: 2 frames of 192 x 192 px, ")
    assert widget.status.plain_text.endswith(" pm a pixel.")
    viewer.layers.remove(image)
    assert widget.status.plain_text == NO_IMAGE


def test_rgb_image(viewer, widget, make_napari_viewer):
    viewer.add_image(np.zeros((64, 64, 3)), rgb=True)
    assert "in colours" in widget.status.plain_text
    assert not widget.detect.isEnabled()


def test_image_of_four_axes(viewer, widget):
    viewer.add_image(np.zeros((2, 2, 32, 32)), name="four")
    assert "4 axes" in widget.status.plain_text
    assert not widget.detect.isEnabled()


def test_empty_region(viewer, widget, six):
    widget.region.choose(viewer.add_shapes(name="nothing"))
    widget.detect.click()
    assert "'nothing' is empty" in widget.status.plain_text
    assert widget.detect.isEnabled()
    assert widget.workspace.job("detect") is None


def test_no_atoms(qtbot, viewer, widget, six, detector):
    detector.atoms = lambda index: _atoms(index).iloc[:0]
    _run(qtbot, widget, detector)
    assert not _points(viewer)
    assert widget.status.plain_text.startswith("No atoms in 6 frames: try dark contrast")
    assert _said(widget).level == "warning"


def test_no_lattice_is_a_warning(qtbot, viewer, widget, six, detector):
    detector.warn = "six: no lattice was seen; look at the points."
    _run(qtbot, widget, detector)
    assert len(_points(viewer)) == 1
    assert "no lattice was seen" in widget.status.plain_text
    assert _said(widget).level == "warning"


def test_error_in_the_thread_is_one_line(qtbot, viewer, widget, six, detector, caplog):
    def refuse(_index):
        raise MemoryError

    detector.atoms = refuse
    _run(qtbot, widget, detector)
    assert widget.status.plain_text.startswith("The memory is full")
    assert widget.detect.isEnabled()


def test_image_removed_during_the_work(qtbot, viewer, widget, six, detector, make_napari_viewer):
    widget.detect.click()
    detector.passes.release(1)
    qtbot.waitUntil(lambda: _done(widget) == 1, timeout=LONG)
    viewer.layers.remove(six)
    detector.passes.release(10)
    _idle(qtbot, widget)
    assert len(_points(viewer)) == 1
    assert "The image was removed meanwhile." in widget.status.plain_text
    assert not widget.detect.isEnabled()
    viewer.add_image(np.zeros((6, 80, 80)))
    assert widget.detect.isEnabled()


def test_all_layers_removed_during_the_preview(qtbot, viewer, widget, image, make_napari_viewer):
    widget.preview.click()
    viewer.layers.clear()
    _idle(qtbot, widget)
    assert [layer.name for layer in viewer.layers] == ["preview"]


# ---------------------------------------------------------------------- closing and opening
def test_widget_closed_during_the_work(qtbot, viewer, widget, six, detector, make_napari_viewer):
    widget.detect.click()
    workspace = widget.workspace
    viewer.window.remove_dock_widget(widget)
    widget.deleteLater()
    qtbot.waitUntil(lambda: not isalive(widget))
    detector.passes.release(10)
    qtbot.waitUntil(lambda: workspace.job("detect") is None, timeout=LONG)
    assert len(_points(viewer)) == 1
    assert workspace.status("detect").text.startswith("24 atoms")
    again = _open(viewer)
    assert again.status.plain_text.startswith("24 atoms")


def test_widget_opened_again_shows_the_work(
    qtbot, viewer, widget, six, detector, make_napari_viewer
):
    widget.detect.click()
    detector.passes.release(2)
    qtbot.waitUntil(lambda: _done(widget) == 2, timeout=LONG)
    viewer.window.remove_dock_widget(widget)
    again = _open(viewer)
    assert not again.job_panel.isHidden()
    assert again.job_panel.message.text().startswith("frame 2 of 6")
    assert not again.detect.isEnabled()
    again.job_panel.stop.click()
    detector.passes.release(1)
    _idle(qtbot, again)
    assert again.detect.isEnabled()


def test_viewer_closed_during_the_work(qtbot, make_napari_viewer, detector):
    viewer = make_napari_viewer()
    widget = _open(viewer)
    add_layers(viewer, image_layer(Frames(np.zeros((6, 80, 80)), name="six")))
    widget.detect.click()
    job = widget.workspace.job("detect")
    detector.passes.release(1)
    qtbot.waitUntil(lambda: _done(widget) == 1, timeout=LONG)
    viewer.close()
    QApplication.processEvents()
    detector.passes.release(1)
    qtbot.waitUntil(lambda: not job.running, timeout=LONG)
    assert job.outcome.cancelled


_STORY = """
import napari
from qtpy.QtCore import QThreadPool
from napari_rvae import simulate_graphene, add_layers, image_layer
from napari_rvae._napari.detect_widget import DetectWidget

viewer = napari.Viewer(show=True)
widget = DetectWidget(viewer)
viewer.window.add_dock_widget(widget)
add_layers(viewer, image_layer(simulate_graphene(n_frames=8, size=128).frames))
widget.detect.click()
closed = []

def close(progress):
    if progress.done >= 1 and not closed:
        closed.append(progress.done)
        viewer.close()

widget.workspace.job("detect").progressed.connect(close)
napari.run()
pool = QThreadPool.globalInstance()
print("closed after frame", closed[0], "ended", pool.waitForDone(10_000), pool.activeThreadCount())
"""


def test_process_ends_cleanly_when_its_viewer_is_closed_during_the_work(tmp_path):
    (tmp_path / "story.py").write_text(_STORY)
    done = subprocess.run(
        [sys.executable, "story.py"],
        cwd=tmp_path,
        env=os.environ | {"NAPARI_CONFIG": str(tmp_path / "settings.yaml"), "QT_API": "pyside6"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("closed after frame 1 ended True 0")
    for word in ("Traceback", "C++ object", "QThread", "leak"):
        assert word not in done.stderr


def test_two_viewers_side_by_side(qtbot, make_napari_viewer, detector):
    pair = [_open(make_napari_viewer()) for _ in range(2)]
    for widget in pair:
        add_layers(widget.viewer, image_layer(Frames(np.zeros((2, 80, 80)), name="two")))
    pair[0].detect.click()
    assert pair[1].detect.isEnabled()
    detector.passes.release(10)
    _idle(qtbot, pair[0])
    assert [len(_points(widget.viewer)) for widget in pair] == [1, 0]
    assert pair[1].status.plain_text.startswith("Ready")
    _run(qtbot, pair[1], detector)
    assert [len(_points(widget.viewer)) for widget in pair] == [1, 1]


# ---------------------------------------------------------------------- the frames' quality
def _open_section(qtbot, widget):
    widget.section.expand(animate=False)
    qtbot.waitUntil(lambda: widget.table.measured, timeout=LONG)
    _idle(qtbot, widget)


def test_quality_is_measured_when_it_is_looked_at_and_kept(
    qtbot, viewer, widget, image, detector, make_napari_viewer
):
    _run(qtbot, widget, detector)
    said = widget.status.plain_text
    assert not widget.table.rowCount()
    _open_section(qtbot, widget)
    assert widget.status.plain_text == said
    assert widget.table.rowCount() == 2
    assert widget.table.item(0, 1).text() == "4"
    assert float(widget.table.item(0, 2).text()) > 0
    assert 0 <= float(widget.table.item(1, 4).text()) <= 1

    viewer.window.remove_dock_widget(widget)
    again = _open(viewer)
    again.section.expand(animate=False)
    assert again.table.measured
    assert again.workspace.job("detect") is None
    assert again.table.item(0, 2).text() == widget.table.item(0, 2).text()


def test_row_follows_the_slider_and_the_slider_the_row(
    qtbot, viewer, widget, image, detector, make_napari_viewer
):
    _run(qtbot, widget, detector)
    _open_section(qtbot, widget)
    viewer.dims.set_current_step(0, 1)
    assert widget.table.currentRow() == 1
    widget.table.setCurrentCell(0, 0)
    assert viewer.dims.current_step[0] == 0
    widget.table.setCurrentCell(1, 2)
    assert viewer.dims.current_step[0] == 1


def test_atoms_are_counted_anew_after_an_edit(qtbot, viewer, widget, image, detector):
    watch_edits(viewer)
    _run(qtbot, widget, detector)
    _open_section(qtbot, widget)
    (layer,) = _points(viewer)
    layer.add([1, 30.0, 30.0])
    qtbot.waitUntil(lambda: widget.table.item(1, 1).text() == "5")
    viewer.layers.remove(layer)
    qtbot.waitUntil(lambda: widget.table.rowCount() == 0)


def test_without_atoms_there_is_no_table(qtbot, widget, image):
    widget.section.expand(animate=False)
    assert widget.table.isHidden()
    assert not widget.no_atoms.isHidden()
    assert not widget.measure.isEnabled()
    assert widget.workspace.job("detect") is None


def test_frames_are_not_measured_twice(qtbot, viewer, widget, image, detector):
    _run(qtbot, widget, detector)
    _open_section(qtbot, widget)
    (before,) = _points(viewer)
    _run(qtbot, widget, detector)
    (after,) = _points(viewer)
    assert after is not before
    assert after.metadata[METADATA_KEY]["quality"] == before.metadata[METADATA_KEY]["quality"]
    json.dumps(after.metadata[METADATA_KEY])


def test_table_can_be_copied(qtbot, widget, image, detector):
    _run(qtbot, widget, detector)
    _open_section(qtbot, widget)
    widget.copy.click()
    lines = QApplication.clipboard().text().splitlines()
    assert lines[0].startswith("frame\tatoms\tnoise_sd")
    assert len(lines) == 3


def test_measuring_can_be_cancelled(qtbot, widget, image, detector, monkeypatch):
    _run(qtbot, widget, detector)
    widget.section.expand(animate=False)
    widget.job_panel.stop.click()
    _idle(qtbot, widget)
    assert widget.table.rowCount() == 2
    qtbot.wait(200)
    assert widget.workspace.job("detect") is None  # it does not start again by itself


# ---------------------------------------------------------------------- in words, in numbers
@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.142, "nm", "142 pm"),
        (3.905, "angstrom", "3.9 Å"),
        (13.2, "pixel", ""),
        (13.2, "nonsense", ""),
        (1.5e-7, "m", "150 nm"),
    ],
)
def test_lengths_in_words(value, unit, text):
    assert words.physical_length(value, unit) == text


def test_frames_of_an_image_that_is_moved_along_time(viewer):
    image = viewer.add_image(np.zeros((5, 16, 16)), scale=(2, 1, 1), translate=(10, 0, 0))
    viewer.add_image(np.zeros((16, 16)))
    for frame in (3, 0, 4):
        detection.go_to_frame(viewer, image, frame)
        assert detection.current_frame(viewer, image) == frame


def test_frame_table_counts_atoms_only(found):
    sites = concat_sites(found.assign(kind="vacancy"))
    layer = Points(sites[["frame", "y", "x"]], features=sites, metadata={METADATA_KEY: {}})
    assert frame_quality.frame_table(layer, 3)["atoms"].tolist() == [0, 0, 0]


def test_workspace_does_not_keep_the_widget(qtbot, viewer, widget, six, detector):
    _run(qtbot, widget, detector)
    assert Workspace.of(viewer) is widget.workspace
    assert all(not isinstance(v, DetectWidget) for v in vars(widget.workspace).values())
    gc.collect()
    assert dataclasses.is_dataclass(_said(widget))
