"""The published rVAE: codes from all pixels of a crop, and a decoder that draws pixel by pixel.

The encoder gives the mean and the log standard deviation of [angle, dy, dx, z0, z1, ...]; angle
and offset are there only where the model may turn and shift. The decoder is a small perceptron
that takes the position of one pixel, turned and shifted, together with z, and gives the pixel's
value ("spatial decoder": T. Bepler et al., arXiv 1909.11663). Architecture, first weights and
loss are those of AtomAI 0.8.1, with which Science Advances 7, eabd5084 (2021) was made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

from napari_rvae.vae.network import Network, linear

__all__ = [
    "Code",
    "LossTerms",
    "PixelVAE",
    "angle_divergence_without_mean",
    "divergence",
]

#: A shift is its latent variable times this share of half the window.
SHIFT_PER_LATENT = 0.1

#: Multiplications in one layer that are done at a time: on the CPU what its caches hold and what
#: takes no longer than a progress report may, on other devices what keeps them busy.
_PIECE_CPU, _PIECE_DEVICE = 1 << 27, 1 << 32


class Code(NamedTuple):
    """Angle (B,) in radians, offset (B, 2) and latents (B, L) of crops.

    The offset says which place of the canonical picture, (y, x) in half windows, lies at the
    crop's centre.
    """

    angle: torch.Tensor
    offset: torch.Tensor
    z: torch.Tensor


@dataclass(frozen=True, eq=False)
class LossTerms:
    """What a batch costs.

    Attributes
    ----------
    total
        Half the sum of squared errors + beta x divergence, the mean over the batch; has a
        gradient.
    misfit
        Mean sum of squared errors of a crop, over all its pixels and channels.
    divergence
        Mean divergence of the codes from their prior, in nats.
    """

    total: torch.Tensor
    misfit: torch.Tensor
    divergence: torch.Tensor

    @property
    def figures(self) -> torch.Tensor:
        """Total, misfit and divergence (3,), without a gradient."""
        return torch.stack([self.total.detach(), self.misfit, self.divergence])


def divergence(mean: torch.Tensor, log_sd: torch.Tensor) -> torch.Tensor:
    """Kullback-Leibler divergence (B,) of normal codes (B, K) from standard normal ones."""
    return (-log_sd + 0.5 * (2 * log_sd).exp() + 0.5 * mean**2 - 0.5).sum(1)


def angle_divergence_without_mean(log_sd: torch.Tensor, prior_sd: float) -> torch.Tensor:
    """Published price (B,) of an angle with log standard deviations (B,), in nats.

    The divergence of N(mean, sd) from N(0, prior_sd) less its term mean^2 / (2 prior_sd^2). So
    it is the divergence from a prior centred at each crop's own angle: the mean costs nothing,
    and the prior only says how sharply an angle may be known. With it the loss is no bound of
    the data's likelihood.
    """
    ratio = log_sd - math.log(prior_sd)
    return -ratio + 0.5 * (2 * ratio).exp() - 0.5


class PixelVAE(Network):
    """Variational autoencoder with a decoder that draws pixel by pixel.

    Parameters
    ----------
    channels, pixels
        C and S of the crops.
    n_latents, hidden
        Sizes of the network.
    seed
        Source of the first weights.
    rotation, shifts
        Whether codes begin with an angle, and with an offset.
    angle_prior_sd
        Width of the angle's prior in radians.
    half_precision
        Compute the wide layers of the decoder in bfloat16 while training.
    vectors
        Channels that are the y (down) and x components of a vector.
    """

    positions: torch.Tensor

    def __init__(
        self,
        channels: int,
        pixels: int,
        n_latents: int,
        hidden: int,
        seed: torch.Generator,
        *,
        rotation: bool = True,
        shifts: bool = True,
        angle_prior_sd: float = 0.1,
        half_precision: bool = False,
        vectors: Sequence[tuple[int, int]] = (),
    ) -> None:
        super().__init__()
        self.vectors = tuple(vectors)
        self.channels, self.pixels = channels, pixels
        self.n_latents, self.hidden = n_latents, hidden
        self.rotation, self.shifts = rotation, shifts
        self.angle_prior_sd, self.half_precision = angle_prior_sd, half_precision
        self.encoder = nn.Sequential(
            linear(channels * pixels**2, hidden, seed),
            nn.Tanh(),
            linear(hidden, hidden, seed),
            nn.Tanh(),
            linear(hidden, 2 * (int(rotation) + 2 * int(shifts) + n_latents), seed),
        )
        self.place = linear(2, hidden, seed)
        self.content = linear(n_latents, hidden, seed, bias=False)
        self.wide = nn.Sequential(
            linear(hidden, hidden, seed), nn.Tanh(), linear(hidden, hidden, seed), nn.Tanh()
        )
        self.out = linear(hidden, channels, seed)
        line = torch.linspace(-1, 1, pixels)
        positions = torch.stack(torch.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2)
        self.register_buffer("positions", positions, persistent=False)  # (S * S, 2) as (y, x)
        self.s2 = 1.0  # variance of a pixel about the decoder's picture

    def at_a_time(self, n_pixels: int | None = None) -> int:
        """Number of crops to draw at a time, of so many pixels each; of all, if none are given."""
        size = _PIECE_CPU if self.positions.device.type == "cpu" else _PIECE_DEVICE
        return max(1, size // ((n_pixels or self.pixels**2) * self.hidden**2))

    def infer(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Posterior mean and log sd (B, K) of the codes of pictures (B, C, S, S)."""
        mean, log_sd = self.encoder(images.flatten(1)).chunk(2, 1)
        return mean, log_sd

    def read(self, values: torch.Tensor) -> Code:
        """Take codes (B, K) apart; what the model may not do is zero."""
        angle = values[:, 0] if self.rotation else values.new_zeros(len(values))
        first = int(self.rotation)
        offset = values.new_zeros(len(values), 2)
        if self.shifts:
            offset = SHIFT_PER_LATENT * values[:, first : first + 2]
        return Code(angle, offset, values[:, -self.n_latents :])

    def generate(self, code: Code, positions: torch.Tensor | None = None) -> torch.Tensor:
        """Values (B, P, C) of the pictures at positions (P, 2) or (B, P, 2); everywhere, if none.

        A place p of the crop shows the place R^-1 p + offset of the canonical picture, where R
        turns by the angle in the sense of this package.
        """
        if positions is None:
            positions = self.positions
        c, s = torch.cos(code.angle), torch.sin(code.angle)
        back = torch.stack([torch.stack([c, s], 1), torch.stack([-s, c], 1)], 1)  # R^-1 (B, 2, 2)
        at_centre = self.place(code.offset) + self.content(code.z)
        turned = (self.place.weight @ back).transpose(1, 2)  # (B, 2, hidden)
        where = positions.expand(len(turned), -1, -1)
        first = torch.baddbmm(at_centre[:, None], where, turned).tanh()
        half = self.half_precision and self.training
        with torch.autocast(first.device.type, torch.bfloat16, enabled=half):
            hidden = self.wide(first)
        values: torch.Tensor = self.out(hidden.float())
        return self._turned(values, c[:, None], s[:, None])

    def _turned(self, values: torch.Tensor, c: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        """Values (B, P, C) of the canonical picture as a crop shows them: vectors turn, too."""
        if not self.vectors:
            return values
        parts = list(values.unbind(2))
        for down, right in self.vectors:
            y, x = parts[down], parts[right]
            parts[down], parts[right] = y * c - x * s, x * c + y * s
        return torch.stack(parts, 2)

    def draw(self, code: Code) -> torch.Tensor:
        """Pictures (B, C, S, S) of codes."""
        values = self.generate(code).transpose(1, 2)
        return values.reshape(-1, self.channels, self.pixels, self.pixels)

    def loss(
        self,
        images: torch.Tensor,
        *,
        beta: float,
        seed: torch.Generator,
        chosen: torch.Tensor | None = None,
    ) -> LossTerms:
        """Published loss of a batch (B, C, S, S).

        Parameters
        ----------
        images
            Standardised pictures.
        beta
            Weight of the divergence; published: 1.
        seed
            Source of the draws from the posterior.
        chosen
            Numbers (B, n) of the pixels to look at, drawn without preference; the sum of
            squared errors is scaled to all pixels, and so has the same mean over such draws.
        """
        mean, log_sd = self.infer(images)
        noise = torch.randn(mean.shape, generator=seed, device=mean.device)
        code = self.read(mean + log_sd.exp() * noise)
        seen = images.flatten(2)  # (B, C, P)
        positions = self.positions
        if chosen is not None:
            seen = seen.gather(2, chosen[:, None].expand(-1, self.channels, -1))
            positions = positions[chosen]
        error = self.generate(code, positions) - seen.transpose(1, 2)
        misfit = error.square().sum() * (self.pixels**2 / (seen.shape[2] * len(images)))
        first = int(self.rotation)
        price = divergence(mean[:, first:], log_sd[:, first:])
        if self.rotation:
            price = price + angle_divergence_without_mean(log_sd[:, 0], self.angle_prior_sd)
        price = price.mean()
        return LossTerms(0.5 * misfit + beta * price, misfit.detach(), price.detach())
