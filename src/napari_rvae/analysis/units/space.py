"""From features of crops to the few axes in which units are looked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_rvae import tables
from napari_rvae.analysis import gaussians
from napari_rvae.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["FeatureSpace", "feature_values", "fit_space"]

#: How names of features end that change sign in a mirror (:meth:`~napari_rvae.RVAE.invariants`).
_ODD = "_odd"


@dataclass(frozen=True, eq=False)
class FeatureSpace:
    """Robust scaling of P features and D axes in it.

    Parameters
    ----------
    columns
        Names (P) of the features.
    mirrored
        Features (P,) that change sign in a mirror; their size alone counts.
    centre, spread
        What is subtracted from each feature, and what it is divided by (P,).
    offset
        What is subtracted from the scaled features (P,).
    axes
        Columns (P, D) that give the scores.
    """

    columns: tuple[str, ...]
    mirrored: NDArray[np.bool_]
    centre: Array
    spread: Array
    offset: Array
    axes: Array

    def transform(self, values: Array) -> Array:
        """Scores (N, D) of values (N, P)."""
        values = np.where(self.mirrored, np.abs(values), values)
        scaled = np.clip((values - self.centre) / self.spread, -gaussians.CLIP, gaussians.CLIP)
        scores: Array = (scaled - self.offset) @ self.axes
        return scores

    def turned(self, matrix: Array) -> FeatureSpace:
        """Return the space whose scores are multiplied by `matrix` (D, D) from the right."""
        return dataclasses.replace(self, axes=self.axes @ matrix)


def fit_space(
    values: Array,
    columns: tuple[str, ...],
    n_axes: int,
    *,
    mirror: bool = True,
    tick: Callable[[], None] | None = None,
) -> tuple[FeatureSpace, Array]:
    """Scale features robustly and find their principal axes; what does not vary is dropped.

    With `mirror` the features that change sign in a mirror count by their size alone; `tick` is
    called now and then.

    Returns
    -------
    FeatureSpace
        Of the features that vary.
    ndarray
        Values (N, P) of these.
    """
    mirrored = np.array([mirror and name.endswith(_ODD) for name in columns], bool)
    folded = np.where(mirrored, np.abs(values), values)
    centre, spread = gaussians.robust_location(folded, tick)
    varies = spread > 1e-9 * np.maximum(np.abs(folded).max(axis=0, initial=0.0), 1e-300)
    kept = tuple(name for name, is_kept in zip(columns, varies, strict=True) if is_kept)
    centre, spread = centre[varies], spread[varies]
    values, folded = values[:, varies], folded[:, varies]
    scaled = np.clip((folded - centre) / spread, -gaussians.CLIP, gaussians.CLIP)
    space = FeatureSpace(
        columns=kept,
        mirrored=mirrored[varies],
        centre=centre,
        spread=spread,
        offset=scaled.mean(axis=0) if len(scaled) else np.zeros(len(kept)),
        axes=gaussians.principal_axes(scaled, n_axes),
    )
    return space, values


def feature_values(
    table: pd.DataFrame, features: pd.DataFrame | None
) -> tuple[Array, tuple[str, ...]]:
    """Features (N, P) of each site, NaN where it has none, and their names.

    Raises
    ------
    InputError
        If there are neither features nor latents, or they do not fit the sites.
    """
    if features is None:
        names = tables.latent_names(table)
        if not names:
            raise InputError(
                "The table has no latents z0, z1, ...: join them (join_latents) or give features."
            )
        values = table[names].to_numpy(float)
    else:
        names, values = _joined(table, features)
    values = np.where(np.isfinite(values), values, np.nan)
    empty = np.isnan(values).all(axis=0)  # a column that says nothing must not hide the others
    if empty.all():
        return values, tuple(names)
    kept = tuple(name for name, is_empty in zip(names, empty, strict=True) if not is_empty)
    return values[:, ~empty], kept


def _joined(table: pd.DataFrame, features: pd.DataFrame) -> tuple[list[str], Array]:
    """Names and values of the features of each site of the table."""
    if "site_id" not in features or features["site_id"].duplicated().any():
        raise InputError("The features need a column 'site_id' without duplicates.")
    numbers = features.drop(columns="site_id")
    wrong = [str(name) for name in numbers if numbers[name].dtype.kind not in "fiub"]
    if wrong or not numbers.shape[1]:
        raise InputError(
            f"The features {', '.join(wrong)} hold no numbers: give columns of numbers."
        )
    position = pd.Index(features["site_id"]).get_indexer(table["site_id"])
    if len(table) and len(features) and not (position >= 0).any():
        raise InputError("No site_id of the features is in the table: they do not belong.")
    known = position >= 0
    values = np.full((len(table), numbers.shape[1]), np.nan)
    values[known] = numbers.to_numpy(float)[position[known]]
    return [str(name) for name in numbers], values
