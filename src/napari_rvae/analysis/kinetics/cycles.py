"""An exact test of detailed balance, to see whether ways between states have a sense of rotation.

Kolmogorov's criterion says of every cycle of states that the rates one way round multiply to the
same as those the other way round; then log(k_ij / k_ji) is a difference of potentials. Given how
many transitions there were between each two states, and how many more came to each state than
left it, the potentials drop out of the chance of the counts. What is left to chance is how often
more transitions went one way round a cycle, and its distribution is known, however few there are.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import gammaln, xlogy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Ids = NDArray[np.int64]

__all__ = ["Cycles", "balance_test", "find_cycles"]

#: Counts that are drawn for each history, and turns about cycles before each, for each cycle that
#: is no sum of others, if there are several.
_DRAWS, _TURNS = 200, 5
#: So many histories are enough where there are several cycles.
_SOME = 20
#: Turns of a cycle are drawn within so many standard deviations of the likeliest.
_REACH = 8.0


@dataclass(frozen=True, eq=False)
class Cycles:
    """Cycles of states.

    Parameters
    ----------
    one, two
        Numbers (E,) of the states of each pair, ``one < two``.
    sense
        For each cycle and pair (C, E): 1 where it goes from `one` to `two`, -1 where back, or 0.
    rank
        Number of cycles that are no sum of others.
    """

    one: Ids
    two: Ids
    sense: Ids
    rank: int

    def __len__(self) -> int:
        """Return the number of cycles."""
        return len(self.sense)


def find_cycles(flow: Array) -> Cycles:
    """Find the shortest cycles that make up all others.

    Parameters
    ----------
    flow
        Transitions (K, K) between each two states in either direction; cycles go where there are
        any.

    Returns
    -------
    Cycles
        All cycles up to the length at which every other is a sum of them.
    """
    n_states = len(flow)
    one, two = np.triu_indices(n_states, 1)
    linked = (flow + flow.T) > 0
    pair = np.zeros((n_states, n_states), np.int64)
    pair[one, two] = pair[two, one] = np.arange(len(one))
    wanted = int(linked[one, two].sum()) - (n_states - _n_parts(linked))
    rows: list[Ids] = []
    for length in range(3, n_states + 1):
        if rows and np.linalg.matrix_rank(np.array(rows)) >= wanted:
            break
        for ring in itertools.permutations(range(n_states), length):
            # each cycle once: from its smallest state on, towards the smaller neighbour
            if ring[0] != min(ring) or ring[1] > ring[-1]:
                continue
            ends = list(zip(ring, (*ring[1:], ring[0]), strict=True))
            if all(linked[end] for end in ends):
                row = np.zeros(len(one), np.int64)
                for here, there in ends:
                    row[pair[here, there]] = 1 if here < there else -1
                rows.append(row)
    return Cycles(one, two, np.array(rows, np.int64).reshape(len(rows), len(one)), wanted)


def _n_parts(linked: NDArray[np.bool_]) -> int:
    """Groups of states that are linked with each other."""
    reach = np.linalg.matrix_power(linked.astype(float) + np.eye(len(linked)), len(linked)) > 0
    return len(np.unique(reach, axis=0))


def balance_test(
    histories: Ids,
    cycles: Cycles,
    rng: np.random.Generator,
    *,
    factor: float,
    alarm: float,
    tick: Callable[[], None] | None = None,
) -> tuple[list[float], list[float]]:
    """Test whether transitions prefer one way round.

    Parameters
    ----------
    histories
        Steps (H, K, K) in each drawn history.
    cycles
        What :func:`find_cycles` found; at least one.
    rng
        Source of chance.
    factor
        The power is stated for rates that are so many times as large one way round the busiest
        cycle as the other way round.
    alarm
        Probability below which the test raises an alarm.
    tick
        Called for each history; it may raise.

    Returns
    -------
    tuple of list
        For each history the probability of counts that are as lopsided, half of those that are
        equally so (mid-p: a p-value of few transitions takes few values, and whole ones would be
        too large), and the power.
    """
    if cycles.rank > 1:
        histories = histories[:: max(1, len(histories) // _SOME)]
    there = histories[:, cycles.one, cycles.two]
    total = there + histories[:, cycles.two, cycles.one]
    least = np.where(cycles.sense != 0, total.mean(axis=0), np.inf).min(axis=1)
    drive = math.log(factor) * cycles.sense[int(least.argmax())]
    values, powers = [], []
    for counts, both in zip(there, total, strict=True):
        if tick is not None:
            tick()
        null = np.sort(_lopsided(_draw(counts, both, cycles, np.zeros(len(both)), rng), both))
        values.append(float(_mid_p(null, _lopsided(counts, both))))
        driven = _lopsided(_draw(counts, both, cycles, drive, rng), both)
        powers.append(float((_mid_p(null, driven) < alarm).mean()))
    return values, powers


def _lopsided(there: Ids, total: Ids) -> Array:
    """Likelihood ratio (...,) against detailed balance, up to what all draws share."""
    return np.asarray((xlogy(there, there) + xlogy(total - there, total - there)).sum(axis=-1))


def _mid_p(null: Array, value: Array) -> Array:
    """Share of the sorted null distribution beyond values (...,), and half of what equals them."""
    beyond = len(null) - np.searchsorted(null, value + 1e-9, "right")
    equal = len(null) - np.searchsorted(null, value - 1e-9, "left") - beyond
    return np.asarray((beyond + 0.5 * (equal + 1)) / (len(null) + 1))


def _draw(there: Ids, total: Ids, cycles: Cycles, drive: Array, rng: np.random.Generator) -> Ids:
    """Draw counts (S, E) with the same totals and the same net gain of each state.

    By turns about one cycle after the other, each drawn from its exact distribution: one turn is
    enough where there is one cycle. `drive` (E,) is added to the logits of the pairs.
    """
    counts = np.repeat(there[None], _DRAWS, axis=0)
    n_turns = 1 if cycles.rank == 1 else _TURNS * cycles.rank
    order = rng.permuted(np.arange(n_turns) % len(cycles))
    for number in order:
        sense = cycles.sense[number]
        on = np.flatnonzero(sense)
        forward = np.where(sense[on] > 0, counts[:, on], total[on] - counts[:, on])
        turns = _turns(forward, total[on], float(drive @ sense), rng)
        counts[:, on] += turns[:, None] * sense[on]
    return counts


def _turns(forward: Ids, total: Ids, push: float, rng: np.random.Generator) -> Ids:
    """Draw by how many (S,) all counts (S, L) of one cycle grow.

    The chance of c is the product of the binomial coefficients of `total` over ``forward + c``,
    times ``exp(push * c)``.
    """
    low, high = -forward.min(axis=1), (total - forward).min(axis=1)
    # the chances rise up to the likeliest number of turns, and fall from there on
    below, above = low.copy(), high.copy()
    for _ in range(int((high - low).max()).bit_length()):
        middle = (below + above) // 2
        count = forward + middle[:, None]
        slope = np.log(np.maximum(total - count, 1e-300) / (count + 1)).sum(axis=1) + push
        rising = (slope > 0) & (middle < high)
        below = np.where(rising, np.minimum(middle + 1, above), below)
        above = np.where(rising, above, middle)
    count = forward + below[:, None]
    width = 1 / np.sqrt((1 / (count + 1) + 1 / (total - count + 1)).sum(axis=1))
    reach = math.ceil(_REACH * float(width.max())) + 1
    turns = below[:, None] + np.arange(-reach, reach + 1)  # (S, W)
    inside = (turns >= low[:, None]) & (turns <= high[:, None])
    grown = np.clip(forward[:, None] + turns[..., None], 0, total)
    log_chance = push * turns - (gammaln(grown + 1) + gammaln(total - grown + 1)).sum(axis=2)
    log_chance = np.where(inside, log_chance, -np.inf)
    chance = np.exp(log_chance - log_chance.max(axis=1, keepdims=True))
    sums = np.cumsum(chance, axis=1)
    drawn = (rng.random((len(turns), 1)) * sums[:, -1:] >= sums).sum(axis=1)
    return np.asarray(turns[np.arange(len(turns)), np.minimum(drawn, turns.shape[1] - 1)])
