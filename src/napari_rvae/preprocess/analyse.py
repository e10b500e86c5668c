"""One row per frame: how noisy, how blurred."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from napari_rvae.frames import as_frames
from napari_rvae.preprocess.blur import blob_scale
from napari_rvae.preprocess.noise import (
    drop_spikes,
    fill_missing,
    noise_curve,
    noise_level,
    row_noise,
)

__all__ = ["analyse_frames"]


def analyse_frames(frames: Any, *, channel: int | str = 0) -> pd.DataFrame:
    """Measure noise and blur of every frame.

    Parameters
    ----------
    frames
        Frames or array-like (Y, X), (T, Y, X), (T, C, Y, X).
    channel
        Which channel to look at.

    Returns
    -------
    DataFrame
        One row per frame: ``frame``; ``noise_sd``, white noise in the frame's units; ``gain``,
        growth of the noise variance per unit of signal (counts: 1); ``row_noise_sd``, offset of
        single rows in the frame's units; ``blur``, standard deviation of an atom's image in
        pixels, NaN where there are no blobs; ``missing``, share of NaN pixels.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import analyse_frames
    >>> table = analyse_frames(np.random.default_rng(0).normal(0, 1, (2, 64, 64)))
    >>> table.columns.tolist()
    ['frame', 'noise_sd', 'gain', 'row_noise_sd', 'blur', 'missing']
    """
    movie = as_frames(frames)
    rows = []
    for index in range(movie.n_frames):
        image = movie.frame(index, channel)
        missing = float(np.isnan(image).mean())
        full = fill_missing(image if missing == 1 else drop_spikes(image))
        rows.append(
            {
                "frame": index,
                "noise_sd": noise_level(image),
                "gain": noise_curve(full).gain,
                "row_noise_sd": row_noise(image),
                "blur": blob_scale(full).sigma,
                "missing": missing,
            }
        )
    return pd.DataFrame(rows)
