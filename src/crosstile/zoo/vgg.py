"""VGG-8 for 32x32 colour images, the usual CIFAR-10 network of in-memory-computing papers."""

from __future__ import annotations

from torch import Tensor, nn

_CHANNELS = ((128, 128), (256, 256), (512, 512))


class VGG8(nn.Module):
    """Six 3x3 convolutions with batch normalisation in three pooled stages, then 1024 and 10.

    Input (N, 3, 32, 32), output (N, num_classes) logits. Convolutions have no bias: the batch
    normalisation that follows has one.
    """

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        in_channels = 3
        for stage in _CHANNELS:
            for channels in stage:
                layers += [
                    nn.Conv2d(in_channels, channels, 3, padding=1, bias=False),
                    nn.BatchNorm2d(channels),
                    nn.ReLU(),
                ]
                in_channels = channels
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.flatten = nn.Flatten()
        self.classifier = nn.Sequential(nn.Linear(in_channels * 4 * 4, 1024), nn.ReLU(), nn.Linear(1024, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, num_classes) of images (N, 3, 32, 32)."""
        logits: Tensor = self.classifier(self.flatten(self.features(x)))
        return logits


def vgg8() -> VGG8:
    """Return VGG-8 with random weights."""
    return VGG8()
