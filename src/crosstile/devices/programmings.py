"""Reads sorted into programmings and bursts.

A programming is one write of one cell: rows of the same cell, cycle and target. A burst is a run of its reads at nearly
the same time: they differ by read noise alone. Without a column ``cell``, each row is a programming of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from crosstile.devices.read_csv import Floats, Ids, Measured

BURST: Final = 1.05
"""Times of one burst differ by at most this factor."""


@dataclass(frozen=True)
class Programmings:
    """Programmings (p of them) and their bursts (b)."""

    target_s: Floats
    """(p,) siemens."""
    cell: Ids
    """(p,) identity of the cell; of the programming itself where cells are not named."""
    first: Ids
    """(p,) its first burst."""
    bursts: Ids
    """(p,) how many it has."""
    of: Ids
    """(b,) programming of each burst; bursts are sorted by programming, then time."""
    time_s: Floats
    """(b,) geometric mean of the times; 1 where there are none."""
    mean_s: Floats
    """(b,) mean of the reads, siemens."""
    reads: Floats
    """(b,) how many."""
    squares: Floats
    """(b,) sum of squares round the mean, siemens squared."""

    def __len__(self) -> int:
        return int(self.target_s.size)


def group(measured: Measured) -> Programmings:
    """Return the programmings of a table."""
    n = len(measured)
    if measured.cell is None:
        cell, programming = np.arange(n), np.arange(n)
    else:
        cycle = measured.cycle if measured.cycle is not None else np.zeros(n, dtype=np.intp)
        _, target = np.unique(measured.target_s, return_inverse=True)
        keys = np.stack([measured.cell, cycle, target.reshape(-1)], axis=1)
        _, programming = np.unique(keys, axis=0, return_inverse=True)
        cell, programming = measured.cell, programming.reshape(-1)
    time = np.ones(n) if measured.time_s is None else measured.time_s
    order = np.lexsort((time, programming))
    programming, time, read = programming[order], time[order], measured.read_s[order]
    burst = _bursts(programming, time)
    count = int(burst[-1]) + 1
    reads = np.bincount(burst, minlength=count).astype(float)
    start = np.searchsorted(burst, np.arange(count))
    mean = np.bincount(burst, read, count) / reads
    log_time = np.bincount(burst, np.log(np.where(time > 0, time, 1.0)), count) / reads
    of = programming[start]
    first = np.searchsorted(of, np.arange(int(of[-1]) + 1))
    return Programmings(
        target_s=measured.target_s[order][start[first]],
        cell=np.unique(cell[order][start[first]], return_inverse=True)[1].reshape(-1),
        first=first, bursts=np.diff(np.append(first, count)), of=of,
        time_s=np.where(time[start] > 0, np.exp(log_time), 0.0), mean_s=mean, reads=reads,
        squares=_squares(programming, burst, time, read, mean, count),
    )  # fmt: skip


def chosen(p: Programmings, keep: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Programmings:
    """Return the programmings where ``keep`` (p,) is true."""
    inside = keep[p.of]
    of = (np.cumsum(keep) - 1)[p.of[inside]]
    bursts = p.bursts[keep]
    return Programmings(
        target_s=p.target_s[keep], cell=np.unique(p.cell[keep], return_inverse=True)[1].reshape(-1),
        first=np.append(0, np.cumsum(bursts)[:-1]), bursts=bursts, of=of, time_s=p.time_s[inside],
        mean_s=p.mean_s[inside], reads=p.reads[inside], squares=p.squares[inside],
    )  # fmt: skip


def log_slopes(p: Programmings) -> Floats:
    """Return (p,) slopes of ln mean against ln time over bursts, unweighted; 0 with a single time."""
    return _slopes(p.of, np.log(np.where(p.time_s > 0, p.time_s, 1.0)), p.mean_s)


def _slopes(of: Ids, x: Floats, mean: Floats) -> Floats:
    usable = mean > 0
    of, x, y = of[usable], x[usable], np.log(mean[usable])
    count = int(of.max(initial=-1)) + 1
    number = np.maximum(np.bincount(of, minlength=count), 1)
    dx = x - (np.bincount(of, x, count) / number)[of]
    spread = np.bincount(of, dx**2, count)
    slopes = np.bincount(of, dx * y, count) / np.where(spread > 0, spread, 1.0)
    return np.where(spread > 0, slopes, 0.0).astype(np.float64)


def _squares(programming: Ids, burst: Ids, time: Floats, read: Floats, mean: Floats, count: int) -> Floats:
    """Return the squares of each burst, without what the cell drifts within it."""
    log_time = np.log(np.where(time > 0, time, 1.0))
    reads = np.bincount(burst, minlength=count)
    centre = (np.bincount(burst, log_time, count) / reads)[burst]
    start = np.searchsorted(burst, np.arange(count))
    slopes = np.zeros(int(programming[-1]) + 1)
    found = _slopes(programming[start], centre[start], mean)
    slopes[: found.size] = found
    straight = read * np.exp(-slopes[programming] * (log_time - centre))
    middle = np.bincount(burst, straight, count) / reads
    return np.asarray(np.bincount(burst, (straight - middle[burst]) ** 2, count), dtype=np.float64)


def _bursts(programming: Ids, time: Floats) -> Ids:
    """Return the burst of each read: a new one starts with a programming, or beyond ``BURST`` times its first time."""
    burst = np.empty(time.size, dtype=np.intp)
    number, start, last = -1, 0.0, -1
    for i, (which, moment) in enumerate(zip(programming.tolist(), time.tolist(), strict=True)):
        if which != last or moment > start * BURST:
            number, start, last = number + 1, moment, which
        burst[i] = number
    return burst
