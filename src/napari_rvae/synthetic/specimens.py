"""Random specimens for training the detection: every kind of arrangement, scan and noise.

Nothing here resembles a particular material. Lattices are drawn from the plane groups at random;
beside them stand grain boundaries, edges, amorphous films, clusters, single atoms on a support,
and frames without any atom. All lengths follow from the width of an atom's image.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import fft, ndimage
from scipy.spatial import cKDTree

from napari_rvae.render import render_gaussians
from napari_rvae.synthetic.lattice import Motif, grown_points

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SIMULATOR_VERSION", "Specimen", "plane_motif", "random_specimen"]

#: Changes whenever the same seed gives other frames.
SIMULATOR_VERSION = 1

#: Shares of the kinds of frames; those without atoms come first.
_KINDS = {
    "blank": 0.18,
    "crystal": 0.47,
    "amorphous": 0.1,
    "single atoms": 0.11,
    "clusters": 0.14,
}

#: Generators of the plane point groups, acting on fractional coordinates, by the cell they need.
_TURN2, _MIRROR = -np.eye(2, dtype=int), np.diag([1, -1])
_TURN4, _SWAP = np.array([[0, 1], [-1, 0]]), np.array([[0, 1], [1, 0]])
_TURN3 = np.array([[0, 1], [-1, -1]])
_GROUPS: tuple[tuple[str, tuple[NDArray[np.int64], ...]], ...] = (
    ("oblique", ()),
    ("oblique", (_TURN2,)),
    ("rectangular", (_MIRROR,)),
    ("rectangular", (_MIRROR, _TURN2)),
    ("square", (_TURN4,)),
    ("square", (_TURN4, _SWAP)),
    ("hexagonal", (_TURN3,)),
    ("hexagonal", (_TURN3, _SWAP)),
    ("hexagonal", (_TURN3, _TURN2)),
    ("hexagonal", (_TURN3, _TURN2, _SWAP)),
)

#: Sites of high symmetry, in fractions of a cell.
_SPECIAL = np.array([[0.0, 0.0], [0.5, 0.5], [1 / 3, 2 / 3], [0.5, 0.0]])

#: An orbit is refused when its atoms come nearer than this share of their mean distance.
_CROWDED = 0.55


class Specimen(NamedTuple):
    """A frame and its atoms.

    Parameters
    ----------
    image
        Frame (Y, X) in counts.
    points
        True positions (N, 2) as (y, x) in pixels; those just outside the frame belong to it. A
        place that is given twice is one column of two atoms.
    sigma
        Standard deviation in pixels of the core of an atom's image.
    """

    image: NDArray[np.float32]
    points: NDArray[np.float64]
    sigma: float


class _Atoms(NamedTuple):
    points: NDArray[np.float64]  # (N, 2)
    height: NDArray[np.float64]  # (N,), in peaks of the host
    ground: NDArray[np.float64]  # (Y, X): 1 on the specimen, 0 in the vacuum


def random_specimen(rng: np.random.Generator, sigma: float, side: int) -> Specimen:
    """Draw a frame at random.

    Parameters
    ----------
    rng
        Source of everything.
    sigma
        Width (standard deviation) of an atom's image in pixels.
    side
        Side of the frame in pixels.

    Returns
    -------
    Specimen
        The frame with its atoms; a fifth of the frames has none.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.synthetic.specimens import random_specimen
    >>> random_specimen(np.random.default_rng(0), 2.0, 100).image.shape
    (100, 100)
    """
    names = tuple(_KINDS)
    kind = names[rng.choice(len(names), p=np.array(list(_KINDS.values())))]
    spacing = sigma * math.exp(rng.uniform(math.log(2.3), math.log(8.0)))
    makers = {
        "blank": _blank,
        "crystal": _crystal,
        "amorphous": _amorphous,
        "single atoms": _single_atoms,
        "clusters": _clusters,
    }
    atoms = makers[kind](rng, spacing, side)
    # peak counts of the host at the width of 2.9 px that doses are quoted for
    counts = math.exp(rng.uniform(math.log(1.5), math.log(400.0)))
    peak = counts * (2.9 / sigma) ** 2
    slow = _smooth_field(rng, side, side / 3)
    thickness = 1 + rng.uniform(0, 0.4) * slow
    tops = ndimage.map_coordinates(thickness, atoms.points.T, order=1, mode="nearest")
    picture = _probe_image(rng, atoms.points, peak * atoms.height * tops, sigma, side)
    expected = picture + peak * _background(rng, atoms.ground, sigma, empty=kind == "blank")
    image = _counted(rng, np.maximum(_jittered(rng, expected, sigma), 0.0))
    return Specimen(image, atoms.points, sigma)


def _group(generators: tuple[NDArray[np.int64], ...]) -> list[NDArray[np.int64]]:
    """All products of some generators."""
    found = [np.eye(2, dtype=int)]
    for element in found:  # grows while it is walked
        for generator in generators:
            product = element @ generator
            if not any(np.array_equal(product, other) for other in found):
                found.append(product)
    return found


def _cell(rng: np.random.Generator, system: str) -> NDArray[np.float64]:
    if system == "square":
        return np.eye(2)
    if system == "hexagonal":
        return np.array([[1.0, 0.0], [-0.5, math.sqrt(0.75)]])
    tall = rng.uniform(0.5, 2.0)
    lean = 0.0 if system == "rectangular" else rng.uniform(-0.5, 0.5)
    return np.array([[1.0, 0.0], [lean, tall]])


def _least_distance(basis: NDArray[np.float64], cell: NDArray[np.float64]) -> float:
    """Distance of nearest neighbours in the crystal with atoms at fractions `basis` (B, 2)."""
    steps = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 2), -1).reshape(-1, 2)
    apart = basis[:, None, None] - basis[None, :, None] + steps
    length = np.hypot(*np.moveaxis(apart @ cell, -1, 0))
    return float(length[length > 1e-6].min())


def plane_motif(rng: np.random.Generator, spacing: float) -> tuple[Motif, NDArray[np.int64]]:
    """Draw a crystal of a random plane group, with one to four species.

    A site may be drawn twice: then its column is that much heavier.

    Parameters
    ----------
    rng
        Source of the group, its cell and its atoms.
    spacing
        Distance of nearest neighbours in pixels.

    Returns
    -------
    motif : Motif
        Cell and atoms.
    species : ndarray of shape (B,)
        Number of the species of each atom of the cell.
    """
    system, generators = _GROUPS[rng.integers(len(_GROUPS))]
    operations, cell = _group(generators), _cell(rng, system)
    centred = np.array([[0.0, 0.0], [0.5, 0.5]]) if rng.random() < 0.25 else np.zeros((1, 2))
    if system not in ("rectangular", "square"):
        centred = np.zeros((1, 2))
    basis, species = np.zeros((0, 2)), np.zeros(0, int)
    area = abs(float(np.linalg.det(cell)))
    for _ in range(6):
        if species.size and species.max() + 1 >= rng.integers(1, 5):
            break
        general = rng.random() < 0.4
        place = rng.uniform(0, 1, 2) if general else _SPECIAL[rng.integers(len(_SPECIAL))]
        orbit = np.concatenate([place @ operation + centred for operation in operations])
        orbit = np.unique(np.round(orbit % 1, 9) % 1, axis=0)
        trial = np.concatenate([basis, orbit])
        if _least_distance(trial, cell) >= _CROWDED * math.sqrt(area / len(trial)):
            species = np.append(species, np.full(len(orbit), species.max(initial=-1) + 1))
            basis = trial
    if not species.size:
        basis, species = np.zeros((1, 2)), np.zeros(1, int)
    scale = spacing / _least_distance(basis, cell)
    return Motif(scale * cell, basis @ cell * scale), species


def _lattice(
    rng: np.random.Generator, spacing: float, side: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Atoms of one crystal, or of two grains of it, that fill a frame, and their heights."""
    motif, species = plane_motif(rng, spacing)
    height = np.append(1.0, rng.uniform(0.25, 1.0, 3))[species]
    turn, shape = rng.uniform(-math.pi, math.pi), (side, side)
    whole = grown_points(motif, (turn,), shape, spacing, rng)
    points, tall = whole.position, height[whole.sublattice]
    if rng.random() < 0.25:
        other = grown_points(motif, (turn + rng.uniform(0.1, 1.0),), shape, spacing, rng)
        line = _wavy_side(rng, side)
        here = line(points) > 0
        there = line(other.position) <= 0
        points = np.concatenate([points[here], other.position[there]])
        tall = np.concatenate([tall[here], height[other.sublattice[there]]])
        keep = _apart(points, 0.75 * spacing)
        points, tall = points[keep], tall[keep]
    return points, tall


class _wavy_side:  # noqa: N801 -- a function with its parameters
    """Signed distance, about, from a wavy line across a frame."""

    def __init__(self, rng: np.random.Generator, side: int) -> None:
        angle = rng.uniform(-math.pi, math.pi)
        self.normal = np.array([math.sin(angle), math.cos(angle)])
        self.along = np.array([math.cos(angle), -math.sin(angle)])
        self.middle = side * rng.uniform(0.25, 0.75, 2)
        self.height, self.wave = side * rng.uniform(0, 0.08), rng.uniform(4, 25) / side

    def __call__(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        away = points - self.middle
        wave = self.height * np.sin(self.wave * (away @ self.along))
        return np.asarray(away @ self.normal + wave)


def _apart(points: NDArray[np.float64], distance: float) -> NDArray[np.bool_]:
    """Which points to keep so that none are nearer than a distance."""
    keep = np.ones(len(points), bool)
    if len(points) > 1:
        for first, second in cKDTree(points).query_pairs(distance, output_type="ndarray"):
            if keep[first] and keep[second]:
                keep[second] = False
    return keep


def _blank(rng: np.random.Generator, spacing: float, side: int) -> _Atoms:
    ground = np.ones((side, side))
    if rng.random() < 0.2:
        ground = _land(rng, side, 0.3 * spacing)
    return _Atoms(np.zeros((0, 2)), np.zeros(0), ground)


def _pixels(side: int) -> NDArray[np.float64]:
    """Places (side^2, 2) of all pixels."""
    return np.indices((side, side)).reshape(2, -1).T.astype(float)


def _land(rng: np.random.Generator, side: int, blur: float) -> NDArray[np.float64]:
    """Ground that ends at a wavy edge."""
    line = _wavy_side(rng, side)
    there = (line(_pixels(side)) > 0).reshape(side, side).astype(float)
    return np.asarray(ndimage.gaussian_filter(there, blur))


def _crystal(rng: np.random.Generator, spacing: float, side: int) -> _Atoms:
    """A lattice with displaced, missing, foreign and added atoms; often with an edge."""
    points, height = _lattice(rng, spacing, side)
    points = points + rng.normal(0, rng.uniform(0, 0.04) * spacing, points.shape)
    there = rng.random(len(points)) > rng.uniform(0, 0.06)
    points, height = points[there], height[there]
    if rng.random() < 0.3:
        foreign = rng.random(len(points)) < rng.uniform(0, 0.05)
        height = np.where(foreign, height * rng.uniform(1.2, 4.0), height)
    ground = np.ones((side, side))
    if rng.random() < 0.4:
        line = _wavy_side(rng, side)
        points, height = points[line(points) > 0], height[line(points) > 0]
        ground = (line(_pixels(side)) > -0.5 * spacing).reshape(side, side).astype(float)
        ground = ndimage.gaussian_filter(ground, 0.3 * spacing)
    if rng.random() < 0.35:
        points, height = _with_adatoms(rng, points, height, spacing, side)
    return _Atoms(points, height, ground)


def _with_adatoms(
    rng: np.random.Generator,
    points: NDArray[np.float64],
    height: NDArray[np.float64],
    spacing: float,
    side: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    places = rng.uniform(0, side, (max(4, int((side / spacing) ** 2)), 2))
    if len(points):
        places = places[cKDTree(points).query(places)[0] > 0.72 * spacing]
    places = places[_apart(places, 2 * spacing)]
    places = places[: rng.integers(1, max(3, len(points) // 25 + 2))]
    added = rng.uniform(0.6, 1.3, len(places)) * np.median(np.append(height, 1.0))
    return np.concatenate([points, places]), np.concatenate([height, added])


def _amorphous(rng: np.random.Generator, spacing: float, side: int) -> _Atoms:
    count = int(rng.uniform(0.2, 2.0) * (side / spacing) ** 2) + 1
    points = rng.uniform(-spacing, side + spacing, (count, 2))
    points = points[_apart(points, rng.uniform(0.75, 1.0) * spacing)]
    return _Atoms(points, _species(rng, len(points)), np.ones((side, side)))


def _species(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    kinds = np.append(1.0, rng.uniform(0.35, 1.5, rng.integers(1, 4)))
    return kinds[rng.integers(len(kinds), size=count)] * rng.normal(1, 0.05, count)


def _single_atoms(rng: np.random.Generator, spacing: float, side: int) -> _Atoms:
    points = rng.uniform(0, side, (rng.integers(1, 60), 2))
    points = points[_apart(points, 1.5 * spacing)]
    return _Atoms(points, _species(rng, len(points)), np.ones((side, side)))


def _clusters(rng: np.random.Generator, spacing: float, side: int) -> _Atoms:
    """Pieces of crystals, single atoms between them."""
    whole, tall = _lattice(rng, spacing, side)
    if len(whole) == 0:
        return _single_atoms(rng, spacing, side)
    centres = rng.uniform(0, side, (rng.integers(1, 7), 2))
    radius = spacing * rng.uniform(1.0, 5.0, len(centres))
    gap = np.hypot(*(whole[:, None] - centres[None]).transpose(2, 0, 1)) - radius
    inside = (gap <= 0).any(1)
    # atoms lie above each other: whole numbers of them
    layers = 1 + np.floor(np.clip(-gap.min(1) / spacing, 0, 2) * rng.uniform(0, 1.2))
    points, height = whole[inside], (tall * layers)[inside]
    if rng.random() < 0.5:
        points, height = _with_adatoms(rng, points, height, spacing, side)
    return _Atoms(points, height, np.ones((side, side)))


def _smooth_field(rng: np.random.Generator, side: int, width: float) -> NDArray[np.float64]:
    """Random field (Y, X) of sd 1, at most 2.5 from zero, smooth over a width in pixels."""
    coarse = max(1.0, width / 3)
    count = math.ceil(side / coarse) + 2
    field = ndimage.gaussian_filter(rng.normal(0, 1, (count, count)), width / coarse)
    grown = ndimage.zoom(field, side / count * 1.02, order=1)[:side, :side]
    grown = np.pad(grown, [(0, side - n) for n in grown.shape], mode="edge")
    return np.asarray(np.clip((grown - grown.mean()) / max(grown.std(), 1e-12), -2.5, 2.5))


def _background(
    rng: np.random.Generator, ground: NDArray[np.float64], sigma: float, *, empty: bool
) -> NDArray[np.float64]:
    """What lies under the atoms, in peaks of the host: a ramp, dirt, the grain of a support."""
    side = len(ground)
    level = math.exp(rng.uniform(math.log(0.03), math.log(1.5)))
    vacuum = rng.uniform(0.1, 1.0)
    total = level * (vacuum + (1 - vacuum) * ground)
    total *= 1 + rng.uniform(0, 0.6) * _smooth_field(rng, side, side / 4) / 2.5
    if rng.random() < (0.7 if empty else 0.45):
        width = sigma * math.exp(rng.uniform(math.log(2.5), math.log(10.0)))
        grain = _smooth_field(rng, side, width)
        total += rng.uniform(0, 0.25) * (grain + 2.5) * ground
    if rng.random() < 0.3:
        dirt = np.clip(_smooth_field(rng, side, rng.uniform(0.05, 0.2) * side), 0, None)
        total += rng.uniform(0, 0.6) * dirt
    if empty and rng.random() < 0.2:  # fringes of one family of planes are no atoms
        y, x = np.indices(ground.shape)
        angle, wave = rng.uniform(-math.pi, math.pi), 2 * math.pi / (sigma * rng.uniform(4, 15))
        total += rng.uniform(0, 0.5) * (
            1 + np.cos(wave * (y * math.sin(angle) + x * math.cos(angle)))
        )
    return total


def _probe_image(
    rng: np.random.Generator,
    points: NDArray[np.float64],
    height: NDArray[np.float64],
    sigma: float,
    side: int,
) -> NDArray[np.float64]:
    """Atoms (Y, X) as an astigmatic probe with tails sees them."""
    margin = math.ceil(6 * sigma)
    wide = side + 2 * margin
    narrow = 0.75 * sigma
    y, x = (points + margin).T
    drawn = render_gaussians(y, x, height, narrow, (wide, wide))
    if not height.size:
        return drawn[margin:-margin, margin:-margin]
    stretch = math.exp(0.5 * rng.uniform(0, 0.22))
    angle = rng.uniform(-math.pi, math.pi)
    axis = np.array([math.sin(angle), math.cos(angle)])
    tail = rng.uniform(0.05, 0.3) if rng.random() < 0.5 else 0.0
    reach = rng.uniform(1.6, 3.0)
    count = fft.next_fast_len(wide, real=True)
    ky, kx = fft.fftfreq(count)[:, None], fft.rfftfreq(count)[None]
    along, across = (axis[0] * ky + axis[1] * kx) ** 2, (axis[1] * ky - axis[0] * kx) ** 2
    wider = (along * (sigma * stretch) ** 2 + across * (sigma / stretch) ** 2) - narrow**2 * (
        ky**2 + kx**2
    )
    # a Gaussian that grows wider keeps its volume; its peak is to stay
    core = (sigma / narrow) ** 2 * np.exp(-2 * np.pi**2 * wider)
    halo = np.exp(-2 * np.pi**2 * ((reach * sigma) ** 2 - narrow**2) * (ky**2 + kx**2))
    transfer = (1 - tail) * core + tail * (reach * sigma / narrow) ** 2 * halo
    image = fft.irfft2(fft.rfft2(drawn, (count, count)) * transfer, (count, count))
    return np.asarray(image[margin : margin + side, margin : margin + side])


def _jittered(
    rng: np.random.Generator, picture: NDArray[np.float64], sigma: float
) -> NDArray[np.float64]:
    """Rows of the scan shifted at random."""
    if rng.random() < 0.5:
        return picture
    shift = rng.normal(0, rng.uniform(0, 0.12) * sigma, len(picture))
    place = np.arange(picture.shape[1])
    rows = [np.interp(place - s, place, row) for s, row in zip(shift, picture, strict=True)]
    return np.stack(rows)


def _counted(rng: np.random.Generator, expected: NDArray[np.float64]) -> NDArray[np.float32]:
    """Counts (Y, X): one of several detectors, the noise of rows, digits."""
    counts = rng.poisson(expected).astype(float)
    detector = rng.random()
    if detector < 0.3:  # pulses of unlike heights
        pulses = rng.uniform(2.0, 8.0)
        counts = np.where(counts > 0, rng.gamma(np.maximum(counts, 1) * pulses, 1 / pulses), 0)
    if 0.15 < detector < 0.45:  # a slow detector smears along the rows
        share = rng.uniform(0, 0.35)
        counts[:, 1:] = (1 - share) * counts[:, 1:] + share * counts[:, :-1]
    usual = math.sqrt(max(float(expected.mean()), 1e-3))
    if rng.random() < 0.3:
        counts += rng.normal(0, rng.uniform(0, 0.35) * usual, (len(counts), 1))
    counts += rng.normal(0, rng.uniform(0.1, 0.8), counts.shape)
    if rng.random() < 0.3:  # eight bits
        low, high = counts.min(), counts.max()
        counts = np.round(255 * (counts - low) / max(high - low, 1e-12))
    return counts.astype(np.float32)
