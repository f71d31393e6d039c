"""A network on a basis as a whole: what it is made of, and what comes back from a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from crosstile.basisn.arrays import coefficient_chip
from crosstile.basisn.dictionary import quantise
from crosstile.basisn.network import folded_layers, make_basis, map_basis, map_saved, rebuilt
from crosstile.basisn.save import BasisModel
from crosstile.errors import CrosstileError, ModelError, UsageError
from crosstile.specs.load import load_chip

CHIP = load_chip("reram-8b").replaced(array__rows=16, array__columns=16, cell__effects=())


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def small_net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 2), nn.ReLU(), nn.Flatten(),
        nn.Linear(4, 5, bias=False),
    )  # fmt: skip
    norm = net[1]
    assert isinstance(norm, nn.BatchNorm2d)
    norm.running_mean = torch.randn(6)
    norm.running_var = torch.rand(6) + 0.5
    return net.eval()


def images(count: int = 16) -> Tensor:
    return torch.randn(count, 3, 4, 4, generator=torch.Generator().manual_seed(1))


def test_more_bits_and_sets_come_nearer_to_the_network() -> None:
    """The error of the scores falls with each bit and each array, to that of 8-bit inputs."""
    net, x = small_net(), images()
    wanted = net(x).detach()

    def error(sets: int, bits: int) -> float:
        found = map_basis(net, CHIP.replaced(adc__bits=None), x, sets=sets, coefficient_bits=bits).mapped(x)
        return float((found - wanted).norm() / wanted.norm())

    by_bits = [error(2, bits) for bits in (2, 3, 5, 8)]
    assert by_bits == sorted(by_bits, reverse=True)
    assert by_bits[0] > 10 * by_bits[-1]
    by_sets = [error(sets, 3) for sets in (1, 2, 4)]
    assert by_sets == sorted(by_sets, reverse=True)
    assert error(4, 8) < 0.02  # seven bits and a sign at the input: half a step is 0.4 % of the largest


def test_the_basis_is_of_all_layers_together() -> None:
    """PCA of the folded weights' segments, each of unit length, zero where a block leaves rows free."""
    net, x = small_net(), images()
    _, layers = folded_layers(net, coefficient_chip(CHIP, 3), x)
    assert list(layers) == ["0", "3", "6"]
    norm = net[1]
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_var is not None
    factor = (norm.weight / (norm.running_var + norm.eps).sqrt()).detach().double()
    folded = (net[0].weight.detach().double() * factor[:, None, None, None]).reshape(6, 27).numpy()
    assert layers["0"].weight == pytest.approx(folded, abs=1e-6)
    data = np.concatenate([layer.segments(16).reshape(-1, 16) for layer in layers.values()])
    data /= np.linalg.norm(data, axis=1, keepdims=True)
    _, _, directions = np.linalg.svd(data)
    basis = make_basis(layers, 16, sets=2, vectors=3)
    wanted = quantise(directions[:6], 1)
    for found, vector in zip(basis.flat, wanted, strict=True):
        assert np.array_equal(found, vector) or np.array_equal(found, -vector)
    assert np.linalg.matrix_rank(make_basis(layers, 16, sets=4, vectors=8).flat) == 16


def test_sparsity_bounds_the_vectors_of_a_segment() -> None:
    network = map_basis(small_net(), CHIP, images(), sets=2, sparsity=3)
    assert max((found.codes != 0).sum(axis=2).max() for found in network.codes.values()) == 3


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    net, x = small_net(), images()
    network = map_basis(net, CHIP, x, sets=2, digital=("6",))
    saved, file = network.model(), tmp_path / "net.npz"
    saved.save(file)
    back = BasisModel.load(file)
    assert np.array_equal(back.basis.digits, network.basis.digits)
    assert (back.coefficient_bits, back.basis.cell_bits, list(back.layers)) == (3, 1, ["0", "3"])
    assert back.coefficient_count == 6 * 2 * 16 + 4 * 2 * 16
    for name, found in network.codes.items():
        assert np.array_equal(back.codes[name].codes, found.codes)
        assert np.array_equal(back.codes[name].scale, found.scale)
    again = map_saved(net, back, CHIP, x, digital=("6",))
    for name, layer in again.layers.items():
        mine = network.layers[name]
        assert np.array_equal(layer.integers, mine.integers)
        assert torch.equal(layer.weight_scale, mine.weight_scale)
        assert torch.equal(layer.bias, mine.bias)  # type: ignore[arg-type]
    digital = rebuilt(net, back, CHIP, x, ("6",))  # single precision against quantised inputs and 8-bit converters
    assert again.mapped(x) == pytest.approx(digital(x), abs=0.05 * float(digital(x).abs().max()))
    assert not torch.equal(digital(x), net(x))


def test_files_that_are_not_a_network_are_told(tmp_path: Path) -> None:
    net, x = small_net(), images()
    saved, file = map_basis(net, CHIP, x, sets=1).model(), tmp_path / "net.npz"
    with pytest.raises(UsageError, match="no such file"):
        BasisModel.load(file)
    saved.save(file)
    content = file.read_bytes()
    for damaged in (content[:200], b"", b"nothing"):
        file.write_bytes(damaged)
        with pytest.raises(ModelError, match="cannot be read"):
            BasisModel.load(file)
    file.write_bytes(content)
    good = dict(np.load(file))
    for change, told in (
        ({"codes/1": good["codes/1"].astype(np.int16)}, "layer 3 have shape"),
        ({"codes/1": good["codes/1"] * np.int8(0) + np.int8(4)}, "exceed 3 bits"),
        ({"scale/0": good["scale/0"] * np.nan}, "not finite"),
        ({"scale/0": good["scale/0"][:2]}, "6 outputs"),
        ({"digits": good["digits"] * np.int8(2)}, "magnitudes to 1"),
        ({"bits": np.array([1])}, "is not a network on a basis"),
        ({"names": np.array(["0", {}], dtype=object)}, "cannot be read|pickle"),
    ):
        np.savez(file, **{**good, **change})  # type: ignore[arg-type]
        with pytest.raises(ModelError, match=told):
            BasisModel.load(file)
    good.pop("digits")
    np.savez(file, **good)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="is not a network on a basis"):
        BasisModel.load(file)


def test_a_file_belongs_to_a_network(tmp_path: Path) -> None:
    net, x = small_net(), images()
    saved = map_basis(net, CHIP, x, sets=1).model()
    with pytest.raises(ModelError, match="differ in 6"):
        rebuilt(net, saved, CHIP, x, digital=("6",))
    torch.manual_seed(0)
    other = nn.Sequential(
        nn.Conv2d(3, 7, 3), nn.ReLU(), nn.Identity(), nn.Conv2d(7, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4, 5)
    ).eval()
    with pytest.raises(ModelError, match="layer '0': coefficients of shape"):
        rebuilt(other, saved, CHIP, x)
    with pytest.raises(CrosstileError, match="vectors have 16 rows"):
        map_saved(net, saved, CHIP.replaced(array__rows=32), x)
