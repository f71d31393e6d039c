"""A network of your own: train it once, then run it on a chip.

python my_network.py
crosstile run my_network:small_net --data digits --weights my_network.pt
"""

from __future__ import annotations

import torch
from torch import nn


def small_net() -> nn.Module:
    """Return the untrained network; `crosstile` calls this without arguments."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(16 * 4 * 4, 10),
    )  # fmt: skip


def train(epochs: int = 30) -> nn.Module:
    """Train on the 8 x 8 digits that come with the package."""
    from crosstile.datasets import load_dataset

    torch.manual_seed(0)
    data = load_dataset("digits")
    x = torch.from_numpy(data.normalised(data.x_train))
    y = torch.from_numpy(data.y_train).long()
    model = small_net()
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(epochs):
        for part in torch.randperm(len(x)).split(64):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(x[part]), y[part]).backward()
            optimiser.step()
    return model.eval()


if __name__ == "__main__":
    torch.save(train().state_dict(), "my_network.pt")
    print("wrote my_network.pt")
