"""Some frames of a movie, to be looked at with the scale that is measured on all of it once."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_rvae.config import DetectConfig

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_rvae.frames import Frames

__all__ = ["pick_frames", "pick_region", "with_scale"]

#: Options that are measured where they are left open.
_FOUND = ("contrast", "sigma", "neighbour_distance")

#: Options that change the images which these are measured on.
_IMAGES = ("destripe", "average_frames", "min_quality")

#: What was measured on each image: on which data, under which options, the options it gave.
_MEASURED: weakref.WeakKeyDictionary[Any, tuple[Any, tuple[Any, ...], DetectConfig]] = (
    weakref.WeakKeyDictionary()
)


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
    data, key, found = _MEASURED.get(image, (None, None, config))
    if data is not frames.data or key != asked:
        found = measured_config(frames, config, progress=progress)
        _MEASURED[image] = (frames.data, asked, found)
    return dataclasses.replace(config, **{name: getattr(found, name) for name in _FOUND})


def pick_frames(movie: Frames, numbers: Sequence[int]) -> Frames:
    """Movie of some frames of another, read as lazily."""
    from napari_rvae.frames import Frames

    if "t" not in movie.axis_labels:
        return movie
    data = movie.data
    if not isinstance(data, np.ndarray) and not hasattr(data, "dask"):
        from dask import array as dask_array  # slicing a stored array would read it

        data = dask_array.from_array(data)
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


def pick_region(
    region: NDArray[np.bool_] | None, numbers: Sequence[int]
) -> NDArray[np.bool_] | None:
    """Region of some frames, of one for all of them."""
    return region if region is None or region.ndim == 2 else region[list(numbers)]
