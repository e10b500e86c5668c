"""Options of the model and of its training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from napari_rvae.config.base import Config, option

__all__ = ["RVAEConfig"]


@dataclass(frozen=True, kw_only=True)
class RVAEConfig(Config):
    """Options of :class:`napari_rvae.RVAE`: the model's and the training's together.

    Examples
    --------
    >>> from napari_rvae import RVAEConfig
    >>> RVAEConfig(n_latents=2, epochs=20).decoder
    'steerable'
    """

    n_latents: int | None = option(
        None,
        "Number of latent variables; automatic: 4 for atoms, 6 along walls and on grids.",
        low=1,
        high=8,
        label="Latent variables",
    )
    decoder: str = option(
        "steerable",
        "Engine: exact rotations (steerable), or the published one, pixel by pixel, to compare.",
        choices=("steerable", "pixel"),
        advanced=True,
        label="Engine",
    )
    rotation: bool = option(
        True,
        "Latents that do not change when a crop turns; off: a plain VAE, angle 0.",
        advanced=True,
        label="Rotation invariance",
    )
    shifts: bool = option(
        False,
        "Let the model move crops; for sites that are not well centred.",
        label="Centre the crops",
    )
    epochs: int = option(30, "Passes over the training crops.", low=1, high=10_000, label="Epochs")
    max_crops: int = option(
        10_000,
        "Train on at most so many crops, drawn at random.",
        low=16,
        advanced=True,
        label="Most crops",
    )
    batch_size: int = option(
        256, "Crops in one step.", low=2, high=65_536, advanced=True, label="Crops in a step"
    )
    learning_rate: float = option(
        4e-3,
        "Step size of the optimiser at its peak.",
        low=1e-6,
        high=1.0,
        advanced=True,
        label="Learning rate",
    )
    hidden: int = option(
        256, "Width of the hidden layers.", low=8, high=4096, advanced=True, label="Network width"
    )
    beta: float = option(
        1.0,
        "Weight of the prior on the latents.",
        low=0.0,
        high=100.0,
        advanced=True,
        label="Weight of the prior",
    )
    band_limit: float = option(
        0.6,
        "Highest spatial frequency kept, as a share of the grid's Nyquist frequency.",
        low=0.1,
        high=1.0,
        advanced=True,
        label="Highest frequency",
    )
    held_out: float = option(
        0.1,
        "Share of the frames (of fewer than five: of their area) kept out of training, to test it.",
        low=0.0,
        high=0.5,
        advanced=True,
        label="Held-out share",
    )
    patience: int = option(
        10,
        "Stop after so many epochs without a better result on the held-out crops.",
        low=1,
        high=10_000,
        unit="epochs",
        advanced=True,
        label="Patience",
    )
    max_shift_nd: float = option(
        0.25,
        "Largest shift of a crop; keeps it from hopping to the next atom.",
        low=0.0,
        high=0.5,
        unit="neighbour distances",
        advanced=True,
        label="Largest shift",
    )
    angle_prior_sd: float = option(
        0.1,
        "Engine pixel: width that the prior gives to the angle of a crop.",
        low=1e-3,
        high=100.0,
        unit="rad",
        advanced=True,
        label="Width of the angle",
    )
    pixel_share: float = option(
        1.0,
        "Engine pixel: share of the pixels, drawn anew, that a step looks at; fewer are faster.",
        low=1e-3,
        high=1.0,
        advanced=True,
        label="Share of the pixels",
    )
    half_precision: bool = option(
        False,
        "Engine pixel: train in bfloat16, faster where the processor has instructions for it.",
        advanced=True,
        label="Half precision",
    )
    seed: int = option(0, "Start of the random numbers.", low=0, advanced=True, label="Random seed")

    @classmethod
    def published(cls, **overrides: Any) -> Self:
        """Options of the published rVAE, to compare with it.

        Engine "pixel" with two latents and shifts, two hidden layers of 128, Adam with a step
        of 1e-4, 200 epochs in batches of 200 crops, an angle prior of 0.1 rad, and all crops up
        to 100,000. From the notebook of Science Advances 7, eabd5084 (2021). Nothing is held
        out: there it was 15 % drawn at random, which had no say in the training.

        Parameters
        ----------
        **overrides
            Single options, such as ``epochs=20``.

        Examples
        --------
        >>> from napari_rvae import RVAEConfig
        >>> config = RVAEConfig.published(epochs=20)
        >>> config.decoder, config.learning_rate, config.epochs
        ('pixel', 0.0001, 20)
        """
        values: dict[str, Any] = {
            "decoder": "pixel",
            "n_latents": 2,
            "shifts": True,
            "epochs": 200,
            "max_crops": 100_000,
            "batch_size": 200,
            "learning_rate": 1e-4,
            "hidden": 128,
            "held_out": 0.0,
            "angle_prior_sd": 0.1,
        }
        return cls(**(values | overrides))
