"""A slow simulation of a schedule, event by event: the oracle of the recurrences.

Everything is an event in one queue: a sample is let in, a row crosses the chip's edge, a copy of a layer's arrays finishes one
read cycle, a result leaves the adders. A copy takes its vectors in order and starts the next when it is free and the rows that
the vector needs have arrived; a row is handed on when all its vectors, and the rows before it, are there. Nothing is shared with
:mod:`crosstile.system.recurrence` but the time of a vector, the drain and the copies. Spilling is left out.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

from crosstile.errors import SpecError
from crosstile.system.schedule_result import Schedule, StageRun
from crosstile.system.stages import Stage, StageTable

_EVENTS = 5_000_000


@dataclass(frozen=True)
class Simulated:
    """What happened, in seconds from the start of the batch."""

    results_s: tuple[float, ...]
    """When each sample is through the last round."""
    starts_s: dict[tuple[int, str], float]
    """First read of each layer for the first sample, by (round, layer)."""
    ends_s: dict[tuple[int, str], float]
    """Last result of each layer for the last sample."""
    end_s: float


@dataclass
class _Server:
    """Copies of one layer; each has a queue of its own."""

    stage: Stage
    copies: int
    hands_on: bool
    next_vector: list[tuple[int, int]] = field(default_factory=list)
    """For each copy (sample, vector)."""
    busy: list[bool] = field(default_factory=list)
    arrived: dict[int, set[int]] = field(default_factory=dict)
    """Results per sample."""


class _Round:
    """One round of the batch."""

    def __init__(
        self,
        table: StageTable,
        runs: list[StageRun],
        pieces: dict[str, bool],
        ready: set[str],
        batch: int,
        pace_s: float,
    ) -> None:
        self.table, self.network, self.batch, self.pace_s = table, table.network, batch, pace_s
        self.queue: list[tuple[float, int, Callable[[float], None]]] = []
        self.made = 0
        stages = {stage.name: stage for stage in table.stages}
        self.servers = {}
        for run in runs:
            server = _Server(stages[run.layer], run.copies, pieces[run.layer])
            server.next_vector = [(0, j) for j in range(run.copies)]
            server.busy = [False] * run.copies
            server.arrived = {n: set() for n in range(batch)}
            self.servers[run.layer] = server
        self.order = [run.layer for run in runs]
        self.rows = {
            (node.name, n): node.height if node.name in ready else 0
            for node in self.network.nodes
            for n in range(batch)
        }
        self.ready = ready
        self.starts: dict[str, float] = {}
        self.ends: dict[str, float] = {}
        self.finished = [0.0] * batch
        self.let_in = [False] * batch
        self.sent_until = self.fed_until = self.now = 0.0

    def at(self, time_s: float, action: Callable[[float], None]) -> None:
        """Queue an event; of events at one time the older one comes first."""
        self.made += 1
        if self.made > _EVENTS:
            raise SpecError(f"event simulation: more than {_EVENTS} events; simulate a smaller network or batch.")
        heapq.heappush(self.queue, (time_s, self.made, action))

    def run(self) -> None:
        """Let the samples in and work the queue off."""
        if self.table.serial:
            self.at(0.0, lambda now: self.admit(0, now))
        else:
            for n in range(self.batch):
                self.at(n * self.pace_s, lambda now, n=n: self.admit(n, now))  # type: ignore[misc]
        while self.queue:
            self.now, _, action = heapq.heappop(self.queue)
            action(self.now)

    def admit(self, n: int, now: float) -> None:
        """Let sample n in: its input starts to arrive, and what earlier rounds made is there."""
        self.let_in[n] = True
        source = self.network.input
        if source.name not in self.ready:
            self.fed_until = max(self.fed_until, now)
            for _ in range(source.height):
                self.fed_until += self.table.input_s / source.height
                self.at(self.fed_until, lambda at: self.complete(source.name, n, at))
        for node in self.network.nodes:
            self.pass_on(node.name, n, now)

    def complete(self, name: str, n: int, now: float) -> None:
        """Note one more row of a map, and tell who reads it."""
        self.rows[name, n] += 1
        self.finished[n] = max(self.finished[n], now)
        if name == self.network.output.name and self.table.output_s > 0:
            self.sent_until = max(self.sent_until, now) + self.table.output_s / self.network.output.height
            self.finished[n] = self.sent_until
            self.at(self.sent_until, lambda at: self.next_sample(n, at))
        for reader in self.network.consumers[name]:
            self.pass_on(reader, n, now)
        if self.table.serial:
            self.next_layer(n, now)

    def has_rows(self, name: str, n: int, rows: int) -> bool:
        """Return whether the first ``rows`` rows of a map could be made."""
        node = self.network[name]
        return all(self.rows[i, n] >= node.rows_needed(rows, self.network[i].height) for i in node.inputs)

    def pass_on(self, name: str, n: int, now: float) -> None:
        """Make what can be made of a node: rows at once without weights, else vectors of free copies."""
        node = self.network[name]
        if name in self.servers:
            self.start_copies(name, now)
        elif node.layer is None and node.inputs and name not in self.ready:
            while self.rows[name, n] < node.height and self.has_rows(name, n, self.rows[name, n] + 1):
                self.complete(name, n, now)

    def start_copies(self, name: str, now: float) -> None:
        """Start every free copy whose next vector has its inputs."""
        server = self.servers[name]
        stage = server.stage
        for copy, (n, vector) in enumerate(server.next_vector):
            if server.busy[copy] or n >= self.batch or vector >= stage.positions or not self.let_in[n]:
                continue
            if not self.has_rows(name, n, vector * stage.height // stage.positions + 1) or not self.turn(name, n):
                continue
            if n == 0:
                self.starts.setdefault(name, now)
            server.busy[copy] = True
            reads = stage.plan.activity.reads_in_series
            self.read(name, copy, reads, stage.vector_s / reads, now)

    def turn(self, name: str, n: int) -> bool:
        """Return whether a layer-serial chip has come to this layer."""
        if not self.table.serial:
            return True
        if self.rows[self.network.input.name, n] < self.network.input.height:
            return False  # transfers do not overlap with reads
        before = self.order[: self.order.index(name)]
        return all(len(self.servers[other].arrived[n]) == self.servers[other].stage.positions for other in before)

    def read(self, name: str, copy: int, left: int, cycle_s: float, now: float) -> None:
        """Do one read cycle, and the rest of them."""
        if left > 1:
            self.at(now + cycle_s, lambda at: self.read(name, copy, left - 1, cycle_s, at))
        else:
            self.at(now + cycle_s, lambda at: self.done(name, copy, at))

    def done(self, name: str, copy: int, now: float) -> None:
        """Free a copy; its result follows after the drain."""
        server = self.servers[name]
        n, vector = server.next_vector[copy]
        after = vector + server.copies
        server.next_vector[copy] = (n, after) if after < server.stage.positions else (n + 1, copy)
        server.busy[copy] = False
        self.at(now + server.stage.drain_s, lambda at: self.arrive(name, n, vector, at))
        self.start_copies(name, now)

    def arrive(self, name: str, n: int, vector: int, now: float) -> None:
        """Collect a result, and hand on the rows that it completes."""
        server = self.servers[name]
        stage, arrived = server.stage, server.arrived[n]
        arrived.add(vector)
        self.finished[n] = max(self.finished[n], now)
        if n == self.batch - 1:
            self.ends[name] = now
        if server.hands_on:
            while self.rows[name, n] < stage.height:
                upto = -(-(self.rows[name, n] + 1) * stage.positions // stage.height)
                if any(v not in arrived for v in range(upto)):
                    break
                self.complete(name, n, now)
        if self.table.serial:
            self.next_layer(n, now)

    def next_layer(self, n: int, now: float) -> None:
        """Layer-serial: let the next layer start, or the next sample in."""
        for name in self.order:
            self.start_copies(name, now)
        self.next_sample(n, now)

    def next_sample(self, n: int, now: float) -> None:
        """Layer-serial: let the next sample in when this one has left."""
        if not self.table.serial or n + 1 >= self.batch or self.let_in[n + 1]:
            return
        through = all(len(one.arrived[n]) == one.stage.positions for one in self.servers.values())
        if through and now >= self.finished[n]:
            self.admit(n + 1, now)


def simulate(table: StageTable, plan: Schedule, *, batch: int | None = None, saturated: bool = False) -> Simulated:
    """Run a schedule event by event.

    Args:
        table: of the network and chip. plan: gives copies, rounds, reload times and the pace at which samples are let in.
        batch: samples; default those of the plan. saturated: let all samples of a round in at once.

    Raises:
        SpecError: too many events, or layers with fewer vectors than rows.
    """
    if any(stage.positions < stage.height for stage in table.stages):
        raise SpecError(f"event simulation of {table.network.name}: a layer makes several rows with one vector.")
    samples, begin, ready = batch or plan.batch, 0.0, set[str]()
    starts: dict[tuple[int, str], float] = {}
    ends: dict[tuple[int, str], float] = {}
    results = [0.0] * samples
    for number, described in enumerate(plan.rounds):
        runs = [run for run in plan.stages if run.round == number]
        later = {run.layer for run in plan.stages if run.round > number}
        begin += described.reload_s
        one = _Round(
            table, runs, {run.layer: run.layer not in later for run in runs}, ready, samples,
            0.0 if saturated else described.interval_s,
        )  # fmt: skip
        one.run()
        starts |= {(number, name): begin + time for name, time in one.starts.items()}
        ends |= {(number, name): begin + time for name, time in one.ends.items()}
        results = [begin + time for time in one.finished]
        begin = max(results)
        ready = {node.name for node in table.network.nodes if one.rows[node.name, 0] == node.height}
    return Simulated(tuple(results), starts, ends, begin)
