"""Speed of the simulation, side by side with plain PyTorch and with bare matrix products, in one run.

    python benchmarks/run.py [--rounds 7] [--batch 128] [--weights FILE] [--out benchmarks/results.json]

Each round runs every contender once, in turn, on 2 threads; ratios are taken within a round and the median
over rounds is printed, so that a machine whose speed drifts does not favour one of them. Work is counted
beside the time. No test depends on these figures.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

import crosstile as ct
from crosstile.mapping.plan import input_planes
from crosstile.nn.layer import MappedLayer
from crosstile.zoo import build_model


def bare_products(mapped: ct.MappedNetwork, batch: int) -> tuple[Callable[[], None], int]:
    """Return the unavoidable matrix products of a bit-serial chip as bare float32 matmuls, and their multiply-adds.

    One product a segment: (vectors x planes x phases, rows) times (rows, slices x outputs); the operands are made
    beforehand, at most 8,192 vectors at a time, as in cache-friendly hand-written code.
    """
    jobs, macs = [], 0
    for layer in mapped.layers.values():
        planes, phases = input_planes(layer.chip, layer.scale.signed)
        vectors = layer.shape.positions * batch * planes * phases
        for pack in layer.packs:
            for segment in pack.segments:
                rows, columns = segment.levels.shape
                full, rest = divmod(vectors, 65536)
                matrix = torch.randn(rows, columns)
                jobs.append((torch.randint(0, 2, (min(vectors, 65536), rows)).float(), matrix, full, rest))
                macs += vectors * rows * columns

    def run() -> None:
        for inputs, matrix, full, rest in jobs:
            for _ in range(full):
                inputs @ matrix
            if rest:
                inputs[:rest] @ matrix

    return run, macs


def conversions(mapped: ct.MappedNetwork, batch: int) -> int:
    """Return how many times a converter runs for a batch."""
    return batch * sum(layer.plan.activity.adc_conversions for layer in mapped.layers.values())


def set_mode(mapped: ct.MappedNetwork, mode: str) -> ct.MappedNetwork:
    """Force a way of computing (all give the same answer)."""
    for layer in mapped.layers.values():
        assert isinstance(layer, MappedLayer)
        layer.mode = mode  # type: ignore[assignment]
    mapped.program(0)
    return mapped


def time_all(contenders: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Run the contenders in turn; return seconds by contender and round, after one warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, contender in contenders.items():
            start = time.perf_counter()
            contender()
            if number:
                seconds[name].append(time.perf_counter() - start)
        print(f"round {number} of {rounds}", file=sys.stderr)
    return seconds


MEMORY = """
import sys, torch, crosstile as ct
from pathlib import Path
from crosstile.zoo import build_model
model, batch = build_model(sys.argv[1], allow_untrained=True).model, int(sys.argv[2])
torch.set_num_threads(2)
network = model if sys.argv[3] == "plain" else ct.map(model, ct.load_chip(sys.argv[3]), torch.randn(32, 3, 32, 32))
network(torch.randn(2, 3, 32, 32))
def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024
before = peak()
with torch.inference_mode():
    for _ in range(512 // batch): network(torch.randn(batch, 3, 32, 32))
print(before, peak())
"""


def peak_memory(model: str, batch: int, chip: str) -> tuple[int, int]:
    """Return peak resident memory in MiB after mapping and after 512 images, in a process of its own (Linux)."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, model, str(batch), chip], capture_output=True, text=True, check=True
    )
    before, after = done.stdout.split()
    return int(before), int(after)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--weights", type=Path, help="trained ResNet-20 weights; speed does not depend on them")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    plain = build_model("resnet20", weights=options.weights, allow_untrained=True).model
    x = torch.randn(options.batch, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    chips = ("ideal", "analog-8b", "analog-8b-wires", "reram-8b", "reram-8b-wires", "isaac")
    mapped = {name: ct.map(plain, ct.load_chip(name), x) for name in chips}
    planes = set_mode(ct.map(plain, ct.load_chip("reram-8b"), x), "planes")
    noisy_effects = (*ct.load_chip("reram-8b").cell.effects, {"kind": "read_noise", "sigma": {"proportional": 0.02}})
    noisy = ct.map(plain, ct.load_chip("reram-8b").replaced(cell__effects=noisy_effects), x)
    bare, macs = bare_products(mapped["reram-8b"], options.batch)
    contenders: dict[str, Callable[[], object]] = {"plain float32": lambda: plain(x)}
    contenders |= {name: (lambda net=net: net(x)) for name, net in mapped.items()}
    contenders |= {
        "reram-8b + read noise": lambda: noisy(x),
        "reram-8b, unfused planes": lambda: planes(x),
        "reram-8b, bare matmul": bare,
    }
    with torch.inference_mode():
        seconds = time_all(contenders, options.rounds)
    median = {name: statistics.median(values) for name, values in seconds.items()}

    def ratio(a: str, b: str) -> float:
        return statistics.median(p / q for p, q in zip(seconds[a], seconds[b], strict=True))

    print(
        f"\nResNet-20, batch {options.batch}, {options.threads} threads, torch {torch.__version__}, {platform.machine()}\n"
    )
    print("| contender | images/s | speed against plain | conversions per image |\n| --- | ---: | ---: | ---: |")
    for name in contenders:
        net = {**mapped, "reram-8b + read noise": noisy, "reram-8b, unfused planes": planes}.get(name)
        done = f"{conversions(net, 1):,}" if net is not None else "-"
        print(f"| {name} | {options.batch / median[name]:.1f} | {ratio('plain float32', name):.3f} | {done} |")
    against = {
        name: ratio(name, "reram-8b, bare matmul")
        for name in ("reram-8b", "reram-8b + read noise", "reram-8b, unfused planes")
    }
    print(
        f"\nThe bare products of reram-8b are {macs / options.batch / 1e9:.2f} G multiply-adds an image. Time against them:\n"
    )
    for name, value in against.items():
        print(f"- {name}: {value:.2f}x")
    print("\nWith resistive wires, after their one-time solution:\n")
    wires = {name: ratio(name, f"{name}-wires") for name in ("analog-8b", "reram-8b")}
    for name, value in wires.items():
        print(f"- {name}-wires: {value:.3f}x the speed of {name}")
    memory = {}
    print(
        "\n| network | chip | batch | MiB before | MiB at the peak of 512 images | rise |\n"
        "| --- | --- | ---: | ---: | ---: | ---: |"
    )
    for model in ("resnet20", "resnet56"):
        for batch in (32, 128, 512):
            for chip in ("plain", "analog-8b", "reram-8b"):
                before, peak = memory[f"{model}/{batch}/{chip}"] = peak_memory(model, batch, chip)
                print(f"| {model} | {chip} | {batch} | {before} | {peak} | {peak - before} |")
    if options.out:
        record = {
            "seconds": seconds,
            "against_bare": against,
            "wires_against_none": wires,
            "memory_mib": memory,
            "macs_per_image": macs / options.batch,
        }
        options.out.write_text(json.dumps(record, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
