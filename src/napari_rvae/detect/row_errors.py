"""Errors of a scan's rows, shifts along x and offsets, told together with the atoms they move."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, special

from napari_rvae.detect.fit import AtomFit
from napari_rvae.device import bands, do_side_by_side, side_by_side
from napari_rvae.preprocess.noise import pixel_weights

__all__ = ["RowErrors", "measure_rows", "trusted"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Errors of rows (and tails of atoms) count from the first number of standard errors above zero
#: on, and in full from the second on: a yes or no would be chance between them, and atoms would
#: jump with it.
_DOUBTFUL, _SURE = 4.0, 6.0

#: Rows are shifted by no more than the first share of sigma, and offset by no more than the first
#: multiple of what was taken off them already: what seems to be more counts less, and what is
#: beyond the second number is something else.
_MOST_SHIFT, _NO_SHIFT = 0.3, 0.4
_MOST_OFFSET, _NO_OFFSET = 2.0, 3.0

#: Rows whose square error is this many times the usual one say no more than that; median of the
#: square of a normal variable, and its mean below that limit.
_FAR = 9.0
_MEDIAN = 2 * special.gammaincinv(0.5, 0.5)
_WITHOUT_FAR = special.gammainc(1.5, _FAR / 2) / special.gammainc(0.5, _FAR / 2)

#: An atom is seen up to this many sigma; so many are looked at in one go, and so many say what is
#: left to an atom.
_RADIUS, _GO, _SOME = 2.5, 512, 200

#: What is hidden but for this share of it is not told: the rest is what atoms are no Gaussians for.
_MISFIT = 0.05

#: There must be so many sigma of rows that tell anything.
_LEAST_ROWS = 8.0

#: What is this near to an edge, in sigma, tells nothing: it shows atoms that lie outside and were
#: not fitted.
_RIM = 3.0


class RowErrors(NamedTuple):
    """What the rows of a frame have of their own.

    Parameters
    ----------
    shift
        Shift (Y,) of each row along x in pixels, as far as it is told.
    offset
        Offset (Y,) of each row that is to be taken off beside what was already.
    x_sd
        Standard deviation along x, in pixels, that what is left of the shifts gives an atom.
    y_sd
        The same along y by what is left of the offsets, times the atom's height.
    trust
        How sure the surer of shifts and offsets is, from 0 to 1: both are smaller already as far as
        they are not sure.
    """

    shift: Floats
    offset: Floats
    x_sd: float
    y_sd: float
    trust: float


def trusted(value: float, error: float) -> float:
    """How far a value above zero is believed, from 0 to 1, by how many errors it is."""
    if not value > 0:
        return 0.0
    return min(max((value / max(error, 1e-300) - _DOUBTFUL) / (_SURE - _DOUBTFUL), 0.0), 1.0)


class _Scene(NamedTuple):
    """What rows are looked at in: pictures (Y, X), atoms and their shape."""

    image: Floats  # NaN where nothing is known
    variance: Floats
    rest: Floats  # what the atoms leave
    atoms: Floats  # all of them, drawn
    fit: AtomFit
    sigma: float
    form: Floats

    @property
    def half(self) -> int:
        """Rows from an atom's own to the last of its window."""
        return math.ceil(_RADIUS * self.sigma)

    @property
    def inner(self) -> tuple[slice, slice]:
        """Rows and columns that show no atoms from outside."""
        rims = [min(math.ceil(_RIM * self.sigma), count // 4) for count in self.image.shape]
        rows, columns = (slice(r, n - r) for r, n in zip(rims, self.image.shape, strict=True))
        return rows, columns


class _Views(NamedTuple):
    """What some atoms tell of the rows of their windows, of P rows each.

    A fitted height and a fitted place along y follow the offsets of rows, so that these are hidden
    along two unit vectors; the pull is what of the rest is along them.
    """

    first: Ints  # (n,): row of the frame that is the window's first; below 0 beyond the edge
    away: Floats  # (n, P): distance from the atom
    sureness: Floats  # (n, P): precision of the rows' shifts, were the atom known
    product: Floats  # (n, P): slopes along x times the rest, weighted
    hidden: Floats  # (2, n, P)
    pull: Floats  # (2, n)
    answer: Floats  # (n, P): how far the fitted place along y follows offsets, times the height


class _System(NamedTuple):
    """Normal equations of the rows' errors, the atoms being eliminated."""

    band: Floats  # (P, Y): diagonal of the symmetric matrix, and what is below it
    right: Floats  # (Y,)
    known: Floats  # (Y,): the diagonal, were the atoms known

    def softer(self, factor: float) -> _System:
        """Return the same for a variance of the noise that is larger by a factor."""
        return _System(self.band / factor, self.right / factor, self.known / factor)


class _Slant(NamedTuple):
    """How far rows would seem shifted if the images of all atoms were slanted, like italics."""

    rows: Floats  # (Y,): side of the normal equations that it shares with the rows
    sureness: float
    product: float

    def softer(self, factor: float) -> _Slant:
        """Return the same for a variance of the noise that is larger by a factor."""
        return _Slant(self.rows / factor, self.sureness / factor, self.product / factor)


class _Told(NamedTuple):
    """Errors (Y,) of the rows, as far as they are told; the variance of all, how sure that is."""

    error: Floats
    variance: float
    trust: float


def measure_rows(
    image: Floats,
    variance: Floats,
    rest: Floats,
    atoms: Floats,
    fit: AtomFit,
    sigma: float,
    *,
    form: Floats | None = None,
    taken: Floats | None = None,
    inflation: float = 1.0,
) -> RowErrors:
    """Tell the shifts and offsets of rows from what fitted atoms leave of a frame.

    Every row shows many atoms, so it tells more of its own error than each of them: the residual of
    a shifted row looks like the slope of the atoms along x, that of an offset one is even. But an
    atom's fitted place has followed the rows that it lies in, and its residuals show only what it
    could not follow: nothing, of an error that is alike over its height. So rows and atoms are one
    system of least squares. The atoms are eliminated (Schur complement), each by itself; what is
    left is a banded matrix S over the rows, and a right side b with the covariance S + S V S if
    true errors have the variance V. That is told by the mean square of b, and each error as far as
    both say (Wiener): the solution of (S + 1/V) r = b.

    Parameters
    ----------
    image
        One frame (Y, X); NaN pixels tell nothing.
    variance
        Noise variance of each pixel (Y, X).
    rest
        What the atoms leave of it, but for what is smooth (Y, X), without NaN.
    atoms
        The atoms (Y, X), drawn.
    fit
        The fitted atoms, and `sigma` and `form` with which they were fitted.
    sigma
        Their width in pixels.
    form
        Quadratic form (2, 2) of ellipses.
    taken
        Offsets (Y,) that have been taken off the rows already, as far as they were known. Left
        out, or where it is zero, no offsets are looked for.
    inflation
        How many times larger the noise is over an atom than `variance` says, because it is
        correlated or the atoms are no Gaussians.

    Returns
    -------
    RowErrors
        Zero where nothing is sure.
    """
    none = np.zeros(len(image))
    if not fit.y.size:
        return RowErrors(none, none, 0.0, 0.0, 0.0)
    shape = np.eye(2) if form is None else form
    scene = _Scene(image, variance, rest, atoms, fit, sigma, shape)
    shifts, offsets, slant = _systems(scene, inflation**2)
    views = _views(scene, _some(scene))
    told = _shifts(shifts, slant, sigma)
    share = views.sureness / np.maximum(views.sureness.sum(1), 1e-300)[:, None]
    x_sd = _left(shifts, told, views.first, share)
    result = RowErrors(told.error, none, x_sd, 0.0, told.trust)
    if taken is None or not taken.any():
        return result
    usual = float(taken.std())
    told = _errors(offsets, sigma, (_MOST_OFFSET * usual, _NO_OFFSET * usual), taken)
    return result._replace(
        offset=told.trust * told.error,
        y_sd=_left(offsets, told, views.first, views.answer),
        trust=max(result.trust, told.trust),
    )


def _some(scene: _Scene) -> Ints:
    """Numbers of some atoms that are seen whole, if there are any."""
    inside = np.ones(scene.fit.y.size, bool)
    for place, inner in zip((scene.fit.y, scene.fit.x), scene.inner, strict=True):
        inside &= (place >= inner.start + scene.half) & (place < inner.stop - scene.half)
    whole: Ints = np.flatnonzero(inside & (scene.fit.amplitude > 0))
    return np.asarray(whole[np.linspace(0, whole.size - 1, min(_SOME, whole.size)).astype(int)])


def _systems(scene: _Scene, factor: float) -> tuple[_System, _System, _Slant]:
    """Normal equations of the rows' shifts, of their offsets, and of a slant of all atoms.

    The noise has a variance that is larger by a factor than said.
    """
    rows, (inner, columns) = len(scene.image), scene.inner
    sloped, known, even = np.zeros(rows), np.zeros(rows), np.zeros(rows)

    def look(part: slice) -> None:
        part = slice(max(part.start, inner.start), min(part.stop, inner.stop))
        here = part, columns
        weight = pixel_weights(scene.image[here], scene.variance[here])
        sloped[part] = (weight * np.gradient(scene.atoms[here], axis=1) ** 2).sum(1)
        known[part], even[part] = weight.sum(1), (weight * scene.rest[here]).sum(1)

    do_side_by_side(look, bands(rows))
    order = np.argsort(scene.fit.y, kind="stable")
    parts = bands(order.size, _GO)
    totals: list[Floats] = []
    for sums in side_by_side(lambda p: _sums(scene, order[p]), parts, most=len(parts)):
        totals = [a + b for a, b in zip(totals, sums, strict=True)] if totals else list(sums)
    band, own, right, hidden, pulled, slanted, slant = totals
    # atoms beside each other share slopes, which tell less than those of each by itself
    less = min(1.0, float(sloped.sum()) / max(float(own.sum()), 1e-300))
    return (
        _System(less * _below(own, band), right, sloped).softer(factor),
        _System(_below(known, hidden), even - pulled, known).softer(factor),
        _Slant(slanted, float(slant[0]), float(slant[1])).softer(factor),
    )


def _below(diagonal: Floats, band: Floats) -> Floats:
    """A diagonal (Y,) less a matrix of which the diagonals (P, Y) are given."""
    result = -band
    result[0] += diagonal
    return result


def _sums(scene: _Scene, some: Ints) -> tuple[Floats, ...]:
    """What some atoms add to the sums over all of them."""
    views, rows = _views(scene, some), len(scene.image)

    def over_rows(values: Floats) -> Floats:
        """Sums (Y,) of what belongs to rows (n, Q) of the windows."""
        index = views.first[:, None] + np.arange(values.shape[1]) + scene.half
        sums = np.bincount(index.ravel(), values.ravel(), minlength=rows + 2 * scene.half)
        return np.asarray(sums[scene.half : scene.half + rows])

    def bands_of(vectors: Floats) -> Floats:
        """Diagonal and what is below it (P, Y) of the sum of the vectors' outer products."""
        count = vectors.shape[1]
        return np.stack([over_rows(vectors[:, : count - k] * vectors[:, k:]) for k in range(count)])

    total = np.maximum(views.sureness.sum(1), 1e-300)[:, None]
    share = views.sureness / total
    away = views.away - (share * views.away).sum(1, keepdims=True)
    return (
        bands_of(views.sureness / np.sqrt(total)),
        over_rows(views.sureness),
        over_rows(views.product - share * views.product.sum(1, keepdims=True)),
        bands_of(views.hidden[0]) + bands_of(views.hidden[1]),
        over_rows((views.hidden * views.pull[:, :, None]).sum(0)),
        over_rows(views.sureness * away),
        np.array([(views.sureness * away**2).sum(), (views.product * away).sum()]),
    )


def _views(scene: _Scene, some: Ints) -> _Views:
    """Look at some atoms."""
    shape, step = scene.image.shape, np.arange(-scene.half, scene.half + 1)
    y, x, height = (part[some] for part in (scene.fit.y, scene.fit.x, scene.fit.amplitude))
    middle = (
        np.clip(np.rint(part), 0, n - 1).astype(int) for part, n in zip((y, x), shape, strict=True)
    )
    lines, places = (part[:, None] + step for part in middle)
    inside = [
        (part >= inner.start) & (part < inner.stop)
        for part, inner in zip((lines, places), scene.inner, strict=True)
    ]
    pixel = np.clip(lines, 0, shape[0] - 1)[:, :, None] * shape[1]
    pixel = pixel + np.clip(places, 0, shape[1] - 1)[:, None, :]
    dy, dx = (lines - y[:, None])[:, :, None], (places - x[:, None])[:, None, :]
    (yy, yx), (_, xx) = scene.form
    square = (yy * dy**2 + 2 * yx * dy * dx + xx * dx**2) / scene.sigma**2
    seen = inside[0][:, :, None] & inside[1][:, None, :] & (square <= _RADIUS**2)
    image, variance, rest, atoms = (
        part.take(pixel) for part in (scene.image, scene.variance, scene.rest, scene.atoms)
    )
    weight = seen * pixel_weights(image, variance)
    unit = np.exp(-0.5 * square)
    model = height[:, None, None] * unit
    slope_y, slope_x = (
        model / scene.sigma**2 * part for part in (yy * dy + yx * dx, xx * dx + yx * dy)
    )
    weighted = weight * slope_x
    # of a pixel that several atoms light up, each tells its share
    weight *= np.clip(model / np.maximum(atoms, 1e-300), 0.0, 1.0)
    hidden, pull, answer = _hidden(weight, unit, slope_y, rest)
    return _Views(
        lines[:, 0],
        dy[:, :, 0],
        (weighted * slope_x).sum(2),
        (weighted * rest).sum(2),
        hidden,
        pull,
        height[:, None] * answer,
    )


def _hidden(
    weight: Floats, unit: Floats, slope: Floats, rest: Floats
) -> tuple[Floats, Floats, Floats]:
    """What heights and places along y hide of offsets: see :class:`_Views`; (n, P, P) each."""
    tall = np.maximum((weight * unit**2).sum((1, 2)), 1e-300)
    mixed = (weight * unit * slope).sum((1, 2)) / tall
    slope = slope - mixed[:, None, None] * unit  # what of it is not height
    steep = np.maximum((weight * slope**2).sum((1, 2)), 1e-300)
    parts = [(weight * unit, tall), (weight * slope, steep)]
    hidden = np.stack([part.sum(2) / np.sqrt(size)[:, None] for part, size in parts])
    pull = np.stack([(part * rest).sum((1, 2)) / np.sqrt(size) for part, size in parts])
    return hidden, pull, hidden[1] / np.sqrt(steep)[:, None]


def _shifts(system: _System, slant: _Slant, sigma: float) -> _Told:
    """Shifts of the rows, a slant of all atoms being free as well.

    Where a lattice has its rows along the scan, the two look alike.
    """
    limits = _MOST_SHIFT * sigma, _NO_SHIFT * sigma
    if not slant.sureness > 0:
        return _errors(system, sigma, limits)
    turn = slant.product / slant.sureness
    told = _errors(system._replace(right=system.right - turn * slant.rows), sigma, limits)
    if not told.variance:
        return told
    both = np.stack([system.right, slant.rows], axis=1)
    first, second = slant.rows @ _solved(system, told.variance, both)
    turn = (slant.product - first) / (slant.sureness - second)
    return _errors(system._replace(right=system.right - turn * slant.rows), sigma, limits)


def _errors(
    system: _System, sigma: float, limits: tuple[float, float], taken: Floats | float = 0.0
) -> _Told:
    """Solve for the rows' errors, whose variance is told by the right side's mean square.

    If they are usually as large as the second limit they are none; from the first one on, they
    count less. The answer is what they have beside what was taken off them before (Y,).
    """
    band, known = system.band, system.known
    taken = taken + np.zeros(known.size)
    whole = system.right + _product(band, taken)
    none = _Told(np.zeros(known.size), 0.0, 0.0)
    told = (known > 1e-3 * known.max()) & (band[0] > 1e-6 * known)
    if told.sum() < _LEAST_ROWS * sigma:
        return none
    near = np.abs(whole) < _most(whole, band[0], told)
    # by precision, so that rows with hardly an atom do not count
    share = np.divide(1, known, out=np.zeros(known.size), where=told & near)
    gain = float((share * _square(band)).sum())
    if not gain > 0:
        return none
    noise, chance = float((share * band[0]).sum()), float(_square(band, share) @ share)
    square = float((share * whole**2).sum()) / float(_WITHOUT_FAR)
    variance = (square - noise) / gain
    trust = trusted(variance, math.sqrt(2 * chance) / gain)
    if trust:
        beyond = (math.sqrt(variance) - limits[0]) / (limits[1] - limits[0])
        trust *= 1 - min(max(beyond, 0.0), 1.0)
    if not trust:
        return none
    variance *= trust
    most = _most(system.right, band[0], told)
    right = np.where(told, np.clip(system.right, -most, most) - taken / variance, 0.0)
    return _Told(_solved(system, variance, right), variance, trust)


def _most(right: Floats, diagonal: Floats, told: NDArray[np.bool_]) -> Floats:
    """How large (Y,) right sides are at most, by those of most rows.

    What is far beyond is no error of a row, but half an atom at an edge, or dirt.
    """
    sd = np.sqrt(np.maximum(diagonal, 0.0))
    usual = float(np.median((right[told] / sd[told]) ** 2)) / _MEDIAN
    return np.asarray(math.sqrt(_FAR * usual) * sd)


def _solved(system: _System, variance: float, right: Floats) -> Floats:
    """Errors (Y, ...) with a variance that is known before."""
    band = system.band.copy()
    band[0] += 1 / variance + _MISFIT * system.known
    return np.asarray(linalg.solveh_banded(band, right, lower=True))


def _square(band: Floats, share: Floats | None = None) -> Floats:
    """Sums (Y,) over the squares in each row of a symmetric matrix, by shares (Y,) if given."""
    share = np.ones(band.shape[1]) if share is None else share
    return _product(band**2, share)


def _product(band: Floats, vector: Floats) -> Floats:
    """Symmetric matrix by a vector (Y,); its diagonal and what is below it (P, Y) are given."""
    result = band[0] * vector
    for number, line in enumerate(band[1:], start=1):
        if number < vector.size:
            result[number:] += line[:-number] * vector[:-number]
            result[:-number] += line[:-number] * vector[number:]
    return np.asarray(result)


def _left(system: _System, told: _Told, first: Ints, answers: Floats) -> float:
    """Usual error of atoms that follow the rows by so much (n, P), by what is left of these."""
    if not told.variance or not answers.size:
        return 0.0
    rows, (count, height) = system.known.size, answers.shape
    follows = np.zeros((rows + 2 * height, count))
    line = first + height + np.arange(height)[:, None]
    follows[line, np.arange(count)] = answers.T
    follows = follows[height : height + rows]
    solved = _solved(system, told.variance, follows)
    # and a share of the errors was taken for misfit
    untold = _MISFIT * system.known
    share = untold * (1 + untold * float(np.mean(told.error**2)))
    left = (follows * solved).sum(0) + share @ solved**2
    return math.sqrt(max(float(left.mean()), 0.0))
