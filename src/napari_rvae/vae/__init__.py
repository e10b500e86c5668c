"""The rotationally invariant variational autoencoder: its engines, checks and splits."""

from napari_rvae.vae.checks import Check, ModelChecks, check_model
from napari_rvae.vae.epochs import EpochRecord, FitProgress
from napari_rvae.vae.estimator import RVAE
from napari_rvae.vae.splits import split_crops
from napari_rvae.vae.suggest import suggest_n_latents
from napari_rvae.vae.symmetry import decoded_symmetry

__all__ = [
    "RVAE",
    "Check",
    "EpochRecord",
    "FitProgress",
    "ModelChecks",
    "check_model",
    "decoded_symmetry",
    "split_crops",
    "suggest_n_latents",
]
