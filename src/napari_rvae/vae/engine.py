"""What the estimator needs from an engine: how to begin a training, the training, its result.

There are two engines, the steerable one of this package and the published one (``vae/pixel``).
The protocols say what the estimator calls; :class:`TrainedOnCrops` holds what the results of both
have in common.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from napari_rvae.config import CropConfig, RVAEConfig
from napari_rvae.crops import Crops
from napari_rvae.device import small_steps, to_device
from napari_rvae.errors import InputError, NotFittedError
from napari_rvae.preprocess.wall_mask import DRAWN
from napari_rvae.vae.basis import SteerableBasis
from napari_rvae.vae.epochs import EpochRecord, FitProgress
from napari_rvae.vae.gauge import Decoder, Gauge, fit_gauge
from napari_rvae.vae.invariants import feature_names, invariant_features
from napari_rvae.vae.network import Network

__all__ = [
    "Engine",
    "Started",
    "Trained",
    "TrainedOnCrops",
    "Training",
    "restored",
    "spread_out",
]

_Network = TypeVar("_Network", bound=Network)


class Training(Protocol):
    """A training that can be left after every report and entered again.

    Attributes
    ----------
    config
        Options; some may change while the training is left.
    history
        One record for each epoch that was finished.
    """

    config: RVAEConfig
    history: list[EpochRecord]

    @property
    def threads(self) -> int | None:
        """Most CPU threads that a step can use well; None for all of them."""

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to train: all epochs are done, or nothing more is won."""

    def run(self) -> Iterator[FitProgress]:
        """Train until it is finished; the model is usable at every report."""

    def latents(self) -> torch.Tensor:
        """What the encoder gives for the crops of the training (N, L)."""

    def restore_best(self) -> None:
        """Go back to the weights that described the held-out crops best."""


class Trained(Protocol):
    """A model that computes results on its device.

    Attributes
    ----------
    gauge
        Orientation of the pictures over the latents, None before it was learned.
    spread
        Quantiles 0, 1, ..., 100 % of the latents (101, L).
    lags, base_channels, window_px
        Of the training crops.
    """

    gauge: Gauge | None
    spread: NDArray[np.float64]
    lags: tuple[int, ...]
    base_channels: tuple[str, ...]
    window_px: float

    @property
    def model(self) -> Network:
        """The network."""

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""

    @property
    def basis(self) -> SteerableBasis:
        """The steerable basis of the crops."""

    @property
    def crop_config(self) -> CropConfig:
        """Options with which to cut crops like those of the training."""

    @property
    def noise_sd(self) -> NDArray[np.float64]:
        """Noise of a pixel (C,) that the model reckons with, in the units of the crops."""

    @property
    def aligned(self) -> Gauge:
        """The gauge; NotFittedError before :meth:`learn_gauge`."""

    def learn_gauge(self, latents: torch.Tensor, seed: int) -> None:
        """Align the pictures over the latents (N, L) of the training crops."""

    def check(self, crops: Crops) -> None:
        """InputError for crops with another grid or other channels than the training's."""

    def encode(self, images: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
        """Codes of crops (n, C, S, S), NaN where they hold NaN.

        "angle", "angle_sd", "pattern" (the host's angle) and "residual" (n,); "z" and "z_sd"
        (n, L); "shift" (n, 2), as (y, x) in pixels of the grid; and, from an engine that knows,
        "elsewhere" (n,), the share of the posterior that belongs to another mode.
        """

    def features(self, images: NDArray[np.float32]) -> NDArray[np.float64]:
        """Rotation-invariant features (n, F) of crops."""

    def angle_shares(self, images: NDArray[np.float32], parts: int) -> NDArray[np.float64]:
        """Share (n, parts) of the posterior of the angle in equal parts of the circle."""

    def feature_names(self) -> list[str]:
        """Names (F,) of the features; those that change sign in a mirror end in _odd."""

    def draw(
        self, z: NDArray[np.float32], angle: NDArray[np.float32], shift: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Pictures (M, C, S, S) of latents at angles and shifts (grid pixels)."""

    def header(self) -> dict[str, Any]:
        """What goes into config.json."""

    def tensors(self) -> dict[str, torch.Tensor]:
        """What goes into the file of weights."""


class Started(NamedTuple):
    """A training before its first step, the model it trains, and how many crops hold NaN."""

    trainer: Training
    trained: Trained
    left_out: int


class Engine(NamedTuple):
    """How to begin a training, and how to put a saved model together."""

    start: Callable[[Crops, RVAEConfig, torch.device], Generator[FitProgress, None, Started]]
    restore: Callable[[dict[str, Any], dict[str, torch.Tensor], RVAEConfig, torch.device], Trained]


@dataclass(kw_only=True)
class TrainedOnCrops:
    """What results need to know of the training crops, whatever the engine.

    Attributes
    ----------
    model
        The network.
    basis
        The steerable basis of the crops.
    scale
        What each channel of the crops is divided by (C,): its standard deviation where it is the
        only one, else in proportion to its noise.
    channels, lags, window_nd, window_px, content, subtract_mean, kept_means
        As of the training crops.
    base_channels
        Channels of the frames that the layers of every lag show.
    gauge
        Orientation of the pictures over the latents, None before it was learned.
    spread
        Quantiles 0, 1, ..., 100 % of the latents (101, L).
    """

    model: Network
    basis: SteerableBasis
    scale: NDArray[np.float64]
    channels: tuple[str, ...]
    window_nd: float
    window_px: float
    content: str
    lags: tuple[int, ...] = (0,)
    base_channels: tuple[str, ...] = ()
    subtract_mean: bool = True
    kept_means: tuple[str, ...] = ()
    gauge: Gauge | None = None
    spread: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))

    @classmethod
    def of(cls, crops: Crops, **parts: Any) -> Self:
        """Make one of its other parts, and of what is needed of the training crops."""
        return cls(
            channels=crops.channels,
            window_nd=crops.window_nd,
            window_px=crops.window_px,
            content=crops.content,
            lags=crops.lags,
            base_channels=crops.base_channels,
            subtract_mean=crops.subtract_mean,
            kept_means=crops.kept_means,
            **parts,
        )

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.basis.weights.device

    @property
    def crop_config(self) -> CropConfig:
        """Options with which to cut crops like those of the training."""
        plain = CropConfig(
            pixels=self.basis.pixels,
            content=self.content,
            subtract_mean=self.subtract_mean,
            keep_mean=", ".join(self.kept_means),
            walls="on" if DRAWN in self.base_channels else "off",
        )
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

    @property
    def decoder(self) -> Decoder:
        """Decoded pictures as coefficients of the basis."""
        raise NotImplementedError

    @property
    def noise_sd(self) -> NDArray[np.float64]:
        """Noise of a pixel (C,) that the model reckons with, in the units of the crops."""
        return math.sqrt(self.model.s2) * self.scale

    @torch.no_grad()
    def learn_gauge(self, latents: torch.Tensor, seed: int) -> None:
        """Align the pictures over the latents (N, L) of the training crops."""
        values = latents.cpu().numpy().astype(np.float64)
        self.spread = np.quantile(values, np.linspace(0, 1, 101), axis=0)
        self.gauge = fit_gauge(self.decoder, self.basis, values, seed)

    def offset(self, z: torch.Tensor, template: torch.Tensor) -> torch.Tensor:
        """Angle (B,) by which the decoder's pictures are turned against the aligned ones."""
        if not self.model.rotation:  # the decoder draws crops as they lie in the frame
            return torch.zeros(len(z), device=z.device)
        return self.aligned.offset(z, template, self.decoder.grid)

    def check(self, crops: Crops) -> None:
        """Crops must have the grid and the channels of the training."""
        shape = (self.basis.channels, self.basis.pixels)
        if crops.images.shape[1:3] != shape:
            raise InputError(
                f"The crops have {crops.images.shape[1]} channels of {crops.pixels} px; the model "
                f"was trained on {shape[0]} of {shape[1]}: cut them alike."
            )

    def load(self, images: NDArray[np.float32]) -> tuple[torch.Tensor, NDArray[np.bool_]]:
        """Standardised pictures on the device, of the crops (n,) that hold no NaN."""
        good = np.asarray(np.isfinite(images).all((1, 2, 3)))
        scaled = images[good] / self.scale[:, None, None].astype(np.float32)
        return to_device(torch.from_numpy(np.ascontiguousarray(scaled)), self.device), good

    @torch.no_grad()
    @small_steps()
    def features(self, images: NDArray[np.float32]) -> NDArray[np.float64]:
        """Invariant features (n, F) of crops."""
        tensor, good = self.load(images)
        return spread_out(
            invariant_features(self.basis.project(tensor), self.basis.mask).cpu().numpy(), good
        )

    def feature_names(self) -> list[str]:
        """Names (F,) of the features; those that change sign in a mirror end in _odd."""
        return feature_names(self.basis.mask)

    def header(self) -> dict[str, Any]:
        """What goes into config.json."""
        return {
            "basis": self.basis.numbers,
            "s2": self.model.s2,
            "order": self.aligned.order,
            "channels": list(self.channels),
            "window_nd": self.window_nd if math.isfinite(self.window_nd) else None,
            "window_px": self.window_px,
            "content": self.content,
            "lags": list(self.lags),
            "base_channels": list(self.base_channels),
            "subtract_mean": self.subtract_mean,
            "kept_means": list(self.kept_means),
        }

    def tensors(self) -> dict[str, torch.Tensor]:
        """What goes into the file of weights."""
        gauge, basis = self.aligned, self.basis
        white = basis.pictures is basis.weights
        return {
            **{f"model.{name}": value for name, value in self.model.state_dict().items()},
            "basis.weights": basis.weights,
            "basis.derivatives": basis.derivatives,
            **({} if white else {"basis.pictures": basis.pictures}),
            "gauge.nodes": gauge.nodes,
            "gauge.pictures": gauge.pictures,
            "gauge.host": gauge.host,
            "scale": torch.from_numpy(self.scale.astype(np.float64)),
            "spread": torch.from_numpy(self.spread),
        }

    @staticmethod
    def saved_parts(
        header: dict[str, Any], tensors: dict[str, torch.Tensor], device: torch.device
    ) -> dict[str, Any]:
        """All attributes from a model's files; LookupError or ValueError where they do not fit."""
        basis = SteerableBasis(
            tensors["basis.weights"],
            tensors["basis.derivatives"],
            pictures=tensors.get("basis.pictures"),  # only where noise is whitened
            **header["basis"],
        ).to(device)
        basis.check()
        order = int(header["order"])
        if not 1 <= order < max(2, basis.n_orders):
            raise ValueError(f"the host's order is {order}")
        gauge = Gauge(
            tensors["gauge.nodes"], tensors["gauge.pictures"], tensors["gauge.host"], order
        )
        window = header["window_nd"]
        # the first files do not tell these two
        window_px = float(header.get("window_px", basis.pixels))
        if not 0 < window_px < math.inf:
            raise ValueError(f"the window has a side of {window_px} px")
        return {
            "basis": basis,
            "scale": tensors["scale"].numpy(),
            "channels": tuple(header["channels"]),
            "window_nd": math.nan if window is None else float(window),
            "window_px": window_px,
            "content": CropConfig(content=header.get("content", "frame")).content,
            "lags": tuple(int(lag) for lag in header.get("lags", [0])),
            "base_channels": tuple(header.get("base_channels", header["channels"])),
            "subtract_mean": bool(header.get("subtract_mean", True)),
            "kept_means": tuple(str(name) for name in header.get("kept_means", ())),
            "gauge": gauge.to(device),
            "spread": tensors["spread"].numpy(),
        }


def restored(
    model: _Network, header: dict[str, Any], tensors: dict[str, torch.Tensor], device: torch.device
) -> _Network:
    """Give a network its saved weights; RuntimeError or LookupError where they do not fit."""
    own = {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
    model.load_state_dict(own)
    model.s2 = float(header["s2"])
    return model.to(device).eval()


def spread_out(values: NDArray[Any], good: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Put results of the good crops in their rows; NaN elsewhere."""
    out = np.full((good.size, *values.shape[1:]), np.nan)
    out[good] = values
    return out
