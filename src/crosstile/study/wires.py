"""What wires cost: accuracy and signal-to-noise of each layer with its wires alone, against the same chip without any."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from crosstile.mapping.replace import MappedNetwork
from crosstile.specs.chip import ChipSpec
from crosstile.study.analyse import analyse
from crosstile.study.montecarlo import count_correct

SAMPLES = 256
"""Samples that the accuracies here are measured on."""


@dataclass(frozen=True)
class LayerWireLoss:
    """What the wires of one layer cost."""

    current_kept: float
    """Conductance that acts over the cells' own: the share of the current that is left with every input on."""
    snr_without_db: float
    """Signal to error of the layer on a chip without wires, given the digital layer's inputs."""
    accuracy: float
    """With the wires of this layer alone."""


@dataclass(frozen=True)
class WireLoss:
    """What the wires of a chip cost, on chip 0 and the first samples."""

    samples: int
    accuracy_without: float
    accuracy_with: float
    layers: dict[str, LayerWireLoss]


def without_wires(chip: ChipSpec) -> ChipSpec:
    """Return the same chip with ideal wires, and without the remedies that need wires."""
    bare: ChipSpec = chip.replaced(array__wires=None, compensation__rows="as_mapped", compensation__weights="as_mapped")
    return bare


def wire_loss(
    mapped: MappedNetwork,
    bare: MappedNetwork,
    x: Tensor,
    y: Tensor,
    *,
    batch: int,
    progress: Callable[[int], None] | None = None,
) -> WireLoss:
    """Measure what the wires of each layer cost.

    The layers of ``bare`` take their wires one after the other: cells, converters and calibration of that layer become
    those of ``mapped``, everything else stays without wires.

    Args:
        mapped: the network on the chip, programmed. bare: the same on :func:`without_wires` of the chip, programmed alike.
        x, y: samples and labels; the first :data:`SAMPLES` are used. progress: called with the number of samples finished.
    """
    x, y = x[:SAMPLES], y[:SAMPLES]

    def accuracy(network: MappedNetwork) -> float:
        network.seek(0)
        return count_correct(network, x, y, batch, progress) / len(x)

    quiet = analyse(bare, x)
    with_wires, without = accuracy(mapped), accuracy(bare)
    layers = {}
    for name, layer in mapped.layers.items():
        other = bare.layers[name]
        other.exchange_hardware(layer)
        try:
            alone = accuracy(bare)
        finally:
            other.exchange_hardware(layer)
        programmed, acting = (sum(pack.total_s[k] for pack in layer.packs) for k in (1, 2))
        layers[name] = LayerWireLoss(acting / programmed if programmed else 1.0, quiet[name].snr_db, alone)
    for network in (mapped, bare):
        network.seek(0)
        for layer in network.layers.values():
            layer.reset_counts()
    return WireLoss(len(x), without, with_wires, layers)


def steps(layers: int, samples: int) -> int:
    """Return how many samples :func:`wire_loss` classifies in all."""
    return (layers + 2) * min(samples, SAMPLES)
