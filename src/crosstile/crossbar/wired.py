"""Programmed arrays as they act through their wires: effective levels, and effective read noise.

The cells in use stand next to drivers and sense amplifiers; rows and columns that a layer leaves free are switched
off. Word lines of the layer that a read does not drive are held at 0 V, so that one effective matrix serves every read.
With off current cancelled, a replica takes g_off of each driven row, by wires of no resistance (``cancelled``) or by a column
of the same array, the last (``replica_column``): its current is what that column's wires let through.
"""

from __future__ import annotations

import dataclasses
import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from crosstile.circuits.kirchhoff import with_wires
from crosstile.circuits.precompensate import precompensate, reachable_scale
from crosstile.circuits.sensitivity import row_variance
from crosstile.circuits.wires import Wires
from crosstile.crossbar.program import ProgrammedArray, Window
from crosstile.specs.chip import ChipSpec

FloatArray = npt.NDArray[np.float64]

TYPICAL_ACTIVITY = 0.5
"""Mean input, of the largest, that read noise through wires is computed for: others on the line lower a cell's voltage."""
_CACHE_BYTES = 512 * 2**20


class _Cache:
    """Results by the content that they follow from; the least recently used go first."""

    def __init__(self, limit: int) -> None:
        self.limit, self.size = limit, 0
        self.entries: OrderedDict[bytes, FloatArray] = OrderedDict()
        self.lock = threading.Lock()
        self.solved, self.seconds = 0, 0.0

    def get(self, key: bytes) -> FloatArray | None:
        with self.lock:
            if key in self.entries:
                self.entries.move_to_end(key)
            return self.entries.get(key)

    def put(self, key: bytes, value: FloatArray) -> None:
        with self.lock:
            self.solved += 1
            if key not in self.entries:
                self.entries[key] = value
                self.size += value.nbytes
            while self.size > self.limit and len(self.entries) > 1:
                self.size -= self.entries.popitem(last=False)[1].nbytes


_cache = _Cache(_CACHE_BYTES)


@dataclass(frozen=True)
class SolverWork:
    """What solving wires has taken in this process; trials that change no cell add nothing."""

    arrays: int
    """Solutions: arrays whose cells had not been seen before, once for their conductances and once for their noise."""
    seconds: float
    """Wall-clock time."""

    def since(self, earlier: SolverWork) -> SolverWork:
        """Return the work done after ``earlier``."""
        return SolverWork(self.arrays - earlier.arrays, self.seconds - earlier.seconds)


def solver_work() -> SolverWork:
    """Return the work so far."""
    return SolverWork(_cache.solved, _cache.seconds)


def _solved(
    items: Sequence[tuple[bytes, FloatArray]], wires: Wires, solve: Callable[[FloatArray, list[int]], FloatArray]
) -> list[FloatArray]:
    """Return a result for each (what else it depends on, cells); those not cached are solved together, by shape."""
    keys, found = [], []
    for tag, g_s in items:
        digest = hashlib.blake2b(repr((wires, g_s.shape, len(tag))).encode(), digest_size=20)
        digest.update(tag)
        digest.update(np.ascontiguousarray(g_s).tobytes())
        keys.append(digest.digest())
        found.append(_cache.get(keys[-1]))
    missing: dict[tuple[int, ...], list[int]] = {}
    for n, value in enumerate(found):
        if value is None:
            missing.setdefault(items[n][1].shape, []).append(n)
    for which in missing.values():
        start = time.perf_counter()
        values = solve(np.stack([items[n][1] for n in which]), which)
        _cache.seconds += time.perf_counter() - start
        for n, value in zip(which, values, strict=True):
            found[n] = kept = np.array(value)
            _cache.put(keys[n], kept)
    return [value for value in found if value is not None]


def with_replica(values: FloatArray, replica: float) -> FloatArray:
    """Return (rows, columns + 1) values with those of the replica column behind the last."""
    return np.concatenate([values, np.full((len(values), 1), replica)], axis=1)


def effective(
    arrays: Sequence[ProgrammedArray], wires: Wires | None, window: Window, *, replica: bool = False
) -> list[ProgrammedArray]:  # fmt: skip
    """Return the arrays as their column currents show them.

    An array whose cells have been solved before (another trial, the calibration) is not solved again.

    Args:
        arrays: programmed cells in their physical order. wires: None or ideal: the arrays are returned as they are.
        replica: whether g_off is taken away by a column of the array; its cells are ideal.
    """
    if wires is None or wires.ideal:
        return list(arrays)
    off_s = window.levels.g_off_s
    cells = [window.to_siemens(array.levels) for array in arrays]
    variances = [array.noise_variance for array in arrays]
    if replica:
        cells = [with_replica(g_s, off_s) for g_s in cells]
        variances = [None if variance is None else with_replica(variance, 0.0) for variance in variances]
    g_eff = _solved(
        [(b"g", g_s) for g_s in cells],
        wires,
        lambda stack, _: with_wires(torch.from_numpy(stack), wires).numpy(),
    )
    noisy = {n: variance for n, variance in enumerate(variances) if variance is not None}
    places = list(noisy)
    spread = _solved(
        [(noisy[n].tobytes(), cells[n]) for n in places],
        wires,
        lambda stack, which: row_variance(stack, np.stack([noisy[places[n]] for n in which]), wires, TYPICAL_ACTIVITY),
    )
    variance = dict(zip(places, spread, strict=True))
    if replica:
        g_eff = [g[:, :-1] - g[:, -1:] + off_s for g in g_eff]
        variance = {n: np.ascontiguousarray(value[:, :-1]) for n, value in variance.items()}
    return [
        dataclasses.replace(array, levels=window.to_levels(g), noise_variance=variance.get(n))
        for n, (array, g) in enumerate(zip(arrays, g_eff, strict=True))
    ]


def wanted_cells(targets: Sequence[FloatArray], chip: ChipSpec) -> list[FloatArray]:
    """Return the levels to programme for ``targets``: the same, or those that make up for the wires.

    The arrays share one scale, which the outputs' gain takes back.
    """
    wires, window = chip.wires, Window.of(chip)
    if chip.compensation.weights == "as_mapped" or wires is None or wires.ideal:
        return list(targets)
    cells = [window.to_siemens(target) for target in targets]
    low, high = chip.cell.g_off_s, chip.cell.g_on_s
    groups: dict[tuple[int, ...], list[int]] = {}
    for n, g_s in enumerate(cells):
        groups.setdefault(g_s.shape, []).append(n)
    stacks = {shape: np.clip(np.stack([cells[n] for n in which]), low, high) for shape, which in groups.items()}
    scale: float | None = None
    result: dict[int, FloatArray] = {}
    for shape, which in groups.items():
        if scale is None:
            scale = reachable_scale([torch.from_numpy(stack) for stack in stacks.values()], wires, high)

        def solve(stack: FloatArray, _: list[int], scale: float = scale) -> FloatArray:
            done = precompensate([torch.from_numpy(stack)], wires, g_min_s=low, g_max_s=high, scale=scale)
            return done.g_s[0].numpy()

        tag = repr(("precompensated", low, high, scale)).encode()
        found = _solved([(tag, g_s) for g_s in stacks[shape]], wires, solve)
        result |= {n: window.to_levels(g_s) for n, g_s in zip(which, found, strict=True)}
    return [result[n] for n in range(len(targets))]
