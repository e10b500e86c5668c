"""The pictures that crops are cut from: frames without stripes, or atoms drawn anew."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_rvae.config import CropConfig
from napari_rvae.errors import InputError
from napari_rvae.frames import Frames, as_frames
from napari_rvae.preprocess.noise import NoiseCurve, drop_spikes, fill_missing, noise_curve
from napari_rvae.preprocess.rows import destripe_fitted
from napari_rvae.preprocess.variance import common_curve, stabilise_variance
from napari_rvae.render import render_gaussians
from napari_rvae.tables import group_rows, validate_sites

__all__ = ["Pictures"]

#: The gain is measured on so many frames at most, spread over the movie.
_GAIN_FRAMES = 8


class Pictures:
    """Pictures of the frames of one movie, ready to cut crops from.

    Frames lose the offsets of their rows and, where asked, the growth of the noise with the
    signal. Rendered atoms and arrays of the user's own, such as probability maps, stay as they
    are: what is taken off frames has no meaning there.

    Parameters
    ----------
    movie
        The frames.
    sites
        Sites table of the movie.
    config
        What to show, and what to take off.
    content
        Array of the frames' shape to show instead of them.

    Raises
    ------
    InputError
        If the array does not fit the frames, or atoms are to be rendered that were not fitted.
    """

    def __init__(
        self, movie: Frames, sites: pd.DataFrame, config: CropConfig, content: Any = None
    ) -> None:
        self.movie, self.config = movie, config
        self.own = None if content is None or isinstance(content, str) else as_frames(content)
        if self.own is not None and (
            self.own.n_frames != movie.n_frames or self.own.frame_shape != movie.frame_shape
        ):
            raise InputError(
                f"content has shape {self.own.shape}: it must fit the frames {movie.shape}."
            )
        self.rendered = self.own is None and config.content == "rendered"
        if self.rendered:
            validate_sites(sites, need=("amplitude", "sigma"))
        self.atoms = _fitted_atoms(sites)
        self._curves: dict[int, tuple[NoiseCurve, float] | None] = {}

    @property
    def is_measured(self) -> bool:
        """Whether the pictures are what the microscope measured, so that they have its noise."""
        return self.own is None and not self.rendered

    def picture(self, frame: int, channel: int) -> NDArray[np.float64]:
        """Picture (Y, X) of one frame and channel; NaN where the frame is."""
        if self.own is not None:
            return self.own.frame(frame, min(channel, self.own.n_channels - 1))
        if self.rendered:
            return self._drawn(frame)
        image = self._without_stripes(self.movie.frame(frame, channel), frame)
        if not self.config.stabilise:
            return image
        if channel not in self._curves:
            self._curves[channel] = self._common_curve(channel)
        known = self._curves[channel]
        return image if known is None else stabilise_variance(image, known[0], level=known[1])

    def _without_stripes(self, image: NDArray[np.float64], frame: int) -> NDArray[np.float64]:
        if not self.config.destripe:
            return image
        return destripe_fitted(image, self.atoms.get(frame, np.zeros((4, 0))))

    def _drawn(self, frame: int) -> NDArray[np.float64]:
        """Gaussians (Y, X) at the fitted atoms of a frame."""
        y, x, height, width = self.atoms.get(frame, np.zeros((4, 0)))
        return render_gaussians(y, x, height, width, self.movie.frame_shape)

    def _common_curve(self, channel: int) -> tuple[NoiseCurve, float] | None:
        """Noise of the movie and its usual signal; None where the gain is not known."""
        count = self.movie.n_frames
        chosen = np.unique(np.linspace(0, count - 1, min(count, _GAIN_FRAMES)).astype(int))
        images = [self.movie.frame(int(frame), channel) for frame in chosen]
        images = [image for image in images if np.isfinite(image).any()]
        if not images:
            return None
        curve = common_curve([noise_curve(fill_missing(drop_spikes(image))) for image in images])
        level = float(np.median([np.nanmedian(image) for image in images]))
        if curve is None or curve.gain * level + curve.floor <= 0:
            return None
        return curve, level


def _fitted_atoms(sites: pd.DataFrame) -> dict[int, NDArray[np.float64]]:
    """Position, height and width (4, n) of the fitted atoms of each frame."""
    if not {"amplitude", "sigma"} <= set(sites.columns):
        return {}
    fitted = (sites["kind"] == "atom").to_numpy() & sites["sigma"].gt(0).to_numpy()
    values = sites[["y", "x", "amplitude", "sigma"]].to_numpy(float).T
    groups = [(frame, rows[fitted[rows]]) for _, frame, rows in group_rows(sites)]
    return {frame: values[:, rows] for frame, rows in groups if rows.size}
