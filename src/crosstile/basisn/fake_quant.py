"""A basis and coefficients in training: integers in the forward pass, gradients straight through the rounding.

    W_k = s_k sum_j rint(c_kj) (rint(b_j) + d_j),      dW/dc as if c were not rounded, dW/db likewise

c and b are kept real beside their integers, within the range that coefficients and cells have; s_k, a factor an output, is
trained by its logarithm. d is what a chip makes of the basis: programmed cells, through their wires, minus the integers; zero
without a chip. Of c, ``sparsity`` entries a segment may differ from zero. The straight-through estimator is that of Y. Bengio,
N. Leonard, A. Courville, arXiv:1308.3432 (2013).
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from crosstile.basisn.arrays import Basis, BasisArrays
from crosstile.basisn.coefficients import QuantisedCodes, largest_code
from crosstile.basisn.network import FoldedLayer
from crosstile.basisn.save import LayerOnBasis
from crosstile.basisn.segments import block_places
from crosstile.specs.chip import ChipSpec

_EDGE = 0.49
"""Real values stay within the range of their integers and this: what is far outside would never come back."""


def straight_through(values: Tensor, top: float) -> Tensor:
    """Return ``values`` rounded and clipped to +-``top``, with the gradient of ``values``."""
    return values + (values.round().clamp(-top, top) - values).detach()


class LearntBasis(nn.Module):
    """The vectors that all layers share."""

    deviation: Tensor

    def __init__(self, start: Basis) -> None:
        super().__init__()
        self.shape, self.cell_bits, self.levels = start.digits.shape, start.cell_bits, start.levels
        self.latent = nn.Parameter(torch.from_numpy(start.flat.astype(np.float32)))
        self.register_buffer("deviation", torch.zeros_like(self.latent.detach()), persistent=False)
        self.applied = self.latent.detach()
        """(vectors, rows) as the layers use it, since :meth:`refresh`, which a move to another device calls for."""

    def refresh(self, *, learn: bool) -> None:
        """Round the vectors for a step; with ``learn`` a gradient flows back to them."""
        latent = self.latent if learn else self.latent.detach()
        self.applied = straight_through(latent, self.levels) + self.deviation

    def basis(self) -> Basis:
        """Return the integers."""
        digits = self.latent.detach().round().clamp(-self.levels, self.levels).double().cpu().numpy()
        return Basis(np.asarray(digits.reshape(self.shape)) + 0.0, self.cell_bits)

    @torch.no_grad()
    def program(self, chip: ChipSpec, seed: int, trial: int) -> None:
        """Write the present integers into chip ``trial`` of :func:`crosstile.basisn.arrays.device_chip`; d results."""
        basis = self.basis()
        arrays = BasisArrays(basis).programmed(chip, seed, trial)
        held = np.concatenate([array.levels[:, 0::2] - array.levels[:, 1::2] for array in arrays], axis=1).T
        self.deviation.copy_(torch.from_numpy(held - basis.flat))

    @torch.no_grad()
    def clip(self) -> None:
        """Keep real values near their integers."""
        self.latent.clamp_(-self.levels - _EDGE, self.levels + _EDGE)


class CodedLayer(nn.Module):
    """Stands in for one linear or convolutional layer with its batch-norm folded."""

    places: Tensor
    mask: Tensor
    frozen = False
    """Supports are no longer chosen. Not a buffer: each step asks for it, which would wait for a GPU."""
    learn_codes = True

    def __init__(
        self,
        folded: FoldedLayer,
        start: LayerOnBasis,
        shared: LearntBasis,
        bits: int,
        sparsity: int | None,
        *,
        reselect: bool,
    ) -> None:
        """``sparsity``: None leaves all vectors; ``reselect``: supports are chosen again by :meth:`select`, else kept."""
        super().__init__()
        self._source, self._shared = (folded.call.module,), (shared,)  # tuples: no parts of the state
        self.top, self.sparsity, self.reselect = largest_code(bits), sparsity, reselect
        found, rows = start.coefficients, shared.shape[2]
        self.latent = nn.Parameter(torch.from_numpy(found.codes.astype(np.float32)))
        self.log_scale = nn.Parameter(torch.from_numpy(np.log(found.scale)).float())
        self.bias = None if start.bias is None else nn.Parameter(torch.from_numpy(start.bias.copy()))
        self.register_buffer("places", torch.from_numpy(block_places(folded.blocks, rows)), persistent=False)
        mask = np.ones_like(found.codes) if sparsity is None else found.codes != 0
        self.register_buffer("mask", torch.from_numpy(mask.astype(np.float32)))

    def codes(self, *, learn: bool = True) -> Tensor:
        """Return the (outputs, blocks, vectors) integers."""
        latent = self.latent if learn else self.latent.detach()
        if self.frozen or not self.reselect:
            return straight_through(latent * self.mask, self.top)
        chosen = (latent.detach().round().clamp(-self.top, self.top)) * self.mask
        return latent + (chosen - latent).detach()  # vectors outside the support learn, too, and may be chosen next

    def weight(self, *, learn: bool = True) -> Tensor:
        """Return (outputs, rows) weights on the basis as it is applied."""
        made = (self.codes(learn=learn) @ self._shared[0].applied).flatten(1)[:, self.places]
        return made * self.log_scale.exp()[:, None]

    def forward(self, x: Tensor) -> Tensor:
        """Return what the layer gives for a batch."""
        source, weight = self._source[0], self.weight(learn=self.learn_codes)
        if isinstance(source, nn.Linear):
            return F.linear(x, weight, self.bias)
        assert isinstance(source, (nn.Conv1d, nn.Conv2d))
        out: Tensor = source._conv_forward(x, weight.reshape(source.weight.shape), self.bias)
        return out

    @torch.no_grad()
    def select(self) -> None:
        """Choose the supports anew: in each segment the ``sparsity`` largest coefficients."""
        if self.sparsity is None or not self.reselect or self.frozen:
            return
        strongest = self.latent.abs().topk(min(self.sparsity, self.latent.shape[2]), dim=2).indices
        self.mask.zero_().scatter_(2, strongest, 1.0)

    @torch.no_grad()
    def freeze_support(self) -> None:
        """Let coefficients that are zero now stay so, whatever was to be chosen again; the first call decides."""
        if not self.frozen:
            self.mask.copy_((self.codes(learn=False) != 0).float())
            self.frozen = True

    def get_extra_state(self) -> Tensor:
        """Return what the state holds beside tensors: ``frozen``."""
        return torch.tensor(self.frozen)

    def set_extra_state(self, state: Tensor) -> None:
        """Take what :meth:`get_extra_state` gave."""
        self.frozen = bool(state)

    @torch.no_grad()
    def clip(self) -> None:
        """Keep real values near their integers."""
        self.latent.clamp_(-self.top - _EDGE, self.top + _EDGE)

    def layer(self) -> LayerOnBasis:
        """Return what arrays and switches hold."""
        with torch.no_grad():
            codes: NDArray[np.int8] = self.codes(learn=False).cpu().numpy().astype(np.int8)
            scale = self.log_scale.exp().double().cpu().numpy()
            bias = None if self.bias is None else self.bias.detach().cpu().numpy().copy()
        return LayerOnBasis(QuantisedCodes(codes, scale), bias)
