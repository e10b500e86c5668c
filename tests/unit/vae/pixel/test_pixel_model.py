import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_rvae.vae.pixel.model import (
    Code,
    PixelVAE,
    angle_divergence_without_mean,
    divergence,
)


def network(channels=1, pixels=9, n_latents=2, **options):
    seed = torch.Generator().manual_seed(3)
    return PixelVAE(channels, pixels, n_latents, 16, seed, **options)


def pictures(count, channels=1, pixels=9):
    seed = torch.Generator().manual_seed(4)
    return torch.randn(count, channels, pixels, pixels, generator=seed)


def code_of(model, count, seed=5):
    seed = torch.Generator().manual_seed(seed)
    size = model.encoder[-1].out_features // 2
    return model.read(2 * torch.randn(count, size, generator=seed))


def rng(seed=6):
    return torch.Generator().manual_seed(seed)


# --------------------------------------------------------------------------- the loss
def loss_written_out(model, images, noise, prior_sd):
    """The published loss, one crop and one pixel at a time."""
    state = {name: value.double().numpy() for name, value in model.state_dict().items()}

    def layer(name, x):
        return state[f"{name}.weight"] @ x + state[f"{name}.bias"]

    total = 0.0
    side = images.shape[-1]
    half = (side - 1) / 2
    for image, draw in zip(images.double().numpy(), noise.double().numpy(), strict=True):
        h = np.tanh(layer("encoder.2", np.tanh(layer("encoder.0", image.ravel()))))
        mean, log_sd = np.split(layer("encoder.4", h), 2)
        angle, dy, dx, *z = mean + np.exp(log_sd) * draw
        error = 0.0
        for i in range(side):
            for j in range(side):
                y, x = i / half - 1, j / half - 1
                place = np.array(
                    [
                        y * math.cos(angle) + x * math.sin(angle) + 0.1 * dy,
                        x * math.cos(angle) - y * math.sin(angle) + 0.1 * dx,
                    ]
                )
                h = np.tanh(layer("place", place) + state["content.weight"] @ np.array(z))
                h = np.tanh(layer("wide.2", np.tanh(layer("wide.0", h))))
                error += ((layer("out", h) - image[:, i, j]) ** 2).sum()
        sd = np.exp(log_sd)
        price = (-log_sd + sd**2 / 2 + mean**2 / 2 - 0.5)[1:].sum()
        price += math.log(prior_sd) - log_sd[0] + sd[0] ** 2 / (2 * prior_sd**2) - 0.5
        total += (error / 2 + price) / len(images)
    return total


@pytest.mark.parametrize("channels", [1, 2])
def test_the_loss_is_the_published_one(channels):
    model, images = network(channels, angle_prior_sd=0.3), pictures(3, channels)
    terms = model.loss(images, beta=1.0, seed=rng())
    noise = torch.randn(3, 5, generator=rng())
    expected = loss_written_out(model, images, noise, 0.3)
    assert float(terms.total.detach()) == pytest.approx(expected, rel=1e-5)


def test_the_terms_add_up():
    terms = network().loss(pictures(4), beta=0.25, seed=rng())
    expected = 0.5 * float(terms.misfit) + 0.25 * float(terms.divergence)
    assert float(terms.total.detach()) == pytest.approx(expected, rel=1e-6)


@given(
    mean=st.floats(-3, 3),
    sd=st.floats(0.01, 3),
    prior_sd=st.floats(0.05, 4),
)
def test_the_angle_costs_its_divergence_less_that_of_its_mean(mean, sd, prior_sd):
    prior, posterior = (
        torch.distributions.Normal(*torch.tensor(values, dtype=torch.float64))
        for values in ((0.0, prior_sd), (mean, sd))
    )
    whole = float(torch.distributions.kl_divergence(posterior, prior))
    log_sd = torch.tensor([math.log(sd)], dtype=torch.float64)
    found = float(angle_divergence_without_mean(log_sd, prior_sd))
    assert found == pytest.approx(whole - mean**2 / (2 * prior_sd**2), rel=1e-6, abs=1e-6)
    assert found >= -1e-12


def test_codes_cost_their_divergence_from_a_standard_normal():
    mean, log_sd = torch.randn(2, 5, 3, generator=rng())
    posterior = torch.distributions.Normal(mean, log_sd.exp())
    expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0, 1))
    torch.testing.assert_close(divergence(mean, log_sd), expected.sum(1))


def test_the_mean_of_the_angle_is_free():
    """With no picture to fit, only the widths and the other means are pulled."""
    model, images = network(), pictures(4)
    mean, log_sd = model.infer(images)
    price = divergence(mean[:, 1:], log_sd[:, 1:]) + angle_divergence_without_mean(
        log_sd[:, 0], 0.1
    )
    (pull,) = torch.autograd.grad(price.sum(), mean)
    assert (pull[:, 0] == 0).all()
    assert (pull[:, 1:] != 0).all()


# --------------------------------------------------------------------------- the pose
@given(angle=st.floats(-7, 7), dy=st.floats(-3, 3), dx=st.floats(-3, 3))
def test_a_place_of_the_canonical_picture_appears_where_the_convention_says(angle, dy, dx):
    model = network()
    z = torch.tensor([[0.4, -1.0]])
    canonical = Code(torch.zeros(1), torch.zeros(1, 2), z)
    posed = canonical._replace(angle=torch.tensor([angle]))
    c, s = math.cos(angle), math.sin(angle)
    there = torch.tensor([[dy * c - dx * s, dx * c + dy * s]])
    torch.testing.assert_close(
        model.generate(posed, there),
        model.generate(canonical, torch.tensor([[dy, dx]])),
        atol=1e-5,
        rtol=1e-5,
    )


def test_the_offset_is_the_place_at_the_centre():
    model = network()
    code = code_of(model, 3)
    centred = code._replace(angle=torch.zeros(3), offset=torch.zeros(3, 2))
    at_centre = model.generate(code, torch.zeros(1, 2))
    there = model.generate(centred, code.offset[:, None])
    torch.testing.assert_close(at_centre, there)


def test_a_shift_is_a_tenth_of_half_the_window_times_its_latent():
    code = network().read(torch.tensor([[0.5, 1.0, -2.0, 7.0, 8.0]]))
    assert code.angle.tolist() == [0.5]
    torch.testing.assert_close(code.offset, torch.tensor([[0.1, -0.2]]))
    assert code.z.tolist() == [[7.0, 8.0]]


@pytest.mark.parametrize(
    ("rotation", "shifts", "size"), [(True, True, 5), (True, False, 3), (False, True, 4)]
)
def test_codes_hold_what_the_model_may_do(rotation, shifts, size):
    model = network(rotation=rotation, shifts=shifts)
    mean, log_sd = model.infer(pictures(3))
    assert mean.shape == log_sd.shape == (3, size)
    code = model.read(mean)
    assert bool((code.angle != 0).all()) is rotation
    assert bool((code.offset != 0).all()) is shifts
    torch.testing.assert_close(code.z, mean[:, -2:])


def test_a_plain_vae_pays_for_latents_alone():
    model, images = network(rotation=False, shifts=False), pictures(3)
    terms = model.loss(images, beta=1.0, seed=rng())
    expected = divergence(*model.infer(images)).mean()
    torch.testing.assert_close(terms.divergence, expected.detach())


# --------------------------------------------------------------------------- fewer pixels
@pytest.mark.parametrize("channels", [1, 3])
def test_parts_of_the_pixels_give_the_loss_of_all_on_average(channels):
    model, images = network(channels), pictures(4, channels)
    parts = torch.randperm(81, generator=rng(8)).reshape(9, 9)
    gradients, misfits = [], []
    for part in [None, *parts]:
        chosen = None if part is None else part.expand(4, -1)
        terms = model.loss(images, beta=1.0, seed=rng(), chosen=chosen)
        misfits.append(float(terms.misfit))
        gradient = torch.autograd.grad(terms.total, list(model.parameters()))
        gradients.append(torch.cat([g.flatten() for g in gradient]))
    assert np.mean(misfits[1:]) == pytest.approx(misfits[0], rel=1e-5)
    torch.testing.assert_close(torch.stack(gradients[1:]).mean(0), gradients[0])


def test_pixels_are_drawn_in_their_places():
    model, images = network(2), pictures(3, 2)
    code = code_of(model, 3)
    drawn = model.draw(code)
    assert drawn.shape == images.shape
    some = model.generate(code, model.positions[torch.tensor([0, 8, 40])])
    torch.testing.assert_close(some, drawn.flatten(2)[:, :, [0, 8, 40]].transpose(1, 2))


def test_half_precision_is_for_the_training_only():
    exact, images = network(), pictures(4)
    rough = network(half_precision=True)
    want = exact.loss(images, beta=1.0, seed=rng()).misfit
    got = rough.train().loss(images, beta=1.0, seed=rng())
    assert 0 < abs(float(got.misfit / want) - 1) < 0.01
    assert got.total.dtype == torch.float32
    torch.testing.assert_close(rough.eval().loss(images, beta=1.0, seed=rng()).misfit, want)


# --------------------------------------------------------------------------- the network
def test_first_weights_are_those_of_the_published_network():
    """Uniform within one over the root of the number of inputs, biases too."""
    model = network(pixels=32)
    layers = {name: m for name, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    widths = {name: (m.in_features, m.out_features) for name, m in layers.items()}
    assert widths == {
        "encoder.0": (1024, 16),
        "encoder.2": (16, 16),
        "encoder.4": (16, 10),
        "place": (2, 16),
        "content": (2, 16),
        "wide.0": (16, 16),
        "wide.2": (16, 16),
        "out": (16, 1),
    }
    assert layers["content"].bias is None
    for layer in layers.values():
        for parameter in layer.parameters():
            most = float(parameter.detach().abs().max()) * math.sqrt(layer.in_features)
            assert most <= 1
            assert most > 0.5 or parameter.numel() < 16


def test_no_global_random_numbers_are_taken():
    before = torch.random.get_rng_state()
    network().loss(pictures(2), beta=1.0, seed=rng())
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_same_seed_gives_the_same_network():
    one, other = network().state_dict(), network().state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_pieces_are_smaller_where_the_network_is_wider():
    model = PixelVAE(1, 32, 2, 128, rng())
    wide = PixelVAE(1, 32, 2, 512, rng())
    assert model.at_a_time() == 8
    assert model.at_a_time(128) == 64
    assert wide.at_a_time() == 1
    assert model.to("meta").at_a_time() == 256  # no CPU
