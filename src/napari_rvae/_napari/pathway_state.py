"""Pathways of the layers of a viewer. They outlive the widgets, and go with their layer."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from napari_rvae.analysis.cards import UnitCard
    from napari_rvae.analysis.kinetics.results import Pathways
    from napari_rvae.analysis.landscape import Landscape
    from napari_rvae.config import PathwayConfig
    from napari_rvae.crops import Crops
    from napari_rvae.vae import RVAE

__all__ = ["Found", "Terrain", "found_of", "keep_found"]


@dataclass(frozen=True, eq=False)
class Terrain:
    """The landscape, and where the events lead over it."""

    landscape: Landscape
    passages: pd.DataFrame


@dataclass(eq=False)
class Found:
    """Pathways of one layer, and what they are shown with.

    Attributes
    ----------
    pathways
        What was found.
    table
        The linked sites table that it was found in.
    cards
        Cards of the units, for pictures, names and colours.
    order
        Order parameters over the movie.
    model
        The model of the latents, None where there is none.
    crops
        Crops of the sites about the events, None where there is no image.
    config
        Options that it was found with, None where it came with a run.
    terrain
        The landscape, None before it was asked for.
    """

    pathways: Pathways
    table: pd.DataFrame
    cards: tuple[UnitCard, ...]
    order: pd.DataFrame | None
    model: RVAE | None = None
    crops: Crops | None = None
    config: PathwayConfig | None = None
    terrain: Terrain | None = None


_FOUND: weakref.WeakKeyDictionary[Any, Found] = weakref.WeakKeyDictionary()


def found_of(layer: Any) -> Found | None:
    """Pathways of a layer, None where there are none yet."""
    return None if layer is None else _FOUND.get(layer)


def keep_found(layer: Any, found: Found) -> None:
    """Remember the pathways of a layer as long as the layer lives."""
    _FOUND[layer] = found
