"""What NAX chooses from: for each layer a kernel size and an array size, and for each block whether it is there.

    layer l: (k, x) in kernels x arrays            block b: there, or skipped (where it does not change the shape)

After S. Negi et al., NAX: Neural Architecture and Memristive Xbar based Accelerator Co-design (DAC 2022, arXiv:2106.12125), as
far as its abstract says. Array sizes are those of one chip description: an array of x rows has x columns, a converter with
log2(x / rows) bits more, as its sums grow, and a macro has as many word lines whatever the size of its arrays.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from crosstile.errors import ModelError, SpecError, UsageError
from crosstile.mapping.plan import LayerShape
from crosstile.specs.chip import ChipSpec

Family = Literal["resnet", "plain"]


@dataclass(frozen=True)
class Slot:
    """One layer whose kernel and array sizes are open."""

    name: str
    channels: int
    outputs: int
    in_side: int
    """Side of its square input; 1 for the linear layer."""
    stride: int
    kernels: tuple[int, ...]
    arrays: tuple[int, ...]
    block: str | None = None
    """The block that it leaves with, where that may be skipped."""
    linear: bool = False

    @property
    def out_side(self) -> int:
        """Side of its square output."""
        return -(-self.in_side // self.stride)

    def shape(self, kernel: int, *, first: bool) -> LayerShape:
        """Return the layer as it is mapped; only the first sees inputs of both signs."""
        if self.linear:
            return LayerShape(
                self.name, "linear", self.channels, 1, self.outputs, 1, 1, self.channels, self.outputs, False
            )
        pixels = self.out_side**2
        return LayerShape(
            self.name, "conv2d", self.channels, kernel * kernel, self.outputs, 1, pixels, self.channels * self.in_side**2,
            self.outputs * pixels, first,
        )  # fmt: skip


@dataclass(frozen=True)
class Architecture:
    """One choice for each layer."""

    kernels: Mapping[str, int]
    """By layer; the linear layer has none."""
    arrays: Mapping[str, int]
    """Rows and columns of the arrays of each layer."""
    skipped: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"kernels": dict(self.kernels), "arrays": dict(self.arrays), "skipped": list(self.skipped)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Architecture:
        """Return the architecture that :meth:`as_dict` wrote."""
        return cls(dict(data["kernels"]), dict(data["arrays"]), tuple(data["skipped"]))

    def with_arrays(self, size: int) -> Architecture:
        """Return the same network with all layers on arrays of one size."""
        return Architecture(self.kernels, dict.fromkeys(self.arrays, size), self.skipped)

    @property
    def label(self) -> str:
        """Name it in one line: ``5@64 3@128 ...``, layer by layer."""
        return " ".join(
            "skip" if name.rpartition(".")[0] in self.skipped else f"{self.kernels.get(name, 1)}@{size}"
            for name, size in self.arrays.items()
        )


@dataclass(frozen=True)
class NaxSpace:
    """All networks and chips that one search may come to."""

    chip: ChipSpec
    """The chip whose arrays are resized."""
    kernels: tuple[int, ...] = (3, 5, 7)
    arrays: tuple[int, ...] = (32, 64, 128)
    family: Family = "resnet"
    """resnet: that of CIFAR, 6 ``blocks`` + 2 layers; plain: ``blocks`` convolutions one after the other."""
    width: int = 8
    """Channels of the first stage, or of all layers of ``plain``."""
    blocks: int = 1
    skips: bool = False
    image: tuple[int, int] = (3, 32)
    """Channels and side of the images."""
    classes: int = 10
    linear_arrays: tuple[int, ...] | None = None
    """Array sizes of the last layer; None: as the others."""

    def check(self) -> None:
        """Raise :class:`UsageError` or :class:`SpecError` for a space without meaning."""
        if (
            not self.kernels
            or list(self.kernels) != sorted(set(self.kernels))
            or any(k < 1 or k % 2 == 0 for k in self.kernels)
        ):
            raise UsageError(
                f"--kernels: odd sizes, the smaller first, are wanted, such as 3,5,7; found {self.kernels}."
            )
        if max(self.kernels) > 2 * self.image[1] - 1:
            raise UsageError(f"--kernels: {max(self.kernels)} is too large for images of {self.image[1]} pixels.")
        if (
            not self.arrays
            or list(self.arrays) != sorted(set(self.arrays))
            or not 8 <= min(self.arrays) <= max(self.arrays) <= 1024
        ):
            raise UsageError(
                f"--arrays: sizes from 8 to 1024, the smaller first, are wanted, such as 32,64,128; found {self.arrays}."
            )
        for name, value in (("width", self.width), ("blocks", self.blocks)):
            if not 1 <= value <= 1024:
                raise UsageError(f"--{name} must be from 1 to 1024, found {value}.")
        if self.width % 2 and self.family == "resnet":
            raise UsageError(
                f"--width must be even, since shortcuts add half of the channels before and half after; found {self.width}."
            )
        if self.chip.layers:
            raise SpecError(f"chip {self.chip.name!r}: layers: NAX chooses the arrays of each layer; remove layers.")
        if self.skips and self.chip.hardware.pipeline != "layer_serial":
            raise UsageError(
                "--skips needs a chip with hardware.pipeline: layer_serial; a skipped layer has no place in a pipeline."
            )
        for size in self.arrays:
            self.resized(size)

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """The layers in their order."""
        channels, side = self.image
        last = self.linear_arrays or self.arrays
        if self.family == "plain":
            found = [
                Slot(f"conv{n + 1}", channels if n == 0 else self.width, self.width, side, 1, self.kernels, self.arrays)
                for n in range(self.blocks)
            ]
            return (*found, Slot("linear", self.width, self.classes, 1, 1, (1,), last, linear=True))
        found = [Slot("conv1", channels, self.width, side, 1, self.kernels, self.arrays)]
        width = self.width
        for stage in range(3):
            for number in range(self.blocks):
                block, changes = f"layer{stage + 1}.{number}", number == 0 and stage > 0
                out, stride = (2 * width, 2) if changes else (width, 1)
                free = block if self.skips and not changes else None
                middle = -(-side // stride)
                found += [
                    Slot(f"{block}.conv1", width, out, side, stride, self.kernels, self.arrays, free),
                    Slot(f"{block}.conv2", out, out, middle, 1, self.kernels, self.arrays, free),
                ]
                width, side = out, middle
        return (*found, Slot("linear", width, self.classes, 1, 1, (1,), last, linear=True))

    @property
    def blocks_to_skip(self) -> tuple[str, ...]:
        """Names of the blocks that may be left out."""
        return tuple(dict.fromkeys(slot.block for slot in self.slots if slot.block is not None))

    @property
    def size(self) -> int:
        """How many architectures there are, those counted apart whose skipped layers differ."""
        return int(math.prod(len(s.kernels) * len(s.arrays) for s in self.slots) * 2 ** len(self.blocks_to_skip))

    def build(self, architecture: Architecture, *, seed: int) -> nn.Module:
        """Return the network with random weights (torch's own random state is kept)."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if self.family == "plain":
                return PlainNet(self, architecture.kernels)
            from crosstile.zoo.resnet import CifarResNet

            return CifarResNet(
                self.blocks, self.classes, width=self.width, in_channels=self.image[0], kernels=architecture.kernels,
                skipped=architecture.skipped,
            )  # fmt: skip

    def uniform(self, kernel: int, size: int) -> Architecture:
        """Return the architecture with one kernel size and one array size throughout."""
        return Architecture(
            {slot.name: kernel for slot in self.slots if not slot.linear},
            {slot.name: size if size in slot.arrays else slot.arrays[0] for slot in self.slots},
        )

    def one_hot(self, architecture: Architecture) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Return an architecture as probabilities of choices, and of blocks that may be skipped."""
        found = []
        for slot in self.slots:
            choice = torch.zeros((len(slot.kernels), len(slot.arrays)))
            kernel = architecture.kernels.get(slot.name, slot.kernels[0])
            choice[slot.kernels.index(kernel), slot.arrays.index(architecture.arrays[slot.name])] = 1.0
            found.append(choice)
        keep = {name: torch.tensor(0.0 if name in architecture.skipped else 1.0) for name in self.blocks_to_skip}
        return found, keep

    @property
    def reference(self) -> Architecture:
        """3 x 3 kernels (or the smallest) throughout, on arrays of about the size that the chip is described with."""
        size = min(self.arrays, key=lambda one: abs(one - self.chip.array.rows))
        return self.uniform(3 if 3 in self.kernels else self.kernels[0], size)

    def resized(self, size: int) -> dict[str, dict[str, Any]]:
        """Return the fields of the chip that arrays of ``size`` x ``size`` change.

        Raises:
            SpecError: the chip cannot have such arrays.
        """
        chip, found = self.chip, {"array": {"rows": size, "columns": size}}
        if chip.array.active_rows is not None and chip.array.active_rows > size:
            found["array"]["active_rows"] = size
        if chip.adc.bits is not None:
            found["adc"] = {"bits": max(1, chip.adc.bits + round(math.log2(size / chip.array.rows)))}
        macro = max(1, round(chip.hardware.arrays_per_macro * chip.array.rows / size))
        found["hardware"] = {"arrays_per_macro": macro}
        try:
            chip.replaced(layers={"*": found})
        except SpecError as error:
            raise SpecError(f"arrays of {size} x {size}: {error}") from None
        return found

    def chip_for(self, architecture: Architecture) -> ChipSpec:
        """Return the chip with each layer on its arrays (:attr:`crosstile.specs.chip.ChipSpec.layers`)."""
        there = [slot.name for slot in self.slots if slot.block is None or slot.block not in architecture.skipped]
        found: ChipSpec = self.chip.replaced(layers={name: self.resized(architecture.arrays[name]) for name in there})
        return found

    def shapes(self, architecture: Architecture) -> list[LayerShape]:
        """Return the layers that are there, as they are mapped."""
        return [
            slot.shape(architecture.kernels.get(slot.name, 1), first=number == 0)
            for number, slot in enumerate(self.slots)
            if slot.block is None or slot.block not in architecture.skipped
        ]


class PlainNet(nn.Module):
    """Convolutions with batch normalisation one after the other, global average, one linear layer."""

    def __init__(self, space: NaxSpace, kernels: Mapping[str, int]) -> None:
        super().__init__()
        self.convolutions = [slot.name for slot in space.slots if not slot.linear]
        for slot in space.slots:
            if slot.linear:
                self.add_module(slot.name, nn.Linear(slot.channels, slot.outputs))
            else:
                side = kernels[slot.name]
                self.add_module(slot.name, nn.Conv2d(slot.channels, slot.outputs, side, padding=side // 2, bias=False))
                self.add_module(f"{slot.name}_bn", nn.BatchNorm2d(slot.outputs))
                self.add_module(f"{slot.name}_relu", nn.ReLU())
        self.pool, self.flatten = nn.AdaptiveAvgPool2d(1), nn.Flatten()

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes) of images (N, C, side, side)."""
        for name in self.convolutions:
            for part in (name, f"{name}_bn", f"{name}_relu"):
                x = self.get_submodule(part)(x)
        out: Tensor = self.get_submodule("linear")(self.flatten(self.pool(x)))
        return out


FORMAT = "crosstile-nax-1"


def save_architecture(space: NaxSpace, architecture: Architecture) -> str:
    """Return the JSON text from which :func:`saved_network` builds the network."""
    data = {
        "format": FORMAT, "family": space.family, "width": space.width, "blocks": space.blocks, "image": list(space.image),
        "classes": space.classes, **architecture.as_dict(),
    }  # fmt: skip
    return json.dumps(data, indent=1) + "\n"


def saved_network(path: Path) -> nn.Module:
    """Return the network of a file that :func:`save_architecture` wrote, with random weights.

    Raises:
        ModelError: the file is no such file.
    """
    from crosstile.specs.load import load_chip

    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["format"] != FORMAT:
            raise ValueError(data["format"])
        arrays = tuple(sorted({int(size) for size in data["arrays"].values()}))
        kernels = tuple(sorted({int(side) for side in data["kernels"].values()}))
        space = NaxSpace(
            load_chip("ideal"), kernels, arrays, data["family"], int(data["width"]), int(data["blocks"]),
            image=(int(data["image"][0]), int(data["image"][1])), classes=int(data["classes"]),
        )  # fmt: skip
        if max(space.width, space.blocks, *kernels, *space.image, space.classes) > 4096:
            raise ValueError("a size is out of range")
        return space.build(Architecture.from_dict(data), seed=0)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise ModelError(f"{path}: is no architecture that crosstile nax wrote: {error}.") from error
