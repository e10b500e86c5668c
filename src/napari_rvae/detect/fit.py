"""Fit Gaussians to all atoms of a frame at once, each with its neighbours subtracted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from napari_rvae.detect.ground import shared_ground
from napari_rvae.device import bands, do_side_by_side, side_by_side, thread_count
from napari_rvae.preprocess.noise import some_rows

__all__ = ["TAIL_WIDTH", "AtomFit", "fit_atoms"]

#: A fit sees pixels up to this many sigma from the atom: 97 % of what the picture tells of a
#: position, without much of the neighbours.
_FIT_RADIUS = 2.2

#: A neighbour's model is subtracted out to this many sigma.
_DRAW_RADIUS = 4.0

#: An atom stays within this many sigma of where it was first seen.
_MAX_MOVE = 0.8

_DAMPING = 1e-3

#: So many atoms are fitted at a time on the CPU: their pixels stay in its cache.
_BATCH_ATOMS = 1024

#: The background about an atom is compared with that of the nearest so many, where there are so
#: many atoms at least.
_BACKGROUND_NEIGHBOURS, _LEAST_ATOMS = 14, 48

#: Tails of atoms are Gaussians this many times wider than the atom.
TAIL_WIDTH = 2.0


@dataclass(frozen=True)
class AtomFit:
    """Fitted Gaussians of one frame; all arrays have shape (N,), positions in pixels.

    `own_background` is what the background would be without what the neighbours say of it.
    """

    y: NDArray[np.float64]
    x: NDArray[np.float64]
    amplitude: NDArray[np.float64]
    background: NDArray[np.float64]
    sigma: NDArray[np.float64]
    y_sd: NDArray[np.float64]
    x_sd: NDArray[np.float64]
    amplitude_sd: NDArray[np.float64]
    own_background: NDArray[np.float64]

    @property
    def snr(self) -> NDArray[np.float64]:
        """Amplitude divided by its standard deviation."""
        return self.amplitude / self.amplitude_sd

    def widen(self, factor: float) -> AtomFit:
        """Return the same values with standard deviations larger by a factor."""
        return replace(
            self,
            y_sd=factor * self.y_sd,
            x_sd=factor * self.x_sd,
            amplitude_sd=factor * self.amplitude_sd,
        )

    def towards(self, other: AtomFit, share: float) -> AtomFit:
        """Return values between these (0) and those of another fit of the same atoms (1)."""
        mixed = {n: (1 - share) * v + share * vars(other)[n] for n, v in vars(self).items()}
        return AtomFit(**mixed)

    def select(self, keep: NDArray[np.bool_] | NDArray[np.int64]) -> AtomFit:
        """Return some of the atoms, or all in another order."""
        return AtomFit(**{name: value[keep] for name, value in vars(self).items()})


class _Data(NamedTuple):
    """What a batch of atoms is fitted to: pixels times the roots of their weights, and these."""

    value: torch.Tensor  # (n, P*P)
    root: torch.Tensor


class _Windows:
    """Square windows about whole-pixel centres of a padded picture, gathered when they are needed.

    Their numbers would fill more memory than the picture.
    """

    def __init__(self, centre: torch.Tensor, half: int, width: int, pad: int) -> None:
        self.offset = torch.arange(-half, half + 1, device=centre.device)
        self.width = width + 2 * pad
        # the first pixel of each, as a number in the flattened picture
        self.first = (centre[:, 0] + pad - half) * self.width + centre[:, 1] + pad - half
        steps = self.offset + half
        self.cells = (steps[:, None] * self.width + steps).flatten()  # (P*P,)

    def index(self, part: slice) -> torch.Tensor:
        """Numbers of the pixels (n, P*P) of some of the windows."""
        return self.first[part, None] + self.cells

    def gather(self, padded: torch.Tensor, part: slice) -> torch.Tensor:
        """Pixels (n, P*P) of some of the windows."""
        side = len(self.offset)
        count = padded.numel() - int(self.cells[-1])
        views = padded.as_strided((count, side, side), (1, self.width, 1))
        return views.index_select(0, self.first[part]).flatten(1)


def _pad(image: torch.Tensor, pad: int) -> torch.Tensor:
    return torch.nn.functional.pad(image, (pad, pad, pad, pad))


class _Fitter:
    """State of one fit: parameters amplitude, y, x, background, log sigma (N, 5).

    The atoms are best in the order of their rows: batches of them, which are worked on side by
    side, then touch few rows each.
    """

    def __init__(
        self,
        image: torch.Tensor,
        weight: torch.Tensor,
        position: torch.Tensor,
        sigma: torch.Tensor,
        *,
        free_sigma: bool,
        tail: float = 0.0,
        radius: float = _FIT_RADIUS,
        form: NDArray[np.float64] | None = None,
        known: tuple[torch.Tensor, ...] | None = None,
    ) -> None:
        self.tail = tail
        (self.yy, self.yx), (_, self.xx) = (np.eye(2) if form is None else form).tolist()
        self.n_free = 5 if free_sigma else 4
        self.centre = position.round().long()
        widest = float(sigma.max())
        half = max(2, round(radius * widest))
        draw = max(half, math.ceil(_DRAW_RADIUS * widest))
        self.near = _Windows(self.centre, half, image.shape[1], draw)
        self.far = _Windows(self.centre, draw, image.shape[1], draw)
        self.image, self.weight = _pad(image, draw), _pad(weight, draw)
        r2 = self.near.offset[:, None] ** 2 + self.near.offset[None] ** 2
        self.disc = (r2 <= (half + 0.5) ** 2).flatten()
        size = _BATCH_ATOMS if position.device.type == "cpu" else len(position)
        self.batches = [slice(k, k + size) for k in range(0, len(position), size)]
        self.low = position - self.centre - _MAX_MOVE * sigma[:, None]
        self.high = position - self.centre + _MAX_MOVE * sigma[:, None]
        self.log_sigma_0 = sigma.log()
        height, base, *own = known or self._each(self._start)
        self.own = own[0] if own else None  # backgrounds of an earlier fit, as they were alone
        offset = position - self.centre
        self.p = torch.stack([height, offset[:, 0], offset[:, 1], base, self.log_sigma_0], 1)
        self.expected = torch.zeros_like(base)  # background, and how sure that is (1/variance)
        self.sureness = torch.zeros_like(base)
        self.matrix: torch.Tensor | None = None  # normal matrices (N, F, F) of the last steps
        self.mates: NDArray[np.int64] | None = None
        self.slope = torch.zeros_like(self.p[:, 1:3])  # of the background, along y and x

    def _each(self, work: Callable[[slice], tuple[torch.Tensor, ...]]) -> tuple[torch.Tensor, ...]:
        """What some work says of all atoms, batch by batch."""
        parts = side_by_side(work, self.batches, most=len(self.batches))
        return tuple(torch.cat(column) for column in zip(*parts, strict=True))

    def _start(self, part: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """First heights and backgrounds (n,) of a batch."""
        data = self.near.gather(self.image, part)
        inside = (self.near.gather(self.weight, part) > 0) & self.disc
        filled = torch.where(inside, data, torch.full_like(data, math.inf))
        base = filled.kthvalue(max(1, filled.shape[1] // 10), dim=1).values
        base = torch.where(torch.isfinite(base), base, torch.zeros_like(base))
        return (data[:, data.shape[1] // 2] - base).clamp_min(0.0), base

    def _root_weight(self, part: slice) -> torch.Tensor:
        """Roots of the weights (n, P*P) of a batch's pixels."""
        return (self.near.gather(self.weight, part) * self.disc).sqrt()

    def _shape_terms(
        self, p: torch.Tensor, offset: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Unit Gaussian (N, P, P), distances to its centre along y and x, and 1/sigma^2."""
        inv = torch.exp(-2 * p[:, 4])
        dy, dx = offset - p[:, 1, None], offset - p[:, 2, None]
        gy = torch.exp(-0.5 * self.yy * dy**2 * inv[:, None])
        gx = torch.exp(-0.5 * self.xx * dx**2 * inv[:, None])
        unit = gy[:, :, None] * gx[:, None, :]
        if self.yx:
            unit *= torch.exp((-self.yx * inv[:, None] * dy)[:, :, None] * dx[:, None, :])
        return unit, dy, dx, inv

    def _without_atoms(self) -> torch.Tensor:
        """The picture, padded, less all atoms."""
        rest = self.image.clone()
        offset, width = self.far.offset.to(self.p.dtype), self.far.width

        def draw(part: slice) -> tuple[int, torch.Tensor]:
            """Atoms of a batch, and the first row of their picture."""
            shape = self._shape_terms(self.p[part], offset)[0]
            index = self.far.index(part)
            first = int(index[:, 0].min()) // width
            last = int(index[:, -1].max()) // width + 1
            drawn = torch.zeros((last - first) * width, dtype=rest.dtype, device=rest.device)
            values = self.p[part, 0, None, None] * shape
            drawn.index_add_(0, (index - first * width).flatten(), values.flatten())
            return first, drawn.view(-1, width)

        for first, drawn in side_by_side(draw, self.batches, most=len(self.batches)):
            rest[first : first + len(drawn)] -= drawn
        return rest

    def _weighted_slopes(self, p: torch.Tensor, root: torch.Tensor) -> torch.Tensor:
        """Slopes of the model times the root of the weights, (n, n_free + 1, P*P); one is free."""
        unit, dy, dx, inv = self._shape_terms(p, self.near.offset.to(p.dtype))
        slopes = unit.new_empty((len(p), self.n_free + 1, *unit.shape[1:]))
        root = root.view_as(unit)
        torch.mul(unit, root, out=slopes[:, 0])
        scaled = (p[:, 0] * inv)[:, None, None] * slopes[:, 0]
        torch.mul(scaled, self.yy * dy[:, :, None], out=slopes[:, 1])
        torch.mul(scaled, self.xx * dx[:, None, :], out=slopes[:, 2])
        if self.yx:
            slopes[:, 1] += self.yx * scaled * dx[:, None, :]
            slopes[:, 2] += self.yx * scaled * dy[:, :, None]
        slopes[:, 3] = root
        if self.n_free == 5:
            torch.mul(scaled, dy[:, :, None] ** 2 + dx[:, None, :] ** 2, out=slopes[:, 4])
        return slopes.flatten(2)

    def _normal(
        self, p: torch.Tensor, data: _Data, part: slice
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Normal matrix (n, F, F), right side (n, F) and cost (n,) of a batch."""
        slopes, free = self._weighted_slopes(p, data.root), self.n_free
        # with the misfit beside the slopes, one product gives all three
        rest = torch.addcmul(data.value, p[:, 3, None], data.root, value=-1)
        torch.addcmul(rest, p[:, 0, None], slopes[:, 0], value=-1, out=slopes[:, free])
        product = slopes @ slopes.transpose(1, 2)
        matrix, right = product[:, :free, :free], product[:, :free, free]
        cost = product[:, free, free]
        off, sureness = self.expected[part] - p[:, 3], self.sureness[part]
        matrix[:, 3, 3] += sureness
        right[:, 3] += sureness * off
        return matrix, right, cost + sureness * off**2

    def _cost(self, p: torch.Tensor, data: _Data, part: slice) -> torch.Tensor:
        """Cost (n,) alone, for the last step."""
        unit = self._shape_terms(p, self.near.offset.to(p.dtype))[0].flatten(1)
        rest = data.value - data.root * (p[:, 3, None] + p[:, 0, None] * unit)
        off = self.expected[part] - p[:, 3]
        return (rest**2).sum(1) + self.sureness[part] * off**2

    def _information(self, part: slice) -> tuple[torch.Tensor]:
        """Normal matrices (n, F, F) of some atoms."""
        slopes = self._weighted_slopes(self.p[part], self._root_weight(part))[:, : self.n_free]
        matrix = slopes @ slopes.transpose(1, 2)
        matrix[:, 3, 3] += self.sureness[part]
        return (matrix,)

    def share_background(self) -> None:
        """Expect of each background what the neighbours' say, as far as they agree, and its slope.

        An atom's own background is known poorly, since its tails look alike.
        """
        if len(self.p) < _LEAST_ATOMS:
            return
        points = (self.centre + self.p[:, 1:3]).cpu().double().numpy()
        if self.mates is None:  # who they are hardly changes after the first round
            count = _BACKGROUND_NEIGHBOURS + 1
            self.mates = np.asarray(cKDTree(points).query(points, count, workers=thread_count())[1])
            self.mates = self.mates[:, 1:]
        own, variance = (part.cpu().double().numpy() for part in self._own_background())
        ground = shared_ground(points, own, variance, self.mates)
        self.slope, self.expected, self.sureness = (
            torch.as_tensor(part, dtype=self.p.dtype, device=self.p.device)
            for part in (ground.slope, ground.level, 1 / np.maximum(ground.variance, 1e-12))
        )

    def _own_background(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Backgrounds (N,) by the atoms' own windows alone, and their variances (N,).

        The fitted ones lean on the neighbours' already. What these would say of them in turn would
        be smoothed twice, and over a rise of the ground too low.
        """
        matrix = self._each(self._information)[0] if self.matrix is None else self.matrix
        ridge = 1e-6 * torch.eye(matrix.shape[1], device=matrix.device)
        own, variance = self._alone(torch.linalg.inv_ex(matrix + ridge)[0][:, 3, 3])
        if self.matrix is None and self.own is not None:
            own = self.own
        return own, variance

    def _alone(self, variance: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Backgrounds and their variances (N,) without what was expected, from those with it."""
        alone = variance / (1 - self.sureness * variance).clamp_min(1e-3)
        value = self.p[:, 3]
        return value + self.sureness * alone * (value - self.expected), alone

    def _data(self, rest: torch.Tensor, part: slice) -> _Data:
        """What a batch is fitted to, from the picture without any atom."""
        p, offset = self.p[part], self.near.offset.to(self.p.dtype)
        own = p[:, 0, None, None] * self._shape_terms(p, offset)[0]
        if self.tail:  # all tails were taken off, but the atom's own hardly differ from its core
            wide = p.clone()
            wide[:, 4] += math.log(TAIL_WIDTH)
            own += self.tail * p[:, 0, None, None] * self._shape_terms(wide, offset)[0]
        rise = self.slope[part, :, None] * (offset - p[:, 1:3, None])
        own -= rise[:, 0, :, None] + rise[:, 1, None, :]
        root = self._root_weight(part)
        return _Data((self.near.gather(rest, part) + own.flatten(1)) * root, root)

    def improve(self, steps: int) -> None:
        """Take Levenberg-Marquardt steps with the neighbours held."""
        rest = self._without_atoms()
        self.p, self.matrix = self._each(
            lambda part: self._improved(self._data(rest, part), part, steps)
        )

    def _improved(self, data: _Data, part: slice, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Parameters (n, 5) of a batch after some steps, and normal matrices before the last."""
        p, low, high = self.p[part], self.low[part], self.high[part]
        narrow, wide = self.log_sigma_0[part] - 0.7, self.log_sigma_0[part] + 0.7
        damping = torch.full_like(p[:, 0], _DAMPING)
        matrix, right, cost = self._normal(p, data, part)
        for number in range(steps):
            diagonal = torch.diagonal(matrix, dim1=1, dim2=2)
            damped = matrix + torch.diag_embed(diagonal * damping[:, None] + 1e-20)
            step = torch.linalg.solve_ex(damped, right[..., None])[0][..., 0]
            trial = p.clone()
            trial[:, : self.n_free] += torch.nan_to_num(step)
            trial[:, 0] = trial[:, 0].clamp_min(0.0)
            trial[:, 1:3] = torch.minimum(torch.maximum(trial[:, 1:3], low), high)
            trial[:, 4] = torch.minimum(torch.maximum(trial[:, 4], narrow), wide)
            if number + 1 == steps:
                better = self._cost(trial, data, part) <= cost
                return torch.where(better[:, None], trial, p), matrix
            new_matrix, new_right, new_cost = self._normal(trial, data, part)
            better = new_cost <= cost
            p = torch.where(better[:, None], trial, p)
            matrix = torch.where(better[:, None, None], new_matrix, matrix)
            right = torch.where(better[:, None], new_right, right)
            cost = torch.where(better, new_cost, cost)
            damping = torch.where(better, damping / 5, damping * 10)
        return p, matrix

    def result(self) -> AtomFit:
        """Parameters with their standard deviations from the normal matrix."""
        matrix = self._each(self._information)[0].cpu().double()
        # an atom of zero height tells nothing of its position
        ridge = 1e-9 * torch.diagonal(matrix, dim1=1, dim2=2).amax(1) + 1e-30
        eye = torch.eye(matrix.shape[1], dtype=matrix.dtype)
        inverse = torch.linalg.inv_ex(matrix + ridge[:, None, None] * eye)[0]
        variance = torch.diagonal(inverse, dim1=1, dim2=2).clamp_min(0)
        sd = variance.sqrt().numpy()
        own = self._alone(variance[:, 3].to(self.p))[0]
        p = self.p.cpu().double().numpy()
        centre = self.centre.cpu().numpy()
        return AtomFit(
            y=centre[:, 0] + p[:, 1],
            x=centre[:, 1] + p[:, 2],
            amplitude=p[:, 0],
            background=p[:, 3],
            sigma=np.exp(p[:, 4]),
            y_sd=sd[:, 1],
            x_sd=sd[:, 2],
            amplitude_sd=np.maximum(sd[:, 0], 1e-30),
            own_background=own.cpu().double().numpy(),
        )


def fit_atoms(
    image: NDArray[np.float64],
    variance: NDArray[np.float64],
    y: NDArray[np.float64],
    x: NDArray[np.float64],
    sigma: float,
    *,
    free_sigma: bool = False,
    rounds: int = 4,
    device: torch.device | None = None,
    tail: float = 0.0,
    radius: float = _FIT_RADIUS,
    form: NDArray[np.float64] | None = None,
    start: AtomFit | None = None,
) -> AtomFit:
    """Fit amplitude, position and background of every atom.

    Weighted least squares by Levenberg-Marquardt, all atoms in one batch; between the rounds
    each atom's neighbours are subtracted with their newest parameters.

    Parameters
    ----------
    image
        One frame (Y, X); NaN pixels get no weight.
    variance
        Noise variance of each pixel (Y, X).
    y, x
        First guesses (N,) in pixels, inside the frame.
    sigma
        Standard deviation of an atom's image in pixels.
    free_sigma
        Fit the width of each atom too.
    rounds
        How often the neighbours are subtracted anew.
    device
        Where to compute; the CPU when left out.
    tail
        Tails that were taken off the frame, as a share of the atoms' height
        (:class:`~napari_rvae.detect.leftover.Leftover`).
    radius
        How far from an atom pixels are looked at, in sigma.
    form
        Quadratic form (2, 2) of elliptical atoms (:class:`~napari_rvae.detect.ellipse.ProbeShape`);
        round ones when left out. It takes `sigma` as given: ``free_sigma`` is for round ones.
    start
        An earlier fit of the same atoms: their heights and backgrounds are where this one begins,
        so that what the neighbours say of the background counts from the first round on.

    Returns
    -------
    AtomFit
        Fitted values with standard deviations; a weak atom may have amplitude 0.
    """
    device = device or torch.device("cpu")
    if y.size == 0:
        return AtomFit(*(np.zeros(0) for _ in range(9)))
    scaled, weight, level, spread = _in_units(image, variance)
    order = np.argsort(y, kind="stable")
    known = None
    if start is not None:
        grounds = ((g[order] - level) / spread for g in (start.background, start.own_background))
        values = (start.amplitude[order] / spread, *grounds)
        known = tuple(torch.as_tensor(v, dtype=torch.float32, device=device) for v in values)
    fitter = _Fitter(
        torch.as_tensor(scaled, device=device),
        torch.as_tensor(weight, device=device),
        torch.as_tensor(np.stack([y, x], 1)[order], dtype=torch.float32, device=device),
        torch.full((y.size,), sigma, dtype=torch.float32, device=device),
        free_sigma=free_sigma,
        tail=tail,
        radius=radius,
        form=form,
        known=known,
    )
    for number in range(rounds):
        if number or known is not None:
            fitter.share_background()
        fitter.improve(3 if number == 0 and known is None else 2)
    fit = fitter.result().select(np.argsort(order))
    return AtomFit(
        y=fit.y,
        x=fit.x,
        amplitude=fit.amplitude * spread,
        background=fit.background * spread + level,
        own_background=fit.own_background * spread + level,
        sigma=fit.sigma,
        y_sd=fit.y_sd,
        x_sd=fit.x_sd,
        amplitude_sd=fit.amplitude_sd * spread,
    )


def _in_units(
    image: NDArray[np.float64], variance: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32], float, float]:
    """Picture and weights (Y, X) in units of a level and a spread, and these.

    Amplitudes near 1 keep single precision safe whatever the units of the frame.
    """
    some = some_rows(image)
    known = some[np.isfinite(some)]
    if not known.size:
        known = image[np.isfinite(image)]
    level, spread = float(np.median(known)), float(np.std(known)) or 1.0
    scaled, weight = (np.empty(image.shape, np.float32) for _ in range(2))

    def fill(rows: slice) -> None:
        good = np.isfinite(image[rows])
        scaled[rows] = np.where(good, (image[rows] - level) / spread, 0.0)
        weight[rows] = np.where(good, spread**2 / variance[rows], 0.0)

    do_side_by_side(fill, bands(len(image), 32))  # few rows stay in the cache
    return scaled, weight, level, spread
