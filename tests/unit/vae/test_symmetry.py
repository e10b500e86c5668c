"""The order of decoded pictures, and the deviation in pixels."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_rvae import RVAE, Crops, InputError, NotFittedError
from napari_rvae.vae.symmetry import ORDERS, TURNS, decoded_symmetry, picture_symmetry

SIGMA = 2.1
TOLERANCE = 0.64


@pytest.fixture(scope="module")
def copies(picture, turned):
    """Atoms at offsets (A, 2) with peaks, as 24 turned pictures about a middle off by `off`."""

    def make(offsets, peak=1.0, off=(0.0, 0.0)):
        placed = np.asarray(offsets, float) + np.asarray(off)
        angles = 2 * math.pi * np.arange(TURNS) / TURNS
        pictures = np.stack([picture(turned(placed, a), peak, sigma=SIGMA) for a in angles])
        return pictures[:, None]

    return make


def orbit(order, radius=9.0, angle=0.3):
    phi = angle + 2 * math.pi * np.arange(order) / order
    return radius * np.stack([-np.sin(phi), np.cos(phi)], 1)


def star(order):
    return np.concatenate([np.zeros((1, 2)), orbit(order)])


@pytest.mark.parametrize("order", [2, 3, 4, 6])
def test_planted_orders_are_found_off_centre_too(copies, order):
    for off in ((0, 0), (0.7, -0.9)):
        found = picture_symmetry(copies(star(order), off=off), tolerance=TOLERANCE)
        assert found.order == order
        assert found.verdict == f"{order}-fold"
        for n in ORDERS:
            assert (found.deviation[n] < 0.02) == (order % n == 0)


@pytest.mark.parametrize("order", [2, 3, 4, 6])
def test_one_wrong_atom_breaks_the_symmetry(copies, order):
    moved, dimmed = star(order), np.ones(order + 1)
    moved[-1] *= 1.3
    dimmed[-1] = 0.4
    for wrong in (copies(moved), copies(star(order), dimmed), copies(star(order)[:-1])):
        found = picture_symmetry(wrong, tolerance=TOLERANCE)
        assert found.deviation[order] > TOLERANCE
        assert found.order < order


@settings(max_examples=15)
@given(st.floats(0.05, 0.5), st.floats(0, 2 * math.pi))
def test_the_deviation_is_the_displacement(copies, size, direction):
    """Opposite atoms off by +d and -d along a line are d from the nearest two-fold places."""
    by = size * np.array([math.sin(direction), math.cos(direction)])
    offsets = np.concatenate([orbit(2), orbit(2, angle=0.3 + math.pi / 2)])
    offsets[:2] += by  # the first pair goes one way, the second the other
    offsets[2:] -= by
    found = picture_symmetry(copies(offsets), tolerance=TOLERANCE)
    # a little more where it is largest, beside the atoms, along the displacement
    assert size < found.deviation[2] < 1.25 * size


def test_a_shift_of_the_whole_is_no_deviation(copies):
    still = picture_symmetry(copies(star(3)), tolerance=TOLERANCE)
    moved = picture_symmetry(copies(star(3), off=(1.1, 0.6)), tolerance=TOLERANCE)
    assert moved.deviation[3] < still.deviation[3] + 0.02
    assert moved.deviation[2] == pytest.approx(still.deviation[2], rel=0.1)


def test_one_percent_of_shear_is_within_the_tolerance(copies):
    sheared = orbit(6) @ np.array([[1, 0], [0.01, 1]]).T
    found = picture_symmetry(copies(sheared), tolerance=TOLERANCE)
    assert found.order == 6
    assert 0.005 < found.deviation[6] < 0.2


def test_a_round_picture_is_round(copies):
    assert picture_symmetry(copies(np.zeros((1, 2))), tolerance=TOLERANCE).verdict == "round"
    ring = picture_symmetry(copies(orbit(12)), tolerance=TOLERANCE)
    assert ring.deviation[6] < TOLERANCE


def test_the_answer_is_consistent(copies):
    rng = np.random.default_rng(0)
    for _ in range(10):
        found = picture_symmetry(copies(rng.uniform(-9, 9, (4, 2))), tolerance=TOLERANCE)
        for values in (found.deviation, found.low, found.high):
            assert values[6] >= max(values[2], values[3])
            assert values[4] >= values[2]
        assert all(found.low[n] <= found.deviation[n] <= found.high[n] for n in ORDERS)


def test_an_interval_that_straddles_the_tolerance_says_so(copies):
    rng = np.random.default_rng(0)
    needed = sorted({k * TURNS // n for n in ORDERS for k in range(n)})
    draws = []
    for _ in range(30):
        offsets = star(2)
        offsets[-1] += rng.uniform(-2.2, 2.2) * offsets[-1] / 9
        draws.append(copies(offsets)[needed])
    sure = picture_symmetry(copies(star(2)), tolerance=TOLERANCE)
    unsure = picture_symmetry(copies(star(2)), draws=np.stack(draws), tolerance=TOLERANCE)
    assert (sure.order, unsure.order) == (2, -1)
    assert unsure.verdict == "cannot tell"
    assert unsure.low[2] < TOLERANCE < unsure.high[2]


def test_noise_widens_the_interval_less_with_more_crops(copies):
    of = {
        count: picture_symmetry(copies(star(3)), noise=0.01, n_crops=count, tolerance=TOLERANCE)
        for count in (1, 100)
    }
    assert of[1].high[3] > 5 * of[100].high[3] > 0
    assert of[100].order == 3


def test_a_faint_picture_cannot_be_told(copies):
    faint = 0.01 * copies(star(3))
    assert picture_symmetry(faint, faint=1.0, tolerance=TOLERANCE).order == -1
    assert picture_symmetry(0 * faint, tolerance=TOLERANCE).order == -1


def test_channels_count_together(copies):
    pair = np.concatenate([copies(star(6)), copies(star(3))], 1)
    assert picture_symmetry(pair, tolerance=TOLERANCE).order == 3


@pytest.fixture(scope="module")
def coded(lattice_model, sample):
    made = sample("honeycomb", 300, seed=5)
    table = lattice_model.transform(made.crops)
    return made.label, table[["z0", "z1"]].to_numpy(), table[["z0_sd", "z1_sd"]].to_numpy()


def test_units_of_a_trained_model(lattice_model, coded):
    """Bulk carbon is three-fold, carbon beside silicon is not symmetric."""
    label, z, z_sd = coded
    found = decoded_symmetry(lattice_model, z, z_sd=z_sd, unit=np.where(label == 0, 4, 7))
    assert found["unit"].tolist() == [4, 7]
    assert found["verdict"].tolist() == ["3-fold", "no symmetry"]
    assert found["order"].tolist() == [3, 1]
    low, middle, high = (found[f"deviation_3{end}"][0] for end in ("_low", "", "_high"))
    assert 0 <= low <= middle <= high < 0.5


def test_single_pictures_and_their_lengths(lattice_model, coded):
    label, z, z_sd = coded
    some = [np.flatnonzero(label == which)[0] for which in (0, 1)]
    exact = decoded_symmetry(lattice_model, z[some], pixel_pm=15.5)
    assert exact["order"].tolist() == [3, 1]
    np.testing.assert_allclose(exact["deviation_2_pm"], 15.5 * exact["deviation_2"])
    assert exact["deviation_3_low"].equals(exact["deviation_3_high"])
    drawn = decoded_symmetry(lattice_model, z[some], z_sd=z_sd[some])
    assert (drawn["deviation_3_high"] > drawn["deviation_3_low"]).all()
    assert "deviation_3_pm" not in drawn


def test_pictures_of_the_pixel_engine_are_turned_as_it_would():
    images = np.random.default_rng(0).normal(size=(16, 1, 24, 24)).astype(np.float32)
    crops = Crops(images=images, site_id=np.arange(16), window_nd=3.5)
    model = RVAE(decoder="pixel", n_latents=2, epochs=1, device="cpu").fit(crops)
    angles = 2 * math.pi * np.arange(TURNS) / TURNS
    exact = model.inverse_transform(np.zeros((TURNS, 2)), angle=angles).astype(float)
    expected = picture_symmetry(exact, tolerance=TOLERANCE)
    found = decoded_symmetry(model, np.zeros((1, 2)), tolerance_nd=TOLERANCE * 3.5 / 24)
    for order in ORDERS:
        value = found[f"deviation_{order}"][0]
        assert value == pytest.approx(expected.deviation[order], rel=0.02)


def test_the_tolerance_decides(lattice_model, coded):
    label, z, _ = coded
    bulk = z[label == 0][:1]
    assert decoded_symmetry(lattice_model, bulk, tolerance_nd=1e-4)["order"].tolist() == [1]
    assert decoded_symmetry(lattice_model, bulk, tolerance_nd=1.0)["order"][0] in {0, 6}


def test_same_input_same_answer(lattice_model, coded):
    label, z, z_sd = coded
    one, other = (decoded_symmetry(lattice_model, z, z_sd=z_sd, unit=label) for _ in range(2))
    assert one.equals(other)


def test_missing_latents_cannot_be_told(lattice_model, coded):
    label, z, _ = coded
    z = z.copy()
    z[label == 1] = np.nan
    found = decoded_symmetry(lattice_model, z, unit=label)
    assert found["verdict"].tolist() == ["3-fold", "cannot tell"]
    assert np.isnan(found["deviation_2"][1])
    assert decoded_symmetry(lattice_model, [np.nan, 0])["order"].tolist() == [-1]


def test_sites_without_a_unit_are_left_out(lattice_model, coded):
    _, z, _ = coded
    assert len(decoded_symmetry(lattice_model, z[:5], unit=np.full(5, -1))) == 0


def test_pure_noise_cannot_be_told():
    images = np.random.default_rng(0).normal(size=(200, 1, 32, 32)).astype(np.float32)
    model = RVAE(epochs=3, device="cpu").fit(Crops(images=images, site_id=np.arange(200)))
    assert decoded_symmetry(model, np.zeros(4))["verdict"].tolist() == ["cannot tell"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"z_sd": np.zeros((3, 2))}, "z_sd has the shape"),
        ({"z_sd": -np.ones((4, 2))}, "negative"),
        ({"unit": [0, 1]}, "2 units for 4 sites"),
        ({"pixel_pm": 0.0}, "pixel_pm"),
        ({"tolerance_pm": -1.0}, "tolerance_pm"),
        ({"tolerance_nd": math.nan}, "tolerance_nd"),
    ],
)
def test_what_does_not_fit_is_said(lattice_model, options, message):
    with pytest.raises(InputError, match=message):
        decoded_symmetry(lattice_model, np.zeros((4, 2)), **options)


def test_wrong_latents_and_untrained_models(lattice_model):
    with pytest.raises(InputError, match="latents"):
        decoded_symmetry(lattice_model, np.zeros((1, 3)))
    with pytest.raises(NotFittedError):
        decoded_symmetry(RVAE(), np.zeros(4))
