"""The draws of :mod:`crosstile.crossbar.noise` in torch, for devices that the compiled kernels do not serve.

64-bit unsigned arithmetic is carried in int64, whose products wrap; logical shifts mask the sign out.
"""

from __future__ import annotations

import torch
from torch import Tensor

from crosstile.crossbar.noise import quantile_table

_MASK32 = 0xFFFFFFFF


def _signed(value: int) -> int:
    value &= 2**64 - 1
    return value - 2**64 if value >= 2**63 else value


def _shift(z: Tensor, bits: int) -> Tensor:
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def mix64(z: Tensor) -> Tensor:
    """SplitMix64's finaliser on int64 tensors."""
    z = z + _signed(0x9E3779B97F4A7C15)
    z = (z ^ _shift(z, 30)) * _signed(0xBF58476D1CE4E5B9)
    z = (z ^ _shift(z, 27)) * _signed(0x94D049BB133111EB)
    return z ^ _shift(z, 31)


def normal(key: int, counters: Tensor, columns: int) -> Tensor:
    """Return (n, columns) float32 draws for int64 ``counters`` (n,)."""
    state = mix64(mix64(counters) ^ _signed(key))
    low, high = (state & _MASK32)[:, None], _shift(state, 32)[:, None]
    column = torch.arange(columns, device=counters.device, dtype=torch.int64) * 0x9E3779B9
    h = (low + column) & _MASK32
    h = ((h ^ (h >> 16)) * 0x21F0AAAD) & _MASK32
    h = ((h ^ (h >> 15)) + high) & _MASK32
    h = (h * 0xD35A2D97) & _MASK32
    h = h ^ (h >> 15)
    table = torch.from_numpy(quantile_table()).to(counters.device)
    return table[h & 4095] + table[(h >> 16) & 4095]
