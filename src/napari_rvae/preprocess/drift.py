"""Drift: how far the specimen has moved since the first frame, from the images alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import fft
from skimage.feature import peak_local_max

from napari_rvae.errors import Cancelled
from napari_rvae.frames import Frames, as_frames
from napari_rvae.preprocess.background import slow_background
from napari_rvae.preprocess.blur import blob_scale
from napari_rvae.preprocess.noise import fill_missing, robust_sd
from napari_rvae.preprocess.parabola import top_offset

__all__ = ["measure_drift"]

#: Between the matched filter (0), in which the lattice outweighs everything and repeats, and phase
#: correlation (1), in which noise does.
_WHITENING = 0.5

#: The correlation is smoothed by this share of an atom's width; where none is seen, by so many px.
_SMOOTHING, _WIDTH = 0.7, 1.5

#: Peaks lower than the highest by this share of it, or by so many standard deviations of the
#: correlation, are as good as it.
_LIKE, _LIKE_SD = 0.1, 3.0

#: Where there are several, noise may have taken this share off the right one.
_LOST = 0.35

#: Noise alone has no peak of so many standard deviations (10.6 was the highest of 25).
_SURE = 11.0

#: A frame moves by no more than this share of its side.
_FARTHEST = 0.25

#: Share of the newest frame in the reference, which averages over the frames before.
_NEWEST = 0.4

#: The slow background, taken off, is a running mean over this share of the frame.
_BACKGROUND = 0.25

_SPECTRUM = NDArray[np.complex128]


def measure_drift(
    frames: Any,
    *,
    channel: int | str = 0,
    progress: Callable[[int, int], bool | None] | None = None,
) -> pd.DataFrame:
    """Measure the specimen's drift, frame by frame, from the images.

    Each frame is correlated with the mean of those before it, drift removed. What repeats, as a
    lattice does, gives a peak at each of its periods; half whitening of the spectra lets what does
    not repeat (defects, edges, boundaries, unevenness) decide between them. Where it cannot, the
    peak nearest to where the last step leads is taken and the frame is called ambiguous: if
    a perfect lattice really moves by more than half a period between two frames, the result is off
    by whole periods. The chosen peak is refined by the matched filter, below a pixel,
    on what both pictures show of the specimen.

    Parameters
    ----------
    frames
        Frames or array-like (Y, X), (T, Y, X), (T, C, Y, X).
    channel
        Which channel to look at.
    progress
        Called with (frames done, frames in all); returning False cancels.

    Returns
    -------
    DataFrame
        One row per frame: ``frame``; ``y``, ``x``, how far the specimen has moved since the first
        frame, in pixels (what was at p in the first frame is at p + (y, x)); ``ambiguous`` (bool),
        whether the step to this frame could be another one as well, or was not seen at all: then
        the place is that of the frame before.

    Raises
    ------
    Cancelled
        If `progress` returned False.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import measure_drift, simulate_graphene
    >>> movie = simulate_graphene(n_frames=3, drift=2.0, seed=1)
    >>> drift = measure_drift(movie.frames)[["y", "x"]].to_numpy()
    >>> truth = movie.fields["drift"] - movie.fields["drift"][0]
    >>> bool(np.abs(drift - truth).max() < 0.2)
    True
    """
    movie = as_frames(frames)
    number = movie.channel_index(channel)
    follower = _Follower(movie, number)
    steps = []
    for index in range(movie.n_frames):
        steps.append(follower.follow(movie.frame(index, number)))
        done = index + 1
        if progress is not None and progress(done, movie.n_frames) is False:
            raise Cancelled(
                f"Drift was measured on {done} of {movie.n_frames} frames, then stopped."
            )
    place = np.array([step.place for step in steps])
    return pd.DataFrame(
        {
            "frame": np.arange(movie.n_frames, dtype=np.int64),
            "y": place[:, 0],
            "x": place[:, 1],
            "ambiguous": [step.ambiguous for step in steps],
        }
    )


class _Step(NamedTuple):
    """Where the specimen is (2,), and whether it could be elsewhere."""

    place: NDArray[np.float64]
    ambiguous: bool


class _Reference(NamedTuple):
    """Spectra of the mean of the frames so far, drift removed.

    Parameters
    ----------
    whole, half
        Frames seen through the whole window, and through its root.
    view
        That root.
    """

    whole: _SPECTRUM
    half: _SPECTRUM
    view: _SPECTRUM

    def renewed(self, newest: _Reference, back: _SPECTRUM) -> _Reference:
        """Return the mean with the newest frame, moved back."""
        return _Reference(
            *(
                (1 - _NEWEST) * old + _NEWEST * back * new
                for old, new in zip(self, newest, strict=True)
            )
        )


class _Follower:
    """Follows the specimen through the frames of a movie."""

    def __init__(self, movie: Frames, channel: int) -> None:
        self.shape = movie.frame_shape
        first = fill_missing(movie.frame(0, channel))
        sigma = blob_scale(first).sigma
        self.width = _SMOOTHING * sigma if np.isfinite(sigma) else _WIDTH
        # half of it: what is seen through two of them is seen through the whole
        self.window = np.outer(*(np.sqrt(np.hanning(n + 2)[1:-1]) for n in self.shape))
        self.waves = fft.fftfreq(self.shape[0])[:, None], fft.rfftfreq(self.shape[1])[None]
        self.band = np.exp(
            -2 * (np.pi * self.width) ** 2 * (self.waves[0] ** 2 + self.waves[1] ** 2)
        )
        self.band[:, :2] = 0.0  # where the offsets of rows are
        self.middle = np.array(self.shape) // 2
        self.view = np.asarray(fft.rfft2(self.window))
        self.reference: _Reference | None = None
        self.place, self.last = np.zeros(2), np.zeros(2)

    def follow(self, image: NDArray[np.float64]) -> _Step:
        """Find the specimen in the next frame (Y, X)."""
        picture = self._picture(image)
        spectrum = np.asarray(fft.rfft2(picture * self.window))
        if self.reference is None:
            if np.abs(spectrum).max() > 0:
                self.reference = _Reference(spectrum, np.asarray(fft.rfft2(picture)), self.view)
            return _Step(self.place.copy(), ambiguous=self.reference is None)
        cross = spectrum * np.conj(self.reference.whole)
        # a floor only against division by zero
        size = np.maximum(np.abs(cross), 1e-12 * np.abs(cross).max() + 1e-300)
        correlation = self._correlation(cross / size**_WHITENING)
        peaks, ambiguous = self._peaks(correlation)
        if not len(peaks):
            self.last = np.zeros(2)
            return _Step(self.place.copy(), ambiguous=True)
        ahead = np.hypot(*(peaks - self.middle - self.place - self.last).T)
        place = self._refined(picture, self.reference, peaks[np.argmin(ahead)])
        self.last, self.place = place - self.place, place
        newest = _Reference(spectrum, np.asarray(fft.rfft2(picture)), self.view)
        self.reference = self.reference.renewed(newest, self._turn(place))
        return _Step(place.copy(), ambiguous=ambiguous)

    def _picture(self, image: NDArray[np.float64]) -> NDArray[np.float64]:
        """Frame without its slow background, through half the window."""
        full = fill_missing(image)
        full = full - np.median(full)  # a constant frame becomes exactly zero
        width = 2 * int(_BACKGROUND * min(self.shape) / 2) + 1
        return np.asarray((full - slow_background(full, width)) * self.window)

    def _correlation(self, cross: _SPECTRUM) -> NDArray[np.float64]:
        """Correlation (Y, X) of a cross spectrum; no shift is in the middle."""
        return fft.fftshift(fft.irfft2(cross * self.band, self.shape))

    def _peaks(self, correlation: NDArray[np.float64]) -> tuple[NDArray[np.int64], bool]:
        """Pixels (n, 2) of the peaks to choose from, and whether several are as high as any."""
        farthest = int(_FARTHEST * min(self.shape))
        near = np.zeros(self.shape, bool)
        start = np.clip(self.middle + np.rint(self.place).astype(int), 0, self.shape)
        low, high = np.maximum(start - farthest, 1), np.minimum(start + farthest, self.shape)
        near[low[0] : high[0] - 1, low[1] : high[1] - 1] = True
        here = np.where(near, correlation, -np.inf)
        top = float(here.max())
        spread = robust_sd(correlation)
        if not top > _SURE * spread or top <= 0:
            return np.zeros((0, 2), np.int64), True
        found = peak_local_max(
            here,
            min_distance=max(1, round(self.width)),
            threshold_abs=(1 - _LOST) * top,
            exclude_border=False,
        )
        height = here[tuple(found.T)]
        ambiguous = bool((height >= top - max(_LIKE * top, _LIKE_SD * spread)).sum() > 1)
        return found if ambiguous else found[:1], ambiguous

    def _refined(
        self, picture: NDArray[np.float64], reference: _Reference, peak: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Shift (2,) near a pixel of the correlation, by what both frames show of the specimen.

        Each was seen through a window of its own, and what one shows alone would pull the peak. So
        each is looked at through the other's half window, too, moved to where that is.
        """
        place = peak - self.middle
        there = np.conj(self._turn(place))
        before, seen = (
            fft.irfft2(part * there, self.shape) for part in (reference.half, reference.view)
        )
        both = fft.rfft2(picture * seen) * np.conj(fft.rfft2(before * self.window))
        return np.asarray(place + self._top(self._correlation(both)), np.float64)

    def _turn(self, place: NDArray[np.float64] | NDArray[np.int64]) -> _SPECTRUM:
        """What undoes a shift of a picture in its spectrum."""
        return np.asarray(
            np.exp(2j * np.pi * (self.waves[0] * place[0] + self.waves[1] * place[1]))
        )

    def _top(self, correlation: NDArray[np.float64]) -> NDArray[np.float64]:
        """Shift (2,) of the maximum of a correlation near no shift, by a parabola."""
        peak, last = self.middle, np.array(self.shape) - 2
        for _ in range(max(1, round(2 * self.width))):
            around = correlation[peak[0] - 1 : peak[0] + 2, peak[1] - 1 : peak[1] + 2]
            step = np.array(np.unravel_index(np.argmax(around), (3, 3))) - 1
            if not step.any():
                break
            peak = np.clip(peak + step, 1, last)
        y, x = peak
        offset = [
            top_offset(*correlation[y - 1 : y + 2, x]),
            top_offset(*correlation[y, x - 1 : x + 2]),
        ]
        return np.asarray(peak - self.middle + offset, np.float64)
