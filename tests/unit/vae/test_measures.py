"""The arithmetic of the self-checks: turning, harmonics, prediction, agreement."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import special_ortho_group

from napari_rvae.vae.measures import (
    N_ORDERS,
    Rings,
    angle_disagreement,
    canonical_correlations,
    neighbour_overlap,
    noise_levels,
    one_minus_ratio,
    predictability,
    symmetry_orders,
    turn_pictures,
)

MOTIF = np.array([(0.0, 0.0), (0.0, 7.0), (6.0, -4.0), (-8.0, 1.0)])


def pictures(*images):
    return np.stack(images)[:, None].astype(np.float32)


def polygon(n, radius=9.0):
    phi = 2 * math.pi * np.arange(n) / n + 0.3
    return radius * np.stack([np.sin(phi), np.cos(phi)], 1)


# ---------------------------------------------------------------- pictures


@given(angle=st.floats(-7, 7), pixels=st.sampled_from([24, 31, 32]))
def test_pictures_turn_in_the_sense_of_the_package(angle, pixels, picture, turned):
    before = pictures(picture(MOTIF, pixels=pixels))
    wanted = pictures(picture(turned(MOTIF, angle), pixels=pixels))
    found = turn_pictures(before, angle)
    line = np.arange(pixels) - (pixels - 1) / 2
    disc = np.hypot(line[:, None], line) < pixels / 2 - 1
    # what lies beyond the edge of the small grid comes back as its mirror image, dimly
    assert np.abs(found - wanted)[..., disc].max() < (0.02 if pixels > 24 else 0.05)


def test_each_picture_has_its_own_angle(picture):
    image = pictures(picture(MOTIF), picture(MOTIF))
    both = turn_pictures(image, [0.4, -0.4])
    assert np.allclose(both[0], turn_pictures(image[:1], 0.4)[0])
    assert np.allclose(both[1], turn_pictures(image[:1], -0.4)[0])
    assert turn_pictures(image[:0], []).shape == (0, 1, 32, 32)


@given(angle=st.floats(-7, 7))
def test_turning_harmonics_is_turning_the_picture(angle, picture, turned):
    rings = Rings(32)
    before, after = (
        rings.harmonics(pictures(picture(offsets)).astype(float))
        for offsets in (MOTIF, turned(MOTIF, angle))
    )
    assert np.abs(rings.turn(before, np.array([angle])) - after).max() < 0.02 * np.abs(after).max()


@pytest.mark.parametrize("pixels", [24, 31, 32, 48])
def test_a_round_picture_has_no_harmonics_and_noise_its_own_variance(pixels, picture, rng):
    rings = Rings(pixels)
    disc = pictures(picture([[0, 0]], pixels=pixels, sigma=pixels / 8)).astype(float)
    dot = pictures(picture([[0, pixels / 4]], pixels=pixels, sigma=pixels / 16)).astype(float)
    assert np.abs(rings.harmonics(disc + 7)).max() < 0.02 * np.abs(rings.harmonics(dot)).max()
    noise = rings.harmonics(rng.normal(0, 3, (2000, 1, pixels, pixels)))
    assert noise.shape == (2000, 1, 3, N_ORDERS)
    assert (np.abs(noise) ** 2).mean(0) == pytest.approx(np.full((1, 3, N_ORDERS), 9.0), rel=0.15)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 6])
def test_the_order_of_symmetry(n, picture):
    rings = Rings(32)
    image = pictures(picture(polygon(n)))
    assert symmetry_orders(rings.harmonics(image.astype(float))).tolist() == [n]
    assert symmetry_orders(np.zeros((2, 1, 3, N_ORDERS), complex)).tolist() == [1, 1]


def test_noise_is_measured_and_what_is_known_of_it_wins(rng):
    noise = rng.normal(0, 1, (50, 2, 32, 32)) * np.array([0.5, 2.0])[:, None, None]
    assert noise_levels(noise, math.nan) == pytest.approx([0.5, 2.0], rel=0.05)
    assert noise_levels(noise, 1.0) == pytest.approx([1.0, 4.0], rel=0.1)
    assert noise_levels(np.zeros((3, 1, 32, 32)), 1.0).tolist() == [0.0]


# ---------------------------------------------------------------- latents


def halves(count):
    return [(np.arange(0, count, 2), np.arange(1, count, 2))]


def test_what_latents_hold_of_a_direction_is_found_and_chance_is_not(rng):
    phase = rng.uniform(-math.pi, math.pi, 600)
    z = rng.normal(size=(600, 4))
    nothing = predictability(z, phase[:, None], halves(600), rng)
    assert abs(nothing.value) < 0.06
    assert nothing.low < 0 < nothing.high
    told = np.stack([z[:, 0], np.cos(phase), np.sin(phase), z[:, 1]], 1)
    assert predictability(told, phase[:, None], halves(600), rng).value > 0.9
    # half of the noise is told
    hidden = np.where(rng.random(600) < 0.5, phase, rng.uniform(-math.pi, math.pi, 600))
    part = predictability(told, hidden[:, None], halves(600), rng)
    assert 0.1 < part.value < 0.5
    assert part.low < part.value < part.high


def test_the_direction_that_is_predicted_best_counts(rng):
    phase = rng.uniform(-math.pi, math.pi, (600, 2))
    z = np.stack([np.cos(phase[:, 1]), np.sin(phase[:, 1])], 1)
    assert predictability(z, phase, halves(600), rng).value > 0.9


def test_directions_that_are_all_alike_tell_nothing(rng):
    z = rng.normal(size=(100, 2))
    assert predictability(z, rng.normal(0, 0.05, (100, 1)), halves(100), rng) is None
    assert predictability(z, np.zeros((100, 1)), halves(100), rng) is None


def test_shares_have_an_interval_and_nothing_has_none(rng):
    whole = rng.uniform(1, 2, 500)
    found = one_minus_ratio(0.25 * whole, whole, rng)
    assert found.value == pytest.approx(0.75)
    assert found.low == pytest.approx(found.high)
    assert one_minus_ratio(whole, np.zeros(500), rng) is None


def test_linear_maps_of_latents_agree_and_noise_does_not(rng):
    z = rng.normal(size=(400, 3))
    mixed = z @ (special_ortho_group.rvs(3, random_state=0) * [1, 100, 0.01]) + 5
    assert canonical_correlations(z, mixed, rng) == pytest.approx(np.ones(3))
    other = rng.normal(size=(400, 2))
    assert np.abs(canonical_correlations(z, other, rng)).max() < 0.25
    half = canonical_correlations(z, np.concatenate([z[:, :1], other], 1), rng)
    assert half[0] > 0.99
    assert abs(half[1]) < 0.3
    twice = np.concatenate([z, z], 1)
    assert canonical_correlations(z, twice, rng)[:3] == pytest.approx(np.ones(3))


def test_neighbours(rng):
    z = rng.normal(size=(300, 2))
    assert neighbour_overlap(z, 3 * z) == 1.0
    assert neighbour_overlap(z, rng.normal(size=(300, 2))) < 0.1
    assert neighbour_overlap(z[:8], z[:8]) == 1.0


@pytest.mark.parametrize("n", [1, 3])
def test_the_gauge_does_not_count_as_disagreement(rng, n):
    z = rng.normal(size=(800, 2))
    order = np.full(800, n)
    other_way = np.where(z[:, 0] > 0, 1.0, -0.5) + 2 * math.pi / n * rng.integers(0, n, 800)
    noise = rng.normal(0, 0.05, 800)
    found = angle_disagreement(z, other_way + noise, order)
    # crops beside the jump of the gauge, with neighbours on both sides, count
    assert 0.045 < found < 0.3 / n
    wild = angle_disagreement(z, rng.uniform(-math.pi, math.pi, 800), order)
    assert wild == pytest.approx(math.pi / n / math.sqrt(3), rel=0.1)
