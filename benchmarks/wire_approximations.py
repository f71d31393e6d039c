"""Error of the usual approximations of wire resistance against the exact answer: the figure of docs/wires-solver.md.

    python benchmarks/wire_approximations.py [--out docs/images/wire-approximations.png]

Cells are independent, 1 to 100 uS, log-uniform (mean 21.5 uS); all word lines are driven, by 16 inputs of 0 to 0.2 V, uniform;
one resistance for every segment of word and bit lines, drivers and sense amplifiers ideal. Two errors of column
currents, over inputs: root mean square over all columns, relative to that of the exact currents; and the worst column's,
relative to its own. The median of three random arrays is drawn.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import matplotlib as mpl
import torch
from torch import Tensor

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from crosstile.circuits.approximations import first_order, ideal, one_sweep, sweeps
from crosstile.circuits.kirchhoff import with_wires
from crosstile.circuits.wires import Wires

SIZES = (16, 32, 64, 128, 256, 512)
OHMS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
COLOURS = {
    "ideal wires": ("#000000", "o"),
    "first order": ("#D55E00", "s"),
    "1 sweep": ("#0072B2", "^"),
    "3 sweeps": ("#009E73", "D"),
}
"""Of Okabe and Ito's palette, with a marker each."""
SEEDS = 3
TOP, BOTTOM = 100.0, 1e-7


def problem(size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return cells (size, size) and inputs (16, size)."""
    generator = torch.Generator().manual_seed(seed)
    g = 1e-6 * 100 ** torch.rand(size, size, dtype=torch.float64, generator=generator)
    return g, 0.2 * torch.rand(16, size, dtype=torch.float64, generator=generator)


def errors(size: int, ohm: float, seed: int) -> dict[str, tuple[float, float]]:
    """Return (rms, worst column) of each approximation."""
    g, v = problem(size, seed)
    wires = Wires(ohm, ohm)
    exact = v @ with_wires(g, wires)
    found = {
        "ideal wires": v @ ideal(g),
        "first order": v @ first_order(g, wires),
        "1 sweep": v @ one_sweep(g, wires),
        "3 sweeps": sweeps(g, v, wires, 3).currents_a,
    }
    by_column = {name: ((currents - exact).norm(dim=0), exact.norm(dim=0)) for name, currents in found.items()}
    return {name: (float(e.norm() / x.norm()), float((e / x).max())) for name, (e, x) in by_column.items()}


def medians(size: int, ohm: float) -> dict[str, tuple[float, float]]:
    """Return the medians of :func:`errors` over seeds."""
    runs = [errors(size, ohm, seed) for seed in range(SEEDS)]
    return {
        name: (statistics.median(r[name][0] for r in runs), statistics.median(r[name][1] for r in runs))
        for name in COLOURS
    }


def draw(axes: Axes, x: tuple[float, ...], values: list[dict[str, tuple[float, float]]]) -> None:
    """Draw both errors of each approximation over x."""
    for name, (colour, marker) in COLOURS.items():
        for kind, style in ((0, "-"), (1, "--")):
            axes.loglog(
                x, [v[name][kind] for v in values], style, color=colour, marker=marker, markersize=5, linewidth=1.6,
                markerfacecolor=colour if kind == 0 else "white", label=name if kind == 0 else None,
            )  # fmt: skip
    axes.set_xticks(x, [f"{n:g}" for n in x])
    axes.minorticks_off()
    axes.set_ylim(BOTTOM, TOP)
    axes.axhspan(1, TOP, color="#f0f0f0", zorder=0)
    axes.grid(visible=True, color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)


def table(values: dict[tuple[int, float], dict[str, tuple[float, float]]]) -> None:
    """Print the figures."""
    print(f"| array | ohm | {' | '.join(f'{name}, rms | worst' for name in COLOURS)} |")
    print("| --- | ---: | " + " | ".join(["---: | ---:"] * len(COLOURS)) + " |")
    for (size, ohm), found in values.items():
        cells = " | ".join(f"{found[name][0]:.2g} | {found[name][1]:.2g}" for name in COLOURS)
        print(f"| {size} x {size} | {ohm:g} | {cells} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs/images/wire-approximations.png")
    options = parser.parse_args()
    points = {(size, 1.0) for size in SIZES} | {(128, ohm) for ohm in OHMS} | {(32, ohm) for ohm in OHMS}
    values = {point: medians(*point) for point in sorted(points)}
    table(values)
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(10.5, 4.1), sharey=True, layout="constrained")
    draw(left, SIZES, [values[size, 1.0] for size in SIZES])
    draw(middle, OHMS, [values[32, ohm] for ohm in OHMS])
    draw(right, OHMS, [values[128, ohm] for ohm in OHMS])
    left.text(16, 1.4, "error above the current itself", fontsize=8, color="#555555")
    left.set(xlabel="rows and columns", ylabel="relative error of column currents", title="1 ohm a segment")
    middle.set(xlabel="ohm a segment", title="32 x 32")
    right.set(xlabel="ohm a segment", title="128 x 128")
    handles, labels = left.get_legend_handles_labels()
    for style, marker, label in (("-", "o", "rms over columns"), ("--", "o", "worst column")):
        handles.append(
            plt.Line2D([], [], color="#666666", linestyle=style, marker=marker, markersize=5,
                       markerfacecolor="#666666" if style == "-" else "white")
        )  # fmt: skip
        labels.append(label)
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.savefig(options.out, dpi=96, metadata={"Software": None}, pil_kwargs={"optimize": True})
    print(f"\n{options.out.name}: {options.out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
