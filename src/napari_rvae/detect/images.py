"""The images that atoms are looked for in: good frames, without row noise, averaged if asked."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_rvae.config import DetectConfig
from napari_rvae.frames import Frames
from napari_rvae.preprocess.analyse import analyse_frames
from napari_rvae.preprocess.drift import measure_drift
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
        Which frames to leave out, whether the offsets of rows are taken off, and over how many
        frames to average.
    channel
        The channel to look at, which tells the quality.
    progress
        Called with (frames done, frames in all), for each of the looks at the whole movie that the
        quality and the averages take; returning False cancels.

    Attributes
    ----------
    numbers
        Numbers of the frames that are searched (n,), in order.
    drift
        How far the specimen has moved in each of them (n, 2), in pixels; 0 without averaging.
    """

    def __init__(
        self,
        movie: Frames,
        config: DetectConfig,
        channel: int,
        *,
        progress: Callable[[int, int], bool | None] | None = None,
    ) -> None:
        self.movie, self.config = movie, config
        self.numbers = np.flatnonzero(_chosen(movie, config, channel, progress))
        self.drift = np.zeros((len(self.numbers), 2))
        self._recent: dict[tuple[int, int], NDArray[np.float64]] = {}
        if config.average_frames > 1 and len(self.numbers) > 1:
            drift = measure_drift(movie, channel=channel, progress=progress).iloc[self.numbers]
            self.drift = drift[["y", "x"]].to_numpy(float)
            _LOG.info(
                "mean of %d frames, drift removed; it is ambiguous in %d of %d",
                *(config.average_frames, int(drift["ambiguous"].sum()), len(drift)),
            )

    @property
    def n_frames(self) -> int:
        """How many frames are searched."""
        return len(self.numbers)

    def frame(self, index: int, channel: int = 0) -> NDArray[np.float64]:
        """Image (Y, X) of one of these frames and a channel; NaN where nothing is known."""
        window = self._window(index)
        if len(window) == 1:
            return self.single(index, channel)
        total, count = np.zeros(self.movie.frame_shape), np.zeros(self.movie.frame_shape)
        for other in window:
            # by whole pixels: interpolation would correlate the noise
            step = np.rint(self.drift[other] - self.drift[index]).astype(int)
            here, there = _overlap(self.movie.frame_shape, step)
            image = self.single(other, channel)[there]
            total[here] += np.nan_to_num(image)
            count[here] += np.isfinite(image)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    def offset(self, index: int) -> NDArray[np.float64]:
        """How far (dy, dx) the mean of a window shows atoms from where the frame has them."""
        step = self.drift[self._window(index)] - self.drift[index]
        return np.asarray((step - np.rint(step)).mean(0))

    def _window(self, index: int) -> list[int]:
        """Frames that are averaged about one of them; fewer at the ends of the movie."""
        width = self.config.average_frames
        first, last = index - (width - 1) // 2, index + width // 2
        return list(range(max(first, 0), min(last + 1, self.n_frames)))

    def recent(self, index: int, channel: int) -> NDArray[np.float64] | None:
        """What :meth:`single` has given, if that was not long ago; None if it was."""
        return self._recent.get((index, channel))

    def single(self, index: int, channel: int) -> NDArray[np.float64]:
        """One of these frames (Y, X) itself, the offsets of its rows taken off if asked."""
        key = index, channel
        if key not in self._recent:
            image = self.movie.frame(int(self.numbers[index]), channel)
            while len(self._recent) >= self.config.average_frames:
                self._recent.pop(next(iter(self._recent)))  # the oldest
            self._recent[key] = destripe(image) if self.config.destripe else image
        return self._recent[key]


def _overlap(
    shape: tuple[int, int], step: NDArray[np.int64]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Pixels that show the same in a frame and in another, in which the specimen is moved."""
    here = tuple(slice(max(0, -s), max(0, n - max(0, s))) for n, s in zip(shape, step, strict=True))
    there = tuple(
        slice(max(0, s), max(0, n - max(0, -s))) for n, s in zip(shape, step, strict=True)
    )
    return here, there


def _chosen(
    movie: Frames,
    config: DetectConfig,
    channel: int,
    progress: Callable[[int, int], bool | None] | None,
) -> NDArray[np.bool_]:
    """Which frames (T,) are searched."""
    # what is not known (NaN) is true
    chosen = np.array([bool(flag) for flag in movie.table["keep"]])
    text, count = "%d of %d frames left out: %s", chosen.size
    if not chosen.all():
        _LOG.info(text, int((~chosen).sum()), count, "keep is false in the frames table")
    if config.min_quality > 0 and chosen.any():
        measured = analyse_frames(movie, channel=channel, progress=progress)
        good = measured["quality"].to_numpy() >= config.min_quality
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
    fitted = atoms[["y", "x", "amplitude", "sigma"]].to_numpy(float).T
    better = destripe_fitted(image, fitted, plain=plain)
    change = float(np.nanstd(better - plain))
    return better if change > _WORTH * noise_level(plain) else None
