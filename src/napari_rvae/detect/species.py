"""Which atoms differ in brightness from the rest of their sublattice, and how surely.

Each atom is compared with the atoms of its sublattice around it, so that thickness and dirt do
not count. The ratios are a mixture: most are hosts, whose ratio is 1 within the noise that is
known for each atom; what the hosts cannot explain becomes further components, brighter or dimmer.
An atom's probability is its share of that mixture, and as many are named as bring the expected
share of false ones nearest to a given rate (W. Sun, T. T. Cai, J. Am. Stat. Assoc. 102, 901
(2007)).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats
from scipy.optimize import brentq
from scipy.spatial import cKDTree

__all__ = ["HostRatio", "Odd", "name_odd", "odd_atoms", "pool_tracks", "ratio_to_host"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Atoms of the same sublattice with which each one is compared.
_NEIGHBOURS = 18

#: Most further components, and the gain in nats of the likelihood that each must bring.
_MOST_COMPONENTS, _LEAST_GAIN = 4, 4.5

#: Rounds of the expectation-maximisation, and of that of the share alone.
_ROUNDS, _SHARE_ROUNDS = 40, 8

#: A component is at most so wide, compared with its distance from the host: species are discrete.
_WIDEST = 0.2

#: Atoms that are worth so many members when the spread of a component is estimated.
_PRIOR_MEMBERS = 3.0

#: Sightings of one atom that scatter more than this chance allows are not averaged.
_SAME_ATOM = 1e-4

#: Degrees of freedom of the hosts' distribution that are tried; the last is as good as normal, also
#: four standard deviations off, where faint dopants begin.
_FREEDOM = (4.0, 8.0, 20.0, 1e6)

#: Long tails must explain this much more (nats): they could as well be unlike atoms.
_TAILS_COST = 12.0

#: What hosts are like is told by the atoms within so many standard deviations.
_INNER = 2.0

#: Atoms within this many standard deviations of the host are hosts.
_NEAR = 1.3

#: A component is named only where it is likelier than not.
_LIKELY = 0.5


class HostRatio(NamedTuple):
    """Amplitudes over those of the host around; arrays of shape (N,)."""

    ratio: Floats
    own_sd: Floats  # as the atom's own fit says
    host_sd: Floats  # as a host atom in its place would have

    def select(self, rows: Ints | NDArray[np.bool_]) -> HostRatio:
        """Return some of the atoms."""
        return HostRatio(*(part[rows] for part in self))


def ratio_to_host(points: Floats, amplitude: Floats, noise: Floats) -> HostRatio:
    """Compare the atoms of one sublattice of one frame with their neighbours.

    Parameters
    ----------
    points
        Positions (N, 2).
    amplitude, noise
        Heights and their standard deviations (N,), NaN where unknown.

    Returns
    -------
    HostRatio
        The host's height is a local median, averaged over the neighbourhood: dopants among the
        neighbours do not count, nor does the atom itself. NaN below three atoms.
    """
    known = np.isfinite(amplitude) & np.isfinite(points).all(axis=1)
    nothing = np.full(len(points), np.nan)
    if known.sum() < 3:
        return HostRatio(nothing, nothing, nothing)
    count = min(_NEIGHBOURS + 1, int(known.sum()))
    near = np.asarray(cKDTree(points[known]).query(points[known], count)[1])
    height, error = amplitude[known], noise[known]
    host = np.maximum(_host_around(height, near), 1e-30)
    # noise grows with the signal: what a brighter atom's own fit says is no host's
    local = np.maximum(
        np.median(error[near], axis=1), error / np.sqrt(np.maximum(height / host, 1.0))
    )
    result = HostRatio(nothing.copy(), nothing.copy(), nothing.copy())
    for part, values in zip(result, (height / host, error / host, local / host), strict=True):
        part[known] = values
    return result


def _host_around(height: Floats, near: Ints) -> Floats:
    """Mean (N,) of the medians about an atom and its neighbours, its own height left out.

    Its own noise is far below that of one atom. `near` (N, K) are an atom and the K - 1 nearest.
    A median moves with a value in its middle and not with one far off: were an atom among those
    that it is compared with, the hosts' ratios would be too near 1 and their tails too long.
    """
    others = np.sort(height[near[:, 1:]], axis=1)
    size = others.shape[1]
    below, above = others[:, (size - 1) // 2], others[:, size // 2]
    median = (below + above) / 2
    # the median without one of the values below the middle, above it, and in it
    without_low, without_high, without_it = above, below, median
    if size % 2:
        before, after = others[:, size // 2 - 1], others[:, size // 2 + 1]
        without_low, without_high = (above + after) / 2, (below + before) / 2
        without_it = (before + after) / 2
    total, own = median[near[:, 0]], near[:, :1]
    for other in near[:, 1:].T:
        inside = (near[other, 1:] == own).any(axis=1)
        side = np.sign(height - median[other]).astype(int)
        less = np.choose(side + 1, [without_low[other], without_it[other], without_high[other]])
        total += np.where(inside, less, median[other])
    return np.asarray(total / near.shape[1])


def pool_tracks(seen: HostRatio, track: Ints) -> tuple[HostRatio, Ints]:
    """Average what several frames say of the same atom.

    Parameters
    ----------
    seen
        Ratios of single sightings (N,), all finite.
    track
        Number (N,) of the atom, -1 = unknown.

    Returns
    -------
    tuple
        Ratios (M,) of atoms, and the row (N,) there of each sighting. Sightings that differ more
        than their noise allows (something changed places) stay apart.
    """
    alone = track < 0
    code = np.where(alone, track.max(initial=-1) + 1 + np.arange(len(track)), track)
    for _ in range(2):
        _, row = np.unique(code, return_inverse=True)
        weight = 1.0 / seen.host_sd**2
        total = np.bincount(row, weight)
        mean = np.bincount(row, weight * seen.ratio) / total
        number = np.bincount(row)
        chi2 = np.bincount(row, weight * (seen.ratio - mean[row]) ** 2)
        scale = np.median(chi2[number > 1] / (number[number > 1] - 1)) if (number > 1).any() else 1
        tail = stats.chi2.sf(chi2 / max(scale, 1.0), np.maximum(number - 1, 1))
        mixed = (number > 1) & (tail < _SAME_ATOM)
        if not mixed.any():
            break
        code = np.where(mixed[row], code.max() + 1 + np.arange(len(code)), code)
    own = np.sqrt(np.bincount(row, (weight * seen.own_sd) ** 2)) / total
    return HostRatio(mean, own, 1.0 / np.sqrt(total)), row.astype(np.int64)


class Odd(NamedTuple):
    """Probabilities (N,) that an atom is brighter, or dimmer, than the host."""

    brighter: Floats
    dimmer: Floats


@dataclass(frozen=True)
class _Component:
    """A normal distribution of true ratios, and the share of the atoms that it holds."""

    share: float
    mean: float
    spread: float

    def log_density(self, seen: HostRatio) -> Floats:
        variance = seen.own_sd**2 + self.spread**2
        rest = (seen.ratio - self.mean) ** 2 / variance
        return np.asarray(math.log(self.share) - 0.5 * (rest + np.log(variance)))


def odd_atoms(seen: HostRatio, *, least_contrast: float) -> Odd:
    """Tell how likely atoms differ from their host.

    Parameters
    ----------
    seen
        Ratios (N,), all finite, of the atoms that share a host.
    least_contrast
        Atoms within this share of the host's amplitude are hosts.
    """
    count = len(seen.ratio)
    seen = _calibrated(seen)
    # the others are hosts beyond doubt; leaving them out makes this several times faster
    is_far = np.abs(seen.ratio - 1) > _NEAR * seen.host_sd
    far = np.flatnonzero(is_far)
    best = -math.inf
    for freedom in _FREEDOM:
        density = _host_density(seen, freedom)
        trial, level = _fitted(seen.select(far), density[far], least_contrast, count)
        level += float(density[~is_far].sum()) - _LEAST_GAIN * len(trial)
        level -= _TAILS_COST if freedom < _FREEDOM[-1] else 0.0
        if level > best:
            best, components, host = level, trial, density[far]
    seen = seen.select(far)
    brighter, dimmer = np.zeros(count), np.zeros(count)
    if components:
        share = _shares(_log_terms(seen, host, components))
        up = np.array([component.mean > 1 for component in components])
        # a host that is dim by chance is no brighter atom, however wide the component
        brighter[far] = np.where(seen.ratio > 1, share[:, up].sum(axis=1), 0)
        dimmer[far] = np.where(seen.ratio < 1, share[:, ~up].sum(axis=1), 0)
    return Odd(brighter, dimmer)


def name_odd(odd: Sequence[Odd], false_discovery_rate: float) -> list[Ints]:
    """Name the atoms that are likely enough no hosts, those of all hosts together.

    Parameters
    ----------
    odd
        Probabilities of the atoms of each host.
    false_discovery_rate
        Expected share of hosts among those that are named. Where the species of one host are
        beyond doubt and those of another are not, most of the errors are among the latter.

    Returns
    -------
    list
        For each host an array (N,): 1 for brighter, -1 for dimmer, 0 for host.
    """
    if not odd:
        return []
    likely = np.concatenate([np.maximum(part.brighter, part.dimmer) for part in odd])
    side = np.concatenate([np.where(part.brighter > part.dimmer, 1, -1) for part in odd])
    named = np.where(_discoveries(likely, false_discovery_rate), side, 0)
    return np.split(named, np.cumsum([len(part.brighter) for part in odd])[:-1])


def _calibrated(seen: HostRatio) -> HostRatio:
    """Centre the hosts on 1 and give them the spread that they have.

    Hosts may differ a little among themselves (more than the noise), or the noise may have been
    overrated; what the atoms near the middle show decides (the empirical null of B. Efron, J. Am.
    Stat. Assoc. 99, 96 (2004)).
    """
    centre = float(np.median(seen.ratio))
    scale = 1.4826 * float(np.median(np.abs(seen.ratio - centre) / seen.host_sd))
    for _ in range(_ROUNDS // 2):
        z = (seen.ratio - centre) / seen.host_sd
        inner = np.abs(z) <= _INNER * scale
        if not inner.any():
            break
        centre += float(np.average((seen.ratio - centre)[inner], weights=seen.host_sd[inner] ** -2))
        scale = math.sqrt(float(np.mean(z[inner] ** 2)) / _inner_variance(_FREEDOM[-1]))
    ratio = seen.ratio / centre
    if scale <= 1:
        scale = max(scale, 0.5)
        return HostRatio(ratio, scale * seen.own_sd, scale * seen.host_sd)
    extra = float(np.median(seen.host_sd)) * math.sqrt(scale**2 - 1)
    return HostRatio(ratio, np.hypot(seen.own_sd, extra), np.hypot(seen.host_sd, extra))


@cache
def _inner_variance(freedom: float, width: float = 1.0) -> float:
    """Variance of a Student's variable times a width, of what of it is within `_INNER`."""
    z = np.linspace(0.0, _INNER, 401)
    weight = stats.t.pdf(z / width, freedom)
    return float((weight * z**2).sum() / weight.sum())


@cache
def _width(freedom: float) -> float:
    """Width of Student's distribution that is as wide near the middle as a normal one."""
    wanted = _inner_variance(_FREEDOM[-1])
    return float(brentq(lambda width: _inner_variance(freedom, width) - wanted, 0.3, 1.2))


def _host_density(seen: HostRatio, freedom: float) -> Floats:
    """Logarithm of the hosts' density (N,), but for a constant: Student's distribution.

    Dirt and uneven ground make the tails of real hosts longer than those of a normal one.
    """
    z, width = (seen.ratio - 1) / seen.host_sd, _width(freedom)
    density = stats.t.logpdf(z / width, freedom) + 0.5 * math.log(2 * math.pi)
    return np.asarray(density - np.log(width * seen.host_sd))


def _log_terms(seen: HostRatio, host: Floats, components: list[_Component]) -> Floats:
    """Logarithm of each component's density at each atom (N, 1 + K), the host's first."""
    rest = math.log(max(1.0 - sum(c.share for c in components), 1e-9))
    return np.stack([host + rest, *(c.log_density(seen) for c in components)], axis=1)


def _shares(terms: Floats) -> Floats:
    """Share (N, K) of each component but the host in each atom's density."""
    weight = np.exp(terms - terms.max(axis=1, keepdims=True))
    return np.asarray((weight / weight.sum(axis=1, keepdims=True))[:, 1:])


def _fitted(
    seen: HostRatio, host: Floats, least_contrast: float, count: int
) -> tuple[list[_Component], float]:
    """Components beside the host, added one by one as long as they pay, and the log-likelihood.

    `seen` are those of `count` atoms that may be something else. Of the others, the likelihood
    has only the share of hosts.
    """
    components: list[_Component] = []
    level = float(host.sum())
    for _ in range(_MOST_COMPONENTS):
        start = _best_start(seen, host, components, least_contrast, count)
        if start is None:
            break
        trial = [*components, start]
        for _ in range(_ROUNDS):
            trial = _improved(seen, host, trial, least_contrast, count)
        gained = float(special.logsumexp(_log_terms(seen, host, trial), axis=1).sum())
        gained += (count - len(host)) * math.log(max(1 - sum(c.share for c in trial), 1e-9))
        if gained - level < _LEAST_GAIN:
            break
        components, level = trial, gained
    return components, level


def _best_start(
    seen: HostRatio,
    host: Floats,
    components: list[_Component],
    least_contrast: float,
    count: int,
) -> _Component | None:
    """Start of the component that would explain most of what is not yet explained."""
    now = special.logsumexp(_log_terms(seen, host, components), axis=1)
    far = np.abs(seen.ratio - 1) > np.maximum(least_contrast, 2.5 * seen.host_sd)
    rows = np.flatnonzero(far)
    if not rows.size:
        return None
    part, here = seen.select(rows), now[rows]
    best, gain = None, 0.0
    for mean in np.unique(np.quantile(part.ratio, np.linspace(0, 1, 25))):
        if abs(mean - 1) < least_contrast:
            continue
        trial = _Component(1.0, float(mean), 0.1 * abs(float(mean) - 1))
        trial = _with_best_share(trial, part, here, count)
        total = float((np.logaddexp(here, trial.log_density(part)) - here).sum())
        total -= trial.share * count
        if total > gain:
            best, gain = trial, total
    return best


def _with_best_share(
    component: _Component, seen: HostRatio, rest: Floats, count: int
) -> _Component:
    """The component with the share of `count` atoms that explains most, beside a density (N,).

    Most of those near it can be hosts: with too large a share it would explain nothing.
    """
    odds = replace(component, share=1.0).log_density(seen) - rest
    members = 3.0
    for _ in range(_SHARE_ROUNDS):
        members = max(float(special.expit(odds + math.log(members / count)).sum()), 0.3)
    return replace(component, share=members / count)


def _improved(
    seen: HostRatio,
    host: Floats,
    components: list[_Component],
    least_contrast: float,
    count: int,
) -> list[_Component]:
    """One round of expectation and maximisation."""
    weight = _shares(_log_terms(seen, host, components))
    better = []
    for k, component in enumerate(components):
        w = weight[:, k]
        total = float(w.sum())
        if total < 1e-3:
            better.append(component)
            continue
        precision = w / (seen.own_sd**2 + component.spread**2)
        mean = float((precision * seen.ratio).sum() / precision.sum())
        side = 1 if component.mean > 1 else -1
        mean = 1 + side * max(side * (mean - 1), least_contrast)
        excess = float((w * ((seen.ratio - mean) ** 2 - seen.own_sd**2)).sum())
        usual = _PRIOR_MEMBERS * (0.1 * (mean - 1)) ** 2
        variance = max((excess + usual) / (total + _PRIOR_MEMBERS), 0.0)
        spread = min(math.sqrt(variance), _WIDEST * abs(mean - 1))
        share = min(max(total / count, 1e-9), 0.5)
        better.append(replace(component, share=share, mean=mean, spread=spread))
    return better


def _discoveries(odd: Floats, rate: float) -> NDArray[np.bool_]:
    """As many of the likeliest as bring the mean chance of an error nearest to `rate`.

    Were it never above, it would be below by half a step: with few atoms, that is much. None are
    named where even the likeliest alone would be above.
    """
    order = np.argsort(-odd, kind="stable")
    error = np.cumsum(1 - odd[order]) / np.arange(1, len(odd) + 1)
    good = np.flatnonzero((error <= rate) & (odd[order] >= _LIKELY))
    count = int(good[-1]) + 1 if good.size else 0
    if 0 < count < len(odd) and odd[order[count]] >= _LIKELY:
        count += int(error[count] - rate < rate - error[count - 1])
    named = np.zeros(len(odd), bool)
    named[order[:count]] = True
    return named
