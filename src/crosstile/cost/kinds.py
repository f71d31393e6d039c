"""Arrays of several kinds on one chip, and how many of everything is then built.

Layers whose hardware is alike share arrays of one kind. A macro holds arrays of one kind; a tile holds macros of any, so that

    macros of kind k = ceil(arrays of k / arrays per macro of k),        tiles = ceil(sum of macros / macros per tile)

Places for macros that are left on the last tile, or on tiles that are built in excess, get macros of the commonest kind.
Parts of tiles and of the chip are the same for all kinds, and are there once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from crosstile.cost.installed import Installed, install
from crosstile.errors import SpecError
from crosstile.mapping.plan import LayerPlan
from crosstile.specs.chip import ChipSpec


@dataclass(frozen=True)
class Kind:
    """One kind of arrays: the chip as their layers see it, its components, and what is built."""

    chip: ChipSpec
    parts: tuple[Installed, ...]
    plans: tuple[int, ...]
    """Numbers of the layers that use it."""
    units: dict[str, int]
    """Arrays and macros of this kind, and all tiles and the chip."""

    @property
    def own(self) -> tuple[Installed, ...]:
        """Return the parts of arrays and macros, which are this kind's alone."""
        return tuple(part for part in self.parts if part.per in ("array", "macro"))


@dataclass(frozen=True)
class Built:
    """What the arrays of a network make of a chip."""

    kinds: tuple[Kind, ...]
    tiles_needed: int
    tiles: int

    @property
    def shared(self) -> tuple[Installed, ...]:
        """Return the parts of tiles and of the chip."""
        return tuple(part for part in self.kinds[0].parts if part.per not in ("array", "macro"))

    @property
    def counts(self) -> tuple[tuple[Installed, int], ...]:
        """Return every part with its instances, those of each kind by themselves."""
        own = [(part, part.instances(kind.units)) for kind in self.kinds for part in kind.own]
        return (*own, *((part, part.instances(self.kinds[0].units)) for part in self.shared))

    @property
    def arrays(self) -> int:
        """Arrays built, of all kinds."""
        return sum(kind.units["array"] for kind in self.kinds)

    def of(self, plan: int) -> Kind:
        """Return the kind of arrays that layer ``plan`` uses."""
        return next(kind for kind in self.kinds if plan in kind.plans)


def build(plans: Sequence[LayerPlan], chip: ChipSpec) -> Built:
    """Return what ``chip`` builds for the layers of ``plans``.

    Raises:
        SpecError: the chip has too few tiles, or layers have tiles of different parts.
    """
    chip.check_layers(plan.shape.name for plan in plans)
    chips: list[ChipSpec] = []
    members: list[list[int]] = []
    for number, plan in enumerate(plans):
        seen = chip.for_layer(plan.shape.name)
        place = next((i for i, known in enumerate(chips) if seen is known or seen == known), len(chips))
        if place == len(chips):
            chips.append(seen)
            members.append([])
        members[place].append(number)
    parts = [install(one) for one in chips]
    _check_shared(chip, parts)
    macros = [
        math.ceil(sum(plans[number].arrays for number in of) / one.hardware.arrays_per_macro)
        for one, of in zip(chips, members, strict=True)
    ]
    per_tile = chip.hardware.macros_per_tile
    needed = math.ceil(sum(macros) / per_tile)
    if chip.hardware.tiles is not None and needed > chip.hardware.tiles:
        arrays = sum(plan.arrays for plan in plans)
        raise SpecError(
            f"chip {chip.name!r}: hardware.tiles is {chip.hardware.tiles}, but the network takes {arrays} arrays "
            f"and needs {needed} tiles of {per_tile} macros; set tiles to {needed} or more, or to null."
        )
    tiles = chip.hardware.tiles or needed
    macros[macros.index(max(macros))] += tiles * per_tile - sum(macros)
    kinds = tuple(
        Kind(
            one,
            have,
            tuple(of),
            {"array": count * one.hardware.arrays_per_macro, "macro": count, "tile": tiles, "chip": 1},
        )
        for one, have, of, count in zip(chips, parts, members, macros, strict=True)
    )
    return Built(kinds, needed, tiles)


def _check_shared(chip: ChipSpec, parts: Sequence[tuple[Installed, ...]]) -> None:
    def shared(of: tuple[Installed, ...]) -> dict[str, tuple[object, ...]]:
        return {
            part.name: (part.component.name, part.per, part.count, part.figures.area_m2, part.figures.leakage_w)
            for part in of
            if part.per not in ("array", "macro")
        }

    for other in parts[1:]:
        if shared(other) != shared(parts[0]):
            differ = {name for name, _ in shared(other).items() ^ shared(parts[0]).items()}
            raise SpecError(
                f"chip {chip.name!r}: layers: {', '.join(sorted(differ))} of tiles or the chip would differ by layer; tiles hold "
                "macros of any layer, so that only parts of arrays and macros can differ."
            )
