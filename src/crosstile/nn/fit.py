"""What is fitted to the arrays of a programmed layer: gain and offset of its outputs, references of its converters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crosstile.circuits.adc import References
from crosstile.specs.chip import ChipSpec

FloatArray = npt.NDArray[np.float64]


def fit_outputs(found: FloatArray, wanted: FloatArray, *, offset: bool) -> tuple[FloatArray, FloatArray]:
    """Return (outputs,) gain a and offset b that minimise |a found + b - wanted|^2 over the rows; 1 and 0 where nothing is.

    Args:
        found, wanted: (n, outputs). offset: False keeps b = 0.
    """
    mean_found, mean_wanted = (v.mean(axis=0) if offset else np.zeros(v.shape[1]) for v in (found, wanted))
    centred = found - mean_found
    power = (centred**2).sum(axis=0)
    product = (centred * (wanted - mean_wanted)).sum(axis=0)
    usable = (power > 0) & (product > 0)
    gain = np.where(usable, product / np.where(usable, power, 1.0), 1.0)
    return gain, np.where(usable, mean_wanted - gain * mean_found, 0.0)


def fit_layer(found: FloatArray, wanted: FloatArray, scale: FloatArray) -> float:
    """Return the one gain a that minimises |s (a found - wanted)|^2 over rows and outputs; 1 where none is positive.

    Args:
        found, wanted: (n, outputs). scale: (outputs,) s, what a unit of each output stands for.
    """
    power = float(((found * scale) ** 2).sum())
    product = float((found * wanted * scale**2).sum())
    return product / power if power > 0 and product > 0 else 1.0


def ideal_arrays(chip: ChipSpec) -> ChipSpec:
    """Return the chip with ideal cells and wires, read by the same converters with evenly spaced references."""
    ideal: ChipSpec = chip.replaced(
        cell__effects=(), array__wires=None, compensation__rows="as_mapped", compensation__weights="as_mapped",
        adc__references="uniform",
    )  # fmt: skip
    return ideal


@dataclass(frozen=True)
class Fitted:
    """What was fitted to a programmed layer."""

    correction: tuple[FloatArray, FloatArray] | None
    """Gain and offset of each output, the offset in units of integer input times integer weight."""
    references: References | None
