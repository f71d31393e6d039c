"""Methods of ``crosstile search`` at equal evaluations: medians over seeds, feasibility, a small space, layers by themselves.

OMP_NUM_THREADS=1 python benchmarks/search.py --trials 100 --seeds 5 --out search-benchmark.json
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from pathlib import Path

from crosstile.reproduce.codesign import STUDY, last_losses, median, preset
from crosstile.search.knobs import Knob, Point
from crosstile.search.layers import is_of_layer, layer_and_field
from crosstile.search.loop import search
from crosstile.search.methods import make_method
from crosstile.search.problems import ChipProblem
from crosstile.search.study import load_study


def compared(name: str, trials: int, seed: int) -> dict[str, object]:
    """Return one run on the co-design study; ``late`` are proposals after 20 outer trials (20 trials of flat methods)."""
    problem, start = ChipProblem(load_study(STUDY)), time.perf_counter()
    method = make_method(name, problem, seed)
    result = search(problem, method, trials, seed=seed)
    firsts = getattr(method, "first_of_outer", list(range(trials)))
    begin = firsts[20] if len(firsts) > 20 else trials
    late = [outcome.feasible for outcome in result.outcomes[begin:]]
    loss = last_losses([result])[0]
    return {
        "method": name, "seed": seed, "ln_edp": loss if math.isfinite(loss) else None, "feasible": result.feasible_share,
        "outer_trials": len(firsts), "late": late, "seconds": round(time.perf_counter() - start, 1),
        "best": None if result.best is None else result.points[result.best],
    }  # fmt: skip


def small(trials: int, seeds: int) -> dict[str, object]:
    """Return how close nested comes to the exhaustive optimum of EDP over the points of ``edge-pareto``."""
    study = load_study("edge-pareto").model_copy(update={"objectives": ("edp",)})
    problem = ChipProblem(study)
    everything = search(problem, "exhaustive", 100_000)
    optimum = last_losses([everything])[0]
    gaps = [math.exp(last_losses([search(problem, "nested", trials, seed=s)])[0] - optimum) - 1 for s in range(seeds)]
    return {
        "points": problem.space.count,
        "allowed": len(everything.points),
        "trials": trials,
        "excess_over_optimum": gaps,
    }


def uniform(problem: ChipProblem) -> tuple[float, Point]:
    """Return the least loss with all layers alike, every such point tried, and that point."""
    knobs, fields = problem.space.knobs, dict[str, Knob]()
    for name, knob in knobs.items():
        fields.setdefault(layer_and_field(name)[1], knob)
    best: tuple[float, Point] = (math.inf, {})
    for values in itertools.product(*([knob.at(i) for i in range(knob.count or 0)] for knob in fields.values())):
        chosen = dict(zip(fields, values, strict=True))
        point = {name: chosen[layer_and_field(name)[1]] for name in knobs}
        outcome = problem.evaluate(point)
        if outcome.feasible and outcome.losses[0] < best[0]:
            best = outcome.losses[0], point
    return best


def one_layer_changed(problem: ChipProblem, point: Point) -> float:
    """Return the least loss of all points that differ from ``point`` in the fields of a single layer."""
    losses = []
    for layer in dict.fromkeys(layer_and_field(name)[0] for name in problem.space.names if is_of_layer(name)):
        own = {
            name: k
            for name, k in problem.space.knobs.items()
            if is_of_layer(name) and layer_and_field(name)[0] == layer
        }
        for values in itertools.product(*([knob.at(i) for i in range(knob.count or 0)] for knob in own.values())):
            changed = point | dict(zip(own, values, strict=True))
            outcome = problem.evaluate(changed)
            if changed != point and outcome.feasible:
                losses.append(outcome.losses[0])
    return min(losses)


def by_layer(trials: int, seeds: int, methods: list[str]) -> None:
    """Print what arrays and copies of each layer's own bring, against the best that all layers share."""
    problem = ChipProblem(load_study("layers-resnet20"))
    alike, point = uniform(problem)
    print(f"layers-resnet20: all layers alike, best of all points: EDAP {math.exp(alike):.4g} J s m2", flush=True)
    nearest = math.exp(one_layer_changed(problem, point) - alike)
    print(f"best with a single layer changed from there: EDAP {nearest:.6f} of that", flush=True)
    for name in methods:
        losses = last_losses([search(ChipProblem(problem.study), name, trials, seed=seed) for seed in range(seeds)])
        ratios = [math.exp(loss - alike) for loss in sorted(losses)]
        print(f"{name}: EDAP over that: {', '.join(f'{ratio:.3f}' for ratio in ratios)}", flush=True)


def main() -> None:
    """Run all and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=30, help="seeds below 30 served to choose the settings")
    parser.add_argument("--methods", default="nested,relax_and_round,random")
    parser.add_argument("--small-trials", type=int, default=60)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only-layers", action="store_true", help="layers-resnet20 alone, seeds from 0")
    told = parser.parse_args()
    if told.only_layers:
        by_layer(told.trials, told.seeds, told.methods.split(","))
        return
    tuned = preset(load_study(STUDY))
    print(f"preset: ln(EDP) {math.log(tuned.edp_js):.4f}, {tuned.point}", flush=True)
    runs = []
    for seed in range(told.first_seed, told.first_seed + told.seeds):
        for name in told.methods.split(","):
            runs.append(compared(name, told.trials, seed))
            one = runs[-1]
            print({key: value for key, value in one.items() if key not in ("late", "best")}, flush=True)
            if told.out:
                told.out.write_text(json.dumps(runs, indent=1))
    for name in told.methods.split(","):
        mine = [one for one in runs if one["method"] == name]
        losses = [math.inf if one["ln_edp"] is None else float(str(one["ln_edp"])) for one in mine]
        late = [good for one in mine for good in one["late"]]  # type: ignore[attr-defined]
        share = sum(late) / max(1, len(late))
        gain = 1 - math.exp(median(losses)) / tuned.edp_js
        print(f"{name}: median {median(losses):.4f} ({gain:+.1%} of the preset's EDP), best {min(losses):.4f}, "
              f"worst {max(losses):.4f}; "
              f"feasible after 20 outer trials: {share:.1%} of {len(late)}")  # fmt: skip
    print(small(told.small_trials, told.seeds))


if __name__ == "__main__":
    main()
