"""BasisN's ratio to reprogramming, over networks, write models, kernels per cycle and batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crosstile.basisn.baselines import reprogramming, with_write_model
from crosstile.basisn.cost import basis_cost
from crosstile.basisn.cycles import BasisArraySpec, layer_cycles_at_rate
from crosstile.basisn.study import WRITES
from crosstile.reproduce.published import Finding, PublishedStudy
from crosstile.specs.load import load_chip
from crosstile.workloads.table import network

if TYPE_CHECKING:
    from rich.table import Table

NETWORKS = ("resnet18-cifar100", "densenet121-cifar100", "resnet18", "resnet34", "densenet121")
RATES, BATCHES = (4.0, 16.0), (1, 16)


@dataclass(frozen=True)
class Ratio:
    """A basis over reprogramming."""

    network: str
    parallelism: str
    write_cycles: float
    kernels_per_cycle: float
    batch: int
    cycles: float
    time: float
    energy: float
    edp: float


def ratios(chip_name: str = "reram-8b", arrays: int = 16, networks: Sequence[str] = NETWORKS) -> list[Ratio]:
    """Return the ratios of ``networks``, for all write models, rates and batches."""
    chip, found = load_chip(chip_name), []
    vectors = chip.array.columns // 2
    design = BasisArraySpec(arrays, 2, vectors, 16, 3)
    for name in networks:
        net = network(name)
        own = {}
        for rate in RATES:
            layers = [layer_cycles_at_rate(shape, design, chip, rate, vectors / rate) for shape in net.shapes]
            own[rate] = basis_cost(net.shapes, layers, design, chip)
        for parallelism, cycles in WRITES:
            for batch in BATCHES:
                other = reprogramming(net, with_write_model(chip, parallelism, cycles), arrays, batch)
                found += [
                    Ratio(
                        name, parallelism, cycles, rate, batch, cost.cycles / other.cycles, cost.time_s / other.time_s,
                        cost.energy_j / other.energy_j, cost.edp_js / other.edp_js,
                    )
                    for rate, cost in own.items()
                ]  # fmt: skip
    return found


def findings(study: PublishedStudy, rows: Sequence[Ratio]) -> list[Finding]:
    """Return the claims beside ours."""
    found = []
    for claim, value in (("cycles", "cycles"), ("edp", "edp")):
        shares = [100 * getattr(row, value) for row in rows]
        below = [row for row in rows if getattr(row, value) < 0.01]
        first = [row for row in rows if row.batch == 1 and row.kernels_per_cycle == 16]
        mine = sum(getattr(row, value) < 0.01 for row in first)
        text = (
            f"{min(shares):.2g} % to {max(shares):.4g} % over {len(rows)} settings, below 1 % in {len(below)} of "
            f"them; for single samples and 16 kernels a cycle in {mine} of {len(first)}"
        )
        slow = [row for row in first if row.parallelism == "cell" and row.write_cycles >= 100]
        most = max(100 * getattr(row, value) for row in slow)
        text += f"; there, with cells written one by one in 100 or more cycles, {most:.2g} % at most"
        verdict = "reached for some write models and not for others: see the table"
        found.append(Finding(study.claims[claim].text, text, None, verdict))
    found.append(
        Finding(
            study.claims["accuracy"].text,
            "accuracy by crosstile basis: docs/basisn.md; area of switches and coefficient memories is counted there",
            None, "not measured by this command",
        )
    )  # fmt: skip
    return found


def ratio_tables(rows: Sequence[Ratio]) -> list[Table]:
    """Return the sensitivity tables of energy-delay product, time and cycles, basis over reprogramming; 80 columns."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    settings = [(rate, batch) for batch in BATCHES for rate in RATES]
    by = {(r.network, r.parallelism, r.write_cycles, r.kernels_per_cycle, r.batch): r for r in rows}
    found = []
    for what, field in (("energy-delay product", "edp"), ("time", "time"), ("cycles", "cycles")):
        title = f"Basis over reprogramming: {what}, in % (k.: kernels a cycle)"
        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
        table.add_column("network", no_wrap=True)
        table.add_column("written\nat once", no_wrap=True)
        table.add_column("write\ncycles", justify="right", no_wrap=True)
        for rate, batch in settings:
            table.add_column(f"batch {batch}\n{rate:g} k.", justify="right", no_wrap=True)
        for name in dict.fromkeys(row.network for row in rows):
            for number, (parallelism, cycles) in enumerate(WRITES):
                cells = [by[name, parallelism, cycles, rate, batch] for rate, batch in settings]
                label = name.replace("cifar100", "c100") if number == 0 else ""
                table.add_row(label, parallelism, f"{cycles:g}", *(_percent(getattr(c, field)) for c in cells))
        found.append(table)
    return found


def _percent(share: float) -> str:
    value = 100 * share
    return (
        f"{value:.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2f}" if value >= 0.01 else "<.01"
    )
