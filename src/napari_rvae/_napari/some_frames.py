"""Some frames of a movie, to be looked at with the scale that is measured on all of it once."""

from __future__ import annotations

import dataclasses
import math
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_rvae.config import DetectConfig

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_rvae.frames import Frames

__all__ = ["pick_frames", "pick_region", "with_scale"]

#: Factor that makes atoms bright.
_SIGNS = {"bright": 1.0, "dark": -1.0}

#: Scale of each image that was measured: of which data, under which options, sigma and spacing.
_SCALES: weakref.WeakKeyDictionary[Any, tuple[Any, tuple[Any, ...], tuple[float, float]]] = (
    weakref.WeakKeyDictionary()
)


def with_scale(image: Any, frames: Frames, config: DetectConfig) -> DetectConfig:
    """Options in which the scale of the whole movie is filled in.

    It is measured once for each image; until the data, the contrast or a length that the user gives
    changes, the other options can be tried on a frame without measuring it again. So a few frames
    are looked at as the movie would be.

    Parameters
    ----------
    image
        Image layer, which the scale is kept for.
    frames
        Its frames.
    config
        Options of the detection.

    Returns
    -------
    DetectConfig
        The same with ``sigma`` and ``neighbour_distance``, as far as they could be measured.
    """
    from napari_rvae.detect.scale import measure_scale  # loads torch

    if config.contrast not in _SIGNS:
        return config  # what is chosen by the frames is chosen by these
    asked = (config.contrast, config.sigma, config.neighbour_distance)
    data, key, scale = _SCALES.get(image, (None, None, (math.nan, math.nan)))
    if data is not frames.data or key != asked:
        found = measure_scale(frames, config, 0, _SIGNS[config.contrast])
        scale = (found.sigma, found.spacing)
        _SCALES[image] = (frames.data, asked, scale)
    sigma, spacing = (value if math.isfinite(value) else None for value in scale)
    return dataclasses.replace(config, sigma=sigma, neighbour_distance=spacing)


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
