"""Which crops train a model, and which are held out to test it.

Crops of one frame that lie near each other show the same atoms with the same noise, and a model
that has seen the one has seen the other. So crops are held out by whole frames or, where there
are few frames, by an area; drawn at random they would tell little.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from napari_rvae.crops import Crops
from napari_rvae.errors import InputError

__all__ = ["area_halves", "split_crops"]

_logger = logging.getLogger(__name__)

#: With fewer frames than this, one of them is too much to hold out.
_ENOUGH_FRAMES = 5

#: Fewer crops than this say nothing; the training itself needs as many.
_FEWEST = 8

#: The training keeps at least this share of the crops, whatever the gap costs.
_LEAST_TRAINING = 0.4


class _Split(NamedTuple):
    """Masks (N,) of the crops to train on and of those held out; some may be in neither."""

    training: NDArray[np.bool_]
    held_out: NDArray[np.bool_]

    @property
    def is_usable(self) -> bool:
        """Whether both parts are large enough."""
        least = max(_FEWEST, _LEAST_TRAINING * self.training.size)
        return bool(self.training.sum() >= least and self.held_out.sum() >= _FEWEST)


def split_crops(
    crops: Crops, share: float, *, seed: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Choose the crops to train on, and those that are held out.

    Of five frames or more, whole frames are held out, drawn at random. Of fewer frames (or where
    one would be far more than the share), a strip along an edge, the same in all frames of a
    movie (four seeds in a row take the four edges); without positions, the smallest frame. Only
    where neither frames nor positions are known, single crops are drawn at random. A crop that
    shares pixels with a held-out one is in neither part: one whose window overlaps it, or that has
    a layer of a held-out frame (see ``lags``). Where the share would be fewer than 8 crops, or too
    little would be left for the training, nothing is held out. The log (level INFO) tells which way
    was taken, and why.

    Successive frames show the same atoms with other noise: what is held out by frames tells
    whether noise was learned, not whether other atoms would be understood.

    Parameters
    ----------
    crops
        Crops; their images are not read.
    share
        Share of the crops to hold out, 0 to 0.5; met roughly, since frames and areas are whole.
    seed
        The same seed makes the same split.

    Returns
    -------
    ndarray, ndarray
        Row numbers of the crops to train on and of those held out, both ascending and without
        a common row. The first is empty only where there are no crops, the second may be.

    Raises
    ------
    InputError
        If `share` is not between 0 and 0.5.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import Crops
    >>> from napari_rvae.vae.splits import split_crops
    >>> images = np.zeros((200, 1, 8, 8), np.float32)
    >>> crops = Crops(images=images, site_id=np.arange(200), frame=np.arange(200) // 20)
    >>> training, held_out = split_crops(crops, 0.1, seed=0)
    >>> len(training), len(held_out), len(set(crops.frame[held_out]))
    (180, 20, 1)
    """
    if not 0 <= share <= 0.5:
        raise InputError(f"The share to hold out is {share:g}: it goes from 0 to 0.5.")
    count = len(crops)
    everything = np.ones(count, bool)
    best, reason = _Split(everything, ~everything), f"{share:.0%} would be fewer than {_FEWEST}"
    if share * count >= _FEWEST:
        reason = "too few would be left that share no pixels with them"
        for why, split in _ways(crops, share, seed):
            if split.is_usable:
                best, reason = split, why
                break
    if share > 0:
        _logger.info("%s of %s crops are held out: %s.", best.held_out.sum(), count, reason)
    return np.flatnonzero(best.training), np.flatnonzero(best.held_out)


def _ways(crops: Crops, share: float, seed: int) -> Iterator[tuple[str, _Split]]:
    """Ways to split that are honest with what is known of the crops, the best first."""
    rng = np.random.default_rng(seed)
    frames, frame = np.unique(np.rec.fromarrays([crops.source, crops.frame]), return_inverse=True)
    if frames.size >= _ENOUGH_FRAMES:
        yield f"whole frames, of {frames.size}", _by_frames(crops, frame, share, rng)
    if np.isfinite(crops.y).all() and np.isfinite(crops.x).all():
        yield f"an area, as there are {frames.size} frames", _by_area(crops, share, seed)
    elif frames.size > 1:
        smallest = frame == np.bincount(frame).argmin()
        yield "the smallest frame, as positions are not known", _apart_in_time(crops, smallest)
    else:
        drawn = np.zeros(len(crops), bool)
        drawn[rng.permutation(len(crops))[: round(share * len(crops))]] = True
        yield "drawn at random, as neither frames nor positions are known", _Split(~drawn, drawn)


def _by_frames(
    crops: Crops, frame: NDArray[np.intp], share: float, rng: np.random.Generator
) -> _Split:
    """Hold out whole frames, as many as come nearest to the share."""
    size = np.bincount(frame)
    chosen = np.zeros(size.size, bool)
    missing = share * frame.size
    for number in rng.permutation(size.size):
        if size[number] < 2 * missing:  # with it, the sum comes nearer
            chosen[number] = True
            missing -= size[number]
    return _apart_in_time(crops, chosen[frame])


def _apart_in_time(crops: Crops, held_out: NDArray[np.bool_]) -> _Split:
    """Train on the crops that have no layer of a frame in common with those held out."""
    taken = set(zip(crops.source[held_out], crops.frame[held_out], strict=True))
    steps = {one - other for one in crops.lags for other in crops.lags}
    touched = [
        any((source, frame + step) in taken for step in steps)
        for source, frame in zip(crops.source, crops.frame, strict=True)
    ]
    return _Split(~np.array(touched, bool), held_out)


def _by_area(crops: Crops, share: float, seed: int) -> _Split:
    """Hold out a strip along an edge of each movie, and leave out what overlaps it.

    Four seeds in a row take the four edges: what is there may differ.
    """
    places = np.stack([crops.y, crops.x], 1)
    side = _window_side(crops)
    held_out, training = np.zeros((2, len(crops)), bool)
    for number, source in enumerate(np.unique(crops.source)):
        rows = np.flatnonzero(crops.source == source)
        axis, sign = divmod((seed + number) % 4, 2)
        depth = places[rows, axis] * (1 - 2 * sign)
        strip = depth <= np.quantile(depth, share)
        held_out[rows] = strip
        # two upright squares overlap unless they are a whole side apart along y or along x
        apart, _ = cKDTree(places[rows[strip]]).query(places[rows], p=np.inf)
        training[rows] = ~strip & (apart >= side)
    return _Split(training, held_out)


def area_halves(crops: Crops, *, axis: int) -> tuple[NDArray[np.intp], NDArray[np.intp]] | None:
    """Two halves of the frames' area between which no crop shares pixels.

    What is learned on the one and holds on the other is no memory of single sites, which a movie
    shows again in every frame.

    Parameters
    ----------
    crops
        Crops; their images are not read.
    axis
        Along which the frames are cut: 0 for y, 1 for x.

    Returns
    -------
    ndarray, ndarray
        Row numbers; None where positions are not known, or a half has fewer than 8 crops.
    """
    places = np.stack([crops.y, crops.x], 1)
    if not np.isfinite(places).all():
        return None
    middle = np.zeros(len(crops))
    for source in np.unique(crops.source):
        rows = crops.source == source
        middle[rows] = np.median(places[rows, axis])
    beyond = (places[:, axis] - middle) / _window_side(crops)
    halves = np.flatnonzero(beyond < -0.5), np.flatnonzero(beyond >= 0.5)
    return halves if min(half.size for half in halves) >= _FEWEST else None


def _window_side(crops: Crops) -> float:
    """Side of the upright square in the frame that holds a crop's window, in pixels."""
    return float(crops.window_px * np.abs(crops.distortion).sum(1).max())
