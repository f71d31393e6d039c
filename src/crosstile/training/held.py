"""What a programmed chip holds of a layer, as weights: the matrix that its arrays multiply with.

    W_hw = s_w a M,      M the folded matrix of the programmed arrays, in units of integer weights

M comes from the simulator itself: the cells after programming, ageing and faults, seen through their wires, all slices and
polarities joined as decoding joins them. a is the gain of each output where the chip fits one, s_w the weights' scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from crosstile.crossbar.collapsed import collapse, plane_power
from crosstile.nn.layer import MappedLayer


@dataclass(frozen=True)
class HeldPack:
    """One pack; several groups of a layer stand along its diagonal, and disturb each other off it."""

    channels: slice
    """Input channels of the layer that drive its rows."""
    groups: int
    matrix: Tensor
    """(pack outputs, pack rows) weights that its arrays act as; rows ordered channel, kernel position."""
    variance: Tensor | None
    """(pack outputs + unit columns, pack rows) variance of one read, in integer units, for a squared digit of 1."""
    unit_factor: Tensor | None
    """(unit columns, pack outputs): how the noise of shared unit columns enters the outputs."""
    noise_scale: Tensor
    """(pack outputs,) standard deviations in integer units become those of an output; the inputs' scale is left out."""


@dataclass(frozen=True)
class Held:
    """One layer."""

    packs: tuple[HeldPack, ...]
    bias: Tensor | None
    """(outputs,) the digital bias as programmed."""
    offset: Tensor | None
    """(outputs,) what the chip's fit adds to it; None where it fits none."""
    power: Tensor | None
    """(integers,) sum over bit planes of squared digits, which weights read noise; None without read noise."""


def held_by(layer: MappedLayer, device: torch.device) -> Held:
    """Return what the chip that ``layer`` is programmed into holds."""
    shape, bits, step = layer.shape, layer.scale.magnitude_bits, layer.chip.inputs.dac_bits
    planes = -(-bits // step)
    scale = layer.weight_scale.double().cpu().numpy()
    correction = layer.correction
    gain = scale if correction is None else scale * correction[0]
    packs, first, noisy = [], 0, False

    def move(values: object) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(device)

    for pack, programmed_pack in zip(layer.plan.packs, layer.packs, strict=True):
        found = collapse(programmed_pack, pack.rows, 2**bits - 1, step, planes)
        mine = gain[first : first + pack.outputs]
        first += pack.outputs
        matrix = np.sum([part.astype(np.float64) for part in found.matrices], axis=0) * mine
        start = pack.first_group * shape.channels
        noisy = noisy or found.variance is not None
        packs.append(
            HeldPack(
                slice(start, start + pack.groups * shape.channels),
                pack.groups,
                move(matrix.T),
                None if found.variance is None else move(found.variance.T),
                None if found.unit_factor is None else move(found.unit_factor),
                move(mine),
            )
        )
    bias = None if layer.bias is None else layer.bias.detach().to(device)
    fitted = correction is not None and bool(np.any(correction[1]))
    offset = move(correction[1] * scale * layer.scale.scale) if correction is not None and fitted else None
    return Held(tuple(packs), bias, offset, move(plane_power(2**bits - 1, step, planes)) if noisy else None)
