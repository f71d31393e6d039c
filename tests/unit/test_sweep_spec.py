"""Studies: what is varied, what a path reaches, seeds by content, and slips that are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_sweep_common import SMALL, write_study

from crosstile.errors import CrosstileError, SpecError
from crosstile.sweep.plan import trials_of
from crosstile.sweep.slurm import SlurmProfile, load_profile
from crosstile.sweep.space import changed, parse_axis
from crosstile.sweep.spec import find_study, load_study
from crosstile.sweep.workers import open_workers
from crosstile.units import parse_quantity


def test_a_grid_is_every_combination_in_order(tmp_path: Path) -> None:
    found = load_study(write_study(tmp_path, SMALL)).variants()
    assert found == [{"array.rows": r, "adc.bits": b} for r in (64, 128, 256) for b in (6, 7, 8)]


def test_quantities_on_a_log_axis_keep_their_ends_and_ratio() -> None:
    axis = parse_axis(
        "hardware.clock", {"low": "200 MHz", "high": "1.8 GHz", "log": True, "points": 3}, "s", sampled=False
    )
    assert axis.values == ("200 MHz", "600 MHz", "1.8 GHz")  # 200 x 3, 200 x 9
    resistances = parse_axis("x.r", {"low": "1 kohm", "high": "3 kohm", "points": 3}, "s", sampled=False)
    assert resistances.values == ("1 kohm", "2 kohm", "3 kohm")  # linear in ohms, not in siemens


def test_linked_paths_change_together(tmp_path: Path) -> None:
    study = load_study(write_study(tmp_path, SMALL, vary={"array.rows, array.columns": [32, 64]}))
    assert [(v["array.rows"], v["array.columns"]) for v in study.variants()] == [(32, 32), (64, 64)]
    assert study.chip(study.variants()[1]).array.columns == 64


def test_random_draws_are_distinct_inside_and_depend_on_the_seed_alone(tmp_path: Path) -> None:
    vary = {"hardware.clock": {"low": "200 MHz", "high": "1 GHz", "log": True}, "adc.bits": {"from": 4, "to": 8}}

    def take(**more: Any) -> list[dict[str, Any]]:
        return load_study(write_study(tmp_path, SMALL, sample={"random": 400}, **{"vary": vary} | more)).variants()

    first = take()
    clocks = [parse_quantity(v["hardware.clock"], "frequency") for v in first]
    assert len({str(v) for v in first}) == 400
    assert min(clocks) >= 200e6
    assert max(clocks) <= 1e9
    # Uniform in the logarithm: half lie below the geometric mean, 447 MHz, within 5 standard errors (0.025 each).
    assert abs(sum(c < 447.2e6 for c in clocks) / 400 - 0.5) < 0.125
    assert {v["adc.bits"] for v in first} == {4, 5, 6, 7, 8}
    assert take() == first
    assert [dict(sorted(v.items())) for v in take(vary=dict(reversed(vary.items())))] == [
        dict(sorted(v.items())) for v in first
    ]
    assert take(seed=4) != first


def test_paths_reach_into_the_cell_into_lists_and_into_sections_that_are_not_written(tmp_path: Path) -> None:
    vary = {"cell.effects.0.distribution": ["lognormal"], "cell.g_on": ["50 uS"], "compensation.outputs": ["none"]}
    study = load_study(write_study(tmp_path, SMALL, vary=vary))
    chip = study.chip(study.variants()[0])
    assert chip.cell.g_on_s == pytest.approx(50e-6, rel=1e-12)
    assert study.chip_data(study.variants()[0])["cell"]["effects"][0]["distribution"] == "lognormal"
    other = load_study(write_study(tmp_path, SMALL, vary={"cell": ["ideal"], "cell.g_on": ["7 uS"]}))
    assert other.chip(other.variants()[0]).cell.g_on_s == pytest.approx(
        7e-6, rel=1e-12
    )  # whatever stands first: the cell, then its fields
    assert other.base["cell"]["name"] == "reram-hfox"
    with pytest.raises(SpecError, match="0 to 0"):
        changed(study.base, {"cell.effects.3.distribution": "normal"}, "study")
    with pytest.raises(SpecError, match="has no fields"):
        changed(study.base, {"adc.bits.more": 1}, "study")


def test_trials_are_named_and_seeded_by_content_not_by_order(tmp_path: Path) -> None:
    measure = {"cost": ["energy"], "accuracy": {"samples": 5, "trials": 2}}
    one = trials_of(load_study(write_study(tmp_path, SMALL, measure=measure)))
    assert len(one) == 9 * 3
    turned = {"array.rows": [256, 64, 128], "adc.bits": [8, 7, 6]}
    two = {t.id: t for t in trials_of(load_study(write_study(tmp_path, SMALL, measure=measure, vary=turned)))}
    assert {t.id for t in one} == set(two)
    assert all(two[t.id].task["seed"] == t.task["seed"] for t in one)
    seeds = [t.task["seed"] for t in one if t.task["measure"] == "accuracy"]
    assert len(set(seeds)) == len(seeds) == 18
    assert max(seeds) < 2**63
    other = trials_of(load_study(write_study(tmp_path, SMALL, measure=measure, seed=4)))
    assert not {t.task["seed"] for t in other if t.task["measure"] == "accuracy"} & set(seeds)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"vary": {"adc.bitz": [4]}}, "did you mean 'bits'"),
        ({"vary": {"adc.bits": {"low": 4, "high": 8}}}, "needs points"),
        ({"vary": {"adc.bits": []}}, "empty"),
        ({"vary": {"adc.bits": [4, 4]}}, "twice"),
        ({"vary": {"adc.bits": {"from": 8, "to": 4}}}, "from <= to"),
        ({"vary": {"hardware.clock": {"low": "1 GHz", "high": "2 ns", "points": 2}}}, "use one unit"),
        ({"vary": {"hardware.clock": {"low": "1 GHz", "high": "1 MHz", "points": 2}}}, "less than high"),
        ({"vary": {"adc.bits": 5}}, "a list of values"),
        ({"vary": {"adc.bits, array.rows": [4], "adc.bits": [5]}}, "two axes"),
        ({"vary": {"adc..bits": [4]}}, "no path"),
        ({"vary": {}}, "either vary"),
        ({"points": [{"adc.bits": 4}]}, "either vary"),
        ({"measure": {"cost": ["energie"]}}, "did you mean 'energy'"),
        ({"measure": {}}, "nothing is measured"),
        ({"measure": {"cost": {"batch": 4}}}, "by: schedule"),
        ({"measure": {"accuracy": {"trails": 3}}}, "did you mean 'trials'"),
        ({"model": "lenet6"}, "did you mean 'lenet5'"),
        ({"model": "my.net:make"}, "add input_shape"),
        ({"measure": {"cost": {"input_shape": [1, 28, 28]}}}, "are known; remove"),
        ({"model": "my.net:make", "measure": {"cost": {"input_shape": [1, 0, 28]}}}, "1 or more"),
        ({"chip": "isaak"}, "did you mean 'isaac'"),
        ({"sample": {"random": 100}}, "only 9 were found"),
        ({"sample": "all"}, "sample"),
        ({"measure": {"accuracy": {"weights": "none.pt"}}}, "cannot be read"),
        ({"seed": -1}, "seed"),
        ({"colour": 1}, "not known"),
    ],
)  # fmt: skip
def test_slips_are_told(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(CrosstileError, match=told):
        trials_of(load_study(write_study(tmp_path, SMALL, **changes)))


def test_studies_of_the_library_and_of_the_examples_are_whole() -> None:
    example = Path(__file__).resolve().parents[2] / "examples" / "sweep.yaml"
    for name in ("adc-and-array", example):
        assert len(trials_of(load_study(name))) == 3 * 5 * 4
    with pytest.raises(CrosstileError, match="did you mean 'adc-and-array'"):
        find_study("adc-and-arrays")


def test_slurm_profiles(tmp_path: Path) -> None:
    path = tmp_path / "profile.yaml"
    path.write_text("cores: 2\nmemory: 4 GB\nwalltime: 04:00:00\njob_directives: ['--exclusive']\n", encoding="utf-8")
    assert load_profile(path) == SlurmProfile(
        cores=2, memory="4 GB", walltime="04:00:00", job_directives=("--exclusive",)
    )
    for text, told in (
        ("cores: 2\nmemory: 4\n", "memory of a job"),
        ("cores: 0\nmemory: 4 GB\n", "cores"),
        ("cores: 1\nmemory: 4 GB\nqueu: x\n", "did you mean 'queue'"),
        ('cores: 1\nmemory: 4 GB\nprologue: ["a\\nb"]\n', "one line"),
        ("cores: 1\nmemory: 4 GB\nwalltime: soon\n", "a time is wanted"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(CrosstileError, match=told):
            load_profile(path)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"workers": -1}, "at least 0"),
        ({"workers": 2, "scheduler": "tcp://127.0.0.1:1"}, "Give one"),
        ({"workers": 0, "slurm": SlurmProfile(cores=1, memory="1 GB")}, "number of jobs"),
        ({"scheduler": "x", "slurm": SlurmProfile(cores=1, memory="1 GB")}, "give one"),
    ],
)
def test_options_that_contradict_each_other(options: dict[str, Any], told: str) -> None:
    with pytest.raises(CrosstileError, match=told), open_workers(**options):
        pass
