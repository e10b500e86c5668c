"""The network: infer the latents from what a rotation cannot change, generate a template.

Read from top to bottom: layers, the model with its features, infer / generate / loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from napari_rvae.vae.invariants import count_features, invariant_features
from napari_rvae.vae.network import Network, draw_weights, linear
from napari_rvae.vae.pose import AngleGrid, Pose, derotate

__all__ = ["LossTerms", "SteerableVAE"]

#: Crops whose features are taken at a time, and that tell the features' spread.
_CHUNK = 4000


def _silu_slope(value: torch.Tensor) -> torch.Tensor:
    share = torch.sigmoid(value)
    return share * (1 + value * (1 - share))


def _perceptron(n_in: int, hidden: int, n_out: int, seed: torch.Generator) -> nn.Sequential:
    return nn.Sequential(
        linear(n_in, hidden, seed),
        nn.SiLU(),
        linear(hidden, hidden, seed),
        nn.SiLU(),
        linear(hidden, n_out, seed),
    )


@dataclass(frozen=True, eq=False)
class LossTerms:
    """What a batch costs.

    Attributes
    ----------
    total
        Misfit / (2 s2) + beta x divergence, the mean over the batch; has a gradient.
    misfit
        Mean squared distance of data and template, over all coefficients of a crop.
    divergence
        Mean Kullback-Leibler divergence of the latents from their prior, in nats.
    angle
        Most likely angle of each crop (B,).
    template
        Decoded coefficients (B, M, 2, K), without gradient.
    """

    total: torch.Tensor
    misfit: torch.Tensor
    divergence: torch.Tensor
    angle: torch.Tensor
    template: torch.Tensor

    @property
    def figures(self) -> torch.Tensor:
        """Total, misfit and divergence (3,), without gradient."""
        return torch.stack([self.total.detach(), self.misfit, self.divergence])


class SteerableVAE(Network):
    """Variational autoencoder whose angle is marginalised exactly.

    The bound is that of the latents alone, given the angle's posterior for the current
    template: a collapsed bound.

    Parameters
    ----------
    mask
        Which coefficients exist (M, 2, K).
    n_latents, hidden
        Sizes of the network.
    seed
        Source of the first weights.
    rotation
        False for a plain VAE: every crop has the angle 0.
    """

    centre: torch.Tensor
    scale: torch.Tensor
    mask: torch.Tensor
    places: torch.Tensor
    feature_mean: torch.Tensor
    feature_sd: torch.Tensor

    def __init__(
        self,
        mask: torch.Tensor,
        n_latents: int,
        hidden: int,
        seed: torch.Generator,
        *,
        rotation: bool = True,
    ) -> None:
        super().__init__()
        self.n_orders, _, self.n_radial = mask.shape
        self.n_latents, self.rotation = n_latents, rotation
        places = mask.flatten().nonzero()[:, 0]
        n_features = count_features(mask) if rotation else len(places)
        self.encoder = _perceptron(n_features, hidden, 2 * n_latents, seed)
        self.decoder = _perceptron(n_latents, hidden, len(places), seed)
        self.register_buffer("mask", mask.clone())
        self.register_buffer("places", places, persistent=False)  # of what exists, (n,)
        self.register_buffer("centre", torch.zeros_like(mask))
        self.register_buffer("scale", torch.ones_like(mask))
        self.register_buffer("feature_mean", torch.zeros(n_features))
        self.register_buffer("feature_sd", torch.ones(n_features))
        self.s2 = 1.0  # variance of a coefficient about its template
        self._grid: AngleGrid | None = None

    @property
    def grid(self) -> AngleGrid:
        """The angles to try, on the model's device."""
        device = self.mask.device
        if self._grid is None or self._grid.angle.device != device:
            self._grid = AngleGrid(self.n_orders, device)
        return self._grid

    def draw_weights(self, seed: torch.Generator) -> None:
        """Draw the weights anew; a generator seeded alike gives those of a new model."""
        for part in (self.encoder, self.decoder):
            draw_weights(part, seed)

    @torch.no_grad()
    def start_from(self, data: torch.Tensor, typical: torch.Tensor, noise2: float) -> None:
        """Set the encoder's scales from data (N, M, 2, K), the first template from one crop."""
        self.centre.zero_()
        self.centre[0] = data[:, 0].mean(0)
        parts = torch.full((self.n_orders, 1), 2.0, device=data.device)
        parts[0] = 1.0
        variance = ((data - self.centre) ** 2).mean(0).sum(1) / parts
        # between whitening (1/2), which lifts the noise, and none (0), which drowns detail
        scale = variance.clamp_min(noise2) ** -0.375
        self.scale.copy_(scale[:, None].expand_as(self.scale))
        size = ((data - self.centre) * self.scale).pow(2).sum((1, 2, 3)).mean().sqrt()
        self.scale.mul_(10 / size)
        last = self.decoder[-1]
        assert isinstance(last, nn.Linear)  # noqa: S101 - the layer was made above
        last.bias.copy_(0.4 * typical.flatten()[self.places])
        last.weight.mul_(6 * float(data.std()))
        self.s2 = 4 * noise2
        raw = self._raw_features(data[:_CHUNK])
        self.feature_mean.copy_(raw.mean(0))
        # one that hardly changes is not blown up to the size of the others
        spread = raw.std(0)
        self.feature_sd.copy_(spread.clamp_min(1e-3 * float(spread.mean()) + 1e-12))

    def _raw_features(self, data: torch.Tensor) -> torch.Tensor:
        if not self.rotation:  # the coefficients as they are: a plain VAE sees the angle
            return data.flatten(1)[:, self.places]
        return invariant_features((data - self.centre) * self.scale, self.mask)

    @torch.no_grad()
    def features(self, data: torch.Tensor) -> torch.Tensor:
        """What the encoder sees (N, F) of coefficients (N, M, 2, K).

        Features that do not change when a crop turns, each standardised by itself, or the common
        lattice would drown the rest. They have nothing to learn, so a training takes them once.
        """
        parts = [self._raw_features(part) for part in data.split(_CHUNK)]
        return (torch.cat(parts) - self.feature_mean) / self.feature_sd

    def infer(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Approximate posterior mean and log sd (B, L) of the latents, of features (B, F)."""
        mean, log_sd = self.encoder(features).chunk(2, 1)
        return mean, log_sd.clamp(-8, 3)

    def generate(self, z: torch.Tensor) -> torch.Tensor:
        """Template (B, M, 2, K) of latents (B, L), in the decoder's own orientation."""
        return self.unpack(self.decoder(z))

    def unpack(self, flat: torch.Tensor) -> torch.Tensor:
        """Coefficients (..., M, 2, K) of those that exist (..., n)."""
        whole = flat.new_zeros(*flat.shape[:-1], self.mask.numel())
        whole = whole.index_copy(-1, self.places, flat)
        return whole.reshape(*flat.shape[:-1], *self.mask.shape)

    def slopes(self, z: torch.Tensor) -> torch.Tensor:
        """Change (B, L, n) of the template's existing coefficients with each latent."""
        first, second, last = (m for m in self.decoder if isinstance(m, nn.Linear))
        value = first(z)
        slope = _silu_slope(value)[:, None] * first.weight.T
        value = second(nn.functional.silu(value))
        slope = _silu_slope(value)[:, None] * (slope @ second.weight.T)
        change: torch.Tensor = slope @ last.weight.T
        return change

    def pose(self, data: torch.Tensor, template: torch.Tensor, s2: float) -> Pose:
        """Posterior of the angle at which templates (B, M, 2, K) fit the data best."""
        if self.rotation:
            return self.grid.posterior(data, template, s2)
        return self.grid.upright(data, template, s2)

    def best_match(self, data: torch.Tensor, templates: torch.Tensor) -> torch.Tensor:
        """Scalar product (B, G) of crops with templates (G, M, 2, K), each at its best angle."""
        a, b = data[:, :, 0].transpose(0, 1), data[:, :, 1].transpose(0, 1)  # (M, B, K)
        c, d = templates[:, :, 0].permute(1, 2, 0), templates[:, :, 1].permute(1, 2, 0)
        u = torch.bmm(a, c) + torch.bmm(b, d)  # (M, B, G)
        if not self.rotation:
            return u.sum(0)
        v = torch.bmm(b, c) - torch.bmm(a, d)
        match = torch.cat([u, v]).permute(1, 2, 0)  # (B, G, 2 M)
        return (match @ self.grid.harmonics).amax(2)

    def loss(
        self,
        data: torch.Tensor,
        features: torch.Tensor,
        *,
        beta: float,
        temper: float,
        seed: torch.Generator,
    ) -> LossTerms:
        """Collapsed negative bound of a batch (B, M, 2, K) with its features (B, F).

        `temper` above 1 widens the angle's posterior early in the training, so that a template
        is not caught by the first angles.
        """
        mean, log_sd = self.infer(features)
        noise = torch.randn(mean.shape, generator=seed, device=mean.device)
        template = self.generate(mean + log_sd.exp() * noise)
        with torch.no_grad():
            pose = self.pose(data, template, self.s2 * temper)
        upright = derotate(data, pose.moments)
        misfit = (
            (data**2).flatten(1).sum(1)
            - 2 * (template * upright).flatten(1).sum(1)
            + (template**2).flatten(1).sum(1)
        )
        divergence = (-log_sd + 0.5 * (2 * log_sd).exp() + 0.5 * mean**2 - 0.5).sum(1)
        total = (0.5 * misfit / self.s2 + beta * divergence).mean()
        return LossTerms(
            total, misfit.mean().detach(), divergence.mean().detach(), pose.angle, template.detach()
        )
