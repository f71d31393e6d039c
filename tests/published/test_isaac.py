"""ISAAC's table beside recollected totals, as `crosstile reproduce isaac` prints it.

The totals are recollections, so they are no target. What is demanded is that the bill adds up, and that agreement or its
lack is told.
"""

from __future__ import annotations

import json

import pytest

from crosstile.cost.table import hardware_table
from crosstile.reproduce.isaac import TILES, findings, isaac_chip, storage_bytes, totals
from crosstile.reproduce.published import load_study


def test_the_bill_adds_up() -> None:
    rows, found = hardware_table(isaac_chip()), totals()
    io = next(row for row in rows if row.name == "chip_io")
    assert found["chip_power"] == pytest.approx(TILES * found["tile_power"] + io.power_on_chip_w)
    assert found["chip_area"] == pytest.approx(TILES * found["tile_area"] + io.area_on_chip_m2 * 1e6)


def test_efficiencies_by_hand() -> None:
    """128 x 16 weights an array, read 16 times; 129 columns at 1.28 GS/s take 0.78 ns longer than the read of 100 ns."""
    found = totals()
    gops = TILES * 96 * 2 * 128 * 16 / (16 * 129 / 1.28e9) * 1e-9
    assert found["computational_efficiency"] == pytest.approx(gops / found["chip_area"], rel=1e-12)
    assert storage_bytes(isaac_chip(), 1) == 128 * 16 * 2
    assert found["storage_efficiency"] == pytest.approx(TILES * 96 * 4096 / 2**20 / found["chip_area"], rel=1e-12)


def test_every_total_is_told_as_recollected() -> None:
    study = load_study("isaac")
    found = findings(study)
    assert {claim.basis for claim in study.claims.values()} == {"recollected"}
    assert len(found) == len(study.claims)
    assert all("recollected" in one.published and "recollected" in one.told for one in found)
    power = next(one for one in found if "GOPS/W" in one.published)
    assert "watts of the bill" in power.ours


def test_the_document_is_json() -> None:
    from crosstile.reproduce.published import findings_document

    study = load_study("isaac")
    document = json.loads(json.dumps(findings_document(study, "x", findings(study)), allow_nan=False))
    assert len(document["differences"]) == len(study.differences) >= 4
