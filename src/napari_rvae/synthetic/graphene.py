"""Graphene under the beam: silicon, vacancies, 5-7 defects, two grains and a growing hole."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_rvae.synthetic.damage import (
    CARBON,
    DIVACANCY,
    HOLE,
    SILICON,
    VACANCY,
    GrapheneConfig,
    Moment,
    Story,
)
from napari_rvae.synthetic.lattice import bearing
from napari_rvae.synthetic.scan import (
    Columns,
    checked_shape,
    drift_path,
    inside_frame,
    make_frames,
    random_streams,
    record,
    scan_distortion,
    scan_margin,
    sheared,
)
from napari_rvae.synthetic.sheet import BRIDGE, ring_numbers
from napari_rvae.synthetic.simulation import Simulation, true_sites
from napari_rvae.tables import fold_angle

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["GrapheneConfig", "simulate_graphene"]

#: Sizes of the rings that the truth counts.
RING_SIZES = (4, 5, 6, 7, 8)

#: Length of a C-C bond in nm.
BOND_LENGTH = 0.142


def simulate_graphene(
    config: GrapheneConfig | None = None,
    *,
    n_frames: int = 20,
    size: int | tuple[int, int] = 512,
    seed: int = 0,
    **overrides: Any,
) -> Simulation:
    """Simulate a STEM movie of graphene with silicon dopants under the beam.

    Two grains meet at a boundary; silicon sits in single vacancies (three-fold) and divacancies
    (four-fold), and the three-fold ones swap places with neighbours; there are vacancies, bonds
    turned by 90 degrees, and a hole that grows. Atoms around defects are relaxed with harmonic
    springs, so their positions are plausible rather than exact.

    Parameters
    ----------
    config
        Options of specimen and scan; None takes the defaults.
    n_frames
        Number of frames, T.
    size
        Side of a frame in pixels, or (Y, X).
    seed
        Start of the random numbers; specimen, scan and noise draw from streams of their own.
    **overrides
        Options that replace those of `config`, such as ``dose=500``.

    Returns
    -------
    Simulation
        ``environment`` is "bulk", "si3", "si4", "beside_si", "beside_vacancy", "edge" (rim of
        the hole), "five_seven", "boundary" or, for a missing atom, "vacancy". The reference
        picture of sublattice 0 has a neighbour to the right, so a site of sublattice 0 in a
        grain turned by g has the angle g, one of sublattice 1 g + pi; beside a dopant or a gap
        the angle is the direction of the lattice bond that leads there; for four-fold silicon
        it is that of the bond whose place it took. ``rings4`` to ``rings8`` (int64) are the
        numbers of rings of bonds at an atom in the specimen, which goes on beyond the frame.

    Raises
    ------
    InputError
        If an option is out of range.
    TypeError
        If an option's name is unknown.

    Examples
    --------
    >>> from napari_rvae import simulate_graphene
    >>> simulation = simulate_graphene(n_frames=2, size=128, dose=500, seed=1)
    >>> simulation.frames.units
    ('s', 'nm', 'nm')
    """
    config = dataclasses.replace(config or GrapheneConfig(), **overrides)
    shape = checked_shape(size, n_frames)
    specimen_rng, motion_rng, scan_rng = random_streams(seed)
    drift = drift_path(config, n_frames, motion_rng)
    story = Story(config, shape, n_frames, scan_margin(config, shape, drift), specimen_rng)
    columns, truths = [], []
    for number in range(n_frames):
        if number:
            story.advance(number)
        atoms, truth = _picture(story.moment(), drift[number], shape, config)
        columns.append(atoms)
        truths.append(truth)
    recording = record(columns, drift, shape, config, scan_rng)
    return Simulation(
        frames=make_frames(recording, config, spacing=BOND_LENGTH, name="graphene", seed=seed),
        sites=true_sites(truths),
        fields={
            "expected": recording.expected,
            "background": recording.background,
            "drift": drift,
        },
    )


def _picture(
    moment: Moment, drift: NDArray[np.float64], shape: tuple[int, int], config: GrapheneConfig
) -> tuple[Columns, dict[str, NDArray[Any]]]:
    """Atoms of one frame, for the scan and for the table."""
    content = moment.content
    position = sheared(moment.position + drift, config, centre=(shape[0] - 1) / 2)
    amplitude = np.select(
        [content == CARBON, content == SILICON],
        [config.host_peak, config.host_peak * config.si_contrast],
        0.0,
    )
    there = np.isin(content, (CARBON, SILICON))
    environment, angle, symmetry = _environments(moment, config)
    truth = {
        "y": position[:, 0],
        "x": position[:, 1],
        "species": np.select([content == CARBON, content == SILICON], ["C", "Si"], ""),
        "sublattice": np.maximum(moment.sheet.sublattice, -1),
        "environment": environment,
        "grain": moment.sheet.grain,
        "angle": fold_angle(angle + scan_distortion(config), 1),
        "symmetry": symmetry,
        "amplitude": amplitude,
        "sigma": np.full(content.size, config.probe_sigma),
        "track_id": moment.atom,
        **_planted_rings(moment, there),
    }
    rows = inside_frame(position, shape) & (there | (content == VACANCY))
    return (
        Columns(position[there], amplitude[there]),
        {name: values[rows] for name, values in truth.items()},
    )


def _planted_rings(moment: Moment, there: NDArray[np.bool_]) -> dict[str, NDArray[np.int64]]:
    """Number (N,) of rings of each size at every place."""
    bonds = moment.sheet.bonds[there[moment.sheet.bonds].all(axis=1)]
    return {f"rings{size}": ring_numbers(moment.position, bonds, size) for size in RING_SIZES}


def _environments(
    moment: Moment, config: GrapheneConfig
) -> tuple[NDArray[np.str_], NDArray[np.float64], NDArray[np.int64]]:
    """Class, angle and symmetry of every place, (N,) each."""
    sheet, content = moment.sheet, moment.content
    lattice_angle = (
        config.rotation + config.misorientation * sheet.grain + math.pi * (sheet.sublattice == 1)
    )
    four_fold = sheet.sublattice == BRIDGE
    beside = {
        "edge": _direction(moment, HOLE),
        "beside_vacancy": _direction(moment, VACANCY),
        "beside_si": _direction(moment, SILICON, DIVACANCY),
    }
    # the first that holds wins
    classes: list[tuple[str, NDArray[np.bool_], NDArray[np.float64] | float, int]] = [
        ("vacancy", content == VACANCY, lattice_angle, 3),
        ("si4", (content == SILICON) & four_fold, sheet.axis, 2),
        ("si3", content == SILICON, lattice_angle, 3),
        ("five_seven", sheet.five_seven, math.nan, 0),
        ("boundary", moment.boundary, math.nan, 0),
        *((name, np.isfinite(angle), angle, 1) for name, angle in beside.items()),
        ("bulk", np.ones(content.size, bool), lattice_angle, 3),
    ]
    names, masks, angles, orders = zip(*classes, strict=True)
    return (
        np.select(masks, names, ""),
        np.select(masks, angles, math.nan),
        np.select(masks, orders, 0).astype(np.int64),
    )


def _direction(moment: Moment, *contents: int) -> NDArray[np.float64]:
    """Angle (N,) of the lattice bonds that lead to places with such contents; NaN for none."""
    sheet = moment.sheet
    n_places = moment.content.size
    lattice = (sheet.sublattice[sheet.bonds] != BRIDGE).all(axis=1)
    first, second = sheet.bonds[lattice].T
    centre, end = np.concatenate([first, second]), np.concatenate([second, first])
    leads = np.isin(moment.content[end], contents)
    centre, end = centre[leads], end[leads]
    offset = sheet.position[end] - sheet.position[centre]
    sums = [np.bincount(centre, offset[:, axis], n_places) for axis in range(2)]
    total = np.stack(sums, axis=-1).astype(np.float64)
    none = np.bincount(centre, minlength=n_places) == 0
    return np.where(none, math.nan, bearing(total))
