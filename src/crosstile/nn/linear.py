"""A fully connected layer on arrays."""

from __future__ import annotations

from torch import Tensor

from crosstile.crossbar.inputs import Inputs, LinearInputs
from crosstile.nn.layer import MappedLayer


class MappedLinear(MappedLayer):
    """Stands in for ``nn.Linear``: (..., in_features) -> (..., out_features)."""

    def as_feature_map(self, x: Tensor) -> Tensor:
        """Leading dimensions become one."""
        return x.reshape(-1, x.shape[-1])

    def make_inputs(self, q: Tensor) -> Inputs:
        """Each row is one vector."""
        return LinearInputs(q)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer to the last dimension of ``x``."""
        out = self.compute(self.as_feature_map(x))
        return out.reshape(*x.shape[:-1], out.shape[-1])
