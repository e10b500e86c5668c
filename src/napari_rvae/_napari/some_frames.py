"""Some frames of a movie, or parts of them, looked at with the scale of all of it."""

from __future__ import annotations

import dataclasses
import logging
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_rvae.config import DetectConfig

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from napari_rvae.frames import Frames

__all__ = [
    "Part",
    "measure_ahead",
    "middle_part",
    "pick_frames",
    "pick_region",
    "with_scale",
]

_LOG = logging.getLogger(__name__)

#: Options that are measured where they are left open.
_FOUND = ("contrast", "sigma", "neighbour_distance")

#: Options that change the images which these are measured on.
_IMAGES = ("destripe", "average_frames", "min_quality")

#: What was measured on each image: on which data, under which options, the options it gave.
_MEASURED: weakref.WeakKeyDictionary[Any, tuple[Any, tuple[Any, ...], DetectConfig]] = (
    weakref.WeakKeyDictionary()
)

#: Who measures; others wait for what is found.
_MEASURING = threading.Lock()

#: Part of a frame that takes about half a second: side in neighbour distances, or in pixels where
#: that is not known. Frames hardly larger are looked at as a whole.
_SIDE, _PIXELS, _HARDLY = 45, 512, 1.2


class Part(NamedTuple):
    """A rectangle of a frame: its first row and column, and the first ones beyond it."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.bottom - self.top, self.right - self.left

    def of(self, pixels: Any) -> Any:
        """Cut it out of pixels (..., Y, X)."""
        return pixels[..., self.top : self.bottom, self.left : self.right]

    def of_movie(self, movie: Frames) -> Frames:
        """Cut it out of every frame, as lazily."""
        return dataclasses.replace(movie, data=self.of(_lazy(movie.data)))

    def in_frame(self, sites: pd.DataFrame) -> pd.DataFrame:
        """Sites of the part at their places in the frame."""
        return sites.assign(y=sites["y"] + self.top, x=sites["x"] + self.left)


def middle_part(view: Part, shape: tuple[int, int], spacing: float | None) -> Part | None:
    """Return the middle of what is in view, as much as is looked at in about half a second.

    Parameters
    ----------
    view
        What is shown of the frame.
    shape
        Shape of the frame.
    spacing
        Neighbour distance in pixels, None if unknown.

    Returns
    -------
    Part or None
        None where the frame as a whole is hardly larger.
    """
    side = round(_SIDE * spacing) if spacing else _PIXELS
    if max(shape) <= _HARDLY * side:
        return None
    ends = []
    for first, last, length in zip(view[:2], view[2:], shape, strict=True):
        count = min(side, max(last - first, side // 4), length)
        start = min(max((first + last - count) // 2, 0), length - count)
        ends.append((start, start + count))
    (top, bottom), (left, right) = ends
    return Part(top, left, bottom, right)


def with_scale(
    image: Any,
    frames: Frames,
    config: DetectConfig,
    *,
    progress: Callable[[int, int], bool | None] | None = None,
) -> DetectConfig:
    """Options in which the scale of the whole movie is filled in.

    It is measured once for each image; until the data, the contrast, a length that the user gives
    or what is done to the frames before changes, the other options can be tried on a frame without
    measuring it again. So a few frames are looked at as the movie would be.

    Parameters
    ----------
    image
        Image layer, which the scale is kept for.
    frames
        Its frames.
    config
        Options of the detection.
    progress
        See :func:`~napari_rvae.measured_config`.

    Returns
    -------
    DetectConfig
        The same with ``contrast``, ``sigma`` and ``neighbour_distance``, as far as they could be
        measured.
    """
    from napari_rvae.detect import measured_config  # loads torch

    asked = tuple(getattr(config, name) for name in (*_FOUND, *_IMAGES))
    with _MEASURING:
        data, key, found = _MEASURED.get(image, (None, None, config))
        if data is not frames.data or key != asked:
            found = measured_config(frames, config, progress=progress)
            _MEASURED[image] = (frames.data, asked, found)
    return dataclasses.replace(config, **{name: getattr(found, name) for name in _FOUND})


def measure_ahead(image: Any, frames: Frames, config: DetectConfig, threads: int) -> None:
    """Measure the scale before anybody asks, so that the first preview need not wait for it.

    Only where that takes a look at a few frames. What goes wrong is said to whoever asks.
    """
    if config.average_frames > 1 or config.min_quality > 0:
        return
    from napari_rvae.device import limit_threads

    try:
        with limit_threads(threads):
            with_scale(image, frames, config)
    except Exception:  # noqa: BLE001 - nobody has asked
        _LOG.debug("the scale of %s was not measured ahead", image.name, exc_info=True)


def pick_frames(movie: Frames, numbers: Sequence[int]) -> Frames:
    """Movie of some frames of another, read as lazily."""
    from napari_rvae.frames import Frames

    if "t" not in movie.axis_labels:
        return movie
    data = _lazy(movie.data)
    rows = list(numbers)
    table = movie.table.iloc[rows].reset_index(drop=True)
    return Frames(
        data[rows],
        axis_labels=movie.axis_labels,
        scale=movie.scale,
        units=movie.units,
        channels=movie.channels,
        table=table.assign(frame=np.arange(len(rows))),
        name=movie.name,
        metadata=movie.metadata,
    )


def _lazy(data: Any) -> Any:
    """Return data of which parts can be taken without reading them."""
    if isinstance(data, np.ndarray) or hasattr(data, "dask"):
        return data
    from dask import array as dask_array  # slicing a stored array would read it

    return dask_array.from_array(data)


def pick_region(
    region: NDArray[np.bool_] | None, numbers: Sequence[int]
) -> NDArray[np.bool_] | None:
    """Region of some frames, of one for all of them."""
    return region if region is None or region.ndim == 2 else region[list(numbers)]
