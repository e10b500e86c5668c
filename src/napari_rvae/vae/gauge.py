"""One orientation for all decoded pictures, so that angles of different sites can be compared.

The training leaves the decoder free to turn its pictures from place to place in the latent
space. Here the occupied latent space is covered with nodes; starting at the most crowded one,
each node's picture is aligned with that of its neighbour, along the paths on which the pictures
change least. The first picture itself is turned so that its strongest angular harmonic points
along x.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree
from sklearn.cluster import KMeans

from napari_rvae.vae.basis import SteerableBasis
from napari_rvae.vae.pose import AngleGrid, rotate

__all__ = ["Decoder", "Gauge", "fit_gauge"]

#: Nodes that cover the latent space.
_NODES = 96

#: Of several alignments that fit almost equally well (a symmetric picture), the smallest turn
#: is taken.
_ALMOST = 0.97

#: The host counts as n-fold when orders that are multiples of n hold this share of the power.
_SYMMETRIC = 0.8


@dataclass(frozen=True, eq=False)
class Gauge:
    """Orientation of the decoded pictures over the latent space.

    Attributes
    ----------
    nodes
        Places in the latent space (G, L).
    pictures
        Aligned coefficients there (G, M, 2, K).
    host
        The host's aligned picture (1, M, 2, K).
    order
        The host's picture is n-fold symmetric for this n, 1 or more.
    """

    nodes: torch.Tensor
    pictures: torch.Tensor
    host: torch.Tensor
    order: int

    def to(self, device: torch.device) -> Gauge:
        """Return the gauge on a device."""
        return Gauge(
            self.nodes.to(device), self.pictures.to(device), self.host.to(device), self.order
        )

    def offset(self, z: torch.Tensor, template: torch.Tensor, grid: AngleGrid) -> torch.Tensor:
        """Angle (B,) by which the decoder's templates are turned against the aligned ones."""
        nearest = torch.cdist(z, self.nodes).argmin(1)
        return smallest_turn(template, self.pictures[nearest], grid)

    def host_angle(self, template: torch.Tensor, grid: AngleGrid) -> torch.Tensor:
        """Angle (B,) at which the host's picture fits the templates best, modulo 2 pi / n."""
        match = _shape_match(template, self.host.expand_as(template), grid)
        return _climb(match, grid.angle[(match @ grid.harmonics).argmax(1)], grid)


def _shape_match(turned: torch.Tensor, reference: torch.Tensor, grid: AngleGrid) -> torch.Tensor:
    """Match (B, 2 M) over angles, without order 0, which fits at every angle."""
    match = grid.match(turned, reference, 1.0)
    match[:, 0] = 0
    return match


def smallest_turn(turned: torch.Tensor, reference: torch.Tensor, grid: AngleGrid) -> torch.Tensor:
    """Angle (B,) that turns `reference` into `turned`; the smallest of almost equal ones."""
    match = _shape_match(turned, reference, grid)
    fit = match @ grid.harmonics  # (B, G)
    best = fit.amax(1, keepdim=True)
    size = torch.minimum(grid.angle, 2 * math.pi - grid.angle)
    candidate = torch.where(fit >= _ALMOST * best, size, torch.full_like(fit, math.inf))
    start = grid.angle[candidate.argmin(1)]
    top = _climb(match, start, grid)
    return torch.remainder(top + math.pi, 2 * math.pi) - math.pi


def _climb(match: torch.Tensor, angle: torch.Tensor, grid: AngleGrid) -> torch.Tensor:
    """Newton steps to the top nearest to an angle."""
    count = grid.order.numel()
    u, v = match[:, :count], match[:, count:]
    limit = 2 * math.pi / grid.size
    for _ in range(12):
        phase = angle[:, None] * grid.order
        c, s = torch.cos(phase), torch.sin(phase)
        slope = (grid.order * (v * c - u * s)).sum(1)
        bend = -(grid.order**2 * (u * c + v * s)).sum(1)
        step = torch.where(bend < 0, -slope / bend, limit * torch.sign(slope))
        angle = angle + step.clamp(-limit, limit)
    return angle


class Decoder(Protocol):
    """Canonical pictures, before they are aligned, as coefficients of a steerable basis."""

    @property
    def grid(self) -> AngleGrid:
        """Angles to try."""

    def generate(self, z: torch.Tensor) -> torch.Tensor:
        """Coefficients (B, M, 2, K) of latents (B, L)."""


@torch.no_grad()
def fit_gauge(
    decoder: Decoder, basis: SteerableBasis, latents: NDArray[np.float64], seed: int
) -> Gauge:
    """Align the decoded pictures over the latents (N, L) of the training crops."""
    device = basis.weights.device
    count = min(_NODES, len(np.unique(latents.round(6), axis=0)))
    clusters = KMeans(count, n_init=1, max_iter=50, random_state=seed).fit(latents)
    nodes = torch.as_tensor(clusters.cluster_centers_, dtype=torch.float32, device=device)
    size = np.bincount(clusters.labels_, minlength=count)
    raw = decoder.generate(nodes)
    order, parent = _spanning_tree(raw, decoder.grid, int(size.argmax()))
    pictures = raw.clone()
    root = int(order[0])
    strongest = 1 + int((raw[root, 1:] ** 2).sum((1, 2)).argmax()) if raw.shape[1] > 1 else 1
    arm = _brightest_direction(basis.to_images(raw[root : root + 1])[0].sum(0), strongest)
    pictures[root] = rotate(raw[root : root + 1], torch.tensor([-arm], device=device))[0]
    for node in order[1:]:
        turn = smallest_turn(
            raw[node : node + 1], pictures[parent[node] : parent[node] + 1], decoder.grid
        )
        pictures[node] = rotate(raw[node : node + 1], -turn)[0]
    host = pictures[root : root + 1].clone()
    return Gauge(nodes, pictures, host, _symmetry_order(host[0]))


def _spanning_tree(
    pictures: torch.Tensor, grid: AngleGrid, root: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Order in which to visit the nodes, and the node that each is reached from."""
    count = len(pictures)
    if count == 1:
        return np.array([0]), np.array([-1])
    one = pictures.repeat_interleave(count, 0)
    other = pictures.repeat(count, 1, 1, 1)
    match = grid.match(one, other, 1.0)
    best = torch.cat([part.amax(1) for part in (match @ grid.harmonics).split(2048)])
    power = (pictures**2).flatten(1).sum(1)
    distance = power[:, None] + power[None] - 2 * best.reshape(count, count)
    cost = distance.clamp_min(0).sqrt().cpu().numpy().astype(float) + 1e-6
    tree = minimum_spanning_tree(np.maximum(cost, cost.T))
    order, parent = breadth_first_order(tree, root, directed=False)
    return order.astype(np.int64), parent.astype(np.int64)


def _symmetry_order(picture: torch.Tensor) -> int:
    """Largest n for which a picture (M, 2, K) looks n-fold symmetric, roughly."""
    power = (picture**2).sum((1, 2))
    power[0] = 0
    total = power.sum()
    for n in (6, 4, 3, 2):
        if power[n::n].sum() >= _SYMMETRIC * total > 0:
            return n
    return 1


def _brightest_direction(image: torch.Tensor, order: int) -> float:
    """Direction, modulo 2 pi / order, of the brightest arm of an n-armed picture."""
    side = image.shape[-1]
    line = torch.arange(side, device=image.device) - (side - 1) / 2
    up, right = -line[:, None], line[None, :]
    distance = torch.hypot(up + 0 * right, right + 0 * up)
    phi = torch.atan2(up + 0 * right, right + 0 * up)
    ring = distance.round().long().flatten()
    values = image.flatten()
    wave_re = torch.zeros(int(ring.max()) + 1, device=image.device)
    wave_im = torch.zeros_like(wave_re)
    wave_re.index_add_(0, ring, values * torch.cos(order * phi).flatten())
    wave_im.index_add_(0, ring, values * torch.sin(order * phi).flatten())
    inner = slice(2, max(3, int(0.75 * side / 2)))  # the rim sees half an atom at most
    strength = torch.hypot(wave_re, wave_im)[inner]
    top = int(strength.argmax()) + 2
    return float(torch.atan2(wave_im[top], wave_re[top])) / order
