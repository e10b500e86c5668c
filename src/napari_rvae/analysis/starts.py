"""In how many of the other starts of the search a unit was found again."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_rvae.analysis.units.result import agreement_of_starts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_rvae.analysis.units import Units

__all__ = ["NO_STARTS", "Starts", "count_starts"]

#: A unit is found again by a group of another start that has so many of the sites of either: no
#: second group can, nor can the group be another unit.
_SAME = 0.5


class Starts(NamedTuple):
    """In how many other starts a unit was found, of how many."""

    found: int
    total: int

    @property
    def are_few(self) -> bool:
        """Whether fewer than half of the starts found it."""
        return 2 * self.found < self.total

    @property
    def text(self) -> str:
        """It in words; "" where there were no other starts."""
        if not self.total:
            return ""
        if self.total == 1:
            return "found again in the other start" if self.found else "not in the other start"
        number = {0: "none", self.total: "all"}.get(self.found, str(self.found))
        of = " " if number == "all" else " of "
        return f"found again in {number}{of}{self.total} other starts"


#: Nobody has looked.
NO_STARTS = Starts(0, 0)


def count_starts(units: Units) -> dict[int, Starts]:
    """Count the starts that found each unit again: half of the sites of either are in both.

    Parameters
    ----------
    units
        What :func:`~napari_rvae.find_units` returned, or an edit of it.

    Returns
    -------
    dict
        By the number of the unit; empty for units of an older run.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import find_units
    >>> from napari_rvae.analysis.starts import count_starts
    >>> from napari_rvae.tables import make_sites
    >>> y, x = 10.0 * np.indices((30, 30)).reshape(2, -1)
    >>> z = np.random.default_rng(0).normal(size=900) + 20 * (y < 140)
    >>> units = find_units(make_sites(frame=0, y=y, x=x, z0=z))
    >>> count_starts(units)[0].text
    'found again in all 5 other starts'
    """
    if units.model is None:
        return {}
    finer = units.environments
    return {
        unit: _count(
            units.model.starts, finer.loc[finer["unit"] == unit, "environment"].to_numpy(np.int64)
        )
        for unit in units.names
    }


def _count(starts: NDArray[np.float64], members: NDArray[np.int64]) -> Starts:
    """Count the starts whose best group shares enough sites with some environments."""
    if not starts.size:
        return NO_STARTS
    best = agreement_of_starts(starts, members)
    return Starts(int((best >= _SAME).sum()), len(best))
