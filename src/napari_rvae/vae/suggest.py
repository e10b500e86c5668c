"""How many latents the crops ask for, judged by crops that were not trained on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from napari_rvae.config import RVAEConfig
from napari_rvae.crops import Crops
from napari_rvae.errors import Cancelled, InputError
from napari_rvae.vae.estimator import RVAE

__all__ = ["suggest_n_latents"]

#: Crops and epochs of a trial: enough to rank the numbers of latents, not to be used.
_CROPS, _EPOCHS = 4000, 20

#: Trials of each number, each with other crops held out. Of a few frames a strip is held out, and
#: what the middle of the frame has taught may not pay at one edge and pay at the other.
_SPLITS = 2

#: A further latent has to make a held-out crop this much more likely, in nats.
_WORTH = 0.5


def suggest_n_latents(
    crops: Crops,
    config: RVAEConfig | None = None,
    *,
    numbers: Sequence[int] = (1, 2, 3, 4, 6, 8),
    device: str = "auto",
    progress: Callable[[int, int], bool | None] | None = None,
    **overrides: Any,
) -> pd.DataFrame:
    """Train briefly with several numbers of latents and compare the held-out crops.

    The windows of the crops are what they are: another window may ask for another number. The
    loss is the negative bound of the log likelihood, so that latents which describe nothing are
    paid for.

    Parameters
    ----------
    crops
        Crops (N, C, S, S), 200 or more.
    config
        Options of the training; the defaults when left out. At most 4,000 crops and 20 epochs
        are used.
    numbers
        Numbers of latents to try, 1 to 8, ascending.
    device
        "auto" (CUDA, then MPS, then CPU) or a device's name.
    progress
        Called with (trainings done, trainings in all); returning False cancels. Each number is
        trained twice.
    **overrides
        Single options, such as ``shifts=True``.

    Returns
    -------
    DataFrame
        One row per number: ``n_latents``; ``held_out_loss`` in nats per crop, the mean of two
        trainings with other crops held out (of few frames, at opposite edges); ``gain`` over the
        row above, NaN in the first; ``suggested``, True in one row: that of the smallest
        loss when half a nat is added for each latent. A training that came out worse than one of
        fewer latents, as happens, so does not hide that more of them pay.

    Raises
    ------
    InputError
        If too few crops are there to hold some out, or `config` holds none out.
    Cancelled
        If `progress` returned False.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import Crops, suggest_n_latents
    >>> images = np.random.default_rng(0).normal(size=(256, 1, 16, 16)).astype(np.float32)
    >>> table = suggest_n_latents(Crops(images=images, site_id=np.arange(256)), numbers=(1, 2))
    >>> table.loc[table["suggested"], "n_latents"].tolist()
    [1]
    """
    begun = dataclasses.replace(config or RVAEConfig(), **overrides)
    trial = dataclasses.replace(
        begun, epochs=min(begun.epochs, _EPOCHS), max_crops=min(begun.max_crops, _CROPS)
    )
    tried = sorted(set(numbers))
    losses = np.zeros((len(tried), _SPLITS))
    for done, (row, split) in enumerate(np.ndindex(losses.shape), start=1):
        model = RVAE(trial, device=device, n_latents=tried[row], seed=trial.seed + split).fit(crops)
        losses[row, split] = min(record.held_out_loss for record in model.history_)
        if progress is not None and progress(done, losses.size) is False:
            raise Cancelled(f"Stopped after {done} of {losses.size} trainings.")
    if not np.isfinite(losses).all():
        raise InputError(
            f"None of the {len(crops)} crops are held out, so nothing can be compared: use 200 "
            "crops or more, and held_out above 0."
        )
    table = pd.DataFrame({"n_latents": tried, "held_out_loss": losses.mean(axis=1)})
    table["gain"] = -table["held_out_loss"].diff()
    paid = table["held_out_loss"] + _WORTH * table["n_latents"]
    table["suggested"] = table.index == int(paid.to_numpy().argmin())
    return table
