"""Convolutions and fully connected layers on a charge-domain macro.

    y = s_w s_x (sum over pieces of code_p) R / 2^b + bias

A layer's rows are cut in pieces of at most ``inputs`` rows; each piece is one cycle and one conversion for an output, and the
codes of the pieces are added digitally. Only where one piece holds all rows, the bias' own rows included, and nothing but ReLU
follows, does the macro take the ReLU into the conversion; a partial sum needs both signs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crosstile.crossbar.inputs import ConvInputs, Inputs, LinearInputs
from crosstile.crossbar.reader import Stream
from crosstile.errors import ModelError
from crosstile.macros.engine import Conversions, Macro, Tile, bias_rows, bit_planes, build_tile, read
from crosstile.macros.spec import ChargeDomainSpec
from crosstile.mapping.plan import LayerShape
from crosstile.nn.layer import ReadState
from crosstile.nn.scale import InputScale

IntArray = npt.NDArray[np.int64]
_CHUNK_ENTRIES = 12_000_000
"""Largest vectors x rows at once: bounds memory, whatever the batch."""


@dataclass(frozen=True)
class Piece:
    """Rows of one group that go into one cycle: (channel, kernel position) pairs, position first, channel last."""

    group: int
    channel: IntArray
    position: IntArray
    whole: bool
    """True when it holds all kernel positions of its channels: its product is a convolution."""

    @property
    def rows(self) -> int:
        """How many."""
        return len(self.channel)


def cut(shape: LayerShape, inputs: int) -> tuple[Piece, ...]:
    """Cut a layer's rows into the fewest pieces of at most ``inputs``, on channel boundaries where that costs none."""
    area, total = shape.kernel_area, shape.rows
    fewest = -(-total // inputs)
    per_piece = -(-shape.channels // fewest)
    position, channel = (index.reshape(-1) for index in np.mgrid[0:area, 0 : shape.channels])
    whole = per_piece * area <= inputs
    if whole:
        which = channel // per_piece
    else:
        size = -(-total // fewest)
        which = np.arange(total) // size
    parts = [np.flatnonzero(which == k) for k in range(int(which.max()) + 1)]
    return tuple(Piece(g, channel[part], position[part], whole) for g in range(shape.groups) for part in parts)


class MacroLayer(nn.Module):
    """Common part of the layers; subclasses turn tensors into :class:`Inputs`."""

    weight_scale: Tensor
    bias: Tensor | None

    def __init__(
        self,
        name: str,
        shape: LayerShape,
        integers: IntArray,
        scale: npt.NDArray[np.float64],
        bias: Tensor | None,
        spec: ChargeDomainSpec,
    ) -> None:
        """``integers`` is (groups * outputs, channels, kernel area)."""
        super().__init__()
        self.name, self.shape, self.spec = name, shape, spec
        self.integers = integers
        self.register_buffer("weight_scale", torch.from_numpy(scale.astype(np.float32)))
        self.register_buffer("bias", None if bias is None else bias.detach().to(torch.float32).clone())
        self.pieces = cut(shape, spec.inputs)
        self.state, self.calls = ReadState(), 0
        self.input_scale: InputScale | None = None
        self.span = spec.full_span
        """R: the sum that the end of the converters' range stands for."""
        self.fused = False
        self.exact = False
        """Compute the int8 layer in exact integers, without macro."""
        self.macro: Macro | None = None
        self.tiles: list[Tile] = []
        self.counts = Conversions()

    # ------------------------------------------------------------------ building

    def piece_weights(self, piece: Piece) -> IntArray:
        """Return (rows, outputs of the group) integers."""
        shape = self.shape
        part = self.integers[piece.group * shape.outputs : (piece.group + 1) * shape.outputs]
        return np.ascontiguousarray(part[:, piece.channel, piece.position].T)

    def bias_integers(self) -> IntArray:
        """Return the bias in units of integer input times integer weight, rounded: (groups * outputs,)."""
        if self.bias is None:
            return np.zeros(len(self.integers), dtype=np.int64)
        unit = self.weight_scale.double().numpy() * self.scale.scale
        return np.rint(self.bias.double().numpy() / unit).astype(np.int64)

    @property
    def fits_with_bias(self) -> bool:
        """True when one piece of each group, its bias' rows included, holds all rows."""
        if self.spec.mode != "parallel" or self.shape.rows > self.spec.inputs:
            return False
        room = (
            (self.spec.inputs - self.shape.rows - 1) * self.spec.largest_input * (2 ** (self.spec.weight_bits - 1) - 1)
        )
        bias = self.bias_integers()
        if self.bias is None:
            return True
        if np.abs(bias).max(initial=0) > room or self.spec.weight_bits < self.spec.input_bits:
            return False
        return bool(len(bias_rows(self.spec, bias)) + self.shape.rows <= self.spec.inputs)

    def program(self, macro: Macro) -> None:
        """Hold the layer's weights in the given macro, tile after tile."""
        self.macro = macro
        bias = self.bias_integers() if self.fused and self.bias is not None else None
        outputs = self.shape.outputs
        self.tiles = [
            build_tile(
                macro,
                self.piece_weights(piece),
                None if bias is None else bias[piece.group * outputs : (piece.group + 1) * outputs],
            )
            for piece in self.pieces
        ]

    @property
    def scale(self) -> InputScale:
        """The calibrated input scale."""
        if self.input_scale is None:
            raise ModelError(f"layer {self.name!r} has no input scale; map the network with calibration data.")
        return self.input_scale

    # ------------------------------------------------------------------ counting

    @property
    def conversions(self) -> int:
        """Results that one sample takes from converters, skipped ones included."""
        each = self.spec.input_bits * self.spec.weight_bits if self.spec.mode == "bit_serial" else 1
        return self.shape.positions * len(self.pieces) * self.shape.outputs * each

    @property
    def cycles(self) -> int:
        """Cycles that one macro takes for one sample."""
        blocks = -(-self.shape.outputs // self.spec.outputs)
        each = self.spec.input_bits if self.spec.mode == "bit_serial" else 1
        return self.shape.positions * len(self.pieces) * blocks * each

    # ------------------------------------------------------------------ running

    def make_inputs(self, q: Tensor) -> Inputs:
        """Return an integer feature map, or its planes as more channels, as inputs."""
        raise NotImplementedError(f"{type(self).__name__} must turn tensors into inputs")

    def vector_rows(self, piece: Piece, planes: int) -> IntArray:
        """Return which vector entries (kernel position first, channel next, plane last) the rows of a piece are."""
        total = self.shape.groups * self.shape.channels * planes
        first = piece.position * total + (piece.group * self.shape.channels + piece.channel) * planes
        return np.asarray((first[:, None] + np.arange(planes)).reshape(-1))

    def products(self, inputs: Inputs, planes: int, matrices: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield the (n, columns) product of each piece with its matrix; each input channel has ``planes`` channels."""
        vectors: Tensor | None = None
        for piece, matrix in zip(self.pieces, matrices, strict=True):
            rows = self.vector_rows(piece, planes)
            if piece.whole:
                yield inputs.product(inputs.values, rows, matrix)
            else:  # unfolded once for all pieces, whose rows follow each other
                vectors = inputs.vectors(inputs.values) if vectors is None else vectors
                together = len(rows) == rows[-1] - rows[0] + 1
                part = vectors[:, rows[0] : rows[-1] + 1] if together else vectors[:, torch.from_numpy(rows)]
                yield part @ matrix

    def compute(self, x: Tensor) -> Tensor:
        """Quantise, multiply on the macro, rescale. Returns (n, outputs) rows in the order of the vectors."""
        q = self.scale.quantise(x)
        samples = self.state.batch if q.shape[0] % self.state.batch == 0 else q.shape[0]
        positions = self.make_inputs(q[:1]).positions
        first = self.state.first_sample * (q.shape[0] // samples) * positions
        stream = Stream(self.state.seed, self.state.trial, self.name, self.calls, first)
        self.calls += 1
        each = self.shape.rows * self.shape.groups * (1 if self.exact else self.spec.input_bits)
        step = max(1, _CHUNK_ENTRIES // (each * positions))
        parts = [
            self._chunk(q[start : start + step], stream.shifted(start * positions)) for start in range(0, len(q), step)
        ]
        sums = parts[0] if len(parts) == 1 else torch.cat(parts)
        out = sums.to(torch.float32).mul_(self.weight_scale * self.scale.scale)
        return out if self.bias is None or (self.fused and not self.exact) else out.add_(self.bias)

    def _chunk(self, q: Tensor, stream: Stream) -> Tensor:
        """Return (n, outputs) sums in units of integer input times integer weight, float64."""
        if self.exact:
            return self._exact(q)
        if self.macro is None:
            raise ModelError(f"layer {self.name!r} has not been programmed; call program() of the network.")
        macro, serial = self.macro, self.spec.mode == "bit_serial"
        inputs = self.make_inputs(q)
        totals = np.zeros((self.shape.groups, q.shape[0] * inputs.positions, self.shape.outputs))
        matrices, planes = [tile.matrix for tile in self.tiles], self.tiles[0].planes
        if planes > 1:
            used = planes if bool((q < 0).any()) else planes - 1  # the sign bit of positive inputs drives nothing
            inputs = self.make_inputs(bit_planes(q, used))
            if not serial:
                matrices = [m.reshape(-1, planes, m.shape[1])[:, :used].reshape(-1, m.shape[1]) for m in matrices]
            planes = used
        products = self._counts(inputs, planes) if serial else self.products(inputs, planes, matrices)
        for number, (piece, tile, sums) in enumerate(zip(self.pieces, self.tiles, products, strict=True)):
            read(
                macro, tile, sums, self.span, stream, number, fused=self.fused, totals=totals[piece.group],
                counts=self.counts,
            )  # fmt: skip
        codes = macro.converter.codes
        worth = self.span / (codes if self.fused or serial else codes // 2)
        return torch.from_numpy(totals.transpose(1, 0, 2).reshape(totals.shape[1], -1)).mul_(worth)

    def _counts(self, inputs: Inputs, planes: int) -> Iterator[Tensor]:
        """Yield the (n, planes, weight bits * outputs) counts of each piece of a bit-serial macro."""
        vectors = inputs.vectors(inputs.values)
        for piece, tile in zip(self.pieces, self.tiles, strict=True):
            row = torch.from_numpy(self.vector_rows(piece, planes)).reshape(-1, planes)
            yield torch.stack([vectors[:, row[:, i]] @ tile.matrix for i in range(planes)], dim=1)

    def _exact(self, q: Tensor) -> Tensor:
        matrices = [torch.from_numpy(self.piece_weights(piece).astype(np.float32)) for piece in self.pieces]
        count = len(q) * self.make_inputs(q[:1]).positions
        totals = torch.zeros((self.shape.groups, count, self.shape.outputs), dtype=torch.float64)
        for piece, part in zip(self.pieces, self.products(self.make_inputs(q), 1, matrices), strict=True):
            totals[piece.group] += part
        return totals.permute(1, 0, 2).reshape(count, -1)

    def extra_repr(self) -> str:
        """Shown in ``print(network)``."""
        relu = ", ReLU in the conversion" if self.fused else ""
        return f"{self.name}: {self.shape.rows}x{self.shape.outputs}x{self.shape.groups} in {len(self.pieces)} pieces{relu}"


class MacroConv2d(MacroLayer):
    """Stands in for ``nn.Conv2d``: (B, C, H, W) or (C, H, W)."""

    def take_geometry(self, source: nn.Conv2d) -> None:
        """Take kernel, stride, dilation and padding from the layer."""
        self.kernel, self.stride = (int(source.kernel_size[0]), int(source.kernel_size[1])), source.stride
        self.dilation = source.dilation
        self.sides = [int(side) for side in source._reversed_padding_repeated_twice]
        self.pad_mode = "constant" if source.padding_mode == "zeros" else source.padding_mode

    def as_feature_map(self, x: Tensor) -> Tensor:
        """Return a padded batch."""
        x = x.unsqueeze(0) if x.dim() == 3 else x
        return F.pad(x, self.sides, mode=self.pad_mode) if any(self.sides) else x

    def make_inputs(self, q: Tensor) -> ConvInputs:
        """Each output pixel reads one window."""
        stride, dilation = self.stride, self.dilation
        return ConvInputs(q, self.kernel, (stride[0], stride[1]), (0, 0), (dilation[0], dilation[1]))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the convolution."""
        padded = self.as_feature_map(x)
        height, width = self.make_inputs(padded).output_size
        out = self.compute(padded).reshape(padded.shape[0], height, width, -1).permute(0, 3, 1, 2)
        return out.squeeze(0) if x.dim() == 3 else out


class MacroLinear(MacroLayer):
    """Stands in for ``nn.Linear``: (..., in_features) -> (..., out_features)."""

    def as_feature_map(self, x: Tensor) -> Tensor:
        """Leading dimensions become one."""
        return x.reshape(-1, x.shape[-1])

    def make_inputs(self, q: Tensor) -> LinearInputs:
        """Each row is one vector."""
        return LinearInputs(q)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer to the last dimension of ``x``."""
        out = self.compute(self.as_feature_map(x))
        return out.reshape(*x.shape[:-1], out.shape[-1])
