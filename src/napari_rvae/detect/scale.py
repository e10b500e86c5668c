"""How wide an atom's image is and how far apart the atoms are, for a whole movie."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import optimize

from napari_rvae.config import DetectConfig
from napari_rvae.detect.binning import bin_variance, binned_whole, binned_width
from napari_rvae.detect.fit import AtomFit
from napari_rvae.detect.sampling import Sample, middle
from napari_rvae.detect.search import AtomScale, FrameSearch, nearest_spacing
from napari_rvae.detect.survey import survey_scale
from napari_rvae.preprocess.background import slow_background
from napari_rvae.preprocess.blur import BlobScale, blob_scale
from napari_rvae.preprocess.noise import noise_level
from napari_rvae.render import render_gaussians

__all__ = ["measure_scale"]

_LOG = logging.getLogger(__name__)

#: On so many of them at most the width is refined; where the first two differ by less than this
#: share, on these alone.
_REFINED_FRAMES, _ALIKE = 3, 0.03

#: It is refined on the middle of a frame, of this side in pixels or this many valleys of the
#: autocorrelation; on this share of the side where the atoms are clear. So many of these tell a
#: width to a few thousandths.
_REFINED_SIDE, _REFINED_VALLEYS = 400, 40.0
_FIRST_PART, _ENOUGH = 0.75, 600

#: That is: blobs vary by more than this, times the variance of the noise.
_CLEAR = 1.0

#: Where the network sees fewer of the atoms found than this share, or where they are fewer than
#: that, their scale is in doubt.
_CONFIRMED, _MANY = 0.5, 40

#: Pixels are binned until the autocorrelation falls within this many of them.
_BINNED_VALLEY = 8

#: Rounds of finding atoms and measuring their width; the width is settled at this change.
_ROUNDS = 2
_SETTLED = 0.03

#: The order of the atoms makes the first width wrong by these factors at most.
_NARROWEST, _WIDEST = 0.7, 1.6

#: A width is told where atoms drawn wider by this factor measure wider by this share of that.
_WIDER, _FLAT = 1.15, 0.4

#: The width of least squares is taken if its error is below the first share of it, and each step
#: below the second: far from the truth it leads to what else is in the frame.
_SURE_WIDTH, _NEAR_WIDTH = 0.025, 0.1

#: So many steps lead to it from a width that is a third off, until one is below this share.
_CLIMBS, _CLIMBED = 10, 0.005

#: Atoms are found anew so many times at most with a width that least squares has changed, and only
#: where its error is above this share: what is clearer is found all the same.
_AGAIN, _CLEAR_WIDTH = 2, 0.01

#: Steps to it are at most so much of the one before.
_SLOWEST = 0.6

#: So many widths are tried, each where a line through the last two leads.
_LOOKS = 4


def _refine(
    image: NDArray[np.float64],
    first: BlobScale,
    config: DetectConfig,
    known: AtomScale | None = None,
) -> tuple[float, float, float]:
    """Remove from the first width what the order of the atoms did to it.

    The autocorrelation of a frame is hardly touched by noise, but its fit is by the neighbours.
    So the atoms found are drawn with a trial width and measured in the same way; the trial is
    right when both measurements agree. With a better width more atoms are told apart, hence
    the rounds; one mostly does where the scale is `known` from another frame.

    Returns
    -------
    sigma, spacing : float
        In pixels; NaN where hardly anything was found.
    confirmed : float
        Share of the atoms found that the network sees, too; 0 where few were found.
    """
    binning = max(1, int(first.valley // _BINNED_VALLEY))
    whole = middle(image, max(_REFINED_SIDE, int(_REFINED_VALLEYS * first.valley)))
    whole = binned_whole(whole, binning)
    first = BlobScale(first.sigma / binning, first.valley / binning)
    scale = AtomScale(first.sigma, 1.3 * first.valley)
    if known is not None:
        coarser = binned_width(known.sigma, binning)
        scale = AtomScale(coarser, known.spacing / binning)
    part = _smaller(whole, first)
    for _ in range(_ROUNDS):
        before = scale.sigma
        fit, confirmed = _found(part, scale, config)
        if fit.y.size < _ENOUGH / 2 and part is not whole:
            part = whole
            fit, confirmed = _found(part, scale, config)
        measured = blob_scale(part, valley=first.valley).sigma
        if fit.y.size < 3 or not math.isfinite(measured):
            return math.nan, math.nan, 0.0
        width, told = _width_that_looks(measured, first, fit, part.shape, scale.sigma)
        climbed = 0.0 if told else _climbed(part, scale, fit, first.sigma)
        width = climbed or width
        change = abs(width / scale.sigma - 1)
        scale = AtomScale(width, nearest_spacing(np.stack([fit.y, fit.x], 1)))
        if part is not whole:
            part, fit = _with_enough(part, fit)
        if change < _SETTLED:
            break
    if not climbed:
        scale = _settled_width(part, scale, fit, before, config)
    # the mean over a bin widens the picture by the bin's own variance
    sigma = binning * math.sqrt(max(scale.sigma**2 - bin_variance(binning), 0.1))
    return sigma, binning * scale.spacing, confirmed


def _smaller(whole: NDArray[np.float64], first: BlobScale) -> NDArray[np.float64]:
    """The middle of a picture that is far above its noise; else all of it."""
    part = middle(whole, int(_FIRST_PART * min(whole.shape)))
    spread = np.var(part - slow_background(part, 4 * int(first.valley) + 1))
    return part if spread > (1 + _CLEAR) * noise_level(part) ** 2 else whole


def _found(
    image: NDArray[np.float64], scale: AtomScale, config: DetectConfig
) -> tuple[AtomFit, float]:
    """Atoms of a picture, and the share of them that the network sees; 0 where they are few."""
    search = FrameSearch(image, scale, torch.device("cpu"))
    fit = search.find(best=False)
    fit = fit.select(search.judge(fit, config)[0])
    few = fit.y.size < _MANY
    return fit, 0.0 if few else float(np.mean(search.chance(fit) > 0.5))


def _with_enough(image: NDArray[np.float64], fit: AtomFit) -> tuple[NDArray[np.float64], AtomFit]:
    """The middle of a picture with as many of its atoms as tell a width well, and these."""
    if fit.y.size <= _ENOUGH:
        return image, fit
    centre = (np.array(image.shape) - 1) / 2
    away = np.abs(np.stack([fit.y, fit.x], 1) - centre).max(axis=1)
    side = 2 * math.ceil(float(np.partition(away, _ENOUGH)[_ENOUGH]))
    start = [max(0, (n - side) // 2) for n in image.shape]
    y, x = fit.y - start[0], fit.x - start[1]
    inner = middle(image, side)
    inside = (y >= 0) & (x >= 0) & (y <= inner.shape[0] - 1) & (x <= inner.shape[1] - 1)
    return inner, replace(fit, y=y, x=x).select(inside)


def _settled_width(
    image: NDArray[np.float64], scale: AtomScale, fit: AtomFit, before: float, config: DetectConfig
) -> AtomScale:
    """The width by least squares of atoms that were found with nearly that width.

    Faint atoms that were looked for as narrower ones `before` are seen where noise makes them so.
    """
    for _ in range(_AGAIN):
        scale, error = _fitted_width(image, scale, fit)
        if error < _CLEAR_WIDTH or abs(scale.sigma / before - 1) < _SETTLED:
            return scale
        before = scale.sigma
        fit, _ = _found(image, scale, config)
    return _fitted_width(image, scale, fit)[0]


def _fitted_width(
    image: NDArray[np.float64], scale: AtomScale, fit: AtomFit
) -> tuple[AtomScale, float]:
    """The width by least squares, where that is sure, and its error as a share of it; else 0.

    It is near the first by then. A step leads a part of the way, as single atoms and the ground
    adapt to a wrong width; so two steps tell where all of them would lead (A. C. Aitken's rule).
    """
    if fit.y.size < _MANY:
        return scale, 0.0
    widths, search = [scale.sigma], FrameSearch(image, scale, torch.device("cpu"))
    for _ in range(2):
        width, error = search.width(fit, widths[-1])
        step = abs(width - widths[-1])
        if error > _SURE_WIDTH * width or step > _NEAR_WIDTH * width:
            return scale, 0.0
        widths.append(width)
        if step < error:
            return replace(scale, sigma=width), error / width
    first, second = np.diff(widths)
    rate = min(max(float(second / first), 0.0), _SLOWEST)
    width = widths[-1] + float(second) * rate / (1 - rate)
    return replace(scale, sigma=width), error / width


def _climbed(image: NDArray[np.float64], scale: AtomScale, fit: AtomFit, first: float) -> float:
    """The width by steps of least squares from afar; 0 where they lead nowhere.

    Atoms that overlap on all sides, as in a close-packed lattice, leave little but the lattice's
    first harmonics, which have one shape whatever the width: the autocorrelation does not tell.
    """
    if fit.y.size < _MANY:
        return 0.0
    width, search = scale.sigma, FrameSearch(image, scale, torch.device("cpu"))
    for _ in range(_CLIMBS):
        before = width
        width, error = search.width(fit, before)
        if not (error < _NEAR_WIDTH * width and first / 2 < width < 2 * first):
            return 0.0
        if abs(width - before) < _CLIMBED * width:
            return width
    return 0.0


def _width_that_looks(
    measured: float, first: BlobScale, fit: AtomFit, shape: tuple[int, ...], start: float
) -> tuple[float, bool]:
    """Width with which the atoms must be drawn to measure as `measured`; near `start`, perhaps.

    And whether that tells it: other widths measure otherwise.
    """

    @cache
    def excess(width: float) -> float:
        drawn = render_gaussians(fit.y, fit.x, fit.amplitude, width, (shape[0], shape[1]))
        return float(np.nan_to_num(blob_scale(drawn, valley=first.valley).sigma)) - measured

    def told(width: float) -> tuple[float, bool]:
        rise = excess(_WIDER * width) - excess(width)
        return width, low < width < high and rise > _FLAT * (_WIDER - 1) * width

    low, high = _NARROWEST * first.sigma, _WIDEST * first.sigma
    # wider atoms measure as much wider, nearly; so two looks mostly do
    near, width = start, float(np.clip(start - excess(start), low, high))
    for _ in range(_LOOKS):
        rise = excess(width) - excess(near)
        if width == near or not rise * (width - near) > 0:
            break
        step = -excess(width) * (width - near) / rise
        near, width = width, float(np.clip(width + step, low, high))
        if abs(width - near) < _SETTLED / 3 * first.sigma:
            return told(width)
    if excess(low) >= 0:
        return told(low)
    if excess(high) <= 0:
        return told(high)
    return told(float(optimize.brentq(excess, low, high, xtol=_SETTLED / 3 * first.sigma)))


def measure_scale(sample: Sample, config: DetectConfig, sign: float) -> AtomScale:
    """Measure the scale of a movie on some of its frames.

    The autocorrelation gives a first width without finding anything; the atoms found with it
    tell how their order has biased it. Where the network does not see them as atoms, the frame
    holds something larger than atoms, or too few of these, and the network looks for them at
    every scale. Where both lengths are given there is nothing to measure.
    """
    if config.sigma and config.neighbour_distance:
        return AtomScale(config.sigma, config.neighbour_distance)
    images = [sign * image for image in sample.images]
    first = zip(images, sample.blobs, strict=True)
    seen = [(image, blob) for image, blob in first if math.isfinite(blob.sigma)]
    sigma = spacing = math.nan
    confirmed = 0.0
    if seen and len(seen) * 2 >= len(images):
        refined = _refined(seen[:_REFINED_FRAMES], config)
        widths, spacings = (column[np.isfinite(column)] for column in refined.T[:2])
        sigma = float(np.median(widths if widths.size else [blob.sigma for _, blob in seen]))
        spacing = float(np.median(spacings)) if spacings.size else math.nan
        confirmed = float(np.median(refined[:, 2]))
        _LOG.info("the network sees %.0f %% of the atoms that the scale rests on", 100 * confirmed)
    if confirmed < _CONFIRMED and config.sigma is None:
        sigma, spacing = _surveyed(images[:_REFINED_FRAMES], sigma, spacing, config)
    return AtomScale(config.sigma or sigma, config.neighbour_distance or spacing)


def _refined(
    seen: list[tuple[NDArray[np.float64], BlobScale]], config: DetectConfig
) -> NDArray[np.float64]:
    """What each of some frames tells (n, 3), looked at with the scale of the one before."""
    rows: list[tuple[float, float, float]] = []
    for image, blob in seen:
        usable = bool(rows) and np.isfinite(rows[-1]).all() and rows[-1][2] >= _CONFIRMED
        known = AtomScale(*rows[-1][:2]) if usable else None
        rows.append(_refine(image, blob, config, known))
        sure = [row for row in rows if row[2] >= _CONFIRMED]
        if len(sure) == 2 and abs(sure[1][0] / sure[0][0] - 1) < _ALIKE:
            break
    return np.array(rows)


def _surveyed(
    images: list[NDArray[np.float64]], sigma: float, spacing: float, config: DetectConfig
) -> tuple[float, float]:
    """Width and spacing by a look at every scale; those measured before where that finds none."""
    device = torch.device("cpu")
    found = [survey_scale(image, sigma, device) for image in images]
    widths = [width for width in found if math.isfinite(width)]
    if len(widths) * 2 < len(images) or not widths:
        return sigma, spacing
    width = float(np.median(widths))
    if width == sigma:
        return sigma, spacing
    part = middle(images[int(np.argmin(np.abs(np.nan_to_num(found) - width)))], int(256 * width))
    search = FrameSearch(part, AtomScale(width, math.nan), device)
    fit = search.find(best=False)
    fit = fit.select(search.judge(fit, config)[0])
    if not fit.y.size:  # what the network saw does not hold as atoms
        return sigma, spacing
    return width, nearest_spacing(np.stack([fit.y, fit.x], 1))
