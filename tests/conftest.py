"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data_dir() -> Path:
    """The folder with real data sets and published weights; skips, with the reason, where there is none.

    Looked for in CROSSTILE_DATA, then in shared/data beside the repository.
    """
    beside = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    named = os.environ.get("CROSSTILE_DATA")
    for folder in ([Path(named)] if named else []) + [beside]:
        if (folder / "cifar10_test.npz").is_file():
            return folder
    pytest.skip("no cifar10_test.npz in the folder CROSSTILE_DATA names, nor in ../shared/data")
