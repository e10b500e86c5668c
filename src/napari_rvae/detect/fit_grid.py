"""A frame at the pixels that its atoms are fitted in."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from napari_rvae.detect.binning import bin_variance, binned, binned_width
from napari_rvae.detect.ellipse import ROUND, shape_step
from napari_rvae.detect.fit import AtomFit, fit_atoms
from napari_rvae.detect.leftover import common_width, measure_leftover
from napari_rvae.detect.rim import place_rim
from napari_rvae.preprocess.noise import fill_missing

__all__ = ["FitGrid"]

#: Without tails and slants, the last fit can look at pixels this many sigma away: more of them make
#: up for rows that are shifted.
_BEST_RADIUS = 2.5

#: The shape of the probe is told in so many steps at most; one this small is the last.
_SHAPES, _SETTLED = 4, 0.01


class FitGrid:
    """A frame at coarser pixels, in which an atom is still a few of them wide.

    Parameters
    ----------
    image
        One frame (Y, X); NaN where nothing is known.
    sigma
        Width of an atom's image in its pixels.
    binning
        Pixels of the frame along a side of one here.
    taken
        Offsets (Y,) that were taken off the rows of the frame before, if any were.

    Attributes
    ----------
    spread
        Covariance (2, 2) of an atom's image in pixels of the frame.
    form
        Its quadratic form (2, 2) in these pixels, of determinant 1; None where it is round.
    """

    spread: NDArray[np.float64]
    form: NDArray[np.float64] | None

    def __init__(
        self,
        image: NDArray[np.float64],
        sigma: float,
        binning: int,
        taken: NDArray[np.float64] | None = None,
    ) -> None:
        self.binning = binning
        self.taken = taken if taken is None else _binned_rows(taken, binning)
        self.image = binned(image, binning)
        self.full = fill_missing(self.image)
        self.sigma = binned_width(sigma, binning)
        self.frame_sigma = sigma
        self.spread, self.form = sigma**2 * np.eye(2), None
        self.variance = np.ones_like(self.full)

    def fit(
        self, y: NDArray[np.float64], x: NDArray[np.float64], rounds: int, device: torch.device
    ) -> AtomFit:
        """Fit atoms near places in pixels of the frame; the answer is in these, too."""
        return self._fitted(*self._inside(y, x), rounds, device)

    def refit(self, first: AtomFit, device: torch.device) -> AtomFit:
        """Fit again atoms that were fitted in other pixels, from where that has led to."""
        start = self._from_frame(first)
        return self._fitted(*self._clipped(start.y, start.x), 2, device, start)

    def _fitted(
        self,
        y: NDArray[np.float64],
        x: NDArray[np.float64],
        rounds: int,
        device: torch.device,
        start: AtomFit | None = None,
    ) -> AtomFit:
        """Atoms near places in these pixels, in pixels of the frame."""
        fit = fit_atoms(
            self.image,
            self.variance,
            y,
            x,
            self.sigma,
            rounds=rounds,
            device=device,
            form=self.form,
            start=start,
        )
        return self._in_frame(fit)

    def take(self, spread: NDArray[np.float64]) -> None:
        """Take another shape of the atoms, their covariance (2, 2) in pixels of the frame."""
        own = spread / self.binning**2 + self._pixel
        self.spread, self.frame_sigma = spread, float(np.linalg.det(spread)) ** 0.25
        self.sigma = float(np.linalg.det(own)) ** 0.25
        self.form = np.asarray(self.sigma**2 * np.linalg.inv(own))

    @property
    def _pixel(self) -> NDArray[np.float64]:
        """What the mean over a bin adds to the covariance in these pixels."""
        return bin_variance(self.binning) * np.eye(2)

    def fit_shape(self, first: AtomFit, device: torch.device) -> AtomFit:
        """Tell the shape of the atoms from a first fit, and take it; return the fit with it."""
        start, shape, believed = self._from_frame(first), ROUND, ROUND
        fit = start
        for _ in range(_SHAPES):
            told = shape_step(self.image, self.variance, fit, self.sigma, shape)
            if told is None:
                return first
            step, sd = told
            shape = shape.changed(step)
            believed = shape.trusted(sd)
            if believed is ROUND:
                return first
            fit = fit_atoms(  # always from there: atoms that overlap would wander
                self.image,
                self.variance,
                *self._clipped(start.y, start.x),
                shape.wider * self.sigma,
                rounds=2,
                device=device,
                form=shape.form,
            )
            if np.abs(step).max() < _SETTLED:
                break
        own = (believed.wider * self.sigma) ** 2 * np.linalg.inv(believed.form)
        self.take(self.binning**2 * (own - self._pixel))
        return self._in_frame(fit)

    def fit_better(self, first: AtomFit, device: torch.device, inflation: float) -> AtomFit:
        """Fit again without tails and errors of rows, as far as the first fit tells them.

        Standard deviations are those of white noise, which is larger by `inflation`.
        """
        fit = self._from_frame(first)
        own = self.image, self.variance, fit, self.sigma, self.form
        rest = measure_leftover(*own, taken=self.taken, inflation=inflation)
        if rest.trust:
            better = fit_atoms(
                self.image - rest.tails - rest.moved,
                self.variance,
                *self._clipped(fit.y, fit.x),
                self.sigma,
                rounds=2,
                device=device,
                tail=rest.tail,
                radius=_BEST_RADIUS,
                form=self.form,
                start=fit,
            )
            fit = fit.towards(better, rest.trust)
        beside = rest.rows.y_sd / inflation / np.maximum(fit.amplitude, 1e-300)
        y_sd, x_sd = np.hypot(fit.y_sd, beside), np.hypot(fit.x_sd, rest.rows.x_sd / inflation)
        return self._in_frame(replace(fit, y_sd=y_sd, x_sd=x_sd))

    def place_rim(self, first: AtomFit, device: torch.device) -> AtomFit:
        """Place atoms near the rim again, with those beyond it in mind."""
        start = self._from_frame(first)
        own = self.image, self.variance
        return self._in_frame(place_rim(*own, start, self.sigma, form=self.form, device=device))

    def width(self, first: AtomFit, sigma: float, device: torch.device) -> tuple[float, float]:
        """Width of all atoms alike and its error, in pixels of the frame; the fit is done anew."""
        place = self._inside(first.y, first.x)
        here = binned_width(sigma, self.binning)
        fit = fit_atoms(self.image, self.variance, *place, here, rounds=2, device=device)
        width, error = common_width(self.image, self.variance, fit, here)
        # less the bin's own variance
        inner = math.sqrt(max(width**2 - bin_variance(self.binning), 0.1))
        return self.binning * inner, self.binning * error * width / inner

    def _inside(
        self, y: NDArray[np.float64], x: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Places in these pixels, inside the picture, of places in pixels of the frame."""
        middle = (self.binning - 1) / 2
        return self._clipped((y - middle) / self.binning, (x - middle) / self.binning)

    def _clipped(
        self, y: NDArray[np.float64], x: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        rows, columns = self.image.shape
        return np.clip(y, 0, rows - 1), np.clip(x, 0, columns - 1)

    def _in_frame(self, fit: AtomFit) -> AtomFit:
        """Turn values in these pixels into those in pixels of the frame."""
        return self._scaled(fit, self.binning, self.frame_sigma)

    def _from_frame(self, fit: AtomFit) -> AtomFit:
        """Turn values in pixels of the frame into those in these pixels."""
        return self._scaled(fit, 1 / self.binning, self.sigma)

    def _scaled(self, fit: AtomFit, factor: float, sigma: float) -> AtomFit:
        """The same atoms in other pixels, in which the first pixel's middle is 0 again."""
        if self.binning == 1:
            return fit
        move = (factor - 1) / 2
        # the volume is the same; atoms here are wider by the width of a pixel
        taller = (self.binning * self.sigma / self.frame_sigma) ** (2 if factor > 1 else -2)
        return replace(
            fit,
            y=factor * fit.y + move,
            x=factor * fit.x + move,
            y_sd=factor * fit.y_sd,
            x_sd=factor * fit.x_sd,
            amplitude=taller * fit.amplitude,
            amplitude_sd=taller * fit.amplitude_sd,
            sigma=np.full_like(fit.sigma, sigma),
        )


def _binned_rows(values: NDArray[np.float64], binning: int) -> NDArray[np.float64]:
    """Mean of values (Y,) of rows over as many of these as a bin is high; 0 where it has few."""
    return np.nan_to_num(binned(np.repeat(values[:, None], binning, axis=1), binning)[:, 0])
