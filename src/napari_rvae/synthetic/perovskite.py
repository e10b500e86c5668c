"""A perovskite along [001]: bright A and dimmer B columns, planted polarization and strain."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_rvae.config import option
from napari_rvae.synthetic.lattice import Points, bearing, grown_points, rocksalt, rotated
from napari_rvae.synthetic.scan import (
    Columns,
    ScanConfig,
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
from napari_rvae.synthetic.simulation import Simulation, true_sites
from napari_rvae.tables import fold_angle

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PerovskiteConfig", "simulate_perovskite"]

#: Distance of A and B columns of SrTiO3 along [001] in nm: 0.3905 / sqrt(2).
SPACING = 0.2761

#: Environments displaced by less than this share of the neighbour distance keep four-fold
#: symmetry.
_POLAR = 0.01


@dataclass(frozen=True, kw_only=True)
class PerovskiteConfig(ScanConfig):
    """Options of :func:`simulate_perovskite`: the specimen's, and those of the scan."""

    rotation: float = option(
        0.1, "Angle of the first grain.", low=-math.pi, high=math.pi, unit="rad"
    )
    grains: int = option(1, "Number of grains.", low=1, high=2)
    misorientation: float = option(
        0.3,
        "Angle of the second grain minus that of the first.",
        low=-math.pi,
        high=math.pi,
        unit="rad",
    )
    b_contrast: float = option(
        0.45, "Brightness of a B column relative to an A column.", low=0.0, high=100.0
    )
    polarization: float = option(
        0.06,
        "Largest displacement of the B columns.",
        low=0.0,
        high=0.3,
        unit="neighbour distances",
    )
    pattern: str = option(
        "domains",
        "Polarization: two domains with a wall, a smooth vortex, or the same everywhere.",
        choices=("domains", "vortex", "uniform"),
    )
    wall_width: float = option(
        2.0,
        "Half the width of the wall between two domains.",
        low=0.1,
        high=1000.0,
        unit="neighbour distances",
    )
    strain: float = option(
        0.0,
        "Largest strain of two waves, one that stretches and one that shears.",
        low=0.0,
        high=0.1,
    )
    strain_period: float = option(
        24.0, "Period of these waves.", low=8.0, high=1000.0, unit="neighbour distances"
    )
    vacancies: float = option(0.0, "Missing columns, per site.", low=0.0, high=0.5)
    disorder: float = option(
        0.01,
        "Standard deviation of fixed random displacements.",
        low=0.0,
        high=0.2,
        unit="neighbour distances",
    )


def simulate_perovskite(
    config: PerovskiteConfig | None = None,
    *,
    n_frames: int = 1,
    size: int | tuple[int, int] = 512,
    seed: int = 0,
    **overrides: Any,
) -> Simulation:
    """Simulate a STEM image or movie of a perovskite with a known polarization.

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
        Options that replace those of `config`, such as ``dose=500``. The dose is that of an A
        column; the neighbour distance is that from A to B.

    Returns
    -------
    Simulation
        ``sublattice`` is 0 for A and 1 for B; ``environment`` is "A", "B" or "vacancy". The
        reference picture has the edges of the cell along its rows and columns and, where the
        site is polar (``symmetry`` 1), the B displacement to the right, within 45 degrees. The
        columns ``off_y``, ``off_x`` hold the displacement planted at a B site, in pixels (0 at
        an A site); ``fields["polarization"]`` (T, 2, Y, X) holds its field. Where there is a
        ``strain``, ``strain_yy``, ``strain_xx``, ``strain_xy`` (y down) and ``turn`` (radians)
        hold the planted strain and rotation of the specimen at each site; ``angle`` follows
        the turn.

    Raises
    ------
    InputError
        If an option is out of range.
    TypeError
        If an option's name is unknown.

    Examples
    --------
    >>> from napari_rvae import simulate_perovskite
    >>> simulation = simulate_perovskite(size=128, polarization=0.1, seed=1)
    >>> simulation.fields["polarization"].shape
    (1, 2, 128, 128)
    """
    config = dataclasses.replace(config or PerovskiteConfig(), **overrides)
    shape = checked_shape(size, n_frames)
    specimen_rng, motion_rng, scan_rng = random_streams(seed)
    drift = drift_path(config, n_frames, motion_rng)
    angles = (config.rotation, config.rotation + config.misorientation)[: config.grains]
    margin = scan_margin(config, shape, drift) + 2 * config.neighbour_distance
    motif = rocksalt(config.neighbour_distance)
    points = grown_points(motif, angles, shape, margin, specimen_rng)
    n_points = len(points.grain)
    spread = config.disorder * config.neighbour_distance
    disorder = specimen_rng.normal(0.0, spread, (n_points, 2))
    missing = specimen_rng.random(n_points) < config.vacancies
    off = _polarization(points.position, config, shape)
    strained = _strained(points.position, config, specimen_rng)
    pictures = [
        _picture(
            points,
            disorder + strained.moved + shift,
            off=off,
            strained=strained,
            missing=missing,
            shape=shape,
            config=config,
        )
        for shift in drift
    ]
    recording = record([columns for columns, _ in pictures], drift, shape, config, scan_rng)
    return Simulation(
        frames=make_frames(recording, config, spacing=SPACING, name="perovskite", seed=seed),
        sites=true_sites([truth for _, truth in pictures]),
        fields={
            "expected": recording.expected,
            "background": recording.background,
            "drift": drift,
            "polarization": _polarization_maps(drift, shape, config),
        },
    )


class _Strained(NamedTuple):
    """Planted deformation at each lattice point."""

    moved: NDArray[np.float64]  # (N, 2) pixels
    strain: NDArray[np.float64]  # (N, 2, 2)
    turn: NDArray[np.float64]  # (N,) radians


def _strained(
    position: NDArray[np.float64], config: PerovskiteConfig, rng: np.random.Generator
) -> _Strained:
    """Deformation by a wave of stretch and a wave of shear; none draws no random numbers."""
    moved = np.zeros(position.shape)
    gradient = np.zeros((len(position), 2, 2))
    if config.strain > 0:
        number = 2 * math.pi / (config.strain_period * config.neighbour_distance)
        phase = rng.uniform(-math.pi, math.pi, 2)
        for k, (heading, across) in enumerate(((0.5, 0.0), (1.5, math.pi / 2))):
            along = rotated(np.array([0.0, 1.0]), config.rotation + heading)
            towards = rotated(along, across)
            wave = number * (position @ along) + phase[k]
            moved += config.strain / number * np.sin(wave)[:, None] * towards
            gradient += config.strain * np.cos(wave)[:, None, None] * np.outer(towards, along)
    left, size, right = np.linalg.svd(np.eye(2) + gradient)
    rotation = left @ right
    stretch = (left * size[:, None, :]) @ np.swapaxes(left, 1, 2)
    turn = np.arctan2(rotation[:, 1, 0], rotation[:, 0, 0])
    return _Strained(moved, stretch - np.eye(2), turn)


def _polarization(
    position: NDArray[np.float64], config: PerovskiteConfig, shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Displacement (..., 2) of B columns in pixels at positions (..., 2) of the specimen."""
    distance = config.neighbour_distance
    away = position - (np.array(shape) - 1) / 2
    along = rotated(np.array([0.0, 1.0]), config.rotation)
    if config.pattern == "vortex":
        core = min(shape) / 8
        turned = rotated(away, math.pi / 2)
        strength = turned / np.sqrt((away**2).sum(axis=-1, keepdims=True) + core**2)
    elif config.pattern == "domains":
        # the wall runs along the polarization, so that it carries no charge
        depth = away @ rotated(along, math.pi / 2)
        strength = np.tanh(depth / (config.wall_width * distance))[..., None] * along
    else:
        strength = np.broadcast_to(along, away.shape)
    return np.asarray(config.polarization * distance * strength)


def _polarization_maps(
    drift: NDArray[np.float64], shape: tuple[int, int], config: PerovskiteConfig
) -> NDArray[np.float32]:
    """Displacement field (T, 2, Y, X) as it lies in the frames."""
    y, x = np.meshgrid(*(np.arange(n, dtype=float) for n in shape), indexing="ij")
    pixels = np.stack([y, x - config.shear * (y - (shape[0] - 1) / 2)], axis=-1)
    maps = [sheared(_polarization(pixels - shift, config, shape), config) for shift in drift]
    return np.moveaxis(np.stack(maps), -1, 1).astype(np.float32)


def _picture(
    points: Points,
    shift: NDArray[np.float64],
    *,
    off: NDArray[np.float64],
    strained: _Strained,
    missing: NDArray[np.bool_],
    shape: tuple[int, int],
    config: PerovskiteConfig,
) -> tuple[Columns, dict[str, NDArray[Any]]]:
    """Columns of one frame, for the scan and for the table."""
    is_b = points.sublattice == 1
    planted = np.where(is_b[:, None], off, 0.0)
    position = sheared(points.position + planted + shift, config, centre=(shape[0] - 1) / 2)
    planted = sheared(planted, config)
    amplitude = config.host_peak * np.where(is_b, config.b_contrast, 1.0)
    amplitude[missing] = 0.0
    angle, symmetry = _orientations(points.grain, off, strained.turn, config)
    truth = {
        "y": position[:, 0],
        "x": position[:, 1],
        "species": np.select([missing, is_b], ["", "B"], "A"),
        "sublattice": points.sublattice,
        "environment": np.select([missing, is_b], ["vacancy", "B"], "A"),
        "grain": points.grain,
        "angle": angle,
        "symmetry": symmetry,
        "amplitude": amplitude,
        "sigma": np.full(is_b.size, config.probe_sigma),
        "track_id": np.arange(is_b.size),
        "off_y": planted[:, 0],
        "off_x": planted[:, 1],
    }
    if config.strain > 0:
        truth["strain_yy"], truth["strain_xx"] = strained.strain[:, 0, 0], strained.strain[:, 1, 1]
        truth["strain_xy"], truth["turn"] = strained.strain[:, 0, 1], strained.turn
    rows = inside_frame(position, shape)
    return (
        Columns(position[~missing], amplitude[~missing]),
        {name: values[rows] for name, values in truth.items()},
    )


def _orientations(
    grain: NDArray[np.int64],
    off: NDArray[np.float64],
    turn: NDArray[np.float64],
    config: PerovskiteConfig,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Angle and symmetry (N,) of every site: the cell's, towards the polarization if polar."""
    angle = config.rotation + config.misorientation * grain + turn
    polar = np.hypot(*off.T) > _POLAR * config.neighbour_distance
    quarters = np.rint((bearing(off) - angle) / (math.pi / 2))
    angle = angle + np.where(polar, quarters, 0.0) * math.pi / 2
    return fold_angle(angle + scan_distortion(config), 1), np.where(polar, 1, 4)
