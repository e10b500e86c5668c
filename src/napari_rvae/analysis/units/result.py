"""Units and everything that is told of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_rvae.analysis import appearance
from napari_rvae.analysis.descriptors import DESCRIPTOR_COLUMNS
from napari_rvae.analysis.units.ring_codes import USUAL, ring_words
from napari_rvae.analysis.units.sites import kind_of
from napari_rvae.analysis.units.tree import empty_tree
from napari_rvae.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_rvae.analysis.units.model import UnitModel
    from napari_rvae.analysis.units.sites import Evidence

    Array = NDArray[np.float64]
    Ids = NDArray[np.int64]

__all__ = [
    "Identity",
    "Units",
    "agreement",
    "agreement_of_starts",
    "assemble",
    "environment_medians",
    "identities",
]

_ENVIRONMENTS = {"environment": "int64", "unit": "int64", "name": "str", "count": "int64"}
_ENVIRONMENTS |= {"share": "float64", "n_places": "int64", "stability": "float64"}


def _no_environments() -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in _ENVIRONMENTS.items()})


@dataclass(frozen=True, eq=False)
class Units:
    """Structural units of a sites table.

    Nothing in it changes: an edit (:func:`~napari_rvae.merge_units`,
    :func:`~napari_rvae.split_unit`, :func:`~napari_rvae.rename_unit`,
    :func:`~napari_rvae.cut_units`) returns new units, and whoever keeps the old ones can go back.

    Parameters
    ----------
    table
        One row for each site: ``site_id`` (int64), ``unit`` (int64, -1 = none),
        ``unit_probability`` (float64, 0 to 1, NaN where there is no unit), and the finer level:
        ``environment`` (int64, -1 = none) and ``environment_probability``.
    summary
        One row for each unit: ``unit``, ``name``, ``color`` (as "#rrggbb"), ``count``, ``share``
        of the sites that have a unit, ``n_places`` (different lattice sites, or sites where they
        are not linked), ``is_host``, ``stability`` (0 to 1: how well it was found again from other
        random starts, as sites in both over sites in either), and the medians over its central
        atoms: ``coordination``, ``psi1`` to ``psi6``, ``bond_length`` in neighbour distances,
        ``neighbour_amplitude`` and ``relative_amplitude`` (host = 1). Where a model was given also
        the symmetry of the unit's decoded picture: ``symmetry`` ("3-fold", ...),
        ``symmetry_order`` and the deviations in pixels of the crops (see
        :func:`~napari_rvae.decoded_symmetry`).
    environments
        One row for each environment, the finer level: ``environment``, ``unit`` it belongs to,
        ``name`` (of its unit, and what its atoms stand beside: "C beside Si", "host, next to
        edge"), ``count``, ``share``, ``n_places``, ``stability``.
    tree
        Successive mergers, the cheapest first, from the environments up to one unit for each host:
        ``node`` (number of the new group; the environments come before), ``first`` and ``second``
        (the groups that merge), ``cost``, ``count`` (sites of the new group), ``n_groups`` (groups
        that are left).
    model
        What :func:`~napari_rvae.apply_units` recognises the units of another movie by, or None.
    evidence
        What an edit needs to know of each site, or None: then units cannot be merged or split.

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
    environments: pd.DataFrame = field(default_factory=_no_environments)
    tree: pd.DataFrame = field(default_factory=empty_tree)
    model: UnitModel | None = None
    evidence: Evidence | None = None

    def __post_init__(self) -> None:
        """Check that the tables belong together."""
        needed = {
            "table": (self.table, ("site_id", "unit", "unit_probability")),
            "summary": (self.summary, ("unit", "name", "count")),
            "environments": (self.environments, ("environment", "unit", "name", "count")),
            "tree": (self.tree, ("node", "first", "second", "cost")),
        }
        for label, (frame, names) in needed.items():
            missing = [name for name in names if name not in frame]
            if missing:
                raise InputError(f"The units' {label} lacks the column {', '.join(missing)}.")
        unknown = set(self.table["unit"].unique()) - set(self.summary["unit"]) - {-1}
        if unknown:
            raise InputError(f"The units' summary lacks the unit {min(unknown)}.")
        if self.evidence is not None and len(self.evidence.membership) != len(self.table):
            raise InputError("The evidence of the units is of other sites than their table.")

    def __len__(self) -> int:
        """Return the number of units."""
        return len(self.summary)

    def __repr__(self) -> str:
        """Return the units and their counts in one line."""
        known = int((self.table["unit"] >= 0).sum())
        counts = zip(self.summary["name"], self.summary["count"], strict=True)
        listed = ", ".join(f"{name!r} {count:,}" for name, count in counts)
        return f"Units({len(self)} in {known:,} of {len(self.table):,} sites: {listed})"

    @property
    def names(self) -> dict[int, str]:
        """Name of each unit by its number."""
        return dict(zip(self.summary["unit"].tolist(), self.summary["name"].tolist(), strict=True))

    @property
    def colors(self) -> dict[int, str]:
        """Colour of each unit, as "#rrggbb", by its number."""
        numbers = self.summary["unit"].tolist()
        if "color" in self.summary:
            return dict(zip(numbers, self.summary["color"].tolist(), strict=True))
        return {number: appearance.unit_colour(number) for number in numbers}

    @property
    def probabilities(self) -> pd.DataFrame | None:
        """Probability of every unit at each site; None for units of an older run.

        ``site_id``, and one column for each unit: ``unit_0``, ...; NaN where the site has none.
        """
        if self.evidence is None:
            return None
        owner = self.environments.set_index("environment")["unit"]
        membership = self.evidence.membership
        columns = {
            f"unit_{unit}": membership[:, owner.index[owner == unit].to_numpy(np.int64)].sum(axis=1)
            for unit in self.summary["unit"]
        }
        return pd.DataFrame({"site_id": self.table["site_id"].to_numpy(np.int64), **columns})


@dataclass(frozen=True)
class Identity:
    """What a unit keeps through edits and refits."""

    unit: int
    name: str
    color: str


def identities(units: Units) -> dict[int, Identity]:
    """Identity of each unit by its number."""
    names, colors = units.names, units.colors
    return {unit: Identity(unit, names[unit], colors[unit]) for unit in names}


def assemble(
    site_id: Ids,
    evidence: Evidence,
    model: UnitModel,
    tree: pd.DataFrame,
    groups: Sequence[Ids],
    *,
    known: Sequence[Identity | None] = (),
    environment_names: Sequence[str] = (),
    first_free: int = 0,
) -> Units:
    """Make units of groups of environments.

    Parameters
    ----------
    site_id
        Numbers (N,) of the sites.
    evidence
        What is known of the sites, with their memberships.
    model, tree
        What found them.
    groups
        Environments of each unit.
    known
        Identity of each group, None for a new one; none given: all are new.
    environment_names
        Name of each environment; none given: that of its unit, numbered.
    first_free
        Number that new units have at least.
    """
    member = evidence.membership
    has = np.isfinite(member).all(axis=1) & bool(len(groups))
    environment = np.full(len(member), -1, np.int64)
    if has.any():
        environment[has] = np.argmax(member[has], axis=1)
    named = _named(evidence, environment, model, groups, known, first_free)
    order = np.argsort([one.unit for one in named], kind="stable")
    groups, named = [groups[k] for k in order], [named[k] for k in order]
    number = np.full(max(member.shape[1], 1), -1, np.int64)
    for one, members in zip(named, groups, strict=True):
        number[members] = one.unit
    unit = np.where(has, number[environment], -1)
    shares = np.full((len(member), 2), np.nan)
    for one, members in zip(named, groups, strict=True):
        rows = unit == one.unit
        shares[rows, 0] = np.minimum(member[np.ix_(rows, members)].sum(axis=1), 1.0)
    shares[has, 1] = member[has, environment[has]]
    table = pd.DataFrame(
        {
            "site_id": site_id.astype(np.int64),
            "unit": unit,
            "unit_probability": shares[:, 0],
            "environment": environment,
            "environment_probability": shares[:, 1],
        }
    )
    summary = _summarise(unit, named, groups, evidence, model)
    finer = _list_environments(environment, number, summary, evidence, model, environment_names)
    return Units(table, summary, finer, tree, model, evidence)


def environment_medians(evidence: Evidence, environment: Ids, groups: Sequence[Ids]) -> Array:
    """Median descriptors (G, 10) of the sites of each group of environments."""
    rows = [np.isin(environment, members) for members in groups]
    return np.stack([appearance.median_of_known(evidence.central[own]) for own in rows])


def _relative(central: Array, model: UnitModel, groups: Sequence[Ids]) -> Array:
    """Medians with amplitudes relative to those of the largest host."""
    main = _main_host(model, groups)
    host = central[main, -1] if central[main, -1] > 0 else np.nan
    relative = central.copy()
    relative[:, -2:] /= host
    return relative


def _main_host(model: UnitModel, groups: Sequence[Ids]) -> int:
    """Position of the group that holds the largest host."""
    return next((k for k, own in enumerate(groups) if np.isin(model.host[:1], own).any()), 0)


def _named(
    evidence: Evidence,
    environment: Ids,
    model: UnitModel,
    groups: Sequence[Ids],
    known: Sequence[Identity | None],
    first_free: int,
) -> list[Identity]:
    """Identity of each group; new ones get the next number, a name and a colour."""
    if not groups:
        return []
    given = list(known) or [None] * len(groups)
    if all(given):
        return [one for one in given if one is not None]
    counts = [int(np.isin(environment, own).sum()) for own in groups]
    main = _main_host(model, groups)
    order = sorted(range(len(groups)), key=lambda k: (k != main, -counts[k], int(groups[k][0])))
    central = environment_medians(evidence, environment, [groups[k] for k in order])
    what = [kind_of(evidence.kind[np.isin(environment, groups[k])]) for k in order]
    hosts = [at for at, k in enumerate(order) if np.isin(model.host, groups[k]).any()]
    relative = _relative(central, model, [groups[k] for k in order])
    rings = [ring_words(_ring_of(model, groups[k])) for k in order]
    words = appearance.unit_names(relative, np.array(what), hosts, rings)
    taken = [one for one in given if one is not None]
    unit = max((one.unit for one in taken), default=-1)
    unit = max(unit, first_free - 1)
    names, colors = {one.name for one in taken}, [one.color for one in taken]
    for at, k in enumerate(order):
        if given[k] is not None:
            continue
        unit += 1
        name = appearance.unused_name(words[at], names)
        color = appearance.unused_colour(colors, is_host=at == 0)
        given[k] = Identity(unit, name, color)
        names.add(name)
        colors.append(color)
    return [one for one in given if one is not None]


def _ring_of(model: UnitModel, members: Ids) -> int:
    """Code of the rings that all environments of a group are at; 0 where they differ."""
    codes = np.unique(model.ring[members])
    return int(codes[0]) if len(codes) == 1 else USUAL


def _summarise(
    unit: Ids,
    named: Sequence[Identity],
    groups: Sequence[Ids],
    evidence: Evidence,
    model: UnitModel,
) -> pd.DataFrame:
    """One row for each unit."""
    columns = {"unit": "int64", "name": "str", "color": "str", "count": "int64"}
    columns |= {"share": "float64", "n_places": "int64", "is_host": "bool", "stability": "float64"}
    columns |= dict.fromkeys(DESCRIPTOR_COLUMNS, "float64")
    if not named:
        return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in columns.items()})
    rows = [unit == one.unit for one in named]
    total = max(int((unit >= 0).sum()), 1)
    central = np.stack([appearance.median_of_known(evidence.central[own]) for own in rows])
    central = _relative(central, model, groups)
    summary = pd.DataFrame(
        {
            "unit": [one.unit for one in named],
            "name": [one.name for one in named],
            "color": [one.color for one in named],
            "count": [int(own.sum()) for own in rows],
            "share": [own.sum() / total for own in rows],
            "n_places": [len(np.unique(evidence.place[own])) for own in rows],
            "is_host": [bool(np.isin(model.host, members).any()) for members in groups],
            "stability": [agreement(model.starts, members) for members in groups],
            **dict(zip(DESCRIPTOR_COLUMNS, central.T, strict=True)),
        }
    )
    return summary.astype(columns)


def _list_environments(
    environment: Ids,
    unit: Ids,
    summary: pd.DataFrame,
    evidence: Evidence,
    model: UnitModel,
    names: Sequence[str],
) -> pd.DataFrame:
    """One row for each environment."""
    numbers = np.arange(evidence.membership.shape[1])
    if not len(numbers) or not len(summary):
        return _no_environments()
    given = list(names)
    if not given:
        of_unit = dict(zip(summary["unit"], summary["name"], strict=True))
        taken: set[str] = set()
        for number in numbers:
            given.append(appearance.unused_name(of_unit[int(unit[number])], taken))
            taken.add(given[-1])
    rows = [environment == number for number in numbers]
    total = max(int((environment >= 0).sum()), 1)
    table = pd.DataFrame(
        {
            "environment": numbers,
            "unit": unit[numbers],
            "name": given,
            "count": [int(own.sum()) for own in rows],
            "share": [own.sum() / total for own in rows],
            "n_places": [len(np.unique(evidence.place[own])) for own in rows],
            "stability": [agreement(model.starts, np.array([number])) for number in numbers],
        }
    )
    return table.astype(_ENVIRONMENTS)


def agreement(starts: Array, members: Ids) -> float:
    """Mean of :func:`agreement_of_starts`; NaN without starts."""
    return float(agreement_of_starts(starts, members).mean()) if starts.size else float("nan")


def agreement_of_starts(starts: Array, members: Ids) -> Array:
    """Best Jaccard index (S,) of a group of environments with a group of each start.

    Parameters
    ----------
    starts
        Sites (E, S, K) of each environment in each group of each start.
    members
        Environments of the group.
    """
    inside = starts[members].sum(axis=0)  # (S, K)
    either = inside.sum(axis=1, keepdims=True) + starts.sum(axis=0) - inside
    best: Array = (inside / np.maximum(either, 1.0)).max(axis=1)
    return best
