"""A small network that says of each pixel how likely an atom stands there.

It sees frames at one scale, so that an atom's image is always equally wide, and was trained on
simulated frames only (``scripts/train_detector.py``). Its kernels look the same after a quarter
turn and in a mirror, and so do its answers.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load
from scipy import ndimage, sparse
from torch import nn

from napari_rvae.detect.peaks import highest_near
from napari_rvae.device import bands, do_side_by_side, side_by_side
from napari_rvae.errors import ModelFileError
from napari_rvae.preprocess.noise import noise_level

__all__ = [
    "NETWORK_SIGMA",
    "AtomNetwork",
    "NetworkView",
    "load_network",
    "network_input",
    "rescaled",
    "see",
]

#: Width in pixels of an atom's image at the scale of the network.
NETWORK_SIGMA = 1.6

#: Widths of the slow background and of the surroundings that set the contrast, in its pixels.
_BACKGROUND, _SURROUNDINGS = 8.0, 12.0

#: A frame is taken for no cleaner than this: its standard deviation by that of its noise. What was
#: smoothed or cut to black and white before would look like nothing the network knows.
_CLEANEST = 10.0

#: Frames are rescaled to a multiple of this, as the network halves them twice.
_MULTIPLE = 4

#: Large frames are looked at in parts of this side in its pixels; no pixel further away than the
#: second number counts (32 at most: 2 + 2 at the finest scale, 4 + 4 + 2 and 8 + 4 at the others).
_TILE, _SEEN = 512, 32

#: Larger weights are not ours.
_MAX_BYTES = 500_000

#: Which of a kernel's three values (centre, side, corner) stands where.
_PLACES = (2, 1, 2, 1, 0, 1, 2, 1, 2)

_WEIGHTS, _ABOUT = "network.safetensors", "network.json"


class _Convolution(nn.Module):
    """Convolution (3 x 3) that a quarter turn or a mirror does not change."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        bound = math.sqrt(6 / (9 * before))
        self.values = nn.Parameter(torch.empty(after, before, 3).uniform_(-bound, bound))

    def kernel(self) -> torch.Tensor:
        """Weights (after, before, 3, 3)."""
        return self.values[:, :, list(_PLACES)].view(*self.values.shape[:2], 3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (N, C, Y, X)
        return nn.functional.conv2d(x, self.kernel(), padding=1)


class _Block(nn.Sequential):
    def __init__(self, before: int, after: int) -> None:
        super().__init__(
            _Convolution(before, after),
            nn.BatchNorm2d(after),
            nn.SiLU(),
            _Convolution(after, after),
            nn.BatchNorm2d(after),
            nn.SiLU(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As one after the other; once trained, the norms are part of the kernels."""
        layers = list(self)
        if self.training:
            for layer in layers:
                x = layer(x)
            return x
        for convolution, norm in (layers[0:2], layers[3:5]):
            kernel, bias = _joined(cast("_Convolution", convolution), cast("nn.BatchNorm2d", norm))
            x = nn.functional.silu(nn.functional.conv2d(x, kernel, bias, padding=1))
        return x


def _joined(convolution: _Convolution, norm: nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
    """Kernel and bias of a convolution and of the norm after it."""
    mean, variance = cast("torch.Tensor", norm.running_mean), cast("torch.Tensor", norm.running_var)
    gain = norm.weight / torch.sqrt(variance + norm.eps)
    return gain[:, None, None, None] * convolution.kernel(), norm.bias - gain * mean


class AtomNetwork(nn.Module):
    """U-Net of three scales: two channels in, one logit out for each pixel.

    Parameters
    ----------
    width
        Channels at the finest scale; doubled at each coarser one.
    """

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.fine = _Block(2, width)
        self.middle = _Block(width, 2 * width)
        self.coarse = _Block(2 * width, 4 * width)
        self.middle_up = _Block(6 * width, 2 * width)
        self.fine_up = _Block(3 * width, width)
        self.answer = nn.Conv2d(width, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (N, Y, X) of frames (N, 2, Y, X) whose sides are multiples of four."""
        fine = self.fine(x)
        middle = self.middle(nn.functional.avg_pool2d(fine, 2))
        coarse = self.coarse(nn.functional.avg_pool2d(middle, 2))
        middle = self.middle_up(torch.cat([_doubled(coarse), middle], 1))
        logits: torch.Tensor = self.answer(self.fine_up(torch.cat([_doubled(middle), fine], 1)))
        return logits[:, 0]


def _doubled(x: torch.Tensor) -> torch.Tensor:
    return nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def _resampling(before: int, after: int) -> sparse.csr_array:
    """Matrix (after, before) that rescales a line: each new pixel is a weighted mean.

    The weights fall linearly over one old or one new pixel, whichever is larger.
    """
    step = before / after
    reach = max(step, 1.0)
    middle = (np.arange(after) + 0.5) * step - 0.5
    offsets = np.arange(-math.ceil(reach), math.ceil(reach) + 1)
    old = np.rint(middle).astype(int)[:, None] + offsets
    weight = np.clip(1 - np.abs(old - middle[:, None]) / reach, 0, None)
    weight[(old < 0) | (old >= before)] = 0
    weight /= weight.sum(1, keepdims=True)
    row = np.broadcast_to(np.arange(after)[:, None], old.shape)
    entries = (weight.ravel(), (row.ravel(), np.clip(old, 0, before - 1).ravel()))
    return sparse.csr_array(sparse.coo_array(entries, shape=(after, before)))


class _Rescaled(NamedTuple):
    image: NDArray[np.float64]
    noise_gain: float  # how much of the noise's sd is left


def rescaled(image: NDArray[np.float64], sigma: float) -> _Rescaled:
    """Rescale a frame to the network's scale.

    Parameters
    ----------
    image
        One frame (Y, X) without NaN.
    sigma
        Width of an atom's image in its pixels.

    Returns
    -------
    image : ndarray of shape (Y', X')
        Both sides are multiples of four.
    noise_gain : float
        Standard deviation of white noise in it, in that of the frame.
    """
    sides = [max(1, round(n * NETWORK_SIGMA / sigma / _MULTIPLE)) * _MULTIPLE for n in image.shape]
    down, along = (_resampling(n, m) for n, m in zip(image.shape, sides, strict=True))
    small = np.asarray((along @ (down @ image).T).T)
    gains = (math.sqrt(matrix.power(2).sum() / matrix.shape[0]) for matrix in (down, along))
    return _Rescaled(small, math.prod(gains))


def network_input(image: NDArray[np.float64], sigma: float, noise_sd: float) -> NDArray[np.float32]:
    """What the network sees of a frame.

    Parameters
    ----------
    image
        One frame (Y, X) without NaN; atoms are bright.
    sigma
        Width of an atom's image in pixels.
    noise_sd
        Standard deviation of the frame's noise.

    Returns
    -------
    ndarray of shape (2, Y', X')
        The frame at the network's scale without its slow background, first in units of its
        noise, then in units of the contrast around; both compressed by arsinh.
    """
    small, gain = rescaled(image, sigma)
    noise = max(noise_sd * gain, 1e-30)
    flat = small - _smooth(small, _BACKGROUND)
    contrast = np.sqrt(_smooth(flat**2, _SURROUNDINGS))
    contrast = np.maximum(contrast, noise)
    return np.stack([np.arcsinh(flat / noise), np.arcsinh(flat / contrast)]).astype(np.float32)


def _smooth(picture: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    """:func:`scipy.ndimage.gaussian_filter`, parts of the picture side by side."""
    result = picture
    for _ in range(2):
        along = [result[:, part] for part in bands(result.shape[1])]

        def smoothed(part: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.asarray(ndimage.gaussian_filter1d(part, width, axis=0).T)

        result = np.concatenate(list(side_by_side(smoothed, along, most=len(along))))
    return result


class NetworkView(NamedTuple):
    """What the network says of a frame.

    Parameters
    ----------
    chance
        Heat map (Y', X') at its scale, from 0 to 1: 1 on an atom, falling over half its width.
    step
        Pixels of the frame per pixel of the map, (2,): y, x.
    """

    chance: NDArray[np.float64]
    step: NDArray[np.float64]

    def at(self, y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Largest value within about half a width of places (N,) in pixels of the frame."""
        row, column = (
            np.clip(np.rint((p + 0.5) / s - 0.5).astype(int), 0, n - 1)
            for p, s, n in zip((y, x), self.step, self.chance.shape, strict=True)
        )
        return highest_near(self.chance, row, column, corners=False)

    def in_frame(
        self, y: NDArray[np.float64], x: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Places of the map in pixels of the frame."""
        return (y + 0.5) * self.step[0] - 0.5, (x + 0.5) * self.step[1] - 0.5


def see(
    image: NDArray[np.float64],
    sigma: float,
    device: torch.device,
    *,
    noise_sd: float | None = None,
) -> NetworkView:
    """Let the network look at a frame.

    Parameters
    ----------
    image
        One frame (Y, X) without NaN; atoms are bright.
    sigma
        Width of an atom's image in pixels.
    device
        Where to compute.
    noise_sd
        Standard deviation of the frame's noise; measured when left out.

    Raises
    ------
    ModelFileError
        If the weights of this installation are damaged.
    """
    noise_sd = noise_level(image) if noise_sd is None else noise_sd
    noise_sd = max(noise_sd, float(image.std()) / _CLEANEST)
    seen = torch.as_tensor(network_input(image, sigma, noise_sd), device=device)[None]
    chance = torch.empty(seen.shape[-2:], device=device)
    network = load_network(str(device))

    def look(tile: tuple[tuple[slice, slice], ...]) -> None:
        inner, outer, within = tile
        with torch.inference_mode():
            # a third faster on CPUs
            part = seen[:, :, *outer].contiguous(memory_format=torch.channels_last)
            chance[inner] = torch.sigmoid(network(part)[0])[within]

    tiles = list(_tiles(seen.shape[-2], seen.shape[-1]))
    do_side_by_side(look, tiles)
    map_ = chance.cpu().double().numpy()
    return NetworkView(map_, np.array(image.shape) / map_.shape)


def _tiles(
    rows: int, columns: int
) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice], tuple[slice, slice]]]:
    """Parts of a large map, that the memory holds little at a time: itself, seen, in what is seen.

    As each is seen with all that the network looks at, the answer is that of the whole.
    """
    lines = [_tile_lines(rows), _tile_lines(columns)]
    for row in lines[0]:
        for column in lines[1]:
            inner, outer, within = zip(row, column, strict=True)
            yield inner, outer, within


def _tile_lines(length: int) -> list[tuple[slice, slice, slice]]:
    if length <= _TILE + 2 * _SEEN:
        whole = slice(0, length)
        return [(whole, whole, whole)]
    lines = []
    for start in range(0, length, _TILE):
        stop = min(start + _TILE, length)
        first, last = max(0, start - _SEEN), min(length, stop + _SEEN)
        lines.append((slice(start, stop), slice(first, last), slice(start - first, stop - first)))
    return lines


@cache
def load_network(device: str = "cpu") -> AtomNetwork:
    """Load the weights that come with the package, after a check of their hash and shapes.

    Raises
    ------
    ModelFileError
        If they are missing or damaged.
    """
    folder = resources.files(__package__)
    try:
        about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
        content = (folder / _WEIGHTS).read_bytes()
    except (OSError, ValueError) as error:
        raise ModelFileError(
            f"The network of the detection cannot be read ({error}): install the package anew."
        ) from None
    return network_from(about, content).to(device)


def network_from(about: Any, content: bytes) -> AtomNetwork:
    """Make a network of its description and its weights.

    Parameters
    ----------
    about
        What stands in the JSON file beside the weights.
    content
        The weights, as safetensors.

    Raises
    ------
    ModelFileError
        If the two do not belong together.
    """
    broken = "The network of the detection is damaged ({}): install the package anew."
    if not isinstance(about, dict) or hashlib.sha256(content).hexdigest() != about.get("sha256"):
        raise ModelFileError(broken.format("its weights have another hash"))
    if len(content) > _MAX_BYTES:
        raise ModelFileError(broken.format("its weights are too large"))
    try:
        with torch.device("meta"):  # no first weights, and no random numbers for them
            network = AtomNetwork(**about["network"])
        network.load_state_dict(load(content), assign=True)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ModelFileError(broken.format(reason)) from None
    network.requires_grad_(requires_grad=False).eval()
    return network
