"""The angle of a crop: how well its template fits at every angle, and what follows from that.

With data A and template C in the steerable basis, the squared distance at angle t is
|A|^2 + |C|^2 - 2 S(t), where S(t) = sum over orders m of u_m cos(m t) + v_m sin(m t). The
likelihood over all angles is therefore one small product, and the posterior is exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

__all__ = ["AngleGrid", "Pose", "circle_shares", "derotate", "fine_circle", "rotate", "tangent"]


@dataclass(frozen=True, eq=False)
class Pose:
    """Posterior of the angle of each crop.

    Attributes
    ----------
    angle
        Most likely angle (N,) in radians, in (-pi, pi].
    angle_sd
        Standard deviation (N,) about it, in radians.
    moments
        Posterior means of cos(m t) and sin(m t), (N, M, 2).
    evidence
        Log of the mean over all angles of exp(S / s2) (N,).
    """

    angle: torch.Tensor
    angle_sd: torch.Tensor
    moments: torch.Tensor
    evidence: torch.Tensor


def rotate(coefficients: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
    """Turn pictures (N, M, 2, K) by angles (N,), counter-clockwise on the screen."""
    order = torch.arange(coefficients.shape[1], device=angle.device, dtype=angle.dtype)
    phase = angle[:, None] * order
    return _turn(coefficients, torch.cos(phase), torch.sin(phase))


def derotate(coefficients: torch.Tensor, moments: torch.Tensor) -> torch.Tensor:
    """Turn pictures back by their posterior angle, averaged over the posterior."""
    return _turn(coefficients, moments[:, :, 0], -moments[:, :, 1])


def tangent(coefficients: torch.Tensor) -> torch.Tensor:
    """Change of pictures (N, M, 2, K) with their angle, for each radian."""
    order = torch.arange(coefficients.shape[1], device=coefficients.device)[:, None]
    a, b = coefficients[:, :, 0], coefficients[:, :, 1]
    return torch.stack([-order * b, order * a], 2)


def _turn(coefficients: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    a, b = coefficients[:, :, 0], coefficients[:, :, 1]
    cosine, sine = cosine[..., None], sine[..., None]
    return torch.stack([a * cosine - b * sine, a * sine + b * cosine], 2)


class AngleGrid:
    """Angles at which the fit is tried, and the harmonics there.

    Parameters
    ----------
    n_orders
        Number of angular orders M.
    device
        Where to compute.
    """

    def __init__(self, n_orders: int, device: torch.device) -> None:
        self.size = max(120, 4 * n_orders)  # several points a period of the highest order
        self.order = torch.arange(n_orders, device=device, dtype=torch.float32)
        self.angle = torch.arange(self.size, device=device) * (2 * math.pi / self.size)
        phase = self.order[:, None] * self.angle
        self.harmonics = torch.cat([torch.cos(phase), torch.sin(phase)], 0)  # (2 M, G)

    def match(self, data: torch.Tensor, template: torch.Tensor, s2: float) -> torch.Tensor:
        """Coefficients u, v (N, 2 M) of S(t) / s2."""
        a, b = data[:, :, 0], data[:, :, 1]
        c, d = template[:, :, 0], template[:, :, 1]
        u = (a * c + b * d).sum(2)
        v = (b * c - a * d).sum(2)
        return torch.cat([u, v], 1) / s2

    def posterior(self, data: torch.Tensor, template: torch.Tensor, s2: float) -> Pose:
        """Posterior of the angles (N,) that turn the templates into the data.

        The grid is moved to the refined maximum, so that narrow posteriors keep their shape.
        """
        count = self.order.numel()
        match = self.match(data, template, s2)
        u, v = match[:, :count], match[:, count:]
        best, curvature = self._refine(u, v, self.angle[(match @ self.harmonics).argmax(1)])
        c, s = self._harmonics_at(best)
        moved = torch.cat([u * c + v * s, v * c - u * s], 1) @ self.harmonics
        weight = torch.softmax(moved, 1) @ self.harmonics.T
        wc, ws = weight[:, :count], weight[:, count:]
        moments = torch.stack([wc * c - ws * s, ws * c + wc * s], 2)
        evidence = torch.logsumexp(moved, 1) - math.log(self.size)
        sd = (-curvature).clamp_min(1e-6).rsqrt().clamp_max(math.pi / math.sqrt(3))
        return Pose(_wrap(best), sd, moments, evidence)

    def fit_at(self, match: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
        """Log likelihood S(t) / s2 (N, G), up to a constant, at angles (N, G)."""
        u, v = match[:, None, : self.order.numel()], match[:, None, self.order.numel() :]
        phase = angle[:, :, None] * self.order
        return (u * torch.cos(phase) + v * torch.sin(phase)).sum(2)

    def upright(self, data: torch.Tensor, template: torch.Tensor, s2: float) -> Pose:
        """Pose of crops that are not allowed to turn: the angle is 0, and known."""
        count = self.order.numel()
        zero = torch.zeros(len(data), device=data.device)
        moments = torch.zeros(len(data), count, 2, device=data.device)
        moments[:, :, 0] = 1
        return Pose(zero, zero, moments, self.match(data, template, s2)[:, :count].sum(1))

    def _harmonics_at(self, angle: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        phase = angle[:, None] * self.order
        return torch.cos(phase), torch.sin(phase)

    def _refine(
        self, u: torch.Tensor, v: torch.Tensor, angle: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Newton steps from the best angle of the grid; also the curvature of S there."""
        limit = math.pi / self.size
        curvature = torch.zeros_like(angle)
        for step in range(3):
            c, s = self._harmonics_at(angle)
            curvature = -(self.order**2 * (u * c + v * s)).sum(1)
            if step == 2:
                break
            slope = (self.order * (v * c - u * s)).sum(1)
            safe = torch.where(curvature < 0, curvature, torch.full_like(curvature, -1e9))
            angle = angle - (slope / safe).clamp(-limit, limit)
        return angle, curvature


def circle_shares(log_density: torch.Tensor, parts: int) -> torch.Tensor:
    """Share (N, parts) of a density on a fine circle (N, parts * k) in each of equal parts."""
    fine = torch.softmax(log_density, 1)
    shares: torch.Tensor = fine.unflatten(1, (parts, -1)).sum(2)
    return shares


def fine_circle(parts: int, *, least: int = 7200) -> torch.Tensor:
    """Angles (parts * k,) in the middle of equal steps round the circle.

    The first part is centred at -pi; narrow posteriors (0.1 degrees) keep their shape.
    """
    k = -(-least // parts)
    step = 2 * math.pi / (parts * k)
    start = -math.pi - math.pi / parts
    return start + step * (torch.arange(parts * k) + 0.5)


def _wrap(angle: torch.Tensor) -> torch.Tensor:
    """Angles in (-pi, pi]."""
    return -(torch.remainder(-angle + math.pi, 2 * math.pi) - math.pi)
