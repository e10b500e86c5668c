"""Shifts of crops whose sites are not well centred.

A shift and an angle trade off where a site is symmetric, so a shift that is improved step by
step settles wrongly and splits one class into several. Therefore, a few times during a training
and for every result, shift and angle are searched together from several starts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch.nn import functional

from napari_rvae.vae.basis import SteerableBasis
from napari_rvae.vae.model import SteerableVAE
from napari_rvae.vae.pose import rotate

__all__ = ["ShiftSearch", "move"]

#: Groups in the latent space whose mean shift is taken for a matter of the gauge.
_GROUPS = 24

#: Newton steps after each start.
_STEPS = 3


def move(images: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Pictures (N, C, S, S) seen from windows moved by `shift` (N, 2), as (y, x) in pixels."""
    side = images.shape[-1]
    line = torch.linspace(-1, 1, side, device=images.device)
    yy, xx = torch.meshgrid(line, line, indexing="ij")
    grid = torch.stack([xx, yy], -1) + shift.flip(1)[:, None, None] * (2 / (side - 1))
    return functional.grid_sample(
        images, grid, mode="bicubic", align_corners=True, padding_mode="border"
    )


@dataclass(frozen=True, eq=False)
class ShiftSearch:
    """Finds shifts of crops for a model.

    Attributes
    ----------
    basis
        The steerable basis.
    limit
        Largest shift in pixels of the grid.
    prior_sd
        Standard deviation that shifts are expected to have, in pixels of the grid.
    """

    basis: SteerableBasis
    limit: float
    prior_sd: float

    def starts(self, device: torch.device) -> torch.Tensor:
        """Shifts (7, 2) that a search begins from: none, and six about it."""
        angle = torch.arange(6, device=device) * (math.pi / 3)
        ring = 0.7 * self.limit * torch.stack([torch.sin(angle), torch.cos(angle)], 1)
        return torch.cat([torch.zeros(1, 2, device=device), ring])

    def newton(
        self,
        data: torch.Tensor,
        slopes: torch.Tensor,
        template: torch.Tensor,
        angle: torch.Tensor,
        shift: torch.Tensor,
        s2: float,
    ) -> torch.Tensor:
        """Better shifts (N, 2), for templates at their best angle; bounded."""
        rest = (data - rotate(template, angle)).flatten(1)
        jacobian = slopes.flatten(2)  # (N, 2, n)
        prior = s2 / self.prior_sd**2
        normal = jacobian @ jacobian.transpose(1, 2)
        normal = normal + prior * torch.eye(2, device=data.device)
        right = -(jacobian @ rest[:, :, None])[..., 0] - prior * shift
        step = torch.linalg.solve(normal, right).clamp(-self.limit / 4, self.limit / 4)
        return _bounded(shift + step, self.limit)

    @torch.no_grad()
    def search(
        self,
        model: SteerableVAE,
        images: torch.Tensor,
        *,
        seed: torch.Generator | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Joint search of shift and angle for pictures (N, C, S, S).

        Parameters
        ----------
        model
            In evaluation mode.
        images
            The pictures.
        seed
            With it, a draw from the posterior over the starts' results; without, the best.

        Returns
        -------
        shift, latents, angle
            (N, 2), (N, L) and (N,).
        """
        results = [self._descend(model, images, start) for start in self.starts(images.device)]
        score = torch.stack([r[0] for r in results], 1)
        if seed is not None:  # Gumbel's trick: argmax of score + noise is a draw
            uniform = torch.rand(score.shape, generator=seed, device=score.device)
            score = score - torch.log(-torch.log(uniform.clamp(1e-9, 1 - 1e-7)))
        best = score.argmax(1)
        row = torch.arange(len(images), device=images.device)
        shift, latents, angle = (torch.stack([r[i] for r in results], 1) for i in (1, 2, 3))
        return shift[row, best], latents[row, best], angle[row, best]

    def _descend(
        self, model: SteerableVAE, images: torch.Tensor, start: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Log posterior, shift, latents and angle reached from one start."""
        first = start.expand(len(images), 2)
        seen = move(images, first)
        data0, slopes = self.basis.project(seen), self.basis.slopes(seen)
        shift = first.clone()
        for step in range(_STEPS):
            data = data0 + _along(slopes, shift - first)
            mean, _ = model.infer(model.features(data))
            template = model.generate(mean)
            pose = model.pose(data, template, model.s2)
            if step < _STEPS - 1:
                shift = self.newton(data, slopes, template, pose.angle, shift, model.s2)
        rest = (data - rotate(template, pose.angle)).flatten(1)
        score = -0.5 * (rest**2).sum(1) / model.s2
        score = score - 0.5 * (shift**2).sum(1) / self.prior_sd**2 - 0.5 * (mean**2).sum(1)
        return score, shift, mean, pose.angle

    def draw(
        self, model: SteerableVAE, images: torch.Tensor, seed: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Shift, latents and angle of pictures, drawn from their posterior."""
        training = model.training
        model.eval()
        found = self.search(model, images, seed=seed)
        model.train(training)
        return found

    def recentre(
        self, shift: torch.Tensor, latents: torch.Tensor, angle: torch.Tensor
    ) -> torch.Tensor:
        """Drawn shifts (N, 2) without their local mean in the canonical picture.

        Where sites alike are all shifted alike, the template is off centre, not the sites; the
        decoder learns a centred one after this.
        """
        groups = KMeans(min(_GROUPS, len(shift)), n_init=1, max_iter=20, random_state=0)
        label = torch.as_tensor(
            groups.fit_predict(latents.cpu().numpy().astype(np.float64)).astype(np.int64),
            device=shift.device,
        )
        turned = turn_offsets(shift, -angle)
        total = torch.zeros(_GROUPS, 2, device=shift.device).index_add_(0, label, turned)
        count = torch.bincount(label, minlength=_GROUPS).clamp_min(1)[:, None]
        return _bounded(shift - turn_offsets((total / count)[label], angle), self.limit)

    def reproject(
        self, images: torch.Tensor, shift: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Coefficients and slopes of pictures seen from moved windows."""
        seen = move(images, shift)
        return self.basis.project(seen), self.basis.slopes(seen)


def _along(slopes: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """First-order change (N, M, 2, K) of the coefficients with the window's shift."""
    return (slopes * shift[:, :, None, None, None]).sum(1)


def _bounded(shift: torch.Tensor, limit: float) -> torch.Tensor:
    """Shifts no longer than the limit: a crop must not hop to the next atom."""
    length = torch.linalg.vector_norm(shift, dim=1, keepdim=True).clamp_min(1e-9)
    bounded: torch.Tensor = shift * (limit / length).clamp_max(1.0)
    return bounded


def turn_offsets(offset: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
    """Where offsets (N, 2) as (dy, dx) of a picture lie after turning it by `angle` (N,).

    The package's convention: (dy cos a - dx sin a, dx cos a + dy sin a), y down.
    """
    c, s = torch.cos(angle), torch.sin(angle)
    dy, dx = offset[:, 0], offset[:, 1]
    return torch.stack([dy * c - dx * s, dx * c + dy * s], 1)
