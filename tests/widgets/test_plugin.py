"""What napari sees of the package: menus, widgets, samples, preferences, and runs as files."""

import json
import os
import struct
import subprocess
import sys
import textwrap
import threading

import pytest

pytest.importorskip("napari")

import napari
import numpy as np
from napari._app_model import get_app_model
from napari.errors.reader_errors import ReaderPluginError
from napari.settings import get_plugin_settings
from napari.utils.notifications import notification_manager
from npe2 import PluginManager
from qtpy.QtWidgets import QFileDialog

from napari_rvae import CropConfig, frames_from_layers, save_run
from napari_rvae._napari import reader, start
from napari_rvae._napari.commands import open_run, open_workspace
from napari_rvae._napari.reader import get_frames_reader, get_run_reader
from napari_rvae._napari.settings import PLUGIN, Preferences, read_preferences
from napari_rvae._napari.start import check_screen, open_viewer
from napari_rvae._napari.workspace import Workspace
from napari_rvae.cli import main
from napari_rvae.layers import METADATA_KEY, run_layers
from napari_rvae.runs import load_run

WIDGETS = ("Detect", "Train", "Latents", "Units", "Pathways")

#: What there is to look at below the canvas, by the name of its class.
LOOKS = {
    "Latent plot": "PlotWidget",
    "Site inspector": "InspectWidget",
    "Time strip": "TimeWidget",
}


@pytest.fixture
def viewer(plugin, make_napari_viewer):
    return make_napari_viewer()


@pytest.fixture(scope="module")
def saved(movie, encoded, model, tmp_path_factory):
    """Folder of a run with a model; do not change it."""
    folder = tmp_path_factory.mktemp("runs") / "graphene run"
    return save_run(
        folder, frames=movie, sites=encoded, model=model, configs=[CropConfig(window_nd=4.0)]
    )


@pytest.fixture
def told():
    """Texts of napari's notifications during the test."""
    before = len(notification_manager.records)

    class Told:
        def __iter__(self):
            return iter(r.message for r in notification_manager.records[before:])

    return Told()


def _python(*arguments, **environment):
    """Run Python in a process of its own; a variable that is None is not set in it."""
    values = {key: value for key, value in (os.environ | environment).items() if value is not None}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=values,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


# ---------------------------------------------------------------- manifest


def test_everything_the_manifest_names_can_be_imported():
    done = _python("-m", "npe2", "validate", "--imports", PLUGIN)
    assert done.returncode == 0, done.stdout + done.stderr


def test_menus_lead_to_every_widget_and_command(viewer):
    def titles(menu):
        groups = get_app_model().menus.iter_menu_groups(menu)
        found = [getattr(item, "title", "") or item.command.title for g in groups for item in g]
        return [title for title in found if PLUGIN in title or menu.endswith(PLUGIN)]

    detect, train, latents, units, pathways = (f"{name} ({PLUGIN})" for name in WIDGETS)
    assert titles(f"napari/plugins/{PLUGIN}") == [
        *(detect, train, latents, units, pathways),
        *(f"{name} ({PLUGIN})" for name in LOOKS),
    ]
    assert titles("napari/layers/segment") == [detect]
    assert titles("napari/layers/classify") == [train, units]
    assert titles("napari/layers/track") == [pathways]
    assert set(titles("napari/layers/visualize")) == {
        latents,
        *(f"{name} ({PLUGIN})" for name in LOOKS),
        f"Open rVAE workspace ({PLUGIN})",
    }
    assert titles("napari/file/io_utilities") == [f"Open rVAE run... ({PLUGIN})"]
    assert titles(f"napari/file/samples/{PLUGIN}") == [
        "Graphene movie with silicon",
        "Perovskite frame",
        "PFM movie of domain walls",
    ]


# ---------------------------------------------------------------- widgets


@pytest.mark.parametrize("name", [*WIDGETS, *LOOKS])
def test_each_widget_opens(viewer, name):
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, name)
    assert type(widget).__name__ == LOOKS.get(name, f"{name}Widget")


def test_the_workspace_is_three_tabs_however_it_was_opened(viewer):
    names = sorted(f"{name} ({PLUGIN})" for name in (*WIDGETS, *LOOKS))
    viewer.window.add_plugin_dock_widget(PLUGIN, "Train")
    get_app_model().commands.execute_command(f"{PLUGIN}.open_workspace")
    assert sorted(viewer.window.dock_widgets) == names
    open_workspace(viewer)
    get_app_model().commands.execute_command(f"{PLUGIN}.latents")  # the menu's: shows or hides
    assert sorted(viewer.window.dock_widgets) == names


# ---------------------------------------------------------------- samples


@pytest.mark.parametrize(
    ("key", "name", "shape", "pixel"),
    [
        ("graphene", "graphene", (8, 384, 384), 0.01),
        ("perovskite", "perovskite", (1, 512, 512), 0.02),
    ],
)
def test_samples_have_scale_units_and_contrast(viewer, key, name, shape, pixel):
    (layer,) = viewer.open_sample(PLUGIN, key)
    assert layer.name == name
    assert layer.data.shape == shape
    assert layer.axis_labels == ("t", "y", "x")
    assert [str(unit) for unit in layer.units] == ["second", "nanometer", "nanometer"]
    assert layer.scale[1:] == pytest.approx([pixel, pixel], rel=0.05)
    low, high = layer.contrast_limits
    assert layer.data.min() < low < high < layer.data.max()


def test_the_sample_of_walls_is_a_layer_a_channel(viewer):
    layers = viewer.open_sample(PLUGIN, "walls")
    assert [layer.name for layer in layers] == ["amplitude", "phase", "topography"]
    assert [layer.visible for layer in layers] == [True, False, False]
    frames = frames_from_layers(layers)
    assert frames.channels == ("amplitude", "phase", "topography")
    assert frames.name == "walls"
    assert frames.table["bias"].notna().all()


# ---------------------------------------------------------------- preferences


def test_preferences_reach_the_widgets(plugin):
    assert read_preferences() == Preferences()
    settings = get_plugin_settings(PLUGIN)
    settings.defaults.device = "cpu"
    settings.defaults.threads = 3
    settings.defaults.window = 5.5
    assert read_preferences() == Preferences(device="cpu", threads=3, window=5.5)


@pytest.mark.parametrize(("name", "value"), [("device", "tpu"), ("threads", -1), ("window", 0.5)])
def test_preferences_out_of_range_are_refused(plugin, name, value):
    with pytest.raises(ValueError, match=name):
        setattr(get_plugin_settings(PLUGIN).defaults, name, value)


def test_the_preferences_dialog_shows_them(viewer):
    dialog = viewer.window._open_preferences_dialog()
    assert dialog._list.item(dialog._list.count() - 1).text() == PLUGIN
    dialog.close()


# ---------------------------------------------------------------- runs as files


@pytest.mark.parametrize(
    ("path", "claimed"),
    [
        ("run.json", True),
        ("folder/run.json", True),
        ("C:\\folder\\run.json", True),
        ("folder/dry-run.json", False),
        ("folder/my.run.json", False),
        ("run.json.gz", False),
        ("C:\\folder\\dry-run.json", False),
        ("metrics.json", False),
        ("folder/", False),
    ],
)
def test_nothing_but_run_json_is_claimed(plugin, path, claimed):
    readers = [r.plugin_name for r in PluginManager.instance().iter_compatible_readers(path)]
    assert (PLUGIN in readers) is claimed


def test_folders_are_not_claimed(plugin, saved):
    readers = PluginManager.instance().iter_compatible_readers(str(saved))
    assert PLUGIN not in [r.plugin_name for r in readers]


@pytest.mark.parametrize("name", [PLUGIN, None])
def test_a_run_is_opened_by_its_run_json(viewer, saved, encoded, name):
    layers = viewer.open(saved / "run.json", plugin=name)
    (points,) = (layer for layer in layers if layer.metadata[METADATA_KEY]["kind"] == "sites")
    assert len(points.data) == len(encoded)
    assert list(points.features["site_id"]) == list(encoded["site_id"])
    assert [str(unit) for unit in points.units] == ["second", "nanometer", "nanometer"]


def test_a_dropped_run_is_opened(viewer, saved):
    viewer.window._qt_viewer._qt_open([str(saved / "run.json")], stack=False)
    assert len(viewer.layers)


def test_a_damaged_run_is_one_line(viewer, saved, tmp_path, told):
    file = tmp_path / "run.json"
    file.write_bytes((saved / "run.json").read_bytes())  # without the files that it names
    assert viewer.open(file, plugin=None) == []
    (line,) = told
    assert "lacks" in line
    assert "\n" not in line


def test_a_broken_off_run_json_is_one_line(viewer, saved, tmp_path, told):
    file = tmp_path / "run.json"
    file.write_bytes((saved / "run.json").read_bytes()[:300])
    assert viewer.open(file, plugin=PLUGIN) == []
    (line,) = told
    assert "no valid JSON" in line
    assert "\n" not in line


def test_even_an_unexpected_error_is_one_line(viewer, saved, monkeypatch, told):
    def fail(_run):
        raise KeyError("lost")

    monkeypatch.setattr(reader, "run_layers", fail)
    assert viewer.open(saved / "run.json", plugin=None) == []
    (line,) = told
    assert line.startswith("Unexpected KeyError: 'lost'")


def test_run_json_of_another_program_is_left_to_others(viewer, tmp_path, told):
    file = tmp_path / "run.json"
    file.write_text(json.dumps({"program": "another"}))
    assert get_run_reader(str(file)) is None
    with pytest.raises(ReaderPluginError, match="refused"):
        viewer.open(file, plugin=None)
    assert list(told) == []


@pytest.mark.parametrize("path", ["nowhere/run.json", ["run.json", "run.json"], "other.json"])
def test_what_cannot_be_a_run_is_left_to_others(path):
    assert get_run_reader(path) is None


def test_reading_a_run_does_not_wait_for_torch(saved):
    script = """
    import sys
    from napari_rvae._napari.reader import NO_LAYERS, get_run_reader
    assert get_run_reader(sys.argv[1])(sys.argv[1]) is not NO_LAYERS
    assert "torch" not in sys.modules
    """
    done = _python("-c", textwrap.dedent(script), saved / "run.json")
    assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------- the menu's "Open rVAE run"


def _choose(monkeypatch, path):
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_, **__: (str(path), ""))


def test_an_opened_run_brings_its_model(viewer, saved, monkeypatch, qtbot):
    _choose(monkeypatch, saved / "run.json")
    workspace = Workspace.of(viewer)
    with qtbot.waitSignal(workspace.model_changed, timeout=30_000):
        get_app_model().commands.execute_command(f"{PLUGIN}.open_run")
    assert len(viewer.layers)
    assert workspace.model.rvae.is_fitted
    assert workspace.model.crops == CropConfig(window_nd=4.0)
    assert "graphene run" in workspace.status("train").text


def test_no_choice_opens_nothing(viewer, monkeypatch):
    _choose(monkeypatch, "")
    open_run(viewer)
    assert len(viewer.layers) == 0


def test_a_run_is_read_in_a_thread(viewer, saved, monkeypatch, qtbot):
    _choose(monkeypatch, saved / "run.json")
    threads = []
    monkeypatch.setattr(
        "napari_rvae.runs.load_run",
        lambda path: threads.append(threading.current_thread()) or load_run(path),
    )
    open_run(viewer)
    qtbot.waitUntil(lambda: len(viewer.layers) > 0, timeout=30_000)
    assert threads[0] is not threading.main_thread()
    qtbot.waitUntil(lambda: not Workspace.of(viewer).jobs, timeout=30_000)


def test_a_wrong_choice_is_one_line(viewer, monkeypatch, tmp_path, told, qtbot):
    file = tmp_path / "run.json"
    file.write_text(json.dumps({"program": "another"}))
    _choose(monkeypatch, file)
    open_run(viewer)
    qtbot.waitUntil(lambda: len(list(told)) == 1)
    (line,) = told
    assert "another program" in line
    assert len(viewer.layers) == 0


# ---------------------------------------------------------------- from the command line


def test_a_viewer_with_everything_laid_out(
    plugin, make_napari_viewer, monkeypatch, saved, movie, model
):
    monkeypatch.setattr(start.napari, "Viewer", make_napari_viewer)
    run = load_run(saved)
    viewer = open_viewer(run_layers(run, movie), run, model=model)
    kinds = [layer.metadata[METADATA_KEY]["kind"] for layer in viewer.layers]
    assert kinds[:2] == ["image", "sites"]
    assert set(viewer.window.dock_widgets) == {f"{name} ({PLUGIN})" for name in (*WIDGETS, *LOOKS)}
    assert Workspace.of(viewer).model.rvae is model


def test_view_opens_napari_and_returns_when_it_is_closed(
    plugin, make_napari_viewer, monkeypatch, saved, movie, tmp_path, capsys
):
    np.save(tmp_path / "movie.npy", movie.data)
    monkeypatch.setattr(start.napari, "Viewer", make_napari_viewer)
    seen = []
    monkeypatch.setattr(napari, "run", lambda: seen.append(napari.current_viewer()))
    assert main(["view", str(saved), str(tmp_path / "movie.npy")]) == 0
    out, err = capsys.readouterr()
    assert not err
    assert "close its window" in out
    assert seen[0].layers[0].data.shape == movie.shape


def test_the_command_ends_when_its_window_is_closed(saved):
    """The whole of it, in a process of its own: command, window, event loop, clean end."""
    script = """
    import sys
    from napari_rvae._napari import reader, start
    from qtpy.QtCore import QTimer

    def open_and_close(*given, **options):
        viewer = opened(*given, **options)
        QTimer.singleShot(500, viewer.close)
        return viewer

    opened, start.open_viewer = start.open_viewer, open_and_close
    from napari_rvae.cli import main
    sys.exit(main(["view", sys.argv[1]]))
    """
    done = _python("-c", textwrap.dedent(script), saved, NAPARI_CONFIG="")
    said = [line for line in done.stderr.splitlines() if "determine DPI" not in line]  # of vispy
    assert (done.returncode, said) == (0, [])
    assert done.stdout == "napari is open; close its window to end\n"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="others always have a screen")
@pytest.mark.parametrize(
    ("display", "said"), [(None, "DISPLAY is not set"), (":987", "could not connect")]
)
def test_without_a_screen_the_command_ends_with_one_line(saved, display, said):
    screens = {"DISPLAY": display, "WAYLAND_DISPLAY": None, "QT_QPA_PLATFORM": None}
    done = _python("-m", "napari_rvae.cli", "view", saved, **screens)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert said in done.stderr


def test_elsewhere_there_always_is_a_screen(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.delenv("DISPLAY", raising=False)
    check_screen()


# ---------------------------------------------------------------- scans as files


def test_a_scan_opens_as_a_layer_a_channel(viewer, tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        for number, quantity in enumerate(("Amplitude", "Phase")):
            made = file.create_dataset(f"channel_{number}", data=np.full((16, 24), number, "f4"))
            made.attrs["quantity"] = quantity
            for axis, label in enumerate("yx"):
                made.dims[axis].label = label
    layers = viewer.open(tmp_path / "scan.h5", plugin=PLUGIN)
    assert [layer.name for layer in layers] == ["Amplitude", "Phase"]
    assert [layer.visible for layer in layers] == [True, False]


def test_a_scan_that_is_damaged_is_told_in_one_line(viewer, tmp_path, told):
    (tmp_path / "scan.h5").write_bytes(b"nothing of the kind")
    assert viewer.open(tmp_path / "scan.h5", plugin=PLUGIN) == []
    (line,) = told
    assert "scan.h5 is no HDF5 file" in line


def test_a_movie_of_an_electron_microscope_opens(viewer, tmp_path):
    pytest.importorskip("rsciio")
    columns, rows, frames = 20, 16, 3
    head = bytearray(1024)
    struct.pack_into("<4i", head, 0, columns, rows, frames, 6)
    struct.pack_into("<3i3f", head, 28, columns, rows, frames, 0.2 * columns, 0.2 * rows, 1.0)
    values = np.arange(columns * rows * frames, dtype="<u2")
    (tmp_path / "movie.mrc").write_bytes(bytes(head) + values.tobytes())
    (layer,) = viewer.open(tmp_path / "movie.mrc", plugin=PLUGIN)
    assert layer.data.shape == (frames, rows, columns)
    np.testing.assert_allclose(layer.scale[-2:], 0.02)
    assert str(layer.units[-1]) == "nanometer"


def test_only_scans_are_taken(tmp_path):
    assert get_frames_reader(str(tmp_path / "movie.tif")) is None
    assert get_frames_reader([str(tmp_path / "a.h5")]) is None
