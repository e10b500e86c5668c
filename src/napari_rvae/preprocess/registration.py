"""Repeated scans of one place, laid on one grid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import ndimage

from napari_rvae.errors import InputError
from napari_rvae.frames import MIN_FRAME_SIDE, Frames, as_frames
from napari_rvae.preprocess.channels import channel_units, is_degrees, scan_channels
from napari_rvae.preprocess.levelling import level_height, lost_rows, mend_rows
from napari_rvae.preprocess.parabola import top_offset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["register_scans"]

#: Scans are compared without what is smoother or finer than this, in px.
_COARSE, _FINE = 16.0, 1.5
#: Overlaps of less than this share of a scan are accidents.
_OVERLAP = 0.5
#: A correlation of the overlap below this is no match.
_MATCH = 0.3


def register_scans(
    scans: Sequence[Any], *, channel: str | int | None = None, max_shift: float = 0.3
) -> Frames:
    """Lay repeated scans of one place on the grid of the first one.

    Scans of other pixel sizes are resampled, where all state their scale; the shift is found by
    cross-correlation, to about a quarter of a pixel. Phases are interpolated as complex numbers
    with their amplitude. Turns and stretches are not undone. The sign of the response is free in
    every scan: :func:`signed_response` carries it over the scans that are returned.

    Parameters
    ----------
    scans
        Frames of one frame each, with the same channels; they may differ in size.
    channel
        What to compare: name or number of a channel; None: the topography, else the amplitude.
    max_shift
        Largest shift to look for, in sides of the first scan.

    Returns
    -------
    Frames
        (T, C, Y, X) with the size and scale of the first scan; NaN where a scan does not reach.
        ``table`` also has ``shift_y``, ``shift_x`` (pixels of the first scan by which a scan's
        content was moved) and ``match``, the correlation with the first scan where they overlap.

    Raises
    ------
    InputError
        If there are fewer than two scans, their channels differ, or one does not match the first.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import Frames, register_scans
    >>> scene = np.random.default_rng(0).normal(size=(80, 80)).cumsum(0).cumsum(1)
    >>> one, two = (Frames(scene[None, None, i:64 + i, i:64 + i], channels=("height",))
    ...             for i in (0, 5))
    >>> register_scans([one, two], channel="height").table["shift_y"].round().tolist()
    [0.0, 5.0]
    """
    movies = [as_frames(scan) for scan in scans]
    _check_alike(movies)
    first = movies[0]
    number = _compared(first, channel)
    reference = _features(first.frame(0, number))
    planes, rows = [], []
    for k, movie in enumerate(movies):
        stack = _resampled(movie, first)
        shift = np.zeros(2)
        if k:
            shift = _shift(reference, _features(stack[number]), max_shift)
        moved = _placed(stack, shift, first)
        match = _match(reference, _features(moved[number]))
        if match < _MATCH:
            raise InputError(
                f"Scan {k} ({movie.name or 'without a name'}) does not match the first one "
                f"(correlation {match:.2f}): is it of the same place?"
            )
        planes.append(moved)
        rows.append({"shift_y": shift[0], "shift_x": shift[1], "match": match})
    return _stacked(movies, np.stack(planes), pd.DataFrame(rows))


def _check_alike(movies: list[Frames]) -> None:
    if len(movies) < 2:
        raise InputError("There is nothing to register: give two scans or more.")
    for movie in movies:
        if movie.n_frames != 1:
            raise InputError(f"{movie!r} holds {movie.n_frames} frames: give scans of one frame.")
        if movie.channels != movies[0].channels:
            raise InputError(
                f"The channels {', '.join(movie.channels)} are not those of the first scan, "
                f"{', '.join(movies[0].channels)}: read the same channels of every scan."
            )


def _compared(first: Frames, channel: str | int | None) -> int:
    """Number of the channel to compare."""
    if channel is not None or first.n_channels == 1:
        return first.channel_index(channel if channel is not None else 0)
    found = scan_channels(first)
    return found.topography if found.topography >= 0 else found.amplitude


def _features(image: Array) -> Array:
    """What can be compared: neither planes and slow bends, nor single pixels; NaN stays."""
    mended = mend_rows(image, lost_rows(image))
    known = np.isfinite(mended)
    levelled = np.where(known, level_height(mended), 0.0)
    fine, coarse = (
        ndimage.gaussian_filter(levelled, s, mode="nearest")
        / np.maximum(ndimage.gaussian_filter(known.astype(float), s, mode="nearest"), 1e-3)
        for s in (_FINE, _COARSE)
    )
    band = fine - coarse
    size = float(np.median(np.abs(band[known]))) if known.any() else 0.0
    # a few high particles must not decide alone
    bent = np.tanh(band / (4 * size)) if size else np.zeros_like(band)
    return np.where(known, bent, np.nan)


def _resampled(movie: Frames, first: Frames) -> Array:
    """Channels (C, Y', X') of a scan in pixels as large as the first one's."""
    stack = np.stack([movie.frame(0, channel) for channel in range(movie.n_channels)])
    known = movie.units[-1] != "pixel" and first.units[-1] != "pixel"
    zoom = np.ones(2)
    if known:
        if movie.units[-1] != first.units[-1]:
            raise InputError(
                f"{movie.name} has pixels in {movie.units[-1]}, the first scan in "
                f"{first.units[-1]}: give all scans the same unit."
            )
        zoom = np.array(movie.pixel_size) / np.array(first.pixel_size)
    if np.allclose(zoom, 1.0, rtol=1e-3):
        return stack
    shape = np.maximum(np.rint(np.array(stack.shape[1:]) * zoom), MIN_FRAME_SIDE).astype(int)
    return _sampled(stack, np.zeros(2), 1 / zoom, (int(shape[0]), int(shape[1])), movie)


def _placed(stack: Array, shift: Array, first: Frames) -> Array:
    """Channels (C, Y, X) on the grid of the first scan."""
    return _sampled(stack, shift, np.ones(2), first.frame_shape, first)


def _sampled(
    stack: Array, shift: Array, step: Array, shape: tuple[int, int], movie: Frames
) -> Array:
    """Sample channels at (i - shift) * step; amplitude and phase together, as complex numbers."""
    if not shift.any() and (step == 1).all() and stack.shape[1:] == shape:
        return stack
    # the middle of a pixel stays the middle of what it covers
    grid = [(np.arange(n) - s + 0.5) * d - 0.5 for n, s, d in zip(shape, shift, step, strict=True)]
    place = np.meshgrid(*grid, indexing="ij")

    def sample(image: Array) -> Array:
        return np.asarray(
            ndimage.map_coordinates(image, place, order=1, mode="constant", cval=np.nan)
        )

    moved = np.stack([sample(image) for image in stack])
    for amplitude, phase, period in _phases(movie, stack):
        turn = 2 * np.pi / period
        wave = stack[amplitude] * np.exp(1j * turn * stack[phase])
        real, imag = sample(wave.real), sample(wave.imag)
        moved[amplitude] = np.hypot(real, imag)
        base = float(np.nanmin(stack[phase]))
        moved[phase] = (np.arctan2(imag, real) / turn - base) % period + base
    return moved


class _Phase(NamedTuple):
    amplitude: int
    phase: int
    period: float


def _phases(movie: Frames, stack: Array) -> list[_Phase]:
    """Pairs of amplitude and phase, as far as the channels' names tell them."""
    units = channel_units(movie)
    found = []
    for lateral in (False, True):
        try:
            pair = scan_channels(movie, lateral=lateral)
        except InputError:
            continue
        degrees = is_degrees(stack[pair.phase], units.get(movie.channels[pair.phase], ""))
        found.append(_Phase(pair.amplitude, pair.phase, 360.0 if degrees else 2 * np.pi))
    return found


def _shift(reference: Array, moving: Array, most: float) -> Array:
    """By how many pixels (2,) to move a picture so that it lies on the reference."""
    from skimage.registration import phase_cross_correlation  # takes 0.3 s to load

    shape = np.maximum(reference.shape, moving.shape)
    both = []
    for image in (reference, moving):
        canvas = np.zeros(shape)
        canvas[: image.shape[0], : image.shape[1]] = np.nan_to_num(image)
        both.append(canvas)
    masks = []
    for image in (reference, moving):
        mask = np.zeros(shape, bool)
        mask[: image.shape[0], : image.shape[1]] = np.isfinite(image)
        masks.append(mask)
    coarse = np.asarray(
        phase_cross_correlation(
            both[0],
            both[1],
            reference_mask=masks[0],
            moving_mask=masks[1],
            overlap_ratio=_OVERLAP,
        )[0]
    )
    if (np.abs(coarse) > most * np.array(reference.shape)).any():
        raise InputError(
            f"The scans fit best {coarse.round().tolist()} px apart, farther than max_shift: are "
            "they of the same place?"
        )
    return coarse + _fine_shift(reference, moving, coarse)


def _fine_shift(reference: Array, moving: Array, coarse: Array) -> Array:
    """What is left of the shift: the top of the correlation, as of a parabola."""
    row, column = (round(float(value)) for value in coarse)

    def match(dy: int, dx: int) -> float:
        return _match(reference, _shifted(moving, row + dy, column + dx, reference.shape))

    here = match(0, 0)
    y = top_offset(match(-1, 0), here, match(1, 0))
    x = top_offset(match(0, -1), here, match(0, 1))
    return np.array([row + float(y), column + float(x)]) - coarse


def _shifted(image: Array, down: int, right: int, shape: tuple[int, ...]) -> Array:
    """Picture moved by whole pixels onto a grid; NaN where it does not reach."""
    moved = np.full(shape, np.nan)
    rows = slice(max(down, 0), min(image.shape[0] + down, shape[0]))
    columns = slice(max(right, 0), min(image.shape[1] + right, shape[1]))
    if rows.stop > rows.start and columns.stop > columns.start:
        moved[rows, columns] = image[
            rows.start - down : rows.stop - down, columns.start - right : columns.stop - right
        ]
    return moved


def _match(reference: Array, image: Array) -> float:
    """Correlation where both pictures have values; 0 where too few do."""
    both = np.isfinite(reference) & np.isfinite(image)
    if both.mean() < 0.5 * _OVERLAP:
        return 0.0
    one, two = reference[both], image[both]
    if not one.std() or not two.std():
        return 0.0
    return float(np.corrcoef(one, two)[0, 1])


def _stacked(movies: list[Frames], data: Array, facts: pd.DataFrame) -> Frames:
    """One movie of all scans, with the tables of each."""
    first = movies[0]
    tables = pd.concat([movie.table for movie in movies], ignore_index=True)
    tables["frame"] = np.arange(len(movies), dtype=np.int64)
    return Frames(
        data.astype(np.float32),
        axis_labels=("t", "c", "y", "x"),
        scale=(1.0, 1.0, *first.pixel_size),
        units=("pixel", "pixel", *first.units[-2:]),
        channels=first.channels,
        table=pd.concat([tables, facts], axis=1),
        name=first.name,
        metadata={**first.metadata, "scans": [movie.name for movie in movies]},
    )
