import dask.array as da
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_rvae import Frames, InputError, fold_angle
from napari_rvae.analysis.maps import latent_map
from napari_rvae.tables import concat_sites, make_sites


@pytest.fixture
def grid():
    """Sites 8 px apart in two frames of 64 x 48; z0 is a plane in the first, its negative after."""
    y, x = (index.ravel() * 8.0 + 4 for index in np.indices((8, 6)))
    plane = 0.5 * y - 0.25 * x
    return make_sites(
        frame=np.repeat([0, 1], y.size),
        y=np.tile(y, 2),
        x=np.tile(x, 2),
        z0=np.concatenate([plane, -plane]),
        unit=np.tile((x > 24).astype(int), 2),
    )


def test_a_plane_is_drawn_exactly_between_the_sites(grid):
    stack = latent_map(grid, "z0", np.zeros((2, 64, 48)))
    assert stack.shape == (2, 64, 48)
    assert stack.dtype == np.float32
    rows, columns = np.indices((64, 48))
    plane = 0.5 * rows - 0.25 * columns
    inside = (slice(4, 61), slice(4, 45))
    assert np.allclose(stack[0][inside], plane[inside], atol=1e-4)
    assert np.allclose(stack[1][inside], -plane[inside], atol=1e-4)
    assert np.isfinite(stack).all()  # beyond the outermost sites, but near


def test_far_from_every_site_there_is_nothing(grid):
    hole = grid[np.hypot(grid["y"] - 30, grid["x"] - 24) > 16]
    picture = latent_map(hole, "z0", (2, 64, 48), frame=0, reach=1)
    rows, columns = np.indices((64, 48))
    here = hole[hole["frame"] == 0]
    distance = np.hypot(
        rows[..., None] - here["y"].to_numpy(), columns[..., None] - here["x"].to_numpy()
    ).min(axis=-1)
    assert np.isfinite(picture[distance < 7.999]).all()
    assert np.isnan(picture[distance > 8.001]).all()
    wider = latent_map(hole, "z0", (2, 64, 48), frame=0, reach=3)
    assert np.isfinite(wider).all()


def test_the_rings_of_a_honeycomb_are_filled(honeycomb, rng):
    y, x = (honeycomb(80, 10.0) + rng.normal(0, 0.2, (len(honeycomb(80, 10.0)), 2))).T
    picture = latent_map(make_sites(frame=0, y=y, x=x, z0=y), "z0", (80, 80))
    assert np.isfinite(picture[20:60, 20:60]).all()


def test_whole_numbers_are_not_mixed(grid):
    picture = latent_map(grid, "unit", (64, 48))
    assert set(np.unique(picture)) == {0, 1}
    assert (picture[:, :24] == 0).all()
    none = latent_map(grid.assign(unit=-1), "unit", (64, 48))
    assert np.isnan(none).all()


@pytest.mark.parametrize("n", [1, 3])
def test_angles_go_round_the_circle(n):
    y, x = (index.ravel() * 10.0 for index in np.indices((4, 2)))
    edge = np.pi / n
    angle = np.where(x == 0, edge - 0.2, -edge + 0.2)
    sites = make_sites(frame=0, y=y, x=x, lattice_angle=angle)
    picture = latent_map(sites, "lattice_angle", (31, 11), symmetry=n)
    middle = picture[15, 5]
    assert abs(abs(middle) - edge) < 1e-5  # half-way is the far end, not zero
    assert abs(fold_angle(picture[15, 2] - (edge - 0.2), n)) < 0.2
    assert (np.abs(picture) <= edge + 1e-6).all()
    if n == 1:
        assert np.array_equal(picture, latent_map(sites, "lattice_angle", (31, 11)))


def test_sites_without_a_value_are_bridged(grid):
    broken = grid.copy()
    broken.loc[broken["site_id"] == 27, "z0"] = np.nan
    whole, bridged = (latent_map(t, "z0", (2, 64, 48), frame=0) for t in (grid, broken))
    inside = (slice(4, 61), slice(4, 45))
    known = np.isfinite(bridged[inside])
    assert np.allclose(whole[inside][known], bridged[inside][known], atol=1e-3)
    assert known.mean() > 0.98


def test_lazy_maps_are_the_same_frame_by_frame(grid):
    lazy = latent_map(grid, "z0", (2, 64, 48), lazy=True)
    assert isinstance(lazy, da.Array)
    assert lazy.chunks == ((1, 1), (64,), (48,))
    assert np.array_equal(lazy.compute(), latent_map(grid, "z0", (2, 64, 48)), equal_nan=True)
    assert latent_map(grid, "z0", (2, 64, 48), frame=1, lazy=True).shape == (64, 48)


@pytest.mark.parametrize(
    ("frames", "shape"),
    [
        ((64, 48), (64, 48)),
        ((2, 64, 48), (2, 64, 48)),
        ((2, 3, 64, 48), (2, 64, 48)),
        (np.zeros((64, 48)), (64, 48)),
        (Frames(np.zeros((2, 3, 64, 48))), (2, 64, 48)),
        (Frames(np.zeros((1, 64, 48))), (1, 64, 48)),
        (Frames(np.zeros((3, 64, 48)), axis_labels=("c", "y", "x")), (64, 48)),
    ],
)
def test_the_frames_give_the_shape(grid, frames, shape):
    assert latent_map(grid, "z0", frames).shape == shape


def test_frames_with_few_sites_take_the_nearest(grid):
    few = grid[(grid["frame"] == 0) | (grid["site_id"] == 60)]
    picture = latent_map(few, "z0", (3, 64, 48))
    assert len(np.unique(picture[1][np.isfinite(picture[1])])) == 1
    assert np.isnan(picture[2]).all()
    line = grid[grid["x"] == 4]
    assert np.isfinite(latent_map(line, "z0", (64, 48))).any()
    double = concat_sites(grid, grid.assign(source="b")).assign(source="")
    assert np.isfinite(latent_map(double, "z0", (64, 48), neighbour_distance=8.0)).all()


def test_wrong_input_is_named(grid):
    with pytest.raises(InputError, match="lacks the column nothing"):
        latent_map(grid, "nothing", (64, 48))
    with pytest.raises(InputError, match="needs numbers"):
        latent_map(grid, "kind", (64, 48))
    with pytest.raises(InputError, match="no frame 2"):
        latent_map(grid, "z0", (2, 64, 48), frame=2)
    with pytest.raises(InputError, match="no shape"):
        latent_map(grid, "z0", (64,))
    with pytest.raises(InputError, match="order of a symmetry"):
        latent_map(grid, "z0", (64, 48), symmetry=0)
    two = concat_sites(grid.assign(source="a"), grid.assign(source="b"))
    with pytest.raises(InputError, match="name one"):
        latent_map(two, "z0", (64, 48))
    assert latent_map(two, "z0", (64, 48), source="a").shape == (64, 48)
    with pytest.raises(InputError, match="no source 'c'"):
        latent_map(two, "z0", (64, 48), source="c")
    alone = make_sites(frame=0, y=[5.0], x=[5.0], z0=[1.0])
    with pytest.raises(InputError, match="give neighbour_distance"):
        latent_map(alone, "z0", (16, 16))
    assert latent_map(alone, "z0", (16, 16), neighbour_distance=3.0)[5, 5] == 1


@given(st.integers(1, 60), st.integers(0, 2**31))
def test_a_map_stays_within_the_values(n, seed):
    rng = np.random.default_rng(seed)
    y, x, z = rng.uniform(0, 24, n), rng.uniform(0, 16, n), rng.normal(size=n)
    sites = make_sites(frame=0, y=y, x=x, z0=z)
    picture = latent_map(sites, "z0", (24, 16), neighbour_distance=4.0)
    known = picture[np.isfinite(picture)]
    assert (known >= z.min() - 1e-5).all()
    assert (known <= z.max() + 1e-5).all()
