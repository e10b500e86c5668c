"""The plane of two latents: decoded places, sites nearby, grids."""

import numpy as np
import pandas as pd
import pytest

from napari_rvae import InputError, latent_plane


class Drawn:
    """A model that draws its first two latents and the angle, so that pictures can be read."""

    def inverse_transform(self, z, *, angle=0.0, shift=(0.0, 0.0)):
        z = np.atleast_2d(z)
        pictures = np.zeros((len(z), 1, 4, 4), np.float32)
        pictures[:, 0, 0, :3] = z[:, :3]
        pictures[:, 0, 3, 3] = angle
        return pictures


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(300, 3)) * [1.0, 5.0, 2.0]
    z[7] = np.nan
    named = {f"z{k}": z[:, k] for k in range(3)}
    return pd.DataFrame({"site_id": np.arange(300) + 10, "angle": rng.uniform(-3, 3, 300), **named})


def test_a_place_is_decoded_with_the_angle_of_the_nearest_site(table):
    plane = latent_plane(Drawn(), table)
    site = table.iloc[42]
    found = plane.decode(site["z0"] + 1e-6, site["z1"])
    assert found.site_id == site["site_id"]
    assert found.angle == site["angle"]
    assert found.z[2] == table["z2"].median()
    assert found.turned[0, 3, 3] == pytest.approx(site["angle"])
    assert found.canonical[0, 3, 3] == 0
    assert found.canonical[0, 0, :2] == pytest.approx(found.z[:2])


def test_without_angles_the_picture_is_upright(table):
    found = latent_plane(Drawn(), table.drop(columns="angle")).decode(0, 0)
    assert np.isnan(found.angle)
    assert found.turned[0, 3, 3] == 0


def test_the_nearest_sites_come_in_order(table):
    plane = latent_plane(Drawn(), table, (0, 1))
    known = table.dropna()
    away = np.hypot(
        (known["z0"] - 1) / known["z0"].std(ddof=0), (known["z1"] + 2) / known["z1"].std(ddof=0)
    )
    assert (
        plane.nearest(1, -2, n=9).tolist() == known.loc[away.nsmallest(9).index, "site_id"].tolist()
    )
    assert len(plane.nearest(0, 0, n=10**6)) == 299


def test_the_grid_of_the_prior_has_equal_steps(table):
    grid = latent_plane(Drawn(), table, (2, 1)).grid(5)
    assert grid.x_ends == grid.y_ends == (-2.0, 2.0)
    assert grid.z[2, :, 2] == pytest.approx([-1.6, -0.8, 0, 0.8, 1.6])
    assert grid.z[:, 0, 1] == pytest.approx([1.6, 0.8, 0, -0.8, -1.6])  # upwards
    assert not grid.z[:, :, 0].any()
    assert grid.pixels().shape == (20, 20, 4)


def test_the_grid_of_the_data_shows_the_mean_of_each_cell(table):
    grid = latent_plane(Drawn(), table).grid(6, of="data")
    edges = [np.linspace(*ends, 7) for ends in (grid.x_ends, grid.y_ends)]
    known = table.dropna()
    inside = known["z0"].between(*edges[0][2:4]) & known["z1"].between(*edges[1][3:5])
    assert grid.z[2, 2] == pytest.approx(known.loc[inside, ["z0", "z1", "z2"]].mean().to_numpy())
    empty = np.isnan(grid.z).any(axis=2)
    assert 0 < empty.sum() < 36
    tiles = grid.pixels()[..., 3].reshape(6, 4, 6, 4).max(axis=(1, 3))
    assert ((tiles == 0) == empty).all()


def test_what_cannot_be_asked(table):
    with pytest.raises(InputError, match="z0, z1, z2"):
        latent_plane(Drawn(), table, (0, 3))
    with pytest.raises(InputError, match="No site has latents"):
        latent_plane(Drawn(), table.assign(z0=np.nan))
    plane = latent_plane(Drawn(), table)
    with pytest.raises(InputError, match="one picture"):
        plane.grid(0)
    with pytest.raises(InputError, match="prior or data"):
        plane.grid(of="both")
