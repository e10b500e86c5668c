"""The training of the published engine, as a generator that can be stopped at any report."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Generator, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from napari_rvae.config import RVAEConfig
from napari_rvae.crops import Crops
from napari_rvae.device import is_out_of_memory
from napari_rvae.errors import NapariRvaeError
from napari_rvae.vae.pictures import Pictures
from napari_rvae.vae.pixel.model import LossTerms, PixelVAE
from napari_rvae.vae.pixel.trained import PixelTrained, network
from napari_rvae.vae.start import basis_of, choose_rows, usable_crops
from napari_rvae.vae.trained import CHUNK
from napari_rvae.vae.training import EpochRecord, FitProgress

__all__ = ["PixelStart", "PixelTrainer", "start_pixel_training"]

#: Longest time between two progress reports, in seconds.
_REPORT_EVERY = 0.3

#: On the CPU a piece is computed by one thread unless pixels x width of the network is this
#: much: below, waking a second thread costs more than it does.
_WORTH_THREADS = 1 << 18

#: In this first share of the epochs the weights change too much for one to be called the best.
_UNSETTLED = 0.4

#: After so many failed epochs in a row there is no point in going on.
_MAX_ROLLBACKS = 5


class _Sums:
    """Means over the steps of an epoch."""

    def __init__(self) -> None:
        self.total, self.steps = np.zeros(3), 0

    def add(self, terms: NDArray[np.float64]) -> None:
        self.total += terms
        self.steps += 1

    @property
    def mean(self) -> NDArray[np.float64]:
        """Loss, misfit and divergence."""
        return self.total / max(self.steps, 1)


class _Best(NamedTuple):
    """The weights after the epoch whose held-out loss was the least."""

    epoch: int
    loss: float
    weights: dict[str, torch.Tensor]
    s2: float


class PixelTrainer:
    """State of a training: :meth:`run`, which can be left anywhere.

    Entered again, it repeats the epoch that was left. The step size does not change, as
    published.

    Parameters
    ----------
    model
        What is trained.
    images
        Standardised pictures (N, C, S, S) on the device: those to train on, then those that are
        held out.
    n_training
        How many of them are trained on.
    config
        Options.
    noise2
        Variance of the noise of a pixel, the unit of :attr:`EpochRecord.misfit`.
    generator
        Random numbers of the training, on the device.
    """

    def __init__(
        self,
        model: PixelVAE,
        images: torch.Tensor,
        n_training: int,
        config: RVAEConfig,
        noise2: float,
        generator: torch.Generator,
    ) -> None:
        self.model, self.config = model, config
        self.data, self.n_training = images, n_training
        self.noise2, self.generator = noise2, generator
        self.history: list[EpochRecord] = []
        on_cpu = images.device.type == "cpu"
        self.batch = min(config.batch_size, n_training)
        self.n_chosen = max(1, round(config.pixel_share * model.pixels**2))
        # a batch is worked off in pieces, which changes nothing but the rounding
        self.micro = min(self.batch, model.at_a_time(self.n_chosen))
        small = self.micro * self.n_chosen * config.hidden < _WORTH_THREADS
        self.threads = 1 if on_cpu and small else None
        self.optimiser = torch.optim.Adam(
            model.parameters(), lr=config.learning_rate, fused=images.device.type != "mps"
        )
        self.order = np.random.default_rng(config.seed)
        self.rollbacks = 0
        self.slow_down = 1.0
        self.seconds = 0.0
        self.best: _Best | None = None
        self._reported = 0.0

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to train: all epochs are done, or nothing more is won."""
        return len(self.history) >= self.config.epochs or self._stalled

    @property
    def _stalled(self) -> bool:
        """Whether the held-out crops have not been described better for long."""
        return self.best is not None and len(self.history) - self.best.epoch >= self.config.patience

    def run(self) -> Iterator[FitProgress]:
        """Train until the configured number of epochs, reporting at least twice a second."""
        if self._stalled:  # entered again all the same: someone wants to see more
            self.best = None
        while not self.finished:
            yield from self._report(0.0)
            good = self._snapshot()
            sums, failed = _Sums(), False
            batches = self._batches()
            for number, rows in enumerate(batches):
                terms = yield from self._step(rows, number / len(batches))
                if not np.isfinite(terms).all():
                    failed = True
                    break
                sums.add(terms)
            if failed:
                self._roll_back(good)
            else:
                yield from self._finish_epoch(sums)
        self.restore_best()
        yield self._progress(0.0, "done")

    def _progress(self, part: float, message: str) -> FitProgress:
        done, total = len(self.history), self.config.epochs
        record = self.history[-1] if self.history else None
        fraction = 1.0 if message == "done" else min(1.0, (done + part) / total)
        return FitProgress(done, total, fraction, record, message)

    def _report(self, part: float) -> Iterator[FitProgress]:
        """Report; the time that the caller takes does not count."""
        yield self._progress(part, "training")
        self._reported = time.monotonic()

    def _report_if_due(self, part: float) -> Iterator[FitProgress]:
        if time.monotonic() - self._reported > _REPORT_EVERY:
            yield from self._report(part)

    def _batches(self) -> list[torch.Tensor]:
        """Row numbers of each step of an epoch; a last batch that is too small is left out."""
        order = torch.from_numpy(self.order.permutation(self.n_training))
        return list(order.split(self.batch))[: self.n_training // self.batch]

    def _step(
        self, rows: torch.Tensor, part: float
    ) -> Generator[FitProgress, None, NDArray[np.float64]]:
        """One step of the optimiser, unless the loss is not a number; returns its terms."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.learning_rate * self.slow_down
        while True:
            try:
                terms = yield from self._gradient(rows, part)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if self.micro < 2:
                    raise NapariRvaeError(
                        "The device's memory is full even for one crop: free some of it, use a "
                        "smaller pixel_share, or use device='cpu'."
                    ) from None
                self.micro //= 2  # the same batch in smaller pieces
            else:
                break
        if np.isfinite(terms).all():
            self.optimiser.step()
        return terms

    def _gradient(
        self, rows: torch.Tensor, part: float
    ) -> Generator[FitProgress, None, NDArray[np.float64]]:
        """Gradient of a batch, piece by piece; returns loss, misfit and divergence."""
        self.optimiser.zero_grad(set_to_none=True)
        chosen = self._choose(len(rows), self.generator)
        terms = np.zeros(3)
        for start in range(0, len(rows), self.micro):
            yield from self._report_if_due(part)
            began = time.monotonic()
            self.model.train()
            piece = slice(start, start + self.micro)
            loss, share = self._loss(rows, chosen, piece, self.generator)
            (loss.total * share).backward()
            terms += share * np.array(loss.figures.tolist())
            self.seconds += time.monotonic() - began
        return terms

    def _loss(
        self,
        rows: torch.Tensor,
        chosen: torch.Tensor | None,
        piece: slice,
        seed: torch.Generator,
    ) -> tuple[LossTerms, float]:
        """Loss of a piece of a batch, and its share of the batch."""
        loss = self.model.loss(
            self.data[rows[piece].to(self.data.device)],
            beta=self.config.beta,
            seed=seed,
            chosen=None if chosen is None else chosen[piece],
        )
        return loss, len(rows[piece]) / len(rows)

    def _choose(self, count: int, seed: torch.Generator) -> torch.Tensor | None:
        """Numbers (B, n) of the pixels that a step looks at; None for all.

        All crops take successive parts of one shuffled row of pixels: a single crop's are drawn
        without preference, and those of the batch cover the picture evenly.
        """
        pixels = self.model.pixels**2
        if self.n_chosen >= pixels:
            return None
        device = self.data.device
        shuffled = torch.randperm(pixels, generator=seed, device=device)
        place = torch.arange(count * self.n_chosen, device=device) % pixels
        return shuffled[place].reshape(count, self.n_chosen)

    def _finish_epoch(self, sums: _Sums) -> Iterator[FitProgress]:
        loss, misfit, divergence = (float(value) for value in sums.mean)
        held_out = yield from self._held_out_loss()
        self.model.s2 = max(misfit / self.data[0].numel(), 1e-12)
        self.rollbacks = 0
        self.history.append(
            EpochRecord(
                epoch=len(self.history) + 1,
                loss=loss,
                misfit=self.model.s2 / self.noise2,
                divergence=divergence,
                learning_rate=self.optimiser.param_groups[0]["lr"],
                seconds=self.seconds,
                held_out_loss=held_out,
            )
        )
        settled = len(self.history) > _UNSETTLED * self.config.epochs
        least = math.inf if self.best is None else self.best.loss
        if settled and held_out < least:  # never, where none are held out
            weights = copy.deepcopy(self.model.state_dict())
            self.best = _Best(len(self.history), held_out, weights, self.model.s2)

    def _held_out_loss(self) -> Generator[FitProgress, None, float]:
        """Loss of the held-out crops under the weights as they are; NaN if there are none."""
        rows = torch.arange(self.n_training, len(self.data))
        if not len(rows):
            return math.nan
        # the same draws and pixels every time
        seed = torch.Generator(self.data.device).manual_seed(self.config.seed)
        chosen = self._choose(len(rows), seed)
        total = 0.0
        for start in range(0, len(rows), self.micro):
            yield from self._report_if_due(1.0)
            began = time.monotonic()
            self.model.eval()
            with torch.no_grad():
                piece = slice(start, start + self.micro)
                loss, share = self._loss(rows, chosen, piece, seed)
            total += share * float(loss.total)
            self.seconds += time.monotonic() - began
        return total

    def restore_best(self) -> None:
        """Go back to the weights that described the held-out crops best."""
        if self.best is not None and self.best.epoch < len(self.history):
            self.model.load_state_dict(self.best.weights)
            self.model.s2 = self.best.s2

    def _snapshot(self) -> dict[str, Any]:
        return {
            "model": copy.deepcopy(self.model.state_dict()),
            "optimiser": copy.deepcopy(self.optimiser.state_dict()),
        }

    def _roll_back(self, good: dict[str, Any]) -> None:
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


class PixelStart(NamedTuple):
    """A training before its first step, the model it trains, and how many crops hold NaN."""

    trainer: PixelTrainer
    trained: PixelTrained
    left_out: int


def start_pixel_training(
    crops: Crops, config: RVAEConfig, device: torch.device
) -> Generator[FitProgress, None, PixelStart]:
    """Make all that a training needs.

    Crops are divided by the standard deviation of each channel, as for the other engine. (The
    published ones were probabilities, of 0 to 1, and were not.)

    Yields
    ------
    FitProgress
        Between pieces of the work; never for crops that fit into one piece.

    Raises
    ------
    InputError
        If there are fewer than eight usable crops, or all are the same.
    """
    waiting = FitProgress(0, config.epochs, 0.0, None, "preparing")
    good = yield from usable_crops(crops, waiting)
    training, held_out = choose_rows(crops, good, config)
    basis, scale = basis_of(crops, training, config)
    basis = basis.to(device)
    pieces: list[torch.Tensor] = []
    rows = np.concatenate([training, held_out])
    for piece in Pictures(crops, rows, scale, device).pieces(CHUNK):
        if pieces:
            yield waiting
        pieces.append(piece)
    model = network(config, basis.channels, basis.pixels).to(device)
    trained = PixelTrained.of(crops, basis=basis, scale=scale, model=model)
    noise = torch.Generator(device).manual_seed(config.seed + 1)
    images = torch.cat(pieces)
    trainer = PixelTrainer(model, images, training.size, config, basis.noise2, noise)
    return PixelStart(trainer, trained, int((~good).sum()))
