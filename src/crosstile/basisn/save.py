"""A network on a basis, in one file: the basis, and for each layer coefficients, scales and bias.

The file is a NumPy archive of plain arrays; reading it runs no code. Arrays are named ``digits``, ``bits`` (of a cell, of a
coefficient), ``names`` (layers, in the order of execution), and ``codes/N``, ``scale/N``, ``bias/N`` for layer N.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crosstile.basisn.arrays import Basis
from crosstile.basisn.coefficients import QuantisedCodes, largest_code
from crosstile.errors import ModelError, SpecError, UsageError
from crosstile.training.checkpoint import write_file

_SIZE_LIMIT = 2 * 2**30


@dataclass(frozen=True, eq=False)
class LayerOnBasis:
    """One layer."""

    coefficients: QuantisedCodes
    """(outputs, blocks, sets * vectors) integers and (outputs,) scales."""
    bias: NDArray[np.float32] | None
    """(outputs,) with the batch-norm folded in; None without."""


@dataclass(frozen=True, eq=False)
class BasisModel:
    """All that the arrays and switches of a network hold."""

    basis: Basis
    coefficient_bits: int
    layers: dict[str, LayerOnBasis]
    """By the layers' names, in the order of execution."""

    @property
    def codes(self) -> dict[str, QuantisedCodes]:
        """Coefficients and scales by layer."""
        return {name: layer.coefficients for name, layer in self.layers.items()}

    @property
    def coefficient_count(self) -> int:
        """Coefficients of all layers, zeros included."""
        return sum(layer.coefficients.codes.size for layer in self.layers.values())

    def save(self, path: Path) -> None:
        """Write the model, as a whole or not at all.

        Raises:
            OutputError: the file cannot be written.
        """
        arrays: dict[str, NDArray[np.generic]] = {
            "digits": self.basis.digits.astype(np.int8),
            "bits": np.array([self.basis.cell_bits, self.coefficient_bits], dtype=np.int64),
            "names": np.array(list(self.layers), dtype=np.str_),
        }
        for number, layer in enumerate(self.layers.values()):
            arrays[f"codes/{number}"] = layer.coefficients.codes
            arrays[f"scale/{number}"] = layer.coefficients.scale.astype(np.float32)
            arrays[f"bias/{number}"] = np.zeros(0, np.float32) if layer.bias is None else layer.bias
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        write_file(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> BasisModel:
        """Return the model of a file.

        Raises:
            UsageError: there is no such file.
            ModelError: it is damaged, or holds something else.
        """
        if not path.is_file():
            raise UsageError(f"{path}: no such file; a network on a basis is wanted, as BasisModel.save writes it.")
        if path.stat().st_size > _SIZE_LIMIT:
            raise ModelError(f"{path}: {path.stat().st_size} bytes; a network on a basis has at most {_SIZE_LIMIT}.")
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
            raise ModelError(f"{path}: cannot be read as a network on a basis: {error}.") from error
        try:
            return cls._of(arrays)
        except (KeyError, IndexError, TypeError, ValueError, SpecError) as error:
            raise ModelError(f"{path}: is not a network on a basis: {error}.") from error

    @classmethod
    def _of(cls, arrays: dict[str, NDArray[np.generic]]) -> BasisModel:
        cell_bits, coefficient_bits = (int(bits) for bits in arrays["bits"])
        basis, top = Basis(arrays["digits"].astype(np.float64), cell_bits), largest_code(coefficient_bits)
        layers = {}
        for number, name in enumerate(arrays["names"]):
            codes, scale, bias = (arrays[f"{part}/{number}"] for part in ("codes", "scale", "bias"))
            if codes.dtype != np.int8 or codes.ndim != 3 or codes.shape[2] != len(basis.flat):
                raise ValueError(f"coefficients of layer {name} have shape {codes.shape} and type {codes.dtype}")
            if np.abs(codes.astype(np.int64)).max(initial=0) > top:
                raise ValueError(f"coefficients of layer {name} exceed {coefficient_bits} bits")
            if scale.shape != codes.shape[:1] or bias.shape not in ((0,), scale.shape):
                raise ValueError(f"layer {name} has {len(codes)} outputs, {scale.shape} scales and {bias.shape} biases")
            values = scale.astype(np.float64), bias.astype(np.float32)
            if not all(bool(np.isfinite(part).all()) for part in values):
                raise ValueError(f"layer {name} has scales or biases that are not finite")
            layers[str(name)] = LayerOnBasis(
                QuantisedCodes(codes.astype(np.int8), values[0]), values[1] if len(bias) else None
            )
        return cls(basis, coefficient_bits, layers)
