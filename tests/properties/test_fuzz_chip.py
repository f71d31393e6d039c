"""Mutated chip descriptions: reading raises SpecError or nothing; what still validates runs or says why not.

Mutations start from the library's chips with their cell written out, are drawn from fixed seeds, and change
lines, numbers, keys, bytes and nesting. A description that validates must map, run and be estimated with
finite results, or raise a CrosstileError: never another exception, never a NaN.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from crosstile.cost.estimate import estimate
from crosstile.errors import CrosstileError, SpecError
from crosstile.mapping.replace import map_network
from crosstile.specs.chip import ChipSpec
from crosstile.specs.load import chip_yaml, library_names, load_chip, parse_chip

SEED = 20240229
PARSED, RUN, TUNED = 4000, 60, 120
NUMBERS = [
    "0",
    "-1",
    "1",
    "2",
    "3",
    "5",
    "7",
    "16",
    "17",
    "128",
    "129",
    "16384",
    "1e309",
    "-1e309",
    ".nan",
    ".inf",
    "1e-320",
    "0.5",
    "1e6",
    "1e30",
    "1" + "0" * 400,
    "0x" + "f" * 60,
    "0b11",
    "1_0",
    "0o17",
    "1:30",
    "null",
    "true",
    "''",
    "text",
    "[]",
    "{}",
    "[1, 2]",
    "{a: 1}",
    "2001-01-01",
    "2001-99-99",
    "1 V",
    "0 S",
    "1e309 ohm",
    "1e-310 ohm",
    "-5 uS",
    "1e300 S",
    "5 %",
    "1 furlong",
    "2.5 ohm",
    "{node: 32 nm}",
    "{width: 1 nm, thickness: 1 m, resistivity: 1 uohm cm}",
    "'1'",
    "!!int ''",
    "!!float x",
    "!!bool x",
    "!!set [a]",
    "!!binary x",
    "*a",
    "&a 1",
    "!x y",
    "<<",
    "=",
    "~",
    '"\\0"',
    '"\\ud800"',
]
EFFECTS = [
    "{kind: variation, sigma: {window: 5 %}}",
    "{kind: variation, sigma: {proportional: 10}, distribution: lognormal}",
    "{kind: variation, sigma: {polynomial: [1.0e+300, 1.0e+300]}}",
    "{kind: read_noise, sigma: {window: 10}}",
    "{kind: read_noise, sigma: {polynomial: [0.5, 3], argument: microsiemens, unit: 1 MS}}",
    "{kind: stuck_at, on_rate: 0.5, off_rate: 50 %}",
    "{kind: stuck_at, map: nowhere.npz}",
    "{kind: drift, nu_mean: 1, nu_std: 1, t0: 1e-300 s, time: 1e300 s}",
    "{kind: drift, nu_mean: 0.1, time: 1 year}",
    "{kind: write_verify, tolerance: 1e-9, max_iterations: 1000}",
    "{kind: write_verify, tolerance: 2 %}",
    "{kind: none}",
    "7",
]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def sources() -> list[str]:
    """Library chips as written, and shortened with the cell written out, so that mutations reach both."""
    texts = []
    for name in library_names("chips"):
        data = yaml.safe_load(chip_yaml(name))
        named = isinstance(data["cell"], str)
        cell = yaml.safe_load(_library_cell(data["cell"])) if named else data["cell"]
        for key in ("sources", "limits", "description"):
            cell.pop(key, None)
        for key in ("description", "references", "notes"):
            data.pop(key, None)
        hardware = data.pop("hardware", None)
        data["cell"] = cell
        plain = yaml.safe_dump(data, default_flow_style=False, sort_keys=False)
        texts += [plain] * 3 + [yaml.safe_dump({**data, "hardware": hardware or {"node": "22 nm"}}, sort_keys=False)]
    return texts


def _library_cell(name: str) -> str:
    from importlib.resources import files

    return (files("crosstile") / "library" / "cells" / f"{name}.yaml").read_text(encoding="utf-8")


def mutate(text: str, rng: random.Random) -> str:
    lines = text.split("\n")
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        at = rng.randrange(len(lines))
        line, kind = lines[at], rng.randrange(12)
        key, colon, _ = line.partition(":")
        if kind == 0:
            del lines[at]
            lines = lines or [""]
        elif kind <= 4 and colon:
            lines[at] = f"{key}: {rng.choice(NUMBERS)}"
        elif kind == 5 and colon:
            other = rng.choice(lines).partition(":")[0].strip()
            lines[at] = line[: len(line) - len(line.lstrip())] + other + line[len(key) :]
        elif kind == 6:
            other = rng.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        elif kind == 7:
            place = rng.randrange(len(line) + 1)
            junk = "".join(
                chr(rng.choice([rng.randrange(128), rng.randrange(0x250), 0xFEFF, 0x2028])) for _ in range(3)
            )
            lines[at] = line[:place] + junk + line[place + rng.randrange(3) :]
        elif kind == 8:
            lines[at] = rng.choice(["  ", "    ", "- ", "\t", "? ", "> ", "| "]) + line.lstrip()
        elif kind == 9:
            depth = rng.choice([3, 20, 300])
            opening, closing = rng.choice(["[]", ("{a: ", "}")])
            lines[at] = f"{key}: " + opening * depth + closing * depth
        elif kind == 10 and "effects" in text:
            where = next((i for i, row in enumerate(lines) if "effects:" in row), at)
            lines[where] = f"  effects: [{', '.join(rng.sample(EFFECTS, rng.choice([1, 1, 2, 3])))}]"
        else:
            lines.insert(at, rng.choice(lines))
    return "\n".join(lines)


def test_mutated_text_is_read_or_refused() -> None:
    rng, texts, seen, named = random.Random(SEED), sources(), Counter(), 0
    for number in range(PARSED):
        text = mutate(rng.choice(texts), rng)
        try:
            chip = parse_chip(text, "mutated")
        except SpecError as error:
            seen["refused"] += 1
            named += any(place in str(error) for place in ("mutated", "cell", ".yaml"))
        except Exception as error:
            raise AssertionError(f"mutation {number} raised {type(error).__name__}: {error}\n{text}") from error
        else:
            assert isinstance(chip, ChipSpec)
            assert chip.replaced() == chip
            seen["valid"] += 1
    assert named == seen["refused"]  # each message says where
    # Both outcomes are really reached.
    assert seen["refused"] > PARSED // 4
    assert seen["valid"] > PARSED // 20


def test_random_bytes_are_refused() -> None:
    rng = random.Random(SEED)
    for _ in range(300):
        junk = bytes(rng.choice(b"{}[]:,-?!&*|>%@`'\"#\n\t abc019\x00\xff\x85") for _ in range(rng.randrange(60)))
        with pytest.raises(SpecError):
            parse_chip(junk.decode("latin-1"))


# ------------------------------------------------------------ chips that validate


def numbers_of(value: Any) -> Iterator[float]:
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return
    if isinstance(value, (int, float)):
        yield float(value)
    elif isinstance(value, dict):
        for inner in value.values():
            yield from numbers_of(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from numbers_of(inner)
    elif is_dataclass(value):
        for field in fields(value):
            yield from numbers_of(getattr(value, field.name))


def exercise(chip: ChipSpec) -> str:
    """Map, run and estimate; say what happened; fail on anything but finite numbers or a CrosstileError."""
    torch.manual_seed(1)
    model = nn.Linear(4, 5)
    x = torch.randn(2, 4)
    try:
        mapped = map_network(model, chip, x)
        with torch.inference_mode():
            out = mapped(x)
    except CrosstileError:
        return "refused by map"
    assert out.shape == (2, 5)
    assert torch.isfinite(out).all(), "the outputs are not finite"
    try:
        report = estimate(mapped.plans(), chip)
    except CrosstileError:
        return "refused by estimate"
    values = list(numbers_of(report))
    assert len(values) > 20
    assert all(math.isfinite(value) and value >= 0 for value in values), "the estimate is not finite"
    return "ran"


def check(chip: ChipSpec, shown: str) -> str:
    try:
        return exercise(chip)
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {error}\n{shown}") from error


def test_mutations_that_validate_run_or_say_why_not() -> None:
    rng, texts, seen = random.Random(SEED + 1), sources(), Counter()
    while sum(seen.values()) < RUN:
        text = mutate(rng.choice(texts), rng)
        try:
            chip = parse_chip(text, "mutated")
        except SpecError:
            continue
        seen[check(chip, text)] += 1
    assert seen["ran"] > RUN // 2


FIELDS: dict[str, list[Any]] = {
    "cell__g_on_s": [1e-12, 1e-300, 1e3, 5e-6],
    "cell__g_off_s": [0.0, 1e-300, 4e-6],
    "cell__height_f": [1e-300, 1e4],
    "cell__width_f": [1e4],
    "weights__bits": [1, 2, 3, 8, 16],
    "weights__cell_bits": [1, 2, 3],
    "weights__encoding": ["offset", "twos_complement"],
    "weights__scale": ["per_tensor"],
    "weights__difference": ["digital"],
    "weights__flip": [True],
    "weights__row_sum": ["unit_column"],
    "inputs__bits": [1, 2, 8, 16],
    "inputs__dac_bits": [1, 2, 8, 16],
    "inputs__signed": ["bipolar", "two_phase"],
    "inputs__scale__method": ["max", "mse"],
    "array__rows": [1, 2, 3, 16384],
    "array__columns": [9, 17, 16384],
    "array__active_rows": [1, 2],
    "array__read_voltage_v": [1e-300, 10.0],
    "array__read_time_s": [1e-300, 1e-15, 1.0],
    "array__off_current": ["converted"],
    "array__wires": [
        None,
        {"word_line": 0.0, "bit_line": 0.0},
        {"word_line": 1e-300, "bit_line": 1e-300, "driver": 1e-300},
        {"word_line": 1e6, "bit_line": 1e6, "driver": 1e6, "sense": 1e6},
        {"word_line": {"node": 22e-9}, "bit_line": 2.5, "temperature": 600.0, "topology": "driven_both_sides"},
    ],
    "adc__bits": [None, 1, 2, 20],
    "adc__range": ["lossless", "full_scale"],
    "adc__per": ["layer"],
    "hardware__node_m": [0.6e-9, 1e-6],
    "hardware__clock_hz": [1e-300, 1.0, 1e11],
    "hardware__tiles": [1, 10**7],
    "hardware__arrays_per_macro": [1, 65536],
    "hardware__macros_per_tile": [1, 65536],
    "hardware__network_hops": [0.0, 1e4],
    "hardware__pipeline": ["pipelined"],
    "hardware__adcs_per_array": [1e-300, 1e-6, 16384.0],
    "hardware__components__buffer__count": [1e-300, 1e-6, 1e6],
    "hardware__components__buffer__capacity_bits": [1e-300, 1e15],
    "hardware__components__adc__rate_hz": [1e-300, 1.0, 1e12],
    "cell__effects": [
        [{"kind": "variation", "sigma": {"proportional": 10.0}}],
        [{"kind": "variation", "sigma": {"polynomial": [1e300, -1e300, 1e300]}}],
        [{"kind": "variation", "sigma": {"polynomial": [1e9], "unit": 1e6}, "distribution": "lognormal"}],
        [{"kind": "variation", "sigma": {"window": 0.1}}, {"kind": "write_verify", "tolerance": 1e-12}],
        [{"kind": "read_noise", "sigma": {"window": 10.0}}],
        [{"kind": "read_noise", "sigma": {"polynomial": [1e150], "unit": 1.0}}],
        [{"kind": "read_noise", "sigma": {"polynomial": [1e300], "unit": 1e300}}],
        [{"kind": "read_noise", "sigma": {"polynomial": [1.0, 1.0], "g_max": 1e-300}}],
        [{"kind": "stuck_at", "on_rate": 1.0}],
        [{"kind": "stuck_at", "map": "nowhere.npz"}],
        [{"kind": "drift", "nu_mean": 1.0, "nu_std": 1.0, "t0": 1e-300, "time": 1e300}],
    ],
}


def test_extreme_but_valid_settings_run_or_say_why_not() -> None:
    rng, seen = random.Random(SEED + 2), Counter()
    chips = [load_chip(name) for name in library_names("chips")]
    while sum(seen.values()) < TUNED:
        chosen = {name: rng.choice(FIELDS[name]) for name in rng.sample(sorted(FIELDS), rng.choice([1, 2, 3, 5]))}
        if rng.random() < 0.3:
            chosen["cell__effects"] = rng.choice(FIELDS["cell__effects"])
        try:
            chip = rng.choice(chips).replaced(**chosen)
        except SpecError:
            continue
        seen[check(chip, f"{chip.name}: {chosen}")] += 1
    assert seen["ran"] > TUNED // 2


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_each_extreme_alone(name: str) -> None:
    outcomes = set()
    for base in library_names("chips"):
        for value in FIELDS[name]:
            try:
                chip = load_chip(base).replaced(**{name: value})
            except SpecError:
                continue
            outcomes.add(check(chip, f"{base}: {name} = {value!r}"))
    assert "ran" in outcomes or name == "array__off_current"  # converted only without analog differences
