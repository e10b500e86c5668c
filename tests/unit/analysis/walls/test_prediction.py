"""Whether latents tell how far walls move."""

import dataclasses

import numpy as np
import pytest

from napari_rvae import RVAE, Crops, InputError, predict_displacement
from napari_rvae.tables import make_sites


def walls(seed=0, count=600, *, latent=1.0, bend=0.0):
    """Sites whose displacement follows a latent, the curvature, and what a segment shares."""
    rng = np.random.default_rng(seed)
    y, x = rng.uniform(0, 256, (2, count))
    place = (y // 32).astype(int) * 8 + (x // 32).astype(int)
    z, curvature = rng.normal(size=(3, 64))[:, place][:2] + 0.5 * rng.normal(size=(2, count))
    common = rng.normal(size=64)[place]  # neighbours move together, whatever the latents
    moved = latent * z + bend * curvature + 0.7 * common + 0.3 * rng.normal(size=count)
    return make_sites(
        frame=0, y=y, x=x, kind="wall", z0=z, z1=rng.normal(size=count), curvature=curvature,
        displacement=moved,
    )  # fmt: skip


def test_a_latent_that_tells_is_found_and_said():
    found = predict_displacement(walls())
    score = found.scores.set_index("set")
    assert score.loc["latents", "r2"] > 0.3
    assert score.loc["latents", "p_value"] < 0.05
    assert score.loc["geometry", "r2"] < 0.1
    assert found.features["name"][0] == "z0"
    assert found.features["spearman"][0] > 0.5
    assert any("Where z0 is larger, walls move further" in line for line in found.sentences)
    assert found.n_segments == 64


def test_geometry_alone_is_the_baseline():
    found = predict_displacement(walls(latent=0.0, bend=-1.0))
    score = found.scores.set_index("set")
    assert score.loc["geometry", "r2"] > 0.3 > score.loc["latents", "r2"]
    assert found.features["name"][0] == "curvature"
    assert any("curvature is larger, walls move less far" in line for line in found.sentences)


def test_chance_is_not_taken_for_more():
    """Neighbours are alike, so single sites must not count as independent."""
    p_values = [
        predict_displacement(walls(seed, 300, latent=0.0), geometry=(), n_permutations=99)
        .scores.set_index("set")
        .loc["latents", "p_value"]
        for seed in range(5)
    ]
    assert np.mean(np.array(p_values) <= 0.05) <= 0.2


def test_what_comes_must_not_be_seen():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(40, 2, 16, 16)).astype(np.float32)
    crops = Crops(images=images, site_id=np.arange(40), lags=(0, -1))
    past = RVAE(epochs=1, n_latents=1, hidden=8, device="cpu").fit(crops)
    predict_displacement(walls(count=200), model=past, geometry=(), n_permutations=9)
    later = dataclasses.replace(crops, lags=(0, 1))
    future = RVAE(epochs=1, n_latents=1, hidden=8, device="cpu").fit(later)
    with pytest.raises(InputError, match="saw later frames"):
        predict_displacement(walls(), model=future)


def test_too_few_to_tell():
    with pytest.raises(InputError, match="100 sites in 10 segments are the least"):
        predict_displacement(walls(count=60))
    with pytest.raises(InputError, match="in 1 segments"):
        predict_displacement(walls(), segment=1000)
    with pytest.raises(InputError, match="no latents"):
        predict_displacement(walls().drop(columns=["z0", "z1"]))
