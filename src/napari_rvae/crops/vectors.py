"""Layers of crops that are the components of a vector, and how they turn."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["stem_of", "turn_components", "vector_pairs"]

#: Name of a component: what it is one of, y or x, and how many frames later or earlier it is.
_COMPONENT = re.compile(r"(lateral.*?)[ _-]([yx])( \([+-]\d+ frames\))?", re.IGNORECASE)


def vector_pairs(layers: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Numbers of the y (down) and x (right) components of each vector among some layers.

    Components are told by their names: "lateral response y" and "lateral response x".

    Parameters
    ----------
    layers
        Names of layers of crops, or of channels.

    Examples
    --------
    >>> from napari_rvae.crops.vectors import vector_pairs
    >>> vector_pairs(("response", "lateral response x", "lateral response y"))
    ((2, 1),)
    """
    found: dict[tuple[str, str], dict[str, int]] = {}
    for number, name in enumerate(layers):
        if match := _COMPONENT.fullmatch(name.strip()):
            key = match[1].lower(), match[3] or ""
            found.setdefault(key, {})[match[2].lower()] = number
    return tuple((pair["y"], pair["x"]) for pair in found.values() if len(pair) == 2)


def stem_of(name: str) -> str:
    """What a channel is a component of; the name itself where it is none.

    Examples
    --------
    >>> from napari_rvae.crops.vectors import stem_of
    >>> stem_of("lateral response x"), stem_of("response")
    ('lateral response', 'response')
    """
    match = _COMPONENT.fullmatch(name.strip())
    return match[1] if match else name


def turn_components(
    images: NDArray[np.float32], angle: ArrayLike, pairs: Sequence[tuple[int, int]]
) -> NDArray[np.float32]:
    """Turn the vectors of pictures (N, C, S, S) in place; where they lie does not change.

    A vector (y, x), y down, becomes (y cos a - x sin a, x cos a + y sin a).

    Parameters
    ----------
    images
        Pictures, which are changed.
    angle
        Radians, one or (N,).
    pairs
        Numbers of the y and x components.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.crops.vectors import turn_components
    >>> right = np.zeros((1, 2, 1, 1), np.float32)
    >>> right[0, 1] = 1
    >>> turn_components(right, np.pi / 2, [(0, 1)]).round(6).ravel().tolist()  # up
    [-1.0, 0.0]
    """
    turns = np.broadcast_to(np.asarray(angle, np.float32), len(images))[:, None, None]
    c, s = np.cos(turns), np.sin(turns)
    for down, right in pairs:
        y, x = images[:, down].copy(), images[:, right].copy()
        images[:, down], images[:, right] = y * c - x * s, x * c + y * s
    return images
