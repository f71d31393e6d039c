"""Sweeps: many variants of a chip, measured by many workers, recorded so that nothing is lost.

study file ► variants (space) ► trials (plan) ► workers (local, dask) ► records (store) ► tables (export)
"""

from __future__ import annotations

from crosstile.sweep.export import Sweep, load_sweep

__all__ = ["Sweep", "load_sweep"]
