import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_rvae import Frames, simulate_graphene, simulate_perovskite
from napari_rvae.errors import InputError
from napari_rvae.preprocess import lattice_distortion
from napari_rvae.preprocess.distortion import frame_distortions, physical_spacing
from napari_rvae.synthetic.lattice import honeycomb, rotated
from napari_rvae.tables import concat_sites, make_sites, neighbour_distance

#: cell vectors as (dy, dx), and atoms of the cell
LATTICES = {
    "square": (np.eye(2), [(0, 0)]),
    "triangular": (np.array([[0, 1], [math.sqrt(0.75), 0.5]]), [(0, 0)]),
    "honeycomb": tuple(honeycomb(1.0)),
    "rock salt": (math.sqrt(2) * np.eye(2), [(0, 0), (math.sqrt(0.5), math.sqrt(0.5))]),
}


def crystal(kind="square", *, distance=12.0, angle=0.3, matrix=None, noise=0.0, side=250, seed=0):
    """Sites of one crystal in one frame."""
    cell, basis = LATTICES[kind]
    n = np.arange(-40, 41)
    grid = np.stack(np.meshgrid(n, n), -1).reshape(-1, 2) @ cell
    points = rotated(distance * (grid[:, None] + np.array(basis)).reshape(-1, 2), angle)
    points = points @ (np.eye(2) if matrix is None else matrix).T + side / 2
    points += np.random.default_rng(seed).normal(0, noise, points.shape)
    return make_sites(frame=0, y=points[:, 0], x=points[:, 1])[
        lambda t: t[["y", "x"]].ge(0).all(axis=1) & t[["y", "x"]].le(side).all(axis=1)
    ]


def sheared(amount):
    """Scan that moves a row along x by `amount` per row, less its rotation."""
    flaw = np.array([[1.0, 0.0], [amount, 1.0]])
    value, vector = np.linalg.eigh(flaw @ flaw.T)
    return vector @ np.diag(np.sqrt(value)) @ vector.T


@given(
    st.sampled_from(sorted(LATTICES)),
    st.floats(-0.08, 0.08),
    st.floats(-math.pi, math.pi),
    st.sampled_from([4.0, 12.0, 25.0]),
)
@settings(max_examples=40, deadline=None)
def test_the_shear_of_any_symmetric_lattice_is_found(kind, shear, angle, distance):
    flaw = np.array([[1.0, 0.0], [shear, 1.0]])
    found = lattice_distortion(crystal(kind, distance=distance, angle=angle, matrix=flaw))
    np.testing.assert_allclose(found.matrix, sheared(shear), atol=1e-6)
    assert found.stretch == pytest.approx(math.exp(2 * math.asinh(abs(shear) / 2)) - 1, abs=1e-6)


def test_the_error_tells_how_far_off_the_estimate_is():
    errors, told = [], []
    for seed in range(25):
        found = lattice_distortion(crystal(matrix=sheared(0.05), noise=0.4, seed=seed))
        errors.append(np.log(found.stretch / 0.0513))
        told.append(found.stretch_sd / found.stretch)
        assert not found.reason
    assert np.std(errors) < 2 * np.mean(told)
    assert np.std(errors) > 0.3 * np.mean(told)


def test_without_distortion_the_identity_stays():
    exact = [
        np.array_equal(lattice_distortion(crystal(noise=0.3, seed=seed)).matrix, np.eye(2))
        for seed in range(30)
    ]
    assert np.mean(exact) > 0.9
    found = lattice_distortion(crystal(noise=0.0))
    assert found.reason == "none measured"
    assert found.stretch == pytest.approx(0, abs=1e-9)


def test_two_grains_and_defects():
    scan = {"shear": 0.03, "neighbour_distance": 8.0, "seed": 3}
    perovskite = simulate_perovskite(size=220, grains=2, vacancies=0.02, **scan).sites
    np.testing.assert_allclose(lattice_distortion(perovskite).matrix, sheared(0.03), atol=0.003)
    graphene = simulate_graphene(n_frames=2, size=240, **scan).sites
    np.testing.assert_allclose(lattice_distortion(graphene).matrix, sheared(0.03), atol=0.005)


def test_displaced_sublattices_are_no_distortion():
    sites = simulate_perovskite(size=200, pattern="uniform", polarization=0.15, seed=1).sites
    np.testing.assert_allclose(lattice_distortion(sites).matrix, np.eye(2), atol=0.004)


@pytest.mark.parametrize("ratio", [1.12, 1.3, 1.5, 2.0, 3.0])
def test_a_rectangular_lattice_is_left_alone(ratio):
    found = lattice_distortion(crystal(matrix=np.diag([ratio**-0.5, ratio**0.5]), noise=0.1))
    assert np.array_equal(found.matrix, np.eye(2))
    assert math.isnan(found.stretch)
    assert found.reason


def test_dumbbells_are_left_alone():
    one = crystal("square", matrix=np.diag([1.2, 1.6]), noise=0.1)
    other = one.assign(x=one["x"] + 6)
    table = concat_sites(one.assign(source="m"), other.assign(source="m", frame=1))
    table = make_sites(frame=0, y=table["y"], x=table["x"])
    assert np.array_equal(lattice_distortion(table).matrix, np.eye(2))


@pytest.mark.parametrize(
    "table",
    [
        make_sites(frame=0, y=[], x=[]),
        make_sites(frame=0, y=[5.0], x=[5.0]),
        make_sites(frame=0, y=[0.0, 10.0, 0.0], x=[0.0, 0.0, 10.0]),
        make_sites(frame=0, y=np.full(300, 5.0), x=np.full(300, 7.0)),
        make_sites(frame=0, y=np.full(300, np.nan), x=np.arange(300.0)),
        make_sites(frame=0, y=np.zeros(300), x=np.arange(300.0)),
        make_sites(frame=np.arange(300), y=np.arange(300.0), x=np.arange(300.0)),
        make_sites(
            frame=0, **dict(zip("yx", np.random.default_rng(0).random((2, 500)), strict=True))
        ),
    ],
    ids=["none", "one", "three", "one place", "nan", "line", "one a frame", "random"],
)
def test_without_a_lattice_the_identity_stays(table):
    found = lattice_distortion(table)
    assert np.array_equal(found.matrix, np.eye(2))
    assert math.isnan(found.stretch)
    assert found.reason


@pytest.mark.parametrize("unit", [1e-30, 1e30])
def test_the_unit_of_the_positions_does_not_matter(unit):
    table = crystal(matrix=sheared(0.05), noise=0.1)
    other = table.assign(y=unit * table["y"], x=unit * table["x"])
    np.testing.assert_allclose(
        lattice_distortion(other).matrix, lattice_distortion(table).matrix, atol=1e-9
    )


def test_pixels_that_are_not_square():
    """A crystal of square cells in pixels twice as high as wide, slanted by the scan as well."""
    pixels = np.diag([0.5**0.5, 2**0.5])
    told = lattice_distortion(crystal(matrix=pixels @ sheared(0.04)), pixel_aspect=2.0)
    np.testing.assert_allclose(told.matrix, pixels @ sheared(0.04), atol=1e-6)
    assert told.stretch == pytest.approx(0.0408, abs=1e-4)
    assert lattice_distortion(crystal(matrix=pixels)).reason  # unknown, it is too much
    none = lattice_distortion(make_sites(frame=0, y=[1.0], x=[1.0]), pixel_aspect=2.0)
    np.testing.assert_allclose(none.matrix, pixels)


def test_only_atoms_count():
    grid = crystal(matrix=np.diag([1.02, 0.98])).assign(kind="grid")
    assert np.array_equal(lattice_distortion(grid).matrix, np.eye(2))


def test_what_is_not_usable():
    with pytest.raises(InputError, match="several movies"):
        lattice_distortion(crystal().assign(source=lambda t: np.arange(len(t)).astype(str)))
    for aspect in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(InputError, match="pixel_aspect"):
            lattice_distortion(crystal(), pixel_aspect=aspect)


# --------------------------------------------------------------------------- frame by frame
def movie_sites(*shears):
    parts = [
        crystal(matrix=sheared(shear), noise=0.1, seed=k).assign(frame=k)
        for k, shear in enumerate(shears)
    ]
    return concat_sites(*parts)


def test_one_matrix_for_the_movie_or_one_for_each_frame():
    movie, table = np.zeros((3, 250, 250)), movie_sites(0.02, 0.06, 0.04)
    frames = Frames(movie)
    whole = frame_distortions(frames, table, "movie")
    assert sorted(whole) == [-1, 0, 1, 2]
    for matrix in whole.values():
        np.testing.assert_allclose(matrix, sheared(0.04), atol=2e-3)
    own = frame_distortions(frames, table, "frame")
    for k, shear in enumerate((0.02, 0.06, 0.04)):
        np.testing.assert_allclose(own[k], sheared(shear), atol=2e-3)
    off = frame_distortions(frames, table, "off")
    assert all(np.array_equal(matrix, np.eye(2)) for matrix in off.values())


def test_a_frame_that_tells_nothing_takes_the_movie_s():
    table = concat_sites(movie_sites(0.04), make_sites(frame=1, y=[5.0], x=[5.0]))
    own = frame_distortions(Frames(np.zeros((2, 250, 250))), table, "frame")
    np.testing.assert_array_equal(own[1], own[-1])


def test_known_pixels_count_where_their_units_agree():
    table = crystal(matrix=np.diag([0.5**0.5, 2**0.5]))
    for units, expected in ((("nm", "nm"), (0.5**0.5, 2**0.5)), (("nm", "pixel"), (1.0, 1.0))):
        frames = Frames(np.zeros((250, 250)), scale=(0.2, 0.1), units=units)
        for how in ("off", "movie"):
            np.testing.assert_allclose(
                frame_distortions(frames, table, how)[0], np.diag(expected), atol=1e-9
            )


def test_the_spacing_is_that_of_the_crystal():
    matrix = sheared(0.08)
    table = crystal(matrix=matrix, distance=12.0)
    assert physical_spacing(table, matrix) == pytest.approx(12)
    assert neighbour_distance(table) < 11.9
