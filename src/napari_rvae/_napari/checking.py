"""The self-checks after a training: a piece of work of its own, which holds no result back."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Generator
from typing import TYPE_CHECKING

import numpy as np

from napari_rvae._napari.jobs import Control, Outcome, Progress, Work, explain
from napari_rvae._napari.workspace import Workspace
from napari_rvae.errors import Cancelled

if TYPE_CHECKING:
    from napari_rvae.crops import Crops
    from napari_rvae.vae import RVAE
    from napari_rvae.vae.checks import ModelChecks

__all__ = ["check", "some_crops", "start_checks"]

#: A model is checked on so many crops; the checks themselves would take no more.
_CHECKED = 2000


def some_crops(crops: Crops, seed: int) -> Crops:
    """Draw the crops that a model is checked on: the others need not be kept."""
    rows = np.random.default_rng(seed).permutation(len(crops))[:_CHECKED]
    return crops.select(np.sort(rows))


def start_checks(workspace: Workspace, rvae: RVAE, crops: Crops) -> None:
    """Check the model that was just trained, and keep what is found with it."""

    def then(checks: ModelChecks | None, _outcome: Outcome) -> None:
        model = workspace.model
        if checks is not None and model is not None and model.rvae is rvae:
            workspace.use_model(dataclasses.replace(model, checks=checks))

    workspace.start("train", "Checking the model", check(rvae, crops), then)


def check(rvae: RVAE, crops: Crops) -> Work:
    """Check what a model has learned; the value is what was found, None where that failed.

    The model is usable whatever comes of it, so neither a failure nor a stop is an error.
    """

    def work(control: Control) -> Generator[Progress, None, ModelChecks | None]:
        yield Progress(0, 0, "checking the model")
        from napari_rvae.vae.checks import check_model

        try:
            return check_model(rvae, crops, progress=control.ticker("checking the model"))
        except Cancelled:
            return None
        except Exception as error:  # noqa: BLE001 - what was trained must not seem to have failed
            explain(error, "The model could not be checked", level=logging.WARNING)
            return None

    return work
