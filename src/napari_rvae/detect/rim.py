"""Atoms near the rim of a frame, which others beyond it pull."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import special

from napari_rvae.detect.fit import AtomFit, fit_atoms

__all__ = ["place_rim"]

#: Atoms nearer to the rim than the first number, in sigma, are placed anew, beside those nearer
#: than the second.
_RIM, _BESIDE = 4.0, 9.0


def place_rim(
    image: NDArray[np.float64],
    variance: NDArray[np.float64],
    first: AtomFit,
    sigma: float,
    *,
    form: NDArray[np.float64] | None,
    device: torch.device,
) -> AtomFit:
    """Place atoms near the rim with those beyond in mind, which nobody fits but which pull.

    They add to the variance of the pixels: if they lie there anywhere, as dense as inside,
    density times the integral of the square of an atom's image over their places (Campbell's
    theorem). Heights, and so what is an atom, stay as they are.

    Parameters
    ----------
    image
        One frame (Y, X).
    variance
        Noise variance of each pixel (Y, X).
    first
        The fitted atoms, in its pixels.
    sigma
        Their width in pixels.
    form
        Quadratic form (2, 2) of elliptical atoms; None where they are round.
    device
        Where to compute.

    Returns
    -------
    AtomFit
        The same atoms, with other places near the rim and standard deviations that are no less.
    """
    place, last = np.stack([first.y, first.x]), np.array(image.shape)[:, None] - 1
    depth = np.minimum(place, last - place).min(axis=0)
    beside = np.flatnonzero(depth < _BESIDE * sigma)
    power = float((first.amplitude**2).sum()) / image.size * math.pi * sigma**2 / 2
    y, x = (special.erfc((np.arange(n) + 0.5) / sigma) for n in image.shape)
    beyond = power * np.add.outer(y + y[::-1], x + x[::-1])
    near = first.select(beside)
    guess_y, guess_x = np.clip(place[:, beside], 0, last)
    fit = fit_atoms(
        image,
        variance + beyond,
        guess_y,
        guess_x,
        sigma,
        rounds=2,
        device=device,
        form=form,
        start=near,
    )
    fit = replace(
        fit,
        y=np.clip(fit.y, -0.5, last[0] + 0.5),  # none of them leaves the frame
        x=np.clip(fit.x, -0.5, last[1] + 0.5),
        y_sd=np.maximum(fit.y_sd, near.y_sd),
        x_sd=np.maximum(fit.x_sd, near.x_sd),
    )
    # what lies outside by its own pixels stays there
    rim = (depth[beside] < _RIM * sigma) & (depth[beside] >= -0.5)
    values = {name: vars(first)[name].copy() for name in ("y", "x", "y_sd", "x_sd")}
    for name, value in values.items():
        value[beside[rim]] = vars(fit)[name][rim]
    return replace(first, **values)
