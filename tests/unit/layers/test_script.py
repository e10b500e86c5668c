"""The script of an analysis: it does the same again, and says what it cannot do."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from napari.components import ViewerModel

import napari_rvae as rvae
from napari_rvae.errors import InputError
from napari_rvae.layers import METADATA_KEY, frames_from_layers
from napari_rvae.layers.origin import image_origin
from napari_rvae.layers.steps import note_step, note_units, note_ways, steps_of, steps_to_save
from napari_rvae.tables import make_sites


@pytest.fixture
def layer():
    sites = make_sites(frame=[0, 0, 1], y=[5.0, 9.0, 5.0], x=[5.0, 9.0, 5.0])
    (layer,) = rvae.add_layers(ViewerModel(), rvae.points_layer(sites))
    return layer


def test_steps_that_rest_on_nothing_later_are_replaced(layer):
    note_step(layer, "detect", config={})
    note_step(layer, "train", epochs=3)
    note_step(layer, "train", epochs=5, device=None)
    note_units(layer, [{"step": "units", "config": {}}])
    note_units(layer, [{"step": "units", "config": {"n_units": 3}}])
    assert [step["step"] for step in steps_of(layer)] == ["detect", "train", "units"]
    assert steps_of(layer)[1] == {"step": "train", "epochs": 5}


def test_every_option_that_is_not_usual_is_named(layer):
    note_step(layer, "detect", config={"min_snr": 6.0})
    note_step(layer, "train", crops={"window_nd": 4.5}, model={"epochs": 3}, epochs=3, device="cpu")
    note_units(
        layer,
        [
            {"step": "units", "config": {}, "crops": True},
            {"step": "edit", "function": "rename_unit", "arguments": [0, "it's"]},
        ],
    )
    script = rvae.analysis_script(layer, movie="a movie.tif")
    compile(script, "script", "exec")
    for part in (
        "rvae.read_frames('a movie.tif')",
        "rvae.DetectConfig(min_snr=6.0)",
        "rvae.CropConfig(window_nd=4.5)",
        "rvae.RVAEConfig(epochs=3), device='cpu'",
        """rvae.rename_unit(units, 0, "it's")""",
    ):
        assert part in script


@pytest.mark.parametrize("key", ["edited", "deleted", "renewed"])
def test_the_work_of_a_hand_must_have_been_saved(layer, key, tmp_path):
    note_step(layer, "detect", config={})
    layer.metadata[METADATA_KEY][key] = [[0, 1.0, 1.0]]
    with pytest.raises(InputError, match="save the run first"):
        rvae.analysis_script(layer, movie="movie.tif")
    folder = rvae.save_run(tmp_path / "run", sites=rvae.sites_from_layer(layer))
    layer.metadata[METADATA_KEY]["saved"] = str(folder)
    assert "load_run" in rvae.analysis_script(layer, movie="movie.tif")
    layer.features = layer.features.assign(y=layer.features["y"] + 1)
    layer.data = layer.features[["frame", "y", "x"]].to_numpy()
    with pytest.raises(InputError, match="have changed since"):
        rvae.analysis_script(layer, movie="movie.tif")


def test_a_model_from_nowhere_is_said(layer):
    note_step(layer, "detect", config={})
    note_step(layer, "apply", model="")
    with pytest.raises(InputError, match="save it first"):
        rvae.analysis_script(layer, movie="movie.tif")
    note_step(layer, "apply", model="/a/model", window=12.0)
    script = rvae.analysis_script(layer, movie="movie.tif")
    assert "rvae.RVAE.load('/a/model')" in script
    assert "window=12.0" in script


def test_no_movie_is_said(layer):
    note_step(layer, "detect", config={})
    with pytest.raises(InputError, match="no image"):
        rvae.analysis_script(layer)


def test_classes_given_by_hand_are_given_again(layer):
    note_step(layer, "detect", config={})
    rvae.name_selection(layer, "rim", site_id=[0, 2])
    script = rvae.analysis_script(layer, movie="movie.tif")
    assert "sites, [0, 2], 'rim', column='class'" in script


def test_a_run_keeps_the_steps_and_that_a_hand_was_at_work(layer, tmp_path):
    note_step(layer, "detect", config={"min_snr": 6.0})
    note_units(layer, [{"step": "units", "config": {}}])
    note_ways(layer, {})
    steps = steps_to_save(layer.metadata[METADATA_KEY])
    assert steps == steps_of(layer)
    layer.metadata[METADATA_KEY]["edited"] = True
    steps = steps_to_save(layer.metadata[METADATA_KEY])
    assert [step["step"] for step in steps] == ["detect", "hand", "units", "ways"]
    sites = rvae.sites_from_layer(layer)
    folder = rvae.save_run(tmp_path / "run", sites=sites, steps=steps)
    run = rvae.load_run(folder)
    assert run.steps == steps
    (opened,) = rvae.add_layers(ViewerModel(), *rvae.run_layers(run))
    assert steps_of(opened) == steps
    script = rvae.analysis_script(opened, movie="movie.tif")
    compile(script, "script", "exec")
    assert "load_run" in script
    assert "rvae.find_pathways" in script


def test_units_that_have_changed_since_the_pathways_are_said(layer):
    note_step(layer, "detect", config={})
    note_units(layer, [{"step": "units", "config": {}}])
    note_ways(layer, {})
    assert "export_pathways" in rvae.analysis_script(layer, movie="movie.tif")
    note_units(layer, [{"step": "units", "config": {"seed": 3}}])
    with pytest.raises(InputError, match="Find pathways again"):
        rvae.analysis_script(layer, movie="movie.tif")


def test_a_model_of_a_run_is_loaded_from_the_run(layer, tmp_path):
    folder = rvae.save_run(tmp_path / "run", sites=rvae.sites_from_layer(layer))
    note_step(layer, "detect", config={})
    note_step(layer, "apply", model=str(folder))
    script = rvae.analysis_script(layer, movie="movie.tif")
    assert f"rvae.load_run({str(folder)!r}).load_model()" in script


def test_in_a_new_process_it_gives_the_same_table(tmp_path):
    movie = rvae.simulate_graphene(n_frames=1, size=128, seed=3).frames
    np.save(tmp_path / "movie.npy", movie.data)
    config = rvae.DetectConfig(min_snr=6.0)
    viewer = ViewerModel()
    frames = rvae.Frames(
        movie.data,
        scale=movie.scale[-2:] if movie.data.ndim == 2 else movie.scale,
        units=movie.units[-2:] if movie.data.ndim == 2 else movie.units,
        name="m",
    )
    found = rvae.detect_atoms(frames, config)
    image, layer = rvae.add_layers(
        viewer, rvae.image_layer(frames), rvae.points_layer(found, frames)
    )
    note_step(layer, "detect", config=config.to_dict(), threads=1)
    rvae.name_selection(layer, "a few", site_id=found["site_id"].tolist()[:30])
    script = tmp_path / "analysis.py"
    script.write_text(rvae.analysis_script(layer, image, movie=str(tmp_path / "movie.npy")))
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "again.csv")],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    rvae.export_table(rvae.sites_from_layer(layer), tmp_path / "now.csv", frames=frames)
    again, now = (pd.read_csv(tmp_path / name) for name in ("again.csv", "now.csv"))
    pd.testing.assert_frame_equal(again, now[again.columns], rtol=1e-6)
    assert set(now) == set(again)


def _channels():
    """Layers of two channels of one simulation, and of the signed response of its scans."""
    frames = rvae.simulate_walls(n_frames=2, size=96, seed=1).frames
    made = {"function": "simulate_walls", "options": {"n_frames": 2, "size": 96, "seed": 1}}
    layers = []
    for channel in ("amplitude", "phase"):
        (image,) = rvae.add_layers(ViewerModel(), rvae.image_layer(frames, channel=channel))
        image.metadata[METADATA_KEY]["simulation"] = made
        layers.append(image)
    response = rvae.signed_response(frames_from_layers(layers))
    (image,) = rvae.add_layers(ViewerModel(), rvae.image_layer(response, channel=0))
    image.metadata[METADATA_KEY]["response"] = {
        "of": [image_origin(layer) for layer in layers],
        "modality": "vertical",
        "phase_unit": "auto",
    }
    return image, layers[0]


def test_several_channels_are_put_together_again(tmp_path):
    first, second = _channels()
    frames = frames_from_layers([first, second])
    sites = rvae.sample_grid(frames, step=12)
    crops = rvae.extract_crops(frames, sites, rvae.CropConfig(window=16, pixels=16), lags=(0, -1))
    model = rvae.RVAE(epochs=1, n_latents=2, hidden=16, device="cpu").fit(crops)
    sites = rvae.join_latents(sites, model.transform(crops))
    (points,) = rvae.add_layers(ViewerModel(), rvae.points_layer(sites, frames))
    note_step(points, "grid", spacing=12)
    note_step(
        points,
        "train",
        crops={"window": 16.0, "pixels": 16},
        model={"epochs": 1, "n_latents": 2, "hidden": 16},
        epochs=1,
        device="cpu",
        lags=[0, -1],
        channels=list(model.channels_),
        images=[image_origin(first), image_origin(second)],
    )
    # as a run keeps them
    folder = rvae.save_run(tmp_path / "run", sites=sites, steps=steps_of(points))
    opened = rvae.add_layers(ViewerModel(), *rvae.run_layers(rvae.load_run(folder)))[0]
    script = rvae.analysis_script(opened, first)
    room = {"__name__": "script"}
    exec(compile(script, "script", "exec"), room)  # noqa: S102 - what we made ourselves
    movie, again = room["analyse"]()
    assert movie.channels == ("response", "amplitude")
    pd.testing.assert_frame_equal(
        again[["site_id", "z0", "z1", "angle"]],
        sites[["site_id", "z0", "z1", "angle"]],
        check_exact=False,
        rtol=1e-3,
        atol=1e-4,
    )


def test_channels_from_nowhere_are_said(layer):
    note_step(layer, "detect", config={})
    images = [{"name": "one", "channel": "one"}, {"name": "two", "channel": "two"}]
    for known in ({}, {"images": images}):
        step = {"crops": {}, "model": {}, "epochs": 1, "channels": ["one", "two"], **known}
        note_step(layer, "train", **step)
        with pytest.raises(InputError, match="nobody knows where these came from"):
            rvae.analysis_script(layer, movie="movie.tif")
