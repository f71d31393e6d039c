"""Several chips: one is a chip, endless links make one large chip, traffic is conserved, bandwidth never hurts."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosstile.errors import SpecError
from crosstile.specs.chip import ChipSpec
from crosstile.specs.load import load_chip
from crosstile.specs.package import PackageSpec, load_package
from crosstile.system.chip import evaluate_chip
from crosstile.system.package import evaluate_package
from crosstile.system.partition import Transfer
from crosstile.system.routes import link_loads, route
from crosstile.workloads.table import network

NETS = ("resnet20", "vgg8", "resnet18-cifar100", "transformer", "lstm")
CHIP: ChipSpec = load_chip("reram-8b").replaced(hardware__pipeline="pipelined")
FREE = {"link__bandwidth_bits_per_s": 1e18, "link__hop_latency_s": 0.0, "link__energy_per_bit_j": 0.0}


def package(chips: int, tiles: int, **changes: object) -> PackageSpec:
    found: PackageSpec = load_package("interposer-aib").replaced(chips=chips, tiles_per_chip=tiles, **changes)
    return found


@pytest.mark.parametrize("serial", [False, True])
@pytest.mark.parametrize("name", NETS)
def test_one_chip_is_the_chip(name: str, serial: bool) -> None:
    chip = CHIP.replaced(hardware__pipeline="layer_serial") if serial else CHIP
    for tiles in (40, 800):  # some networks are rewritten, some fit
        found = evaluate_package(network(name), chip, package(1, tiles), batch=4, duplication="greedy")
        alone = evaluate_chip(network(name), chip.replaced(hardware__tiles=tiles), batch=4, duplication="greedy")
        assert found.latency_s == alone.latency_s
        assert found.interval_s == alone.interval_s
        assert found.energy_j == alone.energy_j
        assert found.area_m2 == alone.area_m2
        assert (found.link_bits, found.link_energy_j) == (0, 0.0)


@pytest.mark.parametrize("name", NETS)
def test_endless_links_make_one_large_chip(name: str) -> None:
    """Sums over links of 1e18 bit/s leave a relative difference of 1e-9 at most."""
    for chips, tiles in ((4, 10), (4, 200), (3, 240)):
        found = evaluate_package(network(name), CHIP, package(chips, tiles, **FREE), batch=4, duplication="optimal")
        whole = CHIP.replaced(
            hardware__tiles=chips * tiles, schedule__spill__source="as many channels",
            schedule__spill__bandwidth_bit_per_s=chips * CHIP.schedule.spill.bandwidth_bit_per_s,
        )  # fmt: skip
        large = evaluate_chip(network(name), whole, batch=4, duplication="optimal")
        assert found.latency_s == pytest.approx(large.latency_s, rel=1e-9)
        assert found.interval_s == pytest.approx(large.interval_s, rel=1e-9)
        assert found.energy_j == pytest.approx(large.energy_j, rel=1e-9)  # this chip has no chip I/O


@settings(deadline=None, max_examples=12)
@given(
    st.sampled_from(NETS),
    st.integers(2, 6),
    st.sampled_from([30, 200, 400]),
    st.sampled_from(["mesh", "ring", "chain", "all_to_all"]),
)
def test_throughput_is_monotone_in_bandwidth(name: str, chips: int, tiles: int, topology: str) -> None:
    found = [
        evaluate_package(
            network(name),
            CHIP,
            package(chips, tiles, link__bandwidth_bits_per_s=rate, link__topology=topology),
            duplication="optimal",
        )
        for rate in (1e8, 1e9, 1e10, 1e12, 1e15)
    ]
    speed = [one.throughput_hz for one in found]
    assert all(b >= a * (1 - 1e-9) for a, b in pairwise(speed))
    for one in found:
        assert one.link_bit_hops >= one.link_bits >= 0
        assert one.interval_s >= one.link_time_s * (1 - 1e-9)
        assert one.link_energy_j == pytest.approx(one.link_bit_hops * 0.85e-12)
        assert {chip for where in one.place.values() for chip in where} <= set(range(chips))


def test_links_cost_latency() -> None:
    slow = package(4, 60, link__hop_latency_s=1e-3)
    net = network("resnet18-cifar100")
    near, far = (
        evaluate_package(net, CHIP, p, duplication="none") for p in (package(4, 60, link__hop_latency_s=0.0), slow)
    )
    assert near.chips_used > 1
    # Every chip but one is behind at least one hop, and rows wait for the way once, not once a row.
    assert 1e-3 * (near.chips_used - 1) * 0.999 < far.latency_s - near.latency_s < 1e-3 * 60
    assert far.energy_j == pytest.approx(near.energy_j, rel=0.2)


@settings(deadline=None)
@given(st.integers(1, 30), st.sampled_from(["mesh", "ring", "chain", "all_to_all"]), st.data())
def test_routes_lead_there(chips: int, topology: str, data: st.DataObject) -> None:
    source, target = (data.draw(st.integers(0, chips - 1)) for _ in range(2))
    hops = route(source, target, chips, topology)  # type: ignore[arg-type]
    here = source
    for begin, end in hops:
        assert begin == here
        here = end
    assert here == target
    assert len(set(hops)) == len(hops)
    if topology == "ring":
        assert len(hops) == min((target - source) % chips, (source - target) % chips)
    if topology == "chain":
        assert len(hops) == abs(target - source)
    if topology == "all_to_all":
        assert len(hops) == int(source != target)
    assert abs(source - target) != 1 or len(hops) == 1  # neighbours in number are neighbours in place


def test_loads_add_up() -> None:
    moved = [Transfer(0, 0, 3, 10), Transfer(1, 0, 1, 5), Transfer(2, 3, 0, 7)]
    loads = link_loads(moved, 4, "chain")
    assert loads == {(0, 1): 15, (1, 2): 10, (2, 3): 10, (3, 2): 7, (2, 1): 7, (1, 0): 7}


def test_large_networks_on_many_chips() -> None:
    """7 billion weights: rewritten on few chips, at rest on 256 of ISAAC's size."""
    chip = load_chip("isaac").replaced(hardware__pipeline="pipelined")
    few, many = (
        evaluate_package(network("transformer-7b"), chip, package(k, 168), batch=4, duplication="none")
        for k in (16, 256)
    )
    assert (few.fits, many.fits) == (False, True)
    assert many.throughput_hz > few.throughput_hz
    assert few.chips_used == 16
    assert many.write_time_s == 0.0 < few.write_time_s


def _run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "crosstile", *words], capture_output=True, text=True, timeout=120, check=False, cwd=cwd
    )


def test_the_command(tmp_path: Path) -> None:
    found = _run(
        "package", "resnet20", "--chip", "reram-8b", "--tiles", "4", "--chips", "1,2,4", "--out", "x", cwd=tmp_path
    )
    assert found.returncode == 0, found.stderr
    assert max(len(line) for line in found.stdout.splitlines() if not line.startswith("-")) <= 80
    told = json.loads((tmp_path / "x" / "package.json").read_text())
    assert [one["chips"] for one in told["results"]] == [1, 2, 4]
    page = (tmp_path / "x" / "package.html").read_text()
    assert "plot-throughput" in page
    assert "http://" not in page.split("</header>")[0]
    for words, text in (
        (("package", "resnet20"), "say how many tiles"),
        (("package", "resnet20", "--tiles", "0"), "tiles_per_chip"),
        (("package", "resnet20", "--tiles", "4", "--chips", "0"), "chips"),
        (("package", "resnet20", "--package", "nix"), "no package is called 'nix'"),
        (("package", "nix", "--tiles", "4"), "no network of known shapes"),
        (("package", "resnet20", "--tiles", "4", "--duplication", "some"), "--duplication"),
    ):
        bad = _run(*words, cwd=tmp_path)
        assert (bad.returncode, text in bad.stderr, "Traceback" in bad.stderr) == (2, True, False), bad.stderr


def test_a_package_needs_tiles() -> None:
    with pytest.raises(SpecError, match="tiles_per_chip is null"):
        evaluate_package(network("lenet5"), CHIP, load_package("interposer-aib"))
