"""The random arrays that are solved by ngspice and by Crosstile, the same in every run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crosstile.circuits.wires import TOPOLOGIES, Wires

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """One array with one input."""

    name: str
    g_s: Floats
    v: Floats
    wires: Wires


def _log_uniform(rng: np.random.Generator, low: float, high: float, size: tuple[int, ...] | None = None) -> Floats:
    return np.exp(rng.uniform(np.log(low), np.log(high), size))


def random_case(seed: int, largest: int = 32, zeros: float = 0.2) -> Case:
    """Draw an array up to ``largest`` squared.

    Cells are log-uniform from 1 nS to 10 mS, in every third case from 1 to 10 mS (currents that the wires choke), a tenth of
    them 0 S in every fourth case; each resistance is log-uniform from 0.01 to 100 ohm, or 0 with probability ``zeros``.
    """
    rng = np.random.default_rng([2024, seed])
    shape = tuple(int(n) for n in rng.integers(1, largest + 1, size=2))
    g = _log_uniform(rng, 1e-3 if seed % 3 == 0 else 1e-9, 1e-2, shape)
    if seed % 4 == 0:
        g[rng.random(shape) < 0.1] = 0.0
    word, bit, driver, sense = (
        0.0 if rng.random() < zeros else float(_log_uniform(rng, 0.01, 100.0)) for _ in range(4)
    )
    wires = Wires(word, bit, driver, sense, TOPOLOGIES[seed % len(TOPOLOGIES)])
    v = rng.uniform(-0.3, 0.3, shape[0]) if seed % 5 == 2 else rng.uniform(0.0, 0.3, shape[0])
    return Case(f"{seed}-{shape[0]}x{shape[1]}-{wires.topology}", g, v, wires)


CASES = [random_case(seed) for seed in range(50)]
SMALL_CASES = [random_case(100 + seed, largest=8) for seed in range(20)]
