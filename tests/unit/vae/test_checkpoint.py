import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from napari_rvae import RVAE, CropConfig
from napari_rvae.errors import InputError, ModelFileError, NotFittedError
from napari_rvae.vae import checkpoint
from napari_rvae.vae.checkpoint import CONFIG_FILE, FORMAT_VERSION


def weights(folder):
    """The one file of weights in a model's folder."""
    (path,) = folder.glob("weights-*.safetensors")
    return path


@pytest.fixture(scope="module")
def crops(sample):
    return sample("motif", 40).crops


@pytest.fixture(scope="module")
def model(crops):
    return RVAE(n_latents=2, epochs=3, hidden=16, device="cpu").fit(crops)


@pytest.fixture
def folder(model, tmp_path):
    """A saved model, to be damaged."""
    model.save(tmp_path / "model")
    return tmp_path / "model"


def edit(folder, change):
    path = folder / CONFIG_FILE
    header = json.loads(path.read_text())
    change(header)
    path.write_text(json.dumps(header))


def one_line(error):
    assert "\n" not in str(error.value)
    assert str(error.value)


@pytest.mark.parametrize("shifts", [False, True])
def test_a_saved_model_gives_the_same_results(crops, tmp_path, shifts):
    model = RVAE(n_latents=2, epochs=4, hidden=16, shifts=shifts, device="cpu").fit(crops)
    model.save(tmp_path / "m")
    loaded = RVAE.load(tmp_path / "m", device="cpu")
    pd.testing.assert_frame_equal(loaded.transform(crops), model.transform(crops), check_exact=True)
    np.testing.assert_array_equal(loaded.reconstruct(crops), model.reconstruct(crops))
    np.testing.assert_array_equal(loaded.manifold(3), model.manifold(3))
    np.testing.assert_array_equal(loaded.invariants(crops), model.invariants(crops))
    assert loaded.config == model.config
    assert loaded.history_ == model.history_
    assert loaded.is_fitted
    assert loaded.device_ == "cpu"


def test_a_model_of_correlated_noise_gives_the_same_results(crops, tmp_path):
    line = np.exp(-0.25 * np.arange(-4, 5) ** 2)
    correlated = dataclasses.replace(crops, noise_correlation=np.outer(line, line))
    model = RVAE(n_latents=2, epochs=1, hidden=16, device="cpu").fit(correlated)
    assert model._trained.basis.pictures is not model._trained.basis.weights
    model.save(tmp_path / "m")
    loaded = RVAE.load(tmp_path / "m", device="cpu")
    pd.testing.assert_frame_equal(loaded.transform(crops), model.transform(crops), check_exact=True)
    np.testing.assert_array_equal(loaded.reconstruct(crops), model.reconstruct(crops))


def test_two_files_without_pickle(folder):
    assert sorted(path.name for path in folder.iterdir()) == [
        CONFIG_FILE,
        weights(folder).name,
    ]
    header = json.loads((folder / CONFIG_FILE).read_text())
    assert header["format_version"] == FORMAT_VERSION
    assert header["engine"] == "steerable"
    assert not weights(folder).read_bytes().startswith((b"\x80", b"PK"))


def test_a_loaded_model_can_be_saved_again(folder, crops, tmp_path):
    loaded = RVAE.load(folder, device="cpu")
    loaded.save(tmp_path / "copy")
    again = RVAE.load(tmp_path / "copy", device="cpu")
    pd.testing.assert_frame_equal(again.transform(crops), loaded.transform(crops))
    assert weights(tmp_path / "copy").read_bytes() == weights(folder).read_bytes()


def test_a_loaded_model_can_be_trained_anew_but_not_resumed(folder, crops):
    loaded = RVAE.load(folder, device="cpu")
    with pytest.raises(ValueError, match="no training to resume"):
        next(loaded.iter_fit(crops, resume=True))
    loaded.config = dataclasses.replace(loaded.config, epochs=1)
    assert len(loaded.fit(crops).history_) == 1


def test_saving_over_an_older_model(folder, crops):
    other = RVAE(n_latents=3, epochs=1, hidden=8, device="cpu").fit(crops)
    other.save(folder)
    assert RVAE.load(folder, device="cpu").config.n_latents == 3


def test_only_a_trained_model_can_be_saved(tmp_path):
    with pytest.raises(NotFittedError):
        RVAE().save(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_place_where_nothing_can_be_written(model, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ModelFileError, match="cannot be written") as error:
        model.save(tmp_path / "file")
    one_line(error)


def test_a_save_that_breaks_off_leaves_the_earlier_model(folder, crops, tmp_path, monkeypatch):
    target = tmp_path / "model"
    RVAE.load(folder, device="cpu").save(target)
    before = RVAE.load(target, device="cpu").transform(crops)
    other = RVAE(n_latents=2, epochs=1, hidden=16, seed=5, device="cpu").fit(crops)

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(checkpoint, "write_json", full_disk)
        with pytest.raises(ModelFileError, match="cannot be written"):
            other.save(target)
    pd.testing.assert_frame_equal(RVAE.load(target, device="cpu").transform(crops), before)
    other.save(target)  # and a whole one leaves nothing behind
    assert len(list(target.iterdir())) == 2


# --------------------------------------------------------------------------- damage
def cut_weights(folder):
    path = weights(folder)
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit(folder):
    path = weights(folder)
    content = bytearray(path.read_bytes())
    content[-4000] ^= 1
    path.write_bytes(bytes(content))


def not_finite(folder):
    from safetensors.torch import load_file, save_file

    tensors = load_file(weights(folder))
    tensors["scale"][0] = float("nan")
    save_file(tensors, weights(folder))


DAMAGE = {
    "no folder": lambda folder: folder.rename(folder.with_name("moved")),
    "no config": lambda folder: (folder / CONFIG_FILE).unlink(),
    "no weights": lambda folder: weights(folder).unlink(),
    "cut weights": cut_weights,
    "empty weights": lambda folder: weights(folder).write_bytes(b""),
    "a flipped bit": flip_a_bit,
    "weights that are a pickle": lambda folder: weights(folder).write_bytes(
        b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00N."
    ),
    "weights that are not finite": not_finite,
    "cut config": lambda folder: (folder / CONFIG_FILE).write_text('{"format": "nap'),
    "config of bytes": lambda folder: (folder / CONFIG_FILE).write_bytes(b"\xff\xfe\x00"),
    "config that is a list": lambda folder: (folder / CONFIG_FILE).write_text("[]"),
    "foreign config": lambda folder: (folder / CONFIG_FILE).write_text('{"model_type": "bert"}'),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_damaged_and_foreign_files(folder, damage):
    damage(folder)
    with pytest.raises(ModelFileError) as error:
        RVAE.load(folder, device="cpu")
    one_line(error)


def test_a_model_of_a_test_version_says_so(folder):
    edit(folder, lambda header: header.update(format_version=1))
    with pytest.raises(ModelFileError, match="train the model anew"):
        RVAE.load(folder)


def test_a_newer_format(folder):
    edit(folder, lambda header: header.update(format_version=FORMAT_VERSION + 1))
    with pytest.raises(ModelFileError, match=r"format version 3.*update"):
        RVAE.load(folder, device="cpu")


@pytest.mark.parametrize("options", [{"n_latents": 3}, {"seed": 5}], ids=["shapes", "values"])
def test_files_of_two_models(folder, crops, tmp_path, options):
    settings = {"n_latents": 2, "epochs": 3, "hidden": 16, **options}
    RVAE(device="cpu", **settings).fit(crops).save(tmp_path / "other")
    weights(tmp_path / "other").replace(weights(folder))
    with pytest.raises(ModelFileError, match="two models"):
        RVAE.load(folder, device="cpu")


FIELDS = (
    "config",
    "history",
    "basis",
    "s2",
    "order",
    "channels",
    "window_nd",
    "shift_limit",
    "shapes",
    "sha256",
)
#: Fields that the first files do not have.
LATER_FIELDS = ("window_px", "content")
JUNK = ("text", -1, 10**9, [], {}, [1, 2], {"a": 1}, True)


def fails_well(folder, crops):
    """A folder gives a working model or one line of ours, never an error of torch's later."""
    try:
        loaded = RVAE.load(folder, device="cpu")
    except ModelFileError as error:
        return "\n" not in str(error)
    return len(loaded.transform(crops)) == len(crops)


@pytest.mark.parametrize("field", FIELDS)
def test_a_config_with_a_field_missing(folder, field):
    edit(folder, lambda header: header.pop(field))
    with pytest.raises(ModelFileError) as error:
        RVAE.load(folder, device="cpu")
    one_line(error)


def test_a_first_file_without_the_later_fields(folder, model, crops):
    edit(folder, lambda header: [header.pop(field) for field in LATER_FIELDS])
    loaded = RVAE.load(folder, device="cpu")
    pd.testing.assert_frame_equal(loaded.transform(crops), model.transform(crops), check_exact=True)
    plain = CropConfig(keep_mean="", walls="off")
    assert loaded.crop_config == model.crop_config == plain
    edit(folder, lambda header: header.update(window_nd=None))
    wide = dataclasses.replace(plain, window=32.0)
    assert RVAE.load(folder, device="cpu").crop_config == wide


@pytest.mark.parametrize("field", [*FIELDS, *LATER_FIELDS])
def test_a_config_with_junk(folder, crops, field):
    for junk in JUNK:
        edit(folder, lambda header, junk=junk: header.update({field: junk}))
        assert fails_well(folder, crops), junk


@pytest.mark.parametrize("name", ["n_orders", "n_radial", "channels", "pixels", "noise2"])
def test_a_basis_that_does_not_fit(folder, crops, name):
    for junk in (0, -1, 1, 64, 10**12, "x", None):
        edit(folder, lambda header, junk=junk: header["basis"].update({name: junk}))
        assert fails_well(folder, crops), junk


def test_a_save_that_breaks_off_leaves_no_half_model(model, crops, tmp_path, monkeypatch):
    """The config comes last: without it there is no model."""

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("napari_rvae.vae.checkpoint.write_json", refuse)
    with pytest.raises(ModelFileError, match="cannot be written"):
        model.save(tmp_path / "broken")
    with pytest.raises(ModelFileError, match="no model folder"):
        RVAE.load(tmp_path / "broken", device="cpu")


def test_a_device_that_is_not_there_is_said_as_such(folder):
    with pytest.raises(InputError, match="no device 'abacus'"):
        RVAE.load(folder, device="abacus")
