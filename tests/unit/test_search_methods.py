"""Methods on small problems with known optima, the front's volume against Monte Carlo, and what the classifier learns."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from crosstile.errors import SpecError, UsageError
from crosstile.search.base import Outcome
from crosstile.search.knobs import Knob, Point
from crosstile.search.loop import search
from crosstile.search.methods import METHODS, make_method
from crosstile.search.pareto import front, hypervolume
from crosstile.search.space import Space, key_of
from crosstile.search.surrogate import FeasibilityModel, LossModel, expected_improvement


class Bowl:
    """A bowl over 8 x 8 chips and 6 mappings; a corner is known to fail, a band fails when tried."""

    def __init__(self, objectives: Sequence[str] = ("cost",)) -> None:
        self.space = Space(
            {
                "a": Knob(low=0, high=7),
                "b": Knob(low=0, high=7),
                "how": Knob(values=("x", "y")),
                "n": Knob(values=(1, 2, 3)),
            }
        )
        self.hardware: tuple[str, ...] = ("a", "b")
        self.groups: tuple[tuple[str, ...], ...] = ()
        self.objectives = tuple(objectives)
        self.evaluated: list[Point] = []

    def known(self, point: Point) -> str | None:
        return "the corner" if int(point["a"]) + int(point["b"]) > 11 else None  # type: ignore[arg-type]

    def evaluate(self, point: Point) -> Outcome:
        self.evaluated.append(point)
        a, b, n = (float(point[k]) for k in ("a", "b", "n"))  # type: ignore[arg-type]
        if a < 2:
            return Outcome(False, reason="the band", blames_hardware=True)
        loss = (a - 4) ** 2 + (b - 2) ** 2 + (2.0 if point["how"] == "x" else 0.0) + abs(n - 2)
        losses = (loss, (a - 6) ** 2 + (b - 5) ** 2)[: len(self.objectives)]
        return Outcome(True, {"cost": loss}, losses)


OPTIMUM = {"a": 4, "b": 2, "how": "y", "n": 2}


@pytest.mark.parametrize(
    ("name", "trials"),
    [
        ("nested", 40),
        ("relax_and_round", 60),
        ("evolutionary", 200),
        ("tpe", 100),
        ("gp", 25),
        ("exhaustive", 400),
        ("random", 400),
    ],
)
def test_methods_find_the_optimum_and_never_propose_what_is_known_to_fail(name: str, trials: int) -> None:
    if name in ("evolutionary", "tpe", "gp"):
        pytest.importorskip("optuna")
    problem = Bowl()
    result = search(problem, name, trials, seed=1)
    keys = [key_of(point) for point in result.points]
    assert len(set(keys)) == len(keys)
    assert all(problem.known(point) is None for point in result.points)
    assert result.best is not None
    # 348 of the 384 points are allowed; large steps of evolution may end beside the optimum.
    assert result.outcomes[result.best].losses[0] <= (1.0 if name in ("evolutionary", "tpe", "gp") else 0.0)
    if name in ("exhaustive", "random"):
        assert result.exhausted
        assert len(keys) == 348
        assert result.points[result.best] == OPTIMUM


def test_nested_learns_the_band_and_random_does_not() -> None:
    def late_share(name: str) -> float:
        result = search(Bowl(), name, 45, seed=3)
        return float(np.mean([outcome.feasible for outcome in result.outcomes[30:]]))

    assert late_share("nested") >= 0.9
    assert late_share("random") < 0.9


def test_near_misses_alone_tell_where_a_limit_holds() -> None:
    x = np.linspace(0.45, 1.0, 8)[:, None]
    failed = np.zeros(8, dtype=bool)
    model = FeasibilityModel(0)
    model.fit(x, failed, [{"area": float(v) - 0.4} for v in x[:, 0]])  # the limit is at 0.4, where nothing was tried
    found = model.probability(np.array([[0.3], [0.55], [0.9]]))
    assert found[0] > 0.9
    assert found[1] < 0.1
    assert found[2] < 0.01
    labels = FeasibilityModel(0)
    labels.fit(x, failed)
    assert np.ptp(labels.probability(np.array([[0.3], [0.9]]))) == 0.0  # without slacks nothing is known


def test_failures_that_no_slack_explains_are_learnt_from_labels() -> None:
    x = np.linspace(0.0, 1.0, 20)[:, None]
    fails = x[:, 0] > 0.7
    model = FeasibilityModel(0)
    model.fit(x, ~fails, [{"area": float(v) - 2.0} for v in x[:, 0]])  # the area always holds
    low, high = model.probability(np.array([[0.2], [0.95]]))
    assert low > 0.75
    assert high < 0.35


def test_knobs_of_the_same_meaning_are_moved_together() -> None:
    class Row(Bowl):
        """Six layers that want the same value, more of them than single steps would find in 40 trials."""

        def __init__(self, together: bool) -> None:
            super().__init__()
            names = tuple(f"l{i}/a" for i in range(6))
            self.space = Space({**{name: Knob(low=0, high=7) for name in names}, "how": Knob(values=("x", "y"))})
            self.hardware, self.groups = names, ((names,) if together else ())

        def known(self, point: Point) -> str | None:
            return None

        def evaluate(self, point: Point) -> Outcome:
            away = [float(point[name]) - 5.0 for name in self.hardware]  # type: ignore[arg-type]
            loss = math.fsum(step**2 for step in away) + (1.0 if point["how"] == "x" else 0.0)
            return Outcome(True, {"cost": loss}, (loss,))

    def best(together: bool, seed: int) -> float:
        found = search(Row(together), "nested", 40, seed=seed)
        return min(outcome.losses[0] for outcome in found.outcomes)

    together = best(True, 0)
    assert together <= 1.0  # a point beside the optimum, or itself
    assert together < best(False, 0)


def test_nested_counts_its_chips_and_keeps_to_the_inner_limit() -> None:
    problem = Bowl()
    method = METHODS["nested"](problem, 0)
    result = search(problem, method, 35)
    firsts = method.first_of_outer  # type: ignore[attr-defined]
    assert method.outer_trials == len(firsts)  # type: ignore[attr-defined]
    for begin, end in zip(firsts, [*firsts[1:], 35], strict=True):
        chips = {(result.points[i]["a"], result.points[i]["b"]) for i in range(begin, end)}
        assert len(chips) == 1
        assert end - begin <= 3


@pytest.mark.parametrize("name", ["nested", "relax_and_round", "evolutionary"])
def test_several_objectives_give_a_front(name: str) -> None:
    if name == "evolutionary":
        pytest.importorskip("optuna")
    everything = search(Bowl(("cost", "other")), "exhaustive", 400)
    reference = [40.0, 40.0]
    most = hypervolume([everything.outcomes[i].losses for i in everything.front], reference)
    found = search(Bowl(("cost", "other")), name, 60, seed=0)
    volume = hypervolume([found.outcomes[i].losses for i in found.front], reference)
    assert 0.9 * most <= volume <= most * (1 + 1e-12)  # a sixth of the points gives nine tenths of the volume


def test_the_same_seed_gives_the_same_trials() -> None:
    for name in ("nested", "random", "relax_and_round"):
        one, two, other = (search(Bowl(), name, 18, seed=s).points for s in (5, 5, 6))
        assert one == two
        assert one != other


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
def test_hypervolume_against_monte_carlo(objectives: int) -> None:
    rng = np.random.default_rng(objectives)
    points = rng.random((12, objectives))
    draws = 200_000
    drawn = rng.random((draws, objectives))
    inside = np.zeros(draws, dtype=bool)
    for point in points:
        inside |= (drawn >= point).all(axis=1)
    share = float(inside.mean())
    # Five standard deviations of a share of 200,000 draws.
    assert hypervolume(points, [1.0] * objectives) == pytest.approx(share, abs=5 * math.sqrt(0.25 / draws))


def test_hypervolume_by_hand() -> None:
    assert hypervolume([[1, 3], [2, 2], [3, 1]], [4, 4]) == 6.0
    assert hypervolume([[1, 3], [2, 2], [3, 1], [3, 3], [5, 0]], [4, 4]) == 6.0  # dominated, or beyond the reference
    assert hypervolume([[0, 0, 0]], [1, 2, 3]) == 6.0
    assert hypervolume([], [1.0, 1.0]) == 0.0
    assert front([[1, 3], [2, 2], [2, 2], [2, 3]]) == [0, 1]
    with pytest.raises(UsageError, match="1 to 4 objectives"):
        hypervolume([[1] * 5], [2] * 5)


def test_the_classifier_learns_a_half_plane() -> None:
    rng = np.random.default_rng(0)
    x, probe = rng.random((80, 3)), rng.random((500, 3))
    model = FeasibilityModel(0)
    model.fit(x, x[:, 0] + x[:, 1] < 0.8)
    right = (model.probability(probe) > 0.5) == (probe[:, 0] + probe[:, 1] < 0.8)
    assert right.mean() > 0.93  # 80 labels leave a thin strip at the border
    model.fit(x, np.ones(80, dtype=bool))
    assert model.probability(probe).tolist() == [1.0] * 500


def test_the_loss_model_interpolates_and_expects_improvement_where_the_bowl_falls() -> None:
    rng = np.random.default_rng(0)
    x = rng.random((60, 2))
    y = 100.0 + ((x - 0.3) ** 2).sum(axis=1)
    model = LossModel(0)
    model.fit(x, y)
    mean, _ = model.predict(np.array([[0.3, 0.3], [0.5, 0.4], [0.95, 0.95]]))
    assert mean[:2] == pytest.approx([100.0, 100.05], abs=0.01)  # of a spread of 0.8
    assert mean[1] + 0.1 < mean[2] < 100.84  # bad losses are cut, and stay bad
    assert expected_improvement(np.array([1.0]), np.array([1e-9]), 3.0)[0] == pytest.approx(2.0)
    # At the best itself EI is s / sqrt(2 pi).
    assert expected_improvement(np.array([0.0]), np.array([2.0]), 0.0)[0] == pytest.approx(2 / math.sqrt(2 * math.pi))


def test_what_leaves_nothing_says_so() -> None:
    class Closed(Bowl):
        def known(self, point: Point) -> str | None:
            return "all is closed."

    with pytest.raises(SpecError, match="all is closed"):
        search(Closed(), "random", 5)
    with pytest.raises(UsageError, match="did you mean 'nested'"):
        make_method("nestedd", Bowl())
    with pytest.raises(UsageError, match="at least 1"):
        search(Bowl(), "random", 0)
