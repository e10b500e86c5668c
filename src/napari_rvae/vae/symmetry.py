"""The rotational symmetry of decoded pictures, as a continuous deviation in lengths.

A picture f has an n-fold symmetric neighbour: the mean of its n copies turned by 2 pi / n about
one centre. As in H. Zabrodsky, S. Peleg, D. Avnir, J. Am. Chem. Soc. 114, 7843 (1992), the
deviation is what it takes to get there. The centre is free, because a canonical picture lies a
little off the middle of its grid.

A small displacement u(x) of what a symmetric picture s shows changes it by f - s = -u . grad s, and
where u points anywhere, as the mean over an atom of <(u . grad s)^2> is <|u|^2> <|grad s|^2> / 2,

    rms |u| = sqrt(2 <(f - s)^2> / <|grad s|^2>).

Both means are taken about one place, over about an atom, and the largest deviation of all places
counts: over the whole picture, one wrong atom would drown among many right ones. (The worst place
is a little beside an atom, on the side it moved to, which adds up to a fifth.) An atom that differs
in brightness, or is missing, gets the displacement that would change the picture as much.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import BSpline, make_interp_spline
from scipy.ndimage import gaussian_filter

from napari_rvae.crops.crops import layer_name
from napari_rvae.crops.vectors import vector_pairs
from napari_rvae.device import small_steps
from napari_rvae.errors import InputError
from napari_rvae.vae.estimator import RVAE
from napari_rvae.vae.measures import turn_pictures

__all__ = ["ORDERS", "TURNS", "PictureSymmetry", "decoded_symmetry", "picture_symmetry"]

Array = NDArray[np.float64]

#: Orders that are looked for.
ORDERS = (2, 3, 4, 6)

#: Copies of a picture over a full turn: a multiple of all orders, and enough to call it round.
TURNS = 24

#: The copies that :data:`ORDERS` need.
_NEEDED = sorted({k * TURNS // order for order in ORDERS for k in range(order)})

#: Draws from the posterior of the latents, or resamples of a unit's sites; the interval holds the
#: middle 95 % of them. Of a larger unit so many sites are resampled.
_DRAWS, _LEVELS, _MEMBERS = 100, (0.025, 0.975), 1000

#: The centre lies within this share of the disc's radius from the middle, the rim this far inside.
_CENTRE_LIMIT, _RIM = 0.125, 1.5

#: Places are averaged over so many widths of the picture's structure, and count as having at least
#: this share of the mean gradient: there may be nothing.
_PLACE, _LEAST_GRADIENT = 1.5, 0.5

#: A picture is too faint if one crop with it is nearer to one without it than so many standard
#: deviations of the noise.
_FAINT = 3.0

#: Window in neighbour distances to assume where the model does not know its own.
_USUAL_WINDOW = 3.5


@dataclass(frozen=True)
class PictureSymmetry:
    """How symmetric a picture is.

    Attributes
    ----------
    deviation, low, high
        Deviation for each order and the ends of its 95 % interval, in pixels of the grid.
    order
        Largest order within the tolerance; 1 for none, 0 for a round picture, -1 where the
        interval straddles the tolerance or the picture is too faint.
    """

    deviation: dict[int, float]
    low: dict[int, float]
    high: dict[int, float]
    order: int

    @property
    def verdict(self) -> str:
        """The order in words: "6-fold", "no symmetry", "round", "cannot tell"."""
        words = {-1: "cannot tell", 0: "round", 1: "no symmetry"}
        return words.get(self.order, f"{self.order}-fold")


def decoded_symmetry(
    model: RVAE,
    z: ArrayLike,
    *,
    z_sd: ArrayLike | None = None,
    unit: ArrayLike | None = None,
    pixel_pm: float | None = None,
    tolerance_pm: float = 10.0,
    tolerance_nd: float = 0.07,
) -> pd.DataFrame:
    """Rotational symmetry of decoded pictures.

    The deviation for the order n is the rms displacement between the picture and its nearest
    n-fold symmetric one where it is largest, about a centre that is fitted:
    ``sqrt(2 <(f - s)^2> / <|grad s|^2>)``, both means over about an atom.

    Parameters
    ----------
    model
        A trained model.
    z
        Latents (M, L), or (L,) for one: one picture each, or, with `unit`, those of the sites of
        units.
    z_sd
        Their standard deviations, of the same shape; without, the pictures are taken for exact
        (those of units vary with the sites all the same).
    unit
        Unit of each site (M,), integers; negative ones are left out. A unit's picture is that of
        the median of its sites, and its interval that of resampling them.
    pixel_pm
        Size of a pixel of the grid in pm: that of the frame's times ``crops.window_px /
        crops.pixels``.
    tolerance_pm
        Largest deviation that counts as symmetric, in pm, where `pixel_pm` is known.
    tolerance_nd
        The same in neighbour distances, where it is not. 0.07 is 10 pm in graphene, and it lies
        in the gap: in simulations with 1 % shear (``benchmarks/symmetry.py``), symmetric units
        deviate by at most 0.02 at 40 counts and 0.05 at 8, and others by 0.075 or more.

    Returns
    -------
    DataFrame
        One row per picture: ``deviation_2``, ``deviation_2_low``, ``deviation_2_high`` (95 %
        interval) and so on for the orders 3, 4 and 6, in pixels of the grid, and, with
        `pixel_pm`, ``deviation_2_pm`` and so on; ``order`` and ``verdict``: the largest order
        within the tolerance ("6-fold", ...), 1 for "no symmetry", 0 for "round", -1 for "cannot
        tell" (the interval straddles the tolerance, or the picture is too faint). With `unit`,
        one row per unit, its number first. Latents with NaN give NaN and "cannot tell".

    Raises
    ------
    NotFittedError
        Before the training.
    InputError
        If `z`, `z_sd` and `unit` do not fit each other or the model, or a length is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import RVAE, Crops
    >>> from napari_rvae.vae.symmetry import decoded_symmetry
    >>> images = np.random.default_rng(0).normal(size=(64, 1, 32, 32)).astype(np.float32)
    >>> model = RVAE(epochs=1).fit(Crops(images=images, site_id=np.arange(64)))
    >>> decoded_symmetry(model, np.zeros(4))["verdict"].tolist()  # there is only noise
    ['cannot tell']
    """
    values, spread, label = _checked(z, z_sd, unit)
    tolerance = _tolerance(model, pixel_pm, tolerance_pm, tolerance_nd)
    # in units of the noise of a pixel; of white noise this share lies within the band
    noise = math.pi / 4 * model.config.band_limit**2
    known = np.asarray(np.isfinite(values if spread is None else values + spread).all(1))
    rng = np.random.default_rng(model.config.seed)
    rows, found = [], []
    for number in range(len(values)) if unit is None else np.unique(label[label >= 0]):
        here = np.array([number]) if unit is None else np.flatnonzero(label == number)
        here = here[known[here]]
        rows.append(int(number))
        if not here.size:
            found.append(_UNKNOWN)
            continue
        members = values[here], None if spread is None else spread[here]
        middle, draws = _draws(*members, rng, is_unit=unit is not None)
        found.append(
            picture_symmetry(
                _turned(model, middle[None], range(TURNS))[0],
                draws=_turned(model, draws, _NEEDED),
                noise=noise,
                faint=_FAINT**2,
                n_crops=here.size if unit is not None else math.inf,
                tolerance=tolerance,
            )
        )
    return _table(found, rows if unit is not None else None, pixel_pm)


def picture_symmetry(
    copies: Array,
    *,
    tolerance: float,
    draws: Array | None = None,
    noise: float = 0.0,
    faint: float = 0.0,
    n_crops: float = math.inf,
) -> PictureSymmetry:
    """Rotational symmetry of one picture that is known at many angles.

    Parameters
    ----------
    copies
        The picture (24, C, S, S) turned by 0, 15, 30, ... degrees, counter-clockwise on the
        screen; zero outside the grid's disc. Channels count alike.
    tolerance
        Largest deviation that counts as symmetric, in pixels.
    draws
        Others that it could be (B, 8, C, S, S), turned by the multiples of 60 and 90 degrees.
    noise
        Variance of one pixel of one crop by noise of the pictures' band.
    faint
        Sum of squares of a picture that cannot be told from none.
    n_crops
        The picture is worth so many crops; widens the interval by what their noise leaves.

    Returns
    -------
    PictureSymmetry
        Deviations, interval and order.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.vae.symmetry import picture_symmetry
    >>> line = np.arange(32) - 15.5
    >>> def turned(degrees):  # two atoms, 14 px apart
    ...     y, x = 7 * np.sin(np.radians(degrees)), 7 * np.cos(np.radians(degrees))
    ...     return sum(
    ...         np.exp(-((line[:, None] + s * y) ** 2 + (line - s * x) ** 2) / 8) for s in (1, -1)
    ...     )
    >>> picture_symmetry(
    ...     np.array([[turned(a)] for a in range(0, 360, 15)]), tolerance=0.6
    ... ).verdict
    '2-fold'
    """
    if (copies[0] ** 2).sum() <= faint:
        return _UNKNOWN
    low: dict[int, float] = {}
    high: dict[int, float] = {}
    deviation: dict[int, float] = {}
    drawn = np.zeros((0, len(_NEEDED), *copies.shape[1:])) if draws is None else draws
    for order in ORDERS:
        own = _Comparison.centred(copies[:: TURNS // order])
        step = [_NEEDED.index(k * TURNS // order) for k in range(order)]
        others = _Comparison.about(own.centre, drawn[:, step]).deviation(own.width)[0]
        best, gradient = (float(value[0]) for value in own.deviation(own.width))
        left = 2 * (1 - 1 / order) * noise / n_crops / gradient  # squared, by noise alone
        ends = np.quantile(others, _LEVELS) if len(others) else np.full(2, best)
        deviation[order] = best
        low[order] = math.sqrt(max(min(float(ends[0]), best) ** 2 - left, 0.0))
        high[order] = math.hypot(max(float(ends[1]), best), math.sqrt(left))
    for values in (deviation, low, high):  # what is six-fold is two- and three-fold
        values[4] = max(values[4], values[2])
        values[6] = max(values[6], values[2], values[3])
    first, second = (
        max([order for order in ORDERS if ends[order] <= tolerance], default=1)
        for ends in (low, high)
    )
    order = first if first == second else -1
    if order == 6 and _is_round(copies, tolerance):
        order = 0
    return PictureSymmetry(deviation, low, high, order)


def _is_round(copies: Array, tolerance: float) -> bool:
    comparison = _Comparison.centred(copies)
    return float(comparison.deviation(comparison.width)[0][0]) <= tolerance


_NOTHING = dict.fromkeys(ORDERS, math.nan)
_UNKNOWN = PictureSymmetry(_NOTHING, _NOTHING, _NOTHING, -1)


class _Comparison(NamedTuple):
    """Pictures against the means of their copies turned about one centre.

    `rest` (B, C, S, S) is what remains where a further small shift of the centre, `step` (B, 2),
    is allowed for; `gradient2` (B, S, S) the mean squared gradient of the copies, of all channels.
    """

    centre: Array
    step: Array
    rest: Array
    gradient2: Array
    window: Array
    width: float

    @staticmethod
    def centred(copies: Array) -> _Comparison:
        """Compare a picture (n, C, S, S) about the centre that fits best."""
        centre = np.zeros(2)
        limit = _CENTRE_LIMIT * copies.shape[-1] / 2
        comparison = _Comparison.about(centre, copies[None])
        for _ in range(8):
            step = comparison.step[0]
            moved = centre + step * min(1.0, limit / 3 / max(math.hypot(*step), 1e-9))
            moved = moved * min(1.0, limit / max(math.hypot(*moved), 1e-9))
            change = math.hypot(*(moved - centre))
            centre = moved
            comparison = _Comparison.about(centre, copies[None])
            if change < 1e-3:
                break
        return comparison

    @staticmethod
    def about(centre: Array, copies: Array) -> _Comparison:
        """Compare pictures (B, n, C, S, S), known at n angles, about a centre (y, x) in pixels."""
        n, side = copies.shape[1], copies.shape[-1]
        window = _window(side, centre)
        moves = np.eye(2) - np.stack([_turn(2 * math.pi * k / n) for k in range(n)])
        values, slopes = _move(copies, moves @ centre)
        rest = values[:, 0] - values.mean(1)
        # how the rest changes with the centre (2, B, C, S, S)
        change = np.einsum("kij,ibkcyx->jbcyx", moves, slopes) / n
        weighted = change * window
        normal = np.einsum("ibcyx,jbcyx->bij", weighted, change)
        right = -np.einsum("ibcyx,bcyx->bi", weighted, rest)
        ridge = 1e-6 * np.trace(normal, axis1=1, axis2=2) + 1e-12
        step = np.linalg.solve(normal + ridge[:, None, None] * np.eye(2), right[..., None])[..., 0]
        rest = rest + np.einsum("bi,ibcyx->bcyx", step, change)
        gradient2 = (slopes**2).sum((0, 3)).mean(1)
        return _Comparison(centre, step, rest, gradient2, window, _width(values, slopes, window))

    def deviation(self, width: float) -> tuple[Array, Array]:
        """Largest rms displacement (B,), and the mean squared gradient where it is found."""
        sigma = _PLACE * width
        rest2 = _smooth((self.rest**2).sum(1) * self.window, sigma)
        gradient2 = _smooth(self.gradient2 * self.window, sigma)
        inside = self.window > 0.5
        usual = gradient2[:, inside].mean(1, keepdims=True)
        gradient2 = np.maximum(gradient2[:, inside], _LEAST_GRADIENT * usual)
        gradient2 = np.maximum(gradient2, np.finfo(float).tiny)
        square = 2 * rest2[:, inside] / gradient2
        place = square.argmax(1)[:, None]
        largest = np.take_along_axis(square, place, 1)[:, 0]
        return np.sqrt(largest), np.take_along_axis(gradient2, place, 1)[:, 0]


def _turn(angle: float) -> Array:
    """Matrix that turns offsets (dy, dx), y down, counter-clockwise on the screen."""
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s], [s, c]])


def _window(side: int, centre: Array) -> Array:
    """1 where a picture and all its turned copies are known (S, S), 0 elsewhere, soft between."""
    line = np.arange(side) - (side - 1) / 2
    distance = np.hypot(line[:, None] - centre[0], line - centre[1])
    radius = side / 2 - _RIM - math.hypot(*centre)
    return np.asarray(np.clip(radius + 0.5 - distance, 0, 1))


def _width(values: Array, slopes: Array, window: Array) -> float:
    """Width of what a picture shows: its rms over that of its gradient (an atom's sigma)."""
    if not len(values):
        return 1.0
    first = values[0, 0]
    mean = (first * window).sum((1, 2), keepdims=True) / window.sum()
    size = (((first - mean) ** 2) * window).sum()
    slope = ((slopes[:, 0, 0] ** 2) * window).sum()
    return math.sqrt(size / slope) if slope > 0 else 1.0


def _smooth(values: Array, sigma: float) -> Array:
    return np.asarray(gaussian_filter(values, sigma, mode="constant", axes=(-2, -1)))


@lru_cache(maxsize=8)
def _splines(side: int) -> tuple[BSpline, BSpline]:
    """Interpolate any column (S,) between its pixels; its slope likewise."""
    spline = make_interp_spline(np.arange(side, dtype=float), np.eye(side), k=5)
    return spline, spline.derivative()


def _move(pictures: Array, shift: Array) -> tuple[Array, Array]:
    """Pictures (B, n, C, S, S) moved by shifts (n, 2), and their slopes (2, B, n, C, S, S)."""
    side = pictures.shape[-1]
    at = np.clip(np.arange(side) - shift[:, :, None], 0, side - 1)  # (n, 2, S)
    value, slope = (spline(at) for spline in _splines(side))  # (n, 2, S, S)
    rows, columns = value[:, None, 0], value[:, None, 1].swapaxes(-1, -2)
    along_x = pictures @ columns
    slopes = [
        slope[:, None, 0] @ along_x,
        rows @ (pictures @ slope[:, None, 1].swapaxes(-1, -2)),
    ]
    return rows @ along_x, np.stack(slopes)


def _turned(model: RVAE, z: Array, which: Sequence[int]) -> Array:
    """Decoded pictures (B, len(which), C, S, S) at some of the angles, in units of the noise."""
    angle = np.tile(np.asarray(which) * (2 * math.pi / TURNS), len(z))
    if model.config.decoder == "steerable":
        with small_steps():
            pictures = model.inverse_transform(np.repeat(z, len(which), axis=0), angle=angle)
    else:  # to decode every pixel at every angle would take a hundred times as long
        upright = model.inverse_transform(z)
        stack = np.repeat(upright, len(which), axis=0)
        pictures = turn_pictures(stack, angle, _vectors(model))
    noise = np.maximum(model.noise_sd_, np.finfo(np.float32).tiny)[:, None, None]
    return np.asarray(pictures / noise, float).reshape(len(z), len(which), *pictures.shape[1:])


def _vectors(model: RVAE) -> tuple[tuple[int, int], ...]:
    """Layers of a model that are the components of vectors."""
    return vector_pairs([layer_name(c, lag) for lag in model.lags_ for c in model.channels_])


def _draws(
    values: Array, spread: Array | None, rng: np.random.Generator, *, is_unit: bool
) -> tuple[Array, Array]:
    """Latents (L,) of the picture, and others that it could have (B, L)."""
    if not is_unit:
        count = 0 if spread is None else _DRAWS
        drawn = rng.normal(values, 0.0 if spread is None else spread, (count, values.shape[1]))
        return values[0], drawn
    count = min(len(values), _MEMBERS)
    chosen = rng.integers(0, len(values), (_DRAWS, count))
    drawn = values[chosen]
    if spread is not None:
        drawn = rng.normal(drawn, spread[chosen])
    return np.median(values, axis=0), np.median(drawn, axis=1)


def _checked(
    z: ArrayLike, z_sd: ArrayLike | None, unit: ArrayLike | None
) -> tuple[Array, Array | None, NDArray[np.int64]]:
    values = np.atleast_2d(np.asarray(z, float))
    spread = None if z_sd is None else np.atleast_2d(np.asarray(z_sd, float))
    label = np.zeros(len(values), np.int64) if unit is None else np.asarray(unit, np.int64)
    if spread is not None and spread.shape != values.shape:
        raise InputError(f"z_sd has the shape {spread.shape}, z {values.shape}: give equal ones.")
    if spread is not None and (spread < 0).any():
        raise InputError("z_sd holds negative numbers: give standard deviations.")
    if label.shape != (len(values),):
        raise InputError(f"There are {label.size} units for {len(values)} sites: give one each.")
    return values, spread, label


def _tolerance(model: RVAE, pixel_pm: float | None, pm: float, nd: float) -> float:
    """Largest deviation that counts as symmetric, in pixels of the grid."""
    lengths = {"pixel_pm": pixel_pm, "tolerance_pm": pm, "tolerance_nd": nd}
    for name, length in lengths.items():
        if length is not None and not 0 < length < math.inf:
            raise InputError(f"{name} = {length}: give a positive length.")
    if pixel_pm is not None:
        return pm / pixel_pm
    config = model.crop_config
    return nd * config.pixels / (config.window_nd if config.window is None else _USUAL_WINDOW)


def _table(
    found: list[PictureSymmetry], units: list[int] | None, pixel_pm: float | None
) -> pd.DataFrame:
    columns: dict[str, list[int] | list[float] | list[str] | NDArray[np.float64]] = {}
    if units is not None:
        columns["unit"] = units
    for unit, size in (("", 1.0), ("_pm", pixel_pm)):
        if size is None:
            continue
        for order in ORDERS:
            for end, values in (("", "deviation"), ("_low", "low"), ("_high", "high")):
                numbers = [getattr(one, values)[order] * size for one in found]
                columns[f"deviation_{order}{end}{unit}"] = np.array(numbers, float)
    columns["order"] = np.array([one.order for one in found], np.int64)
    columns["verdict"] = [one.verdict for one in found]
    return pd.DataFrame(columns).astype({"verdict": "str"})
