"""Programming: target levels of one array become the conductances that its cells really have.

A level l of 0..L-1 is the conductance G = g_off + l u with u = (g_on - g_off) / (L - 1). Inside the engine
conductances are "levels", (G - g_off) / u, so that an ideal cell is its digit. Every draw comes from a
generator derived from (seed, trial, layer, array, purpose).

With reference columns a converter takes zero and scale from columns of g_off and g_on cells in the same array, so that the level
of a cell is L' = (L - L_off) l_max / (L_on - L_off), L_off and L_on being the means of the columns as they are then.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crosstile.errors import SpecError
from crosstile.nonidealities import Levels, life
from crosstile.nonidealities.base import Effect
from crosstile.nonidealities.stuck import StuckAt
from crosstile.nonidealities.write_verify import WriteStatistics
from crosstile.specs.chip import ChipSpec
from crosstile.specs.conditions import Conditions

FloatArray = npt.NDArray[np.float64]

_MAX_NOISE_LEVELS = 1e6
_LEAST_WINDOW = 1e-3


def derive_key(*parts: object) -> int:
    """Return a 64-bit key for a purpose, the same on every machine: ``derive_key(seed, trial, "layer1", 3, "fault")``."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def generator(*parts: object) -> np.random.Generator:
    """Return a generator of its own for a purpose."""
    return np.random.Generator(np.random.SFC64(derive_key(*parts)))


@dataclass(frozen=True)
class Window:
    """The conductance window of a chip's cells and the size of one level, in siemens."""

    levels: Levels
    unit_s: float

    @classmethod
    def of(cls, chip: ChipSpec) -> Window:
        """Return the window of ``chip``."""
        unit = (chip.cell.g_on_s - chip.cell.g_off_s) / chip.weights.max_level
        return cls(Levels(chip.cell.g_off_s, chip.cell.g_on_s), unit)

    @property
    def open_level(self) -> float:
        """The level of a cell that is switched off: 0 S, and never less by rounding."""
        level = -self.levels.g_off_s / self.unit_s
        while self.levels.g_off_s + level * self.unit_s < 0:
            level = float(np.nextafter(level, 0.0))
        return level

    def to_siemens(self, levels: FloatArray) -> FloatArray:
        """Levels to siemens."""
        return self.levels.g_off_s + levels * self.unit_s

    def to_levels(self, g_s: FloatArray) -> FloatArray:
        """Siemens to levels."""
        return (g_s - self.levels.g_off_s) / self.unit_s


@dataclass(frozen=True)
class ProgrammedArray:
    """The cells of one array in use."""

    levels: FloatArray
    """(rows, columns) conductances in levels, as read."""
    noise_variance: FloatArray | None
    """(rows, columns) variance of one read in levels squared; ``None`` without read noise."""
    writes: WriteStatistics


def program_array(
    targets: FloatArray, chip: ChipSpec, *, seed: int, trial: int, layer: str, array: int, array_number: int
) -> ProgrammedArray:
    """Program one array.

    Args:
        targets: (rows, columns) target levels of the cells in use, in their physical order.
        chip: the chip; effects act in the order program, age, fault, read.
        seed, trial, layer, array: name the generators.
        array_number: number of the array in the whole network, for maps of measured faults.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused below, in words
        return _program(targets, chip, (seed, trial, layer, array), array_number)


def stuck_cells(
    shape: tuple[int, int], chip: ChipSpec, *, seed: int, trial: int, layer: str, array: int, array_number: int
) -> npt.NDArray[np.int8]:
    """Return (rows, columns) which cells :func:`program_array` finds stuck: 1 on, -1 off, 0 healthy; arguments as there."""
    place, levels = (seed, trial, layer, array), Window.of(chip).levels
    g_s = np.full(shape, np.nan)  # what is no number afterwards is healthy
    for effect in chip.cell.effects:
        if isinstance(effect, StuckAt) and not effect.is_identity:
            g_s = effect.apply_to_array(g_s, levels, generator(*place, effect.kind), array_number)
    return np.where(g_s == levels.g_on_s, 1, np.where(g_s == levels.g_off_s, -1, 0)).astype(np.int8)


def _program(
    targets: FloatArray, chip: ChipSpec, place: tuple[int, int, str, int], array_number: int
) -> ProgrammedArray:
    layer, window, conditions = place[2], Window.of(chip), chip.conditions.of_array(place[2], place[3])
    effects = [effect for effect in chip.cell.effects if not effect.is_idle(conditions)]
    if not effects:
        return ProgrammedArray(targets, None, WriteStatistics(targets.size, targets.size, 0))

    def draw(purpose: str) -> np.random.Generator:
        return generator(*place, purpose)

    target_s = window.to_siemens(targets)
    g_s, writes = life.write(effects, target_s, window.levels, draw)
    g_s = life.age(effects, g_s, target_s, window.levels, draw, conditions)
    g_s = life.break_cells(effects, g_s, target_s, window.levels, draw, array_number)
    variance = life.read_variance(effects, g_s, target_s, window.levels, draw, conditions)
    if variance is not None:
        variance = variance / window.unit_s**2
    if variance is not None and not variance.max(initial=0.0) <= _MAX_NOISE_LEVELS**2:  # catches NaN, too
        raise SpecError(
            f"layer {layer!r}: the read noise of a cell reaches {float(np.sqrt(variance.max())):.3g} levels; "
            f"at most {_MAX_NOISE_LEVELS:.0e} can be computed with. Check sigma and its units."
        )
    if not np.isfinite(g_s).all():
        raise SpecError(
            f"layer {layer!r}: programmed conductances are not finite; check the sigma of the cell's effects and its unit."
        )
    levels = window.to_levels(g_s)
    if conditions.reference_columns:
        low, gain = _reference(len(targets), effects, chip, place, conditions)
        levels = (levels - low) * gain
        variance = None if variance is None else variance * gain**2
    return ProgrammedArray(levels, variance, writes)


def _reference(
    rows: int, effects: list[Effect], chip: ChipSpec, place: tuple[int, int, str, int], conditions: Conditions
) -> tuple[float, float]:
    """Return zero in levels and gain, as a g_off and a g_on column of ``rows`` cells show them.

    The columns are written and aged as other cells are; their means are taken as they are, without read noise and faults.
    """
    window = Window.of(chip)

    def draw(purpose: str) -> np.random.Generator:
        return generator(*place, f"reference column {purpose}")

    target_s = np.tile([window.levels.g_off_s, window.levels.g_on_s], (rows, 1))
    g_s, _ = life.write(effects, target_s, window.levels, draw)
    g_s = life.age(effects, g_s, target_s, window.levels, draw, conditions)
    low, high = (float(level) for level in window.to_levels(g_s).mean(axis=0))
    if not high - low > _LEAST_WINDOW * chip.weights.max_level:
        raise SpecError(
            f"layer {place[2]!r}: the reference columns of an array have lost their window ({conditions}); "
            "look at the chip earlier or cooler, or without reference columns."
        )
    return low, chip.weights.max_level / (high - low)
