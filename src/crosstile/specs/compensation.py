"""What a designer does against the error that wires and cells make, once the cells are described."""

from __future__ import annotations

from typing import Literal

from crosstile.specs.base import Spec


class CompensationSpec(Spec):
    """Remedies, all off unless asked for."""

    outputs: Literal["none", "layer_gain", "gain", "gain_offset"] = "none"
    """Digital correction y = a s + b of each output, fitted on the programmed chip with calibration inputs; a multiplies
    into the output's scale and b adds to its bias, so that inference costs nothing more. layer_gain: one a for a layer."""
    rows: Literal["as_mapped", "by_current"] = "as_mapped"
    """by_current: the rows that carry most current on calibration inputs are wired nearest the sense amplifiers."""
    weights: Literal["as_mapped", "precompensated"] = "as_mapped"
    """precompensated: conductances are chosen such that the array *with* its wires is the wanted matrix, up to a scale
    that the outputs' gain takes back (cells must take values between levels)."""
