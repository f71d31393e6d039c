"""Hardware and mapping found together, against a chip that was tuned by hand: ours beside learned co-design.

    gain = 1 - EDP(found) / EDP(preset with its best mapping)

The preset is ISAAC with 168 tiles; its mapping is the best of all that the study opens, so that the gain is that of the hardware.
The found chip may be as large as the preset's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crosstile.errors import SpecError
from crosstile.reproduce.published import Finding, PublishedStudy, findings_document
from crosstile.search.base import Outcome
from crosstile.search.knobs import Knob, Point
from crosstile.search.loop import SearchResult, search
from crosstile.search.problems import ChipProblem
from crosstile.search.study import StudySpec, load_study

if TYPE_CHECKING:
    from rich.table import Table

STUDY, METHODS, TILES = "codesign-resnet18", ("nested", "relax_and_round", "random"), 168


@dataclass(frozen=True)
class Preset:
    """The chip that was tuned by hand, with its best mapping."""

    point: Point
    outcome: Outcome

    @property
    def edp_js(self) -> float:
        """Energy times latency of one sample."""
        return self.outcome.metrics["edp_js"]


def preset(study: StudySpec) -> Preset:
    """Return the study's chip as it is described, with 168 tiles and the best mapping that the study opens."""
    limits = study.limits.replaced(area_max_m2=None)
    fixed = study.model_copy(update={"hardware": {"hardware.tiles": Knob(values=(TILES,))}, "limits": limits})
    found = search(ChipProblem(fixed), "exhaustive", 100_000)
    if found.best is None:
        raise SpecError(f"the preset of {study.name} is infeasible: {found.outcomes[0].reason}")
    return Preset(found.points[found.best], found.outcomes[found.best])


def median(values: Sequence[float]) -> float:
    """Return the middle value, or the mean of the two in the middle; infinities are those of runs that found nothing."""
    ordered, middle = sorted(values), len(values) // 2
    return ordered[middle] if len(ordered) % 2 else 0.5 * (ordered[middle - 1] + ordered[middle])


def last_losses(results: Sequence[SearchResult]) -> list[float]:
    """Return ln(EDP) of the best of each run."""
    return [math.inf if one.best is None else one.outcomes[one.best].losses[0] for one in results]


def runs(
    trials: int, seeds: int, methods: Sequence[str] = METHODS, tell: Callable[[str], None] | None = None
) -> dict[str, list[SearchResult]]:
    """Return ``seeds`` runs of each method with as many evaluations."""
    study = load_study(STUDY)
    found: dict[str, list[SearchResult]] = {}
    for name in methods:
        found[name] = []
        for seed in range(seeds):
            if tell is not None:
                tell(f"{name}, seed {seed}")
            found[name].append(search(ChipProblem(study), name, trials, seed=seed))
    return found


def findings(study: PublishedStudy, found: dict[str, list[SearchResult]], tuned: Preset) -> list[Finding]:
    """Return what the publication claims beside ours."""
    losses = last_losses(found["nested"])
    best, middle = min(losses), median(losses)
    best_edp_js, gain, usual = math.exp(best), *(1 - math.exp(loss) / tuned.edp_js for loss in (best, middle))
    text = (
        f"{_less(gain)} than ISAAC with {TILES} tiles and its best mapping (best of {len(losses)} runs; median {_less(usual)}); "
        f"{best_edp_js:.4g} against {tuned.edp_js:.4g} J s"
    )
    ours = [
        Finding(
            f"{claim.text} ({claim.source})", text, None, "another kind of accelerator, network or simulator: no target"
        )
        for name, claim in study.claims.items()
        if name.startswith("edp_")
    ]
    shares = {name: late_share(results) for name, results in found.items()}
    told = ", ".join(f"{name.replace('_', ' ')} {share:.1%}" for name, share in shares.items())
    ours.append(
        Finding(
            f"{study.claims['feasible'].text} ({study.claims['feasible'].source})",
            f"feasible in the second half of the trials: {told}",
            shares["nested"] > shares.get("random", 0.0),
        )
    )  # fmt: skip
    return ours


def _less(gain: float) -> str:
    if math.isinf(gain):
        return "nothing feasible rather"
    return f"{abs(gain):.1%} {'lower' if gain >= 0 else 'HIGHER'} EDP"


def late_share(results: Sequence[SearchResult]) -> float:
    """Return the share of feasible trials in the second half of all runs."""
    late = [outcome.feasible for one in results for outcome in one.outcomes[len(one.outcomes) // 2 :]]
    return sum(late) / max(1, len(late))


def run_table(found: dict[str, list[SearchResult]], tuned: Preset) -> Table:
    """Return methods side by side: ln(EDP) over seeds, and trials that are feasible; 80 columns."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    trials = max(len(one.points) for results in found.values() for one in results)
    title = f"ln(EDP in J s) after {trials} evaluations; ISAAC {math.log(tuned.edp_js):.3f}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for name in ("method", "median", "best", "worst", "feasible", "late"):
        table.add_column(name, justify="left" if name == "method" else "right", no_wrap=True)
    for name, results in found.items():
        losses = last_losses(results)
        share = sum(one.feasible_share for one in results) / len(results)
        row = [f"{value:.3f}" for value in (median(losses), min(losses), max(losses))]
        table.add_row(name.replace("_", " "), *row, f"{share:.1%}", f"{late_share(results):.1%}")
    return table


def document(
    study: PublishedStudy, found: dict[str, list[SearchResult]], tuned: Preset, command: str
) -> dict[str, Any]:
    """Return claims, findings and all runs, ready for JSON."""
    data = findings_document(study, command, findings(study, found, tuned))
    data["preset"] = {"mapping": tuned.point, "metrics": tuned.outcome.metrics}
    data["runs"] = [
        {
            "method": name, "seed": one.seed, "evaluations": len(one.points), "feasible_share": one.feasible_share,
            "convergence": one.convergence(), "best": None if one.best is None else one.points[one.best],
        }
        for name, results in found.items()
        for one in results
    ]  # fmt: skip
    return data
