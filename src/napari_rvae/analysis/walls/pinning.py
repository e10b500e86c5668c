"""Where walls stay, relative to what drives them, and the places that hold them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import ndimage

from napari_rvae.analysis.walls.friction import wall_passages
from napari_rvae.analysis.walls.obstacles import find_obstacles
from napari_rvae.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_rvae.analysis.walls.friction import Passage
    from napari_rvae.analysis.walls.obstacles import Obstacle

    Array = NDArray[np.float64]

__all__ = ["pinning_centres", "residence_map"]

_COLUMNS = {
    "y": "float64",
    "x": "float64",
    "error": "float64",
    "strength": "float64",
    "evidence": "float64",
    "residence": "float64",
    "delay": "float64",
    "arrived": "int64",
    "released": "int64",
}


def residence_map(response: Any, *, smooth: float = 1.0) -> Array:
    """Drive that walls needed to pass each place, relative to what they usually need.

    Parameters
    ----------
    response
        What :func:`~napari_rvae.signed_response` gives, or an array (T, Y, X). Its frames table
        tells bias and times; a frame without bias moves no wall.
    smooth
        Standard deviation of a Gaussian in px against noise.

    Returns
    -------
    ndarray of shape (Y, X)
        1 where walls passed at their usual speed under the drive, 2 at half of it, and so on; the
        mean of the passages where walls went both ways. NaN where no wall passed.

    Raises
    ------
    InputError
        If there are fewer than five frames, or no wall passed anywhere.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import residence_map
    >>> x = np.arange(48.0)
    >>> wall = np.minimum(6 + 2.0 * np.arange(16), 30)[:, None, None]  # is held at 30
    >>> found = residence_map(np.tanh((wall - x) / 3) * np.ones((1, 32, 1)))
    >>> round(float(found[16, 18]), 1), bool(found[16, 29] > 1.5)
    (1.0, True)
    """
    passages = wall_passages(response, smooth)
    maps = []
    for passage in passages:
        passed = (passage.needed > 0.1) & (passage.needed < passage.total - 0.1)
        near = ndimage.binary_dilation(passed, iterations=2)
        maps.append(np.where(near, passage.slope / passage.free, np.nan))
    stack = np.stack(maps)
    count = np.isfinite(stack).sum(0)
    mean = np.nansum(stack, axis=0) / np.maximum(count, 1)
    return np.asarray(np.where(count > 0, mean, np.nan))


def pinning_centres(
    response: Any,
    *,
    radius: float = 5.0,
    least_evidence: float = 7.0,
    smooth: float = 1.0,
) -> pd.DataFrame:
    """Places that hold walls back.

    What drives a wall, and how a bend speeds it up or slows it down, is read from the walls of the
    movie themselves. Where a wall is slower than that, something takes part of the force; where
    it stands, all of it. Centres are obstacles of one shape that explain such places. A wall that
    is held until the end shows its centre, too, if its neighbours went on; a centre that takes
    less than about half of the force cannot be told, nor one that a new domain has covered.

    Parameters
    ----------
    response
        What :func:`~napari_rvae.signed_response` gives, or an array (T, Y, X). Its frames table
        tells bias and times.
    radius
        Reach of a centre in px. Widths (standard deviations) from 0.4 to 0.9 of it are tried.
    least_evidence
        Logarithm of the likelihood of what is seen with a centre over that without, at least. With
        7, chance is as likely as a centre at one in a thousand places; a movie has some hundreds.
    smooth
        Standard deviation of a Gaussian in px against noise.

    Returns
    -------
    DataFrame
        One row per centre, the one that holds most first:

        - ``y``, ``x`` in px, and ``error``, the standard error of either;
        - ``strength``: the greatest force that it takes, in units of the force of the mean drive
          on a straight wall. It is too small by a third to a half, and orders centres roughly where
          walls were let go again: one that stands tells only that all the force is taken;
        - ``evidence``: the logarithm of the ratio of likelihoods;
        - ``residence`` (see :func:`residence_map`): the mean within the radius;
        - ``delay``: the drive by which the centre switched later than the earliest quarter of its
          surroundings, in frames of mean drive; more than that where it is not released;
        - ``arrived``: frame in which a wall was first held; ``released``: that in which the place
          of the centre itself had switched, -1 where it had not until the end.

    Raises
    ------
    InputError
        If there are fewer than five frames, or no wall passed anywhere.

    Examples
    --------
    >>> from napari_rvae import pinning_centres, signed_response, simulate_walls
    >>> movie = simulate_walls(n_frames=12, size=96, seed=1).frames
    >>> pinning_centres(signed_response(movie)).columns.tolist()[:4]
    ['y', 'x', 'error', 'strength']
    """
    if not radius > 0:
        raise InputError(f"radius = {radius}: give pixels, more than 0.")
    passages = wall_passages(response, smooth)
    found = [
        (one, passage)
        for passage in passages
        for one in find_obstacles(
            passage, radius=radius, smooth=smooth, least_evidence=least_evidence
        )
    ]
    rows: list[dict[str, float]] = []
    for one, passage in sorted(found, key=lambda pair: -pair[0].evidence):
        # walls that go there and back meet the same centres
        if all(np.hypot(one.y - row["y"], one.x - row["x"]) > 1.5 * radius for row in rows):
            rows.append(_row(one, passage, radius))
    table = pd.DataFrame(rows, columns=list(_COLUMNS)).astype(_COLUMNS)
    return table.sort_values("strength", ascending=False, ignore_index=True)


def _row(one: Obstacle, passage: Passage, radius: float) -> dict[str, float]:
    """What is told about a centre."""
    total = passage.total
    needed: Array = np.clip(passage.needed, 0.0, total)
    y, x = np.indices(needed.shape)
    distance = np.hypot(y - one.y, x - one.x)
    known = passage.weight > 0
    # a wall that stopped before it came so near tells what its nearest places do
    near = known & (distance <= max(radius, distance[known].min() + 1))
    around = distance <= 2.5 * radius
    middle = float(needed.flat[int(distance.argmin())])
    held = np.where(near, passage.held, -np.inf)
    first = float(needed[held >= 0.5 * held.max()].min())
    return {
        "y": one.y,
        "x": one.x,
        "error": one.error,
        "strength": one.strength,
        "evidence": one.evidence,
        "residence": float((passage.slope[near] / passage.free).mean()),
        "delay": float(middle - np.percentile(needed[around], 25)),
        "arrived": _frame(first, passage),
        "released": _frame(middle, passage) if middle < total else -1,
    }


def _frame(needed: float, passage: Passage) -> int:
    """Frame at whose end the drive had acted."""
    number = int(np.searchsorted(np.cumsum(passage.drive), needed))
    return int(passage.frames[min(number, passage.frames.size - 1)])
