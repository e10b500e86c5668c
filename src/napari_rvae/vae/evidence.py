"""What the self-checks look at: some crops, what a model says of them, and of them turned."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_rvae.crops import Crops
from napari_rvae.tables import fold_angle, latent_names, latents_in_use
from napari_rvae.vae.measures import (
    Rings,
    as_numbers,
    noise_levels,
    symmetry_orders,
    turn_pictures,
)

if TYPE_CHECKING:
    from napari_rvae.vae.estimator import RVAE

__all__ = ["DIRECTION", "FEW_DIRECTIONS", "Evidence"]

#: Crops that are encoded, decoded, and turned.
_ENCODED, _DECODED, _TURNED = 2000, 600, 60

#: The per-pixel decoder takes so much longer that fewer crops have to do.
_FEWER = {"pixel": 4}

#: Turns of a crop; none is a multiple of 90 degrees, which alone would need no interpolation.
_TURNS = np.radians(15 + 30 * np.arange(12))

#: A crop has a direction when its strongest angular order has so many times the noise's power.
DIRECTION = 8.0

#: Crops with a direction that are fewer than this share may be noise and dirt.
FEW_DIRECTIONS = 0.05


@dataclass(frozen=True, eq=False)
class Evidence:
    """Crops and what a model says of them; what several checks need is computed once.

    Attributes
    ----------
    model, other
        The model, and another one to compare with, or None.
    crops
        Some of the crops, in memory, without NaN.
    table
        The model's latents table of them.
    """

    model: RVAE
    other: RVAE | None
    crops: Crops
    table: pd.DataFrame

    @classmethod
    def collect(cls, model: RVAE, crops: Crops, other: RVAE | None) -> Evidence:
        """Take crops by the model's seed, and encode them."""
        rng = np.random.default_rng(model.config.seed)
        part = crops.select(np.sort(rng.permutation(len(crops))[: _affordable(model, _ENCODED)]))
        part = replace(part, images=part.read())
        part = part.select(np.isfinite(part.images).all((1, 2, 3)))
        return cls(model, other, part, model.transform(part))

    def rng(self) -> np.random.Generator:
        """Random numbers, the same for every check."""
        return np.random.default_rng(self.model.config.seed)

    def some(self, most: int, among: NDArray[np.bool_] | None = None) -> NDArray[np.intp]:
        """Draw at most so many rows."""
        rows = np.arange(len(self.crops)) if among is None else np.flatnonzero(among)
        return np.sort(self.rng().permutation(rows)[: _affordable(self.model, most)])

    @property
    def names(self) -> list[str]:
        """Names of the latents."""
        return latent_names(self.table)

    def latents(self, table: pd.DataFrame) -> NDArray[np.float64]:
        """Latents in use (N, L) of a table."""
        return table[self.names].to_numpy(float)[:, self.in_use]

    @cached_property
    def in_use(self) -> NDArray[np.bool_]:
        """Which latents (L,) the model uses."""
        return latents_in_use(self.table)

    @cached_property
    def other_table(self) -> pd.DataFrame:
        """The other model's latents table."""
        assert self.other is not None  # noqa: S101 - asked for only where there is one
        return self.other.transform(self.crops)

    @cached_property
    def other_in_use(self) -> NDArray[np.bool_]:
        """Which latents the other model uses."""
        return latents_in_use(self.other_table)

    def other_latents(self, table: pd.DataFrame) -> NDArray[np.float64]:
        """Latents in use (N, K) of a table of the other model."""
        return table[latent_names(table)].to_numpy(float)[:, self.other_in_use]

    @cached_property
    def rings(self) -> Rings:
        """Harmonics of pictures on the crops' grid."""
        return Rings(self.crops.pixels)

    @cached_property
    def _unit(self) -> NDArray[np.float64]:
        """Size (C, 1, 1) of the noise in a harmonic of each channel."""
        # in shares of the channel's spread, whose squares no float overflows with
        spread = np.abs(self.crops.images).max((0, 2, 3)).astype(float)
        spread[spread == 0] = 1.0
        scaled = self.crops.images.astype(float) / spread[:, None, None]
        level = noise_levels(scaled, self.crops.noise_sd / spread[0])
        known = np.r_[self.crops.noise_sd, self.crops.layer_noise[1:]] / spread
        level = np.where(known > 0, known, level)  # NaN where it is not known
        correlation = self.crops.noise_correlation
        together = np.ones(1)
        if correlation is not None:
            together = np.maximum(np.atleast_1d(correlation.sum((-2, -1))), 1.0)
        unit = level * self.crops.native_pixel * np.sqrt(together) * spread
        return np.asarray(np.maximum(unit, 1e-6 * spread)[:, None, None])

    @cached_property
    def harmonics(self) -> NDArray[np.complex128]:
        """Harmonics (N, C, R, n) of the crops in units of their noise."""
        return self._harmonics(self.crops.images)

    def _harmonics(self, pictures: NDArray[np.float32]) -> NDArray[np.complex128]:
        numbers = as_numbers(pictures.astype(float), self.crops.vectors)
        return self.rings.harmonics(numbers) / self._unit

    @cached_property
    def directed(self) -> NDArray[np.bool_]:
        """Which crops (N,) show a direction above the noise."""
        strongest = (np.abs(self.harmonics) ** 2).mean((1, 2)).max(1)
        found = np.asarray(strongest > DIRECTION)
        return found if found.mean() >= FEW_DIRECTIONS else np.zeros_like(found)

    @cached_property
    def decoded(self) -> tuple[NDArray[np.intp], NDArray[np.complex128]]:
        """Some crops with a direction, and the harmonics of their reconstructions."""
        rows = self.some(_DECODED, self.directed)
        return rows, self._decode(rows)

    def _decode(self, rows: NDArray[np.intp]) -> NDArray[np.complex128]:
        """Harmonics (n, C, R, orders) of reconstructions, without encoding the crops anew."""
        table, grid = self.table.iloc[rows], self.crops.pixels / self.crops.window_px
        pictures = self.model.inverse_transform(
            table[self.names].to_numpy(),
            angle=table["angle"].to_numpy(),
            shift=table[["shift_y", "shift_x"]].to_numpy() * grid,
        )
        return self._harmonics(pictures)

    @cached_property
    def turned(self) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]:
        """Some crops, with a direction if any has: latents and angle, of all turns.

        Rows (n,), latents (T, n, L), and angles (T, n) less those that the crops had before.
        """
        rows = self.some(_TURNED, self.directed if self.directed.any() else None)
        part = self.crops.select(rows)
        before = self.table["angle"].to_numpy()[rows]
        tables = [
            self.model.transform(
                replace(part, images=turn_pictures(part.images, angle, part.vectors))
            )
            for angle in _TURNS
        ]
        latents = np.stack([self.latents(table) for table in tables])
        return rows, latents, np.stack([table["angle"].to_numpy() - before for table in tables])

    @cached_property
    def off(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """How far the angle (T, n) misses that of the turn, and the order (n,) of symmetry."""
        rows, _, angle = self.turned
        order = symmetry_orders(self._decode(rows))
        missed = angle - _TURNS[:, None]
        return np.stack([fold_angle(missed[:, i], n) for i, n in enumerate(order)], 1), order

    @cached_property
    def follows(self) -> float:
        """How well the angle follows turns: 1 exactly, 0 not at all."""
        off, order = self.off
        return float(np.cos(order * off).mean())


def _affordable(model: RVAE, count: int) -> int:
    return count // _FEWER.get(model.config.decoder, 1)
