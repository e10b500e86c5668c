"""Is it real? Two halves of the data, trained apart, and what both find on the same crops."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from napari_rvae import tables
from napari_rvae.analysis.descriptors import neighbour_distances
from napari_rvae.analysis.said_of import said_of
from napari_rvae.analysis.scores import spatial_blocks
from napari_rvae.analysis.units import Units, apply_units, find_units
from napari_rvae.config import RVAEConfig, UnitConfig
from napari_rvae.errors import Cancelled, InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_rvae.crops import Crops
    from napari_rvae.vae import RVAE, Check
    from napari_rvae.vae.evidence import Evidence

    Array = NDArray[np.float64]
    Ids = NDArray[np.int64]
    Mask = NDArray[np.bool_]

__all__ = ["HalfVerdict", "SplitHalf", "split_half"]

#: What can be said of a result.
Answer: TypeAlias = Literal["agrees", "does not agree", "cannot tell"]

Progress: TypeAlias = Callable[[int, int], bool | None]

#: With so many frames, a third of them is shown to neither model, else every second frame to each.
_THREE_PARTS, _TWO_PARTS = 6, 2

#: A strip of area is at least so many windows wide; there are at most so many strips.
_STRIP_WINDOWS, _MOST_STRIPS = 2.0, 8

#: A half needs so many crops; fewer that neither has seen are not compared, but all.
_FEWEST, _FEWEST_COMMON = 40, 200

#: Units agree from this adjusted Rand index on, and do not if its interval lies below; an interval
#: wider than the second says nothing.
_UNITS_AGREE, _WIDE = 0.6, 0.3

#: A direction of the latents comes back from this canonical correlation on; below the second none.
_DIRECTION, _NO_DIRECTION = 0.8, 0.5

#: Angles agree below this share of the difference by chance, and do not above the second.
_ANGLES_AGREE, _ANGLES_DIFFER = 0.35, 0.75

#: Crops have something in common if their mean has so many times the power of that of noise.
_IN_COMMON = 4.0

#: What the halves are called in the log.
_HALVES = ("First half of the data", "Second half of the data")

#: Draws of the bootstrap, over blocks so many neighbour distances wide.
_DRAWS, _BLOCK_ND = 200, 6.0


@dataclass(frozen=True)
class HalfVerdict:
    """What both halves say of one result.

    Part of what :func:`~napari_rvae.split_half` returns.

    Attributes
    ----------
    result
        "units", "angles" or "latents".
    answer
        "agrees", "does not agree" or "cannot tell".
    value
        Adjusted Rand index of the units; root mean square difference of the angles in degrees;
        mean canonical correlation of the latents. NaN where there is none.
    interval
        Ends of its 95 % interval over the areas of the frames, NaN where there is none.
    text
        Why, in one line.
    """

    result: str
    answer: Answer
    value: float
    interval: tuple[float, float]
    text: str

    def __str__(self) -> str:
        """Return the answer and why."""
        return f"{self.result}: {self.answer}. {self.text}"


@dataclass(frozen=True, eq=False)
class SplitHalf:
    """What two halves of the data, trained apart, agree on.

    Returned by :func:`~napari_rvae.split_half`.

    Attributes
    ----------
    verdicts
        One for each result.
    halves
        How the data were halved, in words.
    models
        The two models.
    units
        The units that each half found, in the common crops.
    common
        ``site_id`` (N,) of the crops that both are compared on.
    matched
        One row for each unit of the first half: ``unit``, ``name``, ``count`` (common crops),
        ``other`` (the unit of the second half that it shares most crops with, one to one, -1 =
        none), ``other_name`` and ``f1`` (0 to 1).
    """

    verdicts: tuple[HalfVerdict, ...]
    halves: str
    models: tuple[RVAE, RVAE]
    units: tuple[Units, Units]
    common: Ids
    matched: pd.DataFrame

    def __repr__(self) -> str:
        """Return the answers in one line."""
        each = ", ".join(f"{verdict.result} {verdict.answer!r}" for verdict in self.verdicts)
        return f"SplitHalf({self.answer!r}: {each}; {self.halves})"

    @property
    def answer(self) -> Answer:
        """One answer for all: the worst that is known."""
        answers = {verdict.answer for verdict in self.verdicts}
        if "does not agree" in answers:
            return "does not agree"
        return "agrees" if "agrees" in answers else "cannot tell"

    @property
    def checks(self) -> tuple[Check, ...]:
        """The verdicts as checks, for a list of them and for the report."""
        from napari_rvae.vae import Check

        levels: dict[str, Any] = {"agrees": "good", "does not agree": "bad", "cannot tell": "info"}
        return tuple(
            Check(
                f"halves_{one.result}",
                one.value if math.isfinite(one.value) else None,
                one.interval if math.isfinite(one.interval[0]) else None,
                "degrees" if one.result == "angles" else "",
                levels[one.answer],
                f"Halves of the data, {one.result}: {one.answer}. {one.text}",
                _ADVICE if one.answer == "does not agree" else "",
            )
            for one in self.verdicts
        )


_ADVICE = "Do not build on it: take more frames, fewer units or latents, or train longer."


def split_half(
    crops: Crops,
    sites: pd.DataFrame,
    config: RVAEConfig | None = None,
    *,
    unit_config: UnitConfig | None = None,
    find: Callable[[pd.DataFrame, pd.DataFrame], Units] | None = None,
    by: Literal["auto", "frames", "areas"] = "auto",
    device: str = "auto",
    progress: Progress | None = None,
    **overrides: Any,
) -> SplitHalf:
    """Train on two halves of the data apart, and see what both agree on.

    Parameters
    ----------
    crops
        All crops.
    sites
        Sites table that they were cut from.
    config
        Options of the training: those of the model to be judged (``model.config``).
    unit_config
        Options of the units.
    find
        Another way to find units: called with the sites table and the features of a half and of
        the common crops, returns units. When left out, :func:`~napari_rvae.find_units` on the half
        and :func:`~napari_rvae.apply_units` on the common crops.
    by
        "frames": every second frame; of six frames or more a third is kept from both. "areas":
        strips of the frames, side by side; what lies at their borders is kept from both. "auto":
        by frames where there are two or more.
    device
        Where to train.
    progress
        Called as ``progress(done, total)`` after each epoch and step; False stops.
    **overrides
        Single options of :class:`~napari_rvae.RVAEConfig`.

    Returns
    -------
    SplitHalf
        Verdicts on units, angles and latents.

    Raises
    ------
    InputError
        If the crops cannot be halved so that each half has 40, or `sites` are not theirs.
    Cancelled
        If `progress` returned False.

    Notes
    -----
    Both models are asked about the same crops, such that neither was trained on where these are
    200 or more. **Units**, which each half finds by itself: adjusted Rand index; they agree if it
    is 0.6 or more, and do not if its 95 % interval (bootstrap over areas) lies below that and is no
    wider than 0.3, or if there is but one, the latents do not agree, and the crops have neither a
    direction nor a mean: they are noise.
    **Angles**: root mean square difference modulo the symmetry, less its mean over the nearest
    neighbours in the latents, since each model turns its pictures as it likes; they agree below
    0.35 of the difference by chance, and do not above 0.75. **Latents**: canonical correlations of
    the latents of one model with those of the other and their products of two (latents are defined
    up to a smooth map only), found on half the crops and taken on the other, the mean of both ways
    round; they agree if half of the directions have 0.8 or more, and do not if none has 0.5. In
    between one cannot tell.

    The log names the half that a line of it is about.

    Frames of a movie show the same atoms: halves by frames tell whether noise was taken for
    structure, not whether another specimen would show the same.

    Examples
    --------
    >>> from napari_rvae import detect_atoms, extract_crops, simulate_graphene, split_half
    >>> movie = simulate_graphene(n_frames=2, size=192).frames
    >>> sites = detect_atoms(movie)
    >>> found = split_half(extract_crops(movie, sites), sites, epochs=2)
    >>> [verdict.result for verdict in found.verdicts]
    ['units', 'angles', 'latents']
    """
    from napari_rvae.vae import RVAE

    options = dataclasses.replace(config or RVAEConfig(), **overrides)
    table = tables.validate_sites(sites)
    if not np.isin(crops.site_id, table["site_id"]).all():
        raise InputError("The sites lack some of the crops: give the table they were cut from.")
    parts = _halved(crops, by)
    steps = _Steps(progress, 2 * options.epochs + 4)
    models, units = [], []
    for number, half in enumerate((parts.first, parts.second)):
        own = dataclasses.replace(options, seed=options.seed + number)
        model = RVAE(own, device=device)
        with said_of(_HALVES[number]):
            model.fit(crops.select(half), callback=steps.epoch)
        model.release()
        steps.finish((number + 1) * options.epochs + 2 * number)
        models.append(model)
        if find is None:
            own_crops = crops.select(half)
            own_table = tables.join_latents(table, model.transform(own_crops))
            with said_of(_HALVES[number]):
                found = find_units(own_table, unit_config, features=model.invariants(own_crops))
            others = crops.select(parts.common)
            shared = tables.join_latents(table, model.transform(others))
            with said_of(""):  # sites like none of these units are left out of the comparison
                units.append(apply_units(found, shared, features=model.invariants(others)))
        else:
            both = np.union1d(half, parts.common)
            units.append(find(table, model.invariants(crops.select(both))))
        steps.finish((number + 1) * options.epochs + 2 * number + 1)
    common = crops.select(parts.common)
    verdicts, matched = _judged(models, units, common, table)
    steps.finish(2 * options.epochs + 4)
    return SplitHalf(
        verdicts,
        parts.words,
        (models[0], models[1]),
        (units[0], units[1]),
        common.site_id,
        matched,
    )


class _Steps:
    """Counts epochs and steps, and stops the work when asked to."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._done, self._total = progress, 0, total

    def epoch(self, _: object) -> bool:
        self._done += 1
        return self._tell() is not False

    def finish(self, done: int) -> None:
        """Say that so much is done: a training may have ended early, or been stopped."""
        self._done = done
        if self._tell() is False:
            raise Cancelled("The comparison of the halves was stopped: there is no verdict.")

    def _tell(self) -> bool | None:
        return None if self._progress is None else self._progress(self._done, self._total)


# ----------------------------------------------------------------------------- halves
class _Parts(NamedTuple):
    """Rows of the crops of each half, and of those that both are compared on."""

    first: Ids
    second: Ids
    common: Ids
    words: str


def _halved(crops: Crops, by: str) -> _Parts:
    """Halve the crops in the way that was asked for."""
    if by not in ("auto", "frames", "areas"):
        raise InputError(f"by = {by!r}: choose auto, frames or areas.")
    n_frames = len(set(zip(crops.source.tolist(), crops.frame.tolist(), strict=True)))
    if by == "frames" and n_frames < _TWO_PARTS:
        raise InputError("There is one frame: halve its area instead (by='areas').")
    parts = _by_areas(crops) if by == "areas" or n_frames < _TWO_PARTS else _by_frames(crops)
    least = min(len(parts.first), len(parts.second))
    if least < _FEWEST:
        raise InputError(
            f"The smaller half ({parts.words}) would have {least} crops and {_FEWEST} are the "
            "least: take more frames, or a larger area."
        )
    if len(parts.common) < _FEWEST_COMMON:
        everything = np.arange(len(crops), dtype=np.int64)
        return parts._replace(common=everything, words=parts.words + ", compared on all")
    return parts._replace(words=parts.words + ", compared on others")


def _by_frames(crops: Crops) -> _Parts:
    frames = pd.DataFrame({"source": crops.source, "frame": crops.frame})
    rank = frames.groupby("source")["frame"].rank("dense").to_numpy().astype(np.int64) - 1
    n_parts = 3 if rank.max() + 1 >= _THREE_PARTS else 2
    rows = [np.flatnonzero(rank % n_parts == part) for part in (0, 1)]
    common = np.flatnonzero(rank % n_parts == 2)
    words = "every third frame" if n_parts == 3 else "odd and even frames"
    return _Parts(rows[0], rows[1], common, words)


def _by_areas(crops: Crops) -> _Parts:
    """Strips along the longer side; crops that share pixels with the other half are in neither."""
    places = np.stack([crops.y, crops.x], axis=1)
    if not np.isfinite(places).all():
        raise InputError("The crops do not know their positions: halve by frames.")
    side = float(crops.window_px * np.abs(crops.distortion).sum(axis=1).max())
    strip, away = np.zeros(len(crops), np.int64), np.zeros(len(crops))
    for source in np.unique(crops.source):
        rows = crops.source == source
        extent = np.ptp(places[rows], axis=0)
        axis = int(extent.argmax())
        count = int(np.clip(2 * (extent[axis] // (2 * _STRIP_WINDOWS * side)), 2, _MOST_STRIPS))
        width = max(extent[axis], 1e-9) / count
        where = (places[rows, axis] - places[rows, axis].min()) / width
        strip[rows] = np.minimum(where.astype(np.int64), count - 1)
        inner = np.abs(where - np.rint(where))
        ends = (np.rint(where) == 0) | (np.rint(where) == count)
        away[rows] = np.where(ends, np.inf, inner * width)
    clear = away >= side / 2
    rows = [np.flatnonzero(clear & (strip % 2 == part)) for part in (0, 1)]
    return _Parts(rows[0], rows[1], np.flatnonzero(~clear), "strips of the area")


# ----------------------------------------------------------------------------- verdicts
def _judged(
    models: list[RVAE], units: list[Units], common: Crops, table: pd.DataFrame
) -> tuple[tuple[HalfVerdict, ...], pd.DataFrame]:
    """Verdicts on the common crops, and the matched units."""
    from napari_rvae.device import limit_threads
    from napari_rvae.vae.evidence import Evidence

    labels = [
        one.table.set_index("site_id")["unit"].reindex(common.site_id, fill_value=-1).to_numpy()
        for one in units
    ]
    place = table.set_index("site_id").loc[common.site_id].reset_index()
    distance = np.nanmedian(list(neighbour_distances(table, None).values()))
    block = spatial_blocks(place, _BLOCK_ND * (distance if np.isfinite(distance) else 1.0))
    matched = _matched(labels[0], labels[1], units)
    with limit_threads(1):
        seen = Evidence.collect(models[0], common, models[1])
        angles, latents = _angles_verdict(seen), _latents_verdict(seen)
        noise = latents.answer != "agrees" and _is_noise(seen)
        verdicts = (
            _units_verdict(labels[0], labels[1], block, matched, noise=noise),
            angles,
            latents,
        )
    return verdicts, matched


def _matched(one: Ids, other: Ids, units: list[Units]) -> pd.DataFrame:
    """Units of the first half beside those of the second, one to one, by the crops they share."""
    both = (one >= 0) & (other >= 0)
    shared = pd.crosstab(one[both], other[both])
    rows, columns = linear_sum_assignment(-shared.to_numpy())
    partner = dict(zip(shared.index[rows], shared.columns[columns], strict=True))
    found = []
    for row, unit in enumerate(shared.index):
        twin = int(partner.get(unit, -1))
        count = int(shared.iloc[row].sum())
        f1 = 0.0
        if twin >= 0:
            f1 = 2 * float(shared[twin].iloc[row]) / float(count + shared[twin].sum())
        names = (units[0].names.get(int(unit), ""), units[1].names.get(twin, ""))
        found.append((unit, names[0], count, twin, names[1], f1))
    columns_ = {"unit": "int64", "name": "str", "count": "int64", "other": "int64"}
    columns_ |= {"other_name": "str", "f1": "float64"}
    return pd.DataFrame(found, columns=list(columns_)).astype(columns_)


def _units_verdict(
    one: Ids, other: Ids, block: Ids, matched: pd.DataFrame, *, noise: bool
) -> HalfVerdict:
    from sklearn.metrics import adjusted_rand_score

    both = (one >= 0) & (other >= 0)
    one, other, block = one[both], other[both], block[both]
    counts = [len(np.unique(labels)) for labels in (one, other)]
    nothing = (math.nan, math.nan)
    if len(one) < _FEWEST:
        text = f"Only {len(one)} crops have a unit in both halves."
        return HalfVerdict("units", "cannot tell", math.nan, nothing, text)
    if max(counts) == 1 and noise:
        text = "Both found one unit, and the crops have nothing in common: they are noise."
        return HalfVerdict("units", "does not agree", math.nan, nothing, text)
    if max(counts) == 1:
        text = "Both halves found one unit, so there is nothing to tell apart."
        return HalfVerdict("units", "cannot tell", math.nan, nothing, text)
    value = float(adjusted_rand_score(one, other))
    rng = np.random.default_rng(0)
    groups = [np.flatnonzero(block == number) for number in np.unique(block)]
    drawn = []
    for _ in range(_DRAWS):
        rows = np.concatenate([groups[i] for i in rng.integers(len(groups), size=len(groups))])
        drawn.append(adjusted_rand_score(one[rows], other[rows]))
    low, high = (float(end) for end in np.quantile(drawn, [0.025, 0.975]))
    answer: Answer = "cannot tell"
    if value >= _UNITS_AGREE:
        answer = "agrees"
    elif (high < _UNITS_AGREE and high - low <= _WIDE) or counts[0] == 1 or counts[1] == 1:
        answer = "does not agree"
    back = int((matched["f1"] >= 0.5).sum())
    text = f"{back} of {counts[0]} units of one half come back among {counts[1]} of the other "
    text += f"(adjusted Rand index {value:.2f}, {low:.2f} to {high:.2f})."
    return HalfVerdict("units", answer, value, (low, high), text)


def _is_noise(seen: Evidence) -> bool:
    """Whether crops have neither a direction nor a mean; that of N of noise has 1 / N of power."""
    if seen.directed.any():
        return False
    images = seen.crops.images.astype(float)
    power = float(np.mean(images**2))
    return float(np.mean(images.mean(axis=0) ** 2)) * len(images) < _IN_COMMON * power


def _angles_verdict(seen: Evidence) -> HalfVerdict:
    from napari_rvae.vae.measures import angle_disagreement, symmetry_orders

    nothing = (math.nan, math.nan)

    def unknown(text: str) -> HalfVerdict:
        return HalfVerdict("angles", "cannot tell", math.nan, nothing, text)

    if not seen.model.config.rotation:
        return unknown("The models were trained without an angle.")
    if seen.directed.sum() < _FEWEST:
        return unknown("Too few crops show a direction above the noise.")
    rows, decoded = seen.decoded
    order = symmetry_orders(decoded)
    own, theirs = (table["angle"].to_numpy(float)[rows] for table in (seen.table, seen.other_table))
    z = seen.table[seen.names].to_numpy(float)[rows]
    value = angle_disagreement(z, own - theirs, order)
    share = value / float(np.sqrt(np.mean((math.pi / order) ** 2 / 3)))
    answer: Answer = "agrees" if share <= _ANGLES_AGREE else "cannot tell"
    if share >= _ANGLES_DIFFER:
        answer = "does not agree"
    text = f"They differ by {math.degrees(value):.1f} degrees, {share:.0%} of what chance gives."
    return HalfVerdict("angles", answer, math.degrees(value), nothing, text)


def _latents_verdict(seen: Evidence) -> HalfVerdict:
    from napari_rvae.vae.measures import canonical_correlations

    nothing = (math.nan, math.nan)
    in_use = [int(seen.in_use.sum()), int(seen.other_in_use.sum())]
    if len(seen.crops) < _FEWEST:
        text = f"{len(seen.crops)} crops are too few to correlate."
        return HalfVerdict("latents", "cannot tell", math.nan, nothing, text)
    if min(in_use) == 0:
        answer: Answer = "cannot tell" if max(in_use) == 0 else "does not agree"
        who = "Neither model uses a latent" if max(in_use) == 0 else "Only one model uses latents"
        return HalfVerdict("latents", answer, math.nan, nothing, who + ".")
    own, theirs = seen.latents(seen.table), seen.other_latents(seen.other_table)
    # a latent space is known only up to a smooth map: each is compared with one bent by the other
    ways = (canonical_correlations(_bent(own), theirs, seen.rng()),
            canonical_correlations(own, _bent(theirs), seen.rng()))  # fmt: skip
    least = min(len(way) for way in ways)
    found = np.mean([way[:least] for way in ways], axis=0)
    back = int((found >= _DIRECTION).sum())
    answer = "agrees" if 2 * back >= len(found) else "cannot tell"
    if found.max() < _NO_DIRECTION:
        answer = "does not agree"
    each = ", ".join(f"{correlation:.2f}" for correlation in found)
    text = f"{back} of {len(found)} directions come back (canonical correlations {each})."
    return HalfVerdict("latents", answer, float(found.mean()), nothing, text)


def _bent(z: Array) -> Array:
    """Latents (N, L) with their products of two, (N, L (L + 3) / 2)."""
    scaled = (z - z.mean(axis=0)) / np.maximum(z.std(axis=0), 1e-12)
    one, other = np.triu_indices(z.shape[1])
    return np.concatenate([scaled, scaled[:, one] * scaled[:, other]], axis=1)
