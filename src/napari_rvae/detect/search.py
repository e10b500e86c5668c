"""The search for atoms in one frame: candidates, fit, a second look, judgement."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from napari_rvae.config import DetectConfig
from napari_rvae.detect.binning import binned
from napari_rvae.detect.drawing import draw_atoms
from napari_rvae.detect.fit import AtomFit
from napari_rvae.detect.fit_grid import FitGrid
from napari_rvae.detect.lattice import lattice_view
from napari_rvae.detect.network import NetworkView, see
from napari_rvae.detect.peaks import SLOW, blob_filter, highest_near, local_maxima
from napari_rvae.detect.sampling import middle, rows_agree
from napari_rvae.preprocess.background import slow_background
from napari_rvae.preprocess.noise import noise_curve, noise_level, robust_sd

__all__ = [
    "MIN_SEPARATION",
    "AtomScale",
    "FrameSearch",
    "nearest_spacing",
]

#: A blob fainter than this share of the frame's typical atom is background structure.
_FAINTEST = 0.1

#: A weak atom has at least this share of the height of its mates, else the site is empty.
_HALF_THERE = 0.5

#: Where there is no lattice to ask, an atom must stand out more by this factor: fits of noise
#: push each other's background down and themselves up.
_ALONE = 1.2

#: The network's chance below which the lattice's expectation does not save a candidate, a bright
#: one is not believed for its height, a clear one is not believed; and from which on a candidate
#: is believed though it is not clear, if it has at least this share of ``min_snr``.
_REFUTED, _DOUBTED, _BELIEVED, _SURE = 0.1, 0.15, 0.5, 0.6
_SEEN_SNR = 0.7

#: Noise cuts no blob in two that stands so many times ``min_snr`` above it, if the network sees
#: both. (In frames that were smoothed it sees halves of fainter ones.)
_WHOLE = 2.0

#: An atom without a lattice has company if so many clear ones are nearer than the first number, in
#: widths of their image. Else it must stand out of the noise of the empty ground, where that is
#: known from so many pixels.
_AROUND, _COMPANY, _GROUND = 8.0, 3, 400

#: So many of a crystal's atoms must be clear before one is doubted that is near none of them.
_ENOUGH_CLEAR = 0.6

#: Points that are further apart than this, in widths of an atom's image, make no lattice: chance
#: places would do for it.
_SPARSE = 16.0

#: Where rows show nothing in common, an atom must be this many times ``min_snr`` above the noise.
_BEYOND_ROWS = 2.0

#: Rows are compared in the middle of a frame, of this side in pixels.
_ROWS_SIDE = 1024

#: Of a crystal's candidates more than the first share have this chance; and of its clear ones
#: the lattice expects more than the second share.
_GUESSED, _MOST, _ORDERED = 0.3, 0.4, 0.7

#: Atoms with this signal-to-noise ratio are clear.
_CLEAR = 4.2

#: Off the lattice of a crystal, an atom has at least this share of the usual height.
_LIKE_OTHERS = 0.7

#: Atoms are looked for in pixels of which the width of their image is this many, and fitted in
#: pixels of which it is that many; finer ones tell no more and cost more.
_SEARCH_SIGMA, _FIT_SIGMA = 1.25, 2.2

#: Maxima of the filtered frame are at least this many sigma apart.
_PEAK_RADIUS = 1.2

#: Atoms nearer than this, in neighbour distances, may be one atom cut in two by noise.
_CLOSE = 0.65

#: Atoms nearer than this many sigma cannot be told apart by a fit with one width.
MIN_SEPARATION = 1.9


@dataclass(frozen=True)
class AtomScale:
    """Width of an atom's image and distance of neighbours, in pixels; NaN where unknown."""

    sigma: float
    spacing: float

    @property
    def known(self) -> bool:
        """Whether blobs were seen at all."""
        return math.isfinite(self.sigma)

    @property
    def density(self) -> float:
        """Atoms per square pixel that a lattice with this spacing has, roughly."""
        spacing = self.spacing if math.isfinite(self.spacing) else 4.0 * self.sigma
        return 0.9 / spacing**2


def nearest_spacing(points: NDArray[np.float64]) -> float:
    """Median distance to the nearest other point; NaN below three points."""
    if len(points) < 3:
        return math.nan
    return float(np.median(np.asarray(cKDTree(points).query(points, 2)[0])[:, 1]))


class FrameSearch:
    """The search in one frame: candidates, fit, a second look for hidden ones, judgement.

    Places are in pixels of the frame. Atoms are looked for in coarse pixels, which tell as well
    where something is, and fitted at last in finer ones.

    Parameters
    ----------
    image
        The frame (Y, X), atoms bright; NaN where nothing is known.
    scale
        What was measured on the movie.
    device
        Where to compute.
    taken
        Offsets (Y,) that were taken off its rows before; the best fit tells them anew.
    """

    def __init__(
        self,
        image: NDArray[np.float64],
        scale: AtomScale,
        device: torch.device,
        taken: NDArray[np.float64] | None = None,
    ) -> None:
        self.scale, self.device, self.shape = scale, device, image.shape
        self.separation = max(
            0.75 * MIN_SEPARATION * scale.sigma, 0.4 * np.nan_to_num(scale.spacing)
        )
        finest = max(1, int(scale.sigma / _FIT_SIGMA))
        coarsest = finest * max(1, int(scale.sigma / finest / _SEARCH_SIGMA))
        self.fine = FitGrid(image, scale.sigma, finest, taken)
        self.coarse = self.fine if coarsest == finest else FitGrid(image, scale.sigma, coarsest)
        full = self.fine.full
        self.sigma = self.fine.sigma
        self.noise_sd = noise_level(full)  # in the finer pixels: narrow atoms look like noise
        self.filtered, self.left = self._filter(full)
        # the filter took the slow ground off, on which the noise depends as well
        signal = self.filtered + slow_background(full, _ground_width(self.sigma))
        self.fine.variance = noise_curve(full).variance(signal)
        if self.coarse is not self.fine:
            ratio = coarsest // finest
            self.coarse.variance = binned(self.fine.variance, ratio) / ratio**2

    def _filter(self, picture: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        density = self.scale.density * self.fine.binning**2
        return blob_filter(picture, self.sigma, self.noise_sd, density=density)

    def _maxima(
        self, filtered: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Maxima of the filtered frame; places in pixels of the frame."""
        y, x, height = local_maxima(filtered, _PEAK_RADIUS * self.sigma)
        k = self.fine.binning
        return k * y + (k - 1) / 2, k * x + (k - 1) / 2, height

    def find(self, *, best: bool = True) -> AtomFit:
        """Fit the candidates, look again with them subtracted, fit all.

        Real noise is correlated and real atoms are no Gaussians. Both show in what the filter
        finds when all atoms are taken away; where that is more than white noise would leave,
        the standard deviations grow by as much.

        Parameters
        ----------
        best
            Let all the atoms tell the shape of the probe, and fit again without what they tell of
            tails and of the rows' errors.
        """
        first, rest = self._first_look(best=best)
        inflation = self._inflation(rest)
        y2, x2, height2 = self._maxima(rest)
        new = height2 >= max(self._least_height(), 2.5 * self.left * inflation)
        if first.y.size:
            near = cKDTree(np.stack([first.y, first.x], 1)).query(np.stack([y2, x2], 1))[0]
            new &= near >= self.separation
        y, x = np.concatenate([first.y, y2[new]]), np.concatenate([first.x, x2[new]])
        fit = _prune(self.coarse.fit(y, x, 3, self.device), self.separation)
        fit = self.fine.refit(fit, self.device)
        if best:
            fit = self.fine.fit_better(fit, self.device, inflation)
            fit = self.fine.place_rim(fit, self.device)
        fit = _prune(fit, self.separation)
        return fit.widen(inflation)

    def width(self, fit: AtomFit, sigma: float) -> tuple[float, float]:
        """Width of an atom's image that fits all atoms best, and its error, in pixels.

        It is one step of least squares from the width `sigma`.
        """
        return self.fine.width(fit, sigma, self.device)

    def _first_look(self, *, best: bool) -> tuple[AtomFit, NDArray[np.float64]]:
        """Fit the filter's maxima; and what the filter finds without them."""
        grid = self.fine
        y, x, self.heights = self._maxima(self.filtered)
        worth = self.heights >= 0.3 * self._least_height()
        fit = _prune(self.coarse.fit(y[worth], x[worth], 3, self.device), self.separation)
        if best:
            fit = _prune(self.coarse.fit_shape(fit, self.device), self.separation)
            if self.coarse.form is not None and grid is not self.coarse:
                grid.take(self.coarse.spread)
        k = grid.binning
        flatter = (grid.frame_sigma / (k * grid.sigma)) ** 2
        rows, columns = ((p - (k - 1) / 2) / k for p in (fit.y, fit.x))
        height = flatter * fit.amplitude
        model = draw_atoms(rows, columns, height, grid.sigma, grid.full.shape, form=grid.form)
        return fit, self._filter(grid.full - model)[0]

    def _inflation(self, rest: NDArray[np.float64]) -> float:
        """By how much the noise at the scale of an atom exceeds white noise."""
        return max(1.0, robust_sd(rest) / max(self.left, 1e-30))

    def _least_height(self) -> float:
        """Filtered height below which a maximum is not worth a fit."""
        typical = np.quantile(self.heights, 0.9) if self.heights.size else 0.0
        return float(_FAINTEST * typical)

    @cached_property
    def view(self) -> NetworkView:
        """What the network sees of the frame."""
        return see(self.fine.full, self.fine.sigma, self.device, noise_sd=self.noise_sd)

    def chance(self, fit: AtomFit) -> NDArray[np.float64]:
        """How likely the network finds an atom near each place, from 0 to 1."""
        k = self.fine.binning
        return self.view.at(*((p - (k - 1) / 2) / k for p in (fit.y, fit.x)))

    def judge(
        self, fit: AtomFit, config: DetectConfig
    ) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Which of the fitted candidates are atoms, and how far the lattice supports each."""
        points, snr, chance = np.stack([fit.y, fit.x], 1), fit.snr, self.chance(fit)
        least = _least_snr(snr, config)
        # where the network sees few of them, a lattice of the rest would be made up
        needed = _REFUTED if _most(chance[snr >= least] >= _GUESSED, _MOST) else _BELIEVED
        likely = (snr >= least) & (chance >= needed)
        spacing = self.scale.spacing
        if not np.isfinite(spacing):
            spacing = nearest_spacing(points[likely])
        if spacing > _SPARSE * self.scale.sigma:
            spacing = math.nan
        before = None
        for _ in range(2):  # the second time without what the first has refuted
            view = lattice_view(points, fit.amplitude, likely, spacing, self.shape, before=before)
            before = likely, view
            support = np.nan_to_num(view.support)
            ordered = support[snr >= config.min_snr] >= config.min_lattice_support
            if ordered.size and not _most(ordered, _ORDERED):
                needed = _BELIEVED
            expected = (support >= config.min_lattice_support) & (
                fit.amplitude >= _HALF_THERE * np.nan_to_num(view.amplitude)
            )
            expected &= chance >= needed
            bright = _as_bright(fit.amplitude, expected & (snr >= least)) & (chance >= _DOUBTED)
            alone = np.where(np.isnan(view.support), _ALONE, 1.0)
            clear = (snr >= config.min_snr * alone) & (chance >= _BELIEVED)
            seen = (snr >= _SEEN_SNR * config.min_snr) & (chance >= _SURE) & (needed < _BELIEVED)
            likely = clear | seen | ((snr >= least) & (expected | bright))
            whole = (chance >= _SURE) & (snr >= _WHOLE * config.min_snr)
            likely &= whole | ~_split_halves(points, support, likely, spacing)
        supported = np.nan_to_num(view.support) >= config.min_lattice_support
        likely &= ~self._is_ground(points, likely, supported, config)
        if not rows_agree(middle(self.fine.full, _ROWS_SIDE), self.fine.sigma):
            likely &= snr >= _BEYOND_ROWS * config.min_snr
        typical = np.median(fit.amplitude[likely]) if likely.any() else 0.0
        bright = fit.amplitude >= _FAINTEST * typical
        return likely & bright & (fit.amplitude > 0), view.support

    def _is_ground(
        self,
        points: NDArray[np.float64],
        likely: NDArray[np.bool_],
        supported: NDArray[np.bool_],
        config: DetectConfig,
    ) -> NDArray[np.bool_]:
        """Which points (N,) are no higher than noise can be where hardly any atoms are.

        Fits of noise beside each other hold each other up, so that some look clear. The filtered
        frame knows better: its noise is measured where no atoms are, whatever that noise is. Nor
        does a lattice help where none of its atoms is near that is clear, if enough are elsewhere
        or hardly any others are near.
        """
        least, k, sigma = _ALONE * config.min_snr, self.fine.binning, self.scale.sigma
        row, column = _pixels((points - (k - 1) / 2) / k, self.filtered.shape)
        # the top of an atom may lie beside its fitted place
        height = highest_near(self.filtered, row, column, corners=True)
        white = np.sqrt(self.fine.variance[row, column])
        expected = least * self.left / max(self.noise_sd, 1e-30) * white  # were the noise white
        atoms = likely & (supported | (height >= expected))
        ground = self._empty(points[atoms], _AROUND * sigma)
        if not ground.size:
            return np.zeros(len(points), bool)
        strong = likely & (height >= least * robust_sd(ground) * white)
        near, others = (
            cKDTree(points[some].reshape(-1, 2)).query_ball_point(
                points, _AROUND * sigma, return_length=True
            )
            for some in (strong, likely & (strong | supported))
        )
        few = (others <= _COMPANY) | _most(strong[likely], _ENOUGH_CLEAR)  # itself is one of them
        alone = np.where(supported, few & (near == 0), near < _COMPANY)
        return np.asarray(~strong & alone)

    def _empty(self, points: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
        """Filtered frame, in units of white noise, at pixels far from the points; none if few."""
        k = self.fine.binning
        side = radius / k / 2
        shape = tuple(int(n / side) + 1 for n in self.filtered.shape)
        there = np.zeros(shape)
        there[_pixels((points - (k - 1) / 2) / k / side, shape)] = 1
        there = ndimage.maximum_filter(there, 5)
        step = max(1, int(self.fine.sigma))
        rows, columns = (np.arange(0, n, step) for n in self.filtered.shape)
        free = there[np.ix_((rows / side).astype(int), (columns / side).astype(int))] == 0
        part = np.ix_(rows, columns)
        if free.sum() < _GROUND:
            return np.zeros(0)
        return np.asarray((self.filtered[part] / np.sqrt(self.fine.variance[part]))[free])


def _ground_width(sigma: float) -> int:
    """Side of a square of which two means smooth as the slow part of :func:`blob_filter`."""
    return 2 * round(SLOW * sigma * math.sqrt(6) / 2) + 1


def _pixels(
    places: NDArray[np.float64], shape: tuple[int, ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row and column of the pixels at places (N, 2), the nearest ones of the picture."""
    row, column = np.rint(places).astype(int).T
    return np.clip(row, 0, shape[0] - 1), np.clip(column, 0, shape[1] - 1)


def _least_snr(snr: NDArray[np.float64], config: DetectConfig) -> float:
    """Least signal-to-noise ratio at which a candidate is considered at all.

    Less is asked where correlated noise leaves even typical atoms little more than noise.
    """
    if snr.size == 0:
        return config.min_lattice_snr
    return config.min_lattice_snr * min(1.0, float(np.quantile(snr, 0.75)) / _CLEAR)


def _most(seen: NDArray[np.bool_], share: float) -> bool:
    return bool(seen.mean() > share) if seen.size else False


def _as_bright(amplitude: NDArray[np.float64], expected: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Candidates as bright as those that the lattice expects, such as at a grain boundary.

    Asks for a crystal: most candidates must be expected.
    """
    if expected.sum() <= 0.5 * expected.size:
        return np.zeros(expected.size, bool)
    return amplitude >= _LIKE_OTHERS * np.median(amplitude[expected])


def _split_halves(
    points: NDArray[np.float64],
    support: NDArray[np.float64],
    likely: NDArray[np.bool_],
    spacing: float,
) -> NDArray[np.bool_]:
    """Noise can cut a blob in two: of a close pair, the one that the lattice does not expect.

    Both halves of a true pair (a dumbbell) are expected, and stay; so does what the network sees.
    """
    halves = np.zeros(len(points), bool)
    index = np.flatnonzero(likely)
    if index.size < 2 or not np.isfinite(spacing):
        return halves
    tree = cKDTree(points[index])
    pairs = index[tree.query_pairs(_CLOSE * spacing, output_type="ndarray")]
    first, second = support[pairs[:, 0]], support[pairs[:, 1]]
    halves[pairs[:, 0][first < 0.5 * second]] = True
    halves[pairs[:, 1][second < 0.5 * first]] = True
    return halves


def _prune(fit: AtomFit, separation: float) -> AtomFit:
    """Drop fits of nothing, and the weaker of two that fell together."""
    alive = fit.amplitude > 1.0 * fit.amplitude_sd
    fit = fit.select(alive)
    if fit.y.size < 2:
        return fit
    pairs = cKDTree(np.stack([fit.y, fit.x], 1)).query_pairs(separation, output_type="ndarray")
    keep = np.ones(fit.y.size, bool)
    weaker = np.where(fit.amplitude[pairs[:, 0]] < fit.amplitude[pairs[:, 1]], *pairs.T)
    keep[weaker] = False
    return fit.select(keep)
