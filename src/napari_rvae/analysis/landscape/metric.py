"""Distance between latents by what the decoder draws of them.

Latents are defined only up to a smooth map, so a distance in them means nothing. What stays the
same under every such map are the decoded pictures. Here the distance of two latents is that of
their pictures, in standard deviations of the noise of a crop's pixels, with one of them turned
until they fit best: at a distance of 1, the best test that there is tells a crop of the one from
a crop of the other with one standard deviation of confidence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sklearn.utils.extmath import randomized_svd

from napari_rvae.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from napari_rvae.analysis.explain import Model

    Array = NDArray[np.float64]
    Floats = NDArray[np.float32]

__all__ = [
    "PictureSpace",
    "best_turns",
    "crop_noise",
    "picture_distance",
    "picture_metric",
    "whitened_pictures",
]

#: Angles over a full turn at which pictures are compared; a parabola finds the rest.
_ANGLES = 72

#: Pictures that the compressing basis is found from, and how many of its vectors are kept. A
#: steerable model has some hundred coefficients.
_SAMPLE, _COMPONENTS = 64, 160

#: Step of the finite differences, in standard deviations of a latent. Pictures are computed in
#: single precision: smaller steps lose digits.
_STEP = 0.05

#: Rounds in which the angle of the best fit is refined, each halving the step.
_ROUNDS = 4


def crop_noise(model: Model, noise: ArrayLike | None = None) -> Array:
    """Standard deviation (C,) of the noise of a crop's pixel, that of the model where not given.

    Raises
    ------
    InputError
        If the model does not know it and `noise` is not given, or a value is not positive.
    """
    value = getattr(model, "noise_sd_", None) if noise is None else noise
    if value is None:
        raise InputError(
            f"{type(model).__name__} does not know the noise of its crops: give it as noise=."
        )
    found = np.atleast_1d(np.asarray(value, float))
    if found.ndim != 1 or not (np.isfinite(found) & (found > 0)).all():
        raise InputError(f"noise = {value}: give one positive number, or one for each channel.")
    return found


def whitened_pictures(
    model: Model, z: ArrayLike, noise: Array, *, angle: ArrayLike = 0.0
) -> Floats:
    """Decoded pictures (M, C * S * S) of latents (M, L), in standard deviations of the noise."""
    values = np.asarray(model.inverse_transform(z, angle=angle), np.float32)
    scale = np.broadcast_to(noise, (values.shape[1],)).astype(np.float32)
    flat: Floats = (values / scale[:, None, None]).reshape(
        len(values), int(np.prod(values.shape[1:]))
    )
    return flat


def picture_metric(
    model: Model,
    z: ArrayLike,
    *,
    noise: ArrayLike | None = None,
    spread: ArrayLike = 1.0,
    pose_free: bool = True,
) -> Array:
    """Pull-back metric of the decoder: how much the picture changes along each latent.

    Between near latents, the squared :func:`picture_distance` is ``dz @ G @ dz``. The Jacobian is
    taken by central differences. What a turn of the picture does as well is projected out.

    Parameters
    ----------
    model
        A trained model.
    z
        Latents (M, L).
    noise
        Standard deviation of the noise of a crop's pixel, one or (C,); the model's own
        (``noise_sd_``), if left out.
    spread
        Standard deviations of the latents, one or (L,): the differences are a twentieth of it.
    pose_free
        Whether turned pictures count as the same.

    Returns
    -------
    ndarray (M, L, L)
        Symmetric and not negative, per squared unit of the latents.

    Raises
    ------
    InputError
        If the noise is unknown or not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import RVAE, Crops
    >>> from napari_rvae.analysis.landscape.metric import picture_metric
    >>> images = np.random.default_rng(0).normal(size=(64, 1, 32, 32)).astype(np.float32)
    >>> model = RVAE(epochs=1).fit(Crops(images=images, site_id=np.arange(64)))
    >>> picture_metric(model, np.zeros((3, 4))).shape
    (3, 4, 4)
    """
    values = np.atleast_2d(np.asarray(z, float))
    sigma = crop_noise(model, noise)
    steps = _STEP * np.broadcast_to(np.asarray(spread, float), (values.shape[1],))
    columns = []
    for number, step in enumerate(steps):
        move = np.zeros(values.shape[1])
        move[number] = step
        after, before = (whitened_pictures(model, values + s * move, sigma) for s in (1, -1))
        columns.append((after - before).astype(float) / (2 * step))
    jacobian = np.stack(columns, 2)  # (M, P, L)
    if pose_free:
        turn = math.pi / _ANGLES
        ahead, back = (whitened_pictures(model, values, sigma, angle=s * turn) for s in (1, -1))
        tangent = (ahead - back).astype(float)
        size = np.maximum(np.linalg.norm(tangent, axis=1), np.finfo(float).tiny)
        tangent /= size[:, None]
        share = np.einsum("mp,mpl->ml", tangent, jacobian)
        jacobian -= tangent[:, :, None] * share[:, None, :]
    return np.asarray(jacobian.transpose(0, 2, 1) @ jacobian)


def picture_distance(
    model: Model,
    z: ArrayLike,
    other: ArrayLike,
    *,
    noise: ArrayLike | None = None,
    other_model: Model | None = None,
    pose_free: bool = True,
) -> Array:
    """Distance of each decoded picture to another, in standard deviations of the noise.

    Parameters
    ----------
    model
        A trained model.
    z, other
        Latents (M, L) each: pairs of them are compared.
    noise
        Standard deviation of the noise of a crop's pixel, one or (C,); the model's own
        (``noise_sd_``), if left out.
    other_model
        The model that decodes `other`; the same, if left out.
    pose_free
        Take the smallest distance over all turns of one picture.

    Returns
    -------
    ndarray (M,)
        ``min over a of |picture(z) - picture(other) turned by a| / noise``.

    Raises
    ------
    InputError
        If the noise is unknown or not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import RVAE, Crops
    >>> from napari_rvae.analysis.landscape.metric import picture_distance
    >>> images = np.random.default_rng(0).normal(size=(64, 1, 32, 32)).astype(np.float32)
    >>> model = RVAE(epochs=1).fit(Crops(images=images, site_id=np.arange(64)))
    >>> picture_distance(model, np.zeros((1, 4)), np.zeros((1, 4))).round(3).tolist()
    [0.0]
    """
    one, two = (np.atleast_2d(np.asarray(values, float)) for values in (z, other))
    sigma = crop_noise(model, noise)
    decoder = model if other_model is None else other_model
    pictures = whitened_pictures(model, one, sigma)
    if not pose_free:
        return _norms(pictures - whitened_pictures(decoder, two, sigma))
    return _refined(decoder, pictures, two, _coarse_turns(decoder, pictures, two, sigma), sigma)[0]


def best_turns(model: Model, z: Array, other: Array, noise: Array) -> Array:
    """Angle (M,) at which each picture of `other` fits that of `z` best; latents (M, L)."""
    pictures = whitened_pictures(model, z, noise)
    return _refined(model, pictures, other, _coarse_turns(model, pictures, other, noise), noise)[1]


def _coarse_turns(model: Model, pictures: Floats, z: Array, noise: Array) -> Array:
    angle = np.empty(len(z))
    for row, (picture, latents) in enumerate(zip(pictures, z, strict=True)):
        apart = _norms(picture - _turned(model, latents, noise))
        angle[row] = _best_angles(apart[None])[1][0]
    return angle


def _refined(
    model: Model, pictures: Floats, z: Array, angle: Array, noise: Array
) -> tuple[Array, Array]:
    """Distance (M,) of pictures (M, P) to those of z, and the angles (M,), refined step by step."""
    best = np.asarray(angle, float).copy()
    distance = _norms(pictures - whitened_pictures(model, z, noise, angle=best))
    step = math.pi / _ANGLES
    for _ in range(_ROUNDS):
        step /= 2
        for side in (-step, step):
            tried = _norms(pictures - whitened_pictures(model, z, noise, angle=best + side))
            better = tried < distance
            best, distance = np.where(better, best + side, best), np.where(better, tried, distance)
    return np.asarray(distance), best


def _turned(model: Model, z: Array, noise: Array) -> Floats:
    """One picture (A, P) at all angles."""
    angle = 2 * math.pi * np.arange(_ANGLES) / _ANGLES
    return whitened_pictures(model, np.tile(z, (_ANGLES, 1)), noise, angle=angle)


def _best_angles(distance: Array) -> tuple[Array, Array]:
    """Smallest distance (N,) over angles (N, A), and its angle, by a parabola through squares."""
    squares = np.asarray(distance, float) ** 2
    count = squares.shape[1]
    low = squares.argmin(1)
    rows = np.arange(len(squares))
    here, after, before = (squares[rows, (low + s) % count] for s in (0, 1, -1))
    bend = np.maximum(before + after - 2 * here, np.finfo(float).tiny)
    offset = np.clip((before - after) / (2 * bend), -0.5, 0.5)
    least = np.maximum(here - bend * offset**2 / 2, 0.0)
    return np.sqrt(least), 2 * math.pi * (low + offset) / count


def _norms(values: Floats) -> Array:
    return np.asarray(np.linalg.norm(values.astype(float), axis=1))


@dataclass(frozen=True, eq=False)
class PictureSpace:
    """Decoded pictures of many sites, and their distances to the picture of any one of them.

    Attributes
    ----------
    model
        The decoder.
    z
        Latents (N, L).
    noise
        Standard deviation of the noise of a crop's pixel (C,).
    basis
        Orthonormal pictures (K, P), turned ones included, that the others are made of.
    coordinates
        The pictures in it (N, K).
    pose_free
        Whether turned pictures count as the same.
    """

    model: Model
    z: Array
    noise: Array
    basis: Floats
    coordinates: Floats
    pose_free: bool

    @classmethod
    def of(
        cls, model: Model, z: Array, noise: Array, *, pose_free: bool = True, seed: int = 0
    ) -> PictureSpace:
        """Decode latents (N, L), and find the basis from them and some of them turned."""
        pictures = whitened_pictures(model, z, noise)
        rng = np.random.default_rng(seed)
        some = rng.choice(len(z), min(_SAMPLE, len(z)), replace=False)
        parts = [pictures[rng.choice(len(z), min(2000, len(z)), replace=False)]]
        if pose_free:
            parts += [_turned(model, z[one], noise)[::3] for one in some]
        stack = np.concatenate(parts)
        count = min(_COMPONENTS, *stack.shape)
        _, _, basis = randomized_svd(stack, count, n_iter=2, random_state=seed)
        basis = np.asarray(basis, np.float32)
        return cls(model, z, noise, basis, pictures @ basis.T, pose_free)

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.z)

    def to_all(self, number: int) -> tuple[Array, Array]:
        """Distance of all pictures to that of one (N,), and its angle that fits them best (N,)."""
        if not self.pose_free:
            rest = _norms(self.coordinates - self.coordinates[number])
            return rest, np.zeros(len(self))
        turned = (_turned(self.model, self.z[number], self.noise) @ self.basis.T).astype(float)
        # a turn of both pictures changes nothing: what all turns share is taken off first, so that
        # the difference of large numbers does not lose the small distances
        middle = turned.mean(0)
        own, others = self.coordinates - middle, turned - middle
        squares = (own**2).sum(1)[:, None] + (others**2).sum(1) - 2 * own @ others.T
        return _best_angles(np.sqrt(np.maximum(squares, 0.0)))

    def exact(self, one: NDArray[np.intp], other: NDArray[np.intp], angle: Array) -> Array:
        """Distances (E,) of pairs, without the basis, from angles near those that fit best."""
        pictures = whitened_pictures(self.model, self.z[one], self.noise)
        if not self.pose_free:
            return _norms(pictures - whitened_pictures(self.model, self.z[other], self.noise))
        return _refined(self.model, pictures, self.z[other], angle, self.noise)[0]
