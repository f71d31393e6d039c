"""The forward pass of one pack: integer inputs times programmed arrays, by the cheapest algebra that gives the same answer.

``collapsed``  ideal converters, or integer sums that no converter can change: all digits are one matrix product.
``tables``     bit-serial inputs behind a real converter on the CPU: the fused look-up kernel.
``planes``     everything else: one exact product for each plane and segment, then a fused conversion.

Each is exact against :mod:`crosstile.crossbar.reference`: equal codes for deterministic chips, equal
distributions for noisy ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from crosstile.circuits.adc import AdcRange
from crosstile.crossbar import collapsed, planes, tables
from crosstile.crossbar.collapsed import Collapsed, collapse
from crosstile.crossbar.inputs import Inputs
from crosstile.crossbar.matrix import PackMatrix
from crosstile.crossbar.reader import Clipping, PackReader, Stream
from crosstile.specs.chip import ChipSpec

Mode = Literal["collapsed", "tables", "planes"]
MODES: tuple[Mode, ...] = ("collapsed", "tables", "planes")


def choose_mode(pack: PackMatrix, chip: ChipSpec, adc: AdcRange | None, *, signed: bool, device: torch.device) -> Mode:
    """Choose the cheapest exact algebra; see the module's docstring."""
    if adc is None or _converter_changes_nothing(pack, chip, adc, signed=signed):
        return "collapsed"
    bipolar = signed and chip.inputs.signed == "bipolar"
    if (
        device.type == "cpu"
        and chip.inputs.dac_bits == 1
        and not bipolar
        and pack.grid.products == 1
        and not pack.grid.double
    ):
        return "tables"
    return "planes"


def _converter_changes_nothing(pack: PackMatrix, chip: ChipSpec, adc: AdcRange, *, signed: bool) -> bool:
    """True when each sum is an integer that has a code of its own."""
    if adc.references is not None or pack.noisy or not pack.integer_levels:
        return False
    if any(gain != 1.0 for gain in (*adc.gain, adc.unit_gain)):
        return False
    bipolar = signed and chip.inputs.signed == "bipolar"
    for segment in pack.segments:
        levels = segment.levels
        up, down = np.maximum(levels, 0).sum(axis=0).max(), np.minimum(levels, 0).sum(axis=0).min()
        if bipolar:
            up = np.abs(levels).sum(axis=0).max()
            down = -up
        if up * chip.max_digit > adc.highest or down * chip.max_digit < adc.lowest:
            return False
    return True


@dataclass
class PackEngine:
    """One programmed pack, ready to run."""

    pack: PackMatrix
    rows: npt.NDArray[np.int64]
    """(pack rows,) which vector entry of the layer drives each row."""
    mode: Mode
    reader: PackReader | None
    folded: Collapsed | None

    @classmethod
    def build(
        cls,
        pack: PackMatrix,
        rows: npt.NDArray[np.int64],
        chip: ChipSpec,
        adc: AdcRange | None,
        *,
        signed: bool,
        magnitude_bits: int,
        device: torch.device,
        mode: Mode | None = None,
    ) -> PackEngine:
        """Prepare a pack; ``mode`` overrides the choice (used to test one against the other)."""
        mode = mode or choose_mode(pack, chip, adc, signed=signed, device=device)
        if mode == "collapsed":
            order = np.argsort(rows)  # whole channels in the order of a convolution kernel
            step = chip.inputs.dac_bits
            folded = collapse(pack, len(rows), 2**magnitude_bits - 1, step, -(-magnitude_bits // step)).reordered(order)
            return cls(pack, rows[order], mode, None, folded)
        if adc is None:
            raise ValueError(f"mode {mode!r} needs a converter; the chip has an ideal one")
        return cls(pack, rows, mode, PackReader(pack, chip, adc, magnitude_bits, device), None)

    def run(self, inputs: Inputs, chip: ChipSpec, magnitude_bits: int, *, signed: bool, stream: Stream) -> torch.Tensor:
        """Return (n, outputs) in units of integer input times integer weight, float32."""
        if self.mode == "collapsed":
            assert self.folded is not None
            return collapsed.run(self.folded, self.pack, inputs, self.rows, chip, magnitude_bits, stream)
        assert self.reader is not None
        run = tables.run if self.mode == "tables" else planes.run
        return run(self.reader, inputs, self.rows, signed=signed, stream=stream)

    @property
    def clipping(self) -> Clipping | None:
        """Clipped codes so far; ``None`` where nothing is converted one by one."""
        return self.reader.clipping if self.reader else None
