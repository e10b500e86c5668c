"""Shifts of crops whose sites are not well centred.

A shift and an angle trade off where a site is symmetric, so a shift that is improved step by
step settles wrongly and splits one class into several. Therefore, a few times during a training
and for every result, shift and angle are searched together from several starts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch.nn import functional

from napari_rvae.vae.basis import RIM, SteerableBasis
from napari_rvae.vae.model import SteerableVAE
from napari_rvae.vae.pose import rotate

__all__ = ["ShiftSearch", "move", "move_decoded"]

#: Groups in the latent space whose mean shift is taken for a matter of the gauge.
_GROUPS = 24

#: At the rim of the disc pictures are lifted to their full height where they have this share of it.
_DIM = 0.1

#: Newton steps after each start that is followed, and how many starts are.
_STEPS, _FOLLOWED = 2, 3


def move(images: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Pictures (N, C, S, S) seen from windows moved by `shift` (N, 2), as (y, x) in pixels."""
    side = images.shape[-1]
    line = torch.linspace(-1, 1, side, device=images.device)
    yy, xx = torch.meshgrid(line, line, indexing="ij")
    grid = torch.stack([xx, yy], -1) + shift.flip(1)[:, None, None] * (2 / (side - 1))
    return functional.grid_sample(
        images, grid, mode="bicubic", align_corners=True, padding_mode="border"
    )


def move_decoded(images: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Decoded pictures (N, C, S, S), which end at a disc, seen from moved windows (N, 2).

    The basis has no slope across the rim, so what lies beyond it is taken for the mirror image of
    what lies before it: through a moved window, the rim of a picture comes into view.
    """
    side = images.shape[-1]
    line = torch.arange(side, device=images.device) - (side - 1) / 2
    distance = torch.hypot(line[:, None], line[None, :])
    rim = side / 2 - RIM
    edge = (rim + 0.5 - distance).clamp(0, 1)
    outside = distance > rim
    share = torch.where(outside, (2 * rim - distance) / distance.clamp_min(1.0), 1.0)
    place = 2 / (side - 1) * line
    grid = torch.stack([place[None, :] * share, place[:, None] * share], -1)
    whole = images / edge.clamp_min(_DIM)
    for mode in ("nearest", "bicubic"):  # the second reads what the first has filled in
        mirrored = functional.grid_sample(
            whole, grid.expand(len(images), -1, -1, -1), mode=mode, align_corners=True
        )
        whole = torch.where(outside, mirrored, whole)
    return move(whole, shift) * edge


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

    @cached_property
    def moved_bases(self) -> list[SteerableBasis]:
        """The basis as it lies in a crop whose window was moved to each of the starts.

        Moving a window and projecting are linear. Moving the few pictures of the basis the other
        way (the adjoint) gives the same coefficients as moving every crop.
        """
        basis = self.basis
        starts = self.starts(basis.weights.device)
        weights = torch.cat([basis.weights[None], basis.derivatives])  # (3, C * S * S, n)
        moved = [_adjoint_move(weights, start, basis) for start in starts]
        return [SteerableBasis(one[0], one[1:], **basis.numbers) for one in moved]

    @torch.no_grad()
    def search(
        self,
        model: SteerableVAE,
        images: torch.Tensor,
        *,
        seed: torch.Generator | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Joint search of shift and angle for pictures (N, C, S, S).

        All starts are looked at, the most likely of them followed.

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
        places = zip(self.starts(images.device), self.moved_bases, strict=True)
        first = _Reading.stack(
            self._read(model, basis.project(images), start.expand(len(images), 2))
            for start, basis in places
        )
        order = first.score.argsort(1, descending=True)
        found = _Reading.stack(
            self._follow(model, images, first.choose(chosen), chosen)
            for chosen in order.T[:_FOLLOWED]
        )
        score = found.score
        if seed is not None:  # Gumbel's trick: argmax of score + noise is a draw
            uniform = torch.rand(score.shape, generator=seed, device=score.device)
            score = score - torch.log(-torch.log(uniform.clamp(1e-9, 1 - 1e-7)))
        best = found.choose(score.argmax(1))
        return best.shift, best.latents, best.angle

    def _follow(
        self, model: SteerableVAE, images: torch.Tensor, first: _Reading, chosen: torch.Tensor
    ) -> _Reading:
        """Newton steps from the start number `chosen` (N,), where `first` was read."""
        slopes = first.data.new_empty(len(images), 2, *first.data.shape[1:])
        for number, basis in enumerate(self.moved_bases):
            here = torch.nonzero(chosen == number)[:, 0]
            slopes[here] = basis.slopes(images[here])
        found = first
        for _ in range(_STEPS):
            shift = self.newton(
                found.data, slopes, found.template, found.angle, found.shift, model.s2
            )
            found = self._read(model, first.data + _along(slopes, shift - first.shift), shift)
        return found

    def _read(self, model: SteerableVAE, data: torch.Tensor, shift: torch.Tensor) -> _Reading:
        """What the model makes of coefficients (N, M, 2, K) at shifts (N, 2)."""
        mean, _ = model.infer(model.features(data))
        template = model.generate(mean)
        angle = model.pose(data, template, model.s2).angle
        rest = (data - rotate(template, angle)).flatten(1)
        score = -0.5 * (rest**2).sum(1) / model.s2
        score = score - 0.5 * (shift**2).sum(1) / self.prior_sd**2 - 0.5 * (mean**2).sum(1)
        return _Reading(score, shift, mean, angle, data, template)

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

    @torch.no_grad()
    def see(
        self,
        model: SteerableVAE,
        images: torch.Tensor,
        shift: torch.Tensor,
        latents: torch.Tensor,
        angle: torch.Tensor,
    ) -> torch.Tensor:
        """Pictures (N, C, S, S) seen from moved windows (N, 2).

        What a window shows beyond the edges of a picture is what the model expects there, given
        its latents (N, L) and angle (N,).
        """
        expected = self.basis.to_images(rotate(model.generate(latents), angle))
        side = images.shape[-1]
        line = torch.arange(side, device=images.device)
        down, right = (
            ((place := line + shift[:, axis, None]) >= 0) & (place <= side - 1) for axis in (0, 1)
        )
        known = (down[:, :, None] & right[:, None, :])[:, None]
        return torch.where(known, move(images, shift), expected)


class _Reading(NamedTuple):
    """Log posterior, shift, latents, angle, coefficients and template of pictures."""

    score: torch.Tensor  # (N,)
    shift: torch.Tensor  # (N, 2)
    latents: torch.Tensor  # (N, L)
    angle: torch.Tensor  # (N,)
    data: torch.Tensor  # (N, M, 2, K)
    template: torch.Tensor  # (N, M, 2, K)

    @classmethod
    def stack(cls, readings: Iterable[_Reading]) -> _Reading:
        """Put readings of the same pictures together, along a second axis."""
        return cls(*(torch.stack(column, 1) for column in zip(*readings, strict=True)))

    def choose(self, number: torch.Tensor) -> _Reading:
        """One of the stacked readings for each picture, by its number (N,)."""
        row = torch.arange(len(number), device=number.device)
        return _Reading(*(column[row, number] for column in self))


def _adjoint_move(
    pictures: torch.Tensor, shift: torch.Tensor, basis: SteerableBasis
) -> torch.Tensor:
    """What, projected onto, gives what `pictures` (B, C * S * S, n) give after :func:`move`."""
    shape = (-1, basis.channels, basis.pixels, basis.pixels)
    flat = pictures.transpose(1, 2).reshape(shape)  # (B * n, C, S, S)
    with torch.enable_grad():
        seen = torch.zeros_like(flat, requires_grad=True)
        moved = move(seen, shift.expand(len(flat), 2))
        (adjoint,) = torch.autograd.grad(moved, seen, flat)
    return adjoint.reshape(len(pictures), -1, pictures.shape[1]).transpose(1, 2).contiguous()


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
