"""The training of the published engine, as a generator that can be stopped at any report."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from napari_rvae.config import RVAEConfig
from napari_rvae.crops import Crops
from napari_rvae.device import is_out_of_memory
from napari_rvae.errors import NapariRvaeError
from napari_rvae.vae.engine import Started
from napari_rvae.vae.epochs import Epochs, FitProgress
from napari_rvae.vae.pixel.model import LossTerms, PixelVAE
from napari_rvae.vae.pixel.trained import PixelTrained, network
from napari_rvae.vae.start import number_of_latents, prepare, waiting
from napari_rvae.vae.trained import CHUNK

__all__ = ["PixelTrainer", "start_pixel_training"]

#: Longest time between two progress reports, in seconds.
_REPORT_EVERY = 0.3

#: On the CPU a piece is computed by one thread unless pixels x width of the network is this
#: much: below, waking a second thread costs more than it does.
_WORTH_THREADS = 1 << 18


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


class PixelTrainer(Epochs):
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

    model: PixelVAE

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
        self.history = []
        on_cpu = images.device.type == "cpu"
        self.batch = min(config.batch_size, n_training)
        self.n_chosen = max(1, round(config.pixel_share * model.pixels**2))
        # a batch is worked off in pieces, which changes nothing but the rounding
        self.micro = min(self.batch, model.at_a_time(self.n_chosen))
        small = self.micro * self.n_chosen * config.hidden < _WORTH_THREADS
        self.threads = 1 if on_cpu and small else None
        self.begin(images.device)
        self._reported = 0.0

    @torch.no_grad()
    def latents(self) -> torch.Tensor:
        """What the encoder gives for all crops (N, L)."""
        codes = torch.cat([self.model.infer(part)[0] for part in self.data.split(1000)])
        return self.model.read(codes).z

    def run(self) -> Iterator[FitProgress]:
        """Train until the configured number of epochs, reporting at least twice a second."""
        self.enter()
        while not self.finished:
            yield from self._report(0.0)
            good = self.snapshot()
            sums, failed = _Sums(), False
            batches = self._batches()
            for number, rows in enumerate(batches):
                terms = yield from self._step(rows, number / len(batches))
                if not np.isfinite(terms).all():
                    failed = True
                    break
                sums.add(terms)
            if failed:
                self.roll_back(good)
            else:
                yield from self._finish_epoch(sums)
        self.restore_best()
        yield self.progress(0.0, "done")

    def _report(self, part: float) -> Iterator[FitProgress]:
        """Report; the time that the caller takes does not count."""
        yield self.progress(part, "training")
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
        self.note(loss, self.model.s2 / self.noise2, divergence, held_out)

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


def start_pixel_training(
    crops: Crops, config: RVAEConfig, device: torch.device
) -> Generator[FitProgress, None, Started]:
    """Make all that a training of the published engine needs; see :func:`prepare`.

    Crops are divided by the standard deviation of each channel, as for the other engine. (The
    published ones were probabilities, of 0 to 1, and were not.)
    """
    pictures, n_training, basis, left_out = yield from prepare(crops, config, device)
    pieces: list[torch.Tensor] = []
    for piece in pictures.pieces(CHUNK):
        if pieces:
            yield waiting(config)
        pieces.append(piece)
    n_latents = number_of_latents(config, crops)
    model = network(config, n_latents, crops.channels, basis.pixels).to(device)
    trained = PixelTrained.of(crops, basis=basis, scale=pictures.scale, model=model)
    noise = torch.Generator(device).manual_seed(config.seed + 1)
    trainer = PixelTrainer(model, torch.cat(pieces), n_training, config, basis.noise2, noise)
    return Started(trainer, trained, left_out)
