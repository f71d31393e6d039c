"""Methods of ``crosstile search`` at equal evaluations: medians over seeds, feasibility, and the optimum of a small space.

OMP_NUM_THREADS=1 python benchmarks/search.py --trials 100 --seeds 5 --out search-benchmark.json
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

from crosstile.reproduce.codesign import STUDY, last_losses, median, preset
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


def main() -> None:
    """Run all and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=30, help="seeds below 30 served to choose the settings")
    parser.add_argument("--methods", default="nested,relax_and_round,random")
    parser.add_argument("--small-trials", type=int, default=60)
    parser.add_argument("--out", type=Path)
    told = parser.parse_args()
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
