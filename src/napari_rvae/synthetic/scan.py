"""The microscope: atoms -> counted electrons, with the flaws of a real scan."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import ndimage

from napari_rvae.config import Config, option
from napari_rvae.errors import InputError
from napari_rvae.frames import MIN_FRAME_SIDE, Frames
from napari_rvae.render import render_gaussians

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = [
    "Columns",
    "Recording",
    "ScanConfig",
    "checked_shape",
    "drift_path",
    "inside_frame",
    "make_frames",
    "random_streams",
    "record",
    "scan_distortion",
    "scan_margin",
    "sheared",
]

#: Blobs of contamination per frame, and their size as a share of the frame's side.
_N_BLOBS, _BLOB_SIZE = 6, 0.1


@dataclass(frozen=True, kw_only=True)
class ScanConfig(Config):
    """Options of the simulated scan that every specimen shares."""

    neighbour_distance: float = option(
        14.0, "Distance between nearest neighbours.", low=3.0, high=500.0, unit="px"
    )
    pixel_size: float | None = option(
        None,
        "Size of a pixel; empty: as the specimen's true spacing makes it.",
        low=1e-6,
        unit="nm",
    )
    frame_time: float = option(1.0, "Time between two frames.", low=1e-9, unit="s")
    dose: float = option(
        2000.0,
        "Electrons counted in one column of the host: 2 pi sigma^2 times its peak.",
        low=0.0,
        unit="electrons",
    )
    sigma: float | None = option(
        None, "Width of an atom's image; empty: 0.24 neighbour distances.", low=0.4, unit="px"
    )
    contrast: str = option(
        "bright", "Atoms are bright (ADF) or dark (ABF).", choices=("bright", "dark")
    )
    background: float = option(
        6.0, "Electrons in a pixel without atoms.", low=0.0, unit="electrons"
    )
    background_ramp: float = option(
        0.3, "Rise of the background across the frame, as a share of it.", low=0.0, high=1.0
    )
    contamination: float = option(
        0.2, "Height of smooth patches of dirt, in peaks of a host column.", low=0.0, high=100.0
    )
    drift: float = option(0.3, "Mean drift of the specimen.", low=0.0, unit="px per frame")
    jitter: float = option(
        0.15, "Standard deviation of the shift of single scan rows.", low=0.0, unit="px"
    )
    shear: float = option(
        0.0, "Shift of a row along x per row, as a slanted scan makes it.", low=-0.5, high=0.5
    )
    row_noise: float = option(
        0.5, "Standard deviation of the offset of a scan row.", low=0.0, unit="electrons"
    )
    readout_noise: float = option(
        0.5, "Standard deviation of the detector's own noise.", low=0.0, unit="electrons"
    )

    @property
    def probe_sigma(self) -> float:
        """Standard deviation of an atom's image in pixels."""
        return 0.24 * self.neighbour_distance if self.sigma is None else self.sigma

    @property
    def host_peak(self) -> float:
        """Peak height of a host column above the background, in electrons."""
        return self.dose / (2 * math.pi * self.probe_sigma**2)


class Columns(NamedTuple):
    """Atoms of one frame as the scan sees them."""

    position: NDArray[np.float64]  # (N, 2): y, x in frame pixels
    amplitude: NDArray[np.float64]  # (N,): peak heights in electrons


class Recording(NamedTuple):
    """What the detector saw, and what it would have seen without noise."""

    counts: NDArray[np.float32]  # (T, Y, X)
    expected: NDArray[np.float32]  # (T, Y, X)
    background: NDArray[np.float32]  # (T, Y, X)


def checked_shape(size: int | tuple[int, int], n_frames: int) -> tuple[int, int]:
    """Return rows and columns (Y, X) of a frame, after a check of the movie's shape."""
    sides = np.ravel(size)
    if sides.dtype.kind not in "iu" or sides.size not in (1, 2) or sides.min() < MIN_FRAME_SIDE:
        raise InputError(
            f"size = {size!r} is no frame size: give one whole number or (Y, X), "
            f"{MIN_FRAME_SIDE} or more."
        )
    _check_whole("n_frames", n_frames, 1)
    return int(sides[0]), int(sides[-1])


def _check_whole(name: str, value: Any, low: int) -> None:
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < low:
        raise InputError(f"{name} = {value!r}: give a whole number, {low} or more.")


def random_streams(seed: int) -> list[np.random.Generator]:
    """Independent sources of chance for the specimen, its drift, and the scan.

    With streams of their own, the same specimen can be scanned with other options.
    """
    _check_whole("seed", seed, 0)
    return np.random.default_rng(seed).spawn(3)


def drift_path(config: ScanConfig, n_frames: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Shift (T, 2) of the specimen in each frame: a steady drift and a random walk."""
    direction = rng.uniform(-math.pi, math.pi)
    steady = config.drift * np.array([math.sin(direction), math.cos(direction)])
    steps = steady + rng.normal(0.0, 0.5 * config.drift, (n_frames, 2))
    steps[0] = 0.0
    path: NDArray[np.float64] = np.cumsum(steps, axis=0)
    return path


def sheared(
    position: NDArray[np.float64], config: ScanConfig, *, centre: float = 0.0
) -> NDArray[np.float64]:
    """Where (y, x) positions (..., 2) of the specimen appear in a slanted scan.

    Parameters
    ----------
    position
        Positions, or offsets between positions.
    config
        The scan.
    centre
        Row that stays; 0 for offsets.
    """
    moved = position.copy()
    moved[..., 1] += config.shear * (position[..., 0] - centre)
    return moved


def scan_margin(config: ScanConfig, shape: tuple[int, int], drift: NDArray[np.float64]) -> float:
    """Pixels of specimen beyond the frame that drift and shear bring into it."""
    return float(np.abs(drift).max()) + abs(config.shear) * shape[0] / 2


def inside_frame(position: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Which positions (N, 2) lie between the centres of the frame's outermost pixels."""
    return np.asarray(((position >= 0) & (position <= np.array(shape) - 1)).all(axis=1))


def scan_distortion(config: ScanConfig) -> float:
    """Rotation in radians that a slanted scan adds to every angle.

    The rotation nearest to the shear (its polar decomposition) turns by atan(shear / 2).
    """
    return math.atan(config.shear / 2)


def record(
    movie: Sequence[Columns],
    drift: NDArray[np.float64],
    shape: tuple[int, int],
    config: ScanConfig,
    rng: np.random.Generator,
) -> Recording:
    """Scan the atoms of every frame.

    Parameters
    ----------
    movie
        Atoms of each frame, in frame pixels (drift and shear included).
    drift
        Shift (T, 2) of the specimen; the contamination moves with it.
    shape
        Rows and columns (Y, X).
    config
        The scan.
    rng
        Source of jitter and noise.

    Returns
    -------
    Recording
        Counts: Poisson of the expected ones, plus row noise and readout noise (both normal).
    """
    flaws, noise = rng.spawn(2)
    background = _background(drift, shape, config, flaws)
    atoms = np.empty((len(movie), *shape))
    for number, (position, amplitude) in enumerate(movie):
        row_shift = flaws.normal(0.0, config.jitter, shape[0])
        atoms[number] = _scanned(position, amplitude, shape, config, row_shift)
    if config.contrast == "dark":
        # dark atoms are taken out of a ground as high as the darkest one is deep
        ceiling = atoms.max()
        background += ceiling
        atoms *= -1.0
    expected = background + atoms
    counts = noise.poisson(np.maximum(expected, 0.0)).astype(np.float64)
    counts += noise.normal(0.0, config.row_noise, counts.shape[:2])[..., None]
    counts += noise.normal(0.0, config.readout_noise, counts.shape)
    return Recording(*(part.astype(np.float32) for part in (counts, expected, background)))


def _scanned(
    position: NDArray[np.float64],
    amplitude: NDArray[np.float64],
    shape: tuple[int, int],
    config: ScanConfig,
    row_shift: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Atoms (Y, X) as the scan sees them: in a slanted one their images slant, too."""
    slant = config.shear * (np.arange(shape[0]) - (shape[0] - 1) / 2)
    margin = math.ceil(np.abs(slant).max())
    y, x = position.T
    straight = x - config.shear * (y - (shape[0] - 1) / 2) + margin
    wide = (shape[0], shape[1] + 2 * margin)
    picture = render_gaussians(
        y, straight, amplitude, config.probe_sigma, wide, row_shift=row_shift
    )
    if config.shear == 0:
        return picture
    row, column = np.indices(shape)
    place = column + margin - slant[:, None]
    return np.asarray(ndimage.map_coordinates(picture, [row, place], order=5, mode="nearest"))


def _background(
    drift: NDArray[np.float64],
    shape: tuple[int, int],
    config: ScanConfig,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Electrons (T, Y, X) that come from no atom."""
    y, x = np.meshgrid(*(np.linspace(-0.5, 0.5, n) for n in shape), indexing="ij")
    direction = rng.uniform(-math.pi, math.pi)
    slope = y * math.sin(direction) + x * math.cos(direction)
    ground = config.background * (1 + config.background_ramp * slope / np.ptp(slope))
    dirt = _dirt(shape, rng) * config.contamination * config.host_peak
    if not dirt.any():
        return np.repeat(ground[None], len(drift), axis=0)
    moved = [ndimage.shift(dirt, shift, order=1, mode="nearest") for shift in drift]
    return ground + np.stack(moved)


def _dirt(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float64]:
    """Smooth patches (Y, X) between 0 and 1, mostly 0 in between."""
    sigma = _BLOB_SIZE * min(shape)
    height, width = (np.arange(n)[:, None] for n in shape)
    y, x = (rng.uniform(0, n, _N_BLOBS) for n in shape)
    sigmas = sigma * rng.uniform(0.5, 1.5, _N_BLOBS)
    strength = rng.uniform(0.3, 1.0, _N_BLOBS)
    rows = np.exp(-((height - y) ** 2) / (2 * sigmas**2))
    columns = np.exp(-((width - x) ** 2) / (2 * sigmas**2))
    dirt = (rows * strength) @ columns.T
    return np.asarray(dirt / dirt.max())


def make_frames(
    recording: Recording, config: ScanConfig, *, spacing: float, name: str, seed: int
) -> Frames:
    """Wrap the counts with their scale, times and doses.

    The dose is that of the frame by itself, in detected electrons per square angstrom.

    Parameters
    ----------
    recording
        What the detector saw.
    config
        All options of the simulation; they go into the metadata.
    spacing
        True distance of nearest neighbours in nm, which sets the pixel size by default.
    name
        Name of the specimen.
    seed
        Seed of the simulation, for the metadata.
    """
    pixel_size = config.pixel_size or spacing / config.neighbour_distance
    n_frames = len(recording.counts)
    area = (10 * pixel_size) ** 2  # square angstrom
    table = pd.DataFrame(
        {
            "frame": np.arange(n_frames, dtype=np.int64),
            "time": config.frame_time * np.arange(n_frames),
            "dose": recording.expected.mean((1, 2), dtype=np.float64) / area,
            "bias": np.nan,
            "keep": True,
        }
    )
    metadata: dict[str, Any] = {
        **config.to_dict(),
        "specimen": name,
        "seed": seed,
        "sigma": config.probe_sigma,
        "pixel_size": pixel_size,
    }
    return Frames(
        recording.counts,
        axis_labels=("t", "y", "x"),
        scale=(config.frame_time, pixel_size, pixel_size),
        units=("s", "nm", "nm"),
        channels=("intensity",),
        table=table,
        name=name,
        metadata=metadata,
    )
