"""Where lines go on arrays with stuck cells: brute force over permutations, by hand, and what a chip may ask for."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from crosstile.crossbar.program import Window, program_array, stuck_cells
from crosstile.crossbar.spares import Layout, arrange, lay_out
from crosstile.errors import SpecError
from crosstile.specs.base import validate
from crosstile.specs.chip import ChipSpec

PLACE = {"seed": 3, "trial": 1, "layer": "l/0", "array": 2, "array_number": 7}


def chip(effects: list[dict] = (), **changes: object) -> ChipSpec:
    spec = {
        "name": "c",
        "cell": {"name": "c", "technology": "ReRAM", "g_on": 1e-4, "g_off": 3e-6, "effects": list(effects)},
        "weights": {"bits": 3, "cell_bits": 2, "difference": "analog"},
        "array": {"rows": 16, "columns": 16},
    }
    for key, value in changes.items():
        spec.setdefault(key, {})
        spec[key] = {**spec[key], **value}
    return validate(ChipSpec, spec, origin="test")


def error_of(
    target: np.ndarray, stuck: np.ndarray, value: np.ndarray, sensitivity: np.ndarray, top: float, width: int,
    rows: tuple[int, ...], units: tuple[int, ...],
) -> float:  # fmt: skip
    """The definition, cell by cell."""
    total = 0.0
    for i, row in enumerate(rows):
        for u, site in enumerate(units):
            error = 0.0
            for k in range(width):
                state = stuck[row, site * width + k]
                if state:
                    error += (-1.0) ** k * ((top if state > 0 else 0.0) - target[i, u * width + k])
            total += sensitivity[i] * value[u] * error**2
    return total


def problem(seed: int, rows: int, units: int, width: int, spare_rows: int = 0, spare_units: int = 0) -> tuple:
    rng = np.random.default_rng(seed)
    target = rng.integers(0, 4, size=(rows, units * width)).astype(float)
    shape = (rows + spare_rows, (units + spare_units) * width)
    stuck = rng.choice([0, 1, -1], p=[0.6, 0.15, 0.25], size=shape).astype(np.int8)
    return target, stuck, 4.0 ** rng.integers(0, 3, size=units), rng.uniform(0.1, 2.0, size=rows), 3.0


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("seed", range(6))
def test_columns_and_rows_are_the_best_of_all_permutations(seed: int, width: int) -> None:
    """With rows in order the best columns are found exactly, spares included, and the same for rows."""
    args = problem(seed, 4, 4, width, spare_rows=1, spare_units=1)
    first = tuple(range(4))
    columns_only = (args[0], args[1][:4], *args[2:])
    found = arrange(*columns_only, width=width, move_columns=True, move_rows=False)
    least = min(error_of(*columns_only, width, first, units) for units in permutations(range(5), 4))
    # The tie of 1e-9 of the mean error for lines that stay is all that the search may miss.
    assert found.error == pytest.approx(least, rel=1e-7)
    rows_only = (args[0], args[1][:, : 4 * width], *args[2:])
    found = arrange(*rows_only, width=width, move_columns=False, move_rows=True)
    least = min(error_of(*rows_only, width, rows, first) for rows in permutations(range(5), 4))
    assert found.error == pytest.approx(least, rel=1e-7)


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("seed", range(6))
def test_both_is_a_local_optimum_no_worse_than_either(seed: int, width: int) -> None:
    args = problem(100 + seed, 4, 4, width)
    first = tuple(range(4))
    found = arrange(*args, width=width, move_columns=True, move_rows=True)
    units = tuple(int(c) // width for c in found.columns[::width])
    rows = tuple(int(r) for r in found.rows)
    assert found.error == pytest.approx(error_of(*args, width, rows, units), rel=1e-12)
    assert found.error_in_order == pytest.approx(error_of(*args, width, first, first), rel=1e-12)
    for alone in (
        arrange(*args, width=width, move_columns=True, move_rows=False),
        arrange(*args, width=width, move_columns=False, move_rows=True),
    ):
        assert found.error <= alone.error * (1 + 1e-12)
    for other in permutations(range(4)):  # no exchange of columns alone, or of rows alone, does better
        assert found.error <= error_of(*args, width, rows, other) * (1 + 1e-7)
        assert found.error <= error_of(*args, width, other, units) * (1 + 1e-7)


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("seed", range(4))
def test_spares_without_remapping_take_the_lines_that_gain_most(seed: int, width: int) -> None:
    """Lines that are not on a spare stay at home; of all ways to use two spare units the best is found."""
    args = problem(200 + seed, 5, 4, width, spare_units=2)
    found = arrange(*args, width=width, move_columns=False, move_rows=False)
    units = [int(c) // width for c in found.columns[::width]]
    assert all(site in (u, 4, 5) for u, site in enumerate(units))
    rows = tuple(range(5))
    ways = [w for w in permutations(range(6), 4) if all(site in (u, 4, 5) for u, site in enumerate(w))]
    assert found.error == pytest.approx(min(error_of(*args, width, rows, w) for w in ways), rel=1e-7)
    assert found.rows.tolist() == list(rows)


def test_by_hand() -> None:
    """One stuck-off cell under a 3 and one under a 0: exchanging the two columns costs nothing."""
    target, stuck = np.array([[3.0, 0.0], [0.0, 0.0]]), np.array([[-1, 0], [0, 0]], dtype=np.int8)
    fixed = arrange(target, stuck, np.ones(2), np.array([2.0, 5.0]), 3.0, width=1, move_columns=False, move_rows=False)
    assert (fixed.error_in_order, fixed.error) == (18.0, 18.0)  # 2 x (0 - 3)^2
    moved = arrange(target, stuck, np.ones(2), np.array([2.0, 5.0]), 3.0, width=1, move_columns=True, move_rows=False)
    assert (moved.error, moved.columns.tolist()) == (0.0, [1, 0])
    # Both cells of a pair stuck off under equal targets: the difference is right, and nothing moves.
    pair = arrange(
        np.array([[0.0, 0.0, 2.0, 0.0]]), np.array([[1, 1, 0, 0]], dtype=np.int8), np.ones(2), np.ones(1), 3.0, width=2,
        move_columns=True, move_rows=True,
    )  # fmt: skip
    assert (pair.error_in_order, pair.columns.tolist()) == (0.0, [0, 1, 2, 3])


def test_pairs_move_as_pairs_with_their_polarities_in_order() -> None:
    args = problem(5, 6, 5, 2, spare_units=2)
    found = arrange(*args, width=2, move_columns=True, move_rows=True)
    assert (found.columns[::2] % 2 == 0).all()
    assert (found.columns[1::2] == found.columns[::2] + 1).all()
    assert found.columns.tolist() != list(range(10))
    assert len(set(found.columns)) == 10


def test_spread_and_gather_are_inverse() -> None:
    layout = Layout((5, 4), np.array([4, 0, 2]), np.array([1, 3]), 1.0, 0.0)
    values = np.arange(6.0).reshape(3, 2)
    built = layout.spread(values, -1.0)
    np.testing.assert_array_equal(layout.gather(built), values)
    assert built[4, 1] == 0.0
    assert built[0, 3] == 3.0
    assert (built == -1.0).sum() == 14


STUCK = {"kind": "stuck_at", "on_rate": 0.05, "off_rate": 0.1}


@pytest.mark.parametrize(
    "fault", [STUCK, {**STUCK, "cluster_size": 4.0}, {**STUCK, "line_rate": 0.05, "line_state": "on"}]
)
def test_known_stuck_cells_are_those_of_the_programmed_array(fault: dict) -> None:
    """Targets halfway: what reads g_on or g_off is stuck, under every process of faults, other effects or not."""
    described = chip([{"kind": "drift", "nu_mean": 0.1}, fault], conditions={"time": 1e3})
    state = stuck_cells((40, 30), described, **PLACE)
    cells = Window.of(described).to_siemens(program_array(np.full((40, 30), 1.5), described, **PLACE).levels)
    np.testing.assert_array_equal(state == 1, np.isclose(cells, 1e-4))
    np.testing.assert_array_equal(state == -1, np.isclose(cells, 3e-6))
    assert (state == 1).any()
    assert (state == -1).any()
    assert not stuck_cells((40, 30), chip(), **PLACE).any()


def test_known_stuck_cells_follow_a_measured_map(tmp_path: object) -> None:
    faults = np.random.default_rng(0).integers(-1, 2, size=(3, 12, 14)).astype(np.int8)
    path = str(tmp_path / "map.npz")  # type: ignore[operator]
    np.savez(path, stuck=faults)
    state = stuck_cells((12, 10), chip([{"kind": "stuck_at", "map": path}]), **PLACE)
    np.testing.assert_array_equal(state, faults[7 % 3, :, :10])


@pytest.mark.parametrize("remap", ["none", "columns", "rows", "both"])
def test_without_faults_the_mapping_is_the_identity(remap: str) -> None:
    described = chip(array={"spare_rows": 3, "spare_columns": 4, "remap": remap})
    target = np.random.default_rng(1).integers(0, 4, size=(9, 12)).astype(float)
    found = lay_out(target, described, None, **PLACE)
    assert found is not None
    assert (found.shape, found.rows.tolist(), found.columns.tolist()) == ((12, 16), list(range(9)), list(range(12)))
    assert lay_out(target, chip(), None, **PLACE) is None


def test_place_values_and_the_unit_column_count() -> None:
    """E of a chip in offset code with a unit column, from its definition: slices by 16^k, the unit column by every output."""
    described = chip(
        [STUCK], weights={"bits": 4, "encoding": "offset", "row_sum": "unit_column"}, array={"remap": "columns"}
    )
    rng = np.random.default_rng(2)
    target = np.concatenate([rng.integers(0, 4, size=(8, 6)), np.ones((8, 1))], axis=1)
    sensitivity = rng.uniform(0.5, 2.0, size=8)
    found = lay_out(target, described, sensitivity, **PLACE)
    assert found is not None
    state = stuck_cells((8, 7), described, **PLACE)
    value = np.array([1.0, 16.0] * 3 + [3 * 8.0**2])  # three outputs of two digits; w = u - 2^3
    error = np.where(state > 0, 3.0 - target, np.where(state < 0, -target, 0.0))
    heeded = 0.5 * sensitivity + 0.5 * sensitivity.mean()
    assert found.error_in_order == pytest.approx((heeded[:, None] * value * error**2).sum(), rel=1e-12)
    assert found.error < found.error_in_order


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"array": {"spare_columns": 3}}, "even number"),
        ({"array": {"remap": "rows", "wires": {"word_line": 1.0, "bit_line": 1.0}}, "compensation": {"rows": "by_current"}},
         "by_current"),
        ({"array": {"spare_rows": 1, "wires": {"word_line": 1.0, "bit_line": 1.0}},
          "compensation": {"weights": "precompensated", "outputs": "gain"}}, "precompensated"),
        ({"array": {"spare_rows": -1}}, "spare_rows"),
        ({"array": {"remap": "all"}}, "remap"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told(changes: dict, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        chip(**changes)


def test_a_chip_without_spares_is_written_as_before() -> None:
    assert chip().model_dump()["array"].keys().isdisjoint({"spare_rows", "spare_columns", "remap"})
    described = chip(array={"spare_rows": 2, "spare_columns": 4, "remap": "both"})
    again = ChipSpec.model_validate(described.model_dump())
    assert again == described
    assert (again.array.rows_built, again.array.columns_built, again.array.mends) == (18, 20, True)
    assert described.replaced(adc__bits=6).array == described.array
    assert chip().replaced(array__spare_columns=2).array.spare_columns == 2


def test_rows_that_calibration_never_drives_still_count() -> None:
    """All inputs at zero but one: the columns that move still avoid stuck cells in the other rows."""
    described = chip([STUCK], array={"remap": "columns"})
    target = np.random.default_rng(4).integers(0, 4, size=(12, 12)).astype(float)
    seldom = lay_out(target, described, np.eye(12)[0], **PLACE)
    assert seldom is not None
    state = stuck_cells((12, 12), described, **PLACE)
    value, first = np.ones(6), tuple(range(12))
    plain = error_of(target, state, value, np.ones(12), 3.0, 2, first, tuple(range(6)))
    moved = error_of(target, state, value, np.ones(12), 3.0, 2, first, tuple(int(c) // 2 for c in seldom.columns[::2]))
    assert moved < plain
