"""Whether the rates change during the movie, and whether the ways have a sense of rotation.

Both are asked of the drawn histories, and say what they could have seen.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.special import expit, xlogy

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
    seen: Sightings, histories: Histories, half_frame: Array, rng: np.random.Generator
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
        {"test": "cycles", **_cycles(halves.sum(axis=1), rng)},
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


def _cycles(counts: Ids, rng: np.random.Generator) -> dict[str, object]:
    """Kolmogorov's criterion on all cycles: log(k_ij / k_ji) is a difference of potentials.

    Given the transitions between two states in either direction, those one way are binomial with
    a chance that their exposures and potentials make: a Bradley-Terry model.
    """
    n_states = counts.shape[-1] - 1
    one, two = np.triu_indices(n_states, 1)
    values, powers, numbers = [], [], []
    alternative = f"rates are {_FACTOR:g} times as large one way round"
    cycle = _busiest_cycle(counts[:, :n_states, :n_states].mean(axis=0))
    if cycle is None:
        return {**_outcome([], [], [], alternative), "n_transitions": 0.0}
    sense = cycle[one, two]
    for history in counts:
        there, back = history[one, two], history[two, one]
        total = there + back
        exposure = np.maximum(history.sum(axis=1).astype(float), 1)
        offset = np.log(exposure[one] / exposure[two])
        numbers.append(float(total.sum()))
        ratio, _ = _balance(there[None], total, offset, (one, two))
        # half a transition each way, so that chances of 0 and 1 do not narrow the null distribution
        _, fitted = _balance(there[None] + 0.5, total + 1, offset, (one, two))
        chance = expit(fitted[0])
        null, _ = _balance(
            rng.binomial(total, chance, (_SIMULATIONS, len(total))), total, offset, (one, two)
        )
        values.append(_exceeding(null, ratio[0]))
        # along the cycle the rates of one sense are larger by the factor
        other = expit(fitted[0] + sense * math.log(_FACTOR))
        seen, _ = _balance(
            rng.binomial(total, other, (_SIMULATIONS, len(total))), total, offset, (one, two)
        )
        powers.append(float((seen > np.quantile(null, 1 - ALARM)).mean()))
    return _outcome(values, powers, numbers, alternative)


def _busiest_cycle(counts: Array) -> Array | None:
    """Sense (K, K) of the edges of the cycle of three states with most transitions; None: none."""
    flow = counts + counts.T
    best, found = 0.0, None
    for a in range(len(flow)):
        for b in range(a + 1, len(flow)):
            for c in range(b + 1, len(flow)):
                least = min(flow[a, b], flow[b, c], flow[a, c])
                if least > best:
                    best, found = least, (a, b, c)
    if found is None:
        return None
    sense = np.zeros_like(flow)
    for here, there in zip(found, (*found[1:], found[0]), strict=True):
        sense[here, there], sense[there, here] = 1.0, -1.0
    return sense


def _balance(there: Ids, total: Ids, offset: Array, pairs: tuple[Ids, Ids]) -> tuple[Array, Array]:
    """Likelihood ratio (S,) against detailed balance, and its fitted logits (S, E).

    Parameters
    ----------
    there
        Transitions (S, E) of each pair in the first direction.
    total
        Transitions (E,) of each pair in both.
    offset
        Logit (E,) that exposures alone would make.
    pairs
        The states (E,), (E,) of the pairs.
    """
    one, two = pairs
    n_states = int(two.max()) + 1
    design = np.zeros((len(one), n_states))
    design[np.arange(len(one)), one], design[np.arange(len(one)), two] = 1.0, -1.0
    potential = np.zeros((len(there), n_states))
    # half a transition each way to a mean of all potentials keeps everything finite
    ridge = 1e-3 * np.eye(n_states)
    logit = np.broadcast_to(offset, there.shape)
    for _ in range(25):
        logit = offset + potential @ design.T
        chance = expit(logit)
        slope = (there - total * chance) @ design - potential @ ridge
        weight = total * chance * (1 - chance)
        curve = np.einsum("se,ei,ej->sij", weight, design, design) + ridge
        step = np.linalg.solve(curve, slope[..., None])[..., 0]
        potential = potential + np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-6:
            break
    chance = np.clip(expit(logit), 1e-12, 1 - 1e-12)
    rest = total - there
    share = there / np.maximum(total, 1)
    ratio = xlogy(there, share / chance) + xlogy(rest, (1 - share) / (1 - chance))
    return np.asarray(2 * ratio.sum(axis=1)), np.asarray(logit)
