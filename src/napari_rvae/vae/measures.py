"""What the self-checks measure: how pictures turn, and what can be read from latents.

Everything here is arithmetic on pictures and tables; it knows no engine. The checks themselves,
their limits and their words are in :mod:`napari_rvae.vae.checks`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.neighbors import NearestNeighbors

from napari_rvae.crops.vectors import turn_components
from napari_rvae.preprocess.noise import noise_level

__all__ = [
    "N_ORDERS",
    "Estimate",
    "Rings",
    "angle_disagreement",
    "as_numbers",
    "canonical_correlations",
    "neighbour_overlap",
    "noise_levels",
    "one_minus_ratio",
    "predictability",
    "symmetry_orders",
    "turn_pictures",
]

#: Angular orders of the ring harmonics, 1 to this.
N_ORDERS = 8

#: Radii of the rings and their width, as shares of half the picture's side. Further in, and on
#: narrower rings, the pixels are too coarse for the higher orders: a turn shows in their size.
_RINGS, _RING_WIDTH = (0.4, 0.6, 0.8), 0.12

#: A picture counts as n-fold when orders that are multiples of n hold this share of its power.
_SYMMETRIC = 0.8

#: Pictures of which the noise is measured.
_NOISE_PICTURES = 200

#: Trees that predict, and the fewest crops in a leaf of one.
_TREES, _LEAF = 40, 5

#: Directions are alike when their circular variance (1 - R^2) is below this.
_ALIKE = 0.05

#: Draws of the bootstrap.
_DRAWS = 200

#: Nearest neighbours in a latent space.
_NEIGHBOURS = 15


@dataclass(frozen=True)
class Estimate:
    """A figure and the interval that holds it with 95 % probability."""

    value: float
    low: float
    high: float


# ---------------------------------------------------------------------- pictures
def turn_pictures(
    pictures: NDArray[np.float32], angle: ArrayLike, vectors: Sequence[tuple[int, int]] = ()
) -> NDArray[np.float32]:
    """Turn pictures (N, C, S, S) about their centre by angles (N,) or one, by cubic splines.

    An offset (dy, dx) from the centre goes to (dy cos a - dx sin a, dx cos a + dy sin a), y down.
    What comes in at the corners from outside the picture is its mirror image; inside the disc of
    diameter S nothing does. Channels that are the components of `vectors` (y, x) turn as such.
    """
    middle = np.full(2, (pictures.shape[-1] - 1) / 2)
    turned = np.empty_like(pictures)
    angles = np.broadcast_to(np.asarray(angle, float), len(pictures))
    for where in np.ndindex(pictures.shape[:2]):
        c, s = math.cos(angles[where[0]]), math.sin(angles[where[0]])
        back = np.array([[c, s], [-s, c]])
        picture = pictures[where].astype(np.float64)
        offset = middle - back @ middle
        turned[where] = ndimage.affine_transform(picture, back, offset, order=3, mode="mirror")
    return turn_components(turned, angles, vectors)


def as_numbers(
    pictures: NDArray[np.float64], vectors: Sequence[tuple[int, int]]
) -> NDArray[np.float64]:
    """Pictures (N, C, S, S) whose channels turn as numbers do: the lengths of vectors for both."""
    if not vectors:
        return pictures
    numbers = pictures.copy()
    for pair in vectors:
        numbers[:, list(pair)] = np.hypot(*pictures[:, list(pair)].swapaxes(0, 1))[:, None]
    return numbers


def noise_levels(pictures: NDArray[np.float64], known: float) -> NDArray[np.float64]:
    """Standard deviation (C,) of the noise of a frame pixel in pictures (N, C, S, S).

    `known` is that of the first channel, NaN where it is not. Interpolation has taken the same
    share from the noise of all channels, so the first one tells what the others have lost.
    """
    part = pictures[:_NOISE_PICTURES]
    columns = part.transpose(1, 0, 2, 3).reshape(part.shape[1], -1, part.shape[-1])
    level = np.array([noise_level(channel) for channel in columns])
    if math.isfinite(known) and known > 0 and level[0] > 0:
        return np.asarray(level * (known / level[0]))
    return level


class Rings:
    """Angular harmonics of pictures on rings, in which turning is a change of phase.

    Parameters
    ----------
    pixels
        Side S of the pictures.
    """

    def __init__(self, pixels: int) -> None:
        line = np.arange(pixels) - (pixels - 1) / 2
        dy, dx = np.meshgrid(line, line, indexing="ij")
        distance = np.hypot(dy, dx) / (pixels / 2)
        # counted so, a turn by a takes the direction phi to phi + a
        phi = np.arctan2(-dy, dx)
        self.order = np.arange(1, N_ORDERS + 1)
        ring = np.exp(-0.5 * ((distance - np.array(_RINGS)[:, None, None]) / _RING_WIDTH) ** 2)
        ring *= np.clip((1 - distance) * pixels / 2 + 0.5, 0, 1)
        waves = ring[:, None] * np.exp(-1j * self.order[:, None, None] * phi)  # (R, n, S, S)
        # on the square grid, a constant picture would leave a rest in the fourth and eighth order
        rest = waves.sum((2, 3)) / ring.sum((1, 2))[:, None]
        waves -= ring[:, None] * rest[..., None, None]
        waves = waves.reshape(-1, pixels * pixels).T
        self._waves = waves / np.linalg.norm(waves, axis=0)

    def harmonics(self, pictures: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Coefficients (N, C, R, n) of pictures (N, C, S, S), n from 1.

        White noise of variance v gives coefficients of variance v.
        """
        flat = pictures.reshape(*pictures.shape[:2], -1)
        return np.asarray((flat @ self._waves).reshape(*flat.shape[:2], len(_RINGS), N_ORDERS))

    def turn(
        self, harmonics: NDArray[np.complex128], angle: NDArray[np.float64]
    ) -> NDArray[np.complex128]:
        """Coefficients (N, C, R, n) of the pictures turned by angles (N,)."""
        phase = np.exp(-1j * angle[:, None] * self.order)
        return np.asarray(harmonics * phase[:, None, None])


def symmetry_orders(harmonics: NDArray[np.complex128]) -> NDArray[np.int64]:
    """Largest n (N,) of 1, 2, 3, 4, 6 for which pictures look n-fold symmetric."""
    power = (np.abs(harmonics) ** 2).sum((1, 2))  # (N, n)
    total = power.sum(1)
    found = np.ones(len(power), np.int64)
    for n in (2, 3, 4, 6):
        found[(power[:, n - 1 :: n].sum(1) >= _SYMMETRIC * total) & (total > 0)] = n
    return found


# ---------------------------------------------------------------------- latents
def predictability(
    z: NDArray[np.float64],
    phases: NDArray[np.float64],
    halves: list[tuple[NDArray[np.intp], NDArray[np.intp]]],
    rng: np.random.Generator,
) -> Estimate | None:
    """Share R2 of the variance of directions that latents (N, L) predict, less chance.

    Trees are grown on one half of the rows and asked about the other, and the other way round.
    Chance is what they make of targets in random order: (R2 - chance) / (1 - chance) is 1 minus
    the ratio of both misfits.

    Parameters
    ----------
    z
        Latents (N, L).
    phases
        Directions (N, T) in radians; their cosines and sines are predicted.
    halves
        Row numbers of the two halves, for each way of halving.
    rng
        Random numbers.

    Returns
    -------
    Estimate
        Of the direction that is predicted best; None where all directions are alike.
    """
    targets = np.concatenate([np.cos(phases), np.sin(phases)], 1)
    own: list[NDArray[np.float64]] = []
    chance: list[NDArray[np.float64]] = []
    for train, test in [pair for one, other in halves for pair in ((one, other), (other, one))]:
        for errors, rows in ((own, train), (chance, rng.permutation(train))):
            trees = ExtraTreesRegressor(_TREES, min_samples_leaf=_LEAF, random_state=0)
            guess = trees.fit(z[train], targets[rows]).predict(z[test])
            squares = (targets[test] - guess) ** 2
            errors.append(squares[:, : phases.shape[1]] + squares[:, phases.shape[1] :])
    misfit, random = np.concatenate(own), np.concatenate(chance)
    found = [
        estimate
        for number in range(phases.shape[1])
        if 1 - np.hypot(*targets[:, number :: phases.shape[1]].mean(0)) ** 2 >= _ALIKE
        and (estimate := one_minus_ratio(misfit[:, number], random[:, number], rng)) is not None
    ]
    return max(found, key=lambda estimate: estimate.value, default=None)


def one_minus_ratio(
    part: NDArray[np.float64], whole: NDArray[np.float64], rng: np.random.Generator
) -> Estimate | None:
    """1 - sum(part) / sum(whole) over crops (N,), by bootstrap; None without a whole."""
    if not (whole > 0).any():
        return None
    draws = rng.integers(len(part), size=(_DRAWS, len(part)))
    sums = whole[draws].sum(1)
    drawn = 1 - part[draws].sum(1)[sums > 0] / sums[sums > 0]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(float(1 - part.sum() / whole.sum()), float(low), float(high))


def canonical_correlations(
    one: NDArray[np.float64], other: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Canonical correlations of two sets of latents (N, L), (N, K), the largest first.

    The combinations are found on a random half of the rows and correlated on the other; the mean
    of both ways round.
    """
    rows = rng.permutation(len(one))
    found = []
    for train, test in ((rows[::2], rows[1::2]), (rows[1::2], rows[::2])):
        a, b = (values - values[train].mean(0) for values in (one, other))
        # whitening by QR; the singular vectors of the cross-products are the combinations
        (qa, ra), (qb, rb) = np.linalg.qr(a[train]), np.linalg.qr(b[train])
        left, _, right = np.linalg.svd(qa.T @ qb, full_matrices=False)
        u = a[test] @ (np.linalg.pinv(ra) @ left)
        v = b[test] @ (np.linalg.pinv(rb) @ right.T)
        u, v = u - u.mean(0), v - v.mean(0)
        size = np.sqrt((u**2).sum(0) * (v**2).sum(0))
        found.append((u * v).sum(0) / np.maximum(size, np.finfo(float).tiny))
    return np.asarray(np.mean(found, 0))


def neighbour_overlap(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Share of a crop's nearest neighbours in `one` (N, L) that are so in `other` (N, K)."""
    count = min(_NEIGHBOURS, len(one) - 1)
    near = [
        NearestNeighbors(n_neighbors=count).fit(z).kneighbors(return_distance=False)
        for z in (one, other)
    ]
    common = [np.intersect1d(a, b, assume_unique=True).size for a, b in zip(*near, strict=True)]
    return float(np.mean(common) / count)


def angle_disagreement(
    z: NDArray[np.float64], difference: NDArray[np.float64], order: NDArray[np.int64]
) -> float:
    """Root mean square, in radians, of what differs between two models' angles (N,).

    Each model turns its pictures as it likes, and may do so from place to place in the latent
    space: from the difference of a crop the mean of its nearest neighbours in z (N, L) is taken
    off, modulo 2 pi over the order (N,) of its symmetry.
    """
    count = min(_NEIGHBOURS, len(z) - 1)
    near = NearestNeighbors(n_neighbors=count).fit(z).kneighbors(return_distance=False)
    mean = np.exp(1j * order[:, None] * difference[near]).mean(1)
    rest = np.angle(np.exp(1j * order * difference) * np.conj(mean)) / order
    return float(np.sqrt(np.mean(rest**2)))
