"""Cut windows around sites out of the frames."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial import cKDTree

from napari_rvae.config import CropConfig
from napari_rvae.crops.crops import Crops, layer_name, mean_matrix
from napari_rvae.crops.vectors import stem_of
from napari_rvae.errors import Cancelled, InputError
from napari_rvae.frames import Frames, as_frames, as_region
from napari_rvae.preprocess.correlation import (
    MAX_LAG,
    UNKNOWN_NOISE,
    NoiseCorrelation,
    common_correlation,
    noise_correlation,
)
from napari_rvae.preprocess.distortion import frame_distortions, physical_spacing
from napari_rvae.preprocess.noise import noise_level
from napari_rvae.preprocess.pictures import Pictures
from napari_rvae.preprocess.wall_mask import DRAWN, draw_walls
from napari_rvae.preprocess.windows import round_window, sample_windows, smooth_for
from napari_rvae.tables import group_rows, validate_sites

__all__ = ["extract_crops"]

#: The host's amplitude is averaged over this many neighbour distances.
_HOST_REACH = 5.0

#: Number of the channel of drawn walls, and how far from the site they fade, in windows.
_DRAW, _FADING = -1, 1 / 6

#: Sites that stand in no lattice, whose distance from each other says nothing about the specimen.
_NO_LATTICE = ("wall", "grid")


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
    Sites along walls and on grids have no such distance: their window is given in pixels. Pixel
    (i, j) of a crop samples the frame at (y, x) + distortion @ (i - (S - 1) / 2, j - (S - 1) / 2)
    * window / S, where the distortion is that of the lattice by the scan
    (:func:`~napari_rvae.preprocess.lattice_distortion`; the identity where it cannot be told) and
    the shape of the pixels, where the frames know it in one unit. Frames lose the offsets of their
    rows (:func:`~napari_rvae.preprocess.destripe`) and, if asked, the growth of the noise with
    the signal; rendered atoms and arrays of your own do not.

    Each crop has its own mean taken off (over the disc inside the window, since that over the
    square changes as a lattice turns) and is divided by the local amplitude of the host (a trimmed
    mean over some five neighbour distances; 1 where there are no amplitudes), so that
    ramps go and heavier stays brighter. What the mean and the spread were is kept in the crops.
    In the signed response of domains the sign itself matters: ``CropConfig.keep_mean`` names the
    channels whose mean stays.

    Where the table has ferroelastic walls, they are drawn as lines in a further layer, "walls",
    unless `channels` names others (``CropConfig.walls``). They are found along their whole length,
    and hardly seen in one window: this is what tells junctions from plain walls. The layer fades
    away from the site, by a Gaussian of a sixth of the window: what passes by is not the site's.

    Several channels, and several frames of each, are layers of one crop: they share its window
    and, in the model, its pose. Each layer has its own unit and noise; the model weighs them by
    their noise. Channels named "lateral response y" (down) and "lateral response x" are the
    components of a vector (``Crops.vectors``): models turn them into each other.

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
        Which channels to cut; all when left out. "walls" are drawn where the frames have none.
    lags
        Frame lags: layers of one crop are the frames t + lag, for each lag all channels. A site
        whose frame t + lag does not exist gets no crop.
    region
        Bool (Y, X) or (T, Y, X); sites outside get no crop.
    progress
        Called with (frames done, frames in all); returning False cancels.

    Returns
    -------
    Crops
        One for each site whose window lies in the frame and holds no NaN, in order;
        ``left_out`` counts the others.

    Raises
    ------
    InputError
        If the sites are not usable, the window is larger than the frame, or it is not given in
        pixels for sites along walls or on a grid.
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
    lost: Counter[str] = Counter()
    groups = group_rows(plan.sites)
    for done, (_, frame, rows) in enumerate(groups, start=1):
        if not plan.has_frames(frame):
            lost["no such frame"] += len(rows)
        else:
            points = plan.points[rows]
            fits, used = plan.fits(frame, points), _in_region(points, mask, frame)
            inside = fits & used
            cut = plan.cut(frame, points[inside], plan.host[rows][inside])
            whole = np.asarray(np.isfinite(cut.images).all((1, 2, 3)))
            lost["outside the region"] += int((~used).sum())
            lost["at the border"] += int((used & ~fits).sum())
            lost["missing pixels"] += int((~whole).sum())
            cuts.append(cut.select(whole))
            kept.append(rows[inside][whole])
        if progress is not None and progress(done, len(groups)) is False:
            raise Cancelled(f"Cutting crops was stopped after {done} of {len(groups)} frames.")
    return _assemble(plan, cuts, kept, lost)


def _assemble(
    plan: _Plan, cuts: list[_Cut], kept: list[NDArray[np.int64]], lost: Counter[str]
) -> Crops:
    """Put the crops of all frames together, in the order of their sites."""
    if not cuts:
        cuts, kept = [plan.cut(-1, np.zeros((0, 2)), np.zeros(0))], [np.zeros(0, np.int64)]
    order = np.concatenate(kept)
    back = np.argsort(order, kind="stable")
    table = plan.sites.iloc[order[back]]
    noise, correlation = _common_noise(cuts)
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
        distortion=mean_matrix(list(plan.distortion.values())),
        noise_sd=float(noise[0]),
        layer_noise=noise,
        noise_correlation=correlation,
        channels=plan.layer_names(),
        lags=plan.lags,
        content=plan.config.content,
        subtract_mean=plan.config.subtract_mean,
        kept_means=plan.kept_means(),
        left_out={reason: count for reason, count in lost.items() if count},
    )


class _Cut(NamedTuple):
    """Crops (n, C, S, S) of one frame, mean and sd of their windows (n,), and their noise.

    The noise of each layer is its standard deviation if it is white, and what was measured of its
    correlation.
    """

    images: NDArray[np.float32]
    mean: NDArray[np.float64]
    sd: NDArray[np.float64]
    noise: tuple[tuple[float, NoiseCorrelation], ...]

    def select(self, rows: NDArray[np.bool_]) -> _Cut:
        """Return some of the crops."""
        return self._replace(images=self.images[rows], mean=self.mean[rows], sd=self.sd[rows])


def _common_noise(cuts: list[_Cut]) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Noise (C,) of each layer in all frames, and its correlation if it is not white.

    The correlation is that of all layers (2 K + 1, 2 K + 1) where there is one layer, else one of
    each (C, 2 K + 1, 2 K + 1).
    """
    level = np.full(len(cuts[0].noise), math.nan)
    found: list[NDArray[np.float64] | None] = []
    for layer in range(level.size):
        known = [cut.noise[layer][0] for cut in cuts if math.isfinite(cut.noise[layer][0])]
        common = common_correlation([cut.noise[layer][1] for cut in cuts])
        if known:
            level[layer] = np.median(known)
        if common is not None:
            level[layer] = common.sd
        found.append(None if common is None else common.autocorrelation())
    if all(part is None for part in found):
        return level, None
    side = 2 * MAX_LAG + 1
    white = np.zeros((side, side))
    white[MAX_LAG, MAX_LAG] = 1.0
    stack = np.stack([white if part is None else part for part in found])
    return level, stack[0] if len(stack) == 1 else stack


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
    lags: tuple[int, ...]
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
        spacing = math.nan
        if not table["kind"].isin(_NO_LATTICE).all():
            spacing = physical_spacing(table, distortion[-1])
        side = _window_side(movie, table, config, spacing)
        pictures = Pictures(movie, table, config, content)
        steps, layers = _layers(movie, channels, lags, drawn=_draws(movie, table, config, content))
        points = table[["y", "x"]].to_numpy(float)
        host = _host_amplitude(table, points, spacing)
        return _Plan(
            movie, table, config, side, spacing, distortion, steps, layers, points, host, pictures
        )

    def layer_names(self) -> tuple[str, ...]:
        """Names of the layers of a crop."""
        return tuple(layer_name(self.channel(number), lag) for lag, number in self.layers)

    def channel(self, number: int) -> str:
        """Name of a channel."""
        return DRAWN if number == _DRAW else self.movie.channels[number]

    def kept_means(self) -> tuple[str, ...]:
        """Channels whose mean stays."""
        keep = {name.strip() for name in self.config.keep_mean.split(",")}
        names = dict.fromkeys(self.channel(number) for _, number in self.layers)
        return tuple(n for n in names if n in keep or stem_of(n) in keep or n == DRAWN)

    def picture(self, frame: int, channel: int) -> NDArray[np.float64]:
        """Picture (Y, X) to cut from: a frame, or its walls as lines."""
        if channel != _DRAW:
            return self.pictures.picture(frame, channel)
        here = self.sites[(self.sites["frame"] == frame) & _is_drawn(self.sites)]
        return draw_walls(here, self.movie.frame_shape).astype(np.float64)

    def has_frames(self, frame: int) -> bool:
        """Whether a frame and all that lie beside it by the lags exist."""
        return all(0 <= frame + lag < self.movie.n_frames for lag in (0, *self.lags))

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
        noise = [(math.nan, UNKNOWN_NOISE)] * len(self.layers)
        disc, samples, keep = round_window(side), self.samples(frame), self.kept_means()
        step = np.hypot(*self.distortion[frame].T) * self.window / side
        for number, (lag, channel) in enumerate(self.layers):
            if not self.has_frames(frame):
                break
            image = self.picture(frame + lag, channel)
            name = self.channel(channel)
            cut = sample_windows(smooth_for(image, step), points, samples)
            mean = np.einsum("nij,ij->n", cut, disc)
            # before single precision, in which a large offset would cost a small signal its digits
            rest = cut - mean[:, None, None]
            kept = rest if self.config.subtract_mean and name not in keep else cut
            if name == DRAWN:
                out[:, number] = cut * _fading(side)
                noise[number] = 0.0, UNKNOWN_NOISE
            else:
                out[:, number] = kept / divisor[:, None, None]
                noise[number] = self._noise(image, divisor)
            if number == 0:
                first_mean, first_sd = mean, np.sqrt(np.einsum("nij,ij->n", rest**2, disc))
        return _Cut(out, first_mean, first_sd, tuple(noise))

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


def _fading(side: int) -> NDArray[np.float64]:
    """Weight (S, S) of drawn walls about the site."""
    away = (np.arange(side) - (side - 1) / 2) / (_FADING * side)
    return np.exp(-(away[:, None] ** 2 + away**2) / 2)


def _is_drawn(table: pd.DataFrame) -> NDArray[np.bool_]:
    """Which sites (N,) lie on walls that are drawn: ferroelastic ones of known direction."""
    if "wall_type" not in table or "normal_angle" not in table:
        return np.zeros(len(table), bool)
    kind, angle = table["wall_type"].to_numpy(), table["normal_angle"].to_numpy(float)
    return np.asarray((kind == "ferroelastic") & np.isfinite(angle), bool)


def _draws(movie: Frames, table: pd.DataFrame, config: CropConfig, content: Any) -> bool:
    """Whether walls are drawn as a layer that nobody has named."""
    own = content is not None and not isinstance(content, str)
    if DRAWN in movie.channels or config.walls == "off" or own or config.content != "frame":
        return False
    return config.walls == "on" or bool(_is_drawn(table).any())


def _window_side(movie: Frames, table: pd.DataFrame, config: CropConfig, spacing: float) -> float:
    """Side of the window in frame pixels."""
    side = config.window if config.window is not None else config.window_nd * spacing
    if not math.isfinite(side):
        raise InputError(
            "Sites along walls or on a grid have no neighbour distance: give the window in pixels."
            if len(table) and table["kind"].isin(_NO_LATTICE).all()
            else "The sites have no neighbour distance, as no frame has three of them: give the "
            "window in pixels."
        )
    if side > min(movie.frame_shape):
        rows, columns = movie.frame_shape
        raise InputError(
            f"The window of {side:.1f} px is larger than the frame of {rows} x {columns}: "
            "make it smaller."
        )
    return side


def _layers(
    movie: Frames, channels: Sequence[int | str] | None, lags: Sequence[int], *, drawn: bool
) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
    """Lags, and lag and channel of every layer of a crop."""
    steps = tuple(int(lag) for lag in lags)
    if not steps or len(set(steps)) < len(steps) or steps != tuple(lags):
        raise InputError(f"lags = {tuple(lags)}: give whole numbers of frames, each once.")
    if not any(all(0 <= t + lag < movie.n_frames for lag in steps) for t in range(movie.n_frames)):
        raise InputError(
            f"lags = {steps} reach beyond the movie from every one of its {movie.n_frames} frames."
        )
    if channels:
        own = DRAWN not in movie.channels
        numbers = [_DRAW if own and c == DRAWN else movie.channel_index(c) for c in channels]
    else:
        numbers = [*range(movie.n_channels), *([_DRAW] if drawn else [])]
    if len(set(numbers)) < len(numbers):
        raise InputError(f"channels = {channels}: name each channel once.")
    return steps, tuple((lag, number) for lag in steps for number in numbers)


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
