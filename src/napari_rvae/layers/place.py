"""Where layers lie, and where they come from.

``layer.metadata["napari_rvae"]`` is a dictionary that JSON can hold. Every layer of ours has
``kind``, ``version`` and ``frames`` (the name of the frames it lies over). Beside these:

=============================  ============================================================
``shape``, ``table``, ...      images: what :func:`~napari_rvae.frames_from_layer` needs to give
                               the frames back as they were
``column``, ``symmetry``,      what is shown, in which colours; ``feature`` is the feature that
``contrast_limits``, ...       holds the shown values where it is not the column itself
``categories``,                names of the values of whole-number columns, by column; and their
``category_colors``            colours
``frame_shape``, ``window``,   sites: which of them are too near the border for a whole window
``n_border``
``next_site_id``               sites: the number of the next site that is set by hand
``edited``, ``deleted``        sites: whether a hand was at work, and the places (frame, y, x) of
                               the sites that it deleted
``renewed``                    sites: frames that were looked at again, and with which options
``steps``                      sites: what was done, see :mod:`napari_rvae.layers.steps`
``hidden``                     sites: categories that are switched off in the legend
``simulation``                 images: the function and options of a simulated movie
``saved``                      sites: the folder of the run that they were last saved in
``plot``                       sites: columns that the Latent plot shows (``x``, ``y``, ``color``)
``run``                        the folder of the run that a layer was made from
=============================  ============================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import napari_rvae
from napari_rvae.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_rvae.frames import Frames

__all__ = [
    "METADATA_KEY",
    "LayerTuple",
    "layer_kind",
    "placement",
    "provenance",
    "record_of",
    "rescale_layer",
    "robust_limits",
    "unit_on_screen",
]

#: What the viewer's ``add_...`` functions take: data, options, kind of layer.
LayerTuple = tuple[Any, dict[str, Any], str]

#: Where a layer's metadata carry its provenance.
METADATA_KEY = "napari_rvae"

#: Units that napari knows; any other is shown as pixels, because napari refuses it.
_LENGTHS = ("pixel", "m", "cm", "mm", "um", "µm", "nm", "angstrom", "Å", "pm")
_TIMES = ("h", "min", "s", "ms", "us", "ns")
_KNOWN_UNITS = frozenset((*_LENGTHS, *_TIMES))

_KINDS = {"Image", "Labels", "Points", "Shapes", "Surface", "Tracks", "Vectors"}


def placement(frames: Frames | None, n_axes: int) -> dict[str, Any]:
    """Scale, units and axis labels of the frames, for a layer of the axes (t, y, x) or (y, x).

    Frames that come from a layer which was turned or moved carry its ``affine`` matrix.
    """
    if frames is None:
        return {}
    axes = [i for i, label in enumerate(frames.axis_labels) if label != "c"][-n_axes:]
    if len(axes) < n_axes:
        raise InputError("The layer has frames but the image has none: give the movie.")
    place: dict[str, Any] = {
        "scale": tuple(frames.scale[i] for i in axes),
        "units": tuple(unit_on_screen(frames.units[i]) for i in axes),
        "axis_labels": tuple(frames.axis_labels[i] for i in axes),
    }
    if "affine" in frames.metadata:
        place["affine"] = np.asarray(frames.metadata["affine"], float)[-n_axes - 1 :, -n_axes - 1 :]
    return place


def rescale_layer(layer: Any, factor: float, unit: str) -> None:
    """Give a layer another scale and unit along y and x, in place; layers stay over each other.

    Parameters
    ----------
    layer
        Layer of the axes (y, x) or (t, y, x); a shift of it grows with it.
    factor
        Its new scale over its present one.
    unit
        Unit of the new scale.

    Examples
    --------
    >>> import numpy as np
    >>> from napari.layers import Image
    >>> from napari_rvae.layers import rescale_layer
    >>> image = Image(np.zeros((5, 32, 48)), scale=(1, 2, 2), translate=(0, 4, 0))
    >>> rescale_layer(image, 0.01, "nm")
    >>> image.scale.tolist(), image.translate.tolist(), str(image.units[-1])
    ([1.0, 0.02, 0.02], [0.0, 0.04, 0.0], 'nanometer')
    """
    grown = np.ones(layer.ndim)
    grown[-2:] = factor
    affine = np.array(layer.affine.affine_matrix)
    affine[:-1, -1] *= grown
    shift = layer.translate * grown
    layer.scale = layer.scale * grown
    layer.translate = shift
    layer.affine = affine
    layer.units = (*(str(known) for known in layer.units[:-2]), unit, unit)
    record = record_of(layer)
    if "units" in record:  # an image remembers what its file said
        record["units"] = [*record["units"][:-2], unit, unit]


def unit_on_screen(unit: str) -> str:
    """Name that napari takes for a unit."""
    return unit if unit in _KNOWN_UNITS else "pixel"


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


def record_of(layer: Any) -> dict[str, Any]:
    """Provenance of a layer; an empty dictionary of its own for layers that are not ours."""
    record = layer.metadata.get(METADATA_KEY)
    return record if isinstance(record, dict) else {}


def layer_kind(layer: Any) -> str:
    """What a layer is: "Image", "Labels", "Points", ...; any other object by its type."""
    names = [ancestor.__name__ for ancestor in type(layer).__mro__]
    return next((name for name in names if name in _KINDS), names[0])
