"""LeNet-5 for 28x28 grey images, in its present-day form."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LeNet5(nn.Module):
    """The 6-16-120-84-10 network of LeCun et al. 1998 with ReLU and max pooling; 61,706 parameters.

    Input (N, 1, 28, 28), output (N, num_classes) logits. The original reads 32x32 images, which are
    28x28 ones with a border; here the first convolution pads by 2 for the same effect. Its partial
    connection table, tanh and trainable pooling are left out, as is usual today.
    """

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.relu1 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.relu2 = nn.ReLU()
        self.pool2 = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.relu3 = nn.ReLU()
        self.fc2 = nn.Linear(120, 84)
        self.relu4 = nn.ReLU()
        self.fc3 = nn.Linear(84, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, num_classes) of images (N, 1, 28, 28)."""
        x = self.pool1(self.relu1(self.conv1(x)))
        x = self.pool2(self.relu2(self.conv2(x)))
        x = torch.flatten(x, 1)
        x = self.relu4(self.fc2(self.relu3(self.fc1(x))))
        logits: Tensor = self.fc3(x)
        return logits


def lenet5() -> LeNet5:
    """Return LeNet-5 with random weights."""
    return LeNet5()
