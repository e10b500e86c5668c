"""Frames with known truth for ``detection.py``, and what can be known of them at best.

Two simulators. "Gaussian" is the package's own: Gaussian atoms, Poisson counts, white readout
noise, a slanted scan. "tailed" is written here and shares only the lattices: atoms with a core and
long tails, electrons whose pulses differ in height, detector noise that is correlated along the
scan, a gain and an offset, and a drift that changes while the frame is scanned. Both have rows that
jitter, rows that are offset, and an uneven background with patches of dirt.

Doses are peak counts of a host column at 12 px neighbour distance and sigma 2.9 px. At other
distances everything is the same picture on another grid: the same electrons in a column, and the
same background and readout noise in the area of a column.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage, signal
from scipy.spatial import cKDTree

from napari_rvae import simulate_graphene
from napari_rvae.synthetic.lattice import grown_points, honeycomb, rocksalt, rotated
from napari_rvae.synthetic.scan import Columns, ScanConfig, inside_frame, record, sheared
from napari_rvae.tables import make_sites

Floats = NDArray[np.float64]

#: The scale at which doses are given, in pixels.
SPACING, SIGMA = 12.0, 2.9

SIMULATORS = ("Gaussian", "tailed")

#: Of every frame: background and dirt in peaks of a host column; readout noise and the spread of
#: the rows' offsets in counts, jitter in pixels, at 12 px.
BACKGROUND, DIRT, READOUT, ROW_NOISE, JITTER = 0.1, 0.15, 0.5, 0.5, 0.1

#: Of a specimen: shares of bright dopants and of empty sites, and how bright a dopant is.
DOPANTS, EMPTY, DOPANT_CONTRAST = 0.03, 0.01, 3.5

#: Displacements (sd), polarization of the perovskite's B columns, in neighbour distances; how
#: bright these are.
DISORDER, POLARIZATION, B_CONTRAST = 0.01, 0.06, 0.45

#: Direction of the longer axis of an elliptical probe, in radians from x towards smaller y.
LONG_AXIS = 0.6

#: Neighbour distances of specimen beyond the frame.
MARGIN = 4.0

#: Of the tailed simulator: share and width (in sigma) of the tails, and their end in neighbour
#: distances; how much pulse heights vary (variance over mean squared); correlation of the
#: detector's noise in neighbouring pixels of a row; counts -> values.
TAIL_SHARE, TAIL_WIDTH, TAIL_END = 0.25, 1.6, 2.5
PULSE_SPREAD, CORRELATION, GAIN, OFFSET = 0.1, 0.5, 37.0, 1200.0


# --------------------------------------------------------------------------- specimens
class Specimen(NamedTuple):
    """Sites of a specimen in frame pixels, before the scan distorts them."""

    position: Floats  # (N, 2): y, x
    contrast: Floats  # (N,): peak in host columns, 0 where nothing is
    environment: NDArray[np.str_]  # (N,)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is looked at, and how."""

    specimen: str
    simulator: str = "Gaussian"
    counts: float = 100.0
    seed: int = 0
    size: int = 1024
    spacing: float = SPACING
    contrast: str = "bright"
    elongation: float = 1.0  # of the probe, longest by shortest width; only "tailed"

    @property
    def form(self) -> Floats:
        """Quadratic form (2, 2) of the probe in units of sigma, of determinant 1."""
        along = np.array([-math.sin(LONG_AXIS), math.cos(LONG_AXIS)])
        longer = self.elongation
        return longer * np.eye(2) + (1 / longer - longer) * np.outer(along, along)

    @property
    def magnification(self) -> float:
        """Pixels for one pixel of the scale at which doses are given."""
        return self.spacing / SPACING

    @property
    def sigma(self) -> float:
        """Standard deviation of an atom's image (of its core) in pixels."""
        return SIGMA * self.magnification

    @property
    def peak(self) -> float:
        """Peak of a host column in counts."""
        return self.counts / self.magnification**2

    @property
    def scan(self) -> ScanConfig:
        """The scan as the package's simulator understands it."""
        scale = self.magnification
        return ScanConfig(
            neighbour_distance=self.spacing,
            sigma=self.sigma,
            dose=self.counts * 2 * math.pi * SIGMA**2,
            contrast=self.contrast,
            background=BACKGROUND * self.peak,
            background_ramp=0.6,
            contamination=DIRT,
            jitter=JITTER * scale,
            shear=0.02,
            # a row is thinner on a finer grid: the same in the area of a column
            row_noise=ROW_NOISE / scale**1.5,
            readout_noise=READOUT / scale,
        )


def _lattice(setting: Setting, rng: np.random.Generator) -> tuple[Floats, NDArray[np.int64], float]:
    """Sites with some disorder, their sublattice, and the angle of the lattice."""
    motif = {"perovskite": rocksalt}.get(setting.specimen.split()[0], honeycomb)
    angle = 0.2 + 0.3 * setting.seed
    shape, margin = (setting.size, setting.size), MARGIN * setting.spacing
    points = grown_points(motif(setting.spacing), (angle,), shape, margin, rng)
    disorder = rng.normal(0, DISORDER * setting.spacing, points.position.shape)
    return points.position + disorder, points.sublattice, angle


def _with_dopants(setting: Setting, rng: np.random.Generator) -> Specimen:
    """Honeycomb with bright dopants and empty sites anywhere, side by side too."""
    position, _, _ = _lattice(setting, rng)
    draw = rng.random(len(position))
    where = [draw < DOPANTS, draw > 1 - EMPTY]
    return Specimen(
        position,
        np.select(where, [DOPANT_CONTRAST, 0.0], 1.0),
        np.select(where, ["dopant", "vacancy"], "bulk"),
    )


def _perovskite(setting: Setting, rng: np.random.Generator, empty: float = 0.0) -> Specimen:
    """Bright A and dim B columns, these displaced in two domains."""
    position, sublattice, angle = _lattice(setting, rng)
    along = rotated(np.array([0.0, 1.0]), angle)
    depth = (position - setting.size / 2) @ rotated(along, math.pi / 2) / setting.spacing
    is_b = sublattice == 1
    shift = POLARIZATION * setting.spacing * np.tanh(depth / 2)[:, None] * along
    missing = rng.random(is_b.size) < empty
    return Specimen(
        position + np.where(is_b[:, None], shift, 0.0),
        np.where(missing, 0.0, np.where(is_b, B_CONTRAST, 1.0)),
        np.select([missing, is_b], ["vacancy", "B"], "A"),
    )


def _with_empty_sites(setting: Setting, rng: np.random.Generator) -> Specimen:
    return _perovskite(setting, rng, empty=0.02)


def _with_adatoms(setting: Setting, rng: np.random.Generator) -> Specimen:
    """Honeycomb with atoms anywhere off its sites, 0.6 neighbour distances or more from others."""
    position, _, _ = _lattice(setting, rng)
    tries = rng.uniform(position.min(0), position.max(0), (20 * len(position), 2))
    away = cKDTree(position).query(tries)[0] >= 0.6 * setting.spacing
    # well apart from each other, and 3 for 100 atoms
    adatoms = _well_apart(tries[away], 3.0 * setting.spacing)[: len(position) // 30]
    names = np.repeat(["bulk", "off_lattice"], [len(position), len(adatoms)])
    return Specimen(np.concatenate([position, adatoms]), np.ones(names.size), names)


def _half(setting: Setting, rng: np.random.Generator) -> Specimen:
    """Crystal that ends at a slanted line through the frame's middle; vacuum beyond."""
    position, _, _ = _lattice(setting, rng)
    beyond = vacuum_depth(position, setting)
    position = position[beyond <= 0]
    rim = vacuum_depth(position, setting) > -setting.spacing
    return Specimen(position, np.ones(len(position)), np.where(rim, "edge", "bulk"))


def vacuum_depth(position: Floats, setting: Setting) -> Floats:
    """How far positions (N, 2) lie beyond the crystal's edge, in pixels."""
    normal = np.array([math.sin(0.2), math.cos(0.2)])
    return np.asarray((position - (setting.size - 1) / 2) @ normal)


def _isolated(setting: Setting, rng: np.random.Generator, apart: float = 3.0) -> Specimen:
    """Atoms anywhere, at least so many neighbour distances from each other."""
    low, high = -MARGIN * setting.spacing, setting.size + MARGIN * setting.spacing
    number = int(20 * ((high - low) / (apart * setting.spacing)) ** 2)
    tries = rng.uniform(low, high, (number, 2))
    position = _well_apart(tries, apart * setting.spacing)
    return Specimen(position, np.ones(len(position)), np.full(len(position), "isolated"))


def _few(setting: Setting, rng: np.random.Generator) -> Specimen:
    """Atoms in an otherwise empty frame, so far apart that there are only some dozen."""
    return _isolated(setting, rng, apart=9.0)


def _graphene(setting: Setting, rng: np.random.Generator) -> Specimen:
    """Two grains of relaxed graphene with 5-7 defects, vacancies and a hole."""
    pad = math.ceil(MARGIN * setting.spacing)
    whole = simulate_graphene(
        neighbour_distance=setting.spacing,
        size=setting.size + 2 * pad,
        n_frames=1,
        seed=int(rng.integers(2**31)),
        dose=1.0,
        jitter=0.0,
        contamination=0.0,
        si3=0.0,
        si4=0.0,
        vacancies=0.01,
        stone_wales=round(12 * (setting.size / setting.spacing / 42) ** 2),
        hole_start=3.0,
        hole_end=3.0,
    ).sites
    name = whole["environment"].to_numpy(str)
    contrast = np.where(name == "vacancy", 0.0, 1.0)
    return Specimen(whole[["y", "x"]].to_numpy(float) - pad, contrast, name)


SPECIMENS: dict[str, Callable[[Setting, np.random.Generator], Specimen]] = {
    "honeycomb": _with_dopants,
    "perovskite": _perovskite,
    "perovskite vacancies": _with_empty_sites,
    "adatoms": _with_adatoms,
    "half": _half,
    "isolated": _isolated,
    "few": _few,
    "graphene": _graphene,
}


def _well_apart(tries: Floats, distance: float) -> Floats:
    """Those of the points (N, 2) that keep a distance from all earlier ones."""
    tree = cKDTree(tries)
    free = np.ones(len(tries), bool)
    for number, near in enumerate(tree.query_ball_point(tries, distance)):
        if free[number]:
            later = np.asarray(near)
            free[later[later > number]] = False
    return tries[free]


# --------------------------------------------------------------------------- simulators
@dataclass(frozen=True, eq=False)
class Noise:
    """Noise of a frame in counts: independent between the rows."""

    variance: Floats  # (Y, X): of the part that is independent from pixel to pixel
    correlated_sd: float = 0.0
    correlation: float = 0.0  # of that part, in neighbouring pixels of a row
    jitter: float = 0.0  # px

    def covariance(self, width: int) -> Floats:
        """Covariance (width, width) of the correlated part along a row."""
        lag = np.abs(np.subtract.outer(np.arange(width), np.arange(width)))
        return np.asarray(self.correlated_sd**2 * self.correlation**lag)


@dataclass(frozen=True, eq=False)
class Case:
    """A frame and all there is to know of it."""

    setting: Setting
    image: NDArray[np.float32]  # (Y, X), in the units of the microscope
    #: Sites inside the frame with environment, amplitude (counts), sigma, and their place in the
    #: specimen, before the scan distorted it.
    sites: pd.DataFrame
    expected: Floats  # (Y, X) counts without noise
    noise: Noise


def make_case(setting: Setting) -> Case:
    """Simulate a frame."""
    streams = np.random.default_rng([setting.seed, *setting.specimen.encode()]).spawn(2)
    specimen = SPECIMENS[setting.specimen](setting, streams[0])
    scan = {"Gaussian": _gaussian_scan, "tailed": _tailed_scan}[setting.simulator]
    return scan(specimen, setting, streams[1])


def _true_sites(specimen: Specimen, position: Floats, setting: Setting) -> pd.DataFrame:
    """Sites inside the frame; what is empty has the kind "vacancy"."""
    seen = inside_frame(position, (setting.size, setting.size))
    y, x = position[seen].T
    sites = make_sites(
        frame=0,
        y=y,
        x=x,
        environment=specimen.environment[seen],
        amplitude=setting.peak * specimen.contrast[seen],
        sigma=np.full(y.size, setting.sigma),
        specimen_y=specimen.position[seen, 0],
        specimen_x=specimen.position[seen, 1],
    )
    sites.loc[sites["amplitude"] == 0, "kind"] = "vacancy"
    return sites


def _gaussian_scan(specimen: Specimen, setting: Setting, rng: np.random.Generator) -> Case:
    """Scan with the package's own simulator."""
    scan, shape = setting.scan, (setting.size, setting.size)
    position = sheared(specimen.position, scan, centre=(setting.size - 1) / 2)
    there = specimen.contrast > 0
    columns = Columns(position[there], setting.peak * specimen.contrast[there])
    seen = record([columns], np.zeros((1, 2)), shape, scan, rng)
    expected = seen.expected[0].astype(float)
    return Case(
        setting=setting,
        image=seen.counts[0],
        sites=_true_sites(specimen, position, setting),
        expected=expected,
        noise=Noise(expected + scan.readout_noise**2, jitter=scan.jitter),
    )


def _tailed_scan(specimen: Specimen, setting: Setting, rng: np.random.Generator) -> Case:
    """Scan with another probe, another noise, and a drift that changes on the way."""
    scan, shape = setting.scan, (setting.size, setting.size)
    position = _drifted(specimen.position, setting, rng)
    jitter = rng.normal(0.0, scan.jitter, setting.size)
    amplitude = setting.peak * specimen.contrast
    atoms = render_tailed(
        position, amplitude, setting.sigma, shape, row_shift=jitter, form=setting.form
    )
    ground = scan.background + DIRT * setting.peak * _cloud(shape, setting, rng)
    expected = ground + atoms
    if setting.contrast == "dark":
        expected = 1.2 * atoms.max() + ground - atoms
    pulses = rng.gamma(rng.poisson(expected) / PULSE_SPREAD) * PULSE_SPREAD
    white = rng.normal(0.0, 1.0, (setting.size, setting.size + 50))
    wander = signal.lfilter([math.sqrt(1 - CORRELATION**2)], [1.0, -CORRELATION], white, axis=1)
    pulses += scan.readout_noise * wander[:, 50:]
    pulses += rng.normal(0.0, scan.row_noise, setting.size)[:, None]
    return Case(
        setting=setting,
        image=(OFFSET + GAIN * pulses).astype(np.float32),
        sites=_true_sites(specimen, position, setting),
        expected=expected,
        noise=Noise(
            (1 + PULSE_SPREAD) * expected, scan.readout_noise, CORRELATION, jitter=scan.jitter
        ),
    )


def _drifted(position: Floats, setting: Setting, rng: np.random.Generator) -> Floats:
    """Where atoms appear when the specimen moves to and fro while the frame is scanned."""
    time = position[:, 0] / setting.size
    phase = rng.uniform(0, 2 * math.pi, 2)
    wave = np.sin(2 * math.pi * np.array([0.8, 1.3]) * time[:, None] + phase)
    steady = 0.01 * np.outer(position[:, 0] - setting.size / 2, [-1.0, 1.5])
    return np.asarray(position + steady + setting.spacing * np.array([0.15, 0.3]) * wave)


def _cloud(shape: tuple[int, int], setting: Setting, rng: np.random.Generator) -> Floats:
    """Smooth dirt (Y, X) from 0 to 1, much wider than atoms are apart."""
    coarse = rng.normal(size=(8, 8))
    cloud = ndimage.zoom(coarse, np.array(shape) / coarse.shape, order=3)
    cloud = ndimage.gaussian_filter(np.maximum(cloud, 0.0), 1.5 * setting.spacing)
    return np.asarray(cloud / cloud.max())


def gaussian_shape(r2: Floats) -> Floats:
    """Image of an atom at squared distances in sigma; 1 in the middle."""
    return np.exp(-0.5 * r2)


def tailed_shape(r2: Floats) -> Floats:
    """Gaussian core with tails that fall with the third power, and end smoothly."""
    end = TAIL_END * SPACING / SIGMA
    tail = (1 + r2 / TAIL_WIDTH**2) ** -1.5 * np.clip(1 - r2 / end**2, 0.0, None) ** 2
    return np.asarray((1 - TAIL_SHARE) * np.exp(-0.5 * r2) + TAIL_SHARE * tail)


SHAPES: dict[str, Callable[[Floats], Floats]] = {
    "Gaussian": gaussian_shape,
    "tailed": tailed_shape,
}


def render_tailed(
    position: Floats,
    amplitude: Floats,
    sigma: float,
    shape: tuple[int, int],
    *,
    row_shift: Floats,
    form: Floats,
) -> Floats:
    """Draw atoms (N, 2) of a form (2, 2) into a frame whose rows are shifted along x."""
    half = math.ceil(TAIL_END * SPACING / SIGMA * sigma) + 1
    corner = np.rint(position).astype(int) - half
    seen = (amplitude > 0) & (corner < shape).all(1) & (corner + 2 * half >= 0).all(1)
    picture = np.zeros(shape)
    for (y, x), height, start in zip(position[seen], amplitude[seen], corner[seen], strict=True):
        low, high = np.maximum(start, 0), np.minimum(start + 2 * half + 1, shape)
        rows = np.arange(low[0], high[0])
        dx = np.arange(low[1], high[1]) - x - row_shift[rows, None]
        r2 = squared_distance(rows[:, None] - y, dx, form) / sigma**2
        picture[low[0] : high[0], low[1] : high[1]] += height * tailed_shape(r2)
    return picture


def squared_distance(dy: Floats, dx: Floats, form: Floats) -> Floats:
    """Squared distance by a quadratic form (2, 2)."""
    return np.asarray(form[0, 0] * dy**2 + 2 * form[0, 1] * dy * dx + form[1, 1] * dx**2)


# --------------------------------------------------------------------------- the bound
def position_bound(case: Case, rows: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Cramer-Rao bound of positions, for any shape of atoms and noise correlated along rows.

    Unknown are the atom's position and amplitude, those of its neighbours up to 1.6 neighbour
    distances away, and a constant background. The noise is Gaussian with the true covariance;
    offsets of the rows are taken as known, as all the other pixels of a row tell them.

    Parameters
    ----------
    case
        The frame.
    rows
        Numbers (N,) of the wanted sites in the table of the true ones.

    Returns
    -------
    tuple of ndarray
        Standard deviations (N, 2) along y and x in pixels: without jitter, and with the rows'
        jitter as part of the noise, for who looks at one atom at a time.
    """
    place = case.sites[["y", "x"]].to_numpy(float)
    height = case.sites["amplitude"].to_numpy(float)
    visible = np.flatnonzero(height > 0)
    tree = cKDTree(place[visible])
    slope = np.gradient(case.expected, axis=1)
    bounds = []
    for row in rows:
        near = visible[tree.query_ball_point(place[row], 1.6 * case.setting.spacing)]
        order = np.concatenate([[row], near[near != row]])
        bounds.append(_local_bounds(place[order], height[order], slope, case))
    both = np.array(bounds).reshape(-1, 2, 2)
    return both[:, 0], both[:, 1]


def _local_bounds(place: Floats, height: Floats, slope: Floats, case: Case) -> list[Floats]:
    """Bounds (2,) of the first atom without and with jitter."""
    setting, noise = case.setting, case.noise
    half = 1.6 * setting.spacing + 3 * setting.sigma
    low = np.maximum(np.floor(place[0] - half), 0).astype(int)
    high = np.minimum(np.ceil(place[0] + half) + 1, case.expected.shape).astype(int)
    part = (slice(low[0], high[0]), slice(low[1], high[1]))
    gradient = _gradients(place - low, height, setting, case.expected[part].shape)
    width = gradient.shape[1]
    covariance = noise.variance[part][:, :, None] * np.eye(width) + noise.covariance(width)
    # (R, C, P + 1): the last column is what a shift of the row would change
    columns = np.concatenate([gradient, slope[part][:, :, None]], axis=2)
    solved = np.linalg.solve(covariance, columns)
    products = np.einsum("rcp,rcq->rpq", columns, solved)
    fisher, cross = products[:, :-1, :-1].sum(0), products[:, :-1, -1]
    known = noise.jitter**2 / (1 + noise.jitter**2 * products[:, -1, -1])
    return [_sd(fisher), _sd(fisher - np.einsum("r,rp,rq->pq", known, cross, cross))]


def _gradients(
    place: Floats, height: Floats, setting: Setting, shape: tuple[int, ...]
) -> NDArray[Any]:
    """Change (R, C, 3 K + 1) of the pixels with y and x of the first of K atoms, and the rest."""
    step, shaped = 0.01, SHAPES[setting.simulator]  # step in sigma

    def atom(dy: Floats, dx: Floats) -> Floats:
        return shaped(squared_distance(dy, dx, setting.form))

    dy = (np.arange(shape[0])[:, None, None] - place[:, 0]) / setting.sigma
    dx = (np.arange(shape[1])[None, :, None] - place[:, 1]) / setting.sigma
    slopes = [
        (atom(dy - a * step, dx - b * step) - atom(dy + a * step, dx + b * step))
        * height / (2 * step * setting.sigma)
        for a, b in ((1, 0), (0, 1))
    ]  # fmt: skip
    first = [part[:, :, :1] for part in slopes]
    others = [part[:, :, 1:] for part in slopes]
    heights, background = atom(dy, dx), np.ones((*shape, 1))
    return np.concatenate([*first, *others, heights, background], axis=2)


def _sd(fisher: Floats) -> Floats:
    """Standard deviations of the first two parameters."""
    unit = np.sqrt(np.diag(fisher))  # counts and pixels differ in size
    covariance = np.linalg.pinv(fisher / np.outer(unit, unit), hermitian=True)
    return np.asarray(np.sqrt(np.diag(covariance)[:2]) / unit[:2])


def cropped(case: Case, size: int) -> Case:
    """The middle of a frame, such as a slow finder can do."""
    start = (case.setting.size - size) // 2
    part = (slice(start, start + size),) * 2
    sites = case.sites.assign(y=case.sites["y"] - start, x=case.sites["x"] - start)
    inside = inside_frame(sites[["y", "x"]].to_numpy(float), (size, size))
    return dataclasses.replace(
        case,
        setting=dataclasses.replace(case.setting, size=size),
        image=np.ascontiguousarray(case.image[part]),
        sites=sites[inside].reset_index(drop=True),
        expected=case.expected[part],
        noise=dataclasses.replace(case.noise, variance=case.noise.variance[part]),
    )
