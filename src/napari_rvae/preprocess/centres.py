"""The two domains of a scan in the complex plane of amplitude and phase."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from napari_rvae.curves import curve_points, field_at, zero_curves

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Complex = NDArray[np.complex128]

__all__ = ["Centres", "smoothed", "two_centres"]

#: Bins of the histogram of the phase, and the width that smooths it, in bins.
_BINS, _WIDTH = 72, 2.0
#: Pixels within this of a peak of the phase belong to it; peaks of two domains are no nearer to
#: each other than that, in degrees.
_NEAR, _APART = 60.0, 90.0
#: The peak of a second domain holds this share of the amplitude at least ...
_SHARE = 0.002
#: ... and its response is at least so strong beside the other's. A weaker one would ask for a
#: background above half of a domain's amplitude, and cannot be told from one domain whose
#: response is weak in places.
_RATIO = 1 / 3
#: The response is compared at pairs of mirrored pixels so many px from the wall between them: most
#: of a small domain is wall, and domains far from any wall may respond otherwise.
_FROM, _TO = 3.0, 12.0
#: Fewer pairs tell nothing. Where fewer than so many are left all domains are small, and pairs from
#: this distance on are taken, too: they mirror each other as well, but a misplaced wall misleads
#: them more, and it takes more rounds.
_PAIRS, _ENOUGH, _NEARER = 30, 300, 1.0
#: The second pixel of a pair lies as far from any wall as the first, to this share.
_AS_FAR = 0.9
#: A background of more than this share of a domain's amplitude is none: the domains respond
#: unequally.
_MOST = 0.5
#: Islands of fewer pixels are noise.
_ISLAND = 30
#: Rounds end where the background moves by less than this share of a domain's amplitude.
_ROUNDS, _STRICT_ROUNDS, _STEADY = 4, 12, 0.003


class Centres(NamedTuple):
    """Where the domains of a scan lie in the complex plane."""

    first: complex  # of the larger domain, beside walls
    second: complex  # of the other; NaN where there is one domain only
    middle: complex  # the background; 0 where it is not known
    share: float  # of the pixels in the second, from 0 to 0.5

    @property
    def domains(self) -> int:
        """Number of domains that can be told: 2, 1, or 0 in an empty scan."""
        return int(np.isfinite(self.first)) + int(np.isfinite(self.second))


def smoothed(signal: Complex, sigma: float) -> Complex:
    """Complex picture (Y, X), smoothed by a Gaussian of so many pixels."""
    return np.asarray(
        ndimage.gaussian_filter(signal.real, sigma, mode="nearest")
        + 1j * ndimage.gaussian_filter(signal.imag, sigma, mode="nearest")
    )


def two_centres(signal: Complex) -> Centres:
    """Find the centres of the two domains of a scan.

    The phase, weighted by the amplitude, has one peak for each domain. They are taken for two
    domains if they are 90 degrees or more apart, the second holds 0.2 % of the amplitude, and its
    response is at least a third as strong as the first's. Centres and background are then medians
    over pairs of pixels that mirror each other at a wall, 3 to 12 px from it (1 to 12 px where all
    domains are small). Where the midpoint lies farther from zero than half of a domain's amplitude,
    the domains respond unequally, and there is no background to be told.

    Parameters
    ----------
    signal
        Amplitude times exp(i phase), (Y, X), smoothed or with little noise; NaN is left out.

    Returns
    -------
    Centres
        In the units of the signal.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.preprocess.centres import two_centres
    >>> signal = 0.3 + np.repeat([1.0 + 0j, -1.0], [40, 20]) * np.ones((32, 1))
    >>> found = two_centres(signal)
    >>> found.domains, complex(np.round(found.middle, 3))
    (2, (0.3+0j))
    """
    known = np.isfinite(signal)
    values = signal[known]
    if not values.size or not np.any(values):
        return Centres(0j, complex(np.nan), 0j, 0.0)
    phase, weight = np.degrees(np.angle(values)), np.abs(values)
    edges = np.linspace(-180, 180, _BINS + 1)
    counts = np.histogram(phase, edges, weights=weight)[0] / weight.sum()
    smooth = ndimage.gaussian_filter1d(counts, _WIDTH, mode="wrap")
    middles = (edges[1:] + edges[:-1]) / 2
    top = float(middles[smooth.argmax()])
    main = np.abs(_turned(phase - top)) < _NEAR
    one = Centres(_median(values[main]), complex(np.nan), 0j, 0.0)
    other = _second_peak(smooth, middles, top)
    if other is None:
        return one
    near = np.abs(_turned(phase - other)) < _NEAR
    weak = weight[near].mean() < _RATIO * weight[main].mean()
    if weak or weight[near].sum() < _SHARE * weight.sum():
        return one
    return _beside_walls(signal, one.first, _median(values[near])) or one


def _turned(degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    """Angles within half a turn of zero."""
    return (degrees + 180) % 360 - 180


def _second_peak(
    smooth: NDArray[np.float64], middles: NDArray[np.float64], top: float
) -> float | None:
    """The highest local maximum of the phase that is far enough from the first."""
    peak = (smooth >= np.roll(smooth, 1)) & (smooth > np.roll(smooth, -1))
    peak &= np.abs(_turned(middles - top)) >= _APART
    if not peak.any():
        return None
    return float(middles[np.where(peak, smooth, -1.0).argmax()])


def _median(values: Complex) -> complex:
    return complex(np.median(values.real), np.median(values.imag))


def _beside_walls(signal: Complex, first: complex, second: complex) -> Centres | None:
    """Centres and background beside the walls; None where no walls are."""
    # the walls begin where the response about zero changes its sign
    start = Centres(first, second, 0j, 0.0)
    found = _in_rounds(signal, start, _ROUNDS, strict=False)
    if found is not None and found.middle != 0:
        # only a background that is believed is refined: walls of an uneven scan wind
        better = _in_rounds(signal, found, _STRICT_ROUNDS, strict=True)
        found = better if better is not None and better.middle != 0 else found
    if found is None or found.share <= 0.5:
        return found
    return Centres(found.second, found.first, found.middle, 1 - found.share)


def _in_rounds(signal: Complex, start: Centres, rounds: int, *, strict: bool) -> Centres | None:
    """Centres and background by the pairs beside walls, which these move in their turn."""
    middle, axis = start.middle, start.first - start.second
    axis, known, found = axis / abs(axis), np.isfinite(signal), None
    for _ in range(rounds):
        along = ((signal - middle) / axis).real
        plus = _without_islands(known & (along > 0), known)
        near, far = _mirrored(signal, np.where(plus, np.abs(along), -np.abs(along)), strict=strict)
        if len(near) < _PAIRS:
            break
        before, middle, half = middle, _median((near + far) / 2), _median((near - far) / 2)
        believed = abs(middle) <= _MOST * abs(half)
        share = float(1 - plus[known].mean())
        found = Centres(middle + half, middle - half, middle if believed else 0j, share)
        if not believed or half == 0 or abs(middle - before) < _STEADY * abs(half):
            break
        axis = half / abs(half)
    return found


def _without_islands(plus: NDArray[np.bool_], known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The domains (Y, X) without spots of either sign that are too small."""
    kept = plus.copy()
    for side, value in ((plus, False), (known & ~plus, True)):
        label, count = ndimage.label(side)
        size = np.bincount(label.ravel(), minlength=count + 1)
        size[0] = _ISLAND
        kept[size[label] < _ISLAND] = value
    return kept & known


def _mirrored(
    signal: Complex, along: NDArray[np.float64], *, strict: bool
) -> tuple[Complex, Complex]:
    """Values (P,) in + domains and at the places that mirror them at the nearest wall.

    Parameters
    ----------
    signal
        The scan (Y, X), complex.
    along
        Its response (Y, X), 0 at the walls.
    strict
        Whether either place of a pair is as far from every wall as the other.
    """
    curves = [curve_points(curve, 0.5) for curve in zero_curves(along)]
    if not curves:
        return np.empty(0, complex), np.empty(0, complex)
    wall = np.concatenate(curves)
    here = np.argwhere(along > 0)
    tree = cKDTree(wall)
    distance, nearest = (np.asarray(p) for p in tree.query(here, distance_upper_bound=_TO))
    use = np.isfinite(distance) & (distance > _NEARER)
    here, distance = here[use], distance[use]
    there = 2 * wall[nearest[use]] - here
    use = ((there >= 0) & (there <= np.array(signal.shape) - 1)).all(axis=1)
    use[use] = field_at(along, there[use]) < 0
    if strict:  # beyond the middle of a small domain another piece of its wall is nearer
        use[use] = np.asarray(tree.query(there[use])[0]) > _AS_FAR * distance[use]
    if not strict or (use & (distance > _FROM)).sum() >= _ENOUGH:
        use &= distance > _FROM
    here, there = here[use], there[use]
    far = field_at(signal.real, there) + 1j * field_at(signal.imag, there)
    return signal[tuple(here.T)], far
