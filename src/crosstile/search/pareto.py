"""Several objectives at once: the front, and the volume that it dominates. All objectives fall.

The hypervolume of points Y with respect to r is the measure of {z : y <= z <= r for some y in Y}. Slicing along the last
objective makes it a sum of volumes with one objective less, down to lengths; exact for any number of objectives, fast
for two to four (While et al., IEEE Trans. Evol. Comput. 10 (2006) 29, hypervolume by slicing objectives).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from crosstile.errors import UsageError

FloatArray = npt.NDArray[np.float64]


def front(losses: Sequence[Sequence[float]] | FloatArray) -> list[int]:
    """Return the places of points that no other point dominates, in order; of equal points the first."""
    points = np.asarray(losses, dtype=np.float64)
    found = []
    for i, point in enumerate(points):
        no_worse = (points <= point).all(axis=1)
        better = no_worse & (points < point).any(axis=1)
        same_before = (points[:i] == point).all(axis=1).any()
        if not better.any() and not same_before:
            found.append(i)
    return found


def hypervolume(losses: Sequence[Sequence[float]] | FloatArray, reference: Sequence[float]) -> float:
    """Return the volume that ``losses`` (points, objectives) dominate below ``reference``.

    Raises:
        UsageError: there are no or more than 4 objectives, or the reference has another number of them.
    """
    bound = np.asarray(reference, dtype=np.float64)
    points = np.asarray(losses, dtype=np.float64).reshape(-1, len(bound))
    if not 1 <= len(bound) <= 4:
        raise UsageError(f"hypervolume: 1 to 4 objectives are wanted, found {len(bound)}.")
    return _volume(points[(points < bound).all(axis=1)], bound)


def _volume(points: FloatArray, bound: FloatArray) -> float:
    if len(points) == 0:
        return 0.0
    if len(bound) == 1:
        return float(bound[0] - points[:, 0].min())
    points = points[front(points)]
    order = np.argsort(points[:, -1], kind="stable")
    points = points[order]
    tops = np.append(points[1:, -1], bound[-1])
    return sum(
        float(top - low) * _volume(points[: i + 1, :-1], bound[:-1])
        for i, (low, top) in enumerate(zip(points[:, -1], tops, strict=True))
        if top > low
    )
