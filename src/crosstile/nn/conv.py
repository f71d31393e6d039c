"""Convolutions on arrays: the kernel positions and channels of a window are the rows of the matrix."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from crosstile.crossbar.inputs import ConvInputs, Inputs
from crosstile.errors import ModelError
from crosstile.mapping.plan import LayerShape
from crosstile.nn.layer import FloatArray, MappedLayer
from crosstile.specs.chip import ChipSpec

Pair = tuple[int, int]


class _MappedConv(MappedLayer):
    """Two-dimensional geometry; one-dimensional layers run with a height of one."""

    def __init__(
        self,
        name: str,
        shape: LayerShape,
        weight: FloatArray,
        bias: Tensor | None,
        chip: ChipSpec,
        source: nn.Conv1d | nn.Conv2d,
    ) -> None:
        super().__init__(name, shape, weight, bias, chip)
        one = len(source.kernel_size) == 1
        self.kernel, self.stride, self.dilation = (
            _pair(source.kernel_size, 1, one), _pair(source.stride, 1, one), _pair(source.dilation, 1, one)
        )  # fmt: skip
        self.padding: Pair = (0, 0)
        self.pad_first: list[int] | None = None
        self.pad_mode = "constant" if source.padding_mode == "zeros" else source.padding_mode
        if source.padding == "same":
            total = [d * (k - 1) for d, k in zip(self.dilation, self.kernel, strict=True)]
            edges = [(t // 2, t - t // 2) for t in total]
            self.pad_first = [*edges[1]] if one else [*edges[1], *edges[0]]
        elif isinstance(source.padding, str):
            if source.padding != "valid":
                raise ModelError(
                    f"layer {name!r}: padding {source.padding!r} is not known; use 'same', 'valid' or numbers."
                )
        elif self.pad_mode != "constant":
            sides = [p for p in reversed(source.padding) for _ in range(2)]
            self.pad_first = sides
        else:
            self.padding = _pair(source.padding, 0, one)
        if self.pad_first is not None and not any(self.pad_first):
            self.pad_first = None

    def make_inputs(self, q: Tensor) -> Inputs:
        """Each output pixel reads one window."""
        return ConvInputs(q, self.kernel, self.stride, self.padding, self.dilation)

    def pad(self, x: Tensor) -> Tensor:
        """Apply padding that is not symmetric zeros (those are added at the arrays)."""
        return x if self.pad_first is None else F.pad(x, self.pad_first, mode=self.pad_mode)


def _pair(values: object, fill: int, one: bool) -> Pair:
    numbers = [int(v) for v in values]  # type: ignore[attr-defined]
    return (fill, numbers[0]) if one else (numbers[0], numbers[1])


class MappedConv2d(_MappedConv):
    """Stands in for ``nn.Conv2d``: (B, C, H, W) or (C, H, W)."""

    def as_feature_map(self, x: Tensor) -> Tensor:
        """Add a batch of one where there is none, and unusual padding."""
        return self.pad(x.unsqueeze(0) if x.dim() == 3 else x)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the convolution."""
        single, padded = x.dim() == 3, self.as_feature_map(x)
        height, width = ConvInputs(padded, self.kernel, self.stride, self.padding, self.dilation).output_size
        out = self.compute(padded).reshape(padded.shape[0], height, width, -1).permute(0, 3, 1, 2)
        return out.squeeze(0) if single else out


class MappedConv1d(_MappedConv):
    """Stands in for ``nn.Conv1d``: (B, C, L) or (C, L)."""

    def as_feature_map(self, x: Tensor) -> Tensor:
        """Add a batch of one where there is none, unusual padding, and a height of one."""
        return self.pad(x.unsqueeze(0) if x.dim() == 2 else x).unsqueeze(2)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the convolution."""
        single, padded = x.dim() == 2, self.as_feature_map(x)
        _, width = ConvInputs(padded, self.kernel, self.stride, self.padding, self.dilation).output_size
        out = self.compute(padded).reshape(padded.shape[0], width, -1).permute(0, 2, 1)
        return out.squeeze(0) if single else out
