"""The images that atoms are looked for in: frames without the offsets of their rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_rvae.config import DetectConfig
from napari_rvae.frames import Frames
from napari_rvae.preprocess.noise import noise_level
from napari_rvae.preprocess.rows import destripe, destripe_fitted

__all__ = ["FrameImages", "without_rows_beside"]

#: Offsets that differ by this share of the noise move atoms: a difference of 0.1 adds some 5 % to
#: the error of their positions along y.
_WORTH = 0.1


class FrameImages:
    """The frames of a movie as atoms are looked for in them.

    Parameters
    ----------
    movie
        The frames.
    config
        Whether the offsets of rows are taken off.
    """

    def __init__(self, movie: Frames, config: DetectConfig) -> None:
        self.movie, self.config = movie, config

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return self.movie.n_frames

    def frame(self, index: int, channel: int = 0) -> NDArray[np.float64]:
        """Image (Y, X) of one frame and channel; NaN where the frame is."""
        image = self.movie.frame(index, channel)
        return destripe(image) if self.config.destripe else image


def without_rows_beside(
    image: NDArray[np.float64], plain: NDArray[np.float64], atoms: pd.DataFrame
) -> NDArray[np.float64] | None:
    """Destripe a frame with its atoms known, where that makes a difference.

    A lattice with its rows along the scan looks like offsets of rows, so without the atoms less
    is taken off there.

    Parameters
    ----------
    image
        The frame (Y, X).
    plain
        The same, destriped without the atoms.
    atoms
        Atoms found in `plain`, with y, x, amplitude and sigma.

    Returns
    -------
    ndarray of shape (Y, X) or None
        The better image; None where there is nothing to gain.
    """
    if plain is image or atoms.empty:
        return None
    better = destripe_fitted(image, atoms[["y", "x", "amplitude", "sigma"]].to_numpy(float).T)
    change = float(np.nanstd(better - plain))
    return better if change > _WORTH * noise_level(plain) else None
