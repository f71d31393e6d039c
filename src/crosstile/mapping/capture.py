"""What a network does when it runs: which layers are called, on which shapes, followed by which batch-norm.

Capture runs the real network on real inputs, so that any control flow is followed; nothing is traced symbolically.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from crosstile.errors import ModelError
from crosstile.mapping.plan import LayerShape
from crosstile.specs.base import near_match

MAPPABLE = (nn.Linear, nn.Conv1d, nn.Conv2d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


@dataclass
class LayerCall:
    """One mappable layer as it was called."""

    name: str
    module: nn.Module
    positions: int
    input_elements: int
    output_elements: int
    calls: int = 1
    signed_inputs: bool = False
    norm: str | None = None
    """Name of the batch-norm that takes this layer's output and nothing else."""

    def shape(self) -> LayerShape:
        """Return the layer's shape; the inputs' sign is what was seen."""
        module = self.module
        if isinstance(module, nn.Linear):
            geometry = ("linear", module.in_features, 1, module.out_features, 1)
        else:
            assert isinstance(module, (nn.Conv1d, nn.Conv2d))
            area = 1
            for extent in module.kernel_size:
                area *= extent
            groups = module.groups
            kind = "conv1d" if isinstance(module, nn.Conv1d) else "conv2d"
            geometry = (kind, module.in_channels // groups, area, module.out_channels // groups, groups)
        kind, channels, area, outputs, groups = geometry
        return LayerShape(
            self.name, kind, channels, area, outputs, groups, self.positions * self.calls,  # type: ignore[arg-type]
            self.input_elements, self.output_elements, self.signed_inputs,
        )  # fmt: skip


@dataclass
class Capture:
    """All mappable layers in the order of their first call."""

    layers: dict[str, LayerCall] = field(default_factory=dict)
    output: Tensor | None = None


def is_kept_digital(name: str, digital: Sequence[str]) -> bool:
    """True when ``name`` matches one of the patterns of layers that stay digital."""
    return any(fnmatchcase(name, pattern) for pattern in digital)


def mappable_layers(network: nn.Module, digital: Sequence[str] = ()) -> dict[str, nn.Module]:
    """Return the layers that go on arrays, by name; one module used under two names counts once.

    Raises:
        ModelError: no layer can be mapped, or a subclass computes something that the base class does not.
    """
    found: dict[str, nn.Module] = {}
    names = [name for name, _ in network.named_modules()]
    for pattern in digital:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ModelError(
                f"no layer is called {pattern!r}, which was to stay digital; the network has "
                f"{', '.join(name for name in names if name)}"[:600]
                + f"{near_match(pattern, names)}."
            )
    for name, module in network.named_modules():
        if not isinstance(module, MAPPABLE) or is_kept_digital(name, digital):
            continue
        base = next(kind for kind in MAPPABLE if isinstance(module, kind))
        if type(module).forward is not base.forward:
            raise ModelError(
                f"layer {name!r} is a {type(module).__name__}, a {base.__name__} with a forward of its own; its product "
                f"cannot be mapped as it stands. Use a plain nn.{base.__name__}, or keep it digital (--digital {name})."
            )
        found[name or "(root)"] = module
    if not found:
        kinds = ", ".join(f"nn.{kind.__name__}" for kind in MAPPABLE)
        raise ModelError(f"the network has no layer to map; layers that go on arrays are {kinds}.")
    return found


def run_hooked(network: nn.Module, x: Tensor, hooks: dict[nn.Module, Callable[[nn.Module, Any, Any], None]]) -> Any:
    """Run the network once in inference mode with forward hooks, removed whatever happens."""
    handles = [module.register_forward_hook(hook) for module, hook in hooks.items()]
    try:
        with torch.inference_mode():
            return network(x)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise ModelError(
            f"the network does not run on inputs of shape {tuple(x.shape)}: {str(error).splitlines()[0]}. "
            "Check that the data fits the network."
        ) from error
    finally:
        for handle in handles:
            handle.remove()


def capture(network: nn.Module, x: Tensor, digital: Sequence[str] = ()) -> Capture:
    """Run ``network`` on a batch and record its mappable layers.

    Args:
        x: (batch, ...) inputs.
        digital: patterns of layer names that stay digital.
    """
    layers = mappable_layers(network, digital)
    names = {module: name for name, module in layers.items()}
    norms: dict[nn.Module, str] = {m: n for n, m in network.named_modules() if isinstance(m, _NORMS)}
    result, batch = Capture(), x.shape[0]
    producers: dict[int, tuple[str, Tensor]] = {}
    norm_sources: dict[str, set[str | None]] = {}

    def on_layer(module: nn.Module, args: Any, out: Any) -> None:
        name, seen = names[module], args[0].detach()
        signed = bool((seen < 0).any())
        features = seen.shape[-1] if isinstance(module, nn.Linear) else None
        channels = 1 if features is not None else out.shape[-len(module.kernel_size) - 1]  # type: ignore[arg-type]
        pixels = out.numel() // (out.shape[-1] if features is not None else channels)
        if name in result.layers:
            call = result.layers[name]
            call.calls += 1
            call.signed_inputs = call.signed_inputs or signed
        else:
            result.layers[name] = LayerCall(
                name, module, max(1, pixels // batch), seen.numel() // batch, out.numel() // batch, 1, signed
            )
        producers[id(out)] = (name, out)  # holding the tensor keeps its id from being reused

    def on_norm(module: nn.Module, args: Any, out: Any) -> None:
        found = producers.get(id(args[0]))
        norm_sources.setdefault(norms[module], set()).add(found[0] if found else None)

    hooks: dict[nn.Module, Callable[[nn.Module, Any, Any], None]] = dict.fromkeys(names, on_layer)
    hooks.update(dict.fromkeys(norms, on_norm))
    result.output = run_hooked(network, x, hooks)
    never = [name for name in layers if name not in result.layers]
    if never:
        raise ModelError(
            f"{len(never)} layer(s) were never called when the network ran: {', '.join(never[:5])}. A fused operation may "
            "use their weights directly; write the product with its own module, or keep them digital (--digital NAME)."
        )
    for norm, sources in norm_sources.items():
        if len(sources) == 1 and (source := next(iter(sources))) is not None:
            call = result.layers[source]
            call.norm = norm if call.norm is None and call.calls == 1 else None
    return result
