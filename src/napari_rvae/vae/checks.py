"""Self-checks: what a trained model can be trusted with, measured on crops, in plain words.

A model can fit its crops well and yet hold the angle in its latents, or none at all; the loss
does not tell. Each check measures one such failure by what the model answers to crops, and to
crops that were turned, whatever its engine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from napari_rvae.crops import Crops
from napari_rvae.device import small_steps
from napari_rvae.errors import Cancelled
from napari_rvae.vae.evidence import Evidence
from napari_rvae.vae.verdicts import ONE_MODEL, TWO_MODELS, Check, Level

if TYPE_CHECKING:
    from napari_rvae.vae.estimator import RVAE

__all__ = ["Check", "Level", "ModelChecks", "check_model"]

#: Told of (checks done, checks in all); returns False to cancel.
Progress: TypeAlias = Callable[[int, int], bool | None]

_LEVELS: tuple[Level, ...] = ("bad", "warn", "info", "good")

#: Fewer crops than this say nothing.
_FEWEST = 8


@dataclass(frozen=True)
class ModelChecks:
    """What :func:`check_model` found.

    Attributes
    ----------
    checks
        The checks, in the order in which they were made.
    n_crops
        Number of crops that were looked at.
    """

    checks: tuple[Check, ...]
    n_crops: int

    @property
    def verdicts(self) -> list[Check]:
        """The checks, the most serious first; of those that say the same, the first."""
        different = {check.text: check for check in reversed(self.checks)}
        left = [check for check in self.checks if different[check.text] is check]
        return sorted(left, key=lambda check: _LEVELS.index(check.level))

    @property
    def figures(self) -> dict[str, float | None]:
        """The figures by name; None where one cannot be had."""
        return {check.name: check.value for check in self.checks}


def check_model(
    model: RVAE,
    crops: Crops,
    *,
    other: RVAE | None = None,
    progress: Progress | None = None,
) -> ModelChecks:
    """Check what a trained model has learned, and what it has not.

    At most 2000 of the crops are looked at (500 for the per-pixel decoder, which takes longer),
    drawn by the model's seed. The figures are these; one that cannot be had is None, and its
    verdict says why.

    ``angle``
        Median error, in degrees, with which the angle follows crops that are turned by known
        angles, modulo their symmetry. Crops are turned by cubic splines about their centre; at
        the corners, outside the disc, their mirror image comes in.
    ``explained``
        Share of the crops' angular structure above the noise that the decoded picture explains
        at the angle found: 1 for all, below 0 where it does harm. Structure is what the angular
        harmonics of order 1 to 8 hold on three rings.
    ``angle_sd``
        Median standard deviation of the angle that the model states, in degrees.
    ``turn_spread``
        Standard deviation of the latents of a crop over twelve turns, as a share of theirs over
        the crops.
    ``pose_leak``
        Share R2 of the direction of crops (the phase of their first and of their strongest
        angular harmonic) that regression trees predict from the latents, less chance, after the
        crops were turned at random. As directions then have nothing to do with content, the
        encoder has leaked what can be predicted.
    ``scan_leak``
        The same for the angle found in the crops as they are. Trees are grown in one half of the
        area and asked in the other, or they would recognise single sites. What can be predicted
        goes along with the frame: row noise and shear, or structures that prefer a direction.
    ``active``
        Number of latents in use: those whose posterior means hold a tenth or more of the sum of
        their variance and the mean posterior variance.
    ``contrast``, ``position``
        Largest rank correlation of a latent in use with the mean or the standard deviation of
        the crops, and with y or x in the frame.
    ``latents_agree``, ``angles_agree``, ``neighbours_agree``
        With `other`: mean canonical correlation of the latents, on held-out halves; root mean
        square difference of the angles in degrees, modulo the symmetry, less its mean over the
        nearest neighbours in the latents (each model turns its pictures as it likes); share of a
        crop's 15 nearest neighbours in one latent space that are so in the other.

    Parameters
    ----------
    model
        Trained model, of any engine.
    crops
        Crops on its grid, best those of the training; such with NaN are left out.
    other
        A model trained on the same crops, with another seed say.
    progress
        Called with (checks done, checks in all); returning False cancels.

    Returns
    -------
    ModelChecks
        Figures and verdicts.

    Raises
    ------
    NotFittedError
        If a model is not trained.
    InputError
        If the crops do not fit a model.
    Cancelled
        If `progress` returned False.

    Examples
    --------
    >>> from napari_rvae import RVAE, detect_atoms, extract_crops, simulate_graphene
    >>> from napari_rvae.vae.checks import check_model
    >>> movie = simulate_graphene(n_frames=1, size=128).frames
    >>> crops = extract_crops(movie, detect_atoms(movie))
    >>> found = check_model(RVAE(epochs=2).fit(crops), crops)
    >>> found.figures["angle"] < 5
    True
    """
    with small_steps():
        return _check(model, crops, other, progress)


def _check(model: RVAE, crops: Crops, other: RVAE | None, progress: Progress | None) -> ModelChecks:
    seen = Evidence.collect(model, crops, other)
    count = len(seen.crops)
    if count < _FEWEST:
        text = f"Nothing can be told from {count} crops: {_FEWEST} are the least."
        few = Check("crops", float(count), None, "crops", "warn", text, "Take more sites.")
        return ModelChecks((few,), count)
    makers = ONE_MODEL if other is None else (*ONE_MODEL, *TWO_MODELS)
    checks: list[Check] = []
    for maker in makers:
        if progress is not None and progress(len(checks), len(makers)) is False:
            raise Cancelled(f"Stopped after {len(checks)} of {len(makers)} checks.")
        checks.append(maker(seen))
    return ModelChecks(tuple(checks), count)
