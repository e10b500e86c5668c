"""The posterior of a crop's latents: its mode, its width, and whether there is another mode.

The encoder's guess is where a search begins, no more: the likelihood of a crop is known exactly
for every z, the angle averaged out, so its maximum and its curvature can be found. With template
C(z), Jacobian J, and t the template's change when it turns, the curvature of the negative log
posterior is about (J'J - (J't)(t'J) / t't) / s2 + beta (Gauss and Newton): what a turn of the
picture does as well as a change of z says nothing about z. The width is that of the normal
distribution with this curvature (Laplace).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch

from napari_rvae.vae.model import SteerableVAE
from napari_rvae.vae.pose import Pose, derotate, tangent

__all__ = ["LatentPosterior", "infer_posterior"]

#: Most steps from a start, and the step, in posterior widths, that ends a search.
_STEPS = 5
_SMALL = 0.03

#: Damping of the first step, and how it changes after a good and a bad one.
_DAMPING, _BETTER, _WORSE = 0.01, 0.2, 10.0

#: In single precision log posteriors (nats) are known no better than this: a step that loses less
#: is as good as one that wins.
_ROUNDING = 0.01

#: A start that stays this far (in nats) below the best mode is given up.
_HOPELESS = 15.0

#: Two modes are two when they lie this many posterior widths apart.
_APART = 3.0

#: Crops worked on at a time: more leave the processor's cache, fewer keep it waiting.
_CROPS = 1000


@dataclass(frozen=True, eq=False)
class LatentPosterior:
    """Posterior of the latents of crops.

    Attributes
    ----------
    mean, sd
        Most likely latents (N, L), and the standard deviation of each.
    elsewhere
        Share (N,) of the posterior that belongs to another mode, 0 to 1.
    template
        Template (N, M, 2, K) of `mean`.
    pose
        Posterior of the angle for that template.
    """

    mean: torch.Tensor
    sd: torch.Tensor
    elsewhere: torch.Tensor
    template: torch.Tensor
    pose: Pose


@dataclass(eq=False)
class _State:
    """Where the searches of some crops (B,) are."""

    z: torch.Tensor  # (B, L)
    log_posterior: torch.Tensor  # (B,)
    template: torch.Tensor  # (B, M, 2, K)
    rest: torch.Tensor  # (B, n): what the template leaves of the upright data
    slopes: torch.Tensor  # (B, L, n)
    precision: torch.Tensor  # (B, L, L)

    def rows(self, index: torch.Tensor) -> _State:
        """Return some of the crops."""
        return _State(*(getattr(self, item.name)[index] for item in fields(self)))

    def put(self, index: torch.Tensor, other: _State) -> None:
        """Replace some of the crops."""
        for item in fields(self):
            getattr(self, item.name)[index] = getattr(other, item.name)


@torch.no_grad()
def infer_posterior(
    model: SteerableVAE,
    data: torch.Tensor,
    *,
    nodes: torch.Tensor | None = None,
    beta: float = 1.0,
) -> LatentPosterior:
    """Posterior of the latents of coefficients (N, M, 2, K).

    Parameters
    ----------
    model
        In evaluation mode.
    data
        The coefficients.
    nodes
        Places (G, L) all over the latent space, among which other modes are looked for.
    beta
        Weight of the prior, as in the training.
    """
    search = _Search(model, beta)
    parts = [_infer(search, piece, nodes) for piece in data.split(_CROPS)]
    mean, sd, elsewhere, template = (torch.cat(column) for column in zip(*parts, strict=True))
    pose = model.pose(data, template, model.s2)
    return LatentPosterior(mean, sd, elsewhere, template, pose)


def _infer(
    search: _Search, data: torch.Tensor, nodes: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mean, sd, share of the other mode, and template of a few crops."""
    guess, _ = search.model.infer(search.model.features(data))
    state = search.climb(data, guess)
    elsewhere = torch.zeros(len(data), device=data.device)
    if nodes is not None and len(nodes) > 1 and len(data):
        elsewhere = _look_elsewhere(search, data, state, nodes)
    sd = torch.linalg.inv(state.precision).diagonal(dim1=1, dim2=2).clamp_min(1e-12).sqrt()
    return state.z, sd, elsewhere, state.template


def _look_elsewhere(
    search: _Search, data: torch.Tensor, state: _State, nodes: torch.Tensor
) -> torch.Tensor:
    """Search from other places; take a mode that is better; share (N,) of the other mode."""
    elsewhere = torch.zeros(len(data), device=data.device)
    rows = torch.arange(len(data), device=data.device)
    for _ in range(2):  # where a better mode was found, look once more for another beside it
        here = state.rows(rows)
        start = _best_node(search.model, data[rows], here, nodes)
        other = search.climb(data[rows], nodes[start], steps=1)
        hope = other.log_posterior > here.log_posterior - _HOPELESS
        rows, other, here = rows[hope], other.rows(hope), here.rows(hope)
        if not len(rows):
            break
        second = search.climb(data[rows], other.z)
        apart = _apart(here, second)
        weight = torch.sigmoid(_log_mass(second) - _log_mass(here))
        taken = torch.where(apart, weight > 0.5, second.log_posterior > here.log_posterior)
        state.put(rows[taken], second.rows(taken))
        share = torch.where(taken, 1 - weight, weight)
        elsewhere[rows] = torch.where(apart, share, torch.zeros_like(share))
        rows = rows[taken]
        if not len(rows):
            break
    return elsewhere


def _log_mass(state: _State) -> torch.Tensor:
    """Log of the posterior mass of a mode, up to a constant."""
    return state.log_posterior - 0.5 * torch.logdet(state.precision)


def _apart(one: _State, other: _State) -> torch.Tensor:
    """Whether two modes are further apart than either is wide (B,)."""
    way = (one.z - other.z)[:, :, None]
    far = [(way.transpose(1, 2) @ s.precision @ way)[:, 0, 0] for s in (one, other)]
    return torch.minimum(*far) > _APART**2


def _best_node(
    model: SteerableVAE, data: torch.Tensor, state: _State, nodes: torch.Tensor
) -> torch.Tensor:
    """Number (N,) of the node whose template fits best, the nodes of the found mode left out."""
    templates = model.generate(nodes)
    power = (templates**2).flatten(1).sum(1)
    prior = model.s2 * (nodes**2).sum(1)
    cost = power + prior - 2 * model.best_match(data, templates)
    way = nodes - state.z[:, None]  # (B, G, L)
    near = ((way @ state.precision) * way).sum(2) < 2 * _APART**2
    return torch.where(near, torch.inf, cost).argmin(1)


@dataclass(frozen=True, eq=False)
class _Search:
    """Damped Gauss-Newton ascent of the log posterior (Levenberg and Marquardt)."""

    model: SteerableVAE
    beta: float

    def climb(self, data: torch.Tensor, start: torch.Tensor, *, steps: int = _STEPS) -> _State:
        """Go to the mode nearest to the start (N, L)."""
        state = self._at(data, start.clone())
        damping = torch.full((len(data),), _DAMPING, device=data.device)
        active = torch.arange(len(data), device=data.device)
        for _ in range(steps):
            if not len(active):
                break
            here, own = state.rows(active), data[active]
            step = self._step(here, damping[active])
            next_ = self._at(own, here.z + step)
            better = next_.log_posterior > here.log_posterior - _ROUNDING
            state.put(active[better], next_.rows(better))
            damping[active] *= torch.where(better, _BETTER, _WORSE)
            length = (step[:, None] @ here.precision @ step[:, :, None])[:, 0, 0]
            active = active[length > _SMALL**2]
        return state

    def _at(self, data: torch.Tensor, z: torch.Tensor) -> _State:
        """Everything about latents (B, L)."""
        model = self.model
        template = model.generate(z)
        pose = model.pose(data, template, model.s2)
        log_posterior = (
            pose.evidence
            - 0.5 * (template**2).flatten(1).sum(1) / model.s2
            - 0.5 * self.beta * (z**2).sum(1)
        )
        rest = (derotate(data, pose.moments) - template).flatten(1)[:, model.places]
        slopes = model.slopes(z)
        precision = slopes @ slopes.transpose(1, 2)
        if model.rotation:
            turn = tangent(template).flatten(1)[:, model.places]
            along = (slopes @ turn[:, :, None])[:, :, 0]
            size = (turn**2).sum(1).clamp_min(1e-12)
            precision = precision - along[:, :, None] * along[:, None, :] / size[:, None, None]
        prior = self.beta + 1e-6
        precision = precision / model.s2 + prior * torch.eye(z.shape[1], device=z.device)
        return _State(z, log_posterior, template, rest, slopes, precision)

    def _step(self, state: _State, damping: torch.Tensor) -> torch.Tensor:
        """Newton step (B, L), shortened by the damping (B,)."""
        along = (state.slopes @ state.rest[:, :, None])[:, :, 0]
        gradient = along / self.model.s2 - self.beta * state.z
        stretch = torch.diag_embed(state.precision.diagonal(dim1=1, dim2=2))
        step: torch.Tensor = torch.linalg.solve(
            state.precision + damping[:, None, None] * stretch, gradient
        )
        return step
