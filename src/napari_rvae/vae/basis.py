"""A basis of the disc in which turning a picture is exact.

Fourier-Bessel functions J_m(l r / R) exp(i m phi) with zero slope at the rim (Neumann), so that a
lattice may be anything there; cut where the spatial frequency l / R exceeds the band limit. The
angle phi is counted counter-clockwise on the screen, from the x axis. Turning a picture by `a`
counter-clockwise multiplies its coefficients of order m by exp(i m a).

From these a steerable principal component analysis keeps, for every angular order, the radial
functions whose variance stands above the noise. Z. Zhao, A. Singer, J. Opt. Soc. Am. A 30, 871
(2013).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import jnp_zeros, jv

from napari_rvae.vae.spin import SteerableFunction, steerable_functions

__all__ = ["RIM", "DiscFunctions", "SteerableBasis", "layer_noise_power"]

#: The disc ends this many pixels inside the grid.
RIM = 0.5

#: Functions whose Gram matrix has smaller eigenvalues than this are no longer independent.
_LEAST_EIGENVALUE = 1e-3

#: A component is kept when its variance exceeds the noise by this factor. Twice the noise
#: would lose orders 1 and 2 of a class with a quarter of the crops.
_ABOVE_NOISE = 1.06

#: Of the functions of the disc this share, the finest ones, hold noise and little else.
_NOISE_QUANTILE = 0.2

#: Correlated noise is taken for no less than this share of white noise at any frequency.
_LEAST_NOISE = 0.02


def _neumann_zeros(order: int, largest: float) -> list[float]:
    """Arguments up to `largest` where J_order has zero slope; with 0 for order 0."""
    zeros = [0.0] if order == 0 else []
    zeros += [float(z) for z in jnp_zeros(order, int(largest / math.pi) + 2)]
    return [z for z in zeros if z <= largest]


@dataclass(frozen=True, eq=False)
class DiscFunctions:
    """Orthonormal functions on the pixels of a disc.

    Parameters
    ----------
    pixels
        Side S of the grid.
    band_limit
        Highest spatial frequency in radians per pixel.
    """

    pixels: int
    band_limit: float

    @property
    def radius(self) -> float:
        """Radius of the disc in pixels."""
        return self.pixels / 2 - RIM

    @cached_property
    def orders(self) -> list[tuple[int, float]]:
        """Angular order and Bessel argument of each function (cosine and sine count as one)."""
        largest, found = self.band_limit * self.radius, []
        order = 0
        while zeros := _neumann_zeros(order, largest):
            found += [(order, zero) for zero in zeros]
            order += 1
        return found

    def sample(self, shift: tuple[float, float] = (0.0, 0.0)) -> NDArray[np.float64]:
        """Values on the grid (S * S, F), of functions centred at a shift (y, x) in pixels.

        Columns are cosine functions, then sine functions, of :attr:`orders`; the sine of order
        0 is zero.
        """
        line = np.arange(self.pixels) - (self.pixels - 1) / 2
        up, right = -(line[:, None] - shift[0]), line[None, :] - shift[1]
        distance = np.hypot(up, right).ravel()
        phi = np.arctan2(up, right + 0 * up).ravel()
        weight = _soft_edge(distance, self.radius)
        # many pixels lie equally far out, and Bessel functions are slow
        share, place = np.unique(
            np.minimum(distance / self.radius, 1.0).round(12), return_inverse=True
        )
        cosines, sines = [], []
        for order, zero in self.orders:
            radial = jv(order, zero * share)[place] * weight
            cosines.append(radial * np.cos(order * phi))
            sines.append(radial * np.sin(order * phi))
        return np.stack(cosines + sines, 1)

    @property
    def inside(self) -> NDArray[np.bool_]:
        """Which pixels (S * S,) lie in the disc."""
        line = np.arange(self.pixels) - (self.pixels - 1) / 2
        return np.asarray(np.hypot(line[:, None], line) <= self.radius).ravel()

    @cached_property
    def _gram(self) -> NDArray[np.float64]:
        values = self.sample()
        return values.T @ values

    @property
    def condition(self) -> float:
        """Condition number of the functions, each of unit length, before orthonormalising."""
        size = np.sqrt(np.diag(self._gram))
        used = size > 1e-9  # not the sine of order 0
        scaled = self._gram[np.ix_(used, used)] / np.outer(size[used], size[used])
        return float(np.linalg.cond(scaled))

    def orthonormaliser(self) -> NDArray[np.float64]:
        """Matrix (F, F) that makes the sampled functions orthonormal (Loewdin: least change)."""
        gram = self._gram
        size = np.sqrt(np.diag(gram))
        size[size < 1e-9] = np.inf  # the sine of order 0
        eigenvalue, vector = np.linalg.eigh(gram / np.outer(size, size))
        used = eigenvalue > _LEAST_EIGENVALUE
        root = vector[:, used] * eigenvalue[used] ** -0.5 @ vector[:, used].T
        return np.asarray(root / size[:, None])


def _soft_edge(distance: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    """1 inside the disc, 0 outside, falling over one pixel at the rim."""
    return np.clip(radius + 0.5 - distance, 0.0, 1.0)


class SteerableBasis:
    """Steerable principal components of a set of crops.

    Coefficients have shape (N, M, 2, K): angular order m, cosine and sine part, radial
    component (of all channels together); what a basis does not hold is zero.

    Parameters
    ----------
    weights
        Basis pictures (C * S * S, M * 2 * K), orthonormal or zero.
    derivatives
        The same, for the change with a shift along y and along x, (2, C * S * S, M * 2 * K).
    n_orders, n_radial
        M and K.
    channels, pixels
        C and S.
    noise2
        Variance of one coefficient due to noise.
    pictures
        What the coefficients stand for (C * S * S, M * 2 * K), where it differs from `weights`:
        where these whiten correlated noise. The products of both are orthonormal.
    condition
        Condition number of the sampled functions before they were orthonormalised: far above 1
        where the grid is too coarse for them. NaN when unknown.
    disc_share, kept_share
        Share of the crops' power that lies in the disc, and share of the signal in the disc
        (noise taken off) that the components hold, 0 to 1. NaN when unknown.
    """

    def __init__(
        self,
        weights: torch.Tensor,
        derivatives: torch.Tensor,
        *,
        n_orders: int,
        n_radial: int,
        channels: int,
        pixels: int,
        noise2: float,
        pictures: torch.Tensor | None = None,
        condition: float = math.nan,
        disc_share: float = math.nan,
        kept_share: float = math.nan,
    ) -> None:
        self.weights, self.derivatives = weights, derivatives
        self.pictures = weights if pictures is None else pictures
        self.n_orders, self.n_radial = n_orders, n_radial
        self.channels, self.pixels, self.noise2 = channels, pixels, noise2
        self.condition, self.disc_share, self.kept_share = condition, disc_share, kept_share

    @property
    def numbers(self) -> dict[str, Any]:
        """All that is not an array, by the names of the parameters; None where unknown."""
        known = {
            "n_orders": self.n_orders,
            "n_radial": self.n_radial,
            "channels": self.channels,
            "pixels": self.pixels,
            "noise2": self.noise2,
        }
        shares = {name: getattr(self, name) for name in ("condition", "disc_share", "kept_share")}
        return known | {name: value for name, value in shares.items() if math.isfinite(value)}

    @cached_property
    def mask(self) -> torch.Tensor:
        """Which coefficients exist (M, 2, K), as 0 and 1."""
        exists = (self.weights**2).sum(0) > 0
        return exists.to(self.weights.dtype).reshape(self.n_orders, 2, self.n_radial)

    def summary(self) -> dict[str, float]:
        """Return what :attr:`RVAE.basis_` tells."""
        return {
            "coefficients": self.n_real,
            "orders": self.n_orders,
            "condition": self.condition,
            "disc_share": self.disc_share,
            "kept_share": self.kept_share,
        }

    @property
    def n_real(self) -> int:
        """Number of real coefficients of a crop."""
        return int(self.mask.sum())

    def check(self) -> None:
        """Raise ValueError if the sizes do not fit the arrays, as in a file that was changed."""
        sizes: tuple[object, ...] = (self.channels, self.pixels, self.n_orders, self.n_radial)
        if not all(isinstance(size, int) and size > 0 for size in sizes):
            raise ValueError(f"the basis has the sizes {sizes}")
        shape = (self.channels * self.pixels**2, self.n_orders * 2 * self.n_radial)
        shapes = (self.weights.shape, self.pictures.shape, self.derivatives.shape)
        if shapes != (shape, shape, (2, *shape)):
            raise ValueError(f"the basis has the shape {tuple(self.weights.shape)}, not {shape}")

    def to(self, device: torch.device) -> SteerableBasis:
        """Return the basis on a device."""
        white = self.pictures is self.weights
        return SteerableBasis(
            self.weights.to(device),
            self.derivatives.to(device),
            pictures=None if white else self.pictures.to(device),
            **self.numbers,
        )

    @cached_property
    def _places(self) -> torch.Tensor:
        return self.mask.flatten().nonzero()[:, 0]

    @cached_property
    def _existing(self) -> list[torch.Tensor]:
        """Weights and derivatives (C * S * S, n) of the coefficients that exist, a third or so."""
        return [part[:, self._places] for part in (self.weights, *self.derivatives)]

    def _onto(self, images: torch.Tensor, pictures: torch.Tensor) -> torch.Tensor:
        flat = images.new_zeros(len(images), self.weights.shape[1])
        flat[:, self._places] = images.flatten(1) @ pictures
        return flat.reshape(-1, self.n_orders, 2, self.n_radial)

    def project(self, images: torch.Tensor) -> torch.Tensor:
        """Coefficients (N, M, 2, K) of pictures (N, C, S, S)."""
        return self._onto(images, self._existing[0])

    def slopes(self, images: torch.Tensor) -> torch.Tensor:
        """Change (N, 2, M, 2, K) of the coefficients as the window moves along y and x."""
        return torch.stack([self._onto(images, d) for d in self._existing[1:]], 1)

    def to_images(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Pictures (N, C, S, S) of coefficients (N, M, 2, K)."""
        flat = coefficients.flatten(1) @ self.pictures.T
        return flat.reshape(-1, self.channels, self.pixels, self.pixels)

    @staticmethod
    def fit(
        images: NDArray[np.float32],
        *,
        band_limit: float,
        native_pixel: float = 1.0,
        noise_correlation: NDArray[np.float64] | None = None,
        noise2: float | None = None,
        vectors: Sequence[tuple[int, int]] = (),
    ) -> SteerableBasis:
        """Learn the radial components of crops.

        Parameters
        ----------
        images
            Crops (N, C, S, S); a few thousand are enough.
        band_limit
            Highest spatial frequency as a share of the grid's Nyquist frequency.
        native_pixel
            Size of a frame pixel in pixels of the grid: what is finer does not exist.
        noise_correlation
            Autocorrelation of the noise (2 K + 1, 2 K + 1) on the grid of the frame, or one of
            each channel (C, 2 K + 1, 2 K + 1); None for white noise.
        noise2
            Variance of a coefficient due to noise, in all channels; measured when left out.
        vectors
            Channels that are the y (down) and x components of a vector: they turn into each other.
        """
        count, channels, pixels, _ = images.shape
        disc = _disc(pixels, band_limit, native_pixel)
        mix = disc.orthonormaliser()
        values = disc.sample() @ mix
        flat = images.reshape(count, channels, -1).astype(np.float64)
        sizes = _noise_sizes(disc, channels, native_pixel, noise_correlation)
        for pair in vectors:  # what turns into each other is weighed alike
            sizes[list(pair)] = np.sqrt((sizes[list(pair)] ** 2).mean(0))
        power = _coefficients(flat, values, sizes)
        orders = np.array([order for order, _ in disc.orders])
        if noise2 is None:
            noise2 = _noise_power(power, orders)
        components = _components(power, steerable_functions(orders, channels, vectors), noise2)
        step = 0.5
        slopes = []
        for axis in (0, 1):
            plus, minus = [0.0, 0.0], [0.0, 0.0]
            plus[axis], minus[axis] = step, -step
            difference = disc.sample((plus[0], plus[1])) - disc.sample((minus[0], minus[1]))
            slopes.append(difference @ mix / (2 * step))
        samples = [part / sizes[:, None] for part in (values, *slopes)]  # (C, S * S, F)
        if noise_correlation is not None:
            samples.append(values * sizes[:, None])
        basis = _assemble(samples, components, pixels, noise2)
        basis.condition = disc.condition
        basis.disc_share, basis.kept_share = _shares(flat, basis, disc.inside)
        return basis


def layer_noise_power(
    images: NDArray[np.float32],
    *,
    band_limit: float,
    native_pixel: float = 1.0,
    noise_correlation: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Variance (C,) of a coefficient due to the noise of each channel.

    The parameters are those of :meth:`SteerableBasis.fit`.
    """
    count, channels, pixels, _ = images.shape
    disc = _disc(pixels, band_limit, native_pixel)
    flat = images.reshape(count, channels, -1).astype(np.float64)
    sizes = _noise_sizes(disc, channels, native_pixel, noise_correlation)
    power = _coefficients(flat, disc.sample() @ disc.orthonormaliser(), sizes)
    orders = np.array([order for order, _ in disc.orders])
    return np.array([_noise_power(power[:, [c]], orders) for c in range(channels)])


def _disc(pixels: int, band_limit: float, native_pixel: float) -> DiscFunctions:
    return DiscFunctions(pixels, band_limit * math.pi * min(1.0, 1.0 / native_pixel))


def _noise_sizes(
    disc: DiscFunctions,
    channels: int,
    native_pixel: float,
    correlation: NDArray[np.float64] | None,
) -> NDArray[np.float64]:
    """Size (C, F) of the noise in each function, relative to white noise."""
    if correlation is None:
        return np.ones((channels, 2 * len(disc.orders)))
    frequency = np.array([zero for _, zero in disc.orders]) / disc.radius * native_pixel
    own = np.broadcast_to(correlation, (channels, *correlation.shape[-2:]))
    power = np.stack([noise_spectrum(part, frequency) for part in own])
    return np.tile(np.sqrt(power), 2)


def _coefficients(
    flat: NDArray[np.float64], values: NDArray[np.float64], sizes: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Products (N, C, F) of crops (N, C, S * S) with all functions, the noise of all alike."""
    return (flat @ values) / sizes


def noise_spectrum(
    correlation: NDArray[np.float64], frequency: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Power (n,) of correlated noise over that of white noise of the same variance.

    The mean over all directions, as a component is whitened that may turn: the autocorrelation
    at a distance d weighs with J_0(k d).

    Parameters
    ----------
    correlation
        Autocorrelation of the noise (2 K + 1, 2 K + 1), 1 in the middle.
    frequency
        Spatial frequencies (n,), in radians per pixel of `correlation`.
    """
    line = np.arange(len(correlation)) - len(correlation) // 2
    distance = np.hypot(line[:, None], line)
    power = (correlation * jv(0, frequency[:, None, None] * distance)).sum((1, 2))
    return np.asarray(np.maximum(power, _LEAST_NOISE))


def _shares(
    flat: NDArray[np.float64], basis: SteerableBasis, inside: NDArray[np.bool_]
) -> tuple[float, float]:
    """Share of power in the disc, and of the signal there that is kept; crops (N, C, S * S)."""
    total = float((flat**2).sum(2).mean(0).sum())
    disc = float((flat[:, :, inside] ** 2).sum(2).mean(0).sum())
    pictures = basis.pictures.numpy()
    gram = pictures.T @ pictures
    held = flat.reshape(len(flat), -1).astype(np.float32) @ basis.weights.numpy()
    kept = float(((held @ gram) * held).sum(1).mean())
    pixels = int(inside.sum()) * basis.channels
    signal = disc - pixels * basis.noise2
    share = (kept - float(np.trace(gram)) * basis.noise2) / signal if signal > 0 else math.nan
    return disc / total if total > 0 else math.nan, min(max(share, 0.0), 1.0)


def _noise_power(power: NDArray[np.float64], orders: NDArray[np.int64]) -> float:
    """Variance of a coefficient due to noise: that of the least variable functions."""
    variance = power.var(axis=0)  # (C, 2 * n)
    exists = np.tile(np.r_[np.ones(orders.size, bool), orders > 0], (len(variance), 1))
    used = variance[exists]
    least = 1e-4 * float(used.mean()) + 1e-12  # noise-free data
    return max(float(np.quantile(used, _NOISE_QUANTILE)), least)


class _Component(NamedTuple):
    """Angular order of a component, and its cosine and sine part in the functions (C, F)."""

    order: int
    cosine: NDArray[np.float64]
    sine: NDArray[np.float64]


def _components(
    power: NDArray[np.float64], functions: list[SteerableFunction], noise2: float
) -> list[_Component]:
    """All components that are kept, each order's strongest first."""
    kept: list[_Component] = []
    flat = power.reshape(len(power), -1)
    for order in range(max(function.order for function in functions) + 1):
        own = [function for function in functions if function.order == order]
        parts = [np.stack([f.part(which, flat.shape[1]) for f in own], 1) for which in (0, 1)]
        cosine, sine = (flat @ part for part in parts)
        if order == 0:
            second = cosine.T @ cosine / len(power)
        else:
            second = (cosine.T @ cosine + sine.T @ sine) / (2 * len(power))
        eigenvalue, vector = np.linalg.eigh(second)
        strongest = np.argsort(eigenvalue)[::-1]
        strongest = strongest[eigenvalue[strongest] > _ABOVE_NOISE * noise2]
        if not kept and not order:  # pure noise: keep the strongest, so that there is a model
            spare = _Component(0, parts[0][:, 0], parts[1][:, 0])
        kept += [_Component(order, *(part @ vector[:, k] for part in parts)) for k in strongest]
    return kept or [spare]


def _assemble(
    samples: list[NDArray[np.float64]],  # each (C, S * S, F)
    components: list[_Component],
    pixels: int,
    noise2: float,
) -> SteerableBasis:
    """Put the components' weights, slopes and, if they differ, pictures into fixed shapes."""
    n_orders = max(component.order for component in components) + 1
    count = np.bincount([component.order for component in components], minlength=n_orders)
    n_radial = int(count.max())
    channels, area, n_functions = samples[0].shape
    arrays = np.zeros((len(samples), channels, area, n_orders, 2, n_radial), np.float32)
    place = np.zeros(n_orders, int)
    for order, *parts in components:
        for which, sample in enumerate(samples):
            for half, part in enumerate(parts):
                weights = part.reshape(channels, n_functions, 1)
                arrays[which, :, :, order, half, place[order]] = (sample @ weights)[..., 0]
        place[order] += 1
    flat = torch.from_numpy(arrays.reshape(len(samples), channels * area, -1))
    return SteerableBasis(
        flat[0].contiguous(),
        flat[1:3].contiguous(),
        pictures=flat[3].contiguous() if len(flat) > 3 else None,
        n_orders=n_orders,
        n_radial=n_radial,
        channels=channels,
        pixels=pixels,
        noise2=noise2,
    )
