"""Accuracy of an int8 network on a macro, over macros that differ, with conversions and energy of one inference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from crosstile.errors import UsageError
from crosstile.macros.build import MacroNetwork, map_to_macro
from crosstile.macros.figures import conversions_each, layer_energy
from crosstile.macros.spec import ChargeDomainSpec
from crosstile.study.montecarlo import count_correct, interval
from crosstile.study.options import RunOptions, check
from crosstile.study.samples import check_outputs, load_samples
from crosstile.study.stages import Progress
from crosstile.zoo import build_model


def study_macro(
    spec: ChargeDomainSpec, options: RunOptions, *, uncompensated: bool = False, progress: Progress | None = None
) -> dict[str, Any]:
    """Run a network digitally, in exact int8, on an ideal macro and on macros that differ; return plain values for JSON.

    Args:
        spec: the macro.
        options: network, data, samples, trials and seed as for ``crosstile run``; its chip is not used.
        uncompensated: measure the same macros without compensation, too.
        progress: told about stages and steps.

    Raises:
        CrosstileError: anything that the input got wrong.
    """
    if options.device != "cpu":
        raise UsageError(f"--device {options.device}: macros are simulated on the CPU only; use --device cpu.")
    check(options)
    say = progress or Progress()
    loaded = build_model(options.model, weights=options.weights)
    data, x, y, calibration = load_samples(options, loaded, say)
    check_outputs(loaded, x, data)
    total = len(x)

    def right(network: torch.nn.Module) -> float:
        return count_correct(network, x, y, options.batch, say.advance) / total

    say.stage("digital network", total)
    digital = right(loaded.model)

    def mapped(on: ChargeDomainSpec) -> MacroNetwork:
        say.stage("map to the macro")
        return map_to_macro(loaded.model, on, calibration, seed=options.seed, digital=options.digital)

    network = mapped(spec.idealised())
    say.stage("int8 network", total)
    network.set_exact(True)
    int8 = right(network)
    network.set_exact(False)
    network.program(0)
    say.stage("ideal macro", total)
    ideal = right(network)

    kinds = {"macro": spec}
    if uncompensated and spec.converter.compensation != "none":
        kinds["uncompensated"] = spec.replaced(converter__compensation="none")
    found: dict[str, Any] = {}
    layers: list[dict[str, Any]] = []
    for kind, on in kinds.items():
        network = mapped(on)
        say.stage(f"{kind}, {options.trials} of them", options.trials * total)
        found[kind] = _accuracy(network, options.trials, right, total)
        if kind == "macro":
            layers = [_layer(spec, layer, options.trials * total) for layer in network.layers.values()]
    return {
        "macro": spec.model_dump(mode="json"),
        "model": {"name": loaded.name, "weights": loaded.weights},
        "data": {"name": data.name, "samples": total, "calibration": f"{len(calibration)} {data.calibration_origin}"},
        "trials": options.trials,
        "seed": options.seed,
        "accuracy": {"digital": digital, "int8": int8, "ideal_macro": ideal, **found},
        "published": None if spec.published is None else spec.published.model_dump(mode="json"),
        **_totals(spec, layers),
        "layers": layers,
        "digital_layers": list(options.digital),
    }


def _accuracy(
    network: MacroNetwork, trials: int, right: Callable[[torch.nn.Module], float], samples: int
) -> dict[str, Any]:
    each = []
    for trial in range(trials):
        network.program(trial)
        each.append(right(network))
    ci95, method = interval(each, samples)
    return {"mean": float(np.mean(each)), "ci95": list(ci95), "per_trial": each, "method": method}


def _layer(spec: ChargeDomainSpec, layer: Any, runs: int) -> dict[str, Any]:
    """Return what one layer takes for one sample; ``runs`` samples were counted."""
    shape, pieces = layer.shape, len(layer.pieces)
    outputs = shape.positions * shape.groups * shape.outputs
    results = shape.positions * pieces * shape.outputs
    skipped = layer.counts.skipped / runs
    blocks = -(-shape.outputs // spec.outputs)
    driven = shape.positions * blocks * shape.groups * shape.rows
    energy = layer_energy(
        spec, macs=shape.macs, pieces=results, outputs=outputs, rows_driven=driven, skipped=skipped
    )  # fmt: skip
    serial = spec.bit_serial()
    serial_energy = layer_energy(
        serial, macs=shape.macs, pieces=results, outputs=outputs, rows_driven=driven, skipped=0.0
    )  # fmt: skip
    return {
        "name": layer.name, "rows": shape.rows, "outputs": shape.outputs * shape.groups, "positions": shape.positions,
        "pieces": pieces // shape.groups, "fused_relu": layer.fused, "macs": shape.macs, "cycles": layer.cycles,
        "conversions": layer.conversions, "skipped": skipped, "range": layer.span,
        "at_ends": layer.counts.at_ends / max(1, layer.counts.done),
        "bit_serial_conversions": results * conversions_each(serial),
        "energy_j": energy, "bit_serial_energy_j": sum(serial_energy.values()),
    }  # fmt: skip


def _totals(spec: ChargeDomainSpec, layers: list[dict[str, Any]]) -> dict[str, Any]:
    def total(key: str) -> float:
        return float(sum(layer[key] for layer in layers))

    parts = {part: sum(layer["energy_j"][part] for layer in layers) for part in layers[0]["energy_j"]}
    energy = sum(parts.values())
    conversions, serial = total("conversions"), total("bit_serial_conversions")
    return {
        "conversions": {
            "per_sample": int(conversions),
            "skipped": total("skipped"),
            "fused_share": sum(layer["conversions"] for layer in layers if layer["fused_relu"]) / conversions,
            "fused_layers": sum(layer["fused_relu"] for layer in layers),
            "bit_serial": int(serial),
            "ratio": serial / conversions,
        },
        "energy": {
            "per_sample_j": energy,
            "by_part_j": parts,
            "tops_per_w": 2e-12 * total("macs") / energy,
            "bit_serial_j": total("bit_serial_energy_j"),
        },
        "time": {"cycles": int(total("cycles")), "per_sample_s": total("cycles") / spec.clock_hz},
        "macs": int(total("macs")),
    }


def describe(spec: ChargeDomainSpec, *, seed: int = 0) -> dict[str, Any]:
    """Return a macro's figures without a network, as plain values for JSON; the linearity is that of macro number 0."""
    from crosstile.macros.figures import macro_figures
    from crosstile.macros.linearity import linearity, signal_to_noise_db
    from crosstile.macros.network import levels

    own, serial, volts = macro_figures(spec), macro_figures(spec.bit_serial()), levels(spec)
    bends = {}
    for kind in ("none", "polynomial", "lut"):
        changed = spec.replaced(converter__compensation=kind)
        straight = linearity(changed, seed=seed)
        bends[kind] = {
            "inl_lsb": float(straight.inl.max()),
            "inl_mean_lsb": float(straight.inl.mean()),
            "dnl_lsb": float(straight.dnl.max()),
            "snr_db": _finite(signal_to_noise_db(changed, seed=seed)),
        }
    return {
        "name": spec.name,
        "description": " ".join(spec.description.split()),
        "mode": spec.mode,
        "geometry": {"inputs": spec.inputs, "outputs": spec.outputs, "clock_hz": spec.clock_hz},
        "gops": own.gops,
        "tops_per_w": own.tops_per_w,
        "mac_j": own.mac_j,
        "power_w": own.power_w,
        "energy_j": own.energy_j,
        "calibration": spec.energy.calibration,
        "conversions": own.conversions,
        "cycles": own.cycles,
        "bit_serial": {
            "conversions": serial.conversions, "cycles": serial.cycles, "gops": serial.gops,
            "tops_per_w": serial.tops_per_w, "ratio": serial.conversions / own.conversions,
        },
        "signal": {
            "unit_v": volts.unit_v, "full_scale_v": volts.unit_v * spec.largest_sum, "attenuation": volts.attenuation,
            "thermal_units": volts.thermal, "converter_units": volts.converter,
        },
        "compensation": spec.converter.compensation,
        "linearity": bends,
        "published": None if spec.published is None else spec.published.model_dump(mode="json"),
        "sources": {key: origin.model_dump() for key, origin in spec.sources.items()},
        "limits": " ".join(spec.limits.split()),
    }  # fmt: skip


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
