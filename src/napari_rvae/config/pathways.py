"""Options of tracks and of pathways."""

from __future__ import annotations

from dataclasses import dataclass

from napari_rvae.config.base import Config, option

__all__ = ["PathwayConfig", "TrackConfig"]


@dataclass(frozen=True, kw_only=True)
class TrackConfig(Config):
    """Options of :func:`napari_rvae.link_sites`.

    Examples
    --------
    >>> from napari_rvae import TrackConfig
    >>> TrackConfig(max_gap=5).max_step_nd
    0.35
    """

    max_step_nd: float = option(
        0.35,
        "A site moves at most this far between frames, drift removed.",
        low=0.01,
        high=0.5,
        unit="neighbour distances",
        label="Largest step",
    )
    max_gap: int = option(
        2,
        "A dopant may be missing for this many frames.",
        low=0,
        high=1000,
        unit="frames",
        label="Longest gap",
    )
    place_gap: int = option(
        50,
        "A place of the lattice may be empty for this many frames.",
        low=0,
        high=100_000,
        unit="frames",
        advanced=True,
        label="Longest emptiness",
    )
    max_hop_nd: float = option(
        2.2,
        "A dopant hops at most this far between frames.",
        low=0.1,
        high=10.0,
        unit="neighbour distances",
        advanced=True,
        label="Largest hop",
    )
    stitch_gap: int = option(
        15,
        "A dopant that vanishes, and one that appears near it within so many frames, are one.",
        low=0,
        high=1000,
        unit="frames",
        advanced=True,
        label="Longest break",
    )


@dataclass(frozen=True, kw_only=True)
class PathwayConfig(Config):
    """Options of :func:`napari_rvae.find_pathways`.

    Examples
    --------
    >>> from napari_rvae import PathwayConfig
    >>> PathwayConfig(follow="atoms").split
    'lattice_angle'
    """

    follow: str = option(
        "both",
        "Follow dopant atoms, places of the lattice, or both.",
        choices=("both", "atoms", "places"),
        label="Follow",
    )
    split: str = option(
        "lattice_angle",
        "What divides a unit of dopants into several states.",
        choices=("lattice_angle", "sublattice", "off"),
        label="Divide units by",
    )
    max_angles: int = option(
        2,
        "Most classes of the lattice angle in one unit.",
        low=1,
        high=6,
        advanced=True,
        label="Most angle classes",
    )
    max_states: int = option(
        10,
        "Most states of an atom; the least frequent ones become one, named other.",
        low=2,
        high=30,
        advanced=True,
        label="Most states",
    )
    min_sightings: int = option(
        4,
        "A track needs this many sightings.",
        low=2,
        high=1000,
        advanced=True,
        label="Fewest sightings",
    )
    min_probability: float = option(
        0.5,
        "An event is at least this probable.",
        low=0.05,
        high=1.0,
        label="Least probability",
    )
    min_sites: int = option(
        3,
        "An event without a dopant shows at this many sites.",
        low=1,
        high=100,
        advanced=True,
        label="Fewest sites",
    )
    merge_nd: float = option(
        2.2,
        "Changes within this distance, at most one frame apart, are one event.",
        low=0.1,
        high=20.0,
        unit="neighbour distances",
        advanced=True,
        label="Merge within",
    )
    jump_nd: float = option(
        0.3,
        "An atom that moves farther than this between frames has left its place.",
        low=0.05,
        high=5.0,
        unit="neighbour distances",
        advanced=True,
        label="Least jump",
    )
    border_nd: float = option(
        1.5,
        "What comes nearer to the edge of the frames than this is out of sight.",
        low=0.0,
        high=20.0,
        unit="neighbour distances",
        advanced=True,
        label="Border",
    )
    level: float = option(
        0.95,
        "Probability that an interval holds the true value.",
        low=0.5,
        high=0.999,
        advanced=True,
        label="Level of intervals",
    )
    n_samples: int = option(
        800,
        "Histories drawn for the intervals.",
        low=100,
        high=20_000,
        advanced=True,
        label="Histories drawn",
    )
    seed: int = option(0, "Start of the random numbers.", low=0, advanced=True, label="Random seed")
