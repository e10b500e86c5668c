"""How layers look: every colour, size and default that a user sees in the viewer."""

from __future__ import annotations

from dataclasses import dataclass

from napari_rvae.analysis.appearance import CYCLIC_COLOURS

__all__ = [
    "CYCLIC_COLOURS",
    "MISSING_COLOUR",
    "Colours",
    "ImageStyle",
    "MapStyle",
    "PointStyle",
    "TrackStyle",
    "VectorStyle",
    "WallStyle",
]

#: A colormap: the name of one of matplotlib's, or colours at equal steps round a circle.
Colours = str | tuple[str, ...]

#: Colour of sites that have no value: at the border, of no unit.
MISSING_COLOUR = "#606060"


@dataclass(frozen=True)
class PointStyle:
    """How sites are drawn; lengths in neighbour distances."""

    size: float = 0.5
    #: Sites along a wall lie close: smaller ones are rims with hardly any colour.
    wall_size: float = 0.75
    symbol: str = "disc"
    vacancy_symbol: str = "ring"
    colour: str = "#56b4e9"
    border_width: float = 0.05
    border_colour: str = "#202020"
    missing_border_colour: str = "#c8c8c8"
    colormap: Colours = "viridis"
    cyclic_colormap: Colours = CYCLIC_COLOURS
    percentiles: tuple[float, float] = (1.0, 99.0)


@dataclass(frozen=True)
class VectorStyle:
    """How directions are drawn; lengths in neighbour distances."""

    length: float = 0.45
    width: float = 0.09
    colormap: Colours = CYCLIC_COLOURS
    faintest: float = 0.35


@dataclass(frozen=True)
class WallStyle:
    """How domain walls and the rings around pinning centres are drawn; sizes in frame pixels."""

    polar: str = "#009e73"
    ferroelastic: str = "#cc79a7"
    width: float = 1.0
    pinning: str = "#f0e442"
    ring: float = 12.0


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


@dataclass(frozen=True)
class MapStyle:
    """How a column is drawn as a picture over the frames."""

    colormap: Colours = "viridis"
    cyclic_colormap: Colours = CYCLIC_COLOURS
    percentiles: tuple[float, float] = (1.0, 99.0)
    opacity: float = 0.6
    blending: str = "translucent"
