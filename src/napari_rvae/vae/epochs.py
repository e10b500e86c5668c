"""The epochs of a training, whatever the engine: their records, the best one, the way back."""

from __future__ import annotations

import copy
import dataclasses
import math
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import torch

from napari_rvae.config import RVAEConfig
from napari_rvae.errors import NapariRvaeError
from napari_rvae.vae.network import Network
from napari_rvae.vae.optimiser import Adam

__all__ = ["EpochRecord", "Epochs", "FitProgress"]

#: In this first share of the epochs the weights change too much for one to be called the best.
_UNSETTLED = 0.4

#: After so many failed epochs in a row there is no point in going on.
_MAX_ROLLBACKS = 5


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch gave.

    ``history_`` of a :class:`~napari_rvae.RVAE` has one for each epoch.

    Attributes
    ----------
    epoch
        Number, from 1.
    loss
        Mean negative bound in nats per crop.
    misfit
        Mean squared misfit of a coefficient over the noise of the crops (1 = only noise).
    divergence
        Mean divergence of the latents from their prior in nats.
    learning_rate
        Step size at its end.
    seconds
        Time spent on the epochs so far; pauses do not count.
    held_out_loss
        The same as `loss` for crops that are not trained on; NaN where none are held out.
    """

    epoch: int
    loss: float
    misfit: float
    divergence: float
    learning_rate: float
    seconds: float
    held_out_loss: float = math.nan

    def to_dict(self) -> dict[str, float | None]:
        """Return the record as JSON values: None stands for NaN."""
        values = dataclasses.asdict(self)
        return {name: None if math.isnan(value) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: dict[str, float | None]) -> Self:
        """Make a record from what :meth:`to_dict` gave."""
        known: dict[str, Any] = {k: math.nan if v is None else v for k, v in dict(values).items()}
        return cls(**known)


@dataclass(frozen=True)
class FitProgress:
    """Where a training stands.

    Given by :meth:`~napari_rvae.RVAE.iter_fit` while it works.

    Attributes
    ----------
    epoch, n_epochs
        Whole epochs done, and in all.
    fraction
        Share of the training that is done, 0 to 1.
    record
        The newest epoch's record, None before the first.
    message
        What is being done: "preparing", "training", "searching shifts" or "done".
    """

    epoch: int
    n_epochs: int
    fraction: float
    record: EpochRecord | None
    message: str


class _Best(NamedTuple):
    """The weights after the epoch whose held-out loss was the least."""

    epoch: int
    loss: float
    weights: dict[str, Any]
    s2: float


class Epochs:
    """What the trainings of both engines have in common.

    Attributes
    ----------
    model
        What is trained.
    config
        Options.
    history
        One record for each epoch that was finished.
    """

    model: Network
    config: RVAEConfig
    history: list[EpochRecord]

    #: Epochs before the first that counts: done, and in all.
    before: int = 0
    n_before: int = 0

    def begin(self, device: torch.device) -> None:
        """Make the optimiser, and count from nothing."""
        self.optimiser = Adam(
            self.model.parameters(), lr=self.config.learning_rate, fused=device.type != "mps"
        )
        self.order = np.random.default_rng(self.config.seed)
        self.rollbacks = 0
        self.slow_down = 1.0
        self.seconds = 0.0
        self.best: _Best | None = None

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to train: all epochs are done, or nothing more is won."""
        return len(self.history) >= self.config.epochs or self._stalled

    @property
    def _stalled(self) -> bool:
        """Whether the held-out crops have not been described better for long."""
        return self.best is not None and len(self.history) - self.best.epoch >= self.config.patience

    def enter(self) -> None:
        """Begin, or go on; after the end, someone wants to see more all the same."""
        if self._stalled:
            self.best = None

    def restore_best(self) -> None:
        """Go back to the weights that described the held-out crops best."""
        if self.best is not None and self.best.epoch < len(self.history):
            self.model.load_state_dict(self.best.weights)
            self.model.s2 = self.best.s2

    def progress(self, part: float, message: str) -> FitProgress:
        """Where the training stands, with a part of the present epoch done."""
        done, total = len(self.history), self.config.epochs
        record = self.history[-1] if self.history else None
        share = (self.before + done + part) / (self.n_before + total)
        fraction = 1.0 if message == "done" else min(1.0, share)
        return FitProgress(done, total, fraction, record, message)

    def note(self, loss: float, misfit: float, divergence: float, held_out: float) -> None:
        """Write down a finished epoch, and keep the weights if they are the best so far."""
        self.rollbacks = 0
        self.history.append(
            EpochRecord(
                epoch=len(self.history) + 1,
                loss=loss,
                misfit=misfit,
                divergence=divergence,
                learning_rate=self.optimiser.param_groups[0]["lr"],
                seconds=self.seconds,
                held_out_loss=held_out,
            )
        )
        settled = len(self.history) > _UNSETTLED * self.config.epochs
        least = math.inf if self.best is None else self.best.loss
        if settled and held_out < least:  # never where none are held out
            weights = copy.deepcopy(self.model.state_dict())
            self.best = _Best(len(self.history), held_out, weights, self.model.s2)

    def snapshot(self) -> dict[str, Any]:
        """What :meth:`roll_back` needs: all that changes within an epoch."""
        return {
            "model": copy.deepcopy(self.model.state_dict()),
            "optimiser": copy.deepcopy(self.optimiser.state_dict()),
        }

    def roll_back(self, good: dict[str, Any]) -> None:
        """Return to the last good epoch with half the step size."""
        self.model.load_state_dict(good["model"])
        self.optimiser.load_state_dict(good["optimiser"])
        self.slow_down /= 2
        self.rollbacks += 1
        if self.rollbacks > _MAX_ROLLBACKS:
            raise NapariRvaeError(
                "The training diverged: use a smaller learning_rate, and look at the crops for "
                "extreme values."
            )
