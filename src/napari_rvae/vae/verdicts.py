"""The single self-checks: from what was measured to a figure, a level and a plain sentence."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from napari_rvae.vae.evidence import DIRECTION, FEW_DIRECTIONS, Evidence
from napari_rvae.vae.measures import (
    Estimate,
    angle_disagreement,
    canonical_correlations,
    neighbour_overlap,
    one_minus_ratio,
    predictability,
    symmetry_orders,
    turn_pictures,
)
from napari_rvae.vae.splits import area_halves

__all__ = ["ONE_MODEL", "TWO_MODELS", "Check", "Level"]

#: How serious a verdict is; "info" is a plain fact, or a figure that cannot be had.
Level: TypeAlias = Literal["bad", "warn", "info", "good"]

#: Crops that trees are grown on and asked about.
_GROWN = 1000

#: Fewer crops than this cannot be correlated, and fewer than the second not be predicted.
_FEWEST, _FEWEST_GROWN = 20, 60

#: Below this, the angle does not follow turns: it was not learnt.
_FOLLOWS = 0.5

#: Canonical correlation from which a direction of the latents counts as the same in two models.
_SAME = 0.8

#: An interval of R2 that is wider tells nothing.
_WIDE = 0.3

_ADVICE = (
    "Train longer, on more crops or with another seed, or use the steerable engine; see that the "
    "sites are well centred and that the window holds their neighbours."
)
_SPLIT_ADVICE = "One structure may be taken for several, by how it lies. " + _ADVICE


@dataclass(frozen=True)
class Check:
    """One figure about a model, and what it means.

    Part of what :func:`~napari_rvae.check_model` returns.

    Attributes
    ----------
    name
        Key of the figure, such as "pose_leak".
    value
        The figure; None where it cannot be had, and `text` says why.
    interval
        Ends of the interval that holds it with 95 % probability over crops, None if unknown.
    unit
        Of the figure; "" for a pure number.
    level
        "good", "info" (a plain fact, or a figure that cannot be had), "warn" or "bad".
    text
        One plain sentence.
    advice
        What to do, "" for nothing.
    """

    name: str
    value: float | None
    interval: tuple[float, float] | None
    unit: str
    level: Level
    text: str
    advice: str = ""

    def __str__(self) -> str:
        """Return the sentence."""
        return self.text

    @property
    def figure(self) -> str:
        """The figure with its interval and unit, in words."""
        if self.value is None:
            return "not known"
        parts = [f"{self.value:.3g}"]
        if self.interval is not None:
            low, high = self.interval
            parts.append(f"({low:.3g} to {high:.3g})")
        return " ".join([*parts, self.unit]).strip()


def _unknown(name: str, unit: str, text: str, advice: str = "") -> Check:
    """Make a check whose figure cannot be had."""
    return Check(name, None, None, unit, "info", text, advice)


def _small(value: float, good: float, warn: float) -> Level:
    """Level of a figure that should be small."""
    return "good" if value <= good else "warn" if value <= warn else "bad"


def _degrees(value: float) -> str:
    if value < 0.1:
        return "0.1 degrees"
    return f"{value:.1f} degrees" if value < 10 else f"{value:.0f} degrees"


def _percent(share: float) -> str:
    return f"{share:.1%}" if share < 0.1 else f"{share:.0%}"


# ---------------------------------------------------------------------- the angle
def _no_angle(seen: Evidence, name: str, unit: str) -> Check | None:
    """Say why there is no angle to check, None if there is one."""
    if not seen.model.config.rotation:
        text = "This model has no angle: it was trained without rotation."
        return _unknown(name, unit, text, "Its latents hold how a crop lies.")
    if not seen.directed.any():
        text = "There is no angle to find: as far as the noise lets see, the crops are round."
        return _unknown(
            name, unit, text, "A larger window holds neighbours, which give directions."
        )
    return None


def _angle(seen: Evidence) -> Check:
    name, unit = "angle", "degrees"
    if (none := _no_angle(seen, name, unit)) is not None:
        return none
    off, order = seen.off
    error = math.degrees(float(np.median(np.abs(off))))
    level = _small(1 - seen.follows, 0.2, 1 - _FOLLOWS)
    if level == "bad":
        chance = math.degrees(float(np.median(math.pi / 2 / order)))
        text = f"The angle was not learnt: when crops are turned, it is {_degrees(error)} off "
        text += f"({chance:.0f} by chance). Do not use it."
        return Check(name, error, None, unit, level, text, _ADVICE)
    text = "The angle was learnt" if level == "good" else "The angle is not sure"
    text += f": it follows turned crops to {_degrees(error)}."
    round_share = 1 - float(seen.directed.mean())
    if round_share > FEW_DIRECTIONS:
        text += f" {round_share:.0%} of the crops are round and have none."
    return Check(name, error, None, unit, level, text, "" if level == "good" else _ADVICE)


def _explained(seen: Evidence) -> Check:
    """How much of the crops' angular structure the decoded pictures hold."""
    name = "explained"
    if not seen.directed.any():
        return _unknown(name, "", "The crops show no structure that turns with them.")
    rows, decoded = seen.decoded
    data, rng = seen.harmonics[rows], seen.rng()
    noise = float(np.prod(data.shape[1:]))  # a unit of power in each harmonic
    above = (np.abs(data) ** 2).sum((1, 2, 3)) - noise

    def share(pictures: NDArray[np.complex128]) -> Estimate:
        misfit = (np.abs(data - pictures) ** 2).sum((1, 2, 3)) - noise
        estimate = one_minus_ratio(misfit, above, rng)
        assert estimate is not None  # noqa: S101 - crops with a direction are above the noise
        return estimate

    found = share(decoded)
    level = _small(1 - found.value, 0.3, 0.7)
    text = (
        f"The decoded pictures explain {np.clip(found.value, 0, 1):.0%} of the structure that turns"
    )
    if seen.model.config.rotation:
        turns = rng.uniform(-math.pi, math.pi, len(rows))
        astray = share(seen.rings.turn(decoded, turns)).value
        text += f" (at random angles: {f'{astray:.0%}' if astray > 0 else 'nothing'})"
    advice = "" if level == "good" else "Train longer, or use more latents."
    return Check(name, found.value, (found.low, found.high), "", level, f"{text}.", advice)


def _angle_sd(seen: Evidence) -> Check:
    name, unit = "angle_sd", "degrees"
    if (none := _no_angle(seen, name, unit)) is not None:
        return none
    rows, decoded = seen.decoded
    stated = seen.table["angle_sd"].to_numpy()[rows]
    median = math.degrees(float(np.median(stated)))
    text = f"The model states the angle of a typical crop to {_degrees(median)}"
    if seen.follows < _FOLLOWS:
        return Check(name, median, None, unit, "info", f"{text}, which means nothing here.")
    # as a share of the sd of an angle of which only the symmetry is known
    share = float(np.median(stated * symmetry_orders(decoded))) * math.sqrt(3) / math.pi
    if share < 0.2:
        return Check(name, median, None, unit, "good", f"{text}.")
    advice = "Average the angles of neighbours or frames, or use a larger window."
    return Check(name, median, None, unit, "warn", f"{text}.", advice)


# ---------------------------------------------------------------------- the angle in the latents
def _no_latents(seen: Evidence, name: str, *, least: int = 0) -> Check | None:
    """Say why nothing can be told of the latents, None if something can."""
    if not seen.in_use.any():
        return _unknown(name, "", "No latent is in use, so there is nothing to compare.")
    if len(seen.crops) < least:
        text = f"{len(seen.crops)} crops are too few to compare latents: {least} are the least."
        return _unknown(name, "", text)
    return None


def _turn_spread(seen: Evidence) -> Check:
    name = "turn_spread"
    if (none := _no_latents(seen, name)) is not None:
        return none
    _, latents, _ = seen.turned
    spread = seen.latents(seen.table).var(0).sum()
    share = math.sqrt(float(latents.var(0).mean(0).sum() / spread))
    text = f"Turning a crop moves its latents by {_percent(share)} of their spread over the crops."
    if not seen.model.config.rotation:
        return Check(name, share, None, "", "info", text)
    level = _small(share, 0.15, 0.4)
    return Check(name, share, None, "", level, text, "" if level == "good" else _SPLIT_ADVICE)


def _pose_leak(seen: Evidence) -> Check:
    """Whether latents of crops that were turned at random tell how these lie."""
    name = "pose_leak"
    if (none := _no_latents(seen, name)) is not None:
        return none
    power = np.abs(seen.harmonics[:, 0]) ** 2  # (N, R, n) of the first channel
    strongest = 1 + int(power.mean((0, 1)).argmax())
    orders = np.array(sorted({1, strongest}))
    rings = power.mean(0).argmax(0)[orders - 1]
    values = seen.harmonics[:, 0, rings, orders - 1]  # (N, T)
    rows = seen.some(_GROWN, np.abs(values[:, orders == strongest][:, 0]) ** 2 > DIRECTION)
    if len(rows) < _FEWEST_GROWN:
        text = f"{len(rows)} crops with a direction are too few to look for it in the latents."
        return _unknown(name, "", text)
    rng = seen.rng()
    turns = rng.uniform(-math.pi, math.pi, len(rows))
    part = seen.crops.select(rows)
    turned = replace(part, images=turn_pictures(part.images, turns, part.vectors))
    z = seen.latents(seen.model.transform(turned))
    phases = np.angle(values[rows]) - turns[:, None] * orders
    order = rng.permutation(len(rows))
    estimate = predictability(z, phases, [(order[::2], order[1::2])], rng)
    return _leak(seen, name, estimate, "How a crop lies {} be read from its latents", "bad")


def _leak(
    seen: Evidence, name: str, estimate: Estimate | None, sentence: str, worst: Level
) -> Check:
    """Judge the share R2 that could be predicted; `sentence` has a place for (not) possible."""
    if estimate is None:
        return _unknown(name, "", "All crops lie alike, so their latents cannot tell them apart.")
    value, low, high = (max(v, 0.0) for v in (estimate.value, estimate.low, estimate.high))
    # what chance may have made is no accusation
    level = _small(low, 0.05, 0.2)
    text = f"{sentence.format('cannot' if level == 'good' else 'can')} (R2 {value:.2f})."
    advice = (
        _SPLIT_ADVICE
        if worst == "bad"
        else (
            "Row noise or shear may be taken for structure, or structures may prefer a direction."
        )
    )
    if not seen.model.config.rotation:
        level = "info"
    elif level == "good" and high - low > _WIDE:
        text = (
            f"{sentence.format('may')} (R2 {low:.2f} to {high:.2f}): the crops are too few to tell."
        )
        level = "info"
    elif level == "bad":
        level = worst
    found = Check(name, value, (low, high), "", level, text)
    return found if level in ("good", "info") else replace(found, advice=advice)


def _scan_leak(seen: Evidence) -> Check:
    """Whether the latents go along with the angle in the frame, beyond what turning explains."""
    name, start = "scan_leak", "Whether latents go along with the angle in the frame cannot be told"
    none = _no_angle(seen, name, "") or _no_latents(seen, name)
    if none is not None:
        return none
    if seen.follows < _FOLLOWS:
        return _unknown(name, "", f"{start}: the angle is not known.")
    rows = seen.some(_GROWN)
    part = seen.crops.select(rows)
    halves = [pair for axis in (0, 1) if (pair := area_halves(part, axis=axis)) is not None]
    if not halves or len(rows) < _FEWEST_GROWN:
        return _unknown(
            name, "", f"{start}: the crops overlap too much, or their places are not known."
        )
    table = seen.table.iloc[rows]
    symmetry = int(np.bincount(seen.off[1]).argmax())
    phases = table["angle"].to_numpy()[:, None] * np.array(sorted({1, symmetry}))
    estimate = predictability(seen.latents(table), phases, halves, seen.rng())
    sentence = "The angle in the frame {} be read from the latents of other areas"
    return _leak(seen, name, estimate, sentence, "warn")


# ---------------------------------------------------------------------- the latents
def _active(seen: Evidence) -> Check:
    count, total = int(seen.in_use.sum()), len(seen.names)
    if count == 0:
        text = "No latent is in use: the model takes all crops for the same."
        advice = "Train longer or with a smaller weight of the prior; or the crops do not differ."
        return Check("active", 0.0, None, "latents", "bad", text, advice)
    used = ", ".join(name for name, use in zip(seen.names, seen.in_use, strict=True) if use)
    text = f"{count} of {total} latents {'is' if count == 1 else 'are'} in use ({used})."
    advice = f"{count} would do as well." if count < total else ""
    return Check("active", float(count), None, "latents", "good", text, advice)


def _contrast(seen: Evidence) -> Check:
    columns = {"mean brightness": seen.crops.mean, "contrast": seen.crops.sd}
    advice = "Thickness, dirt or a ramp may show in it: compare its map with the image."
    return _along(seen, "contrast", columns, advice)


def _position(seen: Evidence) -> Check:
    columns = {"y": seen.crops.y, "x": seen.crops.x}
    advice = "Tilt, drift or a ramp over the frame may show in it: look at its map."
    return _along(seen, "position", columns, advice)


def _along(
    seen: Evidence, name: str, columns: dict[str, NDArray[np.float64]], advice: str
) -> Check:
    """Check whether a latent does little else than follow one of some columns (N,)."""
    if (none := _no_latents(seen, name, least=_FEWEST)) is not None:
        return none
    latents = [z for z, use in zip(seen.names, seen.in_use, strict=True) if use]
    found: dict[tuple[str, str], float] = {}
    for label, column in columns.items():
        good = np.isfinite(column)
        if good.sum() < _FEWEST or np.ptp(column[good]) == 0:
            continue
        for latent in latents:
            values = seen.table[latent].to_numpy()[good]
            found[latent, label] = abs(float(stats.spearmanr(values, column[good]).statistic))
    what = " and ".join(columns)
    if not found:
        return _unknown(name, "", f"The crops do not tell their {what}, or they are all the same.")
    (latent, label), value = max(found.items(), key=lambda item: item[1])
    if value <= 0.6:
        text = f"No latent follows {what} (rank correlation at most {value:.2f})."
        return Check(name, value, None, "", "good", text)
    text = f"{latent} follows the {label} of the crops (rank correlation {value:.2f})."
    return Check(name, value, None, "", "warn", text, advice)


# ---------------------------------------------------------------------- two models
def _no_pair(seen: Evidence, name: str, unit: str = "") -> Check | None:
    """Say why two models cannot be compared, None if they can."""
    if not seen.other_in_use.any():
        return _unknown(name, unit, "The other model uses no latent, so there is no agreement.")
    return _no_latents(seen, name, least=_FEWEST_GROWN)


def _latents_agree(seen: Evidence) -> Check:
    name = "latents_agree"
    if (none := _no_pair(seen, name)) is not None:
        return none
    own, theirs = seen.latents(seen.table), seen.other_latents(seen.other_table)
    found = canonical_correlations(own, theirs, seen.rng())
    same, count = int((found >= _SAME).sum()), len(found)
    level: Level = "good" if same == count else "warn" if same else "bad"
    each = ", ".join(f"{correlation:.2f}" for correlation in found)
    text = f"{same} of {count} directions in the latents agree between both models "
    text += f"(canonical correlations {each})."
    return _agreement(name, float(found.mean()), "", level, text)


def _angles_agree(seen: Evidence) -> Check:
    name, unit = "angles_agree", "degrees"
    none = _no_angle(seen, name, unit) or _no_pair(seen, name, unit)
    if none is not None:
        return none
    rows, decoded = seen.decoded
    if len(rows) < _FEWEST_GROWN:
        return _unknown(name, unit, f"Only {len(rows)} crops have an angle to compare.")
    own, theirs = (table["angle"].to_numpy()[rows] for table in (seen.table, seen.other_table))
    z, order = seen.latents(seen.table)[rows], symmetry_orders(decoded)
    value = math.degrees(angle_disagreement(z, own - theirs, order))
    text = f"The angles of both models differ by {_degrees(value)}."
    return _agreement(name, value, unit, _small(value, 5.0, 15.0), text)


def _neighbours_agree(seen: Evidence) -> Check:
    name = "neighbours_agree"
    if (none := _no_pair(seen, name)) is not None:
        return none
    own, theirs = seen.latents(seen.table), seen.other_latents(seen.other_table)
    value = neighbour_overlap(own, theirs)
    text = f"Of a crop's nearest neighbours in the latents, both models share {_percent(value)}."
    # where the latents of a unit hold noise, its neighbours are anybody's: no fault of a model
    return Check(name, value, None, "", "good" if value >= 0.2 else "info", text)


def _agreement(name: str, value: float, unit: str, level: Level, text: str) -> Check:
    advice = "Trust what both models show; train longer, on more crops, or with fewer latents."
    return Check(name, value, None, unit, level, text, "" if level == "good" else advice)


#: The checks of one model, and those of two, in order.
ONE_MODEL = (
    _angle,
    _explained,
    _angle_sd,
    _turn_spread,
    _pose_leak,
    _scan_leak,
    _active,
    _contrast,
    _position,
)
TWO_MODELS = (_latents_agree, _angles_agree, _neighbours_agree)
