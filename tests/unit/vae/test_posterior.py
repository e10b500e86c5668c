import math

import pytest
import torch

from napari_rvae.vae.model import SteerableVAE
from napari_rvae.vae.pose import rotate
from napari_rvae.vae.posterior import infer_posterior

M, K = 6, 3


@pytest.fixture(scope="module")
def model():
    """A decoder with random weights, whose templates change much with the latents."""
    mask = torch.ones(M, 2, K)
    mask[0, 1] = 0
    made = SteerableVAE(mask, 2, 32, torch.Generator().manual_seed(1))
    made.decoder[-1].weight.data.mul_(40)
    made.s2 = 0.02
    return made.eval()


def observe(model, count, seed=0):
    """True latents (N, 2), and noisy data (N, M, 2, K) at random angles."""
    random = torch.Generator().manual_seed(seed)
    z = torch.randn(count, 2, generator=random)
    angle = 2 * math.pi * torch.rand(count, generator=random)
    with torch.no_grad():
        clean = rotate(model.generate(z), angle)
    noise = torch.randn(clean.shape, generator=random) * math.sqrt(model.s2)
    return z, clean + noise * model.mask


def nodes():
    line = torch.linspace(-2.5, 2.5, 9)
    return torch.cartesian_prod(line, line)


def test_the_encoder_is_only_where_the_search_begins(model):
    """This encoder was never trained, and says nothing."""
    z, data = observe(model, 400)
    found = infer_posterior(model, data, nodes=nodes())
    guess, _ = model.infer(model.features(data))
    error = (found.mean - z).norm(dim=1)
    assert (guess - z).norm(dim=1).median() > 0.8
    assert error.median() < 0.3
    sure = found.elsewhere < 0.05
    assert (error[sure] < 1).float().mean() > 0.9


def test_intervals_hold_the_truth_as_often_as_they_say(model):
    z, data = observe(model, 2000)
    found = infer_posterior(model, data, nodes=nodes())
    sure = found.elsewhere < 0.05
    off = ((found.mean - z) / found.sd)[sure].abs()
    assert (off < 1).float().mean() == pytest.approx(0.68, abs=0.06)
    assert (off < 1.96).float().mean() == pytest.approx(0.95, abs=0.04)


def test_the_result_does_not_see_the_angle(model):
    _, data = observe(model, 50)
    one = infer_posterior(model, data, nodes=nodes())
    other = infer_posterior(model, rotate(data, torch.full((50,), 1.1)), nodes=nodes())
    torch.testing.assert_close(one.mean, other.mean, atol=0.02, rtol=0)
    turn = torch.remainder(other.pose.angle - one.pose.angle - 1.1 + math.pi, 2 * math.pi)
    assert (turn - math.pi).abs().max() < 0.02


def test_two_readings_of_a_crop_are_flagged():
    """Templates that depend on the latent's square fit as well with either sign."""
    mask = torch.ones(3, 2, 1)
    mask[0, 1] = 0

    class Even(SteerableVAE):
        def generate(self, z):
            return self.unpack(z**2 * torch.tensor([1.0, 2.0, 0.5, -1.0, 1.0]))

        def slopes(self, z):
            return (2 * z * torch.tensor([1.0, 2.0, 0.5, -1.0, 1.0]))[:, None]

    model = Even(mask, 1, 8, torch.Generator().manual_seed(0)).eval()
    model.s2 = 0.01
    with torch.no_grad():
        data = model.generate(torch.full((20, 1), 1.2))
    places = torch.linspace(-2, 2, 11)[:, None]
    found = infer_posterior(model, data, nodes=places)
    assert found.mean.abs().sub(1.2).abs().max() < 0.1
    torch.testing.assert_close(found.elsewhere, torch.full((20,), 0.5), atol=0.05, rtol=0)
    assert not infer_posterior(model, data).elsewhere.any()


def test_no_crops(model):
    found = infer_posterior(model, torch.zeros(0, M, 2, K), nodes=nodes())
    assert found.mean.shape == (0, 2)
    assert found.elsewhere.shape == (0,)
