"""Simpler models to compare with, used as :class:`~napari_rvae.RVAE` is.

Principal components and Gaussian mixtures of crops as they lie, which know nothing of rotation,
and principal components of features that rotation does not change. All give latents tables and
pictures, so that units, maps and explainers take them like an rVAE.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Self

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.preprocessing import RobustScaler

from napari_rvae.analysis.poses import place_pictures
from napari_rvae.errors import InputError, NotFittedError
from napari_rvae.tables import LATENT_COLUMNS, latent_grid

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from napari_rvae.crops import Crops
    from napari_rvae.vae import RVAE

    Array = NDArray[np.float64]
    Pictures = NDArray[np.float32]

__all__ = ["CropGMM", "CropPCA", "InvariantPCA"]

#: Crops in memory at a time.
_CHUNK = 4000

#: Variance that is added to a mixture's: that of a standardised crop is 1.
_LEAST_VARIANCE = 1e-3

#: Scaled features are clipped here: one broken pixel must not own an axis.
_CLIP = 30.0

#: Training crops that are kept as pictures of places in the latent space.
_EXAMPLES = 2000


class _Baseline(ABC):
    """What the baselines share: standardised crops in, a latents table and pictures out.

    Parameters
    ----------
    n_latents
        Number of latents.
    max_crops
        Train on at most so many crops, drawn at random.
    seed
        Start of the random numbers.
    """

    def __init__(self, n_latents: int, *, max_crops: int = 10_000, seed: int = 0) -> None:
        if n_latents < 1:
            raise InputError(f"n_latents = {n_latents}: one is the least.")
        self.n_latents, self.max_crops, self.seed = n_latents, max_crops, seed
        self._shape: tuple[int, ...] | None = None
        self._vectors: tuple[tuple[int, int], ...] = ()

    def __repr__(self) -> str:
        """Return class, number of latents and state in one line."""
        state = "fitted" if self.is_fitted else "not fitted"
        return f"{type(self).__name__}(n_latents={self.n_latents}, {state})"

    @property
    def is_fitted(self) -> bool:
        """Whether there is anything to compute results with."""
        return self._shape is not None

    def fit(self, crops: Crops) -> Self:
        """Learn from crops (N, C, S, S); those with NaN are left out.

        Raises
        ------
        InputError
            If there are fewer usable crops than latents, or all are the same.
        """
        good = np.concatenate(
            [_whole(part) for part in crops.pieces(_CHUNK)] or [np.zeros(0, bool)]
        )
        rows = np.flatnonzero(good)
        rows = np.random.default_rng(self.seed).permutation(rows)[: self.max_crops]
        if len(rows) <= self.n_latents:
            raise InputError(
                f"There are {len(rows)} usable crops for {self.n_latents} latents: give more."
            )
        chosen = crops.select(np.sort(rows))
        images = chosen.read()
        self._scale = images.std(axis=(0, 2, 3), dtype=np.float64)[:, None, None]
        if not (self._scale > 0).all():
            raise InputError("The crops hold one constant value: there is nothing to learn.")
        self._shape, self._vectors = images.shape[1:], crops.vectors
        z, misfit = self._learn(chosen, images)
        self._usual_misfit = max(float(misfit.mean()), np.finfo(float).tiny)
        self._spread = np.quantile(z, np.linspace(0, 1, 101), axis=0)
        return self

    def transform(self, crops: Crops) -> pd.DataFrame:
        """Latents of every crop.

        Parameters
        ----------
        crops
            Crops on the grid and with the channels of the training.

        Returns
        -------
        DataFrame
            A latents table, one row per crop, in order: ``site_id``, ``z0``, ``z1``, ... and
            ``residual``, the squared misfit over the mean of the training's. ``angle`` and the
            shifts are 0, as the model knows none; ``angle_sd``, ``z0_sd``, ... and
            ``lattice_angle`` are NaN. Crops with NaN give NaN.

        Raises
        ------
        NotFittedError
            Before the training.
        InputError
            If the crops do not fit the model.
        """
        shape = self._check(crops.images.shape[1:])
        z, residual = np.full((len(crops), self.n_latents), np.nan), np.full(len(crops), np.nan)
        for start in range(0, len(crops), _CHUNK):
            part = crops.select(np.arange(start, min(start + _CHUNK, len(crops))))
            images = part.read().reshape(-1, *shape)
            good = _whole(images)
            if good.any():
                rows = start + np.flatnonzero(good)
                z[rows], misfit = self._encode(part.select(good), images[good])
                residual[rows] = misfit / self._usual_misfit
        columns: dict[str, Array | NDArray[np.int64]] = {"site_id": crops.site_id}
        columns |= {name: np.full(len(crops), np.nan) for name in LATENT_COLUMNS}
        for name in ("angle", "shift_y", "shift_x"):
            columns[name] = np.where(np.isnan(residual), np.nan, 0.0)
        columns["residual"] = residual
        for i in range(self.n_latents):
            columns[f"z{i}"], columns[f"z{i}_sd"] = z[:, i], np.full(len(crops), np.nan)
        return pd.DataFrame(columns)

    def inverse_transform(
        self, z: ArrayLike, *, angle: ArrayLike = 0.0, shift: ArrayLike = (0.0, 0.0)
    ) -> Pictures:
        """Pictures of latents.

        Parameters
        ----------
        z
            Latents (M, L), or (L,) for one.
        angle
            Radians, one or (M,): the picture is turned by interpolation, the model knows no angle.
        shift
            Where the picture's centre lies, (y, x) in pixels of the grid, (2,) or (M, 2).

        Returns
        -------
        ndarray of shape (M, C, S, S)
            In the units of the crops.

        Raises
        ------
        NotFittedError
            Before the training.
        InputError
            If `z` has another number of latents than the model.
        """
        shape = self._check(None)
        values = np.atleast_2d(np.asarray(z, float))
        if values.shape[1] != self.n_latents:
            raise InputError(
                f"z has {values.shape[1]} columns: the model has {self.n_latents} latents."
            )
        pictures = np.asarray(self._decode(values) * self._scale, np.float32).reshape(-1, *shape)
        if np.any(angle) or np.any(shift):
            return place_pictures(pictures, angle, shift, vectors=self._vectors)
        return pictures

    def reconstruct(self, crops: Crops) -> Pictures:
        """What the model sees in every crop (N, C, S, S); NaN for crops with NaN."""
        table = self.transform(crops)
        z = table[[f"z{i}" for i in range(self.n_latents)]].to_numpy(float)
        out = np.full(crops.images.shape, np.nan, np.float32)
        good = np.isfinite(z).all(1)
        out[good] = self.inverse_transform(z[good])
        return out

    def manifold(self, n: int = 9, *, dims: tuple[int, int] | None = None) -> Pictures:
        """Pictures (n, n, C, S, S) on a grid through the latent space.

        Parameters
        ----------
        n
            Pictures along each side.
        dims
            The two latents to vary, over the 5 to 95 % quantiles of the training crops: the first
            grows to the right, the second upwards. The first two, if left out.

        Raises
        ------
        NotFittedError
            Before the training.
        InputError
            If the model has no such latents.
        """
        self._check(None)
        z = latent_grid(self._spread, n, dims or (0, min(1, self.n_latents - 1)))
        pictures = self.inverse_transform(z.reshape(n * n, -1))
        return pictures.reshape(n, n, *pictures.shape[1:])

    def _check(self, shape: tuple[int, ...] | None) -> tuple[int, ...]:
        """Shape (C, S, S) of a crop; complains before the training and about other crops."""
        if self._shape is None:
            raise NotFittedError("This model is not trained: call fit first.")
        if shape is not None and tuple(shape) != self._shape:
            raise InputError(
                f"The crops have the shape {tuple(shape)}; the model was trained on "
                f"{self._shape}: cut them alike."
            )
        return self._shape

    def _flat(self, images: Pictures) -> Array:
        """Standardised crops (n, C * S * S)."""
        return np.asarray(images / self._scale, np.float64).reshape(len(images), -1)

    @abstractmethod
    def _learn(self, crops: Crops, images: Pictures) -> tuple[Array, Array]:
        """Learn from crops and their images; return their latents and misfits."""

    @abstractmethod
    def _encode(self, crops: Crops, images: Pictures) -> tuple[Array, Array]:
        """Latents (n, L) and misfits (n,) of crops without NaN."""

    @abstractmethod
    def _decode(self, z: Array) -> Array:
        """Standardised pictures (M, C, S, S) of latents (M, L)."""


class CropPCA(_Baseline):
    """Principal components of crops as they lie.

    Parameters
    ----------
    n_latents
        Number of components; the latents have unit variance over the training crops.
    max_crops
        Train on at most so many crops, drawn at random.
    seed
        Start of the random numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import Crops
    >>> from napari_rvae.analysis.baselines import CropPCA
    >>> images = np.random.default_rng(0).normal(size=(64, 1, 32, 32)).astype(np.float32)
    >>> crops = Crops(images=images, site_id=np.arange(64))
    >>> CropPCA(2).fit(crops).transform(crops)[["z0", "z1"]].shape
    (64, 2)
    """

    def __init__(self, n_latents: int = 4, *, max_crops: int = 10_000, seed: int = 0) -> None:
        super().__init__(n_latents, max_crops=max_crops, seed=seed)

    def _learn(self, crops: Crops, images: Pictures) -> tuple[Array, Array]:
        self._pca = PCA(self.n_latents, whiten=True, random_state=self.seed)
        self._pca.fit(self._flat(images))
        return self._encode(crops, images)

    def _encode(self, crops: Crops, images: Pictures) -> tuple[Array, Array]:
        del crops
        return _principal(self._pca, self._flat(images))

    def _decode(self, z: Array) -> Array:
        return np.asarray(self._pca.inverse_transform(z)).reshape(len(z), *self._check(None))


class CropGMM(_Baseline):
    """Gaussian mixture of crops as they lie: the classes of the published comparison.

    S. V. Kalinin et al., APL Mach. Learn. 1, 026117 (2023), show sixteen such classes first, and
    that copies of one structure in several orientations become several of them. The latents are
    the probabilities of the classes; pictures are the classes' means, so that
    ``inverse_transform(np.eye(n_classes))`` draws them all.

    Parameters
    ----------
    n_classes
        Number of classes, ordered by their share of the crops. The covariances are diagonal.
    max_crops
        Train on at most so many crops, drawn at random.
    seed
        Start of the random numbers.

    Attributes
    ----------
    share_
        Share of each class in the training crops (n_classes,).

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import Crops
    >>> from napari_rvae.analysis.baselines import CropGMM
    >>> images = np.random.default_rng(0).normal(size=(64, 1, 32, 32)).astype(np.float32)
    >>> crops = Crops(images=images, site_id=np.arange(64))
    >>> int(CropGMM(2).fit(crops).transform(crops)["class"].max())
    1
    """

    def __init__(self, n_classes: int = 16, *, max_crops: int = 10_000, seed: int = 0) -> None:
        super().__init__(n_classes, max_crops=max_crops, seed=seed)

    def transform(self, crops: Crops) -> pd.DataFrame:
        """Class of every crop, and the probabilities of all classes.

        Parameters
        ----------
        crops
            Crops on the grid and with the channels of the training.

        Returns
        -------
        DataFrame
            The table of the other models, with the probabilities as ``z0``, ``z1``, ..., and
            ``class`` (-1 for crops with NaN) and ``class_probability``.

        Raises
        ------
        NotFittedError
            Before the training.
        InputError
            If the crops do not fit the model.
        """
        table = super().transform(crops)
        probability = table[[f"z{i}" for i in range(self.n_latents)]].to_numpy(float)
        known = np.isfinite(probability).all(1)
        likeliest = np.nan_to_num(probability, nan=-1.0).argmax(1)
        table["class"] = np.where(known, likeliest, -1).astype(np.int64)
        table["class_probability"] = probability.max(1, initial=0.0)
        return table

    def _learn(self, crops: Crops, images: Pictures) -> tuple[Array, Array]:
        self._mixture = GaussianMixture(
            self.n_latents,
            covariance_type="diag",
            reg_covar=_LEAST_VARIANCE,
            random_state=self.seed,
        )
        with warnings.catch_warnings():  # one that has not quite converged will do
            warnings.simplefilter("ignore", ConvergenceWarning)
            self._mixture.fit(self._flat(images))
        self._order = np.argsort(-self._mixture.weights_, kind="stable")
        self.share_: Array = self._mixture.weights_[self._order]
        return self._encode(crops, images)

    def _encode(self, crops: Crops, images: Pictures) -> tuple[Array, Array]:
        del crops
        values = self._flat(images)
        probability = self._mixture.predict_proba(values)[:, self._order]
        seen = probability @ self._mixture.means_[self._order]
        return probability, np.mean((values - seen) ** 2, axis=1)

    def _decode(self, z: Array) -> Array:
        return np.asarray(z @ self._mixture.means_[self._order]).reshape(-1, *self._check(None))


class InvariantPCA(_Baseline):
    """Principal components of features of crops that rotation does not change.

    The features are those of :meth:`RVAE.invariants <napari_rvae.RVAE.invariants>`: of the
    steerable basis alone, no network is trained. They cannot be drawn, so a picture of latents is
    the training crop that is nearest to them, as it lies.

    Parameters
    ----------
    n_latents
        Number of components; the latents have unit variance over the training crops.
    basis
        A trained model whose basis to use; one is learned from the crops, if left out.
    max_crops
        Train on at most so many crops, drawn at random.
    seed
        Start of the random numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import Crops
    >>> from napari_rvae.analysis.baselines import InvariantPCA
    >>> images = np.random.default_rng(0).normal(size=(64, 1, 32, 32)).astype(np.float32)
    >>> crops = Crops(images=images, site_id=np.arange(64))
    >>> InvariantPCA(2).fit(crops).transform(crops)[["z0", "z1"]].shape
    (64, 2)
    """

    def __init__(
        self,
        n_latents: int = 4,
        *,
        basis: RVAE | None = None,
        max_crops: int = 10_000,
        seed: int = 0,
    ) -> None:
        super().__init__(n_latents, max_crops=max_crops, seed=seed)
        self.basis = basis

    def _learn(self, crops: Crops, images: Pictures) -> tuple[Array, Array]:
        self._model = self.basis or _untrained(crops, self.seed)
        features = self._features(crops)
        self._scaler = RobustScaler(unit_variance=True).fit(features)
        self._pca = PCA(self.n_latents, whiten=True, random_state=self.seed)
        self._pca.fit(self._scaled(features))
        z, misfit = _principal(self._pca, self._scaled(features))
        self._examples, self._example_z = images[:_EXAMPLES] / self._scale, z[:_EXAMPLES]
        return z, misfit

    def _encode(self, crops: Crops, images: Pictures) -> tuple[Array, Array]:
        del images
        return _principal(self._pca, self._scaled(self._features(crops)))

    def _decode(self, z: Array) -> Array:
        distance = ((z[:, None] - self._example_z) ** 2).sum(2)
        return np.asarray(self._examples[distance.argmin(1)], float)

    def _features(self, crops: Crops) -> Array:
        return self._model.invariants(crops).drop(columns="site_id").to_numpy(float)

    def _scaled(self, features: Array) -> Array:
        return np.asarray(np.clip(self._scaler.transform(features), -_CLIP, _CLIP))


def _untrained(crops: Crops, seed: int) -> RVAE:
    """Model of which only the basis is used, which a single epoch does not touch."""
    from napari_rvae.vae import RVAE  # loads torch, which the other baselines do not need

    return RVAE(epochs=1, hidden=8, seed=seed, device="cpu").fit(crops)


def _principal(pca: PCA, values: Array) -> tuple[Array, Array]:
    """Scores (n, L) and mean squared misfits (n,) of values (n, P)."""
    z = np.asarray(pca.transform(values))
    return z, np.asarray(np.mean((values - pca.inverse_transform(z)) ** 2, axis=1))


def _whole(images: Pictures) -> NDArray[np.bool_]:
    """Which crops (n,) hold no NaN."""
    return np.asarray(np.isfinite(images).all(axis=(1, 2, 3)))
