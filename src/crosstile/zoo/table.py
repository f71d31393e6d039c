"""What there is to know about the built-in networks without building one; this file needs no torch."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from crosstile.errors import ModelError

_HE2016 = "K. He, X. Zhang, S. Ren, J. Sun, Deep residual learning for image recognition, CVPR 2016, section 4.2"
_RESNET_WEIGHTS = "trained weights are published at https://github.com/akamaster/pytorch_resnet_cifar10 (BSD-2-Clause)"


@dataclass(frozen=True)
class ModelInfo:
    """One built-in network.

    ``input_shape`` is (C, H, W); ``bundled_weights`` a file name in the package's library/weights folder
    or None; ``weights_hint`` says where weights can be had; ``factory`` is the function that builds it.
    """

    name: str
    input_shape: tuple[int, int, int]
    num_classes: int
    default_dataset: str
    bundled_weights: str | None
    reference: str
    description: str
    weights_hint: str
    factory: str


def _resnet(depth: int, published_top1: str | None) -> ModelInfo:
    text = f"CIFAR ResNet-{depth}: {(depth - 2) // 6} blocks a stage, 16-32-64 channels, option-A shortcuts"
    hint = "no weights are published for it; train it with your own script"
    if published_top1 is not None:
        text += f"; the published weights reach {published_top1} % on the CIFAR-10 test images"
        hint = _RESNET_WEIGHTS
    return ModelInfo(
        name=f"resnet{depth}",
        input_shape=(3, 32, 32),
        num_classes=10,
        default_dataset="cifar10",
        bundled_weights=None,
        reference=_HE2016,
        description=text,
        weights_hint=hint,
        factory=f"crosstile.zoo.resnet:resnet{depth}",
    )


_LENET5 = ModelInfo(
    name="lenet5",
    input_shape=(1, 28, 28),
    num_classes=10,
    default_dataset="mnist5k",
    bundled_weights="lenet5-mnist5k.pt",
    reference="Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, Gradient-based learning applied to document "
    "recognition, Proc. IEEE 86(11), 1998",
    description="LeNet-5 6-16-120-84-10 with ReLU and max pooling; the first convolution pads by 2",
    weights_hint="bundled; written by examples/train_lenet5.py",
    factory="crosstile.zoo.lenet:lenet5",
)
_VGG8 = ModelInfo(
    name="vgg8",
    input_shape=(3, 32, 32),
    num_classes=10,
    default_dataset="cifar10",
    bundled_weights=None,
    reference="after K. Simonyan, A. Zisserman, Very deep convolutional networks for large-scale image "
    "recognition, ICLR 2015; the 8-layer form used with CIFAR-10 by X. Peng et al., DNN+NeuroSim, IEDM 2019",
    description="VGG-8: conv 128-128-M-256-256-M-512-512-M with batch normalisation, then 1024 and 10",
    weights_hint="no weights are published for it; train it with your own script",
    factory="crosstile.zoo.vgg:vgg8",
)
_TABLE = {
    info.name: info
    for info in (
        _LENET5,
        _resnet(8, None),
        _resnet(20, "91.73"),
        _resnet(32, "92.63"),
        _resnet(44, "93.10"),
        _resnet(56, "93.39"),
        _VGG8,
    )
}


def model_names() -> tuple[str, ...]:
    """Return the names of the built-in networks."""
    return tuple(_TABLE)


def model_info(name: str) -> ModelInfo:
    """Return a built-in network's entry; ModelError, with the nearest name, where there is none."""
    if name not in _TABLE:
        near = difflib.get_close_matches(name.lower(), _TABLE, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise ModelError(
            f"unknown network {name!r}{hint}; allowed are {', '.join(_TABLE)}, or package.module:factory for your own"
        )
    return _TABLE[name]
