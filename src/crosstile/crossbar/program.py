"""Programming: target levels of one array become the conductances that its cells really have.

A level l of 0..L-1 is the conductance G = g_off + l u with u = (g_on - g_off) / (L - 1). Inside the engine
conductances are "levels", (G - g_off) / u, so that an ideal cell is its digit. Every draw comes from a
generator derived from (seed, trial, layer, array, purpose).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crosstile.errors import SpecError
from crosstile.nonidealities import AgeEffect, Levels, ProgramEffect, ReadEffect, device_factor
from crosstile.nonidealities.stuck import StuckAt
from crosstile.nonidealities.write_verify import WriteStatistics, WriteVerify
from crosstile.specs.chip import ChipSpec

FloatArray = npt.NDArray[np.float64]

_MAX_NOISE_LEVELS = 1e6


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


def _program(
    targets: FloatArray, chip: ChipSpec, place: tuple[int, int, str, int], array_number: int
) -> ProgrammedArray:
    layer, window = place[2], Window.of(chip)
    conditions = chip.conditions
    effects = [effect for effect in chip.cell.effects if not effect.is_idle(conditions)]
    if not effects:
        return ProgrammedArray(targets, None, WriteStatistics(targets.size, targets.size, 0))
    target_s = window.to_siemens(targets)
    program = [e for e in effects if isinstance(e, ProgramEffect) and e.stage == "program"]
    verify = next((e for e in effects if isinstance(e, WriteVerify)), None)
    rng = generator(*place, "program")

    def write(wanted_s: FloatArray) -> FloatArray:
        g_s = wanted_s.copy()
        for effect in program:
            g_s = effect.apply(g_s, wanted_s, window.levels, rng)
        return g_s

    factor = device_factor(effects, target_s, window.levels, lambda purpose: generator(*place, purpose))
    if verify is not None:
        g_s, writes = verify.apply(target_s, window.levels, write, factor)
    else:
        aim_s = target_s if factor is None else factor * target_s
        g_s, writes = write(aim_s), WriteStatistics(targets.size, targets.size, 0)
    for effect in effects:
        if isinstance(effect, AgeEffect):  # the generator's name leaves conditions out: a cell keeps its character
            g_s = effect.age(g_s, target_s, window.levels, generator(*place, effect.kind), conditions)
    for effect in effects:
        if effect.stage == "fault":
            rng = generator(*place, effect.kind)
            if isinstance(effect, StuckAt):
                g_s = effect.apply_to_array(g_s, window.levels, rng, array_number)
            elif isinstance(effect, ProgramEffect):
                g_s = effect.apply(g_s, target_s, window.levels, rng)
    variance = None
    for effect in effects:
        if isinstance(effect, ReadEffect):
            rng = generator(*place, effect.kind)
            sigma = effect.sigma_s(g_s, target_s, window.levels, rng, conditions) / window.unit_s
            variance = sigma**2 if variance is None else variance + sigma**2
    if variance is not None and not variance.max(initial=0.0) <= _MAX_NOISE_LEVELS**2:  # catches NaN, too
        raise SpecError(
            f"layer {layer!r}: the read noise of a cell reaches {float(np.sqrt(variance.max())):.3g} levels; "
            f"at most {_MAX_NOISE_LEVELS:.0e} can be computed with. Check sigma and its units."
        )
    if not np.isfinite(g_s).all():
        raise SpecError(
            f"layer {layer!r}: programmed conductances are not finite; check the sigma of the cell's effects and its unit."
        )
    return ProgrammedArray(window.to_levels(g_s), variance, writes)
