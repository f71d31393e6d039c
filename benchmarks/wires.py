"""Exact crossbars with wires, side by side with other solvers of the same network: time, memory, error and work.

    python benchmarks/wires.py [--rounds 5] [--threads 2] [--badcrossbar-python PATH] [--sections work ...]

Contenders: ours; nodal analysis with SciPy's SuperLU, solved for each input; the same, solved for 1 V on each word line,
where there are more inputs than word lines; and badcrossbar 1.1.0 (MIT; D. Joksas and A. Mehonic, SoftwareX 12, 100617 (2020)),
which is no dependency: `pip install badcrossbar` builds pycairo, for which Debian needs libcairo2-dev. Give
--badcrossbar-python where it has an environment of its own.

Each contender runs in a process of its own, so that its peak memory can be read; a round runs every contender once, in turn,
after one warm-up; ratios are taken within a round, and medians are printed. A contender that takes more than --long
seconds runs only once. Where one would take hours or too much memory, it gets fewer arrays (time multiplied) or fewer inputs
(time extrapolated from those and from a single input, so that factorising counts once); the table says so. All
networks are those of badcrossbar: 1 ohm a segment, one segment between source and first cell and one between last cell
and ground, no drivers. Cells are 1 to 100 uS, log-uniform; inputs 0 to 0.2 V, uniform.

SuperLU has one thread but for its BLAS, where a second one saves little on an idle machine and costs much where other
processes compete: hence --other-threads 1. No test depends on these figures.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy
import torch

from crosstile.circuits import elimination
from crosstile.circuits.dissection import Structure, dissect
from crosstile.circuits.factor import branch_conductances, one_blas_thread
from crosstile.circuits.kirchhoff import solve_crossbar, with_wires
from crosstile.circuits.nodal import exact_effective_conductance, nodal_effective_conductance
from crosstile.circuits.wires import Wires

sys.path.insert(0, str(Path(__file__).parent))
from wires_worker import problem, superlu_currents

Floats = npt.NDArray[np.floating]
WORKER = Path(__file__).with_name("wires_worker.py")


@dataclass
class Contender:
    """A worker process, and what it has measured.

    It solves ``inputs`` of ``all_inputs`` and ``arrays`` of ``all_arrays``; its seconds are scaled to the whole task.
    """

    name: str
    python: str
    size: int
    inputs: int
    arrays: int
    out: Path
    threads: int
    all_inputs: int
    all_arrays: int
    seconds: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    rise_mib: float = 0.0
    measured_s: float = 0.0
    once: bool = False

    def start(self) -> str | None:
        """Start the process; returns the module that it misses, if any."""
        counts = [str(n) for n in (self.size, self.inputs, self.arrays)]
        command = [self.python, str(WORKER), self.name, *counts, str(self.out), str(self.threads)]
        limits = {name: str(self.threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | limits
        )
        missing = self._read().get("missing")
        return str(missing) if missing else None

    def _read(self) -> dict[str, float | str]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name}, {self.size} x {self.size}: the process ended (exit {self.process.wait()}).")
        answer: dict[str, float | str] = json.loads(line)
        return answer

    def send(self, word: str) -> None:
        """Send a line to the process."""
        assert self.process.stdin is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def run(self) -> tuple[float, float]:
        """Solve once; returns seconds by the clock and of the processor, scaled to the whole task."""
        self.send("go")
        answer = self._read()
        self.rise_mib = float(answer["rise_mib"])
        self.measured_s += float(answer["seconds"])
        one = answer
        if self.inputs < self.all_inputs:
            self.send("one")
            one = self._read()
        return self._scaled("seconds", answer, one), self._scaled("cpu_s", answer, one)

    def _scaled(self, kind: str, answer: dict[str, float | str], one: dict[str, float | str]) -> float:
        seconds, single = float(answer[kind]), float(one[kind])
        if self.inputs < self.all_inputs:
            seconds = single + (seconds - single) * (self.all_inputs - 1) / (self.inputs - 1)
        return seconds * self.all_arrays / self.arrays

    @property
    def note(self) -> str:
        """What was scaled."""
        if self.inputs < self.all_inputs:
            return f" ({self.inputs} inputs and 1, extrapolated)"
        if self.arrays < self.all_arrays:
            return f" ({self.arrays} arrays, time x {self.all_arrays / self.arrays:g})"
        return ""

    def currents(self) -> Floats:
        """End the process; returns its currents."""
        self.send("save")
        self.process.wait()
        loaded: Floats = np.load(self.out, allow_pickle=False)
        return loaded


def compare(contenders: list[Contender], rounds: int, long: float) -> list[str]:
    """Run contenders in turn, the first of them ours; returns lines of a table."""
    running = []
    for contender in contenders:
        missing = contender.start()
        if missing:
            print(f"{contender.name}: skipped, {missing} is not installed for {contender.python}", file=sys.stderr)
        else:
            running.append(contender)
    for number in range(rounds + 1):
        for contender in running:
            if contender.once:
                continue
            seconds, cpu = contender.run()
            contender.once = not number and contender is not running[0] and contender.measured_s > long
            if number or contender.once:
                contender.seconds.append(seconds)
                contender.cpu_s.append(cpu)
        print(f"{running[0].size} x {running[0].size}: round {number} of {rounds}", file=sys.stderr)
    ours = running[0]
    mine, lines = ours.currents(), []
    for contender in running:
        paired = zip(contender.seconds, ours.seconds, strict=False)
        ratio = statistics.median(theirs / own for theirs, own in paired)
        error = "-"
        if contender is not ours:
            theirs = contender.currents()
            same = mine[: theirs.shape[0], : theirs.shape[1]]
            error = f"{np.abs(theirs - same).max() / np.abs(same).max():.1e}"
        lines.append(
            f"| {ours.arrays} x {ours.size} x {ours.size} | {ours.inputs} | {contender.name}{contender.note} "
            f"| {statistics.median(contender.seconds):.3g} | {len(contender.seconds)} | {ratio:.3g} "
            f"| {statistics.median(contender.cpu_s):.3g} "
            f"| {contender.rise_mib:.0f} | {error} |"
        )
    return lines


HEADER = (
    "| arrays | inputs | solver | seconds | runs | time / ours | CPU seconds | rise of peak MiB | difference from ours |\n"
    "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
)


def operations(size: int) -> tuple[int, int]:
    """Return floating-point operations of the elimination, and the pivots of its largest front.

    Counted for a pivot with d couplings: d additions for the total, d products for the shares, and 2 for each pair of
    neighbours that gets a coupling. Vector and matrix kernels do a little more, in strips that overhang.
    """
    total, front = 0, 0
    for block in dissect(size, size, Structure.of(Wires(1.0, 1.0))).blocks:
        if (p := block.program) is not None:
            once = 2 * p.slots.size + 2 * int((p.pairs >= 0).sum())
        else:
            left = np.arange(block.pivots + block.ports.total - 1, block.ports.total - 1, -1)
            fixed = sum(n * (n - 1) // 2 for n in (block.ports.sources, block.ports.grounds))
            once = int((2 * left + left * (left - 1) - 2 * fixed).sum())
            front = max(front, block.pivots)
        total += once * len(block.origin)
    return total, front


def work(sizes: list[int]) -> None:
    """Print operations counted from the order of elimination."""
    print(
        "\n## Work\n\n| array | operations of the elimination | / N^3 | pivots of the largest front | multiply-adds an input |\n"
        "| --- | ---: | ---: | ---: | ---: |"
    )
    for size in sizes:
        total, front = operations(size)
        print(f"| {size} x {size} | {total:.4g} | {total / size**3:.1f} | {front} | {size * size:,} |")


def eliminated(g: Floats, wires: Wires, dtype: type[np.floating]) -> Floats:
    """Return the effective conductance of one array by the kernels of the package, in any precision."""
    order = dissect(*g.shape, Structure.of(wires))
    cells, constants = g[None].astype(dtype), branch_conductances(wires).astype(dtype)
    none, none_4, outs = np.empty((0, 0, 0), dtype), np.empty((0, 0, 0, 0), dtype), []
    with one_blas_thread():
        for block in order.blocks:
            count, total = len(block.origin), block.ports.total
            out = np.empty((1, count, total, total), dtype)
            if (p := block.program) is not None:
                elimination.eliminate_tiles(
                    0, count, cells, constants, block.origin, p.branch_kind, p.branch_cell, p.branch_slot,
                    p.slots_total, p.start, p.slots, p.pair_start, p.pairs, p.port_slots, out, none, none,
                )  # fmt: skip
            else:
                left, right = (outs[child] for child in block.children)
                free = block.pivots + block.ports.free
                elimination.eliminate_merges(
                    0, count, left, right, block.instance, *block.maps, block.pivots, free, free + block.ports.sources,
                    out, none_4, none,
                )  # fmt: skip
            outs.append(out)
    ports = order.blocks[-1].ports
    return outs[-1][0, 0, ports.free : ports.free + ports.sources, ports.free + ports.sources :]


def entry_error(found: Floats, wanted: Floats) -> str:
    """Return largest and median relative error of the entries."""
    error = np.abs(found.astype(np.float64) - wanted) / np.abs(wanted)
    return f"{error.max():.1e} | {np.median(error):.1e}"


def accuracy() -> None:
    """Print relative errors of single entries of the effective conductance."""
    print(
        "\n## Relative error of the entries of the effective conductance\n\n"
        "| array | cells | ohm a segment | ohm of drivers and senses | against | solver | largest | median |\n"
        "| --- | --- | ---: | ---: | --- | --- | ---: | ---: |"
    )
    random = np.random.default_rng(1)
    cases = (
        (24, 1e-6, 1e-4, 1.0, 0.0),
        (24, 1e-9, 1e-2, 0.01, 0.0),
        (24, 1e-9, 1e-9, 0.01, 0.0),
        (24, 1e-9, 1e-2, 0.01, 1e6),
        (128, 1e-6, 1e-4, 1.0, 0.0),
    )
    for size, low, high, ohm, end in cases:
        g = low * (high / low) ** random.uniform(0, 1, (size, size))
        wires, unit = Wires(ohm, ohm, end, end), np.eye(size)
        ours = with_wires(torch.from_numpy(g), wires).numpy()
        small = size <= 24
        wanted = exact_effective_conductance(g, wires) if small else ours
        found: dict[str, Floats] = {}
        if small:
            found["ours, double"] = ours
        found["SuperLU, double"] = superlu_currents(g, unit, ohm, end)
        if small:
            found["SuperLU of the laws themselves, refined (`nodal.py`)"] = nodal_effective_conductance(g, wires)
        found["ours, single"] = eliminated(g, wires, np.float32)
        found["SuperLU, single"] = superlu_currents(g, unit, ohm, end, np.float32)
        cells = (f"{low:g} to {high:g} S") if low < high else f"{low:g} S"
        against = "60 digits" if small else "ours, double"
        for name, matrix in found.items():
            print(
                f"| {size} x {size} | {cells} | {ohm:g} | {end:g} | {against} | {name} | {entry_error(matrix, wanted)} |"
            )


def times(sizes: list[int], rounds: int) -> None:
    """Print what one array takes us: the matrix, the matrix and its gradient, all voltages for one input."""
    print(
        "\n## Ours alone, one array\n\n| array | matrix, s | with gradient, s | with all voltages for one input, s |\n"
        "| --- | ---: | ---: | ---: |"
    )
    wires = Wires(1.0, 1.0)
    for size in sizes:
        g, v = (torch.from_numpy(part) for part in problem(size, 1, 1))
        seconds: list[list[float]] = [[], [], []]
        for number in range(rounds + 1):
            marks = [time.perf_counter()]
            with_wires(g, wires)
            marks.append(time.perf_counter())
            with_wires(g.clone().requires_grad_(), wires).sum().backward()
            marks.append(time.perf_counter())
            solve_crossbar(g, v.expand(1, 1, size), wires)
            marks.append(time.perf_counter())
            for kept, start, end in zip(seconds, marks[:-1], marks[1:], strict=True):
                kept += [end - start] if number else []
        print(f"| {size} x {size} | {' | '.join(f'{statistics.median(kept):.3g}' for kept in seconds)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2, help="of ours")
    parser.add_argument("--other-threads", type=int, default=1, help="of the BLAS below SuperLU and badcrossbar")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256, 512])
    parser.add_argument("--arrays", type=int, default=256, help="of 128 x 128")
    parser.add_argument("--long", type=float, default=20.0, help="seconds above which a contender runs only once")
    parser.add_argument("--badcrossbar-python", default=sys.executable, help="interpreter that has badcrossbar")
    sections = ["work", "accuracy", "times", "one", "many", "arrays"]
    parser.add_argument("--sections", nargs="+", choices=sections, default=sections)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(
        f"{options.threads} threads (SuperLU and badcrossbar: {options.other_threads}), {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f}, torch {torch.__version__}, SciPy {scipy.__version__}, {platform.machine()}"
    )
    if "work" in options.sections:
        work([*options.sizes, 1024])
    if "accuracy" in options.sections:
        accuracy()
    if "times" in options.sections:
        times([*options.sizes, 1024], options.rounds)
    with tempfile.TemporaryDirectory() as folder:

        def contender(
            name: str, size: int, inputs: int, arrays: int, all_inputs: int = 0, all_arrays: int = 0
        ) -> Contender:
            python = options.badcrossbar_python if name == "badcrossbar" else sys.executable
            out = Path(folder) / f"{name}.npy"
            threads = options.threads if name == "crosstile" else options.other_threads
            return Contender(
                name, python, size, inputs, arrays, out, threads, all_inputs or inputs, all_arrays or arrays
            )

        if "one" in options.sections:
            print(f"\n## One array, one input\n\n{HEADER}")
            for size in options.sizes:
                trio = [contender(name, size, 1, 1) for name in ("crosstile", "superlu", "badcrossbar")]
                print("\n".join(compare(trio, options.rounds, options.long)), flush=True)
        if "many" in options.sections:
            print(f"\n## One array, 1,000 inputs\n\n{HEADER}")
            for size in options.sizes:
                few = 1000 if size <= 128 else max(1, 6_553_600 // size**2)  # right-hand sides of a GB at most
                four = [contender("crosstile", size, 1000, 1), contender("superlu-units", size, 1000, 1)]
                four += [contender(name, size, few, 1, 1000) for name in ("superlu", "badcrossbar")]
                print("\n".join(compare(four, options.rounds, options.long)), flush=True)
        if "arrays" in options.sections:
            print(f"\n## {options.arrays} arrays of 128 x 128, 1,000 inputs\n\n{HEADER}")
            four = [contender("crosstile", 128, 1000, options.arrays)]
            four += [
                contender(name, 128, 1000, 2, 0, options.arrays) for name in ("superlu-units", "superlu", "badcrossbar")
            ]
            print("\n".join(compare(four, options.rounds, options.long)), flush=True)


if __name__ == "__main__":
    main()
