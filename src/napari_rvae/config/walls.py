"""Options of the detection of domain walls."""

from __future__ import annotations

from dataclasses import dataclass

from napari_rvae.config.base import Config, option

__all__ = ["WallConfig"]


@dataclass(frozen=True, kw_only=True)
class WallConfig(Config):
    """Options of :func:`napari_rvae.detect_walls`; the defaults need no tuning.

    Examples
    --------
    >>> from napari_rvae import WallConfig
    >>> WallConfig(spacing=2.0).ferroelastic
    'level'
    """

    spacing: float = option(
        4.0,
        "Distance between sites along a wall.",
        low=0.5,
        high=100.0,
        unit="px",
        label="Site spacing",
    )
    ferroelastic: str = option(
        "level",
        "Ferroelastic walls: where the level of the response steps, where the height has a kink.",
        choices=("level", "kink", "both", "off"),
        label="Ferroelastic walls",
    )
    min_strength: float = option(
        0.3,
        "A 180-degree wall has this response on both sides, in that of a usual domain.",
        low=0.02,
        high=2.0,
        label="Least strength",
    )
    min_step: float = option(
        0.2,
        "A ferroelastic wall has this step of the response, in that of a usual domain.",
        low=0.02,
        high=2.0,
        label="Least step",
    )
    min_length: float = option(
        12.0, "Shorter walls are noise.", low=2.0, high=1000.0, unit="px", label="Least length"
    )
    smoothing: float | None = option(
        None,
        "Standard deviation of the Gaussian that smooths the response; empty: by the noise.",
        low=0.3,
        high=20.0,
        unit="px",
        advanced=True,
        label="Smoothing",
    )
    modality: str = option(
        "vertical",
        "Which response is looked at: out of the plane, in it, or all components as a vector.",
        choices=("vertical", "lateral", "vector"),
        advanced=True,
        label="Modality",
    )
    phase_unit: str = option(
        "auto",
        "Unit of the phase; auto: as the file says, else by its range.",
        choices=("auto", "deg", "rad"),
        advanced=True,
        label="Unit of phase",
    )
