"""Remedies against heat that move work: arrays to other tiles, and hot tiles' work to idle ones in turn.

Both go by the influence matrix R of the tiles (kelvin a watt), powers held as they are; the state that follows is solved anew.

    remapping    minimise  sum_t S_t T_t = S' R P     S_t: sensitivities of the arrays on tile t, P_t: their power
    pairing      each array of a hot tile has a copy on an idle tile, and each of the two works half of the time

Other remedies act elsewhere: reference columns in :mod:`crosstile.crossbar.program`, fewer bits by another chip description. Rows
within an array have one temperature here, so that exchanging them would change nothing.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from crosstile.errors import UsageError
from crosstile.system.floorplan import Placement
from crosstile.system.thermal import ChipHeat

FloatArray = npt.NDArray[np.float64]
_MAX_SWEEPS = 500


def remap(
    heat: ChipHeat,
    placement: Placement,
    array_layer: npt.NDArray[np.int64],
    sensitivity: FloatArray | None = None,
    *,
    keep_idle: bool = False,
) -> Placement:
    """Return a placement in which sensitive arrays stand cool.

    Two arrays, or an array and a free place, are exchanged until no exchange helps.

    Args:
        placement: to start from, without copies. array_layer: (arrays,) layer of each array; arrays of one layer are alike.
        sensitivity: (layers,) loss for each kelvin of the whole layer; default: the layers' power, which spreads heat.
        keep_idle: leave tiles without arrays as they are.

    The result is a local minimum. What longer ways between layers cost is not counted.
    """
    if placement.copies > 1:
        raise ValueError("arrays are moved before they are copied")
    layers = int(array_layer.max()) + 1
    arrays = np.bincount(array_layer, minlength=layers)
    power = np.bincount(array_layer, weights=heat.dynamic_w + heat.cells_w) / arrays
    weight = power if sensitivity is None else np.asarray(sensitivity, dtype=np.float64) / arrays
    power, weight = np.append(power, 0.0), np.append(weight, 0.0)  # the last kind is a free place
    plan = placement.plan
    count = np.zeros((plan.tiles, layers + 1), dtype=np.int64)
    np.add.at(count, (placement.tile_of[0], array_layer), 1)
    count[:, -1] = plan.arrays_per_tile - count.sum(axis=1)
    if keep_idle:
        count[placement.idle(), -1] = 0
    influence = heat.influence()
    _exchange(count, power, weight, influence)
    tile_of = np.empty_like(array_layer)
    for layer in range(layers):
        tile_of[array_layer == layer] = np.repeat(np.arange(plan.tiles), count[:, layer])
    return placement.moved(tile_of[None])


def _exchange(count: npt.NDArray[np.int64], power: FloatArray, weight: FloatArray, influence: FloatArray) -> None:
    """Exchange in place, the best exchange of each tile in turn, while the sum falls."""
    p, s = count @ power, count @ weight
    rise, pull = influence @ p, influence @ s
    gap_p, gap_s = power[None] - power[:, None], weight[None] - weight[:, None]  # [mine, theirs]
    own = np.diagonal(influence)
    least = 1e-12 * float(s @ rise)
    for _ in range(_MAX_SWEEPS):
        moved = False
        for tile in range(len(count)):
            apart = own[tile] + own - 2 * influence[tile]
            change = (
                gap_s * (rise[tile] - rise)[:, None, None]
                + gap_p * (pull[tile] - pull)[:, None, None]
                + gap_s * gap_p * apart[:, None, None]
            )
            possible = (count[tile] > 0)[None, :, None] & (count > 0)[:, None, :]
            change = np.where(possible, change, 0.0)
            other, mine, theirs = np.unravel_index(int(change.argmin()), change.shape)
            if change[other, mine, theirs] >= -least:
                continue
            moved = True
            for where, out, into in ((tile, mine, theirs), (other, theirs, mine)):
                count[where, out] -= 1
                count[where, into] += 1
            along = influence[tile] - influence[other]
            rise += gap_p[mine, theirs] * along
            pull += gap_s[mine, theirs] * along
        if not moved:
            return


def pair(heat: ChipHeat, placement: Placement) -> Placement:
    """Return a placement in which hot tiles share their work with idle ones, as long as that lowers the hottest tile.

    Each step takes the hottest tile that works alone, and the idle tile for which the hottest tile is coolest then. The exchange
    is taken to be faster than the chip warms, so that both have the mean of their powers. Copies take writing twice.

    Raises:
        UsageError: no tile is idle.
    """
    if placement.copies > 1:
        raise ValueError("this placement has copies")
    idle = [int(tile) for tile in placement.idle()]
    if not idle:
        raise UsageError(
            f"pairing: all {placement.plan.tiles} tiles hold arrays, none is idle; give the chip spare ones with "
            "hardware.tiles."
        )
    influence = heat.influence()
    power = placement.power_by_tile(heat.dynamic_w + heat.cells_w)
    partner: dict[int, int] = {}
    while idle:
        rise = influence @ power
        alone = [t for t in range(len(power)) if power[t] > 0 and t not in partner and t not in partner.values()]
        if not alone:
            break
        hot = max(alone, key=lambda t: float(rise[t]))
        half = 0.5 * power[hot]
        peaks = [float((rise + half * (influence[:, cool] - influence[:, hot])).max()) for cool in idle]
        best = int(np.argmin(peaks))
        if peaks[best] >= float(rise.max()) * (1 - 1e-9):
            break
        partner[hot] = idle.pop(best)
        power[hot] -= half
        power[partner[hot]] += half
    first = placement.tile_of[0]
    second = first.copy()
    for hot, cool in partner.items():
        second[first == hot] = cool
    return placement.moved(np.stack([first, second]))
