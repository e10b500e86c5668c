"""Latents all over the frames: a crop around every few pixels, and what lies between."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import pandas as pd

from napari_rvae import tables
from napari_rvae.analysis.maps import ANGLE_COLUMNS
from napari_rvae.analysis.recut import named_as_trained
from napari_rvae.crops import extract_crops
from napari_rvae.errors import InputError
from napari_rvae.frames import as_frames, as_region
from napari_rvae.preprocess.wall_mask import DRAWN, add_wall_channel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_rvae.frames import Frames
    from napari_rvae.vae import RVAE

    Array = NDArray[np.float64]

__all__ = ["latent_image"]

#: Latents of so many frames are kept, so that a second column does not encode them again.
_FRAMES_KEPT = 32

#: Rows of crops that are encoded together hold so many values at most.
_MOST_VALUES = 1 << 25


@overload
def latent_image(
    model: RVAE, frames: Any, column: str, *, stride: int = ..., symmetry: int | None = ...,
    channels: Sequence[int | str] | None = ..., region: Any = ...,
    walls: pd.DataFrame | None = ...,
) -> Any: ...  # fmt: skip


@overload
def latent_image(
    model: RVAE, frames: Any, column: Sequence[str], *, stride: int = ...,
    symmetry: int | None = ..., channels: Sequence[int | str] | None = ..., region: Any = ...,
) -> dict[str, Any]: ...  # fmt: skip


def latent_image(
    model: RVAE,
    frames: Any,
    column: str | Sequence[str],
    *,
    stride: int = 4,
    symmetry: int | None = None,
    channels: Sequence[int | str] | None = None,
    region: Any = None,
    walls: pd.DataFrame | None = None,
) -> Any:
    """Latents of a crop around every pixel, as pictures over the frames.

    A crop is cut around every `stride`-th pixel along each axis, with the window, channels and lags
    of the training, and encoded on the model's device; between them numbers are interpolated
    linearly, angles on the circle. A frame is computed when it is looked at; all columns of a frame
    are encoded together.

    Parameters
    ----------
    model
        A trained model whose crops show frames.
    frames
        Frames or array-like (Y, X), (T, Y, X), (T, C, Y, X) with the channels of the training.
    column
        Column of :meth:`~napari_rvae.RVAE.transform`, such as "z0" or "angle", or several.
    stride
        Pixels from crop to crop; 1 encodes every pixel.
    symmetry
        Order n of the symmetry of angles, 1 when left out: they are interpolated on n times the
        angle and returned in (-pi/n, pi/n]. 2 for the axis of a wall.
    channels
        Channels to cut; those that the model was trained on, by name, when left out.
    region
        Bool (Y, X) or (T, Y, X); NaN outside.
    walls
        Sites along walls, for a model whose crops have the layer "walls": ferroelastic ones are
        drawn, as they were for the training.

    Returns
    -------
    dask array, float32
        (T, Y, X), or (Y, X) for one image, one frame a chunk; a dict of them by column for several.
        NaN where no whole window fits: along the border, at missing pixels, in frames without their
        neighbours in time.

    Raises
    ------
    NotFittedError
        Before the training.
    InputError
        If there is no such column, the frames lack a channel, or no window fits.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import RVAE, extract_crops, latent_image, sample_grid
    >>> movie = np.random.default_rng(0).normal(size=(2, 64, 64))
    >>> model = RVAE(epochs=1).fit(extract_crops(movie, sample_grid(movie, step=6), window=16))
    >>> picture = latent_image(model, movie, "z0", stride=8)
    >>> picture.shape, bool(np.isnan(picture[0, 0, 0])), bool(np.isfinite(picture[0, 32, 32]))
    ((2, 64, 64), True, True)
    """
    import dask
    import dask.array as da

    movie = _with_walls(as_frames(frames), walls, model.channels_)
    encoder = _Encoder(model, movie, stride, symmetry, channels, region)
    names = [column] if isinstance(column, str) else list(column)
    known = encoder.columns()
    for name in names:
        if name not in known:
            raise InputError(f"There is no column {name!r}: choose from {', '.join(known)}.")
    draw = dask.delayed(encoder.draw, pure=False)
    found = {}
    for name in names:
        pictures = [
            da.from_delayed(draw(frame, name), shape=movie.frame_shape, dtype=np.float32)
            for frame in range(movie.n_frames)
        ]
        found[name] = da.stack(pictures) if "t" in movie.axis_labels else pictures[0]
    return found[column] if isinstance(column, str) else found


def _with_walls(movie: Frames, walls: pd.DataFrame | None, names: Sequence[str]) -> Frames:
    """Frames with the channel of drawn walls, where the model wants it and they have none."""
    if DRAWN not in names or DRAWN in movie.channels:
        return movie
    if walls is None:
        raise InputError(
            "The model was trained on windows with walls drawn in: give the sites along the walls "
            "of these frames (walls=...)."
        )
    table = tables.validate_sites(walls, need=["wall_type", "normal_angle"])
    drawn = table[table["wall_type"] == "ferroelastic"].reset_index(drop=True)
    return add_wall_channel(named_as_trained(movie, names), drawn)


class _Encoder:
    """Encodes one frame at a time, and keeps what it found."""

    def __init__(
        self,
        model: RVAE,
        movie: Frames,
        stride: int,
        symmetry: int | None,
        channels: Sequence[int | str] | None,
        region: Any,
    ) -> None:
        self.model, self.movie = model, movie
        config = model.crop_config
        if config.content != "frame":
            raise InputError("The model was trained on rendered atoms: dense latents need frames.")
        if stride != int(stride) or not 1 <= stride <= min(movie.frame_shape):
            raise InputError(f"stride = {stride}: give whole pixels, 1 or more.")
        if symmetry is not None and symmetry < 1:
            raise InputError(f"symmetry = {symmetry}: the order of a symmetry is 1 or more.")
        self._window = model.window_px_
        self._options = config
        self._symmetry, self._region = symmetry or 1, as_region(region, movie)
        names = model.channels_
        if channels is None:  # a single channel may have any name
            channels = names if movie.n_channels > 1 or len(names) > 1 else None
        self._channels = channels
        for channel in channels or ():
            movie.channel_index(channel)
        self._places = [_places(n, self._window, int(stride)) for n in movie.frame_shape]
        self._kept: OrderedDict[int, dict[str, Array]] = OrderedDict()
        self._lock = threading.Lock()

    def columns(self) -> list[str]:
        """Names of the columns that there are."""
        names = [f"z{i}{end}" for i in range(self.model.n_latents_) for end in ("", "_sd")]
        return [*names, *tables.LATENT_COLUMNS]

    def draw(self, frame: int, column: str) -> NDArray[np.float32]:
        """Picture (Y, X) of one frame."""
        grid = self._encoded(frame)[column]
        picture = np.full(self.movie.frame_shape, np.nan, np.float32)
        rows, columns = self._places
        area = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        if column in ANGLE_COLUMNS:
            n = self._symmetry
            arrow = _between(np.exp(1j * n * grid), rows, columns)
            picture[area] = tables.fold_angle(np.angle(arrow) / n, n)
            picture[area][np.isnan(arrow.real)] = np.nan
        else:
            picture[area] = _between(grid, rows, columns)
        if self._region is not None:
            mask = self._region if self._region.ndim == 2 else self._region[frame]
            picture[~mask] = np.nan
        return picture

    def _encoded(self, frame: int) -> dict[str, Array]:
        """All columns (ny, nx) of the grid of crops of a frame."""
        with self._lock:  # one encodes, and whoever asks for another column waits for it
            if frame not in self._kept:
                self._kept[frame] = self._encode(frame)
            self._kept.move_to_end(frame)
            while len(self._kept) > _FRAMES_KEPT:
                self._kept.popitem(last=False)
            return self._kept[frame]

    def _encode(self, frame: int) -> dict[str, Array]:
        rows, columns = self._places
        n_layers = max(1, len(self.model.channels_)) * len(self.model.lags_)
        values = len(columns) * n_layers * self._options.pixels**2
        step = max(1, _MOST_VALUES // values)
        found = {name: np.full((len(rows), len(columns)), np.nan) for name in self.columns()}
        if not all(0 <= frame + lag < self.movie.n_frames for lag in self.model.lags_):
            return found
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            table = self._latents(frame, rows[part], columns)
            for name, grid in found.items():
                if name in table:
                    grid[part].reshape(-1)[table["site_id"]] = table[name]
        return found

    def _latents(
        self, frame: int, rows: NDArray[np.int64], columns: NDArray[np.int64]
    ) -> pd.DataFrame:
        """Latents of the crops around a few rows of places."""
        y, x = (axis.ravel() for axis in np.meshgrid(rows, columns, indexing="ij"))
        sites = tables.make_sites(frame=frame, y=y.astype(float), x=x.astype(float), kind="grid")
        crops = extract_crops(
            self.movie,
            sites,
            self._options,
            window=self._window,
            channels=self._channels,
            lags=self.model.lags_,
        )
        return self.model.transform(crops)


def _places(length: int, window: float, stride: int) -> NDArray[np.int64]:
    """Pixels along an axis around which crops are cut, in the middle of the frame."""
    reach = int(np.ceil(window / 2))
    first, last = reach, length - 1 - reach
    if first > last:
        raise InputError(
            f"The model's window of {window:.1f} px does not fit into a frame of {length} px."
        )
    number = (last - first) // stride
    start = first + (last - first - number * stride) // 2
    return start + stride * np.arange(number + 1, dtype=np.int64)


def _between(grid: NDArray[Any], rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Any:
    """Linear interpolation of a grid (ny, nx) at every pixel from its first to its last place."""
    for axis, places in enumerate((rows, columns)):
        at = np.arange(places[0], places[-1] + 1)
        low = np.clip(np.searchsorted(places, at, side="right") - 1, 0, max(len(places) - 2, 0))
        if len(places) == 1:
            continue
        share = (at - places[low]) / (places[low + 1] - places[low])
        share = np.expand_dims(share, 1 - axis)
        before, after = np.take(grid, low, axis), np.take(grid, low + 1, axis)
        # at a place itself, its neighbour does not count, were it NaN
        mixed = before * (1 - share) + after * share
        grid = np.where(share == 0, before, np.where(share == 1, after, mixed))
    return grid
