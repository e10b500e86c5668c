import copy
import dataclasses
import json
import math

import numpy as np
import pandas as pd
import pytest
import torch

from napari_rvae import RVAE
from napari_rvae.errors import InputError, ModelFileError, NotFittedError
from napari_rvae.tables import fold_angle
from napari_rvae.vae.gauge import smallest_turn
from napari_rvae.vae.pixel.trained import _Canonical

LINE = np.arange(32) - 15.5
DISC = np.hypot(LINE[:, None], LINE[None, :]) < 13


def latents_of(table):
    return table[["z0", "z1"]].to_numpy()


def similarity(one, other):
    """Correlation of two pictures (S, S) within the disc."""
    return float(np.corrcoef(one[DISC], other[DISC])[0, 1])


@pytest.fixture(scope="module")
def table(learned, turned_sample):
    return learned.transform(turned_sample.crops)


# --------------------------------------------------------------------------- the table
def test_the_table_has_the_columns_of_the_other_engine(table, few, quick):
    other = quick.transform(few)
    assert list(table.columns) == list(other.columns)
    assert (table.dtypes == other.dtypes).all()
    assert table.drop(columns="other_mode").notna().all(axis=None)
    assert table["other_mode"].isna().all()  # an encoder knows of one mode


def test_angles_are_found_with_their_sense(table, turned_sample):
    """After one offset for all: the canonical pictures are aligned with each other."""
    difference = table["angle"].to_numpy() - turned_sample.angle
    for label in (0, 1):
        here = difference[turned_sample.label == label]
        offset = np.angle(np.exp(1j * here).mean())
        error = np.degrees(np.abs(fold_angle(here - offset, 1)))
        assert np.median(error) < 6


def test_angles_lie_in_the_half_open_circle(fresh_pixel, few):
    bias = fresh_pixel._trained.model.encoder[-1].bias
    with torch.no_grad():
        bias[0] += 20.0
    fresh_pixel._trained.gauge = None
    angle = fresh_pixel.transform(few)["angle"]
    assert ((angle > -math.pi) & (angle <= math.pi)).all()


def test_sds_come_from_the_encoder(learned, turned_sample, table):
    model, scale = learned._trained.model, learned._trained.scale
    images = torch.from_numpy(turned_sample.crops.images / scale[0].astype(np.float32))
    with torch.no_grad():
        sd = model.infer(images)[1].exp().numpy()
    np.testing.assert_allclose(table["angle_sd"], sd[:, 0], rtol=1e-4)
    np.testing.assert_allclose(table[["z0_sd", "z1_sd"]], sd[:, 1:], rtol=1e-4)


def test_an_unknown_angle_has_the_sd_of_a_uniform_one(fresh_pixel, few):
    with torch.no_grad():
        fresh_pixel._trained.model.encoder[-1].bias[5] += 9.0
    np.testing.assert_allclose(fresh_pixel.transform(few)["angle_sd"], math.pi / math.sqrt(3))


def test_the_residual_is_about_one(table):
    assert 0.8 < table["residual"].mean() < 1.1


def test_the_residual_is_that_of_the_reconstruction(learned, turned_sample, table):
    crops = turned_sample.crops
    error = ((learned.reconstruct(crops) - crops.images) / learned._trained.scale) ** 2
    expected = error.mean((1, 2, 3)) / learned._trained.model.s2
    np.testing.assert_allclose(table["residual"], expected, rtol=1e-3)


def test_crops_with_nan_give_nan(learned, turned_sample, table):
    images = turned_sample.crops.images[:10].copy()
    images[4, 0, 3, 3] = np.nan
    some = dataclasses.replace(turned_sample.crops.select(np.arange(10)), images=images)
    found = learned.transform(some)
    assert found.loc[4].drop("site_id").isna().all()
    rest = found.drop(index=4)
    pd.testing.assert_frame_equal(rest, table.iloc[:10].drop(index=4), rtol=1e-3, atol=1e-4)
    pictures = learned.reconstruct(some)
    assert np.isnan(pictures[4]).all()
    assert np.isfinite(np.delete(pictures, 4, 0)).all()
    assert np.isnan(learned.invariants(some).iloc[4, 1:]).all()


@pytest.mark.parametrize("count", [0, 1])
def test_none_and_one(learned, turned_sample, count):
    some = turned_sample.crops.select(np.arange(count))
    assert len(learned.transform(some)) == count
    assert learned.reconstruct(some).shape == (count, 1, 32, 32)
    assert learned.inverse_transform(np.zeros((count, 2))).shape == (count, 1, 32, 32)


def test_only_nan(learned, turned_sample):
    some = turned_sample.crops.select(np.arange(3))
    lost = dataclasses.replace(some, images=np.full_like(some.images, np.nan))
    assert learned.transform(lost).drop(columns="site_id").isna().all(axis=None)


def test_other_crops_are_refused(learned, sample):
    with pytest.raises(InputError, match="cut them alike"):
        learned.transform(sample("motif", 8, channels=2).crops)


def test_before_the_training(pixel_model, few):
    with pytest.raises(NotFittedError):
        pixel_model().transform(few)


# --------------------------------------------------------------------------- pictures
def test_pictures_turn_counter_clockwise(learned, table):
    z = latents_of(table)[0]
    still = learned.inverse_transform(z)[0, 0]
    turned = learned.inverse_transform(z, angle=math.pi / 2)[0, 0]
    np.testing.assert_allclose(turned, np.rot90(still), atol=1e-4)


def test_pictures_shift_where_they_are_told(learned, table):
    z = latents_of(table)[0]
    still = learned.inverse_transform(z, angle=0.7)[0, 0]
    moved = learned.inverse_transform(z, angle=0.7, shift=(2, -3))[0, 0]
    np.testing.assert_allclose(moved[2:, :-3], still[:-2, 3:], atol=1e-4)


def test_the_whole_square_is_drawn(learned, turned_sample):
    """Also outside the disc, in which the other engine ends."""
    crops = turned_sample.crops
    pictures = learned.reconstruct(crops)
    corners = ~(np.hypot(LINE[:, None], LINE[None, :]) < 16)
    assert pictures[:, 0, corners].std() > 0.1 * pictures[:, 0, ~corners].std()


def test_the_reconstruction_is_nearer_to_the_truth_than_the_crop(learned, turned_sample):
    clean = turned_sample.clean
    error = learned.reconstruct(turned_sample.crops) - clean
    noise = turned_sample.crops.images - clean
    assert (error**2).mean() < (noise**2).mean() + 0.3 * clean.var()
    assert (error**2).mean() < 0.2 * clean.var()


def test_a_manifold(learned):
    assert learned.manifold(3).shape == (3, 3, 1, 32, 32)


def test_crop_config_is_that_of_the_training(learned):
    config = learned.crop_config
    assert (config.window_nd, config.pixels, config.content) == (3.5, 32, "frame")


def test_invariants_do_not_depend_on_the_engine(learned, turned_sample):
    options = {"n_latents": 2, "epochs": 1, "hidden": 8, "held_out": 0.0}
    model = RVAE(**options, device="cpu").fit(turned_sample.crops)
    one, other = (m.invariants(turned_sample.crops) for m in (learned, model))
    pd.testing.assert_frame_equal(one, other, rtol=1e-3, atol=1e-3)


# --------------------------------------------------------------------------- shifts
def test_shifts_are_where_the_canonical_picture_lies(fresh_pixel, few):
    """A crop's code, drawn without the estimator, is what its row says."""
    table = fresh_pixel.transform(few)
    assert (table[["shift_y", "shift_x"]].abs() > 1e-3).all(axis=None)
    trained = fresh_pixel._trained
    images, _ = trained.load(few.images)
    with torch.no_grad():
        code = trained.model.read(trained.model.infer(images)[0])
        drawn = trained.model.draw(code).numpy() * trained.scale[0]
    np.testing.assert_allclose(fresh_pixel.reconstruct(few), drawn, atol=1e-4)


def test_shifts_are_in_frame_pixels(fresh_pixel, few):
    coarse = dataclasses.replace(few, window_px=64.0)
    one, other = fresh_pixel.transform(few), fresh_pixel.transform(coarse)
    np.testing.assert_allclose(other["shift_y"], 2 * one["shift_y"], rtol=1e-6)
    np.testing.assert_allclose(
        fresh_pixel.reconstruct(few), fresh_pixel.reconstruct(coarse), atol=1e-4
    )


# --------------------------------------------------------------------------- invariances off
@pytest.mark.parametrize("shifts", [False, True])
def test_without_rotation_the_angle_is_zero(few, pixel_model, shifts):
    model = pixel_model(rotation=False, shifts=shifts).fit(few)
    table = model.transform(few)
    assert (table[["angle", "angle_sd"]] == 0).all(axis=None)
    assert bool((table[["shift_y", "shift_x"]] == 0).all(axis=None)) is not shifts
    assert table.drop(columns="other_mode").notna().all(axis=None)
    trained = model._trained
    images, _ = trained.load(few.images)
    with torch.no_grad():  # crops are drawn as they lie in the frame
        drawn = trained.model.draw(trained.model.read(trained.model.infer(images)[0])).numpy()
    np.testing.assert_allclose(model.reconstruct(few), drawn * trained.scale[0], atol=1e-4)


def test_without_shifts_there_are_none(table):
    assert (table[["shift_y", "shift_x"]] == 0).all(axis=None)


# --------------------------------------------------------------------------- channels
def test_two_channels_have_one_pose_and_scales_of_their_own(sample, pixel_model):
    crops = sample("motif", 60, channels=2).crops
    model = pixel_model(epochs=30, shifts=True, learning_rate=3e-3).fit(crops)
    spread = crops.images.std(axis=(0, 2, 3), dtype=float) / model._trained.scale
    assert np.mean(spread**2) == pytest.approx(1, rel=1e-5)
    assert spread[0] > spread[1]  # both have the same noise, and the second shows less
    table = model.transform(crops)
    assert list(table.columns) == list(model.transform(crops.select([0])).columns)
    pictures = model.reconstruct(crops)
    assert pictures.shape == crops.images.shape
    ratio = pictures[:, 1].std() / pictures[:, 0].std()
    assert ratio < 0.7 * np.sqrt(2)  # dimmer, as the crops are
    assert model.manifold(2).shape == (2, 2, 2, 32, 32)


# --------------------------------------------------------------------------- the gauge
def test_canonical_pictures_are_aligned(learned):
    trained = learned._trained
    gauge = trained.aligned
    canonical = _Canonical(trained.model, trained.basis)
    with torch.no_grad():
        drawn = learned.inverse_transform(gauge.nodes.numpy()) / trained.scale[0]
        found = trained.basis.project(torch.from_numpy(drawn.astype(np.float32)))
        turn = smallest_turn(found, gauge.pictures, canonical.grid)
    assert np.degrees(turn.abs().numpy()).max() < 2


def test_a_decoder_that_is_turned_gives_the_same_angles(learned, turned_sample, table):
    """What the training leaves free, the orientation of the pictures, is fixed by the gauge."""
    turned = copy.deepcopy(learned)
    by, model = 1.1, turned._trained.model
    c, s = math.cos(by), math.sin(by)
    with torch.no_grad():
        model.place.weight.copy_(model.place.weight @ torch.tensor([[c, s], [-s, c]]))
        model.encoder[-1].bias[0] -= by
    turned._stale = True
    found = turned.transform(turned_sample.crops)
    for name in ("angle", "lattice_angle"):
        difference = fold_angle((found[name] - table[name]).to_numpy(), 1)
        # one offset for all is free: which arm of the first picture points along x
        spread = fold_angle(difference - np.angle(np.exp(1j * difference).mean()), 1)
        assert np.degrees(np.quantile(np.abs(spread), 0.95)) < 2
    np.testing.assert_allclose(
        turned.reconstruct(turned_sample.crops), learned.reconstruct(turned_sample.crops), atol=1e-3
    )


# --------------------------------------------------------------------------- files
@pytest.mark.parametrize(
    "options", [{}, {"rotation": False}, {"shifts": True, "half_precision": True}]
)
def test_a_saved_model_gives_the_same_results(few, pixel_model, tmp_path, options):
    model = pixel_model(**options).fit(few)
    model.save(tmp_path / "m")
    loaded = RVAE.load(tmp_path / "m", device="cpu")
    pd.testing.assert_frame_equal(loaded.transform(few), model.transform(few), check_exact=True)
    np.testing.assert_array_equal(loaded.reconstruct(few), model.reconstruct(few))
    np.testing.assert_array_equal(loaded.manifold(3), model.manifold(3))
    np.testing.assert_array_equal(loaded.invariants(few), model.invariants(few))
    assert loaded.config == model.config
    one, other = (pd.DataFrame(map(dataclasses.asdict, m.history_)) for m in (loaded, model))
    pd.testing.assert_frame_equal(one, other, check_exact=True)
    assert loaded.crop_config == model.crop_config
    assert json.loads((tmp_path / "m" / "config.json").read_text())["engine"] == "pixel"


def spoil(folder, change):
    path = folder / "config.json"
    header = json.loads(path.read_text())
    change(header)
    path.write_text(json.dumps(header))


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header["config"].update(decoder="steerable"),
        lambda header: header["config"].update(hidden=24),
        lambda header: header["config"].update(n_latents=3),
        lambda header: header["config"].update(shifts=False),
        lambda header: header["basis"].update(pixels=31),
        lambda header: header.update(s2="much"),
        lambda header: header.update(order=99),
        lambda header: header.pop("basis"),
    ],
)
def test_files_that_do_not_fit_are_one_line(quick_pixel, tmp_path, change):
    quick_pixel.save(tmp_path)
    spoil(tmp_path, change)
    with pytest.raises(ModelFileError) as error:
        RVAE.load(tmp_path)
    assert "\n" not in str(error.value)


def test_a_steerable_model_is_no_pixel_model(quick, tmp_path):
    quick.save(tmp_path)
    spoil(tmp_path, lambda header: header["config"].update(decoder="pixel"))
    with pytest.raises(ModelFileError, match="does not fit together"):
        RVAE.load(tmp_path)
