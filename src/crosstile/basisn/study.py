"""The main job of ``crosstile basis``: a network on a basis, its accuracy, and its cost beside that of the baselines."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crosstile.basisn.baselines import digital, identity, per_layer, reprogramming, with_write_model
from crosstile.basisn.contest import bit_supports, contest_graph
from crosstile.basisn.cost import BasisCost, basis_cost
from crosstile.basisn.cycles import BasisArraySpec, LayerCycles, layer_cycles, layer_cycles_at_rate
from crosstile.errors import UsageError
from crosstile.mapping.plan import LayerShape
from crosstile.specs.chip import ChipSpec
from crosstile.specs.load import load_chip
from crosstile.study.options import RunOptions, check_device, chosen_device, from_names
from crosstile.study.stages import Progress
from crosstile.workloads.graph import Network

if TYPE_CHECKING:
    from crosstile.basisn.network import BasisNetwork
    from crosstile.basisn.save import BasisModel

WRITES = (("cell", 10.0), ("cell", 100.0), ("cell", 1000.0), ("row", 10.0), ("row", 100.0), ("row", 1000.0))
"""Write models of the sensitivity table: cells written at once in an array, mean write-verify cycles."""
_MOST_KERNELS = 64  # of the contest graph that is shown


@dataclass(frozen=True)
class BasisOptions:
    """What to study; the fields are the options of ``crosstile basis``."""

    model: str
    chip: str = "reram-8b"
    arrays: tuple[int, ...] = (16,)
    sets: int = 2
    coefficient_bits: int = 3
    lines: int = 16
    sparsity: int | None = None
    method: str = "pca"
    combined: str = "switched"
    """How coefficients are applied in the accuracy: ``switched`` or ``digital``. Not with a trained or saved basis."""
    batches: tuple[int, ...] = (1,)
    kernels_per_cycle: float | None = None
    """For a network by its shapes: what a cycle serves on average."""
    write: tuple[str, float] | None = None
    """Write model of the baselines: cells written at once, write-verify cycles; None: the chip's."""
    data: str | None = None
    weights: Path | None = None
    data_dir: Path | None = None
    saved: Path | None = None
    train: bool = False
    epochs: int = 4
    contest: float = 0.0
    """Strength against contests while coefficients are found."""
    augment: bool = False
    hold_out: int | None = None
    train_samples: int | None = None
    samples: int | None = None
    trials: int = 3
    seed: int = 0
    batch: int = 128
    device: str = "auto"
    """Where accuracy is computed, and --train trains: cpu, cuda, or auto: cuda where torch finds a CUDA device, else cpu."""
    download: bool = True


@dataclass(frozen=True)
class LayerOnBasisResult:
    """One layer."""

    cycles: LayerCycles
    error: float | None
    """Length of what the basis misses of the weights, over their length."""


@dataclass(frozen=True)
class Compared:
    """One scheme on so many arrays for so large a batch."""

    arrays: int
    batch: int
    cost: BasisCost


@dataclass(frozen=True)
class Sensitivity:
    """The basis against reprogramming for one write model."""

    parallelism: str
    write_cycles: float
    batch: int
    arrays: int
    cycles_ratio: float
    time_ratio: float
    energy_ratio: float
    edp_ratio: float


@dataclass(frozen=True)
class BasisAccuracy:
    """Share of right answers."""

    samples: int
    digital: float
    chip: float
    """The network's own weights on the chip, mean over programmed chips."""
    basis: float
    ci95: tuple[float, float]
    per_trial: tuple[float, ...]
    text: str
    """Which samples, and what was trained on."""
    method: str


@dataclass(frozen=True)
class BasisStudy:
    """All that a study found."""

    options: BasisOptions
    network: str
    design: BasisArraySpec
    accuracy: BasisAccuracy | None
    before_training: float | None
    layers: tuple[LayerOnBasisResult, ...]
    compared: tuple[Compared, ...]
    sensitivity: tuple[Sensitivity, ...]
    contest_layer: str
    contest_graph: tuple[tuple[int, ...], ...]
    """Of the first block and bit of the layer with the most contests: 1 where two kernels want a common column."""
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        data = dataclasses.asdict(self)
        for key in ("weights", "data_dir", "saved"):
            data["options"][key] = None if data["options"][key] is None else str(data["options"][key])
        for one, source in zip(data["compared"], self.compared, strict=True):
            one["cost"]["edp_js"] = source.cost.edp_js
        for layer, found in zip(data["layers"], self.layers, strict=True):
            layer["cycles"]["kernels_per_cycle"] = found.cycles.kernels_per_cycle
        return data


def basis(model: str, **fields: Any) -> BasisStudy:
    """Put a network on a basis; what ``crosstile basis`` does, from Python.

    Args:
        model: a built-in network, or ``package.module:factory``.
        fields: of :class:`BasisOptions`, such as ``chip="reram-8b", arrays=(16, 64), sets=4, samples=500``.

    Raises:
        UsageError: a field that does not exist. CrosstileError: anything else that the input got wrong.
    """
    return study_basis(from_names(BasisOptions, "basis", {"model": model, **fields}))[0]


def study_basis(
    options: BasisOptions, progress: Progress | None = None, *, checkpoint: Path | None = None
) -> tuple[BasisStudy, BasisModel | None]:
    """Study a network on a basis; with ``options.train`` the trained basis is returned, too.

    Raises:
        CrosstileError: anything that the input got wrong.
    """
    say = progress or Progress()
    check_device(options.device)
    chip = load_chip(options.chip)
    if options.write is not None:
        chip = with_write_model(chip, *options.write)
    if not options.arrays or not options.batches or min(options.batches) < 1:
        raise UsageError("basis: at least one number of arrays and one batch are wanted, each at least 1.")
    if options.kernels_per_cycle is not None:
        return _by_shapes(options, chip, say), None
    return _with_weights(options, chip, say, checkpoint)


def _design(
    options: BasisOptions, chip: ChipSpec, vectors: int, arrays: int, sets: int | None = None
) -> BasisArraySpec:
    return BasisArraySpec(arrays, sets or options.sets, vectors, options.lines, options.coefficient_bits)


def _by_shapes(options: BasisOptions, chip: ChipSpec, progress: Progress) -> BasisStudy:
    from crosstile.workloads.table import network

    rate = options.kernels_per_cycle
    assert rate is not None
    net = network(options.model)
    vectors = chip.array.columns // 2
    support = vectors / rate if options.sparsity is None else min(options.sparsity, vectors / rate)
    designs = [_design(options, chip, vectors, arrays) for arrays in options.arrays]
    layers = {d.arrays: [layer_cycles_at_rate(shape, d, chip, rate, support) for shape in net.shapes] for d in designs}
    shown = tuple(LayerOnBasisResult(layer, None) for layer in layers[designs[0].arrays])
    note = f"{rate:g} kernels a cycle and {support:g} columns a kernel and bit are assumed, not found from weights"
    return _finish(options, chip, net, net.shapes, designs, layers, shown, None, None, ("", ()), (note,), progress)


def _with_weights(
    options: BasisOptions, chip: ChipSpec, progress: Progress, checkpoint: Path | None
) -> tuple[BasisStudy, BasisModel | None]:
    from crosstile.basisn.arrays import coefficient_chip
    from crosstile.basisn.network import folded_layers, map_basis, map_saved
    from crosstile.basisn.save import BasisModel
    from crosstile.basisn.training import train_basis
    from crosstile.datasets import load_dataset
    from crosstile.study.samples import check_outputs, load_samples
    from crosstile.training.data import split
    from crosstile.workloads.trace import trace
    from crosstile.zoo import build_model

    if options.combined != "switched" and (options.train or options.saved is not None):
        raise UsageError("--combine digital is for a basis found from the weights; leave out --train and --basis.")
    options = dataclasses.replace(options, device=chosen_device(options.device))
    loaded = build_model(options.model, weights=options.weights)
    run = RunOptions(
        model=options.model, chip=options.chip, data=options.data, weights=options.weights, data_dir=options.data_dir,
        samples=options.samples, trials=options.trials, seed=options.seed, batch=options.batch, download=options.download,
    )  # fmt: skip
    progress.stage("load data")
    data, x, y, calibration = load_samples(run, loaded, progress)
    check_outputs(loaded, x, data)
    text, before, kept = f"{len(x)} samples of {data.name}", None, None
    if options.train:
        parts = split(
            load_dataset(data.name, data_dir=options.data_dir, download=options.download), hold_out=options.hold_out,
            samples=options.samples, train_samples=options.train_samples,
        )  # fmt: skip
        (x, y), calibration, text = parts.held_out, parts.calibration, parts.text
        trained = train_basis(
            loaded.model, chip, parts.x, parts.y, calibration=calibration, checkpoint=checkpoint,
            resume=checkpoint is not None and checkpoint.exists(), progress=progress, sets=options.sets,
            coefficient_bits=options.coefficient_bits, sparsity=options.sparsity, epochs=options.epochs,
            contest_start=options.contest, augment=options.augment, seed=options.seed, method=options.method,
            device=options.device,
        )  # fmt: skip
        start = map_saved(loaded.model, trained.start, chip, calibration, seed=options.seed)
        before = _mean_accuracy(start, x, y, options, progress, "untrained basis")[0]
        net: BasisNetwork = trained.map(calibration)
        kept = trained.model
    elif options.saved is not None:
        net = map_saved(loaded.model, BasisModel.load(options.saved), chip, calibration, seed=options.seed)
    else:
        progress.stage("basis and coefficients")
        net = map_basis(
            loaded.model, chip, calibration, sets=options.sets, coefficient_bits=options.coefficient_bits,
            sparsity=options.sparsity, contest=options.contest, method=options.method, seed=options.seed,  # type: ignore[arg-type]
            combined=options.combined,  # type: ignore[arg-type]
        )  # fmt: skip
    accuracy = _accuracy(loaded.model, net, chip, x, y, calibration, options, progress, text)
    shapes = [layer.shape for layer in net.layers.values()]
    codes = {name: found.codes for name, found in net.codes.items()}
    vectors, sets, bits = net.basis.vectors, net.basis.sets, net.coding.bits
    designs = [BasisArraySpec(arrays, sets, vectors, options.lines, bits) for arrays in options.arrays]
    progress.stage("schedules without contests", len(shapes))
    found: list[LayerCycles] = []
    for shape in shapes:
        found.append(layer_cycles(shape, codes[shape.name], designs[0], chip))
        progress.advance()
    layers = {d.arrays: [layer.on(d) for layer in found] for d in designs}
    _, own = folded_layers(loaded.model, coefficient_chip(chip, bits), calibration)
    shown = tuple(LayerOnBasisResult(layer, _error(net, layer.name, own[layer.name].weight)) for layer in found)
    graph = _contests(codes, found, vectors)
    network = trace(loaded.model, tuple(x.shape[1:]), name=options.model)
    note = f"{'training and accuracy' if options.train else 'accuracy'} computed on {options.device}"
    done = _finish(options, chip, network, shapes, designs, layers, shown, accuracy, before, graph, (note,), progress)
    return done, kept


def _error(net: BasisNetwork, name: str, weight: Any) -> float:
    """Return what the layer on the basis misses of the weights of the network that was given, as a share of their length."""
    from crosstile.basisn.segments import combine

    layer, found = net.layers[name], net.codes[name]
    made = combine(found.codes, net.basis.flat, layer.plan.packs[0].blocks) * found.scale[:, None]
    length = float(np.linalg.norm(weight))
    return float(np.linalg.norm(made - weight)) / length if length > 0 else 0.0


def _mean_accuracy(
    net: Any, x: Any, y: Any, options: BasisOptions, progress: Progress, what: str
) -> tuple[float, tuple[float, float], tuple[float, ...], str]:
    from crosstile.study.montecarlo import evaluate

    progress.stage(what, options.trials * len(x))
    mapped, x = net.mapped.to(options.device), x.to(options.device)
    found = evaluate(mapped, x, y, trials=options.trials, batch=options.batch, progress=progress.advance)
    return found.mean, found.ci95, tuple(found.per_trial), found.method


def _accuracy(
    model: Any,
    net: Any,
    chip: ChipSpec,
    x: Any,
    y: Any,
    calibration: Any,
    options: BasisOptions,
    progress: Progress,
    text: str,
) -> BasisAccuracy:
    from crosstile.mapping.replace import map_network
    from crosstile.study.montecarlo import count_correct, evaluate

    progress.stage("digital network", len(x))
    x = x.to(options.device)
    there = copy.deepcopy(model).to(options.device)  # the network itself is mapped and traced on the CPU
    digital_share = count_correct(there, x, y, options.batch, progress.advance) / len(x)
    progress.stage("own weights on the chip", options.trials * len(x))
    own = map_network(model, chip, calibration, seed=options.seed).to(options.device)
    chip_share = evaluate(own, x, y, trials=options.trials, batch=options.batch, progress=progress.advance).mean
    mean, ci95, trials, method = _mean_accuracy(net, x, y, options, progress, "basis")
    return BasisAccuracy(len(x), digital_share, chip_share, mean, ci95, trials, text, method)


def _contests(codes: Any, layers: Sequence[LayerCycles], vectors: int) -> tuple[str, tuple[tuple[int, ...], ...]]:
    worst = max(layers, key=lambda layer: sum(layer.groups) / max(layer.reads, 1))
    on = bit_supports(codes[worst.name][:_MOST_KERNELS, 0, :vectors], 0)
    return worst.name, tuple(tuple(int(v) for v in row) for row in contest_graph(on))


def _finish(
    options: BasisOptions,
    chip: ChipSpec,
    network: Network,
    shapes: Sequence[LayerShape],
    designs: Sequence[BasisArraySpec],
    layers: dict[int, list[LayerCycles]],
    shown: tuple[LayerOnBasisResult, ...],
    accuracy: BasisAccuracy | None,
    before: float | None,
    graph: tuple[str, tuple[tuple[int, ...], ...]],
    notes: tuple[str, ...],
    progress: Progress,
) -> BasisStudy:
    progress.stage("cost", len(designs) * len(options.batches))
    compared, rows = [], []
    more: dict[str, None] = dict.fromkeys(notes)
    for design in designs:
        own = basis_cost(shapes, layers[design.arrays], design, chip)
        more |= dict.fromkeys(own.notes)
        fixed = (own, identity(shapes, chip, design), digital(shapes, chip, design))
        for batch in options.batches:
            other = reprogramming(network, chip, design.arrays, batch)
            more |= dict.fromkeys(
                f"reprogramming: {note}" for note in other.notes if "write" in note or "memory off" in note
            )
            swapped = per_layer(shapes, layers[design.arrays], design, chip, batch)
            compared += [Compared(design.arrays, batch, cost) for cost in (*fixed, swapped, other)]
            progress.advance()
    smallest = designs[0]
    own = basis_cost(shapes, layers[smallest.arrays], smallest, chip)
    for parallelism, cycles in WRITES:
        for batch in options.batches:
            other = reprogramming(network, with_write_model(chip, parallelism, cycles), smallest.arrays, batch)
            rows.append(
                Sensitivity(
                    parallelism, cycles, batch, smallest.arrays, own.cycles / other.cycles, own.time_s / other.time_s,
                    own.energy_j / other.energy_j, own.edp_js / other.edp_js,
                )
            )  # fmt: skip
    return BasisStudy(
        options,
        network.name,
        smallest,
        accuracy,
        before,
        shown,
        tuple(compared),
        tuple(rows),
        graph[0],
        graph[1],
        tuple(more),
    )
