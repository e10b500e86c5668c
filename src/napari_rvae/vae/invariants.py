"""Rotation-invariant features of crops that need no training.

Amplitudes and triple products (bispectrum) of the steerable components; the finder of
structural units works on them.
"""

from __future__ import annotations

import torch

from napari_rvae.vae.basis import SteerableBasis

__all__ = ["invariant_features"]

#: Angular orders whose triple products are taken.
_TRIPLE_ORDERS = 7

#: Radial components of each order that are used.
_RADIAL = 8


def invariant_features(data: torch.Tensor, basis: SteerableBasis) -> torch.Tensor:
    """Invariants (N, F) of coefficients (N, M, 2, K).

    Amplitudes of all components, and triple products of |Z|^(1/3) phases, which grow like the
    data; components that do not exist are left out.
    """
    exists = basis.mask[:, 0, :_RADIAL].bool()
    z = torch.complex(data[:, :, 0, :_RADIAL], data[:, :, 1, :_RADIAL])
    amplitude = z.abs()
    parts = [amplitude[:, exists]]
    q = z * amplitude.clamp_min(1e-6) ** (-2 / 3)
    n_orders = z.shape[1]
    for i in range(min(_TRIPLE_ORDERS, n_orders)):
        for j in range(max(i, 1), min(_TRIPLE_ORDERS, n_orders)):
            if i + j >= n_orders:
                continue
            both = exists[i] & exists[j] & exists[i + j]
            triple = q[:, i, both] * q[:, j, both] * q[:, i + j, both].conj()
            parts.append(triple.real)
            if i:  # with order 0 the product is real
                parts.append(triple.imag)
    return torch.cat(parts, 1)
