"""Crops and a trained model -> a table of latents, or of features, or the angle's posterior."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_rvae.crops import Crops
from napari_rvae.tables import fold_angle
from napari_rvae.vae.engine import Trained
from napari_rvae.vae.trained import CHUNK

__all__ = ["angle_shares", "features_table", "latents_table"]

#: Crops whose posterior is in memory at a time.
_FEW = 64


def latents_table(crops: Crops, trained: Trained, n_latents: int) -> pd.DataFrame:
    """Table of the latents of crops, as :meth:`RVAE.transform` gives it."""
    parts = [trained.encode(part) for part in crops.pieces(CHUNK)]
    codes = {k: np.concatenate([p[k] for p in parts]) for k in parts[0]} if parts else {}
    count = len(crops)
    nothing = np.full(count, np.nan)
    z = codes.get("z", np.zeros((0, n_latents)))
    z_sd = codes.get("z_sd", np.zeros((0, n_latents)))
    shift = codes.get("shift", np.zeros((0, 2))) * crops.window_px / crops.pixels
    columns: dict[str, NDArray[Any]] = {"site_id": crops.site_id}
    columns["angle"] = codes.get("angle", nothing)
    columns["angle_sd"] = codes.get("angle_sd", nothing)
    columns["shift_y"], columns["shift_x"] = shift[:, 0], shift[:, 1]
    for i in range(n_latents):
        columns[f"z{i}"], columns[f"z{i}_sd"] = z[:, i], z_sd[:, i]
    columns["other_mode"] = codes.get("elsewhere", nothing)
    columns["residual"] = codes.get("residual", nothing)
    order = trained.aligned.order
    columns["lattice_angle"] = fold_angle(codes.get("pattern", nothing), order)
    return pd.DataFrame(columns)


def features_table(crops: Crops, trained: Trained) -> pd.DataFrame:
    """Table of the invariant features of crops, as :meth:`RVAE.invariants` gives it."""
    parts = [trained.features(part) for part in crops.pieces(CHUNK)]
    names = trained.feature_names()
    values = np.concatenate(parts) if parts else np.zeros((0, len(names)))
    table = pd.DataFrame(values, columns=names)
    table.insert(0, "site_id", crops.site_id)
    return table


def angle_shares(crops: Crops, trained: Trained, parts: int) -> NDArray[np.float64]:
    """Shares (N, parts) of the posterior of crops' angles, as :meth:`RVAE.angle_posterior` has."""
    found = [trained.angle_shares(part, parts) for part in crops.pieces(_FEW)]
    return np.concatenate(found) if found else np.zeros((0, parts))
