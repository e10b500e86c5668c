"""The network: infer the latents from what a rotation cannot change, generate a template.

Read from top to bottom: encoder, decoder, the model with infer / generate / loss.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from napari_rvae.vae.pose import AngleGrid, derotate

__all__ = ["InvariantEncoder", "LossTerms", "SteerableVAE"]

#: Learned radial projections for each angular order.
_PROJECTIONS = 6

#: Angular orders whose triple products enter.
_TRIPLE_ORDERS = 8


class _Linear(nn.Linear):
    """Fully connected layer that takes no global random numbers when it is made."""

    def reset_parameters(self) -> None:
        """Leave the weights to :func:`_linear`."""


def _linear(n_in: int, n_out: int, generator: torch.Generator) -> nn.Linear:
    """Fully connected layer with its own random numbers (the global ones stay untouched)."""
    layer = _Linear(n_in, n_out)
    nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=generator)
    nn.init.uniform_(layer.bias, -(n_in**-0.5), n_in**-0.5, generator=generator)
    return layer


class InvariantEncoder(nn.Module):
    """Rotation-invariant features of coefficients, then a small perceptron.

    The features are, of learned radial projections q_m of each order m, the amplitudes |q_m| and
    the triple products q_i q_j conj(q_(i+j)), whose phases cancel under rotation (bispectrum;
    R. Kakarala, J. Math. Imaging Vis. 44, 341 (2012)). The triple products are taken of
    |q|^(1/3) phases, so that they grow like the data and not like their cube; every feature is
    standardised by itself, or the common lattice would drown the rest.
    """

    def __init__(
        self, n_orders: int, n_radial: int, n_latents: int, hidden: int, seed: torch.Generator
    ) -> None:
        super().__init__()
        weights = torch.randn(n_orders, 2, n_radial, _PROJECTIONS, generator=seed)
        self.project = nn.Parameter(weights / math.sqrt(n_radial))
        triples = [
            (i, j, i + j)
            for i in range(min(_TRIPLE_ORDERS, n_orders))
            for j in range(max(i, 1), min(_TRIPLE_ORDERS, n_orders))
            if i + j < n_orders
        ]
        self.register_buffer(
            "triples", torch.tensor(triples, dtype=torch.long).reshape(-1, 3).T, persistent=False
        )
        n_features = (n_orders + 2 * len(triples)) * _PROJECTIONS
        self.standardise = nn.BatchNorm1d(n_features, affine=False, momentum=0.05)
        self.layers = nn.Sequential(
            _linear(n_features, hidden, seed),
            nn.SiLU(),
            _linear(hidden, hidden, seed),
            nn.SiLU(),
            _linear(hidden, 2 * n_latents, seed),
        )

    def features(self, data: torch.Tensor) -> torch.Tensor:
        """Invariant features (B, F) of coefficients (B, M, 2, K)."""
        re, im = data[:, :, 0].transpose(0, 1), data[:, :, 1].transpose(0, 1)  # (M, B, K)
        w_re, w_im = self.project[:, 0], self.project[:, 1]  # (M, K, J)
        q_re = torch.bmm(re, w_re) - torch.bmm(im, w_im)  # (M, B, J)
        q_im = torch.bmm(re, w_im) + torch.bmm(im, w_re)
        power = q_re**2 + q_im**2 + 1e-4
        shrink = power ** (-1 / 3)
        p_re, p_im = q_re * shrink, q_im * shrink
        i, j, k = self.get_buffer("triples")
        ij_re = p_re[i] * p_re[j] - p_im[i] * p_im[j]
        ij_im = p_re[i] * p_im[j] + p_im[i] * p_re[j]
        t_re = ij_re * p_re[k] + ij_im * p_im[k]
        t_im = ij_im * p_re[k] - ij_re * p_im[k]
        return torch.cat([power.sqrt(), t_re, t_im], 0).transpose(0, 1).flatten(1)

    def forward(self, data: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Posterior mean and log standard deviation (B, L) of the latents."""
        mean, log_sd = self.layers(self.standardise(self.features(data))).chunk(2, 1)
        return mean, log_sd.clamp(-8, 3)


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
    """

    total: torch.Tensor
    misfit: torch.Tensor
    divergence: torch.Tensor
    angle: torch.Tensor
    template: torch.Tensor


class SteerableVAE(nn.Module):
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
    """

    centre: torch.Tensor
    scale: torch.Tensor
    mask: torch.Tensor

    def __init__(
        self, mask: torch.Tensor, n_latents: int, hidden: int, seed: torch.Generator
    ) -> None:
        super().__init__()
        self.n_orders, _, self.n_radial = mask.shape
        self.n_latents = n_latents
        self.encoder = InvariantEncoder(self.n_orders, self.n_radial, n_latents, hidden, seed)
        self.decoder = nn.Sequential(
            _linear(n_latents, hidden, seed),
            nn.SiLU(),
            _linear(hidden, hidden, seed),
            nn.SiLU(),
            _linear(hidden, mask.numel(), seed),
        )
        self.register_buffer("mask", mask.clone())
        self.register_buffer("centre", torch.zeros_like(mask))
        self.register_buffer("scale", torch.ones_like(mask))
        self.s2 = 1.0  # variance of a coefficient about its template
        self._grid: AngleGrid | None = None

    @property
    def grid(self) -> AngleGrid:
        """The angles to try, on the model's device."""
        device = self.mask.device
        if self._grid is None or self._grid.angle.device != device:
            self._grid = AngleGrid(self.n_orders, device)
        return self._grid

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
        last.bias.copy_(0.4 * typical.flatten())
        last.weight.mul_(6 * float(data.std()))
        self.s2 = 4 * noise2

    def infer(self, data: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Posterior mean and log sd (B, L) of the latents of coefficients (B, M, 2, K)."""
        mean, log_sd = self.encoder((data - self.centre) * self.scale)
        return mean, log_sd

    def generate(self, z: torch.Tensor) -> torch.Tensor:
        """Template (B, M, 2, K) of latents (B, L), in the decoder's own orientation."""
        flat: torch.Tensor = self.decoder(z)
        return flat.reshape(-1, *self.mask.shape) * self.mask

    def loss(
        self, data: torch.Tensor, *, beta: float, temper: float, seed: torch.Generator
    ) -> LossTerms:
        """Collapsed negative bound of a batch (B, M, 2, K).

        `temper` above 1 widens the angle's posterior early in the training, so that a template
        is not caught by the first angles.
        """
        mean, log_sd = self.infer(data)
        noise = torch.randn(mean.shape, generator=seed, device=mean.device)
        template = self.generate(mean + log_sd.exp() * noise)
        with torch.no_grad():
            pose = self.grid.posterior(data, template, self.s2 * temper)
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
