"""The Train widget in a real viewer: train, stop, go on, apply, save, load; and what goes wrong."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest

pytest.importorskip("napari")

from napari_rvae import (
    RVAE,
    CropConfig,
    RVAEConfig,
    add_layers,
    color_points,
    detect_atoms,
    extract_crops,
    image_layer,
    load_run,
    points_layer,
    run_layers,
    save_run,
    simulate_graphene,
)
from napari_rvae._napari.train_widget import TrainWidget
from napari_rvae._napari.workspace import Model, Workspace
from napari_rvae.errors import Cancelled
from napari_rvae.vae.checks import Check, ModelChecks

#: A training that is not over before a test has stopped it.
ENDLESS = 10_000

CHECKS = ModelChecks(
    (
        Check("angle", 0.5, None, "degrees", "good", "Fine."),
        Check("pose_leak", 0.5, None, "", "bad", "It leaks.", "Train longer."),
    ),
    9,
)


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer()


@pytest.fixture
def open_widget(qtbot):
    """Open the widget on a viewer; nothing of it is left behind."""
    opened = []

    def make(viewer, **options):
        widget = TrainWidget(viewer)
        opened.append((viewer, widget))
        qtbot.addWidget(widget)
        widget.show_options(**{"epochs": 2, "n_latents": 2, **options})
        widget.device.setCurrentText("cpu")
        return widget

    yield make
    for viewer, _ in opened:
        Workspace.of(viewer).close()
        qtbot.waitUntil(lambda v=viewer: Workspace.of(v).job("train") is None, timeout=20_000)


@pytest.fixture
def put(movie, found):
    """Put the movie and its atoms into a viewer; returns their layers."""

    def add(viewer):
        image, points = add_layers(
            viewer, image_layer(movie), points_layer(found, movie, name="atoms")
        )
        return image, points

    return add


def finish(qtbot, widget):
    """Wait for the end of the work; the line that is shown then."""
    qtbot.waitUntil(lambda: widget.workspace.job("train") is None, timeout=60_000)
    return widget.status.plain_text


def started(qtbot, widget, epochs=2):
    """Wait until some epochs are done."""
    qtbot.waitUntil(lambda: len(widget.plot.losses) >= epochs, timeout=60_000)


# ---------------------------------------------------------------------- the way of it
def test_training_puts_latents_on_the_sites(viewer, open_widget, put, qtbot, found):
    _, points = put(viewer)
    widget = open_widget(viewer)
    assert widget.status.plain_text == f"{len(found)} sites to train on."
    widget.train_button.click()
    assert not widget.train_button.isEnabled()
    text = finish(qtbot, widget)
    encoded = int(points.features["z0"].notna().sum())
    assert text.startswith(f"2 latents of {encoded} sites, 2 epochs in ")
    assert text.endswith(f"on cpu; {len(found) - encoded} border sites have no window")
    assert encoded >= 8
    assert len(points.features) == len(found)
    assert points.face_color_mode == "colormap"
    assert len(np.unique(points.face_color, axis=0)) > 5
    assert widget.workspace.model.rvae.is_fitted
    assert len(widget.plot.losses) == 2
    assert widget.picture.values.dtype == np.uint8
    assert widget.resume_button.isHidden()
    assert widget.train_button.isEnabled()


def test_what_is_trained_here_is_what_fit_trains(viewer, open_widget, put, qtbot, movie, found):
    _, points = put(viewer)
    widget = open_widget(viewer, epochs=5, window_nd=3.2, seed=3)
    widget.train()
    finish(qtbot, widget)
    crops = extract_crops(movie, found, CropConfig(window_nd=3.2))
    model = RVAE(epochs=5, n_latents=2, seed=3, device="cpu").fit(crops)
    assert widget.plot.losses == tuple(record.loss for record in model.history_)
    expected = model.transform(crops)["z0"].to_numpy()
    shown = points.features["z0"].dropna().to_numpy()
    np.testing.assert_allclose(shown, expected, rtol=1e-5, atol=1e-6)


def test_the_model_is_checked_after_its_training(viewer, open_widget, put, qtbot, monkeypatch):
    _, points = put(viewer)
    widget = open_widget(viewer)
    asked = []

    def check_model(rvae, crops, *, progress):
        # by now the result is there
        asked.append((rvae, len(crops), points.features["z0"].notna().any()))
        assert progress(0, 1)
        return CHECKS

    monkeypatch.setattr("napari_rvae.vae.checks.check_model", check_model)
    assert widget.checks.isHidden()
    widget.train()
    text = finish(qtbot, widget)
    assert "2 epochs in" in text
    ((rvae, count, shown),) = asked
    model = widget.workspace.model
    assert (rvae, shown) == (model.rvae, True)
    assert count == points.features["z0"].notna().sum()
    assert model.checks is CHECKS
    assert not widget.checks.isHidden()
    assert [line.plain_text for line in widget.checks.lines] == ["It leaks.", "Fine."]
    assert "Train longer" in widget.checks.lines[0].toolTip()
    again = open_widget(viewer)
    assert len(again.checks.lines) == 2
    widget.workspace.use_model(None)
    assert widget.checks.isHidden()


@pytest.mark.parametrize("error", [ValueError("odd"), Cancelled("Stopped.")])
def test_checks_that_fail_or_are_stopped_do_no_harm(
    viewer, open_widget, put, qtbot, monkeypatch, error
):
    def check_model(_rvae, _crops, *, progress):
        raise error

    monkeypatch.setattr("napari_rvae.vae.checks.check_model", check_model)
    put(viewer)
    widget = open_widget(viewer)
    widget.train()
    assert "2 epochs in" in finish(qtbot, widget)
    assert widget.workspace.status("train").level == "done"
    assert widget.workspace.model.checks is None
    assert widget.checks.isHidden()
    assert widget.train_button.isEnabled()


def test_the_held_out_loss_is_drawn_beside_the_other(viewer, open_widget, put, qtbot):
    put(viewer)
    widget = open_widget(viewer, epochs=3, held_out=0.2)
    widget.train()
    finish(qtbot, widget)
    history = widget.workspace.model.rvae.history_
    assert len(widget.plot.held_out) == len(widget.plot.losses) == 3
    assert np.array_equal(
        widget.plot.held_out, [record.held_out_loss for record in history], equal_nan=True
    )


def test_a_training_that_stops_by_itself_says_so(viewer, open_widget, put, qtbot, monkeypatch):
    monkeypatch.setattr("napari_rvae.vae.training.Trainer._stalled", property(_three_epochs))
    put(viewer)
    widget = open_widget(viewer, epochs=ENDLESS)
    widget.train()
    assert "3 of 10,000 epochs (then the held-out crops gained no more)" in finish(qtbot, widget)
    assert widget.resume_button.isHidden()


def _three_epochs(trainer):
    return len(trainer.history) >= 3


def test_stopping_keeps_the_model_and_resuming_goes_on(viewer, open_widget, put, qtbot):
    _, points = put(viewer)
    widget = open_widget(viewer, epochs=ENDLESS)
    widget.train_button.click()
    started(qtbot, widget)
    widget.job_panel.stop.click()
    text = finish(qtbot, widget)
    assert f"of {ENDLESS:,} epochs" in text
    done = len(widget.workspace.model.rvae.history_)
    assert points.features["z0"].notna().any()
    before = points.features["z0"].to_numpy(copy=True)

    assert not widget.resume_button.isHidden()
    widget.show_options(epochs=done)
    widget.resume_button.click()
    assert "ask for more" in finish(qtbot, widget)

    widget.show_options(epochs=done + 3)
    widget.resume_button.click()
    assert f"{done + 3} epochs in" in finish(qtbot, widget)
    assert len(widget.plot.losses) == done + 3
    assert not np.array_equal(points.features["z0"], before, equal_nan=True)
    assert widget.resume_button.isHidden()
    widget.resume()
    assert "no stopped training" in widget.status.plain_text


def test_stopping_at_once_changes_nothing(viewer, open_widget, put, qtbot, found):
    _, points = put(viewer)
    widget = open_widget(viewer, epochs=ENDLESS)
    widget.train_button.click()
    widget.job_panel.stop.click()
    assert finish(qtbot, widget) == "Training: cancelled, nothing was changed."
    assert list(points.features) == list(found)
    assert widget.workspace.model is None
    assert widget.train_button.isEnabled()


def test_a_pause_holds_the_training(viewer, open_widget, put, qtbot):
    put(viewer)
    widget = open_widget(viewer, epochs=ENDLESS)
    widget.train_button.click()
    started(qtbot, widget)
    widget.job_panel.pause.click()
    qtbot.wait(700)
    held = len(widget.plot.losses)
    qtbot.wait(500)
    assert len(widget.plot.losses) == held
    widget.job_panel.pause.click()
    started(qtbot, widget, held + 1)
    widget.job_panel.stop.click()
    assert "stopped after" in finish(qtbot, widget)


def test_the_manifold_is_seen_while_it_is_learned(viewer, open_widget, put, qtbot):
    put(viewer)
    widget = open_widget(viewer, epochs=ENDLESS)
    widget.train_button.click()
    qtbot.waitUntil(lambda: widget.picture.values is not None, timeout=60_000)
    assert widget.workspace.job("train") is not None
    assert "Training on cpu" in widget.status.plain_text
    assert "epoch" in widget.job_panel.message.text()
    widget.job_panel.stop.click()
    finish(qtbot, widget)


# ---------------------------------------------------------------------- models
def test_a_saved_model_is_loaded_and_applied_to_another_movie(
    viewer, open_widget, put, qtbot, tmp_path
):
    put(viewer)
    widget = open_widget(viewer)
    widget.train()
    finish(qtbot, widget)
    losses = widget.plot.losses
    widget.save_model(tmp_path / "kept")
    assert "Saved the model" in widget.status.plain_text

    viewer.layers.clear()
    widget.workspace.use_model(None)
    assert widget.plot.isHidden()
    assert not widget.save_button.isEnabled()
    other = simulate_graphene(n_frames=1, size=128, seed=5).frames
    _, points = add_layers(viewer, image_layer(other), points_layer(detect_atoms(other), other))
    widget.load_model(tmp_path / "kept")
    assert "Loaded 'kept': 2 latents, 2 epochs" in finish(qtbot, widget)
    assert widget.plot.losses == losses
    assert widget.picture.values is not None

    widget.apply_button.click()
    assert "by the model 'kept'" in finish(qtbot, widget)
    assert points.features["z0"].notna().any()


@pytest.fixture
def run(movie, encoded, model, tmp_path):
    folder = save_run(
        tmp_path / "run",
        frames=movie,
        sites=encoded,
        model=model,
        configs=[CropConfig(window_nd=3)],
    )
    return load_run(folder)


def test_the_model_of_a_run_comes_with_its_crops(viewer, open_widget, qtbot, run):
    widget = open_widget(viewer)
    widget.load_model(run.folder / "run.json")
    assert "Loaded 'run'" in finish(qtbot, widget)
    assert widget.workspace.model.crops == CropConfig(window_nd=3)


def test_sites_of_a_run_offer_its_model(viewer, open_widget, qtbot, run, movie):
    widget = open_widget(viewer)
    assert widget.run_button.isHidden()
    add_layers(viewer, *run_layers(run, movie))
    assert not widget.run_button.isHidden()
    widget.run_button.click()
    finish(qtbot, widget)
    assert widget.workspace.model.name == "run"


def test_a_new_training_gives_the_earlier_model_back(viewer, open_widget, put, qtbot, monkeypatch):
    released = []
    monkeypatch.setattr(RVAE, "release", lambda model: released.append(model))  # noqa: PLW0108
    put(viewer)
    widget = open_widget(viewer)
    widget.train()
    finish(qtbot, widget)
    first = widget.workspace.model.rvae
    assert released == [first]
    widget.train()
    finish(qtbot, widget)
    second = widget.workspace.model.rvae
    assert released == [first, second, first]


# ---------------------------------------------------------------------- layers change meanwhile
def test_sites_edited_meanwhile_get_what_is_theirs(viewer, open_widget, put, qtbot):
    _, points = put(viewer)
    widget = open_widget(viewer, epochs=ENDLESS)
    widget.train_button.click()
    started(qtbot, widget)
    ids = points.features["site_id"].to_numpy()
    inner = np.argsort(((points.data[:, 1:] - 96) ** 2).sum(1))[:3]
    gone, moved, kept = inner
    data = points.data.copy()
    data[moved] += (0, 4.0, 0)
    points.data = data
    points.selected_data = {int(gone)}
    points.remove_selected()
    points.add([[0, 50.0, 50.0]])
    widget.job_panel.stop.click()
    finish(qtbot, widget)
    table = points.features.set_index("site_id")
    assert len(points.data) == len(table) == len(ids)
    assert np.isnan(table.loc[ids[moved], "z0"])
    assert np.isfinite(table.loc[ids[kept], "z0"])
    assert np.isnan(points.features["z0"].iloc[-1])


def test_points_set_by_hand_are_sites_as_well(viewer, open_widget, put, qtbot, found):
    _, points = put(viewer)
    place = {"scale": points.scale, "units": points.units}
    mine = viewer.add_points(points.data.copy(), name="mine", **place)
    viewer.layers.remove(points)
    widget = open_widget(viewer, epochs=ENDLESS)
    assert widget.sites.layer() is mine
    widget.train_button.click()
    started(qtbot, widget)
    mine.selected_data = {0}
    mine.remove_selected()
    widget.job_panel.stop.click()
    finish(qtbot, widget)
    assert len(mine.features) == len(found) - 1
    assert mine.features["site_id"].tolist() == list(range(1, len(found)))
    assert mine.features["z0"].notna().any()


def test_a_layer_that_is_gone_comes_back_with_its_latents(viewer, open_widget, put, qtbot, found):
    _, points = put(viewer)
    widget = open_widget(viewer, epochs=ENDLESS)
    widget.train_button.click()
    started(qtbot, widget)
    viewer.layers.clear()
    widget.job_panel.stop.click()
    said = finish(qtbot, widget)
    assert "stopped after" in said
    assert "are back with their latents" in said
    (layer,) = viewer.layers
    assert layer is not points
    assert len(layer.data) == len(found)
    assert layer.features["z0"].notna().any()


@pytest.mark.parametrize("column", ["z0", "lattice_angle", "kind"])
def test_sites_in_any_colours_can_be_trained_on_again(
    viewer, open_widget, qtbot, movie, encoded, column
):
    _, points = add_layers(viewer, image_layer(movie), points_layer(encoded, movie, name="atoms"))
    color_points(points, column)
    widget = open_widget(viewer)
    widget.train()
    assert "2 latents of" in finish(qtbot, widget)
    assert not points.features.columns.duplicated().any()
    assert {"z0", "lattice_angle"} <= set(points.features)


def test_the_image_that_the_sites_are_from_is_chosen(viewer, open_widget, put, movie):
    image, points = put(viewer)
    other = viewer.add_image(np.zeros((2, 192, 192)), name="other")
    widget = open_widget(viewer)
    assert widget.image.layer() is image
    third = viewer.add_image(np.zeros((2, 192, 192)), name="third")
    assert widget.image.layer() is image
    widget.image.setCurrentIndex(widget.image.findText("other"))
    widget.image.activated.emit(widget.image.currentIndex())
    assert widget.image.layer() is other
    assert "They are from 'graphene': see that 'other'" in widget.status.plain_text
    viewer.layers.remove(third)
    assert widget.image.layer() is other
    add_layers(viewer, points_layer(points.features, movie, name="more"))
    assert widget.sites.layer().name == "more"
    assert widget.image.layer() is image


# ---------------------------------------------------------------------- what can go wrong
def test_what_is_missing_is_said(viewer, open_widget, put):
    widget = open_widget(viewer)
    assert "Open an image" in widget.status.plain_text
    viewer.add_image(np.zeros((64, 64)))
    assert "Detect sites first" in widget.status.plain_text
    for button in (widget.train_button, widget.apply_button, widget.save_button):
        assert not button.isEnabled()
    put(viewer)
    assert "sites to train on" in widget.status.plain_text
    assert widget.train_button.isEnabled()
    assert not widget.apply_button.isEnabled()


@pytest.mark.parametrize(
    ("action", "says"),
    [
        ("train", "There is no image"),
        ("apply", "Train or load a model first"),
        ("resume", "Train or load a model first"),
        ("use_run", "not from a run"),
    ],
)
def test_asking_for_what_is_missing_is_one_line(viewer, open_widget, action, says):
    widget = open_widget(viewer)
    getattr(widget, action)()
    assert says in widget.status.plain_text
    assert widget.workspace.status("train").level == "error"


def _no_points(viewer, widget):
    viewer.layers["atoms"].data = np.zeros((0, 3))


def _few_points(viewer, widget):
    points = viewer.layers["atoms"]
    inner = np.argsort(((points.data[:, 1:] - 96) ** 2).sum(1))[:7]
    points.selected_data = set(range(len(points.data))) - set(inner.tolist())
    points.remove_selected()


def _border_points(viewer, widget):
    points = viewer.layers["atoms"]
    points.selected_data = set(np.flatnonzero(points.data[:, 1] > 20).tolist())
    points.remove_selected()


def _other_image(viewer, widget):
    image = viewer.layers["graphene"]
    viewer.layers.remove(image)
    place = {"scale": image.scale, "units": image.units}
    viewer.add_image(np.zeros((2, 64, 64)), name="small", **place)


def _colour_image(viewer, widget):
    viewer.layers.remove("graphene")
    viewer.add_image(np.zeros((192, 192, 3)), rgb=True)


@pytest.mark.parametrize(
    ("prepare", "says"),
    [
        (_no_points, "holds no points"),
        (_few_points, "7 usable crops"),
        (_border_points, "sites has a whole window of"),
        (_other_image, "lie outside the image 'small'"),
        (_colour_image, "in colours (RGB)"),
        (lambda _, w: w.show_options(window=500.0), "larger than the frame"),
        (lambda _, w: w.device.setCurrentText("cuda"), "no usable CUDA device"),
    ],
)
def test_errors_are_one_line_and_the_next_training_works(
    viewer, open_widget, put, qtbot, monkeypatch, prepare, says
):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    put(viewer)
    widget = open_widget(viewer)
    prepare(viewer, widget)
    widget.train()
    text = finish(qtbot, widget)
    assert says in text
    assert "\n" not in text
    assert widget.workspace.status("train").level == "error"
    assert widget.workspace.model is None
    viewer.layers.clear()
    put(viewer)
    widget.show_options(window=None)
    widget.device.setCurrentText("cpu")
    widget.train()
    assert "2 epochs in" in finish(qtbot, widget)


def test_a_model_of_another_grid_is_told(viewer, open_widget, put, qtbot):
    put(viewer)
    widget = open_widget(viewer)
    widget.train()
    finish(qtbot, widget)
    model = widget.workspace.model
    widget.workspace.use_model(type(model)(model.rvae, CropConfig(pixels=16), "other"))
    widget.apply()
    assert "cut them alike" in finish(qtbot, widget)


def test_a_folder_without_a_model_is_told(viewer, open_widget, qtbot, tmp_path):
    widget = open_widget(viewer)
    widget.load_model(tmp_path)
    assert "no model folder" in finish(qtbot, widget)
    widget.load_model(tmp_path / "moved")
    assert "is not there" in finish(qtbot, widget)


def test_a_second_action_during_work_is_refused(viewer, open_widget, put, qtbot):
    put(viewer)
    widget = open_widget(viewer, epochs=ENDLESS)
    widget.train()
    widget.train()
    assert "under way" in widget.status.plain_text
    started(qtbot, widget)
    widget.job_panel.stop.click()
    finish(qtbot, widget)


def test_no_such_option(viewer, open_widget):
    widget = open_widget(viewer)
    with pytest.raises(ValueError, match="no option 'speed'"):
        widget.show_options(speed=2)
    widget.show_options(beta=2.0)
    assert widget.model_config() == RVAEConfig(epochs=2, n_latents=2, beta=2.0)


def test_the_published_settings_fill_the_forms(viewer, open_widget):
    widget = open_widget(viewer)
    assert widget.preset.currentText() == "your own"
    _choose_preset(widget, "published")
    assert widget.model_config() == RVAEConfig.published()
    assert widget.preset.currentText() == "published"
    widget.show_options(epochs=20)
    assert widget.preset.currentText() == "your own"
    _choose_preset(widget, "your own")
    assert widget.model_config() == RVAEConfig.published(epochs=20)
    _choose_preset(widget, "default")
    assert widget.model_config() == RVAEConfig()


def _choose_preset(widget, name):
    widget.preset.setCurrentText(name)
    widget.preset.activated.emit(widget.preset.currentIndex())  # as the mouse does


def test_one_point_has_a_window_in_pixels_only(viewer, put, open_widget, model, qtbot):
    image, _ = put(viewer)
    widget = open_widget(viewer)
    widget.workspace.use_model(Model(model, model.crop_config, "mine"))
    one = viewer.add_points([[0.0, 96.0, 96.0]], scale=image.scale, units=image.units)
    widget.sites.choose(one)
    assert widget.status.plain_text.startswith("1 site to train on.")
    widget.apply_button.click()
    text = finish(qtbot, widget)
    assert text.startswith("1 site, fewer than three in every frame")
    assert "Advanced > Fixed window" in text
    widget.show_options(window=48.0)
    widget.apply_button.click()
    assert finish(qtbot, widget).startswith("2 latents of 1 site, by the model 'mine'")


# ---------------------------------------------------------------------- widgets and viewers go
def test_the_result_arrives_though_the_widget_was_closed(viewer, put, qtbot):
    _, points = put(viewer)
    widget = TrainWidget(viewer)
    dock = viewer.window.add_dock_widget(widget)
    widget.show_options(epochs=300, n_latents=2)
    widget.device.setCurrentText("cpu")
    workspace = widget.workspace
    widget.train()
    started(qtbot, widget)
    viewer.window.remove_dock_widget(dock)
    with qtbot.waitSignal(widget.destroyed):
        widget.deleteLater()
    again = TrainWidget(viewer)
    qtbot.addWidget(again)
    assert not again.job_panel.isHidden()
    assert len(again.plot.losses) >= 2
    workspace.job("train").stop()
    finish(qtbot, again)
    assert points.features["z0"].notna().any()
    assert workspace.status("train").level == "done"
    assert not again.resume_button.isHidden()
    again.workspace.use_model(None)


def test_a_reopened_widget_shows_the_model(viewer, open_widget, put, qtbot):
    put(viewer)
    widget = open_widget(viewer)
    widget.train()
    finish(qtbot, widget)
    again = open_widget(viewer)
    assert again.plot.losses == widget.plot.losses
    assert again.picture.values is widget.picture.values
    assert again.status.plain_text == widget.status.plain_text


def test_two_viewers_train_side_by_side(make_napari_viewer, open_widget, put, qtbot):
    viewers = [make_napari_viewer(), make_napari_viewer()]
    layers = [put(viewer)[1] for viewer in viewers]
    widgets = [open_widget(viewer, seed=seed) for seed, viewer in enumerate(viewers)]
    widgets[0].train()
    assert widgets[1].workspace.job("train") is None
    widgets[1].train()
    for widget in widgets:
        assert "2 epochs in" in finish(qtbot, widget)
    first, second = (layer.features["z0"].dropna() for layer in layers)
    assert not np.allclose(first, second)
    assert widgets[0].workspace.model is not widgets[1].workspace.model


SCRIPT = """
import sys, time
import napari
from qtpy.QtTest import QTest
from napari_rvae import add_layers, detect_atoms, image_layer, points_layer, simulate_graphene
from napari_rvae._napari.train_widget import TrainWidget

viewer = napari.Viewer(show=False)
movie = simulate_graphene(n_frames=1, size=128, seed=2).frames
atoms = detect_atoms(movie)
add_layers(viewer, image_layer(movie), points_layer(atoms, movie))
widget = TrainWidget(viewer)
viewer.window.add_dock_widget(widget)
widget.show_options(epochs=10_000)
widget.device.setCurrentText("cpu")
widget.train_button.click()
moment = sys.argv[1]
if moment == "training":
    while len(widget.plot.losses) < 2:
        QTest.qWait(20)
elif moment == "paused":
    widget.job_panel.pause.click()
    QTest.qWait(200)
if moment != "left":
    viewer.close()
    QTest.qWait(300)
print("reached the end")
"""


@pytest.mark.parametrize("moment", ["at once", "training", "paused", "left"])
def test_a_viewer_closed_in_the_middle_leaves_nothing(moment, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script), moment],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "reached the end" in done.stdout
    for word in ("Traceback", "already deleted", "QThread", "Error"):
        assert word not in done.stderr


def test_opening_the_widget_loads_no_torch_and_takes_no_time(tmp_path):
    script = textwrap.dedent(
        """
        import sys, time
        import napari
        viewer = napari.Viewer(show=False)
        start = time.perf_counter()
        from napari_rvae._napari.train_widget import TrainWidget
        viewer.window.add_dock_widget(TrainWidget(viewer))
        print(time.perf_counter() - start, "torch" in sys.modules)
        viewer.close()
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True
    )
    seconds, torch = done.stdout.split()
    assert torch == "False"
    assert float(seconds) < 2.0  # 0.1 s; a machine that tests is a busy one
