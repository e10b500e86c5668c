"""The rotationally invariant variational autoencoder on a steerable basis."""

from napari_rvae.vae.estimator import RVAE
from napari_rvae.vae.training import EpochRecord, FitProgress

__all__ = ["RVAE", "EpochRecord", "FitProgress"]
