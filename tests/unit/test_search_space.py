"""Spaces: counts, round trips, and what studies and knobs refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crosstile.errors import SpecError, UsageError
from crosstile.search.describe import base_mapping, described, point_yaml
from crosstile.search.knobs import Knob, Point
from crosstile.search.space import Space, key_of
from crosstile.search.study import StudySpec, check_path, load_study, study_names
from crosstile.specs.base import validate
from crosstile.specs.load import load_chip, parse_chip

KNOBS = {
    "rows": Knob(values=(32, 64, 128)),
    "kind": Knob(values=("none", "greedy", "optimal")),
    "size": Knob(values=("16 KB", "64 KB")),
    "tiles": Knob(low=8, high=33, step=8),
    "time": Knob(low=1.0, high=100.0, type="float", log=True, unit="ns", step=None),
    "wide": Knob(low=1, high=1000, log=True),
    "on": Knob(values=(True, False, None)),
}


def test_counts_are_products_of_the_knobs() -> None:
    assert KNOBS["tiles"].count == 4  # 8, 16, 24, 32
    assert [KNOBS["tiles"].at(i) for i in range(4)] == [8, 16, 24, 32]
    small = Space({name: KNOBS[name] for name in ("rows", "kind", "tiles")})
    points = list(small.points())
    assert small.count == len(points) == len({key_of(point) for point in points}) == 36
    assert points[1] == {"rows": 32, "kind": "none", "tiles": 16}
    assert Space(KNOBS).count is None
    with pytest.raises(UsageError, match="time is continuous"):
        next(Space(KNOBS).points())


@pytest.mark.parametrize("name", KNOBS)
def test_every_value_comes_back_from_its_place(name: str) -> None:
    knob, rng = KNOBS[name], np.random.default_rng(0)
    for _ in range(200):
        value = knob.sample(rng)
        assert knob.rounded(knob.unit_position(value)) == value
        assert knob.allows(value)
        assert knob.allows(knob.near(value, rng))


def test_neighbours_differ_in_as_many_knobs_as_asked() -> None:
    space, rng = Space(KNOBS), np.random.default_rng(1)
    for changes in (1, 2, 5):
        for _ in range(50):
            point = space.sample(rng)
            near = space.near(point, rng, changes)
            assert space.holds(near)
            assert 1 <= sum(near[name] != point[name] for name in point) <= changes


def test_order_makes_one_feature_and_its_lack_one_for_each_choice() -> None:
    assert KNOBS["rows"].has_order
    assert KNOBS["size"].has_order
    assert not KNOBS["kind"].has_order
    assert not Knob(values=("16 KB", "64 ns")).has_order
    space = Space({"rows": KNOBS["rows"], "kind": KNOBS["kind"]})
    assert space.features([{"rows": 64, "kind": "greedy"}]).tolist() == [[0.5, 0.0, 1.0, 0.0]]
    assert space.relaxed([{"rows": 128, "kind": "greedy"}]).tolist() == [[1.0, 0.5]]


def test_log_ranges_are_even_over_ratios() -> None:
    assert KNOBS["time"].unit_position("10 ns") == pytest.approx(0.5)
    drawn = [float(str(KNOBS["time"].sample(np.random.default_rng(s))).split()[0]) for s in range(400)]
    assert 0.4 < np.mean(np.array(drawn) < 10) < 0.6  # of 400 draws: 4 standard deviations


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "either values"),
        ({"values": (1, 2), "low": 1, "high": 2}, "either values"),
        ({"values": (1, 1)}, "twice"),
        ({"values": ()}, "at least one choice"),
        ({"low": 4, "high": 4}, "must be above low"),
        ({"low": 0, "high": 4, "log": True}, "log needs low above 0"),
        ({"low": 0.5, "high": 4}, "whole numbers"),
        ({"values": (1, 2), "unit": "ns"}, "belong to a range"),
    ],
)
def test_knobs_that_make_no_sense_say_so(fields: dict[str, object], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        validate(Knob, fields, origin="knob")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("array.row", "did you mean 'rows'"),
        ("array", "is a section"),
        ("adc.bits.low", "no fields of its own"),
        ("colour", "a chip has no field"),
    ],
)
def test_paths_that_no_chip_has_name_a_near_one(path: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_path(path)


def test_paths_of_all_kinds_are_taken() -> None:
    for path in ("cell", "cell.g_on", "hardware.clock", "hardware.components.buffer.capacity", "schedule.batch"):
        check_path(path)


@pytest.mark.parametrize("name", study_names())
def test_studies_of_the_library_describe_chips(name: str) -> None:
    from crosstile.search.problems import ChipProblem

    problem = ChipProblem(load_study(name))
    rng = np.random.default_rng(0)
    drawn = [problem.space.sample(rng) for _ in range(300)]
    assert all(problem.space.holds(point) for point in drawn)
    assert any(problem.known(point) is None for point in drawn)


def test_a_study_names_what_is_wrong() -> None:
    good = {"name": "x", "network": "lenet5", "chip": "isaac", "hardware": {"array.rows": {"values": [1, 2]}}}
    validate(StudySpec, good, origin="x")
    for change, words in (
        ({"objectives": ["accuracy"]}, "add accuracy"),
        ({"objectives": ["speed"]}, "objectives"),
        ({"mapping": {"duplication": {"values": ["all"]}}}, "'all' is not allowed"),
        ({"mapping": {"arrays": {"low": 0, "high": 1, "type": "float"}}}, "mapping.arrays"),
        ({"limits": {"area_max": 3}}, "limits.area_max"),
        ({"limits": {"area_max": "3 ns"}}, "area"),
        ({"hardware": {"array.rowz": {"values": [1]}}}, "rows"),
    ):
        with pytest.raises(SpecError, match=words):
            validate(StudySpec, good | change, origin="x", units_required=True)
    with pytest.raises(SpecError, match="did you mean 'edge-pareto'"):
        load_study("edge-paretto")


def test_a_point_changes_its_fields_and_nothing_else() -> None:
    base = base_mapping("isaac")
    assert parse_chip(point_yaml(base, {}, "isaac", ["as it was"])) == load_chip("isaac")
    point: Point = {
        "array.rows": 64,
        "hardware.components.buffer.capacity": "16 KB",
        "hardware.clock": "2 GHz",
        "cell": "pcm-hermes-1",
    }
    found = parse_chip(point_yaml(base, point, "isaac", []))
    wanted = load_chip("isaac").replaced(array__rows=64, hardware__clock_hz=2e9)
    assert found.array == wanted.array
    assert found.hardware.clock_hz == 2e9
    assert found.hardware.components["buffer"].capacity_bits == 16 * 8 * 1024
    assert found.cell.name == "pcm-hermes-1"
    assert found.hardware.components["adc"] == wanted.hardware.components["adc"]
    assert base == base_mapping("isaac")  # the base stays as it is
    assert described(base, {"mapping.pipeline": "pipelined"})["hardware"]["pipeline"] == "pipelined"


def test_a_chip_beside_the_study_is_found(tmp_path: Path) -> None:
    from crosstile.specs.load import chip_yaml

    (tmp_path / "mine.yaml").write_text(chip_yaml("isaac").replace("rows: 128", "rows: 64"))
    text = "name: x\nnetwork: lenet5\nchip: mine.yaml\nhardware: {array.columns: {values: [65, 129]}}\n"
    (tmp_path / "study.yaml").write_text(text)
    study = load_study(tmp_path / "study.yaml")
    assert base_mapping(study.chip)["array"]["rows"] == 64
