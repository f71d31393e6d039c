"""What arrays of a size do to a layer, as a model with gradients, fitted to the simulator.

    W' = (1 - a) W + s m e,       y' = conv(x, W') + r rms(y) e'          e, e' standard normal

m is the largest magnitude of each output's weights. a is fitted to the outputs of the simulated chip, its cells, wires (solved
exactly), converters and remedies included: y_hw on y. What is left is cut in two. W_hw is the matrix that the programmed arrays
act as; the part of the error that goes with theirs, t (conv(x, W_hw) - (1 - a) y), is put down to weights,
s = t rms((W_hw - (1 - a) W) / m), and the rest, at right angles to it, to noise r: rounding of inputs, read noise, converters.
(t is below 1: converters whose step is that of the cells' levels round small errors away.) Weights are random (He), inputs
rectified normal; e stands for one chip and is drawn anew each step.

The fit is checked on other weights, inputs and another chip: the signal-to-error ratio that the model predicts beside that found.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crosstile.crossbar.program import derive_key
from crosstile.mapping.replace import map_network
from crosstile.nax.space import NaxSpace, Slot
from crosstile.nn.layer import MappedLayer
from crosstile.specs.chip import ChipSpec
from crosstile.training.held import held_by

_SIDE, _BATCH = 8, 8


@dataclass(frozen=True)
class Effect:
    """One kernel size on one array size, for one width of input and output."""

    loss: float
    """a: share of the weights that the arrays lose."""
    spread: float
    """s: standard deviation of weights, over the largest magnitude of their output's."""
    noise: float
    """r: standard deviation of outputs, over their root mean square."""
    snr_db: float
    """Signal to error on other weights, inputs and another chip."""
    predicted_db: float
    """The same, by the model."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Effects:
    """Of all layers and choices."""

    slots: tuple[tuple[tuple[Effect, ...], ...], ...]
    """By layer, kernel size, array size."""

    def tables(self, name: str) -> list[Tensor]:
        """Return one figure as tensors (kernels, arrays), by layer."""
        return [torch.tensor([[getattr(e, name) for e in row] for row in rows]) for rows in self.slots]

    @property
    def misses_db(self) -> list[float]:
        """Return predicted minus found signal-to-error ratios, of each fit once."""
        unique = {id(e): e for rows in self.slots for row in rows for e in row}
        return [e.predicted_db - e.snr_db for e in unique.values()]

    def without(self) -> Effects:
        """Return the same with no effect at all: an ideal chip."""
        none = Effect(0.0, 0.0, 0.0, math.inf, math.inf)
        return Effects(tuple(tuple(tuple(none for _ in row) for row in rows) for rows in self.slots))


def fit_effects(space: NaxSpace, *, seed: int = 0, progress: Callable[[str], None] | None = None) -> Effects:
    """Fit the model for every layer and choice; layers of the same widths share a fit.

    Raises:
        CrosstileError: the chip cannot hold such a layer.
    """
    known: dict[tuple[int, int, bool, int, int], Effect] = {}
    chips = {x: space.chip.replaced(layers={"*": space.resized(x)}).for_layer("any") for x in space.arrays}
    for slot in space.slots:
        for size in slot.arrays:
            chips.setdefault(size, space.chip.replaced(layers={"*": space.resized(size)}).for_layer("any"))

    def effect(slot: Slot, kernel: int, size: int) -> Effect:
        key = (slot.channels, slot.outputs, slot.linear, kernel, size)
        if key not in known:
            if progress is not None:
                progress(f"{slot.name}: {kernel} x {kernel} on {size}")
            known[key] = _fit(slot, kernel, chips[size], seed)
        return known[key]

    return Effects(
        tuple(tuple(tuple(effect(slot, k, x) for x in slot.arrays) for k in slot.kernels) for slot in space.slots)
    )


class _Probe:
    """One layer with random weights on a programmed chip, and inputs for it."""

    def __init__(self, slot: Slot, kernel: int, chip: ChipSpec, seed: int, number: int) -> None:
        made = torch.Generator().manual_seed(
            derive_key(seed, "nax probe", slot.name, kernel, chip.array.rows, number) >> 1
        )
        shape = (slot.outputs, slot.channels) if slot.linear else (slot.outputs, slot.channels, kernel, kernel)
        self.weight = torch.randn(shape, generator=made) * math.sqrt(2.0 / math.prod(shape[1:]))
        side = max(_SIDE, kernel)
        inputs = (64, slot.channels) if slot.linear else (_BATCH, slot.channels, side, side)
        self.x = torch.randn(inputs, generator=made).relu_()
        self.linear, self.padding = slot.linear, kernel // 2
        layer: nn.Module = nn.Linear(slot.channels, slot.outputs, bias=False)
        if not slot.linear:
            layer = nn.Conv2d(slot.channels, slot.outputs, kernel, padding=kernel // 2, bias=False)
        with torch.no_grad():
            layer.weight.copy_(self.weight)  # type: ignore[operator]
        mapped = map_network(nn.Sequential(layer), chip, self.x, seed=seed)
        mapped.program(number)
        with torch.no_grad():
            self.found = mapped(self.x).detach()
        self.held = _matrix(next(iter(mapped.layers.values()))).reshape(self.weight.shape)

    def product(self, weight: Tensor) -> Tensor:
        return F.linear(self.x, weight) if self.linear else F.conv2d(self.x, weight, padding=self.padding)

    @property
    def reach(self) -> Tensor:
        """Largest magnitude of each output's weights, to be spread over its rows."""
        return self.weight.flatten(1).abs().amax(dim=1).reshape(-1, *[1] * (self.weight.dim() - 1))


def _matrix(layer: MappedLayer) -> Tensor:
    return torch.cat([pack.matrix for pack in held_by(layer, torch.device("cpu")).packs])


def _power(x: Tensor) -> float:
    return float(x.double().square().mean())


def _slope(y: Tensor, x: Tensor) -> float:
    """Return the factor of ``x`` that is nearest to ``y``; 0 where ``x`` is 0."""
    return float((y * x).double().sum()) / max(float(x.double().square().sum()), 1e-300)


def _fit(slot: Slot, kernel: int, chip: ChipSpec, seed: int) -> Effect:
    fitted, other = (_Probe(slot, kernel, chip, seed, number) for number in range(2))
    ideal = fitted.product(fitted.weight)
    gain = _slope(fitted.found, ideal)
    error, arrays = fitted.found - gain * ideal, fitted.product(fitted.held) - gain * ideal
    share = max(0.0, _slope(error, arrays))
    spread = share * math.sqrt(_power((fitted.held - gain * fitted.weight) / fitted.reach))
    noise = math.sqrt(_power(error - share * arrays) / _power(ideal))
    # On the other probe: what the model says of its outputs' error, and what it is.
    signal = other.product(other.weight)
    squares = other.x.square()
    reach = (other.reach.square() * torch.ones_like(other.weight)).float()
    driven = F.linear(squares, reach) if other.linear else F.conv2d(squares, reach, padding=other.padding)
    predicted = spread**2 * float(driven.double().mean()) + noise**2 * _power(signal)
    found = _power(other.found - gain * signal)
    kept = gain**2 * _power(signal)
    return Effect(1.0 - gain, spread, noise, _db(kept, found), _db(kept, predicted))


def _db(signal: float, error: float) -> float:
    return 10.0 * math.log10(max(signal, 1e-30) / max(error, 1e-30))
