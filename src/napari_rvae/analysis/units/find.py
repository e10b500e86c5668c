"""Finding units, and recognising them in another movie."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_rvae import tables
from napari_rvae.analysis.units.contact import with_contacts
from napari_rvae.analysis.units.match import recognised
from napari_rvae.analysis.units.result import Units, assemble, identities
from napari_rvae.analysis.units.ring_codes import UNKNOWN, ring_words
from napari_rvae.analysis.units.rings import find_ring_groups
from napari_rvae.analysis.units.search import Steps, search
from napari_rvae.analysis.units.sites import describe_sites
from napari_rvae.analysis.units.space import feature_values
from napari_rvae.analysis.units.surroundings import bonds_of, environment_names, turns_of
from napari_rvae.analysis.units.tree import groups_at
from napari_rvae.analysis.units.unknown import at_new_rings, without_strange
from napari_rvae.analysis.units.wall_names import are_walls, wall_unit_names
from napari_rvae.blas import one_blas_thread
from napari_rvae.config import UnitConfig
from napari_rvae.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_rvae.analysis.units.model import UnitModel
    from napari_rvae.analysis.units.sites import Evidence
    from napari_rvae.vae import RVAE

    Array = NDArray[np.float64]
    Ids = NDArray[np.int64]

__all__ = ["apply_units", "find_units"]

_LOG = logging.getLogger(__name__)

#: Crops of the training have a residual of about 1; where the median is larger than this, the model
#: does not know such crops. A fifth of the dose gives about 1.4.
_MISFIT = 5.0
#: Steps of recognising units: the sites are described, recognised, and those in contact joined.
_APPLYING = 3


@one_blas_thread()
def find_units(
    table: pd.DataFrame,
    config: UnitConfig | None = None,
    *,
    features: pd.DataFrame | None = None,
    model: RVAE | None = None,
    pixel_pm: float | None = None,
    like: Units | None = None,
    progress: Callable[[int, int], bool | None] | None = None,
    **overrides: Any,
) -> Units:
    """Find the structural units of a sites table.

    Parameters
    ----------
    table
        Sites table, best with ``amplitude``. A unit must recur on several lattice sites
        (``lattice_track_id``), and the noise of a frame goes by averaging: the sites of a movie
        that are not linked yet are linked for it (:func:`~napari_rvae.with_tracks`). Without
        `features` it needs the latents ``z0``, ``z1``, ...
    config
        Options.
    features
        One row for each crop: ``site_id`` and any number of columns that do not change when the
        crop is turned (:meth:`~napari_rvae.RVAE.invariants`). Sites without a row have no unit;
        the log says so where they have latents.
    model
        The model that made the table's latents ``z0``, ``z0_sd``, ...: the summary then tells how
        symmetric each unit is.
    pixel_pm
        Size of a pixel of the model's crops in pm, in which symmetry is judged then.
    like
        Units of an earlier search, on these sites or others: a unit that is recognisably the same
        keeps its number, name and colour.
    progress
        Called as ``progress(done, total)`` after each step, and within; False stops.
    **overrides
        Single options of :class:`~napari_rvae.UnitConfig`.

    Returns
    -------
    Units
        Unit 0 is the host, the others follow by decreasing number of sites. A site without
        features has unit -1, and so has one that looks like no unit, and what it is occurs at
        fewer than ``min_places`` places. A perovskite has several hosts, one for each sublattice.
        Sites without amplitudes, such as those of a grid, are one unit where the model uses none of
        the table's latents (``z0``, ``z0_sd``, ...): features of pure noise fall into groups, too.
        Units of sites along walls are named by what most of their sites are, such as "straight
        180-degree wall", "junction of walls", "ferroelastic wall".

    Raises
    ------
    InputError
        If there are neither features nor latents, or they do not fit the sites.
    Cancelled
        If `progress` returned False.

    Notes
    -----
    Features are scaled robustly and reduced to ``n_features`` principal axes, in which the noise,
    measured from successive sightings of the same places, is made the identity. Sightings of a
    place are averaged as long as they look the same. These means are cut into ``n_components``
    environments by Ward's method, far more than there are units, and merged again: an environment
    whose *central* atom looks like the host's (neighbours, bond order, bond length, amplitude,
    brightness of the neighbours) joins it; what occurs at fewer than ``min_places`` places is put
    together as irregular; of the rest, those are merged that have no valley between them along the
    line that joins their middles. The search is repeated from ``n_starts`` other starts that see a
    part of the places: what they do not find again is no unit, and slices of a defect that they cut
    otherwise are one (``geometry``). Then atoms of a host that are distorted, or turned against
    their neighbours, and bonded to a unit of distorted atoms go to that (``geometry``). Several
    hosts are looked for first: clusters of a fifth of the sites or more, with a valley between
    them, whose central atoms differ.

    The probability of an environment is its share of the density at the mean of the site's
    sightings, that of a unit the sum over its environments. It knows nothing of the errors of the
    model itself, so it is too sure. Species are told apart by amplitude; where there is none,
    only what lies in the host's own distribution joins it.

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
    # in the order of the sites' numbers, so that the order of the rows does not matter
    order = np.argsort(table["site_id"].to_numpy(), kind="stable")
    ordered = table.iloc[order]
    values, columns = feature_values(ordered, features)
    known = np.flatnonzero(np.isfinite(values).all(1))
    if features is not None or not len(known):
        _tell_missing(ordered, known)
    step = Steps(progress, 3 + config.n_starts)
    evidence = describe_sites(ordered, lambda _done, _total: step.tick())
    rings = find_ring_groups(ordered, step.tick).of(known) if config.geometry else None
    bonds = bonds_of(ordered, step.tick)
    if not _tells_apart(ordered, evidence):
        values = np.where(np.isfinite(values), 0.0, np.nan)
    turn = np.full(len(table), np.nan)
    if config.geometry:
        turn = turns_of(ordered, evidence, bonds)
    here = evidence.of(known), rings, _among(bonds, known, len(table)), turn[known]
    found = search(values[known], columns, *here, config=config, step=step)
    membership = np.full((len(table), found.model.n_environments), np.nan)
    membership[known] = found.membership
    groups = groups_at(found.tree, found.model.n_environments, found.n_units)
    if found.model.bonded:
        membership = with_contacts(membership, groups, found.model, evidence, bonds, turn)
    step.tick()
    back = np.argsort(order)
    units = assemble(
        table["site_id"].to_numpy(np.int64),
        dataclasses.replace(evidence, membership=membership).of(back),
        found.model,
        found.tree,
        groups,
    )
    if like is not None:
        units = _called_like(units, like)
    if len(units) and are_walls(table):
        units = _named_as_walls(units, table, like)
    if len(units):
        finer = units.environments.assign(name=environment_names(units, table, order[bonds]))
        units = dataclasses.replace(units, environments=finer)
    if model is not None:
        symmetry = _symmetry(table, units.table["unit"].to_numpy(), model, pixel_pm)
        summary = units.summary.merge(symmetry, on="unit", how="left")
        units = dataclasses.replace(units, summary=summary)
    return units


def _tells_apart(table: pd.DataFrame, evidence: Evidence) -> bool:
    """Whether anything but noise may tell the sites apart; the log says so where nothing does.

    Features of pure noise have valleys of their own: products of its harmonics are seldom near
    zero. Where atoms have a brightness, their looks decide, whatever the model uses.
    """
    used = tables.latents_in_use(table)
    if used.any() or not used.size or np.isfinite(evidence.central[:, -1]).any():
        return True
    _LOG.warning(
        "No latent is in use: the model takes all crops for the same, and so they are one unit. "
        "Train longer, or the crops do not differ by more than noise."
    )
    return False


def _among(bonds: Ids, rows: Ids, count: int) -> Ids:
    """Bonds between some of `count` rows, by their place among these."""
    position = np.full(count, -1, np.int64)
    position[rows] = np.arange(len(rows))
    both: Ids = position[bonds]
    return both[(both >= 0).all(axis=1)]


def _named_as_walls(units: Units, table: pd.DataFrame, like: Units | None) -> Units:
    """Return units of walls with names of their own, but for those that are known."""
    kept = {} if like is None else {unit: like.names.get(unit) for unit in units.names}
    names = wall_unit_names(units, table, {unit: name for unit, name in kept.items() if name})
    return dataclasses.replace(units, summary=units.summary.assign(name=list(names.values())))


def _called_like(units: Units, old: Units) -> Units:
    """Return the units with the numbers, names and colours of those that they are found to be."""
    if units.model is None or units.evidence is None:
        return units
    same = recognised(units, old)
    owned = units.environments.groupby("unit")["environment"].agg(list)
    return assemble(
        units.table["site_id"].to_numpy(np.int64),
        units.evidence,
        units.model,
        units.tree,
        [np.array(own, np.int64) for own in owned],
        known=[same.get(int(str(unit))) for unit in owned.index],
        first_free=max(old.names, default=-1) + 1,
    )


@one_blas_thread()
def apply_units(
    units: Units,
    table: pd.DataFrame,
    *,
    features: pd.DataFrame | None = None,
    progress: Callable[[int, int], bool | None] | None = None,
) -> Units:
    """Recognise units in the sites of another movie.

    Parameters
    ----------
    units
        Units that were found, and perhaps edited.
    table
        Sites table of the other movie, described as the one that the units were found in.
    features
        One row for each crop, by the same model as the features then
        (:meth:`~napari_rvae.RVAE.invariants`); without them the latents of the table.
    progress
        Called as ``progress(done, total)`` after each step, and within; False stops.

    Returns
    -------
    Units
        The same units with the same numbers, names and colours, counted anew; those that do not
        occur have a count of 0. A site that is like none of them has unit -1, and the log says how
        many there are: its features lie beyond those that the units were found by, and its atom
        has another brightness, another number of neighbours or other neighbours than those of
        every unit; or it is at a group of unusual rings, a gap or an edge that recurs here and
        that no unit is at (``geometry``).

    Raises
    ------
    InputError
        If the units are of an older run, or the features are of another model.
    Cancelled
        If `progress` returned False.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import apply_units, find_units
    >>> from napari_rvae.tables import make_sites
    >>> y, x = 10.0 * np.indices((10, 10)).reshape(2, -1)
    >>> z = np.random.default_rng(0).normal(size=100)
    >>> sites = make_sites(frame=0, y=y, x=x, z0=z)
    >>> apply_units(find_units(sites), sites.iloc[:40]).summary["count"].tolist()
    [40]
    """
    if units.model is None:
        raise InputError("These units are of an older run without environments: find them again.")
    table = tables.validate_sites(table)
    values, known = _values_by(units.model, table, features)
    membership = np.full((len(table), units.model.n_environments), np.nan)
    if features is not None:
        _tell_missing(table, np.flatnonzero(known))
    step = Steps(progress, _APPLYING)
    evidence = describe_sites(table, lambda _done, _total: step.tick())
    rings = find_ring_groups(table, step.tick)
    step.done()
    membership[known], outside = units.model.recognise(
        values[known],
        evidence.place[known],
        rings.code[known] if units.model.ring.any() else None,
        step.tick,
    )
    step.done()
    owned = units.environments.groupby("unit")["environment"].agg(list)
    groups = [np.array(own, np.int64) for own in owned]
    beyond = np.zeros(len(table), bool)
    beyond[known] = outside
    cut = rings.code == UNKNOWN
    if _is_misfit(table, known):
        membership[beyond] = np.nan
    membership = without_strange(units, groups, membership, beyond, evidence, cut)
    is_new, new = at_new_rings(units.model, rings, evidence)
    membership[is_new] = np.nan
    if units.model.bonded:
        bonds = bonds_of(table, step.tick)
        turn = turns_of(table, evidence, bonds)
        membership = with_contacts(membership, groups, units.model, evidence, bonds, turn)
    step.done()
    _tell_unknown(membership, known, new)
    named = identities(units)
    return assemble(
        table["site_id"].to_numpy(np.int64),
        dataclasses.replace(evidence, membership=membership),
        units.model,
        units.tree,
        groups,
        known=[named[int(str(unit))] for unit in owned.index],
        environment_names=units.environments["name"].tolist(),
    )


def _values_by(
    model: UnitModel, table: pd.DataFrame, features: pd.DataFrame | None
) -> tuple[Array, NDArray[np.bool_]]:
    """Values (N, K) that the units were found by, and which sites (N,) have all of them."""
    values, columns = feature_values(table, features)
    position = {name: at for at, name in enumerate(columns)}
    missing = [name for name in model.space.columns if name not in position]
    if missing and len(table):
        raise InputError(
            f"The features lack {missing[0]!r} that the units were found by: take those of the "
            "same model."
        )
    if missing:
        return np.zeros((0, len(model.space.columns))), np.zeros(0, bool)
    values = values[:, [position[name] for name in model.space.columns]]
    return values, np.asarray(np.isfinite(values).all(axis=1))


def _tell_missing(table: pd.DataFrame, known: Ids) -> None:
    """Say in the log how many crops, which are what the table has latents of, have no features.

    Or that no site has any, of whatever origin.
    """
    if not len(known):
        _LOG.warning(
            "None of the %d sites has latents or features that are numbers, and so there are no "
            "units: join those of a trained model (RVAE.transform, join_latents).",
            len(table),
        )
        return
    names = tables.latent_names(table)
    crops = np.isfinite(table[names].to_numpy(float)).all(axis=1) if names else np.zeros(0, bool)
    missing, total = int(crops.sum() - crops[known[known < len(crops)]].sum()), int(crops.sum())
    if missing:
        _LOG.warning(
            "%d of the %d crops with latents have no features, and so no unit (-1): give those of "
            "all crops (model.invariants).",
            missing,
            total,
        )


def _is_misfit(table: pd.DataFrame, known: NDArray[np.bool_]) -> bool:
    """Whether the model describes the crops far worse than those of its training."""
    if "residual" not in table:
        return False
    residual = table["residual"].to_numpy(float)[known]
    residual = residual[np.isfinite(residual)]
    middle = float(np.median(residual)) if residual.size else 0.0
    if middle <= _MISFIT:
        return False
    _LOG.warning(
        "The model describes these crops badly (median residual %.1f; in its training about 1): "
        "another contrast, dose, window or specimen. Sites unlike those of the units have none.",
        middle,
    )
    return True


def _tell_unknown(membership: Array, known: NDArray[np.bool_], new_rings: list[int]) -> None:
    """Say in the log how many of the sites with features no unit describes, and what is new."""
    unknown, total = int(np.isnan(membership[known]).any(axis=1).sum()), int(known.sum())
    if unknown:
        words = ", ".join(ring_words(code) for code in new_rings)
        _LOG.warning(
            "%d of %d sites (%.1f %%) are like none of the units and have unit -1%s: look at them, "
            "and find the units of this movie anew if there are many.",
            unknown,
            total,
            100 * unknown / total,
            f" (new here: {words})" if words else "",
        )


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
