"""``map_basis``: a network becomes the same network on one basis that all of its layers share.

    folded weights  ->  segments of all layers  ->  basis B, once  ->  cells of ``sets`` arrays
                                                                   ->  codes of each layer on B  ->  switches

Batch-norms are folded and rows laid on arrays as for any mapped network; then each layer's kernels are coded on the basis.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from crosstile.basisn.arrays import Basis, BasisArrays, coefficient_chip, device_chip
from crosstile.basisn.coefficients import QuantisedCodes
from crosstile.basisn.dictionary import Method, initial_basis, quantise
from crosstile.basisn.layers import BasisLayer, Coding, Combined, basis_layer, check_groups
from crosstile.basisn.save import BasisModel, LayerOnBasis
from crosstile.basisn.segments import block_segments, combine
from crosstile.errors import ModelError, SpecError
from crosstile.mapping.capture import LayerCall, capture
from crosstile.mapping.fold import fold_norms
from crosstile.mapping.modules import frozen_copy
from crosstile.mapping.plan import Block, plan_layer
from crosstile.mapping.replace import MappedNetwork, check_batch, map_network
from crosstile.nonidealities.write_verify import WriteStatistics
from crosstile.specs.chip import ChipSpec

Array = NDArray[np.float64]
_PROBE = 8


@dataclass(frozen=True)
class FoldedLayer:
    """One layer of a network whose batch-norms are folded."""

    call: LayerCall
    blocks: tuple[Block, ...]
    """How the plan cuts its rows."""
    weight: Array
    """(outputs, rows)."""

    def segments(self, rows: int) -> Array:
        """Return the (outputs, blocks, rows) segments."""
        return block_segments(self.weight, self.blocks, rows)


def folded_layers(
    model: nn.Module, chip: ChipSpec, calibration: Tensor, digital: Sequence[str] = ()
) -> tuple[nn.Module, dict[str, FoldedLayer]]:
    """Return a copy of the network with its batch-norms folded, and its layers as they go on arrays.

    Args:
        chip: as :func:`crosstile.basisn.arrays.coefficient_chip` gives it. calibration: (batch, ...) inputs; a few are run.

    Raises:
        ModelError: the network cannot be mapped, or a layer has groups.
        DataError: the calibration data does not fit.
    """
    check_batch(calibration, "calibration data")
    network, x = frozen_copy(model, calibration[:_PROBE])
    seen = capture(network, x, digital)
    if fold_norms(network, seen, x):
        seen = capture(network, x, digital)
    layers = {}
    for name, call in seen.layers.items():
        shape = call.shape()
        check_groups(name, shape.groups)
        weight = cast(Tensor, call.module.weight).detach().double().cpu().numpy()
        layers[name] = FoldedLayer(call, plan_layer(shape, chip).packs[0].blocks, weight.reshape(len(weight), -1))
    return network, layers


def make_basis(
    layers: Mapping[str, FoldedLayer],
    rows: int,
    *,
    sets: int,
    vectors: int,
    cell_bits: int = 1,
    method: Method = "pca",
    sparsity: int = 8,
    seed: int = 0,
) -> Basis:
    """Return a basis for the segments of all layers.

    Args:
        rows: of an array. sets: arrays side by side. vectors: of an array. cell_bits: 1 is a ternary basis.
        method: see :mod:`crosstile.basisn.dictionary`. ``pca`` has at most ``rows`` directions; ``kmeans`` gives more.
        sparsity: vectors that a segment may use in K-SVD.
    """
    count = sets * vectors
    pieces = [layer.segments(rows) for layer in layers.values()]
    found = initial_basis(pieces, min(count, rows) if method == "pca" else count, method, sparsity=sparsity, seed=seed)
    if len(found) < count:
        found = np.concatenate([found, initial_basis(pieces, count - len(found), "kmeans", seed=seed)])
    digits = quantise(found, 2**cell_bits - 1)
    return Basis(digits.reshape(sets, vectors, rows), cell_bits)


def check_fit(chip: ChipSpec, basis: Basis) -> None:
    """Raise :class:`SpecError` for a basis that does not fit the chip's arrays or cells."""
    array, rows = chip.array, basis.digits.shape[2]
    if rows != array.rows:
        raise SpecError(f"basis: its vectors have {rows} rows, but the arrays of chip {chip.name!r} have {array.rows}.")
    if 2 * basis.vectors > array.columns:
        raise SpecError(
            f"basis: {basis.vectors} vectors take {2 * basis.vectors} columns (a pair each), but an array of chip {chip.name!r} "
            f"has {array.columns}; at most {array.columns // 2} vectors fit."
        )
    if basis.cell_bits > chip.cell.max_bits:
        raise SpecError(
            f"basis: its cells hold {basis.cell_bits} bits, but cell {chip.cell.name!r} holds at most {chip.cell.max_bits}."
        )


@dataclass(frozen=True, eq=False)
class BasisNetwork:
    """A network on a basis, programmed as chip number 0."""

    mapped: MappedNetwork
    """The network; calling it reads the arrays."""
    arrays: BasisArrays
    coding: Coding

    @property
    def basis(self) -> Basis:
        """The basis that all layers share."""
        return self.arrays.basis

    @property
    def layers(self) -> dict[str, BasisLayer]:
        """The layers, in the order of execution."""
        return cast("dict[str, BasisLayer]", self.mapped.layers)

    @property
    def codes(self) -> dict[str, QuantisedCodes]:
        """Coefficients (outputs, segments, sets * vectors) and scales by layer."""
        return {name: layer.quantised() for name, layer in self.layers.items()}

    @property
    def writes(self) -> WriteStatistics:
        """What writing the present chip took: the basis, once for all layers."""
        chip = device_chip(self.mapped.chip, self.basis.cell_bits)
        return self.arrays.writes(chip, self.mapped.state.seed, self.mapped.state.trial)

    def model(self) -> BasisModel:
        """Return what can be saved."""
        kept = {}
        for name, layer in self.layers.items():
            bias = None if layer.bias is None else layer.bias.cpu().numpy()
            kept[name] = LayerOnBasis(layer.quantised(), bias)
        return BasisModel(self.basis, self.coding.bits, kept)


def map_basis(
    model: nn.Module,
    chip: ChipSpec,
    calibration: Tensor,
    *,
    sets: int = 2,
    vectors: int | None = None,
    coefficient_bits: int = 3,
    sparsity: int | None = None,
    method: Method = "pca",
    cell_bits: int = 1,
    per: str = "kernel",
    contest: float = 0.0,
    combined: Combined = "switched",
    basis: Basis | None = None,
    codes: Mapping[str, QuantisedCodes] | None = None,
    seed: int = 0,
    digital: Sequence[str] = (),
    progress: Callable[[str], None] | None = None,
) -> BasisNetwork:
    """Map a trained network to the arrays of a basis.

    Args:
        model: as :func:`crosstile.map` takes it, without grouped layers.
        chip: its arrays hold the basis.
        calibration: (batch, ...) inputs.
        sets: arrays that a segment drives side by side.
        vectors: of an array; default and most: half of its columns.
        coefficient_bits: sign included, 2 to 8.
        sparsity: vectors that a segment of a kernel may use over all sets; default all.
        method: how the basis is found. cell_bits: 1 is a ternary basis.
        per: scales a ``"kernel"`` or a ``"layer"``.
        contest: strength against contests while codes are found; needs ``per`` kernel and no ``sparsity``.
        basis: instead of one made here; ``sets``, ``vectors``, ``cell_bits`` and ``method`` are then its own.
        combined: ``"switched"`` adds currents of columns before they are converted; ``"digital"`` converts every column once and
        multiplies by the coefficients in logic.
        codes: coefficients found before, by layer.
        seed: of all that is random.
        digital: patterns of names of layers that stay digital.
        progress: called with a few words at each step.

    Raises:
        SpecError: chip, basis or a number does not fit. ModelError: the network or the codes. DataError: the calibration data.
    """
    if combined not in ("switched", "digital"):
        raise SpecError(f"basis: combined is 'switched' or 'digital', found {combined!r}.")
    if combined == "digital" and chip.compensation.outputs != "none":
        raise SpecError(
            f"chip {chip.name!r}: compensation.outputs: {chip.compensation.outputs} is fitted to outputs that leave the "
            "converters; with coefficients applied digitally leave it none."
        )
    # Converted one by one, columns are read in one go: a coefficient of one bit and its sign.
    seen = coefficient_chip(chip, coefficient_bits if combined == "switched" else 2)
    say = progress or (lambda _: None)
    if basis is None:
        vectors = chip.array.columns // 2 if vectors is None else vectors
        for name, value in (("sets", sets), ("vectors", vectors), ("cell_bits", cell_bits)):
            if value < 1:
                raise SpecError(f"basis: {name} must be at least 1, found {value}.")
        check_fit(chip, Basis(np.zeros((sets, vectors, chip.array.rows)), cell_bits))  # before anything takes long
        say("basis")
        _, layers = folded_layers(model, seen, calibration, digital)
        basis = make_basis(
            layers, chip.array.rows, sets=sets, vectors=vectors, cell_bits=cell_bits, method=method,
            sparsity=sparsity or 8, seed=seed,
        )  # fmt: skip
    check_fit(chip, basis)
    if sparsity is not None and sparsity < 1:
        raise SpecError(f"basis: a segment needs at least one vector, found sparsity {sparsity}.")
    if contest < 0 or (contest > 0 and (per != "kernel" or sparsity is not None)):
        raise SpecError(
            f"basis: contest, found {contest:g}, is at least 0, and above 0 needs scales per kernel and no sparsity."
        )
    coding = Coding(
        BasisArrays(basis), coefficient_bits, sparsity or len(basis.flat), per, contest,
        None if codes is None else dict(codes), combined,
    )  # fmt: skip
    mapped = map_network(
        model, seen, calibration, seed=seed, digital=digital, progress=progress,
        make_layer=partial(basis_layer, coding=coding),
    )  # fmt: skip
    return BasisNetwork(mapped, coding.arrays, coding)


def rebuilt(
    model: nn.Module, saved: BasisModel, chip: ChipSpec, calibration: Tensor, digital: Sequence[str] = ()
) -> nn.Module:
    """Return the digital network that ``saved`` stands for: ``model`` with folded batch-norms and the weights s_k c B.

    Raises:
        ModelError: the saved layers are not those of the network.
    """
    network, layers = folded_layers(model, coefficient_chip(chip, saved.coefficient_bits), calibration, digital)
    if list(layers) != list(saved.layers):
        missing = sorted(set(layers) ^ set(saved.layers))
        raise ModelError(
            f"the saved layers are not those of the network: they differ in {', '.join(missing[:5]) or 'their order'}."
        )
    for name, layer in layers.items():
        module, kept = layer.call.module, saved.layers[name]
        Coding(BasisArrays(saved.basis), saved.coefficient_bits, 1, codes=saved.codes).codes_of(
            name, len(layer.weight), len(layer.blocks)
        )
        made = combine(kept.coefficients.codes, saved.basis.flat, layer.blocks) * kept.coefficients.scale[:, None]
        weight = cast(nn.Parameter, module.weight)
        weight.data.copy_(torch.from_numpy(made).reshape(weight.shape))
        if module.bias is None and kept.bias is not None:
            module.register_parameter("bias", nn.Parameter(torch.zeros(len(made)), requires_grad=False))
        if module.bias is not None:
            cast(nn.Parameter, module.bias).data.copy_(
                torch.from_numpy(np.zeros(len(made)) if kept.bias is None else kept.bias)
            )
    return network


def map_saved(
    model: nn.Module,
    saved: BasisModel,
    chip: ChipSpec,
    calibration: Tensor,
    *,
    seed: int = 0,
    digital: Sequence[str] = (),
    progress: Callable[[str], None] | None = None,
) -> BasisNetwork:
    """Map a saved network: its basis, coefficients and biases, with ranges calibrated on the network that they stand for.

    Args:
        model: the network that it was made of, for its structure; its weights are not used.
    """
    check_fit(chip, saved.basis)
    return map_basis(
        rebuilt(model, saved, chip, calibration, digital), chip, calibration, coefficient_bits=saved.coefficient_bits,
        basis=saved.basis, codes=saved.codes, seed=seed, digital=digital, progress=progress,
    )  # fmt: skip
