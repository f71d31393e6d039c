"""The slow and obvious way: charge conservation, node by node. Oracle of the tests; no simulation uses it.

Every capacitor is an element between two nodes. Ground and the driven plates have given voltages, before and after the step;
the other nodes float and keep the charge that the reset left on them:

    C_ff V_f' = C_ff V_f + C_fd (U - U'),     C = the capacitance matrix of all elements.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from crosstile.macros.network import Capacitors, bit_signs
from crosstile.macros.spec import ChargeDomainSpec

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass
class Circuit:
    """Capacitors between named nodes; voltages of driven nodes before and after the step."""

    elements: list[tuple[str, str, float]] = field(default_factory=list)
    before: dict[str, float] = field(default_factory=lambda: {"0": 0.0})
    after: dict[str, float] = field(default_factory=lambda: {"0": 0.0})

    def add(self, a: str, b: str, farads: float) -> None:
        """Put a capacitor between two nodes; one of 0 F is no element."""
        if farads > 0:
            self.elements.append((a, b, farads))

    def drive(self, node: str, before: float, after: float) -> None:
        """Give a node its voltages in volts."""
        self.before[node], self.after[node] = before, after

    def floating(self) -> list[str]:
        """Return the nodes that float, in the order of their first element."""
        nodes = dict.fromkeys(node for a, b, _ in self.elements for node in (a, b))
        return [node for node in nodes if node not in self.before]

    def matrix(self) -> tuple[list[str], FloatArray, FloatArray, list[str]]:
        """Return floating nodes, C_ff, C_fd (both positive definite sense, off-diagonals negative), driven nodes."""
        free, driven = self.floating(), list(self.before)
        place = {node: k for k, node in enumerate([*free, *driven])}
        whole = np.zeros((len(place), len(place)))
        for a, b, farads in self.elements:
            p, q = place[a], place[b]
            whole[p, p] += farads
            whole[q, q] += farads
            whole[p, q] -= farads
            whole[q, p] -= farads
        n = len(free)
        return free, whole[:n, :n], whole[:n, n:], driven

    def step(self, reset_v: float = 0.0) -> dict[str, float]:
        """Return the floating nodes' voltages after the step; before it the reset held all of them at ``reset_v``."""
        free, c_ff, c_fd, driven = self.matrix()
        before = np.array([self.before[node] for node in driven])
        after = np.array([self.after[node] for node in driven])
        charge = c_ff @ np.full(len(free), reset_v) + c_fd @ before
        solved = np.linalg.solve(c_ff, charge - c_fd @ after)
        return dict(zip(free, solved.tolist(), strict=True))


def build_circuit(spec: ChargeDomainSpec, caps: Capacitors, output: int, x: IntArray, w: IntArray) -> Circuit:
    """Return the network of one output of a parallel macro with its operands.

    Args:
        spec: the macro.
        caps: its capacitors.
        output: which output.
        x, w: (inputs,) signed integers.
    """
    circuit = Circuit()
    signs_i, signs_j = bit_signs(spec.input_bits), bit_signs(spec.weight_bits)
    for j in range(spec.weight_bits):
        for i in range(spec.input_bits):
            row = f"b{i}_{j}"
            for n in range(spec.inputs):
                product = int(x[n]) >> i & int(w[n]) >> j & 1
                rest = 0.0 if signs_i[i] * signs_j[j] > 0 else spec.reference_v
                moved = spec.reference_v - rest
                plate = f"p{n}_{i}_{j}"
                circuit.add(plate, row, float(caps.cell[output, n, i, j]))
                circuit.drive(plate, rest, moved if product else rest)
            circuit.add(row, "0", caps.stray_row + float(caps.first_dummy[output, i, j]))
            circuit.add(row, f"a{j}", float(caps.first[output, i, j]))
        circuit.add(f"a{j}", "0", caps.stray_first + float(caps.second_dummy[output, j]))
        circuit.add(f"a{j}", "o", float(caps.second[output, j]))
    circuit.add("o", "0", caps.stray_second + caps.load)
    return circuit


def output_step(spec: ChargeDomainSpec, caps: Capacitors, output: int, x: IntArray, w: IntArray) -> float:
    """Return by how many volts the output moves from its reset; arguments as for :func:`build_circuit`."""
    reset = 0.5 * spec.reference_v
    return build_circuit(spec, caps, output, x, w).step(reset)["o"] - reset


def count_step(
    spec: ChargeDomainSpec, caps: Capacitors, output: int, x: IntArray, w: IntArray, bits: tuple[int, int]
) -> float:
    """Return by how many volts the row node of one weight bit moves in one cycle of a bit-serial macro.

    Args:
        spec, caps, output, x, w: as for :func:`build_circuit`.
        bits: input bit of the cycle, weight bit of the column.
    """
    circuit, (i, j) = Circuit(), bits
    for n in range(spec.inputs):
        circuit.add(f"p{n}", "o", float(caps.cell[output, n, 0, j]))
        circuit.drive(f"p{n}", 0.0, spec.reference_v * (int(x[n]) >> i & int(w[n]) >> j & 1))
    circuit.add("o", "0", caps.stray_row + caps.load)
    return circuit.step()["o"]
