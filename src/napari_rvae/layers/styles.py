"""How layers look: every colour, size and default that a user sees in the viewer."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "MISSING_COLOUR",
    "ImageStyle",
    "PointStyle",
    "TrackStyle",
    "VectorStyle",
]

#: Colour of sites that have no value: at the border, of no unit.
MISSING_COLOUR = "#606060"


@dataclass(frozen=True)
class PointStyle:
    """How sites are drawn; lengths in neighbour distances."""

    size: float = 0.5
    symbol: str = "disc"
    vacancy_symbol: str = "ring"
    colour: str = "#56b4e9"
    border_width: float = 0.05
    border_colour: str = "#202020"
    colormap: str = "viridis"
    cyclic_colormap: str = "hsv"
    percentiles: tuple[float, float] = (1.0, 99.0)


@dataclass(frozen=True)
class VectorStyle:
    """How directions are drawn; lengths in neighbour distances."""

    length: float = 0.45
    width: float = 0.07
    colormap: str = "hsv"
    faintest: float = 0.1


@dataclass(frozen=True)
class TrackStyle:
    """How tracks are drawn."""

    colormap: str = "turbo"
    tail_length: int = 20
    tail_width: int = 2


@dataclass(frozen=True)
class ImageStyle:
    """How pictures are drawn."""

    colormap: str = "gray"
    percentiles: tuple[float, float] = (0.5, 99.8)
    opacity: float = 1.0
    blending: str = "translucent"
