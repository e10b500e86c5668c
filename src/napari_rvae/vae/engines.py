"""The engines by name: how a training of each begins, goes on, and is read from a file."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from typing import Any

import torch

from napari_rvae.config import RVAEConfig
from napari_rvae.errors import InputError, ModelFileError
from napari_rvae.vae.engine import Engine, Trained
from napari_rvae.vae.epochs import EpochRecord
from napari_rvae.vae.pixel.trained import PixelTrained
from napari_rvae.vae.pixel.training import start_pixel_training
from napari_rvae.vae.start import start_training
from napari_rvae.vae.trained import TrainedModel

__all__ = ["ENGINES", "model_header", "options_to_resume", "restore_model"]

#: Both engines by their name in :attr:`RVAEConfig.decoder`.
ENGINES = {
    "steerable": Engine(start_training, TrainedModel.restore),
    "pixel": Engine(start_pixel_training, PixelTrained.restore),
}

#: Options that may differ when a training goes on.
_MAY_CHANGE = ("epochs", "learning_rate", "beta")


def options_to_resume(begun: RVAEConfig, config: RVAEConfig) -> RVAEConfig:
    """Options with which a training that has begun goes on; an automatic number is its own.

    Raises
    ------
    InputError
        If it cannot go on with them.
    """
    if config.n_latents is None:
        config = dataclasses.replace(config, n_latents=begun.n_latents)
    names = (item.name for item in dataclasses.fields(config))
    other = [name for name in names if getattr(config, name) != getattr(begun, name)]
    fixed = [name for name in other if name not in _MAY_CHANGE]
    if fixed:
        raise InputError(
            f"{', '.join(fixed)} cannot change in a training that goes on, only "
            f"{', '.join(_MAY_CHANGE)} can: set it back, or begin a new training."
        )
    return config


def model_header(
    config: RVAEConfig, trained: Trained, history: Iterable[EpochRecord]
) -> dict[str, Any]:
    """What is written of a model beside its tensors, for :func:`restore_model`."""
    records = [record.to_dict() for record in history]
    return {"config": config.to_dict(), "history": records, **trained.header()}


def restore_model(
    folder: str | os.PathLike[str],
    header: dict[str, Any],
    tensors: dict[str, torch.Tensor],
    where: torch.device,
) -> tuple[RVAEConfig, Trained, list[EpochRecord]]:
    """Options, model and history of a model that was read from `folder`.

    Raises
    ------
    ModelFileError
        If what was read does not fit together.
    """
    try:
        config = RVAEConfig.from_dict(header["config"])
        trained = ENGINES[config.decoder].restore(header, tensors, config, where)
        history = [EpochRecord.from_dict(values) for values in header["history"]]
    except (LookupError, TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelFileError(
            f"{folder}: the model does not fit together ({reason}); save it anew."
        ) from None
    return config, trained, history
