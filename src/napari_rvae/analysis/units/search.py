"""The search for environments and for what of them is one unit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_rvae.analysis import gaussians
from napari_rvae.analysis.units.hosts import Hosts, fit_hosts, host_labels
from napari_rvae.analysis.units.likeness import MOST_SIGHTINGS, Likeness
from napari_rvae.analysis.units.model import UnitModel
from napari_rvae.analysis.units.result import agreement
from napari_rvae.analysis.units.ring_classes import RingClasses, find_ring_classes
from napari_rvae.analysis.units.ring_codes import USUAL
from napari_rvae.analysis.units.scraps import alike_environments, find_scraps, with_environments
from napari_rvae.analysis.units.space import FeatureSpace, fit_space
from napari_rvae.analysis.units.stays import Stays, find_stays, noise_covariance, whitening
from napari_rvae.analysis.units.tree import agglomerate, groups_at
from napari_rvae.analysis.units.ward import ward_clusters
from napari_rvae.errors import Cancelled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_rvae.analysis.units.ring_codes import RingGroups
    from napari_rvae.analysis.units.sites import Evidence
    from napari_rvae.config import UnitConfig

    Array = NDArray[np.float64]
    Ids = NDArray[np.int64]

__all__ = ["Found", "Steps", "search"]

#: An axis of the space needs this many sites to be estimated, an environment this many stays.
_SITES_PER_AXIS, _STAYS_PER_ENVIRONMENT = 20, 20
#: A class of unusual rings has this part of the environments of all others at most.
_RING_ENVIRONMENTS = 10
#: Stays that are clustered, at most, and from other starts: memory and time go with the square.
_MOST_STAYS, _MOST_REPEATED = 5000, 2500
#: Share of the places that a search from another start sees.
_RESEEN = 0.7
#: A unit is dropped if it agrees less with what other starts find, as sites in both over either.
_LEAST_AGREEMENT = 0.6
#: A unit that agrees less than this is cut otherwise by other starts.
_SURE_AGREEMENT = 0.9
#: What is merged anew may be cut otherwise by other starts, too: looked at so many times at most.
_ROUNDS = 4
#: The spread of an environment of few stays is taken for that of all, as if of so many stays.
_PRIOR_STAYS = 10.0


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
    rings: RingGroups | None,
    bonds: Ids,
    turn: Array,
    *,
    config: UnitConfig,
    step: Steps,
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
    rings
        Group of unusual rings that each site is at; None where they are not to be looked at.
    bonds
        Pairs of rows (M, 2) that are bonded; looked at where the rings are.
    turn
        Misorientation (N,) of the sites in radians, NaN where it is not known.
    config
        Options.
    step
        Told of every step, and asked now and then whether to stop.
    """
    rng = np.random.default_rng(config.seed)
    space, scores, host, noisy = _white_space(values, columns, sites, config, rng, step)
    stays = find_stays(scores, sites.place, noisy=noisy, tick=step.tick)
    step.done()
    classes, ring = _ring_classes(rings, stays, sites, config)
    sample = _sampled(len(stays.count), _MOST_STAYS, rng)
    environment = _environments(stays, sample, ring, config, step)
    step.tick()
    model = _model(space, stays, sample, environment, noisy=noisy)
    own_ring = ring[sample][np.unique(environment, return_index=True)[1]]
    error = classes.error[np.searchsorted(classes.code, own_ring)]
    model = replace(model, ring=own_ring, ring_error=error, bonded=rings is not None)
    membership = model.shares(stays.mean, stays.count, step.tick)
    if rings is not None and model.ring.any():
        votes = model.ring_classes.votes(rings.code, stays.label, len(stays.count))
        membership = model.with_rings(membership, votes)
    model, membership = _without_outshone(model, membership)
    found = membership.argmax(axis=1) if membership.size else np.zeros(len(stays.count), np.int64)
    step.tick()
    hosts = fit_hosts(stays.mean, stays.first(host))
    model = replace(model, host=hosts.middles(found, model.ring == USUAL))
    step.done()
    options = {"min_places": config.min_places, "turn": turn}
    tree = _tree(stays, found, hosts, sites, model.ring, step=step, **options)
    n_units = _number_of_units(tree, model.n_environments)
    step.done()
    starts = []
    for start in range(config.n_starts if len(stays.count) else 0):
        other = np.random.default_rng([config.seed, start + 1])
        starts.append(_repeated(stays, hosts, sites, ring, config, other, turn=turn, step=step))
        step.done()
    model = replace(model, starts=_counted(found[stays.label], starts, model.n_environments))
    whole = Found(model, membership, tree, n_units)
    own_bonds = None if rings is None else bonds
    return _agreed(whole, own_bonds, stays, hosts, sites, config, turn=turn, step=step)


def _agreed(
    found: Found,
    bonds: Ids | None,
    stays: Stays,
    hosts: Hosts,
    sites: Evidence,
    config: UnitConfig,
    *,
    turn: Array,
    step: Steps,
) -> Found:
    """Merge once more, knowing what other starts found; from stays (S, E) to sites (N, E)."""
    model, tree, n_units = found.model, found.tree, found.n_units
    unsure = _Unsure.none(model.n_environments, bonds, turn)
    for _ in range(_ROUNDS):
        groups = groups_at(tree, model.n_environments, n_units)
        more = unsure.and_what_agrees_less(model, groups)
        if more.is_like(unsure):
            break
        unsure = more
        own = found.membership.argmax(axis=1)
        options = {"min_places": config.min_places, **vars(unsure)}
        tree = _tree(stays, own, hosts, sites, model.ring, step=step, **options)
        n_units = _number_of_units(tree, model.n_environments)
    whole = Found(model, found.membership[stays.label], tree, n_units)
    return _without_scraps(whole, unsure, stays, hosts, sites, config, step=step)


@dataclass(frozen=True, eq=False)
class _Unsure:
    """What other starts found otherwise: options of :class:`Likeness`."""

    unstable: NDArray[np.bool_]  # (E,)
    loose: NDArray[np.bool_]  # (E,)
    bonds: Ids | None  # (M, 2)
    turn: Array  # (N,)

    @classmethod
    def none(cls, n_environments: int, bonds: Ids | None, turn: Array) -> _Unsure:
        """Nothing is unsure."""
        nothing = np.zeros(n_environments, bool)
        return cls(nothing, nothing, bonds, turn)

    def and_what_agrees_less(self, model: UnitModel, groups: list[Ids]) -> _Unsure:
        """The same, and the environments of units that other starts found otherwise."""
        return replace(
            self,
            unstable=self.unstable | _agreed_less(model, groups, _LEAST_AGREEMENT),
            loose=self.loose | _agreed_less(model, groups, _SURE_AGREEMENT),
        )

    def is_like(self, other: _Unsure) -> bool:
        """Whether the same environments are unsure."""
        return np.array_equal([self.unstable, self.loose], [other.unstable, other.loose])

    def of(self, kept: NDArray[np.bool_]) -> _Unsure:
        """The same of some environments (E,)."""
        return _Unsure(self.unstable[kept], self.loose[kept], self.bonds, self.turn)


def _without_scraps(
    found: Found,
    unsure: _Unsure,
    stays: Stays,
    hosts: Hosts,
    sites: Evidence,
    config: UnitConfig,
    *,
    step: Steps,
) -> Found:
    """Give what is no unit to the next likely one that looks like it, or to none.

    It occurs at too few places; or it is at unusual rings, which say what it is, and other starts
    did not find it again: then its rings were misread.
    """
    model, membership, tree, n_units = (
        found.model,
        found.membership.copy(),
        found.tree,
        found.n_units,
    )
    lost = np.zeros(len(membership), bool)
    plain = model.shares(stays.mean, stays.count)[stays.label]
    while model.n_environments:
        environment = membership.argmax(axis=1)
        groups = groups_at(tree, model.n_environments, n_units)
        here = np.where(lost, -1, environment)
        scraps = find_scraps(here, groups, model.host, sites.place, config.min_places)
        scraps |= _agreed_less(model, groups, _LEAST_AGREEMENT) & (model.ring != USUAL)
        if not scraps.any() or scraps.all():
            break
        alike = alike_environments(here, model.n_environments, sites) & ~scraps
        rows = np.flatnonzero(scraps[environment])
        # the features alone: of rings that are no class by themselves nothing is left
        membership[rows] = (plain[rows] + 1e-300) * alike[environment[rows]]
        lost[rows] |= ~alike[environment[rows]].any(axis=1)
        model, membership = with_environments(model, membership, ~scraps)
        plain = plain[:, ~scraps]
        unsure = unsure.of(~scraps)
        # of the sightings of a stay, all are in one environment
        own = stays.first(membership.argmax(axis=1))
        options = {"min_places": config.min_places, **vars(unsure)}
        tree = _tree(stays, own, hosts, sites, model.ring, step=step, **options)
        n_units = _number_of_units(tree, model.n_environments)
    return Found(model, np.where(lost[:, None], np.nan, membership), tree, n_units)


class Steps:
    """Counts the steps of a search and stops it when asked to.

    Parameters
    ----------
    progress
        Called as ``progress(done, total)``, within a step too; False stops.
    total
        Number of steps: of a search three, and one for each other start.
    """

    def __init__(self, progress: Callable[[int, int], bool | None] | None, total: int) -> None:
        self._progress, self._done, self._total = progress, 0, total

    def done(self) -> None:
        """Count a step."""
        self._done += 1
        self.tick()

    def tick(self) -> None:
        """Ask whether to stop, in the middle of a step."""
        if self._progress is not None and self._progress(self._done, self._total) is False:
            raise Cancelled("The search for units was stopped: no unit was written.")


def _white_space(
    values: Array,
    columns: tuple[str, ...],
    sites: Evidence,
    config: UnitConfig,
    rng: np.random.Generator,
    step: Steps,
) -> tuple[FeatureSpace, Array, Ids, bool]:
    """Axes in which the noise is the identity, scores (N, D), hosts (N,), whether it was known.

    Where no place was seen twice, the host's own distribution is the identity.
    """
    n_axes = max(1, min(config.n_features, len(values) // _SITES_PER_AXIS))
    space, values = fit_space(values, columns, n_axes, mirror=config.mirror, tick=step.tick)
    step.tick()
    scores = space.transform(values)
    step.tick()
    host = host_labels(scores, sites.central, rng)
    if not scores.size:
        return space, scores, host, False
    step.tick()
    covariance = noise_covariance(scores, sites.place, sites.frame)
    noisy = covariance is not None
    if covariance is None:
        covariance = gaussians.fit_host(scores[host == 0]).covariance
    matrix = whitening(covariance)
    return space.turned(matrix), scores @ matrix, host, noisy


def _sampled(count: int, most: int, rng: np.random.Generator) -> Ids:
    """Numbers of at most so many stays, in order."""
    if count <= most:
        return np.arange(count)
    return np.sort(rng.choice(count, most, replace=False))


def _ring_classes(
    rings: RingGroups | None, stays: Stays, sites: Evidence, config: UnitConfig
) -> tuple[RingClasses, Ids]:
    """Classes of rings that recur, and the code (S,) of the class of each stay."""
    n_stays = len(stays.count)
    usual = RingClasses(np.array([USUAL]), np.array([0.5]))
    if rings is None or not n_stays:
        return usual, np.zeros(n_stays, np.int64)
    classes = find_ring_classes(rings, sites.place, sites.frame, config.min_places)
    votes = classes.votes(rings.code, stays.label, n_stays)
    share = classes.shares(votes, votes.sum(axis=0) / max(votes.sum(), 1))
    known = votes.any(axis=1)
    return classes, classes.code[np.where(known, np.nan_to_num(share).argmax(axis=1), 0)]


def _environments(stays: Stays, sample: Ids, ring: Ids, config: UnitConfig, step: Steps) -> Ids:
    """Environment of each sampled stay; those of other rings are kept apart."""
    found, own = np.zeros(len(sample), np.int64), ring[sample]
    n_found = 0
    for code in np.unique(own):
        rows = np.flatnonzero(own == code)
        n_clusters = min(config.n_components, len(rows) // _STAYS_PER_ENVIRONMENT)
        if code != USUAL:  # few, but perhaps of several species
            most = max(config.n_components // _RING_ENVIRONMENTS, 1)
            n_clusters = min(most, len(rows) // (2 * config.min_places))
        if n_clusters > 1 and stays.mean.shape[1]:
            mine = sample[rows]
            weight = np.minimum(stays.count[mine], MOST_SIGHTINGS).astype(float)
            found[rows] = n_found + ward_clusters(stays.mean[mine], weight, n_clusters, step.tick)
        else:
            found[rows] = n_found
        n_found = int(found.max()) + 1
    return found


def _model(
    space: FeatureSpace, stays: Stays, sample: Ids, environment: Ids, *, noisy: bool
) -> UnitModel:
    """Normal distribution of the stays of each environment, without the noise of a sighting."""
    points, n_axes = stays.mean[sample], stays.mean.shape[1]
    weight = np.minimum(stays.count[sample], MOST_SIGHTINGS).astype(float)
    noise = 1.0 / stays.count[sample] if noisy else np.zeros(len(sample))
    n_parts = int(environment.max(initial=-1)) + 1
    mean, scatter, size = np.zeros((n_parts, n_axes)), np.zeros((n_parts, n_axes, n_axes)), []
    for number in range(n_parts):
        mine = environment == number
        mean[number] = np.average(points[mine], axis=0, weights=weight[mine])
        off = (points[mine] - mean[number]) * np.sqrt(weight[mine])[:, None]
        own_noise = np.average(noise[mine], weights=weight[mine])
        spread = off.T @ off / weight[mine].sum() - own_noise * np.eye(n_axes)
        values, vectors = np.linalg.eigh(spread)
        scatter[number] = (vectors * np.maximum(values, 0.0)) @ vectors.T
        size.append(float(mine.sum()))
    sizes = np.array(size)
    typical = np.average(np.trace(scatter, axis1=1, axis2=2), weights=sizes) if n_parts else 0.0
    prior = max(typical / max(n_axes, 1), 0.05) * np.eye(n_axes)
    covariance = [
        (count * own + _PRIOR_STAYS * prior) / (count + _PRIOR_STAYS)
        for count, own in zip(sizes, scatter, strict=True)
    ]
    share = np.bincount(environment, weight, minlength=n_parts)
    return UnitModel(
        space=space,
        mean=mean,
        covariance=np.array(covariance).reshape(n_parts, n_axes, n_axes),
        weight=share / max(share.sum(), 1e-300),
        environment=np.arange(n_parts),
        host=np.zeros(0, np.int64),
        noise=float(noisy),
        starts=np.zeros((n_parts, 0, 0)),
        ring=np.zeros(n_parts, np.int64),
        ring_error=np.full(n_parts, 0.5),
        bonded=False,
    )


def _without_outshone(model: UnitModel, membership: Array) -> tuple[UnitModel, Array]:
    """Leave out environments that are nowhere the most probable one."""
    while membership.shape[1]:
        used = np.bincount(membership.argmax(axis=1), minlength=membership.shape[1]) > 0
        if used.all():
            break
        model, membership = with_environments(model, membership, used)
    return model, membership


def _tree(
    stays: Stays,
    environment: Ids,
    hosts: Hosts,
    sites: Evidence,
    ring: Ids,
    *,
    step: Steps,
    **options: Any,
) -> pd.DataFrame:
    """Mergers of environments; for the options see :class:`Likeness`."""
    cost = Likeness(stays, environment, hosts, sites, ring, **options)
    step.tick()

    def asked(one: list[int], other: list[int]) -> float:
        step.tick()
        return cost(one, other)

    return agglomerate(np.bincount(environment[stays.label]), asked)


def _number_of_units(tree: pd.DataFrame, n_environments: int) -> int:
    """Groups that are left when all that is one unit is merged."""
    return n_environments - int((tree["cost"] < 1).sum())


def _agreed_less(model: UnitModel, groups: list[Ids], least: float) -> NDArray[np.bool_]:
    """Environments (E,) of units, hosts apart, that other starts found again less than that."""
    less = np.zeros(model.n_environments, bool)
    for members in groups:
        is_host = np.isin(model.host, members).any()
        if not is_host and agreement(model.starts, members) < least:
            less[members] = True
    return less


def _repeated(
    stays: Stays,
    hosts: Hosts,
    sites: Evidence,
    ring: Ids,
    config: UnitConfig,
    rng: np.random.Generator,
    *,
    turn: Array,
    step: Steps,
) -> Ids:
    """Unit (N,) of each site by a search that saw a part of the places."""
    place = stays.first(sites.place)
    names = np.unique(place)
    seen = rng.choice(names, max(int(_RESEEN * len(names)), 1), replace=False)
    rows = np.flatnonzero(np.isin(place, seen))
    rows = rows[_sampled(len(rows), _MOST_REPEATED, rng)]
    found = _environments(stays, rows, ring, config, step)
    step.tick()
    middle = np.stack(
        [stays.mean[rows[found == number]].mean(axis=0) for number in range(int(found.max()) + 1)]
    )
    own_ring = ring[rows][np.unique(found, return_index=True)[1]]
    distance = np.sum(middle**2, axis=1) - 2 * stays.mean @ middle.T
    # of rings that the part does not show, any will do
    strange = (ring[:, None] != own_ring) & np.isin(ring, own_ring)[:, None]
    nearest = np.where(strange, np.inf, distance).argmin(axis=1)
    used, environment = np.unique(nearest, return_inverse=True)
    environment = environment.astype(np.int64)
    options = {"min_places": config.min_places, "turn": turn}
    tree = _tree(stays, environment, hosts, sites, own_ring[used], step=step, **options)
    n_environments = int(environment.max()) + 1
    unit = np.zeros(n_environments, np.int64)
    n_units = _number_of_units(tree, n_environments)
    for number, members in enumerate(groups_at(tree, n_environments, n_units)):
        unit[members] = number
    labels: Ids = unit[environment[stays.label]]
    return labels


def _counted(environment: Ids, starts: list[Ids], n_environments: int) -> Array:
    """Sites (E, S, K) of each environment in each unit of each start."""
    width = max((int(unit.max(initial=-1)) + 1 for unit in starts), default=0)
    counts = np.zeros((n_environments, len(starts), width))
    for start, unit in enumerate(starts):
        np.add.at(counts[:, start], (environment, unit), 1)
    return counts
