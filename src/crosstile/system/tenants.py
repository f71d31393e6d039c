"""Tenants: several networks on one chip, side by side on parts of its arrays, or one after the other.

Side by side, tenant t has a_t arrays, sum a_t <= A, and runs its own pipelined schedule with copies of weights
(:mod:`crosstile.system.schedule`) on as many of them as pay. For a batch of B samples of each

    makespan = max_t T_t(a_t),     E = sum_t B (dynamic + partial sums + spills)_t + writes_t + leakage power x makespan,

with the leakage of the whole chip. The memory off the chip is shared, and T counts waiting for it at its worst
(:mod:`crosstile.system.tenant_times`). Chip I/O is divided beforehand and never lent: of inputs (results) a tenant has the part
of the bandwidth that its own are of all, so that a sample takes the time of one of each tenant. Buffers belong to the tiles of
a tenant; a tile on the border of two counts for both.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, get_args

from crosstile.errors import SpecError, UsageError
from crosstile.specs.chip import ChipSpec
from crosstile.system.chip import LEAKAGE, WRITES, ChipCost, evaluate_table
from crosstile.system.stages import StageTable, stage_table
from crosstile.system.tenant_baselines import Turn, turns
from crosstile.system.tenant_partition import Goal, Objective, Split, apportion, exhaustive, iterative
from crosstile.system.tenant_result import MethodComparison, SharedRun, TenantRun, jain_index
from crosstile.system.tenant_times import Profile, TenantTimes, ends_s, least_arrays
from crosstile.workloads.graph import Network

Method = Literal["iterative", "equal", "proportional", "exhaustive", "direct", "time_shared"]
METHODS: tuple[Method, ...] = get_args(Method)
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)


@dataclass(frozen=True, eq=False)
class _Tenant:
    label: str
    weight: float
    network: Network
    shared: StageTable
    """With its part of chip I/O."""
    whole: StageTable
    """With all of it."""


class Tenants:
    """Networks that share a chip; asked for many sizes of chip, it remembers the schedules that it made."""

    def __init__(self, networks: Sequence[Network], chip: ChipSpec, weights: Sequence[float] | None = None) -> None:
        """Take the networks in any order, and weights of their slowdowns (default: all equal).

        Raises:
            UsageError: no network, or weights that are not positive or not one for each.
            SpecError: the chip lacks what a schedule needs.
        """
        if not networks:
            raise UsageError("tenants: at least one network is wanted, found none.")
        given = [1.0] * len(networks) if weights is None else [float(w) for w in weights]
        if len(given) != len(networks) or not all(math.isfinite(w) and w > 0 for w in given):
            raise UsageError(
                f"tenants: a weight above 0 is wanted for each of {len(networks)} networks; found {list(weights or ())}."
            )
        hardware = chip.hardware
        self.built = None if hardware.tiles is None else hardware.tiles * hardware.arrays_per_tile
        self.chip: ChipSpec = chip.replaced(hardware__pipeline="pipelined", hardware__tiles=None)
        whole = [stage_table(network, self.chip) for network in networks]
        input_s, output_s = sum(table.input_s for table in whole), sum(table.output_s for table in whole)
        names = [network.name for network in networks]
        found = []
        for i, (network, table) in enumerate(zip(networks, whole, strict=True)):
            shared = table
            if (input_s, output_s) != (table.input_s, table.output_s):
                shared = replace(table, input_s=input_s, output_s=output_s)
            label = (
                network.name
                if names.count(network.name) == 1
                else f"{network.name} #{names[: i + 1].count(network.name)}"
            )
            found.append(_Tenant(label, given[i], network, shared, table))
        # The search sees tenants in an order of its own, so that the result does not depend on the caller's.
        self._order = sorted(range(len(found)), key=lambda i: (names[i], given[i], i))
        self._tenants = [found[i] for i in self._order]
        self._profiles: dict[tuple[int, int, bool], Profile] = {}

    @property
    def arrays_of_one_copy(self) -> int:
        """Arrays that all tenants take with one copy of every layer."""
        return sum(tenant.whole.arrays for tenant in self._tenants)

    @cached_property
    def _serial(self) -> list[StageTable]:
        serial: ChipSpec = self.chip.replaced(hardware__pipeline="layer_serial")
        return [stage_table(tenant.network, serial) for tenant in self._tenants]

    def run(
        self, arrays: int, *, batch: int = 1, method: Method = "iterative", objective: Objective = "makespan"
    ) -> SharedRun:
        """Return what a batch of every tenant takes on a chip of so many arrays.

        Args:
            arrays: of the chip; leakage and area are those of the tiles that they fill.
            batch: samples of each tenant.
            method: iterative, equal, proportional (to MACs), exhaustive (on a grid, up to 3 tenants), direct, time_shared.
            objective: of iterative and exhaustive: makespan, or weighted mean slowdown.

        Raises:
            SpecError: arrays or batch out of range. UsageError: an unknown method or objective.
        """
        self._check(arrays, method, objective)
        if method in ("direct", "time_shared"):
            return self._in_turns(arrays, batch, method, objective)
        before = self._evaluations
        goal = Goal(objective, self._alone_s(arrays, batch), tuple(tenant.weight for tenant in self._tenants))
        equal, by_arrays, by_macs = starts = self._starts(arrays)
        times = self._times(arrays, batch, starts)
        if method == "equal":
            split = equal
        elif method == "proportional":
            split = by_macs
        elif method == "exhaustive":
            split = exhaustive(times, goal, arrays)
        else:
            split = iterative(times, goal, (equal, by_arrays, by_macs))
        made = self._evaluations - before
        costs = [
            evaluate_table(tenant.shared, arrays=mine.best(part).arrays, batch=batch, duplication="optimal")
            for tenant, mine, part in zip(self._tenants, times, split, strict=True)
        ]
        spans = [Turn(0.0, end_s, 0.0, 0.0) for end_s in ends_s(times, split)]
        return self._result(arrays, batch, method, objective, split, costs, spans, made)

    def compare(
        self, arrays: int, *, batch: int = 1, methods: Sequence[Method] = METHODS, objective: Objective = "makespan"
    ) -> MethodComparison:
        """Return several methods on the same chip; arguments and errors as :meth:`run`."""
        runs = {name: self.run(arrays, batch=batch, method=name, objective=objective) for name in methods}
        return MethodComparison(arrays, batch, {str(name): run for name, run in runs.items()})

    def _check(self, arrays: int, method: str, objective: str) -> None:
        if method not in METHODS:
            raise UsageError(f"tenants: method is {method!r}; allowed are {', '.join(METHODS)}.")
        if objective not in OBJECTIVES:
            raise UsageError(f"tenants: objective is {objective!r}; allowed are {', '.join(OBJECTIVES)}.")
        if arrays < len(self._tenants):
            raise SpecError(
                f"tenants: {arrays} arrays for {len(self._tenants)} tenants; each needs at least one. One copy of "
                f"all of them takes {self.arrays_of_one_copy}."
            )
        if self.built is not None and arrays > self.built:
            raise SpecError(
                f"tenants on {self.chip.name!r}: arrays is {arrays}; hardware.tiles makes {self.built}. Ask for fewer arrays, "
                "or set tiles to null."
            )

    @property
    def _evaluations(self) -> int:
        return sum(profile.evaluations for profile in self._profiles.values())

    def _profile(self, i: int, batch: int, *, alone: bool) -> Profile:
        tenant = self._tenants[i]
        alone = alone or tenant.shared is tenant.whole
        key = (i, batch, alone)
        if key not in self._profiles:
            self._profiles[key] = Profile(tenant.whole if alone else tenant.shared, batch)
        return self._profiles[key]

    def _whole_chip(self, arrays: int, batch: int) -> list[TenantTimes]:
        return [
            TenantTimes(self._profile(i, batch, alone=True), least_arrays(tenant.whole.arrays, arrays, 1), (arrays,))
            for i, tenant in enumerate(self._tenants)
        ]

    def _alone_s(self, arrays: int, batch: int) -> tuple[float, ...]:
        return tuple(tenant.best(arrays).time_s for tenant in self._whole_chip(arrays, batch))

    def _least(self, arrays: int) -> list[int]:
        return [least_arrays(tenant.whole.arrays, arrays, len(self._tenants)) for tenant in self._tenants]

    def _starts(self, arrays: int) -> tuple[Split, Split, Split]:
        """Return the partitions: equal, proportional to the arrays of one copy, proportional to MACs on arrays."""
        least = self._least(arrays)
        macs = [float(sum(shape.macs for shape in tenant.network.shapes)) for tenant in self._tenants]
        return (
            apportion([1.0] * len(least), arrays, least),
            apportion([float(tenant.whole.arrays) for tenant in self._tenants], arrays, least),
            apportion(macs, arrays, least),
        )

    def _times(self, arrays: int, batch: int, starts: Sequence[Split]) -> list[TenantTimes]:
        return [
            TenantTimes(self._profile(i, batch, alone=False), least, {split[i] for split in starts})
            for i, least in enumerate(self._least(arrays))
        ]

    def _in_turns(self, arrays: int, batch: int, method: Method, objective: Objective) -> SharedRun:
        before = self._evaluations
        if method == "direct":
            costs = [evaluate_table(table, arrays=arrays, batch=batch, duplication="none") for table in self._serial]
        else:
            costs = [
                evaluate_table(tenant.whole, arrays=mine.best(arrays).arrays, batch=batch, duplication="optimal")
                for tenant, mine in zip(self._tenants, self._whole_chip(arrays, batch), strict=True)
            ]
        made = self._evaluations - before + (len(costs) if method == "direct" else 0)
        tables = self._serial if method == "direct" else [tenant.whole for tenant in self._tenants]
        spans = turns([cost.schedule for cost in costs], tables)
        split = (arrays,) * len(costs)
        return self._result(arrays, batch, method, objective, split, costs, spans, made)

    def _result(
        self, arrays: int, batch: int, method: Method, objective: Objective, split: Split, costs: Sequence[ChipCost],
        spans: Sequence[Turn], evaluations: int,
    ) -> SharedRun:  # fmt: skip
        makespan_s = max(span.end_s for span in spans)
        whole = evaluate_table(self._tenants[0].whole, arrays=arrays)  # for the figures of the chip as a whole
        alone_s = self._alone_s(arrays, batch)
        runs = [
            _tenant_run(tenant, part, cost, span, alone, batch)
            for tenant, part, cost, span, alone in zip(self._tenants, split, costs, spans, alone_s, strict=True)
        ]
        energy: dict[str, float] = {}
        for run in runs:
            for name, joule in run.energy_by_component_j.items():
                energy[name] = energy.get(name, 0.0) + joule
        energy[LEAKAGE] = whole.leakage_power_w * makespan_s
        weights = [tenant.weight for tenant in self._tenants]
        slowdown = sum(w * run.slowdown for w, run in zip(weights, runs, strict=True)) / sum(weights)
        back = sorted(range(len(runs)), key=lambda i: self._order[i])
        return SharedRun(
            chip=self.chip.name,
            method=method,
            objective=objective,
            arrays=arrays,
            batch=batch,
            makespan_s=makespan_s,
            throughput_hz=len(runs) * batch / makespan_s,
            energy_j=sum(energy.values()),
            energy_by_component_j=energy,
            area_m2=whole.area_m2,
            fairness=jain_index([1.0 / run.slowdown for run in runs]),
            mean_slowdown=slowdown,
            evaluations=evaluations,
            tenants=tuple(runs[i] for i in back),
            notes=self._notes(method, costs),
        )

    def _notes(self, method: Method, costs: Sequence[ChipCost]) -> tuple[str, ...]:
        notes = []
        if len(costs) > 1 and method in ("direct", "time_shared"):
            notes.append("tenants take turns, shortest first; each turn writes the arrays of its tenant")
        elif len(costs) > 1:
            notes.append(
                "the memory off the chip serves tenants alike, and each is taken to wait as long as it may have to; chip I/O is "
                "divided beforehand, in proportion to inputs and to results"
            )
        told = ("the network does not fit", "no chip_io")  # rounds are a figure of each tenant
        said = [note for cost in costs for note in cost.notes if not note.startswith(told)]
        notes += [re.sub(r"^\d+ (?=feature maps)|, which takes up to [^;]*", "", note) for note in said]
        return tuple(dict.fromkeys(notes))


def _tenant_run(tenant: _Tenant, arrays: int, cost: ChipCost, span: Turn, alone_s: float, batch: int) -> TenantRun:
    plan = cost.schedule
    energy = {name: batch * joule for name, joule in cost.energy_by_component_j.items() if name != LEAKAGE}
    energy[WRITES] = plan.write_energy_j + span.write_j
    return TenantRun(
        name=tenant.label,
        network=tenant.network.name,
        arrays=arrays,
        arrays_used=plan.arrays_used,
        start_s=span.start_s,
        end_s=span.end_s,
        wait_s=max(0.0, span.end_s - span.start_s - span.write_s - plan.batch_latency_s),
        latency_s=span.write_s + plan.latency_s,
        throughput_hz=batch / span.end_s,
        alone_s=alone_s,
        slowdown=span.end_s / alone_s,
        rounds=len(plan.rounds),
        write_time_s=plan.write_time_s + span.write_s,
        write_energy_j=energy[WRITES],
        spill_time_s=batch * plan.spill_time_s,
        energy_by_component_j=energy,
        bottleneck=plan.bottleneck,
    )
