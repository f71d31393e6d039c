"""Build a network from its name or from the user's own factory, with its weights."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.resources
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from crosstile.errors import ModelError
from crosstile.zoo.table import ModelInfo, model_info

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A network in evaluation mode. ``info`` is None for a user's own; ``weights`` says what they are."""

    model: nn.Module
    name: str
    info: ModelInfo | None
    weights: str


def build_model(spec: str, *, weights: Path | None = None, allow_untrained: bool = False) -> LoadedModel:
    """Return the network that ``spec`` names, with its weights, in evaluation mode.

    ``spec`` is a built-in name or ``package.module:factory``: the module is imported with the current
    folder first on the search path, and the factory is called without arguments. ``weights`` is a file
    that :func:`crosstile.zoo.checkpoint.load_state_dict` reads. Without it a built-in takes its bundled
    weights, or, with ``allow_untrained``, random ones (seed 0; torch's own random state is kept); a
    user's factory has to set its own. Raises ModelError that names the step that failed.
    """
    from crosstile.zoo.checkpoint import apply_state_dict, file_sha256, load_state_dict

    info = None if ":" in spec else model_info(spec)
    if info is not None and weights is None and info.bundled_weights is None and not allow_untrained:
        raise ModelError(
            f"network {spec}: no weights are bundled and none were given; name a file of weights with the "
            f"--weights ({info.weights_hint}); `crosstile estimate` needs none"
        )
    model = _call_factory(spec if info is None else info.factory, seeded=info is not None)
    if weights is not None:
        path = Path(weights)
        apply_state_dict(model, load_state_dict(path), path)
        text = f"{path.name} (sha256 {file_sha256(path)}), given by the user"
    elif info is not None and info.bundled_weights is not None:
        place = importlib.resources.files("crosstile") / "library" / "weights" / info.bundled_weights
        with importlib.resources.as_file(place) as path:
            apply_state_dict(model, load_state_dict(path), path)
            text = f"{info.bundled_weights} (sha256 {file_sha256(path)}), bundled with crosstile"
    elif info is not None:
        text = "untrained: random initial weights, seed 0"
    else:
        _check_weights(model, spec)
        text = f"as returned by {spec}"
    model.eval()
    return LoadedModel(model=model, name=spec, info=info, weights=text)


def _call_factory(spec: str, *, seeded: bool) -> nn.Module:
    import torch
    from torch import nn

    module_name, _, attribute = spec.partition(":")
    parts = [*module_name.split("."), attribute]
    if not all(part.isidentifier() for part in parts):
        raise ModelError(
            f"network {spec!r}: not of the form package.module:factory; "
            "an example is my_networks:small_net for small_net() in my_networks.py"
        )
    with _current_folder_first():
        try:
            module = importlib.import_module(module_name)
        except (Exception, SystemExit) as error:
            raise ModelError(
                f"network {spec}: importing {module_name} failed: {_text(error)}; the current folder "
                f"({Path.cwd().name or '/'}) and the installed packages were searched"
            ) from error
        factory: Callable[[], object] | None = getattr(module, attribute, None)
        if factory is None:
            public = [name for name in vars(module) if not name.startswith("_")]
            near = difflib.get_close_matches(attribute, public, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise ModelError(f"network {spec}: {module_name} was imported and has no {attribute!r}{hint}")
        if isinstance(factory, nn.Module) or not callable(factory):
            raise ModelError(
                f"network {spec}: {attribute} is a {type(factory).__name__}; it must be a function or class "
                "that is called without arguments and returns a torch.nn.Module"
            )
        try:
            if seeded:
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(0)
                    model = factory()
            else:
                model = factory()
        except (Exception, SystemExit) as error:
            raise ModelError(
                f"network {spec}: calling {attribute}() without arguments failed: {_text(error)}"
            ) from error
    if not isinstance(model, nn.Module):
        raise ModelError(f"network {spec}: {attribute}() returned a {type(model).__name__}, not a torch.nn.Module")
    return model


def _check_weights(model: nn.Module, spec: str) -> None:
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise ModelError(
                f"network {spec}: {name} holds NaN or infinite values after the factory returned; "
                "load trained weights in the factory or name a file of weights"
            )


@contextlib.contextmanager
def _current_folder_first() -> Iterator[None]:
    # Removed again afterwards, so that a file beside the user's cannot shadow a package later on.
    folder = os.getcwd()
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error)[:300]}"
