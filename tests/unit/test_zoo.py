"""Networks: shapes and sizes, bundled weights, checkpoints that do not fit, and users' factories."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from crosstile.datasets import load_dataset
from crosstile.errors import ModelError
from crosstile.zoo import build_model, model_info, model_names
from crosstile.zoo.checkpoint import apply_state_dict, load_state_dict
from crosstile.zoo.resnet import PadShortcut


def _parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "parameters", "matrix_layers"),
    [
        ("lenet5", 61_706, 5),
        ("resnet8", 75_290, 8),
        ("resnet20", 269_722, 20),
        ("resnet32", 464_154, 32),
        ("resnet44", 658_586, 44),
        ("resnet56", 853_018, 56),
        ("vgg8", 12_978_058, 8),
    ],
)
def test_shapes_and_sizes(name: str, parameters: int, matrix_layers: int) -> None:
    loaded = build_model(name, allow_untrained=True)
    info = model_info(name)
    assert loaded.info is info
    assert not loaded.model.training
    assert _parameters(loaded.model) == parameters
    layers = [m for m in loaded.model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == matrix_layers
    with torch.no_grad():
        assert loaded.model(torch.zeros(2, *info.input_shape)).shape == (2, info.num_classes)


def test_names_and_entries_agree() -> None:
    assert set(model_names()) == {"lenet5", "resnet8", "resnet20", "resnet32", "resnet44", "resnet56", "vgg8"}
    assert all(model_info(name).name == name for name in model_names())
    with pytest.raises(ModelError, match=r"unknown network 'resnet-20' \(did you mean 'resnet20'\?\)"):
        model_info("resnet-20")


def test_option_a_shortcut_takes_every_second_pixel_and_pads_with_zeros() -> None:
    x = torch.arange(2 * 4 * 4, dtype=torch.float32).reshape(1, 2, 4, 4)
    out = PadShortcut(1)(x)
    assert out.shape == (1, 4, 2, 2)
    assert out[0, 0].abs().max() == 0
    assert out[0, 3].abs().max() == 0
    assert out[0, 1].tolist() == [[0, 2], [8, 10]]
    assert out[0, 2].tolist() == [[16, 18], [24, 26]]


def test_bundled_lenet5_reaches_its_accuracy_on_held_out_images() -> None:
    loaded = build_model("lenet5")
    assert loaded.weights.startswith("lenet5-mnist5k.pt (sha256 ")
    assert loaded.weights.endswith("bundled with crosstile")
    data = load_dataset("mnist5k")
    with torch.no_grad():
        predicted = loaded.model(torch.from_numpy(data.normalised(data.x))).argmax(1).numpy()
    hits = int((predicted == data.y).sum())
    assert 989 <= hits <= 991  # 990 as trained; a near tie may fall either way on other hardware


def test_untrained_weights_only_when_allowed_and_then_the_same_each_time() -> None:
    with pytest.raises(ModelError, match=r"resnet20: no weights are bundled .*akamaster/pytorch_resnet_cifar10"):
        build_model("resnet20")
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = build_model("resnet8", allow_untrained=True)
    assert torch.equal(torch.random.get_rng_state(), before)
    second = build_model("resnet8", allow_untrained=True)
    assert first.weights == "untrained: random initial weights, seed 0"
    pairs = zip(first.model.parameters(), second.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_the_table_needs_no_torch() -> None:
    code = (
        "import sys; from crosstile.zoo import model_info, model_names;"
        "print(model_info('lenet5').bundled_weights, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["lenet5-mnist5k.pt", "False"]


def _small() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))


def _write(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_wrappings_and_prefix_are_taken_off(tmp_path: Path, wrapper: str | None, prefix: str) -> None:
    torch.manual_seed(1)
    source, target = _small(), _small()
    state: object = {prefix + k: v for k, v in source.state_dict().items()}
    if wrapper is not None:
        state = {wrapper: state, "epoch": 3, "best_prec1": 91.7}
    path = _write(tmp_path / "w.pt", state)
    apply_state_dict(target, load_state_dict(path), path)
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), target.parameters(), strict=True))


def test_old_files_without_batch_counters_and_in_float16_fit(tmp_path: Path) -> None:
    source, target = _small(), _small()
    state = {k: v.half() for k, v in source.state_dict().items() if not k.endswith("num_batches_tracked")}
    path = _write(tmp_path / "w.pt", state)
    apply_state_dict(target, load_state_dict(path), path)
    assert next(target.parameters()).dtype == torch.float32
    assert torch.equal(target.state_dict()["3.weight"], source.state_dict()["3.weight"].half().float())


GOOD = _small().state_dict()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "holds an empty dict"),
        ([torch.zeros(1)], "holds a list; a dict of tensors was expected"),
        ({"epoch": 3, "w": torch.zeros(1)}, "entry 'epoch' is a int"),
        ({"w": torch.zeros(2).to_sparse()}, "entry 'w' is a .*sparse.* tensor"),
        ({"w": torch.zeros(2, dtype=torch.complex64)}, "entry 'w' is a torch.complex64"),
        ({1: torch.zeros(2)}, "entry 1 is a"),
        ({"w": torch.tensor([1.0, float("nan"), float("inf")])}, "w holds 2 values of 3 that are NaN"),
        ({"model": dict(GOOD), "state_dict": dict(GOOD)}, "under state_dict and model"),
        ({"w": torch.zeros(1).expand(2**31, 4)}, "would need more than 4294967296 bytes"),
        (_small(), r"holds the object torch\.nn\.modules\.container\.Sequential, not only tensors"),
    ],
)
def test_contents_that_are_refused(tmp_path: Path, content: object, message: str) -> None:
    path = _write(tmp_path / "w.pt", content)
    with pytest.raises(ModelError, match=message) as caught:
        load_state_dict(path)
    assert str(path) in str(caught.value)
    assert "weights_only" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04", b"\x80\x02}q\x00."])
def test_damaged_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.pt"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=str(path)):
        load_state_dict(path)
    whole = _write(path, {"w": torch.arange(64.0)}).read_bytes()
    flipped = bytearray(whole)
    flipped[whole.index(torch.arange(64.0).numpy().tobytes()) + 50] ^= 0x10
    path.write_bytes(bytes(flipped))
    with pytest.raises(ModelError, match="is damaged"):  # torch.load itself reads 13 for 12 here
        load_state_dict(path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="cannot be read as weights"):
        load_state_dict(path)


def test_missing_file_and_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for absent in (tmp_path / "none.pt", tmp_path):
        with pytest.raises(ModelError, match="no such file"):
            load_state_dict(absent)
    monkeypatch.setattr("crosstile.zoo.checkpoint.SIZE_LIMIT", 100_000)
    bomb = tmp_path / "bomb.pt"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", b"\0" * 200_000)
    assert bomb.stat().st_size < 2_000
    with pytest.raises(ModelError, match="200000 bytes; files of weights may have at most 100000"):
        load_state_dict(bomb)


def test_no_code_in_a_checkpoint_runs(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (str(tmp_path / "touched"),)

    path = _write(tmp_path / "w.pt", {"w": Attack()})
    with pytest.raises(ModelError, match="not only tensors"):
        load_state_dict(path)
    assert not (tmp_path / "touched").exists()


def test_misfits_are_listed_and_change_nothing() -> None:
    model = _small()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state = {k: v + 1 for k, v in GOOD.items() if k != "0.bias"}
    state["3.weight"] = torch.zeros(3, 9)
    state["head.weight"] = torch.zeros(1)
    with pytest.raises(ModelError) as caught:
        apply_state_dict(model, state, Path("w.pt"))
    text = str(caught.value)
    assert "1 missing: 0.bias" in text
    assert "1 unexpected: head.weight" in text
    assert "3.weight is (3, 9), expected (3, 8)" in text
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_long_lists_are_cut_and_dtypes_must_agree() -> None:
    with pytest.raises(ModelError, match=r"6 unexpected: a0, a1, a2, a3, \.\.\."):
        apply_state_dict(_small(), {**GOOD, **{f"a{i}": torch.zeros(1) for i in range(6)}}, Path("w.pt"))
    with pytest.raises(ModelError, match=r"3.bias is torch.int8, expected torch.float32"):
        apply_state_dict(_small(), {**GOOD, "3.bias": torch.zeros(3, dtype=torch.int8)}, Path("w.pt"))
    big = torch.full((3,), 1e300, dtype=torch.float64)
    with pytest.raises(ModelError, match=r"3.bias holds 3 values .* infinite as torch.float32"):
        apply_state_dict(_small(), {**GOOD, "3.bias": big}, Path("w.pt"))


def test_weights_of_another_network(tmp_path: Path) -> None:
    path = _write(tmp_path / "r8.pt", build_model("resnet8", allow_untrained=True).model.state_dict())
    loaded = build_model("resnet8", weights=path)
    assert loaded.weights.startswith("r8.pt (sha256 ")
    assert loaded.weights.endswith("given by the user")
    with pytest.raises(ModelError, match=r"do not fit CifarResNet; .* missing: layer1\.1\.conv1\.weight"):
        build_model("resnet20", weights=path)


# ---- users' factories

SOURCE = """
import torch
from torch import nn

def small_net():
    return nn.Linear(4, 2)

def needs_argument(width):
    return nn.Linear(4, width)

def wrong():
    return {"not": "a module"}

def diverged():
    net = nn.Linear(4, 2)
    net.weight.data[0, 0] = float("nan")
    return net

def leaves():
    raise SystemExit(3)

instance = nn.Linear(4, 2)
"""


@pytest.fixture
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"user_nets_{abs(hash(str(tmp_path)))}"  # a name of its own: imported modules are kept
    (tmp_path / f"{name}.py").write_text(SOURCE)
    (tmp_path / f"{name}_broken.py").write_text("def f(:\n")
    (tmp_path / f"{name}_raises.py").write_text("raise RuntimeError('no licence file')\n")
    monkeypatch.chdir(tmp_path)
    return name


def test_factory_in_the_current_folder(user_module: str, tmp_path: Path) -> None:
    path_before = list(sys.path)
    loaded = build_model(f"{user_module}:small_net")
    assert isinstance(loaded.model, nn.Linear)
    assert not loaded.model.training
    assert loaded.info is None
    assert loaded.weights == f"as returned by {user_module}:small_net"
    assert sys.path == path_before
    path = _write(tmp_path / "w.pt", {"weight": torch.full((2, 4), 2.0), "bias": torch.ones(2)})
    given = build_model(f"{user_module}:small_net", weights=path)
    assert given.model(torch.ones(1, 4)).tolist() == [[9.0, 9.0]]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("{}:needs_argument", r"calling needs_argument\(\) without arguments failed: TypeError: .*width"),
        ("{}:wrong", r"wrong\(\) returned a dict, not a torch.nn.Module"),
        ("{}:diverged", "weight holds NaN"),
        ("{}:leaves", r"calling leaves\(\) without arguments failed: SystemExit: 3"),
        ("{}:instance", "instance is a Linear; it must be a function"),
        ("{}:smal_net", r"has no 'smal_net' \(did you mean 'small_net'\?\)"),
        ("{}_broken:f", "importing .*_broken failed: SyntaxError"),
        ("{}_raises:f", "importing .*_raises failed: RuntimeError: no licence file"),
        ("no_such_package_at_all:f", "importing no_such_package_at_all failed: ModuleNotFoundError"),
        ("{}:", "not of the form package.module:factory"),
        ("a/b.py:f", "not of the form package.module:factory"),
    ],
)
def test_factory_errors(user_module: str, spec: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build_model(spec.format(user_module))
