"""Energy, delay and area of every choice, and of mixtures of choices, with gradients.

With P_l(k, x) the probabilities of the choices of layer l and g_l that it is there at all,

    E = sum_l g_l sum_kx P_l E_l + P_leak t_held           D = sum_l g_l sum_kx P_l D_l   (layers in series)
    n_x = sum_l g_l sum_k P_l n_l(k, x)                    A = sum_x (n_x A_x + m_x A_macro,x) + T A_tile + A_chip

n_l arrays, m_x = n_x / arrays per macro, T = sum_x m_x / macros per tile. EDAP is E D A of these sums: it is no sum over layers.
With ``whole`` macros, tiles and instances are rounded up as :func:`crosstile.cost.estimate.estimate` does, and gradients pass
straight through; where every P_l and g_l is 0 or 1 the figures are then that estimate's. Pipelined layers follow
:func:`crosstile.cost.latency.pipelined_latency` with the mean kernel side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from crosstile.cost.charges import charge
from crosstile.cost.installed import Installed, install
from crosstile.cost.latency import layer_time
from crosstile.mapping.plan import LayerPlan, plan_layer
from crosstile.nax.space import Architecture, NaxSpace, Slot

Probabilities = Sequence[Tensor]
"""One tensor (kernels, arrays) for each layer, summing to 1."""


@dataclass(frozen=True)
class Totals:
    """Of one sample; tensors without dimensions, double precision."""

    energy_j: Tensor
    delay_s: Tensor
    area_m2: Tensor
    arrays: Tensor

    @property
    def edap(self) -> Tensor:
        """Energy x delay x area, J s m2."""
        return self.energy_j * self.delay_s * self.area_m2


def _up(value: Tensor, whole: bool) -> Tensor:
    """Round up, with the gradient of no rounding."""
    if not whole:
        return value
    return value + (torch.ceil(value.detach() - 1e-9) - value.detach())


class CostTables:
    """The cost of each layer and choice on the chips of a space. Not differentiable itself; :meth:`totals` is."""

    def __init__(self, space: NaxSpace) -> None:
        """Fill the tables.

        Raises:
            SpecError: a component does not cover an array size.
        """
        self.space = space
        chips = {
            size: space.chip.replaced(layers={"*": space.resized(size)}).for_layer("any") for size in self._sizes()
        }
        self._parts: dict[int, tuple[Installed, ...]] = {size: install(chip) for size, chip in chips.items()}
        self._macros = {size: chip.hardware.arrays_per_macro for size, chip in chips.items()}
        self.energy_j: list[Tensor] = []
        self.delay_s: list[Tensor] = []
        self.arrays: list[Tensor] = []
        for number, slot in enumerate(space.slots):
            first, last = number == 0, slot is space.slots[-1]

            def cost(
                kernel: int, size: int, *, slot: Slot = slot, first: bool = first, last: bool = last
            ) -> list[float]:
                chip, parts = chips[size], self._parts[size]
                plan: LayerPlan = plan_layer(slot.shape(kernel, first=first), chip)
                energy_j = sum(charge(part, plan, chip, first=first, last=last) for part in parts)
                return [energy_j, layer_time(plan, chip, parts, first=first, last=last).total_s, float(plan.arrays)]

            found = torch.tensor([[cost(k, x) for x in slot.arrays] for k in slot.kernels], dtype=torch.float64)
            for table, values in zip((self.energy_j, self.delay_s, self.arrays), found.unbind(-1), strict=True):
                table.append(values)

    def _sizes(self) -> tuple[int, ...]:
        return tuple(sorted({size for slot in self.space.slots for size in slot.arrays}))

    def totals(
        self, probabilities: Probabilities, keep: Mapping[str, Tensor] | None = None, *, whole: bool = False
    ) -> Totals:
        """Return energy, delay and area of a mixture.

        Args:
            probabilities: of the choices of each layer. keep: that a block is there, by its name; default: all are.
            whole: round up to what can be built.
        """
        slots, one = self.space.slots, torch.ones((), dtype=torch.float64)
        there = [one if keep is None or slot.block is None else keep[slot.block].double() for slot in slots]
        mixed = [p.double() for p in probabilities]

        def expected(tables: list[Tensor]) -> list[Tensor]:
            return [g * (p * table).sum() for g, p, table in zip(there, mixed, tables, strict=True)]

        by_size = {size: torch.zeros((), dtype=torch.float64) for size in self._sizes()}
        for slot, g, p, table in zip(slots, there, mixed, self.arrays, strict=True):
            for size, count in zip(slot.arrays, (p * table).sum(dim=0), strict=True):
                by_size[size] = by_size[size] + g * count
        times = expected(self.delay_s)
        delay_s, held_s = self._delay(times, mixed)
        area_m2, leakage_w = self._built(by_size, whole)
        energy_j = torch.stack(expected(self.energy_j)).sum() + leakage_w * held_s
        return Totals(energy_j, delay_s, area_m2, torch.stack(list(by_size.values())).sum())

    def edap(self, architecture: Architecture) -> float:
        """Return energy x delay x area of one architecture in J s m2, macros and tiles in parts."""
        return float(self.totals(*self.space.one_hot(architecture)).edap)

    def _delay(self, times: list[Tensor], mixed: list[Tensor]) -> tuple[Tensor, Tensor]:
        total = torch.stack(times).sum()
        if self.space.chip.hardware.pipeline == "layer_serial":
            return total, total
        start, end = torch.zeros((), dtype=torch.float64), times[0]
        for number in range(1, len(times)):
            slot, before = self.space.slots[number], self.space.slots[number - 1]
            made, positions = before.out_side**2, slot.out_side**2
            if slot.linear:
                share = torch.ones((), dtype=torch.float64) if positions != made else torch.tensor(1.0 / made).double()
            else:
                side = (mixed[number].sum(dim=1) * torch.tensor(slot.kernels, dtype=torch.float64)).sum()
                share = (((side - 1) * math.sqrt(made) + side) / made).clamp(max=1.0)
            start = start + share * times[number - 1]
            end = torch.maximum(start + times[number], end + times[number] / positions)
        return end, torch.stack(times).max()

    def _built(self, by_size: dict[int, Tensor], whole: bool) -> tuple[Tensor, Tensor]:
        """Return area and leakage power of what is built for so many arrays of each size."""
        per_tile = self.space.chip.hardware.macros_per_tile
        macros = {size: _up(count / self._macros[size], whole) for size, count in by_size.items()}
        tiles = _up(torch.stack(list(macros.values())).sum() / per_tile, whole)
        if whole:  # places that are left on the last tile
            given = self.space.chip.hardware.tiles
            if given is not None:
                tiles = tiles - tiles.detach() + given
            most = max(macros, key=lambda size: float(macros[size].detach()))
            spare = per_tile * float(tiles.detach()) - sum(float(m.detach()) for m in macros.values())
            macros[most] = macros[most] + spare
        zero = torch.zeros((), dtype=torch.float64)
        area, leakage, first = zero, zero, True
        for size, count in macros.items():
            units = {"array": count * self._macros[size] if whole else by_size[size], "macro": count, "tile": tiles}
            for part in self._parts[size]:
                if part.per in ("tile", "chip") and not first:
                    continue
                number = _up(part.count * units.get(part.per, zero + 1.0), whole)
                area, leakage = area + number * part.figures.area_m2, leakage + number * part.figures.leakage_w
            first = False
        return area, leakage
