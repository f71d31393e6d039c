"""NAX: tables, effects, sampling, the supernet, the search, what comes out of it."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from crosstile.cli import app
from crosstile.cost.estimate import estimate
from crosstile.errors import CrosstileError, ModelError, UsageError
from crosstile.mapping.capture import capture
from crosstile.mapping.plan import plan_layer
from crosstile.nax.choices import random_architecture
from crosstile.nax.derive import measure, train_architecture
from crosstile.nax.nonideal import Effect, Effects, fit_effects
from crosstile.nax.options import SearchOptions
from crosstile.nax.sampling import gumbel, two_path
from crosstile.nax.search import Search
from crosstile.nax.space import Architecture, NaxSpace, save_architecture, saved_network
from crosstile.nax.study import nax_data, run_nax
from crosstile.nax.supernet import SuperNet
from crosstile.nax.tables import CostTables
from crosstile.nax.toy import every_architecture, recover
from crosstile.specs.load import load_chip

_IMAGE = (1, 8)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Small products gain nothing from threads, and lose a lot beside other tests."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _space(**more: object) -> NaxSpace:
    given: dict[str, object] = {"kernels": (3, 5), "arrays": (32, 64), "width": 4, "image": _IMAGE}
    return NaxSpace(load_chip("reram-8b-wires"), **(given | more))  # type: ignore[arg-type]


def _plain(**more: object) -> NaxSpace:
    return _space(family="plain", blocks=3, linear_arrays=(64,), **more)


def _effects(space: NaxSpace, seed: int = 0) -> Effects:
    """Made up, so that tests need not wait for the fit."""
    rng = np.random.default_rng(seed)

    def one() -> Effect:
        loss, spread, noise = rng.uniform(0, 0.2), rng.uniform(0.01, 0.05), rng.uniform(0.01, 0.1)
        return Effect(float(loss), float(spread), float(noise), 20.0, 20.0)

    return Effects(tuple(tuple(tuple(one() for _ in slot.arrays) for _ in slot.kernels) for slot in space.slots))


def _samples(count: int = 64, seed: int = 0) -> tuple[Tensor, Tensor]:
    made = torch.Generator().manual_seed(seed)
    y = torch.randint(10, (count,), generator=made)
    x = torch.randn((count, *(_IMAGE[0], _IMAGE[1], _IMAGE[1])), generator=made) + 0.1 * y.reshape(-1, 1, 1, 1)
    return x, y


# ------------------------------------------------------------------ space


def test_shapes_are_those_that_mapping_sees() -> None:
    """Oracle: the derived network, captured on inputs."""
    space = _space(blocks=2, skips=True)
    rng = np.random.default_rng(1)
    for _ in range(4):
        architecture = random_architecture(space, rng)
        network = space.build(architecture, seed=0).eval()
        seen = capture(network, torch.randn(2, 1, 8, 8))
        assert [call.shape() for call in seen.layers.values()] == space.shapes(architecture)


def test_resized_arrays_keep_word_lines_and_the_converter_follows() -> None:
    space = _space(arrays=(32, 64, 256))
    chip = space.chip_for(Architecture({s.name: 3 for s in space.slots}, {s.name: 32 for s in space.slots}))
    small = chip.for_layer("conv1")
    assert (small.array.rows, small.array.columns, small.adc.bits) == (32, 32, 6)
    assert small.hardware.arrays_per_macro * 32 == space.chip.hardware.arrays_per_macro * space.chip.array.rows
    assert space.resized(256)["adc"] == {"bits": 9}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"kernels": (4,)}, "odd"), ({"kernels": (5, 3)}, "smaller first"), ({"arrays": (4,)}, "from 8"),
        ({"width": 3}, "even"), ({"blocks": 0}, "--blocks"), ({"kernels": (3, 17)}, "too large"),
    ],
)  # fmt: skip
def test_spaces_without_meaning_are_refused(given: dict[str, object], told: str) -> None:
    with pytest.raises(CrosstileError, match=told):
        _space(**given).check()


def test_an_array_that_holds_no_weight_is_refused() -> None:
    chip = load_chip("reram-8b").replaced(weights__cell_bits=1)
    with pytest.raises(CrosstileError, match=r"arrays of 8 x 8: .*takes 14 columns"):
        NaxSpace(chip, arrays=(8, 64)).check()


def test_a_saved_architecture_is_built_again(tmp_path: Path) -> None:
    space = _space(blocks=2, skips=True)
    architecture = random_architecture(space, np.random.default_rng(5))
    path = tmp_path / "architecture.json"
    path.write_text(save_architecture(space, architecture))
    wanted = {n: v.shape for n, v in space.build(architecture, seed=0).state_dict().items()}
    assert {n: v.shape for n, v in saved_network(path).state_dict().items()} == wanted
    path.write_text("{}")
    with pytest.raises(ModelError, match="crosstile nax wrote"):
        saved_network(path)


# ------------------------------------------------------------------ tables


@pytest.mark.parametrize("pipeline", ["layer_serial", "pipelined"])
def test_tables_are_the_estimate_where_choices_are_made(pipeline: str) -> None:
    """Oracle: the cost model on the derived network and chip; the sums differ in order alone."""
    chip = load_chip("isaac").replaced(hardware__pipeline=pipeline)
    skips = pipeline == "layer_serial"
    space = NaxSpace(chip, (3, 5, 7), (64, 128), width=8, blocks=2, image=(3, 16), skips=skips)
    tables, rng = CostTables(space), np.random.default_rng(2)
    for _ in range(6):
        architecture = random_architecture(space, rng)
        own = space.chip_for(architecture)
        wanted = estimate([plan_layer(shape, own) for shape in space.shapes(architecture)], own)
        found = tables.totals(*space.one_hot(architecture), whole=True)
        delay_s = wanted.latency_s if skips else wanted.latency_pipelined_s
        for one, two in (
            (found.energy_j, wanted.energy_j), (found.delay_s, delay_s), (found.area_m2, wanted.area_m2),
            (found.edap, wanted.edap_jsm2), (found.arrays, wanted.arrays_used),
        ):  # fmt: skip
            assert float(one) == pytest.approx(two, rel=1e-12)


def test_parts_of_tiles_cost_at_most_whole_ones_and_agree_for_many() -> None:
    space = _space(width=64, image=(3, 32))
    tables = CostTables(space)
    choice = space.one_hot(space.uniform(5, 32))
    whole, parts = (float(tables.totals(*choice, whole=w).area_m2) for w in (True, False))
    assert parts <= whole <= parts * 1.1


@pytest.mark.parametrize("pipeline", ["layer_serial", "pipelined"])
def test_gradients_of_tables_are_finite_differences(pipeline: str) -> None:
    """Central differences of ln EDAP, double precision, step 1e-6: agreement to 1e-6."""
    space = _space(skips=pipeline == "layer_serial", blocks=2)
    space = NaxSpace(
        space.chip.replaced(hardware__pipeline=pipeline), space.kernels, space.arrays, width=4, blocks=2, image=_IMAGE,
        skips=space.skips,
    )  # fmt: skip
    tables, made = CostTables(space), torch.Generator().manual_seed(3)
    logits = [torch.randn(len(s.kernels), len(s.arrays), generator=made, dtype=torch.float64) for s in space.slots]
    gates = {name: torch.tensor(0.7, dtype=torch.float64) for name in space.blocks_to_skip}

    def value(given: list[Tensor]) -> Tensor:
        return torch.log(tables.totals([g.flatten().softmax(0).reshape(g.shape) for g in given], gates).edap)

    wanted = [g.clone().requires_grad_() for g in logits]
    value(wanted).backward()  # type: ignore[no-untyped-call]
    for place in ((0, 0, 0), (2, 1, 1), (5, 0, 1), (len(logits) - 1, 0, 0)):
        layer, k, x = place
        ends = []
        for step in (1e-6, -1e-6):
            moved = [g.clone() for g in logits]
            moved[layer][k, x] += step
            ends.append(float(value(moved)))
        gradient = wanted[layer].grad
        assert gradient is not None
        assert float(gradient[k, x]) == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-6, abs=1e-9)


# ------------------------------------------------------------------ sampling


def test_gumbel_draws_with_the_probabilities_of_its_logits() -> None:
    """4,000 draws: each share within five standard errors."""
    logits, draws = torch.tensor([[0.0, 1.0], [-1.0, 0.5]]), torch.Generator().manual_seed(4)
    total = sum(gumbel(logits, 0.5, draws, hard=True) for _ in range(4000)) / 4000
    wanted = logits.flatten().softmax(0).reshape(logits.shape)
    assert bool(((torch.as_tensor(total) - wanted).abs() < 5 * (wanted * (1 - wanted) / 4000).sqrt()).all())


def test_two_path_draws_one_and_its_gradient_is_that_of_two() -> None:
    logits = torch.tensor([[0.3, -0.2], [0.1, 0.0]], requires_grad=True)
    values = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    draws = torch.Generator().manual_seed(5)
    for _ in range(20):
        drawn = two_path(logits, draws)
        assert sorted(drawn.flatten().tolist()) == [0.0, 0.0, 0.0, 1.0]
        (gradient,) = torch.autograd.grad((drawn * values).sum(), logits)
        flat = gradient.flatten()
        touched = flat.nonzero().flatten().tolist()
        assert len(touched) == 2
        assert float(flat.sum()) == pytest.approx(0.0, abs=1e-6)
        one, two = touched
        shares = logits.detach().flatten()[touched].softmax(0)
        slope = shares[0] * shares[1] * (values.flatten()[one] - values.flatten()[two])
        assert float(flat[one]) == pytest.approx(float(slope), rel=1e-5)


# ------------------------------------------------------------------ effects


def test_effects_grow_with_arrays_that_lose_in_their_wires() -> None:
    """Physics: longer wires lose more; the fit tells signal to error on other weights within 3 dB."""
    space = NaxSpace(load_chip("reram-8b-wires"), (3,), (32, 128), width=16, family="plain", blocks=2, image=(16, 8))
    effects = fit_effects(space)
    small, large = effects.slots[0][0]
    assert large.loss > small.loss + 0.05
    assert large.snr_db < small.snr_db - 2
    assert max(map(abs, effects.misses_db)) < 3
    ideal = NaxSpace(
        load_chip("ideal"), (3,), (32,), width=16, family="plain", blocks=1, image=(16, 8), linear_arrays=(32,)
    )
    quiet = fit_effects(ideal).slots[0][0][0]
    assert abs(quiet.loss) < 0.01
    assert (quiet.spread, quiet.noise) < (0.01, 0.02)
    assert quiet.snr_db > 30


# ------------------------------------------------------------------ supernet


def test_a_one_hot_supernet_is_the_derived_network() -> None:
    """Without errors, in evaluation mode: equal to single precision (the kernels are the same numbers)."""
    space = _space(blocks=2, skips=True)
    net = SuperNet(space, _effects(space).without(), seed=1).eval()
    x, rng = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(6)), np.random.default_rng(7)
    for _ in range(4):
        architecture = random_architecture(space, rng)
        with torch.no_grad():
            found, wanted = net(x, *space.one_hot(architecture)), net.plain(architecture)(x)
        assert torch.allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_a_mixture_is_the_mixture_of_outputs() -> None:
    """One layer, linear in its kernel: the mixed kernel gives the mixed outputs, losses included."""
    space = _plain()
    effects = _effects(space)
    still = Effects(
        tuple(tuple(tuple(Effect(e.loss, 0.0, 0.0, 0.0, 0.0) for e in row) for row in rows) for rows in effects.slots)
    )
    layer = SuperNet(space, still, seed=2).choices["conv2"]
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(8))
    choice = torch.tensor([[0.1, 0.2], [0.3, 0.4]])
    layer.choice = choice
    mixed, total = layer(x), torch.zeros(())
    for k, a in itertools.product(range(2), range(2)):
        layer.choice = torch.zeros(2, 2)
        layer.choice[k, a] = 1.0
        total = total + choice[k, a] * layer(x)
    assert torch.allclose(mixed, total, rtol=1e-4, atol=1e-5)


def test_errors_of_the_supernet_have_the_size_of_the_effects() -> None:
    """400 draws of one layer: the mean is the loss, the variance that of weights and noise, within 10 %."""
    space = _plain()
    layer = SuperNet(space, _effects(space), seed=3).choices["conv2"]
    x = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(9))
    layer.choice = torch.zeros(2, 2)
    layer.choice[0, 1] = 1.0
    loss, spread, noise = (float(layer.get_buffer(n)[0, 1]) for n in ("loss", "spread", "noise"))
    weight = layer.crop(3).detach()
    with torch.no_grad():
        layer.generator = torch.Generator().manual_seed(10)
        drawn = torch.stack([layer(x) for _ in range(400)])
    ideal = torch.nn.functional.conv2d(x, weight, padding=1)
    error = drawn - (1 - loss) * ideal
    reach = weight.flatten(1).abs().amax(1).reshape(-1, 1, 1, 1).square() * torch.ones_like(weight)
    driven = torch.nn.functional.conv2d(x.square(), reach, padding=1)
    # The noise follows the root mean square of each drawn output, which the spread of weights raises a little.
    power = float(((1 - loss) * ideal).square().mean()) + spread**2 * float(driven.mean())
    wanted = spread**2 * float(driven.mean()) + noise**2 * power
    assert float(error.square().mean()) == pytest.approx(wanted, rel=0.1)
    assert float(error.mean(dim=0).abs().mean()) < 5 * math.sqrt(wanted / 400)


# ------------------------------------------------------------------ search


def _search(kind: str = "gradient", **more: object) -> Search:
    space = _plain()
    options = SearchOptions(**({"epochs": 3, "warmup": 1, "batch": 16, "every": 1, "lam": 0.3} | more))  # type: ignore[arg-type]
    return Search(space, CostTables(space), _effects(space), _samples(96), options, kind)  # type: ignore[arg-type]


def test_an_interrupted_search_goes_on_to_the_same_end(tmp_path: Path) -> None:
    checkpoint = tmp_path / "search.pt"
    wanted = _search().run()
    half = _search()
    real, half.epoch = half.epoch, None  # type: ignore[method-assign, assignment]

    def stops(epoch: int, *learners: torch.optim.Optimizer) -> None:
        if epoch == 2:
            raise KeyboardInterrupt
        real(epoch, *learners)

    half.epoch = stops  # type: ignore[method-assign, assignment]
    with pytest.raises(KeyboardInterrupt):
        half.run(checkpoint)
    found = _search().run(checkpoint, resume=True)
    assert all(torch.equal(a, b) for a, b in zip(found.logits, wanted.logits, strict=True))
    assert found.chosen == wanted.chosen
    assert [h.loss for h in found.history] == [h.loss for h in wanted.history]
    with pytest.raises(UsageError, match="another training"):
        _search(lam=0.2).run(checkpoint, resume=True)


def test_cost_alone_leads_to_the_cheapest_network() -> None:
    """With a weight that leaves the task no say, the gradient comes to the least EDAP of all 64."""
    search = _search(lam=100.0, epochs=8, lr_choices=0.3)
    found = search.run()
    cheapest = min(every_architecture(search.space), key=search.tables.edap)
    assert search.tables.edap(found.chosen) == pytest.approx(search.tables.edap(cheapest), rel=1e-12)


def test_random_search_takes_as_many_passes() -> None:
    gradient, chance = _search().run(), _search("random").run()
    assert len(chance.candidates) == _search("random").tries > 1
    assert gradient.passes - len(_search().choices_part[0]) <= chance.passes <= gradient.passes


@pytest.mark.parametrize("sampling", ["gumbel", "two_path", "score"])
def test_all_samplings_search(sampling: str) -> None:
    found = _search(sampling=sampling).run()
    assert found.history[-1].entropy < 1.0
    assert found.history[-1].choice_loss is not None


def test_the_scored_gradient_is_that_of_the_expected_loss() -> None:
    """Oracle: the expectation over all four choices of one layer, differentiated; 3,000 estimates, five standard errors."""
    space = NaxSpace(load_chip("reram-8b-wires"), (3, 5), (32, 64), "plain", 4, 1, image=_IMAGE, linear_arrays=(64,))
    options = SearchOptions(batch=16)
    search = Search(space, CostTables(space), _effects(space).without(), _samples(64), options)
    search.supernet.train()
    for module in search.supernet.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.track_running_stats = False
    with torch.no_grad():
        search.choices.layers[0].copy_(torch.tensor([[0.5, 0.0], [-0.3, 0.2]]))
    x, y = _samples(16, seed=1)
    losses = []
    for k, a in itertools.product(range(2), range(2)):
        choice = torch.zeros(2, 2)
        choice[k, a] = 1.0
        with torch.no_grad():
            losses.append(float(torch.nn.functional.cross_entropy(search.supernet(x, [choice, torch.ones(1, 1)]), y)))
    logits = search.choices.layers[0]
    wanted = torch.autograd.grad((logits.flatten().softmax(0) * torch.tensor(losses)).sum(), logits)[0]
    draws, found = torch.Generator().manual_seed(12), []
    for _ in range(3000):
        term, _ = search.scored(x, y, draws)
        found.append(torch.autograd.grad(term, logits)[0])
    estimates = torch.stack(found)
    error = estimates.std(dim=0) / math.sqrt(len(estimates))
    assert float(wanted.abs().max()) > 20 * float(error.min())
    assert bool(((estimates.mean(dim=0) - wanted).abs() < 5 * error + 1e-9).all())


def test_the_gradient_finds_the_optimum_of_a_small_space() -> None:
    """All 64 combinations of real digits tried: the gradient's is among the best two, of a spread that is far wider."""
    data, image, classes = nax_data("digits")
    space = _plain(image=image, classes=classes, width=8)
    found = recover(space, _effects(space), data.train, SearchOptions(epochs=8, warmup=4, lam=0.1), steps=1500)
    assert found.combinations == 64
    assert found.rank <= 2
    assert found.regret < 0.1 * found.spread


# ------------------------------------------------------------------ what comes out


def test_a_derived_network_runs_on_arrays_of_its_own() -> None:
    """Each layer is on arrays of its size; the cost is that of the estimate."""
    data, image, classes = nax_data("digits", train_samples=200, samples=50)
    space = _space(image=image, classes=classes)
    architecture = random_architecture(space, np.random.default_rng(11))
    options = SearchOptions(retrain=2, trials=1)
    network = train_architecture(space, architecture, _effects(space), data.train, options)
    search_edap = float(CostTables(space).totals(*space.one_hot(architecture)).edap)
    found = measure(space, architecture, network, data.held_out, data.calibration, options, search_edap)
    chip = space.chip_for(architecture)
    wanted = estimate([plan_layer(shape, chip) for shape in space.shapes(architecture)], chip)
    assert found.cost.edap_jsm2 == wanted.edap_jsm2
    assert found.cost.edap_in_parts_jsm2 == search_edap
    assert found.per_chip == (found.chip,)


def test_a_job_is_taken_up_where_it_was_left(tmp_path: Path) -> None:
    """Parts of the same job are used again; those of another are not."""
    data, image, classes = nax_data("digits", train_samples=200, samples=40)
    space = _space(image=image, classes=classes, kernels=(3,), arrays=(32, 64))
    options = SearchOptions(epochs=2, warmup=1, retrain=1, trials=1)
    first = run_nax(space, data, options, baselines=("homogeneous",), folder=tmp_path)
    marked = tmp_path / "parts" / "found.json"
    kept = json.loads(marked.read_text())
    kept["part"]["found"]["chip"] = 0.125
    marked.write_text(json.dumps(kept))
    again = run_nax(space, data, options, baselines=("homogeneous",), folder=tmp_path)
    assert again.found.chip == 0.125
    assert again.designs["all 32"] == first.designs["all 32"]
    weights = (tmp_path / "parts" / "found.pt").stat().st_mtime_ns
    more = run_nax(space, data, dataclasses.replace(options, trials=2), baselines=(), folder=tmp_path)
    assert (len(more.found.per_chip), more.found.per_chip[0]) == (2, first.found.per_chip[0])
    assert (tmp_path / "parts" / "found.pt").stat().st_mtime_ns == weights  # nothing was trained again
    other = run_nax(
        space, data, SearchOptions(epochs=2, warmup=1, retrain=1, trials=1, lam=0.2), baselines=(), folder=tmp_path
    )
    assert other.found.chip != 0.125


def test_command_writes_what_run_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner, out = CliRunner(), tmp_path / "out"
    words = "nax --data digits --kernels 3,5 --arrays 32,64 --width 4 --epochs 2 --warmup 1 --retrain 2 --trials 1 --offline"
    words += f" --train-samples 300 --samples 50 --out {out}"
    result = runner.invoke(app, words.split())
    assert result.exit_code == 0, result.output
    assert max(len(line) for line in result.stdout.splitlines()) <= 80
    document = json.loads((out / "nax.json").read_text())
    found = document["designs"]["found"]
    page = (out / "nax.html").read_text()
    assert "What was chosen" in page
    assert "random search" in page
    monkeypatch.chdir(out)
    run = "run nax_network:network --weights weights.pt --chip chip.yaml --data digits --samples 50 --trials 1 --offline --json"
    ran = runner.invoke(app, run.split())
    assert ran.exit_code == 0, ran.output
    told = json.loads(ran.stdout)
    assert told["cost"]["area_m2"] == pytest.approx(found["cost"]["area_m2"], rel=1e-12)
    assert told["accuracy"]["mean"] == pytest.approx(found["chip"], abs=1e-9)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--warmup", "30"], "leaves none"), (["--kernels", "2"], "odd"), (["--sampling", "dice"], "two_path"),
        (["--baselines", "best"], "none of homogeneous"), (["--chip", "isac"], "did you mean"),
        (["--device", "gpu"], "auto, cpu or cuda"), (["--lam", "nan"], "--lam"),
    ],
)  # fmt: skip
def test_slips_are_told_and_nothing_is_written(words: list[str], told: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["nax", "--data", "digits", "--offline", "--out", str(out), *words])
    assert result.exit_code != 0
    assert told in " ".join(result.output.split()) or told in str(result.exception)
    assert not out.exists()


def test_reproduce_prints_published_beside_ours(tmp_path: Path) -> None:
    """On finished jobs: comparisons are those of the documents; recollected figures are told as such."""
    paths = []
    for seed, (found, small) in enumerate([((0.7, 8e-16), (0.69, 1e-15)), ((0.72, 9e-16), (0.71, 1e-15))]):
        arch = {"kernels": {"conv1": 3, "a": 5}, "arrays": {"conv1": 32, "a": 64, "linear": 32}, "skipped": []}

        def design(chip: float, edap: float, objective: float, arch: dict[str, object] = arch) -> dict[str, object]:
            return {"architecture": arch, "chip": chip, "cost": {"edap_jsm2": edap}, "objective": objective}

        designs = {
            "found": design(*found, 1.0), "all 32": design(0.7, 2e-15, 1.1), "all 64": design(0.7, 1.6e-15, 1.1),
            "3 x 3": design(*small, 1.2), "random search": design(0.6, 9e-16, 0.9 + 0.2 * seed),
        }  # fmt: skip
        path = tmp_path / f"{seed}.json"
        path.write_text(json.dumps({"designs": designs, "options": {"seed": seed}, "data": "made up"}))
        paths.append(path)
    given = [word for path in paths for word in ("--from", str(path))]
    result = CliRunner().invoke(app, ["reproduce", "nax", "--no-toy", *given, "--json"])
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    told = {one["published"]: one for one in data["findings"]}
    ours = next(one for text, one in told.items() if "0.8 points" in text)
    assert "+1.00 points and -15.1 % EDAP" in ours["ours"]  # sqrt(0.8 x 0.9) - 1
    assert ours["same_direction"] is True
    alike = next(one for text, one in told.items() if "one size" in text)
    assert "-47.0 % EDAP" in alike["ours"]  # against all 64, the best: sqrt(0.5 x 0.5625) - 1
    chance = next(one for text, one in told.items() if "random search" in text)
    assert "objective lower in 1 of 2 seeds" in chance["ours"]
    assert any("recollected" in text and "XPert" in text for text in told)
    shown = CliRunner().invoke(app, ["reproduce", "nax", "--no-toy", *given])
    assert shown.exit_code == 0, shown.output
    assert "What differs:" in shown.stdout
    (tmp_path / "bad.json").write_text("{}")
    wrong = CliRunner().invoke(app, ["reproduce", "nax", "--no-toy", "--from", str(tmp_path / "bad.json")])
    assert wrong.exit_code != 0
    assert "no result of crosstile nax" in wrong.output + str(wrong.exception)


@pytest.mark.slow
def test_the_toy_of_the_publication_is_recovered() -> None:
    """729 combinations of three layers with the effects that the simulator gives: the optimum, or one as good within 0.005."""
    from crosstile.reproduce.nax import toy

    found = toy(0)
    assert found.combinations == 729
    assert found.rank <= 3
    assert found.regret < 0.005
