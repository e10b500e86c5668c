"""A hidden Markov model of tracks whose states are read with errors, and its calibration.

The states of an atom or a place are the units; the last one is never seen: "gone" for atoms, from
which nothing comes back, "empty" for places. Unit probabilities enter as likelihood ratios that are
calibrated inside the model, from what the other frames of the same track say.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logsumexp

from napari_rvae.analysis.kinetics.sightings import Sightings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Ids = NDArray[np.int64]

__all__ = ["Calibration", "Posterior", "calibrate", "emissions", "filtered", "fit", "stickiness"]

#: Chance that a detection is taken for an atom that is not there any more.
_GHOST = 0.02
#: Probabilities below this say no more than this.
_LEAST = 1e-6
#: Standard deviations of the priors of log temperature, bias and the logit of the floor.
_LOG_TEMPERATURE_SD, _BIAS_SD, _FLOOR_SD = 1.0, 3.0, 1.0
_FLOOR_LOGIT = -4.0
_FLOOR_RANGE = (1e-3, 0.3)
#: Readings that the prior of the confusion stands for, and the share of wrong ones among them.
_CONFUSION_PRIOR, _CONFUSED, _CONFUSION_ROUNDS = 50.0, 0.01, 10
#: Calibration from so many sightings is as good as from all.
_MAX_CALIBRATION = 20_000
#: The model is fitted to at most so many tracks, and then passed once over all.
_MAX_TRACKS = 2000


@dataclass(frozen=True, eq=False)
class Calibration:
    """How far the given unit probabilities can be trusted.

    Parameters
    ----------
    temperature
        Factor on the logarithms of the probabilities: below 1 where they are too sure.
    bias
        Added to the logarithms (U,).
    floor
        Share of readings that say nothing.
    missed
        Chance that something that is there is not detected.
    share
        Share of each unit (U,) among all readings.
    confusion
        Chance (U, U) that a site in one state (row) is read as in another (column).
    """

    temperature: float
    bias: Array
    floor: float
    missed: float
    share: Array
    confusion: Array


@dataclass(frozen=True, eq=False)
class Posterior:
    """The fitted model and what it says of each track.

    Parameters
    ----------
    transition
        Probabilities (K, K) per frame, from row to column.
    start
        Probabilities (K,) of the first state.
    state
        Smoothed probabilities (N, T, K).
    counts
        Expected numbers of steps (K, K), stays included.
    forward, backward
        The factors (T, N, K) of the smoothed probabilities of a step: `forward` at its beginning,
        `backward` at its end, with the emission there.
    """

    transition: Array
    start: Array
    state: Array
    counts: Array
    forward: Array
    backward: Array

    def change(self, length: Ids) -> Array:
        """Probability (N, T - 1) that the state changes in each step; 0 beyond the tracks."""
        stay = np.einsum(
            "tnk,k,tnk->nt", self.forward[:-1], np.diag(self.transition), self.backward[1:]
        )
        steps = np.arange(1, self.state.shape[1])
        return np.where(steps < length[:, None], np.clip(1 - stay, 0, 1), 0.0)

    def step(self, track: int, step: int) -> Array:
        """Probability (K, K) of each pair of states before and after a step."""
        pairs = self.forward[step, track][:, None] * self.transition
        return np.asarray(pairs * self.backward[step + 1, track])


def emissions(seen: Sightings, calibration: Calibration) -> Array:
    """Likelihood (N, T, U + 1) of what was seen in each state, up to a factor of each sighting."""
    ratio = _ratios(_logs(seen.probability), calibration) @ calibration.confusion.T
    ratio[np.isnan(seen.probability).any(axis=2)] = 1.0
    found = seen.seen[..., None]
    visible = np.where(found, ratio * (1 - calibration.missed), calibration.missed)
    hidden = np.where(found, _GHOST, 1 - _GHOST)
    likelihood = np.concatenate([visible, hidden], axis=2)
    likelihood[~seen.looked] = 1.0  # nothing is known where nobody looked
    return likelihood


def _logs(probability: Array) -> Array:
    return np.log(np.maximum(np.nan_to_num(probability, nan=1.0), _LEAST))


def _ratios(logs: Array, calibration: Calibration) -> Array:
    """How much more likely each reading is of a unit than on average (..., U)."""
    exponent = calibration.temperature * logs + calibration.bias
    usual = logsumexp(exponent + np.log(calibration.share), axis=-1, keepdims=True)
    return np.asarray((1 - calibration.floor) * np.exp(exponent - usual) + calibration.floor)


def filtered(likelihood: Array, transition: Array, start: Array) -> tuple[Array, Array]:
    """Forward filter of G models at once.

    Parameters
    ----------
    likelihood
        (N, T, K), see :func:`emissions`.
    transition
        (G, K, K).
    start
        (G, K).

    Returns
    -------
    tuple of ndarray
        Probabilities (T, G, N, K) of the state given what was seen so far, and their
        normalisation (T, G, N).
    """
    n_tracks, n_frames, n_states = likelihood.shape
    forward = np.empty((n_frames, len(transition), n_tracks, n_states))
    norm = np.empty(forward.shape[:3])
    now = start[:, None] * likelihood[:, 0]
    for t in range(n_frames):
        if t:
            now = (forward[t - 1] @ transition) * likelihood[:, t]
        norm[t] = now.sum(axis=2)
        forward[t] = now / norm[t][..., None]
    return forward, norm


def _smoothed(likelihood: Array, transition: Array, start: Array, length: Ids) -> Posterior:
    """Run forward and backward through all tracks."""
    forward, norm = (part[:, 0] for part in filtered(likelihood, transition[None], start[None]))
    seen = np.moveaxis(likelihood, 1, 0) / norm[..., None]  # (T, N, K)
    ahead = np.ones_like(forward)
    backward = np.zeros_like(forward)
    counts = np.zeros_like(transition)
    for t in range(len(forward) - 1, 0, -1):
        backward[t] = ahead[t] * seen[t]
        ahead[t - 1] = backward[t] @ transition.T
        inside = t < length
        counts += forward[t - 1, inside].T @ backward[t, inside]
    return Posterior(
        transition=transition,
        start=start,
        state=np.moveaxis(forward * ahead, 0, 1),
        counts=counts * transition,
        forward=forward,
        backward=backward,
    )


def first_guess(n_states: int, *, absorbing: bool) -> Array:
    """Transition matrix (K, K) to begin with: states last for twenty frames."""
    transition = np.full((n_states, n_states), 0.05 / max(n_states - 1, 1))
    np.fill_diagonal(transition, 0.95 if n_states > 1 else 1.0)
    if absorbing:
        transition[-1] = np.arange(n_states) == n_states - 1
    return transition


def fit(
    likelihood: Array,
    length: Ids,
    *,
    absorbing: bool,
    guess: Array | None = None,
    max_rounds: int = 25,
    pseudo: float = 0.5,
    tick: Callable[[], None] | None = None,
) -> Posterior:
    """Fit transition probabilities and the first state by expectation and maximisation.

    Parameters
    ----------
    likelihood
        (N, T, K), see :func:`emissions`.
    length
        Frames (N,) of each track.
    absorbing
        Whether nothing comes back from the last state, and no track begins in it.
    guess
        Transition probabilities (K, K) to begin with.
    max_rounds
        Most rounds.
    pseudo
        Steps of each kind that are taken for seen before.
    tick
        Called in every round; it may raise.
    """
    n_states = likelihood.shape[2]
    transition = first_guess(n_states, absorbing=absorbing) if guess is None else guess
    start = np.full(n_states, 1 / n_states)
    if absorbing:
        start = np.append(np.full(n_states - 1, 1 / (n_states - 1)), 0.0)
    # a sample spread evenly over the tracks
    few = np.unique(np.linspace(0, len(length) - 1, _MAX_TRACKS).astype(np.int64))
    part = slice(None) if len(few) == len(length) else few
    for _ in range(max_rounds):
        if tick is not None:
            tick()
        posterior = _smoothed(likelihood[part], transition, start, length[part])
        counts = posterior.counts + pseudo * (1 - np.eye(n_states)) + 1e-9
        first = posterior.state[:, 0].sum(axis=0) + 1e-3
        if absorbing:
            counts[-1] = np.arange(n_states) == n_states - 1
            first[-1] = 0.0
        new = counts / counts.sum(axis=1, keepdims=True)
        moved = np.abs(new - transition).max()
        transition, start = new, first / first.sum()
        if moved < 1e-4:
            break
    return _smoothed(likelihood, transition, start, length)


def calibrate(
    seen: Sightings,
    *,
    absorbing: bool,
    rounds: int = 3,
    tick: Callable[[], None] | None = None,
) -> tuple[Calibration, Array, Posterior]:
    """Calibrate the unit probabilities, and fit the model with them.

    Temperature, bias and floor are the most likely ones where each sighting's state is taken from
    the other frames of its track.

    Parameters
    ----------
    seen
        The tracks.
    absorbing
        Whether nothing comes back from the last state.
    rounds
        Times that calibration and fit follow each other.
    tick
        Called now and then; it may raise.

    Returns
    -------
    tuple
        Calibration, likelihoods (N, T, K) and the fitted model.
    """
    n_units = seen.probability.shape[2]
    few = np.unique(np.linspace(0, len(seen.length) - 1, _MAX_TRACKS).astype(np.int64))
    part = seen.take(few) if len(few) < len(seen.length) else seen
    confusion = _confusion(np.zeros((n_units, n_units)))
    calibration = Calibration(1.0, np.zeros(n_units), 0.02, _missed(seen), _shares(seen), confusion)
    guess = None
    if n_units > 1:
        for _ in range(rounds):
            likelihood = emissions(part, calibration)
            model = fit(
                likelihood, part.length, absorbing=absorbing, guess=guess, max_rounds=15, tick=tick
            )
            calibration = _recalibrated(part, calibration, likelihood, model)
            guess = model.transition
    likelihood = emissions(seen, calibration)
    return (
        calibration,
        likelihood,
        fit(likelihood, seen.length, absorbing=absorbing, guess=guess, tick=tick),
    )


def _shares(seen: Sightings) -> Array:
    read = seen.probability[seen.seen & seen.looked]
    read = read[np.isfinite(read).all(axis=1)]
    total = read.sum(axis=0) + 1.0
    return np.asarray(total / total.sum())


def _missed(seen: Sightings) -> float:
    """Share of the frames between a track's first and last sighting in which it was not seen."""
    last = seen.seen.shape[1] - 1 - np.argmax(seen.seen[:, ::-1], axis=1)
    between = seen.looked & (np.arange(seen.seen.shape[1]) < last[:, None])
    return float((np.sum(between & ~seen.seen) + 1) / (between.sum() + 20))


def _recalibrated(
    seen: Sightings, calibration: Calibration, likelihood: Array, model: Posterior
) -> Calibration:
    """Most likely calibration, given what the other frames say of each sighting."""
    n_units = seen.probability.shape[2]
    read = seen.seen & seen.looked & np.isfinite(seen.probability).all(axis=2)
    others = (model.state[read] / likelihood[read])[:, :n_units]
    total = others.sum(axis=1)
    others, logs = others[total > 0], _logs(seen.probability[read][total > 0])
    if not len(others):
        return calibration
    step = 1 + len(others) // _MAX_CALIBRATION
    weight = len(others) / len(others[::step])
    others, logs = others[::step] / others[::step].sum(axis=1, keepdims=True), logs[::step]
    expected = others @ calibration.confusion  # units that they would be read as
    share = (expected.sum(axis=0) + 1.0) / (len(expected) + n_units)
    guess = np.concatenate(
        [
            [np.log(calibration.temperature)],
            (calibration.bias - calibration.bias[-1])[:-1],
            [_FLOOR_LOGIT],
        ]
    )
    data = (logs, expected, np.log(share), weight)
    found = minimize(_misfit, guess, data, method="L-BFGS-B", jac=True).x
    better = dataclasses.replace(
        calibration,
        temperature=float(np.exp(found[0])),
        bias=np.append(found[1:-1], 0.0),
        floor=float(np.clip(expit(found[-1]), *_FLOOR_RANGE)),
        share=share,
    )
    ratio = _ratios(logs, better)
    for _ in range(_CONFUSION_ROUNDS):
        joint = others[:, :, None] * better.confusion * ratio[:, None, :]
        joint /= joint.sum(axis=(1, 2), keepdims=True)
        better = dataclasses.replace(better, confusion=_confusion(weight * joint.sum(axis=0)))
    return better


def _confusion(counts: Array) -> Array:
    """Confusion (U, U) from how often each state was read as each unit, with its prior."""
    n_units = len(counts)
    prior = np.full((n_units, n_units), _CONFUSION_PRIOR * _CONFUSED / max(n_units - 1, 1))
    np.fill_diagonal(prior, _CONFUSION_PRIOR * (1 - _CONFUSED) if n_units > 1 else 1.0)
    total = counts + prior
    return np.asarray(total / total.sum(axis=1, keepdims=True))


def _misfit(
    values: Array, logs: Array, others: Array, log_share: Array, weight: float
) -> tuple[float, Array]:
    """Minus the log likelihood of a calibration with its priors, and its gradient.

    A reading is as likely in state k as its calibrated share over that of all readings.
    """
    temperature, bias, floor = np.exp(values[0]), np.append(values[1:-1], 0.0), expit(values[-1])
    n_units = logs.shape[1]
    exponent = temperature * logs + bias
    ratio = np.exp(exponent - logsumexp(exponent + log_share, axis=1, keepdims=True))
    ratio_mixed = (1 - floor) * ratio + floor
    total = (ratio_mixed * others).sum(axis=1)
    # derivative of log total by the exponents of each reading
    part = (1 - floor) * ratio * others / total[:, None]
    by_exponent = part - part.sum(axis=1, keepdims=True) * ratio * np.exp(log_share)
    by_floor = floor * (1 - floor) * ((1 - ratio) * others).sum(axis=1) / total
    gradient = -weight * np.concatenate(
        [
            [temperature * (by_exponent * logs).sum()],
            by_exponent.sum(axis=0)[: n_units - 1],
            [by_floor.sum()],
        ]
    )
    precision = np.concatenate(
        [
            [_LOG_TEMPERATURE_SD**-2],
            np.full(n_units - 1, _BIAS_SD**-2),
            [_FLOOR_SD**-2],
        ]
    )
    off = values - np.concatenate([np.zeros(n_units), [_FLOOR_LOGIT]])
    misfit = -weight * np.log(total + 1e-300).sum() + 0.5 * (precision * off**2).sum()
    return float(misfit), gradient + precision * off


def stickiness(seen: Sightings, model: Posterior) -> float:
    """Correlation of the errors of one track's readings in successive frames.

    Parameters
    ----------
    seen
        The tracks.
    model
        The fitted model.

    Returns
    -------
    float
        Correlation of the log probabilities about their mean in the state, where the state is
        sure and stays: 0 where errors are independent, as the model assumes; NaN without data.
    """
    logs = _logs(seen.probability)
    logs = logs - logs.mean(axis=2, keepdims=True)
    state = model.state.argmax(axis=2)
    sure = seen.seen & seen.looked & np.isfinite(seen.probability).all(axis=2)
    sure &= (model.state.max(axis=2) > 0.9) & (state < logs.shape[2])
    rest = np.zeros_like(logs)
    for number in range(logs.shape[2]):
        rows = sure & (state == number)
        if rows.any():
            rest[rows] = logs[rows] - logs[rows].mean(axis=0)
    stays = sure[:, 1:] & sure[:, :-1] & (state[:, 1:] == state[:, :-1])
    now, then = rest[:, 1:][stays].ravel(), rest[:, :-1][stays].ravel()
    scale = np.sqrt((now**2).sum() * (then**2).sum())
    return float((now * then).sum() / scale) if scale > 0 else float("nan")
