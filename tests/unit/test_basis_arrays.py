"""Layers on a basis against an explicit loop: every plane, bit, set and kernel, column by column."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import crosstile.basisn.arrays as arrays_module
from crosstile.basisn.arrays import Basis, BasisArrays, coefficient_chip, device_chip, switched_columns
from crosstile.basisn.coefficients import QuantisedCodes, pursue
from crosstile.basisn.dictionary import initial_basis, quantise
from crosstile.basisn.layers import BasisLayer
from crosstile.basisn.network import BasisNetwork, map_basis
from crosstile.basisn.segments import block_segments, combine
from crosstile.circuits.nodal import nodal_effective_conductance
from crosstile.crossbar.program import Window, program_array
from crosstile.errors import CrosstileError, ModelError, SpecError
from crosstile.mapping.plan import LayerShape, plan_layer
from crosstile.specs.chip import ChipSpec
from crosstile.specs.load import load_chip

RERAM = load_chip("reram-8b").replaced(array__rows=16, array__columns=16)
IDEAL = RERAM.replaced(cell__effects=(), adc__bits=None)
VARIED = ({"kind": "variation", "sigma": {"window": "5 %"}},)
WIRES = load_chip("reram-8b-wires").replaced(
    array__rows=16, array__columns=16, cell__effects=VARIED, compensation__outputs="none"
)
Array = np.ndarray


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def small_net(seed: int = 0) -> nn.Module:
    """A convolution of 27 rows, on two arrays of 16 rows, and a linear layer of 20."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 5, 3, stride=2, padding=1), nn.BatchNorm2d(5), nn.ReLU(), nn.Flatten(), nn.Linear(20, 4),
    ).eval()  # fmt: skip


def images(count: int = 12, seed: int = 1) -> Tensor:
    return torch.randn(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed))


def mapped(chip: ChipSpec, **given: Any) -> BasisNetwork:
    return map_basis(small_net(), chip, images(), **{"sets": 2, "vectors": 8, "coefficient_bits": 3, **given})


# ------------------------------------------------------------ the loop


def acting_levels(basis: Basis, chip: ChipSpec, seed: int, trial: int) -> list[Array]:
    """(rows, 2 vectors) levels of each array: programmed cell by cell, seen through wires by nodal analysis."""
    found = []
    for number in range(basis.sets):
        target = np.zeros((basis.digits.shape[2], 2 * basis.vectors))
        for vector in range(basis.vectors):
            for row, digit in enumerate(basis.digits[number, vector]):
                target[row, 2 * vector + (digit < 0)] = abs(digit)
        levels = program_array(
            target, chip, seed=seed, trial=trial, layer="basis", array=number, array_number=number
        ).levels  # fmt: skip
        if chip.wires is not None:
            window = Window.of(chip)
            levels = window.to_levels(nodal_effective_conductance(window.to_siemens(levels), chip.wires))
        found.append(levels)
    return found


def loop(layer: BasisLayer, x: Array, chip: ChipSpec, *, seed: int = 0, trial: int = 0) -> Array:
    """(n, outputs) sums for integer vectors (n, rows in canonical order); nothing is batched or folded."""
    basis, adc, (pack,) = layer.coding.arrays.basis, layer.converter, layer.plan.packs
    device = chip.replaced(weights__bits=basis.cell_bits + 1, weights__cell_bits=basis.cell_bits)
    arrays = acting_levels(basis, device, seed, trial)
    bits, outputs = layer.coding.bits - 1, pack.outputs
    grid = 2.0 ** layer.packs[0].grid.fraction_bits.reshape(bits, outputs)
    signed = layer.scale.signed
    phases = [(1, np.maximum(x, 0)), (-1, np.maximum(-x, 0))]
    if chip.inputs.signed == "bipolar" or not signed:
        phases = [(1, x)]
    sums = np.zeros((len(x), outputs))
    for number, block in enumerate(pack.blocks):
        for start, stop in block.segments:
            for index, levels in enumerate(arrays):
                for kernel in range(outputs):
                    codes = layer.codes[kernel, number, index * basis.vectors : (index + 1) * basis.vectors]
                    for bit in range(bits):
                        lines = np.zeros((2, stop - start))
                        for vector, code in enumerate(int(c) for c in codes):
                            if abs(code) >> bit & 1:
                                pair = levels[start:stop, 2 * vector], levels[start:stop, 2 * vector + 1]
                                lines += pair if code > 0 else pair[::-1]
                        lines = np.rint(lines * grid[bit, kernel]) / grid[bit, kernel]
                        for sign, values in phases:
                            driven = values[:, list(block.rows[start:stop])]
                            for plane in range(layer.scale.magnitude_bits):
                                digits = (np.abs(driven) >> plane & 1) * np.sign(driven)
                                current = digits @ lines[0] - digits @ lines[1]
                                if adc is not None:
                                    current = adc.convert(current, bit, bit) / adc.gain[bit]
                                sums[:, kernel] += sign * 2.0 ** (plane + bit) * current
    return sums


def inputs_of(layer: BasisLayer, x: Tensor) -> tuple[Tensor, Array]:
    """The integer feature map, and its vectors with rows in canonical order."""
    q = layer.scale.quantise(layer.as_feature_map(x))
    rows = layer.pack_rows(layer.plan.packs[0])
    return q, layer.make_inputs(q).vectors(q).numpy().astype(np.int64)[:, rows]


CHIPS = {
    "variation": RERAM.replaced(cell__effects=VARIED),
    "variation, 4-bit converter, 5 rows at once": RERAM.replaced(
        cell__effects=VARIED, adc__bits=4, array__active_rows=5
    ),
    "ideal cells, 3-bit converter": RERAM.replaced(cell__effects=(), adc__bits=3),
    "wires": WIRES,
    "bipolar inputs, ideal converter": RERAM.replaced(cell__effects=VARIED, inputs__signed="bipolar", adc__bits=None),
    "bipolar inputs": RERAM.replaced(cell__effects=VARIED, inputs__signed="bipolar"),
}


@pytest.mark.parametrize("name", CHIPS)
@pytest.mark.parametrize("cell_bits", [1, 2])
def test_layers_are_the_loop(name: str, cell_bits: int) -> None:
    """Equal sums of equal codes: what remains is rounding to single precision, 2^-24 of the largest sum.

    Behind ideal converters the engine keeps the folded matrix on a grid of 2^-8 or finer: half a step times the inputs.
    """
    chip = CHIPS[name]
    network = mapped(chip, cell_bits=cell_bits)
    for trial in (0, 3):
        network.mapped.program(trial)
        signs = []
        for layer, shape in zip(network.layers.values(), [(3, 3, 4, 4), (6, 20)], strict=True):
            x = torch.randn(*shape, generator=torch.Generator().manual_seed(5))
            x = x if layer.shape.signed_inputs else x.abs()
            q, vectors = inputs_of(layer, x)
            found = layer.matmul(q, len(q)).numpy()
            wanted = loop(layer, vectors, chip, trial=trial)
            allowed = 2.0**-22 * np.abs(wanted).max()
            if chip.adc.bits is None:
                allowed += 2.0**-9 * np.abs(vectors).sum(axis=1).max()
            assert np.abs(found - wanted).max() <= allowed
            assert np.abs(wanted).max() > 50  # something was read
            signs.append(layer.shape.signed_inputs)
        assert signs == [True, False]
    if chip.adc.bits is not None:
        layer = network.layers["0"]
        ideal = inputs_of(layer, images())[1] @ layer.pack_weights(layer.plan.packs[0])
        assert not np.array_equal(ideal, loop(layer, inputs_of(layer, images())[1], chip, trial=3))


def digital_loop(layer: BasisLayer, x: Array, chip: ChipSpec, *, trial: int = 0) -> Array:
    """(n, outputs) sums with every column converted by itself and coefficients applied to the codes."""
    basis, adc, (pack,) = layer.coding.arrays.basis, layer.converter, layer.plan.packs
    device = chip.replaced(weights__bits=basis.cell_bits + 1, weights__cell_bits=basis.cell_bits)
    arrays = acting_levels(basis, device, 0, trial)
    grid = 2.0 ** layer.packs[0].grid.fraction_bits.reshape(len(pack.blocks), basis.sets, basis.vectors)
    phases = [(1, np.maximum(x, 0)), (-1, np.maximum(-x, 0))] if layer.scale.signed else [(1, x)]
    sums = np.zeros((len(x), pack.outputs))
    for number, block in enumerate(pack.blocks):
        for index, levels in enumerate(arrays):
            for vector in range(basis.vectors):
                total = np.zeros(len(x))
                for start, stop in block.segments:
                    step = grid[number, index, vector]
                    pair = np.rint(levels[start:stop, 2 * vector : 2 * vector + 2] * step) / step
                    for sign, values in phases:
                        driven = values[:, list(block.rows[start:stop])]
                        for plane in range(layer.scale.magnitude_bits):
                            digits = driven >> plane & 1
                            current = digits @ pair[:, 0] - digits @ pair[:, 1]
                            if adc is not None:
                                current = adc.convert(current, 0, 0) / adc.gain[0]
                            total += sign * 2.0**plane * current
                sums += total[:, None] * layer.codes[:, number, index * basis.vectors + vector]
    return sums


@pytest.mark.parametrize("bits", [8, 4, None])
def test_coefficients_applied_digitally_are_the_loop(bits: int | None) -> None:
    """Equal codes, so equal sums to rounding, as above; with ideal cells and converters the integer product itself."""
    chip = RERAM.replaced(cell__effects=VARIED, adc__bits=bits)
    network = mapped(chip, combined="digital")
    network.mapped.program(2)
    for layer, shape in zip(network.layers.values(), [(3, 3, 4, 4), (6, 20)], strict=True):
        x = torch.randn(*shape, generator=torch.Generator().manual_seed(5))
        q, vectors = inputs_of(layer, x if layer.shape.signed_inputs else x.abs())
        found, wanted = layer.matmul(q, len(q)).numpy(), digital_loop(layer, vectors, chip, trial=2)
        allowed = 2.0**-20 * np.abs(wanted).max()
        if bits is None:
            steps = np.abs(vectors).sum(axis=1).max() * np.abs(layer.codes.astype(float)).sum(axis=(1, 2)).max()
            allowed += 2.0**-9 * steps
        assert np.abs(found - wanted).max() <= allowed
        assert np.abs(wanted).max() > 50
    ideal = mapped(IDEAL.replaced(cell__effects=(), adc__bits=None), combined="digital").layers["0"]
    q, vectors = inputs_of(ideal, images())
    product = vectors @ ideal.pack_weights(ideal.plan.packs[0])
    assert np.array_equal(ideal.matmul(q, len(q)).numpy(), product.astype(np.float32))


def test_digital_coefficients_refuse_what_they_cannot_do() -> None:
    with pytest.raises(SpecError, match="leave it none"):
        mapped(RERAM.replaced(compensation__outputs="gain"), combined="digital")
    with pytest.raises(SpecError, match="'switched' or 'digital'"):
        mapped(RERAM, combined="both")


def test_read_noise_adds_up_over_the_columns_switched_on() -> None:
    """Mean and variance of 6,000 reads: means within five standard errors, variances within five of theirs."""
    noise = ({"kind": "read_noise", "sigma": {"window": "4 %"}},)
    chip = IDEAL.replaced(cell__effects=noise)
    network = mapped(chip)
    layer = network.layers["4"]
    count, x = 6000, torch.rand(1, 20, generator=torch.Generator().manual_seed(2))
    q, vectors = inputs_of(layer, x)
    found = layer.matmul(q.expand(count, -1).contiguous(), count).double().numpy()
    basis, (pack,) = network.basis, layer.plan.packs
    device = device_chip(network.mapped.chip, 1)
    cells = [
        program_array(network.arrays.targets(n), device, seed=0, trial=0, layer="basis", array=n, array_number=n)
        for n in range(basis.sets)
    ]
    variance = np.zeros(pack.outputs)
    for number, block in enumerate(pack.blocks):
        for index, array in enumerate(cells):
            assert array.noise_variance is not None
            for row, place in enumerate(block.rows):
                power = sum(4.0**plane * (vectors[0, place] >> plane & 1) for plane in range(8))
                for kernel in range(pack.outputs):
                    for vector in range(basis.vectors):
                        code = abs(int(layer.codes[kernel, number, index * basis.vectors + vector]))
                        pair = array.noise_variance[row, 2 * vector : 2 * vector + 2].sum()
                        variance[kernel] += power * pair * sum(4.0**bit * (code >> bit & 1) for bit in range(2))
    wanted = (vectors @ layer.pack_weights(pack))[0]
    assert (variance > 0).all()
    assert np.abs(found.mean(axis=0) - wanted).max() < 5 * np.sqrt(variance / count).max()
    assert found.var(axis=0, ddof=1) / variance == pytest.approx(np.ones(pack.outputs), abs=5 * np.sqrt(2 / count))


# ------------------------------------------------------------ exactness


def test_free_coefficients_on_a_complete_basis_are_the_convolution() -> None:
    """Ternary vectors, as many as rows: 1e-9 of the outputs, the rounding of double precision times the basis's condition."""
    rng = np.random.default_rng(3)
    weight, x = rng.standard_normal((6, 5, 3, 3)), torch.from_numpy(rng.standard_normal((2, 5, 7, 7)))
    chip = coefficient_chip(IDEAL, 3)
    shape = LayerShape("layer", "conv2d", 5, 9, 6, 1, 49, 245, 294, True)
    blocks = plan_layer(shape, chip).packs[0].blocks
    assert len(blocks) == 3
    segments = block_segments(weight.reshape(6, 45), blocks, 16)
    basis = quantise(initial_basis([segments], 16, "random"), 1)
    assert np.linalg.matrix_rank(basis) == 16
    codes = pursue(segments.reshape(-1, 16), basis, 16).reshape(6, 3, 16)
    made = torch.from_numpy(combine(codes, basis, blocks)).reshape(6, 5, 3, 3)
    wanted = F.conv2d(x, torch.from_numpy(weight), padding=1)
    assert float((F.conv2d(x, made, padding=1) - wanted).abs().max()) < 1e-9 * float(wanted.abs().max())


@pytest.mark.parametrize("bits", [2, 3, 5, 8])
def test_ideal_arrays_are_the_integer_convolution(bits: int) -> None:
    network = mapped(IDEAL, coefficient_bits=bits)
    layer, flat = network.layers["0"], network.basis.flat
    q = layer.scale.quantise(images())
    integers = np.zeros((5, 27))
    for number, block in enumerate(layer.plan.packs[0].blocks):
        for local, row in enumerate(block.rows):
            integers[:, row] = layer.codes[:, number].astype(np.float64) @ flat[:, local]
    wanted = F.conv2d(q.double(), torch.from_numpy(integers).reshape(5, 3, 3, 3), stride=2, padding=1)
    assert torch.equal(layer.matmul(q, len(q)).double(), wanted.permute(0, 2, 3, 1).reshape(-1, 5))
    assert np.abs(layer.codes).max() <= 2 ** (bits - 1) - 1


def test_switched_columns_follow_each_bit_and_sign() -> None:
    columns = np.array([[1.0, 10.0, 100.0, 1000.0]])  # positive and negative of vector 0, then of vector 1
    lines = switched_columns(np.array([[3, -1], [0, 2]], dtype=np.int8), columns, 2).reshape(
        2, 2, 2
    )  # bit, line, kernel
    assert lines[0].tolist() == [[1 + 1000, 0], [10 + 100, 0]]
    assert lines[1].tolist() == [[1, 100], [10, 1000]]


# ------------------------------------------------------------ one basis, shared


def test_the_basis_is_written_once_for_all_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[int, int, int]] = []
    real = program_array

    def counted(targets: Array, chip: ChipSpec, **named: Any) -> Any:
        if chip.cell.effects:
            made.append((named["trial"], named["array"], targets.size))
        return real(targets, chip, **named)

    monkeypatch.setattr(arrays_module, "program_array", counted)
    network = mapped(CHIPS["variation"])
    assert made == [(0, 0, 256), (0, 1, 256)]  # two arrays of 16 x 16 cells for both layers
    assert network.writes.cells == 512
    assert all(pack.writes.cells == 0 for layer in network.layers.values() for pack in layer.packs)
    network.mapped.program(1)
    assert made[2:] == [(1, 0, 256), (1, 1, 256)]
    device = device_chip(network.mapped.chip, 1)
    zero, one = (network.arrays.programmed(device, 0, trial)[0].levels for trial in (0, 1))
    assert not np.array_equal(zero, one)
    first = one[: len(network.layers["0"].plan.packs[0].blocks[0].rows)]
    lines = switched_columns(network.layers["0"].codes[:, 0, :8], first, 2).reshape(len(first), 2, 2, 5)
    segment = network.layers["0"].packs[0].segments[0]
    assert segment.levels.reshape(len(first), 2, 5) == pytest.approx(lines[:, :, 0] - lines[:, :, 1], abs=2.0**-10)


def test_chips_do_not_depend_on_what_was_built_before() -> None:
    network, x = mapped(CHIPS["variation"]), images(4, seed=9)
    first = network.mapped(x)
    for trial in range(1, 7):  # more chips than are kept
        network.mapped.program(trial)
        assert not torch.equal(network.mapped(x), first)
    network.mapped.program(0)
    assert torch.equal(network.mapped(x), first)
    assert torch.equal(mapped(CHIPS["variation"]).mapped(x), first)


# ------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"weights__encoding": "offset"}, "differential pairs"),
        ({"weights__difference": "digital"}, "differential pairs"),
        ({"weights__bits": None, "weights__cell_bits": None}, "cell_bits is null"),
        ({"adc__range": "full_scale"}, "a summing line carries many"),
        ({"array__spare_rows": 2}, "all layers share the basis"),
        ({"array__remap": "rows"}, "all layers share the basis"),
    ],
)
def test_chips_that_cannot_switch_columns(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(SpecError, match=told):
        mapped(RERAM.replaced(**changes))


def test_precompensation_belongs_to_one_layer() -> None:
    for part, value in (("weights", "precompensated"), ("rows", "by_current")):
        chip = WIRES.replaced(**{f"compensation__{part}": value, "compensation__outputs": "gain"})
        with pytest.raises(SpecError, match=f"compensation.{part} is '{value}'"):
            mapped(chip)


def test_mistakes_are_told() -> None:
    with pytest.raises(SpecError, match="9 vectors take 18 columns"):
        mapped(RERAM, vectors=9)
    with pytest.raises(SpecError, match="sets must be at least 1"):
        mapped(RERAM, sets=0)
    with pytest.raises(SpecError, match="2 to 8 bits"):
        mapped(RERAM, coefficient_bits=9)
    with pytest.raises(SpecError, match="at least one vector"):
        mapped(RERAM, sparsity=0)
    with pytest.raises(SpecError, match="its vectors have 8 rows"):
        mapped(RERAM, basis=Basis(np.ones((1, 4, 8)), 1))
    with pytest.raises(SpecError, match="magnitudes to 1"):
        Basis(np.full((1, 2, 8), 2.0), 1)
    with pytest.raises(SpecError, match="integers"):
        Basis(np.full((1, 2, 8), 0.5), 1)
    grouped = nn.Sequential(nn.Conv2d(4, 4, 3, groups=2)).eval()
    with pytest.raises(ModelError, match="layer '0' has 2 groups"):
        map_basis(grouped, RERAM, torch.rand(2, 4, 5, 5))


def test_codes_must_fit() -> None:
    network = mapped(RERAM)
    codes, basis = network.codes, network.basis
    again = mapped(RERAM, basis=basis, codes=codes)
    assert torch.equal(again.mapped(images()), mapped(RERAM).mapped(images()))
    for wrong, told in (
        ({"0": codes["0"]}, "layer '4' has no coefficients"),
        ({**codes, "4": codes["0"]}, r"\(4, 2, 16\)"),
        ({**codes, "4": QuantisedCodes(codes["4"].codes + np.int8(4), codes["4"].scale)}, "3 bits reach 3"),
    ):
        with pytest.raises(ModelError, match=told):
            mapped(RERAM, basis=basis, codes=wrong)


def test_arrays_of_one_temperature_each() -> None:
    network = mapped(CHIPS["variation"])
    conditions = network.mapped.chip.conditions.model_dump()
    arrays = {name: [300.0] * layer.plan.arrays for name, layer in network.layers.items()}
    chip = RERAM.replaced(conditions={**conditions, "arrays": arrays})
    with pytest.raises(CrosstileError, match="all layers share the arrays"):
        BasisArrays(network.basis).programmed(device_chip(coefficient_chip(RERAM, 3), 1).replaced(
            conditions=chip.conditions.model_dump()), 0, 0)  # fmt: skip
    with pytest.raises(CrosstileError, match="all layers share the arrays"):
        coefficient_chip(chip, 3)
