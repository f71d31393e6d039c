"""Residual networks for 32x32 colour images (He et al. 2016, section 4.2) with option-A shortcuts."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch.nn.functional as F
from torch import Tensor, nn


class PadShortcut(nn.Module):
    """Option A: keep every second pixel and add channels of zeros, half before and half after.

    (N, C, H, W) becomes (N, C + 2*pad, H/2, W/2); there are no parameters.
    """

    def __init__(self, pad: int) -> None:
        super().__init__()
        self.pad = pad

    def forward(self, x: Tensor) -> Tensor:
        """Return the subsampled and widened input."""
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad))


def _conv(in_channels: int, channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, channels, kernel, stride=stride, padding=kernel // 2, bias=False)


class BasicBlock(nn.Module):
    """Two convolutions, 3x3 unless ``kernels`` says otherwise, with batch normalisation and a shortcut around them."""

    def __init__(self, in_channels: int, channels: int, stride: int, kernels: tuple[int, int] = (3, 3)) -> None:
        super().__init__()
        self.conv1 = _conv(in_channels, channels, kernels[0], stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.conv2 = _conv(channels, channels, kernels[1])
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu2 = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1:
            self.shortcut = PadShortcut((channels - in_channels) // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output for (N, in_channels, H, W)."""
        out = self.relu1(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        result: Tensor = self.relu2(out + self.shortcut(x))
        return result


class CifarResNet(nn.Module):
    """A convolution, three stages of 16, 32 and 64 channels, global average, one linear layer.

    Input (N, 3, 32, 32), output (N, num_classes) logits; depth = 6 * blocks_per_stage + 2. Parameter
    names are those of the weights published with akamaster/pytorch_resnet_cifar10.

    Args:
        width: channels of the first stage; the others have twice and four times as many.
        in_channels: of the images.
        kernels: sides of convolutions that are not 3, by their names, such as ``layer1.0.conv1``.
        skipped: names of blocks that are left out, such as ``layer1.1``; they must not change the shape.
    """

    def __init__(
        self,
        blocks_per_stage: int,
        num_classes: int = 10,
        *,
        width: int = 16,
        in_channels: int = 3,
        kernels: Mapping[str, int] | None = None,
        skipped: Collection[str] = (),
    ) -> None:
        super().__init__()
        sides = kernels or {}
        self.conv1 = _conv(in_channels, width, sides.get("conv1", 3))
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.layer1 = _stage("layer1", width, width, blocks_per_stage, sides, skipped)
        self.layer2 = _stage("layer2", width, 2 * width, blocks_per_stage, sides, skipped)
        self.layer3 = _stage("layer3", 2 * width, 4 * width, blocks_per_stage, sides, skipped)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(4 * width, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, num_classes) of images (N, 3, 32, 32)."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.linear(self.flatten(self.pool(x)))
        return logits


def _stage(
    name: str, in_channels: int, channels: int, blocks: int, kernels: Mapping[str, int], skipped: Collection[str]
) -> nn.Sequential:
    made: list[nn.Module] = []
    for number in range(blocks):
        block, changes = f"{name}.{number}", number == 0 and in_channels != channels
        sides = kernels.get(f"{block}.conv1", 3), kernels.get(f"{block}.conv2", 3)
        if block in skipped and not changes:
            made.append(nn.Identity())
        else:
            made.append(BasicBlock(in_channels if number == 0 else channels, channels, 2 if changes else 1, sides))
    return nn.Sequential(*made)


def resnet8() -> CifarResNet:
    """Return ResNet-8 (one block a stage) with random weights."""
    return CifarResNet(1)


def resnet20() -> CifarResNet:
    """Return ResNet-20 with random weights."""
    return CifarResNet(3)


def resnet32() -> CifarResNet:
    """Return ResNet-32 with random weights."""
    return CifarResNet(5)


def resnet44() -> CifarResNet:
    """Return ResNet-44 with random weights."""
    return CifarResNet(7)


def resnet56() -> CifarResNet:
    """Return ResNet-56 with random weights."""
    return CifarResNet(9)
