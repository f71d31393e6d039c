"""A layer whose weights live on arrays.

    y = s_w s_x (sum_i q_i w_ij) + b,      q = clamp(rint(x / s_x)),   w integer weights,   s_w, s_x scales

The sum is what the arrays compute; scales and bias are digital, in single precision, in that order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from crosstile.circuits.adc import AdcRange, References
from crosstile.crossbar.collapsed import collapse
from crosstile.crossbar.encode import quantise_weights
from crosstile.crossbar.inputs import Inputs
from crosstile.crossbar.matrix import PackMatrix, build_pack
from crosstile.crossbar.mvm import Mode, PackEngine
from crosstile.crossbar.reader import Clipping, Stream
from crosstile.crossbar.references import Sums, place_references, read_digits, segment_sums
from crosstile.errors import ModelError
from crosstile.mapping.plan import LayerPlan, LayerShape, Pack, plan_layer
from crosstile.nn.fit import Fitted, fit_layer, fit_outputs, ideal_arrays
from crosstile.nn.scale import InputScale
from crosstile.specs.chip import ChipSpec
from crosstile.specs.conditions import Conditions

FloatArray = npt.NDArray[np.float64]
_CHUNK_ENTRIES = 16_000_000
"""Largest vectors x (rows or columns) at once: bounds memory, whatever the batch."""


@dataclass
class ReadState:
    """Where in the data a mapped network stands; shared by its layers, so that noise follows the sample."""

    seed: int = 0
    trial: int = 0
    first_sample: int = 0
    batch: int = 1
    digital: bool = False
    """Compute in floating point with the original weights: the digital twin that errors are measured against."""


@dataclass
class _Programmed:
    packs: list[PackMatrix]
    fitted: Fitted
    kept: Fitted
    """What was fitted when the chip was programmed."""
    engines: dict[str, list[PackEngine]] = field(default_factory=dict)


class MappedLayer(nn.Module):
    """Common part of mapped linear and convolutional layers. Subclasses turn tensors into :class:`Inputs`."""

    weight_scale: Tensor
    bias: Tensor | None

    def __init__(self, name: str, shape: LayerShape, weight: FloatArray, bias: Tensor | None, chip: ChipSpec) -> None:
        """``weight`` is (groups * outputs, channels, kernel area) in double precision."""
        super().__init__()
        self.name, self.shape, self.chip = name, shape, chip
        self.state = ReadState()
        self.calls = 0
        self.total_calls = 0
        self.mode: Mode | None = None
        self.input_scale: InputScale | None = None
        self.adc: AdcRange | None = None
        self.first_array = 0
        self.record: dict[str, Tensor] | None = None
        self.plan: LayerPlan = plan_layer(shape, chip)
        self.write_weights(weight.reshape(weight.shape[0], -1), bias)
        self.calibration: npt.NDArray[np.int32] | None = None
        """(n, vector entries) integer inputs of the calibration data."""
        self._programmed: _Programmed | None = None
        self._clipping: Clipping | None = None

    # ------------------------------------------------------------------ building

    def reshape(self, shape: LayerShape) -> None:
        """Take a shape that differs in the sign of the inputs only, and plan again."""
        self.shape, self.plan = shape, plan_layer(shape, self.chip)

    def pack_weights(self, pack: Pack) -> FloatArray:
        """Return (pack rows, pack outputs) integer weights, groups along the diagonal."""
        return self._blocks(self.integers, pack)

    def _blocks(self, values: npt.NDArray[np.float32], pack: Pack) -> FloatArray:
        shape = self.shape
        matrix = np.zeros((pack.rows, pack.outputs))
        for local in range(pack.groups):
            group = pack.first_group + local
            part = values[group * shape.outputs : (group + 1) * shape.outputs]
            matrix[
                local * shape.rows : (local + 1) * shape.rows, local * shape.outputs : (local + 1) * shape.outputs
            ] = part.T
        return matrix

    def pack_rows(self, pack: Pack) -> npt.NDArray[np.int64]:
        """Return which vector entry (kernel position first, channel last) drives each row of a pack."""
        shape = self.shape
        row = np.arange(pack.rows)
        channel, position = np.divmod(row, shape.kernel_area)
        return np.asarray(position * (shape.groups * shape.channels) + pack.first_group * shape.channels + channel)

    def build(self, number: int, chip: ChipSpec, *, seed: int, trial: int, first_array: int = 0) -> PackMatrix:
        """Return pack ``number`` as ``chip`` would hold it."""
        pack, importance, sensitivity = self.plan.packs[number], None, None
        if chip.array.mends and self.calibration is not None:
            sensitivity = (self.calibration[:, self.pack_rows(pack)].astype(np.float64) ** 2).mean(axis=0)
        if chip.compensation.rows == "by_current":
            importance = np.abs(self._calibration[:, self.pack_rows(pack)].astype(np.float64)).mean(axis=0)
        return build_pack(
            self.pack_weights(pack), pack, chip, seed=seed, trial=trial, layer=self.name, pack_number=number,
            first_array=first_array, importance=importance, sensitivity=sensitivity,
        )  # fmt: skip

    def program(self, seed: int, trial: int, conditions: Conditions | None = None) -> None:
        """Write the arrays of one chip; the same (seed, trial) gives the same chip.

        ``conditions`` (default: the chip's) are those under which its outputs are fitted and it is read from now on.
        """
        packs = self._build_all(seed, trial, conditions)
        fitted = Fitted(self._fit_outputs(packs, self.chip.compensation.outputs), self._fit_references(packs))
        self._programmed = _Programmed(packs, fitted, fitted)

    def age(self, seed: int, trial: int, conditions: Conditions, *, recalibrate: bool) -> None:
        """Look at the programmed chip (seed, trial) under other conditions.

        ``recalibrate`` fits again what the chip has: the references of its converters, or else the outputs' gain (and offset,
        if the chip has one). Otherwise they stay as they are.
        """
        if self._programmed is None:
            raise ModelError(f"layer {self.name!r} has not been programmed; call program() of the mapped network.")
        kept = fitted = self._programmed.kept
        packs = self._build_all(seed, trial, conditions)
        if recalibrate:
            references = self._fit_references(packs)
            kind = self.chip.compensation.outputs
            outputs = "gain" if kind == "none" and references is None else kind
            fitted = Fitted(self._fit_outputs(packs, outputs), references)
        self._programmed = _Programmed(packs, fitted, kept)

    def _build_all(self, seed: int, trial: int, conditions: Conditions | None) -> list[PackMatrix]:
        self._clipping = self.clipping()
        chip: ChipSpec = self.chip
        if conditions is not None and conditions != chip.conditions:
            chip = chip.replaced(conditions=conditions.model_dump())
        packs, array = [], self.first_array
        for number, pack in enumerate(self.plan.packs):
            count = pack.column_blocks * len(pack.blocks)
            mine = chip
            if chip.conditions.arrays is not None:
                here = chip.conditions.for_pack(self.name, number, array - self.first_array, count)
                mine = chip.model_copy(update={"conditions": here})
            packs.append(self.build(number, mine, seed=seed, trial=trial, first_array=array))
            array += count
        return packs

    @property
    def _calibration(self) -> npt.NDArray[np.int32]:
        if self.calibration is None:
            raise ModelError(f"layer {self.name!r} has no calibration inputs; map the network with calibration data.")
        return self.calibration

    def _fit_outputs(self, packs: list[PackMatrix], kind: str) -> tuple[FloatArray, FloatArray] | None:
        """Return gain and offset (outputs,) that bring the programmed sums nearest the wanted ones; None: not asked for.

        Least squares over the calibration inputs, on the programmed cells without read noise and converters.
        """
        if kind == "none":
            return None
        bits, step = self.scale.magnitude_bits, self.chip.inputs.dac_bits
        found, wanted = [], []
        for pack, matrix in zip(self.plan.packs, packs, strict=True):
            x = self._calibration[:, self.pack_rows(pack)].astype(np.float64)
            folded = collapse(matrix, pack.rows, 2**bits - 1, step, -(-bits // step))
            found.append(x @ np.sum([part.astype(np.float64) for part in folded.matrices], axis=0))
            wanted.append(x @ self.pack_weights(pack))
        sums, aims = np.concatenate(found, axis=1), np.concatenate(wanted, axis=1)
        if kind == "layer_gain":
            gain = fit_layer(sums, aims, self.weight_scale.cpu().numpy().astype(np.float64))
            return np.full(sums.shape[1], gain), np.zeros(sums.shape[1])
        return fit_outputs(sums, aims, offset=kind == "gain_offset")

    def _fit_references(self, packs: list[PackMatrix]) -> References | None:
        """Return the reference levels that the programmed arrays call for; ``None`` where they are evenly spaced."""
        if self.chip.adc.references == "uniform" or self.adc is None:
            return None
        return place_references(list(self.sums(packs)), len(packs[0].column_slice), self.adc, self.chip.adc)

    def sums(self, packs: list[PackMatrix] | None = None) -> Iterator[Sums]:
        """Yield the sums of the calibration inputs on the programmed arrays beside those on ideal ones, segment by segment."""
        if self.adc is None:
            raise ModelError(f"layer {self.name!r} has ideal converters, which tell no codes apart.")
        packs, scale = packs or self.packs, self.scale
        ideal = [self.build(number, ideal_arrays(self.chip), seed=0, trial=0) for number in range(len(packs))]
        digits = read_digits(self._calibration, self.chip, signed=scale.signed, magnitude_bits=scale.magnitude_bits)
        driven = [digits[:, self.pack_rows(pack)] for pack in self.plan.packs]
        return segment_sums(packs, ideal, driven, self.adc)

    @property
    def correction(self) -> tuple[FloatArray, FloatArray] | None:
        """Gain and offset (outputs,) that the programmed layer's outputs are corrected with; ``None`` without."""
        return None if self._programmed is None else self._programmed.fitted.correction

    def write_weights(self, weight: FloatArray, bias: Tensor | None) -> None:
        """Take other weights (groups * outputs, rows), for the next time that the layer is programmed."""
        if not np.isfinite(weight).all():
            raise ModelError(
                f"layer {self.name!r}: weights contain {int((~np.isfinite(weight)).sum())} values that are not finite."
            )
        integers, scale = quantise_weights(weight, self.chip.weights)
        device = self.weight_scale.device if hasattr(self, "weight_scale") else torch.device("cpu")
        self.weight = weight.astype(np.float32)
        self.integers = integers.astype(np.float32)
        self.register_buffer("weight_scale", torch.from_numpy(scale.astype(np.float32)).to(device))
        self.register_buffer("bias", None if bias is None else bias.detach().to(device, torch.float32).clone())

    @property
    def converter(self) -> AdcRange | None:
        """The converters of the programmed layer with their references; ``None`` for ideal ones."""
        references = None if self._programmed is None else self._programmed.fitted.references
        return self.adc if self.adc is None or references is None else replace(self.adc, references=references)

    @property
    def packs(self) -> list[PackMatrix]:
        """The programmed packs."""
        if self._programmed is None:
            raise ModelError(f"layer {self.name!r} has not been programmed; call program() of the mapped network.")
        return self._programmed.packs

    def engines(self, device: torch.device) -> list[PackEngine]:
        """Return the engines of the programmed packs on ``device``, made at the first use."""
        packs, scale = self.packs, self.scale
        assert self._programmed is not None
        cache = self._programmed.engines
        if str(device) not in cache:
            cache[str(device)] = [
                PackEngine.build(
                    matrix, self.pack_rows(pack), self.chip, self.converter, signed=scale.signed,
                    magnitude_bits=scale.magnitude_bits, device=device, mode=self.mode,
                )
                for matrix, pack in zip(packs, self.plan.packs, strict=True)
            ]  # fmt: skip
        return cache[str(device)]

    @property
    def scale(self) -> InputScale:
        """The calibrated input scale."""
        if self.input_scale is None:
            raise ModelError(f"layer {self.name!r} has no input scale; map the network with calibration data.")
        return self.input_scale

    def clipping(self) -> Clipping | None:
        """Clipped codes over all chips since :meth:`reset_counts`; ``None`` where nothing was converted one by one."""
        total = self._clipping
        for engines in self._programmed.engines.values() if self._programmed else ():
            for engine in engines:
                if engine.clipping is not None:
                    total = Clipping.zero(self.chip.weights.slices) if total is None else total
                    total = total.plus(engine.clipping)
        return total

    def reset_counts(self) -> None:
        """Start counting clipped codes anew."""
        self._clipping = None
        for engines in self._programmed.engines.values() if self._programmed else ():
            for engine in engines:
                if engine.reader is not None:
                    engine.reader.clipping = Clipping.zero(self.chip.weights.slices)

    def exchange_hardware(self, other: MappedLayer) -> None:
        """Exchange chip, converters, calibration and programmed arrays with the same layer on another chip."""
        if (self.name, self.shape) != (other.name, other.shape):
            raise ValueError(f"layers {self.name!r} and {other.name!r} are not the same layer")
        for part in ("chip", "plan", "adc", "input_scale", "calibration", "_programmed", "_clipping"):
            mine, theirs = getattr(self, part), getattr(other, part)
            setattr(self, part, theirs)
            setattr(other, part, mine)

    # ------------------------------------------------------------------ running

    def as_feature_map(self, x: Tensor) -> Tensor:
        """Return a layer input as the batch-first feature map that :meth:`make_inputs` takes."""
        raise NotImplementedError(f"{type(self).__name__} must bring its input to batch-first form")

    def make_inputs(self, q: Tensor) -> Inputs:
        """Return the integer feature map as inputs of the arrays."""
        raise NotImplementedError(f"{type(self).__name__} must turn tensors into inputs")

    def matmul(self, q: Tensor, samples: int) -> Tensor:
        """Return (n, outputs of all groups) sums of a (chunk of a) feature map, in integer units."""
        inputs = self.make_inputs(q)
        vectors = q.shape[0] * inputs.positions
        per_sample = -(-vectors // samples)
        stream = Stream(self.state.seed, self.state.trial, self.name, self.calls, self.state.first_sample * per_sample)
        rows, columns = self.shape.rows * self.shape.groups, self.plan.packs[0].outputs * self.chip.weights.slices * 2
        limit = max(1, _CHUNK_ENTRIES // max(rows, columns))
        per_chunk = max(1, limit // inputs.positions)
        engines = self.engines(q.device)
        signed, bits = self.scale.signed, self.scale.magnitude_bits
        outputs = []
        for start in range(0, q.shape[0], per_chunk):
            part = inputs if per_chunk >= q.shape[0] else self.make_inputs(q[start : start + per_chunk])
            shifted = stream.shifted(start * inputs.positions)
            packs = [engine.run(part, self.chip, bits, signed=signed, stream=shifted) for engine in engines]
            outputs.append(packs[0] if len(packs) == 1 else torch.cat(packs, dim=1))
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def compute(self, x: Tensor) -> Tensor:
        """Quantise, multiply on the arrays, rescale. Returns (n, outputs) rows in the order of the vectors."""
        self.total_calls += 1
        if self.record is not None:
            self.record.setdefault("input", x.detach())
        out = self._digital(x) if self.state.digital else self._analog(x)
        if self.bias is not None:
            out.add_(self.bias)
        if self.record is not None:
            self.record.setdefault("output", out.detach())
        return out

    def _digital(self, x: Tensor) -> Tensor:
        inputs = self.make_inputs(x)
        outputs = []
        for pack in self.plan.packs:
            rows = self.pack_rows(pack)
            order = np.argsort(rows)
            matrix = self._blocks(self.weight, pack)[order].astype(np.float32)
            outputs.append(inputs.product(x, rows[order], torch.from_numpy(matrix).to(x.device)))
        return torch.cat(outputs, dim=1)

    def _analog(self, x: Tensor) -> Tensor:
        q = self.scale.quantise(x)
        sums = self.matmul(q, self.state.batch if q.shape[0] % self.state.batch == 0 else q.shape[0])
        self.calls += 1
        scale = self.weight_scale * self.scale.scale
        assert self._programmed is not None
        if self._programmed.fitted.correction is None:
            return sums.mul_(scale)
        gain, offset = (
            torch.from_numpy(v.astype(np.float32)).to(sums.device) for v in self._programmed.fitted.correction
        )
        return sums.mul_(gain * scale).add_(offset * scale)

    def extra_repr(self) -> str:
        """Shown in ``print(network)``."""
        return f"{self.name}: {self.shape.rows}x{self.shape.outputs}x{self.shape.groups}, {self.plan.arrays} arrays"
