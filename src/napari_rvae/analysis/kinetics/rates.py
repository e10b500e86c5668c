"""Rates with intervals: of atoms by drawing whole histories, of places by counting events."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.stats import gamma

from napari_rvae.analysis.kinetics.hidden_markov import filtered

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Ids = NDArray[np.int64]

__all__ = ["Histories", "draw_histories", "rate_table", "verdict"]

#: Fewer transitions than these give an upper limit, an order of magnitude.
_FEW, _SOME = 3.0, 10.0
#: Prior number of transitions of each kind (Jeffreys).
_PRIOR = 0.5
#: Chains that run side by side, and rounds that each is left to forget its start.
_CHAINS, _FORGET = 20, 25
#: Floats that the filter may hold at once.
_MAX_FLOATS = 2e7
#: So many of the drawn histories are kept whole.
_KEPT = 100


@dataclass(frozen=True, eq=False)
class Histories:
    """Histories drawn from the posterior, and the rates that go with each.

    Parameters
    ----------
    transition
        Transition probabilities (S, K, K) per frame.
    counts
        Steps (S, K, K) of each history, stays included.
    states
        Some of the histories whole (H, N, T).
    """

    transition: Array
    counts: Ids
    states: NDArray[np.int8]


def draw_histories(
    likelihood: Array,
    length: Ids,
    guess: Array,
    *,
    n_samples: int,
    rng: np.random.Generator,
    tick: Callable[[], None] | None = None,
) -> Histories:
    """Draw state histories and transition probabilities by turns.

    Histories given the probabilities: forward filter, backward sampling. Probabilities given the
    histories: Dirichlet, with half a transition of each kind as prior. The last state absorbs.

    Parameters
    ----------
    likelihood
        (N, T, K) of the sightings.
    length
        Frames (N,) of each track.
    guess
        Transition probabilities (K, K) to begin with.
    n_samples
        How many histories.
    rng
        Source of chance.
    tick
        Called in every round; it may raise.
    """
    n_tracks, n_frames, n_states = likelihood.shape
    room = int(_MAX_FLOATS / max(n_tracks * n_frames * n_states, 1))
    chains = int(np.clip(room, 1, _CHAINS))
    rounds = math.ceil(n_samples / chains)
    every = max(1, rounds * chains // _KEPT)
    transition = np.repeat(guess[None], chains, axis=0)
    start = np.full((chains, n_states), 1.0)
    start[:, -1] = 0.0
    start /= start.sum(axis=1, keepdims=True)
    probabilities, counts, kept = [], [], []
    for number in range(_FORGET + rounds):
        if tick is not None:
            tick()
        states = _draw_states(likelihood, transition, start, rng)
        steps = count_steps(states, length, n_states)
        transition = rng.standard_gamma(steps + _PRIOR)
        transition[:, -1] = np.arange(n_states) == n_states - 1
        transition /= transition.sum(axis=2, keepdims=True)
        first = (states[..., 0, None] == np.arange(n_states)).sum(axis=1)
        start = rng.standard_gamma(first + _PRIOR)
        start[:, -1] = 0.0
        start /= start.sum(axis=1, keepdims=True)
        if number >= _FORGET:
            probabilities.append(transition)
            counts.append(steps)
            drawn = (number - _FORGET) * chains + np.arange(chains)
            kept.append(states[drawn % every == 0])
    return Histories(
        np.concatenate(probabilities), np.concatenate(counts), np.concatenate(kept)[:_KEPT]
    )


def _draw_states(
    likelihood: Array, transition: Array, start: Array, rng: np.random.Generator
) -> NDArray[np.int8]:
    """Draw one history (G, N, T) for each of G models."""
    forward, _ = filtered(likelihood, transition, start)
    n_frames, chains, n_tracks, n_states = forward.shape
    states = np.empty((chains, n_tracks, n_frames), np.int8)
    into = np.swapaxes(transition, 1, 2)
    which = np.arange(chains)[:, None]
    for t in range(n_frames - 1, -1, -1):
        weight = forward[t]
        if t < n_frames - 1:
            weight = weight * into[which, states[..., t + 1]]
        total = np.cumsum(weight, axis=2)
        draw = rng.random((chains, n_tracks, 1)) * total[..., -1:]
        states[..., t] = np.minimum((draw > total).sum(axis=2), n_states - 1)
    return states


def count_steps(
    states: NDArray[np.int8], length: Ids, n_states: int, part: NDArray[np.bool_] | None = None
) -> Ids:
    """Count steps (G, K, K) of histories (G, N, T) within the tracks, or in a `part` (N, T - 1)."""
    inside = np.arange(1, states.shape[2]) < length[:, None]
    if part is not None:
        inside = inside & part
    chains = np.arange(len(states))[:, None]
    before, after = states[..., :-1][:, inside], states[..., 1:][:, inside]
    code = (chains * n_states + before) * n_states + after
    counts = np.bincount(code.ravel(), minlength=len(states) * n_states**2)
    return counts.reshape(len(states), n_states, n_states)


def verdict(n_transitions: float) -> str:
    """What a number of transitions allows to say.

    Examples
    --------
    >>> from napari_rvae.analysis.kinetics.rates import verdict
    >>> [verdict(n) for n in (0, 5, 40)]
    ['upper limit', 'order of magnitude', 'rate']
    """
    if n_transitions < _FEW:
        return "upper limit"
    return "order of magnitude" if n_transitions < _SOME else "rate"


def atom_rates(histories: Histories, level: float) -> pd.DataFrame:
    """Rates per frame between the states of atoms, from drawn histories.

    Returns
    -------
    DataFrame
        ``from_state``, ``to_state``, ``rate``, ``rate_low``, ``rate_high`` per frame,
        ``n_transitions`` and ``exposure`` in frames (means over the histories).
    """
    n_states = histories.transition.shape[1]
    source, target = np.nonzero(~np.eye(n_states, dtype=bool))
    source, target = source[source < n_states - 1], target[source < n_states - 1]
    draws = histories.transition[:, source, target]
    low, middle, high = np.quantile(draws, [(1 - level) / 2, 0.5, (1 + level) / 2], axis=0)
    # where histories without any such transition are not rare, the rate may be zero
    never = (histories.counts[:, source, target] == 0).mean(axis=0) > (1 - level) / 2
    low = np.where(never, 0.0, low)
    return pd.DataFrame(
        {
            "from_state": source,
            "to_state": target,
            "rate": middle,
            "rate_low": low,
            "rate_high": high,
            "n_transitions": histories.counts[:, source, target].mean(axis=0),
            "n_events": np.nan,
            "exposure": histories.counts.sum(axis=2)[:, source].mean(axis=0),
        }
    )


def place_rates(changes: pd.DataFrame, exposure: Array, level: float) -> pd.DataFrame:
    """Rates per frame between the states of places, from changes grouped into events.

    The places that one event changes do not change independently. The number of changes is
    compound Poisson: its variance is the sum over the events of the squared numbers of changes, and
    the interval is that of a gamma distribution with this variance.

    Parameters
    ----------
    changes
        ``event``, ``from_state``, ``to_state``: one row for each change of a place.
    exposure
        Frames (K,) spent in each state.
    level
        Probability that the interval holds the true rate.

    Returns
    -------
    DataFrame
        As :func:`atom_rates`, with ``n_events``.
    """
    columns = ["event", "from_state", "to_state"]
    sizes = changes.groupby(columns, as_index=False).size() if len(changes) else None
    rows = []
    tails = ((1 - level) / 2, 0.5, (1 + level) / 2)
    for source in range(len(exposure)):
        for target in range(len(exposure)):
            if source == target or exposure[source] <= 0:
                continue
            mine = np.empty(0)
            if sizes is not None:
                chosen = (sizes["from_state"] == source) & (sizes["to_state"] == target)
                mine = sizes.loc[chosen, "size"].to_numpy(float)
            total = mine.sum()
            each = (mine**2).sum() / total if total else 1.0  # changes of one independent event
            draws = gamma.ppf(tails, total / each + _PRIOR) * each / exposure[source]
            rows.append(
                {
                    "from_state": source,
                    "to_state": target,
                    "rate": draws[1],
                    "rate_low": draws[0] if total else 0.0,
                    "rate_high": draws[2],
                    "n_transitions": total,
                    "n_events": float(len(mine)),
                    "exposure": exposure[source],
                }
            )
    return pd.DataFrame(rows)


def rate_table(
    rates: pd.DataFrame, names: dict[int, str], tracked: str, clock: pd.DataFrame
) -> pd.DataFrame:
    """Name the states, add the verdict, and the rates per second and per dose.

    Parameters
    ----------
    rates
        See :func:`atom_rates`.
    names
        Name of each state.
    tracked
        "atom" or "place".
    clock
        ``seconds`` and ``dose`` of the average frame spent in each state (rows), NaN where unknown.
    """
    table = rates.copy()
    table.insert(0, "tracked", tracked)
    table.insert(3, "from_name", table["from_state"].map(names).astype("str"))
    table.insert(4, "to_name", table["to_state"].map(names).astype("str"))
    for unit, column in (("second", "seconds"), ("dose", "dose")):
        per_frame = clock[column].to_numpy(float)[table["from_state"].to_numpy(np.int64)]
        for end in ("", "_low", "_high"):
            table[f"rate_per_{unit}{end}"] = table[f"rate{end}"] / per_frame
        table[f"exposure_{column}"] = table["exposure"] * per_frame
    independent = table["n_events"].fillna(table["n_transitions"])
    table["verdict"] = independent.map(verdict).astype("str")
    return table
