import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_rvae.vae.pose import AngleGrid, derotate, rotate
from strategies import angles

M, K = 9, 4
CPU = torch.device("cpu")


def coefficients(seed=0, count=3, n_orders=M):
    values = torch.randn(count, n_orders, 2, K, generator=torch.Generator().manual_seed(seed))
    values[:, 0, 1] = 0  # order 0 has no sine
    return values


def full(angle, count=3):
    return torch.full((count,), angle)


def close(one, other, atol=2e-4):
    return torch.allclose(one, other, atol=atol)


@given(st.integers(0, 99), angles, angles)
def test_turns_add_up(seed, a, b):
    c = coefficients(seed)
    assert close(rotate(rotate(c, full(a)), full(b)), rotate(c, full(a + b)))


@given(st.integers(0, 99), angles)
def test_a_turn_has_an_inverse_and_keeps_lengths(seed, a):
    c = coefficients(seed)
    assert close(rotate(rotate(c, full(a)), full(-a)), c)
    norm = torch.linalg.vector_norm
    assert close(norm(rotate(c, full(a)), dim=(2, 3)), norm(c, dim=(2, 3)))


@given(st.integers(0, 99), st.integers(-3, 3))
def test_whole_turns_change_nothing(seed, n):
    c = coefficients(seed)
    assert close(rotate(c, full(2 * math.pi * n)), c)


@given(st.integers(0, 99), angles)
def test_derotation_by_a_sharp_posterior_is_the_inverse_turn(seed, a):
    c = coefficients(seed)
    phase = torch.arange(M) * a
    moments = torch.stack([torch.cos(phase), torch.sin(phase)], 1).expand(3, M, 2)
    assert close(derotate(c, moments), rotate(c, full(-a)))


@given(st.integers(0, 99), st.floats(-3.1, 3.1))
def test_a_planted_angle_is_found_with_its_sign(seed, a):
    template = coefficients(seed)
    pose = AngleGrid(M, CPU).posterior(rotate(template, full(a)), template, 0.01)
    assert close(pose.angle, full(a), atol=1e-3)
    phase = torch.arange(M) * a
    assert close(pose.moments[..., 0], torch.cos(phase).expand(3, M), atol=0.02)
    assert close(pose.moments[..., 1], torch.sin(phase).expand(3, M), atol=0.02)


def test_angles_lie_in_the_half_open_circle():
    template = coefficients(count=8)
    turns = torch.linspace(-math.pi, math.pi, 8)
    angle = AngleGrid(M, CPU).posterior(rotate(template, turns), template, 0.1).angle
    assert ((angle > -math.pi) & (angle <= math.pi)).all()


def test_the_sd_tells_the_error_and_shrinks_with_the_dose():
    template = coefficients(1, count=1).expand(4000, -1, -1, -1)
    noise = coefficients(2, count=4000)
    seen = []
    for sd in (0.8, 0.4, 0.2):
        data = rotate(template, full(1.0, 4000)) + sd * noise
        pose = AngleGrid(M, CPU).posterior(data, template, sd**2)
        error = pose.angle - 1.0
        assert float((error / pose.angle_sd).std()) == pytest.approx(1, abs=0.1)
        seen.append(float(pose.angle_sd.mean()))
    np.testing.assert_allclose(np.divide(seen[:-1], seen[1:]), 2, rtol=0.1)


def test_a_round_template_leaves_the_angle_open():
    template = coefficients()
    template[:, 1:] = 0
    pose = AngleGrid(M, CPU).posterior(template, template, 1.0)
    assert close(pose.angle_sd, full(math.pi / math.sqrt(3)))
    assert close(pose.moments[:, 1:], torch.zeros(3, M - 1, 2))


@pytest.mark.parametrize("s2", [30.0, 3.0, 0.5])
def test_the_posterior_is_the_integral_over_all_angles(s2):
    template, data = coefficients(5), coefficients(6)
    pose = AngleGrid(M, CPU).posterior(data, template, s2)
    angle = torch.arange(4096) * (2 * math.pi / 4096)
    match = torch.stack(
        [(data * rotate(template, full(float(a)))).flatten(1).sum(1) for a in angle]
    )
    weight = torch.softmax(match / s2, 0)
    evidence = torch.logsumexp(match / s2, 0) - math.log(4096)
    assert close(pose.evidence, evidence, atol=2e-2)
    for order in (1, 4, M - 1):
        truth = (weight * torch.cos(order * angle)[:, None]).sum(0)
        assert close(pose.moments[:, order, 0], truth, atol=1e-2)


def test_two_fold_data_give_an_equal_mixture_of_both_angles():
    template = coefficients(7)
    template[:, 1::2] = 0
    pose = AngleGrid(M, CPU).posterior(rotate(template, full(0.3)), template, 0.5)
    assert pose.moments[:, 1].abs().max() < 1e-3
    assert close(pose.moments[:, 2, 0], full(math.cos(0.6)), atol=0.05)


def test_the_grid_is_fine_enough_for_high_orders():
    template = coefficients(8, n_orders=60)
    assert AngleGrid(60, CPU).size >= 4 * 60
    pose = AngleGrid(60, CPU).posterior(rotate(template, full(-2.2)), template, 0.01)
    assert close(pose.angle, full(-2.2), atol=1e-3)
