"""The shape of a frame's probe: an ellipse that all atoms share, told by what their fits leave."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_rvae.detect.fit import AtomFit
from napari_rvae.preprocess.noise import fill_missing, pixel_weights
from napari_rvae.render import render_gaussians

__all__ = ["ROUND", "ProbeShape", "shape_step"]

Floats = NDArray[np.float64]

#: The shape is told by so many atoms at most, of the middle of the frame, and by so many at least.
_MOST_ATOMS, _LEAST_ATOMS = 1000, 24

#: A window reaches this many sigma; an atom this many times more telling than usual ones counts as
#: those, so that no few decide.
_RADIUS, _MOST_TELLING = 2.5, 4.0

#: One step changes no width by more than this share.
_MOST_STEP = 0.3

#: Shapes this much longer than wide begin to count, and count in full; and so many standard errors
#: from round. Rounder ones cost a fit nothing worth telling, and no atom jumps between the two.
_BEGIN, _FULL, _SURE = 0.03, 0.05, 6.0


class ProbeShape(NamedTuple):
    """An ellipse against the round Gaussian that the frame was searched with.

    Parameters
    ----------
    wider
        Mean width (geometric) over that of the round one.
    form
        Quadratic form (2, 2) of determinant 1: the exponent is -d F d / (2 sigma^2).
    """

    wider: float
    form: Floats

    @property
    def ratio(self) -> float:
        """Longest by shortest width."""
        return float(np.linalg.eigvalsh(self.form)[1])

    def changed(self, step: Floats) -> ProbeShape:
        """Return the shape after a step (3,): see :func:`shape_step`."""
        size = float(np.abs(step).max())
        step = step * min(1.0, _MOST_STEP / max(size, 1e-30))
        root = np.linalg.cholesky(np.linalg.inv(self.form))
        spread = root @ _stretched(2 * step[1], 2 * step[2]) @ root.T
        return ProbeShape(self.wider * math.exp(step[0]), np.asarray(np.linalg.inv(spread)))

    def trusted(self, sd: Floats) -> ProbeShape:
        """Return the shape as far as it is believed, by the standard errors (3,) of its step.

        What is not Gaussian (tails, a support) makes atoms look wider, too: where they are by as
        much as they are longer, that is no ellipse, since the mean width was measured before.
        """
        longer = math.log(self.ratio)
        beyond = (self.ratio - 1 - _BEGIN) / (_FULL - _BEGIN)
        even = 2 - 2 * abs(math.log(self.wider)) / max(longer, 1e-30)
        sure = longer / 2 > _SURE * float(sd[1:].max())
        share = min(max(beyond, 0.0), 1.0) * min(max(even, 0.0), 1.0) * sure
        if not share:
            return ROUND
        size, axes = np.linalg.eigh(self.form)
        return ProbeShape(self.wider**share, (axes * size**share) @ axes.T)


#: The shape of the Gaussian that a frame is searched with.
ROUND = ProbeShape(1.0, np.eye(2))


def _stretched(along: float, across: float) -> Floats:
    """Exponential (2, 2) of the matrix with `along` and its negative on the diagonal."""
    size = math.hypot(along, across)
    rest = math.sinh(size) / size if size > 0 else 1.0
    matrix = np.array([[along, across], [across, -along]])
    return np.asarray(math.cosh(size) * np.eye(2) + rest * matrix)


def shape_step(
    image: Floats, variance: Floats, fit: AtomFit, sigma: float, shape: ProbeShape = ROUND
) -> tuple[Floats, Floats] | None:
    """By how much the atoms of a frame are wider, and longer along two directions, than drawn.

    One Gauss-Newton step for all atoms together, the heights, places and planes beneath of each
    being free (eliminated by the Schur complement of the normal matrix).

    Parameters
    ----------
    image
        One frame (Y, X); NaN pixels tell nothing.
    variance
        Noise variance of each pixel (Y, X).
    fit
        The atoms, fitted with `sigma` and `shape`.
    sigma
        Width of the round Gaussian in pixels.
    shape
        The shape that they were fitted with.

    Returns
    -------
    step, sd : ndarray of shape (3,)
        Natural logarithms of the mean width, of the width along y over the mean, and of that along
        the diagonal, in the axes of the shape so far; and their standard errors. None where too few
        atoms are there to tell.
    """
    width = shape.wider * sigma
    reach = math.ceil(_RADIUS * width)
    place = np.rint(np.stack([fit.y, fit.x], 1)).astype(int)
    inside = ((place >= reach) & (place < np.array(image.shape) - reach)).all(axis=1)
    middle = (np.array(image.shape) - 1) / 2
    away = np.where(inside & (fit.amplitude > 0), np.abs(place - middle).max(axis=1), np.inf)
    some = np.argsort(away, kind="stable")[: min(_MOST_ATOMS, int(np.isfinite(away).sum()))]
    if some.size < _LEAST_ATOMS:
        return None
    cells = place[some, :, None] + np.arange(-reach, reach + 1)  # (n, 2, P)
    corner, end = cells.min(axis=(0, 2)), cells.max(axis=(0, 2)) + 1
    cut = slice(corner[0], end[0]), slice(corner[1], end[1])
    drawn = render_gaussians(
        fit.y - corner[0],
        fit.x - corner[1],
        fit.amplitude,
        width,
        (int(end[0] - corner[0]), int(end[1] - corner[1])),
        form=shape.form,
    )
    rows, columns = (cells - corner[:, None]).transpose(1, 0, 2)
    window = rows[:, :, None], columns[:, None, :]
    weight = pixel_weights(image[cut], variance[cut])[window]
    rest = (fill_missing(image[cut]) - drawn)[window]
    slopes = _slopes(cells - np.stack([fit.y, fit.x], 1)[some, :, None], width, shape.form)
    slopes[:, [1, 2, 6, 7, 8]] *= fit.amplitude[some, None, None, None]
    return _shared_step(slopes.reshape(*slopes.shape[:2], -1), rest, weight)


def _slopes(away: Floats, width: float, form: Floats) -> Floats:
    """Slopes (n, 9, P, P) of the model: height, place, plane beneath, and the shape."""
    dy, dx = away[:, 0, :, None] / width, away[:, 1, None, :] / width
    root = np.linalg.inv(np.linalg.cholesky(np.linalg.inv(form)))
    u_y, u_x = root[0, 0] * dy + 0 * dx, root[1, 0] * dy + root[1, 1] * dx  # in these it is round
    blob = np.exp(-0.5 * (u_y**2 + u_x**2))
    one = np.ones_like(blob)
    parts = [blob, blob * u_y, blob * u_x, one, one * dy, one * dx]
    parts += [blob * (u_y**2 + u_x**2), blob * (u_y**2 - u_x**2), 2 * blob * u_y * u_x]
    return np.stack(parts, axis=1)


def _shared_step(slopes: Floats, rest: Floats, weight: Floats) -> tuple[Floats, Floats] | None:
    """Best step (3,) of the last three parameters, shared by all atoms, and its errors."""
    weight = weight.reshape(len(weight), 1, -1)
    product = (weight * slopes) @ slopes.transpose(0, 2, 1)
    right = ((weight * slopes) @ rest.reshape(len(rest), -1, 1))[..., 0]
    own, mixed, shared = product[:, :6, :6], product[:, :6, 6:], product[:, 6:, 6:]
    scale = 1e-9 * np.trace(own, axis1=1, axis2=2)[:, None, None] * np.eye(6) + 1e-30 * np.eye(6)
    solved = np.linalg.solve(own + scale, np.concatenate([mixed, right[:, :6, None]], axis=2))
    sure = shared - mixed.transpose(0, 2, 1) @ solved[..., :3]
    pull = right[:, 6:] - np.einsum("nij,ni->nj", mixed, solved[..., 3])
    told = np.trace(sure, axis1=1, axis2=2)
    share = np.minimum(1.0, _MOST_TELLING * np.median(told) / np.maximum(told, 1e-30))
    total = np.einsum("n,nij->ij", share, sure)
    if not np.linalg.cond(total) < 1e8:
        return None
    inverse = np.linalg.inv(total)
    step = inverse @ (share @ pull)
    # by the scatter of the atoms: they are no perfect Gaussians
    left = share[:, None] * (pull - np.einsum("nij,j->ni", sure, step))
    return step, np.sqrt(np.diag(inverse @ (left.T @ left) @ inverse))
