"""Image layers of one movie, each a channel -> the frames with all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from napari_rvae.errors import InputError
from napari_rvae.frames import Frames, stack_channels
from napari_rvae.layers.read import frames_from_layer

__all__ = ["frames_from_layers"]

#: What the only channel of frames is called where nobody has named it.
UNNAMED = "intensity"


def frames_from_layers(layers: Sequence[Any], channels: Sequence[str] = ()) -> Frames:
    """Put the channels of one movie together, which napari shows as an Image layer each.

    Parameters
    ----------
    layers
        Image layers of the same shape and scale, such as the amplitude and the phase of a scan.
    channels
        A name for each; left out, what :func:`~napari_rvae.image_layer` noted, or the name of
        the layer.

    Returns
    -------
    Frames
        (C, Y, X) or (T, C, Y, X), as lazy as the layers; name, scale, units and frames table are
        those of the first layer.

    Raises
    ------
    InputError
        If there is no layer, one is no movie, they are of different shapes or scales, or the
        names are not one for each, or not all different.

    Examples
    --------
    >>> import numpy as np
    >>> from napari.layers import Image
    >>> from napari_rvae import frames_from_layers
    >>> scan = [Image(np.zeros((32, 48)), name=name) for name in ("amplitude", "phase")]
    >>> frames_from_layers(scan).channels
    ('amplitude', 'phase')
    """
    if not layers:
        raise InputError("No layer is given: choose an Image layer for each channel.")
    parts = [frames_from_layer(layer) for layer in layers]
    names = tuple(channels) or tuple(
        str(layer.name) if part.channels[0] == UNNAMED else part.channels[0]
        for part, layer in zip(parts, layers, strict=True)
    )
    if len(names) != len(parts) or len(set(names)) < len(names):
        raise InputError(
            f"The channels are named {', '.join(names)}: give a name of its own to each of the "
            f"{len(parts)} layers."
        )
    first = parts[0]
    for part, layer in zip(parts[1:], layers[1:], strict=True):
        if part.shape != first.shape or not np.allclose(part.scale, first.scale):
            raise InputError(
                f"Layer {layer.name!r} is of shape {part.shape} and scale {part.scale}, that of "
                f"{layers[0].name!r} {first.shape} and {first.scale}: choose layers of one movie."
            )
    return stack_channels(parts, names)
