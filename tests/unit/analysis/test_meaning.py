import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter

from napari_rvae import Cancelled, InputError, correlate_latents
from napari_rvae.tables import fold_angle, make_sites


@pytest.fixture
def sites():
    rng = np.random.default_rng(1)
    y, x = 10.0 * np.indices((20, 20)).reshape(2, -1)
    latents = {f"z{i}": rng.normal(size=400) for i in range(3)}
    return make_sites(frame=0, y=y, x=x, angle=rng.uniform(-np.pi, np.pi, 400), **latents)


def _measured(sites, **columns):
    return sites[["site_id"]].assign(**columns)


def test_a_number_is_followed_by_a_direction_of_the_latents(sites):
    value = 2 * sites["z0"] - sites["z2"] + 5.0
    found = correlate_latents(sites, _measured(sites, size=value), n_shifts=19)
    row = found.table.iloc[0]
    assert row["descriptor"] == "size"
    assert row["turns"] == 0
    assert row["best_latent"] == "z0"
    assert row["spearman"] > 0.999
    assert row["p_value"] == 1 / 20
    direction = found.directions["size"]
    assert np.allclose(direction.predict(sites), value)
    assert np.allclose(direction.weights, [2, 0, -1], atol=1e-9)


def test_a_vector_is_held_by_latents_and_angle(sites):
    """An offset (dy, dx) of the canonical picture is turned as the conventions say."""
    a = sites["angle"].to_numpy()
    dy, dx = 0.3 * sites["z1"].to_numpy(), 1.0 + 0.5 * sites["z0"].to_numpy()
    offset = {
        "off_centre_y": dy * np.cos(a) - dx * np.sin(a),
        "off_centre_x": dx * np.cos(a) + dy * np.sin(a),
    }
    found = correlate_latents(sites, _measured(sites, **offset), n_shifts=0)
    row = found.table.set_index("descriptor").loc["off_centre_vector"]
    assert row["turns"] == 1
    assert row["spearman"] > 0.999
    assert np.isnan(row["p_value"])
    guess = found.directions["off_centre_vector"].predict(sites)
    assert np.allclose(guess, np.stack(list(offset.values()), axis=1))


def test_a_tensor_turns_twice_with_the_frame(sites):
    a, size = sites["angle"].to_numpy(), 0.01 * sites["z0"].to_numpy()
    turned = []
    for angle, s in zip(a, size, strict=True):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        turned.append(turn @ np.array([[-s, 0.0], [0.0, s]]) @ turn.T)
    yy, xx, xy = np.array(turned)[:, [0, 1, 0], [0, 1, 1]].T
    strain = _measured(sites, strain_yy=yy, strain_xx=xx, strain_xy=xy)
    found = correlate_latents(sites, strain, columns=["strain_tensor"], n_shifts=0)
    assert found.table.loc[0, "turns"] == 2
    assert found.table.loc[0, "spearman"] > 0.999
    guess = found.directions["strain_tensor"].predict(sites)
    assert np.allclose(guess, np.stack([xy, (xx - yy) / 2], axis=1))


def test_the_rotation_of_the_lattice_sits_in_the_angle_modulo_its_symmetry(sites):
    rng = np.random.default_rng(0)
    quarter = rng.integers(0, 4, len(sites)) * np.pi / 2
    small = rng.normal(0, 0.05, len(sites))
    turned = sites.assign(angle=fold_angle(small + quarter + 0.4, 1))
    measured = _measured(sites, lattice_rotation=small)
    found = correlate_latents(turned, measured, symmetry=4, n_shifts=0)
    assert found.table.loc[0, "spearman"] > 0.999
    guess = found.directions["lattice_rotation"].predict(turned)
    assert np.allclose(fold_angle(guess - small, 4), 0.0, atol=0.02)


def test_smooth_fields_that_have_nothing_to_do_with_each_other_are_not_taken_for_more():
    y, x = 10.0 * np.indices((20, 20)).reshape(2, -1)
    small = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        field = [gaussian_filter(rng.normal(size=(40, 40)), 3)[10:30, 10:30] for _ in range(3)]
        table = make_sites(frame=0, y=y, x=x, z0=field[0].ravel(), z1=field[1].ravel())
        measured = table[["site_id"]].assign(other=field[2].ravel())
        small += (
            correlate_latents(table, measured, n_shifts=19, seed=seed).table["p_value"][0] < 0.1
        )
    assert small <= 4


def test_a_path_leads_from_low_to_high(sites):
    value = sites["z0"] + 0.1 * sites["z1"]
    direction = correlate_latents(sites, _measured(sites, a=value), n_shifts=0).directions["a"]
    path = direction.path(sites, 5)
    assert path.shape == (5, 3)
    along = direction.predict(pd.DataFrame(path, columns=["z0", "z1", "z2"]))
    assert (np.diff(along) > 0).all()
    assert np.allclose([along[0], along[-1]], value.quantile([0.05, 0.95]), atol=0.2)
    with pytest.raises(InputError, match="no path"):
        direction.path(sites.assign(z0=np.nan))


def test_sites_without_latents_and_unknown_values_are_left_out(sites):
    value = sites["z0"].where(sites.index % 4 > 0)
    table = sites.assign(z0=sites["z0"].where(sites.index % 5 > 0))
    row = correlate_latents(table, _measured(sites, a=value), n_shifts=9).table.iloc[0]
    assert row["n_sites"] == 240
    assert row["spearman"] > 0.999


def test_what_is_found_can_be_said(sites):
    measured = _measured(sites, a=sites["z1"], b=np.random.default_rng(3).normal(size=400))
    found = correlate_latents(sites, measured, n_shifts=39)
    assert found.sentences() == ["z1 follows a (rank correlation 1.00)."]
    nothing = correlate_latents(sites, measured[["site_id", "b"]], n_shifts=19)
    assert nothing.sentences() == ["No latent follows a measured quantity."]


def test_what_cannot_be_compared_is_said_in_one_line(sites):
    measured = _measured(sites, a=sites["z1"])
    with pytest.raises(InputError, match="no latents"):
        correlate_latents(sites.drop(columns=["z0", "z1", "z2"]), measured)
    with pytest.raises(InputError, match="lack b"):
        correlate_latents(sites, measured, columns=["b"])
    with pytest.raises(InputError, match="nothing"):
        correlate_latents(sites, measured.assign(a=1.0))
    with pytest.raises(InputError, match="40 are the least"):
        correlate_latents(sites.assign(z0=sites["z0"].where(sites.index < 10)), measured)
    with pytest.raises(Cancelled):
        correlate_latents(sites, measured, progress=lambda done, total: False)
