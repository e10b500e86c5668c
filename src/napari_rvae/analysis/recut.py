"""Crops of sites as those were that a model was trained on: the same channels, frames and lines."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from napari_rvae.crops import extract_crops
from napari_rvae.errors import InputError
from napari_rvae.frames import Frames, as_frames
from napari_rvae.preprocess.wall_mask import measured_channels

if TYPE_CHECKING:
    import pandas as pd

    from napari_rvae.config import CropConfig
    from napari_rvae.crops import Crops
    from napari_rvae.vae import RVAE

__all__ = ["cut_as_trained", "named_as_trained"]


def cut_as_trained(
    model: RVAE,
    frames: Any,
    sites: pd.DataFrame,
    config: CropConfig | None = None,
    *,
    window: float | None = None,
    progress: Callable[[int, int], bool | None] | None = None,
) -> Crops:
    """Cut the crops that a model needs of some sites.

    Parameters
    ----------
    model
        A trained model.
    frames
        Frames or array-like with the channels of the training; a single one may have any name.
    sites
        Sites table; it must hold the walls of earlier frames where the model wants them drawn.
    config
        How the crops were cut; as the model remembers it, if left out.
    window
        Side of the window in frame pixels, instead of the config's.
    progress
        Called with (frames done, frames in all); returning False cancels.

    Returns
    -------
    Crops
        See :func:`~napari_rvae.extract_crops`.

    Raises
    ------
    InputError
        If the frames lack a channel that the model was trained on.
    """
    names = tuple(model.channels_)
    movie, measured = named_as_trained(as_frames(frames), names), measured_channels(names)
    missing = [name for name in measured if len(names) > 1 and name not in movie.channels]
    if missing:
        raise InputError(
            f"The model was trained with the channel {missing[0]!r}, which these frames lack: give "
            "frames with all its channels."
        )
    return extract_crops(
        movie,
        sites,
        config or model.crop_config,
        window=window,
        channels=names if len(names) > 1 else None,
        lags=model.lags_,
        progress=progress,
    )


def named_as_trained(movie: Frames, names: Iterable[str]) -> Frames:
    """Frames of a single channel, which may have any name, with the name that a model knows it by.

    Parameters
    ----------
    movie
        Frames of any number of channels.
    names
        Channels of the training.
    """
    measured = measured_channels(names)
    if not len(measured) == movie.n_channels == 1:
        return movie
    return dataclasses.replace(movie, channels=measured)
