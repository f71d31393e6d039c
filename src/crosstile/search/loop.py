"""The loop: ask, evaluate, tell, keep. Resuming asks again and takes stored outcomes, so that it ends as if never interrupted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from crosstile.errors import UsageError
from crosstile.search.base import Method, Outcome, Problem, best_of
from crosstile.search.knobs import Point
from crosstile.search.methods import make_method
from crosstile.search.pareto import front
from crosstile.search.store import Store


@dataclass(frozen=True)
class SearchResult:
    """All trials of one search, in order."""

    method: str
    seed: int
    objectives: tuple[str, ...]
    points: tuple[Point, ...]
    outcomes: tuple[Outcome, ...]
    exhausted: bool
    """True where the method had nothing left to propose."""
    replayed: int = 0
    """Trials that came from a store."""

    @property
    def best(self) -> int | None:
        """Place of the least first objective, or none where nothing is feasible."""
        return best_of(list(self.outcomes))

    @property
    def front(self) -> list[int]:
        """Places of the trials that no other dominates."""
        places = [i for i, outcome in enumerate(self.outcomes) if outcome.feasible]
        if not places:
            return []
        return [places[i] for i in front([self.outcomes[i].losses for i in places])]

    @property
    def feasible_share(self) -> float:
        """Share of trials that are feasible."""
        return sum(outcome.feasible for outcome in self.outcomes) / max(1, len(self.outcomes))

    def convergence(self) -> list[float | None]:
        """Return the least first loss after each trial; none before the first feasible one."""
        found: list[float | None] = []
        for outcome in self.outcomes:
            last = found[-1] if found else None
            now = outcome.losses[0] if outcome.feasible else None
            found.append(last if now is None else now if last is None else min(last, now))
        return found


def search(
    problem: Problem,
    method: str | Method,
    trials: int,
    *,
    seed: int = 0,
    store: Store | None = None,
    progress: Callable[[int, Point, Outcome], None] | None = None,
) -> SearchResult:
    """Return ``trials`` evaluations (or fewer, where a method has nothing left).

    Args:
        problem: what is searched. method: its name, or one that is ready. trials: evaluations. seed: of the method.
        store: keeps trials, and gives those of an earlier run. progress: told each trial.

    Raises:
        CrosstileError: the method is not known or not installed, constraints leave nothing, or the store does not fit.
    """
    if trials < 1:
        raise UsageError(f"search: trials must be at least 1, found {trials}.")
    chooser = make_method(method, problem, seed) if isinstance(method, str) else method
    earlier = list(store.earlier) if store is not None else []
    exhausted = False
    for number in range(trials):
        point = chooser.ask()
        if point is None:
            exhausted = True
            break
        if number < len(earlier):
            stored, outcome = earlier[number]
            if stored != point:
                raise UsageError(
                    f"search: stored trial {number + 1} is another point than {chooser.name} proposes now; versions of libraries "
                    "may differ. Name another --out."
                )
            remember = getattr(problem, "remember", None)
            if remember is not None:
                remember(outcome)
        else:
            outcome = problem.evaluate(point)
            if store is not None:
                store.add(number, point, outcome)
        chooser.tell(point, outcome)
        if progress is not None:
            progress(number, point, outcome)
    return SearchResult(
        chooser.name, seed, problem.objectives, tuple(chooser.points), tuple(chooser.outcomes), exhausted,
        min(len(earlier), len(chooser.points)),
    )  # fmt: skip
