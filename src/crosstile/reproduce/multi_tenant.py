"""Tenants on one chip against direct deployment, beside the published range of speed-ups.

For each mix of tenants, size of the chip and batch: the time until all batches are through when deployed directly, on equal parts
and on parts by the iteration, with

    total gain = direct / iterative = (direct / equal) x (equal / iterative),

and the share of direct deployment's time that is writing of arrays, which no partition needs where all tenants fit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crosstile.reproduce.published import Finding, PublishedStudy, findings_document
from crosstile.specs.load import load_chip
from crosstile.system.chip import WRITES
from crosstile.system.tenant_result import Gain, MethodComparison
from crosstile.system.tenants import Method, Tenants
from crosstile.units import format_quantity
from crosstile.workloads.table import network

if TYPE_CHECKING:
    from rich.table import Table

COMMAND = "crosstile reproduce multi-tenant"
CHIP = "reram-8b"
MIXES: dict[str, tuple[str, ...]] = {
    "cifar": ("resnet20", "vgg16-cifar10", "resnet18-cifar100"),
    "imagenet": ("mobilenet", "densenet121", "resnet18"),
    "uneven": ("lenet5", "resnet20", "resnet50"),
}
SIZES = (512, 2048, 8192, 16384)
BATCHES = (1, 16)
METHODS: tuple[Method, ...] = ("direct", "time_shared", "equal", "proportional", "iterative")
_COPIES = "pipelining, copies, side by side"


@dataclass(frozen=True)
class Case:
    """One mix of tenants on one size of chip."""

    mix: str
    found: MethodComparison

    @property
    def gains(self) -> dict[str, Gain]:
        """Total, and its two factors."""
        return self.found.decomposition()

    @property
    def writing(self) -> float:
        """Share of direct deployment's time that is writing of arrays."""
        run = self.found.runs["direct"]
        return sum(tenant.write_time_s for tenant in run.tenants) / run.makespan_s

    @property
    def where(self) -> str:
        """Name of the case."""
        return f"{self.mix}, {self.found.arrays} arrays, batch of {self.found.batch}"


def cases(
    mixes: dict[str, tuple[str, ...]] | None = None,
    sizes: Sequence[int] = SIZES,
    batches: Sequence[int] = BATCHES,
    tell: Callable[[str], None] = lambda _: None,
) -> list[Case]:
    """Run the study; about a minute with the defaults. ``tell`` hears of each mix before it is run."""
    chip, found = load_chip(CHIP), []
    for name, names in (mixes or MIXES).items():
        tell(f"{name}: {', '.join(names)}")
        tenants = Tenants([network(one) for one in names], chip)
        for size in sizes:
            found += [Case(name, tenants.compare(size, batch=batch, methods=METHODS)) for batch in batches]
    return found


def findings(study: PublishedStudy, found: Sequence[Case]) -> list[Finding]:
    """Return each claim beside ours."""
    low, high, energy = (study.claims[name].points for name in ("least_speed", "most_speed", "most_energy"))
    assert low is not None
    assert high is not None
    assert energy is not None

    def speed(case: Case) -> float:
        return case.gains["total"].speed

    def saved(case: Case) -> float:
        return case.gains["total"].energy

    least, most, best = min(found, key=speed), max(found, key=speed), max(found, key=saved)
    inside = sum(low <= speed(case) <= high for case in found)
    worse = sum(saved(case) < 1 for case in found)
    turns = sum(case.found.gain("time_shared", "iterative").speed < 1 for case in found)
    in_band = f"{inside} of {len(found)} cases lie between {low:g} and {high:g}"
    parts = (
        f"{most.gains[_COPIES].speed:.3g} by pipelining, copies and running side by side, "
        f"{most.gains['partition'].speed:.3g} by partition"
    )
    return [
        Finding(
            study.claims["least_speed"].text, f"{speed(least):.3g} times at least ({least.where})", speed(least) > 1, in_band
        ),
        Finding(
            study.claims["most_speed"].text,
            f"{speed(most):.4g} times at most ({most.where}): {parts}; {most.writing:.1%} of direct deployment is writing. "
            f"Whole networks in turn, in their best schedules, would be {_in_turn(most):.3g} times as fast there; in {turns} of "
            f"{len(found)} cases they are faster than the partition",
            speed(most) > 1,
            f"{in_band}; the factor is set by what direct deployment is and by whether all tenants fit",
        ),
        Finding(
            study.claims["most_energy"].text,
            f"up to {saved(best):.3g} times lower ({best.where}; {_unwritten(best):.3g} if direct deployment wrote nothing); "
            f"higher in {worse} of {len(found)} cases",
            saved(best) > 1,
            f"ours at most is {saved(best) / energy:.3g} of the published figure; it is rewriting that is saved, and leakage",
        ),
        Finding(
            f"{study.claims['scale'].text} ({study.claims['scale'].basis}; {study.claims['scale'].source})",
            "partition gains " + ", ".join(f"{size} arrays: {_range(found, size)}" for size in _sizes(found)),
            None,
            "medians over mixes and batches; the least and the most in brackets",
        ),
    ]  # fmt: skip


def _unwritten(case: Case) -> float:
    """Return the gain in energy on a direct deployment that writes nothing."""
    direct = case.found.runs["direct"]
    return (direct.energy_j - direct.energy_by_component_j[WRITES]) / case.found.runs["iterative"].energy_j


def _in_turn(case: Case) -> float:
    return case.found.gain("direct", "time_shared").speed


def _sizes(found: Sequence[Case]) -> list[int]:
    return sorted({case.found.arrays for case in found})


def _range(found: Sequence[Case], size: int) -> str:
    from statistics import median

    gains = [case.gains["partition"].speed for case in found if case.found.arrays == size]
    return f"{median(gains):.3g} ({min(gains):.3g} to {max(gains):.3g})"


def case_table(found: Sequence[Case]) -> Table:
    """Return all cases; 80 columns."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(
        title="Partition by the iteration against direct deployment (factors)", title_justify="left", box=SIMPLE_HEAD,
        padding=0,
    )  # fmt: skip
    names = ("mix", "arrays", "B", "direct", "writes", "faster", "=copies", "x part", "energy", "/turns", "fair")
    for name in names:
        table.add_column(name, justify="left" if name == "mix" else "right", no_wrap=True)
    before = found[0].mix
    for case in found:
        if case.mix != before:
            table.add_section()
            before = case.mix
        gains, runs = case.gains, case.found.runs
        turns = case.found.gain("time_shared", "iterative")
        factors = (
            gains["total"].speed,
            gains[_COPIES].speed,
            gains["partition"].speed,
            gains["total"].energy,
            turns.speed,
        )
        table.add_row(
            case.mix, str(case.found.arrays), str(case.found.batch), format_quantity(runs["direct"].makespan_s, "s", 3),
            f"{case.writing:.0%}", *(f"{factor:.3g}" for factor in factors), f"{runs['iterative'].fairness:.2f}",
        )  # fmt: skip
    return table


LEGEND = (
    "direct: time of direct deployment, writes: its share that is writing. faster = copies (equal parts against direct) x part "
    "(iteration against equal parts). energy: direct over iteration. /turns: iteration against whole networks in turn in their "
    "best schedules; below 1, turns are better. fair: Jain's index."
)


def document(study: PublishedStudy, found: Sequence[Case]) -> dict[str, Any]:
    """Return claims, findings and all cases, ready for JSON."""
    data = findings_document(study, COMMAND, findings(study, found))
    data["mixes"] = {name: list(names) for name, names in MIXES.items()}
    data["cases"] = [{"mix": case.mix, "writing": case.writing} | case.found.as_dict() for case in found]
    return data
