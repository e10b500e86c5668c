"""What a trained model consists of, and the results it computes on the device."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_rvae.config import CropConfig, RVAEConfig
from napari_rvae.crops import Crops
from napari_rvae.device import to_device
from napari_rvae.errors import InputError, NotFittedError
from napari_rvae.tables import fold_angle
from napari_rvae.vae.basis import SteerableBasis
from napari_rvae.vae.gauge import Gauge, fit_gauge
from napari_rvae.vae.invariants import invariant_features
from napari_rvae.vae.model import SteerableVAE
from napari_rvae.vae.pose import rotate
from napari_rvae.vae.shifts import ShiftSearch, move

__all__ = ["CHUNK", "TrainedModel"]

#: Crops in memory at a time when results are computed.
CHUNK = 4000


class TrainedModel:
    """Everything that a trained model needs to compute results, on its device."""

    def __init__(
        self,
        model: SteerableVAE,
        basis: SteerableBasis,
        scale: NDArray[np.float64],
        *,
        gauge: Gauge | None,
        search: ShiftSearch | None,
        channels: tuple[str, ...],
        window_nd: float,
        window_px: float,
        content: str,
    ) -> None:
        self.model, self.basis, self.scale = model, basis, scale
        self.gauge, self.search = gauge, search
        self.channels, self.content = channels, content
        self.window_nd, self.window_px = window_nd, window_px
        self.spread = np.zeros((0, 0))  # quantiles 0, 1, ..., 100 % of the latents (101, L)

    @classmethod
    def untrained(
        cls,
        model: SteerableVAE,
        basis: SteerableBasis,
        scale: NDArray[np.float64],
        search: ShiftSearch | None,
        crops: Crops,
    ) -> TrainedModel:
        """Make what a training on these crops fills."""
        return cls(
            model,
            basis,
            scale,
            gauge=None,
            search=search,
            channels=crops.channels,
            window_nd=crops.window_nd,
            window_px=crops.window_px,
            content=crops.content,
        )

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.model.mask.device

    @property
    def crop_config(self) -> CropConfig:
        """Options with which to cut crops like those of the training."""
        plain = CropConfig(pixels=self.basis.pixels, content=self.content)
        try:
            return replace(plain, window_nd=self.window_nd)
        except InputError:  # unknown, or beyond what the option takes
            return replace(plain, window=self.window_px)

    @property
    def aligned(self) -> Gauge:
        """The gauge, once it has been learned."""
        if self.gauge is None:
            raise NotFittedError("This model's gauge is not known yet: call fit first.")
        return self.gauge

    @torch.no_grad()
    def learn_gauge(self, data: torch.Tensor, seed: int) -> None:
        """Align the pictures over the latents of the training data."""
        latents = torch.cat([self.model.infer(part)[0] for part in data.split(CHUNK)])
        values = latents.cpu().numpy().astype(np.float64)
        self.spread = np.quantile(values, np.linspace(0, 1, 101), axis=0)
        self.gauge = fit_gauge(self.model, self.basis, values, seed)

    def quantiles(self, n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Latents (n, L) from the 5 to the 95 % quantile, and their medians (L,)."""
        low, high = self.spread[5], self.spread[95]
        return np.linspace(low, high, n), self.spread[50]

    def check(self, crops: Crops) -> None:
        """Crops must have the grid and the channels of the training."""
        shape = (self.basis.channels, self.basis.pixels)
        if crops.images.shape[1:3] != shape:
            raise InputError(
                f"The crops have {crops.images.shape[1]} channels of {crops.pixels} px; the model "
                f"was trained on {shape[0]} of {shape[1]}: cut them alike."
            )

    def _load(self, images: NDArray[np.float32]) -> tuple[torch.Tensor, NDArray[np.bool_]]:
        good = np.asarray(np.isfinite(images).all((1, 2, 3)))
        scaled = images[good] / self.scale[:, None, None].astype(np.float32)
        return to_device(torch.from_numpy(np.ascontiguousarray(scaled)), self.device), good

    @torch.no_grad()
    def encode(self, images: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
        """Codes of crops (n, C, S, S); NaN where they hold NaN."""
        self.model.eval()
        tensor, good = self._load(images)
        shift = torch.zeros(len(tensor), 2, device=self.device)
        if self.search is not None and len(tensor):
            shift = self.search.search(self.model, tensor)[0]
            tensor = move(tensor, shift)
        data = self.basis.project(tensor)
        mean, log_sd = self.model.infer(data)
        template = self.model.generate(mean)
        pose = self.model.grid.posterior(data, template, self.model.s2)
        rest = (data - rotate(template, pose.angle)).flatten(1)
        residual = (rest**2).sum(1) / (self.model.s2 * self.basis.n_real)
        gauge = self.aligned
        offset = gauge.offset(mean, template, self.model.grid)
        pattern = pose.angle + gauge.host_angle(template, self.model.grid)
        angle = fold_angle((pose.angle + offset).cpu().numpy(), 1)
        codes = {
            "angle": angle,
            "angle_sd": pose.angle_sd.cpu().numpy(),
            "pattern": pattern.cpu().numpy(),
            "residual": residual.cpu().numpy(),
            "z": mean.cpu().numpy(),
            "z_sd": log_sd.exp().cpu().numpy(),
            "shift": shift.cpu().numpy(),
        }
        return {name: _spread_out(value, good) for name, value in codes.items()}

    @torch.no_grad()
    def features(self, images: NDArray[np.float32]) -> NDArray[np.float64]:
        """Invariant features (n, F) of crops."""
        tensor, good = self._load(images)
        return _spread_out(
            invariant_features(self.basis.project(tensor), self.basis).cpu().numpy(), good
        )

    @torch.no_grad()
    def draw(
        self,
        z: NDArray[np.float32],
        angle: NDArray[np.float32],
        shift: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """Pictures (M, C, S, S) of latents at angles and shifts."""
        self.model.eval()
        gauge = self.aligned
        pictures = []
        for start in range(0, len(z), CHUNK):
            part = slice(start, start + CHUNK)
            latents = torch.as_tensor(z[part].copy(), device=self.device)
            template = self.model.generate(latents)
            turn = torch.as_tensor(angle[part].copy(), device=self.device)
            turn = turn - gauge.offset(latents, template, self.model.grid)
            image = self.basis.to_images(rotate(template, turn))
            by = torch.as_tensor(shift[part].copy(), device=self.device)
            if bool((by != 0).any()):
                image = move(image, -by)
            pictures.append(image.cpu().numpy())
        shape = (0, self.basis.channels, self.basis.pixels, self.basis.pixels)
        out = np.concatenate(pictures) if pictures else np.zeros(shape, np.float32)
        return (out * self.scale[:, None, None]).astype(np.float32)

    def header(self) -> dict[str, Any]:
        """What goes into config.json."""
        gauge = self.aligned
        return {
            "engine": "steerable",
            "basis": {
                "n_orders": self.basis.n_orders,
                "n_radial": self.basis.n_radial,
                "channels": self.basis.channels,
                "pixels": self.basis.pixels,
                "noise2": self.basis.noise2,
            },
            "s2": self.model.s2,
            "order": gauge.order,
            "channels": list(self.channels),
            "window_nd": self.window_nd if math.isfinite(self.window_nd) else None,
            "window_px": self.window_px,
            "content": self.content,
            "shift_limit": self.search.limit if self.search else None,
        }

    def tensors(self) -> dict[str, torch.Tensor]:
        """What goes into the file of weights."""
        gauge = self.aligned
        return {
            **{f"model.{k}": v for k, v in self.model.state_dict().items()},
            "basis.weights": self.basis.weights,
            "basis.derivatives": self.basis.derivatives,
            "gauge.nodes": gauge.nodes,
            "gauge.pictures": gauge.pictures,
            "gauge.host": gauge.host,
            "scale": torch.from_numpy(self.scale.astype(np.float64)),
            "spread": torch.from_numpy(self.spread),
        }

    @classmethod
    def restore(
        cls,
        header: dict[str, Any],
        tensors: dict[str, torch.Tensor],
        config: RVAEConfig,
        device: torch.device,
    ) -> TrainedModel:
        """Put a model together from its files; ValueError where they do not fit."""
        basis = SteerableBasis(
            tensors["basis.weights"], tensors["basis.derivatives"], **header["basis"]
        ).to(device)
        basis.check()
        order = int(header["order"])
        if not 1 <= order < max(2, basis.n_orders):
            raise ValueError(f"the host's order is {order}")
        generator = torch.Generator().manual_seed(0)
        model = SteerableVAE(basis.mask.cpu(), config.n_latents, config.hidden, generator)
        own = {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
        model.load_state_dict(own)
        model = model.to(device).eval()
        model.s2 = float(header["s2"])
        gauge = Gauge(
            tensors["gauge.nodes"],
            tensors["gauge.pictures"],
            tensors["gauge.host"],
            order,
        ).to(device)
        limit = header["shift_limit"]
        search = None if limit is None else ShiftSearch(basis, float(limit), float(limit) / 2)
        window = header["window_nd"]
        # the first files do not tell these two
        window_px = float(header.get("window_px", basis.pixels))
        if not 0 < window_px < math.inf:
            raise ValueError(f"the window has a side of {window_px} px")
        content = CropConfig(content=header.get("content", "frame")).content
        trained = cls(
            model,
            basis,
            tensors["scale"].numpy(),
            gauge=gauge,
            search=search,
            channels=tuple(header["channels"]),
            window_nd=math.nan if window is None else float(window),
            window_px=window_px,
            content=content,
        )
        trained.spread = tensors["spread"].numpy()
        return trained


def _spread_out(values: NDArray[Any], good: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Put results of the good crops in their rows; NaN elsewhere."""
    out = np.full((good.size, *values.shape[1:]), np.nan)
    out[good] = values
    return out
