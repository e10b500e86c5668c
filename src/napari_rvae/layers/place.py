"""Where layers lie, and where they come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import napari_rvae
from napari_rvae.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_rvae.frames import Frames

__all__ = ["METADATA_KEY", "LayerTuple", "placement", "provenance", "robust_limits"]

#: What the viewer's ``add_...`` functions take: data, options, kind of layer.
LayerTuple = tuple[Any, dict[str, Any], str]

#: Where a layer's metadata carry its provenance.
METADATA_KEY = "napari_rvae"

#: Units that napari knows; any other is shown as pixels, because napari refuses it.
_LENGTHS = ("pixel", "m", "cm", "mm", "um", "µm", "nm", "angstrom", "Å", "pm")
_TIMES = ("h", "min", "s", "ms", "us", "ns")
_KNOWN_UNITS = frozenset((*_LENGTHS, *_TIMES))


def placement(frames: Frames | None, n_axes: int) -> dict[str, Any]:
    """Scale, units and axis labels of the frames, for a layer of the axes (t, y, x) or (y, x)."""
    if frames is None:
        return {}
    axes = [i for i, label in enumerate(frames.axis_labels) if label != "c"][-n_axes:]
    if len(axes) < n_axes:
        raise InputError("The layer has frames but the image has none: give the movie.")
    units = tuple(frames.units[i] for i in axes)
    return {
        "scale": tuple(frames.scale[i] for i in axes),
        "units": tuple(unit if unit in _KNOWN_UNITS else "pixel" for unit in units),
        "axis_labels": tuple(frames.axis_labels[i] for i in axes),
    }


def robust_limits(values: NDArray[Any], percentiles: tuple[float, float]) -> tuple[float, float]:
    """Robust ends of the finite values; a range that is not empty in any case."""
    known = values[np.isfinite(values)]
    if not known.size:
        return 0.0, 1.0
    low, high = (float(end) for end in np.percentile(known, percentiles))
    margin = max(0.5, abs(low) * 0.01)
    return (low, high) if high > low else (low - margin, low + margin)


def provenance(kind: str, frames: Frames | None, **values: Any) -> dict[str, dict[str, Any]]:
    """Metadata of a layer: what it shows, of which frames, made by which version."""
    known = {key: value for key, value in values.items() if value is not None}
    return {
        METADATA_KEY: {
            "kind": kind,
            "version": napari_rvae.__version__,
            "frames": "" if frames is None else frames.name,
            **known,
        }
    }
