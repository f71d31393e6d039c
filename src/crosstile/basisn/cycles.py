"""Cycles that a layer takes on arrays which hold the basis.

For row block s, set k and bit t of the coefficients, the kernels whose coefficients have that bit are read in the cycles of a
schedule without contests (:mod:`crosstile.basisn.contest`). With N arrays and S sets there are U = N / S copies of each set,
which serve different positions and blocks side by side:

    groups_k = sum over s, t of cycles(s, k, t),    W_k = positions x planes x phases x groups_k,    cycles = max_k ceil(W_k / U)

and never less than the longest single job, one position and block with all its planes. Layers follow each other, since all use
the same arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from crosstile.basisn.contest import bit_supports, schedule_exact, schedule_greedy
from crosstile.errors import SpecError
from crosstile.mapping.plan import LayerShape, input_planes, plan_layer
from crosstile.specs.chip import ChipSpec

Int8 = NDArray[np.int8]


@dataclass(frozen=True)
class BasisArraySpec:
    """The arrays that hold the basis."""

    arrays: int
    sets: int
    """Arrays with different vectors that one segment drives side by side."""
    vectors: int
    """Of one array; a pair of columns each."""
    lines: int
    """Summing lines of one array: kernels that a cycle can serve."""
    bits: int
    """Of a coefficient, sign included."""

    def __post_init__(self) -> None:
        for name in ("arrays", "sets", "vectors", "lines"):
            if getattr(self, name) < 1:
                raise SpecError(f"basis: {name} must be at least 1, found {getattr(self, name)}.")
        if self.arrays < self.sets:
            raise SpecError(
                f"basis: {self.sets} sets need as many arrays, found {self.arrays}; use fewer sets or more arrays."
            )
        if not 2 <= self.bits <= 8:
            raise SpecError(f"basis: coefficients have 2 to 8 bits, sign included; found {self.bits}.")

    @property
    def copies(self) -> int:
        """Of each set; arrays that are left over stand idle."""
        return self.arrays // self.sets

    @property
    def magnitude_bits(self) -> int:
        """Cycles that one reading of a coefficient takes, at least."""
        return self.bits - 1


@dataclass(frozen=True)
class LayerCycles:
    """One layer for one sample."""

    name: str
    positions: int
    planes: int
    """Reads of one vector: planes x phases of the inputs."""
    blocks: int
    kernels: int
    groups: tuple[int, ...]
    """For each set, cycles of one position and plane over all blocks and bits."""
    reads: int
    """Kernels read for one position and plane, over blocks, sets and bits: each is one conversion."""
    columns_on: int
    """Column pairs switched on for one position and plane, over blocks, sets and bits."""
    cell_rows_on: int
    """The same, each times the rows of its block: cells that carry current."""
    longest: int
    """Cycles of the longest job of one position, block and plane, over the bits of a set."""
    cycles: int
    """On all arrays, first to last."""

    def on(self, design: BasisArraySpec) -> LayerCycles:
        """Return the same layer on another number of arrays: its schedules do not depend on it."""
        return replace(self, cycles=_cycles(self.groups, self.longest, self.positions, self.planes, design.copies))

    @property
    def kernels_per_cycle(self) -> float:
        """Kernels that a cycle of an array serves on average."""
        total = sum(self.groups)
        return self.reads / total if total else 0.0


def _cycles(groups: Sequence[int], longest_job: int, positions: int, planes: int, copies: int) -> int:
    work = max(math.ceil(positions * planes * g / copies) for g in groups)
    return max(work, planes * longest_job)


def layer_cycles(
    shape: LayerShape, codes: Int8, design: BasisArraySpec, chip: ChipSpec, *, exact: bool = False
) -> LayerCycles:
    """Return the cycles of a layer with given coefficients.

    Args:
        shape: the layer. codes: (kernels, blocks, sets x vectors) integers, in blocks as the plan cuts them.
        design: the arrays. chip: bits of inputs and rows of an array. exact: shortest schedules, for up to 20 kernels.

    Raises:
        SpecError: the layer has groups, or the codes do not fit.
    """
    if shape.groups > 1:
        raise SpecError(
            f"basis: layer {shape.name!r} has {shape.groups} groups, whose kernels see different inputs; "
            "keep it digital."
        )
    blocks = plan_layer(shape, chip).packs[0].blocks
    wanted = (shape.outputs, len(blocks), design.sets * design.vectors)
    if codes.shape != wanted:
        raise SpecError(f"basis: layer {shape.name!r}: coefficients of shape {wanted} are wanted, found {codes.shape}.")
    solve = schedule_exact if exact else schedule_greedy
    planes, phases = input_planes(chip, shape.signed_inputs)
    groups = [0] * design.sets
    reads = columns = cells = longest = 0
    for number, block in enumerate(blocks):
        job = 0
        for index in range(design.sets):
            mine = codes[:, number, index * design.vectors : (index + 1) * design.vectors]
            taken = 0
            for bit in range(design.magnitude_bits):
                on = bit_supports(mine, bit)
                taken += solve(on, design.lines).count
                reads += int(on.any(axis=1).sum())
                switched = int(on.sum())
                columns += switched
                cells += switched * len(block.rows)
            groups[index] += taken
            job = max(job, taken)
        longest = max(longest, job)
    each = planes * phases
    found = _cycles(groups, longest, shape.positions, each, design.copies)
    return LayerCycles(
        shape.name,
        shape.positions,
        each,
        len(blocks),
        shape.outputs,
        tuple(groups),
        reads,
        columns,
        cells,
        longest,
        found,
    )


def layer_cycles_at_rate(
    shape: LayerShape, design: BasisArraySpec, chip: ChipSpec, kernels_per_cycle: float, support: float
) -> LayerCycles:
    """Return the cycles of a layer whose coefficients are not known.

    Args:
        kernels_per_cycle: that each cycle serves, on average. support: column pairs that a kernel switches on for one bit.

    Every kernel is taken to need every bit of every set.
    """
    if not 0 < kernels_per_cycle <= design.lines:
        raise SpecError(
            f"basis: kernels per cycle must be above 0 and at most the {design.lines} lines, found {kernels_per_cycle}."
        )
    if not 0 < support <= design.vectors / kernels_per_cycle * (1 + 1e-9):
        raise SpecError(
            f"basis: {kernels_per_cycle:g} kernels of {support:g} columns each do not fit on {design.vectors} columns; "
            "lower one of them."
        )
    plan = plan_layer(shape, chip)
    blocks = plan.packs[0].blocks
    planes, phases = input_planes(chip, shape.signed_inputs)
    once = math.ceil(shape.outputs * shape.groups / kernels_per_cycle)
    groups = (len(blocks) * design.magnitude_bits * once,) * design.sets
    reads = shape.outputs * shape.groups * len(blocks) * design.magnitude_bits * design.sets
    each = planes * phases
    rows = sum(len(block.rows) for block in blocks) / len(blocks)
    found = _cycles(groups, design.magnitude_bits * once, shape.positions, each, design.copies)
    return LayerCycles(
        shape.name, shape.positions, each, len(blocks), shape.outputs * shape.groups, groups, reads, round(reads * support),
        round(reads * support * rows), design.magnitude_bits * once, found,
    )  # fmt: skip


def network_cycles(
    shapes: Sequence[LayerShape],
    codes: Mapping[str, Int8],
    design: BasisArraySpec,
    chip: ChipSpec,
    *,
    progress: Callable[[str], None] | None = None,
) -> tuple[LayerCycles, ...]:
    """Return the cycles of all layers; ``codes`` by layer. ``progress`` is told the name of each layer that is done."""
    found = []
    for shape in shapes:
        if shape.name not in codes:
            raise SpecError(f"basis: there are no coefficients for layer {shape.name!r}.")
        found.append(layer_cycles(shape, codes[shape.name], design, chip))
        if progress is not None:
            progress(shape.name)
    return tuple(found)


def synthetic_codes(
    kernels: int, blocks: int, columns: int, sparsity: int, bits: int, *, structured: bool = False, seed: int = 0
) -> Int8:
    """Return coefficients (kernels, blocks, columns) for a layer without weights.

    Each segment of a kernel uses ``sparsity`` columns, with random magnitudes and signs: columns at random, or ``structured``:
    neighbouring kernels take neighbouring columns, so that contests are few and the load is even.
    """
    if not 1 <= sparsity <= columns:
        raise SpecError(f"basis: a kernel can use 1 to {columns} columns, found {sparsity}.")
    rng = np.random.default_rng(seed)
    top = 2 ** (bits - 1) - 1
    values = rng.integers(1, top + 1, size=(kernels, blocks, sparsity)) * rng.choice(
        [-1, 1], size=(kernels, blocks, sparsity)
    )
    if structured:
        slots = columns // sparsity
        first = (np.arange(kernels)[:, None] + np.arange(blocks)[None]) % slots * sparsity
        chosen = first[:, :, None] + np.arange(sparsity)
    else:
        chosen = rng.random((kernels, blocks, columns)).argpartition(sparsity - 1, axis=2)[:, :, :sparsity]
    codes = np.zeros((kernels, blocks, columns), dtype=np.int8)
    np.put_along_axis(codes, chosen, values.astype(np.int8), axis=2)
    return codes
