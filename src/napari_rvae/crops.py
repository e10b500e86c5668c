"""Crops: windows around sites, resampled to one canonical grid and made comparable."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.spatial import cKDTree

from napari_rvae.config import CropConfig
from napari_rvae.errors import Cancelled, InputError
from napari_rvae.frames import Frames, as_frames, as_region
from napari_rvae.preprocess.correlation import (
    UNKNOWN_NOISE,
    NoiseCorrelation,
    common_correlation,
    noise_correlation,
)
from napari_rvae.preprocess.distortion import frame_distortions, physical_spacing
from napari_rvae.preprocess.noise import noise_level
from napari_rvae.preprocess.pictures import Pictures
from napari_rvae.preprocess.windows import round_window, sample_windows, smooth_for
from napari_rvae.tables import group_rows, validate_sites

__all__ = ["Crops", "concat_crops", "extract_crops"]

#: The host's amplitude is averaged over this many neighbour distances.
_HOST_REACH = 5.0


@dataclass(frozen=True, eq=False)
class Crops:
    """Windows around sites.

    Parameters
    ----------
    images
        Array (N, C, S, S), float32; may be a dask array chunked along N.
    site_id
        Which site each crop belongs to (N,), int64.
    frame
        Frame that each crop was cut from (N,), int64; 0 when left out.
    source
        Movie that each crop was cut from (N,), str; "" when left out.
    y, x
        Positions (N,) of the sites in frame pixels; NaN when unknown.
    window_px
        Side of the window in frame pixels; S when left out.
    window_nd
        Side of the window in nearest-neighbour distances; NaN when unknown.
    distortion
        What the scan does to offsets (2, 2), determinant 1: an offset (dy, dx) in physical axes
        appears in the frame at ``distortion @ (dy, dx)``; the identity when left out, the mean
        where it differs between the crops.
    noise_sd
        Standard deviation of the noise of one frame pixel in the units of `images`; NaN when
        unknown.
    noise_correlation
        Autocorrelation of the noise on the grid of the frame (2 K + 1, 2 K + 1), 1 in the middle,
        at [K + dy, K + dx] for pixels (dy, dx) apart; None for white or unknown noise.
    mean, sd
        Mean and standard deviation (N,) in the disc inside the window in the first channel, in
        the units of the frames, before they were taken off; NaN when unknown.
    channels
        Names of the channels.
    lags
        Frame lags that the channels stand for.
    content
        What the crops show: "frame", or "rendered" for Gaussians at the fitted atoms.

    Raises
    ------
    InputError
        If shapes do not fit or a site occurs twice.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import Crops
    >>> len(Crops(images=np.zeros((3, 1, 32, 32), np.float32), site_id=np.arange(3)))
    3
    """

    images: Any
    site_id: NDArray[np.int64]
    frame: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    source: NDArray[np.str_] = field(default_factory=lambda: np.zeros(0, np.str_))
    y: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    x: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    window_px: float = math.nan
    window_nd: float = math.nan
    distortion: NDArray[np.float64] = field(default_factory=lambda: np.eye(2))
    noise_sd: float = math.nan
    noise_correlation: NDArray[np.float64] | None = None
    mean: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    sd: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    channels: tuple[str, ...] = ()
    lags: tuple[int, ...] = (0,)
    content: str = "frame"

    def __post_init__(self) -> None:
        """Fill in what was left out and check the shapes."""
        shape = tuple(self.images.shape)
        if len(shape) != 4 or shape[2] != shape[3] or shape[2] < 4 or shape[1] < 1:
            raise InputError(f"Crops of shape {shape}: give (N, C, S, S) with S of 4 or more.")
        if np.shape(self.distortion) != (2, 2):
            raise InputError(f"distortion has shape {np.shape(self.distortion)}: give (2, 2).")
        count = shape[0]
        site_id = np.asarray(self.site_id, np.int64)
        if site_id.shape != (count,) or np.unique(site_id).size != count:
            raise InputError("site_id must hold one number for each crop, none of them twice.")
        object.__setattr__(self, "site_id", site_id)
        nan = math.nan
        fill = {"frame": 0, "source": "", "y": nan, "x": nan, "mean": nan, "sd": nan}
        for name, value in fill.items():
            given = np.asarray(getattr(self, name), type(value))
            filled = given if given.size else np.full(count, value, type(value))
            if filled.shape != (count,):
                raise InputError(f"{name} must have one entry for each of {count} crops.")
            object.__setattr__(self, name, filled)
        if not math.isfinite(self.window_px):
            object.__setattr__(self, "window_px", float(shape[2]))
        names = self.channels or tuple(f"channel {i}" for i in range(shape[1]))
        if len(names) != shape[1]:
            raise InputError(f"There are {shape[1]} channels but {len(names)} channel names.")
        object.__setattr__(self, "channels", tuple(names))

    def __len__(self) -> int:
        """Return the number of crops."""
        return int(self.images.shape[0])

    @property
    def pixels(self) -> int:
        """Side of a crop on the canonical grid, S."""
        return int(self.images.shape[2])

    @property
    def native_pixel(self) -> float:
        """Size of a frame pixel in pixels of the canonical grid."""
        return self.pixels / self.window_px

    def read(self, rows: slice | NDArray[Any] = slice(None)) -> NDArray[np.float32]:
        """Images of some of the crops (n, C, S, S) in memory."""
        return np.asarray(self.images[rows], np.float32)

    def pieces(self, size: int) -> Iterator[NDArray[np.float32]]:
        """All images (n, C, S, S) in memory, in order, at most `size` at a time."""
        for start in range(0, len(self), size):
            yield self.read(slice(start, start + size))

    def select(self, rows: ArrayLike) -> Crops:
        """Return some of the crops, by a mask (N,) or by row numbers.

        Raises
        ------
        InputError
            If the mask is of another length, or a number is out of range.
        """
        chosen = np.asarray(rows)
        try:
            index = np.arange(len(self))[chosen if chosen.size else chosen.astype(np.int64)]
        except IndexError as error:
            raise InputError(f"These rows are none of the {len(self)} crops: {error}.") from None
        return replace(
            self,
            images=self.images[index],
            site_id=self.site_id[index],
            frame=self.frame[index],
            source=self.source[index],
            y=self.y[index],
            x=self.x[index],
            mean=self.mean[index],
            sd=self.sd[index],
        )


def concat_crops(*crops: Crops) -> Crops:
    """Put crops together, such as those of several movies.

    Raises
    ------
    InputError
        If their grids or channels differ, or a site is in two of them.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import Crops, concat_crops
    >>> one = Crops(images=np.zeros((2, 1, 32, 32), np.float32), site_id=np.array([0, 1]))
    >>> two = Crops(images=np.zeros((1, 1, 32, 32), np.float32), site_id=np.array([2]))
    >>> len(concat_crops(one, two))
    3
    """
    if not crops:
        raise InputError("There are no crops to put together: give one or more.")
    first = crops[0]
    for other in crops[1:]:
        if other.images.shape[1:] != first.images.shape[1:] or other.channels != first.channels:
            raise InputError("The crops differ in grid or channels: cut them alike.")
        if other.content != first.content:
            raise InputError("Some of the crops show frames, others atoms: cut them alike.")
    return replace(
        first,
        images=np.concatenate([c.read() for c in crops]),
        site_id=np.concatenate([c.site_id for c in crops]),
        frame=np.concatenate([c.frame for c in crops]),
        source=np.concatenate([c.source for c in crops]),
        y=np.concatenate([c.y for c in crops]),
        x=np.concatenate([c.x for c in crops]),
        mean=np.concatenate([c.mean for c in crops]),
        sd=np.concatenate([c.sd for c in crops]),
        noise_sd=float(np.mean([c.noise_sd for c in crops])),
        noise_correlation=_mean_correlation([c.noise_correlation for c in crops]),
        distortion=_mean_matrix([c.distortion for c in crops]),
        window_px=float(np.mean([c.window_px for c in crops])),
    )


def extract_crops(
    frames: Any,
    sites: pd.DataFrame,
    config: CropConfig | None = None,
    *,
    window: float | None = None,
    pixels: int | None = None,
    content: Any = None,
    channels: Sequence[int | str] | None = None,
    lags: Sequence[int] = (0,),
    region: Any = None,
    progress: Callable[[int, int], bool | None] | None = None,
) -> Crops:
    """Cut a window around every site and resample it to the canonical grid.

    The window is physical: 3.5 nearest-neighbour distances by default, whatever the pixel size.
    Pixel (i, j) of a crop samples the frame at (y, x) + distortion @ (i - (S - 1) / 2,
    j - (S - 1) / 2) * window / S, where the distortion is that of the lattice by the scan
    (:func:`~napari_rvae.preprocess.lattice_distortion`; the identity where it cannot be told) and
    the shape of the pixels, where the frames know it in one unit. Frames lose the offsets of their
    rows (:func:`~napari_rvae.preprocess.destripe`) and, if asked, the growth of the noise with
    the signal; rendered atoms and arrays of your own do not.

    Each crop has its own mean taken off (over the disc inside the window, since that over the
    square changes as a lattice turns) and is divided by the local amplitude of the host (a trimmed
    mean over some five neighbour distances; 1 where there are no amplitudes), so that
    ramps go and heavier stays brighter. What the mean and the spread were is kept in the crops.

    Parameters
    ----------
    frames
        Frames or array-like (Y, X), (T, Y, X), (T, C, Y, X) of one movie.
    sites
        Sites table; the rows of one source.
    config
        Options; the defaults when left out.
    window
        Side of the window in frame pixels (of the mean size, where they are not square), instead
        of the config's.
    pixels
        Side S of the canonical grid, instead of the config's.
    content
        "frame", "rendered" (Gaussians at the fitted atoms), or an array of the frames' shape,
        such as probability maps.
    channels
        Which channels to cut; all when left out.
    lags
        Frame lags: layers of one crop are the frames t + lag.
    region
        Bool (Y, X) or (T, Y, X); sites outside get no crop.
    progress
        Called with (frames done, frames in all); returning False cancels.

    Returns
    -------
    Crops
        One for each site whose window lies in the frame and holds no NaN, in order.

    Raises
    ------
    InputError
        If the sites are not usable, or the window is larger than the frame.
    Cancelled
        If `progress` returned False.

    Examples
    --------
    >>> from napari_rvae import detect_atoms, extract_crops, simulate_graphene
    >>> movie = simulate_graphene(n_frames=1, size=128).frames
    >>> extract_crops(movie, detect_atoms(movie)).images.shape[1:]
    (1, 32, 32)
    """
    movie = as_frames(frames)
    config = config or CropConfig()
    config = replace(
        config,
        window=config.window if window is None else float(window),
        pixels=config.pixels if pixels is None else pixels,
        content=content if isinstance(content, str) else config.content,
    )
    plan = _Plan.make(movie, sites, config, content, channels, lags)
    mask = as_region(region, movie)
    cuts: list[_Cut] = []
    kept: list[NDArray[np.int64]] = []
    groups = group_rows(plan.sites)
    for done, (_, frame, rows) in enumerate(groups, start=1):
        if 0 <= frame < movie.n_frames:
            points = plan.points[rows]
            inside = plan.fits(frame, points) & _in_region(points, mask, frame)
            cut = plan.cut(frame, points[inside], plan.host[rows][inside])
            whole = np.asarray(np.isfinite(cut.images).all((1, 2, 3)))
            cuts.append(cut.select(whole))
            kept.append(rows[inside][whole])
        if progress is not None and progress(done, len(groups)) is False:
            raise Cancelled(f"Cutting crops was stopped after {done} of {len(groups)} frames.")
    if not cuts:
        cuts, kept = [plan.cut(-1, np.zeros((0, 2)), np.zeros(0))], [np.zeros(0, np.int64)]
    order = np.concatenate(kept)
    back = np.argsort(order, kind="stable")
    table = plan.sites.iloc[order[back]]
    noise_sd, correlation = _common_noise(cuts)
    return Crops(
        images=np.concatenate([cut.images for cut in cuts])[back],
        mean=np.concatenate([cut.mean for cut in cuts])[back],
        sd=np.concatenate([cut.sd for cut in cuts])[back],
        site_id=table["site_id"].to_numpy(np.int64),
        frame=table["frame"].to_numpy(np.int64),
        source=table["source"].to_numpy().astype(np.str_),
        y=table["y"].to_numpy(np.float64),
        x=table["x"].to_numpy(np.float64),
        window_px=plan.window,
        window_nd=plan.window / plan.spacing,
        distortion=_mean_matrix(list(plan.distortion.values())),
        noise_sd=noise_sd,
        noise_correlation=correlation,
        channels=plan.layer_names(movie),
        lags=tuple(lags),
        content=config.content,
    )


class _Cut(NamedTuple):
    """Crops (n, C, S, S) of one frame, mean and sd of their windows (n,), and their noise.

    The noise is its standard deviation if it is white, and what was measured of its correlation.
    """

    images: NDArray[np.float32]
    mean: NDArray[np.float64]
    sd: NDArray[np.float64]
    noise: float = math.nan
    measured: NoiseCorrelation = UNKNOWN_NOISE

    def select(self, rows: NDArray[np.bool_]) -> _Cut:
        """Return some of the crops."""
        return self._replace(images=self.images[rows], mean=self.mean[rows], sd=self.sd[rows])


def _common_noise(cuts: list[_Cut]) -> tuple[float, NDArray[np.float64] | None]:
    """Noise of all frames, and its correlation if it is not white."""
    known = [cut.noise for cut in cuts if math.isfinite(cut.noise)]
    common = common_correlation([cut.measured for cut in cuts])
    if common is not None:
        return common.sd, common.autocorrelation()
    return float(np.median(known)) if known else math.nan, None


def _mean_correlation(parts: list[NDArray[np.float64] | None]) -> NDArray[np.float64] | None:
    """Mean autocorrelation of the noise; None where it is white throughout."""
    known = [part for part in parts if part is not None]
    if not known:
        return None
    white = np.zeros_like(known[0])
    white[len(white) // 2, len(white) // 2] = 1.0
    return np.asarray(np.mean([white if part is None else part for part in parts], axis=0))


def _mean_matrix(parts: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Mean distortion (2, 2) with determinant 1."""
    mean = np.mean(parts, axis=0)
    return np.asarray(mean / math.sqrt(np.linalg.det(mean)))


def _in_region(
    points: NDArray[np.float64], mask: NDArray[np.bool_] | None, frame: int
) -> NDArray[np.bool_]:
    if mask is None:
        return np.ones(len(points), bool)
    here = mask if mask.ndim == 2 else mask[frame]
    index = np.nan_to_num(np.rint(points)).astype(int)
    inside = ((index >= 0) & (index < here.shape)).all(1)
    row, column = np.clip(index, 0, np.array(here.shape) - 1).T
    return np.asarray(inside & here[row, column])


@dataclass(frozen=True, eq=False)
class _Plan:
    """Everything that is the same for all frames of one call."""

    movie: Frames
    sites: pd.DataFrame
    config: CropConfig
    window: float
    spacing: float
    distortion: dict[int, NDArray[np.float64]]  # of every frame with sites, and of frame -1
    layers: tuple[tuple[int, int], ...]
    points: NDArray[np.float64]
    host: NDArray[np.float64]
    pictures: Pictures

    @staticmethod
    def make(
        movie: Frames,
        sites: pd.DataFrame,
        config: CropConfig,
        content: Any,
        channels: Sequence[int | str] | None,
        lags: Sequence[int],
    ) -> _Plan:
        """Check the request and measure what it needs."""
        table = validate_sites(sites).reset_index(drop=True)
        if len(table["source"].unique()) > 1:
            raise InputError("The sites come from several movies: cut the crops of one at a time.")
        distortion = frame_distortions(movie, table, config.distortion)
        spacing = physical_spacing(table, distortion[-1])
        side = config.window if config.window is not None else config.window_nd * spacing
        if not math.isfinite(side):
            raise InputError(
                "The sites have no neighbour distance, as no frame has three of them: give the "
                "window in pixels."
            )
        if side > min(movie.frame_shape):
            rows, columns = movie.frame_shape
            raise InputError(
                f"The window of {side:.1f} px is larger than the frame of {rows} x {columns}: "
                "make it smaller."
            )
        numbers = [movie.channel_index(c) for c in channels or range(movie.n_channels)]
        layers = tuple((lag, number) for lag in lags for number in numbers)
        points = table[["y", "x"]].to_numpy(float)
        pictures = Pictures(movie, table, config, content)
        host = _host_amplitude(table, points, spacing)
        return _Plan(
            movie, table, config, side, spacing, distortion, layers, points, host, pictures
        )

    def layer_names(self, movie: Frames) -> tuple[str, ...]:
        """Names of the channels of a crop."""
        return tuple(
            movie.channels[number] + (f" ({lag:+d} frames)" if lag else "")
            for lag, number in self.layers
        )

    def fits(self, frame: int, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which windows have all their samples in the frame."""
        half = (self.config.pixels - 1) / 2 * self.window / self.config.pixels
        reach = np.abs(self.distortion[frame]).sum(1) * half
        last = np.array(self.movie.frame_shape) - 1
        with np.errstate(invalid="ignore"):
            inside = (points - reach >= 0) & (points + reach <= last)
        return np.asarray(inside.all(1))

    def samples(self, frame: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Where the pixels of a crop lie from its site in the frame, (S, S) along y and along x."""
        side = self.config.pixels
        step = (np.arange(side) - (side - 1) / 2) * self.window / side
        along_y, along_x = self.distortion[frame]
        down, right = step[:, None], step[None, :]
        return along_y[0] * down + along_y[1] * right, along_x[0] * down + along_x[1] * right

    def cut(self, frame: int, points: NDArray[np.float64], host: NDArray[np.float64]) -> _Cut:
        """Cut the crops of one frame, with their mean off and divided by the host."""
        side = self.config.pixels
        divisor = np.where(host > 0, host, 1.0)
        out = np.full((len(points), len(self.layers), side, side), np.nan, np.float32)
        first_mean, first_sd = np.full((2, len(points)), np.nan)
        noise, measured, disc = math.nan, UNKNOWN_NOISE, round_window(side)
        samples = self.samples(frame)
        step = np.hypot(*self.distortion[frame].T) * self.window / side
        for number, (lag, channel) in enumerate(self.layers):
            if not 0 <= frame + lag < self.movie.n_frames:
                continue  # such crops stay NaN and are dropped
            image = self.pictures.picture(frame + lag, channel)
            cut = sample_windows(smooth_for(image, step), points, samples)
            mean = np.einsum("nij,ij->n", cut, disc)
            # before single precision, in which a large offset would cost a small signal its digits
            cut = (cut - mean[:, None, None]) / divisor[:, None, None]
            out[:, number] = cut
            if number == 0:
                first_mean = mean
                first_sd = np.sqrt(np.einsum("nij,ij->n", cut**2, disc)) * divisor
                noise, measured = self._noise(image, divisor)
        return _Cut(out, first_mean, first_sd, noise, measured)

    def _noise(
        self, image: NDArray[np.float64], divisor: NDArray[np.float64]
    ) -> tuple[float, NoiseCorrelation]:
        """Noise of a picture in the units of the crops, as in :class:`_Cut`."""
        if not divisor.size:
            return math.nan, UNKNOWN_NOISE
        unit = float(np.median(divisor))
        white = noise_level(image) / unit
        if not self.pictures.is_measured:  # what was drawn has no noise of its own
            return white, UNKNOWN_NOISE
        measured = noise_correlation(image)
        return white, measured._replace(sd=measured.sd / unit)


def _host_amplitude(
    table: pd.DataFrame, points: NDArray[np.float64], spacing: float
) -> NDArray[np.float64]:
    """Amplitude of the host about each site (N,): the trimmed mean of its neighbourhood.

    A median would jump between the amplitudes of two sublattices. Without fitted amplitudes it
    is 1, and the model's own standardisation has to do.
    """
    host = np.ones(len(table))
    if "amplitude" not in table or not math.isfinite(spacing):
        return host
    amplitude = table["amplitude"].to_numpy(float)
    good = np.isfinite(amplitude) & (amplitude > 0) & np.isfinite(points).all(1)
    neighbours = int(0.8 * math.pi * _HOST_REACH**2)
    for _, _, rows in group_rows(table):
        used = rows[good[rows]]
        if used.size == 0:
            continue
        tree, count = cKDTree(points[used]), min(neighbours, used.size)
        near = np.reshape(tree.query(np.nan_to_num(points[rows]), count)[1], (len(rows), -1))
        host[rows] = stats.trim_mean(amplitude[used][near], 0.1, axis=1)
    return host
