"""The tree of mergers: from the finest environments up to one unit for each host."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    Ids = NDArray[np.int64]

__all__ = ["agglomerate", "empty_tree", "groups_at", "refined"]

_COLUMNS = {"node": "int64", "first": "int64", "second": "int64", "cost": "float64"}
_COLUMNS |= {"count": "int64", "n_groups": "int64"}


def empty_tree() -> pd.DataFrame:
    """Return a tree without mergers."""
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in _COLUMNS.items()})


def agglomerate(counts: Ids, cost: Callable[[list[int], list[int]], float]) -> pd.DataFrame:
    """Merge the closest groups again and again.

    Parameters
    ----------
    counts
        Sites (E,) of each environment.
    cost
        Of the merger of two groups of environments; inf forbids it.

    Returns
    -------
    DataFrame
        One row for each merger, the cheapest first: ``node`` (number of the new group; the
        environments have 0 to E - 1), ``first`` and ``second`` (the larger and the smaller of the
        groups that merge), ``cost`` (never below that of an earlier merger), ``count`` (sites of
        the new group) and ``n_groups`` (groups that are left).
    """
    groups = {number: [number] for number in range(len(counts))}
    sizes = {number: int(count) for number, count in enumerate(counts)}
    costs = {(a, b): cost(groups[a], groups[b]) for a in groups for b in groups if a < b}
    rows: list[tuple[int, int, int, float, int, int]] = []
    so_far = 0.0
    while costs:
        (a, b), least = min(costs.items(), key=lambda item: (item[1], item[0]))
        if not np.isfinite(least):
            break
        so_far = max(so_far, least)
        node = len(counts) + len(rows)
        gone = (a, b)
        first, second = sorted(gone, key=lambda key: (-sizes[key], key))
        groups[node] = groups.pop(first) + groups.pop(second)
        sizes[node] = sizes[first] + sizes[second]
        rows.append((node, first, second, so_far, sizes[node], len(groups)))
        costs = {
            pair: value
            for pair, value in costs.items()
            if pair[0] not in gone and pair[1] not in gone
        }
        costs |= {(k, node): cost(groups[k], groups[node]) for k in groups if k != node}
    if not rows:
        return empty_tree()
    return pd.DataFrame(rows, columns=list(_COLUMNS)).astype(_COLUMNS)


def groups_at(tree: pd.DataFrame, n_environments: int, n_groups: int) -> list[Ids]:
    """Environments of each group when `n_groups` are left, as near as the tree goes."""
    groups = {number: [number] for number in range(n_environments)}
    n_mergers = int(np.clip(n_environments - n_groups, 0, len(tree)))
    for node, first, second in tree[["node", "first", "second"]].to_numpy()[:n_mergers].tolist():
        groups[node] = groups.pop(first) + groups.pop(second)
    return [np.array(sorted(members), np.int64) for members in groups.values()]


def refined(tree: pd.DataFrame, n_environments: int, members: Iterable[int]) -> list[Ids]:
    """Parts that a group falls into one step down the tree; the group itself if it has none."""
    group = np.array(sorted(members), np.int64)
    for n_groups in range(1, n_environments + 1):
        parts = [np.intersect1d(part, group) for part in groups_at(tree, n_environments, n_groups)]
        parts = [part for part in parts if len(part)]
        if len(parts) > 1:
            return parts
    return [group]
