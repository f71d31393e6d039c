"""Built-in networks in their standard shapes, and the way to a user's own.

Importing this package does not import torch; building a network does.
"""

from __future__ import annotations

from crosstile.zoo.build import LoadedModel, build_model
from crosstile.zoo.table import ModelInfo, model_info, model_names

__all__ = ["LoadedModel", "ModelInfo", "build_model", "model_info", "model_names"]
