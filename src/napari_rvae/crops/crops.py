"""Windows around sites, on one canonical grid, with what is known of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_rvae.crops.vectors import vector_pairs
from napari_rvae.errors import InputError

__all__ = ["Crops", "concat_crops", "layer_name", "mean_matrix"]


def layer_name(channel: str, lag: int) -> str:
    """Name of the layer that shows a channel some frames later or earlier."""
    return channel + (f" ({lag:+d} frames)" if lag else "")


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
        Standard deviation of the noise of one frame pixel in the units of `images`, in the first
        layer; NaN when unknown.
    layer_noise
        The same of each layer (C,); `noise_sd` and NaN when left out.
    noise_correlation
        Autocorrelation of the noise on the grid of the frame (2 K + 1, 2 K + 1), 1 in the middle,
        at [K + dy, K + dx] for pixels (dy, dx) apart; one for each layer (C, 2 K + 1, 2 K + 1)
        where there are several; None for white or unknown noise.
    mean, sd
        Mean and standard deviation (N,) in the disc inside the window in the first channel, in
        the units of the frames, before they were taken off; NaN when unknown.
    channels
        Names of the layers: channels, for each lag.
    lags
        Frame lags that the layers stand for.
    content
        What the crops show: "frame", or "rendered" for Gaussians at the fitted atoms.
    subtract_mean
        Whether each crop's own mean was taken off.
    kept_means
        Channels whose mean was not, all the same.
    left_out
        Number of sites without a crop, by the reason: "no such frame" (of the movie, or at a
        lag), "at the border", "outside the region", "missing pixels".

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
    subtract_mean: bool = True
    kept_means: tuple[str, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    layer_noise: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

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
        self._fill_noise(shape[1])

    def _fill_noise(self, n_layers: int) -> None:
        noise = np.asarray(self.layer_noise, float)
        if not noise.size:
            noise = np.r_[self.noise_sd, np.full(n_layers - 1, math.nan)]
        if noise.shape != (n_layers,):
            raise InputError(f"layer_noise must have one entry for each of {n_layers} layers.")
        object.__setattr__(self, "layer_noise", noise)
        correlation = self.noise_correlation
        if correlation is not None and correlation.ndim == 3 and len(correlation) != n_layers:
            raise InputError(f"noise_correlation must have one part for each of {n_layers} layers.")

    def __len__(self) -> int:
        """Return the number of crops."""
        return int(self.images.shape[0])

    def __repr__(self) -> str:
        """Return their number, layers and window in one line; no pixels are read."""
        layers = ", ".join(self.channels)
        return (
            f"Crops({len(self):,} of {self.pixels} x {self.pixels} px, layers {layers}, windows of "
            f"{self.window_px:.4g} frame px)"
        )

    @property
    def pixels(self) -> int:
        """Side of a crop on the canonical grid, S."""
        return int(self.images.shape[2])

    @property
    def native_pixel(self) -> float:
        """Size of a frame pixel in pixels of the canonical grid."""
        return self.pixels / self.window_px

    @property
    def vectors(self) -> tuple[tuple[int, int], ...]:
        """Numbers of the layers that are the y (down) and x components of vectors, by their names.

        "lateral response y" and "lateral response x", at each lag, are such a pair: a turn of the
        crop turns them into each other.
        """
        return vector_pairs(self.channels)

    @property
    def base_channels(self) -> tuple[str, ...]:
        """Names of the channels of the frames that the layers of every lag show."""
        lag, count = self.lags[0], len(self.channels) // max(1, len(self.lags))
        end = layer_name("", lag)
        return tuple(name.removesuffix(end) for name in self.channels[: max(1, count)])

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
        if (other.subtract_mean, other.kept_means) != (first.subtract_mean, first.kept_means):
            raise InputError("Some of the crops have their mean taken off: cut them alike.")
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
        layer_noise=np.mean([c.layer_noise for c in crops], axis=0),
        left_out=dict(sum((Counter(c.left_out) for c in crops), Counter())),
        noise_correlation=_mean_correlation([c.noise_correlation for c in crops]),
        distortion=mean_matrix([c.distortion for c in crops]),
        window_px=float(np.mean([c.window_px for c in crops])),
    )


def _mean_correlation(parts: list[NDArray[np.float64] | None]) -> NDArray[np.float64] | None:
    """Mean autocorrelation of the noise; None where it is white throughout."""
    known = [part for part in parts if part is not None]
    if not known:
        return None
    white = np.zeros_like(known[0])
    white[..., white.shape[-2] // 2, white.shape[-1] // 2] = 1.0
    return np.asarray(np.mean([white if part is None else part for part in parts], axis=0))


def mean_matrix(parts: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Mean distortion (2, 2) with determinant 1."""
    mean = np.mean(parts, axis=0)
    return np.asarray(mean / math.sqrt(np.linalg.det(mean)))
