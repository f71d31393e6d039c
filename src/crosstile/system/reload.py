"""Rewriting arrays when a network does not fit: the write model, and the partition into rounds.

Layers run in rounds of consecutive layers. A layer larger than the chip is cut into pieces that fill it, and a rest. A round
writes its arrays, then the whole batch passes it. With n_r arrays written (copies included) and the write model of
:mod:`crosstile.specs.schedule`

    t_reload = max( ceil(n_r / arrays_in_parallel) t_array,  d_r b / bandwidth ),     E_reload = n_r E_array + d_r b E_bit :

the weights come from the memory off the chip (``schedule.spill``), b bits for each of the d_r arrays that are not copies of
others, while arrays are being written.

Rounds are chosen by a dynamic programme over cuts, on reload + batch times the slowest stage (sum of the stages when
layer-serial); its answer is kept where it beats filling the rounds one after the other. A network that fits is never written.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from crosstile.specs.chip import ChipSpec
from crosstile.system.stages import StageTable

_PULSE_S, _PULSE_J, _CYCLES = 10e-9, 0.6e-12, 10.0
_CONTINUOUS_BITS = 8
_PULSE_SOURCE = "assumed: the ReRAM write of NVSim as coded by NVMExplorer, 10 ns and 0.6 pJ"


@dataclass(frozen=True)
class WriteModel:
    """What writing one array takes on a certain chip."""

    array_s: float
    array_j: float
    cells: int
    """Of one array; all are written."""
    cycles: float
    arrays_in_parallel: int | None
    array_bits: float
    """Read from the memory off the chip for one array."""
    bandwidth_bit_per_s: float
    bit_j: float
    notes: tuple[str, ...]

    def time_s(self, arrays: int, distinct: int | None = None) -> float:
        """Return the time to write so many arrays, of which ``distinct`` are no copies of others (default: all)."""
        side_by_side = self.arrays_in_parallel or max(arrays, 1)
        read_s = (arrays if distinct is None else distinct) * self.array_bits / self.bandwidth_bit_per_s
        return max(math.ceil(arrays / side_by_side) * self.array_s, read_s)

    def energy_j(self, arrays: int, distinct: int | None = None) -> float:
        """Return the energy of writing them, reading the weights included."""
        return arrays * self.array_j + (arrays if distinct is None else distinct) * self.array_bits * self.bit_j


def write_model(chip: ChipSpec) -> WriteModel:
    """Return the write model of a chip, its figures taken from ``write:``, the cell, or a stated assumption."""
    write, cell, notes = chip.write, chip.cell.write, []
    pulse_s = write.pulse_time_s
    if pulse_s is None and cell is not None and cell.time_s:
        pulse_s = cell.time_s
    if pulse_s is None:
        pulse_s = _PULSE_S
        notes.append(f"write pulse of {_PULSE_S * 1e9:.3g} ns: {_PULSE_SOURCE}; cell {chip.cell.name} does not say")
    pulse_j = write.pulse_energy_j
    if pulse_j is None and cell is not None:
        pulse_j = cell.energy_j
    if pulse_j is None:
        pulse_j = _PULSE_J
        notes.append(f"write energy of {_PULSE_J * 1e12:.3g} pJ: {_PULSE_SOURCE}; cell {chip.cell.name} does not say")
    verify_s = write.verify_time_s
    if verify_s is None:
        verify_s = (cell.verify_time_s if cell is not None else 0.0) or chip.array.read_time_s
    verify_j = write.verify_energy_j
    if verify_j is None:
        mean_g_s = 0.5 * (chip.cell.g_on_s + chip.cell.g_off_s)
        read_j = mean_g_s * chip.array.read_voltage_v**2 * chip.array.read_time_s
        verify_j = (cell.verify_energy_j if cell is not None else 0.0) or read_j
    cycles = write.cycles
    if cycles is None:
        cycles = _CYCLES
        notes.append(f"{cycles:.3g} write-verify cycles: assumed; set write.cycles")
    each_s = pulse_s + verify_s
    bits = chip.weights.cell_bits
    if bits is None:
        bits = _CONTINUOUS_BITS
        notes.append(f"continuous cells: {bits} bits each are read from the memory off the chip, assumed")
    notes.append(f"weights are read from the memory off the chip ({chip.schedule.spill.source})")
    rows, columns = chip.array.rows_built, chip.array.columns_built
    steps = {"cell": rows * columns, "row": rows, "array": 1}[write.parallelism]
    cells = rows * columns
    return WriteModel(
        array_s=steps * cycles * each_s,
        array_j=cells * cycles * (pulse_j + verify_j),
        cells=cells,
        cycles=cycles,
        arrays_in_parallel=write.arrays_in_parallel,
        array_bits=float(cells * bits),
        bandwidth_bit_per_s=chip.schedule.spill.bandwidth_bit_per_s,
        bit_j=chip.schedule.spill.energy_per_bit_j,
        notes=tuple(notes),
    )


@dataclass(frozen=True)
class Piece:
    """A layer, or a part of one that is larger than the chip."""

    stage: int
    arrays: int
    number: int
    """Among the pieces of its layer, from 0."""
    last: bool
    """Completes its layer: only then are rows handed on."""


def cut(table: StageTable, budget: int) -> list[Piece]:
    """Return the layers in order, those larger than ``budget`` arrays cut into full chips and a rest."""
    pieces = []
    for stage in table.stages:
        count = math.ceil(stage.arrays / budget)
        for number in range(count):
            final = number == count - 1
            pieces.append(Piece(stage.index, stage.arrays - number * budget if final else budget, number, final))
    return pieces


def fill(pieces: Sequence[Piece], budget: int) -> list[list[Piece]]:
    """Return rounds that are filled one after the other."""
    rounds: list[list[Piece]] = []
    room = 0
    for piece in pieces:
        if piece.arrays > room:
            rounds.append([])
            room = budget
        rounds[-1].append(piece)
        room -= piece.arrays
    return rounds


def best_rounds(
    table: StageTable, pieces: Sequence[Piece], budget: int, batch: int, model: WriteModel
) -> list[list[Piece]]:
    """Return the rounds with the least reload and batch time, fill and drain of the pipeline left out; one copy of everything."""
    times = [float(table.stages[piece.stage].intervals_s[0]) for piece in pieces]
    least, cuts = [0.0], [0]
    for end in range(1, len(pieces) + 1):
        arrays, busy, found, where = 0, 0.0, math.inf, end - 1
        for start in range(end - 1, -1, -1):
            arrays += pieces[start].arrays
            if arrays > budget:
                break
            busy = busy + times[start] if table.serial else max(busy, times[start])
            cost = least[start] + model.time_s(arrays) + batch * busy
            if cost < found:
                found, where = cost, start
        least.append(found)
        cuts.append(where)
    rounds: list[list[Piece]] = []
    end = len(pieces)
    while end:
        rounds.append(list(pieces[cuts[end] : end]))
        end = cuts[end]
    return rounds[::-1]
