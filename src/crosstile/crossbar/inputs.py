"""Integer inputs of one layer call, seen either as a feature map or as the vectors that its arrays read.

Vectors have ``K = kernel_area * channels`` entries ordered kernel position first, channel last. Elementwise
work (digits, squares) is done on the feature map, which is up to ``kernel_area`` times smaller than the
vectors; products over whole channels run as convolutions and never build the vectors at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from crosstile.parallel import in_chunks

Index = npt.NDArray[np.int64]


class Inputs(Protocol):
    """What the engine needs of a layer's inputs."""

    @property
    def values(self) -> Tensor:
        """The integer inputs as a float32 feature map, batch first."""

    @property
    def positions(self) -> int:
        """Vectors per sample."""

    def vectors(self, values: Tensor) -> Tensor:
        """Return (n, K) vectors of a feature map of the same shape as :attr:`values`, any type."""

    def product(self, values: Tensor, rows: Index, matrix: Tensor) -> Tensor:
        """Return (n, columns) products of the given vector entries with ``matrix`` (len(rows), columns), in its type."""

    def row_sum(self, values: Tensor, rows: Index) -> Tensor:
        """Return (n,) sums of the given vector entries."""

    def square_sum(self, values: Tensor, rows: Index, largest: int) -> Tensor:
        """Return (n,) sums of the squares of entries of magnitude up to ``largest``, float32, rounded once."""


@dataclass(frozen=True)
class LinearInputs:
    """(n, K) inputs of a matrix."""

    values: Tensor

    @property
    def positions(self) -> int:
        """One vector a row."""
        return 1

    def vectors(self, values: Tensor) -> Tensor:
        """The vectors are the values."""
        return values

    def product(self, values: Tensor, rows: Index, matrix: Tensor) -> Tensor:
        """Gathered matrix product."""
        return _gather(values, rows).to(matrix.dtype) @ matrix

    def row_sum(self, values: Tensor, rows: Index) -> Tensor:
        """Sum of the gathered entries."""
        return _gather(values, rows).sum(dim=1)

    def square_sum(self, values: Tensor, rows: Index, largest: int) -> Tensor:
        """Sum of the gathered squares."""
        return _gather(values, rows).to(torch.float64).square().sum(dim=1).to(torch.float32)


@dataclass(frozen=True)
class ConvInputs:
    """(B, C, H, W) inputs of a two-dimensional convolution."""

    values: Tensor
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    """Zeros added on both sides of height and width."""
    dilation: tuple[int, int]

    @property
    def output_size(self) -> tuple[int, int]:
        """Height and width of the output."""
        size = []
        for axis in (0, 1):
            extent = self.values.shape[2 + axis] + 2 * self.padding[axis]
            size.append((extent - self.dilation[axis] * (self.kernel[axis] - 1) - 1) // self.stride[axis] + 1)
        return size[0], size[1]

    @property
    def positions(self) -> int:
        """Output pixels."""
        height, width = self.output_size
        return height * width

    def vectors(self, values: Tensor) -> Tensor:
        """Unfold: one row a pixel, kernel position first, channel last."""
        vertical, horizontal = self.padding
        maps = F.pad(values.permute(0, 2, 3, 1), (0, 0, horizontal, horizontal, vertical, vertical)).contiguous()
        batch, _, width, channels = maps.shape
        height_out, width_out = self.output_size
        row = width * channels
        view = maps.as_strided(
            (batch, height_out, width_out, self.kernel[0], self.kernel[1], channels),
            (
                maps.stride(0), self.stride[0] * row, self.stride[1] * channels,
                self.dilation[0] * row, self.dilation[1] * channels, 1,
            ),
        )  # fmt: skip
        return view.reshape(batch * height_out * width_out, -1)

    def _channels(self, rows: Index) -> slice | None:
        """Return the channel range that ``rows`` cover in full and in order, or None."""
        area, total = self.kernel[0] * self.kernel[1], self.values.shape[1]
        count, rest = divmod(len(rows), area)
        if rest or count == 0:
            return None
        first = int(rows[0])
        expected = (np.arange(area)[:, None] * total + first + np.arange(count)[None, :]).reshape(-1)
        return slice(first, first + count) if first + count <= total and np.array_equal(rows, expected) else None

    def product(self, values: Tensor, rows: Index, matrix: Tensor) -> Tensor:
        """Convolution where the rows are whole channels (CPU, where it is a direct and hence exact one), else unfolded."""
        part = self._channels(rows)
        if part is None or values.device.type != "cpu" or matrix.dtype != torch.float32:
            return _gather(self.vectors(values), rows).to(matrix.dtype) @ matrix
        kernel = matrix.reshape(*self.kernel, -1, matrix.shape[1]).permute(3, 2, 0, 1)
        out = F.conv2d(
            values[:, part].contiguous(memory_format=torch.channels_last),
            kernel.contiguous(memory_format=torch.channels_last),
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
        )
        return out.permute(0, 2, 3, 1).reshape(-1, matrix.shape[1])

    def row_sum(self, values: Tensor, rows: Index) -> Tensor:
        """Sum over channels first, then over the window."""
        part = self._channels(rows)
        if part is None or values.device.type != "cpu":
            return _gather(self.vectors(values), rows).sum(dim=1)
        return self._window_sum(values[:, part].sum(dim=1, keepdim=True))

    def square_sum(self, values: Tensor, rows: Index, largest: int) -> Tensor:
        """Squares are summed over channels in one pass, then over the window; exact, then rounded once."""
        part = self._channels(rows)
        if part is None or values.device.type != "cpu":
            squares = _gather(self.vectors(values), rows).to(torch.float64).square()
            return squares.sum(dim=1).to(torch.float32)
        from crosstile.crossbar import convert_kernels

        batch, channels, height, width = values.shape
        pixels = values.permute(0, 2, 3, 1).contiguous().numpy().reshape(-1, channels)
        joined = torch.empty((batch, 1, height, width), dtype=torch.float64)
        out = joined.numpy().reshape(-1)
        in_chunks(
            len(out),
            lambda s: convert_kernels.sum_squares(pixels[s], part.start, part.stop, largest, out[s]),
            size=16384,
        )
        return self._window_sum(joined).to(torch.float32)

    def _window_sum(self, joined: Tensor) -> Tensor:
        """Sum (B, 1, H, W) over each window: rows first, then columns."""
        vertical, horizontal = self.padding
        padded = F.pad(joined[:, 0], (horizontal, horizontal, vertical, vertical))
        height, width = self.output_size
        steps, gaps = self.stride, self.dilation
        tall = padded[:, : (height - 1) * steps[0] + 1 : steps[0]].clone()
        for k in range(1, self.kernel[0]):
            tall += padded[:, k * gaps[0] : k * gaps[0] + (height - 1) * steps[0] + 1 : steps[0]]
        wide = tall[:, :, : (width - 1) * steps[1] + 1 : steps[1]].clone()
        for k in range(1, self.kernel[1]):
            wide += tall[:, :, k * gaps[1] : k * gaps[1] + (width - 1) * steps[1] + 1 : steps[1]]
        return wide.reshape(-1)


def _gather(vectors: Tensor, rows: Index) -> Tensor:
    if len(rows) == vectors.shape[1] and np.array_equal(rows, np.arange(len(rows))):
        return vectors
    return vectors.index_select(1, torch.from_numpy(rows).to(vectors.device))
