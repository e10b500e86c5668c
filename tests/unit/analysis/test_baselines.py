"""The baselines: right tables and pictures, and what the published comparison shows."""

import math

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture

from napari_rvae import RVAE, Crops, InputError, NotFittedError, find_units, join_latents
from napari_rvae.analysis.baselines import CropGMM, CropPCA, InvariantPCA
from napari_rvae.tables import LATENT_COLUMNS, make_sites

SIDE = 24
UNITS = (((0, 0), (0, 7), (6, -4)), ((0, 0), (0, 6), (5, 5)))


def simulate(count, orientations, seed=0):
    """Crops of two units, some orientations each (None: any), their unit and orientation."""
    rng = np.random.default_rng(seed)
    unit = rng.integers(0, 2, count)
    which = rng.integers(0, len(orientations or [0]), count)
    angle = rng.uniform(-math.pi, math.pi, count) if orientations is None else None
    line = np.arange(SIDE) - (SIDE - 1) / 2
    images = np.empty((count, 1, SIDE, SIDE), np.float32)
    for i in range(count):
        a = orientations[which[i]] if angle is None else angle[i]
        dy, dx = np.array(UNITS[unit[i]], float).T
        y, x = dy * math.cos(a) - dx * math.sin(a), dx * math.cos(a) + dy * math.sin(a)
        rows = np.exp(-0.5 * ((line - y[:, None]) / 1.8) ** 2)
        columns = np.exp(-0.5 * ((line - x[:, None]) / 1.8) ** 2)
        clean = np.einsum("a,ay,ax->yx", [1, 0.8, 0.6], rows, columns)
        images[i, 0] = rng.poisson(40 * (clean + 0.1)) / 40
    images -= images.mean((2, 3), keepdims=True)
    return Crops(images=images, site_id=np.arange(count) + 5, window_nd=3.0), unit, which


ORIENTATIONS = (0.0, 0.9, 2.1, -2.2)


@pytest.fixture(scope="module")
def copies():
    """Two units, four orientations each."""
    return simulate(600, ORIENTATIONS)


@pytest.fixture(scope="module")
def rvae(copies):
    return RVAE(n_latents=2, epochs=10, hidden=64, device="cpu").fit(copies[0])


@pytest.fixture(scope="module", params=["CropPCA", "CropGMM", "InvariantPCA"])
def fitted(request, copies, rvae):
    made = {
        "CropPCA": lambda: CropPCA(3),
        "CropGMM": lambda: CropGMM(8),
        "InvariantPCA": lambda: InvariantPCA(3, basis=rvae),
    }
    return made[request.param]().fit(copies[0])


def test_rotated_copies_fall_apart_in_the_mixture_of_crops(copies):
    """As many classes as units and orientations: each copy is a class of its own."""
    crops, unit, which = copies
    table = CropGMM(8).fit(crops).transform(crops)
    for number in (0, 1):
        own = table["class"][unit == number]
        assert (own.value_counts(normalize=True) > 0.1).sum() >= 3
    assert adjusted_rand_score(2 * which + unit, table["class"]) > 0.6
    assert adjusted_rand_score(unit, table["class"]) < 0.4


def test_rotated_copies_stay_together_in_ours(copies, rvae):
    """As many classes as units: the mixture of crops mixes them, that of the latents does not."""
    crops, unit, _ = copies
    of_crops = CropGMM(2).fit(crops).transform(crops)["class"]
    z = rvae.transform(crops)[["z0", "z1"]].to_numpy()
    of_latents = GaussianMixture(2, n_init=5, random_state=0).fit_predict(z)
    assert adjusted_rand_score(unit, of_crops) < 0.4
    assert adjusted_rand_score(unit, of_latents) > 0.95


def test_invariant_components_tell_the_units_apart():
    crops, unit, _ = simulate(400, None, seed=1)
    z = InvariantPCA(2).fit(crops).transform(crops)[["z0", "z1"]].to_numpy()
    found = GaussianMixture(2, n_init=5, random_state=0).fit_predict(z)
    assert adjusted_rand_score(unit, found) > 0.95


def test_tables_are_latents_tables(copies, fitted):
    crops, _, _ = copies
    table = fitted.transform(crops)
    assert {"site_id", *LATENT_COLUMNS} <= set(table)
    assert table["site_id"].tolist() == crops.site_id.tolist()
    z = table[[f"z{i}" for i in range(fitted.n_latents)]]
    assert np.isfinite(z).all(axis=None)
    assert table["residual"].mean() == pytest.approx(1, abs=1e-6)
    assert not table[["angle", "shift_y", "shift_x"]].any(axis=None)


def test_the_chain_takes_them(copies, fitted):
    crops, _, _ = copies
    y, x = 10.0 * np.indices((24, 25)).reshape(2, -1)
    sites = make_sites(frame=0, y=y, x=x).assign(site_id=crops.site_id)
    units = find_units(join_latents(sites, fitted.transform(crops)))
    assert len(units.table) == len(crops)


def test_pictures_have_the_units_of_the_crops(copies, fitted):
    crops, _, _ = copies
    seen = fitted.reconstruct(crops)
    assert seen.shape == crops.images.shape
    assert np.mean((seen - crops.images) ** 2) < crops.images.var()
    assert fitted.manifold(3).shape == (3, 3, 1, SIDE, SIDE)


def test_pictures_can_be_turned_and_moved(copies, fitted):
    del copies
    z = np.eye(fitted.n_latents)[0]
    plain = fitted.inverse_transform(z)
    turned = fitted.inverse_transform(z, angle=math.pi / 2)
    np.testing.assert_allclose(turned[0, 0], np.rot90(plain[0, 0]), atol=1e-5)
    moved = fitted.inverse_transform(z, shift=(2, 0))
    np.testing.assert_allclose(moved[0, 0, 6:18], plain[0, 0, 4:16], atol=1e-5)


def test_components_of_crops_reconstruct_them():
    crops, _, _ = simulate(120, (0.0, 1.0))
    few, many = (CropPCA(count).fit(crops).reconstruct(crops) for count in (1, 100))
    errors = [np.mean((seen - crops.images) ** 2) for seen in (few, many)]
    assert errors[1] < 0.1 * errors[0]


def test_latents_of_components_have_unit_variance(copies):
    table = CropPCA(3).fit(copies[0]).transform(copies[0])
    np.testing.assert_allclose(table[["z0", "z1", "z2"]].std(), 1, atol=0.01)


def test_classes_are_ordered_and_drawn_as_their_means(copies):
    crops, _, _ = copies
    model = CropGMM(8).fit(crops)
    assert (np.diff(model.share_) <= 0).all()
    table = model.transform(crops)
    pictures = model.inverse_transform(np.eye(8))
    for number in (0, 5):
        own = crops.images[(table["class"] == number).to_numpy()]
        np.testing.assert_allclose(pictures[number], own.mean(0), atol=0.03)
    np.testing.assert_allclose(table[[f"z{i}" for i in range(8)]].sum(axis=1), 1)
    assert table["class_probability"].between(1 / 8, 1).all()


def test_crops_with_nan_are_left_out_and_stay_in_the_table(copies, fitted, rvae):
    images = copies[0].images.copy()
    images[[2, 7], 0, 1, 1] = np.nan
    crops = Crops(images=images, site_id=copies[0].site_id, window_nd=3.0)
    model = {
        "CropPCA": CropPCA(3),
        "CropGMM": CropGMM(8),
        "InvariantPCA": InvariantPCA(3, basis=rvae),
    }[type(fitted).__name__].fit(crops)
    table = model.transform(crops)
    gaps = table["z0"].isna()
    assert np.flatnonzero(gaps).tolist() == [2, 7]
    assert table.loc[gaps, ["angle", "residual"]].isna().all(axis=None)
    if "class" in table:
        assert (table["class"] == -1).tolist() == gaps.tolist()
    assert np.isnan(model.reconstruct(crops)[2]).all()


def test_many_crops_are_encoded_in_pieces(copies, fitted, monkeypatch):
    whole = fitted.transform(copies[0])
    monkeypatch.setattr("napari_rvae.analysis.baselines._CHUNK", 101)
    np.testing.assert_allclose(fitted.transform(copies[0]), whole, rtol=1e-4, atol=1e-5)
    assert len(fitted.transform(copies[0].select([]))) == 0


def test_the_same_seed_gives_the_same(copies):
    crops, _, _ = copies
    one, other = (CropGMM(4, max_crops=200, seed=3).fit(crops).transform(crops) for _ in range(2))
    assert one.equals(other)


def test_channels_of_unlike_size_count_alike():
    crops, _, _ = simulate(200, ORIENTATIONS)
    pair = np.concatenate([crops.images, 1000 * crops.images[::-1]], 1)
    model = CropPCA(6).fit(Crops(images=pair, site_id=np.arange(200)))
    error = ((model.reconstruct(Crops(images=pair, site_id=np.arange(200))) - pair) ** 2).mean(
        (0, 2, 3)
    ) / pair.var((0, 2, 3))
    assert error[0] == pytest.approx(error[1], rel=0.5)


def test_what_does_not_fit_is_said(copies, fitted):
    crops, _, _ = copies
    with pytest.raises(NotFittedError):
        CropPCA().transform(crops)
    with pytest.raises(NotFittedError):
        CropGMM().inverse_transform(np.zeros(16))
    with pytest.raises(InputError, match="n_latents"):
        CropPCA(0)
    with pytest.raises(InputError, match="usable crops"):
        CropPCA(4).fit(crops.select(np.arange(3)))
    with pytest.raises(InputError, match="constant"):
        CropPCA(2).fit(Crops(images=np.ones((9, 1, 8, 8), np.float32), site_id=np.arange(9)))
    with pytest.raises(InputError, match="cut them alike"):
        fitted.transform(Crops(images=np.zeros((2, 1, 8, 8), np.float32), site_id=np.arange(2)))
    with pytest.raises(InputError, match="columns"):
        fitted.inverse_transform(np.zeros(fitted.n_latents + 1))
    with pytest.raises(InputError, match="dims"):
        fitted.manifold(3, dims=(0, 99))
    assert "fitted" in repr(fitted)
    assert "not fitted" in repr(CropGMM())
