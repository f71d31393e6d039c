"""Published macros, recomputed: the page that prints the comparison is true, and two macros are worked out by hand.

The pinned figures are those of docs/validation.md, to the digits printed there. What they are compared with is published
(or second-hand, where it says so); being far from it is no failure of this test, being other than printed is.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from crosstile.cost.peak import peak
from crosstile.validation.silicon import load_silicon, silicon_names
from crosstile.validation.study import row_of, validate_macros
from crosstile.validation.tables import density_table, efficiency_table, number, percent, summary

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "validation.md").read_text(encoding="utf-8")
RESULT = validate_macros()
FF = 1e-15


def printed(title: str) -> dict[str, list[str]]:
    """Return the rows of the table under ``title`` on the page, by macro."""
    block = PAGE[PAGE.index(title) :].split("\n\n", 1)[0]
    return {fields[0]: fields[1:] for fields in map(str.split, block.splitlines()) if fields[0] in silicon_names()}


def test_there_are_macros_of_every_kind() -> None:
    assert len(silicon_names()) >= 10
    classes = {row.technology_class for row in RESULT.rows}
    assert classes == {"sram-charge", "sram-current", "sram-digital", "reram", "pcm"}
    nodes = [row.node_m * 1e9 for row in RESULT.rows]
    assert (round(max(nodes)), round(min(nodes))) == (130, 7)


@pytest.mark.parametrize("name", silicon_names())
def test_the_page_prints_what_is_computed(name: str) -> None:
    row = row_of(load_silicon(name))
    found = next(c for c in RESULT.calibrated if c.name == name)
    node, kind, published, ours, error, calibrated, left_out = printed("TOPS/W (* second-hand)")[name]
    assert (node, kind) == (f"{row.node_m * 1e9:.0f}", row.kind)
    assert published.rstrip("*") == number(row.tops_per_w_published)
    assert published.endswith("*") == (row.tops_per_w_provenance == "second-hand")
    assert ours == number(row.tops_per_w)
    assert error == percent(row.tops_per_w / row.tops_per_w_published - 1)
    assert (calibrated, left_out) == (percent(found.error_calibrated), percent(found.error_left_out))
    densities = printed("TOPS/mm2 (* second-hand)")
    assert (name in densities) == (row.density_error is not None)
    if row.density_error is not None:
        assert densities[name][3:] == [number(row.tops_per_mm2), percent(row.density_error)]


def test_the_page_has_every_macro_and_the_summary() -> None:
    assert len(printed("TOPS/W (* second-hand)")) == efficiency_table(RESULT).row_count == len(silicon_names())
    assert len(printed("TOPS/mm2 (* second-hand)")) == density_table(RESULT).row_count
    for line in summary(RESULT):
        assert line in PAGE
    for name, constant in RESULT.constants.items():
        assert re.search(rf"^{name} +\d+ +{constant:.3g} ", PAGE, re.MULTILINE)


WITH_TOPS = [name for name in silicon_names() if load_silicon(name).published.tops is not None]


def test_most_macros_publish_their_throughput() -> None:
    assert len(WITH_TOPS) >= 20


@pytest.mark.parametrize("name", WITH_TOPS)
def test_the_geometry_gives_the_published_throughput(name: str) -> None:
    """The clock is an input: rows, outputs, bits and arrays must give TOPS, to the two or three digits that are listed."""
    macro = load_silicon(name)
    assert macro.published.tops is not None
    assert peak(macro.chip).tops == pytest.approx(macro.published.tops.value, rel=0.03)


@pytest.mark.parametrize("name", silicon_names())
def test_figures_come_from_the_library_alone(name: str) -> None:
    macro = load_silicon(name)
    adc = macro.chip.hardware.components.get("adc")
    assert adc is None or adc.component == "adc-zigzag"  # one converter for all
    assert all(figure.source and figure.conditions for figure in macro.published.energy_share.values())
    assert not any(use.replaces for use in macro.chip.hardware.components.values())


def polynomial(v: float, a: float, b: float, c: float) -> float:
    return a * v * v + b * v + c


# Of 28 nm at 0.9 V: a third of the way from 32 to 20 nm.
P28 = (2 * polynomial(0.9, 0.9559, -0.7823, 0.471) + polynomial(0.9, 0.373, -0.1582, 0.04104)) / 3


def test_a_charge_domain_macro_by_hand() -> None:
    """C3SRAM, 256 x 64 binary at 1 V: capacitors, word lines, 64 converters of four bits."""
    cells_j = 256 * 64 * 0.5 * 2 * FF * 1.0
    lines_j = 256 * 0.5 * 64 * 0.35 * FF * 65 / 28
    convert_j = 64 * (100 * 4 + 0.001 * 4**4) * FF * 0.81 * polynomial(1.0, 3.755, -4.398, 1.975) / P28
    wanted = 2 * 256 * 64 / (cells_j + lines_j + convert_j) * 1e-12
    row = next(row for row in RESULT.rows if row.name == "c3sram-2020-65nm")
    assert row.tops_per_w == pytest.approx(wanted, rel=1e-9)


def test_a_digital_macro_by_hand() -> None:
    """Chih et al., 256 inputs by 64 outputs of four bits at 22 nm and 0.72 V; four cycles of one input bit."""
    at_22 = (polynomial(0.72, 0.9559, -0.7823, 0.471) + 5 * polynomial(0.72, 0.373, -0.1582, 0.04104)) / 6
    gate = 0.81 * at_22 / P28  # V^2 at 28 nm, times the way to 22 nm and 0.72 V
    adder = (3 * 0.7 + 2 * 1.05) * FF
    nors_j = 256 * 256 * 0.25 * 0.7 * FF * gate
    lines_j = 256 * 0.5 * 256 * 0.35 * FF * 22 / 28 * 0.72**2
    trees_j = 64 * (256 * 5 - (4 + 8 + 1)) * 0.25 * adder * gate
    bits = math.ceil(math.log2(257)) + 4 + 4
    sums_j = 64 * ((bits - 1) * adder + bits * 2.1 * FF) * gate
    wanted = 2 * 256 * 64 / (4 * (nors_j + lines_j + trees_j + sums_j)) * 1e-12
    row = next(row for row in RESULT.rows if row.name == "chih-2021-22nm")
    assert row.tops_per_w == pytest.approx(wanted, rel=1e-9)


def test_a_memory_macro_by_hand() -> None:
    """Yin et al., 64 pairs of ReRAM by 64 outputs at 90 nm and 1.2 V: the current of half of the rows comes from the supply."""
    conductance_s = 0.5 * (40e-6 + 1e-6)
    cells_j = 64 * 128 * 0.5 * conductance_s * 0.2 * 1.2 * 6.5e-9
    lines_j = 64 * 0.5 * 128 * 0.35 * FF * 90 / 28 * 1.44
    p90 = polynomial(1.2, 4.762, -4.781, 2.092)
    switches_j = 64 * (2 * 0.7 + 16 * 0.35) * FF * 0.81 * p90 / P28
    convert_j = 64 * (300 + 0.001 * 4**3) * FF * 0.81 * p90 / P28
    wanted = 2 * 64 * 64 / (cells_j + lines_j + switches_j + convert_j) * 1e-12
    row = next(row for row in RESULT.rows if row.name == "yin-2020-90nm")
    assert row.tops_per_w == pytest.approx(wanted, rel=1e-9)
