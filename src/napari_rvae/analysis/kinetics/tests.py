"""Whether the rates change during the movie, and whether the ways have a sense of rotation.

Both are asked of the drawn histories, and say what they could have seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.special import xlogy

from napari_rvae.analysis.kinetics.cycles import balance_test, find_cycles
from napari_rvae.analysis.kinetics.rates import Histories, count_steps
from napari_rvae.analysis.kinetics.sightings import Sightings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Ids = NDArray[np.int64]

__all__ = ["ALARM", "kinetic_tests"]

#: A test below this probability raises an alarm.
ALARM = 0.05
#: Simulations for each history, and histories, of a test.
_SIMULATIONS, _HISTORIES = 200, 40
#: What the power is stated for: rates that grow by this factor from one half to the other, or that
#: are larger by it one way round than the other.
_FACTOR = 2.0
#: A test needs so many transitions to be made at all.
_LEAST = 5


def kinetic_tests(
    seen: Sightings,
    histories: Histories,
    half_frame: Array,
    rng: np.random.Generator,
    *,
    tick: Callable[[], None] | None = None,
) -> pd.DataFrame:
    """Test whether rates stay the same, and whether they obey detailed balance.

    Parameters
    ----------
    seen
        Tracks of atoms.
    histories
        Drawn histories of them.
    half_frame
        Frame (N,) at which the second half of each track's movie begins.
    rng
        Source of chance.
    tick
        Called now and then; it may raise.

    Returns
    -------
    DataFrame
        ``test`` ("halves", "halves, each rate", "cycles"), ``p_value`` (NaN where there are too few
        transitions), ``n_transitions``, ``power`` to see the ``alternative`` (text), and
        ``passed`` (bool): no alarm, and the power is at least one half.
    """
    n_states = histories.transition.shape[1]
    states = histories.states[:: max(1, len(histories.states) // _HISTORIES)][:_HISTORIES]
    steps = np.arange(1, seen.seen.shape[1])
    late = seen.first_frame[:, None] + steps >= half_frame[:, None]
    halves = np.stack(
        [count_steps(states, seen.length, n_states, part) for part in (~late, late)], axis=1
    )  # (H, 2, K, K)
    rows = [
        {"test": "halves", **_halves(halves, rng, pooled=True)},
        {"test": "halves, each rate", **_halves(halves, rng, pooled=False)},
        {"test": "cycles", **_cycles(halves.sum(axis=1), rng, tick)},
    ]
    table = pd.DataFrame(rows)
    table["passed"] = (table["p_value"] >= ALARM) & (table["power"] >= 0.5)
    return table


def _halves(counts: Ids, rng: np.random.Generator, *, pooled: bool) -> dict[str, object]:
    """Likelihood ratio of equal rates in both halves; given the sums they are binomial."""
    n_states = counts.shape[-1]
    leaves = ~np.eye(n_states, dtype=bool)
    leaves[-1] = False
    values, powers, numbers = [], [], []
    for history in counts:
        exposure = history.sum(axis=2).astype(float)
        early = exposure[0] / np.maximum(exposure.sum(axis=0), 1)
        share = np.repeat(early[:, None], n_states, axis=1)[leaves]
        moves = history[:, leaves]
        total = moves.sum(axis=0)
        numbers.append(float(total.sum()))
        if pooled:
            share = np.array([(share * total).sum() / max(total.sum(), 1)])
            moves, total = moves.sum(axis=1, keepdims=True), total.sum(keepdims=True)
        null = _split_ratio(rng.binomial(total, share, (_SIMULATIONS, len(total))), total, share)
        values.append(_exceeding(null, _split_ratio(moves[0], total, share)))
        other = share / (share + _FACTOR * (1 - share))
        seen = _split_ratio(rng.binomial(total, other, (_SIMULATIONS, len(total))), total, share)
        powers.append(float((seen > np.quantile(null, 1 - ALARM)).mean()))
    return _outcome(values, powers, numbers, "rates double in the second half")


def _split_ratio(first: Ids, total: Ids, share: Array) -> Array:
    """Likelihood ratio (..., ) of a split of totals (M,) with shares (M,) of the first half."""
    first, rest = np.asarray(first, float), np.asarray(total - first, float)
    ratio = xlogy(first, first) - xlogy(first, np.maximum(total * share, 1e-300))
    ratio += xlogy(rest, rest) - xlogy(rest, np.maximum(total * (1 - share), 1e-300))
    return np.asarray(2 * ratio.sum(axis=-1))


def _exceeding(null: Array, value: Array) -> float:
    return float((1 + (null >= value - 1e-9).sum()) / (len(null) + 1))


def _outcome(
    values: list[float], powers: list[float], numbers: list[float], alternative: str
) -> dict[str, object]:
    number = float(np.mean(numbers)) if numbers else 0.0
    enough = number >= _LEAST
    return {
        "p_value": float(np.mean(values)) if enough and values else math.nan,
        "n_transitions": number,
        "power": float(np.mean(powers)) if enough and powers else 0.0,
        "alternative": alternative,
    }


def _cycles(
    counts: Ids, rng: np.random.Generator, tick: Callable[[], None] | None
) -> dict[str, object]:
    """Kolmogorov's criterion on all cycles of the states that do not absorb."""
    counts = counts[:, :-1, :-1]
    alternative = f"rates are {_FACTOR:g} times as large one way round"
    cycles = find_cycles(counts.sum(axis=0))
    if not len(cycles):
        return {**_outcome([], [], [], alternative), "n_transitions": 0.0}
    values, powers = balance_test(counts, cycles, rng, factor=_FACTOR, alarm=ALARM, tick=tick)
    leaves = ~np.eye(counts.shape[1], dtype=bool)
    numbers = counts[:, leaves].sum(axis=1).astype(float).tolist()
    return _outcome(values, powers, numbers, alternative)
