"""What units are recognised by: everything that another movie's sites are judged with."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import softmax
from scipy.stats import chi2

from napari_rvae.analysis.gaussians import Gaussian
from napari_rvae.analysis.units.ring_classes import RingClasses
from napari_rvae.analysis.units.ring_codes import USUAL
from napari_rvae.analysis.units.space import FeatureSpace
from napari_rvae.analysis.units.stays import find_stays
from napari_rvae.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Ids = NDArray[np.int64]

__all__ = ["UnitModel"]

_SPACE = ("centre", "spread", "offset", "axes")
_FLOATS = (*_SPACE, "mean", "covariance", "weight", "starts")
_WHOLE = ("environment", "host")
#: What an environment holds but for one site in a thousand.
_INSIDE = 0.999


@dataclass(frozen=True, eq=False)
class UnitModel:
    """Normal distributions in the space of the features, and the environments they belong to.

    Parameters
    ----------
    space
        Scaling and axes of the features.
    mean, covariance, weight
        Of the M normal distributions: (M, D), (M, D, D), (M,).
    environment
        Number of the environment (M,) of each distribution, 0 to E - 1.
    host
        Numbers of the environments that are hosts, the largest first.
    noise
        Variance of a single sighting along each axis, to be added; 0 where it is not known apart.
    starts
        Sites (E, S, K) of each environment in each of the K groups that the search gave from the
        S-th start.
    ring
        Code (E,) of the group of unusual rings that each environment is at
        (:class:`~napari_rvae.analysis.units.ring_codes.RingGroups`), 0 for usual or unknown ones.
    ring_error
        Probability (E,) that a sighting of such rings shows others.
    bonded
        Whether distorted atoms of a host go to the unit that they are bonded to
        (:func:`~napari_rvae.analysis.units.contact.with_contacts`).
    """

    space: FeatureSpace
    mean: Array
    covariance: Array
    weight: Array
    environment: Ids
    host: Ids
    noise: float
    starts: Array
    ring: Ids
    ring_error: Array
    bonded: bool

    @property
    def n_environments(self) -> int:
        """Number of environments, E."""
        return int(self.environment.max(initial=-1)) + 1

    @property
    def ring_classes(self) -> RingClasses:
        """Groups of unusual rings that environments are at."""
        code, first = np.unique(np.append(self.ring, USUAL), return_index=True)
        return RingClasses(code, np.append(self.ring_error, 0.5)[first])

    def recognise(
        self,
        values: Array,
        place: Ids,
        ring: Ids | None = None,
        tick: Callable[[], None] | None = None,
    ) -> tuple[Array, NDArray[np.bool_]]:
        """Probability (N, E) of each environment, and which sites (N,) lie outside of all.

        Parameters
        ----------
        values
            Features (N, P).
        place
            Lattice site (N,), below 0 where it is not known: its sightings are averaged as long as
            they look the same.
        ring
            Code (N,) of the group of unusual rings that each site is at, where it is known.
        tick
            Called now and then; it may raise.

        Returns
        -------
        tuple
            Probabilities, and True for sites so far from the middle of every environment as one
            in a thousand of its own would be.
        """
        stays = find_stays(self.space.transform(values), place, noisy=self.noise > 0, tick=tick)
        beyond = self._nearest(stays.mean, stays.count) > chi2.ppf(_INSIDE, stays.mean.shape[1])
        share = self.shares(stays.mean, stays.count, tick)
        if ring is not None and self.ring.any():
            votes = self.ring_classes.votes(ring, stays.label, len(stays.count))
            share = self.with_rings(share, votes)
        return share[stays.label], beyond[stays.label]

    def with_rings(self, share: Array, votes: Ids) -> Array:
        """Probability (S, E) of each environment, the rings that stays show taken into account.

        The rings say which class a stay is of, the features which environment in this class.

        Parameters
        ----------
        share
            The same by the features alone.
        votes
            Sightings (S, K) of each class of rings.
        """
        classes = self.ring_classes
        which = np.searchsorted(classes.code, self.ring)
        prior = np.bincount(which, share.sum(axis=0), len(classes.code)) / max(len(share), 1)
        wanted = classes.shares(votes, prior)
        joined = np.zeros_like(share)
        for number in range(len(classes.code)):
            own = np.flatnonzero(which == number)
            if own.size:
                within = share[:, own] + 1e-12 / own.size
                within = within / within.sum(axis=1, keepdims=True)
                joined[:, own] = np.nan_to_num(wanted[:, number, None]) * within
        total = joined.sum(axis=1, keepdims=True)
        known = (total > 0) & votes.any(axis=1, keepdims=True)
        return np.where(known, joined / np.where(known, total, 1.0), share)

    def shares(self, scores: Array, count: Ids, tick: Callable[[], None] | None = None) -> Array:
        """Probability (N, E) of each environment for means (N, D) of `count` (N,) sightings.

        `tick` is called now and then; it may raise.
        """
        joint = np.zeros((len(scores), self.n_environments))
        if not len(self.weight):
            return joint
        for number in np.unique(count):
            if tick is not None:
                tick()
            rows = count == number
            bodies = self._bodies(int(number))
            density = np.stack([body.log_density(scores[rows]) for body in bodies], axis=1)
            share = softmax(density + np.log(np.maximum(self.weight, 1e-12)), axis=1)
            for part, environment in enumerate(self.environment):
                joint[rows, environment] += share[:, part]
        return np.minimum(joint, 1.0)

    def _bodies(self, count: int) -> list[Gaussian]:
        """Distributions of the means of so many sightings."""
        noise = self.noise / count * np.eye(self.mean.shape[1])
        return [
            Gaussian(mean, covariance + noise)
            for mean, covariance in zip(self.mean, self.covariance, strict=True)
        ]

    def _nearest(self, scores: Array, count: Ids) -> Array:
        """Squared distance (N,) from the nearest distribution, in its own widths."""
        nearest = np.full(len(scores), np.inf)
        for number in np.unique(count):
            rows = np.flatnonzero(count == number)
            for body in self._bodies(int(number)):
                nearest[rows] = np.minimum(nearest[rows], body.squared_distance(scores[rows]))
        return nearest

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything as arrays by name: numbers, and ``columns`` as UTF-8 JSON."""
        parts = {**vars(self.space), **vars(self)}
        text = json.dumps(list(self.space.columns)).encode()
        names = (*_FLOATS, *_WHOLE, "ring", "ring_error")
        numbers = {name: np.ascontiguousarray(parts[name]) for name in names}
        text_array = np.frombuffer(text, np.uint8)
        flags = self.space.mirrored.astype(np.int64)
        single = {"noise": np.array([self.noise]), "bonded": np.array([int(self.bonded)])}
        return {**numbers, **single, "columns": text_array, "mirrored": flags}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> UnitModel:
        """Make the model from what :meth:`arrays` returned.

        Raises
        ------
        InputError
            If an array is missing, or they do not fit each other.
        """
        try:
            columns = tuple(json.loads(bytes(arrays["columns"]).decode()))
            parts = {name: np.asarray(arrays[name], np.float64) for name in _FLOATS}
            environment, host = (np.asarray(arrays[name], np.int64) for name in _WHOLE)
            mirrored = np.asarray(arrays["mirrored"], bool)
            noise = float(np.asarray(arrays["noise"])[0])
        except (KeyError, ValueError, IndexError) as error:
            raise InputError(f"The arrays are no model of units ({error}).") from None
        width, n_axes = len(columns), parts["mean"].shape[-1]
        n_parts = len(parts["weight"])
        shapes = {
            **dict.fromkeys(("centre", "spread", "offset"), (width,)),
            "axes": (width, n_axes),
            "mean": (n_parts, n_axes),
            "covariance": (n_parts, n_axes, n_axes),
        }
        parts_fit = all(parts[name].shape == shape for name, shape in shapes.items())
        if not parts_fit or mirrored.shape != (width,):
            raise InputError("The arrays of the model of units do not fit each other.")
        if environment.shape != (n_parts,) or environment.min(initial=0) < 0:
            raise InputError("The model of units does not say what its distributions belong to.")
        empty = np.zeros(int(environment.max(initial=-1)) + 1)
        # older runs know of no rings, or of no bonds
        ring = np.asarray(arrays.get("ring", empty), np.int64)
        ring_error = np.asarray(arrays.get("ring_error", empty), np.float64)
        if not ring.shape == ring_error.shape == empty.shape:
            raise InputError("The model of units does not know the rings of each environment.")
        return cls(
            space=FeatureSpace(columns, mirrored, *(parts[name] for name in _SPACE)),
            mean=parts["mean"],
            covariance=parts["covariance"],
            weight=parts["weight"],
            environment=environment,
            host=host,
            noise=noise,
            starts=parts["starts"],
            ring=ring,
            ring_error=ring_error,
            bonded=bool(np.asarray(arrays.get("bonded", [0]))[0]),
        )
