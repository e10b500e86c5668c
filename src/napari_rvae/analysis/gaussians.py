"""Robust Gaussians: the ones that fill a crystal."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from scipy.ndimage import gaussian_filter1d
from scipy.stats import chi2
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Labels = NDArray[np.int64]

__all__ = [
    "CLIP",
    "Gaussian",
    "fit_host",
    "principal_axes",
    "robust_location",
    "split_hosts",
]

#: The host's distribution is made of so much of it.
_KEPT = 0.975
#: Scaled features are clipped here: one broken pixel must not own an axis.
CLIP = 30.0
#: Two hosts each hold this share of the sites at least, and stand this far apart.
_MIN_HOST_SHARE, _MIN_HOST_SEPARATION = 0.2, 4.0
#: The density between two hosts falls below this share of the lower peak.
_MAX_VALLEY = 0.25
#: Most sites used to look for several hosts.
_SPLIT_SAMPLE = 4000


@dataclass(frozen=True, eq=False)
class Gaussian:
    """A normal distribution of mean (D,) and covariance (D, D)."""

    mean: Array
    covariance: Array

    def squared_distance(self, values: Array) -> Array:
        """Squared Mahalanobis distance (N,) of values (N, D)."""
        if not len(self.mean):
            return np.zeros(len(values))
        root = cholesky(self.covariance, lower=True)
        whitened: Array = solve_triangular(root, (values - self.mean).T, lower=True)
        distance: Array = np.sum(whitened**2, axis=0)
        return distance

    def log_density(self, values: Array) -> Array:
        """Logarithm of the density (N,) at values (N, D)."""
        if not len(self.mean):
            return np.zeros(len(values))
        root = cholesky(self.covariance, lower=True)
        constant = len(self.mean) * math.log(2 * math.pi) / 2 + np.log(np.diag(root)).sum()
        density: Array = -self.squared_distance(values) / 2 - constant
        return density


def robust_location(values: Array, tick: Callable[[], None] | None = None) -> tuple[Array, Array]:
    """Median and spread (P,) of each column of (N, P).

    The spread is the median absolute deviation, scaled to a normal distribution's standard
    deviation; where it vanishes, because most values are equal, the standard deviation.

    Parameters
    ----------
    values
        The values.
    tick
        Called now and then; it may raise.
    """
    if not len(values):
        return np.zeros(values.shape[1]), np.zeros(values.shape[1])
    centre, spread = np.empty(values.shape[1]), np.empty(values.shape[1])
    for number, column in enumerate(values.T):
        if tick is not None:
            tick()
        centred = np.array(column)  # by itself, as medians of strided columns are slow
        centre[number] = np.median(centred)
        centred -= centre[number]
        width = 1.4826 * np.median(np.abs(centred))
        spread[number] = width if width > 0 else centred.std()
    return centre, spread


def principal_axes(values: Array, n_axes: int) -> Array:
    """Axes (P, K) of largest variance, K <= `n_axes`; empty ones are dropped."""
    centred = values - values.mean(axis=0) if len(values) else values
    variance, axes = np.linalg.eigh(centred.T @ centred / max(len(values), 1))
    order = np.argsort(variance)[::-1][:n_axes]
    order = order[variance[order] > 1e-9 * max(variance.max(initial=0.0), 1e-300)]
    kept: Array = axes[:, order]
    return kept


def split_hosts(scores: Array, rng: np.random.Generator) -> Labels:
    """Tell the large, clearly separate clusters of a crystal apart.

    Two halves are two hosts if a density valley lies between them, as between the sublattices of
    a perovskite; a host with a tail of other things is one.

    Parameters
    ----------
    scores
        Principal scores (N, K), not divided by their spread: it would hide the gap.
    rng
        Draws the sample and starts the mixtures.

    Returns
    -------
    ndarray of int64 (N,)
        Number of the host that each site is nearest to, from 0; all 0 for one host.
    """
    labels = np.zeros(len(scores), np.int64)
    leading = scores[:, :6]
    waiting, number = [0], 1
    while waiting and number < 6:
        which = waiting.pop()
        rows = np.flatnonzero(labels == which)
        halves = _two_clusters(leading[rows], _MIN_HOST_SHARE * len(scores), rng)
        if halves is not None:
            labels[rows[halves]] = number
            waiting += [which, number]
            number += 1
    return labels


def _two_clusters(
    values: Array, min_count: float, rng: np.random.Generator
) -> NDArray[np.bool_] | None:
    """Which of the values (N, K) belong to the second of two separate clusters; None if one."""
    # what is far from everything would take one of the two components for itself
    centred = np.abs(values - np.median(values, axis=0))
    rows = np.flatnonzero((centred <= 5 * 1.4826 * np.median(centred, axis=0)).all(1))
    if values.shape[1] == 0 or len(rows) < max(2 * min_count, 20):
        return None
    if len(rows) > _SPLIT_SAMPLE:
        rows = np.sort(rng.choice(rows, _SPLIT_SAMPLE, replace=False))
    unit = values[rows].std(axis=0).max()
    if not unit > 0:
        return None
    sample = values[rows] / unit
    is_second = _fit(sample, 2, "full", 1e-6, rng).predict(sample) == 1
    if min(is_second.sum(), (~is_second).sum()) <= sample.shape[1]:
        return None
    first, second = sample[~is_second], sample[is_second]
    within = np.atleast_2d(np.cov(first.T) + np.cov(second.T)) / 2 + 1e-9 * np.eye(sample.shape[1])
    direction = np.linalg.solve(within, second.mean(0) - first.mean(0))  # Fisher's discriminant
    direction /= math.sqrt(direction @ within @ direction)
    line = values / unit @ direction
    low, high = float((first @ direction).mean()), float((second @ direction).mean())
    cut = _valley(line[rows], low, high)
    if cut is None or high - low < _MIN_HOST_SEPARATION:
        return None
    beyond = line > cut
    return beyond if min(beyond.sum(), (~beyond).sum()) >= min_count else None


def _valley(line: Array, low: float, high: float) -> float | None:
    """Place of the density's valley between two centres, lengths in cluster widths; or None."""
    step = 0.2
    edges = np.arange(low - 4, high + 4, step)
    density = gaussian_filter1d(np.histogram(line, edges)[0].astype(float), 0.4 / step)
    middles = edges[:-1] + step / 2
    half = (low + high) / 2
    left, right = density[middles <= half], density[middles > half]
    first, last = int(np.argmax(left)), len(left) + int(np.argmax(right))
    lowest = first + int(np.argmin(density[first : last + 1]))
    if density[lowest] > _MAX_VALLEY * min(density[first], density[last]):
        return None
    return float(middles[lowest])


def fit_host(values: Array) -> Gaussian:
    """Fit a normal distribution to the dominant half of the values (N, D).

    The half nearest to the current centre gives the next one (the concentration steps of the
    minimum covariance determinant; Rousseeuw and Van Driessen, Technometrics 41, 212 (1999));
    the covariance is scaled so that the median squared distance is that of a normal distribution.
    """
    count, n_axes = values.shape
    host = Gaussian(np.median(values, axis=0), np.eye(n_axes))
    if count < 4 or n_axes == 0:
        return host
    for _ in range(10):
        distance = host.squared_distance(values)
        half = values[distance <= np.median(distance)]
        covariance = np.atleast_2d(np.cov(half.T)) + 1e-3 * np.eye(n_axes)
        host = Gaussian(half.mean(axis=0), covariance)
        excess = float(np.median(host.squared_distance(values)) / chi2.median(n_axes))
        host = Gaussian(host.mean, covariance * max(excess, 1e-6))
    # once more with all that belong, which is steadier than half
    limit = chi2.ppf(_KEPT, n_axes)
    kept = values[host.squared_distance(values) <= limit]
    if len(kept) <= 2 * n_axes:
        return host
    shrinkage = float(chi2.cdf(limit, n_axes + 2)) / _KEPT  # of a cut normal distribution
    covariance = np.atleast_2d(np.cov(kept.T)) / shrinkage + 1e-3 * np.eye(n_axes)
    return Gaussian(kept.mean(axis=0), covariance)


def _fit(values: Array, count: int, kind: str, floor: float, rng: np.random.Generator) -> Any:
    """Fit scikit-learn's mixture; one that has not quite converged will do."""
    mixture = GaussianMixture(
        count,
        covariance_type=kind,
        n_init=3,
        max_iter=60,
        reg_covar=floor,
        random_state=int(rng.integers(2**31)),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return mixture.fit(values)
