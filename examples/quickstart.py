"""Accuracy and cost of LeNet-5 on one chip description, from Python."""

from __future__ import annotations

import torch

import crosstile as ct
from crosstile.datasets import load_dataset
from crosstile.units import format_quantity
from crosstile.zoo import build_model


def main(samples: int = 200) -> None:
    model = build_model("lenet5").model  # any trained nn.Module will do
    data = load_dataset("mnist5k")
    x = torch.from_numpy(data.normalised(data.x[:samples]))
    y = torch.from_numpy(data.y[:samples]).long()
    calibration = torch.from_numpy(data.normalised(data.x_calibration[:128]))

    chip = ct.load_chip("reram-8b")
    for bits in (8, 6, 4):
        variant = chip.replaced(adc__bits=bits)
        mapped = ct.map(model, variant, calibration=calibration)
        accuracy = ct.evaluate(mapped, x, y, trials=3)
        cost = ct.estimate(mapped)
        low, high = accuracy.ci95
        print(
            f"{bits}-bit converters: {accuracy.mean:.1%} ({low:.1%} to {high:.1%}), "
            f"{format_quantity(cost.energy_j, 'J')} and {format_quantity(cost.latency_s, 's')} a sample, "
            f"{format_quantity(cost.area_m2, 'm2')}"
        )


if __name__ == "__main__":
    main()
