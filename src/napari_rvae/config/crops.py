"""Options of crops."""

from __future__ import annotations

from dataclasses import dataclass

from napari_rvae.config.base import Config, option

__all__ = ["CropConfig"]


@dataclass(frozen=True, kw_only=True)
class CropConfig(Config):
    """Options of :func:`napari_rvae.extract_crops`.

    Examples
    --------
    >>> from napari_rvae import CropConfig
    >>> CropConfig(window_nd=5.0).pixels
    32
    """

    window_nd: float = option(
        3.5,
        "Side of a crop in nearest-neighbour distances; walls and grids need a fixed one.",
        low=0.5,
        high=50.0,
        unit="neighbour distances",
        label="Window",
    )
    window: float | None = option(
        None,
        "Side of a crop in frame pixels; overrides the one above.",
        low=2.0,
        unit="px",
        advanced=True,
        label="Fixed window",
    )
    pixels: int = option(
        32,
        "Side of the grid a crop is resampled to.",
        low=8,
        high=256,
        unit="px",
        advanced=True,
        label="Crop grid",
    )
    content: str = option(
        "frame",
        "What a crop shows: the frame, or Gaussians rendered at the fitted atoms.",
        choices=("frame", "rendered"),
        advanced=True,
        label="Crops show",
    )
    distortion: str = option(
        "movie",
        "Undo the shear and stretch of the lattice by the scan: of the movie, or frame by frame.",
        choices=("movie", "frame", "off"),
        advanced=True,
        label="Undo distortion",
    )
    destripe: bool = option(
        True,
        "Take off the offset that each row of the scan has of its own, where there is any.",
        advanced=True,
        label="Destripe",
    )
    subtract_mean: bool = option(
        True,
        "Take each crop's own mean off; off: keep it in all channels.",
        advanced=True,
        label="Take the mean off",
    )
    keep_mean: str = option(
        "response, lateral response",
        "Channels whose mean is kept all the same: the sign of a signed response matters.",
        advanced=True,
        label="But not of",
    )
    walls: str = option(
        "auto",
        "Draw the ferroelastic walls as a layer; auto: where the table has some.",
        choices=("auto", "on", "off"),
        advanced=True,
        label="Draw walls",
    )
    stabilise: bool = option(
        False,
        "Make noise that grows with the signal the same everywhere, where its gain is known.",
        advanced=True,
        label="Stabilise the noise",
    )
