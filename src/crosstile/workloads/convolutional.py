"""Convolutional networks by their shapes. Batch normalisation is folded or elementwise, and is left out."""

from __future__ import annotations

from crosstile.workloads.builder import Builder
from crosstile.workloads.graph import Network, Node

_LECUN = "Y. LeCun et al., Gradient-based learning applied to document recognition, Proc. IEEE 86(11), 1998"
_VGG = "K. Simonyan, A. Zisserman, Very deep convolutional networks for large-scale image recognition, ICLR 2015"
_RESNET = "K. He, X. Zhang, S. Ren, J. Sun, Deep residual learning for image recognition, CVPR 2016"
_DENSENET = "G. Huang, Z. Liu, L. van der Maaten, K. Q. Weinberger, Densely connected convolutional networks, CVPR 2017"
_MOBILENET = "A. G. Howard et al., MobileNets, arXiv:1704.04861, table 1"


def lenet5() -> Network:
    """LeNet-5 6-16-120-84-10 for 28 x 28 images, the first convolution padded by 2."""
    b = Builder("lenet5", (1, 28, 28))
    x = b.pool("pool1", b.conv("conv1", b.input, 6, 5), 2)
    x = b.pool("pool2", b.conv("conv2", x, 16, 5, padding=0), 2)
    x = b.linear("fc2", b.linear("fc1", x, 120, relu=True), 84, relu=True)
    b.linear("fc3", x, 10)
    return b.build("LeNet-5 for MNIST", _LECUN)


def _vgg(name: str, plan: tuple[int | str, ...], side: int, dense: tuple[int, ...], text: str) -> Network:
    b = Builder(name, (3, side, side))
    x, made = b.input, 0
    for number, item in enumerate(plan):
        if item == "M":
            x = b.pool(f"pool{number}", x, 2)
        else:
            made += 1
            x = b.conv(f"conv{made}", x, int(item))
    for number, outputs in enumerate(dense, start=1):
        x = b.linear(f"fc{number}", x, outputs, relu=number < len(dense))
    return b.build(text, _VGG)


def vgg8() -> Network:
    """VGG-8 for 32 x 32 images: 128-128-M-256-256-M-512-512-M, then 1024 and 10."""
    plan = (128, 128, "M", 256, 256, "M", 512, 512, "M")
    return _vgg("vgg8", plan, 32, (1024, 10), "VGG-8 for CIFAR-10, as in DNN+NeuroSim")


_VGG16 = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")


def vgg16() -> Network:
    """VGG-16 for 224 x 224 images, configuration D."""
    return _vgg("vgg16", _VGG16, 224, (4096, 4096, 1000), "VGG-16 for ImageNet, configuration D")


def vgg16_cifar10() -> Network:
    """VGG-16 for 32 x 32 images: the convolutions of configuration D and one linear layer."""
    return _vgg(
        "vgg16-cifar10", _VGG16, 32, (10,), "VGG-16 for CIFAR-10: convolutions of configuration D, one linear layer"
    )


def cifar_resnet(depth: int) -> Network:
    """ResNet of ``depth`` = 6 n + 2 layers for CIFAR-10: 16-32-64 channels, shortcuts without weights."""
    b = Builder(f"resnet{depth}", (3, 32, 32))
    x = b.conv("conv1", b.input, 16)
    for stage, channels in enumerate((16, 32, 64), start=1):
        for block in range((depth - 2) // 6):
            name = f"layer{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            y = b.conv(f"{name}.conv1", x, channels, stride=stride)
            y = b.conv(f"{name}.conv2", y, channels, relu=False)
            x = b.add(f"{name}.add", (y, x), relu=True)
    b.linear("linear", b.global_pool("pool", x), 10)
    return b.build(f"ResNet-{depth} for CIFAR-10, option-A shortcuts", _RESNET + ", section 4.2")


def _shortcut(b: Builder, name: str, x: Node, channels: int, stride: int) -> Node:
    if stride == 1 and x.channels == channels:
        return x
    return b.conv(f"{name}.downsample", x, channels, 1, stride=stride, padding=0, relu=False)


def resnet(depth: int, *, small: bool = False) -> Network:
    """ResNet-18, 34 or 50 for 224 x 224 images; ``small``: for 32 x 32 ones, without the first stride and pooling."""
    blocks = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}[depth]
    name = f"resnet{depth}-cifar100" if small else f"resnet{depth}"
    b = Builder(name, (3, 32, 32) if small else (3, 224, 224))
    x = b.conv("conv1", b.input, 64, 3) if small else b.conv("conv1", b.input, 64, 7, stride=2)
    if not small:
        x = b.pool("maxpool", x, 3, 2, 1)
    for stage, (count, width) in enumerate(zip(blocks, (64, 128, 256, 512), strict=True), start=1):
        for block in range(count):
            part, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            if depth == 50:  # the stride sits in the 3 x 3 convolution, as in the common implementations
                y = b.conv(f"{part}.conv2", b.conv(f"{part}.conv1", x, width, 1), width, stride=stride)
                y = b.conv(f"{part}.conv3", y, 4 * width, 1, relu=False)
            else:
                y = b.conv(f"{part}.conv2", b.conv(f"{part}.conv1", x, width, stride=stride), width, relu=False)
            x = b.add(f"{part}.add", (y, _shortcut(b, part, x, y.channels, stride)), relu=True)
    b.linear("fc", b.global_pool("avgpool", x), 100 if small else 1000)
    data = "CIFAR-100, first convolution 3 x 3 without stride" if small else "ImageNet"
    return b.build(f"ResNet-{depth} for {data}", _RESNET)


def densenet121(*, small: bool = False) -> Network:
    """DenseNet-121 (growth 32, bottlenecks of 128, halving transitions) for 224 x 224, or ``small`` for 32 x 32 images."""
    b = Builder("densenet121-cifar100" if small else "densenet121", (3, 32, 32) if small else (3, 224, 224))
    x = (
        b.conv("conv0", b.input, 64, 3)
        if small
        else b.pool("pool0", b.conv("conv0", b.input, 64, 7, stride=2), 3, 2, 1)
    )
    for stage, count in enumerate((6, 12, 24, 16), start=1):
        for layer in range(count):
            part = f"block{stage}.{layer}"
            # Normalisation and ReLU stand before the convolutions: what a convolution reads is not negative.
            wide = b.conv(f"{part}.conv1", b.passed(f"{part}.relu", x, signed=False), 128, 1)
            x = b.concat(f"{part}.concat", (x, b.conv(f"{part}.conv2", wide, 32, relu=False)))
        x = b.passed(f"norm{stage}", x, signed=False)
        if stage < 4:
            x = b.pool(
                f"transition{stage}.pool", b.conv(f"transition{stage}.conv", x, x.channels // 2, 1, relu=False), 2
            )
    b.linear("classifier", b.global_pool("avgpool", x), 100 if small else 1000)
    data = "CIFAR-100, first convolution 3 x 3 without stride" if small else "ImageNet"
    return b.build(f"DenseNet-121 for {data}", _DENSENET)


def mobilenet() -> Network:
    """MobileNet V1, width 1.0, for 224 x 224 images: 13 pairs of depthwise and pointwise convolutions."""
    b = Builder("mobilenet", (3, 224, 224))
    x = b.conv("conv1", b.input, 32, stride=2)
    plan = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
    for number, (channels, stride) in enumerate(plan, start=1):
        x = b.conv(f"depthwise{number}", x, x.channels, stride=stride, groups=x.channels)
        x = b.conv(f"pointwise{number}", x, channels, 1)
    b.linear("fc", b.global_pool("avgpool", x), 1000)
    return b.build("MobileNet V1, width 1.0, for ImageNet", _MOBILENET)
