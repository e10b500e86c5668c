"""The images that atoms are looked for in: good frames, without the offsets of their rows."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_rvae.config import DetectConfig
from napari_rvae.frames import Frames
from napari_rvae.preprocess.analyse import analyse_frames
from napari_rvae.preprocess.noise import noise_level
from napari_rvae.preprocess.rows import destripe, destripe_fitted

__all__ = ["FrameImages", "without_rows_beside"]

_LOG = logging.getLogger(__name__)

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
        Which frames to leave out, and whether the offsets of rows are taken off.
    channel
        The channel to look at, which tells the quality.

    Attributes
    ----------
    numbers
        Numbers of the frames that are searched (n,), in order.
    """

    def __init__(self, movie: Frames, config: DetectConfig, channel: int) -> None:
        self.movie, self.config = movie, config
        self.numbers = np.flatnonzero(_chosen(movie, config, channel))

    @property
    def n_frames(self) -> int:
        """How many frames are searched."""
        return len(self.numbers)

    def frame(self, index: int, channel: int = 0) -> NDArray[np.float64]:
        """Image (Y, X) of one of these frames and a channel; NaN where the frame is."""
        image = self.movie.frame(int(self.numbers[index]), channel)
        return destripe(image) if self.config.destripe else image


def _chosen(movie: Frames, config: DetectConfig, channel: int) -> NDArray[np.bool_]:
    """Which frames (T,) are searched."""
    # what is not known (NaN) is true
    chosen = np.array([bool(flag) for flag in movie.table["keep"]])
    text, count = "%d of %d frames left out: %s", chosen.size
    if not chosen.all():
        _LOG.info(text, int((~chosen).sum()), count, "keep is false in the frames table")
    if config.min_quality > 0 and chosen.any():
        good = analyse_frames(movie, channel=channel)["quality"].to_numpy() >= config.min_quality
        if (chosen & ~good).any():
            reason = f"quality below {config.min_quality:g}"
            _LOG.info(text, int((chosen & ~good).sum()), count, reason)
        chosen &= good
    return chosen


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
