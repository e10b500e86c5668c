import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_rvae.vae.invariants import count_features, invariant_features
from napari_rvae.vae.model import SteerableVAE
from napari_rvae.vae.pose import rotate
from strategies import angles

M, K = 8, 3


def make_data(seed=0, count=64):
    data = torch.randn(count, M, 2, K, generator=torch.Generator().manual_seed(seed))
    data[:, 0, 1] = 0
    return data


@pytest.fixture(scope="module")
def mask():
    exists = torch.ones(M, 2, K)
    exists[0, 1] = 0
    exists[M - 2 :, :, 1:] = 0
    return exists


@pytest.fixture
def model(mask):
    return make_model(mask)


def make_model(mask, *, rotation=True):
    made = SteerableVAE(mask, 2, 32, torch.Generator().manual_seed(0), rotation=rotation)
    data = make_data() * mask
    made.start_from(data, data[0], 0.01)
    return made


def loss_of(model, data, **options):
    return model.loss(data, model.features(data), **options)


@given(st.integers(0, 99), angles)
def test_the_features_do_not_see_the_angle(mask, seed, angle):
    data = make_data(seed, 5) * mask
    turned = rotate(data, torch.full((5,), angle))
    one, other = (invariant_features(values, mask) for values in (data, turned))
    torch.testing.assert_close(one, other, atol=5e-4, rtol=0)
    assert one.shape == (5, count_features(mask))


@given(angles)
def test_inference_does_not_see_the_angle(mask, angle):
    """Also not through the standardisation before the encoder."""
    model = make_model(mask).eval()
    data = make_data(1) * mask
    with torch.no_grad():
        upright = model.infer(model.features(data))
        turned = model.infer(model.features(rotate(data, torch.full((64,), angle))))
    for one, other in zip(upright, turned, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=0)


def test_the_features_tell_mirror_images_apart(mask):
    data = make_data(2, 5) * mask
    mirrored = data * torch.tensor([1.0, -1.0])[:, None]
    difference = invariant_features(data, mask) - invariant_features(mirrored, mask)
    assert difference.abs().amax() > 0.1


def test_a_plain_model_sees_the_angle(mask):
    model = make_model(mask, rotation=False).eval()
    data = make_data(1) * mask
    turned = rotate(data, torch.full((64,), 0.5))
    with torch.no_grad():
        upright, other = (model.infer(model.features(values))[0] for values in (data, turned))
        pose = model.pose(data, model.generate(upright), 1.0)
    assert (upright - other).abs().amax() > 0.01
    assert not pose.angle.any()


def test_slopes_are_the_derivatives_of_the_template(mask):
    model = make_model(mask)
    z = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    expected = torch.stack(
        [torch.autograd.functional.jacobian(lambda v: model.generate(v[None])[0], row) for row in z]
    )
    found = model.unpack(model.slopes(z))
    torch.testing.assert_close(found.movedim(1, -1), expected, atol=1e-5, rtol=1e-4)


def test_the_best_match_is_that_of_the_best_angle(mask):
    model = make_model(mask)
    templates = make_data(3, 4) * mask
    data = rotate(templates, torch.full((4,), 2 * math.pi / 5))
    match = model.best_match(data, templates)
    power = (templates**2).flatten(1).sum(1)
    torch.testing.assert_close(match.diagonal(), power, rtol=1e-3, atol=0)


def test_the_loss_does_not_see_the_angle(model, mask):
    data = make_data(3) * mask
    losses = [
        loss_of(
            model,
            rotate(data, torch.full((64,), angle)),
            beta=1.0,
            temper=1.0,
            seed=torch.Generator().manual_seed(1),
        )
        for angle in (0.0, 1.234)
    ]
    totals = [float(terms.total.detach()) for terms in losses]
    assert totals[0] == pytest.approx(totals[1], rel=1e-3)
    turn = torch.remainder(losses[1].angle - losses[0].angle - 1.234 + math.pi, 2 * math.pi)
    assert (turn - math.pi).abs().max() < 1e-2


def test_the_terms_of_the_loss(model, mask):
    data = make_data(4) * mask
    terms = loss_of(model, data, beta=0.5, temper=1.0, seed=torch.Generator().manual_seed(0))
    assert float(terms.divergence) >= 0
    assert float(terms.misfit) > 0
    expected = 0.5 * float(terms.misfit) / model.s2 + 0.5 * float(terms.divergence)
    assert float(terms.total.detach()) == pytest.approx(expected, rel=1e-4)
    assert terms.angle.shape == (64,)
    terms.total.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_a_perfect_template_costs_nothing(model, mask):
    """Data made by the decoder, turned at will, are explained but for the angle's width."""
    z = torch.zeros(64, 2)
    with torch.no_grad():
        data = rotate(model.generate(z), torch.linspace(-3, 3, 64))
        model.encoder[-1].weight.zero_()
        model.encoder[-1].bias.copy_(torch.tensor([0.0, 0.0, -8.0, -8.0]))
        model.s2 = 1e-4
        terms = loss_of(model, data, beta=0.0, temper=1.0, seed=torch.Generator().manual_seed(0))
    assert float(terms.misfit) < 0.01 * float((data**2).flatten(1).sum(1).mean())


def test_templates_hold_only_what_the_basis_holds(model, mask):
    template = model.generate(torch.randn(9, 2, generator=torch.Generator().manual_seed(0)))
    assert template.shape == (9, M, 2, K)
    assert not template[:, mask == 0].any()


def test_the_first_template_is_like_the_typical_crop(model, mask):
    typical = (make_data() * mask)[0]
    with torch.no_grad():
        template = model.generate(torch.zeros(1, 2))[0]
    cosine = (template * typical).sum() / (template.norm() * typical.norm())
    assert float(cosine) > 0.5


def test_the_same_seed_gives_the_same_network(mask):
    one, two, other = (
        SteerableVAE(mask, 2, 16, torch.Generator().manual_seed(seed)) for seed in (5, 5, 6)
    )
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name])
    assert not torch.equal(one.encoder[0].weight, other.encoder[0].weight)


def test_the_global_random_numbers_stay(model, mask):
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    SteerableVAE(mask, 2, 16, torch.Generator().manual_seed(0))
    loss_of(model, make_data() * mask, beta=1.0, temper=2.0, seed=torch.Generator().manual_seed(0))
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002


def test_a_single_order_is_enough_for_a_network():
    model = SteerableVAE(torch.ones(1, 2, 1), 1, 8, torch.Generator().manual_seed(0))
    data = torch.randn(16, 1, 2, 1, generator=torch.Generator().manual_seed(0))
    data[:, :, 1] = 0
    terms = loss_of(model, data, beta=1.0, temper=1.0, seed=torch.Generator().manual_seed(0))
    assert torch.isfinite(terms.total)
