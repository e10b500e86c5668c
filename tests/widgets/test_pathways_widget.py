"""The Pathways widget in a real viewer: find, choose, fly, draw, save, open, troubles."""

import threading

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("napari")

from napari.components import ViewerModel
from napari.layers import Tracks
from qtpy.compat import isalive
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QFileDialog

from napari_rvae import (
    CropConfig,
    Frames,
    add_layers,
    concat_sites,
    image_layer,
    load_run,
    points_layer,
    run_layers,
)
from napari_rvae._napari import pathway_work, pathways_widget
from napari_rvae._napari.exporting import start_save
from napari_rvae._napari.pathway_state import found_of
from napari_rvae._napari.pathways_widget import PathwaysWidget
from napari_rvae._napari.words import NO_SITES
from napari_rvae._napari.workspace import Model
from napari_rvae.layers import METADATA_KEY

LONG = 60_000  # milliseconds: the first work loads torch

N_FRAMES, CHANGE = 12, 6

#: For what needs no window: a viewer's model alone takes far less time.
no_window = pytest.mark.parametrize("viewer", ["model"], indirect=True)


@pytest.fixture(scope="session")
def film(movie):
    """The first frame of the movie, again and again."""
    data = np.repeat(np.asarray(movie.data)[:1], N_FRAMES, axis=0)
    return Frames(
        data, axis_labels=movie.axis_labels, scale=movie.scale, units=movie.units, name="film"
    )


@pytest.fixture(scope="session")
def followed(encoded, film):
    """Its atoms; five beside each other turn from unit 0 into unit 1 in the middle of the film."""
    first = encoded[encoded["frame"] == 0]
    middle = np.hypot(first["y"] - 96, first["x"] - 96)
    few = middle <= np.sort(middle)[4]
    parts = []
    for frame in range(N_FRAMES):
        unit = np.where(first["z0"].isna(), -1, np.where(few & (frame >= CHANGE), 1, 0))
        sure = np.where(unit < 0, np.nan, 0.97)
        part = first.assign(frame=frame, source="film", unit=unit, unit_probability=sure)
        parts.append(part.astype({"frame": "int64", "unit": "int64"}))
    return concat_sites(*parts)


@pytest.fixture
def viewer(request, make_napari_viewer):
    return ViewerModel() if hasattr(request, "param") else make_napari_viewer()


@pytest.fixture
def widget(qtbot, viewer):
    made = PathwaysWidget(viewer)
    if hasattr(viewer, "window"):
        viewer.window.add_dock_widget(made, area="right")
    else:
        qtbot.addWidget(made)
        made.resize(330, 900)
        made.show()
    return made


@pytest.fixture
def image(viewer, film):
    return add_layers(viewer, image_layer(film))[0]


@pytest.fixture
def sites(viewer, image, film, followed, widget, model):
    """Atoms with units and the latents of the model in use."""
    (layer,) = add_layers(viewer, points_layer(followed, film, name="atoms"))
    made = Model(model, CropConfig(), "film")
    widget.workspace.use_model(made)
    layer.metadata[METADATA_KEY]["model"] = made.key
    return layer


@pytest.fixture
def ready(qtbot, widget, sites):
    """The widget with pathways."""
    job = widget.find_pathways()
    assert job is not None
    _idle(qtbot, widget)
    assert found_of(sites) is not None, _said(widget).text
    return widget


def _views(widget):
    pages = widget.network.view, widget.events.view, widget.time.view
    return *pages, widget.landscape.view, widget.landscape.film


def _idle(qtbot, widget):
    qtbot.waitUntil(lambda: widget.workspace.job("pathways") is None, timeout=LONG)
    QApplication.processEvents()
    qtbot.waitUntil(lambda: not widget._soon.isActive(), timeout=LONG)
    qtbot.waitUntil(lambda: not any(view.is_busy for view in _views(widget)), timeout=LONG)


def _said(widget):
    return widget.workspace.status("pathways")


# ---------------------------------------------------------------------- what is missing
@no_window
def test_without_sites_it_says_what_comes_first(widget):
    assert _said(widget).text == NO_SITES
    assert not widget.find_button.isEnabled()
    assert not widget.pages.isVisible()
    assert widget.measure_landscape() is None
    assert _said(widget).text == pathway_work.NO_PATHWAYS


@no_window
def test_without_units_it_says_so(widget, viewer, film, encoded):
    add_layers(viewer, image_layer(film), points_layer(encoded, film))
    assert _said(widget).text == pathway_work.NO_UNITS
    assert widget.find_pathways() is None
    assert _said(widget).text == pathway_work.NO_UNITS
    assert _said(widget).level == "error"


@no_window
def test_one_frame_is_told(qtbot, widget, viewer, film, followed):
    one = followed[followed["frame"] == 0]
    add_layers(viewer, image_layer(film), points_layer(one, film))
    widget.find_pathways()
    _idle(qtbot, widget)
    assert _said(widget).text.startswith("0 events")
    assert "has one frame" in widget.network.notes.text()


@no_window
def test_a_training_comes_first(widget, sites):
    stop = threading.Event()

    def work(_control):
        while not stop.wait(0.01):
            yield from ()
        yield from ()

    widget.workspace.start("train", "Training", work, lambda *_: None)
    assert widget.find_pathways() is None
    assert "at work" in _said(widget).text
    stop.set()


# ---------------------------------------------------------------------- find
@no_window
def test_pathways_are_found_and_put_into_the_layer(ready, sites):
    pathways = found_of(sites).pathways
    assert len(pathways.events) == 1
    assert abs(int(pathways.events["frame"][0]) - CHANGE) <= 1
    assert {"lattice_track_id", "track_id", "state"} <= set(sites.features)
    assert (sites.features["lattice_track_id"] >= 0).any()
    assert _said(ready).text.startswith("1 event; ")
    assert _said(ready).level == "done"
    assert ready.events.list.labels() == [0]
    assert ready.network.tracked() == "place"  # there are no dopants
    assert ready.network.view.drawing is not None


@no_window
def test_cancel_leaves_everything_as_it_was(qtbot, widget, sites):
    job = widget.find_pathways()
    job.stop()
    _idle(qtbot, widget)
    assert found_of(sites) is None
    assert "cancelled" in _said(widget).text
    assert "state" not in sites.features


@no_window
def test_one_thing_at_a_time(widget, sites):
    job = widget.find_pathways()
    assert widget.find_pathways() is None
    assert _said(widget).text == pathways_widget.BUSY
    job.stop()


@no_window
def test_the_layer_goes_meanwhile(qtbot, widget, viewer, sites):
    widget.find_pathways()
    viewer.layers.remove(sites)
    _idle(qtbot, widget)
    assert _said(widget).text in (pathway_work.GONE, NO_SITES)


def test_close_in_the_middle(qtbot, viewer, widget, sites):
    widget.find_pathways()
    workspace = widget.workspace
    viewer.window.remove_dock_widget(widget.parent())
    qtbot.waitUntil(lambda: workspace.job("pathways") is None, timeout=LONG)
    assert found_of(sites) is not None  # the work went on
    again = PathwaysWidget(viewer)
    viewer.window.add_dock_widget(again, area="right")
    assert again.events.list.labels() == [0]
    _idle(qtbot, again)


# ---------------------------------------------------------------------- choose
def test_an_event_is_flown_to_and_shown(qtbot, viewer, ready, sites):
    viewer.dims.set_current_step(0, 0)
    ready.pages.setCurrentWidget(ready.events)
    ready.events.list.choose(0)
    event = found_of(sites).pathways.events.iloc[0]
    assert viewer.dims.current_step[0] == event["frame"]
    (row,) = sites.selected_data
    assert sites.features["frame"].iloc[row] == event["frame"]
    place = np.array(viewer.scene.camera.center[-2:])
    assert place == pytest.approx(np.asarray(sites.data_to_world(sites.data[row]))[-2:])
    _idle(qtbot, ready)
    assert not ready.events.view.isHidden()
    assert len(ready.events.view.drawing.figure.axes) == 12  # decoded and crop, six frames


@no_window
def test_a_click_on_a_state_selects_its_sites(qtbot, ready, sites):
    drawing = ready.network.view.drawing
    node = drawing.targets[drawing.targets["state"] == 0].iloc[0]
    view = ready.network.view
    at = view.rect().topLeft()
    at.setX(round(node["x"] * view.width()))
    at.setY(round(node["y"] * view.height()))
    qtbot.mouseClick(view, Qt.MouseButton.LeftButton, pos=at)
    chosen = sites.features.iloc[sorted(sites.selected_data)]
    assert len(chosen) > 100
    assert (chosen["state"] == 0).all()
    assert "in this state" in _said(ready).text


@no_window
def test_a_rate_lists_its_events_and_selects_their_sites(ready, sites):
    ready.select_rate("place", 1, 0)
    assert ready.events.list.labels() == []
    assert ready.events.all.isVisibleTo(ready.events)
    ready.select_rate("place", 0, 1)
    assert ready.events.list.labels() == [0]
    assert "per frame; 1 event of this change" in _said(ready).text
    chosen = sites.features.iloc[sorted(sites.selected_data)]
    event = found_of(sites).pathways.events.iloc[0]
    assert sorted(chosen["frame"]) == [event["frame"] - 1, event["frame"]]
    ready.events.show_some(found_of(sites).pathways.events.iloc[:0])
    qt_button = ready.events.all
    qt_button.click()
    assert ready.events.list.labels() == [0]


@no_window
def test_time_follows_the_slider_and_sets_it(qtbot, viewer, ready):
    drawing = ready.time.view.drawing
    assert list(drawing.marks) == list(range(N_FRAMES))
    viewer.dims.set_current_step(0, 9)
    assert ready.time.view._mark == 9
    ready.time.view.hit.emit(2)
    assert viewer.dims.current_step[0] == 2
    ready.time.against.setCurrentText("over the dose")  # which nobody knows
    _idle(qtbot, ready)
    assert "know no dose" in _said(ready).text
    ready.time.against.setCurrentText("over the frames")
    _idle(qtbot, ready)


@no_window
def test_rates_per_second_that_nobody_knows(ready):
    ready.network.per.setCurrentText("per second")
    assert "choose per frame" in ready.network.view._text
    assert ready.network.view.drawing is None
    ready.network.per.setCurrentText("per frame")


# ---------------------------------------------------------------------- landscape
def test_the_landscape_with_a_way_and_its_film(qtbot, viewer, ready, sites):
    ready.pages.setCurrentWidget(ready.landscape)
    assert ready.measure_landscape() is not None
    _idle(qtbot, ready)
    assert "Landscape of" in _said(ready).text
    for box, unit in ((ready.landscape.start, 0), (ready.landscape.end, 1)):
        box.setCurrentIndex(box.findData(unit))
    _idle(qtbot, ready)
    assert ready.landscape.path() is not None
    assert ready.landscape.film.drawing is not None
    targets = ready.landscape.view.drawing.targets
    ready.landscape.view.hit.emit(5)
    (row,) = sites.selected_data
    assert sites.features["site_id"].iloc[row] == targets["site_id"].iloc[5]
    assert viewer.dims.current_step[0] == sites.features["frame"].iloc[row]


@no_window
def test_no_landscape_without_a_model(qtbot, widget, viewer, film, followed):
    add_layers(viewer, image_layer(film), points_layer(followed, film))
    widget.find_pathways()
    _idle(qtbot, widget)
    assert "no pictures" in _said(widget).text
    assert widget.measure_landscape() is None
    assert _said(widget).text == pathway_work.NO_MODEL


# ---------------------------------------------------------------------- layers and files
@no_window
def test_tracks_coloured_by_any_column(viewer, ready, sites):
    ready.track_kind.setCurrentText("places")
    ready.track_column.setCurrentText("z0")
    ready.draw_tracks()
    (tracks,) = [layer for layer in viewer.layers if isinstance(layer, Tracks)]
    assert tracks.color_by == "z0"
    ready.track_column.setCurrentText("state")
    ready.draw_tracks()
    (tracks,) = [layer for layer in viewer.layers if isinstance(layer, Tracks)]
    assert tracks.color_by == "state"
    ready.track_kind.setCurrentText("atoms")
    ready.draw_tracks()
    assert _said(ready).level in ("done", "error")
    assert "Unexpected" not in _said(ready).text


@no_window
def test_export_asks_and_writes(qtbot, ready, tmp_path, monkeypatch):
    target = tmp_path / "figures"
    target.mkdir()
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(target))
    ready.export.click()
    _idle(qtbot, ready)
    names = {path.name for path in target.iterdir()}
    assert names >= {"network_place.png", "order_parameters.png", "pathways_events.csv"}
    assert f"to {target}" in _said(ready).text
    ready.export_pathways(target)
    _idle(qtbot, ready)
    assert "is there already" in _said(ready).text


@no_window
def test_a_run_keeps_pathways_and_brings_them_back(qtbot, ready, sites, image, tmp_path, film):
    start_save(ready.workspace, sites, image, tmp_path / "run")
    qtbot.waitUntil(lambda: ready.workspace.job("latents") is None, timeout=LONG)
    run = load_run(tmp_path / "run")
    pd.testing.assert_frame_equal(run.pathways.events, found_of(sites).pathways.events)
    assert "PathwayConfig" in run.configs
    viewer = ViewerModel()
    other = PathwaysWidget(viewer)
    qtbot.addWidget(other)
    add_layers(viewer, *run_layers(run, film))
    other.on_library()
    _idle(qtbot, other)
    assert other.events.list.labels() == [0]


@no_window
def test_two_viewers_side_by_side(qtbot, ready):
    other = PathwaysWidget(ViewerModel())
    qtbot.addWidget(other)
    assert _said(other).text == NO_SITES
    assert ready.events.list.labels() == [0]


def test_closing_the_viewer_leaves_nothing(qtbot, viewer, widget, sites):
    widget.find_pathways()
    viewer.close()
    qtbot.waitUntil(lambda: not isalive(widget), timeout=LONG)
