"""Fixtures of the comparison with ngspice."""

from __future__ import annotations

import shutil

import pytest


@pytest.fixture(scope="session", autouse=True)
def ngspice() -> str:
    """The path of ngspice; skips, with the reason, where it is not installed."""
    found = shutil.which("ngspice")
    if found is None:
        pytest.skip("no ngspice on PATH (Debian and Ubuntu: apt-get install ngspice)")
    return found
