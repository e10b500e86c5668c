"""Ask which candidates the lattice around them expects.

In every part of a frame the displacements between likely atoms are counted. Those that most atoms
share are lattice translations; a candidate's support is the share of them that lead to a likely
atom. An interstitial position or the middle of a ring has atoms about it, but not at lattice
translations.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from napari_rvae.device import side_by_side, thread_count

__all__ = ["LatticeView", "lattice_view"]

#: Neighbours looked at, in neighbour distances: two or three lattice translations.
_REACH = 3.2

#: Side of the parts of a frame, in neighbour distances.
_TILE = 16.0

#: Tolerance of a displacement, in neighbour distances.
_TOLERANCE = 0.16

#: An atom this near to the end of a translation stands there, in neighbour distances.
_HIT = 0.2

#: Where so many ends of translations would be near an atom by chance, no lattice can be seen.
_BY_CHANCE = 0.3

#: A displacement is a translation when at least this share of the likely atoms has it.
_PREVALENCE = 0.3

#: A part of a frame with fewer likely atoms says nothing of a lattice.
_MIN_ATOMS = 12


def _translations(points: NDArray[np.float64], spacing: float) -> NDArray[np.float64]:
    """Displacements (K, 2) that at least `_PREVALENCE` of the points share."""
    tree = cKDTree(points)
    pairs = tree.query_pairs(_REACH * spacing, output_type="ndarray")
    if len(pairs) == 0:
        return np.zeros((0, 2))
    steps = points[pairs[:, 1]] - points[pairs[:, 0]]
    steps = np.concatenate([steps, -steps])
    cell = _TOLERANCE * spacing / 2
    half = int(np.ceil(_REACH * spacing / cell)) + 2
    size = 2 * half + 1
    row, column = np.rint(steps / cell).astype(int).T + half
    counts = np.bincount(row * size + column, minlength=size**2).reshape(size, size).astype(float)
    # how many displacements lie within the tolerance of each cell
    near = ndimage.uniform_filter(counts, 5) * 25
    # of a point's possible partners, those beyond the edge of the part are not seen
    span = np.ptp(points, axis=0) + spacing
    grid = np.arange(-half, half + 1) * cell
    seen = np.clip(1 - np.abs(grid[:, None]) / span[0], 0.2, 1) * np.clip(
        1 - np.abs(grid[None]) / span[1], 0.2, 1
    )
    share = near / (len(points) * seen)
    share[np.hypot(grid[:, None], grid[None]) < 0.4 * spacing] = 0  # a pair cut in two
    # a step between unlike sites is made by fewer of them than a translation
    enough = max(_PREVALENCE, 0.6 * float(share.max()))
    top = (near == ndimage.maximum_filter(near, 7)) & (share >= enough)
    row, column = np.nonzero(top)
    found = np.stack([grid[row], grid[column]], 1)
    return _merge_plateaus(found, _TOLERANCE * spacing)


def _merge_plateaus(steps: NDArray[np.float64], tolerance: float) -> NDArray[np.float64]:
    """One vector for each group of equal maxima; the null vector dropped."""
    steps = steps[np.hypot(*steps.T) > 2 * tolerance]
    near = cdist(steps, steps) <= 1.5 * tolerance
    keep = np.ones(len(steps), bool)
    for k in range(len(steps)):
        keep[k] = not (near[k, :k] & keep[:k]).any()
    return steps[keep]


class LatticeView(NamedTuple):
    """What the lattice says of each point; NaN where there is none. Arrays of shape (N,)."""

    support: NDArray[np.float64]
    amplitude: NDArray[np.float64]


def lattice_view(
    points: NDArray[np.float64],
    amplitude: NDArray[np.float64],
    likely: NDArray[np.bool_],
    spacing: float,
    shape: tuple[int, ...],
    *,
    before: tuple[NDArray[np.bool_], LatticeView] | None = None,
) -> LatticeView:
    """Look from each point along the local lattice translations.

    Parameters
    ----------
    points
        Positions (N, 2) of the candidates as (y, x) in pixels.
    amplitude
        Their heights (N,).
    likely
        Which of them are likely atoms (N,): they make the translations and stand at their ends.
    spacing
        Nearest-neighbour distance in pixels.
    shape
        Rows and columns of the frame; translations that leave it are not asked for.
    before
        Which points were likely (N,) at an earlier look, and its answer, which stays where they
        are the same.

    Returns
    -------
    LatticeView
        ``support``: share of the translations that lead to a likely atom, from 0 to 1, where 1
        is what the upper quarter of the likely atoms about it have; ``amplitude``: lower
        quartile of the heights of the atoms that they lead to.
    """
    view = LatticeView(np.full(len(points), np.nan), np.full(len(points), np.nan))
    atoms = points[likely]
    if len(atoms) < _MIN_ATOMS or not np.isfinite(spacing):
        return view
    if len(atoms) * np.pi * (_HIT * spacing) ** 2 > _BY_CHANCE * np.prod(shape):
        return view
    looker = _Looker(atoms, amplitude[likely], spacing, shape)
    counts = [max(1, round(n / (_TILE * spacing))) for n in shape]
    size = np.array([shape[i] / counts[i] for i in (0, 1)])
    tile = np.clip((points / size).astype(int), 0, np.array(counts) - 1)
    members = _groups(tile[:, 0] * counts[1] + tile[:, 1], counts[0] * counts[1])
    other = cKDTree((points if before is None else points[likely != before[0]]) / size)
    tree = cKDTree(atoms / size)
    # what atoms of a part can see, and more; as wide as high in parts of a frame
    reach = float(max(0.75, (0.5 + (_REACH + 1) * spacing / size).max()))

    def look(number: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Support and height for the points of one part."""
        here = members[number]
        nothing = np.full(here.size, np.nan)
        middle = np.array(divmod(number, counts[1])) + 0.5
        if before is not None and not other.query_ball_point(middle, reach, np.inf):
            return before[1].support[here], before[1].amplitude[here]
        local = atoms[np.sort(tree.query_ball_point(middle, 0.75, np.inf)).astype(int)]
        if not here.size or len(local) < _MIN_ATOMS:
            return nothing, nothing
        return looker.look(points[here], likely[here], _translations(local, spacing))

    looks = side_by_side(look, range(len(members)), most=len(members))
    for here, (support, height) in zip(members, looks, strict=True):
        view.support[here], view.amplitude[here] = support, height
    return view


def _groups(number: NDArray[np.int64], count: int) -> list[NDArray[np.int64]]:
    """Which points have each number from 0 to `count` - 1."""
    order = np.argsort(number, kind="stable")
    return np.split(order, np.searchsorted(number[order], np.arange(1, count)))


class _Looker:
    """Follows translations to the likely atoms of one frame."""

    def __init__(
        self,
        atoms: NDArray[np.float64],
        amplitude: NDArray[np.float64],
        spacing: float,
        shape: tuple[int, ...],
    ) -> None:
        self.tree, self.amplitude = cKDTree(atoms), amplitude
        self.tolerance, self.shape = _HIT * spacing, np.array(shape)

    def look(
        self, points: NDArray[np.float64], likely: NDArray[np.bool_], steps: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Support and expected height of some points under one set of translations."""
        nothing = np.full(len(points), np.nan)
        if len(steps) < 4:
            return nothing, nothing
        target = points[:, None] + steps[None]
        inside = ((target >= 0) & (target <= self.shape - 1)).all(2)
        distance, index = self.tree.query(
            target, distance_upper_bound=self.tolerance, workers=thread_count()
        )
        hit = np.isfinite(distance) & inside
        share = hit.sum(1) / np.maximum(inside.sum(1), 1)
        usual = np.quantile(share[likely], 0.75) if likely.sum() >= 3 else 1.0
        height = np.where(hit, np.append(self.amplitude, np.nan)[index], np.nan)
        # unlike sites may stand at some of the ends: the fainter ones count
        return np.clip(share / max(usual, 0.2), 0, 1), _lower_quartile(height)


def _lower_quartile(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lower quartile of each row (N, K) without its NaN; NaN where there is nothing else.

    As :func:`numpy.nanquantile`, which takes the rows one by one.
    """
    ordered = np.sort(values, axis=1)  # NaN last
    place = 0.25 * np.maximum(np.isfinite(values).sum(1) - 1, 0)
    low = place.astype(int)
    rows = np.arange(len(values))
    below = ordered[rows, low]
    above = ordered[rows, np.minimum(low + 1, values.shape[1] - 1)]
    quartile: NDArray[np.float64] = np.where(
        place > low, below + (place - low) * (above - below), below
    )
    return quartile
