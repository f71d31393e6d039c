"""10,000 variants of a chip on ResNet-20: all together, and one by one.

    python benchmarks/variants.py [--count 10000] [--rounds 3]

Each round makes the descriptions, estimates them together, and estimates a hundredth of them one by one; medians are printed,
with the work that was done. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time

from crosstile.cost.estimate import estimate
from crosstile.cost.variants import estimate_variants
from crosstile.mapping.plan import plan_layer
from crosstile.specs.chip import ChipSpec
from crosstile.specs.load import load_chip
from crosstile.workloads.table import network


def variant(base: ChipSpec, rng: random.Random) -> ChipSpec:
    """Return a random variant: array, converters, cells, node, clock, read time, hierarchy."""
    chip: ChipSpec = base.replaced(
        array__rows=rng.choice([32, 64, 128, 256]),
        array__columns=rng.choice([64, 128, 256]),
        array__read_time_s=rng.uniform(5e-9, 1e-7),
        adc__bits=rng.choice([5, 6, 7, 8]),
        weights__cell_bits=rng.choice([1, 2, 3]),
        hardware__adcs_per_array=rng.choice([1, 2, 4, 8]),
        hardware__node_m=rng.choice([22e-9, 32e-9, 45e-9]),
        hardware__clock_hz=rng.uniform(2e8, 1.5e9),
        hardware__arrays_per_macro=rng.choice([4, 8, 16]),
    )
    return chip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    shapes, base, rng = network("resnet20").shapes, load_chip("reram-8b"), random.Random(0)
    times: dict[str, list[float]] = {"make": [], "together": [], "one by one": []}
    for _ in range(options.rounds):
        begin = time.perf_counter()
        chips = [variant(base, rng) for _ in range(options.count)]
        times["make"].append(time.perf_counter() - begin)
        begin = time.perf_counter()
        found = estimate_variants(shapes, chips)
        times["together"].append(time.perf_counter() - begin)
        sample = chips[:: max(1, options.count // 100)]
        begin = time.perf_counter()
        for chip in sample:
            estimate([plan_layer(shape, chip) for shape in shapes], chip)
        times["one by one"].append((time.perf_counter() - begin) * options.count / len(sample))
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(f"{options.count} variants of {base.name} on ResNet-20, median of {options.rounds}, one core")
    print(f"descriptions {medians['make']:.2f} s, estimate together {medians['together']:.2f} s, one by one "
          f"{medians['one by one']:.2f} s (from {len(sample)}): {medians['one by one'] / medians['together']:.1f}x")  # fmt: skip
    print(
        f"work: {found.groups} groups, {found.layers_planned} layers planned instead of {options.count * len(shapes)}"
    )
    best = int(found.edp_js.argmin())
    print(f"least EDP {found.edp_js[best]:.3g} J s: {chips[best].array.rows} x {chips[best].array.columns} arrays, "
          f"{chips[best].weights.cell_bits}-bit cells, {chips[best].hardware.adcs_per_array:g} converters an array")  # fmt: skip


if __name__ == "__main__":
    main()
