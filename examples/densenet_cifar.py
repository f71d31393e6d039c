"""A small DenseNet for 32 x 32 images, trained here: three dense blocks, growth 12, 0.1 million weights.

    python examples/densenet_cifar.py --data-dir DATA --hold-out 2000 --epochs 20
    cd examples && crosstile basis densenet_cifar:small_densenet --data cifar10 --weights densenet.pt --sets 4 --samples 2000

Where CIFAR-10's training images are not at hand the test images serve: all but the first ``--hold-out`` are trained on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn


class DenseLayer(nn.Module):
    """Normalisation, ReLU and a 3 x 3 convolution, whose output is appended to the input."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.conv = nn.Conv2d(channels, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, channels + growth, H, W)."""
        return torch.cat([x, self.conv(self.relu(self.norm(x)))], dim=1)


def small_densenet(growth: int = 12, layers: int = 4) -> nn.Module:
    """Return the untrained network for (N, 3, 32, 32) images and ten classes."""
    channels = 16
    parts: list[nn.Module] = [nn.Conv2d(3, channels, 3, padding=1, bias=False)]
    for block in range(3):
        for _ in range(layers):
            parts.append(DenseLayer(channels, growth))
            channels += growth
        parts += [nn.BatchNorm2d(channels), nn.ReLU()]
        if block < 2:
            parts += [nn.Conv2d(channels, channels // 2, 1, bias=False), nn.AvgPool2d(2)]
            channels //= 2
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


def main() -> None:
    """Train, measure on the images that were held out, and write densenet.pt."""
    from crosstile.datasets import load_dataset

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--hold-out", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("densenet.pt"))
    options = parser.parse_args()
    torch.manual_seed(0)
    data = load_dataset("cifar10", data_dir=options.data_dir)
    x, y = torch.from_numpy(data.normalised(data.x)), torch.from_numpy(data.y).long()
    held, x, y = (x[: options.hold_out], y[: options.hold_out]), x[options.hold_out :], y[options.hold_out :]
    model = small_densenet()
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.02)
    steps = -(-len(x) // 64) * options.epochs
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, total_steps=steps)
    for epoch in range(options.epochs):
        model.train()
        for part in torch.randperm(len(x)).split(64):
            images = nn.functional.pad(x[part], (4, 4, 4, 4))
            top, left = (int(v) for v in torch.randint(0, 9, (2,)))
            images = images[:, :, top : top + 32, left : left + 32]
            images = images.flip(3) if torch.rand(()) < 0.5 else images
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(images), y[part], label_smoothing=0.1).backward()
            optimiser.step()
            schedule.step()
        model.eval()
        with torch.inference_mode():
            right = sum(int((model(a).argmax(1) == b).sum()) for a, b in zip(held[0].split(250), held[1].split(250), strict=True))
        print(f"epoch {epoch + 1}: {100 * right / len(held[1]):.2f} % of {len(held[1])}", flush=True)
    torch.save(model.state_dict(), options.out)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
