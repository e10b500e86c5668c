"""What frames are recognised by, without where they are."""

from __future__ import annotations

import hashlib
import logging
from typing import Any

from napari_rvae.errors import NapariRvaeError
from napari_rvae.frames import Frames, as_frames

__all__ = ["describe_frames"]

_logger = logging.getLogger(__name__)


def describe_frames(frames: Any) -> dict[str, Any]:
    """Describe frames so that they can be recognised, without where they are.

    Parameters
    ----------
    frames
        Frames or an array-like, see :func:`napari_rvae.as_frames`.

    Returns
    -------
    dict
        ``name``, ``shape``, ``dtype``, ``axis_labels``, ``scale``, ``units``, ``channels``,
        ``hashed_frames`` (the first, the middle and the last) and their ``sha256``, which does not
        depend on the file format; None where they cannot be read any more.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.runs import describe_frames
    >>> describe_frames(np.zeros((5, 64, 48)))["hashed_frames"]
    [0, 2, 4]
    """
    frames = as_frames(frames)
    chosen = sorted({0, frames.n_frames // 2, frames.n_frames - 1})
    return {
        "name": frames.name,
        "shape": list(frames.shape),
        "dtype": str(frames.dtype),
        "axis_labels": list(frames.axis_labels),
        "scale": list(frames.scale),
        "units": list(frames.units),
        "channels": list(frames.channels),
        "hashed_frames": chosen,
        "sha256": _hash_frames(frames, chosen),
    }


def _hash_frames(frames: Frames, chosen: list[int]) -> str | None:
    digest = hashlib.sha256()
    try:
        for index in chosen:
            for channel in range(frames.n_channels):
                image = frames.frame(index, channel)
                digest.update(image.astype("<f8").tobytes())
    except (NapariRvaeError, OSError) as error:
        # results must not be lost because the input is gone meanwhile
        _logger.warning("The run is saved without a hash of its input: %s", error)
        return None
    return digest.hexdigest()
