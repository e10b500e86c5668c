"""What a trained steerable model consists of, and the results it computes on the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_rvae.config import RVAEConfig
from napari_rvae.device import small_steps
from napari_rvae.tables import fold_angle
from napari_rvae.vae.engine import TrainedOnCrops, restored, spread_out
from napari_rvae.vae.model import SteerableVAE
from napari_rvae.vae.pose import circle_shares, fine_circle, rotate
from napari_rvae.vae.posterior import LatentPosterior, infer_posterior
from napari_rvae.vae.shifts import ShiftSearch, move_decoded

__all__ = ["CHUNK", "TrainedModel"]

#: Crops in memory at a time when results are computed.
CHUNK = 4000


@dataclass(kw_only=True)
class TrainedModel(TrainedOnCrops):
    """Everything that a trained model needs to compute results, on its device.

    Attributes
    ----------
    model
        The network.
    search
        Finder of shifts, None without shifts.
    beta
        Weight of the prior in the training.
    """

    model: SteerableVAE
    search: ShiftSearch | None
    beta: float

    @property
    def decoder(self) -> SteerableVAE:
        """Decoded pictures as coefficients of the basis."""
        return self.model

    @torch.no_grad()
    @small_steps()  # like those of the training: see Trainer.threads
    def encode(self, images: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
        """Codes of crops (n, C, S, S); NaN where they hold NaN."""
        data, shift, good = self._seen(images)
        found = self.posterior(data)
        template, pose = found.template, found.pose
        rest = (data - rotate(template, pose.angle)).flatten(1)
        residual = (rest**2).sum(1) / (self.model.s2 * self.basis.n_real)
        offset = self.offset(found.mean, template)
        pattern = pose.angle + self.aligned.host_angle(template, self.model.grid)
        codes = {
            "angle": fold_angle((pose.angle + offset).cpu().numpy(), 1),
            "angle_sd": pose.angle_sd.cpu().numpy(),
            "pattern": pattern.cpu().numpy(),
            "residual": residual.cpu().numpy(),
            "z": found.mean.cpu().numpy(),
            "z_sd": found.sd.cpu().numpy(),
            "elsewhere": found.elsewhere.cpu().numpy(),
            "shift": shift.cpu().numpy(),
        }
        return {name: spread_out(value, good) for name, value in codes.items()}

    def _seen(
        self, images: NDArray[np.float32]
    ) -> tuple[torch.Tensor, torch.Tensor, NDArray[np.bool_]]:
        """Coefficients and shifts of crops without NaN, and which these are."""
        self.model.eval()
        tensor, good = self.load(images)
        shift = torch.zeros(len(tensor), 2, device=self.device)
        if self.search is not None and len(tensor):
            shift, latents, angle = self.search.search(self.model, tensor)
            tensor = self.search.see(self.model, tensor, shift, latents, angle)
        return self.basis.project(tensor), shift, good

    @torch.no_grad()
    @small_steps()
    def angle_shares(self, images: NDArray[np.float32], parts: int) -> NDArray[np.float64]:
        """Share (n, parts) of the posterior of the angle in equal parts of the circle."""
        data, _, good = self._seen(images)
        found = self.posterior(data)
        circle = fine_circle(parts).to(self.device)
        if self.model.rotation:
            match = self.model.grid.match(data, found.template, self.model.s2)
            turned = circle[None, :] - self.offset(found.mean, found.template)[:, None]
            shares = circle_shares(self.model.grid.fit_at(match, turned), parts)
        else:
            shares = circle_shares(-(circle**2)[None, :] * 1e9, parts).expand(len(data), -1)
        return spread_out(shares.cpu().numpy(), good)

    def posterior(self, data: torch.Tensor) -> LatentPosterior:
        """Posterior of the latents of coefficients (n, M, 2, K)."""
        return infer_posterior(self.model, data, nodes=self.aligned.nodes, beta=self.beta)

    @torch.no_grad()
    def draw(
        self,
        z: NDArray[np.float32],
        angle: NDArray[np.float32],
        shift: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """Pictures (M, C, S, S) of latents at angles and shifts."""
        self.model.eval()
        pictures = []
        for start in range(0, len(z), CHUNK):
            part = slice(start, start + CHUNK)
            latents = torch.as_tensor(z[part].copy(), device=self.device)
            template = self.model.generate(latents)
            turn = torch.as_tensor(angle[part].copy(), device=self.device)
            turn = turn - self.offset(latents, template)
            image = self.basis.to_images(rotate(template, turn))
            by = torch.as_tensor(shift[part].copy(), device=self.device)
            if bool((by != 0).any()):
                image = move_decoded(image, -by)
            pictures.append(image.cpu().numpy())
        shape = (0, self.basis.channels, self.basis.pixels, self.basis.pixels)
        out = np.concatenate(pictures) if pictures else np.zeros(shape, np.float32)
        return (out * self.scale[:, None, None]).astype(np.float32)

    def header(self) -> dict[str, Any]:
        """What goes into config.json."""
        return {
            **super().header(),
            "engine": "steerable",
            "shift_limit": self.search.limit if self.search else None,
        }

    @classmethod
    def restore(
        cls,
        header: dict[str, Any],
        tensors: dict[str, torch.Tensor],
        config: RVAEConfig,
        device: torch.device,
    ) -> TrainedModel:
        """Put a model together from its files; LookupError or ValueError where they do not fit."""
        parts = cls.saved_parts(header, tensors, device)
        basis = parts["basis"]
        model = SteerableVAE(
            basis.mask.cpu(),
            int(header["config"]["n_latents"]),
            config.hidden,
            torch.Generator().manual_seed(0),
            rotation=config.rotation,
        )
        model = restored(model, header, tensors, device)
        limit = header["shift_limit"]
        search = None if limit is None else ShiftSearch(basis, float(limit), float(limit) / 2)
        return cls(model=model, search=search, beta=config.beta, **parts)
