"""Which state is reached from which, after how long, and by which way.

Absorption, first passages and routes hold for any movie. Shares in equilibrium, relaxation times,
committors and reactive flux suppose rates that do not change, so they are made only where the test
of the halves allows it.
"""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.sparse.csgraph import connected_components

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Ids = NDArray[np.int64]

__all__ = ["first_passages", "joined_groups", "observed_routes", "stationary_quantities"]

#: At most so many of the drawn transition matrices are looked at.
_MATRICES = 200
#: Routes of a pair of states that are rarer than this share of its passages are left out.
_LEAST_SHARE = 0.02


def _few(transition: Array) -> Array:
    chosen = np.linspace(0, len(transition) - 1, min(_MATRICES, len(transition))).astype(np.int64)
    return np.asarray(transition[chosen])


def joined_groups(counts: Ids) -> list[list[int]]:
    """Groups of states that transitions join, the last state not counted.

    Parameters
    ----------
    counts
        Steps (H, K, K) in drawn histories: what half of them show was seen.

    Returns
    -------
    list of list
        Numbers of the states of each group.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.analysis.kinetics.passages import joined_groups
    >>> joined_groups(np.array([[[9, 1, 0, 1], [0, 9, 0, 0], [0, 0, 9, 1], [0, 0, 0, 9]]]))
    [[0, 1], [2]]
    """
    seen = (counts[:, :-1, :-1] > 0).mean(axis=0) >= 0.5
    count, label = connected_components(seen, directed=False)
    return [np.flatnonzero(label == group).tolist() for group in range(count)]


def first_passages(transition: Array, names: dict[int, str], level: float) -> pd.DataFrame:
    """Chance to reach a state at all, and the frames it takes on average if it is reached.

    The last state absorbs. For a target j, h is the chance to reach it before the absorbing state:
    h = P h with h(j) = 1. The mean number of frames of those that arrive, m, obeys
    h m = P h (1 + m).

    Parameters
    ----------
    transition
        Drawn transition probabilities (S, K, K).
    names
        Name of each state.
    level
        Probability that an interval holds the true value.

    Returns
    -------
    DataFrame
        ``from_state``, ``to_state``, ``from_name``, ``to_name``, ``probability``, ``frames``, each
        with ``_low`` and ``_high``. The rows that lead to the last state are those of absorption.
    """
    drawn = _few(transition)
    n_states = drawn.shape[1]
    tails = [(1 - level) / 2, 0.5, (1 + level) / 2]
    rows = []
    for target in range(n_states):
        others = [k for k in range(n_states - 1) if k != target]
        if not others:
            continue
        inside = drawn[:, others][:, :, others]
        system = np.eye(len(others)) - inside
        reach = np.linalg.solve(system, drawn[:, others, target][..., None])[..., 0]
        reach = np.clip(reach, 1e-12, 1.0)
        took = np.linalg.solve(system, reach[..., None])[..., 0] / reach
        for k, source in enumerate(others):
            row: dict[str, object] = {"from_state": source, "to_state": target}
            row.update(from_name=names[source], to_name=names[target])
            for name, values in (("probability", reach[:, k]), ("frames", took[:, k])):
                low, middle, high = np.quantile(values, tails)
                row.update({name: middle, f"{name}_low": low, f"{name}_high": high})
            rows.append(row)
    return pd.DataFrame(rows, columns=list(_PASSAGES))


_PASSAGES = (
    *("from_state", "to_state", "from_name", "to_name"),
    *("probability", "probability_low", "probability_high", "frames", "frames_low", "frames_high"),
)


def observed_routes(
    states: NDArray[np.int8], length: Ids, names: dict[int, str], level: float
) -> pd.DataFrame:
    """Routes of completed passages between each two states, counted in drawn histories.

    A passage from i to j begins when i is left for the last time before j is reached for the first
    time; its route is what lies between. A track that ends on the way completes nothing.

    Parameters
    ----------
    states
        Drawn histories (H, N, T).
    length
        Frames (N,) of each track.
    names
        Name of each state.
    level
        Probability of the intervals.

    Returns
    -------
    DataFrame
        ``from_state``, ``to_state``, ``route`` (names, joined by " > "), ``n`` and ``share`` of the
        passages of the pair, with ``_low`` and ``_high``; most frequent first.
    """
    per_history = [_count_routes(history, length) for history in states]
    routes = sorted(set(itertools.chain.from_iterable(per_history)))
    counts = np.array([[count[route] for route in routes] for count in per_history], float)
    pairs = [(route[0], route[-1]) for route in routes]
    rows = []
    tails = [(1 - level) / 2, (1 + level) / 2]
    for pair in dict.fromkeys(pairs):
        mine = [k for k, other in enumerate(pairs) if other == pair]
        total = counts[:, mine].sum(axis=1)
        for k in mine:
            share = counts[:, k] / np.maximum(total, 1)
            mean = counts[:, k].sum() / max(total.sum(), 1)
            if mean < _LEAST_SHARE:
                continue
            low, high = np.quantile(counts[:, k], tails)
            share_low, share_high = np.quantile(share, tails)
            rows.append(
                {
                    "from_state": pair[0],
                    "to_state": pair[1],
                    "route": " > ".join(names[state] for state in routes[k]),
                    "n": counts[:, k].mean(),
                    "n_low": low,
                    "n_high": high,
                    "share": mean,
                    "share_low": share_low,
                    "share_high": share_high,
                }
            )
    columns = [
        *("from_state", "to_state", "route", "n", "n_low", "n_high"),
        *("share", "share_low", "share_high"),
    ]
    table = pd.DataFrame(rows, columns=columns)
    return table.sort_values("n", ascending=False, kind="stable", ignore_index=True)


def _count_routes(states: NDArray[np.int8], length: Ids) -> Counter[tuple[int, ...]]:
    """Passages of one history (N, T) by their route."""
    found: Counter[tuple[int, ...]] = Counter()
    inside = np.arange(states.shape[1]) < length[:, None]
    moves = (states[:, 1:] != states[:, :-1]) & inside[:, 1:]
    for track in np.flatnonzero(moves.any(axis=1)):
        visits = [int(states[track, 0])]
        visits += states[track, 1:][moves[track]].tolist()
        for begin, state in enumerate(visits[:-1]):
            reached: set[int] = set()
            for end in range(begin + 1, len(visits)):
                if visits[end] == state:
                    break
                if visits[end] not in reached:
                    reached.add(visits[end])
                    found[_direct(visits[begin : end + 1])] += 1
    return found


def _direct(visits: list[int]) -> tuple[int, ...]:
    """A route without its loops: the way that remains where it comes back to a state."""
    way: list[int] = []
    for state in visits:
        if state in way:
            del way[way.index(state) + 1 :]
        else:
            way.append(state)
    return tuple(way)


def stationary_quantities(transition: Array, names: dict[int, str], level: float) -> pd.DataFrame:
    """What would be in equilibrium, of the states that do not absorb.

    Parameters
    ----------
    transition
        Drawn transition probabilities (S, K, K), the last state absorbing.
    names
        Name of each state.
    level
        Probability of the intervals.

    Returns
    -------
    DataFrame
        One row for each number: ``quantity``, ``from_state``, ``to_state``, ``state`` (-1 where it
        has none), ``name``, ``value``, ``value_low``, ``value_high``. Quantities are "share" of a
        state, "relaxation time" in frames (the slowest), "flux" of passages per frame from one
        state to another, and "committor": the chance of a state to reach the second before the
        first. Fluxes and committors follow transition path theory for Markov chains (Metzner,
        Schuette and Vanden-Eijnden, 2009).
    """
    drawn = _few(transition)[:, :-1, :-1]
    n_states = drawn.shape[1]
    drawn = drawn / drawn.sum(axis=2, keepdims=True)
    eye = np.eye(n_states)
    share = np.linalg.solve(np.swapaxes(eye - drawn + 1, 1, 2), np.ones((len(drawn), n_states, 1)))
    share = share[..., 0]
    rows = [_quantity("share", share[:, k], level, state=k, name=names[k]) for k in range(n_states)]
    if n_states > 1:
        slow = np.sort(np.abs(np.linalg.eigvals(drawn)), axis=1)[:, -2]
        times = -1 / np.log(np.clip(slow, 1e-9, 1 - 1e-9))
        rows.append(_quantity("relaxation time", times, level))
    for one, two in itertools.permutations(range(n_states), 2):
        committor = _committor(drawn, one, two)
        flux = share[:, one] * (drawn[:, one] * committor).sum(axis=1)
        ends = {"from_state": one, "to_state": two}
        rows.append(_quantity("flux", flux, level, name=f"{names[one]} > {names[two]}", **ends))
        rows.extend(
            _quantity("committor", committor[:, k], level, state=k, name=names[k], **ends)
            for k in range(n_states)
            if k not in {one, two}
        )
    columns = ["quantity", "from_state", "to_state", "state", "name"]
    return pd.DataFrame(rows, columns=[*columns, "value", "value_low", "value_high"])


def _quantity(
    quantity: str,
    values: Array,
    level: float,
    *,
    from_state: int = -1,
    to_state: int = -1,
    state: int = -1,
    name: str = "",
) -> dict[str, object]:
    low, middle, high = np.quantile(values, [(1 - level) / 2, 0.5, (1 + level) / 2])
    return {
        "quantity": quantity,
        "from_state": from_state,
        "to_state": to_state,
        "state": state,
        "name": name,
        "value": middle,
        "value_low": low,
        "value_high": high,
    }


def _committor(drawn: Array, one: int, two: int) -> Array:
    """Chance (S, K) to reach state `two` before state `one`."""
    n_states = drawn.shape[1]
    system = np.eye(n_states) - drawn
    system[:, [one, two]] = np.eye(n_states)[[one, two]]
    target = np.zeros((len(drawn), n_states, 1))
    target[:, two] = 1.0
    return np.asarray(np.linalg.solve(system, target)[..., 0])
