"""Scales and converter ranges from calibration data: what a designer sets before any chip is programmed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from crosstile.circuits.adc import make_range
from crosstile.crossbar.references import read_digits
from crosstile.errors import DataError
from crosstile.nn.fit import ideal_arrays
from crosstile.nn.layer import MappedLayer
from crosstile.nn.scale import InputScale
from crosstile.specs.chip import ChipSpec
from crosstile.specs.parts import ScaleSpec

_MAX_VALUES = 2_000_000
_MAX_VECTORS = 512
_MAX_SUMS = 4_000_000


def input_scale(x: Tensor, bits: int, spec: ScaleSpec, *, signed: bool, layer: str) -> InputScale:
    """Find the scale of a layer's inputs.

    ``max`` covers all values seen, ``percentile`` the given share of magnitudes (of those that are not zero, which
    sparse activations would otherwise crowd out), ``mse`` minimises the squared quantisation error.

    Raises:
        DataError: the inputs are not finite.
    """
    flat = x.detach().reshape(-1).to(torch.float32)
    if not bool(torch.isfinite(flat).all()):
        raise DataError(f"inputs of layer {layer!r} are not finite on the calibration data; check data and weights.")
    stride = max(1, flat.numel() // _MAX_VALUES)
    magnitude = flat[::stride].abs().cpu().numpy()
    peak = float(flat.abs().max()) if flat.numel() else 0.0
    probe = InputScale(1.0, signed, bits)
    if peak == 0.0:
        return probe
    reach = peak
    if spec.method == "percentile":
        active = magnitude[magnitude > 0]
        if active.size:
            reach = float(np.percentile(active, spec.percentile))
    elif spec.method == "mse":
        sample = magnitude[:: max(1, magnitude.size // 100_000)].astype(np.float64)
        errors = {}
        for share in np.linspace(0.2, 1.0, 41):
            step = peak * share / probe.largest
            errors[share] = float(np.mean((np.clip(np.rint(sample / step), 0, probe.largest) * step - sample) ** 2))
        reach = peak * min(errors, key=lambda share: errors[share])
    scale = float(np.float32(max(reach, 1e-30) / probe.largest))
    return InputScale(scale if scale > 0 else 1.0, signed, bits)


def converter_spans(layer: MappedLayer, percentile: float) -> tuple[npt.NDArray[np.float64], float]:
    """Return, for each slice, the magnitude that a share ``percentile`` of the sums on arrays of ideal cells does not
    exceed, and the mean share of a cell's conductance that the wires let act.

    Args:
        layer: a layer with its input scale and its calibration inputs.
    """
    chip, scale = layer.chip, layer.scale
    ideal: ChipSpec = chip.replaced(cell__effects=()) if chip.cell.effects else chip
    if chip.adc.references != "uniform":  # their codes are those of sums without losses
        ideal = ideal_arrays(chip)
    assert layer.calibration is not None
    driven = read_digits(layer.calibration, chip, signed=scale.signed, magnitude_bits=scale.magnitude_bits)
    sums: list[list[npt.NDArray[np.float32]]] = [[] for _ in range(chip.weights.slices)]
    wanted_s = acting_s = 0.0
    for number, pack in enumerate(layer.plan.packs[:4]):
        matrix = layer.build(number, ideal, seed=0, trial=0)
        wanted_s, acting_s = wanted_s + matrix.total_s[0], acting_s + matrix.total_s[2]
        rows = layer.pack_rows(pack)
        for segment in matrix.segments:
            product = np.abs(driven[:, rows[segment.rows]] @ segment.levels[:, : matrix.columns].astype(np.float32))
            grouped = product.reshape(len(product), -1, matrix.outputs)
            for group, digit in enumerate(matrix.column_slice):
                values = grouped[:, group].reshape(-1)
                sums[digit].append(values[:: max(1, values.size * len(matrix.segments) // _MAX_SUMS)])
    spans = []
    for values_of_slice in sums:
        values = np.concatenate(values_of_slice)
        rank = min(values.size - 1, int(np.ceil(percentile / 100.0 * values.size)) - 1)
        spans.append(float(np.partition(values, rank)[rank]))
    return np.asarray(spans), 1.0 if acting_s == wanted_s else acting_s / wanted_s


def set_converter(layer: MappedLayer, x: Tensor) -> None:
    """Keep a sample of a layer's calibration inputs, and set the range of its converters by them."""
    chip, q = layer.chip, layer.scale.quantise(x.detach()[: max(1, min(len(x), 32))])
    seen = layer.make_inputs(q).vectors(q)
    # At random, since a stride can fall in step with the rows of an image and see its edge alone.
    kept = np.sort(np.random.default_rng(0).permutation(len(seen))[:_MAX_VECTORS])
    layer.calibration = seen[torch.from_numpy(kept).to(seen.device)].cpu().numpy().astype(np.int32)
    spans, level = None, 1.0
    if chip.adc.bits is not None and chip.adc.range == "calibrated":
        spans, left = converter_spans(layer, chip.adc.percentile)
        level = left if chip.compensation.outputs != "none" else 1.0
    layer.adc = make_range(chip, spans, level)
