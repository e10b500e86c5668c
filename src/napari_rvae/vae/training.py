"""The training loop, as a generator that can be stopped after any step."""

from __future__ import annotations

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
from napari_rvae.vae.epochs import EpochRecord, Epochs, FitProgress
from napari_rvae.vae.model import SteerableVAE
from napari_rvae.vae.pictures import Pictures
from napari_rvae.vae.shifts import ShiftSearch

__all__ = ["Trainer"]

#: Longest time between two progress reports, in seconds.
_REPORT_EVERY = 0.3

#: Epochs of the short training that finds the shifts, and before which of them they are searched.
_SCOUTING_EPOCHS, _SEARCH_AT = 12, (3, 5, 7, 10)

#: Epochs (of a training of 30) at which crops are read anew at the shifts as they are then.
_REREAD_AT = (5, 10, 15, 20, 25)

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

#: A model's scales are taken from so many crops.
_SAMPLE = 4000

#: The network's width, learning rate etc. were chosen for trainings of this many steps; shorter
#: ones get smaller batches.
_LEAST_STEPS = 600


@dataclass
class Trainer(Epochs):
    """State of a training: :meth:`project` once, then :meth:`run`, which can be left anywhere.

    Entered again, it repeats the epoch that was left.

    Attributes
    ----------
    model, basis
        What is trained, and the basis of its coefficients.
    pictures
        The crops to train on, then those that are held out.
    n_training
        How many of them are trained on.
    config
        Options.
    search
        Finder of shifts, None without shifts.
    generator
        Random numbers of the training, on the device.
    """

    model: SteerableVAE
    basis: SteerableBasis
    pictures: Pictures
    n_training: int
    config: RVAEConfig
    search: ShiftSearch | None
    generator: torch.Generator
    history: list[EpochRecord] = field(default_factory=list)

    data: torch.Tensor = field(init=False)
    features: torch.Tensor = field(init=False, default_factory=lambda: torch.zeros(0, 0))
    scouted: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        """Begin without shifts."""
        config, count = self.config, self.n_training
        per_epoch = max(1, math.ceil(_LEAST_STEPS / config.epochs))
        self.batch = max(2, min(config.batch_size, count // per_epoch if count > 64 else count))
        self.micro = self.batch
        self.device = self.pictures.device
        self.begin(self.device)
        self.shift = torch.zeros(len(self.pictures), 2, device=self.device)
        self.read_at = self.shift.clone()
        self.slopes: torch.Tensor | None = None
        self.n_before = 0 if self.search is None else _SCOUTING_EPOCHS

    @property
    def threads(self) -> int | None:
        """Most CPU threads that a step can use well; None for all of them."""
        on_cpu = self.device.type == "cpu"
        return 1 if on_cpu and self.batch * self.config.hidden < _WORTH_THREADS else None

    def project(self) -> Iterator[None]:
        """Take the coefficients of all pictures at the present shifts; yields between pieces."""
        data: list[torch.Tensor] = []
        slopes: list[torch.Tensor] = []
        done = 0
        for pictures in self.pictures.pieces(_PROJECTED_CROPS):
            if data:
                yield
            rows = slice(done, done + len(pictures))
            done += len(pictures)
            seen = self._see(pictures, rows)
            data.append(self.basis.project(seen))
            if self.search is not None:
                slopes.append(self.basis.slopes(seen))
        self.data, self.read_at = torch.cat(data), self.shift.clone()
        self.slopes = torch.cat(slopes) if slopes else None

    @torch.no_grad()
    def _see(self, pictures: torch.Tensor, rows: slice) -> torch.Tensor:
        """Pictures of some rows as they look at the present shifts."""
        if self.search is None or not len(self.features):
            return pictures
        model, at = self.model, self.shift[rows]
        latents, _ = model.infer(self.features[rows])
        angle = model.pose(self.data[rows], model.generate(latents), model.s2).angle
        return self.search.see(model, pictures, at, latents, angle)

    def begin_model(self) -> None:
        """Give the model its first weights, made for the coefficients as they are now."""
        config = self.config
        self.model.draw_weights(torch.Generator().manual_seed(config.seed))
        random = np.random.default_rng(config.seed).permutation(self.n_training)[:_SAMPLE]
        sample = self.data[torch.from_numpy(random).to(self.device)]
        self.model.start_from(sample, _typical(sample, self.basis), self.basis.noise2)
        self.take_features()

    def take_features(self) -> None:
        """Take the features of the coefficients, which have to be known, and the model started."""
        self.features = self.model.features(self.data)

    @torch.no_grad()
    def latents(self) -> torch.Tensor:
        """What the encoder gives for all crops (N, L)."""
        return torch.cat([self.model.infer(p)[0] for p in self.features.split(_PROJECTED_CROPS)])

    def run(self) -> Iterator[FitProgress]:
        """Train until the configured number of epochs, reporting at least twice a second."""
        self.enter()
        if self.search is not None:
            yield from self._scout(self.search)
        while not self.finished:
            yield self.progress(0.0, "training")
            if len(self.history) in self._rereads:
                yield from self._read_again("training")
            yield from self._epoch("training")
        self.restore_best()
        yield self.progress(0.0, "done")

    def _scout(self, search: ShiftSearch) -> Iterator[FitProgress]:
        """Find the shifts by a short training, and begin anew with them.

        Latents that form while the crops still move may tear one class in two for good, so of
        this training only the shifts are kept.
        """
        message = "searching shifts"
        while self.before < self.n_before:
            yield self.progress(0.0, message)
            if self.before in _SEARCH_AT:
                yield from self._search(search)
            yield from self._epoch(message)
        if not self.scouted:
            yield from self._search(search)
            seconds = self.seconds
            self.begin(self.device)
            self.seconds = seconds
            self.begin_model()
            self.scouted = True

    def _epoch(self, message: str) -> Iterator[FitProgress]:
        """Train for one epoch, or return to where it began if it fails."""
        last = started = time.monotonic()
        good = self.snapshot()
        # one sum on the device: nothing waits for the single steps
        sums = torch.zeros(3, device=self.device)
        batches = self._batches()
        for number, rows in enumerate(batches):
            sums += self._step(rows, number / len(batches))
            if time.monotonic() - last > _REPORT_EVERY:
                if not bool(sums.isfinite().all()):
                    break
                yield self.progress((number + 1) / len(batches), message)
                last = time.monotonic()
        loss, misfit, divergence = (sums / len(batches)).tolist()
        self.seconds += time.monotonic() - started
        if math.isfinite(loss + misfit + divergence):
            self._finish_epoch(loss, misfit, divergence)
        else:
            self.roll_back(good)

    def _batches(self) -> list[torch.Tensor]:
        """Row numbers of each step of an epoch; a last batch that is too small is left out."""
        count = self.n_training
        order = torch.from_numpy(self.order.permutation(count)).to(self.device)
        whole = max(1, count // self.batch)
        return [order[i * self.batch : (i + 1) * self.batch] for i in range(whole)]

    @property
    def _clock(self) -> tuple[int, int]:
        """Epochs done, and in all, of what is being trained now."""
        if self.search is not None and not self.scouted:
            return self.before, self.n_before
        return len(self.history), self.config.epochs

    def _rate(self, epoch: int, epochs: int) -> float:
        """Learning rate: two epochs of warming up, then a cosine down to 2 %."""
        warm = min(1.0, (epoch + 1) / 2)
        cosine = 0.5 * (1 + math.cos(math.pi * epoch / epochs)) * 0.98 + 0.02
        return self.config.learning_rate * self.slow_down * warm * cosine

    def _step(self, rows: torch.Tensor, part: float) -> torch.Tensor:
        """One step of the optimiser; loss, misfit and divergence (3,)."""
        while True:
            try:
                return self._try_step(rows, part)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if self.micro < 2:
                    raise NapariRvaeError(
                        "The device's memory is full even for one crop: free some of it, or "
                        "use device='cpu'."
                    ) from None
                self.micro //= 2  # the same batch in smaller pieces

    def _try_step(self, rows: torch.Tensor, part: float) -> torch.Tensor:
        epoch, epochs = self._clock
        done = (epoch + part) / epochs
        beta = min(1.0, 0.1 + 3 * done) * self.config.beta
        temper = max(1.0, _FIRST_TEMPER * (1 - 4 * done))
        for group in self.optimiser.param_groups:
            group["lr"] = self._rate(epoch, epochs)
        self.model.train()
        self.optimiser.zero_grad(set_to_none=True)
        totals = torch.zeros(3, device=self.device)
        for piece in rows.split(self.micro):
            data, slopes = self._read(piece)
            terms = self.model.loss(
                data, self.features[piece], beta=beta, temper=temper, seed=self.generator
            )
            share = len(piece) / len(rows)
            (terms.total * share).backward()
            totals += share * terms.figures
            if slopes is not None and self.search is not None and epoch >= 2:
                self.shift[piece] = self.search.newton(
                    data, slopes, terms.template, terms.angle, self.shift[piece], self.model.s2
                )
        self.optimiser.step()
        totals[0] += self._normalisation
        return totals

    @property
    def _normalisation(self) -> float:
        """Normalisation of the likelihood, without which a sharper model looks worse."""
        return 0.5 * self.basis.n_real * math.log(self.model.s2 / self.basis.noise2)

    def _read(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Coefficients of a batch at the present shifts, and their slopes."""
        data = self.data[rows]
        if self.slopes is None:
            return data, None
        slopes = self.slopes[rows]
        moved = self.shift[rows] - self.read_at[rows]
        return data + (slopes * moved[:, :, None, None, None]).sum(1), slopes

    @property
    def _rereads(self) -> set[int]:
        """Epochs before which the crops are read at the shifts as they are then."""
        if self.search is None:
            return set()
        return {round(number * max(self.config.epochs, 30) / 30) for number in _REREAD_AT}

    def _search(self, search: ShiftSearch) -> Iterator[FitProgress]:
        """Search shift and angle of all crops, and read these there."""
        found = []
        for pictures in self.pictures.pieces(_SEARCH_CROPS):
            found.append(search.draw(self.model, pictures, self.generator))
            yield self.progress(0.0, "searching shifts")
        self.shift = search.recentre(*(torch.cat(column) for column in zip(*found, strict=True)))
        yield from self._read_again("searching shifts")

    def _read_again(self, message: str) -> Iterator[FitProgress]:
        """Take coefficients and features at the present shifts."""
        for _ in self.project():
            yield self.progress(0.0, message)
        self.take_features()

    def _finish_epoch(self, loss: float, misfit: float, divergence: float) -> None:
        variance = misfit / self.basis.n_real
        counts = self.search is None or self.scouted
        held_out = self._held_out_loss() if counts else math.nan
        self.model.s2 = max(0.7 * self.model.s2 + 0.3 * variance, 1e-12)
        if counts:
            self.note(loss, variance / self.basis.noise2, divergence, held_out)
        else:
            self.before, self.rollbacks = self.before + 1, 0

    @torch.no_grad()
    def _held_out_loss(self) -> float:
        """Loss of the held-out crops under the weights as they are; NaN if there are none."""
        rows = torch.arange(self.n_training, len(self.data), device=self.device)
        if not len(rows):
            return math.nan
        seed = torch.Generator(self.device).manual_seed(self.config.seed)  # the same every time
        self.model.eval()
        total = 0.0
        for piece in rows.split(max(self.micro, 512)):
            data, slopes = self._read(piece)
            terms = self.model.loss(
                data, self.features[piece], beta=self.config.beta, temper=1.0, seed=seed
            )
            total += float(terms.total) * len(piece) / len(rows)
            if slopes is not None and self.search is not None:
                self.shift[piece] = self.search.newton(
                    data, slopes, terms.template, terms.angle, self.shift[piece], self.model.s2
                )
        return total + self._normalisation

    def snapshot(self) -> dict[str, Any]:
        """What :meth:`roll_back` needs: the shifts, too, change within an epoch."""
        return {**super().snapshot(), "shift": self.shift.clone()}

    def roll_back(self, good: dict[str, Any]) -> None:
        """Return to the last good epoch with half the step size."""
        self.shift = good["shift"]
        super().roll_back(good)


def _typical(data: torch.Tensor, basis: SteerableBasis) -> torch.Tensor:
    """A crop (M, 2, K) near the middle of all, and well centred (little of order 1)."""
    part = data[:2000]
    size = (part[:, :, 0] ** 2 + part[:, :, 1] ** 2 + basis.noise2).sqrt()
    middle = size.median(0).values
    far = ((size - middle) / (size.std(0) + 1e-3) * basis.mask[:, 0]).flatten(1).norm(dim=1)
    far = far / math.sqrt(basis.n_real)
    if size.shape[1] > 1:
        off = size[:, 1].norm(dim=1)
        far = far + 2 * off / off.median()
    return part[far.argmin()]
