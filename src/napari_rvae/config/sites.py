"""Options of detection and of naming what was detected."""

from __future__ import annotations

from dataclasses import dataclass

from napari_rvae.config.base import Config, option

__all__ = ["DetectConfig", "SpeciesConfig"]


@dataclass(frozen=True, kw_only=True)
class DetectConfig(Config):
    """Options of :func:`napari_rvae.detect_atoms`; the defaults need no tuning.

    Examples
    --------
    >>> from napari_rvae import DetectConfig
    >>> config = DetectConfig(min_snr=4, classify=True)
    >>> DetectConfig.from_json(config.to_json()) == config
    True
    """

    contrast: str = option(
        "auto",
        "Atoms are bright (ADF, HAADF) or dark (ABF) on their background; auto: measured.",
        choices=("auto", "bright", "dark"),
        label="Contrast",
    )
    neighbour_distance: float | None = option(
        None,
        "Expected nearest-neighbour distance; empty: measured.",
        low=2.0,
        unit="px",
        label="Neighbours apart",
    )
    sigma: float | None = option(
        None,
        "Width (standard deviation) of an atom's image; empty: measured.",
        low=0.4,
        unit="px",
        advanced=True,
        label="Width of an atom",
    )
    min_snr: float = option(
        5.0,
        "An atom this many times above the noise (without a lattice: 1.2 times that) is believed.",
        low=1.0,
        high=100.0,
        label="Least signal/noise",
    )
    min_lattice_snr: float = option(
        2.5,
        "A weaker one, down to this, is kept where the lattice expects it.",
        low=0.5,
        high=100.0,
        advanced=True,
        label="Least S/N on a lattice",
    )
    min_lattice_support: float = option(
        0.35,
        "Share of the lattice's neighbours a weak atom must have.",
        low=0.0,
        high=1.0,
        advanced=True,
        label="Least lattice support",
    )
    destripe: bool = option(
        True,
        "Look for atoms without the offset that each row of the scan has of its own, if any.",
        advanced=True,
        label="Destripe",
    )
    classify: bool = option(
        False,
        "Name sublattices and species, and add missing atoms as vacancies.",
        label="Species, vacancies",
    )
    average_frames: int = option(
        1,
        "Look for atoms in the mean of so many frames about each, drift removed, for low doses.",
        low=1,
        high=1000,
        unit="frames",
        advanced=True,
        label="Average over",
    )
    min_quality: float = option(
        0.0,
        "Leave out frames of lower quality, as analyse_frames tells it; 0: none.",
        low=0.0,
        high=1.0,
        advanced=True,
        label="Least frame quality",
    )
    device: str = option(
        "cpu",
        "Where the atoms are fitted: auto, cpu, cuda or mps.",
        suggestions=("auto", "cpu", "cuda", "mps"),
        label="Device",
    )


@dataclass(frozen=True, kw_only=True)
class SpeciesConfig(Config):
    """Options of :func:`napari_rvae.classify_atoms`; the defaults need no tuning.

    Examples
    --------
    >>> from napari_rvae import SpeciesConfig
    >>> SpeciesConfig(vacancies=False).least_contrast
    0.1
    """

    vacancies: bool = option(
        True, "Add missing atoms of a lattice as sites of their own.", label="Find vacancies"
    )
    false_discovery_rate: float = option(
        0.05,
        "Expected share of wrong ones among the atoms named brighter or dimmer than their host.",
        low=1e-4,
        high=0.5,
        label="False discoveries",
    )
    least_contrast: float = option(
        0.1,
        "An atom within this share of its host's brightness counts as host.",
        low=0.0,
        high=1.0,
        advanced=True,
        label="Least contrast",
    )
    least_probability: float = option(
        0.5,
        "A vacancy is at least this probable.",
        low=0.0,
        high=1.0,
        advanced=True,
        label="Least probability",
    )
