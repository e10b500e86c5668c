"""Structural units: kinds of surroundings that recur, found without labels.

Every crystal is mostly its host. What is not host is split finely, and what recurs is kept;
then everything whose central atom looks like the host's is given back to it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.special import softmax
from scipy.stats import chi2

from napari_rvae import tables
from napari_rvae.analysis import appearance, gaussians
from napari_rvae.analysis.descriptors import DESCRIPTOR_COLUMNS, site_descriptors
from napari_rvae.config import UnitConfig
from napari_rvae.errors import Cancelled, InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_rvae.vae import RVAE

    Array = NDArray[np.float64]
    Ids = NDArray[np.int64]
    Mask = NDArray[np.bool_]

__all__ = ["Units", "find_units"]

#: An axis of the host's distribution needs this many sites to be estimated.
_SITES_PER_AXIS = 20
#: Hosts differ in a descriptor by more than so many of its spreads within each: the halves of one
#: normal distribution, cut at its middle, by 2.7.
_APART = 3.0
#: A small unit is kept as rare if it has so many sites, in so many frames.
_MIN_RARE_SITES, _MIN_RARE_FRAMES = 5, 3


@dataclass(frozen=True, eq=False)
class Units:
    """Structural units of a sites table.

    Parameters
    ----------
    table
        One row for each site: ``site_id`` (int64), ``unit`` (int64, -1 = none) and
        ``unit_probability`` (float64, 0 to 1, NaN where there is no unit).
    summary
        One row for each unit: ``unit``, ``name``, ``count``, ``share`` of the sites that have a
        unit, ``n_places`` (different lattice sites, or sites where they are not linked), and the
        medians over its central atoms: ``coordination``, ``psi1`` to ``psi6``, ``bond_length``
        in neighbour distances, ``neighbour_amplitude`` and ``relative_amplitude`` (host = 1).
        Where a model was given also the symmetry of the unit's decoded picture: ``symmetry``
        ("3-fold", ...), ``symmetry_order`` and the deviations in pixels of the crops (see
        :func:`~napari_rvae.decoded_symmetry`).

    Raises
    ------
    InputError
        If a column is missing, or a unit of the table is not in the summary.

    Examples
    --------
    >>> import pandas as pd
    >>> from napari_rvae import Units
    >>> table = pd.DataFrame({"site_id": [0], "unit": [0], "unit_probability": [1.0]})
    >>> summary = pd.DataFrame({"unit": [0], "name": ["host"], "count": [1]})
    >>> Units(table, summary).names
    {0: 'host'}
    """

    table: pd.DataFrame
    summary: pd.DataFrame

    def __post_init__(self) -> None:
        """Check that the two tables belong together."""
        needed = {
            "table": (self.table, ("site_id", "unit", "unit_probability")),
            "summary": (self.summary, ("unit", "name", "count")),
        }
        for label, (frame, names) in needed.items():
            missing = [name for name in names if name not in frame]
            if missing:
                raise InputError(f"The units' {label} lacks the column {', '.join(missing)}.")
        unknown = set(self.table["unit"].unique()) - set(self.summary["unit"]) - {-1}
        if unknown:
            raise InputError(f"The units' summary lacks the unit {min(unknown)}.")

    def __len__(self) -> int:
        """Return the number of units."""
        return len(self.summary)

    @property
    def names(self) -> dict[int, str]:
        """Name of each unit by its number."""
        return {
            int(unit): str(name)
            for unit, name in zip(self.summary["unit"], self.summary["name"], strict=True)
        }


def find_units(
    table: pd.DataFrame,
    config: UnitConfig | None = None,
    *,
    features: pd.DataFrame | None = None,
    model: RVAE | None = None,
    pixel_pm: float | None = None,
    progress: Callable[[int, int], bool | None] | None = None,
    **overrides: Any,
) -> Units:
    """Find the structural units of a sites table.

    Parameters
    ----------
    table
        Sites table, best with ``amplitude`` and, after :func:`~napari_rvae.link_sites`,
        ``lattice_track_id``: a unit must recur on several lattice sites. Without `features` it
        needs the latents ``z0``, ``z1``, ...
    config
        Options.
    features
        One row for each crop: ``site_id`` and any number of columns that do not change when the
        crop is turned (:meth:`~napari_rvae.RVAE.invariants`).
    model
        The model that made the table's latents ``z0``, ``z0_sd``, ...: the summary then tells how
        symmetric each unit is.
    pixel_pm
        Size of a pixel of the model's crops in pm, in which symmetry is judged then.
    progress
        Called as ``progress(done, total)`` after each step; False stops.
    **overrides
        Single options of :class:`~napari_rvae.UnitConfig`.

    Returns
    -------
    Units
        Unit 0 is the host, the others follow by decreasing number of sites. A site without
        features has unit -1. A perovskite has several hosts, one for each sublattice.

    Raises
    ------
    InputError
        If there are neither features nor latents, or they do not fit the sites.
    Cancelled
        If `progress` returned False.

    Notes
    -----
    Features are scaled robustly and reduced to ``n_features`` principal axes, each divided by its
    median absolute deviation. The host is a normal distribution of the dominant half. What it
    would hold with a chance below ``outlier_level`` is fitted by ``n_components`` axis-parallel
    Gaussians, far more than there are units; those that recur are kept, and the ``max_rare``
    farthest of the others. Components whose *central* atom looks like the host's (neighbours,
    bond order, bond length, amplitude, brightness of the neighbours) join it: they are the host in
    some surroundings. The closest of the rest are merged (Bhattacharyya distance times the reduced
    number of sites) down to ``max_units``. Several hosts are looked for first: clusters of a
    fifth of the sites or more, with a valley between them, whose central atoms differ.

    The probability of a unit is its share of the density at the site. It knows nothing of the
    errors of the model itself, so it is too sure. Species are told apart by amplitude; where
    there is none, nothing joins the host.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import find_units
    >>> from napari_rvae.tables import make_sites
    >>> y, x = 10.0 * np.indices((10, 10)).reshape(2, -1)
    >>> z = np.random.default_rng(0).normal(size=100)
    >>> find_units(make_sites(frame=0, y=y, x=x, z0=z)).names
    {0: 'host'}
    """
    config = dataclasses.replace(config or UnitConfig(), **overrides)
    table = tables.validate_sites(table)
    step = _Steps(progress, total=4)
    # in the order of the sites' numbers, so that the order of the rows does not matter
    order = np.argsort(table["site_id"].to_numpy(), kind="stable")
    table = table.iloc[order]
    values = _feature_values(table, features)
    known = np.flatnonzero(np.isfinite(values).all(1))
    sites = _describe(table, known)
    step.done()
    unit, probability = np.full(len(table), -1, np.int64), np.full(len(table), np.nan)
    rng = np.random.default_rng(config.seed)
    hosts, scores = _hosts(values[known], sites, config.n_features, rng)
    step.done()
    parts = _components(scores, hosts, sites, config, rng)
    step.done()
    unit[known], probability[known], which = _group(scores, parts, sites, config)
    summary = _summarise(unit[known], which, sites)
    step.done()
    columns = {"unit": unit, "unit_probability": probability}
    found = pd.DataFrame({"site_id": table["site_id"].to_numpy(np.int64), **columns})
    if model is not None:
        summary = summary.merge(_symmetry(table, unit, model, pixel_pm), on="unit", how="left")
    return Units(found.iloc[np.argsort(order)].reset_index(drop=True), summary)


class _Steps:
    """Counts the steps of the work and stops it when asked to."""

    def __init__(self, progress: Callable[[int, int], bool | None] | None, total: int) -> None:
        self._progress, self._done, self._total = progress, 0, total

    def done(self) -> None:
        self._done += 1
        if self._progress is not None and self._progress(self._done, self._total) is False:
            raise Cancelled("The search for units was stopped: no unit was written.")


@dataclass(frozen=True, eq=False)
class _Sites:
    """What is known of the N sites that have features."""

    central: Array  # (N, 10) descriptors
    place: Ids  # lattice site
    frame: Ids
    is_atom: Mask
    is_vacancy: Mask


@dataclass(frozen=True, eq=False)
class _Part:
    """A component of the density of the scores; hosts come first."""

    gaussian: gaussians.Gaussian
    weight: float
    is_host: bool = False
    is_rare: bool = False


def _feature_values(table: pd.DataFrame, features: pd.DataFrame | None) -> Array:
    """Features (N, P) of each site, NaN where it has none."""
    if features is None:
        names = tables.latent_names(table)
        if not names:
            raise InputError(
                "The table has no latents z0, z1, ...: join them (join_latents) or give features."
            )
        values = table[names].to_numpy(float)
    else:
        if "site_id" not in features or features["site_id"].duplicated().any():
            raise InputError("The features need a column 'site_id' without duplicates.")
        numbers = features.drop(columns="site_id")
        wrong = [str(name) for name in numbers if numbers[name].dtype.kind not in "fiub"]
        if wrong or not numbers.shape[1]:
            raise InputError(
                f"The features {', '.join(wrong)} hold no numbers: give columns of numbers."
            )
        position = pd.Index(features["site_id"]).get_indexer(table["site_id"])
        values = np.where(position[:, None] >= 0, numbers.to_numpy(float)[position], np.nan)
        if len(table) and len(features) and not (position >= 0).any():
            raise InputError("No site_id of the features is in the table: they do not belong.")
    values = np.where(np.isfinite(values), values, np.nan)
    empty = np.isnan(values).all(axis=0)  # a column that says nothing must not hide the others
    return values[:, ~empty] if not empty.all() else values


def _describe(table: pd.DataFrame, known: Ids) -> _Sites:
    """Gather what the table says of the rows `known`."""
    central = site_descriptors(table)[list(DESCRIPTOR_COLUMNS)].to_numpy(float)
    return _Sites(
        central=central[known],
        place=_places(table)[known],
        frame=table["frame"].to_numpy(np.int64)[known],
        is_atom=table["kind"].isin(["atom", "vacancy"]).to_numpy()[known],
        is_vacancy=(table["kind"] == "vacancy").to_numpy()[known],
    )


def _places(table: pd.DataFrame) -> Ids:
    """Lattice site of each row; a number of its own for each row that is not linked."""
    for name in ("lattice_track_id", "track_id"):
        if name in table:
            place = table[name].fillna(-1).to_numpy(np.int64)
            return np.where(place >= 0, place, -1 - np.arange(len(place)))
    return np.arange(len(table), dtype=np.int64)


def _hosts(
    values: Array, sites: _Sites, n_features: int, rng: np.random.Generator
) -> tuple[list[_Part], Array]:
    """Fit the host, or the few large separate ones; return them and the scores (N, D) they are of.

    The axes are divided by the spread *within* the hosts.
    """
    n_axes = max(1, min(n_features, len(values) // _SITES_PER_AXIS))
    scores = np.zeros((len(values), 0))
    if len(values):
        scores = gaussians.principal_scores(gaussians.robust_scale(values), n_axes)
    if not scores.size:
        return [], scores
    labels = _join_hosts(gaussians.split_hosts(scores, rng), sites)
    centred = scores.copy()
    for number in np.unique(labels):
        centred[labels == number] -= np.median(scores[labels == number], axis=0)
    spread = 1.4826 * np.median(np.abs(centred), axis=0)
    scores /= np.where(spread > 1e-9 * scores.std(axis=0), spread, scores.std(axis=0))
    hosts = [
        _Part(
            gaussians.fit_host(scores[labels == number]),
            float(np.mean(labels == number)),
            is_host=True,
        )
        for number in np.unique(labels)
    ]
    return sorted(hosts, key=lambda host: -host.weight), scores


def _join_hosts(labels: Ids, sites: _Sites) -> Ids:
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
    sites: _Sites,
    config: UnitConfig,
    rng: np.random.Generator,
) -> list[_Part]:
    """Hosts, and the components of what is not host that recur, with their weights."""
    if not hosts:
        return []
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
    parts = [dataclasses.replace(host, weight=host.weight * (1 - share)) for host in hosts]
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


def _group(
    scores: Array, parts: list[_Part], sites: _Sites, config: UnitConfig
) -> tuple[Ids, Array, list[int]]:
    """Unit and probability of each site, and which units are hosts.

    Unit 0 is the largest host, the others follow by decreasing count.
    """
    if not parts:  # nothing varies: all are alike
        return np.zeros(len(scores), np.int64), np.ones(len(scores)), [0]
    density = np.stack([part.gaussian.log_density(scores) for part in parts], axis=1)
    share = softmax(density + np.log([max(part.weight, 1e-12) for part in parts]), axis=1)
    fine = np.argmax(share, axis=1)
    groups = _collapse(parts, fine, sites)
    _merge(groups, parts, fine, scores, config.max_units)
    joint = np.stack([share[:, members].sum(axis=1) for members in groups.values()], axis=1)
    unit = np.argmax(joint, axis=1)
    count = np.bincount(unit, minlength=len(groups)).astype(float)
    count[0] *= np.inf if count[0] else 1.0  # the largest host stays first, whatever the rest
    order = np.argsort(-count, kind="stable")
    order = order[count[order] > 0]
    rank = np.full(len(groups), -1)
    rank[order] = np.arange(len(order))
    is_host = [any(parts[member].is_host for member in members) for members in groups.values()]
    hosts = sorted(int(number) for number in rank[is_host] if number >= 0)
    return rank[unit].astype(np.int64), np.minimum(joint.max(axis=1), 1.0), hosts


def _collapse(parts: list[_Part], fine: Ids, sites: _Sites) -> dict[int, list[int]]:
    """Groups of components by their first member; those that look like a host have joined it."""
    groups = {number: [number] for number, part in enumerate(parts) if part.is_host}
    hosts = list(groups)
    typical = [
        appearance.median_of_known(appearance.comparable(sites.central[fine == number]))
        for number in range(len(parts))
    ]
    for number, part in enumerate(parts):
        if part.is_host:
            continue
        rows = fine == number
        alike = [host for host in hosts if appearance.look_alike(typical[number], typical[host])]
        if alike and rows.any() and _what(rows, sites) == "atom":
            nearest = min(
                alike, key=lambda host: _remoteness(part.gaussian, [parts[host].gaussian])
            )
            groups[nearest].append(number)
        else:
            groups[number] = [number]
    return groups


def _merge(
    groups: dict[int, list[int]], parts: list[_Part], fine: Ids, scores: Array, max_units: int
) -> None:
    """Merge the closest groups until there are `max_units`; hosts and rare ones last.

    The distance is weighted by the number of sites that the merger would mix up, as in Ward's
    method: else one atom seen twenty times, a tight cluster, outlasts two large units.
    """
    clouds = {key: scores[np.isin(fine, members)] for key, members in groups.items()}
    for key in [key for key, cloud in clouds.items() if key and not len(cloud)]:
        del groups[key], clouds[key]  # outshone everywhere
    while len(groups) > max_units:
        free = [key for key in groups if not parts[key].is_host and not parts[key].is_rare]
        if len(free) < 2:
            free = [key for key in groups if not parts[key].is_host]
        if len(free) < 2:
            free = list(groups)
        pairs = [(a, b) for i, a in enumerate(free) for b in free[i + 1 :]]
        costs = [_merging_cost(clouds[a], clouds[b]) for a, b in pairs]
        a, b = pairs[int(np.argmin(costs))]
        groups[a] += groups.pop(b)
        clouds[a] = np.concatenate([clouds[a], clouds.pop(b)])


def _merging_cost(one: Array, other: Array) -> float:
    """Bhattacharyya distance times the reduced number of sites."""
    reduced = len(one) * len(other) / (len(one) + len(other))
    return reduced * gaussians.bhattacharyya_distance(one, other)


def _summarise(unit: Ids, hosts: list[int], sites: _Sites) -> pd.DataFrame:
    """One row for each unit."""
    columns = {"unit": "int64", "name": "str", "count": "int64", "share": "float64"}
    columns |= {"n_places": "int64", **dict.fromkeys(DESCRIPTOR_COLUMNS, "float64")}
    summary = pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in columns.items()})
    numbers = np.arange(unit.max(initial=-1) + 1)
    if not len(numbers):
        return summary
    members = [unit == number for number in numbers]
    central = np.stack([appearance.median_of_known(sites.central[rows]) for rows in members])
    host = central[0, -1] if central[0, -1] > 0 else np.nan
    central[:, -2:] /= host
    what = np.array([_what(rows, sites) for rows in members])
    summary = pd.DataFrame(
        {
            "unit": numbers,
            "name": appearance.unit_names(central, what, hosts),
            "count": [rows.sum() for rows in members],
            "share": [rows.mean() for rows in members],
            "n_places": [len(np.unique(sites.place[rows])) for rows in members],
            **dict(zip(DESCRIPTOR_COLUMNS, central.T, strict=True)),
        }
    )
    return summary.astype(columns)


def _symmetry(table: pd.DataFrame, unit: Ids, model: RVAE, pixel_pm: float | None) -> pd.DataFrame:
    """Symmetry of each unit, one row for each."""
    # loads torch, which only those who have a model want
    from napari_rvae.vae.symmetry import decoded_symmetry

    names = tables.latent_names(table)
    spread = [f"{name}_sd" for name in names]
    found = decoded_symmetry(
        model,
        table[names].to_numpy(float),
        z_sd=table[spread].to_numpy(float) if set(spread) <= set(table) else None,
        unit=unit,
        pixel_pm=pixel_pm,
    )
    return found.rename(columns={"verdict": "symmetry", "order": "symmetry_order"})


def _what(rows: Mask, sites: _Sites) -> str:
    """Which kind of site most of a unit's sites are."""
    if sites.is_vacancy[rows].mean() > 0.5:
        return "vacancy"
    return "atom" if sites.is_atom[rows].mean() > 0.5 else "other"
