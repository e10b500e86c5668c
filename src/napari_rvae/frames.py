"""Frames: a movie or an image with its axes, scale and units, read lazily.

This module opens no file; :mod:`napari_rvae.io` does.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_rvae.errors import InputError
from napari_rvae.tables import bond_distance, distance_spread

__all__ = [
    "FRAME_COLUMNS",
    "MIN_FRAME_SIDE",
    "Frames",
    "as_frames",
    "as_region",
    "check_length",
    "set_scale",
    "stack_channels",
]

#: Columns of the frames table.
FRAME_COLUMNS = ("frame", "time", "dose", "bias", "keep")

#: A frame with fewer pixels along a side holds nothing that could be analysed.
MIN_FRAME_SIDE = 8

#: Units that a known distance may be given in.
_LENGTH_UNITS = ("pm", "angstrom", "nm", "um")

#: Distances to the nearest neighbour that scatter more than this (interquartile range over median)
#: are not those of a lattice; those of points at random scatter by 0.77.
_MOST_SCATTER = 0.3

_DEFAULT_AXES = {2: ("y", "x"), 3: ("t", "y", "x"), 4: ("t", "c", "y", "x")}
_ALL_AXES = ("t", "c", "y", "x")


def _empty_table(n_frames: int) -> pd.DataFrame:
    table = pd.DataFrame({"frame": np.arange(n_frames, dtype=np.int64)})
    for name in ("time", "dose", "bias"):
        table[name] = np.nan
    table["keep"] = True
    return table


@dataclass(frozen=True, eq=False, repr=False)
class Frames:
    """A movie (T, Y, X), a multichannel movie (T, C, Y, X) or one image (Y, X), read lazily.

    Parameters
    ----------
    data
        Any array-like with ``shape``, ``dtype`` and slicing: NumPy, dask, zarr, memmap.
    axis_labels
        One letter an axis, a subset of ("t", "c", "y", "x") in that order; guessed from the
        number of axes when left out.
    scale
        Size of one step along each axis; 1 when left out.
    units
        Unit of each axis, "pixel" when left out.
    channels
        Name of each channel.
    table
        One row per frame: frame, time (s), dose (e/A^2), bias (V), keep; NaN where unknown.
    name
        What to call it, usually the file's base name.
    metadata
        Anything worth keeping that JSON can hold.

    Raises
    ------
    InputError
        If the axes do not fit the data, or the data are complex, text, or too small.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.frames import Frames
    >>> movie = Frames(np.zeros((5, 64, 48)))
    >>> movie.n_frames, movie.frame_shape
    (5, (64, 48))
    """

    data: Any
    axis_labels: tuple[str, ...] = ()
    scale: tuple[float, ...] = ()
    units: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    table: pd.DataFrame = field(default_factory=pd.DataFrame)
    name: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Fill in what was left out and check that all of it agrees."""
        shape = _checked_shape(self.data)
        labels = tuple(self.axis_labels) or _DEFAULT_AXES.get(len(shape), ())
        self._check_axes(labels, shape)
        ndim = len(shape)
        scale = tuple(float(s) for s in self.scale) or (1.0,) * ndim
        units = tuple(self.units) or ("pixel",) * ndim
        if len(scale) != ndim or len(units) != ndim:
            raise InputError(f"scale and units need one entry for each of the {ndim} axes.")
        if any(not np.isfinite(s) or s <= 0 for s in scale):
            raise InputError(f"scale = {scale} must be positive and finite along every axis.")
        n_channels = shape[labels.index("c")] if "c" in labels else 1
        channels = tuple(self.channels) or tuple(
            f"channel {i}" if n_channels > 1 else "intensity" for i in range(n_channels)
        )
        if len(channels) != n_channels:
            raise InputError(f"There are {n_channels} channels but {len(channels)} channel names.")
        n_frames = shape[labels.index("t")] if "t" in labels else 1
        table = _empty_table(n_frames) if self.table.empty else self.table
        missing = [c for c in FRAME_COLUMNS if c not in table]
        if missing or len(table) != n_frames:
            raise InputError(
                f"The frames table needs the columns {', '.join(FRAME_COLUMNS)} "
                f"and one row for each of the {n_frames} frames."
            )
        for key, value in (
            ("axis_labels", labels),
            ("scale", scale),
            ("units", units),
            ("channels", channels),
            ("table", table),
            ("metadata", dict(self.metadata)),
        ):
            object.__setattr__(self, key, value)

    def __repr__(self) -> str:
        """Return name, axes, type and pixel size in one line; no pixels are read."""
        axes = ", ".join(f"{a} {n}" for a, n in zip(self.axis_labels, self.shape, strict=True))
        height, width = self.pixel_size
        pixel = f"{height:g} x {width:g} {self.units[-1]}"
        return f"Frames({self.name!r}, {axes}, {self.dtype}, pixels of {pixel})"

    @staticmethod
    def _check_axes(labels: tuple[str, ...], shape: tuple[int, ...]) -> None:
        ordered = tuple(a for a in _ALL_AXES if a in labels)
        if labels != ordered or labels[-2:] != ("y", "x") or len(labels) != len(shape):
            raise InputError(
                f"Data of shape {shape} cannot have the axes {labels}: use a subset of "
                "('t', 'c', 'y', 'x') in that order, one for each axis."
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the data, one entry for each axis label."""
        return tuple(self.data.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the stored values."""
        dtype: np.dtype[Any] = np.dtype(self.data.dtype)
        return dtype

    @property
    def n_frames(self) -> int:
        """Number of frames, T."""
        return int(self.shape[0]) if "t" in self.axis_labels else 1

    @property
    def n_channels(self) -> int:
        """Number of channels, C."""
        return len(self.channels)

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Rows and columns of one frame, (Y, X)."""
        rows, columns = self.shape[-2:]
        return int(rows), int(columns)

    @property
    def pixel_size(self) -> tuple[float, float]:
        """Height and width of a pixel in the units of the y and x axes."""
        return self.scale[-2], self.scale[-1]

    @property
    def pixel_aspect(self) -> float:
        """Height of a pixel divided by its width."""
        return self.scale[-2] / self.scale[-1]

    def channel_index(self, channel: int | str) -> int:
        """Index of a channel given by number or name."""
        if isinstance(channel, str):
            if channel not in self.channels:
                raise InputError(
                    f"There is no channel {channel!r}: choose from {', '.join(self.channels)}."
                )
            return self.channels.index(channel)
        if not -self.n_channels <= channel < self.n_channels:
            raise InputError(f"There is no channel {channel}: there are {self.n_channels}.")
        return channel % self.n_channels

    def frame(self, index: int, channel: int | str = 0) -> NDArray[np.float64]:
        """Read one frame of one channel.

        Parameters
        ----------
        index
            Frame number, from 0.
        channel
            Number or name of the channel.

        Returns
        -------
        ndarray of shape (Y, X)
            Values as float64; infinite values become NaN.

        Raises
        ------
        InputError
            If there is no such frame or channel.
        """
        if not 0 <= index < self.n_frames:
            raise InputError(f"There is no frame {index}: there are {self.n_frames}.")
        key: tuple[int, ...] = (index,) if "t" in self.axis_labels else ()
        if "c" in self.axis_labels:
            key = (*key, self.channel_index(channel))
        else:
            self.channel_index(channel)
        with warnings.catch_warnings():
            # a value beyond float64 (long double) becomes inf, and inf becomes NaN below
            warnings.simplefilter("ignore", RuntimeWarning)
            # zarr arrays take no empty key
            image = np.array(self.data[key] if key else self.data[...], dtype=np.float64)
        image[~np.isfinite(image)] = np.nan
        return image

    def select_channel(self, channel: int | str) -> Frames:
        """Return the frames of one channel, without the channel axis."""
        number = self.channel_index(channel)
        if "c" not in self.axis_labels:
            return self
        axis = self.axis_labels.index("c")
        key = tuple(number if i == axis else slice(None) for i in range(len(self.shape)))
        keep = [i for i in range(len(self.shape)) if i != axis]
        data = self.data
        if not isinstance(data, np.ndarray) and not hasattr(data, "dask"):
            from dask import array as dask_array  # slicing a stored array would read it

            data = dask_array.from_array(data)
        return Frames(
            data[key],
            axis_labels=tuple(self.axis_labels[i] for i in keep),
            scale=tuple(self.scale[i] for i in keep),
            units=tuple(self.units[i] for i in keep),
            channels=(self.channels[number],),
            table=self.table,
            name=self.name,
            metadata=self.metadata,
        )


def _checked_shape(data: Any) -> tuple[int, ...]:
    """Shape of the data, after the checks that need no reading."""
    if not hasattr(data, "shape") or not hasattr(data, "dtype"):
        raise InputError(f"{type(data).__name__} is no array: give an array or Frames.")
    shape = tuple(int(n) for n in data.shape)
    kind = np.dtype(data.dtype).kind
    if kind == "c":
        raise InputError("The frames are complex: give amplitude and phase as two channels.")
    if kind not in "biuf":
        raise InputError(f"Frames of type {data.dtype} hold no numbers: give real values.")
    if len(shape) not in _DEFAULT_AXES:
        raise InputError(
            f"Frames of shape {shape} have {len(shape)} axes: give (Y, X), (T, Y, X) "
            "or (T, C, Y, X)."
        )
    if 0 in shape:
        raise InputError(f"Frames of shape {shape} are empty: there is nothing to analyse.")
    if shape[-1] in (3, 4) and min(shape[-3:-1]) >= MIN_FRAME_SIDE:
        raise InputError(
            f"Frames of shape {shape} look like RGB colours: give grey values, (Y, X) a frame."
        )
    if min(shape[-2:]) < MIN_FRAME_SIDE:
        raise InputError(
            f"Frames of {shape[-2]} x {shape[-1]} pixels are too small: "
            f"each side needs {MIN_FRAME_SIDE} or more."
        )
    return shape


def as_frames(frames: Any, *, name: str = "") -> Frames:
    """Return `frames` as :class:`Frames`.

    Parameters
    ----------
    frames
        Frames, or an array-like of shape (Y, X), (T, Y, X) or (T, C, Y, X); a bare 3-D array is
        always a movie. Lists of equal images are stacked.
    name
        Name to give it when it has none.

    Raises
    ------
    InputError
        If it cannot be taken for frames.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.frames import as_frames
    >>> as_frames(np.zeros((64, 64))).axis_labels
    ('y', 'x')
    """
    if isinstance(frames, Frames):
        return dataclasses.replace(frames, name=name) if name and not frames.name else frames
    if isinstance(frames, Sequence):
        try:
            frames = np.asarray(frames)
        except ValueError:
            raise InputError("The frames differ in shape: give frames of one size.") from None
    return Frames(frames, name=name)


def as_region(region: Any, frames: Frames) -> NDArray[np.bool_] | None:
    """Check a region: bool (Y, X) or (T, Y, X), True where the data may be used.

    Raises
    ------
    InputError
        If its shape does not fit the frames, or it is not boolean.
    """
    if region is None:
        return None
    mask = np.asarray(region)
    if mask.dtype != np.bool_:
        raise InputError(f"region is of type {mask.dtype}: give a boolean array, True = use.")
    allowed = (frames.frame_shape, (frames.n_frames, *frames.frame_shape))
    if mask.shape not in allowed:
        raise InputError(f"region has shape {mask.shape}: give one of {allowed}.")
    return mask


def check_length(distance: float) -> None:
    """Raise an InputError unless a distance is finite and positive."""
    if not (np.isfinite(distance) and distance > 0):
        raise InputError(f"The distance {distance:g} is no length: give a positive one.")


def set_scale(
    frames: Any, sites: pd.DataFrame, *, neighbour_distance: float, unit: str = "nm"
) -> Frames:
    """Set the size of a pixel from a known distance between nearest neighbours.

    The size is the known distance over the one that is measured on the sites, as
    :func:`~napari_rvae.tables.bond_distance` says: noise and distortion by the scan average out. A
    scale that the frames had is replaced; only the shape of their
    pixels, height over width, is kept.

    Parameters
    ----------
    frames
        Frames or array-like (Y, X), (T, Y, X), (T, C, Y, X).
    sites
        Sites table of one source: the atoms of these frames, in pixels.
    neighbour_distance
        What the distance is known to be, such as 0.142 (nm) in graphene.
    unit
        Unit of it: "pm", "angstrom", "nm" or "um".

    Returns
    -------
    Frames
        The same frames with another scale and unit along y and x.

    Raises
    ------
    InputError
        If the distance is not positive, the unit is unknown, no frame has three sites, or the
        distances of neighbours scatter so much that there is no lattice.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import set_scale
    >>> from napari_rvae.tables import make_sites
    >>> y, x = (index.ravel() * 8.0 for index in np.indices((4, 4)))
    >>> sites = make_sites(frame=0, y=y, x=x)
    >>> frames = set_scale(np.zeros((64, 64)), sites, neighbour_distance=142, unit="pm")
    >>> frames.pixel_size, frames.units
    ((17.75, 17.75), ('pm', 'pm'))
    """
    movie = as_frames(frames)
    check_length(neighbour_distance)
    if unit not in _LENGTH_UNITS:
        raise InputError(f"unit = {unit!r} is unknown: choose one of {', '.join(_LENGTH_UNITS)}.")
    # in widths of a pixel, along y too
    even = sites.assign(y=sites["y"] * movie.pixel_aspect)
    pixels = bond_distance(even)
    if not np.isfinite(pixels):
        raise InputError("No frame has three sites: detect atoms before the scale is set by them.")
    scatter = distance_spread(even)
    if scatter > _MOST_SCATTER:
        raise InputError(
            f"The distances of neighbours scatter by {scatter:.0%}: there is no lattice to set the "
            "scale by."
        )
    width = neighbour_distance / pixels
    metadata = dict(movie.metadata)
    if "affine" in metadata:  # a shift is in the units that are replaced
        affine = np.array(metadata["affine"], float)
        affine[-3:-1, -1] *= width / movie.scale[-1]
        metadata["affine"] = affine.tolist()
    return dataclasses.replace(
        movie,
        scale=(*movie.scale[:-2], width * movie.pixel_aspect, width),
        units=(*movie.units[:-2], unit, unit),
        metadata=metadata,
    )


def stack_channels(parts: Sequence[Frames], channels: Sequence[str] = ()) -> Frames:
    """Put movies of one channel together as the channels of one.

    Parameters
    ----------
    parts
        Frames of one channel, of the same shape and scale.
    channels
        A name for each; left out, those that they have.

    Returns
    -------
    Frames
        (C, Y, X) or (T, C, Y, X), lazy; name, scale, units and table are those of the first.

    Raises
    ------
    InputError
        If there are none, they have other shapes, scales or several channels, or the names are not
        one for each, or not all different.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import Frames, stack_channels
    >>> one, two = (Frames(np.zeros((32, 48)), channels=(name,)) for name in ("amplitude", "phase"))
    >>> stack_channels([one, two]).channels
    ('amplitude', 'phase')
    """
    import dask.array as da

    names = tuple(channels) or tuple(part.channels[0] for part in parts)
    if not parts or len(names) != len(parts) or len(set(names)) < len(names):
        raise InputError(
            f"The channels are named {', '.join(names)}: give a name of its own to each of the "
            f"{len(parts)} movies, of which there must be some."
        )
    first = parts[0]
    for part, name in zip(parts, names, strict=True):
        alike = part.shape == first.shape and np.allclose(part.scale, first.scale)
        if not alike or "c" in part.axis_labels:
            raise InputError(
                f"The channel {name!r} is of shape {part.shape} and scale {part.scale}, "
                f"{names[0]!r} of {first.shape} and {first.scale}: give single channels of one "
                "movie."
            )
    at = len(first.shape) - 2
    return Frames(
        da.stack([da.asarray(part.data) for part in parts], axis=at),
        axis_labels=(*first.axis_labels[:at], "c", *first.axis_labels[at:]),
        scale=(*first.scale[:at], 1.0, *first.scale[at:]),
        units=(*first.units[:at], "pixel", *first.units[at:]),
        channels=names,
        table=first.table,
        name=first.name,
        metadata=dict(first.metadata),
    )
