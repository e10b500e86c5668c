"""The whole way with the mouse: detect, train, stop, train, colour, save, open again."""

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("napari")

from qtpy.QtCore import Qt

from napari_rvae import add_layers, image_layer
from napari_rvae._napari.commands import open_workspace
from napari_rvae._napari.layer_kinds import is_sites

LONG = 120_000


@pytest.fixture
def viewer(plugin, make_napari_viewer, movie):
    viewer = make_napari_viewer(show=True)
    add_layers(viewer, image_layer(movie))
    open_workspace(viewer)
    return viewer


def _widgets(viewer):
    found = {type(w).__name__: w for w in viewer.window.dock_widgets.values()}
    return [found[name] for name in ("DetectWidget", "TrainWidget", "LatentsWidget")]


def _click(qtbot, button):
    assert button.isEnabled()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def _idle(qtbot, widget):
    qtbot.waitUntil(lambda: widget.workspace.job(widget.step) is None, timeout=LONG)


@pytest.mark.slow
def test_from_a_movie_to_coloured_atoms_and_back(qtbot, viewer, movie, tmp_path):
    detect, train, latents = _widgets(viewer)

    _click(qtbot, detect.detect)
    _idle(qtbot, detect)
    (sites,) = (layer for layer in viewer.layers if is_sites(layer))
    assert f"{len(sites.data):,} atoms in 2 frames" in detect.status.plain_text
    assert tuple(sites.scale) == tuple(viewer.layers[0].scale)

    train.show_options(epochs=2000, n_latents=2)
    _click(qtbot, train.train_button)
    qtbot.waitUntil(lambda: len(train.plot.losses) > 1, timeout=LONG)
    _click(qtbot, train.job_panel.stop)
    _idle(qtbot, train)
    assert "stopped after" in train.status.plain_text
    assert sites.features["z0"].notna().any()
    assert train.resume_button.isVisibleTo(train)

    train.show_options(epochs=3)
    _click(qtbot, train.train_button)
    _idle(qtbot, train)
    assert "3 epochs" in train.status.plain_text

    seen = set()
    for number in range(latents.colours.column.count()):
        latents.colours.column.setCurrentIndex(number)
        name = latents.colours.column.column()
        seen.add(name)
        qtbot.waitUntil(lambda: not latents._soon.isActive())
        assert latents.status.plain_text
        colours = np.unique(np.asarray(sites.face_color), axis=0)
        assert np.isfinite(colours).all()
        if name in ("z0", "z1", "lattice_angle", "amplitude"):
            assert len(colours) > 10
    assert {None, "z0", "z1", "angle", "lattice_angle", "amplitude", "kind"} <= seen

    with qtbot.waitSignal(latents.save_run(tmp_path / "run").finished, timeout=LONG):
        pass
    before = pd.DataFrame(sites.features)
    viewer.layers.clear()
    viewer.open(str(tmp_path / "run" / "run.json"), plugin="napari-rvae")
    again = next(layer for layer in viewer.layers if is_sites(layer))
    columns = [name for name in before if "(deg)" not in name]
    pd.testing.assert_frame_equal(
        pd.DataFrame(again.features)[columns], before[columns], check_dtype=False
    )
    _click(qtbot, train.run_button)
    _idle(qtbot, train)
    assert train.workspace.model.rvae.config.n_latents == 2
