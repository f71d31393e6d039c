"""Gate-driven 1T1R arrays, against nodal equations, the standard solver and sums by hand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from crosstile.circuits.gated import Transistor, gate_driven
from crosstile.circuits.kirchhoff import with_wires
from crosstile.circuits.nodal import solve_nodal
from crosstile.circuits.wires import TOPOLOGIES, Topology, Wires
from crosstile.errors import UsageError

Floats = npt.NDArray[np.float64]
ROWS, COLUMNS = 9, 7


def _case(seed: int, *lead: int, patterns: int = 4) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    g = np.exp(rng.uniform(np.log(1e-6), np.log(1e-3), (*lead, ROWS, COLUMNS)))
    g[rng.random(g.shape) < 0.1] = 0.0
    gates = (rng.random((*lead, patterns, ROWS)) < 0.5).astype(float)
    return torch.from_numpy(g), torch.from_numpy(gates)


def _cells(g: Floats, gates: Floats, transistor: Transistor) -> Floats:
    """Resistances in series, cell by cell; (rows, columns) and (rows,)."""
    cells = np.zeros_like(g)
    for (i, j), siemens in np.ndenumerate(g):
        channel = gates[i] / transistor.on_ohm + (1 - gates[i]) * transistor.off_s if transistor.on_ohm else np.inf
        if siemens > 0 and channel > 0:
            cells[i, j] = 1 / (1 / siemens + 1 / channel)
    return cells


def _ladder(
    cells: Floats, wires: Wires, source_ohm: float, read_v: float, same_side: bool
) -> tuple[float, Floats, Floats]:
    """One column by a dense nodal matrix; (rows,) cells, all wires above 0 ohm. Returns current and both lines' voltages."""
    rows = len(cells)
    matrix, known = np.zeros((2 * rows, 2 * rows)), np.zeros(2 * rows)

    def join(a: int, b: int, siemens: float) -> None:
        matrix[[a, b], [a, b]] += siemens
        matrix[[a, b], [b, a]] -= siemens

    for i in range(rows):
        join(i, rows + i, cells[i])
        if i:
            join(i - 1, i, 1 / wires.bit_line_ohm)
            join(rows + i - 1, rows + i, 1 / source_ohm)
    begin, end = 1 / (wires.bit_line_ohm + wires.driver_ohm), 1 / (source_ohm + wires.sense_ohm)
    sensed = rows if same_side else 2 * rows - 1
    matrix[0, 0] += begin
    matrix[sensed, sensed] += end
    known[0] = begin * read_v
    u = np.linalg.solve(matrix, known)
    return float(u[sensed] * end), u[:rows], u[rows:]


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("leak", [0.0, 1e-8])
def test_source_lines_along_word_lines_equal_nodal_analysis(topology: Topology, leak: float) -> None:
    """To 1e-12 of the largest: two independent solvers, each exact to rounding."""
    g, gates = _case(1, 2)
    wires, transistor = Wires(3.0, 2.0, 20.0, 10.0, topology), Transistor(2e3, leak)
    found = gate_driven(g, gates, wires, read_v=0.2, transistor=transistor, voltages=True)
    assert found.drive_v is not None
    assert found.sense_v is not None
    for a in range(2):
        for k in range(4):
            cells = _cells(g[a].numpy(), gates[a, k].numpy(), transistor)
            true = solve_nodal(cells, np.full(ROWS, 0.2), wires)
            scale = true.currents_a.max()
            np.testing.assert_allclose(found.currents_a[a, k], true.currents_a, rtol=0, atol=1e-12 * scale)
            np.testing.assert_allclose(found.drive_v[a, k], true.word_v, rtol=0, atol=1e-13)
            np.testing.assert_allclose(found.sense_v[a, k], true.bit_v, rtol=0, atol=1e-13)


@pytest.mark.parametrize("sensed", ["same_side", "opposite_side"])
@pytest.mark.parametrize("leak", [0.0, 1e-8])
@pytest.mark.parametrize("source_ohm", [None, 7.0])
def test_source_lines_along_bit_lines_equal_a_nodal_matrix(sensed: str, leak: float, source_ohm: float | None) -> None:
    """To 1e-11: the dense matrix has condition numbers of some 1e4."""
    g, gates = _case(2, 2)
    wires, transistor = Wires(0.0, 5.0, 20.0, 10.0), Transistor(2e3, leak)
    found = gate_driven(
        g, gates, wires, read_v=-0.3, transistor=transistor, source_line="parallel_to_bit_line", voltages=True,
        source_line_ohm=source_ohm, sensed=sensed,  # type: ignore[arg-type]
    )  # fmt: skip
    assert found.drive_v is not None
    assert found.sense_v is not None
    for a in range(2):
        for k in range(4):
            cells = _cells(g[a].numpy(), gates[a, k].numpy(), transistor)
            for j in range(COLUMNS):
                current, drive, sense = _ladder(
                    cells[:, j], wires, source_ohm or wires.bit_line_ohm, -0.3, sensed == "same_side"
                )
                assert float(found.currents_a[a, k, j]) == pytest.approx(current, rel=1e-11, abs=1e-18)
                np.testing.assert_allclose(found.drive_v[a, k, :, j], drive, rtol=1e-11)
                np.testing.assert_allclose(found.sense_v[a, k, :, j], sense, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("sensed", ["same_side", "opposite_side"])
@pytest.mark.parametrize("zero", range(1, 16))
def test_ladders_without_some_resistances_are_the_limit(sensed: str, zero: int) -> None:
    """1e-9 ohm beside 1 kohm and more changes a voltage by less than 1e-10 of the whole; the elimination stays exact there."""
    g, gates = _case(3)

    def solve(least: float) -> tuple[Tensor, ...]:
        bit, driver, source, sense = (least if zero >> k & 1 else ohm for k, ohm in enumerate((5.0, 20.0, 7.0, 10.0)))
        found = gate_driven(
            g, gates, Wires(1.0, bit, driver, sense), read_v=0.3, transistor=Transistor(1e3, 1e-9), voltages=True,
            source_line="parallel_to_bit_line", source_line_ohm=source, sensed=sensed,  # type: ignore[arg-type]
        )  # fmt: skip
        assert found.drive_v is not None
        assert found.sense_v is not None
        return found.currents_a, found.drive_v, found.sense_v

    currents, drive, sense = solve(0.0)
    near_currents, near_drive, near_sense = solve(1e-9)
    torch.testing.assert_close(currents, near_currents, rtol=1e-9, atol=0.0)
    torch.testing.assert_close(drive, near_drive, rtol=1e-9, atol=0.0)
    torch.testing.assert_close(sense, near_sense, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("layout", ["parallel_to_word_line", "parallel_to_bit_line"])
def test_by_hand(layout: str) -> None:
    """Without wires: read voltage times the open cells. One cell: all resistances in series. Broken wires: nothing."""
    g, gates = _case(4, 2)
    transistor = Transistor(500.0)
    kind: dict[str, object] = {"source_line": layout, "read_v": 0.25, "transistor": transistor}
    found = gate_driven(g, gates, Wires(0.0, 0.0), **kind, voltages=True)  # type: ignore[arg-type]
    cells = torch.where(g > 0, 1 / (1 / g + 500.0), 0.0)
    torch.testing.assert_close(found.currents_a, 0.25 * gates @ cells, rtol=1e-13, atol=0.0)
    assert found.drive_v is not None
    assert found.sense_v is not None
    assert bool((found.drive_v == 0.25).all())
    assert not found.sense_v.any()
    one = gate_driven(torch.tensor([[1e-3]]), torch.ones(1, 1), Wires(3.0, 4.0, 50.0, 60.0), **kind)  # type: ignore[arg-type]
    ohm = 1 / float(torch.tensor(1e-3)) + 500.0 + 50 + 60 + (4 + 4 if layout.endswith("bit_line") else 3 + 4)
    assert float(one.currents_a) == pytest.approx(0.25 / ohm, rel=1e-14)
    assert one.drive_v is None
    broken = gate_driven(g, gates, Wires(np.inf, np.inf), **kind)  # type: ignore[arg-type]
    assert not broken.currents_a.any()


@pytest.mark.parametrize("layout", ["parallel_to_word_line", "parallel_to_bit_line"])
def test_gates(layout: str) -> None:
    g, gates = _case(5)
    wires = Wires(3.0, 2.0)
    kind: dict[str, object] = {"source_line": layout, "read_v": 0.2}

    def currents(patterns: Tensor, transistor: Transistor) -> Tensor:
        return gate_driven(g, patterns, wires, transistor=transistor, **kind).currents_a  # type: ignore[arg-type]

    # a transistor that leaks as much as it conducts is a resistor, whatever its gate
    constant = currents(gates, Transistor(1e3, 1e-3))
    torch.testing.assert_close(constant, constant[:1].expand_as(constant), rtol=1e-13, atol=0.0)
    # half a gate is twice the resistance
    half = currents(torch.full((1, ROWS), 0.5), Transistor(1e3))
    torch.testing.assert_close(half, currents(torch.ones(1, ROWS), Transistor(2e3)), rtol=1e-13, atol=0.0)
    # an ideal switch that is on is the memory alone, and off it is a row of open cells
    switch = currents(gates, Transistor(0.0))
    for k, gate in enumerate(gates):
        one = gate_driven(
            g * gate[:, None], torch.ones(1, ROWS), wires, transistor=Transistor(0.0), **kind  # type: ignore[arg-type]
        )  # fmt: skip
        torch.testing.assert_close(switch[k : k + 1], one.currents_a, rtol=1e-13, atol=0.0)
    assert not currents(torch.zeros(1, ROWS), Transistor(1e3)).any()
    if layout == "parallel_to_word_line":
        every = with_wires(1 / (1 / g + 1e3), wires).sum(0, keepdim=True) * 0.2
        torch.testing.assert_close(currents(torch.ones(1, ROWS), Transistor(1e3)), every, rtol=1e-12, atol=0.0)


def test_a_pattern_does_not_depend_on_its_batch() -> None:
    g, gates = _case(6, 3, patterns=50)
    for layout in ("parallel_to_word_line", "parallel_to_bit_line"):
        kind: dict[str, object] = {"source_line": layout, "read_v": 0.2, "transistor": Transistor(1e3, 1e-9)}
        together = gate_driven(g, gates, Wires(3.0, 2.0), **kind).currents_a  # type: ignore[arg-type]
        alone = gate_driven(g[1], gates[1, 7:8], Wires(3.0, 2.0), **kind).currents_a  # type: ignore[arg-type]
        torch.testing.assert_close(together[1, 7], alone[0], rtol=1e-14, atol=0.0)
        shared = gate_driven(g, gates[0], Wires(3.0, 2.0), **kind).currents_a  # type: ignore[arg-type]
        torch.testing.assert_close(shared[0], together[0], rtol=1e-14, atol=0.0)
        assert gate_driven(g, gates[:, :0], Wires(3.0, 2.0), **kind).currents_a.shape == (3, 0, COLUMNS)  # type: ignore[arg-type]


def test_what_is_not_possible_is_refused() -> None:
    g, gates = _case(7)
    wires, t = Wires(1.0, 1.0), Transistor(1e3)
    for wrong, message in (
        ({"gates": gates + 0.5}, "from 0 to 1"), ({"gates": gates[:, :3]}, "gates: a tensor"),
        ({"gates": gates * 0.5, "transistor": Transistor(0.0)}, "ideal switch"), ({"read_v": float("nan")}, "read_v"),
        ({"source_line": "diagonal"}, "source_line"), ({"sensed": "same_side"}, "belong to"),
        ({"source_line_ohm": 1.0}, "belong to"),
        ({"source_line": "parallel_to_bit_line", "source_line_ohm": -1.0}, "source_line_ohm"),
        ({"source_line": "parallel_to_bit_line", "wires": Wires(1, 1, topology="same_side")}, "topology"),
    ):  # fmt: skip
        given = {"gates": gates, "wires": wires, "read_v": 0.2, "transistor": t} | wrong
        with pytest.raises(UsageError, match=message):
            gate_driven(g, **given)  # type: ignore[arg-type]
    for arguments in ((-1.0, 0.0), (float("inf"), 0.0), (1e3, 2e-3), (1e3, float("nan"))):
        with pytest.raises(UsageError, match="Transistor"):
            Transistor(*arguments)
