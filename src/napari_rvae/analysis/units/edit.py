"""Units changed by hand; every function returns new units and leaves the old ones as they are."""

from __future__ import annotations

import dataclasses
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_rvae.analysis.appearance import renamed, unused_name
from napari_rvae.analysis.units.result import Identity, Units, assemble, identities
from napari_rvae.analysis.units.tree import groups_at, refined
from napari_rvae.blas import one_blas_thread
from napari_rvae.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ids = NDArray[np.int64]

__all__ = ["cut_range", "cut_units", "merge_units", "rename_unit", "split_unit"]

#: Columns of the summary that tell of the decoded picture, which only the model can make anew.
_PICTURE = ("symmetry", "deviation")


def merge_units(units: Units, which: Iterable[int]) -> Units:
    """Make one unit of several.

    Parameters
    ----------
    units
        Units that were found.
    which
        Numbers of two units or more. The largest keeps its number, name and colour.

    Returns
    -------
    Units
        New units; what the summary tells of decoded pictures is missing for the merged one.

    Raises
    ------
    InputError
        If a unit is not there, fewer than two are given, or the units are of an older run.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import find_units, merge_units
    >>> from napari_rvae.tables import make_sites
    >>> y, x = 10.0 * np.indices((30, 30)).reshape(2, -1)
    >>> z = np.random.default_rng(0).normal(size=900) + 20 * (y < 140)
    >>> units = find_units(make_sites(frame=0, y=y, x=x, z0=z))
    >>> len(units), len(merge_units(units, [0, 1]))
    (2, 1)
    """
    chosen = list(dict.fromkeys(int(unit) for unit in which))
    groups = _groups(units)
    for unit in chosen:
        _check(units, unit)
    if len(chosen) < 2:
        raise InputError("Merging takes two units or more: give their numbers.")
    keeper = max(chosen, key=lambda unit: (_count(units, unit), -unit))
    joined = np.sort(np.concatenate([groups[unit] for unit in chosen]))
    merged = {unit: own for unit, own in groups.items() if unit not in chosen} | {keeper: joined}
    return _regrouped(units, list(merged.values()), list(merged))


@one_blas_thread()
def split_unit(units: Units, unit: int) -> Units:
    """Split a unit into the two that it was merged of, one step down the tree.

    Parameters
    ----------
    units
        Units that were found.
    unit
        Number of the unit. Its largest part keeps number, name and colour, the others are new.

    Returns
    -------
    Units
        New units; what the summary tells of decoded pictures is missing for the parts.

    Raises
    ------
    InputError
        If the unit is not there or one environment only, or the units are of an older run.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import find_units, merge_units, split_unit
    >>> from napari_rvae.tables import make_sites
    >>> y, x = 10.0 * np.indices((30, 30)).reshape(2, -1)
    >>> z = np.random.default_rng(0).normal(size=900) + 20 * (y < 140)
    >>> units = find_units(make_sites(frame=0, y=y, x=x, z0=z))
    >>> len(split_unit(merge_units(units, [0, 1]), 0))
    2
    """
    groups = _groups(units)
    _check(units, unit)
    parts = refined(units.tree, len(units.environments), groups[unit])
    if len(parts) < 2:
        raise InputError(
            f"Unit {unit} ({units.names[unit]}) is a single environment: there is nothing to split."
        )
    count = dict(zip(units.environments["environment"], units.environments["count"], strict=True))
    parts.sort(key=lambda part: -sum(count[int(number)] for number in part))
    others = {number: own for number, own in groups.items() if number != unit}
    owners: list[int | None] = [*others, unit, *[None] * (len(parts) - 1)]
    return _regrouped(units, [*others.values(), *parts], owners)


def rename_unit(units: Units, unit: int, name: str) -> Units:
    """Give a unit another name.

    Parameters
    ----------
    units
        Units that were found.
    unit
        Number of the unit.
    name
        Its name from now on; no other unit may have it.

    Returns
    -------
    Units
        New units; environments that are called by the old name are called by the new one.

    Raises
    ------
    InputError
        If the unit is not there, or the name is empty or taken.

    Examples
    --------
    >>> import pandas as pd
    >>> from napari_rvae import Units, rename_unit
    >>> table = pd.DataFrame({"site_id": [0], "unit": [0], "unit_probability": [1.0]})
    >>> summary = pd.DataFrame({"unit": [0], "name": ["host"], "count": [1]})
    >>> rename_unit(Units(table, summary), 0, "graphene").names
    {0: 'graphene'}
    """
    _check(units, unit)
    text = " ".join(name.split())
    if not text:
        raise InputError(f"Unit {unit} needs a name of a character at least.")
    if any(text == other and number != unit for number, other in units.names.items()):
        raise InputError(f"Another unit is called {text!r}: give a name of its own.")
    before = units.names
    names = [text if number == unit else old for number, old in before.items()]
    finer = units.environments
    called: list[str] = []
    for was, owner in zip(finer["name"], finer["unit"], strict=True):
        own = renamed(was, before.get(int(owner), ""), before[unit], text, before.values())
        called.append(unused_name(own, called))
    return dataclasses.replace(
        units,
        summary=units.summary.assign(name=names),
        environments=finer.assign(name=pd.Series(called, finer.index, "str")),
    )


def cut_units(units: Units, n_units: int) -> Units:
    """Move along the tree of mergers until so many units are left.

    Parameters
    ----------
    units
        Units that were found. Merged or split by hand, they go back to those of the tree.
    n_units
        From the number of hosts to the number of environments that have sites; beyond these, the
        nearest (:func:`cut_range`).

    Returns
    -------
    Units
        New units. A unit keeps its number, name and colour where most of its sites are; what has
        no sites is no unit, and goes with what it would join next.

    Raises
    ------
    InputError
        If `n_units` is below 1, or the units are of an older run.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import cut_units, find_units
    >>> from napari_rvae.tables import make_sites
    >>> y, x = 10.0 * np.indices((30, 30)).reshape(2, -1)
    >>> z = np.random.default_rng(0).normal(size=900) + 20 * (y < 140)
    >>> units = find_units(make_sites(frame=0, y=y, x=x, z0=z))
    >>> len(cut_units(units, len(units.environments))) == len(units.environments)
    True
    """
    if n_units < 1:
        raise InputError(f"n_units = {n_units} must be 1 or more.")
    old = _groups(units)
    count = _sites_of_environments(units)
    groups = _occupied(units.tree, count, n_units)
    owners: list[int | None] = [None] * len(groups)
    pairs = [
        (float(count[np.intersect1d(own, group)].sum()), -unit, at)
        for unit, own in old.items()
        for at, group in enumerate(groups)
    ]
    for shared, negative, at in sorted(pairs, reverse=True):
        if shared > 0 and owners[at] is None and -negative not in owners:
            owners[at] = -negative
    return _regrouped(units, groups, owners)


def cut_range(units: Units) -> tuple[int, int]:
    """Fewest and most units with sites that :func:`cut_units` can leave."""
    count = _sites_of_environments(units)
    fewest = groups_at(units.tree, len(count), 1)
    return sum(count[own].sum() > 0 for own in fewest), int((count > 0).sum())


def _sites_of_environments(units: Units) -> Ids:
    """Sites (E,) of each environment."""
    count = np.zeros(len(units.environments), np.int64)
    count[units.environments["environment"]] = units.environments["count"]
    return count


def _occupied(tree: pd.DataFrame, count: Ids, n_units: int) -> list[Ids]:
    """Groups of environments where the tree leaves so many that have sites, as near as it goes.

    Those without sites go with the largest of the groups that they join next.
    """

    def occupied(n_groups: int) -> int:
        return sum(count[own].sum() > 0 for own in groups_at(tree, len(count), n_groups))

    if not len(count):
        return []
    wanted = min(n_units, int((count > 0).sum()))
    levels = range(1, len(count) + 1)
    groups = groups_at(tree, len(count), levels[bisect_left(levels, wanted, key=occupied)])
    kept = [own for own in groups if count[own].sum() > 0]
    for empty in (own for own in groups if not count[own].sum() > 0):
        for n_groups in range(len(groups) - 1, 0, -1):
            coarser = groups_at(tree, len(count), n_groups)
            around = next(own for own in coarser if empty[0] in own)
            inside = [at for at, own in enumerate(kept) if np.isin(own, around).any()]
            if inside:
                at = max(inside, key=lambda at: int(count[kept[at]].sum()))
                kept[at] = np.sort(np.concatenate([kept[at], empty]))
                break
        else:  # of a host that is not there at all
            kept.append(empty)
    return kept


def _check(units: Units, unit: int) -> None:
    if unit not in units.names:
        raise InputError(
            f"There is no unit {unit}: choose one of {', '.join(map(str, units.names))}."
        )


def _count(units: Units, unit: int) -> int:
    return int(units.summary.loc[units.summary["unit"] == unit, "count"].iloc[0])


def _groups(units: Units) -> dict[int, Ids]:
    """Environments of each unit."""
    if units.model is None or units.evidence is None:
        raise InputError("These units are of an older run without environments: find them again.")
    finer = units.environments
    return {
        unit: finer.loc[finer["unit"] == unit, "environment"].to_numpy(np.int64)
        for unit in units.names
    }


def _regrouped(units: Units, groups: Sequence[Ids], owners: Sequence[int | None]) -> Units:
    """Units of other groups of the same environments; None owns a new one."""
    model, evidence = units.model, units.evidence
    assert model is not None and evidence is not None  # noqa: S101, PT018  (see _groups)
    named = identities(units)
    known: list[Identity | None] = [None if unit is None else named[unit] for unit in owners]
    new = assemble(
        units.table["site_id"].to_numpy(np.int64),
        evidence,
        model,
        units.tree,
        groups,
        known=known,
        environment_names=units.environments["name"].tolist(),
    )
    return dataclasses.replace(new, summary=_with_pictures(new, units))


def _with_pictures(new: Units, old: Units) -> pd.DataFrame:
    """Summary with what is known of the pictures of units that have not changed."""
    names = [name for name in old.summary if str(name).startswith(_PICTURE)]
    if not names:
        return new.summary
    groups = (units.environments.groupby("unit")["environment"].agg(tuple) for units in (new, old))
    now, before = (dict(part) for part in groups)
    pictures = old.summary.set_index("unit")[names]
    same = [unit for unit in new.names if unit in before and now.get(unit) == before[unit]]
    filled = pictures.reindex(new.summary["unit"]).reset_index(drop=True)
    changed = ~new.summary["unit"].isin(same).to_numpy()
    for name in names:
        unknown = {"symmetry": "cannot tell", "symmetry_order": -1}.get(str(name), np.nan)
        filled[name] = filled[name].mask(changed, unknown).astype(pictures[name].dtype)
    return pd.concat([new.summary, filled], axis=1)
