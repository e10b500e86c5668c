"""Detect with the domain walls of a force microscope in place of atoms."""

import numpy as np
import pytest

pytest.importorskip("napari")

from napari.components import ViewerModel

from napari_rvae import add_layers, image_layer, simulate_walls, sites_from_layer
from napari_rvae._napari.detect_widget import ATOMS, WALLS, DetectWidget
from napari_rvae._napari.latents_widget import LatentsWidget
from napari_rvae._napari.layer_kinds import kind_of, record_of
from napari_rvae._napari.train_widget import TrainWidget
from napari_rvae._napari.walls_page import NO_SCAN

LONG = 60_000


@pytest.fixture
def viewer():
    return ViewerModel()


@pytest.fixture(scope="module")
def movie():
    return simulate_walls(n_frames=2, size=96, seed=1).frames


@pytest.fixture
def widget(qtbot, viewer):
    made = DetectWidget(viewer)
    qtbot.addWidget(made)
    made.show()
    made.kind.setCurrentText(WALLS)
    yield made
    qtbot.waitUntil(lambda: made.workspace.job("detect") is None, timeout=LONG)


def _open(viewer, movie, channels=("topography", "phase", "amplitude")):
    layers = [image_layer(movie, channel=channel) for channel in channels]
    return dict(zip(channels, add_layers(viewer, *layers), strict=True))


def _detect(widget, qtbot):
    qtbot.waitUntil(widget.walls.detect.isEnabled, timeout=LONG)
    widget.walls.detect.click()
    qtbot.waitUntil(lambda: widget.workspace.job("detect") is None, timeout=LONG)


def _ours(viewer, kind):
    return [layer for layer in viewer.layers if kind_of(layer) == kind]


def test_scans_are_known_by_their_channels(qtbot, viewer, movie):
    made = DetectWidget(viewer)
    qtbot.addWidget(made)
    _open(viewer, movie, ["topography"])
    assert made.kind.currentText() == ATOMS
    _open(viewer, movie, ["phase", "amplitude"])
    assert made.kind.currentText() == WALLS
    made.kind.setCurrentText(ATOMS)
    made.kind.activated.emit(0)  # as a user does
    _open(viewer, movie, ["amplitude"])
    assert made.kind.currentText() == ATOMS


def test_without_a_scan_the_widget_says_what_is_missing(widget, viewer, movie):
    assert widget.status.plain_text == NO_SCAN
    assert not widget.walls.detect.isEnabled()
    assert not widget.image.isVisible()


def test_channels_are_chosen_by_their_names_until_the_user_chooses(widget, viewer, movie):
    layers = _open(viewer, movie)
    assert widget.walls.amplitude.layer() is layers["amplitude"]
    assert widget.walls.phase.layer() is layers["phase"]
    assert widget.walls.topography.layer() is layers["topography"]
    widget.walls.topography.setCurrentIndex(0)
    widget.walls.topography.activated.emit(0)
    _open(viewer, movie)
    assert widget.walls.topography.layer() is None


def test_walls_become_lines_and_sites_over_the_signed_response(widget, viewer, movie, qtbot):
    _open(viewer, movie)
    _detect(widget, qtbot)
    (points,), (response,) = (
        _ours(viewer, "sites"),
        [layer for layer in viewer.layers if layer.name.startswith("response of")],
    )
    sites = sites_from_layer(points)
    assert set(sites["kind"]) == {"wall"}
    assert set(sites["wall_type"]) == {"180", "ferroelastic"}
    assert np.asarray(response.data).min() < 0 < np.asarray(response.data).max()
    assert "180-degree wall" in widget.status.plain_text
    train = TrainWidget(viewer)
    qtbot.addWidget(train)
    assert train.image.layer() is response
    assert train.crop_config().window == 24


def test_a_second_search_takes_the_place_of_the_first(widget, viewer, movie, qtbot):
    _open(viewer, movie)
    _detect(widget, qtbot)
    names = [layer.name for layer in viewer.layers]
    widget.walls.plain.fields["spacing"].set(8.0)
    _detect(widget, qtbot)
    assert sorted(layer.name for layer in viewer.layers) == sorted(names)


def test_motion_gives_columns_residence_and_rings(widget, viewer, qtbot):
    assert not widget.walls.motion.isEnabled()
    _open(viewer, simulate_walls(n_frames=12, size=96, seed=1).frames)
    _detect(widget, qtbot)
    (points,) = _ours(viewer, "sites")
    for _ in range(2):  # a second time takes the place of the first
        qtbot.waitUntil(widget.walls.motion.isEnabled, timeout=LONG)
        widget.walls.motion.click()
        qtbot.waitUntil(lambda: widget.workspace.job("detect") is None, timeout=LONG)
        (rings,), (residence,) = _ours(viewer, "pinning"), _ours(viewer, "picture")
        assert rings.name == "pinning centres"
        assert {"strength", "arrived", "released"} <= set(rings.features)
    names = [layer.name for layer in viewer.layers]
    assert names.count("residence (1: usual speed)") == names.count("pinning centres") == 1
    known = points.features["displacement"].notna()
    assert 0.5 < known.mean() < 1
    assert not known[points.features["frame"] == 11].any()
    assert "pinning centre" in widget.status.plain_text
    np.testing.assert_array_equal(np.asarray(residence.scale), np.asarray(points.scale)[1:])


def test_two_frames_have_displacements_and_a_line_on_the_rest(widget, viewer, movie, qtbot):
    _open(viewer, movie)
    _detect(widget, qtbot)
    widget.walls.motion.click()
    qtbot.waitUntil(lambda: widget.workspace.job("detect") is None, timeout=LONG)
    assert "5 are the least" in widget.status.plain_text
    assert "displacement" in _ours(viewer, "sites")[0].features
    assert not _ours(viewer, "pinning")


def test_a_vector_takes_the_lateral_layers_as_well(widget, viewer, qtbot):
    movie = simulate_walls(n_frames=1, size=96, seed=1, in_plane="bloch").frames
    widget.walls.advanced.fields["modality"].set("vector")
    upright = _open(viewer, movie, ("amplitude", "phase"))
    _detect(widget, qtbot)
    assert "A vector needs layers named 'lateral y amplitude'" in widget.status.plain_text
    lateral = [f"lateral {axis} {part}" for axis in "yx" for part in ("amplitude", "phase")]
    _open(viewer, movie, lateral)
    assert widget.walls.amplitude.layer() is upright["amplitude"]
    for _ in range(2):  # the second search takes the place of the first
        _detect(widget, qtbot)
        names = [layer.name for layer in viewer.layers if "response" in layer.name]
        assert [name.split(" of ")[0] for name in sorted(names)] == [
            "lateral response x",
            "lateral response y",
            "response",
        ]
    assert "180-degree wall" in widget.status.plain_text
    (points,) = _ours(viewer, "sites")
    assert (points.features["polarization_turn"] > 0).all()
    made = record_of(viewer.layers[min(names)])["response"]
    assert [part["as"] for part in made["of"]] == ["amplitude", "phase", *lateral]


def test_a_lateral_response_alone(widget, viewer, qtbot):
    movie = simulate_walls(n_frames=1, size=96, seed=1).frames
    widget.walls.advanced.fields["modality"].set("lateral")
    _open(viewer, movie)
    _detect(widget, qtbot)
    assert [layer for layer in viewer.layers if layer.name.startswith("lateral response of")]


def test_one_domain_is_an_answer(widget, viewer, qtbot):
    rng = np.random.default_rng(0)
    amplitude = 1 + 0.01 * rng.normal(size=(64, 64))
    phase = 20 + rng.normal(size=(64, 64))
    add_layers(viewer, image_layer(amplitude, name="amplitude"), image_layer(phase, name="phase"))
    _detect(widget, qtbot)
    assert not _ours(viewer, "sites")
    assert "180-degree" in widget.status.plain_text


def test_the_same_layer_twice_is_one_line(widget, viewer, movie, qtbot):
    layers = _open(viewer, movie)
    widget.walls.phase.choose(layers["amplitude"])
    qtbot.waitUntil(widget.walls.detect.isEnabled, timeout=LONG)
    widget.walls.detect.click()
    assert "choose the layer of each" in widget.status.plain_text


@pytest.fixture
def found(widget, viewer, movie, qtbot):
    """The viewer with walls, and Train and Latents."""
    _open(viewer, movie)
    _detect(widget, qtbot)
    made = TrainWidget(viewer), LatentsWidget(viewer)
    for one in made:
        qtbot.addWidget(one)
        one.show()
    yield made
    for step in ("train", "latents"):
        qtbot.waitUntil(lambda step=step: widget.workspace.job(step) is None, timeout=LONG)


def _train(train, qtbot):
    train.show_options(epochs=1, n_latents=2, hidden=16, pixels=16)
    qtbot.waitUntil(train.train_button.isEnabled, timeout=LONG)
    train.train()
    qtbot.waitUntil(lambda: train.workspace.job("train") is None, timeout=LONG)


def test_crops_along_walls_show_drawn_walls_and_earlier_frames(found, viewer, qtbot):
    train, _ = found
    assert train.second.isVisible()
    assert train.crop_config().window == 24
    train.earlier.setValue(1)
    _train(train, qtbot)
    model = train.workspace.model.rvae
    assert (model.channels_, model.lags_) == (("response", "walls"), (0, -1))
    (points,) = _ours(viewer, "sites")
    known = points.features["z0"].notna()
    assert not known[points.features["frame"] == 0].any()
    assert known[points.features["frame"] == 1].any()
    assert record_of(points)["steps"][-1]["lags"] == [0, -1]


def test_a_second_channel_is_cut_and_found_again_for_the_image_of_every_place(found, viewer, qtbot):
    train, latents = found
    train.second.choose(viewer.layers["topography"])
    _train(train, qtbot)
    assert train.workspace.model.rvae.channels_ == ("response", "topography", "walls")
    step = record_of(_ours(viewer, "sites")[0])["steps"][-1]
    first, second = step["images"]  # for the script
    assert [part["channel"] for part in first["response"]["of"]] == ["amplitude", "phase"]
    assert second["channel"] == "topography"
    latents.color_by("z1")
    qtbot.waitUntil(latents.everywhere.isEnabled, timeout=LONG)
    latents.everywhere.click()
    qtbot.waitUntil(lambda: latents.workspace.job("latents") is None, timeout=LONG)
    picture = viewer.layers["z1 image"]
    image = latents.image.layer()
    assert picture.data.shape == image.data.shape
    assert np.allclose(picture.scale, image.scale)
    assert np.isfinite(picture.data[0, 48, 48])
    assert viewer.layers.index(picture) < viewer.layers.index(_ours(viewer, "sites")[0])
    latents.color_by("angle", symmetry=2)
    latents.draw_everywhere()
    qtbot.waitUntil(lambda: latents.workspace.job("latents") is None, timeout=LONG)
    angle = viewer.layers["angle image (deg)"]
    assert tuple(angle.contrast_limits) == (-90, 90)
    latents.draw_everywhere()
    latents.workspace.job("latents").stop()
    qtbot.waitUntil(lambda: latents.workspace.job("latents") is None, timeout=LONG)
    assert "cancelled" in latents.status.plain_text
    assert sum(layer.name.startswith("angle image") for layer in viewer.layers) == 1


def test_of_the_channels_of_a_scan_the_one_that_is_seen_is_taken():
    from napari.components import ViewerModel

    from napari_rvae import add_layers, image_layer, points_layer, signed_response
    from napari_rvae._napari.training import image_of
    from napari_rvae.tables import make_sites

    response = signed_response(simulate_walls(n_frames=1, size=96, seed=1).frames)
    points = points_layer(make_sites(frame=0, y=[40.0], x=[40.0], kind="wall"), response)
    both = [image_layer(response, channel=channel) for channel in response.channels]
    viewer = ViewerModel()
    first, second, sites = add_layers(viewer, *both, points)
    second.visible = False
    assert image_of(sites, viewer.layers) is first
    first.visible = False
    assert image_of(sites, viewer.layers) in (first, second)
    second.visible = True
    assert image_of(sites, viewer.layers) is second
