"""One card for each structural unit: what it looks like, where and when it occurs, how sure it is.

Everything goes through public tables and the model's public methods, so it works for both engines,
for the baselines, and, with less on each card, without any model.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from napari_rvae.analysis.appearance import unit_colour
from napari_rvae.analysis.shares import count_units, join_units
from napari_rvae.analysis.stands import (
    open_sides,
    site_rings,
    stands_beside,
    typical_rings,
    typical_sites,
    unsure_sites,
)
from napari_rvae.analysis.starts import NO_STARTS, Starts, count_starts
from napari_rvae.analysis.unit_pictures import NO_MEAN, UnitPictures
from napari_rvae.analysis.units.wall_names import are_walls
from napari_rvae.analysis.wording import Host, describe_card, describe_walls
from napari_rvae.blas import one_blas_thread

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_rvae.analysis.explain import Model
    from napari_rvae.analysis.motif import Motif
    from napari_rvae.analysis.units import Units
    from napari_rvae.crops import Crops

    Ids = NDArray[np.int64]
    Picture = NDArray[np.float32]

__all__ = ["UnitCard", "unit_cards"]

#: Orders of the symmetry deviations.
_ORDERS = (2, 3, 4, 6)
#: A unit that agrees less with other starts is doubtful, where nobody has counted them.
_SHAKY = 0.5


@dataclass(frozen=True, eq=False)
class UnitCard:
    """What there is to say of one structural unit.

    Attributes
    ----------
    unit, name, color
        Its number, name and colour ("#rrggbb").
    count, share
        Sites of it, and their share of the sites that have a unit, 0 to 1.
    stability
        How well it was found again from other random starts, 0 to 1: sites in both over sites in
        either, the mean over the starts; NaN where nobody has looked.
    starts
        In how many of these starts it was found again, ``found`` of ``total``: half of the sites of
        either are in both. 0 of 0 where nobody has looked.
    probability
        Median of its sites' ``unit_probability``; NaN where unknown.
    symmetry
        "3-fold", "no symmetry", "cannot tell", ...; "" without a model.
    deviations
        Deviation from each order of symmetry, in pixels of the crops.
    decoded
        The model's picture (S, S) at the median latents, first channel, NaN beyond the disc; None
        where there is no model or no latents. All cards are turned alike: so that the host's
        brightest neighbour lies to the right.
    mean_crop
        Mean of the unit's crops (S, S), turned like the decoded picture; None without crops.
    n_crops
        How many crops that is the mean of.
    motif
        Atoms and bonds of the decoded picture (of the mean crop, where the model knows no angle, or
        there is none); None without either.
    spacing
        Neighbour distance in pixels of the pictures; NaN where unknown.
    shares
        One row for each frame, see :func:`~napari_rvae.analysis.shares.count_units`.
    beside
        Which units stand beside it: ``unit``, ``name``, ``share`` of its neighbours, ``per_site``.
    open_side
        Widest angle (radians) without atoms around the typical site; NaN where unknown.
    rings
        Sizes of the rings of bonds that meet at most of its sites, 9 for any larger one; empty
        where they differ, or are not known.
    typical, unsure
        ``site_id`` of the sites that are most like the unit's middle, each of another lattice
        site where these are known, and of those that are the least sure.
    typical_crops, unsure_crops
        Their crops (n, S, S), turned like the decoded picture; empty without crops.
    caption
        All of it in plain words.
    """

    unit: int
    name: str
    color: str
    count: int
    share: float
    stability: float = math.nan
    starts: Starts = NO_STARTS
    probability: float = math.nan
    symmetry: str = ""
    deviations: Mapping[int, float] = field(default_factory=dict)
    decoded: Picture | None = None
    mean_crop: Picture | None = None
    n_crops: int = 0
    motif: Motif | None = None
    spacing: float = math.nan
    shares: pd.DataFrame = field(default_factory=pd.DataFrame)
    beside: pd.DataFrame = field(default_factory=pd.DataFrame)
    open_side: float = math.nan
    rings: tuple[int, ...] = ()
    typical: Ids = field(default_factory=lambda: np.empty(0, np.int64))
    unsure: Ids = field(default_factory=lambda: np.empty(0, np.int64))
    typical_crops: Picture = field(default_factory=lambda: np.empty((0, 0, 0), np.float32))
    unsure_crops: Picture = field(default_factory=lambda: np.empty((0, 0, 0), np.float32))
    caption: str = ""

    @property
    def is_doubtful(self) -> bool:
        """Whether fewer than half of the other starts found it again."""
        return self.starts.are_few if self.starts.total else self.stability < _SHAKY

    def __repr__(self) -> str:
        """Return what it is in one line."""
        return f"UnitCard({self.unit}, {self.name!r}, {self.count} sites)"


@one_blas_thread()
def unit_cards(
    units: Units,
    table: pd.DataFrame,
    *,
    model: Model | None = None,
    crops: Crops | None = None,
    frames_table: pd.DataFrame | None = None,
    elements: Mapping[str, str] | None = None,
    n_examples: int = 6,
) -> list[UnitCard]:
    """Describe every unit: pictures, atoms and bonds, when it occurs, what stands beside it.

    Parameters
    ----------
    units
        What :func:`~napari_rvae.find_units` returned.
    table
        The sites table; with the latents for decoded pictures, and with ``angle`` or crops for
        mean ones.
    model
        The model of the latents (also a baseline); None for no decoded pictures.
    crops
        Crops of the sites, or of some of them; None for no mean pictures.
    frames_table
        ``frames.table``: adds ``time`` and ``dose`` to the shares.
    elements
        What to call the classes of brightness (:class:`~napari_rvae.analysis.motif.Motif`), such
        as ``{"A": "C", "A+": "Si"}``.
    n_examples
        Number of typical and of unsure sites on each card.

    Returns
    -------
    list of UnitCard
        One for each unit of the summary, in its order. What cannot be told is None, NaN or empty.

    Raises
    ------
    InputError
        If the units are of other sites, or the model does not fit the latents.

    Notes
    -----
    The gauge of the model turns canonical pictures alike over all latents, so one common turn
    makes all cards comparable. A model without angles (a baseline), or none, leaves this open:
    then each unit's crops are laid on one another, and each picture is turned by itself.

    Examples
    --------
    >>> import pandas as pd
    >>> from napari_rvae import Units, unit_cards
    >>> from napari_rvae.tables import make_sites
    >>> sites = make_sites(frame=0, y=[5.0, 5.0, 5.0], x=[10.0, 20.0, 30.0])
    >>> table = sites[["site_id"]].assign(unit=[0, 1, 0], unit_probability=1.0)
    >>> summary = pd.DataFrame({"unit": [0, 1], "name": ["end", "middle"], "count": [2, 1]})
    >>> cards = unit_cards(Units(table, summary), sites)
    >>> cards[1].beside[["name", "per_site"]].to_numpy().tolist()
    [['end', 2.0]]
    """
    sites = join_units(units, table)
    summary = units.summary.reset_index(drop=True)
    facts = _Facts(
        sites=sites,
        pictures=UnitPictures.make(sites, summary, model, crops),
        shares=count_units(units, table, frames_table),
        beside=stands_beside(sites, units.names),
        open_side=open_sides(sites),
        rings=site_rings(sites),
        starts=count_starts(units),
        crops=crops,
    )
    levels = facts.pictures.hosts(summary)
    rows = [row for _, row in summary.iterrows()]
    cards = [
        dataclasses.replace(card, motif=facts.pictures.motif(card.unit, levels, elements))
        for card in (_card(row, facts, n_examples) for row in rows)
    ]
    is_host = [bool(row.get("is_host", place == 0)) for place, row in enumerate(rows)]
    first = is_host.index(True) if any(is_host) else 0
    described, walls = [], are_walls(sites)
    for card, row in zip(cards, rows, strict=True):
        here = sites[sites["unit"] == card.unit]
        host = Host(cards[first], rows[first], is_alone=sum(is_host) < 2)
        what = describe_walls(here, sites) if walls else ""
        is_vacancy = bool((here["kind"] == "vacancy").mean() > 0.5)
        described.append(describe_card(card, row, host, what=what, is_vacancy=is_vacancy))
    return described


class _Facts(NamedTuple):
    """What was found of all units together."""

    sites: pd.DataFrame
    pictures: UnitPictures
    shares: pd.DataFrame
    beside: pd.DataFrame
    open_side: pd.Series[float]
    rings: pd.DataFrame
    starts: dict[int, Starts]
    crops: Crops | None


def _card(row: pd.Series[Any], facts: _Facts, n_examples: int) -> UnitCard:
    """Card of one row of the summary, without atoms and words."""
    sites, pictures, unit = facts.sites, facts.pictures, int(row["unit"])
    here = sites[sites["unit"] == unit]
    mean = pictures.means.get(unit, NO_MEAN)
    known = [order for order in _ORDERS if f"deviation_{order}" in row]
    shares, beside = facts.shares, facts.beside
    typical, unsure = typical_sites(here, n_examples), unsure_sites(here, n_examples)
    return UnitCard(
        unit=unit,
        name=str(row["name"]),
        color=_color(row),
        count=int(row["count"]),
        share=_number(row, "share", len(here) / max(int((sites["unit"] >= 0).sum()), 1)),
        stability=_number(row, "stability"),
        starts=facts.starts.get(unit, NO_STARTS),
        probability=_median(here["unit_probability"]),
        symmetry=str(row.get("symmetry", "")),
        deviations={order: _number(row, f"deviation_{order}") for order in known},
        decoded=pictures.decoded.get(unit),
        mean_crop=mean.picture,
        n_crops=mean.n_crops,
        spacing=pictures.spacing,
        shares=shares[shares["unit"] == unit].drop(columns="unit").reset_index(drop=True),
        beside=beside[beside["of"] == unit].drop(columns="of").reset_index(drop=True),
        open_side=_median(facts.open_side[here.index]),
        rings=typical_rings(facts.rings.loc[here.index]),
        typical=typical,
        unsure=unsure,
        typical_crops=pictures.examples(here, typical, facts.crops),
        unsure_crops=pictures.examples(here, unsure, facts.crops),
    )


def _number(row: pd.Series[Any], name: str, default: float = math.nan) -> float:
    return float(row[name]) if name in row and pd.notna(row[name]) else default


def _median(values: pd.Series[Any]) -> float:
    known = values.dropna()
    return float(known.median()) if len(known) else math.nan


def _color(row: pd.Series[Any]) -> str:
    given = row.get("color")
    return given if isinstance(given, str) else unit_colour(int(row["unit"]))
