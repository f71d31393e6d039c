"""Methods by name."""

from __future__ import annotations

from crosstile.errors import UsageError
from crosstile.search.base import Method, Problem
from crosstile.search.exhaustive import Exhaustive
from crosstile.search.nested import Nested
from crosstile.search.optuna_methods import Evolutionary, GaussianProcess, ParzenEstimators
from crosstile.search.random_search import RandomSearch
from crosstile.search.relax_and_round import RelaxAndRound
from crosstile.specs.base import near_match

METHODS: dict[str, type[Method]] = {
    one.name: one
    for one in (Nested, RandomSearch, RelaxAndRound, Evolutionary, ParzenEstimators, GaussianProcess, Exhaustive)
}


def make_method(name: str, problem: Problem, seed: int = 0) -> Method:
    """Return a method for a problem.

    Raises:
        UsageError: there is no such method, or what it needs is not installed.
    """
    if name not in METHODS:
        raise UsageError(
            f"search: no method is called {name!r}{near_match(name, METHODS)}; allowed are {', '.join(METHODS)}."
        )
    return METHODS[name](problem, seed)
