"""One contender of benchmarks/wires.py, in a process of its own; needs only NumPy and what the contender needs.

    python benchmarks/wires_worker.py {crosstile,superlu,superlu-units,badcrossbar} SIZE INPUTS ARRAYS OUT.npy THREADS

Prints a JSON line when ready; then, for each line read, solves once and prints
{"seconds": ..., "cpu_s": ..., "rise_mib": ...}: for all inputs, or the first only if the line is ``one``. The last line,
``save``, writes the currents (arrays, inputs, columns) of the latest solution for all inputs to OUT.npy.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Solver = Callable[[Floats, Floats], Floats]
OHM = 1.0
"""Of every wire segment; drivers and sense amplifiers have none: the network that badcrossbar knows."""


def problem(size: int, inputs: int, arrays: int) -> tuple[Floats, Floats]:
    """Return cells (arrays, size, size), 1 to 100 uS log-uniform, and voltages (inputs, size), 0 to 0.2 V uniform.

    Fewer arrays or inputs are the first of more.
    """
    cells, volts = np.random.default_rng([size, 0]), np.random.default_rng([size, 1])
    return 1e-6 * 100 ** cells.uniform(0, 1, (arrays, size, size)), volts.uniform(0, 0.2, (inputs, size))


def crosstile_solver(threads: int) -> Solver:
    """Return the exact matrix of all arrays, times all inputs."""
    import torch

    from crosstile.circuits.kirchhoff import effective_conductance

    torch.set_num_threads(threads)

    def solve(g: Floats, v: Floats) -> Floats:
        matrix = effective_conductance(torch.from_numpy(g), word_line_ohm=OHM, bit_line_ohm=OHM)
        currents: Floats = (torch.from_numpy(v) @ matrix).numpy()
        return currents

    return solve


def superlu_currents(
    g: Floats, v: Floats, ohm: float, end_ohm: float = 0.0, dtype: type[np.floating] = np.float64
) -> npt.NDArray[np.floating]:
    """Return currents (inputs, columns) by nodal analysis as one would write it with SciPy.

    The conductance matrix is assembled with NumPy, factorised once by SuperLU (ordered for symmetric matrices, which is
    the fastest of its orders here), and solved for all inputs at once. ``end_ohm`` is that of a driver and of a sense
    amplifier, in series with the segment there.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.linalg import splu

    rows, columns = g.shape
    end = 1 / (ohm + end_ohm)
    word = np.arange(g.size).reshape(g.shape)
    bit = word + g.size
    pairs = [
        (word, bit, g),
        (word[:, :-1], word[:, 1:], np.full((rows, columns - 1), 1 / ohm)),
        (bit[:-1], bit[1:], np.full((rows - 1, columns), 1 / ohm)),
    ]
    a, b, c = (np.concatenate([np.ravel(pair[k]) for pair in pairs]) for k in range(3))
    ends = np.concatenate([word[:, 0], bit[-1]])
    at = np.concatenate([a, b, a, b, ends]), np.concatenate([a, b, b, a, ends])
    values = np.concatenate([c, c, -c, -c, np.full(ends.size, end)]).astype(dtype)
    matrix = coo_array((values, at), shape=(2 * g.size, 2 * g.size)).tocsc()
    factors = splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    driven = np.zeros((2 * g.size, len(v)), dtype=dtype)
    driven[word[:, 0]] = v.T * end
    currents: npt.NDArray[np.floating] = factors.solve(driven)[bit[-1]].T * dtype(end)
    return currents


def superlu_solver(threads: int) -> Solver:
    """Return nodal analysis, solved for each input."""
    return lambda g, v: np.stack([superlu_currents(array, v, OHM) for array in g])


def superlu_units_solver(threads: int) -> Solver:
    """Return nodal analysis, solved for 1 V on each word line in turn, and the product of that matrix with the inputs."""
    return lambda g, v: np.stack([v @ superlu_currents(array, np.eye(array.shape[0]), OHM) for array in g])


def badcrossbar_solver(threads: int) -> Solver:
    """Return badcrossbar, asked for the output currents only."""
    import logging

    import badcrossbar

    logging.disable(logging.CRITICAL)

    def one(g: Floats, v: Floats) -> Floats:
        solved = badcrossbar.compute(v.T, 1 / g, r_i=OHM, node_voltages=False, all_currents=False)
        currents: Floats = solved.currents.output
        return currents

    return lambda g, v: np.stack([one(array, v) for array in g])


def peak_mib() -> float:
    """Return the peak of resident memory so far; getrusage, on Linux, would count the parent's before the start."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**2 if platform.system() == "Darwin" else 1024)


def main() -> None:
    name, out, threads = sys.argv[1], sys.argv[5], sys.argv[6]
    size, inputs, arrays = (int(count) for count in sys.argv[2:5])
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = threads
    makers = {
        "crosstile": crosstile_solver,
        "superlu": superlu_solver,
        "superlu-units": superlu_units_solver,
        "badcrossbar": badcrossbar_solver,
    }
    try:
        solver = makers[name](int(threads))
    except ModuleNotFoundError as missing:
        print(json.dumps({"missing": missing.name}), flush=True)
        return
    solver(*problem(8, 2, 1))  # imports and compiles
    g, v = problem(size, inputs, arrays)
    before = peak_mib()
    print(json.dumps({"ready": name}), flush=True)
    solved: list[Floats] = []
    for line in sys.stdin:
        if line.strip() == "save":
            np.save(out, solved[0], allow_pickle=False)
            return
        start, cpu = time.perf_counter(), time.process_time()
        if line.strip() == "one":
            solver(g, v[:1])
        else:
            solved.clear()  # its memory is not the next solution's
            solved.append(solver(g, v))
        took = {"seconds": time.perf_counter() - start, "cpu_s": time.process_time() - cpu}
        print(json.dumps(took | {"rise_mib": peak_mib() - before}), flush=True)


if __name__ == "__main__":
    main()
