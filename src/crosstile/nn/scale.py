"""How a layer's inputs become integers."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class InputScale:
    """How a layer's inputs become integers."""

    scale: float
    """Value of one input step."""
    signed: bool
    bits: int

    @property
    def magnitude_bits(self) -> int:
        """Bits of the magnitude: the sign is one of the input bits."""
        return max(self.bits - 1, 1) if self.signed else self.bits

    @property
    def largest(self) -> int:
        """Largest integer."""
        return int(2**self.magnitude_bits - 1)

    def quantise(self, x: Tensor) -> Tensor:
        """Return the integers as float32; half-way cases go to the even neighbour."""
        lowest = -self.largest if self.signed else 0
        return x.mul(1.0 / self.scale).round_().clamp_(lowest, self.largest)
