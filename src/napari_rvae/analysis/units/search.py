"""The search for environments and for what of them is one unit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.stats import chi2

from napari_rvae.analysis import appearance, gaussians
from napari_rvae.analysis.units.model import UnitModel
from napari_rvae.analysis.units.sites import kind_of
from napari_rvae.analysis.units.space import FeatureSpace, fit_space
from napari_rvae.analysis.units.tree import agglomerate, groups_at
from napari_rvae.errors import Cancelled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_rvae.analysis.units.sites import Evidence
    from napari_rvae.config import UnitConfig

    Array = NDArray[np.float64]
    Ids = NDArray[np.int64]

__all__ = ["Found", "search"]

#: An axis of the host's distribution needs this many sites to be estimated.
_SITES_PER_AXIS = 20
#: Hosts differ in a descriptor by more than so many of its spreads within each: the halves of one
#: normal distribution, cut at its middle, by 2.7.
_APART = 3.0
#: A small unit is kept as rare if it has so many sites, in so many frames.
_MIN_RARE_SITES, _MIN_RARE_FRAMES = 5, 3


#: Sites that the search is repeated on from other starts, at most.
_REPEATED_SITES = 5000


@dataclass(frozen=True, eq=False)
class Found:
    """Environments, their tree, and how many units there are.

    Parameters
    ----------
    model
        What the sites are judged by.
    membership
        Probability (N, E) of each environment.
    tree
        Mergers, see :func:`~napari_rvae.analysis.units.tree.agglomerate`.
    n_units
        Where the tree is cut.
    """

    model: UnitModel
    membership: Array
    tree: pd.DataFrame
    n_units: int


def search(
    values: Array,
    columns: tuple[str, ...],
    sites: Evidence,
    config: UnitConfig,
    progress: Callable[[int, int], bool | None] | None = None,
) -> Found:
    """Find environments and units.

    Parameters
    ----------
    values
        Features (N, P) of the sites, all finite.
    columns
        Names (P) of the features.
    sites
        What else is known of the sites.
    config
        Options.
    progress
        Called after each step; False stops.
    """
    step = _Steps(progress, total=4)
    rng = np.random.default_rng(config.seed)
    step.done()
    space, scores, hosts = _hosts(values, columns, sites, config.n_features, rng)
    step.done()
    parts = _components(scores, hosts, sites, config, rng)
    model = _as_model(space, parts)
    membership = model.shares(scores)
    parts, model, membership = _without_outshone(parts, model, membership)
    step.done()
    environment = membership.argmax(axis=1) if len(parts) else np.zeros(len(values), np.int64)
    tree = agglomerate(
        np.bincount(environment, minlength=len(parts)),
        _Cost(scores, environment, parts, sites),
    )
    n_units = _number_of_units(tree, parts, config)
    starts = _repeat(scores, environment, hosts, parts, sites, config)
    step.done()
    return Found(replace(model, starts=starts), membership, tree, n_units)


class _Steps:
    """Counts the steps of the work and stops it when asked to."""

    def __init__(self, progress: Callable[[int, int], bool | None] | None, total: int) -> None:
        self._progress, self._done, self._total = progress, 0, total

    def done(self) -> None:
        self._done += 1
        if self._progress is not None and self._progress(self._done, self._total) is False:
            raise Cancelled("The search for units was stopped: no unit was written.")


@dataclass(frozen=True, eq=False)
class _Part:
    """A component of the density of the scores; hosts come first."""

    gaussian: gaussians.Gaussian
    weight: float
    is_host: bool = False
    is_rare: bool = False


def _hosts(
    values: Array,
    columns: tuple[str, ...],
    sites: Evidence,
    n_features: int,
    rng: np.random.Generator,
) -> tuple[FeatureSpace, Array, list[_Part]]:
    """Fit the host, or the few large separate ones; return the axes and scores (N, D), too.

    The axes are divided by the spread *within* the hosts.
    """
    n_axes = max(1, min(n_features, len(values) // _SITES_PER_AXIS))
    space, values = fit_space(values, columns, n_axes)
    scores = space.transform(values)
    if not len(values):
        return space, scores, []
    if not scores.size:  # nothing varies: all are alike
        nothing = gaussians.Gaussian(np.zeros(0), np.zeros((0, 0)))
        return space, scores, [_Part(nothing, 1.0, is_host=True)]
    labels = _join_hosts(gaussians.split_hosts(scores, rng), sites)
    centred = scores.copy()
    for number in np.unique(labels):
        centred[labels == number] -= np.median(scores[labels == number], axis=0)
    spread = 1.4826 * np.median(np.abs(centred), axis=0)
    scale = np.where(spread > 1e-9 * scores.std(axis=0), spread, scores.std(axis=0))
    scores = scores / scale
    hosts = [
        _Part(
            gaussians.fit_host(scores[labels == number]),
            float(np.mean(labels == number)),
            is_host=True,
        )
        for number in np.unique(labels)
    ]
    return space.divided(scale), scores, sorted(hosts, key=lambda host: -host.weight)


def _join_hosts(labels: Ids, sites: Evidence) -> Ids:
    """Join hosts whose central atoms cannot be told apart: features can fall in two by noise."""
    central = appearance.comparable(sites.central)
    joined = labels.copy()
    for number in range(1, int(labels.max(initial=0)) + 1):
        for other in np.unique(joined[joined < number]):
            clouds = [central[joined == which] for which in (number, other)]
            middles = [appearance.median_of_known(cloud) for cloud in clouds]
            spread = [
                1.4826 * appearance.median_of_known(np.abs(cloud - middle))
                for cloud, middle in zip(clouds, middles, strict=True)
            ]
            least = np.maximum(_APART * np.mean(spread, axis=0), 0.02)
            apart = np.abs(middles[0] - middles[1]) > least
            if np.isfinite([middle[-1] for middle in middles]).all() and not apart.any():
                joined[joined == number] = other
                break
    return joined


def _components(
    scores: Array,
    hosts: list[_Part],
    sites: Evidence,
    config: UnitConfig,
    rng: np.random.Generator,
) -> list[_Part]:
    """Hosts, and the components of what is not host that recur, with their weights."""
    if not scores.size:
        return hosts
    distance = np.min([host.gaussian.squared_distance(scores) for host in hosts], axis=0)
    outside = np.flatnonzero(chi2.sf(distance, scores.shape[1]) < config.outlier_level)
    if len(outside) < max(config.min_sites, 2):
        return hosts
    mixture, weights = gaussians.fit_mixture(
        scores[outside], config.n_components, rng, at_least=len(hosts)
    )
    density = np.stack([part.log_density(scores[outside]) for part in mixture], axis=1)
    belongs = np.argmax(density + np.log(weights), axis=1)
    recurring, small = [], []
    min_frames = min(_MIN_RARE_FRAMES, len(np.unique(sites.frame)))
    for number in range(len(mixture)):
        rows = outside[belongs == number]
        if len(rows) >= config.min_sites and len(np.unique(sites.place[rows])) >= config.min_tracks:
            recurring.append(number)
        elif len(rows) >= _MIN_RARE_SITES and len(np.unique(sites.frame[rows])) >= min_frames:
            small.append(number)
    kept = [host.gaussian for host in hosts] + [mixture[number] for number in recurring]
    small.sort(key=lambda number: -_remoteness(mixture[number], kept))
    share = len(outside) / len(scores)
    parts = [replace(host, weight=host.weight * (1 - share)) for host in hosts]
    return parts + [
        _Part(mixture[number], float(weights[number]) * share, is_rare=number in small)
        for number in recurring + small[: config.max_rare]
    ]


def _remoteness(one: gaussians.Gaussian, others: list[gaussians.Gaussian]) -> float:
    """Squared distance to the nearest of the others, in units of the joint variance."""
    return min(
        float(
            np.sum(
                (one.mean - other.mean) ** 2 / (np.diag(one.covariance) + np.diag(other.covariance))
            )
        )
        for other in others
    )


def _as_model(space: FeatureSpace, parts: list[_Part]) -> UnitModel:
    """Model of the parts, each an environment."""
    n_axes = space.axes.shape[1]
    return UnitModel(
        space=space,
        mean=np.array([part.gaussian.mean for part in parts]).reshape(len(parts), n_axes),
        covariance=np.array([part.gaussian.covariance for part in parts]).reshape(
            len(parts), n_axes, n_axes
        ),
        weight=np.array([part.weight for part in parts], float),
        environment=np.arange(len(parts)),
        host=np.flatnonzero([part.is_host for part in parts]),
        starts=np.zeros((len(parts), 0, 0)),
    )


def _without_outshone(
    parts: list[_Part], model: UnitModel, membership: Array
) -> tuple[list[_Part], UnitModel, Array]:
    """Leave out parts that are nowhere the most probable one."""
    while len(parts):
        count = np.bincount(membership.argmax(axis=1), minlength=len(parts))
        if count.all():
            break
        parts = [part for part, number in zip(parts, count, strict=True) if number]
        model = _as_model(model.space, parts)
        share = membership[:, count > 0]
        membership = share / share.sum(axis=1, keepdims=True)
    return parts, model, membership


#: Added to the cost of mergers of what does not look alike, and of what is not to be merged yet.
_UNLIKE, _LAST = 1.0, 1e6


class _Cost:
    """Cost of merging two groups of environments: below 1 where the atoms look alike."""

    def __init__(
        self, scores: Array, environment: Ids, parts: list[_Part], sites: Evidence
    ) -> None:
        self._parts, self._sites, self._environment = parts, sites, environment
        self._clouds = [scores[environment == number] for number in range(len(parts))]
        central = appearance.comparable(sites.central)
        self._typical = [
            appearance.median_of_known(central[environment == k]) for k in range(len(parts))
        ]
        self._kind = [kind_of(sites.kind[environment == k]) for k in range(len(parts))]

    def __call__(self, one: list[int], other: list[int]) -> float:
        """Cost of merging two groups; inf for two hosts."""
        hosts = [number for number in (*one, *other) if self._parts[number].is_host]
        if len(hosts) > 1:
            return np.inf
        if hosts and min(len(one), len(other)) == 1:
            single = one[0] if hosts[0] in other else other[0]
            if self._kind[single] == "atom":
                difference = appearance.difference(self._typical[single], self._typical[hosts[0]])
                if difference < 1:
                    return difference
        clouds = [np.concatenate([self._clouds[k] for k in group]) for group in (one, other)]
        cost = _UNLIKE + _merging_cost(*clouds)
        rare = any(self._parts[number].is_rare for number in (*one, *other))
        return cost + (_LAST if rare else 0.0) + (2 * _LAST if hosts else 0.0)


def _merging_cost(one: Array, other: Array) -> float:
    """Bhattacharyya distance times the reduced number of sites.

    Weighted by the number of sites that the merger would mix up, as in Ward's method: else one
    atom seen twenty times, a tight cluster, outlasts two large units.
    """
    reduced = len(one) * len(other) / (len(one) + len(other))
    return reduced * gaussians.bhattacharyya_distance(one, other)


def _number_of_units(tree: pd.DataFrame, parts: list[_Part], config: UnitConfig) -> int:
    """Groups that are left when what looks alike is merged, but no more than allowed."""
    alike = int((tree["cost"] < _UNLIKE).sum())
    return min(len(parts) - alike, config.max_units)


def _repeat(
    scores: Array,
    environment: Ids,
    hosts: list[_Part],
    parts: list[_Part],
    sites: Evidence,
    config: UnitConfig,
) -> Array:
    """Sites (E, S, K) of each environment in each group of searches from other starts."""
    if not scores.size:
        return np.zeros((len(parts), 0, 0))
    found = []
    for start in range(config.n_starts):
        rng = np.random.default_rng([config.seed, start + 1])
        size = min(_REPEATED_SITES, len(scores))
        rows = np.sort(rng.choice(len(scores), size, replace=False))
        own = _components(scores[rows], hosts, sites.of(rows), config, rng)
        density = np.stack([part.gaussian.log_density(scores) for part in own], axis=1)
        density += np.log([max(part.weight, 1e-12) for part in own])
        label = density.argmax(axis=1)
        tree = agglomerate(np.bincount(label, minlength=len(own)), _Cost(scores, label, own, sites))
        number = np.zeros(len(own), np.int64)
        for group, members in enumerate(
            groups_at(tree, len(own), _number_of_units(tree, own, config))
        ):
            number[members] = group
        found.append(number[label])
    width = max((int(label.max()) + 1 for label in found), default=0)
    starts = np.zeros((len(parts), len(found), width))
    for start, label in enumerate(found):
        np.add.at(starts[:, start], (environment, label), 1)
    return starts
