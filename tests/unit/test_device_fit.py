"""``crosstile device fit``: known parameters come back, wrong models are noticed, bad files are told by line."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import crosstile as ct
from crosstile import cli, cli_device
from crosstile.crossbar.program import program_array
from crosstile.devices.fit import DeviceFit, fit_device
from crosstile.devices.read_csv import Measured, read_measured
from crosstile.nonidealities import Levels, build_effects
from crosstile.specs.conditions import Conditions

LEVELS = Levels(1e-6, 40e-6)
TARGETS = np.array([2.0, 5, 10, 15, 20, 25, 30, 35, 40]) * 1e-6
SIGMA = (0.3, 2.0, -1.0)
NU, NU_STD, NOISE = 0.05, 0.01, 0.01
TIMES = (1.0, 10.0, 100.0, 1000.0)
Call = Callable[..., tuple[int, str, str]]


def _measure(
    seed: int,
    cells: int = 60,
    times: tuple[float, ...] = TIMES,
    reads: int = 3,
    noise: object = None,
    distribution: str = "normal",
    sigma: tuple[float, ...] = SIGMA,
    nu: object = NU,
    named: bool = True,
) -> Measured:
    """Cells written and read by the effects of the package themselves."""
    rng = np.random.default_rng(seed)
    polynomial = {"polynomial": list(sigma), "g_max": LEVELS.g_on_s}
    variation, drift, read = build_effects(
        [
            {"kind": "variation", "distribution": distribution, "sigma": polynomial},
            {"kind": "drift", "nu_mean": nu, "nu_std": NU_STD, "t0": 1.0},
            {"kind": "read_noise", "sigma": noise or {"proportional": NOISE}},
        ],
        units_required=False,
    )
    target = np.repeat(TARGETS, cells)
    cell = np.tile(np.arange(cells), TARGETS.size)
    g = variation.apply(target.copy(), target, LEVELS, rng)  # type: ignore[attr-defined]
    rows = []
    for time in times:
        now = drift.age(g, target, LEVELS, np.random.default_rng(seed + 1000), Conditions(time_s=time))  # type: ignore[attr-defined]
        for _ in range(reads):
            sd = read.sigma_s(now, target, LEVELS, rng, Conditions())  # type: ignore[attr-defined]
            rows.append(
                np.stack([target, np.maximum(now + sd * rng.standard_normal(now.shape), 0), 0 * now + time, cell])
            )
    t, y, when, which = np.concatenate(rows, axis=1)
    return _table(t, y, when if len(times) > 1 else None, which.astype(np.intp) if named else None)


def _table(t: np.ndarray, y: np.ndarray, when: np.ndarray | None = None, cell: np.ndarray | None = None,
           cycle: np.ndarray | None = None) -> Measured:  # fmt: skip
    return Measured("made.csv", "0" * 64, t, y, when, None, cell, cycle, ())


def _pulls(fit: DeviceFit, noise: np.ndarray) -> list[float]:
    assert fit.drift is not None
    assert fit.noise is not None
    pulls = [*((fit.sigma * 1e6 - SIGMA) / (fit.sigma_errors * 1e6)), *(fit.bias / fit.bias_errors)]
    pulls.append((fit.drift.mean[0] - NU) / fit.drift.mean_errors[0])
    pulls.append((fit.drift.std - NU_STD) / fit.drift.std_error)
    return [*pulls, *((fit.noise.values - noise) / fit.noise.errors)]


def test_known_parameters_come_back_within_their_standard_errors() -> None:
    """Over 30 seeds and 8 parameters, errors in units of the standard error have mean 0 and spread 1.

    The spread of 30 normal numbers is known to 13 %; 0.6 to 1.4 is three of that, two-sided, so that errors told too
    small or too large fail. The mean of 30 is known to 0.18; 0.6 is more than three of that.
    """
    pulls = np.array([_pulls(fit_device(_measure(seed), order=2), np.array([NOISE])) for seed in range(30)])
    assert np.abs(pulls).max() < 4.5
    assert (np.abs(pulls.mean(axis=0)) < 0.6).all(), pulls.mean(axis=0)
    spread = pulls.std(axis=0, ddof=1)
    assert ((spread > 0.6) & (spread < 1.4)).all(), spread


def test_normal_data_are_called_normal_and_the_order_is_found() -> None:
    """At a level of 1 % at most one of 10 seeds is called wrong; BIC finds the quadratic in most."""
    fits = [fit_device(_measure(seed, cells=120, times=(1.0,))) for seed in range(10)]
    assert sum(fit.goodness["normal"] for fit in fits) >= 9
    assert sum(len(fit.sigma) == 3 for fit in fits) >= 8
    assert all("no time column" in " ".join(fit.left_out) for fit in fits)
    for fit in fits:
        assert all(0.5 < level["chi2"] < 1.7 for level in fit.levels)  # 120 a level: sd 0.13


def test_the_likelihood_is_not_least_squares_on_deviations() -> None:
    """With constant sigma the restricted likelihood has the closed form s^2 = SS / (n - 2)."""
    rng = np.random.default_rng(3)
    t = np.repeat(TARGETS, 10)
    y = t + 0.4e-6 * rng.standard_normal(t.size)
    fit = fit_device(_table(t, np.abs(y)), order=0)
    x = np.stack([np.ones_like(t), t / 40e-6], axis=1)
    rest = np.linalg.lstsq(x, np.abs(y) - t, rcond=None)[1][0]
    assert fit.sigma[0] == pytest.approx(np.sqrt(rest / (t.size - 2)), rel=1e-5)


def test_additive_noise_becomes_a_polynomial() -> None:
    fit = fit_device(_measure(1, noise={"polynomial": [0.2]}))
    assert fit.noise is not None
    assert fit.noise.kind == "polynomial"
    assert fit.noise.values[0] == pytest.approx(0.2e-6, abs=4 * fit.noise.errors[0])
    assert fit.noise.errors[0] < 0.01e-6


def test_noise_without_repeats_comes_from_the_power_law() -> None:
    fit = fit_device(_measure(2, reads=1))
    assert fit.noise is not None
    assert fit.noise.from_power_law
    assert fit.noise.values[0] == pytest.approx(NOISE, rel=0.1)  # 1,080 degrees of freedom: 2 %
    assert fit.drift is not None
    assert fit.drift.std == pytest.approx(NU_STD, abs=4 * fit.drift.std_error)


def test_spread_of_exponents_that_is_noise_alone_is_not_taken_for_spread() -> None:
    """Two reads with 2 % noise over a decade spread nu by 0.012; without a spread of its own none must be told."""
    rng = np.random.default_rng(4)
    t = np.tile(np.repeat(TARGETS, 60), 4)
    cell = np.tile(np.tile(np.arange(60), 9), 4)
    when = np.repeat([1.0, 10.0, 1.0, 10.0], 540)
    g = np.tile(TARGETS.repeat(60) * (1 + 0.03 * rng.standard_normal(540)), 4)
    y = g * when**-0.05 * (1 + 0.02 * rng.standard_normal(t.size))
    fit = fit_device(_table(t, y, when, cell))
    assert fit.drift is not None
    assert fit.drift.mean[0] == pytest.approx(0.05, abs=4 * fit.drift.mean_errors[0])
    assert np.std(fit.drift.exponents) > 0.006
    assert fit.drift.std < 0.003


def test_a_drift_that_depends_on_the_state_is_a_line() -> None:
    fit = fit_device(_measure(5, nu={"polynomial": [0.1, -0.06], "g_max": 40e-6}))
    assert fit.drift is not None
    assert fit.drift.mean.size == 2
    for k, wanted in enumerate((0.1, -0.06)):
        assert abs(fit.drift.mean[k] - wanted) < 4 * fit.drift.mean_errors[k]


def test_device_to_device_is_told_from_cycle_to_cycle() -> None:
    """60 % of the variance stays with the cell; within four standard errors, and these are small."""
    rng = np.random.default_rng(6)
    cells, cycles = 80, 5
    cell, cycle, level = (a.ravel() for a in np.meshgrid(range(cells), range(cycles), range(4), indexing="ij"))
    t = TARGETS[level * 2 + 2]
    z = np.sqrt(0.6) * rng.standard_normal(cells)[cell] + np.sqrt(0.4) * rng.standard_normal(cell.size)
    fit = fit_device(_table(t, t + 0.5e-6 * z, None, cell.astype(np.intp), cycle.astype(np.intp)))
    assert fit.shares is not None
    assert abs(fit.shares.share - 0.6) < 4 * fit.shares.error
    assert fit.shares.error < 0.08
    assert fit.goodness["normal"]  # errors that go together are no wrong shape
    independent = fit_device(_table(t, t + 0.5e-6 * rng.standard_normal(t.size), None, cell.astype(np.intp),
                                    cycle.astype(np.intp)))  # fmt: skip
    assert independent.shares is not None
    assert independent.shares.share < 0.1


def test_wrong_models_are_noticed() -> None:
    lognormal = fit_device(_measure(7, cells=120, times=(1.0,), reads=1, distribution="lognormal", sigma=(0.0, 12.0)))
    assert not lognormal.goodness["normal"]
    assert "skewed to the right" in lognormal.goodness["verdict"]
    assert "lognormal write fits better" in lognormal.goodness["verdict"]
    rng = np.random.default_rng(8)
    t = np.repeat(TARGETS, 100) + 20e-6
    heavy = fit_device(_table(t, t + 0.5e-6 * rng.standard_t(3, t.size)))
    assert "tails are heavier than normal" in heavy.goodness["verdict"]
    assert "lognormal" not in heavy.goodness["verdict"]
    biased = fit_device(_table(t, 0.97 * t + 0.5e-6 * rng.standard_normal(t.size)))
    assert any("misses its target" in warning for warning in biased.warnings)
    assert biased.bias[1] == pytest.approx(-0.03 * 60e-6, abs=4 * biased.bias_errors[1])
    assert biased.sigma[0] == pytest.approx(0.5e-6, rel=0.1)  # the bias does not widen sigma
    bent = fit_device(_table(t, t + 1e-6 * np.sin(t / 5e-6) + 0.2e-6 * rng.standard_normal(t.size)))
    assert any("not linear" in warning for warning in bent.warnings)


def test_without_cells_only_the_earliest_rows_count() -> None:
    fit = fit_device(_measure(9, named=False, reads=1))
    assert fit.drift is None
    assert fit.noise is None
    assert len(fit.programmings) == 9 * 60
    assert any("only the 540 of 2160" in warning for warning in fit.warnings)
    assert fit.sigma_s(np.array([20e-6]))[0] == pytest.approx(1.05e-6, rel=0.15)


def test_continuous_targets_are_fitted() -> None:
    rng = np.random.default_rng(10)
    t = rng.uniform(1e-6, 40e-6, 600)
    fit = fit_device(_table(t, t + 0.2e-6 * rng.standard_normal(600), None, None))
    assert len(fit.levels) == 16
    assert fit.sigma_s(np.array([20e-6]))[0] == pytest.approx(0.2e-6, rel=0.15)


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run the command line in this process, in an empty folder: (exit code, output, errors)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    if not any(group.name == "device" for group in cli.app.registered_groups):
        cli_device.register(cli.app)

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["crosstile", "device", "fit", *words])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        said = capsys.readouterr()
        return int(stop.value.code or 0), said.out, said.err

    return run


def _write(path: Path, measured: Measured) -> None:
    when = measured.time_s if measured.time_s is not None else np.ones(len(measured))
    cell = measured.cell if measured.cell is not None else np.arange(len(measured))
    lines = ["# reads of test cells", "Cell;Target (µS);READ_kohm;time_min;temperature_C;wafer"]
    for c, t, y, w in zip(cell, measured.target_s, measured.read_s, when, strict=True):
        if y > 0:
            lines.append(f"A{c};{t * 1e6:.12g};{1e-3 / y:.12g};{w / 60:.12g};25;7")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8-sig")


def test_the_command_writes_a_cell_that_runs(call: Call, tmp_path: Path) -> None:
    _write(tmp_path / "cells.csv", _measure(0))
    code, told, errors = call("cells.csv", "--technology", "PCM", "--name", "ours", "--source", "lot 7", "--out", "sub/ours.yaml",
                              "--figure", "fit.png", "--order", "2")  # fmt: skip
    assert code == 0, errors
    assert "programming sigma" in told
    assert "columns not used: wafer" in told
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cells.csv", "fit.png", "sub"]
    assert (tmp_path / "fit.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    cell = ct.load_cell(tmp_path / "sub" / "ours.yaml")
    assert (cell.name, cell.technology) == ("ours", "PCM")
    assert (cell.g_off_s, cell.g_on_s) == pytest.approx((2e-6, 40e-6), rel=1e-9)
    assert [effect.kind for effect in cell.effects] == ["variation", "drift", "read_noise"]
    digest = hashlib.sha256((tmp_path / "cells.csv").read_bytes()).hexdigest()
    assert digest in cell.sources["effects"].source
    assert "lot 7" in cell.sources["effects"].source
    assert {source.tag for source in cell.sources.values()} == {"derived", "assumed"}
    for part in ("2 uS to 40 uS", "60 cells", "1 s to 16.67 min", "298.15 K"):
        assert part in cell.limits, cell.limits

    same = fit_device(read_measured(tmp_path / "cells.csv"), order=2)
    variation, drift, noise = cell.effects
    g = np.linspace(1e-6, 40e-6, 50)
    np.testing.assert_allclose(variation.sigma.sigma_s(g, LEVELS), same.sigma_s(g), rtol=1e-5)  # 7 digits
    assert same.drift is not None
    state = np.array([0.1, 0.5, 1.0])
    np.testing.assert_allclose(drift.nu_mean.at(state), same.drift.nu(state), rtol=1e-6)
    np.testing.assert_allclose(drift.nu_std.at(state), same.drift.std, rtol=1e-6)
    assert noise.sigma.proportional == pytest.approx(NOISE, rel=0.05)

    chip = ct.load_chip("reram-8b").replaced(cell=cell)
    top = chip.weights.max_level
    found = program_array(np.full((64, 64), float(top)), chip, seed=1, trial=0, layer="x", array=0, array_number=0)
    unit = (cell.g_on_s - cell.g_off_s) / top
    written = found.levels * unit + cell.g_off_s
    assert written.mean() == pytest.approx(40e-6, abs=4 * 1.3e-6 / 64)
    assert written.std() == pytest.approx(1.3e-6, rel=0.1)
    assert found.noise_variance is not None
    assert np.sqrt(found.noise_variance).mean() * unit == pytest.approx(0.4e-6, rel=0.05)


def test_json_and_defaults(call: Call, tmp_path: Path) -> None:
    _write(tmp_path / "my cells.csv", _measure(0))
    code, told, errors = call("my cells.csv", "--json", "--g-on", "50 uS")
    assert code == 0, errors
    document = json.loads(told)
    assert document["files"] == [str(Path("crosstile-out") / "my-cells.yaml")]
    names = [one["name"] for one in document["parameters"]]
    assert "drift exponent, mean" in names
    assert document["cells"] == 60
    assert any("extrapolated" in warning for warning in document["warnings"])
    assert ct.load_cell(Path(document["files"][0])).g_on_s == pytest.approx(50e-6)


GOOD = "target_uS,read_uS\n" + "".join(f"{t},{t + 0.1 * (k % 5) - 0.2 + 0.01 * k}\n" for t in (5, 10) for k in range(8))


AT_ZERO = "target_uS,read_uS,cell,time_s\n" + "".join(f"{t},{t}.{n},{n},{n % 2}\n" for t in (5, 9) for n in range(9))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the file is empty"),
        ("\n# nothing\n", "the file is empty"),
        ("target_uS,read_uS\n", "a header without rows"),
        (GOOD.replace("read_uS", "raed_uS"), "line 1: no column read"),
        (GOOD.replace("target_uS", "x"), "line 1: no column target"),
        (GOOD.replace("target_uS", "target"), "line 1, column 'target': a unit is wanted"),
        (GOOD.replace("target_uS", "target_V"), "line 1, column 'target_V': the unit 'V' is not known"),
        (GOOD.replace("target_uS", "target_mohm"), "may be milliohm or megohm"),
        (GOOD.replace("target_uS,read_uS", "read_S,read_uS"), "both give the read"),
        (GOOD.replace("target_uS,read_uS", "target_uS,read_uS,time_s"), "line 2: 2 fields, but the header has 3"),
        (GOOD + "5\n", "line 18: 1 fields"),
        (GOOD + "5,abc\n", "line 18, column 'read_uS': 'abc' is not a finite number"),
        (GOOD + "5,\n", "line 18, column 'read_uS': '' is not"),
        (GOOD + "5,nan\n", "line 18, column 'read_uS': 'nan'"),
        (GOOD + "inf,5\n", "line 18, column 'target_uS': 'inf'"),
        (GOOD + "5,1e999\n", "line 18, column 'read_uS': 1e999 is not allowed"),
        (GOOD + "5,-1\n", "line 18, column 'read_uS': -1 is not allowed; wanted is a conductance"),
        (GOOD + "5,1_0\n", "line 18, column 'read_uS': '1_0'"),
        (GOOD.replace("read_uS", "read_ohm") + "5,0\n", "line 18, column 'read_ohm': 0 is not allowed; wanted is a resistance"),
        (GOOD + '5,"1\n', "not a row of a CSV file"),
        ("target_uS,read_uS,temperature_K\n5,5,0\n", "line 2, column 'temperature_K': 0 is not allowed"),
        ("target_uS,read_uS,time_s\n5,5,-1\n", "line 2, column 'time_s': -1 is not allowed"),
        ("target_uS,read_uS,cell\n5,5, \n", "line 2, column 'cell': empty"),
        ("target_uS,read_uS,cycle\n5,5,1\n", "cycle without a column cell"),
        (GOOD + "20,20\n20,21\n", "target 20 uS has 2 rows; at least 8"),
        ("target_uS,read_uS\n" + "5,5.1\n5,5.2\n" * 8, "one target only"),
        ("target_uS,read_uS\n" + "5,5\n9,9\n" * 8, "without any spread"),
        ("target_uS,read_uS\n" + "".join(f"{t},{t}.5\n" for t in range(1, 7)), "6 rows at 6 targets"),
        ("target_uS,read_uS,cell\n" + "5,5.1,a\n9,9.2,a\n5,5.2,a\n9,9.1,a\n" * 8, "programmings"),
        (AT_ZERO, "time of 0 s"),
    ],
)  # fmt: skip
def test_bad_files_are_one_message(call: Call, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "bad.csv").write_text(text)
    code, _, errors = call("bad.csv", "--figure", "f.png")
    assert code == 2, errors
    assert said in errors
    assert "bad.csv" in errors
    assert "Traceback" not in errors
    assert [p.name for p in tmp_path.iterdir()] == ["bad.csv"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--g-on", "40"], "--g-on"),
        (["--g-on", "1 uS"], "must be larger than"),
        (["--order", "2"], "2 targets allow 0 to 1"),
        (["--order", "-1"], "--order"),
        (["--out", "good.csv"], ".yaml"),
        (["--figure", "fit.pdf"], ".png"),
        (["--name", "x" * 81], "name"),
        (["--technology", ""], "technology"),
        (["--out", "good.csv/x.yaml"], "cannot be written"),
        (["--out", "ok.yaml", "--figure", "folder.png"], "is a directory"),
    ],
)
def test_bad_options_write_nothing(call: Call, tmp_path: Path, options: list[str], said: str) -> None:
    (tmp_path / "good.csv").write_text(GOOD)
    (tmp_path / "folder.png").mkdir()
    code, _, errors = call("good.csv", *options)
    assert code == 2, errors
    assert said in errors
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder.png", "good.csv"]


def test_files_that_are_no_text(call: Call, tmp_path: Path) -> None:
    (tmp_path / "latin.csv").write_bytes(b"target_uS,read_uS\n5,\xff\n")
    code, _, errors = call("latin.csv")
    assert (code, "line 2: not UTF-8" in errors) == (2, True)
    code, _, errors = call("none.csv")
    assert (code, "no such file" in errors) == (2, True)
    (tmp_path / "folder.csv").mkdir()
    code, _, errors = call("folder.csv")
    assert (code, "cannot be read" in errors) == (2, True)


def test_limits_of_size(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "good.csv").write_text(GOOD)
    assert call("good.csv")[0] == 0
    monkeypatch.setattr("crosstile.devices.read_csv.ROW_LIMIT", 15)
    code, _, errors = call("good.csv")
    assert (code, "line 17: more than 15 rows" in errors) == (2, True)
    monkeypatch.setattr("crosstile.devices.read_csv.SIZE_LIMIT", 10)
    code, _, errors = call("good.csv")
    assert (code, "larger than" in errors) == (2, True)
