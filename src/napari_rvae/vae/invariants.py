"""Rotation-invariant features of crops that need no training.

Amplitudes and triple products (bispectrum; R. Kakarala, J. Math. Imaging Vis. 44, 341 (2012)) of
the steerable components. The encoder and the finder of structural units work on them.
"""

from __future__ import annotations

import torch

__all__ = ["count_features", "feature_names", "invariant_features"]

#: Angular orders whose triple products are taken.
_TRIPLE_ORDERS = 7

#: Radial components of each order that are used.
_RADIAL = 8


def _triples(exists: torch.Tensor) -> list[tuple[int, int, torch.Tensor]]:
    """Orders i and j, and which radial components (K,) exist in i, j and i + j."""
    n_orders = len(exists)
    return [
        (i, j, exists[i] & exists[j] & exists[i + j])
        for i in range(min(_TRIPLE_ORDERS, n_orders))
        for j in range(max(i, 1), min(_TRIPLE_ORDERS, n_orders))
        if i + j < n_orders
    ]


def count_features(mask: torch.Tensor) -> int:
    """Number of features F of coefficients that exist where `mask` (M, 2, K) is 1."""
    exists = mask[:, 0, :_RADIAL].bool()
    count = int(exists.sum())
    return count + sum(int(both.sum()) * (2 if i else 1) for i, _, both in _triples(exists))


def feature_names(mask: torch.Tensor) -> list[str]:
    """Names (F,) of the features: f0, f1, ...; those that change sign in a mirror end in _odd."""
    exists = mask[:, 0, :_RADIAL].bool()
    odd = [False] * int(exists.sum())
    for i, _, both in _triples(exists):
        odd += [False] * int(both.sum())
        if i:
            odd += [True] * int(both.sum())
    return [f"f{number}_odd" if is_odd else f"f{number}" for number, is_odd in enumerate(odd)]


def invariant_features(data: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Invariants (N, F) of coefficients (N, M, 2, K).

    Amplitudes of all components, and triple products of |Z|^(1/3) phases, which grow like the
    data and not like their cube; components that do not exist, where `mask` (M, 2, K) is 0, are
    left out.
    """
    exists = mask[:, 0, :_RADIAL].bool()
    z = torch.complex(data[:, :, 0, :_RADIAL], data[:, :, 1, :_RADIAL])
    amplitude = z.abs()
    parts = [amplitude[:, exists]]
    q = z * amplitude.clamp_min(1e-6) ** (-2 / 3)
    for i, j, both in _triples(exists):
        triple = q[:, i, both] * q[:, j, both] * q[:, i + j, both].conj()
        parts.append(triple.real)
        if i:  # with order 0 the product is real
            parts.append(triple.imag)
    return torch.cat(parts, 1)
