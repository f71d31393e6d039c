"""What tenants on one chip take, and how far one way of sharing it is from another: frozen figures in SI units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


def jain_index(rates: Sequence[float]) -> float:
    """Return (sum x)^2 / (n sum x^2): 1 where all are equal, 1/n where one has everything.

    R. Jain, D. Chiu, W. Hawe, DEC-TR-301 (1984).
    """
    return sum(rates) ** 2 / (len(rates) * sum(x * x for x in rates))


@dataclass(frozen=True)
class TenantRun:
    """One tenant's batch; times from the start of all batches."""

    name: str
    network: str
    arrays: int
    """That it may use: its part, or the whole chip where tenants take turns."""
    arrays_used: int
    """In its fullest round, copies included."""
    start_s: float
    end_s: float
    """When its batch is through."""
    wait_s: float
    """Of it, at worst, for the others' transfers to and from the memory off the chip."""
    latency_s: float
    """First input to last result of one sample, from the start of its turn, waits left out; writing included."""
    throughput_hz: float
    """Samples over the time until its batch is through, waiting included."""
    alone_s: float
    """Time of its batch with the whole chip and nobody else, in its best schedule."""
    slowdown: float
    """End over ``alone_s``."""
    rounds: int
    write_time_s: float
    """Of the batch: rounds of rewriting, or the tenant's turn."""
    write_energy_j: float
    spill_time_s: float
    """Of the batch."""
    energy_by_component_j: dict[str, float]
    """Of the batch, writes and spills included, leakage of the chip left out."""
    bottleneck: str

    @property
    def energy_j(self) -> float:
        """Energy of the batch without the leakage of the chip."""
        return sum(self.energy_by_component_j.values())


@dataclass(frozen=True)
class SharedRun:
    """A batch of every tenant on one chip."""

    chip: str
    method: str
    objective: str
    arrays: int
    batch: int
    makespan_s: float
    throughput_hz: float
    """Samples of all tenants over the makespan."""
    energy_j: float
    energy_by_component_j: dict[str, float]
    """All of ``energy_j``; leakage is that of the chip over the makespan."""
    area_m2: float
    fairness: float
    """Jain's index of the tenants' speeds, each relative to having the chip alone (1 / slowdown)."""
    mean_slowdown: float
    """Weighted."""
    evaluations: int
    """Schedules made to find the partition; those remembered of other chip sizes are not counted again."""
    tenants: tuple[TenantRun, ...]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists and numbers."""
        data = asdict(self)
        data["tenants"], data["notes"] = list(data["tenants"]), list(data["notes"])
        return data


@dataclass(frozen=True)
class Gain:
    """How much less time and energy one way takes than another; above 1 is better."""

    speed: float
    energy: float

    @classmethod
    def of(cls, before: SharedRun, after: SharedRun) -> Gain:
        """Return what ``after`` gains on ``before``."""
        return cls(before.makespan_s / after.makespan_s, before.energy_j / after.energy_j)


@dataclass(frozen=True)
class MethodComparison:
    """Several ways to share one chip, for one batch size."""

    arrays: int
    batch: int
    runs: dict[str, SharedRun]

    def gain(self, before: str, after: str) -> Gain:
        """Return what one method gains on another."""
        return Gain.of(self.runs[before], self.runs[after])

    def decomposition(self, method: str = "iterative") -> dict[str, Gain]:
        """Return the gain on direct deployment, and its two factors; their product is the total."""
        return {
            "total": self.gain("direct", method),
            "pipelining, copies, side by side": self.gain("direct", "equal"),
            "partition": self.gain("equal", method),
        }

    @property
    def fastest(self) -> str:
        """The method with the least makespan; of equal ones the first."""
        return min(self.runs, key=lambda name: self.runs[name].makespan_s)

    def as_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists and numbers."""
        data: dict[str, Any] = {"arrays": self.arrays, "batch": self.batch, "fastest": self.fastest}
        data["runs"] = {name: run.as_dict() for name, run in self.runs.items()}
        for method in self.runs:
            if {"direct", "equal"} <= self.runs.keys() and method not in ("direct", "equal", "time_shared"):
                data.setdefault("gains", {})[method] = {k: asdict(v) for k, v in self.decomposition(method).items()}
        return data
