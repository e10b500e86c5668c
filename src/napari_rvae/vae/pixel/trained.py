"""A trained model of the published engine, and the results it computes on the device.

The canonical pictures are put into the steerable basis of the crops, so that gauge, symmetry and
invariants are those of the other engine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_rvae.config import RVAEConfig
from napari_rvae.crops.vectors import vector_pairs
from napari_rvae.tables import fold_angle
from napari_rvae.vae.basis import SteerableBasis
from napari_rvae.vae.engine import TrainedOnCrops, restored, spread_out
from napari_rvae.vae.pixel.model import Code, PixelVAE
from napari_rvae.vae.pose import AngleGrid, circle_shares, fine_circle
from napari_rvae.vae.shifts import turn_offsets

__all__ = ["PixelTrained", "network"]


class _Canonical:
    """Canonical pictures as coefficients of a steerable basis."""

    def __init__(self, model: PixelVAE, basis: SteerableBasis) -> None:
        self.model, self.basis = model, basis
        self.grid = AngleGrid(basis.n_orders, basis.weights.device)

    def generate(self, z: torch.Tensor) -> torch.Tensor:
        """Coefficients (B, M, 2, K) of latents (B, L)."""
        upright = Code(z.new_zeros(len(z)), z.new_zeros(len(z), 2), z)
        size = self.model.at_a_time()
        parts = [
            self.basis.project(self.model.draw(Code(*part)))
            for part in zip(*(value.split(size) for value in upright), strict=True)
        ]
        return torch.cat(parts)


@dataclass(kw_only=True)
class PixelTrained(TrainedOnCrops):
    """Everything that a trained model needs to compute results, on its device."""

    model: PixelVAE

    @cached_property
    def decoder(self) -> _Canonical:
        """Decoded pictures as coefficients of the basis."""
        return _Canonical(self.model, self.basis)

    @torch.no_grad()
    def encode(self, images: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
        """Codes of crops (n, C, S, S); NaN where they hold NaN."""
        self.model.eval()
        tensor, good = self.load(images)
        parts = [self._encode(part) for part in tensor.split(self.model.at_a_time())]
        codes = {name: torch.cat([part[name] for part in parts]).cpu().numpy() for name in parts[0]}
        codes["angle"] = fold_angle(codes["angle"], 1)
        return {name: spread_out(value, good) for name, value in codes.items()}

    def _encode(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Codes of standardised pictures (B, C, S, S), the angle not folded."""
        mean, log_sd = self.model.infer(images)
        code = self.model.read(mean)
        residual = (images - self.model.draw(code)).square().mean((1, 2, 3)) / self.model.s2
        template = self.decoder.generate(code.z)
        angle_sd = code.angle.new_zeros(len(code.angle))
        if self.model.rotation:
            angle_sd = log_sd[:, 0].exp().clamp_max(math.pi / math.sqrt(3))
        return {
            "angle": code.angle + self.offset(code.z, template),
            "angle_sd": angle_sd,
            "pattern": code.angle + self.aligned.host_angle(template, self.decoder.grid),
            "residual": residual,
            "z": code.z,
            "z_sd": log_sd[:, -self.model.n_latents :].exp(),
            "shift": -turn_offsets(code.offset, code.angle) * self._half,
        }

    @torch.no_grad()
    def angle_shares(self, images: NDArray[np.float32], parts: int) -> NDArray[np.float64]:
        """Share (n, parts) of the posterior of the angle, a normal one, in parts of the circle."""
        codes = self.encode(images)
        good = np.isfinite(codes["angle"])
        mean, sd = (torch.from_numpy(codes[name][good])[:, None] for name in ("angle", "angle_sd"))
        away = torch.remainder(fine_circle(parts) - mean + math.pi, 2 * math.pi) - math.pi
        # no narrower than the circle is fine
        shares = circle_shares(-0.5 * (away / sd.clamp_min(2e-3)) ** 2, parts)
        return spread_out(shares.numpy(), good)

    @property
    def _half(self) -> float:
        """Half the window, from the middle of its first pixel to its centre."""
        return (self.basis.pixels - 1) / 2

    @torch.no_grad()
    def draw(
        self, z: NDArray[np.float32], angle: NDArray[np.float32], shift: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Pictures (M, C, S, S) of latents at angles and shifts (grid pixels)."""
        self.model.eval()
        out = np.empty((len(z), self.basis.channels, self.basis.pixels, self.basis.pixels))
        for start in range(0, len(z), self.model.at_a_time()):
            part = slice(start, start + self.model.at_a_time())
            latents, turn, by = (
                torch.as_tensor(values[part].copy(), device=self.device)
                for values in (z, angle, shift)
            )
            turn = turn - self.offset(latents, self.decoder.generate(latents))
            code = Code(turn, -turn_offsets(by, -turn) / self._half, latents)
            out[part] = self.model.draw(code).cpu().numpy()
        return (out * self.scale[:, None, None]).astype(np.float32)

    def header(self) -> dict[str, Any]:
        """What goes into config.json."""
        return {"engine": "pixel", **super().header()}

    @classmethod
    def restore(
        cls,
        header: dict[str, Any],
        tensors: dict[str, torch.Tensor],
        config: RVAEConfig,
        device: torch.device,
    ) -> PixelTrained:
        """Put a model together from its files; ValueError where they do not fit."""
        parts = cls.saved_parts(header, tensors, device)
        n_latents = int(header["config"]["n_latents"])
        model = network(config, n_latents, parts["channels"], parts["basis"].pixels)
        return cls(model=restored(model, header, tensors, device), **parts)


def network(config: RVAEConfig, n_latents: int, channels: Sequence[str], pixels: int) -> PixelVAE:
    """Return the network with its first weights, for layers of these names."""
    return PixelVAE(
        len(channels),
        pixels,
        n_latents,
        config.hidden,
        torch.Generator().manual_seed(config.seed),
        rotation=config.rotation,
        shifts=config.shifts,
        angle_prior_sd=config.angle_prior_sd,
        half_precision=config.half_precision,
        vectors=vector_pairs(channels),
    )
