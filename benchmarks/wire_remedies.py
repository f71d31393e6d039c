"""What wires cost a real network, and what each remedy brings back: a table in Markdown.

    python benchmarks/wire_remedies.py --weights resnet20-12fca82f.th [--images 1000] [--cells as-described]

ResNet-20 on CIFAR-10 (published weights, see the README), chip reram-8b-wires with wires of 1, 2 and 4 times the
resistance. By default cells are ideal, so that the wires stand alone. Every row classifies the same images on chip 0.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np
import torch

import crosstile as ct
from crosstile.crossbar.wired import solver_work
from crosstile.datasets import load_dataset
from crosstile.specs.chip import ChipSpec
from crosstile.study.montecarlo import count_correct
from crosstile.zoo import build_model

REMEDIES = {
    "none": {},
    "rows by current": {"rows": "by_current"},
    "output gain": {"outputs": "gain"},
    "output gain and offset": {"outputs": "gain_offset"},
    "pre-compensated weights, output gain": {"outputs": "gain", "weights": "precompensated"},
    "all three": {"outputs": "gain_offset", "rows": "by_current", "weights": "precompensated"},
}


def _chip(factor: float, remedy: dict[str, str], cells: str) -> ChipSpec:
    chip = ct.load_chip("reram-8b-wires")
    wires = chip.wires
    assert wires is not None
    changes: dict[str, object] = {f"compensation__{key}": value for key, value in remedy.items()}
    ohms = {"word_line": factor * wires.word_line_ohm, "bit_line": factor * wires.bit_line_ohm}
    changes["array__wires"] = ohms if factor else None
    if cells == "ideal":
        changes["cell__effects"] = ()
    changed: ChipSpec = chip.replaced(**changes)
    return changed


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True, help="state dict of ResNet-20")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--cells", choices=["ideal", "as-described"], default="ideal")
    parser.add_argument("--factors", type=float, nargs="+", default=[1.0, 2.0, 4.0])
    options = parser.parse_args()
    model = build_model("resnet20", weights=options.weights).model
    data = load_dataset("cifar10", data_dir=Path(os.environ.get("CROSSTILE_DATA", "../shared/data")), download=False)
    x = torch.from_numpy(data.normalised(data.x[: options.images]))
    y = torch.from_numpy(np.asarray(data.y[: options.images], dtype=np.int64))
    calibration = torch.from_numpy(data.normalised(data.x_calibration[:128]))
    with torch.inference_mode():
        print(f"{len(x)} images, cells {options.cells}; digital {100 * count_correct(model, x, y, 128) / len(x):.1f} %")

    def accuracy(chip: ChipSpec) -> str:
        start, work = time.perf_counter(), solver_work()
        mapped = ct.map(model, chip, calibration=calibration)
        mapping, solved = time.perf_counter() - start, solver_work().since(work)
        right = 100 * count_correct(mapped, x, y, 128) / len(x)
        return f"{right:.1f} % ({mapping:.0f} s, {solved.arrays} solved)"

    ohms = ct.load_chip("reram-8b-wires").wires
    assert ohms is not None
    names = [f"{f * ohms.word_line_ohm:.3g} / {f * ohms.bit_line_ohm:.3g} ohm" for f in options.factors]
    print(f"\nNo wires: {accuracy(_chip(0.0, {}, options.cells))}\n")
    print("| Remedy | " + " | ".join(names) + " |\n|---|" + "---|" * len(names), flush=True)
    for name, remedy in REMEDIES.items():
        found = [accuracy(_chip(factor, remedy, options.cells)) for factor in options.factors]
        print(f"| {name} | " + " | ".join(found) + " |", flush=True)
    print("\nIn brackets: seconds of mapping, and arrays solved in them.")


if __name__ == "__main__":
    main()
