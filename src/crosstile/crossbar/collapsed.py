"""Runs a folded pack: one or two exact products, and folded read noise behind ideal converters."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from crosstile.crossbar import noise_torch
from crosstile.crossbar.collapse import Collapsed, plane_power
from crosstile.crossbar.inputs import Index, Inputs
from crosstile.crossbar.matrix import PackMatrix
from crosstile.crossbar.reader import Stream
from crosstile.specs.chip import ChipSpec


def run(
    folded: Collapsed,
    pack: PackMatrix,
    inputs: Inputs,
    rows: Index,
    chip: ChipSpec,
    magnitude_bits: int,
    stream: Stream,
) -> Tensor:
    """Return (n, outputs) in units of integer input times integer weight, float32."""
    device = inputs.values.device
    parts = [inputs.product(inputs.values, rows, torch.from_numpy(part).to(device)) for part in folded.matrices]
    if folded.variance is None:
        return (parts[0] if len(parts) == 1 else parts[0].to(torch.float64) + parts[1]).to(torch.float32)
    out = sum((part.to(torch.float64) for part in parts), torch.zeros((), dtype=torch.float64, device=device))
    step = chip.inputs.dac_bits
    power = torch.from_numpy(plane_power(2**magnitude_bits - 1, step, -(-magnitude_bits // step))).to(device)
    weighted = power[inputs.values.abs().to(torch.int64)]
    spread = inputs.product(weighted, rows, torch.from_numpy(folded.variance).to(device))
    counters = stream.first_vector + torch.arange(len(spread), device=device)
    noise = torch.sqrt(spread) * noise_torch.normal(stream.key(pack.number, "folded"), counters, spread.shape[1])
    out = out + noise[:, : pack.outputs]
    if folded.unit_factor is not None:
        # Joined one by one: a matrix product would add up in an order that depends on the batch.
        for number, factor in enumerate(torch.from_numpy(np.asarray(folded.unit_factor)).to(device)):
            out = out + noise[:, pack.outputs + number, None] * factor
    return out.to(torch.float32)
