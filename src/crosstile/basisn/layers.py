"""Layers whose kernels are combinations of the global basis.

    y = s_k s_x sum_i q_i (sum_j c_kj b_ji) + bias,     c integer coefficients, b integer basis vectors

The integer weights sum_j c_kj b_ji stand where a mapped layer has those of its own cells, so that calibration, converters,
corrections and engines are the same; what differs is where the columns come from (:mod:`crosstile.basisn.arrays`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from crosstile.basisn.arrays import BasisArrays, build_switched_pack
from crosstile.basisn.coefficients import QuantisedCodes, largest_code, quantise_codes
from crosstile.basisn.regularise import avoid_contests
from crosstile.basisn.segments import block_segments, combine
from crosstile.crossbar.matrix import PackMatrix
from crosstile.errors import ModelError
from crosstile.mapping.capture import LayerCall
from crosstile.nn.conv import MappedConv1d, MappedConv2d
from crosstile.nn.layer import FloatArray, MappedLayer
from crosstile.nn.linear import MappedLinear
from crosstile.specs.chip import ChipSpec

Combined = Literal["switched", "digital"]
Int8 = npt.NDArray[np.int8]


@dataclass(frozen=True)
class Coding:
    """How kernels are coded on a basis."""

    arrays: BasisArrays
    bits: int
    """Of a coefficient, sign included."""
    sparsity: int
    """Vectors that one segment of a kernel may use, over all sets."""
    per: str = "kernel"
    """Scales a kernel or a layer."""
    contest: float = 0.0
    """Strength against contests while codes are found; see :func:`crosstile.basisn.regularise.avoid_contests`."""
    codes: dict[str, QuantisedCodes] | None = None
    """Coefficients (outputs, blocks, sets * vectors) and scales (outputs,) by layer, if they were found before (by training)."""
    combined: Combined = "switched"
    """switched: currents are added before conversion; digital: each column is converted alone, coefficients multiply codes."""

    def codes_of(self, name: str, outputs: int, blocks: int) -> QuantisedCodes | None:
        """Return the coefficients that a layer was given; None where they are still to be found.

        Raises:
            ModelError: they do not fit the layer, the basis or the bits.
        """
        if self.codes is None:
            return None
        if name not in self.codes:
            raise ModelError(
                f"layer {name!r} has no coefficients among those given, which are for {', '.join(self.codes) or 'no layer'}; "
                "they belong to another network."
            )
        found, top = self.codes[name], largest_code(self.bits)
        wanted = (outputs, blocks, self.arrays.basis.sets * self.arrays.basis.vectors)
        if found.codes.shape != wanted or found.scale.shape not in ((outputs,), (1,)):
            raise ModelError(
                f"layer {name!r}: coefficients of shape {wanted} (outputs, segments, vectors) with a scale an output are wanted, "
                f"found {found.codes.shape} with {found.scale.shape} scales; they belong to another network, basis or chip."
            )
        if int(np.abs(found.codes.astype(np.int64)).max(initial=0)) > top:
            raise ModelError(f"layer {name!r}: coefficients of {self.bits} bits reach {top}, found larger ones.")
        return found


class BasisLayer(MappedLayer):
    """What linear and convolutional layers on a basis have in common."""

    coding: Coding
    codes: Int8
    """(outputs, blocks, sets * vectors)."""

    def __init__(self, *layer: Any, coding: Coding) -> None:
        """Take the arguments of the layer on its own weights, and the basis, which writing weights needs."""
        self.coding = coding
        super().__init__(*layer)

    def write_weights(self, weight: FloatArray, bias: Tensor | None) -> None:
        """Code other weights (outputs, rows) on the basis, unless the coding has this layer's coefficients."""
        super().write_weights(weight, bias)
        (pack,), flat = self.plan.packs, self.coding.arrays.basis.flat
        found = self.coding.codes_of(self.name, len(weight), len(pack.blocks))
        if found is None:
            segments = block_segments(weight, pack.blocks, flat.shape[1])
            found = quantise_codes(segments, flat, self.coding.sparsity, self.coding.bits, per=self.coding.per)
            if self.coding.contest > 0:
                found = avoid_contests(segments, flat, found, self.coding.bits, self.coding.contest)
        self.codes = found.codes
        self.integers = combine(found.codes, flat, pack.blocks).astype(np.float32)
        scale = np.broadcast_to(found.scale, (len(weight),)).astype(np.float32)
        self.weight_scale = torch.from_numpy(scale).to(self.weight_scale.device)

    def build(self, number: int, chip: ChipSpec, *, seed: int, trial: int, first_array: int = 0) -> PackMatrix:
        """Return pack ``number`` as the basis arrays of a chip hold it; combined digitally, its outputs are columns of blocks."""
        codes, pack = self.codes, self.plan.packs[number]
        if self.coding.combined == "digital":
            _, blocks, vectors = codes.shape
            codes = np.eye(blocks * vectors, dtype=np.int8).reshape(-1, blocks, vectors)
            pack = replace(pack, outputs=len(codes))
        return build_switched_pack(codes, pack, self.coding.arrays, chip, seed=seed, trial=trial, pack_number=number)

    def matmul(self, q: Tensor, samples: int) -> Tensor:
        """Return (n, outputs) sums in integer units; combined digitally, converted dot products times coefficients."""
        sums = super().matmul(q, samples)
        if self.coding.combined == "switched":
            return sums
        codes = torch.from_numpy(self.codes.reshape(len(self.codes), -1).T.astype(np.float64)).to(sums.device)
        return (sums.double() @ codes).float()

    def quantised(self) -> QuantisedCodes:
        """Return coefficients and scales."""
        return QuantisedCodes(self.codes, self.weight_scale.double().cpu().numpy())


class BasisLinear(BasisLayer, MappedLinear):
    """Stands in for ``nn.Linear``."""


class BasisConv2d(BasisLayer, MappedConv2d):
    """Stands in for ``nn.Conv2d``."""


class BasisConv1d(BasisLayer, MappedConv1d):
    """Stands in for ``nn.Conv1d``."""


def check_groups(name: str, groups: int) -> None:
    """Raise :class:`ModelError` for a layer with groups, whose kernels see different inputs."""
    if groups > 1:
        raise ModelError(
            f"layer {name!r} has {groups} groups: its kernels see different inputs and cannot share the basis columns of one "
            f"read. Keep it digital (--digital {name})."
        )


def basis_layer(call: LayerCall, chip: ChipSpec, coding: Coding) -> BasisLayer:
    """Return the layer of ``call`` on the basis; ``chip`` is that of :func:`crosstile.basisn.arrays.coefficient_chip`.

    Raises:
        ModelError: the layer has groups, or the coding's coefficients do not fit it.
    """
    module, shape = call.module, call.shape()
    assert isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d))
    check_groups(call.name, shape.groups)
    weight = module.weight.detach().double().cpu().numpy()
    weight = weight.reshape(len(weight), shape.channels, shape.kernel_area)
    if isinstance(module, nn.Linear):
        return BasisLinear(call.name, shape, weight, module.bias, chip, coding=coding)
    if isinstance(module, nn.Conv2d):
        return BasisConv2d(call.name, shape, weight, module.bias, chip, module, coding=coding)
    return BasisConv1d(call.name, shape, weight, module.bias, chip, module, coding=coding)
