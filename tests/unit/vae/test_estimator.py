import copy
import dataclasses
import gc
import inspect
import math
import weakref

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture

from napari_rvae import (
    RVAE,
    CropConfig,
    Crops,
    RVAEConfig,
    concat_crops,
    extract_crops,
    join_latents,
    simulate_graphene,
)
from napari_rvae.errors import InputError, NotFittedError
from napari_rvae.tables import fold_angle, make_sites

#: Pixels well within the disc.
LINE = np.arange(32) - 15.5
DISC = np.hypot(LINE[:, None], LINE[None, :]) < 13


def error_of(angle, truth, label):
    """Mean angle error in degrees after one offset for each class."""
    found = []
    for k in np.unique(label):
        difference = (angle - truth)[label == k]
        offset = np.angle(np.exp(1j * difference).mean())
        found.append(np.degrees(np.abs(fold_angle(difference - offset, 1))))
    return float(np.concatenate(found).mean())


def latents_of(table):
    return table[["z0", "z1"]].to_numpy()


def similarity(one, other):
    """Correlation of two pictures (S, S) within the disc."""
    return float(np.corrcoef(one[DISC], other[DISC])[0, 1])


@pytest.fixture(scope="module")
def held_out(sample):
    return sample("motif", 300, seed=11)


@pytest.fixture(scope="module")
def table(motif_model, held_out):
    return motif_model.transform(held_out.crops)


# --------------------------------------------------------------------------- truth
def test_classes_are_found(table, held_out):
    found = GaussianMixture(2, n_init=3, random_state=0).fit_predict(latents_of(table))
    assert adjusted_rand_score(held_out.label, found) > 0.95


def test_angles_are_found_with_their_sense(table, held_out):
    angle = table["angle"].to_numpy()
    assert error_of(angle, held_out.angle, held_out.label) < 2
    mirrored = error_of(-angle, held_out.angle, held_out.label)
    assert 70 < mirrored < 110  # chance is 90


def test_the_sd_of_the_angle_is_of_the_size_of_its_error(table, held_out):
    angle, sd = table["angle"].to_numpy(), table["angle_sd"].to_numpy()
    error = error_of(angle, held_out.angle, held_out.label)
    assert 0.3 < error / np.degrees(sd.mean() * math.sqrt(2 / math.pi)) < 3


def test_latents_do_not_tell_the_angle(motif_model, sample):
    """One thing at many angles: its latents spread little against all latents."""
    same = sample("motif", 60, seed=12, counts=1e6)
    one = latents_of(motif_model.transform(same.crops))
    for label in (0, 1):
        here = same.label == label
        spread = one[here].std(0)
        assert (spread < 0.15 * one.std(0)).all()


def test_the_angle_follows_a_turn(motif_model, sample):
    label = sample("motif", 30, seed=13, angle=0.0).label
    found = [
        motif_model.transform(sample("motif", 30, seed=13, counts=1e5, angle=a).crops)["angle"]
        for a in (0.0, 0.4, 2.5)
    ]
    assert len(set(label)) == 2
    for angle, turn in zip(found[1:], (0.4, 2.5), strict=True):
        difference = fold_angle(angle - found[0] - turn, 1)
        assert np.degrees(np.abs(difference)).max() < 3


def test_angles_lie_in_the_half_open_circle(table):
    assert ((table["angle"] > -math.pi) & (table["angle"] <= math.pi)).all()


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_inverse_transform_turns_counter_clockwise(motif_model, table, quarters):
    """By 90 degrees an offset to the right goes upwards, as np.rot90 has it."""
    z = latents_of(table)[0]
    still = motif_model.inverse_transform(z)[0, 0]
    turned = motif_model.inverse_transform(z, angle=quarters * math.pi / 2)[0, 0]
    assert similarity(turned, np.rot90(still, quarters)) > 0.999
    if quarters != 2:
        assert similarity(turned, np.rot90(still, -quarters)) < 0.9


def test_inverse_transform_at_any_angle(motif_model, table, turned):
    """The brightest place off the centre moves as the convention says."""
    z = latents_of(table)[0]

    def peak(angle):
        image = motif_model.inverse_transform(z, angle=angle)[0, 0].astype(float)
        far = np.where(np.hypot(LINE[:, None], LINE[None, :]) > 4, image, -np.inf)
        y, x = np.unravel_index(far.argmax(), far.shape)
        return np.array([LINE[y], LINE[x]])

    start = peak(0.0)
    for angle in (0.3, 1.0, -0.8):
        assert np.linalg.norm(peak(angle) - turned(start, angle)) < 1.6  # pixels


def test_inverse_transform_moves_down_and_right(motif_model, table):
    z = latents_of(table)[:1]
    still = motif_model.inverse_transform(z)[0, 0]
    moved = motif_model.inverse_transform(z, shift=(3.0, -2.0))[0, 0]
    assert similarity(moved, np.roll(still, (3, -2), (0, 1))) > 0.98


def test_reconstructions_are_like_the_crops_without_noise(motif_model, held_out):
    drawn = motif_model.reconstruct(held_out.crops)
    assert drawn.shape == held_out.clean.shape
    likeness = [similarity(a[0], b[0]) for a, b in zip(drawn, held_out.clean, strict=True)]
    assert np.median(likeness) > 0.98
    # in the units of the crops
    ratio = drawn[:, 0, DISC].std() / held_out.clean[:, 0, DISC].std()
    assert ratio == pytest.approx(1, abs=0.1)


def test_the_residual_is_about_one_and_tells_strangers(motif_model, table, sample):
    assert table["residual"].mean() == pytest.approx(1, abs=0.3)
    strange = sample("honeycomb", 20, seed=3).crops
    assert motif_model.transform(strange)["residual"].median() > 3


def test_invariants_do_not_change_with_the_angle(motif_model, sample):
    still, turned = (
        motif_model.invariants(sample("motif", 30, seed=4, counts=1e6, angle=a).crops)
        for a in (0.0, 1.1)
    )
    one, other = (t.drop(columns="site_id").to_numpy() for t in (still, turned))
    assert list(still.columns[:2]) == ["site_id", "f0"]
    assert np.linalg.norm(one - other) < 0.05 * np.linalg.norm(one - one.mean(0))


def test_two_channels(sample, trained):
    two = sample("motif", 200, seed=5, channels=2)
    model = trained(two.crops, epochs=8)
    table = model.transform(two.crops)
    assert error_of(table["angle"].to_numpy(), two.angle, two.label) < 3
    drawn = model.reconstruct(two.crops)
    assert drawn.shape == (200, 2, 32, 32)
    for channel in (0, 1):
        likeness = [
            similarity(a, b) for a, b in zip(drawn[:, channel], two.clean[:, channel], strict=True)
        ]
        assert np.median(likeness) > 0.9
    assert model.manifold(2).shape == (2, 2, 2, 32, 32)


# --------------------------------------------------------------------------- tables
def test_the_table_of_latents(motif_model, table, held_out):
    columns = ["site_id", "angle", "angle_sd", "shift_y", "shift_x"]
    columns += ["z0", "z0_sd", "z1", "z1_sd", "other_mode", "residual", "lattice_angle"]
    assert list(table.columns) == columns
    assert table["site_id"].dtype == "int64"
    assert (table.drop(columns="site_id").dtypes == "float64").all()
    np.testing.assert_array_equal(table["site_id"], held_out.crops.site_id)
    assert (table[["angle_sd", "z0_sd", "z1_sd"]] > 0).all(axis=None)
    assert table["other_mode"].between(0, 1).all()


def check_same(one, other):
    """Latents agree to the precision of their search, which is in units of their error bars."""
    for name in ("z0", "z1"):
        off = one[name].to_numpy() - other[name].to_numpy()
        assert np.abs(off / other[f"{name}_sd"].to_numpy()).max() < 0.05
    turn = one["angle"].to_numpy() - other["angle"].to_numpy()
    assert np.abs(fold_angle(turn, 1) / other["angle_sd"].to_numpy()).max() < 0.05


def test_rows_stay_with_their_crops(motif_model, table, held_out):
    order = np.random.default_rng(0).permutation(300)
    shuffled = motif_model.transform(held_out.crops.select(order))
    np.testing.assert_array_equal(shuffled["site_id"], held_out.crops.site_id[order])
    check_same(shuffled, table.iloc[order])


def test_latents_join_their_sites(table):
    sites = make_sites(frame=0, y=np.arange(500.0), x=np.zeros(500))
    joined = join_latents(sites, table)
    assert len(joined) == 500
    assert joined["z0"].notna().sum() == 300


def test_crops_with_nan_give_rows_of_nan_and_are_left_out(few):
    images = few.images.copy()
    images[3, 0, 5, 5] = np.nan
    images[7] = np.inf
    spoiled = dataclasses.replace(few, images=images)
    model = RVAE(n_latents=2, epochs=2, hidden=16, device="cpu").fit(spoiled)
    assert model.left_out_ == 2
    for result in (model.transform(spoiled), model.invariants(spoiled)):
        bad = result.drop(columns="site_id").isna()
        assert bad.iloc[[3, 7]].all(axis=None)
        assert not bad.drop(index=[3, 7]).any(axis=None)
    drawn = model.reconstruct(spoiled)
    assert np.isnan(drawn[[3, 7]]).all()
    assert np.isfinite(np.delete(drawn, [3, 7], 0)).all()
    clean = RVAE(n_latents=2, epochs=1, hidden=16, device="cpu").fit(few)
    assert clean.left_out_ == 0


def test_nothing_but_nan_and_nothing_at_all(quick, few):
    lost = dataclasses.replace(few, images=np.full_like(few.images, np.nan))
    assert quick.transform(lost).drop(columns="site_id").isna().all(axis=None)
    assert np.isnan(quick.reconstruct(lost)).all()
    none = few.select(np.zeros(len(few), bool))
    table = quick.transform(none)
    assert len(table) == 0
    assert list(table.columns) == list(quick.transform(few).columns)
    assert quick.reconstruct(none).shape == (0, 1, 32, 32)
    assert len(quick.invariants(none)) == 0


def test_no_latents_no_pictures(quick):
    assert quick.inverse_transform(np.zeros((0, 2))).shape == (0, 1, 32, 32)


def test_many_crops_are_worked_off_in_parts(quick, few, monkeypatch):
    whole = quick.transform(few)
    monkeypatch.setattr("napari_rvae.vae.trained.CHUNK", 16)
    monkeypatch.setattr("napari_rvae.vae.latents.CHUNK", 16)
    check_same(quick.transform(few), whole)
    assert quick.reconstruct(few).shape == few.images.shape


def test_crops_that_are_read_lazily(few, quick):
    lazy = dataclasses.replace(few, images=da.from_array(few.images, chunks=(7, 1, 32, 32)))
    model = RVAE(n_latents=2, epochs=3, hidden=16, device="cpu").fit(lazy)
    pd.testing.assert_frame_equal(model.transform(lazy), quick.transform(few))
    np.testing.assert_array_equal(model.reconstruct(lazy), quick.reconstruct(few))


def test_units_of_the_crops_do_not_matter(few, quick):
    bright = dataclasses.replace(few, images=few.images * 1000)
    model = RVAE(n_latents=2, epochs=3, hidden=16, device="cpu").fit(bright)
    np.testing.assert_allclose(model.transform(bright)["z0"], quick.transform(few)["z0"], atol=1e-2)
    np.testing.assert_allclose(model.reconstruct(bright), 1000 * quick.reconstruct(few), atol=20)


# --------------------------------------------------------------------------- manifold
def test_the_manifold_runs_to_the_right_and_upwards(motif_model, table):
    grid = motif_model.manifold(3, dims=(0, 1))
    assert grid.shape == (3, 3, 1, 32, 32)
    spread = motif_model._trained.spread
    z0, z1 = np.linspace(spread[5], spread[95], 3).T
    for row, column in ((0, 0), (1, 2), (2, 1)):
        one = motif_model.inverse_transform([z0[column], z1[2 - row]])[0]
        np.testing.assert_allclose(grid[row, column], one, atol=1e-4)
    low, high = np.quantile(latents_of(table), [0.05, 0.95], axis=0)
    np.testing.assert_allclose([z0[0], z0[-1]], [low[0], high[0]], atol=0.5)
    np.testing.assert_allclose([z1[0], z1[-1]], [low[1], high[1]], atol=0.5)


def test_a_manifold_of_one_latent(few):
    model = RVAE(n_latents=1, epochs=1, hidden=8, device="cpu").fit(few)
    grid = model.manifold(3)
    assert grid.shape == (3, 3, 1, 32, 32)
    np.testing.assert_allclose(grid[0], grid[2], atol=1e-5)


def test_a_manifold_of_a_latent_that_is_not_there(quick):
    with pytest.raises(InputError, match="choose from 0 to 1"):
        quick.manifold(3, dims=(0, 2))


# --------------------------------------------------------------------------- manners
def test_options_are_the_configs(few):
    model = RVAE(RVAEConfig(epochs=7), n_latents=3)
    assert (model.config.epochs, model.config.n_latents) == (7, 3)
    assert not model.is_fitted
    assert model.history_ == []
    with pytest.raises(TypeError, match="epoch"):
        RVAE(epoch=3)
    with pytest.raises(InputError, match="n_latents"):
        RVAE(n_latents=0)


def test_fit_returns_the_model_which_tells_its_state(quick):
    assert isinstance(quick, RVAE)
    assert quick.is_fitted
    assert "3 epochs" in repr(quick)
    assert "not fitted" in repr(RVAE())
    assert quick.device_ == "cpu"


def test_fitting_again_starts_anew(fresh, few):
    first = fresh.transform(few)
    pd.testing.assert_frame_equal(fresh.fit(few).transform(few), first)
    assert len(fresh.history_) == 3


def test_an_unusable_fit_keeps_the_earlier_model(fresh, few):
    first = fresh.transform(few)
    with pytest.raises(InputError):
        fresh.fit(few.select([0, 1]))
    pd.testing.assert_frame_equal(fresh.transform(few), first)


def test_iter_fit_does_nothing_before_it_is_asked(few):
    model = RVAE()
    assert inspect.isgenerator(model.iter_fit(few))
    assert not model.is_fitted


USES = {
    "transform": lambda model, crops: model.transform(crops),
    "reconstruct": lambda model, crops: model.reconstruct(crops),
    "invariants": lambda model, crops: model.invariants(crops),
    "inverse_transform": lambda model, _: model.inverse_transform(np.zeros(4)),
    "manifold": lambda model, _: model.manifold(3),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
def test_nothing_comes_from_a_model_that_is_not_trained(few, use):
    with pytest.raises(NotFittedError, match="call fit") as error:
        use(RVAE(), few)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("count", [0, 1, 7])
def test_too_few_crops(few, count):
    with pytest.raises(InputError, match=f"There are {count} usable crops"):
        RVAE(epochs=1).fit(few.select(np.arange(count)))


def test_eight_crops_are_enough_for_a_model(few):
    crops = few.select(np.arange(8))
    model = RVAE(n_latents=2, epochs=2, device="cpu").fit(crops)
    assert np.isfinite(model.transform(crops)).all(axis=None)


def test_crops_without_any_contrast():
    crops = Crops(images=np.full((50, 1, 32, 32), 0.3, np.float32), site_id=np.arange(50))
    with pytest.raises(InputError, match="one constant value"):
        RVAE(epochs=1).fit(crops)


def test_one_channel_without_any_contrast(few):
    images = np.concatenate([few.images, np.zeros_like(few.images)], 1)
    with pytest.raises(InputError, match="constant"):
        RVAE(epochs=1).fit(Crops(images=images, site_id=few.site_id))


def test_crops_that_are_all_the_same(few):
    """They hold nothing to tell apart, but break nothing."""
    images = np.repeat(few.images[:1], 40, axis=0)
    crops = Crops(images=images, site_id=np.arange(40))
    model = RVAE(n_latents=2, epochs=2, hidden=8, device="cpu").fit(crops)
    assert np.isfinite(model.transform(crops)).all(axis=None)


def test_round_crops_have_no_angle_but_a_model(picture):
    """Only angular order 0 is left."""
    size = np.linspace(1, 3, 40)
    images = size[:, None, None] * picture([[0.0, 0.0]], sigma=4.0)
    crops = Crops(images=images[:, None].astype(np.float32), site_id=np.arange(40))
    model = RVAE(n_latents=1, epochs=2, hidden=8, device="cpu").fit(crops)
    assert model._trained.basis.n_orders == 1
    assert np.isfinite(model.transform(crops).drop(columns="lattice_angle")).all(axis=None)
    assert np.isfinite(model.reconstruct(crops)).all()


def test_pure_noise_gives_a_model():
    noise = np.random.default_rng(0).normal(size=(60, 1, 32, 32)).astype(np.float32)
    crops = Crops(images=noise, site_id=np.arange(60))
    model = RVAE(n_latents=2, epochs=2, hidden=8, device="cpu").fit(crops)
    assert np.isfinite(model.transform(crops)).all(axis=None)


@pytest.mark.parametrize("pixels", [8, 17, 48])
def test_other_grids(pixels):
    rng = np.random.default_rng(0)
    images = rng.normal(size=(20, 1, pixels, pixels)).astype(np.float32)
    crops = Crops(images=images, site_id=np.arange(20))
    model = RVAE(n_latents=1, epochs=1, hidden=8, device="cpu").fit(crops)
    assert model.reconstruct(crops).shape == images.shape


@pytest.mark.parametrize("shape", [(5, 2, 32, 32), (5, 1, 16, 16)])
def test_crops_of_another_kind(quick, shape):
    crops = Crops(images=np.zeros(shape, np.float32), site_id=np.arange(5))
    for use in (quick.transform, quick.reconstruct, quick.invariants):
        with pytest.raises(InputError, match="cut them alike"):
            use(crops)


def test_latents_of_another_number(quick):
    with pytest.raises(InputError, match="3 columns: the model has 2"):
        quick.inverse_transform(np.zeros((4, 3)))


def test_only_so_many_crops_are_trained_on(few):
    model = RVAE(n_latents=1, epochs=1, hidden=8, max_crops=16, device="cpu").fit(few)
    assert model._trainer.n_training == 16
    assert len(model.transform(few)) == len(few)


def test_an_unknown_device(few):
    with pytest.raises(InputError, match="device"):
        RVAE(device="abacus").fit(few)


# --------------------------------------------------------------------------- crops to cut
@pytest.fixture(scope="module")
def movie():
    return simulate_graphene(n_frames=1, size=128, seed=0)


def quick_model(crops):
    return RVAE(n_latents=1, epochs=1, hidden=8, device="cpu").fit(crops)


@pytest.mark.parametrize(
    "config",
    [
        CropConfig(),
        CropConfig(window_nd=4.0, pixels=24),
        CropConfig(content="rendered"),
    ],
    ids=["defaults", "other window", "rendered"],
)
def test_crops_are_cut_as_those_of_the_training(movie, config, tmp_path):
    sites = movie.sites.assign(sigma=2.5, amplitude=movie.sites["amplitude"].fillna(1.0))
    crops = extract_crops(movie.frames, sites, config)
    model = quick_model(crops)
    found = model.crop_config
    assert (found.keep_mean, found.walls) == ("", "off")  # nothing of the kind was there
    usual = {"keep_mean": config.keep_mean, "walls": config.walls}
    assert dataclasses.replace(found, window_nd=config.window_nd, **usual) == config
    assert found.window_nd == pytest.approx(config.window_nd)
    again = extract_crops(movie.frames, sites, found)
    np.testing.assert_allclose(again.images, crops.images, atol=1e-4)
    model.save(tmp_path / "model")
    assert RVAE.load(tmp_path / "model", device="cpu").crop_config == found


def test_a_window_in_pixels_becomes_one_in_neighbour_distances(movie):
    crops = extract_crops(movie.frames, movie.sites, window=40.0)
    config = quick_model(crops).crop_config
    assert config.window is None
    assert config.window_nd == pytest.approx(crops.window_nd)


@pytest.mark.parametrize("window_nd", [math.nan, 0.3, 80.0])
def test_the_window_stays_in_pixels_where_that_is_all_there_is(few, tmp_path, window_nd):
    model = quick_model(dataclasses.replace(few, window_nd=window_nd, window_px=21.5))
    wanted = CropConfig(window=21.5, keep_mean="", walls="off")
    assert model.crop_config == wanted
    model.save(tmp_path / "model")
    assert RVAE.load(tmp_path / "model", device="cpu").crop_config == wanted


def test_an_untrained_model_knows_no_crops():
    with pytest.raises(NotFittedError, match="call fit"):
        _ = RVAE().crop_config


def test_crops_of_frames_and_of_atoms_do_not_mix(few):
    rest = dataclasses.replace(few, site_id=few.site_id + 1000)
    assert len(concat_crops(few, rest)) == 2 * len(few)
    with pytest.raises(InputError, match="cut them alike"):
        concat_crops(few, dataclasses.replace(rest, content="rendered"))


# --------------------------------------------------------------------------- memory
def test_memory_of_the_training_is_released(few, tmp_path):
    model = RVAE(n_latents=2, epochs=3, hidden=16, device="cpu").fit(few)
    before, grid = model.transform(few), model.manifold(2)
    trainer = model._trainer
    gone = [weakref.ref(t) for t in (trainer, trainer.features, trainer.data, trainer.optimiser)]
    gradients = [weakref.ref(p.grad) for p in trainer.model.parameters()]
    del trainer
    assert model.release() is None
    assert [ref() for ref in (*gone, *gradients)] == [None] * len(gone + gradients)
    assert not model.can_resume
    with pytest.raises(InputError, match="no training to resume"):
        next(model.iter_fit(few, resume=True))
    pd.testing.assert_frame_equal(model.transform(few), before, check_exact=True)
    np.testing.assert_array_equal(model.manifold(2), grid)
    model.save(tmp_path / "model")
    assert len(model.history_) == 3
    model.release()  # nothing is left to give back
    assert len(model.fit(few).history_) == 3


def test_a_training_that_was_left_is_released_with_its_pictures_aligned(few):
    model = RVAE(n_latents=2, epochs=5, hidden=16, device="cpu")
    steps = model.iter_fit(few)
    for progress in steps:
        if progress.epoch == 2:
            break
    other = copy.deepcopy(model)
    assert model.can_resume
    model.release()
    assert list(steps) == []  # it does not go on
    assert not model.can_resume
    pd.testing.assert_frame_equal(model.transform(few), other.transform(few))


def test_there_is_nothing_to_release_before_the_training():
    RVAE().release()


def test_a_device_gives_its_cached_memory_back(fresh, few, monkeypatch):
    """The device is made up; the training crops are gone when its memory is emptied."""
    images = weakref.ref(fresh._trainer.data)
    fresh.transform(few)
    emptied = []
    monkeypatch.setattr(type(fresh._trained), "device", torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(images()))
    fresh.release()
    assert emptied == [None]


@pytest.mark.parametrize("shifts", [False, True])
def test_a_model_that_nobody_holds_is_gone_at_once(few, shifts):
    """There are no reference cycles that would keep the memory until a garbage collection."""
    gc.collect()
    gc.disable()
    try:
        model = RVAE(n_latents=2, epochs=2, hidden=16, shifts=shifts, device="cpu").fit(few)
        model.transform(few)
        trainer, trained = model._trainer, model._trained
        held = (
            trainer,
            trained,
            trainer.features,
            trainer.data,
            trainer.optimiser,
            trained.model,
        )
        gone = [weakref.ref(thing) for thing in held]
        del model, trainer, trained, held
        assert [ref() for ref in gone] == [None] * len(gone)
    finally:
        gc.enable()
