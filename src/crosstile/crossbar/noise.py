"""Normal draws that depend on a key and a counter only: the same number on every device, in every batch.

A draw is z = (q[h & 4095] + q[(h >> 16) & 4095]) / sqrt(2): h is a 32-bit hash of the counter, q the
quantiles of the standard normal at the midpoints of 4,096 equal steps, scaled to unit variance. The
distribution has 2^24 values, unit variance, mean zero, and reaches +-5.2 sigma.

hash: key and vector are mixed by the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014); the column
enters by a multiply-xorshift finaliser with the constants of C. Wellons' lowbias32 (public domain).
"""

from __future__ import annotations

from functools import lru_cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

QUANTILES = 4096


@lru_cache(maxsize=1)
def quantile_table() -> npt.NDArray[np.float32]:
    """Return the quantiles, already divided by sqrt(2), float32."""
    normal = NormalDist()
    half = [normal.inv_cdf((i + 0.5) / QUANTILES) for i in range(QUANTILES // 2)]
    values = np.array(half + [-v for v in reversed(half)])
    values /= np.sqrt(np.mean(values**2))
    return np.asarray(values / np.sqrt(2.0), dtype=np.float32)


@lru_cache(maxsize=1)
def population_table() -> npt.NDArray[np.float32]:
    """Return the number of bits set in each byte, float32."""
    return np.array([bin(i).count("1") for i in range(256)], dtype=np.float32)
