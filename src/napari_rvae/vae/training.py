"""The training loop, as a generator that can be stopped after any step."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from napari_rvae.config import RVAEConfig
from napari_rvae.device import is_out_of_memory
from napari_rvae.errors import NapariRvaeError
from napari_rvae.vae.basis import SteerableBasis
from napari_rvae.vae.model import SteerableVAE
from napari_rvae.vae.shifts import ShiftSearch

__all__ = ["EpochRecord", "FitProgress", "Trainer"]

#: Longest time between two progress reports, in seconds.
_REPORT_EVERY = 0.3

#: Epochs (of a training of 30) at which shifts are searched anew, and merely re-read.
_SEARCH_AT = (3, 5, 7, 10)
_REREAD_AT = (12, 15, 20, 25)

#: Crops whose shifts are searched between two progress reports.
_SEARCH_CROPS = 250

#: Crops that are projected between two progress reports.
_PROJECTED_CROPS = 4000

#: On the CPU a step is computed by one thread unless batch x width of the network is at least
#: this: below, waking a second thread costs more than it does, and twice as much on a busy
#: machine (measured on 2 cores).
_WORTH_THREADS = 1 << 18

#: The angle's posterior starts this much wider.
_FIRST_TEMPER = 4.0

#: The network's width, learning rate etc. were chosen for trainings of this many steps; shorter
#: ones get smaller batches.
_LEAST_STEPS = 600

#: After so many failed steps in a row there is no point in going on.
_MAX_ROLLBACKS = 5


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch gave.

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
    """

    epoch: int
    loss: float
    misfit: float
    divergence: float
    learning_rate: float
    seconds: float


@dataclass(frozen=True)
class FitProgress:
    """Where a training stands.

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


@dataclass
class _Sums:
    loss: float = 0.0
    misfit: float = 0.0
    divergence: float = 0.0
    steps: int = 0

    def add(self, loss: float, misfit: float, divergence: float) -> None:
        self.loss += loss
        self.misfit += misfit
        self.divergence += divergence
        self.steps += 1


@dataclass
class Trainer:
    """State of a training: :meth:`project` once, then :meth:`run`, which can be left anywhere.

    Entered again, it repeats the epoch that was left.

    Attributes
    ----------
    model, basis
        What is trained, and the basis of its coefficients.
    images
        Standardised pictures (N, C, S, S) on the device.
    config
        Options.
    search
        Finder of shifts, None without shifts.
    generator
        Random numbers of the training, on the device.
    """

    model: SteerableVAE
    basis: SteerableBasis
    images: torch.Tensor
    config: RVAEConfig
    search: ShiftSearch | None
    generator: torch.Generator
    history: list[EpochRecord] = field(default_factory=list)

    data: torch.Tensor = field(init=False)

    def __post_init__(self) -> None:
        """Make the optimiser."""
        config = self.config
        count = len(self.images)
        per_epoch = max(1, math.ceil(_LEAST_STEPS / config.epochs))
        self.batch = max(2, min(config.batch_size, count // per_epoch if count > 64 else count))
        self.micro = self.batch
        self.optimiser = torch.optim.Adam(
            self.model.parameters(), lr=config.learning_rate, fused=self.images.device.type != "mps"
        )
        self.order = np.random.default_rng(config.seed)
        self.rollbacks = 0
        self.slow_down = 1.0
        self.seconds = 0.0
        self.shift = torch.zeros(count, 2, device=self.images.device)
        self.read_at = self.shift.clone()
        self.slopes: torch.Tensor | None = None

    @property
    def threads(self) -> int | None:
        """Most CPU threads that a step can use well; None for all of them."""
        on_cpu = self.images.device.type == "cpu"
        return 1 if on_cpu and self.batch * self.config.hidden < _WORTH_THREADS else None

    def project(self) -> Iterator[None]:
        """Take the coefficients of all pictures at the present shifts; yields between pieces."""
        data: list[torch.Tensor] = []
        slopes: list[torch.Tensor] = []
        pieces = (tensor.split(_PROJECTED_CROPS) for tensor in (self.images, self.shift))
        for pictures, shift in zip(*pieces, strict=True):
            if data:
                yield
            if self.search is None:
                data.append(self.basis.project(pictures))
            else:
                values, change = self.search.reproject(pictures, shift)
                data.append(values)
                slopes.append(change)
        self.data, self.read_at = torch.cat(data), self.shift.clone()
        self.slopes = torch.cat(slopes) if slopes else None

    def run(self) -> Iterator[FitProgress]:
        """Train until the configured number of epochs, reporting at least twice a second."""
        last = time.monotonic()
        while len(self.history) < self.config.epochs:
            epoch = len(self.history)
            yield self._progress(0.0, "training")
            started = time.monotonic()
            good = self._snapshot()
            yield from self._prepare_shifts(epoch)
            sums, failed = _Sums(), False
            batches = self._batches()
            for number, rows in enumerate(batches):
                if not self._step(rows, epoch, number / len(batches), sums):
                    failed = True
                    break
                if time.monotonic() - last > _REPORT_EVERY:
                    yield self._progress((number + 1) / len(batches), "training")
                    last = time.monotonic()
            self.seconds += time.monotonic() - started
            if failed:
                self._roll_back(good)
            else:
                self._finish_epoch(sums)
        yield self._progress(0.0, "done")

    def _progress(self, part: float, message: str) -> FitProgress:
        done, total = len(self.history), self.config.epochs
        record = self.history[-1] if self.history else None
        return FitProgress(done, total, min(1.0, (done + part) / total), record, message)

    def _batches(self) -> list[torch.Tensor]:
        """Row numbers of each step of an epoch; a last batch that is too small is left out."""
        count = len(self.data)
        order = torch.from_numpy(self.order.permutation(count))
        whole = max(1, count // self.batch)
        return [order[i * self.batch : (i + 1) * self.batch] for i in range(whole)]

    def _rate(self, epoch: int) -> float:
        """Learning rate: two epochs of warming up, then a cosine down to 2 %."""
        done = epoch / self.config.epochs
        warm = min(1.0, (epoch + 1) / 2)
        cosine = 0.5 * (1 + math.cos(math.pi * done)) * 0.98 + 0.02
        return self.config.learning_rate * self.slow_down * warm * cosine

    def _step(self, rows: torch.Tensor, epoch: int, part: float, sums: _Sums) -> bool:
        """One step of the optimiser; False when the loss is not a number."""
        while True:
            try:
                return self._try_step(rows, epoch, part, sums)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if self.micro < 4:  # the standardisation needs two crops in a piece
                    raise NapariRvaeError(
                        "The device's memory is full even for a few crops: free some of it, or "
                        "use device='cpu'."
                    ) from None
                self.micro //= 2  # the same batch in smaller pieces

    def _try_step(self, rows: torch.Tensor, epoch: int, part: float, sums: _Sums) -> bool:
        done = (epoch + part) / self.config.epochs
        beta = min(1.0, 0.1 + 3 * done) * self.config.beta
        temper = max(1.0, _FIRST_TEMPER * (1 - 4 * done))
        for group in self.optimiser.param_groups:
            group["lr"] = self._rate(epoch)
        self.model.train()
        self.optimiser.zero_grad(set_to_none=True)
        totals = np.zeros(3)
        pieces = [piece for piece in rows.split(self.micro) if len(piece) > 1]
        for piece in pieces:
            data, slopes = self._read(piece)
            terms = self.model.loss(data, beta=beta, temper=temper, seed=self.generator)
            share = len(piece) / len(rows)
            (terms.total * share).backward()
            totals += share * np.array(
                [float(terms.total.detach()), float(terms.misfit), float(terms.divergence)]
            )
            if slopes is not None and self.search is not None and epoch >= 2:
                self.shift[piece] = self.search.newton(
                    data, slopes, terms.template, terms.angle, self.shift[piece], self.model.s2
                )
        if not np.isfinite(totals).all():
            return False
        self.optimiser.step()
        # the normalisation of the likelihood, without which a sharper model looks worse
        totals[0] += 0.5 * self.basis.n_real * math.log(self.model.s2 / self.basis.noise2)
        sums.add(*totals)
        return True

    def _read(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Coefficients of a batch at the present shifts, and their slopes."""
        data = self.data[rows]
        if self.slopes is None:
            return data, None
        slopes = self.slopes[rows]
        moved = self.shift[rows] - self.read_at[rows]
        return data + (slopes * moved[:, :, None, None, None]).sum(1), slopes

    def _prepare_shifts(self, epoch: int) -> Iterator[FitProgress]:
        """Search or re-read the shifts in the epochs where that is due."""
        if self.search is None:
            return
        scale = max(self.config.epochs, 30) / 30
        searches = {round(e * scale) for e in _SEARCH_AT}
        rereads = {round(e * scale) for e in _REREAD_AT}
        if epoch in searches:
            found = []
            for part in self.images.split(_SEARCH_CROPS):
                found.append(self.search.draw(self.model, part, self.generator))
                yield self._progress(0.0, "searching shifts")
            self.shift = self.search.recentre(
                *(torch.cat(column) for column in zip(*found, strict=True))
            )
        if epoch in searches | rereads:
            for _ in self.project():
                yield self._progress(0.0, "searching shifts")

    def _finish_epoch(self, sums: _Sums) -> None:
        steps = max(sums.steps, 1)
        variance = sums.misfit / steps / self.basis.n_real
        self.model.s2 = 0.7 * self.model.s2 + 0.3 * variance
        self.rollbacks = 0
        self.history.append(
            EpochRecord(
                epoch=len(self.history) + 1,
                loss=sums.loss / steps,
                misfit=variance / self.basis.noise2,
                divergence=sums.divergence / steps,
                learning_rate=self.optimiser.param_groups[0]["lr"],
                seconds=self.seconds,
            )
        )

    def _snapshot(self) -> dict[str, Any]:
        return {
            "model": copy.deepcopy(self.model.state_dict()),
            "optimiser": copy.deepcopy(self.optimiser.state_dict()),
            "s2": self.model.s2,
            "shift": self.shift.clone(),
        }

    def _roll_back(self, good: dict[str, Any]) -> None:
        """Return to the last good epoch with half the step size."""
        self.rollbacks += 1
        if self.rollbacks > _MAX_ROLLBACKS:
            raise NapariRvaeError(
                "The training diverged: use a smaller learning_rate, and look at the crops for "
                "extreme values."
            )
        self.model.load_state_dict(good["model"])
        self.optimiser.load_state_dict(good["optimiser"])
        self.model.s2 = good["s2"]
        self.shift = good["shift"]
        self.slow_down /= 2
