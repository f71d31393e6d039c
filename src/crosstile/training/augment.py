"""More images out of few: shifted by some pixels, and mirrored.

Each image of a batch is moved by up to 4 pixels in both directions, its edge filled with zeros, and mirrored left to right with
probability one half (K. He et al., CVPR 2016, section 4.2). Zeros are those of the normalised image.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SHIFT = 4


def augment(x: Tensor, generator: torch.Generator) -> Tensor:
    """Return (B, C, H, W) images, each shifted and perhaps mirrored.

    Args:
        generator: on the CPU; every draw comes from it.
    """
    batch, _, height, width = x.shape
    drawn = torch.rand((batch, 3), generator=generator)
    down, right = (drawn[:, k].mul(2 * SHIFT + 1).long() for k in (0, 1))
    rows = down[:, None] + torch.arange(height)
    columns = torch.arange(width).expand(batch, width)
    columns = torch.where(drawn[:, 2:] < 0.5, columns.flip(1), columns) + right[:, None]
    padded = F.pad(x, (SHIFT, SHIFT, SHIFT, SHIFT)).permute(0, 2, 3, 1)
    index = torch.arange(batch)[:, None, None], rows[:, :, None], columns[:, None, :]
    return padded[tuple(part.to(x.device) for part in index)].permute(0, 3, 1, 2).contiguous()
