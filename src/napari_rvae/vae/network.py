"""What the networks of both engines are made of."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["Network", "draw_weights", "linear"]


class Network(nn.Module):
    """A variational autoencoder of crops.

    Attributes
    ----------
    n_latents
        Number of latents.
    s2
        Variance of a datum (a coefficient, a pixel) about what is decoded.
    rotation
        False for a plain model: every crop has the angle 0.
    """

    n_latents: int
    s2: float
    rotation: bool


class _Linear(nn.Linear):
    """Fully connected layer that takes no global random numbers when it is made."""

    def reset_parameters(self) -> None:
        """Leave the weights to :func:`linear`."""


def linear(n_in: int, n_out: int, seed: torch.Generator, *, bias: bool = True) -> nn.Linear:
    """Fully connected layer with torch's usual first weights, uniform within n_in^-1/2."""
    layer = _Linear(n_in, n_out, bias=bias)
    draw_weights(layer, seed)
    return layer


def draw_weights(module: nn.Module, seed: torch.Generator) -> None:
    """Draw the weights of all fully connected layers anew, in order."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            bound = layer.in_features**-0.5
            for parameter in layer.parameters():
                parameter.data.copy_(
                    torch.empty(parameter.shape).uniform_(-bound, bound, generator=seed)
                )
