"""Options of structural units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from napari_rvae.config.base import Config, option

__all__ = ["UnitConfig"]


@dataclass(frozen=True, kw_only=True)
class UnitConfig(Config):
    """Options of :func:`napari_rvae.find_units`.

    Examples
    --------
    >>> from napari_rvae import UnitConfig
    >>> UnitConfig(min_places=8).mirror
    True
    """

    #: Options of earlier versions, which runs may hold: the number of units is found now.
    _RETIRED: ClassVar[frozenset[str]] = frozenset(
        {"max_units", "outlier_level", "min_sites", "min_tracks", "max_rare"}
    )

    n_features: int = option(
        40,
        "Principal components of the features that are kept.",
        low=1,
        high=256,
        advanced=True,
        label="Features",
    )
    n_components: int = option(
        60,
        "Environments that the sites are split into before what is alike is merged.",
        low=2,
        high=500,
        advanced=True,
        label="Environments",
    )
    min_places: int = option(
        4,
        "What occurs at fewer places of the lattice is irregular, not a unit of its own.",
        low=1,
        high=1000,
        label="Fewest places",
    )
    geometry: bool = option(
        True,
        "Groups of unusual rings of bonds that recur, such as 5-7 pairs, are told apart from all "
        "else (without usual rings in the material this changes nothing); distorted or "
        "turned atoms go to the unit of distorted atoms that they are bonded to.",
        label="Bonds and rings",
    )
    mirror: bool = option(
        True,
        "Surroundings and their mirror image are one unit.",
        label="Join mirror images",
    )
    n_starts: int = option(
        5,
        "The search is repeated from so many other starts to see how stable the units are.",
        low=0,
        high=50,
        advanced=True,
        label="Other starts",
    )
    seed: int = option(0, "Start of the random numbers.", low=0, advanced=True, label="Random seed")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Make the options from a dictionary; those of earlier versions are left out."""
        return super().from_dict({k: v for k, v in values.items() if k not in cls._RETIRED})
