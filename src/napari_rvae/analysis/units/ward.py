"""Clusters of weighted points by Ward's method."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Ids = NDArray[np.int64]

__all__ = ["ward_clusters"]


def ward_clusters(
    points: Array, weight: Array, n_clusters: int, tick: Callable[[], None] | None = None
) -> Ids:
    """Number of the cluster (N,) of each point.

    Ward's method (J. Am. Stat. Assoc. 58, 236 (1963)) by chains of nearest neighbours (F. Murtagh,
    Comput. J. 26, 354 (1983)); SciPy's knows no weights. Takes 4 N^2 bytes.

    Parameters
    ----------
    points
        Points (N, D).
    weight
        Weight (N,) of each, above 0.
    n_clusters
        Number of clusters, N at most.
    tick
        Called now and then; it may raise.
    """
    mergers = _mergers(points, weight.astype(float), tick)
    mergers.sort(key=lambda merger: merger[0])
    owner = np.arange(len(points))

    def root(point: int) -> int:
        while owner[point] != point:
            owner[point] = owner[owner[point]]
            point = int(owner[point])
        return point

    for _, kept, gone in mergers[: max(len(points) - n_clusters, 0)]:
        owner[root(gone)] = root(kept)
    roots = np.array([root(point) for point in range(len(points))], np.int64)
    return np.unique(roots, return_inverse=True)[1].astype(np.int64)


def _mergers(
    points: Array, weight: Array, tick: Callable[[], None] | None
) -> list[tuple[float, int, int]]:
    """All mergers: cost, the point that stands for both, and the other; not in order."""
    square = np.sum(points**2, axis=1)
    cost = (square[:, None] + square - 2 * points @ points.T).astype(np.float32)
    cost *= (weight[:, None] * weight / (weight[:, None] + weight)).astype(np.float32)
    np.fill_diagonal(cost, np.inf)
    alive = np.ones(len(points), bool)
    mergers: list[tuple[float, int, int]] = []
    chain: list[int] = []
    while len(mergers) < len(points) - 1:
        if tick is not None and not chain:
            tick()
        if not chain:
            chain = [int(np.argmax(alive))]
        a = chain[-1]
        b = int(cost[a].argmin())
        if len(chain) > 1 and cost[a, chain[-2]] <= cost[a, b]:
            b = chain[-2]
        if len(chain) < 2 or b != chain[-2]:
            chain.append(b)
            continue
        del chain[-2:]
        least = cost[a, b]
        total = weight[a] + weight[b] + weight
        merged = (weight[a] + weight) * cost[a] + (weight[b] + weight) * cost[b] - weight * least
        alive[b] = False
        cost[b], cost[:, b] = np.inf, np.inf
        merged = np.where(alive, merged / total, np.inf)
        merged[a] = np.inf
        cost[a], cost[:, a] = merged, merged
        weight[a] += weight[b]
        mergers.append((float(least), a, b))
    return mergers
